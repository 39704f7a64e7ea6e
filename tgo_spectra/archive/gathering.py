"""Products that a run takes from folders and zips: each one once, newest version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra.archive.products import (
    is_product_name,
    label_bytes,
    labels_and_zips,
    labels_of_zip,
    opens_alone,
    source_of,
    split_place,
)
from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Gathered", "gather", "identity"]

_LID = re.compile(rb"<(?:\w+:)?logical_identifier>\s*([^<\s]+)\s*<")
_VERSION = re.compile(rb"<(?:\w+:)?version_id>\s*(\d+(?:\.\d+)*)\s*<")


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Parameters
    ----------
    paths : list of pathlib.Path
        Products, in the order of the places and within one by path: labels, zips of one
        label, and ``zip::label`` for each product of a zip of several.
    others : int
        Labels of collections, bundles, documents and pictures, of geometry alone
        (ACS, read with the spectra that name it), and zips without a product: left out.
    older : int
        Older versions and further copies of a product that is in `paths`: left out.
    """

    paths: list[Path]
    others: int
    older: int


def gather(places: Iterable[Path]) -> Gathered:
    """Find the products of folders (and below), zips and single paths.

    Of several versions of one product the highest is taken, also when it is damaged: a
    run must not mix versions without anybody's knowing. Of several copies of it one
    outside a zip, then the first. What cannot be read is taken as a product, so that
    the run reports it.

    Parameters
    ----------
    places : iterable of Path
        Folders, zips, labels, tables, or ``zip::label``.

    Returns
    -------
    Gathered

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "collection_data.xml").write_text("<x/>")
    >>> gather([folder])
    Gathered(paths=[], others=1, older=0)
    """
    others = 0
    found: dict[Path, bytes] = {}
    for place in places:
        for path, text in sorted(_inside(place), key=lambda item: str(item[0])):
            if text is None:
                others += 1
            else:
                found.setdefault(path, text)
    best: dict[str, tuple[tuple[Any, ...], int]] = {}
    for number, (path, text) in enumerate(found.items()):
        lid, version = identity(text)
        numbers = tuple(int(x) for x in version.split(".") if x)
        packed = path.suffix.lower() == ".zip" or bool(split_place(path)[1])
        rank = (numbers, not packed, -number)
        key = lid or f"unnamed {number}"
        if key not in best or rank > best[key][0]:
            best[key] = (rank, number)
    every = list(found)
    paths = [every[number] for number in sorted(number for _, number in best.values())]
    return Gathered(paths, others, len(every) - len(paths))


def _inside(place: Path) -> Iterator[tuple[Path, bytes | None]]:
    """Products of one place with the text of their labels; None for anything else."""
    if place.is_dir():
        for path in labels_and_zips(place):
            if is_product_name(path.name):
                for found, text in _products_of(path):
                    yield found, None if text and _is_geometry(text) else text
            else:
                yield path, None
    elif place.suffix.lower() == ".zip":
        yield from _products_of(place)
    else:
        try:
            yield place, source_of(place).read()
        except ProductError:
            yield place, b""  # the task of this product says what is wrong


def _is_geometry(label: bytes) -> bool:
    """Tell whether a label is of the geometry collection [I]: no spectra are in it."""
    parts = identity(label)[0].split(":")
    return len(parts) > 4 and parts[4] == "geometry"


def identity(label: bytes) -> tuple[str, str]:
    """Find identifier (lower case) and version in a label; empty if absent.

    Parameters
    ----------
    label : bytes
        The label. It need not be well-formed.

    Returns
    -------
    lid, version : str

    Examples
    --------
    >>> identity(b"<logical_identifier>urn:A</logical_identifier>")
    ('urn:a', '')
    """
    lid, version = _LID.search(label), _VERSION.search(label)
    return (
        lid[1].decode("ascii", "replace").lower() if lid else "",
        version[1].decode("ascii") if version else "",
    )


def _products_of(path: Path) -> Iterator[tuple[Path, bytes | None]]:
    """Products in a file with the text of their labels; None for anything else."""
    try:
        if path.suffix.lower() != ".zip":
            yield path, label_bytes(Source(str(path)))
            return
        labels = labels_of_zip(path)
        if opens_alone(path):
            yield path, labels[0].read()
            return
        for label in labels:
            yield Path(str(label)), label.read()
    except ProductError as error:
        # the task of this product fails with the same error, and makes a row of it
        yield path, None if error.rule == "zip.no_product" else b""
