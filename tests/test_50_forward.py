"""Forward model: Jacobian against differences, order of convergence, closed forms."""

from __future__ import annotations

import closed_loop as loop
import numpy as np
import pytest
from reference.plain_fit import full_jacobian

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.linear import place_of
from tgo_spectra.retrieval.models.so import evaluation, optimal_estimation
from tgo_spectra.retrieval.models.so.solution import build_scene


def build(level1, **options):
    setup = tgo.load_setup("so_134")
    rows = np.linspace(0, level1.sizes["spectrum"] - 1, 60).astype(int)
    thin = level1.isel(spectrum=rows)
    scene, _ = build_scene(
        thin, setup, tgo.reference_atmosphere(level1=thin), **options
    )
    return scene


@pytest.fixture(scope="module")
def exact(level1):
    """Scene in double precision whose Jacobian keeps all directions."""
    return build(level1, jacobian_rank=None, steps_km=None, dtype=np.float64)


def state_of(scene, factor=1.0):
    vmr = {gas: factor * np.asarray(p) for gas, p in scene.prior_vmr.items()}
    vmr["ch4"] = vmr["ch4"] + 2e-9
    return loop.state_of(vmr, np.full(scene.prepared.n_bins, 0.3), 0.02, 0.5)


def spectra(scene, state):
    """Model without baseline; no derivative is made."""
    return loop.transmittance(scene, state, *place_of(state))


@pytest.fixture(scope="module")
def jacobian(exact):
    """Derivative to the profiles of the exact scene at `state_of` it."""
    return full_jacobian(exact, state_of(exact))[1]


@pytest.mark.parametrize("gas", ["h2o", "ch4"])
def test_jacobian__equals_central_differences(exact, jacobian, gas):
    """To 1e-5 of the maximum over altitude, at several levels."""
    state = state_of(exact)
    analytic = jacobian[:, :, optimal_estimation.space_of(exact)[gas]]
    scale = np.abs(analytic).max()
    worst = 0.0
    for level in (0, 3, 10, 25, 45, 80):
        step = 1e-3 * max(float(state[gas].max()), 1e-9)
        side = []
        for sign in (1.0, -1.0):
            moved = {**state, gas: state[gas].copy()}
            moved[gas][level] += sign * step
            side.append(spectra(exact, moved))
        numeric = (side[0] - side[1]) / (2.0 * step)
        worst = max(worst, np.abs(numeric - analytic[:, :, level]).max() / scale)
    print(f"{gas}: {worst:.1e} of the maximum over altitude")
    assert worst < 1e-5


def test_jacobian__taylor_remainder_falls_with_the_square(exact, jacobian):
    state = state_of(exact)
    base = spectra(exact, state)
    rng = np.random.default_rng(2)
    gases = exact.setup.gases
    direction = {g: state[g] * rng.uniform(0.5, 1.0, state[g].size) for g in gases}
    slope = jacobian @ np.concatenate([direction[g] for g in exact.setup.gases])
    sizes = 0.4 * 0.5 ** np.arange(5)
    rest = []
    for h in sizes:
        moved = {**state, **{g: state[g] + h * direction[g] for g in gases}}
        new = spectra(exact, moved)
        rest.append(np.linalg.norm(new - base - h * slope))
    order = np.diff(np.log(rest)) / np.diff(np.log(sizes))
    print("orders", order.round(3))
    np.testing.assert_allclose(order[-2:], 2.0, atol=0.05)


def linearised(scene, state, baseline=None):
    """Baseline-free spectrum and small derivatives at the operator's own shift."""
    measurement = evaluation.measurement_of(scene)
    operator = scene.operator(0.3, 0.02)
    fields = forward.pixel_values(scene.limb, operator, state)
    depth = np.full(scene.rows.shape[0], 0.7)
    return linear.row_spectra(fields, measurement, state, (0.3, 0.02), depth)


@pytest.mark.parametrize("index", range(3), ids=linear.COMMON)
def test_small_elements__equal_central_differences(exact, index):
    state = state_of(exact)
    _, derivative = linearised(exact, state)
    h = 1e-4
    side = []
    for sign in (h, -h):
        name = linear.COMMON[index]
        moved = {**state, name: state[name] + sign}
        side.append(linearised(exact, moved)[0])
    numeric = (side[0] - side[1]) / (2.0 * h)
    scale = np.abs(derivative[index]).max()
    assert np.abs(numeric - derivative[index]).max() < 1e-5 * scale


def test_shift__expansion_agrees_with_a_rebuilt_operator(exact):
    """Second order in shift: within the rebuild limit, 5e-6 in transmittance."""
    state = state_of(exact)
    moved = {
        **state,
        linear.SHIFT: state[linear.SHIFT] + 0.05,
        linear.EXPONENT: np.zeros(1),
    }
    expanded, _ = linearised(exact, moved)
    operator = exact.operator(0.35, 0.02)
    rebuilt = exact.rows @ forward.pixel_values(exact.limb, operator, state).value.T
    assert np.abs(expanded - rebuilt).max() < 5e-6


def test_fast_jacobian__is_close_to_the_exact_one(jacobian, level1):
    """The fit's: four directions, every other height, averaged factor by factor."""
    fast = build(level1)
    state = state_of(fast)
    operator = fast.operator(0.3, 0.02)
    fields = forward.pixel_fields(fast.limb, operator, state)
    paths = evaluation.row_paths(fast)
    space = optimal_estimation.space_of(fast)
    for gas in fast.setup.gases:
        field = np.einsum("rh,pkh->rpk", fast.jacobian_rows, fields.gas[gas])
        approximate = np.einsum("rpk,rkl->rpl", field, paths[gas], optimize=True)
        reference = jacobian[:, :, space[gas]]
        error = np.abs(approximate - reference).max() / np.abs(reference).max()
        print(f"{gas}: fast Jacobian within {error:.1%} of the maximum")
        assert error < 0.06


def test_single_precision__differs_by_less_than_1e6(exact, level1):
    single = build(level1, steps_km=None)
    state = state_of(exact)
    a = spectra(exact, state)
    b = spectra(single, state)
    print(f"float32 within {np.abs(a - b).max():.1e}")
    assert np.abs(a - b).max() < 1e-6


def test_no_gas__is_fully_transparent(exact):
    zero = {gas: 0.0 * np.asarray(p) for gas, p in exact.prior_vmr.items()}
    state = loop.state_of(zero, np.zeros(exact.prepared.n_bins))
    np.testing.assert_allclose(spectra(exact, state), 1.0, atol=1e-12)


def isothermal(top, points_to=160.0, sigma=1e-25):
    """Exponential atmosphere, one gas of constant cross-section and mole fraction 1."""
    points = np.arange(0.0, points_to + 0.1, forward.SUBSTEP_KM)
    return forward.limb(
        altitude_km=np.arange(0.0, 101.0),
        height_km=HEIGHTS,
        points_km=points,
        number_density_cm3=1e17 * np.exp(-points / SCALE),
        planet_radius_km=RADIUS,
        vectors={"h2o": np.ones((1, 1))},
        coefficients={"h2o": np.full((1, points.size), sigma)},
        dtype=np.float64,
        top=top,
    )


RADIUS, SCALE = 3390.0, 9.0
HEIGHTS = np.array([0.0, 10.1, 30.0, 90.0, 150.0, 170.0])


def chapman():
    """Column of an exponential atmosphere: 2 n0 exp(-z/H) r exp(r/H) K1(r/H)."""
    from scipy.special import k1e

    r = RADIUS + HEIGHTS
    return 2.0 * 1e17 * np.exp(-HEIGHTS / SCALE) * r * 1e5 * k1e(r / SCALE)


def test_isothermal_atmosphere__has_the_closed_form_column():
    """To 1e-8, the part above 160 km included; thin and thick transmittance too."""
    model = isothermal("exponential")
    column = model.air_column_cm2.sum(axis=1)
    np.testing.assert_allclose(column, chapman(), rtol=1e-8)
    one = {"h2o": np.ones(101)}
    for sigma in (1e-29, 1e-25, 1e-24):  # optical depth up to 4e-5, 0.4, 4
        t = forward.node_transmittance(isothermal("exponential", sigma=sigma), one)
        np.testing.assert_allclose(t[0], np.exp(-sigma * chapman()), rtol=1e-8)


def test_cut_top__leaves_out_what_is_above_160_km():
    missing = 1.0 - isothermal("cut").air_column_cm2.sum(axis=1) / chapman()
    print("part above 160 km:", missing)
    assert missing[0] < 1e-7
    assert 1e-5 < missing[3] < 1e-3  # at 90 km
    assert missing[-1] == pytest.approx(1.0)


def test_refraction__adds_air_at_low_heights():
    """Sees about N r / H of the way deeper: a tenth of a percent at the ground."""
    from tgo_spectra.forward import ray

    points = np.arange(0.0, 160.1, forward.SUBSTEP_KM)
    density = 2e17 * np.exp(-points / SCALE)
    columns = [
        forward.limb(
            altitude_km=np.arange(0.0, 101.0),
            height_km=np.array([0.0, 10.0, 40.0]),
            points_km=points,
            number_density_cm3=density,
            planet_radius_km=RADIUS,
            vectors={"h2o": np.ones((1, 1))},
            coefficients={"h2o": np.full((1, points.size), 1e-25)},
            refractivity_cm3=refractivity,
        ).air_column_cm2.sum(axis=1)
        for refractivity in (0.0, ray.refractivity_per_density(3030.0))
    ]
    more = columns[1] / columns[0] - 1.0
    assert 1e-3 < more[0] < 3e-3
    assert more[0] > more[1] > more[2] > 0.0
