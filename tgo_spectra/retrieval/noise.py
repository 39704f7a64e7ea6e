"""What the residuals of a fit say: noise, structure that rows share, bad pixels.

A residual is not white even if the noise is: the baseline of each row takes some of it,
and the expected values are those of (1 - Q Q^T), Q spanning the baselines. What is left
is the noise's own, or misfit: both belong in the error.

A misfit of a hundredth of the noise changes chi-square by 1e-4 and is the same in all
rows of a height band: stacked over hundreds of rows it stands out. That statistic is in
units of the residuals' own scatter and does not know the size of the errors.

Spikes and static pixels are looked for after the elements of the instrument are fitted:
before, their misfit looks like spikes. A pixel that is high in one bin only is a fault
of that pixel and is masked; one that is high in all bins is light that the model does
not know: it is left and said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.spectra import Whitened

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]
    BoolArray = npt.NDArray[np.bool_]

__all__ = [
    "BANDS_KM",
    "Noise",
    "Screening",
    "along_rows",
    "bands",
    "measured_noise",
    "of_rows",
    "pixel_filtered",
    "screen",
    "stacked",
    "stacks",
    "standing_out",
    "successive",
]

PIXEL_LAGS = 5
"""Lags along pixels: at a correlation of 0.8 the sum to there has 9/10 of all."""

ROW_LAGS = 12
"""Lags along the rows of a bin."""

SURE_SIGMAS = 3.0
"""A correlation counts only if this far from zero in units of its scatter."""


@dataclass(frozen=True)
class Noise:
    """Noise as the residuals have it, in units of the stated errors.

    Attributes
    ----------
    variance : float
        Chi-square over its expectation.
    along_pixels : array, shape (lag,)
        Autocorrelation from lag 1, corrected for what the baselines take.
    along_rows : array, shape (lag,)
        Of successive rows of a bin, from lag 1.
    pixel_scatter, row_scatter : float
        Standard error of the two at each lag.
    """

    variance: float
    along_pixels: Array
    along_rows: Array
    pixel_scatter: float
    row_scatter: float

    @classmethod
    def unknown(cls) -> Noise:
        """Of a spectrum whose fit ended nowhere."""
        nothing = float("nan")
        return cls(nothing, np.zeros(PIXEL_LAGS), np.zeros(ROW_LAGS), nothing, nothing)

    @property
    def variance_scatter(self) -> float:
        """Standard error of ``variance`` of so many pixels of white noise."""
        return float(np.sqrt(2.0)) * self.pixel_scatter

    @property
    def scale(self) -> float:
        """Factor on all errors by the size of the residuals; never below one.

        Errors that are stated too large are left: correlated noise makes chi-square
        small too.
        """
        return float(np.sqrt(max(self.variance, 1.0)))

    @property
    def sure_along_pixels(self) -> Array:
        """Correlations that are not scatter, zero elsewhere."""
        return _sure(self.along_pixels, self.pixel_scatter)

    @property
    def sure_along_rows(self) -> Array:
        """Correlations that are not scatter, zero elsewhere."""
        return _sure(self.along_rows, self.row_scatter)

    @property
    def inflation(self) -> float:
        """Factor on the error of a mean over many pixels: size times correlation.

        Never below one: what is smaller than stated may be correlated beyond all lags.
        """
        total = self.variance * (1.0 + 2.0 * float(self.sure_along_pixels.sum()))
        return float(np.sqrt(max(total, self.variance, 1.0)))

    @property
    def of_sums(self) -> float:
        """Factor on the error of sums over many pixels and many rows."""
        rows = 1.0 + 2.0 * float(self.sure_along_rows.sum())
        return self.inflation * float(np.sqrt(max(rows, 1.0)))


def _sure(values: Array, scatter: float) -> Array:
    return np.asarray(np.where(np.abs(values) > SURE_SIGMAS * scatter, values, 0.0))


def measured_noise(seen: Whitened, bins: IntArray, freedom: float) -> Noise:
    """Measure size and correlations of the noise on the residuals of a fit.

    Parameters
    ----------
    seen : Whitened
    bins : array of int, shape (row,)
    freedom : float
        Degrees of freedom of the state, which the residuals lack beside the baselines'.
    """
    r, used = seen.residual, seen.used
    count = int(used.sum())
    expected = count - seen.basis.shape[0] * seen.basis.shape[1] - freedom
    variance = float((r**2).sum()) / max(expected, 1.0)
    pixels = np.empty(PIXEL_LAGS)
    pairs = 1
    for lag in range(1, PIXEL_LAGS + 1):
        both = used[:, lag:] & used[:, :-lag]
        pairs = max(int(both.sum()), 1)
        taken = -float((seen.basis[:, :, lag:] * seen.basis[:, :, :-lag]).sum())
        product = float((r[:, lag:] * r[:, :-lag]).sum())
        pixels[lag - 1] = product / max(variance, 1e-30) / pairs - taken / pairs
    rows, row_scatter = along_rows(r, used, bins)
    return Noise(variance, pixels, rows, pairs**-0.5, row_scatter)


def of_rows(
    residual: Array,
    used: npt.NDArray[np.bool_],
    basis: Array,
    freedom: Array | None = None,
) -> list[Noise]:
    """Measure the noise of spectra that are fitted each by itself.

    Each by its own pixels, whatever others there are. Parameters as those of
    `Whitened.residuals`, and the degrees of freedom beside the basis (row,); of a row
    without pixels, or that ended nowhere, the variance is not-a-number.
    """
    free = np.zeros(len(residual)) if freedom is None else freedom
    count = used.sum(axis=1)
    expected = count - basis.shape[1] - free
    variance = (residual**2).sum(axis=1) / np.maximum(expected, 1.0)
    variance[count == 0] = np.nan
    pixels = np.empty((PIXEL_LAGS, len(residual)))
    for lag in range(1, PIXEL_LAGS + 1):
        pairs = np.maximum((used[:, lag:] & used[:, :-lag]).sum(axis=1), 1)
        taken = (basis[:, :, lag:] * basis[:, :, :-lag]).sum(axis=(1, 2))
        product = (residual[:, lag:] * residual[:, :-lag]).sum(axis=1)
        pixels[lag - 1] = (product / np.maximum(variance, 1e-30) + taken) / pairs
    # what is not known is not correlated
    pixels[:, np.isnan(variance)] = 0.0
    return [
        Noise(float(one), along, np.zeros(ROW_LAGS), float(scatter), 1.0)
        for one, along, scatter in zip(variance, pixels.T, pairs**-0.5, strict=True)
    ]


def successive(bins: IntArray, lag: int) -> tuple[IntArray, IntArray]:
    """Pairs of rows of the same bin, ``lag`` of its rows apart."""
    first, second = [], []
    for number in np.unique(bins):
        mine = np.flatnonzero(bins == number)
        first.append(mine[:-lag])
        second.append(mine[lag:])
    return np.concatenate(first), np.concatenate(second)


def along_rows(
    residual: Array, used: npt.NDArray[np.bool_], bins: IntArray
) -> tuple[Array, float]:
    """Autocorrelation of residuals along the rows of each bin, and its scatter."""
    found = np.zeros(ROW_LAGS)
    pairs = 1
    for lag in range(1, ROW_LAGS + 1):
        a, b = successive(bins, lag)
        if not a.size:
            break
        both = used[a] & used[b]
        pairs = max(int(both.sum()), 1)
        x, y = residual[a] * both, residual[b] * both
        size = np.sqrt(float((x**2).sum()) * float((y**2).sum()))
        found[lag - 1] = float((x * y).sum()) / max(size, 1e-30)
    return found, pairs**-0.5


def pixel_filtered(fields: Array, correlation: Array) -> Array:
    """Apply a correlation along pixels to whitened fields, (..., pixel)."""
    out = fields.copy()
    for lag, value in enumerate(correlation.astype(fields.dtype), 1):
        if value:
            out[..., lag:] += value * fields[..., :-lag]
            out[..., :-lag] += value * fields[..., lag:]
    return np.asarray(out)


BANDS_KM = (-np.inf, 15.0, 30.0, 60.0, np.inf)
"""Limits of the height bands, each stacked by itself."""

CLIP_SIGMAS = 4.0
"""A single residual counts no more than this, in robust standard errors."""

FEWEST_ROWS = 8
"""Bands with fewer rows tell nothing."""


def bands(height_km: Array) -> IntArray:
    """Return the band of each row."""
    return np.searchsorted(np.array(BANDS_KM[1:-1]), height_km, side="right")


def clipped(residual: Array, used: npt.NDArray[np.bool_]) -> Array:
    """Residuals cut at `CLIP_SIGMAS` of their robust width; zero where masked."""
    values = residual[used]
    if not values.size:
        return np.zeros_like(residual)
    width = 1.4826 * float(np.median(np.abs(values)))
    limit = CLIP_SIGMAS * max(width, 1e-30)
    return np.where(used, np.clip(residual, -limit, limit), 0.0)


def stacks(
    residual: Array,
    used: npt.NDArray[np.bool_],
    height_km: Array,
    row_correlation: float = 0.0,
    expected: Array | float = 1.0,
) -> tuple[Array, Array]:
    """Squares of the stacked residual over their expectation, by band and pixel.

    Parameters
    ----------
    residual, used : array, shape (row, pixel)
    height_km : array, shape (row,)
    row_correlation : float
        Sum of the noise's autocorrelation along rows over all lags but zero, one side.
    expected : array, shape (band, pixel)
        Of independent noise, in units of the sum of squares: what the fit leaves.

    Returns
    -------
    ratio : array, shape (band, pixel)
        Not-a-number where a band has too few rows.
    rows : array, shape (band,)
    """
    values = clipped(residual, used)
    band = bands(height_km)
    count = len(BANDS_KM) - 1
    ratio = np.full((count, residual.shape[1]), np.nan)
    rows = np.zeros(count)
    more = max(1.0 + 2.0 * row_correlation, 1.0)
    for index in range(count):
        mine = values[band == index]
        rows[index] = len(mine)
        if len(mine) < FEWEST_ROWS:
            continue
        squares = (mine**2).sum(axis=0)
        enough = squares > 0.0
        np.divide(mine.sum(axis=0) ** 2, squares * more, out=ratio[index], where=enough)
    return ratio / expected, rows


def stacked(
    residual: Array,
    used: npt.NDArray[np.bool_],
    height_km: Array,
    row_correlation: float = 0.0,
    expected: Array | float = 1.0,
) -> float:
    """Mean of `stacks`: about one for white noise, whatever its size."""
    ratio, _ = stacks(residual, used, height_km, row_correlation, expected)
    return float(np.nanmean(ratio)) if np.isfinite(ratio).any() else float("nan")


SPIKE_SIGMAS = 5.0
"""Of a single residual, in robust standard errors: one false one in 1.7 million."""

STATIC_SIGMAS = 5.0
"""Of the mean of a pixel over the rows of a bin, less that of its neighbours."""

NEIGHBOURS_PX = 10
"""Pixels on either side of which the running median is taken."""

SHARED_SIGMAS = 2.5
"""A static pixel is light if other bins have it by this much too, with its sign, in
most of the bins."""


LEAST_NOISE = 0.2
"""Noise, in units of the stated errors, that there is at least: spectra without noise
have no spikes but rounding."""

BROKEN = 0.3
"""A row with more spikes than this part of its pixels is left out."""


@dataclass(frozen=True)
class Screening:
    """What to leave out, and what stands out and stays.

    ``spikes``: (row, pixel); ``static``: (bin, pixel); ``light``: (pixel,), high in
    most bins and not masked; ``share``: (bin,), of the values that count and are left
    out, for whichever reason.
    """

    spikes: BoolArray
    static: BoolArray
    light: BoolArray
    share: Array

    @classmethod
    def none(cls, used: BoolArray, n_bins: int) -> Screening:
        """Of spectra of which nothing is left out."""
        nothing = np.zeros((n_bins, used.shape[1]), dtype=bool)
        return cls(np.zeros_like(used), nothing, nothing[0], np.zeros(n_bins))

    def masked(self, bins: IntArray) -> BoolArray:
        """All that is left out, (row, pixel)."""
        return np.asarray(self.spikes | self.static[bins])

    def and_then(self, later: Screening) -> Screening:
        """Join with what stands out once this is left out."""
        return Screening(
            self.spikes | later.spikes,
            self.static | later.static,
            later.light,
            self.share + (1.0 - self.share) * later.share,
        )


def screen(residual: Array, used: BoolArray, bins: IntArray, n_bins: int) -> Screening:
    """Find spikes and static pixels.

    Parameters
    ----------
    residual : array, shape (row, pixel)
        In units of the stated errors.
    used : array of bool, shape (row, pixel)
    bins : array of int, shape (row,)
    n_bins : int
    """
    values = residual[used]
    width = 1.4826 * float(np.median(np.abs(values))) if values.size else 1.0
    high = np.abs(residual) > SPIKE_SIGMAS * max(width, LEAST_NOISE)
    spikes = used & high & _alone(residual)
    spikes |= used & (spikes.sum(axis=1) > BROKEN * used.sum(axis=1))[:, None]
    score = _scores(clipped(residual, used & ~spikes), used & ~spikes, bins, n_bins)
    single = _one_bin(score)
    high = (np.abs(score) > STATIC_SIGMAS) & (_alone(score) | single)
    light = np.zeros(residual.shape[1], dtype=bool)
    if n_bins > 1:
        sign = np.sign(score.sum(axis=0))
        shared = (score * sign > SHARED_SIGMAS).sum(axis=0)
        light = (high & ~single).any(axis=0) & (shared > 0.5 * n_bins)
    else:
        light = high[0]
    static = high & (single | ~light)
    left_out = used & (spikes | static[bins])
    share = np.array(
        [
            left_out[bins == number].sum() / max(used[bins == number].sum(), 1)
            for number in range(n_bins)
        ]
    )
    return Screening(spikes, static, light, share)


def standing_out(residual: Array, used: BoolArray) -> BoolArray:
    """Tell which pixels are high in the mean over all rows, against their neighbours.

    For what is broad against any line, so that a narrow feature is none of it, light or
    fault. ``residual``, ``used`` as for `screen`. Returns (pixel,).
    """
    together = np.zeros(len(residual), dtype=np.intp)
    score = _scores(clipped(residual, used), used, together, 1)[0]
    return np.asarray(np.abs(score) > STATIC_SIGMAS)


def _alone(values: Array) -> BoolArray:
    """Tell which values are more than twice their neighbours along pixels.

    Light, and misfit too, is seen through the line shape, wider than a pixel.
    """
    size = np.pad(np.abs(values), ((0, 0), (1, 1)))
    return np.asarray(size[:, 1:-1] > 2.0 * np.maximum(size[:, :-2], size[:, 2:]))


def _one_bin(scores: Array) -> BoolArray:
    """Tell which static pixels the other bins do not have, (bin, pixel).

    Light falls on all bins; neighbours that are at fault too do not make it light. Of
    two bins nothing tells which one is right.
    """
    if len(scores) < 3:
        return np.zeros(scores.shape, dtype=bool)
    others = [
        np.median(np.delete(scores, n, axis=0), axis=0) for n in range(len(scores))
    ]
    off = np.abs(scores - np.array(others))
    # the others may be as far off by chance as one of them
    return np.asarray(off > np.maximum(STATIC_SIGMAS, 2.0 * np.abs(others)))


def _scores(values: Array, used: BoolArray, bins: IntArray, n_bins: int) -> Array:
    """Return means of pixels over rows of a bin less their neighbours', in sigma."""
    scores = np.zeros((n_bins, values.shape[1]))
    for number in range(n_bins):
        mine = bins == number
        count = used[mine].sum(axis=0)
        squares = (values[mine] ** 2).sum(axis=0)
        squares = np.maximum(squares, LEAST_NOISE**2 * count)
        good = (count > 0) & (squares > 0.0)
        np.divide(
            values[mine].sum(axis=0), np.sqrt(squares), out=scores[number], where=good
        )
    padded = np.pad(scores, ((0, 0), (NEIGHBOURS_PX, NEIGHBOURS_PX)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, 2 * NEIGHBOURS_PX + 1, axis=1
    )
    return np.asarray(scores - np.median(windows, axis=2))
