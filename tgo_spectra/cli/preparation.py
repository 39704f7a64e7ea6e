"""The command that makes the absorption tables of setups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgo_spectra.cli.terminal import EXISTING, naming, say

if TYPE_CHECKING:
    from tgo_spectra.retrieval.preparation import TableNeed

__all__ = ["prepare"]


@click.command()
@click.argument("setups", nargs=-1, required=True, metavar="SETUP...")
@click.option("--lines", default=None, type=EXISTING, help="Folder of line lists.")
@click.option("--fetch", is_flag=True, help="Get the lists from HITRANonline.")
@click.option("--incomplete", is_flag=True, help="Go on if lines are missing.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1))
@click.option("--memory", default=2.0, show_default=True, help="GB at most.")
def prepare(
    setups: tuple[str, ...],
    lines: str | None,
    fetch: bool,
    incomplete: bool,
    workers: int,
    memory: float,
) -> None:
    """Make the absorption tables that SETUPs need, from line lists.

    SETUP is the name of a shipped setup or a TOML file. Lists are taken by their
    content, whatever they are called; a sample is left aside, and what is missing is
    said. A table is found by the setups that name it.
    """
    from tgo_spectra.retrieval.preparation import (
        fetched,
        prepare_table,
        table_need,
        table_state,
    )
    from tgo_spectra.retrieval.setups import load_setup
    from tgo_spectra.spectroscopy.collecting import files_of

    if lines is not None and fetch:
        message = "take --lines or --fetch, not both"
        raise click.UsageError(message)
    chosen = [load_setup(name) for name in setups]
    needs: dict[str, TableNeed] = {}
    for need in map(table_need, chosen):
        # of two for one table that of a setup of one's own is for the shipped ones too
        if len(need.setups) > len(getattr(needs.get(need.table), "setups", ())):
            needs[need.table] = need
    if lines is None and not fetch:
        states = {setup.name: table_state(setup) for setup in chosen}
        without = [name for name, state in states.items() if state.startswith("run:")]
        if without:
            message = (
                f"no table for {', '.join(without)} yet: --lines FOLDER or --fetch"
            )
            raise click.UsageError(message)
        for name, state in states.items():
            say(name, state)
        return

    def report(text: str) -> None:
        say(text, err=True)

    for need in needs.values():
        paths = fetched(need, report) if lines is None else files_of(lines)
        with naming(lines or need.table):
            path = prepare_table(
                need, paths, report, incomplete=incomplete, workers=workers,
                memory_gb=memory,
            )  # fmt: skip
        say(str(path))
