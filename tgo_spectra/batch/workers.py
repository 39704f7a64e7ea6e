"""Own worker processes: one item each at a time, with limits of time and memory.

A worker is started by this process and reached by a pair of pipes that no other process
can open. This process knows what each one does: it ends a worker whose item takes too
long or too much memory, knows which item ended a worker, and starts another.

The memory is that in use (resident), looked at ten times a second. A limit of the
address space would be kept by the system itself, but compilers and libraries reserve
gigabytes of it that they never touch, so that it would end innocent items.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tgo_spectra.batch.engines import Death
from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["GB", "ONE_THREAD", "Workers", "memory_of_machine"]

_LOG = logging.getLogger(__name__)

GB = 1e9
"""Bytes."""
# One thread a process: the products are the parallel part. Set before the worker
# starts, because the libraries read these when they are loaded.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
_TICK_S = 0.1  # between two looks at the limits
_START_S = 60.0  # until a worker says that it is ready; 1 s is usual
_END_S = 2.0  # until an idle worker has left
_STARTS = 2  # failures in a row
# The system short of memory, or somebody: it cannot be told which. A product that is
# killed by chance must not be given up.
_TRIES_KILLED = 4
_GROUP, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def memory_of_machine() -> float:
    """Bytes of memory that this process and its workers may use together."""
    import psutil

    return min([float(psutil.virtual_memory().total), *_limits_of_groups()])


def _limits_of_groups() -> Iterator[float]:
    """Limits (bytes) of the control groups of this process, as of a job of Slurm."""
    try:
        lines = _GROUP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # version 2 has one tree, version 1 one for each controller
        top = _GROUPS / "memory" if controllers else _GROUPS
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        # a group may use no more than those that it is in
        for one in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                yield float((one / name).read_text())
            if one == top:
                break


class _Worker:
    """A process, and the thread that talks with it: item in, answer out."""

    def __init__(self, answers: queue.SimpleQueue[Any]) -> None:
        start = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            "from tgo_spectra.batch.worker import main; main()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            # a terminal sends Ctrl-C to the group of this process
            start_new_session=True,
        )
        self.ready = self.loaded = False
        self.item: Any = None
        self.begun = time.monotonic()
        self.verdict: Death | None = None
        self.task: bytes | None = None
        self._inbox: queue.SimpleQueue[list[tuple[str, bytes]] | None]
        self._inbox = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._talk, args=(answers,), daemon=True)
        self._thread.start()

    def begin(self, item: Any, task: bytes) -> None:
        """Send an item, and the task unless the worker has it."""
        self.loaded = self.task is task
        messages = [] if self.loaded else [("task", task)]
        self.item, self.task, self.begun = item, task, time.monotonic()
        self._inbox.put([*messages, ("item", pickle.dumps(item))])

    def _talk(self, answers: queue.SimpleQueue[Any]) -> None:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            answers.put((self, pickle.load(stdout)))
            while (messages := self._inbox.get()) is not None:
                for message in messages:
                    pickle.dump(message, stdin)
                    stdin.flush()
                    answers.put((self, pickle.load(stdout)))
        except (EOFError, OSError, pickle.UnpicklingError):
            answers.put((self, None))

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def end(self) -> None:
        """Let an idle worker leave; kill any other."""
        self._inbox.put(None)
        if self.item is not None or not self.ready:
            self.kill()
        elif self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()

    def wait(self) -> int:
        """Exit code, of a worker that has left or is about to."""
        try:
            code = self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.wait()
        # a stream is not closed under a thread that reads it; the end of the process
        # ends what it reads, unless a process of its own holds the other side
        self._thread.join(_END_S)
        if self._thread.is_alive():
            return code
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return code


class Workers:
    """Processes of this machine, started when there is work for them.

    `timeout_s` and `memory` (bytes) are the limits of one item; None for none. TgoError
    ``batch.no_workers`` where they do not start, ``batch.task`` for a task that cannot
    be sent to a process. An exception of the task is raised.
    """

    certain = True

    def __init__(
        self,
        number: int,
        *,
        timeout_s: float | None = None,
        memory: float | None = None,
    ) -> None:
        self._number = number
        self._timeout_s, self._memory = timeout_s, memory
        self._workers: list[_Worker] = []
        self._waiting: list[Any] = []
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._failures = 0
        self._looked = 0.0
        self._task = b""

    def use(self, task: Callable[[Any], Any]) -> None:
        """Take the task for all items that follow."""
        import cloudpickle

        try:
            self._task = cloudpickle.dumps(task)
        except Exception as error:  # of objects of any kind
            raise _not_sent(error) from error

    @property
    def room(self) -> int:
        """Number of items that it takes now."""
        busy = sum(one.item is not None for one in self._workers)
        return self._number - busy - len(self._waiting)

    def submit(self, item: Any) -> None:
        """Begin an item."""
        self._waiting.append(item)
        self._feed()

    def finished(self, seconds: float) -> tuple[Any, Any] | None:
        """Give one finished item with its outcome; None after some seconds without."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            self._look()
            try:
                worker, answer = self._answers.get(timeout=max(0, min(left, _TICK_S)))
            except queue.Empty:
                if left <= 0:
                    return None
                continue
            found = self._taken(worker, answer)
            self._feed()
            if found is not None:
                return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.wait()
        self._workers.clear()

    def _feed(self) -> None:
        """Give what waits to idle workers, and start more where these do not do."""
        for worker in self._workers:
            if self._waiting and worker.ready and worker.item is None:
                worker.begin(self._waiting.pop(0), self._task)
        starting = sum(not worker.ready for worker in self._workers)
        wanted = min(len(self._waiting) - starting, self._number - len(self._workers))
        for _ in range(wanted):
            try:
                self._workers.append(_Worker(self._answers))
            except OSError as error:
                raise self._not_started(str(error)) from error

    def _taken(self, worker: _Worker, answer: Any) -> tuple[Any, Any] | None:
        """Handle what a worker says, or its end (None)."""
        if answer is None:
            return self._dead(worker)
        kind, content, notes = answer
        for note in notes:
            _say(*note)
        if kind == "ready":
            worker.ready = True
            return None
        if kind == "loaded":
            # what the task imports does not count
            worker.loaded, worker.begun = True, time.monotonic()
            return None
        if kind == "not loaded":
            raise _not_sent(content)
        self._failures = 0
        item, worker.item = worker.item, None
        if kind == "raised":
            raise content
        return item, content

    def _dead(self, worker: _Worker) -> tuple[Any, Any] | None:
        code = worker.wait()
        self._workers.remove(worker)
        if not worker.ready:
            self._failures += 1
            if self._failures >= _STARTS:
                raise self._not_started(_ending(code))
            return None
        if worker.item is None:
            return None
        return worker.item, worker.verdict or _verdict(code)

    def _not_started(self, how: str) -> TgoError:
        message = f"the worker processes do not start: {how}"
        return TgoError(message, value=self._number, rule="batch.no_workers")

    def _look(self) -> None:
        """Kill workers that are over a limit."""
        now = time.monotonic()
        if now < self._looked + _TICK_S:
            return
        self._looked = now
        for worker in self._workers:
            spent = now - worker.begun
            if worker.verdict is not None or (worker.ready and worker.item is None):
                continue
            if not worker.loaded:
                if spent > _START_S:
                    worker.kill()
            elif self._timeout_s is not None and spent > self._timeout_s:
                message = f"took more than {self._timeout_s:g} s, and was ended"
                worker.verdict = Death("batch.timeout", message)
                worker.kill()
            elif self._memory is not None and _resident(worker) > self._memory:
                message = f"took more than {self._memory / GB:.3g} GB, and was ended"
                worker.verdict = Death("batch.memory", message)
                worker.kill()


def _not_sent(error: Exception) -> TgoError:
    message = f"the task cannot be sent to a process: {error}"
    return TgoError(message, rule="batch.task")


def _resident(worker: _Worker) -> float:
    """Bytes of memory in use; 0 of a process that is gone."""
    import psutil

    try:
        return float(psutil.Process(worker.process.pid).memory_info().rss)
    except psutil.Error:
        return 0.0


def _verdict(code: int) -> Death:
    tries = _TRIES_KILLED if -code == getattr(signal, "SIGKILL", 0) else 2
    message = f"the process that worked on it ended: {_ending(code)}"
    return Death("batch.worker_died", message, tries)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    more = ", as by a system that is out of memory" if name == "SIGKILL" else ""
    return f"{name}{more}"


def _say(kind: str, *words: Any) -> None:
    """Say here what a worker would have said: a record of the log, or a warning."""
    if kind == "log":
        name, level, text = words
        logging.getLogger(name).log(level, "%s", text)
    else:
        category, text = words
        try:
            warnings.warn(text, category, stacklevel=2)
        except category:  # an error by the filters of warnings: too late for the item
            _LOG.warning("%s", text)
