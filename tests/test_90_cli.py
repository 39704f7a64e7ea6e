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
    assert main([*start, *chosen, "--set", "window.top_km=90"]) == 64
    assert "one --setup" in capsys.readouterr().err
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
