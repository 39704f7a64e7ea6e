"""Adapters of climate models: generated files of every form, with known fields."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import tgo_spectra as tgo
from tgo_spectra.atmosphere import on_altitudes
from tgo_spectra.atmosphere.climatology.column import heights_of_pressure
from tgo_spectra.atmosphere.climatology.form import MOLAR_MASSES
from tgo_spectra.atmosphere.climatology.opening import FORMS
from tgo_spectra.atmosphere.climatology.weights import (
    axis_pick,
    latitude_pick,
    series_pick,
)
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import (
    BOLTZMANN,
    GAS_CONSTANT,
    GM_M3_S2,
    MEAN_RADIUS_KM,
    MOLAR_MASS,
    SURFACE_GRAVITY_M_S2,
)

LAT = np.array([60.0, 20.0, -20.0, -60.0])
LON = np.array([-180.0, -90.0, 0.0, 90.0])
ISOTHERMAL = 190.0


def temperature(ls, lat, lon, hour, level):
    """K; linear in everything, so that interpolation is exact."""
    return 180.0 + 0.05 * ls + 0.1 * lat + 0.02 * lon + 0.5 * hour - 2.0 * level


def log_pressure(ls, lat, lon, hour, height):
    """Pa; its logarithm is linear; height in km."""
    return 6.4 + 1e-4 * ls + 1e-3 * lat + 2e-4 * lon + 1e-3 * hour - height / 9.5


def grid(*axes):
    return np.meshgrid(*axes, indexing="ij")


def mcd_file(folder, name="gcm_so_evening_MY35_LS_90-180_Ls.nc", start=92.5, **units):
    ls = start + 5.0 * np.arange(4)
    z = np.array([-5e3, 0.0, 20e3, 40e3, 80e3])
    a, k, b, c = grid(ls, np.arange(z.size), LAT, np.append(LON, 180.0))
    t = temperature(a, b, np.where(c == 180.0, -180.0, c), 0.0, k)
    p = np.exp(log_pressure(a, b, np.where(c == 180.0, -180.0, c), 0.0, 1e-3 * z[k]))
    air = p / (BOLTZMANN * t) * 1e-6
    hidden = k == 0
    dims = ("Time", "altitude", "latitude", "longitude")
    data = {
        "pressure": np.where(hidden, 1e20, p),
        "temp": np.where(hidden, 1e20, t),
        "num_co2": np.where(hidden, 1e20, 0.95 * air),
        "num_h2o_vap": np.where(hidden, 1e20, (1e-4 + 1e-6 * b) * air),
    }
    ds = xr.Dataset(
        {key: (dims, v) for key, v in data.items()},
        {
            "Time": ls,
            "altitude": ("altitude", z, {"units": "m"}),
            "latitude": LAT,
            "longitude": np.append(LON, 180.0),
        },
    )
    for key, unit in units.items():
        ds[key].attrs["units"] = unit
    path = folder / name
    ds.to_netcdf(path, engine="netcdf4")
    return path


def steps(n_sols=6, per_sol=4, first=3000.0):
    return first + np.arange(n_sols * per_sol) / per_sol


def openmars_file(folder, name="openmars.nc", lat=LAT, year=28, ls0=100.0, **units):
    sol = steps()
    ls = ls0 + 0.5 * (sol - sol[0])
    sigma = np.array([0.9995, 0.5, 0.05, 0.001, 5e-5])
    a, k, b, c = grid(sol, np.arange(sigma.size), lat, LON)
    hour = 24.0 * (a - np.floor(a))
    season = ls0 + 0.5 * (a - sol[0])
    # in hours at the prime meridian: linear within a sol
    t = 180.0 + 0.05 * season + 0.1 * b + 0.02 * c + 0.5 * hour - 2.0 * k
    x, y, v = grid(sol, lat, LON)
    ps = np.exp(6.4 + 1e-4 * (ls0 + 0.5 * (x - sol[0])) + 1e-3 * y + 2e-4 * v)
    ds = xr.Dataset(
        {
            "temp": (("time", "lev", "lat", "lon"), t),
            "ps": (("time", "lat", "lon"), ps),
            "Ls": ("time", ls),
            "MY": ("time", np.full(sol.size, float(year))),
        },
        {"time": sol, "lev": sigma, "lat": lat, "lon": LON},
    )
    for key in ds.variables:
        ds[key].attrs["UNITS"] = ""
    for key, unit in units.items():
        ds[key].attrs["units"] = unit
    path = folder / name
    ds.to_netcdf(path, engine="netcdf4")
    return path


def pcm_file(folder, long_name="pseudo-alt", pressure=False, mole=False):
    sol = steps(first=488.0)
    ls = 264.5 + 0.6 * (sol - sol[0])
    b_s = np.array([0.999, 0.4, 0.02, 0.0])
    a_s = np.array([0.0, 0.5, 1.0, 0.01])
    a, _, b, _ = grid(sol, b_s, LAT, LON)
    x, y, _ = grid(sol, LAT, LON)
    ps = 600.0 + y
    dims = ("Time", "altitude", "latitude", "longitude")
    ds = xr.Dataset(
        {
            "temp": (dims, np.full(a.shape, ISOTHERMAL)),
            "ps": (("Time", "latitude", "longitude"), ps + 0.0 * x),
            "aps": ("altitude", a_s, {"units": "Pa"}),
            "bps": ("altitude", b_s),
            "h2o_vap": (dims, 1e-4 + 1e-6 * b, {"units": "kg/kg"}),
            "co2": (dims, np.full(a.shape, 0.96), {"units": "kg/kg"}),
            "Ls": ("Time", np.mod(ls, 360.0), {"units": "deg"}),
            "phisinit": (
                ("latitude", "longitude"),
                1e3 * SURFACE_GRAVITY_M_S2 * (y[0] / 60.0),
            ),
        },
        {
            "Time": ("Time", sol, {"units": "days since 0000-00-0 00:00:00"}),
            "altitude": (
                "altitude",
                [0.0, 10.0, 30.0, 90.0],
                {"units": "km", "long_name": long_name},
            ),
            "latitude": ("latitude", LAT, {"units": "degrees_north"}),
            "longitude": ("longitude", LON, {"units": "degrees_east"}),
        },
    )
    if pressure:
        ds["pressure"] = (ds.aps + ds.bps * ds.ps).transpose(*dims)
        ds.pressure.attrs["units"] = "Pa"
        ds = ds.drop_vars(["aps", "bps"])
    if mole:
        ds["vmr_h2ovap"] = (dims, np.full(a.shape, 2.5e-4), {"units": "mol/mol"})
    path = folder / f"pcm {long_name}.nc"
    ds.to_netcdf(path, engine="netcdf4")
    return path


def emars_file(folder, top=0.1):
    sol = steps(first=3995.0)
    lon = np.array([3.0, 93.0, 183.0, 273.0])
    ak = np.array([top, 1.0, 1.0, 0.0])
    bk = np.array([0.0, 0.01, 0.4, 1.0])
    x, y, _ = grid(sol, LAT, lon)
    ds = xr.Dataset(
        {
            "T": (
                ("time", "pfull", "lat", "lon"),
                np.full((sol.size, 3, 4, 4), ISOTHERMAL),
                {"units": "K"},
            ),
            "U": (("time", "pfull", "latu", "lon"), np.zeros((sol.size, 3, 4, 4))),
            "ps": (("time", "lat", "lon"), 600.0 + 0.0 * x, {"units": "pascal"}),
            "ak": ("phalf", ak, {"units": "pascal"}),
            "bk": ("phalf", bk, {"units": "none"}),
            "Ls": ("time", 240.0 + 0.6 * (sol - sol[0]), {"units": "deg"}),
            "MY": ("time", np.full(sol.size, 28.0), {"units": "Martian year"}),
            "emars_sol": ("time", np.floor(sol), {"units": "Martian sol"}),
            "mars_hour": (
                "time",
                24.0 * (sol - np.floor(sol)),
                {"units": "Martian hour"},
            ),
            "Surface_geopotential": (
                ("lat", "lon"),
                1e3 * SURFACE_GRAVITY_M_S2 * (y[0] / 60.0),
                {"units": "m^2/s/s"},
            ),
        },
        {
            "time": ("time", 24.0 * (sol - sol[0]), {"units": "Martian hour"}),
            "pfull": ("pfull", [0.01, 1.0, 4.0], {"units": "mb"}),
            "lat": ("lat", LAT, {"units": "degree_N"}),
            "latu": ("latu", LAT),
            "lon": ("lon", lon, {"units": "degree_E"}),
        },
    )
    path = folder / f"emars {top}.nc"
    ds.to_netcdf(path, engine="netcdf4")
    return path


GEM_ROWS = [
    # Z, T, p hPa, n, ?, CO, CO2, H2O
    (120.0, 140.0, 1e-6, 5e10, 0.0, 900.0, 950000.0, 1.0),
    (60.0, 150.0, 2e-3, 9e13, 0.0, 800.0, 955000.0, 20.0),
    (0.0, 210.0, 6.1, 2e17, 0.0, 700.0, 960000.0, 100.0),
]


def gem_text_file(folder, rows=GEM_ROWS):
    lines = ["% GEM-Mars for one occultation", "% Ls 120"]
    lines += [" ".join(f"{x:g}" for x in row) for row in rows]
    path = folder / "gem.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def gem_web_file(folder, votable=True, factor=1.0):
    names = ["z", "p", "t", "nd", "co2", "co", "h2o", "o2", "o3"]
    rows = []
    for z, p, t in ((90.0, 0.05, 140.0), (40.0, 10.0, 160.0), (1.0, 600.0, 210.0)):
        density = factor * p / (BOLTZMANN * t)
        rows.append((z, p, t, density, 955000.0, 700.0, 100.0, 1500.0, 0.1))
    path = folder / ("gem.xml" if votable else "gem.csv")
    if votable:
        head = "".join(f'<FIELD ID="{n.upper()}" datatype="float"/>' for n in names)
        body = "".join(
            "<TR>" + "".join(f"<TD>{x:.9g}</TD>" for x in row) + "</TR>" for row in rows
        )
        text = (
            '<?xml version="1.0"?><VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.2">'
            f"<RESOURCE><TABLE>{head}<DATA><TABLEDATA>{body}</TABLEDATA></DATA>"
            "</TABLE></RESOURCE></VOTABLE>"
        )
    else:
        text = ",".join(names) + "\n"
        text += "\n".join(",".join(f"{x:.9g}" for x in row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def table_file(folder, reference="areoid", drop=0, hours=(0.0, 6.0, 12.0, 18.0)):
    z = np.array([0.0, 20.0, 40.0, 90.0])
    rows = []
    seasons = np.arange(0.0, 360.0, 30.0)
    for ls in seasons:
        for lat in LAT:
            for hour in hours:
                for k, height in enumerate(z):
                    t = temperature(ls, lat, 0.0, hour, k)
                    p = np.exp(log_pressure(ls, lat, 0.0, hour, height)) / 100.0
                    co = 7e-4 + 1e-6 * lat
                    rows.append(
                        f"{ls},{lat},{hour},{height},{p:.17g},{t:.17g},{co:.17g}"
                    )
    rng = np.random.default_rng(3)
    rows = [rows[i] for i in rng.permutation(len(rows))][drop:]
    head = "Ls[deg],lat[deg],lst[h],altitude[km],pressure[hPa],temperature[K],co_vmr[1]"
    start = [f"# altitude_reference = {reference}", "# mars_year = 34"]
    path = folder / "table.csv"
    path.write_text("\n".join([*start, head, *rows]), encoding="utf-8")
    return path


# --- every form: recognised, exact where the fields are linear -----------------------


def test_forms__each_is_recognised_and_only_once(tmp_path):
    made = {
        "mcd": mcd_file(tmp_path),
        "openmars": openmars_file(tmp_path),
        "pcm": pcm_file(tmp_path),
        "emars": emars_file(tmp_path),
        "gem_text": gem_text_file(tmp_path),
        "gem_web": gem_web_file(tmp_path),
        "table": table_file(tmp_path),
    }
    assert set(made) == set(FORMS)
    for name, path in made.items():
        ds = tgo.open_climatology(path)
        assert ds.attrs["climatology_form"] == name
        assert ds.attrs["source_file"] == path.name
        assert ds.temperature.attrs["units"] == "K"
        assert ds.pressure.attrs["units"] == "Pa"
        again = tgo.open_climatology(path, form=name)
        xr.testing.assert_identical(ds.load(), again.load())


def test_mcd__linear_fields_densities_and_missing_levels(tmp_path):
    ds = tgo.open_climatology(mcd_file(tmp_path))
    assert ds.attrs["mars_year"] == 35
    place = {"solar_longitude": 99.0, "latitude": 33.0, "longitude": 20.0}
    air = tgo.atmosphere_at(ds, **place, local_time=18.0)
    # the level at -5 km is below the surface and left out
    assert air.altitude.values.tolist() == [0.0, 20.0, 40.0, 80.0]
    k = np.arange(1, 5)
    np.testing.assert_allclose(
        air.temperature, temperature(99.0, 33.0, 20.0, 0.0, k), rtol=1e-12
    )
    np.testing.assert_allclose(
        air.pressure,
        np.exp(log_pressure(99.0, 33.0, 20.0, 0.0, air.altitude.values)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(air.co2_vmr, 0.95, rtol=1e-12)
    np.testing.assert_allclose(air.h2o_vmr, 1.33e-4, rtol=1e-12)
    ideal = air.pressure / (BOLTZMANN * air.temperature) * 1e-6
    np.testing.assert_allclose(air.number_density, ideal, rtol=1e-14)
    assert "left out" in air.attrs["climatology_notes"]
    assert "solar longitude 99" in air.attrs["source"]


@pytest.fixture(scope="module")
def mcd(tmp_path_factory):
    return tgo.open_climatology(mcd_file(tmp_path_factory.mktemp("mcd"))).load()


@settings(deadline=None, max_examples=40)
@given(
    ls=st.floats(92.5, 107.5), lat=st.floats(-60.0, 60.0), lon=st.floats(-180.0, 90.0)
)
def test_mcd__linear_fields_anywhere(mcd, ls, lat, lon):
    place = {"solar_longitude": ls, "latitude": lat, "longitude": lon}
    air = tgo.atmosphere_at(mcd, **place)
    turned = tgo.atmosphere_at(mcd, **(place | {"longitude": lon + 360.0}))
    k = np.arange(1, 5)
    np.testing.assert_allclose(
        air.temperature, temperature(ls, lat, lon, 0.0, k), rtol=1e-11
    )
    np.testing.assert_allclose(
        air.pressure,
        np.exp(log_pressure(ls, lat, lon, 0.0, air.altitude.values)),
        rtol=1e-11,
    )
    np.testing.assert_allclose(turned.temperature, air.temperature, rtol=1e-9)


def test_files_of_others__open_and_give_what_is_in_them(shared):
    folder = shared / "foreign" / "gcm_like"
    for name, levels in (("emars", 28), ("openmars", 35), ("pcm", 49)):
        ds = tgo.open_climatology(folder / f"{name}_amescap_like_small.nc")
        assert ds.attrs["climatology_form"] == name
        hour = 24.0 * (float(ds.sol[0]) % 1.0) + 20.0 / 15.0
        air = tgo.atmosphere_at(
            ds,
            solar_longitude=float(ds.season[0]) % 360.0,
            latitude=10.0,
            longitude=20.0,
            local_time=hour,
            anchor=(0.0, 600.0),
        )
        assert air.sizes["altitude"] == levels
        column = ds.isel(time=0).interp(latitude=10.0, longitude=20.0)
        found = np.sort(column.temperature.values)
        np.testing.assert_allclose(np.sort(air.temperature), found, rtol=1e-5)


def test_coordinates_of_other_grids__do_not_matter(tmp_path):
    """Edges of layers, grids of winds, layers of soil: with a coordinate or without."""
    for make, others in (
        (
            emars_file,
            {"phalf": [0.1, 1.0, 4.0, 7.0], "lonv": [0.0, 90.0, 180.0, 270.0]},
        ),
        (emars_file, {"phalf": [4.0, 3.0, 2.0, 1.0], "latu": LAT + 5.0}),
        (pcm_file, {"interlayer": np.arange(5.0), "subsurface_layers": [0.1, 0.2]}),
        (openmars_file, {"lev_edges": np.linspace(1.0, 0.0, 6), "soil": [1.0]}),
        (mcd_file, {"altitude_edges": np.arange(6.0), "bnds": [0, 1]}),
    ):
        own = make(tmp_path)
        with xr.open_dataset(own, decode_times=False) as raw:
            plain = raw.load()
        with tgo.open_climatology(own) as lazy:
            expected = lazy.load()
        path = tmp_path / f"gcm_so_evening_MY35_{len(list(tmp_path.iterdir()))}.nc"
        labelled = plain.assign_coords(others)
        for name, values in others.items():
            if name not in plain.dims:
                labelled[f"of_{name}"] = (name, np.zeros(len(values)))
        labelled.to_netcdf(path, engine="netcdf4")
        found = tgo.open_climatology(path)
        for name in expected.data_vars:
            np.testing.assert_array_equal(found[name], expected[name])
        assert not set(others) & set(found.variables)


def test_netcdf__is_read_when_asked(tmp_path):
    for make in (mcd_file, openmars_file, pcm_file, emars_file):
        ds = tgo.open_climatology(make(tmp_path))
        # steps of the season one by one, nothing in memory
        season = ds.temperature.dims.index(
            "time" if "time" in ds.dims else "solar_longitude"
        )
        assert set(ds.temperature.chunks[season]) == {1}
        ds.close()


def test_mcd__constant_of_the_conversion_is_k():
    # cm-3 from Pa and K: n = 7.2429e16 p / T
    per_cm3 = 1e-6 / BOLTZMANN
    assert per_cm3 == pytest.approx(7.2429e16, rel=1e-5)


def test_mcd__files_join_along_the_season(tmp_path):
    one = mcd_file(tmp_path)
    two = mcd_file(tmp_path, "gcm_so_evening_MY35_LS_112-132_Ls.nc", start=112.5)
    air = tgo.atmosphere_at(
        tgo.open_climatology([two, one]),
        solar_longitude=110.0, latitude=0.0, longitude=0.0, local_time=18.0,
    )  # fmt: skip
    np.testing.assert_allclose(
        air.temperature, temperature(110.0, 0.0, 0.0, 0.0, np.arange(1, 5)), rtol=1e-12
    )
    with pytest.raises(AtmosphereError, match="overlap"):
        tgo.open_climatology([one, one])
    other = mcd_file(tmp_path, "gcm_so_morning_MY35_LS_112-132_Ls.nc", start=112.5)
    with pytest.raises(AtmosphereError, match="different kinds"):
        tgo.open_climatology([one, other])


def test_openmars__sigma_season_and_hour(tmp_path):
    ds = tgo.open_climatology(openmars_file(tmp_path))
    assert ds.temperature.attrs["units_source"].startswith("form")
    # 15 h at 45 E is 12 h at the prime meridian: sols 3000.5, 3001.5, ...
    wanted = {"solar_longitude": 101.0, "longitude": 45.0, "latitude": -7.0}
    air = tgo.atmosphere_at(ds, **wanted, local_time=15.0, anchor=(0.0, 600.0))
    k = np.arange(5)
    expected = 180.0 + 0.05 * 101.0 - 0.7 + 0.9 + 6.0 - 2.0 * k
    np.testing.assert_allclose(air.temperature, expected, rtol=1e-10)
    ps = np.exp(6.4 + 1e-4 * 101.0 - 7e-3 + 9e-3)
    sigma = np.array([0.9995, 0.5, 0.05, 0.001, 5e-5])
    np.testing.assert_allclose(air.pressure, sigma * ps, rtol=1e-10)
    assert air.attrs["climatology_altitude"].startswith("hydrostatic from 600 Pa")
    assert "mars_year" in ds.coords


def test_openmars__year_is_needed_when_several_fit(tmp_path):
    whole = steps(n_sols=4, per_sol=2)
    ds = tgo.open_climatology(openmars_file(tmp_path)).load()
    ds = ds.isel(time=slice(0, whole.size)).assign_coords(
        sol=("time", whole), season=("time", np.linspace(360.0, 1200.0, whole.size))
    )
    place = {"latitude": 0.0, "longitude": 0.0, "local_time": 0.0}
    with pytest.raises(AtmosphereError, match=r"\[1, 2\]"):
        tgo.atmosphere_at(ds, solar_longitude=30.0, **place, anchor=(0.0, 600.0))
    with pytest.raises(AtmosphereError, match="Mars years"):
        tgo.atmosphere_at(
            ds, solar_longitude=30.0, mars_year=7, **place, anchor=(0.0, 600.0)
        )
    tgo.atmosphere_at(
        ds, solar_longitude=30.0, mars_year=2, **place, anchor=(0.0, 600.0)
    )


@pytest.mark.parametrize("pressure", [False, True])
def test_pcm__hybrid_levels_masses_and_topography(tmp_path, pressure):
    ds = tgo.open_climatology(pcm_file(tmp_path, pressure=pressure))
    assert ds.attrs["altitude_reference"] == "hydrostatic"
    air = tgo.atmosphere_at(
        ds, solar_longitude=266.0, latitude=30.0, longitude=10.0, local_time=4.0
    )
    ps = 630.0
    expected = np.array([0.999 * ps, 0.5 + 0.4 * ps, 1.0 + 0.02 * ps, 0.01])
    # the mean of ln p is not the ln of the mean: 1e-3 for 40 Pa between points
    np.testing.assert_allclose(air.pressure, expected, rtol=1e-3)
    ratio = MOLAR_MASS / MOLAR_MASSES["h2o"]
    np.testing.assert_allclose(air.h2o_vmr, (1e-4 + 3e-5) * ratio, rtol=1e-12)
    np.testing.assert_allclose(
        air.co2_vmr, 0.96 * MOLAR_MASS / MOLAR_MASSES["co2"], rtol=1e-12
    )
    assert "surface, 629.7" in air.attrs["climatology_altitude"]
    # isothermal from the surface at 0.5 km: closed form
    lowest = -GAS_CONSTANT * ISOTHERMAL / (1e-3 * MOLAR_MASS) * np.log(0.999) / 3.71
    assert float(air.altitude[0]) == pytest.approx(0.5 + 1e-3 * lowest, abs=2e-3)


def test_pcm__mole_fraction_preferred_and_real_altitudes(tmp_path):
    path = pcm_file(tmp_path, "altitude above areoid", mole=True)
    ds = tgo.open_climatology(path)
    air = tgo.atmosphere_at(
        ds, solar_longitude=266.0, latitude=30.0, longitude=10.0, local_time=4.0
    )
    np.testing.assert_allclose(air.h2o_vmr, 2.5e-4)
    assert air.altitude.values.tolist() == [0.0, 10.0, 30.0, 90.0]
    ds = tgo.open_climatology(pcm_file(tmp_path, "altitude above local surface"))
    air = tgo.atmosphere_at(
        ds, solar_longitude=266.0, latitude=30.0, longitude=10.0, local_time=4.0
    )
    np.testing.assert_allclose(air.altitude, np.array([0.0, 10.0, 30.0, 90.0]) + 0.5)
    with pytest.raises(AtmosphereError, match="count from the surface"):
        tgo.atmosphere_at(
            ds, solar_longitude=266.0, latitude=30.0, longitude=10.0, local_time=4.0,
            altitude_reference="areoid",
        )  # fmt: skip


def test_emars__layer_pressures_and_longitudes_beyond_180(tmp_path):
    ds = tgo.open_climatology(emars_file(tmp_path))
    edges = np.array([0.1, 1.0 + 6.0, 1.0 + 240.0, 600.0])
    expected = np.diff(edges) / np.diff(np.log(edges))
    for lon in (-1.0, 359.0, 100.0):
        air = tgo.atmosphere_at(
            ds, solar_longitude=241.0, latitude=30.0, longitude=lon, local_time=4.0
        )
        np.testing.assert_allclose(air.pressure, expected[::-1], rtol=1e-12)
        assert "600 Pa at 0.5 km" in air.attrs["climatology_altitude"]
    open_top = tgo.open_climatology(emars_file(tmp_path, top=0.0))
    air = tgo.atmosphere_at(
        open_top, solar_longitude=241.0, latitude=0.0, longitude=0.0, local_time=4.0
    )
    assert air.sizes["altitude"] == 2


def test_gem_text__unknown_stays_unknown(tmp_path):
    path = gem_text_file(tmp_path)
    ds = tgo.open_climatology(path)
    assert ds.CO.attrs["units"] == "unknown"
    assert "co_vmr" not in ds
    with pytest.raises(AtmosphereError, match="altitude_reference") as caught:
        tgo.atmosphere_at(ds)
    assert caught.value.rule == "climatology.altitude_reference"
    air = tgo.atmosphere_at(ds, altitude_reference="areoid", latitude=10.0)
    assert air.altitude.values.tolist() == [0.0, 60.0, 120.0]
    np.testing.assert_allclose(air.pressure, [610.0, 0.2, 1e-4])
    assert [v for v in air.data_vars if str(v).endswith("_vmr")] == []
    assert "unit unknown: n, CO, CO2, H2O" in air.attrs["climatology_notes"]
    assert "does not depend on latitude" in air.attrs["climatology_notes"]
    stated = {"CO": "ppm", "CO2": "ppm", "H2O": "ppm"}
    ds = tgo.open_climatology(path, units=stated)
    air = tgo.atmosphere_at(ds, altitude_reference="surface", surface_altitude_km=-2.0)
    np.testing.assert_allclose(air.co_vmr, [7e-4, 8e-4, 9e-4])
    assert air.altitude.values.tolist() == [-2.0, 58.0, 118.0]
    assert ds.co_vmr.attrs["units_source"] == "caller"


@pytest.mark.parametrize("votable", [True, False])
def test_gem_web__inferred_units_are_checked(tmp_path, votable):
    ds = tgo.open_climatology(gem_web_file(tmp_path, votable))
    air = tgo.atmosphere_at(ds, altitude_reference="areoid")
    np.testing.assert_allclose(air.pressure, [600.0, 10.0, 0.05])
    np.testing.assert_allclose(air.co_vmr, 7e-4)
    assert "inferred" in ds.pressure.attrs["units_source"]
    bad = gem_web_file(tmp_path, votable, factor=1e-6)
    with pytest.raises(AtmosphereError, match="nd k T / p") as caught:
        tgo.open_climatology(bad)
    assert caught.value.field == "nd"
    assert caught.value.value == pytest.approx(1e-6, rel=1e-5)


def test_table__rows_in_any_order_all_axes(tmp_path):
    ds = tgo.open_climatology(table_file(tmp_path))
    air = tgo.atmosphere_at(
        ds, solar_longitude=77.0, latitude=-13.0, local_time=7.5, longitude=44.0
    )
    k = np.arange(4)
    np.testing.assert_allclose(
        air.temperature, temperature(77.0, -13.0, 0.0, 7.5, k), rtol=1e-12
    )
    np.testing.assert_allclose(
        air.pressure,
        np.exp(log_pressure(77.0, -13.0, 0.0, 7.5, air.altitude.values)),
        rtol=1e-12,
    )
    np.testing.assert_allclose(air.co_vmr, 7e-4 - 13e-6, rtol=1e-12)
    assert air.attrs["climatology_mars_year"] == 34
    nearest = tgo.atmosphere_at(
        ds, solar_longitude=77.0, latitude=-13.0, local_time=7.5, method="nearest"
    )
    np.testing.assert_allclose(
        nearest.temperature, temperature(90.0, -20.0, 0.0, 6.0, k), rtol=1e-12
    )


def test_table__seasons_and_hours_are_circular(tmp_path):
    ds = tgo.open_climatology(table_file(tmp_path))
    k = np.arange(4)

    def at(ls, hour):
        return temperature(ls, 20.0, 0.0, hour, k)

    air = tgo.atmosphere_at(ds, solar_longitude=352.5, latitude=20.0, local_time=21.0)
    corners = [(330.0, 18.0, 0.125), (330.0, 0.0, 0.125), (0.0, 18.0, 0.375)]
    expected = sum(w * at(ls, h) for ls, h, w in [*corners, (0.0, 0.0, 0.375)])
    np.testing.assert_allclose(air.temperature, expected, rtol=1e-12)
    same = tgo.atmosphere_at(ds, solar_longitude=-7.5, latitude=20.0, local_time=-3.0)
    np.testing.assert_allclose(same.temperature, air.temperature, rtol=1e-12)


def test_table__netcdf_with_times_becomes_seasons(tmp_path):
    times = np.array(["2018-05-01", "2018-09-01", "2019-01-01"], dtype="datetime64[ns]")
    z = np.array([0.0, 50.0, 100.0])
    t = 150.0 + 10.0 * np.arange(3)[:, None] + 0.0 * z
    ds = xr.Dataset(
        {
            "temperature": (("time", "altitude"), t, {"units": "K"}),
            "pressure": ("altitude", [600.0, 3.0, 0.01], {"units": "Pa"}),
        },
        {"time": times, "altitude": ("altitude", z, {"units": "km"})},
        {"altitude_reference": "areoid"},
    )
    path = tmp_path / "times.nc"
    ds.to_netcdf(path, engine="netcdf4")
    read = tgo.open_climatology(path)
    ls = tgo.solar_longitude(times)
    np.testing.assert_allclose(read.solar_longitude, ls)
    air = tgo.atmosphere_at(read, solar_longitude=float(ls[1]))
    np.testing.assert_allclose(air.temperature, 160.0)


# --- heights, ends, records ----------------------------------------------------------


def closed_form(pressure, p0, z0, t, radius=MEAN_RADIUS_KM):
    """Altitude in an isothermal atmosphere with g = GM / r^2, km."""
    rise = GAS_CONSTANT * t / (1e-3 * MOLAR_MASS) * np.log(p0 / pressure)
    start = 1e3 * (radius + z0)
    return 1e-3 / (1.0 / start - rise / GM_M3_S2) - radius


def test_heights__isothermal_closed_form():
    p = np.array([610.0, 100.0, 1.0, 1e-4])
    for z0, p0 in ((0.0, 610.0), (1.5, 700.0), (25.0, 60.0)):
        z = heights_of_pressure(
            p, np.full(4, 180.0), anchor_altitude_km=z0, anchor_pressure_pa=p0,
            radius_km=MEAN_RADIUS_KM,
        )  # fmt: skip
        np.testing.assert_allclose(
            z, closed_form(p, p0, z0, 180.0), rtol=1e-10, atol=1e-9
        )


def test_heights__agree_with_the_reference_atmosphere():
    air = tgo.reference_atmosphere(
        np.arange(0.0, 120.0, 0.25), surface_pressure_pa=610.0
    )
    z = heights_of_pressure(
        air.pressure.values, air.temperature.values, anchor_altitude_km=0.0,
        anchor_pressure_pa=610.0, radius_km=MEAN_RADIUS_KM,
    )  # fmt: skip
    np.testing.assert_allclose(z, air.altitude, atol=1e-3)


@settings(deadline=None)
@given(
    t=st.lists(st.floats(110.0, 280.0), min_size=6, max_size=6),
    level=st.integers(0, 5),
    radius=st.floats(3370.0, 3400.0),
)
def test_heights__do_not_depend_on_the_anchor(t, level, radius):
    p = 600.0 * np.exp(-np.arange(6.0))
    z = heights_of_pressure(
        p, t, anchor_altitude_km=0.3, anchor_pressure_pa=600.0, radius_km=radius
    )
    again = heights_of_pressure(
        p, t, anchor_altitude_km=float(z[level]), anchor_pressure_pa=float(p[level]),
        radius_km=radius,
    )  # fmt: skip
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(again, z, atol=1e-7)


def test_levels__beyond_the_model_need_a_rule(tmp_path):
    ds = tgo.open_climatology(table_file(tmp_path))
    place = {"solar_longitude": 77.0, "latitude": 0.0, "local_time": 6.0}
    with pytest.raises(AtmosphereError, match="ends at 90") as caught:
        tgo.atmosphere_at(ds, **place, altitude_km=[10.0, 100.0])
    assert (caught.value.rule, caught.value.value) == ("climatology.above_top", 100.0)
    with pytest.raises(AtmosphereError, match="ends at 0"):
        tgo.atmosphere_at(ds, **place, altitude_km=[-2.0, 50.0])
    with pytest.raises(AtmosphereError, match=r"5\.0 km below"):
        tgo.atmosphere_at(
            ds, **place, altitude_km=[-20.0, 50.0], below_bottom="isothermal"
        )
    with pytest.raises(AtmosphereError, match="needs altitude_km"):
        tgo.atmosphere_at(ds, **place, above_top="isothermal")
    air = tgo.atmosphere_at(
        ds, **place, altitude_km=[-2.0, 50.0, 120.0], above_top="isothermal",
        below_bottom="isothermal",
    )  # fmt: skip
    assert air.attrs["extended_above_km"] == 90.0
    assert air.attrs["climatology_top_km"] == 90.0
    own = tgo.atmosphere_at(ds, **place)
    assert float(air.temperature[-1]) == pytest.approx(float(own.temperature[-1]))


def test_poles__the_last_row_stands_for_them(tmp_path):
    lat = np.array([82.5, 49.5, 16.5, -16.5, -49.5, -82.5])
    ds = tgo.open_climatology(openmars_file(tmp_path, lat=lat))
    place = {"solar_longitude": 101.0, "longitude": 0.0, "local_time": 12.0}
    air = tgo.atmosphere_at(ds, latitude=88.0, **place, anchor=(0.0, 600.0))
    last = tgo.atmosphere_at(ds, latitude=82.5, **place, anchor=(0.0, 600.0))
    np.testing.assert_allclose(air.temperature, last.temperature)
    assert "row: that of 82.5 degree" in air.attrs["climatology_notes"]
    assert "climatology_notes" not in last.attrs
    regional = tgo.open_climatology(
        openmars_file(tmp_path, "regional.nc", lat=lat[2:4])
    )
    with pytest.raises(AtmosphereError, match="outside the latitude"):
        tgo.atmosphere_at(regional, latitude=88.0, **place, anchor=(0.0, 600.0))


def test_poles__a_row_far_from_them_does_not_stand_for_them():
    coarse, edge = np.array([75.0, 45.0, 15.0, -15.0, -80.0]), np.array([80.0, 40.0])
    for axis, wanted in ((coarse, 76.0), (coarse, 90.0), (edge - 0.1, 85.0)):
        with pytest.raises(AtmosphereError, match="outside the latitude"):
            latitude_pick(axis, wanted)
    assert latitude_pick(edge, 85.0) == (([0], [1.0], False), True)
    assert latitude_pick(coarse, -90.0)[1]


# --- weights -------------------------------------------------------------------------


@settings(deadline=None)
@given(
    values=st.lists(st.integers(-300, 300), min_size=2, max_size=8, unique=True),
    share=st.floats(0.0, 1.0),
)
def test_axis__linear_is_exact_in_any_order(values, share):
    axis = np.array(values, dtype=float)
    wanted = float(axis.min() + share * (axis.max() - axis.min()))
    pick = axis_pick(axis, wanted, name="x")
    assert pick.weights.sum() == pytest.approx(1.0)
    assert (pick.weights > 0).all()
    assert pick.weights @ axis[pick.points] == pytest.approx(wanted, abs=1e-9)


@settings(deadline=None)
@given(
    start=st.floats(-360.0, 360.0), n=st.integers(3, 12), wanted=st.floats(-720, 720)
)
def test_axis__circle_is_exact_as_a_direction(start, n, wanted):
    axis = start + 360.0 / n * np.arange(n)
    pick = axis_pick(axis, wanted, name="longitude", period=360.0)
    assert pick.weights.sum() == pytest.approx(1.0)
    away = np.mod(axis[pick.points] - wanted + 180.0, 360.0) - 180.0
    assert pick.weights @ away == pytest.approx(0.0, abs=1e-6)
    one = axis_pick(axis, wanted, name="longitude", period=360.0, nearest=True)
    least = np.abs(np.mod(axis - wanted + 180.0, 360.0) - 180.0).min()
    far = np.mod(axis[one.points[0]] - wanted + 180.0, 360.0) - 180.0
    assert abs(far) == pytest.approx(least, abs=1e-6)


@settings(deadline=None)
@given(hour=st.floats(0.0, 23.9), day=st.integers(1, 8), part=st.floats(0.0, 1.0))
def test_series__hour_and_season_are_met(hour, day, part):
    sol = steps(n_sols=12, per_sol=12)
    season = 100.0 + 0.5 * (sol - sol[0])
    wanted = 100.0 + 0.5 * (day + part)
    pick = series_pick(sol, season, hour=hour, wanted=wanted, mars_year=None)
    assert pick.weights.sum() == pytest.approx(1.0)
    # of a field that is linear in sols, and of one that repeats every sol
    assert pick.weights @ season[pick.points] == pytest.approx(wanted, abs=1e-8)
    found = 24.0 * np.mod(sol[pick.points], 1.0)
    away = np.mod(found - hour + 12.0, 24.0) - 12.0
    assert pick.weights @ away == pytest.approx(0.0, abs=1e-6)


def test_series__a_whole_year_is_circular():
    sol = steps(n_sols=668, per_sol=2)
    season = 0.3 + 359.4 * (sol - sol[0]) / 667.5
    pick = series_pick(sol, season, hour=0.0, wanted=359.9, mars_year=None)
    assert pick.wrapped
    assert pick.weights.sum() == pytest.approx(1.0)
    half = season < 200.0
    with pytest.raises(AtmosphereError, match="outside the solar_longitude"):
        series_pick(sol[half], season[half], hour=0.0, wanted=300.0, mars_year=None)


def test_axis__of_one_season_does_not_go_round():
    ls = np.arange(182.5, 270.0, 5.0)
    with pytest.raises(AtmosphereError, match=r"182\.5\.\.267\.5"):
        axis_pick(ls, 181.0, name="solar_longitude", period=360.0)
    with pytest.raises(AtmosphereError, match="finite"):
        axis_pick(ls, np.nan, name="solar_longitude", period=360.0)
    with pytest.raises(AtmosphereError, match=r"-90\.\.90"):
        latitude_pick(LAT, 91.0)


# --- bad input: one error that names file, field and value ---------------------------


def test_errors__form(tmp_path):
    path = mcd_file(tmp_path)
    with pytest.raises(AtmosphereError, match="unknown form") as caught:
        tgo.open_climatology(path, form="marswrf")
    assert caught.value.value == "marswrf"
    both = xr.open_dataset(path)
    both["ps"] = (("Time", "latitude", "longitude"), np.ones((4, 4, 5)))
    both.to_netcdf(tmp_path / "both.nc", engine="netcdf4")
    both.close()
    with pytest.raises(AtmosphereError, match="several forms, mcd, pcm") as caught:
        tgo.open_climatology(tmp_path / "both.nc")
    assert "num_co2" in str(caught.value)
    xr.Dataset({"q": ("x", [1.0])}).to_netcdf(tmp_path / "q.nc", engine="netcdf4")
    with pytest.raises(AtmosphereError, match="fits none of") as caught:
        tgo.open_climatology(tmp_path / "q.nc")
    assert "variables: q" in str(caught.value)
    with pytest.raises(AtmosphereError, match="no such file"):
        tgo.open_climatology(tmp_path / "nothing.nc")
    (tmp_path / "broken.nc").write_bytes(b"CDF nonsense")
    with pytest.raises(AtmosphereError, match="not a readable netCDF"):
        tgo.open_climatology(tmp_path / "broken.nc")
    (tmp_path / "broken.xml").write_text("<VOTABLE>", encoding="utf-8")
    with pytest.raises(AtmosphereError, match="VOTable"):
        tgo.open_climatology(tmp_path / "broken.xml")
    with pytest.raises(AtmosphereError, match="no file"):
        tgo.open_climatology([])


@pytest.mark.parametrize(
    ("make", "units", "field"),
    [
        (openmars_file, {"temp": "degC"}, "temp"),
        (openmars_file, {"ps": "hPa"}, "ps"),
        (mcd_file, {"num_co2": "m-3"}, "num_co2"),
        (mcd_file, {"pressure": "mbar"}, "pressure"),
        (mcd_file, {"longitude": "degrees_west"}, "longitude"),
    ],
)
def test_errors__units_that_contradict_the_form(tmp_path, make, units, field):
    path = make(tmp_path, **units)
    with pytest.raises(AtmosphereError) as caught:
        tgo.open_climatology(path)
    error = caught.value
    assert (error.rule, error.field) == ("climatology.units", field)
    assert error.value == units[field]
    assert error.path == str(path)


def test_errors__stated_units(tmp_path):
    path = gem_text_file(tmp_path)
    with pytest.raises(AtmosphereError, match="'hPa'"):
        tgo.open_climatology(path, units={"p": "Pa"})
    with pytest.raises(AtmosphereError, match="does not have"):
        tgo.open_climatology(path, units={"o3": "ppm"})
    with pytest.raises(AtmosphereError, match="not a unit of"):
        tgo.open_climatology(path, units={"CO": "bananas"})
    ds = tgo.open_climatology(path, units={"CO2": "1"})
    with pytest.raises(AtmosphereError, match=r"at most 1.*in ppm") as caught:
        tgo.atmosphere_at(ds, altitude_reference="areoid")
    assert caught.value.field == "co2_vmr"


def test_errors__missing_and_broken_fields(tmp_path):
    raw = xr.open_dataset(openmars_file(tmp_path), decode_times=False).load()
    raw.close()

    def written(ds):
        path = tmp_path / f"x{len(list(tmp_path.iterdir()))}.nc"
        ds.to_netcdf(path, engine="netcdf4")
        return path

    with pytest.raises(AtmosphereError, match=r"surface_pressure \(ps\)"):
        tgo.open_climatology(written(raw.drop_vars("ps")), form="openmars")
    with pytest.raises(AtmosphereError, match="lev"):
        tgo.open_climatology(written(raw.rename(lev="x")), form="openmars")
    back = raw.isel(time=slice(None, None, -1))
    with pytest.raises(AtmosphereError, match="must ascend") as caught:
        tgo.open_climatology(written(back))
    assert caught.value.record == 1
    far = raw.assign_coords(lat=LAT * 2)
    with pytest.raises(AtmosphereError, match=r"within -90\.\.90") as caught:
        tgo.open_climatology(written(far))
    assert caught.value.value == 120.0
    negative = raw.copy(deep=True)
    negative["ps"][:] = -1.0
    ds = tgo.open_climatology(written(negative))
    with pytest.raises(AtmosphereError, match="positive") as caught:
        tgo.atmosphere_at(
            ds, solar_longitude=101.0, latitude=0.0, longitude=0.0, local_time=12.0
        )
    assert caught.value.path == ds.attrs["source_file"]
    # metres taken for kilometres
    path = mcd_file(tmp_path, altitude="km")
    ds = tgo.open_climatology(path)
    with pytest.raises(AtmosphereError, match="with altitude in m:") as caught:
        tgo.atmosphere_at(ds, solar_longitude=99.0, latitude=0.0, longitude=0.0)
    assert (caught.value.rule, caught.value.value) == (
        "atmosphere.altitude_range",
        20e3,
    )


def test_errors__places(tmp_path):
    ds = tgo.open_climatology(mcd_file(tmp_path))
    place = {"solar_longitude": 99.0, "latitude": 0.0, "longitude": 0.0}
    for name in place:
        fewer = {k: v for k, v in place.items() if k != name}
        with pytest.raises(AtmosphereError, match=f"depends on {name}") as caught:
            tgo.atmosphere_at(ds, **fewer)
        assert caught.value.path.startswith("gcm_so")
    with pytest.raises(AtmosphereError, match="outside the solar_longitude"):
        tgo.atmosphere_at(ds, **(place | {"solar_longitude": 80.0}))
    with pytest.raises(AtmosphereError, match="evening terminator"):
        tgo.atmosphere_at(ds, **place, local_time=6.0)
    with pytest.raises(AtmosphereError, match=r"Mars years \[35\]"):
        tgo.atmosphere_at(ds, **place, mars_year=34)
    with pytest.raises(AtmosphereError, match="linear or nearest"):
        tgo.atmosphere_at(ds, **place, method="cubic")
    series = tgo.open_climatology(openmars_file(tmp_path))
    with pytest.raises(AtmosphereError, match="depends on local_time"):
        tgo.atmosphere_at(series, **place)
    with pytest.raises(AtmosphereError, match="surface_altitude_km"):
        tgo.atmosphere_at(series, **(place | {"solar_longitude": 101.0}), local_time=12)
    with pytest.raises(AtmosphereError, match="above the top"):
        tgo.atmosphere_at(
            series, **(place | {"solar_longitude": 101.0}), local_time=12,
            anchor=(0.0, 1e-9),
        )  # fmt: skip


def test_errors__tables(tmp_path):
    with pytest.raises(AtmosphereError, match="3 levels at one place, 4") as caught:
        tgo.open_climatology(table_file(tmp_path, drop=1))
    assert set(caught.value.value) == {"solar_longitude", "latitude", "local_time"}
    bare = tmp_path / "bare.csv"
    bare.write_text("altitude[km],pressure,temperature[K]\n0,600,200\n50,3,150\n")
    with pytest.raises(AtmosphereError, match="no unit") as caught:
        tgo.open_climatology(bare)
    assert caught.value.field == "pressure"
    read = tgo.open_climatology(bare, units={"pressure": "Pa"})
    assert read.pressure.values.tolist() == [600.0, 3.0]
    bad = gem_text_file(tmp_path, rows=[*GEM_ROWS, (1.0, 2.0)])
    with pytest.raises(AtmosphereError, match="expected 8 numbers") as caught:
        tgo.open_climatology(bad)
    assert caught.value.record == 5


# --- into a retrieval ----------------------------------------------------------------


def test_product__mean_geometry_and_a_retrieval_takes_it(tmp_path, level1):
    path = tmp_path / "like_reference.csv"
    air = tgo.reference_atmosphere(np.arange(-5.0, 131.0, 5.0))
    rows = ["lat[deg],altitude[km],pressure[Pa],temperature[K],h2o_vmr[1],co2_vmr[1]"]
    for lat in (-90.0, 90.0):
        rows += [
            f"{lat},{z},{p:.17g},{t:.17g},{water},{co2}"
            for z, p, t, water, co2 in zip(
                air.altitude.values.tolist(),
                air.pressure.values.tolist(),
                air.temperature.values.tolist(),
                air.h2o_vmr.values.tolist(),
                air.co2_vmr.values.tolist(),
                strict=True,
            )
        ]
    head = ["# altitude_reference = areoid", "# mars_year = 34"]
    path.write_text("\n".join([*head, *rows]), encoding="utf-8")
    climatology = tgo.open_climatology(path)
    profile = tgo.atmosphere_for_product(level1, climatology, mars_year=34)
    geometry = profile.attrs["climatology_geometry"]
    latitude = float(np.nanmean(level1.latitude.values))
    assert geometry.startswith("mean geometry of ")
    assert f"latitude {latitude:.3f}" in geometry
    assert "planet_radius_km" not in profile.attrs
    same = tgo.read_atmosphere(profile)
    xr.testing.assert_allclose(same, profile)
    thin = level1.isel(spectrum=slice(0, None, 4))
    plain = tgo.load_setup("so_134").replace(systematics={"in_fit": False})
    level2 = tgo.retrieve(thin, plain, profile)  # air as it was given
    assert bool(level2.converged)
    assert level2.attrs["atmosphere"] == profile.attrs["source"]
    assert level2.attrs["climatology_form"] == "table"
    assert level2.attrs["climatology_geometry"] == geometry
    # paths of light go on to 160 km
    assert level2.attrs["extended_above_km"] == 130.0
    assert level2.attrs["planet_radius_source"] != "atmosphere"
    expected = on_altitudes(air, level2.altitude.values)
    np.testing.assert_allclose(level2.temperature, expected.temperature, rtol=1e-9)
    np.testing.assert_allclose(level2.pressure, expected.pressure, rtol=1e-9)


def test_product__end_of_a_short_profile_is_in_the_result(level1):
    air = tgo.reference_atmosphere(np.arange(-5.0, 91.0, 5.0))
    level2 = tgo.retrieve(level1, atmosphere=air)
    assert level2.attrs["extended_above_km"] == 90.0
    assert float(level2.altitude[-1]) > 90.0
    assert not [key for key in level2.attrs if key.startswith("climatology_")]


def test_retrieve__refuses_a_whole_climatology(tmp_path, level1):
    climatology = tgo.open_climatology(table_file(tmp_path))
    with pytest.raises(AtmosphereError, match="atmosphere_for_product") as caught:
        tgo.retrieve(level1, atmosphere=climatology)
    assert (caught.value.rule, caught.value.value) == (
        "atmosphere.climatology", "table",
    )  # fmt: skip


def test_product__other_year_is_a_choice(tmp_path, level1):
    climatology = tgo.open_climatology(mcd_file(tmp_path))
    with pytest.raises(AtmosphereError, match=r"Mars years \[35\]"):
        tgo.atmosphere_for_product(level1, climatology)
    empty = level1.copy()
    empty["latitude"] = empty.latitude * np.nan
    with pytest.raises(AtmosphereError, match="no tangent point"):
        tgo.atmosphere_for_product(empty, climatology)
