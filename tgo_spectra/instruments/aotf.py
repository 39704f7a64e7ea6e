"""Transfer functions of acousto-optical filters on plain arrays.

Two formulas: a squared sinc with scaled side lobes and a Gaussian pedestal (NOMAD SO),
and a squared sinc plus a Gaussian (NOMAD LNO). x is the distance from the centre of the
filter in cm-1, sinc(u) = sin(pi u) / (pi u).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "lobed_aotf",
    "peaked_aotf",
    "power_series",
    "sinc_squared",
]


def sinc_squared(argument: ArrayLike) -> NDArray[np.float64]:
    """Square of sin(pi u) / (pi u).

    Parameters
    ----------
    argument : array_like
        u.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(sinc_squared(0.0)), round(float(sinc_squared(0.5)), 4)
    (1.0, 0.4053)
    """
    return np.asarray(np.sinc(np.asarray(argument, dtype=np.float64)) ** 2)


def _lobes(
    x: NDArray[np.float64], width: float, side_lobes: float, asymmetry: float
) -> NDArray[np.float64]:
    low = np.where(x <= -width, side_lobes * asymmetry, 1.0)
    return np.where(x > width, side_lobes, low)


def lobed_aotf(
    offset_cm1: ArrayLike,
    width: float,
    side_lobes: float,
    asymmetry: float,
    pedestal: float,
    pedestal_sigma: float,
) -> NDArray[np.float64]:
    r"""Squared sinc with scaled side lobes, and a Gaussian pedestal.

    ``F = sinc^2(x/w) c + g exp(-x^2 / (2 s_g^2))``: c is 1 for \|x\| <= w, s above and
    s a below, so the asymmetry acts on the side lobes at low wavenumbers.

    Parameters
    ----------
    offset_cm1 : array_like
        x, cm-1.
    width : float
        w, cm-1.
    side_lobes, asymmetry, pedestal : float
        s, a, g.
    pedestal_sigma : float
        s_g, cm-1.

    Returns
    -------
    ndarray
        Not normalised: 1 + g at the centre.

    Examples
    --------
    >>> float(lobed_aotf(0.0, 20.0, 2.0, 1.2, 0.1, 50.0))
    1.1
    """
    x = np.asarray(offset_cm1, dtype=np.float64)
    foot = pedestal * np.exp(-(x**2) / (2.0 * pedestal_sigma**2))
    lobes = _lobes(x, width, side_lobes, asymmetry)
    return np.asarray(sinc_squared(x / width) * lobes + foot)


def peaked_aotf(
    offset_cm1: ArrayLike,
    sinc_height: float,
    sinc_width: float,
    gaussian_height: float,
    gaussian_width: float,
) -> NDArray[np.float64]:
    """Squared sinc plus a Gaussian: ``h sinc^2(x/w) + g exp(-(x/v)^2)``.

    Parameters
    ----------
    offset_cm1 : array_like
        x, cm-1.
    sinc_height, gaussian_height : float
        h, g.
    sinc_width, gaussian_width : float
        w, v, cm-1; v has no factor 2.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(peaked_aotf(0.0, 0.6, 18.0, 0.4, 12.0))
    1.0
    """
    x = np.asarray(offset_cm1, dtype=np.float64)
    foot = gaussian_height * np.exp(-((x / gaussian_width) ** 2))
    return np.asarray(sinc_height * sinc_squared(x / sinc_width) + foot)


def power_series(
    coefficient: tuple[float, ...], argument: ArrayLike
) -> NDArray[np.float64]:
    """Sum of coefficients times powers of the argument, from the power 0.

    Parameters
    ----------
    coefficient : tuple of float
        As the parameter table lists them.
    argument : array_like
        In the unit that goes with them.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(power_series((1.0, 2.0, 3.0), 2.0))
    17.0
    """
    x = np.asarray(argument, dtype=np.float64)
    total = np.full(x.shape, coefficient[-1])
    for value in coefficient[-2::-1]:
        total = total * x + value
    return np.asarray(total)
