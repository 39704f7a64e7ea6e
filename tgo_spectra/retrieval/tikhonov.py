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

    def fit(alpha: float, guess: solver.State) -> iteration.Result:
        return iteration.ITERATIONS[scene.setup.solver](
            evaluator,
            lambda linear: solver.normal_equations(
                linear, paths, layout, measurement.bin
            ),
            layout,
            guess,
            prior,
            alpha * shape + fixed,
            scene.setup.max_iterations,
        )

    alpha = FIRST_ALPHA if wish.alpha is None else wish.alpha
    result = fit(alpha, first)
    iterations = result.iterations
    if wish.alpha is None:
        alpha = _chosen(scene, result, layout, prior, shape, fixed, assumed)
        result = fit(alpha, result.state)
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


def _chosen(
    scene: Scene,
    result: iteration.Result,
    layout: solver.Layout,
    prior: solver.State,
    shape: Array,
    fixed: Array,
    assumed: Array,
) -> float:
    """Strength by the setup's rule, from the last linearisation."""
    off = result.vector - layout.pack(prior)
    vector = result.gradient + result.data_matrix @ off
    # chi-square of the linearised model at x_a, from that at the end of the step
    x = off + result.step
    at_prior = result.final.chi_square + 2.0 * x @ vector - x @ result.data_matrix @ x
    profiles = slice(0, layout.shift.start)
    steps = ladder(
        result.data_matrix,
        vector,
        float(at_prior),
        shape,
        fixed,
        assumed[profiles, profiles],
        profiles,
    )
    used = int((scene.prepared.weight > 0).sum())
    n_free = used - result.final.baseline.size
    return choose_alpha(steps, scene.setup.tikhonov.choice, n_free)
