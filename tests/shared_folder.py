"""Where the real line lists, sample products and schemas lie that some tests use.

They are no part of the project: the folder ``shared`` lies beside the clone, or the
tests that ask for it skip. A test asks by the fixture `shared` of ``conftest.py``,
which also gives it the marker of that name.
"""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
LISTS, SAMPLES = SHARED / "linelists", SHARED / "samples"
FULL = SHARED / "samples_full"
