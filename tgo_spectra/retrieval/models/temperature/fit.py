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

from tgo_spectra.errors import AtmosphereError, RetrievalError, TableError
from tgo_spectra.forward.sight import absorption_weights
from tgo_spectra.forward.temperature_fields import TemperatureFields, temperature_fields
from tgo_spectra.forward.transmittance import PixelFields
from tgo_spectra.instruments.response.truncation import truncation_residual
from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval.conclusion import conclude
from tgo_spectra.retrieval.joint import Result, fit
from tgo_spectra.retrieval.linear import SHIFT, STRETCH
from tgo_spectra.retrieval.models.so import registration
from tgo_spectra.retrieval.models.so.evaluation import (
    REBUILD_PX,
    depth_of,
    measurement_of,
    place_of,
)
from tgo_spectra.retrieval.models.so.optimal_estimation import (
    common_blocks,
    gas_block,
    space_of,
)
from tgo_spectra.retrieval.models.temperature.scene import LOG_PRESSURE, TEMPERATURE
from tgo_spectra.retrieval.regularisation import exponential_covariance
from tgo_spectra.retrieval.state import Block, StateSpace, independent
from tgo_spectra.retrieval.whitened import Whitened, whiten

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = [
    "TemperatureEvaluator",
    "TemperatureSolution",
    "expansion_of_temperature",
    "solve_temperature",
    "space_of_temperature",
]

LOG_PRESSURE_LIMIT = 3.0
"""No pressure is wrong by more than e to this power: the a priori knows it to some
10 %, and the seasons change it by a third."""


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
    sigma = np.full(altitude.size, wish.sigma_k)
    covariance = exponential_covariance(altitude, sigma, wish.correlation_km)
    fitted = {gas: gas_block(scene.gas, gas) for gas in setup.fitted}
    return StateSpace(
        (
            Block(TEMPERATURE, np.zeros(altitude.size), covariance, "level"),
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


@dataclass
class TemperatureEvaluator:
    """The forward model along an iteration: keeps the operator while it is good.

    Attributes
    ----------
    scene : TemperatureScene
    measurement : Measurement
    """

    scene: TemperatureScene
    measurement: linearisation.Measurement

    def __post_init__(self) -> None:
        self.built = (np.inf, np.inf)
        self.operator: Operator | None = None
        used = self.measurement.weight > 0
        mean = (self.measurement.transmittance * used).sum(axis=1) / used.sum(axis=1)
        self.depth = depth_of(mean)

    def __call__(self, state: State, with_jacobian: bool) -> linearisation.Linearised:
        """Evaluate at a state."""
        result = self.linearise(state, with_jacobian)
        self.depth = depth_of(result.baseline[:, 0])
        return result

    def linearise(
        self, state: State, with_jacobian: bool, measured: Array | None = None
    ) -> linearisation.Linearised:
        """Evaluate at a state; with other spectra than those measured if given."""
        fields = self.fields(state, with_jacobian)
        measurement = self.measurement
        if measured is not None:
            measurement = replace(measurement, transmittance=measured)
        extra = self._extra(fields) if with_jacobian else None
        return linearisation.linearise(
            as_pixel_fields(fields), measurement, state, self.built, self.depth, extra
        )

    def whitened(self, state: State) -> Whitened:
        """Return the derivatives pixel by pixel at a state."""
        fields = self.fields(state, True)
        return whiten(
            as_pixel_fields(fields),
            self.measurement,
            state,
            self.built,
            self.depth,
            self._extra(fields),
        )

    def _extra(self, fields: TemperatureFields) -> Array:
        """Return the derivative by the pressure as the rows see it."""
        by_pressure = np.ascontiguousarray(fields.log_pressure.T[:, None, :])
        return linearisation.seen_by_rows(self.measurement.rows, by_pressure)

    def fields(self, state: State, with_jacobian: bool) -> TemperatureFields:
        """Return the convolved fields; rebuild the operator if it has to be.

        Raises
        ------
        RetrievalError
            The state has left the table: such a step is too long.
        """
        wanted = place_of(state)
        moved = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        if self.operator is None or moved > REBUILD_PX:
            self.operator, self.built = self.scene.gas.operator(*wanted), wanted
        self._check(state)
        air = self.scene.air(state)
        try:
            return temperature_fields(
                self.scene.sight,
                air,
                self.operator,
                self.scene.vectors,
                jacobian=with_jacobian,
                fitted=self.scene.setup.fitted,
            )
        except (TableError, AtmosphereError) as error:  # a pressure, or no fall at top
            message = f"no such atmosphere: {error.message}"
            raise RetrievalError(
                message, field=error.field, value=error.value, rule="fit.diverged"
            ) from error

    def _check(self, state: State) -> None:
        """Refuse temperatures outside the table and pressures beyond all bounds."""
        sight = self.scene.sight
        t = sight.temperature_k + sight.hats @ state[TEMPERATURE]
        low, high = sight.band.temperature_k[[0, -1]]
        good = bool((t >= low).all() and (t <= high).all())  # false for NaN
        log_pressure = float(state[LOG_PRESSURE][0])
        if not good or not abs(log_pressure) < LOG_PRESSURE_LIMIT:
            message = (
                f"the state has run away: temperatures of {t.min():.0f} to "
                f"{t.max():.0f} K, the table has {low:g} to {high:g} K"
            )
            raise RetrievalError(message, value=log_pressure, rule="fit.diverged")

    def spectra(self, state: State) -> Array:
        """Return the spectra of the rows without baseline, (row, pixel)."""
        fields = as_pixel_fields(self.fields(state, False))
        return linearisation.row_spectra(
            fields, self.measurement, state, self.built, self.depth
        )[0]

    def truncation(self, state: State) -> float:
        """Largest change of pixel transmittance by the outermost pair of orders.

        Seen at a few of the lower heights, see
        `tgo_spectra.instruments.response.tabulated.truncation_residual`.
        """
        assert self.operator is not None
        air = self.scene.air(state)
        weights = absorption_weights(self.scene.sight, air, derivatives=False)
        depth = np.concatenate(list(weights.value.values()))
        heights = np.unique(np.linspace(0, depth.shape[1] // 3, 4).astype(int))
        field = np.exp(-(self.scene.vectors @ depth[:, heights]))
        return truncation_residual(self.operator, field)


def as_pixel_fields(fields: TemperatureFields) -> PixelFields:
    """Return the fields as the solver takes those of a gas.

    Each level is a field of its own: the product of field and path is averaged over
    the field of view, not the factors, so that the derivative is exact.
    """
    gas = {TEMPERATURE: fields.temperature, **fields.gas}
    if not fields.temperature.shape[1]:
        gas = {}
    return PixelFields(fields.value, fields.shift, fields.curvature, fields.slope, gas)


def solve_temperature(scene: TemperatureScene) -> TemperatureSolution:
    """Fit one occultation.

    Parameters
    ----------
    scene : TemperatureScene

    Returns
    -------
    TemperatureSolution

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
