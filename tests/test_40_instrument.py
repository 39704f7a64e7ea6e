from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference.operator_matrix import as_csr

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.response.fields import truncation_residual
from tgo_spectra.instruments.response.tabulated import (
    KINDS,
    apply,
    apply_many,
    build_operator,
    change,
    covered_orders,
)
from tgo_spectra.instruments.so import (
    AOTF_FREQUENCY_KHZ,
    SoInstrument,
    aotf_centre,
    aotf_parameters,
    aotf_transmission,
    blaze,
    free_spectral_range,
    ils_parameters,
    pixel_wavenumber,
)

# m, nu0, w, s, a, g, FSR, blaze centre, nu(0), nu(319), fractions m, m-1, m+1
VECTORS = """
121 2727.182 20.974 1.112 1.120 .0827 22.5749 2731.567 2718.765 2740.435 .610 .118 .075
129 2908.301 20.940 1.342 1.195 .0605 22.5748 2912.144 2898.518 2921.621 .651 .106 .070
130 2930.986 20.935 1.374 1.204 .0584 22.5748 2934.727 2920.987 2944.270 .656 .104 .069
134 3021.476 20.913 1.512 1.238 .0516 22.5752 3025.080 3010.863 3034.862 .666 .101 .068
136 3066.756 20.901 1.586 1.254 .0491 22.5755 3070.269 3055.802 3080.159 .670 .099 .068
148 3338.451 20.814 2.100 1.335 .0470 22.5780 3341.551 3325.431 3351.938 .657 .096 .073
149 3360.935 20.806 2.147 1.341 .0478 22.5783 3364.166 3347.900 3374.586 .650 .098 .075
164 3700.594 20.661 2.970 1.408 .0785 22.5821 3703.458 3684.937 3714.309 .568 .109 .092
168 3791.241 20.616 3.222 1.420 .0925 22.5829 3793.924 3774.814 3804.902 .542 .113 .097
169 3813.839 20.604 3.286 1.423 .0963 22.5831 3816.537 3797.283 3827.550 .535 .114 .099
186 4198.867 20.378 4.516 1.443 .1858 22.5839 4200.606 4179.258 4212.570 .429 .134 .119
189 4266.825 20.334 4.758 1.442 .2061 22.5835 4268.275 4246.666 4280.515 .413 .137 .122
190 4289.385 20.318 4.840 1.441 .2132 22.5833 4290.822 4269.135 4303.163 .407 .138 .123
"""


@pytest.mark.parametrize("line", VECTORS.split("\n")[1:-1])
def test_published_vectors(line):
    order, *rest = line.split()
    order = int(order)
    nu0, w, s, a, g, fsr, peak, nu_first, nu_last, *fractions = map(float, rest)
    centre = aotf_centre(AOTF_FREQUENCY_KHZ[order], 0.0)
    assert centre == pytest.approx(nu0, abs=6e-4)
    parameters = aotf_parameters(centre)
    np.testing.assert_allclose(parameters[:3], (w, s, a), atol=6e-4)
    assert parameters[3] == pytest.approx(g, abs=6e-5)
    width = free_spectral_range(centre, 0.0)
    assert width == pytest.approx(fsr, abs=6e-5)
    assert order * width == pytest.approx(peak, abs=6e-4)
    nu = pixel_wavenumber(order, np.arange(320), 0.0)
    assert nu[0] == pytest.approx(nu_first, abs=6e-4)
    assert nu[319] == pytest.approx(nu_last, abs=6e-4)
    # blaze-weighted fractions of light, pixels 100 to 300, +-6 orders
    orders = np.arange(order - 6, order + 7)[:, None]
    scaled = (nu * orders / order)[:, 100:301]
    light = aotf_transmission(scaled, centre) * blaze(scaled, orders, width)
    found = light.sum(axis=1) / light.sum()
    np.testing.assert_allclose(found[[6, 5, 7]], fractions, atol=2.1e-3)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("archive", (3010.992, 3022.967, 3034.987)),
        ("liuzzi", (3011.244, 3023.221, 3035.243)),
        ("gv", (3011.192, 3023.171, 3035.194)),
        ("lt", (3011.297, 3023.166, 3035.187)),
    ],
)
def test_wavenumber_models_order_134(model, expected):
    found = pixel_wavenumber(134, [0, 160, 319], -5.0, model)
    np.testing.assert_allclose(found, expected, atol=6e-4)


def test_unknown_wavenumber_model():
    with pytest.raises(InstrumentError, match="unknown wavenumber model"):
        pixel_wavenumber(134, 0, 0.0, "old")


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (-10, (1.57, 0.16, 0.18)),
        (-5, (1.41, -0.07, -0.10)),
        (0, (1.75, 0.21, 0.11)),
        (5, (2.58, 0.97, 0.81)),
    ],
)
def test_gv_lies_below_lt_by_pixels(temperature, expected):
    p = np.array([0.0, 160.0, 319.0])
    lt = pixel_wavenumber(134, p, temperature, "lt")
    gv = pixel_wavenumber(134, p, temperature)
    step = pixel_wavenumber(134, p + 0.5, temperature) - pixel_wavenumber(
        134, p - 0.5, temperature
    )
    np.testing.assert_allclose((lt - gv) / step, expected, atol=0.03)


@pytest.mark.parametrize("nu0", [2727.182, 3021.476, 3791.241, 4289.385])
def test_aotf_against_independent_evaluation(nu0):
    w = 20.1730360 + 7.47648684e-4 * nu0 - 1.66406991e-7 * nu0 * nu0
    s = 4.08845247 - 3.30238496e-3 * nu0 + 8.10749274e-7 * nu0 * nu0
    a = -1.24925395 + 1.29003715e-3 * nu0 - 1.54536176e-7 * nu0 * nu0
    g = 1.60097815 - 9.63798656e-4 * nu0 + 1.49266526e-7 * nu0 * nu0
    for x in [-140.0, -31.0, -w, -10.0, 1e-9, 5.0, w, 31.0, 140.0]:
        u = np.pi * x / w
        value = (np.sin(u) / u) ** 2
        if x <= -w:
            value *= s * a
        elif x > w:
            value *= s
        value += g * np.exp(-0.5 * (x / 50) ** 2)
        assert aotf_transmission(nu0 + x, nu0) == pytest.approx(value, abs=1e-6)
    assert aotf_transmission(nu0, nu0) == pytest.approx(1 + g, abs=1e-12)


def test_aotf_asymmetry_is_on_the_low_side():
    w, _, a, g = aotf_parameters(3021.476)
    pedestal = g * np.exp(-0.5 * (1.5 * w / 50) ** 2)
    low = aotf_transmission(3021.476 - 1.5 * w, 3021.476) - pedestal
    high = aotf_transmission(3021.476 + 1.5 * w, 3021.476) - pedestal
    assert low / high == pytest.approx(a, rel=1e-9)
    assert a > 1


@pytest.mark.parametrize(("frequency", "rate"), [(17859, -0.197), (26008, -0.280)])
def test_aotf_temperature_term_has_the_factor_nu0(frequency, rate):
    change = aotf_centre(frequency, 1.0) - aotf_centre(frequency, 0.0)
    assert change == pytest.approx(rate, abs=6e-4)


def test_ils_parameters_and_ghost_sign():
    sigma, delta, amplitude = ils_parameters(np.array([0, 160, 319]), 3700.0)
    np.testing.assert_allclose(delta, [0.0013, 0.1974, 0.2368], atol=6e-5)
    assert (delta > 0).all()
    assert amplitude == 0.272437
    np.testing.assert_allclose(sigma, 3700.0 / (16939.8009 * 2.355), rtol=1e-12)
    # FWHM of the main Gaussian, centroid shift at pixel 160
    for nu, fwhm, shift in [(3030, 0.179, 0.035), (3790, 0.224, 0.043)]:
        s, d, amp = ils_parameters(160, nu)
        assert 2.355 * s == pytest.approx(fwhm, abs=6e-4)
        assert d * amp / (1 + amp) == pytest.approx(shift, abs=6e-4)


def test_settings_refuse():
    with pytest.raises(InstrumentError, match="-1"):
        SoInstrument(n_orders=-1)
    with pytest.raises(InstrumentError, match="reference"):
        SoInstrument(ils_reference="middle")


# --- the operator -----------------------------------------------------------

START, WIDTH, POINTS = 2930.0, 0.1, 50
ORDER, FREQUENCY, TEMPERATURE = 134, 17859.0, -5.0
N_ORDERS = 2
N_CELLS = 1820


def fine_grid():
    step = WIDTH / POINTS
    return START + (np.arange(N_CELLS * POINTS) + 0.5) * step


@pytest.fixture(scope="module")
def nodes():
    """Every fine point a node: the moments are then exact."""
    u = (2 * np.arange(POINTS) + 1) / POINTS - 1
    weight = np.tile(np.polynomial.legendre.legvander(u, 4), (N_CELLS, 1))
    return np.repeat(np.arange(N_CELLS), POINTS), weight, START, WIDTH


def spectrum(nu, count=3):
    """Transmittance with lines as narrow as Doppler cores and wings."""
    rng = np.random.default_rng(11)
    tau = np.zeros((nu.size, count))
    for position in rng.uniform(nu[0], nu[-1], 600):
        core = 10 ** rng.uniform(0, 3)
        width = rng.uniform(0.004, 0.01)
        profile = width**2 / ((nu - position) ** 2 + width**2)
        tau += core * profile[:, None] * np.array([1.0, 0.1, 0.01])[:count]
    return np.exp(-tau)


PIXELS = np.array([20, 21, 90, 91, 92, 160, 200, 255, 299, 319])


def wavenumbers(shift=0.0):
    return pixel_wavenumber(ORDER, PIXELS, TEMPERATURE, "archive") + shift


def build(nodes, shift=0.0, **options):
    options = {
        "pixel_wavenumber_cm1": wavenumbers(shift),
        "order": ORDER,
        "aotf_frequency_khz": FREQUENCY,
        "temperature_c": TEMPERATURE,
        "pixels": PIXELS,
        "n_orders": N_ORDERS,
        "dtype": np.float64,
    } | options
    return build_operator(*nodes, **options)


def brute_force(field, shift=0.0, settings=None):
    """Order addition written down anew: one sum over the whole fine grid."""
    nu = fine_grid()
    settings = settings or SoInstrument()
    nu0 = 305.0604 + 0.1497089 * FREQUENCY + 1.34082e-7 * FREQUENCY**2
    nu0 *= 1 - 6.5278e-5 * TEMPERATURE
    aotf = aotf_transmission(nu, nu0)
    fsr = free_spectral_range(nu0, TEMPERATURE)
    nominal = wavenumbers(shift)
    result = np.empty((PIXELS.size, field.shape[1]))
    for i, p in enumerate(PIXELS):
        top, bottom = 0.0, 0.0
        for k in range(ORDER - N_ORDERS, ORDER + N_ORDERS + 1):
            c = nominal[i] * k / ORDER
            held = wavenumbers()[i] * k / ORDER  # widths and blaze do not move
            ref = {"pixel": held, "order": nu0 * k / ORDER, "aotf": nu0}
            scale = ref[settings.ils_reference]
            sigma = scale / (16939.8009 * 2.355)
            delta = -3.06665339e-6 * p**2 + 1.71638815e-3 * p + 1.31671485e-3
            delta *= scale / 3700
            shape = np.exp(-0.5 * ((nu - c) / sigma) ** 2)
            shape += 0.272437 * np.exp(-0.5 * ((nu - c - delta) / sigma) ** 2)
            x = np.pi * (held - k * fsr) / fsr
            b = (np.sin(x) / x) ** 2
            kernel = b * aotf * shape / sigma
            top = top + kernel @ field
            bottom += kernel.sum()
        result[i] = top / bottom
    return result


@pytest.mark.parametrize("reference", ["pixel", "order", "aotf"])
def test_order_addition_equals_brute_force(nodes, reference):
    field = spectrum(fine_grid())
    settings = SoInstrument(ils_reference=reference)
    operator = build(nodes, settings=settings)
    found = apply(operator, field)
    expected = brute_force(field, settings=settings)
    assert expected.min() < 0.9
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flat_stays_flat_and_rows_sum_to_one(nodes):
    operator = build(nodes)
    flat = np.full((nodes[0].size, 2), 0.7)
    result = apply_many(operator, flat)
    np.testing.assert_allclose(result[0], 0.7, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result[1:3], 0.0, atol=1e-9)
    sums = as_csr(operator).sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-12)
    np.testing.assert_allclose(operator.order_fraction.sum(axis=1), 1.0, atol=1e-12)


def test_derivatives_against_finite_differences(nodes):
    field = spectrum(fine_grid())
    _, shift, curvature, _ = apply_many(build(nodes), field)
    h = 0.004
    low, mid, high = (brute_force(field, d) for d in (-h, 0.0, h))
    first = (high - low) / (2 * h)
    second = (high - 2 * mid + low) / h**2
    assert np.abs(first).max() > 0.1
    np.testing.assert_allclose(shift, first, atol=2e-3 * np.abs(first).max())
    np.testing.assert_allclose(curvature, second, atol=5e-3 * np.abs(second).max())


def test_slope_is_the_value_weighted_by_relative_wavenumber(nodes):
    operator = build(nodes)
    field = spectrum(fine_grid())
    relative = (fine_grid() - operator.centre_cm1) / operator.centre_cm1
    assert operator.centre_cm1 == pytest.approx(wavenumbers().mean())
    found = apply(operator, field, "slope")
    expected = brute_force(field * relative[:, None])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_apply_forms_agree(nodes):
    operator = build(nodes)
    field = spectrum(fine_grid())
    many = apply_many(operator, field)
    for index, kind in enumerate(KINDS):
        one = apply(operator, field, kind)
        scale = np.abs(one).max()
        np.testing.assert_allclose(one, many[index], atol=1e-12 * scale)
        np.testing.assert_allclose(
            as_csr(operator, kind) @ field, one, atol=1e-12 * scale
        )
    single = apply(build(nodes, dtype=np.float32), field.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, many[0], atol=2e-6)
    assert apply(operator, field[:, :0]).shape == (PIXELS.size, 0)


def test_blocks_do_not_matter(nodes, monkeypatch):
    field = spectrum(fine_grid())
    whole = apply_many(build(nodes), field)
    monkeypatch.setattr("tgo_spectra.instruments.response.tabulated.BLOCK_PIXELS", 3)
    parts = apply_many(build(nodes), field)
    np.testing.assert_allclose(parts, whole, atol=1e-9)


def test_kernels_as_python_agree(nodes):
    from tgo_spectra.instruments.response import kernel as operator_kernel

    field = spectrum(fine_grid(), 1)
    few = {"pixels": PIXELS[5:6], "pixel_wavenumber_cm1": wavenumbers()[5:6]}
    compiled = apply_many(build(nodes, n_orders=0, **few), field)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fill_blocks", "normalise_blocks"):
            kernel = getattr(operator_kernel, name)
            patch.setattr(operator_kernel, name, kernel.py_func)
        plain = apply_many(build(nodes, n_orders=0, **few), field)
    np.testing.assert_allclose(plain, compiled, rtol=1e-9, atol=1e-9)


def test_truncation_residual_is_the_change_by_the_last_pair(nodes):
    field = spectrum(fine_grid())
    two = build(nodes)
    one = build(nodes, n_orders=1)
    expected = np.abs(apply(two, field) - apply(one, field)).max()
    assert truncation_residual(two, field) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(truncation_residual(build(nodes, n_orders=0), field))


def test_change__of_operators_that_reach_over_other_nodes(nodes):
    settings = SoInstrument()
    wider = replace(settings, ils_resolving_power=0.9 * settings.ils_resolving_power)
    pair = [build(nodes, settings=one, kinds=KINDS[:1]) for one in (settings, wider)]
    assert (pair[0].node_low != pair[1].node_low).any()
    assert pair[0].node_high.sum() < pair[1].node_high.sum()
    field = spectrum(fine_grid(), 2)
    for plus, minus in (pair, pair[::-1]):
        expected = (apply(plus, field) - apply(minus, field)) / 0.5
        found = apply(change(plus, minus, 0.5), field)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    whole = build(nodes)
    np.testing.assert_array_equal(apply(pair[0], field), apply(whole, field))


def test_operator_refuses(nodes):
    with pytest.raises(InstrumentError, match="it covers 3"):
        build(nodes, n_orders=9)
    with pytest.raises(InstrumentError, match="ascend"):
        build(nodes, pixels=PIXELS[::-1])
    with pytest.raises(InstrumentError, match="finite"):
        build(nodes, pixel_wavenumber_cm1=np.full(PIXELS.size, np.nan))
    with pytest.raises(InstrumentError, match="nodes"):
        apply(build(nodes), np.ones((3, 3)))


def test_covered_orders():
    nu = pixel_wavenumber(ORDER, np.arange(320), TEMPERATURE)
    stop = START + N_CELLS * WIDTH
    assert covered_orders(nu, ORDER, START, stop) == 3
    assert covered_orders(nu, ORDER, 3020.0, stop) == -1
