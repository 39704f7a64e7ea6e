"""Cells of a character table as arrays, one method for each kind of data type."""

from __future__ import annotations

import calendar
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgo_spectra.errors import ProductError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field

__all__ = ["Cells", "Layout"]

_YMD = re.compile(rb"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?Z?")
_DOY = re.compile(rb"(\d{4})-(\d{3})((?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?)Z?")
_USUAL = b"0000-00-00T00:00:00.000Z"  # the archive's form; 0 stands for a digit
_YEARS = range(1678, 2262)  # whole years that datetime64[ns] holds; others would wrap
_TRUTH = {b"1": True, b"true": True, b"0": False, b"false": False}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _decode(
    values: np.ndarray[Any, np.dtype[np.float64]], item: Field, fills: Sequence[float]
) -> None:
    """Replace missing values by NaN, then scale, in place."""
    declared = (_number(text) for text in item.fill_texts)
    for fill in {*fills, *(f for f in declared if f is not None)}:
        missing = values == fill
        if missing.any():
            values[missing] = np.nan
    if item.scale != 1.0 or item.offset != 0.0:
        values *= item.scale
        values += item.offset


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
            rule = "validation.invalid_character_stream"
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
                    raise self.fail(i, j)
                values[i, j] = value
        rules = {(item.fill_texts, item.scale, item.offset) for item in self.fields}
        if len(rules) == 1:
            _decode(values, self.fields[0], fills)
            return values
        for k, item in enumerate(self.fields):
            _decode(
                values[:, k * self.per_field : (k + 1) * self.per_field], item, fills
            )
        return values

    def integers(self, fills: Sequence[float]) -> np.ndarray[Any, Any]:
        """Return integer cells; as real ones if a missing value is declared."""
        values, states, n_blank, n_other = self._kernel("parse_integers", np.int64)
        if n_blank or n_other:
            i, j = np.argwhere(states != 0)[0]
            rule = "table.blank_field_value" if states[i, j] == 1 else None
            raise self.fail(i, j, rule) if rule else self.fail(i, j)
        declared = any(
            item.fill_texts or item.scale != 1.0 or item.offset != 0.0
            for item in self.fields
        )
        if not declared:
            for fill in fills:
                if (values == int(fill)).any():
                    i, j = np.argwhere(values == int(fill))[0]
                    raise self.fail(i, j, "table.field_value_is_special_constant")
            return values
        result = values.astype(np.float64)
        for k, item in enumerate(self.fields):
            part = slice(k * self.per_field, (k + 1) * self.per_field)
            known = (_number(text) for text in item.fill_texts)
            for fill in {*fills, *(f for f in known if f is not None)}:
                result[:, part][values[:, part] == fill] = np.nan
            result[:, part] = result[:, part] * item.scale + item.offset
        return result

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
        usual = self._usual_times()
        if usual is not None:
            return usual
        texts = np.empty((self.rows.size, self.starts.size), dtype="U32")
        for i, j, text in self._each():
            fills = self.fields[j // self.per_field].fill_texts
            day = _DOY.fullmatch(text)
            if not text or text.decode("ascii", "replace") in fills:
                texts[i, j] = "NaT"
            elif not text[:4].isdigit() or int(text[:4]) not in _YEARS:
                raise self.fail(i, j)
            elif day:
                if not 1 <= int(day[2]) <= 365 + calendar.isleap(int(day[1])):
                    raise self.fail(i, j)
                date = np.datetime64(day[1].decode()) + np.timedelta64(
                    int(day[2]) - 1, "D"
                )
                texts[i, j] = str(date) + day[3].decode()
            elif _YMD.fullmatch(text):
                texts[i, j] = text.removesuffix(b"Z").decode()
            else:
                raise self.fail(i, j)
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
            try:
                values[i, j] = text.decode("utf-8")
            except UnicodeDecodeError:
                raise self.fail(i, j) from None
            if values[i, j] in self.fields[j // self.per_field].fill_texts:
                values[i, j] = ""
        return values
