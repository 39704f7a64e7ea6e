"""NOMAD LNO: wavenumber scale and AOTF on plain arrays (calibration of 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LNO_AOTF_FREQUENCY_KHZ",
    "lno_aotf_centre",
    "lno_aotf_transmission",
    "lno_pixel_wavenumber",
]

# nu = m (c0 + c1 q + c2 q^2), q = p + c T, fit of January 2023
_SCALE = (22.471896082567795, 5.612789704190822e-4, 3.942616548909985e-9)
_SCALE_TEMPERATURE = -0.851152813531944
# nu0 polynomial in A; AOTF sinc2 part and width, Gaussian part and width (cm-1)
_TUNING = (300.67657, 0.1422382, 9.409476e-8)
_AOTF = (0.6290016, 18.188122, 0.3709984, 12.181137)
# SO's, no other is published; per degree Celsius
SO_TUNING_TEMPERATURE = -6.5278e-5

#: Frequencies of the LNO science programme, kHz by order.
LNO_AOTF_FREQUENCY_KHZ = {
    121: 16909, 134: 18927, 136: 19236, 167: 24026, 168: 24180, 169: 24335,
    189: 27409, 190: 27562, 191: 27716,
}  # fmt: skip


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def lno_pixel_wavenumber(
    order: ArrayLike, pixel: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Wavenumber of LNO pixels, cm-1 (fit of January 2023).

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
    >>> round(float(lno_pixel_wavenumber(134, 0, 0.0)), 4)
    3011.2341
    """
    c0, c1, c2 = _SCALE
    q = _array(pixel) + _SCALE_TEMPERATURE * _array(temperature_c)
    return np.asarray(_array(order) * (c0 + c1 * q + c2 * q**2))


def lno_aotf_centre(
    frequency_khz: ArrayLike, temperature_c: ArrayLike
) -> NDArray[np.float64]:
    """Centre of the LNO AOTF, with SO's temperature coefficient.

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
    >>> round(float(lno_aotf_centre(18927, 0.0)), 3)
    3026.527
    """
    g0, g1, g2 = _TUNING
    a = _array(frequency_khz)
    factor = 1.0 + SO_TUNING_TEMPERATURE * _array(temperature_c)
    return np.asarray((g0 + g1 * a + g2 * a**2) * factor)


def lno_aotf_transmission(
    wavenumber_cm1: ArrayLike, centre_cm1: ArrayLike
) -> NDArray[np.float64]:
    """Transmission of the LNO AOTF, one at its centre.

    Parameters
    ----------
    wavenumber_cm1, centre_cm1 : array_like
        cm-1; broadcast.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> round(float(lno_aotf_transmission(3026.5, 3026.5)), 6)
    1.0
    """
    part, width, rest, scale = _AOTF
    x = _array(wavenumber_cm1) - _array(centre_cm1)
    return np.asarray(
        part * np.sinc(x / width) ** 2 + rest * np.exp(-((x / scale) ** 2))
    )
