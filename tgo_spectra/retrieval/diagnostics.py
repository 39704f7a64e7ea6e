"""Covariances and averaging kernels (Rodgers 2000, ch. 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]

__all__ = [
    "GasDiagnostics",
    "at_least",
    "gas_diagnostics",
    "joined",
    "positive",
    "total_covariance",
]

RESOLVED = 0.01
"""Diagonal of the averaging kernel below which a level has no vertical resolution."""


@dataclass(frozen=True)
class GasDiagnostics:
    """Errors and resolution of one gas profile.

    ``total_error`` is noise plus everything the constraint leaves open (smoothing of
    this and of the other elements); with an a priori, the posterior standard error.
    """

    averaging_kernel: Array
    noise_covariance: Array
    total_covariance: Array
    noise_error: Array
    smoothing_error: Array
    total_error: Array
    degrees_of_freedom: float

    def scaled(self, slope: Array) -> GasDiagnostics:
        """Return those of a quantity with a derivative by each element, (level,)."""
        square = slope[:, None] * slope
        return replace(
            self,
            averaging_kernel=self.averaging_kernel * slope[:, None] / slope,
            noise_covariance=self.noise_covariance * square,
            total_covariance=self.total_covariance * square,
            noise_error=self.noise_error * slope,
            smoothing_error=self.smoothing_error * slope,
            total_error=self.total_error * slope,
        )

    def without(self, part: Array) -> GasDiagnostics:
        """Return those of which the total lacks a part, (level, level), but no noise.

        As of what errors of an amount are by the air that it is over, in proportion to
        it: that there is some of a gas does not depend on them.
        """
        noise = np.diag(self.noise_covariance)
        total = at_least(positive(self.total_covariance - part, noise), noise)
        error = np.sqrt(np.diag(total))
        return replace(self, total_covariance=total, total_error=error)

    def resolution(self, altitude_km: Array) -> Array:
        """Spacing of the levels over the diagonal of the averaging kernel, km."""
        diagonal = np.diag(self.averaging_kernel)
        known = diagonal > RESOLVED
        spacing = np.gradient(altitude_km)
        return np.where(known, spacing / np.where(known, diagonal, 1.0), np.nan)


def gas_diagnostics(
    data_matrix: Array,
    covariance: Array,
    elements: slice | npt.NDArray[np.intp],
    assumed: Array | None = None,
    *,
    smoothing_known: bool = True,
) -> GasDiagnostics:
    """Split the covariance of one gas into noise and smoothing.

    Parameters
    ----------
    data_matrix : array, shape (state, state)
        K^T Se^-1 K.
    covariance : array, shape (state, state)
        (K^T Se^-1 K + R)^-1.
    elements : slice or array of int
        Elements of the gas.
    assumed : array, shape (state, state), optional
        Covariance of the truth; default: the inverse of R, with which the sum of noise
        and smoothing is ``covariance``.
    smoothing_known : bool
        False: the total is the noise.
    """
    rows = np.eye(len(covariance))[elements]
    kernel, noise, total = _parts(
        rows, data_matrix, covariance, assumed, smoothing_known
    )
    averaging = kernel[:, elements]
    smoothing = np.clip(np.diag(total) - np.diag(noise), 0.0, None)
    return GasDiagnostics(
        averaging_kernel=averaging,
        noise_covariance=noise,
        total_covariance=total,
        noise_error=np.sqrt(np.diag(noise).clip(0.0)),
        smoothing_error=np.sqrt(smoothing),
        total_error=np.sqrt(np.diag(total).clip(0.0)),
        degrees_of_freedom=float(np.trace(averaging)),
    )


def at_least(covariance: Array, variance: Array) -> Array:
    """Return a covariance with variances of at least some, correlations the same."""
    found = np.diag(covariance)
    wider = np.maximum(variance / np.where(found > 0.0, found, variance), 1.0)
    return np.asarray(covariance * np.sqrt(wider[:, None] * wider))


def positive(covariance: Array, variance: Array) -> Array:
    """Return what is next to a measured covariance and is one: none is negative.

    ``variance`` (element,): its units.
    """
    scale = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    values, vectors = np.linalg.eigh(covariance / scale[:, None] / scale)
    made = (vectors * values.clip(0.0)) @ vectors.T
    return np.asarray(made * scale[:, None] * scale)


def joined(responses: Array) -> Array:
    """Response to one change, with its sign, or the root of the squares of several."""
    if responses.shape[1] == 1:
        return np.asarray(responses[:, 0])
    return np.asarray(np.sqrt((responses**2).sum(axis=1)))


def total_covariance(
    rows: Array,
    data_matrix: Array,
    covariance: Array,
    assumed: Array | None = None,
    *,
    smoothing_known: bool = True,
) -> Array:
    """Return that of quantities that are rows of the state, as in `gas_diagnostics`."""
    return _parts(rows, data_matrix, covariance, assumed, smoothing_known)[2]


def _parts(
    rows: Array,
    data_matrix: Array,
    covariance: Array,
    assumed: Array | None,
    smoothing_known: bool,
) -> tuple[Array, Array, Array]:
    """Kernel (quantity, element), and covariances of noise and of all, (quantity,) * 2.

    Of quantities that are rows of the state.
    """
    mine = rows @ covariance
    kernel = mine @ data_matrix
    product = kernel @ mine.T
    noise: Array = 0.5 * (product + product.T)
    if not smoothing_known:
        return kernel, noise, noise
    if assumed is None:
        return kernel, noise, np.asarray(mine @ rows.T)
    off = kernel - rows
    return kernel, noise, np.asarray(noise + off @ assumed @ off.T)
