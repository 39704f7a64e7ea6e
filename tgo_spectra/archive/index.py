"""Catalogue of a folder of archive products, and questions to it."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tgo_spectra.archive.products import (
    Entry,
    damaged,
    describe,
    instant,
    label_bytes,
    labels_of_zip,
    walk,
)
from tgo_spectra.atomic import atomic_file
from tgo_spectra.errors import ArchiveError, OutputError, TgoError
from tgo_spectra.pds4 import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr

__all__ = ["default_catalogue", "find", "index_archive", "read_catalogue"]

_LOG = logging.getLogger(__name__)

_FORMAT = "tgo_spectra catalogue 1"


def index_archive(root: str | Path, catalogue: str | Path | None = None) -> xr.Dataset:
    """Catalogue all products in a folder and below, also inside delivery zips.

    Every product is opened and checked once; a product that is damaged gets a row
    that names the rule it breaks. Called again, only products whose bytes changed
    (by SHA-256 of the label or zip and MD5 of the table, never by date) are
    opened.

    Parameters
    ----------
    root : path
        Folder; it is only read.
    catalogue : path, optional
        File to keep the catalogue in, JSON lines. Default: a file of the user's
        cache folder that belongs to `root`, see `default_catalogue`.

    Returns
    -------
    Dataset
        Dimension ``product``, ordered by path. Text variables ``path`` (what
        `tgo_spectra.open_product` and `tgo_spectra.run` take), ``member`` (label inside
        a zip), ``lid``, ``version``, ``instrument``, ``channel``,
        ``observation_type``, ``altitude_part``, ``flags`` (names of the label's quality
        flags that are set, and rules of warnings), ``md5``, ``rule``, ``message``
        (both empty if intact); numbers ``orbit``, ``order`` (-1: none or several),
        ``spectra``, ``size`` (bytes of label and table); ``start`` and ``stop`` (UTC);
        ``solar_longitude`` and ``longitude`` (circular means, degree),
        ``latitude_min``, ``latitude_max`` (degree), ``altitude_min``,
        ``altitude_max`` (tangent altitude, km); ``newest``: highest version of its
        product, one copy each.

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
    folder = Path(root).absolute()
    if not folder.is_dir():
        message = "no such folder to index"
        raise ArchiveError(message, path=folder, rule="catalogue.no_folder")
    file = default_catalogue(folder) if catalogue is None else Path(catalogue)
    known: dict[tuple[str, str], Entry] = {}
    if file.exists():
        try:
            known = {(e.path, e.member): e for e in _read(file)[0]}
        except ArchiveError as error:
            _LOG.warning("made again: %s", error)
    scan = _Scan(folder, known)
    entries = sorted(scan.entries(), key=lambda e: (e.path, e.member))
    _LOG.info("%d products, %d opened", len(entries), scan.opened)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            temporary.write_bytes(_encode(entries, folder))
    except OSError as error:
        message = f"the catalogue cannot be written: {error.strerror}"
        raise OutputError(message, path=file, rule="io.write_failed") from error
    ds = _dataset(entries, folder, file)
    ds.attrs["opened"] = scan.opened
    return ds


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
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root).absolute()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(base) / "tgo_spectra" / f"{folder.name or 'root'}-{digest}.jsonl"


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
    file = Path(catalogue)
    if file.is_dir():
        file = default_catalogue(file)
    if not file.is_file():
        message = "no catalogue: make it with index_archive or tgo-spectra index"
        raise ArchiveError(message, path=catalogue, rule="catalogue.missing")
    entries, root = _read(file)
    return _dataset(entries, root, file)


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


@dataclass
class _Scan:
    """One pass over a folder; opens only what is not known."""

    root: Path
    known: dict[tuple[str, str], Entry]
    opened: int = field(default=0)

    def entries(self) -> Iterator[Entry]:
        for path in walk(self.root):
            place = path.relative_to(self.root).as_posix()
            if path.suffix.lower() == ".zip":
                yield from self._of_zip(path, place)
            else:
                entry = self._of_label(path, place)
                if entry is not None:
                    yield entry

    def _of_zip(self, path: Path, place: str) -> Iterator[Entry]:
        try:
            with path.open("rb") as stream:
                key = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            reason = TgoError(
                f"cannot be read: {error.strerror}", path=path, rule="io.unreadable"
            )
            yield damaged(place, "", "", reason)
            return
        old = [e for (name, _), e in self.known.items() if name == place]
        if old and all(e.key == key for e in old):
            yield from old
            return
        self.opened += 1
        try:
            labels = labels_of_zip(path)
        except TgoError as error:
            yield damaged(place, "", key, error)
            return
        for label in labels:
            yield describe(label, place, key, alone=len(labels) == 1)

    def _of_label(self, path: Path, place: str) -> Entry | None:
        source = Source(str(path))
        try:
            text = label_bytes(source)
        except TgoError as error:
            return damaged(place, "", "", error)
        if text is None:
            return None
        key = hashlib.sha256(text).hexdigest()
        old = self.known.get((place, ""))
        if old is not None and old.key == key and self._same_data(path, old):
            return old
        self.opened += 1
        return describe(source, place, key)

    def _same_data(self, label: Path, old: Entry) -> bool:
        if old.rule:
            return False  # a missing or damaged table may have been put right
        data = label.with_name(old.data)
        try:
            if data.stat().st_size != old.data_size:
                return False
            with data.open("rb") as stream:
                # MD5 as that is what labels state and rows hold; not for security
                return hashlib.file_digest(stream, "md5").hexdigest() == old.md5
        except OSError:
            return False


# --- the file ---------------------------------------------------------------------


class _Head(msgspec.Struct):
    format: str
    root: str
    made: str
    sha256: str


def _encode(entries: list[Entry], root: Path) -> bytes:
    body = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    head = _Head(_FORMAT, str(root), made, hashlib.sha256(body).hexdigest())
    return msgspec.json.encode(head) + b"\n" + body


def _read(file: Path) -> tuple[list[Entry], Path]:
    try:
        first, _, body = file.read_bytes().partition(b"\n")
        head = msgspec.json.decode(first, type=_Head)
        if head.format != _FORMAT or head.sha256 != hashlib.sha256(body).hexdigest():
            message = "contents differ from what was written"
            raise ArchiveError(message, path=file, rule="catalogue.damaged")
        lines = body.splitlines()
        return [msgspec.json.decode(x, type=Entry) for x in lines], Path(head.root)
    except (OSError, msgspec.MsgspecError) as error:
        message = f"not a readable catalogue: {error}"
        raise ArchiveError(message, path=file, rule="catalogue.damaged") from error


_TEXTS = (
    "member", "lid", "version", "instrument", "channel", "observation_type",
    "altitude_part", "flags", "md5", "rule", "message",
)  # fmt: skip
_COUNTS = ("orbit", "order", "spectra", "size")
_NUMBERS = {
    "solar_longitude": "degree",
    "longitude": "degree",
    "latitude_min": "degree",
    "latitude_max": "degree",
    "altitude_min": "km",
    "altitude_max": "km",
}


def _dataset(entries: list[Entry], root: Path, file: Path) -> xr.Dataset:
    import xarray as xr

    def texts(values: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
        return np.array([*values, ""], dtype=object)[:-1]

    columns: dict[str, Any] = {
        "path": ("product", texts(str(root / e.path) for e in entries))
    }
    for name in _TEXTS:
        columns[name] = ("product", texts(getattr(e, name) for e in entries))
    for name in _COUNTS:
        values = np.array([getattr(e, name) for e in entries], dtype=np.int64)
        columns[name] = ("product", values, {"units": "byte"} if name == "size" else {})
    for name, units in _NUMBERS.items():
        found = [getattr(e, name) for e in entries]
        numbers = np.array([np.nan if x is None else x for x in found], np.float64)
        columns[name] = ("product", numbers, {"units": units})
    for name in ("start", "stop"):
        times = [getattr(e, name) or "NaT" for e in entries]
        columns[name] = ("product", np.array(times, dtype="datetime64[ns]"))
    columns["newest"] = ("product", _newest(entries))
    return xr.Dataset(columns, attrs={"root": str(root), "catalogue": str(file)})


def _newest(entries: list[Entry]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Highest version of each product: an intact copy, outside a zip, first by path.

    A damaged highest version hides older ones all the same: a run must not mix
    versions without anybody's knowing.
    """
    best: dict[str, tuple[tuple[Any, ...], int]] = {}
    for number, entry in enumerate(entries):
        rank = (_version(entry.version), not entry.rule, not entry.member, -number)
        if entry.lid and (entry.lid not in best or rank > best[entry.lid][0]):
            best[entry.lid] = (rank, number)
    newest = np.zeros(len(entries), dtype=np.bool_)
    newest[[number for _, number in best.values()]] = True
    return newest


def _version(text: str) -> tuple[int, ...]:
    """Compare versions as numbers: 4.10 is above 4.9."""
    return tuple(int(x) for x in re.findall(r"\d+", text))
