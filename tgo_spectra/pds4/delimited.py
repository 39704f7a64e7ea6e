"""Delimited tables: split into cells once, which are then parsed like fixed ones.

References
----------
PDS4 information model 1.15, ``Table_Delimited`` (parsing standard ``PDS DSV 1``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.binary import file_bytes, find_field
from tgo_spectra.pds4.fields import KNOWN_TYPES, Field, fills_of, unique, valid_of
from tgo_spectra.pds4.label import DELIMITERS
from tgo_spectra.pds4.table import parse_cells

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator

    from tgo_spectra.pds4.source import Source
    from tgo_spectra.pds4.xml import Elements

__all__ = ["DelimitedTable", "TableDelimited", "delimited_layout"]

_FIELD_DELIMITERS = {
    "comma": ",",
    "horizontal tab": "\t",
    "semicolon": ";",
    "vertical bar": "|",
}
"""Character of each ``field_delimiter``."""

_BLOCK_BYTES = 2**22  # looked at together
_PADDED_BYTES_MAX = 2**28  # of a field whose cells all take as much as its longest


@dataclass(frozen=True)
class TableDelimited:
    """A table of delimited records.

    Attributes
    ----------
    name : str
        Name in the label.
    offset, length : int
        First byte in the file, and number of bytes.
    records : int
        Number of records.
    delimiter : bytes
        End of a record.
    separator : str
        Character between cells.
    fields : tuple of Field
        Their ``start``, ``length`` and ``strides`` count cells of a record.
    cells : int
        Cells of a record.
    """

    name: str
    offset: int
    length: int
    records: int
    delimiter: bytes
    separator: str
    fields: tuple[Field, ...]
    cells: int


@dataclass(frozen=True)
class _Cells:
    """Record layout of cells that were copied out of their records."""

    offset: int
    record_length: int


@dataclass(frozen=True)
class DelimitedTable:
    """A checked table of delimited records; holds no file handle and no data.

    Attributes
    ----------
    layout : TableDelimited
        From the label.
    source : Source
        File that holds it.
    size : int
        Bytes of that file when it was checked.
    exact : bool
        Hold cells to what the archive's own instruments write.
    """

    layout: TableDelimited
    source: Source
    size: int
    exact: bool = False

    @property
    def name(self) -> str:
        """Name in the label."""
        return self.layout.name

    def rows(self) -> list[list[str]]:
        """Return all cells as text.

        Raises
        ------
        ProductError
            ``table.records_mismatch``, ``table.fields_mismatch`` (a record with more
            or fewer cells), ``validation.invalid_character_stream``.
        """
        layout = self.layout
        data = file_bytes(self.source, self.size)
        body = data[layout.offset : layout.offset + layout.length].tobytes()
        lines = body.split(layout.delimiter)
        name = "CRLF" if len(layout.delimiter) == 2 else "LF"
        if lines.pop():
            msg = f"last record does not end with {name}"
            raise self._fail(msg, f"table.missing_{name}", len(lines))
        spare = len(lines) - layout.records
        lines = [*joined(lines, layout.delimiter, layout.separator, spare)]
        if len(lines) != layout.records:
            msg = f"label promises {layout.records} records, there are {len(lines)}"
            raise self._fail(msg, "table.records_mismatch", None, len(lines))
        result = []
        for i, line in enumerate(lines):
            try:
                row = _split(line.decode("utf-8"), layout.separator)
            except UnicodeDecodeError:
                msg = "record is not UTF-8"
                rule = "validation.invalid_character_stream"
                raise self._fail(msg, rule, i, line) from None
            if row is None:
                msg = "record cannot be split into cells: a quote is not closed"
                raise self._fail(msg, "table.fields_mismatch", i, line)
            if len(row) != layout.cells:
                msg = f"record has {len(row)} cells, the label says {layout.cells}"
                raise self._fail(msg, "table.fields_mismatch", i, len(row))
            result.append(row)
        return result

    def check(self) -> None:
        """Parse every cell.

        Raises
        ------
        ProductError
            As for `rows` and `read`.
        """
        found = self.rows()
        for item in self.layout.fields:
            self._column(item, found, slice(None))

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray[Any, Any]:
        """Return the values of one field.

        Parameters
        ----------
        name : str
            Name of the field; ``"Group / Field"`` where the name alone would fit
            several.
        rows : slice
            Records wanted.

        Returns
        -------
        ndarray, shape ``(row, *repetitions)``
            float64 (missing is NaN), int64, bool, datetime64[ns] or str; uint64 for
            numbers of base 2, 8 or 16, and for integers without a sign if one has 19
            characters or more. Integers and booleans (1.0, 0.0) are float64 if the
            label declares a missing value, or if any cell of the field is empty.

        Raises
        ------
        ProductError
            As for `rows`; ``table.field_value_data_type_mismatch`` with record, field
            and text of the first bad cell.
        """
        item = find_field(self.layout.fields, name, self.layout.name)
        return self._column(item, self.rows(), rows)

    def _column(
        self, item: Field, found: list[list[str]], rows: slice
    ) -> np.ndarray[Any, Any]:
        places = np.array(item.start)
        for count, step in zip(item.shape, item.strides, strict=True):
            places = places[..., None] + np.arange(count) * step
        chosen = places.ravel().tolist()
        cells = [[row[k].encode() for k in chosen] for row in found]
        width = max((len(cell) for row in cells for cell in row), default=0) or 1
        if item.length and width > item.length:
            msg = f"cell is longer than maximum_field_length {item.length}"
            raise self._fail(
                msg, "table.field_value_data_type_mismatch", None, width, item.name
            )
        if width * len(chosen) * len(found) > _PADDED_BYTES_MAX:
            msg = "one cell is so long that the field would not fit in memory"
            rule = "table.field_value_data_type_mismatch"
            raise self._fail(msg, rule, None, width, item.name)
        joined = b"".join(cell.ljust(width) for row in cells for cell in row)
        shape = len(found), width * len(chosen)
        records = np.frombuffer(joined, dtype=np.uint8).reshape(shape)
        steps = width * np.cumprod((1, *item.shape[:0:-1]), dtype=np.int64)[::-1]
        fixed = replace(item, start=0, length=width, strides=tuple(steps.tolist()))
        if not item.shape:
            fixed = replace(fixed, strides=())
        every = np.arange(len(found), dtype=np.int64)
        layout = _Cells(0, width * len(chosen))
        try:
            # all rows: an empty cell in any of them decides of the type
            values = parse_cells(
                layout,
                str(self.source),
                [fixed],
                records,
                every,
                exact=self.exact,
                may_be_empty=not self.exact,
            )
        except ProductError as error:
            error.offset = None  # of the copy, not of the file
            raise
        return values[rows, 0]

    def _fail(
        self,
        message: str,
        rule: str,
        record: int | None,
        value: object = None,
        field: str | None = None,
    ) -> ProductError:
        return ProductError(
            message,
            path=str(self.source),
            field=field or self.layout.name,
            record=record,
            value=value,
            rule=rule,
        )


@lru_cache(maxsize=8)
def _cell_pattern(separator: str) -> re.Pattern[str]:
    """Return the pattern of a cell, in quotes or without, and of what ends it."""
    mark = re.escape(separator)
    return re.compile(rf'(?:"((?:[^"]|"")*)"|((?:[^"{mark}][^{mark}]*)?))({mark}|\Z)')


def _split(record: str, separator: str) -> list[str] | None:
    """Return the cells of a record, None if a quote is not closed."""
    if '"' not in record:
        return record.split(separator)
    pattern = _cell_pattern(separator)
    cells: list[str] = []
    place = 0
    while True:
        match = pattern.match(record, place)
        if match is None:
            return None
        quoted = match[1]
        cells.append(match[2] if quoted is None else quoted.replace('""', '"'))
        if not match[3]:
            return cells
        place = match.end()


def joined(
    lines: list[bytes], delimiter: bytes, separator: str, spare: int
) -> Iterator[bytes]:
    """Yield records: lines, joined where the delimiter between them is in quotes.

    `spare` are the lines that there are too many: no more are joined, so that a quote
    that is never closed cannot hide records that are there.
    """
    pending: list[bytes] = []
    for line in lines:
        # as if the cell in quotes, which goes on, began with this line
        text = (b'"' + line if pending else line).decode("latin-1")
        pending.append(line)
        if spare > 0 and '"' in text and _split(text, separator) is None:
            spare -= 1
            continue
        yield delimiter.join(pending)
        pending = []
    if pending:
        yield delimiter.join(pending)


def cells_of(shape: tuple[int, ...]) -> int:
    """Return the number of cells that a field of this shape takes in a record."""
    return math.prod(shape)


def delimited_layout(
    element: ET.Element,
    name: str,
    source: Source,
    size: int,
    read: Elements,
    *,
    to_end: bool,
) -> TableDelimited:
    """Return the layout of a delimited table of a file of `size` bytes.

    Its bytes are those of `object_length`. Where the label leaves that out they are
    those of the records that it promises or, if `to_end`, all up to the end.
    """
    texts = [read.word(element, key) for key in ("record_delimiter", "field_delimiter")]
    delimiter = DELIMITERS.get(texts[0].lower())
    separator = _FIELD_DELIMITERS.get(texts[1].lower().replace("_", " "))
    if delimiter is None or separator is None:
        msg = "unknown record_delimiter or field_delimiter"
        raise read.fail(msg, "label.schema", texts, name)
    start = read.size(element, "offset")
    given = read.one(element, "object_length") is not None
    length = read.size(element, "object_length") if given else max(size - start, 0)
    records = read.count(element, "records")
    if records == 0:
        msg = "table has no records"
        raise read.fail(msg, "table.empty", records, name)
    fields, cells = _sequence(read.need(element, "Record_Delimited"), read, name)
    # the least a record can take: its delimiters
    if records * (cells - 1 + len(delimiter)) > length:
        msg = f"{records} records do not fit in {length} bytes"
        raise ProductError(
            msg,
            path=str(source),
            field=name,
            value=records,
            rule="table.records_mismatch",
        )
    if not given and not to_end:
        data = file_bytes(source, size)[start:]
        length = _length(data, records, delimiter)
        if ord('"') in data[:length]:
            length = _quoted_length(data.tobytes(), records, delimiter, separator)
    return TableDelimited(
        name, start, length, records, delimiter, separator, unique(fields, read), cells
    )


def _length(
    data: np.ndarray[Any, np.dtype[np.uint8]], records: int, delimiter: bytes
) -> int:
    """Return the bytes of so many records; all, if there are fewer records."""
    n = len(delimiter)
    for first in range(0, data.size, _BLOCK_BYTES):
        part = data[first : first + _BLOCK_BYTES + n - 1]
        ends = np.ones(max(part.size - n + 1, 0), dtype=np.bool_)
        for k, byte in enumerate(delimiter):
            ends &= part[k : k + ends.size] == byte
        found = np.flatnonzero(ends)
        if found.size >= records:
            return first + int(found[records - 1]) + n
        records -= found.size
    return int(data.size)


def _quoted_length(data: bytes, records: int, delimiter: bytes, separator: str) -> int:
    """Return the bytes of so many records, with the delimiters that stand in quotes.

    All, if there are fewer records.
    """
    lines = data.split(delimiter)[:-1]
    every = joined(lines, delimiter, separator, len(lines) - records)
    sizes = [len(record) + len(delimiter) for record in islice(every, records)]
    return sum(sizes) if len(sizes) == records else len(data)


def _sequence(
    element: ET.Element, read: Elements, name: str
) -> tuple[list[Field], int]:
    """Return the fields of a delimited record or group, and its number of cells."""
    found: list[Field] = []
    position = 0
    for key, tag in (
        ("fields", "Field_Delimited"),
        ("groups", "Group_Field_Delimited"),
    ):
        if read.one(element, key) is not None:
            promised, there = read.count(element, key), len(element.findall(tag))
            if promised != there:
                msg = f"label promises {promised} {key} but describes {there}"
                raise read.fail(msg, "table.fields_mismatch", promised, name)
    for k, item in enumerate(element):
        if item.tag == "Field_Delimited":
            found.append(_delimited_field(item, read, position))
            position += 1
        elif item.tag == "Group_Field_Delimited":
            group = read.text(item, "name", required=False) or f"GROUP_{k}"
            times = read.count(item, "repetitions", least=1)
            inner, cells = _sequence(item, read, group)
            found.extend(
                replace(
                    one,
                    groups=(group, *one.groups),
                    start=one.start + position,
                    shape=(times, *one.shape),
                    strides=(cells, *one.strides),
                )
                for one in inner
            )
            position += cells_of((times, cells))
    return found, position


def _delimited_field(element: ET.Element, read: Elements, position: int) -> Field:
    name = read.word(element, "name")
    data_type = read.word(element, "data_type")
    if data_type not in KNOWN_TYPES:
        msg = "unknown data_type"
        raise read.fail(msg, "label.unknown_data_type", data_type, name)
    widest = 0
    if read.one(element, "maximum_field_length") is not None:
        widest = read.size(element, "maximum_field_length", least=1)
    return Field(
        name=name,
        label_name=name,
        groups=(),
        data_type=data_type,
        start=position,
        length=widest,
        unit=read.text(element, "unit", required=False),
        description=read.text(element, "description", required=False),
        fill_texts=fills_of(element, read),
        scale=read.real(element, "scaling_factor", 1.0),
        offset=read.real(element, "value_offset", 0.0),
        valid=valid_of(element, read),
    )
