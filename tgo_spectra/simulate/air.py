"""Air of a simulated truth along altitude, and straight paths through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.files import read_atmosphere
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.simulate.options import mole_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.simulate.scenario import Scenario

    Array = npt.NDArray[np.float64]

__all__ = ["air_of", "chord_weights", "mole_fractions_of"]

CM_PER_KM = 1e5
PATH_POINTS = 4


def air_of(
    scenario: Scenario,
    altitude_km: Array,
    place: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Air on levels, shape (level,), ascending in km, as a scenario has it.

    The reference is that of a place (solar longitude and latitude, degree), by default
    the scenario's: that which a fit of the product takes.
    """
    return _wrong(scenario, _given(scenario, altitude_km, place))


def _given(
    scenario: Scenario, altitude_km: Array, place: Mapping[str, float] | None
) -> xr.Dataset:
    if scenario.atmosphere is not None:
        return on_altitudes(read_atmosphere(scenario.atmosphere), altitude_km)
    there = place or scenario.place
    air = reference_atmosphere(
        altitude_km,
        solar_longitude=there.get("solar_longitude"),
        latitude=there.get("latitude"),
    )
    if not scenario.temperature_gradient_k_km:
        return air
    below = np.clip(40.0 - altitude_km, 0.0, 40.0)
    warmer = air["temperature"].values + scenario.temperature_gradient_k_km * below
    air = air.assign(temperature=air["temperature"].copy(data=warmer))
    # the density follows from pressure and temperature
    return read_atmosphere(air.drop_vars("number_density"))


def _wrong(scenario: Scenario, air: xr.Dataset) -> xr.Dataset:
    """Change pressure and temperature against what a fit is given."""
    turn = 2.0 * np.pi / scenario.temperature_wave_km
    change = scenario.temperature_offset_k + scenario.temperature_wave_k * np.sin(
        turn * air["altitude"].values
    )
    factor = scenario.pressure_factor
    if factor == 1.0 and not change.any():
        return air
    before = air["temperature"].values
    after = before + change
    changed = {
        "temperature": after,
        "pressure": air["pressure"].values * factor,
        "number_density": air["number_density"].values * factor * before / after,
    }
    return air.assign({k: air[k].copy(data=v) for k, v in changed.items()})


def chord_weights(radius_km: float, tangent_km: Array, altitude_km: Array) -> Array:
    """Weights (tangent, level) in cm of a quantity linear between levels, along chords.

    By Gauss-Legendre points between the shells; the fit's paths are a closed form.
    """
    a = radius_km + tangent_km[:, None]
    r = radius_km + altitude_km
    ends = np.sqrt(np.clip((r - a) * (r + a), 0.0, None))
    low, half = ends[:, :-1], 0.5 * np.diff(ends, axis=1)
    weights = np.zeros((a.size, r.size))
    for x, w in zip(*np.polynomial.legendre.leggauss(PATH_POINTS), strict=True):
        s = low + half * (1.0 + x)
        height = s**2 / (np.sqrt(s**2 + a**2) + a) + tangent_km[:, None]
        up = (height - altitude_km[:-1]) / np.diff(altitude_km)
        # both sides of the tangent point
        part = 2.0 * CM_PER_KM * w * half
        weights[:, 1:] += part * up
        weights[:, :-1] += part * (1.0 - up)
    return weights


def mole_fractions_of(
    scenario: Scenario, gases: Iterable[str], air: xr.Dataset
) -> dict[str, Array]:
    """Mole fractions (level,) by gas: asked for, else the air's, the reference's, 0."""
    z = air["altitude"].values
    reference = reference_atmosphere(z)
    found = {}
    for gas in gases:
        name = f"{gas}_vmr"
        if gas in scenario.mole_fractions:
            given = scenario.mole_fractions[gas]
            values = mole_fraction(gas, given, z, negative=scenario.negative)
        else:
            source = air if name in air else reference
            values = source[name].values if name in source else np.zeros(z.size)
        found[gas] = np.asarray(values, dtype=np.float64)
    return found
