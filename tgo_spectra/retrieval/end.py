"""Spectra of a fit at its end, with waves of the baseline beside the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.retrieval import consistency, noise
from tgo_spectra.retrieval.linear import Linearised
from tgo_spectra.retrieval.solve import invert
from tgo_spectra.retrieval.state import Block, StateSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.linear import Expansion
    from tgo_spectra.retrieval.spectra import Whitened
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["WAVES", "End", "Step", "first_waves"]

WAVES = "baseline_waves"

CYCLES = range(3, 25)
"""Waves per window: 3 stand beside a baseline of degree 4, and shorter ones than the
last are not fringes any more but look like lines (12 pixels of 291)."""

LEAST_LEFT = 0.1
"""Of stacked noise: where a fit takes more, what is left says nothing of the rest."""

ROWS = 32
"""Treated together: their pixels stay in the second cache."""

WAVE_TOP_KM = 60.0
"""The second mode in height falls linearly to zero there, from the surface."""


class Step(NamedTuple):
    """A linear step and what it was made with: R, K^T Se^-1 K, K^T Se^-1 (y - F)."""

    constraint: Array
    matrix: Array
    gradient: Array
    covariance: Array
    change: Array


class End:
    """Spectra of a fit at its end, with waves beside the fields of the state."""

    def __init__(
        self,
        seen: Whitened,
        expand: Expansion,
        height_km: Array,
        altitude_km: Array,
        slope: Array | None,
        wave_sigma: float,
        apart: bool = False,
    ) -> None:
        """``slope``: d(quantity)/d(element), of each or (quantity, element)."""
        self.seen, self.expand, self.slope = seen, expand, slope
        self.height_km, self.altitude_km = height_km, altitude_km
        self.space = expand.space
        self.waves: Array | None = None
        self._kept: tuple[Array, Array, Array | None] | None = None
        if wave_sigma > 0.0:
            self.modes = np.stack(
                [
                    np.ones(height_km.size),
                    (1.0 - height_km / WAVE_TOP_KM).clip(0.0, 1.0),
                ]
            )
            if apart:
                own = expand.bins == np.unique(expand.bins)[:, None]
                self.modes = (own[:, None] * self.modes).reshape(-1, height_km.size)
            shapes = self.shapes = _waves(seen.used)
            single = seen.fields.dtype
            model = seen.model.astype(single)
            self.waves = seen.project(shapes.astype(single) * model[:, None, :])
            count = len(self.modes) * len(shapes)
            block = Block(
                WAVES, np.zeros(count), wave_sigma**2 * np.eye(count), variable="-"
            )
            self.space = StateSpace((*self.space.blocks, block))

    def _scaled(self, values: Array) -> Array:
        """Take derivatives to the quantities to those to the elements, first axis."""
        if self.slope is None:
            return values
        if self.slope.ndim == 2:
            return np.asarray(np.tensordot(self.slope.T, values, axes=1))
        shape = (-1,) + (1,) * (values.ndim - 1)
        return np.asarray(values * self.slope.reshape(shape))

    def _quantities(self, changes: Array) -> Array:
        """Take changes of elements to those of quantities, (element, column)."""
        if self.slope is None:
            return changes
        square = self.slope.ndim == 2
        return self.slope @ changes if square else self.slope[:, None] * changes

    def matrix(self, correlation: Array | None = None) -> Array:
        """K^T R K, with the correlation along pixels of R, (element, element)."""
        fields, waves = self.seen.fields, self.waves
        other, others = self._filtered(correlation)
        gram = fields @ other.transpose(0, 2, 1)
        inner, _ = self.expand(_gram_only(gram))
        inner = self._scaled(self._scaled(inner).T).T
        if waves is None or others is None:
            return inner
        size = inner.shape[0]
        whole = np.empty((self.space.size, self.space.size))
        whole[:size, :size] = inner
        cross = fields @ others.transpose(0, 2, 1)
        whole[:size, size:] = self._scaled(
            np.concatenate(
                [self.expand.left(m[:, None, None] * cross) for m in self.modes], axis=1
            )
        )
        whole[size:, :size] = whole[:size, size:].T
        grams = (waves @ others.transpose(0, 2, 1)).reshape(len(waves), -1)
        count = waves.shape[1]
        for i, one in enumerate(self.modes):
            for j, two in enumerate(self.modes):
                block = ((one * two) @ grams).reshape(count, count)
                at = size + i * count, size + j * count
                whole[at[0] : at[0] + count, at[1] : at[1] + count] = block
        return 0.5 * (whole + whole.T)

    def _filtered(self, correlation: Array | None) -> tuple[Array, Array | None]:
        """Fields and waves times the correlation along pixels, made once."""
        if correlation is None or not correlation.any():
            return self.seen.fields, self.waves
        if self._kept is None or not np.array_equal(self._kept[0], correlation):
            both = [
                None if one is None else noise.pixel_filtered(one, correlation)
                for one in (self.seen.fields, self.waves)
            ]
            assert both[0] is not None
            self._kept = correlation, both[0], both[1]
        return self._kept[1:]

    def gradient(self) -> Array:
        """K^T Se^-1 (y - F), (element,)."""
        return self.times(self.seen.residual)

    def times(self, residual: Array) -> Array:
        """K^T times something whitened, (element,)."""
        return self.each(residual[:, None])[:, 0]

    def each(self, columns: Array) -> Array:
        """K^T times whitened columns, (row, column, pixel): (element, column)."""
        r = columns.astype(self.seen.fields.dtype).transpose(0, 2, 1)
        return self._summed(
            self.seen.fields @ r, None if self.waves is None else self.waves @ r
        )

    def along(self, shapes: Array) -> Array:
        """K^T times changes of transmittance that all rows have, without baselines.

        (shape, pixel): (element, shape). Neither fields nor waves hold any baseline, so
        that none need be taken out of the changes.
        """
        turned = np.ascontiguousarray(shapes.T, dtype=self.seen.fields.dtype)

        def times(derivatives: Array) -> Array:
            rows, count, pixels = derivatives.shape
            found = np.empty((rows, count, len(shapes)), dtype=turned.dtype)
            for start in range(0, rows, ROWS):
                span = slice(start, start + ROWS)
                part = derivatives[span] * self.seen.scale[span, None].astype(
                    turned.dtype
                )
                product = part.reshape(-1, pixels) @ turned
                found[span] = product.reshape(-1, count, len(shapes))
            return found

        return self._summed(
            times(self.seen.fields), None if self.waves is None else times(self.waves)
        )

    def _summed(self, fields: Array, waves: Array | None) -> Array:
        """Sum products with the fields and the waves over the rows.

        (row, field, column), (row, wave, column) -> (element, column).
        """
        inner = self._scaled(self.expand.left(fields))
        if waves is None:
            return inner
        parts = (np.tensordot(m, waves, axes=1) for m in self.modes)
        return np.concatenate([inner, *parts])

    def in_spectra(self, changes: Array, correlation: Array | None = None) -> Array:
        """K times changes of the state, (element, column): (row, column, pixel).

        With a correlation along pixels: times that.
        """
        fields, waves = self._filtered(correlation)
        size, count = self.expand.space.size, changes.shape[1]
        inner = self.expand.right(self._quantities(changes[:size]))
        single = self.seen.fields.dtype
        seen = inner.transpose(0, 2, 1).astype(single) @ fields
        if waves is not None:
            parts = changes[size:].reshape(len(self.modes), -1, count)
            amounts = np.einsum("mr,mwc->rcw", self.modes, parts).astype(single)
            seen += amounts @ waves
        return np.asarray(seen)

    def step(self, constraint: Array, start: Array, prior: Array | None = None) -> Step:
        """Return the linear step from a state, waves included, to the most likely one.

        ``constraint`` (element, element): R of the fit; ``start``, ``prior`` (element,)
        with waves; default: that of the space.
        """
        whole, size = self.space, self.expand.space.size
        r = whole.constraint.copy()
        r[:size, :size] = constraint
        matrix, gradient = self.matrix(), self.gradient()
        covariance = invert(matrix + r)
        prior = whole.pack(whole.prior) if prior is None else prior
        change = covariance @ (gradient - r @ (start - prior))
        return Step(r, matrix, gradient, covariance, change)

    def factor(self, waves: Array) -> Array:
        """Return the baseline that amplitudes of waves make, (row, pixel)."""
        parts = self.modes.T @ waves.reshape(len(self.modes), -1)
        return np.asarray(1.0 + parts @ self.shapes)

    def moved(self, step: Array) -> Array:
        """Residual after a step, linear."""
        change = self.in_spectra(step[:, None])[:, 0]
        return np.asarray(self.seen.residual - change.astype(float))

    def along_rows(self, gain: Array, bins: IntArray, measured: noise.Noise) -> Array:
        """Covariance of some quantities by what successive rows have in common.

        Parameters
        ----------
        gain : array, shape (quantity, element)
            Takes K^T Se^-1 (y - F) to them.
        bins : array of int, shape (row,)
        measured : Noise

        Returns
        -------
        array, shape (quantity, quantity)
            To be added to the covariance by the noise of each row.
        """
        correlation = measured.sure_along_rows
        if not correlation.any():
            return np.zeros((len(gain), len(gain)))
        found = np.zeros((len(gain), len(gain)))
        seen = self.in_spectra(gain.T)
        filtered = self.in_spectra(gain.T, measured.sure_along_pixels)
        for number in np.unique(bins):
            mine, their = seen[bins == number], filtered[bins == number]
            other = np.zeros_like(mine)
            for lag, value in enumerate(correlation[: len(mine) - 1], 1):
                if value:
                    other[lag:] += mine.dtype.type(value) * their[:-lag]
            for one, two in zip(mine, other, strict=True):
                found += one @ two.T
        return np.asarray(measured.variance * (found + found.T))

    def left_by_waves(self) -> Array:
        """Return what waves leave of stacked white noise, see `noise.stacks`.

        (band, pixel), as part of what there is; of waves that all pixels see alike.
        What else is fitted takes a hundredth.
        """
        shape = len(noise.BANDS_KM) - 1, self.seen.used.shape[1]
        if self.waves is None:
            return np.ones(shape)
        sigma = np.sqrt(self.space.block(WAVES).covariance[0, 0])
        pixels = max(int(self.seen.used.any(axis=0).sum()), 1)
        light = np.sqrt((self.seen.model**2).mean(axis=1))
        seen = self.modes * light  # (mode, row): a wave's derivative, root mean square
        matrix = 0.5 * pixels * seen @ seen.T
        posterior = np.linalg.inv(matrix + np.eye(len(seen)) / sigma**2)
        taken = 2.0 * posterior - posterior @ matrix @ posterior
        band = noise.bands(self.height_km)
        left = np.ones(shape)
        for number in np.unique(band):
            sums = seen[:, band == number].sum(axis=1)
            # sines and cosines of a number of cycles make one in squares
            lost = len(CYCLES) * float(sums @ taken @ sums)
            left[number] = max(1.0 - lost / (band == number).sum(), LEAST_LEFT)
        return left

    def agreement(
        self,
        name: str,
        residual: Array,
        responses: Array,
        covariance: Array,
        inflation: float,
        layer: npt.NDArray[np.bool_],
        beside: Sequence[tuple[Array, Array]],
        line_error: Array,
    ) -> consistency.Agreement:
        """Test the manifolds of a gas; see `consistency.agreement`.

        ``responses``, (quantity, element): take K^T Se^-1 (y - F) to what may change.
        ``beside``: whitened changes by what is not in the fit, (row, pixel), each with
        its `times`; ``line_error``, (level,): of a profile by the lines of one manifold
        alone.
        """
        path = self.expand.paths[name]
        names = list(self.expand.paths)
        at = names.index(name)
        start, stop = int(self.expand.ends[at]), int(self.expand.ends[at + 1])
        seen = self.seen
        mine = seen.fields[:, start:stop]
        taken = seen.taken[:, start:stop]
        raw = mine + taken @ seen.basis  # as lines are, without baselines
        along = (path @ layer.astype(path.dtype))[:, None, :]
        information = ((along @ raw)[:, 0] ** 2).sum(axis=0)
        groups, shares = consistency.manifolds(information[None])
        count = shares.shape[1]
        if count < 2:
            return consistency.Agreement.none(len(responses))
        half = consistency.halves(groups, information[None])[0]
        parts = [np.flatnonzero(half == number) for number in range(2 * count)]
        hats = consistency.hats(self.altitude_km)
        profile = path @ hats.astype(path.dtype)  # (row, k, hat)
        every = np.stack([residual, *(one for one, _ in beside)], axis=1).astype(
            raw.dtype
        )
        wide = [raw, every, seen.basis.astype(raw.dtype), seen.fields]
        wide += [] if self.waves is None else [self.waves]
        sums = _by_part(wide, raw, parts)
        # with the deviation profiles, (row, anything, part and hat)
        ends = np.cumsum([one.shape[1] for one in wide])
        gram, r, q, fields, waves = np.split(
            _with_hats(sums, profile), ends[:4], axis=1
        )
        rows, k, n = profile.shape
        score = r.sum(axis=0).T.astype(float)  # (part * hat, residual and changes)
        known = self._summed(fields, waves if self.waves is not None else None)
        joined = q.reshape(-1, q.shape[2]).astype(float)  # there may be no baseline
        v = -_squared(joined)
        blocks = profile.reshape(rows * k, n).T @ gram.reshape(rows * k, -1)
        for index in range(len(parts)):
            own = slice(index * n, (index + 1) * n)
            v[own, own] += blocks[:, own]
        v -= known.T @ (covariance @ known)
        v0 = v.copy()
        amount = np.interp(consistency.HATS_KM, self.altitude_km, line_error)
        for number in range(count):
            own = slice(2 * n * number, 2 * n * (number + 1))
            left = v0[:, own] @ np.tile(amount, 2)
            v += left[:, None] * left / inflation**2
        for index, (_, gradient) in enumerate(beside, 1):
            left = score[:, index] - known.T @ (covariance @ gradient)
            v += left[:, None] * left / inflation**2
        shapes = consistency.shapes(groups, information[None])[0]
        return consistency.agreement(
            score[:, 0] / inflation,
            v,
            responses @ known * inflation,
            float(self.space.block(name).sigma.max()) / inflation,
            shares[0],
            (responses @ self.along(shapes)).T,
        )


def first_waves(
    seen: Whitened,
    expand: Expansion,
    state: State,
    height_km: Array,
    altitude_km: Array,
    constraint: Array,
    wave_sigma: float,
) -> tuple[State, Array, Array]:
    """Look for waves before a fit, which else takes them for what it may vary.

    Parameters
    ----------
    seen, expand, height_km, altitude_km, constraint, wave_sigma
        As for `tgo_spectra.retrieval.conclusion.conclude`, near the end of the fit.
    state : State
        There.

    Returns
    -------
    state : State
        After a linear step with waves beside it.
    waves : array, shape (wave,)
        Amplitudes.
    factor : array, shape (row, pixel)
        What they do to the spectra.
    """
    space = expand.space
    vector = space.pack(state)
    slope = space.slope(vector) if any(block.log for block in space.blocks) else None
    end = End(seen, expand, height_km, altitude_km, slope, wave_sigma)
    start = np.zeros(end.space.size)
    start[: space.size] = vector
    found = start + end.step(constraint, start).change
    waves = found[space.size :]
    return space.unpack(found[: space.size]), waves, end.factor(waves)


def _squared(columns: Array) -> Array:
    """Products of all columns with each other, in half of the time."""
    from scipy.linalg.blas import dsyrk

    upper = dsyrk(1.0, columns.T)
    return np.asarray(upper + np.triu(upper, 1).T)


def _by_part(wide: Sequence[Array], raw: Array, parts: Sequence[IntArray]) -> Array:
    """Products of some sets of columns with another over each part of the pixels.

    (row, column, pixel) each, (row, k, pixel) -> (row, every column, part, k).
    """
    columns = sum(one.shape[1] for one in wide)
    shape = (len(raw), columns, len(parts), raw.shape[1])
    found = np.empty(shape, dtype=raw.dtype)
    for start in range(0, len(raw), ROWS):
        rows = slice(start, start + ROWS)
        whole = np.concatenate([one[rows] for one in wide], axis=1)
        for number, pixels in enumerate(parts):
            if not pixels.size:
                found[rows, :, number] = 0.0
                continue
            span = slice(int(pixels[0]), int(pixels[-1]) + 1)
            mine = raw[rows, :, span]
            if pixels.size < mine.shape[2]:  # with gaps
                mask = np.zeros(mine.shape[2], dtype=raw.dtype)
                mask[pixels - span.start] = 1.0
                mine = mine * mask
            turned = mine.transpose(0, 2, 1)
            np.matmul(whole[:, :, span], turned, out=found[rows, :, number])
    return found


def _with_hats(sums: Array, profile: Array) -> Array:
    """(row, column, part, k) and (row, k, hat) to (row, column, part * hat)."""
    rows, columns, parts, k = sums.shape
    made = sums.reshape(rows, columns * parts, k) @ profile
    return np.asarray(made.reshape(rows, columns, parts * profile.shape[2]))


def _gram_only(gram: Array) -> Linearised:
    nothing = np.empty(0)
    none = np.zeros(gram.shape[:2])
    return Linearised(nothing, nothing, nothing, 0.0, gram.astype(float), none)


def _waves(used: npt.NDArray[np.bool_]) -> Array:
    """Cosines and sines over the pixels that count, (wave, pixel)."""
    any_ = np.flatnonzero(used.any(axis=0))
    first, last = (int(any_[0]), int(any_[-1])) if any_.size else (0, 1)
    phase = 2.0 * np.pi * (np.arange(used.shape[1]) - first) / max(last - first + 1, 1)
    cycles = np.array(CYCLES)[:, None]
    return np.concatenate([np.cos(cycles * phase), np.sin(cycles * phase)])
