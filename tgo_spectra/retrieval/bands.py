"""Products with the matrix that takes heights to rows: near its diagonal only.

A cubic spline through all heights gives every row a weight on every height, but the
weight falls fourfold from one to the next. Neighbouring rows look at neighbouring
heights, so that a block of rows needs a third of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]

__all__ = ["Bands"]

BLOCK_ROWS = 64


class Bands:
    """A matrix in blocks of rows, without the columns that do not count in them.

    Parameters
    ----------
    matrix : array, shape (row, column)
        Weights of rows that sum to about one.
    dtype : type
        Of the products; weights far below its precision are left out.
    """

    def __init__(self, matrix: Array, dtype: npt.DTypeLike) -> None:
        self.shape = matrix.shape
        negligible = 0.1 * float(np.finfo(dtype).eps)
        self.blocks: list[tuple[slice, slice, Array]] = []
        for start in range(0, len(matrix), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            block = matrix[rows]
            used = np.flatnonzero((np.abs(block) > negligible).any(axis=0))
            if used.size:
                columns = slice(int(used[0]), int(used[-1]) + 1)
                self.blocks.append((rows, columns, block[:, columns].astype(dtype)))

    def times(self, field: Array, out: Array) -> None:
        """Write the product with a field.

        Parameters
        ----------
        field : array, shape (column, element)
        out : array, shape (row, element)
            Written; rows without weights become zero.
        """
        if sum(len(block) for _, _, block in self.blocks) < len(out):
            out[:] = 0.0
        for rows, columns, block in self.blocks:
            out[rows] = block @ field[columns]
