"""What a map is made of: each observation once; what has no place is said."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.batch import maps as batch_maps
from tgo_spectra.batch.engines import Here
from tgo_spectra.errors import RetrievalError, TgoError, TgoWarning
from tgo_spectra.files import level2 as inputs
from tgo_spectra.files.level2 import KEY
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.retrieval.merging import merge_orders
from tgo_spectra.variables import validate

GRID = tgo.Grid(latitude=[-90, 90])


def profile(
    name="a", *, version="2.0", setup="5e7", gas="ch4", value=1e-10, lid=True, **change
):
    """Level 2 of two levels, by hand; `change` replaces variables."""

    def along(*numbers):
        return ("altitude", np.array(numbers, dtype=float))

    data = {
        f"{gas}_vmr": along(value, 2 * value),
        f"{gas}_vmr_error": along(1e-10, 1e-10),
        f"{gas}_averaging_kernel": (("altitude", "altitude_in"), np.eye(2)),
        "latitude": along(10.0, 11.0),
        "longitude": along(20.0, 21.0),
        "local_true_solar_time": along(6.0, 6.1),
        "pressure": along(300.0, 270.0),
        "number_density": along(1e17, 9e16),
        "solar_longitude": ((), 30.0),
        "mars_year": ((), 35),
        "time": ((), np.datetime64("2020-01-01", "ns")),
    }
    attrs = {"setup_hash": setup, "source_md5": f"md5{name}"}
    if lid:
        attrs |= {"product_lid": f"urn:x:y:{name}", "product_version": version}
    ds = xr.Dataset(data, {"altitude": [10.0, 11.0]}, attrs)
    for variable, values in change.items():
        dims = ds[variable].dims
        full = np.broadcast_to(np.asarray(values), ds[variable].shape)
        if variable in ds.coords:
            ds = ds.assign_coords({variable: full.astype(float)})
        else:
            ds[variable] = (dims, full.astype(float))
    return ds


def repeated(call, *names):
    """Message of the error, which names both."""
    with pytest.raises(TgoError) as caught:
        call()
    assert caught.value.rule in {"map.repeated", "merge.repeated"}
    for name in names:
        assert str(name) in str(caught.value)


def test_repeated__file_and_its_copy_by_another_name(tmp_path):
    one = tgo.write_level2(profile(), tmp_path / "one.nc")
    two = tmp_path / "below" / "two.nc"
    two.parent.mkdir()
    shutil.copy(one, two)
    link = tmp_path / "link.nc"
    link.symlink_to(one)
    repeated(lambda: tgo.grid_level2(tmp_path, GRID), two, link)
    repeated(lambda: tgo.grid_level2([two, one], GRID), one, two)
    repeated(lambda: tgo.grid_level2([one, tmp_path / "below"], GRID), one, two)


def test_repeated__made_again_with_other_software_is_the_same(tmp_path):
    """Not the bytes decide: LID, version and setup do."""
    one = tgo.write_level2(profile(), tmp_path / "one.nc")
    again = profile(value=1.1e-10).assign_attrs(software="newer", source_md5="other")
    two = tgo.write_level2(again, tmp_path / "two.nc")
    repeated(lambda: tgo.grid_level2([one, two], GRID), one, two, "urn:x:y:a::2.0")
    repeated(lambda: tgo.grid_level2([one, again], GRID), one, "Dataset 2")


@pytest.mark.parametrize("time", [True, False])
def test_repeated__without_a_lid(tmp_path, time):
    ds = profile(lid=False)
    if not time:
        ds = ds.drop_vars("time")
    path = tgo.write_level2(ds, tmp_path / "a.nc")
    repeated(lambda: tgo.grid_level2([ds, ds], GRID), "Dataset 1", "Dataset 2")
    repeated(lambda: tgo.grid_level2([path, path], GRID), path)
    both = [path, ds]
    if time:
        repeated(lambda: tgo.grid_level2(both, GRID), path)
    else:  # nothing tells that they are one; the map says that it cannot know
        assert tgo.grid_level2(both, GRID).attrs["n_inputs_without_identity"] == 2


def test_repeated__nine_columns_of_text(tmp_path):
    ds = profile()
    path = tgo.write_bira(ds, tmp_path / "a.txt", "ch4")
    back = tgo.read_bira(path)
    free = {"without_kernel": "prior_free"}
    repeated(lambda: tgo.grid_level2([ds, back], GRID, **free), "Dataset 1", path)
    again = tgo.read_bira(path)
    repeated(lambda: tgo.grid_level2([again, back], GRID, **free), path)


def test_repeated__spectra_of_nadir():
    ds = xr.Dataset(
        {
            "co_column": ("spectrum", [1e17, 2e17]),
            "co_column_error": ("spectrum", [1e17, 1e17]),
            "co_degrees_of_freedom_of_spectrum": ("spectrum", [1.0, 1.0]),
            "latitude": ("spectrum", [1.0, 2.0]),
        },
        attrs={"product_lid": "urn:x:nadir", "setup_hash": "1"},
    )
    repeated(lambda: tgo.grid_level2([ds, ds.copy()], GRID), "urn:x:nadir")


def test_repeated__maps_that_share_one_do_not_merge(tmp_path):
    maps = [
        tgo.write_map(tgo.grid_level2([profile(n) for n in names], GRID), tmp_path / n)
        for names, n in (("ab", "1.nc"), ("c", "2.nc"), ("db", "3.nc"))
    ]
    repeated(lambda: tgo.merge_maps(maps), maps[0], maps[2], "urn:x:y:b::2.0")
    two = tgo.merge_maps(maps[:2])
    repeated(lambda: tgo.merge_maps([two, maps[2]]), "map 1", maps[2])
    repeated(lambda: tgo.merge_maps([maps[0], maps[0]]), maps[0])


def test_repeated__maps_of_more_than_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "LISTED", 8)
    grid = tgo.Grid()
    many = [profile(f"{n:04d}") for n in range(10)]
    big = tgo.grid_level2(many, grid)
    assert "0003" not in big.attrs["input_products"]
    assert big[KEY].size == big.attrs["n_inputs"] == 10
    big = open_verified(tgo.write_map(big, tmp_path / "big.nc"))
    repeated(lambda: tgo.merge_maps([big, tgo.grid_level2(many[7], grid)]), "big.nc")
    halves = [tgo.grid_level2(part, grid) for part in (many[:6], many[6:])]
    assert "0003" in halves[0].attrs["input_products"]
    merged = tgo.merge_maps(halves)
    for name in ("input_products", "input_keys_sha256", "n_inputs"):
        assert merged.attrs[name] == big.attrs[name]


def test_repeated__merged_orders_and_a_part_of_them():
    merged = profile(lid=False).assign_attrs(
        input_products="urn:x:y:a::2.0 md5a, urn:x:y:b::2.0", setup_hash="5e7 6f"
    )
    repeated(lambda: tgo.grid_level2([profile("b", setup="6f"), merged], GRID))
    repeated(lambda: tgo.grid_level2([merged, profile("a")], GRID))
    counted = tgo.grid_level2([merged, profile("c")], GRID)
    assert counted["ch4_count"].item() == 2
    assert "urn:x:y:b::2.0" in counted.attrs["input_products"]


def test_repeated__merged_file_keeps_its_parts(tmp_path):
    ds = profile(lid=False).assign_attrs(
        input_products="urn:x:y:a::2.0 m, urn:x:y:b::2.0 n", setup_hash="1 2"
    )
    back = open_verified(tgo.write_level2(ds, tmp_path / "a.nc"))
    assert back.attrs["input_products"] == ds.attrs["input_products"]


def test_repeated__order_merged_with_itself():
    for parts in ([profile(), profile(value=2e-10)], [profile(lid=False)] * 2):
        with pytest.raises(RetrievalError) as caught:
            merge_orders(parts, "ch4")
        assert caught.value.rule == "merge.repeated"
        assert "Dataset 1" in str(caught.value)


def test_legal__other_products_versions_setups_and_quantities(caplog):
    def count(*parts, gas="ch4"):
        return tgo.grid_level2(parts, GRID)[f"{gas}_count"].item()

    assert count(profile("a"), profile("b")) == 2
    assert not caplog.records
    for other in (profile(version="3.0"), profile(setup="6f8")):
        caplog.clear()
        assert count(profile(), other) == 2
        assert "several versions or setups" in caplog.text
    caplog.clear()
    assert count(profile(), profile(gas="h2o")) == 1
    assert not caplog.records
    # nothing tells two results without LID and time apart but themselves
    alike = [profile(lid=False).drop_vars("time") for _ in range(3)]
    assert count(*alike) == 3


def test_legal__a_map_for_each_gas_merges():
    parts = [profile(), profile(gas="h2o")]
    merged = tgo.merge_maps([tgo.grid_level2(part, GRID) for part in parts])
    whole = tgo.grid_level2(parts, GRID)
    np.testing.assert_array_equal(merged[KEY], whole[KEY])
    assert merged["ch4_count"].item() == merged["h2o_count"].item() == 1


def test_inputs__are_recorded(tmp_path):
    path = tgo.write_level2(profile(), tmp_path / "a.nc")
    tracking = open_verified(path).attrs["tracking_id"]
    maps = tgo.grid_level2([path, profile("b")], GRID)
    validate(maps, level=3)
    one, two = maps.attrs["input_products"].split(" | ")
    assert one == f"urn:x:y:a::2.0 md5:md5a tracking_id:{tracking} setup:5e7"
    assert two == "urn:x:y:b::2.0 md5:md5b setup:5e7"
    assert maps.attrs["products_in_several_forms"] == ""
    back = open_verified(tgo.write_map(maps, tmp_path / "map.nc"))
    assert back.attrs["input_products"] == maps.attrs["input_products"]
    np.testing.assert_array_equal(back[KEY], maps[KEY])


def test_merge__a_map_that_does_not_say_its_inputs_is_refused():
    one = tgo.grid_level2(profile(), GRID).drop_vars(KEY)
    with pytest.raises(TgoError) as caught:
        tgo.merge_maps([tgo.grid_level2(profile("b"), GRID), one])
    assert (caught.value.rule, caught.value.field) == ("map.merge", KEY)


def test_merge__empty_maps_from_files(tmp_path):
    empty = tgo.grid_level2([], GRID, gases=["ch4"])
    path = tgo.write_map(empty, tmp_path / "empty.nc")
    merged = tgo.merge_maps([path, path, tgo.grid_level2(profile(), GRID)])
    assert merged["ch4_count"].item() == merged.attrs["n_inputs"] == 1
    assert "urn:x:y:a" in merged.attrs["input_products"]


# places


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("latitude", np.nan),
        ("latitude", 90.5),
        ("latitude", -999.0),
        ("longitude", np.nan),
        ("longitude", -999.0),
        ("longitude", 9.96921e36),
        ("longitude", np.inf),
        ("solar_longitude", np.nan),
        ("solar_longitude", -9999.0),
        ("solar_longitude", 400.0),
        ("altitude", np.nan),
        ("altitude", -9999.0),
        ("altitude", 11_000.0),
        ("pressure", np.nan),
        ("pressure", -1.0),
        ("mars_year", -9999),
        ("local_true_solar_time", np.nan),
        ("local_true_solar_time", 25.0),
    ],
)
def test_place__impossible_is_left_out_counted_and_named(axis, value):
    grids = {
        "latitude": GRID,
        "longitude": tgo.Grid(longitude=[-180, 180]),
        "solar_longitude": tgo.Grid(solar_longitude=[0, 360]),
        "altitude": tgo.Grid(altitude=[-10_000, 20_000]),
        "pressure": tgo.Grid(pressure=[0, 1000]),
        "mars_year": tgo.Grid(mars_year=[-10_000, 10_000]),
        "local_true_solar_time": tgo.Grid(local_time_class=True),
    }
    bad = profile("bad", **{axis: value})
    with pytest.warns(TgoWarning, match="urn:x:y:bad"):
        maps = tgo.grid_level2([profile(), bad], grids[axis])
    assert maps["ch4_count"].values.sum() == 1
    assert maps.attrs["n_products_without_place"] == 1
    assert maps.attrs["n_values_without_place"] == 2
    said = maps.attrs["products_without_place"]
    assert "urn:x:y:bad" in said
    assert f"{value:g}" in said
    # a place that the grid does not ask for is no reason
    other = tgo.Grid() if axis != "latitude" else tgo.Grid(mars_year=[35, 36])
    assert tgo.grid_level2([profile(), bad], other)["ch4_count"].values.sum() == 2


def test_place__one_level_of_a_file_and_merged(tmp_path):
    bad = profile("bad", latitude=[np.nan, 5.0])
    path = tgo.write_level2(bad, tmp_path / "bad.nc")
    with pytest.warns(TgoWarning, match="bad.nc"):
        one = tgo.grid_level2(path, GRID)
    assert one["ch4_mean"].item() == pytest.approx(2e-10)
    assert one.attrs["n_values_without_place"] == 1
    with pytest.warns(TgoWarning, match="left out"):
        two = tgo.grid_level2(profile("c", latitude=95.0), GRID)
    merged = tgo.merge_maps([two, tgo.grid_level2(profile("d"), GRID), one])
    assert merged.attrs["n_products_without_place"] == 2
    assert merged.attrs["n_values_without_place"] == 3
    assert "bad.nc" in merged.attrs["products_without_place"]
    assert "latitude 95" in merged.attrs["products_without_place"]


def test_place__of_files_mapped_in_parts_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_maps, "_PART", 1)
    for number in range(3):
        bad = profile(f"bad{number}", latitude=[95.0 + number, 5.0])
        tgo.write_level2(bad, tmp_path / f"bad{number}.nc")
    with pytest.warns(TgoWarning) as said:
        maps = batch_maps.map_files(tmp_path, GRID, Here(), {})
    assert maps.attrs["n_values_without_place"] == 3
    (text,) = [str(one.message) for one in said]
    assert text.startswith("3 levels or spectra of 3 products have no possible place")
    for number in range(3):
        assert f"bad{number}.nc (latitude {95 + number})" in text


def test_place__of_a_level_that_would_not_count_is_no_matter():
    ds = profile(latitude=[np.nan, 5.0])
    ds["ch4_averaging_kernel"] = (("altitude", "altitude_in"), np.diag([0.01, 0.9]))
    ds["ch4_vmr_apriori"] = ("altitude", [0.0, 0.0])
    maps = tgo.grid_level2(ds, GRID)
    assert maps["ch4_count"].item() == 1
    assert maps.attrs["n_values_without_place"] == 0


def test_place__of_nadir_spectra():
    ds = xr.Dataset(
        {
            "co_column": ("spectrum", [1e17, 2e17, 4e17]),
            "co_column_error": ("spectrum", [1e17, 1e17, 1e17]),
            "co_degrees_of_freedom_of_spectrum": ("spectrum", [1.0, 1.0, 1.0]),
            "latitude": ("spectrum", [1.0, np.nan, -1e30]),
        },
        attrs={"product_lid": "urn:x:nadir"},
    )
    with pytest.warns(TgoWarning, match="2 levels or spectra of 1 products"):
        maps = tgo.grid_level2(ds, GRID)
    assert maps["co_column_count"].item() == 1
    assert "latitude nan" in maps.attrs["products_without_place"]


def test_place__of_a_layer():
    good, bad = profile(), profile("bad", latitude=95.0)
    for ds in (good, bad):
        ds["ch4_layer_vmr"] = ((), 1e-10, {"layer_km": "0 20"})
        ds["ch4_layer_vmr_error"] = ds["ch4_layer_vmr_noise_error"] = 1e-10
        ds["latitude"] = ds["latitude"].broadcast_like(ds["altitude"])
    with pytest.warns(TgoWarning, match="urn:x:y:bad"):
        maps = tgo.grid_level2([good, bad], GRID)
    assert maps["ch4_layer_count"].item() == 1
    assert maps.attrs["n_products_without_place"] == 1
    assert "latitude 95" in maps.attrs["products_without_place"]


def test_place__legal_ones_stay():
    """Both ends of each axis, either count of longitude, midnight."""
    for change in (
        {"latitude": [90.0, -90.0]},
        {"longitude": [-180.0, 359.9]},
        {"solar_longitude": 360.0},
        {"local_true_solar_time": [24.0, 0.0]},
        {"altitude": [-7.5, 250.0]},
    ):
        grid = tgo.Grid(
            latitude=[-90, 90],
            longitude=[-180, 180],
            solar_longitude=[0, 360],
            altitude=[-10, 300],
            local_time_class=True,
        )
        maps = tgo.grid_level2(profile(**change), grid)
        assert maps["ch4_count"].values.tolist() == [[[[[1]]], [[[0]]]]]


def test_place__outside_the_cells_is_a_choice_not_a_fault():
    maps = tgo.grid_level2(profile(latitude=-50.0), tgo.Grid(latitude=[0, 90]))
    assert maps["ch4_count"].item() == 0
    assert maps.attrs["n_products_without_place"] == 0


def test_place__missing_local_time_is_an_error():
    ds = profile().drop_vars("local_true_solar_time")
    with pytest.raises(TgoError) as caught:
        tgo.grid_level2(ds, tgo.Grid(local_time_class=True))
    assert caught.value.field == "local_true_solar_time"
