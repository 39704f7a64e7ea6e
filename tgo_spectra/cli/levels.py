"""Commands on what there is at each level: map it, combine it, divide it, export it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.cli.cluster import cluster_options, connection
from tgo_spectra.cli.terminal import (
    EXISTING,
    PATH,
    UserPath,
    leave,
    naming,
    say,
    without_place,
)

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


__all__ = ["collect", "deuterium", "export", "limits", "map_", "merge"]

_FORMS = {
    "bira": ("L2",),
    "harp": ("L2",),
    "geotiff": ("L3",),
    "zarr": ("L2", "L3"),
}
"""Forms of export, with the levels that have them."""
_WHAT = {"geotiff": "map", "zarr": "level-2 file or map"}
_BANDS = ("mean", "standard_error", "upper_limit", "count")


@click.command("map")
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
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
    type=click.Choice(["by_gas", "random_effects", "inverse_variance", "uniform"]),
    default="by_gas",
    show_default=True,
)
@click.option(
    "--quality",
    type=click.Choice(["good", "all"]),
    default="good",
    show_default=True,
    help="good: leave out what its quality_flag says is not to be used.",
)
@click.option(
    "--without-kernel",
    type=click.Choice(["refuse", "leave_out", "prior_free"]),
    default="refuse",
    show_default=True,
    help="Profiles that do not say what of them is a priori.",
)
@click.option(
    "--form",
    type=click.Choice(["dense", "sparse"]),
    help="sparse: only cells that hold something; default: above a million cells.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Worker processes of this machine.",
)
@cluster_options
def map_(
    folder: str,
    out: str,
    spec: str,
    gases: tuple[str, ...],
    weights: Any,
    quality: Any,
    without_kernel: Any,
    form: Any,
    workers: int,
    **cluster: str | None,
) -> None:
    """Map the level-2 files in FOLDER."""
    from pathlib import Path

    from tgo_spectra.batch.engines import Engine, Here
    from tgo_spectra.batch.maps import map_files
    from tgo_spectra.batch.schedulers import OnCluster
    from tgo_spectra.batch.workers import Workers
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.maps import left_out

    grid = Grid.from_spec(spec)
    choices = {
        "gases": list(gases) or None,
        "weights": weights,
        "quality": quality,
        "without_kernel": without_kernel,
        "form": form,
    }
    with connection(str(Path(out).parent), **cluster) as client:
        engine: Engine = Workers(workers) if workers > 1 else Here()
        if client is not None:
            engine = OnCluster(client)
        with engine, naming(folder):
            # the map itself may lie in the folder, from before, and be damaged
            ds = map_files(folder, grid, engine, choices, leave_out=out)
    say(f"{ds.attrs['n_profiles']} profiles{left_out(ds)} -> {write_map(ds, out)}")


@click.command()
@click.argument("folder", type=UserPath(exists=True, file_okay=False))
@click.option("--out", required=True, type=PATH, help="File to write: *.nc or *.zarr.")
@click.option(
    "--altitude",
    default="0:120:1",
    show_default=True,
    metavar="FIRST:LAST:STEP",
    help="Common altitudes, km.",
)
@click.option(
    "--variable",
    "variables",
    multiple=True,
    help="Profile or scalar, such as ch4_vmr; default: all of the first file.",
)
def collect(folder: str, out: str, altitude: str, variables: tuple[str, ...]) -> None:
    """Put the level-2 files in FOLDER side by side in one file.

    Dimensions are product and altitude; profiles are linear between the levels of their
    file, without a value above and below. Zarr is written block by block, netCDF from
    memory.
    """
    from tgo_spectra.files.collecting import collect as put_together
    from tgo_spectra.files.collecting import write_collected
    from tgo_spectra.maps.grid import Grid

    heights = Grid.from_spec(f"altitude={altitude}").axes["altitude"]
    with naming(folder):
        ds = put_together(folder, list(heights), list(variables) or None)
        say(f"{ds.sizes['product']} products -> {write_collected(ds, out)}")


@click.command()
@click.argument("maps", nargs=-1, required=True, type=EXISTING)
@click.option("--out", required=True, type=PATH, help="Map to write (.nc).")
def merge(maps: tuple[str, ...], out: str) -> None:
    """Merge MAPS of different observations: of single years, seasons or workers."""
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.maps.maps import left_out
    from tgo_spectra.maps.merging import merge_maps

    ds = merge_maps(maps)
    say(f"{ds.attrs['n_profiles']} profiles{left_out(ds)} -> {write_map(ds, out)}")


@click.command()
@click.argument("folder", type=EXISTING)
@click.option("--gas", required=True, help="Gas, such as ch4.")
@click.option("--out", required=True, type=PATH, help="Table to write (.csv).")
@click.option(
    "--grid",
    "spec",
    default="solar_longitude=0:360:30,latitude=-90:90:30",
    show_default=True,
    help="axis=first:last:step, joined by commas; no vertical axis.",
)
@click.option(
    "--shared",
    multiple=True,
    help="Source of systematic error that all occultations share; default: all.",
)
@click.option("--sigma-level", type=float, default=2.0, show_default=True)
def limits(
    folder: str,
    gas: str,
    out: str,
    spec: str,
    shared: tuple[str, ...],
    sigma_level: float,
) -> None:
    """Combine the layer limits of the level-2 files in FOLDER, by season and latitude.

    What falls with the number of occultations and what does not stand apart.
    """
    from tgo_spectra.files.atomic import write_whole
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.stacking import stacked_limits, table_of

    grid = Grid.from_spec(spec)
    with naming(folder):
        ds = stacked_limits(
            folder, gas.lower(), grid, shared=shared or "all", sigma_level=sigma_level
        )
    path = write_whole(out, table_of(ds))
    best = float(ds[f"{gas.lower()}_stacked_upper_limit"].min())
    left = ds.attrs["n_profiles_left_out"]
    rest = f", {left} left out" if left else ""
    say(f"{ds.attrs['n_profiles']} occultations{rest}, lowest limit {best:.3g} -> {path}")  # noqa: E501  # fmt: skip


@click.command()
@click.argument("paths", nargs=-1, required=True, type=EXISTING)
@click.option("--form", required=True, type=click.Choice(_FORMS))
@click.option("--gas", "gases", multiple=True, help="Gas; needed for bira, geotiff.")
@click.option("--out", required=True, type=PATH, help="Folder for the files.")
def export(paths: tuple[str, ...], form: str, gases: tuple[str, ...], out: str) -> None:
    """Export level-2 files and maps in PATHS (files or folders) for other software.

    Of level 2, bira: nine columns of text, one file a gas; harp: netCDF under HARP's
    names. Of maps over longitude and latitude, geotiff: mean, standard error, upper
    limit and count of each gas. Of both, zarr.
    """
    from pathlib import Path

    from tgo_spectra.errors import OutputError, TgoError
    from tgo_spectra.files.atomic import output_folder
    from tgo_spectra.files.bira import write_bira
    from tgo_spectra.files.geotiff import write_geotiff
    from tgo_spectra.files.harp import write_harp
    from tgo_spectra.files.level2 import files_in
    from tgo_spectra.files.netcdf import open_verified
    from tgo_spectra.files.zarr import write_zarr

    if form in {"bira", "geotiff"} and not gases:
        message = f"--form {form} needs --gas"
        raise click.UsageError(message)
    folder = output_folder(out)
    files: list[Path] = []
    for path in map(Path, paths):
        files += files_in(path) if path.is_dir() else [path]
    # one file may be named twice, or lie in a folder that is
    unique: dict[Path, Path] = {}
    for file in files:
        unique.setdefault(file.resolve(), file)
    written: dict[Path, Path] = {}
    n_failed = 0

    def target(suffix: str) -> Path:
        """Name a file after its level 2, which no other one has."""
        path = folder / f"{file.stem}{'.' if suffix == 'zarr' else '_'}{suffix}"
        if path in written:
            message = (
                "not exported, since another level-2 file has the same name: "
                f"{written[path]}; export them into two folders"
            )
            raise OutputError(message, path=file, rule="export.same_name")
        return path

    for file in unique.values():
        try:
            ds = open_verified(file)
            level = str(ds.attrs.get("processing_level", "L2"))
            if level not in _FORMS[form]:
                continue  # a map may lie beside its input
            if form == "zarr":
                written[write_zarr(ds, target("zarr"))] = file
            if form == "harp":
                made = write_harp(ds, target("harp.nc"), list(gases) or None)
                written[made] = file
            for gas in map(str.lower, gases) if form in {"bira", "geotiff"} else ():
                if form == "bira":
                    made = write_bira(ds, target(f"{gas}.txt"), gas)
                else:
                    names = [f"{gas}_{name}" for name in _BANDS]
                    made = write_geotiff(ds, target(f"{gas}.tif"), names)
                written[made] = file
        except TgoError as error:
            n_failed += 1
            say(f"failed {file}: {without_place(str(error), file)}", err=True)
    say(f"{len(written)} written, {n_failed} failed -> {folder}")
    leave(len(written), n_failed, _WHAT.get(form, "level-2 file"))


@click.command()
@click.argument("folder", type=EXISTING)
@click.option("--out", required=True, type=PATH, help="Folder for the files.")
def deuterium(folder: str, out: str) -> None:
    """Divide HDO by water: the D/H of each occultation in FOLDER of level 2.

    Each profile of HDO (orders 119 to 124) takes the best one of water that was seen at
    the same time, such as order 134, 136 or 168. Results that are not to be used, by
    their quality_flag, are left out.
    """
    from pathlib import Path

    from tgo_spectra.errors import TgoError
    from tgo_spectra.files.atomic import output_folder
    from tgo_spectra.retrieval.isotopes import best_water

    files = sorted(Path(folder).rglob("*.nc"))
    profiles = [_profiles(file) for file in files]
    hdo, h2o = ([found.get(gas) for found in profiles] for gas in ("hdo", "h2o"))
    place, n_good, n_bad = output_folder(out), 0, 0
    for k, water in enumerate(best_water(hdo, h2o)):
        if hdo[k] is None:
            continue
        try:
            say(_divided(files[k], None if water is None else files[water], place))
            n_good += 1
        except TgoError as error:
            n_bad += 1
            say(f"failed {files[k]}: {without_place(str(error), files[k])}", err=True)
    leave(n_good, n_bad, "profile of HDO")


def _divided(hdo: Path, h2o: Path | None, folder: Path) -> str:
    """Write the ratio of two files of level 2 and say what it is."""
    from tgo_spectra.errors import RetrievalError
    from tgo_spectra.files.netcdf import open_verified, write_level2
    from tgo_spectra.files.observations import input_products, observations_of
    from tgo_spectra.retrieval.isotopes import deuterium_ratio

    if h2o is None:
        message = "no profile of water was seen at the same time"
        raise RetrievalError(message, path=hdo, rule="isotopes.no_water")
    pair = open_verified(hdo), open_verified(h2o)
    ratio = deuterium_ratio(*pair)
    inputs = [one for ds in pair for one in input_products(observations_of(ds))]
    target = folder / f"{hdo.stem}_deuterium.nc"
    write_level2(ratio, target, inputs=list(dict.fromkeys(inputs)))
    good = int((ratio["deuterium_ratio_flag"] == 0).sum())
    levels = ratio.sizes["altitude"]
    return f"{target}: {good} of {levels} levels without a flag, water of {h2o.name}"


def _profiles(file: Path) -> dict[str, xr.Dataset]:
    """Time and kernel of HDO and water in a file of level 2, if they are of use."""
    from tgo_spectra import quality
    from tgo_spectra.errors import TgoError
    from tgo_spectra.files.level2 import flags_of
    from tgo_spectra.files.netcdf import open_verified

    try:
        ds = open_verified(file)
    except TgoError as error:
        say(f"left out {file}: {without_place(str(error), file)}", err=True)
        return {}
    needed = {gas: ["time", f"{gas}_averaging_kernel"] for gas in ("hdo", "h2o")}
    needed = {
        gas: names for gas, names in needed.items() if set(names) <= {*ds.variables}
    }
    if not needed or ds["time"].ndim:
        return {}
    flags = flags_of(ds)
    if flags is not None and quality.severe(quality.overall(flags)):
        say(f"left out {file}: its quality_flag says that it is not to be used", err=True)  # noqa: E501  # fmt: skip
        return {}
    return {gas: ds[names].load() for gas, names in needed.items()}
