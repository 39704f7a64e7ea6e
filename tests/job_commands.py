"""Commands like those of a batch system, which run a job at once, on this machine."""

from __future__ import annotations

import os
import sys

SUBMIT = """#!/bin/bash
setsid bash -c "$(cat "$1")" >"{folder}/log" 2>&1 </dev/null &
echo "Submitted batch job $!"
"""
CANCEL = """#!/bin/bash
echo "$1" >>"{folder}/cancelled"
kill -KILL -- "-$1"
"""
JOB = """
cores = 2
memory = "4GB"
walltime = "01:00:00"
jobs = 1
interface = "lo"
"""


def lay_out(folder, monkeypatch, job=JOB):
    """Write the commands, put them before others, give the file of a job."""
    for name, text in (("sbatch", SUBMIT), ("scancel", CANCEL)):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), os.environ["PATH"])))
    # a worker imports tasks from the modules of the tests
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    file = folder / "job.toml"
    file.write_text(job)
    return file
