"""Paths on the command line."""

from __future__ import annotations

from typing import Any

import click

from tgo_spectra.paths import expanded

__all__ = ["EXISTING", "PATH", "UserPath"]


class UserPath(click.Path):
    """A path in which ``~`` is a folder: shells leave it alone in ``--out=~/maps``."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, checked as `click.Path` does."""
        return super().convert(str(expanded(value)), param, ctx)


PATH = UserPath()
EXISTING = UserPath(exists=True)
