"""Compiled loops over the runs of nodes that the pixels of a nadir model see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["apply_runs", "apply_runs_transposed", "cut_runs"]


@compiled()
def cut_runs(
    limits: Integers,
    node_low: Integers,
    node_high: Integers,
    offset: Integers,
    kinds: int,
    data: Floats,
    first: int,
    stop: int,
    negligible: float,
    first_run: Integers,
    first_node: Integers,
    first_entry: Integers,
    entries: npt.NDArray[np.float32],
    unabsorbed: Floats,
) -> None:
    """Take value, shift and curvature of an operator as runs of nodes.

    Parameters
    ----------
    limits, node_low, node_high, offset, kinds, data
        The operator, its kinds of rows by number.
    first, stop : int
        Nodes of the table among all; the others are unabsorbed.
    negligible : float
        Entries at the ends of a run below this part of the pixel's largest are taken as
        unabsorbed.
    first_run, first_node, first_entry, entries
        Written, see `apply_runs`; long enough for all.
    unabsorbed : ndarray, shape (3, pixel)
        Added to.
    """
    run, entry = 0, 0
    for b in range(limits.size - 1):
        count = limits[b + 1] - limits[b]
        for p in range(limits[b], limits[b + 1]):
            largest = 0.0
            for k in range(node_low.shape[1]):
                width = node_high[b, k] - node_low[b, k]
                start = offset[b, k] + (p - limits[b]) * width
                for i in range(start, start + width):
                    largest = max(largest, data[i])
            first_run[p] = run
            for k in range(node_low.shape[1]):
                width = node_high[b, k] - node_low[b, k]
                start = offset[b, k] + (p - limits[b]) * width
                low = min(max(first - node_low[b, k], 0), width)
                high = max(min(stop - node_low[b, k], width), low)
                while low < high and data[start + low] <= negligible * largest:
                    low += 1
                while high > low and data[start + high - 1] <= negligible * largest:
                    high -= 1
                for kind in range(3):
                    at = start + kind * count * width
                    for i in range(low):
                        unabsorbed[kind, p] += data[at + i]
                    for i in range(high, width):
                        unabsorbed[kind, p] += data[at + i]
                    for i in range(low, high):
                        entries[kind, entry + i - low] = data[at + i]
                if high > low:
                    first_node[run] = node_low[b, k] + low - first
                    entry += high - low
                    run += 1
                    first_entry[run] = entry
    first_run[limits[-1]] = run


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
    value = np.empty(longest)
    for p in range(offset.size):
        d = offset[p]
        half = 0.5 * d * d
        for run in range(first_run[p], first_run[p + 1]):
            start, node = first_entry[run], first_node[run]
            size = first_entry[run + 1] - start
            zeroth = entries[0, start : start + size]
            first = entries[1, start : start + size]
            second = entries[2, start : start + size]
            f0 = fields[0, node : node + size]
            s0, s1, s2 = 0.0, 0.0, 0.0
            for j in range(size):
                value[j] = zeroth[j] + d * first[j] + half * second[j]
                s0 += value[j] * f0[j]
                s1 += (first[j] + d * second[j]) * f0[j]
            out[0, p] += s0
            out[count, p] += s1
            c = 1
            # three at a time: an entry is loaded once for them
            while c + 3 <= count:
                f0 = fields[c, node : node + size]
                f1 = fields[c + 1, node : node + size]
                f2 = fields[c + 2, node : node + size]
                s0, s1, s2 = 0.0, 0.0, 0.0
                for j in range(size):
                    s0 += value[j] * f0[j]
                    s1 += value[j] * f1[j]
                    s2 += value[j] * f2[j]
                out[c, p] += s0
                out[c + 1, p] += s1
                out[c + 2, p] += s2
                c += 3
            while c < count:
                f0 = fields[c, node : node + size]
                s0 = 0.0
                for j in range(size):
                    s0 += value[j] * f0[j]
                out[c, p] += s0
                c += 1


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
