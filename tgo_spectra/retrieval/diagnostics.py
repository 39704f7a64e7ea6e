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
    near = np.abs(altitude_km[:, None] - altitude_km[None, :]) <= half_width_km + 1e-9
    sigma = np.sqrt(np.diag(covariance))
    correlation = covariance / sigma[:, None] / sigma[None, :]
    scaled = vmr / sigma
    result = np.empty(altitude_km.size)
    sizes = near.sum(axis=1)
    for size in np.unique(sizes):  # levels with equally many neighbours at once
        levels = np.flatnonzero(sizes == size)
        index = np.nonzero(near[levels])[1].reshape(-1, size)
        blocks = correlation[index[:, :, None], index[:, None, :]]
        x = scaled[index][:, :, None]
        result[levels] = (x * np.linalg.solve(blocks, x)).sum(axis=(1, 2))
    return result


def upper_limit(vmr: Array, error: Array, sigma_level: float) -> Array:
    """Return max(vmr, 0) + k sigma."""
    return np.asarray(np.maximum(vmr, 0.0) + sigma_level * error)
