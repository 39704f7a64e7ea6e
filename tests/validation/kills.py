"""Kills of drivers, workers and schedulers across a run, with restarts: what is lost?

``python tests/validation/kills.py [PRODUCTS] [KILLS] [MINUTES]``: KILLS are SIGKILL of
the driver (half of them while a file is being written), SIGKILL of a worker, SIGTERM
and SIGKILL half a second later, SIGKILL of a Dask scheduler, in turns; none after
MINUTES. One line of JSON at the end; exit code 1 where a promise is broken. 200 and 200
need products of a second (``KILLS_PAUSE_S=1``) and kills up to four seconds apart
(``KILLS_BETWEEN_S=4``), else the run ends before the kills do. ``KILLS_TURN``: some of
the kinds only, such as ``driver,term``; ``KILLS_SEED``: another campaign.
"""

from __future__ import annotations

import contextlib
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
from named_products import make_products

from tgo_spectra.batch import products as batch
from tgo_spectra.files.netcdf import open_verified, write_level2

WORKERS = 2
TURN = tuple(
    os.environ.get(
        "KILLS_TURN", "driver,writing,worker,term,driver,writing,worker,scheduler"
    ).split(",")
)
PAUSE_S = float(os.environ.get("KILLS_PAUSE_S", "0.05"))  # time of a product
BETWEEN_S = float(os.environ.get("KILLS_BETWEEN_S", "1.5"))  # at most, to the next
SEED = int(os.environ.get("KILLS_SEED", "1"))
GONE_S = 10.0  # until all that belonged to what was killed has ended
DRIVER = """
import sys
sys.path[:0] = [sys.argv[3]]
import contextlib
from tgo_spectra.batch import products as batch
from tgo_spectra.batch.schedulers import connected
from tgo_spectra.errors import TgoError
import kills
file = sys.argv[4]
try:
    with connected(file, is_file=True) if file else contextlib.nullcontext() as client:
        batch.run(sys.argv[1], sys.argv[2], workers=kills.WORKERS, progress=False,
                  process=kills.process, client=client)
except TgoError as error:
    sys.exit(3 if error.rule.startswith("batch.scheduler") else 4)
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


def start(folder, out, scheduler=""):
    given = [str(folder), str(out), str(Path(__file__).parent), str(scheduler)]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", DRIVER, *given],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


class Cluster:
    """A scheduler with its workers, as processes of their own."""

    def __init__(self, place):
        place.mkdir()
        self.file = place / "scheduler.json"
        own = ("--no-dashboard", "--scheduler-file", str(self.file))
        self.scheduler = self._begin(
            "scheduler", "--host", "127.0.0.1", "--port", "0", *own, place=place
        )
        one = ("--no-nanny", "--nthreads", "1", "--death-timeout", "5")
        self.workers = [
            self._begin("worker", *one, *own, place=place) for _ in range(WORKERS)
        ]

    def _begin(self, what, *arguments, place):
        paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        return psutil.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments],
            env={**os.environ, "PYTHONPATH": paths}, cwd=place, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def lose_scheduler(self, driver):
        """Kill the scheduler; how the driver ends (None: not), and its time (s)."""
        self.scheduler.kill()
        self.scheduler.wait()
        begun = time.monotonic()
        try:
            code = driver.wait(GONE_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
            code = None
        return code, time.monotonic() - begun

    def left(self):
        """How many of the workers do not end by the loss; they are ended."""
        _, alive = psutil.wait_procs(self.workers, timeout=GONE_S)
        for one in alive:
            one.kill()
        return len(alive)


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


def described(processes):
    """What they are and do, unless they have ended and are not yet waited for."""
    for one in processes:
        with contextlib.suppress(psutil.Error):
            if one.status() != psutil.STATUS_ZOMBIE:
                yield f"{one.status()} {time.time() - one.create_time():.0f} s {one}"


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


def campaign(place, n_products, n_kills, minutes=1e9, seed=SEED):
    """Run to the end through all kills; give the findings."""
    rng = random.Random(seed)
    folder, out, clean = place / "in", place / "out", place / "clean"
    make_products(folder, range(n_products))
    batch.run(folder, clean, workers=WORKERS, progress=False, process=process)
    n_done, orphans, left, silent, said, bad = 0, [], 0, [], [0.0], []
    counts = dict.fromkeys(TURN, 0)
    starts, driver, cluster = 0, None, None
    until = time.monotonic() + 60.0 * minutes
    while True:
        how = TURN[n_done % len(TURN)]
        if time.monotonic() > until:
            n_kills = n_done
        if n_done < n_kills and how == "scheduler" and driver and not cluster:
            driver.terminate()  # to go on with a scheduler
            driver.wait()
        if driver is None or driver.poll() is not None:
            if driver is not None and driver.returncode == 0:
                break
            starts += 1
            if n_done < n_kills and how == "scheduler":
                cluster = Cluster(place / f"cluster-{starts}")
                done_before = len(list((out / "l2").glob("*.nc")))
            driver = start(folder, out, cluster.file if cluster else "")
        if n_done == n_kills:
            driver.wait()
            continue
        # one in four may be while the driver starts, the others are while it works
        working = not cluster and rng.random() < 0.75
        while working and driver.poll() is None and not children(driver.pid):
            time.sleep(0.05)
        time.sleep(rng.uniform(0.1, BETWEEN_S))
        while cluster and driver.poll() is None:  # it takes its time to begin
            if len(list((out / "l2").glob("*.nc"))) > done_before:
                break
            time.sleep(0.1)
        if driver.poll() is not None:
            if cluster and driver.returncode == 0:
                cluster.lose_scheduler(driver)
                cluster.left()
            continue
        if cluster:
            code, seconds = cluster.lose_scheduler(driver)
            if code == 3:
                said.append(seconds)
            elif code != 0:  # all was done before
                silent.append(code)
            left, cluster = left + cluster.left(), None
        else:
            killed, workers = kill(driver, how, out, rng)
            if not killed:
                continue
            if how != "worker":
                _, alive = psutil.wait_procs(workers, timeout=GONE_S)
                orphans += described(alive)
        n_done += 1
        counts[how] += 1
        bad += broken(out)
    tries = (out / "tries.txt").read_text().split()
    return {
        "products": n_products,
        "kills": counts,
        "starts": starts,
        "identical": hashes(out) == hashes(clean),
        "broken": bad,
        "orphans": orphans,
        "loss_not_said": silent,
        "loss_said_within_s": round(max(said), 1),
        "workers_of_dask_left": left,  # who started them ends them
        "redone_per_kill": round((len(tries) - n_products) / max(n_done, 1), 2),
        "quarantined": len((out / "quarantine.jsonl").read_text().splitlines()),
        "left": sorted(p.name for p in out.rglob("*.tmp-*")),
    }


def kept(found):
    """Whether all promises are."""
    wrong = ("broken", "orphans", "quarantined", "loss_not_said", "left")
    few = found["redone_per_kill"] <= 2.0 * WORKERS
    return found["identical"] and few and not any(found[name] for name in wrong)


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:4]]
    numbers = given + [200, 200, 10**9][len(given) :]
    with tempfile.TemporaryDirectory() as name:
        result = campaign(Path(name), *numbers)
    print(json.dumps(result))
    sys.exit(not kept(result))
