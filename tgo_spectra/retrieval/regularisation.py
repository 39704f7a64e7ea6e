"""Roughness of a profile as its constraint, and how strong it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.solve import invert

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    Choice = Literal["expected-error", "l-curve", "discrepancy"]

__all__ = ["Ladder", "choose_alpha", "ladder", "roughness"]

ALPHAS = np.logspace(-4.0, 6.0, 21)
"""Strengths that are tried; the constraint is dimensionless."""


def roughness(sigma: Array) -> Array:
    """L1^T L1 of a profile measured in `sigma`: squared differences of neighbours.

    Parameters
    ----------
    sigma : array, shape (level,)
        Unit of the profile on each level; what varies as it does is smooth.

    Returns
    -------
    array, shape (level, level)
    """
    difference = np.diff(np.eye(sigma.size), axis=0)
    return np.asarray(difference.T @ difference / sigma[:, None] / sigma)


@dataclass(frozen=True)
class Ladder:
    """Linear fits with every strength of the constraint.

    ``chi_square`` of the data and ``roughness`` (the constraint's norm) of each fit;
    ``expected_error``: trace of noise plus smoothing covariance in units of the assumed
    one; ``degrees_of_freedom``.
    """

    alpha: Array
    chi_square: Array
    roughness: Array
    expected_error: Array
    degrees_of_freedom: Array


def ladder(
    data_matrix: Array,
    vector: Array,
    chi_square: float,
    shape: Array,
    fixed: Array,
    assumed: Array,
    elements: slice,
    alphas: Array = ALPHAS,
) -> Ladder:
    """Solve the linear problem for each strength.

    Parameters
    ----------
    data_matrix : array, shape (state, state)
        K^T Se^-1 K.
    vector : array, shape (state,)
        K^T Se^-1 (y - F(x) + K (x - x_a)).
    chi_square : float
        Of the data at x_a, linearised.
    shape, fixed : array, shape (state, state)
        The constraint is alpha x shape + fixed.
    assumed : array, shape (element, element)
        Covariance of the profiles for the smoothing error.
    elements : slice
        Elements of the profiles.
    alphas : array
        Strengths.
    """
    scale = 1.0 / np.diag(assumed)
    rows = np.zeros((alphas.size, 4))
    for index, alpha in enumerate(alphas):
        inverse = invert(data_matrix + alpha * shape + fixed)
        x = inverse @ vector
        mine = inverse[elements]
        kernel = mine @ data_matrix
        noise = (kernel * mine).sum(axis=1) @ scale
        off = kernel[:, elements].copy()
        np.fill_diagonal(off, off.diagonal() - 1.0)
        smoothing = ((off @ assumed) * off).sum(axis=1) @ scale
        rows[index] = (
            chi_square - 2.0 * x @ vector + x @ data_matrix @ x,
            x @ shape @ x,
            noise + smoothing,
            (inverse * data_matrix).sum(),
        )
    return Ladder(alphas, *rows.T)


def choose_alpha(steps: Ladder, choice: Choice, n_free: float) -> float:
    """Return the strength that a rule picks.

    ``expected-error``: the least sum of noise and smoothing error for the assumed
    covariance (the best of seven rules in Trompet et al. 2023,
    doi:10.1029/2022JE007277). ``l-curve``: the largest curvature of log chi-square
    against log roughness (Hansen 1992). ``discrepancy``: the largest strength whose
    chi-square is what noise alone would give, plus one standard deviation.

    Parameters
    ----------
    steps : Ladder
    choice : str
    n_free : float
        Measurements less baselines, for the discrepancy.

    Raises
    ------
    RetrievalError
        No strength meets the discrepancy: the noise is larger than stated.
    """
    if choice == "expected-error":
        return float(steps.alpha[np.argmin(steps.expected_error)])
    if choice == "l-curve":
        return _corner(steps)
    expected = n_free - steps.degrees_of_freedom
    meets = np.flatnonzero(steps.chi_square <= expected + np.sqrt(2.0 * expected))
    if not meets.size:
        message = (
            "the discrepancy principle cannot be met: chi-square is larger than the "
            "noise allows with the weakest constraint"
        )
        raise RetrievalError(
            message,
            field="tikhonov.choice",
            value=float(steps.chi_square.min() / expected.min()),
            rule="fit.discrepancy",
        )
    return float(steps.alpha[meets[-1]])


def _corner(steps: Ladder) -> float:
    """Strength at the corner of the L-curve, between the ends of the ladder."""
    t = np.log(steps.alpha)
    # chi-square hardly varies where noise is small: take its excess over the least
    excess = steps.chi_square - steps.chi_square.min() + 1.0
    x, y = np.log(excess), np.log(np.maximum(steps.roughness, 1e-300))
    dx, dy = np.gradient(x, t), np.gradient(y, t)
    curvature = dx * np.gradient(dy, t) - dy * np.gradient(dx, t)
    curvature /= np.maximum(dx**2 + dy**2, 1e-12) ** 1.5
    # positive where the curve turns from steep to flat; the ends have no curvature
    return float(steps.alpha[1 + np.argmax(curvature[1:-1])])
