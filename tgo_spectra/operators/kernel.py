"""Compiled loops over the blocks of the instrument operator: fill them, apply them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "apply_blocks",
    "apply_products",
    "fill_blocks",
    "fill_directions",
    "normalise_blocks",
    "normalise_directions",
]


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
        As in `fill_blocks`.
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
        As in `fill_blocks`.
    limits, node_low, node_high, offset
        As in `fill_blocks`, with 1 + direction kinds of rows.
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


@compiled()
def _multiply(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    limit: int,
    out: NDArray[np.floating],
) -> None:
    """Multiply in blocks of rows that the library does in one thread."""
    pieces = 1 + a.shape[0] * b.size // limit
    rows = (a.shape[0] + pieces - 1) // pieces
    for start in range(0, a.shape[0], rows):
        stop = min(start + rows, a.shape[0])
        np.dot(a[start:stop], b, out[start:stop])


@compiled()
def apply_blocks(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: NDArray[np.floating],
    first_kind: int,
    limit: int,
    values: NDArray[np.floating],
    out: NDArray[np.floating],
) -> None:
    """Multiply all blocks with a field on the nodes.

    Parameters
    ----------
    limits, node_low, node_high, offset, data : ndarray
        The operator.
    first_kind : int
        First kind of rows to apply.
    limit : int
        Multiplications in one call of the linear algebra library, see
        `tgo_spectra.matrices`.
    values : ndarray, shape (node, column)
        C-contiguous, of the type of `data`.
    out : ndarray, shape (kind, pixel, column)
        Written; its length says how many kinds.
    """
    number, columns = out.shape[0], values.shape[1]
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        rows = number * count
        total = np.zeros((rows, columns), dtype=data.dtype)
        part = np.empty((rows, columns), dtype=data.dtype)
        for k in range(node_low.shape[1]):
            low, high = node_low[b, k], node_high[b, k]
            width = high - low
            start = offset[b, k] + first_kind * count * width
            block = data[start : start + rows * width].reshape(rows, width)
            _multiply(block, values[low:high], limit, part)
            total += part
        for kind in range(number):
            for local in range(count):
                out[kind, limits[b] + local] = total[kind * count + local]


@compiled()
def apply_products(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: NDArray[np.floating],
    factors: NDArray[np.floating],
    limit: int,
    values: NDArray[np.floating],
    out: NDArray[np.floating],
) -> None:
    """Multiply the first kind of rows with all products of factors and a field.

    The factors go into the blocks, which are small, not into the field.

    Parameters
    ----------
    limits, node_low, node_high, offset, data : ndarray
        The operator.
    factors : ndarray, shape (factor, node)
        C-contiguous, as `values`, and of the type of `data`.
    limit : int
        As in `apply_blocks`.
    values : ndarray, shape (node, column)
        The field.
    out : ndarray, shape (pixel, factor, column)
        Written.
    """
    number, columns = factors.shape[0], values.shape[1]
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        rows = number * count
        total = np.zeros((rows, columns), dtype=data.dtype)
        part = np.empty((rows, columns), dtype=data.dtype)
        for k in range(node_low.shape[1]):
            low, high = node_low[b, k], node_high[b, k]
            width = high - low
            scaled = np.empty((rows, width), dtype=data.dtype)
            for local in range(count):
                start = offset[b, k] + local * width
                entries = data[start : start + width]
                for f in range(number):
                    factor = factors[f, low:high]
                    target = scaled[local * number + f]
                    for i in range(width):
                        target[i] = entries[i] * factor[i]
            _multiply(scaled, values[low:high], limit, part)
            total += part
        for local in range(count):
            for f in range(number):
                out[limits[b] + local, f] = total[local * number + f]
