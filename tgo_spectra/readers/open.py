"""The one way to open a product: from a path to Datasets with lazy variables.

`read_groups` opens; a Dataset, a tree and the xarray engine are thin ways to ask it.
Which reader is used follows from the product's logical identifier, never from the
file name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.paths import expanded
from tgo_spectra.pds4 import Source, parse_label
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX
from tgo_spectra.readers.finding import find_label, labels_in
from tgo_spectra.readers.lazy import kept_once_read, node_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType
    from typing import Literal

    from tgo_spectra.pds4 import Label
    from tgo_spectra.pds4.check import Mode
    from tgo_spectra.readers.lazy import ByteOrder

__all__ = [
    "has_reader",
    "open_product",
    "open_product_tree",
    "read_groups",
    "read_label",
    "read_product",
]


def _acs() -> ModuleType:
    from tgo_spectra.readers import acs

    return acs


def _nomad() -> ModuleType:
    from tgo_spectra.readers import nomad

    return nomad


# imported when a product of it is opened
_READERS: dict[str, Callable[[], ModuleType]] = {
    "em16_tgo_acs": _acs,
    "em16_tgo_nmd": _nomad,
}
"""Reader of each instrument, by the bundle part of the logical identifier: `read`, and
`read_groups` where products have objects with axes of their own."""

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


def open_product_tree(
    path: str | Path,
    *,
    verify_md5: bool = True,
    mode: Mode = "strict",
    row_byte_order: ByteOrder | None = None,
    geometry: str | Path | None = None,
) -> xr.DataTree:
    """Open one archive product as a tree: a node for each table and array.

    A raw ACS product has five tables with as many records each of their own, which no
    single Dataset can hold. The same tree comes from ``xarray.open_datatree(path,
    engine="tgo")``, which also takes ``chunks``.

    Parameters
    ----------
    path : path
        A label, a table beside its label, a delivery zip, or a folder. A folder with
        several products gives a node for each, called after its logical identifier;
        if they are the high, low ... altitude parts of one observation, after those.
    verify_md5 : bool
        As for `open_product`.
    mode : {"strict", "warn", "repair"}
        As for `open_product`.
    row_byte_order : {"big", "little"}, optional
        Raw ACS rows have two bytes for each pixel, and the label does not state their
        order. None: ``row_data`` (record, byte), uint8. Else they are joined:
        (record, pixel), uint16. Big endian is inferred from one record, to be
        verified.
    geometry : path, optional
        Label of the geometry product of calibrated ACS spectra, whose tables are put
        beside them. None: the product that the label names is looked for in the same
        folder and in the tree of the geometry collection; the attribute
        ``geometry_found`` says whether it was there.

    Returns
    -------
    DataTree
        Raw ACS: nodes ``Frame1``, ``System``, ``Row``, ``Frame2``, ``Command`` in the
        order of the label, each with dimension ``record``. Calibrated ACS: ``Data``
        (as from `open_product`), ``Header``, ``Reference``, ``Geometry-1`` ...
        NOMAD: the Dataset of `open_product` at the root. Attributes of the product
        are at the root. Values are read when first used.

    Raises
    ------
    ProductError
        ``product.row_byte_order``, ``product.geometry_mismatch``,
        ``product.duplicate``; what `open_product` raises.

    Examples
    --------
    >>> import tempfile
    >>> import tgo_spectra as tgo
    >>> path = tgo.simulate_product(
    ...     tempfile.mkdtemp(), altitude_range=(9.0, 15.0), seed=1
    ... )
    >>> open_product_tree(path)["transmittance"].dims
    ('spectrum', 'pixel')
    """
    groups = read_groups(
        path,
        verify_md5=verify_md5,
        mode=mode,
        row_byte_order=row_byte_order,
        geometry=geometry,
    )
    return xr.DataTree.from_dict({k: kept_once_read(ds) for k, ds in groups.items()})


def read_product(
    path: str | Path | Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Return the Dataset of `open_product` before xarray wraps its variables."""
    source = path if isinstance(path, Source) else find_label(path)
    groups = _read(
        source, tree=False, apply_mask=apply_mask, verify_md5=verify_md5, mode=mode
    )
    return _from(path, groups)["/"]


def read_groups(
    path: str | Path | Source,
    *,
    verify_md5: bool = True,
    mode: Mode = "strict",
    row_byte_order: ByteOrder | None = None,
    geometry: str | Path | Literal[False] | None = None,
) -> dict[str, xr.Dataset]:
    """Return the groups of `open_product_tree`, ``"/"`` first, before they are wrapped.

    With a `geometry` of False none is looked for beside a product.
    """
    folder = None if isinstance(path, Source) else expanded(path)
    labels = labels_in(folder) if folder is not None and folder.is_dir() else []
    if folder is not None and len(labels) > 1:
        if geometry not in (None, False):
            msg = "one geometry product cannot serve a folder of several products"
            raise ProductError(msg, path=folder, rule="product.geometry_mismatch")
        products = [
            _read(
                label, verify_md5=verify_md5, mode=mode, row_byte_order=row_byte_order
            )
            for label in labels
        ]
        return _side_by_side(products, folder)
    source = path if isinstance(path, Source) else find_label(path)
    groups = _read(
        source,
        verify_md5=verify_md5,
        mode=mode,
        row_byte_order=row_byte_order,
        geometry=geometry,
    )
    return _from(path, groups)


def _read(
    source: Source,
    *,
    tree: bool = True,
    apply_mask: bool = False,
    verify_md5: bool,
    mode: Mode,
    row_byte_order: ByteOrder | None = None,
    geometry: str | Path | Literal[False] | None = None,
) -> dict[str, xr.Dataset]:
    """Open one product with the reader of its instrument: all doors lead here."""
    if mode not in _MODES:
        msg = f"mode must be one of {', '.join(_MODES)}"
        raise ProductError(msg, field="mode", value=mode, rule="mode.unknown")
    label = read_label(source)
    bundle = _instrument_of(label, source)
    reader = _READERS[bundle]()
    if tree and hasattr(reader, "read_groups"):
        groups: dict[str, xr.Dataset] = reader.read_groups(
            label,
            source,
            verify_md5=verify_md5,
            mode=mode,
            row_byte_order=row_byte_order,
            geometry=geometry,
        )
    else:
        for name, value in (("row_byte_order", row_byte_order), ("geometry", geometry)):
            if value not in (None, False):
                msg = f"{name} is for ACS products"
                raise ProductError(
                    msg, path=str(source), value=value, rule=f"product.{name}"
                )
        ds = reader.read(
            label, source, apply_mask=apply_mask, verify_md5=verify_md5, mode=mode
        )
        groups = {"/": ds}
    groups["/"].attrs["reading_mode"] = mode
    return groups


def _from(
    path: str | Path | Source, groups: dict[str, xr.Dataset]
) -> dict[str, xr.Dataset]:
    """Note, as xarray does, where a product was opened."""
    place = str(path if isinstance(path, Source) else expanded(path))
    groups["/"].encoding["source"] = place
    return groups


def _side_by_side(
    products: list[dict[str, xr.Dataset]], folder: Path
) -> dict[str, xr.Dataset]:
    """Return the groups of several products below a node for each."""
    attrs = [product["/"].attrs for product in products]
    names = [node_name(str(item["product_lid"]).rpartition(":")[2]) for item in attrs]
    parts = [str(item.get("altitude_part", "")) for item in attrs]
    same = {_observation(product["/"]) for product in products}
    if len(same) == 1 and "" not in parts and len(set(parts)) == len(parts):
        names = parts
    result = {"/": xr.Dataset(attrs={"source_folder": folder.name})}
    for name, product in zip(names, products, strict=True):
        if f"/{name}" in result:
            msg = "folder holds a product twice"
            raise ProductError(msg, path=folder, value=name, rule="product.duplicate")
        for group, ds in product.items():
            result[f"/{name}" if group == "/" else f"/{name}/{group}"] = ds
    return result


def _observation(ds: xr.Dataset) -> tuple[str, ...]:
    """Return what the altitude parts of one observation have in common."""
    order = str(ds["order"].values) if "order" in ds.coords else ""
    keys = ("instrument", "channel", "orbit", "observation_type")
    return (*(str(ds.attrs.get(key)) for key in keys), order)


def has_reader(label: Label) -> bool:
    """Say whether there is a reader for the instrument of a label."""
    return _bundle_of(label) in _READERS


def _instrument_of(label: Label, source: Source) -> str:
    """Return the bundle part of a logical identifier that there is a reader for."""
    bundle = _bundle_of(label)
    if bundle not in _READERS:
        msg = (
            f"no reader for instrument {bundle!r}; there is one for: "
            f"{', '.join(sorted(_READERS))}"
        )
        raise ProductError(
            msg,
            path=str(source),
            field="logical_identifier",
            value=label.lid,
            rule="product.unknown_instrument",
        )
    return bundle


def _bundle_of(label: Label) -> str:
    """Return the bundle part of a logical identifier, or all of a shorter one."""
    parts = label.lid.split(":")
    return parts[3] if len(parts) > 3 else label.lid


def read_label(source: Source) -> Label:
    """Read and check the label of a product of the archive, from `find_label`."""
    return parse_label(source.read(LABEL_BYTES_MAX), str(source), exact=True)
