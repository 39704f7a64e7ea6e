"""From folders of line lists to the table of a setup: ledger, merging, preparation."""

from __future__ import annotations

import gzip
import json
import pathlib
import sys
import types

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import cli
from tgo_spectra.errors import (
    LineListError,
    MissingBroadeningError,
    SetupError,
    TableError,
)
from tgo_spectra.retrieval import list_setups, preparation
from tgo_spectra.retrieval.choice import require_table, table_state
from tgo_spectra.retrieval.given import prior_profile
from tgo_spectra.spectroscopy import collecting, ledger, merging
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.fetch import fetch_lines
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.partition import isotopologue_abundance
from tgo_spectra.spectroscopy.tables import cache as caching
from tgo_spectra.spectroscopy.tables.files import find_table, open_table, prepared_path

LOW, HIGH = 3000.0, 3200.0


def record(number, intensity, isotopologue=1, band="V1", energy=100.0, molecule=6):
    """Return one record of 160 characters."""
    head = f"{molecule:2d}{isotopologue}{number:12.6f}{intensity:10.3E} 1.000E+00"
    text = f"{head}.05000.065{energy:10.4f}0.70-.006000"
    text += f"{band:>15}{'GROUND':>15}".ljust(60)
    return f"{text}455555 1 2 3 4 5 6     9.0   11.0"


def rows(
    seed, number, bands=("V1", "V2"), isotopologue=1, scale=1e-21, molecule=6,
    reach=(LOW, HIGH),
):  # fmt: skip
    """Return records at random places, in order, one band after the other by turns."""
    random = np.random.default_rng(seed)
    places = np.sort(random.uniform(*reach, number))
    return [
        record(
            place,
            scale * random.uniform(0.5, 1.5),
            isotopologue,
            bands[k % len(bands)],
            round(random.uniform(0.0, 900.0), 4),
            molecule,
        )
        for k, place in enumerate(places)
    ]


def write(path, *parts, packed=False):
    every = sorted((row for part in parts for row in part), key=lambda row: row[3:15])
    text = ("\n".join(every) + "\n").encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


METHANE = rows(1, 2000), rows(2, 400, isotopologue=2, scale=1e-23)
WATER = rows(3, 1500, molecule=1)
HEAVY = rows(4, 300, isotopologue=4, scale=1e-24, molecule=1)


@pytest.fixture
def generated(tmp_path, monkeypatch):
    """A ledger of generated lists of methane and water; their cache is empty."""
    lists = [
        (read_line_list(write(tmp_path / name, *parts)), "HITRAN2020", True, LOW, HIGH)
        for name, parts in (("m", METHANE), ("w", (WATER, HEAVY)))
    ]
    book = tmp_path / "data" / "ledger.csv"
    book.parent.mkdir()
    assert ledger.write_ledger(lists, book) == 2 * 2 * 4
    monkeypatch.setattr(ledger, "files", lambda _: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ledger._ledger.cache_clear()
    yield tmp_path / "lists"
    ledger._ledger.cache_clear()


def read(path, *parts, **how):
    return read_line_list(write(path, *parts), **how)


# ---- the ledger


def test_ledger__knows_a_whole_list_a_sample_and_a_part(generated):
    whole = read(generated / "a", *METHANE)
    assert [ledger.is_whole(share) for share in ledger.shares(whole, LOW, HIGH)] == [
        True, True,
    ]  # fmt: skip
    judged = ledger.shares(read(generated / "b", METHANE[0][::100]), LOW, HIGH)
    assert ledger.is_sample(judged)
    assert judged[0].lines == 20
    assert judged[0].ledger_lines == 2000
    assert 0.005 < judged[0].part < 0.02
    assert judged[0].holes == (3000, 3050, 3100, 3150)
    assert "20 of 2000 lines" in judged[0].in_words()
    cut = [row for row in METHANE[0] if float(row[3:15]) < 3150.0]
    (part,) = ledger.shares(read(generated / "c", cut), LOW, HIGH)
    assert not ledger.is_sample([part])
    assert ledger.too_short([part]) == [part]
    assert part.holes == (3150,)


def test_ledger__tells_the_edition_by_content(generated):
    # a line before and one behind make all four bins whole ones of the list
    ends = [record(2999.0, 1e-23), record(3201.0, 1e-23)]
    lines = ledger.with_edition(read(generated / "a", *METHANE, ends))
    assert lines.attrs["edition"] == "HITRAN2020"
    assert "10.1016/j.jqsrt.2021.107949" in lines.attrs["citation"]
    changed = lines.assign(intensity=lines["intensity"] * 1.001, edition="not stated")
    assert ledger.edition_of(changed) == ""
    stated = lines.assign_attrs(edition="mine")
    assert ledger.with_edition(stated).attrs["edition"] == "mine"


def test_shipped_ledger__holds_counts_and_sums_only():
    text = (
        (ledger.files("tgo_spectra.spectroscopy") / "data" / "ledger.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    body = [line.split(",") for line in text if not line.startswith("#")]
    assert body[0] == ["molecule", "isotopologue", "edition", "whole", "low", "lines", "intensity"]  # noqa: E501  # fmt: skip
    assert len(body) > 1000
    assert sum(map(len, text)) < 80_000
    assert {int(row[4]) % ledger.BIN for row in body[1:]} == {0}
    for citation in ledger.CITATIONS.values():
        assert any(citation in line for line in text if line.startswith("#"))


# ---- merging


def test_merge__a_newer_list_with_some_bands_replaces_those(generated):
    old = read(generated / "old", *METHANE, edition="HITRAN2012")
    first = [row for row in METHANE[0] if " V1 " in row[67:83] + " "]
    moved = [row[:35] + ".0444" + row[40:] for row in first]
    new = read(generated / "new", moved, edition="HITRANonline, March 2026")
    merged, (older, newer) = merging.merge(merging.in_order([new, old]))
    assert merged.sizes["line"] == 2400
    assert (older.edition, newer.edition) == ("HITRAN2012", "HITRANonline, March 2026")
    assert (older.taken, older.replaced_bands, newer.taken) == (1400, 1000, 1000)
    is_first = merged["band"].values == b"V1<GROUND"
    replaced = is_first & (merged["isotopologue"].values == 1)
    np.testing.assert_array_equal(merged["gamma_air"].values[replaced], 0.0444)
    assert (np.diff(merged["wavenumber"].values) >= 0.0).all()
    parts = json.loads(merged.attrs["parts"])
    assert [part["lines"] for part in parts] == ["old", "new"]
    assert merged.attrs["edition"] == "HITRAN2012; HITRANonline, March 2026"
    assert merged.attrs["source_file"] == "old + new"
    assert len(merged.attrs["source_sha256"]) == 64


def test_merge__a_whole_newer_list_leaves_nothing_of_the_older(generated):
    """Bands that the newer edition has renamed would be there twice otherwise."""
    renamed = [row.replace(" V1", " A1").replace(" V2", " A2") for row in METHANE[0]]
    moved = [row[:45] + f"{float(row[45:55]) + 1:10.4f}" + row[55:] for row in renamed]
    old = read(generated / "old", moved, METHANE[1], edition="HITRAN2012")
    ends = [record(2999.0, 1e-27), record(3201.0, 1e-27)]
    new = read(generated / "new", METHANE[0], ends, edition="HITRAN2020")
    merged, (older, _) = merging.merge([old, new])
    assert older.replaced_isotopologues == 2000
    assert merged.sizes["line"] == 2000 + 2 + 400


def test_merge__lists_of_one_edition_are_joined_without_copies(generated):
    cut = [row for row in METHANE[0] if float(row[15:25]) > 7e-22]
    some = read(generated / "some", cut, METHANE[1], edition="HITRAN2012")
    full = read(generated / "full", METHANE[0], edition="HITRAN2012")
    merged, record_of = merging.merge(merging.in_order([full, some]))
    assert merged.sizes["line"] == 2400
    assert sum(part.replaced_lines for part in record_of) == len(cut)
    places = np.sort(read(generated / "whole", *METHANE)["wavenumber"].values)
    np.testing.assert_array_equal(merged["wavenumber"].values, places)


def test_merge__what_cannot_be_merged_is_refused(generated):
    known = read(generated / "known", METHANE[0], edition="HITRAN2012")
    unknown = read(generated / "unknown", METHANE[0])
    with pytest.raises(LineListError, match="known and unknown both hold") as caught:
        merging.in_order([known, unknown])
    assert caught.value.rule == "merge.edition"
    other = read(generated / "other", METHANE[1])
    assert merging.in_order([known, other])  # another isotopologue
    with pytest.raises(LineListError, match="several molecules"):
        merging.merge([known, read(generated / "water", WATER)])
    with pytest.raises(LineListError, match="no line list"):
        merging.merge([])


def test_merge__columns_of_one_list_only(generated):
    old = read(generated / "old", METHANE[0][:10], edition="HITRAN2012")
    wide = read(generated / "new", METHANE[0][10:20], edition="HITRAN2020")
    wide = wide.assign(gamma_co2=wide["gamma_air"] * 1.4, n_co2=wide["n_air"])
    merged, _ = merging.merge([old, wide])
    assert np.isnan(merged["gamma_co2"].values).sum() == 10
    assert merged["intensity_code"].dtype == np.int8


# ---- folders


def test_collect__any_mix_of_files_names_mean_nothing(generated):
    write(generated / "nu.txt.bin", METHANE[0], packed=True)
    write(generated / "deep" / "x", METHANE[1])
    write(generated / "b", WATER, HEAVY)
    (generated / "README.md").write_text("no list")
    (generated / "list.par").write_text("")
    found, notes = collecting.collect(
        collecting.files_of(generated), ["ch4", "h2o", "hdo"], LOW, HIGH
    )
    sizes = {gas: one.lines.sizes["line"] for gas, one in found.items()}
    assert sizes == {"ch4": 2400, "h2o": 1500, "hdo": 300}
    assert not any(one.missing or one.unjudged for one in found.values())
    assert notes == ["list.par is left out: the file is empty"] or not notes


def test_collect__a_sample_is_left_aside_by_name_with_numbers(generated):
    write(generated / "whole.par", *METHANE)
    ends = [record(2900.0, 1e-27), record(3300.0, 1e-27)]
    write(generated / "looks_whole.par", METHANE[0][::100], ends)
    paths = collecting.files_of(generated)
    found, (note,) = collecting.collect(paths, ["ch4"], LOW, HIGH)
    assert "looks_whole.par is a sample of a list" in note
    assert "20 of 2000 lines" in note
    assert found["ch4"].lines.sizes["line"] == 2400
    (generated / "whole.par").unlink()
    found, _ = collecting.collect(collecting.files_of(generated), ["ch4"], LOW, HIGH)
    assert found["ch4"].missing == ["ch4: no list has lines within 3000-3200 cm-1"]


def test_collect__says_what_is_missing_and_what_cannot_be_judged(generated):
    cut = [row for row in METHANE[0] if float(row[3:15]) < 3150.0]
    write(generated / "a.par", cut, METHANE[1])
    write(generated / "b.par", rows(9, 50, molecule=15))
    paths = collecting.files_of(generated)
    found, _ = collecting.collect(paths, ["ch4", "hcl"], LOW, HIGH)
    (text,) = found["ch4"].missing
    assert "isotopologue 1" in text
    assert "3150-3200" in text
    assert found["hcl"].missing == []
    assert "the ledger has no complete list" in found["hcl"].unjudged
    wide, _ = collecting.collect(paths, ["ch4"], LOW - 200.0, HIGH)
    assert "judged within 3000-3200 of 2800-3200" in wide["ch4"].unjudged
    with pytest.raises(LineListError, match="not a folder"):
        collecting.files_of(generated / "a.par")


def test_collect__copies_and_lists_that_are_not_needed(generated):
    ends = [record(2999.0, 1e-27), record(3201.0, 1e-27)]
    write(generated / "a.par", *METHANE, ends)
    write(generated / "copy.gz", *METHANE, ends, packed=True)
    write(generated / "odd.par", METHANE[0][100:150])  # of no edition, not to be judged
    found, notes = collecting.collect(
        collecting.files_of(generated), ["ch4"], LOW, HIGH
    )
    assert notes == ["copy.gz has the lines of a.par"]
    (aside,) = found["ch4"].aside
    assert aside.startswith("odd.par is of unknown edition")
    assert found["ch4"].lines.sizes["line"] == 2400
    assert [part.lines for part in found["ch4"].record] == ["a.par"]


def test_mirror__is_judged_by_the_ledger(generated, tmp_path):
    ends = [record(2900.0, 1e-27), record(3300.0, 1e-27)]
    write(generated / "ch4_2900-3300_a.par", METHANE[0][::100], ends)
    with pytest.raises(
        LineListError, match=r"ch4_2900-3300_a\.par is a sample"
    ) as error:
        fetch_lines("ch4", LOW, HIGH, tmp_path / "out", mirror=generated)
    assert error.value.rule == "fetch.mirror"
    write(generated / "anything", *METHANE, ends)
    path = fetch_lines("ch4", LOW, HIGH, tmp_path / "out", mirror=generated)
    assert read_line_list(path).sizes["line"] == 2400
    write(generated / "h", WATER, HEAVY, packed=True)  # the list of water has HDO
    reach = (3001.0, 3199.0)
    path = fetch_lines("hdo", *reach, tmp_path / "out", mirror=generated)
    assert set(read_line_list(path)["isotopologue"].values) == {1, 4}


# ---- setups


def test_need__windows_gases_and_steps_of_the_shipped_setups():
    for name in list_setups():
        setup = tgo.load_setup(name)
        if setup.channel not in {"so", "lno"}:
            with pytest.raises(SetupError, match="no table can be prepared"):
                preparation.table_need(setup)
            continue
        need = preparation.table_need(setup)
        assert set(setup.gases) <= set(need.gases)
        assert name in need.setups
        assert 0.001 <= need.step <= 0.002
        n = setup.instrument.n_orders
        low, high = need.window
        assert low <= 22.46 * (min(setup.orders) - n)
        assert high >= 22.65 * (max(setup.orders) + n)
        for other in need.setups:  # made for one, it serves all that name it
            same = preparation.table_need(tgo.load_setup(other))
            assert same == need
    assert preparation.table_need(tgo.load_setup("so_136")).gases["ch4"] == ("co2 or air", 1.3)  # noqa: E501  # fmt: skip


@pytest.mark.parametrize("name", ["so_134_136", "so_119_124_hdo", "so_186_191"])
def test_need__is_what_the_shipped_table_has(name):
    table = open_table(name)
    low = float(table["cell_start"][0])
    high = float(table["cell_start"][-1]) + float(table.attrs["cell_width"])
    setups = [tgo.load_setup(setup) for setup in list_setups()]
    needs = [
        preparation.table_need(s) for s in setups if getattr(s, "table", "") == name
    ]
    assert needs
    for need in needs:
        assert low <= need.window[0] < need.window[1] <= high + 1e-6
        assert table.attrs["fine_step"] <= need.step
        assert set(need.gases) == set(table.attrs["gases"].split())


def test_need__an_isotopologue_of_its_own_wants_a_table_of_its_own():
    setup = tgo.load_setup("so_186_191").replace(
        gases=["co", "co2", "h2o", "hdo", "co2_636"]
    )
    with pytest.raises(SetupError, match="co2_636 would be missing from co2") as caught:
        preparation.table_need(setup)
    assert caught.value.rule == "setup.table_shared"
    need = preparation.table_need(setup.replace(table="own.nc"))
    assert set(need.gases) == {"co", "co2", "h2o", "hdo", "co2_636"}
    assert need.gases["co2_636"] == "self"


def test_isotopologue__lines_apriori_and_cross_sections(generated):
    rows_of = [
        row
        for number in (1, 2, 3)
        for row in rows(20 + number, 40, isotopologue=number, molecule=2)
    ]
    write(generated / "a", rows_of)
    gases = ["co2", "co2_636"]
    found, _ = collecting.collect(collecting.files_of(generated), gases, LOW, HIGH)
    assert set(found["co2"].lines["isotopologue"].values) == {1, 3}
    assert set(found["co2_636"].lines["isotopologue"].values) == {2}
    grid = np.arange(3090.0, 3110.0, 0.001)
    state = (10.0, 180.0, "self")
    own = cross_section_grid(found["co2_636"].lines, grid, *state, gas="co2_636")
    plain = cross_section_grid(found["co2_636"].lines, grid, *state)
    share = isotopologue_abundance(2, 2)
    np.testing.assert_allclose(own * share, plain, rtol=1e-12)
    setup = tgo.load_setup("so_186_191").replace(gases=gases, table="own.nc", prior={})
    levels = xr.Dataset(
        {"co2_vmr": ("altitude", [0.95, 0.9])}, {"altitude": [10.0, 90.0]}
    )
    np.testing.assert_allclose(
        prior_profile("co2_636", setup, levels), [0.95 * share, 0.9 * share]
    )
    given = levels.assign(co2_636_vmr=("altitude", [0.01, 0.02]))
    np.testing.assert_array_equal(prior_profile("co2_636", setup, given), [0.01, 0.02])


SMALL = """
kind = "profile"
name = "small"
channel = "so"
orders = [137]
table = "{table}"
gases = ["ch4", "h2o"]
interferents_absent = ["hdo"]

[instrument]
n_orders = 0
"""


@pytest.fixture
def small(generated, monkeypatch):
    """A setup whose window is cut down, and quick tables."""
    settings = caching.TableSettings
    monkeypatch.setattr(
        caching,
        "TableSettings",
        lambda step: settings(step=step, atmospheres=8, verify_atmospheres=0),
    )
    monkeypatch.setattr(preparation, "_window", lambda _: (3090.2, 3091.9))
    monkeypatch.setattr(preparation, "WING_CM1", 60)
    generated.mkdir(exist_ok=True)
    path = generated.parent / "small.toml"
    path.write_text(SMALL.format(table="small"))
    return path


def test_prepare__makes_a_table_that_the_setup_finds(generated, small, capsys):
    write(generated / "a.par", *METHANE)
    write(generated / "b.par", WATER)
    ends = [record(2900.0, 1e-27), record(3300.0, 1e-27)]
    write(generated / "c.par", METHANE[0][::100], ends)
    setup = tgo.load_setup(small)
    assert table_state(setup).startswith("run: tgo-spectra prepare small")
    with pytest.raises(TableError, match=r"tgo-spectra prepare small\.toml") as caught:
        require_table(setup)
    assert caught.value.rule == "table.not_built"
    call = ["prepare", str(small)]
    assert cli.main(call) == 64
    capsys.readouterr()
    assert cli.main([*call, "--lines", str(generated), "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(prepared_path("small"))
    assert "left aside: c.par is a sample of a list" in said.err
    assert "ch4: 2400 lines" not in said.err  # only those of the window
    assert "of a.par" in said.err
    table = open_table("small")
    assert float(table["cell_start"][0]) <= preparation.table_need(setup).window[0]
    assert "a.par" in table.attrs["ch4_parts"]
    assert table.attrs["ch4_completeness"] == "judged complete"
    assert table.attrs["ch4_unknown_lower_state_energy"] == 0
    assert table.attrs["ch4_intensity_codes"] == "5: 100 %"
    assert find_table("small") == prepared_path("small")
    assert table_state(setup) == "prepared"
    before = prepared_path("small").read_bytes()
    assert cli.main([*call, "--lines", str(generated)]) == 0
    assert prepared_path("small").read_bytes() == before
    assert cli.main(call) == 0
    assert "prepared" in capsys.readouterr().out.splitlines()[-1]


def test_prepare__refuses_what_is_incomplete(generated, small, capsys):
    cut = [row for row in METHANE[0] if not 3100.0 < float(row[3:15]) < 3145.0]
    write(generated / "a.par", cut, METHANE[1])
    write(generated / "b.par", WATER)
    call = ["prepare", str(small), "--lines", str(generated)]
    assert cli.main(call) == 1
    said = capsys.readouterr().err
    assert "lists.incomplete" in said
    assert "little or nothing in 3100-3150" in said
    assert find_table("small") is None
    assert cli.main([*call, "--incomplete"]) == 0
    assert "3100-3150" in open_table("small").attrs["ch4_completeness"]
    (generated / "a.par").unlink()
    assert cli.main([*call, "--incomplete"]) == 1  # nothing of a gas will not do
    assert cli.main([*call, "--fetch"]) == 64


def test_prepare__without_widths_in_co2_a_command_is_named(generated):
    path = write(generated / "b.par", rows(9, 50, molecule=15))
    need = preparation.TableNeed(
        "own", ("own",), (3090.0, 3092.0), {"h2o": ("co2 or air", 1.7), "hcl": "co2"},
        0.002,
    )  # fmt: skip
    water = write(generated / "a.par", WATER, HEAVY)
    with pytest.raises(MissingBroadeningError) as caught:
        preparation.prepare_table(need, [water, path], str, incomplete=True)
    text = str(caught.value)
    assert "b.par" in text
    assert "hcl: lines without widths in CO2" in text
    assert "tables build --lines h2o=FILE --lines hcl=FILE:'air*FACTOR'" in text
    assert "read_line_list" not in text


def test_prepare__from_the_service_once(generated, small, capsys, monkeypatch):
    """The lists of both gases from a generated hitran-api, then from the cache."""
    fake = types.ModuleType("hapi")
    fake.ISO = {(6, 1): (32,), (6, 2): (33,), (1, 1): (1,)}
    fake.ISO_INDEX = {"id": 0}
    fake.calls = []

    def db_begin(folder):
        fake.folder = pathlib.Path(folder)

    def fetch_by_ids(name, ids, low, high, ParameterGroups):
        fake.calls.append((ids, low, high))
        parts = METHANE if 32 in ids else (WATER,)
        inside = [[r for r in part if low <= float(r[3:15]) <= high] for part in parts]
        write(fake.folder / f"{name}.data", *inside)
        (fake.folder / f"{name}.header").write_text('{"number_of_rows": -1}')

    fake.db_begin, fake.fetch_by_ids = db_begin, fetch_by_ids
    monkeypatch.setitem(sys.modules, "hapi", fake)
    monkeypatch.setattr(preparation, "prepare_table", lambda need, paths, report, **_:
                        preparation.lines_for(need, paths, report))  # fmt: skip
    for _ in range(2):
        assert cli.main(["prepare", str(small), "--fetch"]) == 0
    assert fake.calls == [([32, 33], 3030.0, 3152.0), ([1], 3030.0, 3152.0)]
    assert "of ch4_3030-3152.data (HITRANonline on" in capsys.readouterr().err


def test_prepare__beside_the_setup_that_names_a_file(generated, small, capsys):
    small.write_text(SMALL.format(table=str(small.parent / "own.nc")))
    write(generated / "a.par", *METHANE)
    write(generated / "b.par", WATER)
    assert cli.main(["prepare", str(small), "--lines", str(generated)]) == 0
    assert capsys.readouterr().out.strip() == str(small.parent / "own.nc")
    state = table_state(tgo.load_setup(small))
    assert state == str(small.parent / "own.nc")


def test_prepared_tables_come_before_those_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    setup = tgo.load_setup("so_190")
    assert table_state(setup) == "in the package"
    prepared_path("so_186_191").parent.mkdir(parents=True)
    prepared_path("so_186_191").write_bytes(find_table("so_186_191").read_bytes())
    assert find_table("so_186_191") == prepared_path("so_186_191")
    assert table_state(setup) == "prepared"
    assert open_table("so_186_191").attrs["gases"] == "co co2 h2o hdo"


def test_tables_build__merges_lists_of_one_gas(generated, small, tmp_path, capsys):
    old = write(generated / "old", METHANE[0][::2])
    new = write(generated / "new", METHANE[0][1::2])
    call = ["tables", "build", "--range", "3100", "3101", "--cache", str(tmp_path)]
    for path in (old, new):
        call += ["--lines", f"ch4={path}:air*1.3"]
    assert cli.main(call) == 0
    said = capsys.readouterr()
    assert "1000 lines of old" in said.err
    assert "1000 lines of new" in said.err
    table = open_table(said.out.strip())
    assert table.attrs["ch4_lines"] == "old + new"
    assert cli.main([*call, "--lines", f"ch4={old}:air"]) == 64


def test_lines_info__compares_with_the_ledger(generated, capsys):
    ends = [record(2999.0, 1e-27), record(3201.0, 1e-27)]
    path = write(generated / "a", METHANE[0][::100], ends)
    assert cli.main(["lines", "info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "a sample: isotopologue 1: 20 of 2000 lines" in said


def test_setups__tell_where_their_tables_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["setups"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in lines[1:]:
        name = line.split()[0]
        assert line.rstrip().endswith(table_state(tgo.load_setup(name)))


# ---- real lists


def test_shared_lists__complete_ones_are_accepted_samples_are_not(shared):
    paths = collecting.files_of(shared / "linelists")
    gases = ["h2o", "ch4", "hdo", "co2"]
    found, notes = collecting.collect(paths, gases, 2804.0, 3333.0)
    assert sum("is a sample of a list" in note for note in notes) == 3
    assert all("1percent" in note for note in notes)
    for gas in gases:
        assert found[gas].missing == [], gas
        assert found[gas].unjudged == "", gas
        assert all(ledger.is_whole(share) for share in found[gas].judged)
        used = [part.lines for part in found[gas].record if part.taken]
        assert used
        assert not any("1percent" in name for name in used)
    bands = {part.lines: part for part in found["ch4"].record}
    (older,) = (p for name, p in bands.items() if "S1e-27" in name)
    assert older.replaced_bands == 9928
    assert "HITRAN2012" in found["ch4"].lines.attrs["edition"]
    assert "2026" in found["ch4"].lines.attrs["edition"]


def test_shared_samples__alone_are_refused_with_numbers(shared):
    paths = [p for p in collecting.files_of(shared / "linelists") if "1percent" in p.name]  # noqa: E501  # fmt: skip
    need = preparation.table_need(tgo.load_setup("so_136"))
    said = []
    with pytest.raises(LineListError, match=r"ch4_alliso_1percent.*\d+ of \d+ lines"):
        preparation.lines_for(need, paths, said.append)
    assert any("left aside" in line for line in said)


def test_shared_co__takes_its_widths_from_files_with_more_columns(shared):
    paths = [p for p in collecting.files_of(shared / "linelists") if p.name.startswith("co_")]  # noqa: E501  # fmt: skip
    found, _ = collecting.collect(paths, ["co"], 4100.0, 4400.0)
    lines = found["co"].lines
    assert isinstance(lines, xr.Dataset)
    assert not np.isnan(lines["gamma_co2"].values).any()
    assert not np.isnan(lines["delta_co2"].values).any()
