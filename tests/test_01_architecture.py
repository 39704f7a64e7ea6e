"""The picture of the layers is that of the code."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_picture_is_up_to_date():
    made = runpy.run_path(str(DOCS / "picture.py"))
    drawn = (DOCS / "explanation" / "layers.txt").read_text(encoding="utf-8")
    assert drawn == made["picture"](), "run: make picture"
