"""Setups: defaults, hashes, and errors that name the key."""

from __future__ import annotations

import pytest

from tgo_spectra.errors import SetupError, TableError
from tgo_spectra.retrieval import registry
from tgo_spectra.retrieval.choice import default_setup
from tgo_spectra.retrieval.interferents import check_setup
from tgo_spectra.retrieval.setup import Instrument, RetrievalSetup
from tgo_spectra.retrieval.setups import list_setups, load_setup
from tgo_spectra.spectroscopy.tables import open_table

GOOD = """
name = "mine"
channel = "so"
orders = [134]
table = "so_134_136"
gases = ["h2o", "ch4"]
interferents_absent = ["hdo", "co2", "co2 magnetic dipole band", "o3"]
"""


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults__are_those_of_the_conventions():
    setup = load_setup("so_134")
    assert setup.baseline_degree == 4
    assert Instrument().n_orders == 6
    assert setup.instrument.n_orders == 10  # water needs more: validation report
    assert setup.registration.shift_sigma_px == 1.5
    assert setup.prior["ch4"].sigma == 5e-9
    assert setup.prior["h2o"].correlation_km == 4.0
    assert setup.window.minimum_transmittance == 0.1
    assert setup.detection.detection_sigma == 3.5
    assert setup.detection.layer_detection_sigma == 3.0
    assert setup.detection.limit_sigma == 2.0


@pytest.mark.parametrize("name", list_setups())
def test_shipped_setups__load_and_name_interferents(name):
    setup = load_setup(name)
    assert setup.name == name
    if isinstance(setup, RetrievalSetup):
        check_setup(setup)
    for order in setup.orders:
        default = default_setup(setup.channel, order)
        assert order in default.orders
        assert len(default.orders) <= len(setup.orders)


def test_default_setups__are_the_plainest():
    orders = (133, 134, 136, 168, 169, 187, 190)
    names = [default_setup("so", order).name for order in orders]
    assert names == [
        *("so_133_135", "so_134", "so_136", "so_167_168", "so_169", "so_186_191"),
        "so_190",
    ]


def test_hash__changes_with_any_choice(tmp_path):
    first = load_setup(write(tmp_path, GOOD))
    second = load_setup(write(tmp_path, GOOD + "baseline_degree = 5\n"))
    again = load_setup(write(tmp_path, GOOD + "baseline_degree = 4\n"))
    assert first.hash() != second.hash()
    assert first.hash() == again.hash()


@pytest.mark.parametrize(
    ("extra", "field", "words"),
    [
        ("baseline_degre = 3", "$", ["baseline_degre", "did you mean", "degree"]),
        ("baseline_degree = 'four'", "$.baseline_degree", ["int"]),
        ("baseline_degree = 40", "$.baseline_degree", ["8"]),
        ("[window]\nfirst_pixle = 3", "$.window", ["first_pixle", "first_pixel"]),
        ("[window]\nfirst_pixel = 3.5", "$.window.first_pixel", ["int"]),
        ("[prior.h2o]\nsigma = -1.0", "$.prior[...].sigma", [">"]),
        ("[prior.co]\nsigma = 1.0", "$.prior.co", ["not fitted"]),
        ("[prior.ch4]\nsigma = 1.0\nrelative_sigma = 1.0", "$.prior.ch4", ["exclude"]),
        ("[window]\nfirst_pixel = 300\nlast_pixel = 301", "$.window.last_pixel", []),
        ("method = 'onions'", "$.method", ["onions"]),
    ],
)
def test_wrong_key_or_type__is_named_with_its_path(tmp_path, extra, field, words):
    path = write(tmp_path, GOOD + extra + "\n")
    with pytest.raises(SetupError) as caught:
        load_setup(path)
    assert caught.value.field == field
    assert str(path) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_unknown_gas__suggests_the_nearest(tmp_path):
    path = write(tmp_path, GOOD.replace("ch4", "cH4"))
    with pytest.raises(SetupError, match="did you mean 'ch4'"):
        load_setup(path)


@pytest.mark.parametrize("text", ["name = ", "a = [" * 5000, "x = 1\nx = 2"])
def test_not_toml__is_one_error(tmp_path, text):
    with pytest.raises(SetupError) as caught:
        load_setup(write(tmp_path, text))
    assert caught.value.rule == "setup.not_toml"


def test_missing_setup__lists_those_there_are(tmp_path):
    with pytest.raises(SetupError, match="so_134"):
        load_setup("so_135x")
    with pytest.raises(SetupError, match="no such setup file"):
        load_setup(tmp_path / "absent.toml")
    with pytest.raises(SetupError, match="no shipped setup"):
        default_setup("so", 99)


def test_setup__is_frozen():
    setup = load_setup("so_134")
    assert isinstance(setup, RetrievalSetup)
    with pytest.raises(AttributeError):
        setup.baseline_degree = 3


def test_home__is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, GOOD.replace('"so_134_136"', '"~/own.nc"'))
    assert load_setup("~/mine.toml").table == str(tmp_path / "own.nc")
    (tmp_path / "uvis.toml").write_text(
        'kind = "ozone"\nname = "own"\ncross_section = "~/o3.csv"\nmedium = "air"\n'
    )
    assert registry.files_of(load_setup("~/uvis.toml")) == (str(tmp_path / "o3.csv"),)
    for wrong in ("~/absent.toml", "~nobody_at_all/own.toml"):
        with pytest.raises(SetupError, match="no such setup file"):
            load_setup(wrong)
    (tmp_path / "own.nc").write_bytes(b"no table")
    with pytest.raises(TableError) as caught:
        open_table("~/own.nc")
    assert caught.value.path == str(tmp_path / "own.nc")
