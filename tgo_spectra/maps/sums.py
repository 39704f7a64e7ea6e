"""Sums of a map: levels or single values to samples, samples summed by cell.

Plain arrays only; `tgo_spectra.maps` gives them names. Only cells that hold a sample
have sums, so that a grid of millions of cells costs what its samples cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "CIRCLES",
    "EXTREMES",
    "NAMES",
    "SUMS",
    "CellSums",
    "Samples",
    "Values",
    "cell_samples",
    "joined",
    "single_samples",
    "summed",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CIRCLES = {"longitude": 360.0, "solar_longitude": 360.0, "local_time": 24.0}
"""Places that wrap, each with its period: degrees, hours."""

_ON_CIRCLES = tuple(f"{name}_{part}" for name in CIRCLES for part in ("sin", "cos"))
# of each sample; in the order that `_terms` and the compiled loop unpack
_COLUMNS = (
    "value",
    "variance",
    "weight",
    "smoothing",
    "systematic",
    "response",
    "prior",
    "detected",
    "latitude",
    *_ON_CIRCLES,
    "limit",
    "local_time",
    "local_time",
)

SUMS = (
    "count",
    "detected_count",
    "sum_x",
    "sum_x2",
    "sum_variance",
    "sum_smoothing",
    "sum_systematic",
    "sum_response",
    "sum_prior",
    "sum_w",
    "sum_wx",
    "sum_wx2",
    "sum_w2",
    "sum_w_variance",
    "sum_w2_variance",
    "sum_w_smoothing",
    "sum_w_systematic",
    "sum_w_response",
    "sum_w_prior",
    "sum_latitude",
    *(f"sum_{name}" for name in _ON_CIRCLES),
    "latitude_count",
)
"""Sums over samples, x the value and w its weight, in the order of `_terms`."""
EXTREMES = {
    "best_upper_limit": np.fmin,
    "local_time_min": np.fmin,
    "local_time_max": np.fmax,
}
"""Quantities of which a cell keeps the lowest or the highest."""
NAMES = (*SUMS, *EXTREMES)
"""All that is added up, in the order of the columns of `CellSums.table`."""


@dataclass(frozen=True)
class Values:
    """Levels of one profile, or spectra, that count.

    Arrays of shape (value,): flat cells; values with their `noise` (standard errors);
    `scale`, the error that weights are made of; `smoothing` and `systematic` errors;
    the `response` to the truth; what is missing for the a priori, `prior`; whether
    there is a detection; degrees and hours of the place. `covariance` of the noise
    (value, value) or None; `altitude` km, NaN for spectra.
    """

    cell: Integers
    altitude: Floats
    value: Floats
    noise: Floats
    scale: Floats
    smoothing: Floats
    systematic: Floats
    response: Floats
    prior: Floats
    detected: npt.NDArray[np.bool_]
    latitude: Floats
    longitude: Floats
    solar_longitude: Floats
    local_time: Floats
    covariance: Floats | None = None

    def limits(self, sigma_level: float) -> Floats:
        """Return the upper limit of each value by itself, shape (value,)."""
        raised = np.maximum(self.value + np.maximum(self.prior, 0.0), 0.0)
        random = self.noise / np.minimum(self.response, 1.0)
        common = np.maximum(self.smoothing, np.abs(self.prior)) ** 2
        return np.asarray(
            raised + sigma_level * np.sqrt(random**2 + common + self.systematic**2)
        )

    def on_circles(self) -> list[Floats]:
        """Sine and cosine of the places that wrap, by `CIRCLES`, or NaN."""
        found = []
        for name, period in CIRCLES.items():
            angle = getattr(self, name) * (2.0 * np.pi / period)
            found += [np.sin(angle), np.cos(angle)]
        return found


class Samples(NamedTuple):
    """Samples of a map: cells, shape (sample,), and what is summed of each.

    `table` has the columns value, noise variance, weight, smoothing and systematic
    error, response, what is missing for the a priori, detected, latitude (NaN where
    unknown), sine and cosine of longitude, solar longitude and local time (zero where
    unknown), and the three of `EXTREMES`.
    """

    cell: Integers
    table: Floats


class CellSums(NamedTuple):
    """Sums by cell: cells, ascending, shape (cell,), and `NAMES`, (cell, name)."""

    cell: Integers
    table: Floats

    def column(self, name: str) -> Floats:
        """One of `NAMES`, shape (cell,)."""
        return self.table[:, NAMES.index(name)]

    @classmethod
    def empty(cls) -> CellSums:
        """Give the sums of no sample."""
        return cls(np.zeros(0, np.int64), np.zeros((0, len(NAMES))))


def cell_samples(
    levels: Values, sigma_level: float, correlation_km: float | str | None
) -> Samples:
    """Average the levels of one profile inside each cell: one sample a cell.

    The noise is correlated over `correlation_km`; None: fully; a text: by the
    covariance of the levels (TgoError ``map.variable`` without one).
    """
    cells, group = np.unique(levels.cell, return_inverse=True)
    n = cells.size
    weight = levels.scale**-2.0
    total = np.bincount(group, weight, minlength=n)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.bincount(group, weight * values, minlength=n) / total)

    def mean_place(values: Floats) -> Floats:
        known = np.isfinite(values)
        if known.all():
            return mean(values)
        own = np.bincount(group, weight * known, minlength=n)
        summed = np.bincount(group, np.where(known, weight * values, 0.0), minlength=n)
        return np.asarray(np.where(own > 0.0, summed / np.maximum(own, _TINY), np.nan))

    # noise of the weighted mean: sum_ij w_i w_j C_ij / (sum w)^2
    if correlation_km is None:  # C_ij = s_i s_j
        variance: Floats = mean(levels.noise) ** 2
    elif correlation_km == 0.0:
        own = (weight * levels.noise) ** 2
        variance = np.bincount(group, own, minlength=n) / total**2
    else:
        same = group[:, None] == group[None, :]
        row = weight * (np.where(same, _errors(levels, correlation_km), 0.0) @ weight)
        variance = np.bincount(group, row, minlength=n) / total**2
    # the weight of a sample follows its own variance, at the scale of its levels
    ratio = mean(levels.noise) ** 2 / mean(levels.scale) ** 2
    table = [
        mean(levels.value),
        variance,
        ratio / variance,
        *map(mean, (levels.smoothing, levels.systematic, levels.response)),
        mean(levels.prior),
        np.bincount(group, levels.detected, minlength=n) > 0,
        mean_place(levels.latitude),
        *(np.nan_to_num(mean_place(part)) for part in levels.on_circles()),
    ]
    limit = np.full(n, np.inf)
    np.minimum.at(limit, group, levels.limits(sigma_level))
    early, late = np.full(n, np.nan), np.full(n, np.nan)
    np.fmin.at(early, group, levels.local_time)
    np.fmax.at(late, group, levels.local_time)
    return Samples(cells, np.stack([*table, limit, early, late], axis=1))


_TINY = np.finfo(np.float64).tiny


def _errors(levels: Values, correlation_km: float | str) -> Floats:
    """Covariance of the noise of levels, shape (level, level)."""
    if isinstance(correlation_km, str):
        if levels.covariance is None:
            message = "level 2 holds no noise covariance"
            raise TgoError(message, value=correlation_km, rule="map.variable")
        return levels.covariance
    apart = np.abs(levels.altitude[:, None] - levels.altitude[None, :])
    errors: Floats = np.outer(levels.noise, levels.noise)
    return errors * np.exp(-apart / correlation_km)


def single_samples(values: Values, sigma_level: float) -> Samples:
    """Take each value as a sample of its own; cells may repeat."""
    table = [
        values.value,
        values.noise**2,
        values.scale**-2.0,
        values.smoothing,
        values.systematic,
        values.response,
        values.prior,
        values.detected,
        values.latitude,
        *map(np.nan_to_num, values.on_circles()),
        values.limits(sigma_level),
        values.local_time,
        values.local_time,
    ]
    return Samples(values.cell, np.stack(table, axis=1))


def _terms(table: Floats) -> Iterator[Floats]:
    """Give what is summed of samples, in the order of `SUMS`; shape (sample,) each."""
    x, v, w, s, t, r, p, detected = table[:, :8].T
    yield np.ones_like(x)
    yield detected
    yield from (x, x * x, v, s, t, r, p)
    wx = w * x
    yield from (w, wx, wx * x, w * w, w * v, w * w * v)
    yield from (w * s, w * t, w * r, w * p)
    yield np.nan_to_num(table[:, 8])
    yield from table[:, 9:15].T
    yield np.isfinite(table[:, 8]).astype(np.float64)


def summed(samples: Sequence[Samples]) -> CellSums:
    """Sum samples by cell.

    >>> one = Samples(np.array([4, 2, 4]), np.ones((3, 18)))
    >>> found = summed([one])
    >>> found.cell, found.column("count")
    (array([2, 4]), array([1., 2.]))
    """
    if not samples:
        return CellSums.empty()
    cell, table = (
        np.concatenate(parts) if len(parts) > 1 else parts[0]
        for parts in zip(*samples, strict=True)
    )
    if cell.size >= _MANY:
        return _compiled(cell, table)
    return _by_cell(cell, _terms(table), table[:, 15:])


_MANY = 200_000  # samples or rows: compiling and starting threads take as long
_GRID_OF_SAMPLES = 16  # cells of a grid a sample, of which a table is made


def _compiled(cell: Integers, table: Floats) -> CellSums:
    """Sum samples by cell in one pass over them."""
    import numba

    from tgo_spectra.maps.kernels import add_samples, order_of

    cells: Integers | None = None
    size = int(cell.max()) + 1
    if size > _GRID_OF_SAMPLES * cell.size:
        cells, cell = np.unique(cell, return_inverse=True)
        size = cells.size
    ends = np.zeros(size + 1, np.int32)
    order = np.empty(cell.size, np.int32)
    order_of(cell, ends, order)
    n_rows = int(np.count_nonzero(np.diff(ends)))
    there, out = np.empty(n_rows, np.int64), np.empty((n_rows, len(NAMES)))
    table = np.ascontiguousarray(table)
    add_samples(ends, order, table, there, out, numba.get_num_threads())
    return CellSums(there if cells is None else cells, out)


def joined(parts: Sequence[CellSums]) -> CellSums:
    """Add sums of different samples, cell by cell; two at a time where they are many.

    >>> one = summed([Samples(np.array([4, 2, 4]), np.ones((3, 18)))])
    >>> joined([one, one, one]).column("count")
    array([3., 6.])
    """
    if len(parts) == 1:
        return parts[0]
    if sum(part.cell.size for part in parts) < _MANY:
        n = len(SUMS)
        table = np.concatenate([part.table for part in parts])
        cell = np.concatenate([part.cell for part in parts])
        return _by_cell(cell, iter(table[:, :n].T), table[:, n:])
    half = len(parts) // 2
    return _of_two(joined(parts[:half]), joined(parts[half:]))


def _of_two(left: CellSums, right: CellSums) -> CellSums:
    """Add sums, of which the cells ascend."""
    from tgo_spectra.maps.kernels import add_sums

    size = left.cell.size + right.cell.size
    cells, out = np.empty(size, np.int64), np.empty((size, len(NAMES)))
    n = add_sums(left.cell, left.table, right.cell, right.table, cells, out)
    # what was not written to never took memory
    cells.resize(n, refcheck=False)
    out.resize((n, len(NAMES)), refcheck=False)
    return CellSums(cells, out)


def _by_cell(cell: Integers, terms: Iterator[Floats], extremes: Floats) -> CellSums:
    """Sum terms, each (item,), and keep the extremes, (item, extreme), by cell."""
    cells, row = np.unique(cell, return_inverse=True)
    table = np.full((cells.size, len(NAMES)), np.nan)
    for column, values in enumerate(terms):
        table[:, column] = np.bincount(row, values, minlength=cells.size)
    for column, ufunc in enumerate(EXTREMES.values()):
        found = np.full(cells.size, np.nan)
        ufunc.at(found, row, extremes[:, column])
        table[:, len(SUMS) + column] = found
    return CellSums(cells, table)
