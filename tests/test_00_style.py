"""Budgets that keep the project small and light, and promises of its texts."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import msgspec
import pytest

import tgo_spectra
from tgo_spectra import cli
from tgo_spectra.retrieval import setup as setups

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tgo_spectra"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_MAX = 520
NAMES_MAX = 40
HEAVY = (
    "matplotlib",
    "scipy.stats",
    "numba",
    "distributed",
    "netCDF4",
    "h5py",
    "dask",
)


def _texts():
    """Files that a user gets to read."""
    folders = {
        "tgo_spectra": ("*.py", "*.toml"),
        "docs": ("*.rst", "*.py"),
        "examples": ("*.py", "*.rst"),
    }
    for folder, patterns in folders.items():
        for pattern in patterns:
            for path in sorted((ROOT / folder).rglob(pattern)):
                if not {"_build", "generated", "auto_examples"} & set(path.parts):
                    yield path
    yield from sorted(ROOT.glob("*.md"))
    yield from (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "CITATION.cff")


def _name(path):
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


def _exported(tree):
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            literal = isinstance(node.value, ast.List)
            return ast.literal_eval(node.value) if literal else []
    return []


def _modules_after(code):
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_import__light():
    assert _modules_after("import tgo_spectra").isdisjoint({*HEAVY, "xarray", "numpy"})


def test_import__files_and_maps_without_plots_and_clusters():
    code = "import tgo_spectra.files.netcdf, tgo_spectra.maps, tgo_spectra.batch"
    code += ", tgo_spectra.plots"
    found = _modules_after(code)
    assert found.isdisjoint({"matplotlib", "scipy.stats", "numba", "distributed"})
    assert found.isdisjoint({"netCDF4", "h5py"})


def test_help__without_xarray():
    code = "from tgo_spectra.cli import main\nmain(['--help'])"
    assert _modules_after(code).isdisjoint({*HEAVY, "xarray", "numpy"})


def test_public_names__few_and_sorted():
    assert list(tgo_spectra.__all__) == sorted(set(tgo_spectra.__all__))
    assert len(tgo_spectra.__all__) <= NAMES_MAX
    assert set(tgo_spectra.__all__) <= set(dir(tgo_spectra))
    assert not hasattr(tgo_spectra, "no_such_name")


@pytest.mark.parametrize("name", tgo_spectra.__all__)
def test_public_names__documented_with_examples(name):
    text = getattr(tgo_spectra, name).__doc__
    assert re.search(r"^\s*Examples\n\s*-{8}\n", text, re.MULTILINE), name
    assert ">>>" in text
    page = (ROOT / "docs" / "reference" / "public.rst").read_text(encoding="utf-8")
    assert f":: tgo_spectra.{name}\n" in page


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module__small_and_documented(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "module without docstring"
    names = _exported(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
            overloads = {ast.unparse(d) for d in node.decorator_list} == {"overload"}
            assert overloads or ast.get_docstring(node), node.name


def _imported_in_texts():
    """Names that the how-tos, the examples and the README import from a module."""
    for path in _texts():
        if path.suffix in {".rst", ".md"} or path.parent.name == "examples":
            text = path.read_text(encoding="utf-8")
            given = re.findall(r"from tgo_spectra\.(\S+) import (\([^)]*\)|.*)", text)
            for module, names in given:
                for name in re.findall(r"\w+", names):
                    yield f"{module}.{name}"


def test_reference__has_every_public_name_once():
    """Names of the root, of its packages, errors, and what texts import."""
    public = set(_imported_in_texts())
    for path in (*PACKAGE.glob("*/__init__.py"), PACKAGE / "errors.py"):
        module = _name(path).removeprefix("tgo_spectra.")
        names = _exported(ast.parse(path.read_text(encoding="utf-8")))
        if module != "cli":
            public |= {f"{module}.{n}" for n in names if not n.isupper()}
    root = set(tgo_spectra.__all__)
    public = {name for name in public if name.split(".")[-1] not in root} | root
    listed = []
    for page in (ROOT / "docs" / "reference").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        entry = r"^\.\. auto(?:function|class|exception|data):: tgo_spectra\.(\S+)"
        listed += re.findall(entry, text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert public <= set(listed)
    for name in listed:
        module, _, leaf = f"tgo_spectra.{name}".rpartition(".")
        assert hasattr(importlib.import_module(module), leaf), name


def test_texts__no_private_places():
    # written in pieces, so that this file does not hold them
    words = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "hand" + "book"]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in _texts()
        for word in words
        if word in path.read_text(encoding="utf-8").lower()
    ]
    assert not found


def test_texts__make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "docs/index.rst"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets, name
        assert named


def test_texts__commands_exist():
    for path in _texts():
        if path.suffix not in {".md", ".rst"}:
            continue
        text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
        for words in re.findall(r"tgo-spectra ([a-z][^`\n]*)", text):
            command = cli.cli
            for word in words.split():
                if not isinstance(command, click.Group):
                    break
                assert word in command.commands, f"{path.name}: {words}"
                command = command.commands[word]
            options = {o for p in command.params for o in p.opts}
            assert set(re.findall(r"--[a-z][a-z0-9-]+", words)) <= options, (
                f"{path.name}: {words}"
            )


def test_readme__lists_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in cli.cli.commands:
        assert f"`tgo-spectra {command}" in text


def _keys(kind):
    for item in msgspec.structs.fields(kind):
        is_section = isinstance(item.type, type) and issubclass(
            item.type, msgspec.Struct
        )
        if is_section:
            yield from _keys(item.type)
        elif item.name != "prior":
            default = item.default
            yield item.name, None if default is msgspec.NODEFAULT else default


def test_setup_page__has_every_key_and_default():
    page = (ROOT / "docs" / "how-to" / "setup.rst").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^``(\w+)``\s+(\S+)", page, re.MULTILINE))
    for name, default in (*_keys(setups.RetrievalSetup), *_keys(setups.Prior)):
        assert name in rows, name
        if isinstance(default, bool):
            assert rows[name] == str(default).lower(), name
        elif isinstance(default, int | float):
            assert float(rows[name]) == default, name
        elif isinstance(default, str):
            assert rows[name] == f'``"{default}"``', name


def test_reading_page__rules_exist():
    page = (ROOT / "docs" / "explanation" / "reading.rst").read_text(encoding="utf-8")
    source = "".join(
        p.read_text(encoding="utf-8")
        for folder in ("pds4", "readers")
        for p in (PACKAGE / folder).glob("*.py")
    )
    rules = set(re.findall(r"``((?:label|table|product|file|validation)\.\w+)``", page))
    sections = re.findall(r"^``(label|table)\.\*``\n((?:   .*\n)+)", page, re.MULTILINE)
    for area, text in sections:
        rules |= {f"{area}.{leaf}" for leaf in re.findall(r"``(\w+)``", text)}
    assert len(rules) > 20
    missing = {r for r in rules if r not in source}
    assert missing <= {"table.missing_CRLF", "table.missing_LF"}


def test_version__same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    assert tgo_spectra.__version__ == version
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert zenodo["version"] == version
    recipe = (ROOT / "packaging/conda-forge/recipe.yaml").read_text(encoding="utf-8")
    assert f'  version: "{version}"\n' in recipe


def test_recipe__requires_what_the_project_does():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    recipe = (ROOT / "packaging/conda-forge/recipe.yaml").read_text(encoding="utf-8")
    part = recipe.partition("  run:\n")[2].partition("\ntests:")[0]
    of_recipe = set(re.findall(r"- (\S+) >=(\S+)", part)) - {("python", "3.11")}
    # conda has these without what only some need
    names = {"dask[array]": "dask-core", "matplotlib": "matplotlib-base"}
    needed = (item.split(">=") for item in project["project"]["dependencies"])
    assert of_recipe == {(names.get(n, n).lower(), v) for n, v in needed}
