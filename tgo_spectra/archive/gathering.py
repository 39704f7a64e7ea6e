"""Products that a run takes from folders and zips: each one once, newest version."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tgo_spectra.archive.catalogue import labels_and_zips
from tgo_spectra.archive.verifying import verify_product
from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import Source
from tgo_spectra.readers.finding import (
    find_label,
    is_product_name,
    label_bytes,
    labels_of_zip,
    split_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Gathered", "LeftOut", "gather", "identity"]

_KEY_BYTES = 16
"""Of the hash of an identifier; after these a version may stand."""
_LID = re.compile(rb"<(?:\w+:)?logical_identifier>\s*([^<\s]+)\s*<")
_VERSION = re.compile(rb"<(?:\w+:)?version_id>\s*(\d+(?:\.\d+)*)\s*<")


@dataclass(frozen=True)
class LeftOut:
    """A product at `path` that is not taken since `taken` holds it too, and why."""

    path: Path
    taken: Path
    rule: str
    message: str


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Parameters
    ----------
    names : list of str
        Paths of the products, in the order of the places and within one by path:
        labels, zips of one label, and ``zip::label`` for each product of a zip of
        several. Text, since a path takes five times its memory.
    others : int
        Labels of collections, bundles, documents and pictures, of geometry alone
        (ACS, read with the spectra that name it), and zips without a product: left out.
    left_out : list of LeftOut
        Older versions and further copies of products that are in `names`.
    """

    names: list[str]
    others: int
    left_out: list[LeftOut]

    @property
    def paths(self) -> list[Path]:
        """The same as paths."""
        return [Path(name) for name in self.names]

    @property
    def older(self) -> int:
        """Number of older versions and further copies that are left out."""
        return len(self.left_out)


def gather(places: Iterable[Path]) -> Gathered:
    """Find the products of folders (and below), zips and single paths.

    Of several versions of one product the highest is taken, also when it is damaged: a
    run must not mix versions without anybody's knowing. Of several copies of it an
    intact one (to know, they are read in full), then one outside a zip, then the first.
    What cannot be read is taken as a product, so that the run reports it.

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
    Gathered(names=[], others=1, left_out=[])
    """
    others = 0
    found: dict[str, bytes] = {}
    for place in places:
        here: dict[str, bytes] = {}
        for name, known in _identities(place):
            if known is None:
                others += 1
            else:
                here.setdefault(name, known)
        for name in sorted(here):
            found.setdefault(name, here[name])
        del here
    keys = sorted(known[:_KEY_BYTES] for known in found.values() if known)
    several = {one for one, other in itertools.pairwise(keys) if one == other}
    same: dict[bytes, list[_Candidate]] = {}
    for number, (name, known) in enumerate(found.items() if several else ()):
        key, version = known[:_KEY_BYTES], known[_KEY_BYTES:].decode()
        if key not in several:
            continue
        numbers = tuple(int(x) for x in version.split(".") if x)
        packed = name.lower().endswith(".zip") or bool(split_place(name)[1])
        one = _Candidate(numbers, not packed, -number, Path(name))
        same.setdefault(key, []).append(one)
    left_out = [left for candidates in same.values() for left in _choose(candidates)]
    unwanted = {str(left.path) for left in left_out}
    names = [name for name in found if name not in unwanted]
    return Gathered(names, others, left_out)


class _Candidate(NamedTuple):
    """One of the files that hold a product; the largest is preferred."""

    version: tuple[int, ...]
    unpacked: bool
    place: int  # negative, from the first on
    path: Path


def _choose(candidates: list[_Candidate]) -> list[LeftOut]:
    """Choose one of the files that hold a product; say why the others are left out."""
    ranked = sorted(candidates, reverse=True)
    copies = [one for one in ranked if one.version == ranked[0].version]
    damage: dict[Path, str] = {}
    best = copies[0]
    for one in copies if len(copies) > 1 else ():
        found = verify_product(one.path)
        if not found.rule or found.suspect:
            best = one
            break
        damage[one.path] = found.message
    left_out = []
    for one in ranked:
        if one is best:
            continue
        if one.version != best.version:
            rule = "batch.older_version"
            words = [".".join(map(str, x.version)) or "none" for x in (one, best)]
            why = f"version {words[0]}, and there is version {words[1]}"
        elif one.path in damage:
            rule, why = "batch.damaged_copy", f"damaged copy: {damage[one.path]}"
        else:
            rule, why = "batch.copy", "further copy"
        left_out.append(LeftOut(one.path, best.path, rule, why))
    return left_out


def _identities(place: Path) -> Iterator[tuple[str, bytes | None]]:
    """Products of one place, with identifier (hashed) and version; None if it is none.

    Empty where a label has no identifier.
    """
    # there may be many: no text of a label is kept
    for path, text in _inside(place):
        if text is None:
            yield str(path), None
        else:
            lid, version = identity(text)
            key = hashlib.sha256(lid.encode()).digest()[:_KEY_BYTES]
            yield str(path), key + version.encode() if lid else b""


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
            yield place, find_label(place).read()
        except ProductError:
            yield place, b""  # the task of this product says what is wrong


def _is_geometry(label: bytes) -> bool:
    """Tell whether a label is of the geometry collection [I]: no spectra are in it."""
    parts = identity(label)[0].split(":")
    return len(parts) > 4 and parts[4] == "geometry"


def identity(label: bytes) -> tuple[str, str]:
    """Find identifier (lower case) and version in a label; empty if absent.

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
        if len(labels) == 1:
            yield path, labels[0].read()
            return
        for label in labels:
            yield Path(str(label)), label.read()
    except ProductError as error:
        # the task of this product fails with the same error, and makes a row of it
        yield path, None if error.rule == "zip.no_product" else b""
