"""One pass over a folder: which products are known, which must be opened."""

from __future__ import annotations

import hashlib
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tgo_spectra.archive.products import (
    Entry,
    damaged,
    describe,
    walk,
)
from tgo_spectra.errors import TgoError
from tgo_spectra.pds4 import Source
from tgo_spectra.readers.finding import label_bytes, labels_of_zip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Scan"]

_SETTLED_NS = 2_000_000_000  # coarsest clock of a file system in use (FAT: 2 s)


@dataclass
class Scan:
    """One pass over a folder; opens only what is not known.

    Parameters
    ----------
    root : Path
        Folder.
    known : dict
        Rows of the last pass, by path and label in a zip.
    rehash : bool
        Read also files that look unchanged.
    opened, hashed : int
        Products opened, and products whose bytes were read, so far.
    """

    root: Path
    known: dict[tuple[str, str], Entry]
    rehash: bool
    opened: int = 0
    hashed: int = 0

    def __post_init__(self) -> None:
        self.zips: dict[str, list[Entry]] = {}
        for (place, member), entry in self.known.items():
            if member or place.lower().endswith(".zip"):
                self.zips.setdefault(place, []).append(entry)
        self.settled = time.time_ns() - _SETTLED_NS

    def entries(self) -> Iterator[Entry]:
        """Yield the rows."""
        for path in walk(self.root):
            place = path.relative_to(self.root).as_posix()
            if path.suffix.lower() == ".zip":
                yield from self._of_zip(path, place)
            else:
                entry = self._of_label(path, place)
                if entry is not None:
                    yield entry

    def _of_zip(self, path: Path, place: str) -> Iterator[Entry]:
        old = self.zips.get(place, [])
        stamp = self._stamp(path)
        if old and stamp and all(e.stamp == stamp for e in old) and not self.rehash:
            yield from old
            return
        self.hashed += 1
        try:
            key = _hash_of(path)
        except TgoError as error:
            yield damaged(place, "", "", error)
            return
        if old and all(e.key == key for e in old):
            yield from (msgspec.structs.replace(e, stamp=stamp) for e in old)
            return
        self.opened += 1
        try:
            labels = labels_of_zip(path)
        except TgoError as error:
            entry = damaged(place, "", key, error)
            yield msgspec.structs.replace(entry, stamp=stamp)
            return
        named = len(labels) > 1
        for label in labels:
            entry = describe(label, place, key)
            yield msgspec.structs.replace(entry, stamp=stamp, named=named)

    def _of_label(self, path: Path, place: str) -> Entry | None:
        source = Source(str(path))
        old = self.known.get((place, ""))
        if old is not None and not old.rule and not self.rehash:
            stamp = self._stamp(path, *_data_of(path, old))
            if stamp and stamp == old.stamp:
                return old
        try:
            text = label_bytes(source)
        except TgoError as error:
            return damaged(place, "", "", error)
        if text is None:
            return None
        self.hashed += 1
        key = hashlib.sha256(text).hexdigest()
        if old is not None and old.key == key and self._same_data(path, old):
            entry = old
        else:
            self.opened += 1
            entry = describe(source, place, key)
        stamp = self._stamp(path, *_data_of(path, entry)) if entry.data else ""
        return msgspec.structs.replace(entry, stamp=stamp)

    def _same_data(self, label: Path, old: Entry) -> bool:
        if old.rule:
            return False  # a missing or damaged table may have been put right
        files = _data_of(label, old)
        try:
            if sum(file.stat().st_size for file in files) != old.data_size:
                return False
            # MD5 as that is what labels state and rows hold; not for security
            return [_hash_of(file, "md5") for file in files] == old.md5.split()
        except (OSError, TgoError):
            return False

    def _stamp(self, *paths: Path) -> str:
        """Give what changes with the bytes of files; empty if they changed just now.

        The time of the last change of the inode cannot be set by a program, other
        than that of the contents. Two changes within one tick of the clock look alike,
        hence a file must have settled.
        """
        parts = []
        for path in paths:
            try:
                status = path.lstat()
            except OSError:
                return ""
            if max(status.st_mtime_ns, status.st_ctime_ns) > self.settled:
                return ""
            parts.append(
                f"{status.st_ino} {status.st_size} {status.st_mtime_ns} "
                f"{status.st_ctime_ns}"
            )
        return " ".join(parts)


def _data_of(label: Path, entry: Entry) -> list[Path]:
    return [label.with_name(name) for name in entry.data.split("/")]


def _hash_of(path: Path, kind: str = "sha256") -> str:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            message = "not a regular file (links and devices are refused)"
            raise TgoError(message, path=path, rule="file.not_regular")
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, kind).hexdigest()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise TgoError(message, path=path, rule="io.unreadable") from error
