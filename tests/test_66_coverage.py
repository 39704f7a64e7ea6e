"""Error bars of every method against one truth on a grid of its own, many noise draws.

Truth: levels 0.125 km apart, heights 0.25 km apart, double precision, ten neighbouring
orders, one bin; its water is 0.9 to 1.7 times what the fits are told, its methane
2 ppbv. A draw is the noise-free fit plus the gain of its last linearisation times noise
(both real fits of the same noise and such copies are made for some draws, and must
agree). z is the difference from the truth seen through the averaging kernel over the
noise error.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.retrieval import linear, solve
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.models.so import (
    evaluation,
    onion,
    optimal_estimation,
    slant_rows,
    tikhonov,
)
from tgo_spectra.simulate import simulate_level1

sys.path.append(str(Path(__file__).parent))

import closed_loop as loop

from tgo_spectra.retrieval.given import prior_sigma
from tgo_spectra.retrieval.models.so.solution import build_scene

DRAWS = 200
METHODS = ("oe", "tikhonov", "onion")
SOLVE = {
    "oe": optimal_estimation.solve,
    "tikhonov": tikhonov.solve,
}


@pytest.fixture(scope="module")
def case():
    """Level 1, clean spectra, setup, atmosphere of the fit, and the truth."""
    air = tgo.reference_atmosphere()
    true = air.copy()
    wave = 1.3 + 0.4 * np.sin(air.altitude.values / 7.0)
    true["h2o_vmr"] = air["h2o_vmr"].copy(data=air["h2o_vmr"].values * wave)
    made = simulate_level1(
        order=134, n_orders=10, atmosphere=true,
        vmr={"ch4": 2e-9}, noisy_pixels=(), n_bins=1, seed=7,
    )  # fmt: skip
    clean = made.truth["transmittance_clean"] * made.truth["calibration_factor"]
    return made.level1, clean.values, tgo.load_setup("so_134"), air, made.truth


class Run:
    """One method on the case: the noise-free fit and what noise makes of it."""

    def __init__(self, case, method):
        level1, clean, setup, air, self.truth = case
        self.method, self.air = method, air
        setup = setup.replace(systematics=loop.PLAIN)
        self.scene, _ = build_scene(level1, setup, air)
        p = self.scene.prepared
        self.clean = clean[p.rows][:, p.pixels]
        self.sigma = np.where(p.weight > 0, 1.0 / np.maximum(p.weight, 1e-30), 0.0)
        self.solution = self.solve(0.0)
        self.space = self.solution.space
        self.evaluator = self.solution.evaluator
        self.model = self.evaluator.linearise(self.solution.state, False).model
        self.expand = evaluation.expansion_of(self.cut, self.space)
        self.fields = self.evaluator.fields(self.solution.state, True)

    def solve(self, noise):
        scene = loop.measured(self.scene, self.clean + self.sigma * noise)
        if self.method == "onion":
            self.parts, solution, self.gain = onion.peeled(scene, self.air)
            self.cut = self.parts.scene
            return solution
        self.cut = scene
        return SOLVE[self.method](scene)

    def copy(self, noise):
        """Linear response of the state to noise."""
        state = self.solution.state
        as_measured = self.model + self.sigma * noise
        e = self.evaluator
        measurement = replace(e.measurement, transmittance=as_measured)
        found = linear.linearise(self.fields, measurement, state, e.built, e.depth)
        if self.method == "onion":
            return self.gain @ onion.own_gradient(
                found.gradient, self.parts, self.space
            )
        return self.solution.covariance @ self.expand.gradient(found)

    def of_gas(self, gas):
        """Diagnostics, bias (in sigmas) and levels where the method is valid."""
        s, block = self.solution, self.space[gas]
        d = gas_diagnostics(
            s.data_matrix, s.covariance, block, s.assumed,
            smoothing_known=s.smoothing_known,
        )  # fmt: skip
        altitude = self.cut.limb.altitude_km
        true = np.interp(
            altitude, self.truth.altitude.values, self.truth[f"{gas}_vmr"].values
        )
        prior = self.cut.prior_vmr[gas]
        expected = prior + d.averaging_kernel @ (true - prior)
        valid = np.diag(d.averaging_kernel) > 0.3
        if self.method == "onion":  # without a priori: noise below half of one
            sigma = prior_sigma(self.cut, gas)[0]
            valid = d.noise_error < 0.5 * sigma
        return d, (s.state[gas] - expected) / d.noise_error, valid


@pytest.fixture(scope="module")
def runs(case):
    return {method: Run(case, method) for method in METHODS}


@pytest.fixture(scope="module")
def draws(runs):
    """Responses of the states, (draw, element), to the same noise."""
    shape = runs["oe"].clean.shape
    result = {method: np.empty((DRAWS, run.space.size)) for method, run in runs.items()}
    for draw in range(DRAWS):
        noise = np.random.default_rng(draw).standard_normal(shape)
        for method, run in runs.items():
            result[method][draw] = run.copy(noise)
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gas", ["h2o", "ch4"])
def test_method__is_unbiased_and_covers(runs, draws, method, gas):
    run = runs[method]
    assert run.solution.end.converged
    d, bias, valid = run.of_gas(gas)
    z = (bias + draws[method][:, run.space[gas]] / d.noise_error)[:, valid]
    inside = np.mean(np.abs(z) < 1.0)
    print(
        f"{method} {gas}: {valid.sum()} levels, no noise {bias[valid].mean():+.3f} "
        f"(rms {np.sqrt(np.mean(bias[valid] ** 2)):.3f}), mean z {z.mean():+.3f}, "
        f"within 1 {inside:.1%}"
    )
    assert valid.sum() >= 15
    assert abs(z.mean()) < 0.1
    assert 0.639 <= inside <= 0.727


@pytest.mark.parametrize("method", METHODS)
def test_copies__are_what_real_fits_give(runs, draws, method):
    """Of three draws: within what the rule that ends a fit leaves (d^2 per element).

    It leaves as much of the fit without noise as of that with it.
    """
    run = runs[method]
    gases = run.space.profiles
    sigma = np.concatenate(
        [run.of_gas(g)[0].noise_error for g in run.space.names("level")]
    )
    valid = np.concatenate([run.of_gas(g)[2] for g in run.space.names("level")])
    base = run.space.pack(run.solution.state)
    for draw in range(3):
        noise = np.random.default_rng(draw).standard_normal(run.clean.shape)
        real = run.space.pack(run.solve(noise).state) - base
        off = ((real - draws[method][draw])[gases] / sigma)[valid]
        rms, most = np.sqrt(np.mean(off**2)), np.abs(off).max()
        print(f"{method}: rms {rms:.3f}, most {most:.3f} noise errors")
        assert rms < np.sqrt(2.0 * solve.LIMIT)


def mean_of(run, gas, low, high):
    """Weights of the plain mean over heights, in the elements of the state."""
    altitude = run.cut.limb.altitude_km
    inside = (altitude >= low) & (altitude <= high)
    w = np.zeros(run.space.size)
    w[run.space[gas]] = inside / inside.sum()
    return w


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("gas", ["h2o", "ch4"])
def test_methods__agree_to_what_noise_leaves(runs, draws, method, gas):
    """Means over 10 to 30 km of the same noise, each less its smoothed truth.

    Their difference is a number whose standard deviation the gains give: over the
    draws it must have that spread, and a mean no larger than if both were off at all
    levels by the tenth of a noise error that each is allowed.
    """
    best, run = runs["oe"], runs[method]
    values, spread, allowed = [], [], 0.0
    for one, name in ((best, "oe"), (run, method)):
        w = mean_of(one, gas, 10.0, 30.0)
        d, bias, _ = one.of_gas(gas)
        part = w[one.space[gas]]
        values.append(draws[name] @ w + part @ (bias * d.noise_error))
        spread.append(np.sqrt(part @ d.noise_covariance @ part))
        allowed += 0.1 * part @ d.noise_error
    combined = np.hypot(*spread)
    off = (values[1] - values[0]) / combined
    print(f"{method} {gas}: mean {off.mean():+.3f}, sd {off.std():.3f} combined sigmas")
    assert abs(off.mean()) < allowed / combined + 3.0 * off.std() / np.sqrt(DRAWS)
    # estimates of one thing from the same noise are never anticorrelated
    assert off.std() < 1.0
    if method in SOLVE:
        ones = (best, run)
        gain = [one.solution.covariance @ mean_of(one, gas, 10, 30) for one in ones]
        difference = gain[1] - gain[0]
        matrix = best.solution.data_matrix
        foreseen = np.sqrt(difference @ matrix @ difference) / combined
        # 200 draws know a spread within 5 %, the two linearisations differ by some more
        assert abs(off.std() / foreseen - 1.0) < 0.2 or off.std() < 0.02


def test_slant__is_unbiased_and_covers(case):
    """Every row is one: told the shape of the profile, six draws of all rows."""
    level1, clean, setup, air, truth = case
    told = air.copy()
    altitude = air.altitude.values
    for gas in setup.gases:
        values = truth[f"{gas}_vmr"].values
        told[f"{gas}_vmr"] = (
            "altitude",
            np.interp(altitude, truth.altitude.values, values),
            {"units": "1"},
        )
    told.attrs["planet_radius_source"] = "default"
    plain = setup.replace(systematics=loop.PLAIN)
    run = Run(case, "oe")
    fine = run.scene.limb
    at = np.interp
    column = {
        gas: run.scene.rows
        @ (
            fine.air_cm2
            @ at(run.scene.points_km, truth.altitude.values, truth[f"{gas}_vmr"].values)
        )
        for gas in setup.gases
    }
    rows = run.scene.prepared.rows
    z = {gas: [] for gas in setup.gases}
    sigma = level1["transmittance_error"].values
    for draw in range(6):
        rng = np.random.default_rng(100 + draw)
        y = clean + sigma * rng.standard_normal(clean.shape)
        drawn = level1.assign(transmittance=(("spectrum", "pixel"), y))
        found = tgo.retrieve(drawn, plain, told, method="slant")
        for gas in setup.gases:
            off = found[f"{gas}_slant_column"].values[rows] - column[gas]
            error = found[f"{gas}_slant_column_noise_error"].values[rows]
            # where a spectrum says nothing the a priori of the factor does
            known = slant_rows.KNOWN_SIGMA if gas == "co2" else slant_rows.FACTOR_SIGMA
            said = error < 0.3 * known * column[gas]
            z[gas].extend((off / error)[said])
    for gas, values in z.items():
        values = np.array(values)
        inside = np.mean(np.abs(values) < 1.0)
        print(f"slant {gas}: mean z {values.mean():+.3f}, within 1 {inside:.1%}")
        held = gas == "co2"  # by its a priori: covered more often
        assert abs(values.mean()) < (0.2 if held else 0.1)
        assert 0.639 <= inside <= (1.0 if held else 0.727)
