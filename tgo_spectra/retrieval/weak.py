"""Linear fit for faint gases: one forward run, one Jacobian, one solution.

After the registration the model is linearised once, at the reference profiles scaled to
the spectra; baselines and shifts are eliminated with everything else in closed form.
Exact for gases whose lines stay weak; for the others the result is one Newton step from
the scaled reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.retrieval import iteration, registration, solver
from tgo_spectra.retrieval.evaluation import (
    Evaluator,
    layout_of,
    measurement_of,
    row_paths,
)
from tgo_spectra.retrieval.optimal_estimation import prior_of
from tgo_spectra.retrieval.regularisation import prior_inverse
from tgo_spectra.retrieval.solution import Solution, solution_of

if TYPE_CHECKING:
    from tgo_spectra.retrieval.scene import Scene

__all__ = ["solve"]


def solve(scene: Scene) -> Solution:
    """Fit one occultation in one step.

    ``converged`` says that the step was small enough for a linear model.

    Raises
    ------
    RetrievalError
        The state runs away: the gas is not faint.
    """
    measurement, layout = measurement_of(scene), layout_of(scene)
    paths = row_paths(scene)
    prior, covariance = prior_of(scene)
    start, first = registration.first_guess(scene, prior)
    evaluator = Evaluator(scene, measurement, layout)
    result = iteration.single_step(
        evaluator,
        lambda linear: solver.normal_equations(linear, paths, layout, measurement.bin),
        layout,
        first,
        prior,
        prior_inverse(covariance, layout),
    )
    return solution_of(result, layout, start, evaluator)
