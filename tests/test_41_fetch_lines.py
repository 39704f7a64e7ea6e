"""Line lists from the service, a mirror or a file, kept with their origin."""

import gzip
import hashlib
import json
import pathlib
import sys
import types

import pytest

from tgo_spectra import cli
from tgo_spectra.errors import LineListError
from tgo_spectra.paths import cache_folder
from tgo_spectra.spectroscopy.fetch import fetch_lines
from tgo_spectra.spectroscopy.linelist import read_line_list

GOOD = (
    " 61 3000.000000 1.234E-20 1.000E+00.05000.065  100.00000.70-.006000"
    + " " * 60
    + "455555 1 2 3 4 5 6     9.0   11.0"
)
ROWS = [GOOD[:3] + f"{3000 + i:12.6f}" + GOOD[15:] for i in range(8)]


def text(rows=ROWS):
    return "\n".join(rows) + "\n"


@pytest.fixture
def service(monkeypatch):
    """A hitran-api that writes the lines of `rows` and counts its calls."""
    fake = types.ModuleType("hapi")
    fake.ISO = {(6, 1): (32,)}
    fake.ISO_INDEX = {"id": 0}
    fake.HAPI_VERSION = "9.9"
    fake.calls = []
    fake.rows = ROWS

    def db_begin(folder):
        fake.folder = pathlib.Path(folder)

    def fetch_by_ids(name, ids, low, high, ParameterGroups):
        fake.calls.append((name, ids, low, high, ParameterGroups))
        (fake.folder / f"{name}.data").write_text(text(fake.rows))
        header = {"position": {"nu": 3}, "extra": [], "number_of_rows": -1}
        (fake.folder / f"{name}.header").write_text(json.dumps(header))

    fake.db_begin, fake.fetch_by_ids = db_begin, fetch_by_ids
    monkeypatch.setitem(sys.modules, "hapi", fake)
    return fake


def test_without_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hapi", None)
    with pytest.raises(LineListError, match="hitran-api") as caught:
        fetch_lines("ch4", 3000.0, 3001.0, tmp_path)
    assert caught.value.rule == "fetch.package"


def test_without_network(tmp_path, service):
    def trip(*args, **kwargs):
        """As hitran-api 1.3 does: its own handler fails on a name."""
        try:
            (tmp_path / "no route to host").read_bytes()
        except OSError:
            return GLOBAL_HOST  # noqa: F821

    service.fetch_by_ids = trip
    with pytest.raises(LineListError, match="no route to host") as caught:
        fetch_lines("ch4", 3000.0, 3001.0, tmp_path)
    assert caught.value.rule == "fetch.network"
    assert "--mirror" in str(caught.value)
    assert list(tmp_path.iterdir()) == []

    def refuse(*args, **kwargs):
        message = "daily limit"
        raise RuntimeError(message)

    service.fetch_by_ids = refuse
    with pytest.raises(LineListError, match="daily limit") as caught:
        fetch_lines("ch4", 3000.0, 3001.0, tmp_path)
    assert caught.value.rule == "fetch.service"
    service.fetch_by_ids = lambda *args, **kwargs: None
    with pytest.raises(LineListError, match="no lines"):
        fetch_lines("ch4", 3000.0, 3001.0, tmp_path)


def test_wrong_requests(tmp_path):
    with pytest.raises(LineListError, match="low < high"):
        fetch_lines("ch4", 3001.0, 3000.0, tmp_path)
    with pytest.raises(LineListError, match="unknown gas"):
        fetch_lines("xe", 3000.0, 3001.0, tmp_path)
    with pytest.raises(LineListError, match="not both"):
        fetch_lines("ch4", 1.0, 2.0, tmp_path, mirror=tmp_path, file=tmp_path / "x")


def test_kept_with_origin_and_not_fetched_twice(tmp_path, service):
    path = fetch_lines("ch4", 3000.0, 3010.0, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "ch4_3000-3010.data",
        "ch4_3000-3010.data.origin.json",
        "ch4_3000-3010.header",
    ]
    lines = read_line_list(path)
    assert lines.sizes["line"] == 8
    assert "hitran-api 9.9" in lines.attrs["source"]
    assert "does not state the edition" in lines.attrs["edition"]
    assert json.loads(lines.attrs["query"]) == {
        "high": 3010.0,
        "isotopologue_ids": [32],
        "low": 3000.0,
        "parameter_groups": ["160-char", "Voigt_CO2"],
    }
    assert lines.attrs["fetched"].endswith("Z")
    assert "10.1016/j.jqsrt.2021.107949" in lines.attrs["citation"]
    assert fetch_lines("ch4", 3000.0, 3010.0, tmp_path) == path
    assert len(service.calls) == 1
    fetch_lines("ch4", 3000.0, 3010.0, tmp_path, refresh=True)
    assert len(service.calls) == 2
    # a list that was cut since is refused by the reader, and fetched again
    path.write_text(text(ROWS[:7]))
    with pytest.raises(LineListError, match="SHA-256") as caught:
        read_line_list(path)
    assert caught.value.rule == "file.hash"
    fetch_lines("ch4", 3000.0, 3010.0, tmp_path, edition="HITRAN2024")
    assert len(service.calls) == 3
    assert read_line_list(path).attrs["edition"] == "HITRAN2024"


def test_malformed_download_is_not_kept(tmp_path, service):
    service.rows = [*ROWS[:3], ROWS[3][:90]]
    with pytest.raises(LineListError, match="line 4"):
        fetch_lines("ch4", 3000.0, 3010.0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_default_folder(tmp_path, service, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = fetch_lines("ch4", 3000.0, 3010.0)
    assert path.parent == cache_folder("lines") == tmp_path / "tgo_spectra" / "lines"


def test_mirror(tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with pytest.raises(LineListError, match="there are: none"):
        fetch_lines("ch4", 3001.0, 3003.5, tmp_path, mirror=mirror)
    packed = gzip.compress(text().encode())
    (mirror / "ch4_iso1_2990-3010_hitran2016.par.gz").write_bytes(packed)
    path = fetch_lines("ch4", 3001.0, 3003.5, tmp_path, mirror=mirror, edition="x")
    assert path.read_text() == text(ROWS[1:4])
    lines = read_line_list(path)
    assert lines.attrs["edition"] == "x"
    assert hashlib.sha256(packed).hexdigest() in lines.attrs["source"]
    with pytest.raises(LineListError, match=r"no complete list .* 2980 .*2990-3010"):
        fetch_lines("ch4", 2980.0, 3003.5, tmp_path, mirror=mirror)
    with pytest.raises(LineListError, match="no line within"):
        fetch_lines("ch4", 3001.1, 3001.2, tmp_path, mirror=mirror)
    (mirror / "ch4_sample_0-9000.par").write_text(text())
    with pytest.raises(LineListError, match="several lists"):
        fetch_lines("ch4", 3001.0, 3003.5, tmp_path, mirror=mirror)
    with pytest.raises(LineListError, match="not a folder"):
        fetch_lines("ch4", 1.0, 2.0, tmp_path, mirror=mirror / "absent")


def test_cache_of_another_machine_is_a_mirror(tmp_path, service):
    first = tmp_path / "first"
    fetch_lines("ch4", 3000.0, 3010.0, first)
    path = fetch_lines("ch4", 3001.0, 3003.5, tmp_path / "second", mirror=first)
    assert path.suffix == ".data"
    lines = read_line_list(path)
    assert lines.sizes["line"] == 3
    assert json.loads(lines.attrs["query"])["low"] == 3000.0
    assert len(service.calls) == 1


def test_own_file(tmp_path):
    mine = tmp_path / "mine.par"
    mine.write_text(text())
    path = fetch_lines("ch4", 3000.0, 3003.0, tmp_path / "kept", file=mine)
    assert read_line_list(path).sizes["line"] == 4
    with pytest.raises(LineListError, match="h2o is 1") as caught:
        fetch_lines("h2o", 3000.0, 3003.0, tmp_path / "kept", file=mine)
    assert caught.value.rule == "fetch.molecule"


def test_command(tmp_path, service, capsys):
    out = str(tmp_path / "lists")
    assert cli.main(["lines", "fetch", "CH4", "--range", "3000", "3010", "--out", out]) == 0  # noqa: E501  # fmt: skip
    path = capsys.readouterr().out.strip()
    assert cli.main(["lines", "info", path]) == 0
    assert "edition" in capsys.readouterr().out
    assert cli.main(["lines", "gases"]) == 0
    assert "orders 133 134 135 136 (read)" in capsys.readouterr().out
    again = ["lines", "fetch", "ch4", "--range", "3001", "3002", "--out", out]
    assert cli.main([*again, "--mirror", out]) == 0


def test_shared_lists_as_mirror(tmp_path, shared):
    mirror = shared / "linelists"
    path = fetch_lines("co", 4200.0, 4300.0, tmp_path, mirror=mirror)
    lines = read_line_list(path, strict=True)
    assert 100 < lines.sizes["line"] < 1000
    # not the sample, which covers the range too, and not the newer list of some bands
    path = fetch_lines("ch4", 2900.0, 3200.0, tmp_path, mirror=mirror)
    lines = read_line_list(path)
    assert lines.sizes["line"] > 20_000
    assert lines.attrs["edition"] == "HITRAN2012"
    with pytest.raises(LineListError, match=r"ch4_alliso_1percent\S+ is a sample of"):
        fetch_lines("ch4", 4200.0, 4300.0, tmp_path, mirror=mirror)
