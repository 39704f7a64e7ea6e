"""Smooth and filled maps: what they keep, what they claim."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.errors import TgoError
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.maps import krige_map, smooth_map

NOISE = 0.2


def spot(value, latitude, longitude=0.0, season=100.0, noise=NOISE, systematic=0.0):
    data = {
        "ch4_vmr": value, "ch4_vmr_noise_error": noise,
        "ch4_vmr_error": np.hypot(noise, systematic),
        "latitude": latitude, "longitude": longitude,
    }  # fmt: skip
    ds = xr.Dataset(
        {name: ("altitude", [float(x)]) for name, x in data.items()},
        {"altitude": [10.0]},
    )
    ds["ch4_averaging_kernel"] = (("altitude", "altitude_in"), [[1.0]])
    return ds.assign(solar_longitude=float(season), mars_year=35)


def field(latitude, longitude):
    y, x = np.deg2rad(latitude), np.deg2rad(longitude)
    wave = np.sin(y) * np.cos(y) ** 2 * np.cos(2.0 * x)
    return np.sin(y) + 0.7 * np.cos(y) * np.cos(x - 3.0) + 1.5 * wave


@pytest.fixture(scope="module")
def sphere():
    """A map over the whole planet, one noisy profile in two cells of three."""
    rng = np.random.default_rng(4)
    grid = tgo.Grid(latitude=range(-90, 91, 15), longitude=range(-180, 181, 20))
    y, x = np.meshgrid(np.arange(-82.5, 90, 15), np.arange(-170, 180, 20))
    keep = rng.random(y.size) < 0.67
    y, x = y.ravel()[keep], x.ravel()[keep]
    values = field(y, x) + NOISE * rng.normal(size=y.size)
    many = [spot(*one, systematic=0.05) for one in zip(values, y, x, strict=True)]
    return tgo.grid_level2(many, grid)


def truth_of(level3):
    return field(level3["latitude"], level3["longitude"])


def test_smooth__brute_force(sphere):
    found = smooth_map(sphere, "ch4", degrees=12.0)
    mean, count = sphere["ch4_mean"], sphere["ch4_count"]
    y, x = xr.broadcast(sphere["latitude"], sphere["longitude"])
    y, x = np.deg2rad(y.values), np.deg2rad(x.values)
    for i, j in ((0, 0), (6, 17), (11, 9)):
        if not count.values[i, j]:
            assert np.isnan(found["ch4_smoothed_mean"].values[i, j])
            continue
        cosine = np.sin(y[i, j]) * np.sin(y) + np.cos(y[i, j]) * np.cos(y) * np.cos(x - x[i, j])  # noqa: E501  # fmt: skip
        apart = np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))
        weight = np.where(
            (apart < 48.0) & (count.values > 0), np.exp(-((apart / 12.0) ** 2) / 2), 0.0
        )
        expected = np.nansum(weight * mean.values) / weight.sum()
        assert found["ch4_smoothed_mean"].values[i, j] == pytest.approx(expected)
        error = NOISE * np.sqrt((weight**2).sum()) / weight.sum()
        assert found["ch4_smoothed_standard_error"].values[i, j] == pytest.approx(
            np.hypot(error, 0.05)
        )
        number = weight.sum() ** 2 / (weight**2).sum()
        assert found["ch4_smoothed_number"].values[i, j] == pytest.approx(number)


def test_smooth__errors_cover_a_field_without_gradients():
    rng = np.random.default_rng(5)
    grid = tgo.Grid(solar_longitude=range(0, 361, 10), latitude=range(-90, 91, 10))
    y, s = np.meshgrid(np.arange(-85, 90, 10), np.arange(5, 360, 10))
    values = 1.0 + NOISE * rng.normal(size=y.size)
    many = [
        spot(v, a, season=b)
        for v, a, b in zip(values, y.ravel(), s.ravel(), strict=True)
    ]
    level3 = tgo.grid_level2(many, grid)
    found = smooth_map(level3, "ch4", degrees=8.0, solar_longitude=8.0)
    mean, error = found["ch4_smoothed_mean"], found["ch4_smoothed_standard_error"]
    assert float(error.median()) < 0.5 * NOISE
    assert 0.90 < float((np.abs(mean - 1.0) < 2 * error).mean()) <= 1.0
    assert float((np.abs(mean - 1.0) < error).mean()) < 0.85  # and are not too wide
    # the year is a circle
    ends = [float(found["ch4_smoothed_number"][k, 9]) for k in (0, 18, -1)]
    assert ends == pytest.approx([ends[1]] * 3)
    alone = smooth_map(level3, "ch4", solar_longitude=1e-3)
    np.testing.assert_allclose(alone["ch4_smoothed_mean"], level3["ch4_mean"])


def test_smooth__holes_stay_unless_they_are_to_be_filled(sphere, tmp_path):
    kept = smooth_map(sphere, "ch4", degrees=12.0)
    np.testing.assert_array_equal(
        np.isfinite(kept["ch4_smoothed_mean"]), sphere["ch4_count"] > 0
    )
    full = smooth_map(sphere, "ch4", degrees=12.0, fill=True)
    assert np.isfinite(full["ch4_smoothed_mean"]).all()
    assert (full.attrs["filled"], full.attrs["degrees"]) == ("true", 12.0)
    both = tgo.write_map(sphere.merge(kept), tmp_path / "a.nc")
    assert "ch4_smoothed_mean" in open_verified(both)


def test_smooth__years_and_sparse_maps_stay_apart():
    grid = tgo.Grid(mars_year=[34, 35, 36], latitude=range(-90, 91, 30))
    many = [spot(1.0, -15.0), spot(2.0, 15.0), spot(9.0, 15.0).assign(mars_year=34)]
    for form in ("dense", "sparse"):
        level3 = tgo.grid_level2(many, grid, form=form)
        found = smooth_map(level3, "ch4", degrees=300.0)["ch4_smoothed_mean"]
        assert found.sel(mars_year=34, latitude=15).item() == pytest.approx(9.0)
        w = np.exp(-0.5 * (30.0 / 300.0) ** 2)
        expected = (2.0 + w) / (1.0 + w)
        assert found.sel(mars_year=35, latitude=15).item() == pytest.approx(expected)


def test_krige__fills_a_smooth_field_with_errors_that_cover(sphere):
    pytest.importorskip("sklearn", reason="needs scikit-learn (the extra kriging)")
    found = krige_map(sphere, "ch4")
    mean, error = found["ch4_kriged_mean"], found["ch4_kriged_standard_error"]
    assert np.isfinite(mean).all()
    away = np.abs(mean - truth_of(sphere))
    holes = sphere["ch4_count"].values == 0
    assert holes.sum() > 50
    for some in (holes, ~holes):
        assert (away.values <= 2.0 * error.values)[some].mean() >= 0.9
        assert error.values[some].max() < NOISE
    assert (error >= 0.05).all()  # what all cells share is never lost
    assert away.max() < 0.3
    name, length = found.attrs["kriging_lengths"].split()
    assert name == "degrees"
    assert 20.0 < float(length) < 200.0
    np.testing.assert_allclose(
        krige_map(sphere, "ch4")["ch4_kriged_mean"], mean, rtol=1e-12
    )


def test_krige__of_season_and_latitude_is_the_same_from_any_start_of_the_year():
    pytest.importorskip("sklearn", reason="needs scikit-learn (the extra kriging)")
    rng = np.random.default_rng(6)
    y, s = np.meshgrid(np.arange(-75, 90, 30), np.arange(15, 360, 30))
    y, s = y.ravel(), s.ravel()
    values = np.sin(np.deg2rad(s)) * y / 45.0 + NOISE * rng.normal(size=y.size)
    keep = rng.random(y.size) < 0.8
    maps = []
    for turn in (0, 120):
        edges = np.arange(turn, turn + 361, 30)
        grid = tgo.Grid(solar_longitude=edges, latitude=range(-90, 91, 30))
        many = [spot(*one[:2], season=one[2]) for one in zip(values[keep], y[keep], s[keep], strict=True)]  # noqa: E501  # fmt: skip
        maps.append(krige_map(tgo.grid_level2(many, grid), "ch4"))
    one, two = (x["ch4_kriged_mean"].values for x in maps)
    np.testing.assert_allclose(one, np.roll(two, 4, axis=0), rtol=1e-4, atol=1e-4)
    assert maps[0].attrs["kriging_lengths"].startswith("solar_longitude ")


def test_refused(sphere, monkeypatch):
    from tgo_spectra.maps import smoothing

    for given, rule in (
        ({"field": "co", "degrees": 5.0}, "map.smooth"),
        ({"field": "ch4"}, "map.smooth"),
        ({"field": "ch4", "degrees": -5.0}, "map.smooth"),
        ({"field": "ch4", "altitude_km": 5.0}, "map.smooth"),
    ):
        with pytest.raises(TgoError) as caught:
            smooth_map(sphere, **given)
        assert caught.value.rule == rule
    pytest.importorskip("sklearn", reason="needs scikit-learn (the extra kriging)")
    line = tgo.grid_level2(spot(1.0, 10.0), tgo.Grid(latitude=[-90, 0, 90]))
    with pytest.raises(TgoError, match="two axes"):
        krige_map(line, "ch4")
    monkeypatch.setattr(smoothing, "MOST_CELLS", 50)
    with pytest.raises(TgoError, match="from 3 to 50") as caught:
        krige_map(sphere, "ch4")
    assert caught.value.rule == "map.krige"
