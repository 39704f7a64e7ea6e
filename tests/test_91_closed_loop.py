"""A reduced validation campaign: coverage, false alarms, and a test of the test."""

from __future__ import annotations

import numpy as np
import pytest
from cases import GASES, coverage
from parts import Job, draw

COPIES = 10


@pytest.fixture(scope="module")
def null():
    return draw(Job(COPIES, 5))


@pytest.mark.parametrize("gas", GASES)
def test_errors__cover_a_fixed_truth(null, gas):
    z = null["z"][gas]
    one, two = coverage(z)
    # some 50 levels of ten draws, correlated over a few levels
    assert abs(z.mean()) < 0.25
    assert 0.60 <= one <= 0.80
    assert two >= 0.92


def test_chi_square__is_one(null):
    assert np.mean(null["chi2"]) == pytest.approx(1.0, abs=0.01)


def test_no_methane__nothing_is_detected(null):
    assert null["detected"].size > 600
    assert null["detected"].mean() <= 0.005


def test_wrong_noise__is_noticed():
    wrong = draw(Job(4, 6, factor=1.3))
    assert coverage(wrong["z"]["ch4"])[0] < 0.60
    assert np.mean(wrong["chi2"]) > 1.5


def test_fewer_orders__bias_water():
    """Light of orders that the fit leaves out shows as less water."""
    few = draw(Job(4, 7, changes=(("instrument.n_orders", 6),)))
    assert few["z"]["h2o"].mean() < -0.3
    assert abs(few["z"]["ch4"].mean()) < 0.3


WRONG = {
    "temperature": ("temperature_k", 5.0),
    "pointing": ("altitude_km", 0.5),
    "side lobes": ("instrument.aotf_side_lobe_factor", 1.1),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_knowledge__is_covered_by_the_total_error(name):
    """With its systematic terms; noise alone does not cover a wrong pointing."""
    changes = (WRONG[name], ("systematics.enabled", True))
    found = draw(Job(2, 8, ch4=1e-9, with_systematics=True, changes=changes))
    assert coverage(found["total"]["h2o"])[1] >= 0.9
    assert coverage(found["total"]["ch4"])[1] >= 0.9
    if name == "pointing":  # the others move water by little more than its noise
        assert coverage(found["z"]["h2o"])[0] < 0.6
