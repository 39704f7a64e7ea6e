from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import numpy as np
import pytest
from scipy import integrate

from tgo_spectra import instruments
from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import (
    acs_mir,
    lno,
    so,
    uvis,
)
from tgo_spectra.instruments import line_shape as lines
from tgo_spectra.instruments.aotf import power_series

PIXELS = np.arange(320)


def slope(function, at, step):
    """Central difference, extrapolated to the fourth order."""
    wide = (function(at + step) - function(at - step)) / (2 * step)
    step = step / 2
    narrow = (function(at + step) - function(at - step)) / (2 * step)
    return (4 * narrow - wide) / 3


def assert_slope(found, function, at, step, tolerance=1e-7):
    """Compare with a central difference, relative to the largest derivative."""
    expected = slope(function, at, step)
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


# --- the table --------------------------------------------------------------


def test_table__every_entry_complete():
    for channel in instruments.channels():
        for name, row in instruments.parameters(channel).items():
            assert row.name == f"{channel}.{name}"
            assert row.status in instruments.STATUSES, row.name
            assert row.meaning, row.name
            assert row.source, row.name
            values = row.value if isinstance(row.value, tuple) else (row.value,)
            assert all(isinstance(v, int | float) for v in values), row.name
            units = (row.unit,) if isinstance(row.unit, str) else row.unit
            assert len(units) in (1, len(values)), row.name
            assert all(units), row.name
            assert len(row.index) in (0, len(values)), row.name
            if row.range:
                low, high = row.range
                assert low < high, row.name
                assert all(low <= v <= high for v in values), row.name


def test_table__sources_are_all_used():
    text = (files("tgo_spectra.instruments") / "instruments.toml").read_text()
    raw = tomllib.loads(text)
    sources = raw.pop("sources")
    used = {row["source"] for rows in raw.values() for row in rows.values()}
    named = {s for s in sources if re.search(rf"see {s}\b", text)}
    assert used | named == set(sources)


def test_table__no_orders_of_mir_positions():
    assert not [name for name in instruments.parameters("acs_mir") if "posit" in name]


def test_status__of_parameters_and_channels():
    whole = instruments.instrument_status("lno")
    assert whole["lno.resolving_power"] == "to be verified"
    assert whole["lno.aotf_tuning_temperature"] == "inferred"
    assert whole["lno.dispersion"] == "certain"
    assert instruments.uncertain("so.slit_width", "lno.aotf_tuning_temperature") == {
        "instrument_uncertain": "so.slit_width: to be verified; "
        "lno.aotf_tuning_temperature: inferred"
    }
    for channel in ("uvis", "acs_nir", "acs_mir"):
        assert "instrument_uncertain" in instruments.uncertain(channel)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: instruments.parameters("crism"), "instrument.channel"),
        (lambda: instruments.parameter("so.colour"), "instrument.parameter"),
        (lambda: instruments.number("so.dispersion"), "instrument.one_number"),
        (lambda: instruments.coefficients("so.pixels"), "instrument.list"),
        (lambda: instruments.instrument_status("x"), "instrument.channel"),
    ],
)
def test_table__refuses(call, rule):
    with pytest.raises(InstrumentError) as caught:
        call()
    assert caught.value.rule == rule


def test_power_series__is_the_polynomial():
    c = (3.0, -2.0, 0.5, 0.25)
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(power_series(c, x), 3 - 2 * x + 0.5 * x**2 + x**3 / 4)


# --- line shapes ------------------------------------------------------------

MIR = acs_mir.DoubleImage(
    2990.0, 2999.0, 3010.0, 0.01, -0.004, 0.02, -0.11, 0.09, 0.35, 0.6
)


def so_line(x, pixel, nu0, settings=None):
    return lines.doublet(x, *so.ils_parameters(pixel, nu0, settings))


SHAPES = {
    "so": lambda x: so_line(x, 250, 3030.0),
    "so main only": lambda x: so_line(
        x, 250, 3030.0, so.SoInstrument(ils_amplitude=0.0)
    ),
    "lno": lambda x: lines.gaussian(x, lines.resolving_power_sigma(3023.0, 10000.0)),
    "uvis": lambda x: uvis.line_shape(x, 1.5),
    "uvis binned": lambda x: uvis.line_shape(x, 1.5, 3.5),
    "acs_mir": lambda x: acs_mir.line_shape(x, 2994.0, MIR),
}


@pytest.mark.parametrize("name", SHAPES)
def test_line_shapes__unit_area(name):
    reach = 12.0 if name.startswith("uvis") else 1.5
    area, _ = integrate.quad(
        SHAPES[name], -reach, reach, points=[-0.1, 0.0, 0.1], epsabs=1e-12, limit=200
    )
    assert area == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize(("delta", "amplitude"), [(0.16, 0.27), (-0.1, 0.5), (0, 0)])
def test_doublet_derivatives__central_differences(delta, amplitude):
    x = np.linspace(-0.4, 0.5, 91)
    sigma = 0.076
    found = lines.doublet_derivatives(x, sigma, delta, amplitude)
    f = lines.doublet
    assert_slope(found.centre, lambda c: f(x - c, sigma, delta, amplitude), 0.0, 2e-3)
    assert_slope(
        found.centre_twice,
        lambda c: lines.doublet_derivatives(x - c, sigma, delta, amplitude).centre,
        0.0,
        2e-3,
    )
    assert_slope(found.sigma, lambda s: f(x, s, delta, amplitude), sigma, 1e-3)
    if amplitude:
        assert_slope(found.delta, lambda d: f(x, sigma, d, amplitude), delta, 2e-3)
        assert_slope(found.amplitude, lambda a: f(x, sigma, delta, a), amplitude, 1e-2)
    else:
        assert not found.delta.any()


@pytest.mark.parametrize(
    ("nu0", "main", "whole", "centroid"),
    [
        (3030, 0.179, 0.209, 0.035),
        (3790, 0.224, 0.262, 0.043),
        (4280, 0.253, 0.295, 0.049),
    ],
)
def test_so_line_shape__published_widths(nu0, main, whole, centroid):
    sigma, delta, amplitude = so.ils_parameters(160, nu0)
    assert lines.FWHM_PER_SIGMA * sigma == pytest.approx(main, abs=6e-4)
    x = np.linspace(-1.0, 1.5, 50001)
    line = lines.doublet(x, sigma, delta, amplitude)
    assert np.ptp(x[line >= 0.5 * line.max()]) == pytest.approx(whole, abs=6e-4)
    mean = integrate.trapezoid(x * line, x)
    assert mean == pytest.approx(centroid, abs=6e-4)


@pytest.mark.parametrize(
    ("order", "step"), [(134, 0.0752), (168, 0.0943), (189, 0.1061)]
)
def test_so_pixel_step__published(order, step):
    nu = so.pixel_wavenumber(order, np.array([159.5, 160.5]), 0.0)
    assert np.diff(nu)[0] == pytest.approx(step, abs=1.1e-4)


def test_line_shapes__refuse_widths():
    for call in (
        lambda: lines.gaussian(0.0, 0.0),
        lambda: lines.doublet(0.0, [0.1, -0.1], 0.0, 0.0),
        lambda: lines.resolving_power_sigma(3000.0, np.nan),
        lambda: lines.resolving_power_sigma(3000.0, 0.0),
        lambda: uvis.line_shape(0.0, -1.5),
        lambda: uvis.line_shape(0.0, 1.5, -1.0),
        lambda: uvis.line_shape(0.0, 0.0, 1.0),
    ):
        with pytest.raises(InstrumentError):
            call()


# --- NOMAD SO ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (134, (0.645, 0.117, 0.070)),
        (121, (0.593, 0.131, 0.076)),
        (190, (0.390, 0.149, 0.128)),
    ],
)
def test_so_orders__mean_over_pixels_of_the_share(order, expected):
    centre = float(so.aotf_centre(so.AOTF_FREQUENCY_KHZ[order], 0.0))
    fsr = float(so.free_spectral_range(centre, 0.0))
    nu = so.pixel_wavenumber(order, np.arange(100, 301), 0.0)
    orders = np.arange(order - 6, order + 7)[:, None]
    there = nu * orders / order
    weight = so.blaze(there, orders, fsr) * so.aotf_transmission(there, centre)
    share = (weight / weight.sum(axis=0)).mean(axis=1)
    np.testing.assert_allclose(share[[6, 5, 7]], expected, atol=6e-4)


@pytest.mark.parametrize("order", [121, 134, 168, 190])
def test_so_blaze__peaks_where_published(order):
    nu = so.pixel_wavenumber(order, PIXELS, 0.0)
    centre = so.aotf_centre(so.AOTF_FREQUENCY_KHZ[order], 0.0)
    sinc = so.blaze(nu, order, so.free_spectral_range(centre, 0.0))
    assert 189 <= sinc.argmax() <= 205


@pytest.mark.parametrize("model", ["gv", "lt", "liuzzi", "archive"])
def test_so_wavenumbers__pixels_per_degree(model):
    f = so.pixel_wavenumber
    by_pixel = slope(lambda s: f(134, 160 + s, -5.0, model), 0.0, 0.5)
    rate = -slope(lambda t: f(134, 160, t, model), -5.0, 0.5) / by_pixel
    low, high = {"liuzzi": (0.72, 0.74)}.get(model, (0.82, 0.94))
    assert low < rate < high


# --- NOMAD LNO --------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "temperature", "expected"),
    [
        (134, 0.0, (3011.2341, 3023.2814, 3035.2803)),
        (168, -5.0, (3775.6799, 3790.7849, 3805.8291)),
        (189, -5.0, (4247.6398, 4264.6330, 4281.5578)),
    ],
)
def test_lno_wavenumbers__published(order, temperature, expected):
    found = lno.pixel_wavenumber(order, [0, 160, 319], temperature)
    np.testing.assert_allclose(found, expected, atol=6e-5)


@pytest.mark.parametrize(
    ("order", "expected"),
    [(134, 3026.527), (136, 3071.588), (168, 3795.011), (189, 4269.972)],
)
def test_lno_aotf_centre__published(order, expected):
    found = lno.aotf_centre(lno.AOTF_FREQUENCY_KHZ[order], 0.0)
    assert found == pytest.approx(expected, abs=6e-4)
    change = lno.aotf_centre(lno.AOTF_FREQUENCY_KHZ[order], 1.0) / found - 1
    assert change == pytest.approx(-6.5278e-5, rel=1e-9)


def test_lno_aotf__independent_evaluation():
    for x in (-60.0, -7.3, 1e-9, 7.3, 18.188122, 31.0):
        u = np.pi * x / 18.188122
        value = 0.6290016 * (np.sin(u) / u) ** 2
        value += 0.3709984 * np.exp(-(x**2) / 12.181137**2)
        assert lno.aotf_transmission(3000 + x, 3000.0) == pytest.approx(value, abs=1e-9)


def test_lno_blaze__peaks_at_its_pixel():
    for order in (121, 134, 168, 189):
        b = lno.blaze(lno.pixel_wavenumber(order, PIXELS, -3.0), order, -3.0)
        assert abs(int(b.argmax()) - (150.80 + 0.22 * order)) < 0.6
        width = 22.47
        nu = lno.pixel_wavenumber(order, 150.80 + 0.22 * order, -3.0)
        assert lno.blaze(nu + width / 2, order, -3.0) == pytest.approx(4 / np.pi**2)


# --- filters ---------------------------------------------------


# --- NOMAD UVIS -------------------------------------------------------------


@pytest.mark.parametrize("bin_nm", [0.0, 3.5])
def test_uvis_line_shape_derivatives__central_differences(bin_nm):
    x = np.linspace(-5.0, 5.0, 101)
    found = uvis.line_shape_derivatives(x, 1.5, bin_nm)
    assert_slope(
        found["shift"], lambda c: uvis.line_shape(x - c, 1.5, bin_nm), 0.0, 0.02
    )
    assert_slope(found["fwhm"], lambda w: uvis.line_shape(x, w, bin_nm), 1.5, 0.02)


def test_uvis_boxcar__tends_to_the_gaussian():
    x = np.linspace(-3.0, 3.0, 61)
    narrow = uvis.line_shape(x, 1.5, 1e-3)
    np.testing.assert_allclose(narrow, uvis.line_shape(x, 1.5), atol=1e-6)


def hartley(nm):
    """Cross section with structure as fine as that of the Huggins band."""
    return np.exp(-(((nm - 255.0) / 17.0) ** 2)) * (1 + 0.1 * np.sin(nm * 2.1))


@pytest.mark.parametrize("bin_nm", [0.0, 3.5])
def test_uvis_convolution__quadrature_and_derivatives(bin_nm):
    grid = np.arange(230.0, 300.0, 0.05)
    pixel = np.arange(245.0, 285.0, 1.76)

    def brute(shift=0.0, fwhm=1.5):
        fine = np.linspace(-9.0, 9.0, 7201)
        shape = uvis.line_shape(fine, fwhm, bin_nm)
        values = hartley(pixel[:, None] + shift + fine)
        return integrate.simpson(values * shape, x=fine) / integrate.simpson(
            shape, x=fine
        )

    found = uvis.convolution(grid, pixel, fwhm_nm=1.5, bin_nm=bin_nm)
    y = hartley(grid)
    np.testing.assert_allclose(found.value @ y, brute(), atol=1e-6)
    ones = np.ones(grid.size)
    np.testing.assert_allclose(found.value @ ones, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.shift @ ones, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.fwhm @ ones, 0.0, atol=1e-12)
    # the line shape ends at five sigma: its tails matter for the derivatives
    assert_slope(found.shift @ y, lambda s: brute(shift=s), 0.0, 0.02, 2e-5)
    assert_slope(found.fwhm @ y, lambda w: brute(fwhm=w), 1.5, 0.02, 2e-4)


def test_uvis_convolution__uneven_grid():
    rng = np.random.default_rng(2)
    grid = np.sort(np.append(rng.uniform(240.0, 270.0, 4000), [240.0, 270.0]))
    found = uvis.convolution(grid, [250.0, 255.5], fwhm_nm=1.5).value @ grid
    np.testing.assert_allclose(found, [250.0, 255.5], atol=1e-3)


@pytest.mark.parametrize(
    ("grid", "rule"),
    [
        (np.arange(300.0, 230.0, -0.05), "instrument.grid_ascends"),
        (np.arange(230.0, 300.0, 1.0), "instrument.grid_step"),
        (np.arange(250.0, 300.0, 0.05), "instrument.grid_covers"),
    ],
)
def test_uvis_convolution__refuses(grid, rule):
    with pytest.raises(InstrumentError) as caught:
        uvis.convolution(grid, [250.0], fwhm_nm=1.5)
    assert caught.value.rule == rule


def test_uvis_nominal_wavelength():
    nm = uvis.nominal_wavelength(1024)
    assert nm.size == 1024
    assert 200.0 < nm[0] < nm[-1] < 650.0
    assert np.diff(nm) == pytest.approx(instruments.number("uvis.sampling"))
    with pytest.raises(InstrumentError):
        uvis.nominal_wavelength(0)


# --- ACS MIR ----------------------------------------------------------------


def test_acs_mir__parameters_at_the_corners():
    line = MIR.at([2990.0, 2999.0, 3010.0])
    np.testing.assert_allclose(line.shift, [0.01, -0.004, 0.02], atol=1e-15)
    np.testing.assert_allclose(line.amplitude[[0, 2]], [0.35, 0.6])
    np.testing.assert_allclose(line.delta, -0.11)
    fwhm = line.sigma * lines.FWHM_PER_SIGMA
    np.testing.assert_allclose(fwhm, 0.09 * (np.array([2990, 2999, 3010]) / 2990) ** 2)
    half = MIR.at([2994.5, 3004.5])
    np.testing.assert_allclose(half.shift, [0.003, 0.008])
    assert MIR.at(3000.0).amplitude == pytest.approx(0.475)


@pytest.mark.parametrize("nu", [2991.0, 2998.9, 2999.0, 3007.0])
def test_acs_mir_derivatives__central_differences(nu):
    from dataclasses import replace

    x = np.linspace(-0.4, 0.3, 141)
    found = acs_mir.line_shape_derivatives(x, nu, MIR)
    assert len(found) == 7
    for name, value in found.items():

        def at(v, name=name):
            return acs_mir.line_shape(x, nu, replace(MIR, **{name: float(v)}))

        centre = getattr(MIR, name)
        if np.abs(value).max() == 0.0:
            assert np.array_equal(at(centre), at(centre + 0.01)), name
            continue
        assert_slope(value, at, centre, 1e-3)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"middle_cm1": 2990.0}, "instrument.window"),
        ({"fwhm_low": 0.0}, "instrument.fwhm_positive"),
        ({"amplitude_high": -0.1}, "instrument.amplitude"),
    ],
)
def test_acs_mir__refuses(change, rule):
    from dataclasses import replace

    with pytest.raises(InstrumentError) as caught:
        replace(MIR, **change)
    assert caught.value.rule == rule
