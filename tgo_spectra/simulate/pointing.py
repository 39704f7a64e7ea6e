"""Where a simulated occultation looks: times and geometry of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import mars
from tgo_spectra.simulate.product import POINTS_X, POINTS_Y

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.simulate.scenario import Scenario

    Array = npt.NDArray[np.float64]

__all__ = ["Pointing", "point"]

FIRST_ROW = 120
ROWS_PER_BIN = 4
BEFORE_S, AFTER_S = 35, 200
"""Umbra and Sun parts of the telecommand window, before or after the atmosphere."""

ELLIPSOID_MINUS_AREOID_KM = 0.4
OBLIQUITY_DEG = 25.19  # of Mars (Allison and McEwen 2000)
TRACK_DEG = (-0.02, 0.0075)
"""Motion of the tangent point in latitude and longitude, degree per km of height."""


@dataclass(frozen=True)
class Pointing:
    """Rows in table order.

    ``altitude_km`` (row,): tangent altitude above the areoid at mid exposure;
    ``bin`` (row,); ``motion_km``: change during an exposure; ``second`` (row,): since
    the first spectrum; ``window``: telecommand window; ``variables``: level-1
    variables as (dims, values).
    """

    altitude_km: Array
    bin: npt.NDArray[np.int64]
    motion_km: float
    second: Array
    window: tuple[np.datetime64, np.datetime64]
    variables: dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]


def point(scenario: Scenario, planet_radius_km: float) -> Pointing:
    """Lay out the rows of an occultation.

    Parameters
    ----------
    scenario : Scenario
        Options.
    planet_radius_km : float
        Of the areoid at the tangent point.

    Returns
    -------
    Pointing
    """
    low, high = scenario.altitude_range
    speed = scenario.vertical_speed_km_s
    if scenario.seconds is not None:
        speed = (high - low) / scenario.seconds
    motion = speed * scenario.exposure_s
    count = int(np.ceil((high - low) / speed)) + scenario.n_bins
    steps = np.arange(-scenario.n_bins, count)
    offset = scenario.bin_offset_km * np.arange(scenario.n_bins)
    height = low + 0.05 + speed * steps[:, None] + offset
    inside = (height >= low) & (height <= high)
    step, bins = np.nonzero(inside)
    altitude = height[inside]
    second = steps[step] - steps[step].min()
    if scenario.observation == "ingress":
        second = second.max() - second
        motion = -motion
    order = np.argsort(altitude, kind="stable")
    altitude, bins = altitude[order], bins[order]
    elapsed = second[order].astype(np.float64)
    before = BEFORE_S if scenario.observation == "egress" else AFTER_S
    start = np.datetime64(scenario.start, "ms")
    length = int(elapsed.max()) + BEFORE_S + AFTER_S
    window = (start, start + np.timedelta64(length, "s"))
    variables = _variables(
        scenario, planet_radius_km, altitude, bins, elapsed + before, motion
    )
    return Pointing(altitude, bins, abs(motion), elapsed, window, variables)


def _variables(
    scenario: Scenario,
    radius_km: float,
    altitude: Array,
    bins: npt.NDArray[np.int64],
    second: Array,
    motion: float,
) -> dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]:
    edges = np.array([-0.5, 0.5])
    seconds = second[:, None] + scenario.exposure_s * (edges + 0.5)
    start = np.datetime64(scenario.start, "ms")
    times = start + np.rint(1e3 * seconds).astype("timedelta64[ms]")
    # Corner (x, y) of the tilted slit; the two boxcars are its sides' heights.
    across, along = scenario.boxcars_km
    corner = 0.5 * across * np.array(POINTS_Y) - 0.5 * along * np.array(POINTS_X)
    z = (altitude[:, None] + edges * motion)[:, None, :] + corner[:, None]
    surface = scenario.surface_altitude_km
    surface = scenario.altitude_range[0] if surface is None else surface
    hidden = z < surface
    hidden[:, 0] = False  # a row exists because its centre was seen
    hidden |= hidden.any(axis=2, keepdims=True)
    distance = scenario.observer_distance_km + 0.015 * seconds
    path = np.sqrt(distance[:, None, :] ** 2 - (radius_km + z) ** 2)
    climb = z - scenario.altitude_range[0]
    latitude = np.clip(scenario.latitude + TRACK_DEG[0] * climb, -90.0, 90.0)
    longitude = _turned(scenario.longitude + TRACK_DEG[1] * climb)
    lst0 = scenario.local_time
    if lst0 is None:
        lst0 = 18.0 if scenario.observation == "ingress" else 6.0
    local = np.mod(lst0 + TRACK_DEG[1] * climb / 15.0, 24.0)
    ls = mars.solar_longitude(times)
    sun = np.rad2deg(
        np.arcsin(np.sin(np.deg2rad(OBLIQUITY_DEG)) * np.sin(np.deg2rad(ls)))
    )
    subsolar = _turned(longitude[:, 0] - 15.0 * (local[:, 0] - 12.0))
    observer = _turned(longitude[:, 0] + 24.0)
    per_point = {
        "point_longitude": longitude,
        "point_latitude": latitude,
        "point_local_true_solar_time": local,
        "tangent_altitude_ellipsoid": z + ELLIPSOID_MINUS_AREOID_KM,
        "tangent_altitude_areoid": z,
        "tangent_altitude_surface": z - surface,
    }
    three = ("spectrum", "point", "edge")
    two = ("spectrum", "edge")
    n = altitude.size
    result: dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]] = {
        name: (three, np.where(hidden, np.nan, values))
        for name, values in per_point.items()
    }
    first = FIRST_ROW + ROWS_PER_BIN * bins
    result |= {
        "slant_path_distance": (three, np.where(hidden, np.nan, path)),
        "time_bounds": (two, times.astype("datetime64[ns]")),
        "obs_altitude": (two, distance),
        "sub_obs_longitude": (two, observer),
        "sub_obs_latitude": (two, np.clip(latitude[:, 0] - 9.0, -90.0, 90.0)),
        "l_sub_s": (two, ls),
        "sub_sol_longitude": (two, subsolar),
        "sub_sol_latitude": (two, sun),
        "pointing_deviation": (two, np.full((n, 2), 0.35)),
        "bin_start": (("spectrum",), first),
        "bin_end": (("spectrum",), first + ROWS_PER_BIN - 1),
        "detector_temperature": (("spectrum",), np.full(n, 90.0)),
        "y_valid_flag": (("spectrum",), np.ones(n, dtype=bool)),
    }
    return result


def _turned(longitude: Array) -> Array:
    """Longitude within -180..180."""
    return np.mod(longitude + 180.0, 360.0) - 180.0
