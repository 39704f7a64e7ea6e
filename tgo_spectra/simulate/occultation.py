"""Physics of a simulated occultation.

A path of its own, finer than the fit's: transmittance on the nodes of the table in
double precision, at tangent heights 0.25 km apart through levels 0.125 km apart; the
aerosol's spectral exponent exactly on the nodes; a response written anew for each bin
at its own shift; all orders that the table covers; the field of view as a quadrature
over local cubics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.errors import TableError
from tgo_spectra.instruments import so as instrument
from tgo_spectra.simulate import pointing
from tgo_spectra.simulate.air import air_of, chord_weights, mole_fractions_of
from tgo_spectra.simulate.detector import Signal, Simulation, disturbed, noisy
from tgo_spectra.simulate.layout import LAYOUTS
from tgo_spectra.simulate.response import moments, so_response
from tgo_spectra.spectroscopy import tables
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.simulate.scenario import SoScenario

    Array = npt.NDArray[np.float64]

__all__ = ["simulate"]

HEIGHT_STEP_KM = 0.25
LEVEL_STEP_KM = 0.125
TOP_KM = 160.0
MOST_ORDERS = 8
HALF_DETECTOR_PX = 159.5
DARK_PART = 0.3
"""Noise of a dark spectrum over that of a full one."""
NOISY_FACTOR = 25.0
ROW_QUADRATURE = (6, 4, 2)


@dataclass(frozen=True)
class _Column:
    """Gases and air along altitude; ``vmr`` per gas on the levels."""

    air: xr.Dataset
    vmr: dict[str, Array]
    radius_km: float


@dataclass(frozen=True)
class _Drawn:
    """Random values of a product, drawn in a fixed order."""

    shift_px: float
    stretch_px: float
    bin_shift_px: Array
    drift_px: Array
    gain: Array
    excess: Array
    white: Array


def simulate(scenario: SoScenario) -> Simulation:
    """Simulate an occultation.

    Raises
    ------
    TableError
        The table does not cover the order, or a pressure or temperature.
    AtmosphereError
        The atmosphere is not usable.
    """
    band, attrs = _band(scenario)
    heights_low = scenario.altitude_range[0] - 1.5
    column = _column(scenario, band, heights_low)
    rows = pointing.point(scenario, column.radius_km)
    drawn = _draw(scenario, rows)
    heights = np.arange(
        np.floor(heights_low / HEIGHT_STEP_KM) * HEIGHT_STEP_KM,
        scenario.altitude_range[1] + 1.5,
        HEIGHT_STEP_KM,
    )
    aerosol = aerosol_depth(scenario, heights)
    nodes = _node_transmittance(scenario, band, column, heights, aerosol)
    n_orders = _orders(scenario, band)
    clean, fraction = _clean(scenario, band, rows, drawn, heights, nodes, n_orders)
    sigma = _error(scenario, clean)
    axis = _wavenumber(scenario, np.arange(instrument.PIXELS) + _shifts(drawn, rows))
    expected = disturbed(
        scenario, clean * drawn.gain, sigma, axis, rows.altitude_km, rows.bin
    )
    signal = Signal(expected, sigma, rows.bin, _variables, drawn.excess)
    measured = noisy(scenario, signal, drawn.white)
    level1 = _level1(scenario, rows, measured, sigma * scenario.error_factor)
    truth = _truth(scenario, rows, column, drawn, clean, signal, fraction, heights)
    truth.attrs |= {"n_orders": n_orders, "table_sha256": attrs}
    return Simulation(level1, truth, scenario, signal, rows.window)


def _variables(measured: Array) -> dict[str, Array]:
    return {"transmittance": measured}


def aerosol_depth(scenario: SoScenario, height_km: Array) -> Array:
    """Slant optical depth of the aerosol at the centre of the order."""
    depth = scenario.aerosol_depth * np.exp(-height_km / scenario.aerosol_scale_km)
    if scenario.aerosol_layer is not None:
        peak, centre, width = scenario.aerosol_layer
        depth = depth + peak * np.exp(-0.5 * ((height_km - centre) / width) ** 2)
    return np.asarray(depth)


def _band(scenario: SoScenario) -> tuple[tables.BandTable, str]:
    from tgo_spectra.retrieval.choice import default_setup, require_table
    from tgo_spectra.retrieval.registry import files_of

    source = scenario.table
    if source is None:
        setup = default_setup("so", scenario.order, "occultation")
        require_table(setup)
        (source,) = files_of(setup)
    dataset = source if isinstance(source, xr.Dataset) else tables.open_table(source)
    return tables.table_arrays(dataset), str(dataset.attrs.get("content_sha256", ""))


def _column(scenario: SoScenario, band: tables.BandTable, low_km: float) -> _Column:
    levels = np.arange(np.floor(low_km) - 1.0, TOP_KM, LEVEL_STEP_KM)
    # the mean of the spectra, as a fit takes it; it does not depend on the radius
    rows = pointing.point(scenario, mars.MEAN_RADIUS_KM)
    latitude = rows.variables["point_latitude"][:, 0]
    seconds = np.rint(1e3 * rows.edges[:, 0]).astype("timedelta64[ms]")
    season = mars.solar_longitude(np.datetime64(scenario.start, "ms") + seconds)
    place = {
        "solar_longitude": mars.mean_direction(season, 360.0),
        "latitude": float(latitude.mean()),
    }
    air = air_of(scenario, levels, place)
    radius = scenario.planet_radius_km
    if radius is None:
        radius = float(air.attrs.get("planet_radius_km", mars.MEAN_RADIUS_KM))
    wanted = band.vectors if scenario.gases is None else scenario.gases
    gases = sorted({*wanted, *scenario.vmr})
    for gas in gases:
        if gas not in band.vectors:
            message = f"the table has no {gas}; it has {', '.join(band.vectors)}"
            raise TableError(message, field="vmr", value=gas, rule="table.no_gas")
    return _Column(air, mole_fractions_of(scenario, gases, air), radius)


def _node_transmittance(
    scenario: SoScenario,
    band: tables.BandTable,
    column: _Column,
    heights_km: Array,
    aerosol: Array,
) -> Array:
    """Monochromatic transmittance on the nodes, shape (node, height)."""
    levels = column.air["altitude"].values
    chord = chord_weights(column.radius_km, heights_km, levels)
    chord *= column.air["number_density"].values
    centre = _centre(scenario)
    colour = (band.nodes_cm1 / centre) ** scenario.aerosol_exponent
    depth = colour[:, None] * aerosol
    for gas, vmr in column.vmr.items():
        if not vmr.any():
            continue
        coefficients = interpolate_coefficients(
            band.coefficients[gas],
            band.ln_pressure,
            band.temperature_k,
            column.air["pressure"].values,
            column.air["temperature"].values,
            doppler_limit=True,
        )
        along = (chord * vmr) @ coefficients.T
        depth += band.vectors[gas].T.astype(np.float64) @ along.T
    np.negative(depth, out=depth)
    return np.exp(depth, out=depth)


def _centre(scenario: SoScenario) -> float:
    """Wavenumber of the middle of the detector, cm-1, to which aerosol depths refer."""
    return float(
        instrument.pixel_wavenumber(
            scenario.order, HALF_DETECTOR_PX, scenario.temperature_c, "archive"
        )
    )


def _wavenumber(scenario: SoScenario, pixel: Array) -> Array:
    return instrument.pixel_wavenumber(
        scenario.order, pixel, scenario.temperature_c, "archive"
    )


def _orders(scenario: SoScenario, band: tables.BandTable) -> int:
    if scenario.n_orders is not None:
        return scenario.n_orders
    nu = _wavenumber(scenario, np.array([-2.0, instrument.PIXELS + 1.0]))
    first, last = int(band.node_cell[0]), int(band.node_cell[-1]) + 1
    start = float(band.cell_start_cm1[0] + band.cell_width_cm1 * first)
    stop = float(band.cell_start_cm1[0] + band.cell_width_cm1 * last)
    number = instrument.covered_orders(nu, scenario.order, start, stop, MOST_ORDERS)
    if number < 0:
        message = f"the table covers {start:.1f}..{stop:.1f} cm-1, not this order"
        raise TableError(
            message, field="order", value=scenario.order, rule="table.coverage"
        )
    return number


def _clean(
    scenario: SoScenario,
    band: tables.BandTable,
    rows: pointing.Pointing,
    drawn: _Drawn,
    heights_km: Array,
    nodes: Array,
    n_orders: int,
) -> tuple[Array, Array]:
    """Spectra (row, pixel) that an ideal detector sees, and the parts of the orders."""
    clean = np.zeros((rows.altitude_km.size, instrument.PIXELS))
    in_cells = moments(band) @ nodes
    pixel = np.arange(instrument.PIXELS)
    fraction = np.empty(0)
    for b in range(scenario.n_bins):
        chosen = rows.bin == b
        view = _row_weights(
            scenario, heights_km, rows.altitude_km[chosen], rows.motion_km
        )
        shift = drawn.shift_px + drawn.bin_shift_px[b]
        for drift, share in _drifts(drawn.drift_px[chosen], scenario.drift_px):
            nu = _wavenumber(scenario, pixel + shift_of(shift + drift, drawn))
            response, fraction = so_response(scenario, band, nu, n_orders)
            clean[chosen] += share[:, None] * (view @ (response @ in_cells).T)
    return clean, fraction


def _drifts(drift_px: Array, whole_px: float) -> list[tuple[float, Array]]:
    """Shifts at which spectra are calculated, and the share of each in the rows.

    Between Chebyshev points by the polynomial through all: 2e-6 of a line at 0.6 px.
    """
    if not whole_px:
        return [(0.0, np.ones(drift_px.size))]
    number = 5 + int(4.0 * abs(whole_px))
    points = 0.5 * whole_px * np.cos(np.pi * (np.arange(number) + 0.5) / number)
    result = []
    for k, point in enumerate(points):
        others = np.delete(points, k)
        factors = (drift_px[:, None] - others) / (point - others)
        result.append((float(point), factors.prod(axis=1)))
    return result


def _shifts(drawn: _Drawn, rows: pointing.Pointing) -> Array:
    """Shift of every pixel in every spectrum (row, pixel), in pixels."""
    by_row = drawn.bin_shift_px[rows.bin] + drawn.drift_px
    return by_row[:, None] + shift_of(drawn.shift_px, drawn)


def shift_of(shift_px: float, drawn: _Drawn) -> Array:
    """Shift of every pixel, in pixels."""
    position = (np.arange(instrument.PIXELS) - HALF_DETECTOR_PX) / HALF_DETECTOR_PX
    return np.asarray(shift_px + drawn.stretch_px * position)


def _row_weights(
    scenario: SoScenario, heights_km: Array, centre_km: Array, motion_km: float
) -> Array:
    """Average over the field of view, shape (row, height).

    Gauss-Legendre points of the three boxcars; between heights the cubic through the
    four nearest ones.
    """
    points = np.zeros(1)
    weights = np.ones(1)
    boxes = sorted((*scenario.boxcars_km, motion_km), reverse=True)
    for width, number in zip(boxes, ROW_QUADRATURE, strict=True):
        x, w = np.polynomial.legendre.leggauss(number)
        points = (points[:, None] + 0.5 * width * x).ravel()
        weights = (weights[:, None] * (0.5 * w)).ravel()
    at = ((centre_km[:, None] + points) - heights_km[0]) / HEIGHT_STEP_KM
    base = np.clip(np.floor(at).astype(np.int64), 1, heights_km.size - 3)
    u = at - base
    cubic = (
        -u * (u - 1.0) * (u - 2.0) / 6.0,
        (u + 1.0) * (u - 1.0) * (u - 2.0) / 2.0,
        -(u + 1.0) * u * (u - 2.0) / 2.0,
        (u + 1.0) * u * (u - 1.0) / 6.0,
    )
    view = np.zeros((centre_km.size, heights_km.size))
    row = np.arange(centre_km.size)[:, None]
    for k, part in enumerate(cubic):
        np.add.at(view, (row, base + k - 1), part * weights)
    return view


def _draw(scenario: SoScenario, rows: pointing.Pointing) -> _Drawn:
    rng = np.random.default_rng(scenario.seed)
    shift = rng.uniform(-0.6, 0.6)
    stretch = rng.uniform(-0.1, 0.1)
    bin_shift = rng.normal(0.0, 0.03, scenario.n_bins)
    n = rows.altitude_km.size
    wobble = scenario.wobble * rng.standard_normal(n)
    drift, bend = scenario.calibration * rng.uniform(-1.0, 1.0, (2, scenario.n_bins))
    white = rng.standard_normal((n, instrument.PIXELS))
    excess = np.ones_like(white)
    for b, pixel in scenario.noisy_pixels:
        if 0 <= b < scenario.n_bins and 0 <= pixel < instrument.PIXELS:
            excess[rows.bin == b, pixel] = NOISY_FACTOR
    x = (np.arange(instrument.PIXELS) - HALF_DETECTOR_PX) / HALF_DETECTOR_PX
    time = rows.second / max(float(rows.second.max()), 1.0)
    level = 1.0 + wobble + drift[rows.bin] * (time - 0.5)
    gain = level[:, None] + bend[rows.bin][:, None] * (x**2 - 1.0 / 3.0)
    given = scenario.bin_shift_px
    return _Drawn(
        shift_px=float(shift if scenario.shift_px is None else scenario.shift_px),
        stretch_px=float(
            stretch if scenario.stretch_px is None else scenario.stretch_px
        ),
        bin_shift_px=bin_shift if given is None else np.asarray(given, dtype=float),
        drift_px=scenario.drift_px * (time - 0.5),
        gain=gain,
        excess=excess,
        white=white,
    )


def _error(scenario: SoScenario, clean: Array) -> Array:
    """Error column: Sun and dark noise combined as the archive's calibration does.

    ``dP = (dS - dU) sqrt(T) + dU`` and ``dT^2 = (dP / S)^2 + (T dS / S)^2`` (Trompet
    et al. 2016, Appl. Opt. 55, 9275); the Sun's noise follows the blaze.
    """
    nu = _wavenumber(scenario, np.arange(float(instrument.PIXELS)))
    centre = float(
        instrument.aotf_centre(scenario.frequency_khz, scenario.temperature_c)
    )
    fsr = float(instrument.free_spectral_range(centre, scenario.temperature_c))
    light = instrument.blaze(nu, scenario.order, fsr)
    light = np.maximum(light / light.max(), 0.15)
    sun = 1.0 / (np.sqrt(2.0) * scenario.snr * np.sqrt(light))
    dark = DARK_PART * sun
    t = np.abs(clean)
    planet = (sun - dark) * np.sqrt(t) + dark
    return np.asarray(np.hypot(planet, t * sun))


def _level1(
    scenario: SoScenario, rows: pointing.Pointing, measured: Array, error: Array
) -> xr.Dataset:
    nu = _wavenumber(scenario, np.arange(float(instrument.PIXELS)))
    spectra = {"transmittance": measured, "transmittance_error": error}
    coordinates = {
        "wavenumber": ("pixel", np.round(nu, 3)),
        "order": scenario.order,
        "aotf_frequency": scenario.frequency_khz,
        "instrument_temperature": scenario.temperature_c,
        "bin": ("spectrum", rows.bin),
    }
    ds = pointing.nomad_level1(
        scenario, LAYOUTS["so", True], scenario.observation, rows.edges, spectra,
        rows.variables, coordinates,
    )  # fmt: skip
    return ds.assign_attrs(altitude_part="all")


def _truth(
    scenario: SoScenario,
    rows: pointing.Pointing,
    column: _Column,
    drawn: _Drawn,
    clean: Array,
    signal: Signal,
    fraction: Array,
    heights: Array,
) -> xr.Dataset:

    air = column.air
    per_bin = drawn.shift_px + drawn.bin_shift_px
    nu = _wavenumber(scenario, np.arange(float(instrument.PIXELS)))
    moved = np.arange(instrument.PIXELS) + shift_of(drawn.shift_px, drawn)
    profile: dict[str, Any] = {
        f"{gas}_vmr": ("altitude", values, {"units": "1"})
        for gas, values in column.vmr.items()
    }
    units = {"pressure": "Pa", "temperature": "K", "number_density": "cm-3"}
    for name, unit in units.items():
        profile[name] = ("altitude", air[name].values, {"units": unit})
    both = ("spectrum", "pixel")
    ds = xr.Dataset(
        {
            **profile,
            "tangent_altitude": ("spectrum", rows.altitude_km, {"units": "km"}),
            "bin": ("spectrum", rows.bin),
            "wavenumber_shift_px": ("bin_index", per_bin),
            "wavenumber_file": ("pixel", nu, {"units": "cm-1"}),
            "wavenumber_true": (
                "pixel",
                _wavenumber(scenario, moved),
                {
                    "units": "cm-1",
                    "comment": "without drift and the shift of single bins",
                },
            ),
            "transmittance_clean": (both, clean),
            "calibration_factor": (both, drawn.gain.astype(np.float32)),
            "noise_sigma": (both, signal.sigma.astype(np.float32)),
            "order_fraction": (("pixel", "order"), fraction.astype(np.float32)),
            "aerosol_slant_optical_depth": ("height", aerosol_depth(scenario, heights)),
        },
        {
            "altitude": ("altitude", air["altitude"].values, {"units": "km"}),
            "height": ("height", heights, {"units": "km"}),
        },
    )
    if scenario.drift_px:
        ds["wavenumber_drift_px"] = "spectrum", drawn.drift_px
    disturbance = signal.expected - clean * drawn.gain
    if disturbance.any():
        ds["disturbance"] = both, disturbance
    ds.attrs = {
        "title": "SYNTHETIC: truth of a simulated occultation",
        "planet_radius_km": column.radius_km,
        "shift_px": drawn.shift_px,
        "stretch_px": drawn.stretch_px,
        "comment": "true wavenumber of a pixel: that of the table's column, moved by "
        "the shift in pixels (plus the stretch towards the ends of the detector)",
    } | scenario.record()
    return ds
