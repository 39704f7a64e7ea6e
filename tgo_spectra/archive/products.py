"""One row of a catalogue: what a product says of itself, or why it cannot."""

from __future__ import annotations

import datetime as dt
import os
import re
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tgo_spectra.errors import ArchiveError, ProductError, TgoError, TgoWarning
from tgo_spectra.pds4 import Source, archive_members, resolve_data
from tgo_spectra.readers import READERS, read_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

__all__ = [
    "Entry",
    "damaged",
    "describe",
    "instant",
    "label_bytes",
    "labels_of_zip",
    "open_source",
    "walk",
]

_LABEL_SUFFIXES = frozenset({".xml", ".lblx"})
_NOT_A_PRODUCT = re.compile(
    r"^(bundle|collection|readme|document)|_browse_", re.IGNORECASE
)
_PRODUCT_CLASS = re.compile(rb"<(?:\w+:)?product_class>\s*(\w+)\s*<")
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
    member: str = ""
    data: str = ""
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


def walk(root: Path) -> Iterator[Path]:
    """Yield labels and zips below a folder, in a stable order; links not followed.

    Parameters
    ----------
    root : Path
        Folder.

    Yields
    ------
    Path
    """
    for folder, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            path = Path(folder, name)
            suffix = path.suffix.lower()
            label = suffix in _LABEL_SUFFIXES and not _NOT_A_PRODUCT.search(name)
            if label or suffix == ".zip":
                yield path


def labels_of_zip(path: Path) -> list[Source]:
    """Give the product labels inside a zip.

    Raises
    ------
    ProductError
        The zip is damaged or unsafe, or holds no product (``label.missing_file``).
    """
    found = [
        Source(str(path), name)
        for name in sorted(archive_members(str(path)))
        if PurePosixPath(name).suffix.lower() in _LABEL_SUFFIXES
        and not _NOT_A_PRODUCT.search(PurePosixPath(name).name)
    ]
    labels = [label for label in found if label_bytes(label) is not None]
    if not labels:
        message = "no product label in this zip"
        raise ProductError(message, path=path, rule="label.missing_file")
    return labels


def label_bytes(source: Source) -> bytes | None:
    """Read a label; None if it says that it is not one of an observation."""
    text = source.read()
    match = _PRODUCT_CLASS.search(text)
    other = match is not None and match[1] != b"Product_Observational"
    return None if other else text


def open_source(source: Source) -> xr.Dataset:
    """Open the product that a label describes, wherever the label is.

    Parameters
    ----------
    source : Source
        The label, a file or a member of a zip.

    Returns
    -------
    Dataset
        Level 1, variables lazy.

    Raises
    ------
    ProductError
        As `tgo_spectra.open_product`.
    """
    label = read_label(source)
    parts = label.lid.split(":")
    reader = READERS.get(parts[3]) if len(parts) > 3 else None
    if reader is None:
        message = "no reader for this instrument"
        raise ProductError(
            message,
            path=str(source),
            field="logical_identifier",
            value=label.lid,
            rule="product.unknown_instrument",
        )
    return reader(label, source)


def damaged(place: str, member: str, key: str, error: TgoError) -> Entry:
    """Row of a product that cannot be used."""
    return Entry(
        path=place,
        member=member,
        key=key,
        rule=error.rule or "error",
        message=" ".join(str(error).split()),
    )


def describe(source: Source, place: str, key: str, *, alone: bool = True) -> Entry:
    """Open a product and make its row.

    Parameters
    ----------
    source : Source
        Its label.
    place : str
        Path relative to the indexed folder.
    key : str
        Hash of the label file or of the zip.
    alone : bool
        Whether a zip holds this product only.

    Returns
    -------
    Entry
        With ``rule`` and ``message`` if the product is damaged.
    """
    member = source.member or ""
    known: dict[str, Any] = {"path": place, "member": member, "key": key}
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", TgoWarning)
        try:
            label = read_label(source)
            known |= {"lid": label.lid.lower(), "version": label.version}
            area = next((a for a in label.areas if a.tables), label.areas[0])
            data = resolve_data(source, area.file_name, label.version)[0]
            known |= {"data": data.name, "data_size": data.size()}
            known["size"] = known["data_size"] + source.size()
            known |= _facts(open_source(source))
            if not alone:
                message = "this zip holds several products: unpack it to open them"
                raise ProductError(
                    message, path=str(source), rule="zip.several_products"
                )
        except TgoError as error:
            text = " ".join(str(error).split())
            known |= {"rule": error.rule or "error", "message": text}
    rules = {r for w in notes for r in re.findall(r"\[([\w.]+)\]", str(w.message))}
    known["flags"] = " ".join(filter(None, (known.get("flags", ""), *sorted(rules))))
    return Entry(**known)


def _facts(ds: xr.Dataset) -> dict[str, Any]:
    """Return what the columns of a catalogue hold."""
    attrs = ds.attrs
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
        facts[name] = _circular_mean(_finite(ds, name), low)
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


def _circular_mean(
    degree: np.ndarray[Any, np.dtype[np.float64]], low: float
) -> float | None:
    if not degree.size:
        return None
    angle = np.deg2rad(degree)
    mean = np.rad2deg(np.arctan2(np.sin(angle).mean(), np.cos(angle).mean()))
    return float((mean - low) % 360.0 + low)
