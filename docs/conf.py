"""Sphinx configuration; nothing is fetched from the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from tgo_spectra._version import __version__

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


sys.path.insert(0, str(HERE))
from listings import write  # noqa: E402

write(HERE / "generated")


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
