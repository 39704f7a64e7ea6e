"""Commands that fit products, and that say what can be fitted."""

from __future__ import annotations

import sys
from typing import Any

import click

from tgo_spectra.cli.terminal import (
    DONE,
    EXISTING,
    PATH,
    SOME_FAILED,
    say,
    without_place,
)

__all__ = ["retrieve", "setups"]


@click.command()
@click.argument("products", nargs=-1, required=True)
@click.option("--out", required=True, type=PATH, help="Output folder.")
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
    metavar="KEY=VALUE",
    help="Change one key of the setup, such as window.top_km=90.",
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
    help="Longest time of a product.  [default: 1800]",
)
@click.option(
    "--memory",
    "memory_gb",
    default=None,
    metavar="GB",
    type=click.FloatRange(0.0, min_open=True),
    help="Most memory of a worker.  [default: an equal share]",
)
@click.option(
    "--scheduler",
    default=None,
    metavar="ADDRESS",
    help="A running Dask scheduler; it is trusted with all that you may do.",
)
@click.option(
    "--scheduler-file", default=None, type=PATH, help="File that a scheduler writes."
)
@click.option("--tls-ca", default=None, type=EXISTING, help="Its authority, PEM.")
@click.option("--tls-cert", default=None, type=EXISTING, help="Your certificate, PEM.")
@click.option("--tls-key", default=None, type=EXISTING, help="Its key, PEM.")
def retrieve(
    products: tuple[str, ...],
    out: str,
    setups_given: tuple[str, ...],
    changes: tuple[str, ...],
    atmosphere: str | None,
    climatology: tuple[str, ...],
    climatology_form: str | None,
    climatology_pairs: tuple[str, ...],
    workers: int,
    timeout_s: float | None,
    memory_gb: float | None,
    scheduler: str | None,
    scheduler_file: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Retrieve PRODUCTS (labels, zips, folders, patterns); done ones are skipped.

    Each product takes the setup for its channel, observation and order: of those
    given with --setup, or without any the shipped one. The last line says how many
    results are good, and which are not to be used, by their quality_flag.
    """
    from contextlib import nullcontext
    from pathlib import Path

    from tgo_spectra.batch.journal import summary
    from tgo_spectra.batch.products import run
    from tgo_spectra.batch.schedulers import connected

    chosen: Any = setups_given or None
    if changes:
        if len(setups_given) != 1:
            message = "--set changes one setup: name it with one --setup"
            raise click.UsageError(message)
        chosen = _changed(setups_given[0], changes)
    more: dict[str, Any] = {}
    if climatology or climatology_form or climatology_pairs:
        more = _climatology(climatology, climatology_form, climatology_pairs)
    limits = {"timeout_s": timeout_s, "memory_gb": memory_gb}
    more |= {name: value for name, value in limits.items() if value is not None}
    files = {"ca": tls_ca, "cert": tls_cert, "key": tls_key}
    tls = {name: file for name, file in files.items() if file is not None}
    if scheduler is not None and scheduler_file is not None:
        message = "--scheduler and --scheduler-file name one scheduler: give one"
        raise click.UsageError(message)
    place = scheduler if scheduler is not None else scheduler_file
    if place is None and tls:
        message = "--tls-ca, --tls-cert and --tls-key need --scheduler"
        raise click.UsageError(message)
    cluster: Any = nullcontext()
    if place is not None:
        cluster = connected(place, tls, is_file=scheduler is None)
    with cluster as client:
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


def _changed(setup: str, changes: tuple[str, ...]) -> Any:
    from tgo_spectra.retrieval.setups import changed, changes_of, load_setup

    return changed(load_setup(setup), changes_of(changes))


@click.command()
def setups() -> None:
    """List the shipped retrieval setups: kind, product, orders, gases, table."""
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
