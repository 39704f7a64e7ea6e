"""Readers of archive products: from a label, a table or a delivery zip to xarray.

Which reader is used follows from the product's logical identifier, never from the
file name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.errors import ProductError
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, parse_label
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX
from tgo_spectra.readers import acs, nomad
from tgo_spectra.readers.acs_stripes import acs_spectra
from tgo_spectra.readers.arrays import kept_once_read
from tgo_spectra.readers.finding import find_label
from tgo_spectra.readers.many import open_products
from tgo_spectra.readers.trees import open_product_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.pds4 import Label
    from tgo_spectra.pds4.check import Mode

__all__ = [
    "GROUP_READERS",
    "READERS",
    "acs_spectra",
    "find_label",
    "instrument_of",
    "open_product",
    "open_product_tree",
    "open_products",
    "read_label",
    "read_product",
]

READERS: dict[str, Callable[..., xr.Dataset]] = {
    "em16_tgo_acs": acs.read,
    "em16_tgo_nmd": nomad.read,
}
"""Reader of each instrument, by the bundle part of the logical identifier."""

GROUP_READERS: dict[str, Callable[..., dict[str, xr.Dataset]]] = {
    "em16_tgo_acs": acs.read_groups,
}
"""Reader of products that have objects with axes of their own."""

_MODES = ("strict", "warn", "repair")


def open_product(
    path: str | Path | Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Open one archive product.

    The label is read and the table is checked against it (size, MD5, delimiters) at
    once; the numbers of a variable are parsed when they are first used. The same
    Dataset comes from ``xarray.open_dataset(path, engine="tgo")``, which also takes
    ``chunks``.

    Parameters
    ----------
    path : path
        A label (``.xml``), a table (``.tab``) beside its label, a folder or a delivery
        zip with one product; ``x.zip::LABEL`` for one of several in a zip.
    apply_mask : bool
        UVIS: make the pixels that ``mask`` rejects NaN in the signal and its error.
        Recorded as ``mask_applied`` in the attributes of these variables and of the
        Dataset.
    verify_md5 : bool
        Compute the MD5 of the table and compare it with the label's (about 20 ms for
        10 MB, beside other work). The attribute ``source_md5_verified`` is 1 if the
        two are equal, 0 if this was not asked for or the label has none.
    mode : {"strict", "warn", "repair"}
        ``"strict"``: refuse what breaks the label or the format. ``"warn"``: warn
        where values can be had all the same. ``"repair"``: mend a fixed list of
        harmless faults. Recorded in the attribute ``reading_mode``, and what was
        mended in ``source_repairs``.

    Returns
    -------
    Dataset
        NOMAD, level 1: dimensions ``spectrum`` (table row, ordered as in the file),
        ``pixel``, ``point`` and ``edge`` (start, end). Missing values are NaN; the
        name in the label is in the attribute ``label_name`` of each variable. Units
        are in the attribute ``units`` (altitudes km, wavenumber cm-1, angles degree,
        local time hour). The attribute ``flags_without_meaning`` names the flags that
        the producer does not set, ``quality_notes`` says what the others report,
        ``calibration_status`` is passed or failed where the product tells,
        ``product_pixels`` how many pixels the product has.

        ACS, calibrated: detector frames (frame, row, pixel), or TIRVIM spectra
        (spectrum, pixel); the attribute ``experimental`` is 1. ACS, raw: several
        tables, for which there is `open_product_tree`.

    Raises
    ------
    ProductError
        With the rule broken, such as ``label.filesize_mismatch``,
        ``label.checksum_mismatch``, ``product.unknown_instrument``,
        ``product.several_axes`` or ``product.no_mask``.

    Examples
    --------
    >>> open_product("no_such_product.xml")
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: ...no_such_product.xml: no such file ...
    """
    return kept_once_read(
        read_product(path, apply_mask=apply_mask, verify_md5=verify_md5, mode=mode)
    )


def read_product(
    path: str | Path | Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Return the Dataset of a product with lazy variables, before xarray wraps it."""
    check_mode(mode)
    source = path if isinstance(path, Source) else find_label(path)
    label = read_label(source)
    reader = READERS[instrument_of(label, source)]
    ds = reader(label, source, apply_mask=apply_mask, verify_md5=verify_md5, mode=mode)
    ds.attrs["reading_mode"] = mode
    ds.encoding["source"] = str(source if isinstance(path, Source) else expanded(path))
    return ds


def check_mode(mode: str) -> None:
    """Refuse a mode that there is not.

    Raises
    ------
    ProductError
        ``mode.unknown``.
    """
    if mode not in _MODES:
        msg = f"mode must be one of {', '.join(_MODES)}"
        raise ProductError(msg, field="mode", value=mode, rule="mode.unknown")


def instrument_of(label: Label, source: Source) -> str:
    """Return the bundle part of a logical identifier that there is a reader for.

    Parameters
    ----------
    label : Label
        The parsed label.
    source : Source
        Where it is, for messages.

    Returns
    -------
    str
        Key of `READERS`.

    Raises
    ------
    ProductError
        ``product.unknown_instrument``.
    """
    bundle = bundle_of(label)
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
    return bundle


def bundle_of(label: Label) -> str:
    """Return the bundle part of a logical identifier, or all of a shorter one."""
    parts = label.lid.split(":")
    return parts[3] if len(parts) > 3 else label.lid


def read_label(source: Source) -> Label:
    """Read and check the label of a product of the archive.

    Parameters
    ----------
    source : Source
        From `find_label`.

    Returns
    -------
    Label
    """
    return parse_label(source.read(LABEL_BYTES_MAX), str(source), exact=True)
