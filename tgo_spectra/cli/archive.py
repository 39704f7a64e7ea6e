"""Commands on archives: catalogue, search, download, check, and what is in a file."""

from __future__ import annotations

import sys
from typing import Any

import click

from tgo_spectra.cli.terminal import (
    DONE,
    EXISTING,
    PATH,
    SOME_FAILED,
    UserPath,
    leave,
    say,
    without_place,
)

__all__ = ["conditions", "fetch", "find", "index", "verify"]


@click.command()
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
@click.option(
    "--catalogue",
    default=None,
    type=PATH,
    help="File to keep it in; default: in the user's cache.",
)
@click.option("--rehash", is_flag=True, help="Read also what looks unchanged.")
def index(folder: str, catalogue: str | None, rehash: bool) -> None:
    """Catalogue the products in FOLDER; only changed ones are opened again."""
    from tgo_spectra.archive import index_archive

    ds = index_archive(folder, catalogue, rehash=rehash)
    rows = zip(ds["path"].values, ds["message"].values, strict=True)
    for path, message in rows:
        if message:
            text = without_place(message, path)
            say(f"damaged {path}: {text}", err=True)
    n_damaged = int((ds["rule"].values != "").sum())
    say(
        f"{ds.sizes['product']} products, {ds.attrs['opened']} opened, "
        f"{n_damaged} damaged -> {ds.attrs['catalogue']}"
    )
    sys.exit(SOME_FAILED if n_damaged else DONE)


def conditions(command: Any) -> Any:
    """Give a command the options that say which products are meant."""
    pair: Any = {"nargs": 2, "type": float, "default": None, "metavar": "LO HI"}
    options = (
        click.option("--channel", default=None, help="so, lno, uvis ..."),
        click.option("--order", multiple=True, type=int, help="Diffraction order."),
        click.option("--start", default=None, help="From this time (UTC) on."),
        click.option("--stop", default=None, help="Before this time (UTC)."),
        click.option("--ls", **pair, help="Solar longitude; 330 30 goes through 0."),
        click.option("--latitude", **pair, help="Range to meet, degree."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_DETAILS = ("channel", "order", "version", "start", "solar_longitude", "latitude_min")


@click.command()
@click.argument("catalogue", type=EXISTING)
@conditions
@click.option("--altitude", nargs=2, type=float, default=None, metavar="LO HI")
@click.option(
    "--versions", default="newest", show_default=True, help="newest, all, or one."
)
@click.option("--damaged", is_flag=True, help="Damaged products, with their rules.")
@click.option("--details", is_flag=True, help="A table, not paths only.")
@click.option("--json", "as_json", is_flag=True, help="All columns, as JSON.")
def find(
    catalogue: str, order: tuple[int, ...], details: bool, as_json: bool, **given: Any
) -> None:
    """List products of a CATALOGUE (its file, or the folder that was indexed)."""
    from tgo_spectra import archive

    if details and as_json:
        message = "take --details or --json, not both"
        raise click.UsageError(message)
    ds = archive.find(catalogue, order=order or None, **given)
    if as_json:
        _say_json(ds)
        return
    names = ["path"]
    if details:
        names += _DETAILS
    if given["damaged"]:
        names.append("rule")
    if details:
        say(*names)
    for row in zip(*(ds[name].values for name in names), strict=True):
        say(*row)
    if not ds.sizes["product"]:
        say("no product matches", err=True)


def _say_json(ds: Any) -> None:
    """Print a line for each product: what is not known is null."""
    import json

    import numpy as np

    for k in range(ds.sizes["product"]):
        row: dict[str, Any] = {}
        for name, column in ds.variables.items():
            value = column.values[k]
            if isinstance(value, np.datetime64):
                row[name] = None if np.isnat(value) else str(value)
            else:
                plain = value.item() if isinstance(value, np.generic) else value
                row[name] = None if plain != plain else plain
        click.echo(json.dumps(row))


@click.command()
@click.argument("paths", nargs=-1, required=True)
def verify(paths: tuple[str, ...]) -> None:
    """Read everything in PATHS: products, zips, our files, folders of them."""
    from pathlib import Path

    from tgo_spectra.archive import verify as verify_all

    rows = verify_all(paths)
    for row in rows:
        if row.rule:
            # errors of the reader begin with the path already, in full
            text = without_place(row.message, Path(row.path).absolute(), row.path)
            what = "suspect" if row.suspect else "damaged"
            say(f"{what} {row.path}: {text}", err=True)
    n_suspect = sum(row.suspect for row in rows)
    n_damaged = sum(bool(row.rule) for row in rows) - n_suspect
    doubts = f", {n_suspect} suspect" if n_suspect else ""
    n_intact = len(rows) - n_damaged - n_suspect
    say(f"{n_intact} intact, {n_damaged} damaged{doubts}")
    leave(n_intact, n_damaged + n_suspect, "product or file of ours")


@click.command()
@click.option("--out", required=True, type=PATH, help="Folder for the zips.")
@conditions
@click.option("--version", default=None, help="Such as 3.0; default: the newest.")
@click.option("--settings", default=None, type=EXISTING, help="TOML file, [archive].")
@click.option("--dry-run", is_flag=True, help="List what would be downloaded.")
def fetch(
    out: str,
    channel: str | None,
    order: tuple[int, ...],
    settings: str | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Download calibrated products from the archive (needs the network).

    Without --channel those of SO.
    """
    from tgo_spectra.archive import fetch as fetch_all
    from tgo_spectra.archive import load_settings, search
    from tgo_spectra.files.atomic import output_folder

    known = load_settings(settings)
    channel = channel or "so"
    if not dry_run:
        output_folder(out)  # before the search: it takes long
    found = search(channel=channel, order=order or None, settings=known, **given)
    if dry_run:
        for remote in found:
            url = remote.url or "(no address: still proprietary)"
            say(f"{remote.name}::{remote.version} {url}")
        say(f"{len(found)} products", err=True)
        return
    rows = fetch_all(out, products=found, settings=known)
    for row in rows:
        if row.state == "failed":
            say(f"failed {row.name}: {row.message}", err=True)
    states = ("done", "present", "failed")
    count = {state: sum(row.state == state for row in rows) for state in states}
    say(", ".join(f"{number} {state}" for state, number in count.items()))
    sys.exit(SOME_FAILED if count["failed"] else DONE)
