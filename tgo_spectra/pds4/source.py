"""Where bytes come from: a plain file beside the label, or a member of a zip.

Zip members are read by name through a checked index; nothing is extracted.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tgo_spectra.errors import ProductError
from tgo_spectra.paths import expanded

__all__ = ["Source", "archive_members", "resolve_data"]

MEMBERS_MAX = 20_000
"""Most members accepted in one zip."""
ARCHIVE_BYTES_MAX = 4 * 2**30
"""Most uncompressed bytes accepted in one zip."""
RATIO_MAX = 200
"""Largest ratio of uncompressed to compressed bytes of a member above 1 MiB."""
NAME_BYTES_MAX = 255
"""Longest file name that common file systems take (bytes)."""
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_LOCAL_HEADER_BYTES = 30  # fixed part before the name (PKWARE APPNOTE 4.3.7)
_INDEX_END = struct.Struct("<4s4H2LH")  # end of central directory (APPNOTE 4.3.16)
# a link is not followed and a pipe not waited for, even if the file is exchanged
# after its status was looked at
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def _fail(message: str, path: object, value: object, rule: str) -> ProductError:
    return ProductError(message, path=str(path), value=value, rule=rule)


@dataclass(frozen=True)
class Source:
    """A readable file: `path`, or `member` of the zip at `path`.

    Only names are held, so a source pickles in a few bytes and opens no file until
    it is read.
    """

    path: str
    member: str | None = None

    @classmethod
    def of(cls, path: str | Path | Source) -> Source:
        """Return a source as it is, or the file that a user names."""
        return path if isinstance(path, Source) else cls(str(expanded(path)))

    def __str__(self) -> str:
        """Path, and the member after ``::``."""
        return self.path if self.member is None else f"{self.path}::{self.member}"

    @property
    def name(self) -> str:
        """Bare file name."""
        return PurePosixPath(self.member or Path(self.path).name).name

    def stamp(self) -> tuple[int, int]:
        """Return modification time (ns) and size (bytes) of the file on disk."""
        status = _status(self.path)
        return status.st_mtime_ns, status.st_size

    def size(self) -> int:
        """Return the number of bytes, without reading them.

        Raises
        ------
        ProductError
            ``label.missing_file``, ``file.not_regular`` or ``zip.*``.
        """
        if self.member is None:
            return _status(self.path).st_size
        return archive_members(self.path)[self.member].file_size

    def read(self, limit: int | None = None) -> bytes:
        """Return all bytes.

        Parameters
        ----------
        limit : int, optional
            Most bytes wanted; a larger file is refused without being read.

        Raises
        ------
        ProductError
            As for `size`; also ``io.permission``, ``zip.damaged`` and
            ``label.schema`` (larger than `limit`).
        """
        size = self.size()
        if limit is not None and size > limit:
            msg = f"file larger than {limit} bytes"
            raise _fail(msg, self, size, "label.schema")
        if self.member is None:
            return _read_file(self.path)
        info = archive_members(self.path)[self.member]
        try:
            with zipfile.ZipFile(self.path) as archive:
                data = archive.read(info)
        except _ZIP_ERRORS as error:
            msg = f"zip member is damaged ({error})"
            raise _fail(msg, self, None, "zip.damaged") from None
        if len(data) != size:
            msg = f"zip member has {len(data)} bytes, the index says {size}"
            raise _fail(msg, self, len(data), "zip.damaged")
        return data


_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    struct.error,
    ValueError,
    OSError,
)
"""What `zipfile` raises on damaged input."""


def _read_file(path: str) -> bytes:
    try:
        handle = os.open(path, _OPEN_FLAGS)
    except PermissionError:
        msg = "no permission to read"
        raise _fail(msg, path, None, "io.permission") from None
    except OSError as error:
        msg = f"cannot be opened ({error.strerror})"
        raise _fail(msg, path, None, "file.not_regular") from None
    with os.fdopen(handle, "rb") as stream:
        _regular(os.fstat(handle), path)
        return stream.read()


def _status(path: str) -> os.stat_result:
    try:
        status = Path(path).lstat()
    except PermissionError:
        msg = "no permission to read"
        raise _fail(msg, path, None, "io.permission") from None
    except (OSError, ValueError):  # also: part of the path is a file, NUL in the path
        msg = "no such file"
        raise _fail(msg, path, None, "label.missing_file") from None
    return _regular(status, path)


def _regular(status: os.stat_result, path: str) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        msg = "not a regular file (links and devices are refused)"
        raise _fail(msg, path, stat.filemode(status.st_mode), "file.not_regular")
    return status


_indexes: OrderedDict[tuple[str, int, int], dict[str, zipfile.ZipInfo]] = OrderedDict()
_lock = threading.Lock()
_INDEXES_MAX = 16  # indexes kept; a delivery zip has four members


def archive_members(path: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip by name, after checking the whole index.

    Raises
    ------
    ProductError
        ``zip.damaged``, ``zip.too_large``, ``zip.duplicate_member``,
        ``zip.overlapping_members``, ``zip.unsafe_member`` (absolute, upward, link,
        encrypted, unknown compression, or two names that differ in case only).
    """
    status = _status(path)
    key = (path, status.st_mtime_ns, status.st_size)
    with _lock:
        if key in _indexes:
            return _indexes[key]
    try:
        _check_index_size(path, status.st_size)
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except PermissionError:
        msg = "no permission to read"
        raise _fail(msg, path, None, "io.permission") from None
    except _ZIP_ERRORS as error:
        msg = f"not a readable zip ({error})"
        raise _fail(msg, path, None, "zip.damaged") from None
    members = _checked(infos, path)
    with _lock:
        _indexes[key] = members
        while len(_indexes) > _INDEXES_MAX:
            _indexes.popitem(last=False)
    return members


def _check_index_size(path: str, size: int) -> None:
    """Refuse a zip of too many members before its index is built."""
    with Path(path).open("rb") as stream:
        stream.seek(max(size - _INDEX_END.size - 2**16, 0))
        tail = stream.read()
    place = tail.rfind(b"PK\x05\x06", 0, len(tail) - _INDEX_END.size + 4)
    if place >= 0:
        members = _INDEX_END.unpack_from(tail, place)[4]
        if members > MEMBERS_MAX:
            msg = "zip has too many members"
            raise _fail(msg, path, members, "zip.too_large")


def _checked(infos: list[zipfile.ZipInfo], path: str) -> dict[str, zipfile.ZipInfo]:
    total = sum(info.file_size for info in infos)
    if len(infos) > MEMBERS_MAX:
        msg = "zip has too many members"
        raise _fail(msg, path, len(infos), "zip.too_large")
    if total > ARCHIVE_BYTES_MAX:
        msg = "zip unpacks to too many bytes"
        raise _fail(msg, path, total, "zip.too_large")
    _check_places(infos, path)
    members: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in infos:
        name = info.filename
        fault = _unsafe(info)
        if fault:
            msg = f"unsafe zip member ({fault})"
            raise _fail(msg, path, name, "zip.unsafe_member")
        if info.is_dir():
            continue
        if name in members:
            msg = "two zip members of one name"
            raise _fail(msg, path, name, "zip.duplicate_member")
        if name.lower() in folded:
            msg = "zip members differ in case only"
            raise _fail(msg, path, name, "zip.unsafe_member")
        large = info.file_size > 2**20
        if large and info.file_size > RATIO_MAX * max(info.compress_size, 1):
            msg = "zip member unpacks to too many bytes"
            raise _fail(msg, path, name, "zip.too_large")
        members[name] = info
        folded.add(name.lower())
    return members


def _unsafe(info: zipfile.ZipInfo) -> str | None:
    """Say why a member is refused, or None."""
    name = info.orig_filename  # zipfile cuts names at a NUL
    kind = stat.S_IFMT(info.external_attr >> 16)
    reasons = (
        ("absolute path", name.startswith("/") or re.match(r"[A-Za-z]:", name)),
        ("upward path", ".." in PurePosixPath(name).parts),
        ("backslash or NUL in its name", "\\" in name or "\0" in name),
        ("name too long", len(PurePosixPath(name).name.encode()) > NAME_BYTES_MAX),
        ("link or device", kind not in {0, stat.S_IFREG, stat.S_IFDIR}),
        ("encrypted", info.flag_bits & 0x1),
        ("unknown compression", info.compress_type not in _METHODS),
    )
    return next((reason for reason, holds in reasons if holds), None)


def _check_places(infos: list[zipfile.ZipInfo], path: str) -> None:
    """Refuse members that share bytes: a small file could unpack to a huge one."""
    end = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        if info.header_offset < end:
            msg = "zip members overlap"
            raise _fail(msg, path, info.filename, "zip.overlapping_members")
        name = len(info.orig_filename.encode("utf-8", "surrogateescape"))
        least = _LOCAL_HEADER_BYTES + min(name, len(info.orig_filename))
        end = info.header_offset + least + info.compress_size


def resolve_data(
    label: Source, file_name: str, version: str, *, repair: bool = False
) -> tuple[Source, str]:
    """Find the data file that a label names, in the label's own folder.

    Parameters
    ----------
    label : Source
        The label.
    file_name : str
        ``file_name`` of the label; must be a bare name.
    version : str
        ``version_id``; delivery zips append it to the names of their members.
    repair : bool
        Take the one file whose name differs in upper and lower case only.

    Returns
    -------
    source : Source
        The data file.
    rule : {"file_name", "file_name_version", "label_stem", "file_name_case"}
        Which rule found it.

    Raises
    ------
    ProductError
        ``file.name_has_invalid_characters``, ``label.file_ref_case_mismatch``,
        ``label.missing_file``.
    """
    bare = re.fullmatch(r"[A-Za-z0-9_.+\- ]+", file_name) and ".." not in file_name
    if not bare or file_name == "." or len(file_name) > NAME_BYTES_MAX:
        msg = "file_name of the label is not a bare file name"
        raise _fail(
            msg,
            label,
            file_name,
            "file.name_has_invalid_characters",
        )
    stem, dot, suffix = file_name.rpartition(".")
    stem, suffix = (stem, dot + suffix) if dot else (file_name, "")
    for candidate, rule in (
        (file_name, "file_name"),
        (f"{stem}_{version}{suffix}", "file_name_version"),
    ):
        # the version is text of the label too, and may be anything
        if rule != "file_name" and not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
            continue
        if len(candidate) > NAME_BYTES_MAX:
            continue
        found = _sibling(label, candidate)
        if found is not None:
            return found, rule
    present = _siblings(label)
    wanted = (PurePosixPath(label.name).stem + suffix).lower()
    same = [name for name in present if name.lower() == wanted]
    if len(same) == 1:
        return present[same[0]], "label_stem"
    near = [name for name in present if name.lower() == file_name.lower()]
    if repair and len(near) == 1:
        return present[near[0]], "file_name_case"
    if near:
        msg = f"data file is called {near[0]!r}: the label spells it differently"
        raise _fail(
            msg,
            label,
            file_name,
            "label.file_ref_case_mismatch",
        )
    msg = "data file is missing"
    raise _fail(msg, label, file_name, "label.missing_file")


def _sibling(label: Source, name: str) -> Source | None:
    """Return one file beside the label, without listing a large folder."""
    if label.member is not None:
        return _siblings(label).get(name)
    path = Path(label.path).with_name(name)
    # a broken or forbidden link is found too, and refused when read
    return Source(str(path)) if path.is_symlink() or path.exists() else None


def _siblings(label: Source) -> dict[str, Source]:
    """Return the files in the folder of `label`, by bare name."""
    if label.member is None:
        folder = Path(label.path).parent
        try:
            return {item.name: Source(str(item)) for item in folder.iterdir()}
        except PermissionError:
            msg = "no permission to list the folder"
            raise _fail(msg, folder, None, "io.permission") from None
    parent = PurePosixPath(label.member).parent
    return {
        PurePosixPath(name).name: Source(label.path, name)
        for name in archive_members(label.path)
        if PurePosixPath(name).parent == parent
    }
