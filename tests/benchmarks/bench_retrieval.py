"""Real-size products of each channel, read, fitted and written in a warm process.

Core-seconds of one thread, medians of some turns: an SO product of 800 rows of order
134 with the shipped setup, without known sources of error, and with two gases alone,
split into read, forward (path geometry, operators and fields), solve (everything else
of the fit) and write; slant columns of 492 rows; LNO and UVIS by the spectrum; modules
that one product goes through. The peak memory is that of a new process that fits the
product twice.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import peers
import pytest
import touched_modules

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.simulate import nadir, uvis

TURNS = 5
CASES = ("two gases", "plain", "shipped")
TWO = ("h2o", "ch4")

WORKER = """
import pathlib, sys
import tgo_spectra as tgo

product, setup, out = sys.argv[1:]
for _ in range(2):
    tgo.write_level2(tgo.retrieve(tgo.open_product(product).load(), setup), out)
# not ru_maxrss, which a new process takes over from the one that started it
status = pathlib.Path("/proc/self/status").read_text().split()
print(float(status[status.index("VmHWM:") + 1]) / 1024.0)
"""


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """800 spectra of order 134, with every absorber and with two gases alone."""
    options = {"order": 134, "ch4": 1e-9, "seed": 3, "vertical_speed_km_s": 0.6}
    made = {
        gases: tgo.simulate_product(
            tmp_path_factory.mktemp("product"), gases=gases, seconds=200, **options
        )
        for gases in (None, TWO)
    }
    return {case: made[TWO if case == "two gases" else None] for case in CASES}


class Clock:
    """Sums the processor time spent in wrapped functions (outermost calls)."""

    def __init__(self):
        self.seconds, self.depth = 0.0, 0

    def wrap(self, function):
        def timed(*args, **options):
            self.depth += 1
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.process_time() - start

        return timed


def setup_of(case):
    """Shipped, or without sources of error (in the fit or beside it), or less gases."""
    setup = tgo.load_setup("so_134")
    if case != "shipped":
        setup = setup.replace(systematics={"enabled": False, "in_fit": False})
    if case == "two gases":
        setup = setup.replace(
            gases=TWO,
            prior={gas: setup.prior[gas] for gas in TWO},
            interferents_absent=(*setup.interferents_absent, "hdo", "co2"),
        )
    return setup


def test_so_profiles(products, tmp_path, monkeypatch):
    clock = Clock()
    for module, name in (
        (forward, "limb"),
        (forward, "pixel_fields"),
        (forward, "pixel_values"),
        (operator, "build_operator"),
    ):
        monkeypatch.setattr(module, name, clock.wrap(getattr(module, name)))
    rows = {case: [] for case in CASES}
    for turn in range(TURNS + 1):
        for case in CASES:
            setup = setup_of(case)
            clock.seconds = 0.0
            t0 = time.process_time()
            level1 = tgo.open_product(products[case]).load()
            t1 = time.process_time()
            level2 = tgo.retrieve(level1, setup)
            t2 = time.process_time()
            tgo.write_level2(level2, tmp_path / f"{turn}.nc")
            t3 = time.process_time()
            fit = t2 - t1 - clock.seconds
            rows[case].append([t1 - t0, clock.seconds, fit, t3 - t2, t3 - t0])
            assert bool(level2.converged)
    product = products["shipped"]
    worker = [sys.executable, "-c", WORKER, product, "so_134", tmp_path / "a.nc"]
    done = subprocess.run(
        list(map(str, worker)), capture_output=True, text=True, check=True, timeout=600
    )
    median = {case: np.median(rows[case][1:], axis=0) for case in CASES}
    peak = float(done.stdout.split()[-1])
    for case in CASES:
        read, fields, solve, write, whole = median[case]
        ours(
            f"SO product, {level1.sizes['spectrum']} rows",
            case,
            f"{whole:.3f}",
            f"{whole / median['plain'][-1]:.2f} of plain",
            f"{peak:.0f}" if case == "shipped" else "",
        )
        peers.NOTES.append(
            f"SO, {case}: read {read:.3f}, forward {fields:.3f}, solve {solve:.3f}, "
            f"write {write:.3f} core-s"
        )
    peers.NOTES.append(
        f"SO: light of {setup_of('plain').instrument.n_orders} orders on either side; "
        "plain: without known sources of error; two gases: without HDO and CO2, too"
    )


def ours(work, case, cpu, ratio="", memory=""):
    """Keep a row of the table: of our own, in core-seconds."""
    peers.row(work, f"tgo, {case}", "", cpu, ratio, "", memory)


def per_spectrum(level1, setup):
    """Core-seconds of a fit of a whole product, median of warm turns."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        tgo.retrieve(level1, setup).load()
        spent.append(time.process_time() - start)
    return float(np.median(spent[1:]))


def test_slant_columns(tmp_path):
    path = tgo.simulate_product(
        tmp_path, order=134, ch4=1e-9, seed=3, vertical_speed_km_s=1.0, seconds=123
    )
    level1 = tgo.open_product(path).load()
    spent = {}
    for case in ("shipped", "plain"):
        setup = setup_of(case).replace(method="slant")
        spent[case] = per_spectrum(level1, setup)
    for case, seconds in spent.items():
        work = f"SO slant columns, {level1.sizes['spectrum']} rows"
        ours(work, case, f"{seconds:.3f}", f"{seconds / spent['plain']:.2f} of plain")


def test_single_spectra(tmp_path):
    level1, _ = nadir.simulate_nadir_level1(order=168, n_spectra=100)
    spent = per_spectrum(level1, tgo.load_setup("lno_167_169_h2o"))
    ours("LNO, a spectrum", "shipped", f"{spent / level1.sizes['spectrum']:.4f}")
    data = uvis.synthetic_ozone_cross_section()
    table = data.cross_section.to_pandas()
    table.columns = [f"sigma_{kelvin:.0f}K" for kelvin in table.columns]
    table.to_csv(tmp_path / "ozone.csv", float_format="%.7g")
    setup = tmp_path / "ozone.toml"
    setup.write_text(
        'kind = "ozone"\nname = "bench"\ncross_section = "ozone.csv"\n'
        'medium = "vacuum"\n'
    )
    path = uvis.simulate_uvis_product(tmp_path, data, ozone=2e-7)
    level1 = tgo.open_product(path).load()
    for method in ("oe", "slant"):
        spent = per_spectrum(level1, tgo.load_setup(setup).replace(method=method))
        rows = level1.sizes["spectrum"]
        ours(f"UVIS, a spectrum of {rows}", method, f"{spent / rows:.4f}")


def test_modules_of_one_product():
    peers.NOTES.append(f"modules of one SO product: {touched_modules.count()[-1]}")
