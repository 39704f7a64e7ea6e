"""Each command with wrong input, without input, and where it cannot write.

All paths have blanks and letters beyond ASCII, and there is no terminal. Each ends with
the documented code and one clear line that names the path; so does Ctrl-C. A command
that is new has to be added to the tables: a test says so.
"""

from __future__ import annotations

import importlib
import io

import click
import pytest
import test_71_pictures as small

from tgo_spectra.cli import cli, main
from tgo_spectra.files.netcdf import write_level2, write_map

NOT_PDS4 = '<x xmlns="http://example.org/other"/>'


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Paths by name, all with blanks and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("a b é µ")
    names = ("missing", "cut.nc", "other.xml", "empty", "mixed", "file", "map.nc")
    found = {name.partition(".")[0]: folder / f"ü {name}" for name in names}
    ds = small.level2("", 1).drop_vars("ch4_column")
    found["good"] = write_level2(ds, folder / "l 2" / "ä.nc")
    found["folder"] = found["good"].parent
    write_map(small.level3("", small.TWO), found["map"])
    found["cut"].write_bytes(b"cut")
    found["other"].write_text(NOT_PDS4, encoding="utf-8")
    found["file"].write_text("a file, no folder", encoding="utf-8")
    found["inside"] = found["file"] / "x"
    found["empty"].mkdir()
    found["mixed"].mkdir()
    for name in ("cut", "other", "good"):
        target = found["mixed"] / found[name].name
        target.write_bytes(found[name].read_bytes())
    (found["mixed"] / "read me.txt").write_text("nothing", encoding="utf-8")
    found["out"] = folder / "öut"
    return found


# arguments, the code, and words of the line of the error (a path by its name here)
ROWS = """
demo --workers -1                                   | 64 | --workers
demo --out {inside}                                 | 1  | {file}
info                                                | 64 | PATH
info {missing}                                      | 64 | {missing}
info {cut}                                          | 1  | {cut}
info {other}                                        | 1  | {other}
info {empty}                                        | 1  | {empty}
info {file}                                         | 1  | {file}
retrieve --out {out}                                | 64 | --from
retrieve {empty} --out {out}                        | 1  | {empty}
retrieve {missing} --out {out} --workers 0          | 2  | {missing}
retrieve {mixed} --out {out} --workers 0            | 2  | failed
retrieve {other} --out {inside}                     | 1  | {file}
retrieve {other} --out {out} --setup {missing}      | 1  | {missing}
retrieve {other} --out {out} --from {missing}       | 64 | {missing}
retrieve {other} --out {out} --atmosphere {missing} | 64 | {missing}
retrieve {other} --out {out} --atmosphere {cut}     | 1  | {cut}
retrieve {other} --out {out} --shard 9/2            | 64 | --shard
retrieve {other} --out {out} --set a=1              | 64 | --set
retrieve {mixed} --out {out} --dry-run              | 2  | failed
retrieve {empty} --out {out} --dry-run              | 1  | {empty}
plan                                                | 64 | --query
plan {missing}                                      | 64 | {missing}
plan {file}                                         | 64 | {file}
status                                              | 64 | FOLDER
status {missing}                                    | 64 | {missing}
status {empty}                                      | 1  | {empty}
map --out {out}                                     | 64 | FOLDER
map {missing} --out {out}.nc                        | 64 | {missing}
map {empty} --out {out}.nc                          | 1  | {empty}
map {mixed} --out {out}.nc                          | 1  | cut.nc
map {good} --out {out}.nc                           | 64 | {good}
map {folder} --out {inside}                         | 1  | {file}
map {folder} --out {out}.nc --grid height=1:2:3     | 1  | height
merge --out {out}.nc                                | 64 | MAPS
merge {missing} --out {out}.nc                      | 64 | {missing}
merge {cut} --out {out}.nc                          | 1  | {cut}
merge {good} --out {out}.nc                         | 1  | {good}
merge {map} --out {inside}                          | 1  | {file}
collect {folder}                                    | 64 | --out
collect {missing} --out {out}.nc                    | 64 | {missing}
collect {empty} --out {out}.nc                      | 1  | {empty}
collect {mixed} --out {out}.nc                      | 1  | cut.nc
collect {folder} --out {inside}.nc                  | 1  | {file}
collect {folder} --out {out}                        | 1  | .zarr
collect {folder} --out {out}.nc --altitude 1:0      | 1  | 1:0
limits {good} --out {out}.csv                       | 64 | --gas
limits {missing} --gas ch4 --out {out}.csv          | 64 | {missing}
limits {empty} --gas ch4 --out {out}.csv            | 1  | {empty}
limits {cut} --gas ch4 --out {out}.csv              | 1  | {cut}
limits {good} --gas xe --out {out}.csv              | 1  | xe
compare {good}                                      | 64 | OTHER
compare {good} {good}                               | 64 | --quantity
compare {good} {good} --quantity x                  | 1  | {good}
compare {good} {missing} --quantity ch4_vmr         | 64 | {missing}
compare {good} {cut} --quantity ch4_vmr             | 1  | {cut}
compare {good} {file} --quantity ch4_vmr            | 1  | {file}
compare {good} {good} --quantity ch4_vmr --out a.x  | 64 | --out
compare {good} {good} --quantity ch4_vmr --km far   | 64 | --km
plot                                                | 64 | PATH
plot {missing}                                      | 64 | {missing}
plot {cut} --out {out}                              | 1  | {cut}
plot {other} --out {out}                            | 1  | {other}
plot {empty} --out {out}                            | 1  | {empty}
plot {mixed} --out {out}                            | 1  | cut.nc
plot {map} --out {inside}                           | 1  | {file}
plot {map} --out {out} --gas xe                     | 1  | xe
plot {good} --out {out} --product {missing}         | 64 | {missing}
report                                              | 64 | FOLDER
report {missing}                                    | 64 | {missing}
report {file}                                       | 64 | {file}
report {empty}                                      | 1  | {empty}
report {mixed} --pages none --out {inside}          | 1  | {file}
simulate                                            | 64 | --out
simulate --out {inside}                             | 1  | {file}
simulate --out {out} --set nothing=1                | 1  | nothing
simulate --out {out} --order many                   | 64 | many
index                                               | 64 | FOLDER
index {missing}                                     | 64 | {missing}
index {mixed} --catalogue {inside}                  | 1  | {file}
index {mixed} --catalogue {out}.jsonl               | 2  | damaged
find                                                | 64 | CATALOGUE
find {missing}                                      | 64 | {missing}
find {cut}                                          | 1  | {cut}
find {empty}                                        | 1  | {empty}
verify                                              | 64 | PATHS
verify {missing}                                    | 2  | {missing}
verify {mixed}                                      | 2  | damaged
verify {empty}                                      | 1  | no product
fetch                                               | 64 | --out
fetch --out {inside}                                | 1  | {file}
fetch --out {out} --settings {missing}              | 64 | {missing}
fetch --out {out} --settings {cut}                  | 1  | {cut}
setups {missing}                                    | 1  | {missing}
setups {cut}                                        | 1  | {cut}
export --form harp --out {out}                      | 64 | PATHS
export {missing} --form harp --out {out}            | 64 | {missing}
export {good} --form other --out {out}              | 64 | other
export {good} --form bira --out {out}               | 64 | --gas
export {empty} --form harp --out {out}              | 1  | no level-2
export {cut} --form harp --out {out}                | 2  | {cut}
export {good} --form harp --out {inside}            | 1  | {file}
deuterium --out {out}                               | 64 | FOLDER
deuterium {missing} --out {out}                     | 64 | {missing}
deuterium {empty} --out {out}                       | 1  | no
deuterium {mixed} --out {inside}                    | 1  | {file}
prepare                                             | 64 | SETUP
prepare so_1                                        | 1  | so_1
prepare so_129_130_hcl --lines {missing}            | 64 | {missing}
prepare so_129_130_hcl --lines {empty}              | 1  | {empty}
lines fetch ch4                                     | 64 | --range
lines fetch xe --range 1 2 --file {cut}             | 1  | xe
lines fetch ch4 --range 1 2 --file {missing}        | 64 | {missing}
lines fetch ch4 --range 1 2 --mirror {empty}        | 1  | {empty}
lines info                                          | 64 | PATH
lines info {missing}                                | 64 | {missing}
lines info {cut}                                    | 1  | {cut}
lines gases more                                    | 64 | more
tables build                                        | 64 | --lines
tables build --lines ch4={missing} --range 1 2      | 1  | {missing}
tables build --lines ch4={cut} --range 1 2          | 1  | {cut}
tables info {missing}                               | 1  | {missing}
tables info {cut}                                   | 1  | {cut}
tables verify {missing}                             | 1  | {missing}
tables verify {cut}                                 | 1  | {cut}
cache info more                                     | 64 | more
cache clear                                         | 64 | lines
cache clear everything                              | 64 | everything
"""
TABLE = [tuple(c.strip() for c in r.split("|")) for r in ROWS.strip().splitlines()]

# what works when Ctrl-C comes, by command
AT_WORK = {
    "demo": ("tgo_spectra.cli.demo.run_demo", ""),
    "info": ("tgo_spectra.files.netcdf.open_verified", "{good}"),
    "retrieve": ("tgo_spectra.batch.products.run", "{other} --out {out}"),
    "plan": ("tgo_spectra.archive.index_archive", "{mixed}"),
    "status": ("tgo_spectra.batch.record.status_lines", "{empty}"),
    "map": ("tgo_spectra.batch.maps.map_files", "{folder} --out {out}.nc"),
    "merge": ("tgo_spectra.maps.merging.merge_maps", "{map} --out {out}.nc"),
    "collect": ("tgo_spectra.files.collecting.collect", "{folder} --out {out}.nc"),
    "limits": (
        "tgo_spectra.maps.stacking.stacked_limits",
        "{good} --gas ch4 --out {out}.csv",
    ),
    "compare": ("tgo_spectra.comparison.compare", "{good} {good} --quantity ch4_vmr"),
    "plot": ("tgo_spectra.files.netcdf.open_verified", "{good}"),
    "report": ("tgo_spectra.report.write_report", "{mixed}"),
    "simulate": ("tgo_spectra.simulate.simulate_product", "--out {out}"),
    "index": ("tgo_spectra.archive.index_archive", "{mixed}"),
    "find": ("tgo_spectra.archive.find", "{empty}"),
    "verify": ("tgo_spectra.archive.verify", "{mixed}"),
    "fetch": ("tgo_spectra.archive.search", "--out {out}"),
    "setups": ("tgo_spectra.retrieval.setups.load_setup", "so_134"),
    "export": (
        "tgo_spectra.files.netcdf.open_verified",
        "{good} --form harp --out {out}",
    ),
    "deuterium": ("tgo_spectra.files.netcdf.open_verified", "{mixed} --out {out}"),
    "prepare": ("tgo_spectra.retrieval.setups.load_setup", "so_134"),
    "lines fetch": ("tgo_spectra.spectroscopy.fetch.fetch_lines", "ch4 --range 1 2"),
    "lines info": ("tgo_spectra.spectroscopy.linelist.read_line_list", "{cut}"),
    "lines gases": ("tgo_spectra.spectroscopy.gas_names", ""),
    "tables build": (
        "tgo_spectra.spectroscopy.linelist.read_line_list",
        "--lines ch4={cut} --range 1 2",
    ),
    "tables info": ("tgo_spectra.spectroscopy.tables.files.list_tables", ""),
    "tables verify": ("tgo_spectra.spectroscopy.tables.files.list_tables", ""),
    "cache info": ("tgo_spectra.paths.cache_root", ""),
    "cache clear": ("tgo_spectra.paths.cache_root", "tables --yes"),
}


def leaves(command=cli, name=""):
    if not isinstance(command, click.Group):
        yield name
        return
    for part, one in command.commands.items():
        yield from leaves(one, f"{name} {part}".strip())


def filled(text, places):
    return [word.format(**places) for word in text.split()]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, with an empty cache, and without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("given", "code", "words"), TABLE, ids=[r[0] for r in TABLE])
def test_command__one_clear_line(places, capsys, given, code, words):
    assert main(filled(given, places)) == int(code)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    lines = [x for x in err.splitlines() if not x.startswith(("warning:", "WARNING"))]
    if code == "2":
        lines += out.splitlines() if "--dry-run" in given else []
        lines = [x for x in lines if x.startswith(("failed", "damaged", "suspect"))]
        assert lines, err
    else:
        lines = [x for x in lines if x.startswith("error: ")]
        assert len(lines) == 1, err
    assert words.format(**places) in "\n".join(lines)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", AT_WORK)
def test_command__stopped_by_ctrl_c(places, capsys, monkeypatch, name):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    target, given = AT_WORK[name]
    module, _, function = target.rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), function, stopped)
    assert main([*name.split(), *filled(given, places)]) == 130
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == "stopped"
    assert not any("Traceback" in line for line in err)


def test_commands__all_are_in_the_tables():
    known = set(leaves())
    assert set(AT_WORK) == known
    of_rows = {name for name in known if any(f"{r[0]} ".startswith(f"{name} ") for r in TABLE)}  # noqa: E501  # fmt: skip
    assert of_rows == known


@pytest.mark.usefixtures("elsewhere")
def test_cache_clear__asks_and_stops_without_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    file = tmp_path / "cache" / "tgo_spectra" / "tables" / "a.nc"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"table")
    assert main(["cache", "clear", "tables"]) == 130
    assert file.exists()
    assert capsys.readouterr().err.endswith("stopped\n")
