"""Commands that show: pictures of a product, a result, a map; the report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.cli.terminal import EXISTING, PATH, Product, UserPath, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

__all__ = ["plot", "report"]


@click.command()
@click.argument("path", type=Product(exists=True))
@click.option(
    "--out",
    default="plots",
    show_default=True,
    type=PATH,
    help="Folder for the PNG files.",
)
@click.option("--gas", "gases", multiple=True, help="Gas to show; default: all.")
@click.option(
    "--product",
    "label",
    default=None,
    type=EXISTING,
    help="Of a level-2 file, its product; default: that of the run beside it.",
)
@click.option(
    "--setup",
    default=None,
    type=PATH,
    help="Of a level-2 file, the setup of its fit, if that is none of the package.",
)
@click.option(
    "--at",
    "places",
    multiple=True,
    metavar="AXIS=VALUE",
    help="Part of a map with many axes, such as altitude=20; default: filled best.",
)
def plot(
    path: str,
    out: str,
    gases: tuple[str, ...],
    label: str | None,
    setup: str | None,
    places: tuple[str, ...],
) -> None:
    """Draw PATH: a product, a level-2 file, a map, or a folder of results.

    A product: its spectra over altitude, its flags, one spectrum. Level 2: the fit of
    a spectrum, also without methane (or each --gas), profiles with the parts of their
    errors and kernels, what is left. A map: mean, error, limit and number. A run, or a
    folder of level 2: where the results are, and their limits (of methane, or of each
    --gas).
    """
    from pathlib import Path

    from tgo_spectra.files.atomic import output_folder
    from tgo_spectra.plots.style import save_figure

    at = _places(places)
    chosen = tuple(gas.lower() for gas in gases)
    found = _pictures(path, chosen, label, setup, at)
    folder = output_folder(out)
    # of a level-2 file of a run, the last part of the identifier that names it
    stem = Path(path.rpartition("::")[2]).resolve().stem.rpartition("+")[2]
    for name, draw in found.items():
        say(str(save_figure(draw(), folder / f"{stem}_{name}.png")))


def _places(pairs: tuple[str, ...]) -> dict[str, float]:
    at = {}
    for pair in pairs:
        axis, _, value = pair.partition("=")
        try:
            at[axis] = float(value)
        except ValueError as error:
            message = f"--at wants AXIS=VALUE, such as altitude=20; not {pair!r}"
            raise click.UsageError(message) from error
    return at


def _pictures(
    path: str,
    gases: tuple[str, ...],
    label: str | None,
    setup: str | None,
    at: dict[str, float],
) -> dict[str, Callable[[], Any]]:
    from pathlib import Path

    from tgo_spectra.files.level2 import files_in
    from tgo_spectra.plots.quicklook import pictures, pictures_of_many
    from tgo_spectra.readers import open_product

    place = Path(path)
    if place.is_dir() and (files := files_in(place)):
        if at or label:
            message = "--at and --product are of one map, and of one level-2 file"
            raise click.UsageError(message)
        return pictures_of_many(_results(files), gases)
    if place.suffix != ".nc":
        return pictures(open_product(path), gases=gases, at=at)
    from tgo_spectra.files.netcdf import open_verified

    ds = open_verified(path)
    product = label or _product_of(place)
    level1 = open_product(product) if product else None
    if level1 is None and "residual" in ds:
        text = "no fit of a spectrum is drawn: name the product with --product"
        say(text, err=True)
    without = None if level1 is None else _without(level1, ds, setup)
    return pictures(ds, gases=gases, level1=level1, at=at, without=without)


def _without(
    level1: xr.Dataset, level2: xr.Dataset, setup: str | None
) -> Callable[[str], xr.DataArray] | None:
    """Return what gives the fitted spectra without a gas, where that can be known."""
    from functools import partial

    from tgo_spectra.errors import RetrievalError, SetupError
    from tgo_spectra.retrieval.absence import setup_of, spectra_without

    try:
        chosen = setup_of(level2, setup)
    except RetrievalError:
        return None
    except SetupError as error:
        if setup is not None:
            raise
        text = f"no fit without a gas is drawn: {error.message} (--setup)"
        say(text, err=True)
        return None
    return partial(spectra_without, level1, level2, setup=chosen)


def _results(files: list[Path]) -> list[Path]:
    """Leave out maps, that may lie in the folder of their input, and truths."""
    import xarray as xr

    found = []
    for file in files:
        with xr.open_dataset(file, engine="netcdf4") as ds:
            if ds.attrs.get("processing_level") == "L2":
                found.append(file)
    return found


def _product_of(level2: Path) -> str | None:
    """Return the product that a run made a level-2 file of, where it still is."""
    from pathlib import Path

    from tgo_spectra.batch.journal import all_rows, latest
    from tgo_spectra.readers.finding import split_place

    folder = level2.resolve().parent.parent
    for row in latest(all_rows(folder)).values():
        if row.output and Path(row.output).name == level2.name:
            place = Path(split_place(Path(row.product))[0])
            return row.product if place.exists() else None
    return None


@click.command()
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
@click.option("--out", default=None, type=PATH, help="Default: report, in FOLDER.")
@click.option("--gas", default=None, help="Gas of the limits; default: methane.")
@click.option(
    "--pages",
    type=click.Choice(["bad", "all", "none"]),
    default="bad",
    show_default=True,
    help="Of which products a page is written: seconds each.",
)
@click.option(
    "--interactive",
    is_flag=True,
    help="Maps and profiles with values under the pointer too (extra interactive).",
)
def report(
    folder: str, out: str | None, gas: str | None, pages: Any, *, interactive: bool
) -> None:
    """Write what a run made as pages for a browser, which need no network.

    FOLDER is the output folder of a run, or any folder of level-2 files. The page of
    the run says what was processed, what failed and why, how good the fits are, limits,
    maps that lie in the folder, choices; its table can be sorted and filtered.
    """
    from tgo_spectra.report import write_report

    chosen = None if gas is None else gas.lower()
    say(str(write_report(folder, out, gas=chosen, pages=pages)))
    if interactive:
        from tgo_spectra.report.interactive import write_interactive

        say(str(write_interactive(folder, out, gas=chosen)))
