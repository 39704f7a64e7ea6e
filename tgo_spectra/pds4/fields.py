"""Fields of a record and their data types; read from a label, all positions checked."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from tgo_spectra.errors import TgoWarning

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Collection, Sequence

    from tgo_spectra.pds4.xml import Elements

__all__ = [
    "BASES",
    "INTEGER_TYPES",
    "KNOWN_TYPES",
    "REAL_TYPES",
    "TEXT_TYPES",
    "TIME_TYPES",
    "Field",
    "Layout",
    "base_of",
    "distinct",
    "fills_of",
    "is_wide",
    "unique",
    "valid_of",
]

GROUP_DEPTH_MAX = 16
"""Deepest nesting of groups: each is a dimension, of which numpy knows 64."""
_VALUE_RANGES = frozenset({"valid_minimum", "valid_maximum"})  # not fill values

REAL_TYPES = frozenset({"ASCII_Real"})
INTEGER_TYPES = frozenset({"ASCII_Integer", "ASCII_NonNegative_Integer"})
TIME_TYPES = frozenset(
    {
        "ASCII_Date_Time_YMD_UTC",
        "ASCII_Date_Time_YMD",
        "ASCII_Date_YMD",
        "ASCII_Date_Time_DOY_UTC",
        "ASCII_Date_Time_DOY",
        "ASCII_Date_DOY",
    }
)
TEXT_TYPES = frozenset(
    {
        "ASCII_AnyURI",
        "ASCII_BibCode",
        "ASCII_DOI",
        "ASCII_Directory_Path_Name",
        "ASCII_File_Name",
        "ASCII_File_Specification_Name",
        "ASCII_LID",
        "ASCII_LIDVID",
        "ASCII_LIDVID_LID",
        "ASCII_MD5_Checksum",
        "ASCII_Numeric_Base16",
        "ASCII_Numeric_Base2",
        "ASCII_Numeric_Base8",
        "ASCII_String",
        "ASCII_Time",
        "ASCII_VID",
        "UTF8_String",
    }
)
KNOWN_TYPES = (
    REAL_TYPES | INTEGER_TYPES | TIME_TYPES | TEXT_TYPES | frozenset({"ASCII_Boolean"})
)
"""``data_type`` values of character fields in PDS4 information models 1.11-1.26."""

BASES = {
    "ASCII_Numeric_Base2": 2,
    "ASCII_Numeric_Base8": 8,
    "ASCII_Numeric_Base16": 16,
}
"""Base of each type."""
_DIGITS_MAX = {2: 64, 8: 21, 16: 16}  # that 64 bits hold
_INT64_DIGITS = 18  # any so long is an int64


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
    valid : tuple of str
        valid_minimum and valid_maximum, of what is stored; empty if not given.
    bits : tuple of int, optional
        First and last bit of the cell that the value takes (1 is the most significant
        one of the first byte), in a packed field; its name is the last of `groups`.
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
    valid: tuple[str, str] = ("", "")
    bits: tuple[int, int] | None = None


def distinct(keys: Sequence[tuple[tuple[str, ...], str]]) -> list[str]:
    """Return names that differ inside their groups: ``[0]``, ``[1]`` behind equal ones.

    Examples
    --------
    >>> distinct([((), "a"), ((), "b"), ((), "a"), (("G",), "a"), ((), "a[0]")])
    ['a[1]', 'b', 'a[2]', 'a', 'a[0]']
    """
    total = Counter(keys)
    numbers: Counter[tuple[tuple[str, ...], str]] = Counter()
    result: list[str] = []
    for key in keys:
        groups, name = key
        free = name
        while total[key] > 1 and (groups, free) in total:
            free = f"{name}[{numbers[key]}]"
            numbers[key] += 1
        result.append(free)
    return result


def unique(fields: list[Field], read: Elements) -> tuple[Field, ...]:
    """Return fields whose names differ inside their groups; warn if some did not."""
    names = distinct([(item.groups, item.name) for item in fields])
    changed = (f.name for f, name in zip(fields, names, strict=True) if name != f.name)
    for old in dict.fromkeys(changed):
        warnings.warn(
            f"{read.path}: several fields are named {old!r} [label.duplicate_name]",
            TgoWarning,
            stacklevel=7,
        )
    return tuple(
        item if name == item.name else replace(item, name=name)
        for item, name in zip(fields, names, strict=True)
    )


def fills_of(element: ET.Element, read: Elements) -> tuple[str, ...]:
    """Return the special constants that stand for "no value"."""
    special = read.one(element, "Special_Constants")
    found = () if special is None else tuple(special)
    texts = ((e.text or "").strip() for e in found if e.tag not in _VALUE_RANGES)
    return tuple(text for text in texts if text)


def valid_of(element: ET.Element, read: Elements) -> tuple[str, str]:
    """Return valid_minimum and valid_maximum; empty if not given."""
    special = read.one(element, "Special_Constants")
    if special is None:
        return "", ""
    low, high = (
        read.text(special, f"valid_{name}", required=False) or ""
        for name in ("minimum", "maximum")
    )
    return low, high


@dataclass
class _Span:
    """Bytes that one field or group takes in its parent."""

    start: int
    length: int
    name: str
    is_group: bool
    fields: list[Field]


class Layout:
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
                all_ = [one, *self.inside(item, one)]
                spans.append(_Span(one.start, one.length, one.name, False, all_))
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
        """Return a field; its start is relative to what it stands in."""
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
            fill_texts=fills_of(element, read),
            scale=read.real(element, "scaling_factor", 1.0),
            offset=read.real(element, "value_offset", 0.0),
            valid=valid_of(element, read),
        )

    def inside(self, element: ET.Element, item: Field) -> list[Field]:
        """Return the fields that share the bytes of a field: none in text."""
        return []

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
        depth = max((len(item.shape) for item in inner), default=1)
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


def base_of(data_type: str, length: int) -> int | None:
    """Return the base of numbers that are given as such; longer ones stay text.

    Examples
    --------
    >>> base_of("ASCII_Numeric_Base16", 4), base_of("ASCII_Numeric_Base16", 40)
    (16, None)
    """
    base = BASES.get(data_type)
    return base if base is not None and length <= _DIGITS_MAX[base] else None


def is_wide(data_type: str, length: int) -> bool:
    """Say whether integers of so many characters may need the unsigned 64-bit type.

    Examples
    --------
    >>> is_wide("ASCII_NonNegative_Integer", 20), is_wide("ASCII_Integer", 20)
    (True, False)
    """
    return data_type == "ASCII_NonNegative_Integer" and length > _INT64_DIGITS
