"""Onion peeling: profiles from slant columns, from the top down, without a priori.

Each layer is found from the spectra whose line of sight ends in it, with the layers
above held at what was found; their noise is propagated exactly. The averaging kernel is
the identity: nothing smooths the profile, and noise grows downwards where layers are
thin. Layers are shells; within one the mole fraction follows the shape of the reference
profile. (Linear between levels, noise would grow from layer to layer: the level above
the tangent point would weigh more than the one below it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra import atmosphere as atmospheres
from tgo_spectra import geometry
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval import level2, limits, slant
from tgo_spectra.retrieval.diagnostics import GasDiagnostics
from tgo_spectra.variables import annotate

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.setup import RetrievalSetup

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Peeled", "peel", "profiles"]

MINIMUM_ROWS = 10


@dataclass(frozen=True)
class Peeled:
    """Profile of one gas: mole fraction, noise covariance, kernel, chi-square."""

    vmr: Array
    covariance: Array
    kernel: Array
    chi_square: float


def peel(column: Array, sigma: Array, path: Array, layer: IntArray) -> Peeled:
    """Solve for one layer after the other from the top.

    Parameters
    ----------
    column, sigma : array, shape (row,)
        Slant columns and their standard errors, cm-2.
    path : array, shape (row, layer)
        Slant column of air in each layer, cm-2; zero below `layer`.
    layer : array of int, shape (row,)
        Layer in which each row's line of sight ends.

    Returns
    -------
    Peeled
    """
    levels = path.shape[1]
    gain = np.zeros((levels, column.size))
    for level in range(levels - 1, -1, -1):
        rows = np.flatnonzero(layer == level)
        ahead = path[rows, level] / sigma[rows] ** 2
        # what the rows of this layer say, less what the layers above put into them
        gain[level, rows] = ahead
        gain[level] -= (ahead @ path[rows, level + 1 :]) @ gain[level + 1 :]
        gain[level] /= ahead @ path[rows, level]
    vmr = gain @ column
    residual = (column - path @ vmr) / sigma
    return Peeled(
        vmr, (gain * sigma**2) @ gain.T, gain @ path, float(residual @ residual)
    )


def profiles(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> xr.Dataset:
    """Fit slant columns and peel them; parameters and errors as in `retrieve`."""
    if level1.chunks:
        level1 = level1.compute()
    # faint gases keep the reference that their setup gives
    shaped = [g for g in setup.gases if not _has_constant(setup, g)]
    columns, sight, found = _one_pass(level1, setup, atmosphere)
    air = atmosphere
    for _ in range(1, setup.onion.passes if shaped else 1):
        for gas in shaped:
            air = _with_shape(air, gas, sight.levels_km, found[gas].vmr)
        columns, sight, found = _one_pass(level1, setup, air)
    return _dataset(level1, setup, atmosphere, columns, sight, found)


def _one_pass(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> tuple[xr.Dataset, _Sights, dict[str, Peeled]]:
    """Fit slant columns with the shapes of an atmosphere and peel them."""
    columns = slant.slant_columns(level1, setup, atmosphere)
    sight = _sights(level1, setup, atmosphere, columns)
    found = {gas: _peel_gas(columns, sight, gas) for gas in setup.gases}
    return columns, sight, found


@dataclass(frozen=True)
class _Sights:
    """Rows with a column, middles of the layers, and the air in them, per gas."""

    rows: IntArray
    altitude_km: Array
    levels_km: Array
    path: dict[str, Array]
    layer: IntArray


def _has_constant(setup: RetrievalSetup, gas: str) -> bool:
    prior = setup.prior.get(gas)
    return prior is not None and prior.constant is not None


def _sights(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    columns: xr.Dataset,
) -> _Sights:
    """Layers with rows, and the slant column of air in each."""
    centre, width = slant.fields_of_view(level1["tangent_altitude_areoid"].values)
    fitted = np.all(
        [np.isfinite(columns[f"{g}_slant_column"].values) for g in setup.gases], axis=0
    )
    rows = np.flatnonzero(fitted & (centre <= setup.window.top_km))
    if rows.size < MINIMUM_ROWS:
        message = f"at least {MINIMUM_ROWS} spectra with a slant column are needed"
        raise RetrievalError(
            message, field="spectrum", value=rows.size, rule="fit.no_rows"
        )
    heights = centre[rows, None] + 0.5 * width[rows, None] * slant.FIELD_NODES
    lowest = heights.min(axis=1)
    step = setup.onion.layer_km
    edges = np.unique(np.floor(lowest / step)) * step
    layer = np.searchsorted(edges, lowest, side="right") - 1
    middle = edges + 0.5 * np.append(np.diff(edges), step)
    line, _ = slant.line_of_sight(setup, atmosphere)
    points = line.points_km
    chord = geometry.path_weights(
        line.radius_km + heights.ravel(), line.radius_km + points
    )
    chord = chord.reshape(*heights.shape, points.size)
    air = np.einsum("f,rfp->rp", slant.FIELD_WEIGHTS, chord) * line.air_cm3
    inside = np.searchsorted(edges, points + 1e-9, side="right") - 1
    member = inside[:, None] == np.arange(edges.size)
    path = {}
    for gas, reference in zip(setup.gases, line.reference, strict=True):
        shape = np.maximum(reference, 1e-6 * reference.max())
        shape = shape / np.interp(middle, points, shape)[np.maximum(inside, 0)]
        seen = air @ (member * shape[:, None])
        below = np.arange(edges.size)[None, :] < layer[:, None]
        path[gas] = np.where(below, 0.0, seen)
    return _Sights(rows, centre[rows], middle, path, layer)


def _peel_gas(columns: xr.Dataset, sight: _Sights, gas: str) -> Peeled:
    return peel(
        columns[f"{gas}_slant_column"].values[sight.rows],
        columns[f"{gas}_slant_column_error"].values[sight.rows],
        sight.path[gas],
        sight.layer,
    )


def _with_shape(
    atmosphere: xr.Dataset, gas: str, levels_km: Array, vmr: Array
) -> xr.Dataset:
    """Return the atmosphere with the profile found, smoothed and kept positive."""
    wide = np.pad(vmr, 1, mode="edge")
    smooth = 0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]
    smooth = np.maximum(smooth, 1e-3 * max(float(smooth.max()), 1e-15))
    altitude = atmosphere["altitude"].values
    return atmosphere.assign(
        {f"{gas}_vmr": ("altitude", np.interp(altitude, levels_km, smooth))}
    )


def _dataset(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    columns: xr.Dataset,
    sight: _Sights,
    found: dict[str, Peeled],
) -> xr.Dataset:
    """Dress the profiles with the names, limits and attributes of level 2."""
    levels = atmospheres.on_altitudes(atmosphere, sight.levels_km)
    data: dict[str, object] = {
        name: ("altitude", levels[name].values)
        for name in ("pressure", "temperature", "number_density")
    }
    for name in ("latitude", "longitude", "local_true_solar_time"):
        if name in level1.variables:
            values = level2.along_profile(
                level1, sight.rows, sight.altitude_km, sight.levels_km, name
            )
            data[name] = ("altitude", values)
    for gas, peeled in found.items():
        data |= _gas_variables(gas, setup, sight, peeled)
    for item, column in columns.data_vars.items():
        data[str(item)] = (column.dims, column.values)
    chi = sum(p.chi_square for p in found.values())
    free = len(found) * (sight.rows.size - sight.levels_km.size)
    total = sum(float(np.trace(p.kernel)) for p in found.values())
    data["reduced_chi_square"] = ((), chi / free)
    data["degrees_of_freedom"] = ((), total)
    data["converged"] = ((), np.int8(1))
    data["iterations"] = ((), np.int32(setup.onion.passes))
    data |= level2.epoch(level1, sight.rows)
    coords = {
        "altitude": sight.levels_km,
        "altitude_in": ("altitude_in", sight.levels_km),
        "tangent_altitude": ("spectrum", level1["tangent_altitude"].values),
    }
    result = annotate(xr.Dataset(data, coords))
    wish = setup.detection
    for gas in found:
        for name, k in (
            ("upper_limit", wish.limit_sigma),
            ("detected", wish.detection_sigma),
            ("delta_chi_square", wish.detection_sigma),
            ("limit_linear", 1.0),
            ("limit_delta_chi_square", wish.limit_sigma),
            ("limit_flag", wish.detection_sigma),
        ):
            result[f"{gas}_{name}"].attrs["sigma_level"] = k
        text = "noise only: no covariance of the truth is assumed"
        result[f"{gas}_vmr_error"].attrs["comment"] = text
    result.attrs = dict(columns.attrs) | {
        "method": "onion",
        "onion_layer_km": setup.onion.layer_km,
        "onion_passes": setup.onion.passes,
        "reduced_chi_square_of": "slant columns against the profiles",
    }
    for key in ("instrument", "observation_type", "source_md5"):
        if key in level1.attrs:
            result.attrs[key] = level1.attrs[key]
    return result


def _gas_variables(
    gas: str, setup: RetrievalSetup, sight: _Sights, peeled: Peeled
) -> dict[str, object]:
    sigma = np.sqrt(np.diag(peeled.covariance))
    degrees = float(np.trace(peeled.kernel))
    d = GasDiagnostics(
        averaging_kernel=peeled.kernel,
        noise_covariance=peeled.covariance,
        total_covariance=peeled.covariance,
        noise_error=sigma,
        smoothing_error=np.zeros_like(sigma),
        total_error=sigma,
        degrees_of_freedom=degrees,
    )
    wish = setup.detection
    found = limits.of_profile(
        peeled.vmr, d, sight.levels_km, 0.0, wish.detection_sigma, wish.limit_sigma,
        wish.minimum_response,
    )  # fmt: skip
    level, square = "altitude", ("altitude", "altitude_in")
    upper = limits.upper_limit(peeled.vmr, sigma, wish.limit_sigma)
    return {
        f"{gas}_vmr": (level, peeled.vmr),
        f"{gas}_vmr_noise_error": (level, sigma),
        f"{gas}_vmr_error": (level, sigma),
        f"{gas}_averaging_kernel": (square, peeled.kernel.astype(np.float32)),
        f"{gas}_vmr_noise_covariance": (square, peeled.covariance),
        f"{gas}_upper_limit": (level, upper),
        f"{gas}_detected": (level, found.detected.astype(np.int8)),
        f"{gas}_delta_chi_square": (level, found.delta_chi_square),
        f"{gas}_limit_linear": (level, found.linear),
        f"{gas}_limit_delta_chi_square": (level, found.by_chi_square),
        f"{gas}_limit_flag": (level, found.by_flag),
        f"{gas}_degrees_of_freedom": ((), degrees),
    }
