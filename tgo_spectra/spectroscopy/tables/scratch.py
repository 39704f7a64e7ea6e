"""Finished pieces of a build on disk, how much memory it may take, how long it will.

A piece is a file that appears whole or not at all, named by a hash of everything it
depends on: a build that was interrupted finds what it had finished, and the pieces
are the same ones for any memory, number of workers or interruption.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgo_spectra.errors import TableError
from tgo_spectra.files.atomic import atomic_file, output_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Progress",
    "check_room",
    "in_pieces",
    "keep",
    "one_thread",
    "piece_name",
    "run_tasks",
    "scratch_folder",
    "workers_within",
]

_LOG = logging.getLogger(__name__)
REPORT_SECONDS = 10.0  # between two lines of progress
BASE_BYTES = 350_000_000  # the interpreter with numba, SciPy and xarray

T = TypeVar("T")


@contextlib.contextmanager
def scratch_folder(folder: str | Path | None) -> Iterator[Path]:
    """Give the folder of the pieces; it goes when the block ends without an error.

    Without a name it is a temporary one that goes in any case.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="tgo_spectra_table_") as name:
            yield Path(name)
        return
    place = Path(folder)
    output_folder(place)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep each product of matrices to one thread.

    The tasks are the parallel part: threads of the linear algebra wait for each other
    beside them, nine times the processor time of the choice of wavenumbers, and a
    product that is divided between threads rounds differently.
    """
    import scipy.linalg  # noqa: F401  # its library is limited only once it is there
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, user_api="blas"):
        yield


def piece_name(stage: str, *inputs: object) -> str:
    """Return the file name of a piece: its stage and a hash of its inputs.

    Arrays count by their bytes, everything else as JSON.
    """
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, np.ndarray):
            digest.update(f"{item.dtype.str}{item.shape}".encode())
            digest.update(np.ascontiguousarray(item).tobytes())
        else:
            digest.update(json.dumps(item, sort_keys=True).encode() + b"\0")
    return f"{stage}-{digest.hexdigest()[:32]}.npy"


def keep(path: Path, make: Callable[[], NDArray[Any]]) -> bool:
    """Write the array of a piece unless its file is there; tell whether it was made."""
    if path.is_file():
        return False
    array = make()
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
    return True


def check_room(folder: Path, wanted: float) -> None:
    """Refuse a build whose pieces (bytes) do not fit on the disk (TableError)."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        message = (
            f"the pieces of this build take {wanted / 1e9:.1f} GB of disk for a time, "
            f"{folder} has {free / 1e9:.1f} GB"
        )
        raise TableError(message, path=folder, value=wanted, rule="table.scratch")


def workers_within(memory_gb: float, task: float, workers: int, what: str) -> int:
    """Return how many tasks of a size (bytes) fit in the memory, at most `workers`.

    TableError where not even one does.
    """
    fit = int((memory_gb * 1e9 - BASE_BYTES) // task)
    if fit < 1:
        message = (
            f"{what} needs {(task + BASE_BYTES) / 1e9:.2f} GB of memory, allowed are "
            f"{memory_gb:g} GB: allow more, or build a narrower window"
        )
        raise TableError(message, value=memory_gb, rule="table.memory")
    return min(workers, fit)


class Progress:
    """Says how far a build is and how long the rest takes, at most every 10 s.

    Parameters
    ----------
    name : str
        What is built.
    plan : mapping of str to float
        Stages in their order, with the share of the work each is expected to be.
    report : callable, optional
        Takes a line; default: the log, level INFO.
    """

    def __init__(
        self,
        name: str,
        plan: Mapping[str, float],
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.left = dict(plan)
        self.report = report or _LOG.info
        self.worked = 0.0
        self.spent = 0.0
        self.last = self.told = time.monotonic()

    def done(self, stage: str, share: float, *, made: bool, text: str) -> None:
        """Count a share of a stage's work as done; pieces found cost no time."""
        now = time.monotonic()
        work = self.left[stage] * share
        self.left[stage] -= work
        if made:
            self.worked += work
            self.spent += now - self.last
        self.last = now
        if now - self.told >= REPORT_SECONDS or self.left[stage] <= 0.0:
            self.told = now
            rest = sum(self.left.values())
            seconds = rest * self.spent / self.worked if self.worked else float("nan")
            hope = "" if np.isnan(seconds) else f", about {seconds:.0f} s left"
            self.report(f"{self.name}: {stage} {text}{hope}")


def run_tasks(
    function: Callable[..., T],
    arguments: Iterable[tuple[Any, ...]],
    workers: int,
    *,
    processes: bool = False,
    progress: Progress | None = None,
    stage: str = "",
) -> list[T]:
    """Call a function on many arguments as delayed tasks of Dask.

    `workers` threads, or processes, at a time; results in the order of the arguments.
    A result ``False`` tells the progress that the task had nothing to do.

    >>> run_tasks(max, [(1, 2), (4, 3)], 2)
    [2, 4]
    """
    from dask.base import compute
    from dask.callbacks import Callback
    from dask.delayed import delayed

    task = delayed(function, traverse=False)
    scheduler = "processes" if processes else "threads"
    if workers == 1 and not processes:
        scheduler = "synchronous"
    tasks = [task(*some) for some in arguments]
    ended = 0

    def count(_key: object, result: object, *_: object) -> None:
        nonlocal ended
        left = len(tasks) - ended
        ended += 1
        if progress is not None:
            text = f"{ended} of {len(tasks)}"
            progress.done(stage, 1.0 / left, made=result is not False, text=text)

    with Callback(posttask=count):  # type: ignore[no-untyped-call]
        made = compute(*tasks, scheduler=scheduler, num_workers=workers)  # type: ignore[no-untyped-call]
    return list(made)


def in_pieces(size: int, piece: int) -> Sequence[tuple[int, int]]:
    """Return first and one past the last of fixed pieces of a size.

    >>> in_pieces(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(k, min(k + piece, size)) for k in range(0, size, piece)]
