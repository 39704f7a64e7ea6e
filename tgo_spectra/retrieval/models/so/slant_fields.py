"""What single spectra see at the spectral quadrature points and on the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments.response.fields import apply_model
from tgo_spectra.numerics.matrices import LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "BATCH",
    "KeptFields",
    "Seen",
    "batch_fields",
    "batches",
    "on_nodes",
    "on_pixels",
    "place_of",
]

NODES = 512
"""Spectral quadrature points that are treated together."""

BATCH = 32
"""Rows that go through the model together. A product rounds differently in another size
or at another place in it: a row has its place by its number in the product, others stay
empty."""


@dataclass(frozen=True)
class Seen:
    """Operator for some nodes, the gases' vectors there, and the dispersion.

    ``vectors``: (node, vector) of each gas, C-contiguous; ``dispersion_cm1``:
    (pixel,), per pixel. All that rows are fitted with have the same nodes.
    """

    operator: Operator
    vectors: list[Array]
    dispersion_cm1: Array


def place_of(number: IntArray) -> IntArray:
    """Place of rows in a batch: of neighbours another, and of every fourth as well."""
    return (number + number // BATCH) % BATCH


def batches(number: IntArray, near: Array | None = None) -> list[IntArray]:
    """Put rows together, no two of one place; positions among the rows.

    ``near``: rows of which this is the same rather with each other.
    """
    place = place_of(number)
    order = np.lexsort((np.zeros(number.size) if near is None else near, place))
    ordered = place[order]
    rank = np.arange(number.size) - np.searchsorted(ordered, ordered)
    return [np.sort(order[rank == r]) for r in range(rank.max(initial=-1) + 1)]


def batch_fields(
    seen: Mapping[float, Seen],
    near: Array,
    weights: Array,
    field: Array,
    place: IntArray,
    factors: Array,
) -> tuple[Array, Array]:
    """Fields of a batch of rows at some factors, on the pixels of their operators.

    Operators by where they are made, where each row's is (row,), weights (row, field
    point, vector of any gas), weights of the field (field point,), place (row,),
    factors (row, gas) -> value, first and second derivative, slope (row, 4, pixel);
    derivative to the factors (row, gas, pixel).
    """
    any_, count = seen[float(near[0])], len(place)
    mean, change = on_nodes(any_, weights, field, place, factors)
    pixels = any_.operator.pixels.size
    four = np.empty((count, 4, pixels), dtype=mean.dtype)
    gas = np.empty((count, factors.shape[1], pixels), dtype=mean.dtype)
    for value in np.unique(near).tolist():
        mine = near == value
        four[mine], gas[mine] = on_pixels(seen[value], mean, change, place[mine])
    return four, gas


def on_pixels(
    seen: Seen, mean: Array, change: Array, place: IntArray
) -> tuple[Array, Array]:
    """Fields of a batch of rows from what is on the nodes, see `batch_fields`."""
    nodes, n_gas, _ = change.shape
    dense, few, gas = apply_model(
        seen.operator, mean, np.arange(BATCH), more=change.reshape(nodes, n_gas * BATCH)
    )
    gas = gas.reshape(len(gas), n_gas, BATCH).transpose(2, 1, 0)
    value, shift, slope = dense
    four = np.stack([value, shift, few[0], slope]).transpose(2, 0, 1)
    return four[place], gas[place]


def on_nodes(
    seen: Seen,
    weights: Array,
    field: Array,
    place: IntArray,
    factors: Array,
    *,
    derivatives: bool = True,
) -> tuple[Array, Array]:
    """Transmittance (node, place) and its derivative to factors (node, gas, place).

    As `batch_fields`; without ``derivatives`` those to no gas. Some nodes at a time:
    what is between stays in the cache.
    """
    from tgo_spectra.numerics.matrices_kernel import multiply_in_blocks
    from tgo_spectra.retrieval.kernels import average_field, sum_depths

    n_gas, nodes = factors.shape[1], len(seen.vectors[0])
    whole = np.zeros((BATCH, *weights.shape[1:]))
    whole[place] = weights
    columns = whole.transpose(2, 1, 0).reshape(whole.shape[2], -1)
    ends = np.cumsum([vectors.shape[1] for vectors in seen.vectors])[:-1]
    parts = np.split(np.ascontiguousarray(columns, dtype=np.float32), ends)
    x = np.zeros((BATCH, n_gas))
    x[place] = factors
    narrow, wide = field.astype(np.float32), np.ascontiguousarray(x.T, np.float32)
    depth = np.empty((n_gas, NODES, columns.shape[1]), dtype=np.float32)
    total = np.empty(depth.shape[1:], dtype=np.float32)
    mean = np.empty((nodes, BATCH), dtype=np.float32)
    change = np.empty((nodes, n_gas if derivatives else 0, BATCH), dtype=np.float32)
    for start in range(0, nodes, NODES):
        stop = min(start + NODES, nodes)
        some = slice(0, stop - start)
        for vectors, part, out in zip(seen.vectors, parts, depth, strict=True):
            multiply_in_blocks(vectors[start:stop], part, LIMIT, out[some])
        sum_depths(depth[:, some], wide, total[some])
        np.exp(total[some], out=total[some])
        average_field(
            depth[:, some], total[some], narrow, mean[start:stop], change[start:stop]
        )
    return mean, change


class KeptFields:
    """What rows were seen to give by an operator at some factors, kept for each row."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Seen, Array, Array, Array]] = {}

    def known(
        self, seen: Sequence[Seen], rows: IntArray, factors: Array
    ) -> npt.NDArray[np.bool_]:
        """Tell which rows were seen last by these operators at these factors."""
        found = [self._kept.get(row) for row in rows.tolist()]
        return np.array(
            [
                one is not None and one[0] is theirs and np.array_equal(one[1], x)
                for one, theirs, x in zip(found, seen, factors, strict=True)
            ],
            dtype=bool,
        )

    def keep(
        self,
        seen: Sequence[Seen],
        rows: IntArray,
        factors: Array,
        four: Array,
        gas: Array,
    ) -> None:
        """Keep what rows give."""
        every = zip(rows.tolist(), seen, factors, four, gas, strict=True)
        for row, *parts in every:
            self._kept[row] = tuple(parts)

    def of(self, rows: IntArray) -> tuple[Array, Array]:
        """Return value, derivatives and slope, and the derivatives to the factors."""
        kept = [self._kept[row] for row in rows.tolist()]
        return np.array([one[2] for one in kept]), np.array([one[3] for one in kept])
