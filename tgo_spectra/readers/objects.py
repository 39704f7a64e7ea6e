"""All objects of a product as lazy variables: binary and delimited tables, arrays.

Nothing here knows an instrument.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import Columns, Table
from tgo_spectra.pds4.binary import ArrayObject, BinaryTable
from tgo_spectra.readers.lazy import (
    ByteOrder,
    ColumnArray,
    LazyArray,
    dtype_of,
    lazy,
    snake_case,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4 import Field, Structure
    from tgo_spectra.pds4.delimited import DelimitedTable

__all__ = [
    "FieldArray",
    "HexArray",
    "ObjectArray",
    "array_dataset",
    "hex_bytes",
    "table_dataset",
]

_BAD = np.uint16(0xFFFF)  # no byte has this value


_HEX_BYTES = 2  # characters of one byte


@lru_cache(maxsize=1)
def _pairs() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return the byte that two characters stand for, by the characters as a number."""
    table = np.full(1 << 16, _BAD, dtype=np.uint16)
    digits = b"0123456789abcdefABCDEF"
    for first in digits:
        for second in digits:
            value = int(bytes((first, second)), 16)
            table[first | second << 8] = value
    table.setflags(write=False)
    return table


def hex_bytes(
    text: np.ndarray[Any, np.dtype[np.uint8]],
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return the bytes (..., n) of hexadecimal text (..., 2 n), and which are bad.

    Bad is a pair of characters that are no digits; a blank is none.

    Examples
    --------
    >>> values, bad = hex_bytes(np.frombuffer(b"D72dzz", dtype=np.uint8))
    >>> values[:2].tolist(), bad.tolist()
    ([215, 45], [False, False, True])
    """
    found = _pairs()[np.ascontiguousarray(text).view("<u2")]
    return found.astype(np.uint8), found == _BAD


class HexArray(LazyArray):
    """Two-character base-16 cells as bytes or, with an order, joined to words."""

    def __init__(self, table: Table, item: Field, byte_order: ByteOrder | None) -> None:
        self.table = table
        self.item = item
        self.byte_order = byte_order
        count = item.shape[0]
        if byte_order is not None and count % 2:
            msg = "an odd number of bytes cannot be joined to words"
            raise ProductError(
                msg,
                path=str(table.source),
                field=item.name,
                value=count,
                rule="table.fields_mismatch",
            )
        width = count if byte_order is None else count // 2
        self.shape = (table.layout.records, width)
        self.dtype = np.dtype(np.uint8 if byte_order is None else np.uint16)

    def read(self, key: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
        """Decode the rows of a basic index (integers and slices), then pick cells."""
        item = self.item
        rows = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        stop = item.start + item.shape[0] * _HEX_BYTES
        values, bad = hex_bytes(self.table.records()[rows, item.start : stop])
        if bad.any():
            row, cell = np.argwhere(bad)[0]
            raise self.fail(int(rows[row]), item.start + int(cell) * _HEX_BYTES)
        if self.byte_order is not None:
            stored = ">u2" if self.byte_order == "big" else "<u2"
            values = values.view(stored).astype(np.uint16)
        picked = values[:, key[1]]
        return picked if isinstance(key[0], slice) else picked[0]

    def fail(self, row: int, column: int) -> ProductError:
        """Return the error of one cell."""
        layout = self.table.layout
        cell = self.table.records()[row, column : column + _HEX_BYTES].tobytes()
        msg = f"cell is no valid {self.item.data_type}"
        return ProductError(
            msg,
            path=str(self.table.source),
            field=" / ".join((*self.item.groups, self.item.name)),
            record=row,
            offset=layout.offset + row * layout.record_length + column,
            value=cell.decode("ascii", "backslashreplace"),
            rule="table.field_value_data_type_mismatch",
        )


class FieldArray(LazyArray):
    """One field of a binary or delimited table, read when indexed."""

    def __init__(self, table: BinaryTable | DelimitedTable, item: Field) -> None:
        self.table = table
        self.name = " / ".join((*item.groups, item.name))
        self.shape = (table.layout.records, *item.shape)
        self.dtype = _field_dtype(table, item)

    def read(self, key: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
        """Read the cells of a basic index (integers and slices)."""
        first = key[0]
        if isinstance(first, slice):
            values = self.table.read(self.name, first)[(slice(None), *key[1:])]
        else:
            row = range(self.shape[0])[first]
            values = self.table.read(self.name, slice(row, row + 1))[(0, *key[1:])]
        return np.asarray(values, dtype=self.dtype)


def _field_dtype(table: BinaryTable | DelimitedTable, item: Field) -> np.dtype[Any]:
    if isinstance(table, BinaryTable):
        found = table.dtype(item)
        return dtype_of(item) if found is None else found
    dtype = dtype_of(item)
    if dtype.kind in "Uiub":
        # text is as wide as the widest cell, and an empty one makes integers real
        cells: np.ndarray[Any, np.dtype[Any]] = np.asarray(
            table.read(" / ".join((*item.groups, item.name)))
        )
        return cells.dtype
    return dtype


class ObjectArray(LazyArray):
    """Some axes of an array of a product, in any order, read when indexed.

    `picks` gives the index on each axis left out; `lead` puts an axis of length 1 in
    front.
    """

    def __init__(
        self,
        item: ArrayObject,
        axes: Sequence[int] | None = None,
        picks: dict[int, int] | None = None,
        *,
        lead: bool = False,
    ) -> None:
        self.item = item
        self.axes = tuple(range(len(item.shape))) if axes is None else tuple(axes)
        self.picks = dict(picks or {})
        self.lead = lead
        self.shape = (*((1,) if lead else ()), *(item.shape[k] for k in self.axes))
        self.dtype = item.dtype

    def read(self, key: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
        """Read the elements of a basic index (integers and slices)."""
        head, rest = (key[:1], key[1:]) if self.lead else ((), key)
        chosen: dict[int, int | slice] = dict(self.picks)
        chosen.update(zip(self.axes, rest, strict=True))
        values = self.item.read(tuple(chosen[k] for k in sorted(chosen)))
        kept = [k for k in self.axes if isinstance(chosen[k], slice)]
        stored = sorted(kept)
        values = values.transpose([stored.index(k) for k in kept])
        return np.asarray(values[None][head[0]] if head else values)


def table_dataset(
    table: Structure, *, byte_order: ByteOrder | None = None
) -> xr.Dataset:
    """Return all fields of a table as lazy variables (record, ...).

    Groups add ``byte`` or, with a byte order, ``pixel`` (base-16 text), or dimensions
    called after the variable. Names are the label's in snake case; its name, unit and
    description are attributes.
    """
    if isinstance(table, ArrayObject):
        msg = f"{table.name!r} is an array"
        raise TypeError(msg)
    variables: dict[str, xr.Variable] = {}
    for item in table.layout.fields:
        # an unnamed group has no name of its own to add
        groups = [name for name in item.groups if not name.startswith("GROUP_")]
        taken = (*variables, "record", "byte", "pixel")
        name = _free(snake_case(" ".join((*groups, item.name))), taken)
        attrs = _field_attrs(item)
        if isinstance(table, Table) and _is_hex(item):
            word = byte_order is not None
            variables[name] = lazy(
                ("record", "pixel" if word else "byte"),
                HexArray(table, item, byte_order),
                attrs | ({"byte_order": str(byte_order)} if word else {}),
            )
            continue
        array: LazyArray
        if isinstance(table, Table):
            array = ColumnArray(table, Columns([item]), (), dtype_of(item), ())
        else:
            array = FieldArray(table, item)
        extra = [f"{name}_{k}" for k in range(len(item.shape))]
        variables[name] = lazy(("record", *extra), array, attrs)
    ds = xr.Dataset(variables)
    ds.attrs["label_name"] = table.layout.name
    return ds


def _is_hex(item: Field) -> bool:
    packed = len(item.shape) == 1 and item.strides == (item.length,)
    base16 = item.data_type == "ASCII_Numeric_Base16"
    return base16 and packed and item.length == _HEX_BYTES and not item.fill_texts


def array_dataset(item: ArrayObject) -> xr.Dataset:
    """Return an array as a lazy variable over the axis names of its label."""
    dims: list[str] = []
    for axis in item.axes:
        dims.append(_free(snake_case(axis), dims))
    attrs = {"label_name": item.name}
    if item.unit is not None:
        attrs["label_unit"] = item.unit
    variable = lazy(dims, ObjectArray(item), attrs)
    ds = xr.Dataset({_free(snake_case(item.name), dims): variable})
    ds.attrs["label_name"] = item.name
    return ds


def _field_attrs(item: Field) -> dict[str, Any]:
    attrs = {"label_name": " / ".join((*item.groups, item.label_name))}
    if item.unit is not None:
        attrs["label_unit"] = item.unit
    if item.description and item.description != item.name:
        attrs["label_description"] = item.description
    return attrs


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that is not taken yet."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
