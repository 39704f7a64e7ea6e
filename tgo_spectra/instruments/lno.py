"""NOMAD LNO: wavenumber scale, AOTF and blaze on plain arrays.

Wavenumbers in cm-1, AOTF frequency in kHz, temperature in degree Celsius, pixels from
0. Coefficients, sources and how sure they are: ``instruments.toml``. The line
shape is a Gaussian; its resolving power is not settled (*to be verified*) and comes
from the caller of `tgo_spectra.instruments.response.channels.lno_operator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import coefficients, number, parameter
from tgo_spectra.instruments.aotf import (
    peaked_aotf,
    power_series,
    sinc_squared,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AOTF_FREQUENCY_KHZ",
    "aotf_centre",
    "aotf_transmission",
    "blaze",
    "pixel_wavenumber",
]

#: Frequencies of the LNO science programme, kHz by order.
AOTF_FREQUENCY_KHZ = {
    order: int(value)
    for order, value in zip(
        parameter("lno.aotf_frequency").index,
        coefficients("lno.aotf_frequency"),
        strict=True,
    )
}


def pixel_wavenumber(
    order: ArrayLike, pixel: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Wavenumber of LNO pixels (fit of January 2023).

    Parameters
    ----------
    order, pixel, temperature_c : array_like
        Order, pixel from 0, degree Celsius; broadcast.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> round(float(pixel_wavenumber(134, 0, 0.0)), 4)
    3011.2341
    """
    shift = power_series(coefficients("lno.pixel_offset"), temperature_c)
    q = np.asarray(pixel, dtype=np.float64) + shift
    base = power_series(coefficients("lno.dispersion"), q)
    return np.asarray(np.asarray(order, dtype=np.float64) * base)


def aotf_centre(
    frequency_khz: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Centre of the LNO AOTF, with the temperature coefficient of SO (*inferred*).

    Parameters
    ----------
    frequency_khz, temperature_c : array_like
        Drive frequency in kHz and degree Celsius; broadcast.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> round(float(aotf_centre(18927, 0.0)), 3)
    3026.527
    """
    rate = number("lno.aotf_tuning_temperature")
    factor = 1.0 + rate * np.asarray(temperature_c, dtype=np.float64)
    return np.asarray(
        power_series(coefficients("lno.aotf_tuning"), frequency_khz) * factor
    )


def _aotf(width_factor: float) -> tuple[float, float, float, float]:
    height, width = coefficients("lno.aotf_sinc")
    rest, scale = coefficients("lno.aotf_gaussian")
    return height, width * width_factor, rest, scale * width_factor


def aotf_transmission(
    wavenumber_cm1: ArrayLike, centre_cm1: ArrayLike, width_factor: float = 1.0
) -> NDArray[np.float64]:
    """Transmission of the LNO AOTF, one at its centre.

    Parameters
    ----------
    wavenumber_cm1, centre_cm1 : array_like
        cm-1; broadcast.
    width_factor : float
        Factor on the widths of sinc and Gaussian, by default 1.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> round(float(aotf_transmission(3026.5, 3026.5)), 6)
    1.0
    """
    x = np.asarray(wavenumber_cm1, dtype=np.float64) - np.asarray(centre_cm1)
    return peaked_aotf(x, *_aotf(width_factor))


def blaze(
    wavenumber_cm1: ArrayLike, order: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Blaze function of LNO: squared sinc around a pixel that depends on the order.

    Parameters
    ----------
    wavenumber_cm1 : array_like
        Of the pixel in that order, cm-1.
    order, temperature_c : array_like
        Order, degree Celsius (of the wavenumber scale); broadcast.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> centre = pixel_wavenumber(134, 150.80 + 0.22 * 134, 0.0)
    >>> float(blaze(centre, 134, 0.0))
    1.0
    """
    pixel = power_series(coefficients("lno.blaze_centre_pixel"), order)
    centre = pixel_wavenumber(order, pixel, temperature_c)
    distance = np.asarray(wavenumber_cm1, dtype=np.float64) - centre
    return sinc_squared(distance / number("lno.free_spectral_range"))
