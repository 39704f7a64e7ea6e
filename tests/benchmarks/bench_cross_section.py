"""Cross-sections of 50 Mars layers against HAPI and RADIS: ratios of one run.

CH4, the lines within 25 cm-1 of 3000-3100 cm-1, step 0.001 cm-1, air widths in all
(neither peer has CO2 widths for methane), two threads allowed to everyone. We do all 50
layers in a round; HAPI one and RADIS five of them, which differ from round to round;
times are per layer. Peers keep their defaults, except for the reach of lines, 25 cm-1;
HAPI also with its own reach, 50 half-widths, which is other and less work.
Errors are to a sum of every line at every point with SciPy's Faddeeva function.
"""

from __future__ import annotations

import gzip

import numpy as np
import peers
import pytest
from scipy.special import wofz

import tgo_spectra as tgo
from tgo_spectra.spectroscopy.absorption import line_arrays, line_parameters

LOW, HIGH, STEP, WING = 3000.0, 3100.0, 1e-3, 25.0
LAYERS, THREADS, ROUNDS = 50, 2, 3
# the layer whose values are compared: 10 km, about 200 Pa
CHECKED = 5
# weak lines left out together add less than this part of the peak
NEGLIGIBLE = 1e-8


def reference(lines, nu, pressure, temperature):
    """Sum every line at every point."""
    chosen = line_arrays(lines, nu[0], nu[-1], "air", wing=WING)
    total = np.zeros(nu.size)
    for x0, doppler, lorentz, strength in zip(
        *line_parameters(chosen, pressure, temperature), strict=True
    ):
        unit = np.sqrt(np.log(2.0)) / doppler
        shape = wofz((nu - x0) * unit + 1j * lorentz * unit).real
        total += strength * unit / np.sqrt(np.pi) * shape
    return total


def largest_error(sigma, wanted):
    """Relative, where sigma exceeds 1e-3 of its peak."""
    strong = wanted > 1e-3 * wanted.max()
    return float(np.abs(sigma / wanted - 1.0)[strong].max())


@pytest.fixture(scope="module")
def work(tmp_path_factory, shared):
    source = next((shared / "linelists").glob("ch4_iso1_nu3*"))
    text = gzip.decompress(source.read_bytes()).decode("ascii").splitlines()
    kept = [r for r in text if LOW - WING <= float(r[3:15]) <= HIGH + WING]
    folder = tmp_path_factory.mktemp("lines")
    (folder / "ch4.par").write_text("\n".join(kept) + "\n", encoding="ascii")
    air = tgo.reference_atmosphere(np.linspace(0.0, 98.0, LAYERS))
    arrays = {
        "records": np.array(kept),
        "molecule": np.array("CH4"),
        "wavenumber": LOW + STEP * np.arange(round((HIGH - LOW) / STEP) + 1),
        "pressure": air.pressure.values,
        "temperature": air.temperature.values,
    }
    return tgo.read_line_list(folder / "ch4.par"), arrays


def plans():
    """Per system: the task, and what each round asks for."""
    everything = {"layers": list(range(LAYERS)), "threads": THREADS}
    fewer = everything | {"options": {"negligible": NEGLIGIBLE}}
    return {
        "tgo": ("tgo-cross-section", [everything] * ROUNDS),
        "tgo, negligible": ("tgo-cross-section", [fewer] * ROUNDS),
        "hapi": (
            "hapi-cross-section",
            [{"layers": [i], "wing_cm1": WING} for i in (25, 15, CHECKED)],
        ),
        "hapi, lines cut": (
            "hapi-cross-section",
            [{"layers": [i]} for i in (25, 15, CHECKED)],
        ),
        "radis": (
            "radis-cross-section",
            [{"layers": [i, i + 10, i + 20, i + 30, CHECKED]} for i in (7, 9, 11)],
        ),
    }


def test_cross_sections_of_fifty_layers(work, tmp_path):
    lines, arrays = work
    wanted_of = plans()
    workers, rounds = {}, {}
    for name, (task, asked) in wanted_of.items():
        try:
            workers[name] = peers.Worker(task, arrays, tmp_path, THREADS)
            # compiles, fills caches
            workers[name].round(**asked[0] | {"layers": [CHECKED]})
            rounds[name] = []
        except peers.Missing as reason:
            workers.pop(name, None)
            peers.NOTES.append(f"not compared: {reason}")
    for turn in range(ROUNDS):
        for name in list(workers):
            try:
                rounds[name].append(workers[name].round(**wanted_of[name][1][turn]))
            except peers.Missing as reason:
                del workers[name]
                peers.NOTES.append(f"not compared: {reason}")
    nu, p, t = (arrays[k] for k in ("wavenumber", "pressure", "temperature"))
    wanted = reference(lines, nu, p[CHECKED], t[CHECKED])
    errors, each = {}, {}
    for name, worker in workers.items():
        done = len(wanted_of[name][1][0]["layers"])
        each[name] = [
            {k: r[k] / done for k in ("wall", "cpu")} | {"mb": r["growth_mb"]}
            for r in rounds[name]
        ]
        sigma = worker.result()["sigma"]
        sigma = sigma[CHECKED] if done == LAYERS else sigma[-1]
        errors[name] = largest_error(sigma, wanted)
    own = each["tgo"]
    for name, found in each.items():
        ratios = [
            peers.middle(found, k) / peers.middle(own, k) for k in ("wall", "cpu")
        ]
        peers.row(
            f"CH4 layer, {lines.sizes['line']} lines, {nu.size} points",
            name,
            f"{peers.middle(found, 'wall'):.4f}",
            f"{peers.middle(found, 'cpu'):.4f}",
            f"{ratios[0]:.3g} / {ratios[1]:.3g}",
            f"{errors[name]:.1e}",
            f"{peers.middle(found, 'mb'):.0f}",
        )
    peers.NOTES.append(
        f"CH4: seconds per layer, {THREADS} threads allowed, median of {ROUNDS}"
        f" alternating rounds; ours {LAYERS} layers a round, RADIS 5, HAPI 1 (for"
        f" {LAYERS} layers, times {LAYERS}); lines cut: HAPI's own reach of 50"
        " half-widths, not the same work; negligible: lines left out that together"
        f" add less than {NEGLIGIBLE:g} of the peak; error: largest, relative to sums"
        f" with SciPy's wofz where sigma > 1e-3 of its peak, {p[CHECKED]:.0f} Pa"
        f" {t[CHECKED]:.0f} K; memory: growth in a round"
    )
    assert errors["tgo"] < 1e-4
    assert errors["tgo, negligible"] < 1e-4
