"""Character tables: bytes checked once, then columns parsed on demand."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.cells import Cells
from tgo_spectra.pds4.label import INTEGER_TYPES, REAL_TYPES, TIME_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field, FileArea, TableCharacter
    from tgo_spectra.pds4.source import Source

__all__ = ["Table", "open_table"]

_CACHE_BYTES = 64 * 2**20  # raw bytes of recently read tables (about ten NOMAD files)
_cache: OrderedDict[tuple[object, ...], np.ndarray[Any, np.dtype[np.uint8]]] = (
    OrderedDict()
)
_lock = threading.Lock()


@dataclass(frozen=True)
class Table:
    """A table of one product: description, place of its bytes, and their checksum.

    Holds no file handle and no data: it pickles small, may be used from several
    threads, and reads again (and verifies again) when its bytes are not at hand.

    Attributes
    ----------
    layout : TableCharacter
        Fields and record length from the label.
    source : Source
        File that holds the table.
    md5 : str
        MD5 of that whole file when the table was opened.
    """

    layout: TableCharacter
    source: Source
    md5: str

    def records(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the table as bytes, shape (record, byte); read-only.

        Raises
        ------
        ProductError
            ``label.checksum_mismatch`` if the file changed since it was opened.
        """
        key = (self.source, *self.source.stamp(), self.md5, self.layout.offset)
        with _lock:
            found = _cache.get(key)
            if found is not None:
                _cache.move_to_end(key)
                return found
        data = self.source.read()
        digest = _md5(data)
        if digest != self.md5:
            msg = f"file changed while in use (MD5 was {self.md5})"
            raise ProductError(
                msg,
                path=str(self.source),
                value=digest,
                rule="label.checksum_mismatch",
            )
        return self._remember(data)

    def _remember(self, data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
        layout = self.layout
        view = np.frombuffer(
            data,
            dtype=np.uint8,
            count=layout.records * layout.record_length,
            offset=layout.offset,
        ).reshape(layout.records, layout.record_length)
        key = (self.source, *self.source.stamp(), self.md5, layout.offset)
        with _lock:
            _cache[key] = view
            while (
                len(_cache) > 1
                and sum(v.nbytes for v in _cache.values()) > _CACHE_BYTES
            ):
                _cache.popitem(last=False)
        return view

    def read(
        self,
        fields: Sequence[Field],
        rows: np.ndarray[Any, np.dtype[np.int64]] | None = None,
        *,
        fills: Sequence[float] = (),
        repeats: tuple[Any, ...] = (),
    ) -> np.ndarray[Any, Any]:
        """Parse fields of one data type; only their bytes are touched.

        Parameters
        ----------
        fields : sequence of Field
            Fields of one data type, and of one shape.
        rows : ndarray of int, optional
            Records wanted, 0-based; default all.
        fills : sequence of float
            Values that mean "missing" although the label does not say so.
        repeats : tuple of slices or integers
            Which repetitions of grouped fields are wanted; default all.

        Returns
        -------
        ndarray, shape ``(row, field, *repetitions)``
            float64 (missing is NaN), int64, bool, datetime64[ns] or str.

        Raises
        ------
        ProductError
            ``table.field_value_data_type_mismatch``,
            ``table.blank_field_value``, ``validation.invalid_character_stream``,
            with record, field, byte offset and text of the first bad cell.
        """
        records = self.records()
        if rows is None:
            rows = np.arange(self.layout.records)
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        starts = np.stack([_starts(item)[repeats] for item in fields])
        kind = fields[0].data_type
        cells = Cells(self.layout, str(self.source), fields, records, rows, starts)
        if kind in REAL_TYPES:
            values: np.ndarray[Any, Any] = cells.reals(fills)
        elif kind in INTEGER_TYPES:
            values = cells.integers(fills)
        elif kind == "ASCII_Boolean":
            values = cells.booleans()
        elif kind in TIME_TYPES:
            values = cells.times()
        else:
            values = cells.texts()
        return values.reshape(rows.size, *starts.shape)

    def same_in_all_rows(self, item: Field) -> bool:
        """Say whether the bytes of a field are equal in all records."""
        records = self.records()
        cells = _starts(item).ravel()
        if item.shape and item.strides[-1] == item.length and len(item.shape) == 1:
            block = records[:, item.start : item.start + item.length * item.shape[0]]
            return bool((block == block[0]).all())
        return all(
            bool(
                (
                    records[:, s : s + item.length] == records[0, s : s + item.length]
                ).all()
            )
            for s in cells
        )


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _starts(item: Field) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the first byte of every cell of a field, shape of its repetitions."""
    starts = np.array(item.start, dtype=np.int64)
    for count, step in zip(item.shape, item.strides, strict=True):
        starts = starts[..., None] + np.arange(count, dtype=np.int64) * step
    return starts


def open_table(layout: TableCharacter, area: FileArea, source: Source) -> Table:
    """Check a table against its label and return it, ready to be read.

    In this order: size of the file, MD5 (if the label has one), delimiter of every
    record, blanks between fields. (Field positions were checked with the label.)

    Parameters
    ----------
    layout : TableCharacter
        From the label.
    area : FileArea
        File that holds it, from the label.
    source : Source
        The file itself.

    Returns
    -------
    Table

    Raises
    ------
    ProductError
        With rule ``label.filesize_mismatch``, ``label.invalid_object_definition``,
        ``table.record_length_mismatch``, ``table.records_mismatch``,
        ``label.checksum_mismatch``, ``table.missing_CRLF``, ``table.missing_LF`` or
        ``table.characters_between_fields``.
    """
    _check_size(layout, area, source)
    data = source.read()
    digest = _md5(data)
    if area.md5 is not None and digest != area.md5:
        msg = f"MD5 of the file differs from the label's {area.md5}"
        raise ProductError(
            msg,
            path=str(source),
            value=digest,
            rule="label.checksum_mismatch",
        )
    table = Table(layout, source, digest)
    _check_records(table, table._remember(data))
    return table


def _check_size(layout: TableCharacter, area: FileArea, source: Source) -> None:
    size = source.size()
    wanted = layout.offset + layout.records * layout.record_length

    def fail(message: str, value: object, rule: str) -> ProductError:
        return ProductError(
            message, path=str(source), field=layout.name, value=value, rule=rule
        )

    if area.file_size is not None and size != area.file_size:
        missing = area.file_size - size
        text = f"{missing} bytes are missing" if missing > 0 else f"{-missing} too many"
        msg = f"file has {size} bytes, the label says {area.file_size}: {text}"
        raise fail(
            msg,
            size,
            "label.filesize_mismatch",
        )
    alone = len(area.tables) == 1 and not area.others
    if layout.offset >= size:
        msg = f"table starts at byte {layout.offset} of a file of {size} bytes"
        raise fail(
            msg,
            layout.offset,
            "label.invalid_object_definition",
        )
    if wanted > size or (alone and wanted != size):
        body = size - layout.offset
        if alone and layout.offset and wanted - layout.offset == size:
            msg = "table starts where it cannot end inside the file"
            raise fail(
                msg,
                layout.offset,
                "label.invalid_object_definition",
            )
        by_length = body % layout.record_length and not body % layout.records
        msg = (
            f"{layout.records} records of {layout.record_length} bytes after byte "
            f"{layout.offset} make {wanted} bytes, the file has {size}"
        )
        raise fail(
            msg,
            layout.record_length if by_length else layout.records,
            "table.record_length_mismatch" if by_length else "table.records_mismatch",
        )


def _check_records(table: Table, records: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    layout = table.layout
    mark = np.frombuffer(layout.delimiter, dtype=np.uint8)
    body = layout.record_length - mark.size

    def fail(row: int, column: int, size: int, message: str, rule: str) -> ProductError:
        return ProductError(
            message,
            path=str(table.source),
            record=row,
            offset=layout.offset + row * layout.record_length + column,
            value=records[row, column : column + size].tobytes(),
            rule=rule,
        )

    wrong = (records[:, body:] != mark).any(axis=1)
    if wrong.any():
        name = "CRLF" if mark.size == 2 else "LF"
        raise fail(
            int(wrong.argmax()),
            body,
            mark.size,
            f"record does not end with {name}",
            f"table.missing_{name}",
        )
    free = np.ones(layout.record_length, dtype=np.bool_)
    free[body:] = False
    for item in layout.fields:
        for start in _starts(item).ravel():
            free[start : start + item.length] = False
    if free.any():
        stray = records[:, free] != ord(" ")
        if stray.any():
            row, k = np.argwhere(stray)[0]
            raise fail(
                int(row),
                int(np.flatnonzero(free)[k]),
                1,
                "character between fields is no blank",
                "table.characters_between_fields",
            )
