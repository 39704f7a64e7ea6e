"""Which points of an axis are used for a wanted place, and with what weights.

Arrays in, indices and weights out. Nothing is extrapolated: a place that an axis does
not cover is an error, except poleward of the outermost latitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Pick", "axis_pick", "latitude_pick", "series_pick"]

#: A circular axis is covered where the distance of the neighbours is at most this
#: multiple of its largest other step: so a file of one season is not taken around
#: the year.
LARGEST_GAP = 2.0

#: Degree: a row farther from the pole does not stand for it, however coarse the axis.
#: Our choice; grids of Mars models end at most about 5 degree before the pole.
POLAR_CAP_DEGREE = 10.0


class Pick(NamedTuple):
    """Points of an axis, their weights (sum 1), and whether the end met the start."""

    points: NDArray[np.int64]
    weights: NDArray[np.float64]
    wrapped: bool = False


def axis_pick(
    values: ArrayLike,
    wanted: float,
    *,
    name: str,
    period: float | None = None,
    nearest: bool = False,
) -> Pick:
    """One or two neighbours of a value on an axis (point,) in any order.

    On a circular axis, of the given period, points that are equal up to the period
    count once.

    Raises
    ------
    AtmosphereError
        The axis does not cover the place (``climatology.outside``), or the value is
        not finite (``climatology.place``).
    """
    axis = np.asarray(values, dtype=np.float64)
    if not np.isfinite(wanted):
        msg = "the place must be finite"
        raise AtmosphereError(msg, field=name, value=wanted, rule="climatology.place")
    if period is None:
        order = np.argsort(axis, kind="stable")
        low, high = axis[order[0]], axis[order[-1]]
        if not low <= wanted <= high:
            raise _outside(name, wanted, axis)
        at = int(
            np.clip(np.searchsorted(axis[order], wanted), 1, max(axis.size - 1, 1))
        )
        if axis.size == 1:
            return _one(order[0])
        return _two(
            order[at - 1], order[at], axis[order[at - 1]], axis[order[at]], wanted,
            nearest=nearest,
        )  # fmt: skip
    reduced = np.mod(axis, period)
    # rounding in the modulus: -1e-14 is 360, which is 0
    reduced[np.isclose(reduced, period, rtol=0, atol=1e-9)] = 0.0
    _, first = np.unique(np.round(reduced, 9), return_index=True)
    order = first[np.argsort(reduced[first], kind="stable")]
    place = float(np.mod(wanted, period))
    exact = np.flatnonzero(np.abs(reduced[order] - place) < 1e-9)
    if exact.size:
        return _one(order[exact[0]])
    if order.size == 1:
        raise _outside(name, wanted, axis)
    ring = reduced[order]
    at = int(np.searchsorted(ring, place))
    below, above = at - 1, at % order.size
    low = ring[below] - (period if at == 0 else 0.0)
    high = ring[above] + (period if at == order.size else 0.0)
    gaps = np.diff(np.append(ring, ring[0] + period))
    others = np.delete(gaps, below % order.size)
    if high - low > LARGEST_GAP * others.max():
        raise _outside(name, wanted, axis)
    pick = _two(order[below], order[above], low, high, place, nearest=nearest)
    return pick._replace(wrapped=at in (0, order.size))


def latitude_pick(
    values: ArrayLike, wanted: float, *, nearest: bool = False
) -> tuple[Pick, bool]:
    """Neighbours of a latitude (degree); whether the last row stands for the pole.

    Grids of models end half a step or a step before the pole. The last row is used
    poleward of it, if it is within one step, and within `POLAR_CAP_DEGREE`, of the
    pole.

    Raises
    ------
    AtmosphereError
        As :func:`axis_pick`, or a latitude beyond the poles.
    """
    axis = np.asarray(values, dtype=np.float64)
    if not -90.0 <= wanted <= 90.0:
        msg = "latitude must be within -90..90"
        raise AtmosphereError(
            msg, field="latitude", value=wanted, rule="climatology.place"
        )
    if axis.size > 1:
        step = min(float(np.abs(np.diff(axis)).max()), POLAR_CAP_DEGREE)
        for edge in (int(np.argmin(axis)), int(np.argmax(axis))):
            pole = np.copysign(90.0, wanted)
            beyond = abs(wanted) > abs(axis[edge]) and axis[edge] * pole > 0
            if beyond and abs(pole - axis[edge]) <= step:
                return _one(edge), True
    return axis_pick(axis, wanted, name="latitude", nearest=nearest), False


def series_pick(
    sol: ArrayLike,
    season: ArrayLike,
    *,
    hour: float,
    wanted: float,
    mars_year: int | None,
    nearest: bool = False,
) -> Pick:
    """Up to four steps of a time series for a season (degree) and an hour of the day.

    On each sol the two steps around the hour at the prime meridian are weighted; of
    the sols, the two around the season. `sol` and `season` (time,) ascend, the season
    as 360 times the Mars year plus Ls where the year is known; without a wanted year
    any is taken, if only one fits.

    Raises
    ------
    AtmosphereError
        The season is not covered (``climatology.outside``), or is covered in
        several years (``climatology.mars_year``).
    """
    time = np.asarray(sol, dtype=np.float64)
    longitude = np.asarray(season, dtype=np.float64)
    first = np.floor(time[0]) + np.mod(hour, 24.0) / 24.0
    if first < time[0] - 1e-9:
        first += 1.0
    days = np.arange(first, time[-1] + 1e-9, 1.0)
    if days.size == 0:
        msg = "the series does not contain this hour of the day"
        raise AtmosphereError(
            msg, field="local_time", value=hour, rule="climatology.outside"
        )
    # bilinear weights need the season on the days at this hour
    at_hour = np.interp(days, time, longitude)
    pick = _season_pick(at_hour, longitude, wanted, mars_year, nearest=nearest)
    index: list[int] = []
    weight: list[float] = []
    for day, share in zip(pick.points, pick.weights, strict=True):
        steps = axis_pick(
            time, float(np.clip(days[day], time[0], time[-1])), name="time",
            nearest=nearest,
        )  # fmt: skip
        index += steps.points.tolist()
        weight += (share * steps.weights).tolist()
    unique, inverse = np.unique(index, return_inverse=True)
    shares = np.bincount(inverse, weights=np.array(weight, dtype=np.float64))
    return Pick(
        unique.astype(np.int64), np.asarray(shares, dtype=np.float64), pick.wrapped
    )


def _season_pick(
    at_hour: NDArray[np.float64],
    longitude: NDArray[np.float64],
    wanted: float,
    mars_year: int | None,
    *,
    nearest: bool,
) -> Pick:
    ls = float(np.mod(wanted, 360.0))
    low = int(np.floor(at_hour[0] / 360.0))
    high = int(np.floor(at_hour[-1] / 360.0))
    years = range(low, high + 1) if mars_year is None else [mars_year]
    inside = [y for y in years if at_hour[0] <= 360.0 * y + ls <= at_hour[-1]]
    if len(inside) > 1:
        msg = f"the season is covered in the years {inside}: give mars_year"
        raise AtmosphereError(
            msg, field="mars_year", value=None, rule="climatology.mars_year"
        )
    if inside:
        return axis_pick(
            at_hour, 360.0 * inside[0] + ls, name="solar_longitude", nearest=nearest
        )
    present = np.unique(np.floor(longitude / 360.0))
    if mars_year is not None and mars_year not in present:
        msg = f"the climatology has the Mars years {present.astype(int).tolist()}"
        raise AtmosphereError(
            msg, field="mars_year", value=mars_year, rule="climatology.mars_year"
        )
    # the end of a whole year meets its start
    if at_hour[-1] - at_hour[0] > 360.0:
        name = "solar_longitude"
        raise _outside(name, wanted, longitude)
    return axis_pick(at_hour, ls, name="solar_longitude", period=360.0, nearest=nearest)


def _one(index: int | np.int64) -> Pick:
    return Pick(np.array([int(index)]), np.array([1.0]))


def _two(
    left: int | np.int64,
    right: int | np.int64,
    low: float,
    high: float,
    wanted: float,
    *,
    nearest: bool,
) -> Pick:
    share = (wanted - low) / (high - low)
    if nearest:
        return _one(right if share > 0.5 else left)
    if share in (0.0, 1.0):
        # a neighbour of no weight must not bring its missing values
        return _one(right if share else left)
    return Pick(np.array([int(left), int(right)]), np.array([1.0 - share, share]))


def _outside(name: str, wanted: float, axis: NDArray[np.float64]) -> AtmosphereError:
    low, high = float(axis.min()), float(axis.max())
    msg = f"outside the {name} of the climatology, {low:g}..{high:g}"
    return AtmosphereError(msg, field=name, value=wanted, rule="climatology.outside")
