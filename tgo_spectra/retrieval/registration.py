"""Search for a shift of whole pixels: the one of all fits.

A model on a detector that is longer than the spectra at both ends is compared with them
at every whole-pixel shift that this leaves room for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["SEARCH_GAIN", "best_shift", "compare_shifts"]

SEARCH_GAIN = 25.0
"""Another whole-pixel shift must lower chi-square by this much (5 sigma)."""

RIDGE = 1e-10
"""Relative to the diagonal: fields that look alike make the equations nearly singular,
and any solution will do."""


def compare_shifts(
    measured: Array,
    weight: Array,
    value: Array,
    fields: Array,
    polynomials: Array,
    *,
    precision: Array | float = 0.0,
    every: int = 1,
) -> tuple[Array, Array]:
    """Fit single spectra at all whole-pixel shifts of a longer model.

    The model is a baseline times value, and linear in the fields around it.

    Parameters
    ----------
    measured, weight : array, shape (row, pixel)
        Weight: 1/sigma, 0 where a pixel is left out.
    value : array, shape (row, pixel + 2 reach)
        Model without its baseline.
    fields : array, shape (row, field, pixel + 2 reach)
        Its derivatives by what is free; there may be none.
    polynomials : array, shape (coefficient, pixel)
        Of the baseline.
    precision : array, shape (field,), or float
        Inverse a priori variances of what is free.
    every : int
        Take every n-th pixel.

    Returns
    -------
    chi_square : array, shape (row, 2 reach + 1)
        First of the shift -reach: of the model wavenumber less that of the spectra.
    step : array, shape (row, 2 reach + 1, field)
        What is free, off where the derivatives are taken.
    """
    from tgo_spectra.retrieval.kernels import reduce_rows

    fixed = np.ascontiguousarray
    count, pixels = measured.shape
    number = fields.shape[1]
    some = slice(None, None, every)
    y, w = fixed(measured[:, some]), fixed(weight[:, some])
    base = fixed(polynomials[:, some])
    four = np.zeros((count, 4, y.shape[1]))
    still, zero, none = np.zeros(y.shape[1]), np.zeros((count, 3)), np.zeros(count)
    model, residual = np.empty((2, *y.shape))
    baseline = np.empty((count, len(base)))
    gram = np.empty((count, number + 3, number + 3))
    gradient = np.empty((count, number + 3))
    shifts = value.shape[1] - pixels + 1
    chi, step = np.empty((count, shifts)), np.zeros((count, shifts, number))
    for at in range(shifts):
        seen = slice(at, at + pixels, every)
        four[:, 0] = value[:, seen]
        reduce_rows(
            y, w, four, fixed(fields[:, :, seen], dtype=float), base, still, still,
            zero, none, model, residual, baseline, gram, gradient,
        )  # fmt: skip
        chi[:, at] = (residual**2).sum(axis=1)
        pull = gradient[:, :number]
        held = gram[:, :number, :number] + np.diag(np.broadcast_to(precision, number))
        diagonal = np.einsum("rff->rf", held)
        scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        held = held * scale[:, :, None] * scale[:, None, :] + RIDGE * np.eye(number)
        found = scale * np.linalg.solve(held, (scale * pull)[:, :, None])[:, :, 0]
        step[:, at], chi[:, at] = found, chi[:, at] - (pull * found).sum(axis=1)
    # where there is no baseline the model explains nothing
    return np.where(np.isfinite(chi), chi, ((y * w) ** 2).sum(axis=1)[:, None]), step


def best_shift(chi_square: Array, gain: Array | float = SEARCH_GAIN) -> IntArray:
    """Shift of the least chi-square, or zero unless it gains more than `gain`.

    Chi-squares (..., 2 reach + 1), gain (...) -> whole pixels (...).
    """
    reach = chi_square.shape[-1] // 2
    enough = chi_square[..., reach] - chi_square.min(axis=-1) > gain
    return np.asarray(np.where(enough, chi_square.argmin(axis=-1) - reach, 0))
