"""Which label belongs to a path: of a file, a folder or a zip."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from tgo_spectra.errors import ProductError
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, archive_members
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX

__all__ = [
    "LABEL_SUFFIXES",
    "find_label",
    "is_product_name",
    "label_bytes",
    "labels_in",
    "labels_of_zip",
    "split_place",
]

LABEL_SUFFIXES = (".xml", ".lblx")
_NAMED = 5  # labels that a message names

# Browse products have labels of their own, which describe pictures.
_NOT_A_PRODUCT = re.compile(
    r"^(bundle|collection|readme|document)|_browse_", re.IGNORECASE
)
_PRODUCT_CLASS = re.compile(rb"<(?:\w+:)?product_class>\s*(\w+)\s*<")


def find_label(path: str | Path) -> Source:
    """Find the label that belongs to a label, table, folder or zip.

    ``x.zip::inner/y.xml`` is one product of several in a zip; no label or more than one
    is refused (``label.missing_file``).
    """
    head, member = split_place(path)
    # absolute, as workers may have another working directory
    place = Path(head).absolute()
    suffix = place.suffix.lower()
    if suffix in LABEL_SUFFIXES:
        return Source(str(place))
    if place.is_dir():
        return _only(labels_in(place), place)
    if suffix == ".zip":
        return _label_of_zip(place, member)
    if not place.exists():
        msg = "no such file"
        raise ProductError(msg, path=place, rule="label.missing_file")
    if suffix == ".tab":
        beside = labels_in(place.parent)
        stem = place.stem.lower()
        return _only([s for s in beside if Path(s.path).stem.lower() == stem], place)
    msg = "neither a label (.xml), a table (.tab), a zip nor a folder"
    raise ProductError(msg, path=place, value=suffix, rule="label.missing_file")


def split_place(path: str | Path) -> tuple[str, str]:
    """Split ``x.zip::inner/y.xml`` into zip and label; other paths have no label."""
    text = str(expanded(path))
    head, mark, member = text.partition("::")
    return (head, member) if mark and head.lower().endswith(".zip") else (text, "")


def is_product_name(name: str) -> bool:
    """Whether a file of this name may be a product, or a zip of such."""
    return name.lower().endswith(".zip") or not _NOT_A_PRODUCT.search(name)


def labels_in(folder: Path) -> list[Source]:
    """Return the labels in a folder that may be of products, by name."""
    paths = sorted(folder.absolute().iterdir())
    return [Source(str(path)) for path in paths if _is_label(path.name)]


def labels_of_zip(path: Path) -> list[Source]:
    """Give the product labels in a zip; ``zip.no_product`` if it holds none."""
    found = [
        Source(str(path), name)
        for name in sorted(archive_members(str(path)))
        if _is_label(PurePosixPath(name).name)
    ]
    labels = [label for label in found if label_bytes(label) is not None]
    if not labels:
        message = "no product label in this zip"
        raise ProductError(message, path=path, rule="zip.no_product")
    return labels


def label_bytes(source: Source) -> bytes | None:
    """Read a label; None if it says that it is not one of an observation."""
    text = source.read(LABEL_BYTES_MAX)
    match = _PRODUCT_CLASS.search(text)
    other = match is not None and match[1] != b"Product_Observational"
    return None if other else text


def _is_label(name: str) -> bool:
    return name.lower().endswith(LABEL_SUFFIXES) and is_product_name(name)


def _label_of_zip(place: Path, member: str) -> Source:
    if member and member in archive_members(str(place)):
        return Source(str(place), member)
    labels = labels_of_zip(place)
    if len(labels) == 1 and not member:
        return labels[0]
    names = [str(label.member) for label in labels]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    what = "no such label in this zip" if member else f"zip of {len(names)} products"
    message = (
        f"{what}; name one as {place.name}::LABEL, LABEL being one of "
        f"{', '.join(names[:_NAMED])}{more}"
    )
    value = member or len(names)
    raise ProductError(message, path=place, value=value, rule="label.missing_file")


def _only(found: list[Source], path: Path) -> Source:
    if len(found) == 1:
        return found[0]
    names = ", ".join(source.name for source in found[:4]) or "none"
    msg = f"needs exactly one label here, found {len(found)} ({names})"
    raise ProductError(msg, path=path, value=len(found), rule="label.missing_file")
