"""Profiles of gases from an SO occultation, by whatever method, as level 2."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval import level2, optimal_estimation, systematics
from tgo_spectra.retrieval.prepare import masked_text, planet_radius, prepare
from tgo_spectra.retrieval.profile_variables import (
    gas_variables,
    state_layer,
    state_limits,
)
from tgo_spectra.retrieval.scene import Scene, make_scene
from tgo_spectra.spectroscopy import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.solution import Solution

    Array = npt.NDArray[np.floating]

__all__ = ["assembled", "band_of", "build_scene", "choices", "profiles"]

INSTRUMENT_MODEL = (
    "NOMAD SO, final 2021 coefficients (Villanueva et al. 2022), AOTF inside the line "
    "shape integral, sinc2 blaze, doublet line shape"
)


@functools.lru_cache(maxsize=4)
def band_of(table: str) -> tuple[tables.BandTable, dict[str, object]]:
    """Open a table once per process: its arrays and attributes."""
    dataset = tables.open_table(table)
    return tables.table_arrays(dataset), dict(dataset.attrs)


def build_scene(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    *,
    jacobian_rank: int | None = 4,
    jacobian_every: int | None = None,
    dtype: type[np.floating] = np.float32,
) -> tuple[Scene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver."""
    band, table_attrs = band_of(setup.table)
    prepared = prepare(level1, setup)
    radius = planet_radius(level1, atmosphere)
    scene = make_scene(
        prepared,
        setup,
        band,
        atmosphere,
        radius[0],
        jacobian_rank=jacobian_rank,
        jacobian_every=jacobian_every,
        dtype=dtype,
    )
    masked = masked_text(prepared.masked, prepared.pixels)
    record = choices(level1, setup, scene.air, table_attrs, radius, masked)
    return scene, record


def choices(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    air: xr.Dataset,
    table: Mapping[Any, object],
    radius: tuple[float, str],
    masked_pixels: str,
    *,
    method: str | None = None,
    recorded: level2.Setup | None = None,
    lowest_km: float = -np.inf,
) -> dict[str, object]:
    """Every choice of a fit of SO spectra that affects a number, as attributes.

    `recorded`: the setup that the result names, if it is not this one; `lowest_km`: as
    `level2.provenance`.
    """
    return level2.provenance(
        level1,
        recorded or setup,
        air,
        method=method or setup.method,
        instrument_model=INSTRUMENT_MODEL,
        interferents_absent=setup.interferents_absent,
        baseline_degree=setup.baseline_degree,
        n_orders=setup.instrument.n_orders,
        masked_pixels=masked_pixels,
        radius=radius,
        table=table,
        lowest_km=lowest_km,
    ) | {
        "solver": setup.solver,
        "bins": setup.bins,
        "table": setup.table,
        "ghost_amplitude": setup.instrument.ghost_amplitude,
        "shift_prior_sigma_px": setup.registration.shift_sigma_px,
        "aerosol_exponent_prior": setup.aerosol.exponent,
        "aerosol_exponent_prior_sigma": setup.aerosol.exponent_sigma,
        "minimum_transmittance": setup.window.minimum_transmittance,
        "fitted_pixels": f"{setup.window.first_pixel}-{setup.window.last_pixel}",
    }


def profiles(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    *,
    method: str,
    solve: Callable[[Scene], Solution],
) -> xr.Dataset:
    """Fit profiles of all gases with a method and return the level-2 Dataset.

    Parameters
    ----------
    level1, setup, atmosphere
        As in `tgo_spectra.retrieve`.
    method : str
        Recorded.
    solve : callable
        From a scene to a `Solution`.
    """
    if level1.chunks:
        level1 = level1.compute()
    if setup.method != method:
        setup = setup.replace(method=method)
    scene, record = build_scene(level1, setup, atmosphere)
    solution = solve(scene)
    errors = systematics.errors(scene, solution) if setup.systematics.enabled else {}
    return assembled(level1, scene, solution, record, errors)


def assembled(
    level1: xr.Dataset,
    scene: Scene,
    solution: Solution,
    record: dict[str, object],
    errors: Mapping[str, Mapping[str, Array]],
) -> xr.Dataset:
    """Dress a solution with the names, limits and attributes of level 2.

    Parameters
    ----------
    level1 : Dataset
    scene : Scene
        Whose levels are the solution's.
    solution : Solution
    record : dict
        Attributes, from `choices`.
    errors : dict of dict of array, shape (level,)
        Systematic errors per gas and source, may be empty.
    """
    setup = scene.setup
    data: dict[str, object] = {}
    air = scene.rows @ scene.limb.air_column_cm2
    for gas in setup.gases:
        data |= _gas_variables(gas, scene, solution, air, errors.get(gas))
    data |= _common_variables(level1, scene, solution)
    record = record | {
        "truncation_residual": solution.truncation_residual,
        "coarse_shift_px": solution.coarse_shift_px,
        **solution.choices,
    }
    result = level2.dataset(data, record)
    for gas in setup.gases:
        _add_attributes(result, gas, scene, solution)
    return result


def _add_attributes(
    result: xr.Dataset, gas: str, scene: Scene, solution: Solution
) -> None:
    """Sigma levels, a priori and what an error does not hold, at the variables."""
    setup = scene.setup
    # variables by themselves: labelled arrays take 0.1 ms each to make
    items = result.variables
    sigma, length = optimal_estimation.prior_sigma(scene, gas)
    item = items[f"{gas}_vmr_apriori"].attrs
    item["correlation_length_km"] = length
    item["sigma_maximum"] = float(sigma.max())
    items[f"{gas}_vmr"].attrs["state"] = (
        "log" if gas in solution.layout.log else "linear"
    )
    random = "noise, smoothing" if solution.smoothing_known else "noise"
    state_limits(items, gas, setup.detection, random)
    state_layer(items[f"{gas}_layer_limit"], setup.detection)
    for source, size, unit in systematics.sizes(setup):
        name = f"{gas}_vmr_systematic_{source}"
        if name in items:
            items[name].attrs["magnitude"] = size
            items[name].attrs["magnitude_units"] = unit


def _gas_variables(
    gas: str,
    scene: Scene,
    solution: Solution,
    air: Array,
    systematic: Mapping[str, Array] | None,
) -> dict[str, object]:
    """Profile, errors and limits; `air` is the slant column of air, (row, level)."""
    _, length = optimal_estimation.prior_sigma(scene, gas)
    return gas_variables(
        gas,
        solution.state.vmr[gas],
        {g: np.asarray(scene.prior_vmr[g]) for g in scene.setup.gases},
        altitude_km=scene.limb.altitude_km,
        correlation_km=length,
        layout=solution.layout,
        data_matrix=solution.data_matrix,
        covariance=solution.covariance,
        detection=scene.setup.detection,
        air_cm2=air,
        all_rows=functools.partial(_all_rows, scene),
        assumed=solution.assumed,
        smoothing_known=solution.smoothing_known,
        systematic=systematic,
    )


def _all_rows(scene: Scene, values: Array) -> Array:
    """Values of the fitted rows in the product's row order, NaN elsewhere."""
    size = scene.prepared.n_spectra
    full = np.full((size, *values.shape[1:]), np.nan)
    full[scene.prepared.rows] = values
    return full


def _common_variables(
    level1: xr.Dataset, scene: Scene, solution: Solution
) -> dict[str, object]:
    prepared, levels = scene.prepared, scene.levels
    covariance = solution.covariance
    n_bins = prepared.n_bins
    layout = solution.layout
    diagonal = np.sqrt(np.diag(covariance)[layout.shift.start :])
    used = prepared.weight > 0
    residual = np.full((prepared.rows.size, level1.sizes["pixel"]), np.nan)
    residual[:, prepared.pixels] = np.where(
        used, prepared.transmittance - solution.final.model, np.nan
    )
    total_dof = float(np.einsum("ij,ji->", covariance, solution.data_matrix))
    n_free = used.sum() - solution.final.baseline.size - total_dof
    shift = solution.state.shift_px + 0.0
    altitude, seen = scene.limb.altitude_km, (prepared.rows, prepared.altitude_km)
    return {
        "altitude": altitude,
        "altitude_in": altitude,
        "tangent_altitude": level1["tangent_altitude"].values,
        "bin": prepared.bin_numbers,
        "spectrum_bin": prepared.spectrum_bin,
        "pressure": levels["pressure"].values,
        "temperature": levels["temperature"].values,
        "number_density": levels["number_density"].values,
        "wavenumber_shift": shift,
        "wavenumber_shift_error": diagonal[:n_bins],
        "wavenumber_stretch": solution.state.stretch_px,
        "wavenumber_stretch_error": diagonal[n_bins],
        "aerosol_exponent": solution.state.exponent,
        "aerosol_exponent_error": diagonal[n_bins + 1],
        **_extras(solution, diagonal[n_bins + 2 :]),
        "baseline": _all_rows(scene, solution.final.baseline),
        "residual": _all_rows(scene, residual).astype(np.float32),
        "reduced_chi_square": solution.final.chi_square / n_free,
        "degrees_of_freedom": total_dof,
        "converged": np.int8(solution.converged),
        "iterations": np.int32(solution.iterations),
        **level2.places(level1, *seen, altitude),
        **level2.moment(level1, *seen),
    }


def _extras(solution: Solution, sigma: Array) -> dict[str, object]:
    """Fitted departures of the instrument from its calibration."""
    data: dict[str, object] = {}
    found = zip(solution.layout.extras, solution.state.extra, sigma, strict=True)
    for name, value, error in found:
        data[f"fitted_{name}"] = value
        data[f"fitted_{name}_error"] = error
    return data
