"""Compiled loops over the blocks of the instrument operator: fill them, apply them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "apply_blocks",
    "apply_model",
    "apply_products",
    "apply_rows",
    "fill_blocks",
    "normalise_blocks",
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
    middle: Floats,
    cell_width: float,
    points: Floats,
    aotf: Floats,
    starts: Integers,
    mix: Floats,
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: Floats,
    sums: Floats,
) -> None:
    """Write the first one to four kinds of rows, not normalised, and row sums.

    The Gaussian is not evaluated at every sample: with a cell's middle at a and its
    samples at a + b, exp(-(a + b)^2 / 2) is the product of a term in a, one in b, and
    exp(-a b), which a constant factor takes from one cell to the next.

    Parameters
    ----------
    centre, sigma, delta, area : ndarray, shape (pixel, order)
        Line centre, width, ghost displacement (cm-1), blaze over sigma.
    scale : ndarray, shape (order,)
        Order over nominal order: displacement per unit of common shift.
    first, last : ndarray of int, shape (pixel, order)
        Window in cells.
    ghost, slope_centre, lowest : float, float, int
        Ghost amplitude; reference of the slope; cell of the first middle.
    middle : ndarray, shape (cell,)
        Middles of the cells, cm-1, ``cell_width`` apart.
    points : ndarray, shape (sample,)
        Samples in a cell, from -1 to 1.
    aotf : ndarray, shape (cell, sample)
        AOTF transmission there.
    starts : ndarray of int, shape (cell + 1,)
        First node of each cell.
    mix : ndarray, shape (node, sample)
        From the kernel's samples in a cell to the entries of its nodes.
    limits, node_low, node_high, offset : ndarray of int
        Layout of the blocks.
    data, sums : ndarray
        Written: entries; sums over nodes (pixel, order, kind). How many kinds, the
        last says.
    """
    samples, kinds = points.size, sums.shape[2]
    kernel = np.zeros((4, samples))
    inner = np.empty(samples)  # b
    spread = np.empty((2, samples))  # exp(-b^2 / 2 - a b), main peak and ghost
    onward = np.empty(samples)  # its change from cell to cell
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for k in range(scale.size):
            width = node_high[b, k] - node_low[b, k]
            stride = count * width
            for local in range(count):
                p = limits[b] + local
                base = offset[b, k] + local * width - node_low[b, k]
                inverse = 1.0 / sigma[p, k]
                apart = cell_width * inverse
                away = delta[p, k] * inverse
                start = (middle[first[p, k] - lowest] - centre[p, k]) * inverse
                for q in range(samples):
                    x = 0.5 * apart * points[q]
                    inner[q] = x
                    spread[0, q] = np.exp(-x * (0.5 * x + start))
                    spread[1, q] = np.exp(-x * (0.5 * x + start - away))
                    onward[q] = np.exp(-apart * x)
                step = scale[k] * inverse
                for cell in range(first[p, k], last[p, k]):
                    row = cell - lowest
                    a = start + (cell - first[p, k]) * apart
                    main = area[p, k] * np.exp(-0.5 * a * a)
                    side = area[p, k] * ghost * np.exp(-0.5 * (a - away) ** 2)
                    for q in range(samples):
                        x = a + inner[q]
                        y = x - away
                        one = main * spread[0, q] * aotf[row, q]
                        two = side * spread[1, q] * aotf[row, q]
                        kernel[0, q] = one + two
                        kernel[1, q] = step * (x * one + y * two)
                        kernel[2, q] = (
                            step * step * ((x * x - 1.0) * one + (y * y - 1.0) * two)
                        )
                        spread[0, q] *= onward[q]
                        spread[1, q] *= onward[q]
                    if kinds == 4:
                        for q in range(samples):
                            nu = middle[row] + 0.5 * cell_width * points[q]
                            kernel[3, q] = (
                                kernel[0, q] * (nu - slope_centre) / slope_centre
                            )
                    for node in range(starts[cell], starts[cell + 1]):
                        t0, t1, t2 = 0.0, 0.0, 0.0
                        for q in range(samples):
                            weight = mix[node, q]
                            t0 += weight * kernel[0, q]
                            t1 += weight * kernel[1, q]
                            t2 += weight * kernel[2, q]
                        at = base + node
                        data[at] = t0
                        sums[p, k, 0] += t0
                        if kinds > 1:
                            data[at + stride] = t1
                            sums[p, k, 1] += t1
                        if kinds > 2:
                            data[at + 2 * stride] = t2
                            sums[p, k, 2] += t2
                        if kinds > 3:
                            t3 = 0.0
                            for q in range(samples):
                                t3 += mix[node, q] * kernel[3, q]
                            data[at + 3 * stride] = t3
                            sums[p, k, 3] += t3


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
    kinds = total.shape[1]
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
                    out[i] = data[i] * one
                if kinds > 1:
                    d1 = total[p, 1] * one
                    for i in range(base, base + width):
                        value = data[i] * one
                        out[i + stride] = data[i + stride] * one - value * d1
                if kinds > 2:
                    d2 = total[p, 2] * one
                    for i in range(base, base + width):
                        value = data[i] * one
                        out[i + 2 * stride] = (
                            data[i + 2 * stride] * one
                            - 2.0 * (data[i + stride] * one) * d1
                            - value * d2
                            + 2.0 * value * d1 * d1
                        )
                if kinds > 3:
                    for i in range(base + 3 * stride, base + 3 * stride + width):
                        out[i] = data[i] * one


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
def _copy(values: NDArray[np.floating], out: NDArray[np.floating]) -> None:
    """Copy a row: an assignment to a slice takes seconds to compile."""
    for i in range(out.size):
        out[i] = values[i]


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
        `tgo_spectra.numerics.matrices`.
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
                _copy(total[kind * count + local], out[kind, limits[b] + local])


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
                _copy(total[local * number + f], out[limits[b] + local, f])


@compiled()
def apply_model(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: NDArray[np.floating],
    lever: NDArray[np.floating],
    near: NDArray[np.bool_],
    factors: NDArray[np.floating],
    limit: int,
    first: int,
    values: NDArray[np.floating],
    sparse: NDArray[np.floating],
    out: NDArray[np.floating],
    few: NDArray[np.floating],
) -> None:
    """Make all fields of a fit in one pass over the blocks.

    Parameters
    ----------
    limits, node_low, node_high, offset, data : ndarray
        The operator: value, shift, curvature and perhaps more.
    lever : ndarray, shape (pixel, order)
        What the slope weighs the value by.
    near : ndarray of bool, shape (block, order)
        Orders seen in all columns of the field; the others in the sparse ones.
    factors : ndarray, shape (factor, node)
        As in `apply_products`; may be none.
    limit : int
        As in `apply_blocks`.
    first : int
        First node of the field.
    values : ndarray, shape (near node, column)
        The field on the nodes of the near orders.
    sparse : ndarray, shape (node, column)
        Some of its columns, on all nodes.
    out : ndarray, shape (3, pixel, column)
        Written: value, shift and slope of the field, by the near orders.
    few : ndarray, shape (4 + factor, pixel, column)
        Added to: the same of the sparse columns, by the other orders; curvature of them
        and value of the products, by all orders.
    """
    number, columns, narrow = factors.shape[0], values.shape[1], sparse.shape[1]
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        total = np.zeros((2 * count, columns), dtype=data.dtype)
        part = np.empty((2 * count, columns), dtype=data.dtype)
        part_few = np.empty(((3 + number) * count, narrow), dtype=data.dtype)
        slope = np.zeros((count, columns), dtype=data.dtype)
        for k in range(node_low.shape[1]):
            low, high = node_low[b, k], node_high[b, k]
            width = high - low
            start = offset[b, k]
            block = data[start : start + 3 * count * width].reshape(3 * count, width)
            if near[b, k]:
                pair = block[: 2 * count]
                _multiply(pair, values[low - first : high - first], limit, part)
                for row in range(2 * count):
                    for c in range(columns):
                        total[row, c] += part[row, c]
                for local in range(count):
                    weight = lever[limits[b] + local, k]
                    for c in range(columns):
                        slope[local, c] += weight * part[local, c]
            # curvature and products; before them value and shift of a far order
            begin = 2 * count if near[b, k] else 0
            products = (3 + number) * count - begin
            scaled = np.empty((products, width), dtype=data.dtype)
            for row in range(begin, 3 * count):
                for i in range(width):
                    scaled[row - begin, i] = block[row, i]
            row = 3 * count - begin
            for f in range(number):
                for local in range(count):
                    for i in range(width):
                        scaled[row, i] = block[local, i] * factors[f, low + i]
                    row += 1
            found = part_few[:products]
            _multiply(scaled, sparse[low:high], limit, found)
            row = 0
            if begin == 0:
                for local in range(count):
                    weight = lever[limits[b] + local, k]
                    for c in range(narrow):
                        few[2, limits[b] + local, c] += weight * found[local, c]
                for kind in range(2):
                    for local in range(count):
                        for c in range(narrow):
                            few[kind, limits[b] + local, c] += found[row, c]
                        row += 1
            for f in range(1 + number):
                for local in range(count):
                    for c in range(narrow):
                        few[3 + f, limits[b] + local, c] += found[row, c]
                    row += 1
        for local in range(count):
            _copy(slope[local], out[2, limits[b] + local])
        for kind in range(2):
            for local in range(count):
                _copy(total[kind * count + local], out[kind, limits[b] + local])


@compiled()
def apply_rows(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: NDArray[np.floating],
    lever: NDArray[np.floating],
    limit: int,
    mean: NDArray[np.floating],
    change: NDArray[np.floating],
    four: NDArray[np.floating],
    gas: NDArray[np.floating],
) -> None:
    """Make all fields of a few spectra that are fitted each by itself.

    Parameters
    ----------
    limits, node_low, node_high, offset, data : ndarray
        The operator: value, shift and curvature.
    lever : ndarray, shape (pixel, order)
        What the slope weighs the value by.
    limit : int
        As in `apply_blocks`.
    mean : ndarray, shape (node, row)
        Transmittance.
    change : ndarray, shape (gas, node, row)
        Its derivatives.
    four : ndarray, shape (4, pixel, row)
        Added to: value, shift, curvature and slope of the first.
    gas : ndarray, shape (gas, pixel, row)
        Added to: value of the others.
    """
    rows = mean.shape[1]
    for b in range(limits.size - 1):
        first, count = limits[b], limits[b + 1] - limits[b]
        part = np.empty((3 * count, rows), dtype=data.dtype)
        for k in range(node_low.shape[1]):
            low, high = node_low[b, k], node_high[b, k]
            width, start = high - low, offset[b, k]
            block = data[start : start + 3 * count * width].reshape(3 * count, width)
            _multiply(block, mean[low:high], limit, part)
            for local in range(count):
                weight = lever[first + local, k]
                for r in range(rows):
                    four[3, first + local, r] += weight * part[local, r]
            for kind in range(3):
                for local in range(count):
                    for r in range(rows):
                        four[kind, first + local, r] += part[kind * count + local, r]
            for g in range(change.shape[0]):
                _multiply(block[:count], change[g, low:high], limit, part[:count])
                for local in range(count):
                    for r in range(rows):
                        gas[g, first + local, r] += part[local, r]
