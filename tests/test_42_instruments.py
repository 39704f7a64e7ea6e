from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import numpy as np
import pytest
from reference import so_derivatives
from scipy import integrate

from tgo_spectra import instruments
from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import (
    acs_mir,
    acs_nir,
    aotf,
    grating,
    lno,
    nadir,
    so,
    uvis,
)
from tgo_spectra.instruments import line_shape as lines
from tgo_spectra.instruments.polynomial import power_series, power_series_slope

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


def test_power_series__and_slope():
    c = (3.0, -2.0, 0.5, 0.25)
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(power_series(c, x), 3 - 2 * x + 0.5 * x**2 + x**3 / 4)
    np.testing.assert_allclose(power_series_slope(c, x), -2 + x + 0.75 * x**2)
    assert float(power_series_slope((3.0,), 1.0)) == 0.0


# --- line shapes ------------------------------------------------------------

MIR = acs_mir.DoubleImage(
    2990.0, 2999.0, 3010.0, 0.01, -0.004, 0.02, -0.11, 0.09, 0.35, 0.6
)

SHAPES = {
    "so": lambda x: so.line_shape(x, 250, 3030.0),
    "so main only": lambda x: so.line_shape(
        x, 250, 3030.0, so.SoInstrument(ils_amplitude=0.0)
    ),
    "lno": lambda x: lno.line_shape(x, 3023.0, 10000.0),
    "uvis": lambda x: uvis.line_shape(x, 1.5),
    "uvis binned": lambda x: uvis.line_shape(x, 1.5, 3.5),
    "acs_nir": lambda x: acs_nir.line_shape(x, 7258.0, 25000.0),
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
    assert lines.doublet_fwhm(sigma, delta, amplitude) == pytest.approx(whole, abs=6e-4)
    x = np.linspace(-1.0, 1.5, 5001)
    mean = integrate.trapezoid(x * so.line_shape(x, 160, nu0), x)
    assert mean == pytest.approx(centroid, abs=6e-4)


@pytest.mark.parametrize(
    ("order", "step"), [(134, 0.0752), (168, 0.0943), (189, 0.1061)]
)
def test_so_pixel_step__published(order, step):
    nu = so.pixel_wavenumber(order, np.array([159.5, 160.5]), 0.0)
    assert np.diff(nu)[0] == pytest.approx(step, abs=1.1e-4)


def test_shift__sensitivity_of_a_gaussian():
    # a shift unmodelled leaves at most 1.43 times shift over FWHM of the depth
    sigma = 0.1
    x = np.linspace(-0.5, 0.5, 1001)
    rate = lines.doublet_derivatives(x, sigma, 0.0, 0.0).centre
    depth = lines.gaussian(0.0, sigma)
    fwhm = lines.doublet_fwhm(sigma, 0.0, 0.0)
    assert np.abs(rate).max() * fwhm / depth == pytest.approx(1.43, abs=5e-3)


def test_doublet_fwhm__outermost_half_maxima_and_shapes():
    assert lines.doublet_fwhm([0.1, 0.2], 0.0, 0.0) == pytest.approx(
        lines.FWHM_PER_SIGMA * np.array([0.1, 0.2]), rel=1e-5
    )
    # two equal images far apart: the width spans both
    wide = lines.doublet_fwhm(0.1, 1.0, 1.0)
    assert wide == pytest.approx(1.0 + lines.FWHM_PER_SIGMA * 0.1, rel=1e-5)


def test_line_shapes__refuse_widths():
    for call in (
        lambda: lines.gaussian(0.0, 0.0),
        lambda: lines.doublet(0.0, [0.1, -0.1], 0.0, 0.0),
        lambda: lines.resolving_power_sigma(3000.0, np.nan),
        lambda: lno.line_shape(0.0, 3000.0, 0.0),
        lambda: uvis.line_shape(0.0, -1.5),
        lambda: uvis.line_shape(0.0, 1.5, -1.0),
        lambda: uvis.line_shape(0.0, 0.0, 1.0),
    ):
        with pytest.raises(InstrumentError):
            call()


# --- NOMAD SO ---------------------------------------------------------------

ALTERED = so.SoInstrument(
    ils_amplitude=0.3,
    ils_resolving_power=15000.0,
    ils_delta_factor=0.9,
    aotf_width_factor=1.03,
    aotf_lobe_factor=0.8,
    aotf_pedestal_factor=1.2,
)


def varied(settings, name, value):
    from dataclasses import replace

    return replace(settings, **{name: float(value)})


@pytest.mark.parametrize("settings", [so.SoInstrument(), ALTERED])
@pytest.mark.parametrize("nu0", [3021.476, 4289.385])
def test_so_aotf_derivatives__central_differences(settings, nu0):
    nu = nu0 + np.linspace(-140.0, 140.0, 283)  # the jump of the lobes not among them
    found = so_derivatives.aotf_derivatives(nu, nu0, settings)
    for name in ("aotf_width_factor", "aotf_lobe_factor", "aotf_pedestal_factor"):
        at = getattr(settings, name)
        assert_slope(
            found[name],
            lambda v, name=name: so.aotf_transmission(
                nu, nu0, varied(settings, name, v)
            ),
            at,
            2e-3,
        )
    assert_slope(
        found["aotf_offset"],
        lambda v: so.aotf_transmission(nu, v, settings),
        nu0,
        0.02,
    )


@pytest.mark.parametrize("settings", [so.SoInstrument(), ALTERED])
def test_so_line_shape_derivatives__central_differences(settings):
    x = np.linspace(-0.5, 0.7, 121)
    found = so_derivatives.line_shape_derivatives(x, 200, 3030.0, settings)
    steps = {
        "ils_amplitude": 1e-2,
        "ils_resolving_power": 100.0,
        "ils_delta_factor": 1e-2,
    }
    for name, step in steps.items():
        assert_slope(
            found[name],
            lambda v, name=name: so.line_shape(
                x, 200, 3030.0, varied(settings, name, v)
            ),
            getattr(settings, name),
            step,
        )
    assert_slope(
        found["shift"], lambda c: so.line_shape(x - c, 200, 3030.0, settings), 0.0, 2e-3
    )


@pytest.mark.parametrize("model", ["gv", "lt", "liuzzi", "archive"])
def test_so_dispersion_derivatives__and_pixels_per_degree(model):
    found = so_derivatives.pixel_wavenumber_derivatives(134, PIXELS, -5.0, model)
    f = so.pixel_wavenumber
    assert_slope(found["pixel"], lambda s: f(134, PIXELS + s, -5.0, model), 0.0, 0.5)
    assert_slope(found["temperature_c"], lambda t: f(134, PIXELS, t, model), -5.0, 0.5)
    rate = -found["temperature_c"] / found["pixel"]
    low, high = {"liuzzi": (0.72, 0.74)}.get(model, (0.82, 0.94))
    assert low < rate[160] < high


def test_so_dispersion_derivatives__refuse_a_model():
    with pytest.raises(InstrumentError) as caught:
        so_derivatives.pixel_wavenumber_derivatives(134, 0, 0.0, "old")
    assert caught.value.rule == "instrument.model"


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
    orders, weight = so.order_weights(nu, order, centre, fsr)
    share = (weight / weight.sum(axis=0)).mean(axis=1)
    assert orders.tolist() == list(range(order - 6, order + 7))
    np.testing.assert_allclose(share[[6, 5, 7]], expected, atol=6e-4)


@pytest.mark.parametrize("order", [121, 134, 168, 190])
def test_so_blazes__peak_where_published(order):
    nu = so.pixel_wavenumber(order, PIXELS, 0.0)
    centre = so.aotf_centre(so.AOTF_FREQUENCY_KHZ[order], 0.0)
    sinc = so.blaze(nu, order, so.free_spectral_range(centre, 0.0))
    assert 189 <= sinc.argmax() <= 205
    physical = grating.grating_blaze(nu, order, instruments.coefficients("so.grating"))
    assert 180 <= physical.argmax() <= 212
    assert np.abs(physical - sinc).max() < 0.25


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


def test_lno_dispersion_derivatives__central_differences():
    found = lno.pixel_wavenumber_derivatives(168, PIXELS, -5.0)
    f = lno.pixel_wavenumber
    assert_slope(found["pixel"], lambda s: f(168, PIXELS + s, -5.0), 0.0, 0.5)
    assert_slope(found["temperature_c"], lambda t: f(168, PIXELS, t), -5.0, 0.5)


def test_lno_aotf__independent_evaluation():
    for x in (-60.0, -7.3, 1e-9, 7.3, 18.188122, 31.0):
        u = np.pi * x / 18.188122
        value = 0.6290016 * (np.sin(u) / u) ** 2
        value += 0.3709984 * np.exp(-(x**2) / 12.181137**2)
        assert lno.aotf_transmission(3000 + x, 3000.0) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_lno_aotf_derivatives__central_differences(factor):
    nu = 3026.5 + np.linspace(-90.0, 90.0, 181)
    found = lno.aotf_derivatives(nu, 3026.5, factor)
    assert_slope(
        found["aotf_offset"],
        lambda c: lno.aotf_transmission(nu, c, factor),
        3026.5,
        0.05,
    )
    assert_slope(
        found["aotf_width_factor"],
        lambda f: lno.aotf_transmission(nu, 3026.5, f),
        factor,
        2e-3,
    )


def test_lno_blaze__peaks_at_its_pixel():
    for order in (121, 134, 168, 189):
        b = lno.blaze(lno.pixel_wavenumber(order, PIXELS, -3.0), order, -3.0)
        assert abs(int(b.argmax()) - (150.80 + 0.22 * order)) < 0.6
        width = 22.47
        nu = lno.pixel_wavenumber(order, 150.80 + 0.22 * order, -3.0)
        assert lno.blaze(nu + width / 2, order, -3.0) == pytest.approx(4 / np.pi**2)


def test_lno_order_weights__are_products():
    orders, nu, weight = lno.order_weights(168, PIXELS, 24180, -5.0, 2)
    assert orders.tolist() == [166, 167, 168, 169, 170]
    k = 1
    np.testing.assert_allclose(nu[k], lno.pixel_wavenumber(167, PIXELS, -5.0))
    aotf_there = lno.aotf_transmission(nu[k], lno.aotf_centre(24180, -5.0))
    np.testing.assert_allclose(weight[k], aotf_there * lno.blaze(nu[k], 167, -5.0))
    share = weight[2, 100:300].sum() / weight[:, 100:300].sum()
    assert 0.4 < share < 1.0


# --- gratings and filters ---------------------------------------------------


def test_sinc_squared_slope__series_joins_the_formula():
    u = np.array([-1.5, -1.001e-3, -9.99e-4, -1e-7, 0.0, 9.99e-4, 1.001e-3, 0.3, 1.0])
    found = aotf.sinc_squared_slope(u)
    expected = slope(aotf.sinc_squared, u, 2e-3)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    t = np.float64(0.999e-3)
    near = -(2 / 3) * np.pi**2 * t * (1 - (4 / 15) * (np.pi * t) ** 2)
    assert aotf.sinc_squared_slope(t) == pytest.approx(near, rel=1e-12)


def test_sampled_aotf__equals_what_it_samples():
    nu0 = 3021.476
    x = np.linspace(-150.0, 150.0, 3001)
    found = aotf.SampledAotf(x, so.aotf_transmission(nu0 + x, nu0))
    nu = nu0 + 0.7 + np.linspace(-140.0, 140.0, 997)
    # where the lobes begin the second derivative jumps
    expected = so.aotf_transmission(nu - 0.7, nu0)
    np.testing.assert_allclose(found(nu, nu0 + 0.7), expected, atol=1e-5)
    assert_slope(
        found.centre_derivative(nu, nu0),
        lambda c: found(nu, c),
        nu0,
        0.02,
        1e-4,
    )
    with pytest.raises(InstrumentError) as caught:
        found(nu0 + 151.0, nu0)
    assert caught.value.rule == "instrument.aotf_range"
    for bad in (x[::-1], np.full(x.size, np.nan), x[:5]):
        with pytest.raises(InstrumentError) as caught:
            aotf.SampledAotf(bad, x)
        assert caught.value.rule == "instrument.aotf_samples"


@pytest.mark.parametrize("centre", [3025.0, 3020.0])
def test_sinc_blaze_derivatives__central_differences(centre):
    nu = np.linspace(3010.0, 3036.0, 53)
    by_nu, by_width = grating.sinc_blaze_derivatives(nu, centre, 22.5)
    assert_slope(by_nu, lambda d: grating.sinc_blaze(nu + d, centre, 22.5), 0.0, 0.05)
    assert_slope(by_width, lambda w: grating.sinc_blaze(nu, centre, w), 22.5, 0.05)


def test_grating_blaze__independent_evaluation():
    from math import asin, cos, pi, sin

    theta, groove, gamma, tilt = 1.10706, 0.024792, 0.04538, -3.491e-4
    sides = set()
    for nu in (3011.0, 3018.0, 3024.0, 3027.0, 3035.0):
        alpha = theta + tilt
        beta = asin(134 / (nu * groove * cos(gamma)) - sin(alpha))
        path = nu * groove * cos(gamma) * cos(alpha) / cos(tilt)
        u = pi * path * (sin(tilt) + sin(beta - theta))
        value = (sin(u) / u) ** 2
        if beta > alpha:
            value *= (cos(beta) / cos(alpha)) ** 2
        sides.add(beta > alpha)
        found = grating.grating_blaze(nu, 134, instruments.coefficients("so.grating"))
        assert found == pytest.approx(value, rel=1e-9)
    assert sides == {True, False}


def test_grating_blaze__refuses_what_is_not_diffracted():
    with pytest.raises(InstrumentError) as caught:
        grating.grating_blaze(10.0, 134, instruments.coefficients("so.grating"))
    assert caught.value.rule == "instrument.diffraction"


def test_add_orders__mean_flat_and_derivative():
    rng = np.random.default_rng(5)
    nu0 = 3021.476
    nu = so.pixel_wavenumber(134, PIXELS, 0.0)
    orders = np.arange(128, 141)
    t = rng.uniform(0.2, 1.0, (orders.size, nu.size))
    there = nu * (orders[:, None] / 134)
    light = so.blaze(there, orders[:, None], 22.5752)

    def weight(centre):
        return light * so.aotf_transmission(there, centre)

    flat = grating.add_orders(np.full(t.shape, 0.7), weight(nu0))
    np.testing.assert_allclose(flat, 0.7, rtol=0, atol=1e-12)
    rate = so_derivatives.aotf_derivatives(there, nu0)["aotf_offset"] * light
    assert_slope(
        grating.add_orders_derivative(t, weight(nu0), rate),
        lambda c: grating.add_orders(t, weight(c)),
        nu0,
        0.02,
        1e-6,
    )
    with pytest.raises(InstrumentError) as caught:
        grating.add_orders(t, np.zeros(t.shape))
    assert caught.value.rule == "instrument.order_weight"


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


# --- ACS NIR ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "low", "high"), [(49, 6318, 6387), (54, 6960, 7040), (56, 7217, 7300)]
)
def test_acs_nir_order_centre__lies_in_the_published_range(order, low, high):
    assert low < acs_nir.order_centre(order) < high


def test_acs_nir__orders_frequency_aotf():
    for order in (48, 102):
        with pytest.raises(InstrumentError) as caught:
            acs_nir.order_centre([56, order])
        assert caught.value.value == order
    np.testing.assert_allclose(acs_nir.aotf_frequency_khz([0, 1]), [64000, 64050])
    orders, nu = acs_nir.order_wavenumbers(7258.0 + np.arange(3), 56, 2)
    np.testing.assert_allclose(nu, (7258.0 + np.arange(3)) * orders[:, None] / 56)
    edge = acs_nir.aotf_transmission(7000.0 + np.array([-60.0, 60.0]), 7000, 120.0, 0.5)
    np.testing.assert_allclose(edge, 0.5, atol=1e-7)
    plain = acs_nir.aotf_transmission(7200.0, 7000.0, 120.0, 1.0)
    lobes = acs_nir.aotf_transmission(7200.0, 7000.0, 120.0, 0.5)
    assert lobes == pytest.approx(plain / 2)


def test_acs_nir_aotf_derivatives__central_differences():
    nu = 7000.0 + np.linspace(-300.0, 300.0, 301)
    found = acs_nir.aotf_derivatives(nu, 7000.0, 120.0, 0.6)
    f = acs_nir.aotf_transmission
    assert_slope(found["aotf_offset"], lambda c: f(nu, c, 120.0, 0.6), 7e3, 0.1)
    assert_slope(found["aotf_fwhm"], lambda w: f(nu, 7e3, w, 0.6), 120.0, 0.1)
    assert_slope(found["aotf_side_lobes"], lambda s: f(nu, 7e3, 120.0, s), 0.6, 0.01)


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


# --- nadir ------------------------------------------------------------------


def test_air_mass__values_and_limits():
    mass = nadir.two_way_air_mass([0.0, 60.0, np.nan], [0.0, 60.0, 10.0])
    np.testing.assert_allclose(mass[:2], [2.0, 4.0])
    assert np.isnan(mass[2])
    for angle in (-1.0, 81.0):
        with pytest.raises(InstrumentError) as caught:
            nadir.two_way_air_mass([10.0, angle], 0.0)
        assert caught.value.value == angle
    assert nadir.two_way_air_mass(85.0, 0.0, largest_deg=86.0) > 12


@pytest.mark.parametrize(
    ("angle", "tolerance"), [(30.0, 0.02), (60.0, 0.04), (75.0, 0.14), (80.0, 0.29)]
)
def test_plane_parallel_error__against_a_sphere(angle, tolerance):
    height, radius = 11.0, 3390.0
    z = np.linspace(0.0, 300.0, 600_001)
    # radius at an altitude z along the ray, and the length per altitude
    sine = radius * np.sin(np.radians(angle)) / (radius + z)
    path = integrate.trapezoid(np.exp(-z / height) / np.sqrt(1 - sine**2), z) / height
    plane = 1 / np.cos(np.radians(angle))
    found = nadir.plane_parallel_error(angle, height, radius)
    assert found == pytest.approx((plane - path) / plane, rel=tolerance)


def test_two_way_transmittance__derivative_and_product():
    tau = np.linspace(0.0, 2.0, 21)
    mass = float(nadir.two_way_air_mass(50.0, 5.0))
    value, rate = nadir.two_way_transmittance(tau, mass)
    down = np.exp(-tau / np.cos(np.radians(50.0)))
    up = np.exp(-tau / np.cos(np.radians(5.0)))
    np.testing.assert_allclose(value, down * up, rtol=1e-13)
    assert_slope(
        rate, lambda d: nadir.two_way_transmittance(tau + d, mass)[0], 0.0, 1e-2
    )


def test_reflectance__lambert_surface_is_its_albedo():
    albedo, incidence, distance, irradiance = 0.23, 55.0, 1.52, 0.9
    radiance = albedo * irradiance / distance**2 / np.pi * np.cos(np.radians(incidence))
    i_over_f = nadir.radiance_factor(radiance, irradiance, distance)
    assert i_over_f == pytest.approx(albedo * np.cos(np.radians(incidence)))
    assert nadir.reflectance_factor(i_over_f, incidence) == pytest.approx(albedo)
    with pytest.raises(InstrumentError):
        nadir.radiance_factor(radiance, irradiance, 0.0)
    with pytest.raises(InstrumentError):
        nadir.reflectance_factor(0.1, 90.0)


def test_surface_reflectance__derivatives():
    value, by_surface, by_tau = nadir.surface_reflectance_factor(0.25, 0.4, 2.3)
    f = nadir.surface_reflectance_factor
    assert value == pytest.approx(0.25 * np.exp(-0.4 * 2.3))
    assert_slope(by_surface, lambda s: f(s, 0.4, 2.3)[0], 0.25, 1e-2)
    assert_slope(by_tau, lambda t: f(0.25, t, 2.3)[0], 0.4, 1e-2)
