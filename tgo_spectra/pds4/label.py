"""PDS4 labels: parsed by local name into frozen records, checked as they are read.

Nothing here knows an instrument. Only character tables are described in full; other
objects of a file (arrays, headers, binary tables) are listed by kind and name.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import known
from tgo_spectra.pds4.types import KNOWN_TYPES
from tgo_spectra.pds4.xml import Elements, parse_xml

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Collection, Iterator

__all__ = ["Field", "FileArea", "Label", "TableCharacter", "parse_label"]

DELIMITERS = {
    "carriage-return line-feed": b"\r\n",
    "carriage_return line_feed": b"\r\n",
    "line-feed": b"\n",
}
GROUP_DEPTH_MAX = 16
"""Deepest nesting of groups: each is a dimension, of which numpy knows 64."""
_TABLE_KINDS = frozenset({"Table_Character"})
_OTHER_KINDS = re.compile(r"Table_|Array|Header|Stream_Text|Encoded_|Parsable_")
_VALUE_RANGES = frozenset({"valid_minimum", "valid_maximum"})  # not fill values


@dataclass(frozen=True)
class Field:
    """One field of a record, or one field repeated by groups.

    Attributes
    ----------
    name : str
        Name, unique in its table (duplicates get ``[0]``, ``[1]`` ...).
    label_name : str
        Name as in the label.
    groups : tuple of str
        Names of the enclosing groups, outermost first; ``()`` for a plain field.
    data_type : str
        PDS4 type, such as ``ASCII_Real``.
    start, length : int
        First byte (0-based) of the first cell in the record, and bytes per cell.
    shape, strides : tuple of int
        Repetitions of each enclosing group, and the bytes from one to the next.
    unit, description : str or None
        As in the label.
    fill_texts : tuple of str
        Special constants that stand for "no value".
    scale, offset : float
        ``value = stored * scale + offset``.
    """

    name: str
    label_name: str
    groups: tuple[str, ...]
    data_type: str
    start: int
    length: int
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    unit: str | None = None
    description: str | None = None
    fill_texts: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class TableCharacter:
    """A fixed-width text table: place in the file and fields of a record."""

    name: str
    offset: int
    records: int
    record_length: int
    delimiter: bytes
    fields: tuple[Field, ...]
    repairs: tuple[str, ...] = ()

    def field(self, name: str) -> Field:
        """Return the field of this (unique) name.

        Raises
        ------
        ProductError
            If there is none.
        """
        for item in self.fields:
            if item.name == name:
                return item
        msg = f"table {self.name!r} has no field of this name"
        raise ProductError(
            msg,
            value=name,
            rule="table.fields_mismatch",
        )


@dataclass(frozen=True)
class FileArea:
    """One data file of a product and what is in it."""

    file_name: str
    file_size: int | None
    md5: str | None
    tables: tuple[TableCharacter, ...]
    others: tuple[tuple[str, str], ...] = ()
    """(kind, name) of objects that are not character tables."""


@dataclass(frozen=True)
class Label:
    """What a PDS4 label says, independent of any instrument.

    Attributes
    ----------
    leaves : dict
        Every leaf of Mission_Area and Discipline_Area, local name -> text. A name
        met twice is told apart by its parent: ``Mission_Phase_name``.
    """

    path: str
    lid: str
    version: str
    title: str
    model_version: str
    start_time: str | None
    stop_time: str | None
    areas: tuple[FileArea, ...]
    leaves: dict[str, str] = field(default_factory=dict)


def parse_label(text: bytes, path: str, *, repair: bool = False) -> Label:
    """Parse a label of any information model from 1.11 on.

    Parameters
    ----------
    text : bytes
        The label file.
    path : str
        Where it came from, for messages.
    repair : bool
        Move groups that lie exactly on their predecessor to the next free byte, if
        the record then closes exactly; noted in ``TableCharacter.repairs``.

    Returns
    -------
    Label

    Raises
    ------
    ProductError
        With the rule broken; see the modules' functions.
    """
    cut = known.cut(text, repair=repair)
    if cut is not None and cut.record is not None:
        with contextlib.suppress(ProductError):  # found again, and named, in the whole
            return _label(cut.text, path, cut, repair=repair)
    return _label(text, path, cut, repair=repair)


def _label(text: bytes, path: str, cut: known.Cut | None, *, repair: bool) -> Label:
    read = Elements(path)
    root = parse_xml(text, path)
    identification = read.need(root, "Identification_Area")
    if root.tag != "Product_Observational":
        msg = "root element is not Product_Observational"
        raise read.fail(msg, "label.schema", root.tag)
    product_class = read.word(identification, "product_class")
    if product_class != "Product_Observational":
        msg = "not an observational product"
        raise read.fail(msg, "label.schema", product_class)
    model = read.word(identification, "information_model_version")
    if not re.fullmatch(r"1\.(1[1-9]|2[0-9])\.\d+\.\d+", model):
        warnings.warn(
            f"{path}: information model {model} was not tested [label.model_version]",
            TgoWarning,
            stacklevel=4,
        )
    observation = read.need(root, "Observation_Area")
    times = read.one(observation, "Time_Coordinates")
    areas = tuple(
        _file_area(item, read, cut, repair=repair)
        for item in root
        if item.tag.startswith("File_Area_Observational")
    )
    if not areas:
        msg = "label lacks File_Area_Observational"
        raise read.fail(msg, "label.schema")
    return Label(
        path=path,
        lid=read.word(identification, "logical_identifier"),
        version=read.word(identification, "version_id"),
        title=read.word(identification, "title"),
        model_version=model,
        start_time=None
        if times is None
        else read.text(times, "start_date_time", required=False),
        stop_time=None
        if times is None
        else read.text(times, "stop_date_time", required=False),
        areas=areas,
        leaves=_leaves(observation),
    )


def _walk(element: ET.Element, parent: str) -> Iterator[tuple[str, str, str]]:
    name = element.tag
    if len(element):
        for item in element:
            yield from _walk(item, name)
    elif element.text and element.text.strip():
        yield parent, name, element.text.strip()


def _leaves(observation: ET.Element) -> dict[str, str]:
    found = [
        leaf
        for area in ("Mission_Area", "Discipline_Area")
        for part in (observation.find(area),)
        if part is not None
        for leaf in _walk(part, "")
    ]
    names = Counter(name for _, name, _ in found)
    leaves: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for parent, name, text in found:
        key = stem = name if names[name] == 1 else f"{parent}_{name}"
        while key in leaves:  # the counter goes on where it stopped: never quadratic
            numbers[stem] += 1
            key = f"{stem}_{numbers[stem] + 1}"
        leaves[key] = text
    return leaves


def _file_area(
    element: ET.Element, read: Elements, cut: known.Cut | None, *, repair: bool
) -> FileArea:
    file = read.need(element, "File")
    tables: list[TableCharacter] = []
    others: list[tuple[str, str]] = []
    for item in element:
        kind = item.tag
        if kind in _TABLE_KINDS:
            tables.append(_table(item, read, cut, repair=repair))
        elif _OTHER_KINDS.match(kind):
            others.append((kind, read.text(item, "name", required=False) or ""))
    seen = Counter(table.name for table in tables)
    for name, times in seen.items():
        if times > 1:
            msg = "two tables of one name"
            raise read.fail(msg, "label.duplicate_identifier", name)
    md5 = (read.text(file, "md5_checksum", required=False) or "").lower() or None
    if md5 is not None and not re.fullmatch(r"[0-9a-f]{32}", md5):
        msg = "md5_checksum must have 32 hexadecimal digits"
        raise read.fail(msg, "label.schema", md5, "md5_checksum")
    return FileArea(
        file_name=read.text(file, "file_name", required=False) or "",
        file_size=None
        if file.find("file_size") is None
        else read.size(file, "file_size"),
        md5=md5,
        tables=tuple(tables),
        others=tuple(others),
    )


def _table(
    element: ET.Element, read: Elements, cut: known.Cut | None, *, repair: bool
) -> TableCharacter:
    name = read.text(element, "name", required=False) or "TABLE"
    record = read.need(element, "Record_Character")
    delimiter_text = read.word(element, "record_delimiter")
    delimiter = DELIMITERS.get(delimiter_text.lower())
    if delimiter is None:
        msg = "unknown record_delimiter"
        raise read.fail(msg, "label.schema", delimiter_text)
    records = read.count(element, "records")
    if records == 0:
        msg = "table has no records"
        raise read.fail(msg, "table.empty", records, name)
    if cut is not None and cut.record is not None and known.is_stub(record):
        found = cut.record
        if found.delimiter != delimiter:
            msg = "record_delimiter differs from that of the known record"
            raise read.fail(msg, "label.schema", delimiter_text)
    else:
        found = _record(record, read, delimiter, name, repair=repair)
        if cut is not None and all(f.name == f.label_name for f in found.fields):
            known.remember(cut.key, found)
    return TableCharacter(
        name=name,
        offset=read.size(element, "offset"),
        records=records,
        record_length=found.length,
        delimiter=delimiter,
        fields=found.fields,
        repairs=found.repairs,
    )


def _record(
    record: ET.Element, read: Elements, delimiter: bytes, name: str, *, repair: bool
) -> known.Record:
    length = read.size(record, "record_length", least=1)
    repairs: list[str] = []
    layout = _Layout(read, repairs if repair else None)
    fields = layout.fields(record, length - len(delimiter), name)
    return known.Record(length, delimiter, _unique(fields, read), tuple(repairs))


def _unique(fields: list[Field], read: Elements) -> tuple[Field, ...]:
    total = Counter((item.groups, item.name) for item in fields)
    seen: Counter[tuple[tuple[str, ...], str]] = Counter()
    result: list[Field] = []
    for item in fields:
        key = (item.groups, item.name)
        if total[key] == 1:
            result.append(item)
            continue
        name = f"{item.name}[{seen[key]}]"
        if seen[key] == 0:
            warnings.warn(
                f"{read.path}: several fields are named {item.name!r} "
                "[label.duplicate_name]",
                TgoWarning,
                stacklevel=7,
            )
        seen[key] += 1
        result.append(replace(item, name=name))
    return tuple(result)


def _fills(element: ET.Element, read: Elements) -> tuple[str, ...]:
    """Return the special constants that stand for "no value"."""
    special = read.one(element, "Special_Constants")
    found = () if special is None else tuple(special)
    texts = ((e.text or "").strip() for e in found if e.tag not in _VALUE_RANGES)
    return tuple(text for text in texts if text)


@dataclass
class _Span:
    """Bytes that one field or group takes in its parent."""

    start: int
    length: int
    name: str
    is_group: bool
    fields: list[Field]


class _Layout:
    """Fields of a record or group, with all positions checked."""

    kind = "Character"
    types: Collection[str] = KNOWN_TYPES

    def __init__(self, read: Elements, repairs: list[str] | None) -> None:
        self.read = read
        self.repairs = repairs

    def fields(self, element: ET.Element, length: int, name: str) -> list[Field]:
        """Return the fields inside `element`, a record or group of `length` bytes."""
        read = self.read
        simple = [e for e in element if e.tag == f"Field_{self.kind}"]
        groups = [e for e in element if e.tag == f"Group_Field_{self.kind}"]
        for key, items in (("fields", simple), ("groups", groups)):
            if element.find(key) is not None:
                promised = read.count(element, key)
                if promised != len(items):
                    msg = f"label promises {promised} {key} but describes {len(items)}"
                    raise read.fail(msg, "table.fields_mismatch", promised, name)
        spans: list[_Span] = []
        for item in element:
            kind = item.tag
            if kind == f"Field_{self.kind}":
                one = self.field(item)
                spans.append(_Span(one.start, one.length, one.name, False, [one]))
            elif kind == f"Group_Field_{self.kind}":
                spans.append(self.group(item, len(spans)))
        if self.repairs is not None:
            self.repair(spans, length)
        self.check(spans, length)
        return [
            replace(one, start=one.start + span.start) if span.is_group else one
            for span in spans
            for one in span.fields
        ]

    def field(self, element: ET.Element) -> Field:
        read = self.read
        name = read.word(element, "name")
        data_type = read.word(element, "data_type")
        if data_type not in self.types:
            msg = "unknown data_type"
            raise read.fail(msg, "label.unknown_data_type", data_type, name)
        return Field(
            name=name,
            label_name=name,
            groups=(),
            data_type=data_type,
            start=read.size(element, "field_location", least=1) - 1,
            length=read.size(element, "field_length", least=1),
            unit=read.text(element, "unit", required=False),
            description=read.text(element, "description", required=False),
            fill_texts=_fills(element, read),
            scale=read.real(element, "scaling_factor", 1.0),
            offset=read.real(element, "value_offset", 0.0),
        )

    def group(self, element: ET.Element, position: int) -> _Span:
        """Return the span of a group; its fields start relative to the group."""
        read = self.read
        name = read.text(element, "name", required=False) or f"GROUP_{position}"
        repetitions = read.count(element, "repetitions", least=1)
        length = read.size(element, "group_length", least=1)
        if length % repetitions:
            msg = f"group_length {length} is no multiple of repetitions {repetitions}"
            raise read.fail(
                msg,
                "label.table_definition_problem",
                length,
                name,
            )
        step = length // repetitions
        inner = [
            replace(
                item,
                groups=(name, *item.groups),
                shape=(repetitions, *item.shape),
                strides=(step, *item.strides),
            )
            for item in self.fields(element, step, name)
        ]
        depth = max((len(item.groups) for item in inner), default=1)
        if depth > GROUP_DEPTH_MAX:
            msg = f"groups nested more than {GROUP_DEPTH_MAX} deep"
            raise read.fail(msg, "label.table_definition_problem", depth, name)
        start = read.size(element, "group_location", least=1) - 1
        return _Span(start, length, name, True, inner)

    def check(self, spans: list[_Span], length: int) -> None:
        """Refuse fields that leave the record or overlap."""
        previous_end, previous = 0, ""
        for span in sorted(spans, key=lambda s: (s.start, s.length)):
            end = span.start + span.length
            if end > length:
                msg = (
                    f"bytes {span.start} to {end} lie outside the {length} bytes "
                    "that the record or group has for fields"
                )
                raise self.read.fail(
                    msg,
                    "label.table_definition_problem",
                    span.start,
                    span.name,
                )
            if span.start < previous_end:
                msg = f"overlaps {previous!r}, which ends at byte {previous_end}"
                raise self.read.fail(
                    msg, "table.field_value_overlap", span.start, span.name
                )
            previous_end, previous = end, span.name

    def repair(self, spans: list[_Span], length: int) -> None:
        """Undo a group_location that repeats the one before it."""
        repeated = any(
            b.is_group and a.is_group and a.start == b.start and a.length == b.length
            for a, b in pairwise(spans)
        )
        if not repeated or sum(span.length for span in spans) != length:
            return  # nothing to repair, or the record would not close
        position = 0
        for span in spans:
            if span.start != position and self.repairs is not None:
                self.repairs.append(
                    f"group_location of {span.name!r} moved from byte "
                    f"{span.start} to {position} (0-based)"
                )
                span.start = position
            position += span.length
