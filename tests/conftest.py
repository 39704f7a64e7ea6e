"""Fixtures that several layers share: one simulated occultation."""

from __future__ import annotations

import pytest

import tgo_spectra as tgo


@pytest.fixture(scope="session")
def occultation(tmp_path_factory):
    """Label of a simulated order-134 product with 2 ppbv of methane."""
    folder = tmp_path_factory.mktemp("occultation")
    return tgo.simulate_product(folder, order=134, ch4=2e-9, seed=4)


@pytest.fixture(scope="session")
def level1(occultation):
    """The same product, read."""
    return tgo.open_product(occultation).load()
