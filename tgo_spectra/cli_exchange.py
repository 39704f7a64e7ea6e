"""Command that exports level 2 to the forms of others."""

from __future__ import annotations

import click

from tgo_spectra.cli_paths import EXISTING, PATH
from tgo_spectra.cli_terminal import leave, say, without_place

__all__ = ["export"]


@click.command()
@click.argument("paths", nargs=-1, required=True, type=EXISTING)
@click.option("--form", required=True, type=click.Choice(["bira", "harp"]))
@click.option("--gas", "gases", multiple=True, help="Gas; needed for bira.")
@click.option("--out", required=True, type=PATH, help="Folder for the files.")
def export(paths: tuple[str, ...], form: str, gases: tuple[str, ...], out: str) -> None:
    """Export level-2 files in PATHS (files or folders) for other software.

    bira: nine columns of text, one file a gas. harp: netCDF under HARP's names.
    """
    from pathlib import Path

    from tgo_spectra.atomic import output_folder
    from tgo_spectra.errors import TgoError
    from tgo_spectra.exchange import write_bira, write_harp
    from tgo_spectra.netcdf import open_verified

    if form == "bira" and not gases:
        message = "--form bira needs --gas"
        raise click.UsageError(message)
    folder = output_folder(out)
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.nc")) if path.is_dir() else [path]
    n_written = n_failed = 0
    for file in files:
        try:
            level2 = open_verified(file)
            if level2.attrs.get("processing_level", "L2") != "L2":
                continue  # a map may lie beside its input
            if form == "harp":
                target = folder / f"{file.stem}_harp.nc"
                write_harp(level2, target, list(gases) or None)
                n_written += 1
            for gas in gases if form == "bira" else ():
                write_bira(level2, folder / f"{file.stem}_{gas}.txt", gas.lower())
                n_written += 1
        except TgoError as error:
            n_failed += 1
            say(f"failed {file}: {without_place(str(error), file)}", err=True)
    say(f"{n_written} written, {n_failed} failed -> {folder}")
    leave(n_written, n_failed, "level-2 file")
