"""What single spectra see at the spectral quadrature points and on the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.instruments.response.model import apply_model
from tgo_spectra.numerics.matrices import steady_product

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["BATCH", "FieldModel", "KeptFields", "Seen", "place_of"]

BATCH = 32
"""Rows that go through the model together. A product rounds differently in another size
or at another place in it: a row has its place by its number in the product, others stay
empty."""


@dataclass(frozen=True)
class Seen:
    """Operator for some nodes, the gases' vectors there, and the dispersion.

    ``vectors``: (node, vector), gas after gas, ``ranks`` of them each;
    ``dispersion_cm1``: (pixel,), per pixel.
    """

    operator: Operator
    vectors: Array
    ranks: list[int]
    dispersion_cm1: Array


def place_of(number: IntArray) -> IntArray:
    """Place of rows in a batch: of neighbours another, and of every fourth as well."""
    return (number + number // BATCH) % BATCH


@dataclass
class FieldModel:
    """Fields of a batch of rows on the pixels of an operator.

    ``four``: value, first and second derivative, slope, (row, 4, pixel); ``gas``:
    derivative to the factors, (row, gas, pixel). ``place``: of each row.
    """

    seen: Seen
    weights: Array
    field: Array
    place: IntArray

    def __post_init__(self) -> None:
        from tgo_spectra.retrieval.kernels import average_field, sum_depths

        self._sum, self._average = sum_depths, average_field
        whole = np.zeros((BATCH, *self.weights.shape[1:]))
        whole[self.place] = self.weights
        columns = whole.transpose(2, 1, 0).reshape(whole.shape[2], -1)
        columns = np.ascontiguousarray(columns, dtype=np.float32)
        parts, start = [], 0
        for rank in self.seen.ranks:
            span = slice(start, start + rank)
            u = np.ascontiguousarray(self.seen.vectors[:, span])
            parts.append(steady_product(u, columns[span]))
            start += rank
        self.depth = np.stack(parts)

    def __call__(self, factors: Array) -> tuple[Array, Array]:
        """Evaluate at some factors, (row, gas)."""
        n_gas = factors.shape[1]
        n_field, nodes = self.field.size, self.depth.shape[1]
        x = np.zeros((BATCH, n_gas))
        x[self.place] = factors
        wide = np.tile(x.T.astype(np.float32), n_field)
        total = np.empty((nodes, n_field * BATCH), dtype=np.float32)
        self._sum(self.depth, wide, total)
        np.exp(total, out=total)
        mean = np.empty((nodes, BATCH), dtype=np.float32)
        change = np.empty((nodes, n_gas, BATCH), dtype=np.float32)
        self._average(self.depth, total, self.field.astype(np.float32), mean, change)
        every = np.arange(BATCH)
        operator = self.seen.operator
        dense, few = apply_model(operator, mean, every)
        gas = operators.apply(operator, change.reshape(nodes, -1))
        gas = gas.reshape(-1, n_gas, BATCH).transpose(2, 1, 0)
        value, shift, slope = dense
        four = np.stack([value, shift, few[0], slope]).transpose(2, 0, 1)
        return four[self.place], gas[self.place]


class KeptFields:
    """What rows were seen to give by an operator at some factors, kept for each row."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Seen, Array, Array, Array]] = {}

    def known(
        self, seen: Seen, rows: IntArray, factors: Array
    ) -> npt.NDArray[np.bool_]:
        """Tell which rows were seen last by that operator at these factors."""
        found = [self._kept.get(row) for row in rows.tolist()]
        return np.array(
            [
                one is not None and one[0] is seen and np.array_equal(one[1], x)
                for one, x in zip(found, factors, strict=True)
            ],
            dtype=bool,
        )

    def keep(
        self, seen: Seen, rows: IntArray, factors: Array, four: Array, gas: Array
    ) -> None:
        """Keep what rows give."""
        for row, *parts in zip(rows.tolist(), factors, four, gas, strict=True):
            self._kept[row] = (seen, *parts)

    def of(self, rows: IntArray) -> tuple[Array, Array]:
        """Return value, derivatives and slope, and the derivatives to the factors."""
        kept = [self._kept[row] for row in rows.tolist()]
        return np.array([one[2] for one in kept]), np.array([one[3] for one in kept])
