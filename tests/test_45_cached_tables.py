"""Tables from the cache, and the same bits from any number of workers."""

import hashlib

import numpy as np
import pytest

from tgo_spectra import cli
from tgo_spectra.paths import cache_folder
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables import cache as caching
from tgo_spectra.spectroscopy.tables import scratch, shipped
from tgo_spectra.spectroscopy.tables.build import build_table
from tgo_spectra.spectroscopy.tables.files import open_table, verify_table, write_table

WINDOW = (3010.0, 3011.0)
SETTINGS = caching.TableSettings(atmospheres=8, verify_atmospheres=0)


def records(shift=0.0):
    row = (
        " 61{:12.6f} 1.234E-19 1.000E+00.05000.065  100.00000.70-.006000"
        + " " * 60
        + "455555 1 2 3 4 5 6     9.0   11.0"
    )
    numbers = np.random.default_rng(3).uniform(3005.0, 3016.0, 40)
    return "\n".join(row.format(n) for n in np.sort(numbers) + shift) + "\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "ch4.par"
    path.write_text(records())
    return path


@pytest.fixture(scope="module")
def lines(path):
    return {"ch4": (read_line_list(path), ("air", 1.3))}


def build(lines, folder, **how):
    return caching.cached_table(
        lines, WINDOW, band="x", settings=SETTINGS, cache_dir=folder, **how
    )


@pytest.fixture(scope="module")
def made(lines, tmp_path_factory):
    return build(lines, tmp_path_factory.mktemp("cache"), workers=1)


def test_second_time_is_not_built(lines, made, monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("built again")

    monkeypatch.setattr(caching, "build_table", refuse)
    before = made.stat().st_mtime_ns
    assert build(lines, made.parent) == made
    assert made.stat().st_mtime_ns == before
    assert made.name.startswith("x-")


def test_same_bits_from_any_number_of_workers(lines, made, tmp_path):
    whole = hashlib.sha256(made.read_bytes()).hexdigest()
    for workers, processes in ((2, False), (3, False), (2, True)):
        folder = tmp_path / f"{workers}{processes}"
        again = build(lines, folder, workers=workers, processes=processes)
        assert hashlib.sha256(again.read_bytes()).hexdigest() == whole


def test_everything_that_counts_is_in_the_key(lines, path):
    dataset = lines["ch4"][0]
    key = caching.table_key(lines, WINDOW, "x", SETTINGS)
    moved = dataset.assign(wavenumber=dataset["wavenumber"] + 1e-6)
    other = [
        caching.table_key(lines, (3010.0, 3012.0), "x", SETTINGS),
        caching.table_key(lines, WINDOW, "y", SETTINGS),
        caching.table_key(lines, WINDOW, "x", caching.TableSettings(step=0.001)),
        caching.table_key({"ch4": (dataset, "air")}, WINDOW, "x", SETTINGS),
        caching.table_key({"ch4": (moved, ("air", 1.3))}, WINDOW, "x", SETTINGS),
        caching.table_key(
            {"ch4": (dataset.assign_attrs(edition="E"), ("air", 1.3))},
            WINDOW,
            "x",
            SETTINGS,
        ),
    ]
    assert len({key, *other}) == 7
    again = {"ch4": (read_line_list(path), ["air", 1.3])}
    assert caching.table_key(again, WINDOW, "x", SETTINGS) == key


def test_version_is_in_the_key(lines, monkeypatch):
    key = caching.table_key(lines, WINDOW)
    monkeypatch.setattr(caching, "__version__", "0.0.0")
    assert caching.table_key(lines, WINDOW) != key


def test_damaged_cache_is_built_anew(lines, made, tmp_path, caplog):
    path = tmp_path / made.name
    good = made.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert build(lines, tmp_path) == path
    assert "built anew" in caplog.text
    assert verify_table(path) == verify_table(made)
    table = open_table(path)
    write_table(table.assign_attrs(build_key="another"), path)
    assert open_table(build(lines, tmp_path)).attrs["build_key"] != "another"


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("tables") == tmp_path / "tgo_spectra" / "tables"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("tables").parts[-3] == ".cache"


def test_command(path, tmp_path, capsys, monkeypatch):
    small = caching.TableSettings
    monkeypatch.setattr(
        caching,
        "TableSettings",
        lambda step: small(step=step, atmospheres=8, verify_atmospheres=0),
    )
    cache, out = str(tmp_path / "cache"), str(tmp_path / "mine.nc")
    call = ["tables", "build", "--lines", f"ch4={path}:air*1.3"]
    call += ["--range", "3010", "3011", "--cache", cache]
    assert cli.main([*call, "--band", "mine"]) == 0
    first = capsys.readouterr().out.strip()
    assert cli.main([*call, "--band", "mine", "--out", out]) == 0
    assert capsys.readouterr().out.strip() == out
    assert verify_table(out) == verify_table(first)
    assert cli.main(["tables", "info", out]) == 0
    assert "build_key" in capsys.readouterr().out
    assert cli.main(["tables", "verify", out]) == 0
    assert cli.main(["tables", "build", "--range", "1", "2"]) == 64
    assert cli.main(["tables", "build", "--shipped", "so_999"]) == 64


def test_shipped_tables_are_built_within_the_memory_that_is_given(
    monkeypatch, tmp_path, capsys
):
    def build(lists, out, names, *, workers, memory_gb, report):
        report(f"{names} with {workers} in {memory_gb} GB")
        return []

    monkeypatch.setattr(shipped, "build_shipped", build)
    call = ["tables", "build", "--shipped", "so_134_136", "--lists", str(tmp_path)]
    assert cli.main([*call, "--out", str(tmp_path), "--memory", "0.5"]) == 0
    assert "('so_134_136',) with 2 in 0.5 GB" in capsys.readouterr().err


def test_tasks_keep_their_order():
    def square(number):
        return number**2

    numbers = list(range(20))
    for workers in (1, 3):
        found = scratch.run_tasks(square, [(n,) for n in numbers], workers)
        assert found == [n**2 for n in numbers]


def test_states_reach_320_k_and_2000_pa(lines, made):
    table = open_table(made)
    assert table["temperature"].values[[0, -1]].tolist() == [90.0, 320.0]
    assert table["pressure"].values[0] == pytest.approx(1e-3)
    assert table["pressure"].values[-1] > 2000.0
    built = build_table(lines, WINDOW, band="x", atmospheres=8, verify_atmospheres=0)
    for name in built.variables:
        np.testing.assert_array_equal(built[name].values, table[name].values)
