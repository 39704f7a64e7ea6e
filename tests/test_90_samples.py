"""Closure on occultations of an independent simulator, with its truth.

The three sample products and the line lists are not part of the project.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from samples import (
    BANDS,
    CASES,
    air_of,
    all_absorbers,
    build,
    renoised,
    sample,
    setup_of,
)

import tgo_spectra as tgo
from tgo_spectra.retrieval.measurement import prepare

pytestmark = pytest.mark.usefixtures("shared")

SENSED = {
    121: {"hdo", "co2"},
    134: {"h2o", "ch4", "hdo"},
    136: {"h2o", "ch4", "hdo"},
    190: {"co", "h2o", "hdo"},
}
"""Gases of which the spectra of an order tell."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of the band tables, built once per session.

    They have learnt from fewer atmospheres than tables for use, which takes a third of
    the time: an error of 2e-4 at worst and 2e-6 rms.
    """
    made = tmp_path_factory.mktemp("tables")
    for band in BANDS:
        build(band, made, atmospheres=24, verify_atmospheres=0)
    return made


@pytest.fixture(scope="session")
def fitted(folder):
    @functools.cache
    def fit(order):
        level1, truth = sample(order)
        return tgo.retrieve(level1, setup_of(order, folder), air_of(truth))

    return fit


def expected_profile(truth, gas, altitude_km, kernel, prior):
    name = f"vmr_{gas.upper()}"
    true = np.interp(altitude_km, truth.altitude.values, truth[name].values)
    return prior + kernel @ (true - prior)


@pytest.mark.parametrize("order", CASES)
def test_closure__profiles_agree_with_truth_within_noise(order, fitted):
    result, (_, truth) = fitted(order), sample(order)
    assert bool(result.converged)
    assert 0.8 < float(result.reduced_chi_square) < 1.3
    tested = []
    for gas in CASES[order][1]:
        if float(result[f"{gas}_degrees_of_freedom"]) < 3.0:
            continue
        kernel = result[f"{gas}_averaging_kernel"].values.astype(float)
        good = np.diag(kernel) > 0.3
        expected = expected_profile(
            truth,
            gas,
            result.altitude.values,
            kernel,
            result[f"{gas}_vmr_apriori"].values,
        )
        z = (result[f"{gas}_vmr"].values - expected)[good]
        z /= result[f"{gas}_vmr_noise_error"].values[good]
        print(
            f"order {order} {gas}: {good.sum()} levels, mean z {z.mean():+.2f}, "
            f"within 1: {np.mean(np.abs(z) < 1):.0%}, "
            f"chi2 {float(result.reduced_chi_square):.3f}"
        )
        if gas == "co" or (gas == "h2o" and order != 190):
            assert good.sum() >= 15
        assert abs(z.mean()) < 0.6
        assert 0.5 <= np.mean(np.abs(z) < 1) <= 0.85
        tested.append(gas)
    assert tested


@pytest.mark.parametrize("order", CASES)
def test_closure__shift_and_noisy_pixels_are_found(order, fitted):
    result, (_, truth) = fitted(order), sample(order)
    true = truth.attrs["shift_px"] + truth.attrs["bin_shift_px"]
    np.testing.assert_allclose(result.wavenumber_shift.values, true, atol=0.005)
    assert result.attrs["masked_pixels"] == "2:84 2:269"


def methane_mean(result):
    """Inverse-variance mean over 5-30 km, its noise-propagated 1-sigma; ppbv."""
    z = result.altitude.values
    part = (z >= 5.0) & (z <= 30.0)
    vmr = 1e9 * result.ch4_vmr.values[part]
    weight = 1.0 / (1e9 * result.ch4_vmr_error.values[part]) ** 2
    covariance = 1e18 * result.ch4_vmr_noise_covariance.values[np.ix_(part, part)]
    mean = weight @ vmr / weight.sum()
    return mean, np.sqrt(weight @ covariance @ weight) / weight.sum()


def test_methane__null_stays_null_and_one_ppbv_comes_back(fitted):
    null, sigma = methane_mean(fitted(134))
    print(f"order 134: {null:+.3f} +- {sigma:.3f} ppbv (truth 0)")
    assert abs(null) < 3.0 * sigma
    assert not fitted(134).ch4_detected.any()
    one, sigma = methane_mean(fitted(136))
    print(f"order 136: {one:.3f} +- {sigma:.3f} ppbv (truth 1)")
    assert abs(one - 1.0) < 0.2
    assert abs(one - 1.0) < 3.0 * sigma
    assert fitted(136).ch4_detected.any()


@pytest.mark.parametrize("order", CASES)
def test_closure__noise_draws_are_unbiased_and_covered(order, folder):
    for gas, z in renoised(order, folder, copies=30, seed=order).items():
        coverage = np.mean(np.abs(z) < 1.0)
        print(f"order {order} {gas}: mean z {z.mean():+.3f}, coverage {coverage:.1%}")
        assert abs(z.mean()) < 0.15
        assert 0.62 <= coverage <= 0.74


def test_prepare__row_altitudes_and_radius_match_the_truth():
    level1, truth = sample(134)
    prepared = prepare(level1, tgo.load_setup("so_134"))
    np.testing.assert_allclose(
        prepared.altitude_km, truth.tangent_altitude.values[prepared.rows], atol=0.01
    )


@pytest.mark.parametrize("order", [121, 134, 136, 190])
def test_all_absorbers__shipped_setups_are_right_unchanged(order):
    """HDO, CO2 and the light of ten neighbours in the spectra: all are in the fit."""
    found, layer, chi_square = all_absorbers(order, copies=12, seed=order)
    for gas, z in found.items():
        coverage = np.mean(np.abs(z) < 1.0)
        print(f"order {order} {gas}: mean z {z.mean():+.3f}, coverage {coverage:.1%}")
        assert abs(z.mean()) < 0.1
        assert 0.62 <= coverage <= 0.74
    assert set(found) == SENSED[order]
    assert 0.99 <= chi_square.mean() <= 1.01
    if "ch4" not in found:
        return
    mean, error = layer.mean(), layer.std(ddof=1) / np.sqrt(layer.size)
    print(f"order {order}: methane {mean:+.2f} +- {error:.2f} pptv from the truth")
    assert abs(mean) < max(3.0 * error, 5.0)
