"""Limits of many occultations together: what falls with their number, and what not."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.files.netcdf import write_level2
from tgo_spectra.maps import table_of
from tgo_spectra.maps.stacking import _One, _stacked

PPT = 1e-12
GRID = tgo.Grid(solar_longitude=[0, 180, 360], latitude=[-90, 0, 90])


def occultation(value, *, noise=10.0, latitude=40.0, season=90.0, **sources):
    """Level 2 with a layer; numbers in 1e-12."""
    error = np.sqrt(noise**2 + sum(x**2 for x in sources.values()))
    data = {"": value, "_noise_error": noise, "_error": error}
    data |= {f"_systematic_{name}": x for name, x in sources.items()}
    ds = xr.Dataset(
        {f"ch4_layer_vmr{k}": PPT * v for k, v in data.items()},
        {"altitude": np.arange(0.0, 60.0, 5.0)},
    )
    ds["ch4_layer_vmr"].attrs["layer_km"] = "5 30"
    ds["latitude"] = ("altitude", np.full(12, latitude))
    return ds.assign(solar_longitude=season, ch4_layer_detected=np.int8(0))


def cell(found, name):
    return found[f"ch4_stacked_{name}"].sel(solar_longitude=90.0, latitude=45.0).item()


def test_random_error_falls_and_common_does_not():
    sizes = {}
    for n in (4, 400):
        rng = np.random.default_rng(n)
        many = [occultation(10 * e, spectroscopy=3.0) for e in rng.normal(size=n)]
        found = tgo.stacked_limits(many, "ch4", GRID)
        assert cell(found, "count") == n
        assert cell(found, "common_error") == pytest.approx(3 * PPT)
        assert cell(found, "common_spectroscopy") == pytest.approx(3 * PPT)
        assert cell(found, "limit_floor") == pytest.approx(6 * PPT)
        assert cell(found, "best_upper_limit") >= 2 * np.hypot(10, 3) * PPT
        sizes[n] = cell(found, "random_error")
    assert sizes[400] == pytest.approx(0.5 * PPT, rel=0.15)
    assert sizes[400] < sizes[4] / 5
    assert found["ch4_stacked_count"].values.tolist() == [[0, 400], [0, 0]]
    assert np.isnan(found["ch4_stacked_upper_limit"].values[1, 1])


def test_sources_keep_their_sign():
    many = [occultation(x, temperature=4.0 * (-1) ** x, lines=2.0) for x in range(10)]
    found = tgo.stacked_limits(many, "ch4", GRID)
    assert cell(found, "common_temperature") == pytest.approx(0.0, abs=1e-18)
    assert cell(found, "common_lines") == pytest.approx(2 * PPT)
    alike = [occultation(x, temperature=4.0) for x in range(10)]
    assert cell(tgo.stacked_limits(alike, "ch4", GRID), "common_error") == (
        pytest.approx(4 * PPT)
    )


def test_sources_that_are_not_shared_fall_with_the_number():
    rng = np.random.default_rng(1)
    many = [
        occultation(x, temperature=30.0, lines=2.0)
        for x in np.hypot(10, 30) * rng.normal(size=100)
    ]
    found = tgo.stacked_limits(many, "ch4", GRID, shared=["lines"])
    assert cell(found, "common_error") == pytest.approx(2 * PPT)
    assert cell(found, "random_error") == pytest.approx(3.16 * PPT, rel=0.2)
    assert cell(found, "reduced_chi_square") == pytest.approx(1.0, abs=0.4)
    assert found.attrs["shared_sources"] == "lines other smoothing"


def test_error_that_level2_gives_to_no_source_is_shared():
    one = occultation(1.0)
    one["ch4_layer_vmr_error"] = 12.5 * PPT
    found = tgo.stacked_limits([one], "ch4", GRID)
    assert cell(found, "common_other") == pytest.approx(7.5 * PPT)


@pytest.mark.parametrize("shared", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 5, 50])
def test_limit_covers_truths_about_itself(n, shared):
    """2,000 cells for each truth of 0, 0.5, 1 and 2 times the limit."""
    rng = np.random.default_rng([n, int(10 * shared)])
    draws = 2000
    for times in (0.0, 0.5, 1.0, 2.0):
        truth = times * 2.0 * np.hypot(n**-0.5, shared)
        common = shared * rng.normal(size=(draws, 1))
        x = truth + common + rng.normal(size=(draws, n))
        error = float(np.hypot(1.0, shared))
        ones = [
            _One(k, value, 1.0, error, {"lines": shared}, detected=False)
            for k, row in enumerate(x.tolist())
            for value in row
        ]
        cells, limit = _stacked(ones, ["lines"], 2.0)["upper_limit"]
        assert cells.size == draws
        chance = 3 * (0.0228 * 0.9772 / draws) ** 0.5
        assert np.mean(limit >= truth) >= 0.9772 - chance


def test_table_and_command(tmp_path, capsys):
    for k in range(6):
        ds = occultation(float(k), latitude=-40.0 if k < 2 else 40.0, lines=2.0)
        ds["ch4_vmr"] = ("altitude", np.zeros(12))
        ds.attrs["product_lid"] = f"urn:a:b:{k}"
        if k == 5:
            ds["reduced_chi_square"] = 99.0
        write_level2(ds, tmp_path / "l2" / f"{k}.nc")
    out = tmp_path / "limits.csv"
    given = ["limits", str(tmp_path / "l2"), "--gas", "CH4", "--out", str(out)]
    assert main(given) == 0
    assert capsys.readouterr().out.startswith("5 occultations, 1 left out")
    text = out.read_text()
    assert "# layer_km = 5 30\n" in text
    table = pd.read_csv(io.StringIO(text), comment="#")
    assert table["latitude"].tolist() == [-45.0, 45.0]
    assert table["ch4_stacked_count"].tolist() == [2, 3]
    assert table["ch4_stacked_common_error"].tolist() == pytest.approx([2 * PPT] * 2)
    assert main([*given, "--shared", "moon"]) == 1
    whole = tgo.stacked_limits(tmp_path / "l2", "ch4", tgo.Grid())
    assert len(table_of(whole).splitlines()) == 6


def test_detections_and_lost_places_are_counted():
    seen = occultation(60.0).assign(ch4_layer_detected=np.int8(1))
    seen.attrs["simulated"] = 1
    lost = occultation(2.0, latitude=np.nan)
    lost.attrs["product_lid"] = "urn:x:y:lost"
    with pytest.warns(TgoWarning, match="urn:x:y:lost"):
        found = tgo.stacked_limits([seen, occultation(1.0), lost], "ch4", GRID)
    assert (cell(found, "count"), cell(found, "detected_count")) == (2, 1)
    assert found.attrs["n_profiles"] == 2
    assert found.attrs["n_products_without_place"] == 1
    assert found.attrs["n_products_of_unknown_quality"] == 3
    assert found.attrs["n_simulated"] == 1
    assert "# n_simulated = 1\n" in table_of(found)


def test_files_are_read_in_part_as_datasets_are_whole(tmp_path):
    many = []
    for k in range(4):
        ds = occultation(60.0 - k, lines=2.0, temperature=-1.0, spectroscopy=3.0)
        ds["ch4_layer_vmr_smoothing_error"] = 0.5 * PPT
        ds["ch4_vmr"] = ("altitude", np.zeros(12))
        ds.attrs["product_lid"] = f"urn:a:b:{k}"
        many.append(ds.assign(ch4_layer_detected=np.int8(k % 2)))
        write_level2(many[-1], tmp_path / f"{k}.nc")
    whole = tgo.stacked_limits(many, "ch4", GRID, shared=["lines", "temperature"])
    part = tgo.stacked_limits(tmp_path, "ch4", GRID, shared=["lines", "temperature"])
    xr.testing.assert_equal(part, whole)
    assert cell(part, "detected_count") == 2


def test_refused():
    one, other = occultation(1.0), occultation(2.0)
    other["ch4_layer_vmr"].attrs["layer_km"] = "5 40"
    for given, rule in (
        (([one, other], "ch4", GRID), "map.layer"),
        (([], "ch4", GRID), "map.layer"),
        ((one, "xe", GRID), "map.gas"),
        ((one, "ch4", tgo.Grid(altitude=[0, 10])), "map.columns"),
        (([one, one], "ch4", GRID), "map.repeated"),
    ):
        with pytest.raises(TgoError) as caught:
            tgo.stacked_limits(*given)
        assert caught.value.rule == rule
    for options, rule in (
        ({"quality": "fair"}, "map.quality"),
        ({"sigma_level": 0.0}, "map.sigma_level"),
    ):
        with pytest.raises(TgoError) as caught:
            tgo.stacked_limits(one, "ch4", GRID, **options)
        assert caught.value.rule == rule
    with pytest.raises(TgoError, match="lacks a variable") as caught:
        tgo.stacked_limits(one.drop_vars("latitude"), "ch4", GRID)
    assert (caught.value.rule, caught.value.field) == ("map.variable", "latitude")
    with pytest.raises(TgoError, match="no input has this source") as caught:
        tgo.stacked_limits(occultation(1.0, lines=1.0), "ch4", GRID, shared=["moon"])
    assert caught.value.value == "moon"
