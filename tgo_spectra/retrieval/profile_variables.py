"""Level 2 of gas profiles: amounts, errors, kernels, limits, columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgo_spectra.retrieval import level2, limits
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.elements import Size
    from tgo_spectra.retrieval.setup import Detection

    Array = npt.NDArray[np.floating]

__all__ = ["error_variables", "profile_dataset", "state_limits"]


class Sigmas(Protocol):
    """What the setups of all kinds say of limits: multiples of the standard error."""

    @property
    def detection_sigma(self) -> float:
        """From which on a gas counts as detected."""

    @property
    def limit_sigma(self) -> float:
        """That an upper limit adds."""


def error_variables(
    name: str,
    noise: Array,
    smoothing: Array | None,
    systematic: Mapping[str, Array] | None = None,
    dims: str | tuple[str, ...] = "altitude",
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
    dims : str or tuple of str
        Of all.
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
    sizes: Sequence[Size] = (),
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
    sizes : sequence of Size
        Of the sources, in the fit or not.
    assumed, smoothing_known
        As in `tgo_spectra.retrieval.diagnostics.gas_diagnostics`.
    """
    space = end.space
    found = _Gases(end, detection, view, assumed, smoothing_known)
    data: dict[str, object] = {}
    for gas in space.names("level"):
        data |= found.variables(gas, level1, air_cm2, slopes or {})
    data |= level2.of_fit(level1, view, end)
    result = dataset(data | dict(beside), record)
    # variables by themselves: labelled arrays take 0.1 ms each to make
    items = result.variables
    for gas in space.names("level"):
        block = space.block(gas)
        items[f"{gas}_vmr"].attrs["state"] = "log" if block.log else "linear"
        items[f"{gas}_vmr_apriori"].attrs |= {
            "correlation_length_km": block.correlation_km,
            "sigma_maximum": float(block.sigma.max()),
        }
        contains = items[f"{gas}_vmr_error"].attrs["contains"]
        state_limits(items, gas, detection, contains, detection.layer_detection_sigma)
        for name in items:
            if str(name).startswith(f"{gas}_layer_"):
                bounds = f"{detection.layer_bottom_km:g} {detection.layer_top_km:g}"
                items[name].attrs["layer_km"] = bounds
        for one in sizes:
            for name in (f"{gas}_vmr_systematic_{one.source}",
                         f"{gas}_layer_vmr_systematic_{one.source}"):  # fmt: skip
                if name in items:
                    items[name].attrs |= {
                        "magnitude": one.magnitude,
                        "magnitude_units": one.unit,
                        "magnitude_origin": one.origin,
                    }
    return result


@dataclass(frozen=True)
class _Gases:
    """What all gases of a fit share."""

    end: Conclusion
    detection: Detection
    view: level2.View
    assumed: Array | None
    smoothing_known: bool

    def variables(
        self,
        gas: str,
        level1: xr.Dataset,
        air_cm2: Array,
        slopes: Mapping[str, Array],
    ) -> dict[str, object]:
        """Return the variables of a gas by name, each with its dimensions."""
        detection, altitude, end = self.detection, self.view.altitude_km, self.end
        block, vmr = end.space.block(gas), end.state[gas]
        agreement = end.agreements.get(gas)
        d, systematic = self._errors(gas)
        found = limits.of_profile(
            vmr,
            d,
            altitude,
            0.5 * block.correlation_km,
            detection.detection_sigma,
            detection.limit_sigma,
            detection.minimum_response,
        )
        agreed = agreement is None or agreement.probability > limits.AGREED
        column, error = (
            level2.all_rows(level1, self.view.rows, values)
            for values in (air_cm2 @ vmr, self._column_error(gas, d, air_cm2, slopes))
        )
        level, square = "altitude", ("altitude", "altitude_in")
        limit = limits.upper_limit(vmr, d.total_error, detection.limit_sigma)
        noise_covariance = d.noise_covariance.astype(np.float32)
        data: dict[str, object] = {
            f"{gas}_vmr": (level, vmr),
            f"{gas}_vmr_apriori": (level, block.prior),
            **error_variables(
                f"{gas}_vmr",
                d.noise_error,
                d.smoothing_error if self.smoothing_known else None,
                systematic,
            ),
            f"{gas}_averaging_kernel": (square, d.averaging_kernel.astype(np.float32)),
            f"{gas}_vmr_noise_covariance": (square, noise_covariance),
            f"{gas}_upper_limit": (level, limit),
            f"{gas}_detected": (level, (found.detected & agreed).astype(np.int8)),
            f"{gas}_delta_chi_square": (level, found.delta_chi_square),
            f"{gas}_limit_linear": (level, found.linear),
            f"{gas}_limit_delta_chi_square": (level, found.by_chi_square),
            f"{gas}_limit_flag": (level, found.by_flag),
            f"{gas}_degrees_of_freedom": ((), d.degrees_of_freedom),
            f"{gas}_slant_column": ("spectrum", column),
            f"{gas}_slant_column_error": ("spectrum", error),
        }
        if agreement is not None and agreement.share.size:
            data[f"{gas}_line_agreement"] = ((), agreement.probability)
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
        by_block = end.by_block(end.covariance[own])
        systematic = {source: by_block[name] for name, source in end.known.items()}
        squares = np.sum([v**2 for v in systematic.values()], axis=0)
        smoothing = np.sqrt(np.clip(d.smoothing_error**2 - squares, 0.0, None))
        outside = {k: v[:n] for k, v in end.errors.get(gas, {}).items()}
        if gas in end.agreements:
            outside["lines"] = end.agreements[gas].error[:n]
        total = d.total_covariance
        for values in outside.values():
            total = total + values[:, None] * values
        square = slope[:, None] * slope
        found = replace(
            d,
            averaging_kernel=d.averaging_kernel * slope[:, None] / slope,
            noise_covariance=d.noise_covariance * square,
            total_covariance=total * square,
            noise_error=d.noise_error * slope,
            smoothing_error=smoothing * slope,
            total_error=np.sqrt(np.diag(total).clip(0.0)) * slope,
        )
        return found, {k: v * slope for k, v in (systematic | outside).items()}

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

    def _layer(self, gas: str, *, agreed: bool) -> dict[str, object]:
        """Return the variables of the layer of a gas."""
        one, detection = self.end.layers[gas], self.detection
        name = f"{gas}_layer_vmr"
        systematic = {k: np.asarray(v) for k, v in one.systematic.items()}
        smoothing = np.asarray(one.smoothing) if self.smoothing_known else None
        data: dict[str, object] = {
            name: ((), one.value),
            **error_variables(name, np.asarray(one.noise), smoothing, systematic, ()),
        }
        error = data[f"{name}_error"][1]  # type: ignore[index]
        value = np.asarray(one.value)
        seen = bool(value > detection.layer_detection_sigma * error)
        limit = limits.upper_limit(value, error, detection.limit_sigma)
        data[f"{gas}_layer_upper_limit"] = ((), limit)
        data[f"{gas}_layer_detected"] = ((), np.int8(seen and agreed))
        return data


def state_limits(
    variables: Mapping[Any, xr.Variable],
    name: str,
    detection: Sigmas,
    random: str,
    layer_sigma: float | None = None,
) -> None:
    """Write the sigma level of each limit, and the error in it, as attributes.

    Parameters
    ----------
    variables : mapping of str to Variable
        Of the result.
    name : str
        What the limits are of: what stands before ``_upper_limit``.
    detection : Sigmas
    random : str
        Parts of the error in the limits, as in the attribute ``contains``.
    layer_sigma : float, optional
        Sigma level of the layer's detection.
    """
    levels = {
        "upper_limit": (detection.limit_sigma, random),
        "detected": (detection.detection_sigma, random),
        "delta_chi_square": (detection.detection_sigma, random),
        "limit_linear": (1.0, "noise"),
        "limit_delta_chi_square": (detection.limit_sigma, random),
        "limit_flag": (detection.detection_sigma, random),
    }
    layer = f"{name}_layer_vmr_error"
    if layer_sigma is not None and layer in variables:
        contains = variables[layer].attrs["contains"]
        levels["layer_upper_limit"] = (detection.limit_sigma, contains)
        levels["layer_detected"] = (layer_sigma, contains)
    for ending, (sigma, error) in levels.items():
        if f"{name}_{ending}" in variables:
            attrs = variables[f"{name}_{ending}"].attrs
            attrs |= {"sigma_level": sigma, "error_used": error}
