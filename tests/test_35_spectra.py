"""One spectrum of a product by where it looks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import ProductError


@pytest.fixture
def level1():
    height = np.array([30.0, 29.5, 20.0, np.nan, 9.0, 8.5])
    return xr.Dataset(
        {"transmittance": (("spectrum", "pixel"), np.arange(12.0).reshape(6, 2))},
        {
            "tangent_altitude": ("spectrum", height),
            "bin": ("spectrum", [0, 1, 0, 1, 0, 1]),
        },
    )


@pytest.mark.parametrize(
    ("altitude", "bin_", "row"),
    [(21.0, None, 2), (100.0, None, 0), (21.0, 1, 1), (29.75, None, 0), (-9.0, 0, 4)],
)
def test_spectrum__the_nearest_of_its_bin(level1, altitude, bin_, row):
    found = tgo.spectrum_at(level1, altitude, bin_)
    xr.testing.assert_identical(found, level1.isel(spectrum=row))
    assert "spectrum" not in found.dims


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda ds: tgo.spectrum_at(ds, 20.0, 2), "spectrum.bin"),
        (lambda ds: tgo.spectrum_at(ds, 25.0, tolerance=3.0), "spectrum.altitude"),
        (lambda ds: tgo.spectrum_at(ds, np.nan), "spectrum.altitude"),
        (lambda ds: tgo.spectrum_at(ds.isel(spectrum=[3]), 1.0), "spectrum.altitude"),
        (lambda ds: tgo.spectrum_at(ds.drop_vars("bin"), 20.0, 0), "spectrum.variable"),
        (lambda ds: tgo.spectrum_at(ds.isel(spectrum=0), 20.0), "spectrum.variable"),
    ],
)
def test_spectrum__refusals(level1, call, rule):
    with pytest.raises(ProductError) as caught:
        call(level1)
    assert caught.value.rule == rule
