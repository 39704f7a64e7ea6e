"""Products whose objects have axes of their own, as trees of Datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.paths import expanded
from tgo_spectra.readers.finding import find_label, labels_in
from tgo_spectra.readers.objects import node_name

if TYPE_CHECKING:
    from pathlib import Path

    from tgo_spectra.pds4 import Source
    from tgo_spectra.pds4.check import Mode
    from tgo_spectra.readers.objects import ByteOrder

__all__ = ["open_product_tree", "read_product_groups"]


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
    from tgo_spectra.readers.backend import TgoBackendEntrypoint

    return xr.open_datatree(
        expanded(path),
        engine=TgoBackendEntrypoint,
        verify_md5=verify_md5,
        mode=mode,
        row_byte_order=row_byte_order,
        geometry=geometry,
    )


def read_product_groups(
    path: str | Path,
    *,
    verify_md5: bool = True,
    mode: Mode = "strict",
    row_byte_order: ByteOrder | None = None,
    geometry: str | Path | None = None,
) -> dict[str, xr.Dataset]:
    """Return the Datasets of a product by group, before xarray wraps them.

    The arguments are those of `open_product_tree`.

    Returns
    -------
    dict
        ``"/"`` comes first.
    """
    folder = expanded(path)
    labels = labels_in(folder) if folder.is_dir() else []
    if len(labels) > 1:
        if geometry is not None:
            msg = "one geometry product cannot serve a folder of several products"
            raise ProductError(msg, path=path, rule="product.geometry_mismatch")
        products = [
            _groups(label, verify_md5, mode, row_byte_order, None) for label in labels
        ]
        return _side_by_side(products, folder)
    groups = _groups(find_label(path), verify_md5, mode, row_byte_order, geometry)
    groups["/"].encoding["source"] = str(expanded(path))
    return groups


def _groups(
    source: Source,
    verify_md5: bool,
    mode: Mode,
    row_byte_order: ByteOrder | None,
    geometry: str | Path | None,
) -> dict[str, xr.Dataset]:
    from tgo_spectra.readers import (
        GROUP_READERS,
        READERS,
        check_mode,
        instrument_of,
        read_label,
    )
    from tgo_spectra.readers.acs import find_geometry

    check_mode(mode)
    label = read_label(source)
    instrument = instrument_of(label, source)
    if instrument not in GROUP_READERS:
        for name, value in (("row_byte_order", row_byte_order), ("geometry", geometry)):
            if value is not None:
                msg = f"{name} is for ACS products"
                raise ProductError(
                    msg, path=str(source), value=value, rule=f"product.{name}"
                )
        ds = READERS[instrument](label, source, verify_md5=verify_md5, mode=mode)
        ds.attrs["reading_mode"] = mode
        return {"/": ds}
    found = find_geometry(label, source) if geometry is None else geometry
    groups = GROUP_READERS[instrument](
        label,
        source,
        verify_md5=verify_md5,
        row_byte_order=row_byte_order,
        geometry=found,
        mode=mode,
    )
    if "geometry_lid" in groups["/"].attrs:
        groups["/"].attrs["geometry_found"] = int(found is not None)
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
