"""Command that exports level 2 to the forms of others."""

from __future__ import annotations

import click

from tgo_spectra.cli.paths import EXISTING, PATH
from tgo_spectra.cli.terminal import leave, say, without_place

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

    from tgo_spectra.errors import OutputError, TgoError
    from tgo_spectra.files.atomic import output_folder
    from tgo_spectra.files.bira import write_bira
    from tgo_spectra.files.harp import write_harp
    from tgo_spectra.files.netcdf import open_verified

    if form == "bira" and not gases:
        message = "--form bira needs --gas"
        raise click.UsageError(message)
    folder = output_folder(out)
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.nc")) if path.is_dir() else [path]
    # one file may be named twice, or lie in a folder that is
    unique: dict[Path, Path] = {}
    for file in files:
        unique.setdefault(file.resolve(), file)
    written: dict[Path, Path] = {}
    n_failed = 0

    def target(suffix: str) -> Path:
        """Name a file after its level 2, which no other one has."""
        path = folder / f"{file.stem}_{suffix}"
        if path in written:
            message = (
                "not exported, since another level-2 file has the same name: "
                f"{written[path]}; export them into two folders"
            )
            raise OutputError(message, path=file, rule="export.same_name")
        return path

    for file in unique.values():
        try:
            level2 = open_verified(file)
            if level2.attrs.get("processing_level", "L2") != "L2":
                continue  # a map may lie beside its input
            if form == "harp":
                made = write_harp(level2, target("harp.nc"), list(gases) or None)
                written[made] = file
            for gas in gases if form == "bira" else ():
                made = write_bira(level2, target(f"{gas}.txt"), gas.lower())
                written[made] = file
        except TgoError as error:
            n_failed += 1
            say(f"failed {file}: {without_place(str(error), file)}", err=True)
    say(f"{len(written)} written, {n_failed} failed -> {folder}")
    leave(len(written), n_failed, "level-2 file")
