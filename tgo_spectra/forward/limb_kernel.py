"""Compiled loop of the monochromatic limb Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["scaled_bands"]

BLOCK = 1024
"""Wavenumbers at once: their sums stay in the nearest cache."""


@compiled()
def scaled_bands(
    weights: Floats,
    first: Integers,
    inner: Integers,
    basis: Floats,
    factor: Floats,
    out: Floats,
) -> None:
    """Fill products of a banded matrix and spectra, times a factor.

    A level's hat meets those of few inner levels only: some terms instead of a product
    with all levels. Levels without weight are left as they are (zeros that nothing
    has touched take no memory).

    Parameters
    ----------
    weights : ndarray, shape (height, pair)
        Weights of pairs of a level and an inner level, level by level.
    first : ndarray, shape (level + 1,)
        First pair of each level, and the number of pairs.
    inner : ndarray, shape (pair,)
        Inner level of each pair.
    basis : ndarray, shape (inner, wavenumber)
        Spectra of the inner levels.
    factor : ndarray, shape (height, wavenumber)
        What everything is multiplied with.
    out : ndarray, shape (height, level, wavenumber)
        Zeros; written where there is weight.
    """
    nodes = basis.shape[1]
    for h in range(weights.shape[0]):
        for m in range(first.size - 1):
            last = first[m + 1] - 1
            if not weights[h, first[m] : last + 1].any():
                continue
            for start in range(0, nodes, BLOCK):
                stop = min(start + BLOCK, nodes)
                # three at a time, as there are where no level lies between
                for j in range(first[m], last + 1, 3):
                    i, k = min(j + 1, last), min(j + 2, last)
                    one = weights[h, j]
                    two = weights[h, i] if i == j + 1 else 0.0
                    three = weights[h, k] if k == j + 2 else 0.0
                    low, own, high = inner[j], inner[i], inner[k]
                    for v in range(start, stop):
                        total = one * basis[low, v] + two * basis[own, v]
                        out[h, m, v] += factor[h, v] * (total + three * basis[high, v])
