"""Command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tgo_spectra._version import __version__
from tgo_spectra.cli import exchange as cli_exchange
from tgo_spectra.cli import spectroscopy as cli_spectroscopy
from tgo_spectra.cli.paths import EXISTING, PATH, UserPath
from tgo_spectra.cli.terminal import (
    DONE,
    SOME_FAILED,
    configure,
    exit_code,
    leave,
    say,
    without_place,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]


class _Product(UserPath):
    """A path that exists; of a zip with several products also ``zip::label``."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        place, mark, member = str(value).partition("::")
        return f"{super().convert(place, param, ctx)}{mark}{member}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="tgo_spectra")
@click.option("-v", "--verbose", is_flag=True, help="Log one line a product.")
def cli(verbose: bool) -> None:
    """Read, fit and map spectra of the ExoMars Trace Gas Orbiter."""
    configure(verbose=verbose)


@cli.command()
@click.option("--out", default="demo-output", show_default=True, type=PATH)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0))
def demo(out: str, workers: int) -> None:
    """Simulate a small archive, retrieve it, map it (offline)."""
    from tgo_spectra.cli.demo import run_demo

    result = run_demo(out, workers)
    for line in str(result).splitlines():
        say(line)
    if result.failed:
        sys.exit(SOME_FAILED)


@cli.command()
@click.argument("path", type=_Product(exists=True))
def info(path: str) -> None:
    """Describe a product, a level-2 file or a map.

    Of a zip with several products, ZIP::LABEL names one.
    """
    from pathlib import Path

    if Path(path).suffix == ".nc":
        from tgo_spectra.files.netcdf import open_verified

        ds = open_verified(path)
    else:
        from tgo_spectra.readers import open_product

        ds = open_product(path)
    for line in _describe(ds):
        say(line)


def _describe(ds: Any) -> list[str]:
    """Identity, sizes and ranges in a few lines."""
    wanted = ("product_lid", "title", "observation_type", "processing_level")
    lines = [f"{key:24}{ds.attrs[key]}" for key in wanted if key in ds.attrs]
    sizes = ", ".join(f"{name} {size}" for name, size in ds.sizes.items())
    lines.append(f"{'sizes':24}{sizes}")
    for name, variable in ds.variables.items():
        if variable.dtype.kind not in "fiuM" or not variable.size:
            continue
        low, high = variable.min().values, variable.max().values
        numbers = variable.dtype.kind != "M"
        span = f"{low:.6g} .. {high:.6g}" if numbers else f"{low} .. {high}"
        units = variable.attrs.get("units", "")
        lines.append(f"{name!s:36}{'x'.join(variable.dims) or '-':28}{span} {units}")
    return lines


@cli.command()
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
@click.option("--workers", default=1, show_default=True, type=click.IntRange(0))
@click.option("--scheduler", default=None, help="Address of a running Dask scheduler.")
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
    scheduler: str | None,
) -> None:
    """Retrieve PRODUCTS (labels, zips, folders, patterns); done ones are skipped.

    Each product takes the setup for its channel, observation and order: of those
    given with --setup, or without any the shipped one.
    """
    from contextlib import nullcontext
    from pathlib import Path

    from tgo_spectra.batch.products import run
    from tgo_spectra.batch.workers import connected

    chosen: Any = setups_given or None
    if changes:
        if len(setups_given) != 1:
            message = "--set changes one setup: name it with one --setup"
            raise click.UsageError(message)
        chosen = _changed(setups_given[0], changes)
    air: dict[str, Any] = {}
    if climatology or climatology_form or climatology_pairs:
        air = _climatology(climatology, climatology_form, climatology_pairs)
    with connected(scheduler) if scheduler is not None else nullcontext() as client:
        rows = run(products, out, chosen, workers, atmosphere, client=client, **air)
    for row in rows:
        if row.state == "failed":
            # errors of the reader begin with the path already
            places = (Path(row.product).absolute(), row.product)
            text = without_place(row.message or "", *places)
            say(f"failed {row.product}: {text}", err=True)
    count = {state: sum(row.state == state for row in rows) for state in _STATES}
    say(", ".join(f"{number} {state}" for state, number in count.items()))
    sys.exit(SOME_FAILED if count["failed"] else DONE)


_STATES = ("done", "skipped", "failed")


def _climatology(
    paths: tuple[str, ...], form: str | None, pairs: tuple[str, ...]
) -> dict[str, Any]:
    if not paths:
        message = "--climatology-form and --climatology-set need --climatology"
        raise click.UsageError(message)
    from tgo_spectra.retrieval.setup_files import changes_of

    choices = changes_of(pairs)
    if form is not None:
        choices["form"] = form
    return {"climatology": paths, "climatology_choices": choices}


def _changed(setup: str, changes: tuple[str, ...]) -> Any:
    from tgo_spectra.retrieval.setup_files import changes_of
    from tgo_spectra.retrieval.setups import changed, load_setup

    return changed(load_setup(setup), changes_of(changes))


@cli.command("map")
@click.argument("folder", type=EXISTING)
@click.option("--out", required=True, type=PATH, help="Map to write (.nc).")
@click.option(
    "--grid",
    "spec",
    default="latitude=-90:90:10,solar_longitude=0:360:30,altitude=0:100:5",
    show_default=True,
    help="axis=first:last:step, joined by commas.",
)
@click.option("--gas", "gases", multiple=True, help="Gas to map; default: all.")
@click.option(
    "--weights",
    type=click.Choice(["inverse_variance", "uniform"]),
    default="inverse_variance",
    show_default=True,
)
def map_(
    folder: str, out: str, spec: str, gases: tuple[str, ...], weights: Any
) -> None:
    """Map the level-2 files in FOLDER."""
    from tgo_spectra.files.level2 import profiles
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.maps import grid_level2

    grid = Grid.from_spec(spec)
    # the map itself may lie in the folder, from before, and be damaged
    level2 = profiles(folder, leave_out=out)
    ds = grid_level2(level2, grid, gases=list(gases) or None, weights=weights)
    say(f"{ds.attrs['n_profiles']} profiles -> {write_map(ds, out)}")


@cli.command()
@click.option("--out", required=True, type=PATH, help="Folder for the product.")
@click.option("--order", default=134, show_default=True, help="Diffraction order.")
@click.option("--ch4", default=None, type=float, help="CH4 mole fraction, mol/mol.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option("--overwrite", is_flag=True, help="Replace a product of the same name.")
def simulate(
    out: str, order: int, ch4: float | None, seed: int, overwrite: bool
) -> None:
    """Write one simulated occultation as an archive product."""
    from tgo_spectra.simulate import simulate_product

    path = simulate_product(out, order=order, ch4=ch4, seed=seed, overwrite=overwrite)
    say(str(path))


@cli.command("index")
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
@click.option(
    "--catalogue",
    default=None,
    type=PATH,
    help="File to keep it in; default: in the user's cache.",
)
@click.option("--rehash", is_flag=True, help="Read also what looks unchanged.")
def index_(folder: str, catalogue: str | None, rehash: bool) -> None:
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


def _conditions(command: Any) -> Any:
    """Options that `find` and `fetch` share."""
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


@cli.command("find")
@click.argument("catalogue", type=EXISTING)
@_conditions
@click.option("--altitude", nargs=2, type=float, default=None, metavar="LO HI")
@click.option(
    "--versions", default="newest", show_default=True, help="newest, all, or one."
)
@click.option("--damaged", is_flag=True, help="Damaged products, with their rules.")
@click.option("--details", is_flag=True, help="A table, not paths only.")
def find_(catalogue: str, order: tuple[int, ...], details: bool, **given: Any) -> None:
    """List products of a CATALOGUE (its file, or the folder that was indexed)."""
    from tgo_spectra.archive import find

    ds = find(catalogue, order=order or None, **given)
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


@cli.command()
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


@cli.command()
@click.option("--out", required=True, type=PATH, help="Folder for the zips.")
@_conditions
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
    """Download calibrated products from the archive (needs the network)."""
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


@cli.command()
def setups() -> None:
    """List the shipped retrieval setups: kind, product, orders, gases."""
    from tgo_spectra.retrieval.setups import shipped

    head = ("name", "kind", "channel", "observation", "orders", "gases")
    rows = [head]
    for kind, setup in shipped():
        orders = " ".join(map(str, setup.orders)) or "-"
        about = (kind.name, setup.channel, kind.observation)
        rows.append((setup.name, *about, orders, " ".join(setup.gases)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


cli.add_command(cli_exchange.export)
cli.add_command(cli_spectroscopy.lines)
cli.add_command(cli_spectroscopy.tables)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments; default those of the process.

    Returns
    -------
    int
        0 all done, 1 failed, 2 some products failed, 64 wrong usage, 130 stopped by
        Ctrl-C.
    """
    given = None if arguments is None else list(arguments)
    code = exit_code(
        lambda: cli.main(given, prog_name="tgo-spectra", standalone_mode=False)
    )
    if arguments is None:
        sys.exit(code)
    return code
