"""From the spectra of CO2 to temperature, pressure and density: level 1 to level 2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward.sight import air_on_points, log_pressure_slope
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.diagnostics import joined
from tgo_spectra.retrieval.measurement import (
    given_atmosphere,
    masked_text,
    planet_radius,
    prepare,
)
from tgo_spectra.retrieval.models.so.solution import bins_of, choices, view_of
from tgo_spectra.retrieval.models.so.temperature.fit import solve_temperature
from tgo_spectra.retrieval.models.so.temperature.scene import (
    LOG_PRESSURE,
    TEMPERATURE,
    TemperatureScene,
    make_temperature_scene,
)
from tgo_spectra.retrieval.models.so.temperature.systematics import other_air, sizes
from tgo_spectra.retrieval.profile_variables import error_variables, profile_variables
from tgo_spectra.spectroscopy.tables import band_of
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.elements import Size
    from tgo_spectra.retrieval.models.so.temperature.fit import TemperatureSolution
    from tgo_spectra.retrieval.models.so.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup
    from tgo_spectra.retrieval.state import Block

    Array = npt.NDArray[np.float64]
    Real = npt.NDArray[np.floating]

__all__ = [
    "Profiles",
    "assembled",
    "build_temperature_scene",
    "profiles_of",
    "retrieve_temperature",
    "systematic_errors",
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
    end = solution.end
    data = _air_variables(scene, found, end.space.block(TEMPERATURE), errors)
    for gas in scene.setup.fitted:
        data |= _gas_variables(gas, end, sizes(scene.setup))
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
    systematic: Mapping[str, Mapping[str, Real]],
) -> dict[str, object]:
    """Name temperature, pressure and densities, and their errors."""
    at, sight, d, wish = scene.level_points, scene.sight, found.diagnostics, scene.setup
    co2, density = scene.vmr["co2"], found.density_cm3
    units = sizes(wish)
    values: dict[str, Array] = {
        "pressure": found.pressure_pa,
        "number_density": density,
        "co2_number_density": density * co2,
    }

    def by_source(name: str, value: Array | float) -> dict[str, Real]:
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


def _gas_variables(
    gas: str, end: Conclusion, units: Mapping[str, Size]
) -> dict[str, object]:
    """Name the profile of a gas fitted beside the temperature, and its errors."""
    own = end.space[gas]
    by_block = end.by_block(end.covariance[own])
    known = {source: by_block[block] for block, source in end.known.items()}
    _, smoothing, _ = _errors(np.eye(end.space.size)[own], end)
    d = replace(end.diagnostics(gas), smoothing_error=smoothing)
    return profile_variables(
        gas, f"{gas}_vmr", end.state[gas], end.space.block(gas), d,
        known | dict(end.errors[gas]), sizes=units,
    )  # fmt: skip


def retrieve_temperature(
    level1: xr.Dataset,
    setup: TemperatureSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
) -> xr.Dataset:
    """Fit temperature and density to the CO2 lines of one occultation.

    The depth of the lines gives the density of CO2, its ratio from line to line the
    temperature, and hydrostatic balance ties both: the state is the temperature at the
    levels and one pressure.

    Parameters
    ----------
    level1 : Dataset
        As returned by `tgo_spectra.open_product`.
    setup : TemperatureSetup
        Choices.
    atmosphere : Dataset, str or path, optional
        A priori: ``pressure`` and ``temperature`` over ``altitude``, optionally
        ``co2_vmr`` and those of the setup's interferents; default: the analytic
        reference atmosphere, which the attribute ``atmosphere`` of the result says.

    Returns
    -------
    Dataset
        Level 2: ``temperature``, ``pressure``, ``number_density`` and
        ``co2_number_density`` over ``altitude``, each with ``_error`` (total),
        ``_noise_error``, ``_smoothing_error``, ``_systematic_error`` and its parts
        ``_systematic_<source>`` (composition and molar mass of the air, tangent
        altitude, line intensities, instrument); ``temperature_apriori``,
        ``temperature_averaging_kernel``, ``temperature_response``,
        ``temperature_vertical_resolution``, ``temperature_degrees_of_freedom``; shifts,
        baselines, residuals and quality as in the fit of gases. Attributes
        ``sensed_bottom_km`` and ``sensed_top_km``: where the spectra outweigh the a
        priori.

    Raises
    ------
    RetrievalError
        Too few usable spectra, none near the reference altitude, or the fit diverges.
    TableError
        The table lacks CO2 or does not cover the orders, a pressure or temperature.
    AtmosphereError
        The atmosphere lacks a variable or is not physical.

    References
    ----------
    Trompet, L., et al., 2023, doi:10.1029/2022JE007277; Belyaev, D., et al., 2022,
    doi:10.1029/2022JE007286 (to be verified): density, temperature and hydrostatic
    balance from CO2 lines of NOMAD and ACS.

    Examples
    --------
    >>> level2 = retrieve_temperature(level1, setup, "mcd.nc")  # doctest: +SKIP
    >>> level2.temperature.units  # doctest: +SKIP
    'K'
    """
    scene, record = build_temperature_scene(level1, setup, atmosphere)
    return assembled(level1, scene, solve_temperature(scene), record)


def build_temperature_scene(
    level1: xr.Dataset,
    setup: TemperatureSetup,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    dtype: type[np.floating] | None = None,
) -> tuple[TemperatureScene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver.

    Parameters
    ----------
    level1, setup, atmosphere
        As `retrieve_temperature`.
    dtype : type, optional
        Of the spectral arrays; default single precision.

    Returns
    -------
    scene : TemperatureScene
    record : dict
        Every choice that affects a number, as attributes.

    Raises
    ------
    RetrievalError, TableError, AtmosphereError
        As `retrieve_temperature`.
    """
    if level1.chunks:
        level1 = level1.compute()
    air = given_atmosphere(atmosphere, level1)
    like_gas = setup.as_profile_setup()
    band, table_attrs = band_of(setup.table)
    prepared = prepare(level1, like_gas)
    radius = planet_radius(level1, air)
    options = {} if dtype is None else {"dtype": dtype}
    scene = make_temperature_scene(prepared, setup, band, air, radius[0], **options)
    record = choices(
        level1,
        like_gas,
        scene.gas.air,
        table_attrs,
        radius,
        masked_text(prepared.masked, prepared.pixels),
        method="optimal estimation of temperature, hydrostatic",
        recorded=setup,
    )
    composition = setup.composition
    mass = composition.molar_mass_g_mol
    given = "co2_vmr" in air
    record |= {
        "reference_altitude_km": scene.reference_km,
        "reference_pressure_relative_sigma": setup.pressure.relative_sigma,
        "temperature_prior_sigma_k": setup.temperature.sigma_k,
        "temperature_correlation_length_km": setup.temperature.correlation_km,
        "co2_vmr_source": (
            "setup" if composition.co2 is not None
            else "atmosphere" if given else "reference atmosphere"
        ),
        "co2_vmr_relative_error": composition.relative_error,
        "molar_mass_error_g_mol": composition.molar_mass_error_g_mol,
        "pointing_error_km": setup.pointing_km,
        "molar_mass": (
            "from the mole fraction of CO2" if mass is None else f"{mass:g} g mol-1"
        ),
        "minimum_information": setup.minimum_information,
    }  # fmt: skip
    return scene, record
