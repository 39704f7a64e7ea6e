"""One profile from two orders: equal to the joint fit, one a priori."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.merging import merge_orders
from tgo_spectra.retrieval.state import exponential_covariance

RNG = np.random.default_rng(3)
ALTITUDE = np.arange(0.0, 60.0, 2.0)
APRIORI = 1e-4 * np.exp(-ALTITUDE / 20.0)
SIGMA = np.maximum(APRIORI, 1e-3 * APRIORI.max())
PRIOR = exponential_covariance(ALTITUDE, SIGMA, 4.0)
TRUTH = APRIORI * (1.0 + 0.5 * np.sin(ALTITUDE / 7.0))
LOW = np.diag(np.exp(-(((ALTITUDE - 10.0) / 15.0) ** 2))) / APRIORI
HIGH = np.diag(np.exp(-(((ALTITUDE - 40.0) / 15.0) ** 2))) / APRIORI
NOISE = 0.05


def solved(jacobian, y, levels=slice(None)):
    """Optimal estimation of a linear problem, in the library's names."""
    prior, xa = PRIOR[levels, levels], APRIORI[levels]
    information = jacobian.T @ jacobian / NOISE**2
    covariance = np.linalg.inv(information + np.linalg.inv(prior))
    x = xa + covariance @ jacobian.T @ (y - jacobian @ xa) / NOISE**2
    kernel = covariance @ information
    noise = kernel @ covariance
    lost = np.eye(xa.size) - kernel
    data = {
        "h2o_vmr": ("altitude", x),
        "h2o_vmr_apriori": (
            "altitude",
            xa,
            {"correlation_length_km": 4.0, "sigma_maximum": SIGMA[levels].max()},
        ),
        "h2o_averaging_kernel": (("altitude", "altitude_in"), kernel),
        "h2o_vmr_noise_error": ("altitude", np.sqrt(np.diag(noise))),
        "h2o_vmr_smoothing_error": (
            "altitude",
            np.sqrt(np.diag(lost @ prior @ lost.T)),
        ),
        "h2o_vmr_error": ("altitude", np.sqrt(np.diag(covariance))),
        "time": ((), np.datetime64("2020-01-01T00:00:00", "ns")),
    }
    return xr.Dataset(data, {"altitude": ALTITUDE[levels]})


def spectra(jacobian):
    clean = jacobian @ TRUTH
    return clean + NOISE * RNG.standard_normal(clean.size)


def test_merged__equals_the_joint_fit():
    y = spectra(LOW), spectra(HIGH)
    merged = merge_orders([solved(LOW, y[0]), solved(HIGH, y[1])], "h2o")
    joint = solved(np.vstack([LOW, HIGH]), np.concatenate(y))
    for name in ("h2o_vmr", "h2o_vmr_error", "h2o_vmr_noise_error"):
        np.testing.assert_allclose(merged[name], joint[name], rtol=1e-8)
    np.testing.assert_allclose(
        merged.h2o_averaging_kernel, joint.h2o_averaging_kernel, atol=1e-8
    )


def test_merged__single_precision_kernels_do_little_harm():
    y = spectra(LOW), spectra(HIGH)
    parts = [solved(LOW, y[0]), solved(HIGH, y[1])]
    for ds in parts:
        ds["h2o_averaging_kernel"] = ds.h2o_averaging_kernel.astype(np.float32)
    merged = merge_orders(parts, "h2o")
    joint = solved(np.vstack([LOW, HIGH]), np.concatenate(y))
    off = (merged.h2o_vmr - joint.h2o_vmr) / joint.h2o_vmr_error
    assert float(np.abs(off).max()) < 1e-3


def test_merged__ranges_may_differ():
    """A part that begins higher says nothing of the levels below it."""
    above = slice(8, None)
    high = HIGH[np.ix_(range(8, ALTITUDE.size), range(8, ALTITUDE.size))]
    y = spectra(LOW), spectra(high @ np.eye(ALTITUDE.size)[above])
    merged = merge_orders([solved(LOW, y[0]), solved(high, y[1], above)], "h2o")
    both = np.vstack([LOW, high @ np.eye(ALTITUDE.size)[above]])
    joint = solved(both, np.concatenate(y))
    np.testing.assert_allclose(merged.h2o_vmr, joint.h2o_vmr, rtol=1e-6)
    np.testing.assert_allclose(merged.h2o_vmr_error, joint.h2o_vmr_error, rtol=1e-6)


def test_merged__simulated_orders_of_one_occultation(tmp_path):
    """Water of orders 134 and 136: less error than either, and right."""
    parts, seen = [], None
    for order in (134, 136):
        made = tgo.simulate_product(
            tmp_path / str(order), order=order, vertical_speed_km_s=3.0, seed=order
        )
        setup = tgo.load_setup(f"so_{order}").replace(
            systematics={"in_fit": False, "enabled": False}
        )
        parts.append(tgo.retrieve(made, setup))
    merged = merge_orders(parts, "h2o")
    seen = merged.sel(altitude=slice(5, 40))
    for part in parts:
        own = part.h2o_vmr_noise_error.sel(altitude=slice(5, 40))
        assert float((seen.h2o_vmr_error / part.h2o_vmr_error).max()) < 1.02
        assert own.size == seen.altitude.size
    assert float(merged.h2o_degrees_of_freedom) > max(
        float(part.h2o_degrees_of_freedom) for part in parts
    )
    truth = xr.open_dataset(next((tmp_path / "134").glob("*.truth.nc")))
    true = np.interp(merged.altitude, truth.altitude, truth.h2o_vmr)
    kernel = merged.h2o_averaging_kernel.values
    expected = merged.h2o_vmr_apriori + kernel @ (true - merged.h2o_vmr_apriori.values)
    z = ((merged.h2o_vmr - expected) / merged.h2o_vmr_noise_error).values
    z = z[np.diag(kernel) > 0.3]
    assert z.size > 20
    assert abs(z.mean()) < 3.0 / np.sqrt(z.size / 4)  # correlated over a few levels
    assert np.abs(z).max() < 4.5


def broken(change):
    y = spectra(LOW), spectra(HIGH)
    parts = [solved(LOW, y[0]), solved(HIGH, y[1])]
    parts[1] = change(parts[1])
    return parts


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda ds: ds.assign(time=ds.time + np.timedelta64(1, "h")), "merge.time"),
        (lambda ds: ds.drop_vars("h2o_averaging_kernel"), "merge.variable"),
        (
            lambda ds: ds.assign_coords(altitude=ds.altitude + 0.5),
            "merge.levels",
        ),
        (
            lambda ds: ds.assign(h2o_vmr_smoothing_error=2 * ds.h2o_vmr_error),
            "merge.prior",
        ),
    ],
)
def test_merged__refuses_what_does_not_fit(change, rule):
    with pytest.raises(RetrievalError) as caught:
        merge_orders(broken(change), "h2o")
    assert caught.value.rule == rule


def test_merged__refuses_another_a_priori():
    y = spectra(LOW), spectra(HIGH)
    other = solved(HIGH, y[1])
    errors = ("h2o_vmr_noise_error", "h2o_vmr_smoothing_error")
    for name in ("h2o_vmr", "h2o_vmr_apriori", *errors):
        other[name] = (2 * other[name]).assign_attrs(other[name].attrs)
    other.h2o_vmr_apriori.attrs["sigma_maximum"] *= 2
    with pytest.raises(RetrievalError, match="a priori differs"):
        merge_orders([solved(LOW, y[0]), other], "h2o")


def test_merged__one_profile_is_refused():
    with pytest.raises(RetrievalError, match="two profiles"):
        merge_orders([solved(LOW, spectra(LOW))], "h2o")
