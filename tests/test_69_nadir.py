"""Columns from simulated LNO nadir spectra, whose truth is known."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.nadir import fit as nadir_fit
from tgo_spectra.retrieval.nadir import retrieve_nadir
from tgo_spectra.retrieval.nadir.scene import STATUS, AirProfile, layers_above
from tgo_spectra.retrieval.nadir.scene import nadir_model as make_model
from tgo_spectra.retrieval.nadir.setup import load_nadir_setup
from tgo_spectra.simulate.nadir import simulate_nadir_level1, simulate_nadir_product

SETUP = load_nadir_setup("lno_189_190_co")


def _air(truth):
    names = ["pressure", "temperature", "number_density"]
    return truth[names + [f"{gas}_vmr" for gas in SETUP.gases]]


@pytest.fixture(scope="module")
def noisy():
    level1, truth = simulate_nadir_level1(order=190, n_spectra=6, seed=4)
    return level1, truth, retrieve_nadir(level1, SETUP, _air(truth))


@pytest.fixture(scope="module")
def kernel():
    """Model, layers and a spectrum without noise."""
    level1, truth = simulate_nadir_level1(order=190, n_spectra=1, noise=False)
    model = make_model(
        level1.wavenumber.values,
        order=190,
        aotf_frequency_khz=float(level1.aotf_frequency),
        temperature_c=-5.0,
        setup=SETUP,
    )
    fine = AirProfile.of(_air(truth), SETUP)
    layers, _ = layers_above(
        0.0,
        fine.altitude_km,
        fine.ln_pressure,
        fine.temperature_k,
        fine.ln_density,
        fine.mole_fraction,
    )
    return model, layers


def test_retrieve_nadir__closed_loop_without_noise():
    level1, truth = simulate_nadir_level1(order=190, n_spectra=3, noise=False)
    level2 = retrieve_nadir(level1, SETUP, _air(truth))
    assert (level2.status == 0).all()
    np.testing.assert_allclose(level2.co_column, truth.co_column, rtol=2e-3)
    np.testing.assert_allclose(level2.spectrum_shift, 0.4, atol=0.01)


def test_retrieve_nadir__noise_within_errors(noisy):
    _, truth, level2 = noisy
    z = (level2.co_column - truth.co_column) / level2.co_column_error
    assert np.abs(z).max() < 4.0
    assert np.abs(z).max() > 0.1
    assert level2.co_column_detected.all()


def test_spectrum__derivatives_agree_with_differences(kernel):
    model, layers = kernel
    depths, _ = nadir_fit.optical_depths(model, layers)
    state = np.array([0.9, 1.05, 1.1, 0.3])
    _, derivative, _, _ = nadir_fit._spectrum(model, 2.2 * depths, state)
    for k in range(state.size):
        step = np.zeros(state.size)
        step[k] = 1e-4
        above = nadir_fit._spectrum(model, 2.2 * depths, state + step)[0]
        below = nadir_fit._spectrum(model, 2.2 * depths, state - step)[0]
        numeric = (above - below) / 2e-4
        scale = np.abs(derivative[k]).max()
        np.testing.assert_allclose(derivative[k], numeric, atol=1e-5 * scale)


def test_column_kernel__as_perturb_and_retrieve(kernel):
    model, layers = kernel
    state = np.array([1.0, 1.0, 1.0, 0.3])

    def fit(mole_fraction):
        air = dataclasses.replace(layers, mole_fraction=mole_fraction)
        depths, _ = nadir_fit.optical_depths(model, air)
        y = 0.25 * nadir_fit._spectrum(model, 2.2 * depths, state)[0]
        return nadir_fit.fit_spectrum(model, y, 2.2, layers, noise=1e-4)

    base = fit(layers.mole_fraction)
    column = layers.mole_fraction[0] @ layers.air_cm2
    for layer in (0, 12, 25):
        changed = layers.mole_fraction.copy()
        changed[0, layer] *= 1.02
        added = 0.02 * layers.mole_fraction[0, layer] * layers.air_cm2[layer]
        found = (fit(changed).state[0] - base.state[0]) * column / added
        assert found == pytest.approx(base.column_kernel[layer], rel=0.05, abs=0.02)


def test_retrieve_nadir__chunks_are_lazy_and_give_the_same_bits(noisy):
    level1, truth, level2 = noisy
    lazy = retrieve_nadir(level1.chunk(spectrum=2), SETUP, _air(truth))
    assert lazy.co_column.chunks is not None
    xr.testing.assert_identical(lazy.compute(), level2)


def test_retrieve_nadir__average_lowers_the_error(noisy):
    level1, truth, level2 = noisy
    mean = retrieve_nadir(level1, SETUP.replace(average=3), _air(truth))
    assert mean.n_averaged.values.tolist() == [3.0, 3.0]
    ratio = float(mean.co_column_error.mean() / level2.co_column_error.mean())
    assert ratio == pytest.approx(3.0**-0.5, rel=0.2)


def test_retrieve_nadir__says_why_a_spectrum_is_left_out(noisy):
    level1, truth, level2 = noisy
    bad = level1.copy(deep=True)
    bad.y_valid_flag[0] = False
    bad.incidence_angle[1] = np.nan
    bad.incidence_angle[2] = 80.0
    bad.reflectance_factor[3, 50:] = np.nan
    bad.reflectance_factor[4] = 1e-3
    found = retrieve_nadir(bad, SETUP, _air(truth))
    assert [STATUS[k] for k in found.status.values] == [
        "flagged_invalid",
        "no_geometry",
        "angle_too_large",
        "too_few_pixels",
        "too_dark",
        "used",
    ]
    assert np.isnan(found.co_column[:5]).all()
    assert found.co_column[5] == level2.co_column[5]


def test_retrieve_nadir__no_gas_is_not_detected():
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=6, mole_fraction={"co": 0.0}, seed=2
    )
    air = _air(truth)
    air["co_vmr"] = air.co_vmr + 8e-4
    level2 = retrieve_nadir(level1, SETUP, air)
    assert not level2.co_column_detected.any()
    assert (level2.co_column_upper_limit > 0.0).all()


def test_retrieve_nadir__normalised_column_forgets_topography():
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=4, noise=False, topography_km=(0.0, 3.0)
    )
    level2 = retrieve_nadir(level1, SETUP, _air(truth))

    def spread(v):
        return float((v.max() - v.min()) / v.mean())

    assert spread(level2.co_column) > 0.2
    assert spread(level2.co_column_normalised) < 0.01


def test_retrieve_nadir__wrong_order_is_refused(noisy):
    level1, truth, _ = noisy
    with pytest.raises(RetrievalError, match="190"):
        retrieve_nadir(level1, "lno_167_169_h2o", _air(truth))


def test_product__write_read_retrieve(tmp_path):
    label = simulate_nadir_product(tmp_path, n_spectra=2, noise=False)
    truth = xr.open_dataset(label.with_name(f"{label.stem}.truth.nc"))
    level2 = retrieve_nadir(tgo.open_product(label), SETUP, _air(truth))
    np.testing.assert_allclose(level2.co_column, truth.co_column, rtol=5e-3)
    path = tgo.write_level2(level2, tmp_path / "co.nc")
    again = xr.open_dataset(tmp_path / "co.nc")
    np.testing.assert_array_equal(again.co_column, level2.co_column)
    assert path is None or tmp_path in path.parents
