r"""Nadir observations: two-way transmittance and conventions of reflectance.

Sunlight goes down at the solar incidence angle i, is reflected by the surface and goes
up at the emission angle e, both against the local vertical. Light scattered in the
atmosphere is left out.

Let L be the radiance (W m-2 sr-1 per cm-1 or nm), E the solar irradiance at 1 au in the
same spectral unit, d the distance to the Sun in au, F = E / (pi d^2):

* radiance factor, also called I/F: L / F, one for a white Lambert surface under the
  vertical Sun;
* reflectance factor: I/F divided by cos i, one for a white Lambert surface under any
  Sun. NOMAD LNO products of version 3.0 give this one (producer's code).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "plane_parallel_error",
    "radiance_factor",
    "reflectance_factor",
    "slant_factor",
    "surface_reflectance_factor",
    "two_way_air_mass",
    "two_way_transmittance",
]

#: Largest angle for which 1/cos is taken, degree: there it is 8 % too much at Mars.
MAX_ANGLE_DEG = 80.0


def _cosine(name: str, angle_deg: ArrayLike, largest_deg: float) -> NDArray[np.float64]:
    angle = np.asarray(angle_deg, dtype=np.float64)
    # not-a-number (a point off the planet) is kept: it stays not-a-number
    bad = (angle < 0.0) | (angle > largest_deg)
    if bad.any():
        msg = f"angle must be 0 to {largest_deg:g} degree"
        raise InstrumentError(
            msg, field=name, value=float(angle[bad].flat[0]), rule="nadir.angle"
        )
    return np.asarray(np.cos(np.radians(angle)))


def two_way_air_mass(
    incidence_deg: ArrayLike,
    emission_deg: ArrayLike,
    largest_deg: float = MAX_ANGLE_DEG,
) -> NDArray[np.float64]:
    """Slant over vertical column, down and up, in a plane-parallel atmosphere.

    ``1 / cos i + 1 / cos e``.

    Parameters
    ----------
    incidence_deg, emission_deg : array_like
        Degree; broadcast. Not-a-number stays so.
    largest_deg : float
        Angles beyond are refused, by default 80 degree; see `plane_parallel_error`.

    Returns
    -------
    ndarray
        1; two for the Sun and the spacecraft in the zenith.

    Raises
    ------
    InstrumentError
        If an angle is negative or too large.

    Examples
    --------
    >>> round(float(two_way_air_mass(60.0, 0.0)), 6)
    3.0
    """
    down = _cosine("incidence_deg", incidence_deg, largest_deg)
    up = _cosine("emission_deg", emission_deg, largest_deg)
    return np.asarray(1.0 / down + 1.0 / up)


def plane_parallel_error(
    angle_deg: ArrayLike, scale_height_km: float, radius_km: float
) -> NDArray[np.float64]:
    """How much 1/cos is too large on a sphere, relative, to the first order.

    ``(H / R) tan^2 z`` for a gas with the scale height H. At Mars (11 km, 3390 km)
    1.0 % at 60 degree, 4.5 % at 75 and 10 % at 80, where integration along the ray
    gives 0.9, 4.0 and 8.1 %: a bound.

    Parameters
    ----------
    angle_deg : array_like
        Incidence or emission, degree.
    scale_height_km, radius_km : float
        km.

    Returns
    -------
    ndarray
        Relative to 1/cos.

    Raises
    ------
    InstrumentError
        If an angle is not within 0 and 89 degree.

    Examples
    --------
    >>> plane_parallel_error([60.0, 75.0, 80.0], 11.0, 3390.0).round(3).tolist()
    [0.01, 0.045, 0.104]
    """
    cosine = _cosine("angle_deg", angle_deg, 89.0)
    return np.asarray(scale_height_km / radius_km * (1.0 / cosine**2 - 1.0))


def slant_factor(
    secant: ArrayLike, height_km: ArrayLike, radius_km: float
) -> NDArray[np.float64]:
    """Path over height of a straight ray above a sphere, at some height.

    ``1 / sqrt(1 - (R / (R + h))^2 sin^2 z)``, at the surface the secant itself.

    Parameters
    ----------
    secant : array_like
        1 / cos z, with the ray's angle z against the vertical at the surface.
    height_km : array_like
        Above the surface, km; broadcast.
    radius_km : float
        Of the surface, km.

    Returns
    -------
    ndarray
        1.

    Raises
    ------
    InstrumentError
        If a secant is smaller than one.

    Examples
    --------
    >>> slant_factor(4.0, [0.0, 10.0, 50.0], 3390.0).round(3).tolist()
    [4.0, 3.835, 3.342]
    """
    inverse = np.asarray(secant, dtype=np.float64)
    if (inverse < 1.0).any():
        msg = "a secant is one or more"
        raise InstrumentError(
            msg, field="secant", value=float(np.nanmin(inverse)), rule="nadir.secant"
        )
    height = np.asarray(height_km, dtype=np.float64)
    ratio = (radius_km / (radius_km + height)) ** 2
    return np.asarray(1.0 / np.sqrt(1.0 - ratio * (1.0 - inverse**-2.0)))


def two_way_transmittance(
    vertical_optical_depth: ArrayLike, air_mass: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transmittance down and up, and its derivative by the optical depth.

    Parameters
    ----------
    vertical_optical_depth : array_like
        Of the whole column above the surface, 1.
    air_mass : array_like
        From `two_way_air_mass`; broadcast.

    Returns
    -------
    transmittance : ndarray
    derivative : ndarray
        By the vertical optical depth: with the optical depth linear in a column, times
        that column it is the derivative by a factor on it.

    Examples
    --------
    >>> value, slope = two_way_transmittance(0.1, 3.0)
    >>> round(float(value), 6), round(float(slope), 6)
    (0.740818, -2.222455)
    """
    mass = np.asarray(air_mass, dtype=np.float64)
    value = np.exp(-np.asarray(vertical_optical_depth, dtype=np.float64) * mass)
    return np.asarray(value), np.asarray(-mass * value)


def radiance_factor(
    radiance: ArrayLike, solar_irradiance: ArrayLike, sun_distance_au: ArrayLike
) -> NDArray[np.float64]:
    """Radiance factor I/F = pi L d^2 / E.

    Parameters
    ----------
    radiance : array_like
        L, W m-2 sr-1 per spectral unit.
    solar_irradiance : array_like
        E at 1 au, W m-2 per the same spectral unit.
    sun_distance_au : array_like
        d, au.

    Returns
    -------
    ndarray
        1.

    Raises
    ------
    InstrumentError
        If a distance is not positive.

    Examples
    --------
    >>> round(float(radiance_factor(0.1, 1.0, 1.5)), 4)
    0.7069
    """
    distance = np.asarray(sun_distance_au, dtype=np.float64)
    if not (distance > 0.0).all():
        msg = "distance to the Sun must be positive"
        raise InstrumentError(
            msg,
            field="sun_distance_au",
            value=float(distance.min()),
            rule="nadir.sun_distance",
        )
    light = np.asarray(radiance, dtype=np.float64) * np.pi * distance**2
    return np.asarray(light / np.asarray(solar_irradiance, dtype=np.float64))


def reflectance_factor(
    radiance_factor_if: ArrayLike,
    incidence_deg: ArrayLike,
    largest_deg: float = 89.0,
) -> NDArray[np.float64]:
    """Reflectance factor from the radiance factor: I/F over cos i.

    Parameters
    ----------
    radiance_factor_if : array_like
        I/F, 1.
    incidence_deg : array_like
        Degree; broadcast.
    largest_deg : float
        Angles beyond are refused, by default 89 degree.

    Returns
    -------
    ndarray
        1.

    Raises
    ------
    InstrumentError
        If an angle is negative or too large.

    Examples
    --------
    >>> round(float(reflectance_factor(0.1, 60.0)), 6)
    0.2
    """
    cosine = _cosine("incidence_deg", incidence_deg, largest_deg)
    return np.asarray(np.asarray(radiance_factor_if, dtype=np.float64) / cosine)


def surface_reflectance_factor(
    surface: ArrayLike, vertical_optical_depth: ArrayLike, air_mass: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Reflectance factor seen from above an absorbing atmosphere, with derivatives.

    Parameters
    ----------
    surface : array_like
        Reflectance factor of the surface (its albedo if it is Lambert's).
    vertical_optical_depth, air_mass : array_like
        As in `two_way_transmittance`; broadcast.

    Returns
    -------
    value : ndarray
    by_surface, by_optical_depth : ndarray

    Examples
    --------
    >>> value, _, _ = surface_reflectance_factor(0.25, 0.1, 3.0)
    >>> round(float(value), 5)
    0.1852
    """
    albedo = np.asarray(surface, dtype=np.float64)
    through, slope = two_way_transmittance(vertical_optical_depth, air_mass)
    return np.asarray(albedo * through), through, np.asarray(albedo * slope)
