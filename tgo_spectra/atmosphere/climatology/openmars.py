"""OpenMARS reanalysis: time x lev (sigma) x lat x lon, with no units in the file.

Shape from public test files of the AmesCAP tools. The unit of ``time`` (sols, whose
fraction is the hour at the prime meridian) is to be verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.atmosphere.climatology.form import Form, Source, axes, season, take
from tgo_spectra.atmosphere.climatology.quantities import Field

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORM"]

FIELDS = (
    Field("temp", "temperature", "temperature", "K"),
    Field("ps", "surface_pressure", "pressure", "Pa"),
    Field("lev", "sigma", "ratio", "1"),
    Field("time", "sol", "sol", "sol", "to be verified"),
)


def _recognise(source: Source) -> bool:
    raw = source.raw
    return {"time", "lev", "lat", "lon"} <= set(raw.dims) and {
        "temp",
        "ps",
        "Ls",
    } <= set(raw.variables)


def _adapt(source: Source) -> xr.Dataset:
    raw = axes(
        source,
        {"time": "time", "lev": "level", "lat": "latitude", "lon": "longitude"},
    )
    arrays, _ = take(
        source, raw, FIELDS, "temperature", "surface_pressure", "sigma", "sol"
    )
    sol = arrays.pop("sol")
    sigma = arrays.pop("sigma")
    arrays["pressure"] = sigma * arrays["surface_pressure"]
    arrays["pressure"].attrs = {**arrays["surface_pressure"].attrs, "from": "lev * ps"}
    result = raw[["latitude", "longitude"]].assign(arrays)
    result = result.assign_coords(season(source, raw, "Ls", "MY", sol))
    result.attrs = {"altitude_reference": "hydrostatic"}
    return result.drop_vars("time", errors="ignore")


FORM = Form(
    "openmars",
    "OpenMARS reanalysis",
    "public test files of AmesCAP",
    _recognise,
    _adapt,
)
