"""Many products at once: joined along ``spectrum``, or side by side in a tree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import xarray as xr

from tgo_spectra.errors import ProductError
from tgo_spectra.readers.lazy import node_name
from tgo_spectra.readers.open import open_product
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tgo_spectra.pds4.check import Mode

__all__ = ["open_products"]

# Attributes that tell products apart: kept for each of them.
_PER_PRODUCT = (
    "product_lid",
    "product_version",
    "observation_type",
    "altitude_part",
    "orbit",
    "calibration_status",
    "quality_notes",
    "source_file",
    "source_md5",
)


@overload
def open_products(
    paths: Iterable[str | Path] | str | Path,
    variables: Sequence[str] | None = None,
    *,
    combine: Literal["spectrum"] = "spectrum",
    apply_mask: bool = False,
    mode: Mode = "strict",
) -> xr.Dataset: ...


@overload
def open_products(
    paths: Iterable[str | Path] | str | Path,
    variables: Sequence[str] | None = None,
    *,
    combine: Literal["tree"],
    apply_mask: bool = False,
    mode: Mode = "strict",
) -> xr.DataTree: ...


def open_products(
    paths: Iterable[str | Path] | str | Path,
    variables: Sequence[str] | None = None,
    *,
    combine: str = "spectrum",
    apply_mask: bool = False,
    mode: Mode = "strict",
) -> xr.Dataset | xr.DataTree:
    """Open many products.

    Parameters
    ----------
    paths : iterable of path
        Each as for `open_product`. Their order is kept.
    variables : sequence of str, optional
        Only these variables; coordinates always come along. Default: all.
    combine : {"spectrum", "tree"}
        ``"spectrum"``: one Dataset, the rows of one product after those of the other.
        All products must be of one channel, all occultations or all nadir, of one
        diffraction order (or all full scans), with as many pixels, and have the same
        variables. Of ACS, TIRVIM spectra can be joined: each product holds one.
        Where the wavenumbers of a pixel differ from product to product, as they do
        with temperature, ``wavenumber`` gets the dimension ``spectrum``.

        ``"tree"``: a DataTree with one node for each product, named after the last part
        of its logical identifier (the whole, where another product has that part too);
        the products need have nothing in common.
    apply_mask : bool
        As for `open_product`.
    mode : {"strict", "warn", "repair"}
        As for `open_product`.

    Returns
    -------
    Dataset or DataTree
        Dataset: in memory. ``product_index`` (spectrum) says which product a row comes
        from; what tells products apart (``product_lid``, ``source_file``,
        ``source_md5`` ...) stands along ``product``. Attributes are those that all
        products share. DataTree: lazy, as from `open_product`.

    Raises
    ------
    ProductError
        ``product.not_alike`` naming what differs, ``product.unknown_variable``,
        ``product.duplicate`` (one logical identifier twice, also in two versions),
        ``product.none``; and all that `open_product` raises.

    Examples
    --------
    >>> import tempfile
    >>> import tgo_spectra as tgo
    >>> paths = [
    ...     tgo.simulate_product(tempfile.mkdtemp(), altitude_range=(9.0, top), seed=1)
    ...     for top in (15.0, 20.0)
    ... ]
    >>> ds = open_products(paths, ["transmittance"])
    >>> ds["transmittance"].dims, ds.sizes["product"]
    (('spectrum', 'pixel'), 2)
    >>> list(ds.data_vars)
    ['transmittance']
    """
    if combine not in ("spectrum", "tree"):
        msg = "combine must be spectrum or tree"
        raise ProductError(msg, value=combine, rule="product.combine")
    if isinstance(paths, str | Path):
        paths = [paths]
    products: dict[str, xr.Dataset] = {}
    for path in paths:
        ds = _chosen(
            open_product(path, apply_mask=apply_mask, mode=mode), variables, path
        )
        lid = ds.attrs["product_lid"]
        if lid in products:
            versions = [d.attrs["product_version"] for d in (products[lid], ds)]
            msg = f"product is given twice, in versions {' and '.join(versions)}"
            raise ProductError(msg, path=path, value=lid, rule="product.duplicate")
        if combine == "spectrum":
            if "spectrum" not in ds.dims:
                msg = (
                    "product has no spectra as rows, only "
                    f"{' x '.join(map(str, ds.sizes))}; such products go together "
                    'with combine="tree" only'
                )
                raise ProductError(msg, path=path, value=lid, rule="product.not_alike")
            if products:
                _check_alike(next(iter(products.values())), ds, path)
            ds.load()  # while its table is at hand
        products[lid] = ds
    if not products:
        msg = "no product is given"
        raise ProductError(msg, rule="product.none")
    if combine == "tree":
        return xr.DataTree.from_dict(_named(products))
    return _joined(list(products.values()))


def _named(products: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Name products after the last part of their identifiers, alike ones the whole."""
    last = {lid: node_name(lid.rpartition(":")[2]) for lid in products}
    often = Counter(last.values())
    return {
        last[lid] if often[last[lid]] == 1 else node_name(lid): ds
        for lid, ds in products.items()
    }


def _chosen(
    ds: xr.Dataset, variables: Sequence[str] | None, path: str | Path
) -> xr.Dataset:
    if variables is None:
        return ds
    for name in variables:
        if name not in ds.variables:
            msg = "product has no such variable"
            raise ProductError(
                msg, path=path, value=name, rule="product.unknown_variable"
            )
    return ds.drop_vars([name for name in ds.data_vars if name not in variables])


def _check_alike(first: xr.Dataset, ds: xr.Dataset, path: str | Path) -> None:
    def orders(item: xr.Dataset) -> object:
        if "order" not in item.variables:
            return "none"
        return item["order"].item() if item["order"].ndim == 0 else "full scan"

    def view(item: xr.Dataset) -> str:
        return "occultation" if "tangent_altitude" in item.coords else "nadir"

    only_first = sorted(map(str, set(first.variables) - set(ds.variables)))
    only_here = sorted(map(str, set(ds.variables) - set(first.variables)))
    for what, a, b in (
        ("channel", first.attrs["channel"], ds.attrs["channel"]),
        ("kind of observation", view(first), view(ds)),
        ("diffraction order", orders(first), orders(ds)),
        ("number of pixels", first.sizes.get("pixel"), ds.sizes.get("pixel")),
        ("set of variables", only_first, only_here),
    ):
        if a != b:
            msg = (
                f"{what} differs: {a} in {first.attrs['source_file']}, {b} here; "
                'such products go together with combine="tree" only'
            )
            raise ProductError(msg, path=path, rule="product.not_alike")


def _joined(products: list[xr.Dataset]) -> xr.Dataset:
    rows = [ds.sizes["spectrum"] for ds in products]
    first = products[0]
    variables = {
        name: _joined_variable([ds.variables[name] for ds in products], rows)
        for name in first.variables
    }
    coords = {name: variables.pop(name) for name in first.coords}
    index = np.repeat(np.arange(len(products)), rows)
    text = attributes_of("product_index", index.dtype)
    coords["product_index"] = xr.Variable("spectrum", index, text)
    attrs = dict(first.attrs)
    for name in _PER_PRODUCT:
        values = [ds.attrs.get(name) for ds in products]
        attrs.pop(name, None)
        if any(value is not None for value in values):
            missing = -1 if name == "orbit" else ""
            filled = [missing if value is None else value for value in values]
            coords[name] = xr.Variable("product", np.array(filled))
    for ds in products[1:]:
        attrs = {
            key: value
            for key, value in attrs.items()
            if key in ds.attrs and bool(np.all(ds.attrs[key] == value))
        }
    return xr.Dataset(variables, coords, attrs)


def _joined_variable(parts: list[xr.Variable], rows: list[int]) -> xr.Variable:
    """Put the rows after one another; what is the same for all rows stays single."""
    first = parts[0]
    if all("spectrum" not in part.dims for part in parts):
        values = first.values
        if all(np.array_equal(part.values, values) for part in parts[1:]):
            return first
    blocks: list[np.ndarray[Any, Any]] = []
    for part, n in zip(parts, rows, strict=True):
        values = part.values
        if "spectrum" not in part.dims:
            values = np.broadcast_to(values, (n, *values.shape))
        blocks.append(values)
    dims = ("spectrum", *(dim for dim in first.dims if dim != "spectrum"))
    # times keep their units, in which they are exact
    encoding = {k: first.encoding[k] for k in ("units", "dtype") if k in first.encoding}
    return xr.Variable(dims, np.concatenate(blocks), first.attrs, encoding)
