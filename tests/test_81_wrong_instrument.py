"""Simulated products of an instrument and an air that no fit knows: each does its own.

What disturbs spectra is checked in closed form; the response of NOMAD SO against the
fit's, which is another code, and by its moments.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tgo_spectra import geometry
from tgo_spectra.cli import main
from tgo_spectra.errors import SetupError
from tgo_spectra.instruments import lno, so
from tgo_spectra.instruments import uvis as uvis_instrument
from tgo_spectra.instruments.response import channels, tabulated
from tgo_spectra.retrieval.models.lno.model import extended_cells
from tgo_spectra.simulate import (
    air,
    detector,
    mir,
    nadir,
    redraw,
    response,
    simulate_level1,
    simulate_product,
    uvis,
)
from tgo_spectra.simulate.scenario import Scenario, SoScenario
from tgo_spectra.spectroscopy import tables

ROWS, PIXELS = 600, 320
ALTITUDE = np.linspace(0.0, 100.0, ROWS)
AXIS = 3000.0 + 0.08 * np.arange(PIXELS)
GROUP = np.arange(ROWS) % 3
FEW = {
    "order": 136, "vmr": {"ch4": 5e-9}, "altitude_range": (20.0, 26.0),
    "n_bins": 2, "shift_px": 0.2, "stretch_px": 0.0, "bin_shift_px": (0.0, 0.05),
    "wobble": 0.0, "calibration": 0.0, "noisy_pixels": (), "seed": 5,
}  # fmt: skip


@functools.lru_cache
def made(**options):
    return simulate_level1(**FEW, **options)


def values(**options):
    return made(**options).level1["transmittance"].values


def disturb(clean=None, sigma=1e-3, **options):
    """Disturbed spectra; clean ones are flat at one half."""
    clean = np.full((ROWS, PIXELS), 0.5) if clean is None else clean
    sigmas = np.full(clean.shape, sigma)
    return detector.disturbed(Scenario(**options), clean, sigmas, AXIS, ALTITUDE, GROUP)


def noise(**options):
    """Noise alone, in units of its standard deviation."""
    zero = np.zeros((ROWS, PIXELS))
    signal = detector.Signal(zero, np.full(zero.shape, 2.0), GROUP, dict)
    white = np.random.default_rng(8).standard_normal(zero.shape)
    return detector.noisy(Scenario(**options), signal, white) / 2.0


# ---- nothing asked, nothing changed


def test_sizes_without_their_switch_change_no_byte(tmp_path):
    silent = {
        "fixed_seed": 9, "temperature_wave_km": 7.0, "spike_sigma": 99.0,
        "odd_pixel_offset": 0.1, "odd_pixel_gain": 0.1, "fringe_period_px": 11.0,
        "fringe_top_km": 50.0, "alien_line_depth": 0.5, "alien_line_width_px": 9.0,
        "alien_line_range_km": (0.0, 10.0), "ghost_ratio": 0.272437,
    }  # fmt: skip
    plain = simulate_product(tmp_path / "a", **FEW)
    same = simulate_product(tmp_path / "b", **FEW, **silent)
    for suffix in (".tab", ".xml"):
        first, second = (p.with_suffix(suffix).read_bytes() for p in (plain, same))
        assert first == second


def test_truth_says_what_was_wrong_and_level1_does_not():
    other = made(zero_level=0.01, alien_line_cm1=3067.3, drift_px=0.5)
    assert other.truth.attrs["option_zero_level"] == 0.01
    assert other.truth.attrs["option_alien_line_cm1"] == 3067.3
    assert other.truth.attrs["option_alien_line_depth"] == 1e-3
    assert not {"drift", "alien", "zero_level"} & set(
        " ".join([*map(str, other.level1.attrs.items()), *other.level1]).split()
    )
    clean = other.truth["transmittance_clean"] * other.truth["calibration_factor"]
    added = other.signal.expected - clean.values
    np.testing.assert_allclose(other.truth["disturbance"], added, atol=1e-7)
    assert np.abs(added - 0.01).max() == pytest.approx(1e-3, rel=0.3)
    assert "disturbance" not in made().truth


# ---- noise


@pytest.mark.parametrize("rho", [0.2, 0.5, -0.4])
def test_noise__correlated_along_pixels(rho):
    found = noise(noise_pixel_correlation=rho)
    size = found.size
    # the variance of a sample of an AR(1) is larger by (1 + r^2) / (1 - r^2)
    spread = np.sqrt(2.0 / size * (1.0 + rho**2) / (1.0 - rho**2))
    assert np.mean(found**2) == pytest.approx(1.0, abs=5.0 * spread)
    assert np.mean(found[:, 0] ** 2) == pytest.approx(1.0, abs=5.0 * np.sqrt(2 / ROWS))
    for lag in (1, 2, 3):
        product = np.mean(found[:, lag:] * found[:, :-lag])
        assert product == pytest.approx(rho**lag, abs=5.0 * spread)
    assert np.mean(found[1:] * found[:-1]) == pytest.approx(0.0, abs=5.0 * spread)


def test_noise__correlated_along_rows_of_a_bin():
    rho = 0.6
    found = noise(noise_row_correlation=rho, noise_pixel_correlation=0.3)
    spread = 3.0 * np.sqrt(2.0 / found.size)
    assert np.mean(found**2) == pytest.approx(1.0, abs=5.0 * spread)
    # neighbours in a bin are three rows apart
    for lag, expected in ((3, rho), (6, rho**2), (1, 0.0), (2, 0.0)):
        product = np.mean(found[lag:] * found[:-lag])
        assert product == pytest.approx(expected, abs=5.0 * spread)
    along = np.mean(found[:, 1:] * found[:, :-1])
    assert along == pytest.approx(0.3, abs=5.0 * spread)


def test_spikes__their_number_and_size():
    found = noise(spike_fraction=0.01, spike_sigma=50.0) - noise()
    hit = found != 0.0
    sigma = np.sqrt(0.01 * 0.99 / found.size)
    assert hit.mean() == pytest.approx(0.01, abs=5.0 * sigma)
    np.testing.assert_allclose(np.abs(found[hit]), 50.0, rtol=1e-12)
    assert np.mean(np.sign(found[hit])) == pytest.approx(0.0, abs=5 / hit.sum() ** 0.5)
    assert not np.any(noise(spike_fraction=0.5, noise=False))


def test_error_factor__changes_the_written_error_alone():
    one, other = made(), made(error_factor=0.75)
    np.testing.assert_array_equal(other.level1.transmittance, one.level1.transmittance)
    np.testing.assert_allclose(
        other.level1.transmittance_error, 0.75 * one.level1.transmittance_error
    )
    np.testing.assert_array_equal(other.truth.noise_sigma, one.truth.noise_sigma)


# ---- what is fixed


def test_odd_pixels__are_the_same_in_all_rows_of_a_bin():
    options = {"odd_pixels": 0.2, "odd_pixel_offset": 3e-3}
    found = disturb(**options) - 0.5
    for one in range(3):
        np.testing.assert_array_equal(np.ptp(found[one::3], axis=0), 0.0)
    by_bin = found[:3]
    odd = np.abs(by_bin) > 1e-9
    np.testing.assert_allclose(np.abs(by_bin[odd]), 3e-3, rtol=1e-9)
    sigma = np.sqrt(0.2 * 0.8 / odd.size)
    assert odd.mean() == pytest.approx(0.2, abs=5.0 * sigma)
    assert set(np.sign(by_bin[odd])) == {-1.0, 1.0}
    gain = disturb(odd_pixels=0.2, odd_pixel_gain=0.01)[:3] / 0.5
    np.testing.assert_array_equal(np.abs(gain - 1.0) > 1e-9, odd)
    np.testing.assert_allclose(np.abs(gain - 1.0)[odd], 0.01, rtol=1e-9)
    assert np.any(disturb(**options, fixed_seed=1) != found + 0.5)
    np.testing.assert_array_equal(disturb(**options, seed=4, fixed_seed=0), found + 0.5)


def test_fixed_pattern__in_units_of_the_noise():
    found = (disturb(fixed_pattern=0.5, sigma=2e-3) - 0.5) / 2e-3
    np.testing.assert_allclose(found[:3], found[3:6], atol=1e-9)
    assert np.std(found[:3]) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(6 * PIXELS))


@pytest.mark.parametrize("top", [None, 60.0])
def test_fringes__amplitude_period_and_growth(top):
    found = disturb(fringe_amplitude=1e-3, fringe_period_px=40.0, fringe_top_km=top)
    relative = found / 0.5 - 1.0
    turn = np.exp(2j * np.pi * np.arange(PIXELS) / 40.0)
    # eight whole periods: all of the fringe is in this product
    size = np.abs(relative @ turn) * 2.0 / PIXELS
    growth = 1.0 if top is None else np.clip(1.0 - ALTITUDE / top, 0.0, 1.0)
    np.testing.assert_allclose(size, 1e-3 * growth, atol=1e-12)
    np.testing.assert_allclose(
        np.sqrt(2.0 * np.mean(relative**2, axis=1)), size, atol=1e-12
    )
    other = disturb(fringe_amplitude=1e-3, fixed_seed=3)
    assert np.angle(other[0] @ turn) != pytest.approx(np.angle(found[0] @ turn))


# ---- light that is not of the path


def test_zero_level_and_stray_light():
    clean = np.random.default_rng(1).uniform(0.2, 0.9, (ROWS, PIXELS))
    np.testing.assert_allclose(disturb(clean, zero_level=0.01), clean + 0.01)
    found = disturb(clean, stray_light=0.03)
    mean = clean.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.mean(axis=1, keepdims=True), mean)
    np.testing.assert_allclose(found - mean, 0.97 * (clean - mean))


def test_alien_line__where_how_deep_how_wide():
    line = AXIS[100] + 0.02  # a quarter of a pixel further
    options = {"alien_line_cm1": line, "alien_line_depth": 2e-3}
    depth = 1.0 - disturb(**options) / 0.5
    pixel = np.arange(PIXELS)
    centre = (depth @ pixel) / depth.sum(axis=1)
    np.testing.assert_allclose(centre, 100.25, atol=1e-6)
    width = np.sqrt((depth * (pixel - 100.25) ** 2).sum(axis=1) / depth.sum(axis=1))
    np.testing.assert_allclose(width, 1.2, rtol=1e-6)
    # area of a Gaussian of that height
    np.testing.assert_allclose(
        depth.sum(axis=1), 2e-3 * 1.2 * np.sqrt(2 * np.pi), rtol=1e-6
    )
    low = disturb(**options, alien_line_range_km=(0.0, 20.0), alien_line_width_px=2.0)
    seen = (low < 0.5 - 1e-6).any(axis=1)
    np.testing.assert_array_equal(seen, ALTITUDE <= 20.0)
    backwards = detector.disturbed(
        Scenario(**options), np.ones((1, PIXELS)), 0.0, AXIS[::-1], ALTITUDE[:1],
        GROUP[:1],
    )  # fmt: skip
    assert np.argmin(backwards) == PIXELS - 1 - 100
    with pytest.raises(SetupError, match=r"3000\.0\.\.3025\.5") as caught:
        disturb(alien_line_cm1=3100.0)
    assert caught.value.field == "alien_line_cm1"


def test_alien_line__follows_the_true_wavenumbers():
    found = values(noise=False, alien_line_cm1=3067.3, alien_line_depth=0.01)
    depth = 1.0 - found / values(noise=False)
    centre = (depth @ np.arange(PIXELS)) / depth.sum(axis=1)
    bins = made().level1["bin"].values
    for one, shift in ((0, 0.2), (1, 0.25)):
        at = np.interp(centre[bins == one], np.arange(PIXELS), np.arange(PIXELS))
        nu = so.pixel_wavenumber(136, at + shift, -5.0, "archive")
        np.testing.assert_allclose(nu, 3067.3, atol=1e-5)


# ---- the response of NOMAD SO


@functools.lru_cache
def band():
    return tables.table_arrays(tables.open_table("so_134_136"))


def kernel(n_orders=0, **options):
    """Response in the middle of the detector on fine points, and these points."""
    scenario = SoScenario(order=136, **options)
    nu = so.pixel_wavenumber(136, np.arange(320.0), -5.0, "archive")
    matrix, _ = response.so_response(scenario, band(), nu, n_orders)
    points = round(band().cell_width_cm1 / band().step_cm1)
    u = 2.0 * (np.arange(points) + 0.5) / points - 1.0
    legendre = np.polynomial.legendre.legvander(u, band().node_weight.shape[1] - 1)
    row = matrix[[160]].toarray().reshape(-1, legendre.shape[1])
    width = band().cell_width_cm1
    start = band().cell_start_cm1[0] + width * band().node_cell[0]
    cells = start + width * np.arange(len(row))
    fine = cells[:, None] + width * (np.arange(points) + 0.5) / points
    return fine.ravel() - nu[160], (row @ legendre.T).ravel()


def central(x, weight):
    mean = x @ weight
    return mean, (x - mean) ** 2 @ weight


def test_resolution__is_the_width_of_the_line():
    flat = {"aotf_width_factor": 50.0, "ghost_ratio": 0.0}
    x, one = kernel(**flat)
    assert one.sum() == pytest.approx(1.0, abs=1e-9)
    sigma = float(so.ils_parameters(160, so.aotf_centre(17986.0, -5.0))[0])
    centre = float(so.aotf_centre(SoScenario(order=136).frequency_khz, -5.0))
    sigma *= centre / float(so.aotf_centre(17986.0, -5.0))
    assert central(x, one)[1] == pytest.approx(sigma**2, rel=2e-4)
    for factor in (0.97, 1.1):
        found = central(x, kernel(**flat, resolution_factor=factor)[1])[1]
        assert found == pytest.approx((factor * sigma) ** 2, rel=2e-4)


def test_ghost__moves_the_centre_of_mass():
    flat = {"aotf_width_factor": 50.0}
    x, none = kernel(**flat, ghost_ratio=0.0)
    centre = float(so.aotf_centre(SoScenario(order=136).frequency_khz, -5.0))
    apart = float(so.ils_parameters(160, centre)[1])
    for ghost in (0.2, None):
        ratio = 0.272437 if ghost is None else ghost
        moved = central(x, kernel(**flat, ghost_ratio=ghost)[1])[0]
        expected = apart * ratio / (1.0 + ratio)
        assert moved - central(x, none)[0] == pytest.approx(expected, rel=2e-3)


SWITCHES = {
    "nominal": ({}, {}),
    "centre": ({"aotf_offset_cm1": 1.0}, {"aotf_offset": 1.0}),
    "width": ({"aotf_width_factor": 1.05}, {"aotf_width_factor": 1.05}),
    "lobes": ({"side_lobe_factor": 1.3}, {"aotf_lobe_factor": 1.3}),
    "pedestal": ({"pedestal_factor": 1.5}, {"aotf_pedestal_factor": 1.5}),
    "ghost": ({"ghost_ratio": 0.2}, {"ils_amplitude": 0.2}),
    "resolution": ({"resolution_factor": 1.03}, {}),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_response__two_codes_say_the_same(name):
    mine, theirs = SWITCHES[name]
    if name == "resolution":
        nominal = so.SoInstrument().ils_resolving_power
        theirs = {"ils_resolving_power": nominal / 1.03}
    scenario = SoScenario(order=136, **mine)
    nu = so.pixel_wavenumber(136, np.arange(320.0) + 0.3, -5.0, "archive")
    matrix, fraction = response.so_response(scenario, band(), nu, 4)
    fit = tabulated.build_operator(
        band().node_cell, band().node_weight, float(band().cell_start_cm1[0]),
        band().cell_width_cm1, pixel_wavenumber_cm1=nu, order=136,
        aotf_frequency_khz=scenario.frequency_khz, temperature_c=-5.0,
        pixels=np.arange(320), n_orders=4, settings=so.SoInstrument(**theirs),
        dtype=np.float64,
    )  # fmt: skip
    field = np.exp(-band().vectors["h2o"][:2].T.astype(float))
    found = matrix @ (response.moments(band()) @ field)
    expected = tabulated.apply(fit, field)
    # an offset of the AOTF moves, in the fit, also what its centre is a measure of:
    # line width, ghost and blaze, by 3e-4
    close = 2e-4 if name == "centre" else 1e-7
    np.testing.assert_allclose(found, expected, atol=close)
    np.testing.assert_allclose(fraction, fit.order_fraction, atol=close)


def test_lno_response__two_codes_say_the_same():
    scenario = nadir.NadirScenario(order=168, resolution_factor=1.2)
    table = tables.table_arrays(tables.open_table("so_164_170"))
    nu = lno.pixel_wavenumber(168, np.arange(320.0) + 0.4, -5.0)
    matrix, beyond = response.lno_response(scenario, table, nu)
    cells, nodes = extended_cells(
        channels.table_cells(table), nu.min() * 0.94, nu.max() * 1.06
    )
    fit = channels.lno_operator(
        cells, pixels=np.arange(320), pixel_wavenumber_cm1=nu, order=168,
        aotf_frequency_khz=float(lno.AOTF_FREQUENCY_KHZ[168]), temperature_c=-5.0,
        resolving_power=10000.0 / 1.2, n_orders=10, dtype=np.float64,
    )  # fmt: skip
    field = np.ones((fit.n_nodes, 2))
    field[nodes] = np.exp(-table.vectors["h2o"][:2].T.astype(float))
    found = matrix @ (response.moments(table) @ field[nodes]) + beyond[:, None]
    np.testing.assert_allclose(found, tabulated.apply(fit, field), atol=1e-7)
    assert beyond.max() > 1e-4


@pytest.mark.parametrize("pixels", [1024, 128])
def test_uvis_line_shape__two_codes_say_the_same(pixels):
    scenario = uvis.UvisScenario(pixels=pixels)
    grid = np.arange(240.0, 290.0, 0.05)
    nm = uvis_instrument.nominal_wavelength(pixels)
    nm = nm[(nm > 255.0) & (nm < 275.0)]
    step = float(np.diff(nm).mean()) if pixels < 1024 else 0.0
    fit = uvis_instrument.convolution(grid, nm, fwhm_nm=1.5, bin_nm=step)
    field = np.exp(-np.sin(grid))
    found = uvis._line_shape(scenario, grid, nm, 1.5) @ field
    # the fit's ends at five sigma
    np.testing.assert_allclose(found, fit.value @ field, rtol=0.0, atol=5e-6)


def test_number_of_orders__adds_their_light():
    eight, five = made(noise=False), made(noise=False, n_orders=5)
    assert (eight.truth.attrs["n_orders"], five.truth.attrs["n_orders"]) == (8, 5)
    assert eight.truth.sizes["order"] == 17
    assert five.truth.sizes["order"] == 11
    inner = eight.truth["order_fraction"].values[:, 3:-3]
    np.testing.assert_allclose(
        five.truth["order_fraction"], inner / inner.sum(axis=1, keepdims=True),
        rtol=1e-5,
    )  # fmt: skip


def test_drift__each_spectrum_is_one_of_its_own_shift():
    drift = 0.9
    moving = made(noise=False, drift_px=drift)
    by_row = moving.truth["wavenumber_drift_px"].values
    time = (moving.level1.time - moving.level1.time.min()).values.astype(float)
    np.testing.assert_allclose(by_row, drift * (time / time.max() - 0.5), atol=1e-9)
    for row in (0, 4):
        still = {**FEW, "shift_px": FEW["shift_px"] + by_row[row], "noise": False}
        expected = simulate_level1(**still).level1["transmittance"].values[row]
        found = moving.level1["transmittance"].values[row]
        # a line of the spectrum moves by 100 times this
        np.testing.assert_allclose(found, expected, atol=2e-6)
        assert np.abs(expected - values(noise=False)[row]).max() > 2e-4


# ---- the air


def test_air__differs_from_what_a_fit_is_given():
    z = np.arange(0.0, 100.0, 2.5)
    plain = air.air_of(Scenario(), z)
    assert plain.identical(air.air_of(Scenario(temperature_wave_km=5.0), z))
    wave = {"temperature_wave_k": 8.0, "temperature_wave_km": 10.0}
    for given in (None, plain):
        options = {**wave, "temperature_offset_k": -20.0, "pressure_factor": 1.2}
        found = air.air_of(Scenario(atmosphere=given, **options), z)
        change = found.temperature - plain.temperature
        np.testing.assert_allclose(change, -20.0 + 8.0 * np.sin(0.2 * np.pi * z))
        np.testing.assert_allclose(found.pressure, 1.2 * plain.pressure)
        state = found.number_density * found.temperature / found.pressure
        np.testing.assert_allclose(
            state, plain.number_density * plain.temperature / plain.pressure
        )
        np.testing.assert_array_equal(found.h2o_vmr, plain.h2o_vmr)


def test_paths__two_codes_say_the_same():
    z = np.concatenate([np.arange(-2.0, 60.0, 0.1), np.arange(60.0, 120.0, 0.5)])
    tangent = np.array([-2.0, 0.03, 5.0, 33.333, 90.25])
    found = air.chord_weights(3389.5, tangent, z)
    expected = geometry.path_weights(3389.5 + tangent, 3389.5 + z)
    scale = expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-9)


# ---- many draws of one truth


def test_redraw__new_noise_alone():
    whole = made(
        fixed_pattern=0.5, odd_pixels=0.1, odd_pixel_offset=1e-3, spike_fraction=0.01
    )
    first, second = redraw(whole, 1), redraw(whole, 2)
    assert first.identical(redraw(whole, 1))
    for name in first.variables:
        if name != "transmittance":
            assert first[name].identical(whole.level1[name]), name
    z = (first.transmittance - whole.signal.expected) / first.transmittance_error
    w = (second.transmittance - whole.signal.expected) / second.transmittance_error
    spiked = (np.abs(z) > 5.0) | (np.abs(w) > 5.0)
    assert float(spiked.mean()) == pytest.approx(0.02, abs=0.01)
    z, w = z.values[~spiked], w.values[~spiked]
    for one in (z, w):
        assert np.std(one) == pytest.approx(1.0, abs=5.0 / np.sqrt(2 * z.size))
    assert np.mean(z * w) == pytest.approx(0.0, abs=5.0 / np.sqrt(z.size))
    with pytest.raises(SetupError, match="seed"):
        redraw(whole, -1)


# ---- the others


@pytest.mark.parametrize("channel", ["uvis", "lno"])
def test_other_channels__have_the_switches_of_the_base(channel):
    def run(**more):
        if channel == "lno":
            made, _ = nadir.simulate_nadir_level1(n_spectra=2, noise=False, **more)
            return made.reflectance_factor.values
        data = uvis.synthetic_ozone_cross_section()
        few = {"altitude_range": (20.0, 31.0), "pixels": 128, "ozone": 1e-7}
        made, _ = uvis.simulate_uvis_level1(data, **few, noise=False, **more)
        return made.transmittance.values

    plain = run()
    seen = np.isfinite(plain)
    np.testing.assert_allclose(run(zero_level=0.01)[seen], plain[seen] + 0.01)
    assert np.abs(run(pressure_factor=1.1) - plain)[seen].max() > 1e-4
    assert np.abs(run(resolution_factor=1.5) - plain)[seen].max() > 1e-5


def test_mir__has_the_switches_of_the_base():
    few = {"frames": 3, "pixels": 60, "orders": (179,), "rows_per_stripe": 3}

    def run(**more):
        scenario = mir.MirScenario(**few, noise=False, curvature=0.0, **more)
        return mir.simulate_mir(scenario, mir.absorb(scenario, {})).data

    plain = run()
    other = run(zero_level=0.01, error_factor=0.5)
    np.testing.assert_allclose(other[:, :, 0], plain[:, :, 0] + 0.01, rtol=1e-6)
    np.testing.assert_allclose(other[:, :, 1], 0.5 * plain[:, :, 1], rtol=1e-6)
    odd = run(odd_pixels=0.2, odd_pixel_offset=0.1)[:, :, 0] - plain[:, :, 0]
    # rows of the detector have pixels of their own
    assert np.any(odd[0, 0] != odd[0, 1])


# ---- the command line


def test_command_line__any_option(tmp_path, capsys):
    command = ["simulate", "--out", str(tmp_path), "--set", "altitude_range=[20, 26]"]
    changes = ["zero_level=0.02", "aerosol_layer=none", "vmr.h2o=1e-6", "n_bins=1"]
    assert main([*command, *(w for c in changes for w in ("--set", c))]) == 0
    path = capsys.readouterr().out.strip()
    import xarray as xr

    truth = xr.load_dataset(path.replace(".xml", ".truth.nc"), engine="netcdf4")
    assert truth.attrs["option_zero_level"] == 0.02
    assert truth.attrs["option_aerosol_layer"] == "None"
    assert truth.attrs["option_vmr_h2o"] == "1e-06"
    for wrong, text in (("zero_levl=1", "zero_level"), ("zero_level=7", "-1..1")):
        assert main([*command, "--set", wrong]) == 1
        assert text in capsys.readouterr().err
    assert main(["simulate", "--options"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in listed] == sorted(
        SoScenario.__dataclass_fields__
    )
