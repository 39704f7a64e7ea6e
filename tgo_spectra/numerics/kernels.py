"""Compiled loops: products that are the same for any number of threads, B-splines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]
    Floats = NDArray[np.float64]

__all__ = ["multiply_in_blocks", "sum_spectra", "sum_splines"]

#: Columns treated together: a handful of such rows stays in the fastest cache.
COLUMNS = 512


@compiled()
def multiply_in_blocks(a: Array, b: Array, limit: int, out: Array) -> None:
    """Multiply a few rows of `a` at a time with `b`.

    Parameters
    ----------
    a, b : ndarray, shapes (row, inner), (inner, column)
        C-contiguous.
    limit : int
        Multiplications in one call of the library.
    out : ndarray, shape (row, column)
        Written.
    """
    pieces = 1 + a.shape[0] * b.size // limit
    rows = max(1, (a.shape[0] + pieces - 1) // pieces)
    for start in range(0, a.shape[0], rows):
        stop = min(start + rows, a.shape[0])
        np.dot(a[start:stop], b, out[start:stop])


@compiled()
def sum_spectra(weights: Array, basis: Array, out: Array) -> None:
    """Add weighted sums of few long spectra.

    Parameters
    ----------
    weights : ndarray, shape (row, term)
    basis : ndarray, shape (term, wavenumber)
    out : ndarray, shape (row, wavenumber)
        Added to.
    """
    terms = basis.shape[0]
    for start in range(0, basis.shape[1], COLUMNS):
        # slices of rows, not rows of a slice: only they are known to lie together
        stop = min(start + COLUMNS, basis.shape[1])
        for row in range(weights.shape[0]):
            target = out[row, start:stop]
            term = 0
            while term + 4 <= terms:
                w0, w1 = weights[row, term], weights[row, term + 1]
                w2, w3 = weights[row, term + 2], weights[row, term + 3]
                b0, b1 = basis[term, start:stop], basis[term + 1, start:stop]
                b2, b3 = basis[term + 2, start:stop], basis[term + 3, start:stop]
                for c in range(target.size):
                    target[c] += (w0 * b0[c] + w1 * b1[c]) + (w2 * b2[c] + w3 * b3[c])
                term += 4
            while term < terms:
                w0, b0 = weights[row, term], basis[term, start:stop]
                for c in range(target.size):
                    target[c] += w0 * b0[c]
                term += 1


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
