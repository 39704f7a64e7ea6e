"""Mars as a body, its air and its calendar: constants, solar longitude, Mars year."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BOLTZMANN",
    "GAS_CONSTANT",
    "GM_M3_S2",
    "MEAN_RADIUS_KM",
    "MOLAR_MASS",
    "SCALE",
    "SURFACE_GRAVITY_M_S2",
    "mars_year",
    "mean_direction",
    "potential",
    "solar_longitude",
]

#: m3 s-2, gravity model MGM1025, as used for the areoid of the archive's tables.
GM_M3_S2 = 42828.36e9
#: km, mean radius.
MEAN_RADIUS_KM = 3389.5
#: m s-2, nominal.
SURFACE_GRAVITY_M_S2 = 3.711
#: g mol-1 of Martian air; 43.34 (SAM) to 43.62 are in use.
MOLAR_MASS = 43.4
#: J K-1, exact since the SI of 2019.
BOLTZMANN = 1.380649e-23
#: J mol-1 K-1, exact since the SI of 2019.
GAS_CONSTANT = 8.31446261815324
#: J kg-1 K-1: gas constant of the air, by which T over ln p becomes a potential.
SCALE = GAS_CONSTANT / (1e-3 * MOLAR_MASS)

# TAI - UTC in s from the date on (IERS Bulletin C); TT = TAI + 32.184 s.
_LEAP_SECONDS = (
    ("1972-01-01", 10), ("1972-07-01", 11), ("1973-01-01", 12), ("1974-01-01", 13),
    ("1975-01-01", 14), ("1976-01-01", 15), ("1977-01-01", 16), ("1978-01-01", 17),
    ("1979-01-01", 18), ("1980-01-01", 19), ("1981-07-01", 20), ("1982-07-01", 21),
    ("1983-07-01", 22), ("1985-07-01", 23), ("1988-01-01", 24), ("1990-01-01", 25),
    ("1991-01-01", 26), ("1992-07-01", 27), ("1993-07-01", 28), ("1994-07-01", 29),
    ("1996-01-01", 30), ("1997-07-01", 31), ("1999-01-01", 32), ("2006-01-01", 33),
    ("2009-01-01", 34), ("2012-07-01", 35), ("2015-07-01", 36), ("2017-01-01", 37),
)  # fmt: skip
_TT_MINUS_TAI_S = 32.184

# Perturbations by the planets: amplitude deg, period Julian years, phase deg
# (Allison & McEwen 2000, Planet. Space Sci. 48, 215, table 5).
_PERTURBATIONS = np.array(
    [
        (0.0071, 2.2353, 49.409),
        (0.0057, 2.7543, 168.173),
        (0.0039, 1.1177, 191.837),
        (0.0037, 15.7866, 21.736),
        (0.0021, 2.1354, 15.704),
        (0.0020, 2.4694, 95.528),
        (0.0018, 32.8493, 49.095),
    ]
)

# Mars year in which J2000.0 lies, with year 1 starting on 1955-04-11.
_YEAR_OF_J2000 = 24


def potential(altitude_km: ArrayLike, radius_km: float) -> NDArray[np.float64]:
    """Gravitational potential (J kg-1, any shape) of altitudes over altitude zero."""
    z = np.asarray(altitude_km, dtype=np.float64)
    return np.asarray(GM_M3_S2 * z / (1e3 * radius_km * (radius_km + z)))


def _days_since_j2000_tt(time: ArrayLike) -> NDArray[np.float64]:
    utc = np.asarray(time, dtype="datetime64[ns]")
    dates = np.array([date for date, _ in _LEAP_SECONDS], dtype="datetime64[ns]")
    seconds = np.array([count for _, count in _LEAP_SECONDS], dtype=np.float64)
    # Before 1972 the first value is kept: at most 10 s, 6e-5 deg.
    index = np.maximum(np.searchsorted(dates, utc, side="right") - 1, 0)
    since = (utc - np.datetime64("2000-01-01T12:00:00", "ns")) / np.timedelta64(1, "s")
    days = (since + seconds[index] + _TT_MINUS_TAI_S) / 86400.0
    return np.asarray(np.where(np.isnat(utc), np.nan, days))


def _unwrapped_longitude(time: ArrayLike) -> NDArray[np.float64]:
    """Solar longitude without reduction to 0..360, degree."""
    t = _days_since_j2000_tt(time)
    anomaly = np.deg2rad(19.3871 + 0.52402073 * t)
    amplitude, period, phase = _PERTURBATIONS.T
    angle = np.deg2rad(0.985626 * t[..., None] / period + phase)
    centre = (
        (10.691 + 3e-7 * t) * np.sin(anomaly)
        + 0.623 * np.sin(2 * anomaly)
        + 0.050 * np.sin(3 * anomaly)
        + 0.005 * np.sin(4 * anomaly)
        + 0.0005 * np.sin(5 * anomaly)
    )
    mean = 270.3871 + 0.524038496 * t
    return np.asarray(mean + centre + np.cos(angle) @ amplitude)


def solar_longitude(time: ArrayLike) -> NDArray[np.float64]:
    """Areocentric solar longitude Ls.

    The full form of Allison & McEwen (2000, Planet. Space Sci. 48, 215) with the
    constants of Mars24, in terrestrial time; good to 0.005 degree in this century.

    Parameters
    ----------
    time : array_like of datetime64
        UTC, any shape.

    Returns
    -------
    ndarray
        Degree, 0 to below 360; not-a-number for not-a-time.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(solar_longitude(np.datetime64("2000-01-06T00:00:00"))), 3)
    277.188
    """
    return np.asarray(np.mod(_unwrapped_longitude(time), 360.0))


def mars_year(time: ArrayLike) -> NDArray[np.int64]:
    """Mars year, counted from the northern spring equinox of 1955-04-11.

    Parameters
    ----------
    time : array_like of datetime64
        UTC, any shape.

    Returns
    -------
    ndarray of int64

    Raises
    ------
    ValueError
        If a time is not-a-time.

    Examples
    --------
    >>> import numpy as np
    >>> int(mars_year(np.datetime64("2018-06-14")))
    34
    """
    longitude = _unwrapped_longitude(time)
    if np.isnan(longitude).any():
        message = "a Mars year needs a time, found NaT"
        raise ValueError(message)
    turns = np.floor(longitude / 360.0).astype(np.int64)
    return np.asarray(turns + _YEAR_OF_J2000)


def mean_direction(values: ArrayLike, period: float) -> float:
    """Mean of angles or hours of the day, taken as directions.

    Parameters
    ----------
    values : array_like
        Any shape; missing ones are left out.
    period : float
        360 for degrees, 24 for hours.

    Returns
    -------
    float
        From 0 to below the period; not-a-number if nothing is there.

    Examples
    --------
    >>> round(mean_direction([350.0, 20.0], 360.0), 6)
    5.0
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[np.isfinite(given)]
    if not given.size:
        return float("nan")
    angle = 2.0 * np.pi / period * given
    mean = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean())
    return float(np.mod(mean * period / (2.0 * np.pi), period))
