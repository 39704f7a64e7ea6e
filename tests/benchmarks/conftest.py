"""Prints the one table of all comparisons when the run ends."""

from __future__ import annotations

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parent))

import peers


def pytest_terminal_summary(terminalreporter):
    if peers.ROWS or peers.NOTES:
        terminalreporter.section("ratios to peers, one run")
        for line in peers.table():
            terminalreporter.write_line(line)
