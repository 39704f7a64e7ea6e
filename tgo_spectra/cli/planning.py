"""The command that says what a run would be, before it is made."""

from __future__ import annotations

from typing import Any

import click

from tgo_spectra.cli.archive import conditions
from tgo_spectra.cli.terminal import EXISTING, UserPath, say

__all__ = ["plan"]


@click.command()
@click.argument(
    "folder", required=False, type=UserPath(exists=True, file_okay=False), default=None
)
@click.option(
    "--query",
    is_flag=True,
    help="What the archive offers, by its names; of SO without --channel.",
)
@conditions
@click.option(
    "--setup",
    "setups_given",
    multiple=True,
    metavar="NAME|FILE",
    help="As for retrieve; default: the shipped ones.",
)
@click.option(
    "--measured",
    default=None,
    type=EXISTING,
    metavar="RESULTS",
    help="Take time and size of a product from the journals of that output folder.",
)
@click.option(
    "--sample",
    default=2,
    show_default=True,
    type=click.IntRange(0),
    help="Products of each kind to retrieve for it, else; 0: none.",
)
def plan(
    folder: str | None,
    query: bool,
    order: tuple[int, ...],
    setups_given: tuple[str, ...],
    measured: str | None,
    sample: int,
    channel: str | None,
    **given: Any,
) -> None:
    """Say what a run on FOLDER would be: products, setups, core hours, disk.

    FOLDER is catalogued first, as by index. s is the time of one product on one core,
    whatever else the machine does meanwhile. MB is the size of its result.
    """
    from pathlib import Path

    from tgo_spectra import archive
    from tgo_spectra.batch import plan as plans
    from tgo_spectra.batch.workers import Workers
    from tgo_spectra.retrieval.choice import load_setups

    if query == (folder is not None):
        message = "give a folder of products, or --query"
        raise click.UsageError(message)
    setups = load_setups(setups_given or None)
    known = plans.measured_in(Path(measured)) if measured else None
    if folder is None:
        found = archive.search(channel=channel or "so", order=order or None, **given)
        rows = plans.plan_remote(found, setups, known)
    else:
        catalogue = archive.index_archive(folder)
        chosen = archive.find(catalogue, channel=channel, order=order or None, **given)
        # a process of one thread, as those of a run
        with Workers(1) as engine:
            rows = plans.plan_catalogue(
                chosen, setups, known, engine=engine, sample=sample
            )
        if n_damaged := int((catalogue["rule"].values != "").sum()):
            say(f"{n_damaged} damaged, left out: tgo-spectra find --damaged names them")
    for line in plans.report(rows):
        say(line)
