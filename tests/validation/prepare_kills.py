"""SIGKILL of ``tgo-spectra prepare`` in each of its stages, and what is made at last.

``python tests/validation/prepare_kills.py LISTS [SETUP]`` (default ``so_136``): from an
empty cache, killed among the cross sections, the choice of wavenumbers and the vectors,
then run to its end. Says the CPU seconds of all runs together, the largest memory, and
whether the arrays are those of the table in the package, which was made at one go;
exit code 1 where they are not, or where a table is found after a kill.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tgo_spectra as tgo
from tgo_spectra.spectroscopy.tables.files import open_table

STAGES = ("cross sections of", "choice of wavenumbers", "vectors")
"""Said on the error stream; a kill comes with the first line of a stage."""
COMMAND = "from tgo_spectra.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def run(arguments, cache, stage=None):
    """Run ``prepare`` until a stage says something, or whole."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "prepare", *arguments],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        print("   ", line.rstrip(), flush=True)
        if stage is not None and stage in line:
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    return process.wait()


def main(lists, setup="so_136"):
    """Kill, resume, compare."""
    name, begun, good = tgo.load_setup(setup).table, time.time(), True
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for stage in (*STAGES, None):
            code = run([setup, "--lines", lists, "--workers", "1"], cache, stage)
            made = list(cache.rglob(f"{name}.nc"))
            print(f"{stage or 'to the end'}: exit code {code}, tables {len(made)}")
            good &= bool(made) == (stage is None) == (code == 0)
        found, shipped = open_table(made[0]), open_table(name)
        differ = [
            key for key in shipped.variables
            if not np.array_equal(shipped[key].values, found[key].values)
        ]  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU seconds of all runs {used.ru_utime + used.ru_stime:.0f}, by the clock "
          f"{time.time() - begun:.0f}, peak {used.ru_maxrss / 1e6:.2f} GB")  # fmt: skip
    print(f"arrays that are not those of the package: {differ or 'none'}")
    return 0 if good and not differ else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
