"""What a detector makes of clean spectra: what disturbs them, and noise of any kind.

Nothing here is known to a fit. What is fixed in the instrument (pattern, pixels, phase
of fringes) has a seed of its own, so that noise can be drawn again without it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.simulate.scenario import Scenario

    Array = npt.NDArray[np.float64]
    Groups = npt.NDArray[np.int64]

__all__ = ["Signal", "Simulation", "disturbed", "noisy", "redraw"]

_PIXELS, _FRINGE, _PATTERN, _SPIKES = range(1, 5)
"""Streams of random numbers, apart from that of the noise."""


@dataclass(frozen=True)
class Signal:
    """Spectra before noise, all (row, pixel).

    ``expected`` is what would be measured without noise, ``sigma`` the noise's standard
    deviation, ``excess`` a factor on it where pixels are noisier than that; ``group``
    (row,) tells the rows of one part of the detector, in the order of time;
    ``variables`` makes the measured variables of level 1 from the spectra.
    """

    expected: Array
    sigma: Array
    group: Groups
    variables: Callable[[Array], dict[str, Array]]
    excess: Array | float = 1.0


@dataclass(frozen=True)
class Simulation:
    """A simulated measurement: level 1 and the truth, both in table order."""

    level1: xr.Dataset
    truth: xr.Dataset
    scenario: Scenario
    signal: Signal
    window: tuple[np.datetime64, np.datetime64] | None = None


def redraw(made: Simulation, seed: int) -> xr.Dataset:
    """Draw the noise again, see `tgo_spectra.simulate.redraw`."""
    scenario = dataclasses.replace(made.scenario, seed=seed)
    white = np.random.default_rng(seed).standard_normal(made.signal.expected.shape)
    found = made.signal.variables(noisy(scenario, made.signal, white))
    new = {name: made.level1[name].copy(data=value) for name, value in found.items()}
    return made.level1.assign(new)


def disturbed(
    scenario: Scenario,
    clean: Array,
    sigma: Array,
    axis_cm1: Array,
    altitude_km: Array,
    group: Groups,
    *,
    part: int | None = None,
) -> Array:
    """Spectra (row, pixel) with all that disturbs them but noise.

    ``axis_cm1`` (row, pixel) or (pixel,) are true wavenumbers, ``altitude_km`` (row,).
    A ``part`` of the detector has fixed patterns of its own.
    """
    if scenario.alien_line_cm1 is not None:
        clean = clean * _alien_line(scenario, axis_cm1, altitude_km, part)
    if scenario.fringe_amplitude:
        clean = clean * _fringes(scenario, clean.shape[1], altitude_km)
    if scenario.stray_light:
        mean = np.nanmean(clean, axis=1, keepdims=True)
        clean = clean + scenario.stray_light * (mean - clean)
    if scenario.odd_pixels:
        factor, offset = _odd_pixels(scenario, clean.shape[1], group, part)
        clean = clean * factor + offset
    if scenario.zero_level:
        clean = clean + scenario.zero_level
    if scenario.fixed_pattern:
        rng = _fixed(scenario, _PATTERN, part)
        pattern = rng.standard_normal((group.max() + 1, clean.shape[1]))
        clean = clean + scenario.fixed_pattern * sigma * pattern[group]
    return clean


def noisy(scenario: Scenario, signal: Signal, white: Array) -> Array:
    """Measured spectra from white noise (row, pixel) of variance one."""
    if not scenario.noise:
        return signal.expected
    noise = _along(white, scenario.noise_pixel_correlation)
    if scenario.noise_row_correlation:
        noise = noise.copy()
        for one in np.unique(signal.group):
            rows = signal.group == one
            noise[rows] = _along(noise[rows].T, scenario.noise_row_correlation).T
    result = signal.expected + signal.sigma * (noise * signal.excess)
    if scenario.spike_fraction:
        rng = np.random.default_rng([scenario.seed, _SPIKES])
        hit = rng.random(white.shape) < scenario.spike_fraction
        sign = rng.choice([-1.0, 1.0], white.shape)
        result = result + scenario.spike_sigma * signal.sigma * hit * sign
    return np.asarray(result)


def _along(white: Array, correlation: float) -> Array:
    """Noise along the second axis: each value remembers the one before it, AR(1)."""
    if not correlation:
        return white
    result = np.array(white)
    fresh = np.sqrt(1.0 - correlation**2)
    for k in range(1, white.shape[1]):
        result[:, k] = correlation * result[:, k - 1] + fresh * white[:, k]
    return result


def _fixed(scenario: Scenario, stream: int, part: int | None) -> np.random.Generator:
    seed = scenario.seed if scenario.fixed_seed is None else scenario.fixed_seed
    return np.random.default_rng([seed, stream, 0 if part is None else part + 1])


def _alien_line(
    scenario: Scenario, axis_cm1: Array, altitude_km: Array, part: int | None
) -> Array:
    """Transmittance (row, pixel) of one line, a Gaussian along pixels."""
    rows = np.atleast_2d(axis_cm1)
    pixel = np.arange(rows.shape[1], dtype=float)
    line: Any = scenario.alien_line_cm1
    centre = np.array([
        np.interp(line, row[order], pixel[order], left=np.inf, right=np.inf)
        for row, order in zip(rows, np.argsort(rows, axis=1), strict=True)
    ])  # fmt: skip
    if part is None and not np.isfinite(centre).all():
        message = (
            f"option alien_line_cm1 must lie within the spectra, "
            f"{rows.min():.1f}..{rows.max():.1f} cm-1"
        )
        raise SetupError(
            message, field="alien_line_cm1", value=line, rule="simulate.option"
        )
    away = (pixel - centre[:, None]) / scenario.alien_line_width_px
    low, high = scenario.alien_line_range_km
    there = (altitude_km >= low) & (altitude_km <= high)
    depth = scenario.alien_line_depth * there[:, None]
    return np.asarray(1.0 - depth * np.exp(-0.5 * away**2))


def _fringes(scenario: Scenario, pixels: int, altitude_km: Array) -> Array:
    """Factor (row, pixel) of one fringe that all rows share."""
    phase = 2.0 * np.pi * _fixed(scenario, _FRINGE, None).random()
    wave = np.cos(2.0 * np.pi * np.arange(pixels) / scenario.fringe_period_px + phase)
    size = np.full(altitude_km.size, scenario.fringe_amplitude)
    if scenario.fringe_top_km is not None:
        size *= np.clip(1.0 - altitude_km / scenario.fringe_top_km, 0.0, 1.0)
    return np.asarray(1.0 + size[:, None] * wave)


def _odd_pixels(
    scenario: Scenario, pixels: int, group: Groups, part: int | None
) -> tuple[Array, Array]:
    """Factor and offset (row, pixel) of pixels that are always wrong."""
    rng = _fixed(scenario, _PIXELS, part)
    shape = (int(group.max()) + 1, pixels)
    odd = rng.random(shape) < scenario.odd_pixels
    sign = rng.choice([-1.0, 1.0], shape)
    gain = 1.0 + scenario.odd_pixel_gain * odd * rng.choice([-1.0, 1.0], shape)
    return gain[group], (scenario.odd_pixel_offset * odd * sign)[group]
