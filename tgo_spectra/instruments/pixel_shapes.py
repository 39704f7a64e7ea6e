"""Line shapes of all pixels of a detector, as an operator wants them.

A shape is any object of the protocol `PixelShape`: it says how far it reaches and gives
its value and derivatives at distances from the pixels' wavenumbers. `DoubletShape`
serves every channel; `SampledShape` takes a line shape measured or given as samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.line_shape import (
    REACH_SIGMA,
    doublet,
    doublet_derivatives,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["DoubletShape", "PixelShape", "SampledShape"]

# Height of the ends of a sampled shape over its maximum, at most.
END_HEIGHT = 1e-4
# Samples of a shape, at least.
_FEWEST_SAMPLES = 5


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


class SampledShape:
    """A line shape known at distances from the pixel, a cubic spline between them.

    Parameters
    ----------
    offset_cm1 : array_like, shape (sample,)
        Ascending distances nu - nu_pixel, cm-1.
    values : array_like, shape (sample,) or (pixel, sample)
        Line shape of all pixels, or of each, in any unit; it is brought to unit area
        and is the same in all orders.

    Raises
    ------
    InstrumentError
        If the samples are too few, not ascending, without area, or do not fall to
        1e-4 of the maximum at both ends.

    Examples
    --------
    >>> x = np.linspace(-0.6, 0.6, 121)
    >>> shape = SampledShape(x, np.exp(-0.5 * (x / 0.1) ** 2))
    >>> value, first, second = shape.sample(np.array([[0.0]]), slice(0, 1), 0)
    >>> round(float(value[0, 0]), 4), shape.parameters
    (3.9894, ())
    """

    def __init__(self, offset_cm1: ArrayLike, values: ArrayLike) -> None:
        from scipy.interpolate import CubicSpline

        x = np.asarray(offset_cm1, dtype=np.float64)
        y = np.atleast_2d(np.asarray(values, dtype=np.float64))
        ascending = x.ndim == 1 and x.size >= _FEWEST_SAMPLES
        if not ascending or not (np.diff(x) > 0.0).all() or y.shape[1:] != x.shape:
            msg = f"{_FEWEST_SAMPLES} or more ascending distances with values needed"
            raise InstrumentError(
                msg,
                field="offset_cm1",
                value=(x.shape, y.shape),
                rule="instrument.shape_samples",
            )
        ends = np.abs(y[:, [0, -1]]).max(axis=1) / y.max(axis=1)
        if not (ends <= END_HEIGHT).all():
            msg = f"line shape must fall to {END_HEIGHT:g} of its maximum at the ends"
            raise InstrumentError(
                msg,
                field="values",
                value=float(ends.max()),
                rule="instrument.shape_ends",
            )
        spline = CubicSpline(x, y, axis=1)
        area = np.asarray(spline.integrate(x[0], x[-1]))
        if not (area > 0.0).all():
            msg = "line shape must have a positive area"
            raise InstrumentError(
                msg,
                field="values",
                value=float(area.min()),
                rule="instrument.shape_area",
            )
        self._ends = (float(x[0]), float(x[-1]))
        self._x = x
        # (power, piece, pixel), highest power first
        self._pieces = np.asarray(spline.c) / area

    @property
    def parameters(self) -> tuple[str, ...]:
        """None: samples have no parameters."""
        return ()

    def reach(self, pixels: int, orders: int) -> tuple[Floats, Floats]:
        """Return the first and the last distance, each (pixel, order)."""
        low, high = self._ends
        return np.full((pixels, orders), low), np.full((pixels, orders), high)

    def sample(self, offset_cm1: Floats, rows: slice, column: int) -> list[Floats]:
        """Return value and derivatives by the pixel's wavenumber; zero beyond the ends.

        `column` (the order) does not matter.
        """
        del column
        last = self._x.size - 2
        piece = np.clip(np.searchsorted(self._x, offset_cm1, "right") - 1, 0, last)
        t = offset_cm1 - self._x[piece]
        number = self._pieces.shape[2]
        pixel = np.zeros(1, int) if number == 1 else np.arange(number)[rows]
        a, b, c, d = self._pieces[:, piece, pixel[:, None]]
        inside = (offset_cm1 >= self._ends[0]) & (offset_cm1 <= self._ends[1])
        value = ((a * t + b) * t + c) * t + d
        slope = (3.0 * a * t + 2.0 * b) * t + c
        bend = 6.0 * a * t + 2.0 * b
        return [np.where(inside, item, 0.0) for item in (value, -slope, bend)]
