"""One real-size SO product, read to level-2 file, in a warm process.

800 rows of order 134 with the shipped setup's neighbouring orders; water, methane and,
where the line lists lie beside the project, HDO. Core-seconds of one thread, split into
read, forward (path geometry, operators and fields), solve (everything else of the fit)
and write; the peak memory of a new process that retrieves the product twice.
``TGO_BENCH_TABLE`` names a table file that is made if it is not there and used again.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from shared_folder import LISTS

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.spectroscopy.tables import write_table

WINDOW_CM1 = (2760.0, 3265.0)
"""Orders 124 to 144: 134 with ten neighbours."""

TURNS = 6

WORKER = """
import pathlib, sys
import tgo_spectra as tgo

product, table, gases, method, out = sys.argv[1:]
setup = tgo.load_setup("so_134").replace(
    table=table, gases=tuple(gases.split()), method=method
)
for _ in range(2):
    tgo.write_level2(tgo.retrieve(tgo.open_product(product).load(), setup), out)
# not ru_maxrss, which a new process takes over from the one that started it
status = pathlib.Path("/proc/self/status").read_text().split()
print(float(status[status.index("VmHWM:") + 1]) / 1024.0)
"""


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Shipped setup; with HDO from a table built here where the lists are."""
    plain = tgo.load_setup("so_134")
    if not LISTS.is_dir():
        return plain
    named = os.environ.get("TGO_BENCH_TABLE")
    path = pathlib.Path(named or tmp_path_factory.mktemp("table") / "bench.nc")
    if not path.exists():
        lists = {"h2o": "h2o_iso123*", "ch4": "ch4_iso1_nu3*", "hdo": "h2o_alliso*"}
        lines = {
            gas: (
                tgo.read_line_list(next(LISTS.glob(name))),
                ("air", 1.3 if gas == "ch4" else 1.7),
            )
            for gas, name in lists.items()
        }
        write_table(tgo.build_table(lines, WINDOW_CM1, band="bench"), path)
    return plain.replace(table=str(path), gases=("h2o", "ch4", "hdo"))


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """800 spectra of order 134."""
    return tgo.simulate_product(
        tmp_path_factory.mktemp("product"),
        order=134,
        ch4=1e-9,
        seed=3,
        vertical_speed_km_s=0.6,
        seconds=200,
    )


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


@pytest.mark.parametrize("method", ["oe"])
def test_real_size_product(setup, product, tmp_path, monkeypatch, method):
    setup = setup.replace(method=method)
    clock = Clock()
    for module, name in (
        (forward, "limb"),
        (forward, "pixel_fields"),
        (forward, "pixel_values"),
        (operator, "build_operator"),
    ):
        monkeypatch.setattr(module, name, clock.wrap(getattr(module, name)))
    rows = []
    for turn in range(TURNS):
        clock.seconds = 0.0
        t0 = time.process_time()
        level1 = tgo.open_product(product).load()
        t1 = time.process_time()
        level2 = tgo.retrieve(level1, setup)
        t2 = time.process_time()
        tgo.write_level2(level2, tmp_path / f"{turn}.nc")
        t3 = time.process_time()
        rows.append([t1 - t0, clock.seconds, t2 - t1 - clock.seconds, t3 - t2, t3 - t0])
    median = np.median(rows[1:], axis=0)
    worker = [product, setup.table, " ".join(setup.gases), method, tmp_path / "a.nc"]
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *map(str, worker)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    print(
        f"\n{method}: {level1.sizes['spectrum']} rows, {' '.join(setup.gases)}, "
        f"{setup.instrument.n_orders} neighbouring orders, "
        f"{level2.sizes['altitude']} levels, {int(level2.iterations)} iterations: "
        f"read {median[0]:.3f}, forward {median[1]:.3f}, solve {median[2]:.3f}, "
        f"write {median[3]:.3f}, in all {median[4]:.3f} core-s; "
        f"peak of a process {float(done.stdout.split()[-1]):.0f} MB"
    )
    assert bool(level2.converged)
