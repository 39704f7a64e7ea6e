"""Search of the Planetary Science Archive and download of what is found.

The search is one query, see `tgo_spectra.archive.tap`.

References
----------
IVOA Table Access Protocol 1.1 (Dowler et al. 2019); EPN-TAP 2.0 (Erard et al. 2022).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import numpy as np

from tgo_spectra.archive.catalogue import instant
from tgo_spectra.archive.download import download
from tgo_spectra.archive.settings import ArchiveSettings, load_settings
from tgo_spectra.archive.tap import query
from tgo_spectra.errors import ArchiveError, TgoError
from tgo_spectra.files.atomic import append_line, output_folder
from tgo_spectra.mars import solar_longitude
from tgo_spectra.pds4 import archive_members
from tgo_spectra.readers import open_product
from tgo_spectra.readers.finding import labels_of_zip

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    Order = int | Iterable[int] | None

__all__ = ["Fetched", "Remote", "fetch", "search"]

_LOG = logging.getLogger(__name__)
_FINAL = frozenset(
    {"download.offline", "search.no_pyvo", "search.overflow", "search.refused"}
)
_VIEW = "psa.product_ui_em16_nomad"
_COLUMNS = ("logical_identifier_short", "version_id", "download_path")
_EPN_VIEW = "psa.epn_core"  # has latitudes; NOMAD's own view is not known to
_EPN_COLUMNS = ("granule_uid", "access_url")
_INDEX_END_MAX = 22 + 2**16  # bytes: end of index, comment (APPNOTE 4.3.16)
_CHANNELS = ("so", "lno", "uvis")
_NAME = re.compile(
    r"nmd_cal_sc_(?P<channel>so|lno|uvis)_(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})"
    r"(?:-.*?)?(?:-(?P<order>\d{1,3}|[sf]))?",
    re.IGNORECASE,
)
_MARGIN = dt.timedelta(hours=1)  # names hold the window of commands, not of spectra
_RECORD = "fetched.jsonl"


@dataclass(frozen=True)
class Remote:
    """A product that the archive offers.

    Parameters
    ----------
    name : str
        Last part of the logical identifier.
    version : str
        Version, such as ``"3.0"``.
    url : str
        Address; empty while the product is proprietary.
    """

    name: str
    version: str
    url: str

    @property
    def file_name(self) -> str:
        """Name of the file on disk, made from the identifier only."""
        return f"{re.sub(r'[^a-z0-9_.-]', '_', self.name.lower())}_{self.version}.zip"

    @property
    def kind(self) -> tuple[str, int | None]:
        """Channel and diffraction order, as the name of a NOMAD product says them."""
        match = _NAME.fullmatch(self.name)
        if match is None:
            return "", None
        order = match["order"] or ""
        return match["channel"].lower(), int(order) if order.isdigit() else None


@dataclass(frozen=True)
class Fetched:
    """What became of one product that was to be downloaded.

    Parameters
    ----------
    name, version, url : str
        As in `Remote`.
    state : {"done", "present", "failed"}
        Downloaded and checked; found on disk and checked; refused.
    path : str or None
        The file.
    rule, message : str
        Rule and reason of a refusal.
    """

    name: str
    version: str
    url: str
    state: str
    path: str | None = None
    rule: str = ""
    message: str = ""


def search(
    *,
    channel: str = "so",
    order: Order = None,
    start: str | None = None,
    stop: str | None = None,
    ls: tuple[float, float] | None = None,
    latitude: tuple[float, float] | None = None,
    version: str | None = None,
    settings: ArchiveSettings | None = None,
) -> list[Remote]:
    """Ask the archive for calibrated NOMAD products.

    Parameters
    ----------
    channel : {"so", "lno", "uvis"}
        Channel.
    order : int or iterable of int, optional
        Diffraction orders.
    start, stop : str, optional
        UTC; compared with the window in the name, one hour wider on both sides.
    ls : (float, float), optional
        Solar longitude at the start of the window, degree; ``(330, 30)`` goes
        through 0.
    latitude : (float, float), optional
        Range to be met, degree; asks the table ``psa.epn_core``.
    version : str, optional
        Such as ``"3.0"``. Default: the highest of each product.
    settings : ArchiveSettings, optional
        Default: `load_settings`.

    Returns
    -------
    list of Remote
        Ordered by name.

    Raises
    ------
    ArchiveError
        ``search.condition``, ``search.overflow`` (the answer may be cut: narrow the
        times), ``search.refused`` (with the words of the service), ``search.answer``
        (not a table, or columns are missing), ``search.no_pyvo`` (the extra
        ``archive`` is not installed), or a rule of `download`.
    """
    known = settings or load_settings()
    if channel.lower() not in _CHANNELS:
        message = f"channel is one of {', '.join(_CHANNELS)}"
        raise ArchiveError(message, value=channel, rule="search.condition")
    window = (_instant(start), _instant(stop))
    rows, root = _ask(_question(channel.lower(), window, latitude), known)
    found = [r for row in rows if (r := _remote(row, root)) is not None]
    orders = None if order is None else {int(x) for x in np.atleast_1d(_listed(order))}
    found = [r for r in found if _wanted(r, channel.lower(), orders, window, ls)]
    if version is not None:
        chosen = {r.name: r for r in found if r.version == version}
    else:
        chosen = {}
        for r in sorted(found, key=lambda r: _numbers(r.version)):
            chosen[r.name] = r
    return [chosen[name] for name in sorted(chosen)]


def fetch(
    out: str | Path,
    *,
    channel: str = "so",
    order: Order = None,
    start: str | None = None,
    stop: str | None = None,
    ls: tuple[float, float] | None = None,
    latitude: tuple[float, float] | None = None,
    version: str | None = None,
    settings: ArchiveSettings | None = None,
    products: Iterable[Remote] | None = None,
) -> list[Fetched]:
    """Search the archive and download the products, one zip each.

    A zip gets its name only after the checksums of its members, its label, and size
    and MD5 of its table were found right. Files that are there and intact are not
    fetched again, unfinished ones are continued, and a product that is refused
    does not stop the others. An older version stays beside a newer one.

    Parameters
    ----------
    out : path
        Folder; made if absent. ``fetched.jsonl`` in it keeps identifier, address,
        SHA-256 and time of each download.
    channel, order, start, stop, ls, latitude, version, settings
        As for `search`.
    products : iterable of Remote, optional
        What to download; default: what `search` finds.

    Returns
    -------
    list of Fetched
        One row a product.

    Raises
    ------
    ArchiveError
        The search failed, see `search`.
    """
    known = settings or load_settings()
    folder = output_folder(out).absolute()  # before the search: it takes long
    if products is None:
        products = search(
            channel=channel,
            order=order,
            start=start,
            stop=stop,
            ls=ls,
            latitude=latitude,
            version=version,
            settings=known,
        )
    wanted = list(dict.fromkeys(products))
    keeper = _Keeper(folder)
    with ThreadPoolExecutor(max(1, 2 * known.max_parallel_per_host)) as pool:
        return list(pool.map(lambda r: _fetch_one(r, folder, known, keeper), wanted))


class _Keeper:
    """The record of downloads: one line each, appended by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _RECORD
        self._lock = threading.Lock()
        self._sha256: dict[str, str] = {}
        if self._file.is_file():
            for line in self._file.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                    self._sha256[row["file"]] = row["sha256"]
                except (ValueError, KeyError, TypeError):
                    continue  # a torn line: the file is checked in full instead

    def known(self, path: Path) -> bool:
        """Whether the file has the hash it was recorded with."""
        return self._sha256.get(path.name) == _sha256(path)

    def add(self, remote: Remote, path: Path) -> None:
        row = {
            "lidvid": f"{remote.name}::{remote.version}",
            "file": path.name,
            "url": remote.url,
            "size": path.stat().st_size,
            "sha256": _sha256(path),
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            append_line(self._file, json.dumps(row))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch_one(
    remote: Remote, folder: Path, settings: ArchiveSettings, keeper: _Keeper
) -> Fetched:
    path = folder / remote.file_name
    head = (remote.name, remote.version, remote.url)
    try:
        if path.exists():
            if keeper.known(path) or _intact(path):
                return Fetched(*head, "present", str(path))
            path.unlink()
        if not remote.url:
            message = "no address: still proprietary"
            raise ArchiveError(message, path=remote.name, rule="download.proprietary")

        def check(part: Path) -> None:
            _check(part, remote)

        download(remote.url, path, settings, check=check)
        keeper.add(remote, path)
    except TgoError as error:
        text = " ".join(str(error).split())
        return Fetched(*head, "failed", None, error.rule or "error", text)
    return Fetched(*head, "done", str(path))


def _intact(path: Path) -> bool:
    try:
        _check(path, None)
    except TgoError:
        return False
    return True


def _check(path: Path, remote: Remote | None) -> None:
    """Read every member of a product zip: checksum, label, table."""
    _whole(path)
    for label in labels_of_zip(path):
        ds = open_product(label)
        name = str(ds.attrs.get("product_lid", "")).lower().rpartition(":")[2]
        found = (name, str(ds.attrs.get("product_version", "")))
        if remote is not None and found != (remote.name.lower(), remote.version):
            message = f"asked for {remote.name}::{remote.version}, got another product"
            raise ArchiveError(
                message,
                path=path,
                value="::".join(found),
                rule="download.wrong_product",
            )


def _whole(path: Path) -> None:
    """Refuse bytes before or after the zip: readers of zips overlook them."""
    first = min(info.header_offset for info in archive_members(str(path)).values())
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _INDEX_END_MAX))
        tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    comment = int.from_bytes(tail[place + 20 : place + 22], "little")
    behind = len(tail) - (place + 22 + comment)
    if first or behind:
        message = "the zip has bytes before its first member or after its index"
        raise ArchiveError(
            message, path=path, value=(first, behind), rule="download.wrong_content"
        )


# --- the query --------------------------------------------------------------------


def _question(
    channel: str,
    window: tuple[dt.datetime | None, dt.datetime | None],
    latitude: tuple[float, float] | None,
) -> tuple[str, tuple[str, ...]]:
    """Query, and the columns that it asks for."""
    pattern = f"nmd_cal_sc_{channel}_{_common(window)}%"
    if latitude is None:
        return (
            f"SELECT {', '.join(_COLUMNS)} "
            f"FROM {_VIEW} WHERE bundle_distribution_path = 'em16_tgo_nmd' "
            f"AND processing_level = 'Calibrated' "
            f"AND subinstrument_name = '{channel.upper()}' "
            f"AND logical_identifier_short LIKE '{pattern}'"
        ), _COLUMNS
    low, high = (float(x) for x in latitude)
    if not -90 <= low <= high <= 90:
        message = "latitude wants (lower, upper) in degree"
        raise ArchiveError(message, value=latitude, rule="search.condition")
    return (
        f"SELECT {', '.join(_EPN_COLUMNS)} FROM {_EPN_VIEW} "
        "WHERE instrument_name = 'NOMAD' "
        f"AND granule_uid LIKE '%:data_calibrated:{pattern}' "
        f"AND c2max >= {low!r} AND c2min <= {high!r}"
    ), _EPN_COLUMNS


def _common(window: tuple[dt.datetime | None, dt.datetime | None]) -> str:
    """Date digits that all names in the window share."""
    if window[0] is None or window[1] is None:
        return ""
    first = f"{window[0] - _MARGIN:%Y%m%d}"
    last = f"{window[1] + _MARGIN:%Y%m%d}"
    return next((first[:n] for n in range(8, 0, -1) if first[:n] == last[:n]), "")


def _ask(
    question: tuple[str, tuple[str, ...]], settings: ArchiveSettings
) -> tuple[list[dict[str, str]], str]:
    """Rows of the first service that answers, and the root for its downloads."""
    services = [s.rstrip("/") for s in (settings.tap_url, *settings.tap_fallback_urls)]
    for number, base in enumerate(services, start=1):
        try:
            rows = query(*question, base, settings)
        except ArchiveError as error:
            # a cut answer or a refused query is an answer: another service would cut
            # or refuse it too, or hide that this one did
            if number == len(services) or error.rule in _FINAL:
                raise
            _LOG.warning("asking the next service: %s", error)
            continue
        return rows, settings.download_root or base.removesuffix("/tap")
    message = "no service to ask: tap_url is empty"
    raise ArchiveError(message, rule="search.answer")


def _remote(row: dict[str, str], root: str) -> Remote | None:
    if "granule_uid" in row:
        # both spellings of an identifier with version: "...::3.0" and "...:3.0"
        name, _, version = row["granule_uid"].replace("::", ":").rpartition(":")
        url = row["access_url"]
    else:
        name, version = row["logical_identifier_short"], row["version_id"]
        path = row["download_path"]
        url = path if urlsplit(path).scheme or not path else f"{root}{path}"
    name = name.rpartition(":")[2].lower()
    if not re.fullmatch(r"\d+\.\d+", version):
        return None
    return Remote(name, version, quote(url, safe="%/:?=&;,+@~._-"))


def _wanted(
    remote: Remote,
    channel: str,
    orders: set[int] | None,
    window: tuple[dt.datetime | None, dt.datetime | None],
    ls: tuple[float, float] | None,
) -> bool:
    match = _NAME.fullmatch(remote.name)
    # % and _ of LIKE are wildcards, so the answer may hold more than was meant
    if match is None or match["channel"].lower() != channel:
        return False
    order = match["order"] or ""
    if orders is not None and not (order.isdigit() and int(order) in orders):
        return False
    try:
        begin, end = (
            dt.datetime.strptime(match[key].upper(), "%Y%m%dT%H%M%S").replace(
                tzinfo=dt.UTC
            )
            for key in ("start", "stop")
        )
    except ValueError:
        return False
    if window[0] is not None and end + _MARGIN < window[0]:
        return False
    if window[1] is not None and begin - _MARGIN >= window[1]:
        return False
    if ls is not None:
        value = float(solar_longitude(np.datetime64(begin.replace(tzinfo=None), "ns")))
        first, last = ls
        inside = (value >= first, value <= last)
        return all(inside) if first <= last else any(inside)
    return True


def _instant(text: str | None) -> dt.datetime | None:
    return None if text is None else instant(text, "search.condition")


def _listed(order: Order) -> list[int]:
    if order is None:
        return []
    return [order] if isinstance(order, int) else list(order)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(x) for x in version.split("."))
