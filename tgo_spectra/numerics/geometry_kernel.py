"""Compiled sums of cubic B-splines over the points of fields of view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["sum_splines"]


@compiled()
def sum_splines(knots: Floats, points: Floats, weights: Floats, out: Floats) -> None:
    """Add the values of the cubic B-splines at the points of each row.

    The recursion of de Boor (1972, J. Approx. Theory 6, 50).

    Parameters
    ----------
    knots : ndarray, shape (spline + 4,)
    points : ndarray, shape (row, point)
        Within the fourth knot and the fourth from the end.
    weights : ndarray, shape (point,)
    out : ndarray, shape (row, spline)
        Added to.
    """
    last = knots.size - 5
    basis = np.empty(4)
    for row in range(points.shape[0]):
        for point in range(points.shape[1]):
            x = points[row, point]
            low = 3
            high = last + 1
            while high - low > 1:
                middle = (low + high) // 2
                if knots[middle] <= x:
                    low = middle
                else:
                    high = middle
            basis[0] = 1.0
            for degree in range(1, 4):
                saved = 0.0
                for r in range(degree):
                    right = knots[low + r + 1] - x
                    left = x - knots[low + 1 - degree + r]
                    part = basis[r] / (right + left)
                    basis[r] = saved + right * part
                    saved = left * part
                basis[degree] = saved
            for r in range(4):
                out[row, low - 3 + r] += weights[point] * basis[r]
