"""Slant columns: lazy, the same for any chunking, right against truth."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.retrieval.models.so import slant, slant_fields


@pytest.fixture(scope="module")
def thin(level1):
    """Some rows of the simulated product, from all altitudes."""
    return level1.isel(spectrum=slice(0, None, 8))


@pytest.fixture(scope="module")
def whole(thin):
    return tgo.retrieve(thin, method="slant")


@pytest.fixture(scope="module")
def few(thin):
    """A third of them, where it does not matter how many there are."""
    return thin.isel(spectrum=slice(0, None, 3))


@pytest.fixture(scope="module")
def optics_and_rows(thin):
    """Instrument, weights of paths and factors of rows that are none of the known."""
    setup = tgo.load_setup("so_134")
    sight, _ = slant.line_of_sight(setup, tgo.reference_atmosphere(), 3390.0)
    optics = slant_fields.Optics(
        int(thin["order"]),
        float(thin["aotf_frequency"]),
        float(thin["instrument_temperature"]),
    )
    instrument = slant_fields.Instrument(
        thin["wavenumber"].values,
        np.arange(20, 300, 4),
        setup,
        optics,
        sight.turns,
        slant._known(sight),
    )
    rng = np.random.default_rng(8)
    heights = rng.uniform(1.0, 100.0, 48)
    air = slant._paths(sight, heights, np.full(48, 1.0))
    factors = np.exp(0.5 * rng.standard_normal((48, len(setup.gases))))
    return instrument, slant._weights(sight, air), factors


def fields_of(seen, weights, factors):
    """Value and derivatives of rows, some at a time."""
    size = slant_fields.BATCH
    parts = [
        slant_fields.fields(
            seen, weights[i : i + size], slant.FIELD_WEIGHTS, factors[i : i + size]
        )
        for i in range(0, len(weights), size)
    ]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def test_fields__few_nodes_see_nearly_what_all_see(optics_and_rows):
    """Spectra that they are not made for, at a shift of their own."""
    instrument, weights, factors = optics_and_rows
    whole = fields_of(instrument.seen(instrument.pixels, 0.5), weights, factors)
    few = instrument.few(instrument.pixels, [0.5])[0.5]
    assert few.matrix.shape[2] < 0.01 * instrument.vectors.parts[0].shape[0]
    near = fields_of(few, weights, factors)
    off = np.abs(near[0][:, 0] - whole[0][:, 0]).max(axis=1)
    print("off", np.quantile(off, [0.5, 0.9, 1.0]))
    assert np.median(off) < 1e-5
    assert np.quantile(off, 0.9) < 2e-4
    assert off.max() < 5e-3
    for index in (1, 2, 3):
        scale = np.abs(whole[0][:, index]).max()
        assert (
            np.median(np.abs(near[0] - whole[0])[:, index].max(axis=1)) < 1e-3 * scale
        )
    gas = np.abs(near[1] - whole[1]).max(axis=(1, 2)) / np.abs(whole[1]).max(
        axis=(1, 2)
    )
    print("derivatives", np.quantile(gas, [0.5, 0.9, 1.0]))
    assert np.median(gas) < 1e-2


def test_fields__the_same_bits_beside_any_rows(optics_and_rows):
    instrument, weights, factors = optics_and_rows
    seen = instrument.seen(instrument.pixels, 0.0)
    rows = np.arange(slant_fields.BATCH)
    four, gas = fields_of(seen, weights[rows], factors[rows])
    for some in (rows[::-1], rows[5:6], np.r_[30, rows[:7]]):
        mine = np.flatnonzero(some < slant_fields.BATCH)
        other = fields_of(seen, weights[some], factors[some])
        assert np.array_equal(other[0][mine], four[some[mine]])
        assert np.array_equal(other[1][mine], gas[some[mine]])


def test_slant__builds_from_a_few_spectra(few):
    """Those that tell the shift of all; the fit reads each chunk once."""
    read = []

    def counted(block):
        read.append(len(block))
        return block

    chunked = few.chunk(spectrum=11)
    spectra = chunked["transmittance"].data
    meta = np.empty((0, 0), dtype=spectra.dtype)
    chunked["transmittance"].data = spectra.map_blocks(counted, meta=meta)
    with dask.config.set(scheduler="synchronous"):
        lazy = tgo.retrieve(chunked, method="slant")
        assert max(read) <= 11
        assert len(read) <= spectra.numblocks[0]
        read.clear()
        assert lazy["ch4_slant_column"].chunks is not None
        lazy.compute()
        # each chunk once, whatever is made of it
        assert sorted(read) == sorted(spectra.chunks[0])


def test_slant__any_chunking_gives_the_same_numbers(few):
    whole = tgo.retrieve(few, method="slant")
    for chunk in (4, 13, few.sizes["spectrum"]):
        chunked = tgo.retrieve(few.chunk(spectrum=chunk), method="slant").compute()
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


def test_slant__a_displaced_wavenumber_column_is_found(thin, whole):
    """X wrong by 3 pixels: the same columns, the shift larger by 3.

    Rows whose lines are strong enough to tell (the shift is certain within 0.02 pixel).
    """
    pixel = np.arange(thin.sizes["pixel"])
    smooth = np.polynomial.Polynomial.fit(pixel, thin["wavenumber"].values, 2)
    moved = thin.assign_coords(wavenumber=("pixel", smooth(pixel - 3.0)))
    result = tgo.retrieve(moved, method="slant")
    sure = whole["spectrum_shift_error"].values < 0.02
    assert sure.sum() > 10
    shift = (result["spectrum_shift"] - whole["spectrum_shift"]).values[sure]
    sigma = whole["spectrum_shift_error"].values[sure]
    print("off", ((shift - 3.0) / sigma).round(2))
    assert np.abs((shift - 3.0) / sigma).max() < 0.3
    off = (result["h2o_slant_column"] - whole["h2o_slant_column"]).values
    assert np.abs(off / whole["h2o_slant_column_error"].values)[sure].max() < 0.3


def rolled(level1, pixels):
    """Spectra some pixels from where their wavenumbers say."""
    names = ("transmittance", "transmittance_error")
    moved = {n: np.roll(level1[n].values, pixels, axis=1) for n in names}
    return level1.assign({n: (level1[n].dims, values) for n, values in moved.items()})


@pytest.mark.parametrize("pixels", [5, -9, 14])
def test_slant__spectra_displaced_by_many_pixels_are_found(few, pixels):
    """By what all show together: many a row does not show it by itself."""
    whole = tgo.retrieve(few, method="slant")
    result = tgo.retrieve(rolled(few, pixels), method="slant")
    assert abs(result.attrs["product_shift_px"] + pixels) < 2.0
    for gas in ("h2o", "ch4", "co2"):
        name = f"{gas}_slant_column"
        off = np.abs(result[name] - whole[name]) / whole[f"{name}_error"]
        assert float(off.max()) < 1.0, gas


@pytest.mark.parametrize(
    ("first", "last", "factor"), [(100, 140, 0.97), (160, 320, 0.9)]
)
def test_slant__spectra_of_which_most_is_left_out_are_severe(few, first, last, factor):
    """What is left fits well, having been chosen for it."""
    spoilt = few["transmittance"].copy(deep=True)
    spoilt[10:20, first:last] *= factor
    result = tgo.retrieve(few.assign(transmittance=spoilt), method="slant")
    seen = np.isfinite(result["h2o_slant_column"].values)
    severe = quality.severe(result["quality_flag"].values)
    assert severe[10:20][seen[10:20]].all()
    assert not severe[:9].any()


@pytest.mark.parametrize("pixels", [20, -40])
def test_slant__spectra_displaced_beyond_all_are_severe(few, pixels):
    result = tgo.retrieve(rolled(few, pixels), method="slant")
    assert quality.severe(result["quality_flag"].values).all()
    assert "parameter_at_limit" in quality.names(result["quality_flag"].values)


@pytest.mark.parametrize(
    ("source", "key", "size"),
    [("ghost", "ghost_amplitude", 0.03), ("aotf_width", "aotf_width_factor", 0.03)],
)
def test_slant__errors_by_the_instrument_are_what_another_one_does(
    thin, whole, source, key, size
):
    """Fitted again with the instrument moved by what the error is for."""
    setup = tgo.load_setup("so_134")
    given = getattr(setup.instrument, key)
    values = {
        k: getattr(setup.instrument, k) for k in setup.instrument.__struct_fields__
    }
    other = setup.replace(method="slant", instrument=values | {key: given + size})
    moved = tgo.retrieve(thin, other)
    name = "h2o_slant_column"
    change = (whole[name] - moved[name]).values  # the instrument that is there has more
    said = whole[f"{name}_systematic_{source}"].values
    sure = (whole[name] > 20.0 * whole[f"{name}_noise_error"]).values
    assert sure.sum() > 5
    print(said[sure] / whole[name].values[sure], change[sure] / said[sure])
    off = np.linalg.norm(change[sure] - said[sure]) / np.linalg.norm(said[sure])
    assert off < 0.1


def test_slant__rows_say_how_far_to_trust_them(thin, whole):
    """Twice the noise that is stated in two rows, and one that is broken."""
    flags = whole["quality_flag"].values
    assert np.mean(quality.severe(flags)) < 0.05
    y = thin["transmittance"].values.copy()
    rng = np.random.default_rng(5)
    noise = thin["transmittance_error"].values * rng.standard_normal(y.shape)
    y[[20, 30]] += 1.8 * noise[[20, 30]]
    y[25] += 8.0 * noise[25]
    spoilt = thin.assign(transmittance=(("spectrum", "pixel"), y))
    found = tgo.retrieve(spoilt.isel(spectrum=slice(18, 32)), method="slant")
    names = [set(quality.names(flag)) for flag in found["quality_flag"].values]
    assert {"noise_inconsistent"} <= names[2] & names[12]
    assert "poor_fit" in names[7]
    assert (found["error_inflation"].values[[2, 12]] > 1.7).all()
    noisy = found["h2o_slant_column_noise_error"] / found["h2o_slant_column_error"]
    # the broken one may end nowhere
    assert (noisy.drop_isel(spectrum=7) <= 1.0).all()


def test_slant__spectra_half_hidden_by_the_surface_stay_empty(thin):
    part = thin.isel(spectrum=slice(0, 6))
    corners = part["tangent_altitude_areoid"].values.copy()
    corners[2, 3] = np.nan
    dims = part["tangent_altitude_areoid"].dims
    part = part.assign(tangent_altitude_areoid=(dims, corners))
    result = tgo.retrieve(part, method="slant")
    empty = np.isnan(result["h2o_slant_column"].values)
    assert empty[2]
    assert not empty[3:].any()


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
    """Four times the rows, the same peak: what is allocated belongs to one chunk."""
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
        for name in ("tangent_altitude", "bin"):
            blocks[name] = ("spectrum", np.tile(thin[name].values[:20], repeats))
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

    few = [peak(1), peak(1)][-1]  # the first one loads what a fit needs
    assert peak(4) < 1.2 * few
