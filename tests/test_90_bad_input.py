"""Bad input: one clear error that names file, field and value; nothing is left."""

from __future__ import annotations

import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra.cli import main
from tgo_spectra.errors import (
    AtmosphereError,
    LineListError,
    ProductError,
    RetrievalError,
    SetupError,
    TableError,
    TgoError,
)


def test_truncated_table__is_refused_and_leaves_no_output(occultation, tmp_path):
    label = tmp_path / occultation.name
    label.write_bytes(occultation.read_bytes())
    table = occultation.with_suffix(".tab").read_bytes()
    label.with_suffix(".tab").write_bytes(table[:-5000])
    with pytest.raises(ProductError) as caught:
        tgo.open_product(label)
    assert caught.value.rule == "label.filesize_mismatch"
    rows = tgo.run([label], tmp_path / "out", progress=False)
    assert [row.state for row in rows] == ["failed"]
    assert "filesize_mismatch" in str(rows[0])
    assert not list((tmp_path / "out").rglob("*.nc*"))


def test_missing_table__names_the_file(occultation, tmp_path):
    label = tmp_path / occultation.name
    label.write_bytes(occultation.read_bytes())
    with pytest.raises(ProductError, match=label.stem):
        tgo.open_product(label)


def test_unknown_instrument__names_it(occultation, tmp_path):
    label = tmp_path / occultation.name
    text = occultation.read_text(encoding="utf-8").replace(
        "em16_tgo_nmd", "em16_tgo_xyz"
    )
    label.write_text(text, encoding="utf-8")
    label.with_suffix(".tab").write_bytes(occultation.with_suffix(".tab").read_bytes())
    with pytest.raises(ProductError, match="em16_tgo_xyz"):
        tgo.open_product(label)


def test_empty_line_list__is_refused(tmp_path):
    path = tmp_path / "empty.par"
    path.write_bytes(b"")
    with pytest.raises(LineListError, match=r"empty\.par"):
        tgo.read_line_list(path)


def test_setup_typo__is_named(level1, tmp_path):
    path = tmp_path / "typo.toml"
    path.write_text("name='x'\nchanel='so'\n", encoding="utf-8")
    with pytest.raises(SetupError, match="chanel"):
        tgo.retrieve(level1, path)


def test_table_that_does_not_cover_the_order__is_refused(level1):
    setup = tgo.load_setup("so_134").replace(table="so_186_191", gases=["co"], prior={})
    with pytest.raises(TableError, match="order 134 with 10 neighbours") as caught:
        tgo.retrieve(level1, setup)
    assert caught.value.value == "so_186_191"


def test_table_without_the_gas__is_refused(level1):
    setup = tgo.load_setup("so_134").replace(
        gases=["h2o", "co"],
        prior={},
        interferents_absent=["hdo", "co2", "co2 magnetic dipole band", "o3"],
    )
    with pytest.raises(TableError, match="the table has no co"):
        tgo.retrieve(level1, setup)


def test_unknown_table_and_method__list_what_there_is(level1):
    with pytest.raises(TableError, match="'so_1', which is neither in the package"):
        tgo.retrieve(level1, tgo.load_setup("so_134").replace(table="so_1"))
    with pytest.raises(SetupError, match="oe, tikhonov"):
        tgo.retrieve(level1, method="onions")


def test_setup_for_another_order__is_refused(level1):
    with pytest.raises(SetupError, match="136"):
        tgo.retrieve(level1, "so_136")


def test_atmosphere_without_temperature__is_refused(level1):
    air = tgo.reference_atmosphere().drop_vars("temperature")
    with pytest.raises(AtmosphereError, match="temperature"):
        tgo.retrieve(level1, atmosphere=air)


def test_dark_product__says_how_many_rows_are_usable(level1):
    dark = level1.copy()
    dark["transmittance"] = xr.zeros_like(level1["transmittance"])
    with pytest.raises(TgoError, match="0 usable spectra"):
        tgo.retrieve(dark)


def test_runaway_state__is_an_error_not_nan(level1):
    """An a priori far beyond physics that may not move: reported, no NaN."""
    setup = tgo.load_setup("so_134")
    prior = {"h2o": {"constant": 0.5, "relative_sigma": 1e-6}}
    with pytest.raises(RetrievalError) as caught:
        tgo.retrieve(level1, setup.replace(prior=prior))
    assert caught.value.rule == "fit.diverged"


def test_dry_run__says_the_setup_and_writes_nothing(occultation, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["retrieve", str(occultation), "--out", str(out), "--dry-run"]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["to do", str(occultation), "so_134"]
    assert lines[1] == "1 to do, 0 skipped, 0 failed; nothing was done"
    assert main([*given, "--setup", "so_136"]) == 2
    assert capsys.readouterr().out.startswith("failed")
    assert not out.exists()
