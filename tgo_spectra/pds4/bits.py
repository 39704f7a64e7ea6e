"""Bit fields: numbers that share the bytes of one field of a binary table.

References
----------
PDS4 information model 1.15, ``Packed_Data_Fields``: bits are counted from the most
significant one of the first byte, which is 1, across the bytes as they are stored.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TgoWarning
from tgo_spectra.pds4.fields import fills_of, valid_of

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    from tgo_spectra.pds4.fields import Field
    from tgo_spectra.pds4.xml import Elements

__all__ = ["BIT_TYPES", "bit_dtype", "bit_fields", "unpacked"]

BIT_TYPES = frozenset({"SignedBitString", "UnsignedBitString"})
"""``data_type`` values of bit fields, and of the fields that hold them."""
_WIDEST = 64  # bits of an integer


def bit_fields(element: ET.Element, parent: Field, read: Elements) -> list[Field]:
    """Return the bit fields of a field, each a field of its own.

    A bit field of more than 64 bits is left in its parent, with a warning.
    """
    packed = read.one(element, "Packed_Data_Fields")
    if packed is None:
        return []
    items = packed.findall("Field_Bit")
    promised = read.count(packed, "bit_fields")
    if promised != len(items):
        msg = f"label promises {promised} bit fields but describes {len(items)}"
        raise read.fail(msg, "table.bit_field_mismatch", promised, parent.name)
    return [one for item in items for one in _bit_field(item, parent, read)]


def _bit_field(element: ET.Element, parent: Field, read: Elements) -> list[Field]:
    name = read.word(element, "name")
    data_type = read.word(element, "data_type")
    if data_type not in BIT_TYPES:
        msg = "unknown data_type of a bit field"
        raise read.fail(msg, "label.unknown_data_type", data_type, name)
    first, last = (
        # older models have both names, newer ones the longer
        read.count(element, key if read.one(element, key) is not None else short)
        for key, short in (
            ("start_bit_location", "start_bit"),
            ("stop_bit_location", "stop_bit"),
        )
    )
    if not 1 <= first <= last <= 8 * parent.length:
        msg = f"bits {first} to {last} are none of the {8 * parent.length} of the field"
        raise read.fail(msg, "label.table_definition_problem", first, name)
    if last - first >= _WIDEST:
        text = f"{read.path}: {parent.name} / {name}: has more than {_WIDEST} bits and "
        text += "is left in the field that holds it [label.table_definition_problem]"
        warnings.warn(text, TgoWarning, stacklevel=9)
        return []
    one = replace(
        parent,
        name=name,
        label_name=name,
        groups=(parent.name,),
        data_type=data_type,
        unit=read.text(element, "unit", required=False),
        description=read.text(element, "description", required=False),
        fill_texts=fills_of(element, read),
        scale=read.real(element, "scaling_factor", 1.0),
        offset=read.real(element, "value_offset", 0.0),
        valid=valid_of(element, read),
        bits=(first, last),
    )
    return [one]


def bit_dtype(data_type: str, bits: tuple[int, int]) -> np.dtype[Any]:
    """Return the smallest type that holds the numbers of a bit field.

    Examples
    --------
    >>> bit_dtype("UnsignedBitString", (1, 9)), bit_dtype("SignedBitString", (4, 4))
    (dtype('uint16'), dtype('int8'))
    """
    width = bits[1] - bits[0] + 1
    size = next(n for n in (1, 2, 4, 8) if 8 * n >= width)
    return np.dtype(f"{'u' if data_type == 'UnsignedBitString' else 'i'}{size}")


def unpacked(
    data: np.ndarray[Any, np.dtype[np.uint8]], data_type: str, bits: tuple[int, int]
) -> np.ndarray[Any, Any]:
    """Return the numbers (...) of a bit field in bytes (..., byte), as `bit_dtype`.

    Examples
    --------
    >>> byte = np.array([[0b10110000]], dtype=np.uint8)
    >>> unpacked(byte, "UnsignedBitString", (1, 3)).tolist()
    [5]
    >>> unpacked(byte, "SignedBitString", (1, 3)).tolist()
    [-3]
    """
    first, last = bits[0] - 1, bits[1]
    width = last - first
    found = np.zeros(data.shape[:-1], dtype=np.uint64)
    for k in range(first // 8, (last - 1) // 8 + 1):
        start, stop = max(first - 8 * k, 0), min(last - 8 * k, 8)
        part = (data[..., k] >> np.uint8(8 - stop)) & np.uint8(2 ** (stop - start) - 1)
        found = found << np.uint64(stop - start) | part
    if data_type == "SignedBitString":
        # the sign bit on top, then back with it
        room = np.uint64(_WIDEST - width)
        signed = (found << room).view(np.int64) >> room.astype(np.int64)
        return signed.astype(bit_dtype(data_type, bits))
    return found.astype(bit_dtype(data_type, bits))
