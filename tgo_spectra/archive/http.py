"""Questions to servers over HTTP: which hosts, how often, how long, faults by name.

Connections, redirects and waits between attempts are those of urllib3, without a
proxy; here is what the archive asks of them beyond that.

References
----------
RFC 9110, HTTP Semantics: redirects (15.4), Retry-After (10.2.3).
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    ProtocolError,
    ReadTimeoutError,
    ResponseError,
)

from tgo_spectra._version import __version__
from tgo_spectra.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from urllib3 import BaseHTTPResponse
    from urllib3.connectionpool import ConnectionPool

    from tgo_spectra.archive.settings import ArchiveSettings

__all__ = ["FaultError", "Link", "blocks", "persist", "request_bytes"]

_BLOCK = 2**20  # bytes
_REDIRECTS_MAX = 5
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_NAMED = {
    401: "download.forbidden",
    403: "download.forbidden",
    404: "download.not_found",
    410: "download.not_found",
}
_T = TypeVar("_T")


def request_bytes(
    url: str,
    settings: ArchiveSettings,
    limit: int = 2**28,
    form: tuple[str, bytes] | None = None,
) -> bytes:
    """Fetch a small answer, such as that of a query, of at most `limit` bytes.

    A form (content type, bytes) may be sent more than once, so it must ask a question
    only. An answer of status 400, with which services of the Virtual Observatory
    explain a bad query, is returned like one of status 200.
    """
    headers = {} if form is None else {"Content-Type": form[0]}
    sent = None if form is None else form[1]

    def once(link: Link) -> bytes:
        with link.answer(headers, (400,), sent) as response:
            return b"".join(blocks(response, link, limit))

    return persist(once, url, settings)


class FaultError(ProtocolError):
    """A fault that may pass; `once` says that a second try is the last."""

    def __init__(self, message: str, rule: str, *, once: bool = False) -> None:
        super().__init__(message)
        self.rule = rule
        self.once = once


class _Waits(Retry):
    """Attempts and waits, none of them longer than a user has set."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            wait = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if wait is None else min(wait, self.backoff_max)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, NameResolutionError) and _pool is not None:
            # seldom passes, and a user without a network should not wait for that
            raise MaxRetryError(_pool, str(url), error)
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _Pool(PoolManager):
    """Connections to hosts that the settings allow, also after a redirect."""

    def __init__(self, settings: ArchiveSettings) -> None:
        super().__init__(
            headers={
                "Accept-Encoding": "identity",
                "User-Agent": f"tgo_spectra/{__version__}",
            },
            maxsize=settings.max_parallel_per_host,
            block=True,
            timeout=Timeout(
                connect=settings.connect_timeout_s, read=settings.read_timeout_s
            ),
        )
        self.settings = settings

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **given: Any
    ) -> BaseHTTPResponse:
        _allow(url, self.settings)
        return super().urlopen(method, url, redirect, **given)


@lru_cache(maxsize=8)
def _pool(settings: ArchiveSettings) -> _Pool:
    """Return the connections that all threads of the process share."""
    return _Pool(settings)


@dataclass
class Link:
    """An address that is asked again, and the attempts that are left."""

    url: str
    settings: ArchiveSettings
    waits: Retry

    @contextlib.contextmanager
    def answer(
        self,
        headers: dict[str, str],
        also: tuple[int, ...] = (),
        body: bytes | None = None,
    ) -> Iterator[BaseHTTPResponse]:
        """Give the answer to a GET, or to a POST of `body`; redirects followed."""
        pool = _pool(self.settings)
        response = pool.urlopen(
            "GET" if body is None else "POST",
            self.url,
            headers={**pool.headers, **headers},
            body=body,
            retries=self.waits,
            preload_content=False,
            decode_content=False,
        )
        try:
            self.waits = response.retries or self.waits
            if response.status not in {200, 206, *also}:
                raise _status_fault(response, self.url)
            yield response
        finally:
            response.close()  # what was not read is not waited for
            response.release_conn()

    def again(self, fault: HTTPError) -> bool:
        """Wait for the next attempt; say whether there is one."""
        try:
            self.waits = self.waits.increment("GET", self.url, error=fault)
        except MaxRetryError:
            return False
        self.waits.sleep()
        return True


def persist(once: Callable[[Link], _T], url: str, settings: ArchiveSettings) -> _T:
    """Repeat what may pass, waiting longer each time; name what does not."""
    n = settings.retries
    waits = _Waits(
        total=None,
        connect=n,
        read=n,
        status=n,
        other=n,
        redirect=_REDIRECTS_MAX,
        allowed_methods=None,  # a form asks a question only, see `request_bytes`
        status_forcelist=_PASSING,
        backoff_factor=settings.backoff_s,
        backoff_jitter=settings.backoff_s,  # clients do not come back together
        backoff_max=settings.backoff_max_s,
        raise_on_status=False,
    )
    link = Link(url, settings, waits)
    repeated = 0
    while True:
        try:
            return once(link)
        except MaxRetryError as error:
            raise _refusal(error.reason or error, link) from error
        except HTTPError as fault:
            repeated += getattr(fault, "once", False)
            if repeated > 1 or not link.again(fault):
                raise _refusal(fault, link) from fault


def _refusal(fault: Exception, link: Link) -> ArchiveError:
    rule = "download.connection"
    message = f"no connection: {fault}"
    if isinstance(fault, FaultError):
        rule, message = fault.rule, str(fault)
    elif isinstance(fault, NameResolutionError):
        message = (
            f"no such server ({fault}): there is no network, or the address in the "
            "settings is wrong"
        )
    elif isinstance(fault, ConnectTimeoutError | ReadTimeoutError):
        rule, message = "download.stalled", f"no answer in time: {fault}"
    elif isinstance(fault, ResponseError):
        rule = "download.redirect"
        message = f"more than {_REDIRECTS_MAX} redirects"
    attempts = f"attempt {len(link.waits.history) + 1}"
    return ArchiveError(f"{message} ({attempts})", path=link.url, rule=rule)


def _status_fault(response: BaseHTTPResponse, url: str) -> ArchiveError:
    status = response.status
    busy = "download.server_busy" if status in _PASSING else "download.http_status"
    message = f"the server answers {status} {response.reason}"
    return ArchiveError(message, path=url, value=status, rule=_NAMED.get(status, busy))


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


def blocks(response: BaseHTTPResponse, link: Link, limit: int) -> Iterator[bytes]:
    """Pieces as they arrive; a server that hardly sends is left."""
    settings = link.settings
    began, window, total = time.monotonic(), 0, 0
    while True:
        try:
            # at most one receive, so that the clock is looked at
            block = response.read1(_BLOCK)
        except ProtocolError as error:
            message = f"connection lost: {error}"
            raise FaultError(message, "download.truncated") from error
        if not block:
            return
        window += len(block)
        total += len(block)
        if total > limit:
            message = f"the server sends more than {limit} bytes"
            raise ArchiveError(
                message, path=link.url, value=total, rule="download.too_large"
            )
        yield block
        now = time.monotonic()
        if now - began >= settings.stall_window_s:
            rate = window / (now - began)
            if rate < settings.min_rate_bytes_s:
                message = f"only {rate:.0f} bytes a second came"
                raise FaultError(message, "download.stalled")
            began, window = now, 0
