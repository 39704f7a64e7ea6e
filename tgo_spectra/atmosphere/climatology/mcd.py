"""Extracts of the Mars Climate Database at the terminator, ``gcm_so_*`` files.

Shape from code of the NOMAD team that reads them: Time (Ls) x altitude x latitude
(descending) x longitude (both -180 and 180); densities of gases with the conversion
num / (7.2429e16 p/T), so cm-3 with p in Pa; values above 9.9e19 are missing. Units of
altitude (m) and its zero (areoid, as there are levels down to -5 km): inferred.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.climatology.form import Form, Source, axes, gases, take
from tgo_spectra.atmosphere.climatology.quantities import Field

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FORM"]

FIELDS = (
    Field("pressure", "pressure", "pressure", "Pa"),
    Field("temp", "temperature", "temperature", "K"),
    Field("altitude", "altitude", "altitude", "m", "inferred"),
    Field("num_co2", "co2_vmr", "number_density", "cm-3"),
    Field("num_co", "co_vmr", "number_density", "cm-3"),
    Field("num_h2o_vap", "h2o_vmr", "number_density", "cm-3"),
    Field("num_o3", "o3_vmr", "number_density", "cm-3"),
)
#: Larger values are the fill value of the files (1e20).
MISSING_ABOVE = 9.9e19


def _recognise(source: Source) -> bool:
    raw = source.raw
    return {"Time", "altitude", "latitude", "longitude"} <= set(raw.dims) and {
        "pressure",
        "temp",
        "num_co2",
    } <= set(raw.variables)


def _adapt(source: Source) -> xr.Dataset:
    raw = axes(
        source,
        {
            "Time": "solar_longitude",
            "altitude": "level",
            "latitude": "latitude",
            "longitude": "longitude",
        },
    )
    for name in raw.data_vars:
        if raw[name].ndim == 4:
            attrs = raw[name].attrs
            raw[name] = raw[name].where(np.abs(raw[name]) < MISSING_ABOVE)
            raw[name].attrs = attrs
    arrays, found = take(
        source, raw, FIELDS, "pressure", "temperature", "altitude", "co2_vmr"
    )
    result = raw[["latitude", "longitude", "solar_longitude"]].assign(
        gases(arrays, found)
    )
    result.attrs = {"altitude_reference": "areoid"}
    name = Path(source.path).name
    if half := re.search(r"_(morning|evening)_", name):
        result.attrs["local_time_class"] = half[1]
    if year := re.search(r"_MY(\d+)_", name):
        result.attrs["mars_year"] = int(year[1])
    return result


FORM = Form(
    "mcd",
    "extract of the Mars Climate Database (gcm_so_*)",
    "public reading code of the NOMAD team",
    _recognise,
    _adapt,
)
