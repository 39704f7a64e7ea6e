"""A catalogue: what products say of themselves, or why they cannot, and its file."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tgo_spectra.errors import ArchiveError, TgoError, TgoWarning
from tgo_spectra.mars import mean_direction
from tgo_spectra.pds4 import Source, resolve_data
from tgo_spectra.readers.finding import LABEL_SUFFIXES, is_product_name
from tgo_spectra.readers.open import read_groups, read_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr

__all__ = [
    "Entry",
    "as_dataset",
    "damaged",
    "decode_file",
    "describe",
    "encode",
    "instant",
    "labels_and_zips",
    "walk",
]

_BETWEEN = "/"  # never part of a name
_QUALITY = re.compile(
    r"HSKDisturbed|HSKOutOfBounds|DiscardedPackets|DetectorSaturated|PointingError|"
    r"BadPixels\w+|LNOStraylight|HighInstrumentTemperature|\w+OccBoresight|"
    r"CalibrationFailed"
)
"""Flags of NOMAD labels; that one is 0 does not mean good, some are never set."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product in a catalogue file; paths are relative to the indexed folder."""

    path: str
    key: str
    stamp: str = ""
    member: str = ""
    named: bool = False  # whether the member must be named to open it
    data: str = ""  # names of the data files, a slash between
    data_size: int = 0
    lid: str = ""
    version: str = ""
    instrument: str = ""
    channel: str = ""
    observation_type: str = ""
    altitude_part: str = ""
    orbit: int = -1
    order: int = -1
    start: str | None = None
    stop: str | None = None
    solar_longitude: float | None = None
    longitude: float | None = None
    latitude_min: float | None = None
    latitude_max: float | None = None
    altitude_min: float | None = None
    altitude_max: float | None = None
    spectra: int = 0
    flags: str = ""
    size: int = 0
    md5: str = ""
    rule: str = ""
    message: str = ""


def labels_and_zips(root: Path) -> Iterator[Path]:
    """Yield all labels and zips below a folder, in stable order; no links followed."""
    for folder, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() in {*LABEL_SUFFIXES, ".zip"}:
                yield path


def walk(root: Path) -> Iterator[Path]:
    """Yield what may be products below a folder, as `labels_and_zips`."""
    yield from (path for path in labels_and_zips(root) if is_product_name(path.name))


def damaged(place: str, member: str, key: str, error: TgoError) -> Entry:
    """Row of a product that cannot be used."""
    return Entry(
        path=place,
        member=member,
        key=key,
        rule=error.rule or "error",
        message=" ".join(str(error).split()),
    )


def describe(source: Source, place: str, key: str) -> Entry:
    """Open a product and make its row, with ``rule`` and ``message`` if it is damaged.

    `place` is its path relative to the indexed folder, `key` the hash of label or zip.
    """
    member = source.member or ""
    known: dict[str, Any] = {"path": place, "member": member, "key": key}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TgoWarning)
        try:
            label = read_label(source)
            known |= {"lid": label.lid.lower(), "version": label.version}
            files = [
                resolve_data(source, area.file_name, label.version)[0]
                for area in label.areas
            ]
            known["data"] = _BETWEEN.join(file.name for file in files)
            known["data_size"] = sum(file.size() for file in files)
            known["size"] = known["data_size"] + source.size()
            parts = read_groups(source, geometry=False)
            known |= _facts(parts.get("Data", parts["/"]), parts["/"].attrs)
        except TgoError as error:
            text = " ".join(str(error).split())
            known |= {"rule": error.rule or "error", "message": text}
    rules = {r for w in notes for r in re.findall(r"\[([\w.]+)\]", str(w.message))}
    known["flags"] = " ".join(filter(None, (known.get("flags", ""), *sorted(rules))))
    return Entry(**known)


def _facts(ds: xr.Dataset, attrs: dict[Any, Any]) -> dict[str, Any]:
    """Return what the columns of a catalogue hold."""
    flags = [
        str(name)
        for name, value in attrs.items()
        if _QUALITY.fullmatch(str(name)) and str(value).strip() not in {"0", "false"}
    ]
    facts: dict[str, Any] = {
        "instrument": str(attrs.get("instrument", "")).lower(),
        "channel": str(attrs.get("channel", "")).lower(),
        "observation_type": str(attrs.get("observation_type", "")),
        "altitude_part": str(attrs.get("altitude_part", "")),
        "orbit": int(attrs.get("orbit", -1)),
        "spectra": int(ds.sizes.get("spectrum", 0)),
        "md5": str(attrs.get("source_md5", "")),
        "flags": " ".join(flags),
        "order": -1,
    }
    if "order" in ds.variables and ds["order"].ndim == 0:
        facts["order"] = int(ds["order"])
    start, stop = attrs.get("start_date_time"), attrs.get("stop_date_time")
    if "time_bounds" in ds.variables and ds["time_bounds"].size:
        # the table's own times; those of the name are a window of commands
        times = ds["time_bounds"].values
        start, stop = str(np.nanmin(times)), str(np.nanmax(times))
    facts |= {"start": _utc(start), "stop": _utc(stop)}
    for name in ("solar_longitude", "longitude"):
        low = -180.0 if name == "longitude" else 0.0
        values = _finite(ds, name)
        mean = mean_direction(values, 360.0) if values.size else None
        facts[name] = None if mean is None else (mean - low) % 360.0 + low
    for name, source in (("latitude", "latitude"), ("altitude", "tangent_altitude")):
        values = _finite(ds, source)
        if values.size:
            facts[f"{name}_min"] = float(values.min())
            facts[f"{name}_max"] = float(values.max())
    return facts


def instant(text: str, rule: str) -> dt.datetime:
    """Return a time from ISO 8601 text; UTC where it does not say."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError as error:
        message = "a time looks like 2018-04-21 or 2018-04-21T12:00:00 (UTC)"
        raise ArchiveError(message, value=text, rule=rule) from error
    if found.tzinfo is None:
        return found.replace(tzinfo=dt.UTC)
    return found.astimezone(dt.UTC)


def _utc(text: object) -> str | None:
    return None if text is None else str(text).removesuffix("Z")


def _finite(ds: xr.Dataset, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if name not in ds.variables:
        return np.empty(0)
    values = np.asarray(ds[name].values, dtype=np.float64).ravel()
    return values[np.isfinite(values)]


# --- the file, and its rows as a Dataset ------------------------------------------

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
    """Read rows and indexed folder; ``catalogue.damaged`` if that cannot be."""
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
