from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.atmosphere import (
    on_altitudes,
    read_atmosphere,
    reference_atmosphere,
)
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN, GAS_CONSTANT, GM_M3_S2, MOLAR_MASS


def test_reference_is_hydrostatic():
    z = np.arange(-5, 150, 0.1)
    air = reference_atmosphere(z, surface_pressure_pa=700.0, planet_radius_km=3390.0)
    gradient = np.gradient(np.log(air.pressure.values), z * 1e3)
    gravity = GM_M3_S2 / ((3390.0 + z) * 1e3) ** 2
    expected = -1e-3 * MOLAR_MASS * gravity / (GAS_CONSTANT * air.temperature.values)
    np.testing.assert_allclose(gradient[1:-1], expected[1:-1], rtol=2e-5)
    at_zero = np.argmin(np.abs(z))
    assert air.pressure.values[at_zero] == pytest.approx(700.0, rel=1e-9)
    assert air.attrs["planet_radius_km"] == 3390.0


def test_reference_pressure_does_not_depend_on_the_grid():
    coarse = reference_atmosphere([0.0, 37.3, 90.0]).pressure.values
    fine = reference_atmosphere(np.union1d(np.arange(0, 91, 0.25), [37.3]))
    found = fine.pressure.sel(altitude=[0.0, 37.3, 90.0]).values
    np.testing.assert_allclose(coarse, found, rtol=1e-9)


def test_reference_density_and_units():
    air = reference_atmosphere()
    ideal = air.pressure / (BOLTZMANN * air.temperature) * 1e-6
    np.testing.assert_allclose(air.number_density, ideal, rtol=1e-12)
    assert air.number_density.attrs["units"] == "cm-3"
    assert {"h2o_vmr", "hdo_vmr", "co_vmr", "co2_vmr", "ch4_vmr"} <= set(air.data_vars)
    assert float(air.ch4_vmr.max()) == 0.0
    assert 100 < float(air.temperature.min()) < 260


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"altitude_km": [0.0, 300.0]}, "300"),
        ({"altitude_km": [10.0, 5.0]}, "monotonic"),
        ({"surface_pressure_pa": -1.0}, "-1"),
    ],
)
def test_reference_refuses(arguments, word):
    with pytest.raises(AtmosphereError, match=word):
        reference_atmosphere(**arguments)


def test_read_round_trip_and_other_names(tmp_path):
    air = reference_atmosphere(np.arange(0.0, 100.0, 2.0))
    path = tmp_path / "air.nc"
    air.to_netcdf(path, engine="netcdf4")
    back = read_atmosphere(path)
    xr.testing.assert_allclose(air, back)
    other = air.rename(h2o_vmr="vmr_H2O").drop_vars("number_density")
    other["pressure"] = (other.pressure / 100).assign_attrs(units="hPa")
    other = other.assign_coords(altitude=other.altitude * 1e3)
    other.altitude.attrs["units"] = "m"
    other = other.isel(altitude=slice(None, None, -1))
    found = read_atmosphere(other)
    np.testing.assert_allclose(found.altitude, air.altitude)
    np.testing.assert_allclose(found.pressure, air.pressure)
    np.testing.assert_allclose(found.h2o_vmr, air.h2o_vmr)
    np.testing.assert_allclose(found.number_density, air.number_density)


def test_read_csv_text_and_file(tmp_path):
    text = (
        "# planet_radius_km = 3390.5\n"
        "# a remark\n"
        "altitude [km], pressure [Pa], temperature [K], h2o_vmr [ppmv]\n"
        "0, 610, 215, 150\n\n10, 240, 200, 140\n"
    )
    path = tmp_path / "air.csv"
    path.write_text(text, encoding="utf-8")
    for source in (text, path, str(path)):
        air = read_atmosphere(source)
        assert air.attrs["planet_radius_km"] == 3390.5
        np.testing.assert_allclose(air.h2o_vmr, [1.5e-4, 1.4e-4])


HEAD = "altitude,pressure,temperature\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("altitude,pressure\n0,610\n10,240\n", "no temperature"),
        (HEAD + "0,610,215\n0,240,200\n", "monotonic"),
        (HEAD + "0,610,215\n10,500,210\n5,240,200\n", "monotonic"),
        (HEAD + "0,610,215\n10,-240,200\n", "-240"),
        (HEAD + "0,610,nan\n10,240,200\n", "nan"),
        (HEAD + "0,610\n10,240,200\n", "0,610"),
        (HEAD + "0,610,warm\n10,240,200\n", "warm"),
        ("altitude,pressure[psi],temperature\n0,610,2\n1,2,3\n", "psi"),
        (HEAD, "header"),
        (
            "altitude,pressure,temperature,number_density\n0,610,215,1\n1,600,215,1\n",
            "contradicts",
        ),
    ],
)
def test_read_refuses(text, word):
    with pytest.raises(AtmosphereError, match=word):
        read_atmosphere(text)


def test_read_refuses_files(tmp_path):
    with pytest.raises(AtmosphereError, match="no such file"):
        read_atmosphere(tmp_path / "absent.nc")
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"not netcdf")
    with pytest.raises(AtmosphereError, match="netCDF"):
        read_atmosphere(broken)


def test_on_altitudes_inside_is_log_linear():
    air = reference_atmosphere(np.arange(0.0, 101.0, 10.0))
    found = on_altitudes(air, [0.0, 5.0, 30.0])
    p = air.pressure.values
    np.testing.assert_allclose(
        found.pressure.values, [p[0], np.sqrt(p[0] * p[1]), p[3]], rtol=1e-12
    )
    assert float(found.temperature[1]) == pytest.approx(
        float(air.temperature[:2].mean())
    )
    assert "extended_above_km" not in found.attrs


def test_on_altitudes_extends_isothermally():
    air = reference_atmosphere(np.arange(0.0, 81.0))
    z = np.arange(-3.0, 121.0, 0.5)
    found = on_altitudes(air, z)
    assert found.attrs["extended_above_km"] == 80.0
    assert found.attrs["extended_below_km"] == 0.0
    radius = air.attrs["planet_radius_km"]
    gradient = np.gradient(np.log(found.pressure.values), z * 1e3)
    gravity = GM_M3_S2 / ((radius + z) * 1e3) ** 2
    expected = -1e-3 * MOLAR_MASS * gravity / (GAS_CONSTANT * found.temperature.values)
    for part in (z > 80.5, z < -0.5):
        inner = np.flatnonzero(part)[1:-1]
        np.testing.assert_allclose(gradient[inner], expected[inner], rtol=1e-4)
    np.testing.assert_allclose(found.temperature.values[z > 80], air.temperature[-1])
    with pytest.raises(AtmosphereError, match="below"):
        on_altitudes(air, [-6.0, 0.0])


@pytest.mark.parametrize("tag", ["134", "136", "190"])
def test_sample_truth_is_an_atmosphere(tag, shared):
    path = next((shared / "samples").glob(f"*{tag}.truth.nc"))
    air = read_atmosphere(path)
    assert "h2o_vmr" in air
    assert 3370 < air.attrs["planet_radius_km"] < 3400
    assert set(air.dims) == {"altitude"}
