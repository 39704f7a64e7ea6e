"""A disk that fails at call N, also in what netCDF writes itself: some of the calls."""

from __future__ import annotations

import json
import shutil
import sys

import faults
import pytest


@pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux",
    reason="needs a C compiler, cc, and Linux",
)
def test_run__disk_fails_at_some_calls():
    done = faults.loaded(["1", "30"])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == []
    assert min(found["tried"].values()) >= 2
