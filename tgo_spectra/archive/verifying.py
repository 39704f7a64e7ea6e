"""Verification of archive products and of our own files alike."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.archive.catalogue import walk
from tgo_spectra.errors import ProductError, TgoError, TgoWarning
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.files.observations import is_truth
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, parse_label
from tgo_spectra.pds4.check import findings_of
from tgo_spectra.pds4.report import Finding
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX
from tgo_spectra.readers.finding import find_label, label_bytes, labels_of_zip
from tgo_spectra.readers.open import has_reader, read_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Verified", "verify", "verify_product"]


@dataclass(frozen=True)
class Verified:
    """Whether one product or file is intact.

    Parameters
    ----------
    path : str
        File; for a member of a zip, ``zip::member``.
    rule : str
        Rule that is broken, or that casts doubt; empty if intact.
    message : str
        What is wrong; empty if intact.
    suspect : bool
        Nothing is refused, but something in the data should not be there: a record
        that stands twice, a blank cell where the archive writes a number, bytes that
        the label does not describe.
    findings : tuple of Finding
        Of a product, all that is worth saying.
    """

    path: str
    rule: str = ""
    message: str = ""
    suspect: bool = False
    findings: tuple[Finding, ...] = ()


def verify(paths: str | Path | Iterable[str | Path]) -> list[Verified]:
    """Read everything in products and files, and say what is damaged.

    Of an archive product the label, size, MD5, every record and every cell of every
    object are checked (`tgo_spectra.pds4.check`), and it is opened and read as by
    `tgo_spectra.open_product_tree`. Of a zip also the checksums of its members are, of
    a file of ours (level 2, map, absorption table) its content hash. Products of other
    missions are checked as far as PDS4 goes.

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
    return [row for item in given for row in _verify(expanded(item))]


def verify_product(path: str | Path) -> Verified:
    """Read everything in one label, zip of one label, or ``zip::label``; see `verify`.

    Examples
    --------
    >>> verify_product("missing.xml").rule
    'label.missing_file'
    """
    try:
        return next(_product(find_label(path), inside=False))
    except TgoError as error:
        return _failure(str(path), error)


def _verify(path: Path, *, inside: bool = False) -> Iterator[Verified]:
    """Verify one path; `inside` a folder labels of other classes are left out."""
    if path.is_dir():
        own = [file for file in path.rglob("*.nc") if not is_truth(file)]
        for found in sorted([*walk(path), *own]):
            yield from _verify(found, inside=True)
        return
    suffix = path.suffix.lower()
    try:
        if suffix == ".nc":
            open_verified(path)
            labels: list[Source] = []
        elif suffix == ".zip":
            labels = labels_of_zip(path.absolute())
        else:
            labels = [find_label(path)]
    except TgoError as error:
        yield _failure(str(path), error)
        return
    if suffix == ".nc":
        yield Verified(str(path))
    for label in labels:
        yield from _product(label, inside=inside)


def _product(source: Source, *, inside: bool) -> Iterator[Verified]:
    try:
        if inside and label_bytes(source) is None:
            return  # a collection, a document: no data of an observation
        findings = _findings(source)
    except TgoError as error:
        findings = [_finding(error)]
    errors = [item for item in findings if item.severity == "error"]
    doubts = [
        item
        for item in findings
        if item.severity == "warning" and item.path != str(source)
    ]
    for item in (*errors, *doubts)[:1]:
        text = " ".join(str(item.error()).split())
        suspect = not errors
        yield Verified(str(source), item.rule, text, suspect, tuple(findings))
        return
    yield Verified(str(source), findings=tuple(findings))


def _findings(source: Source) -> list[Finding]:
    """Check a product by its label, then open and read it where there is a reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)  # are among the findings
        text = source.read(LABEL_BYTES_MAX)
        label = parse_label(text, str(source), repair=True)
        observed = label.product_class == "Product_Observational"
        ours = observed and has_reader(label)
        findings = findings_of(source, exact=ours)
        if ours and all(item.severity != "error" for item in findings):
            try:
                # its geometry is a product of its own
                for part in read_groups(source, geometry=False).values():
                    part.load()
            except TgoError as error:
                findings.append(_finding(error))
    return findings


def _finding(error: TgoError) -> Finding:
    if isinstance(error, ProductError):
        return Finding.of(error)
    return Finding("error", error.rule or "error", str(error), error.path or "")


def _failure(path: str, error: TgoError) -> Verified:
    return Verified(path, error.rule or "error", " ".join(str(error).split()))
