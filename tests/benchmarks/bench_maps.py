"""Samples summed into the cells of a map, and level-2 files to a map, in one run.

7.46 million cells of longitude, latitude, season and altitude, samples at random: the
worst case, since each visits a place of memory of its own. Every row runs in a process
of its own, one thread unless it says more; seconds are those of the processor, so that
a busy machine does not change them. Memory is the peak above the inputs.

``pytest tests/benchmarks/bench_maps.py -s``; xarray with flox takes part where flox is
installed, at a million samples alone: at ten million it needs a minute and 6 GB.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

CELLS = 72 * 40 * 36 * 72
ROUNDS = 3

_JOB = """
import json, resource, sys, time
import numpy as np
job, n, cells, rounds = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
cell = rng.integers(0, cells, n)
if job.startswith("ours"):
    table = rng.random((n, 18))
else:
    x, w = rng.random(n), rng.random(n)

def bincount(times):
    def run():
        kinds = (None, w, w * x, w * x * x)
        found = [np.bincount(cell, kinds[k % 4], cells) for k in range(times)]
        return sum(one.nbytes for one in found)
    return run

def ours(threads):
    import numba
    from tgo_spectra.maps.sums import Samples, summed
    numba.set_num_threads(threads)
    def run():
        found = summed([Samples(cell, table)])
        return found.table.nbytes + found.cell.nbytes
    return run

def numba_loop(_):
    import numba
    @numba.njit
    def loop(cell, x, w, out):
        for i in range(cell.size):
            o, wx = out[cell[i]], w[i] * x[i]
            o[0] += 1.0
            o[1] += w[i]
            o[2] += wx
            o[3] += wx * x[i]
    def run():
        out = np.zeros((cells, 4))
        loop(cell, x, w, out)
        return out.nbytes
    return run

def flox(_):
    import xarray as xr
    from flox.xarray import xarray_reduce
    ds = xr.Dataset({"n": ("s", np.ones(n)), "w": ("s", w), "wx": ("s", w * x),
                     "wxx": ("s", w * x * x)})
    by = xr.DataArray(cell, dims="s", name="cell")
    def run():
        found = xarray_reduce(ds, by, func="sum", expected_groups=np.arange(cells))
        return found.nbytes
    return run

name, _, number = job.partition(":")
run = {"bincount": bincount, "ours": ours, "numba": numba_loop, "flox": flox}[name](
    int(number or 0))
def peak():
    text = open("/proc/self/status").read()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024
before, spent, wall = peak(), [], []
for _ in range(rounds):  # the first compiles
    start, begun = time.process_time(), time.perf_counter()
    size = run()
    spent.append(time.process_time() - start)
    wall.append(time.perf_counter() - begun)
print(json.dumps([min(spent), min(wall), peak() - before, size / 2**20]))
"""


def measured(job: str, n: int, rounds: int = ROUNDS) -> tuple[float, ...]:
    """Processor seconds, seconds, peak memory and size of the result in MB."""
    done = subprocess.run(
        [sys.executable, "-c", _JOB, job, str(n), str(CELLS), str(rounds)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="Linux")
@pytest.mark.parametrize("n", [1_000_000, 10_000_000])
def test_sums_against_peers(n):
    jobs = {
        "bincount, 4 sums": "bincount:4",
        "bincount, 27 sums": "bincount:27",
        "numba loop, 4 sums": "numba",
        "ours, 27 sums and 3 extremes": "ours:1",
        "the same, 2 threads": "ours:2",
    }
    if importlib.util.find_spec("flox") and n <= 1_000_000:
        jobs["flox, 4 sums"] = "flox"
    found = {name: measured(job, n) for name, job in jobs.items()}
    four, every = found["bincount, 4 sums"][0], found["bincount, 27 sums"][0]
    print(f"\n{n} samples, {CELLS} cells:")
    heads = ("CPU s", "wall s", "MB", "result", "/ 4", "/ 27")
    print(" " * 30 + "".join(f"{head:>8}" for head in heads))
    for name, (cpu, wall, peak, size) in found.items():
        print(
            f"{name:30}{cpu:8.2f}{wall:8.2f}{peak:8.0f}{size:8.0f}"
            f"{cpu / four:8.2f}{cpu / every:8.2f}"
        )
    cpu, _, peak, size = found["ours, 27 sums and 3 extremes"]
    assert cpu < 1.5 * every
    assert peak < 2.0 * size
