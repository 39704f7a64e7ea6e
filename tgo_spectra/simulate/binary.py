"""Binary objects of synthetic ACS products: bytes, and the element that describes them.

The layout is *inferred*, as that of the reader: no calibrated label was at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.simulate.label import Element

    Values = npt.NDArray[Any]

__all__ = ["binary_array", "binary_table"]

_TYPES = {"<f4": "IEEE754LSBSingle", "<f8": "IEEE754LSBDouble"}
_KINDS = {2: "Array_2D", 3: "Array_3D"}
_TIME = "ASCII_Date_Time_YMD_UTC"
_TIME_BYTES = 24


def binary_array(
    name: str, offset: int, values: Values, unit: str
) -> tuple[bytes, Element]:
    """Bytes of an array, and its element with the name of the object in the file."""
    axes = [f"{name} axis {k}" for k in range(1, values.ndim + 1)]
    if name == "Data":
        axes = ["Frame", "Row", "Quantity", "Pixel"]
    element: list[Element] = [
        ("name", name),
        ('offset unit="byte"', offset),
        ("axes", values.ndim),
        ("axis_index_order", "Last Index Fastest"),
        ("Element_Array", [("data_type", _TYPES[values.dtype.str]), *_unit(unit)]),
    ]
    for k, (axis, size) in enumerate(zip(axes, values.shape, strict=True), 1):
        content = [("axis_name", axis), ("elements", size), ("sequence_number", k)]
        element.append(("Axis_Array", content))
    data = np.ascontiguousarray(values).tobytes()
    return data, (_KINDS.get(values.ndim, "Array"), element)


def binary_table(
    name: str,
    offset: int,
    times: npt.NDArray[np.datetime64],
    columns: Mapping[str, tuple[Values, str]],
) -> tuple[bytes, Element]:
    """Bytes of a binary table, times first, and the element that describes it."""
    cells = np.char.add(times.astype("M8[ms]").astype(str), "Z").astype("S24")
    parts = [cells.view(np.uint8).reshape(times.size, -1)]
    fields, at = [_field("UTC", _TIME, 1, _TIME_BYTES, "")], 1 + _TIME_BYTES
    for title, (values, unit) in columns.items():
        width = values.dtype.itemsize
        fields.append(_field(title, _TYPES[values.dtype.str], at, width, unit))
        parts.append(values.view(np.uint8).reshape(times.size, -1))
        at += width
    record = [
        ("fields", len(fields)),
        ("groups", 0),
        ('record_length unit="byte"', at - 1),
        *fields,
    ]
    element = [
        ("name", name),
        ('offset unit="byte"', offset),
        ("records", times.size),
        ("Record_Binary", record),
    ]
    return np.concatenate(parts, axis=1).tobytes(), ("Table_Binary", element)


def _unit(unit: str) -> list[Element]:
    return [("unit", unit)] if unit else []


def _field(name: str, data_type: str, start: int, width: int, unit: str) -> Element:
    content = [
        ("name", name),
        ('field_location unit="byte"', start),
        ("data_type", data_type),
        ('field_length unit="byte"', width),
        *_unit(unit),
    ]
    return "Field_Binary", content
