"""Slant columns: lazy, the same for any chunking, right against truth."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo


@pytest.fixture(scope="module")
def thin(level1):
    """Some rows of the simulated product, from all altitudes."""
    return level1.isel(spectrum=slice(0, None, 8))


@pytest.fixture(scope="module")
def whole(thin):
    return tgo.retrieve(thin, method="slant")


def test_slant__builds_with_no_computes(thin):
    computes = []

    def counting(graph, keys, **options):
        computes.append(keys)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=counting):
        lazy = tgo.retrieve(thin.chunk(spectrum=20), method="slant")
        assert computes == []
        assert lazy["ch4_slant_column"].chunks is not None
        lazy.compute()
        assert len(computes) == 1


@pytest.mark.parametrize("chunk", [7, 20, 61])
def test_slant__any_chunking_gives_the_same_numbers(thin, whole, chunk):
    chunked = tgo.retrieve(thin.chunk(spectrum=chunk), method="slant").compute()
    for name in whole.data_vars:
        np.testing.assert_allclose(
            chunked[name].values, whole[name].values, rtol=1e-12, err_msg=name
        )


def test_slant__agrees_with_the_truth(occultation, thin, whole):
    truth = xr.load_dataset(occultation.with_suffix(".truth.nc"))
    true_shift = truth["wavenumber_shift_px"].values
    found = whole["spectrum_shift"].values
    low = thin["tangent_altitude"].values < 30.0
    wanted = np.median(true_shift)
    assert abs(np.nanmedian(found[low]) - wanted) < 0.1
    assert 0.9 < np.nanmedian(whole["spectrum_reduced_chi_square"].values) < 1.1


def test_slant__rows_without_light_stay_empty(thin):
    dark = thin.copy()
    y = dark["transmittance"].values.copy()
    y[3] = 0.01
    y[4] = np.nan
    dark["transmittance"] = (("spectrum", "pixel"), y)
    result = tgo.retrieve(dark.isel(spectrum=slice(0, 8)), method="slant")
    column = result["h2o_slant_column"].values
    assert np.isnan(column[[3, 4]]).all()
    assert np.isfinite(column[5:]).all()


def test_slant__memory_follows_the_chunk_not_the_archive(thin):
    """Eight times the rows, the same peak: what is allocated belongs to one chunk."""
    import tracemalloc

    import dask.array as da

    def lazily(repeats):
        blocks = {}
        for name in ("transmittance", "transmittance_error"):
            values = thin[name].values[:20].copy()
            values[4:] *= 0.05  # dark rows: not fitted, quick
            one = da.from_delayed(
                dask.delayed(np.array)(values), values.shape, values.dtype
            )
            blocks[name] = (("spectrum", "pixel"), da.concatenate([one] * repeats))
        corners = np.tile(thin["tangent_altitude_areoid"].values[:20], (repeats, 1, 1))
        fixed = thin[
            ["wavenumber", "order", "aotf_frequency", "instrument_temperature"]
        ]
        blocks["tangent_altitude_areoid"] = (
            ("spectrum", "point", "edge"),
            da.from_array(corners, chunks=(20, 5, 2)),
        )
        return fixed.reset_coords(drop=False).assign(blocks).assign_attrs(thin.attrs)

    def peak(repeats):
        lazy = tgo.retrieve(lazily(repeats), method="slant")["ch4_slant_column"]
        tracemalloc.start()
        with dask.config.set(scheduler="synchronous"):
            lazy.sum().compute()
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)
    assert peak(16) < 1.2 * peak(2)
