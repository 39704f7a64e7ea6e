"""Simulated UVIS occultations, written as archive products with the truth beside them.

A path of its own, finer than the fit's: levels 0.1 km and wavelengths 0.05 nm apart,
the field of view a disc of seven rays moving during the exposure, an aerosol whose
spectral exponent changes with altitude, ozone cross sections at the temperature of
every level. The line shape is convolved with transmittances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy.special import ndtr

from tgo_spectra import mars
from tgo_spectra.instruments import uvis
from tgo_spectra.simulate.air import air_of, chord_weights, mole_fractions_of
from tgo_spectra.simulate.detector import Signal, Simulation, disturbed, noisy
from tgo_spectra.simulate.layout import LAYOUTS
from tgo_spectra.simulate.options import described, make_scenario, option, require
from tgo_spectra.simulate.pointing import nomad_level1
from tgo_spectra.simulate.product import write_simulated
from tgo_spectra.simulate.scenario import HEIGHTS, NomadScenario
from tgo_spectra.spectroscopy.rayleigh import rayleigh_cross_section_co2
from tgo_spectra.spectroscopy.ultraviolet import ozone_cross_section

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.simulate.options import Profile

    Array = npt.NDArray[np.float64]

__all__ = [
    "UvisScenario",
    "simulate_uvis_level1",
    "simulate_uvis_product",
    "synthetic_ozone_cross_section",
]

_LEVEL_STEP_KM, _TOP_KM = 0.1, 130.0
_GRID_STEP_NM = 0.05
_REACH_WIDTHS = 4.0
_DISC_RAYS, _MOTION_RAYS = 7, 3
_FULL_PIXELS = 1024
_ARCMIN = np.pi / 180.0 / 60.0
_DAY_S = 88775.244


@described
@dataclass(frozen=True, kw_only=True)
class UvisScenario(NomadScenario):
    """Everything that decides what a simulated product contains."""

    ozone: Profile = option(
        0.0, "Mole fraction, or its profile (altitudes in km, values).", kind="o3"
    )
    temperature_gradient_k_km: float = option(
        1.0, "Added below 40 km, towards the ground, to the reference atmosphere.",
        limits=(-5.0, 5.0), unit="K km-1",
    )  # fmt: skip
    altitude_range: tuple[float, float] = option(
        (2.0, 100.0), "Lowest and highest tangent altitude.", **HEIGHTS
    )
    row_step_km: float = option(
        0.95, "Between spectra; one a second.", limits=(0.05, 5.0), unit="km"
    )
    exposure_part: float = option(
        0.2, "Of a second, that the exposure takes.", limits=(0.0, 1.0)
    )
    pixels: int = option(
        _FULL_PIXELS, "1024, or fewer for binned spectra.", limits=(64, _FULL_PIXELS)
    )
    range_nm: tuple[float, float] = option(
        (215.0, 345.0), "Wavelengths that are calculated; the other pixels are masked "
        "and missing.", limits=(206.0, 640.0), unit="nm",
    )  # fmt: skip
    snr: float = option(
        400.0, "Signal over error for a transmittance of one at 300 nm and above, at "
        "full resolution (inferred); it falls as the square root of sunlight below.",
        limits=(1e-3, 1e12),
    )  # fmt: skip
    wobble: float = option(
        5e-4, "1-sigma brightness change from row to row, common to all pixels.",
        limits=(0.0, 1.0),
    )  # fmt: skip
    aerosol_km1: float = option(
        0.006, "Extinction at altitude zero and 270 nm.", limits=(0.0, 1e2),
        unit="km-1",
    )  # fmt: skip
    aerosol_scale_km: float = option(
        9.0, "Its scale height.", limits=(0.1, 1e3), unit="km"
    )
    aerosol_exponent: tuple[float, float] = option(
        (0.3, 1.2), "Exponent of 1 / wavelength at altitude zero and at 60 km, linear "
        "in between.", limits=(-10.0, 10.0),
    )  # fmt: skip
    aerosol_layer: tuple[float, float, float] | None = option(
        (1.5e-4, 45.0, 3.0), "Extinction (km-1), altitude and 1-sigma width (km) of a "
        "detached layer.", limits=((0.0, 1e3), (-10.0, 150.0), (0.01, 100.0)),
    )  # fmt: skip
    field_of_view_arcmin: float = option(
        2.0, "Diameter.", limits=(0.0, 60.0), unit="arcmin"
    )
    fwhm_nm: float = option(1.5, "Of the line shape.", limits=(0.01, 20.0), unit="nm")
    observer_distance_km: float = option(
        3790.0, "Spacecraft to the planet's centre.", limits=(3600.0, 50_000.0),
        unit="km",
    )  # fmt: skip
    latitude: float = option(
        60.0, "Of all spectra.", limits=(-90.0, 90.0), unit="degree_north"
    )
    local_time: float = option(
        18.0, "Local true solar time.", limits=(0.0, 24.0), unit="hour"
    )

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        super().__post_init__()
        low, high = self.altitude_range
        conditions = (
            ("altitude_range", (low, high), -3.0 <= low < high - 10.0 <= 110.0,
             "must ascend by more than 10 km within -3..120"),
            ("range_nm", self.range_nm, self.range_nm[0] < self.range_nm[1] - 20.0,
             "must ascend by more than 20 nm"),
        )  # fmt: skip
        require(conditions)


def synthetic_ozone_cross_section() -> xr.Dataset:
    """Make cross sections that resemble ozone's, for examples and trials only.

    A Gaussian for the Hartley band, an exponential tail with a ripple for the Huggins
    bands, stronger where warmer. Not a measurement: the peak, 1.15e-17 cm2 at 255 nm,
    is about right, nothing else is.

    Returns
    -------
    Dataset
        As `read_uv_cross_section` gives it.

    Examples
    --------
    >>> data = synthetic_ozone_cross_section()
    >>> float(data.cross_section.sel(wavelength=255.0).max())
    1.15e-17
    """
    nm = np.round(np.arange(19500, 40001, 5) / 100.0, 2)
    kelvin = np.array([218.0, 243.0, 295.0])
    hartley = np.exp(-((1e7 / nm - 1e7 / 255.0) ** 2) / 2.1e3**2 / 2.0)
    tail = 6e-3 * np.exp(-(nm - 310.0) / 8.0) / (1.0 + np.exp(-(nm - 305.0) / 3.0))
    ripple = 1.0 + 0.3 * np.sin(2.0 * np.pi * nm / 3.1)
    warm = (kelvin - 218.0) / 77.0
    values = 1.15e-17 * (
        hartley[:, None] * (1.0 - 0.013 * warm)
        + (tail * ripple)[:, None] * (1.0 + 0.4 * warm)
    )
    return xr.Dataset(
        {"cross_section": (("wavelength", "temperature"), values, {"units": "cm2"})},
        {
            "wavelength": ("wavelength", nm, {"units": "nm"}),
            "temperature": ("temperature", kelvin, {"units": "K"}),
        },
        {
            "source_file": "SYNTHETIC",
            "source_sha256": "",
            "wavelength_medium_of_file": "vacuum",
        },
    )


def simulate_uvis_product(
    out_dir: str | Path,
    cross_section: xr.Dataset,
    *,
    zip: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Simulate one UVIS occultation and write it as an archive product.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    cross_section : Dataset
        Of ozone, as `read_uv_cross_section` gives it.
    zip : bool
        Write the archive's delivery zip instead of label and table.
    overwrite : bool
        Replace a product of the same name; by default that is refused.
    **options
        Fields of `UvisScenario`.

    Returns
    -------
    Path
        Label (``.xml``), or the zip. The truth is beside it, ``<name>.truth.nc``.

    Raises
    ------
    SetupError
        An option makes no product.
    LineListError
        The cross sections do not cover the wavelengths.

    Examples
    --------
    >>> import tempfile
    >>> data = synthetic_ozone_cross_section()
    >>> path = simulate_uvis_product(
    ...     tempfile.mkdtemp(), data, ozone=2e-7, altitude_range=(20.0, 40.0))
    >>> path.name
    'nmd_cal_sc_uvis_20180614T030920-20180614T030942-i.xml'
    """
    level1, truth = simulate_uvis_level1(cross_section, **options)
    return write_simulated(out_dir, level1, truth, archive=zip, overwrite=overwrite)


def simulate_uvis_level1(
    cross_section: xr.Dataset, **options: Any
) -> tuple[xr.Dataset, xr.Dataset]:
    """Simulate one UVIS occultation in memory.

    Parameters
    ----------
    cross_section : Dataset
        Of ozone, as `read_uv_cross_section` gives it.
    **options
        Fields of `UvisScenario`.

    Returns
    -------
    level1 : Dataset
        As `open_product` gives it, before rounding to the table's digits.
    truth : Dataset
        Profiles, slant columns, transmittances without noise.

    Raises
    ------
    SetupError, LineListError
        As `simulate_uvis_product`.

    Examples
    --------
    >>> data = synthetic_ozone_cross_section()
    >>> level1, truth = simulate_uvis_level1(data, altitude_range=(20.0, 31.0))
    >>> level1.transmittance.dims, float(truth.o3_slant_column.max())
    (('spectrum', 'pixel'), 0.0)
    """
    made = _simulate(make_scenario(UvisScenario, options), cross_section)
    return made.level1, made.truth


def _simulate(scenario: UvisScenario, cross_section: xr.Dataset) -> Simulation:
    rng = np.random.default_rng(scenario.seed)
    low, high = scenario.altitude_range
    tangent = np.arange(low, high + 1e-9, scenario.row_step_km)
    levels = np.arange(np.floor(low) - 3.0, _TOP_KM, _LEVEL_STEP_KM)
    air = air_of(scenario, levels)
    radius = float(air.attrs.get("planet_radius_km", mars.MEAN_RADIUS_KM))
    pixel_nm = uvis.nominal_wavelength(scenario.pixels)
    inside = (pixel_nm >= scenario.range_nm[0]) & (pixel_nm <= scenario.range_nm[1])
    clean = np.full((tangent.size, pixel_nm.size), np.nan)
    seen, column = _transmittance(
        scenario, cross_section, air, radius, tangent, pixel_nm[inside]
    )
    clean[:, inside] = seen
    sigma = _error(scenario, pixel_nm, clean)
    gain = 1.0 + scenario.wobble * rng.standard_normal((tangent.size, 1))
    group = np.zeros(tangent.size, dtype=np.int64)
    expected = disturbed(scenario, clean * gain, sigma, 1e7 / pixel_nm, tangent, group)
    signal = Signal(expected, sigma, group, _variables)
    measured = noisy(scenario, signal, rng.standard_normal(clean.shape))
    written = sigma * scenario.error_factor
    level1 = _level1(scenario, tangent, radius, pixel_nm, measured, written)
    truth = _truth(scenario, air, tangent, clean, column)
    return Simulation(level1, truth, scenario, signal)


def _variables(measured: Array) -> dict[str, Array]:
    return {"transmittance": measured}


def _transmittance(
    scenario: UvisScenario,
    cross_section: xr.Dataset,
    air: xr.Dataset,
    radius_km: float,
    tangent: Array,
    pixel_nm: Array,
) -> tuple[Array, Array]:
    """Transmittance (row, pixel) and ozone column (row,), field of view included."""
    width = scenario.fwhm_nm * scenario.resolution_factor
    reach = _REACH_WIDTHS * width
    grid = np.arange(pixel_nm.min() - reach, pixel_nm.max() + reach, _GRID_STEP_NM)
    seen = _line_shape(scenario, grid, pixel_nm, width)
    z, number = air["altitude"].values, air["number_density"].values
    kelvin = cross_section["temperature"].values
    table = ozone_cross_section(cross_section, grid, kelvin)["cross_section"].values
    held = np.clip(air["temperature"].values, kelvin[0], kelvin[-1])
    share = np.stack([np.interp(held, kelvin, unit) for unit in np.eye(kelvin.size)], 1)
    exponents = np.linspace(*scenario.aerosol_exponent, 61)
    exponent = np.interp(z, np.arange(61.0), exponents)
    bins = np.linspace(exponent.min(), exponent.max() + 1e-9, 13)
    split = np.stack([np.interp(exponent, bins, unit) for unit in np.eye(13)], axis=1)
    colour = (270.0 / grid) ** bins[:, None]
    rayleigh = rayleigh_cross_section_co2(grid)
    (vmr,) = mole_fractions_of(scenario, ["o3"], air).values()
    ozone = number * vmr
    haze = _extinction(scenario, z)
    rows, columns = np.empty((tangent.size, pixel_nm.size)), np.empty(tangent.size)
    offsets, weights = _field_of_view(scenario, radius_km, tangent)
    for row in range(tangent.size):
        chord = chord_weights(radius_km, tangent[row] + offsets[row], z)
        depth = (chord @ (ozone[:, None] * share)) @ table.T
        depth += (chord / 1e5 @ (haze[:, None] * split)) @ colour
        depth += (chord @ (number * air["co2_vmr"].values))[:, None] * rayleigh
        rows[row] = seen @ (weights @ np.exp(-depth))
        columns[row] = weights @ (chord @ ozone)
    return rows, columns


def _line_shape(
    scenario: UvisScenario, grid_nm: Array, pixel_nm: Array, fwhm_nm: float
) -> Array:
    """Matrix (pixel, grid): a Gaussian, averaged over the pixels that are binned."""
    away = grid_nm - pixel_nm[:, None]
    scale = fwhm_nm / np.sqrt(8.0 * np.log(2.0))
    result = np.exp(-0.5 * (away / scale) ** 2)
    if scenario.pixels < _FULL_PIXELS:
        half = 0.5 * np.diff(pixel_nm).mean()
        result = ndtr((away + half) / scale) - ndtr((away - half) / scale)
    return np.asarray(result / result.sum(axis=1, keepdims=True))


def _extinction(scenario: UvisScenario, z: Array) -> Array:
    """Aerosol extinction at 270 nm, km-1."""
    haze = scenario.aerosol_km1 * np.exp(-z / scenario.aerosol_scale_km)
    if scenario.aerosol_layer is not None:
        peak, centre, width = scenario.aerosol_layer
        haze = haze + peak * np.exp(-0.5 * ((z - centre) / width) ** 2)
    return np.asarray(haze)


def _distance(scenario: UvisScenario, radius_km: float, z: Array) -> Array:
    return np.asarray(np.sqrt(scenario.observer_distance_km**2 - (radius_km + z) ** 2))


def _field_of_view(
    scenario: UvisScenario, radius_km: float, tangent: Array
) -> tuple[Array, Array]:
    """Offsets (row, ray) of a moving disc in km, and the weights of its rays."""
    angle = np.pi * np.arange(1, _DISC_RAYS + 1) / (_DISC_RAYS + 1)
    disc = np.sin(angle) ** 2
    move, part = np.polynomial.legendre.leggauss(_MOTION_RAYS)
    half = 0.5 * scenario.field_of_view_arcmin * _ARCMIN
    size = half * _distance(scenario, radius_km, tangent)
    drift = 0.5 * scenario.row_step_km * scenario.exposure_part
    offsets = size[:, None, None] * np.cos(angle)[:, None] + drift * move
    weights = (disc / disc.sum())[:, None] * (0.5 * part)
    return offsets.reshape(tangent.size, -1), weights.ravel()


def _error(scenario: UvisScenario, pixel_nm: Array, clean: Array) -> Array:
    """Error column: noise of Sun and planet, more where the Sun is faint (inferred)."""
    sunlight = np.clip(np.exp((pixel_nm - 300.0) / 40.0), 0.05, 1.0)
    binned = np.sqrt(_FULL_PIXELS / scenario.pixels)
    sun = 1.0 / (scenario.snr * binned * np.sqrt(sunlight))
    light = np.clip(clean, 0.0, None)
    return np.asarray(sun * np.sqrt(0.1 + 0.5 * light + 0.4 * light**2))


def _level1(
    scenario: UvisScenario,
    tangent: Array,
    radius_km: float,
    pixel_nm: Array,
    measured: Array,
    sigma: Array,
) -> xr.Dataset:
    layout = LAYOUTS["uvis", True]
    n = tangent.size
    edges = np.array([-0.5, 0.5]) * scenario.exposure_part
    # ingress: the line of sight sinks with time
    second = (n - 1.0 - np.arange(n))[:, None] + edges + 0.5
    # the points of the table are the rim of the nadir telescope's wider field
    rim = 21.5 * _ARCMIN * _distance(scenario, radius_km, tangent)
    rise = rim[:, None, None] * np.asarray(layout.points_y)[:, None]
    heights = (tangent[:, None] - edges * scenario.row_step_km)[:, None, :] + rise
    heights[heights < -5.0] = np.nan
    hour = np.mod(scenario.local_time + second / _DAY_S * 24.0, 24.0)

    def seen(value: npt.ArrayLike) -> Array:
        return np.where(np.isnan(heights), np.nan, np.asarray(value, dtype=float))

    spectra = {
        "transmittance": measured,
        "transmittance_error": sigma,
        "mask": ~np.isfinite(measured),
    }
    variables = {
        "detector_temperature": 268.0,
        "obs_altitude": scenario.observer_distance_km,
        "pointing_deviation": 0.0,
        "sub_obs_longitude": scenario.longitude,
        "sub_obs_latitude": 0.5 * scenario.latitude,
        "sub_sol_longitude": 0.0,
        "sub_sol_latitude": 0.0,
        "point_longitude": seen(scenario.longitude),
        "point_latitude": seen(scenario.latitude),
        "point_local_true_solar_time": seen(hour[:, None, :]),
        "tangent_altitude_ellipsoid": heights + 0.4,
        "tangent_altitude_areoid": heights,
        "tangent_altitude_surface": heights,
        "slant_path_distance": _distance(scenario, radius_km, heights),
    }
    coordinates = {"wavelength": ("pixel", np.round(pixel_nm, 3))}
    ds = nomad_level1(
        scenario, layout, "ingress", second, spectra, variables, coordinates
    )
    return ds.assign_attrs(product_pixels=scenario.pixels)


def _truth(
    scenario: UvisScenario,
    air: xr.Dataset,
    tangent: Array,
    clean: Array,
    column: Array,
) -> xr.Dataset:
    z = air["altitude"].values
    (vmr,) = mole_fractions_of(scenario, ["o3"], air).values()
    level = "altitude"
    return xr.Dataset(
        {
            "o3_vmr": (level, vmr, {"units": "1"}),
            "o3_number_density": (
                level,
                vmr * air["number_density"].values,
                {"units": "cm-3"},
            ),
            "pressure": (level, air["pressure"].values, {"units": "Pa"}),
            "temperature": (level, air["temperature"].values, {"units": "K"}),
            "co2_vmr": (level, air["co2_vmr"].values, {"units": "1"}),
            "aerosol_extinction": (level, _extinction(scenario, z), {"units": "km-1"}),
            "tangent_altitude": ("spectrum", tangent, {"units": "km"}),
            "o3_slant_column": ("spectrum", column, {"units": "cm-2"}),
            "transmittance_clean": (("spectrum", "pixel"), clean),
        },
        {"altitude": (level, z, {"units": "km"})},
        {
            "title": "SYNTHETIC: truth of a simulated UVIS occultation",
            "source": "simulated atmosphere",
            "planet_radius_km": float(
                air.attrs.get("planet_radius_km", mars.MEAN_RADIUS_KM)
            ),
            **scenario.record(),
        },
    )
