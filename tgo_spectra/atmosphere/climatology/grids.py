"""Gridded outputs of Mars models, each form a row of names, units and rules.

Shapes and units of OpenMARS, EMARS and the Planetary Climate Model (LMD) are from
public test files of the AmesCAP tools, those of extracts of the Mars Climate Database
from code of the NOMAD team that reads them. To be verified: the fraction of a sol is
the hour at the prime meridian; ``phisinit`` is a geopotential above the areoid; EMARS's
layers are logarithmic means of their edges, the finite-volume core's definition.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.atmosphere.climatology.form import (
    Field,
    Form,
    Source,
    axes,
    gases,
    season,
    take,
)
from tgo_spectra.mars import SURFACE_GRAVITY_M_S2

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

__all__ = ["GRIDS"]


class Grid(NamedTuple):
    """A form of gridded output, as data.

    Attributes
    ----------
    name, title, source : str
        As of a `Form`.
    axes : mapping
        Dimensions in the file to ours.
    shown_by : tuple of set of str
        Variables that show the form beside its dimensions, one of these sets.
    fields : tuple of Field
        Names and units.
    needed : tuple of str
        Targets without which there is no climatology.
    layers : tuple of str
        Targets that give the pressure where no field does.
    seasons : tuple of str or None, optional
        Names of solar longitude and Mars year of a time series.
    altitude_reference : str or None
        None: what the long name of ``altitude`` says, else there are no altitudes.
    missing_above : float
        Larger values are missing.
    file_name : mapping
        Attributes that the file's name gives, by pattern.
    """

    name: str
    title: str
    source: str
    axes: Mapping[str, str]
    shown_by: tuple[set[str], ...]
    fields: tuple[Field, ...]
    needed: tuple[str, ...]
    layers: tuple[str, ...] = ()
    seasons: tuple[str, str | None] | None = None
    altitude_reference: str | None = "hydrostatic"
    missing_above: float = np.inf
    file_name: Mapping[str, str] = {}


_AMESCAP = "public test files of AmesCAP"
_ROWS = (
    Grid(
        "mcd",
        "extract of the Mars Climate Database (gcm_so_*)",
        "public reading code of the NOMAD team",
        {"Time": "solar_longitude", "altitude": "level", "latitude": "latitude",
         "longitude": "longitude"},
        ({"pressure", "temp", "num_co2"},),
        (
            Field("pressure", "pressure", "pressure", "Pa"),
            Field("temp", "temperature", "temperature", "K"),
            # metres above the areoid: there are levels down to -5 km
            Field("altitude", "altitude", "altitude", "m", "inferred"),
            # num / (7.2429e16 p/T) is the conversion in use, so cm-3 with p in Pa
            Field("num_co2", "co2_vmr", "number_density", "cm-3"),
            Field("num_co", "co_vmr", "number_density", "cm-3"),
            Field("num_h2o_vap", "h2o_vmr", "number_density", "cm-3"),
            Field("num_o3", "o3_vmr", "number_density", "cm-3"),
        ),
        ("pressure", "temperature", "altitude", "co2_vmr"),
        altitude_reference="areoid",
        missing_above=9.9e19,  # the fill value of the files is 1e20
        file_name={
            "local_time_class": r"_(morning|evening)_", "mars_year": r"_MY(\d+)_"
        },
    ),
    Grid(
        "pcm",
        "Mars Planetary Climate Model",
        _AMESCAP,
        {"Time": "time", "altitude": "level", "latitude": "latitude",
         "longitude": "longitude"},
        ({"temp", "ps", "pressure"}, {"temp", "ps", "aps", "bps"}),
        (
            Field("temp", "temperature", "temperature", "K"),
            Field("pressure", "pressure", "pressure", "Pa"),
            Field("ps", "surface_pressure", "pressure", "Pa"),
            Field("aps", "layer_a", "pressure", "Pa"),
            Field("bps", "layer_b", "ratio", "1"),
            Field("phisinit", "geopotential", "geopotential", "m2 s-2",
                  "to be verified"),
            Field("vmr_h2ovap", "h2o_vmr", "mole_fraction", "mol/mol"),
            Field("h2o_vap", "h2o_vmr", "mass_fraction", "kg/kg"),
            Field("co2", "co2_vmr", "mass_fraction", "kg/kg"),
            Field("hdo_vap", "hdo_vmr", "mass_fraction", "kg/kg", "to be verified"),
            Field("co", "co_vmr", "mass_fraction", "kg/kg", "to be verified"),
            Field("o3", "o3_vmr", "mass_fraction", "kg/kg", "to be verified"),
            # of hybrid levels, unless its long name speaks of areoid or surface
            Field("altitude", "altitude", "altitude", "km"),
        ),
        ("temperature",),
        ("surface_pressure", "layer_a", "layer_b"),
        seasons=("Ls", None),
        altitude_reference=None,
    ),
    Grid(
        "openmars",
        "OpenMARS reanalysis",
        _AMESCAP,
        {"time": "time", "lev": "level", "lat": "latitude", "lon": "longitude"},
        ({"temp", "ps", "Ls"},),
        (
            Field("temp", "temperature", "temperature", "K"),
            Field("ps", "surface_pressure", "pressure", "Pa"),
            Field("lev", "sigma", "ratio", "1"),
            Field("time", "sol", "sol", "sol", "to be verified"),
        ),
        ("temperature",),
        ("surface_pressure", "sigma", "sol"),
        seasons=("Ls", "MY"),
    ),
    Grid(
        "emars",
        "EMARS reanalysis",
        _AMESCAP,
        {"time": "time", "pfull": "level", "lat": "latitude", "lon": "longitude"},
        ({"T", "ps", "Ls"},),
        (
            Field("T", "temperature", "temperature", "K"),
            Field("ps", "surface_pressure", "pressure", "Pa"),
            Field("ak", "edge_a", "pressure", "Pa"),
            Field("bk", "edge_b", "ratio", "1"),
            Field("emars_sol", "day", "sol", "sol"),
            Field("mars_hour", "hour", "hour", "hour"),
            Field("Surface_geopotential", "geopotential", "geopotential", "m^2/s/s"),
        ),
        ("temperature",),
        ("surface_pressure", "edge_a", "edge_b", "day", "hour"),
        seasons=("Ls", "MY"),
    ),
)  # fmt: skip


def _recognise(grid: Grid, source: Source) -> bool:
    """Whether a file has the form's dimensions, and variables that show it."""
    names = set(source.raw.variables)
    return set(grid.axes) <= set(source.raw.dims) and any(
        shown <= names for shown in grid.shown_by
    )


def _adapt(grid: Grid, source: Source) -> xr.Dataset:
    """Fields under our names and in our units, over our axes."""
    raw = axes(source, grid.axes)
    if np.isfinite(grid.missing_above):
        for name in raw.data_vars:
            if raw[name].ndim == len(grid.axes):
                attrs = raw[name].attrs
                raw[name] = raw[name].where(np.abs(raw[name]) < grid.missing_above)
                raw[name].attrs = attrs
    reference, fields = grid.altitude_reference, grid.fields
    if reference is None:
        there = raw["altitude"].attrs if "altitude" in raw else {}
        text = str(there.get("long_name", "")).lower()
        reference = next((w for w in ("areoid", "surface") if w in text), None)
        if reference is None:
            reference = "hydrostatic"
            fields = tuple(f for f in fields if f.target != "altitude")
    given = any(f.target == "pressure" and f.name in raw.variables for f in fields)
    layers = () if given else grid.layers
    arrays, found = take(source, raw, fields, *grid.needed, *layers)
    arrays = gases(_derived(arrays, {f.target: f.name for f in fields}), found)
    clock = _sol(arrays, raw) if grid.seasons is not None else None
    places = [name for name in grid.axes.values() if name not in ("level", "time")]
    result = raw[places].assign(arrays)
    if grid.seasons is not None and clock is not None:
        result = result.assign_coords(season(source, raw, *grid.seasons, clock))
        result = result.drop_vars("time", errors="ignore")
    result.attrs = {"altitude_reference": reference}
    for name, pattern in grid.file_name.items():
        if match := re.search(pattern, Path(source.path).name):
            value = match[1]
            result.attrs[name] = int(value) if value.isdigit() else value
    return result


def _derived(
    arrays: dict[str, xr.DataArray], names: Mapping[str, str]
) -> dict[str, xr.DataArray]:
    """Pressure of layers (Pa) and altitude of the surface (km), from their parts."""
    out = dict(arrays)
    a, b = out.pop("layer_a", None), out.pop("layer_b", None)
    sigma, surface = out.pop("sigma", None), out.get("surface_pressure")
    edges = [out.pop(name) for name in ("edge_a", "edge_b") if name in out]
    pressure, how = None, ""
    if surface is not None and "pressure" not in out:
        if sigma is not None:
            pressure, how = sigma * surface, f"{names['sigma']} * ps"
        elif a is not None and b is not None:
            how = f"{names['layer_a']} + {names['layer_b']} * ps"
            pressure = a + b * surface
        elif edges:
            pressure = _between(edges[0] + edges[1] * surface)
            how = "ak + bk * ps, logarithmic mean of the layer's edges"
    if surface is not None and pressure is not None:
        pressure.attrs = {**surface.attrs, "from": how}
        out["pressure"] = pressure
    if "geopotential" in out:
        height = out.pop("geopotential") * (1e-3 / SURFACE_GRAVITY_M_S2)
        height.attrs = {"from": f"{names['geopotential']} / {SURFACE_GRAVITY_M_S2:g}"}
        out["surface_altitude"] = height
    return out


def _between(edges: xr.DataArray) -> xr.DataArray:
    """Logarithmic means of neighbouring edges (..., phalf); none of an open top."""
    upper = edges.isel(phalf=slice(None, -1)).rename(phalf="level")
    lower = edges.isel(phalf=slice(1, None)).rename(phalf="level")
    # a layer that ends at zero pressure has no logarithmic mean: left out
    open_top = (upper <= 0) | (lower <= 0)
    upper, lower = upper.where(~open_top), lower.where(~open_top)
    return (lower - upper) / np.log(lower / upper)


def _sol(arrays: dict[str, xr.DataArray], raw: xr.Dataset) -> xr.DataArray:
    """Sols and their fraction, taken out of the arrays (time,); else the time as is."""
    if "day" in arrays:
        return arrays.pop("day") + arrays.pop("hour") / 24.0
    return arrays.pop("sol") if "sol" in arrays else raw["time"]


GRIDS = tuple(
    Form(
        row.name,
        row.title,
        row.source,
        functools.partial(_recognise, row),
        functools.partial(_adapt, row),
    )
    for row in _ROWS
)
"""Forms of gridded outputs; a new one is a row."""
