"""All fields of a fit from the transmittance on the nodes; also with fewer orders.

Most of the orders that are added bring little light: what they see is smooth enough in
tangent height to be made at the few heights of the Jacobian.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.response.tabulated import (
    apply,
    blocks_of,
    kind_index,
    on_nodes,
)
from tgo_spectra.numerics.matrices import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tgo_spectra.instruments.response.tabulated import Operator

    Array = NDArray[np.floating]

__all__ = [
    "Parted",
    "apply_model",
    "apply_parted",
    "near_orders",
    "part",
    "truncation_residual",
    "whole",
    "with_fewer_orders",
]

NEAR_LIGHT = 0.003
"""Part of a pixel's light from which on an order is seen at all heights. What lies
between the heights of the Jacobian is 2e-4 of transmittance where it is worst (a kink
of the profiles); of the orders below this light it is 1e-6 there and 3e-8 root mean
square, all together (order 136, ten neighbours, four gases)."""


@dataclass(frozen=True)
class Parted:
    """A field on the nodes, with all columns only where much light comes from.

    Attributes
    ----------
    values : array, shape (near node, column)
        All columns, on the nodes from ``first`` on that near orders need.
    first : int
    sparse : array, shape (node, few)
        Some columns, on all nodes.
    spread : array, shape (column, few)
        Takes those to all columns.
    near : array of bool, shape (block, order)
        From `near_orders`.
    """

    values: Array
    first: int
    sparse: Array
    spread: Array
    near: NDArray[np.bool_]


def near_orders(operator: Operator) -> tuple[NDArray[np.bool_], slice]:
    """Tell which orders bring much light to a block, and the nodes they need."""
    starts = operator.block_start[:-1]
    near = np.maximum.reduceat(operator.order_fraction, starts, axis=0) >= NEAR_LIGHT
    low, high = operator.node_low[near].min(), operator.node_high[near].max()
    return near, slice(int(low), int(high))


def part(
    operator: Operator,
    made: Callable[[slice, slice | NDArray[np.intp]], Array],
    chosen: NDArray[np.intp],
    spread: Array,
) -> Parted:
    """Make a field at all columns only where much light comes from.

    Parameters
    ----------
    operator : Operator
    made : callable
        (nodes, columns) to the field there, (node, column).
    chosen : ndarray of int, shape (few,)
        Columns that stand for all where little light comes from.
    spread : ndarray, shape (column, few)
        Takes those to all.
    """
    near, nodes = near_orders(operator)
    values = made(nodes, slice(None))
    sparse = np.empty((operator.n_nodes, chosen.size), dtype=values.dtype)
    np.take(values, chosen, axis=1, out=sparse[nodes], mode="clip")
    low, high = int(operator.node_low.min()), int(operator.node_high.max())
    for far in (slice(low, nodes.start), slice(nodes.stop, high)):
        if far.start < far.stop:  # with few orders much light may come from all nodes
            sparse[far] = made(far, chosen)
    # nobody looks at the nodes beyond
    sparse[:low] = sparse[high:] = 0.0
    return Parted(values, nodes.start, sparse, spread, near)


def whole(operator: Operator, values: Array, chosen: NDArray[np.intp]) -> Parted:
    """Return a field that has all columns on all nodes in the same form."""
    every = chosen.size == values.shape[1]
    sparse = values if every else values.take(chosen, axis=1)
    near = np.ones(operator.node_low.shape, dtype=bool)
    return Parted(values, 0, sparse, np.empty((0, 0)), near)


def apply_model(
    operator: Operator,
    field: Array,
    chosen: NDArray[np.intp],
    factors: Array | None = None,
) -> tuple[Array, Array]:
    """Make all fields of a fit from the transmittance on the nodes.

    The slope is not that of the operator's rows: within one order it is the value
    times the order's distance from the centre, which changes it by 3e-6 at most
    (order 134, ten neighbours).

    Parameters
    ----------
    operator : Operator
        From `tgo_spectra.instruments.response.tabulated.build_operator`, with value,
        shift and curvature.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.
    chosen : ndarray of int, shape (few,)
        Columns for the curvature and the products.
    factors : ndarray, shape (factor, node), optional
        As in `tgo_spectra.instruments.response.tabulated.apply_factors`, transposed.

    Returns
    -------
    fields : ndarray, shape (3, pixel, column)
        Value, shift and slope.
    few : ndarray, shape (1 + factor, pixel, few)
        Curvature; value rows applied to the products of field and factors.

    Raises
    ------
    InstrumentError
        If field or factors have another number of nodes, or the operator no curvature.
    """
    parted = whole(operator, on_nodes(operator, field), chosen)
    return apply_parted(operator, parted, factors)


def apply_parted(
    operator: Operator,
    field: Parted,
    factors: Array | None = None,
) -> tuple[Array, Array]:
    """Do the same with a field that has all columns only where light comes from.

    Parameters
    ----------
    operator : Operator
    field : Parted
    factors : ndarray, shape (factor, node), optional

    Returns
    -------
    fields, few : ndarray
        As `apply_model`.

    Raises
    ------
    InstrumentError
        As `apply_model`.
    """
    from tgo_spectra.instruments.response.kernel import apply_model as kernel

    kind_index(operator, "curvature")
    if operator.lever is None:
        msg = "the operator does not know where its orders lie"
        raise InstrumentError(msg, field="lever", value=None, rule="operator.kind")
    sparse = on_nodes(operator, field.sparse)
    if factors is None:
        factors = np.empty((0, operator.n_nodes))
    rows = np.ascontiguousarray(factors, dtype=sparse.dtype)
    if rows.ndim != 2 or rows.shape[1] != operator.n_nodes:
        msg = f"factors must be (factor, node) with {operator.n_nodes} nodes"
        raise InstrumentError(
            msg, field="factors", value=rows.shape, rule="operator.field_shape"
        )
    size = operator.pixels.size
    result = np.empty((3, size, field.values.shape[1]), dtype=sparse.dtype)
    few = np.zeros((4 + rows.shape[0], size, sparse.shape[1]), dtype=sparse.dtype)
    lever = operator.lever.astype(sparse.dtype)
    kernel(
        *blocks_of(operator), operator.data, lever, field.near, rows, LIMIT,
        field.first, field.values, sparse, result, few,
    )  # fmt: skip
    if not field.near.all():
        result += few[:3] @ field.spread.T.astype(sparse.dtype)
    return result, few[3:]


def with_fewer_orders(
    operator: Operator, field: NDArray[np.floating], pairs: Sequence[int]
) -> NDArray[np.floating]:
    """Apply the value rows with all orders, and with some outer pairs left out.

    Parameters
    ----------
    operator : Operator
    field : ndarray, shape (node, column)
        Transmittance on the nodes.
    pairs : sequence of int
        How many pairs of orders are left out one after another, from the outermost
        inwards; as many must be there in all.

    Returns
    -------
    ndarray, shape (1 + len(pairs), pixel, column)
        The first with all orders.
    """
    values = on_nodes(operator, field)
    full = apply(operator, values)
    result = np.empty((1 + len(pairs), *full.shape), dtype=full.dtype)
    result[0], last = full, operator.orders.size - 1
    outer = np.zeros_like(full)
    rest = np.ones(operator.pixels.size)
    ends = np.cumsum([0, *pairs]).tolist()
    for step, (start, stop) in enumerate(itertools.pairwise(ends)):
        edges = tuple(sorted({k for p in range(start, stop) for k in (p, last - p)}))
        for pixel, node, _, block in operator.blocks(slice(0, 1), edges):
            outer[pixel] += block @ values[node]
        rest = rest - operator.order_fraction[:, edges].sum(axis=1)
        result[step + 1] = (full - outer) / rest[:, None]
    return result


def truncation_residual(operator: Operator, field: NDArray[np.floating]) -> float:
    """Largest change of transmittance when the outermost pair of orders is left out.

    A bound in practice on what the orders beyond would add: from n to n + 1 orders
    the change shrinks by 0.5 to 0.8 in strong and weak bands.

    Parameters
    ----------
    operator : Operator
        With at least one neighbouring order.
    field : ndarray, shape (node, column)
        Transmittance on the nodes.

    Returns
    -------
    float
        Largest ``|T_n - T_(n-1)|``; not-a-number without neighbours.
    """
    if operator.orders.size < 3:
        return float("nan")
    full, fewer = with_fewer_orders(operator, field, (1,))
    return float(np.abs(full.astype(np.float64) - fewer).max())
