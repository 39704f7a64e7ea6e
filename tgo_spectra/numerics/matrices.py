"""Matrix products whose bits do not depend on the number of threads.

A linear algebra library divides a large product between threads and then rounds
differently at the seams. Products this small it does in one thread, always; a large
product is made of them here. One thread is what a worker has anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating]

__all__ = ["LIMIT", "steady_columns", "steady_product"]

#: Multiplications in one call. OpenBLAS uses a second thread from 524 288 on (twice
#: 65 536 times GEMM_MULTITHREAD_THRESHOLD, 4 by default; its interface/gemm.c).
LIMIT = 500_000


def steady_product(a: Array, b: Array) -> Array:
    """Multiply two matrices.

    Parameters
    ----------
    a : ndarray, shape (row, inner)
        Float32 or float64.
    b : ndarray, shape (inner, column)
        Of the type of `a`.

    Returns
    -------
    ndarray, shape (row, column)
        The same bits for any number of threads.

    Examples
    --------
    >>> steady_product(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    from tgo_spectra.numerics.kernels import multiply_in_blocks

    if a.size < b.size:  # the smaller one is packed once for every call
        return np.asarray(steady_product(b.T, a.T).T)
    left, right = np.ascontiguousarray(a), np.ascontiguousarray(b)
    out = np.zeros((left.shape[0], right.shape[1]), dtype=left.dtype)
    if out.size and left.shape[1]:
        multiply_in_blocks(left, right, LIMIT, out)
    return out


def steady_columns(a: Array, b: Array, out: Array) -> None:
    """Do a `steady_product` of which the first and `out` are columns of matrices.

    Neither is copied. Shapes (row, inner), (inner, column) and (row, column).
    """
    rows = max(1, LIMIT // b.size)
    for start in range(0, len(a), rows):
        np.matmul(a[start : start + rows], b, out=out[start : start + rows])
