"""Download of one file over HTTP that survives what networks do.

A file gets its final name only when its length, magic bytes, checksum and contents
are right. Until then it is ``<name>.part``, with the address and the validator of the
server in ``<name>.part.json``, and a later call goes on where it stopped.

References
----------
RFC 9110, HTTP Semantics: range requests (14), If-Range (13.1.5).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tgo_spectra.archive.http import FaultError, Link, blocks, persist
from tgo_spectra.errors import ArchiveError, OutputError, TgoError
from tgo_spectra.files.atomic import writing
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedRandom
    from pathlib import Path
    from typing import IO

    from urllib3 import BaseHTTPResponse

    from tgo_spectra.archive.settings import ArchiveSettings

__all__ = ["download"]

_MAGIC = {".zip": b"PK\x03\x04", ".xml": b"<?xml", ".lblx": b"<?xml"}


@dataclass(frozen=True)
class _Part:
    """An unfinished file and what the server said of it."""

    file: BufferedRandom
    note: Path
    url: str

    def resume(self) -> dict[str, str]:
        """Headers that ask for the rest, if the server can prove it is the same."""
        size = self.size()
        said = self._read()
        validator = said.get("validator")
        if not size or not validator or said.get("url") != self.url:
            self.restart()
            return {}
        return {"Range": f"bytes={size}-", "If-Range": str(validator)}

    def size(self) -> int:
        return self.file.seek(0, os.SEEK_END)

    def restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.note.unlink(missing_ok=True)

    def leave(self) -> None:
        """Keep what can be continued, nothing else."""
        self.file.flush()
        if not self.size():
            self.note.unlink(missing_ok=True)
            self.note.with_suffix("").unlink(missing_ok=True)

    def remember(self, response: BaseHTTPResponse) -> None:
        etag = response.headers.get("ETag", "")
        # a weak tag does not promise equal bytes, so it must not be used in If-Range
        strong = etag if etag and not etag.startswith("W/") else None
        validator = strong or response.headers.get("Last-Modified")
        text = json.dumps({"url": self.url, "validator": validator})
        self.note.write_text(text, encoding="utf-8")

    def _read(self) -> dict[str, Any]:
        try:
            said = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}


def download(
    url: str,
    target: str | Path,
    settings: ArchiveSettings,
    *,
    md5: str | None = None,
    size: int | None = None,
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Download one file; it appears under its final name whole and checked, or not.

    Parameters
    ----------
    url : str
        Address; its host must be in ``settings.allowed_hosts``.
    target : path
        Final name; its suffix says which magic bytes the file must begin with. A file
        that is there already is returned as it is: check it before.
    settings : ArchiveSettings
        Time limits, retries and hosts.
    md5 : str, optional
        MD5 that the file must have, hexadecimal.
    size : int, optional
        Bytes that the file must have.
    check : callable, optional
        Called with the name of the complete ``.part`` file; refuses it by raising
        a `TgoError`.

    Returns
    -------
    pathlib.Path
        `target`.

    Raises
    ------
    ArchiveError
        ``download.not_found``, ``download.forbidden``, ``download.http_status``,
        ``download.host``, ``download.redirect``, ``download.offline``,
        ``download.too_large`` at once; ``download.truncated``, ``download.stalled``,
        ``download.connection``, ``download.server_busy`` after all retries;
        ``download.wrong_content``, ``download.length_mismatch`` and
        ``download.checksum_mismatch`` after one retry from the first byte.
    TgoError
        What `check` raised, after one retry from the first byte.
    OutputError
        ``io.no_locks``, or see `tgo_spectra.files.atomic.writing`.
    """
    final = expanded(target)
    with writing(final), _claimed(final) as file:
        if file is None:
            return final
        part = _Part(file, final.with_name(f"{final.name}.part.json"), url)
        try:
            _complete(part, final, settings, md5, size, check)
        except BaseException:
            part.leave()
            raise
        file.flush()
        os.fsync(file.fileno())
        # first, so that a kill here leaves no note beside a finished file
        part.note.unlink(missing_ok=True)
        final.with_name(f"{final.name}.part").replace(final)
        _sync_folder(final.parent)
    return final


def _complete(
    part: _Part,
    final: Path,
    settings: ArchiveSettings,
    md5: str | None,
    size: int | None,
    check: Callable[[Path], object] | None,
) -> None:
    """Fill the part file until it passes all checks."""
    refused: list[TgoError] = []

    def once(link: Link) -> None:
        _transfer(part, link)
        try:
            _inspect(part, final, md5, size)
            if check is not None:
                check(final.with_name(f"{final.name}.part"))
        except TgoError as error:
            part.restart()
            refused.append(error)
            rule = error.rule or "download.wrong_content"
            raise FaultError(error.message, rule, once=True) from error

    try:
        persist(once, part.url, settings)
    except ArchiveError as error:
        if refused and error.rule == refused[-1].rule:
            raise refused[-1] from error
        raise


def _transfer(part: _Part, link: Link) -> None:
    """One request: the whole file, or the rest of it."""
    headers = part.resume()
    have = part.size()
    most = link.settings.max_product_bytes
    with link.answer(headers, also=(416,)) as response:
        total = response.length_remaining
        if response.status == 416:
            part.restart()
            message = "the server has no such range: from the first byte again"
            raise FaultError(message, "download.range")
        if response.status == 206:
            total = _range_total(response, have)
            if total is None:
                part.restart()
                message = "the server sent another range than asked for"
                raise FaultError(message, "download.range")
        elif have:
            # range ignored, or the file changed: never append
            part.restart()
            have = 0
        if have == 0:
            _refuse_page(response)
            part.remember(response)
        if total is not None and total > most:
            message = "file is larger than max_product_bytes"
            raise ArchiveError(
                message, path=part.url, value=total, rule="download.too_large"
            )
        for block in blocks(response, link, most - have):
            part.file.write(block)
    part.file.flush()


def _range_total(response: BaseHTTPResponse, have: int) -> int | None:
    """Length of the whole file, if the range sent begins where ours ends."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", text.strip())
    if match is None or int(match[1]) != have or int(match[2]) + 1 != int(match[3]):
        return None
    return int(match[3])


def _refuse_page(response: BaseHTTPResponse) -> None:
    coding = response.headers.get("Content-Encoding", "identity").lower()
    kind = response.headers.get("Content-Type", "").lower()
    if coding != "identity" or kind.startswith("text/html"):
        message = f"the server sent {kind or 'something'} ({coding}), not the file"
        raise FaultError(message, "download.wrong_content", once=True)


def _inspect(part: _Part, final: Path, md5: str | None, size: int | None) -> None:
    def fail(message: str, value: object, rule: str) -> ArchiveError:
        return ArchiveError(message, path=part.url, value=value, rule=rule)

    found = part.size()
    part.file.seek(0)
    magic = _MAGIC.get(final.suffix.lower(), b"")
    head = part.file.read(len(magic))
    if head != magic:
        message = f"the file does not begin like a {final.suffix} file"
        raise fail(message, head, "download.wrong_content")
    if size is not None and found != size:
        message = f"file should have {size} bytes"
        raise fail(message, found, "download.length_mismatch")
    if md5 is not None:
        part.file.seek(0)
        # MD5 because the archive's labels state it; not for security
        digest = hashlib.file_digest(part.file, "md5").hexdigest()
        if digest != md5.lower():
            message = f"MD5 should be {md5}"
            raise fail(message, digest, "download.checksum_mismatch")


@contextlib.contextmanager
def _claimed(final: Path) -> Iterator[BufferedRandom | None]:
    """Give the part file to one thread of one process, or None if all is done.

    The lock is the kernel's: it ends with its process, however that ends.
    """
    try:
        import fcntl
    except ImportError as error:  # Windows
        message = "a download needs the file locks of a POSIX system"
        raise OutputError(message, path=final, rule="io.no_locks") from error
    path = final.with_name(f"{final.name}.part")
    while not final.exists():
        with open(path, "a+b") as file:  # noqa: PTH123 - a+b keeps what is there
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _same(path, file):
                continue  # the former owner finished, or gave up its file
            # appending would put all blocks at the end, wherever we seek
            with path.open("r+b") as writable:
                yield writable
            return
    yield None


def _same(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
