"""What commands say as a stranger reads it, and how they end."""

from __future__ import annotations

import logging
import sys
import warnings
import zipfile

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.batch import products as batch
from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.cli import main
from tgo_spectra.cli import terminal as cli_terminal
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.files.netcdf import write_level2

LABEL = '<x xmlns="http://pds.nasa.gov/pds4/pds/v1"/>'
NAMES = [
    "a\x1b31mred",
    "a\rb",
    "a\nfailed b",
    "a\x9b2Jb",
    "a\u202egnp.b",
    "\x07",
    "é µ",
]


def level2():
    return xr.Dataset(
        {"ch4_vmr": ("altitude", np.full(3, 1e-11))},
        {"altitude": [1.0, 6.0, 11.0]},
        {"product_lid": "urn:esa:psa:b:c:lid", "title": "a\x1b[2Jb"},
    )


def said(capsys):
    """All lines of both streams, each fit for a terminal."""
    streams = capsys.readouterr()
    lines = f"{streams.out}{streams.err}".split("\n")
    assert all(line.replace("\t", " ").isprintable() for line in lines), lines
    return lines[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_names__nothing_that_a_terminal_obeys(tmp_path, capsys, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / f"{name}.xml").write_text(LABEL)
    (folder / f"{name}.nc").write_bytes(b"cut")
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as file:
        file.writestr(f"{name}.xml", LABEL)
    label, out = str(folder / f"{name}.xml"), str(folder / "out")
    for given, code, n_lines in (
        (["retrieve", str(folder), "--out", out, "--workers", "0"], 2, 3),
        (["retrieve", str(folder / "no.xml"), "--out", out], 2, 2),
        (["verify", str(folder)], 2, 4),
        (["info", label], 1, 1),
        (["info", f"{folder / name}.zip::{name}"], 1, 1),
        (["info", f"{folder / name}.nc"], 1, 1),
        (["info", f"{label}.none"], 64, 3),
        (["export", str(folder), "--form", "harp", "--out", out], 2, 2),
        (["map", str(folder), "--out", f"{out}.nc", "--grid", name], 1, 1),
        (["index", str(folder), "--catalogue", f"{out}.jsonl"], 2, 3),
        (["find", f"{out}.jsonl", "--damaged", "--details"], 0, 3),
        (["lines", "info", label], 1, 1),
        (["tables", "info", label], 1, 1),
        (["simulate", "--out", label], 1, 1),
        (["simulate", "--out", out, f"--{name}"], 64, 3),
        ([name], 64, 3),
    ):
        assert main(given) == code, given
        lines = [x for x in said(capsys) if not x.startswith(("warning:", "WARNING"))]
        assert len(lines) == n_lines, lines


def test_info__texts_of_files(tmp_path, capsys):
    path = write_level2(level2(), tmp_path / "a.nc")
    assert main(["info", str(path)]) == 0
    assert any("a\\x1b[2Jb" in line or "Trace gases" in line for line in said(capsys))


def test_logs_and_warnings__one_plain_line(capsys):
    formatter = cli_terminal._Plain("%(levelname)s %(name)s: %(message)s")
    record = logging.LogRecord("a", 30, "f.py", 1, "x %s", ("\x1b[2J\ny",), None)
    assert formatter.format(record) == "WARNING a: x \\x1b[2J\ny"
    with warnings.catch_warnings():
        cli_terminal.configure(verbose=False)
        text = warnings.formatwarning("a\x1bb\nc", TgoWarning, "f.py", 3)
    assert text == "warning: a\\x1bb\\nc\n"


def test_say__cells_and_encodings(capsys, monkeypatch):
    cli_terminal.say("a\tb", 3, "c")
    assert capsys.readouterr().out == "a\\tb\t3\tc\n"
    monkeypatch.setattr(type(sys.stdout), "encoding", "ascii", raising=False)
    cli_terminal.say("µ")
    assert capsys.readouterr().out == "\\xb5\n"


# exit codes


def test_exit_codes__nothing_found_is_a_failure(tmp_path, capsys):
    empty, out = tmp_path / "empty", str(tmp_path / "out")
    empty.mkdir()
    (empty / "readme.txt").write_text("nothing here")
    for given in (
        ["verify", str(empty)],
        ["verify", str(empty), str(empty)],
        ["export", str(empty), "--form", "harp", "--out", out],
        ["export", str(empty), "--form", "bira", "--gas", "ch4", "--out", out],
        ["retrieve", str(empty), "--out", out],
        ["retrieve", str(empty / "*.xml"), "--out", out],
        ["map", str(empty), "--out", f"{out}.nc"],
    ):
        assert main(given) == 1, given
        assert sum(line.startswith("error: ") for line in said(capsys)) == 1


def test_exit_codes__some_and_all(tmp_path, capsys):
    good = write_level2(level2(), tmp_path / "l2" / "a.nc")
    bad = tmp_path / "b.nc"
    bad.write_bytes(b"cut")
    out = ["--form", "harp", "--out", str(tmp_path / "out")]
    for paths, code in (([good], 0), ([good, bad], 2), ([bad], 2)):
        given = [str(path) for path in paths]
        assert main(["verify", *given]) == code
        found = main(["export", *given, *out])
        assert found == (2 if good in paths else code)  # no time, so no HARP
    said(capsys)


def test_export__no_file_written_over_another(tmp_path, capsys):
    time = {"time": ((), np.datetime64("2018-06-14T03:13:41", "ns"))}
    for name, value in (("a", 1e-9), ("b", 2e-9), ("c", 3e-9)):
        ds = level2().assign(time).assign(ch4_vmr=("altitude", np.full(3, value)))
        write_level2(ds, tmp_path / name / "same.nc")
    given = [str(tmp_path / name) for name in ("a", "b", "c", "a/same.nc")]
    out = tmp_path / "out"
    assert main(["export", *given, "--form", "harp", "--out", str(out)]) == 2
    lines = said(capsys)
    assert sum("export.same_name" in line for line in lines) == 2
    assert any(line.startswith("1 written, 2 failed") for line in lines)
    with xr.open_dataset(out / "same_harp.nc", decode_times=False) as back:
        assert float(back["CH4_volume_mixing_ratio"].max()) == 1e-9


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (TgoError("one\ntwo", path="a\x1b"), 1, "error: a\\x1b: one\\ntwo"),
        (PermissionError(13, "Permission denied", "a\nb"), 1,
         "error: a\\nb: Permission denied"),
        (OSError("odd"), 1, "error: odd"),
        (SystemExit(2), 2, ""),
    ],
)  # fmt: skip
def test_exit_codes__whatever_happens(monkeypatch, capsys, error, code, text):
    def run(*args, **kwargs):
        raise error

    monkeypatch.setattr(batch, "run", run)
    assert main(["retrieve", "a.xml", "--out", "o"]) == code
    assert capsys.readouterr().err.strip() == text


def test_exit_codes__demo_with_failures(monkeypatch, capsys):
    from tgo_spectra.cli import demo

    result = demo.DemoResult((), ("a\x1b: bad",), {}, {})
    monkeypatch.setattr(demo, "run_demo", lambda out, workers: result)
    assert main(["demo"]) == 2
    assert "failed: a\\x1b: bad" in said(capsys)


def test_exit_codes__a_bug_is_not_hidden(monkeypatch):
    def run(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(batch, "run", run)
    with pytest.raises(ZeroDivisionError):
        main(["retrieve", "a.xml", "--out", "o"])


def test_retrieve__failed_products_are_said_once(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.xml"
    rows = [
        ProductStatus("a.xml", "failed", message=f"{path}: bad"),
        ProductStatus("b\x1b.xml", "failed", message="b\\x1b.xml: worse"),
    ]
    monkeypatch.setattr(batch, "run", lambda *args, **kwargs: rows)
    assert main(["retrieve", "a.xml", "--out", "o"]) == 2
    err = capsys.readouterr().err
    assert err == "failed a.xml: bad\nfailed b\\x1b.xml: worse\n"
