"""Simulated LNO nadir observations, written as archive products with their truth.

A path of its own, finer than the fit's: rays through levels 0.1 km apart on a sphere
instead of layers, an atmosphere in hydrostatic balance with a temperature gradient,
ten orders on both sides, topography under the ground track, and dust that dims and
tilts the continuum. Light that the dust scatters is left out; light of orders beyond
the table is taken as unabsorbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import mars
from tgo_spectra.atmosphere.files import read_atmosphere
from tgo_spectra.errors import SetupError
from tgo_spectra.instruments import lno
from tgo_spectra.simulate.air import air_of, mole_fractions_of
from tgo_spectra.simulate.detector import Signal, Simulation, disturbed, noisy
from tgo_spectra.simulate.layout import INFRARED_PIXELS, LAYOUTS
from tgo_spectra.simulate.options import make_scenario
from tgo_spectra.simulate.pointing import nomad_level1
from tgo_spectra.simulate.product import write_simulated
from tgo_spectra.simulate.response import lno_response, moments
from tgo_spectra.simulate.scenario import NadirScenario
from tgo_spectra.spectroscopy.tables.files import open_table, table_gases
from tgo_spectra.spectroscopy.tables.read import spline_matrices, table_arrays

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.float64]

__all__ = ["NadirScenario", "simulate_nadir_level1", "simulate_nadir_product"]

_STEP_KM, _TOP_KM = 0.1, 120.0
_MARGIN_CM1 = 6.0
"""Room for the line shape beyond the outermost pixels: 10 sigma at R = 3000."""


def simulate_nadir_product(
    out_dir: str | Path, *, overwrite: bool = False, **options: Any
) -> Path:
    """Simulate an LNO nadir observation and write it as an archive product.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    overwrite : bool
        Replace a product of the same name; by default that is refused.
    **options
        Fields of `NadirScenario`.

    Returns
    -------
    Path
        Label; the truth is beside it, ``<name>.truth.nc``.

    Raises
    ------
    SetupError
        An option makes no product.

    Examples
    --------
    >>> import tempfile
    >>> path = simulate_nadir_product(tempfile.mkdtemp(), n_spectra=2)
    >>> path.name
    'nmd_cal_sc_lno_20190213T120858-20190213T120928-d-190.xml'
    """
    level1, truth = simulate_nadir_level1(**options)
    return write_simulated(out_dir, level1, truth, overwrite=overwrite)


def simulate_nadir_level1(**options: Any) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate an LNO nadir observation in memory.

    Parameters
    ----------
    **options
        Fields of `NadirScenario`.

    Returns
    -------
    level1 : Dataset
        As `open_product` gives it, before rounding to the table's digits.
    truth : Dataset
        Columns, profiles over altitude, reflectance factors without noise.

    Raises
    ------
    SetupError
        An option makes no product.

    Examples
    --------
    >>> level1, truth = simulate_nadir_level1(order=168, n_spectra=2)
    >>> level1.reflectance_factor.dims, sorted(truth.sizes)
    (('spectrum', 'pixel'), ['altitude', 'pixel', 'spectrum'])
    """
    made = _simulate(make_scenario(NadirScenario, options))
    return made.level1, made.truth


def _simulate(scenario: NadirScenario) -> Simulation:
    name = scenario.table or ("so_186_191" if scenario.order >= 186 else "so_164_170")
    dataset = open_table(name)
    gases = table_gases(dataset)
    band = table_arrays(dataset, gases)
    air = _air(scenario, gases)
    nominal = lno.pixel_wavenumber(
        scenario.order, np.arange(INFRARED_PIXELS), scenario.temperature_c
    )
    along = (np.arange(scenario.n_spectra) + 0.5) / scenario.n_spectra
    surface = scenario.topography_km[0] + scenario.topography_km[1] * np.sin(
        2.0 * np.pi * along
    )
    incidence = np.interp(along, [0.0, 1.0], scenario.incidence_deg)
    emission = np.interp(along, [0.0, 1.0], scenario.emission_deg)
    rng = np.random.default_rng(scenario.seed)
    factors = _factors(scenario, gases, rng)
    secants = 1.0 / np.cos(np.radians(np.stack([incidence, emission], axis=1)))
    depths, columns, dry, mass = _optical_depths(
        band, gases, air, surface, secants, factors
    )
    axis = lno.pixel_wavenumber(
        scenario.order,
        np.arange(INFRARED_PIXELS) + scenario.shift_px,
        scenario.temperature_c,
    )
    seen = _seen(scenario, band, axis, np.exp(-depths))
    continuum = _continuum(scenario, nominal, mass)
    clean = continuum * seen
    sigma = np.median(clean, axis=1, keepdims=True) / scenario.snr
    group = np.zeros(scenario.n_spectra, dtype=np.int64)
    spread = np.broadcast_to(sigma, clean.shape)
    expected = disturbed(scenario, clean, spread, axis, surface, group)
    flat = continuum / continuum.mean(axis=1, keepdims=True)

    def variables(measured: Array) -> dict[str, Array]:
        corrected = measured / flat
        return {
            "reflectance_factor": measured,
            "reflectance_factor_corrected": corrected,
        }

    signal = Signal(expected, spread, group, variables)
    measured = noisy(scenario, signal, rng.standard_normal(clean.shape))
    spectra = variables(measured)
    level1 = _level1(scenario, nominal, spectra, incidence, emission, surface)
    truth = _truth(scenario, air, gases, columns, dry, surface, clean, mass)
    truth["noise"] = ("spectrum", sigma[:, 0], {"units": "1"})
    return Simulation(level1, truth, scenario, signal)


def _air(scenario: NadirScenario, gases: tuple[str, ...]) -> xr.Dataset:
    """Hydrostatic atmosphere on fine levels."""
    z = np.round(np.arange(-10.0, _TOP_KM + 0.05, _STEP_KM), 6)
    for gas in scenario.mole_fraction or {}:
        _known("mole_fraction", gas, gases)
    air = air_of(scenario, z)
    t = air["temperature"].values
    gravity = mars.GM_M3_S2 / (1e3 * (mars.MEAN_RADIUS_KM + z)) ** 2
    slope = 1e-3 * mars.MOLAR_MASS * gravity / (mars.GAS_CONSTANT * t) * 1e3
    steps = 0.5 * (slope[1:] + slope[:-1]) * np.diff(z)
    fall = np.append(0.0, np.cumsum(steps))
    fall -= np.interp(0.0, z, fall)
    areoid = scenario.surface_pressure_pa
    if areoid is None:
        areoid = float(air["pressure"].interp(altitude=0.0))
    else:  # the air has the factor already
        areoid *= scenario.pressure_factor
    pressure = areoid * np.exp(-fall)
    density = pressure / (mars.BOLTZMANN * t) * 1e-6
    found = mole_fractions_of(scenario, gases, air)
    changed = {
        "pressure": air["pressure"].copy(data=pressure),
        "number_density": ("altitude", density, {"units": "cm-3"}),
        **{f"{gas}_vmr": ("altitude", v, {"units": "1"}) for gas, v in found.items()},
    }
    return read_atmosphere(air.assign(changed))


def _known(field: str, gas: str, gases: tuple[str, ...]) -> None:
    if gas not in gases:
        message = f"the table has no such gas, only {', '.join(gases)}"
        raise SetupError(message, field=field, value=gas, rule="simulate.option")


def _factors(
    scenario: NadirScenario, gases: tuple[str, ...], rng: np.random.Generator
) -> Array:
    """Factors on the gases, (gas, spectrum)."""
    factors = np.ones((len(gases), scenario.n_spectra))
    for gas, sigma in (scenario.factor_sigma or {}).items():
        _known("factor_sigma", gas, gases)
        factors[gases.index(gas)] += sigma * rng.standard_normal(scenario.n_spectra)
    return factors


def _seen(
    scenario: NadirScenario, band: BandTable, axis_cm1: Array, through: Array
) -> Array:
    """Transmittances on the pixels, (spectrum, pixel), from those on the nodes."""
    response, beyond = lno_response(scenario, band, axis_cm1)
    low, high = band.nodes_cm1[0] + _MARGIN_CM1, band.nodes_cm1[-1] - _MARGIN_CM1
    if not low < axis_cm1.min() < axis_cm1.max() < high:
        message = "the table does not cover the order"
        raise SetupError(
            message, field="order", value=scenario.order, rule="simulate.option"
        )
    return np.asarray((response @ (moments(band) @ through.T)).T + beyond)


def _optical_depths(
    band: BandTable,
    gases: tuple[str, ...],
    air: xr.Dataset,
    surface: Array,
    secants: Array,
    factors: Array,
) -> tuple[Array, Array, Array, Array]:
    """Optical depth down and up (spectrum, node), columns (gas, spectrum) and of air.

    The last one is the air mass.
    """
    z = air["altitude"].values
    ln_density = np.log(air["number_density"].values)
    depths = np.zeros((surface.size, band.nodes_cm1.size))
    columns, dry = np.zeros((len(gases), surface.size)), np.zeros(surface.size)
    mass = np.zeros(surface.size)
    for row, ground in enumerate(surface):
        levels = np.append(ground, z[z > ground + 1e-6])
        density = np.exp(np.interp(levels, z, ln_density))
        pressure = np.exp(np.interp(levels, z, np.log(air["pressure"].values)))
        kelvin = np.interp(levels, z, air["temperature"].values)
        width = 1e5 * np.diff(levels)
        part = 0.5 * (np.append(width, 0.0) + np.append(0.0, width)) * density
        sine2 = 1.0 - secants[row][:, None] ** -2.0
        base = mars.MEAN_RADIUS_KM + ground
        ratio = base / (base + levels - ground)
        slant = (1.0 / np.sqrt(1.0 - ratio**2 * sine2)).sum(axis=0)
        dry[row] = part.sum()
        mass[row] = slant @ part / dry[row]
        by_pressure, by_temperature = spline_matrices(
            band.ln_pressure, band.temperature_k, pressure, kelvin, doppler_limit=True
        )
        for index, gas in enumerate(gases):
            mole = np.interp(levels, z, air[f"{gas}_vmr"].values)
            amount = factors[index, row] * part * mole
            columns[index, row] = amount.sum()
            # summed over the levels before the vectors, as splines are linear
            state = by_pressure.T @ (by_temperature * (amount * slant)[:, None])
            coefficients = np.tensordot(band.coefficients[gas], state, axes=2)
            depths[row] += coefficients @ band.vectors[gas]
    return depths, columns, dry, mass


def _continuum(scenario: NadirScenario, nominal: Array, mass: Array) -> Array:
    """Surface and dust, curved as the archived reflectance factors are."""
    x = (np.arange(INFRARED_PIXELS) - 159.5) / 160.0
    surface = scenario.albedo * (1.0 + 0.05 * x - scenario.curvature * x**2)
    colour = (nominal / nominal.mean()) ** scenario.dust_exponent
    dust = np.exp(-scenario.dust_optical_depth * mass[:, None] * colour)
    along = np.linspace(0.9, 1.1, mass.size)[:, None]
    return np.asarray(along * surface * dust)


def _level1(
    scenario: NadirScenario,
    nominal: Array,
    spectra: dict[str, Array],
    incidence: Array,
    emission: Array,
    surface: Array,
) -> xr.Dataset:
    n = incidence.size
    # one spectrum of 15 s, as the nadir programme has (inferred)
    second = 15.0 * np.arange(n)[:, None] + np.array([0.5, 14.5])
    latitude = scenario.latitude + np.linspace(-30.0, 30.0, n)
    variables = {
        "detector_temperature": 100.0,
        "obs_altitude": 3790.0,
        "sub_obs_longitude": scenario.longitude,
        "sub_obs_latitude": latitude,
        "sub_sol_longitude": scenario.longitude - 15.0 * (scenario.local_time - 12.0),
        "sub_sol_latitude": 0.0,
        "point_longitude": scenario.longitude,
        "point_latitude": latitude,
        "point_local_true_solar_time": scenario.local_time,
        "incidence_angle": incidence,
        "emission_angle": emission,
        "phase_angle": incidence,
        "surface_altitude_areoid": surface,
        "surface_radius": mars.MEAN_RADIUS_KM + surface,
        "bin_start": 80,
        "bin_end": 223,
    }
    coordinates = {
        "wavenumber": ("pixel", nominal),
        "order": scenario.order,
        "aotf_frequency": float(lno.AOTF_FREQUENCY_KHZ[scenario.order]),
        "instrument_temperature": scenario.temperature_c,
    }
    layout = LAYOUTS["lno", False]
    return nomad_level1(
        scenario, layout, "dayside_nadir", second, spectra, variables, coordinates
    )


def _truth(
    scenario: NadirScenario,
    air: xr.Dataset,
    gases: tuple[str, ...],
    columns: Array,
    dry: Array,
    surface: Array,
    clean: Array,
    mass: Array,
) -> xr.Dataset:
    names = ["pressure", "temperature", "number_density"]
    truth = air[names + [f"{gas}_vmr" for gas in gases]]
    for gas, column in zip(gases, columns, strict=True):
        truth[f"{gas}_column"] = ("spectrum", column, {"units": "cm-2"})
    ln_pressure = np.log(air["pressure"].values)
    at_surface = np.exp(np.interp(surface, air["altitude"].values, ln_pressure))
    truth["air_column"] = ("spectrum", dry, {"units": "cm-2"})
    truth["surface_altitude"] = ("spectrum", surface, {"units": "km"})
    truth["surface_pressure"] = ("spectrum", at_surface, {"units": "Pa"})
    truth["air_mass"] = ("spectrum", mass, {"units": "1"})
    truth["reflectance_factor_clean"] = (("spectrum", "pixel"), clean)
    truth.attrs = {
        "title": "SYNTHETIC: truth of a simulated LNO nadir observation",
        "source": "simulated atmosphere",
        "planet_radius_km": mars.MEAN_RADIUS_KM,
        **scenario.record(),
    }
    return truth
