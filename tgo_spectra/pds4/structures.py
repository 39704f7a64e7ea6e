"""All objects of a product by name: tables of three kinds, and arrays.

Every extent is checked in Python integers before anything is mapped or allocated.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from tgo_spectra.errors import ProductError, TgoWarning
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
from tgo_spectra.pds4.extents import Extent, extent_faults
from tgo_spectra.pds4.label import (
    DELIMITERS,
    Field,
    FileArea,
    Label,
    _fills,
    _Layout,
    _unique,
    parse_label,
)
from tgo_spectra.pds4.source import Source, resolve_data
from tgo_spectra.pds4.table import Table, open_table
from tgo_spectra.pds4.types import KNOWN_TYPES
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX, Elements, parse_xml

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from pathlib import Path

__all__ = [
    "Objects",
    "Structure",
    "file_elements",
    "find_data",
    "open_objects",
    "open_structures",
]

Structure: TypeAlias = Table | BinaryTable | DelimitedTable | ArrayObject
"""Anything with values that a label describes."""

_AXIS_ORDERS = {"last index fastest", "last_index_fastest"}
_AXES_MAX = 16  # in the information model
_STREAMS = ("Header", "Stream_Text", "Encoded_", "Parsable_")
"""Objects without values for us: only their place is checked."""


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


@dataclass(frozen=True)
class Objects:
    """What one data file holds.

    Attributes
    ----------
    structures : list of (str, Structure)
        Tables and arrays by name, in the order of the label.
    faults : list of ProductError
        Bytes that no object describes, or two: worth a warning.
    """

    structures: list[tuple[str, Structure]]
    faults: list[ProductError]


def open_structures(
    path: str | Path | Source,
    *,
    verify_md5: bool = True,
    mode: Literal["strict", "warn"] = "strict",
) -> dict[str, Structure]:
    """Open every table and array of a product, whatever instrument made it.

    Parameters
    ----------
    path : path or Source
        The label, a file or a member of a zip.
    verify_md5 : bool
        Compare the MD5 of each file with the label's, where it has one.
    mode : {"strict", "warn"}
        ``strict`` raises the first error. ``warn`` leaves out the objects of a file
        that is missing or wrong, with a warning, if another file can be opened.

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

    Warns
    -----
    TgoWarning
        ``file.bytes_not_described`` and ``label.invalid_object_definition``, for
        bytes that no object describes, or two.

    Examples
    --------
    >>> open_structures("no_such_label.xml")
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: no_such_label.xml: no such file ...
    """
    if mode not in {"strict", "warn"}:
        msg = "mode must be strict or warn"
        raise ProductError(msg, field="mode", value=mode, rule="mode.unknown")
    source = path if isinstance(path, Source) else Source(str(path))
    text = source.read(LABEL_BYTES_MAX)
    label = parse_label(text, str(source))
    elements = file_elements(text, str(source))
    found: list[tuple[str, Structure]] = []
    errors: list[ProductError] = []
    for area, element in zip(label.areas, elements, strict=True):
        try:
            data = find_data(area, label, source)
            opened = open_objects(
                element, area, data, str(source), verify_md5=verify_md5
            )
        except ProductError as error:
            errors.append(error)
            if mode == "strict" or len(errors) == len(elements):
                raise errors[0] from None
            continue
        found.extend(opened.structures)
        for fault in opened.faults:
            warnings.warn(str(fault), TgoWarning, stacklevel=2)
    for missed in errors:
        warnings.warn(f"left out: {missed}", TgoWarning, stacklevel=2)
    names = Counter(name for name, _ in found)
    seen: Counter[str] = Counter()
    result: dict[str, Structure] = {}
    for name, item in found:
        key = name if names[name] == 1 else f"{name}[{seen[name]}]"
        seen[name] += 1
        result[key] = item
    return result


def find_data(
    area: FileArea, label: Label, source: Source, *, repair: bool = False
) -> Source:
    """Return the file of an area, for labels that may describe several.

    Raises
    ------
    ProductError
        See `resolve_data`; also ``label.missing_file`` where only a file with the
        name of the label is there: it may be another one of the product.
    """
    data, rule = resolve_data(source, area.file_name, label.version, repair=repair)
    if rule == "label_stem" and len(label.areas) > 1:
        msg = "data file is missing"
        raise ProductError(
            msg, path=str(source), value=area.file_name, rule="label.missing_file"
        )
    return data


def file_elements(text: bytes, path: str) -> list[ET.Element]:
    """Return the elements that describe data files, in the order of `Label.areas`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)  # `parse_label` warned already
        root = parse_xml(text, path)
    return [e for e in root if e.tag.startswith("File_Area_Observational")]


def open_objects(
    element: ET.Element, area: FileArea, data: Source, path: str, *, verify_md5: bool
) -> Objects:
    """Open the objects of one data file.

    Parameters
    ----------
    element : Element
        Of the file, from `file_elements`.
    area : FileArea
        The same, parsed.
    data : Source
        The file.
    path : str
        The label, for messages.
    verify_md5 : bool
        Compare the MD5 of the file with the label's, if it has one.

    Returns
    -------
    Objects

    Raises
    ------
    ProductError
        See `open_structures`.
    """
    file = _checked_file(area, data, Elements(path), verify_md5=verify_md5)
    found, extents = _objects(element, file)
    faults = extent_faults(extents, file.size, str(data))
    return Objects(found, list(faults))


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


def _objects(
    element: ET.Element, file: _File
) -> tuple[list[tuple[str, Structure]], list[Extent]]:
    found: list[tuple[str, Structure]] = []
    extents: list[Extent] = []
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
        elif item.tag.startswith(_STREAMS):
            extents.append(_stream(item, name or item.tag, file))
    repeated = [name for name, n in Counter(name for name, _ in found).items() if n > 1]
    if repeated:
        msg = "two objects of one name"
        raise file.read.fail(msg, "label.duplicate_identifier", repeated[0])
    extents.extend(_extent(name, item) for name, item in found)
    return found, extents


def _extent(name: str, item: Structure) -> Extent:
    """Return the bytes of an object that was checked."""
    if isinstance(item, ArrayObject):
        return Extent(item.start, array_bytes(item.shape, item.data_type), name)
    layout = item.layout
    if isinstance(layout, TableDelimited):
        return Extent(layout.offset, layout.length, name)
    return Extent(layout.offset, layout.records * layout.record_length, name)


def _stream(element: ET.Element, name: str, file: _File) -> Extent:
    """Check the place of an object that has no values for us."""
    start = file.read.size(element, "offset")
    length = max(file.size - start, 0)
    given = file.read.one(element, "object_length") is not None
    if given or element.tag == "Header":  # others may leave it out, then go to the end
        length = file.read.size(element, "object_length", least=1)
    rule = "label.invalid_object_definition"
    file.check(name, start, length, length, rule)
    return Extent(start, length, name)


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
    if promised > _AXES_MAX:
        msg = f"array has more than {_AXES_MAX} axes"
        raise read.fail(msg, "label.schema", promised, name)
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
