"""Exchange forms: nine columns of text in and out, HARP's names out."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files.bira import COLUMNS, LIKELY_FILLS
from tgo_spectra.files.harp.names import follows_convention, species
from tgo_spectra.files.netcdf import write_level2
from tgo_spectra.mars import mean_direction
from tgo_spectra.variables import GASES

Z = np.array([5.0, 10.0, 15.0, 20.0])


def level2(**more):
    air = tgo.reference_atmosphere(Z)
    vmr = np.array([3e-10, -2e-10, np.nan, 1e-11])
    data = {
        "ch4_vmr": ("altitude", vmr),
        "ch4_vmr_apriori": ("altitude", np.zeros(4)),
        "ch4_vmr_error": ("altitude", np.array([1e-10, 2e-10, np.nan, 4e-10])),
        "ch4_vmr_noise_error": ("altitude", np.full(4, 1e-10)),
        "ch4_vmr_smoothing_error": ("altitude", np.full(4, 3e-11)),
        "ch4_averaging_kernel": (
            ("altitude", "altitude_in"),
            np.arange(16.0).reshape(4, 4),
        ),
        "ch4_degrees_of_freedom": 2.5,
        "ch4_upper_limit": (
            "altitude",
            np.array([5e-10, 4e-10, np.nan, 8.1e-10]),
            {"sigma_level": 2.0},
        ),
        "ch4_detected": ("altitude", np.array([0, 0, 0, 1], dtype=np.int8)),
        "h2o_vmr": ("altitude", air.h2o_vmr.values),
        "h2o_vmr_error": ("altitude", 0.1 * air.h2o_vmr.values),
        "pressure": ("altitude", air.pressure.values),
        "temperature": ("altitude", air.temperature.values),
        "number_density": ("altitude", air.number_density.values),
        "latitude": ("altitude", np.array([60.0, 60.5, 61.0, 61.5])),
        "longitude": ("altitude", np.array([179.0, 179.5, -179.5, -179.0])),
        "local_true_solar_time": ("altitude", np.full(4, 18.25)),
        "solar_longitude": 192.5,
        "mars_year": np.int32(34),
        "time": np.datetime64("2018-06-14T03:13:41.5", "ns"),
        "converged": np.int8(1),
        "reduced_chi_square": 1.02,
    } | more
    attrs = {"product_lid": "urn:esa:psa:a:b:c", "product_version": "3.0"}
    return xr.Dataset(data, {"altitude": Z, "altitude_in": Z}, attrs)


# --- nine columns --------------------------------------------------------------------


def test_bira__columns_units_and_signs(tmp_path):
    path = tgo.write_bira(level2(), tmp_path / "a.txt", "ch4")
    rows = [r for r in path.read_text().splitlines() if not r.startswith("#")]
    table = np.array([[float(x) for x in row.split()] for row in rows])
    assert table.shape == (4, len(COLUMNS)) == (4, 9)
    np.testing.assert_allclose(table[:, 0], Z)
    np.testing.assert_allclose(table[:, 1], [3e-4, -2e-4, np.nan, 1e-5], rtol=1e-6)
    air = level2().number_density.values
    np.testing.assert_allclose(table[:, 3], table[:, 1] * 1e-6 * air, rtol=1e-6)
    np.testing.assert_allclose(table[:, 5], 192.5)
    np.testing.assert_allclose(table[:, 8], 18.25)


def test_bira__round_trip_keeps_what_was_printed(tmp_path):
    path = tgo.write_bira(level2(), tmp_path / "a.txt", "ch4")
    read = tgo.read_bira(path)
    np.testing.assert_allclose(read.ch4_vmr, level2().ch4_vmr, rtol=1e-6)
    np.testing.assert_allclose(read.ch4_upper_limit, level2().ch4_upper_limit)
    assert read.ch4_upper_limit.attrs["sigma_level"] == 2.0
    assert (int(read.mars_year), int(read.converged)) == (34, 1)
    assert read.time.values == level2().time.values
    np.testing.assert_allclose(read.longitude, level2().longitude)
    again = tgo.write_bira(read, tmp_path / "b.txt", "ch4")
    assert rows_of(again) == rows_of(path)
    assert limits_of(again) == limits_of(path)


@pytest.mark.parametrize("form", ["bira", "harp"])
def test_what_nobody_measured_and_what_is_bad_comes_back_so(tmp_path, form):
    ds = level2(quality_flag=np.int32(64)).assign_attrs(simulated=1, setup_hash="a1")
    if form == "bira":
        back = tgo.read_bira(tgo.write_bira(ds, tmp_path / "a.txt", "ch4"))
        real = tgo.read_bira(tgo.write_bira(level2(), tmp_path / "b.txt", "ch4"))
    else:
        [back] = tgo.read_harp(tgo.write_harp(ds, tmp_path / "a.nc"))
        [real] = tgo.read_harp(tgo.write_harp(level2(), tmp_path / "b.nc"))
    assert back.attrs["simulated"] == 1
    assert back["quality_flag"].item() == 64
    assert back.attrs["setup_hash"] == "a1"
    assert "simulated" not in real.attrs
    assert "quality_flag" not in real


def rows_of(path):
    return [r for r in path.read_text().splitlines() if not r.startswith("#")]


def limits_of(path):
    return [r for r in path.read_text().splitlines() if "upper_limit" in r]


number = st.floats(-1e4, 1e4).map(lambda x: float(f"{x:.6e}"))


@settings(deadline=None, max_examples=40)
@given(data=st.data(), n=st.integers(1, 6), fill=st.sampled_from([None, -999.0]))
def test_bira__any_profile_round_trips(data, n, fill, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bira")
    z = np.arange(1.0, n + 1.0)
    air = tgo.reference_atmosphere(z).number_density.values
    vmr = np.array(data.draw(st.lists(number, min_size=n, max_size=n)))
    gone = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    # what others write for nothing is no value
    vmr = np.where(gone | np.isin(vmr, LIKELY_FILLS), np.nan, vmr) * 1e-6
    ds = level2().isel(altitude=[0] * n, altitude_in=[0] * n)
    ds = ds.assign_coords(altitude=z, altitude_in=z)
    ds = ds[["latitude", "longitude", "local_true_solar_time"]].assign(
        solar_longitude=("altitude", 0.01 + np.arange(n) / 7.0),
        co_vmr=("altitude", vmr),
        co_vmr_error=("altitude", np.abs(vmr)),
        number_density=("altitude", air),
    )
    one = tgo.write_bira(ds, folder / "a.txt", "co", fill_value=fill)
    read = tgo.read_bira(one)
    np.testing.assert_array_equal(np.isnan(read.co_vmr), np.isnan(vmr))
    two = tgo.write_bira(read, folder / "b.txt", "co", fill_value=fill)
    assert rows_of(two) == rows_of(one)


def test_bira__reads_plain_columns_of_others_and_maps_them(tmp_path):
    rows = [
        "altitude vmr err nd err ls lat lon lst",
        "12.0, -3.0, 6.0, -2.1e11, 4e11, 359.9, -45.1, 239.9, 18.1",
        "10.0, 55.0, 5.0, 4.6e12, 4e11, 0.1, -45.0, 240.0, 18.1",
    ]
    path = tmp_path / "20180421_134.txt"
    path.write_text("\n".join(rows), encoding="utf-8")
    ds = tgo.read_bira(path, "h2o", mars_year=34)
    assert ds.altitude.values.tolist() == [10.0, 12.0]
    np.testing.assert_allclose(ds.h2o_vmr, [55e-6, -3e-6])
    np.testing.assert_allclose(ds.longitude, [-120.0, -120.1])
    away = (float(ds.solar_longitude) + 180.0) % 360.0 - 180.0
    assert away == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(ds.solar_longitude_of_level, [0.1, 359.9])
    np.testing.assert_allclose(ds.number_density, [4.6e12 / 55e-6, 2.1e11 / 3e-6])
    assert ds.h2o_vmr.attrs["units"] == "1"
    grid = tgo.Grid(latitude=[-90, 0, 90], altitude=[5, 11, 20], mars_year=[34, 35])
    with pytest.raises(TgoError, match="no averaging kernel") as caught:
        tgo.grid_level2(ds, grid)
    assert caught.value.rule == "map.kernel"
    maps = tgo.grid_level2(ds, grid, without_kernel="prior_free")
    found = maps.h2o_mean.values[np.isfinite(maps.h2o_mean.values)]
    np.testing.assert_allclose(sorted(found), [-3e-6, 55e-6])


def test_bira__fill_values_are_said_never_guessed(tmp_path):
    row = "10.0 -999 -999 -999 -999 190 -45 120 18.1\n"
    good = "12.0 -3.0 6.0 -2.1e11 4e11 190 -45.1 120.1 18.1\n"
    path = tmp_path / "a.txt"
    path.write_text(row + good, encoding="utf-8")
    with pytest.raises(TgoError, match="fill value") as caught:
        tgo.read_bira(path, "h2o")
    assert (caught.value.rule, caught.value.record) == ("bira.fill", 0)
    ds = tgo.read_bira(path, "h2o", fill_value=-999.0)
    np.testing.assert_allclose(ds.h2o_vmr, [np.nan, -3e-6])
    out = tgo.write_bira(ds, tmp_path / "b.txt", "h2o", fill_value=-999.0)
    assert "-9.990000e+02" in rows_of(out)[0]
    np.testing.assert_allclose(tgo.read_bira(out).h2o_vmr, ds.h2o_vmr)
    with pytest.raises(OutputError, match="also a value"):
        tgo.write_bira(ds, tmp_path / "c.txt", "h2o", fill_value=-3.0)
    bare = tgo.write_bira(ds, tmp_path / "d.txt", "h2o", header=False)
    assert not bare.read_text().startswith("#")


@pytest.mark.parametrize(
    ("text", "rule", "record"),
    [
        ("", "bira.row", None),
        ("10 1 1 1\n", "bira.row", 0),
        ("10 x 1 1 1 1 1 1 1\n", "bira.row", 0),
        ("# gas = h2o\n10 5 1 4e11 4e10 190 -95 120 18\n", "bira.range", 1),
        ("10 5 1 4e11 4e10 190 nan 120 18\n", "bira.range", 0),
        ("10 5 1 4e11 4e10 190 -45 120 25\n", "bira.range", 0),
        ("10 5 1 inf 4e10 190 -45 120 18\n", "bira.fill", 0),
        ("10 5 1 4e11 4e10 190 -45 120 18\n" * 2, "bira.altitude", 1),
        # the density of the air, and one per m3
        ("10 5 1 8e16 4e10 190 -45 120 18\n", "bira.density", None),
        ("10 5 1 4e17 4e10 190 -45 120 18\n", "bira.density", None),
    ],
)
def test_bira__refuses(tmp_path, text, rule, record):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TgoError) as caught:
        tgo.read_bira(path, "h2o")
    assert (caught.value.rule, caught.value.record) == (rule, record)
    assert caught.value.path == str(path)


def test_bira__gas_and_place_are_needed(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("10 5 1 4e11 4e10 190 -45 120 18\n", encoding="utf-8")
    with pytest.raises(TgoError, match="name the gas"):
        tgo.read_bira(path)
    with pytest.raises(TgoError, match="not a readable"):
        tgo.read_bira(tmp_path / "none.txt", "h2o")
    with pytest.raises(OutputError, match="no profile of this gas"):
        tgo.write_bira(level2(), path, "co")
    with pytest.raises(OutputError, match="no latitude"):
        tgo.write_bira(level2().drop_vars("latitude"), path, "ch4")
    lost = level2(latitude=("altitude", np.array([60.0, np.nan, 60.0, 60.0])))
    with pytest.raises(OutputError, match="needs a place") as caught:
        tgo.write_bira(lost, path, "ch4")
    assert caught.value.record == 1
    short = path.with_name("short.txt")
    written = tgo.write_bira(level2(), path, "ch4").read_text().splitlines()
    short.write_text("\n".join(written[:-1]), encoding="utf-8")
    with pytest.raises(TgoError, match="4 upper limits for 3 levels"):
        tgo.read_bira(short)


# --- HARP ----------------------------------------------------------------------------


def test_harp__names_units_and_values():
    ds = tgo.to_harp(level2())
    sizes = {"time": 1, "vertical": 4, "vertical_in": 4, "independent_2": 2}
    assert dict(ds.sizes) == sizes
    units = {
        "CH4_volume_mixing_ratio": "ppv",
        "CH4_volume_mixing_ratio_apriori": "ppv",
        "CH4_volume_mixing_ratio_uncertainty": "ppv",
        "CH4_volume_mixing_ratio_uncertainty_random": "ppv",
        "CH4_volume_mixing_ratio_avk": "1",
        "CH4_volume_mixing_ratio_dfs": "1",
        "H2O_volume_mixing_ratio": "ppv",
        "altitude": "m",
        "pressure": "Pa",
        "temperature": "K",
        "number_density": "molec/m3",
        "latitude": "degree_north",
        "longitude": "degree_east",
        "datetime": "seconds since 2000-01-01",
    }
    assert units.items() <= {n: v.attrs["units"] for n, v in ds.items()}.items()
    np.testing.assert_array_equal(ds.CH4_volume_mixing_ratio[0], level2().ch4_vmr)
    np.testing.assert_allclose(ds.altitude[0], Z * 1e3)
    np.testing.assert_allclose(ds.number_density[0], level2().number_density * 1e6)
    assert ds.latitude.dims == ("time",)
    assert float(ds.latitude[0]) == 60.75
    assert float(ds.longitude[0]) == pytest.approx(-180.0)
    np.testing.assert_allclose(ds.longitude_of_level[0], level2().longitude)
    days = float(ds.datetime[0]) / 86400.0
    assert ds.attrs["datetime_start"] == days
    origin = np.datetime64("2000-01-01", "ns")
    assert days == pytest.approx(
        (level2().time.values - origin) / np.timedelta64(1, "D"), abs=1e-9
    )
    assert ds.attrs["Conventions"] == "HARP-1.0"
    assert ds.attrs["source_product"] == "urn:esa:psa:a:b:c::3.0"


def test_harp__what_it_does_not_know_is_listed():
    ds = tgo.to_harp(level2())
    outside = set(ds.attrs["names_outside_harp"].split())
    assert outside == {
        "CH4_volume_mixing_ratio_uncertainty_smoothing",
        "CH4_volume_mixing_ratio_upper_limit",
        "CH4_volume_mixing_ratio_detected",
        "latitude_of_level",
        "longitude_of_level",
        "local_true_solar_time",
        "local_true_solar_time_of_level",
        "solar_longitude",
        "mars_year",
        "reduced_chi2",
        "retrieval_status",
    }
    limit = ds["CH4_volume_mixing_ratio_upper_limit"]
    assert limit.attrs["upper_limit_confidence"] == 2.0
    known = {gas for gas in GASES if follows_convention(f"{species(gas)}_density")}
    assert known == set()
    unknown = {
        g
        for g in GASES
        if not follows_convention(f"{species(g)}_volume_mixing_ratio_uncertainty")
    }
    isotopologues = {"ch4_13", "co2_636", "co2_628", "co2_627"}
    assert unknown == {"c2h4", "ph3", "h2s"} | isotopologues


def columns():
    time = np.datetime64("2018-06-14", "ns") + np.arange(3) * np.timedelta64(1, "s")
    return xr.Dataset(
        {
            "co_column": ("spectrum", [1e18, -2e16, np.nan]),
            "co_column_error": ("spectrum", [1e17, 1e17, np.nan]),
            "latitude": ("spectrum", [1.0, 2.0, 3.0]),
            "longitude": ("spectrum", [10.0, 11.0, 12.0]),
            "time": ("spectrum", time),
            "solar_longitude": 100.0,
        }
    )


def test_harp__columns_have_a_time_each():
    harp = tgo.to_harp(columns())
    assert dict(harp.sizes) == {"time": 3}
    np.testing.assert_allclose(
        harp.CO_column_number_density, [1e22, -2e20, np.nan], rtol=1e-14
    )
    assert harp.CO_column_number_density.attrs["units"] == "molec/m2"
    np.testing.assert_allclose(np.diff(harp.datetime), 1.0)
    np.testing.assert_allclose(harp.solar_longitude, 100.0)


def test_harp__file_is_netcdf3_with_a_square_kernel(tmp_path):
    path = tgo.write_harp(level2(), tmp_path / "harp.nc", gases=["ch4"])
    with netCDF4.Dataset(path) as file:
        assert file.data_model == "NETCDF3_CLASSIC"
        assert set(file.dimensions) == {"time", "vertical", "independent_2"}
        kernel = file["CH4_volume_mixing_ratio_avk"]
        assert kernel.dimensions == ("time", "vertical", "vertical")
        np.testing.assert_array_equal(kernel[0], np.arange(16.0).reshape(4, 4))
        file.set_auto_mask(False)
        vmr = file["CH4_volume_mixing_ratio"]
        np.testing.assert_array_equal(vmr[0], level2().ch4_vmr.values)
        assert "_FillValue" not in vmr.ncattrs()
        assert file.datetime_start == file.datetime_stop
        assert file["CH4_volume_mixing_ratio_detected"].dtype == np.int8
        assert not [n for n in file.variables if n.startswith("H2O")]


def test_harp__read_again(tmp_path):
    ds = level2(quality_flag=np.int32(64))
    [back] = tgo.read_harp(tgo.write_harp(ds, tmp_path / "harp.nc"))
    for name in ds.variables:
        if name != "altitude_in":
            np.testing.assert_allclose(
                back[name].values.astype(float), ds[name].values.astype(float),
                rtol=1e-14, err_msg=str(name),
            )  # fmt: skip
            assert back[name].dtype == ds[name].dtype
    assert back.ch4_upper_limit.attrs["sigma_level"] == 2.0
    for name in ("product_lid", "product_version"):
        assert back.attrs[name] == ds.attrs[name]
    grid = tgo.Grid(latitude=[-90, 0, 90])
    one, two = (tgo.grid_level2(x, grid, gases=["ch4"]) for x in (ds, [back]))
    np.testing.assert_allclose(one["ch4_mean"], two["ch4_mean"], rtol=1e-13)


def test_harp__columns_read_again(tmp_path):
    ds = columns()
    [back] = tgo.read_harp(tgo.write_harp(ds, tmp_path / "harp.nc"))
    for name in ds.variables:
        np.testing.assert_allclose(
            back[name].astype(float), ds[name].astype(float), rtol=1e-14
        )


def of_others(path, change=()):
    """Two profiles of unlike length, descending, in units that others use."""
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.createDimension("time", 2)
        file.createDimension("vertical", 3)
        data = {
            "datetime": ("time", "days since 2000-01-01", [6739.0, 6739.5]),
            "altitude": ("vertical", "km", [30.0, 20.0, 10.0]),
            "latitude": ("time", "degree_north", [5.0, -5.0]),
            "longitude": ("time", "degree_east", [350.0, 10.0]),
            "O3_volume_mixing_ratio": (
                "time vertical", "ppbv", [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]],
            ),
            "O3_volume_mixing_ratio_uncertainty": ("time vertical", "ppmv", 1e-3),
        } | dict(change)  # fmt: skip
        for name, (dims, units, values) in data.items():
            variable = file.createVariable(name, "f8", tuple(dims.split()))
            variable.units = units
            variable[:] = values
    return path


def test_harp__of_others(tmp_path):
    first, second = tgo.read_harp(of_others(tmp_path / "a.nc"))
    np.testing.assert_allclose(first.altitude, [10.0, 20.0, 30.0])
    np.testing.assert_allclose(first.o3_vmr, [1e-9, 2e-9, 3e-9])
    np.testing.assert_allclose(second.o3_vmr_error, 1e-9)
    np.testing.assert_allclose(first.longitude, -10.0)
    assert second.time.values == np.datetime64("2018-06-14T12:00:00")
    high = ("time vertical", "km", [[30.0, 20.0, 10.0], [20.0, 10.0, np.nan]])
    _, short = tgo.read_harp(of_others(tmp_path / "b.nc", {"altitude": high}))
    np.testing.assert_allclose(short.o3_vmr, [5e-9, 6e-9])


@pytest.mark.parametrize(
    ("field", "change", "rule"),
    [
        ("altitude", ("vertical", "feet", 1.0), "harp.units"),
        ("O3_volume_mixing_ratio", ("time vertical", "ng", 1.0), "harp.units"),
        ("datetime", ("time", "fortnights", 1.0), "harp.units"),
        ("datetime", ("time", "days since never", 1.0), "harp.units"),
    ],
)
def test_harp__unknown_units_are_refused(tmp_path, field, change, rule):
    path = of_others(tmp_path / "a.nc", {field: change})
    with pytest.raises(TgoError) as caught:
        tgo.read_harp(path)
    assert (caught.value.rule, caught.value.field) == (rule, field)
    assert caught.value.path == str(path)


def test_harp__nothing_to_read_is_refused(tmp_path):
    path = of_others(tmp_path / "a.nc")
    for gases, word in ((["co"], "no profile"), (["xe"], "unknown gas")):
        with pytest.raises(TgoError, match=word):
            tgo.read_harp(path, gases)
    with pytest.raises(TgoError, match="not a netCDF"):
        tgo.read_harp(tmp_path / "none.nc")


def test_harp__refuses(tmp_path):
    with pytest.raises(OutputError, match="unknown gas") as caught:
        tgo.to_harp(level2(), ["xe"])
    assert caught.value.value == "xe"
    with pytest.raises(OutputError, match="neither profile nor column"):
        tgo.to_harp(level2(), ["ch4", "co"])
    with pytest.raises(OutputError, match="no time"):
        tgo.to_harp(level2().drop_vars("time"))
    with pytest.raises(OutputError, match="folder"):
        tgo.write_harp(level2(), tmp_path / "none" / "a.nc")


# --- a real fit, and the command -----------------------------------------------------


@pytest.fixture(scope="module")
def fitted(level1):
    return tgo.retrieve(level1.isel(spectrum=slice(0, None, 6)))


def test_retrieved__both_forms_hold_the_fit(fitted, tmp_path):
    read = tgo.read_bira(tgo.write_bira(fitted, tmp_path / "a.txt", "ch4"))
    np.testing.assert_allclose(read.ch4_vmr, fitted.ch4_vmr, rtol=1e-6, atol=1e-19)
    np.testing.assert_allclose(
        read.ch4_upper_limit, fitted.ch4_upper_limit, rtol=1e-6, atol=1e-19
    )
    near_zero = np.abs(fitted.ch4_vmr) > 1e-15
    ratio = (read.number_density / fitted.number_density).where(near_zero)
    assert float(np.abs(ratio - 1.0).max()) < 1e-5
    harp = tgo.to_harp(fitted)
    np.testing.assert_array_equal(harp.CH4_volume_mixing_ratio[0], fitted.ch4_vmr)
    np.testing.assert_array_equal(
        harp.CH4_volume_mixing_ratio_avk[0], fitted.ch4_averaging_kernel
    )
    dof = float(fitted.ch4_degrees_of_freedom)
    assert float(harp.CH4_volume_mixing_ratio_dfs[0]) == dof


def test_command__writes_both_forms(tmp_path, capsys):
    source = tmp_path / "level2"
    source.mkdir()
    write_level2(level2(), source / "one.nc")
    out = tmp_path / "out"
    arguments = ["export", str(source), "--out", str(out)]
    assert main([*arguments, "--form", "bira", "--gas", "ch4", "--gas", "h2o"]) == 0
    assert {p.name for p in out.iterdir()} == {"one_ch4.txt", "one_h2o.txt"}
    assert main([*arguments, "--form", "harp"]) == 0
    assert (out / "one_harp.nc").is_file()
    assert "1 written, 0 failed" in capsys.readouterr().out
    assert main([*arguments, "--form", "bira", "--gas", "co"]) == 2
    assert "no profile of this gas" in capsys.readouterr().err
    assert main([*arguments, "--form", "bira"]) == 64
    assert main([*arguments, "--form", "hdf"]) == 64


def test_mean_direction__wraps_and_leaves_out():
    assert mean_direction([23.0, 2.0, np.nan], 24.0) == pytest.approx(0.5)
    assert np.isnan(mean_direction([np.nan], 360.0))
