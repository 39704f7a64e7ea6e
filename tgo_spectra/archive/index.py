"""Catalogue of a folder of archive products, and questions to it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tgo_spectra.archive.catalogue import (
    Entry,
    as_dataset,
    damaged,
    decode_file,
    describe,
    encode,
    instant,
    walk,
)
from tgo_spectra.errors import ArchiveError, TgoError
from tgo_spectra.files.atomic import output_folder, sweep_temporary, write_whole
from tgo_spectra.paths import cache_root, expanded, is_foreign
from tgo_spectra.pds4 import Source
from tgo_spectra.readers.finding import label_bytes, labels_of_zip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr

__all__ = ["default_catalogue", "find", "index_archive", "read_catalogue"]

_LOG = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000  # coarsest clock of a file system in use (FAT: 2 s)
_SAVE_S = 30.0
"""Seconds after which rows are saved for the case that the process is killed."""


def index_archive(
    root: str | Path,
    catalogue: str | Path | None = None,
    *,
    rehash: bool = False,
) -> xr.Dataset:
    """Catalogue all products in a folder and below, also inside delivery zips.

    Every product is opened and checked once; a product that is damaged gets a row
    that names the rule it breaks. Called again, only products whose bytes changed (by
    SHA-256 of the label or zip and MD5 of the table) are opened, and only files whose
    size, inode or times changed are read for that. The catalogue is replaced as a whole
    at the end. A call that is killed leaves the former one, and what it had found so
    far, up to half a minute ago, beside it for the next call. There is no lock: of two
    calls at once the last one to end is kept.

    Parameters
    ----------
    root : path
        Folder; it is only read.
    catalogue : path, optional
        File to keep the catalogue in, JSON lines. Default: a file of the user's
        cache folder that belongs to `root`, see `default_catalogue`.
    rehash : bool
        Read all files, also those that look unchanged: on a file system that does not
        keep the time of the last change of a file, or after a fault of the disk.

    Returns
    -------
    Dataset
        Dimension ``product``, ordered by path. Text variables ``path`` (for
        `tgo_spectra.run`; ``zip::label`` in a zip of several labels), ``member`` (label
        inside a zip), ``lid``, ``version``, ``instrument``, ``channel``,
        ``observation_type``, ``altitude_part``, ``flags`` (names of the label's quality
        flags that are set, and rules of warnings), ``md5``, ``rule``, ``message``
        (both empty if intact); numbers ``orbit``, ``order`` (-1: none or several),
        ``spectra``, ``size`` (bytes of label and table); ``start`` and ``stop`` (UTC);
        ``solar_longitude`` and ``longitude`` (circular means, degree),
        ``latitude_min``, ``latitude_max`` (degree), ``altitude_min``,
        ``altitude_max`` (tangent altitude, km); ``newest``: highest version of its
        product, one copy each. Attributes ``opened`` and ``hashed``: how many
        products were opened, and read.

    Raises
    ------
    ArchiveError
        `root` is no folder (``catalogue.no_folder``).
    OutputError
        The catalogue cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "bad.xml").write_text("<not a label")
    >>> found = index_archive(folder, folder / "catalogue.jsonl")
    >>> found["rule"].values.tolist()
    ['label.not_xml']
    """
    folder = expanded(root).absolute()
    if not folder.is_dir():
        message = "no such folder to index"
        raise ArchiveError(message, path=folder, rule="catalogue.no_folder")
    file = default_catalogue(folder) if catalogue is None else expanded(catalogue)
    unfinished = file.with_name(f"{file.name}.unfinished")
    known = _known(file) | _known(unfinished)
    scan = _Scan(folder, known, rehash)
    entries: list[Entry] = []
    saved = time.monotonic()
    for entry in scan.entries():
        entries.append(entry)
        if time.monotonic() - saved > _SAVE_S:
            _write(unfinished, entries, folder)
            saved = time.monotonic()
    entries.sort(key=lambda e: (e.path, e.member))
    _LOG.info("%d products, %d read, %d opened", len(entries), scan.hashed, scan.opened)
    _write(file, entries, folder)
    unfinished.unlink(missing_ok=True)
    ds = as_dataset(entries, folder, file)
    ds.attrs |= {"opened": scan.opened, "hashed": scan.hashed}
    return ds


@dataclass
class _Scan:
    """One pass over a folder, opening only what differs from the rows `known`."""

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


def _known(file: Path) -> dict[tuple[str, str], Entry]:
    """Rows of an earlier call, by path and label in a zip."""
    if not file.exists():
        return {}
    if file.parent == cache_root() and is_foreign(file):
        _LOG.warning("made again, as it is another user's: %s", file)
        return {}
    try:
        return {(e.path, e.member): e for e in decode_file(file)[0]}
    except ArchiveError as error:
        _LOG.warning("made again: %s", error)
        return {}


def _write(file: Path, entries: list[Entry], folder: Path) -> None:
    output_folder(file.parent)
    sweep_temporary(file.parent)
    write_whole(file, encode(entries, folder))


def default_catalogue(root: str | Path) -> Path:
    """Catalogue file of a folder in the user's cache (``XDG_CACHE_HOME``).

    Parameters
    ----------
    root : path
        Folder that is indexed.

    Returns
    -------
    pathlib.Path
        The file, which need not exist.

    Examples
    --------
    >>> default_catalogue("data").suffix
    '.jsonl'
    """
    folder = expanded(root).absolute()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return cache_root() / f"{folder.name or 'root'}-{digest}.jsonl"


def read_catalogue(catalogue: str | Path) -> xr.Dataset:
    """Read a catalogue that `index_archive` wrote.

    Parameters
    ----------
    catalogue : path
        The file, or the folder that was indexed (then its `default_catalogue`).

    Returns
    -------
    Dataset
        As `index_archive` gives.

    Raises
    ------
    ArchiveError
        ``catalogue.missing`` or ``catalogue.damaged``.
    """
    file = expanded(catalogue)
    if file.is_dir():
        file = default_catalogue(file)
    if not file.is_file():
        message = "no catalogue: make it with index_archive or tgo-spectra index"
        raise ArchiveError(message, path=catalogue, rule="catalogue.missing")
    entries, root = decode_file(file)
    return as_dataset(entries, root, file)


def find(
    catalogue: xr.Dataset | str | Path,
    *,
    channel: str | None = None,
    order: int | Iterable[int] | None = None,
    start: str | np.datetime64 | None = None,
    stop: str | np.datetime64 | None = None,
    ls: tuple[float, float] | None = None,
    latitude: tuple[float, float] | None = None,
    altitude: tuple[float, float] | None = None,
    observation_type: str | None = None,
    orbit: int | tuple[int, int] | None = None,
    lid: str | None = None,
    versions: str = "newest",
    damaged: bool = False,
) -> xr.Dataset:
    """Choose products of a catalogue; all conditions must hold.

    Parameters
    ----------
    catalogue : Dataset or path
        What `index_archive` gave, its file, or the folder that was indexed.
    channel : str, optional
        Such as ``"so"``.
    order : int or iterable of int, optional
        Diffraction orders.
    start, stop : str or datetime64, optional
        Products with a spectrum at or after `start` and before `stop`, UTC.
    ls : (float, float), optional
        Solar longitudes from, to, degree; ``(330, 30)`` goes through 0.
    latitude, altitude : (float, float), optional
        Ranges that the product's own range must meet, degree and km.
    observation_type : str, optional
        Such as ``"ingress"``.
    orbit : int or (int, int), optional
        Orbit, or first and last.
    lid : str, optional
        Regular expression to be found in the logical identifier, in any case.
    versions : {"newest", "all"} or str
        Highest version of each product (default), all, or one such as ``"3.0"``.
    damaged : bool
        List damaged products only. Default: intact ones only.

    Returns
    -------
    Dataset
        The rows that match; ``found["path"].values.tolist()`` can be given to
        `tgo_spectra.run`.

    Raises
    ------
    ArchiveError
        The catalogue cannot be read, or a condition is malformed
        (``catalogue.condition``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> table = index_archive(folder, folder / "catalogue.jsonl")
    >>> find(table, channel="so", order=134, ls=(330, 30)).sizes["product"]
    0
    """
    given = isinstance(catalogue, str | Path)
    ds: Any = read_catalogue(catalogue) if given else catalogue  # type: ignore[arg-type]
    keep = (ds["rule"].values != "") == damaged
    if versions == "newest":
        keep &= ds["newest"].values | damaged
    elif versions != "all":
        keep &= ds["version"].values == versions
    for name, text in (("channel", channel), ("observation_type", observation_type)):
        if text is not None:
            keep &= ds[name].values == text.lower()
    if order is not None:
        keep &= np.isin(ds["order"].values, np.atleast_1d(np.asarray(order)).ravel())
    if orbit is not None:
        begin, end = (orbit, orbit) if isinstance(orbit, int) else orbit
        keep &= (ds["orbit"].values >= begin) & (ds["orbit"].values <= end)
    if start is not None:
        keep &= ds["stop"].values >= _time(start)
    if stop is not None:
        keep &= ds["start"].values < _time(stop)
    if ls is not None:
        first, last = _pair("ls", ls)
        value = ds["solar_longitude"].values
        inside = (value >= first, value <= last)
        keep &= inside[0] & inside[1] if first <= last else inside[0] | inside[1]
    for name, limits in (("latitude", latitude), ("altitude", altitude)):
        if limits is not None:
            low, high = _pair(name, limits)
            if low > high:
                message = f"{name} wants (lower, upper)"
                raise _condition(message, limits)
            keep &= ds[f"{name}_max"].values >= low
            keep &= ds[f"{name}_min"].values <= high
    if lid is not None:
        try:
            wanted = re.compile(lid, re.IGNORECASE)
        except re.error as error:
            message = f"lid is no regular expression: {error}"
            raise _condition(message, lid) from error
        keep &= np.array([bool(wanted.search(x)) for x in ds["lid"].values], bool)
    return ds.isel(product=np.flatnonzero(keep))  # type: ignore[no-any-return]


def _condition(message: str, value: object) -> ArchiveError:
    return ArchiveError(message, value=value, rule="catalogue.condition")


def _pair(name: str, given: Sequence[float]) -> tuple[float, float]:
    values = tuple(float(x) for x in given)
    if len(values) != 2 or not np.isfinite(values).all():
        message = f"{name} wants two numbers"
        raise _condition(message, given)
    return values[0], values[1]


def _time(given: str | np.datetime64) -> np.datetime64:
    if not isinstance(given, str):
        return given
    utc = instant(given, "catalogue.condition").replace(tzinfo=None)
    return np.datetime64(utc, "us")
