"""Worker processes: own ones, those of a running cluster, and work given to either."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing.process
import multiprocessing.resource_tracker
import signal
import socket
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Client

__all__ = ["connected", "leave_if_imported", "own_workers", "results"]

_LOG = logging.getLogger(__name__)

# One thread a process: the products are the parallel part. Set before the worker
# starts, because the libraries read these when they are loaded.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
# what reading an answer that is not Dask's has been seen, or is likely, to raise
_OF_OTHER_SERVERS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_AGAIN_S = 0.5  # between two attempts to reach a scheduler


def leave_if_imported() -> None:
    """End a worker process that imports the script which is about to start workers.

    A new process imports the user's script before it does anything. Without a main
    guard that calls for workers again; the process ends here, without a word, and the
    first process says what is missing.
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise SystemExit(1)


@contextlib.contextmanager
def own_workers(number: int) -> Iterator[Client]:
    """Start worker processes on this machine, one thread each.

    TgoError ``batch.no_main_guard`` where the script has none, ``batch.no_workers``
    where they do not start for another reason.
    """
    leave_if_imported()
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.nanny.pre-spawn-environ": _ONE_THREAD,
        "distributed.scheduler.allowed-failures": 1,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            with _deaf_to_interrupts():
                cluster = LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=number,
                    threads_per_worker=1,
                    processes=True,
                    # any free port, reachable from this machine only
                    dashboard_address="127.0.0.1:0",
                    # what matters is raised, or becomes the row of a product
                    silence_logs=logging.CRITICAL,
                )
        except RuntimeError as error:
            raise _not_started(number, error) from None
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started here, and later by their threads, miss Ctrl-C.

    A terminal sends it to all processes. The first one ends the others; without this
    each of them says so first, in a long traceback.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # not on Windows
    if mask is None:
        yield
        return
    # where it is not running yet, its start lets Ctrl-C through again
    multiprocessing.resource_tracker.ensure_running()
    former = mask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        mask(signal.SIG_SETMASK, former)


def _not_started(number: int, error: RuntimeError) -> TgoError:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is not None and Path(script).is_file():
        text = Path(script).read_text(encoding="utf-8", errors="replace")
        if "__main__" not in text:
            message = (
                f"{number} workers import this script anew, so the call that starts "
                "them must stand under 'if __name__ == \"__main__\":'"
            )
            return TgoError(message, path=script, rule="batch.no_main_guard")
    message = f"the worker processes did not start: {error}"
    return TgoError(message, value=number, rule="batch.no_workers")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a running Dask scheduler, such as ``tcp://host:8786``.

    TgoError ``batch.scheduler``: it is no such address, nothing answers there within
    the time of Dask's setting ``distributed.comm.timeouts.connect``, or it is no
    scheduler.
    """
    import dask
    from distributed import Client

    seconds = dask.utils.parse_timedelta(
        dask.config.get("distributed.comm.timeouts.connect", "30s")
    )
    _reach(address, seconds)
    try:
        client = Client(  # type: ignore[no-untyped-call]
            address, timeout=max(seconds, 1.0)
        )
    except _OF_OTHER_SERVERS as error:
        message = f"no Dask scheduler answers there ({error})"
        raise _scheduler_error(message, address) from None
    with client:
        if not client.scheduler_info()["workers"]:
            _LOG.warning("the scheduler at %s has no workers yet; waiting", address)
        yield client


def _reach(address: str, seconds: float) -> None:
    """Open and close a connection; what is known to fail is not left to Dask.

    A Client that was not connected fails again, noisily, when it is freed.
    """
    from distributed.comm.addressing import parse_host_port
    from distributed.security import Security

    scheme, mark, rest = address.rpartition("://")
    scheme = scheme if mark else "tcp"
    form = "give the address of a Dask scheduler, such as tcp://HOST:8786"
    if scheme not in ("tcp", "tls", "ws", "wss"):
        raise _scheduler_error(form, address)
    try:
        host, port = parse_host_port(rest)
    except ValueError:
        raise _scheduler_error(form, address) from None
    if not host or not 0 < port < 65_536 or not address.isprintable():
        raise _scheduler_error(form, address)
    known = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    if scheme in ("tls", "wss") and not known.get("ssl_context"):
        message = "this address needs certificates (Dask's distributed.comm.tls)"
        raise _scheduler_error(message, address)
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=max(seconds, 0.1)).close()
        except (OSError, UnicodeError) as error:
            # it may be about to start, as in a job that starts both
            if time.monotonic() + _AGAIN_S > until:
                message = f"nothing answers there within {seconds:g} s ({error})"
                raise _scheduler_error(message, address) from None
            time.sleep(_AGAIN_S)
        else:
            return


def _scheduler_error(message: str, address: str) -> TgoError:
    return TgoError(message, field="scheduler", value=address, rule="batch.scheduler")


def results(
    items: Iterable[Path], task: Callable[[Path], Any], client: Client
) -> Iterator[tuple[Path, Any]]:
    """Give items to a task on a cluster, yield them with what it returned.

    The task raises nothing. A window of items is on the cluster at a time, so that its
    memory is bounded. A dying worker takes the tasks beside it along: items that were
    on dead workers are tried once more, one at a time, so that it is certain which one
    is to blame; of that the exception is the result. TgoError ``batch.scheduler_lost``
    where the scheduler is.
    """
    try:
        yield from _results(items, task, client)
    except (CancelledError, OSError, RuntimeError):
        message = (
            "the connection to the Dask scheduler is lost; what is done stays, and the "
            "same call goes on"
        )
        raise TgoError(message, rule="batch.scheduler_lost") from None


def _results(
    items: Iterable[Path], task: Callable[[Path], Any], client: Client
) -> Iterator[tuple[Path, Any]]:
    from distributed import as_completed

    window = max(8, 3 * len(client.scheduler_info()["workers"]))
    waiting = iter(items)
    running: dict[str, Path] = {}
    suspects: list[Path] = []

    def submit(path: Path) -> Any:
        # pure=False: the key must not depend on hashing the setup and the atmosphere
        future = client.submit(task, path, pure=False)
        running[str(future.key)] = path
        return future

    first = [submit(path) for path in itertools.islice(waiting, window)]
    queue = as_completed(first)  # type: ignore[no-untyped-call]
    for future in queue:
        path = running.pop(str(future.key))
        if future.exception() is None:
            yield path, future.result()
        else:
            suspects.append(path)
        future.release()
        following = next(waiting, None)
        if following is not None:
            queue.add(submit(following))  # type: ignore[no-untyped-call]
    for path in suspects:
        future = submit(path)
        error = future.exception()
        yield path, future.result() if error is None else error
