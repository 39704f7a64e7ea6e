"""Reading one SO product of real size against pds4_tools and pdr, in one run.

900 spectra, 10.9 MB: every variable of the product is read and compared with what the
peers give. Two products take turns, as in an archive: the labels' field lists are the
same bytes, everything else differs. Medians of alternating rounds.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import peers
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.simulate.layout import BOOLEAN, LAYOUTS, TIME
from tgo_spectra.simulate.product import write_product

ROWS = 900
ROUNDS = 15
FILL = -999.0


def _rows(seed: int) -> xr.Dataset:
    """Random rows of all fields of an SO occultation."""
    rng = np.random.default_rng(seed)
    data: dict[str, object] = {}
    sizes = {0: (), 1: (2,), 2: (5, 2)}
    skip = ("point_x", "point_y", "bin_top", "bin_height")
    for column in LAYOUTS["so", True].columns:
        if column.data_type in (TIME, BOOLEAN) or column.variable in skip:
            continue
        tail = sizes[len(column.index)]
        dims = {0: (), 1: ("edge",), 2: ("point", "edge")}[len(tail)]
        values = rng.uniform(10.0, 90.0, (ROWS, *tail))
        data[column.variable] = (("spectrum", *dims), values)
    begin = np.datetime64("2019-02-13T12:08:58.250", "ns") + np.timedelta64(seed, "h")
    times = begin + (np.arange(ROWS) * 300).astype("m8[ms]")
    stop = times + np.timedelta64(250, "ms")
    data["time_bounds"] = (("spectrum", "edge"), np.stack([times, stop], 1))
    data["order"], data["aotf_frequency"] = 134, 17859.0
    data["instrument_temperature"] = -3.2
    data["bin_start"] = ("spectrum", 120 + 4 * (np.arange(ROWS) % 4))
    data["bin_end"] = ("spectrum", 123 + 4 * (np.arange(ROWS) % 4))
    data["wavenumber"] = ("pixel", (3000 + 0.08 * np.arange(320)).round(3))
    for name in ("transmittance", "transmittance_error"):
        values = rng.normal(0.5, 0.3, (ROWS, 320))
        data[name] = (("spectrum", "pixel"), values)
    attrs = {"channel": "so", "observation_type": "egress", "altitude_part": "all"}
    return xr.Dataset(data, attrs=attrs)


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> list[pathlib.Path]:
    paths = []
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp(f"product{seed}")
        paths.append(write_product(folder, _rows(seed)))
    return paths


def _ours(path: pathlib.Path, *, verify_md5: bool) -> xr.Dataset:
    return tgo.open_product(path, verify_md5=verify_md5).load()


def _pds4_tools(path: pathlib.Path) -> dict[str, np.ndarray]:
    import pds4_tools

    logging.disable(logging.CRITICAL)
    structure = pds4_tools.read(str(path), quiet=True)[0]
    found = {name: structure[name] for name in structure.data.dtype.names}
    logging.disable(logging.NOTSET)
    return found


def _pdr(path: pathlib.Path) -> object:
    import pdr

    data = pdr.read(str(path))
    (name,) = (key for key in data.keys() if key not in ("label", "metadata"))  # noqa: SIM118
    return data[name]


def _columns(ds: xr.Dataset) -> dict[str, np.ndarray]:
    """Our values under the names that the fields have in the label."""
    found = {}
    for variable in ds.variables.values():
        text = variable.attrs.get("label_name", "")
        values = variable.values
        if " ... " in text:  # such as LonStart0 ... LonEnd4: points, then edges
            stem = text.split("0 ... ")[0]
            base, edged = stem.removesuffix("Start"), stem.endswith("Start")
            for k in range(values.shape[1]):
                if edged:
                    found[f"{base}Start{k}"] = values[:, k, 0]
                    found[f"{base}End{k}"] = values[:, k, 1]
                else:
                    found[f"{base}{k}"] = values[:, k]
        elif ", " in text:
            for j, name in enumerate(text.split(", ")):
                found[name] = values[:, j]
        elif text:
            found[text.split(" / ")[0]] = values
    return found


def _check_equal(ds: xr.Dataset, theirs: dict[str, np.ndarray]) -> int:
    """Compare all fields with those of pds4_tools; return how many."""
    ours = _columns(ds)
    for name, values in theirs.items():
        mine = ours[name.split(",")[0]]  # of a group's field: the group's name
        their = np.asarray(values)
        if mine.dtype.kind == "M":
            text = np.char.rstrip(np.char.strip(their.astype(str)), "Z")
            their = text.astype("datetime64[ns]")
        elif mine.dtype.kind == "f":
            their = np.where(their == FILL, np.nan, their.astype(float))
        mine = np.broadcast_to(mine, their.shape)  # one value, or one axis, a file
        np.testing.assert_array_equal(mine, their, err_msg=name)
    return len(theirs)


def test_all_variables_against_peers(products):
    have_pdr = importlib.util.find_spec("pdr") is not None
    jobs = {
        "ours, every check": lambda p: _ours(p, verify_md5=True),
        "ours, every check but MD5": lambda p: _ours(p, verify_md5=False),
        "pds4_tools": _pds4_tools,
    }
    if have_pdr:
        jobs["pdr"] = _pdr
    for path in products:
        fields = _check_equal(_ours(path, verify_md5=True), _pds4_tools(path))
    assert fields == 108
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for k in range(ROUNDS):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            start = time.perf_counter()
            jobs[name](products[k % 2])
            seconds[name].append(time.perf_counter() - start)
    peer = median(seconds["pds4_tools"])
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(seconds["pds4_tools"], values, strict=True)]
        peers.row(
            f"all {fields} fields of {ROWS} spectra, equal values",
            name,
            f"{median(values):.4f}",
            "",
            f"1/{peer / median(values):.1f} ({min(ratios):.1f}-{max(ratios):.1f})",
            "",
            "",
        )
    assert peer > median(seconds["ours, every check"])


def test_one_variable(products):
    """Lazily, against the raw read of the file."""
    table = products[0].with_suffix(".tab")
    raw, first, again = [], [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        table.read_bytes()
        raw.append(time.perf_counter() - start)
        start = time.perf_counter()
        ds = tgo.open_product(products[0], verify_md5=False)
        opened = time.perf_counter()
        ds["transmittance"].load()
        stop = time.perf_counter()
        first.append(stop - start)
        again.append(stop - opened)
    print(
        f"\nTransmittance alone: raw read {1e3 * median(raw):.1f} ms; with opening "
        f"{1e3 * median(first):.1f} ms; of an open product {1e3 * median(again):.1f} ms"
    )


@pytest.mark.parametrize("verify_md5", [False, True])
def test_two_threads(products, verify_md5):
    """Two files in two threads against one after the other.

    With the MD5 the single thread has a second one beside it already.
    """
    alone, both = [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for path in products:
                _ours(path, verify_md5=verify_md5)
            alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            list(pool.map(lambda p: _ours(p, verify_md5=verify_md5), products))
            both.append(time.perf_counter() - start)
    ratio = median(alone) / median(both)
    print(f"\nTwo files in two threads, MD5 {verify_md5}: {ratio:.2f}x one thread")


_PEAK = """
import resource, sys
import numpy as np
import tgo_spectra as tgo
from tgo_spectra import readers
from tgo_spectra.readers import nomad, backend
from tgo_spectra.pds4 import numbers
def peak():
    text = open("/proc/self/status").read()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024
small, path = sys.argv[1:]
with tgo.open_product(small) as ds:
    ds.load()
before = peak()
total = 0.0
with tgo.open_product(path) as ds:
    n = ds.sizes["spectrum"]
    for start in range(0, n, 100):
        block = ds.isel(spectrum=slice(start, start + 100)).load()
        total += float(block["transmittance"].sum())
print(peak() - before)
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="Linux")
def test_peak_memory_in_blocks(products, tmp_path):
    """Peak above the imported and warmed package, in a process of its own."""
    small = write_product(tmp_path, _rows(3).isel(spectrum=slice(0, 3)))
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(small), str(products[0])],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    print(f"\nPeak of reading in blocks of 100 rows: {float(done.stdout):.1f} MiB")
