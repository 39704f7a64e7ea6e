"""Cells of a character table as arrays, one method for each kind of data type."""

from __future__ import annotations

import calendar
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.xml import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field

__all__ = ["Cells", "Layout"]

_YMD = re.compile(rb"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?Z?")
_DOY = re.compile(rb"(\d{4})-(\d{3})((?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?)Z?")
_USUAL = b"0000-00-00T00:00:00.000Z"  # the archive's form; 0 stands for a digit
_YEARS = range(1678, 2262)  # whole years that datetime64[ns] holds; others would wrap
_TRUTH = {b"1": True, b"true": True, b"0": False, b"false": False}
_STREAM = "validation.invalid_character_stream"
_PRINTABLE = re.compile(rb"[ -~]*")  # ASCII without control characters
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_DIGITS = {
    "ASCII_Numeric_Base2": re.compile(rb"[01]*"),
    "ASCII_Numeric_Base8": re.compile(rb"[0-7]*"),
    "ASCII_Numeric_Base16": re.compile(rb"([0-9A-Fa-f]{2})*"),  # whole bytes
}
_EXACT = 2**53  # larger integers may not be a float64


def _whole(text: str) -> int | None:
    """Return a special constant as an integer, None if it is none of 64 bits."""
    if re.fullmatch(r"[+-]?[0-9]{1,40}", text):
        value = int(text)  # not by way of float, which rounds
    else:
        real = number(text)
        if real is None or not real.is_integer():
            return None
        value = int(real)
    return value if -(2**63) <= value < 2**63 else None


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
    """

    def __init__(
        self,
        layout: Layout,
        path: str,
        fields: Sequence[Field],
        records: np.ndarray[Any, np.dtype[np.uint8]],
        rows: np.ndarray[Any, np.dtype[np.int64]],
        starts: np.ndarray[Any, np.dtype[np.int64]],
    ) -> None:
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
        self, i: int, j: int, rule: str = "table.field_value_data_type_mismatch"
    ) -> ProductError:
        """Return the error of one cell, with its place and text."""
        item = self.fields[j // self.per_field]
        layout = self.layout
        cell = self.cell(i, j)
        if not cell.isascii():
            rule = _STREAM
        return ProductError(
            f"cell is no valid {item.data_type}",
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
        return self.cell(i, j).strip(b" ").decode("latin-1") in texts

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
        if len({item.fill_texts for item in self.fields}) == 1:
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
        declared = (number(text) for text in item.fill_texts)
        for fill in {*fills, *(f for f in declared if f is not None)}:
            missing = values == fill
            if missing.any():
                values[missing] = np.nan

    def integers(self, fills: Sequence[float]) -> np.ndarray[Any, Any]:
        """Return integer cells; as real ones if a missing value is declared."""
        values, states, n_blank, n_other = self._kernel("parse_integers", np.int64)
        words = np.zeros(states.shape, dtype=np.bool_)
        if n_blank or n_other:
            for i, j in np.argwhere(states != 0):
                if states[i, j] == 1:
                    raise self.fail(i, j, "table.blank_field_value")
                if not self._is_constant(i, j):
                    raise self.fail(i, j)
                words[i, j] = True
        declared = any(
            item.fill_texts or item.scale != 1.0 or item.offset != 0.0
            for item in self.fields
        )
        if not declared:
            for fill in fills:
                if (values == int(fill)).any():
                    i, j = np.argwhere(values == int(fill))[0]
                    raise self.fail(i, j, "table.field_value_is_special_constant")
            self._refuse_negative(values, words)
            return values
        for k, item in enumerate(self.fields):
            part = slice(k * self.per_field, (k + 1) * self.per_field)
            known = (_whole(text) for text in item.fill_texts)
            for fill in {*map(int, fills), *(f for f in known if f is not None)}:
                words[:, part] |= values[:, part] == fill
        self._refuse_negative(values, words)
        result = values.astype(np.float64)
        for i, j in np.argwhere(~words & (np.abs(values) > _EXACT)):
            if int(result[i, j]) != int(values[i, j]):
                # NaN needs a float64, which cannot hold this one
                raise self.fail(i, j)
        result[words] = np.nan
        self._scale(result)
        return result

    def _refuse_negative(
        self,
        values: np.ndarray[Any, np.dtype[np.int64]],
        missing: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> None:
        """Refuse signs in fields that may have none."""
        if any(item.data_type == "ASCII_NonNegative_Integer" for item in self.fields):
            wrong = (values < 0) & ~missing
            if wrong.any():
                i, j = np.argwhere(wrong)[0]
                raise self.fail(int(i), int(j))

    def _each(self) -> list[tuple[int, int, bytes]]:
        return [
            (i, j, self.cell(i, j).strip(b" "))
            for i in range(self.rows.size)
            for j in range(self.starts.size)
        ]

    def booleans(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return boolean cells."""
        values = np.empty((self.rows.size, self.starts.size), dtype=np.bool_)
        if (self.lengths == 2).all():
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
        for i, j, text in self._each():
            if text not in _TRUTH:
                raise self.fail(i, j)
            values[i, j] = _TRUTH[text]
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
        if (years < _YEARS[0]).any() or (years > _YEARS[-1]).any():
            return None
        texts = np.ascontiguousarray(cells[..., : n - 1]).view(f"S{n - 1}")[..., 0]
        try:
            return texts.astype("datetime64[ns]")
        except ValueError:
            return None  # such as month 13: found again, and named, one by one

    def times(self) -> np.ndarray[Any, np.dtype[np.datetime64]]:
        """Return times (UTC); blank ones are NaT."""
        if not any(item.fill_texts for item in self.fields):
            usual = self._usual_times()
            if usual is not None:
                return usual
        texts = np.empty((self.rows.size, self.starts.size), dtype="U32")
        for i, j, text in self._each():
            item = self.fields[j // self.per_field]
            if not text or text.decode("latin-1") in item.fill_texts:
                texts[i, j] = "NaT"
                continue
            clock = b"T" in text and "Time" not in item.data_type
            pattern = _DOY if "DOY" in item.data_type else _YMD
            day = None if clock else pattern.fullmatch(text)
            if day is None or int(text[:4]) not in _YEARS:
                raise self.fail(i, j)
            if pattern is _YMD:
                texts[i, j] = text.removesuffix(b"Z").decode()
                continue
            if not 1 <= int(day[2]) <= 365 + calendar.isleap(int(day[1])):
                raise self.fail(i, j)
            start = np.datetime64(day[1].decode())
            date = start + np.timedelta64(int(day[2]) - 1, "D")
            texts[i, j] = str(date) + day[3].decode()
        try:
            return texts.astype("datetime64[ns]")
        except ValueError:
            for i, j in np.ndindex(texts.shape):
                try:
                    np.datetime64(str(texts[i, j]))
                except ValueError:
                    raise self.fail(i, j) from None
            raise

    def texts(self) -> np.ndarray[Any, Any]:
        """Return text without the blanks around it."""
        width = int(self.lengths.max())
        values = np.empty((self.rows.size, self.starts.size), dtype=f"U{width}")
        for i, j, text in self._each():
            item = self.fields[j // self.per_field]
            values[i, j] = self._text(i, j, text, item.data_type)
            if values[i, j] in item.fill_texts:
                values[i, j] = ""
            elif item.data_type in _DIGITS and not _DIGITS[item.data_type].fullmatch(
                text
            ):
                raise self.fail(i, j)
        return values

    def _text(self, i: int, j: int, text: bytes, data_type: str) -> str:
        """Return a text cell; refuse bytes that its type does not have."""
        if _PRINTABLE.fullmatch(text):
            return text.decode("ascii")
        if data_type != "UTF8_String":
            raise self.fail(i, j, _STREAM)
        try:
            found = text.decode("utf-8")
        except UnicodeDecodeError:
            raise self.fail(i, j, _STREAM) from None
        if _CONTROL.search(found):
            raise self.fail(i, j, _STREAM)
        return found
