"""Print the lowest versions of all dependencies that pyproject.toml allows, as pins."""

import re
import sys
import tomllib
from pathlib import Path

with (Path(__file__).resolve().parents[1] / "pyproject.toml").open("rb") as file:
    given = tomllib.load(file)
wanted = [*given["project"]["dependencies"], *given["dependency-groups"]["test"]]
for extra in given["project"]["optional-dependencies"].values():
    wanted += extra
for requirement in dict.fromkeys(wanted):
    if not re.fullmatch(r"[\w\[\]-]+>=[\d.]+", requirement):
        sys.exit(f"pyproject.toml: {requirement!r} states no lowest version")
    sys.stdout.write(requirement.replace(">=", "==") + "\n")
