"""File of a catalogue, and its rows as a Dataset."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tgo_spectra.archive.products import Entry
from tgo_spectra.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

__all__ = ["as_dataset", "decode_file", "encode"]

_FORMAT = "tgo_spectra catalogue 2"


class _Head(msgspec.Struct):
    format: str
    root: str
    made: str
    sha256: str


def encode(entries: list[Entry], root: Path) -> bytes:
    """Give the bytes of a catalogue file, with their own hash in the first line."""
    body = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
    made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    head = _Head(_FORMAT, str(root), made, hashlib.sha256(body).hexdigest())
    return msgspec.json.encode(head) + b"\n" + body


def decode_file(file: Path) -> tuple[list[Entry], Path]:
    """Read rows and indexed folder.

    Raises
    ------
    ArchiveError
        ``catalogue.damaged``.
    """
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


def as_dataset(entries: list[Entry], root: Path, file: Path) -> xr.Dataset:
    """Give the rows as variables along ``product``, see `index_archive`."""
    import xarray as xr

    def texts(values: Iterable[str]) -> np.ndarray[Any, np.dtype[Any]]:
        return np.array([*values, ""], dtype=object)[:-1]

    # what opens: the zip, or the label after "::" if the zip has several
    places = (f"{root / e.path}{f'::{e.member}' if e.named else ''}" for e in entries)
    columns: dict[str, Any] = {"path": ("product", texts(places))}
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
