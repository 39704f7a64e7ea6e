"""Verification of archive products and of our own files alike."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.archive.products import (
    label_bytes,
    labels_of_zip,
    open_parts,
    walk,
)
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.netcdf import open_verified

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tgo_spectra.pds4 import Source

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """Whether one product or file is intact.

    Parameters
    ----------
    path : str
        File; for a member of a zip, ``zip::member``.
    rule : str
        Rule that is broken; empty if intact.
    message : str
        What is wrong; empty if intact.
    """

    path: str
    rule: str = ""
    message: str = ""


def verify(paths: str | Path | Iterable[str | Path]) -> list[Verified]:
    """Read everything in products and files, and say what is damaged.

    Of an archive product the label, size, MD5 and every number of the table are
    checked, of a zip also the checksums of its members, of a file of ours
    (level 2, map, absorption table) its content hash.

    Parameters
    ----------
    paths : path or iterable of paths
        Labels, tables (``.tab``), zips, ``.nc`` files, or folders of these. Of a folder
        the truths beside simulated products (``.truth.nc``) are left out: they have no
        content hash.

    Returns
    -------
    list of Verified
        One row a product or file, in the order given.

    Examples
    --------
    >>> from tgo_spectra.archive import verify
    >>> verify("missing.nc")[0].rule
    'io.unreadable'
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    return [row for item in given for row in _verify(Path(item))]


def _is_truth(file: Path) -> bool:
    return file.name.endswith(".truth.nc")


def _verify(path: Path) -> Iterator[Verified]:
    if path.is_dir():
        own = [file for file in path.rglob("*.nc") if not _is_truth(file)]
        for found in sorted([*walk(path), *own]):
            yield from _verify(found)
        return
    suffix = path.suffix.lower()
    try:
        if suffix == ".nc":
            open_verified(path)
            labels: list[Source] = []
        elif suffix == ".zip":
            labels = labels_of_zip(path.absolute())
        else:
            from tgo_spectra.readers import find_label

            labels = [find_label(path)]
    except TgoError as error:
        yield _failure(str(path), error)
        return
    if suffix == ".nc":
        yield Verified(str(path))
    for label in labels:
        yield from _product(label)


def _product(label: Source) -> Iterator[Verified]:
    try:
        if label_bytes(label) is None:
            return  # a collection, a document: no data to verify
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TgoWarning)
            for part in open_parts(label).values():
                part.load()
    except TgoError as error:
        yield _failure(str(label), error)
    else:
        yield Verified(str(label))


def _failure(path: str, error: TgoError) -> Verified:
    return Verified(path, error.rule or "error", " ".join(str(error).split()))
