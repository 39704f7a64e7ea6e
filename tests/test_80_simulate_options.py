"""Simulators: nothing impossible is simulated, nothing is replaced unasked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import simulate as simulators
from tgo_spectra.cli import main
from tgo_spectra.errors import OutputError, SetupError
from tgo_spectra.simulate import mir, nadir, simulate_level1, uvis
from tgo_spectra.simulate.options import mole_fraction, option_rows
from tgo_spectra.simulate.product import write_simulated
from tgo_spectra.simulate.scenario import Scenario, SoScenario

CLASSES = {
    "so": SoScenario,
    "nadir": nadir.NadirScenario,
    "uvis": uvis.UvisScenario,
    "mir": mir.MirScenario,
}
GASES = {
    "so": lambda value: {"vmr": {"ch4": value}},
    "nadir": lambda value: {"mole_fraction": {"co": value}},
    "uvis": lambda value: {"ozone": value},
    "mir": lambda value: {"mole_fraction": {"ch4": value}},
}


def numeric(cls):
    words = ("int", "float")
    other = {"vmr", "mole_fraction", "ozone"}
    return [
        item
        for item in dataclasses.fields(cls)
        if any(word in str(item.type) for word in words) and item.name not in other
    ]


CASES = [(kind, item.name) for kind, cls in CLASSES.items() for item in numeric(cls)]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_options__every_number_has_limits(kind, name):
    cls = CLASSES[kind]
    item = next(item for item in numeric(cls) if item.name == name)
    default = getattr(cls(), name)
    low, high = np.asarray(item.metadata["limits"], float).reshape(-1, 2)[0]

    def like(value):
        if "dict" in str(item.type):
            return {"ch4": value}
        if str(item.type).startswith("tuple"):
            n = len(default) if default else len(getattr(cls(), "orders", (1,) * 4))
            if name == "noisy_pixels":
                return ((value, value),)
            return (value, *(default or (1.0,) * n)[1:])
        return value

    for value in (np.nan, np.inf, -np.inf, "many", low - 1e-3 - abs(low), 2 * high + 1):
        with pytest.raises(SetupError) as caught:
            cls(**{name: like(value)})
        assert (caught.value.rule, caught.value.field) == ("simulate.option", name)
        assert name in str(caught.value)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    "value",
    [
        -1.0,
        -1e-12,
        1.5,
        np.nan,
        np.inf,
        "much",
        ([0.0, 50.0], [1e-9, -1e-9]),
        ([0.0, 50.0], [1e-9, np.nan]),
        ([0.0, 50.0], [1e-9, 2.0]),
        ([50.0, 0.0], [1e-9, 1e-9]),
        ([0.0, 50.0], [1e-9]),
        ([0.0, np.nan], [1e-9, 1e-9]),
    ],
)
def test_options__impossible_mole_fractions(kind, value):
    with pytest.raises(SetupError) as caught:
        CLASSES[kind](**GASES[kind](value))
    assert caught.value.rule == "simulate.profile"
    assert caught.value.field in ("ch4", "co", "o3")


def test_options__mole_fractions_together():
    half = ([0.0, 20.0, 40.0], [0.1, 0.6, 0.1])
    other = ([10.0, 20.0, 30.0], [0.0, 0.5, 0.0])
    with pytest.raises(SetupError, match="together") as caught:
        SoScenario(vmr={"ch4": half, "h2o": other})
    assert caught.value.value == pytest.approx(1.1)
    SoScenario(vmr={"ch4": 0.5, "h2o": 0.5})
    SoScenario(vmr={"ch4": 0.0, "h2o": ([5.0], [1.0])})


@pytest.mark.parametrize("kind", CLASSES)
def test_options__times_truths_and_unknown_ones(kind):
    cls = CLASSES[kind]
    names = {item.name for item in dataclasses.fields(cls)}
    for start in ("yesterday", "NaT", "2018-13-01", 12.5):
        if "start" in names:
            with pytest.raises(SetupError, match="must be a time"):
                cls(start=start)
    for noise in ("no", 2, None.__class__):
        with pytest.raises(SetupError, match="True or False"):
            cls(noise=noise)
    for seed in (1.5, -1, True + 0.5):
        with pytest.raises(SetupError) as caught:
            cls(seed=seed)
        assert caught.value.field == "seed"


@pytest.mark.parametrize("kind", CLASSES)
def test_options__are_rows_of_one_base(kind):
    cls = CLASSES[kind]
    assert issubclass(cls, Scenario)
    for name, _, default, row in option_rows(cls):
        assert row["text"].endswith("."), name
        assert f"    {name} : " in cls.__doc__
        assert f"``{default!r}``" in cls.__doc__
    record = cls(seed=3, noise=False).record()
    assert (record["option_seed"], record["option_noise"]) == (3, 0)


def test_options__unknown_ones_name_the_nearest():
    data = uvis.synthetic_ozone_cross_section()
    for call in (
        lambda: simulate_level1(longitudes=3.0),
        lambda: nadir.simulate_nadir_level1(ordr=190),
        lambda: uvis.simulate_uvis_level1(data, ozon=1e-7),
        lambda: mir.simulate_mir_product("nowhere", {}, snrs=3.0),
    ):
        with pytest.raises(SetupError, match="did you mean") as caught:
            call()
        assert caught.value.rule == "simulate.option"


@pytest.mark.parametrize("value", [-1.0, np.nan, 2e6])
def test_mir__impossible_factors(value):
    with pytest.raises(SetupError) as caught:
        mir.simulate_mir(mir.MirScenario(), None, {"ch4": value})
    assert caught.value.field == "factors"


def test_mole_fraction__between():
    found = mole_fraction("ch4", ([0.0, 10.0], [0.0, 1e-9]), np.array([-5.0, 5.0, 20]))
    np.testing.assert_allclose(found, [0.0, 5e-10, 1e-9])


@pytest.mark.parametrize("kind", CLASSES)
def test_options__negative_ones_when_asked(kind):
    drawn = ([0.0, 50.0], [3e-9, -1e-9])
    CLASSES[kind](negative=True, **GASES[kind](drawn))
    with pytest.raises(SetupError, match="negative=True"):
        CLASSES[kind](**GASES[kind](drawn))


# nothing is replaced unasked


def nomad(folder, **more):
    return tgo.simulate_product(folder, altitude_range=(9.0, 15.0), **more)


def lno(folder, **more):
    return nadir.simulate_nadir_product(folder, n_spectra=1, **more)


def ozone(folder, **more):
    data = uvis.synthetic_ozone_cross_section()
    few = {"altitude_range": (20.0, 31.0), "pixels": 128}
    return uvis.simulate_uvis_product(folder, data, **few, **more)


def acs(folder, **more):
    few = {"frames": 2, "pixels": 50, "orders": (179,), "rows_per_stripe": 1}
    return mir.simulate_mir_product(folder, {}, **few, **more)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("make", [nomad, lno, ozone, acs])
def test_simulate__replaces_only_when_told(tmp_path, make):
    first = make(tmp_path, seed=1)
    before = contents(tmp_path)
    assert first.name in before
    with pytest.raises(OutputError) as caught:
        make(tmp_path, seed=2)
    assert caught.value.rule == "io.exists"
    assert contents(tmp_path) == before
    make(tmp_path, seed=2, overwrite=True)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert any(after[name] != before[name] for name in after if ".truth" not in name)
    # any of its files counts
    first.unlink()
    with pytest.raises(OutputError) as caught:
        make(tmp_path, seed=3)
    assert caught.value.rule == "io.exists"
    assert not first.exists()


def test_write_simulated__zip(tmp_path):
    made = simulate_level1(altitude_range=(9.0, 15.0))
    given = (made.level1, made.truth)
    first = write_simulated(tmp_path, *given, archive=True)
    assert first.suffix == ".zip"
    (truth,) = tmp_path.glob("*.truth.nc")
    with xr.open_dataset(truth, engine="netcdf4") as back:
        np.testing.assert_array_equal(back["ch4_vmr"], made.truth["ch4_vmr"])
        assert back.attrs["option_seed"] == 0
    truth.unlink()
    with pytest.raises(OutputError) as caught:
        write_simulated(tmp_path, *given, archive=True)
    assert caught.value.path == str(first)


def test_command_line__refuses_and_overwrites(tmp_path, capsys, monkeypatch):
    out = ["simulate", "--out", str(tmp_path)]
    for value in ("-1", "nan", "1.01", "-1e-30", "inf"):
        assert main([*out, "--ch4", value]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "ch4" in err
        assert not list(tmp_path.iterdir())
    assert main([*out, "--order", "134", "--seed", "-3"]) == 1
    assert "seed" in capsys.readouterr().err
    told = []
    monkeypatch.setattr(
        simulators, "simulate_product", lambda out, **given: told.append(given)
    )
    assert main(out) == 0
    assert main([*out, "--overwrite"]) == 0
    assert [given["overwrite"] for given in told] == [False, True]
