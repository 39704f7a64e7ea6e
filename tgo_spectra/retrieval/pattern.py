"""Structure of the residuals that all rows share: what chi-square cannot see.

A misfit of a hundredth of the noise changes chi-square by 1e-4 and is the same in all
rows of a height band: stacked over hundreds of rows it stands out. The statistic is in
units of the residuals' own scatter and does not know the size of the errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["BANDS_KM", "bands", "stacked", "stacks"]

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
