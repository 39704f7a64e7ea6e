"""Whatever a user does to level 1: it is honoured, or refused by name."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import xarray as xr
from conftest import NEAR

import tgo_spectra as tgo
from tgo_spectra.errors import ProductError, RetrievalError, TgoError
from tgo_spectra.retrieval import registry
from tgo_spectra.retrieval.measurement import selected
from tgo_spectra.retrieval.models.so import profile
from tgo_spectra.simulate.nadir import simulate_nadir_level1
from tgo_spectra.simulate.uvis import (
    simulate_uvis_level1,
    synthetic_ozone_cross_section,
)

OF_SO, OF_UVIS = (registry.named(kind).needs for kind in ("profile", "ozone"))


@pytest.fixture(scope="module")
def label(tmp_path_factory):
    folder = tmp_path_factory.mktemp("product")
    return tgo.simulate_product(
        folder, order=134, ch4=2e-9, vertical_speed_km_s=2.0, seed=1, **NEAR
    )


@pytest.fixture(scope="module")
def level1(label):
    """About 160 spectra of four bins."""
    rows = tgo.open_product(label).load()
    return rows.isel(spectrum=np.flatnonzero(np.arange(rows.sizes["spectrum"]) % 3))


COARSE = {"step_km": 2.0, "top_km": 90.0, "height_step_km": 1.5}


@pytest.fixture(scope="module")
def coarse():
    """The shipped setup on coarse levels and heights, some pixels: quick to fit."""
    return tgo.load_setup("so_134").replace(
        grid=COARSE,
        instrument=NEAR,
        window={"first_pixel": 120, "last_pixel": 220},
        systematics={"enabled": False},
    )


@pytest.fixture(scope="module")
def whole(level1, coarse):
    return tgo.retrieve(level1, coarse)


def test_every_kind_says_what_it_needs():
    for kind in registry.KINDS:
        error = "transmittance_error" if kind.observation == "occultation" else "order"
        assert error in kind.needs, kind.name


# ---- honoured

BINS = {
    "one bin": ([3], lambda ds: ds.sel(bin=3)),
    "the first": ([0], lambda ds: ds.isel(spectrum=ds.bin == 0)),
    "two apart": ([0, 2], lambda ds: ds.isel(spectrum=ds.bin.isin([0, 2]))),
    "all but one": ([0, 2, 3], lambda ds: ds.where(ds.bin != 1, drop=True)),
    "others missing": ([1, 3], lambda ds: ds.where(ds.bin.isin([1, 3]))),
}


@pytest.mark.parametrize(
    ("case", "method"),
    [*((case, "oe") for case in BINS), ("one bin", "tikhonov")],
)
def test_bins__as_many_as_were_selected(level1, coarse, case, method):
    bins, select = BINS[case]
    chosen = select(level1)
    level2 = tgo.retrieve(chosen, coarse, method=method)
    assert level2["bin"].values.tolist() == bins
    assert level2["wavenumber_shift"].shape == (len(bins),)
    index = [bins.index(b) if b in bins else -1 for b in chosen.bin.values]
    assert level2["spectrum_bin"].values.tolist() == index
    assert bool(level2["converged"])
    assert np.isfinite(level2["wavenumber_shift"]).all()


def test_bins__a_selection_is_the_product_of_these_rows(level1):
    """What was left out leaves no trace, in whatever way it was."""
    whole = tgo.load_setup("so_134").replace(grid=COARSE, instrument=NEAR)
    one = tgo.retrieve(level1.sel(bin=3), whole)
    for other in (
        level1.where(level1.bin == 3, drop=True),
        level1.where(level1.bin == 3),
        level1.isel(spectrum=np.flatnonzero(level1.bin == 3)[::-1]),
        level1.sel(bin=3).assign_coords(bin=level1.sel(bin=3).bin * 0),
    ):
        again = tgo.retrieve(other, whole)
        # sums over rows in another order round otherwise, and the rule that ends a fit
        # leaves 0.07 errors of an element
        apart = np.abs(again["ch4_vmr"] - one["ch4_vmr"]) / one["ch4_vmr_error"]
        assert float(apart.max()) < 0.05
        for name in ("ch4_vmr_noise_error", "wavenumber_shift"):
            np.testing.assert_allclose(again[name], one[name], rtol=2e-2, atol=1e-14)


TURNED = {
    "sorted by altitude": lambda ds: ds.sortby("tangent_altitude", ascending=False),
    "sorted by bin": lambda ds: ds.sortby("bin"),
    "shuffled": lambda ds: ds.isel(
        spectrum=np.random.default_rng(1).permutation(ds.sizes["spectrum"])
    ),
    "transposed": lambda ds: ds.transpose(),
    "in two parts": lambda ds: xr.concat(
        [ds.isel(spectrum=slice(80, None)), ds.isel(spectrum=slice(0, 80))],
        "spectrum",
        data_vars="minimal",
    ),
    "chunked": lambda ds: ds.chunk({"spectrum": 50, "pixel": 100}),
}


@pytest.mark.parametrize("case", TURNED)
def test_order_of_spectra_does_not_matter(level1, coarse, whole, case):
    turned = tgo.retrieve(TURNED[case](level1), coarse)
    assert turned["bin"].equals(whole["bin"])
    # the rule that ends a fit leaves 0.07 errors of an element on average
    close = 0.2 * whole["ch4_vmr_error"]
    assert (np.abs(turned["ch4_vmr"] - whole["ch4_vmr"]) < close).all()
    assert turned.attrs["product_lid"] == whole.attrs["product_lid"]


def test_few_spectra__are_fitted_all_the_same(tmp_path):
    """Eleven say so little that the step which frees them of waves leads anywhere."""
    fast = tgo.simulate_product(
        tmp_path, order=134, ch4=2e-9, n_bins=1, vertical_speed_km_s=10.0,
        noisy_pixels=(), seed=4,
    )  # fmt: skip
    level1 = tgo.open_product(fast)
    assert level1.sizes["spectrum"] < 13
    level2 = tgo.retrieve(level1)
    assert bool(level2["converged"])
    assert 0.9 < float(level2["reduced_chi_square"]) < 1.1


def test_products_joined__one_of_them_is_a_product_again(tmp_path, label):
    other = tgo.simulate_product(
        tmp_path, order=134, seed=2, altitude_range=(5.0, 60.0)
    )
    joined = tgo.open_products([other, label])
    with pytest.raises(RetrievalError) as caught:
        tgo.retrieve(joined)
    assert caught.value.rule == "level1.many_products"
    alone = tgo.open_product(label).load()
    found = selected(joined.isel(spectrum=joined.product_index == 1), OF_SO)
    xr.testing.assert_equal(found, alone)
    for name in ("product_lid", "source_md5", "source_file", "orbit"):
        assert found.attrs[name] == alone.attrs[name]


# ---- refused


def other_times(ds):
    later = ds.assign_coords(time=ds.time + np.timedelta64(2, "h"))
    return xr.concat([ds, later], "spectrum", data_vars="minimal")


REFUSED = {
    "some pixels": (lambda ds: ds.isel(pixel=slice(20, 300)), "pixels"),
    "every other pixel": (lambda ds: ds.isel(pixel=slice(None, None, 2)), "pixels"),
    "pixels twice": (lambda ds: ds.isel(pixel=[*range(320), 5]), "pixels"),
    "pixels turned": (lambda ds: ds.isel(pixel=slice(None, None, -1)), "pixel_order"),
    "pixels rolled": (lambda ds: ds.roll(pixel=5, roll_coords=True), "pixel_order"),
    "one pixel": (lambda ds: ds.isel(pixel=7), "missing_dimension"),
    "one spectrum": (lambda ds: ds.isel(spectrum=7), "missing_dimension"),
    "mean spectrum": (lambda ds: ds.mean("spectrum"), "missing_dimension"),
    "no spectrum": (lambda ds: ds.isel(spectrum=slice(0)), "no_spectra"),
    "spectra twice": (
        lambda ds: ds.isel(spectrum=[*range(60)] * 2),
        "repeated_spectra",
    ),
    "one spectrum twice": (
        lambda ds: ds.isel(spectrum=[*range(60), 30]),
        "repeated_spectra",
    ),
    "of two times": (other_times, "many_products"),
    "one point": (lambda ds: ds.isel(point=0), "missing_dimension"),
    "other points": (lambda ds: ds.isel(point=[4, 3, 2, 1, 0]), "points"),
    "start only": (lambda ds: ds.isel(edge=0), "missing_dimension"),
    "start twice": (lambda ds: ds.isel(edge=[0, 0]), "points"),
    "one edge in a list": (lambda ds: ds.isel(edge=[1]), "edges"),
    "no corners": (
        lambda ds: ds.drop_vars("tangent_altitude_areoid"),
        "missing_variable",
    ),
    "no bins": (lambda ds: ds.drop_vars("bin"), "missing_variable"),
    "no errors": (lambda ds: ds.drop_vars("transmittance_error"), "missing_variable"),
}


@pytest.mark.parametrize("method", ["oe", "slant"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(level1, case, method):
    change, rule = REFUSED[case]
    changed = change(level1).assign_attrs(level1.attrs)
    with pytest.raises(RetrievalError) as caught:
        tgo.retrieve(changed, "so_134", method=method)
    assert caught.value.rule == f"level1.{rule}"
    assert caught.value.field is not None
    assert caught.value.path == level1.attrs["source_file"]


def test_points__some_of_five_are_refused(level1):
    with pytest.raises(TgoError) as caught:
        tgo.retrieve(level1.isel(point=[0, 1, 2]))
    assert caught.value.rule == "geometry.corners_shape"


def test_nadir__rows_are_honoured_and_pixels_refused():
    level1, _ = simulate_nadir_level1(order=190, n_spectra=4, snr=1000.0)
    whole = tgo.retrieve(level1)
    some = tgo.retrieve(level1.isel(spectrum=[3, 1]))
    assert some["co_column"].shape == (2,)
    error = whole["co_column_error"].values[[3, 1]]
    apart = np.abs(some["co_column"].values - whole["co_column"].values[[3, 1]])
    assert (apart < error).all()
    for change, rule in (
        (lambda ds: ds.isel(pixel=slice(10, None)), "pixels"),
        (lambda ds: ds.isel(pixel=slice(None, None, -1)), "pixel_order"),
        (lambda ds: ds.isel(edge=0), "missing_dimension"),
        (lambda ds: ds.isel(spectrum=[1, 1]), "repeated_spectra"),
        (lambda ds: ds.drop_vars("incidence_angle"), "missing_variable"),
    ):
        with pytest.raises(RetrievalError) as caught:
            tgo.retrieve(change(level1))
        assert caught.value.rule == f"level1.{rule}"


def test_ozone__rows_in_any_order_and_pixels_refused():
    data = synthetic_ozone_cross_section()
    options = {"ozone": 2e-7, "pixels": 128, "row_step_km": 3.0}
    level1, _ = simulate_uvis_level1(data, **options)
    for change, rule in (
        (lambda ds: ds.isel(pixel=slice(0, 100)), "pixels"),
        (lambda ds: ds.isel(pixel=slice(None, None, 2)), "pixels"),
        (lambda ds: ds.isel(pixel=slice(None, None, -1)), "pixel_order"),
        (lambda ds: ds.isel(spectrum=[1, *range(20)]), "repeated_spectra"),
        (lambda ds: ds.isel(point=[1, 0, 2]), "points"),
        (lambda ds: ds.drop_vars("slant_path_distance"), "missing_variable"),
    ):
        with pytest.raises(RetrievalError) as caught:
            selected(change(level1), OF_UVIS)
        assert caught.value.rule == f"level1.{rule}"
    assert selected(level1, OF_UVIS) is level1
    turned = level1.transpose("pixel", ...)
    assert selected(turned, OF_UVIS)["transmittance"].dims == ("spectrum", "pixel")


# ---- paths in place of a Dataset


def zipped(path, *labels):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for label in labels:
            for file in label.parent.glob(f"{label.stem}.[tx]*"):
                if file.suffix in {".xml", ".tab"}:
                    archive.write(file, f"data/{file.name}")
        archive.writestr("data/collection_data.xml", "<Product_Collection/>")
    return path


@pytest.mark.parametrize("form", ["label", "table", "folder", "zip", "member", "text"])
def test_retrieve__opens_what_open_product_opens(tmp_path, label, monkeypatch, form):
    """The fit is given the same spectra, setup and atmosphere, to the last bit."""
    given = []

    def fit(level1, setup, atmosphere):
        given.append((level1.load(), setup, atmosphere))
        return xr.Dataset(attrs=level1.attrs)

    monkeypatch.setattr(profile, "retrieve_profile", fit)
    packed = zipped(tmp_path / "file.zip", label)
    place = {
        "label": label,
        "table": label.with_suffix(".tab"),
        "folder": label.parent,
        "zip": packed,
        "member": f"{packed}::data/{label.name}",
        "text": str(packed),
    }[form]
    of_label = tgo.retrieve(tgo.open_product(label))
    level2 = tgo.retrieve(place, "so_134" if form == "zip" else None)
    (one, *choices), (other, *others) = given
    xr.testing.assert_equal(one, other)
    assert choices == others == [tgo.load_setup("so_134"), None]
    assert level2.attrs["source_md5"] == of_label.attrs["source_md5"]


def test_retrieve__a_zip_of_several_products_names_them(tmp_path, label):
    other = tgo.simulate_product(tmp_path, order=136, altitude_range=(9.0, 15.0))
    packed = zipped(tmp_path / "file.zip", label, other)
    with pytest.raises(ProductError) as caught:
        tgo.retrieve(packed)
    assert label.name in str(caught.value)
    assert other.name in str(caught.value)
    for nothing in (tmp_path / "none.zip", tmp_path / "none.xml"):
        with pytest.raises(ProductError):
            tgo.retrieve(nothing)


def test_zip__attributes_laziness_and_cache_are_those_of_a_file(tmp_path, label):
    packed = zipped(tmp_path / "file.zip", label)
    for door in (
        tgo.open_product,
        lambda path: xr.open_dataset(path, engine="tgo"),
        lambda path: xr.open_dataset(path, engine="tgo", chunks={"spectrum": 99}),
    ):
        file, inside = door(label), door(packed)
        assert inside.attrs == file.attrs
        assert inside.encoding.keys() == file.encoding.keys()
        assert os.fspath(inside.encoding["source"]) == str(packed)
        for name, variable in file.variables.items():
            other = inside.variables[name]
            assert type(other._data) is type(variable._data), name
            assert other.attrs == variable.attrs
            assert other.encoding == variable.encoding
        xr.testing.assert_equal(inside.load(), file.load())
