"""Commands that show and compare: pictures, the report of a run, profiles of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.cli.terminal import EXISTING, PATH, Product, UserPath, naming, say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr


__all__ = ["compare", "plot", "report"]


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


_FORMS = (".csv", ".nc")


def _limit(_context: click.Context, option: click.Parameter, text: str) -> float | None:
    """Return a number; None for ``none``."""
    if text.lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        message = f"{option.opts[0]} wants a number or none, not {text!r}"
        raise click.UsageError(message) from error


@click.command()
@click.argument("level2", type=EXISTING)
@click.argument("other", type=EXISTING)
@click.option("--quantity", required=True, help="Such as h2o_vmr or temperature.")
@click.option("--out", type=PATH, help="Table (.csv), or all of it (.nc).")
@click.option("--plot", "picture", type=PATH, help="Picture to draw (.png).")
@click.option("--hours", callback=_limit, default="1", show_default=True)
@click.option("--km", callback=_limit, default="300", show_default=True)
@click.option("--solar-longitude", callback=_limit, default="none", show_default=True)
@click.option("--local-time-hours", callback=_limit, default="none", show_default=True)
@click.option(
    "--altitude",
    default="0:120:5",
    show_default=True,
    metavar="FIRST:LAST:STEP",
    help="Bins, km.",
)
@click.option(
    "--no-kernels",
    is_flag=True,
    help="Do not see OTHER through the averaging kernels of LEVEL2.",
)
def compare(
    level2: str,
    other: str,
    quantity: str,
    out: str | None,
    picture: str | None,
    hours: float | None,
    km: float | None,
    solar_longitude: float | None,
    local_time_hours: float | None,
    altitude: str,
    no_kernels: bool,
) -> None:
    """Compare LEVEL2 with OTHER, where the two saw the same air.

    Each is a file or a folder; OTHER may be level 2 of another setup, HARP (.nc),
    ozone of UVIS (.h5), or nine columns of text. --hours, --km, --solar-longitude
    (degree) and --local-time-hours are what two profiles may be apart; "none": any.
    """
    from pathlib import Path

    from tgo_spectra.comparison import compare as differences
    from tgo_spectra.comparison import comparison_table
    from tgo_spectra.files.atomic import write_whole
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.files.published import profiles_of_others
    from tgo_spectra.maps.grid import Grid

    if out is not None and Path(out).suffix not in _FORMS:
        message = f"--out ends with {' or '.join(_FORMS)}, not {out!r}"
        raise click.UsageError(message)
    cells = Grid.from_spec(f"altitude={altitude}").cells["altitude"]
    with naming(level2):
        found = differences(
            level2, profiles_of_others(other, quantity), quantity, hours=hours, km=km,
            solar_longitude=solar_longitude, local_time_hours=local_time_hours,
            altitude=[*cells[:, 0], cells[-1, 1]], kernels=not no_kernels,
        )  # fmt: skip
    _say_bins(found)
    if out is not None and out.endswith(".csv"):
        say(str(write_whole(out, comparison_table(found))))
    elif out is not None:
        about = {
            "title": "Profiles of Mars compared with those of others",
            "summary": "Differences of pairs of profiles, and their statistics",
            "cdm_data_type": "Profile",
        }
        say(str(write_map(found, out, attributes=about)))
    if picture is not None:
        from tgo_spectra.plots.comparison import plot_comparison
        from tgo_spectra.plots.style import new_figure, save_figure

        axes = new_figure("pair", shown=False).subplots(1, 2, sharey=True)
        say(str(save_figure(plot_comparison(found, axes)[0], picture)))


def _say_bins(found: xr.Dataset) -> None:
    """Print the mean difference and its errors in each bin, and what there was."""
    quantity, attrs = found.attrs["quantity"], found.attrs
    names = (
        "mean_difference",
        "mean_difference_error",
        "mean_systematic_error",
        "deviation",
        "expected_deviation",
    )
    units = found[f"{quantity}_mean_difference"].attrs.get("units", "1")
    say("km", "pairs", *(f"{name} ({units})" for name in names))
    for k in range(found.sizes["altitude"]):
        at = found.isel(altitude=k)
        if pairs := int(at[f"{quantity}_pairs"]):
            numbers = (f"{float(at[f'{quantity}_{name}']):.3g}" for name in names)
            say(f"{float(at['altitude']):g}", pairs, *numbers)
    left = attrs["n_profiles_left_out"] + attrs["n_profiles_of_other_left_out"]
    rest = f", {left} left out" if left else ""
    of = f"{attrs['n_profiles']} and {attrs['n_profiles_of_other']} profiles"
    say(f"{attrs['n_pairs']} pairs of {of}{rest}")
