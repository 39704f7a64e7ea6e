"""Commands on what is kept in the user's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgo_spectra.cli.terminal import say

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cache"]

KINDS = ("tables", "lines", "catalogues")
"""Folders of the cache: prepared tables, line lists, catalogues of folders."""


@click.group()
def cache() -> None:
    """See or clear the user's cache: tables, line lists, catalogues."""


@cache.command("info")
def cache_info() -> None:
    """Say where the cache is, and how much is in it."""
    from tgo_spectra.paths import cache_root

    say(f"{'folder':12}{cache_root()}")
    for kind in KINDS:
        files = _files(kind)
        size = sum(path.stat().st_size for path in files)
        say(f"{kind:12}{len(files)} files, {size / 1e6:.1f} MB")


@cache.command("clear")
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(KINDS))
@click.option("--yes", is_flag=True, help="Do not ask.")
def cache_clear(kinds: tuple[str, ...], yes: bool) -> None:
    """Remove KINDS from the cache; tables and lists take long to make again."""
    for kind in dict.fromkeys(kinds):
        files = _files(kind)
        if files and not yes:
            click.confirm(f"remove {len(files)} files of {kind}?", abort=True, err=True)
        for path in files:
            path.unlink()
        say(f"{kind}: {len(files)} files removed")


def _files(kind: str) -> list[Path]:
    """Return the files of a kind; links are not followed."""
    from tgo_spectra.paths import cache_folder, cache_root

    # catalogues of folders lie beside the folders of the others
    alone = kind == "catalogues"
    found = cache_root().glob("*.jsonl") if alone else cache_folder(kind).rglob("*")
    return sorted(path for path in found if path.is_file())
