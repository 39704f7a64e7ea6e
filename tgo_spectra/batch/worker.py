"""A worker process: takes a task and items from its pipe and answers in another.

The process that started it holds the other ends; nobody else can reach them. Ctrl-C and
SIGTERM are for that process, which ends its workers; where it is gone, the worker ends
by itself, also in the middle of an item.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import warnings
from typing import IO, Any

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


class _Notes(logging.Handler):
    """Warnings and records of the log, to be said by the process that started this."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.taken: list[tuple[Any, ...]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record of the log."""
        self.taken.append(("log", record.name, record.levelno, record.getMessage()))

    def warn(self, message: Warning | str, category: type[Warning], *_: object) -> None:
        """Keep one warning."""
        self.taken.append(("warning", category, str(message)))

    def take(self) -> list[tuple[Any, ...]]:
        """Give what was kept, once."""
        taken, self.taken = self.taken, []
        return taken


def main() -> None:
    """Work until the pipe of the requests is closed."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a task prints must not stand between the answers
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    if sys.platform == "linux":
        # also where code that cannot be interrupted hangs; the threads below cannot
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    inbox: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, inbox), daemon=True).start()
    notes = _Notes()
    logging.getLogger().addHandler(notes)
    warnings.showwarning = notes.warn  # type: ignore[assignment]
    _answer(answers, ("ready", None, []))
    task: Any = None
    while True:
        kind, content = inbox.get()
        try:
            if kind == "task":
                task = pickle.loads(content)
                answer: tuple[str, Any, list[Any]] = ("loaded", None, [])
            else:
                answer = ("done", task(pickle.loads(content)), notes.take())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            what = "raised" if task is not None else "not loaded"
            answer = (what, error, notes.take())
        _answer(answers, answer)


def _receive(requests: IO[bytes], inbox: queue.SimpleQueue[tuple[str, bytes]]) -> None:
    """Fill the inbox; the end of the pipe is that of the process."""
    while True:
        try:
            inbox.put(pickle.load(requests))
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(0)


def _answer(answers: IO[bytes], answer: tuple[str, Any, list[Any]]) -> None:
    """Send an answer; one that cannot travel is told in words."""
    try:
        content = pickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 - of objects of any kind
        text = f"its answer cannot be sent: {answer[1]!r} ({error})"
        content = pickle.dumps(("raised", RuntimeError(text), answer[2]))
    try:
        answers.write(content)
        answers.flush()
    except OSError:
        os._exit(0)
