"""One real-size SO product, read to level-2 file, in a warm process.

800 rows of order 134; water, methane and, where the line lists lie beside the
project, HDO; split into read, forward (operators and fields), solve (everything else
of the fit) and write. Core-seconds of one thread; peak memory of the process.
"""

from __future__ import annotations

import pathlib
import resource
import time

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.operators import tabulated as operator
from tgo_spectra.spectroscopy.tables import write_table

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "linelists"


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Shipped setup; with HDO from a table built here where the lists are."""
    plain = tgo.load_setup("so_134")
    if not SHARED.is_dir():
        return plain
    lines = {
        "h2o": (tgo.read_line_list(next(SHARED.glob("h2o_iso123*"))), ("air", 1.7)),
        "ch4": (tgo.read_line_list(next(SHARED.glob("ch4_iso1_nu3*"))), ("air", 1.3)),
        "hdo": (tgo.read_line_list(next(SHARED.glob("h2o_alliso*"))), ("air", 1.7)),
    }
    table = tgo.build_table(lines, (2872.0, 3220.0), band="bench")
    path = write_table(table, tmp_path_factory.mktemp("table") / "bench.nc")
    return plain.replace(table=str(path), gases=("h2o", "ch4", "hdo"))


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


def test_real_size_product(setup, tmp_path, monkeypatch):
    path = tgo.simulate_product(
        tmp_path, order=134, ch4=1e-9, seed=3, vertical_speed_km_s=0.6, seconds=200
    )
    clock = Clock()
    for module, name in (
        (forward, "limb"),
        (forward, "pixel_fields"),
        (forward, "pixel_values"),
        (operator, "build_operator"),
    ):
        monkeypatch.setattr(module, name, clock.wrap(getattr(module, name)))
    rows = []
    for turn in range(6):
        clock.seconds = 0.0
        t0 = time.process_time()
        level1 = tgo.open_product(path).load()
        t1 = time.process_time()
        level2 = tgo.retrieve(level1, setup)
        t2 = time.process_time()
        tgo.write_level2(level2, tmp_path / f"{turn}.nc")
        t3 = time.process_time()
        rows.append([t1 - t0, clock.seconds, t2 - t1 - clock.seconds, t3 - t2, t3 - t0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    median = np.median(rows[1:], axis=0)
    print(
        f"\n{level1.sizes['spectrum']} rows, {' '.join(setup.gases)}, "
        f"{level2.sizes['altitude']} levels, {int(level2.iterations)} iterations: "
        f"read {median[0]:.3f}, forward {median[1]:.3f}, solve {median[2]:.3f}, "
        f"write {median[3]:.3f}, in all {median[4]:.3f} core-s; "
        f"peak of the process {peak:.0f} MB (with building the table)"
    )
    assert bool(level2.converged)
