"""One product's scene: the a priori in hydrostatic balance on the line of sight."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.forward.sight import AirState, Sight, hydrostatic_log_ratio, make_sight
from tgo_spectra.forward.temperature_fields import stacked_vectors
from tgo_spectra.mars import BOLTZMANN
from tgo_spectra.retrieval.given import prior_profile
from tgo_spectra.retrieval.models.so.scene import Scene, height_grid, make_scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.measurement import Prepared
    from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup
    from tgo_spectra.retrieval.state import State
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.float64]

__all__ = [
    "LOG_PRESSURE",
    "TEMPERATURE",
    "TemperatureScene",
    "make_temperature_scene",
    "molar_mass",
]

TEMPERATURE = "temperature"
"""Block of the temperature's departure from the a priori, K."""

LOG_PRESSURE = "log_pressure_scale"
"""Block of ln(pressure at the reference altitude over the a priori)."""

JACOBIAN_STEPS_KM = ((np.inf, 1.5),)
"""Spacing of the fields that the derivatives are made of, in single precision: at 2.25
km errors near the top change by 3 % of themselves."""

CRUMBS = 1e-3
"""Weights of heights, relative to a row's largest, with which levels do not count."""

CO2_MOLAR_MASS = 44.0095
"""g mol-1, terrestrial isotopes (IUPAC atomic masses of C and O)."""

REST_MOLAR_MASS = 33.0
"""g mol-1 of what is not CO2: N2 and Ar in nearly equal parts by volume, some O2 and CO
(to be verified; with 28 and 40 g mol-1 for N2 and Ar the limits are 32 and 34.5)."""


@dataclass(frozen=True)
class TemperatureScene:
    """What the fit needs beside the measurement.

    Attributes
    ----------
    setup : TemperatureSetup
    gas : Scene
        The scene of a gas fit in the a priori atmosphere: rows, operators, and what
        the registration looks at.
    sight : Sight
        Line of sight with hydrostatic balance; its state zero is the a priori.
    vectors : array, shape (node, vector)
        Cross-section vectors of all gases.
    vmr : dict of array, shape (level,)
        A priori mole fractions; those that are not fitted keep them.
    reference_km : float
        Altitude whose pressure is fitted.
    """

    setup: TemperatureSetup
    gas: Scene
    sight: Sight
    vectors: npt.NDArray[np.floating]
    vmr: Mapping[str, Array]
    reference_km: float

    @property
    def prepared(self) -> Prepared:
        """Rows and pixels."""
        return self.gas.prepared

    @property
    def altitude_km(self) -> Array:
        """Levels of the profiles."""
        return self.sight.altitude_km

    @property
    def level_points(self) -> npt.NDArray[np.intp]:
        """Index of each level among the quadrature points."""
        distance = np.abs(self.sight.points_km[:, None] - self.altitude_km)
        return np.asarray(distance.argmin(axis=0))

    @functools.cached_property
    def hidden(self) -> npt.NDArray[np.bool_]:
        """Elements of the profiles and the pressure that rows cannot see.

        Levels below the line of sight, (row, element); of the temperature only those
        below the reference altitude too, from which pressures follow. The spline
        through the heights leaves crumbs there, which fall fourfold with each height.
        """
        z, rows = self.altitude_km, np.abs(self.gas.rows)
        least = CRUMBS if self.vectors.dtype == np.float32 else 0.0
        first = (rows > least * rows.max(axis=1, keepdims=True)).argmax(axis=1)
        above = z + np.diff(z).max()
        below = above < self.sight.height_km[first][:, None]
        seen_by_all = np.zeros((len(below), 1), dtype=bool)
        parts = [below & (above < self.reference_km), *[below] * len(self.setup.fitted)]
        return np.concatenate([*parts, seen_by_all], axis=1)

    def air(self, state: State) -> AirState:
        """Air at a state of the fit; a gas that is not fitted keeps its profile."""
        vmr = {
            name: np.asarray(state.get(name, fixed), np.float64)
            for name, fixed in self.vmr.items()
        }
        offset = np.asarray(state[TEMPERATURE], np.float64)
        return AirState(vmr, offset, float(np.exp(state[LOG_PRESSURE][0])))


def molar_mass(co2: npt.ArrayLike) -> Array:
    """Molar mass of Martian air from its mole fraction of CO2.

    Parameters
    ----------
    co2 : array_like
        Mole fraction.

    Returns
    -------
    ndarray
        g mol-1.

    Examples
    --------
    >>> molar_mass([0.955, 0.9]).round(2)
    array([43.51, 42.91])
    """
    x = np.asarray(co2, dtype=np.float64)
    return np.asarray(CO2_MOLAR_MASS * x + REST_MOLAR_MASS * (1.0 - x))


def make_temperature_scene(
    prepared: Prepared,
    setup: TemperatureSetup,
    band: BandTable,
    atmosphere: xr.Dataset,
    planet_radius_km: float,
    *,
    dtype: type[np.floating] = np.float32,
) -> TemperatureScene:
    """Assemble the scene of one product.

    The a priori has the temperatures and mole fractions of the atmosphere at the
    levels, linear in between; its pressures follow from hydrostatic balance and the
    atmosphere's pressure at the reference altitude.

    Parameters
    ----------
    prepared : Prepared
        Rows and pixels.
    setup : TemperatureSetup
        Choices.
    band : BandTable
        Absorption table with the gases of the setup.
    atmosphere : Dataset
        From `tgo_spectra.read_atmosphere`.
    planet_radius_km : float
        Local radius of the areoid.
    dtype : type
        Of the spectral arrays.

    Returns
    -------
    TemperatureScene

    Raises
    ------
    RetrievalError
        No row looks near the reference altitude.
    TableError
        The table lacks a gas or does not cover pressures, temperatures, wavenumbers.
    AtmosphereError
        The atmosphere ends too far above the lowest row.
    """
    _check_reference(prepared, setup)
    like_gas = setup.as_profile_setup()
    heights = np.asarray(height_grid(prepared, setup.grid.height_step_km), np.float64)
    step = setup.grid.step_km
    bottom = np.floor(prepared.altitude_km.min() / step) * step
    altitude = np.arange(bottom, setup.grid.top_km + 0.5 * step, step)
    points = np.asarray(forward.quadrature_altitudes(altitude, heights), np.float64)
    raw = atmospheres.on_altitudes(atmosphere, points)
    levels = atmospheres.on_altitudes(atmosphere, altitude)
    hats = forward.hat_matrix(altitude, points)
    given = raw["temperature"].values
    within = (points >= altitude[0]) & (points <= altitude[-1])
    # linear between the levels, so that the result is what its levels say
    t = np.where(within, hats @ levels["temperature"].values, given)
    co2 = hats @ np.asarray(prior_profile("co2", like_gas, levels), np.float64)
    mass = setup.composition.molar_mass_g_mol
    masses = molar_mass(co2) if mass is None else np.full(points.size, mass)
    anchor = int(np.abs(points - setup.pressure.reference_km).argmin())
    ratio = hydrostatic_log_ratio(
        points,
        t,
        planet_radius_km=planet_radius_km,
        anchor=anchor,
        molar_mass_g_mol=masses,
    )
    pressure = raw["pressure"].values[anchor] * np.exp(ratio)
    density = 1e-6 * pressure / (BOLTZMANN * t)
    air = raw.assign(
        pressure=("altitude", pressure),
        temperature=("altitude", t),
        number_density=("altitude", density),
    )
    gas = make_scene(
        prepared,
        like_gas,
        band,
        air,
        planet_radius_km,
        steps_km=JACOBIAN_STEPS_KM if dtype == np.float32 else None,
        dtype=dtype,
    )
    sight = make_sight(
        band,
        altitude_km=altitude,
        height_km=heights,
        points_km=points,
        pressure_pa=pressure,
        temperature_k=t,
        number_density_cm3=density,
        planet_radius_km=planet_radius_km,
        balance="hydrostatic",
        anchor_km=float(points[anchor]),
        molar_mass_g_mol=masses,
    )
    vectors = stacked_vectors(sight, setup.gases, dtype)
    vmr = {g: np.asarray(gas.prior_vmr[g], np.float64) for g in setup.gases}
    return TemperatureScene(setup, gas, sight, vectors, vmr, float(points[anchor]))


def _check_reference(prepared: Prepared, setup: TemperatureSetup) -> None:
    """Refuse a reference altitude that no row looks at."""
    low, high = float(prepared.altitude_km.min()), float(prepared.altitude_km.max())
    wanted = setup.pressure.reference_km
    if not low <= wanted <= high:
        message = (
            f"no spectrum looks at the reference altitude: usable ones are at "
            f"{low:.1f} to {high:.1f} km; choose another pressure.reference_km"
        )
        raise RetrievalError(
            message, field="pressure.reference_km", value=wanted, rule="fit.reference"
        )
