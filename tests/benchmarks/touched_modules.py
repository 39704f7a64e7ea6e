"""Count the modules of the package that one product goes through.

``touched_modules.py [SETUP]``: opens, fits and writes a small simulated product in a
new process. Says which modules are imported, and marks those whose functions run once
all is imported and compiled.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import tgo_spectra as tgo

TASK = """
import sys
import tgo_spectra as tgo

product, target, setup = sys.argv[1:]

def task():
    level2 = tgo.retrieve(tgo.open_product(product), setup or None)
    tgo.write_level2(level2, target)

def note(frame, event, argument):
    if event == "call":
        run.add(frame.f_globals.get("__name__"))

task()
names = sorted(n for n in sys.modules if n.partition(".")[0] == "tgo_spectra")
run = set()
sys.setprofile(note)
task()
sys.setprofile(None)
for name in names:
    print("*" if name in run else " ", name)
print(len(names), "imported,", len(run.intersection(names)), "run (*)")
"""


def count(setup: str = "") -> list[str]:
    """Simulate, count: a line for each module, and the last that sums them up."""
    with tempfile.TemporaryDirectory() as folder:
        product = tgo.simulate_product(folder, order=134, ch4=2e-9, seed=1)
        given = [str(product), str(Path(folder) / "level2.nc"), setup]
        command = [sys.executable, "-c", TASK, *given]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    print(*count(*sys.argv[1:]), sep="\n")
