"""The command that says what the shipped setups, or one of yours, do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgo_spectra.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tgo_spectra.retrieval.setup import Setup

__all__ = ["setups"]


@click.command()
@click.argument("name", required=False)
def setups(name: str | None) -> None:
    """List the shipped retrieval setups, or say what one does.

    NAME is that of a shipped setup, or a TOML file: what it fits in which products,
    with which table, and what is absent.
    """
    if name is None:
        _list_shipped()
        return
    from tgo_spectra.retrieval.setups import load_setup

    for key, value in _described(load_setup(name)):
        say(f"{key:16}{value}")


def _list_shipped() -> None:
    """Say kind, product, orders, gases and table of each shipped setup."""
    from tgo_spectra.retrieval.preparation import table_state
    from tgo_spectra.retrieval.setups import shipped

    head = ("name", "kind", "channel", "observation", "orders", "gases", "table")
    rows = [head]
    for kind, setup in shipped():
        orders = " ".join(map(str, setup.orders)) or "-"
        about = (kind.name, setup.channel, kind.observation)
        gases = " ".join(setup.gases)
        rows.append((setup.name, *about, orders, gases, table_state(setup)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def _described(setup: Setup) -> Iterator[tuple[str, str]]:
    """Give what is to be known of a setup, by name."""
    from tgo_spectra.retrieval.preparation import table_state
    from tgo_spectra.retrieval.registry import kind_of_setup
    from tgo_spectra.retrieval.setup import TableSetup

    yield "name", setup.name
    kind = kind_of_setup(setup)
    if kind is not None:
        yield "kind", kind.name
        yield "product", f"{setup.channel} {kind.observation}"
        yield "limits", f"{kind.timeout_s:g} s and {kind.memory_gb:g} GB a product"
    yield "orders", " ".join(map(str, setup.orders)) or "all"
    yield "fits", " ".join(setup.gases)
    if isinstance(setup, TableSetup):
        yield "table", f"{setup.table} ({table_state(setup)})"
    else:
        yield "table", "none is needed"
    absent = ", ".join(getattr(setup, "interferents_absent", ()))
    yield "absent", absent or "none named"
    needed = getattr(setup, "cross_section", "")
    if needed is None:
        yield "missing", "cross_section: a file of yours, and its medium"
