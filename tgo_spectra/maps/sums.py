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
    """Levels of one profile that count: their flat cells, km, values, errors, hours.

    Arrays of shape (level,); the covariance of the errors (level, level) or None.
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
    """Average the levels of one profile inside each cell; arrays of shape (cell,).

    The errors are correlated over `correlation_km`; None: fully; a text: by the
    covariance of the levels (TgoError ``map.variable`` without one).
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
    """Take each value as a sample of its own; cells may repeat.

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
    """Add the samples of one product to sums, shape (cell,), in place."""
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
    """Give empty sums, shape (cell,): zeros, and NaN for the lowest and highest."""
    zeros = {name: np.zeros(size) for name in SUMS}
    return zeros | {name: np.full(size, np.nan) for name in (*LOWEST, *HIGHEST)}


def statistics(
    sums: Mapping[str, npt.NDArray[Any]], weights: str, sigma_level: float
) -> dict[str, Floats]:
    """Derive mean, standard errors and limit from sums, NaN where there are too few.

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
