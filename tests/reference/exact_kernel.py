"""Compiled loops of the exact operator: fill its blocks, normalise them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


@compiled()
def fill_directions(
    centre: Floats,
    sigma: Floats,
    delta: Floats,
    area: Floats,
    ghost: float,
    aotf: Floats,
    centre_slope: Floats,
    sigma_slope: Floats,
    delta_slope: Floats,
    area_slope: Floats,
    ghost_slope: Floats,
    aotf_slope: Floats,
    first: Integers,
    last: Integers,
    lowest: int,
    sample: Floats,
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
    """Write the value and its derivatives along directions of the parameters.

    Parameters
    ----------
    centre, sigma, delta, area : ndarray, shape (pixel, order)
        Line centre, width, ghost displacement (cm-1), blaze over sigma.
    ghost : float
        Ghost amplitude.
    aotf : ndarray, shape (cell, sample)
        AOTF transmission.
    centre_slope, sigma_slope, delta_slope, area_slope : ndarray
        Shape (direction, pixel, order).
        Derivatives of the parameters along each direction.
    ghost_slope : ndarray, shape (direction,)
        Of the ghost amplitude.
    aotf_slope : ndarray, shape (direction, cell, sample)
        Of the AOTF transmission.
    first, last, lowest, sample, matrix, starts, weight
        As in `tgo_spectra.instruments.response.kernel.fill_blocks`.
    limits, node_low, node_high, offset
        Layout of the blocks, with 1 + direction kinds of rows.
    data, sums : ndarray
        Written: entries, not normalised; sums over nodes (pixel, order, kind).
    """
    moments, samples = matrix.shape
    directions = ghost_slope.size
    coefficient = np.empty((directions + 1, moments))
    kernel = np.empty((directions + 1, samples))
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for k in range(centre.shape[1]):
            width = node_high[b, k] - node_low[b, k]
            for local in range(count):
                p = limits[b] + local
                base = offset[b, k] + local * width - node_low[b, k]
                inverse = 1.0 / sigma[p, k]
                for cell in range(first[p, k], last[p, k]):
                    row = cell - lowest
                    for q in range(samples):
                        x = (sample[row, q] - centre[p, k]) * inverse
                        y = x - delta[p, k] * inverse
                        main = np.exp(-0.5 * x * x)
                        side = np.exp(-0.5 * y * y)
                        shape = main + ghost * side
                        kernel[0, q] = area[p, k] * aotf[row, q] * shape
                        for d in range(directions):
                            wider = sigma_slope[d, p, k]
                            moved = centre_slope[d, p, k]
                            change = ghost_slope[d] * side
                            change += main * x * (moved + x * wider) * inverse
                            moved += delta_slope[d, p, k]
                            change += ghost * side * y * (moved + y * wider) * inverse
                            kernel[d + 1, q] = (
                                area_slope[d, p, k] * aotf[row, q] * shape
                                + area[p, k] * aotf_slope[d, row, q] * shape
                                + area[p, k] * aotf[row, q] * change
                            )
                    for kind in range(directions + 1):
                        for j in range(moments):
                            total = 0.0
                            for q in range(samples):
                                total += matrix[j, q] * kernel[kind, q]
                            coefficient[kind, j] = total
                    for node in range(starts[cell], starts[cell + 1]):
                        for kind in range(directions + 1):
                            total = 0.0
                            for j in range(moments):
                                total += coefficient[kind, j] * weight[node, j]
                            data[base + kind * count * width + node] = total
                            sums[p, k, kind] += total


@compiled()
def normalise_directions(
    total: Floats,
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: Floats,
) -> None:
    """Divide by the row sums in place; first derivatives by the quotient rule.

    Parameters
    ----------
    total : ndarray, shape (pixel, 1 + direction)
        Row sums over all orders and their derivatives.
    limits, node_low, node_high, offset : ndarray of int
        Layout of the blocks.
    data : ndarray
        Entries, overwritten.
    """
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for k in range(node_low.shape[1]):
            width = node_high[b, k] - node_low[b, k]
            stride = count * width
            for local in range(count):
                p = limits[b] + local
                one = 1.0 / total[p, 0]
                base = offset[b, k] + local * width
                for i in range(base, base + width):
                    value = data[i] * one
                    data[i] = value
                    for d in range(1, total.shape[1]):
                        at = i + d * stride
                        data[at] = (data[at] - value * total[p, d]) * one
