"""Dask clusters: connecting to a scheduler, and the engine that works on it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import pickle
import queue
import socket
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tgo_spectra.batch.engines import Death
from tgo_spectra.errors import TgoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client
    from distributed.security import Security

__all__ = ["OnCluster", "connected"]

_LOG = logging.getLogger(__name__)

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
_WORKERS_S = 1.0  # between two looks at the number of workers
_SILENCE_S = 5.0  # until it is said that there are none
_FETCH_S = 2.0  # for a result; twice as long after each time that it did not come
_LEAST, _EACH = 8, 3  # items on the cluster: at least, and for each worker


@contextlib.contextmanager
def connected(
    place: str, tls: Mapping[str, str] | None = None, *, is_file: bool = False
) -> Iterator[Client]:
    """Connect to a running Dask scheduler, such as ``tls://host:8786``.

    `place` is its address, or the file that it writes. `tls` names the files ``ca``,
    ``cert`` and ``key``; with them nothing goes unencrypted. TgoError
    ``batch.scheduler``: it is no such address or file, nothing answers there within
    the time of Dask's setting ``distributed.comm.timeouts.connect``, or it is no
    scheduler.
    """
    import dask
    from distributed import Client

    seconds = dask.utils.parse_timedelta(
        dask.config.get("distributed.comm.timeouts.connect", "30s")
    )
    security = _security(tls or {})
    address = _address_in(Path(place), seconds) if is_file else place
    _reach(address, seconds, security)
    try:
        client = Client(  # type: ignore[no-untyped-call]
            address, timeout=max(seconds, 1.0), security=security
        )
    except _OF_OTHER_SERVERS as error:
        message = f"no Dask scheduler answers there ({error})"
        raise _scheduler_error(message, address) from None
    with client:
        yield client


def _security(tls: Mapping[str, str]) -> Security:
    from distributed.security import Security

    missing = [name for name in ("ca", "cert", "key") if name not in tls] if tls else []
    if missing:
        message = f"certificates need all three of ca, cert and key; no {missing[0]}"
        raise TgoError(message, field="tls", rule="batch.tls")
    if not tls:
        return Security()  # type: ignore[no-untyped-call]
    given = {"tls_ca_file": tls["ca"]}
    given |= {"tls_client_cert": tls["cert"], "tls_client_key": tls["key"]}
    security = Security(  # type: ignore[no-untyped-call]
        require_encryption=True, **given
    )
    try:
        security.get_connection_args("client")  # type: ignore[no-untyped-call]
    except OSError as error:
        message = f"these certificates cannot be used: {error}"
        raise TgoError(message, path=tls["cert"], rule="batch.tls") from None
    return security


def _address_in(file: Path, seconds: float) -> str:
    """Address in the file of a scheduler, which may be about to be written."""
    until = time.monotonic() + seconds
    while True:
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            if time.monotonic() + _AGAIN_S > until:
                message = f"no file of a Dask scheduler within {seconds:g} s ({error})"
                raise _scheduler_error(message, str(file)) from None
            time.sleep(_AGAIN_S)


def _reach(address: str, seconds: float, security: Security) -> None:
    """Open and close a connection; what is known to fail is not left to Dask.

    A Client that was not connected fails again, noisily, when it is freed.
    """
    from distributed.comm.addressing import parse_host_port

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
    known = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    if scheme in ("tls", "wss") and not known.get("ssl_context"):
        message = (
            "this address needs certificates (--tls-ca, --tls-cert, --tls-key, or "
            "Dask's distributed.comm.tls)"
        )
        raise _scheduler_error(message, address)
    if scheme in ("tcp", "ws") and security.require_encryption:
        message = "with certificates the address begins with tls://"
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


class OnCluster:
    """The workers of a Dask client, also those that join later.

    A window of items is on the cluster at a time, so that its memory is bounded. A
    dying worker takes the items beside it along. `timeout_s` is kept by the workers
    themselves, where a nanny starts them again. TgoError ``batch.scheduler_lost`` where
    the scheduler is.
    """

    certain = False

    def __init__(self, client: Client, *, timeout_s: float | None = None) -> None:
        self._client, self._timeout_s = client, timeout_s
        self._running: dict[str, tuple[Any, Any]] = {}
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._workers, self._looked = 0, -_WORKERS_S
        self._alone_since: float | None = None
        self._unanswered_since: float | None = None
        self._fetch_s = _FETCH_S
        self._task = b""

    def use(self, task: Callable[[Any], Any]) -> None:
        """Take the task for all items that follow."""
        import cloudpickle

        self._task = cloudpickle.dumps(task)

    @property
    def room(self) -> int:
        """Number of items that it takes now; it follows the number of workers."""
        now = time.monotonic()
        if now >= self._looked + _WORKERS_S:
            self._looked = now
            self._count()
        return max(_LEAST, _EACH * self._workers) - len(self._running)

    def submit(self, item: Any) -> None:
        """Begin an item."""
        with self._asking():
            # pure=False: the key must not depend on hashing the task
            future = self._client.submit(
                _perform, self._task, item, str(Path.cwd()), self._timeout_s, pure=False
            )
        self._running[str(future.key)] = item, future
        future.add_done_callback(self._answers.put)  # type: ignore[no-untyped-call]

    def finished(self, seconds: float) -> tuple[Any, Any] | None:
        """Give one finished item with its outcome; None after some seconds without."""
        try:
            future = self._answers.get(timeout=seconds)
        except queue.Empty:
            self._watch()
            return None
        with self._asking():
            try:
                error = future.exception(timeout=self._fetch_s)
                outcome = (
                    future.result(timeout=self._fetch_s) if error is None else None
                )
            except TimeoutError:
                # lost with its worker: the scheduler has it done again, if it can
                self._fetch_s *= 2.0
                future.add_done_callback(self._answers.put)
                self._watch()
                return None
            future.release()
        self._fetch_s = _FETCH_S
        item, _ = self._running.pop(str(future.key))
        return item, outcome if error is None else _death(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(TgoError), self._asking():
            futures = [future for _, future in self._running.values()]
            self._client.cancel(futures)  # type: ignore[no-untyped-call]
        self._running.clear()

    def _count(self) -> None:
        """Ask how many workers there are; without an answer it is as before."""
        now = time.monotonic()
        try:
            with self._asking():
                # else it waits for a scheduler that is gone as for one about to start
                threads = self._client.nthreads(  # type: ignore[no-untyped-call]
                    callback_timeout=_FETCH_S
                )
            self._workers, self._unanswered_since = sum(threads.values()), None
        except TimeoutError:
            self._watch()
            if self._unanswered_since is None:
                self._unanswered_since = now
            elif self._unanswered_since + _SILENCE_S < now:
                _LOG.warning("the scheduler does not answer; waiting for it")
                self._unanswered_since = float("inf")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Say that the scheduler is lost, whatever Dask raises then or waits for."""
        if self._client.status != "running":
            raise _scheduler_lost()
        try:
            yield
        except TimeoutError:
            raise
        except (CancelledError, OSError, RuntimeError) as error:
            raise _scheduler_lost() from error

    def _watch(self) -> None:
        """Look whether there is anybody to work."""
        if self._client.status != "running":
            raise _scheduler_lost()
        now = time.monotonic()
        if self._workers or not self._running:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif self._alone_since + _SILENCE_S < now:
            _LOG.warning("the scheduler has no workers; waiting for one")
            self._alone_since = float("inf")


@functools.lru_cache(maxsize=2)
def _loaded(task: bytes) -> Callable[[Any], Any]:
    """Load a task once a process; it may hold an atmosphere."""
    loaded: Callable[[Any], Any] = pickle.loads(task)
    return loaded


def _perform(task: bytes, item: Any, folder: str, timeout_s: float | None) -> Any:
    """Work on one item in a worker of the cluster; over its time the process ends.

    `folder` is where the names of files in the task begin, if the worker has it.
    """
    import faulthandler

    from distributed import get_worker

    loaded = _loaded(task)  # what it imports does not count
    limited = timeout_s is not None and get_worker().nanny is not None
    if limited:
        # its thread needs no interpreter, so it works whatever the item does
        faulthandler.dump_traceback_later(timeout_s or 0.0, exit=True)
    there = folder != str(Path.cwd()) and Path(folder).is_dir()
    try:
        with contextlib.chdir(folder) if there else contextlib.nullcontext():
            return loaded(item)
    finally:
        if limited:
            faulthandler.cancel_dump_traceback_later()


def _death(error: BaseException) -> Death:
    """Give the end of an item's process; any other exception is raised."""
    from distributed.scheduler import KilledWorker

    if not isinstance(error, KilledWorker):
        raise error
    worker = error.last_worker.address
    return Death("batch.worker_died", f"the worker that had it ended, at {worker}")


def _scheduler_lost() -> TgoError:
    message = (
        "the connection to the Dask scheduler is lost; what is done stays, and the "
        "same call goes on"
    )
    return TgoError(message, rule="batch.scheduler_lost")
