"""Covariances, averaging kernels, detection and limits (Rodgers 2000, ch. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]

__all__ = ["GasDiagnostics", "delta_chi_square", "gas_diagnostics", "upper_limit"]


@dataclass(frozen=True)
class GasDiagnostics:
    """Errors and resolution of one gas profile.

    ``total_error`` is the square root of the posterior variance: noise plus
    everything the a priori leaves open (smoothing of this and of the other elements).
    """

    averaging_kernel: Array
    noise_covariance: Array
    total_covariance: Array
    noise_error: Array
    smoothing_error: Array
    total_error: Array
    degrees_of_freedom: float


def gas_diagnostics(
    data_matrix: Array, covariance: Array, elements: slice
) -> GasDiagnostics:
    """Split the posterior covariance of one gas into noise and smoothing.

    Parameters
    ----------
    data_matrix : array, shape (state, state)
        K^T Se^-1 K.
    covariance : array, shape (state, state)
        (K^T Se^-1 K + Sa^-1)^-1.
    elements : slice
        Elements of the gas.
    """
    mine = covariance[elements]
    kernel = mine @ data_matrix
    noise = kernel @ mine.T
    total = covariance[elements, elements]
    smoothing = np.clip(np.diag(total) - np.diag(noise), 0.0, None)
    averaging = kernel[:, elements]
    return GasDiagnostics(
        averaging_kernel=averaging,
        noise_covariance=0.5 * (noise + noise.T),
        total_covariance=total,
        noise_error=np.sqrt(np.diag(noise).clip(0.0)),
        smoothing_error=np.sqrt(smoothing),
        total_error=np.sqrt(np.diag(total)),
        degrees_of_freedom=float(np.trace(averaging)),
    )


def delta_chi_square(
    vmr: Array, covariance: Array, altitude_km: Array, half_width_km: float
) -> Array:
    """Rise of the cost when the gas is taken out around each level.

    The profile is forced to zero at the levels within `half_width_km` and everything
    else is refitted (linearised): ``x_s^T (S_ss)^-1 x_s``.

    Returns
    -------
    array, shape (altitude,)
    """
    result = np.empty(altitude_km.size)
    for level, z in enumerate(altitude_km):
        near = np.abs(altitude_km - z) <= half_width_km + 1e-9
        x = vmr[near]
        block = covariance[np.ix_(near, near)]
        scale = 1.0 / np.sqrt(np.diag(block))
        result[level] = (x * scale) @ np.linalg.solve(
            block * scale[:, None] * scale[None, :], x * scale
        )
    return result


def upper_limit(vmr: Array, error: Array, sigma_level: float) -> Array:
    """Return max(vmr, 0) + k sigma."""
    return np.asarray(np.maximum(vmr, 0.0) + sigma_level * error)
