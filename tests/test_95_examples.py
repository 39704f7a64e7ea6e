"""The example scripts run as they stand."""

from __future__ import annotations

import os
import pathlib
import runpy
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))


def test_there_are_six_short_examples():
    assert len(SCRIPTS) == 6
    for script in SCRIPTS:
        assert len(script.read_text(encoding="utf-8").splitlines()) < 100


OF_ITS_OWN = "plot_3_folder_to_map"
"""It starts workers, which import it: run as a reader does, in a new process."""


def in_a_process(script):
    """What it says."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # no measure of speed: it ends what hangs
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in (("MPLBACKEND", "Agg"), ("OMP_NUM_THREADS", "1"),
                        ("OPENBLAS_NUM_THREADS", "1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    if script.stem == OF_ITS_OWN:
        said = in_a_process(script)
    else:
        plt.switch_backend("Agg")
        runpy.run_path(str(script), run_name="__main__")
        plt.close("all")
        said = capsys.readouterr().out
    assert "failed" not in said
    assert list(tmp_path.iterdir()) == []
