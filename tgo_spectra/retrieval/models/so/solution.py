"""What every method returns before it is dressed as a Dataset."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.conclusion import conclude
from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.models.so.amounts import turned
from tgo_spectra.retrieval.models.so.evaluation import expansion_of
from tgo_spectra.retrieval.models.so.sources import known_blocks, wave_sigma
from tgo_spectra.retrieval.models.so.systematics import changes, denser

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.evaluation import Evaluator
    from tgo_spectra.retrieval.models.so.registration import FirstGuess
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]

__all__ = ["Solution", "solution_of"]


@dataclass(frozen=True)
class Solution:
    """Where a method ended.

    Attributes
    ----------
    end : Conclusion
        State, matrices and errors; in the elements of the fit.
    assumed : array, shape (state, state), optional
        Covariance of the truth for the smoothing error where R is not its inverse.
    smoothing_known : bool
        Whether the smoothing error can be given at all.
    choices : dict
        What the method chose, for the attributes of the result.
    """

    end: Conclusion
    coarse_shift_px: int
    truncation_residual: float
    evaluator: Evaluator
    assumed: Array | None = None
    smoothing_known: bool = True
    choices: Mapping[str, object] = field(default_factory=dict)

    @property
    def space(self) -> StateSpace:
        """Blocks."""
        return self.end.space

    @functools.cached_property
    def state(self) -> State:
        """Values of the blocks."""
        return self.end.state

    @functools.cached_property
    def _slope(self) -> Array:
        return self.end.space.slope(self.end.vector)

    @property
    def data_matrix(self) -> Array:
        """K^T Se^-1 K in mole fractions, (state, state)."""
        return np.asarray(self.end.data_matrix / self._slope[:, None] / self._slope)

    @property
    def covariance(self) -> Array:
        """(K^T Se^-1 K + R)^-1 in mole fractions, (state, state)."""
        return np.asarray(self.end.covariance * self._slope[:, None] * self._slope)


def solution_of(
    result: Result[Linearised],
    space: StateSpace,
    guess: FirstGuess,
    evaluator: Evaluator,
    constraint: Array,
    *,
    assumed: Array | None = None,
    smoothing_known: bool = True,
    choices: Mapping[str, object] | None = None,
) -> Solution:
    """Conclude an iteration and add what else is asked.

    Parameters
    ----------
    result : Result
    space : StateSpace
    guess : FirstGuess
        Where the fit started.
    evaluator : Evaluator
        The model as fitted.
    constraint : array, shape (state, state)
        R of the fit.
    assumed, smoothing_known, choices
        As in `Solution`.
    """
    scene = evaluator.scene
    end = conclude(
        evaluator.whitened(result.state),
        expansion_of(scene, space),
        result,
        scene.prepared.altitude_km,
        scene.limb.altitude_km,
        constraint=constraint,
        wave_sigma=wave_sigma(scene.setup),
        waves=scene.waves,
        known=known_blocks(scene.setup),
        beside=changes(evaluator, result.state),
        denser=denser(scene),
        screened=bool(elements_of(scene.setup)),
        line_sigma=scene.setup.systematics.spectroscopy,
        tested=scene.setup.gases,
        layer=scene.setup.detection.layer(scene.limb.altitude_km),
        at_edge=guess.at_edge,
        turned=turned(scene, space, result.state),
    )
    return Solution(
        end=end,
        coarse_shift_px=guess.shift_px,
        truncation_residual=evaluator.truncation(result.state),
        evaluator=evaluator,
        assumed=end.assumed() if assumed is not None else None,
        smoothing_known=smoothing_known,
        choices=dict(choices or {}),
    )
