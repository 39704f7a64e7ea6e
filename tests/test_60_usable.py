"""What no light can be is left out of spectra, and light never is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tgo_spectra.retrieval.usable import unusable, with_usable

PIXELS = 120
SIGMA = 5e-4


def spectra(seed=0, rows=8, width_px=2.0, lines=25, sigma=SIGMA):
    """Lines up to saturation through a line shape `width_px` wide, with noise."""
    rng = np.random.default_rng(seed)
    fine = np.arange(-20.0, PIXELS + 20.0, 0.05)
    depth = np.zeros((rows, fine.size))
    for place in rng.uniform(-10.0, PIXELS + 10.0, lines):
        strength = 10.0 ** rng.uniform(-2.0, 1.5, (rows, 1))
        depth += strength * np.exp(-0.5 * ((fine - place) / 0.1) ** 2)
    light = np.exp(-depth) * rng.uniform(0.2, 1.05, (rows, 1))
    offset = np.arange(-3.0 * width_px, 3.0 * width_px, 0.05)
    shape = np.exp(-4.0 * np.log(2.0) * (offset / width_px) ** 2)
    seen = np.array([np.convolve(row, shape / shape.sum(), "same") for row in light])
    y = np.array([np.interp(np.arange(PIXELS), fine, row) for row in seen])
    return y + sigma * rng.standard_normal(y.shape), np.full(y.shape, sigma)


def found(y, error, **options):
    return np.argwhere(unusable(y, error, **{"fraction": True} | options)).tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    width_px=st.floats(2.0, 6.0),
    sigma=st.sampled_from([1e-7, 1e-5, SIGMA, 1e-2]),
)
def test_unusable__light_never_is(seed, width_px, sigma):
    y, error = spectra(seed, rows=4, width_px=width_px, sigma=sigma)
    assert not unusable(y, error, fraction=True).any()
    assert not unusable(y, None, fraction=False).any()


def test_unusable__steps_that_a_line_shape_has_gone_over_are_light():
    y, error = spectra(lines=0)
    edge = 0.5 + 0.4 * np.tanh((np.arange(PIXELS) - 60.3) / 1.1)
    assert not unusable(y * edge, error, fraction=True).any()


@pytest.mark.parametrize("value", [1e300, 1e30, 7.0, 1.4, 0.0, -0.3, -1e9, np.inf])
@pytest.mark.parametrize("pixel", [2, 40, 63, PIXELS - 3])
def test_unusable__single_values(value, pixel):
    y, error = spectra(lines=3)
    y[3, pixel] = value
    assert found(y, error) == [[3, pixel]]
    if np.isfinite(value):
        assert found(y, None, fraction=False) == [[3, pixel]]


@pytest.mark.parametrize("pixel", [0, 1, PIXELS - 2, PIXELS - 1])
def test_unusable__impossible_ones_at_the_ends_too(pixel):
    y, error = spectra()
    y[3, pixel] = 40.0
    assert found(y, error) == [[3, pixel]]


@pytest.mark.parametrize(
    ("value", "size"),
    [(0.0, 2), (0.0, 3), (0.0, 30), (0.0, 90), (1.4, 3), (1.4, 55), (9.0, 2)],
)
def test_unusable__runs_of_one_value(value, size):
    y, error = spectra(lines=6)
    y[5, 20 : 20 + size] = value
    assert found(y, error) == [[5, p] for p in range(20, 20 + size)]


def test_unusable__several_runs_and_values_in_one_spectrum():
    y, error = spectra(lines=6)
    y[5, 10:14], y[5, 30:40], y[5, 70], y[5, 100:] = 0.0, 1.3, 0.0, 0.0
    wanted = [*range(10, 14), *range(30, 40), 70, *range(100, PIXELS)]
    assert found(y, error) == [[5, p] for p in wanted]


def test_unusable__a_flat_spectrum_without_noise_is_light():
    y, error = np.ones((2, PIXELS)), np.full((2, PIXELS), SIGMA)
    y[1] -= 0.5 * np.exp(-0.5 * ((np.arange(PIXELS) - 60.0) / 1.5) ** 2)
    assert not unusable(y.round(6), error, fraction=True).any()


@pytest.mark.parametrize("value", [0.0, -1e-3, np.nan, np.inf, 1e-30, 1e-9])
def test_unusable__errors_of_nothing(value):
    y, error = spectra()
    error[4, 50] = value
    assert found(y, error) == [[4, 50]]


def test_unusable__errors_that_differ_are_errors():
    y, error = spectra()
    error *= np.geomspace(1.0, 300.0, PIXELS)
    assert not unusable(y, error, fraction=True).any()


def test_unusable__missing_values_are_missing_not_wrong():
    y, error = spectra()
    y[2], y[3, 40], y[4, 10:20] = np.nan, np.nan, np.nan
    error[2] = np.nan
    assert not unusable(y, error, fraction=True).any()
    y[3, 41] = 0.0  # beside one that is missing
    assert found(y, error) == [[3, 41]]


def test_unusable__what_the_errors_say_may_be_is_light():
    y, _ = spectra(sigma=0.3)
    assert not unusable(y, np.full(y.shape, 0.3), fraction=True).any()


def test_with_usable__by_rows_lazily_and_counted():
    y, error = spectra(lines=6)
    y[1, 30], y[5, 60:64] = 1e9, 0.0
    dims = ("spectrum", "pixel")
    level1 = xr.Dataset(
        {"transmittance": (dims, y), "transmittance_error": (dims, error)}
    )
    whole = with_usable(level1)
    assert whole["unusable_pixels"].values.tolist() == [0, 1, 0, 0, 0, 4, 0, 0]
    assert level1["transmittance"].isnull().sum() == 0
    lazy = with_usable(level1.chunk(spectrum=3))
    assert lazy["transmittance"].chunks is not None
    assert lazy.compute().identical(whole)
    clean = level1.isel(spectrum=[0, 2])
    assert with_usable(clean)["transmittance"].identical(clean["transmittance"])
    other = xr.Dataset({"lamp": (dims, y)})
    assert with_usable(other) is other
