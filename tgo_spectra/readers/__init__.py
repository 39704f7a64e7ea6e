"""Readers of archive products: from a label, a table or a delivery zip to xarray.

Which reader is used follows from the product's logical identifier, never from the
file name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import Source, archive_members, parse_label
from tgo_spectra.readers import nomad
from tgo_spectra.readers.many import open_products

if TYPE_CHECKING:
    from collections.abc import Callable

    from tgo_spectra.pds4 import Label

__all__ = [
    "READERS",
    "find_label",
    "open_product",
    "open_products",
    "read_label",
    "read_product",
]

READERS: dict[str, Callable[..., xr.Dataset]] = {
    "em16_tgo_nmd": nomad.read,
}
"""Reader of each instrument, by the bundle part of the logical identifier."""

_LABEL_SUFFIXES = (".xml", ".lblx")


def open_product(
    path: str | Path, *, apply_mask: bool = False, verify_md5: bool = True
) -> xr.Dataset:
    """Open one archive product.

    The label is read and the table is checked against it (size, MD5, delimiters) at
    once; the numbers of a variable are parsed when they are first used. The same
    Dataset comes from ``xarray.open_dataset(path, engine="tgo")``, which also takes
    ``chunks``.

    Parameters
    ----------
    path : path
        A label (``.xml``), a table (``.tab``) beside its label, a delivery zip, or a
        folder with one product.
    apply_mask : bool
        UVIS: make the pixels that ``mask`` rejects NaN in the signal and its error.
        Recorded as ``mask_applied`` in the attributes of these variables and of the
        Dataset.
    verify_md5 : bool
        Compute the MD5 of the table and compare it with the label's (about 20 ms for
        10 MB, beside other work). The attribute ``source_md5_verified`` is 1 if the
        two are equal, 0 if this was not asked for or the label has none.

    Returns
    -------
    Dataset
        Level 1: dimensions ``spectrum`` (table row, ordered as in the file),
        ``pixel``, ``point`` and ``edge`` (start, end). Missing values are NaN; the
        name in the label is in the attribute ``label_name`` of each variable. Units
        are in the attribute ``units`` (altitudes km, wavenumber cm-1, angles degree,
        local time hour). The attribute ``flags_without_meaning`` names the flags that
        the producer does not set, ``quality_notes`` says what the others report,
        ``calibration_status`` is passed or failed where the product tells.

    Raises
    ------
    ProductError
        With the rule broken, such as ``label.filesize_mismatch``,
        ``label.checksum_mismatch``, ``product.unknown_instrument`` or
        ``product.no_mask``.

    Examples
    --------
    >>> open_product("no_such_product.xml")
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: ...no_such_product.xml: no such file ...
    """
    from tgo_spectra.readers.backend import TgoBackendEntrypoint

    return xr.open_dataset(
        Path(path),
        engine=TgoBackendEntrypoint,
        apply_mask=apply_mask,
        verify_md5=verify_md5,
    )


def read_product(
    path: str | Path, *, apply_mask: bool = False, verify_md5: bool = True
) -> xr.Dataset:
    """Return the Dataset of a product with lazy variables, before xarray wraps it."""
    source = find_label(path)
    label = read_label(source)
    parts = label.lid.split(":")
    bundle = parts[3] if len(parts) > 3 else label.lid
    if bundle not in READERS:
        msg = (
            f"no reader for instrument {bundle!r}; there is one for: "
            f"{', '.join(sorted(READERS))}"
        )
        raise ProductError(
            msg,
            path=str(source),
            field="logical_identifier",
            value=label.lid,
            rule="product.unknown_instrument",
        )
    ds = READERS[bundle](label, source, apply_mask=apply_mask, verify_md5=verify_md5)
    ds.encoding["source"] = str(path)
    return ds


def read_label(source: Source) -> Label:
    """Read and check the label of a product.

    Parameters
    ----------
    source : Source
        From `find_label`.

    Returns
    -------
    Label
    """
    return parse_label(source.read(), str(source), repair=True)


def find_label(path: str | Path) -> Source:
    """Find the label that belongs to a path.

    Parameters
    ----------
    path : path
        Label, table, delivery zip or folder.

    Returns
    -------
    Source

    Raises
    ------
    ProductError
        ``label.missing_file`` if there is no label or more than one.
    """
    # absolute, as workers may have another working directory
    path = Path(path).absolute()
    suffix = path.suffix.lower()
    if suffix in _LABEL_SUFFIXES:
        return Source(str(path))
    if path.is_dir():
        found = [
            Source(str(item)) for item in sorted(path.iterdir()) if _is_label(item)
        ]
        return _only(found, path)
    if suffix == ".zip":
        members = [
            Source(str(path), name)
            for name in archive_members(str(path))
            if _is_label(Path(name))
        ]
        return _only(members, path)
    if not path.exists():
        msg = "no such file"
        raise ProductError(msg, path=path, rule="label.missing_file")
    if suffix == ".tab":
        found = [
            Source(str(item))
            for item in sorted(path.parent.iterdir())
            if _is_label(item) and item.stem.lower() == path.stem.lower()
        ]
        return _only(found, path)
    msg = "neither a label (.xml), a table (.tab), a zip nor a folder"
    raise ProductError(
        msg,
        path=path,
        value=suffix,
        rule="label.missing_file",
    )


def _is_label(path: Path) -> bool:
    # browse products have labels of their own, which describe pictures
    return (
        path.suffix.lower() in _LABEL_SUFFIXES and "_browse_" not in path.name.lower()
    )


def _only(found: list[Source], path: Path) -> Source:
    if len(found) == 1:
        return found[0]
    names = ", ".join(source.name for source in found[:4]) or "none"
    msg = f"needs exactly one label here, found {len(found)} ({names})"
    raise ProductError(
        msg,
        path=path,
        value=len(found),
        rule="label.missing_file",
    )
