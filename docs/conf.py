"""Sphinx configuration; nothing is fetched from the network."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from tgo_spectra._version import __version__
from tgo_spectra.spectroscopy.tables.files import list_tables, open_table, table_path
from tgo_spectra.variables import CATALOGUE

HERE = Path(__file__).parent

project = "tgo_spectra"
author = "The tgo_spectra developers"
project_copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "generated/*.inc.rst", "auto_examples/*.ipynb"]
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = f"tgo_spectra {version}"
html_show_sourcelink = False
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
templates_path: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
}


def _variables() -> str:
    """Return the catalogue as tables: what stands in names first, then the names."""
    raw = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    rows = [("``<quantity>``", "units", "meaning ``<text>``")]
    rows += [(f"``{k}``", r["units"], r["text"]) for k, r in raw["quantities"].items()]
    text = _list_table(rows)
    rows = [("``<field>`` of a map", "units", "meaning ``<text>``")]
    rows += [(f"``{k}``", r["units"], r["text"]) for k, r in raw["fields"].items()]
    text += _list_table(rows)
    sources = raw["sources"].items()
    text += _list_table(
        [
            ("``<source>`` of an error", "meaning"),
            *((f"``{k}``", t) for k, t in sources),
        ]
    )
    names = [("name", "level", "dimensions", "units", "meaning")]
    for name, entry in raw["variables"].items():
        if "dims" not in entry:  # a word more on a name of a family
            continue
        first = next(iter(entry["dims"].values()))
        dims = first if isinstance(first, str) else first[0]
        meaning = entry["long_name"]
        if "comment" in entry:
            meaning += f" ({entry['comment']})"
        dims = {"": "scalar", "...": "of the map"}.get(dims, ", ".join(dims.split()))
        levels = ", ".join(sorted(entry["dims"]))
        names.append((f"``{name}``", levels, dims, entry["units"] or "–", meaning))
    return text + _list_table(names)


def _list_table(rows: list[tuple[str, ...]]) -> str:
    """Return rows, the first of which are the headings, as a table."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def _tables() -> str:
    """Return the measured errors of the shipped tables, from their attributes."""
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "",
        "   * - table",
        "     - gases",
        "     - orders",
        "     - vectors",
        "     - nodes",
        "     - kB",
        "     - CPU s",
        "     - against the full axis, largest / rms",
        "     - against line by line, largest / rms",
    ]
    for name in list_tables():
        table = open_table(name)
        attrs = table.attrs
        lines += [
            f"   * - ``{name}``",
            f"     - {attrs['gases']}",
            f"     - {attrs['orders']}",
            f"     - {attrs['ranks']}",
            f"     - {table.sizes['node']}",
            f"     - {table_path(name).stat().st_size // 1000}",
            f"     - {attrs['build_cpu_seconds']:.0f}",
            (
                f"     - {attrs['truncation_error_transmittance']:.1e} / "
                f"{attrs['truncation_error_rms']:.1e}"
            ),
            (
                f"     - {attrs['line_by_line_error_transmittance']:.1e} / "
                f"{attrs['line_by_line_error_rms']:.1e}"
            ),
        ]
    return "\n".join(lines) + "\n"


def _modules() -> str:
    """Return every module with the first sentence of its docstring, by package."""
    lines = []
    root = HERE.parent / "tgo_spectra"
    for path in sorted(root.rglob("*.py"), key=lambda p: (p.parent, p.stem)):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(text.split("\n\n")[0].split())
        lines.append(f"* ``{name.removesuffix('.__init__')}``: {first}")
    return "\n".join(lines) + "\n"


generated = HERE / "generated"
generated.mkdir(exist_ok=True)
(generated / "variables.inc.rst").write_text(_variables(), encoding="utf-8")
(generated / "modules.inc.rst").write_text(_modules(), encoding="utf-8")
(generated / "tables.inc.rst").write_text(_tables(), encoding="utf-8")


# Formulas as MathML, which browsers draw themselves: no script from elsewhere.
def _math(translator: Any, node: Any, *, block: bool) -> None:
    formula = tex2mathml(node.astext(), as_block=block)
    opening, closing = ('<div class="math">', "</div>") if block else ("", "")
    translator.body.append(f"{opening}{formula}{closing}")
    raise nodes.SkipNode


def _inline_math(translator: Any, node: Any) -> None:
    _math(translator, node, block=False)


def _block_math(translator: Any, node: Any) -> None:
    _math(translator, node, block=True)


def setup(app: Any) -> None:
    """Register the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_block_math, None))
