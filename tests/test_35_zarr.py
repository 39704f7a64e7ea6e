"""Level 1 stored as Zarr, in chunks or not: all of it comes back."""

from __future__ import annotations

import pytest
import xarray as xr
from acs_products import write_calibrated, write_tirvim
from test_32_reader_kinds import level1

import tgo_spectra as tgo
from tgo_spectra.simulate.product import write_product

pytest.importorskip("zarr")

SOME = ("so full scan", "uvis binned")


def stored(ds, folder):
    """Write to a Zarr store and compare what is read again."""
    ds.to_zarr(folder, zarr_format=2)  # text has no type in the third format yet
    with xr.open_zarr(folder) as back:
        xr.testing.assert_equal(back.load(), ds.load())
        assert back.attrs.keys() == ds.attrs.keys()


@pytest.mark.parametrize("kind", SOME)
def test_zarr__of_spectra_however_chunked(tmp_path, kind):
    label = write_product(tmp_path, level1(kind))

    def lazy(chunks):
        return xr.open_dataset(label, engine="tgo", chunks=chunks)

    for place, ds in enumerate(
        [
            tgo.open_product(label).chunk({"spectrum": 2, "pixel": 7}),
            lazy("auto"),
            lazy({"spectrum": 2}).isel(spectrum=slice(0, 3), pixel=slice(3, 9)),
            # Zarr's chunks are of one size: what a selection cut is to be made even
            lazy({"spectrum": 2}).isel(spectrum=[0, 2, 3]).chunk({"spectrum": 2}),
        ]
    ):
        stored(ds, tmp_path / f"{place}.zarr")


@pytest.mark.parametrize("write", [write_calibrated, write_tirvim])
def test_zarr__of_acs(tmp_path, write):
    label = write(tmp_path).label
    for place, chunks in enumerate(({"frame": 3}, "auto")):
        tree = xr.open_datatree(label, engine="tgo", chunks=chunks)
        folder = tmp_path / f"{place}.zarr"
        tree.to_zarr(folder, zarr_format=2)
        back = xr.open_datatree(folder, engine="zarr")
        for node in tree.subtree:
            xr.testing.assert_equal(back[node.path].to_dataset(), node.to_dataset())
