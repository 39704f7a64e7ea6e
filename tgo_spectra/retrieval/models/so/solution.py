"""What every method returns before it is dressed as a Dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.evaluation import Evaluator
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]

__all__ = ["Solution", "solution_of"]


@dataclass(frozen=True)
class Solution:
    """Where a method ended; matrices in mole fractions, whatever the state's elements.

    Attributes
    ----------
    data_matrix : array, shape (state, state)
        K^T Se^-1 K at the state.
    covariance : array, shape (state, state)
        (K^T Se^-1 K + R)^-1. With R the inverse a priori covariance it is the
        posterior covariance.
    assumed : array, shape (state, state), optional
        Covariance of the truth for the smoothing error where R is not its inverse.
    smoothing_known : bool
        Whether the smoothing error can be given at all.
    choices : dict
        What the method chose, for the attributes of the result.
    """

    state: State
    final: Linearised
    data_matrix: Array
    covariance: Array
    iterations: int
    converged: bool
    coarse_shift_px: int
    truncation_residual: float
    space: StateSpace
    evaluator: Evaluator
    assumed: Array | None = None
    smoothing_known: bool = True
    choices: Mapping[str, object] = field(default_factory=dict)


def solution_of(
    result: Result[Linearised],
    space: StateSpace,
    coarse_shift_px: int,
    evaluator: Evaluator,
    *,
    assumed: Array | None = None,
    smoothing_known: bool = True,
    choices: Mapping[str, object] | None = None,
) -> Solution:
    """Take the result of an iteration to mole fractions and add what else is asked."""
    data, covariance = result.data_matrix, result.covariance
    if any(block.log for block in space.blocks):
        slope = space.slope(result.vector)
        covariance = covariance * slope[:, None] * slope
        data = data / slope[:, None] / slope
        if assumed is not None:
            assumed = assumed * slope[:, None] * slope
    return Solution(
        state=result.state,
        final=result.final,
        data_matrix=data,
        covariance=covariance,
        iterations=result.iterations,
        converged=result.converged,
        coarse_shift_px=coarse_shift_px,
        truncation_residual=evaluator.truncation(result.state),
        space=space,
        evaluator=evaluator,
        assumed=assumed,
        smoothing_known=smoothing_known,
        choices=dict(choices or {}),
    )
