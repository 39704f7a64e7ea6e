"""Optimal estimation of one product, wrapped as a level-2 Dataset."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

import tgo_spectra
from tgo_spectra import mars
from tgo_spectra.retrieval import diagnostics, optimal_estimation
from tgo_spectra.retrieval.prepare import planet_radius, prepare
from tgo_spectra.retrieval.scene import Scene, make_scene
from tgo_spectra.spectroscopy import tables
from tgo_spectra.variables import annotate

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.prepare import Prepared
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.solver import Solution

    Array = npt.NDArray[np.floating]

__all__ = ["band_of", "build_scene", "profiles", "provenance"]


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
    jacobian_every: int = 2,
    dtype: type[np.floating] = np.float32,
) -> tuple[Scene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver."""
    band, table_attrs = band_of(setup.table)
    prepared = prepare(level1, setup)
    radius, source = planet_radius(level1, atmosphere)
    scene = make_scene(
        prepared,
        setup,
        band,
        atmosphere,
        radius,
        jacobian_rank=jacobian_rank,
        jacobian_every=jacobian_every,
        dtype=dtype,
    )
    record = provenance(setup, table_attrs, atmosphere)
    record["planet_radius_km"] = radius
    record["planet_radius_source"] = source
    return scene, record


def provenance(
    setup: RetrievalSetup, table: dict[str, object], atmosphere: xr.Dataset
) -> dict[str, object]:
    """Every choice that affects a number, as attributes."""
    record: dict[str, object] = {
        "setup": setup.name,
        "setup_hash": setup.hash(),
        "method": setup.method,
        "table": setup.table,
        "table_sha256": table.get("content_sha256", ""),
        "interferents_included": " ".join(setup.gases),
        "interferents_absent": "; ".join(setup.interferents_absent) or "none named",
        "baseline_degree": setup.baseline_degree,
        "n_orders": setup.instrument.n_orders,
        "instrument_model": (
            "NOMAD SO, final 2021 coefficients (Villanueva et al. 2022), AOTF inside "
            "the line shape integral, sinc2 blaze, doublet line shape"
        ),
        "ghost_amplitude": setup.instrument.ghost_amplitude,
        "shift_prior_sigma_px": setup.registration.shift_sigma_px,
        "aerosol_exponent_prior": setup.aerosol.exponent,
        "aerosol_exponent_prior_sigma": setup.aerosol.exponent_sigma,
        "minimum_transmittance": setup.window.minimum_transmittance,
        "fitted_pixels": f"{setup.window.first_pixel}-{setup.window.last_pixel}",
        "atmosphere": str(atmosphere.attrs.get("source", "given by the user")),
        "software": f"tgo_spectra {tgo_spectra.__version__}",
    }
    for gas in setup.gases:
        for key in ("broadening", "edition", "citation", "lines", "lines_sha256"):
            if f"{gas}_{key}" in table:
                record[f"{gas}_{key}"] = table[f"{gas}_{key}"]
    return record


def profiles(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> xr.Dataset:
    """Fit profiles of all gases jointly and return the level-2 Dataset."""
    if level1.chunks:
        level1 = level1.compute()
    if setup.method != "oe":
        setup = setup.replace(method="oe")
    scene, record = build_scene(level1, setup, atmosphere)
    solution = optimal_estimation.solve(scene)
    data: dict[str, object] = {}
    for gas in setup.gases:
        data |= _gas_variables(gas, scene, solution)
    data |= _common_variables(level1, scene, solution)
    coords = {
        "altitude": scene.limb.altitude_km,
        "altitude_in": ("altitude_in", scene.limb.altitude_km),
        "tangent_altitude": ("spectrum", level1["tangent_altitude"].values),
        "spectrum_bin": ("spectrum", level1["bin"].values),
    }
    record["truncation_residual"] = solution.truncation_residual
    record["masked_pixels"] = _masked_text(scene.prepared)
    record["coarse_shift_px"] = solution.coarse_shift_px
    result = annotate(xr.Dataset(data, coords))
    for gas in setup.gases:
        sigma, length = optimal_estimation.prior_sigma(scene, gas)
        item = result[f"{gas}_vmr_apriori"].attrs
        item["correlation_length_km"] = length
        item["sigma_maximum"] = float(sigma.max())
        result[f"{gas}_upper_limit"].attrs["sigma_level"] = setup.detection.limit_sigma
        detected = result[f"{gas}_detected"].attrs
        detected["sigma_level"] = setup.detection.detection_sigma
        result[f"{gas}_delta_chi_square"].attrs["sigma_level"] = (
            setup.detection.detection_sigma
        )
    for key in ("product_lid", "product_version", "instrument", "channel",
                "observation_type", "source_file", "source_md5"):  # fmt: skip
        if key in level1.attrs:
            record[key] = level1.attrs[key]
    result.attrs = record
    return result


def _gas_variables(gas: str, scene: Scene, solution: Solution) -> dict[str, object]:
    from tgo_spectra.retrieval.solver import Layout

    setup, altitude = scene.setup, scene.limb.altitude_km
    layout = Layout(setup.gases, altitude.size, scene.prepared.n_bins)
    d = diagnostics.gas_diagnostics(
        solution.data_matrix, solution.covariance, layout.gas(gas)
    )
    vmr = solution.state.vmr[gas]
    _, length = optimal_estimation.prior_sigma(scene, gas)
    delta = diagnostics.delta_chi_square(
        vmr, d.total_covariance, altitude, 0.5 * length
    )
    k = setup.detection.detection_sigma
    air = scene.rows @ scene.limb.air_column_cm2
    column_error = np.sqrt(((air @ d.total_covariance) * air).sum(axis=1).clip(0.0))
    level = "altitude"
    square = ("altitude", "altitude_in")
    return {
        f"{gas}_vmr": (level, vmr),
        f"{gas}_vmr_apriori": (level, np.asarray(scene.prior_vmr[gas])),
        f"{gas}_vmr_noise_error": (level, d.noise_error),
        f"{gas}_vmr_smoothing_error": (level, d.smoothing_error),
        f"{gas}_vmr_error": (level, d.total_error),
        f"{gas}_averaging_kernel": (square, d.averaging_kernel.astype(np.float32)),
        f"{gas}_vmr_noise_covariance": (square, d.noise_covariance.astype(np.float64)),
        f"{gas}_upper_limit": (
            level,
            diagnostics.upper_limit(vmr, d.total_error, setup.detection.limit_sigma),
        ),
        f"{gas}_detected": (
            level,
            ((vmr > k * d.total_error) & (delta > k**2)).astype(np.int8),
        ),
        f"{gas}_delta_chi_square": (level, delta),
        f"{gas}_degrees_of_freedom": ((), d.degrees_of_freedom),
        f"{gas}_slant_column": ("spectrum", _all_rows(scene, air @ vmr)),
        f"{gas}_slant_column_error": ("spectrum", _all_rows(scene, column_error)),
    }


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
    start = covariance.shape[0] - n_bins - 2
    diagonal = np.sqrt(np.diag(covariance)[start:])
    used = prepared.weight > 0
    residual = np.full((prepared.rows.size, level1.sizes["pixel"]), np.nan)
    residual[:, prepared.pixels] = np.where(
        used, prepared.transmittance - solution.final.model, np.nan
    )
    total_dof = float(np.trace(covariance @ solution.data_matrix))
    n_free = used.sum() - solution.final.baseline.size - total_dof
    shift = solution.state.shift_px + 0.0
    data: dict[str, object] = {
        "pressure": ("altitude", levels["pressure"].values),
        "temperature": ("altitude", levels["temperature"].values),
        "number_density": ("altitude", levels["number_density"].values),
        "wavenumber_shift": ("bin", shift),
        "wavenumber_shift_error": ("bin", diagonal[:n_bins]),
        "wavenumber_stretch": ((), solution.state.stretch_px),
        "wavenumber_stretch_error": ((), diagonal[n_bins]),
        "aerosol_exponent": ((), solution.state.exponent),
        "aerosol_exponent_error": ((), diagonal[n_bins + 1]),
        "baseline": (
            ("spectrum", "coefficient"),
            _all_rows(scene, solution.final.baseline),
        ),
        "residual": (
            ("spectrum", "pixel"),
            _all_rows(scene, residual).astype(np.float32),
        ),
        "reduced_chi_square": ((), solution.final.chi_square / n_free),
        "degrees_of_freedom": ((), total_dof),
        "converged": ((), np.int8(solution.converged)),
        "iterations": ((), np.int32(solution.iterations)),
    }
    for name in ("latitude", "longitude", "local_true_solar_time"):
        if name in level1.variables:
            data[name] = ("altitude", _along_profile(level1, scene, name))
    return data | _epoch(level1, prepared.rows)


def _along_profile(level1: xr.Dataset, scene: Scene, name: str) -> Array:
    """Value of a row coordinate at each level: the tangent point moves."""
    altitude = scene.prepared.altitude_km
    values = np.asarray(level1[name].values, dtype=float)[scene.prepared.rows]
    good = np.isfinite(values)
    order = np.argsort(altitude[good], kind="stable")
    period = {"longitude": 360.0, "local_true_solar_time": 24.0}.get(name)
    v = values[good][order]
    if period is not None:
        v = np.unwrap(v, period=period)
    out = np.interp(scene.limb.altitude_km, altitude[good][order], v)
    if name == "longitude":
        out = (out + 180.0) % 360.0 - 180.0
    elif period is not None:
        out = out % period
    return np.asarray(out)


def _epoch(level1: xr.Dataset, rows: npt.NDArray[np.intp]) -> dict[str, object]:
    """Time, solar longitude and Mars year in the middle of the fitted rows."""
    times = np.sort(level1["time"].values[rows])
    middle = times[times.size // 2]
    ls = np.asarray(level1["solar_longitude"].values, dtype=float)[rows]
    ls = ls[np.isfinite(ls)]
    if ls.size:
        mean = float(np.median(np.unwrap(ls, period=360.0))) % 360.0
    else:
        mean = float(mars.solar_longitude(middle))
    year = int(np.asarray(mars.mars_year(middle)))
    return {
        "time": ((), middle),
        "solar_longitude": ((), mean),
        "mars_year": ((), np.int32(year)),
    }


def _masked_text(prepared: Prepared) -> str:
    """Masked pixels as 'bin:pixel' pairs."""
    pairs = [
        f"{b}:{prepared.pixels[p]}" for b, p in np.argwhere(prepared.masked).tolist()
    ]
    return " ".join(pairs) or "none"
