"""One exchange over HTTP: hosts allowed, time limits, redirects, faults by name.

Only the standard library is used, and no proxy.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import http.client
import random
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from tgo_spectra._version import __version__
from tgo_spectra.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tgo_spectra.archive.settings import ArchiveSettings

__all__ = ["AgainError", "blocks", "exchange", "persist"]

_BLOCK = 2**20  # bytes
_REDIRECTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TO_GET = frozenset({301, 302, 303})  # RFC 9110, 15.4: what browsers do after a POST
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NAMED = {
    401: "download.forbidden",
    403: "download.forbidden",
    404: "download.not_found",
    410: "download.not_found",
}
_SERVER_FAULTS = (OSError, http.client.HTTPException)
_T = TypeVar("_T")
_slots: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_slots_lock = threading.Lock()


class AgainError(Exception):
    """A fault that may pass: wait, then try again."""

    def __init__(
        self, message: str, rule: str, wait: float | None = None, *, once: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.rule = rule
        self.wait = wait
        self.once = once


def persist(once: Callable[[], _T], url: str, settings: ArchiveSettings) -> _T:
    """Repeat what may pass, waiting longer each time, by chance less."""
    repeated = 0
    attempt = 0
    while True:
        try:
            return once()
        except AgainError as fault:
            attempt += 1
            repeated += fault.once
            if attempt > settings.retries or repeated > 1:
                message = f"{fault.message} (attempt {attempt})"
                raise ArchiveError(message, path=url, rule=fault.rule) from fault
            longest = min(
                settings.backoff_max_s, settings.backoff_s * 2 ** (attempt - 1)
            )
            # full jitter, so that many clients do not come back together
            wait = random.uniform(0, longest) if fault.wait is None else fault.wait
            time.sleep(min(wait, settings.backoff_max_s))


@contextlib.contextmanager
def exchange(
    url: str,
    headers: dict[str, str],
    settings: ArchiveSettings,
    also: tuple[int, ...] = (),
    body: bytes | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Give the answer to a GET, or to a POST of `body`; redirects followed."""
    here = url
    for _ in range(_REDIRECTS_MAX + 1):
        _allow(here, settings)
        with _slot(urlsplit(here).netloc, settings), _connected(here, settings) as link:
            response = _ask(link, here, headers, settings, body)
            status = response.status
            if status in {200, 206, *also}:
                yield response
                return
            if status not in _REDIRECTS:
                raise _status_fault(response, here)
            where = response.headers.get("Location", "")
        if status in _TO_GET:
            body = None  # such as the result of a query, kept at an address of its own
        here = urljoin(here, where)
    message = f"more than {_REDIRECTS_MAX} redirects"
    raise ArchiveError(message, path=url, value=here, rule="download.redirect")


def _ask(
    link: http.client.HTTPConnection,
    url: str,
    headers: dict[str, str],
    settings: ArchiveSettings,
    body: bytes | None,
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fixed = {"Accept-Encoding": "identity", "User-Agent": f"tgo_spectra/{__version__}"}
    try:
        link.connect()
        # connecting and reading have limits of their own
        link.sock.settimeout(settings.read_timeout_s)
        method = "GET" if body is None else "POST"
        link.request(method, path, body, headers={**fixed, **headers})
        return link.getresponse()
    except TimeoutError as error:
        message = "no answer in time"
        raise AgainError(message, "download.stalled") from error
    except socket.gaierror as error:
        message = (
            f"no such server ({error.strerror}): there is no network, or the address "
            "in the settings is wrong"
        )
        # seldom passes, and a user without a network should not wait long for that
        raise AgainError(message, "download.connection", once=True) from error
    except _SERVER_FAULTS as error:
        message = f"no connection: {error or type(error).__name__}"
        raise AgainError(message, "download.connection") from error


def _status_fault(response: http.client.HTTPResponse, url: str) -> Exception:
    status = response.status
    if status in _PASSING:
        wait = _retry_after(response.headers.get("Retry-After", "").strip())
        return AgainError(f"the server answers {status}", "download.server_busy", wait)
    rule = _NAMED.get(status, "download.http_status")
    message = f"the server answers {status} {response.reason}"
    return ArchiveError(message, path=url, value=status, rule=rule)


def _retry_after(text: str) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None if neither."""
    if re.fullmatch(r"\d{1,6}", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=dt.UTC)
    return max((date - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)


def _allow(url: str, settings: ArchiveSettings) -> None:
    parts = urlsplit(url)
    if settings.offline:
        message = "the settings say offline"
        raise ArchiveError(message, path=url, rule="download.offline")
    schemes = {"https"} if settings.https_only else {"https", "http"}
    if parts.scheme not in schemes or parts.hostname not in settings.allowed_hosts:
        message = (
            f"only {' and '.join(sorted(schemes))} addresses of "
            f"{', '.join(settings.allowed_hosts)} are opened (allowed_hosts)"
        )
        raise ArchiveError(
            message, path=url, value=parts.hostname, rule="download.host"
        )


@contextlib.contextmanager
def _connected(
    url: str, settings: ArchiveSettings
) -> Iterator[http.client.HTTPConnection]:
    parts = urlsplit(url)
    host, limit = parts.hostname or "", settings.connect_timeout_s
    if parts.scheme == "https":
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=limit, context=ssl.create_default_context()
        )
    else:
        link = http.client.HTTPConnection(host, parts.port, timeout=limit)
    try:
        yield link
    finally:
        link.close()


def _slot(host: str, settings: ArchiveSettings) -> threading.BoundedSemaphore:
    """Places at one server, shared by all threads of the process."""
    key = (host, settings.max_parallel_per_host)
    with _slots_lock:
        if key not in _slots:
            _slots[key] = threading.BoundedSemaphore(key[1])
        return _slots[key]


def blocks(
    response: http.client.HTTPResponse,
    settings: ArchiveSettings,
    limit: int,
    url: str,
) -> Iterator[bytes]:
    """Pieces as they arrive; a server that hardly sends is left."""
    began, window, total = time.monotonic(), 0, 0
    while True:
        try:
            # at most one receive, so that the clock is looked at
            block = response.read1(_BLOCK)
        except TimeoutError as error:
            message = f"nothing came for {settings.read_timeout_s} s"
            raise AgainError(message, "download.stalled") from error
        except _SERVER_FAULTS as error:
            message = f"connection lost: {error or type(error).__name__}"
            raise AgainError(message, "download.truncated") from error
        if not block:
            return
        window += len(block)
        total += len(block)
        if total > limit:
            message = f"the server sends more than {limit} bytes"
            raise ArchiveError(
                message, path=url, value=total, rule="download.too_large"
            )
        yield block
        now = time.monotonic()
        if now - began >= settings.stall_window_s:
            rate = window / (now - began)
            if rate < settings.min_rate_bytes_s:
                message = f"only {rate:.0f} bytes a second came"
                raise AgainError(message, "download.stalled")
            began, window = now, 0
