"""ACS NIR: orders, AOTF and line shape on plain arrays.

An echelle behind an AOTF as NOMAD SO, orders 49 to 101. The wavenumbers of pixels come
with the product. Resolving power and AOTF are known from papers that differ and from
an illustrative example (*inferred*, *to be verified*; ``instruments.toml``), so every
function wants them from its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import coefficients, number
from tgo_spectra.instruments.aotf import (
    lobed_aotf,
    lobed_aotf_derivatives,
    sinc_width,
)
from tgo_spectra.instruments.line_shape import gaussian, resolving_power_sigma
from tgo_spectra.instruments.polynomial import power_series

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "aotf_derivatives",
    "aotf_frequency_khz",
    "aotf_transmission",
    "line_shape",
    "order_centre",
    "order_wavenumbers",
]


def order_centre(order: ArrayLike) -> NDArray[np.float64]:
    """Wavenumber in the middle of an order, good to some cm-1.

    Parameters
    ----------
    order : array_like of int
        49 to 101.

    Returns
    -------
    ndarray
        cm-1.

    Raises
    ------
    InstrumentError
        If the instrument has no such order.

    Examples
    --------
    >>> round(float(order_centre(56)))
    7258
    """
    orders = np.asarray(order, dtype=np.float64)
    first, last = coefficients("acs_nir.orders")
    outside = (orders < first) | (orders > last)
    if outside.any():
        msg = f"ACS NIR has orders {first:.0f} to {last:.0f}"
        raise InstrumentError(
            msg,
            field="order",
            value=float(orders[outside].flat[0]),
            rule="instrument.order",
        )
    return np.asarray(orders * number("acs_nir.free_spectral_range"))


def aotf_frequency_khz(command: ArrayLike) -> NDArray[np.float64]:
    """Drive frequency of the AOTF from the value in the telecommand table.

    Parameters
    ----------
    command : array_like of int
        Value of a raw product's command table.

    Returns
    -------
    ndarray
        kHz: 64 MHz and 50 kHz for each unit.

    Examples
    --------
    >>> float(aotf_frequency_khz(100))
    69000.0
    """
    return power_series(coefficients("acs_nir.aotf_frequency_step"), command)


def order_wavenumbers(
    wavenumber_cm1: ArrayLike, order: int, n_orders: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Wavenumbers that fall on the same pixels from the neighbouring orders.

    Parameters
    ----------
    wavenumber_cm1 : array_like, shape (pixel,)
        Of the pixels in the nominal order, cm-1.
    order, n_orders : int
        Nominal order; neighbours on each side.

    Returns
    -------
    orders : ndarray of int64, shape (order,)
    wavenumber_cm1 : ndarray, shape (order, pixel)

    Examples
    --------
    >>> orders, nu = order_wavenumbers([7258.0], 56, 1)
    >>> orders.tolist(), nu[:, 0].round(1).tolist()
    ([55, 56, 57], [7128.4, 7258.0, 7387.6])
    """
    orders = np.arange(order - n_orders, order + n_orders + 1)
    nu = np.asarray(wavenumber_cm1, dtype=np.float64)
    return orders, np.asarray(nu * (orders[:, None] / order))


def aotf_transmission(
    wavenumber_cm1: ArrayLike,
    centre_cm1: float,
    fwhm_cm1: float,
    side_lobes: float,
) -> NDArray[np.float64]:
    """Transmission of the AOTF as a squared sinc with scaled side lobes.

    Parameters
    ----------
    wavenumber_cm1 : array_like
        cm-1.
    centre_cm1, fwhm_cm1 : float
        Centre and full width at half maximum, cm-1.
    side_lobes : float
        Factor on the side lobes; 1 for a plain squared sinc.

    Returns
    -------
    ndarray
        One at the centre.

    Notes
    -----
    The form is *inferred* from that of NOMAD.

    Examples
    --------
    >>> aotf_transmission([7000.0, 7060.0], 7000.0, 120.0, 1.0).round(3).tolist()
    [1.0, 0.5]
    """
    x = np.asarray(wavenumber_cm1, dtype=np.float64) - centre_cm1
    return lobed_aotf(x, float(sinc_width(fwhm_cm1)), side_lobes, 1.0, 0.0, 1.0)


def aotf_derivatives(
    wavenumber_cm1: ArrayLike,
    centre_cm1: float,
    fwhm_cm1: float,
    side_lobes: float,
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `aotf_transmission`.

    Parameters
    ----------
    wavenumber_cm1, centre_cm1, fwhm_cm1, side_lobes
        As there.

    Returns
    -------
    dict of str to ndarray
        ``aotf_offset`` (by the centre), ``aotf_fwhm`` (both 1/cm-1),
        ``aotf_side_lobes``.

    Examples
    --------
    >>> sorted(aotf_derivatives([7000.0], 7000.0, 120.0, 1.0))
    ['aotf_fwhm', 'aotf_offset', 'aotf_side_lobes']
    """
    x = np.asarray(wavenumber_cm1, dtype=np.float64) - centre_cm1
    width = float(sinc_width(fwhm_cm1))
    part = lobed_aotf_derivatives(x, width, side_lobes, 1.0, 0.0, 1.0)
    return {
        "aotf_offset": -part.offset,
        "aotf_fwhm": part.width * width / fwhm_cm1,
        "aotf_side_lobes": part.side_lobes,
    }


def line_shape(
    offset_cm1: ArrayLike, wavenumber_cm1: ArrayLike, resolving_power: ArrayLike
) -> NDArray[np.float64]:
    """Line shape of ACS NIR pixels: one Gaussian of unit area.

    Parameters
    ----------
    offset_cm1 : array_like
        Distance nu - nu_pixel, cm-1.
    wavenumber_cm1 : array_like
        Of the pixel, cm-1.
    resolving_power : array_like
        nu / FWHM; ``acs_nir.resolving_power`` names a value and its range.

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
    >>> round(float(line_shape(0.0, 7258.0, 25000.0)), 3)
    3.236
    """
    return gaussian(offset_cm1, resolving_power_sigma(wavenumber_cm1, resolving_power))
