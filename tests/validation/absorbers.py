"""The parts of the campaign on windows with every absorber, from real line lists.

Where a part needs lists or samples that are not at hand, it says so and is not run.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from draws import figures
from line import Line
from line_by_line import Exact
from trust import FAR, at_most, share, within

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.retrieval.choice import table_state
from tgo_spectra.retrieval.isotopes import VSMOW, deuterium_ratio, water_share
from tgo_spectra.simulate import redraw, simulate_level1

sys.path.append(str(Path(__file__).resolve().parents[1]))
from shared_folder import FULL, LISTS

METHANE = (0.0, 3e-10)
"""Mole fractions of the truths."""
LEFT_OUT = (("hdo",), ("co2",), ("hdo", "co2"))
RESPONSE = 0.3
RIGHT = {"in_fit": False, "enabled": False}
"""Systematic sources, where nothing is wrong but the noise."""
ABSENT = Line("line lists are not at hand: not run", "", "", None, "")
DEUTERIUM = ([0.0, 5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 160.0],
             [5.8, 5.7, 5.6, 5.1, 4.3, 3.7, 3.2, 2.5])  # fmt: skip
"""D/H (VSMOW) of the truth by altitude (km); the a priori has 5."""


def own_air(deuterium=None):
    """Air with more water than the a priori, and D/H of 5 or by altitude."""
    air = tgo.reference_atmosphere().drop_vars(
        ["temperature_uncertainty", "pressure_uncertainty"]
    )
    ratio = 5.0 if deuterium is None else np.interp(air.altitude, *deuterium)
    water = 1.3 * air["h2o_vmr"]
    heavy = 2.0 * water_share() * VSMOW * ratio * water.values
    air.attrs["source"] = "that of the truth"
    return air.assign(h2o_vmr=water, hdo_vmr=water.copy(data=heavy))


def known(air):
    """What the fit is given: pressure and temperature, and gases of its own."""
    return air.drop_vars(["h2o_vmr", "hdo_vmr"])


# ---- methane among CO2, HDO and its own isotopologues


def methane_truths(folder):
    """Simulations line by line, by order and methane."""
    air = own_air()
    exact = Exact("so_134_136", folder, air)
    return {
        (order, ch4): exact.simulate(
            order=order, table="so_134_136", n_orders=10, seed=order, atmosphere=air,
            vmr={"ch4": ch4}, noisy_pixels=(),
        )
        for order in (134, 136) for ch4 in METHANE
    }  # fmt: skip


def without(setup, gases):
    """Return a setup that leaves gases out, and says so."""
    kept = [gas for gas in setup.gases if gas not in gases]
    return setup.replace(
        gases=kept,
        prior={gas: setup.prior[gas] for gas in kept},
        interferents_absent=(*setup.interferents_absent, *gases),
    )


def methane_draws(job):
    """Fit noise draws of one truth with the shipped setup, changed a little."""
    made, order, ch4, seeds, gases, changes = job
    setup = without(tgo.load_setup(f"so_{order}"), gases).replace(**changes)
    air, found = known(own_air()), []
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = tgo.retrieve(redraw(made, seed), setup, air)
        found.append(figures(result, made.truth, ch4))
    return found


def every_absorber(pool, draws):
    """Every absorber of the window, line by line.

    The truth is made without tables: cross sections from the lists at each level's own
    state, all of CO2 (nine isotopologues), HDO (D/H 5 VSMOW), water and methane with
    13CH4 and CH3D, ten neighbouring orders; water is 1.3 times the a priori. "Layer":
    the methane of 5 to 30 km. "Noise": sources of error are left out of the fit, since
    nothing is wrong. "Shipped": the setups as they are. Where gases are left out, a
    draw is wrong without warning if it is further than 3 total errors from the truth
    without a severe bit.
    """
    if not LISTS.is_dir():
        return [ABSENT]
    copies = max(draws // 25, 4)
    truths = pool.submit(methane_truths, LISTS).result()
    runs = []
    for number, key in enumerate(truths):
        first = 1000 * number  # seeds of its own: truths are pooled
        whole = range(first + 500, first + 500 + max(copies // 5, 2))
        runs += [("noise", key, range(first + k, first + copies, 2), (),
                  {"systematics": RIGHT}) for k in (0, 1)]  # fmt: skip
        runs.append(("shipped", key, whole, (), {}))
        few = whole[: max(copies // 20, 1)]
        runs += [("left out", key, few, gases, {}) for gases in LEFT_OUT]
    jobs = [(truths[key], *key, *rest) for _, key, *rest in runs]
    found, left = {}, []
    for run, mine in zip(runs, pool.map(methane_draws, jobs), strict=True):
        found.setdefault(run[:2], []).extend(mine)
        if run[0] == "left out":
            left.append(left_out(run, mine))
    lines, pooled = [], []
    for key in truths:
        pooled += found["noise", key]
        lines += of_truth(key, found["noise", key], found["shipped", key])
    near = share(pooled, lambda one: abs(one["bias"]) < 2.0 * one["noise"])
    mean, text = float(np.mean([one["chi2"] for one in pooled])), f"{len(pooled)}"
    return [
        *lines,
        within("all: layer within 2 noise errors", near, 0.93, 0.97, text),
        Line("all: reduced chi-square", "0.99-1.01", f"{mean:.4f}",
             0.99 <= mean <= 1.01, text),
        *left,
    ]  # fmt: skip


def of_truth(key, plain, whole):
    """Lines of one truth: noise alone, and the shipped setup."""
    label = f"order {key[0]}, methane {1e9 * key[1]:g} ppbv"
    bias = np.array([one["bias"] for one in plain])
    noise = np.mean([one["noise"] for one in plain])
    error = bias.std(ddof=1) / np.sqrt(bias.size)
    limit = min(5.0, 3.0 * error)
    text, other = f"{len(plain)}", f"{len(whole)}"
    own = np.array([one["bias"] for one in whole])
    total = np.mean([one["total"] for one in whole])
    covered = share(whole, lambda one: abs(one["bias"]) < one["total"])
    return [
        Line(f"{label}: layer less the truth, pptv", f"< {limit:.1f}",
             f"{bias.mean():+.2f} +- {error:.2f}", abs(bias.mean()) < limit, text),
        Line(f"{label}: scatter; noise error stated, pptv", "",
             f"{bias.std(ddof=1):.2f}; {noise:.2f}", None, text),
        Line(f"{label}, shipped: layer less the truth; total error, pptv", "",
             f"{own.mean():+.2f}; {total:.1f}", None, other),
        Line(f"{label}, shipped: within 1 total error", "", f"{covered:.0%}", None,
             other),
        at_most(f"{label}, shipped: severe bits",
                share(whole, lambda one: one["severe"]), 0.01, other),
    ]  # fmt: skip


def left_out(run, mine):
    """Line of fits without some gases."""
    _, (order, ch4), _, gases, _ = run
    bias = np.array([one["bias"] for one in mine])
    total = np.mean([one["total"] for one in mine])
    wrong = sum(abs(one["bias"]) > FAR * one["total"] and not one["severe"]
                for one in mine)  # fmt: skip
    severe = share(mine, lambda one: one["severe"])
    what = f"order {order}, methane {1e9 * ch4:g} ppbv, without {' and '.join(gases)}"
    value = f"{wrong}; {bias.mean():+.0f} +- {total:.0f} pptv, severe {severe:.0%}"
    return Line(f"{what}: wrong without warning", "0", value, not wrong, f"{len(mine)}")


# ---- samples of an independent simulator


def sample_draws(job):
    """Noise draws of a sample with all absorbers."""
    import samples

    return samples.all_absorbers(*job)


def full_samples(pool, draws):
    """Samples of an independent simulator with all absorbers, shipped setups.

    Redrawn noise; sources of error are left out of fits and errors, since nothing in
    these products is wrong. "Layer": the methane of 5 to 30 km.
    """
    if not FULL.is_dir():
        return [Line("samples are not at hand: not run", "", "", None, "")]
    copies, lines = max(draws // 5, 4), []
    for order in (134, 136, 121, 190):
        seeds = (order, order + 1000)
        jobs = [(order, -(-copies // 2), seed) for seed in seeds]
        found = list(pool.map(sample_draws, jobs))
        text = f"{sum(job[1] for job in jobs)}; {seeds[0]}, {seeds[1]}"
        for gas in found[0][0]:
            z = np.concatenate([one[0][gas] for one in found])
            mean, inside = z.mean(), np.mean(np.abs(z) < 1)
            lines += [
                Line(f"order {order}, {gas}: mean z", "< 0.1", f"{mean:+.3f}",
                     abs(mean) < 0.1, text),
                within(f"order {order}, {gas}: within 1 sigma", inside, 0.65, 0.71,
                       text),
            ]  # fmt: skip
        layer = np.concatenate([one[1] for one in found])
        if layer.size:
            error = layer.std(ddof=1) / np.sqrt(layer.size)
            value = f"{layer.mean():+.2f} +- {error:.2f}"
            what = f"order {order}: layer less the truth, pptv"
            lines.append(Line(what, "", value, None, text))
        chi2 = np.concatenate([one[2] for one in found]).mean()
        what, good = f"order {order}: reduced chi-square", 0.99 <= chi2 <= 1.01
        lines.append(Line(what, "0.99-1.01", f"{chi2:.4f}", good, text))
    return lines


# ---- deuterium


def seen(result, truth, gas):
    """Return a result with the truth as the kernel sees it in place of the profile."""
    prior = result[f"{gas}_vmr_apriori"].values
    kernel = result[f"{gas}_averaging_kernel"].values
    true = np.interp(result.altitude, truth.altitude, truth[f"{gas}_vmr"].values)
    data = prior + kernel @ (true - prior)
    return result.assign({f"{gas}_vmr": result[f"{gas}_vmr"].copy(data=data)})


def deuterium_draws(job):
    """D/H of noise draws of one occultation: altitude, z of noise, z of all, flag."""
    seed, seeds = job
    air = own_air(DEUTERIUM)
    made = {
        order: simulate_level1(
            order=order, table=table, n_orders=10, atmosphere=air, seed=seed,
            noisy_pixels=(), vmr={"ch4": 0.0} if order == 136 else {},
        )
        for order, table in ((121, "so_119_124_hdo"), (136, "so_134_136"))
    }  # fmt: skip
    setups = {121: "so_119_124_hdo", 136: "so_136"}
    rows = []
    for noise in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            heavy, light = (
                tgo.retrieve(
                    redraw(made[order], noise),
                    tgo.load_setup(setups[order]).replace(systematics=RIGHT),
                    known(air),
                )
                for order in (121, 136)
            )
        found = deuterium_ratio(heavy, light)
        expected = deuterium_ratio(
            seen(heavy, made[121].truth, "hdo"), seen(light, made[136].truth, "h2o")
        ).deuterium_ratio
        true = np.interp(found.altitude, *DEUTERIUM)
        off = found.deuterium_ratio - expected
        rows.append(np.stack([
            found.altitude, found.deuterium_ratio - true,
            off / found.deuterium_ratio_noise_error,
            (found.deuterium_ratio - true) / found.deuterium_ratio_error,
            found.deuterium_ratio_error, found.deuterium_ratio_flag,
        ]))  # fmt: skip
    return np.stack(rows)


def deuterium(pool, draws):
    """D/H from HDO of order 121 and water of order 136 of one occultation.

    The truth falls from 5.8 VSMOW at the ground to 3.2 at 55 km (a priori 5), with
    light of ten neighbouring orders. Levels without a flag; of the noise: from the
    ratio of the truths seen through the kernels.
    """
    copies = max(draws // 5, 4)
    jobs = [(k, range(k, copies, 2)) for k in (0, 1)]
    found = np.concatenate(list(pool.map(deuterium_draws, jobs)))
    altitude, off, noise, total, error, flag = np.moveaxis(found, 1, 0)
    good, text = flag == 0, f"{len(found)}; 0-{copies - 1}"
    lines = [
        Line("levels without a flag", "", f"{good.sum(axis=1).mean():.1f}", None, text)
    ]
    for label, z in (("noise", noise[good]), ("total error", total[good])):
        lines += [
            Line(f"{label}: mean z", "< 0.1", f"{z.mean():+.3f}", abs(z.mean()) < 0.1,
                 text),
            within(f"{label}: within 1 sigma", np.mean(abs(z) < 1), 0.65, 0.71, text),
            Line(f"{label}: within 2 sigma", "", f"{np.mean(abs(z) < 2):.1%}", None,
                 text),
        ]  # fmt: skip
    for height in (5.0, 15.0, 25.0, 35.0):
        at = np.argmin(abs(altitude[0] - height))
        value = (f"{off[:, at].mean():+.3f}; {off[:, at].std():.2f}; "
                 f"{error[:, at].mean():.2f}")  # fmt: skip
        lines.append(Line(f"{height:g} km: less the truth; scatter; error, VSMOW", "",
                          value, None, text))  # fmt: skip
    return lines


# ---- temperature from CO2


WAVE_K, WAVE_KM, PRESSURE = 5.0, 30.0, 1.08
"""The truth against what the fit is given."""


def temperature_draws(job):
    """Temperature of noise draws of one order: rows by draw, and core-seconds."""
    name, order, table, seeds = job
    given = tgo.reference_atmosphere()
    made = simulate_level1(
        order=order, table=table, n_orders=10, atmosphere=hydrostatic(given),
        altitude_range=(2.0, 118.0), seed=order, noisy_pixels=(),
    )  # fmt: skip
    setup = tgo.load_setup(name).replace(systematics={"enabled": False, "waves": 0.0})
    truth, rows, seconds = made.truth, [], []
    for seed in seeds:
        level1 = redraw(made, seed)
        begun = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = tgo.retrieve(level1, setup, given)
        seconds.append(time.process_time() - begun)
        z = result.altitude
        true = np.interp(z, truth.altitude, truth.temperature)
        prior = np.interp(z, given.altitude, given.temperature)
        kernel = result.temperature_averaging_kernel.values
        expected = prior + kernel @ (true - prior)
        covariance = result.temperature_noise_covariance.values
        found = result.temperature.values
        rows.append(np.stack([
            z.values, found - true, (found - expected) / np.sqrt(np.diag(covariance)),
            (found - true) / result.temperature_error.values, np.diag(kernel),
            np.full(z.size, result.reduced_chi_square),
            np.full(z.size, quality.severe(result.quality_flag.values)),
        ]))  # fmt: skip
    return np.stack(rows), seconds


def hydrostatic(given):
    """Air with a wave in temperature and more pressure, in hydrostatic balance."""
    from tgo_spectra.forward.sight import hydrostatic_log_ratio
    from tgo_spectra.retrieval.models.so.temperature.scene import molar_mass

    z = np.arange(-5.0, 160.01, 0.125)
    air = tgo.reference_atmosphere(z)
    kelvin = air.temperature.values + WAVE_K * np.sin(2.0 * np.pi * z / WAVE_KM)
    ground = int(abs(z).argmin())
    ratio = hydrostatic_log_ratio(
        z, kelvin, planet_radius_km=float(given.attrs["planet_radius_km"]),
        anchor=ground, molar_mass_g_mol=molar_mass(air.co2_vmr.values),
    )  # fmt: skip
    pascal = PRESSURE * float(air.pressure[ground]) * np.exp(ratio)
    return air.drop_vars("number_density").assign(
        pressure=air.pressure.copy(data=pascal),
        temperature=air.temperature.copy(data=kelvin),
    )


TEMPERATURES = (("so_co2_temperature", 165, 50.0, 100.0),
                ("so_co2_temperature_low", 148, 15.0, 60.0))  # fmt: skip
"""Setup, order and the altitudes that count, km."""


def co2_temperature(pool, draws):
    """Temperature from real lines of CO2.

    The truth is 5 K times a sine (30 km) and 8 % of pressure off what the fit is given,
    with light of ten neighbouring orders, water and HDO; tables made by
    ``tgo-spectra prepare``. Of the noise: from the truth seen through the kernel.
    """
    copies, lines = max(draws // 25, 4), []
    for name, order, low, high in TEMPERATURES:
        state = table_state(tgo.load_setup(name))
        if state.startswith("run:"):
            lines.append(Line(f"order {order}: no table, not run", "", "", None, ""))
            continue
        table = tgo.load_setup(name).table
        jobs = [(name, order, table, range(k, copies, 2)) for k in (0, 1)]
        parts, seconds = zip(*pool.map(temperature_draws, jobs), strict=True)
        found = np.concatenate(parts)
        z, off, noise, total, kernel, chi2, severe = np.moveaxis(found, 1, 0)
        inside = (z[0] >= low) & (z[0] <= high)
        bias = off.mean(axis=0)[inside]
        good = kernel > RESPONSE
        text, label = f"{copies}; 0-{copies - 1}", f"order {order}"
        worst = float(bias[abs(bias).argmax()])
        # the first of each process compiles
        cost = float(np.median([s for several in seconds for s in several[1:]]))
        span = f"{low:g}-{high:g} km"
        lines += [
            Line(f"{label}: mean bias of {span}, K", "< 0.5", f"{bias.mean():+.3f}",
                 abs(bias.mean()) < 0.5, text),
            Line(f"{label}: largest bias of a level of {span}, K", "< 0.5",
                 f"{worst:+.2f}", abs(worst) < 0.5, text),
            Line(f"{label}: noise: mean z", "< 0.1", f"{noise[good].mean():+.3f}",
                 abs(noise[good].mean()) < 0.1, text),
            within(f"{label}: noise: within 1 sigma", np.mean(abs(noise[good]) < 1),
                   0.639, 0.727, text),
            within(f"{label}: noise: within 2 sigma", np.mean(abs(noise[good]) < 2),
                   0.934, 0.974, text),
            Line(f"{label}: total error: within 1 sigma", "",
                 f"{np.mean(abs(total[good]) < 1):.1%}", None, text),
            Line(f"{label}: reduced chi-square", "0.99-1.01", f"{chi2.mean():.4f}",
                 0.99 <= chi2.mean() <= 1.01, text),
            Line(f"{label}: severe bits", "0", f"{severe[:, 0].mean():.0%}",
                 not severe.any(), text),
            Line(f"{label}: core-seconds a fit", "<= 1.5", f"{cost:.2f}", cost <= 1.5,
                 text),
        ]  # fmt: skip
    return lines


PARTS = {
    "every-absorber": every_absorber,
    "full-samples": full_samples,
    "deuterium": deuterium,
    "co2-temperature": co2_temperature,
}
