"""Maps of 300 simulated occultations contain the truth, cell by cell.

Five archives, whose shared errors are spread as their law says: one archive alone has
one error of the intensities, and all of its cells are wrong by it.
"""

from __future__ import annotations

import numpy as np
import pytest
import simulated_level2 as simulated
from scipy.special import ndtri

import tgo_spectra as tgo

N = 300
SHARED = ndtri((np.arange(5) + 0.5) / 5)
SEASONS, LATITUDES = np.arange(0, 361, 30), np.arange(-90, 91, 30)
GRID = tgo.Grid(
    solar_longitude=SEASONS, latitude=LATITUDES, altitude=range(0, 61, 10)
)  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    """Of each gas: number, mean, errors, limit and truth, all cells of all archives."""
    rng = np.random.default_rng(20)
    found = {"h2o": [], "ch4": []}
    offsets = rng.permutation(SHARED)
    for shared in zip(SHARED, offsets, strict=True):
        many, truths, (latitude, season) = simulated.archive(rng, N, shared)
        # noise of the levels is independent here
        level3 = tgo.grid_level2(many, GRID, vertical_correlation_km=0.0)
        row = np.searchsorted(SEASONS, season, side="right") - 1
        column = np.searchsorted(LATITUDES, latitude, side="right") - 1
        for gas, climate in truths.items():
            names = (
                "count", "mean", "standard_error", "upper_limit",
                "standard_error_formal",
            )  # fmt: skip
            known = [level3[f"{gas}_{name}"].transpose("solar_longitude", "latitude", "altitude").values for name in names]  # noqa: E501  # fmt: skip
            truth = np.zeros(known[0].shape)
            np.add.at(truth, (row, column), climate.reshape(N, 6, 2).mean(axis=2))
            with np.errstate(invalid="ignore"):
                truth /= known[0]
            several = known[0] >= 2
            found[gas].append(np.stack([*known, truth])[:, several])
    return {gas: np.concatenate(parts, axis=1) for gas, parts in found.items()}


@pytest.mark.parametrize("gas", ["h2o", "ch4"])
def test_cells_contain_the_truth(cells, gas):
    n, mean, error, limit, formal, truth = cells[gas]
    assert n.size > 1000
    two = np.abs(mean - truth) <= 2.0 * error
    # at least as often as they say; what the a priori hides makes it more
    assert two.mean() >= 0.954
    assert (limit >= truth).mean() >= 0.977
    for few, most in ((2, 3), (4, 7), (8, N)):
        some = (n >= few) & (n <= most)
        assert two[some].mean() >= 0.934
        assert (limit[some] >= truth[some]).mean() >= 0.967
    if gas == "h2o":  # weather and shared errors: noise alone does not cover
        assert (np.abs(mean - truth) <= 2.0 * formal).mean() < 0.8


def test_plume_is_there_and_nowhere_else(cells):
    _, mean, error, _, _, truth = cells["ch4"]
    plume, clean = truth > 0.3e-9, truth < 0.01e-9
    assert plume.sum() > 50
    assert (np.abs(mean - truth)[plume] <= 2.0 * error[plume]).mean() >= 0.934
    assert (mean[plume] > 3.0 * error[plume]).any()
    # a cell without methane is above 3 standard errors as rarely as chance makes it
    assert (mean[clean] > 3.0 * error[clean]).mean() < 0.004
