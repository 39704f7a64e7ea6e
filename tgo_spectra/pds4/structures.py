"""All objects of a product by name: tables of three kinds, and arrays.

Every extent is checked in Python integers before anything is mapped or allocated.
"""

from __future__ import annotations

import hashlib
import warnings
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
    stored_dtype,
)
from tgo_spectra.pds4.bits import bit_fields
from tgo_spectra.pds4.constants import notes_of
from tgo_spectra.pds4.coverage import (
    SEPARATORS,
    Extent,
    extent_faults,
    stray_character,
)
from tgo_spectra.pds4.delimited import (
    DelimitedTable,
    TableDelimited,
    delimited_layout,
)
from tgo_spectra.pds4.fields import Field, Layout, distinct, fills_of, unique, valid_of
from tgo_spectra.pds4.label import (
    DEFAULT_NAMES,
    FileArea,
    Label,
    TableCharacter,
    kind_of,
    parse_label,
)
from tgo_spectra.pds4.source import Source, resolve_data
from tgo_spectra.pds4.table import Table, open_table
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX, Elements

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Objects",
    "Structure",
    "find_data",
    "open_objects",
    "open_structures",
]

Structure: TypeAlias = Table | BinaryTable | DelimitedTable | ArrayObject
"""Anything with values that a label describes."""

_AXIS_ORDERS = {"last index fastest", "last_index_fastest"}
_AXES_MAX = 16  # in the information model


class _BinaryLayout(Layout):
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

    def inside(self, element: ET.Element, item: Field) -> list[Field]:
        return bit_fields(element, item, self.read)


@dataclass(frozen=True)
class _File:
    """A data file whose size and MD5 are as promised."""

    area: FileArea
    source: Source
    size: int
    read: Elements
    exact: bool

    def check(
        self, name: str, start: int, length: int, value: object, rule: str
    ) -> None:
        """Refuse an object that leaves the file, or should fill it and does not."""
        end = start + length
        if start >= self.size:
            msg = f"object starts at byte {start} of a file of {self.size} bytes"
            raise self.fail(msg, name, start, "label.invalid_object_definition")
        if end > self.size or (self.exact and self.area.alone and end != self.size):
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
        Bytes that no object describes, or two, characters between fields that may
        belong to a value, special constants of no use: worth a warning.
    """

    structures: list[tuple[str, Structure]]
    faults: list[ProductError]


def open_structures(
    path: str | Path | Source,
    *,
    verify_md5: bool = True,
    mode: Literal["strict", "warn"] = "strict",
    exact: bool = False,
) -> dict[str, Structure]:
    """Open every table and array of a product, whatever instrument made it.

    Of any class: observational, ancillary, browse, collection ... Classes without
    tables and arrays give nothing, but their files are checked.

    Parameters
    ----------
    path : path or Source
        The label, a file or a member of a zip.
    verify_md5 : bool
        Compare the MD5 of each file with the label's, where it has one.
    mode : {"strict", "warn"}
        ``strict`` raises the first error. ``warn`` leaves out the objects of a file
        that is missing or wrong, with a warning, if another file can be opened.
    exact : bool
        Hold the product to what those of the archive's own instruments keep; see
        `tgo_spectra.pds4.label`.

    Returns
    -------
    dict
        By name, in the order of the label; objects without one are ``TABLE`` or
        ``ARRAY``. Objects of one name are told apart by ``[0]``, ``[1]`` ... Values
        are read when asked for.

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
        bytes that no object describes, or two; ``table.characters_between_fields``
        for characters between fields that may belong to a number or a word;
        ``label.special_constant_mismatch`` for special constants that are no value of
        their field's type.

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
    source = Source.of(path)
    label = parse_label(source.read(LABEL_BYTES_MAX), str(source), exact=exact)
    found: list[tuple[str, Structure]] = []
    errors: list[ProductError] = []
    for area in label.areas:
        try:
            data = find_data(area, label, source)
            opened = open_objects(
                area, data, str(source), verify_md5=verify_md5, exact=exact
            )
        except ProductError as error:
            errors.append(error)
            if mode == "strict" or len(errors) == len(label.areas):
                raise errors[0] from None
            continue
        found.extend(opened.structures)
        for fault in opened.faults:
            warnings.warn(str(fault), TgoWarning, stacklevel=2)
    for missed in errors:
        warnings.warn(f"left out: {missed}", TgoWarning, stacklevel=2)
    names = distinct([((), name) for name, _ in found])
    return dict(zip(names, (item for _, item in found), strict=True))


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


def open_objects(
    area: FileArea,
    data: Source,
    path: str,
    *,
    verify_md5: bool,
    exact: bool = False,
) -> Objects:
    """Check one file of a product, and open what it holds: see `open_structures`."""
    file = _checked_file(area, data, Elements(path), verify_md5=verify_md5, exact=exact)
    found, streams = _objects(file)
    extents = [*(_extent(name, item) for name, item in found), *streams]
    if area.padding:
        extents.append(Extent(file.size - area.padding, area.padding, "padding"))
    faults: list[ProductError] = []
    if extents:  # a document, a picture: its format says what is where
        faults.extend(extent_faults(extents, file.size, str(data)))
    for _, item in found:
        stray = None
        if isinstance(item, Table) and not exact:
            stray = stray_character(
                item.layout, str(item.source), item.records(), SEPARATORS
            )
        if stray is not None:
            faults.append(stray)
        faults.extend(_constant_faults(item, path))
    return Objects(found, faults)


def _constant_faults(item: Structure, path: str) -> Iterator[ProductError]:
    """Yield what is to be said of special constants, which mean less than they say."""
    described = (item,) if isinstance(item, ArrayObject) else item.layout.fields
    for one in described:
        if not one.fill_texts and not any(one.valid):
            continue
        bits = one.bits if isinstance(one, Field) else None
        width = None if bits is None else bits[1] - bits[0] + 1
        dtype = stored_dtype(one.data_type, bits)
        length = one.length if isinstance(one, Field) else 0
        found = notes_of(one.fill_texts, one.valid, one.data_type, dtype, width, length)
        for text, note in found:
            yield ProductError(
                f"special constant of a {one.data_type} is {note}",
                path=path,
                field=one.name,
                value=text,
                rule="label.special_constant_mismatch",
            )


def _checked_file(
    area: FileArea, source: Source, read: Elements, *, verify_md5: bool, exact: bool
) -> _File:
    size = source.size()
    file = _File(area, source, size, read, exact)
    if area.file_size not in {None, size}:
        missing = (area.file_size or 0) - size
        text = f"{missing} bytes are missing" if missing > 0 else f"{-missing} too many"
        msg = f"file has {size} bytes, the label says {area.file_size}: {text}"
        raise file.fail(msg, area.file_name, size, "label.filesize_mismatch")
    if verify_md5 and area.md5 is not None:
        digest = hashlib.md5(source.read(), usedforsecurity=False).hexdigest()
        if digest != area.md5:
            msg = f"MD5 of the file differs from the label's {area.md5}"
            raise file.fail(msg, area.file_name, digest, "label.checksum_mismatch")
    return file


def _objects(file: _File) -> tuple[list[tuple[str, Structure]], list[Extent]]:
    """Return tables and arrays by name, and the places of streams."""
    area = file.area
    if area.element is None:
        return [(table.name, _character(table, file)) for table in area.tables], []
    found: list[tuple[str, Structure]] = []
    streams: list[ET.Element] = []
    tables: Iterator[TableCharacter] = iter(area.tables)
    for item in area.element:
        kind = kind_of(item)
        if kind == "stream":
            streams.append(item)
        elif kind is not None:
            given = file.read.text(item, "name", required=False)
            name = given or DEFAULT_NAMES[kind]
            opened: Structure
            if kind == "character":
                opened = _character(next(tables), file)
            elif kind == "binary":
                opened = _binary(item, name, file)
            elif kind == "delimited":
                opened = _delimited(item, name, file)
            else:
                opened = _array(item, name, file)
            found.append((name, opened))
    starts = [_extent(name, item).start for name, item in found]
    starts += [file.read.size(item, "offset") for item in streams]
    return found, [_stream(item, file, starts) for item in streams]


def _character(layout: TableCharacter, file: _File) -> Table:
    area = replace(file.area, md5=None)  # compared already, once for the file
    return open_table(layout, area, file.source, verify_md5=False, exact=file.exact)


def _extent(name: str, item: Structure) -> Extent:
    """Return the bytes of an object that was checked."""
    if isinstance(item, ArrayObject):
        return Extent(item.start, array_bytes(item.shape, item.data_type), name)
    layout = item.layout
    if isinstance(layout, TableDelimited):
        return Extent(layout.offset, layout.length, name)
    return Extent(layout.offset, layout.records * layout.record_length, name)


def _stream(element: ET.Element, file: _File, starts: list[int]) -> Extent:
    """Check the place of an object without values; `starts` are of all objects."""
    name = file.read.text(element, "name", required=False) or element.tag
    start = file.read.size(element, "offset")
    given = file.read.one(element, "object_length") is not None
    if given or element.tag == "Header":
        length = file.read.size(element, "object_length", least=1)
    else:  # others may leave it out: up to the next object, or to the end
        end = min((n for n in starts if n > start), default=file.size)
        length = max(end - start, 0)
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
    layout = TableBinary(name, start, records, length, unique(fields, read))
    return BinaryTable(layout, file.source, file.size, file.exact)


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
        fill_texts=fills_of(element, read),
        scale=read.real(values, "scaling_factor", 1.0),
        offset=read.real(values, "value_offset", 0.0),
        valid=valid_of(element, read),
    )


def _delimited(element: ET.Element, name: str, file: _File) -> DelimitedTable:
    to_end = file.exact and file.area.alone  # so that the file must hold no more
    layout = delimited_layout(
        element, name, file.source, file.size, file.read, to_end=to_end
    )
    rule = "label.invalid_object_definition"
    file.check(name, layout.offset, layout.length, layout.length, rule)
    return DelimitedTable(layout, file.source, file.size, file.exact)
