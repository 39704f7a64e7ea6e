"""What single spectra see at the spectral quadrature points and on the pixels."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.instruments.response.fields import apply_model
from tgo_spectra.numerics.matrices import LIMIT
from tgo_spectra.retrieval.measurement import smooth_wavenumber
from tgo_spectra.retrieval.models.so.scene import (
    LINE_SHAPE_REACH_CM1,
    operator_settings,
)
from tgo_spectra.spectroscopy.tables import band_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.setup import RetrievalSetup

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "BATCH",
    "Few",
    "Instrument",
    "KeptFields",
    "Optics",
    "Seen",
    "batch_fields",
    "batches",
    "on_nodes",
    "place_of",
]

NODES = 512
"""Spectral quadrature points that are treated together."""

BATCH = 32
"""Rows that go through the model together. A product rounds differently in another size
or at another place in it: a row has its place by its number in the product, others stay
empty."""


TRAINING, FEW_NODES = 64, 180
"""Spectra that the first look must know, and the quadrature points that it keeps: on
spectra that it does not know it is off by 1e-6 of transmittance in the middle, by 4e-5
in one of ten, by 2e-3 below all of the air that it knows (order 134, four gases)."""

TRAINING_TOP_KM, TRAINING_SPREAD = 110.0, 0.7
"""Heights of these spectra reach to the first; their factors scatter by the second, in
logarithm."""

TRAINING_DEPTH = 0.1
"""Optical depth that each gas has at its strongest line, at least: what the noise may
pretend where a gas is not seen."""

CANDIDATES = 10
"""Every so many quadrature points is one that may be kept."""

RANK_TOLERANCE = 1e-6
"""Singular values of what the kept points see, relative, that count."""

WANDER_PX = 40
"""What rows may move by, pixel, from where a search ended: a pixel a linearisation."""


@dataclass(frozen=True)
class Seen:
    """Operator for some nodes, the gases' vectors there, and the dispersion.

    ``vectors``: (node, vector) of each gas, C-contiguous; ``dispersion_cm1``:
    (pixel,), per pixel. All that rows are fitted with have the same nodes.
    """

    operator: Operator
    vectors: list[Array]
    dispersion_cm1: Array

    def on_pixels(
        self, mean: Array, change: Array, place: IntArray
    ) -> tuple[Array, Array]:
        """Fields of a batch of rows from what is on the nodes, see `batch_fields`."""
        nodes, n_gas, _ = change.shape
        dense, few, gas = apply_model(
            self.operator,
            mean,
            np.arange(mean.shape[1]),
            more=change.reshape(nodes, n_gas * BATCH),
        )
        gas = gas.reshape(len(gas), n_gas, BATCH).transpose(2, 1, 0)
        value, shift, slope = dense
        four = np.stack([value, shift, few[0], slope]).transpose(2, 0, 1)
        return four[place], gas[place]


@dataclass(frozen=True)
class Few:
    """The same with few nodes, which make known spectra: for a first look.

    ``matrix``: (4, pixel, node) to value, first and second derivative, slope.
    """

    matrix: Array
    vectors: list[Array]
    dispersion_cm1: Array

    def on_pixels(
        self, mean: Array, change: Array, place: IntArray
    ) -> tuple[Array, Array]:
        """Do as `Seen.on_pixels`."""
        four = self.matrix @ mean
        gas = np.tensordot(self.matrix[0], change, axes=1)
        return four.transpose(2, 0, 1)[place], gas.transpose(2, 1, 0)[place]


@dataclass(frozen=True)
class Optics:
    """Settings of the instrument during the observation."""

    order: int
    aotf_frequency_khz: float
    temperature_c: float


class Instrument:
    """Operators of one product near a shift, and the nodes that they need."""

    def __init__(
        self,
        wavenumber_cm1: Array,
        pixels: IntArray,
        setup: RetrievalSetup,
        optics: Optics,
        turns: Sequence[Array],
        known: Array,
    ) -> None:
        self.band, _ = band_of(setup.table)
        self.setup, self.optics, self.pixels = setup, optics, pixels
        self.n_orders = setup.instrument.n_orders
        self.offsets: Mapping[str, float] = {}
        smooth = smooth_wavenumber(np.asarray(wavenumber_cm1, dtype=float))
        self.wavenumber = np.polynomial.Polynomial(smooth)
        table = forward.stacked(
            tuple(self.band.vectors[gas] for gas in setup.gases), np.float32
        )
        spanned = forward.turned(table, turns)
        ends = np.cumsum([turn.shape[1] for turn in turns])[:-1]
        parts = np.split(spanned, ends, axis=1)
        self.vectors = [np.ascontiguousarray(part) for part in parts]
        self.nodes = self._nodes()
        self.seen_vectors = [one[self.nodes] for one in self.vectors]
        self.known = Known(known, self.seen_vectors)

    def like(
        self, *, n_orders: int | None = None, offsets: Mapping[str, float] | None = None
    ) -> Instrument:
        """Return one with other orders, or away from the setup's settings."""
        other = copy.copy(self)
        other.n_orders = self.n_orders if n_orders is None else n_orders
        other.offsets = offsets or {}
        return other

    def _nodes(self) -> slice:
        """Nodes that operators may need, wherever a search ends: the same for all."""
        m, both = self.optics.order, np.array([-1, 1])
        farthest = self.setup.registration.search_px + WANDER_PX
        far = self.pixels[[0, -1]] + both * farthest
        reached = self.wavenumber(far) * (m + self.n_orders * both) / m
        reached += LINE_SHAPE_REACH_CM1 * both
        cells = (reached - self.band.cell_start_cm1[0]) / self.band.cell_width_cm1
        cells = np.floor(cells) + np.array([0, 1])
        low, high = np.searchsorted(self.band.node_cell, cells)
        return slice(int(low), int(high))

    def operator(self, pixels: IntArray, shift_px: float, kinds: int = 3) -> Operator:
        """Return what leads from the nodes to pixels near a shift, so many kinds."""
        band, nodes = self.band, self.nodes
        made = operators.build_operator(
            band.node_cell,
            band.node_weight,
            float(band.cell_start_cm1[0]),
            band.cell_width_cm1,
            pixel_wavenumber_cm1=self.wavenumber(pixels + shift_px),
            pixels=pixels,
            order=self.optics.order,
            aotf_frequency_khz=self.optics.aotf_frequency_khz,
            temperature_c=self.optics.temperature_c,
            settings=operator_settings(self.setup, self.n_orders, self.offsets),
            dtype=np.float32,
            kinds=operators.KINDS[:kinds],
        )
        used = made.node_high > made.node_low
        low = int(made.node_low[used].min())
        high = int(made.node_high[used].max())
        if not nodes.start <= low < high <= nodes.stop:
            raise RetrievalError(
                "spectra lie farther off than they are searched for",
                field="wavenumber_shift",
                value=shift_px,
                rule="fit.diverged",
            )
        return replace(
            made,
            node_low=np.maximum(made.node_low - nodes.start, 0),
            node_high=np.maximum(made.node_high - nodes.start, 0),
            n_nodes=nodes.stop - nodes.start,
        )

    def seen(self, pixels: IntArray, shift_px: float) -> Seen:
        """Return what leads from optical depths to pixels near a shift."""
        return Seen(
            self.operator(pixels, shift_px),
            self.seen_vectors,
            self.wavenumber.deriv()(pixels + shift_px),
        )

    def few(self, pixels: IntArray, shifts: Sequence[float]) -> dict[float, Few]:
        """Return nearly the same at some shifts, on few nodes.

        What leads from these to the pixels is fitted to the known spectra.
        """
        known, vectors = self.known, self.seen_vectors
        nothing = np.empty((len(vectors[0]), 0, BATCH), dtype=np.float32)
        seen = {shift: self.seen(pixels, shift) for shift in shifts}
        made: dict[float, list[Array]] = {shift: [] for shift in shifts}
        for place, columns in known.columns(vectors):
            for shift, one in seen.items():
                for column in columns:
                    four, _ = one.on_pixels(column, nothing, place)
                    made[shift].append(four.transpose(1, 2, 0))
        return {
            shift: Few(
                (np.concatenate(made[shift], axis=2) @ known.inverse).astype(
                    np.float32
                ),
                known.vectors,
                one.dispersion_cm1,
            )
            for shift, one in seen.items()
        }


class Known:
    """Spectra that the first look must know, and the few nodes that tell them.

    ``weights`` (state, vector) of their optical depths, ``vectors`` of all nodes. The
    spectra are known with their derivatives by the factors. The nodes are those that
    differ most from each other; ``inverse`` (spectrum, node) takes what the spectra are
    there to one.
    """

    def __init__(self, weights: Array, vectors: Sequence[Array]) -> None:
        from scipy.linalg import qr

        rng = np.random.default_rng(0)
        self.weights = weights
        shape = len(weights), len(vectors)
        thin = [np.ascontiguousarray(one[::CANDIDATES]) for one in vectors]
        ends = np.cumsum([one.shape[1] for one in thin])[:-1]
        parts = zip(thin, np.split(weights, ends, axis=1), strict=True)
        depths = [
            np.abs(one @ part.T.astype(one.dtype)).max(axis=0) for one, part in parts
        ]
        self.factors = np.maximum(1.0, TRAINING_DEPTH / np.array(depths, dtype=float).T)
        self.factors *= np.exp(TRAINING_SPREAD * rng.standard_normal(shape))
        every = [c[:, place] for place, cs in self.columns(thin) for c in cs]
        known = np.concatenate(every, axis=1).astype(float)
        mixed = known @ rng.standard_normal((known.shape[1], FEW_NODES))
        chosen = qr(mixed.T, mode="r", pivoting=True)[1][:FEW_NODES]
        self.vectors = [np.ascontiguousarray(one[chosen]) for one in thin]
        u, size, v = np.linalg.svd(known[chosen].T, full_matrices=False)
        keep = size > RANK_TOLERANCE * size[0]
        # large entries of either sign: the product needs double precision
        self.inverse = (u[:, keep] / size[keep]) @ v[keep]

    def columns(
        self, vectors: Sequence[Array]
    ) -> Iterator[tuple[IntArray, list[Array]]]:
        """Yield places of some states, and what is there (node, place)."""
        for start in range(0, len(self.weights), BATCH):
            some = slice(start, start + BATCH)
            weights, factors = self.weights[some, None], self.factors[some]
            place = np.arange(len(weights))
            mean, change = on_nodes(vectors, weights, np.ones(1), place, factors)
            change[:, :, place] *= factors.T.astype(change.dtype)
            yield place, [mean, *change.transpose(1, 0, 2)]


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
    seen: Mapping[float, Seen | Few],
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
    mean, change = on_nodes(any_.vectors, weights, field, place, factors)
    pixels = any_.dispersion_cm1.size
    four = np.empty((count, 4, pixels), dtype=mean.dtype)
    gas = np.empty((count, factors.shape[1], pixels), dtype=mean.dtype)
    for value in np.unique(near).tolist():
        mine = near == value
        four[mine], gas[mine] = seen[value].on_pixels(mean, change, place[mine])
    return four, gas


def on_nodes(
    every: Sequence[Array],
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

    n_gas, nodes = factors.shape[1], len(every[0])
    whole = np.zeros((BATCH, *weights.shape[1:]))
    whole[place] = weights
    columns = whole.transpose(2, 1, 0).reshape(whole.shape[2], -1)
    ends = np.cumsum([vectors.shape[1] for vectors in every])[:-1]
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
        for vectors, part, out in zip(every, parts, depth, strict=True):
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
        self._kept: dict[int, tuple[Seen | Few, Array, Array, Array]] = {}

    def known(
        self, seen: Sequence[Seen | Few], rows: IntArray, factors: Array
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
        seen: Sequence[Seen | Few],
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
