"""Commands on line lists, on absorption tables, and on what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.cli.terminal import EXISTING, PATH, naming, say

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.retrieval.preparation import TableNeed


__all__ = ["cache", "lines", "prepare", "tables"]


@click.group()
def lines() -> None:
    """Line lists."""


@lines.command("fetch")
@click.argument("gas")
@click.option(
    "--range",
    "window",
    required=True,
    nargs=2,
    type=float,
    metavar="LO HI",
    help="Wavenumbers, cm-1.",
)
@click.option("--out", default=None, type=PATH, help="Folder; default: user's cache.")
@click.option("--mirror", default=None, type=PATH, help="Folder of lists; no network.")
@click.option("--file", default=None, type=EXISTING, help="A list of yours.")
@click.option("--edition", default=None, help="Edition of HITRAN, to be recorded.")
@click.option("--refresh", is_flag=True, help="Fetch even if it is there.")
def lines_fetch(gas: str, window: tuple[float, float], out: str | None, **how: Any) -> None:  # noqa: E501  # fmt: skip
    """Get the lines of GAS from HITRAN, a mirror or a file; kept with their origin."""
    from tgo_spectra.spectroscopy.fetch import fetch_lines

    path = fetch_lines(gas.lower(), window[0], window[1], out, **how)
    say(str(path))


@lines.command("info")
@click.argument("path", type=EXISTING)
def lines_info(path: str) -> None:
    """Check a line list strictly, describe it, and compare it with the ledger."""
    import numpy as np

    from tgo_spectra.spectroscopy.ledger import is_sample, shares, with_edition
    from tgo_spectra.spectroscopy.linelist import read_line_list
    from tgo_spectra.spectroscopy.partition import molecule_formula

    ds = with_edition(read_line_list(path))
    number = ds["wavenumber"].values
    say(f"{'lines':22}{number.size}")
    molecule = int(ds["molecule"].values[0])
    say(f"{'molecule':22}{molecule} {molecule_formula(molecule)}")
    known = ", ".join(str(i) for i in np.unique(ds["isotopologue"].values))
    say(f"{'isotopologues':22}{known}")
    say(f"{'wavenumber':22}{number[0]:.3f} .. {number[-1]:.3f} cm-1")
    say(f"{'summed intensity':22}{float(ds['intensity'].sum()):.4g}")
    judged = shares(ds)
    what = "a sample: " if is_sample(judged) else ""
    for share in judged:
        say(f"{'ledger':22}{what}{share.in_words()}")
    for key, value in ds.attrs.items():
        say(f"{key:22}{value}")


@lines.command("gases")
def lines_gases() -> None:
    """List the gases, and where the channels of TGO see them."""
    from tgo_spectra.spectroscopy import gas_info, gas_names

    for gas in gas_names():
        info = gas_info(gas)
        say(f"{gas:6}HITRAN {info.molecule:2}  {info.name}")
        for window in info.windows:
            orders = " ".join(map(str, window.orders)) or "-"
            say(
                f"      {window.channel:5}{window.low:9.1f} {window.high:9.1f} cm-1  "
                f"orders {orders} ({window.status})"
            )


@click.group()
def tables() -> None:
    """Absorption tables."""


@tables.command("build")
@click.option(
    "--lines",
    "gas_lines",
    multiple=True,
    metavar="GAS=FILE[:BROADENING]",
    help="Line list of a gas; several of one gas are merged, the newest last."
    " BROADENING is co2, self, air, air*FACTOR or co2-or-air*FACTOR.",
)
@click.option("--range", "window", nargs=2, type=float, metavar="LO HI", default=None)
@click.option("--out", default=None, type=PATH, help="Table to write; default: cache.")
@click.option("--band", default="", help="Name of the band.")
@click.option("--step", default=0.002, show_default=True, help="Fine step, cm-1.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1))
@click.option("--processes", is_flag=True, help="Processes in place of threads.")
@click.option("--memory", default=2.0, show_default=True, help="GB it may take.")
@click.option("--cache", default=None, type=PATH, help="Folder of the cache.")
@click.option("--refresh", is_flag=True, help="Build even if it is in the cache.")
@click.option("--shipped", multiple=True, metavar="NAME", help="Rebuild shipped ones.")
@click.option("--lists", default=None, type=EXISTING, help="Their lists, a folder.")
def tables_build(
    gas_lines: tuple[str, ...],
    window: tuple[float, float] | None,
    out: str | None,
    band: str,
    step: float,
    **how: Any,
) -> None:
    """Build a table from line lists; the same inputs are not built twice."""
    shipped, lists = how.pop("shipped"), how.pop("lists")
    if shipped:
        _build_shipped(shipped, lists, out, how["workers"], how["memory"])
        return
    if not gas_lines or window is None:
        message = "tables build needs --lines and --range, or --shipped and --lists"
        raise click.UsageError(message)
    inputs = _read_lists(gas_lines)
    from tgo_spectra.spectroscopy.tables.cache import TableSettings, cached_table
    from tgo_spectra.spectroscopy.tables.files import open_table, write_table

    path = cached_table(
        inputs,
        window,
        band=band,
        settings=TableSettings(step=step),
        cache_dir=how["cache"],
        refresh=how["refresh"],
        workers=how["workers"],
        processes=how["processes"],
        memory_gb=how["memory"],
        report=lambda line: say(line, err=True),
    )
    if out is not None:
        path = write_table(open_table(path), out)
    say(str(path))


def _build_shipped(
    names: tuple[str, ...],
    lists: str | None,
    out: str | None,
    workers: int,
    memory_gb: float,
) -> None:
    from tgo_spectra.spectroscopy.tables.shipped import BANDS, build_shipped

    unknown = [name for name in names if name not in BANDS]
    if unknown or lists is None or out is None:
        message = (
            f"--shipped takes {', '.join(BANDS)}, with --lists FOLDER --out FOLDER"
        )
        raise click.UsageError(message)

    def report(line: str) -> None:
        say(line, err=True)

    for path in build_shipped(
        lists, out, names, workers=workers, memory_gb=memory_gb, report=report
    ):
        say(str(path))


def _read_lists(
    gas_lines: tuple[str, ...],
) -> dict[str, tuple[xr.Dataset, str | tuple[str, float]]]:
    from tgo_spectra.spectroscopy.collecting import isotopologues_of_gas
    from tgo_spectra.spectroscopy.ledger import is_sample, shares, with_edition
    from tgo_spectra.spectroscopy.linelist import read_line_list
    from tgo_spectra.spectroscopy.merging import merge

    files: dict[str, list[str]] = {}
    choices: dict[str, str | tuple[str, float]] = {}
    for item in gas_lines:
        gas, _, rest = item.partition("=")
        file, _, broadening = rest.partition(":")
        if not gas or not file:
            message = f"--lines wants GAS=FILE[:BROADENING], not {item!r}"
            raise click.UsageError(message)
        choice = _broadening(broadening or "co2")
        if choices.setdefault(gas, choice) != choice:
            message = f"the lists of {gas} name two kinds of broadening"
            raise click.UsageError(message)
        files.setdefault(gas, []).append(file)
    inputs = {}
    for gas, names in files.items():
        lines, record = merge([with_edition(read_line_list(name)) for name in names])
        if len(record) > 1:
            for part in record:
                say(f"{gas}: {part.in_words()}", err=True)
        judged = shares(lines)
        if is_sample(judged):
            words = "; ".join(share.in_words() for share in judged)
            say(f"warning: {gas}: a sample of a list: {words}", err=True)
            lines = lines.assign_attrs(completeness=f"a sample: {words}")
        numbers = isotopologues_of_gas(gas, files)
        chosen = lines["isotopologue"].isin(numbers).values.nonzero()[0]
        inputs[gas] = lines.isel(line=chosen), choices[gas]
    return inputs


def _broadening(text: str) -> str | tuple[str, float]:
    kind, star, factor = text.partition("*")
    kind = kind.replace("-", " ")
    if not star:
        return kind
    try:
        return kind, float(factor)
    except ValueError as error:
        message = f"broadening factor {factor!r} is not a number"
        raise click.UsageError(message) from error


@tables.command("info")
@click.argument("table", required=False)
def tables_info(table: str | None) -> None:
    """List the shipped tables with their sizes and errors, or describe one TABLE.

    The error is the largest of transmittance at the resolution of SO against line by
    line, in unseen atmospheres.
    """
    from tgo_spectra.spectroscopy.tables.files import (
        list_tables,
        open_table,
        table_path,
    )

    if table is None:
        total = 0.0
        for name in list_tables():
            ds = open_table(name)
            size = table_path(name).stat().st_size / 1e6
            total += size
            error = float(ds.attrs["line_by_line_error_transmittance"])
            low = float(ds["cell_start"].values[0])
            high = float(ds["cell_start"].values[-1]) + float(ds.attrs["cell_width"])
            say(
                f"{name:22}{low:8.1f} {high:8.1f} cm-1  {ds.attrs['orders']:12}"
                f"{size:5.1f} MB {error:8.1e}  {ds.attrs['gases']}"
            )
        say(f"{'all':22}{'':31}{total:5.1f} MB")
        return
    ds = open_table(table)
    sizes = ", ".join(f"{name} {size}" for name, size in ds.sizes.items())
    say(f"{'sizes':34}{sizes}")
    for key, value in ds.attrs.items():
        say(f"{key:34}{value}")


@tables.command("verify")
@click.argument("names", nargs=-1)
def tables_verify(names: tuple[str, ...]) -> None:
    """Check the content hashes of tables (default: the shipped ones)."""
    from tgo_spectra.spectroscopy.tables.files import list_tables, verify_table

    for name in names or list_tables():
        verify_table(name)
        say(f"{name} ok")


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
    from tgo_spectra.retrieval.choice import table_state
    from tgo_spectra.retrieval.preparation import fetched, prepare_table, table_need
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


KINDS = ("tables", "lines", "catalogues")
"""Folders of the cache: prepared tables, line lists, catalogues of folders."""


@click.group()
def cache() -> None:
    """See or clear the user's cache: tables, line lists, catalogues."""


@cache.command("info")
def cache_info() -> None:
    """Say where the cache is, and how much is in it."""
    from tgo_spectra.paths import cache_root

    say(f"{'folder':12}{cache_root()}")
    for kind in KINDS:
        files = _files(kind)
        size = sum(path.stat().st_size for path in files)
        say(f"{kind:12}{len(files)} files, {size / 1e6:.1f} MB")


@cache.command("clear")
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(KINDS))
@click.option("--yes", is_flag=True, help="Do not ask.")
def cache_clear(kinds: tuple[str, ...], yes: bool) -> None:
    """Remove KINDS from the cache; tables and lists take long to make again."""
    for kind in dict.fromkeys(kinds):
        files = _files(kind)
        if files and not yes:
            click.confirm(f"remove {len(files)} files of {kind}?", abort=True, err=True)
        for path in files:
            path.unlink()
        say(f"{kind}: {len(files)} files removed")


def _files(kind: str) -> list[Path]:
    """Return the files of a kind; links are not followed."""
    from tgo_spectra.paths import cache_folder, cache_root

    # catalogues of folders lie beside the folders of the others
    alone = kind == "catalogues"
    found = cache_root().glob("*.jsonl") if alone else cache_folder(kind).rglob("*")
    return sorted(path for path in found if path.is_file())
