"""The xarray engine ``tgo``: lazy, picklable, safe in threads."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

from xarray.backends import BackendEntrypoint

from tgo_spectra.paths import expanded
from tgo_spectra.readers.finding import LABEL_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.pds4.check import Mode
    from tgo_spectra.readers.lazy import ByteOrder

__all__ = ["TgoBackendEntrypoint"]

_HEAD_BYTES = 4096  # the namespace of the mission stands in the root element
_MARKS = (b"em16_tgo", b"em16:tgo", b"urn:esa:psa:em16")


class TgoBackendEntrypoint(BackendEntrypoint):
    """Open Trace Gas Orbiter archive products with ``xarray.open_dataset``.

    Examples
    --------
    >>> TgoBackendEntrypoint().guess_can_open("spectra.nc")
    False
    """

    description = "ExoMars Trace Gas Orbiter products of the Planetary Science Archive"
    url = "https://archives.esac.esa.int/psa"
    supports_groups = True

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        apply_mask: bool = False,
        verify_md5: bool = True,
        mode: Mode = "strict",
    ) -> xr.Dataset:
        """Open a label, a table, a delivery zip or a folder; or a file of our own.

        A file of level 2 or a map (``.nc``) is checked and loaded. Unlike what xarray's
        own engines give of it, it can be written again by ``to_netcdf`` without the
        fill values of coordinates that CF forbids.

        Parameters
        ----------
        filename_or_obj : path
            See `tgo_spectra.open_product`.
        drop_variables : str or iterable of str, optional
            Variables to leave out.
        apply_mask : bool
            Make the pixels that the mask of a UVIS product rejects NaN.
        verify_md5 : bool
            Compare the MD5 of the table with the label's.
        mode : {"strict", "warn", "repair"}
            See `tgo_spectra.open_product`.

        Returns
        -------
        Dataset

        Raises
        ------
        ProductError
            If the product breaks its label or its format.
        OutputError
            If a file of our own is damaged, or is none.
        """
        from tgo_spectra.readers.open import read_product

        if str(filename_or_obj).lower().endswith(".nc"):
            from tgo_spectra.files.netcdf import open_verified

            return _without(open_verified(filename_or_obj), drop_variables)
        ds = read_product(
            filename_or_obj, apply_mask=apply_mask, verify_md5=verify_md5, mode=mode
        )
        return _without(ds, drop_variables)

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        verify_md5: bool = True,
        mode: Mode = "strict",
        row_byte_order: ByteOrder | None = None,
        geometry: str | Path | None = None,
    ) -> dict[str, xr.Dataset]:
        """Open every object of a product, or every product of a folder.

        Parameters
        ----------
        filename_or_obj : path
            See `tgo_spectra.open_product_tree`.
        drop_variables : str or iterable of str, optional
            Variables to leave out of every group.
        verify_md5, mode, row_byte_order, geometry
            See `tgo_spectra.open_product_tree`.

        Returns
        -------
        dict
            Path of a group to its Dataset; ``"/"`` is the product itself.

        Raises
        ------
        ProductError
            If the product breaks its label or its format.
        """
        from tgo_spectra.readers.open import read_groups

        groups = read_groups(
            filename_or_obj,
            verify_md5=verify_md5,
            mode=mode,
            row_byte_order=row_byte_order,
            geometry=geometry,
        )
        return {name: _without(ds, drop_variables) for name, ds in groups.items()}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        verify_md5: bool = True,
        mode: Mode = "strict",
        row_byte_order: ByteOrder | None = None,
        geometry: str | Path | None = None,
    ) -> xr.DataTree:
        """Open a product as a tree; the arguments are those of the groups.

        Returns
        -------
        DataTree

        Raises
        ------
        ProductError
            If the product breaks its label or its format.
        """
        import xarray as xr

        return xr.DataTree.from_dict(
            self.open_groups_as_dict(
                filename_or_obj,
                drop_variables=drop_variables,
                verify_md5=verify_md5,
                mode=mode,
                row_byte_order=row_byte_order,
                geometry=geometry,
            )
        )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Say whether the start of the label names the mission; never raises."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        path = expanded(os.fspath(filename_or_obj))
        suffix = path.suffix.lower()
        try:
            if suffix in LABEL_SUFFIXES:
                with path.open("rb") as file:
                    return _is_ours(file.read(_HEAD_BYTES))
            if suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        if name.lower().endswith(LABEL_SUFFIXES):
                            with archive.open(name) as member:
                                return _is_ours(member.read(_HEAD_BYTES))
            if suffix == ".tab":
                labels = (path.with_suffix(s) for s in LABEL_SUFFIXES)
                return any(self.guess_can_open(p) for p in labels if p.is_file())
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
            return False
        return False


def _without(ds: xr.Dataset, drop_variables: str | Iterable[str] | None) -> xr.Dataset:
    if drop_variables is None:
        return ds
    names = [drop_variables] if isinstance(drop_variables, str) else drop_variables
    return ds.drop_vars(list(names), errors="ignore")


def _is_ours(head: bytes) -> bool:
    return any(mark in head for mark in _MARKS)
