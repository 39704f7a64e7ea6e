"""Sums of a map: levels or single values to samples, samples into cells, statistics.

Plain arrays only; `tgo_spectra.maps` gives them names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "HIGHEST",
    "LOWEST",
    "SUMS",
    "Levels",
    "Weights",
    "add_samples",
    "cell_samples",
    "new_sums",
    "single_samples",
    "statistics",
]

Floats = npt.NDArray[np.float64]
Weights = Literal["inverse_variance", "uniform"]

SUMS = (
    "count",
    "sum_w",
    "sum_wx",
    "sum_wx2",
    "sum_w2",
    "sum_w2_variance",
    "detected_count",
)
"""Sums over samples, in the order of `statistics`."""
LOWEST = ("best_upper_limit", "local_time_min")
"""Quantities of which a cell keeps the lowest."""
HIGHEST = ("local_time_max",)
"""Quantities of which a cell keeps the highest."""


@dataclass(frozen=True)
class Levels:
    """Levels of one profile that count; arrays of shape (level,).

    Parameters
    ----------
    cell : array of int
        Flat cell number of each level.
    altitude : array
        Altitude, km.
    value, error : array
        Mole fraction and its standard error.
    detected : array of bool
        Whether the gas is detected there.
    local_time : array
        Local true solar time, hours; NaN where unknown.
    covariance : array, shape (level, level), or None
        Covariance of the errors.
    """

    cell: npt.NDArray[np.int64]
    altitude: Floats
    value: Floats
    error: Floats
    detected: npt.NDArray[np.bool_]
    local_time: Floats
    covariance: Floats | None


def cell_samples(
    levels: Levels, sigma_level: float, correlation_km: float | str | None
) -> dict[str, npt.NDArray[Any]]:
    """Average the levels of one profile inside each cell.

    Parameters
    ----------
    levels : Levels
        Levels that fall into a cell.
    sigma_level : float
        Multiple of the error in limits.
    correlation_km : float, str or None
        Length of the correlation of errors, km; None: full; text: ``covariance``.

    Returns
    -------
    dict of str to array, shape (cell,)
        ``cell``, ``value``, ``variance``, ``detected``, ``best_upper_limit``,
        ``local_time_min``, ``local_time_max``; one entry a cell.

    Raises
    ------
    TgoError
        The covariance is wanted and `levels` has none (``map.variable``).
    """
    cells, group = np.unique(levels.cell, return_inverse=True)
    n = cells.size
    weight = levels.error**-2.0
    total = np.bincount(group, weight, minlength=n)
    value = np.bincount(group, weight * levels.value, minlength=n) / total
    # error of the weighted mean: sum_ij w_i w_j C_ij / (sum w)^2
    if correlation_km is None:  # C_ij = s_i s_j, and w s = 1 / s
        variance = (np.bincount(group, 1.0 / levels.error, minlength=n) / total) ** 2
    elif correlation_km == 0.0:
        variance = 1.0 / total
    else:
        same = group[:, None] == group[None, :]
        if isinstance(correlation_km, str):
            if levels.covariance is None:
                message = "level 2 holds no noise covariance"
                raise TgoError(message, value=correlation_km, rule="map.variable")
            errors = levels.covariance
        else:
            apart = np.abs(levels.altitude[:, None] - levels.altitude[None, :])
            errors = np.outer(levels.error, levels.error)
            errors *= np.exp(-apart / correlation_km)
        row = weight * (np.where(same, errors, 0.0) @ weight)
        variance = np.bincount(group, row, minlength=n) / total**2
    limit = np.full(n, np.inf)
    np.minimum.at(
        limit, group, np.maximum(levels.value, 0.0) + sigma_level * levels.error
    )
    early, late = np.full(n, np.nan), np.full(n, np.nan)
    np.fmin.at(early, group, levels.local_time)
    np.fmax.at(late, group, levels.local_time)
    detected = np.bincount(group, levels.detected, minlength=n) > 0
    return {
        "cell": cells,
        "value": value,
        "variance": variance,
        "detected": detected,
        "best_upper_limit": limit,
        "local_time_min": early,
        "local_time_max": late,
    }


def single_samples(levels: Levels, sigma_level: float) -> dict[str, npt.NDArray[Any]]:
    """Take each value as a sample of its own, such as columns of single spectra.

    Parameters
    ----------
    levels : Levels
        Values that fall into a cell.
    sigma_level : float
        Multiple of the error in limits.

    Returns
    -------
    dict of str to array, shape (value,)
        As of `cell_samples`; a cell appears as often as it has values.

    Examples
    --------
    >>> one = np.ones(2)
    >>> values = Levels(np.array([4, 4]), one, 3 * one, one, one > 2, one, None)
    >>> single_samples(values, 2.0)["best_upper_limit"]
    array([5., 5.])
    """
    return {
        "cell": levels.cell,
        "value": levels.value,
        "variance": levels.error**2,
        "detected": levels.detected,
        "best_upper_limit": np.maximum(levels.value, 0.0) + sigma_level * levels.error,
        "local_time_min": levels.local_time,
        "local_time_max": levels.local_time,
    }


def add_samples(
    sums: dict[str, Floats], samples: dict[str, npt.NDArray[Any]], weights: Weights
) -> None:
    """Add the samples of one product.

    Parameters
    ----------
    sums : dict of str to array
        Sums by name, changed in place; see `new_sums`.
    samples : dict of str to array
        Of `cell_samples` or `single_samples`; cells may repeat.
    weights : {"inverse_variance", "uniform"}
        Weight of a sample.
    """
    cell, x, variance = samples["cell"], samples["value"], samples["variance"]
    w = np.ones_like(x) if weights == "uniform" else 1.0 / variance
    added = {
        "count": np.ones_like(x),
        "sum_w": w,
        "sum_wx": w * x,
        "sum_wx2": w * x * x,
        "sum_w2": w * w,
        "sum_w2_variance": w * w * variance,
        "detected_count": samples["detected"],
    }
    for name, values in added.items():
        np.add.at(sums[name], cell, values)
    for name in LOWEST:
        np.fmin.at(sums[name], cell, samples[name])
    for name in HIGHEST:
        np.fmax.at(sums[name], cell, samples[name])


def new_sums(size: int) -> dict[str, Floats]:
    """Give empty sums: zeros, and NaN for the lowest and highest.

    Parameters
    ----------
    size : int
        Number of cells.

    Returns
    -------
    dict of str to array, shape (size,)
        By name.
    """
    zeros = {name: np.zeros(size) for name in SUMS}
    return zeros | {name: np.full(size, np.nan) for name in (*LOWEST, *HIGHEST)}


def statistics(
    sums: Mapping[str, npt.NDArray[Any]], weights: str, sigma_level: float
) -> dict[str, Floats]:
    """Derive mean, standard errors and limit from the sums.

    Parameters
    ----------
    sums : mapping of str to array
        Sums by name, any shape.
    weights : {"inverse_variance", "uniform"}
        How the samples were weighted.
    sigma_level : float
        Multiple of the larger standard error in the limit.

    Returns
    -------
    dict of str to array
        ``mean``, ``standard_error_formal``, ``standard_error_scatter``,
        ``upper_limit``; NaN where there are too few samples.

    References
    ----------
    DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177, eq. 8.
    """
    n, w, wx, wx2, w2, w2v = (np.asarray(sums[k], dtype=np.float64) for k in SUMS[:6])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(n > 0, wx / w, np.nan)
        formal = np.where(n > 0, np.sqrt(w2v) / w, np.nan)
        # spread of nature by moments (DerSimonian and Laird 1986, eq. 8, without
        # its floor at zero): E[Q] = sum w v - sum w2 v / sum w + spread * C
        q = np.maximum(wx2 - w * mean**2, 0.0)
        wv = n if weights == "inverse_variance" else w2v
        spread = (q - wv + w2v / w) / (w - w2 / w)
        variance = np.maximum(w2v + spread * w2, 0.0) / w**2
        scatter = np.where(n > 1, np.sqrt(variance), np.nan)
    return {
        "mean": mean,
        "standard_error_formal": formal,
        "standard_error_scatter": scatter,
        "upper_limit": mean + sigma_level * np.fmax(formal, scatter),
    }
