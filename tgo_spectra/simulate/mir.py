"""Simulated ACS MIR occultations, line by line: nothing of the fit's tables is in them.

Cross sections are summed from line lists at every level, transmittances on a finer axis
than that of a table, and the double image is convolved directly, pixel by pixel and
detector row by detector row. Dispersion, order numbers, stripes and heights of the
detector rows are *inferred*, as are the products themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import geometry, mars
from tgo_spectra.atmosphere.profile import reference_atmosphere
from tgo_spectra.files.atomic import output_folder
from tgo_spectra.instruments.acs_mir import DoubleImage, line_shape
from tgo_spectra.simulate.options import (
    check_mole_fractions,
    check_numbers,
    check_options,
    make_scenario,
    mole_fraction,
    require,
)
from tgo_spectra.spectroscopy.absorption import cross_section_grid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.simulate.options import Profile
    from tgo_spectra.spectroscopy.lineparameters import Broadening

    Array = npt.NDArray[np.float64]
    Lines = Mapping[str, tuple[xr.Dataset, Broadening]]

__all__ = [
    "MirAbsorption",
    "MirScenario",
    "MirSimulation",
    "absorb",
    "simulate_mir",
    "simulate_mir_product",
]

STEP_CM1 = 0.0008
"""Fine axis: half the Doppler half width of CO2 at 100 K and 3000 cm-1."""

REACH_CM1 = 1.2
WING_CM1 = 25.0
"""Lines so far outside an order still count."""

HEIGHT_STEP_KM = 0.25
LEVEL_STEP_KM = 0.125
STATE_STEP_KM = 0.5
"""Levels at which cross sections are computed; linear in between."""

TOP_KM = 100.0
SLIT_POINTS = 4


@dataclass(frozen=True, kw_only=True)
class MirScenario:
    """Options of a simulated occultation.

    Attributes
    ----------
    orders : tuple of int
        Diffraction orders, each a stripe.
    first_pixel_cm1 : tuple of float, optional
        Wavenumber of pixel 0 of each order; default: the order's middle at
        ``order_step_cm1`` times the order (*inferred*).
    pixels : int
        Pixels of the detector.
    dispersion_cm1, order_step_cm1 : float
        Wavenumber from pixel to pixel in the middle, and from order to order
        (*inferred*).
    shift_px, stretch_px, bend_px : tuple of float, float, float
        True wavenumber less the product's, per order; its growth to the end; and the
        factor of its second Legendre polynomial.
    resolving_power, second_shift_cm1, second_amplitude : float, float, tuple of float
        Line shape (*to be verified*); the height at both ends of an order.
    rows_per_stripe : int
        Detector rows of a stripe, an odd number.
    row_step_km, tilt_px, slit_km : float
        Tangent altitude and wavenumber from row to row, and what one row averages.
    altitude_range, frames : tuple of float, int
        Tangent altitudes of the first and last frame, km.
    mole_fraction : dict
        Of gases: a number, or (altitudes in km, values); default: the reference
        atmosphere's, zero if it has none.
    negative : bool
        Allow negative mole fractions, as those of truths drawn from a Gaussian a
        priori; nothing real has them.
    factor : dict of str to float
        Factor on the mole fraction of a gas, such as on the strength of a band.
    aerosol_depth, aerosol_scale_km, aerosol_exponent : float
        Slant optical depth at 0 km, its scale height and spectral exponent.
    curvature : float
        Size of the quadratic part of each row's brightness along the detector.
    snr : float
        Of a pixel of one detector row at transmittance 1.
    noise, seed : bool, int
        Whether noise is added; of noise and brightness.
    """

    orders: tuple[int, ...] = (179, 181, 182)
    first_pixel_cm1: tuple[float, ...] | None = None
    pixels: int = 640
    dispersion_cm1: float = 0.0265
    order_step_cm1: float = 16.85
    shift_px: tuple[float, ...] | None = None
    stretch_px: float = 0.05
    bend_px: float = 0.0
    resolving_power: float = 30000.0
    second_shift_cm1: float = -0.11
    second_amplitude: tuple[float, float] = (0.5, 0.5)
    rows_per_stripe: int = 5
    row_step_km: float = 0.2
    tilt_px: float = 0.02
    slit_km: float = 0.3
    altitude_range: tuple[float, float] = (5.0, 60.0)
    frames: int = 56
    mole_fraction: dict[str, Profile] = field(default_factory=dict)
    factor: dict[str, float] = field(default_factory=dict)
    aerosol_depth: float = 0.5
    aerosol_scale_km: float = 10.0
    aerosol_exponent: float = 0.5
    curvature: float = 2e-3
    snr: float = 1000.0
    noise: bool = True
    negative: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        check_options(self)
        per_order = (self.first_pixel_cm1, self.shift_px)
        fits = all(v is None or len(v) == len(self.orders) for v in per_order)
        conditions = (
            ("orders", self.orders, len(set(self.orders)) == len(self.orders) > 0,
             "must be different"),
            ("shift_px", self.shift_px, fits, "and the like need a value per order"),
            ("rows_per_stripe", self.rows_per_stripe,
             self.rows_per_stripe % 2 == 1, "must be odd"),
            ("altitude_range", self.altitude_range,
             0.0 <= self.altitude_range[0] < self.altitude_range[1] <= 90.0,
             "must ascend within 0..90"),
        )  # fmt: skip
        require(conditions)
        check_mole_fractions(self.mole_fraction, negative=self.negative)

    def axis(self, index: int, pixel: npt.ArrayLike) -> Array:
        """Wavenumber of (fractional) pixels of an order in the product, cm-1."""
        middle = 0.5 * (self.pixels - 1)
        x = np.asarray(pixel, dtype=float) - middle
        order = self.orders[index]
        centre = self.order_step_cm1 * order
        if self.first_pixel_cm1 is not None:
            centre = self.first_pixel_cm1[index] + self.dispersion_cm1 * middle
        # an echelle's dispersion shrinks along the order by some percent
        return centre + self.dispersion_cm1 * x * (1.0 - 0.01 * x / middle)

    def moved(self, index: int) -> Array:
        """Where on the product's axis the pixels truly are, in pixels."""
        pixel = np.arange(self.pixels, dtype=float)
        half = 0.5 * (self.pixels - 1)
        shift = 0.0 if self.shift_px is None else self.shift_px[index]
        x = (pixel - half) / half
        bend = self.bend_px * (1.5 * x**2 - 0.5)
        return pixel + shift + self.stretch_px * x + bend


@dataclass(frozen=True)
class MirAbsorption:
    """Optical depth by order and gas for the mole fractions of a scenario.

    ``depth``: per order and gas (height, point), at the fine axis ``nu_cm1`` of the
    order and the tangent heights ``height_km``; ``air`` and ``vmr`` on its altitudes.
    """

    nu_cm1: tuple[Array, ...]
    height_km: Array
    depth: tuple[dict[str, Array], ...]
    air: xr.Dataset
    vmr: dict[str, Array]


@dataclass(frozen=True)
class MirSimulation:
    """A simulated product's arrays, in the layout of the archive (*inferred*).

    ``data``: (frame, row, 2, pixel); ``wavelength``: (1, row, pixel), cm-1;
    ``orders``: (1, stripe, 2); ``altitude_km``: (frame,); ``truth``: what was put in.
    """

    data: npt.NDArray[np.float32]
    wavelength: Array
    orders: Array
    altitude_km: Array
    truth: xr.Dataset


def _profile(scenario: MirScenario, gas: str, air: xr.Dataset) -> Array:
    z = air["altitude"].values
    given = scenario.mole_fraction.get(gas)
    if given is None:
        name = f"{gas}_vmr"
        values = air[name].values if name in air else np.zeros(z.size)
    else:
        values = mole_fraction(gas, given, z, negative=scenario.negative)
    return np.asarray(values, float) * scenario.factor.get(gas, 1.0)


def absorb(scenario: MirScenario, lines: Lines) -> MirAbsorption:
    """Sum the lines along all paths.

    Parameters
    ----------
    scenario : MirScenario
    lines : mapping of str to (Dataset, broadening)
        As for `tgo_spectra.spectroscopy.tables.read.build_table`.

    Returns
    -------
    MirAbsorption

    Raises
    ------
    LineListError
        A list does not serve its gas or broadening.
    """
    margin = 1.5 + 0.5 * scenario.rows_per_stripe * scenario.row_step_km
    bottom = max(scenario.altitude_range[0] - margin, 0.0)
    heights = np.arange(
        np.floor(bottom / HEIGHT_STEP_KM) * HEIGHT_STEP_KM,
        scenario.altitude_range[1] + margin,
        HEIGHT_STEP_KM,
    )
    levels = np.arange(heights[0], TOP_KM, LEVEL_STEP_KM)
    air = reference_atmosphere(levels)
    chord = geometry.path_weights(
        mars.MEAN_RADIUS_KM + heights, mars.MEAN_RADIUS_KM + levels
    )
    chord *= air["number_density"].values
    states = np.arange(levels[0], TOP_KM + STATE_STEP_KM, STATE_STEP_KM)
    between = _linear(states, levels)
    there = reference_atmosphere(states)
    vmr = {gas: _profile(scenario, gas, air) for gas in lines}
    axes, depths = [], []
    for index in range(len(scenario.orders)):
        ends = scenario.axis(index, np.array([-3.0, scenario.pixels + 2.0]))
        low, high = ends.min() - REACH_CM1, ends.max() + REACH_CM1
        nu = low + STEP_CM1 * np.arange(int((high - low) / STEP_CM1) + 1)
        depth = {}
        for gas, (listed, broadening) in lines.items():
            distance = np.abs(listed["wavenumber"].values - 0.5 * (low + high))
            if not (distance < 0.5 * (high - low) + WING_CM1).any():
                depth[gas] = np.zeros((heights.size, nu.size))
                continue
            sigma = cross_section_grid(
                listed, nu, there["pressure"].values, there["temperature"].values,
                broadening, wing=WING_CM1, gas=gas,
            )  # fmt: skip
            depth[gas] = ((chord * vmr[gas]) @ between) @ sigma
        axes.append(nu)
        depths.append(depth)
    return MirAbsorption(tuple(axes), heights, tuple(depths), air, vmr)


def _linear(knots: Array, points: Array) -> Array:
    """Linear interpolation as a matrix (point, knot)."""
    at = np.clip(np.searchsorted(knots, points, "right") - 1, 0, knots.size - 2)
    part = (points - knots[at]) / (knots[at + 1] - knots[at])
    matrix = np.zeros((points.size, knots.size))
    rows = np.arange(points.size)
    matrix[rows, at] = 1.0 - part
    matrix[rows, at + 1] = part
    return matrix


def simulate_mir(
    scenario: MirScenario,
    absorption: MirAbsorption,
    factors: Mapping[str, float] | None = None,
) -> MirSimulation:
    """Make the detector frames of one occultation.

    Parameters
    ----------
    scenario : MirScenario
    absorption : MirAbsorption
        From `absorb` with the same orders, axes and altitudes.
    factors : dict of str to float, optional
        Factors on the optical depths of gases, by default 1; 0 leaves a gas out.

    Returns
    -------
    MirSimulation
    """
    check_numbers("factors", dict(factors or {}), "dict[str, float]")
    rng = np.random.default_rng(scenario.seed)
    altitude = np.linspace(*scenario.altitude_range[::-1], scenario.frames)
    rows, n = scenario.rows_per_stripe, len(scenario.orders)
    offset = np.arange(rows) - rows // 2
    shape = (scenario.frames, n * rows, 2, scenario.pixels)
    data = np.zeros(shape, dtype=np.float32)
    wavelength = np.zeros((1, n * rows, scenario.pixels))
    wanted = dict.fromkeys(absorption.vmr, 1.0) | dict(factors or {})
    x = np.linspace(-1.0, 1.0, scenario.pixels)
    clean = np.empty((scenario.frames, n, scenario.pixels))
    for index in range(n):
        nu = absorption.nu_cm1[index]
        parts = [wanted[gas] * d for gas, d in absorption.depth[index].items()]
        dust = scenario.aerosol_depth * np.exp(
            -absorption.height_km / scenario.aerosol_scale_km
        )
        colour = (nu / nu.mean()) ** scenario.aerosol_exponent
        through = np.exp(-np.sum(parts, axis=0) - dust[:, None] * colour)
        for k, step in enumerate(offset):
            tilt = scenario.tilt_px * step
            place = scenario.axis(index, scenario.moved(index) + tilt)
            seen = _convolved(scenario, nu, through, place)
            here = _averaged(
                absorption.height_km, seen, altitude + step * scenario.row_step_km,
                scenario.slit_km,
            )  # fmt: skip
            row = index * rows + k
            pixel = np.arange(scenario.pixels, dtype=float)
            wavelength[0, row] = scenario.axis(index, pixel + tilt)
            bend = scenario.curvature * rng.standard_normal((scenario.frames, 2))
            gain = 1.0 + bend[:, :1] + bend[:, 1:] * x**2
            error = np.sqrt(np.clip(here, 1e-3, None)) / scenario.snr
            noise = error * rng.standard_normal(here.shape) * scenario.noise
            data[:, row, 0] = here * gain + noise
            data[:, row, 1] = error
            if step == 0:
                clean[:, index] = here
    pairs = [[order, k * rows + rows // 2] for k, order in enumerate(scenario.orders)]
    truth = _truth(scenario, absorption, wanted, altitude, clean)
    return MirSimulation(data, wavelength, np.array([pairs], float), altitude, truth)


def _convolved(
    scenario: MirScenario, nu: Array, through: Array, place_cm1: Array
) -> Array:
    """Transmittance at pixels, (height, pixel): the line shape times each spectrum."""
    low, high = float(place_cm1.min()), float(place_cm1.max())
    middle = 0.5 * (low + high)
    image = DoubleImage(
        low, middle, high, 0.0, 0.0, 0.0, scenario.second_shift_cm1,
        middle / scenario.resolving_power * (low / middle) ** 2,
        *scenario.second_amplitude,
    )  # fmt: skip
    result = np.empty((through.shape[0], place_cm1.size))
    for p, centre in enumerate(place_cm1):
        first, last = np.searchsorted(nu, [centre - 0.8, centre + 0.8])
        weight = line_shape(nu[first:last] - centre, centre, image)
        result[:, p] = through[:, first:last] @ (weight / weight.sum())
    return result


def _averaged(
    height_km: Array, field_: Array, centre_km: Array, width_km: float
) -> Array:
    """Mean over a slit at each frame, by Gauss-Legendre points of a cubic spline."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(height_km, field_)
    points, weights = np.polynomial.legendre.leggauss(SLIT_POINTS)
    parts = [
        0.5 * w * spline(centre_km + 0.5 * width_km * x)
        for x, w in zip(points, weights, strict=True)
    ]
    return np.asarray(np.sum(parts, axis=0))


def _truth(
    scenario: MirScenario,
    absorption: MirAbsorption,
    factors: Mapping[str, float],
    altitude: Array,
    clean: Array,
) -> xr.Dataset:
    air = absorption.air
    profiles: dict[str, Any] = {
        f"{gas}_vmr": ("altitude", factors[gas] * values, {"units": "1"})
        for gas, values in absorption.vmr.items()
    }
    shift = np.zeros(len(scenario.orders))
    if scenario.shift_px is not None:
        shift = np.array(scenario.shift_px)
    return xr.Dataset(
        {
            **profiles,
            "tangent_altitude": ("frame", altitude, {"units": "km"}),
            "transmittance": (("frame", "stripe", "pixel"), clean, {"units": "1"}),
            "wavenumber_shift": ("stripe", shift, {"units": "1"}),
        },
        {
            "altitude": ("altitude", air["altitude"].values, {"units": "km"}),
            "order": ("stripe", np.array(scenario.orders)),
        },
        {"title": "what a simulated ACS MIR occultation was made of",
         "stretch_px": scenario.stretch_px, "snr": scenario.snr,
         "seed": scenario.seed},
    )  # fmt: skip


def simulate_mir_product(
    out_dir: str | Path,
    lines: Lines,
    *,
    absorption: MirAbsorption | None = None,
    factors: Mapping[str, float] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Simulate an ACS MIR occultation and write it as calibrated product.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    lines : mapping of str to (Dataset, broadening)
        Line list and broadening of each gas.
    absorption : MirAbsorption, optional
        From `absorb` with the same options, to be used again.
    factors : dict of str to float, optional
        As in `simulate_mir`.
    overwrite : bool
        Replace a product of the same name; by default that is refused.
    **options
        Fields of `MirScenario`.

    Returns
    -------
    Path
        Label; the geometry product and the truth (``<name>.truth.nc``) are beside it.

    Raises
    ------
    SetupError
        An option makes no product.
    """
    from tgo_spectra.simulate.acs_product import mir_files
    from tgo_spectra.simulate.writing import write_files

    scenario = make_scenario(MirScenario, options)
    made = simulate_mir(scenario, absorption or absorb(scenario, lines), factors)
    files = mir_files(output_folder(out_dir), made)
    truth = list(files)[-1].with_suffix(".truth.nc")
    return write_files({truth: made.truth, **files}, overwrite=overwrite)
