"""Detection and its limits, of levels and of a layer, and what averaging makes of them.

Of levels by three definitions: (i) linear: the noise's standard error of a mole
fraction; (ii) delta chi-square: the mole fraction around a level without which
chi-square would rise by k^2; (iii) flag: what would count as detected, all of value > k
sigma, delta chi-square > k^2 and a response of the averaging kernel. Of a layer by one
mole fraction for all of it, estimated with everything that the fit knows. The sigma
level belongs to every limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.solve import solved_positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.diagnostics import GasDiagnostics
    from tgo_spectra.retrieval.state import StateSpace

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "AGREED",
    "AllanDeviation",
    "Layer",
    "LayerEstimate",
    "Limits",
    "allan_deviation",
    "delta_chi_square",
    "of_layer",
    "of_profile",
    "upper_limit",
]

LOOSE = 1e3
"""A priori of the layer's mole fraction in units of the levels': none to speak of."""


@dataclass(frozen=True)
class Layer:
    """Estimate of one mole fraction for all levels of a layer.

    Attributes
    ----------
    value : float
    elements : array of int, shape (level,)
        Of the levels inside.
    weights : array, shape (element,)
        The estimate is ``weights @ K^T Se^-1 (y - F(x) + K (x - x_a))``, less what the
        a priori has.
    kernel : array, shape (element,)
        Its derivative to the true state; its sum over the layer's levels is one. What
        it has elsewhere is smoothing, and errors by known sources.
    undetermined : float
        Squared error by what no line says: next to nothing, or without bounds.
    """

    value: float
    elements: IntArray
    weights: Array
    kernel: Array
    undetermined: float


@dataclass(frozen=True)
class LayerEstimate:
    """One mole fraction for the layer of a gas, with the parts of its error."""

    value: float
    noise: float
    systematic: Mapping[str, float]
    smoothing: float
    weights: Array


def of_layer(
    data_matrix: Array,
    constraint: Array,
    space: StateSpace,
    information: Array,
    prior: Array,
    elements: IntArray,
) -> Layer:
    """Estimate a layer: its levels are one mole fraction, all else as in the fit.

    The generalised least-squares mean: levels apart, with the a priori's correlation
    length, and their weighted mean have nearly twice its noise.

    Parameters
    ----------
    data_matrix : array, shape (element, element)
        K^T Se^-1 K.
    constraint : array, shape (element, element)
        R.
    space : StateSpace
    information : array, shape (element,)
        K^T Se^-1 (y - F(x) + K (x - x_a)).
    prior : array, shape (element,)
        x_a.
    elements : array of int, shape (level,)
        Of the levels inside.
    """
    n = data_matrix.shape[0]
    outside = np.setdiff1d(np.arange(n), elements)
    # one mole fraction inside, then all that is outside
    halved = np.concatenate(
        [data_matrix[elements].sum(axis=0)[None], data_matrix[outside]]
    )
    matrix = np.concatenate(
        [halved[:, elements].sum(axis=1)[:, None], halved[:, outside]], axis=1
    )
    sizes = np.sqrt(np.diag(space.covariance)[elements])
    loose = (LOOSE * float(sizes.max())) ** -2.0
    matrix[0, 0] += loose
    matrix[1:, 1:] += _constraint_of(constraint, elements, outside)
    # the levels inside have the mean a priori of the layer, exact if it is constant
    mean = float(prior[elements].mean())
    start = prior.copy()
    start[elements] = mean
    seen = information + data_matrix @ (prior - start)
    right = np.zeros((1 + outside.size, 2))
    right[:, 0] = [seen[elements].sum(), *seen[outside]]
    right[0, 1] = 1.0
    found, first = solved_positive(matrix, right).T
    weights = np.empty(n)
    weights[elements], weights[outside] = first[0], first[1:]
    return Layer(
        value=mean + float(found[0]),
        elements=elements,
        weights=weights,
        kernel=data_matrix @ weights,
        undetermined=float(first[0] ** 2 * loose),
    )


def _constraint_of(constraint: Array, elements: IntArray, outside: IntArray) -> Array:
    """Constraint of the elements outside when those inside are left out.

    The inverse of the rest of the covariance: Schur complement of the constraint.
    """
    inner = constraint[np.ix_(elements, elements)]
    if not np.any(inner):
        return np.asarray(constraint[np.ix_(outside, outside)])
    across = constraint[np.ix_(outside, elements)]
    rest = constraint[np.ix_(outside, outside)]
    return np.asarray(rest - across @ np.linalg.solve(inner, across.T))


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
