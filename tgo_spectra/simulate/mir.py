"""Simulated ACS MIR occultations, line by line: nothing of the fit's tables is in them.

Cross sections are summed from line lists at every level, transmittances on a finer axis
than that of a table, and the double image is convolved directly, pixel by pixel and
detector row by detector row. Dispersion, order numbers, stripes and heights of the
detector rows are *inferred*, as are the products themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.files.atomic import output_folder
from tgo_spectra.instruments.acs_mir import DoubleImage, line_shape
from tgo_spectra.simulate.air import air_of, chord_weights, mole_fractions_of
from tgo_spectra.simulate.detector import Signal, disturbed, noisy
from tgo_spectra.simulate.options import (
    GASES,
    check_numbers,
    described,
    make_scenario,
    option,
    require,
)
from tgo_spectra.simulate.product import mir_files, write_with_truth
from tgo_spectra.simulate.scenario import HEIGHTS, SHIFT, Scenario
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
FRAME_SECONDS = 2.0
STATE_STEP_KM = 0.5
"""Levels at which cross sections are computed; linear in between."""

TOP_KM = 100.0
SLIT_POINTS = 4
FACTORS = (0.0, 1e6)
"""Limits of factors on gases."""


@described
@dataclass(frozen=True, kw_only=True)
class MirScenario(Scenario):
    """Options of a simulated occultation."""

    start: str = option("2019-03-01T18:44:30", "Start of the observation, UTC.")
    orbit: int = option(5666, "Number in the label.", limits=(0, 999_999))
    orders: tuple[int, ...] = option(
        (179, 181, 182), "Diffraction orders, each a stripe.", limits=(1, 300)
    )
    first_pixel_cm1: tuple[float, ...] | None = option(
        None, "Wavenumber of pixel 0 of each order; default: the order's middle at "
        "``order_step_cm1`` times the order (*inferred*).", limits=(500.0, 10_000.0),
        unit="cm-1",
    )  # fmt: skip
    pixels: int = option(640, "Of the detector.", limits=(50, 2000))
    dispersion_cm1: float = option(
        0.0265, "Wavenumber from pixel to pixel in the middle (*inferred*).",
        limits=(1e-4, 1.0), unit="cm-1",
    )  # fmt: skip
    order_step_cm1: float = option(
        16.85, "Wavenumber from order to order (*inferred*).", limits=(1.0, 100.0),
        unit="cm-1",
    )  # fmt: skip
    shift_px: tuple[float, ...] | None = option(
        None, "True wavenumber less the product's, per order.", **SHIFT
    )
    stretch_px: float = option(0.05, "Growth of the shift to the end.", **SHIFT)
    bend_px: float = option(
        0.0, "Factor of the shift's second Legendre polynomial.", **SHIFT
    )
    resolving_power: float = option(
        30000.0, "Of the line shape (*to be verified*).", limits=(10.0, 1e7)
    )
    second_shift_cm1: float = option(
        -0.11, "Distance of the second image (*to be verified*).", limits=(-5.0, 5.0),
        unit="cm-1",
    )  # fmt: skip
    second_amplitude: tuple[float, float] = option(
        (0.5, 0.5), "Its height at both ends of an order.", limits=(0.0, 10.0)
    )
    rows_per_stripe: int = option(
        5, "Detector rows of a stripe, an odd number.", limits=(1, 101)
    )
    row_step_km: float = option(
        0.2, "Tangent altitude from row to row.", limits=(0.0, 5.0), unit="km"
    )
    tilt_px: float = option(0.02, "Wavenumber from row to row.", **SHIFT)
    slit_km: float = option(
        0.3, "What one row averages.", limits=(0.0, 50.0), unit="km"
    )
    altitude_range: tuple[float, float] = option(
        (5.0, 60.0), "Tangent altitudes of the last and first frame.", **HEIGHTS
    )
    frames: int = option(56, "From the highest to the lowest.", limits=(2, 2000))
    mole_fraction: dict[str, Profile] = option(
        {}, "Of gases: a number, or (altitudes in km, values); default: the "
        "atmosphere's, zero if it has none.", kind=GASES,
    )  # fmt: skip
    factor: dict[str, float] = option(
        {}, "On the mole fraction of a gas, such as on the strength of a band.",
        limits=FACTORS,
    )  # fmt: skip
    aerosol_depth: float = option(
        0.5, "Slant optical depth at 0 km.", limits=(0.0, 1e3)
    )
    aerosol_scale_km: float = option(
        10.0, "Its scale height.", limits=(0.1, 1e3), unit="km"
    )
    aerosol_exponent: float = option(
        0.5, "Depth grows as wavenumber to this power.", limits=(-10.0, 10.0)
    )
    curvature: float = option(
        2e-3, "Size of the quadratic part of each row's brightness along the detector.",
        limits=(-1.0, 1.0),
    )  # fmt: skip
    snr: float = option(
        1000.0, "Of a pixel of one detector row at transmittance 1.",
        limits=(1e-3, 1e12),
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse options that make no product."""
        super().__post_init__()
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


def absorb(scenario: MirScenario, lines: Lines) -> MirAbsorption:
    """Sum the lines along all paths.

    Parameters
    ----------
    scenario : MirScenario
    lines : mapping of str to (Dataset, broadening)
        As for `tgo_spectra.spectroscopy.tables.build_table`.

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
    air = air_of(scenario, levels)
    chord = chord_weights(mars.MEAN_RADIUS_KM, heights, levels)
    chord *= air["number_density"].values
    states = np.arange(levels[0], TOP_KM + STATE_STEP_KM, STATE_STEP_KM)
    between = _linear(states, levels)
    there = air_of(scenario, states)
    vmr = mole_fractions_of(scenario, lines, air)
    vmr = {gas: v * scenario.factor.get(gas, 1.0) for gas, v in vmr.items()}
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
    check_numbers("factors", dict(factors or {}), "dict[str, float]", FACTORS)
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
    group = np.zeros(scenario.frames, dtype=np.int64)
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
            expected = disturbed(
                scenario, here * gain, error, place, altitude, group, part=row
            )
            signal = Signal(expected, error, group, dict)
            white = rng.standard_normal(here.shape)
            data[:, row, 0] = noisy(scenario, signal, white)
            data[:, row, 1] = error * scenario.error_factor
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
    width = middle / scenario.resolving_power * scenario.resolution_factor
    image = DoubleImage(
        low, middle, high, 0.0, 0.0, 0.0, scenario.second_shift_cm1,
        width * (low / middle) ** 2,
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
         **scenario.record()},
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
    scenario = make_scenario(MirScenario, options)
    made = simulate_mir(scenario, absorption or absorb(scenario, lines), factors)
    seconds = FRAME_SECONDS * np.arange(scenario.frames)
    times = np.datetime64(scenario.start, "ms") + (1e3 * seconds).astype("m8[ms]")
    columns = {"TangentAltitude": (made.altitude_km.astype("<f8"), "km")}
    arrays = {
        "Wavelength": (made.wavelength.astype("<f8"), "cm**-1"),
        "Orders": (made.orders.astype("<f8"), ""),
        "Data": (made.data.astype("<f4"), ""),
    }
    folder = output_folder(out_dir)
    files = mir_files(folder, times, scenario.orbit, columns, arrays)
    return write_with_truth(files, made.truth, overwrite=overwrite)
