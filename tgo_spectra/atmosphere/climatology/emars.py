"""EMARS reanalysis: time x pfull x lat x lon, pressure from ak, bk and ps.

Shape and units from public test files of the AmesCAP tools. The layer's pressure is
the logarithmic mean of its edges, the finite-volume core's definition; that, and
``mars_hour`` as the hour at the prime meridian, are to be verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.climatology.form import Form, Source, axes, season, take
from tgo_spectra.atmosphere.climatology.quantities import Field
from tgo_spectra.mars import SURFACE_GRAVITY_M_S2

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORM"]

FIELDS = (
    Field("T", "temperature", "temperature", "K"),
    Field("ps", "surface_pressure", "pressure", "Pa"),
    Field("ak", "ak", "pressure", "Pa"),
    Field("bk", "bk", "ratio", "1"),
    Field("emars_sol", "day", "sol", "sol"),
    Field("mars_hour", "hour", "hour", "hour"),
    Field("Surface_geopotential", "geopotential", "geopotential", "m^2/s/s"),
)


def _recognise(source: Source) -> bool:
    raw = source.raw
    return {"time", "pfull", "lat", "lon"} <= set(raw.dims) and {
        "T",
        "ps",
        "Ls",
    } <= set(raw.variables)


def _adapt(source: Source) -> xr.Dataset:
    raw = axes(
        source,
        {"time": "time", "pfull": "level", "lat": "latitude", "lon": "longitude"},
    )
    arrays, _ = take(
        source,
        raw,
        FIELDS,
        "temperature",
        "surface_pressure",
        "ak",
        "bk",
        "day",
        "hour",
    )
    edges = arrays.pop("ak") + arrays.pop("bk") * arrays["surface_pressure"]
    upper = edges.isel(phalf=slice(None, -1)).rename(phalf="level")
    lower = edges.isel(phalf=slice(1, None)).rename(phalf="level")
    # a layer that ends at zero pressure has no logarithmic mean: left out
    open_top = (upper <= 0) | (lower <= 0)
    upper, lower = upper.where(~open_top), lower.where(~open_top)
    arrays["pressure"] = (lower - upper) / np.log(lower / upper)
    arrays["pressure"].attrs = {
        **arrays["surface_pressure"].attrs,
        "from": "ak + bk * ps, logarithmic mean of the layer's edges",
    }
    sol = arrays.pop("day") + arrays.pop("hour") / 24.0
    if "geopotential" in arrays:
        arrays["surface_altitude"] = arrays.pop("geopotential") * (
            1e-3 / SURFACE_GRAVITY_M_S2
        )
        arrays["surface_altitude"].attrs = {"from": "Surface_geopotential / 3.711"}
    result = raw[["latitude", "longitude"]].assign(arrays)
    result = result.assign_coords(season(source, raw, "Ls", "MY", sol))
    result.attrs = {"altitude_reference": "hydrostatic"}
    return result.drop_vars("time", errors="ignore")


FORM = Form(
    "emars",
    "EMARS reanalysis",
    "public test files of AmesCAP",
    _recognise,
    _adapt,
)
