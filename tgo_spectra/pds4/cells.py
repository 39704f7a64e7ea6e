"""Cells of a character table as arrays, one method for each kind of data type."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.constants import (
    integer_constants,
    limits,
    real_constants,
    same_word,
    warn_of_values,
)
from tgo_spectra.pds4.fields import BASES, base_of, is_wide
from tgo_spectra.pds4.moments import YEARS, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field

__all__ = ["Cells", "Layout"]

_USUAL = b"0000-00-00T00:00:00.000Z"  # the archive's form; 0 stands for a digit
_CLOCKS = {"ASCII_Date_Time_YMD", "ASCII_Date_Time_YMD_UTC"}
_TRUTH = {b"1": True, b"true": True, b"0": False, b"false": False}
_STREAM = "validation.invalid_character_stream"
_PRINTABLE = re.compile(rb"[ -~]*")  # ASCII without control characters
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_DIGITS = {
    2: re.compile(rb"[01]+"),
    8: re.compile(rb"[0-7]+"),
    16: re.compile(rb"([0-9A-Fa-f]{2})+"),  # whole bytes
}
_INT64 = 2**63
_EXACT = 2**53  # larger integers may not be a float64


class Layout(Protocol):
    """What the cells need to know of a table."""

    @property
    def offset(self) -> int:
        """First byte of the table in the file."""

    @property
    def record_length(self) -> int:
        """Bytes of a record."""


class Cells:
    """Cells of some fields in some rows, parsed by one of its methods.

    Parameters
    ----------
    layout : Layout
        The table's description, for offsets.
    path : str
        The file, for messages.
    fields : sequence of Field
        Fields of one data type and shape.
    records : ndarray of uint8, shape (record, byte)
        The table.
    rows : ndarray of int64
        Records wanted.
    starts : ndarray of int64, shape (field, ...)
        First bytes of the cells wanted of each field.
    exact : bool
        Refuse what is legal, but not in the products of the archive: control
        characters in text, and dates that name no day.
    may_be_empty : bool
        Integers and booleans without a character are missing, not refused.
    """

    def __init__(
        self,
        layout: Layout,
        path: str,
        fields: Sequence[Field],
        records: np.ndarray[Any, np.dtype[np.uint8]],
        rows: np.ndarray[Any, np.dtype[np.int64]],
        starts: np.ndarray[Any, np.dtype[np.int64]],
        *,
        exact: bool = False,
        may_be_empty: bool = False,
    ) -> None:
        self.exact = exact
        self.may_be_empty = may_be_empty
        self.layout = layout
        self.path = path
        self.fields = fields
        self.records = records
        self.rows = rows
        self.starts = np.ascontiguousarray(starts.reshape(-1))
        self.per_field = max(self.starts.size // len(fields), 1)
        self.lengths = np.repeat(
            np.array([item.length for item in fields], dtype=np.int64), self.per_field
        )

    def cell(self, i: int, j: int) -> bytes:
        """Return the bytes of one cell."""
        start = self.starts[j]
        return self.records[self.rows[i], start : start + self.lengths[j]].tobytes()

    def fail(
        self,
        i: int,
        j: int,
        rule: str = "table.field_value_data_type_mismatch",
        why: str = "",
    ) -> ProductError:
        """Return the error of one cell, with its place and text."""
        item = self.fields[j // self.per_field]
        layout = self.layout
        cell = self.cell(i, j)
        if not cell.isascii():
            rule = _STREAM
        return ProductError(
            f"cell is no valid {item.data_type}{why}",
            path=self.path,
            field=" / ".join((*item.groups, item.name)),
            record=int(self.rows[i]),
            offset=int(
                layout.offset + self.rows[i] * layout.record_length + self.starts[j]
            ),
            value=cell.decode("ascii", "backslashreplace"),
            rule=rule,
        )

    def _kernel(
        self, name: str, dtype: type
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int, int]:
        # compiled code is loaded only when numbers are wanted
        from tgo_spectra.pds4 import numbers

        shape = (self.rows.size, self.starts.size)
        values: np.ndarray[Any, Any] = np.empty(shape, dtype=dtype)
        states = np.empty(shape, dtype=np.uint8)
        n_blank, n_other = getattr(numbers, name)(
            self.records, self.rows, self.starts, self.lengths, values, states
        )
        return values, states, n_blank, n_other

    def _is_constant(self, i: int, j: int) -> bool:
        """Say whether a cell is a special constant, letter by letter: ``N/A``."""
        texts = self.fields[j // self.per_field].fill_texts
        return same_word(self.cell(i, j).strip(b" ").decode("latin-1"), texts)

    def _warn(
        self,
        item: Field,
        values: np.ndarray[Any, Any],
        missing: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> None:
        """Warn of numbers of a field that may stand for something else."""
        where = f"{self.path}: {' / '.join((*item.groups, item.name))}"
        low, high = limits(item.valid, values.dtype)[0]
        constants = real_constants(item.fill_texts)
        warn_of_values(values, missing, constants, (low, high), where)

    def _scale(self, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Scale values, shape (row, cell), in place; refuse an overflow."""
        for k, item in enumerate(self.fields):
            if item.scale == 1.0 and item.offset == 0.0:
                continue
            part = values[:, k * self.per_field : (k + 1) * self.per_field]
            with np.errstate(over="ignore", invalid="ignore"):
                missing = np.isnan(part)
                part *= item.scale
                part += item.offset
                wrong = ~(np.isfinite(part) | missing)
            if wrong.any():
                i, j = np.argwhere(wrong)[0]
                raise self.fail(int(i), k * self.per_field + int(j))

    def reals(self, fills: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return real cells; missing and blank ones are NaN."""
        from tgo_spectra.pds4 import numbers

        values, states, _, n_other = self._kernel("parse_reals", np.float64)
        if n_other:
            for i, j in np.argwhere(states >= numbers.SLOW):
                value = np.inf
                if states[i, j] == numbers.SLOW:
                    value = float(self.cell(i, j))  # grammar was checked
                if not np.isfinite(value):
                    if not self._is_constant(i, j):
                        raise self.fail(i, j)
                    value = np.nan
                values[i, j] = value
        if len({(item.fill_texts, item.valid) for item in self.fields}) == 1:
            self._blank(values, self.fields[0], fills)
        else:
            for k, item in enumerate(self.fields):
                part = slice(k * self.per_field, (k + 1) * self.per_field)
                self._blank(values[:, part], item, fills)
        self._scale(values)
        return values

    def _blank(
        self,
        values: np.ndarray[Any, np.dtype[np.float64]],
        item: Field,
        fills: Sequence[float],
    ) -> None:
        """Replace missing values by NaN, in place."""
        for fill in {*fills, *real_constants(item.fill_texts).values}:
            missing = values == fill
            if missing.any():
                values[missing] = np.nan
        if (item.fill_texts and not self.exact) or any(item.valid):
            self._warn(item, values, np.isnan(values))

    def integers(self, fills: Sequence[float]) -> np.ndarray[Any, Any]:
        """Return integer cells; as real ones if a missing value is declared.

        int64 or, where the cells are long enough to need it, uint64.
        """
        values, states, n_blank, n_other = self._kernel("parse_integers", np.int64)
        words = np.zeros(states.shape, dtype=np.bool_)
        large: dict[tuple[int, int], int] = {}
        if n_blank or n_other:
            for i, j in np.argwhere(states != 0).tolist():
                text = self.cell(i, j).strip(b" ")
                if self._is_missing(i, j, text):
                    words[i, j] = True
                elif re.fullmatch(rb"[+-]?[0-9]+", text):
                    large[i, j] = int(text)  # leaves the range of int64
                else:
                    raise self.fail(i, j)
        return self._finished(values, words, large, fills)

    def based(self, base: int) -> np.ndarray[Any, Any]:
        """Return cells of base 2, 8 or 16 as integers (uint64), else as `integers`."""
        shape = (self.rows.size, self.starts.size)
        values = np.zeros(shape, dtype=np.int64)
        words = np.zeros(shape, dtype=np.bool_)
        large: dict[tuple[int, int], int] = {}
        for i, j, text in self._each():
            if self._is_missing(i, j, text):
                words[i, j] = True
                continue
            if not _DIGITS[base].fullmatch(text):
                raise self.fail(i, j)
            number = int(text, base)
            if number < _INT64:
                values[i, j] = number
            else:
                large[i, j] = number
        return self._finished(values, words, large, fills=())

    def _is_missing(self, i: int, j: int, text: bytes) -> bool:
        """Say whether a cell holds no value; refuse an empty one that must."""
        if not text:
            if self.may_be_empty:
                return True
            raise self.fail(i, j, "table.blank_field_value")
        return self._is_constant(i, j)

    def _finished(
        self,
        values: np.ndarray[Any, np.dtype[np.int64]],
        words: np.ndarray[Any, np.dtype[np.bool_]],
        large: dict[tuple[int, int], int],
        fills: Sequence[float],
    ) -> np.ndarray[Any, Any]:
        """Return integers with their missing ones; `words` and `large` have no value.

        `large` are integers beyond int64, by (row, cell).
        """
        wide = any(
            is_wide(item.data_type, item.length) or base_of(item.data_type, item.length)
            for item in self.fields
        )
        for k, item in enumerate(self.fields):
            part = slice(k * self.per_field, (k + 1) * self.per_field)
            for fill in self._integers_of(item):
                words[:, part] |= values[:, part] == fill
        for (i, j), number in large.items():
            # whatever `values` has in its place
            words[i, j] = number in self._integers_of(self.fields[j // self.per_field])
            if not words[i, j] and not (wide and 0 <= number < 2 * _INT64):
                raise self.fail(i, j, why=", which has at most 64 bits")
            values[i, j] = 0
        for fill in map(int, fills):
            found = (values == fill) & ~words
            if found.any() and not self._declared:
                i, j = np.argwhere(found)[0]
                raise self.fail(i, j, "table.field_value_is_special_constant")
            words |= found
        if any(item.data_type == "ASCII_NonNegative_Integer" for item in self.fields):
            wrong = (values < 0) & ~words
            if wrong.any():
                i, j = np.argwhere(wrong)[0]
                raise self.fail(int(i), int(j))
        result: np.ndarray[Any, Any] = values
        if wide:
            result = np.where(words, 0, values).astype(np.uint64)
            for place, number in large.items():
                if not words[place]:
                    result[place] = number
        for k, item in enumerate(self.fields):
            if any(item.valid):
                part = slice(k * self.per_field, (k + 1) * self.per_field)
                self._warn(item, result[:, part], words[:, part])
        if not (self._declared or words.any()):
            return result
        real = result.astype(np.float64)
        if wide:
            unsure = ~words & (result > _EXACT)
        else:
            unsure = ~words & (np.abs(result) > _EXACT)
        for i, j in np.argwhere(unsure):
            if int(real[i, j]) != int(result[i, j]):
                why = " that a float64 holds, which a missing value or a scale needs"
                raise self.fail(i, j, why=why)
        real[words] = np.nan
        self._scale(real)
        return real

    @staticmethod
    def _integers_of(item: Field) -> tuple[int, ...]:
        """Return the special constants of a field that are integers."""
        base = base_of(item.data_type, item.length)
        return integer_constants(item.fill_texts, base, item.length).values

    @property
    def _declared(self) -> bool:
        """Whether the label makes integers real: by a missing value or a scale."""
        return any(
            item.fill_texts or item.scale != 1.0 or item.offset != 0.0
            for item in self.fields
        )

    def _each(self) -> list[tuple[int, int, bytes]]:
        return [
            (i, j, self.cell(i, j).strip(b" "))
            for i in range(self.rows.size)
            for j in range(self.starts.size)
        ]

    def booleans(self) -> np.ndarray[Any, Any]:
        """Return boolean cells; as 1.0 and 0.0 if one may be, or is, missing."""
        values = np.empty((self.rows.size, self.starts.size), dtype=np.bool_)
        declared = any(item.fill_texts for item in self.fields)
        if (self.lengths == 2).all() and not (declared or self.may_be_empty):
            # "1 " or " 1": masks have a million such cells, so no Python loop
            first = self.records[self.rows[:, None], self.starts]
            second = self.records[self.rows[:, None], self.starts + 1]
            digit = np.where(first == ord(" "), second, first)
            one_blank = (first == ord(" ")) ^ (second == ord(" "))
            bad = ~one_blank | ((digit != ord("0")) & (digit != ord("1")))
            if bad.any():
                i, j = np.argwhere(bad)[0]
                raise self.fail(int(i), int(j))
            values[...] = digit == ord("1")
            return values
        missing = np.zeros(values.shape, dtype=np.bool_)
        for i, j, text in self._each():
            missing[i, j] = self._is_constant(i, j) or (self.may_be_empty and not text)
            if not missing[i, j] and text not in _TRUTH:
                raise self.fail(i, j)
            values[i, j] = _TRUTH.get(text, False)
        if declared or missing.any():
            return np.where(missing, np.nan, values.astype(np.float64))
        return values

    def _usual_times(self) -> np.ndarray[Any, np.dtype[np.datetime64]] | None:
        """Parse ``YYYY-MM-DDThh:mm:ss.mmmZ`` cells at once; None if one differs."""
        width = int(self.lengths.min())
        if width < len(_USUAL) or (self.lengths != width).any():
            return None
        places = self.starts[:, None] + np.arange(width)
        cells = self.records[self.rows[:, None, None], places]
        n = len(_USUAL)
        model = np.frombuffer(_USUAL, dtype=np.uint8)
        digits = model == ord("0")
        usual = (cells[..., n:] == ord(" ")).all()
        usual &= (cells[..., :n][..., ~digits] == model[~digits]).all()
        found = cells[..., :n][..., digits]
        usual &= ((found >= ord("0")) & (found <= ord("9"))).all()
        if not usual:
            return None
        years = (found[..., :4].astype(np.int64) - ord("0")) @ [1000, 100, 10, 1]
        if (years < YEARS[0]).any() or (years > YEARS[-1]).any():
            return None
        texts = np.ascontiguousarray(cells[..., : n - 1]).view(f"S{n - 1}")[..., 0]
        try:
            return texts.astype("datetime64[ns]")
        except ValueError:
            return None  # such as month 13: found again, and named, one by one

    def times(self) -> np.ndarray[Any, np.dtype[np.datetime64]]:
        """Return times; blank ones and special constants are NaT."""
        plain = all(
            item.data_type in _CLOCKS and not item.fill_texts for item in self.fields
        )
        usual = self._usual_times() if plain else None
        if usual is not None:
            return usual
        values = np.empty((self.rows.size, self.starts.size), dtype="datetime64[ns]")
        known = [self._moments(item) for item in self.fields]
        for i, j, text in self._each():
            if not text or self._is_constant(i, j):
                values[i, j] = np.datetime64("NaT", "ns")
                continue
            k = j // self.per_field
            try:
                ticks = moment(text, self.fields[k].data_type, whole_days=self.exact)
            except OverflowError:
                years = f"{YEARS[0]} to {YEARS[-1]}"
                why = f" of the years {years}, which times in nanoseconds hold"
                raise self.fail(i, j, why=why) from None
            if ticks is None:
                raise self.fail(i, j)
            missing = ticks in known[k]
            values[i, j] = np.datetime64("NaT" if missing else int(ticks), "ns")
        return values

    @staticmethod
    def _moments(item: Field) -> set[int | None]:
        """Return the special constants of a field that are times."""
        found: set[int | None] = set()
        for text in item.fill_texts:
            with contextlib.suppress(OverflowError):  # as no cell can be
                found.add(moment(text.encode(), item.data_type))
        return found

    def texts(self) -> np.ndarray[Any, Any]:
        """Return text without the blanks around it."""
        width = int(self.lengths.max())
        values = np.empty((self.rows.size, self.starts.size), dtype=f"U{width}")
        for i, j, text in self._each():
            item = self.fields[j // self.per_field]
            digits = _DIGITS.get(BASES.get(item.data_type, 0))
            values[i, j] = self._text(i, j, text, item.data_type)
            known, found = item.fill_texts, str(values[i, j])
            if digits is not None:  # of which the letters may be large or small
                known, found = tuple(map(str.upper, known)), found.upper()
            if found in known:
                values[i, j] = ""
            elif digits is not None and text and not digits.fullmatch(text):
                raise self.fail(i, j)
        return values

    def _text(self, i: int, j: int, text: bytes, data_type: str) -> str:
        """Return a text cell; refuse bytes that its type does not have."""
        if _PRINTABLE.fullmatch(text):
            return text.decode("ascii")
        coding = "utf-8" if data_type == "UTF8_String" else "ascii"
        try:
            found = text.decode(coding)
        except UnicodeDecodeError:
            raise self.fail(i, j, _STREAM) from None
        # NUL, of which text ends, is part of none: a block of zeros is damage
        if "\0" in found or (self.exact and _CONTROL.search(found)):
            raise self.fail(i, j, _STREAM)
        return found
