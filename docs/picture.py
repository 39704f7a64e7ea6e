"""Draw the layers of the package as text: what stands where, and what it imports.

The layers are those that import-linter keeps, the imports those of the code. ``make
picture`` writes it for the page on the architecture.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tgo_spectra"
PICTURE = ROOT / "docs" / "explanation" / "layers.txt"
WIDTH = 92


def layers() -> list[list[str]]:
    """Names of each row, the highest first, without that of the package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers" and "containers" not in contract:
            rows = contract["layers"]
            return [[n.strip().removeprefix(f"{PACKAGE}.") for n in row.split("|")]
                    for row in rows]  # fmt: skip
    message = "pyproject.toml has no contract of layers for the whole package"
    raise LookupError(message)


def arrows(rows: list[list[str]]) -> dict[str, set[str]]:
    """Which names of the layers each of them imports."""
    names = [name for row in rows for name in row]
    graph = grimp.build_graph(PACKAGE, cache_dir=None)

    def home(module: str) -> str | None:
        """Return the longest name that a module stands under."""
        own = module.removeprefix(f"{PACKAGE}.")
        found = [n for n in names if own == n or own.startswith(f"{n}.")]
        return max(found, key=len, default=None)

    found: dict[str, set[str]] = {name: set() for name in names}
    for module in graph.modules:
        here = home(module)
        for other in graph.find_modules_directly_imported_by(module):
            there = home(other)
            if here is not None and there is not None and there != here:
                found[here].add(there)
    return found


def picture() -> str:
    """Return the rows with a line between them, each name with what it imports."""
    rows = layers()
    imports = arrows(rows)
    order = [name for row in rows for name in row]
    lines = []
    for row in rows:
        lines.append("-" * WIDTH)
        for name in row:
            lines += wrapped(name, sorted(imports[name], key=order.index))
    return "\n".join([*lines, "-" * WIDTH]) + "\n"


def wrapped(name: str, others: list[str]) -> list[str]:
    """Return a name and the names behind it, in lines of the width of the picture."""
    lines, line = [], f"{name:<20}"
    for other in others:
        if len(line) + len(other) + 2 > WIDTH:
            lines.append(line.rstrip())
            line = " " * 20
        line += f"  {other}"
    return [*lines, line.rstrip()]


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
