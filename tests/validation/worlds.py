"""Worlds that differ from what a fit knows: one row each, all options of the simulator.

The names are those of the report. Each row has several truths, which differ in their
hidden shifts, brightness, phases and pixels, and in what `Row.vary` says.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Options = Mapping[str, Any]


def cycle(*several: Options) -> Callable[[int, np.random.Generator], Options]:
    """Take the options of the truths in turn."""
    return lambda truth, _: several[truth % len(several)]


def nothing(_truth, _rng):
    """All truths alike."""
    return {}


@dataclass(frozen=True)
class Row:
    """One world."""

    name: str
    part: str
    """Of the campaign."""
    options: Options = field(default_factory=dict)
    """Of the simulator."""
    vary: Callable[[int, np.random.Generator], Options] = nothing
    """More options, by number of the truth and at random."""
    order: int = 136
    ch4: float = 0.0
    """Of the truth, everywhere."""
    setup: str = ""
    """Default: that of the order."""
    changes: Options = field(default_factory=dict)
    """Of the setup."""
    knows_air: bool = True
    """Else the fit takes the reference atmosphere of the place."""
    copies: int = 1
    """Noise draws of each truth."""
    band: float = 0.0
    """Depth of the strongest line of `dipole_band` at 10 km."""


TABLE = "wrong-instrument"
ALIEN = {136: (3057.7, 3067.2, 3076.6), 134: (3016.5, 3018.2, 3028.8)}
"""Manifolds of methane, cm-1; in order 136 the three strongest."""
RANGES = ((-10.0, 150.0), (-10.0, 40.0), (-10.0, 20.0), (50.0, 150.0))
"""Heights at which an unknown line is, km."""
WET = ([0.0, 25.0, 33.0, 41.0, 49.0, 57.0, 67.0, 120.0],
       [3.6e-4, 3.6e-4, 1.32e-4, 4.9e-5, 1.8e-5, 6.6e-6, 2.1e-6, 2e-6])  # fmt: skip
"""Mole fraction of water by altitude (km): 2.4 times the a priori, to 60 km."""
EVERYTHING = {
    "resolution_factor": 1.03, "aotf_offset_cm1": 1.0, "aotf_width_factor": 1.05,
    "side_lobe_factor": 1.3, "ghost_ratio": 0.24, "drift_px": 0.6, "n_orders": 6,
    "error_factor": 1.33, "temperature_offset_k": 5.0,
}  # fmt: skip


def table(order=136, **rows):
    """Rows of one order, by name and what differs."""
    return [
        Row(f"order {order}, {name}", TABLE, order=order, **(
            {"vary": options} if callable(options) else {"options": options}
        ))
        for name, options in rows.items()
    ]  # fmt: skip


def fringe(amplitude, *periods, top_km=None):
    """Fringes of several periods, pixels."""
    same = {"fringe_amplitude": amplitude, "fringe_top_km": top_km}
    return cycle(*({**same, "fringe_period_px": period} for period in periods))


def alien(line_cm1, depth, ranges=RANGES, offset=0.0):
    """Give one unknown line at several ranges of heights."""
    line = {"alien_line_cm1": line_cm1 + offset, "alien_line_depth": depth}
    return cycle(*({**line, "alien_line_range_km": heights} for heights in ranges))


CENTRAL = [
    *table(**{
        "right": {},
        "dust to 60 km": {"aerosol_scale_km": 18.0, "aerosol_depth": 4.0},
        "water 360 ppmv": {"vmr": {"h2o": WET}},
        "shift of 9 pixels": {"shift_px": 9.0},
        "two bins": {"n_bins": 2, "bin_shift_px": (0.0, 0.03), "noisy_pixels": ()},
        "resolution 0.97": {"resolution_factor": 0.97},
        "resolution 1.03": {"resolution_factor": 1.03},
        "AOTF centre +1 cm-1": {"aotf_offset_cm1": 1.0},
        "AOTF centre -1 cm-1": {"aotf_offset_cm1": -1.0},
        "AOTF 5 % wider, side lobes +30 %": {
            "aotf_width_factor": 1.05, "side_lobe_factor": 1.3,
        },
        "AOTF 3 % narrower, side lobes -30 %": {
            "aotf_width_factor": 0.97, "side_lobe_factor": 0.7,
        },
        "pedestal 1.5": {"pedestal_factor": 1.5},
        "ghost 0.20": {"ghost_ratio": 0.20},
        "ghost 0.30": {"ghost_ratio": 0.30},
        "drift 0.6 pixel": {"drift_px": 0.6},
        "drift -0.9 pixel": {"drift_px": -0.9},
        "light of 5 orders, 10 in the fit": {"n_orders": 5},
        "light of 6 orders, 10 in the fit": {"n_orders": 6},
        "temperature +5 K": {"temperature_offset_k": 5.0},
        "temperature -5 K": {"temperature_offset_k": -5.0},
        "temperature -20 K": {"temperature_offset_k": -20.0},
        "temperature wave of 8 K": cycle(
            {"temperature_wave_k": 8.0, "temperature_wave_km": 10.0},
            {"temperature_wave_k": 8.0, "temperature_wave_km": 20.0},
            {"temperature_wave_k": -8.0, "temperature_wave_km": 35.0},
        ),
        "pressure +5 %": {"pressure_factor": 1.05},
        "pressure +20 %": {"pressure_factor": 1.20},
        "fringe 0.1 %, 40 pixel": fringe(1e-3, 40.0),
        "fringe 0.1 %, 40 pixel, below 60 km": fringe(1e-3, 40.0, top_km=60.0),
        "fringe 0.05 %, 13 to 75 pixel, below 60 km": fringe(
            5e-4, 20.0, 33.0, 60.0, 27.0, 13.0, 45.0, 16.0, 75.0, top_km=60.0
        ),
        "fringe 0.02 %, 25 and 45 pixel": fringe(2e-4, 45.0, 25.0),
        "zero level 1 %": {"zero_level": 0.01},
        "zero level 3 %": {"zero_level": 0.03},
        "stray light 3 %": {"stray_light": 0.03},
        "spikes of 10 sigma, 1 %": {"spike_fraction": 0.01},
        "spikes of 30 sigma, 0.1 %": {"spike_fraction": 1e-3, "spike_sigma": 30.0},
        "8 % of pixels off by 3e-4": {"odd_pixels": 0.08, "odd_pixel_offset": 3e-4},
        "8 % of pixels off by 1e-3": {"odd_pixels": 0.08, "odd_pixel_offset": 1e-3},
        "8 % of pixels off by 3e-3": {"odd_pixels": 0.08, "odd_pixel_offset": 3e-3},
        "8 % of pixels 0.2 % brighter": {"odd_pixels": 0.08, "odd_pixel_gain": 2e-3},
        "everything": EVERYTHING,
    }),
    *table(134, **{
        "right": {},
        "resolution 0.97": {"resolution_factor": 0.97},
        "AOTF centre +1 cm-1": {"aotf_offset_cm1": 1.0},
        "AOTF 5 % wider, side lobes +30 %": {
            "aotf_width_factor": 1.05, "side_lobe_factor": 1.3,
        },
        "ghost 0.20": {"ghost_ratio": 0.20},
        "drift 0.6 pixel": {"drift_px": 0.6},
        "light of 5 orders, 10 in the fit": {"n_orders": 5},
        "temperature -20 K": {"temperature_offset_k": -20.0},
        "pressure +20 %": {"pressure_factor": 1.20},
        "fringe 0.1 %, 40 pixel": fringe(1e-3, 40.0),
        "fringe 0.05 %, 13 to 75 pixel, below 60 km": fringe(
            5e-4, 20.0, 33.0, 60.0, 27.0, 13.0, 45.0, 16.0, 75.0, top_km=60.0
        ),
        "zero level 3 %": {"zero_level": 0.03},
        "8 % of pixels off by 1e-3": {"odd_pixels": 0.08, "odd_pixel_offset": 1e-3},
        "everything": {**EVERYTHING, "drift_px": -0.6, "aotf_offset_cm1": -1.0},
    }),
    Row("order 134, ethane of 2 ppbv, which is not fitted", TABLE, order=134,
        options={"table": "so_134_hydrocarbons", "n_orders": None,
                 "vmr": {"c2h6": 2e-9}},
        changes={"instrument.n_orders": 4}),
]  # fmt: skip

UNKNOWN_LINES = [
    Row(f"order {order}, line of {100 * depth:g} % at {line:g} cm-1", TABLE,
        order=order, vary=alien(line, depth))
    for order, lines in ALIEN.items()
    for line, depth in itertools.product(lines, (5e-4, 1e-3, 2e-3, 3e-3))
] + [
    Row("order 136, line of 0.2 % where no methane is", TABLE,
        vary=alien(3072.0, 2e-3)),
    Row("order 136, line of 0.1 % 2.5 pixels beside 3067.2 cm-1", TABLE,
        vary=alien(3067.2, 1e-3, offset=0.2)),
    Row("order 136, line of 0.1 % at 3067.2 cm-1, layers", TABLE,
        vary=alien(3067.2, 1e-3, ((5.0, 15.0), (15.0, 30.0), (25.0, 45.0),
                                  (40.0, 60.0), (58.0, 85.0), (10.0, 12.0)))),
]  # fmt: skip


def dipole_band(wavenumber_cm1):
    """Depths, at most about 1, of a band as regular as the magnetic-dipole one of CO2.

    Even rotational states of a linear molecule at 200 K about 3004 cm-1, as wide as the
    line shape of order 134: where the lines are is roughly right (the constants of CO2,
    the upper one inferred), how strong they are beside each other is a guess.
    """
    j, lower, upper, origin = np.arange(0, 70, 2), 0.39022, 0.38785, 3004.01  # cm-1
    many = np.exp(-1.4388 * lower * j * (j + 1) / 200.0)
    bend, width = upper - lower, 0.17 / 2.355
    at = origin + np.concatenate([
        (upper + lower) * (j + 1) + bend * (j + 1) ** 2,
        -(upper + lower) * j + bend * j**2,
        bend * j * (j + 1),
    ])  # fmt: skip
    strength = np.concatenate([(j + 1) * many, j * many, (2 * j + 1) * many])
    away = (np.asarray(wavenumber_cm1)[..., None] - at) / width
    return np.exp(-0.5 * away**2) @ (strength / strength[: j.size].max())


def with_band(level1, depth):
    """Return spectra with a dipole band whose depth falls with the air above 10 km."""
    rows = level1["transmittance"].shape[0]
    heights = level1["tangent_altitude_areoid"].values.reshape(rows, -1)
    high = np.nan_to_num(np.nanmean(heights, axis=1))
    deep = depth * np.exp(-np.clip(high - 10.0, 0.0, None) / 10.0)
    left = 1.0 - deep[:, None] * dipole_band(np.atleast_2d(level1["wavenumber"]))
    spectra = level1["transmittance"]
    return level1.assign(transmittance=(spectra * left).astype(spectra.dtype))


DIPOLE = [
    Row(f"order 134, dipole band of {100 * depth:g} %", TABLE, order=134, band=depth)
    for depth in (5e-4, 1.6e-3, 5e-3, 1.6e-2)
]

METHANE = [
    Row(f"order {order}, methane of {1e9 * ch4:g} ppbv{text}", TABLE, order=order,
        ch4=ch4, options=options)
    for order in (136, 134)
    for ch4, text, options in (
        (1e-10, "", {}), (3e-10, "", {}), (1e-9, "", {}),
        (3e-10, ", stray light 3 %", {"stray_light": 0.03}),
        (3e-10, ", pressure +20 %", {"pressure_factor": 1.20}),
        (1e-10, ", everything", EVERYTHING),
    )
]  # fmt: skip

NOISE = [
    Row(f"order {order}, {name}", "noise", options, order=order)
    for order in (136, 134)
    for name, options in (
        ("pixels correlated by 0.2", {"noise_pixel_correlation": 0.2}),
        ("pixels correlated by 0.5", {"noise_pixel_correlation": 0.5}),
        ("rows correlated by 0.3", {"noise_row_correlation": 0.3}),
        ("rows correlated by 0.7", {"noise_row_correlation": 0.7}),
        ("fixed pattern of 0.5 sigma", {"fixed_pattern": 0.5}),
        ("error column x 0.5", {"error_factor": 0.5}),
        ("error column x 0.75", {"error_factor": 0.75}),
        ("error column x 1.33", {"error_factor": 1.33}),
    )
]

WHITE = [
    Row(f"order {order}", "white-noise", order=order, copies=10) for order in (136, 134)
]


def places(truth, rng):
    """Season, latitude and an air that is off the reference by what that states."""
    # latitudes and seasons evenly, in an order that is neither's
    later = np.timedelta64((truth * 253) % 687, "D")
    return {
        "start": str(np.datetime64("2018-06-14T03:00:00") + later),
        "latitude": float(75.0 * np.sin(2.4 * truth)),
        "temperature_offset_k": rng.normal(0.0, 6.0),
        "temperature_wave_k": rng.normal(0.0, 8.0),
        "temperature_wave_km": rng.uniform(12.0, 50.0),
        "pressure_factor": float(np.exp(rng.normal(0.0, 0.1))),
        "aerosol_depth": rng.uniform(0.3, 2.5),
    }


def other_water(truth, rng):
    """`places`, with water that is not as in the a priori: by factors, and a layer."""
    z = np.arange(0.0, 121.0, 4.0)
    found, factor, high = places(truth, rng), rng.normal(0.0, 0.8), rng.normal(0.0, 6.0)
    water = 2e-6 + 1.48e-4 * np.exp(-np.maximum(z - 25.0 - high, 0.0) / 8.0)
    water *= np.exp(factor) * (1.0 + rng.uniform(0.0, 4.0) * layer_at(z, rng))
    return found | {"vmr": {"h2o": (z.tolist(), water.clip(1e-7, 2e-3).tolist())}}


def other_monoxide(truth, rng):
    """`other_water`, with carbon monoxide that grows upwards, and a layer."""
    found = other_water(truth, rng)
    z = np.arange(0.0, 121.0, 4.0)
    there = 7e-4 * np.exp(rng.normal(0.0, 0.3) + np.maximum(z - 60.0, 0.0) / 40.0)
    there *= 1.0 + rng.uniform(0.0, 1.0) * layer_at(z, rng)
    return found | {"vmr": found["vmr"] | {"co": (z.tolist(), there.tolist())}}


def layer_at(z, rng):
    """Return a layer of some height and depth, one in its middle."""
    middle, depth = rng.uniform(15.0, 80.0), rng.uniform(4.0, 12.0)
    return np.exp(-0.5 * ((z - middle) / depth) ** 2)


REFERENCE = [
    Row(name, "reference-atmosphere", order=order, vary=vary, knows_air=False,
        setup=setup)
    for name, order, setup, vary in (
        ("order 134", 134, "", places),
        ("order 136", 136, "", places),
        ("order 190", 190, "so_186_191", places),
        ("order 134, other water", 134, "", other_water),
        ("order 136, other water", 136, "", other_water),
        ("order 190, other gases", 190, "so_186_191", other_monoxide),
    )
]  # fmt: skip


def mixed(truth, rng):
    """Everything at once, each by what is published of it, 1 sigma."""

    def some(chance, **options):
        return options if rng.random() < chance else {}

    line = rng.choice(ALIEN[136])
    return {
        "resolution_factor": rng.normal(1.0, 0.03),
        "aotf_offset_cm1": rng.normal(),
        "aotf_width_factor": rng.normal(1.0, 0.03),
        "side_lobe_factor": max(rng.normal(1.0, 0.3), 0.1),
        "pedestal_factor": max(rng.normal(1.0, 0.3), 0.1),
        "ghost_ratio": rng.normal(0.272, 0.03),
        "drift_px": rng.normal(0.0, 0.5),
        "n_orders": int(rng.integers(5, 9)),
        "temperature_offset_k": rng.normal(0.0, 3.5),
        "temperature_wave_k": rng.normal(0.0, 5.0),
        "temperature_wave_km": rng.uniform(10.0, 40.0),
        "pressure_factor": rng.normal(1.0, 0.05),
        "zero_level": rng.normal(0.0, 0.01),
        "error_factor": float(np.exp(rng.normal(0.0, 0.25))),
        "noise_pixel_correlation": rng.uniform(0.0, 0.4),
        "noise_row_correlation": rng.uniform(0.0, 0.3),
        "aerosol_depth": rng.uniform(0.3, 2.0),
        "fringe_amplitude": abs(rng.normal(0.0, 2e-4)),
        "fringe_period_px": rng.uniform(13.0, 90.0),
        "fringe_top_km": 60.0 if truth % 2 else None,
        **some(0.2, odd_pixels=0.05, odd_pixel_offset=3e-4),
        **some(0.2, spike_fraction=2e-3),
        **some(0.2, alien_line_cm1=float(line),
               alien_line_depth=rng.uniform(5e-4, 3e-3),
               alien_line_range_km=RANGES[truth % len(RANGES)]),
        **some(0.2, stray_light=0.01),
    }  # fmt: skip


MIXED = [Row("order 136", "everything-mixed", vary=mixed)]

ROWS = {
    (row.part, row.name): row
    for row in (
        *WHITE,
        *MIXED,
        *REFERENCE,
        *NOISE,
        *CENTRAL,
        *UNKNOWN_LINES,
        *DIPOLE,
        *METHANE,
    )
}
