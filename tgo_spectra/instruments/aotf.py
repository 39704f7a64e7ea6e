"""Transfer functions of acousto-optical filters on plain arrays, with derivatives.

Two formulas: a squared sinc with scaled side lobes and a Gaussian pedestal (NOMAD SO),
and a squared sinc plus a Gaussian (NOMAD LNO). x is the distance from the centre of the
filter in cm-1, sinc(u) = sin(pi u) / (pi u). A derivative by the centre with all else
held is minus that by x. `SampledAotf` takes a filter from a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.errors import InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LobedDerivatives",
    "PeakedDerivatives",
    "SampledAotf",
    "lobed_aotf",
    "lobed_aotf_derivatives",
    "peaked_aotf",
    "peaked_aotf_derivatives",
    "sinc_squared",
    "sinc_squared_slope",
    "sinc_width",
]

# sinc(u)^2 is one half there: half of FWHM over width
_HALF_MAXIMUM = 0.44294647
# below, the slope of the squared sinc is taken from its series, relative error < 1e-12
_SMALL = 1e-3


class LobedDerivatives(NamedTuple):
    """Return the derivatives of `lobed_aotf`.

    Attributes
    ----------
    offset : ndarray
        By x, 1/cm-1.
    width, side_lobes, asymmetry, pedestal : ndarray
        By the parameter of that name.
    """

    offset: NDArray[np.float64]
    width: NDArray[np.float64]
    side_lobes: NDArray[np.float64]
    asymmetry: NDArray[np.float64]
    pedestal: NDArray[np.float64]


class PeakedDerivatives(NamedTuple):
    """Return the derivatives of `peaked_aotf`.

    Attributes
    ----------
    offset : ndarray
        By x, 1/cm-1.
    sinc_height, sinc_width, gaussian_height, gaussian_width : ndarray
        By the parameter of that name.
    """

    offset: NDArray[np.float64]
    sinc_height: NDArray[np.float64]
    sinc_width: NDArray[np.float64]
    gaussian_height: NDArray[np.float64]
    gaussian_width: NDArray[np.float64]


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


def sinc_squared_slope(argument: ArrayLike) -> NDArray[np.float64]:
    """Return the derivative of `sinc_squared`.

    Parameters
    ----------
    argument : array_like
        u.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> float(sinc_squared_slope(0.0)), round(float(sinc_squared_slope(0.5)), 4)
    (0.0, -1.6211)
    """
    u = np.asarray(argument, dtype=np.float64)
    small = np.abs(u) < _SMALL
    safe = np.where(small, 1.0, u)
    value = np.sinc(safe)
    exact = 2.0 * value * (np.cos(np.pi * safe) - value) / safe
    t = (np.pi * u) ** 2
    series = -(2.0 / 3.0) * np.pi**2 * u * (1.0 - (4.0 / 15.0) * t)
    return np.asarray(np.where(small, series, exact))


def sinc_width(fwhm_cm1: ArrayLike) -> NDArray[np.float64]:
    """Width w of a squared sinc (first zero) from its full width at half maximum.

    Parameters
    ----------
    fwhm_cm1 : array_like
        cm-1.

    Returns
    -------
    ndarray
        cm-1.

    Examples
    --------
    >>> w = sinc_width(120.0)
    >>> round(float(sinc_squared(60.0 / w)), 6)
    0.5
    """
    return np.asarray(np.asarray(fwhm_cm1, dtype=np.float64) / (2.0 * _HALF_MAXIMUM))


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


def lobed_aotf_derivatives(
    offset_cm1: ArrayLike,
    width: float,
    side_lobes: float,
    asymmetry: float,
    pedestal: float,
    pedestal_sigma: float,
) -> LobedDerivatives:
    """Return the derivatives of `lobed_aotf`.

    The sinc has a double zero where the lobes begin, so all are continuous in x.

    Parameters
    ----------
    offset_cm1, width, side_lobes, asymmetry, pedestal, pedestal_sigma
        As in `lobed_aotf`.

    Returns
    -------
    LobedDerivatives

    Examples
    --------
    >>> found = lobed_aotf_derivatives(0.0, 20.0, 2.0, 1.2, 0.1, 50.0)
    >>> float(found.offset), float(found.pedestal)
    (0.0, 1.0)
    """
    x = np.asarray(offset_cm1, dtype=np.float64)
    u = x / width
    lobes = _lobes(x, width, side_lobes, asymmetry)
    slope, square = sinc_squared_slope(u) * lobes, sinc_squared(u)
    foot = np.exp(-(x**2) / (2.0 * pedestal_sigma**2))
    low, high = x <= -width, x > width
    return LobedDerivatives(
        offset=np.asarray(slope / width - pedestal * foot * x / pedestal_sigma**2),
        width=np.asarray(-slope * u / width),
        side_lobes=np.asarray(square * np.where(low, asymmetry, np.where(high, 1, 0))),
        asymmetry=np.asarray(square * np.where(low, side_lobes, 0.0)),
        pedestal=np.asarray(foot),
    )


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


def peaked_aotf_derivatives(
    offset_cm1: ArrayLike,
    sinc_height: float,
    sinc_width: float,
    gaussian_height: float,
    gaussian_width: float,
) -> PeakedDerivatives:
    """Return the derivatives of `peaked_aotf`.

    Parameters
    ----------
    offset_cm1, sinc_height, sinc_width, gaussian_height, gaussian_width
        As in `peaked_aotf`.

    Returns
    -------
    PeakedDerivatives

    Examples
    --------
    >>> float(peaked_aotf_derivatives(0.0, 0.6, 18.0, 0.4, 12.0).sinc_height)
    1.0
    """
    x = np.asarray(offset_cm1, dtype=np.float64)
    u, v = x / sinc_width, x / gaussian_width
    slope = sinc_height * sinc_squared_slope(u)
    bell = np.exp(-(v**2))
    return PeakedDerivatives(
        offset=np.asarray(
            slope / sinc_width - 2.0 * gaussian_height * bell * v / gaussian_width
        ),
        sinc_height=sinc_squared(u),
        sinc_width=np.asarray(-slope * u / sinc_width),
        gaussian_height=np.asarray(bell),
        gaussian_width=np.asarray(2.0 * gaussian_height * bell * v**2 / gaussian_width),
    )


class SampledAotf:
    """A filter known at distances from its centre, a cubic spline between them.

    The archive's calibration collection has such files for SO, from -150 to 150 cm-1.

    Parameters
    ----------
    offset_cm1, values : array_like, shape (sample,)
        Ascending distances x; transmission there, in any unit.

    Raises
    ------
    InstrumentError
        If the distances do not ascend or do not match the values, or a value is not
        finite.

    Examples
    --------
    >>> x = np.linspace(-150.0, 150.0, 3001)
    >>> found = SampledAotf(x, peaked_aotf(x, 0.6, 18.0, 0.4, 12.0))
    >>> round(float(found(3026.53, 3026.5)), 5)
    0.99999
    """

    def __init__(self, offset_cm1: ArrayLike, values: ArrayLike) -> None:
        from scipy.interpolate import CubicSpline

        x = np.asarray(offset_cm1, dtype=np.float64)
        y = np.asarray(values, dtype=np.float64)
        good = x.ndim == 1 and x.shape == y.shape and x.size > 1
        if not good or not (np.diff(x) > 0.0).all() or not np.isfinite(y).all():
            msg = "samples must be finite at ascending distances"
            raise InstrumentError(
                msg,
                field="offset_cm1",
                value=(x.shape, y.shape),
                rule="instrument.aotf_samples",
            )
        self._spline = CubicSpline(x, y, extrapolate=False)
        self._ends = (float(x[0]), float(x[-1]))

    def _at(
        self, wavenumber_cm1: ArrayLike, centre_cm1: float, order: int
    ) -> NDArray[np.float64]:
        x = np.asarray(wavenumber_cm1, dtype=np.float64) - centre_cm1
        low, high = self._ends
        outside = (x < low) | (x > high)
        if outside.any():
            msg = f"AOTF is sampled from {low:g} to {high:g} cm-1 only"
            raise InstrumentError(
                msg,
                field="wavenumber_cm1",
                value=float(x[outside].flat[0]),
                rule="instrument.aotf_range",
            )
        return np.asarray(self._spline(x, order))

    def __call__(
        self, wavenumber_cm1: ArrayLike, centre_cm1: float
    ) -> NDArray[np.float64]:
        """Return the transmission.

        Parameters
        ----------
        wavenumber_cm1 : array_like
            cm-1.
        centre_cm1 : float
            Centre of the filter, cm-1.

        Returns
        -------
        ndarray

        Raises
        ------
        InstrumentError
            If a wavenumber is beyond the samples.
        """
        return self._at(wavenumber_cm1, centre_cm1, 0)

    def centre_derivative(
        self, wavenumber_cm1: ArrayLike, centre_cm1: float
    ) -> NDArray[np.float64]:
        """Return the derivative of the transmission by the centre, 1/cm-1.

        Parameters
        ----------
        wavenumber_cm1, centre_cm1
            As in a call.

        Returns
        -------
        ndarray

        Raises
        ------
        InstrumentError
            If a wavenumber is beyond the samples.
        """
        return -self._at(wavenumber_cm1, centre_cm1, 1)
