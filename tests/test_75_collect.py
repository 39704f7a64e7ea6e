"""Many level-2 files as one Dataset over products."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files import collecting


def write(folder, number, heights=(0.0, 10.0, 20.0, 30.0), **more):
    """A profile that rises by 1 ppbv a kilometre from its number on."""
    z = np.array(heights)
    variables = {
        "ch4_vmr": ("altitude", 1e-9 * (number + z), {"units": "1"}),
        "quality_flag": ((), np.int32(number)),
        "time": ((), np.datetime64(f"2019-01-0{number + 1}T03:00:00.5", "ns")),
        "longitude": ("altitude", np.linspace(179.0, 182.0, z.size) % 360.0),
        **more,
    }
    ds = xr.Dataset(variables, {"altitude": ("altitude", z, {"units": "km"})})
    ds["longitude"] = (ds["longitude"] + 180.0) % 360.0 - 180.0
    ds = ds.set_coords(["time", "longitude"])
    ds.attrs = {"product_lid": f"urn:a:b:{number}", "setup": "so_134"}
    if number == 2:
        ds.attrs["simulated"] = 1
    return tgo.write_level2(ds, folder / f"{number}.nc")


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        more = {"h2o_vmr": ("altitude", np.ones(4))} if number != 3 else {}
        write(tmp_path, number, **more)
    return tmp_path


def test_collect__common_altitudes(folder, monkeypatch):
    monkeypatch.setattr(collecting, "_BLOCK", 2)
    opened = []
    profiles = collecting._profiles
    monkeypatch.setattr(
        collecting, "_profiles", lambda *a: opened.append(a[0]) or profiles(*a)
    )
    ds = tgo.collect(folder, [-5.0, 5.0, 15.0, 30.0, 40.0])
    assert not opened
    assert dict(ds.sizes) == {"product": 5, "altitude": 5}
    assert ds["product_lid"].values.tolist() == [f"urn:a:b:{k}" for k in range(5)]
    assert (ds.attrs["n_profiles"], ds.attrs["n_simulated"]) == (5, 1)
    assert ds["quality_flag"].values.tolist() == list(range(5))
    assert ds["time"].values[1] == np.datetime64("2019-01-02T03:00:00.5", "ns")
    with dask.config.set(scheduler="synchronous"):
        found = ds["ch4_vmr"].values
        assert len(opened) == 3
        for number in range(5):
            wanted = [np.nan, number + 5.0, number + 15.0, number + 30.0, np.nan]
            np.testing.assert_allclose(found[number], np.array(wanted) * 1e-9)
        # the short way round, and no value where a file has none
        np.testing.assert_allclose(
            ds["longitude"].values[0], [np.nan, 179.5, -179.5, -178.0, np.nan]
        )
        assert np.isnan(ds["h2o_vmr"].values[3]).all()
        assert (ds["h2o_vmr"].values[2, 1:4] == 1.0).all()
        few = tgo.open_level2(folder, variables=["ch4_vmr", "time"])
        assert set(few.variables) == {
            *("ch4_vmr", "time", "altitude", "product_lid", "setup"),
            *("observation_type", "source_md5"),
        }
        assert few.sizes["altitude"] == 121
    assert ds["ch4_vmr"].attrs["units"] == "1"
    one = tgo.open_level2(folder / "2.nc")
    assert one["ch4_vmr"].values[1] == pytest.approx(12e-9)


def test_collect__refuses(folder, tmp_path_factory):
    for given, rule in (
        ({"altitude_km": [0.0, 0.0]}, "collect.altitude"),
        ({"variables": ["ch5_vmr"]}, "collect.variable"),
    ):
        with pytest.raises(TgoError) as caught:
            tgo.collect(folder, **given)
        assert caught.value.rule == rule
    with pytest.raises(TgoError) as caught:
        tgo.collect(tmp_path_factory.mktemp("nothing"))
    assert caught.value.rule == "map.no_input"
    # a file that is cut is no result
    content = (folder / "1.nc").read_bytes()
    (folder / "1.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(OutputError):
        tgo.collect(folder)["ch4_vmr"].compute()


@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_command(folder, capsys, form):
    out = folder / f"all.{form}"
    command = ["collect", str(folder), "--out", str(out), "--altitude", "0:30:10"]
    if form == "zarr":
        pytest.importorskip("zarr")
    for _ in range(2):  # what it has written before is no result
        assert main(command) == 0
        assert f"5 products -> {out}" in capsys.readouterr().out
    made = xr.open_zarr(out) if form == "zarr" else tgo.open_level2(out)
    assert dict(made.sizes) == {"product": 5, "altitude": 4}
    lids = [f"urn:a:b:{k}" for k in range(5)]
    assert made["product_lid"].values.tolist() == lids
    given = [[number, number + 10, number + 20, number + 30] for number in range(5)]
    np.testing.assert_allclose(made["ch4_vmr"].values, 1e-9 * np.array(given, float))
    assert made["time"].values[1] == np.datetime64("2019-01-02T03:00:00.5", "ns")
    assert made.attrs["n_profiles"] == 5
    few = ["collect", str(folder), "--out", str(out), "--variable", "ch4_vmr"]
    assert main(few) == 0
    made = xr.open_zarr(out) if form == "zarr" else tgo.open_level2(out)
    assert set(made.data_vars) == {"ch4_vmr"}
