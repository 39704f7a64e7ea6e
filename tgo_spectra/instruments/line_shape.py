"""Line shapes of unit area on plain arrays, with their derivatives.

A line shape is a function of the distance x = nu - nu_pixel in cm-1 (or nm). The
`doublet` is a Gaussian and a second one of the same width, displaced and weaker: the
ghost of NOMAD SO, the double image of ACS MIR. With amplitude 0 it is a Gaussian.
An operator takes the shapes of all pixels of a detector as any object of the protocol
`PixelShape`, which says how far it reaches and gives its value and derivatives at
distances from the pixels' wavenumbers; `DoubletShape` serves every channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from tgo_spectra.errors import InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "FWHM_PER_SIGMA",
    "REACH_SIGMA",
    "DoubletDerivatives",
    "DoubletShape",
    "PixelShape",
    "doublet",
    "doublet_derivatives",
    "gaussian",
    "resolving_power_sigma",
]

#: Full width at half maximum of a Gaussian over its standard deviation, 1.
FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))

#: Reach of a Gaussian in sigma, 1: 3e-7 of its height is left out there.
REACH_SIGMA = 5.5


class DoubletDerivatives(NamedTuple):
    """What `doublet_derivatives` returns, each of the broadcast shape of the arguments.

    Attributes
    ----------
    centre : ndarray
        By the wavenumber of the pixel: minus that by x.
    centre_twice : ndarray
        The second derivative by the same.
    sigma, delta, amplitude : ndarray
        By width, displacement of the second Gaussian (both cm-1) and its amplitude.
    """

    centre: NDArray[np.float64]
    centre_twice: NDArray[np.float64]
    sigma: NDArray[np.float64]
    delta: NDArray[np.float64]
    amplitude: NDArray[np.float64]


def _positive(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    good = np.isfinite(array) & (array > 0.0)
    if not good.all():
        msg = f"{name} must be positive and finite"
        worst = float(array[~good].flat[0])
        raise InstrumentError(
            msg, field=name, value=worst, rule=f"instrument.{name}_positive"
        )
    return array


def resolving_power_sigma(
    wavenumber_cm1: ArrayLike, resolving_power: ArrayLike
) -> NDArray[np.float64]:
    """Return the standard deviation of a Gaussian from the resolving power nu / FWHM.

    Parameters
    ----------
    wavenumber_cm1, resolving_power : array_like
        cm-1; 1; broadcast.

    Returns
    -------
    ndarray
        cm-1.

    Raises
    ------
    InstrumentError
        If the resolving power is not positive.

    Examples
    --------
    >>> round(float(resolving_power_sigma(3000.0, 10000.0)), 5)
    0.1274
    """
    power = _positive("resolving_power", resolving_power)
    nu = np.asarray(wavenumber_cm1, dtype=np.float64)
    return np.asarray(nu / (power * FWHM_PER_SIGMA))


def gaussian(offset: ArrayLike, sigma: ArrayLike) -> NDArray[np.float64]:
    """Gaussian of unit area.

    Parameters
    ----------
    offset, sigma : array_like
        Distance from the centre, standard deviation, in the same unit; broadcast.

    Returns
    -------
    ndarray
        Per that unit.

    Raises
    ------
    InstrumentError
        If the width is not positive.

    Examples
    --------
    >>> round(float(gaussian(0.0, 1.0)), 6)
    0.398942
    """
    width = _positive("sigma", sigma)
    x = np.asarray(offset, dtype=np.float64) / width
    return np.asarray(np.exp(-0.5 * x * x) / (width * np.sqrt(2.0 * np.pi)))


def doublet(
    offset: ArrayLike, sigma: ArrayLike, delta: ArrayLike, amplitude: ArrayLike
) -> NDArray[np.float64]:
    """Two Gaussians of the same width, of unit area together.

    ``[G(x) + A G(x - delta)] / (1 + A)`` with G of unit area: the second one lies at
    higher wavenumber for a positive displacement.

    Parameters
    ----------
    offset : array_like
        Distance x from the pixel's wavenumber, cm-1.
    sigma, delta : array_like
        Standard deviation, displacement of the second Gaussian, cm-1.
    amplitude : array_like
        Its height over that of the first, 1. All broadcast.

    Returns
    -------
    ndarray
        cm.

    Raises
    ------
    InstrumentError
        If the width is not positive.

    Examples
    --------
    >>> one = doublet(0.1, 0.08, 0.16, 0.27)
    >>> round(float(one), 4)
    2.598
    >>> float(doublet(0.1, 0.08, 0.16, 0.0)) == float(gaussian(0.1, 0.08))
    True
    """
    a = np.asarray(amplitude, dtype=np.float64)
    x = np.asarray(offset, dtype=np.float64)
    second = a * gaussian(x - np.asarray(delta, dtype=np.float64), sigma)
    return np.asarray((gaussian(x, sigma) + second) / (1.0 + a))


def doublet_derivatives(
    offset: ArrayLike, sigma: ArrayLike, delta: ArrayLike, amplitude: ArrayLike
) -> DoubletDerivatives:
    """Return the derivatives of `doublet` by what a fit may vary.

    Parameters
    ----------
    offset, sigma, delta, amplitude : array_like
        As in `doublet`.

    Returns
    -------
    DoubletDerivatives

    Raises
    ------
    InstrumentError
        If the width is not positive.

    Examples
    --------
    >>> found = doublet_derivatives(0.0, 0.1, 0.0, 0.0)
    >>> float(found.centre), round(float(found.sigma), 4)
    (0.0, -39.8942)
    """
    width = _positive("sigma", sigma)
    a = np.asarray(amplitude, dtype=np.float64)
    first = np.asarray(offset, dtype=np.float64)
    second = first - np.asarray(delta, dtype=np.float64)
    norm = 1.0 / (1.0 + a)
    main, side = gaussian(first, width), gaussian(second, width)
    x, y = first / width, second / width
    # by the centre: dG/dcentre = x G / sigma, since x falls as the centre rises
    slope_side = a * y * side * norm / width
    centre = x * main * norm / width + slope_side
    twice = ((x * x - 1.0) * main + a * (y * y - 1.0) * side) * norm / width**2
    by_sigma = twice * width
    by_amplitude = (side - main) * norm**2
    parts = np.broadcast_arrays(centre, twice, by_sigma, slope_side, by_amplitude)
    return DoubletDerivatives(*(np.array(part) for part in parts))


class PixelShape(Protocol):
    """Line shapes of pixels (rows) in orders (columns).

    Attributes
    ----------
    parameters : tuple of str
        Names of the derivatives that `sample` adds to value, shift and curvature.
    """

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters whose derivatives `sample` gives."""
        ...

    def reach(self, pixels: int, orders: int) -> tuple[Floats, Floats]:
        """Return lowest and highest distance, cm-1, each (pixel, order)."""
        ...

    def sample(self, offset_cm1: Floats, rows: slice, column: int) -> list[Floats]:
        """Return arrays of the shape of `offset_cm1`, (row, sample).

        Value (unit area), first and second derivative by the pixel's wavenumber, then
        those by `parameters`.
        """
        ...


def _table(name: str, values: ArrayLike) -> Floats:
    """Parameter as (pixel, order), either of which may be one."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim > 2 or not np.isfinite(array).all():
        msg = f"{name} must be finite numbers of shape (pixel,) or (pixel, order)"
        raise InstrumentError(
            msg, field=name, value=array.shape, rule="instrument.shape_parameter"
        )
    if array.ndim == 2:
        return array
    return array.reshape(-1, 1)


def _part(array: Floats, rows: slice, column: int) -> Floats:
    """Rows of a (pixel, order) parameter as a column for broadcasting."""
    chosen = array[:, min(column, array.shape[1] - 1)]
    return (chosen if chosen.size == 1 else chosen[rows])[:, None]


@dataclass(frozen=True)
class DoubletShape:
    """A Gaussian, or two of the same width: see `line_shape.doublet`.

    Attributes
    ----------
    sigma_cm1 : array_like, shape (), (pixel,) or (pixel, order)
        Standard deviation.
    delta_cm1, amplitude : array_like
        Displacement and relative height of the second Gaussian, of such shapes; by
        default there is none.
    shift_cm1 : array_like
        Distance of the main Gaussian from the pixel's wavenumber, by default 0.
    """

    sigma_cm1: ArrayLike
    delta_cm1: ArrayLike = 0.0
    amplitude: ArrayLike = 0.0
    shift_cm1: ArrayLike = 0.0

    def __post_init__(self) -> None:
        for name in ("sigma_cm1", "delta_cm1", "amplitude", "shift_cm1"):
            object.__setattr__(self, name, _table(name, getattr(self, name)))
        sigma = np.asarray(self.sigma_cm1)
        if not (sigma > 0.0).all():
            msg = "widths must be positive"
            raise InstrumentError(
                msg,
                field="sigma_cm1",
                value=float(sigma.min()),
                rule="instrument.sigma_positive",
            )

    @property
    def parameters(self) -> tuple[str, ...]:
        """``width`` (relative), and with a second Gaussian ``delta``, ``amplitude``."""
        single = not np.any(self.amplitude) and not np.any(self.delta_cm1)
        return ("width",) if single else ("width", "delta", "amplitude")

    def reach(self, pixels: int, orders: int) -> tuple[Floats, Floats]:
        """Return lowest and highest distance, cm-1, each (pixel, order)."""
        shift, delta = np.asarray(self.shift_cm1), np.asarray(self.delta_cm1)
        margin = REACH_SIGMA * np.asarray(self.sigma_cm1)
        low = shift + np.minimum(delta, 0.0) - margin
        high = shift + np.maximum(delta, 0.0) + margin
        shape = (pixels, orders)
        return np.broadcast_to(low, shape), np.broadcast_to(high, shape)

    def sample(self, offset_cm1: Floats, rows: slice, column: int) -> list[Floats]:
        """Return value, derivatives by the pixel's wavenumber and by `parameters`.

        ``width`` is the logarithm of sigma, ``delta`` in cm-1.
        """
        names = ("shift_cm1", "sigma_cm1", "delta_cm1", "amplitude")
        shift, sigma, delta, amplitude = (
            _part(np.asarray(getattr(self, name)), rows, column) for name in names
        )
        x = offset_cm1 - shift
        part = doublet_derivatives(x, sigma, delta, amplitude)
        found = [doublet(x, sigma, delta, amplitude), part.centre, part.centre_twice]
        extra = [part.sigma * sigma, part.delta, part.amplitude]
        return found + extra[: len(self.parameters)]
