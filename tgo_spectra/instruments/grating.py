"""Echelle gratings: blaze functions and the addition of orders, on plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.aotf import sinc_squared, sinc_squared_slope

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "add_orders",
    "add_orders_derivative",
    "grating_blaze",
    "sinc_blaze",
    "sinc_blaze_derivatives",
]


def sinc_blaze(
    wavenumber_cm1: ArrayLike, centre_cm1: ArrayLike, width_cm1: ArrayLike
) -> NDArray[np.float64]:
    """Blaze function sinc^2((nu - centre) / width).

    Parameters
    ----------
    wavenumber_cm1, centre_cm1, width_cm1 : array_like
        Wavenumber of the pixel in the order, of the blaze's maximum in the order, and
        free spectral range, cm-1; broadcast.

    Returns
    -------
    ndarray
        One at the maximum.

    Examples
    --------
    >>> float(sinc_blaze(3025.0, 3025.0, 22.5))
    1.0
    """
    nu = np.asarray(wavenumber_cm1, dtype=np.float64)
    return sinc_squared((nu - np.asarray(centre_cm1)) / np.asarray(width_cm1))


def sinc_blaze_derivatives(
    wavenumber_cm1: ArrayLike, centre_cm1: ArrayLike, width_cm1: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the derivatives of `sinc_blaze` by wavenumber and by width.

    That by the centre is minus that by wavenumber.

    Parameters
    ----------
    wavenumber_cm1, centre_cm1, width_cm1 : array_like
        As in `sinc_blaze`.

    Returns
    -------
    by_wavenumber, by_width : ndarray
        1/cm-1.

    Examples
    --------
    >>> slope, _ = sinc_blaze_derivatives(3025.0, 3025.0, 22.5)
    >>> float(slope)
    0.0
    """
    width = np.asarray(width_cm1, dtype=np.float64)
    u = (np.asarray(wavenumber_cm1, dtype=np.float64) - np.asarray(centre_cm1)) / width
    slope = sinc_squared_slope(u) / width
    return np.asarray(slope), np.asarray(-slope * u)


def grating_blaze(
    wavenumber_cm1: ArrayLike, order: ArrayLike, grating: tuple[float, ...]
) -> NDArray[np.float64]:
    """Blaze function from the angles of the grating (Trompet 2024).

    Parameters
    ----------
    wavenumber_cm1, order : array_like
        Wavenumber of the pixel in the order, cm-1; order; broadcast.
    grating : tuple of float
        Blaze angle (rad), distance of grooves (cm), angles gamma and alpha_b (rad):
        ``so.grating`` or ``lno.grating`` of the parameter table.

    Returns
    -------
    ndarray

    Raises
    ------
    InstrumentError
        If the grating does not diffract such a wavenumber in such an order.

    Examples
    --------
    >>> from tgo_spectra.instruments import coefficients
    >>> b = grating_blaze([3010.9, 3025.0, 3034.9], 134, coefficients("so.grating"))
    >>> b.round(2).tolist()
    [0.2, 1.0, 0.5]
    """
    blaze_angle, groove_cm, gamma, alpha_b = grating
    nu = np.asarray(wavenumber_cm1, dtype=np.float64)
    alpha = blaze_angle + alpha_b
    sine = np.asarray(order) / (nu * groove_cm * np.cos(gamma)) - np.sin(alpha)
    if (np.abs(sine) > 1.0).any():
        msg = "no diffraction at this wavenumber and order"
        raise InstrumentError(
            msg,
            field="wavenumber_cm1",
            value=float(np.abs(sine).max()),
            rule="instrument.diffraction",
        )
    beta = np.arcsin(sine)
    path = nu * groove_cm * np.cos(gamma) * np.cos(alpha) / np.cos(alpha_b)
    u = path * (np.sin(alpha_b) + np.sin(beta - blaze_angle))
    shadow = np.where(alpha >= beta, 1.0, (np.cos(beta) / np.cos(alpha)) ** 2)
    return np.asarray(shadow * sinc_squared(u))


def _total(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weight.sum(axis=0)
    if not (total > 0.0).all():
        msg = "sum of the weights of all orders must be positive at every pixel"
        raise InstrumentError(
            msg,
            field="weight",
            value=float(total.min()),
            rule="instrument.order_weight",
        )
    return np.asarray(total)


def add_orders(transmittance: ArrayLike, weight: ArrayLike) -> NDArray[np.float64]:
    """Add the light of several orders on each pixel: the weighted mean over orders.

    Parameters
    ----------
    transmittance : array_like, shape (order, pixel)
        Of each pixel in each order, after the line shape.
    weight : array_like, shape (order, pixel)
        AOTF times blaze times solar spectrum of that pixel in that order.

    Returns
    -------
    ndarray, shape (pixel,)

    Raises
    ------
    InstrumentError
        If the weights of a pixel do not have a positive sum.

    Notes
    -----
    The AOTF is taken at the pixel here; `tgo_spectra.operators.tabulated` has it
    inside the integral over the line shape.

    Examples
    --------
    >>> add_orders([[1.0, 0.5], [0.0, 0.5]], [[3.0, 1.0], [1.0, 1.0]]).tolist()
    [0.75, 0.5]
    """
    w = np.asarray(weight, dtype=np.float64)
    return np.asarray((w * np.asarray(transmittance)).sum(axis=0) / _total(w))


def add_orders_derivative(
    transmittance: ArrayLike, weight: ArrayLike, weight_derivative: ArrayLike
) -> NDArray[np.float64]:
    """Return the derivative of `add_orders` by a parameter of the weights.

    Parameters
    ----------
    transmittance, weight : array_like, shape (order, pixel)
        As in `add_orders`.
    weight_derivative : array_like, shape (order, pixel)
        Derivatives of the weights by the parameter (AOTF centre, width, blaze).

    Returns
    -------
    ndarray, shape (pixel,)

    Raises
    ------
    InstrumentError
        If the weights of a pixel do not have a positive sum.

    Examples
    --------
    >>> t, w = [[1.0], [0.0]], [[3.0], [1.0]]
    >>> add_orders_derivative(t, w, [[0.0], [1.0]]).tolist()
    [-0.1875]
    """
    w = np.asarray(weight, dtype=np.float64)
    t = np.asarray(transmittance, dtype=np.float64)
    mean = add_orders(t, w)
    change = np.asarray(weight_derivative, dtype=np.float64) * (t - mean)
    return np.asarray(change.sum(axis=0) / _total(w))
