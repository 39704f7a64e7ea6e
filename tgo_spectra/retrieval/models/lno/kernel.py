"""Compiled loops over the runs of nodes that the pixels of a nadir model see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["apply_runs", "apply_runs_transposed"]


@compiled(fastmath=True)
def apply_runs(
    first_run: Integers,
    first_node: Integers,
    first_entry: Integers,
    entries: npt.NDArray[np.float32],
    offset: Floats,
    fields: Floats,
    out: Floats,
) -> None:
    """Apply the operator, moved by the offsets, to fields on the nodes.

    The sums of one pixel come in the same order whatever else is calculated, so that a
    spectrum has the same bits in any company.

    Parameters
    ----------
    first_run : ndarray of int, shape (pixel + 1,)
        Limits of the pixels in the runs.
    first_node : ndarray of int, shape (run,)
        Where the nodes of a run begin; they follow each other.
    first_entry : ndarray of int, shape (run + 1,)
        Limits of the runs in the entries.
    entries : ndarray of float32, shape (3, entry)
        Value, first and second derivative by wavenumber.
    offset : ndarray, shape (pixel,)
        Distance of each pixel from where the operator was made, cm-1.
    fields : ndarray, shape (field, node)
    out : ndarray, shape (field + 1, pixel)
        Added to: fields on the pixels, and the derivative of the first by wavenumber.
    """
    count = fields.shape[0]
    longest = 0
    for run in range(first_node.size):
        longest = max(longest, first_entry[run + 1] - first_entry[run])
    value, slope = np.empty(longest), np.empty(longest)
    for p in range(offset.size):
        d = offset[p]
        for run in range(first_run[p], first_run[p + 1]):
            start, node = first_entry[run], first_node[run]
            size = first_entry[run + 1] - start
            zeroth = entries[0, start : start + size]
            first = entries[1, start : start + size]
            second = entries[2, start : start + size]
            field = fields[0, node : node + size]
            total = 0.0
            for j in range(size):
                value[j] = zeroth[j] + d * (first[j] + 0.5 * d * second[j])
                slope[j] = first[j] + d * second[j]
                total += slope[j] * field[j]
            out[count, p] += total
            for c in range(count):
                field = fields[c, node : node + size]
                total = 0.0
                for j in range(size):
                    total += value[j] * field[j]
                out[c, p] += total


@compiled(fastmath=True)
def apply_runs_transposed(
    first_run: Integers,
    first_node: Integers,
    first_entry: Integers,
    entries: npt.NDArray[np.float32],
    offset: Floats,
    weight: Floats,
    out: Floats,
) -> None:
    """Apply the transpose of the operator, moved by the offsets, to weights of pixels.

    Parameters
    ----------
    first_run, first_node, first_entry, entries, offset
        As in `apply_runs`.
    weight : ndarray, shape (pixel,)
    out : ndarray, shape (node,)
        Added to.
    """
    for p in range(offset.size):
        d = offset[p]
        a, b, c = weight[p], weight[p] * d, 0.5 * weight[p] * d * d
        for run in range(first_run[p], first_run[p + 1]):
            start, node = first_entry[run], first_node[run]
            size = first_entry[run + 1] - start
            zeroth = entries[0, start : start + size]
            first = entries[1, start : start + size]
            second = entries[2, start : start + size]
            target = out[node : node + size]
            for j in range(size):
                target[j] += a * zeroth[j] + b * first[j] + c * second[j]
