"""Contents of small synthetic NOMAD products of every kind, for the writer."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from tgo_spectra.simulate.layout import BOOLEAN, LAYOUTS, TIME

# name: channel, observation type, other attributes, pixels, end of the file name
KINDS = {
    "so": ("so", "egress", {}, 320, "-a-e-134"),
    "so full scan": ("so", "ingress", {}, 320, "-a-i"),
    "so high": ("so", "ingress", {"altitude_part": "high"}, 320, "-h-i-134"),
    "so low": ("so", "ingress", {"altitude_part": "low"}, 320, "-l-i-134"),
    "lno occultation": ("lno", "ingress", {}, 320, "-i-134"),
    "lno nadir": ("lno", "dayside_nadir", {}, 320, "-d-134"),
    "lno passed": ("lno", "dayside_nadir", {"calibration_letter": "p"}, 320, "-dp-134"),
    "uvis": ("uvis", "egress", {}, 1024, "-e"),
    "uvis binned": ("uvis", "ingress", {}, 132, "-i"),
    "uvis nadir": ("uvis", "dayside_nadir", {}, 1024, "-d"),
}


def level1(kind: str = "so", n: int = 5, seed: int = 3, start: int = 0) -> xr.Dataset:
    """Return rows of a kind, rounded as they are printed."""
    channel, observation, attrs, pixels, _ = KINDS[kind]
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[channel, observation != "dayside_nadir"]
    points = len(layout.points_x)
    sizes = {0: (), 1: (2,), 2: (points, 2)}
    data: dict[str, object] = {}
    for column in layout.columns:
        if column.variable in data or column.data_type in (TIME, BOOLEAN):
            continue
        if column.variable in ("point_x", "point_y", "bin_top", "bin_height"):
            continue
        dims = ("spectrum", "point", "edge")
        tail = sizes[len(column.index)]
        dims = ("spectrum", *dims[3 - len(tail) :]) if tail else ("spectrum",)
        digits = int(re.search(r"\.(\d)", column.form + ".0")[1])
        values = rng.uniform(10, 90, (n, *tail)).round(min(digits, 4))
        data[column.variable] = (dims, values)
    begin = np.datetime64("2019-02-13T12:08:58.250", "ns") + np.timedelta64(start, "h")
    times = begin + (np.arange(n) * 300).astype("m8[ms]")
    stop = times + np.timedelta64(250, "ms")
    data["time_bounds"] = (("spectrum", "edge"), np.stack([times, stop], 1))
    data["y_valid_flag"] = ("spectrum", rng.random(n) > 0.3)
    axis = (2000 + 0.5 * np.arange(pixels)).round(3)
    axis_dims: tuple[str, ...] = ("pixel",)
    if channel != "uvis":
        data["order"] = 134
        data["aotf_frequency"] = 17859.0
        data["instrument_temperature"] = -3.2
        data["bin_start"] = ("spectrum", 120 + 4 * (np.arange(n) % 4))
        data["bin_end"] = ("spectrum", 123 + 4 * (np.arange(n) % 4))
    if kind == "so full scan":
        data["order"] = ("spectrum", 134 + np.arange(n))
        axis = axis + 22.0 * np.arange(n)[:, None]
        axis_dims = ("spectrum", "pixel")
    for group in layout.groups[1:]:
        values = rng.normal(0.5, 0.1, (n, pixels))
        if group.data_type == BOOLEAN:
            data[group.variable] = (("spectrum", "pixel"), values > 0.6)
        else:
            values[-1, 3] = np.nan
            data[group.variable] = (("spectrum", "pixel"), values)
    if layout.occultation:
        dims, altitude = data["tangent_altitude_areoid"]
        altitude = altitude + 100 * np.arange(n)[:, None, None]
        altitude[1, 1] = np.nan  # a corner below the horizon, the centre above
        data["tangent_altitude_areoid"] = (dims, altitude)
    return xr.Dataset(
        data,
        {layout.groups[0].variable: (axis_dims, axis)},
        {"channel": channel, "observation_type": observation, "orbit": 5000} | attrs,
    )
