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
    from tgo_spectra.retrieval.uvis.setup import UvisDetection

    Array = npt.NDArray[np.floating]

__all__ = ["error_variables", "gas_variables", "state_layer", "state_limits"]


def error_variables(
    name: str,
    noise: Array,
    smoothing: Array | None,
    systematic: Mapping[str, Array] | None = None,
    dims: str = "altitude",
) -> dict[str, tuple[Any, ...]]:
    """Return the errors of a quantity by name: the parts, and their sum in squares.

    ``<name>_error`` is the total; its attribute ``contains`` says which parts it has.

    Parameters
    ----------
    name : str
        Of the quantity.
    noise : array
    smoothing : array or None
        None: no covariance of the truth is assumed.
    systematic : mapping of str to array, optional
        Change by one standard error of each source; empty or None: not calculated.
    dims : str
        Dimension of all.
    """
    result: dict[str, tuple[Any, ...]] = {f"{name}_noise_error": (dims, noise)}
    parts = {"noise": noise}
    if smoothing is not None:
        parts["smoothing"] = smoothing
        result[f"{name}_smoothing_error"] = (dims, smoothing)
    if systematic:
        for source, values in systematic.items():
            result[f"{name}_systematic_{source}"] = (dims, values)
        squares = np.sum([values**2 for values in systematic.values()], axis=0)
        parts["systematic"] = np.sqrt(squares)
        result[f"{name}_systematic_error"] = (dims, parts["systematic"])
    total = np.sqrt(np.sum([part**2 for part in parts.values()], axis=0))
    result[f"{name}_error"] = (dims, total, {"contains": ", ".join(parts)})
    return result


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
    systematic: Mapping[str, Array] | None = None,
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
    systematic : mapping of str to array, shape (level,), optional
        Change of the mole fraction by one standard error of each source.
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
    return {
        f"{gas}_vmr": (level, vmr),
        f"{gas}_vmr_apriori": (level, np.asarray(priors[gas])),
        **error_variables(
            f"{gas}_vmr",
            d.noise_error,
            d.smoothing_error if smoothing_known else None,
            systematic,
        ),
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


def state_limits(
    variables: Mapping[Any, xr.Variable],
    name: str,
    detection: Detection | UvisDetection,
    random: str,
) -> None:
    """Write the sigma level of each limit, and the error in it, as attributes.

    Parameters
    ----------
    variables : mapping of str to Variable
        Of the result.
    name : str
        What the limits are of: what stands before ``_upper_limit``.
    detection : Detection or UvisDetection
    random : str
        Parts of the random error, as in the attribute ``contains``.
    """
    levels = {
        "upper_limit": (detection.limit_sigma, random),
        "detected": (detection.detection_sigma, random),
        "delta_chi_square": (detection.detection_sigma, random),
        "limit_linear": (1.0, "noise"),
        "limit_delta_chi_square": (detection.limit_sigma, random),
        "limit_flag": (detection.detection_sigma, random),
        "layer_limit": (1.0, "noise"),
    }
    for ending, (sigma, error) in levels.items():
        if f"{name}_{ending}" in variables:
            attrs = variables[f"{name}_{ending}"].attrs
            attrs |= {"sigma_level": sigma, "error_used": error}


def state_layer(item: xr.Variable, detection: Detection) -> None:
    """Write of which layer a limit is.

    Parameters
    ----------
    item : Variable
    detection : Detection
    """
    item.attrs["bottom_km"] = detection.layer_bottom_km
    item.attrs["top_km"] = detection.layer_top_km
