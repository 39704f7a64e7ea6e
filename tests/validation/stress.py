"""Full disks, several drivers on one folder, products that crash: what is lost?

``python tests/validation/stress.py [full] [together] [bad] [many] [scaling]``: a
tmpfs at 20 sizes (as root) and a limit of the size of files at 20; 4 drivers on one
folder, 20 rounds; 60 products of which 10 raise, 3 end their worker and 2 hang, against
a clean run; the memory of a driver of 10,000 products that take no time, against one
of 100; the wall time of two workers against one on full products of SO, which tells
something on an idle machine only (``STRESS_PRODUCTS``, 24, is their number).
One line of JSON for each; exit code 1 where a promise is broken.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import faults
import kills
from named_products import make_products, process

SIZES = 20
DRIVERS, ROUNDS = 4, 20
BAD = {"raises": 10, "exits": 1, "segfault": 1, "memory": 1, "hangs": 2}
MOST_GB, MOST_S = 0.6, 4.0
FEW, MANY, GROWTH = 100, 10_000, 0.10
FULL = int(os.environ.get("STRESS_PRODUCTS", "24"))
SCALING = 1.85


def stopped(folder, out):
    """Run on a disk that may be too small; the rule that it ends by."""
    from tgo_spectra.batch import products as batch
    from tgo_spectra.errors import TgoError

    try:
        batch.run(folder, out, progress=False, process=faults.process)
    except TgoError as error:
        return error.rule
    return None


def limited(size, folder, out):
    """The same where no file may be larger than `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return stopped(folder, out)


@contextlib.contextmanager
def small_disk(place, size):
    """Mount a disk of some bytes; give what makes it larger."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={size}", "tmpfs", place], check=True)
    try:
        yield lambda: subprocess.run(
            ["mount", "-o", "remount,size=64m", place], check=True
        )
    finally:
        subprocess.run(["umount", place], check=True)


def full(place):
    """Whether runs end by the right rule, leave nothing half, and go on with room."""
    folder = make_products(place / "in", map(str, range(6)))
    found = {"tmpfs": 0, "limit": 0, "fitted": 0, "wrong": []}

    def judge(kind, size, rule, out):
        whole, resumed = faults.forked(faults.after, folder, out)
        found[kind] += 1
        found["fitted"] += rule is None
        if rule not in ("io.no_space", None) or not (whole and resumed):
            found["wrong"].append([kind, size, rule, whole, resumed])

    for number in range(SIZES):
        # what is written, 6 files of 48 kB and some lines, begins to fit at the end
        size = 4096 * (1 + 5 * number)
        if os.geteuid() == 0:
            disk = place / f"disk-{number}"
            with small_disk(disk, size) as enlarge:
                rule = faults.forked(stopped, folder, disk / "out")
                enlarge()
                judge("tmpfs", size, rule, disk / "out")
        size, out = 100 + 3000 * number, place / f"limit-{number}"
        judge("limit", size, faults.forked(limited, size, folder, out), out)
    return found, not found["wrong"] and 0 < found["fitted"] < 2 * SIZES


def drive(folder, out):
    """One of several drivers on a folder; the states of its rows."""
    from tgo_spectra.batch import products as batch

    rows = batch.run(folder, out, progress=False, process=kills.process)
    return sorted({row.state for row in rows})


def together(place):
    """Whether each product is made once, and all can be read."""
    folder = make_products(place / "in", map(str, range(16)))
    found = {"rounds": 0, "more_than_once": 0, "not_made": 0, "unreadable": 0}
    found["failed"] = 0
    for number in range(ROUNDS):
        out, children = place / f"out-{number}", []
        for _ in range(DRIVERS):
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = int(not set(drive(folder, out)) <= {"done", "skipped"})
                finally:
                    os._exit(code)
            children.append(child)
        found["failed"] += sum(os.waitpid(child, 0)[1] != 0 for child in children)
        tries = (out / "tries.txt").read_text().split()
        found["more_than_once"] += len(tries) - len(set(tries))
        found["not_made"] += 16 - len(set(tries))
        found["unreadable"] += len(kills.broken(out))
        found["rounds"] += 1
    kept = not any(found[name] for name in found if name != "rounds")
    return found, kept


def bad(place):
    """Whether products that crash or hang harm no other one, and are remembered."""
    from tgo_spectra.batch import products as batch

    good = [f"slow-{k}" for k in range(45)]
    broken = [f"{kind}-{k}" for kind, number in BAD.items() for k in range(number)]
    limits = {"timeout_s": MOST_S, "memory_gb": MOST_GB, "workers": 2}
    taken = {}
    more = [f"slow-{k}" for k in range(45, 60)]
    for what, names in (("clean", good + more), ("bad", broken + good)):
        begun = time.monotonic()
        folder, out = make_products(place / what, names), place / f"out-{what}"
        batch.run(folder, out, progress=False, process=process, **limits)
        taken[what] = time.monotonic() - begun
    out = place / "out-bad"
    made = {file.name: file.read_bytes() for file in (out / "l2").iterdir()}
    clean = place / "out-clean/l2"
    same = all((clean / name).read_bytes() == data for name, data in made.items())
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    rules = sorted(json.loads(line)["row"]["rule"] for line in lines)
    former = (out / "tries.txt").read_text().split()
    batch.run(place / "bad", out, progress=False, process=process, **limits)
    later = (out / "tries.txt").read_text().split()[len(former) :]
    crashed = [name for name in later if name.partition("-")[0] in [*BAD][1:]]
    found = {
        "good": len(made), "identical": same, "quarantined": len(lines),
        "rules": {rule: rules.count(rule) for rule in sorted(set(rules))},
        "seconds": {what: round(seconds, 1) for what, seconds in taken.items()},
        "ratio": round(taken["bad"] / taken["clean"], 2),
        "crashed_again": crashed, "load": os.getloadavg()[0],
    }  # fmt: skip
    kept = same and len(made) == 45 and len(lines) == 15 and not crashed
    return found, kept and found["ratio"] <= 3.0


def described(path, out, setups, air):
    """Give a row of usual length for a product, and do nothing else."""
    digest = hashlib.sha256(path.stem.encode()).hexdigest()
    output = out / f"urn+esa+psa+em16_tgo_nmd+data_calibrated+{path.stem}.nc"
    return {
        "state": "done", "output": str(output), "spectra": 350, "setup": "so_134",
        "resume_key": digest, "content_sha256": digest[::-1],
        "quality": ("reference_atmosphere",),
    }  # fmt: skip


DRIVER = """
import sys, time
sys.path[:0] = [sys.argv[1]]
import stress
from pathlib import Path
from tgo_spectra.batch import products as batch
begun = time.monotonic(), time.process_time()
rows = batch.run(sys.argv[2], sys.argv[3], workers=2, progress=False,
                 process=stress.described)
taken = time.monotonic() - begun[0], time.process_time() - begun[1]
said = Path("/proc/self/status").read_text()
print(len(rows), said.partition("VmHWM:")[2].split()[0], *taken)
"""


def many(place):
    """Whether the driver's memory stays, however many products there are."""
    found = {"products": [], "driver_mb": [], "ms_a_product": [], "driver_cpu_ms": []}
    for number in (FEW, MANY):
        stem = "nmd_cal_sc_so_20180614T030920-20180614T031605-a-i-{:06d}"
        folder = make_products(place / f"in-{number}", map(stem.format, range(number)))
        given = [str(Path(__file__).parent), str(folder), str(place / f"out-{number}")]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DRIVER, *given],
            check=True, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        rows, peak, wall, own = done.stdout.split()
        found["products"].append(int(rows))
        found["driver_mb"].append(round(int(peak) / 1000.0, 1))
        found["ms_a_product"].append(round(1e3 * float(wall) / number, 2))
        found["driver_cpu_ms"].append(round(1e3 * float(own) / number, 2))
    few, all_of_them = found["driver_mb"]
    found |= {"growth": round(all_of_them / few - 1.0, 3), "load": os.getloadavg()[0]}
    return found, found["growth"] <= GROWTH and found["products"] == [FEW, MANY]


def scaling(place):
    """Whether two workers fit products nearly twice as fast as one."""
    import tgo_spectra as tgo
    from tgo_spectra.batch import products as batch

    one = tgo.simulate_product(place / "one", order=134, seed=1)
    for k in range(FULL):
        folder = place / "in" / f"{k:02d}"
        folder.mkdir(parents=True)
        end = "</logical_identifier>"
        text = one.read_text().replace(end, f"-{k:02d}{end}")
        (folder / one.name).write_text(text)
        shutil.copy(one.with_suffix(".tab"), folder)
    batch.run(one, place / "compiled", "so_134", workers=1, progress=False)
    found = {"products": FULL, "load": os.getloadavg()[0]}
    for workers in (1, 2):
        cpu, begun = used(), time.monotonic()
        rows = batch.run(
            place / "in", place / f"out-{workers}", "so_134", workers, progress=False
        )
        wall, cpu = time.monotonic() - begun, used() - cpu
        busy = sum(row.seconds for row in rows)
        found[f"{workers}"] = {
            "done": sum(row.state == "done" for row in rows), "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1), "s_a_product": round(busy / FULL, 2),
            # of the workers' time, what is not in a product: start, waiting, journal
            "beside_ms_a_product": round(1e3 * (workers * wall - busy) / FULL, 1),
        }  # fmt: skip
    by_wall, by_cpu = (
        round(times * found["1"][what] / found["2"][what], 2)
        for what, times in (("wall_s", 1.0), ("cpu_s", 2.0))
    )
    found |= {"faster": by_wall, "faster_by_cpu_alone": by_cpu}
    all_done = {found[name]["done"] for name in ("1", "2")} == {FULL}
    return found, all_done and by_wall >= SCALING


def used():
    """Processor time of this process and of those that it has waited for, s."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # in the parent, so that no child imports it again
    import netCDF4  # noqa: F401

    from tgo_spectra.batch import products  # noqa: F401

    parts = {
        "full": full, "together": together, "bad": bad, "many": many,
        "scaling": scaling,
    }  # fmt: skip
    all_kept = True
    for part in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as name:
            result, kept = parts[part](Path(name))
        print(json.dumps({part: result, "kept": kept}), flush=True)
        all_kept &= kept
    sys.exit(not all_kept)
