"""Faults of the disk: one error that names the place, and nothing half-written."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import resource

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.errors import OutputError, TgoError, printable
from tgo_spectra.files import atomic
from tgo_spectra.files.bira import write_bira
from tgo_spectra.files.harp import write_harp
from tgo_spectra.files.netcdf import write_level2, write_map
from tgo_spectra.maps import grid_level2
from tgo_spectra.maps.grid import Grid
from tgo_spectra.paths import expanded
from tgo_spectra.plots.style import new_axes, save_figure
from tgo_spectra.spectroscopy.tables.files import open_table, write_table


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow beyond a size, as a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def profile(n=4000):
    z = np.linspace(0.0, 100.0, n)
    noise = np.random.default_rng(1).normal(size=n)
    names = ("ch4_vmr", "ch4_vmr_error", "ch4_vmr_apriori", "number_density")
    data = dict.fromkeys((*names, "pressure", "temperature"), ("altitude", noise))
    data |= {"latitude": ((), 10.0), "longitude": ((), 20.0)}
    data |= {"solar_longitude": ((), 100.0), "local_true_solar_time": ((), 18.0)}
    data |= {"time": ((), np.datetime64("2018-06-14T03:13:41", "ns"))}
    return xr.Dataset(data, {"altitude": z}, {"product_lid": "urn:esa:psa:b:c:lid"})


def blocked(folder, how):
    """A path that cannot be written, by kind of obstacle."""
    file = folder / "file"
    file.write_text("here")
    return {
        "file in place of the folder": file / "a.nc",
        "file higher up": file / "b" / "a.nc",
        "folder in place of the file": folder,
        "name too long": folder / ("x" * 240 + ".nc"),
        "loop of links": folder / "loop" / "a.nc",
    }[how]


@pytest.mark.parametrize(
    ("how", "rule"),
    [
        ("file in place of the folder", "io.not_a_folder"),
        ("file higher up", "io.not_a_folder"),
        ("folder in place of the file", "io.is_a_folder"),
        ("name too long", "io.name_too_long"),
        ("loop of links", "io."),
    ],
)
def test_write__obstacles_have_names(tmp_path, how, rule):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = blocked(tmp_path, how)
    for write in (
        lambda: write_level2(profile(3), path),
        lambda: (
            atomic.output_folder(path.parent),
            atomic.write_whole(path, "text"),
        ),
    ):
        with pytest.raises(OutputError) as caught:
            write()
        assert caught.value.rule.startswith(rule)
        assert str(caught.value).startswith(str(tmp_path))
        assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"]


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (errno.ENOSPC, "io.no_space"),
        (errno.EDQUOT, "io.quota"),
        (errno.EFBIG, "io.no_space"),
        (errno.EACCES, "io.permission"),
        (errno.EPERM, "io.permission"),
        (errno.EROFS, "io.permission"),
        (errno.EIO, "io.device"),
        (errno.ESTALE, "io.stale"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_write_whole__faults_of_the_system(tmp_path, monkeypatch, number, rule, call):
    def fault(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    target = (os, "fsync") if call == "fsync" else (pathlib.Path, "write_bytes")
    monkeypatch.setattr(*target, fault)
    with pytest.raises(OutputError) as caught:
        atomic.write_whole(tmp_path / "a.txt", "text")
    assert caught.value.rule == rule
    if rule != "io.write_failed":
        assert f" in {tmp_path};" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def empty_map():
    grid = Grid(latitude=np.linspace(-90, 90, 3000).tolist())
    return grid_level2([], grid, gases=["ch4"])


def figure(path):
    axes = new_axes("map", shown=False)
    axes.imshow(np.random.default_rng(1).normal(size=(400, 400)))
    return save_figure(axes, path)


WRITERS = {
    "figure": figure,
    "level 2": lambda path: write_level2(profile(), path),
    "map": lambda path: write_map(empty_map(), path),
    "bira": lambda path: write_bira(profile(), path, "ch4"),
    "harp": lambda path: write_harp(profile(), path),
    "table": lambda path: write_table(open_table("so_186_191"), path),
    "text": lambda path: atomic.write_whole(path, "x" * 100_000),
}


@pytest.mark.parametrize("size", [0, 10, 5_000, 40_000])
@pytest.mark.parametrize("kind", WRITERS)
def test_write__full_disk_is_named_and_leaves_nothing(tmp_path, kind, size):
    path = tmp_path / "a.nc"
    path.write_text("former")
    with largest_file(size), pytest.raises(OutputError) as caught:
        WRITERS[kind](path)
    assert caught.value.rule == "io.no_space"
    assert str(tmp_path) in caught.value.message
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_append_line__full_disk_and_torn_line(tmp_path):
    journal = tmp_path / "journal.jsonl"
    for _ in range(2):
        atomic.append_line(journal, "whole")
    with largest_file(15), pytest.raises(OutputError) as caught:
        atomic.append_line(journal, "torn by the limit")
    assert caught.value.rule == "io.no_space"
    atomic.append_line(journal, "after")
    lines = journal.read_text().splitlines()
    assert lines[:2] == ["whole", "whole"]
    assert lines[-1] == "after"
    journal.unlink()
    journal.mkdir()
    with pytest.raises(OutputError) as caught:
        atomic.append_line(journal, "x")
    assert caught.value.rule == "io.is_a_folder"


def test_refuse_existing__any_of_them(tmp_path):
    (tmp_path / "b").symlink_to(tmp_path / "nothing")
    files = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(OutputError, match="--overwrite") as caught:
        atomic.refuse_existing(files, overwrite=False)
    assert (caught.value.rule, caught.value.path) == ("io.exists", str(files[1]))
    atomic.refuse_existing(files, overwrite=True)


def test_paths__home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    atomic.write_whole(atomic.output_folder("~/deep/er") / "a.txt", "x")
    assert (tmp_path / "deep" / "er" / "a.txt").read_text() == "x"
    assert write_level2(profile(3), "~/l2/a.nc") == tmp_path / "l2" / "a.nc"
    assert write_bira(profile(3), "~/a.txt", "ch4").is_file()
    assert expanded("~no-such-user/a") == pathlib.Path("~no-such-user/a")


@pytest.mark.parametrize(
    "name", ["a\x1b[31m", "a\rb", "a\nb", "\x9b2J", "a\u202eb", "a\udc80b", "\u2028"]
)
def test_printable__one_plain_line(name):
    error = TgoError("no µ", path=name, field=name, value=name, rule="a.b")
    for text in (printable(name), str(error)):
        assert text.isprintable()
        assert printable(text) == text
        text.encode()
    assert "no µ" in str(error)
