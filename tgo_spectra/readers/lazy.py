"""Columns of a product as lazy variables, and how these are called.

Nothing here knows an instrument.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from tgo_spectra.pds4.fields import (
    INTEGER_TYPES,
    REAL_TYPES,
    TIME_TYPES,
    base_of,
    is_wide,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4 import Columns, Field, Table

__all__ = [
    "ByteOrder",
    "ColumnArray",
    "LazyArray",
    "MaskedArray",
    "dtype_of",
    "kept_once_read",
    "lazy",
    "node_name",
    "snake_case",
    "with_leaves",
]

_SET_LATER = frozenset(
    (
        *("reading_mode", "quality_notes", "flags_without_meaning", "mask_applied"),
        *("source_file", "source_md5", "source_md5_verified", "source_repairs"),
        *("experimental", "experimental_note", "objects_left_out", "other_objects"),
        *("geometry_found", "geometry_product", "label_name", "axes_from", "part_axis"),
    )
)
"""Attributes that readers give a product after those of its label."""


class LazyArray(BackendArray, ABC):
    """An array of which only what is asked for is read, by basic indices."""

    shape: tuple[int, ...]

    @abstractmethod
    def read(self, key: tuple[int | slice, ...]) -> np.ndarray[Any, Any]:
        """Read what a basic index (integers and slices) picks."""

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read what is asked for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.read
        )


class ColumnArray(LazyArray):
    """Fields of one kind as one array over (spectrum, ...), parsed when indexed.

    Parameters
    ----------
    table : Table
        The checked table.
    columns : Columns
        Fields of one data type and shape, in the order of `layout`.
    layout : tuple of int
        Dimensions that the fields span, such as (5, 2) for points and edges; ``()``
        for a single field. The array has shape ``(row, *layout, *repetitions)``.
    dtype : dtype
        What `Table.read` returns for these fields.
    fills : tuple of float
        Values that mean "missing".
    """

    def __init__(
        self,
        table: Table,
        columns: Columns,
        layout: tuple[int, ...],
        dtype: np.dtype[Any],
        fills: tuple[float, ...],
    ) -> None:
        self.table = table
        self.columns = columns
        self.layout = layout
        self.fills = fills
        self.shape = (table.layout.records, *layout, *columns.starts.shape[1:])
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Parse what is asked for."""
        if all(isinstance(part, slice) and part == slice(None) for part in key.tuple):
            return self.read()  # all of it: no need to take the index apart
        return super().__getitem__(key)

    def read(self, key: tuple[int | slice, ...] = ()) -> np.ndarray[Any, Any]:
        """Parse the cells of a basic index (integers and slices)."""
        if not key:
            values = self.table.read(self.columns, fills=self.fills)
            return values.reshape(self.shape)
        whole = slice(None)
        key = (*key, *(whole,) * (len(self.shape) - len(key)))
        n = len(self.layout)
        rows = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        chosen = np.arange(len(self.columns.fields)).reshape(self.layout)[
            key[1 : n + 1]
        ]
        repeats = key[n + 1 :]
        if not chosen.size or not rows.size:
            shape = np.empty(self.shape, dtype=[])[key].shape
            return np.empty(shape, dtype=self.dtype)
        columns = self.columns[chosen.ravel().tolist()]
        values = self.table.read(columns, rows, fills=self.fills, repeats=repeats)
        values = values.reshape(rows.size, *chosen.shape, *values.shape[2:])
        return values if isinstance(key[0], slice) else values[0]


class MaskedArray(LazyArray):
    """Real values that are missing where a mask of the same shape is true."""

    def __init__(self, values: ColumnArray, mask: ColumnArray) -> None:
        self.values = values
        self.mask = mask
        self.shape = values.shape
        self.dtype = values.dtype

    def read(self, key: tuple[int | slice, ...] = ()) -> np.ndarray[Any, Any]:
        """Parse values and mask of a basic index."""
        return np.where(self.mask.read(key), np.nan, self.values.read(key))


def kept_once_read(ds: xr.Dataset) -> xr.Dataset:
    """Make the lazy variables of a Dataset keep their values once they are read.

    That is what ``xarray.open_dataset`` does for an engine, without the copies of all
    variables that it makes on the way.
    """
    for variable in ds.variables.values():
        lazy = variable._data
        if isinstance(lazy, indexing.LazilyIndexedArray):
            guarded: Any = indexing.CopyOnWriteArray(lazy)
            kept: Any = indexing.MemoryCachedArray
            variable.data = kept(guarded)
    return ds


def dtype_of(item: Field) -> np.dtype[Any]:
    """Return the type of the values that `Table.read` makes of a field."""
    if item.data_type in REAL_TYPES:
        return np.dtype(np.float64)
    base = base_of(item.data_type, item.length)
    if item.data_type in INTEGER_TYPES or base is not None:
        if item.fill_texts or item.scale != 1.0 or item.offset != 0.0:
            return np.dtype(np.float64)
        unsigned = base is not None or is_wide(item.data_type, item.length)
        return np.dtype(np.uint64 if unsigned else np.int64)
    if item.data_type == "ASCII_Boolean":
        return np.dtype(np.float64 if item.fill_texts else np.bool_)
    if item.data_type in TIME_TYPES:
        return np.dtype("datetime64[ns]")
    return np.dtype(f"U{item.length}")


def snake_case(name: str) -> str:
    """Return a label's field name as a variable name.

    Examples
    --------
    >>> snake_case("DetectorTemperature"), snake_case("YValidFlag")
    ('detector_temperature', 'y_valid_flag')
    >>> snake_case("Pixel mask (2)")
    'pixel_mask_2'
    """
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_") or "field"


def with_leaves(attrs: dict[str, Any], leaves: dict[str, str]) -> dict[str, Any]:
    """Return attributes with every leaf of a label; a name that is taken changes.

    Examples
    --------
    >>> with_leaves({"title": "t"}, {"label_title": "a", "title": "b", "orbit": "7"})
    {'title': 't', 'label_title': 'a', 'label_label_title': 'b', 'orbit': '7'}
    """
    result = dict(attrs)
    for name, text in leaves.items():
        key = name
        while key in result or key in _SET_LATER:
            key = f"label_{key}"
        result[key] = text
    return result


ByteOrder = Literal["big", "little"]


def lazy(dims: Sequence[str], array: LazyArray, attrs: dict[str, Any]) -> xr.Variable:
    """Return a lazy variable; no chunk is preferred along its first dimension."""
    chunks = dict(zip(dims[1:], array.shape[1:], strict=True))
    data = indexing.LazilyIndexedArray(array)
    return xr.Variable(dims, data, attrs, {"preferred_chunks": chunks})


def node_name(name: str) -> str:
    """Return a name of a label as that of a node: it must be no path.

    Examples
    --------
    >>> node_name("Geometry-1"), node_name("a/b"), node_name("..")
    ('Geometry-1', 'a_b', '__')
    """
    return "_" * len(name) if name in {".", ".."} else name.replace("/", "_")
