"""What a run costs beside its products: memory and time of the driver, two workers.

``python tests/validation/load.py [MANY]``: runs of 100 and MANY (10,000) products that
do nothing, each in a process of its own. ``python tests/validation/load.py real
[PRODUCTS] [ROUNDS]``: simulated products of SO, by one worker and by two in turns. One
line of JSON; exit code 1 where a promise is broken.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil

FEW, MOST_MEMORY, MOST_MS, LEAST_SCALING = 100, 1.10, 5.0, 1.85
WARM_UP = 1


def make(folder, number):
    """Write labels that hold no more than a name, as long as real ones."""
    for k in range(number):
        place = folder / f"em16_tgo_nmd/data_calibrated/orbits_{k // 100:05d}"
        place.mkdir(parents=True, exist_ok=True)
        lid = f"urn:esa:psa:em16_tgo_nmd:data_calibrated:nmd_cal_sc_so_{k:06d}-136"
        text = f"<logical_identifier>{lid}</logical_identifier><version_id>1.0</>"
        name = f"nmd_cal_sc_so_20180421t202111-20180421t202629-{k:06d}-1-136.xml"
        (place / name).write_text(text)


def nothing(path, out, setups, air):
    """Answer as if a product had been done."""
    digest, file = path.stem[-12:].zfill(64), f"urn+esa+psa+em16_tgo_nmd+{path.stem}.nc"
    return {
        "state": "done", "output": str(out / file),
        "spectra": 300, "setup": "so_136", "resume_key": digest,
        "content_sha256": digest[::-1], "quality": (),
    }  # fmt: skip


def alone(folder, out):
    """Run in this process; memory (bytes, the most) and seconds of it."""
    from tgo_spectra.batch import products as batch

    me, begun = psutil.Process(), time.perf_counter()
    rows = batch.run(folder, out, workers=2, progress=False, process=nothing)
    used = me.cpu_times()
    return {
        "rows": len(rows),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "wall": time.perf_counter() - begun,
        "cpu": used.user + used.system,
    }


def child(*arguments):
    """Answer of this script in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def driver(place, many):
    """Memory and time of the driver with few and with many products."""
    found = []
    for number in (FEW, many):
        folder = place / str(number)
        make(folder, number)
        found.append(child("alone", folder, place / f"out-{number}"))
    few, lots = found
    n_more = many - FEW
    return {
        "products": [FEW, many],
        "memory_MB": [round(one["memory"] / 1e6, 1) for one in found],
        "memory_ratio": round(lots["memory"] / few["memory"], 3),
        "wall_ms_each": round(1e3 * (lots["wall"] - few["wall"]) / n_more, 2),
        "driver_cpu_ms_each": round(1e3 * (lots["cpu"] - few["cpu"]) / n_more, 2),
        "load": os.getloadavg()[0],
    }


def timed(files, out, workers):
    """Seconds of a run, those of the processors, and those of each product."""
    from tgo_spectra.batch import products as batch

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    rows = batch.run(files, out, workers=workers, progress=False)
    seconds = time.perf_counter() - begun
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert all(row.state == "done" for row in rows), rows
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return seconds, cpu, [row.seconds for row in rows]


def scaling(place, number, rounds):
    """How much faster two workers are than one, on products that are really fitted."""
    from tgo_spectra.simulate import simulate_product

    for k in range(number):
        day = f"2018-06-{k + 1:02d}T03:00:00"
        simulate_product(place / "in", seed=k, start=day, latitude=10.0 * k - 60.0)
    files = sorted((place / "in").rglob("*.xml"))
    timed(files[:WARM_UP], place / "first", 1)
    runs = []
    for turn in range(rounds):
        one, cpu_1, _ = timed(files, place / f"one-{turn}", 1)
        two, cpu_2, each = timed(files, place / f"two-{turn}", 2)
        runs.append((one / two, one, cpu_1, two, cpu_2, statistics.median(each)))
    runs.sort()
    keys = ("scaling", "wall_1", "cpu_1", "wall_2", "cpu_2", "median_s_of_two")
    return {
        "products": len(files),
        "load": os.getloadavg()[0],
        "runs": [
            dict(zip(keys, (round(x, 2) for x in run), strict=True)) for run in runs
        ],
        "scaling": round(runs[len(runs) // 2][0], 2),
    }


def main(arguments):
    """Do what is asked; the findings, and whether the promises are kept."""
    if arguments[:1] == ["alone"]:
        return alone(*map(Path, arguments[1:])), True
    with tempfile.TemporaryDirectory() as name:
        if arguments[:1] == ["real"]:
            numbers = [int(text) for text in arguments[1:]]
            found = scaling(Path(name), *numbers, *(12, 3)[len(numbers) :])
            return found, found["scaling"] >= LEAST_SCALING
        found = driver(Path(name), int((arguments or [10_000])[0]))
    few = found["memory_ratio"] <= MOST_MEMORY and found["wall_ms_each"] <= MOST_MS
    return found, few


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    result, kept = main(sys.argv[1:])
    print(json.dumps(result))
    sys.exit(not kept)
