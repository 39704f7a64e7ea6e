"""The column of a climatology at one place: interpolated levels, then altitudes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.atmosphere.climatology.weights import (
    Pick,
    axis_pick,
    latitude_pick,
    series_pick,
)
from tgo_spectra.atmosphere.profile import EXTENSION_BELOW_KM
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import GM_M3_S2, SCALE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Anchoring", "Place", "column", "heights", "heights_of_pressure"]

#: Hours of local time per degree of longitude.
HOURS_PER_DEGREE = 1.0 / 15.0
REFERENCES = ("areoid", "surface", "hydrostatic")


class Place(NamedTuple):
    """Where and when; None where the caller says nothing."""

    solar_longitude: float | None
    latitude: float | None
    longitude: float | None
    local_time: float | None
    mars_year: int | None


class Anchoring(NamedTuple):
    """What the caller says of altitudes; None where nothing."""

    reference: str | None
    surface_altitude_km: float | None
    anchor: tuple[float, float] | None
    radius_km: float


def column(
    climatology: xr.Dataset, place: Place, method: str
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """Interpolate every field to a place: ln p, and the others as they are.

    Arrays (level,) or () by name, without levels where pressure, temperature or
    altitude is missing (below the surface); and what was done beside interpolating.

    Raises
    ------
    AtmosphereError
        A value is missing or outside (``climatology.place``,
        ``climatology.outside``, ``climatology.mars_year``), or fewer than two
        levels are left (``climatology.levels``).
    """
    if method not in ("linear", "nearest"):
        msg = "method must be linear or nearest"
        raise AtmosphereError(
            msg, field="method", value=method, rule="climatology.method"
        )
    notes: list[str] = []
    try:
        picks = _picks(climatology, place, nearest=method == "nearest", notes=notes)
    except AtmosphereError as error:
        error.path = error.path or str(climatology.attrs.get("source_file", ""))
        raise
    part = climatology.isel({name: pick.points for name, pick in picks.items()}).load()
    result: dict[str, NDArray[np.float64]] = {}
    unknown = [
        n for n, a in part.data_vars.items() if a.attrs.get("units") == "unknown"
    ]
    if unknown:
        notes.append(f"left out, unit unknown: {', '.join(map(str, unknown))}")
    for name in part.drop_vars(unknown).data_vars:
        array = part[name]
        values = np.asarray(
            array.transpose(*[d for d in picks if d in array.dims], ...).values,
            dtype=np.float64,
        )
        logarithmic = name in ("pressure", "surface_pressure")
        if logarithmic:
            _positive(values, str(name), climatology)
            values = np.log(values)
        for dim, pick in picks.items():
            if dim in array.dims:
                values = np.tensordot(pick.weights, values, axes=1)
        result[str(name)] = np.exp(values) if logarithmic else values
    return _levels(result, climatology, notes), notes


def _picks(
    climatology: xr.Dataset, place: Place, *, nearest: bool, notes: list[str]
) -> dict[str, Pick]:
    picks: dict[str, Pick] = {}
    needed = [d for d in Place._fields if d in climatology.dims]
    if "time" in climatology.dims:
        needed += ["solar_longitude", "longitude", "local_time"]
    for name in needed:
        if getattr(place, name) is None:
            msg = f"the climatology depends on {name}: give it"
            raise AtmosphereError(msg, field=name, rule="climatology.place")
    _check_year(climatology, place)
    if "time" in climatology.dims:
        hour = float(place.local_time or 0.0)
        hour -= HOURS_PER_DEGREE * float(place.longitude or 0.0)
        picks["time"] = series_pick(
            climatology["sol"].values,
            climatology["season"].values,
            hour=hour,
            wanted=float(place.solar_longitude or 0.0),
            mars_year=place.mars_year if "mars_year" in climatology.coords else None,
            nearest=nearest,
        )
        if picks["time"].wrapped:
            notes.append("the end of the year meets its start")
    for name, period in (
        ("solar_longitude", 360.0),
        ("longitude", 360.0),
        ("local_time", 24.0),
    ):
        if name in climatology.dims:
            values = climatology[name].values
            picks[name] = axis_pick(
                values, getattr(place, name), name=name, period=period, nearest=nearest
            )
    if "latitude" in climatology.dims:
        picks["latitude"], polar = latitude_pick(
            climatology["latitude"].values,
            float(place.latitude or 0.0),
            nearest=nearest,
        )
        if polar:
            row = float(climatology["latitude"].values[picks["latitude"].points[0]])
            notes.append(f"poleward of the last row: that of {row:g} degree is used")
    absent = [
        n
        for n in ("solar_longitude", "latitude", "longitude", "local_time")
        if n not in needed and getattr(place, n) is not None
    ]
    if absent:
        notes.append(f"does not depend on {', '.join(absent)}")
    return picks


def _check_year(climatology: xr.Dataset, place: Place) -> None:
    """Refuse a year or a half of the day that the climatology is not of."""
    attrs = climatology.attrs
    known = [int(y) for y in str(attrs.get("mars_years", "")).split(", ") if y]
    if "mars_year" in attrs:
        known = [int(attrs["mars_year"])]
    if known and place.mars_year is not None and place.mars_year not in known:
        msg = f"the climatology is of the Mars years {known}: name one to use it"
        raise AtmosphereError(
            msg, field="mars_year", value=place.mars_year, rule="climatology.mars_year"
        )
    half = attrs.get("local_time_class")
    if half is not None and place.local_time is not None:
        found = "morning" if place.local_time % 24.0 < 12.0 else "evening"
        if found != half:
            msg = f"the climatology is of the {half} terminator"
            raise AtmosphereError(
                msg,
                field="local_time",
                value=place.local_time,
                rule="climatology.outside",
            )


def _positive(values: NDArray[np.float64], name: str, climatology: xr.Dataset) -> None:
    bad = values <= 0
    if bad.any():
        msg = "a pressure must be positive"
        raise AtmosphereError(
            msg,
            path=str(climatology.attrs.get("source_file", "")),
            field=name,
            value=float(values[bad][0]),
            rule="climatology.positive",
        )


def _levels(
    found: dict[str, NDArray[np.float64]], climatology: xr.Dataset, notes: list[str]
) -> dict[str, NDArray[np.float64]]:
    """Levels that are there, from below."""
    path = str(climatology.attrs.get("source_file", ""))
    size = climatology.sizes["level"]
    profiles = {k: np.broadcast_to(v, (size,)) for k, v in found.items() if v.ndim}
    good = np.ones(size, dtype=bool)
    for name in ("pressure", "temperature", "altitude"):
        if name in profiles:
            good &= np.isfinite(profiles[name])
    if good.sum() < 2:
        msg = "fewer than two levels have pressure and temperature here"
        raise AtmosphereError(
            msg, path=path, value=int(good.sum()), rule="climatology.levels"
        )
    if not good.all():
        notes.append(f"{int((~good).sum())} levels without values left out")
    order = np.flatnonzero(good)
    order = order[np.argsort(-profiles["pressure"][order], kind="stable")]
    result = {k: v[order] for k, v in profiles.items()}
    result.update({k: v for k, v in found.items() if not v.ndim})
    rises = np.flatnonzero(np.diff(result["pressure"]) >= 0)
    if rises.size:
        msg = "two levels have the same pressure"
        raise AtmosphereError(
            msg,
            path=path,
            field="pressure",
            record=int(rises[0]),
            value=float(result["pressure"][rises[0]]),
            rule="climatology.levels",
        )
    return result


def heights(
    levels: Mapping[str, NDArray[np.float64]],
    known: str,
    given: Anchoring,
    path: str,
) -> tuple[NDArray[np.float64], str]:
    """Altitudes (km, (level,)) of a column above the areoid, and how they were got.

    `known` is the climatology's own ``altitude_reference``, `given` what the caller
    says.

    Raises
    ------
    AtmosphereError
        Not enough is known (``climatology.altitude_reference``), or the caller
        contradicts the climatology.
    """
    reference = given.reference or known
    if reference not in REFERENCES:
        msg = (
            "what the altitudes count from is not known: give altitude_reference="
            f"{', '.join(REFERENCES)}"
        )
        raise _reference(msg, reference, path)
    stated = known in ("areoid", "surface")
    if stated and reference not in (known, "hydrostatic"):
        msg = f"the climatology's altitudes count from the {known}"
        raise _reference(msg, reference, path)
    if reference != "hydrostatic" and "altitude" not in levels:
        msg = "the climatology has pressures and no altitudes: use hydrostatic"
        raise _reference(msg, reference, path)
    surface = given.surface_altitude_km
    whose = "given"
    if surface is None and "surface_altitude" in levels:
        surface, whose = float(levels["surface_altitude"]), "of the model"
    if reference == "areoid":
        return levels["altitude"], "above the areoid, as in the file"
    if reference == "surface":
        if surface is None:
            msg = "altitudes above the surface: give surface_altitude_km"
            raise _reference(msg, reference, path)
        text = f"above the surface, raised by its altitude {surface:g} km ({whose})"
        return levels["altitude"] + surface, text
    if given.anchor is not None:
        altitude, pressure = given.anchor
        text = f"hydrostatic from {pressure:g} Pa at {altitude:g} km"
    elif surface is not None and "surface_pressure" in levels:
        altitude, pressure = surface, float(levels["surface_pressure"])
        text = (
            f"hydrostatic from the surface, {pressure:g} Pa at {surface:g} km ({whose})"
        )
    else:
        msg = (
            "give surface_altitude_km (with the model's surface pressure) or "
            "anchor=(altitude km, pressure Pa)"
        )
        raise _reference(msg, reference, path)
    z = heights_of_pressure(
        levels["pressure"],
        levels["temperature"],
        anchor_altitude_km=altitude,
        anchor_pressure_pa=pressure,
        radius_km=given.radius_km,
    )
    return z, f"{text}, radius {given.radius_km:g} km, 43.4 g/mol"


def _reference(msg: str, value: object, path: str) -> AtmosphereError:
    return AtmosphereError(
        msg,
        path=path,
        field="altitude_reference",
        value=value,
        rule="climatology.altitude_reference",
    )


def heights_of_pressure(
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    anchor_altitude_km: float,
    anchor_pressure_pa: float,
    radius_km: float,
) -> NDArray[np.float64]:
    """Altitudes of pressure levels, integrated from one known altitude.

    The geopotential difference is (R/M) times the integral of T (K) over ln p (Pa), T
    linear in ln p between levels (level,); it becomes a height (km, (level,)) with
    g = GM / (R + z)^2. Below the lowest level, down to the anchor (km and Pa), the
    temperature is that of the level. One molar mass: good below the homopause.

    Raises
    ------
    AtmosphereError
        The anchor's pressure is below that of the top, or its altitude more than
        5 km below the lowest level (``climatology.anchor``).
    """
    log_p = np.log(np.asarray(pressure_pa, dtype=np.float64))
    t = np.asarray(temperature_k, dtype=np.float64)
    anchor = float(np.log(anchor_pressure_pa))
    if anchor < log_p[-1]:
        msg = f"the anchor lies above the top, {np.exp(log_p[-1]):.4g} Pa"
        raise _wrong(msg, anchor_pressure_pa)
    # areas under T(ln p), counted upwards from the lowest level
    steps = 0.5 * (t[1:] + t[:-1]) * -np.diff(log_p)
    upwards = np.concatenate([[0.0], np.cumsum(steps)])
    if anchor >= log_p[0]:
        at_anchor = -t[0] * (anchor - log_p[0])
    else:
        k = int(np.searchsorted(-log_p, -anchor)) - 1
        t_anchor = np.interp(-anchor, -log_p, t)
        at_anchor = upwards[k] + 0.5 * (t[k] + t_anchor) * (log_p[k] - anchor)
    rise = SCALE * (upwards - at_anchor)
    start = 1e3 * (radius_km + anchor_altitude_km)
    # GM/r0 - GM/r = rise, so r = r0 / (1 - rise r0 / GM)
    radius = start / (1.0 - rise * start / GM_M3_S2)
    height = 1e-3 * radius - radius_km
    if height[0] - anchor_altitude_km > EXTENSION_BELOW_KM:
        msg = f"the anchor lies more than {EXTENSION_BELOW_KM} km below the levels"
        raise _wrong(msg, anchor_pressure_pa)
    return np.asarray(height)


def _wrong(msg: str, value: float) -> AtmosphereError:
    return AtmosphereError(msg, field="anchor", value=value, rule="climatology.anchor")
