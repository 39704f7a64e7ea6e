"""Level 2 of what is retrieved: amounts, errors, kernels, limits, for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.retrieval import level2, limits
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.elements import Size
    from tgo_spectra.retrieval.limits import Values
    from tgo_spectra.retrieval.setup import Detection
    from tgo_spectra.retrieval.state import Block

    Array = npt.NDArray[np.floating]

__all__ = [
    "contained",
    "error_variables",
    "limit_variables",
    "profile_dataset",
    "profile_variables",
]

Sizes = Mapping[str, "Size"]
"""Standard error of each source."""


def error_variables(
    name: str,
    noise: Values,
    smoothing: Values | None = None,
    systematic: Mapping[str, Values] | None = None,
    sizes: Sizes | None = None,
) -> dict[str, Any]:
    """Return the errors of a quantity by name: the parts, and their sum in squares.

    ``<name>_error`` is the total; its attribute ``contains`` says which parts it has.

    Parameters
    ----------
    name : str
        Of the quantity.
    noise : array or DataArray
    smoothing : array or DataArray, optional
        None: no covariance of the truth is assumed.
    systematic : mapping of str to array or DataArray, optional
        Change by one standard error of each source; empty or None: not calculated.
    sizes : mapping of str to Size, optional
        Standard error of the sources.
    """
    parts = {"noise": noise}
    result: dict[str, Any] = {f"{name}_noise_error": noise}
    if smoothing is not None:
        parts["smoothing"] = smoothing
        result[f"{name}_smoothing_error"] = smoothing
    if systematic:
        parts["systematic"] = _together(systematic.values())
        for source, values in systematic.items():
            notes: dict[str, object] = {}
            if sizes and source in sizes:
                size = sizes[source]
                notes = {
                    "magnitude": size.magnitude,
                    "magnitude_units": size.unit,
                    "magnitude_origin": size.origin,
                }
            result[f"{name}_systematic_{source}"] = (values, notes)
        result[f"{name}_systematic_error"] = parts["systematic"]
    contains = {"contains": ", ".join(parts)}
    return result | {f"{name}_error": (_together(parts.values()), contains)}


def _together(parts: Iterable[Values]) -> Values:
    """Root of the sum of the squares of arrays, lazy or not."""
    return sum(part**2 for part in parts) ** 0.5


def limit_variables(
    name: str,
    upper: Values,
    detected: Values,
    found: limits.Limits | None,
    sigmas: tuple[float, float],
    contains: str,
) -> dict[str, Any]:
    """Return whether something is detected and the limits, with their sigma levels.

    Parameters
    ----------
    name : str
        What stands before ``_upper_limit``.
    upper, detected : array or DataArray
    found : Limits, optional
        The three limits, where they are known.
    sigmas : tuple of float
        Multiples of the standard error from which on it counts as detected, and that a
        limit adds.
    contains : str
        Parts of the error in them, as in the attribute ``contains``.
    """
    k, size = ({"sigma_level": s, "error_used": contains} for s in sigmas)
    result: dict[str, Any] = {
        f"{name}_upper_limit": (upper, size),
        f"{name}_detected": (detected.astype(np.int8), k),
    }
    if found is not None:
        result |= {
            f"{name}_delta_chi_square": (found.delta_chi_square, k),
            f"{name}_limit_linear": (
                found.linear, {"sigma_level": 1.0, "error_used": "noise"}
            ),
            f"{name}_limit_delta_chi_square": (found.by_chi_square, size),
            f"{name}_limit_flag": (found.by_flag, k),
        }  # fmt: skip
    return result


def profile_variables(
    name: str,
    quantity: str,
    values: Array,
    prior: Block,
    d: GasDiagnostics,
    systematic: Mapping[str, Array] | None = None,
    *,
    sizes: Sizes | None = None,
    smoothing_known: bool = True,
) -> dict[str, Any]:
    """Return a profile by name, with its a priori, errors and resolution.

    Parameters
    ----------
    name, quantity : str
        What stands before ``_averaging_kernel``, and before ``_error``.
    values : array, shape (level,)
    prior : Block
    d : GasDiagnostics
        Of the quantity, not of its logarithm.
    systematic : mapping of str to array, shape (level,), optional
    sizes : mapping of str to Size, optional
        As in `error_variables`.
    smoothing_known : bool
    """
    return {
        quantity: (values, {"state": "log" if prior.log else "linear"}),
        f"{quantity}_apriori": (prior.prior, {
            "correlation_length_km": prior.correlation_km,
            "sigma_maximum": float(prior.sigma.max())}),
        **error_variables(
            quantity, d.noise_error,
            d.smoothing_error if smoothing_known else None, systematic, sizes,
        ),
        f"{name}_averaging_kernel": d.averaging_kernel.astype(np.float32),
        f"{quantity}_noise_covariance": d.noise_covariance.astype(np.float32),
        f"{name}_degrees_of_freedom": d.degrees_of_freedom,
    }  # fmt: skip


def profile_dataset(
    level1: xr.Dataset,
    view: level2.View,
    end: Conclusion,
    detection: Detection,
    air_cm2: Array,
    beside: Mapping[str, object],
    record: Mapping[str, object],
    *,
    slopes: Mapping[str, Array] | None = None,
    sizes: Sizes | None = None,
    assumed: Array | None = None,
    smoothing_known: bool = True,
) -> xr.Dataset:
    """Make level 2 of a joint fit of gas profiles.

    Parameters
    ----------
    level1 : Dataset
    view : View
    end : Conclusion
        Its profiles are mole fractions, under the names of the gases.
    detection : Detection
        Sigma levels and the layer.
    air_cm2 : array, shape (row, level)
        Slant column of air that the fitted rows see.
    beside : mapping of str to value
        Further variables, as for `tgo_spectra.variables.dataset`.
    record : mapping
        Attributes, from `tgo_spectra.retrieval.level2.provenance`.
    slopes : dict of array, shape (row, level, element), optional
        Derivative of `air_cm2` to the elements of a block, by name: of a fit that
        finds the air too.
    sizes : mapping of str to Size, optional
        Of the sources, in the fit or not.
    assumed, smoothing_known
        As in `tgo_spectra.retrieval.diagnostics.gas_diagnostics`.
    """
    space = end.space
    found = _Gases(end, detection, view, sizes, assumed, smoothing_known)
    data: dict[str, object] = {}
    for gas in space.names("level"):
        data |= found.variables(gas, level1, air_cm2, slopes or {})
    data |= level2.of_fit(level1, view, end)
    result = dataset(data | dict(beside), record)
    bounds = f"{detection.layer_bottom_km:g} {detection.layer_top_km:g}"
    for name, variable in result.variables.items():
        if any(str(name).startswith(f"{gas}_layer_") for gas in end.layers):
            variable.attrs["layer_km"] = bounds
    return result


@dataclass(frozen=True)
class _Gases:
    """What all gases of a fit share."""

    end: Conclusion
    detection: Detection
    view: level2.View
    sizes: Sizes | None
    assumed: Array | None
    smoothing_known: bool

    def variables(
        self,
        gas: str,
        level1: xr.Dataset,
        air_cm2: Array,
        slopes: Mapping[str, Array],
    ) -> dict[str, Any]:
        """Return the variables of a gas by name."""
        detection, altitude, end = self.detection, self.view.altitude_km, self.end
        block, vmr = end.space.block(gas), end.state[gas]
        agreement = end.agreements.get(gas)
        d, systematic = self._errors(gas)
        slope = end.space.slope(end.vector)[end.space[gas]]
        by_air = end.by_air(
            gas, assumed=self.assumed, smoothing_known=self.smoothing_known
        )
        amount = d.without(by_air * slope[:, None] * slope)
        found = limits.of_profile(
            vmr,
            amount,
            altitude,
            0.5 * block.correlation_km,
            detection.detection_sigma,
            detection.limit_sigma,
            detection.minimum_response,
        )
        agreed = agreement is None or bool(agreement.probability > limits.AGREED)
        if agreement is not None:
            least = slope * agreement.needed(
                amount.total_error / slope, slice(slope.size)
            )
            found = replace(
                found,
                detected=found.detected & (vmr > least),
                by_flag=np.maximum(found.by_flag, least),
            )
        # over the air that is given a column is an amount
        errors = self._column_error(gas, d if slopes else amount, air_cm2, slopes)
        column, error = (
            level2.all_rows(level1, self.view.rows, values)
            for values in (air_cm2 @ vmr, errors)
        )
        data = profile_variables(
            gas, f"{gas}_vmr", vmr, block, d, systematic,
            sizes=self.sizes, smoothing_known=self.smoothing_known,
        )  # fmt: skip
        data |= limit_variables(
            gas,
            limits.upper_limit(vmr, d.total_error, detection.limit_sigma),
            found.detected & agreed,
            found,
            (detection.detection_sigma, detection.limit_sigma),
            contained(data, f"{gas}_vmr"),
        )
        data |= {f"{gas}_slant_column": column, f"{gas}_slant_column_error": error}
        if agreement is not None and agreement.share.size:
            data[f"{gas}_line_agreement"] = float(agreement.probability)
        if gas in end.layers:
            data |= self._layer(gas, agreed=agreed)
        return data

    def _errors(self, gas: str) -> tuple[GasDiagnostics, dict[str, Array]]:
        """Errors with the noise as it is, and those by each source."""
        end = self.end
        own = end.space[gas]
        slope = end.space.slope(end.vector)[own]
        n = slope.size
        d = end.diagnostics(
            gas, assumed=self.assumed, smoothing_known=self.smoothing_known
        )
        by_block = end.by_block(end.covariance[own], np.eye(end.space.size)[own])
        systematic = {source: by_block[name] for name, source in end.known.items()}
        squares = np.sum([v**2 for v in systematic.values()], axis=0)
        smoothing = np.sqrt(np.clip(d.smoothing_error**2 - squares, 0.0, None))
        outside = {k: v[:n] for k, v in end.errors.get(gas, {}).items()}
        if gas in end.agreements:
            outside["lines"] = end.agreements[gas].error[:n]
        total = d.total_covariance
        for values in outside.values():
            total = total + values[:, None] * values
        found = replace(
            d,
            total_covariance=total,
            smoothing_error=smoothing,
            total_error=np.sqrt(np.diag(total).clip(0.0)),
        )
        systematic = {k: v * slope for k, v in (systematic | outside).items()}
        return found.scaled(slope), systematic

    def _column_error(
        self, gas: str, d: GasDiagnostics, air_cm2: Array, slopes: Mapping[str, Array]
    ) -> Array:
        """Total error of the slant columns, (row,).

        A mole fraction is wrong against the air that was found with it, and the column
        is the better known for that.
        """
        end, n = self.end, air_cm2.shape[1]
        total, along = d.total_covariance, air_cm2
        if slopes:
            vmr = end.state[gas]
            parts = [np.einsum("rlk,l->rk", one, vmr) for one in slopes.values()]
            along = np.concatenate([air_cm2, *parts], axis=1)
            whole = end.diagnostics(
                gas,
                tuple(slopes),
                assumed=self.assumed,
                smoothing_known=self.smoothing_known,
            )
            slope = end.space.slope(end.vector)[end.space[gas]]
            scale = np.concatenate([slope, np.ones(along.shape[1] - n)])
            total = whole.total_covariance * scale[:, None] * scale
            total[:n, :n] = d.total_covariance  # with what is not in the fit
        spread = ((along @ total) * along).sum(axis=1)
        return np.asarray(np.sqrt(spread.clip(0.0)))

    def _layer(self, gas: str, *, agreed: bool) -> dict[str, Any]:
        """Return the variables of the layer of a gas."""
        one, detection = self.end.layers[gas], self.detection
        name = f"{gas}_layer_vmr"
        systematic = {k: np.asarray(v) for k, v in one.systematic.items()}
        smoothing = np.asarray(one.smoothing) if self.smoothing_known else None
        data = {
            name: one.value,
            **error_variables(
                name, np.asarray(one.noise), smoothing, systematic, self.sizes
            ),
        }
        error = data[f"{name}_error"][0]
        value, k = np.asarray(one.value), detection.layer_detection_sigma
        alone = self.end.agreements[gas].needed(np.atleast_1d(error), slice(-1, None))
        return data | limit_variables(
            f"{gas}_layer",
            limits.upper_limit(value, error, detection.limit_sigma),
            (value > k * error) & (value > alone[0]) & agreed,
            None,
            (k, detection.limit_sigma),
            contained(data, name),
        )


def contained(data: Mapping[str, Any], name: str) -> str:
    """Return the parts of a total error that `error_variables` has named."""
    return str(data[f"{name}_error"][1]["contains"])
