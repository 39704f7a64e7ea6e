"""Command line: exit codes, one-line messages."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.batch import products as batch
from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.cli import main
from tgo_spectra.files.netcdf import open_verified, write_level2


def level2(value=1e-11):
    return xr.Dataset(
        {
            "ch4_vmr": ("altitude", np.full(3, value)),
            "ch4_vmr_error": ("altitude", np.full(3, 2e-11)),
            "ch4_averaging_kernel": (("altitude", "altitude_in"), np.eye(3)),
            "latitude": ("altitude", np.full(3, 12.0)),
            "solar_longitude": ((), 100.0),
        },
        {"altitude": [1.0, 6.0, 11.0]},
        {"product_lid": "urn:esa:psa:b:c:lid"},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["retrieve", "--out", "x"],
        ["map"],
        ["info", "/no/such/file.xml"],
        ["lines", "fetch", "ch4", "--range", "a", "b"],
        ["tables", "build", "--lines", "ch4", "--range", "1", "2", "--out", "t.nc"],
        ["demo", "--workers", "-1"],
    ],
)
def test_usage__64(arguments, capsys):
    assert main(arguments) == 64
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["map", "-h"]])
def test_help__0(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out


def test_help__lists_the_commands(capsys):
    main(["--help"])
    out = capsys.readouterr().out
    for name in [
        "demo",
        "info",
        "retrieve",
        "map",
        "simulate",
        "lines",
        "tables",
        "setups",
    ]:
        assert f"\n  {name} " in out


def test_setups__listed(capsys):
    assert main(["setups"]) == 0
    assert "so_134" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("done", "skipped"), 0),
        (("done", "failed"), 2),
        (("failed", "failed"), 2),
    ],
)
def test_retrieve__exit_codes(monkeypatch, capsys, states, code):
    def run(products, out, setup, workers, atmosphere, *, client):
        assert (products, out, workers) == (("a.xml", "b.xml"), "o", 3)
        return [ProductStatus(p, s) for p, s in zip(products, states, strict=True)]

    monkeypatch.setattr(batch, "run", run)
    given = ["retrieve", "a.xml", "b.xml", "--out", "o", "--workers", "3"]
    assert main(given) == code
    captured = capsys.readouterr()
    assert f"{states.count('failed')} failed" in captured.out
    assert captured.err.count("failed ") == states.count("failed")


def test_retrieve__setups_and_climatology(monkeypatch, tmp_path, capsys):
    given = {}

    def run(products, out, setup, workers, atmosphere, *, client, **more):
        given.update(more, setup=setup)
        return []

    monkeypatch.setattr(batch, "run", run)
    air = tmp_path / "air.nc"
    air.write_text("")
    start = ["retrieve", "a.xml", "--out", "o"]
    chosen = ["--setup", "so_134", "--setup", "mine.toml"]
    files = ["--climatology", str(air), "--climatology", str(tmp_path)]
    choices = [
        "--climatology-form", "mcd", "--climatology-set", "mars_year=35",
        "--climatology-set", "altitude_km=10:40:10",
        "--climatology-set", "anchor=[0, 610.0]", "--climatology-set", "units.CO=ppm",
    ]  # fmt: skip
    assert main([*start, *chosen, *files, *choices]) == 0
    assert given["setup"] == ("so_134", "mine.toml")
    assert given["climatology"] == (str(air), str(tmp_path))
    found = batch.choose_climatology(air, given["climatology_choices"])
    assert found.text() == (
        '{"altitude_km": [10.0, 20.0, 30.0, 40.0], "anchor": [0.0, 610.0], '
        '"form": "mcd", "mars_year": 35, "method": "linear", "units": {"CO": "ppm"}}'
    )
    both = ["--setup", "so_134", "--setup", "lno_189_190_co"]
    some = ["--set", "baseline_degree=3", "--set", "so_134:window.top_km=90"]
    assert main([*start, *both, *some]) == 0
    so, lno = given["setup"]
    assert (so.baseline_degree, so.window.top_km, lno.baseline_degree) == (3, 90.0, 3)
    assert main([*start, *both, "--set", "window.top_km=90"]) == 1
    assert "'lno_189_190_co' cannot take that" in capsys.readouterr().err
    assert main([*start, *both, "--set", "so_136:window.top_km=90"]) == 64
    assert "no product takes the setup 'so_136'" in capsys.readouterr().err
    foreseen = [batch.ProductStatus("a", "to do", setup="so_136"),
                batch.ProductStatus("b", "failed")]  # fmt: skip
    monkeypatch.setattr(batch, "foresee", lambda *_: foreseen)
    assert main([*start, "--set", "window.top_km=90"]) == 0
    assert [(one.name, one.window.top_km) for one in given["setup"]] == [("so_136", 90)]
    assert main([*start, "--climatology-form", "mcd"]) == 64
    assert "need --climatology" in capsys.readouterr().err
    given.clear()
    assert main(start) == 0
    assert given == {"setup": None}


def test_retrieve__bad_setup_is_one_line(tmp_path, capsys):
    label = tmp_path / "a.xml"
    label.write_text("<x/>")
    given = ["retrieve", str(label), "--out", str(tmp_path / "o"), "--setup", "nope"]
    assert main(given) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_retrieve__broken_product_is_quarantined(tmp_path, capsys):
    label = tmp_path / "a.xml"
    label.write_text("<x/>")
    assert main(["retrieve", str(label), "--out", str(tmp_path / "o")]) == 2
    assert "1 failed" in capsys.readouterr().out
    assert (tmp_path / "o" / "quarantine.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("name", ["map.nc", "deeper/map.nc"])
def test_map__a_damaged_map_in_its_own_folder_is_made_again(tmp_path, name, capsys):
    write_level2(level2(), tmp_path / "a.nc")
    out = tmp_path / name
    args = ["map", str(tmp_path), "--out", str(out), "--grid", "latitude=-90:90:90"]
    assert main(args) == 0
    whole = open_verified(out).attrs["content_sha256"]
    out.write_bytes(out.read_bytes()[:-300])
    assert main(args) == 0
    assert open_verified(out).attrs["content_sha256"] == whole
    # another damaged file could be a profile, which must not be missed unsaid
    (tmp_path / "b.nc").write_bytes(out.read_bytes()[:-300])
    assert main(args) != 0
    assert "b.nc" in capsys.readouterr().err


def test_map__of_a_folder(tmp_path, capsys):
    for i, value in enumerate([1e-11, 3e-11]):
        ds = level2(value).assign_attrs(product_lid=f"urn:esa:psa:b:c:{i}")
        write_level2(ds, tmp_path / "l2" / f"{i}.nc")
    out = tmp_path / "map.nc"
    spec = "latitude=-90:90:90,altitude=0:15:5"
    assert main(["map", str(tmp_path), "--out", str(out), "--grid", spec]) == 0
    assert "2 profiles" in capsys.readouterr().out
    ds = open_verified(out)
    np.testing.assert_allclose(ds["ch4_mean"].sel(latitude=45), 2e-11)
    thin = ["--form", "sparse", "--weights", "uniform", "--without-kernel", "leave_out"]
    more = str(tmp_path / "thin.nc")
    assert main(["map", str(tmp_path / "l2"), "--out", more, *thin]) == 0
    assert open_verified(more)["ch4_mean"].dims == ("cell",)
    assert main(["map", str(tmp_path), "--out", str(out), "--grid", "x=1:2:1"]) == 1
    assert "unknown axis" in capsys.readouterr().err


def test_info__level2(tmp_path, capsys):
    path = write_level2(level2(), tmp_path / "a.nc")
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "urn:esa:psa:b:c:lid" in out
    assert "ch4_vmr" in out
    path.write_bytes(b"cut")
    assert main(["info", str(path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_info__of_level2_gases_before_choices_and_variables(tmp_path, capsys):
    ds = level2().assign(
        {
            "ch4_layer_vmr": ((), 2e-11, {"layer_km": "5 30"}),
            "ch4_layer_vmr_error": 4e-11,
            "ch4_layer_upper_limit": ((), 1e-10, {"sigma_level": 2.0}),
            "ch4_layer_detected": np.int8(0),
            "reduced_chi_square": 1.04,
        }
    )
    ds.attrs["setup"] = "so_134"
    assert main(["info", str(write_level2(ds, tmp_path / "a.nc"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    wanted = ["quality", "reduced_chi_square", "ch4", "setup", "sizes", "ch4_vmr"]
    assert sorted(wanted, key=names.index) == wanted
    gas = lines[names.index("ch4")]
    assert "5-30 km not detected, 20 ± 40 pptv; upper limit 100 pptv (2 sigma)" in gas


def test_info__of_a_folder_says_what_each_file_holds(tmp_path, capsys):
    ds = level2().assign(ch4_layer_upper_limit=((), 1e-10, {"sigma_level": 3.0}))
    write_level2(ds, tmp_path / "a.nc")
    (tmp_path / "b.truth.nc").write_bytes(b"no result")
    (tmp_path / "c.nc").write_bytes(b"cut")
    assert main(["info", str(tmp_path)]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "level-2 files: 2"
    assert ["ch4 below 100 pptv (3 sigma)" in line for line in rest] in ([1, 0], [0, 1])
    assert sum(line.startswith("failed\tc\t") for line in rest) == 1


def test_setups__one_says_what_it_fits_and_what_is_absent(capsys):
    assert main(["setups", "so_134"]) == 0
    out = capsys.readouterr().out
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["fits"] == "h2o ch4 hdo co2"
    assert rows["absent"] == "co2 magnetic dipole band, o3"
    assert rows["table"] == "so_134_136 (in the package)"
    assert main(["setups", "uvis_o3"]) == 0
    assert "cross_section: a file of yours" in capsys.readouterr().out
    assert main(["setups", "so_129_130_hcl"]) == 0
    assert "run: tgo-spectra prepare" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["no_such_setup", "", "no/such/file.toml"])
def test_setups__unknown_is_one_line(name, capsys):
    assert main(["setups", name]) in {1, 64}
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err


def test_cache__says_and_clears_what_was_named_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "tgo_spectra"
    for name in ("tables/a.nc", "lines/b.par", "data-1.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 10)
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out
    assert out.count("1 files, 0.0 MB") == 3
    assert main(["cache", "clear", "tables", "catalogues", "--yes"]) == 0
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["b.par"]
    # nobody is there to answer: nothing is removed
    monkeypatch.setattr("click.termui.visible_prompt_func", _nobody)
    assert main(["cache", "clear", "lines"]) != 0
    assert (folder / "lines" / "b.par").exists()


def _nobody(_):
    raise EOFError


@pytest.mark.parametrize("arguments", [["clear"], ["clear", "all"], ["drop"]])
def test_cache__wrong_usage_is_64(arguments, capsys):
    assert main(["cache", *arguments]) == 64
    assert "error: " in capsys.readouterr().err


def test_verbose__before_and_behind_the_name():
    import logging

    root = logging.getLogger()
    before = root.level
    try:
        for arguments, level in (
            (["setups"], logging.WARNING),
            (["-v", "setups"], logging.INFO),
            (["setups", "-v"], logging.INFO),
            (["cache", "info", "--verbose"], logging.INFO),
        ):
            assert main(arguments) == 0
            assert root.level == level, arguments
    finally:
        root.setLevel(before)


def test_info__of_the_folder_of_a_run_is_that_of_its_journal(tmp_path, capsys):
    journal = tmp_path / "journal.jsonl"
    journal.write_text("", encoding="utf-8")
    by_file = main(["info", str(journal)]), capsys.readouterr()
    assert (main(["info", str(tmp_path)]), capsys.readouterr()) == by_file


def test_help__all_commands_in_sections_and_without_arguments(capsys):
    from tgo_spectra import cli

    names = [name for several in cli.SECTIONS.values() for name in several]
    assert sorted(names) == sorted(cli.cli.commands)
    assert main([]) == 64
    err = capsys.readouterr().err
    assert err.startswith("Usage: tgo-spectra")
    assert "\n  retrieve  Retrieve PRODUCTS" in err
    assert "\\n" not in err
    assert "..." not in err.partition("First:")[2]
