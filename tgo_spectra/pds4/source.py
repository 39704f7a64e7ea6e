"""Where bytes come from: a plain file beside the label, or a member of a zip.

Zip members are read by name through a checked index; nothing is extracted.
"""

from __future__ import annotations

import re
import stat
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tgo_spectra.errors import ProductError

if TYPE_CHECKING:
    import os

__all__ = ["Source", "archive_members", "resolve_data"]

MEMBERS_MAX = 20_000
"""Most members accepted in one zip."""
ARCHIVE_BYTES_MAX = 4 * 2**30
"""Most uncompressed bytes accepted in one zip."""
RATIO_MAX = 200
"""Largest ratio of uncompressed to compressed bytes of a member above 1 MiB."""


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

    def read(self) -> bytes:
        """Return all bytes.

        Raises
        ------
        ProductError
            As for `size`; also ``io.permission`` and ``zip.damaged``.
        """
        if self.member is None:
            _status(self.path)
            try:
                return Path(self.path).read_bytes()
            except PermissionError:
                msg = "no permission to read"
                raise _fail(msg, self.path, None, "io.permission") from None
        info = archive_members(self.path)[self.member]
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            msg = f"zip member is damaged ({error})"
            raise _fail(msg, self, None, "zip.damaged") from None


def _status(path: str) -> os.stat_result:
    try:
        status = Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        msg = "no such file"
        raise _fail(msg, path, None, "label.missing_file") from None
    except PermissionError:
        msg = "no permission to read"
        raise _fail(msg, path, None, "io.permission") from None
    if not stat.S_ISREG(status.st_mode):
        msg = "not a regular file (links and devices are refused)"
        raise _fail(
            msg,
            path,
            stat.filemode(status.st_mode),
            "file.not_regular",
        )
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
        ``zip.unsafe_member`` (absolute, upward, link, encrypted, or two names that
        differ in case only).
    """
    status = _status(path)
    key = (path, status.st_mtime_ns, status.st_size)
    with _lock:
        if key in _indexes:
            return _indexes[key]
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except PermissionError:
        msg = "no permission to read"
        raise _fail(msg, path, None, "io.permission") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        msg = f"not a readable zip ({error})"
        raise _fail(msg, path, None, "zip.damaged") from None
    members = _checked(infos, path)
    with _lock:
        _indexes[key] = members
        while len(_indexes) > _INDEXES_MAX:
            _indexes.popitem(last=False)
    return members


def _checked(infos: list[zipfile.ZipInfo], path: str) -> dict[str, zipfile.ZipInfo]:
    total = sum(info.file_size for info in infos)
    if len(infos) > MEMBERS_MAX:
        msg = "zip has too many members"
        raise _fail(msg, path, len(infos), "zip.too_large")
    if total > ARCHIVE_BYTES_MAX:
        msg = "zip unpacks to too many bytes"
        raise _fail(msg, path, total, "zip.too_large")
    members: dict[str, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in infos:
        name = info.filename
        if info.is_dir():
            continue
        parts = PurePosixPath(name).parts
        link = stat.S_ISLNK(info.external_attr >> 16)
        if name.startswith("/") or ".." in parts or "\\" in name or link:
            msg = "unsafe zip member"
            raise _fail(msg, path, name, "zip.unsafe_member")
        if info.flag_bits & 0x1:
            msg = "encrypted zip member"
            raise _fail(msg, path, name, "zip.unsafe_member")
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


def resolve_data(label: Source, file_name: str, version: str) -> tuple[Source, str]:
    """Find the data file that a label names, in the label's own folder.

    Parameters
    ----------
    label : Source
        The label.
    file_name : str
        ``file_name`` of the label; must be a bare name.
    version : str
        ``version_id``; delivery zips append it to the names of their members.

    Returns
    -------
    source : Source
        The data file.
    rule : {"file_name", "file_name_version", "label_stem"}
        Which rule found it.

    Raises
    ------
    ProductError
        ``file.name_has_invalid_characters``, ``label.file_ref_case_mismatch``,
        ``label.missing_file``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.+\- ]+", file_name) or ".." in file_name:
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
        found = _sibling(label, candidate)
        if found is not None:
            return found, rule
    present = _siblings(label)
    wanted = (PurePosixPath(label.name).stem + suffix).lower()
    same = [name for name in present if name.lower() == wanted]
    if len(same) == 1:
        return present[same[0]], "label_stem"
    near = [name for name in present if name.lower() == file_name.lower()]
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
        return {item.name: Source(str(item)) for item in folder.iterdir()}
    parent = PurePosixPath(label.member).parent
    return {
        PurePosixPath(name).name: Source(label.path, name)
        for name in archive_members(label.path)
        if PurePosixPath(name).parent == parent
    }
