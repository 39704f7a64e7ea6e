"""Programs of others read what we write: HARP, GDAL, ncdump; skipped without them."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings

import netCDF4
import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import OutputError


def program(name: str, package: str) -> str:
    """Path of a program, or skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {package})")
    return found


def run(*words: object) -> str:
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def profile(levels):
    air = tgo.reference_atmosphere(levels)
    n = levels.size
    data = {
        "ch4_vmr": 1e-9 * np.cos(levels / 9.0),
        "ch4_vmr_error": np.full(n, 1e-10),
        "h2o_vmr": air["h2o_vmr"].values,
        "h2o_vmr_error": 0.1 * air["h2o_vmr"].values,
        **{k: air[k].values for k in ("pressure", "temperature", "number_density")},
        "latitude": np.full(n, 60.0),
        "longitude": np.full(n, -170.0),
    }
    ds = xr.Dataset({k: ("altitude", v) for k, v in data.items()}, {"altitude": levels})
    return ds.assign(time=np.datetime64("2018-06-14T03:13:41", "ns"))


@pytest.mark.parametrize("first", [0.0, 6.3])
def test_harp__accepts_profiles_and_finds_our_column(tmp_path, first):
    check, convert = (program(f"harp{x}", "harp") for x in ("check", "convert"))
    z = first + np.cumsum(np.linspace(0.5, 2.0, 60))
    ds = profile(z)
    file = tgo.write_harp(ds, tmp_path / "a.nc")
    assert "[OK]" in run(check, file)
    for gas, species in (("ch4", "CH4"), ("h2o", "H2O")):
        name = f"{species}_column_number_density"
        out = tmp_path / f"{gas}.nc"
        run(convert, "-a", f"derive({name} {{time}} [molec/m2])", file, out)
        with netCDF4.Dataset(out) as theirs:
            column = theirs[name][0]
        density = (ds[f"{gas}_vmr"] * ds["number_density"]).values * 1e6
        ours = np.trapezoid(density, 1e3 * z)
        assert column == pytest.approx(ours, rel=1e-9)
    [back] = tgo.read_harp(tmp_path / "ch4.nc")  # as HARP writes it
    np.testing.assert_allclose(back["ch4_vmr"], ds["ch4_vmr"])


def test_ncdump__reads_level2_and_maps(tmp_path):
    ncdump = program("ncdump", "netcdf-bin")
    ds = profile(np.arange(5.0, 50.0, 5.0))
    grid = tgo.Grid(latitude=[-90, 0, 90], longitude=[-180, 0, 180])
    level3 = tgo.grid_level2(ds, grid, without_kernel="prior_free")
    for file in (
        tgo.write_level2(ds, tmp_path / "a.nc"),
        tgo.write_map(level3, tmp_path / "b.nc"),
        tgo.write_harp(ds, tmp_path / "c.nc"),
    ):
        assert "}" in run(ncdump, file)


# --- maps over longitude and latitude ------------------------------------------------


def a_map(**axes):
    """Of a profile at 60 N, 170 W, 20 km."""
    grid = tgo.Grid(latitude=[-90, -30, 30, 90], longitude=range(-180, 181, 30), **axes)
    ds = profile(np.array([20.0, 21.0])).assign(solar_longitude=100.0)
    return tgo.grid_level2(ds, grid, without_kernel="prior_free")


def test_gdal__opens_a_map_in_the_coordinates_of_mars(tmp_path):
    pytest.importorskip("rasterio", reason="needs rasterio (the extra exchange)")
    from tgo_spectra.files.geotiff import write_geotiff

    info, srs = (program(f"gdal{x}info", "gdal-bin") for x in ("", "srs"))
    level3 = a_map()
    names = ["ch4_mean", "ch4_count"]
    file = write_geotiff(level3, tmp_path / "a.tif", names)
    told = json.loads(run(info, "-json", file))
    assert told["size"] == [12, 3]
    assert told["geoTransform"] == [-180.0, 30.0, 0.0, 90.0, 0.0, -60.0]
    assert [band["description"] for band in told["bands"]] == names
    assert told["metadata"][""]["crs"] == "IAU_2015:49900"
    wkt = run(srs, "-o", "wkt2", file)
    assert '"Mars (2015) - Sphere"' in wkt
    assert "3396190" in wkt
    assert CRS.from_wkt(wkt).equals(CRS("IAU_2015:49900"), ignore_axis_order=True)


def test_geotiff__values_stand_where_they_belong(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    from tgo_spectra.files.geotiff import write_geotiff

    level3 = a_map()
    with rasterio.open(write_geotiff(level3, tmp_path / "a.tif", ["ch4_mean"])) as file:
        assert tuple(file.transform)[:6] == (30.0, 0.0, -180.0, 0.0, -60.0, 90.0)
        (there, _, empty), *others = file.read(1).T
        assert np.isnan(others).all()
        assert file.tags(1)["units"] == "1"
        assert "n_simulated" not in file.tags()
    unreal = level3.assign_attrs(n_simulated=1)
    with rasterio.open(write_geotiff(unreal, tmp_path / "a.tif", ["ch4_mean"])) as file:
        assert file.tags()["n_simulated"] == "1"
        assert file.tags()["n_profiles"] == str(level3.attrs["n_profiles"])
    expected = float(level3["ch4_mean"].sel(longitude=-165, latitude=60))
    assert there == pytest.approx(expected, rel=1e-6)
    assert np.isnan(empty)
    more = a_map(solar_longitude=[0, 180, 360])
    one = write_geotiff(more.isel(solar_longitude=0), tmp_path / "b.tif", ["ch4_mean"])
    assert one.stat().st_size > 300
    equal = tgo.Grid.over("longitude", "latitude", equal_area=True)
    cells = tgo.grid_level2([], equal, gases=["ch4"])
    for ds, names, rule in (
        (more, ["ch4_mean"], "geotiff.axes"),
        (level3, ["co_mean"], "geotiff.missing"),
        (level3, [], "geotiff.missing"),
        (cells, ["ch4_mean"], "geotiff.steps"),
    ):
        with pytest.raises(OutputError) as caught:
            write_geotiff(ds, tmp_path / "c.tif", names)
        assert caught.value.rule == rule
    assert not (tmp_path / "c.tif").exists()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr__holds_what_netcdf_holds(tmp_path, zarr_format):
    from tgo_spectra.files.zarr import write_zarr

    level3 = a_map(solar_longitude=[0, 180, 360])
    ds = profile(np.array([20.0, 21.0]))
    for one, write in ((level3, tgo.write_map), (ds, tgo.write_level2)):
        group = write_zarr(one, tmp_path / "a.zarr", zarr_format=zarr_format)
        with (
            xr.open_dataset(write(one, tmp_path / "a.nc")) as file,
            warnings.catch_warnings(),
        ):
            # zarr's own, of what the third format has not settled
            warnings.simplefilter("ignore")
            back = xr.open_zarr(group).load()
            xr.testing.assert_equal(back, file)
            assert set(back.coords) == set(file.coords)
        if one is level3:
            merged = tgo.merge_maps([back])
            xr.testing.assert_allclose(merged, level3)
    assert not list(tmp_path.glob("*tmp*"))
    other = tmp_path / "mine"
    other.mkdir()
    with pytest.raises(OutputError, match="no Zarr group") as caught:
        write_zarr(level3, other)
    assert caught.value.rule == "io.exists"


def test_command__exports_maps(tmp_path, capsys):
    pytest.importorskip("rasterio", reason="needs rasterio (the extra exchange)")
    tgo.write_map(a_map(), tmp_path / "l3" / "map.nc")
    tgo.write_level2(profile(np.array([20.0, 21.0])), tmp_path / "l3" / "one.nc")
    (tmp_path / "l3" / "one.truth.nc").write_bytes(b"no result")
    given = ["export", str(tmp_path / "l3"), "--out", str(tmp_path / "out")]
    assert main([*given, "--form", "zarr"]) == 0
    assert main([*given, "--form", "geotiff", "--gas", "CH4"]) == 0
    assert main([*given, "--form", "geotiff"]) == 64
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "map.zarr", "map_ch4.tif", "one.zarr",
    ]  # fmt: skip
    assert "2 written, 0 failed" in capsys.readouterr().out
