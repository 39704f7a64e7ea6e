"""Lazy arrays over the columns of a character table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from tgo_spectra.pds4 import Field, Table

__all__ = ["ColumnArray"]


class ColumnArray(BackendArray):
    """Fields of one kind as one array over (spectrum, ...), parsed when indexed.

    Parameters
    ----------
    table : Table
        The checked table.
    fields : tuple of Field
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
        fields: tuple[Field, ...],
        layout: tuple[int, ...],
        dtype: np.dtype[Any],
        fills: tuple[float, ...],
    ) -> None:
        self.table = table
        self.fields = fields
        self.layout = layout
        self.fills = fills
        self.shape = (table.layout.records, *layout, *fields[0].shape)
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Parse what is asked for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self.read
        )

    def read(self, key: tuple[int | slice, ...] = ()) -> np.ndarray[Any, Any]:
        """Parse the cells of a basic index (integers and slices)."""
        whole = slice(None)
        key = (*key, *(whole,) * (len(self.shape) - len(key)))
        n = len(self.layout)
        rows = np.atleast_1d(np.arange(self.shape[0])[key[0]])
        chosen = np.arange(len(self.fields)).reshape(self.layout)[key[1 : n + 1]]
        repeats = key[n + 1 :]
        fields = [self.fields[i] for i in chosen.ravel()]
        if not fields or not rows.size:
            shape = np.empty(self.shape, dtype=[])[key].shape
            return np.empty(shape, dtype=self.dtype)
        values = self.table.read(fields, rows, fills=self.fills, repeats=repeats)
        values = values.reshape(rows.size, *chosen.shape, *values.shape[2:])
        return values if isinstance(key[0], slice) else values[0]
