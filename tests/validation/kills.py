"""Kills of drivers and workers across a run, with restarts: is anything lost?

``python tests/validation/kills.py [PRODUCTS] [KILLS]``: KILLS are SIGKILL of the driver
(half of them while a file is being written), SIGKILL of a worker, SIGTERM and SIGKILL
half a second later, in turns. One line of JSON at the end; exit code 1 where a promise
is broken. 200 and 175 need products of a second (``KILLS_PAUSE_S=1``) and kills up to
four seconds apart (``KILLS_BETWEEN_S=4``), else the run ends before the kills do.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import xarray as xr

from tgo_spectra.batch import products as batch
from tgo_spectra.files.netcdf import open_verified, write_level2

WORKERS = 2
TURN = ("driver", "writing", "worker", "term", "driver", "writing", "worker")
PAUSE_S = float(os.environ.get("KILLS_PAUSE_S", "0.05"))  # time of a product
BETWEEN_S = float(os.environ.get("KILLS_BETWEEN_S", "1.5"))  # at most, to the next
DRIVER = """
import sys
sys.path[:0] = [sys.argv[3]]
from tgo_spectra.batch import products as batch
import kills
batch.run(sys.argv[1], sys.argv[2], workers=kills.WORKERS, progress=False,
          process=kills.process)
"""


def process(path, out, setups, air):
    """Write a file that depends on the product alone, unless it is there."""
    from tgo_spectra.errors import OutputError

    target = out / f"{path.stem}.nc"
    if target.is_file():
        try:
            open_verified(target)
        except OutputError:
            pass
        else:
            return {"state": "skipped", "output": str(target)}
    with (out.parent / "tries.txt").open("a") as stream:
        stream.write(f"{path.stem}\n")
    rng = np.random.default_rng(int(path.stem))
    time.sleep(PAUSE_S)
    ds = xr.Dataset(
        {"ch4_vmr": ("altitude", rng.normal(0.0, 1e-9, 30_000))},
        {"altitude": np.arange(30_000.0)},
        {"product_lid": f"urn:a:b:{path.stem}", "tracking_id": "same"},
    )
    write_level2(ds, target)
    return {"state": "done", "output": str(target)}


def start(folder, out):
    given = [str(folder), str(out), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", DRIVER, *given],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def children(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def kill(driver, how, out, rng):
    """Kill what is to be killed; whether it was there, and the workers."""
    workers = children(driver.pid)
    until = time.monotonic() + 2.0
    while how == "writing" and time.monotonic() < until:
        if any((out / "l2").glob("*.tmp-*")):
            break
    if how == "worker":
        if not workers:
            return False, workers
        rng.choice(workers).send_signal(signal.SIGKILL)
        return True, workers
    if how == "term":
        driver.send_signal(signal.SIGTERM)
        time.sleep(0.5)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    return True, workers


def broken(out):
    """Final names that do not verify."""
    found = []
    for file in (out / "l2").glob("*.nc"):
        try:
            open_verified(file)
        except Exception as error:  # noqa: BLE001 - whatever it is, it counts
            found.append(f"{file.name}: {error}")
    return found


def hashes(out):
    return {
        file.name: open_verified(file).attrs["content_sha256"]
        for file in sorted((out / "l2").glob("*.nc"))
    }


def campaign(place, n_products, n_kills, seed=1):
    """Run to the end through all kills; give the findings."""
    rng = random.Random(seed)
    folder, out, clean = place / "in", place / "out", place / "clean"
    folder.mkdir()
    for k in range(n_products):
        text = f"<logical_identifier>urn:a:b:{k}</logical_identifier>"
        (folder / f"{k}.xml").write_text(text)
    batch.run(folder, clean, workers=WORKERS, progress=False, process=process)
    n_done, orphans, bad, counts = 0, 0, [], dict.fromkeys(TURN, 0)
    starts, driver = 1, start(folder, out)
    while True:
        if driver.poll() is not None:
            if driver.returncode == 0:
                break
            starts, driver = starts + 1, start(folder, out)
        if n_done == n_kills:
            driver.wait()
            continue
        time.sleep(rng.uniform(0.5, BETWEEN_S))
        if driver.poll() is not None:
            continue
        how = TURN[n_done % len(TURN)]
        killed, workers = kill(driver, how, out, rng)
        if not killed:
            continue
        n_done += 1
        counts[how] += 1
        bad += broken(out)
        if how != "worker":
            _, alive = psutil.wait_procs(workers, timeout=10.0)
            orphans += len(alive)
    tries = (out / "tries.txt").read_text().split()
    return {
        "products": n_products,
        "kills": counts,
        "starts": starts,
        "identical": hashes(out) == hashes(clean),
        "broken": bad,
        "orphans": orphans,
        "redone_per_kill": round((len(tries) - n_products) / max(n_done, 1), 2),
        "quarantined": len((out / "quarantine.jsonl").read_text().splitlines()),
        "left": sorted(p.name for p in out.rglob("*.tmp-*")),
    }


def kept(found):
    """Whether all promises are."""
    clean = not (found["broken"] or found["orphans"] or found["quarantined"])
    few = found["redone_per_kill"] <= 2.0 * WORKERS
    return found["identical"] and clean and few and not found["left"]


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:3]] + [200, 175][len(sys.argv[1:3]) :]
    with tempfile.TemporaryDirectory() as name:
        result = campaign(Path(name), *numbers)
    print(json.dumps(result))
    sys.exit(not kept(result))
