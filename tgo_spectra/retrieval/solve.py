"""The one descent of all fits: from a first guess to the most likely state.

Fits are items of a batch: spectra fitted each by itself, or one occultation fitted
jointly. All have the same number of elements, and each goes its own way: a step is
taken only where it lowers the cost, is damped by the a priori where it does not, and
ends where the next step would be small against the posterior. Errors and kernels belong
to the state where it ends.

What constrains the state beside the data is a matrix R and a state to which it pulls:
the inverse a priori covariance (optimal estimation), or a roughness (Tikhonov).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]
    Evaluate = Callable[[IntArray, Array], "Evaluation"]

__all__ = [
    "DAMPING",
    "LIMIT",
    "Descent",
    "Evaluation",
    "descend",
    "invert",
    "solved",
    "solved_positive",
]

LIMIT = 0.005
"""The one rule of convergence: what the next step leaves has d^2 (Rodgers 2000, eq.
5.29) below this times the number of elements, so that the state is on average within
0.07 posterior errors of the most likely one. What it leaves is at most what the last
two steps say, and the step itself where there was none before. The step is still taken,
without another look at the model. A cost may also rise by this much, which is what the
rule leaves open."""

UNSEEN = 0.5
"""Largest d^2, in all, of a step that is taken without another look because the last
two steps say that little is left, where that is more than `LIMIT` allows: small states.
No combination of their elements moves by more than 0.7 of its error, over which
derivatives, errors and kernels hardly change."""

DAMPING = {"gauss-newton": 0.0, "levenberg-marquardt": 1.0}
"""Damping of the first step, by the name that a setup gives: none, or as much as the
a priori holds."""

TRIES = 14
"""Steps tried from one state; each is damped ten times as much as the last."""


@dataclass(frozen=True)
class Evaluation:
    """A model at the states of some items.

    ``chi_square`` (item,), infinite where the model refuses the state; ``matrix``
    K^T Se^-1 K (item, element, element) and ``gradient`` K^T Se^-1 (y - F) (item,
    element); ``beside``: whatever else is wanted of the final states, by name, first
    axis the item. ``spread``: covariance of the noise in the gradient, where the
    equations are not those of least squares.
    """

    chi_square: Array
    matrix: Array
    gradient: Array
    beside: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    spread: Array | None = None


@dataclass
class Descent:
    """Where the items ended.

    ``vector`` (item, element); ``point`` (item, element): where the model was last
    looked at, within `LIMIT` of the former, and ``final``, what was seen there;
    ``constraint`` R; ``iterations``, ``converged`` (item,).
    """

    vector: Array
    point: Array
    final: Evaluation
    constraint: Array
    iterations: IntArray
    converged: npt.NDArray[np.bool_]

    @functools.cached_property
    def covariance(self) -> Array:
        """(K^T Se^-1 K + R)^-1 at the ends, (item, element, element)."""
        return invert(self.final.matrix + self.constraint)


def descend(
    evaluate: Evaluate,
    first: Array,
    prior: Array,
    constraint: Array,
    *,
    max_iterations: int,
    damping: float = 0.0,
    scale: Array | None = None,
    rise: float = 0.0,
    most: Array | None = None,
    limit: float | None = None,
) -> Descent:
    """Iterate to the most likely states (Rodgers 2000, eq. 5.9 and 5.36).

    Parameters
    ----------
    evaluate : callable
        (numbers of items, their vectors) to their `Evaluation`.
    first : array, shape (item, element)
        Where to start.
    prior : array, shape (element,) or (item, element)
        What the constraint pulls to.
    constraint : array, shape (element, element) or (item, element, element)
        R.
    max_iterations : int
        Linearisations of an item at most.
    damping : float
        Of the first step, in units of `scale`; raised tenfold while a step fails,
        lowered tenfold when one helps.
    scale : array, shape (element, element)
        Inverse of a covariance whose size steps should not exceed; default R.
    rise : float
        Relative rise of the cost that is allowed: zero but where the equations are not
        those of least squares.
    most : array, shape (element,), optional
        Largest step of each element.
    limit : float, optional
        Of a first look that need not be near; default `LIMIT`.

    Returns
    -------
    Descent
        An item from whose last state no step helps has not converged.

    Raises
    ------
    RetrievalError
        ``fit.undetermined``: neither data nor constraint say anything of an element.
    """
    count, size = first.shape
    x = np.array(first, dtype=float)
    xa = np.broadcast_to(prior, x.shape)
    r = np.broadcast_to(constraint, (count, size, size))
    brake = np.broadcast_to(constraint if scale is None else scale, r.shape)
    here = evaluate(np.arange(count), x)
    cost = _cost(here, x - xa, r)
    amount = np.full(count, float(damping))
    iterations, converged = np.ones(count, dtype=np.intp), np.zeros(count, dtype=bool)
    end, previous = x.copy(), np.zeros(count)
    close = (LIMIT if limit is None else limit) * size
    fresh = np.flatnonzero(np.isfinite(cost))
    tries, trying = np.zeros(count, dtype=np.intp), np.zeros(count, dtype=bool)

    def equations(items: IntArray) -> tuple[Array, Array]:
        pull = here.gradient[items] - _times(r[items], x[items] - xa[items])
        return here.matrix[items] + r[items], pull

    while True:
        if fresh.size:
            hessian, pull = equations(fresh)
            step = solved(hessian, pull)
            spread = None if here.spread is None else here.spread[fresh] + r[fresh]
            length = _squared_length(step, pull, spread)
            # rounding may leave a matrix of elements that say the same without a root:
            # its step goes anywhere, at a "length" below zero
            length = np.where(length >= 0.0, length, np.inf)
            shrinks = np.ones(length.size)
            before = previous[fresh]
            falls = (before > length) & np.isfinite(before)
            np.divide(length, before, out=shrinks, where=falls)
            left = length * shrinks
            small = (left < close) & (length < max(UNSEEN, close))
            previous[fresh] = length
            converged[fresh[small]] = True
            end[fresh] = x[fresh] + np.where(small[:, None], step, 0.0)
            fresh = fresh[~small & (iterations[fresh] < max_iterations)]
            iterations[fresh] += 1
            trying[fresh], tries[fresh] = True, 0
        # whatever each is at: the model is asked for all at once
        items = np.flatnonzero(trying)
        if not items.size:
            break
        hessian, pull = equations(items)
        step = solved(hessian + amount[items, None, None] * brake[items], pull)
        if most is not None:
            step = np.clip(step, -most, most)
        trial = x[items] + step
        there = evaluate(items, trial)
        new = _cost(there, trial - xa[items], r[items])
        better = new <= cost[items] * (1.0 + rise) + close
        _take(here, there, items, better)
        fresh = items[better]
        x[fresh], cost[fresh], end[fresh] = trial[better], new[better], trial[better]
        amount[items] = np.where(
            better,
            np.where(amount[items] > 0.05, 0.1 * amount[items], 0.0),
            np.maximum(10.0 * amount[items], 1.0),
        )
        tries[items] += 1
        trying[items] = ~better & (tries[items] < TRIES)
    return Descent(end, x, here, r, iterations, converged)


def _cost(found: Evaluation, off: Array, constraint: Array) -> Array:
    return np.asarray(found.chi_square + (off * _times(constraint, off)).sum(axis=1))


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray(np.einsum("ijk,ik->ij", matrices, vectors))


def _squared_length(step: Array, pull: Array, spread: Array | None) -> Array:
    """Length of the next step in units of the posterior, squared, (item,)."""
    if spread is not None:
        step = solved(spread, pull)
    return np.asarray((step * pull).sum(axis=1))


def _take(
    here: Evaluation,
    there: Evaluation,
    items: IntArray,
    better: npt.NDArray[np.bool_],
) -> None:
    """Put what was found at accepted states in the place of what was there."""
    pairs = [
        (here.chi_square, there.chi_square),
        (here.matrix, there.matrix),
        (here.gradient, there.gradient),
        *((here.beside[name], there.beside[name]) for name in here.beside),
    ]
    if here.spread is not None and there.spread is not None:
        pairs.append((here.spread, there.spread))
    for mine, theirs in pairs:
        mine[items[better]] = theirs[better]


def _scaled(hessian: Array) -> tuple[Array, Array]:
    """Scale to unit diagonal; refuse what is not finite."""
    diagonal = np.einsum("...ii->...i", hessian)
    if not np.isfinite(hessian).all():
        raise RetrievalError(
            "the normal equations are not finite: the state has run away",
            value=float(np.abs(diagonal).max()),
            rule="fit.diverged",
        )
    if not (diagonal > 0.0).all():
        raise RetrievalError(
            "neither data nor constraint say anything of a state element",
            record=int(np.argmin(diagonal)) % diagonal.shape[-1],
            value=float(diagonal.min()),
            rule="fit.undetermined",
        )
    scale = 1.0 / np.sqrt(diagonal)
    return hessian * scale[..., :, None] * scale[..., None, :], scale


def solved(hessian: Array, right: Array) -> Array:
    """Solve for a right side of each item."""
    scaled, scale = _scaled(hessian)
    try:
        found = np.linalg.solve(scaled, (scale * right)[..., None])
    except np.linalg.LinAlgError as error:
        raise _singular(scaled) from error
    return np.asarray(scale * found[..., 0])


def invert(hessian: Array) -> Array:
    """Return the inverses of symmetric positive matrices of very unequal elements.

    Parameters
    ----------
    hessian : array, shape (..., element, element)

    Raises
    ------
    RetrievalError
        ``fit.diverged``: not finite; ``fit.undetermined``: not positive.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    scaled, scale = _scaled(hessian)
    inverse = np.empty_like(scaled)
    size = scaled.shape[-1]
    pairs = zip(
        scaled.reshape(-1, size, size), inverse.reshape(-1, size, size), strict=True
    )
    for matrix, out in pairs:
        factor, failed = dpotrf(matrix.astype(np.float64, copy=False), lower=1)
        if not failed:
            lower, failed = dpotri(factor, lower=1)
        if failed:
            raise _singular(matrix)
        lower = np.tril(lower)
        out[:] = lower + np.tril(lower, -1).T
    return np.asarray(inverse * scale[..., :, None] * scale[..., None, :])


def solved_positive(hessian: Array, right: Array) -> Array:
    """Solve with a symmetric positive matrix, as `invert` would, (element, column)."""
    from scipy.linalg.lapack import dposv

    scaled, scale = _scaled(hessian)
    _, found, failed = dposv(scaled, scale[:, None] * right, lower=1)
    if failed:
        raise _singular(scaled)
    return np.asarray(scale[:, None] * found)


def _singular(scaled: Array) -> RetrievalError:
    return RetrievalError(
        "the normal equations are singular: constrain the fit more",
        value=float(np.linalg.eigvalsh(scaled).min()),
        rule="fit.undetermined",
    )
