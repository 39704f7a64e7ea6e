"""Atmospheres: an analytic reference profile, reading profiles, other altitudes.

An atmosphere is a Dataset over ``altitude`` (km above the areoid) with ``pressure``
(Pa), ``temperature`` (K), ``number_density`` (cm-3) and mole fractions ``<gas>_vmr``.
"""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere_files import profile_from_file, profile_from_text
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import GM_M3_S2, MEAN_RADIUS_KM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["on_altitudes", "read_atmosphere", "reference_atmosphere"]

#: J K-1, exact since the SI of 2019.
BOLTZMANN = 1.380649e-23
#: J mol-1 K-1, exact since the SI of 2019.
GAS_CONSTANT = 8.31446261815324
#: g mol-1 of Martian air; 43.34 (SAM) to 43.62 are in use.
MOLAR_MASS = 43.4

#: Temperature nodes of the reference profile, altitude km and K: a cool, smooth
#: mean profile of our own, within the spread of published ones.
TEMPERATURE_NODES = (
    (-10.0, 222.0),
    (0.0, 214.0),
    (20.0, 190.0),
    (40.0, 166.0),
    (60.0, 150.0),
    (80.0, 141.0),
    (100.0, 136.0),
    (120.0, 138.0),
    (160.0, 175.0),
    (200.0, 195.0),
)

#: Extrapolation allowed below the lowest given level, km.
EXTENSION_BELOW_KM = 5.0
#: Given number densities may differ from p / (k T) by this fraction.
DENSITY_TOLERANCE = 0.02


class _Quantity(NamedTuple):
    names: tuple[str, ...]
    units: Mapping[str, float]  # accepted units and their factor to ours
    unit: str
    long_name: str


_ALTITUDE = _Quantity(
    ("altitude", "altitude_km", "height", "height_km", "z"),
    {"km": 1.0, "kilometer": 1.0, "m": 1e-3, "meter": 1e-3},
    "km",
    "altitude above areoid",
)
_QUANTITIES = {
    "pressure": _Quantity(
        ("pressure", "pressure_pa", "p"),
        {
            "Pa": 1.0,
            "pascal": 1.0,
            "hPa": 1e2,
            "mbar": 1e2,
            "bar": 1e5,
            "atm": 101325.0,
        },
        "Pa",
        "atmospheric pressure",
    ),
    "temperature": _Quantity(
        ("temperature", "temperature_k", "t"),
        {"K": 1.0, "kelvin": 1.0},
        "K",
        "atmospheric temperature",
    ),
    "number_density": _Quantity(
        ("number_density", "number_density_cm3"),
        {"cm-3": 1.0, "cm^-3": 1.0, "m-3": 1e-6, "m^-3": 1e-6},
        "cm-3",
        "number density of the air",
    ),
}
_VMR = _Quantity(
    (),
    {"1": 1.0, "mol mol-1": 1.0, "mol/mol": 1.0, "percent": 1e-2, "ppmv": 1e-6}
    | {"ppm": 1e-6, "ppbv": 1e-9, "ppb": 1e-9, "pptv": 1e-12},
    "1",
    "mole fraction",
)


def reference_atmosphere(
    altitude_km: ArrayLike | None = None,
    *,
    surface_pressure_pa: float = 610.0,
    planet_radius_km: float = MEAN_RADIUS_KM,
    temperature_offset_k: float = 0.0,
) -> xr.Dataset:
    """Build the analytic reference atmosphere of Mars.

    A smooth temperature through a few nodes, hydrostatic pressure with
    g(z) = GM / (R + z)^2 from the given pressure at altitude zero, and simple mole
    fractions: CO2 0.955, CO 7e-4, H2O 1.5e-4 below 25 km falling to 2e-6 with a
    scale of 8 km, HDO 5 times the terrestrial ratio (3.11e-4) to H2O, CH4 zero.
    A starting point and test input, no climatology.

    Parameters
    ----------
    altitude_km : array_like, shape (altitude,), optional
        Levels in km above the areoid, -10..200, strictly ascending; default -5..150
        in steps of 1 km.
    surface_pressure_pa : float
        Pressure at altitude zero, Pa.
    planet_radius_km : float
        Distance of altitude zero from the centre, km; recorded as an attribute.
    temperature_offset_k : float
        Added to the temperature everywhere, K.

    Returns
    -------
    Dataset
        ``pressure``, ``temperature``, ``number_density``, ``<gas>_vmr`` over
        ``altitude``.

    Raises
    ------
    AtmosphereError
        If the levels do not ascend or leave -10..200 km, or the pressure is not
        positive.

    Examples
    --------
    >>> air = reference_atmosphere([0.0, 10.0, 50.0])
    >>> air.pressure.values.round(2).tolist()
    [610.0, 240.61, 3.22]
    """
    from scipy.interpolate import PchipInterpolator

    if altitude_km is None:
        z = np.arange(-5.0, 151.0)
    else:
        z = np.atleast_1d(np.asarray(altitude_km, dtype=np.float64))
    _check_altitude(z, None)
    nodes = np.array(TEMPERATURE_NODES)
    if z[0] < nodes[0, 0] or z[-1] > nodes[-1, 0]:
        msg = f"the reference profile covers {nodes[0, 0]}..{nodes[-1, 0]} km"
        raise AtmosphereError(
            msg,
            field="altitude_km",
            value=(float(z[0]), float(z[-1])),
            rule="atmosphere.reference_range",
        )
    if not (np.isfinite(surface_pressure_pa) and surface_pressure_pa > 0):
        msg = "surface pressure must be positive"
        raise AtmosphereError(
            msg,
            field="surface_pressure_pa",
            value=surface_pressure_pa,
            rule="atmosphere.positive",
        )
    profile = PchipInterpolator(nodes[:, 0], nodes[:, 1])

    def temperature(height: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(profile(height) + temperature_offset_k)

    log_ratio = _hydrostatic(z, temperature, planet_radius_km)
    water = 2e-6 + 1.48e-4 * np.exp(-np.maximum(z - 25.0, 0.0) / 8.0)
    data = {
        "pressure": surface_pressure_pa * np.exp(log_ratio),
        "temperature": temperature(z),
        "co2_vmr": np.full(z.size, 0.955),
        "co_vmr": np.full(z.size, 7e-4),
        "h2o_vmr": water,
        # 5 times the terrestrial abundance of HDO relative to H2O
        "hdo_vmr": 5.0 * 3.11e-4 * water,
        "ch4_vmr": np.zeros(z.size),
    }
    ds = xr.Dataset({k: ("altitude", v) for k, v in data.items()}, {"altitude": z})
    ds.attrs["planet_radius_km"] = float(planet_radius_km)
    ds.attrs["source"] = "analytic reference profile of tgo_spectra"
    return _finish(ds, None)


def _hydrostatic(
    z: NDArray[np.float64],
    temperature: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    radius_km: float,
) -> NDArray[np.float64]:
    """Logarithm of p(z) / p(0) by Gauss-Legendre sums over steps below 0.5 km."""
    low, high = min(0.0, float(z[0])), max(0.0, float(z[-1]))
    fine = np.union1d(np.linspace(low, high, int((high - low) / 0.5) + 2), z)
    fine = np.union1d(fine, [0.0])
    x, w = np.polynomial.legendre.leggauss(4)
    half = 0.5 * np.diff(fine)
    points = 0.5 * (fine[1:] + fine[:-1])[:, None] + half[:, None] * x
    gravity = GM_M3_S2 / (1e3 * (radius_km + points)) ** 2
    rate = 1e-3 * MOLAR_MASS * gravity / (GAS_CONSTANT * temperature(points))
    step = 1e3 * half * (rate @ w)
    total = np.concatenate([[0.0], -np.cumsum(step)])
    total -= total[np.searchsorted(fine, 0.0)]
    return np.asarray(total[np.searchsorted(fine, z)])


def read_atmosphere(source: xr.Dataset | str | pathlib.Path) -> xr.Dataset:
    r"""Read and check an atmosphere from a Dataset, a netCDF file or CSV text.

    Needed are an altitude axis (``altitude``, ``height`` or ``z``; km, or m with a
    ``units`` attribute), ``pressure`` and ``temperature``. Mole fractions may be
    named ``<gas>_vmr`` or ``vmr_<GAS>``. Units are converted when the attribute
    ``units`` says so and checked otherwise. CSV: a header line with these names,
    optionally followed by the unit in square brackets, comma separated; lines
    ``# name = value`` become attributes.

    Parameters
    ----------
    source : Dataset, path or str
        A Dataset; the path of a netCDF (``.nc``) or CSV file; or the CSV text
        itself (any string with a line break).

    Returns
    -------
    Dataset
        Over ascending ``altitude`` in km: ``pressure`` (Pa), ``temperature`` (K),
        ``number_density`` (cm-3, from p / kT unless given) and ``<gas>_vmr`` (1).

    Raises
    ------
    AtmosphereError
        If a variable is missing, not finite, not positive or in an unknown unit,
        the altitude is not strictly monotonic, or the file is unreadable; or if it is
        a whole climatology (``atmosphere.climatology``).

    Examples
    --------
    >>> lines = ["altitude,pressure[hPa],temperature", "0,6.1,215", "10,2.4,200"]
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
    elif isinstance(source, str) and "\n" in source:
        raw = profile_from_text(source, None)
    else:
        path = str(source)
        raw = profile_from_file(pathlib.Path(source))
    name = _find(raw, _ALTITUDE, "altitude", path)
    altitude = _convert(raw[name], _ALTITUDE, path)
    if altitude.ndim != 1:
        msg = "altitude must have one dimension"
        raise AtmosphereError(
            msg,
            path=path,
            field=name,
            value=raw[name].dims,
            rule="atmosphere.altitude_1d",
        )
    order = slice(None, None, -1) if altitude[0] > altitude[-1] else slice(None)
    _check_altitude(altitude[order], path)
    dim = raw[name].dims
    data: dict[str, NDArray[np.float64]] = {}
    for key, quantity in _QUANTITIES.items():
        if key == "number_density" and not _present(raw, quantity):
            continue
        found = raw[_find(raw, quantity, key, path)]
        data[key] = _profile(found, quantity, dim, path)[order]
    for variable in map(str, raw.data_vars):
        gas = _gas_of(variable)
        if gas is not None and raw[variable].dims == dim:
            data[f"{gas}_vmr"] = _profile(raw[variable], _VMR, dim, path)[order]
    ds = xr.Dataset(
        {k: ("altitude", v) for k, v in data.items()}, {"altitude": altitude[order]}
    )
    if "planet_radius_km" in raw.attrs:
        ds.attrs["planet_radius_km"] = float(raw.attrs["planet_radius_km"])
    ds.attrs["source"] = str(
        raw.attrs.get("source", raw.attrs.get("title", path or ""))
    )
    return _finish(ds, path)


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
    >>> air = on_altitudes(reference_atmosphere([0.0, 50.0, 100.0]), [0.0, 120.0])
    >>> air.attrs["extended_above_km"]
    100.0
    """
    z = np.atleast_1d(np.asarray(altitude_km, dtype=np.float64))
    _check_altitude(z, None)
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
            # Isothermal with g ~ r^-2: the exact exponent uses the geopotential.
            metres = 1e3 * (z - edge) * (radius + edge) / (radius + z)
            gravity = GM_M3_S2 / (1e3 * (radius + edge)) ** 2
            log_p -= 1e-3 * MOLAR_MASS * gravity * metres / (GAS_CONSTANT * t_edge)
            data["pressure"] = np.exp(log_p)
        elif name != "number_density":
            data[str(name)] = np.interp(z, given, values)
    ds = xr.Dataset({k: ("altitude", v) for k, v in data.items()}, {"altitude": z})
    ds.attrs.update(atmosphere.attrs)
    if z[-1] > top:
        ds.attrs["extended_above_km"] = top
    if z[0] < bottom:
        ds.attrs["extended_below_km"] = bottom
    return _finish(ds, None)


def _finish(ds: xr.Dataset, path: str | None) -> xr.Dataset:
    """Add or check the number density, set units."""
    ideal = ds["pressure"] / (BOLTZMANN * ds["temperature"]) * 1e-6
    if "number_density" in ds:
        ratio = (ds["number_density"] / ideal).values
        worst = int(np.argmax(np.abs(ratio - 1.0)))
        if abs(ratio[worst] - 1.0) > DENSITY_TOLERANCE:
            msg = "number density contradicts p / kT; wrong units?"
            raise AtmosphereError(
                msg,
                path=path,
                field="number_density",
                record=worst,
                value=float(ds["number_density"].values[worst]),
                rule="atmosphere.density",
            )
    else:
        ds["number_density"] = ideal
    for name in ds.data_vars:
        quantity = _QUANTITIES.get(str(name), _VMR)
        ds[name].attrs = {"units": quantity.unit, "long_name": quantity.long_name}
        if quantity is _VMR:
            gas = str(name).removesuffix("_vmr").upper()
            ds[name].attrs["long_name"] = f"mole fraction of {gas}"
    ds["altitude"].attrs = {"units": "km", "long_name": _ALTITUDE.long_name}
    return ds


def _check_altitude(z: NDArray[np.float64], path: str | None) -> None:
    bad = ~np.isfinite(z)
    bad[1:] |= ~(np.diff(z) > 0)
    if z.size == 0 or bad.any():
        at = int(np.argmax(bad)) if z.size else None
        msg = "altitude must be finite and strictly monotonic"
        raise AtmosphereError(
            msg,
            path=path,
            field="altitude",
            record=at,
            value=None if at is None else float(z[at]),
            rule="atmosphere.altitude_monotonic",
        )


def _profile(
    array: xr.DataArray, quantity: _Quantity, dim: tuple[object, ...], path: str | None
) -> NDArray[np.float64]:
    """Values in our unit, checked for shape, finiteness and sign."""
    if array.dims != dim:
        msg = f"profile must have the dimension of the altitude, {dim}"
        raise AtmosphereError(
            msg,
            path=path,
            field=str(array.name),
            value=array.dims,
            rule="atmosphere.dims",
        )
    values = _convert(array, quantity, path)
    # A mole fraction may be slightly negative: retrieved profiles are.
    bad = ~np.isfinite(values) | ((values <= 0) & (quantity is not _VMR))
    if bad.any():
        need = "finite" if quantity is _VMR else "finite and positive"
        msg = f"profile must be {need}"
        raise AtmosphereError(
            msg,
            path=path,
            field=str(array.name),
            record=int(np.argmax(bad)),
            value=float(values[bad][0]),
            rule="atmosphere.positive",
        )
    return values


def _convert(
    array: xr.DataArray, quantity: _Quantity, path: str | None
) -> NDArray[np.float64]:
    units = array.attrs.get("units", quantity.unit)
    if units not in quantity.units:
        msg = f"unknown units; use one of {', '.join(quantity.units)}"
        raise AtmosphereError(
            msg,
            path=path,
            field=str(array.name),
            value=units,
            rule="atmosphere.units",
        )
    if array.dtype.kind not in "fiu":
        msg = "values must be numbers"
        raise AtmosphereError(
            msg,
            path=path,
            field=str(array.name),
            value=str(array.dtype),
            rule="atmosphere.numbers",
        )
    return np.asarray(array.values, dtype=np.float64) * quantity.units[units]


def _present(raw: xr.Dataset, quantity: _Quantity) -> bool:
    return any(str(name).lower() in quantity.names for name in raw.variables)


def _find(raw: xr.Dataset, quantity: _Quantity, key: str, path: str | None) -> str:
    for name in raw.variables:
        if str(name).lower() in quantity.names:
            return str(name)
    msg = f"no {key}; expected one of {', '.join(quantity.names)}"
    raise AtmosphereError(
        msg,
        path=path,
        field=key,
        value=sorted(map(str, raw.variables)),
        rule="atmosphere.missing",
    )


def _gas_of(name: str) -> str | None:
    match = re.fullmatch(r"vmr_(\w+)|(\w+?)_vmr", name, re.IGNORECASE)
    return (match[1] or match[2]).lower() if match else None
