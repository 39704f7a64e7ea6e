"""Published sets of profiles: text tables of any columns, HDF5 of UVIS ozone."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.errors import TgoError
from tgo_spectra.files.published import read_profile_table, read_uvis_ozone

TEXT = """\
# water of someone
file; alt; h2o; err; lat; lon; ls; my
20180421_014505_1a; 20; 40; 4; 10; 350; 163; 34
20180421_014505_1a; 10; 55; 5; 11; 351; 163; 34
20190101_000000_1a; 10; -3; 5; -60; 20; 320; 34
20190101_000000_1a; 12; nan; 5; -60; 20; 320; 34
"""
COLUMNS = {
    "altitude": ("alt", 1.0), "h2o_vmr": ("h2o", 1e-6), "h2o_vmr_error": ("err", 1e-6),
    "latitude": ("lat", 1.0), "longitude": ("lon", 1.0),
    "solar_longitude": ("ls", 1.0), "mars_year": ("my", 1),
}  # fmt: skip


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "water.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_table__profiles_apart_ascending_in_our_units(text):
    first, second = read_profile_table(text, COLUMNS, split="file", time="file")
    np.testing.assert_allclose(first["altitude"], [10.0, 20.0])
    np.testing.assert_allclose(first["h2o_vmr"], [55e-6, 40e-6])
    np.testing.assert_allclose(first["longitude"], [-9.0, -10.0])
    assert first["time"].values == np.datetime64("2018-04-21T01:45:05")
    assert (float(first["solar_longitude"]), int(first["mars_year"])) == (163.0, 34)
    np.testing.assert_allclose(second["h2o_vmr"], [-3e-6, np.nan])
    assert second.attrs["profile"] == "20190101_000000_1a"
    grid = tgo.Grid(latitude=[-90, 0, 90], mars_year=[34, 35])
    maps = tgo.grid_level2([first, second], grid, without_kernel="prior_free")
    assert maps["h2o_count"].values.tolist() == [[1, 1]]
    found = tgo.compare(first, read_profile_table(text, COLUMNS, split="file", time="file"), "h2o_vmr")  # noqa: E501  # fmt: skip
    assert found.attrs["n_pairs"] == 1


def test_table__by_number_and_with_fill_values(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("10, -999, 1\n12, 3, 2\n", encoding="utf-8")
    columns = {"altitude": (0, 1.0), "co_vmr": (1, 1e-6)}
    with pytest.raises(TgoError, match="fill value") as caught:
        read_profile_table(path, columns)
    assert (caught.value.field, caught.value.record) == ("co_vmr", 0)
    [ds] = read_profile_table(path, columns, fill_value=-999.0)
    np.testing.assert_allclose(ds["co_vmr"], [np.nan, 3e-6])
    assert "time" not in ds


@pytest.mark.parametrize(
    ("change", "options", "rule"),
    [
        (("55", "x55"), {}, "published.number"),
        (("; 11;", "; 95;"), {}, "published.range"),
        (("; 163; 34\n", "; 163\n"), {}, "published.row"),
        (("20; 40", "10; 40"), {}, "published.altitude"),
        (("1a", "1b"), {"split": "orbit"}, "published.columns"),
        (("20180421_", "April_"), {"time": "file"}, "published.time"),
    ],
)
def test_table__refuses(text, change, options, rule):
    text.write_text(TEXT.replace(*change), encoding="utf-8")
    with pytest.raises(TgoError) as caught:
        read_profile_table(text, COLUMNS, **{"split": "file", **options})
    assert caught.value.rule == rule
    assert caught.value.path == str(text)


def test_table__variables_must_be_known(text, tmp_path):
    for columns in ({"h2o_vmr": ("h2o", 1.0)}, COLUMNS | {"moon": ("my", 1.0)}):
        with pytest.raises(TgoError) as caught:
            read_profile_table(text, columns)
        assert caught.value.rule == "published.columns"
    with pytest.raises(TgoError, match="not a readable text"):
        read_profile_table(tmp_path / "none.txt", COLUMNS)


def ozone(path, *, turned=False, **change):
    """As the description of the set says; 600 levels, here 5, of three occultations."""
    z = np.linspace(40.0, 0.0, 5)
    density = np.arange(15.0).reshape(5, 3) * 1e8
    density[3:, 1] = np.nan
    data = {
        "Geometry/LST": [6.0, 18.0, 6.5], "Geometry/Ls": [10.0, 20.0, 30.0],
        "Geometry/lat": [-5.0, 5.0, 50.0], "Geometry/lon": [0.0, 190.0, 350.0],
        "Geometry/orbit": np.array(
            [b"20180421_014505_x", b"20180422_014505_x", b"of_no_time"]
        ),
        "Science/z": z,
        "Science/Nd_O3": density.T if turned else density,
        "Science/Nd_O3_Err": (density.T if turned else density) * 0.1,
        "Filtering/chi2_O3": [1.0, 1.0, 2.0],
        "Filtering/chi2_no_O3": [1.5, 1.0, 2.0],
    } | change  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            if values is not None:
                file[name] = values
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_ozone__either_way_round(tmp_path, turned):
    found = read_uvis_ozone(ozone(tmp_path / "a.h5", turned=turned))
    assert [ds.sizes["altitude"] for ds in found] == [5, 3, 5]
    first, second, third = found
    np.testing.assert_allclose(first["altitude"], [0, 10, 20, 30, 40])
    np.testing.assert_allclose(first["o3_number_density"], [12e8, 9e8, 6e8, 3e8, 0.0])
    np.testing.assert_allclose(second["o3_number_density_error"], [7e7, 4e7, 1e7])
    np.testing.assert_allclose(second["longitude"], -170.0)
    assert first["time"].values == np.datetime64("2018-04-21T01:45:05")
    assert "time" not in third
    assert first.attrs["delta_chi_square"] == 1.5
    same = tgo.compare(found[:2], found[:2], "o3_number_density")
    assert same.attrs["n_pairs"] == 2
    assert float(np.abs(same["o3_number_density_mean_difference"]).max()) == 0.0


def test_ozone__refuses(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    cases = {
        "text.h5": "published.unreadable",
        "lacking.h5": "published.columns",
        "shape.h5": "published.shape",
        "square.h5": "published.shape",
    }
    ozone(tmp_path / "lacking.h5", **{"Science/z": None})
    ozone(tmp_path / "shape.h5", **{"Science/Nd_O3": np.zeros((5, 4))})
    ozone(tmp_path / "square.h5", **{"Science/Nd_O3": np.zeros((3, 3))})
    for name, rule in cases.items():
        with pytest.raises(TgoError) as caught:
            read_uvis_ozone(tmp_path / name)
        assert caught.value.rule == rule, name
