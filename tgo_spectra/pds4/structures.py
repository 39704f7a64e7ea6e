"""All objects of a product by name: tables of three kinds, and arrays.

Every extent is checked in Python integers before anything is mapped or allocated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.binary import (
    BINARY_TYPES,
    TABLE_TYPES,
    ArrayObject,
    BinaryTable,
    TableBinary,
    array_bytes,
)
from tgo_spectra.pds4.delimited import (
    FIELD_DELIMITERS,
    DelimitedTable,
    TableDelimited,
    cells_of,
)
from tgo_spectra.pds4.label import (
    DELIMITERS,
    KNOWN_TYPES,
    Field,
    FileArea,
    _fills,
    _Layout,
    _unique,
    parse_label,
)
from tgo_spectra.pds4.source import Source, resolve_data
from tgo_spectra.pds4.table import Table, open_table
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX, Elements, parse_xml

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from pathlib import Path

__all__ = ["Structure", "open_structures"]

Structure: TypeAlias = Table | BinaryTable | DelimitedTable | ArrayObject
"""Anything with values that a label describes."""

_AXIS_ORDERS = {"last index fastest", "last_index_fastest"}


class _BinaryLayout(_Layout):
    """Fields of a binary record."""

    kind = "Binary"
    types = TABLE_TYPES

    def field(self, element: ET.Element) -> Field:
        item = super().field(element)
        dtype = BINARY_TYPES.get(item.data_type)
        if dtype is not None and dtype.itemsize != item.length:
            msg = f"field_length of a {item.data_type} must be {dtype.itemsize}"
            raise self.read.fail(
                msg, "label.table_definition_problem", item.length, item.name
            )
        return item


@dataclass(frozen=True)
class _File:
    """A data file whose size and MD5 are as promised."""

    area: FileArea
    source: Source
    size: int
    objects: int
    read: Elements

    def check(
        self, name: str, start: int, length: int, value: object, rule: str
    ) -> None:
        """Refuse an object that leaves the file, or does not fill it alone."""
        end = start + length
        if start >= self.size:
            msg = f"object starts at byte {start} of a file of {self.size} bytes"
            raise self.fail(msg, name, start, "label.invalid_object_definition")
        if end > self.size or (self.objects == 1 and end != self.size):
            msg = (
                f"{length} bytes after byte {start} end at {end}, the file has "
                f"{self.size} bytes"
            )
            raise self.fail(msg, name, value, rule)

    def fail(self, message: str, name: str, value: object, rule: str) -> ProductError:
        return ProductError(
            message, path=str(self.source), field=name, value=value, rule=rule
        )


def open_structures(
    path: str | Path, *, verify_md5: bool = True
) -> dict[str, Structure]:
    """Open every table and array of a product, whatever instrument made it.

    Parameters
    ----------
    path : path
        The label.
    verify_md5 : bool
        Compare the MD5 of each file with the label's, where it has one.

    Returns
    -------
    dict
        By name, in the order of the label. Objects of one name in different files
        are told apart by ``[0]``, ``[1]`` ... Values are read when asked for.

    Raises
    ------
    ProductError
        With the rule broken, such as ``label.filesize_mismatch``,
        ``label.checksum_mismatch``, ``array.size_mismatch``,
        ``table.records_mismatch`` or ``label.unknown_data_type``.

    Examples
    --------
    >>> open_structures("no_such_label.xml")
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: no_such_label.xml: no such file ...
    """
    source = Source(str(path))
    text = source.read(LABEL_BYTES_MAX)
    label = parse_label(text, str(source))
    root = parse_xml(text, str(source))
    read = Elements(str(source))
    elements = [e for e in root if e.tag.startswith("File_Area_Observational")]
    found: list[tuple[str, Structure]] = []
    for area, element in zip(label.areas, elements, strict=True):
        data, _ = resolve_data(source, area.file_name, label.version)
        file = _checked_file(area, data, read, verify_md5=verify_md5)
        found.extend(_objects(element, file))
    names = Counter(name for name, _ in found)
    seen: Counter[str] = Counter()
    result: dict[str, Structure] = {}
    for name, item in found:
        key = name if names[name] == 1 else f"{name}[{seen[name]}]"
        seen[name] += 1
        result[key] = item
    return result


def _checked_file(
    area: FileArea, source: Source, read: Elements, *, verify_md5: bool
) -> _File:
    size = source.size()
    objects = len(area.tables) + len(area.others)
    file = _File(area, source, size, objects, read)
    if area.file_size not in {None, size}:
        msg = f"file has {size} bytes, the label says {area.file_size}"
        raise file.fail(msg, area.file_name, size, "label.filesize_mismatch")
    if verify_md5 and area.md5 is not None:
        digest = hashlib.md5(source.read(), usedforsecurity=False).hexdigest()
        if digest != area.md5:
            msg = f"MD5 of the file differs from the label's {area.md5}"
            raise file.fail(msg, area.file_name, digest, "label.checksum_mismatch")
    return file


def _objects(element: ET.Element, file: _File) -> list[tuple[str, Structure]]:
    found: list[tuple[str, Structure]] = []
    tables = {table.name: table for table in file.area.tables}
    for item in element:
        name = file.read.text(item, "name", required=False)
        if item.tag == "Table_Character":
            layout = tables[name or "TABLE"]
            area = replace(file.area, md5=None)  # compared already, once for the file
            table = open_table(layout, area, file.source, verify_md5=False)
            found.append((layout.name, table))
        elif item.tag == "Table_Binary":
            found.append((name or "TABLE", _binary(item, name or "TABLE", file)))
        elif item.tag == "Table_Delimited":
            found.append((name or "TABLE", _delimited(item, name or "TABLE", file)))
        elif item.tag == "Array" or item.tag.startswith("Array_"):
            found.append((name or "ARRAY", _array(item, name or "ARRAY", file)))
    repeated = [name for name, n in Counter(name for name, _ in found).items() if n > 1]
    if repeated:
        msg = "two objects of one name"
        raise file.read.fail(msg, "label.duplicate_identifier", repeated[0])
    return found


def _records(element: ET.Element, name: str, read: Elements) -> int:
    records = read.count(element, "records")
    if records == 0:
        msg = "table has no records"
        raise read.fail(msg, "table.empty", records, name)
    return records


def _binary(element: ET.Element, name: str, file: _File) -> BinaryTable:
    read = file.read
    record = read.need(element, "Record_Binary")
    length = read.size(record, "record_length", least=1)
    records = _records(element, name, read)
    start = read.size(element, "offset")
    fields = _BinaryLayout(read, None).fields(record, length, name)
    rule = "table.records_mismatch"
    file.check(name, start, records * length, records, rule)
    layout = TableBinary(name, start, records, length, _unique(fields, read))
    return BinaryTable(layout, file.source, file.size)


def _array(element: ET.Element, name: str, file: _File) -> ArrayObject:
    read = file.read
    order = read.word(element, "axis_index_order")
    if order.lower() not in _AXIS_ORDERS:
        msg = "axis_index_order must be Last Index Fastest"
        raise read.fail(msg, "label.schema", order, name)
    axes = sorted(
        (
            read.count(axis, "sequence_number", least=1),
            read.word(axis, "axis_name"),
            read.count(axis, "elements", least=1),
        )
        for axis in element.findall("Axis_Array")
    )
    promised = read.count(element, "axes", least=1)
    if [axis[0] for axis in axes] != list(range(1, promised + 1)):
        msg = f"label promises {promised} axes, numbered from 1"
        raise read.fail(msg, "label.schema", [axis[0] for axis in axes], name)
    values = read.need(element, "Element_Array")
    data_type = read.word(values, "data_type")
    if data_type not in BINARY_TYPES:
        msg = "unknown data_type"
        raise read.fail(msg, "label.unknown_data_type", data_type, name)
    shape = tuple(axis[2] for axis in axes)
    start = read.size(element, "offset")
    file.check(name, start, array_bytes(shape, data_type), shape, "array.size_mismatch")
    return ArrayObject(
        name=name,
        kind=element.tag,
        source=file.source,
        size=file.size,
        start=start,
        axes=tuple(axis[1] for axis in axes),
        shape=shape,
        data_type=data_type,
        unit=read.text(values, "unit", required=False),
        fill_texts=_fills(element, read),
        scale=read.real(values, "scaling_factor", 1.0),
        offset=read.real(values, "value_offset", 0.0),
    )


def _delimited(element: ET.Element, name: str, file: _File) -> DelimitedTable:
    read = file.read
    texts = [read.word(element, key) for key in ("record_delimiter", "field_delimiter")]
    delimiter = DELIMITERS.get(texts[0].lower())
    separator = FIELD_DELIMITERS.get(texts[1].lower().replace("_", " "))
    if delimiter is None or separator is None:
        msg = "unknown record_delimiter or field_delimiter"
        raise read.fail(msg, "label.schema", texts, name)
    start = read.size(element, "offset")
    length = file.size - start
    if read.one(element, "object_length") is not None:
        length = read.size(element, "object_length")
    records = _records(element, name, read)
    fields, cells = _sequence(read.need(element, "Record_Delimited"), read, name)
    # the least a record can take: its delimiters
    if records * (cells - 1 + len(delimiter)) > max(length, 0):
        msg = f"{records} records do not fit in {length} bytes"
        raise file.fail(msg, name, records, "table.records_mismatch")
    file.check(name, start, length, length, "label.invalid_object_definition")
    layout = TableDelimited(
        name, start, length, records, delimiter, separator, _unique(fields, read), cells
    )
    return DelimitedTable(layout, file.source, file.size)


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
        fill_texts=_fills(element, read),
        scale=read.real(element, "scaling_factor", 1.0),
        offset=read.real(element, "value_offset", 0.0),
    )
