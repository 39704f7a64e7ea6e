"""From a fitted state to profiles with errors, and to the level-2 Dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward.sight import air_on_points, log_pressure_slope
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.conclusion import joined
from tgo_spectra.retrieval.models.so.optimal_estimation import prior_sigma
from tgo_spectra.retrieval.models.so.profile_output import bins_of, view_of
from tgo_spectra.retrieval.models.temperature.scene import LOG_PRESSURE, TEMPERATURE
from tgo_spectra.retrieval.models.temperature.systematics import other_air, sizes
from tgo_spectra.retrieval.profile_variables import error_variables
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.models.temperature.fit import TemperatureSolution
    from tgo_spectra.retrieval.models.temperature.scene import TemperatureScene

    Array = npt.NDArray[np.float64]
    Real = npt.NDArray[np.floating]

__all__ = [
    "Profiles",
    "assembled",
    "profiles_of",
    "systematic_errors",
]

RESOLVED = 0.01
"""Diagonal of the averaging kernel below which a level has no vertical resolution."""


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
    end = solution.end
    pressure, temperature, density = air_on_points(scene.sight, scene.air(end.state))
    at, slopes = scene.level_points, _slopes(scene, end)
    diagnostics = end.diagnostics(TEMPERATURE)
    _, smoothing, _ = _errors(slopes["temperature"], end)
    return Profiles(
        pressure[at],
        temperature[at],
        density[at],
        replace(diagnostics, smoothing_error=smoothing),
        _errors(slopes["pressure"], end),
        _errors(slopes["number_density"], end),
    )


def _slopes(scene: TemperatureScene, end: Conclusion) -> dict[str, Array]:
    """Differentiate temperature, and the logarithms of pressure and density.

    By the elements of the state, (level, element) each.
    """
    space, at = end.space, scene.level_points
    _, temperature, _ = air_on_points(scene.sight, scene.air(end.state))
    itself, slope = np.zeros((2, at.size, space.size))
    itself[:, space[TEMPERATURE]] = np.eye(at.size)
    slope[:, space[TEMPERATURE]] = log_pressure_slope(scene.sight, temperature)[at]
    slope[:, space[LOG_PRESSURE]] = 1.0
    density = slope - itself / temperature[at][:, None]
    return {"temperature": itself, "pressure": slope, "number_density": density}


def _errors(slope: Array, end: Conclusion) -> tuple[Array, Array, Array]:
    """Noise, smoothing and total standard error of what depends on the state.

    Without what is by a known source.
    """
    gain = slope @ end.covariance
    white = np.einsum("ij,ij->i", gain @ end.data_matrix, gain)
    noise = np.maximum(np.einsum("ij,ij->i", gain @ end.noise_matrix, gain), white)
    open_ = np.einsum("ij,ij->i", gain, slope) - white
    by_block = end.by_block(gain)
    for block in end.known:
        open_ = open_ - by_block[block] ** 2
    open_ = open_.clip(0.0)
    return np.sqrt(noise), np.sqrt(open_), np.sqrt(noise + open_)


def systematic_errors(
    scene: TemperatureScene, solution: TemperatureSolution
) -> dict[str, dict[str, Real]]:
    """Return what errors of the setup's sizes do that noise does not hold.

    Parameters
    ----------
    scene : TemperatureScene
    solution : TemperatureSolution
        At which the model is linear.

    Returns
    -------
    dict of dict of array, shape (level,)
        By source, retrieved less true, with its sign where the source has one, for
        ``temperature`` (K), and relative for ``pressure``, ``number_density`` and
        ``co2_number_density``; the same for what the fit knows of, without sign.
    """
    end = solution.end
    air = other_air(scene)
    found: dict[str, dict[str, Real]] = {}
    for source, steps in end.steps.items():
        each = [_response(scene, end, step, air.get(source, scene)) for step in steps]
        found[source] = {
            name: joined(np.stack([one[name] for one in each], axis=1))
            for name in each[0]
        }
    for block, source in end.known.items():
        by = {
            name: end.by_block(slope @ end.covariance)[block]
            for name, slope in _slopes(scene, end).items()
        }
        found[source] = by | {"co2_number_density": by["number_density"]}
    return found


def _response(
    scene: TemperatureScene, end: Conclusion, step: Real, real: TemperatureScene
) -> dict[str, Real]:
    """Errors of the profiles when the fit moves by a step and the real air is another.

    ``real``: with the same levels, at the same state.
    """
    space, at = end.space, scene.level_points
    moved = space.unpack(end.vector + step)
    found = air_on_points(scene.sight, scene.air(moved))
    true = air_on_points(real.sight, real.air(end.state))
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
    data = _profile_variables(scene, found, errors)
    for gas in scene.setup.fitted:
        data |= _gas_variables(gas, scene, solution)
    end = solution.end
    view = replace(view_of(scene.gas, end), altitude_km=altitude)
    data |= level2.of_fit(level1, view, end)
    data["reference_altitude"] = scene.reference_km
    data |= bins_of(scene.prepared)
    wish = scene.setup
    left = (found.diagnostics.total_error / wish.temperature.sigma_k) ** 2
    sensed = altitude[1.0 - left >= wish.minimum_information]
    written = dataset(data, record | {
        "truncation_residual": solution.truncation_residual,
        "coarse_shift_px": solution.coarse_shift_px,
        "sensed_bottom_km": float(sensed.min()) if sensed.size else float("nan"),
        "sensed_top_km": float(sensed.max()) if sensed.size else float("nan"),
    })  # fmt: skip
    for gas in scene.setup.fitted:
        sigma, length = prior_sigma(scene.gas, gas)
        written[f"{gas}_vmr_apriori"].attrs |= {
            "correlation_length_km": length,
            "sigma_maximum": float(sigma.max()),
        }
    written["co2_vmr"].attrs["state"] = "fixed"
    written["temperature_apriori"].attrs |= {
        "sigma_k": wish.temperature.sigma_k,
        "correlation_length_km": wish.temperature.correlation_km,
    }
    for source, size, unit in sizes(wish):
        for name in errors.get(source, ()):
            notes = written[f"{name}_systematic_{source}"].attrs
            notes |= {"magnitude": size, "magnitude_units": unit}
    return written


def _profile_variables(
    scene: TemperatureScene,
    found: Profiles,
    systematic: Mapping[str, Mapping[str, Real]],
) -> dict[str, object]:
    level, square = "altitude", ("altitude", "altitude_in")
    at, sight, altitude = scene.level_points, scene.sight, scene.altitude_km
    d = found.diagnostics
    co2 = scene.vmr["co2"]
    density = found.density_cm3
    sizes: dict[str, float | Array] = {
        "temperature": 1.0,
        "pressure": found.pressure_pa,
        "number_density": density,
        "co2_number_density": density * co2,
    }
    changes = {
        name: {source: values[name] * size for source, values in systematic.items()}
        for name, size in sizes.items()
    }
    data: dict[str, object] = {
        "temperature": (level, found.temperature_k),
        "temperature_apriori": (level, sight.temperature_k[at]),
        **error_variables(
            "temperature", d.noise_error, d.smoothing_error, changes["temperature"]
        ),
        "temperature_averaging_kernel": (square, d.averaging_kernel),
        "temperature_noise_covariance": (square, d.noise_covariance),
        "temperature_response": (level, d.averaging_kernel.sum(axis=1)),
        "temperature_vertical_resolution": (
            level, _resolution(d.averaging_kernel, altitude)
        ),
        "temperature_degrees_of_freedom": ((), d.degrees_of_freedom),
        "pressure_apriori": (level, sight.pressure_pa[at]),
        "number_density_apriori": (level, sight.number_density_cm3[at]),
        "co2_vmr": (level, co2),
    }  # fmt: skip
    for name, errors in (
        ("pressure", found.log_pressure),
        ("number_density", found.log_density),
        ("co2_number_density", found.log_density),
    ):
        value = np.asarray(sizes[name])
        data[name] = (level, value)
        noise, smoothing, _ = (error * value for error in errors)
        data |= error_variables(name, noise, smoothing, changes[name])
    return data


def _gas_variables(
    gas: str, scene: TemperatureScene, solution: TemperatureSolution
) -> dict[str, object]:
    """Name the profile of a gas fitted beside the temperature, and its errors."""
    end = solution.end
    level, d = "altitude", end.diagnostics(gas)
    by_block = end.by_block(end.covariance[end.space[gas]])
    known = {source: by_block[block] for block, source in end.known.items()}
    squares = np.sum([v**2 for v in known.values()], axis=0)
    smoothing = np.sqrt(np.clip(d.smoothing_error**2 - squares, 0.0, None))
    return {
        f"{gas}_vmr": (level, end.state[gas]),
        f"{gas}_vmr_apriori": (level, scene.vmr[gas]),
        **error_variables(
            f"{gas}_vmr", d.noise_error, smoothing, known | dict(end.errors[gas])
        ),
        f"{gas}_averaging_kernel": ((level, "altitude_in"), d.averaging_kernel),
        f"{gas}_degrees_of_freedom": ((), d.degrees_of_freedom),
    }


def _resolution(kernel: Real, altitude_km: Array) -> Array:
    """Spacing of the levels over the diagonal of the averaging kernel, km."""
    diagonal = np.diag(kernel)
    known = diagonal > RESOLVED
    spacing = np.gradient(altitude_km)
    return np.where(known, spacing / np.where(known, diagonal, 1.0), np.nan)
