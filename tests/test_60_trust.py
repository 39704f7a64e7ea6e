"""What others may have put where ours is looked for; setups that point away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tgo_spectra import archive, paths
from tgo_spectra.archive import index
from tgo_spectra.batch import products as batch
from tgo_spectra.errors import TableError, TgoError
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.spectroscopy import fetch
from tgo_spectra.spectroscopy.tables import files

posix = pytest.mark.skipif(os.name != "posix", reason="owners of POSIX")
STEM = "nmd_cal_sc_so_20180421t010203-20180421t011203-a-i-134"


@pytest.fixture
def given_away(monkeypatch):
    """Give a file to another user; without the right to do so, become another one."""

    def give(path):
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 65534)

    return give


@posix
def test_table_of_another_user__is_refused(monkeypatch, tmp_path, given_away):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = files.find_table("so_134_136")
    prepared = files.prepared_path("so_134_136")
    prepared.parent.mkdir(parents=True)
    shutil.copy(own, prepared)
    assert files.find_table("so_134_136") == prepared
    given_away(prepared)
    with pytest.raises(TableError) as caught:
        files.find_table("so_134_136")
    assert caught.value.rule == "table.foreign"
    said = str(caught.value)
    assert str(prepared) in said
    # whose it is, and each way on
    for words in (paths.owner_of(prepared), "XDG_CACHE_HOME", "--set table=FILE"):
        assert words in said
    # what is named is trusted
    assert files.find_table(str(prepared)) == prepared


@posix
def test_lists_and_catalogues_of_another_user__are_made_again(
    monkeypatch, tmp_path, given_away, small_product, caplog
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text, data, _ = small_product(STEM)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"{STEM}.xml").write_bytes(text)
    (folder / f"{STEM}.tab").write_bytes(data)
    archive.index_archive(folder)
    catalogue = index.default_catalogue(folder)
    assert len(index._known(catalogue)) == 1
    lines = paths.cache_folder("lines")
    lines.mkdir(parents=True)
    monkeypatch.setattr(fetch, "_sha256", lambda _: "1")
    monkeypatch.setattr(fetch, "read_origin", lambda _: SimpleNamespace(sha256="1"))
    (lines / "ch4.par").touch()
    fetch.origin_path(lines / "ch4.par").touch()
    assert fetch._cached(lines, "ch4") == lines / "ch4.par"
    for file in (catalogue, lines / "ch4.par"):
        given_away(file)
    assert index._known(catalogue) == {}
    assert fetch._cached(lines, "ch4") is None
    assert [" another user" in text for text in caplog.messages] == [True, True]


@posix
def test_setup_that_is_no_file__is_refused(tmp_path):
    for name, make in (
        ("pipe.toml", os.mkfifo),
        ("zero.toml", lambda path: path.symlink_to("/dev/zero")),
        ("large.toml", lambda path: path.write_bytes(b"#" * 2_000_000)),
        ("folder.toml", Path.mkdir),
    ):
        make(tmp_path / name)
        with pytest.raises(TgoError) as caught:
            load_setup(tmp_path / name)
        assert caught.value.rule == "setup.not_toml"
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "table",
    ["/etc/passwd", "../../../../etc/passwd", "/dev/zero", "/", "fifo", "loop",
     "a\x1b[2Jb", "//host/share.nc", "http://127.0.0.1:9/a.nc", "file:///etc/passwd"],
)  # fmt: skip
def test_setup_that_points_outside__is_refused(
    monkeypatch, tmp_path, table, small_product
):
    """Nothing is read that is no table; the run says so in one line, and goes on."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    shown = table.encode("unicode_escape").decode().replace("\\x", "\\u00")
    (tmp_path / "mine.toml").write_text(
        f'base = "so_134"\ntable = "{shown}"\n', encoding="utf-8"
    )
    text, data, _ = small_product(STEM)
    (tmp_path / f"{STEM}.xml").write_bytes(text)
    (tmp_path / f"{STEM}.tab").write_bytes(data)
    try:
        rows = batch.run(f"{STEM}.xml", "out", "mine.toml", progress=False)
    except TgoError as error:
        message, rule = str(error), error.rule
    else:
        ((message, rule),) = [(row.message, row.rule) for row in rows]
    assert rule.partition(".")[0] in ("table", "setup"), (message, rule)
    assert "\n" not in message
    assert "\x1b" not in message
    assert "root:" not in message
    assert not list((tmp_path / "out").glob("l2/*"))
