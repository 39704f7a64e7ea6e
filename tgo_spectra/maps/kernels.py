"""Compiled loops of a map: samples put in order of their cells, then summed.

A loop that adds each sample where its cell is visits memory at random to read and to
write, eight times as much as a sample holds. In order of cells the sums of one stay in
registers and are written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled, prange

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Places = npt.NDArray[np.int32]

__all__ = ["add_samples", "add_sums", "order_of"]

_SUMS = 27  # of `tgo_spectra.maps.sums.SUMS`; the loops unroll over a constant
_COLUMNS = 18  # of its samples
_AT_ONCE = 64
"""Samples that are brought together before they are summed: 9 kB."""


@compiled()
def order_of(cell: Integers, ends: Places, order: Places) -> None:
    """Put samples in order of their cells; of one cell they stay in their own.

    Parameters
    ----------
    cell : array, shape (sample,)
    ends : array, shape (cell of the grid + 1,)
        Zeros; changed into the places in `order` where the samples of a cell end, after
        a leading zero.
    order : array, shape (sample,)
        Changed: numbers of samples.
    """
    for i in range(cell.size):
        ends[cell[i] + 1] += 1
    total = 0
    for c in range(1, ends.size):
        n = ends[c]
        ends[c] = total
        total += n
    for i in range(cell.size):
        c = cell[i] + 1
        order[ends[c]] = i
        ends[c] += 1


@compiled(parallel=True)
def add_samples(
    ends: Places,
    order: Places,
    table: Floats,
    cells: Integers,
    out: Floats,
    parts: int,
) -> None:
    """Sum samples by cell, with what rounding takes from each sum added at the end.

    Each of `parts` threads has its own cells, so that sums do not depend on their
    number.

    Parameters
    ----------
    ends, order : array
        Of `order_of`.
    table : array, shape (sample, column)
        As in `tgo_spectra.maps.sums.Samples`.
    cells : array, shape (row,)
        Changed: cells that hold a sample, ascending.
    out : array, shape (row, name)
        Changed: sums, then the three extremes.
    """
    n_cells = ends.size - 1
    first_row = np.zeros(parts + 1, np.int64)
    for part in prange(parts):
        n = 0
        for c in range(part * n_cells // parts, (part + 1) * n_cells // parts):
            if ends[c + 1] > ends[c]:
                n += 1
        first_row[part + 1] = n
    for part in range(parts):
        first_row[part + 1] += first_row[part]
    for part in prange(parts):
        row = first_row[part]
        near = np.empty((_AT_ONCE, _COLUMNS))
        term, total, lost = np.empty(_SUMS), np.empty(_SUMS), np.empty(_SUMS)
        begin, end = 0, 0  # samples that are near
        for c in range(part * n_cells // parts, (part + 1) * n_cells // parts):
            if ends[c + 1] == ends[c]:
                continue
            cells[row] = c
            total[:] = 0.0
            lost[:] = 0.0
            low, early, late = np.inf, np.inf, -np.inf
            for place in range(ends[c], ends[c + 1]):
                if place >= end:
                    begin, end = place, min(place + _AT_ONCE, order.size)
                    for k in range(end - begin):
                        far = table[order[begin + k]]
                        for j in range(_COLUMNS):
                            near[k, j] = far[j]
                t = near[place - begin]
                x, v, w = t[0], t[1], t[2]
                wx, wv = w * x, w * v
                term[0] = 1.0
                term[1] = t[7]
                term[2] = x
                term[3] = x * x
                term[4] = v
                term[9] = w
                term[10] = wx
                term[11] = wx * x
                term[12] = w * w
                term[13] = wv
                term[14] = w * wv
                for j in range(4):
                    term[5 + j] = t[3 + j]
                    term[15 + j] = w * t[3 + j]
                known = t[8] == t[8]
                term[19] = t[8] if known else 0.0
                for j in range(6):
                    term[20 + j] = t[9 + j]
                term[26] = 1.0 if known else 0.0
                # Knuth (1997), The Art of Computer Programming 2, 4.2.2, theorem B
                for j in range(_SUMS):
                    a, b = total[j], term[j]
                    s = a + b
                    d = s - a
                    lost[j] += (a - (s - d)) + (b - d)
                    total[j] = s
                low = min(low, t[15] if t[15] == t[15] else np.inf)
                early = min(early, t[16] if t[16] == t[16] else np.inf)
                late = max(late, t[17] if t[17] == t[17] else -np.inf)
            o = out[row]
            for j in range(_SUMS):
                o[j] = total[j] + lost[j]
            o[_SUMS] = low if low < np.inf else np.nan
            o[_SUMS + 1] = early if early < np.inf else np.nan
            o[_SUMS + 2] = late if late > -np.inf else np.nan
            row += 1


@compiled()
def add_sums(
    cell: Integers,
    table: Floats,
    more: Integers,
    added: Floats,
    cells: Integers,
    out: Floats,
) -> int:
    """Add sums of the same cells.

    Parameters
    ----------
    cell, more : array, shape (row,)
        Cells, ascending.
    table, added : array, shape (row, name)
        Their sums, then the three extremes.
    cells, out : array
        Changed: of all cells; large enough for those of both.

    Returns
    -------
    int
        Number of rows.
    """
    i, j, row = 0, 0, 0
    while i < cell.size or j < more.size:
        left = j >= more.size or (i < cell.size and cell[i] <= more[j])
        right = i >= cell.size or (j < more.size and more[j] <= cell[i])
        o = out[row]
        cells[row] = cell[i] if left else more[j]
        o[:] = table[i] if left else added[j]
        if left and right:
            b = added[j]
            for k in range(_SUMS):
                o[k] += b[k]
            for k in range(_SUMS, _SUMS + 2):
                if b[k] == b[k] and not o[k] <= b[k]:
                    o[k] = b[k]
            last = _SUMS + 2
            if b[last] == b[last] and not o[last] >= b[last]:
                o[last] = b[last]
        i += left
        j += right
        row += 1
    return row
