"""All fields of a fit from the transmittance on the nodes, in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.response.tabulated import blocks_of, kind_index, on_nodes
from tgo_spectra.numerics.matrices import LIMIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tgo_spectra.instruments.response.tabulated import Operator

__all__ = ["apply_model"]


def apply_model(
    operator: Operator,
    field: NDArray[np.floating],
    chosen: NDArray[np.intp],
    factors: NDArray[np.floating] | None = None,
    more: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Make all fields of a fit from the transmittance on the nodes.

    The slope is not that of the operator's rows: within one order it is the value
    times the order's distance from the centre, which changes it by 3e-6 at most
    (order 134, ten neighbours).

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`, with value, shift and curvature.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.
    chosen : ndarray of int, shape (few,)
        Columns for the curvature and the products.
    factors : ndarray, shape (factor, node), optional
        As in :func:`apply_factors`, transposed.
    more : ndarray, shape (node, other), optional
        Fields of which the value alone is wanted.

    Returns
    -------
    fields : ndarray, shape (3, pixel, column)
        Value, shift and slope.
    few : ndarray, shape (1 + factor, pixel, few)
        Curvature; value rows applied to the products of field and factors.
    seen : ndarray, shape (pixel, other)
        Value of the other fields.

    Raises
    ------
    InstrumentError
        If field or factors have another number of nodes, or the operator no curvature.
    """
    from tgo_spectra.instruments.response.model_kernel import apply_model as kernel

    kind_index(operator, "curvature")
    if operator.lever is None:
        msg = "the operator does not know where its orders lie"
        raise InstrumentError(msg, field="lever", value=None, rule="operator.kind")
    values = on_nodes(operator, field)
    if factors is None:
        factors = np.empty((0, operator.n_nodes))
    rows = np.ascontiguousarray(factors, dtype=values.dtype)
    if rows.ndim != 2 or rows.shape[1] != operator.n_nodes:
        msg = f"factors must be (factor, node) with {operator.n_nodes} nodes"
        raise InstrumentError(
            msg, field="factors", value=rows.shape, rule="operator.field_shape"
        )
    others = np.empty((operator.n_nodes, 0)) if more is None else more
    others = on_nodes(operator, others)
    sparse = values if chosen.size == values.shape[1] else values.take(chosen, axis=1)
    size = operator.pixels.size
    result = np.empty((3, size, values.shape[1]), dtype=values.dtype)
    few = np.empty((1 + rows.shape[0], size, sparse.shape[1]), dtype=values.dtype)
    seen = np.empty((size, others.shape[1]), dtype=values.dtype)
    lever = operator.lever.astype(values.dtype)
    kernel(
        *blocks_of(operator), operator.data, lever, rows, LIMIT, values, sparse, others,
        result, few, seen,
    )  # fmt: skip
    return result, few, seen
