"""NOMAD calibrated products as Datasets, driven by the label.

Fields are recognised by their names, not by position: other versions may add
fields, and those come through under the snake-case form of their own name.

References
----------
Layout of product version 3.0: ``l1p0a_to_psa`` of the producer's ``nomad_ops``.
Vandaele et al., Space Sci. Rev. 214, 80 (2018), doi:10.1007/s11214-018-0517-2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import Columns, label_cache, open_table, resolve_data
from tgo_spectra.pds4.table import repaired
from tgo_spectra.readers.lazy import (
    ColumnArray,
    MaskedArray,
    dtype_of,
    snake_case,
    with_leaves,
)
from tgo_spectra.readers.quality import check, flag_notes
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tgo_spectra.pds4 import Field, Label, Source, Table
    from tgo_spectra.pds4.check import Mode

__all__ = ["FILL", "PRODUCT_NAME", "read"]

_GROUPS = {
    "Wavenumber": "wavenumber",
    "Wavelength": "wavelength",
    "Transmittance": "transmittance",
    "Transmittance error": "transmittance_error",
    "Reflectance factor": "reflectance_factor",
    "Reflectance factor (baseline removed)": "reflectance_factor_corrected",
    "Radiance": "radiance",
    "Radiance error": "radiance_error",
    "Mask": "mask",
}

_EDGE_NAMES = {
    "ObservationDatetime": "time_bounds",
    "ObsAlt": "obs_altitude",
    "SubObsLon": "sub_obs_longitude",
    "SubObsLat": "sub_obs_latitude",
    "LSubS": "l_sub_s",
    "SubSolLon": "sub_sol_longitude",
    "SubSolLat": "sub_sol_latitude",
    "PointingDeviation": "pointing_deviation",
}
_POINT_NAMES = {
    "PointX": "point_x",
    "PointY": "point_y",
    "Lon": "point_longitude",
    "Lat": "point_latitude",
    "LST": "point_local_true_solar_time",
    "TangentAltEllipsoid": "tangent_altitude_ellipsoid",
    "TangentAltAreoid": "tangent_altitude_areoid",
    "TangentAltSurface": "tangent_altitude_surface",
    "SlantPathDistance": "slant_path_distance",
    "IncidenceAngle": "incidence_angle",
    "EmissionAngle": "emission_angle",
    "PhaseAngle": "phase_angle",
    "SurfaceAltAreoid": "surface_altitude_areoid",
    "SurfaceRadius": "surface_radius",
}
_SINGLE_NAMES = {
    "AOTFFrequency": "aotf_frequency",
    "DiffractionOrder": "order",
    "YValidFlag": "y_valid_flag",
}


@dataclass(frozen=True)
class _Plan:
    """One variable: which fields make it, and how they are arranged.

    Attributes
    ----------
    name : str
        Of the variable.
    dims : tuple of str
    fields : tuple of Field
        Of one data type and shape.
    layout : tuple of int
        Sizes of the dimensions that the fields span; ``()`` for a single field.
    label_name : str
        Name or names in the label.
    dtype : dtype
        Of the values.
    columns : Columns
        Where the cells are.
    attrs : dict
        Attributes of the variable; to be copied, as plans are shared.
    """

    name: str
    dims: tuple[str, ...]
    fields: tuple[Field, ...]
    layout: tuple[int, ...]
    label_name: str
    dtype: np.dtype[Any] = field(init=False)
    columns: Columns = field(init=False)
    attrs: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Derive what every product of this layout shares."""
        dtype = dtype_of(self.fields[0])
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "columns", Columns(self.fields))
        attrs = _label_attrs(self) | attributes_of(self.name, dtype)
        object.__setattr__(self, "attrs", attrs)


def _plan_variables(fields: tuple[Field, ...]) -> tuple[_Plan, ...]:
    """Arrange all fields of a table into variables.

    Parameters
    ----------
    fields : tuple of Field
        From the label; the plans of one tuple are made once.

    Returns
    -------
    tuple of _Plan
    """
    return label_cache.kept("nomad plans", fields, lambda: _plans(fields))


def _plans(fields: tuple[Field, ...]) -> tuple[_Plan, ...]:
    scalar = {f.name: f for f in fields if not f.groups}
    plans: list[_Plan] = []
    used: set[str] = set()
    for plan in (*_edge_plans(scalar), *_point_plans(scalar)):
        plans.append(plan)
        used.update(item.name for item in plan.fields)
    for name, item in scalar.items():
        if name not in used:
            target = _SINGLE_NAMES.get(name, snake_case(name))
            plans.append(_Plan(target, ("spectrum",), (item,), (), name))
    plans.extend(_group_plan(item) for item in fields if item.groups)
    return tuple(_distinct(plans))


def _alike(fields: Iterable[Field]) -> bool:
    kinds = {(item.data_type, item.scale, item.offset) for item in fields}
    return len(kinds) == 1


def _edge_plans(scalar: dict[str, Field]) -> list[_Plan]:
    plans = []
    for name in scalar:
        head = re.fullmatch(r"Start([A-Z]\w*)", name)
        tail = re.fullmatch(r"(\w*[a-z])Start", name)
        if head:
            stem, other = head[1], f"End{head[1]}"
        elif tail:
            stem, other = tail[1], f"{tail[1]}End"
        else:
            continue
        if other not in scalar or not _alike((scalar[name], scalar[other])):
            continue
        if stem == "Bin":
            continue  # BinStart and BinEnd are detector rows, not times
        target = _EDGE_NAMES.get(stem, snake_case(stem))
        pair = (scalar[name], scalar[other])
        plans.append(
            _Plan(target, ("spectrum", "edge"), pair, (2,), f"{name}, {other}")
        )
    return plans


def _point_plans(scalar: dict[str, Field]) -> list[_Plan]:
    edged: dict[str, int] = {}
    plain: dict[str, int] = {}
    for name in scalar:
        match = re.fullmatch(r"(\w*?[A-Za-z])(Start|End)?(\d+)", name)
        if match:
            counts = edged if match[2] else plain
            counts[match[1]] = max(counts.get(match[1], 0), int(match[3]) + 1)
    plans = []
    for stem, n in edged.items():
        names = [f"{stem}{edge}{k}" for k in range(n) for edge in ("Start", "End")]
        if all(name in scalar for name in names):
            fields = tuple(scalar[name] for name in names)
            if _alike(fields):
                target = _POINT_NAMES.get(stem, snake_case(stem))
                text = f"{stem}Start0 ... {stem}End{n - 1}"
                dims = ("spectrum", "point", "edge")
                plans.append(_Plan(target, dims, fields, (n, 2), text))
    for stem, n in plain.items():
        names = [f"{stem}{k}" for k in range(n)]
        if n > 1 and all(name in scalar for name in names):
            fields = tuple(scalar[name] for name in names)
            if _alike(fields):
                target = _POINT_NAMES.get(stem, snake_case(stem))
                text = f"{stem}0 ... {stem}{n - 1}"
                plans.append(_Plan(target, ("spectrum", "point"), fields, (n,), text))
    return plans


def _group_plan(item: Field) -> _Plan:
    group = item.groups[0]
    name = _GROUPS.get(group)
    if name is not None and len(item.shape) == 1:
        dims: tuple[str, ...] = ("spectrum", "pixel")
    else:
        name = snake_case(" ".join((*item.groups, item.name)))
        dims = ("spectrum", *(f"{name}_{k}" for k in range(len(item.shape))))
    text = f"{' / '.join(item.groups)} / {item.label_name}"
    return _Plan(name, dims, (item,), (), text)


def _distinct(plans: list[_Plan]) -> list[_Plan]:
    """Rename variables whose names would clash, and dimensions whose sizes would."""
    seen: dict[str, int] = {}
    sizes: dict[str, int] = {}
    result = []
    for plan in plans:
        number = seen[plan.name] = seen.get(plan.name, 0) + 1
        name = plan.name if number == 1 else f"{plan.name}_{number}"
        shape = (*plan.layout, *plan.fields[0].shape)
        dims = ["spectrum"]
        for dim, size in zip(plan.dims[1:], shape, strict=True):
            fits = sizes.setdefault(dim, size) == size
            dims.append(dim if fits else f"{name}_{dim}")
        result.append(
            _Plan(name, tuple(dims), plan.fields, plan.layout, plan.label_name)
        )
    return result


def _label_attrs(plan: _Plan) -> dict[str, str]:
    first = plan.fields[0]
    attrs = {"label_name": plan.label_name}
    if first.unit is not None:
        attrs["label_unit"] = first.unit
    if first.description and first.description != first.name:
        attrs["label_description"] = first.description
    return attrs


FILL = -999.0
"""Missing value of all numeric fields; the label declares it for some only."""

PRODUCT_NAME = re.compile(
    r"nmd_cal_sc_(?P<channel>so|lno|uvis)"
    r"_(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})"
    r"(?:-(?P<part>[ahlg]|\d))?-(?P<kind>[a-z][pf]?)(?:-(?P<order>\d{1,3}|[sf]))?"
    r"(?:_(?P<version>\d+\.\d+))?",
    re.IGNORECASE,
)
"""Stem of a product name; times are those of the telecommand window."""

_OBSERVATION = {"i": "ingress", "e": "egress", "d": "dayside_nadir"}
_LETTERS = {"p": "passed", "f": "failed"}
_PART = {"a": "all", "h": "high", "l": "low", "g": "grazing"}

_AXES = ("wavenumber", "wavelength")
_MASKABLE = {"transmittance", "transmittance_error", "radiance", "radiance_error"}
# One value a file, except for full scans, whose order changes from row to row.
_SETTINGS = ("order", "aotf_frequency", "instrument_temperature")
# Coordinate, the variable it is taken from (point 0, mean of the edges), period.
_CENTRES = (
    ("tangent_altitude", "tangent_altitude_areoid", None),
    ("latitude", "point_latitude", None),
    ("longitude", "point_longitude", 360.0),
    ("local_true_solar_time", "point_local_true_solar_time", 24.0),
    ("solar_longitude", "l_sub_s", 360.0),
)
_TIME_ENCODING = {"units": "microseconds since 2016-01-01", "dtype": "int64"}


def read(
    label: Label,
    source: Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Build the level-1 Dataset: coordinates in memory, everything else lazy.

    What cannot change a value is repaired where the mode is not strict, and listed in
    ``source_repairs``; the repeated group location of LNO nadir products, which the
    producer's code writes, is put right in all modes.
    """
    area = next((a for a in label.areas if a.tables), None)
    if area is None:
        msg = "label describes no character table"
        raise ProductError(
            msg,
            path=label.path,
            rule="label.schema",
        )
    mend = mode != "strict"
    place, rule = resolve_data(source, area.file_name, label.version, repair=mend)
    layout = area.tables[0]
    if mend:
        layout, area = repaired(layout, area, place)
    # the MD5 is computed beside what follows; `_attributes` waits for it
    table = open_table(
        layout, area, place, verify_md5=verify_md5, wait=False, exact=True
    )
    plans = _plan_variables(table.layout.fields)
    if not any(plan.name in _AXES for plan in plans):
        msg = "table has no group Wavenumber or Wavelength"
        raise ProductError(
            msg,
            path=label.path,
            field=table.layout.name,
            rule="table.fields_mismatch",
        )
    coordinates = _coordinates(table, plans)
    lazy = {p.name: _lazy(table, p) for p in plans if p.name not in coordinates}
    ds = xr.Dataset(lazy, xr.Coordinates(coordinates, indexes={}))
    ds.attrs = _attributes(label, table, rule) | {"product_pixels": ds.sizes["pixel"]}
    order = _name_parts(label, table).get("order") or ""
    known_order = int(order) if order.isdigit() else None
    check(ds, table, known_order, repairs=mode != "repair")
    notes = flag_notes(ds)
    if notes:
        ds.attrs["quality_notes"] = notes
    return _masked(ds, table, plans) if apply_mask else ds


# --- lazy variables and coordinates ----------------------------------------------


def _array(table: Table, plan: _Plan) -> ColumnArray:
    return ColumnArray(table, plan.columns, plan.layout, plan.dtype, (FILL,))


def _lazy(table: Table, plan: _Plan) -> xr.Variable:
    array = _array(table, plan)
    # rows may be cut anywhere at no cost, so no chunk is preferred along spectrum
    chunks = dict(zip(plan.dims[1:], array.shape[1:], strict=True))
    encoding = {"preferred_chunks": chunks}
    lazy = indexing.LazilyIndexedArray(array)
    return xr.Variable(plan.dims, lazy, plan.attrs, encoding)


def _masked(ds: xr.Dataset, table: Table, plans: Sequence[_Plan]) -> xr.Dataset:
    """Make rejected pixels missing, still lazily."""
    by_name = {plan.name: plan for plan in plans}
    if "mask" not in by_name:
        msg = "product has no mask to apply"
        raise ProductError(
            msg,
            path=str(table.source),
            value=ds.attrs["channel"],
            rule="product.no_mask",
        )
    mask = _array(table, by_name["mask"])
    for name in _MASKABLE & ds.data_vars.keys():
        old = ds[name].variable
        array = MaskedArray(_array(table, by_name[str(name)]), mask)
        lazy = indexing.LazilyIndexedArray(array)
        attrs = old.attrs | {"mask_applied": 1}
        ds[name] = xr.Variable(old.dims, lazy, attrs, old.encoding)
    return ds.assign_attrs(mask_applied=1)


def _coordinates(table: Table, plans: Sequence[_Plan]) -> dict[str, xr.Variable]:
    """Return what is read at once: small, and wanted by nearly everybody."""
    found: dict[str, xr.Variable] = {}
    by_name = {plan.name: plan for plan in plans}

    def values(name: str, *key: int | slice) -> np.ndarray[Any, Any]:
        return _array(table, by_name[name]).read(key)

    for axis in _AXES:
        if axis in by_name:
            plan = by_name[axis]
            found[axis] = (
                xr.Variable(plan.dims[1:], values(axis, 0), plan.attrs)
                if table.same_in_all_rows(plan.fields[0])
                else _lazy(table, plan)
            )
    for name in _SETTINGS:
        if name in by_name:
            plan, column = by_name[name], values(name)
            same = bool((column == column[0]).all())
            dims, data = ((), column[0]) if same else (plan.dims, column)
            found[name] = xr.Variable(dims, data, plan.attrs)
    if "time_bounds" in by_name:
        plan, bounds = by_name["time_bounds"], values("time_bounds")
        start, stop = bounds[:, 0], bounds[:, 1]
        # one encoding for both, as CF wants; exact for half milliseconds
        found["time_bounds"] = xr.Variable(
            plan.dims, bounds, plan.attrs, _TIME_ENCODING
        )
        middle = start + (stop - start) // 2
        attrs = {"bounds": "time_bounds"} | attributes_of("time", middle.dtype)
        found["time"] = xr.Variable("spectrum", middle, attrs, _TIME_ENCODING)
    for name, origin, period in _CENTRES:
        if origin in by_name:
            first_point = (0,) if len(by_name[origin].layout) == 2 else ()
            edges = values(origin, slice(None), *first_point)
            found[name] = _derived(name, _middle(edges, period, name))
    if "bin_start" in by_name:
        rows = values("bin_start")
        found["bin"] = _derived(
            "bin", np.unique(rows, return_inverse=True)[1].astype(np.int64)
        )
    return found


def _derived(name: str, values: np.ndarray[Any, Any]) -> xr.Variable:
    return xr.Variable("spectrum", values, attributes_of(name, values.dtype))


def _middle(
    edges: np.ndarray[Any, np.dtype[np.float64]], period: float | None, name: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the mean of start and end, the short way round where it is cyclic."""
    first, last = edges[:, 0], edges[:, 1]
    mean = 0.5 * (first + last)
    if period is None:
        return mean
    low = -0.5 * period if name == "longitude" else 0.0
    turned = (mean + 0.5 * period - low) % period + low
    return np.where(np.abs(last - first) > 0.5 * period, turned, mean)


# --- attributes and checks --------------------------------------------------------


def _name_parts(label: Label, table: Table) -> dict[str, str | None]:
    stem = label.lid.rpartition(":")[2]
    name = PRODUCT_NAME.fullmatch(stem) or PRODUCT_NAME.match(table.source.name)
    return name.groupdict() if name else {}


def _attributes(label: Label, table: Table, rule: str) -> dict[str, Any]:
    parts = _name_parts(label, table)
    table_channel = table.layout.name.rpartition("_")[2]
    channel = parts.get("channel") or label.leaves.get("ChannelName", table_channel)
    kind = parts.get("kind") or label.leaves.get("ObservationType", "")
    attrs: dict[str, Any] = {
        "title": label.title,
        "product_lid": label.lid,
        "product_version": label.version,
        "instrument": "NOMAD",
        "channel": channel.lower(),
        "observation_type": _OBSERVATION.get(kind[:1].lower(), kind.lower()),
        "altitude_part": _PART.get((parts.get("part") or "a").lower(), "all"),
    }
    if len(kind) == 2:
        attrs["calibration_letter"] = kind[1].lower()
        attrs["calibration_status"] = _LETTERS[kind[1].lower()]
    orbit = label.leaves.get("start_orbit_number", "")
    if orbit.isdigit():
        attrs["orbit"] = int(orbit)
    if label.start_time and label.stop_time:
        attrs["start_date_time"] = label.start_time
        attrs["stop_date_time"] = label.stop_time
    attrs["information_model_version"] = label.model_version
    attrs["source_file"] = table.source.name
    attrs["source_file_rule"] = rule
    if table.md5 is not None:
        attrs["source_md5"] = table.md5
    attrs["source_md5_verified"] = int(table.md5_verified)
    if table.layout.repairs:
        attrs["source_repairs"] = "; ".join(table.layout.repairs)
    return with_leaves(attrs, label.leaves)
