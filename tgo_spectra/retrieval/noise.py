"""What the residuals of a fit say of the noise: its size and its correlation.

A residual is not white even if the noise is: the baseline of each row takes some of it,
and the expected values are those of (1 - Q Q^T), Q spanning the baselines. What is left
is the noise's own, or misfit: both belong in the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.whitened import Whitened

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "Noise",
    "along_rows",
    "measured_noise",
    "of_rows",
    "pixel_filtered",
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
