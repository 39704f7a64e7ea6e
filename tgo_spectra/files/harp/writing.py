"""Level 2 under the names, units and dimensions of HARP, as netCDF-3.

Dimensions {time, vertical}: one time for a profile, one for each spectrum of columns.
HARP's latitude and longitude do not vary along a profile: the mean is given, and the
places of the levels under names of ours. HARP knows no planet but the Earth: what its
tools derive with gravity or geometry is wrong for Mars. Columns need neither, and are
right: ``harpconvert`` 1.16 gives the integral of the levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra._version import __version__
from tgo_spectra.errors import OutputError
from tgo_spectra.files.atomic import atomic_file
from tgo_spectra.files.harp.names import (
    AIR,
    COLUMN,
    EPOCH,
    KEPT,
    OF_LEVEL,
    OURS,
    PROFILE,
    Name,
    follows_convention,
    species,
)
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.files.storage import new_netcdf
from tgo_spectra.mars import mean_direction
from tgo_spectra.paths import expanded
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["to_harp", "write_harp"]

_SECOND = np.timedelta64(1, "s")


def to_harp(level2: xr.Dataset, gases: Sequence[str] | None = None) -> xr.Dataset:
    """Rename level 2 to HARP's conventions.

    Values keep their sign; missing ones stay NaN; upper limits go along under names
    that HARP does not know. Profiles are exported where there are any (their slant
    columns then are not: HARP has one length of time), else columns.

    Parameters
    ----------
    level2 : Dataset
        As :func:`tgo_spectra.retrieve` gives.
    gases : sequence of str, optional
        Keys of gases. Default: every one there is.

    Returns
    -------
    Dataset
        Over ``time`` and ``vertical``. The averaging kernel's second dimension is
        called ``vertical_in`` here, as a Dataset needs two names;
        :func:`write_harp` writes {time, vertical, vertical}. Names outside HARP's
        conventions are listed in the attribute ``names_outside_harp``.

    Raises
    ------
    OutputError
        Nothing of these gases, or no time (``harp.missing``).

    References
    ----------
    HARP data format conventions, S[&]T, https://stcorp.github.io/harp/doc/html/.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> level2 = xr.Dataset(
    ...     {"ch4_vmr": ("altitude", [1e-11, -3e-11]),
    ...      "time": np.datetime64("2018-06-14T03:13:41", "ns")},
    ...     {"altitude": [10.0, 11.0]})
    >>> harp = to_harp(level2)
    >>> harp.CH4_volume_mixing_ratio.dims, harp.altitude.units
    (('time', 'vertical'), 'm')
    >>> float(harp.datetime[0])
    582261221.0
    """
    wanted = list(GASES if gases is None else gases)
    unknown = [gas for gas in wanted if gas not in GASES]
    if unknown:
        msg = f"unknown gas; there are {', '.join(GASES)}"
        raise OutputError(msg, field="gases", value=unknown[0], rule="harp.missing")
    profile = [g for g in wanted if f"{g}_vmr" in level2]
    columns = [
        g for g in wanted if f"{g}_column" in level2 or f"{g}_slant_column" in level2
    ]
    chosen = profile or columns
    if not chosen or (gases is not None and set(wanted) - set(chosen)):
        absent = sorted(set(wanted) - set(chosen))
        msg = "level 2 has neither profile nor column of this gas"
        raise OutputError(msg, field="gases", value=absent[:3], rule="harp.missing")
    if "time" not in level2 or bool(level2["time"].isnull().all()):
        msg = "level 2 has no time"
        raise OutputError(msg, field="time", rule="harp.missing")
    dim = "altitude" if profile else "spectrum"
    data: dict[str, xr.DataArray] = {}
    for gas in chosen:
        for name in PROFILE if profile else COLUMN:
            if f"{gas}_{name.ours}" in level2:
                key = f"{species(gas)}_{name.theirs}"
                data[key] = _array(level2[f"{gas}_{name.ours}"], name, dim)
                sigma = level2[f"{gas}_{name.ours}"].attrs.get("sigma_level")
                if sigma is not None:
                    data[key].attrs["upper_limit_confidence"] = float(sigma)
    for name in AIR if profile else ():
        if name.ours in level2.variables:
            data[name.theirs] = _array(level2[name.ours], name, dim)
    if profile and level2.sizes["altitude"] > 1:
        data["altitude_bounds"] = _bounds(data["altitude"])
    data |= _places(level2, dim)
    result = xr.Dataset({k: v.reset_coords(drop=True) for k, v in data.items()})
    outside = [str(n) for n in result.data_vars if not follows_convention(str(n))]
    result.attrs = _attributes(level2, result["datetime"].values, outside)
    return result


def _array(found: xr.DataArray, name: Name, dim: str) -> xr.DataArray:
    """One variable under its new name, dimensions and unit."""
    rename = {"altitude": "vertical", "altitude_in": "vertical_in", "spectrum": "time"}
    values = found.values
    if name.factor != 1.0:
        values = values * name.factor
    dims = [rename[str(d)] for d in found.dims]
    if dim == "altitude":
        dims, values = ["time", *dims], values[np.newaxis]
    attrs = {"units": name.units, "description": name.text}
    return xr.DataArray(values, dims=dims, attrs=attrs)


def _bounds(altitude: xr.DataArray) -> xr.DataArray:
    """Give the layers of the levels: midway between them, and no more beyond the ends.

    Without them HARP extends the first and the last level by half a step; the half step
    of air below the lowest level is 5 % of a column.
    """
    z = altitude.values
    edges = np.concatenate([z[:, :1], 0.5 * (z[:, 1:] + z[:, :-1]), z[:, -1:]], axis=1)
    return xr.DataArray(
        np.stack([edges[:, :-1], edges[:, 1:]], axis=-1),
        dims=("time", "vertical", "independent_2"),
        attrs={"units": "m", "description": "bottom and top of the level's layer"},
    )


def _places(level2: xr.Dataset, dim: str) -> dict[str, xr.DataArray]:
    """Time, season and places, one a time, and one a level where they vary."""
    size = 1 if dim == "altitude" else level2.sizes[dim]
    data: dict[str, xr.DataArray] = {}

    def add(name: str, values: object, units: str, text: str) -> None:
        array = np.atleast_1d(np.asarray(values))
        data[name] = xr.DataArray(
            np.array(np.broadcast_to(array, (size,))),
            dims="time",
            attrs={"units": units, "description": text},
        )

    # spectra that were fitted alone have a time each beside that of their middle
    own = dim == "spectrum" and "spectrum_time" in level2.variables
    times = level2["spectrum_time" if own else "time"].values
    seconds = (np.asarray(times) - EPOCH) / _SECOND
    add("datetime", seconds, "seconds since 2000-01-01", "mid time, UTC")
    for name, units in OF_LEVEL.items():
        if name not in level2:
            continue
        array = level2[name]
        if array.dims == ("altitude",):
            period = {"longitude": 360.0, "local_true_solar_time": 24.0}.get(name)
            if period is None:
                mean = float(array.mean())  # of the levels that have a place
            else:
                mean = mean_direction(array.values, period)
            if name == "longitude":
                mean = (mean + 180.0) % 360.0 - 180.0
            add(name, mean, units, "mean of the levels")
            data[f"{name}_of_level"] = xr.DataArray(
                array.values[np.newaxis],
                dims=("time", "vertical"),
                attrs={"units": units, "description": "of the level"},
            )
        else:
            add(name, array.values, units, "of the product or spectrum")
    for ours, (theirs, units) in OURS.items():
        if ours in level2 and level2[ours].dims in ((), (dim,)):
            text = str(level2[ours].attrs.get("long_name", ours))
            add(theirs, level2[ours].values, units, text)
    return data


def _attributes(
    level2: xr.Dataset,
    seconds: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    outside: list[str],
) -> dict[str, object]:
    lid = level2.attrs.get("product_lid")
    product = level2.attrs.get("source_file", "")
    if lid is not None:
        product = f"{lid}::{level2.attrs.get('product_version', '')}"
    return {
        "Conventions": "HARP-1.0",
        "source_product": str(product),
        "datetime_start": float(np.nanmin(seconds) / 86400.0),
        "datetime_stop": float(np.nanmax(seconds) / 86400.0),
        "history": f"tgo_spectra {__version__} to_harp",
        "body": "Mars",
        "names_outside_harp": " ".join(outside),
        "altitude_reference": "areoid (MOLA equipotential surface)",
        **{key: str(level2.attrs[key]) for key in KEPT if key in level2.attrs},
        **({"simulated": np.int32(1)} if is_simulated(level2) else {}),
    }


def write_harp(
    level2: xr.Dataset, path: str | Path, gases: Sequence[str] | None = None
) -> Path:
    """Write level 2 as a HARP product, netCDF-3 classic, whole or not at all.

    Parameters
    ----------
    level2 : Dataset
        As :func:`tgo_spectra.retrieve` gives.
    path : path
        File to write; replaced as a whole if it exists.
    gases : sequence of str, optional
        As in :func:`to_harp`.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError
        As :func:`to_harp`; no space; or the file read back differs
        (``io.verify_failed``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> level2 = xr.Dataset(
    ...     {"ch4_vmr": ("altitude", [1e-11, -3e-11]),
    ...      "time": np.datetime64("2018-06-14T03:13:41", "ns")},
    ...     {"altitude": [10.0, 11.0]})
    >>> path = write_harp(level2, pathlib.Path(tempfile.mkdtemp()) / "harp.nc")
    >>> xr.open_dataset(path).attrs["Conventions"]
    'HARP-1.0'
    """
    from netCDF4 import Dataset

    ds = to_harp(level2, gases)
    with atomic_file(path) as temporary:
        with new_netcdf(temporary, "NETCDF3_CLASSIC") as file:
            for dim, size in ds.sizes.items():
                if dim != "vertical_in":
                    file.createDimension(str(dim), size)
            for name, array in ds.data_vars.items():
                dims = tuple(str(d).removesuffix("_in") for d in array.dims)
                # netCDF-3 has no 64-bit integers; HARP uses no fill values
                values = array.values
                if values.dtype.kind in "iub" and values.dtype.itemsize > 4:
                    values = values.astype(np.int32)
                if values.dtype.kind == "b":
                    values = values.astype(np.int8)
                variable = file.createVariable(str(name), values.dtype, dims)
                variable.setncatts(array.attrs)
                variable[:] = values
            file.setncatts(ds.attrs)
        with Dataset(temporary) as file:
            file.set_auto_mask(False)
            for name, array in ds.data_vars.items():
                if not np.array_equal(file[str(name)][:], array.values, equal_nan=True):
                    msg = "the file read back differs"
                    raise OutputError(
                        msg, path=path, field=str(name), rule="io.verify_failed"
                    )
    return expanded(path)
