"""Line shapes of all pixels of a detector, as an operator wants them.

A shape is any object of the protocol `PixelShape`: it says how far it reaches and gives
its value and derivatives at distances from the pixels' wavenumbers. `DoubletShape`
serves every channel.
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

__all__ = ["DoubletShape", "PixelShape"]


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
