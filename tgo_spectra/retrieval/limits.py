"""Detection and its limits, by three definitions, and what averaging makes of them.

(i) linear: the noise's standard error of a mole fraction; (ii) delta chi-square: the
mole fraction around a level without which chi-square would rise by k^2; (iii) flag:
what would count as detected, all of value > k sigma, delta chi-square > k^2 and a
response of the averaging kernel. The sigma level belongs to every limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import RetrievalError

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.diagnostics import GasDiagnostics

    Array = npt.NDArray[np.floating]

__all__ = [
    "AGREED",
    "AllanDeviation",
    "Limits",
    "allan_deviation",
    "delta_chi_square",
    "of_profile",
    "upper_limit",
]


Values = Any
"""Numbers of an array, of NumPy or labelled, lazy or not."""

AGREED = 1e-2
"""A gas is detected only if its lines disagree by chance with this probability."""


@dataclass(frozen=True)
class Limits:
    """Whether something is there, and limits of it; of levels, or of spectra.

    ``delta_chi_square``: rise without it; ``linear``: 1 sigma of the noise;
    ``by_chi_square``: what raises chi-square by k^2; ``by_flag``: what would count as
    detected.
    """

    detected: Values
    delta_chi_square: Values
    linear: Values
    by_chi_square: Values
    by_flag: Values


def of_profile(
    vmr: Array,
    d: GasDiagnostics,
    altitude_km: Array,
    half_width_km: float,
    detection_sigma: float,
    limit_sigma: float,
    minimum_response: float,
) -> Limits:
    """Detect one gas, with the three limits.

    Parameters
    ----------
    vmr : array, shape (altitude,)
    d : GasDiagnostics
        Without errors in proportion to the gas by the air that it is over.
    altitude_km : array, shape (altitude,)
    half_width_km : float
        Levels within belong together.
    detection_sigma, limit_sigma : float
        k of the flag, and of the limit by delta chi-square.
    minimum_response : float
        Sum of a row of the averaging kernel that a detection needs.
    """
    delta = delta_chi_square(vmr, d.total_covariance, altitude_km, half_width_km)
    unit = delta_chi_square(
        np.ones(vmr.size), d.total_covariance, altitude_km, half_width_km
    )
    one = 1.0 / np.sqrt(unit)
    k = detection_sigma
    response = d.averaging_kernel.sum(axis=1) >= minimum_response
    detected = (vmr > k * d.total_error) & (delta > k**2) & response
    flag = np.where(response, k * np.maximum(d.total_error, one), np.inf)
    return Limits(detected, delta, d.noise_error, limit_sigma * one, flag)


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


def upper_limit(vmr: Values, error: Values, sigma_level: float) -> Values:
    """Return max(vmr, 0) + k sigma."""
    return np.maximum(vmr, 0.0) + sigma_level * error


@dataclass(frozen=True)
class AllanDeviation:
    """Scatter of means of n values, and what independent errors would give."""

    n: npt.NDArray[np.intp]
    deviation: Array
    expected: Array


def allan_deviation(values: npt.ArrayLike, errors: npt.ArrayLike) -> AllanDeviation:
    """Tell down to which scatter averaging helps.

    Means of n successive values (n = 1, 2, 4, ...) are differenced: half the mean
    square of the differences of neighbouring means (Allan 1966). Independent errors
    give ``expected``, falling as 1/sqrt(n); where the deviation stays above, a floor
    of common errors is reached.

    Parameters
    ----------
    values : array_like, shape (value,)
        In order of time, altitude or whatever the errors may follow.
    errors : array_like, shape (value,)
        Their standard errors.

    Returns
    -------
    AllanDeviation

    Raises
    ------
    RetrievalError
        Fewer than four values, or an error that is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(1).normal(size=4096)
    >>> found = allan_deviation(noise, np.ones(4096))
    >>> found.n[:3].tolist(), found.expected[:3].round(2).tolist()
    ([1, 2, 4], [1.0, 0.71, 0.5])
    >>> bool(np.all(np.abs(found.deviation[:6] / found.expected[:6] - 1) < 0.15))
    True
    """
    x = np.asarray(values, dtype=float)
    s = np.asarray(errors, dtype=float)
    if x.ndim != 1 or x.shape != s.shape or x.size < 4:
        message = "at least four values, and as many errors, are needed"
        raise RetrievalError(message, value=x.shape, rule="limits.too_few")
    if not ((s > 0.0).all() and np.isfinite(x).all()):
        message = "values must be finite and errors positive"
        raise RetrievalError(message, value=float(s.min()), rule="limits.bad_error")
    sizes, deviation, expected = [], [], []
    n = 1
    while x.size // n >= 2:
        count = x.size // n
        means = x[: count * n].reshape(count, n).mean(axis=1)
        variance = (s[: count * n] ** 2).reshape(count, n).sum(axis=1) / n**2
        sizes.append(n)
        deviation.append(np.sqrt(0.5 * np.mean(np.diff(means) ** 2)))
        expected.append(np.sqrt(np.mean(0.5 * (variance[1:] + variance[:-1]))))
        n *= 2
    return AllanDeviation(
        np.array(sizes, dtype=np.intp), np.array(deviation), np.array(expected)
    )
