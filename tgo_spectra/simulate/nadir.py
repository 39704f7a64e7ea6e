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
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.atmosphere.profile import read_atmosphere, reference_atmosphere
from tgo_spectra.errors import SetupError
from tgo_spectra.instruments import lno
from tgo_spectra.instruments.nadir import slant_factor
from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.instruments.response.channels import lno_operator
from tgo_spectra.retrieval.models.lno.model import Grid, extended_cells
from tgo_spectra.simulate.options import (
    check_mole_fractions,
    check_options,
    make_scenario,
    mole_fraction,
    require,
)
from tgo_spectra.spectroscopy.tables.files import open_table, table_gases
from tgo_spectra.spectroscopy.tables.interpolation import spline_matrices
from tgo_spectra.spectroscopy.tables.read import table_arrays

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.simulate.options import Profile
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]

__all__ = ["NadirScenario", "simulate_nadir_level1", "simulate_nadir_product"]

_STEP_KM, _TOP_KM = 0.1, 120.0
_PIXELS, _POINTS = 320, 5
_MARGIN_CM1 = 6.0
"""Room for the line shape beyond the outermost pixels: 10 sigma at R = 3000."""


@dataclass(frozen=True, kw_only=True)
class NadirScenario:
    """Everything that decides what a simulated product contains.

    Attributes
    ----------
    order : int
        With a shipped or given table that covers it.
    table : str, optional
        Name or path; default ``so_186_191`` from order 186 on, else ``so_164_170``.
    mole_fraction : dict of str to float or (altitudes, values), optional
        Mole fractions (over altitude in km) in place of those of the reference
        atmosphere; zero leaves a gas out.
    negative : bool
        Allow negative mole fractions, as those of truths drawn from a Gaussian a
        priori; nothing real has them.
    factor_sigma : dict of str to float, optional
        Each spectrum has these gases times a factor drawn with this 1 sigma around
        one; the profiles of the truth are those before it, the columns after it.
    n_spectra : int
    start : str
        UTC.
    temperature_gradient_k_km : float
        Added to the temperature below 40 km, towards the ground.
    surface_pressure_pa : float
        At altitude zero.
    topography_km : tuple of float
        Mean and amplitude of the surface altitude along the track.
    incidence_deg, emission_deg : tuple of float
        First and last.
    albedo : float
        Reflectance factor of the surface at the middle pixel.
    dust_optical_depth, dust_exponent : float
        Vertical, at the middle pixel, and its power of 1 / wavelength.
    curvature : float
        Of the continuum over the detector, relative.
    shift_px : float
        Of the true wavenumbers against those in the table.
    resolving_power : float
        nu / FWHM (to be verified on real spectra).
    n_orders : int
        Neighbouring orders on each side whose light is added.
    temperature_c : float
        Of the instrument.
    snr : float
        Median reflectance factor over noise, of one spectrum (inferred).
    noise : bool
        Add the noise.
    seed : int
    """

    order: int = 190
    table: str | None = None
    mole_fraction: dict[str, Profile] | None = None
    factor_sigma: dict[str, float] | None = None
    n_spectra: int = 20
    start: str = "2019-02-13T12:08:58"
    temperature_gradient_k_km: float = 0.5
    surface_pressure_pa: float = 610.0
    topography_km: tuple[float, float] = (0.0, 3.0)
    incidence_deg: tuple[float, float] = (20.0, 50.0)
    emission_deg: tuple[float, float] = (0.5, 3.0)
    albedo: float = 0.25
    dust_optical_depth: float = 0.2
    dust_exponent: float = 1.0
    curvature: float = 0.3
    shift_px: float = 0.4
    resolving_power: float = 10000.0
    n_orders: int = 10
    temperature_c: float = -5.0
    snr: float = 100.0
    noise: bool = True
    negative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        check_options(self)
        low = self.topography_km[0] - abs(self.topography_km[1])
        high = self.topography_km[0] + abs(self.topography_km[1])
        conditions = (
            ("order", self.order, self.order in lno.AOTF_FREQUENCY_KHZ,
             "must be one of those with a known AOTF frequency"),
            ("topography_km", self.topography_km, -9.0 <= low <= high <= 25.0,
             "must lie within -9..25"),
        )  # fmt: skip
        require(conditions)
        check_mole_fractions(self.mole_fraction or {}, negative=self.negative)


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
    from tgo_spectra.simulate.product import write_simulated

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
        scenario.order, np.arange(_PIXELS), scenario.temperature_c
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
    air = reference_atmosphere(z)
    warmer = scenario.temperature_gradient_k_km * np.clip(40.0 - z, 0.0, 40.0)
    t = air["temperature"].values + warmer
    gravity = mars.GM_M3_S2 / (1e3 * (mars.MEAN_RADIUS_KM + z)) ** 2
    slope = 1e-3 * mars.MOLAR_MASS * gravity / (mars.GAS_CONSTANT * t) * 1e3
    steps = 0.5 * (slope[1:] + slope[:-1]) * np.diff(z)
    fall = np.append(0.0, np.cumsum(steps))
    fall -= np.interp(0.0, z, fall)
    pressure = scenario.surface_pressure_pa * np.exp(-fall)
    changed = {
        "pressure": air["pressure"].copy(data=pressure),
        "temperature": air["temperature"].copy(data=t),
        "number_density": ("altitude", pressure / (mars.BOLTZMANN * t) * 1e-6,
                           {"units": "cm-3"}),
    }  # fmt: skip
    air = air.assign(changed)
    for gas, value in (scenario.mole_fraction or {}).items():
        if gas not in gases:
            message = f"the table has no such gas, only {', '.join(gases)}"
            raise SetupError(
                message, field="mole_fraction", value=gas, rule="simulate.option"
            )
        profile = mole_fraction(gas, value, z, negative=scenario.negative)
        air[f"{gas}_vmr"] = ("altitude", profile, {"units": "1"})
    return read_atmosphere(air)


def _factors(
    scenario: NadirScenario, gases: tuple[str, ...], rng: np.random.Generator
) -> Array:
    """Factors on the gases, (gas, spectrum)."""
    factors = np.ones((len(gases), scenario.n_spectra))
    for gas, sigma in (scenario.factor_sigma or {}).items():
        if gas not in gases:
            message = f"the table has no such gas, only {', '.join(gases)}"
            raise SetupError(
                message, field="factor_sigma", value=gas, rule="simulate.option"
            )
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
    pixel = np.arange(_PIXELS)
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
    x = (np.arange(_PIXELS) - 159.5) / 160.0
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
    times = np.datetime64(scenario.start, "ms") + np.rint(1e3 * second).astype(
        "timedelta64[ms]"
    )
    ls = mars.solar_longitude(times)
    latitude = np.linspace(-30.0, 30.0, n)
    three, two = ("spectrum", "point", "edge"), ("spectrum", "edge")

    def everywhere(values: Array | float) -> Array:
        column = np.broadcast_to(np.asarray(values, dtype=float), (n,))
        return np.broadcast_to(column[:, None, None], (n, _POINTS, 2)).copy()

    def edges(value: float) -> Array:
        return np.full((n, 2), value)

    data: dict[str, Any] = {
        "reflectance_factor": (("spectrum", "pixel"), measured),
        "reflectance_factor_corrected": (
            ("spectrum", "pixel"),
            measured / (continuum / continuum.mean(axis=1, keepdims=True)),
        ),
        "time_bounds": (two, times.astype("datetime64[ns]")),
        "detector_temperature": ("spectrum", np.full(n, 100.0)),
        "obs_altitude": (two, edges(3790.0)),
        "sub_obs_longitude": (two, edges(40.0)),
        "sub_obs_latitude": (two, np.repeat(latitude[:, None], 2, axis=1)),
        "l_sub_s": (two, ls),
        "sub_sol_longitude": (two, edges(10.0)),
        "sub_sol_latitude": (two, edges(0.0)),
        "point_longitude": (three, everywhere(40.0)),
        "point_latitude": (three, everywhere(latitude)),
        "point_local_true_solar_time": (three, everywhere(14.0)),
        "incidence_angle": (three, everywhere(incidence)),
        "emission_angle": (three, everywhere(emission)),
        "phase_angle": (three, everywhere(incidence)),
        "surface_altitude_areoid": (three, everywhere(surface)),
        "surface_radius": (three, everywhere(mars.MEAN_RADIUS_KM + surface)),
        "y_valid_flag": ("spectrum", np.ones(n, dtype=bool)),
        "bin_start": ("spectrum", np.full(n, 80)),
        "bin_end": ("spectrum", np.full(n, 223)),
    }
    start = times[:, 0].astype("datetime64[ns]")
    coords: dict[str, Any] = {
        "wavenumber": ("pixel", nominal),
        "order": scenario.order,
        "aotf_frequency": float(lno.AOTF_FREQUENCY_KHZ[scenario.order]),
        "instrument_temperature": scenario.temperature_c,
        "time": ("spectrum", start + np.timedelta64(7, "s")),
        "latitude": ("spectrum", latitude),
        "longitude": ("spectrum", np.full(n, 40.0)),
        "solar_longitude": ("spectrum", ls.mean(axis=1)),
        "local_true_solar_time": ("spectrum", np.full(n, 14.0)),
    }
    attrs = {
        "title": "NOMAD Experiment (SYNTHETIC)",
        "instrument": "NOMAD",
        "channel": "lno",
        "observation_type": "dayside_nadir",
        "orbit": 5000,
    }
    return xr.Dataset(data, coords, attrs)


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
        "seed": scenario.seed,
    }
    return truth
