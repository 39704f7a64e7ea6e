"""Compiled loop that makes all fields of a fit in one pass over an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments.response.kernel import _multiply
from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["apply_model"]


@compiled()
def apply_model(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    data: NDArray[np.floating],
    lever: NDArray[np.floating],
    factors: NDArray[np.floating],
    limit: int,
    values: NDArray[np.floating],
    sparse: NDArray[np.floating],
    more: NDArray[np.floating],
    out: NDArray[np.floating],
    few: NDArray[np.floating],
    seen: NDArray[np.floating],
) -> None:
    """Make all fields of a fit in one pass over the blocks.

    Parameters
    ----------
    limits, node_low, node_high, offset, data : ndarray
        The operator: value, shift, curvature and perhaps more.
    lever : ndarray, shape (pixel, order)
        What the slope weighs the value by.
    factors : ndarray, shape (factor, node)
        As in `apply_products`; may be none.
    limit : int
        As in `apply_blocks`.
    values : ndarray, shape (node, column)
        The field.
    sparse : ndarray, shape (node, column)
        Some of its columns.
    more : ndarray, shape (node, other)
        Fields of which the value alone is wanted; may be none.
    out : ndarray, shape (3, pixel, column)
        Written: value, shift and slope of the field.
    few : ndarray, shape (1 + factor, pixel, column)
        Written: curvature of the sparse columns, value of the products.
    seen : ndarray, shape (pixel, other)
        Written: value of the other fields.
    """
    number, columns, narrow = factors.shape[0], values.shape[1], sparse.shape[1]
    others = more.shape[1]
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        rows, products = 2 * count, (1 + number) * count
        total = np.zeros((rows, columns), dtype=data.dtype)
        part = np.empty((rows, columns), dtype=data.dtype)
        total_few = np.zeros((products, narrow), dtype=data.dtype)
        part_few = np.empty((products, narrow), dtype=data.dtype)
        slope = np.zeros((count, columns), dtype=data.dtype)
        total_more = np.zeros((count, others), dtype=data.dtype)
        part_more = np.empty((count, others), dtype=data.dtype)
        for k in range(node_low.shape[1]):
            low, high = node_low[b, k], node_high[b, k]
            width = high - low
            start = offset[b, k]
            block = data[start : start + rows * width].reshape(rows, width)
            _multiply(block, values[low:high], limit, part)
            for row in range(rows):
                for c in range(columns):
                    total[row, c] += part[row, c]
            for local in range(count):
                weight = lever[limits[b] + local, k]
                for c in range(columns):
                    slope[local, c] += weight * part[local, c]
            if others:
                _multiply(block[:count], more[low:high], limit, part_more)
                for row in range(count):
                    for c in range(others):
                        total_more[row, c] += part_more[row, c]
            scaled = np.empty((products, width), dtype=data.dtype)
            after = start + rows * width
            for local in range(count):
                for i in range(width):
                    scaled[local, i] = data[after + local * width + i]
            for f in range(number):
                for local in range(count):
                    for i in range(width):
                        scaled[(f + 1) * count + local, i] = (
                            block[local, i] * factors[f, low + i]
                        )
            _multiply(scaled, sparse[low:high], limit, part_few)
            for row in range(products):
                for c in range(narrow):
                    total_few[row, c] += part_few[row, c]
        for local in range(count):
            out[2, limits[b] + local] = slope[local]
            seen[limits[b] + local] = total_more[local]
        for kind in range(2):
            for local in range(count):
                out[kind, limits[b] + local] = total[kind * count + local]
        for f in range(1 + number):
            for local in range(count):
                few[f, limits[b] + local] = total_few[f * count + local]
