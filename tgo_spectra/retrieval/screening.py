"""Single spectra's spikes and static pixels, found on the residuals of a fit.

After the elements of the instrument are fitted: before, their misfit looks like
spikes. A pixel that is high in one bin only is a fault of that pixel and is masked; one
that is high in all bins is light that the model does not know: it is left and said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.pattern import clipped

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    BoolArray = npt.NDArray[np.bool_]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Screening", "screen", "standing_out"]

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
