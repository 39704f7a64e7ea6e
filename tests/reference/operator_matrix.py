"""An instrument operator as a sparse matrix, which SciPy applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array

from tgo_spectra.instruments.response.tabulated import kind_index

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tgo_spectra.instruments.response.tabulated import Operator


def as_csr(operator: Operator, kind: str = "value") -> csr_array:
    """One kind of rows, (pixel, node)."""
    index = kind_index(operator, kind)
    values, rows, columns = [], [], []
    for pixel, node, _, block in operator.blocks(slice(index, index + 1)):
        i, j = np.nonzero(block)
        values.append(block[i, j])
        rows.append(i + pixel.start)
        columns.append(j + node.start)
    shape = (operator.pixels.size, operator.n_nodes)
    places = (np.concatenate(rows), np.concatenate(columns))
    return coo_array((np.concatenate(values), places), shape=shape).tocsr()


def apply_transposed(
    operator: Operator, field: NDArray[np.floating], kind: str = "value"
) -> NDArray[np.floating]:
    """Take a field on the pixels, (pixel, column), to the nodes, (node, column)."""
    return as_csr(operator, kind).T @ field
