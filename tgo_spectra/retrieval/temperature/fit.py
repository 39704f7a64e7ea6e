"""Optimal estimation of the temperature profile and one pressure.

State: temperature at the levels (departure from the a priori), mole fractions of the
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
from tgo_spectra.operators import tabulated as operator
from tgo_spectra.retrieval import iteration, registration, solver
from tgo_spectra.retrieval.evaluation import (
    REBUILD_PX,
    depth_of,
    layout_of,
    measurement_of,
)
from tgo_spectra.retrieval.optimal_estimation import (
    SHIFT_FLOOR,
    prior_sigma,
    prior_state,
)
from tgo_spectra.retrieval.regularisation import (
    exponential_covariance,
    prior_inverse,
)
from tgo_spectra.retrieval.temperature.scene import TEMPERATURE

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.operators.tabulated import Operator
    from tgo_spectra.retrieval.temperature.scene import TemperatureScene

    Array = npt.NDArray[np.floating]

__all__ = [
    "TemperatureEvaluator",
    "TemperatureSolution",
    "expanded",
    "layout_of_temperature",
    "prior_of_temperature",
    "solve_temperature",
]

LOG_PRESSURE = "log_pressure"
LOG_PRESSURE_LIMIT = 10.0
"""No pressure is wrong by more than e to this power."""


@dataclass(frozen=True)
class TemperatureSolution:
    """Where the fit ended.

    Attributes
    ----------
    result : Result
        State, matrices, iterations.
    layout : Layout
        Order of the state vector.
    evaluator : TemperatureEvaluator
        The forward model at the result.
    coarse_shift_px : int
        Whole-pixel shift found before.
    truncation_residual : float
        Largest change of transmittance by the outermost pair of orders.
    """

    result: iteration.Result
    layout: solver.Layout
    evaluator: TemperatureEvaluator
    coarse_shift_px: int
    truncation_residual: float


def layout_of_temperature(scene: TemperatureScene) -> solver.Layout:
    """Return the order of the state vector: the temperature stands where gases do."""
    return solver.Layout(
        (TEMPERATURE, *scene.setup.fitted),
        scene.altitude_km.size,
        scene.prepared.n_bins,
        extras=(LOG_PRESSURE,),
    )


def prior_of_temperature(scene: TemperatureScene) -> tuple[solver.State, Array]:
    """Return the a priori state and the covariance of its elements."""
    setup, altitude = scene.setup, scene.altitude_km
    layout = layout_of_temperature(scene)
    wish, register = setup.temperature, setup.registration
    covariance = np.zeros((layout.size, layout.size))
    block = layout.gas(TEMPERATURE)
    sigma = np.full(altitude.size, wish.sigma_k)
    covariance[block, block] = exponential_covariance(
        altitude, sigma, wish.correlation_km
    )
    for gas in setup.fitted:
        own, length = prior_sigma(scene.gas, gas)
        covariance[layout.gas(gas), layout.gas(gas)] = exponential_covariance(
            altitude, own, length
        )
    stretch = register.stretch_sigma_px**2 if register.stretch else SHIFT_FLOOR
    exponent = max(setup.aerosol.exponent_sigma**2, SHIFT_FLOOR)
    tail = [register.shift_sigma_px**2] * layout.n_bins
    tail += [stretch, exponent, setup.pressure.relative_sigma**2]
    np.fill_diagonal(covariance[layout.shift.start :, layout.shift.start :], tail)
    state = solver.State(
        {TEMPERATURE: np.zeros(altitude.size)}
        | {g: scene.vmr[g] for g in setup.fitted},
        np.zeros(layout.n_bins),
        0.0,
        setup.aerosol.exponent,
        (0.0,),
    )
    return state, covariance


@dataclass
class TemperatureEvaluator:
    """The forward model along an iteration: keeps the operator while it is good.

    Attributes
    ----------
    scene : TemperatureScene
    measurement : Measurement
    layout : Layout
    """

    scene: TemperatureScene
    measurement: solver.Measurement
    layout: solver.Layout

    def __post_init__(self) -> None:
        self.built = (np.inf, np.inf)
        self.operator: Operator | None = None
        used = self.measurement.weight > 0
        mean = (self.measurement.transmittance * used).sum(axis=1) / used.sum(axis=1)
        self.depth = depth_of(mean)

    def __call__(self, state: solver.State, with_jacobian: bool) -> solver.Linearised:
        """Evaluate at a state."""
        result = self.linearise(state, with_jacobian)
        self.depth = depth_of(result.baseline[:, 0])
        return result

    def linearise(
        self, state: solver.State, with_jacobian: bool, measured: Array | None = None
    ) -> solver.Linearised:
        """Evaluate at a state; with other spectra than those measured if given."""
        fields = self.fields(state, with_jacobian)
        measurement = self.measurement
        if measured is not None:
            measurement = replace(measurement, transmittance=measured)
        extra = None
        if with_jacobian:
            extra = np.ascontiguousarray(fields.log_pressure.T[:, None, :])
        return solver.linearise(
            as_pixel_fields(fields), measurement, state, self.built, self.depth, extra
        )

    def fields(self, state: solver.State, with_jacobian: bool) -> TemperatureFields:
        """Return the convolved fields; rebuild the operator if it has to be.

        Raises
        ------
        RetrievalError
            The state has left the table: such a step is too long.
        """
        wanted = (float(state.shift_px.mean()), state.stretch_px)
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
                fitted=self.layout.gases[1:],
            )
        except (TableError, AtmosphereError) as error:  # a pressure, or no fall at top
            message = f"no such atmosphere: {error.message}"
            raise RetrievalError(
                message, field=error.field, value=error.value, rule="fit.diverged"
            ) from error

    def _check(self, state: solver.State) -> None:
        """Refuse temperatures outside the table and pressures beyond all bounds."""
        sight = self.scene.sight
        t = sight.temperature_k + sight.hats @ state.vmr[TEMPERATURE]
        low, high = sight.band.temperature_k[[0, -1]]
        good = bool((t >= low).all() and (t <= high).all())  # false for NaN
        if not good or not abs(state.extra[0]) < LOG_PRESSURE_LIMIT:
            message = (
                f"the state has run away: temperatures of {t.min():.0f} to "
                f"{t.max():.0f} K, the table has {low:g} to {high:g} K"
            )
            raise RetrievalError(message, value=state.extra[0], rule="fit.diverged")

    def spectra(self, state: solver.State) -> Array:
        """Return the spectra of the rows without baseline, (row, pixel)."""
        fields = as_pixel_fields(self.fields(state, False))
        return solver.row_spectra(
            fields, self.measurement, state, self.built, self.depth
        )[0]

    def truncation(self, state: solver.State) -> float:
        """Largest change of pixel transmittance by the outermost pair of orders.

        Seen at a few of the lower heights, see
        `tgo_spectra.operators.tabulated.truncation_residual`.
        """
        assert self.operator is not None
        air = self.scene.air(state)
        weights = absorption_weights(self.scene.sight, air, derivatives=False)
        depth = np.concatenate(list(weights.value.values()))
        heights = np.unique(np.linspace(0, depth.shape[1] // 3, 4).astype(int))
        field = np.exp(-(self.scene.vectors @ depth[:, heights]))
        return operator.truncation_residual(self.operator, field)


def as_pixel_fields(fields: TemperatureFields) -> PixelFields:
    """Return the fields as the solver takes those of a gas.

    Each level is a field of its own: the product of field and path is averaged over
    the field of view, not the factors, so that the derivative is exact.
    """
    gas = {TEMPERATURE: fields.temperature, **fields.gas}
    if not fields.temperature.shape[1]:
        gas = {}
    return PixelFields(fields.value, fields.shift, fields.curvature, fields.slope, gas)


def expanded(
    linear: solver.Linearised, layout: solver.Layout, bins: npt.NDArray[np.intp]
) -> tuple[Array, Array]:
    """Sum the rows' Gram matrices: K^T Se^-1 K and K^T Se^-1 (y - F).

    Parameters
    ----------
    linear : Linearised
        With one field for each level.
    layout : Layout
        Order of the state vector.
    bins : array of int, shape (row,)
        Bin of each row, whose shift it has.

    Returns
    -------
    matrix : array, shape (state, state)
    gradient : array, shape (state,)
    """
    matrix, gradient = np.zeros((layout.size, layout.size)), np.zeros(layout.size)
    profile = np.arange(layout.shift.start)
    common = np.arange(layout.common.start, layout.common.stop)
    for b in np.unique(bins):
        mine = bins == b
        at = np.concatenate([profile, [layout.shift.start + b], common])
        matrix[np.ix_(at, at)] += linear.gram[mine].sum(axis=0)
        gradient[at] += linear.gradient[mine].sum(axis=0)
    return 0.5 * (matrix + matrix.T), gradient


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
    layout = layout_of_temperature(scene)
    prior, covariance = prior_of_temperature(scene)
    measurement = measurement_of(scene.gas)
    coarse, first = _first_guess(scene, prior)
    evaluator = TemperatureEvaluator(scene, measurement, layout)
    result = iteration.ITERATIONS[scene.setup.solver](
        evaluator,
        lambda linear: expanded(linear, layout, measurement.bin),
        layout,
        first,
        prior,
        prior_inverse(covariance, layout),
        scene.setup.max_iterations,
    )
    residual = evaluator.truncation(result.state)
    return TemperatureSolution(result, layout, evaluator, coarse, residual)


def _first_guess(
    scene: TemperatureScene, prior: solver.State
) -> tuple[int, solver.State]:
    """Register the product; take the pressure from the amount of CO2 seen.

    The temperature starts from the a priori.
    """
    gas = scene.gas
    start = prior_state(gas, layout_of(gas))
    coarse, found = registration.first_guess(gas, start)
    at = int(np.abs(scene.altitude_km - scene.reference_km).argmin())
    factor = float(found.vmr["co2"][at] / start.vmr["co2"][at])
    state = replace(
        prior,
        shift_px=found.shift_px,
        stretch_px=found.stretch_px,
        extra=(float(np.log(factor)),),
        vmr={**prior.vmr, **{g: found.vmr[g] for g in scene.setup.fitted}},
    )
    return coarse, state
