"""Commands that fit products, and that say how far runs are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from tgo_spectra.cli.cluster import cluster_options, connection
from tgo_spectra.cli.terminal import (
    DONE,
    EXISTING,
    PATH,
    SOME_FAILED,
    say,
    without_place,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.batch.journal import ProductStatus

__all__ = ["retrieve", "status"]


@click.command()
@click.argument("products", nargs=-1)
@click.option("--out", required=True, type=PATH, help="Output folder.")
@click.option(
    "--from",
    "lists",
    multiple=True,
    type=click.File(encoding="utf-8"),
    metavar="FILE|-",
    help="List of further products, a line each.",
)
@click.option(
    "--shard",
    default=None,
    metavar="I/N",
    help="The I-th of N parts only, as of a job array.",
)
@click.option(
    "--setup",
    "setups_given",
    multiple=True,
    metavar="NAME|FILE",
    help="Shipped setup, or TOML file; one for each kind of product.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="[NAME:]KEY=VALUE",
    help="Change one key of the setups, such as window.top_km=90; of one of them,"
    " such as so_134:window.top_km=90.",
)
@click.option(
    "--atmosphere", default=None, type=EXISTING, help="One profile for all products."
)
@click.option(
    "--climatology",
    multiple=True,
    type=EXISTING,
    help="Climate model to take each product's profile from; several files join.",
)
@click.option(
    "--climatology-form",
    default=None,
    metavar="NAME",
    help="mcd, pcm, openmars ...; default: recognised.",
)
@click.option(
    "--climatology-set",
    "climatology_pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="One choice for it, such as altitude_reference=areoid.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Worker processes; 0: none, and no limits.",
)
@click.option(
    "--timeout",
    "timeout_s",
    default=None,
    metavar="SECONDS",
    type=click.FloatRange(0.0, min_open=True),
    help="Longest time of a product, or inf.  [default: that of its kind]",
)
@click.option(
    "--memory",
    "memory_gb",
    default=None,
    metavar="GB",
    type=click.FloatRange(0.0, min_open=True),
    help="Most memory of a worker.  [default: likewise, at most an equal share]",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be done, with which setups."
)
@cluster_options
def retrieve(
    products: tuple[str, ...],
    out: str,
    lists: tuple[TextIO, ...],
    shard: str | None,
    setups_given: tuple[str, ...],
    changes: tuple[str, ...],
    atmosphere: str | None,
    climatology: tuple[str, ...],
    climatology_form: str | None,
    climatology_pairs: tuple[str, ...],
    workers: int,
    timeout_s: float | None,
    memory_gb: float | None,
    dry_run: bool,
    **cluster: str | None,
) -> None:
    """Retrieve PRODUCTS (labels, zips, folders, patterns); done ones are skipped.

    Each product takes the setup for its channel, observation and order: of those
    given with --setup, or without any the shipped one. --set changes all of these, or
    the one that it names. The last line says how many results are good, and which are
    not to be used, by their quality_flag.
    """
    from pathlib import Path

    from tgo_spectra.batch.journal import summary
    from tgo_spectra.batch.products import foresee, run

    listed = [line.strip() for one in lists for line in one]
    products += tuple(line for line in listed if line)
    if not products:
        message = "nothing to retrieve: name products, or a list of them with --from"
        raise click.UsageError(message)
    chosen: Any = setups_given or None
    if changes:
        names = setups_given or sorted(
            {row.setup for row in foresee(products, out) if row.setup}
        )
        if not names:
            message = "--set: no shipped setup fits any of the products; name one"
            raise click.UsageError(message)
        chosen = _changed(names, changes)
    more: dict[str, Any] = {}
    if climatology or climatology_form or climatology_pairs:
        more = _climatology(climatology, climatology_form, climatology_pairs)
    limits = {"timeout_s": timeout_s, "memory_gb": memory_gb}
    if shard is not None:
        more["shard"] = _shard(shard)
    if dry_run:
        _say_foreseen(foresee(products, out, chosen, atmosphere, **more))
    more |= {name: value for name, value in limits.items() if value is not None}
    with connection(out, **cluster) as client:
        rows = run(products, out, chosen, workers, atmosphere, client=client, **more)
    for row in rows:
        if row.state == "failed":
            # errors of the reader begin with the path already
            places = (Path(row.product).absolute(), row.product)
            text = without_place(row.message or "", *places)
            say(f"failed {row.product}: {text}", err=True)
    say(summary(rows))
    failed = any(row.state == "failed" for row in rows)
    sys.exit(SOME_FAILED if failed else DONE)


def _say_foreseen(rows: list[ProductStatus]) -> NoReturn:
    """Say a line a product, and how many of each state; end the command."""
    for row in rows:
        say(row.state, row.product, row.setup or row.message)
    states = [row.state for row in rows]
    counts = [
        f"{states.count(state)} {state}" for state in ("to do", "skipped", "failed")
    ]
    say(f"{', '.join(counts)}; nothing was done")
    sys.exit(SOME_FAILED if "failed" in states else DONE)


def _shard(text: str) -> tuple[int, int]:
    number, _, parts = text.partition("/")
    if not (number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts)):
        message = f"--shard is I/N, I from 1 to N, such as 3/8; not {text!r}"
        raise click.UsageError(message)
    return int(number), int(parts)


def _climatology(
    paths: tuple[str, ...], form: str | None, pairs: tuple[str, ...]
) -> dict[str, Any]:
    if not paths:
        message = "--climatology-form and --climatology-set need --climatology"
        raise click.UsageError(message)
    from tgo_spectra.retrieval.setups import changes_of

    choices = changes_of(pairs)
    if form is not None:
        choices["form"] = form
    return {"climatology": paths, "climatology_choices": choices}


def _changed(setups: Sequence[str], changes: tuple[str, ...]) -> list[Any]:
    """Read setups and change keys: of all, or of the one that a change names."""
    from tgo_spectra.errors import SetupError
    from tgo_spectra.retrieval.setups import changed, changes_of, load_setup

    loaded = [load_setup(name) for name in setups]
    names = [setup.name for setup in loaded]
    pairs: dict[str, list[str]] = {name: [] for name in names}
    for change in changes:
        name, colon, pair = change.partition(":")
        if not colon or "=" in name:  # a value may have a colon
            for several in pairs.values():
                several.append(change)
        elif name in pairs:
            pairs[name].append(pair)
        else:
            message = (
                f"--set {change}: no product takes the setup {name!r}; there are "
                f"{', '.join(names)}"
            )
            raise click.UsageError(message)
    found = []
    for setup in loaded:
        try:
            found.append(changed(setup, changes_of(pairs[setup.name])))
        except SetupError as error:
            if len(loaded) == 1 or error.rule == "setup.change":
                raise
            message = (
                f"the setup {setup.name!r} cannot take that: {error.message}; name the "
                "one that is meant, NAME:KEY=VALUE"
            )
            raise SetupError(
                message, field=error.field, value=error.value, rule=error.rule
            ) from error
    return found


@click.command()
@click.argument("folder", type=EXISTING)
def status(folder: str) -> None:
    """Say how far the runs on an output FOLDER are, all shards together."""
    from pathlib import Path

    from tgo_spectra.batch.status import status_lines

    for line in status_lines(Path(folder)):
        say(line)
