"""A reduced validation campaign: coverage, false alarms, and a test of the test."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "validation"))

import campaign

COPIES = 10
pytestmark = pytest.mark.xdist_group("closed loop")


@pytest.fixture(scope="module")
def null():
    return campaign.fixed_truth(("standard", 0.0, COPIES, 5, 1.0))


@pytest.mark.parametrize("gas", campaign.GASES)
def test_errors__cover_a_fixed_truth(null, gas):
    z = null["z"][gas]
    one, two = campaign.coverage(z)
    # some 50 levels of ten draws, correlated over a few levels
    assert abs(z.mean()) < 0.25
    assert 0.60 <= one <= 0.80
    assert two >= 0.92


def test_chi_square__is_one(null):
    assert np.mean(null["chi2"]) == pytest.approx(1.0, abs=0.01)


def test_no_methane__nothing_is_detected(null):
    assert null["detected"].size > 400
    assert null["detected"].mean() <= 0.005


def test_wrong_noise__is_noticed():
    wrong = campaign.fixed_truth(("standard", 0.0, 4, 6, 1.3))
    assert campaign.coverage(wrong["z"]["ch4"])[0] < 0.60
    assert np.mean(wrong["chi2"]) > 1.5


def test_fewer_orders__bias_water():
    """Light of orders that the fit leaves out shows as less water."""
    few = campaign.fixed_truth(("standard", 0.0, 4, 7, 1.0, 6))
    assert few["z"]["h2o"].mean() < -0.3
    assert abs(few["z"]["ch4"].mean()) < 0.3
