"""Air of a simulated truth: pressure, temperature and mole fractions along altitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.profile import on_altitudes, read_atmosphere
from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.simulate.options import mole_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.simulate.scenario import Scenario

    Array = npt.NDArray[np.float64]

__all__ = ["air_of", "mole_fractions_of"]


def air_of(
    scenario: Scenario,
    altitude_km: Array,
    place: Mapping[str, float] | None = None,
) -> xr.Dataset:
    """Air on levels, shape (level,), ascending in km, as a scenario has it.

    The reference is that of a place (solar longitude and latitude, degree), by default
    the scenario's: that which a fit of the product takes.
    """
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
