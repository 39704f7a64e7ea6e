"""Simulated LNO nadir observations, written as archive products with their truth.

A path of its own, finer than the fit's: rays through levels 0.1 km apart on a sphere
instead of layers, an atmosphere in hydrostatic balance with a temperature gradient,
ten orders on both sides, topography under the ground track, and dust that dims and
tilts the continuum. Light that the dust scatters is left out; light of orders beyond
the table is taken as unabsorbed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import mars
from tgo_spectra.atmosphere.profile import read_atmosphere
from tgo_spectra.errors import SetupError
from tgo_spectra.forward.sight import hydrostatic_log_ratio
from tgo_spectra.instruments import lno
from tgo_spectra.instruments.nadir import slant_factor
from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.instruments.response.channels import lno_operator
from tgo_spectra.retrieval.models.lno.model import Grid, extended_cells
from tgo_spectra.simulate.air import air_of, mole_fractions_of
from tgo_spectra.simulate.layout import INFRARED_PIXELS, LAYOUTS
from tgo_spectra.simulate.options import (
    GASES,
    described,
    make_scenario,
    option,
    require,
)
from tgo_spectra.simulate.pointing import nomad_level1
from tgo_spectra.simulate.product import write_simulated
from tgo_spectra.simulate.scenario import SHIFT, NomadScenario
from tgo_spectra.spectroscopy.tables.files import open_table, table_gases
from tgo_spectra.spectroscopy.tables.interpolation import spline_matrices
from tgo_spectra.spectroscopy.tables.read import table_arrays

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.simulate.options import Profile
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]

__all__ = ["NadirScenario", "simulate_nadir_level1", "simulate_nadir_product"]

_STEP_KM, _TOP_KM = 0.1, 120.0
_MARGIN_CM1 = 6.0
"""Room for the line shape beyond the outermost pixels: 10 sigma at R = 3000."""


@described
@dataclass(frozen=True, kw_only=True)
class NadirScenario(NomadScenario):
    """Everything that decides what a simulated product contains.

    With an atmosphere of one's own, its pressure is replaced by that in hydrostatic
    balance with the surface pressure.
    """

    order: int = option(
        190, "With a shipped or given table that covers it.", limits=(1, 300)
    )
    table: str | None = option(
        None, "Name or path; default: so_186_191 from order 186 on, else so_164_170."
    )
    mole_fraction: dict[str, Profile] | None = option(
        None, "Mole fractions (numbers, or over altitude in km) in place of those of "
        "the atmosphere; zero leaves a gas out.", kind=GASES,
    )  # fmt: skip
    factor_sigma: dict[str, float] | None = option(
        None, "Each spectrum has these gases times a factor drawn with this 1 sigma "
        "around one; the profiles of the truth are those before it, the columns after "
        "it.", limits=(0.0, 1.0),
    )  # fmt: skip
    n_spectra: int = option(20, "Along the track.", limits=(1, 10_000))
    start: str = option("2019-02-13T12:08:58", "Start of the observation, UTC.")
    orbit: int = option(5000, "Number in the label.", limits=(0, 999_999))
    latitude: float = option(
        0.0, "Of the middle; the track is 60 degree long.", limits=(-60.0, 60.0),
        unit="degree_north",
    )  # fmt: skip
    longitude: float = option(
        40.0, "Of the track.", limits=(-180.0, 180.0), unit="degree_east"
    )
    local_time: float = option(
        14.0, "Local true solar time.", limits=(0.0, 24.0), unit="hour"
    )
    temperature_gradient_k_km: float = option(
        0.5, "Added below 40 km, towards the ground, to the reference atmosphere.",
        limits=(-5.0, 5.0), unit="K km-1",
    )  # fmt: skip
    surface_pressure_pa: float | None = option(
        None, "At altitude zero; default: that of the atmosphere.",
        limits=(100.0, 1000.0), unit="Pa",
    )  # fmt: skip
    topography_km: tuple[float, float] = option(
        (0.0, 3.0), "Mean and amplitude of the surface altitude along the track.",
        limits=((-9.0, 25.0), (-17.0, 17.0)), unit="km",
    )  # fmt: skip
    incidence_deg: tuple[float, float] = option(
        (20.0, 50.0), "First and last.", limits=(0.0, 88.9), unit="degree"
    )
    emission_deg: tuple[float, float] = option(
        (0.5, 3.0), "First and last.", limits=(0.0, 88.9), unit="degree"
    )
    albedo: float = option(
        0.25, "Reflectance factor of the surface at the middle pixel.",
        limits=(1e-3, 1.0),
    )  # fmt: skip
    dust_optical_depth: float = option(
        0.2, "Vertical, at the middle pixel.", limits=(0.0, 1e2)
    )
    dust_exponent: float = option(
        1.0, "Its power of 1 / wavelength.", limits=(-10.0, 10.0)
    )
    curvature: float = option(
        0.3, "Of the continuum over the detector, relative.", limits=(-1.0, 1.0)
    )
    shift_px: float = option(
        0.4, "Of the true wavenumbers against those in the table.", **SHIFT
    )
    resolving_power: float = option(
        10000.0, "nu / FWHM (to be verified on real spectra).", limits=(10.0, 1e7)
    )
    n_orders: int = option(
        10, "Neighbouring orders on each side whose light is added.", limits=(0, 20)
    )
    temperature_c: float = option(
        -5.0, "Of the instrument.", limits=(-100.0, 100.0), unit="degC"
    )
    snr: float = option(
        100.0, "Median reflectance factor over noise, of one spectrum (inferred).",
        limits=(1e-3, 1e12),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        super().__post_init__()
        low = self.topography_km[0] - abs(self.topography_km[1])
        high = self.topography_km[0] + abs(self.topography_km[1])
        conditions = (
            ("order", self.order, self.order in lno.AOTF_FREQUENCY_KHZ,
             "must be one of those with a known AOTF frequency"),
            ("topography_km", self.topography_km, -9.0 <= low <= high <= 25.0,
             "must lie within -9..25"),
        )  # fmt: skip
        require(conditions)


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
    scenario = make_scenario(NadirScenario, options)
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
    seen = _seen(scenario, band, np.exp(-depths))
    continuum = _continuum(scenario, nominal, mass)
    clean = continuum * seen
    sigma = np.median(clean, axis=1, keepdims=True) / scenario.snr
    measured = clean
    if scenario.noise:
        measured = clean + sigma * rng.standard_normal(clean.shape)
    level1 = _level1(
        scenario, nominal, measured, continuum, incidence, emission, surface
    )
    truth = _truth(scenario, air, gases, columns, dry, surface, clean, mass)
    truth["noise"] = ("spectrum", sigma[:, 0], {"units": "1"})
    return level1, truth


def _air(scenario: NadirScenario, gases: tuple[str, ...]) -> xr.Dataset:
    """Hydrostatic atmosphere on fine levels."""
    z = np.round(np.arange(-10.0, _TOP_KM + 0.05, _STEP_KM), 6)
    for gas in scenario.mole_fraction or {}:
        _known("mole_fraction", gas, gases)
    air = air_of(scenario, z)
    t = air["temperature"].values
    zero = int(np.searchsorted(z, 0.0))
    areoid = scenario.surface_pressure_pa
    if areoid is None:
        areoid = float(air["pressure"][zero])
    pressure = areoid * np.exp(
        hydrostatic_log_ratio(z, t, planet_radius_km=mars.MEAN_RADIUS_KM, anchor=zero)
    )
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


def _seen(scenario: NadirScenario, band: BandTable, through: Array) -> Array:
    """Transmittances on the pixels, (spectrum, pixel), from those on the nodes."""
    operator, nodes = _operator(
        Grid.of(band),
        scenario.order,
        scenario.shift_px,
        scenario.temperature_c,
        scenario.resolving_power,
        scenario.n_orders,
    )
    field = np.ones((operator.n_nodes, through.shape[0]))
    field[nodes] = through.T
    return operators.apply(operator, field).T


@lru_cache(maxsize=2)
def _operator(
    grid: Grid,
    order: int,
    shift_px: float,
    temperature_c: float,
    resolving_power: float,
    n_orders: int,
) -> tuple[Operator, slice]:
    """LNO, and where the table's nodes stand among its own; kept for others."""
    pixel = np.arange(INFRARED_PIXELS)
    moved = lno.pixel_wavenumber(order, pixel + shift_px, temperature_c)
    low, high = grid.cells.range_cm1
    if not low + _MARGIN_CM1 < moved.min() < moved.max() < high - _MARGIN_CM1:
        message = "the table does not cover the order"
        raise SetupError(message, field="order", value=order, rule="simulate.option")
    step = n_orders / order
    cells, nodes = extended_cells(
        grid.cells,
        moved.min() * (1.0 - step) - _MARGIN_CM1,
        moved.max() * (1.0 + step) + _MARGIN_CM1,
    )
    operator = lno_operator(
        cells,
        pixels=pixel,
        pixel_wavenumber_cm1=moved,
        order=order,
        aotf_frequency_khz=float(lno.AOTF_FREQUENCY_KHZ[order]),
        temperature_c=temperature_c,
        resolving_power=resolving_power,
        n_orders=n_orders,
        aotf_derivatives=False,
        dtype=np.float64,
    )
    return operator, nodes


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
        slant = slant_factor(
            secants[row][:, None], levels - ground, mars.MEAN_RADIUS_KM + ground
        ).sum(axis=0)
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
    measured: Array,
    continuum: Array,
    incidence: Array,
    emission: Array,
    surface: Array,
) -> xr.Dataset:
    n = incidence.size
    # one spectrum of 15 s, as the nadir programme has (inferred)
    second = 15.0 * np.arange(n)[:, None] + np.array([0.5, 14.5])
    latitude = scenario.latitude + np.linspace(-30.0, 30.0, n)
    flat = continuum / continuum.mean(axis=1, keepdims=True)
    spectra = {
        "reflectance_factor": measured,
        "reflectance_factor_corrected": measured / flat,
    }
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
