"""Tikhonov regularisation: smooth profiles, the strength chosen by a rule.

The constraint is alpha x L1^T L1 of each gas's departure from its reference profile in
units of the setup's sigma, so that alpha is a pure number; nothing pulls the level of a
profile. Shifts, stretch and exponent keep their wide a priori.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.joint import Information, Result, fit, inform
from tgo_spectra.retrieval.models.so import registration
from tgo_spectra.retrieval.models.so.evaluation import (
    Evaluator,
    expansion_of,
    measurement_of,
)
from tgo_spectra.retrieval.models.so.optimal_estimation import space_of
from tgo_spectra.retrieval.models.so.solution import Solution, solution_of
from tgo_spectra.retrieval.regularisation import choose_alpha, ladder, roughness

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State, StateSpace

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
        As `tgo_spectra.retrieval.models.so.optimal_estimation.space_of`.
    """
    wish = scene.setup.tikhonov
    space = space_of(scene)
    rule = _Rule(scene, space)
    expand = expansion_of(scene, space)
    guess = registration.first_guess(scene, space.prior)
    first = guess.state
    evaluator = Evaluator(scene, measurement_of(scene))

    def smooth(alpha: float, guess: State, begun: _Begun) -> Result[Linearised]:
        return fit(
            begun,
            expand,
            space,
            guess,
            max_iterations=scene.setup.max_iterations,
            solver=scene.setup.solver,
            constraint=alpha * rule.shape + rule.fixed,
        )

    iterations = 0
    begun = _Begun(evaluator, space, first)
    if wish.alpha is not None:
        alpha = wish.alpha
    elif wish.choice == "expected-error":
        # it asks for the derivatives only, which the first guess has
        matrix = inform(begun, expand, space, first).matrix
        alpha = rule.strength(matrix, np.zeros(space.size), 0.0, np.nan)
    else:
        trial = smooth(FIRST_ALPHA, first, begun)
        iterations += trial.iterations
        alpha = rule.by_chi_square(trial)
        first, begun = trial.state, _Begun(evaluator, space, trial.state)
    result = smooth(alpha, first, begun)
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
        space,
        guess,
        evaluator,
        alpha * rule.shape + rule.fixed,
        assumed=space.covariance if known else None,
        smoothing_known=known,
        choices=choices,
    )


class _Begun:
    """An evaluator that makes the first evaluation once."""

    def __init__(self, evaluator: Evaluator, space: StateSpace, first: State) -> None:
        self.evaluator, self.space = evaluator, space
        self.first = space.pack(first)
        self.linear: Linearised | None = None

    def __call__(self, state: State, with_jacobian: bool) -> Linearised:
        at = self.space.pack(state)
        if not (with_jacobian and np.array_equal(at, self.first)):
            return self.evaluator(state, with_jacobian)
        if self.linear is None:
            self.linear = self.evaluator(state, True)
        return self.linear


class _Rule:
    """The setup's rule for the strength; ``shape``, ``fixed`` (element, element)."""

    def __init__(self, scene: Scene, space: StateSpace) -> None:
        self.scene, self.space = scene, space
        self.shape = np.zeros((space.size, space.size))
        sigma = np.sqrt(np.diag(space.covariance))
        for gas in space.names("level"):
            block = space[gas]
            self.shape[block, block] = roughness(sigma[block])
        self.fixed = np.diag(sigma**-2.0)
        self.fixed[space.profiles] = 0.0

    def by_chi_square(self, result: Result[Linearised]) -> float:
        """Strength by a rule that asks for chi-square, from the final linearisation."""
        vector = Information.of(result, self.space).vector
        # chi-square of the linearised model at x_a
        x = result.vector - self.space.pack(self.space.prior)
        at_prior = result.final.chi_square
        at_prior += float(2.0 * x @ vector - x @ result.data_matrix @ x)
        used = int((self.scene.prepared.weight > 0).sum())
        n_free = used - result.final.baseline.size
        return self.strength(result.data_matrix, vector, at_prior, n_free)

    def strength(
        self, data_matrix: Array, vector: Array, at_prior: float, n_free: float
    ) -> float:
        """Strength by the setup's rule."""
        profiles = self.space.profiles
        steps = ladder(
            data_matrix,
            vector,
            at_prior,
            self.shape,
            self.fixed,
            self.space.covariance[profiles, profiles],
            profiles,
        )
        return choose_alpha(steps, self.scene.setup.tikhonov.choice, n_free)
