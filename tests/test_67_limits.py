"""Limits: three definitions, one scalar against its bound, and averaging."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import legendre

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval import limits, linear
from tgo_spectra.retrieval.diagnostics import GasDiagnostics
from tgo_spectra.retrieval.models.so import optimal_estimation
from tgo_spectra.retrieval.models.so.scene import detector_position
from tgo_spectra.retrieval.state import Block, StateSpace, independent

sys.path.append(str(Path(__file__).parent))

import closed_loop as loop


def diagnostics_of(sigma, response):
    n = sigma.size
    covariance = np.diag(sigma**2)
    return GasDiagnostics(
        averaging_kernel=np.diag(np.full(n, response)),
        noise_covariance=covariance,
        total_covariance=covariance,
        noise_error=sigma,
        smoothing_error=np.zeros(n),
        total_error=sigma,
        degrees_of_freedom=n * response,
    )


def test_limits__agree_where_levels_are_independent():
    sigma = np.array([1.0, 2.0, 4.0])
    vmr = np.array([3.5, 5.0, -20.0])
    z = np.arange(3.0)
    found = limits.of_profile(vmr, diagnostics_of(sigma, 0.9), z, 0.0, 3.0, 2.0, 0.2)
    np.testing.assert_allclose(found.linear, sigma)
    np.testing.assert_allclose(found.by_chi_square, 2.0 * sigma)
    np.testing.assert_allclose(found.by_flag, 3.0 * sigma)
    np.testing.assert_allclose(found.delta_chi_square, (vmr / sigma) ** 2)
    # chi-square rises for the negative value too: it is no detection
    np.testing.assert_array_equal(found.detected, [True, False, False])


def test_limits__nothing_is_detected_without_response():
    sigma, vmr = np.ones(3), np.full(3, 100.0)
    blind = diagnostics_of(sigma, 0.1)
    found = limits.of_profile(vmr, blind, np.arange(3.0), 0.0, 3.0, 2.0, 0.2)
    assert not found.detected.any()
    assert np.isinf(found.by_flag).all()


def test_limits__delta_chi_square_of_a_group_is_smaller_than_of_one_level():
    z = np.arange(5.0)
    d = diagnostics_of(np.ones(5), 1.0)
    one = limits.of_profile(np.ones(5), d, z, 0.0, 3.0, 1.0, 0.2)
    three = limits.of_profile(np.ones(5), d, z, 1.0, 3.0, 1.0, 0.2)
    np.testing.assert_allclose(one.by_chi_square, 1.0)
    np.testing.assert_allclose(three.by_chi_square[1:4], 1.0 / np.sqrt(3.0))


def numeric_bound(scene, inside):
    """Cramer-Rao bound of one CH4 mole fraction in the layer, by differences.

    Free: the mole fraction, factors on water and HDO, the shift of each bin, the
    stretch, and five coefficients of the baseline of each row.
    """
    prepared = scene.prepared
    prior = loop.prior_state(scene)
    altitude = scene.limb.altitude_km

    def model(ch4=0.0, water=1.0, heavy=1.0, shift=0.0, stretch=0.0):
        vmr = {
            "h2o": water * prior["h2o"],
            "ch4": ch4 * inside.astype(float),
            "hdo": heavy * prior["hdo"],
            "co2": prior["co2"],
        }
        return loop.transmittance(scene, vmr, shift, stretch)

    assert altitude.size == inside.size
    columns = []
    for name, at, step in (("ch4", 0.0, 1e-9), ("water", 1.0, 1e-3),
                           ("heavy", 1.0, 1e-2), ("stretch", 0.0, 1e-3)):  # fmt: skip
        sides = [model(**{name: at + sign * step}) for sign in (1.0, -1.0)]
        columns.append((sides[0] - sides[1]) / (2.0 * step))
    sides = [model(shift=sign * 1e-3) for sign in (1.0, -1.0)]
    shift = (sides[0] - sides[1]) / 2e-3
    columns += [shift * (prepared.bin == b)[:, None] for b in range(prepared.n_bins)]
    value = model()
    position = detector_position(prepared.pixels)
    polynomials = legendre.legvander(position, scene.setup.baseline_degree).T
    n_base = len(polynomials)
    size = len(columns)
    jacobian = np.zeros((*value.shape, size + n_base * len(value)))
    for index, column in enumerate(columns):
        jacobian[:, :, index] = column
    for row in range(len(value)):
        start = size + row * n_base
        jacobian[row, :, start : start + n_base] = (polynomials * value[row]).T
    whitened = (jacobian * prepared.weight[:, :, None]).reshape(-1, jacobian.shape[2])
    scale = np.linalg.norm(whitened, axis=0)
    used = scale > 0
    whitened = whitened[:, used] / scale[used]
    inverse = np.linalg.inv(whitened.T @ whitened)
    return np.sqrt(inverse[0, 0]) / scale[0]


def test_layer__noise_is_near_the_bound(level1):
    """The bound knows the gas outside the layer, and the shape of water."""
    setup = tgo.load_setup("so_134")
    step = level1.sizes["spectrum"] // 30
    thin = level1.isel(spectrum=slice(0, None, step))
    exact = loop.scene_of(
        thin, setup, jacobian_rank=None, steps_km=None, dtype=np.float64
    )
    # the baseline of the model is 1: spectra without aerosol, measured noise
    clean = loop.spectra(exact, loop.prior_state(exact))
    scene = loop.measured(loop.scene_of(thin, setup), clean)
    inside = setup.detection.layer(scene.limb.altitude_km)
    noise = optimal_estimation.solve(scene).end.layers["ch4"].noise
    bound = numeric_bound(exact, inside)
    print(f"noise {1e12 * noise:.1f} pptv, bound {1e12 * bound:.1f} pptv")
    # the fit knows neither the shape of water nor methane above and below
    assert 0.95 * bound < noise < 2.0 * bound


def layer_space(count=6):
    altitude = np.arange(count, dtype=float)
    covariance = 4.0 * np.exp(-np.abs(altitude[:, None] - altitude) / 2.0)
    return StateSpace(
        (
            Block("ch4", np.zeros(count), covariance, "level"),
            independent(linear.STRETCH, 1.0),
        )
    )


def test_layer__is_the_least_squares_estimate_of_one_mole_fraction():
    """Against a fit whose state has the layer as one element, by hand."""
    rng = np.random.default_rng(3)
    space = layer_space()
    k = rng.normal(size=(40, space.size))
    y = rng.normal(size=40)
    inside = np.array([1, 2, 3])
    made = limits.of_layer(
        k.T @ k, space.constraint, space, k.T @ y, np.zeros(space.size), inside
    )
    outside = np.array([0, 4, 5, 6])
    columns = np.column_stack([k[:, inside].sum(axis=1), k[:, outside]])
    held = np.zeros((5, 5))
    held[1:, 1:] = np.linalg.inv(space.covariance[np.ix_(outside, outside)])
    inverse = np.linalg.inv(columns.T @ columns + held)
    assert made.value == pytest.approx((inverse @ columns.T @ y)[0], rel=1e-5)
    elsewhere = made.kernel.copy()
    elsewhere[inside] = 0.0
    variance = made.weights @ k.T @ k @ made.weights + made.undetermined
    variance += elsewhere @ space.covariance @ elsewhere
    assert variance == pytest.approx(inverse[0, 0], rel=1e-5)
    assert made.kernel[inside].sum() == pytest.approx(1.0, abs=1e-5)


def test_layer__no_lines_no_limit():
    space = layer_space()
    blind = np.zeros((space.size, space.size))
    zero = np.zeros(space.size)
    made = limits.of_layer(blind, space.constraint, space, zero, zero, np.array([1, 2]))
    assert made.value == 0.0
    assert made.undetermined > 1e5  # a thousand a priori sigmas


def test_layer__is_stored_with_its_bounds(level1):
    thin = level1.isel(spectrum=slice(0, None, 6))
    result = tgo.retrieve(thin)
    assert result["ch4_layer_vmr"].attrs["layer_km"] == "5 30"
    limit = result["ch4_layer_upper_limit"]
    assert limit.attrs["sigma_level"] == 2.0
    assert "systematic" in limit.attrs["error_used"]
    assert result["ch4_layer_detected"].attrs["sigma_level"] == 3.0
    total = float(result["ch4_layer_vmr_error"])
    value = max(float(result["ch4_layer_vmr"]), 0.0)
    assert float(limit) == pytest.approx(value + 2.0 * total)
    inside = (result.altitude >= 5) & (result.altitude <= 30)
    noise = float(result["ch4_layer_vmr_noise_error"])
    assert noise < float(result["ch4_vmr_noise_error"].where(inside).min())


def test_allan__white_noise_falls_as_the_root():
    rng = np.random.default_rng(3)
    found = limits.allan_deviation(rng.normal(0, 2.0, 8192), np.full(8192, 2.0))
    np.testing.assert_allclose(found.expected, 2.0 / np.sqrt(found.n))
    pairs = 8192 / found.n
    z = (found.deviation / found.expected - 1.0) * np.sqrt(pairs)
    assert np.abs(z[pairs > 16]).max() < 4.0


def test_allan__a_drift_stays_above_what_noise_gives():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1.0, 4096) + 0.3 * np.sin(np.arange(4096) / 300.0)
    found = limits.allan_deviation(values, np.ones(4096))
    at = int(np.flatnonzero(found.n == 256)[0])
    assert found.deviation[at] > 2.0 * found.expected[at]
    assert abs(found.deviation[0] - 1.0) < 0.05


@pytest.mark.parametrize(
    ("values", "errors", "rule"),
    [
        ([1.0, 2.0], [1.0, 1.0], "limits.too_few"),
        ([1.0] * 5, [1.0] * 4, "limits.too_few"),
        ([1.0] * 5, [0.0] * 5, "limits.bad_error"),
        ([np.nan] * 5, [1.0] * 5, "limits.bad_error"),
    ],
)
def test_allan__refuses_what_it_cannot_use(values, errors, rule):
    with pytest.raises(RetrievalError) as caught:
        limits.allan_deviation(values, errors)
    assert caught.value.rule == rule


def test_space_of__elements_follow_the_setup(level1):
    thin = level1.isel(spectrum=slice(0, None, 20))
    setup = tgo.load_setup("so_134").replace(
        systematics=loop.NONE | {"aotf_centre": 0.5}
    )
    space = optimal_estimation.space_of(loop.scene_of(thin, setup, known=True))
    assert space.names("product") == (linear.STRETCH, linear.EXPONENT, "aotf_offset")
    assert space.block("aotf_offset").covariance == 0.25
