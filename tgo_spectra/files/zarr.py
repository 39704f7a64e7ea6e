"""Level 2 and maps as Zarr: what the netCDF file would hold, for stores of objects."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from typing import TYPE_CHECKING, Literal

from tgo_spectra.errors import OutputError
from tgo_spectra.files.atomic import output_folder, writing
from tgo_spectra.files.netcdf import stored
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

__all__ = ["write_collection_zarr", "write_zarr"]

_LARGE = 1_000_000
"""Numbers of an array above which its first axis is cut into chunks."""
_MARKS = (".zgroup", "zarr.json")


def write_zarr(
    ds: xr.Dataset,
    path: str | Path,
    *,
    attributes: Mapping[str, object] | None = None,
    zarr_format: Literal[2, 3] = 2,
) -> Path:
    """Write level 2 or a map as a Zarr group, whole or not at all.

    Variables and attributes are those of :func:`tgo_spectra.write_level2` and
    :func:`tgo_spectra.write_map`; ``xarray.open_zarr`` opens it, and
    :func:`tgo_spectra.merge_maps` takes what that gives.

    Parameters
    ----------
    ds : Dataset
        What :func:`tgo_spectra.retrieve`, :func:`tgo_spectra.grid_level2` or
        :func:`tgo_spectra.merge_maps` gives.
    path : path
        Folder to write; a Zarr group that is there is replaced as a whole.
    attributes : mapping, optional
        Further global attributes.
    zarr_format : {2, 3}, optional
        Default 2, which all readers know; 3 has no type for text yet.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError
        Something that is no Zarr group is there (``io.exists``), zarr is not installed
        (``zarr.missing``), or as in :func:`tgo_spectra.write_map`.

    Notes
    -----
    Arrays of more than a million numbers are cut along their first axis, so that one
    season of a map is one chunk; they are compressed as zarr does by default.

    Examples
    --------
    >>> from tgo_spectra import Grid, grid_level2
    >>> level3 = grid_level2([], Grid(latitude=[-90, 0, 90]), gases=["ch4"])
    >>> write_zarr(level3, "map.zarr")  # doctest: +SKIP
    """
    import xarray as xr

    final = _refused(expanded(path))
    level = 3 if any(str(name).endswith("_sum_w") for name in ds.variables) else 2
    extra = {"processing_level": f"L{level}", **(attributes or {})}
    variables, attrs = stored(ds, final, extra, level=level)
    raw = xr.Dataset(
        {n: xr.Variable(v.dims, v.data, v.attrs) for n, v in variables.items()},
        attrs=attrs,
    )
    # as if opened from netCDF: xarray keeps fill values, coordinates and bounds so
    whole = xr.decode_cf(raw, decode_coords="all", decode_times=False)
    for variable in whole.variables.values():
        if variable.size > _LARGE:
            variable.encoding["chunks"] = (1, *variable.shape[1:])
    return _write_whole(whole, final, zarr_format)


def write_collection_zarr(ds: xr.Dataset, path: str | Path) -> Path:
    """Write results side by side (`tgo_spectra.collect`), as `write_zarr`.

    Block by block, so that any number of them fits into memory.
    """
    import dask

    final = _refused(expanded(path))
    with dask.config.set(scheduler="synchronous"):  # netCDF takes no two threads
        return _write_whole(ds, final, 2)


def _refused(final: Path) -> Path:
    """Refuse what cannot be written or would replace something else."""
    try:
        import zarr  # noqa: F401
    except ImportError as error:
        message = "needs zarr: pip install tgo-spectra[exchange]"
        raise OutputError(message, path=final, rule="zarr.missing") from error
    if final.exists() and not any((final / mark).is_file() for mark in _MARKS):
        message = "is there already and is no Zarr group: not replaced"
        raise OutputError(message, path=final, rule="io.exists")
    return final


def _write_whole(whole: xr.Dataset, final: Path, zarr_format: Literal[2, 3]) -> Path:
    """Write a group beside its place and put it there."""
    output_folder(final.parent)
    temporary = final.with_name(f"{final.name}.tmp-{os.getpid()}-{uuid.uuid4().hex}")
    with writing(final):
        try:
            with warnings.catch_warnings():
                # of the third format: what it has not settled yet
                warnings.simplefilter("ignore")
                whole.to_zarr(temporary, zarr_format=zarr_format, consolidated=True)
            if final.exists():
                old = final.with_name(f"{temporary.name}-old")
                final.rename(old)
                temporary.rename(final)
                shutil.rmtree(old)
            else:
                temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final
