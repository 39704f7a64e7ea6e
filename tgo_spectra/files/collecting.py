"""Many level-2 files as one Dataset over products, read when its values are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import files_in
from tgo_spectra.files.netcdf import open_partly, open_verified, write_collection
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.files.storage import read_stored
from tgo_spectra.paths import expanded
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    Floats = npt.NDArray[np.float64]

__all__ = ["COLLECTED", "collect", "open_level2", "write_collected"]

COLLECTED = "L2 collected"
"""Processing level of a file of many results, which no map takes for one of them."""
GRID_KM = tuple(float(km) for km in range(121))
_TURN = {"longitude": 360.0, "local_true_solar_time": 24.0}
_FACTS = ("product_lid", "setup", "observation_type", "source_md5")
_KEEP = (
    "units",
    "long_name",
    "standard_name",
    "calendar",
    "flag_masks",
    "flag_meanings",
)
_BLOCK = 32
"""Files that one task reads."""


def open_level2(
    path: str | Path,
    altitude_km: Sequence[float] = GRID_KM,
    variables: Sequence[str] | None = None,
) -> xr.Dataset:
    """Open a level-2 file, checked and loaded, or a folder of them as `collect` does.

    Parameters
    ----------
    path : path
        A file, or a folder.
    altitude_km, variables
        Of a folder: as `collect` takes them.

    Returns
    -------
    Dataset

    Raises
    ------
    OutputError
        The file is damaged or incomplete (``io.hash_mismatch`` and the like).
    TgoError
        As `collect`.

    Examples
    --------
    >>> open_level2("results/l2/product.nc")["ch4_vmr"]  # doctest: +SKIP
    """
    place = expanded(path)
    if place.is_dir():
        return collect(place, altitude_km, variables)
    return open_verified(place)


def collect(
    folder: str | Path,
    altitude_km: Sequence[float] = GRID_KM,
    variables: Sequence[str] | None = None,
) -> xr.Dataset:
    """Put the results of a folder side by side, on common altitudes.

    Of each file only what does not depend on altitude is read at once; profiles are
    read, and the files checked, when their values are computed or written, such as by
    ``to_zarr``: any number of files fits.

    Parameters
    ----------
    folder : path
        Folder of level-2 files, such as that of a run; maps in it are left out.
    altitude_km : sequence of float, optional
        Common altitudes, km above the areoid, rising. Default 0, 1 ... 120.
    variables : sequence of str, optional
        Names of profiles and scalars. Default: those of the first file. What another
        file does not have is NaN there.

    Returns
    -------
    Dataset
        Dimensions ``product`` (files in the order of their names) and ``altitude``;
        profiles as Dask arrays, linear between the levels of the file, NaN above and
        below them; longitude and local time the short way round. ``product_lid``,
        ``setup``, ``observation_type`` and ``source_md5`` are coordinates; attributes
        say how many products there are and how many of them were simulated.

    Raises
    ------
    TgoError
        No level-2 file is there (``map.no_input``), altitudes that do not rise
        (``collect.altitude``), or a variable that the first file does not have as
        profile or scalar (``collect.variable``).
    OutputError
        A file is damaged: here or when its values are computed.

    Examples
    --------
    >>> ds = collect("results/l2")  # doctest: +SKIP
    >>> ds["ch4_vmr"].mean("product").compute()  # doctest: +SKIP
    """
    import dask.array as da
    import xarray as xr
    from dask.delayed import delayed

    grid = np.asarray(altitude_km, float)
    if grid.ndim != 1 or not grid.size or not (np.diff(grid) > 0).all():
        message = "altitudes are to rise"
        raise TgoError(message, field="altitude_km", rule="collect.altitude")
    files = files_in(folder)
    first = _first(files, folder)
    rising, plain = _names(first, variables)
    rows, kept = [], []
    for file in files:
        ds = _part(file, plain)
        if ds.attrs.get("processing_level", "L2") == "L2":
            kept.append(file.absolute())
            rows.append(ds)
    found: dict[str, Any] = {}
    for name in plain:
        values = [
            ds.variables[name].values if name in ds.variables else np.float64(np.nan)
            for ds in rows
        ]
        found[name] = ("product", np.array(values), _attributes(rows[0], name))
    parts = [kept[k : k + _BLOCK] for k in range(0, len(kept), _BLOCK)]
    shapes = _part(kept[0], rising)
    # who wants one variable of a gas mostly wants others, and opening takes its time
    groups: dict[str, list[str]] = {}
    for name in rising:
        groups.setdefault(name.partition("_")[0], []).append(name)
    for names in groups.values():
        blocks = [
            da.from_delayed(  # type: ignore[no-untyped-call]
                delayed(_profiles)(part, names, grid),
                (len(names), len(part), grid.size),
                float,
            )
            for part in parts
        ]
        whole = da.concatenate(blocks, axis=1)  # type: ignore[no-untyped-call]
        for number, name in enumerate(names):
            dims = ("product", "altitude")
            found[name] = (dims, whole[number], _attributes(shapes, name))
    about = {
        name: ("product", [str(ds.attrs.get(name, "")) for ds in rows])
        for name in _FACTS
    }
    km = attributes_of("altitude", grid.dtype)
    attrs = {
        "processing_level": "L2",
        "altitude_interpolation": "linear, none outside",
        "n_profiles": len(rows),
        "n_simulated": sum(map(is_simulated, rows)),
    }
    made = xr.Dataset(found, about | {"altitude": ("altitude", grid, km)}, attrs)
    return xr.decode_cf(made)


def write_collected(ds: xr.Dataset, path: str | Path) -> Path:
    """Write what `collect` gives, whole or not at all: netCDF, or Zarr for ``*.zarr``.

    netCDF takes all values into memory, Zarr a block of files at a time.
    """
    place = expanded(path)
    ds = ds.assign_attrs(processing_level=COLLECTED)
    if place.suffix == ".zarr":
        from tgo_spectra.files.zarr import write_collection_zarr

        return write_collection_zarr(ds, place)
    if place.suffix != ".nc":
        message = "the name ends with .nc or .zarr, which says the form"
        raise TgoError(message, path=place, rule="collect.form")
    return write_collection(ds, place)


def _first(files: Sequence[Path], folder: str | Path) -> xr.Dataset:
    """Open the first file of level 2."""
    for file in files:
        ds = open_verified(file)
        if ds.attrs.get("processing_level", "L2") == "L2":
            return ds
    message = "no level-2 file in this folder"
    raise TgoError(message, path=expanded(folder), rule="map.no_input")


def _names(
    first: xr.Dataset, wanted: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Names of profiles, and of scalars."""
    rising, plain = [], []
    for name, variable in first.variables.items():
        if variable.dtype.kind not in "fiubM" or name == "altitude":
            continue
        if variable.dims == ("altitude",):
            rising.append(str(name))
        elif not variable.dims:
            plain.append(str(name))
    for name in wanted or ():
        if name not in rising and name not in plain:
            message = "neither a profile nor a scalar of the first file"
            raise TgoError(
                message, path=first.encoding["source"], field=name,
                rule="collect.variable",
            )  # fmt: skip
    if wanted is None:
        return rising, plain
    return [n for n in rising if n in wanted], [n for n in plain if n in wanted]


def _part(file: Path, names: Sequence[str]) -> xr.Dataset:
    """Open some variables of a file as it holds them, times as numbers."""
    import xarray as xr

    keys = {*_FACTS, "processing_level", "simulated"}
    ds = open_partly(file, dict.fromkeys(names, _KEEP), keys)
    if ds is not None:
        return ds
    open_verified(file)
    found, attrs = read_stored(file)
    some = {name: found[name] for name in names if name in found}
    held = {name: (one.dims, one.data, one.attrs) for name, one in some.items()}
    return xr.Dataset(held, attrs=attrs)


def _attributes(ds: xr.Dataset, name: str) -> dict[str, Any]:
    found = ds.variables[name].attrs
    return {key: found[key] for key in _KEEP if key in found}


def _profiles(files: Sequence[Path], names: Sequence[str], grid: Floats) -> Floats:
    """Profiles of some files on the grid: name, file, altitude."""
    made = np.full((len(names), len(files), grid.size), np.nan)
    for column, file in enumerate(files):
        ds = _part(file, ["altitude", *names])
        height = ds.variables["altitude"].values.astype(float)
        order = np.argsort(height)
        for row, name in enumerate(names):
            if name in ds.variables and ds.variables[name].dims == ("altitude",):
                values = ds.variables[name].values.astype(float)[order]
                turn = _TURN.get(name)
                if turn:
                    values = np.unwrap(values, period=turn)
                there = np.interp(grid, height[order], values, np.nan, np.nan)
                if turn:
                    low = -180.0 if name == "longitude" else 0.0
                    there = (there - low) % turn + low
                made[row, column] = there
    return made
