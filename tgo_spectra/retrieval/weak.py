"""Fit for faint gases: one Jacobian, and steps with it.

After the registration the model is linearised once, at the reference profiles scaled to
the spectra; baselines and shifts are eliminated with everything else in closed form.
For gases whose lines stay weak the first step is the whole fit. Strong lines beside
them bend the model over the step: what they leave in the spectra goes through the same
Jacobian until the next step would be small (the chord method; Kelley 1995, Iterative
Methods for Linear and Nonlinear Equations, ch. 5), each at the price of one model
without derivatives.
"""

from __future__ import annotations

from dataclasses import replace
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
from tgo_spectra.retrieval.regularisation import prior_inverse
from tgo_spectra.retrieval.solution import Solution, solution_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = ["solve"]

MAX_STEPS = 6
"""Steps with one Jacobian."""

SMALL_STEP = 0.01 * iteration.SMALL_STEP
"""Chord steps shrink as the last two say and no faster; Newton's end nearer than that,
so that their limit is wider."""


def solve(scene: Scene) -> Solution:
    """Fit one occultation with one Jacobian.

    ``converged`` says that the step after the last would be small against the posterior
    covariance.

    Raises
    ------
    RetrievalError
        The state runs away: the gas is not faint.
    """
    measurement, layout = measurement_of(scene), layout_of(scene)
    paths = row_paths(scene)
    prior, covariance = prior_of(scene)
    constraint = prior_inverse(covariance, layout)
    start, first = registration.first_guess(scene, prior)
    evaluator = Evaluator(scene, measurement, layout)
    chord = _Chord(evaluator, first, paths)
    result = chord.run(layout.pack(first), layout.pack(prior), constraint)
    return solution_of(result, layout, start, evaluator)


class _Chord:
    """Model linearised at one state, and the way from there."""

    def __init__(
        self, evaluator: Evaluator, first: solver.State, paths: dict[str, Array]
    ) -> None:
        self.evaluator, self.layout, self.paths = evaluator, evaluator.layout, paths
        self.first = first
        self.fields = evaluator.fields(first, True)
        self.extra = evaluator.extra_fields(first)
        self.built = evaluator.built
        self.depth = evaluator.depth
        self.linear = self._linearise(evaluator.measurement)
        self.slope = self.layout.derivative(self.layout.pack(first))

    def run(self, x: Array, xa: Array, constraint: Array) -> iteration.Result:
        """Step until the next step would be small."""
        layout, at = self.layout, x
        matrix, gradient = solver.normal_equations(
            self.linear, self.paths, layout, self.evaluator.measurement.bin
        )
        matrix = matrix * self.slope[:, None] * self.slope
        covariance = iteration.invert(matrix + constraint)
        small, previous, number = False, 0.0, 0
        while not small and number < MAX_STEPS:
            number += 1
            downhill = self.slope * gradient - constraint @ (x - xa)
            step = covariance @ downhill
            x = x + step
            final = self.evaluator(layout.unpack(x), False)
            length = float(step @ downhill)
            # from the second step on these tell how much nearer each one comes
            ratio = length / previous if previous > length else 1.0
            small = length * ratio < SMALL_STEP * layout.size
            previous = length
            if not small:
                gradient = self._gradient(final)
        return iteration.Result(
            state=layout.unpack(x),
            final=final,
            data_matrix=matrix,
            covariance=covariance,
            gradient=self.slope * gradient,
            vector=at,
            step=x - at,
            iterations=number,
            converged=small and bool(np.isfinite(final.chi_square)),
        )

    def _linearise(self, measurement: solver.Measurement) -> solver.Linearised:
        return solver.linearise(
            self.fields, measurement, self.first, self.built, self.depth, self.extra
        )

    def _gradient(self, final: solver.Linearised) -> Array:
        """Gradient by the first Jacobian for the residual there is now.

        The baseline is fitted once more on the way; of the first model times it nothing
        is left after that, so that the residual may be put on top of it.
        """
        m = self.evaluator.measurement
        used = m.weight > 0
        left = np.where(used, final.residual / np.where(used, m.weight, 1.0), 0.0)
        moved = replace(m, transmittance=self.linear.model + left)
        return solver.expand_gradient(
            self._linearise(moved), self.paths, self.layout, m.bin
        )
