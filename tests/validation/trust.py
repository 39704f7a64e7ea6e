"""The parts of the campaign on what a result says of its own trust.

By hand, with as many draws a row as the first argument says, of the rows whose name or
part has one of the words that follow; without writing the report::

    OMP_NUM_THREADS=1 python tests/validation/trust.py 6 "order 134" fringe
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from draws import ROOT, drawn, figures
from line import Line
from worlds import ROWS, TABLE

import tgo_spectra as tgo

INDEPENDENT = 15
"""Levels of a profile that say something of their own (degrees of freedom)."""
FAR, OFTEN_FAR = 3.0, 2.0
"""Total errors from the truth: never, and in at most 5 % of the draws, unwarned."""


def rows_of(part, draws):
    """Return the number of draws by row of a part."""
    return {key: draws for key in ROWS if key[0] == part}


def text_of(found):
    """Return the text of the column of draws."""
    return f"{len(found)}"


def share(found, what):
    """Part of the draws for which something holds."""
    return float(np.mean([bool(what(one)) for one in found]))


def z_of(one):
    """Layer of methane from the truth, in total errors."""
    return abs(one["bias"]) / one["total"]


def false_detection(one):
    """Whether something was detected."""
    return one["layer"] or one["detected"]


def unwarned(one, ch4=0.0):
    """Wrong without warning: far off, or a false detection, without a severe bit."""
    return not one["severe"] and bool(
        z_of(one) > FAR or (ch4 == 0.0 and false_detection(one))
    )


def coverage(found, gas, kind):
    """Mean z, and parts within 1 and 2, pooled over draws and levels."""
    n, total, one, two = np.sum([d["gases"][gas][kind] for d in found], axis=0)
    return (total / n, one / n, two / n) if n else (np.nan, np.nan, np.nan)


def flags_of(found):
    """Return the reasons, with the part of the draws in percent."""
    names = sorted({name for one in found for name in one["flags"]})
    return ", ".join(
        f"{name} {100 * np.mean([name in one['flags'] for one in found]):.0f}"
        for name in names
        if name != "interferents_missing"  # of the setup, in all
    )


def line_of(row, found):
    """Return the line of one row of the table."""
    wrong = sum(unwarned(one, row.ch4) for one in found)
    fair = share(found, lambda one: z_of(one) > OFTEN_FAR and not one["severe"])
    bias = np.array([one["bias"] for one in found])
    total = np.sqrt(np.mean([one["total"] ** 2 for one in found]))
    _, first, second = coverage(found, "ch4", "total")
    _, water, _ = coverage(found, "h2o", "total")
    layer = share(found, lambda one: one["layer"])
    levels = share(found, lambda one: one["detected"])
    # of few draws one may be
    passed = wrong == 0 and fair <= max(0.05, 1.0 / len(found))
    return Line(
        row.name, "0; 5 %", f"{wrong}; {100 * fair:.0f} %", passed, text_of(found),
        {
            "bias; its scatter, pptv": f"{bias.mean():+.1f}; {bias.std():.1f}",
            "stated, pptv": f"{total:.1f}",
            "largest z": f"{max(map(z_of, found)):.1f}",
            "detected, %: layer, levels": f"{100 * layer:.0f}, {100 * levels:.0f}",
            "CH4 within 1, 2; H2O within 1, %":
                f"{100 * first:.0f}, {100 * second:.0f}; {100 * water:.0f}",
            "severe, %": f"{100 * share(found, lambda one: one['severe']):.0f}",
            "flags, %": flags_of(found),
        },
    )  # fmt: skip


def wrong_instrument(pool, draws):
    """Wrong instrument: what moves methane, and what the result says.

    Wrong without warning: the methane of 5-30 km further than 3 total errors from the
    truth, or a false detection, without a severe bit; the second figure is of the draws
    further than 2. Unknown lines are at several ranges of heights in turn. One draw of
    a row says that it can be right, not that it always is: see the number of draws.
    """
    found = drawn(pool, rows_of(TABLE, max(draws // 25, 1) if draws else 0))
    return [line_of(ROWS[key], several) for key, several in found.items()]


def scatter(found, part=0.68, levels=INDEPENDENT):
    """Two standard errors of a share that is ``part`` in the long run."""
    return 2.0 * float(np.sqrt(part * (1.0 - part) / (levels * len(found))))


def within(what, value, low, high, draws):
    """Line of a part that lies within limits, in percent."""
    limit = f"{100 * low:.3g}-{100 * min(high, 1.0):.3g} %"
    return Line(what, limit, f"{value:.1%}", low <= value <= high, draws)


def at_most(what, value, high, draws):
    """Line of a part of at most so much, in percent."""
    return Line(what, f"<= {100 * high:g} %", f"{value:.2%}", value <= high, draws)


def white_noise(pool, draws):
    """White noise and the right instrument.

    Limits are those of many draws, wider by two standard errors of the draws there are.
    """
    lines = []
    for (_, name), found in drawn(pool, rows_of("white-noise", draws)).items():
        text = text_of(found)
        for gas in ("ch4", "h2o"):
            for kind, what in (
                ("noise", "of the noise, truth seen through the kernel"),
                ("total", "of the total error, truth itself"),
            ):
                mean, one, two = coverage(found, gas, kind)
                label = f"{name}, {gas}, {what}"
                # the total has what is right here: it may cover more
                most = (1.0, 1.0) if kind == "total" else (0.71, 0.965)
                more, far = scatter(found), scatter(found, 0.955)
                room = 0.05 + 2.0 / np.sqrt(INDEPENDENT * len(found))
                lines += [
                    Line(f"{label}: mean z", f"< {room:.2f}", f"{mean:+.3f}",
                         abs(mean) < room, text),
                    within(f"{label}: within 1 sigma", one, 0.66 - more,
                           most[0] + more, text),
                    within(f"{label}: within 2 sigma", two, 0.945 - far,
                           most[1] + far, text),
                ]  # fmt: skip
        bias = np.array([one["bias"] for one in found])
        stated = np.array([one["total"] for one in found])
        noise = np.array([one["noise"] for one in found])
        layer = share(found, lambda one: z_of(one) < 1.0)
        lines += [
            Line(f"{name}: layer of methane, mean and scatter, pptv", "",
                 f"{bias.mean():+.2f}; {bias.std():.2f}", None, text),
            Line(f"{name}: its noise error; total error, pptv",
                 "total <= 10" if name == "order 136" else "",
                 f"{noise.mean():.2f}; {stated.mean():.2f}",
                 stated.mean() <= 10.0 if name == "order 136" else None, text),
            Line(f"{name}: within 1 total error", "", f"{layer:.1%}", None, text),
        ]  # fmt: skip
        levels = sum(one["detected"] for one in found)
        # levels of which a detection may be: nearly all of 0-100 km
        lines += [
            at_most(f"{name}: severe flags", share(found, lambda one: one["severe"]),
                    0.01, text),
            at_most(f"{name}: products with a false detection",
                    share(found, false_detection), 0.01, text),
            at_most(f"{name}: falsely detected levels of 100 a product",
                    levels / (100.0 * len(found)), 0.001, text),
        ]  # fmt: skip
    return lines


def kinds_of_noise(pool, draws):
    """Noise that is not what the file says.

    Parts within one error by the noise as it was found, levels against the truth seen
    through the kernel; limits are wider by two standard errors of the draws there are.
    """
    keys = rows_of("noise", max(draws // 25, 1) if draws else 0)
    lines = []
    for (_, name), found in drawn(pool, keys).items():
        text = text_of(found)
        layer = share(found, lambda one: abs(one["bias"]) < one["noise"])
        for what, value, room in (
            ("CH4 levels", coverage(found, "ch4", "noise")[1], scatter(found)),
            ("H2O levels", coverage(found, "h2o", "noise")[1], scatter(found)),
            ("layer", layer, scatter(found, levels=1)),
        ):
            label = f"{name}: {what} within 1 sigma"
            lines.append(within(label, value, 0.62 - room, 0.84 + room, text))
        lines.append(counted(name, found, text))
    return lines


def counted(name, found, text):
    """Line of what is wrong without warning, and of the flags."""
    wrong = sum(map(unwarned, found))
    value = f"{wrong}; {flags_of(found)}"
    return Line(f"{name}: wrong without warning; flags, %", "0", value, not wrong, text)


def reference_air(pool, draws):
    """Reference atmosphere, over seasons and latitudes.

    The air is off the reference by what that states, drawn at random: an offset of 6 K
    and a wave of 8 K (1 sigma), pressure by 10 %.
    """
    keys = rows_of("reference-atmosphere", max(draws // 33, 1) if draws else 0)
    lines = []
    for (_, name), found in drawn(pool, keys).items():
        text = text_of(found)
        for gas in found[0]["gases"]:
            two = coverage(found, gas, "total")[2]
            lines.append(within(f"{name}: {gas} within 2 sigma", two, 0.9, 1.0, text))
        if "bias" in found[0]:
            lines.append(counted(name, found, text))
    return lines


def sample_on_reference(order, folder):
    """Figures of one sample of the independent simulator."""
    sys.path.append(str(ROOT / "tests"))
    import samples

    level1, truth = samples.sample(order)
    setup = samples.setup_of(order, folder).replace(systematics={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return figures(tgo.retrieve(level1, setup), truth)


def samples_on_reference(pool, _draws):
    """Samples of the independent simulator, on the reference atmosphere."""
    sys.path.append(str(ROOT / "tests"))
    import samples

    if not (samples.SAMPLES.is_dir() and samples.LISTS.is_dir()):
        return [Line("samples are not at hand: not run", "", "", None, "")]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for order in samples.CASES:
            found = pool.submit(sample_on_reference, order, folder).result()
            for gas in found["gases"]:
                two = coverage([found], gas, "total")[2]
                what = f"sample of order {order}: {gas} within 2 sigma"
                lines.append(within(what, two, 0.9, 1.0, "1"))
    return lines


def everything_mixed(pool, draws):
    """Everything mixed, each by what is published of it."""
    lines = []
    for (_, name), found in drawn(pool, rows_of("everything-mixed", draws)).items():
        text = text_of(found)
        kept = [one for one in found if not one["severe"]]
        covered = share(kept, lambda one: z_of(one) < 2.0)
        right = [one for one in found if z_of(one) < 2.0 and not false_detection(one)]
        lines += [
            Line(f"{name}: with a severe flag", "", f"{1 - len(kept) / len(found):.1%}",
                 None, text),
            within(f"{name}, without: layer within 2 total errors", covered, 0.93, 1.0,
                   text),
            Line(f"{name}: wrong without warning", "0", f"{sum(map(unwarned, found))}",
                 not any(map(unwarned, found)), text),
            Line(f"{name}: severe flags of those that are right", "",
                 f"{share(right, lambda one: one['severe']):.1%}", None, text),
            Line(f"{name}: flags, %", "", flags_of(found), None, text),
        ]  # fmt: skip
        for gas in ("ch4", "h2o"):
            two = coverage(kept, gas, "total")[2]
            what = f"{name}, without: {gas} at levels within 2 total errors"
            lines.append(within(what, two, 0.93, 1.0, text))
    return lines


def timed():
    """Core-seconds from product to file, with and without the sources, in turn."""
    setup = tgo.load_setup("so_136")
    plain = setup.replace(systematics={"in_fit": False, "enabled": False})
    found = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        label = tgo.simulate_product(folder, order=136, ch4=0.0, n_orders=8, seed=1)
        air = tgo.reference_atmosphere()
        for number, (name, one) in itertools.product(
            range(4), (("with", setup), ("without", plain))
        ):
            begun = time.process_time()
            result = tgo.retrieve(tgo.open_product(label), one, air)
            result.to_netcdf(f"{folder}/{name}{number}.nc", engine="netcdf4")
            found[name].append(time.process_time() - begun)
    # the first round compiles
    return {name: min(values[1:]) for name, values in found.items()}


def cost(pool, _draws):
    """Cost of the sources in the fit, from product to file."""
    found = pool.submit(timed).result()
    ratio = found["with"] / found["without"]
    value = f"{ratio:.2f} ({found['with']:.2f} s, {found['without']:.2f} s)"
    what = "core-seconds with the sources in the fit, over those without"
    return [Line(what, "<= 2.5", value, ratio <= 2.5, "3")]


PARTS = {
    "white-noise": white_noise,
    TABLE: wrong_instrument,
    "noise": kinds_of_noise,
    "reference-atmosphere": reference_air,
    "samples-on-reference": samples_on_reference,
    "everything-mixed": everything_mixed,
    "cost": cost,
}


def main(number, words):
    """Run rows by hand and print their lines."""
    keys = {
        key: number for key in ROWS
        if not words or any(word in f"{key[0]} {key[1]}" for word in words)
    }  # fmt: skip
    workers = int(os.environ.get("WORKERS", "1"))
    with ProcessPoolExecutor(workers) as pool:
        found = drawn(pool, keys)
    for key, several in found.items():
        if "bias" in several[0]:
            line = line_of(ROWS[key], several)
            more = "; ".join(f"{k}: {v}" for k, v in line.more.items())
            word = "ok" if line.passed else "NO"
            print(f"{word} {key[0]}: {line.what} [{line.draws}]: {line.value}; {more}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
