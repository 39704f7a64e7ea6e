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

import peers
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
    for name, (cpu, wall, peak, _) in found.items():
        ratios = f"cpu {cpu / four:.2f} of 4 sums, {cpu / every:.2f} of 27"
        work = f"{n} samples into {CELLS} cells"
        peers.row(work, name, f"{wall:.2f}", f"{cpu:.2f}", ratios, "", f"{peak:.0f}")
    cpu, _, peak, size = found["ours, 27 sums and 3 extremes"]
    assert cpu < 1.5 * every
    assert peak < 2.0 * size


FILES = 2000

_WORK = """
import resource, sys, time
from tgo_spectra.cli import main
start = time.perf_counter()
code = main(sys.argv[1:])
wall = time.perf_counter() - start
cpu, peak = 0.0, 0
for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
    used = resource.getrusage(who)
    cpu += used.ru_utime + used.ru_stime
    peak = max(peak, used.ru_maxrss)
print()
print(code, cpu, wall, peak / 1024)
"""


def copies(files: list[pathlib.Path], folder: pathlib.Path, n: int) -> None:
    """Write level-2 files that differ in LID, place and season from those of `files`.

    Their content hash stays that of the original; a map does not read it.
    """
    import h5py
    import numpy as np

    from tgo_spectra.files.storage import _SEALED, _seal

    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        path = folder / f"{k:05d}.nc"
        path.write_bytes(files[k % len(files)].read_bytes()[:-_SEALED])
        with h5py.File(path, "r+") as file:
            lid = file.attrs["product_lid"].decode()
            file.attrs["product_lid"] = np.bytes_(f"{lid}-{k:05d}")
            file["latitude"][:] += rng.uniform(-80.0, 80.0)
            file["solar_longitude"][()] = rng.uniform(0.0, 360.0)
            file["longitude"][:] = rng.uniform(-180.0, 180.0)
        _seal(path)


@pytest.fixture(scope="module")
def level2(tmp_path_factory) -> pathlib.Path:
    import tgo_spectra as tgo

    folder = tmp_path_factory.mktemp("level2")
    files = []
    for order in (134, 136):
        path = tgo.simulate_product(folder / "product", order=order, seed=order)
        fit = tgo.retrieve(tgo.open_product(path).load(), tgo.load_setup(f"so_{order}"))
        files.append(tgo.write_level2(fit, folder / f"{order}.nc"))
    copies(files, folder / "many", FILES)
    return folder / "many"


def test_files_to_a_map(level2, tmp_path):
    """Profiles of four gases to a sparse map, and what whole files would take."""
    import time

    from tgo_spectra.files.netcdf import open_verified

    some = sorted(level2.parent.glob("*.nc"))
    open_verified(some[0])
    start = time.process_time()
    for _ in range(10):
        for path in some:
            open_verified(path)
    whole = (time.process_time() - start) / (10 * len(some))
    grid = "solar_longitude=0:360:5,altitude=0:100:2.5,latitude=-90:90:5"
    n, found = len(list(level2.glob("*.nc"))), {}
    for workers in (1, 2):
        given = ["map", str(level2), "--grid", grid, "--form", "sparse"]
        given += ["--workers", str(workers), "--out", str(tmp_path / f"{workers}.nc")]
        done = subprocess.run(
            [sys.executable, "-c", _WORK, *given],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        code, *found[workers] = map(float, done.stdout.splitlines()[-1].split())
        assert code == 0
    for workers, (cpu, wall, peak) in found.items():
        work, system = f"{n} level-2 files to a map", f"tgo, {workers} workers"
        ratio = f"{wall / found[1][1]:.2f} / {cpu / found[1][0]:.2f}"
        peers.row(work, system, f"{wall:.1f}", f"{cpu:.1f}", ratio, "", f"{peak:.0f}")
    peers.NOTES.append(f"a level-2 file read as a whole: {1e3 * whole:.1f} core-ms")
    assert found[1][0] / n < 0.5 * whole
