"""Profiles compared with those of others: pairs, kernels, statistics."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import open_verified, write_level2
from tgo_spectra.variables import annotate, lookup

Z = np.arange(0.0, 81.0, 2.0)
SMOOTH = 0.85 * np.exp(-((Z[:, None] - Z) ** 2) / (2 * 4.0**2))
SMOOTH /= SMOOTH.sum(axis=1).max() / 0.95
APRIORI = np.full(Z.size, 30e-6)


def truth(rng):
    """Water with a thin layer that neither smooth profile shows."""
    layer = 60e-6 * np.exp(-((Z - rng.uniform(20, 40)) ** 2) / (2 * 2.0**2))
    return 50e-6 * np.exp(-Z / 40) + layer


def profile(values, *, latitude=40.0, longitude=10.0, hour=0.0, noise=1e-6, **more):
    ds = xr.Dataset(
        {
            "h2o_vmr": ("altitude", values),
            "h2o_vmr_error": ("altitude", np.full(Z.size, noise)),
            "latitude": ("altitude", np.full(Z.size, latitude)),
            "longitude": ("altitude", np.full(Z.size, longitude)),
            "local_true_solar_time": 6.0,
            "solar_longitude": 100.0,
        },
        {"altitude": Z},
    )
    time = np.datetime64("2018-06-14", "ns") + np.timedelta64(int(3600 * hour), "s")
    return ds.assign(time=time, **more)


def retrieved(values, rng, **more):
    """What an instrument with our kernel gives."""
    seen = APRIORI + SMOOTH @ (values - APRIORI) + 1e-6 * rng.normal(size=Z.size)
    return profile(
        seen,
        h2o_averaging_kernel=(("altitude", "altitude_in"), SMOOTH),
        h2o_vmr_apriori=("altitude", APRIORI),
        **more,
    )


def test_kernel__takes_the_difference_of_resolution_away():
    rng = np.random.default_rng(0)
    truths = [truth(rng) for _ in range(60)]
    ours = [retrieved(x, rng, hour=5.0 * k) for k, x in enumerate(truths)]
    theirs = [
        profile(x + 1e-6 * rng.normal(size=Z.size), hour=5.0 * k + 0.1)
        for k, x in enumerate(truths)
    ]
    bins = [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 50, 60, 70]
    found = tgo.compare(ours, theirs, "h2o_vmr", altitude=bins)
    raw = tgo.compare(ours, theirs, "h2o_vmr", altitude=bins, kernels=False)
    assert found["h2o_vmr_pairs"].values.tolist() == [60] * 12
    sigmas, raw_sigmas = (
        np.abs(x["h2o_vmr_mean_difference"] / x["h2o_vmr_mean_difference_error"])
        for x in (found, raw)
    )
    assert sigmas.max() < 4.0
    assert raw_sigmas.max() > 5.0
    # a mean over levels of a bin is better known than one level
    assert (found["h2o_vmr_deviation"] <= found["h2o_vmr_expected_deviation"]).all()
    assert found["h2o_vmr_deviation"].max() < 0.2 * raw["h2o_vmr_deviation"].max()
    assert (found["h2o_vmr_correlation"].sel(altitude=slice(20, 40)) > 0.95).all()
    for name in found.data_vars:
        assert lookup(name) is not None, name


def test_kernel__of_a_logarithm():
    rng = np.random.default_rng(1)
    values = truth(rng)
    seen = APRIORI * np.exp(SMOOTH @ np.log(values / APRIORI))
    one = retrieved(values, rng).assign(h2o_vmr=("altitude", seen, {"state": "log"}))
    found = tgo.compare(one, profile(values), "h2o_vmr")
    np.testing.assert_allclose(
        found["h2o_vmr_mean_difference"].dropna("altitude"), 0.0, atol=1e-18
    )


def test_statistics__bias_and_scatter_come_out():
    rng = np.random.default_rng(2)
    n = 400
    ours = [
        profile(np.full(Z.size, 1e-5 + 3e-6 * rng.normal()), hour=3.0 * k, noise=3e-6)
        for k in range(n)
    ]
    theirs = [
        profile(np.full(Z.size, 0.8e-5 + 4e-6 * rng.normal()), hour=3.0 * k, noise=4e-6)
        for k in range(n)
    ]
    for ds in ours:
        ds["h2o_vmr_noise_error"] = ("altitude", np.full(Z.size, 3e-6))
        ds["h2o_vmr_systematic_error"] = ("altitude", np.full(Z.size, 1e-6))
    level = tgo.compare(ours, theirs, "h2o_vmr").sel(altitude=12.5)
    assert float(level["h2o_vmr_mean_difference"]) == pytest.approx(2e-6, abs=8e-7)
    assert float(level["h2o_vmr_deviation"]) == pytest.approx(5e-6, rel=0.12)
    assert float(level["h2o_vmr_expected_deviation"]) == pytest.approx(5e-6)
    assert float(level["h2o_vmr_mean_difference_error"]) == (
        pytest.approx(5e-6 / n**0.5, rel=0.12)
    )
    assert float(level["h2o_vmr_difference_chi_square"]) == pytest.approx(1.16, abs=0.3)
    assert float(level["h2o_vmr_mean_systematic_error"]) == pytest.approx(1e-6)
    assert abs(float(level["h2o_vmr_correlation"])) < 0.2


def test_pairs__nearest_within_the_rules_each_once():
    flat = np.full(Z.size, 1e-5)
    ours = [profile(flat, hour=0.0), profile(flat, hour=0.5), profile(flat, hour=50.0)]
    theirs = [
        profile(flat, hour=0.4),
        profile(flat, hour=0.05, latitude=44.0),
        profile(flat, hour=50.0, latitude=47.0),
    ]
    found = tgo.compare(ours, theirs, "h2o_vmr")
    assert found["profile"].values.tolist() == ["profile 1", "profile 2"]
    assert found["other_profile"].values.tolist() == ["profile 2", "profile 1"]
    np.testing.assert_allclose(found["hours_apart"], [0.05, 0.1], atol=1e-9)
    np.testing.assert_allclose(found["km_apart"], [236.6, 0.0], atol=0.1)
    wide = tgo.compare(ours, theirs, "h2o_vmr", km=500.0)
    assert wide.sizes["pair"] == 3
    assert (wide.attrs["n_simulated"], wide.attrs["n_simulated_of_other"]) == (0, 0)
    unreal = [ds.assign_attrs(simulated=1) for ds in theirs[:2]]
    wide = tgo.compare(ours, [*unreal, theirs[2]], "h2o_vmr", km=500.0)
    assert (wide.attrs["n_simulated"], wide.attrs["n_simulated_of_other"]) == (0, 2)
    season = tgo.compare(
        [ours[0].assign(solar_longitude=359.0)],
        [theirs[2].assign(solar_longitude=1.0)],
        "h2o_vmr", hours=None, km=None, solar_longitude=3.0, local_time_hours=1.0,
    )  # fmt: skip
    assert season.sizes["pair"] == 1
    assert season.attrs["maximum_hours"] == "none"


def test_across_the_date_line_and_midnight():
    flat = np.full(Z.size, 1e-5)
    one = profile(flat, longitude=179.0).assign(local_true_solar_time=23.8)
    two = profile(flat, longitude=-179.0).assign(local_true_solar_time=0.1)
    found = tgo.compare(one, two, "h2o_vmr", local_time_hours=0.5)
    assert float(found["km_apart"][0]) == pytest.approx(90.6, abs=0.1)


def test_only_common_heights_and_measured_levels():
    rng = np.random.default_rng(3)
    values = truth(rng)
    short = profile(values).isel(altitude=slice(5, 20))  # 10 to 38 km
    found = tgo.compare(retrieved(values, rng), short, "h2o_vmr")
    there = found["altitude"][found["h2o_vmr_pairs"].values > 0]
    assert (float(there.min()), float(there.max())) == (12.5, 37.5)
    blind = retrieved(values, rng)
    blind["h2o_averaging_kernel"] = 0.3 * blind["h2o_averaging_kernel"]
    assert int(tgo.compare(blind, short, "h2o_vmr")["h2o_vmr_pairs"].max()) == 0


def test_published_text_is_compared(tmp_path):
    values = 50e-6 * np.exp(-Z / 40)
    air = tgo.reference_atmosphere(Z)["number_density"].values
    ds = profile(values).assign(number_density=("altitude", air))
    ds["local_true_solar_time"] = ("altitude", np.full(Z.size, 6.0))
    text = tgo.write_bira(ds, tmp_path / "a.txt", "h2o")
    found = tgo.compare(ds, tgo.read_bira(text), "h2o_vmr")
    np.testing.assert_allclose(
        found["h2o_vmr_mean_difference"].dropna("altitude"), 0.0, atol=1e-11
    )
    bare = tgo.read_bira(text).drop_vars("time")
    with pytest.raises(TgoError, match="does not say its time") as caught:
        tgo.compare(ds, bare, "h2o_vmr")
    assert (caught.value.rule, caught.value.field) == ("compare.missing", "hours")


def test_bad_results_are_left_out_and_nothing_is_an_error():
    flat = profile(np.full(Z.size, 1e-5))
    for why in ({"quality_flag": np.int32(1)}, {"converged": np.int8(0)}):
        with pytest.raises(TgoError, match="no two profiles") as caught:
            tgo.compare(flat.assign(why), flat, "h2o_vmr")
        assert caught.value.value == "0 of ours, 1 of others"
    later = flat.assign(time=flat["time"] + np.timedelta64(2, "h"))
    for given, options, rule in (
        ((flat, later, "h2o_vmr"), {}, "compare.no_pair"),
        ((flat, flat, "moon"), {}, "compare.quantity"),
        ((flat, flat, "h2o_vmr"), {"km": 0.0}, "compare.limit"),
        ((flat, flat, "h2o_vmr"), {"altitude": [5.0]}, "compare.altitude"),
    ):
        with pytest.raises(TgoError) as caught:
            tgo.compare(*given, **options)
        assert caught.value.rule == rule


def test_command__forms_of_others_table_picture_and_file(tmp_path, capsys):
    """Level 2 against HARP, nine columns and level 2, each of two occultations."""
    rng = np.random.default_rng(5)
    places = {name: tmp_path / name for name in ("ours", "harp", "text", "theirs")}
    for folder in places.values():
        folder.mkdir()
    for k in range(2):
        ours = annotate(retrieved(truth(rng), rng, hour=5.0 * k))
        write_level2(ours, places["ours"] / f"{k}.nc")
        other = annotate(profile(ours["h2o_vmr"].values - 2e-6, hour=5.0 * k))
        write_level2(other, places["theirs"] / f"{k}.nc")
        tgo.write_harp(other, places["harp"] / f"{k}.nc")
        text = other.assign(number_density=("altitude", np.full(Z.size, 1e15)))
        tgo.write_bira(text, places["text"] / f"{k}.txt", "h2o")
    given = ["compare", str(places["ours"]), "", "--quantity", "h2o_vmr"]
    given += ["--altitude", "20:40:10", "--no-kernels"]
    for name in ("theirs", "harp", "text"):
        given[2] = str(places[name])
        out = ["--out", str(tmp_path / f"{name}.csv")]
        assert main(given + out) == 0, name
        said = capsys.readouterr().out
        assert "\n25\t2\t2e-06\t" in said
        assert "2 pairs of 2 and 2 profiles" in said
        table = (tmp_path / f"{name}.csv").read_text(encoding="utf-8")
        assert "# averaging_kernels_applied = false\n" in table
        assert table.splitlines()[-1].startswith("35,2,")
    made = ["--out", str(tmp_path / "all.nc"), "--plot", str(tmp_path / "all.png")]
    assert main([*given, *made, "--hours", "none"]) == 0
    ds = open_verified(tmp_path / "all.nc")
    np.testing.assert_allclose(ds["h2o_vmr_mean_difference"], 2e-6, rtol=1e-5)
    assert ds.attrs["maximum_hours"] == "none"
    assert (tmp_path / "all.png").stat().st_size > 10_000
    given[2] = str(places["theirs"] / "0.nc")
    assert main([*given, "--hours", "0.1", "--km", "0.001"]) == 0
    # nothing that belongs together is one clear error
    lone = annotate(profile(truth(rng), hour=99.0))
    given[2] = str(write_level2(lone, tmp_path / "lone.nc"))
    assert main(given) == 1
    assert "no two profiles belong together" in capsys.readouterr().err
