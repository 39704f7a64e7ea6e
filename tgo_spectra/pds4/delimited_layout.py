"""Delimited tables as labels describe them, and where their records end."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.binary import file_bytes
from tgo_spectra.pds4.delimited import (
    FIELD_DELIMITERS,
    TableDelimited,
    cells_of,
    joined,
)
from tgo_spectra.pds4.fields import Field, fills_of, unique, valid_of
from tgo_spectra.pds4.label import DELIMITERS
from tgo_spectra.pds4.types import KNOWN_TYPES

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    from tgo_spectra.pds4.source import Source
    from tgo_spectra.pds4.xml import Elements

__all__ = ["delimited_layout"]

_BLOCK_BYTES = 2**22  # looked at together


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
    separator = FIELD_DELIMITERS.get(texts[1].lower().replace("_", " "))
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
