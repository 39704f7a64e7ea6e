"""The validation campaign: many noisy retrievals of known truths, and what they show.

Run by ``make validate``; writes ``docs/explanation/validation_report.rst``.

Truths are made on levels 0.125 km apart in double precision, with light of ten
neighbouring orders on either side, bins at shifts of their own and a field of view by
quadrature. The fit has levels 1 km apart and, unless a line says otherwise, ten
neighbours too (the shipped setup has six: see below). z is the difference from the
truth smoothed by the averaging kernel, over the noise error, at levels where the
kernel's diagonal exceeds 0.3; detections are counted at these levels. z of all levels,
draws and atmospheres are pooled; ranks are those of one level of each draw, drawn at
random. Truths from the prior are spectra of the fit's own model, with a prior of 25 %
for water (so that no draw is negative) and 0 +- 5 ppbv for methane; their z is the
difference from the truth itself over the total error.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy import stats

import tgo_spectra as tgo
from tgo_spectra.retrieval import level2, optimal_estimation, solver
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.limits import of_profile
from tgo_spectra.simulate import simulate_level1

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "docs" / "explanation" / "validation_report.rst"
ATMOSPHERES = {
    "standard": {"temperature_offset_k": 0.0, "h2o": 1.0, "dust": 1.2},
    "cold and dry": {"temperature_offset_k": -15.0, "h2o": 0.1, "dust": 0.5},
    "warm, wet and dusty": {"temperature_offset_k": 12.0, "h2o": 1.5, "dust": 2.5},
}
GASES = ("h2o", "ch4")
RESPONSE = 0.3


@lru_cache(maxsize=4)
def case(name: str, ch4: float, n_orders: int = 10):
    """Return scene, clean spectra of its rows, truth and its levels."""
    options = ATMOSPHERES[name]
    air = tgo.reference_atmosphere(temperature_offset_k=options["temperature_offset_k"])
    air["h2o_vmr"] = air["h2o_vmr"] * options["h2o"]
    made = simulate_level1(
        order=134,
        table="so_129_138",
        n_orders=10,
        atmosphere=air,
        vmr={"ch4": ch4},
        aerosol_depth=options["dust"],
        noisy_pixels=(),
        seed=7,
    )
    clean = made.truth["transmittance_clean"] * made.truth["calibration_factor"]
    setup = tgo.load_setup("so_134").replace(table="so_129_138")
    setup = setup.replace(instrument={"n_orders": n_orders})
    scene, _ = level2.build_scene(made.level1, setup, air)
    prepared = scene.prepared
    rows = clean.values[prepared.rows][:, prepared.pixels]
    return scene, rows, made.truth


def noisy(scene, clean, rng, factor=1.0):
    """Return the scene with noise drawn afresh, `factor` times what the file says."""
    p = scene.prepared
    used = p.weight > 0
    sigma = np.where(used, 1.0 / np.where(used, p.weight, 1.0), 0.0)
    drawn = clean + factor * sigma * rng.standard_normal(clean.shape)
    values = np.where(used, drawn, p.transmittance)
    return replace(scene, prepared=replace(p, transmittance=values))


def statistics(scene, solution, true, *, total=False):
    """Return per gas z, a level's z drawn for ranks, and flags."""
    altitude = scene.limb.altitude_km
    layout = solver.Layout(scene.setup.gases, altitude.size, scene.prepared.n_bins)
    found = {}
    for gas in scene.setup.gases:
        d = gas_diagnostics(solution.data_matrix, solution.covariance, layout.gas(gas))
        vmr, prior = solution.state.vmr[gas], scene.prior_vmr[gas]
        good = np.diag(d.averaging_kernel) > RESPONSE
        expected = (
            true[gas] if total else prior + d.averaging_kernel @ (true[gas] - prior)
        )
        error = d.total_error if total else d.noise_error
        _, length = optimal_estimation.prior_sigma(scene, gas)
        choices = scene.setup.detection
        flags = of_profile(
            vmr, d, altitude, 0.5 * length,
            choices.detection_sigma, choices.limit_sigma, choices.minimum_response,
        )  # fmt: skip
        found[gas] = {
            "z": ((vmr - expected) / error)[good],
            "detected": flags.detected[good],
            "vmr": vmr,
            "total_error": d.total_error,
            "good": good,
        }
    return found


def reduced_chi_square(scene, solution):
    used = (scene.prepared.weight > 0).sum()
    dof = float(np.trace(solution.covariance @ solution.data_matrix))
    return solution.final.chi_square / (used - solution.final.baseline.size - dof)


def on_levels(scene, truth):
    altitude = scene.limb.altitude_km
    return {
        gas: np.interp(altitude, truth.altitude.values, truth[f"{gas}_vmr"].values)
        for gas in GASES
    }


def fixed_truth(job):
    """Noise draws of one truth: z, flags, chi-square, methane mean of 10-30 km."""
    name, ch4, copies, seed, factor, *orders = job
    scene, clean, truth = case(name, ch4, *orders)
    true, rng = on_levels(scene, truth), np.random.default_rng(seed)
    out = {"chi2": [], "z": {g: [] for g in GASES}, "one": {g: [] for g in GASES},
           "detected": [], "mean": []}  # fmt: skip
    altitude = scene.limb.altitude_km
    for _ in range(copies):
        drawn = noisy(scene, clean, rng, factor)
        solution = optimal_estimation.solve(drawn)
        found = statistics(drawn, solution, true)
        out["chi2"].append(reduced_chi_square(drawn, solution))
        for gas in GASES:
            z = found[gas]["z"]
            out["z"][gas].append(z)
            out["one"][gas].append(float(rng.choice(z)))
        out["detected"].append(found["ch4"]["detected"])
        part = (altitude >= 10.0) & (altitude <= 30.0) & found["ch4"]["good"]
        w = 1.0 / found["ch4"]["total_error"][part] ** 2
        out["mean"].append(float(w @ found["ch4"]["vmr"][part] / w.sum()))
    for gas in GASES:
        out["z"][gas] = np.concatenate(out["z"][gas])
    out["detected"] = np.concatenate(out["detected"])
    return out


def prior_truth(job):
    """Truths drawn from the prior, spectra by the fit's model: z by the total error."""
    sys.path.append(str(ROOT / "tests"))
    import closed_loop

    copies, seed = job
    scene, _, _ = case("standard", 0.0)
    # a prior without negative water, so that every draw is an atmosphere
    own = scene.setup.replace(
        prior={"h2o": {"relative_sigma": 0.25}, "ch4": {"constant": 0.0, "sigma": 5e-9}}
    )
    scene = replace(scene, setup=own)
    prior, covariance = optimal_estimation.prior_of(scene)
    rng = np.random.default_rng(seed)
    layout = closed_loop.evaluation.layout_of(scene)
    factor = np.linalg.cholesky(covariance + 1e-30 * np.eye(len(covariance)))
    z = {g: [] for g in GASES}
    for _ in range(copies):
        vector = layout.pack(prior) + factor @ rng.standard_normal(len(factor))
        state = replace(
            layout.unpack(vector), shift_px=prior.shift_px, stretch_px=0.0,
            exponent=prior.exponent, vmr={
                g: layout.unpack(vector).vmr[g] for g in GASES},
        )  # fmt: skip
        clean = closed_loop.spectra(scene, state)
        drawn = noisy(scene, clean, rng)
        solution = optimal_estimation.solve(drawn)
        found = statistics(drawn, solution, state.vmr, total=True)
        for gas in GASES:
            z[gas].append(found[gas]["z"])
    return {gas: np.concatenate(values) for gas, values in z.items()}


def gathered(pool, jobs):
    parts = list(pool.map(fixed_truth, jobs))
    return {
        "chi2": np.concatenate([p["chi2"] for p in parts]),
        "mean": np.concatenate([p["mean"] for p in parts]),
        "detected": np.concatenate([p["detected"] for p in parts]),
        **{
            key: {g: np.concatenate([p[key][g] for p in parts]) for g in GASES}
            for key in ("z", "one")
        },
    }


def coverage(z):
    return float(np.mean(np.abs(z) < 1)), float(np.mean(np.abs(z) < 2))


def rank_p(one):
    """p of a flat histogram of the ranks of one level of each draw."""
    counts = np.histogram(stats.norm.cdf(one), bins=10, range=(0, 1))[0]
    return float(stats.chisquare(counts).pvalue)


def main(draws: int) -> None:
    """Run all parts with some `draws` in the first and write the report."""
    rows: list[tuple[str, str, str, bool | None]] = []

    def judge(what, limit, value, passed):
        rows.append((what, limit, value, None if passed is None else bool(passed)))
        print(f"{what:58} {limit:22} {value:22} {passed}", flush=True)

    begun = time.time()
    names = list(ATMOSPHERES)
    with ProcessPoolExecutor(2) as pool:
        share = -(-draws // 6)
        jobs = [(n, 0.0, share, 100 * i + k, 1.0)
                for i, n in enumerate(names) for k in range(2)]  # fmt: skip
        null = gathered(pool, jobs)
        total = len(null["chi2"])
        for gas in GASES:
            z = null["z"][gas]
            one, two = coverage(z)
            judge(f"{gas}: mean z", "< 0.1", f"{z.mean():+.3f}", abs(z.mean()) < 0.1)
            judge(f"{gas}: within 1 sigma", "63.9-72.7 %", f"{one:.1%}",
                  0.639 <= one <= 0.727)  # fmt: skip
            judge(f"{gas}: within 2 sigma", "93.4-97.4 %", f"{two:.1%}",
                  0.934 <= two <= 0.974)  # fmt: skip
            p = rank_p(null["one"][gas])
            judge(f"{gas}: flat ranks, p", "> 1e-3", f"{p:.3f}", p > 1e-3)
        chi2 = float(null["chi2"].mean())
        judge("reduced chi-square", "0.95-1.05", f"{chi2:.4f}", 0.95 <= chi2 <= 1.05)
        rate, size = float(null["detected"].mean()), null["detected"].size
        judge(f"no methane: levels detected of {size}", "<= 0.5 %", f"{rate:.3%}",
              rate <= 0.005 and size >= 20_000)  # fmt: skip
        wrong = gathered(pool, [(names[0], 0.0, 20, 900 + k, 1.3) for k in range(2)])
        one = coverage(wrong["z"]["ch4"])[0]
        judge("noise 1.3 times what the file says: within 1 sigma", "fails",
              f"{one:.1%}", not 0.639 <= one <= 0.727)  # fmt: skip
        for orders in (6, 8):
            few = gathered(
                pool, [(names[0], 0.0, 20, 950 + k, 1.0, orders) for k in range(2)]
            )
            for gas in GASES:
                z = few["z"][gas]
                judge(f"fit with {orders} neighbours only, {gas}: mean z", "< 0.1",
                      f"{z.mean():+.3f}", abs(z.mean()) < 0.1)  # fmt: skip
        true = np.array([0.05, 0.1, 0.5, 2.0])
        means = []
        for i, value in enumerate(true):
            got = gathered(
                pool, [(names[0], value * 1e-9, 20, 1000 + 10 * i + k, 1.0)
                       for k in range(2)])  # fmt: skip
            means.append(1e9 * got["mean"].mean())
            scatter = 1e9 * got["mean"].std()
            judge(f"methane {value} ppbv put in: mean of 10-30 km", "",
                  f"{means[-1]:.4f} +- {scatter:.4f}", None)  # fmt: skip
        slope = float(np.polyfit(true, means, 1)[0])
        judge("slope of methane found on methane put in", "1.00 +- 0.02",
              f"{slope:.4f}", abs(slope - 1.0) <= 0.02)  # fmt: skip
        parts = list(pool.map(prior_truth, [(draws // 10, 50), (draws // 10, 51)]))
        for gas in GASES:
            z = np.concatenate([p[gas] for p in parts])
            one, two = coverage(z)
            judge(f"truths from the prior, {gas}: mean z", "< 0.1",
                  f"{z.mean():+.3f}", abs(z.mean()) < 0.1)  # fmt: skip
            judge(f"truths from the prior, {gas}: within 1 sigma of the total error",
                  "63.9-72.7 %", f"{one:.1%}", 0.639 <= one <= 0.727)  # fmt: skip
            judge(f"truths from the prior, {gas}: within 2 sigma", "93.4-97.4 %",
                  f"{two:.1%}", 0.934 <= two <= 0.974)  # fmt: skip
    write(rows, total, time.time() - begun)


def write(rows, total, seconds) -> None:
    """Write the report page."""
    summary = (
        f"Written by ``make validate`` with tgo_spectra {tgo.__version__}, Python "
        f"{platform.python_version()}, numpy {np.__version__}: {total} noisy "
        f"retrievals of fixed truths in three atmospheres ({', '.join(ATMOSPHERES)}), "
        "200 for truths from the prior, 40 for each other line; order 134, setup "
        "``so_134`` with table ``so_129_138``; seeds are in "
        "``tests/validation/campaign.py``. Truth and fit share line data and "
        "instrument coefficients, so that errors of those do not show here."
    )
    method = (__doc__ or "").split("\n\n", 2)[2].strip()
    lines = ["Validation report", "=================", "", summary, "", method, ""]
    lines += [".. list-table::", "   :header-rows: 1", ""]
    lines += ["   * - what", "     - limit", "     - measured", "     - passed"]
    for what, limit, value, passed in rows:
        word = "" if passed is None else ("yes" if passed else "**no**")
        lines += [f"   * - {what}", f"     - {limit}", f"     - {value}",
                  f"     - {word}"]  # fmt: skip
    lines += ["", f"{seconds / 60:.0f} minutes with two processes.", ""]
    REPORT.write_text("\n".join(lines), encoding="utf-8")
    (ROOT / "validation.json").write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
