"""Forward model: Jacobian against differences, order of convergence, closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra import forward
from tgo_spectra.retrieval import level2, optimal_estimation, solver


def build(level1, **options):
    setup = tgo.load_setup("so_134")
    rows = np.linspace(0, level1.sizes["spectrum"] - 1, 60).astype(int)
    thin = level1.isel(spectrum=rows)
    scene, _ = level2.build_scene(thin, setup, tgo.reference_atmosphere(), **options)
    return scene


@pytest.fixture(scope="module")
def exact(level1):
    """Scene in double precision whose Jacobian keeps all directions."""
    return build(level1, jacobian_rank=None, jacobian_every=1, dtype=np.float64)


def state_of(scene, factor=1.0):
    vmr = {gas: factor * np.asarray(p) for gas, p in scene.prior_vmr.items()}
    vmr["ch4"] = vmr["ch4"] + 2e-9
    return solver.State(vmr, np.full(scene.prepared.n_bins, 0.3), 0.02, 0.5)


def spectra(scene, state):
    return optimal_estimation.full_jacobian(scene, state)[0]


@pytest.mark.parametrize("gas", ["h2o", "ch4"])
def test_jacobian__equals_central_differences(exact, gas):
    """To 1e-5 of the maximum over altitude, at several levels."""
    state = state_of(exact)
    _, jacobian = optimal_estimation.full_jacobian(exact, state)
    layout = solver.Layout(exact.setup.gases, exact.limb.altitude_km.size, 1)
    analytic = jacobian[:, :, layout.gas(gas)]
    scale = np.abs(analytic).max()
    worst = 0.0
    for level in (0, 3, 10, 25, 45, 80):
        step = 1e-3 * max(float(state.vmr[gas].max()), 1e-9)
        side = []
        for sign in (1.0, -1.0):
            moved = dict(state.vmr)
            moved[gas] = moved[gas].copy()
            moved[gas][level] += sign * step
            side.append(spectra(exact, solver.State(moved, state.shift_px, 0.02, 0.5)))
        numeric = (side[0] - side[1]) / (2.0 * step)
        worst = max(worst, np.abs(numeric - analytic[:, :, level]).max() / scale)
    print(f"{gas}: {worst:.1e} of the maximum over altitude")
    assert worst < 1e-5


def test_jacobian__taylor_remainder_falls_with_the_square(exact):
    state = state_of(exact)
    base, jacobian = optimal_estimation.full_jacobian(exact, state)
    rng = np.random.default_rng(2)
    direction = {g: p * rng.uniform(0.5, 1.0, p.size) for g, p in state.vmr.items()}
    slope = jacobian @ np.concatenate([direction[g] for g in exact.setup.gases])
    sizes = 0.4 * 0.5 ** np.arange(5)
    rest = []
    for h in sizes:
        moved = {g: state.vmr[g] + h * direction[g] for g in state.vmr}
        new = spectra(exact, solver.State(moved, state.shift_px, 0.02, 0.5))
        rest.append(np.linalg.norm(new - base - h * slope))
    order = np.diff(np.log(rest)) / np.diff(np.log(sizes))
    print("orders", order.round(3))
    np.testing.assert_allclose(order[-2:], 2.0, atol=0.05)


def linearised(scene, state, baseline=None):
    """Baseline-free spectrum and small derivatives at the operator's own shift."""
    measurement = optimal_estimation.measurement_of(scene)
    operator = scene.operator(0.3, 0.02)
    fields = forward.pixel_values(scene.limb, operator, state.vmr)
    depth = np.full(scene.rows.shape[0], 0.7)
    return solver.row_spectra(fields, measurement, state, (0.3, 0.02), depth)


@pytest.mark.parametrize(
    ("element", "index"), [("shift", 0), ("stretch", 1), ("exponent", 2)]
)
def test_small_elements__equal_central_differences(exact, element, index):
    state = state_of(exact)
    _, derivative = linearised(exact, state)
    h = 1e-4
    side = []
    for sign in (h, -h):
        shift = state.shift_px + (sign if element == "shift" else 0.0)
        stretch = state.stretch_px + (sign if element == "stretch" else 0.0)
        exponent = state.exponent + (sign if element == "exponent" else 0.0)
        moved = solver.State(state.vmr, shift, stretch, exponent)
        side.append(linearised(exact, moved)[0])
    numeric = (side[0] - side[1]) / (2.0 * h)
    scale = np.abs(derivative[index]).max()
    assert np.abs(numeric - derivative[index]).max() < 1e-5 * scale


def test_shift__expansion_agrees_with_a_rebuilt_operator(exact):
    """Second order in shift: within the rebuild limit, 5e-6 in transmittance."""
    state = state_of(exact)
    moved = solver.State(state.vmr, state.shift_px + 0.05, state.stretch_px, 0.0)
    expanded, _ = linearised(exact, moved)
    operator = exact.operator(0.35, 0.02)
    rebuilt = exact.rows @ forward.pixel_values(exact.limb, operator, state.vmr).value.T
    assert np.abs(expanded - rebuilt).max() < 5e-6


def test_fast_jacobian__is_close_to_the_exact_one(exact, level1):
    """The fit's: four directions, every other height, averaged factor by factor."""
    fast = build(level1)
    state = state_of(fast)
    operator = fast.operator(0.3, 0.02)
    fields = forward.pixel_fields(fast.limb, operator, state.vmr)
    paths = optimal_estimation.row_paths(fast)
    _, full = optimal_estimation.full_jacobian(exact, state)
    layout = solver.Layout(fast.setup.gases, fast.limb.altitude_km.size, 1)
    for gas in fast.setup.gases:
        field = np.einsum("rh,pkh->rpk", fast.jacobian_rows, fields.gas[gas])
        approximate = np.einsum("rpk,rkl->rpl", field, paths[gas], optimize=True)
        reference = full[:, :, layout.gas(gas)]
        error = np.abs(approximate - reference).max() / np.abs(reference).max()
        print(f"{gas}: fast Jacobian within {error:.1%} of the maximum")
        assert error < 0.06


def test_single_precision__differs_by_less_than_1e6(exact, level1):
    single = build(level1, jacobian_every=1)
    state = state_of(exact)
    a = spectra(exact, state)
    b = spectra(single, state)
    assert np.abs(a - b).max() < 2e-6


def test_no_gas__is_fully_transparent(exact):
    zero = {gas: 0.0 * np.asarray(p) for gas, p in exact.prior_vmr.items()}
    state = solver.State(zero, np.zeros(exact.prepared.n_bins), 0.0, 0.0)
    np.testing.assert_allclose(spectra(exact, state), 1.0, atol=1e-12)


def test_isothermal_atmosphere__has_the_closed_form_column():
    """Column of an exponential atmosphere over a limb: n H sqrt(2 pi r / H) K1-like.

    Exact: N = 2 n0 exp(r0/H) r0 K1(r0/H) for n = n0 exp(-(r - r0)/H).
    """
    from scipy.special import k1e

    radius, scale = 3390.0, 9.0
    points = np.arange(0.0, 200.0, forward.SUBSTEP_KM)
    density = 1e17 * np.exp(-points / scale)
    heights = np.array([0.0, 10.0, 30.0])
    model = forward.limb(
        altitude_km=np.arange(0.0, 201.0),
        height_km=heights,
        points_km=points,
        number_density_cm3=density,
        planet_radius_km=radius,
        vectors={"h2o": np.ones((1, 1))},
        coefficients={"h2o": np.full((1, points.size), 1e-25)},
        dtype=np.float64,
    )
    r = radius + heights
    exact = 2.0 * 1e17 * np.exp(-heights / scale) * r * 1e5 * k1e(r / scale)
    column = model.air_column_cm2.sum(axis=1)
    np.testing.assert_allclose(column, exact, rtol=1e-4)
    t = forward.node_transmittance(model, {"h2o": np.full(201, 1.0)})
    np.testing.assert_allclose(t[0], np.exp(-1e-25 * column), rtol=1e-12)
