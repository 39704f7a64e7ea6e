"""Which fields of a NOMAD table make which variable, and how they are arranged.

Fields are recognised by their names, not by position; those that are not known come
through under the snake-case form of their own name. No field is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tgo_spectra.pds4 import Columns, label_cache
from tgo_spectra.readers.arrays import dtype_of, snake_case
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from tgo_spectra.pds4 import Field

__all__ = ["Plan", "plan_variables"]

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
class Plan:
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


def plan_variables(fields: tuple[Field, ...]) -> tuple[Plan, ...]:
    """Arrange all fields of a table into variables.

    Parameters
    ----------
    fields : tuple of Field
        From the label; the plans of one tuple are made once.

    Returns
    -------
    tuple of Plan
    """
    return label_cache.kept("nomad plans", fields, lambda: _plans(fields))


def _plans(fields: tuple[Field, ...]) -> tuple[Plan, ...]:
    scalar = {f.name: f for f in fields if not f.groups}
    plans: list[Plan] = []
    used: set[str] = set()
    for plan in (*_edge_plans(scalar), *_point_plans(scalar)):
        plans.append(plan)
        used.update(item.name for item in plan.fields)
    for name, item in scalar.items():
        if name not in used:
            target = _SINGLE_NAMES.get(name, snake_case(name))
            plans.append(Plan(target, ("spectrum",), (item,), (), name))
    plans.extend(_group_plan(item) for item in fields if item.groups)
    return tuple(_distinct(plans))


def _alike(fields: Iterable[Field]) -> bool:
    kinds = {(item.data_type, item.scale, item.offset) for item in fields}
    return len(kinds) == 1


def _edge_plans(scalar: dict[str, Field]) -> list[Plan]:
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
        plans.append(Plan(target, ("spectrum", "edge"), pair, (2,), f"{name}, {other}"))
    return plans


def _point_plans(scalar: dict[str, Field]) -> list[Plan]:
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
                plans.append(Plan(target, dims, fields, (n, 2), text))
    for stem, n in plain.items():
        names = [f"{stem}{k}" for k in range(n)]
        if n > 1 and all(name in scalar for name in names):
            fields = tuple(scalar[name] for name in names)
            if _alike(fields):
                target = _POINT_NAMES.get(stem, snake_case(stem))
                text = f"{stem}0 ... {stem}{n - 1}"
                plans.append(Plan(target, ("spectrum", "point"), fields, (n,), text))
    return plans


def _group_plan(item: Field) -> Plan:
    group = item.groups[0]
    name = _GROUPS.get(group)
    if name is not None and len(item.shape) == 1:
        dims: tuple[str, ...] = ("spectrum", "pixel")
    else:
        name = snake_case(" ".join((*item.groups, item.name)))
        dims = ("spectrum", *(f"{name}_{k}" for k in range(len(item.shape))))
    text = f"{' / '.join(item.groups)} / {item.label_name}"
    return Plan(name, dims, (item,), (), text)


def _distinct(plans: list[Plan]) -> list[Plan]:
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
            Plan(name, tuple(dims), plan.fields, plan.layout, plan.label_name)
        )
    return result


def _label_attrs(plan: Plan) -> dict[str, str]:
    first = plan.fields[0]
    attrs = {"label_name": plan.label_name}
    if first.unit is not None:
        attrs["label_unit"] = first.unit
    if first.description and first.description != first.name:
        attrs["label_description"] = first.description
    return attrs
