"""NOMAD LNO: wavenumber scale, AOTF, blaze and line shape on plain arrays.

Wavenumbers in cm-1, AOTF frequency in kHz, temperature in degree Celsius, pixels from
0. Coefficients, sources and how sure they are: ``instruments.toml``. The resolving
power is not settled (*to be verified*), so no function assumes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import coefficients, number, parameter
from tgo_spectra.instruments.aotf import peaked_aotf, peaked_aotf_derivatives
from tgo_spectra.instruments.grating import sinc_blaze
from tgo_spectra.instruments.line_shape import gaussian, resolving_power_sigma
from tgo_spectra.instruments.polynomial import power_series, power_series_slope

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AOTF_FREQUENCY_KHZ",
    "aotf_centre",
    "aotf_derivatives",
    "aotf_transmission",
    "blaze",
    "line_shape",
    "order_weights",
    "pixel_wavenumber",
    "pixel_wavenumber_derivatives",
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


def pixel_wavenumber_derivatives(
    order: ArrayLike, pixel: ArrayLike, temperature_c: ArrayLike
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `pixel_wavenumber`.

    Parameters
    ----------
    order, pixel, temperature_c
        As there.

    Returns
    -------
    dict of str to ndarray
        ``pixel`` (cm-1 for a pixel of shift), ``temperature_c`` (cm-1 per degree).

    Examples
    --------
    >>> round(float(pixel_wavenumber_derivatives(134, 160, 0.0)["pixel"]), 4)
    0.0754
    """
    offset = coefficients("lno.pixel_offset")
    q = np.asarray(pixel, dtype=np.float64) + power_series(offset, temperature_c)
    slope = power_series_slope(coefficients("lno.dispersion"), q)
    step = np.asarray(order, dtype=np.float64) * slope
    drift = step * power_series_slope(offset, temperature_c)
    return {"pixel": np.asarray(step), "temperature_c": np.asarray(drift)}


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


def aotf_derivatives(
    wavenumber_cm1: ArrayLike, centre_cm1: ArrayLike, width_factor: float = 1.0
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of the LNO AOTF transmission.

    Parameters
    ----------
    wavenumber_cm1, centre_cm1, width_factor
        As in `aotf_transmission`.

    Returns
    -------
    dict of str to ndarray
        ``aotf_offset`` (by the centre, 1/cm-1), ``aotf_width_factor``.

    Examples
    --------
    >>> found = aotf_derivatives([3020.0, 3033.0], 3026.5)
    >>> found["aotf_offset"].round(4).tolist()
    [-0.0819, 0.0819]
    """
    x = np.asarray(wavenumber_cm1, dtype=np.float64) - np.asarray(centre_cm1)
    _, width, _, scale = _aotf(1.0)
    part = peaked_aotf_derivatives(x, *_aotf(width_factor))
    return {
        "aotf_offset": -part.offset,
        "aotf_width_factor": part.sinc_width * width + part.gaussian_width * scale,
    }


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
    return sinc_blaze(wavenumber_cm1, centre, number("lno.free_spectral_range"))


def line_shape(
    offset_cm1: ArrayLike, wavenumber_cm1: ArrayLike, resolving_power: ArrayLike
) -> NDArray[np.float64]:
    """Line shape of LNO pixels: one Gaussian of unit area.

    Parameters
    ----------
    offset_cm1 : array_like
        Distance nu - nu_pixel, cm-1.
    wavenumber_cm1 : array_like
        Of the pixel, cm-1.
    resolving_power : array_like
        nu / FWHM; ``lno.resolving_power`` of the table names a value and its range.

    Returns
    -------
    ndarray
        cm.

    Raises
    ------
    InstrumentError
        If the resolving power is not positive.

    Examples
    --------
    >>> round(float(line_shape(0.0, 3000.0, 10000.0)), 3)
    3.131
    """
    return gaussian(offset_cm1, resolving_power_sigma(wavenumber_cm1, resolving_power))


def order_weights(
    order: int,
    pixel: ArrayLike,
    frequency_khz: float,
    temperature_c: float,
    n_orders: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Wavenumbers and weights of the orders at LNO pixels.

    Parameters
    ----------
    order : int
        Nominal order.
    pixel : array_like, shape (pixel,)
        Pixels from 0.
    frequency_khz, temperature_c : float
        AOTF drive frequency, kHz; degree Celsius.
    n_orders : int
        Neighbouring orders on each side.

    Returns
    -------
    orders : ndarray of int64, shape (order,)
    wavenumber_cm1 : ndarray, shape (order, pixel)
    weight : ndarray, shape (order, pixel)
        AOTF times blaze, for `tgo_spectra.instruments.grating.add_orders`.

    Examples
    --------
    >>> orders, _, weight = order_weights(168, [160], 24180, 0.0, 3)
    >>> int(orders[weight[:, 0].argmax()])
    168
    """
    orders = np.arange(order - n_orders, order + n_orders + 1)
    nu = pixel_wavenumber(orders[:, None], pixel, temperature_c)
    centre = aotf_centre(frequency_khz, temperature_c)
    light = blaze(nu, orders[:, None], temperature_c)
    return orders, nu, np.asarray(light * aotf_transmission(nu, centre))
