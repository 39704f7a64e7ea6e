"""Commands on setups, that foresee and make runs of fits, and say how far they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from tgo_spectra.cli.archive import conditions
from tgo_spectra.cli.cluster import cluster_options, connection
from tgo_spectra.cli.terminal import (
    DONE,
    EXISTING,
    PATH,
    SOME_FAILED,
    UserPath,
    say,
    without_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tgo_spectra.batch.journal import ProductStatus
    from tgo_spectra.retrieval.setup import Setup


__all__ = ["plan", "retrieve", "setups", "status"]


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
    from tgo_spectra.retrieval.choice import table_state
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
    from tgo_spectra.retrieval.choice import table_state
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

    from tgo_spectra.batch.record import status_lines

    for line in status_lines(Path(folder)):
        say(line)
