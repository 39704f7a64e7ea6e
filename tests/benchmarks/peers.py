"""Peers in environments of their own: install them, run timed rounds, print a table.

``python tests/benchmarks/peers.py`` installs all of them under ``.bench`` beside the
project's files. A peer that does not install, answer in time or answer at all raises
`Missing` with the reason, and the comparison goes on without it.
"""

from __future__ import annotations

import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
from statistics import median
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".bench"
REQUIREMENTS = {
    "hapi": ("hitran-api", "numpy"),
    "radis": ("radis",),
    "sasktran2": ("sasktran2", "hitran-api"),
    "archnemesis": ("archnemesis",),
}
INSTALL_SECONDS = 900.0
ROUND_SECONDS = 300.0
# the rows of all comparisons of a run, printed when it ends
ROWS: list[tuple[str, ...]] = []
NOTES: list[str] = []


class Missing(Exception):
    """A peer that cannot take part, and why."""


def install(name: str) -> pathlib.Path:
    """Return the interpreter of a peer's environment, made if it is not there."""
    folder = HOME / name
    python = folder / "bin" / "python"
    wanted = " ".join(REQUIREMENTS[name])
    stamp = folder / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    pip = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]]
    for command in ([sys.executable, "-m", "venv", str(folder)], pip):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            message = f"{name}: not installed in {INSTALL_SECONDS:.0f} s"
            raise Missing(message) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            message = f"{name}: does not install: {last}"
            raise Missing(message)
    stamp.write_text(wanted)
    return python


def version(name: str) -> str:
    """Version of a peer's first requirement, as its environment states it."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    done = subprocess.run(
        [str(install(name)), "-c", code, REQUIREMENTS[name][0]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip() or "?"


class Worker:
    """A process of one system that does rounds of one task when asked.

    Parameters
    ----------
    task : str
        Key of `peer_work.TASKS`; what stands before the first hyphen names the system.
    arrays : dict of ndarray
        What the work is about.
    folder : path
        For files and the log.
    threads : int
        Allowed to numerical libraries.
    """

    def __init__(self, task: str, arrays: dict, folder: pathlib.Path, threads: int = 1):
        self.task, system = task, task.split("-")[0]
        python = sys.executable if system == "tgo" else str(install(system))
        stem = folder / f"{task}-{time.monotonic_ns()}"
        self.target = stem.with_suffix(".out.npz")
        source = stem.with_suffix(".in.npz")
        np.savez(source, **arrays)
        keys = ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON", "NUMEXPR")
        limits = {f"{key}_NUM_THREADS": str(threads) for key in keys}
        # settings and caches of a peer stay out of the user's home
        home = {"HOME": str(HOME / system)} if system != "tgo" else {}
        self.log = stem.with_suffix(".log")
        script = str(HERE / "peer_work.py")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, script, task, str(source), str(self.target)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | limits | home,
                start_new_session=True,
            )
        self.answers: queue.Queue[str] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.ready = self._answer(ROUND_SECONDS)

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            message = f"{self.task}: no answer in {seconds:g} s"
            raise Missing(message) from None
        if not line:
            self.stop()
            lines = self.log.read_text().strip().splitlines() or ["no message"]
            message = f"{self.task}: ended: {lines[-1]}"
            raise Missing(message)
        return json.loads(line)

    def round(self, seconds: float = ROUND_SECONDS, **arguments: Any) -> dict[str, Any]:
        """Do the work once; wall and processor seconds, memory in MB."""
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return self._answer(seconds)

    def result(self) -> dict[str, np.ndarray]:
        """End the process; the arrays of its last round."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            message = f"{self.task}: did not end"
            raise Missing(message) from None
        finally:
            self.stop()
        with np.load(self.target) as file:
            return dict(file)

    def stop(self) -> None:
        """End the process and its children, if they have not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.listener.join(10)
        self.process.stdin.close()
        self.process.stdout.close()


def middle(rounds: list[dict[str, Any]], key: str) -> float:
    """Median over rounds."""
    return median(row[key] for row in rounds)


def row(
    work: str, system: str, wall: str, cpu: str, ratio: str, error: str, memory: str
) -> None:
    """Keep one row of the table."""
    ROWS.append((work, system, wall, cpu, ratio, error, memory))


HEAD = ("work", "system", "wall s", "cpu s", "ratio wall / cpu", "error", "memory MB")


def table() -> list[str]:
    """All rows in columns, and the notes."""
    rows = [HEAD, *ROWS]
    wide = [max(len(r[i]) for r in rows) for i in range(len(HEAD))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, wide, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * w for w in wide))
    return [line.rstrip() for line in lines] + NOTES


def main() -> None:
    """Install every peer; say which are not there."""
    for name in REQUIREMENTS:
        try:
            install(name)
            print(f"{name} {version(name)}")
        except Missing as reason:
            print(reason)


if __name__ == "__main__":
    main()
