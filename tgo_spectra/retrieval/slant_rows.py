"""Fit of single spectra in batches: arrays in, arrays out.

State of a row: a factor on the optical depth of each gas, shift and stretch (pixel),
aerosol exponent; its baseline is eliminated. Gauss-Newton, each row with its own
iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.matrices import steady_product
from tgo_spectra.operators import tabulated as operators
from tgo_spectra.operators.model import apply_model
from tgo_spectra.retrieval.evaluation import depth_of
from tgo_spectra.retrieval.scene import detector_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.operators.tabulated import Operator

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Choices", "Fitted", "Instrument", "Seen", "Spectra", "fit"]

BATCH = 32
"""Rows that go through the model together. A product rounds differently in another size
or at another place in it: a row has its place by its number in the product, others stay
empty."""

FACTOR_SIGMA = 1e4
"""Weak a priori of the factors: keeps rows without lines finite, changes no other."""

FIXED_VARIANCE = 1e-9
"""Of what is not to be fitted."""

FIRST_ITERATIONS, ITERATIONS = 8, 5
SMALL_STEP = 0.01
"""The step after this one would have d^2 below this for each element; in the first look
a hundred times more will do."""

LOOKED = 0.05
"""The first look ends within some 10 %: the next step has less than this of the d^2 of
the first with the whole instrument (a hundredth, if steps shrink with the square)."""

WORSE, SHORTER = 1.02, 0.3
"""A step that raises chi-square by more than this is taken back and shortened."""

CLIP_SIGMA = 6.0
"""Pixels farther off than this are left out of the row."""

SEARCH_GAIN = 25.0
"""Another whole-pixel shift must lower chi-square by this much (5 sigma)."""

SEARCH_STEP = 4
"""The search for it looks at every fourth pixel."""

SHIFT_STEPS = ((0.03, 0.25), (0.1, 0.5))
"""Operators are built at multiples of a shift (pixel), by how certain the row's shift
is: up to the first number, the second. The expansion in shift is of second order: an
error of 5e-5 of transmittance at 0.125 pixel, 4e-4 at 0.25 and 3e-3 at 0.5 for the
strongest lines (order 134), whose shift is certain to 0.003 pixel; in proportion less
for fainter ones."""

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
    """What the setup says: starting factors (gas,), a priori sigmas, and the rest.

    A sigma of zero keeps an element fixed.
    """

    first: Array
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
        return np.concatenate([np.full(self.first.size, FACTOR_SIGMA**-2), tail])

    @property
    def start(self) -> Array:
        """A priori state, (element,)."""
        return np.concatenate([self.first, [0.0, 0.0, self.exponent]])


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


class Instrument(Protocol):
    """Makes what leads from optical depths to pixels near a shift."""

    pixels: IntArray

    def seen(self, pixels: IntArray, shift_px: float, first: bool) -> Seen:
        """Return it; ``first``: for the first look."""


@dataclass(frozen=True)
class Fitted:
    """State and its standard error (row, element), chi-square, baseline (row, c)."""

    state: Array
    error: Array
    reduced_chi_square: Array
    baseline: Array


@dataclass
class _Model:
    """Fields of a batch of rows on the pixels of an operator.

    ``four``: value, first and second derivative, slope, (row, 4, pixel); ``gas``:
    derivative to the factors, (row, gas, pixel). ``place``: of each row.
    """

    seen: Seen
    weights: Array
    field: Array
    place: IntArray

    def __post_init__(self) -> None:
        from tgo_spectra.retrieval.row_kernel import average_field, sum_depths

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


@dataclass(frozen=True)
class _Reduced:
    """Of each row, the baseline eliminated."""

    gram: Array
    gradient: Array
    residual: Array
    baseline: Array

    @property
    def chi_square(self) -> Array:
        """Sum of the squared residuals, (row,)."""
        return np.asarray((self.residual**2).sum(axis=1))


def fit(
    number: IntArray,
    spectra: Spectra,
    choices: Choices,
    instrument: Instrument,
    central: Array,
    weights: Array,
    field: Array,
) -> Fitted:
    """Fit rows.

    Parameters
    ----------
    number : array of int, shape (row,)
        Of the rows in their product.
    spectra : Spectra
    choices : Choices
    instrument : Instrument
    central, weights : array, shape (row, field point, vector)
        Optical depth of factor one = vectors @ weights, along the central line of sight
        and over the field of view.
    field : array, shape (field point,)
        Weights of the average over the field of view.

    Returns
    -------
    Fitted
        NaN for rows that end nowhere.
    """
    rows = _Rows(number, spectra, choices, instrument.pixels)
    reach = choices.search_px
    pixels = instrument.pixels
    wide = np.arange(pixels[0] - reach, pixels[-1] + reach + 1)
    seen = instrument.seen(wide, 0.0, True)
    everyone = np.arange(len(central))
    rows.iterate(
        everyone, seen, central, np.ones(1), FIRST_ITERATIONS, 100.0 * SMALL_STEP, wide
    )
    rows.depth = depth_of(rows.baseline[:, 0])
    made: dict[float, Seen] = {}
    for _ in range(MOVES):
        moved = rows.move()
        for shift in np.unique(rows.near[moved]).tolist():
            if shift not in made:
                made[shift] = instrument.seen(pixels, shift, False)
            chosen = moved[rows.near[moved] == shift]
            rows.iterate(chosen, made[shift], weights, field, ITERATIONS, SMALL_STEP)
    return Fitted(rows.state, rows.error, rows.reduced, rows.baseline)


class _Rows:
    """Rows on their way; ``near``: shift (pixel) at which their operator is made."""

    def __init__(
        self, number: IntArray, spectra: Spectra, choices: Choices, pixels: IntArray
    ) -> None:
        self.number = number
        self.y, self.given = spectra.transmittance, spectra.weight
        self.weight = self.given.copy()
        self.choices, self.pixels = choices, pixels
        self.n_gas = choices.first.size
        count = len(self.y)
        self.state = np.tile(choices.start, (count, 1))
        self.error = np.full(self.state.shape, np.nan)
        self.baseline = np.full((count, choices.baseline_degree + 1), np.nan)
        self.reduced = np.full(count, np.nan)
        self.near, self.whole, self.built = np.zeros((3, count))
        self.built[:] = np.nan
        used = self.weight > 0
        self.depth = depth_of((self.y * used).sum(axis=1) / used.sum(axis=1))
        self.position = detector_position(pixels)
        degree = choices.baseline_degree
        self.polynomials = np.ascontiguousarray(
            legendre.legvander(self.position, degree).T
        )
        self.length, self.chi_square = np.zeros(count), np.full(count, np.inf)
        self.step = np.zeros(self.state.shape)

    def search(
        self,
        batch: IntArray,
        four: Array,
        gas: Array,
        dispersion: Array,
        wide: IntArray,
    ) -> None:
        """Whole-pixel shifts; zero unless another gains more than `SEARCH_GAIN`."""
        reach, n = self.choices.search_px, self.n_gas
        shifts = np.arange(-reach, reach + 1)
        some = slice(None, None, SEARCH_STEP)
        chi = np.empty((batch.size, shifts.size))
        ridge = FACTOR_SIGMA**-2 * np.eye(n)
        for at, shift in enumerate(shifts):
            seen = (self.pixels + shift - wide[0])[some]
            found = self.reduce(
                batch, four[:, :, seen], gas[:, :, seen],
                dispersion[seen], np.full(batch.size, shift), some,
            )  # fmt: skip
            slope = found.gradient[:, :n, None]
            best = np.linalg.solve(found.gram[:, :n, :n] + ridge, slope)
            chi[:, at] = found.chi_square - (slope * best).sum(axis=(1, 2))
        best = chi.argmin(axis=1)
        gain = chi[:, reach] - chi[np.arange(batch.size), best]
        self.whole[batch] = np.where(gain > SEARCH_GAIN, shifts[best], 0)
        self.state[batch, n] = self.whole[batch]

    def reduce(
        self,
        batch: IntArray,
        four: Array,
        gas: Array,
        dispersion: Array,
        near: Array,
        some: slice = slice(None),
    ) -> _Reduced:
        """Eliminate the baselines of a batch."""
        from tgo_spectra.retrieval.row_kernel import reduce_rows

        n = self.n_gas
        y, weight = self.y[batch][:, some], self.weight[batch][:, some]
        position = np.ascontiguousarray(self.position[some])
        polynomials = np.ascontiguousarray(self.polynomials[:, some])
        count, fields = batch.size, n + 3
        model, residual = np.empty((2, *y.shape))
        baseline = np.empty((count, len(polynomials)))
        gram, gradient = np.empty((count, fields, fields)), np.empty((count, fields))
        # a gas without lines is nearly a baseline: double keeps what is left positive
        four, gas = np.ascontiguousarray(four), np.ascontiguousarray(gas, dtype=float)
        dispersion = np.ascontiguousarray(dispersion)
        y, weight = np.ascontiguousarray(y), np.ascontiguousarray(weight)
        shift, stretch, exponent = self.state[batch, n:].T
        for row in range(count):
            one = slice(row, row + 1)
            failed = reduce_rows(
                y[one], weight[one], four[one], gas[one], polynomials, position,
                dispersion, (shift - near)[one], stretch[row], exponent[row],
                self.depth[batch[one]], model[one], residual[one], baseline[one],
                gram[one], gradient[one],
            )  # fmt: skip
            if failed >= 0:
                gram[row], gradient[row], residual[row] = np.eye(fields), 0.0, np.nan
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
        self.length[moved], self.chi_square[moved] = 0.0, np.inf
        # what was left out may have been off because the operator was
        self.weight[moved] = self.given[moved]
        return moved

    def iterate(
        self,
        rows: IntArray,
        seen: Seen,
        weights: Array,
        field: Array,
        iterations: int,
        small_step: float,
        wide: IntArray | None = None,
    ) -> None:
        """Step each row until its next step would be small.

        ``wide``: pixels of the operator, if these are more than are fitted: rows look
        at those nearest to their shift, and no pixel is left out.
        """
        n, reach = self.n_gas, self.choices.search_px
        for iteration in range(iterations):
            last, going = iteration + 1 == iterations, []
            for batch in self._batches(rows):
                place = self.number[batch] % BATCH
                model = _Model(seen, weights[batch], field, place)
                four, gas = model(self.state[batch, :n])
                if wide is not None:
                    if reach and iteration == 0:
                        self.search(batch, four, gas, seen.dispersion_cm1, wide)
                    known = self.error[batch, n] < SHIFT_UNKNOWN
                    shift = np.where(known, self.state[batch, n], self.whole[batch])
                    self.near[batch] = np.round(shift).clip(-reach, reach)
                for near in np.unique(self.near[batch]):
                    these = np.flatnonzero(self.near[batch] == near)
                    window: IntArray | slice = slice(None)
                    if wide is not None:
                        window = self.pixels + int(near) - wide[0]
                    part = (
                        four[these][:, :, window], gas[these][:, :, window],
                        seen.dispersion_cm1[window], np.full(these.size, near),
                    )  # fmt: skip
                    settled = self._stepped(
                        batch[these], part, small_step, wide is None, last
                    )
                    going.append(batch[these[~settled]])
            rows = np.sort(np.concatenate(going))
            if not rows.size:
                break

    def _batches(self, rows: IntArray) -> list[IntArray]:
        """Put rows together, no two of one place."""
        place = self.number[rows] % BATCH
        order = np.argsort(place, kind="stable")
        ordered = place[order]
        rank = np.arange(rows.size) - np.searchsorted(ordered, ordered)
        return [np.sort(rows[order[rank == r]]) for r in range(rank.max() + 1)]

    def _stepped(
        self,
        rows: IntArray,
        part: tuple[Array, Array, Array, Array],
        small_step: float,
        clip: bool,
        last: bool,
    ) -> npt.NDArray[np.bool_]:
        """Take a step with some rows; tell which have ended."""
        found = self.reduce(rows, *part)
        chi = found.chi_square
        worse = ~(chi <= WORSE * self.chi_square[rows])
        step, length, covariance = self._solve(rows, found)
        before = self.length[rows]
        ratio = np.where(before > length, length / np.maximum(before, 1e-300), 1.0)
        ratio = np.where(clip & (before == 0.0), LOOKED, ratio)
        settled = ~worse & (length * ratio < small_step * step.shape[1])
        if clip:
            outlier = np.abs(found.residual) > CLIP_SIGMA
            again = np.flatnonzero((settled | last) & outlier.any(axis=1))
            if again.size:
                self.weight[rows[again]] *= ~outlier[again]
                four, gas, dispersion, near = part
                other = self.reduce(
                    rows[again], four[again], gas[again], dispersion, near[again]
                )
                step[again], length[again], covariance[again] = self._solve(
                    rows[again], other
                )
                chi[again] = other.chi_square
                found.gram[again], found.gradient[again] = other.gram, other.gradient
                found.baseline[again] = other.baseline
        back = np.flatnonzero(worse)
        shorter = SHORTER * self.step[rows[back]]
        self.state[rows[back]] += shorter - self.step[rows[back]]
        self.step[rows[back]] = shorter
        on = np.flatnonzero(~worse)
        self.state[rows[on]] += step[on]
        self.step[rows[on]], self.length[rows[on]] = step[on], length[on]
        self.chi_square[rows[on]] = chi[on]
        self.error[rows] = np.sqrt(np.einsum("rii->ri", covariance))
        self.baseline[rows] = found.baseline
        foreseen = chi - 2.0 * (step * found.gradient).sum(axis=1)
        foreseen += np.einsum("ri,rij,rj->r", step, found.gram, step)
        held = np.einsum("rii,i->r", covariance, self.choices.prior)
        degrees = step.shape[1] - held + found.baseline.shape[1]
        self.reduced[rows] = foreseen / ((self.weight[rows] > 0).sum(axis=1) - degrees)
        return np.asarray(settled)

    def _solve(self, rows: IntArray, found: _Reduced) -> tuple[Array, Array, Array]:
        """Return steps, their squared lengths in sigmas, and covariances."""
        prior = self.choices.prior
        covariance = np.linalg.inv(found.gram + np.diag(prior))
        downhill = found.gradient - prior * (self.state[rows] - self.choices.start)
        step = np.einsum("rij,rj->ri", covariance, downhill)
        length = (step * downhill).sum(axis=1)
        shift = step[:, self.n_gas]
        step[:, self.n_gas] = np.clip(shift, -1.0, 1.0)
        return step, length, covariance
