"""The reference atmosphere: what is taken where no other air is given.

Pressure follows the season, temperature latitude and season, both coarsely; what they
may be off is part of it. Numbers and sources: ``reference.toml``.
"""

from __future__ import annotations

import functools
import tomllib
import warnings
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.check import check_profile, check_radius
from tgo_spectra.atmosphere.profile import check_altitude, finish
from tgo_spectra.errors import AtmosphereError, TgoWarning
from tgo_spectra.mars import MEAN_RADIUS_KM, SCALE, mean_direction, potential

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = [
    "WARNING",
    "mean_of_points",
    "reference_atmosphere",
    "reference_edition",
    "warn_of_reference",
]

#: How the warning of a run on it begins.
WARNING = "no atmosphere is given: taken is the reference atmosphere"
#: km, where the profile is defined.
RANGE_KM = (-10.0, 200.0)
#: ln p beyond the rows of the table, where the temperature is that of the last row.
_BEYOND = 8.0


class _Table(NamedTuple):
    """Numbers of ``reference.toml``; temperature (season, row, latitude), K."""

    edition: str
    pressure: dict[str, Any]
    season: Array
    latitude: Array
    log_pressure: Array
    temperature: Array
    uncertainty_k: Array
    correlation_km: float


class _Column(NamedTuple):
    """Temperature and its uncertainty (K) by row of the table, areoid pressure (Pa)."""

    temperature: Array
    uncertainty_k: Array
    pressure_pa: float
    relative_uncertainty: float


@functools.cache
def _table() -> _Table:
    """Read the package's data once in a process."""
    text = files("tgo_spectra.atmosphere").joinpath("reference.toml")
    raw = tomllib.loads(text.read_text(encoding="utf-8"))
    air = raw["temperature"]
    seasons = air["solar_longitude"]
    parts = [air["uncertainty"][name] for name in ("waves", "years", "table")]
    return _Table(
        edition=raw["edition"],
        pressure=raw["pressure"],
        season=np.array(seasons),
        latitude=np.array(air["latitude"]),
        log_pressure=np.log(air["pressure_pa"]),
        temperature=np.array([air["values"][f"{s:g}"] for s in seasons], float),
        uncertainty_k=np.sqrt(np.square(parts).sum(axis=0)),
        correlation_km=float(air["uncertainty"]["correlation_km"]),
    )


def reference_atmosphere(
    altitude_km: ArrayLike | None = None,
    *,
    solar_longitude: float | None = None,
    latitude: float | None = None,
    level1: xr.Dataset | None = None,
    surface_pressure_pa: float | None = None,
    planet_radius_km: float = MEAN_RADIUS_KM,
    temperature_offset_k: float = 0.0,
) -> xr.Dataset:
    """Build the reference atmosphere of Mars at a latitude and season.

    Pressure at the areoid by the annual cycle of the Viking landers, temperature by a
    coarse table of zonal and daily means, hydrostatic with g(z) = GM / (R + z)^2; and
    simple mole fractions: CO2 0.955, CO 7e-4, H2O 1.5e-4 below 25 km falling to 2e-6
    with a scale of 8 km, HDO 5 times the terrestrial ratio (3.11e-4) to H2O, CH4 zero.
    It knows no longitude, hour, dust or year, which its uncertainties are for; a
    climatology is better (:func:`atmosphere_for_product`).

    Parameters
    ----------
    altitude_km : array_like, shape (altitude,), optional
        Levels in km above the areoid, -10..200, strictly ascending; default -5..160
        in steps of 1 km.
    solar_longitude, latitude : float, optional
        Degree. Default: the mean over the year, the mean over the planet; the
        uncertainties then are larger by the spread about it.
    level1 : Dataset, optional
        A product from whose geometry season and latitude are taken, where it has them.
    surface_pressure_pa : float, optional
        Pressure at altitude zero, Pa; default that of the season.
    planet_radius_km : float
        Distance of altitude zero from the centre, km; recorded as an attribute.
    temperature_offset_k : float
        Added to the temperature everywhere, K.

    Returns
    -------
    Dataset
        ``pressure``, ``temperature``, ``number_density``, ``<gas>_vmr`` over
        ``altitude``; ``temperature_uncertainty`` (K) and ``pressure_uncertainty``
        (relative), both 1-sigma; that of the pressure grows away from altitude zero by
        what the temperatures between may be off. Attributes ``source``,
        ``reference_edition`` and ``reference_place``.

    Raises
    ------
    AtmosphereError
        If the levels do not ascend or leave -10..200 km, the latitude or the season is
        none, the pressure is not positive, or no atmosphere of Mars is like it.

    References
    ----------
    Pressure: Withers (2012), doi:10.1007/s11214-012-9876-2. Temperature, read from
    figures: Smith (2004), doi:10.1016/j.icarus.2003.09.010; McCleese et al. (2010),
    doi:10.1029/2010JE003677; Forget et al. (2009), doi:10.1029/2008JE003086.

    Examples
    --------
    >>> air = reference_atmosphere([0.0, 50.0], solar_longitude=260.0, latitude=-30.0)
    >>> air.pressure.values.round(2).tolist()
    [641.85, 6.1]
    >>> air.attrs["reference_place"]
    'solar longitude 260, latitude -30'
    """
    if altitude_km is None:
        z = np.arange(-5.0, 161.0)
    else:
        z = np.atleast_1d(np.asarray(altitude_km, dtype=np.float64))
    check_altitude(z)
    if z[0] < RANGE_KM[0] or z[-1] > RANGE_KM[1]:
        msg = f"the reference profile covers {RANGE_KM[0]}..{RANGE_KM[1]} km"
        raise AtmosphereError(
            msg,
            field="altitude_km",
            value=(float(z[0]), float(z[-1])),
            rule="atmosphere.reference_range",
        )
    if level1 is not None:
        solar_longitude = mean_of_points(level1, "solar_longitude", 360.0)
        latitude = mean_of_points(level1, "latitude")
    _check_place(solar_longitude, latitude)
    column = _column(solar_longitude, latitude)
    if surface_pressure_pa is None:
        surface_pressure_pa = column.pressure_pa
    if not (np.isfinite(surface_pressure_pa) and surface_pressure_pa > 0):
        msg = "surface pressure must be positive"
        raise AtmosphereError(
            msg,
            field="surface_pressure_pa",
            value=surface_pressure_pa,
            rule="atmosphere.positive",
        )
    radius = check_radius(planet_radius_km, None)
    rows = column.temperature + temperature_offset_k
    if not (rows > 0).all():
        msg = "temperature must be positive"
        raise AtmosphereError(
            msg,
            field="temperature_offset_k",
            value=temperature_offset_k,
            rule="atmosphere.positive",
        )
    log_p, temperature = _hydrostatic(z, rows, surface_pressure_pa, radius)
    water = 2e-6 + 1.48e-4 * np.exp(-np.maximum(z - 25.0, 0.0) / 8.0)
    spread = _spread_k(log_p, column)
    grown = np.hypot(column.relative_uncertainty, _by_temperature(z, column, rows,
                     surface_pressure_pa, radius))  # fmt: skip
    data = {
        "pressure": np.exp(log_p),
        "temperature": temperature,
        "temperature_uncertainty": spread,
        "pressure_uncertainty": grown,
        "co2_vmr": np.full(z.size, 0.955),
        "co_vmr": np.full(z.size, 7e-4),
        "h2o_vmr": water,
        # 5 times the terrestrial abundance of HDO relative to H2O
        "hdo_vmr": 5.0 * 3.11e-4 * water,
        "ch4_vmr": np.zeros(z.size),
    }
    # one level is a profile of ours, if not of a user's
    check_profile({**data, "altitude": z}, allow=("atmosphere.levels",))
    ds = xr.Dataset({k: ("altitude", v) for k, v in data.items()}, {"altitude": z})
    place = _place(solar_longitude, latitude)
    ds.attrs = {
        "planet_radius_km": radius,
        "reference_edition": _table().edition,
        "reference_place": place,
        "source": f"reference atmosphere of tgo_spectra, edition {_table().edition}: "
        f"{place}",
    }
    return finish(ds)


def mean_of_points(
    level1: xr.Dataset, name: str, period: float | None = None
) -> float | None:
    """Mean of a coordinate over the tangent points, None where there is none.

    Angles and hours (with a period) are averaged as directions.
    """
    if name not in level1:
        return None
    values = np.asarray(level1[name].values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return float(values.mean()) if period is None else mean_direction(values, period)


def warn_of_reference() -> None:
    """Say that the reference atmosphere is used, what it may be off, what is better."""
    table = _table()
    # 1 Pa is at 55 to 60 km
    kelvin = table.uncertainty_k[table.log_pressure >= -1e-9]
    share = float(table.pressure["uncertainty"]["value"])
    text = (
        f"{WARNING}, which may be off (1 sigma) by {kelvin.min():.0f} to "
        f"{kelvin.max():.0f} K below 60 km and by {100.0 * share:.0f} % in pressure at "
        "altitude zero, more above and where season or latitude are unknown; give a "
        "profile (atmosphere=, --atmosphere) or a climatology (atmosphere_for_product, "
        "--climatology)"
    )
    warnings.warn(text, TgoWarning, stacklevel=4)


def reference_edition() -> str:
    """Edition of the numbers, which the resume key of a run holds."""
    return _table().edition


def _check_place(solar_longitude: float | None, latitude: float | None) -> None:
    """Refuse a latitude beyond the poles, and what is no number."""
    for name, value, most in (
        ("solar_longitude", solar_longitude, np.inf),
        ("latitude", latitude, 90.0),
    ):
        if value is not None and not (np.isfinite(value) and abs(value) <= most):
            msg = "latitude must be -90..90 degree, solar longitude finite"
            raise AtmosphereError(
                msg, field=name, value=value, rule="atmosphere.reference_place"
            )


def _place(solar_longitude: float | None, latitude: float | None) -> str:
    """Text for the place, also for what is not known of it."""
    season = "mean of the year"
    if solar_longitude is not None:
        season = f"solar longitude {round(solar_longitude, 2):g}"
    where = "mean of all latitudes"
    if latitude is not None:
        where = f"latitude {round(latitude, 2):g}"
    return f"{season}, {where}"


def _column(solar_longitude: float | None, latitude: float | None) -> _Column:
    """Interpolate the table, periodic in season and over the poles, or average it."""
    from scipy.interpolate import PchipInterpolator

    table = _table()
    season = np.arange(0.0, 360.0, 15.0)
    if solar_longitude is not None:
        season = np.array([np.mod(solar_longitude, 360.0)])
    places = np.arange(-87.5, 90.0, 5.0)
    if latitude is not None:
        places = np.array([latitude])
    # monotonic between the rows: no cubic that dives below the frost point of CO2
    field = table.temperature
    for axis, given, wanted in (
        (2, _over_the_poles(table.latitude), places),
        (0, _around_the_year(table.season), season),
    ):
        at, index = given
        values = np.take(field, index, axis=axis)
        field = PchipInterpolator(at, values, axis=axis)(wanted)
    area = np.cos(np.deg2rad(places))
    area = area / area.sum() if latitude is None else np.ones(1)
    mean = (field @ area).mean(axis=0)
    variance = ((field - mean[:, None]) ** 2 @ area).mean(axis=0)
    pressure = _areoid_pressure(season)
    known = float(table.pressure["uncertainty"]["value"])
    return _Column(
        temperature=mean,
        uncertainty_k=np.sqrt(table.uncertainty_k**2 + variance),
        pressure_pa=float(pressure.mean()),
        relative_uncertainty=float(np.hypot(known, pressure.std() / pressure.mean())),
    )


def _over_the_poles(latitude: Array) -> tuple[Array, NDArray[np.intp]]:
    """Latitudes and where their values are; beyond a pole the other side comes down."""
    n = latitude.size
    beyond = np.arange(1, 3)
    at = [-180.0 - latitude[beyond[::-1]], latitude, 180.0 - latitude[n - 1 - beyond]]
    return np.concatenate(at), np.r_[beyond[::-1], 0:n, n - 1 - beyond]


def _around_the_year(season: Array) -> tuple[Array, NDArray[np.intp]]:
    """Seasons and where their values are, two more at either end of the year."""
    n = season.size
    at = [season[-2:] - 360.0, season, season[:2] + 360.0]
    return np.concatenate(at), np.r_[n - 2 : n, 0:n, 0:2]


def _areoid_pressure(season: Array) -> Array:
    """Pressure at altitude zero through the year, Pa; solar longitude in degree."""
    given = _table().pressure
    fall = np.exp(given["lander_altitude_km"] / given["scale_height_km"])
    angle = np.deg2rad(season)
    cycle = np.ones_like(angle)
    for k, (sine, cosine) in enumerate(
        zip(given["sine"], given["cosine"], strict=True), start=1
    ):
        cycle = cycle + sine * np.sin(k * angle) + cosine * np.cos(k * angle)
    return np.asarray(given["lander_mean"] * fall * cycle)


def _spread_k(log_pressure: Array, column: _Column) -> Array:
    """Uncertainty of the temperature at logarithms of the pressure, K."""
    rows = -_table().log_pressure
    return np.asarray(np.interp(-log_pressure, rows, column.uncertainty_k))


def _by_temperature(
    z: Array, column: _Column, rows_k: Array, pressure_pa: float, radius_km: float
) -> Array:
    """Uncertainty of ln p at altitudes by that of the temperatures from altitude zero.

    d(ln p) = integral of d(T) / T over -d(ln p), with the correlation of d(T) along
    altitude.
    """
    # from zero upwards and downwards, in layers that a scale height does not feel
    step = 2.0
    fine = np.arange(min(z[0], 0.0) // step, max(z[-1], 0.0) // step + 2.0) * step
    log_p, kelvin = _hydrostatic(fine, rows_k, pressure_pa, radius_km)
    relative = _spread_k(log_p, column) / kelvin
    change = 0.5 * (relative[1:] + relative[:-1]) * np.diff(-log_p)
    middle = 0.5 * (fine[1:] + fine[:-1])
    apart = np.abs(middle[:, None] - middle) / _table().correlation_km
    # sums of layers from zero, of either
    below = fine[:, None] > middle
    sums = below * 1.0 - (middle < 0.0)
    variance = ((sums @ (change[:, None] * change * np.exp(-apart))) * sums).sum(axis=1)
    return np.asarray(np.interp(z, fine, np.sqrt(variance.clip(0.0))))


def _hydrostatic(
    z: Array, rows_k: Array, pressure_pa: float, radius_km: float
) -> tuple[Array, Array]:
    """Logarithm of pressure (Pa) and temperature (K) at altitudes (km), in balance.

    The geopotential is the exact integral of the interpolated temperature over ln p.
    """
    from scipy.interpolate import PchipInterpolator

    up = -_table().log_pressure
    up = np.concatenate([[up[0] - _BEYOND], up, [up[-1] + _BEYOND]])
    kelvin = PchipInterpolator(up, np.concatenate([rows_k[:1], rows_k, rows_k[-1:]]))
    area = kelvin.antiderivative()
    wanted = potential(z, radius_km) / SCALE + area(-np.log(pressure_pa))
    fine = np.linspace(up[0], up[-1], 400)
    level = np.interp(wanted, area(fine), fine)
    # Newton; the start is near, the integral smooth and rising
    for _ in range(6):
        level = level - (area(level) - wanted) / kelvin(level)
    return -level, np.asarray(kelvin(level))
