"""From a fitted state to profiles with errors, and to the level-2 Dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward.sight import (
    air_on_points,
    hydrostatic_log_ratio,
    log_pressure_slope,
)
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.models.so.profile_output import bins_of, view_of
from tgo_spectra.retrieval.models.temperature.fit import (
    TemperatureEvaluator,
    expansion_of_temperature,
)
from tgo_spectra.retrieval.models.temperature.scene import (
    LOG_PRESSURE,
    TEMPERATURE,
    molar_mass,
)
from tgo_spectra.retrieval.profile_variables import error_variables, profile_variables
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.models.temperature.fit import TemperatureSolution
    from tgo_spectra.retrieval.models.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.state import Block

    Array = npt.NDArray[np.float64]

__all__ = [
    "Profiles",
    "assembled",
    "profiles_of",
    "response",
    "systematic_errors",
    "with_more_co2",
]


@dataclass(frozen=True)
class Profiles:
    """Profiles on the levels and their random errors.

    Attributes
    ----------
    pressure_pa, temperature_k, density_cm3 : array, shape (level,)
        In hydrostatic balance.
    diagnostics : GasDiagnostics
        Of the temperature.
    log_pressure, log_density : tuple of array, shape (level,)
        Noise, smoothing and total standard error of the logarithms.
    """

    pressure_pa: Array
    temperature_k: Array
    density_cm3: Array
    diagnostics: GasDiagnostics
    log_pressure: tuple[Array, Array, Array]
    log_density: tuple[Array, Array, Array]


def profiles_of(scene: TemperatureScene, solution: TemperatureSolution) -> Profiles:
    """Return the profiles of a solution and their errors.

    The pressure depends on all temperatures between it and the reference altitude, the
    density on that and on its own temperature: both errors follow from the covariance
    of the state by their derivatives.

    Parameters
    ----------
    scene : TemperatureScene
    solution : TemperatureSolution

    Returns
    -------
    Profiles
    """
    end, space = solution.end, solution.space
    pressure, temperature, density = air_on_points(scene.sight, scene.air(end.state))
    at = scene.level_points
    slope = np.zeros((at.size, space.size))
    slope[:, space[TEMPERATURE]] = log_pressure_slope(scene.sight, temperature)[at]
    slope[:, space[LOG_PRESSURE]] = 1.0
    own = np.zeros_like(slope)
    own[:, space[TEMPERATURE]] = np.diag(1.0 / temperature[at])
    return Profiles(
        pressure[at],
        temperature[at],
        density[at],
        end.diagnostics(TEMPERATURE),
        _errors(slope, end),
        _errors(slope - own, end),
    )


def _errors(slope: Array, end: Conclusion) -> tuple[Array, Array, Array]:
    """Noise, smoothing and total standard error of what depends on the state."""
    gain = slope @ end.covariance
    white = np.einsum("ij,ij->i", gain @ end.data_matrix, gain)
    noise = np.maximum(np.einsum("ij,ij->i", gain @ end.noise_matrix, gain), white)
    open_ = np.einsum("ij,ij->i", gain, slope) - white
    total = noise + open_
    return np.sqrt(noise), np.sqrt(open_.clip(0.0)), np.sqrt(total.clip(0.0))


def systematic_errors(
    scene: TemperatureScene, solution: TemperatureSolution
) -> dict[str, dict[str, Array]]:
    """Return what errors of the setup's sizes do that noise does not hold.

    Parameters
    ----------
    scene : TemperatureScene
    solution : TemperatureSolution

    Returns
    -------
    dict of dict of array, shape (level,)
        By source, as `response` gives it: ``composition``, for more CO2 than assumed,
        and ``pointing``, for tangent points higher than stated. Sources of size zero
        are left out.
    """
    setup = scene.setup
    relative, higher = setup.composition.relative_error, setup.pointing_km
    found = {}
    if relative > 0.0:
        other = with_more_co2(scene, relative)
        found["composition"] = response(scene, solution, other)
    if higher > 0.0:
        moved = replace(scene.sight, height_km=scene.sight.height_km + higher)
        other = replace(scene, sight=moved)
        found["pointing"] = response(scene, solution, other)
    return found


def response(
    scene: TemperatureScene, solution: TemperatureSolution, real: TemperatureScene
) -> dict[str, Array]:
    """Return the errors of the profiles when the real scene is another one.

    The change of the spectra is taken through the gain matrix; baseline and shift are
    refitted on the way, as in the fit.

    Parameters
    ----------
    scene : TemperatureScene
        As assumed.
    solution : TemperatureSolution
        At which the model is linear.
    real : TemperatureScene
        With the same levels, rows and vectors.

    Returns
    -------
    dict of array, shape (level,)
        Retrieved less true, with sign, for ``temperature`` (K), and relative for
        ``pressure``, ``number_density`` and ``co2_number_density``.
    """
    end, space = solution.end, solution.space
    state, evaluator = end.state, solution.evaluator
    other = TemperatureEvaluator(real, evaluator.measurement)
    other.built, other.operator = evaluator.built, evaluator.operator
    other.depth = evaluator.depth
    change = other.spectra(state) - evaluator.spectra(state)
    whitened = end.seen.columns(change[:, None, :])
    products = (end.seen.fields @ whitened.transpose(0, 2, 1)).astype(float)
    step = end.covariance @ expansion_of_temperature(scene, space).left(products)[:, 0]
    moved = space.unpack(space.pack(state) + step)
    at = scene.level_points
    found = air_on_points(scene.sight, scene.air(moved))
    true = air_on_points(real.sight, real.air(state))
    pressure, _, density = (
        a[at] / b[at] - 1.0 for a, b in zip(found, true, strict=True)
    )
    co2 = scene.vmr["co2"] / real.vmr["co2"]
    return {
        "temperature": step[space[TEMPERATURE]],
        "pressure": pressure,
        "number_density": density,
        "co2_number_density": (1.0 + density) * co2 - 1.0,
    }


def with_more_co2(scene: TemperatureScene, relative: float) -> TemperatureScene:
    """Return the scene with more CO2, and the molar mass and pressures of such air.

    Parameters
    ----------
    scene : TemperatureScene
    relative : float
        Relative change of the mole fraction at all heights.

    Returns
    -------
    TemperatureScene
        The pressure at the reference altitude is the same.
    """
    sight = scene.sight
    vmr = {**scene.vmr, "co2": scene.vmr["co2"] * (1.0 + relative)}
    if scene.setup.composition.molar_mass_g_mol is not None:
        return replace(scene, vmr=vmr)
    mass = molar_mass(sight.hats @ vmr["co2"])
    changed = [
        hydrostatic_log_ratio(
            sight.points_km,
            sight.temperature_k,
            planet_radius_km=sight.radius_km,
            anchor=sight.anchor,
            molar_mass_g_mol=item,
        )
        for item in (mass, sight.molar_mass_g_mol)
    ]
    factor = np.exp(changed[0] - changed[1])
    heavier = replace(
        sight,
        molar_mass_g_mol=mass,
        pressure_pa=sight.pressure_pa * factor,
        number_density_cm3=sight.number_density_cm3 * factor,
    )
    return replace(scene, vmr=vmr, sight=heavier)


def assembled(
    level1: xr.Dataset,
    scene: TemperatureScene,
    solution: TemperatureSolution,
    record: dict[str, object],
) -> xr.Dataset:
    """Dress a solution with the names and attributes of level 2.

    Parameters
    ----------
    level1 : Dataset
    scene : TemperatureScene
    solution : TemperatureSolution
    record : dict
        Attributes; more are added.

    Returns
    -------
    Dataset
    """
    found = profiles_of(scene, solution)
    altitude = scene.altitude_km
    errors = systematic_errors(scene, solution)
    end = solution.end
    data = _air_variables(scene, found, end.space.block(TEMPERATURE), errors)
    for gas in scene.setup.fitted:
        data |= profile_variables(
            gas, f"{gas}_vmr", end.state[gas], end.space.block(gas),
            end.diagnostics(gas),
        )  # fmt: skip
    view = replace(view_of(scene.gas, end), altitude_km=altitude)
    data |= level2.of_fit(level1, view, end)
    data["reference_altitude"] = scene.reference_km
    data |= bins_of(scene.prepared)
    wish = scene.setup
    left = (found.diagnostics.total_error / wish.temperature.sigma_k) ** 2
    sensed = altitude[1.0 - left >= wish.minimum_information]
    return dataset(data, record | {
        "truncation_residual": solution.truncation_residual,
        "coarse_shift_px": solution.coarse_shift_px,
        "sensed_bottom_km": float(sensed.min()) if sensed.size else float("nan"),
        "sensed_top_km": float(sensed.max()) if sensed.size else float("nan"),
    })  # fmt: skip


def _air_variables(
    scene: TemperatureScene,
    found: Profiles,
    prior: Block,
    systematic: Mapping[str, Mapping[str, Array]],
) -> dict[str, object]:
    """Name temperature, pressure and densities, and their errors."""
    at, sight, d, wish = scene.level_points, scene.sight, found.diagnostics, scene.setup
    co2, density = scene.vmr["co2"], found.density_cm3
    units = {"composition": (wish.composition.relative_error, "1"),
             "pointing": (wish.pointing_km, "km")}  # fmt: skip
    values: dict[str, Array] = {
        "pressure": found.pressure_pa,
        "number_density": density,
        "co2_number_density": density * co2,
    }

    def by_source(name: str, value: Array | float) -> dict[str, Array]:
        return {source: item[name] * value for source, item in systematic.items()}

    # what is fitted is the departure from what was assumed
    prior = replace(prior, prior=sight.temperature_k[at])
    data = profile_variables(
        TEMPERATURE, TEMPERATURE, found.temperature_k, prior, d,
        by_source("temperature", 1.0), sizes=units,
    )  # fmt: skip
    data |= {
        "temperature_response": d.averaging_kernel.sum(axis=1),
        "temperature_vertical_resolution": d.resolution(scene.altitude_km),
        "pressure_apriori": sight.pressure_pa[at],
        "number_density_apriori": sight.number_density_cm3[at],
        "co2_vmr": (co2, {"state": "fixed"}),
    }
    for name, value in values.items():
        errors = found.log_pressure if name == "pressure" else found.log_density
        noise, smoothing, _ = (error * value for error in errors)
        changes = by_source(name, value)
        data |= {name: value, **error_variables(name, noise, smoothing, changes, units)}
    return data
