"""Compiled loop of the monochromatic limb Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.accelerate import compiled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["scaled_bands"]


@compiled()
def scaled_bands(weights: Floats, basis: Floats, factor: Floats, out: Floats) -> None:
    """Fill products of a banded matrix and spectra, times a factor.

    A level's hat meets those of its neighbours only: three terms instead of a product
    with all levels. Levels without weight are left as they are (zeros that nothing
    has touched take no memory).

    Parameters
    ----------
    weights : ndarray, shape (height, level, 3)
        Weights of the level below, the level itself and the level above.
    basis : ndarray, shape (level, wavenumber)
        Spectra of the levels.
    factor : ndarray, shape (height, wavenumber)
        What everything is multiplied with.
    out : ndarray, shape (height, level, wavenumber)
        Written where there is weight.
    """
    heights, levels, _ = weights.shape
    for h in range(heights):
        for m in range(levels):
            below, own, above = weights[h, m, 0], weights[h, m, 1], weights[h, m, 2]
            if below == 0.0 and own == 0.0 and above == 0.0:
                continue
            low, high = max(m - 1, 0), min(m + 1, levels - 1)
            for v in range(basis.shape[1]):
                total = below * basis[low, v] + own * basis[m, v]
                out[h, m, v] = factor[h, v] * (total + above * basis[high, v])
