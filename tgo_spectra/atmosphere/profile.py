"""Atmospheres: reading profiles, taking them to other altitudes.

An atmosphere is a Dataset over ``altitude`` (km above the areoid) with ``pressure``
(Pa), ``temperature`` (K), ``number_density`` (cm-3) and mole fractions ``<gas>_vmr``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.check import check_allowed, check_radius
from tgo_spectra.atmosphere.fields import profile_of
from tgo_spectra.atmosphere.files import profile_from_file, profile_from_text
from tgo_spectra.atmosphere.hydrostatic import EXTENSION_BELOW_KM, SCALE, potential
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN, MEAN_RADIUS_KM
from tgo_spectra.paths import expanded
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

__all__ = ["check_altitude", "finish", "on_altitudes", "read_atmosphere"]


def read_atmosphere(
    source: xr.Dataset | str | pathlib.Path, *, allow: Collection[str] = ()
) -> xr.Dataset:
    r"""Read and check an atmosphere from a Dataset, a netCDF file or CSV text.

    Needed are an altitude axis (``altitude``, ``height`` or ``z``), ``temperature``,
    and ``pressure`` or ``number_density``. Mole fractions may be named ``<gas>_vmr``
    or ``vmr_<GAS>``. Units are converted as the attribute ``units`` says; without one
    the numbers are taken as km, K, Pa, cm-3 and 1, with a warning and the attribute
    ``assumed_units``. CSV: a header line with these names, optionally followed by the
    unit in brackets; cells are separated by commas, or by the semicolons or tabs of
    the header; lines ``# name = value`` become attributes. What temperature and
    pressure may be off, ``temperature_uncertainty`` (K) and ``pressure_uncertainty``
    (relative, common to all altitudes), both 1-sigma, is taken along where given.

    Parameters
    ----------
    source : Dataset, path or str
        A Dataset; the path of a netCDF (``.nc``) or CSV file; or the CSV text
        itself (any string with a line break).
    allow : collection of str
        Rules that are not applied, for air unlike that of Mars:
        ``atmosphere.altitude_range`` (-15 to 1,000 km),
        ``atmosphere.areoid_pressure`` (100 to 1,500 Pa at altitude zero),
        ``atmosphere.hydrostatic`` (within a factor of 1.5 over 10 km),
        ``atmosphere.temperature_range`` (70 to 330 K, above 80 km 40 to 600 K),
        ``atmosphere.trace_gas`` (water below 0.1, other traces below 0.01). Default:
        all are applied. Recorded in the attribute ``allow``, by which a file may ask
        for it too, and which holds wherever the result is given to.

    Returns
    -------
    Dataset
        Over ascending ``altitude`` in km: ``pressure`` (Pa), ``temperature`` (K),
        ``number_density`` (cm-3, from p / kT unless given) and ``<gas>_vmr`` (1).

    Raises
    ------
    AtmosphereError
        If a variable is missing, not finite, not positive or in an unknown unit,
        the altitude is not strictly monotonic, or the file is unreadable; if no
        atmosphere of Mars is like it, and then in which units it would be possible;
        or if it is a whole climatology (``atmosphere.climatology``).

    Examples
    --------
    >>> lines = ["altitude[km],pressure[hPa],temperature[K]", "0,6.1,215", "10,2.4,200"]
    >>> read_atmosphere("\n".join(lines)).pressure.values.tolist()
    [610.0, 240.0]
    """
    path: str | None = None
    if isinstance(source, xr.Dataset):
        raw = source
        if "climatology_form" in raw.attrs and "level" in raw.dims:
            msg = (
                "this is a whole climatology: give the profile that "
                "atmosphere_for_product(level1, climatology) or atmosphere_at returns"
            )
            raise AtmosphereError(
                msg,
                path=raw.attrs.get("source_file"),
                value=str(raw.attrs["climatology_form"]),
                rule="atmosphere.climatology",
            )
    elif isinstance(source, str) and ("\n" in source or "\r" in source):
        raw = profile_from_text(source, None)
    else:
        file = expanded(source)
        path = str(file)
        raw = profile_from_file(file)
    allowed = check_allowed({*str(raw.attrs.get("allow", "")).split(), *allow})
    fields, assumed = profile_of(raw, path, allowed)
    ds = xr.Dataset(
        {k: ("altitude", v) for k, v in fields.items() if k != "altitude"},
        {"altitude": fields["altitude"]},
    )
    if "planet_radius_km" in raw.attrs:
        ds.attrs["planet_radius_km"] = check_radius(raw.attrs["planet_radius_km"], path)
    origin = str(raw.attrs.get("source", raw.attrs.get("title", path or "")))
    # the source is what a result says of its air
    for name, now in (
        ("assumed_units", ", ".join(assumed)),
        ("allow", " ".join(allowed)),
    ):
        before = str(raw.attrs.get(name, ""))
        if now and now != before:
            what = "units assumed" if name == "assumed_units" else "allowed"
            origin = f"{origin}; {what}: {now}".removeprefix("; ")
        if now or before:
            ds.attrs[name] = now or before
    ds.attrs["source"] = origin
    return finish(ds)


def on_altitudes(atmosphere: xr.Dataset, altitude_km: ArrayLike) -> xr.Dataset:
    """Take an atmosphere to other altitudes.

    Temperature and mole fractions are linear in altitude, pressure log-linear.
    Above its top the atmosphere continues isothermally with an exponential pressure
    (scale height of the top temperature and local gravity) and constant mole
    fractions; up to 5 km below its bottom the same way downwards. Either extension
    is recorded in the attributes ``extended_above_km`` and ``extended_below_km``.

    Parameters
    ----------
    atmosphere : Dataset
        As returned by :func:`read_atmosphere`.
    altitude_km : array_like, shape (altitude,)
        Wanted levels, km, strictly ascending.

    Returns
    -------
    Dataset
        The same variables on the wanted levels.

    Raises
    ------
    AtmosphereError
        If the levels do not ascend or reach more than 5 km below the bottom.

    Examples
    --------
    >>> from tgo_spectra import reference_atmosphere
    >>> air = on_altitudes(reference_atmosphere([0.0, 50.0, 100.0]), [0.0, 120.0])
    >>> air.attrs["extended_above_km"]
    100.0
    """
    z = np.atleast_1d(np.asarray(altitude_km, dtype=np.float64))
    check_altitude(z)
    given = np.asarray(atmosphere["altitude"].values, dtype=np.float64)
    bottom, top = float(given[0]), float(given[-1])
    if z[0] < bottom - EXTENSION_BELOW_KM:
        msg = (
            f"levels reach more than {EXTENSION_BELOW_KM} km below the bottom "
            f"{bottom} km"
        )
        raise AtmosphereError(
            msg,
            field="altitude_km",
            value=float(z[0]),
            rule="atmosphere.below_bottom",
        )
    data: dict[str, NDArray[np.float64]] = {}
    for name in atmosphere.data_vars:
        values = np.asarray(atmosphere[name].values, dtype=np.float64)
        if name == "pressure":
            log_p = np.interp(z, given, np.log(values))
            edge = np.clip(z, bottom, top)
            radius = float(atmosphere.attrs.get("planet_radius_km", MEAN_RADIUS_KM))
            t_edge = np.interp(
                z, given, np.asarray(atmosphere["temperature"].values, np.float64)
            )
            # isothermal
            rise = potential(z, radius) - potential(edge, radius)
            log_p -= rise / (SCALE * t_edge)
            data["pressure"] = np.exp(log_p)
        elif name != "number_density":
            data[str(name)] = np.interp(z, given, values)
    ds = xr.Dataset({k: ("altitude", v) for k, v in data.items()}, {"altitude": z})
    ds.attrs.update(atmosphere.attrs)
    if z[-1] > top:
        ds.attrs["extended_above_km"] = top
    if z[0] < bottom:
        ds.attrs["extended_below_km"] = bottom
    return finish(ds)


def finish(ds: xr.Dataset) -> xr.Dataset:
    """Add the number density of p / (k T) unless it is given, set units."""
    if "number_density" not in ds:
        ds["number_density"] = ds["pressure"] / (BOLTZMANN * ds["temperature"]) * 1e-6
    for name, item in ds.variables.items():
        gas = str(name).removesuffix("_vmr").upper()
        # of gases that no retrieval has, such as argon, the catalogue does not know
        other = {"units": "1", "long_name": f"mole fraction of {gas}"}
        ds[name].attrs = dict(attributes_of(str(name), item.dtype) or other)
    return ds


def check_altitude(z: NDArray[np.float64]) -> None:
    """Refuse levels (km) that are not finite or do not ascend."""
    bad = ~np.isfinite(z)
    bad[1:] |= ~(np.diff(z) > 0)
    if z.size == 0 or bad.any():
        at = int(np.argmax(bad)) if z.size else None
        msg = "altitude must be finite and strictly monotonic"
        raise AtmosphereError(
            msg,
            field="altitude",
            record=at,
            value=None if at is None else float(z[at]),
            rule="atmosphere.altitude_monotonic",
        )
