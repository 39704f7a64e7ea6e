"""From one linearisation to the next: Gauss-Newton and Levenberg-Marquardt.

What constrains the state beside the data is a matrix R and a state to which it pulls:
the inverse a priori covariance (optimal estimation), or a roughness (Tikhonov).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import RetrievalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.solver import Layout, Linearised, State

    Array = npt.NDArray[np.floating]
    Evaluate = Callable[[State, bool], Linearised]
    Expand = Callable[[Linearised], tuple[Array, Array]]

__all__ = [
    "Information",
    "Result",
    "combine",
    "gauss_newton",
    "inform",
    "information",
    "invert",
    "levenberg_marquardt",
]

SMALL_STEP = 0.05
"""Convergence: the step after this one would have d^2 (Rodgers 2000, eq. 5.29) below
this times the number of elements; this one is still applied. In three occultations
followed to the end, what remained was 6 to 13 times smaller than predicted."""

BRAKE_START, BRAKE_UP, BRAKE_DOWN, BRAKE_FREE = 1.0, 10.0, 0.3, 0.1
"""Levenberg-Marquardt: first factor on the diagonal, on failure, on success; below the
last one a small step ends the iteration."""


@dataclass(frozen=True)
class Result:
    """Where an iteration ended.

    ``data_matrix`` K^T Se^-1 K and ``covariance`` (K^T Se^-1 K + R)^-1 at the last
    linearisation, in the elements of the state vector; ``gradient`` K^T Se^-1 (y - F)
    at the linearisation point ``vector``, from which ``step`` led to ``state``.
    """

    state: State
    final: Linearised
    data_matrix: Array
    covariance: Array
    gradient: Array
    vector: Array
    step: Array
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Information:
    """What some measurements say of the state, without any prior.

    ``matrix`` K^T Se^-1 K; ``vector`` K^T Se^-1 (y - F(x) + K (x - x_a)).
    """

    matrix: Array
    vector: Array


def combine(
    parts: Sequence[Information], prior_vector: Array, constraint: Array
) -> tuple[Array, Array, Array]:
    """Add what several measurements say and apply one constraint.

    Never the average of results that each hold the prior: it would count once for
    each.

    Parameters
    ----------
    parts : sequence of Information
        With the same ``x_a``.
    prior_vector : array, shape (state,)
        x_a.
    constraint : array, shape (state, state)
        R.

    Returns
    -------
    state : array, shape (state,)
    data_matrix : array, shape (state, state)
        Sum of the parts'.
    covariance : array, shape (state, state)
        (data_matrix + R)^-1.
    """
    matrix = np.sum([part.matrix for part in parts], axis=0)
    vector = np.sum([part.vector for part in parts], axis=0)
    hessian = matrix + constraint
    return prior_vector + _solve(hessian, vector), matrix, invert(hessian)


def gauss_newton(
    evaluate: Evaluate,
    expand: Expand,
    layout: Layout,
    first: State,
    prior: State,
    constraint: Array,
    max_iterations: int = 8,
) -> Result:
    """Iterate to the most likely state (Rodgers 2000, eq. 5.9), damped.

    A step that raises the cost or leaves the finite numbers is shortened; the
    iteration ends when the next step would be small against the posterior covariance.

    Parameters
    ----------
    evaluate : callable
        (state, with Jacobian) to `Linearised`.
    expand : callable
        `Linearised` to K^T Se^-1 K and K^T Se^-1 (y - F), derivatives to mole
        fractions; those to the state's elements are made here.
    layout : Layout
    first, prior : State
        Where to start, and what the constraint pulls to.
    constraint : array, shape (state, state)
    max_iterations : int

    Raises
    ------
    RetrievalError
        No step lowers the cost.
    """
    xa = layout.pack(prior)
    x = layout.pack(first)
    linear = evaluate(layout.unpack(x), True)
    cost = _cost(linear, x - xa, constraint)
    converged = False
    iteration = 0
    previous = 0.0
    while True:
        iteration += 1
        data_matrix, gradient = _in_elements(expand(linear), layout, x)
        hessian = data_matrix + constraint
        downhill = gradient - constraint @ (x - xa)
        step = _solve(hessian, downhill)
        length = float(step @ downhill)
        # Gauss-Newton contracts at least as fast as the last two steps say
        ratio = length / previous if previous > length else 1.0
        small = length * ratio < SMALL_STEP * layout.size
        previous = length
        if small or iteration == max_iterations:
            converged = small
            break
        x, linear, cost = _damped_step(evaluate, layout, x, step, xa, constraint, cost)
    return _ended(
        evaluate, layout, x, step, data_matrix, hessian, gradient, iteration, converged
    )


def levenberg_marquardt(
    evaluate: Evaluate,
    expand: Expand,
    layout: Layout,
    first: State,
    prior: State,
    constraint: Array,
    max_iterations: int = 8,
) -> Result:
    """Iterate with a brake on the diagonal (Rodgers 2000, eq. 5.36).

    The brake starts at 1, is raised tenfold when a step fails and falls to 0.3 of
    itself when one helps; a small step ends the iteration once the brake is off. The
    last step is taken without the brake.

    Parameters and errors as `gauss_newton`.
    """
    xa = layout.pack(prior)
    x = layout.pack(first)
    linear = evaluate(layout.unpack(x), True)
    cost = _cost(linear, x - xa, constraint)
    brake = BRAKE_START
    converged = False
    iteration = 0
    while True:
        iteration += 1
        data_matrix, gradient = _in_elements(expand(linear), layout, x)
        hessian = data_matrix + constraint
        downhill = gradient - constraint @ (x - xa)
        step = _solve(hessian, downhill)
        small = float(step @ downhill) < SMALL_STEP * layout.size
        if (small and brake < BRAKE_FREE) or iteration == max_iterations:
            converged = small
            break
        x, linear, cost, brake = _braked_step(
            evaluate, layout, x, (hessian, downhill), xa, constraint, cost, brake
        )
    return _ended(
        evaluate, layout, x, step, data_matrix, hessian, gradient, iteration, converged
    )


def inform(
    evaluate: Evaluate, expand: Expand, layout: Layout, state: State, prior: State
) -> Information:
    """Return what some measurements say, linearised at a state.

    Parameters as `gauss_newton`.
    """
    x, xa = layout.pack(state), layout.pack(prior)
    matrix, gradient = _in_elements(expand(evaluate(state, True)), layout, x)
    return Information(matrix, gradient + matrix @ (x - xa))


def information(result: Result, prior_vector: Array) -> Information:
    """Return what the data of a fit say, without the constraint it was made with."""
    off = result.vector - prior_vector
    return Information(result.data_matrix, result.gradient + result.data_matrix @ off)


ITERATIONS: dict[
    Literal["gauss-newton", "levenberg-marquardt"], Callable[..., Result]
] = {"gauss-newton": gauss_newton, "levenberg-marquardt": levenberg_marquardt}
"""Solvers by the name that a setup gives them."""


def _in_elements(
    equations: tuple[Array, Array], layout: Layout, x: Array
) -> tuple[Array, Array]:
    """Take normal equations in mole fractions to the state's elements."""
    matrix, gradient = equations
    if not layout.log:
        return matrix, gradient
    slope = layout.derivative(x)
    return matrix * slope[:, None] * slope, gradient * slope


def _cost(linear: Linearised, off: Array, constraint: Array) -> float:
    return float(linear.chi_square + off @ constraint @ off)


def _ended(
    evaluate: Evaluate,
    layout: Layout,
    x: Array,
    step: Array,
    data_matrix: Array,
    hessian: Array,
    gradient: Array,
    iterations: int,
    converged: bool,
) -> Result:
    """Apply the last step and see what it gives."""
    state = layout.unpack(x + step)
    final = evaluate(state, False)
    return Result(
        state=state,
        final=final,
        data_matrix=data_matrix,
        covariance=invert(hessian),
        gradient=gradient,
        vector=x,
        step=step,
        iterations=iterations,
        converged=converged and bool(np.isfinite(final.chi_square)),
    )


def _scaled(hessian: Array) -> tuple[Array, Array]:
    """Scale to unit diagonal; refuse what is not finite."""
    if not np.isfinite(hessian).all():
        message = "the normal equations are not finite: the state has run away"
        raise RetrievalError(message, rule="fit.diverged")
    diagonal = np.diag(hessian)
    if not (diagonal > 0.0).all():
        message = "neither data nor constraint say anything of a state element"
        raise RetrievalError(
            message, record=int(np.argmin(diagonal)), rule="fit.undetermined"
        )
    scale = 1.0 / np.sqrt(diagonal)
    return hessian * scale[:, None] * scale[None, :], scale


def _solve(hessian: Array, right: Array) -> Array:
    from scipy.linalg import LinAlgError, solve

    scaled, scale = _scaled(hessian)
    try:
        return np.asarray(scale * solve(scaled, scale * right, assume_a="pos"))
    except LinAlgError as error:
        message = "the normal equations are singular: constrain the fit more"
        raise RetrievalError(message, rule="fit.undetermined") from error


def invert(hessian: Array) -> Array:
    """Return the inverse of a symmetric positive matrix of very unequal elements.

    Raises
    ------
    RetrievalError
        The matrix is not finite or not positive.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    scaled, scale = _scaled(hessian)
    factor, failed = dpotrf(scaled, lower=1)
    if not failed:
        inverse, failed = dpotri(factor, lower=1)
    if failed:
        message = "the normal equations are singular: constrain the fit more"
        raise RetrievalError(message, rule="fit.undetermined")
    lower = np.tril(inverse)
    inverse = lower + np.tril(lower, -1).T
    return np.asarray(inverse * scale[:, None] * scale[None, :])


def _diverged(cost: float) -> RetrievalError:
    message = f"no step lowers the cost {cost:.6g}: the model does not fit this product"
    return RetrievalError(message, value=cost, rule="fit.diverged")


def _damped_step(
    evaluate: Evaluate,
    layout: Layout,
    x: Array,
    step: Array,
    xa: Array,
    constraint: Array,
    cost: float,
) -> tuple[Array, Linearised, float]:
    """Take the full step, or the longest of a few shorter ones that helps."""
    fraction = 1.0
    for _ in range(6):
        trial = x + fraction * step
        try:
            linear = evaluate(layout.unpack(trial), True)
        except RetrievalError:
            fraction *= 0.3
            continue
        new = _cost(linear, trial - xa, constraint)
        # the operator may have been rebuilt in between: allow a hair of increase
        if new <= cost * 1.001:
            return trial, linear, new
        fraction *= 0.3
    raise _diverged(cost)


def _braked_step(
    evaluate: Evaluate,
    layout: Layout,
    x: Array,
    equations: tuple[Array, Array],
    xa: Array,
    constraint: Array,
    cost: float,
    brake: float,
) -> tuple[Array, Linearised, float, float]:
    """Take a step with the smallest brake, from `brake` up, that helps."""
    hessian, downhill = equations
    for _ in range(8):
        trial = x + _solve(hessian + brake * np.diag(np.diag(hessian)), downhill)
        try:
            linear = evaluate(layout.unpack(trial), True)
        except RetrievalError:
            brake *= BRAKE_UP
            continue
        new = _cost(linear, trial - xa, constraint)
        if new <= cost * 1.001:
            return trial, linear, new, brake * BRAKE_DOWN
        brake *= BRAKE_UP
    raise _diverged(cost)
