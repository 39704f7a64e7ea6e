"""Level-2 variables of one gas profile: amounts, errors, kernel, limits, columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval import diagnostics, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import Detection
    from tgo_spectra.retrieval.solver import Layout

    Array = npt.NDArray[np.floating]

__all__ = ["gas_variables", "state_sigma_levels"]


def gas_variables(
    gas: str,
    vmr: Array,
    priors: Mapping[str, Array],
    *,
    altitude_km: Array,
    correlation_km: float,
    layout: Layout,
    data_matrix: Array,
    covariance: Array,
    detection: Detection,
    air_cm2: Array,
    all_rows: Callable[[Array], Array],
    assumed: Array | None = None,
    smoothing_known: bool = True,
) -> dict[str, object]:
    """Return the variables of a gas by name, each with its dimensions.

    Parameters
    ----------
    gas : str
    vmr : array, shape (level,)
        Retrieved mole fraction.
    priors : dict of array, shape (level,)
        A priori mole fractions of all gases.
    altitude_km : array, shape (level,)
    correlation_km : float
        Of the a priori; levels within half of it belong together.
    layout : Layout
    data_matrix, covariance, assumed, smoothing_known
        As in `tgo_spectra.retrieval.diagnostics.gas_diagnostics`.
    detection : Detection
        Sigma levels and the layer.
    air_cm2 : array, shape (row, level)
        Slant column of air that the fitted rows see.
    all_rows : callable
        Spreads values of the fitted rows over the product's spectra.
    """
    d = diagnostics.gas_diagnostics(
        data_matrix,
        covariance,
        layout.gas(gas),
        assumed,
        smoothing_known=smoothing_known,
    )
    found = limits.of_profile(
        vmr,
        d,
        altitude_km,
        0.5 * correlation_km,
        detection.detection_sigma,
        detection.limit_sigma,
        detection.minimum_response,
    )
    inside = altitude_km >= detection.layer_bottom_km
    inside &= altitude_km <= detection.layer_top_km
    layer = limits.layer_limit(data_matrix, layout, gas, inside, priors)
    spread = ((air_cm2 @ d.total_covariance) * air_cm2).sum(axis=1)
    level, square = "altitude", ("altitude", "altitude_in")
    limit = limits.upper_limit(vmr, d.total_error, detection.limit_sigma)
    data: dict[str, object] = {
        f"{gas}_vmr": (level, vmr),
        f"{gas}_vmr_apriori": (level, np.asarray(priors[gas])),
        f"{gas}_vmr_noise_error": (level, d.noise_error),
        f"{gas}_vmr_error": (level, d.total_error),
        f"{gas}_averaging_kernel": (square, d.averaging_kernel.astype(np.float32)),
        f"{gas}_vmr_noise_covariance": (square, d.noise_covariance.astype(np.float32)),
        f"{gas}_upper_limit": (level, limit),
        f"{gas}_detected": (level, found.detected.astype(np.int8)),
        f"{gas}_delta_chi_square": (level, found.delta_chi_square),
        f"{gas}_limit_linear": (level, found.linear),
        f"{gas}_limit_delta_chi_square": (level, found.by_chi_square),
        f"{gas}_limit_flag": (level, found.by_flag),
        f"{gas}_layer_limit": ((), layer),
        f"{gas}_degrees_of_freedom": ((), d.degrees_of_freedom),
        f"{gas}_slant_column": ("spectrum", all_rows(air_cm2 @ vmr)),
        f"{gas}_slant_column_error": ("spectrum", all_rows(np.sqrt(spread.clip(0.0)))),
    }
    if smoothing_known:
        data[f"{gas}_vmr_smoothing_error"] = (level, d.smoothing_error)
    return data


def state_sigma_levels(
    variables: Mapping[Any, xr.Variable], gas: str, detection: Detection
) -> None:
    """Write the sigma level of each limit of a gas, and the layer, as attributes.

    Parameters
    ----------
    variables : mapping of str to Variable
        Of the result, from `gas_variables`.
    gas : str
    detection : Detection
    """
    levels = {
        "upper_limit": detection.limit_sigma,
        "detected": detection.detection_sigma,
        "delta_chi_square": detection.detection_sigma,
        "limit_linear": 1.0,
        "limit_delta_chi_square": detection.limit_sigma,
        "limit_flag": detection.detection_sigma,
        "layer_limit": 1.0,
    }
    for name, sigma in levels.items():
        variables[f"{gas}_{name}"].attrs["sigma_level"] = sigma
    layer = variables[f"{gas}_layer_limit"].attrs
    layer["bottom_km"] = detection.layer_bottom_km
    layer["top_km"] = detection.layer_top_km
