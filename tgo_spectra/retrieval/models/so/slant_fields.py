"""What single spectra see at the spectral quadrature points and on the pixels."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operators
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
    "batches",
    "fields",
    "on_nodes",
]

BATCH = 16
"""Rows that go through the model together, always as many: a product rounds differently
in another size, but the same at any place in it. Where there are fewer rows the rest
stays empty."""


TRAINING, FEW_NODES = 64, 180
"""Spectra that the first look must know, and the quadrature points that it keeps. On
spectra that it does not know it is off by 2e-6 of transmittance in the middle, by 2e-5
in one of ten (order 134, four gases, 48 spectra with factors that scatter by a half).
Where it is farther off a row is seen by the whole instrument more often."""

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
class Vectors:
    """Vectors of all gases on some nodes: one gas after the other in one array.

    ``ends`` (gas + 1,): the first vector of each, and the number of all.
    """

    flat: Array
    ends: IntArray

    @classmethod
    def of(cls, parts: Sequence[Array]) -> Vectors:
        """Put them together, (node, vector) each."""
        ends = np.cumsum([0, *(one.shape[1] for one in parts)])
        return cls(np.concatenate([one.ravel() for one in parts]), ends)

    @property
    def parts(self) -> list[Array]:
        """Those of each gas, (node, vector)."""
        nodes = self.flat.size // self.ends[-1]
        every = np.split(self.flat, nodes * self.ends[1:-1])
        return [one.reshape(nodes, -1) for one in every]

    def at(self, nodes: slice | IntArray) -> Vectors:
        """Return those of some nodes."""
        return Vectors.of([one[nodes] for one in self.parts])


@dataclass(frozen=True)
class Seen:
    """Operator for some nodes, the gases' vectors there, and the dispersion.

    ``dispersion_cm1``: (pixel,), per pixel. All that rows are fitted with have the same
    nodes.
    """

    operator: Operator
    vectors: Vectors
    dispersion_cm1: Array

    def on_pixels(self, mean: Array, change: Array) -> tuple[Array, Array]:
        """Fields of a batch of rows from what is on the nodes, see `fields`.

        (node, row), (gas, node, row) to (4, pixel, row), (gas, pixel, row).
        """
        from tgo_spectra.instruments.response.kernel import apply_rows

        one = self.operator
        size = one.pixels.size
        four = np.zeros((4, size, mean.shape[1]), dtype=mean.dtype)
        gas = np.zeros((len(change), size, mean.shape[1]), dtype=mean.dtype)
        lever = np.asarray(one.lever, dtype=mean.dtype)
        apply_rows(
            *operators.blocks_of(one), one.data, lever, LIMIT, mean, change, four, gas
        )
        return four, gas


@dataclass(frozen=True)
class Few:
    """The same with few nodes, which make known spectra: for a first look.

    ``matrix``: (4, pixel, node) to value, first and second derivative, slope.
    """

    matrix: Array
    vectors: Vectors
    dispersion_cm1: Array

    def at(self, pixels: IntArray) -> Few:
        """Return it for some of its pixels."""
        return Few(self.matrix[:, pixels], self.vectors, self.dispersion_cm1[pixels])

    def on_pixels(self, mean: Array, change: Array) -> tuple[Array, Array]:
        """Do as `Seen.on_pixels`."""
        return self.matrix @ mean, self.matrix[0] @ change


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
        self.nodes = self._nodes()
        self.vectors = Vectors.of(np.split(spanned[self.nodes], ends, axis=1))
        self.known = Known(known, self.vectors)

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
            self.vectors,
            self.wavenumber.deriv()(pixels + shift_px),
        )

    def few(self, pixels: IntArray, shifts: Sequence[float]) -> dict[float, Few]:
        """Return nearly the same at some shifts, on few nodes.

        What leads from these to the pixels is fitted to the known spectra.
        """
        known = self.known
        if not shifts:
            return {}
        seen = {at: self.operator(pixels, at, kinds=4) for at in shifts}
        made: dict[float, list[Array]] = {at: [] for at in shifts}
        for column in known.columns(self.vectors):
            for at, one in seen.items():
                made[at].append(operators.apply_many(one, column))
        return {
            at: Few(
                (np.concatenate(made[at], axis=2) @ known.inverse).astype(np.float32),
                known.vectors,
                self.wavenumber.deriv()(pixels + at),
            )
            for at in shifts
        }


class Known:
    """Spectra that the first look must know, and the few nodes that tell them.

    ``weights`` (state, vector) of their optical depths, ``vectors`` of all nodes. The
    spectra are known with their derivatives by the factors. The nodes are those that
    differ most from each other; ``inverse`` (spectrum, node) takes what the spectra are
    there to one.
    """

    def __init__(self, weights: Array, vectors: Vectors) -> None:
        from scipy.linalg import qr

        rng = np.random.default_rng(0)
        self.weights = weights
        thin = vectors.at(slice(None, None, CANDIDATES))
        parts = zip(thin.parts, np.split(weights, thin.ends[1:-1], axis=1), strict=True)
        depths = np.array([np.abs(one @ part.T).max(axis=0) for one, part in parts]).T
        spread = np.exp(TRAINING_SPREAD * rng.standard_normal(depths.shape))
        self.factors = np.maximum(1.0, TRAINING_DEPTH / depths) * spread
        known = np.concatenate(list(self.columns(thin)), axis=1).astype(float)
        mixed = known @ rng.standard_normal((known.shape[1], FEW_NODES))
        order = qr(mixed.T, mode="r", pivoting=True)[1]
        chosen = order[:FEW_NODES].astype(np.intp)
        self.vectors = thin.at(chosen)
        u, size, v = np.linalg.svd(known[chosen].T, full_matrices=False)
        keep = size > RANK_TOLERANCE * size[0]
        # large entries of either sign: the product needs double precision
        self.inverse = (u[:, keep] / size[keep]) @ v[keep]

    def columns(self, vectors: Vectors) -> Iterator[Array]:
        """Yield the spectra and their derivatives on some nodes, (node, some)."""
        for start in range(0, len(self.weights), 2 * BATCH):
            some = slice(start, start + 2 * BATCH)
            factors = self.factors[some]
            mean, change = on_nodes(
                vectors, self.weights[some, None], np.ones(1), factors
            )
            yield mean
            for one, factor in zip(change, factors.T, strict=True):
                yield one * factor.astype(one.dtype)


def batches(near: Array) -> list[IntArray]:
    """Put rows together of which this is the same; positions among the rows."""
    found = []
    for value in np.unique(near):
        rows = np.flatnonzero(near == value)
        found += [rows[i : i + BATCH] for i in range(0, rows.size, BATCH)]
    return found


def fields(
    seen: Seen | Few, weights: Array, field: Array, factors: Array
) -> tuple[Array, Array]:
    """Fields of at most `BATCH` rows at some factors, on the pixels of their operator.

    Weights (row, field point, vector of any gas), weights of the field (field point,),
    factors (row, gas) -> value, first and second derivative, slope (row, 4, pixel);
    derivative to the factors (row, gas, pixel).
    """
    count = len(factors)
    four, gas = seen.on_pixels(*on_nodes(seen.vectors, weights, field, factors))
    return four[..., :count].transpose(2, 0, 1), gas[..., :count].transpose(2, 0, 1)


def on_nodes(
    vectors: Vectors,
    weights: Array,
    field: Array,
    factors: Array,
    *,
    derivatives: bool = True,
) -> tuple[Array, Array]:
    """Transmittance (node, row) and its derivative to factors (gas, node, row).

    As `fields`, with at least `BATCH` rows; without ``derivatives`` those to no gas.
    """
    from tgo_spectra.retrieval.kernels import see_nodes

    rows, n_gas = max(len(factors), BATCH), factors.shape[1]
    nodes = vectors.flat.size // vectors.ends[-1]
    mine = np.zeros((field.size, weights.shape[2], rows), dtype=np.float32)
    mine[:, :, : len(weights)] = weights.transpose(1, 2, 0)
    x = np.zeros((n_gas, rows), dtype=np.float32)
    x[:, : len(factors)] = factors.T
    mean = np.empty((nodes, rows), dtype=np.float32)
    change = np.empty((n_gas if derivatives else 0, nodes, rows), dtype=np.float32)
    narrow = field.astype(np.float32)
    see_nodes(vectors.flat, mine, vectors.ends, x, narrow, LIMIT, mean, change)
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
        self, seen: Seen | Few, rows: IntArray, factors: Array, four: Array, gas: Array
    ) -> None:
        """Keep what rows give."""
        for row, *parts in zip(rows.tolist(), factors, four, gas, strict=True):
            self._kept[row] = (seen, *parts)

    def of(self, rows: IntArray) -> tuple[Array, Array]:
        """Return value, derivatives and slope, and the derivatives to the factors."""
        kept = [self._kept[row] for row in rows.tolist()]
        return np.array([one[2] for one in kept]), np.array([one[3] for one in kept])
