"""Compiled loops that fill and normalise the blocks of the instrument operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["fill_blocks", "normalise_blocks"]


@compiled(fastmath=False)
def fill_blocks(
    centre: Floats,
    sigma: Floats,
    delta: Floats,
    area: Floats,
    scale: Floats,
    first: Integers,
    last: Integers,
    ghost: float,
    slope_centre: float,
    lowest: int,
    sample: Floats,
    aotf: Floats,
    matrix: Floats,
    starts: Integers,
    weight: Floats,
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: Floats,
    sums: Floats,
) -> None:
    """Write value, shift, curvature and slope entries, not normalised, and row sums.

    Parameters
    ----------
    centre, sigma, delta, area : ndarray, shape (pixel, order)
        Line centre, width, ghost displacement (cm-1), blaze over sigma.
    scale : ndarray, shape (order,)
        Order over nominal order: displacement per unit of common shift.
    first, last : ndarray of int, shape (pixel, order)
        Window in cells.
    ghost, slope_centre, lowest : float, float, int
        Ghost amplitude; reference of the slope; cell of the first sample row.
    sample, aotf : ndarray, shape (cell, sample)
        Wavenumbers in the cells and AOTF transmission there.
    matrix : ndarray, shape (moment, sample)
        From samples to Legendre coefficients.
    starts : ndarray of int, shape (cell + 1,)
        First node of each cell.
    weight : ndarray, shape (node, moment)
        Node weights.
    limits, node_low, node_high, offset : ndarray of int
        Layout of the blocks.
    data, sums : ndarray
        Written: entries; sums over nodes (pixel, order, kind).
    """
    moments, samples = matrix.shape
    coefficient = np.empty((4, moments))
    kernel = np.empty((4, samples))
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for k in range(scale.size):
            width = node_high[b, k] - node_low[b, k]
            for local in range(count):
                p = limits[b] + local
                base = offset[b, k] + local * width - node_low[b, k]
                inverse = 1.0 / sigma[p, k]
                for cell in range(first[p, k], last[p, k]):
                    row = cell - lowest
                    for q in range(samples):
                        nu = sample[row, q]
                        x = (nu - centre[p, k]) * inverse
                        y = x - delta[p, k] * inverse
                        main = np.exp(-0.5 * x * x)
                        side = ghost * np.exp(-0.5 * y * y)
                        factor = area[p, k] * aotf[row, q]
                        step = scale[k] * inverse
                        kernel[0, q] = factor * (main + side)
                        kernel[1, q] = factor * step * (x * main + y * side)
                        kernel[2, q] = (
                            factor
                            * step
                            * step
                            * ((x * x - 1.0) * main + (y * y - 1.0) * side)
                        )
                        kernel[3, q] = kernel[0, q] * (nu - slope_centre) / slope_centre
                    for kind in range(4):
                        for j in range(moments):
                            total = 0.0
                            for q in range(samples):
                                total += matrix[j, q] * kernel[kind, q]
                            coefficient[kind, j] = total
                    for node in range(starts[cell], starts[cell + 1]):
                        for kind in range(4):
                            total = 0.0
                            for j in range(moments):
                                total += coefficient[kind, j] * weight[node, j]
                            data[base + kind * count * width + node] = total
                            sums[p, k, kind] += total


@compiled()
def normalise_blocks(
    total: Floats,
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: Floats,
    out: NDArray[np.floating],
) -> None:
    """Divide by the row sums; the quotient rule for the derivatives.

    Parameters
    ----------
    total : ndarray, shape (pixel, kind)
        Row sums over all orders and their derivatives.
    limits, node_low, node_high, offset : ndarray of int
        Layout of the blocks.
    data : ndarray
        Entries before normalisation.
    out : ndarray
        Written: entries of the normalised operator.
    """
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for k in range(node_low.shape[1]):
            width = node_high[b, k] - node_low[b, k]
            stride = count * width
            for local in range(count):
                p = limits[b] + local
                one = 1.0 / total[p, 0]
                d1 = total[p, 1] * one
                d2 = total[p, 2] * one
                base = offset[b, k] + local * width
                for i in range(base, base + width):
                    value = data[i] * one
                    shift = data[i + stride] * one
                    curvature = data[i + 2 * stride] * one
                    out[i] = value
                    out[i + stride] = shift - value * d1
                    out[i + 2 * stride] = (
                        curvature
                        - 2.0 * shift * d1
                        - value * d2
                        + 2.0 * value * d1 * d1
                    )
                    out[i + 3 * stride] = data[i + 3 * stride] * one
