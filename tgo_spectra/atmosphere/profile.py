"""Atmospheres: taking profiles to other altitudes.

An atmosphere is a Dataset over ``altitude`` (km above the areoid) with ``pressure``
(Pa), ``temperature`` (K), ``number_density`` (cm-3) and mole fractions ``<gas>_vmr``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN, MEAN_RADIUS_KM, SCALE, potential
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["EXTENSION_BELOW_KM", "check_altitude", "finish", "on_altitudes"]

#: Extension allowed below the lowest given level, km.
EXTENSION_BELOW_KM = 5.0


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
