"""``quality_flag`` of level 2 in maps, figures, ``info`` and the record of a run."""

from __future__ import annotations

import json

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from test_70_maps import profile
from test_80_batch import make_products

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.batch.journal import (
    ProductStatus,
    Rows,
    journal_line,
    read_journal,
    results,
    summary,
)
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import flags_of, reasons_of
from tgo_spectra.files.netcdf import open_verified, write_level2, write_map
from tgo_spectra.plots import plot_limits, plot_map, plot_profile
from tgo_spectra.variables import annotate

WHOLE = tgo.Grid(latitude=[-90, 90])


def flagged(value, *reasons, lid="", **kwargs):
    """A profile whose flag has these reasons."""
    ds = profile(value, **kwargs)
    ds["quality_flag"] = ((), quality.pack(reasons))
    ds["ch4_upper_limit"] = ("altitude", np.full(ds.sizes["altitude"], 2.0 + value))
    if lid:
        ds.attrs |= {"product_lid": lid, "product_version": "1.0"}
    return annotate(ds)


def columns(*flags, n=4):
    """Nadir columns of 1, 2, 3 ... with a flag each."""
    values = np.arange(1.0, n + 1.0)
    ds = xr.Dataset(
        {
            "co_column": ("spectrum", values),
            "co_column_error": ("spectrum", np.ones(n)),
            "co_degrees_of_freedom_of_spectrum": ("spectrum", np.ones(n)),
            "latitude": ("spectrum", np.zeros(n)),
            "status": ("spectrum", np.zeros(n, np.int8)),
        }
    )
    if flags:
        packed = [quality.pack(reasons) for reasons in flags]
        ds["quality_flag"] = ("spectrum", np.array(packed, np.int32))
    return annotate(ds)


# --- maps ----------------------------------------------------------------------------


def test_map__leaves_out_severe_profiles_by_default_and_counts_them():
    many = [
        flagged(1.0, lid="urn:a:1"),
        flagged(2.0, "reference_atmosphere", "few_spectra", lid="urn:a:2"),
        flagged(50.0, "poor_fit", "reference_atmosphere", lid="urn:a:3"),
        flagged(60.0, "poor_fit", "calibration_failed", lid="urn:a:4"),
    ]
    ds = tgo.grid_level2(many, WHOLE)
    assert ds["ch4_mean"].item() == 1.5
    assert ds["ch4_count"].item() == 2
    found = {k: v for k, v in ds.attrs.items() if "left_out" in k}
    assert found == {
        "n_profiles_left_out": 2,
        "n_spectra_left_out": 0,
        "n_left_out_poor_fit": 2,
        "n_left_out_calibration_failed": 1,
    }
    assert (ds.attrs["quality"], ds.attrs["n_profiles"]) == ("good", 2)
    assert ds.attrs["n_products_of_unknown_quality"] == 0
    whole = tgo.grid_level2(many, WHOLE, quality="all")
    assert whole["ch4_count"].item() == 4
    assert whole.attrs["quality"] == "all"
    assert not any(k.startswith("n_left_out_") for k in whole.attrs)


@pytest.mark.parametrize("reason", quality.REASONS, ids=lambda r: r.name)
def test_map__every_severe_reason_and_no_other_counts(reason):
    ds = tgo.grid_level2(flagged(1.0, reason.name), WHOLE, gases=["ch4"])
    assert ds["ch4_count"].item() == (not reason.severe)
    assert ds.attrs.get(f"n_left_out_{reason.name}", 0) == int(reason.severe)


def test_map__older_results_are_of_unknown_quality():
    old, lost = profile(1.0), profile(9.0, converged=False)
    ds = tgo.grid_level2([old, lost, flagged(3.0)], WHOLE)
    assert ds["ch4_mean"].item() == 2.0
    assert ds.attrs["n_products_of_unknown_quality"] == 2
    assert ds.attrs["n_left_out_not_converged"] == 1
    both = tgo.grid_level2([old, lost, flagged(3.0)], WHOLE, quality="all")
    assert both["ch4_count"].item() == 3
    assert both.attrs["n_products_of_unknown_quality"] == 2


def test_map__spectra_by_their_own_flags():
    ds = columns([], ["poor_fit"], ["few_spectra"], ["not_converged", "poor_fit"])
    found = tgo.grid_level2(ds, WHOLE)
    assert found["co_column_mean"].item() == 2.0
    assert found.attrs["n_spectra_left_out"] == 2
    assert found.attrs["n_left_out_poor_fit"] == 2
    assert found.attrs["n_left_out_not_converged"] == 1
    assert found.attrs["n_profiles_left_out"] == 0
    assert tgo.grid_level2(ds, WHOLE, quality="all")["co_column_count"].item() == 4
    # a row without a value is not left out for its flag
    ds["co_column"][1] = np.nan
    assert tgo.grid_level2(ds, WHOLE).attrs["n_spectra_left_out"] == 1


def test_map__spectra_without_flags_by_their_status():
    ds = columns()
    ds["status"][2] = 7
    found = tgo.grid_level2(ds, WHOLE)
    assert found["co_column_count"].item() == 3
    assert found.attrs["n_left_out_not_converged"] == 1
    assert found.attrs["n_products_of_unknown_quality"] == 1


def test_map__counts_add_and_choices_must_agree(tmp_path):
    parts = [
        [flagged(1.0, lid="urn:a:1"), flagged(9.0, "poor_fit", lid="urn:a:2")],
        [flagged(2.0, "lines_disagree", "poor_fit", lid="urn:a:3")],
    ]
    maps = [tgo.grid_level2(part, WHOLE, gases=["ch4"]) for part in parts]
    merged = tgo.merge_maps(maps)
    whole = tgo.grid_level2([*parts[0], *parts[1]], WHOLE)
    names = [k for k in whole.attrs if k.startswith("n_")]
    assert {k: merged.attrs[k] for k in names} == {k: whole.attrs[k] for k in names}
    assert whole.attrs["n_left_out_poor_fit"] == 2
    read = open_verified(write_map(merged, tmp_path / "map.nc"))
    assert int(read.attrs["n_left_out_lines_disagree"]) == 1
    every = tgo.grid_level2(flagged(3.0, lid="urn:a:4"), WHOLE, quality="all")
    with pytest.raises(TgoError, match="different choices") as caught:
        tgo.merge_maps([merged, every])
    assert caught.value.field == "quality"


def test_map__unknown_choice_and_nothing_left():
    with pytest.raises(TgoError, match="'best'") as caught:
        tgo.grid_level2(flagged(1.0), WHOLE, quality="best")
    assert caught.value.rule == "map.quality"
    with pytest.raises(TgoError, match="1 left out for their quality"):
        tgo.grid_level2(flagged(1.0, "poor_fit"), WHOLE)


# --- files and the command line ------------------------------------------------------


def test_flag_goes_through_a_file(tmp_path):
    path = write_level2(flagged(1.0, "poor_fit", "few_spectra"), tmp_path / "a.nc")
    read = open_verified(path)
    assert reasons_of(read) == ("poor_fit", "few_spectra")
    assert read["quality_flag"].dtype == np.int32
    meanings = read["quality_flag"].attrs["flag_meanings"].split()
    masks = dict(zip(meanings, read["quality_flag"].attrs["flag_masks"], strict=True))
    assert int(read["quality_flag"]) & masks["few_spectra"]
    assert flags_of(profile(1.0)) is reasons_of(profile(1.0)) is None


@pytest.mark.parametrize(
    ("ds", "lines"),
    [
        (flagged(1.0), ["quality                 good"]),
        (
            flagged(1.0, "poor_fit"),
            [
                "quality                 not good",
                "  poor_fit              The residuals",
            ],
        ),
        (profile(1.0), ["quality                 not known: no quality_flag"]),
        (
            columns(["poor_fit"], [], ["few_spectra"], []),
            ["quality                 good", "(1 of 4)"],
        ),
    ],
    ids=["good", "bad", "unknown", "rows"],
)
def test_info__says_the_reasons(tmp_path, capsys, ds, lines):
    path = write_level2(ds, tmp_path / "a.nc")
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    for line in lines:
        assert line in out


def test_map_command__says_what_it_left_out(tmp_path, capsys):
    folder = tmp_path / "l2"
    write_level2(flagged(1.0, lid="urn:a:1"), folder / "a.nc")
    write_level2(flagged(1.0, "poor_fit", lid="urn:a:2"), folder / "b.nc")
    grid = ["--grid", "latitude=-90:90:180", "--out", str(tmp_path / "map.nc")]
    assert main(["map", str(folder), *grid]) == 0
    assert "1 profiles, 1 profiles left out (1 poor_fit) ->" in capsys.readouterr().out
    assert main(["map", str(folder), *grid, "--quality", "all"]) == 0
    assert capsys.readouterr().out.startswith("2 profiles ->")


# --- figures -------------------------------------------------------------------------


def test_figures__are_marked():
    bad = flagged(1.0, "poor_fit", "few_spectra", lid="urn:a:1")
    good = flagged(2.0, lid="urn:a:2")
    try:
        lines = plot_profile(bad, "ch4").get_title("left").splitlines()
        assert lines[1:] == ["not to be used: poor_fit", "few_spectra"]
        for fine in (good, profile(1.0)):
            title = plot_profile(fine, "ch4").get_title("left")
            assert len(title.splitlines()) == 1
            assert "not to be used" not in title
        ax = plot_limits([bad, good])
        assert [line.get_xdata().size for line in ax.lines] == [1]
        assert ax.collections[0].get_offsets().shape == (1, 2)
        grid = tgo.Grid(latitude=[-90, 0, 90], altitude=[0, 50, 100])
        level3 = tgo.grid_level2([bad, good], grid)
        ax = plot_map(level3, "ch4", minimum_count=1)
        assert "1 profiles left out (1 poor_fit)" in ax.get_title("left")
    finally:
        plt.close("all")


# --- runs ----------------------------------------------------------------------------

ROWS = [
    ProductStatus("in/a.xml", "done", quality=()),
    ProductStatus("in/b.xml", "skipped", quality=("reference_atmosphere",)),
    ProductStatus("in/c.xml", "done", quality=("poor_fit", "reference_atmosphere")),
    ProductStatus("in/z.zip::d.xml", "done", quality=("poor_fit", "lines_disagree")),
    ProductStatus("in/e.xml", "done"),
    ProductStatus("in/f.xml", "failed", rule="io.x", message="bad"),
]


def test_summary__names_what_is_not_good():
    assert summary(ROWS) == (
        "4 done, 1 skipped, 1 failed: 2 good (1 reference_atmosphere), "
        "2 poor_fit (c, d), 1 lines_disagree (d), 1 of unknown quality"
    )
    many = [ProductStatus(f"{k}.xml", "done", quality=("poor_fit",)) for k in range(5)]
    assert summary(many).endswith(": 0 good, 5 poor_fit (0, 1, 2 and 2 more)")
    assert summary([ROWS[-1]]) == "0 done, 0 skipped, 1 failed"
    assert summary([]) == "0 done, 0 skipped, 0 failed"


def test_results__counts():
    assert results(ROWS) == {
        "done": 4,
        "skipped": 1,
        "failed": 1,
        "good": 2,
        "not_good": 2,
        "of_unknown_quality": 1,
        "reasons": {"poor_fit": 2, "lines_disagree": 1, "reference_atmosphere": 2},
    }


def test_rows__show_themselves_as_a_table():
    rows = Rows([*ROWS, ProductStatus("in/<b>.xml", "failed", message="<i>\x1b[0m")])
    assert rows == [*ROWS, rows[-1]]
    first, head, *lines = repr(rows).splitlines()
    assert first == summary(rows)
    assert head.split() == ["product", "state", "quality", "reasons"]
    assert lines[2].split() == [
        *("c.xml", "done", "not", "good", "poor_fit,", "reference_atmosphere"),
    ]
    shown = rows._repr_html_()
    assert "&lt;b&gt;.xml" in shown
    assert "<i>" not in shown
    assert "\x1b" not in shown + repr(rows)
    assert len(repr(Rows(ROWS * 1000)).splitlines()) < 30
    assert repr(Rows()) == "0 done, 0 skipped, 0 failed"


def test_journal__read_again_whatever_happened_to_it(tmp_path, capsys):
    path = tmp_path / "journal.jsonl"
    torn = journal_line(ROWS[0])[:40]
    other = journal_line(ROWS[1]).replace("skipped", "done")
    old = json.loads(journal_line(ROWS[4]))["row"]
    old.pop("quality")
    first = ProductStatus("in/a.xml", "failed", message="at first")
    lines = [journal_line(row) for row in (first, *ROWS[:3], *ROWS[3:])]
    path.write_text("\n".join([*lines, torn, other, "null", "[]"]) + "\n")
    assert read_journal(path) == ROWS
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == summary(ROWS)
    assert "not good\tin/c.xml\tpoor_fit reference_atmosphere" in out
    assert "failed\tin/f.xml\tbad" in out
    assert "in/a.xml" not in out
    path.write_text("{}\n")
    with pytest.raises(TgoError, match="no row of a run"):
        read_journal(path)


@pytest.mark.parametrize("rerun", [False, True])
def test_run__records_the_quality_of_its_results(tmp_path, monkeypatch, capsys, rerun):
    """From the retrieval to the journal, `run.json` and the last line."""
    from tgo_spectra import readers, retrieval

    def open_product(path):
        return xr.Dataset({"x": ("spectrum", [1.0, 2.0])}, attrs={"name": path.stem})

    def retrieve(level1, setup=None, atmosphere=None):
        bad = level1.attrs["name"] == "two"
        return flagged(1.0, *(["not_converged"] if bad else []))

    monkeypatch.setattr(readers, "open_product", open_product)
    monkeypatch.setattr(retrieval, "retrieve", retrieve)
    folder, out = make_products(tmp_path / "in", ("one", "two")), tmp_path / "out"
    given = ["retrieve", str(folder), "--out", str(out), "--workers", "0"]
    for _ in range(1 + rerun):
        capsys.readouterr()
        assert main(given) == 0
    counts = "0 done, 2 skipped" if rerun else "2 done, 0 skipped"
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{counts}, 0 failed: 1 good, 1 not_converged (")
    assert json.loads((out / "run.json").read_text())["results"]["reasons"] == {
        "not_converged": 1
    }
    by = {row.quality for row in read_journal(out / "journal.jsonl")}
    assert by == {(), ("not_converged",)}
