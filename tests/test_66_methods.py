"""One table of methods, one contract; what each must satisfy by itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError, SetupError
from tgo_spectra.retrieval import (
    interferents,
    joint,
    linear,
    regularisation,
    solve,
    spectra_without,
)
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.models.so import (
    evaluation,
    onion,
    optimal_estimation,
    profile,
    sources,
    systematics,
    tikhonov,
)
from tgo_spectra.retrieval.models.so import scene as scene_module
from tgo_spectra.retrieval.setup import Prior
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.variables import validate

sys.path.append(str(Path(__file__).parent))

import closed_loop as loop

from tgo_spectra.retrieval.given import prior_profile
from tgo_spectra.retrieval.state import exponential_covariance

THIRD = {"first_pixel": 120, "last_pixel": 220}
PROFILES = ("oe", "tikhonov", "onion")


@pytest.fixture(scope="module")
def setup(near_setup):
    return near_setup


@pytest.fixture(scope="module")
def level1(near_level1):
    return near_level1


@pytest.fixture(scope="module")
def thin(level1):
    return level1.isel(spectrum=slice(0, None, 6))


@pytest.fixture(scope="module")
def coarse(setup):
    """The same on coarse levels and heights: quick to fit."""
    grid = {"top_km": 90.0, "step_km": 2.0, "height_step_km": 1.5}
    return setup.replace(grid=grid)


@pytest.fixture(scope="module")
def coarse_fit(thin, coarse):
    return tgo.retrieve(thin, coarse)


@pytest.fixture(scope="module")
def fitted(level1, setup):
    return {m: tgo.retrieve(level1, setup, method=m) for m in PROFILES}


def exact_scene(thin, setup, **more):
    """Small scene whose Jacobian is exact: all directions, double precision.

    Rows are at heights of the grid, so it may be coarse.
    """
    grid = {"top_km": 90.0, "step_km": 2.0, "height_step_km": 2.0}
    scene = loop.scene_of(
        thin, setup.replace(grid=grid, **more),
        jacobian_rank=None, steps_km=None, dtype=np.float64,
    )  # fmt: skip
    return loop.pinned(scene)


@pytest.fixture(scope="module")
def exact(thin, setup):
    """Exact, of a third of the pixels: enough for identities of the algebra."""
    return exact_scene(thin, setup, window=THIRD)


# the contract


def test_methods__are_those_a_setup_may_name(setup):
    assert set(profile.METHODS) == {"slant", *PROFILES}
    for method in profile.METHODS:
        assert setup.replace(method=method).method == method


@pytest.mark.parametrize("method", PROFILES)
def test_methods__give_the_same_diagnostics(fitted, method):
    result = fitted[method]
    validate(result, 2)
    assert result.attrs["method"] == method
    for gas in ("h2o", "ch4"):
        for name in (
            "vmr", "vmr_noise_error", "vmr_error", "averaging_kernel",
            "vmr_noise_covariance", "upper_limit", "detected", "delta_chi_square",
            "limit_linear", "limit_delta_chi_square", "limit_flag",
            "degrees_of_freedom", "slant_column",
        ):  # fmt: skip
            assert f"{gas}_{name}" in result, name
        assert np.isfinite(result[f"{gas}_vmr"].values).all()
        assert (result[f"{gas}_vmr_noise_error"].values > 0).all()
        for name in ("upper_limit", "limit_linear", "limit_delta_chi_square"):
            assert result[f"{gas}_{name}"].attrs["sigma_level"] > 0


def mean_of(result, gas="ch4", low=10.0, high=30.0):
    z = result.altitude.values
    part = (z >= low) & (z <= high)
    weight = result[f"{gas}_vmr_noise_error"].values[part] ** -2
    covariance = result[f"{gas}_vmr_noise_covariance"].values[np.ix_(part, part)]
    mean = weight @ result[f"{gas}_vmr"].values[part] / weight.sum()
    return mean, np.sqrt(weight @ covariance @ weight) / weight.sum()


@pytest.mark.parametrize("method", PROFILES)
def test_methods__find_the_methane_that_is_there(fitted, method):
    """2 ppbv: within 3 sigma."""
    mean, sigma = mean_of(fitted[method])
    print(f"{method}: {1e9 * mean:.4f} +- {1e9 * sigma:.4f} ppbv")
    assert abs(mean - 2e-9) < 3.0 * sigma


def test_tikhonov__differs_from_oe_by_what_noise_leaves(level1, setup):
    """One mean of methane, 10 to 30 km, with the same weights: within 3 sigma.

    The standard deviation of the difference is |K (C_1 - C_2) w|, C the inverse
    matrices of the fits. (Means with each method's own weights are two numbers, which
    noise moves apart by up to one sigma.)
    """
    scene = loop.scene_of(level1, setup)
    one, other = optimal_estimation.solve(scene), tikhonov.solve(scene)
    altitude = scene.limb.altitude_km
    inside = (altitude >= 10.0) & (altitude <= 30.0)
    w = np.zeros(one.space.size)
    w[one.space["ch4"]] = inside / inside.sum()
    part = w[one.space["ch4"]]
    truth = np.full(altitude.size, 2e-9)
    means, gains = [], []
    for solution in (one, other):
        block = solution.space["ch4"]
        kernel = (solution.covariance @ solution.data_matrix)[block, block]
        means.append(part @ (solution.state["ch4"] - kernel @ truth))
        gains.append(solution.covariance @ w)
    change = gains[0] - gains[1]
    sigma = np.sqrt(change @ one.data_matrix @ change)
    noise = np.sqrt(gains[0] @ one.data_matrix @ gains[0])
    off = means[0] - means[1]
    print(
        f"difference {off / sigma:+.2f} of its sigma, {off / noise:+.2f} of the mean's"
    )
    assert abs(off) < 3.0 * sigma
    assert sigma < noise  # the comparison is sharper than either mean


def test_slant__agrees_with_the_profiles(level1, setup, fitted):
    """Columns of a faint gas, 10 to 40 km: apart by the noise of single spectra.

    That of the profiles, from all spectra, is small beside it. Three standard errors
    of a mean and of a standard deviation.
    """
    slant = tgo.retrieve(level1.isel(spectrum=slice(0, None, 6)), setup, method="slant")
    best = fitted["oe"]["ch4_slant_column"].values[::6]
    height = level1["tangent_altitude"].values[::6]
    part = (height > 10.0) & (height < 40.0)
    off = (slant["ch4_slant_column"].values - best)[part]
    off /= slant["ch4_slant_column_noise_error"].values[part]
    print(f"slant against profiles: mean {off.mean():+.2f}, sd {off.std():.2f} sigma")
    assert abs(off.mean()) < 3.0 / np.sqrt(part.sum())
    assert abs(off.std() - 1.0) < 3.0 / np.sqrt(2.0 * part.sum())


# optimal estimation


def test_oe__n_form_equals_m_form(level1, setup):
    """K^T K + Sa^-1 against K Sa K^T + Se on at most 500 measurements."""
    left_out = [p for p in range(20, 311) if p % 8]
    small = setup.replace(
        window={"masked_pixels": left_out, "noise_ratio": 1e9},
        grid={"top_km": 80.0, "step_km": 4.0},
    )
    some = level1.isel(spectrum=slice(0, None, level1.sizes["spectrum"] // 13))
    scene = loop.scene_of(some, small, steps_km=None, dtype=np.float64)
    k, residual, found = loop.dense(scene, loop.prior_state(scene))
    assert np.count_nonzero(scene.prepared.weight) <= 500
    space = optimal_estimation.space_of(scene)
    matrix, gradient = evaluation.expansion_of(scene, space)(found)
    sa = space.covariance
    posterior = solve.invert(matrix + space.constraint)
    sigma = np.sqrt(np.diag(sa))
    scaled = k * sigma
    inner = scaled @ (sa / sigma[:, None] / sigma) @ scaled.T + np.eye(residual.size)
    gain = np.linalg.solve(inner, k @ sa).T
    step = (posterior @ gradient - gain @ residual) / sigma
    assert np.abs(step).max() < 1e-10
    off = (posterior - (sa - gain @ k @ sa)) / sigma[:, None] / sigma
    assert np.abs(off).max() < 1e-10


def test_oe__averaging_kernel_equals_perturb_and_retrieve(exact, monkeypatch):
    monkeypatch.setattr(solve, "LIMIT", 1e-14)
    truth = loop.prior_state(exact)
    # Near the a priori: the kernel leaves out the second derivative of the model times
    # the residual that the a priori causes, which grows with the distance from it.
    truth["ch4"] = np.full_like(truth["ch4"], 2e-10)
    setup = exact.setup.replace(max_iterations=12)
    scene = replace(exact, setup=setup)

    def retrieved(state):
        return optimal_estimation.solve(
            loop.measured(scene, loop.spectra(scene, state))
        )

    base = retrieved(truth)
    d = gas_diagnostics(base.data_matrix, base.covariance, base.space["ch4"])
    for level in (5, 9, 14):
        delta = 1e-10
        moved = truth["ch4"].copy()
        moved[level] += delta
        other = retrieved({**truth, "ch4": moved})
        column = (other.state["ch4"] - base.state["ch4"]) / delta
        assert np.abs(column - d.averaging_kernel[:, level]).max() < 1e-3


def test_oe__both_solvers_end_at_the_same_state(thin, coarse, coarse_fit):
    one = coarse_fit
    other = tgo.retrieve(
        thin, coarse.replace(solver="levenberg-marquardt", max_iterations=20)
    )
    assert bool(other.converged)
    assert int(other.iterations) >= int(one.iterations)
    for gas in coarse.gases:
        off = (one[f"{gas}_vmr"] - other[f"{gas}_vmr"]) / one[f"{gas}_vmr_error"]
        assert float(np.abs(off).max()) < 0.2


def test_oe__log_state_is_covered(thin, coarse):
    """Water as a logarithm: z in the logarithm over 40 noise draws."""
    prior = dict(coarse.prior) | {"h2o": Prior(relative_sigma=0.5, state="log")}
    scene = loop.scene_of(thin, coarse.replace(prior=prior, window=THIRD))
    truth = loop.prior_state(scene)
    altitude = scene.limb.altitude_km
    true = truth["h2o"] * np.exp(0.3 * np.sin(altitude / 6.0))
    clean = loop.spectra(scene, {**truth, "h2o": true})
    rng = np.random.default_rng(8)
    z = []
    for _ in range(40):
        solution = optimal_estimation.solve(loop.noisy(scene, clean, rng))
        assert solution.end.converged
        found = solution.state["h2o"]
        assert (found > 0).all()
        d = gas_diagnostics(
            solution.data_matrix, solution.covariance, solution.space["h2o"]
        )
        kernel = d.averaging_kernel / found[:, None] * found
        good = np.diag(kernel) > 0.3
        assert good.sum() > 15
        reference = np.log(truth["h2o"])
        expected = reference + kernel @ (np.log(true) - reference)
        z.append(((np.log(found) - expected) / (d.noise_error / found))[good])
    z = np.concatenate(z)
    coverage = np.mean(np.abs(z) < 1.0)
    print(f"log state: mean z {z.mean():+.3f}, coverage {coverage:.1%}")
    assert abs(z.mean()) < 0.15
    assert 0.62 <= coverage <= 0.74


def test_oe__log_state_needs_a_positive_prior(thin, coarse):
    zero = dict(coarse.prior) | {"ch4": Prior(constant=0.0, state="log")}
    with pytest.raises(SetupError, match="no logarithm"):
        coarse.replace(prior=zero)
    sigma = dict(coarse.prior) | {"h2o": Prior(sigma=1e-6, state="log")}
    with pytest.raises(SetupError, match="relative"):
        coarse.replace(prior=sigma)
    air = tgo.reference_atmosphere()
    air["h2o_vmr"] = xr.zeros_like(air["h2o_vmr"])
    log = dict(coarse.prior) | {"h2o": Prior(state="log")}
    with pytest.raises(SetupError, match="not positive"):
        tgo.retrieve(thin, coarse.replace(prior=log), air)


def test_bins__combined_information_equals_the_joint_fit(thin, coarse):
    """At the same state to 1e-10; averaging posteriors would count the prior twice."""
    scene = loop.scene_of(thin, coarse, dtype=np.float64)
    space = optimal_estimation.space_of(scene)
    xa, everything = space.pack(space.prior), evaluation.measurement_of(scene)
    paths = evaluation.row_paths(scene)
    assert np.unique(everything.bin).size > 1

    def inform(rows):
        expand = linear.Expansion(
            space, {g: p[rows] for g, p in paths.items()}, everything.bin[rows]
        )
        model = evaluation.Evaluator(scene, everything.of_rows(rows))
        return joint.inform(model, expand, space, space.prior)

    parts = [inform(everything.bin == b) for b in np.unique(everything.bin)]
    x, _, s = joint.combine(parts, xa, space.constraint)
    whole = [inform(np.ones(everything.bin.size, dtype=bool))]
    y, _, t = joint.combine(whole, xa, space.constraint)
    sigma = np.sqrt(np.diag(t))
    assert np.abs((x - y) / sigma).max() < 1e-10 * max(1.0, np.abs(x / sigma).max())
    assert np.abs((s - t) / sigma[:, None] / sigma).max() < 1e-10


def test_bins__separate_ends_where_joint_does(thin, setup):
    joint = tgo.retrieve(thin, setup)
    separate = tgo.retrieve(thin, setup.replace(bins="separate"))
    assert separate.attrs["bins"] == "separate"
    off = (joint["ch4_vmr"] - separate["ch4_vmr"]) / joint["ch4_vmr_error"]
    assert float(np.abs(off).max()) < 0.1
    # the total also has what the lines say against each other, which is of the noise
    ratio = separate["ch4_vmr_noise_error"] / joint["ch4_vmr_noise_error"]
    assert float(np.abs(ratio - 1.0).max()) < 0.05


def test_registration__ghost_and_aotf_are_found(thin, coarse):
    plain = loop.scene_of(thin, coarse)
    strong = msgspec.structs.replace(coarse.instrument, ghost_amplitude=0.25)
    other = replace(plain, setup=coarse.replace(instrument=strong))
    clean = loop.spectra(other, loop.prior_state(other))
    free = coarse.replace(systematics=loop.NONE | {"ghost": 0.05, "aotf_centre": 0.5})
    rng = np.random.default_rng(2)
    scene = loop.noisy(replace(plain, setup=free), clean, rng)
    solution = optimal_estimation.solve(scene)
    ghost = float(solution.state["ghost_amplitude"][0])
    aotf = float(solution.state["aotf_offset"][0])
    sigma = np.sqrt(np.diag(solution.covariance)[-2:])
    print(f"ghost {ghost:+.4f} +- {sigma[0]:.4f}, AOTF {aotf:+.3f} +- {sigma[1]:.3f}")
    assert abs(ghost - (0.25 - coarse.instrument.ghost_amplitude)) < 4.0 * sigma[0]
    assert abs(aotf) < 4.0 * sigma[1]
    assert sigma[0] < 0.02


# Tikhonov


def steps_of(chi, rough, expected, dof):
    return regularisation.Ladder(
        np.logspace(-2, 2, len(chi)), *map(np.asarray, (chi, rough, expected, dof))
    )


def test_alpha__each_rule_picks_what_it_says():
    chi = np.array([90.0, 90.5, 91.0, 110.0, 400.0])
    steps = steps_of(chi, [1e4, 1e2, 1.0, 0.5, 0.4], [5, 3, 2, 4, 9], [10] * 5)
    choose = regularisation.choose_alpha
    assert choose(steps, "expected-error", 110.0) == steps.alpha[2]
    assert choose(steps, "discrepancy", 110.0) == steps.alpha[3]
    assert choose(steps, "l-curve", 110.0) == steps.alpha[2]
    with pytest.raises(RetrievalError, match="discrepancy"):
        choose(steps, "discrepancy", 50.0)


def test_ladder__equals_explicit_solutions():
    rng = np.random.default_rng(4)
    k, y = rng.normal(size=(50, 8)), rng.normal(size=50)
    shape, fixed = np.zeros((8, 8)), np.zeros((8, 8))
    shape[:6, :6] = regularisation.roughness(np.ones(6))
    fixed[6:, 6:] = np.eye(2)
    assumed = exponential_covariance(np.arange(6.0), np.ones(6), 2.0)
    found = regularisation.ladder(
        k.T @ k, k.T @ y, float(y @ y), shape, fixed, assumed, slice(0, 6),
        np.array([0.1, 10.0]),
    )  # fmt: skip
    for index, alpha in enumerate((0.1, 10.0)):
        gain = np.linalg.solve(k.T @ k + alpha * shape + fixed, k.T)
        x = gain @ y
        kernel = gain @ k
        off = kernel[:6, :6] - np.eye(6)
        trace = np.trace((gain @ gain.T)[:6, :6] + off @ assumed @ off.T)
        assert np.isclose(found.chi_square[index], np.sum((y - k @ x) ** 2))
        assert np.isclose(found.roughness[index], np.sum(np.diff(x[:6]) ** 2))
        assert np.isclose(found.expected_error[index], trace)
        assert np.isclose(found.degrees_of_freedom[index], np.trace(kernel))


@pytest.mark.parametrize("choice", ["expected-error", "l-curve", "discrepancy"])
def test_tikhonov__records_its_alpha(thin, coarse, choice):
    result = tgo.retrieve(
        thin, coarse.replace(tikhonov={"choice": choice}), method="tikhonov"
    )
    assert result.attrs["tikhonov_choice"] == choice
    assert result.attrs["tikhonov_alpha"] > 0
    assert bool(result.converged)
    mean, sigma = mean_of(result)
    assert abs(mean - 2e-9) < 4.0 * sigma


def test_tikhonov__smoothing_only_with_an_assumed_covariance(thin, coarse):
    blind = {"assumed_covariance": "none", "alpha": 30.0}
    plain = coarse.replace(tikhonov=blind, systematics=loop.PLAIN)
    result = tgo.retrieve(thin, plain, method="tikhonov")
    assert "ch4_vmr_smoothing_error" not in result
    parts = result.ch4_vmr_noise_error**2 + result.ch4_vmr_systematic_lines**2
    np.testing.assert_allclose(result.ch4_vmr_error**2, parts, rtol=1e-12)
    assert result.ch4_vmr_error.attrs["contains"] == "noise, systematic"
    with pytest.raises(SetupError, match="assumed covariance"):
        coarse.replace(tikhonov={"assumed_covariance": "none"})


def test_tikhonov__nothing_pulls_the_level_of_a_profile(exact):
    """Noise-free, twice the reference: comes back unbiased whatever the strength."""
    truth = loop.prior_state(exact)
    truth["h2o"] = 2.0 * truth["h2o"]
    clean = loop.spectra(exact, truth)
    strong = exact.setup.replace(tikhonov={"alpha": 1e4}, max_iterations=12)
    scene = loop.measured(replace(exact, setup=strong), clean)
    found = tikhonov.solve(scene).state["h2o"]
    altitude = exact.limb.altitude_km
    part = (altitude > 5.0) & (altitude < 60.0)
    np.testing.assert_allclose(found[part], truth["h2o"][part], rtol=2e-3)


# onion


@pytest.fixture(scope="module")
def in_shells(thin, setup):
    """Spectra of shells, water half as much again as the reference; what made them."""
    scene = exact_scene(thin, setup, onion={"passes": 1})
    air = tgo.reference_atmosphere(level1=thin)
    shape = prior_profile("h2o", scene.setup, scene.air)
    parts = onion.shells(scene, air, {"h2o": shape})
    truth = loop.prior_state(parts.scene)
    vmr = {
        "h2o": 1.5 * truth["h2o"],
        "ch4": np.full_like(truth["ch4"], 2e-9),
    }
    truth = {**truth, **vmr}
    return scene, air, parts, truth


def test_onion__exact_spectra_give_the_exact_profile(in_shells, monkeypatch):
    monkeypatch.setattr(solve, "LIMIT", 1e-12)
    monkeypatch.setattr(onion, "FREE_SIGMAS", 1e3)
    scene, air, parts, truth = in_shells
    clean = loop.spectra(parts.scene, truth)
    _, found, _ = onion.peeled(loop.measured(scene, clean), air)
    sigma = np.sqrt(np.diag(found.covariance))
    for gas in scene.setup.gases:
        true = truth[gas]
        off = (found.state[gas] - true) / sigma[found.space[gas]]
        print(f"{gas}: within {np.abs(off).max():.1e} noise errors")
        assert np.abs(off).max() < 0.02


def test_onion__kernel_is_the_identity(fitted):
    """From below up to noise of a third of the a priori sigma, to a thousandth.

    What holds the shells (10 a priori sigmas) takes (sigma / 10 sigma_a)^2 of it.
    """
    result = fitted["onion"]
    for gas in ("h2o", "ch4"):
        sigma = 5e-9 if gas == "ch4" else result.h2o_vmr_apriori.values
        known = result[f"{gas}_vmr_noise_error"].values < 0.3 * sigma
        known = np.logical_and.accumulate(known)
        kernel = result[f"{gas}_averaging_kernel"].values[known][:, known]
        assert known.sum() > 10
        np.testing.assert_allclose(kernel, np.eye(len(kernel)), atol=2e-3)


def test_onion__systematic_errors_equal_peeling_the_changed_spectra(in_shells):
    scene, air, parts, truth = in_shells
    on = loop.NONE | {"ghost": 0.022}
    setup = scene.setup.replace(systematics=on, method="onion")
    scene = replace(scene, setup=setup)
    parts = replace(parts, scene=replace(parts.scene, setup=scene.setup))
    base = onion.peeled(loop.measured(scene, loop.spectra(parts.scene, truth)), air)[1]
    ghost = systematics._instrument(parts.scene, "ghost", 0.022)
    sigma = np.sqrt(np.diag(base.covariance))
    moved = onion.peeled(loop.measured(scene, loop.spectra(ghost, truth)), air)[1]
    for gas in ("h2o", "ch4"):
        difference = moved.state[gas] - base.state[gas]
        off = base.end.errors[gas]["ghost"] - difference
        near = np.abs(off) < 0.1 * np.abs(difference).max()
        noise = sigma[base.space[gas]]
        print(f"ghost {gas}: {np.abs(off / noise).max():.2f} noise errors")
        assert (near | (np.abs(off) < 0.1 * noise)).all()


def test_onion__stores_systematic_errors(thin, coarse):
    result = tgo.retrieve(thin, coarse, method="onion")
    validate(result, 2)
    sizes = systematics.sizes(coarse.replace(method="onion"))
    for source, (size, *_) in sizes.items():
        # waves are in the fits of least squares alone, and of the gases that are absent
        # the table has none
        if source in ("waves", "interferents"):
            continue
        attrs = result[f"ch4_vmr_systematic_{source}"].attrs
        assert attrs["magnitude"] == size or attrs["magnitude_origin"] != "setup"
    assert (result.ch4_vmr_error > result.ch4_vmr_noise_error).all()
    assert result.ch4_vmr_error.attrs["contains"] == "noise, systematic"


# interferents


def test_interferents__one_that_is_forgotten_is_named(thin, coarse, coarse_fit):
    forgotten = coarse.replace(interferents_absent=("co2 magnetic dipole band",))
    with pytest.raises(SetupError, match="o3") as caught:
        tgo.retrieve(thin, forgotten)
    assert caught.value.rule == "setup.interferent"
    named = coarse_fit
    assert "co2 magnetic dipole band" in named.attrs["interferents_absent"]


@pytest.mark.parametrize("name", tgo.retrieval.list_setups())
def test_interferents__shipped_setups_account_for_all(name):
    shipped = tgo.load_setup(name)
    if shipped.orders:
        interferents.check_setup(shipped)


# systematic errors


def test_systematics__equal_retrieving_the_changed_spectra(exact):
    """G [F(b + db) - F(b)] against fits of both, for air and instrument."""
    # small enough to leave no pixel that stands out of spectra without noise
    wish = loop.NONE | {"in_fit": False, "ghost": 0.005, "temperature_k": 1.0,
                        "temperature_correlation_km": 1e4}  # fmt: skip
    scene = replace(
        exact, setup=exact.setup.replace(systematics=wish, max_iterations=12)
    )
    # what the reference says of its own uncertainty would be taken
    own = ["temperature_uncertainty", "pressure_uncertainty"]
    scene = replace(scene, levels=scene.levels.drop_vars(own))
    truth = loop.prior_state(scene)
    truth["ch4"] = np.full_like(truth["ch4"], 5e-9)
    base = optimal_estimation.solve(loop.measured(scene, loop.spectra(scene, truth)))
    one = np.ones(scene.points_km.size)
    warm = sources.moved_air(scene, one, 0.0 * one)
    changed = {
        "ghost": systematics._instrument(scene, "ghost", 0.005),
        "temperature": scene_module.with_air(scene, warm, jacobian_rank=None),
    }
    for source, other in changed.items():
        moved = optimal_estimation.solve(
            loop.measured(scene, loop.spectra(other, truth))
        )
        for gas in ("h2o", "ch4"):
            difference = moved.state[gas] - base.state[gas]
            found = base.end.errors[gas][source][: difference.size]
            largest = np.abs(difference).max()
            off = np.abs(found - difference).max()
            print(f"{source} {gas}: within {off / largest:.1%} of the largest")
            assert off < 0.1 * largest


def test_systematics__stored_one_by_one_and_added(coarse, coarse_fit):
    result = coarse_fit
    validate(result, 2)
    squares = result["ch4_vmr_systematic_lines"] ** 2
    for source, (size, *_) in systematics.sizes(coarse).items():
        if source == "interferents":  # the table has none of them
            continue
        one = result[f"ch4_vmr_systematic_{source}"]
        stated = one.attrs["magnitude_origin"] != "setup"
        assert stated == (source in ("temperature", "pressure"))
        assert one.attrs["magnitude"] == size or stated
        squares = squares + one**2
    xr.testing.assert_allclose(
        result["ch4_vmr_systematic_error"] ** 2, squares, rtol=1e-10, atol=0.0
    )
    parts = ("noise", "smoothing", "systematic")
    total = sum(result[f"ch4_vmr_{part}_error"] ** 2 for part in parts)
    xr.testing.assert_allclose(
        result["ch4_vmr_error"] ** 2, total, rtol=1e-10, atol=0.0
    )
    # one error for all levels, with its sign
    assert (result["h2o_vmr_systematic_pointing"].values < 0.0).any()


def test_without__is_what_the_gas_takes_out_of_the_light():
    options = {"n_bins": 1, "vertical_speed_km_s": 6.0, "noise": False, "seed": 4}
    made = {
        amount: simulate_level1(vmr={"ch4": amount}, **options).level1
        for amount in (0.0, 5e-9)
    }
    level1 = made[5e-9]
    # the air that the fit has found, not that which it was given
    air = tgo.reference_atmosphere(level1=level1, temperature_offset_k=15.0)
    result = tgo.retrieve(level1, atmosphere=air)
    found = spectra_without(level1, result, "ch4")
    assert found.attrs["gas"] == "ch4"
    fitted = level1["transmittance"] - result["residual"].values
    change = (found - fitted).values
    seen = np.isfinite(change)
    np.testing.assert_array_equal(seen, np.isfinite(result["residual"].values))
    true = (made[0.0]["transmittance"] - level1["transmittance"]).values
    off = np.sqrt(np.mean((change - true)[seen] ** 2))
    assert off < 0.05 * np.sqrt(np.mean(true[seen] ** 2))
    for changed, gas, setup, kind, rule in [
        (result.assign_attrs(setup_hash="x"), "ch4", None, SetupError, "setup"),
        (result.assign_attrs(setup="mine"), "ch4", None, SetupError, "setup"),
        (result, "ch4", "so_136", SetupError, "setup"),
        (result, "ch4", "uvis_o3", RetrievalError, "kind"),
        (result, "co", None, RetrievalError, "kind"),
        (result.drop_vars("residual"), "ch4", None, RetrievalError, "kind"),
    ]:
        with pytest.raises(kind) as caught:
            spectra_without(level1, changed, gas, setup)
        assert caught.value.rule == f"absence.{rule}"
