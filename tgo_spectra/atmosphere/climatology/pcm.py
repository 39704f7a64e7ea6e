"""Mars Planetary Climate Model (LMD): Time x altitude x latitude x longitude.

Shape and units from public test files of the AmesCAP tools. ``altitude`` is a
pseudo-altitude of the hybrid levels unless its long name speaks of the areoid or the
surface. To be verified: the fraction of ``Time`` is the hour at the prime meridian;
``phisinit`` is a geopotential above the areoid; names of gases other than water.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.atmosphere.climatology.form import (
    Form,
    Source,
    axes,
    gases,
    season,
    take,
)
from tgo_spectra.atmosphere.climatology.quantities import Field
from tgo_spectra.mars import SURFACE_GRAVITY_M_S2

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORM"]

FIELDS = (
    Field("temp", "temperature", "temperature", "K"),
    Field("pressure", "pressure", "pressure", "Pa"),
    Field("ps", "surface_pressure", "pressure", "Pa"),
    Field("aps", "aps", "pressure", "Pa"),
    Field("bps", "bps", "ratio", "1"),
    Field("phisinit", "geopotential", "geopotential", "m2 s-2", "to be verified"),
    Field("vmr_h2ovap", "h2o_vmr", "mole_fraction", "mol/mol"),
    Field("h2o_vap", "h2o_vmr", "mass_fraction", "kg/kg"),
    Field("co2", "co2_vmr", "mass_fraction", "kg/kg"),
    Field("hdo_vap", "hdo_vmr", "mass_fraction", "kg/kg", "to be verified"),
    Field("co", "co_vmr", "mass_fraction", "kg/kg", "to be verified"),
    Field("o3", "o3_vmr", "mass_fraction", "kg/kg", "to be verified"),
)
ALTITUDE = Field("altitude", "altitude", "altitude", "km")


def _recognise(source: Source) -> bool:
    raw = source.raw
    names = set(raw.variables)
    return (
        {"Time", "altitude", "latitude", "longitude"} <= set(raw.dims)
        and {"temp", "ps"} <= names
        and ("pressure" in names or {"aps", "bps"} <= names)
    )


def _adapt(source: Source) -> xr.Dataset:
    raw = axes(
        source,
        {
            "Time": "time",
            "altitude": "level",
            "latitude": "latitude",
            "longitude": "longitude",
        },
    )
    text = str(raw["altitude"].attrs.get("long_name", "")) if "altitude" in raw else ""
    reference = next((w for w in ("areoid", "surface") if w in text.lower()), None)
    fields = FIELDS if reference is None else (*FIELDS, ALTITUDE)
    needed = () if "pressure" in raw else ("surface_pressure", "aps", "bps")
    arrays, found = take(source, raw, fields, "temperature", *needed)
    a, b = arrays.pop("aps", None), arrays.pop("bps", None)
    if a is not None and b is not None and "pressure" not in arrays:
        arrays["pressure"] = a + b * arrays["surface_pressure"]
        arrays["pressure"].attrs = {
            **arrays["surface_pressure"].attrs,
            "from": "aps + bps * ps",
        }
    if "geopotential" in arrays:
        arrays["surface_altitude"] = arrays.pop("geopotential") * (
            1e-3 / SURFACE_GRAVITY_M_S2
        )
        arrays["surface_altitude"].attrs = {"from": "phisinit / 3.711"}
    result = raw[["latitude", "longitude"]].assign(gases(arrays, found))
    result = result.assign_coords(season(source, raw, "Ls", None, raw["time"]))
    result.attrs = {"altitude_reference": reference or "hydrostatic"}
    return result.drop_vars("time", errors="ignore")


FORM = Form(
    "pcm",
    "Mars Planetary Climate Model",
    "public test files of AmesCAP",
    _recognise,
    _adapt,
)
