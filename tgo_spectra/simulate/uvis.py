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

from tgo_spectra import geometry, mars
from tgo_spectra.atmosphere.profile import (
    on_altitudes,
    read_atmosphere,
    reference_atmosphere,
)
from tgo_spectra.instruments import uvis
from tgo_spectra.simulate.layout import LAYOUTS
from tgo_spectra.simulate.options import (
    check_options,
    make_scenario,
    mole_fraction,
    require,
)
from tgo_spectra.spectroscopy.rayleigh import rayleigh_cross_section_co2
from tgo_spectra.spectroscopy.ultraviolet import ozone_cross_section

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[np.floating]

__all__ = [
    "UvisScenario",
    "simulate_uvis_level1",
    "simulate_uvis_product",
    "synthetic_ozone_cross_section",
]

_LEVEL_STEP_KM, _TOP_KM = 0.1, 130.0
_GRID_STEP_NM = 0.05
_REACH_NM = 6.0
_DISC_RAYS, _MOTION_RAYS = 7, 3
_FULL_PIXELS = 1024
_ARCMIN = np.pi / 180.0 / 60.0
_DAY_S = 88775.244


@dataclass(frozen=True, kw_only=True)
class UvisScenario:
    """Everything that decides what a simulated product contains.

    Attributes
    ----------
    ozone : float or (altitudes, values)
        Mole fraction (1), or its profile over altitude in km.
    negative : bool
        Allow negative mole fractions, as those of truths drawn from a Gaussian a
        priori; nothing real has them.
    atmosphere : Dataset, optional
        Pressure and temperature; default the reference atmosphere, made warmer near
        the ground (see `temperature_gradient_k_km`).
    temperature_gradient_k_km : float
        Added to the temperature below 40 km, towards the ground.
    start : str
        UTC.
    altitude_range : tuple of float
        Lowest and highest tangent altitude, km.
    row_step_km : float
        Between spectra; one a second.
    exposure_part : float
        Of a second, that the exposure takes.
    pixels : int
        1024, or fewer for binned spectra.
    range_nm : tuple of float
        Wavelengths that are calculated; the other pixels are masked and missing.
    snr : float
        Signal over error for a transmittance of one at 300 nm and above, at full
        resolution (inferred); it falls as the square root of sunlight below.
    noise : bool
        Add the noise.
    wobble : float
        1 sigma brightness change from row to row, common to all pixels.
    aerosol_km1, aerosol_scale_km : float
        Extinction at altitude zero and 270 nm, and its scale height.
    aerosol_exponent : tuple of float
        Exponent of 1 / wavelength at altitude zero and at 60 km, linear in between.
    aerosol_layer : tuple of float, optional
        Extinction (km-1), altitude and 1-sigma width (km) of a detached layer.
    field_of_view_arcmin, fwhm_nm, observer_distance_km : float
        Instrument and spacecraft.
    latitude, longitude, local_time : float
        Degree, degree, hour.
    seed : int
        Of all that is drawn.
    """

    ozone: float | tuple[npt.ArrayLike, npt.ArrayLike] = 0.0
    atmosphere: xr.Dataset | None = None
    temperature_gradient_k_km: float = 1.0
    start: str = "2018-06-14T03:09:20"
    altitude_range: tuple[float, float] = (2.0, 100.0)
    row_step_km: float = 0.95
    exposure_part: float = 0.2
    pixels: int = _FULL_PIXELS
    range_nm: tuple[float, float] = (215.0, 345.0)
    snr: float = 400.0
    noise: bool = True
    wobble: float = 5e-4
    aerosol_km1: float = 0.006
    aerosol_scale_km: float = 9.0
    aerosol_exponent: tuple[float, float] = (0.3, 1.2)
    aerosol_layer: tuple[float, float, float] | None = (1.5e-4, 45.0, 3.0)
    field_of_view_arcmin: float = 2.0
    fwhm_nm: float = 1.5
    observer_distance_km: float = 3790.0
    latitude: float = 60.0
    longitude: float = 121.0
    local_time: float = 18.0
    negative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        check_options(self)
        low, high = self.altitude_range
        conditions = (
            ("altitude_range", (low, high), -3.0 <= low < high - 10.0 <= 110.0,
             "must ascend by more than 10 km within -3..120"),
            ("pixels", self.pixels, 64 <= self.pixels <= _FULL_PIXELS,
             "must lie within 64..1024"),
            ("range_nm", self.range_nm, self.range_nm[0] < self.range_nm[1] - 20.0,
             "must ascend by more than 20 nm"),
            ("row_step_km", self.row_step_km, self.row_step_km >= 0.05,
             "must lie within 0.05..5"),
        )  # fmt: skip
        require(conditions)
        self.mole_fraction(np.zeros(1))

    def mole_fraction(self, altitude_km: Array) -> Array:
        """Mole fraction of ozone at altitudes."""
        return mole_fraction("o3", self.ozone, altitude_km, negative=self.negative)


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
    from tgo_spectra.simulate.product import write_simulated

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
    scenario = make_scenario(UvisScenario, options)
    rng = np.random.default_rng(scenario.seed)
    low, high = scenario.altitude_range
    tangent = np.arange(low, high + 1e-9, scenario.row_step_km)
    air = _air(scenario, low)
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
    measured = clean * gain
    if scenario.noise:
        measured = measured + sigma * rng.standard_normal(clean.shape)
    level1 = _level1(scenario, tangent, radius, pixel_nm, measured, sigma)
    return level1, _truth(scenario, air, tangent, clean, column)


def _air(scenario: UvisScenario, low_km: float) -> xr.Dataset:
    levels = np.arange(np.floor(low_km) - 3.0, _TOP_KM, _LEVEL_STEP_KM)
    if scenario.atmosphere is not None:
        return on_altitudes(read_atmosphere(scenario.atmosphere), levels)
    air = reference_atmosphere(levels)
    warmer = scenario.temperature_gradient_k_km * np.clip(40.0 - levels, 0.0, 40.0)
    temperature = air["temperature"]
    changed = air.assign(temperature=temperature.copy(data=temperature.values + warmer))
    # the density follows from pressure and temperature
    return read_atmosphere(changed.drop_vars("number_density"))


def _transmittance(
    scenario: UvisScenario,
    cross_section: xr.Dataset,
    air: xr.Dataset,
    radius_km: float,
    tangent: Array,
    pixel_nm: Array,
) -> tuple[Array, Array]:
    """Transmittance (row, pixel) and ozone column (row,), field of view included."""
    grid = np.arange(
        pixel_nm.min() - _REACH_NM, pixel_nm.max() + _REACH_NM, _GRID_STEP_NM
    )
    binning = float(np.diff(pixel_nm).mean()) if scenario.pixels < _FULL_PIXELS else 0.0
    seen = uvis.convolution(grid, pixel_nm, fwhm_nm=scenario.fwhm_nm, bin_nm=binning)
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
    ozone = number * scenario.mole_fraction(z)
    haze = _extinction(scenario, z)
    rows, columns = np.empty((tangent.size, pixel_nm.size)), np.empty(tangent.size)
    offsets, weights = _field_of_view(scenario, radius_km, tangent)
    for row in range(tangent.size):
        chord = geometry.path_weights(
            radius_km + tangent[row] + offsets[row], radius_km + z
        )
        depth = (chord @ (ozone[:, None] * share)) @ table.T
        depth += (chord / 1e5 @ (haze[:, None] * split)) @ colour
        depth += (chord @ (number * air["co2_vmr"].values))[:, None] * rayleigh
        rows[row] = seen.value @ (weights @ np.exp(-depth))
        columns[row] = weights @ (chord @ ozone)
    return rows, columns


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
    n, points = tangent.size, len(layout.points_x)
    edges = np.array([-0.5, 0.5]) * scenario.exposure_part
    # ingress: the line of sight sinks with time
    second = (n - 1.0 - np.arange(n))[:, None] + edges + 0.5
    times = np.datetime64(scenario.start, "ms") + np.rint(1e3 * second).astype(
        "timedelta64[ms]"
    )
    heights = np.repeat(
        (tangent[:, None] - edges * scenario.row_step_km)[:, None, :], points, axis=1
    )
    # the points of the table are the rim of the nadir telescope's wider field
    rim = 21.5 * _ARCMIN * _distance(scenario, radius_km, tangent)
    heights[:, 1:] += rim[:, None, None] * np.asarray(layout.points_y)[1:, None]
    heights[heights < -5.0] = np.nan
    path = _distance(scenario, radius_km, heights)
    ls = mars.solar_longitude(times)
    hour = np.mod(scenario.local_time + second / _DAY_S * 24.0, 24.0)
    three, two = ("spectrum", "point", "edge"), ("spectrum", "edge")

    def everywhere(value: npt.ArrayLike) -> Array:
        full = np.broadcast_to(np.asarray(value, float), (n, 2))[:, None, :]
        return np.where(np.isnan(heights), np.nan, np.repeat(full, points, axis=1))

    lost = ~np.isfinite(measured)
    data: dict[str, Any] = {
        "transmittance": (("spectrum", "pixel"), measured),
        "transmittance_error": (("spectrum", "pixel"), sigma),
        "mask": (("spectrum", "pixel"), lost),
        "time_bounds": (two, times.astype("datetime64[ns]")),
        "detector_temperature": ("spectrum", np.full(n, 268.0)),
        "obs_altitude": (two, np.full((n, 2), scenario.observer_distance_km)),
        "sub_obs_longitude": (two, np.full((n, 2), scenario.longitude)),
        "sub_obs_latitude": (two, np.full((n, 2), 0.5 * scenario.latitude)),
        "l_sub_s": (two, ls),
        "sub_sol_longitude": (two, np.full((n, 2), 0.0)),
        "sub_sol_latitude": (two, np.full((n, 2), 0.0)),
        "point_longitude": (three, everywhere(scenario.longitude)),
        "point_latitude": (three, everywhere(scenario.latitude)),
        "point_local_true_solar_time": (three, everywhere(hour)),
        "tangent_altitude_ellipsoid": (three, heights + 0.4),
        "tangent_altitude_areoid": (three, heights),
        "tangent_altitude_surface": (three, heights),
        "slant_path_distance": (three, path),
    }
    start = times[:, 0].astype("datetime64[ns]")
    middle = start + (times[:, 1].astype("datetime64[ns]") - start) // 2
    coords: dict[str, Any] = {
        "wavelength": ("pixel", np.round(pixel_nm, 3)),
        "tangent_altitude": ("spectrum", tangent),
        "time": ("spectrum", middle),
        "latitude": ("spectrum", np.full(n, scenario.latitude)),
        "longitude": ("spectrum", np.full(n, scenario.longitude)),
        "local_true_solar_time": ("spectrum", hour.mean(axis=1)),
        "solar_longitude": ("spectrum", ls.mean(axis=1)),
    }
    attrs = {
        "title": "NOMAD Experiment (SYNTHETIC)",
        "instrument": "NOMAD",
        "channel": "uvis",
        "observation_type": "ingress",
        "orbit": 2000,
        "product_pixels": scenario.pixels,
    }
    return xr.Dataset(data, coords, attrs)


def _truth(
    scenario: UvisScenario,
    air: xr.Dataset,
    tangent: Array,
    clean: Array,
    column: Array,
) -> xr.Dataset:
    z = air["altitude"].values
    vmr = scenario.mole_fraction(z)
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
            "seed": scenario.seed,
        },
    )
