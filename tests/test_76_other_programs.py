"""Programs of others read what we write: HARP, GDAL, ncdump; skipped without them."""

from __future__ import annotations

import shutil
import subprocess

import netCDF4
import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo


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
