"""Values that no light can have: left out of every spectrum, before any fit.

A struck pixel or a broken word of telemetry is one value among hundreds of thousands,
yet weighs a million times what others do and ends a fit of least squares. What is left
out here is what neither light nor noise can be, seen in the spectrum alone, so that it
does not matter which other spectra there are; lesser spikes are found on the residuals
of the fit. How many values left is counted, spectrum by spectrum.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    BoolArray = npt.NDArray[np.bool_]

__all__ = ["COUNT", "unusable", "with_usable"]

COUNT = "unusable_pixels"
"""Variable of spectra and of results: number of values left out of each spectrum."""

SIGNALS = (
    "transmittance",
    "radiance",
    "reflectance_factor",
    "reflectance_factor_corrected",
)
"""Variables that hold spectra; the errors, where there are some, have ``_error``."""

ALONE = 5.0
"""Times what is around it that a value stands out by, at the least. The line shape of
every channel is two pixels wide or more at half its height: light that fills one pixel
reaches the next with half of it."""

AROUND = np.array([-3, -2, -1, 1, 2, 3])
"""Pixels that are looked at around one: lines side by side may leave two neighbours
alike by chance, not six."""

ALONE_SIGMAS = 50.0
"""And by so many errors: below, the residuals of the fit tell better."""

STUCK_PIXELS = 3
"""Pixels in a row of exactly one value, two of zero, that are a filling."""

FAINTEST_ERROR = 1e-4
"""Of the median of the spectrum: an error that is smaller is none."""

AT_A_TIME = 40
"""Spectra."""

FULL = 1.5
"""A transmittance above it is none, nor one below `EMPTY`, beyond ten errors: no sun is
half as bright again as it is, and calibrations are off by less."""

EMPTY = -0.5
BEYOND_SIGMAS = 10.0


def unusable(values: Array, error: Array | None, *, fraction: bool) -> BoolArray:
    """Tell which values of spectra are neither light nor noise.

    Parameters
    ----------
    values : array, shape (..., pixel)
    error : array, shape (..., pixel), optional
        Where there is none, the scatter between neighbouring pixels stands for it.
    fraction : bool
        Whether values are transmittances, of which it is known how large they can be.

    Returns
    -------
    array of bool, shape (..., pixel)
        Not set where a value is missing.
    """
    known = np.isfinite(values)
    bad = np.isinf(values)
    if error is None:
        sigma = np.broadcast_to(_scatter(values), values.shape)
    else:
        sigma = np.where(error > 0.0, error, np.nan)
        faint = ~np.isfinite(sigma) | _too_small(sigma)
        bad |= ~np.isnan(values) & faint
        sigma = np.where(faint, 0.0, sigma)
    y = np.where(known, values, 0.0)
    if fraction:
        margin = BEYOND_SIGMAS * sigma
        bad |= (y > FULL + margin) | (y < EMPTY - margin)
    bad |= known & _alone(y, known & ~bad, sigma)
    return np.asarray(bad | (known & _stuck(y, known & ~bad, sigma)))


def _scatter(values: Array) -> Array:
    """Robust noise of each spectrum from its second differences, (..., 1)."""
    second = np.abs(np.diff(values, 2, axis=-1))
    second = np.where(np.isfinite(second), second, np.nan)
    none = np.isnan(second).all(axis=-1, keepdims=True)
    width = np.nanmedian(np.where(none, 0.0, second), axis=-1, keepdims=True)
    return np.asarray(1.4826 / np.sqrt(6.0) * width)


def _too_small(error: Array) -> BoolArray:
    """Tell which errors are too small against those of their spectrum."""
    with np.errstate(invalid="ignore"):
        low = error < FAINTEST_ERROR * np.fmax.reduce(error, axis=-1, keepdims=True)
    if not low.any():  # the median takes ten times as long
        return low
    rows = low.any(axis=-1)
    middle = np.nanmedian(error[rows], axis=-1, keepdims=True)
    low[rows] = error[rows] < FAINTEST_ERROR * middle
    return low


def _alone(values: Array, used: BoolArray, sigma: Array) -> BoolArray:
    """Tell single values that stand out from all that is around them.

    Of the two neighbours one must be known.
    """
    alone = np.zeros(values.shape, dtype=bool)
    step = np.abs(values[..., 2:-2] - 0.5 * (values[..., :-4] + values[..., 4:]))
    noise = ALONE_SIGMAS * sigma[..., 2:-2]
    *row, first = np.nonzero((step > noise) & (noise > 0.0))  # the rest takes no time
    around = np.minimum(np.abs(first[:, None] + 2 + AROUND), values.shape[-1] - 1)
    place = (*(index[:, None] for index in row), around)
    base = 0.5 * (values[(*row, first)] + values[(*row, first + 4)])
    known = used[place]
    rough = (np.abs(values[place] - base[:, None]) * known).max(axis=1, initial=0.0)
    beside = used[(*row, first + 1)] | used[(*row, first + 3)]
    wide = beside & used[(*row, first)] & used[(*row, first + 4)]
    at = (*row, first + 2)
    alone[at] = wide & (np.abs(values[at] - base) > ALONE * rough)
    return alone


def _stuck(values: Array, used: BoolArray, sigma: Array) -> BoolArray:
    """Tell runs of one and the same value that a step parts from their surroundings.

    Noise never gives one value several times; a filling for what did not arrive does.
    """
    stuck = np.zeros(values.shape, dtype=bool)
    same = (values[..., 1:] == values[..., :-1]) & used[..., 1:] & used[..., :-1]
    long = same[..., 1:] & same[..., :-1]
    some = long.any(axis=-1) | ((values[..., 1:] == 0.0) & same).any(axis=-1)
    for row in map(tuple, np.argwhere(some)):
        y, good = values[row], used[row]
        ends = np.flatnonzero(~same[row]) + 1
        for first, last in itertools.pairwise([0, *ends.tolist(), y.size]):
            if last - first < (2 if y[first] == 0.0 else STUCK_PIXELS):
                continue
            beside = [p for p in (first - 1, last) if 0 <= p < y.size and good[p]]
            noise = ALONE_SIGMAS * sigma[row][first]
            stuck[row][first:last] = any(abs(y[p] - y[first]) > noise for p in beside)
    return stuck


def with_usable(level1: xr.Dataset) -> xr.Dataset:
    """Return spectra without the values that no light can have, and their number.

    Parameters
    ----------
    level1 : Dataset
        May be chunked along ``spectrum``, and stays so.

    Returns
    -------
    Dataset
        Such values are NaN; ``unusable_pixels`` (spectrum) counts them, values in which
        something stood.
    """
    changed, found = {}, None
    for name in SIGNALS:
        if name not in level1.variables or level1[name].dims != ("spectrum", "pixel"):
            continue
        signal = level1.variables[name]
        error = level1.variables.get(f"{name}_error")
        given = (
            [signal] if error is None or error.dims != signal.dims else [signal, error]
        )
        bad = xr.apply_ufunc(
            _of_arrays,
            *given,
            kwargs={"fraction": name == "transmittance"},
            dask="parallelized",
            output_dtypes=[bool],
        )
        found = bad if found is None else found | bad
        if bad.chunks is not None or bool(bad.any()):
            changed[name] = level1[name].where(~xr.DataArray(bad))
    if found is None:
        return level1
    return level1.assign({**changed, COUNT: found.sum("pixel")})


def _of_arrays(
    values: Array, error: Array | None = None, *, fraction: bool
) -> BoolArray:
    """Go through spectra some at a time: what is made for them stays in the cache."""
    bad = np.zeros(values.shape, dtype=bool)
    for start in range(0, len(values), AT_A_TIME):
        some = slice(start, start + AT_A_TIME)
        y = np.asarray(values[some], dtype=float)
        sigma = None if error is None else np.asarray(error[some], dtype=float)
        bad[some] = unusable(y, sigma, fraction=fraction)
    return bad
