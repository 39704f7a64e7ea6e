"""Compiled expansion of the rows' Gram matrices to the profiles' levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.accelerate import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.int64]

__all__ = ["expand_rows"]


@compiled()
def _weigh(gram: Array, path: Array, out: Array) -> None:
    """Add products of a small matrix and a few long rows, ``gram @ path``."""
    terms = path.shape[0]
    for row in range(gram.shape[0]):
        target = out[row]
        term = 0
        while term + 4 <= terms:
            w0, w1 = gram[row, term], gram[row, term + 1]
            w2, w3 = gram[row, term + 2], gram[row, term + 3]
            p0, p1, p2, p3 = path[term], path[term + 1], path[term + 2], path[term + 3]
            for c in range(target.size):
                target[c] += (w0 * p0[c] + w1 * p1[c]) + (w2 * p2[c] + w3 * p3[c])
            term += 4
        while term < terms:
            w0, p0 = gram[row, term], path[term]
            for c in range(target.size):
                target[c] += w0 * p0[c]
            term += 1


@compiled()
def expand_rows(
    path: Array,
    gram: Array,
    tail: Array,
    spans: IntArray,
    starts: IntArray,
    tail_start: int,
    matrix: Array,
    gradient: Array,
) -> None:
    """Add what some rows say of the profiles' levels.

    Parameters
    ----------
    path : array, shape (row, field, level)
        Path weights of all gases' fields.
    gram : array, shape (row, field, field)
        Of the gases' fields, of the type of `path`.
    tail : array, shape (row, field, element)
        Products of the fields with the elements after the profiles and, last, with the
        residual; of the type of `path`.
    spans : array of int, shape (gas + 1,)
        Limits of the gases in the fields.
    starts : array of int, shape (gas,)
        State element of each gas's first level here.
    tail_start : int
        State element of the first of `tail`.
    matrix, gradient : array, shapes (state, state), (state,)
        Added to; of the matrix, the blocks above the diagonal.
    """
    rows, _, levels = path.shape
    elements = tail.shape[2] - 1
    for j in range(starts.size):
        f0, f1 = spans[j], spans[j + 1]
        theirs = starts[j]
        for i in range(j + 1):
            e0, e1 = spans[i], spans[i + 1]
            k = e1 - e0
            left = np.empty((rows * k, levels), dtype=path.dtype)
            right = np.zeros((rows * k, levels), dtype=path.dtype)
            for r in range(rows):
                left[r * k : (r + 1) * k] = path[r, e0:e1]
                _weigh(
                    gram[r, e0:e1, f0:f1], path[r, f0:f1], right[r * k : (r + 1) * k]
                )
            product = np.dot(left.T, right)
            mine = starts[i]
            for a in range(levels):
                for b in range(levels):
                    matrix[mine + a, theirs + b] += product[a, b]
            if i == j:
                small = np.empty((rows * k, elements + 1), dtype=path.dtype)
                for r in range(rows):
                    small[r * k : (r + 1) * k] = tail[r, f0:f1]
                seen = np.dot(left.T, small)
                for a in range(levels):
                    for b in range(elements):
                        matrix[theirs + a, tail_start + b] += seen[a, b]
                    gradient[theirs + a] += seen[a, elements]
