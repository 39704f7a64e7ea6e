"""The command on ratios of isotopes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tgo_spectra.cli.terminal import EXISTING, PATH, leave, say, without_place

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = ["deuterium"]


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
