"""Plain tables of your own: profiles by season, latitude, longitude and local time.

CSV: one row a level, columns with units in square brackets, rows in any order, every
combination of places once. netCDF: the same names as dimensions and variables, with
``units``. Names: ``solar_longitude`` (``ls``) or, in netCDF, ``time``; ``latitude``
(``lat``), ``longitude`` (``lon``), ``local_time`` (``lst``), ``altitude``,
``pressure``, ``temperature``, ``<gas>_vmr``, ``surface_pressure``,
``surface_altitude``. Attributes (``# name = value`` in CSV): ``altitude_reference``
(areoid or surface), ``mars_year``, ``source``.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.form import Field, Form, Source, take
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import mars_year, solar_longitude
from tgo_spectra.variables import GASES

__all__ = ["FORM"]

PLACES = {
    "solar_longitude": ("solar_longitude", "ls"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon"),
    "local_time": ("local_time", "local_true_solar_time", "lst"),
}
FIELDS = (
    # no unit by form: a plain table says its own
    Field("pressure", "pressure", "pressure", None),
    Field("pressure_pa", "pressure", "pressure", "Pa"),
    Field("temperature", "temperature", "temperature", None),
    Field("temperature_k", "temperature", "temperature", "K"),
    Field("altitude", "altitude", "altitude", None),
    Field("altitude_km", "altitude", "altitude", "km"),
    Field("surface_pressure", "surface_pressure", "pressure", None),
    Field("surface_altitude", "surface_altitude", "altitude", None),
    *(Field(f"{gas}_vmr", f"{gas}_vmr", "mole_fraction", None) for gas in GASES),
)


def _lower(raw: xr.Dataset) -> xr.Dataset:
    """Names in lower case, places under our names."""
    ours = {old: new for new, names in PLACES.items() for old in names}
    change = {}
    for name in [*raw.variables, *raw.dims]:
        lower = str(name).lower()
        if ours.get(lower, lower) != name:
            change[name] = ours.get(lower, lower)
    return raw.rename(change)


def _recognise(source: Source) -> bool:
    names = {str(name).lower() for name in source.raw.variables}
    return bool({"pressure", "pressure_pa"} & names) and bool(
        {"temperature", "temperature_k"} & names
    )


def _adapt(source: Source) -> xr.Dataset:
    raw = _lower(source.raw)
    if source.text is not None:
        raw = _folded(raw, source.path)
    elif "time" in raw.dims:
        raw = _by_season(raw, source.path)
    vertical = [str(d) for d in raw.dims if d not in PLACES]
    if len(vertical) != 1:
        msg = "a table has one dimension of levels besides the places"
        raise AtmosphereError(
            msg, path=source.path, value=vertical, rule="climatology.dims"
        )
    if vertical[0] in raw.coords:
        raw = raw.reset_index(vertical[0]).reset_coords(vertical[0])
    if vertical != ["level"]:
        raw = raw.rename_dims({vertical[0]: "level"})
    arrays, _ = take(source, raw, FIELDS, "pressure", "temperature")
    for name in ("pressure", "temperature", "altitude"):
        # without a unit the array is under its own name, marked
        if name in arrays and arrays[name].attrs.get("units") == "unknown":
            msg = "no unit: write it in the table, or state it with units="
            raise AtmosphereError(
                msg, path=source.path, field=name, rule="climatology.units"
            )
    places = [name for name in PLACES if name in raw.variables]
    result = raw[places].assign(arrays).set_coords(places)
    reference = str(source.raw.attrs.get("altitude_reference", "unknown"))
    result.attrs = {
        "altitude_reference": reference if "altitude" in result else "hydrostatic"
    }
    if "mars_year" in source.raw.attrs:
        result.attrs["mars_year"] = int(source.raw.attrs["mars_year"])
    return result


def _by_season(raw: xr.Dataset, path: str) -> xr.Dataset:
    """Turn UTC times into solar longitudes of one Mars year."""
    times = xr.decode_cf(raw[["time"]])["time"].values
    if times.dtype.kind != "M":
        msg = "time must be UTC in CF units, such as 'days since 2018-01-01'"
        raise AtmosphereError(
            msg,
            path=path,
            field="time",
            value=str(times.dtype),
            rule="climatology.time",
        )
    years = np.unique(mars_year(times))
    if years.size > 1:
        msg = "times of several Mars years: give one year at a time"
        raise AtmosphereError(
            msg, path=path, field="time", value=years.tolist(), rule="climatology.time"
        )
    result = raw.drop_vars("time").rename(time="solar_longitude")
    result["solar_longitude"] = ("solar_longitude", solar_longitude(times))
    return result


def _folded(raw: xr.Dataset, path: str) -> xr.Dataset:
    """Rows of a CSV table into an array over the places."""
    places = [name for name in PLACES if name in raw]
    if not places:
        return raw
    axes, codes = [], []
    for name in places:
        values, code = np.unique(raw[name].values, return_inverse=True)
        axes.append(values)
        codes.append(code)
    shape = tuple(values.size for values in axes)
    cell = np.ravel_multi_index(tuple(codes), shape)
    count = np.bincount(cell, minlength=int(np.prod(shape)))
    if np.unique(count).size > 1:
        worst = int(np.argmin(count))
        where = np.unravel_index(worst, shape)
        at = {n: float(a[k]) for n, a, k in zip(places, axes, where, strict=True)}
        msg = f"{count[worst]} levels at one place, {count.max()} at another"
        raise AtmosphereError(msg, path=path, value=at, rule="climatology.table")
    upwards = next((n for n in ("altitude", "altitude_km") if n in raw), None)
    if upwards is None:
        downwards = "pressure" if "pressure" in raw else "pressure_pa"
        order = np.lexsort((-raw[downwards].values, cell))
    else:
        order = np.lexsort((raw[upwards].values, cell))
    result = xr.Dataset(coords=dict(zip(places, axes, strict=True)), attrs=raw.attrs)
    for key in raw.data_vars:
        if key not in places:
            values = raw[key].values[order].reshape(*shape, -1)
            result[key] = ((*places, "level"), values, raw[key].attrs)
    return result


FORM = Form(
    "table",
    "plain table by season, latitude, longitude, local time",
    "this package",
    _recognise,
    _adapt,
)
