"""Which atmospheres Mars cannot have, which are odd but legal; the doors they use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.atmosphere.check import ALLOWABLE
from tgo_spectra.atmosphere.climatology.choices import choose_climatology
from tgo_spectra.atmosphere.files import profile_from_text
from tgo_spectra.batch import resume
from tgo_spectra.errors import AtmosphereError, TgoWarning
from tgo_spectra.forward import limb
from tgo_spectra.mars import BOLTZMANN

Z = np.arange(0.0, 121.0, 10.0)
UNITS = {
    "altitude": "km",
    "pressure": "Pa",
    "temperature": "K",
    "number_density": "cm-3",
}


def air(z: Any = Z, p: Any = None, t: Any = None, **more: Any) -> xr.Dataset:
    """Profile with units; by default near balance at 190 K, 610 Pa at the areoid."""
    z = np.asarray(z, dtype=float)
    fields = {"pressure": 610.0 * np.exp(-z / 9.8) if p is None else p}
    fields |= {"temperature": 190.0 if t is None else t, **more}
    data = {
        name: ("altitude", np.broadcast_to(v, z.shape).astype(float), _units(name))
        for name, v in fields.items()
    }
    return xr.Dataset(data, {"altitude": ("altitude", z, {"units": "km"})})


def _units(name: str) -> dict[str, str]:
    return {"units": UNITS.get(name, "1")}


def changed(name: str, level: int, value: float, base: xr.Dataset | None = None) -> Any:
    """The profile with one value changed."""
    ds = (air() if base is None else base).copy(deep=True)
    values = ds[name].values.copy()
    values[level] = value
    array = (ds[name].dims, values, ds[name].attrs)
    return (
        ds.assign_coords({name: array})
        if name in ds.coords
        else ds.assign({name: array})
    )


def bare(ds: xr.Dataset) -> xr.Dataset:
    """The same numbers without units."""
    ds = ds.copy(deep=True)
    for name in ds.variables:
        ds[name].attrs.clear()
    return ds


P = air().pressure.values
ONE = "atmosphere."
IMPOSSIBLE: dict[str, tuple[Any, str, str]] = {
    # altitude
    "metres for kilometres": (bare(air(Z * 1e3, P)), "altitude_range", "altitude"),
    "first kilometre in metres": (
        air(np.arange(0.0, 1000.0, 100.0), 610.0 * np.exp(-np.arange(10) / 98.0)),
        "hydrostatic",
        "pressure",
    ),
    "distance from the centre": (air(Z + 3389.5, P), "altitude_range", "altitude"),
    "two thousand kilometres": (air([0.0, 2000.0], [610.0, 1e-9]), "altitude_range",
                                "altitude"),
    "below every crater": (air([-40.0, 0.0], [3e4, 610.0]), "altitude_range",
                           "altitude"),
    "levels twice": (changed("altitude", 4, 30.0), "altitude_monotonic", "altitude"),
    "levels in disorder": (changed("altitude", 4, 75.0), "altitude_monotonic",
                           "altitude"),
    "altitude missing": (changed("altitude", 12, np.nan), "altitude_monotonic",
                         "altitude"),
    "altitude infinite": (changed("altitude", 12, np.inf), "altitude_monotonic",
                          "altitude"),
    "one level": (air([0.0]), "levels", "altitude"),
    # pressure
    "hectopascal": (bare(air(p=P / 100.0)), "areoid_pressure", "pressure"),
    "bar": (air(p=P / 1e5), "areoid_pressure", "pressure"),
    "Earth": (air(p=P * 166.0), "areoid_pressure", "pressure"),
    "Earth on a mountain": (air(Z + 10.0, P * 50.0), "areoid_pressure", "pressure"),
    "a moon": (air(p=P * 1e-3), "areoid_pressure", "pressure"),
    "hectopascal from 40 km": (air(Z + 40.0, P * 0.0168 / 100.0), "areoid_pressure",
                               "pressure"),
    "below the areoid only": (air([-9.0, -1.0], [40.0, 17.0]), "areoid_pressure",
                              "pressure"),
    "pressure rises": (air(p=P[::-1]), "pressure_falls", "pressure"),
    "pressure rises once": (changed("pressure", 5, 99.0), "pressure_falls", "pressure"),
    "pressure constant": (air(p=600.0), "pressure_falls", "pressure"),
    "pressure zero": (changed("pressure", 12, 0.0), "positive", "pressure"),
    "pressure negative": (changed("pressure", 3, -1.0), "positive", "pressure"),
    "pressure filled": (changed("pressure", 0, 1e20), "areoid_pressure", "pressure"),
    "pressure no number": (changed("pressure", 3, np.nan), "positive", "pressure"),
    "scale height of 25 km": (air(p=610.0 * np.exp(-Z / 25.0)), "hydrostatic",
                              "pressure"),
    "scale height of 4 km": (air(p=610.0 * np.exp(-Z / 4.0)), "hydrostatic",
                             "pressure"),
    "logarithm of pressure": (air(p=np.log(P * 1e9)), "areoid_pressure", "pressure"),
    "a step of pressure": (
        air(p=np.append(P[:6], 0.2 * P[6:])), "hydrostatic", "pressure"
    ),
    # temperature
    "degree Celsius": (bare(air(t=-83.0)), "positive", "temperature"),
    "temperature missing": (changed("temperature", 7, np.nan), "positive",
                            "temperature"),
    "temperature filled": (changed("temperature", 7, 9.96921e36), "temperature_range",
                           "temperature"),
    "tenths of a kelvin": (air(t=1900.0), "temperature_range", "temperature"),
    "4 K": (air(t=4.0), "temperature_range", "temperature"),
    "ground of 400 K": (changed("temperature", 0, 400.0), "temperature_range",
                        "temperature"),
    "potential temperature": (
        air(t=190.0 * (610.0 / P) ** 0.25), "temperature_range", "temperature"
    ),
    # composition
    "parts per billion": (bare(air(ch4_vmr=5.0)), "mole_fraction", "ch4_vmr"),
    "parts per million of water": (bare(air(h2o_vmr=150.0)), "mole_fraction",
                                   "h2o_vmr"),
    "percent": (air(co2_vmr=95.5), "mole_fraction", "co2_vmr"),
    "filled below": (air(h2o_vmr=-999.0), "mole_fraction", "h2o_vmr"),
    "half of methane": (air(ch4_vmr=0.5), "trace_gas", "ch4_vmr"),
    "water for air": (air(h2o_vmr=0.4), "trace_gas", "h2o_vmr"),
    "more than all": (air(co2_vmr=0.96, n2_vmr=0.3), "mole_fraction_sum", "co2_vmr"),
    "mole fraction missing": (air(o3_vmr=np.nan), "positive", "o3_vmr"),
    "density per cubic metre": (
        air(number_density=P / (BOLTZMANN * 190.0)), "density", "number_density"
    ),
    # what is said of it
    "radius of the Earth": (
        air().assign_attrs(planet_radius_km=6371.0), "planet_radius",
        "planet_radius_km",
    ),
    "unknown unit": (
        air().assign(pressure=air().pressure.assign_attrs(units="psi")), "units",
        "pressure",
    ),
    "text for numbers": (
        air().assign(temperature=("altitude", ["cold"] * Z.size)), "numbers",
        "temperature",
    ),
    "no temperature": (air().drop_vars("temperature"), "missing", "temperature"),
    "pressure twice": (air().assign(p=air().pressure), "twice", "p"),
    "other levels": (
        air().drop_vars("temperature").assign(temperature=("level", [190.0, 180.0])),
        "dims",
        "temperature",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible__is_refused_by_name(name):
    given, rule, field = IMPOSSIBLE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AtmosphereError) as caught:
            tgo.read_atmosphere(given)
    assert (caught.value.rule, caught.value.field) == (ONE + rule, field)
    assert caught.value.value is not None


def test_corpus__has_its_size():
    assert len(IMPOSSIBLE) >= 40
    assert len(LEGAL) >= 20


def balanced(z: Any, t: Any, p0: float = 610.0, mass: Any = 43.4) -> xr.Dataset:
    """In balance at each place: trapezoids of the inverse scale height."""
    z = np.asarray(z, dtype=float)
    fine = np.union1d(np.linspace(min(z[0], 0.0), z[-1], 4001), np.append(z, 0.0))
    gravity = 42828.36e9 / (1e3 * (3389.5 + fine)) ** 2
    warm = np.interp(fine, z, np.broadcast_to(t, z.shape))
    heavy = np.interp(fine, z, np.broadcast_to(mass, z.shape))
    rate = heavy * gravity / (8.31446 * warm)
    fall = np.append(0.0, np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(fine)))
    fall -= fall[np.searchsorted(fine, 0.0)]
    return air(z, p0 * np.exp(-fall[np.searchsorted(fine, z)]), t)


HIGH = np.arange(0.0, 301.0, 10.0)
THERMOSPHERE = np.interp(HIGH, [0, 100, 130, 200, 300], [215, 130, 180, 350, 400])
FAR = np.arange(0.0, 1000.0, 20.0)
DENSITY = P / (BOLTZMANN * 190.0)
LEGAL: dict[str, xr.Dataset] = {
    "on Olympus Mons": balanced(np.arange(21.0, 120.0, 3.0), 180.0),
    "in Hellas": balanced(np.arange(-8.0, 90.0, 2.0), 200.0, 640.0),
    "Hellas at its deepest alone": balanced([-8.2, -7.0, -6.0], 230.0),
    "thin in winter": balanced(Z, 140.0, 400.0),
    "thick on a dusty summer": balanced(Z, 235.0, 1000.0),
    "from 60 km up": balanced(np.arange(60.0, 140.0, 2.0), 150.0),
    "from 100 km up": balanced(np.arange(100.0, 180.0, 2.0), 165.0),
    "descending": balanced(Z, 180.0).isel(altitude=slice(None, None, -1)),
    "thermosphere at solar maximum": balanced(
        HIGH, THERMOSPHERE, mass=np.interp(HIGH, [0, 110, 200, 300], [43.4, 43, 30, 18])
    ),
    "exosphere": balanced(
        FAR,
        np.interp(FAR, [0, 100, 200], [210, 140, 250]),
        mass=np.interp(FAR, [0, 110, 250, 600], [43.4, 43, 18, 4]),
    ),
    "cold mesopause": balanced(Z, np.interp(Z, [0, 90, 120], [200, 95, 75])),
    "warm ground": balanced(Z, np.interp(Z, [0, 10, 120], [295, 215, 140])),
    "inversion": balanced(
        np.arange(0.0, 60.0, 1.0),
        np.interp(np.arange(0.0, 60.0), [0, 5, 60], [150, 215, 145]),
    ),
    "two levels": balanced([0.0, 80.0], [214.0, 141.0]),
    "lowest hundred metres": air([0.0, 0.05, 0.1], [610.0, 607.2, 604.0], 215.0),
    "temperature 20 K off": balanced(Z, 180.0).assign(
        temperature=("altitude", np.full(Z.size, 200.0), {"units": "K"})
    ),
    "noisy temperature": balanced(Z, 180.0).assign(
        temperature=(
            "altitude", 180.0 + 25.0 * (-1.0) ** np.arange(Z.size), {"units": "K"}
        )
    ),
    "humid": air(h2o_vmr=1e-2 * P / 610),
    "retrieved, noisy around zero": air(ch4_vmr=2e-8 * (-1.0) ** np.arange(Z.size)),
    "pure carbon dioxide": air(co2_vmr=1.0),
    "composition of several sources": air(
        co2_vmr=0.957, n2_vmr=0.027, ar_vmr=0.0194, o2_vmr=0.0016, co_vmr=8e-4
    ),
    "isotopologue beside its molecule": air(co2_vmr=0.955, co2_636_vmr=0.0106),
    "atomic oxygen above": air(co2_vmr=0.95 - Z / 200.0, o_vmr=Z / 200.0),
    "polar night poor in carbon dioxide": air(co2_vmr=0.8),
    "density for pressure": air(number_density=1e-6 * DENSITY).drop_vars("pressure"),
    "one mole fraction for all levels": air().assign(
        co2_vmr=((), 0.95, {"units": "1"})
    ),
    "a time of its own": air().expand_dims("time"),
    "single precision": air().astype(np.float32),
    "degree Celsius, said": air().assign(
        temperature=("altitude", 0 * Z - 83.0, {"units": "degC"})
    ),
    "hectopascal, said": air(p=P / 100.0).assign(
        pressure=("altitude", P / 100.0, {"units": "hPa"})
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_odd_but_legal__is_accepted(name):
    found = tgo.read_atmosphere(LEGAL[name])
    assert (np.diff(found.altitude) > 0).all()
    assert (np.diff(found.pressure) < 0).all()
    assert "assumed_units" not in found.attrs
    # and again where a retrieval or a simulator takes it
    xr.testing.assert_identical(tgo.read_atmosphere(found), found)


@pytest.mark.parametrize(
    ("given", "units"),
    [
        (IMPOSSIBLE["metres for kilometres"][0], "altitude in m:"),
        (IMPOSSIBLE["distance from the centre"][0], "altitude in km from the centre"),
        (IMPOSSIBLE["hectopascal"][0], "pressure in hPa or mbar:"),
        (IMPOSSIBLE["bar"][0], "pressure in bar, or pressure in atm:"),
        (IMPOSSIBLE["degree Celsius"][0], "temperature in degree Celsius:"),
        (IMPOSSIBLE["parts per billion"][0], "ch4_vmr in ppm, or ch4_vmr in ppb, or"),
        (IMPOSSIBLE["percent"][0], "co2_vmr in percent"),
        (IMPOSSIBLE["density per cubic metre"][0], "number_density in m-3:"),
        (
            bare(air(Z * 1e3, P / 100.0)),
            "altitude in m and pressure in hPa or mbar: state the unit",
        ),
        # a unit that is stated, and wrong
        (
            air().assign(temperature=("altitude", 0 * Z + 190.0, {"units": "degC"})),
            "temperature in K:",
        ),
        (
            air().assign_coords(altitude=("altitude", Z, {"units": "m"})),
            "altitude in km:",
        ),
        (air().assign(pressure=("altitude", P, {"units": "mbar"})), "pressure in Pa:"),
    ],
)
def test_refusal__names_the_units_that_fit(given, units):
    with pytest.raises(AtmosphereError) as caught:
        tgo.read_atmosphere(given)
    assert f"it would be possible with {units}" in caught.value.message


def test_units_that_are_assumed__are_said_and_recorded():
    for ds, names in (
        (bare(air()), "altitude in km, pressure in Pa, temperature in K"),
        (bare(air(co_vmr=8e-4))[["pressure", "temperature", "co_vmr"]], "co_vmr in 1"),
        (air().assign(pressure=("altitude", P, {"units": " "})), "pressure in Pa"),
        (air().assign(pressure=("altitude", P, {"UNITS": ""})), "pressure in Pa"),
    ):
        with pytest.warns(TgoWarning, match=names):
            found = tgo.read_atmosphere(ds)
        assert names in found.attrs["assumed_units"]
        assert f"units assumed: {found.attrs['assumed_units']}" in found.attrs["source"]
        # carried on, and said once
        again = tgo.read_atmosphere(found)
        assert again.attrs == found.attrs
    named = air().rename(altitude="altitude_km", pressure="pressure_Pa")
    named = bare(named.rename(temperature="temperature_k"))
    assert "assumed_units" not in tgo.read_atmosphere(named).attrs


def test_allow__switches_rules_off_and_is_recorded():
    thick = air(p=P * 100.0)
    rule = "atmosphere.areoid_pressure"
    with pytest.raises(AtmosphereError, match=f"allow {rule}"):
        tgo.read_atmosphere(thick)
    found = tgo.read_atmosphere(thick, allow=[rule])
    assert found.attrs["allow"] == rule
    assert f"allowed: {rule}" in found.attrs["source"]
    assert tgo.read_atmosphere(found).attrs == found.attrs
    text = f"# allow = {rule}\naltitude[km],pressure[Pa],temperature[K]\n"
    tgo.read_atmosphere(text + "0,61000,215\n10,24000,200\n")
    for name, (given, short, _) in IMPOSSIBLE.items():
        if ONE + short in ALLOWABLE and name != "levels twice":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TgoWarning)
                tgo.read_atmosphere(given, allow=ALLOWABLE)
    for wrong in ("atmosphere.positive", "hydrostatic"):
        with pytest.raises(AtmosphereError) as caught:
            tgo.read_atmosphere(thick, allow=[wrong])
        assert (caught.value.rule, caught.value.value) == ("atmosphere.allow", wrong)


def test_allow__of_a_climatology(tmp_path):
    head = "# altitude_reference = areoid\naltitude[km],pressure[hPa],temperature[K]\n"
    rows = "0,610,215\n30,30,185\n60,1.3,160\n"
    file = tmp_path / "thick.csv"
    file.write_text(head + rows)
    with pytest.raises(AtmosphereError, match="allow atmosphere"):
        tgo.atmosphere_at(tgo.open_climatology(file))
    file.write_text("# allow = atmosphere.areoid_pressure\n" + head + rows)
    found = tgo.atmosphere_at(tgo.open_climatology(file))
    assert found.attrs["allow"] == "atmosphere.areoid_pressure"
    assert found.attrs["source"].endswith("; allowed: atmosphere.areoid_pressure")


def test_reference__is_held_to_the_same():
    for arguments, rule in (
        ({"surface_pressure_pa": 6.1}, "areoid_pressure"),
        ({"temperature_offset_k": -250.0}, "positive"),
        ({"temperature_offset_k": 200.0}, "temperature_range"),
        ({"planet_radius_km": 3389500.0}, "planet_radius"),
    ):
        with pytest.raises(AtmosphereError) as caught:
            tgo.reference_atmosphere(**arguments)
        assert caught.value.rule == ONE + rule


def _retrieve(_file, wrong):
    from tgo_spectra.retrieval.models.so.profile import retrieve_profile

    level1 = xr.Dataset(coords={"order": 134}, attrs={"channel": "so"})
    retrieve_profile(level1, tgo.load_setup("so_134"), wrong)


def _simulate(file, _wrong):
    tgo.simulate_product(file.parent / "out", order=134, atmosphere=file)


def _limb(file, _wrong):
    tgo.limb_transmittance(file, [20.0], None, {"h2o": "so_167_168"})


def _run(file, wrong):
    label = file.parent / "product.xml"
    label.write_text("")
    tgo.run(label, file.parent / "out", atmosphere=wrong, progress=False)


def _climatology(file, _wrong):
    tgo.atmosphere_at(tgo.open_climatology(file))


@pytest.mark.filterwarnings("ignore::tgo_spectra.errors.TgoWarning")
@pytest.mark.parametrize("door", [_retrieve, _simulate, _limb, _run, _climatology])
def test_doors__all_refuse_hectopascal(tmp_path, door):
    wrong = air(np.arange(0.0, 121.0, 5.0), h2o_vmr=1e-4)
    wrong["pressure"] = wrong.pressure.copy(data=wrong.pressure.values / 100.0)
    table = wrong.to_dataframe().reset_index()
    table = table.rename(columns=lambda name: f"{name}[{UNITS.get(name, '1')}]")
    file = tmp_path / "air.csv"
    file.write_text("# altitude_reference = areoid\n" + table.to_csv(index=False))
    with pytest.raises(AtmosphereError, match="in hPa") as caught:
        door(file, wrong)
    assert caught.value.rule == "atmosphere.areoid_pressure"
    assert str(caught.value.field).startswith("pressure")
    assert not (tmp_path / "out").exists()


# --- CSV as spreadsheets and people write it -----------------------------------------

HEAD = "altitude[km],pressure[Pa],temperature[K]"
ROWS = "0,610,215\n10,240,200\n"
SPREADSHEETS = {
    "byte-order mark": b"\xef\xbb\xbf" + f"{HEAD}\n{ROWS}".encode(),
    "mark before a remark": b"\xef\xbb\xbf" + f"# a = b\n{HEAD}\n{ROWS}".encode(),
    "quoted header": b'"altitude[km]","pressure[Pa]","temperature[K]"\n'
    + ROWS.encode(),
    "quoted cells": f'{HEAD}\n"0","610","215"\n"10","240","200"\n'.encode(),
    "all of it": b'\xef\xbb\xbf"altitude[km]","pressure[Pa]","temperature[K]"\r\n'
    b'"0","610","215"\r\n"10","240","200"\r\n',
    "CRLF": f"{HEAD}\n{ROWS}".replace("\n", "\r\n").encode(),
    "CR": f"{HEAD}\n{ROWS}".replace("\n", "\r").encode(),
    "semicolons": f"{HEAD}\n{ROWS}".replace(",", ";").encode(),
    "separator said": f"sep=;\n{HEAD}\n{ROWS}".replace(",", ";").encode(),
    "tabs": f"{HEAD}\n{ROWS}".replace(",", "\t").encode(),
    "blanks": f"{HEAD}\n{ROWS}".replace(",", " , ").encode(),
    "blanks before quotes": b'altitude[km], "pressure[Pa]", "temperature[K]"\n'
    + ROWS.encode(),
    "parentheses": f"{HEAD}\n{ROWS}".replace("[", " (").replace("]", ")").encode(),
    "blank lines at the end": f"{HEAD}\n{ROWS}\n\n  \n\n".encode(),
    "empty rows of a spreadsheet": f"{HEAD}\n,,\n{ROWS},,\n,,\n".encode(),
    "empty columns of a spreadsheet": f"{HEAD},,\n0,610,215,,\n10,240,200,,\n".encode(),
    "no break at the end": f"{HEAD}\n{ROWS}".rstrip().encode(),
    "upper case": f"{HEAD}\n{ROWS}".replace("pressure", "PRESSURE").encode(),
    "no-break blanks": f"{HEAD}\n{ROWS}".replace(",", ",\u00a0").encode(),
}


@pytest.mark.parametrize("name", SPREADSHEETS)
def test_csv__as_spreadsheets_save_it(tmp_path, name):
    path = tmp_path / "air.csv"
    path.write_bytes(SPREADSHEETS[name])
    found = tgo.read_atmosphere(path)
    assert found.altitude.values.tolist() == [0.0, 10.0]
    assert found.pressure.values.tolist() == [610.0, 240.0]
    assert found.temperature.values.tolist() == [215.0, 200.0]
    same = tgo.read_atmosphere(SPREADSHEETS[name].decode())
    assert same.pressure.equals(found.pressure)
    # the plain table among the climatologies is read alike
    open_table = tgo.open_climatology(path)
    assert open_table.pressure.values.tolist() == [610.0, 240.0]


def test_csv__remarks_in_quotes_and_with_empty_cells():
    for line in (
        "# planet_radius_km = 3391.5",
        '"# planet_radius_km = 3391.5"',
        "# planet_radius_km = 3391.5,,",
        '"# planet_radius_km = 3391.5",,',
        "#planet_radius_km=3391.5",
    ):
        found = tgo.read_atmosphere(f"{line}\n# source = Smith, 2020\n{HEAD}\n{ROWS}")
        assert found.attrs["planet_radius_km"] == 3391.5
        assert found.attrs["source"] == "Smith, 2020"


@pytest.mark.parametrize(
    ("data", "rule", "word"),
    [
        (f"{HEAD}\n{ROWS}".encode("utf-16"), "encoding", "UTF-16"),
        (f"{HEAD}\n{ROWS}".encode("utf-16-le"), "encoding", "UTF-16"),
        (f"{HEAD}\n{ROWS}# \u00b0".encode("latin-1"), "unreadable", "UTF-8"),
        (f"{HEAD}\n0,610,215\n10,24_0,200\n".encode(), "csv_row", "3 numbers"),
        (f"{HEAD}\n0,610,215\n10,,200\n".encode(), "csv_row", "3 numbers"),
        (f"{HEAD}\n0,610,215\n10,240,200,5\n".encode(), "csv_row", "3 numbers"),
        (f"{HEAD}\n0,610,215\n#N/A,240,200\n".encode(), "csv_row", "3 numbers"),
        (f'{HEAD}\n0,610,215\n10,"240,200\n'.encode(), "csv_row", "quotes"),
        (HEAD.replace(",", ";").encode() + b"\n0;610,5;215\n", "csv_row", "decimal"),
        (f"{HEAD},pressure[hPa]\n0,610,215,6\n".encode(), "csv_header", "same name"),
        (ROWS.encode(), "csv_header", "name"),
        (f"{HEAD}\n{ROWS}".replace(",", " ").encode(), "csv_header", "commas"),
        (f"# {HEAD}\n{ROWS}".encode(), "csv_header", "first line"),
        (f"{HEAD}\n,,\n".encode(), "csv_empty", "data"),
        (b"", "csv_empty", "data"),
    ],
)  # fmt: skip
def test_csv__that_cannot_be_meant_is_refused(tmp_path, data, rule, word):
    path = tmp_path / "air.csv"
    path.write_bytes(data)
    with pytest.raises(AtmosphereError, match=word) as caught:
        tgo.read_atmosphere(path)
    assert (caught.value.rule, caught.value.path) == (ONE + rule, str(path))


def test_home__is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "air.csv").write_text(f"# altitude_reference = areoid\n{HEAD}\n{ROWS}")
    air().to_netcdf(tmp_path / "air.nc", engine="netcdf4")
    assert tgo.read_atmosphere("~/air.csv").attrs["source"] == f"{tmp_path}/air.csv"
    assert tgo.read_atmosphere("~/air.nc").sizes["altitude"] == Z.size
    assert tgo.open_climatology("~/air.csv").attrs["source_file"] == "air.csv"
    assert tgo.open_climatology(["~/air.nc"]).attrs["source_file"] == "air.nc"
    assert choose_climatology("~/air.nc").paths == (str(tmp_path / "air.nc"),)
    label = tmp_path / "x.xml"
    label.write_text("")
    assert resume.resume_key(label, None, "~/air.nc") == (
        resume.resume_key(label, None, tmp_path / "air.nc")
    )
    with pytest.raises(AtmosphereError, match="no such file") as caught:
        tgo.read_atmosphere("~/absent.csv")
    assert caught.value.path == str(tmp_path / "absent.csv")


def test_resume_key__knows_units(tmp_path):
    label = tmp_path / "x.xml"
    label.write_text("")
    keys = set()
    for unit in ("Pa", "hPa"):
        ds = air()
        ds["pressure"].attrs["units"] = unit
        keys.add(resume.resume_key(label, None, ds))
    assert len(keys) == 2


def test_netcdf__is_known_by_its_first_bytes(tmp_path):
    path = tmp_path / "air.dat"
    air().to_netcdf(path, engine="netcdf4")
    assert tgo.read_atmosphere(path).sizes["altitude"] == Z.size
    with_time = air().assign(age=((), 3.0, {"units": "days"}))
    with_time.to_netcdf(tmp_path / "aged.nc", engine="netcdf4")
    assert tgo.read_atmosphere(tmp_path / "aged.nc").sizes["altitude"] == Z.size


def test_units__in_brackets_of_either_kind_become_attributes():
    found = profile_from_text("a [m],b (hPa),c,d []\n1,2,3,4\n5,6,7,8", None)
    units = [found[name].attrs.get("units") for name in "abcd"]
    assert units == ["m", "hPa", None, None]


# --- levels far apart -----------------------------------------------------------------


def test_limb__cross_sections_between_levels_that_are_far_apart():
    """A wing follows the pressure: by the levels alone it is several per cent off."""
    values = {
        "wavenumber": 3010.0, "intensity": 1e-20, "einstein_a": 1.0,
        "gamma_air": 0.07, "gamma_self": 0.1, "lower_state_energy": 100.0,
        "n_air": 0.7, "delta_air": -0.002, "isotopologue": 1, "molecule": 5,
    }  # fmt: skip
    lines = xr.Dataset({k: ("line", np.array([v])) for k, v in values.items()})

    def depths(step, **more):
        z = np.arange(0.0, 121.0, step)
        ds = air(z, 610.0 * np.exp(-z / 10.0), 180.0, co_vmr=1e-5)
        found = tgo.limb_transmittance(
            ds, [7.0, 20.0], [3009.5, 3010.3], {"co": (lines, "air")}, **more
        )
        return -np.log(found.transmittance.values), found

    fine, best = depths(0.5)
    assert best.attrs["cross_section_step_km"] == 0.5
    for step in (2.0, 7.5, 10.0, 20.0):
        coarse, found = depths(step, jacobian=True)
        assert np.abs(coarse / fine - 1.0).max() < 2e-3
        assert 0.9 < found.attrs["cross_section_step_km"] <= 1.0
        # optical depth is linear in the mole fraction, whose levels are the given ones
        slope = found.co_jacobian.sum("altitude").values * 1e-5
        np.testing.assert_allclose(-slope / np.exp(-coarse), coarse, rtol=1e-9)
        assert found.sizes["altitude"] == np.arange(0.0, 121.0, step).size
    assert limb.CROSS_SECTION_STEP_KM == 1.0
