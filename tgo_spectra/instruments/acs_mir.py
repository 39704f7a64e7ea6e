"""ACS MIR: the line shape of its double image, in the seven parameters of the team.

A cross-dispersed echelle without AOTF: no orders are added. Each line has a second
image beside it (Alday et al. 2019). Wavenumbers come with the product; which orders lie
at which position of the secondary grating is not in this package (*to be verified*;
Korablev et al. 2018, see ``instruments.toml``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.line_shape import (
    FWHM_PER_SIGMA,
    REACH_SIGMA,
    doublet,
    doublet_derivatives,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "DoubleImage",
    "ImageShape",
    "PixelLine",
    "line_shape",
    "line_shape_derivatives",
]

_SEVEN = (
    "shift_low",
    "shift_middle",
    "shift_high",
    "second_shift",
    "fwhm_low",
    "amplitude_low",
    "amplitude_high",
)


class PixelLine(NamedTuple):
    """Parameters of the line at each pixel.

    Attributes
    ----------
    shift, sigma, delta, amplitude : ndarray
        Distance of the main Gaussian from the pixel's wavenumber, standard deviation,
        distance of the second Gaussian from the main one (cm-1), its amplitude.
    """

    shift: NDArray[np.float64]
    sigma: NDArray[np.float64]
    delta: NDArray[np.float64]
    amplitude: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DoubleImage:
    """The seven parameters of the line shape, over one window of wavenumbers.

    No default is given: they are fitted for each observation and order.

    Attributes
    ----------
    low_cm1, middle_cm1, high_cm1 : float
        Window, and where the shift has its corner, cm-1.
    shift_low, shift_middle, shift_high : float
        Shift of the main Gaussian there, linear between, cm-1.
    second_shift : float
        Distance of the second Gaussian from the main one, cm-1.
    fwhm_low : float
        Full width at half maximum of each Gaussian at ``low_cm1``; it goes as the
        square of the wavenumber, i.e. is constant in wavelength. cm-1.
    amplitude_low, amplitude_high : float
        Height of the second Gaussian over that of the main one at the ends, linear
        between.
    """

    low_cm1: float
    middle_cm1: float
    high_cm1: float
    shift_low: float
    shift_middle: float
    shift_high: float
    second_shift: float
    fwhm_low: float
    amplitude_low: float
    amplitude_high: float

    def __post_init__(self) -> None:
        if not self.low_cm1 < self.middle_cm1 < self.high_cm1:
            msg = "window must have low < middle < high"
            raise InstrumentError(
                msg,
                field="middle_cm1",
                value=(self.low_cm1, self.middle_cm1, self.high_cm1),
                rule="instrument.window",
            )
        if not self.fwhm_low > 0.0:
            msg = "width must be positive"
            raise InstrumentError(
                msg,
                field="fwhm_low",
                value=self.fwhm_low,
                rule="instrument.fwhm_positive",
            )
        if min(self.amplitude_low, self.amplitude_high) < 0.0:
            msg = "amplitudes of the second Gaussian must not be negative"
            raise InstrumentError(
                msg,
                field="amplitude_low",
                value=(self.amplitude_low, self.amplitude_high),
                rule="instrument.amplitude",
            )

    def at(self, wavenumber_cm1: ArrayLike) -> PixelLine:
        """Return the parameters of the line at pixels.

        Parameters
        ----------
        wavenumber_cm1 : array_like
            Of the pixels, cm-1; beyond the window the last line goes on.

        Returns
        -------
        PixelLine
        """
        nu = np.asarray(wavenumber_cm1, dtype=np.float64)
        low, middle, high = _hats(self, nu)
        end = _end(self, nu)
        sigma = self.fwhm_low / FWHM_PER_SIGMA * (nu / self.low_cm1) ** 2
        shift = low * self.shift_low + middle * self.shift_middle
        return PixelLine(
            shift=np.asarray(shift + high * self.shift_high),
            sigma=np.asarray(sigma),
            delta=np.full(nu.shape, self.second_shift),
            amplitude=np.asarray(
                (1.0 - end) * self.amplitude_low + end * self.amplitude_high
            ),
        )


def _hats(
    image: DoubleImage, nu: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Weights of the three shifts at a wavenumber; they add to one."""
    left = (nu - image.low_cm1) / (image.middle_cm1 - image.low_cm1)
    right = (nu - image.middle_cm1) / (image.high_cm1 - image.middle_cm1)
    below = nu < image.middle_cm1
    return (
        np.where(below, 1.0 - left, 0.0),
        np.where(below, left, 1.0 - right),
        np.where(below, 0.0, right),
    )


def _end(image: DoubleImage, nu: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((nu - image.low_cm1) / (image.high_cm1 - image.low_cm1))


def line_shape(
    offset_cm1: ArrayLike, wavenumber_cm1: ArrayLike, image: DoubleImage
) -> NDArray[np.float64]:
    """Line shape of ACS MIR pixels, of unit area.

    Parameters
    ----------
    offset_cm1 : array_like
        Distance nu - nu_pixel, cm-1.
    wavenumber_cm1 : array_like
        Of the pixel, cm-1; broadcast.
    image : DoubleImage
        The seven parameters.

    Returns
    -------
    ndarray
        cm.

    Examples
    --------
    >>> image = DoubleImage(2990, 3000, 3010, 0, 0, 0, -0.1, 0.1, 0.4, 0.6)
    >>> main, second = line_shape([0.0, -0.1], 3000.0, image)
    >>> bool(main > second > 0.0)
    True
    """
    line = image.at(wavenumber_cm1)
    x = np.asarray(offset_cm1, dtype=np.float64) - line.shift
    return doublet(x, line.sigma, line.delta, line.amplitude)


def line_shape_derivatives(
    offset_cm1: ArrayLike, wavenumber_cm1: ArrayLike, image: DoubleImage
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `line_shape` by the seven parameters.

    Parameters
    ----------
    offset_cm1, wavenumber_cm1, image
        As there.

    Returns
    -------
    dict of str to ndarray
        By the names of `DoubleImage` without the window.

    Examples
    --------
    >>> image = DoubleImage(2990, 3000, 3010, 0, 0, 0, -0.1, 0.1, 0.4, 0.6)
    >>> len(line_shape_derivatives(0.05, 3000.0, image))
    7
    """
    nu = np.asarray(wavenumber_cm1, dtype=np.float64)
    line = image.at(nu)
    x = np.asarray(offset_cm1, dtype=np.float64) - line.shift
    part = doublet_derivatives(x, line.sigma, line.delta, line.amplitude)
    low, middle, high = _hats(image, nu)
    end = _end(image, nu)
    return {
        "shift_low": part.centre * low,
        "shift_middle": part.centre * middle,
        "shift_high": part.centre * high,
        "second_shift": part.delta,
        "fwhm_low": part.sigma * line.sigma / image.fwhm_low,
        "amplitude_low": part.amplitude * (1.0 - end),
        "amplitude_high": part.amplitude * end,
    }


@dataclass(frozen=True)
class ImageShape:
    """Line shapes of all pixels, with the derivatives by the seven parameters.

    A `tgo_spectra.instruments.line_shape.PixelShape` of one order.

    Attributes
    ----------
    image : DoubleImage
        The seven parameters.
    wavenumber_cm1 : array_like, shape (pixel,)
        Of the pixels, cm-1.
    """

    image: DoubleImage
    wavenumber_cm1: ArrayLike

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the seven parameters, as in `DoubleImage`."""
        return _SEVEN

    def reach(
        self, pixels: int, orders: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lowest and highest distance, cm-1, each (pixel, order)."""
        line = self.image.at(np.reshape(self.wavenumber_cm1, (-1, 1)))
        margin = REACH_SIGMA * line.sigma
        low = line.shift + np.minimum(line.delta, 0.0) - margin
        high = line.shift + np.maximum(line.delta, 0.0) + margin
        shape = (pixels, orders)
        return np.broadcast_to(low, shape), np.broadcast_to(high, shape)

    def sample(
        self, offset_cm1: NDArray[np.float64], rows: slice, column: int
    ) -> list[NDArray[np.float64]]:
        """Return value, derivatives by the wavenumber and by the seven parameters.

        `column` (the order) does not matter.
        """
        del column
        nu = np.reshape(self.wavenumber_cm1, (-1, 1))[rows]
        line = self.image.at(nu)
        x = offset_cm1 - line.shift
        part = doublet_derivatives(x, line.sigma, line.delta, line.amplitude)
        value = doublet(x, line.sigma, line.delta, line.amplitude)
        by = line_shape_derivatives(offset_cm1, nu, self.image)
        return [value, part.centre, part.centre_twice, *(by[name] for name in _SEVEN)]
