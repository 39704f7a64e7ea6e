"""Every block of code in the README and on the pages runs, as a reader would run it.

The blocks of a page run in their order, in a folder of their own and with one set of
names, on simulated products that are made once. `GIVEN` has what a page takes for
granted, `LEFT_OUT` what cannot be run here, and why.
"""

from __future__ import annotations

import concurrent.futures
import gzip
import importlib
import re
import runpy
import shlex
import shutil
import sys
import textwrap
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import acs_products
import click
import draws
import generated_lists
import numpy as np
import pytest
import small_results
import synthetic_bands
import test_44_climatologies as climatologies
import test_67_merging as merging
from test_41_fetch_lines import GOOD

import tgo_spectra as tgo
from tgo_spectra.cli import cli, main
from tgo_spectra.simulate.mir import simulate_mir_product
from tgo_spectra.simulate.nadir import simulate_nadir_product
from tgo_spectra.simulate.uvis import (
    simulate_uvis_product,
    synthetic_ozone_cross_section,
)
from tgo_spectra.spectroscopy import ledger
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables import cache as caching
from tgo_spectra.spectroscopy.tables import shipped

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))

SMALL = {"n_bins": 1, "vertical_speed_km_s": 6.0, "seed": 4}
"""Of an occultation with twenty spectra."""
SHORT = {name: value for name, value in SMALL.items() if name != "seed"}

LEFT_OUT = {
    "pip install": "needs the network",
    "tgo-spectra fetch": "needs the network",
    "--fetch": "needs the network",
    "lines fetch hdo": "needs the network",
    "--scheduler": "needs a cluster",
    "--slurm": "needs a cluster",
}
"""Words of commands and blocks that are not run, with the reason."""


class Block(NamedTuple):
    """A block of code on a page."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def reason(self) -> str | None:
        """Why it is left out."""
        return next(
            (why for words, why in LEFT_OUT.items() if words in self.text), None
        )


def blocks(path):
    """Return the blocks of a page; of a console each command is one."""
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(DOCS).with_suffix(""))
    found = []
    form = r"^\.\. code-block:: (\w+)\n\n((?:   .*\n|\n)+)"
    for match in re.finditer(form, text, re.MULTILINE):
        line = text[: match.start()].count("\n") + 1
        inner = textwrap.dedent(match[2]).strip("\n")
        if match[1] == "python":
            found.append(Block(name, line, "python", inner))
        elif match[1] == "console":
            rows = re.sub(r"\\\n\s*", "", inner).splitlines()
            if any(row.startswith("$ ") for row in rows):  # the rest is its output
                rows = [row.removeprefix("$ ") for row in rows if row[:2] == "$ "]
            found += [Block(name, line, "console", row) for row in rows if row]
    return found


ALL = {str(p.relative_to(DOCS).with_suffix("")): blocks(p) for p in PAGES}
RUN = [name for name, found in ALL.items() if any(b.reason is None for b in found)]


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Label of a small occultation of order 134."""
    folder = tmp_path_factory.mktemp("small")
    return tgo.simulate_product(folder, order=134, ch4=2e-9, **SMALL)


@pytest.fixture(scope="session")
def small_level2(small):
    """What is retrieved from it."""
    return tgo.retrieve(small)


@pytest.fixture(scope="session")
def line_lists(tmp_path_factory):
    """Folder of generated line lists; beside it their ledger and a cache of tables."""
    folder = tmp_path_factory.mktemp("lines") / "my_lists"
    generated_lists.write_lists(folder)
    return folder


@pytest.fixture
def own_lists(line_lists, monkeypatch):
    """See to it that the generated lists are complete, and that tables are coarse."""
    monkeypatch.setattr(ledger, "files", lambda _: line_lists.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(line_lists.parent / "cache"))
    for module in (caching, shipped):
        build = generated_lists.coarse(module.build_table)
        monkeypatch.setattr(module, "build_table", build)
    ledger._ledger.cache_clear()
    yield line_lists
    ledger._ledger.cache_clear()


@pytest.fixture
def given(small, request):
    """Make what a page takes for granted, in the folder: names with their values."""

    def product(name="product.xml", source=small):
        """Copy a product; a label may have any name, its table may not."""
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, name)
        shutil.copy(source.with_suffix(".tab"), Path(name).parent)
        return {}

    def level2():
        return {"level2": request.getfixturevalue("small_level2").copy(deep=True)}

    def fitted():
        product("products/product.xml")
        return {"tgo": tgo, "level1": tgo.open_product(small)} | level2()

    def air_table():
        profile = tgo.reference_atmosphere()
        names = ["temperature", "pressure"]
        units = {"temperature": "K", "pressure": "Pa"}
        table = profile[names].to_dataframe()[names]
        table.index.name = "altitude[km]"
        table.columns = [f"{name}[{units[name]}]" for name in names]
        return table

    def air():
        table = air_table()
        table.to_csv("model_profile.csv")
        table.mul([1.0, 100.0]).to_csv("thick.csv")
        return product()

    def calibrated(channel):
        acs_products.write_geometry(Path(), channel)
        lid = acs_products.geometry_lid(channel)
        return acs_products.write_calibrated(Path(), channel, geometry_lid=lid)

    def acs():
        made = {
            "acs_raw_nir.xml": acs_products.write_raw(Path()),
            **{f"acs_{channel}.xml": calibrated(channel) for channel in ("mir", "nir")},
        }
        for name, one in made.items():
            shutil.copy(one.label, name)
        return {"tgo": tgo}

    def archive():
        with zipfile.ZipFile("delivery.zip", "w") as packed:
            packed.write(small, "data/product.xml")
            packed.write(small.with_suffix(".tab"), f"data/{small.stem}.tab")
        return product("data/product.xml")

    def climatology():
        product()
        product("archive/product.xml")
        season = float(tgo.open_product(small)["solar_longitude"].mean())
        climatologies.mcd_file(Path(), start=season - 7.0)
        climatologies.gem_text_file(Path())
        return {"tgo": tgo}

    def two_orders():
        parts = merging.LOW, merging.HIGH
        one, two = (merging.solved(part, merging.spectra(part)) for part in parts)
        return {"level2_of_134": one, "level2_of_169": two}

    def archive_and_setups():
        product("archive/product.xml")
        Path("my_134.toml").write_text(
            shown("setup").replace("[136]", "[134]").replace("mine_136", "mine_134"),
            encoding="utf-8",
        )
        small_results.write_cross_section(Path("ozone.csv"))
        Path("my_ozone.toml").write_text(
            'kind = "ozone"\nname = "my_ozone"\ncross_section = "ozone.csv"\n'
            'medium = "vacuum"\n',
            encoding="utf-8",
        )
        return level2() | product()

    def own_table(setup):
        """Prepare a table, as the page does first, for a product that is simulated."""
        folder = request.getfixturevalue("own_lists")
        Path("my_lists").symlink_to(folder)
        assert main(["prepare", setup, "--lines", "my_lists"]) == 0

    def prepared():
        own_table("so_129_130_hcl")
        tgo.simulate_product("products", order=130, table="so_126_130_hcl", **SMALL)
        return {}

    def temperature():
        own_table("so_co2_temperature")
        label = tgo.simulate_product("a", order=165, table="so_164_165_co2", **SMALL)
        return {
            "tgo": tgo,
            "label_of_order_165": label,
            "label_of_order_168": tgo.simulate_product("b", order=168, **SMALL),
            "prior": tgo.reference_atmosphere(),
        }

    def grating():
        folder = request.getfixturevalue("own_lists")
        lines = {"ch4": (read_line_list(folder / "ch4.par"), ("air", 1.3))}
        for path in folder.glob("*.par"):
            shutil.copy(path, Path())
        label = simulate_mir_product(
            "archive", lines, orders=(179, 181, 182, 183), pixels=120, frames=16,
            altitude_range=(8.0, 40.0), orbit=5000, seed=1,
        )  # fmt: skip
        for path in label.parent.iterdir():
            shutil.copy(path, Path())
        shutil.copy(label, "acs_mir.xml")
        text = (ROOT / "tgo_spectra/setups/acs_mir_ch4_position_12.toml").read_text(
            encoding="utf-8"
        )
        Path("mine.toml").write_text(text, encoding="utf-8")
        return {"atmosphere": tgo.reference_atmosphere()}

    def shipped_lists():
        folder = request.getfixturevalue("own_lists")
        generated_lists.write_shipped(folder, Path("linelists"), "so_134_136")
        return {}

    def lists():
        folder = request.getfixturevalue("own_lists")
        Path("lists").symlink_to(folder)
        for name in ("h2o", "ch4"):
            shutil.copy(folder / f"{name}.par", Path())
        synthetic_bands.hapi_list(synthetic_bands.hdo_nu1(), Path("hdo.data"))
        synthetic_bands.hapi_list(synthetic_bands.hdo_nu1(), Path("hdo_2700-3300.data"))
        rows = [
            GOOD[:3] + f"{2890 + 10 * i:12.6f}" + GOOD[15:] + "\n" for i in range(33)
        ]
        Path("ch4.par.gz").write_bytes(gzip.compress("".join(rows).encode()))
        small_results.write_cross_section(Path("o3.csv"))
        return {"wavelength_nm": np.arange(220.0, 300.0), "temperature_k": 200.0}

    def uvis():
        data = synthetic_ozone_cross_section()
        label = simulate_uvis_product(
            "archive", data, ozone=2e-7, pixels=128, row_step_km=5.0
        )
        assert label.exists()
        small_results.write_cross_section(Path("ozone.csv"))
        return {}

    def nadir():
        simulate_nadir_product("archive", order=190, n_spectra=4)
        return {}

    def results():
        found = level2()
        tgo.write_level2(found["level2"], "results/l2/profile.nc")
        return found | product()

    def published():
        found = results()
        tgo.write_bira(found["level2"], "20180421_014505_134.txt", "h2o")
        return found

    def seen():
        names = results()
        product("products/product.xml")
        grid = tgo.Grid(
            latitude=[-90, 0, 90],
            altitude=range(0, 81, 20),
            solar_longitude=[0, 180, 360],
        )
        tgo.write_map(tgo.grid_level2(names["level2"], grid), "results/l2/map.nc")
        return names | {"level1": tgo.open_product(small)}

    def orders():
        own_table("so_129_130_hcl")
        hcl = tgo.simulate_product("b", order=130, table="so_126_130_hcl", **SMALL)
        other = tgo.simulate_product("products", order=121, **SMALL)
        product(f"products/{small.name}")
        return {
            "tgo": tgo,
            "label_of_order_121": other,
            "label_of_order_130": hcl,
            "label_of_order_134": small,
        }

    def shown(page):
        """Give the setup file that a page shows."""
        text = (DOCS / "how-to" / f"{page}.rst").read_text(encoding="utf-8")
        found = re.search(r"code-block:: toml\n\n((?:   .*\n|\n)+)", text)[1]
        return textwrap.dedent(found)

    def toml():
        Path("mine_136.toml").write_text(shown("setup"), encoding="utf-8")
        label = tgo.simulate_product("other", order=136, **SMALL)
        product(source=label)
        return {"tgo": tgo, "level1": tgo.open_product(label)}

    def campaign():
        """Products are small, of the campaign too, whose rows are kept here."""
        wanted, whole = draws.options_of, tgo.simulate_product
        patch = request.getfixturevalue("monkeypatch")
        patch.setattr(
            tgo, "simulate_product", lambda *of, **how: whole(*of, **SHORT, **how)
        )
        patch.setattr(draws, "options_of", lambda *of: {**wanted(*of), **SHORT})
        patch.setattr(draws, "kept_in", lambda: Path("kept.jsonl"))
        patch.setattr(concurrent.futures, "ProcessPoolExecutor", ThreadPoolExecutor)
        return {}

    def downloaded():
        air_table().to_csv("air.csv")
        return product("downloaded/product.xml")

    makers = {
        "index": product,
        "conventions": product,
        "explanation/instruments": level2,
        "explanation/limits": level2,
        "explanation/tables": shipped_lists,
        "how-to/acs": acs,
        "how-to/archive": archive,
        "how-to/atmosphere": air,
        "how-to/chi_square": level2,
        "explanation/retrieval": two_orders,
        "how-to/climatologies": climatology,
        "how-to/cluster": archive_and_setups,
        "how-to/compare": published,
        "how-to/exchange": published,
        "how-to/hdo_hcl": orders,
        "how-to/limits": results,
        "how-to/method": fitted,
        "how-to/mir": grating,
        "how-to/nadir": nadir,
        "how-to/line-lists": lists,
        "how-to/pictures": seen,
        "how-to/prepare": prepared,
        "how-to/setup": toml,
        "how-to/temperature": temperature,
        "how-to/uvis": uvis,
        "how-to/wrong_instrument": campaign,
        "tutorial/map": downloaded,
    }
    return lambda name: makers.get(name, dict)()


def shell(command, capsys):
    """Run one command as a shell would: ``> FILE`` and ``$(cat FILE)`` are known."""
    command, _, target = command.partition(" > ")
    command = re.sub(
        r"\$\(cat (\S+)\)",
        lambda m: shlex.join(Path(m[1]).read_text(encoding="utf-8").split()),
        command,
    )
    if command.startswith("tgo-spectra retrieve "):
        # processes take longer here than what they do
        command = re.sub(r" --workers \d+", "", command) + " --workers 0"
    words = []
    for word in shlex.split(command):
        found = sorted(map(str, Path().glob(word))) if "*" in word else []
        words += found or [word]  # as a shell leaves what matches nothing
    if words[:2] == ["OMP_NUM_THREADS=1", "python"]:
        sys.argv = words[2:]
        runpy.run_path(str(ROOT / words[2]), run_name="__main__")
        return
    assert words[0] == "tgo-spectra", command
    capsys.readouterr()
    code = main(words[1:])
    out, err = capsys.readouterr()
    if target:
        Path(target.strip()).write_text(out, encoding="utf-8")
    assert code == 0, f"{command}: {code}\n{out}{err}"


@pytest.mark.parametrize("page", RUN)
def test_page__runs(page, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", sys.argv)
    space = given(page)
    for block in ALL[page]:
        if block.reason is not None:
            continue
        if block.kind == "console":
            shell(block.text, capsys)
            continue
        # lines of its own before it, so that a traceback names the line of the page
        code = compile("\n" * (block.line + 1) + block.text, f"{page}.rst", "exec")
        exec(code, space)


def test_left_out__each_is_still_there():
    text = "\n".join(block.text for found in ALL.values() for block in found)
    assert not [words for words in LEFT_OUT if words not in text]


@pytest.fixture(scope="module")
def listings():
    """The parts of pages that are made from the package."""
    return runpy.run_path(str(DOCS / "listings.py"))


def leaves(command, name="tgo-spectra"):
    if not isinstance(command, click.Group):
        yield name, command
        return
    for part, one in command.commands.items():
        yield from leaves(one, f"{name} {part}")


def test_commands__each_with_its_options(listings):
    text = listings["commands"]()
    sections = dict(re.findall(r"^``(tgo-[^`]+)``\n-+\n((?:.*\n)*?)(?=``tgo-|\Z)", text + "\n", re.MULTILINE))  # noqa: E501  # fmt: skip
    assert set(sections) == {name for name, _ in leaves(cli)}
    for name, command in leaves(cli):
        for parameter in command.params:
            assert max(parameter.opts, key=len) in sections[name] or isinstance(
                parameter, click.Argument
            )


def test_rules__with_what_they_say(listings):
    text = listings["rules"]()
    entry = re.search(r"``quality.reason``\n((?:   .*\n)+)", text)[1]
    assert "no reason of quality\\_flag; those are …" in entry
    cures = tomllib.loads((DOCS / "cures.toml").read_text(encoding="utf-8"))
    rules = set(re.findall(r"^``([\w.]+)``$", text, re.MULTILINE))
    areas = {rule.partition(".")[0] for rule in rules}
    assert {name for name in cures if "." not in name} == areas
    assert {name for name in cures if "." in name} <= rules
    silent = text.count("said where it is found")
    assert silent < 0.05 * text.count("   | ")


def test_quality__all_reasons(listings):
    from tgo_spectra.quality import REASONS

    found = re.findall(
        r"   \* - (\d+)\n     - ``(\w+)``( \*)?\n     - (.+)\n", listings["quality"]()
    )
    assert [(int(m), n, bool(s), t) for m, n, s, t in found] == [
        (r.mask, r.name, r.severe, r.meaning) for r in REASONS
    ]
    page = (DOCS / "how-to" / "chi_square.rst").read_text(encoding="utf-8")
    assert re.findall(r"^``(\w+)``( \*)?\n   \S", page, re.MULTILINE)[3:] == [
        (r.name, " *" if r.severe else "") for r in REASONS
    ]


def test_setups__all_with_what_is_absent(listings):
    from tgo_spectra.retrieval.setups import list_setups

    text = listings["setups"]()
    for name in list_setups():
        assert f"``{name}``" in text
    assert "co2 magnetic dipole band, o3" in text


def test_glossary__has_the_words_of_the_field():
    page = (DOCS / "reference" / "glossary.rst").read_text(encoding="utf-8")
    terms = set(re.findall(r"^   (\S.*)\n      \S", page, re.MULTILINE))
    assert {"order", "areoid", "AOTF", "ghost", "side lobe", "detection limit"} <= terms


def test_links__what_leads_nowhere_is_named(tmp_path):
    links = runpy.run_path(str(DOCS / "links.py"))
    (tmp_path / "a b.html").write_text('<p id="here"><a href="#here">x</a></p>')
    (tmp_path / "one.html").write_text(
        '<a href="a%20b.html#here">good</a> <a href="a%20b.html#there">no place</a>'
        '<img src="no.png"> <a href="https://example.org/x">outside</a>'
    )
    found, outside = links["broken"](tmp_path)
    assert outside == 1
    assert found == [
        "one.html: a%20b.html#there: no such place in the page",
        "one.html: no.png: no such file",
    ]
    assert links["broken_markdown"](ROOT) == []
    (tmp_path / "x.md").write_text("[a](one.html) [b](gone.md)", encoding="utf-8")
    assert links["broken_markdown"](tmp_path) == ["x.md: gone.md: no such file"]


def test_reference__lists_public_names_only():
    entry = r"^\.\. auto(?:function|class|exception|data):: (\S+)\.(\w+)$"
    found = [
        pair
        for path in (DOCS / "reference").glob("*.rst")
        for pair in re.findall(entry, path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(found) > 100
    assert not [
        (module, name)
        for module, name in found
        if name not in importlib.import_module(module).__all__
    ]
