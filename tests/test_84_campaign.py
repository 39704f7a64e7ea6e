"""The rows of the validation campaign, and what counts as wrong without warning."""

from __future__ import annotations

import absorbers
import draws
import pytest
from trust import line_of, unwarned
from worlds import ROWS

import tgo_spectra as tgo
from tgo_spectra.simulate.options import make_scenario
from tgo_spectra.simulate.scenario import SoScenario


@pytest.mark.parametrize("key", ROWS, ids=": ".join)
def test_row__is_options_of_the_simulator(key):
    for truth in range(4):
        options = draws.options_of(ROWS[key], truth)
        make_scenario(SoScenario, options)
        # by its number a truth is the same in every process and run
        assert draws.options_of(ROWS[key], truth) == options
    assert draws.what_of(ROWS[key], 0) != draws.what_of(ROWS[key], 1)


GASES = {"ch4": {"total": [10, 0.1, 7, 9]}, "h2o": {"total": [10, 0.0, 7, 10]}}
FINE = {
    "bias": 3.0, "total": 6.0, "layer": False, "detected": 0, "severe": False,
    "flags": [], "gases": GASES,
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "ch4", "wrong"),
    [
        ({}, 0.0, False),
        ({"bias": -19.0}, 0.0, True),
        ({"bias": -19.0, "severe": True}, 0.0, False),
        ({"layer": True}, 0.0, True),
        ({"layer": True}, 1e-10, False),
        ({"detected": 1}, 0.0, True),
        ({"detected": 1, "severe": True}, 0.0, False),
    ],
)
def test_wrong_without_warning(said, ch4, wrong):
    assert unwarned(FINE | said, ch4) is wrong


def test_line__of_a_row_fails_by_one_draw_that_is_wrong():
    row = next(iter(ROWS.values()))
    fine = line_of(row, [FINE] * 40)
    assert fine.passed
    assert fine.value == "0; 0 %"
    assert line_of(row, [FINE] * 39 + [FINE | {"bias": 19.0}]).passed is False
    # two of forty are at most 5 %, three are not
    far = FINE | {"bias": 13.0}
    assert line_of(row, [FINE] * 38 + [far] * 2).passed
    assert line_of(row, [FINE] * 37 + [far] * 3).passed is False


def test_without__leaves_gases_out_and_says_so():
    setup = absorbers.without(tgo.load_setup("so_134"), ("hdo", "co2"))
    assert setup.gases == ("h2o", "ch4")
    assert {"hdo", "co2"} < set(setup.interferents_absent)


def test_absorbers__fail_by_a_bias_that_the_noise_does_not_explain():
    one = FINE | {"noise": 5.0, "chi2": 1.0}
    for bias, passed in ((0.0, True), (4.0, False)):
        plain = [one | {"bias": bias + off} for off in (-3.0, 3.0) * 20]
        lines = absorbers.of_truth((136, 0.0), plain, [one])
        assert lines[0].passed is passed
    far = [one | {"bias": 97.0}, one | {"bias": 97.0, "severe": True}]
    for mine, passed in ((far, False), (far[1:], True)):
        run = ("left out", (136, 0.0), range(2), ("co2",), {})
        assert absorbers.left_out(run, mine).passed is passed
