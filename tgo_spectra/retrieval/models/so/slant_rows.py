"""Fit of single spectra in batches: arrays in, arrays out.

State of a row: a factor on the optical depth of each gas, shift and stretch (pixel),
aerosol exponent; its baseline is eliminated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.retrieval.models.so.scene import detector_position
from tgo_spectra.retrieval.models.so.slant_ends import Ended, Instrument
from tgo_spectra.retrieval.models.so.slant_fields import (
    Few,
    KeptFields,
    Seen,
    batches,
    fields,
)
from tgo_spectra.retrieval.solve import Evaluation, descend
from tgo_spectra.retrieval.spectra import (
    SEARCH_GAIN,
    best_shift,
    compare_shifts,
    depth_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.noise import Noise

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Choices", "Fitted", "Instrument", "Rows", "Seen", "Spectra", "fit"]

FACTOR_SIGMA = 1e4
"""Weak a priori of the factors: keeps rows without lines finite, changes no other."""

KNOWN, KNOWN_SIGMA = 0.1, 0.3
"""A gas whose mole fraction is known better than the first number (carbon dioxide) has
the column of the air, which is good to the second (inferred: waves and storms). Where
it is not seen it would else take any amount, with lines that saturate in other orders.
"""

FIXED_VARIANCE = 1e-9
"""Of what is not to be fitted."""

ITERATIONS = 5
"""Linearisations of a row with one operator, at most."""

LARGEST_STEP_PX = 1.0
"""Of the shift: beyond it lines are no longer where the derivative sees them."""

CLIP_SIGMA = 6.0
"""Pixels farther off than this are left out of the row."""

SEARCH_STEP = 4
"""The search for it looks at every fourth pixel."""

SHIFT_STEPS = ((0.03, 0.25), (0.1, 0.5))
"""Operators are built at multiples of a shift (pixel), by how certain the row's shift
is: up to the first number, the second. The expansion in shift is of second order: an
error of 5e-5 of transmittance at 0.125 pixel, 4e-4 at 0.25 and 3e-3 at 0.5 for the
strongest lines (order 134), whose shift is certain to 0.003 pixel; in proportion less
for fainter ones."""

DAMPING = 10.0
"""Of rows that go to and fro, as faint ones may, whose shift is anywhere: steps of a
third of an a priori sigma."""

LOST = 3.0
"""Times the chi-square of the first look beyond which a row begins anew."""

MOVES = 3
"""Times that a row's operator may be made anew because its shift has moved."""

SHIFT_UNKNOWN = SHIFT_STEPS[-1][0]
"""Beyond, the operator is that of the whole-pixel shift."""


@dataclass(frozen=True)
class Spectra:
    """Transmittance and 1/sigma (0: not used) of the fitted pixels, (row, pixel)."""

    transmittance: Array
    weight: Array


@dataclass(frozen=True)
class Choices:
    """What the setup says: starting factors and their sigmas (gas,), and the rest.

    A sigma of zero keeps an element fixed.
    """

    first: Array
    sigma: Array
    shift_sigma: float
    stretch_sigma: float
    exponent: float
    exponent_sigma: float
    baseline_degree: int
    search_px: int

    @property
    def prior(self) -> Array:
        """Inverse a priori variances of the state, (element,)."""
        tail = np.array([self.shift_sigma, self.stretch_sigma, self.exponent_sigma])
        tail = 1.0 / np.maximum(tail**2, FIXED_VARIANCE)
        return np.concatenate([self.sigma**-2.0, tail])

    @property
    def start(self) -> Array:
        """A priori state, (element,)."""
        return np.concatenate([self.first, [0.0, 0.0, self.exponent]])


@dataclass(frozen=True)
class Fitted:
    """State and its standard error (row, element), chi-square, baseline (row, c).

    ``noise``: of each row, as its residuals have it; ``off_sigmas`` (row, element): of
    what is fitted beside the gases, from its a priori in units of its 1 sigma;
    ``changes`` (row, gas): of the factors by each source of what is not fitted;
    ``agreement`` (row,): probability that the lines of each gas agree, the least;
    ``alone`` (row,): whether of a gas there is but one manifold; ``left_out`` (row,):
    share of the pixels given that the fit left out.
    """

    state: Array
    error: Array
    reduced_chi_square: Array
    baseline: Array
    converged: npt.NDArray[np.bool_]
    noise: list[Noise]
    off_sigmas: Array
    changes: Mapping[str, Array]
    agreement: Array
    alone: npt.NDArray[np.bool_]
    left_out: Array


@dataclass(frozen=True)
class _Reduced:
    """Of each row, the baseline eliminated."""

    gram: Array
    gradient: Array
    residual: Array
    baseline: Array


def fit(
    spectra: Spectra,
    choices: Choices,
    instrument: Instrument,
    weights: Array,
    field: Array,
    others: Mapping[str, tuple[Instrument, Array]],
    zero_level: float,
    line_sigma: float,
) -> Fitted:
    """Fit rows.

    Parameters
    ----------
    spectra : Spectra
    choices : Choices
    instrument : Instrument
    weights : array, shape (row, field point, vector)
        Optical depth of factor one = vectors @ weights, over the field of view.
    field : array, shape (field point,)
        Weights of the average over the field of view.
    others : dict of tuple
        By source of error: instrument and ``weights`` as they may really be.
    zero_level : float
        Light that may be added to all, of that of the Sun.
    line_sigma : float
        Relative error of the lines of a manifold against those of another.

    Returns
    -------
    Fitted
        NaN for rows that end nowhere.
    """
    rows = Rows(spectra, choices, instrument.pixels)
    few = rows.look(instrument, weights, field)
    moved = rows.move()
    rest = [at for at in np.unique(rows.near[moved]).tolist() if at not in few]
    few |= instrument.few(instrument.pixels, rest)
    rows.settle(moved, few, weights, field)
    for _ in range(MOVES):
        again = np.flatnonzero(rows.unsettled)
        rows.descend(again, few, weights, field, damping=DAMPING)
    made: dict[float, Seen] = {}
    for turn in range(MOVES):
        moved = rows.move()
        moved = moved if turn else np.flatnonzero(rows.somewhere)
        for shift in np.unique(rows.near[moved]).tolist():
            if shift not in made:
                made[shift] = instrument.seen(instrument.pixels, shift)
        rows.settle(moved, made, weights, field, damping=DAMPING)
    some = np.flatnonzero(rows.somewhere)
    four, gas = rows.seen_by(made, some, rows.point[some, : rows.n_gas], weights, field)
    ended = rows.ended
    changes = ended.changes(some, made, instrument, weights, field, others)
    ends = ended.conclude(some, four, gas, made, changes, zero_level, line_sigma)
    off = (rows.state - choices.start) * np.sqrt(choices.prior)
    return Fitted(
        rows.state, rows.error, rows.reduced, rows.baseline, rows.converged,
        ends.noise, off[:, rows.n_gas :], ends.changes, ends.agreement, ends.alone,
        1.0 - (rows.weight > 0).sum(axis=1) / (rows.given > 0).sum(axis=1),
    )  # fmt: skip


class Rows:
    """Rows on their way; ``near``: shift (pixel) at which their operator is made."""

    def __init__(self, spectra: Spectra, choices: Choices, pixels: IntArray) -> None:
        self.y, self.given = spectra.transmittance, spectra.weight
        self.weight = self.given.copy()
        self.choices, self.pixels = choices, pixels
        self.n_gas = choices.first.size
        count = len(self.y)
        self.state = np.tile(choices.start, (count, 1))
        self.error = np.full(self.state.shape, np.nan)
        self.baseline = np.full((count, choices.baseline_degree + 1), np.nan)
        self.residual = np.full(self.y.shape, np.nan)
        self.point = self.state.copy()
        self.converged = np.zeros(count, dtype=bool)
        self.covariance = np.full((count, *2 * self.state.shape[1:]), np.nan)
        self.freedom = np.full(count, np.nan)
        self.fields = KeptFields()
        self.reduced = np.full(count, np.nan)
        self.looked = self.reduced
        self.near, self.whole, self.built = np.zeros((3, count))
        self.built[:] = np.nan
        used = self.weight > 0
        self.depth = depth_of((self.y * used).sum(axis=1) / used.sum(axis=1))
        self.position = detector_position(pixels)
        degree = choices.baseline_degree
        self.polynomials = np.ascontiguousarray(
            legendre.legvander(self.position, degree).T
        )
        self.most = np.full(self.state.shape[1], np.inf)
        self.most[self.n_gas] = LARGEST_STEP_PX

    @property
    def ended(self) -> Ended:
        """Rows in the end."""
        return Ended(
            pixels=self.pixels, position=self.position,
            polynomials=self.polynomials, weight=self.weight, depth=self.depth,
            near=self.near, point=self.point, covariance=self.covariance,
            freedom=self.freedom, baseline=self.baseline, residual=self.residual,
            n_gas=self.n_gas, factor_sigma=FACTOR_SIGMA,
        )  # fmt: skip

    @property
    def somewhere(self) -> npt.NDArray[np.bool_]:
        """Rows that ended somewhere."""
        return np.asarray(np.isfinite(self.residual).any(axis=1))

    @property
    def unsettled(self) -> npt.NDArray[np.bool_]:
        """Rows that ended somewhere, but not where no step is left."""
        return ~self.converged & self.somewhere

    def look(
        self, instrument: Instrument, weights: Array, field: Array
    ) -> dict[float, Few]:
        """Find the shift and nearly the factors, on few nodes.

        Return what led there, by whole-pixel shifts.
        """
        reach, pixels = self.choices.search_px, instrument.pixels
        wide = np.arange(pixels[0] - reach, pixels[-1] + reach + 1)
        seen = instrument.few(wide, [0.0])
        everyone = np.arange(len(weights))
        if reach:
            factors = self.state[:, : self.n_gas]
            self.search(*self.seen_by(seen, everyone, factors, weights, field))
        self.descend(everyone, seen, weights, field, wide)
        self.depth = depth_of(self.baseline[:, 0])
        self.looked = self.reduced.copy()
        every = np.arange(-reach, reach + 1)
        return {float(at): seen[0.0].at(pixels - wide[0] + at) for at in every}

    def search(self, four: Array, gas: Array) -> None:
        """Whole-pixel shifts; a gain counts in units of what is left.

        One bad pixel in a line is no shift. Fields as `fields`, on more pixels.
        """
        chi, left = self.compared(four, gas)
        self.whole[:] = best_shift(chi, SEARCH_GAIN * left)
        self.state[:, self.n_gas] = self.whole

    def compared(self, four: Array, gas: Array, inner: int = 0) -> tuple[Array, Array]:
        """Return chi-squares of whole-pixel shifts, (row, shift), and what is left.

        That is of each used pixel where a shift suits best, one at the least. Without
        so many pixels at either end of the spectra there are as many shifts more.
        """
        n = self.n_gas
        exponent = self.state[:, n + 2] * self.depth
        seen = slice(inner, self.y.shape[1] - inner)
        weight = self.weight[:, seen]
        chi, _ = compare_shifts(
            self.y[:, seen],
            weight,
            four[:, 0] - exponent[:, None] * four[:, 3],
            gas,
            self.polynomials[:, seen],
            precision=self.choices.prior[:n],
            every=SEARCH_STEP,
        )
        used = (weight[:, ::SEARCH_STEP] > 0).sum(axis=1)
        left = chi.min(axis=1) / np.maximum(used, 1)
        return chi, np.maximum(left, 1.0)

    def reduce(
        self,
        batch: IntArray,
        states: Array,
        four: Array,
        gas: Array,
        dispersion: Array,
        near: Array,
    ) -> _Reduced:
        """Eliminate the baselines of a batch at some states."""
        from tgo_spectra.retrieval.kernels import reduce_rows

        n, fixed = self.n_gas, np.ascontiguousarray
        count, fields = batch.size, n + 3
        y, weight = self.y[batch], self.weight[batch]
        moved = states[:, n:].copy()
        moved[:, 0] -= near
        model, residual = np.empty((2, *y.shape))
        baseline = np.empty((count, len(self.polynomials)))
        gram, gradient = np.empty((count, fields, fields)), np.empty((count, fields))
        # a gas without lines is nearly a baseline: double keeps what is left positive
        reduce_rows(
            y, weight, fixed(four), fixed(gas, dtype=float),
            self.polynomials, self.position,
            fixed(dispersion), moved, self.depth[batch], model, residual, baseline,
            gram, gradient,
        )  # fmt: skip
        return _Reduced(gram, gradient, residual, baseline)

    def move(self) -> IntArray:
        """Choose the shift at which each operator is made; tell for which it is new."""
        n = self.n_gas
        shift, sigma = self.state[:, n], self.error[:, n]
        known = sigma < SHIFT_UNKNOWN
        step = np.where(sigma < SHIFT_STEPS[0][0], SHIFT_STEPS[0][1], SHIFT_STEPS[1][1])
        near = np.where(known, np.round(shift / step) * step, self.whole)
        # on the border between two either will do
        far = known & (np.abs(shift - self.built) > 0.6 * step)
        moved = np.flatnonzero((far | np.isnan(self.built)) & np.isfinite(shift))
        self.near[moved] = self.built[moved] = near[moved] + 0.0
        # what was left out may have been off because the operator was
        self.weight[moved] = self.given[moved]
        return moved

    def settle(
        self,
        rows: IntArray,
        seen: Mapping[float, Seen | Few],
        weights: Array,
        field: Array,
        damping: float = 0.0,
    ) -> None:
        """Fit some rows; those that are lost from the start, those with bad pixels."""
        self.descend(rows, seen, weights, field, damping=damping)
        lost = rows[self.lost(rows)]
        self.state[lost] = self.choices.start
        self.descend(lost, seen, weights, field, damping=DAMPING)
        again = rows[self.clip(rows)]
        self.state[again] = self.point[again]
        self.descend(again, seen, weights, field, damping=damping)

    def lost(self, rows: IntArray) -> npt.NDArray[np.bool_]:
        """Tell which rows the first look has led to where there is no such spectrum.

        Of a gas that the row does not show it may take any amount.
        """
        kept = self.reduced[rows] < LOST * self.looked[rows]
        return np.asarray(~(self.converged[rows] | kept))

    def clip(self, rows: IntArray) -> npt.NDArray[np.bool_]:
        """Leave out pixels that are far off; tell which rows had any."""
        outlier = np.abs(self.residual[rows]) > CLIP_SIGMA
        self.weight[rows] *= ~outlier
        return np.asarray(outlier.any(axis=1))

    def descend(
        self,
        rows: IntArray,
        seen: Mapping[float, Seen | Few],
        weights: Array,
        field: Array,
        wide: IntArray | None = None,
        damping: float = 0.0,
    ) -> None:
        """Fit some rows, each with the operator that is made near its shift.

        ``wide``: pixels of the operator, if these are more than are fitted: rows look
        at those at their whole-pixel shift.
        """
        if not rows.size:
            return
        prior = self.choices.prior
        found = descend(
            lambda items, states: self._evaluated(
                rows[items], states, seen, weights, field, wide
            ),
            self.state[rows],
            self.choices.start,
            np.diag(prior),
            max_iterations=ITERATIONS,
            damping=damping,
            scale=self._scale(rows),
            most=self.most,
        )
        self.state[rows], self.point[rows] = found.vector, found.point
        self.covariance[rows] = found.covariance
        self.converged[rows] = found.converged
        variance = np.einsum("rii->ri", found.covariance)
        self.error[rows] = np.sqrt(variance)
        self.baseline[rows] = found.final.beside["baseline"]
        self.residual[rows] = found.final.beside["residual"]
        used = (self.weight[rows] > 0).sum(axis=1)
        self.freedom[rows] = prior.size - variance @ prior
        freedom = self.freedom[rows] + self.baseline.shape[1]
        step = found.vector - found.point
        foreseen = found.final.chi_square - 2.0 * (step * found.final.gradient).sum(1)
        foreseen += np.einsum("ri,rij,rj->r", step, found.final.matrix, step)
        self.reduced[rows] = foreseen / (used - freedom)

    def seen_by(
        self,
        seen: Mapping[float, Seen | Few],
        rows: IntArray,
        factors: Array,
        weights: Array,
        field: Array,
    ) -> tuple[Array, Array]:
        """Fields of some rows, see `fields`: made where they are not known."""
        near = self.near[rows]
        through = [seen[value] for value in near.tolist()]
        new = np.flatnonzero(~self.fields.known(through, rows, factors))
        for chosen in batches(near[new]):
            batch = new[chosen]
            mine, x, one = rows[batch], factors[batch], through[batch[0]]
            self.fields.keep(one, mine, x, *fields(one, weights[mine], field, x))
        return self.fields.of(rows)

    def _scale(self, rows: IntArray) -> Array:
        """Inverse squares of the steps to be made, (row, element, element).

        Of a factor one, or its error where that is more: lines that are not seen.
        """
        size = np.tile(self.choices.prior**-0.5, (rows.size, 1))
        size[:, : self.n_gas] = np.fmax(1.0, self.error[rows, : self.n_gas])
        return np.asarray(np.eye(size.shape[1]) * size[:, None] ** -2.0)

    def _evaluated(
        self,
        rows: IntArray,
        states: Array,
        seen: Mapping[float, Seen | Few],
        weights: Array,
        field: Array,
        wide: IntArray | None,
    ) -> Evaluation:
        n, count = self.n_gas, rows.size
        size = states.shape[1]
        gram, gradient = np.empty((count, size, size)), np.empty((count, size))
        residual = np.empty((count, self.y.shape[1]))
        baseline = np.empty((count, self.baseline.shape[1]))
        four, gas = self.seen_by(seen, rows, states[:, :n], weights, field)
        near = self.near[rows] if wide is None else self.whole[rows]
        for value in np.unique(near).tolist():
            at = np.flatnonzero(near == value)
            window: IntArray | slice = slice(None)
            if wide is not None:
                window = self.pixels + int(value) - wide[0]
            found = self.reduce(
                rows[at], states[at], four[at][:, :, window], gas[at][:, :, window],
                seen[float(self.near[rows[at[0]]])].dispersion_cm1[window], near[at],
            )  # fmt: skip
            gram[at], gradient[at] = found.gram, found.gradient
            residual[at], baseline[at] = found.residual, found.baseline
        return Evaluation(
            (residual**2).sum(axis=1),
            gram,
            gradient,
            {"residual": residual, "baseline": baseline},
        )
