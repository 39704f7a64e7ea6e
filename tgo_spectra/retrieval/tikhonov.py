"""Tikhonov regularisation: smooth profiles, the strength chosen by a rule.

The constraint is alpha x L1^T L1 of each gas's departure from its reference profile in
units of the setup's sigma, so that alpha is a pure number; nothing pulls the level of a
profile. Shifts, stretch and exponent keep their wide a priori.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval import iteration, registration, solver
from tgo_spectra.retrieval.evaluation import (
    Evaluator,
    layout_of,
    measurement_of,
    row_paths,
)
from tgo_spectra.retrieval.optimal_estimation import prior_of
from tgo_spectra.retrieval.regularisation import choose_alpha, ladder, roughness
from tgo_spectra.retrieval.solution import Solution, solution_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = ["solve"]

FIRST_ALPHA = 1.0
"""Strength of the fit from whose linearisation the rule chooses."""


def solve(scene: Scene) -> Solution:
    """Fit one occultation with the roughness of the profiles constrained.

    Raises
    ------
    RetrievalError
        The fit diverges, or no strength meets the rule.
    SetupError
        As `tgo_spectra.retrieval.optimal_estimation.prior_of`.
    """
    wish = scene.setup.tikhonov
    measurement, layout = measurement_of(scene), layout_of(scene)
    paths = row_paths(scene)
    prior, assumed = prior_of(scene)
    shape, fixed = _constraints(layout, assumed)
    start, first = registration.first_guess(scene, prior)
    evaluator = Evaluator(scene, measurement, layout)

    def expand(linear: solver.Linearised) -> tuple[Array, Array]:
        return solver.normal_equations(linear, paths, layout, measurement.bin)

    def fit(alpha: float, guess: solver.State, begun: _Begun) -> iteration.Result:
        return iteration.ITERATIONS[scene.setup.solver](
            begun,
            expand,
            layout,
            guess,
            prior,
            alpha * shape + fixed,
            scene.setup.max_iterations,
        )

    iterations = 0
    begun = _Begun(evaluator, first)
    if wish.alpha is not None:
        alpha = wish.alpha
    elif wish.choice == "expected-error":
        # it asks for the derivatives only, which the first guess has
        matrix = iteration.inform(begun, expand, layout, first, prior).matrix
        alpha = _chosen(scene, matrix, np.zeros(layout.size), 0.0, layout, shape, fixed,
                        assumed, np.nan)  # fmt: skip
    else:
        trial = fit(FIRST_ALPHA, first, begun)
        iterations += trial.iterations
        alpha = _by_chi_square(scene, trial, layout, prior, shape, fixed, assumed)
        first, begun = trial.state, _Begun(evaluator, trial.state)
    result = fit(alpha, first, begun)
    iterations += result.iterations
    known = wish.assumed_covariance == "prior"
    choices = {
        "tikhonov_alpha": alpha,
        "tikhonov_choice": "given" if wish.alpha is not None else wish.choice,
        "tikhonov_assumed_covariance": wish.assumed_covariance,
        "iterations_in_all": iterations,
    }
    return solution_of(
        result,
        layout,
        start,
        evaluator,
        assumed=assumed if known else None,
        smoothing_known=known,
        choices=choices,
    )


def _constraints(layout: solver.Layout, assumed: Array) -> tuple[Array, Array]:
    """Roughness of the profiles, and what holds the other elements."""
    shape, fixed = np.zeros_like(assumed), np.zeros_like(assumed)
    sigma = np.sqrt(np.diag(assumed))
    for gas in layout.gases:
        block = layout.gas(gas)
        shape[block, block] = roughness(sigma[block])
    tail = np.arange(layout.shift.start, layout.size)
    fixed[tail, tail] = sigma[tail] ** -2
    return shape, fixed


class _Begun:
    """An evaluator that makes the first evaluation once."""

    def __init__(self, evaluator: Evaluator, first: solver.State) -> None:
        self.evaluator, self.first = evaluator, evaluator.layout.pack(first)
        self.linear: solver.Linearised | None = None

    def __call__(self, state: solver.State, with_jacobian: bool) -> solver.Linearised:
        at = self.evaluator.layout.pack(state)
        if not (with_jacobian and np.array_equal(at, self.first)):
            return self.evaluator(state, with_jacobian)
        if self.linear is None:
            self.linear = self.evaluator(state, True)
        return self.linear


def _by_chi_square(
    scene: Scene,
    result: iteration.Result,
    layout: solver.Layout,
    prior: solver.State,
    shape: Array,
    fixed: Array,
    assumed: Array,
) -> float:
    """Strength by a rule that asks for chi-square, from the last linearisation."""
    off = result.vector - layout.pack(prior)
    vector = result.gradient + result.data_matrix @ off
    # chi-square of the linearised model at x_a, from that at the end of the step
    x = off + result.step
    at_prior = result.final.chi_square + 2.0 * x @ vector - x @ result.data_matrix @ x
    used = int((scene.prepared.weight > 0).sum())
    n_free = used - result.final.baseline.size
    return _chosen(scene, result.data_matrix, vector, float(at_prior), layout, shape,
                   fixed, assumed, n_free)  # fmt: skip


def _chosen(
    scene: Scene,
    data_matrix: Array,
    vector: Array,
    at_prior: float,
    layout: solver.Layout,
    shape: Array,
    fixed: Array,
    assumed: Array,
    n_free: float,
) -> float:
    """Strength by the setup's rule."""
    profiles = slice(0, layout.shift.start)
    steps = ladder(
        data_matrix,
        vector,
        at_prior,
        shape,
        fixed,
        assumed[profiles, profiles],
        profiles,
    )
    return choose_alpha(steps, scene.setup.tikhonov.choice, n_free)
