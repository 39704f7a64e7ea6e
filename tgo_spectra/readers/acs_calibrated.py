"""Calibrated ACS spectra: which axis is which, wavenumbers, orders.

Experimental [I]: names, shapes and meanings are inferred from scripts of others; no
label of these products was at hand. Where a label names its axes, the label wins.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.binary import ArrayObject
from tgo_spectra.readers.lazy import lazy, snake_case
from tgo_spectra.readers.objects import ObjectArray, table_dataset
from tgo_spectra.variables import annotate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tgo_spectra.pds4 import Structure

__all__ = ["axis_roles", "calibrated_dataset", "tirvim_dataset"]

_ROLES = ("frame", "part", "row", "pixel")
_WORDS = {
    "frame": {"frame", "frames", "time"},
    "row": {"row", "rows", "line", "lines"},
    "pixel": {"pixel", "pixels", "px", "sample", "samples", "column", "columns"},
    "part": {"part", "quantity", "component", "transmittance", "error"},
}
"""Words of an axis name that say what the axis is [I]."""

# [I]: how the scripts index the array called Data
_INFERRED = {
    "nir": ("frame", "part", "row", "pixel"),
    "mir": ("frame", "row", "part", "pixel"),
}
_PARTS = 2  # transmittance, error, in this order [I]
_PAIR = 2  # order and wavenumber, or order and row

_CM = frozenset({"cm-1", "cm^-1", "cm**-1", "1/cm"})
_NM_PER_UNIT = {
    "nm": 1.0,
    "nanometer": 1.0,
    "um": 1000.0,
    "µm": 1000.0,
    "micrometer": 1000.0,
    "micron": 1000.0,
}


def _fail(message: str, path: str, item: str, value: object, rule: str) -> ProductError:
    return ProductError(message, path=path, field=item, value=value, rule=rule)


def axis_roles(
    axes: Sequence[str], shape: Sequence[int], channel: str, path: str
) -> tuple[tuple[str, ...], str]:
    """Say which axis of ``Data`` is frame, part, row and pixel, and how that is known.

    `axes` are the label's names of the axes, slowest first, of sizes `shape`; where
    they say nothing the inferred layout of the channel holds. Refused are two axes of
    one meaning, and a part axis without 2 elements or without a certain place.

    Examples
    --------
    >>> names = ["Frame", "Detector Row", "Quantity", "Pixel"]
    >>> axis_roles(names, (7, 20, 2, 640), "nir", "a.xml")
    (('frame', 'row', 'part', 'pixel'), 'label')
    >>> axis_roles(["a", "b", "c", "d"], (7, 2, 20, 640), "nir", "a.xml")[1]
    'inferred layout'
    """

    def refuse(message: str, rule: str = "product.ambiguous_axes") -> ProductError:
        text = f"{message} (axes {list(axes)}, sizes {list(shape)})"
        return _fail(text, path, "Data", list(shape), rule)

    if len(shape) != len(_ROLES):
        msg = f"array must have {len(_ROLES)} axes"
        raise refuse(msg, "product.unknown_layout")
    named = [_role(axis) for axis in axes]
    known = [role for role in named if role]
    if len(set(known)) != len(known):
        msg = "two axes have one meaning by their names"
        raise refuse(msg)
    missing = [role for role in _ROLES if role not in known]
    origin = "label"
    roles: Sequence[str] = named
    if len(missing) == 1:
        origin = "label, one by elimination"
        roles = [role or missing[0] for role in named]
    elif missing:
        origin = "inferred layout"
        roles = _INFERRED[channel]
        part = roles.index("part")
        twos = [k for k, n in enumerate(shape) if n == _PARTS]
        against = any(a and a != b for a, b in zip(named, roles, strict=True))
        if twos != [part] or against:
            msg = (
                "which axis holds transmittance and error is not clear: the names do "
                f"not say it, and not axis {part + 1} alone has {_PARTS} elements"
            )
            raise refuse(msg)
    if shape[roles.index("part")] != _PARTS:
        msg = f"the axis of transmittance and error must have {_PARTS} elements"
        raise refuse(msg)
    return tuple(roles), origin


def _role(axis: str) -> str:
    words = set(snake_case(axis).split("_"))
    found = [role for role, known in _WORDS.items() if words & known]
    return found[0] if len(found) == 1 else ""


def calibrated_dataset(
    structures: Mapping[str, Structure], channel: str, path: str
) -> xr.Dataset:
    """Build the Dataset of calibrated NIR or MIR detector frames.

    ``transmittance``, ``transmittance_error`` (frame, row, pixel), lazy; ``wavenumber``
    (cm-1): MIR (row, pixel), NIR (order_slot, pixel), NaN where the product has 0; NIR
    ``order`` and ``order_wavenumber`` (frame); MIR ``stripe_order`` and ``stripe_row``
    (stripe).
    """
    data = structures["Data"]
    if channel not in _INFERRED:
        msg = "an array Data is known for NIR and MIR only"
        raise _fail(msg, path, "Data", channel, "product.unknown_layout")
    if not isinstance(data, ArrayObject):
        msg = "Data must be an array"
        raise _fail(msg, path, "Data", type(data).__name__, "product.unknown_layout")
    roles, origin = axis_roles(data.axes, data.shape, channel, path)
    dims = ("frame", "row", "pixel")
    axes = [roles.index(dim) for dim in dims]
    part = roles.index("part")
    sizes = {dim: data.shape[k] for dim, k in zip(dims, axes, strict=True)}
    names = ("transmittance", "transmittance_error")
    variables = {
        name: lazy(dims, ObjectArray(data, axes, {part: k}), {"label_name": "Data"})
        for k, name in enumerate(names)
    }
    coords: dict[str, xr.Variable] = {}
    if "Wavelength" in structures:
        name, variable = _spectral_axis(
            _array(structures["Wavelength"], path), channel, sizes, path
        )
        coords[name] = variable
    if "Orders" in structures:
        waves = [
            1e7 / v.values if k == "wavelength" else v.values for k, v in coords.items()
        ]
        coords |= _orders(structures["Orders"], channel, sizes, waves, path)
    ds = annotate(xr.Dataset(variables, coords))
    ds.attrs["axes_from"] = origin
    ds.attrs["part_axis"] = "transmittance, then its error (inferred)"
    return ds


def _array(item: Structure, path: str) -> ArrayObject:
    if not isinstance(item, ArrayObject):
        name = item.layout.name
        msg = f"{name} must be an array"
        raise _fail(msg, path, name, type(item).__name__, "product.unknown_layout")
    return item


def _without_single(values: np.ndarray[Any, Any], axes: int) -> np.ndarray[Any, Any]:
    """Drop leading axes of one element until `axes` are left."""
    while values.ndim > axes and values.shape[0] == 1:
        values = values[0]
    return values


def _spectral_axis(
    item: ArrayObject, channel: str, sizes: Mapping[str, int], path: str
) -> tuple[str, xr.Variable]:
    """Return name and values of the spectral coordinate, checked."""
    first = "row" if channel == "mir" else "order_slot"
    values = _without_single(item.read(), 2)
    if values.ndim != 2:
        msg = f"must have two axes ({first}, pixel) beside those of one element"
        raise _fail(msg, path, item.name, item.shape, "product.unknown_layout")
    wanted = (sizes["row"] if channel == "mir" else len(values), sizes["pixel"])
    if values.shape != wanted:
        msg = (
            f"has {values.shape[0]} x {values.shape[1]} elements, Data has "
            f"{wanted[0]} x {wanted[1]} ({first} x pixel)"
        )
        raise _fail(msg, path, item.name, item.shape, "product.lengths_differ")
    values, name, attrs = _in_our_unit(np.asarray(values, np.float64), item, path)
    _check_monotonic(values, item.name, first, path)
    variable = xr.Variable((first, "pixel"), values, {"label_name": item.name} | attrs)
    return name, variable


def _in_our_unit(
    values: np.ndarray[Any, np.dtype[np.float64]], item: ArrayObject, path: str
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], str, dict[str, Any]]:
    """Return values (0 is missing), the name they go by, and attributes."""
    none = values == 0.0
    values = np.where(none, np.nan, values)
    attrs: dict[str, Any] = {"zeros_made_missing": int(none.sum())}
    unit = (item.unit or "").strip().lower()
    if unit in _CM:
        return values, "wavenumber", attrs | {"label_unit": item.unit}
    if unit in _NM_PER_UNIT:
        attrs["label_unit"] = item.unit
        return values * _NM_PER_UNIT[unit], "wavelength", attrs
    if unit:
        msg = "unit of the spectral axis is not known"
        raise _fail(msg, path, item.name, item.unit, "product.unknown_unit")
    attrs["unit_note"] = "the label states no unit: cm-1 is inferred"
    return values, "wavenumber", attrs


def _check_monotonic(
    values: np.ndarray[Any, np.dtype[np.float64]], name: str, first: str, path: str
) -> None:
    """Refuse an axis that does not rise or fall all the way, row by row."""
    for k, row in enumerate(values):
        steps = np.diff(row[np.isfinite(row)])
        if steps.size and not ((steps > 0).all() or (steps < 0).all()):
            at = int(np.argmax(np.sign(steps) != np.sign(steps[0])))
            msg = f"is not strictly monotonic in {first} {k}, after valid pixel {at}"
            value = float(row[np.isfinite(row)][at + 1])
            raise _fail(msg, path, name, value, "product.axis_not_monotonic")


def _orders(
    item: Structure,
    channel: str,
    sizes: Mapping[str, int],
    waves: Sequence[np.ndarray[Any, np.dtype[np.float64]]],
    path: str,
) -> dict[str, xr.Variable]:
    def fits(pairs: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
        return any(_of_one_echelle(pairs, channel, wave) for wave in waves)

    pairs = _pairs(item, fits, path)
    first, second = pairs[:, 0], pairs[:, 1]
    name = {"label_name": "Orders"}
    if channel == "nir":
        if len(pairs) != sizes["frame"]:
            msg = f"has {len(pairs)} entries, Data has {sizes['frame']} frames"
            raise _fail(msg, path, "Orders", len(pairs), "product.lengths_differ")
        middle = name | {
            "units": "cm-1",
            "comment": "second value of Orders; that it is a wavenumber is inferred",
        }
        return {
            "order": xr.Variable("frame", _whole(first, path), name),
            "order_wavenumber": xr.Variable("frame", second, middle),
        }
    rows = _whole(second, path)
    outside = (rows < 0) | (rows >= sizes["row"])
    if outside.any():
        msg = f"stripe lies outside the {sizes['row']} detector rows"
        value = int(rows[outside][0])
        raise _fail(msg, path, "Orders", value, "product.unknown_layout")
    text = {"comment": "row in the middle of the stripe, from 0 (inferred)"}
    return {
        "stripe_order": xr.Variable("stripe", _whole(first, path), name),
        "stripe_row": xr.Variable("stripe", rows, name | text),
    }


def _of_one_echelle(
    pairs: np.ndarray[Any, np.dtype[np.float64]],
    channel: str,
    waves: np.ndarray[Any, np.dtype[np.float64]],
) -> bool:
    """Say whether pairs (n, 2) can be orders and what `_orders` takes the second for.

    An echelle has one wavenumber per order: at one setting that of order m is known but
    for half an order to each side, 1 / 2 m of it. As much again is allowed, as a
    detector may be wider than an order. `waves` are those of the axis, cm-1.
    """
    order, other = pairs.T
    whole = pairs if channel == "mir" else order
    if not np.isfinite(pairs).all() or (order < 1).any() or (whole % 1).any():
        return False
    if channel == "mir":
        if ((other < 0) | (other >= len(waves))).any():
            return False
        lines = [line[np.isfinite(line)] for line in waves[other.astype(np.int64)]]
        if not all(line.size for line in lines):
            return False
        wave = np.array([np.median(line) for line in lines])
    else:
        known = waves[np.isfinite(waves)]
        if not known.size or ((other < known.min()) | (other > known.max())).any():
            return False
        wave = other
    per_order = wave / order
    spread = per_order.max() / per_order.min() - 1.0
    return bool(spread <= (1.0 / order).sum())


def _pairs(
    item: Structure,
    fits: Callable[[np.ndarray[Any, np.dtype[np.float64]]], bool],
    path: str,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the object Orders as (n, 2), whether it is a table or an array.

    Two pairs have no axis that their number tells apart: the label's names of the axes
    do, or that one way to read them `fits` and the other does not.
    """
    if isinstance(item, ArrayObject):
        values = np.asarray(_without_single(item.read(), 2), np.float64)
        problem, value = "must be n x 2", item.shape
        if values.ndim == 2 and values.shape[1] == _PAIR:
            if len(values) != _PAIR:
                return values
            named = [_role(axis) == "part" for axis in item.axes[-2:]]
            if any(named) and not all(named):
                return values if named[1] else values.T
            found = [pairs for pairs in (values, values.T) if fits(pairs)]
            if len(found) == 1:
                return found[0]
            problem = (
                "two pairs could be read along either axis: its names do not say "
                f"which, and {len(found)} of the two agree with the spectral axis"
            )
    else:
        fields = item.layout.fields
        if len(fields) == _PAIR and not any(field.groups for field in fields):
            ds = table_dataset(item)
            columns = [ds[name].values for name in ds.data_vars]
            return np.stack(columns, axis=1).astype(np.float64)
        problem, value = "must have two fields", (len(fields),)
    raise _fail(problem, path, "Orders", value, "product.ambiguous_axes")


def _whole(
    values: np.ndarray[Any, np.dtype[np.float64]], path: str
) -> np.ndarray[Any, np.dtype[np.int64]]:
    wrong = ~np.isfinite(values) | (values != np.round(values))
    if wrong.any():
        msg = "must be a whole number"
        value = float(values[wrong][0])
        raise _fail(msg, path, "Orders", value, "product.unknown_layout")
    return values.astype(np.int64)


def tirvim_dataset(
    arrays: Mapping[str, ArrayObject], attrs: Mapping[str, Any], path: str
) -> xr.Dataset:
    """Build the Dataset of one TIRVIM spectrum or interferogram, all (spectrum, pixel).

    Arrays of another length have a dimension of their own; ``spectrum_counter`` is the
    last number of the identifier, ``target_altitude`` that of the mission area; both
    [I].
    """
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, xr.Variable] = {}
    main = next(iter(arrays.values())) if arrays else None
    main = arrays.get("Transmittance", main)
    for name, item in arrays.items():
        if len(item.shape) != 1:
            msg = f"{name} must have one axis"
            raise _fail(msg, path, name, item.shape, "product.unknown_layout")
        target = snake_case(name)
        same = main is not None and item.shape == main.shape
        if target in {"wavelength", "wavenumber"} and same:
            values, target, extra = _in_our_unit(
                np.asarray(item.read(), np.float64), item, path
            )
            _check_monotonic(values[None], name, "spectrum", path)
            coords[target] = xr.Variable("pixel", values, {"label_name": name} | extra)
            continue
        dim = "pixel" if same else f"{target}_{snake_case(item.axes[0])}"
        text = {"label_name": name}
        if item.unit is not None:
            text["label_unit"] = item.unit
        variables[target] = lazy(("spectrum", dim), ObjectArray(item, lead=True), text)
    counter = re.search(r"(\d+)$", str(attrs.get("name_parts", "")))
    if counter:
        coords["spectrum_counter"] = xr.Variable(
            "spectrum",
            np.array([int(counter[1])]),
            {"comment": "last number of the identifier (inferred)"},
        )
    altitude = str(attrs.get("tir_target_altitude", ""))
    if re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", altitude):
        coords["target_altitude"] = xr.Variable(
            "spectrum",
            np.array([float(altitude)]),
            {"comment": "tir_target_altitude of the label; unit as there (inferred)"},
        )
    return annotate(xr.Dataset(variables, coords))
