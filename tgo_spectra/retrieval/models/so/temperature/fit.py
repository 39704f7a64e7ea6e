"""Optimal estimation of the temperature profile and one pressure.

State: temperature at the levels (departure from the a priori, K), mole fractions of the
gases to be fitted beside it, a wavenumber shift per bin, a common stretch, the aerosol
exponent and the logarithm of the pressure at the reference altitude. All other
pressures follow from hydrostatic balance at every step. The baseline of each row is
eliminated as in the fit of gases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval.conclusion import conclude
from tgo_spectra.retrieval.given import common_blocks
from tgo_spectra.retrieval.joint import Result, fit
from tgo_spectra.retrieval.linear import SHIFT, STRETCH
from tgo_spectra.retrieval.models.so import registration
from tgo_spectra.retrieval.models.so.evaluation import measurement_of
from tgo_spectra.retrieval.models.so.optimal_estimation import gas_block, space_of
from tgo_spectra.retrieval.models.so.temperature.evaluation import TemperatureEvaluator
from tgo_spectra.retrieval.models.so.temperature.scene import LOG_PRESSURE, TEMPERATURE
from tgo_spectra.retrieval.models.so.temperature.systematics import temperature_changes
from tgo_spectra.retrieval.state import StateSpace, independent, profile

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.so.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = [
    "TemperatureEvaluator",
    "TemperatureSolution",
    "expansion_of_temperature",
    "solve_temperature",
    "space_of_temperature",
]


@dataclass(frozen=True)
class TemperatureSolution:
    """Where the fit ended.

    Attributes
    ----------
    result : Result
        State, matrices, iterations.
    end : Conclusion
        State, matrices and errors.
    evaluator : TemperatureEvaluator
        The forward model at the result.
    coarse_shift_px : int
        Whole-pixel shift found before.
    truncation_residual : float
        Largest change of transmittance by the outermost pair of orders.
    """

    result: Result[linearisation.Linearised]
    end: Conclusion
    evaluator: TemperatureEvaluator
    coarse_shift_px: int
    truncation_residual: float

    @property
    def space(self) -> StateSpace:
        """Blocks."""
        return self.end.space


def space_of_temperature(scene: TemperatureScene) -> StateSpace:
    """Return the state with its a priori."""
    setup, altitude = scene.setup, scene.altitude_km
    wish = setup.temperature
    fitted = {gas: gas_block(scene.gas, gas) for gas in setup.fitted}
    return StateSpace(
        (
            profile(TEMPERATURE, altitude, 0.0, wish.sigma_k, wish.correlation_km),
            *(replace(block, prior=scene.vmr[g]) for g, block in fitted.items()),
            *common_blocks(setup, scene.prepared.n_bins),
            independent(LOG_PRESSURE, setup.pressure.relative_sigma),
        )
    )


def expansion_of_temperature(
    scene: TemperatureScene, space: StateSpace
) -> linearisation.Expansion:
    """Return what takes the rows' fields to the state: each level is one by itself."""
    extra = (*space.names("level"), LOG_PRESSURE)
    return linearisation.Expansion(space, {}, scene.prepared.bin, extra)


def solve_temperature(scene: TemperatureScene) -> TemperatureSolution:
    """Fit one occultation.

    Raises
    ------
    RetrievalError
        The fit diverges.
    """
    space = space_of_temperature(scene)
    guess = _first_guess(scene, space.prior)
    evaluator = TemperatureEvaluator(scene, measurement_of(scene.gas))
    result = fit(
        evaluator,
        expansion_of_temperature(scene, space),
        space,
        guess.state,
        max_iterations=scene.setup.max_iterations,
        solver=scene.setup.solver,
    )
    end = conclude(
        evaluator.whitened(result.state),
        expansion_of_temperature(scene, space),
        result,
        scene.prepared.altitude_km,
        scene.altitude_km,
        constraint=space.constraint,
        wave_sigma=scene.setup.systematics.waves,
        beside=temperature_changes(evaluator, result.state),
        screened=False,
        at_edge=guess.at_edge,
    )
    residual = evaluator.truncation(result.state)
    return TemperatureSolution(result, end, evaluator, guess.shift_px, residual)


def _first_guess(scene: TemperatureScene, prior: State) -> registration.FirstGuess:
    """Register the product; take the pressure from the amount of CO2 seen.

    The temperature starts from the a priori.
    """
    gas = scene.gas
    start = space_of(gas).prior
    guess = registration.first_guess(gas, start)
    found = guess.state
    at = int(np.abs(scene.altitude_km - scene.reference_km).argmin())
    factor = float(found["co2"][at] / start["co2"][at])
    seen = {name: found[name] for name in (SHIFT, STRETCH, *scene.setup.fitted)}
    return guess._replace(state={**prior, **seen, LOG_PRESSURE: np.log([factor])})
