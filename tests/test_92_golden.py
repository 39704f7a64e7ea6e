"""What the library made once, it makes still; what changed is said in words.

Numbers are compared in units of their error, see ``golden/golden_pins.py``. Where a
change is meant: ``make golden WHY="..."``.
"""

from __future__ import annotations

import copy
from pathlib import Path

import golden_cases
import golden_inputs
import golden_pins
import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
MOST_BYTES = 2_500_000


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return golden_cases.Workshop(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", golden_cases.CASES)
def test_golden__nothing_moved(workshop, name):
    new = golden_cases.CASES[name](workshop)
    said = golden_pins.differences(golden_pins.load(name), new)
    assert not said, "\n".join(["", *said, 'if it is meant: make golden WHY="..."'])


@pytest.mark.parametrize("name", golden_inputs.PRODUCTS)
def test_golden__simulators_make_the_stored_products(workshop, tmp_path, name):
    """The fits start from stored spectra; this is where a simulator's change shows."""
    for table in (workshop.folder / name).glob("*.nc"):
        if name in golden_inputs.TABLES:
            (tmp_path / table.name).write_bytes(table.read_bytes())
    golden_inputs.PRODUCTS[name](tmp_path)
    new = golden_cases.spectra_of(golden_cases.label_in(tmp_path))
    said = golden_pins.differences(
        *(golden_pins.pin_of_level1(ds.load()) for ds in (workshop.level1(name), new))
    )
    again = f"tests/golden/remake.py --inputs {name} --why ..."
    assert not said, "\n".join(["", *said, f"if it is meant: {again}"])


def test_golden__every_kind_and_method_is_pinned():
    from tgo_spectra.retrieval import registry

    pinned = {
        (pin.attrs["retrieval_kind"], pin.attrs.get("method"))
        for pin in map(golden_pins.load, golden_cases.CASES)
        if "retrieval_kind" in pin.attrs
    }
    for kind in registry.KINDS:
        for method in kind.methods or (None,):
            found = [m for k, m in pinned if k == kind.name]
            assert found, kind.name
            assert method is None or method in found, (kind.name, method)


def test_golden__files_are_small_and_none_is_left_over():
    files = [
        p for p in GOLDEN.rglob("*") if p.is_file() and "__pycache__" not in str(p)
    ]
    assert sum(p.stat().st_size for p in files) < MOST_BYTES
    pins = {p.stem for p in files if p.parent == golden_pins.PINS}
    assert pins == set(golden_cases.CASES)
    inputs = {p.stem for p in files if p.parent == golden_inputs.DATA}
    assert inputs == set(golden_inputs.PRODUCTS)


def test_golden__names_no_folder_of_a_machine():
    texts = [p.read_text(encoding="utf-8") for p in golden_pins.PINS.glob("*.json")]
    for word in ("/tmp", "/ho" + "me", "/ro" + "ot", "pytest"):
        assert not [text for text in texts if word in text], word


# the words


def level2():
    along = ("altitude",)
    return golden_pins.Pin(
        {"method": "oe", "n_orders": 10},
        {
            "altitude": golden_pins.Variable(
                along, np.array([8.0, 12.0, 16.0]), {"units": "km"}
            ),
            "ch4_vmr": golden_pins.Variable(
                along, np.array([3.1e-10, 3.2e-10, -1e-11]), {"units": "1"}
            ),
            "ch4_vmr_error": golden_pins.Variable(
                along, np.array([2e-11, 2.5e-11, 2e-11])
            ),
            "ch4_detected": golden_pins.Variable(along, np.array([1, 1, 0], np.int8)),
            "pressure": golden_pins.Variable(along, np.array([300.0, 200.0, np.nan])),
        },
    )


def _value(pin, name, k, value):
    pin.variables[name].values[k] = value


WORDS = {
    "ch4_vmr at altitude 12 km: 3.2e-10 -> 3.4e-10, 0.8 of its error (1 of 3 moved)": (
        lambda p: _value(p, "ch4_vmr", 1, 3.4e-10)
    ),
    "ch4_detected at altitude 16 km: 0 -> 1 (1 of 3 moved)": (
        lambda p: _value(p, "ch4_detected", 2, 1)
    ),
    "pressure at altitude 8 km: 300 -> nan (1 of 3 moved)": (
        lambda p: _value(p, "pressure", 0, np.nan)
    ),
    "pressure at altitude 8 km: 300 -> 300.3, 0.001 of its size (1 of 3 moved)": (
        lambda p: _value(p, "pressure", 0, 300.3)
    ),
    "ch4_vmr_error at altitude 8 km: 2e-11 -> 2.1e-11, 0.05 of itself (1 of 3 moved)": (
        lambda p: _value(p, "ch4_vmr_error", 0, 2.1e-11)
    ),
    "attribute method gone (was 'oe')": lambda p: p.attrs.pop("method"),
    "attribute x new: 1": lambda p: p.attrs.update(x=1),
    "attribute n_orders: 10 -> 8": lambda p: p.attrs.update(n_orders=8),
    "ch4_vmr: units: '1' -> 'ppb'": (
        lambda p: p.variables["ch4_vmr"].attrs.update(units="ppb")
    ),
    "variable pressure gone": lambda p: p.variables.pop("pressure"),
    "variable t new": lambda p: p.variables.update(t=p.variables["pressure"]),
    "ch4_detected: dimensions (altitude 3) -> (altitude 2)": (
        lambda p: p.variables.update(
            ch4_detected=golden_pins.Variable(("altitude",), np.zeros(2, np.int8))
        )
    ),
}


@pytest.mark.parametrize("words", WORDS)
def test_words__say_what_changed(words):
    new = copy.deepcopy(level2())
    WORDS[words](new)
    assert golden_pins.differences(level2(), new) == [words]


def test_words__say_once_what_changed_alike():
    new = copy.deepcopy(level2())
    for variable in new.variables.values():
        variable.attrs["coordinates"] = "time"
    said = golden_pins.differences(level2(), new)
    assert said == ["altitude and 4 more: coordinates new: 'time'"]


def test_words__nothing_of_what_a_processor_changes():
    new = copy.deepcopy(level2())
    new.variables["ch4_vmr"].values[0] += 4e-3 * 2e-11
    new.variables["pressure"].values[0] *= 1.0 + 1e-9
    assert golden_pins.differences(level2(), new) == []
    new.variables["ch4_vmr"].values[0] += 2e-3 * 2e-11
    assert len(golden_pins.differences(level2(), new)) == 1


def test_pins__come_back_as_they_were_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(golden_pins, "PINS", tmp_path)
    golden_pins.save("a", level2())
    assert golden_pins.differences(level2(), golden_pins.load("a")) == []
