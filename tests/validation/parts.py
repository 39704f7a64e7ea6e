"""The parts of the validation campaign; each returns the lines of its table."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cases import ATMOSPHERES, GASES, case, coverage, fit, noisy, on_levels
from line import Line
from scipy import stats

from tgo_spectra.retrieval.models.so import optimal_estimation

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Job:
    """Draws of one truth, done in one process."""

    copies: int
    seed: int
    atmosphere: str = "standard"
    ch4: float = 0.0
    factor: float = 1.0
    changes: tuple = ()
    order: int = 134
    with_systematics: bool = False
    shift_px: float | None = None


def draw(job):
    """Fit noise draws of a fixed truth; per gas z, one z of each draw, and so on."""
    truth_options = {} if job.shift_px is None else {"shift_px": job.shift_px}
    scene, clean, truth = case(
        job.atmosphere, job.ch4, job.changes, job.order, **truth_options
    )
    true, rng = on_levels(scene, truth), np.random.default_rng(job.seed)
    altitude = scene.limb.altitude_km
    gases = scene.setup.gases
    out = {"z": {g: [] for g in gases}, "total": {g: [] for g in gases},
           "knowledge": {g: [] for g in gases}, "one": {g: [] for g in gases},
           "chi2": [], "detected": [], "mean": []}  # fmt: skip
    for _ in range(job.copies):
        drawn = noisy(scene, clean, rng, job.factor)
        found, chi2 = fit(drawn, true, with_systematics=job.with_systematics)
        out["chi2"].append(chi2)
        for gas, f in found.items():
            out["z"][gas].append(f.z)
            out["total"][gas].append(f.total_z)
            out["knowledge"][gas].append(f.knowledge_z)
            out["one"][gas].append(float(rng.choice(f.z)))
        methane = found["ch4"]
        out["detected"].append(methane.detected)
        part = (altitude >= 10.0) & (altitude <= 30.0) & methane.good
        w = 1.0 / methane.total_error[part] ** 2
        out["mean"].append(float(w @ methane.vmr[part] / w.sum()))
    for key in ("z", "total", "knowledge"):
        out[key] = {g: np.concatenate(v) for g, v in out[key].items()}
    out["detected"] = np.concatenate(out["detected"])
    return out


def gathered(pool, jobs):
    """Run jobs side by side and pool what they find."""
    found = list(pool.map(draw, jobs))
    keys = ("z", "total", "knowledge", "one")
    return {
        key: (
            {g: np.concatenate([f[key][g] for f in found]) for g in found[0][key]}
            if key in keys
            else np.concatenate([f[key] for f in found])
        )
        for key in (*keys, "chi2", "detected", "mean")
    }


def seeds(jobs):
    """Return the text of the column of draws."""
    first, last = jobs[0].seed, jobs[-1].seed
    return f"{sum(j.copies for j in jobs)}; {first}-{last}"


def two(copies, seed, **options):
    """Split draws between two processes."""
    half = -(-copies // 2)
    return [Job(half, seed + k, **options) for k in range(2)]


def judged(label, z, draws):
    """Lines of bias and coverage."""
    one, both = coverage(z)
    return [
        Line(f"{label}: mean z", "< 0.1", f"{z.mean():+.3f}", abs(z.mean()) < 0.1,
             draws),
        Line(f"{label}: within 1 sigma", "63.9-72.7 %", f"{one:.1%}",
             0.639 <= one <= 0.727, draws),
        Line(f"{label}: within 2 sigma", "93.4-97.4 %", f"{both:.1%}",
             0.934 <= both <= 0.974, draws),
    ]  # fmt: skip


def rank_p(one):
    """Return p of a flat histogram of the ranks of one level of each draw."""
    counts = np.histogram(stats.norm.cdf(one), bins=10, range=(0, 1))[0]
    return float(stats.chisquare(counts).pvalue)


def fixed_truths(pool, draws):
    """Noise draws of fixed truths in three atmospheres, without methane."""
    share = -(-draws // (2 * len(ATMOSPHERES)))
    each = {
        name: [Job(share, 100 * i + k, name) for k in range(2)]
        for i, name in enumerate(ATMOSPHERES)
    }
    found = {name: gathered(pool, jobs) for name, jobs in each.items()}
    everything = [job for jobs in each.values() for job in jobs]
    text = seeds(everything)

    def pooled(key, gas=None):
        values = [f[key] if gas is None else f[key][gas] for f in found.values()]
        return np.concatenate(values)

    lines = []
    for gas in GASES:
        lines += judged(gas, pooled("z", gas), text)
        p = rank_p(pooled("one", gas))
        lines.append(
            Line(f"{gas}: flat ranks, p", "> 1e-3", f"{p:.3f}", p > 1e-3, text)
        )
        for name, f in found.items():
            z = f["z"][gas]
            value = f"{z.mean():+.3f}, {coverage(z)[0]:.1%}"
            what = f"{gas}, {name}: mean z, within 1 sigma"
            lines.append(Line(what, "", value, None, seeds(each[name])))
    chi2 = float(pooled("chi2").mean())
    lines.append(Line("reduced chi-square", "0.95-1.05", f"{chi2:.4f}",
                      0.95 <= chi2 <= 1.05, text))  # fmt: skip
    flags = pooled("detected")
    good = flags.mean() <= 0.005 and (flags.size >= 20_000 or draws < 1000)
    lines.append(Line(f"no methane: detections at {flags.size} levels", "<= 0.5 %",
                      f"{flags.mean():.3%}", good, text))  # fmt: skip
    return lines


def wrong_noise(pool, draws):
    """Noise 1.3 times what the file says: the test must fail."""
    jobs = two(max(draws // 25, 4), 900, factor=1.3)
    one = coverage(gathered(pool, jobs)["z"]["ch4"])[0]
    what = "noise 1.3 times what the file says, ch4: within 1 sigma"
    fails = not 0.639 <= one <= 0.727
    return [Line(what, "must fail", f"{one:.1%}", fails, seeds(jobs))]


def neighbours(pool, draws):
    """Fits with the light of fewer orders than there is."""
    lines = []
    for orders in (6, 8):
        jobs = two(max(draws // 25, 4), 950, changes=(("instrument.n_orders", orders),))
        found = gathered(pool, jobs)
        for gas in GASES:
            what = f"fit with {orders} neighbours only, {gas}: mean z"
            z = found["z"][gas].mean()
            lines.append(Line(what, "", f"{z:+.3f}", None, seeds(jobs)))
    return lines


def injections(pool, draws):
    """Methane put in and found again."""
    true, means, lines = np.array([0.05, 0.1, 0.5, 2.0]), [], []
    for i, value in enumerate(true):
        jobs = two(max(draws // 25, 4), 1000 + 10 * i, ch4=value * 1e-9)
        found = 1e9 * gathered(pool, jobs)["mean"]
        means.append(found.mean())
        what = f"methane {value} ppbv put in: mean of 10-30 km, ppbv"
        text = f"{found.mean():.4f} +- {found.std():.4f}"
        lines.append(Line(what, "", text, None, seeds(jobs)))
    slope = float(np.polyfit(true, means, 1)[0])
    what = "slope of methane found on methane put in"
    lines.append(Line(what, "1.00 +- 0.02", f"{slope:.4f}", abs(slope - 1) <= 0.02, ""))
    return lines


WRONG = {
    "wavenumber shift of 1 pixel more": {"shift_px": 1.0},
    "temperature 5 K too high": {"changes": (("temperature_k", 5.0),)},
    "temperature 5 K too low": {"changes": (("temperature_k", -5.0),)},
    "tangent altitude 0.5 km too high": {"changes": (("altitude_km", 0.5),)},
    "tangent altitude 0.5 km too low": {"changes": (("altitude_km", -0.5),)},
    "AOTF 2 % too wide": {"changes": (("instrument.aotf_width_factor", 1.02),)},
    "AOTF 2 % too narrow": {"changes": (("instrument.aotf_width_factor", 0.98),)},
    "side lobes 10 % too strong": {
        "changes": (("instrument.aotf_side_lobe_factor", 1.1),)
    },
    "side lobes 10 % too weak": {
        "changes": (("instrument.aotf_side_lobe_factor", 0.9),)
    },
    "ghost amplitude 0.25": {"changes": (("instrument.ghost_amplitude", 0.25),)},
    "baseline degree 3": {"changes": (("baseline_degree", 3),)},
    "baseline degree 5": {"changes": (("baseline_degree", 5),)},
}
"""What the fit has wrong; everything else is right."""


def wrong_knowledge(pool, draws):
    """The total error with its systematic terms covers the truth all the same."""
    lines = []
    on = ("systematics.enabled", True)
    for i, (name, options) in enumerate(WRONG.items()):
        options = {**options, "changes": (*options.get("changes", ()), on)}
        jobs = two(max(draws // 50, 4), 1100 + 10 * i, ch4=1e-9,
                   with_systematics=True, **options)  # fmt: skip
        found = gathered(pool, jobs)
        for gas in GASES:
            whole = coverage(found["total"][gas])[1]
            known = coverage(found["knowledge"][gas])[1]
            what = f"{name}, {gas}: within 2 sigma, of truth; of smoothed truth"
            value = f"{whole:.1%}; {known:.1%}"
            passed = min(whole, known) >= 0.9
            lines.append(Line(what, ">= 90 %", value, passed, seeds(jobs)))
    return lines


def prior_draws(job):
    """Truths drawn from the prior, spectra by the fit's model: z by the total error."""
    sys.path.append(str(TESTS))
    import closed_loop

    copies, seed = job
    scene, _, _ = case()
    # a prior without negative water, so that every draw is an atmosphere
    own = scene.setup.replace(
        prior={"h2o": {"relative_sigma": 0.25}, "ch4": {"constant": 0.0, "sigma": 5e-9}}
    )
    scene = replace(scene, setup=own)
    space = optimal_estimation.space_of(scene)
    prior, covariance = space.prior, space.covariance
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(covariance + 1e-30 * np.eye(len(covariance)))
    z = {g: [] for g in GASES}
    for _ in range(copies):
        vector = space.pack(prior) + factor @ rng.standard_normal(len(factor))
        state = {**prior, **{g: space.unpack(vector)[g] for g in GASES}}
        drawn = noisy(scene, closed_loop.spectra(scene, state), rng)
        found, _ = fit(drawn, state)
        for gas in GASES:
            z[gas].append(found[gas].total_z)
    return {gas: np.concatenate(values) for gas, values in z.items()}


def prior_truths(pool, draws):
    """Truths drawn from the prior are covered by the total error."""
    jobs = [(max(draws // 10, 4), 50), (max(draws // 10, 4), 51)]
    found = list(pool.map(prior_draws, jobs))
    text = f"{sum(j[0] for j in jobs)}; {jobs[0][1]}-{jobs[-1][1]}"
    lines = []
    for gas in GASES:
        z = np.concatenate([f[gas] for f in found])
        lines += judged(f"truths from the prior, {gas}, total error", z, text)
    return lines


def other_order(pool, draws):
    """Order 136 with its shipped setup."""
    jobs = two(max(draws // 10, 4), 1300, order=136, ch4=1e-9)
    found = gathered(pool, jobs)
    lines = []
    for gas in GASES:
        lines += judged(f"order 136, 1 ppbv of methane, {gas}", found["z"][gas],
                        seeds(jobs))  # fmt: skip
    return lines


def sample_draws(job):
    """Noise draws of one sample of the independent simulator."""
    sys.path.append(str(TESTS))
    import samples

    return samples.renoised(*job)


def independent_samples(pool, draws):
    """Samples of an independent simulator, re-noised; where they are at hand."""
    sys.path.append(str(TESTS))
    import samples

    if not (samples.SAMPLES.is_dir() and samples.LISTS.is_dir()):
        return [Line("samples are not at hand: not run", "", "", None, "")]
    copies, lines = max(draws // 5, 4), []
    with tempfile.TemporaryDirectory() as folder:
        for band, orders in (("134_136", (134, 136)), ("190", (190,))):
            pool.submit(samples.build, band, folder).result()
            jobs = [(o, folder, -(-copies // 2), 1400 + o + 300 * k)
                    for o in orders for k in range(2)]  # fmt: skip
            found = list(pool.map(sample_draws, jobs))
            for order in orders:
                mine = [(j, f) for j, f in zip(jobs, found, strict=True)
                        if j[0] == order]  # fmt: skip
                text = f"{sum(j[2] for j, _ in mine)}; " + ", ".join(
                    str(j[3]) for j, _ in mine
                )
                for gas in mine[0][1]:
                    z = np.concatenate([f[gas] for _, f in mine])
                    lines += judged(f"sample of order {order}, {gas}", z, text)
    return lines


def ozone(pool, draws):
    """Ozone of simulated UVIS occultations."""
    from reference.validate_uvis import validate_uvis

    n = max(draws // 5, 8)
    figures = pool.submit(validate_uvis, n, 1).result()
    return figure_lines("UVIS ozone", figures, f"{n}; 1")


def nadir(pool, draws):
    """Columns of simulated LNO spectra."""
    from reference.validate_nadir import validate_nadir

    # each spectrum is a draw, and quick
    n, lines = max(2 * draws, 8), []
    names = ("lno_189_190_co", "lno_167_169_h2o")
    runs = [pool.submit(validate_nadir, n, 2, setup=name) for name in names]
    for name, run in zip(names, runs, strict=True):
        lines += figure_lines(f"nadir, {name}", run.result(), f"{n}; 2")
    return lines


def figure_lines(label, figures, draws):
    """Lines of the figures of a closed loop of the library."""
    lines = []
    for name, value in figures.items():
        limit, passed = "", None
        if name.endswith("mean_z"):
            limit, passed = "< 0.1", abs(value) < 0.1
        elif "coverage" in name:
            limit, passed = "63.9-72.7 %", 0.639 <= value <= 0.727
        elif name.endswith("within_two_sigma"):
            limit, passed = "93.4-97.4 %", 0.934 <= value <= 0.974
        elif "false_positive" in name:
            limit, passed = "<= 0.5 %", value <= 0.005
        what = f"{label}: {name.replace('_', ' ')}"
        lines.append(Line(what, limit, f"{value:.4g}", passed, draws))
    return lines


PARTS = {
    "fixed-truths": fixed_truths,
    "wrong-noise": wrong_noise,
    "neighbours": neighbours,
    "injections": injections,
    "prior-truths": prior_truths,
    "wrong-knowledge": wrong_knowledge,
    "order-136": other_order,
    "samples": independent_samples,
    "ozone": ozone,
    "nadir": nadir,
}
