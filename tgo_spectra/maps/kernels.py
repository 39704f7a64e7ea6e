"""Compiled loop over the samples of a map: all sums of a cell in one visit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.numerics.accelerate import compiled, prange

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int32]

__all__ = ["add_samples"]


@compiled(parallel=True)
def add_samples(
    cell: npt.NDArray[np.int64],
    row_of: Rows,
    table: Floats,
    extremes: Floats,
    out: Floats,
    parts: int,
) -> None:
    """Add samples to the sums of their cells, in the order that they have.

    Each of `parts` threads looks after its own rows, so that sums do not depend on
    their number.

    Parameters
    ----------
    cell : array, shape (sample,)
    row_of : array, shape (cell of the grid,)
        Row of the sums of a cell.
    table, extremes : array, shape (sample, column), (sample, 3)
        As in `tgo_spectra.maps.sums.Samples`.
    out : array, shape (row, name)
        Changed: sums start from zero, the last three columns from NaN.
    """
    n_rows, places = out.shape[0], table.shape[1] - 8
    for part in prange(parts):
        first, last = part * n_rows // parts, (part + 1) * n_rows // parts
        for i in range(cell.size):
            row = row_of[cell[i]]
            if row < first or row >= last:
                continue
            x, v, w = table[i, 0], table[i, 1], table[i, 2]
            s, t, r, p = table[i, 3], table[i, 4], table[i, 5], table[i, 6]
            o = out[row]
            wx, wv = w * x, w * v
            o[0] += 1.0
            o[1] += table[i, 7]
            o[2] += x
            o[3] += x * x
            o[4] += v
            o[5] += s
            o[6] += t
            o[7] += r
            o[8] += p
            o[9] += w
            o[10] += wx
            o[11] += wx * x
            o[12] += w * w
            o[13] += wv
            o[14] += w * wv
            o[15] += w * s
            o[16] += w * t
            o[17] += w * r
            o[18] += w * p
            for k in range(places):
                o[19 + k] += table[i, 8 + k]
            end = 19 + places
            low, early, late = extremes[i, 0], extremes[i, 1], extremes[i, 2]
            if low == low and not o[end] <= low:
                o[end] = low
            if early == early and not o[end + 1] <= early:
                o[end + 1] = early
            if late == late and not o[end + 2] >= late:
                o[end + 2] = late
