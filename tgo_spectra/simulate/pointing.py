"""Where a simulated occultation looks: times and geometry of its rows.

Also the level-1 Dataset of all NOMAD channels: their geometry has the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.simulate.layout import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.simulate.layout import Layout
    from tgo_spectra.simulate.scenario import Scenario, SoScenario

    Array = npt.NDArray[np.float64]

__all__ = ["Pointing", "nomad_level1", "point"]

POINTS_X, POINTS_Y = LAYOUTS["so", True].points_x, LAYOUTS["so", True].points_y

FIRST_ROW = 120
ROWS_PER_BIN = 4
BEFORE_S, AFTER_S = 35, 200
"""Umbra and Sun parts of the telecommand window, before or after the atmosphere."""

ELLIPSOID_MINUS_AREOID_KM = 0.4
OBLIQUITY_DEG = 25.19  # of Mars (Allison and McEwen 2000)
TRACK_DEG = (-0.02, 0.0075)
"""Motion of the tangent point in latitude and longitude, degree per km of height."""

_CENTRES: dict[str, tuple[str, float | None]] = {
    "tangent_altitude": ("tangent_altitude_areoid", None),
    "latitude": ("point_latitude", None),
    "longitude": ("point_longitude", 360.0),
    "local_true_solar_time": ("point_local_true_solar_time", 24.0),
    "solar_longitude": ("l_sub_s", 360.0),
}
"""Coordinates at the middle of a spectrum: their origin and its period."""


@dataclass(frozen=True)
class Pointing:
    """Rows in table order.

    ``altitude_km`` (row,): tangent altitude above the areoid at mid exposure;
    ``bin`` (row,); ``motion_km``: change during an exposure; ``second`` (row,): since
    the first spectrum; ``edges`` (row, edge): since the start of the telecommand
    window, ``window``; ``variables``: as `nomad_level1` takes them.
    """

    altitude_km: Array
    bin: npt.NDArray[np.int64]
    motion_km: float
    second: Array
    edges: Array
    window: tuple[np.datetime64, np.datetime64]
    variables: dict[str, npt.NDArray[Any]]


def point(scenario: SoScenario, planet_radius_km: float) -> Pointing:
    """Lay out the rows of an occultation over an areoid of this radius."""
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
    edges = (elapsed + before)[:, None] + scenario.exposure_s * np.array([0.0, 1.0])
    variables = _variables(scenario, planet_radius_km, altitude, bins, edges, motion)
    return Pointing(altitude, bins, abs(motion), elapsed, edges, window, variables)


def _variables(
    scenario: SoScenario,
    radius_km: float,
    altitude: Array,
    bins: npt.NDArray[np.int64],
    seconds: Array,
    motion: float,
) -> dict[str, npt.NDArray[Any]]:
    edges = np.array([-0.5, 0.5])
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
    ls = mars.solar_longitude(_times(scenario, seconds))
    sun = np.rad2deg(
        np.arcsin(np.sin(np.deg2rad(OBLIQUITY_DEG)) * np.sin(np.deg2rad(ls)))
    )
    per_point = {
        "point_longitude": longitude,
        "point_latitude": latitude,
        "point_local_true_solar_time": local,
        "tangent_altitude_ellipsoid": z + ELLIPSOID_MINUS_AREOID_KM,
        "tangent_altitude_areoid": z,
        "tangent_altitude_surface": z - surface,
        "slant_path_distance": path,
    }
    first = FIRST_ROW + ROWS_PER_BIN * bins
    return {name: np.where(hidden, np.nan, v) for name, v in per_point.items()} | {
        "obs_altitude": distance,
        "sub_obs_longitude": _turned(longitude[:, 0] + 24.0),
        "sub_obs_latitude": np.clip(latitude[:, 0] - 9.0, -90.0, 90.0),
        "sub_sol_longitude": _turned(longitude[:, 0] - 15.0 * (local[:, 0] - 12.0)),
        "sub_sol_latitude": sun,
        "pointing_deviation": np.float64(0.35),
        "bin_start": first,
        "bin_end": first + ROWS_PER_BIN - 1,
        "detector_temperature": np.float64(90.0),
    }


def _times(scenario: Scenario, second: Array) -> npt.NDArray[np.datetime64]:
    start = np.datetime64(scenario.start, "ms")
    return np.asarray(start + np.rint(1e3 * second).astype("timedelta64[ms]"))


def nomad_level1(
    scenario: Scenario,
    layout: Layout,
    observation: str,
    second: Array,
    spectra: Mapping[str, npt.NDArray[Any]],
    variables: Mapping[str, Any],
    coordinates: Mapping[str, Any],
) -> xr.Dataset:
    """Level-1 Dataset with the names that the reader gives.

    ``second`` (spectrum, edge) is since the start; ``spectra`` are (spectrum, pixel);
    ``variables`` numbers, (spectrum,), (spectrum, edge) or (spectrum, point, edge), for
    which the layout says the dimensions; ``coordinates`` as `xarray.Dataset` has them.
    """
    times = _times(scenario, second)
    sizes = {"spectrum": len(second), "point": len(layout.points_x), "edge": 2}
    data: dict[str, Any] = {k: (("spectrum", "pixel"), v) for k, v in spectra.items()}
    given = {"l_sub_s": mars.solar_longitude(times), "y_valid_flag": True, **variables}
    dims = {0: ("spectrum",), 1: ("spectrum", "edge"), 2: ("spectrum", "point", "edge")}
    for column in layout.columns:
        if column.variable in given and column.variable not in data:
            axes = dims[len(column.index)]
            values = np.asarray(given[column.variable])
            if values.ndim == 1:
                values = values.reshape(-1, *(1,) * (len(axes) - 1))
            elif 0 < values.ndim < len(axes):
                values = values[..., None, :]
            shape = tuple(sizes[axis] for axis in axes)
            data[column.variable] = axes, np.broadcast_to(values, shape).copy()
    bounds = times.astype("datetime64[ns]")
    ds = xr.Dataset({**data, "time_bounds": (dims[1], bounds)}, coordinates)
    middle = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2
    ds = ds.assign_coords(time=("spectrum", middle))
    for name, (origin, period) in _CENTRES.items():
        if origin in ds:
            edges = ds[origin].values
            centre = _middle(edges[:, 0] if edges.ndim == 3 else edges, period, name)
            ds = ds.assign_coords({name: ("spectrum", centre)})
    return ds.assign_attrs(
        title="NOMAD Experiment (SYNTHETIC)",
        instrument="NOMAD",
        channel=layout.channel,
        observation_type=observation,
        orbit=scenario.orbit,
    )


def _middle(edges: Array, period: float | None, name: str) -> Array:
    """Mean of start and end, the short way round where it is cyclic."""
    first, last = edges.T
    if period is None:
        return np.asarray(0.5 * (first + last))
    turn = np.mod(last - first + 0.5 * period, period) - 0.5 * period
    mean = first + 0.5 * turn
    return _turned(mean) if name == "longitude" else np.mod(mean, period)


def _turned(longitude: Array) -> Array:
    """Longitude within -180..180."""
    return np.mod(longitude + 180.0, 360.0) - 180.0
