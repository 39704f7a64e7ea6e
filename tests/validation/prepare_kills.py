"""SIGKILL of ``tgo-spectra prepare`` in each of its stages, and what is made at last.

``python tests/validation/prepare_kills.py LISTS [SETUP [WORKERS]]`` (default ``so_136``
and 2): from an empty cache in one worker, killed among the cross sections, the choice
of wavenumbers and the vectors, then run to its end; and at one go with some workers,
from another. Says the CPU seconds
and the largest memory of both, and whether all arrays are the same; exit code 1 where
they are not, or where a table is there after a kill.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tgo_spectra.spectroscopy.tables.files import open_table

STAGES = ("cross sections of", "choice of wavenumbers", "vectors")
"""Said on the error stream; a kill comes with the first line of a stage."""
COMMAND = "from tgo_spectra.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def run(arguments, cache, stage=None):
    """Run ``prepare`` until a stage says something, or whole: exit code, path."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "prepare", *arguments], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        print("   ", line.rstrip(), flush=True)
        if stage is not None and stage in line:
            process.send_signal(signal.SIGKILL)
            break
    said = process.stdout.read().strip()
    process.stderr.close()
    return process.wait(), said


def used():
    """CPU seconds and largest memory (GB) of all that was run."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main(lists, setup="so_136", workers="2"):
    """Kill, resume, compare."""
    good, tables = True, []
    with tempfile.TemporaryDirectory() as folder:
        for kind, stages, count in (("killed", (*STAGES, None), "1"),
                                    ("whole", (None,), workers)):  # fmt: skip
            before, _ = used()
            for stage in stages:
                code, path = run(
                    [setup, "--lines", lists, "--workers", count],
                    Path(folder) / kind,
                    stage,
                )
                print(f"{kind}, {stage or 'to the end'}: exit code {code} {path}")
                good &= bool(path) == (stage is None) == (code == 0)
            tables.append(open_table(path).load())
            if not setup_is_shipped(setup):  # made beside it: again from nothing
                Path(path).unlink()
            seconds, memory = used()
            print(f"{kind}: {seconds - before:.0f} CPU seconds; most so far "
                  f"{memory:.2f} GB", flush=True)  # fmt: skip
    one, two = tables
    differ = [
        key for key in {*one.variables, *two.variables}
        if not np.array_equal(one[key].values, two[key].values)
    ]  # fmt: skip
    print(f"arrays that differ: {differ or 'none'}")
    return 0 if good and not differ else 1


def setup_is_shipped(setup):
    """Whether a setup is one of the package, and its table in the cache."""
    return not setup.endswith(".toml")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
