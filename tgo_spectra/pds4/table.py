"""Character tables: bytes checked once, then columns parsed on demand."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.cells import Cells, Layout
from tgo_spectra.pds4.coverage import blocks, cell_starts, check_ends, stray_character
from tgo_spectra.pds4.fields import INTEGER_TYPES, REAL_TYPES, TIME_TYPES, base_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4.label import Field, FileArea, TableCharacter
    from tgo_spectra.pds4.source import Source

__all__ = ["Columns", "Table", "open_table", "parse_cells", "repaired"]

_PADDING = b" \0\r\n\x1a"  # Ctrl-Z ends text files of old systems
_PADDING_MAX = 2**16  # bytes; a block of an old tape has less, a fault may have GiB

_CACHE_BYTES = 64 * 2**20  # raw bytes of recently read tables (about ten NOMAD files)
_CACHE_TABLES = 64  # of any size: their bytes are summed up at each new one
_cache: OrderedDict[
    tuple[object, ...], tuple[np.ndarray[Any, np.dtype[np.uint8]], _Checksum]
] = OrderedDict()
_lock = threading.Lock()


class _Checksum:
    """MD5 of a file, computed in a thread of its own (hashing releases the GIL).

    Parameters
    ----------
    data : bytes
        The whole file.
    wanted : str, optional
        What the label promises.
    path : str
        The file, for messages.
    """

    def __init__(self, data: bytes | None, wanted: str | None, path: str) -> None:
        self.found: str | None = None
        self.wanted = wanted
        self.path = path
        self.thread: threading.Thread | None = None
        if data is not None:
            self.thread = threading.Thread(target=self._hash, args=(data,))
            self.thread.start()

    def _hash(self, data: bytes) -> None:
        self.found = _md5(data)

    def digest(self) -> str | None:
        """Wait for the MD5 and return it; None if it was not wanted."""
        thread = self.thread
        if thread is not None:
            thread.join()
            self.thread = None  # and with it the data
        return self.found

    def value(self) -> str | None:
        """Return the MD5 if the label agrees with it.

        Raises
        ------
        ProductError
            ``label.checksum_mismatch``.
        """
        self.digest()
        if self.found is not None and self.wanted not in {None, self.found}:
            msg = f"MD5 of the file differs from the label's {self.wanted}"
            raise ProductError(
                msg,
                path=self.path,
                value=self.found,
                rule="label.checksum_mismatch",
            )
        return self.found

    def __getstate__(self) -> dict[str, object]:
        """Pickle the result, not the work."""
        return {
            "found": self.value(),
            "wanted": self.wanted,
            "path": self.path,
            "thread": None,
        }


class Columns:
    """Fields of one data type and shape, and where their cells are in a record.

    Attributes
    ----------
    fields : tuple of Field
    starts : ndarray of int64, shape ``(field, *repetitions)``
        First byte of every cell.
    """

    __slots__ = ("fields", "starts")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.starts = np.stack([cell_starts(item) for item in self.fields])

    def __getitem__(self, chosen: Sequence[int]) -> Columns:
        """Return some of the fields."""
        return Columns([self.fields[i] for i in chosen])


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
    opened : tuple of int
        Modification time (ns) and size (bytes) of the file on disk when the table was
        opened.
    exact : bool
        Hold cells to what the archive's own instruments write.
    """

    layout: TableCharacter
    source: Source
    opened: tuple[int, int]
    checksum: _Checksum
    exact: bool = False

    @property
    def md5(self) -> str | None:
        """MD5 of the whole file; None if it was not computed.

        Raises
        ------
        ProductError
            ``label.checksum_mismatch`` if the label promises another one.
        """
        return self.checksum.value()

    @property
    def md5_verified(self) -> bool:
        """Whether the file has the MD5 that the label promises."""
        return self.md5 is not None and self.md5 == self.checksum.wanted

    def records(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the table as bytes, shape (record, byte); read-only.

        Raises
        ------
        ProductError
            ``label.checksum_mismatch`` if the file changed since it was opened.
        """
        stamp = _stamp(self.source)
        with _lock:
            found, checksum = _cache.get(self._key(stamp), (None, None))
            if found is not None:
                _cache.move_to_end(self._key(stamp))
        if found is not None and checksum is not None:
            # read for this table, or with the same result for another one
            same = checksum is self.checksum
            if same or (stamp == self.opened and checksum.digest() == self.md5):
                return found
        data = self.source.read()
        was = self.opened if self.md5 is None else self.md5
        now = stamp if self.md5 is None else _md5(data)
        if was != now:
            msg = f"file changed while in use (was {was})"
            raise ProductError(
                msg,
                path=str(self.source),
                value=now,
                rule="label.checksum_mismatch",
            )
        return self._remember(data, stamp)

    def _key(self, stamp: tuple[int, int]) -> tuple[object, ...]:
        layout = self.layout
        return self.source, stamp, layout.offset, layout.records, layout.record_length

    def _remember(
        self, data: bytes, stamp: tuple[int, int]
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        layout = self.layout
        view = np.frombuffer(
            data,
            dtype=np.uint8,
            count=layout.records * layout.record_length,
            offset=layout.offset,
        ).reshape(layout.records, layout.record_length)
        with _lock:
            _cache[self._key(stamp)] = view, self.checksum
            while len(_cache) > _CACHE_TABLES or (
                len(_cache) > 1
                and sum(v.nbytes for v, _ in _cache.values()) > _CACHE_BYTES
            ):
                _cache.popitem(last=False)
        return view

    def read(
        self,
        fields: Sequence[Field] | Columns,
        rows: np.ndarray[Any, np.dtype[np.int64]] | None = None,
        *,
        fills: Sequence[float] = (),
        repeats: tuple[Any, ...] = (),
    ) -> np.ndarray[Any, Any]:
        """Parse fields of one data type; only their bytes are touched.

        Parameters
        ----------
        fields : sequence of Field, or Columns
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
            float64 (missing is NaN), int64, bool, datetime64[ns] or str; uint64 for
            numbers of base 2, 8 or 16, and for integers without a sign of 19
            characters or more. Where a missing value is declared, integers and
            booleans are float64.

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
        path = str(self.source)
        try:
            return parse_cells(
                self.layout,
                path,
                fields,
                records,
                rows,
                fills,
                repeats,
                exact=self.exact,
            )
        except ProductError:
            self.checksum.value()  # a damaged file explains the bad cell
            raise

    def same_in_all_rows(self, item: Field) -> bool:
        """Say whether the bytes of a field are equal in all records."""
        records = self.records()
        starts, length = blocks(item)
        return all(
            bool((records[:, s : s + length] == records[0, s : s + length]).all())
            for s in starts
        )


def parse_cells(
    layout: Layout,
    path: str,
    fields: Sequence[Field] | Columns,
    records: np.ndarray[Any, np.dtype[np.uint8]],
    rows: np.ndarray[Any, np.dtype[np.int64]],
    fills: Sequence[float] = (),
    repeats: tuple[Any, ...] = (),
    *,
    exact: bool = False,
    may_be_empty: bool = False,
) -> np.ndarray[Any, Any]:
    """Parse text fields of one data type; see `Table.read` and `Cells`."""
    columns = fields if isinstance(fields, Columns) else Columns(fields)
    starts = columns.starts[(slice(None), *repeats)] if repeats else columns.starts
    cells = Cells(
        layout,
        path,
        columns.fields,
        records,
        rows,
        starts,
        exact=exact,
        may_be_empty=may_be_empty,
    )
    kind = columns.fields[0].data_type
    base = base_of(kind, max(item.length for item in columns.fields))
    if kind in REAL_TYPES:
        values: np.ndarray[Any, Any] = cells.reals(fills)
    elif kind in INTEGER_TYPES:
        values = cells.integers(fills)
    elif kind == "ASCII_Boolean":
        values = cells.booleans()
    elif base is not None:
        values = cells.based(base)
    else:
        values = cells.times() if kind in TIME_TYPES else cells.texts()
    return values.reshape(rows.size, *starts.shape)


def _stamp(source: Source) -> tuple[int, int]:
    """Return the stamp of a source; fast, as every variable asks for it."""
    try:
        status = os.lstat(source.path)
    except OSError:
        return source.stamp()  # says what is wrong
    return status.st_mtime_ns, status.st_size


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def open_table(
    layout: TableCharacter,
    area: FileArea,
    source: Source,
    *,
    verify_md5: bool = True,
    wait: bool = True,
    exact: bool = False,
) -> Table:
    """Check a table against its label and return it, ready to be read.

    In this order: size of the file, MD5 (if the label has one), delimiter of every
    record. (Field positions were checked with the label.)

    Parameters
    ----------
    layout : TableCharacter
        From the label.
    area : FileArea
        File that holds it, from the label.
    source : Source
        The file itself.
    verify_md5 : bool
        Compute the MD5 and compare it with the label's.
    wait : bool
        If false, the MD5 may still be at work on return: before any value is given
        to a user, `Table.md5` must be read, which waits and raises.
    exact : bool
        Refuse also bytes after the only table of a file, and anything but blanks
        between fields. Both are legal; `extent_faults` and `stray_character` tell. So
        are control characters in text, and dates that name no day.

    Returns
    -------
    Table

    Raises
    ------
    ProductError
        With rule ``label.filesize_mismatch``, ``label.invalid_object_definition``,
        ``table.record_length_mismatch``, ``table.records_mismatch``,
        ``label.checksum_mismatch``, ``table.missing_CRLF``, ``table.missing_LF``, or
        with `exact` ``table.characters_between_fields``.
    """
    _check_size(layout, area, source, exact=exact)
    stamp = source.stamp()
    data = source.read()
    checksum = _Checksum(data if verify_md5 else None, area.md5, str(source))
    table = Table(layout, source, stamp, checksum, exact)
    try:
        records = table._remember(data, stamp)
        check_ends(layout, str(source), records)
        stray = stray_character(layout, str(source), records) if exact else None
        if stray is not None:
            raise stray
    except ProductError:
        checksum.value()  # comes first: a damaged file explains the bad record
        raise
    if wait:
        checksum.value()
    return table


def _check_size(
    layout: TableCharacter, area: FileArea, source: Source, *, exact: bool
) -> None:
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
    alone = exact and area.alone
    if layout.offset >= size:
        msg = f"table starts at byte {layout.offset} of a file of {size} bytes"
        raise fail(
            msg,
            layout.offset,
            "label.invalid_object_definition",
        )
    if wanted > size or (alone and wanted + area.padding != size):
        body = size - layout.offset
        if area.alone and layout.offset and wanted - layout.offset == size:
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


def repaired(
    layout: TableCharacter, area: FileArea, source: Source
) -> tuple[TableCharacter, FileArea]:
    """Return what label and file agree on, if that cannot change a value.

    Nothing is repaired in a file that differs from the MD5 of its label. The repairs:

    * a data file whose name differs from the label in upper and lower case only is
      taken;
    * records that end in LF although CR LF is declared are read as such, if their
      number and length then fit the file exactly;
    * blanks, NULs, line ends and Ctrl-Z after the last record are ignored, up to
      64 KiB.

    Groups that lie on their predecessor are repaired by `parse_label`.
    """
    if source.name != area.file_name and source.name.lower() == area.file_name.lower():
        note = f"file_name {area.file_name!r} read from {source.name!r}"
        layout = replace(layout, repairs=(*layout.repairs, note))
    size = source.size()
    wanted = layout.offset + layout.records * layout.record_length
    if not area.alone or size in {wanted, 0}:
        return layout, area
    short = wanted - layout.records == size and layout.delimiter == b"\r\n"
    if not short and not wanted < size <= wanted + _PADDING_MAX:
        return layout, area
    data = source.read()
    if area.md5 not in {None, _md5(data)}:
        return layout, area
    if short:
        length = layout.record_length - 1
        ends = data[layout.offset + length - 1 :: length]
        if ends == b"\n" * layout.records and b"\r" not in data[layout.offset :]:
            note = f"record_length {length + 1} read as {length}: records end in LF"
            layout = replace(
                layout,
                record_length=length,
                delimiter=b"\n",
                repairs=(*layout.repairs, note),
            )
            area = replace(area, file_size=None)
    elif not data[wanted:].strip(_PADDING):
        note = f"{size - wanted} bytes of padding after the last record ignored"
        layout = replace(layout, repairs=(*layout.repairs, note))
        area = replace(area, file_size=None, padding=size - wanted)
    return layout, area
