"""Every shipped setup retrieves a simulated product of its orders."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo

CASES = [
    ("so_133_135", 135),
    ("so_134_hydrocarbons", 134),
    ("so_167_168", 168),
    ("so_169", 169),
    ("so_186_191", 187),
]


@pytest.mark.parametrize(("name", "order"), CASES)
def test_setup__retrieves_its_orders(tmp_path, name, order):
    setup = tgo.load_setup(name)
    path = tgo.simulate_product(tmp_path, order=order, table=setup.table, seed=3)
    level2 = tgo.retrieve(tgo.open_product(path), setup)
    assert int(level2.converged) == 1
    assert 0.95 < float(level2.reduced_chi_square) < 1.05
    truth = xr.open_dataset(next(tmp_path.glob("*.nc")))
    for gas in setup.gases:
        good = np.diag(level2[f"{gas}_averaging_kernel"]) > 0.3
        if good.sum() < 10:  # carbon dioxide, say: known better than measured
            continue
        true = np.interp(level2.altitude, truth.altitude, truth[f"{gas}_vmr"])
        z = ((level2[f"{gas}_vmr"] - true) / level2[f"{gas}_vmr_error"]).values[good]
        # levels are correlated over some 4 km, so one draw scatters this much
        assert abs(z.mean()) < 0.6, gas
        assert (np.abs(z) < 2.0).mean() > 0.85, gas
