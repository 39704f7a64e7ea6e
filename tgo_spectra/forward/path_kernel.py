"""Compiled sums over the points of a line of sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["exponentiate", "through_hats"]

_LOG2_E = np.float32(1.4426950408889634)
#: ln 2 in two parts; products of the first with small integers are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(0.6931471805599453 - 0.693359375)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
#: Taylor series of exp(r) - 1, |r| < 0.35, from r^2 on: the next term is 5e-9.
_C2, _C3, _C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
_C5, _C6, _C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)
_CHUNK = 4096


@compiled()
def through_hats(
    coefficients: Floats,
    air: Floats,
    lower: Integers,
    below: Floats,
    above: Floats,
    out: Floats,
) -> None:
    """Sum coefficients times columns of air under the hat of each level.

    Parameters
    ----------
    coefficients : ndarray, shape (rank, point)
    air : ndarray, shape (height, point)
        Slant column of air at each point; zero below the tangent height.
    lower : ndarray of int, shape (point,)
        The lower of the two levels that see a point.
    below, above : ndarray, shape (point,)
        How much of the point that level and the one above it see.
    out : ndarray, shape (rank, height, level)
        Added to.
    """
    for height in range(air.shape[0]):
        for point in range(air.shape[1]):
            column = air[height, point]
            if column == 0.0:
                continue
            level = lower[point]
            low, high = column * below[point], column * above[point]
            for rank in range(coefficients.shape[0]):
                out[rank, height, level] += coefficients[rank, point] * low
                out[rank, height, level + 1] += coefficients[rank, point] * high


@compiled()
def exponentiate(values: NDArray[np.float32]) -> None:
    """Replace single precision numbers by their exponentials: good to 1e-7.

    Twice as fast as numpy's on processors without wide vectors, since the whole loop
    stays in vector registers. Below -87 the result is that of -87 (1.6e-38).

    Parameters
    ----------
    values : ndarray of float32, shape (number,)
    """
    power = np.empty(_CHUNK, dtype=np.int32)
    scale = power.view(np.float32)
    for start in range(0, values.size, _CHUNK):
        part = values[start : start + _CHUNK]
        for i in range(part.size):
            x = min(max(part[i], _LOWEST), _HIGHEST)
            whole = np.int32(np.floor(x * _LOG2_E + _HALF))
            turns = np.float32(whole)
            r = (x - turns * _LN2_HIGH) - turns * _LN2_LOW
            series = _C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))
            part[i] = _ONE + r * (_ONE + r * series)
            power[i] = (whole + np.int32(127)) << np.int32(23)  # 2^whole as its bits
        for i in range(part.size):
            part[i] *= scale[i]
