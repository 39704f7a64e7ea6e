"""Files that can be trusted: netCDF-4, CF-1.11, written whole or not at all.

A result is written under a temporary name in its own folder, closed, opened again,
compared with what was meant, synchronised and only then given its final name. So a
file that carries a final name is complete, whatever happened to the process, the
disk or a second writer. Every file states a SHA-256 of its contents and ends with one
of its bytes; :func:`open_verified` checks both: a full disk or a cut transfer can leave
netCDF files that open without an error and hold other numbers.

The netCDF4 library is called directly: for files of some hundred kilobytes the
generic writer of xarray takes several times as long.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra._version import __version__
from tgo_spectra.errors import OutputError
from tgo_spectra.files.atomic import atomic_file, output_folder, sweep_temporary
from tgo_spectra.files.observations import input_products, observations_of
from tgo_spectra.files.partial import read_partly
from tgo_spectra.files.storage import (
    Stored,
    clean_attributes,
    content_hash,
    read_stored,
    write_stored,
)
from tgo_spectra.paths import expanded
from tgo_spectra.variables import (
    content_type,
    is_coordinate,
    lookup,
    validate,
    without_fill,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import xarray as xr

__all__ = [
    "MARS_WKT",
    "PROCESSING_VERSION",
    "atomic_file",
    "content_hash",
    "open_partly",
    "open_verified",
    "stored",
    "sweep_temporary",
    "write_collection",
    "write_level2",
    "write_map",
    "write_plain",
]

PROCESSING_VERSION = "10"
"""Raised by hand when the numbers of level 2 change; part of the resume key."""

MARS_RADIUS_M = 3396190.0
"""Equatorial radius of the IAU 2015 sphere, m (IAU_2015:49900)."""

# IAU_2015:49900 as PROJ 9.5 writes it: planetocentric, east positive. Only this
# one of the Mars systems has a CF grid mapping (latitude_longitude).
MARS_WKT = (
    'GEOGCRS["Mars (2015) - Sphere / Ocentric",'
    'DATUM["Mars (2015) - Sphere",'
    'ELLIPSOID["Mars (2015) - Sphere",3396190,0,LENGTHUNIT["metre",1]],'
    'ANCHOR["Viking 1 lander: 47.95137 W"]],'
    'PRIMEM["Reference Meridian",0,ANGLEUNIT["degree",0.0174532925199433]],'
    "CS[ellipsoidal,2],"
    'AXIS["geodetic latitude (Lat)",north,ORDER[1],'
    'ANGLEUNIT["degree",0.0174532925199433]],'
    'AXIS["geodetic longitude (Lon)",east,ORDER[2],'
    'ANGLEUNIT["degree",0.0174532925199433]],'
    'ID["IAU",49900,2015]]'
)

_TIME_UNITS = "microseconds since 2000-01-01 00:00:00"
_EPOCH = np.datetime64("2000-01-01T00:00:00", "us")


def write_level2(
    ds: xr.Dataset,
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    resume_key: str | None = None,
    attributes: Mapping[str, object] | None = None,
) -> Path:
    """Write level 2 of one product: CF-1.11, compressed, checked after writing.

    Parameters
    ----------
    ds : xarray.Dataset
        What :func:`tgo_spectra.retrieve` gives.
    path : path
        File to write; replaced as a whole if it exists.
    inputs : sequence of str, optional
        Identifiers of the inputs (``LID::version md5``). Default: the attributes
        ``product_lid``, ``product_version`` and ``source_md5`` of `ds`, or its
        ``input_products``.
    resume_key : str, optional
        Hash of everything the result depends on, see :func:`tgo_spectra.run`.
    attributes : mapping, optional
        Further global attributes.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError
        Nothing to write, no space, or the file read back differs
        (``io.verify_failed``).
    TgoError
        A variable has dimensions or units that level 2 does not have
        (``variables.*``); nothing is written then.

    Notes
    -----
    Every array has checksums (fletcher32) and is deflated, except large ones whose
    bits are noise: deflating those takes as long as all the rest and saves little.

    Examples
    --------
    >>> import pathlib, tempfile, xarray as xr
    >>> ds = xr.Dataset({"ch4_vmr": ("altitude", [1e-11, -3e-11])},
    ...                 {"altitude": [0.0, 10.0]})
    >>> file = write_level2(ds, pathlib.Path(tempfile.mkdtemp()) / "a.nc")
    >>> open_verified(file)["ch4_vmr"].values
    array([ 1.e-11, -3.e-11])
    """
    lid = str(ds.attrs.get("product_lid", ""))
    if inputs is None and (lid or "input_products" in ds.attrs):
        inputs = input_products(observations_of(ds))
    extra: dict[str, object] = {
        "title": f"Trace gases from {lid.rsplit(':', 1)[-1] or 'TGO spectra'}",
        "summary": "Level 2: gases, errors and averaging kernels fitted to one product",
        "processing_level": "L2",
        "cdm_data_type": "Other",
        "input_products": list(inputs or ()),
        "resume_key": resume_key,
        **(attributes or {}),
    }
    return _write(ds, path, extra, level=2)


def write_map(
    ds: xr.Dataset,
    path: str | Path,
    *,
    attributes: Mapping[str, object] | None = None,
) -> Path:
    """Write level 3, a map with its sums: CF-1.11, checked after writing.

    Parameters
    ----------
    ds : xarray.Dataset
        What :func:`tgo_spectra.grid_level2` or :func:`tgo_spectra.merge_maps` gives.
    path : path
        File to write; replaced as a whole if it exists.
    attributes : mapping, optional
        Further global attributes.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError, TgoError
        As :func:`write_level2`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from tgo_spectra import Grid, grid_level2
    >>> empty = grid_level2([], Grid(latitude=[-90, 0, 90]), gases=["ch4"])
    >>> file = write_map(empty, pathlib.Path(tempfile.mkdtemp()) / "map.nc")
    >>> open_verified(file)["ch4_count"].values
    array([0, 0], dtype=int32)
    """
    extra: dict[str, object] = {
        "title": "Map of trace gases on Mars from TGO spectra",
        "summary": "Level 3: sums over profiles in cells, and what follows from them",
        "processing_level": "L3",
        "cdm_data_type": "Grid",
        **(attributes or {}),
    }
    return _write(ds, path, extra, level=3)


def open_verified(path: str | Path) -> xr.Dataset:
    """Open one of our files after checking its content hash; everything is loaded.

    Parameters
    ----------
    path : path
        File made by :func:`write_level2` or :func:`write_map`.

    Returns
    -------
    xarray.Dataset
        The contents, in memory; the file is closed.

    Raises
    ------
    OutputError
        The file is cut or no netCDF-4 file (``io.unreadable``), has no
        ``content_sha256`` (``io.incomplete``), or its bytes or contents do not match
        what it states (``io.hash_mismatch``). No damage ends in another error.
    """
    path = expanded(path)
    variables, attrs = read_stored(path)
    stated = attrs.get("content_sha256")
    if stated is None:
        message = "no content_sha256: not one of our files, or not completely written"
        raise OutputError(message, path=path, rule="io.incomplete")
    found = content_hash(variables, attrs)
    if found != stated:
        message = f"contents have SHA-256 {found}, the file states {stated}"
        raise OutputError(message, path=path, rule="io.hash_mismatch")
    ds = _decode(variables, attrs)
    ds.encoding["source"] = str(path)
    return ds


def open_partly(
    path: str | Path, variables: Mapping[str, Sequence[str]], keys: Collection[str]
) -> xr.Dataset | None:
    """Open some variables of one of our files; None if that takes the whole file.

    `variables` names the attributes that are needed of each, `keys` the global ones;
    what the file does not have is left out. Values are those of the file (times its
    integers), coordinates have no index. OutputError as `open_verified`.
    """
    import xarray as xr

    path = expanded(path)
    found = read_partly(path, variables, keys)
    if found is None:
        return None
    arrays = {n: xr.Variable(v.dims, v.data, v.attrs) for n, v in found[0].items()}
    along = {
        name: arrays.pop(name) for name in [*arrays] if arrays[name].dims == (name,)
    }
    # making an index of each takes as long as reading all variables
    ds = xr.Dataset(arrays, xr.Coordinates(along, indexes={}), found[1])
    ds.encoding["source"] = str(path)
    return ds


def _write(
    ds: xr.Dataset, path: str | Path, extra: Mapping[str, object], *, level: int
) -> Path:
    final = expanded(path)
    return _write_whole(*stored(ds, final, extra, level=level), final)


def _write_whole(
    variables: Mapping[str, Stored], attrs: Mapping[str, Any], final: Path
) -> Path:
    """Write a file that holds its own hash, and read it back."""
    output_folder(final.parent)
    with atomic_file(final) as temporary:
        write_stored(variables, attrs, temporary)
        if _hash_of(temporary) != attrs["content_sha256"]:
            message = "the file read back differs from what was written"
            raise OutputError(message, path=final, rule="io.verify_failed")
    return final


def stored(
    ds: xr.Dataset, path: Path, extra: Mapping[str, object], *, level: int
) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Give variables and attributes as a file of level 2 or 3 holds them.

    OutputError, TgoError: nothing to write, or against the catalogue.
    """
    if not ds.data_vars:
        message = "the Dataset holds no variable"
        raise OutputError(message, path=path, rule="io.empty")
    variables = _encode(ds)
    validate(ds, level)
    # what a user says last counts
    attrs = clean_attributes({**ds.attrs, **_discovery(ds, variables), **extra})
    for key in ("content_sha256", "coordinates"):
        attrs.pop(key, None)
    if unnamed := _unnamed_coordinates(ds, variables):
        attrs["coordinates"] = " ".join(unnamed)
    attrs["content_sha256"] = content_hash(variables, attrs)
    return variables, attrs


def write_plain(ds: xr.Dataset, path: Path) -> None:
    """Write a Dataset as it is, without what CF and the catalogue add (OSError)."""
    write_stored(*_plain(ds), path)


def write_collection(ds: xr.Dataset, path: str | Path) -> Path:
    """Write results side by side (`tgo_spectra.collect`), whole or not at all.

    All values are in memory meanwhile.
    """
    variables, attrs = _plain(ds)
    attrs["content_sha256"] = content_hash(variables, attrs)
    return _write_whole(variables, attrs, expanded(path))


def _plain(ds: xr.Dataset) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Give variables and attributes of a Dataset as it is."""
    variables = {}
    for name, variable in ds.variables.items():
        data, coded = _encode_values(np.asarray(variable.values))
        dims, attrs = tuple(map(str, variable.dims)), {**variable.attrs, **coded}
        variables[str(name)] = Stored(dims, data, clean_attributes(attrs))
    attributes = clean_attributes(ds.attrs)
    auxiliary = sorted(str(name) for name in ds.coords if name not in ds.dims)
    if auxiliary:
        attributes["coordinates"] = " ".join(auxiliary)
    return variables, attributes


def _hash_of(file: Path) -> str | None:
    """Content hash of a file; None if it cannot be read."""
    try:
        return content_hash(*read_stored(file))
    except OutputError:
        return None


def _coordinate_system() -> Stored:
    """Give the grid mapping that latitudes and longitudes refer to."""
    attrs = {
        "grid_mapping_name": "latitude_longitude",
        "long_name": "planetocentric coordinates, east positive, IAU 2015 sphere",
        "semi_major_axis": MARS_RADIUS_M,
        "inverse_flattening": 0.0,
        "longitude_of_prime_meridian": 0.0,
        "crs_wkt": MARS_WKT,
    }
    return Stored((), np.array(0, dtype=np.int32), attrs)


def _encode(ds: xr.Dataset) -> dict[str, Stored]:
    """Turn labelled arrays into what the file holds."""
    # plain dictionaries: a Dataset's own cost more than all else here
    arrays = {str(key): variable for key, variable in ds.variables.items()}
    arrays.pop("crs", None)
    dims = {name: tuple(map(str, v.dims)) for name, v in arrays.items()}
    bounds = {str(v.attrs.get("bounds")) for v in arrays.values()}
    coords = {*map(str, ds.coords), *filter(is_coordinate, arrays)}
    # sorted: the order of a Dataset's coordinates is not that of its file
    auxiliary = sorted(
        n for n in arrays if n in coords and n not in {*ds.dims, *bounds}
    )
    mapped = {"latitude", "longitude"} <= set(arrays)
    encoded = {}
    for name, variable in arrays.items():
        attrs = {k: v for k, v in variable.attrs.items() if k != "_FillValue"}
        data, coded = _encode_values(np.asarray(variable.values))
        known = lookup(name)
        attrs |= (known.attributes() if known else {}) | coded
        if name in bounds:
            # bounds take their meaning from their coordinate; repeating it is noise
            attrs = {}
        elif not {"long_name", "standard_name"} & set(attrs):
            attrs["long_name"] = name.replace("_", " ")
        if name not in bounds and name not in coords:
            mine = [a for a in auxiliary if set(dims[a]) <= set(dims[name])]
            if mine:
                attrs["coordinates"] = " ".join(mine)
            if mapped and {"latitude", "longitude"} <= {*mine, *dims[name]}:
                attrs["grid_mapping"] = "crs"
            if data.dtype.kind == "f":
                attrs["_FillValue"] = data.dtype.type(np.nan)
        if name not in bounds:
            kind = "coordinate" if name in coords else content_type(name)
            attrs["coverage_content_type"] = kind
        encoded[name] = Stored(dims[name], data, clean_attributes(attrs))
    if mapped:
        encoded["crs"] = _coordinate_system()
    return encoded


def _unnamed_coordinates(ds: xr.Dataset, variables: Mapping[str, Stored]) -> list[str]:
    """Coordinates of dimensions that no variable has: the file itself names them."""
    named = set(ds.dims)
    for stored in variables.values():
        named |= set(str(stored.attrs.get("coordinates", "")).split())
        named.add(str(stored.attrs.get("bounds")))
    of_file = {*map(str, ds.coords), *filter(is_coordinate, variables)}
    return sorted(of_file - named - {"crs"})


def _encode_values(
    data: np.ndarray[Any, np.dtype[Any]],
) -> tuple[np.ndarray[Any, np.dtype[Any]], dict[str, Any]]:
    """Turn times into integers, truth values into flags, text into objects."""
    if data.dtype.kind == "M":
        if np.isnat(data).any():
            message = "a time is missing (NaT); times must be complete to be written"
            raise OutputError(message, rule="io.missing_time")
        whole = (data.astype("datetime64[us]") - _EPOCH).astype(np.int64)
        return whole, {"units": _TIME_UNITS, "calendar": "proleptic_gregorian"}
    if data.dtype.kind == "b":
        flags = np.array([0, 1], dtype=np.int8)
        attrs = {"flag_values": flags, "flag_meanings": "false true", "dtype": "bool"}
        return data.astype(np.int8), attrs
    if data.dtype.kind in "OUS":
        return data.astype(object), {}
    if data.dtype.kind not in "iuf":
        message = f"type {data.dtype} cannot be written"
        raise OutputError(message, rule="io.type")
    return data, {}


def _decode(variables: Mapping[str, Stored], attrs: Mapping[str, Any]) -> xr.Dataset:
    """Labelled arrays from stored variables."""
    import xarray as xr

    arrays = {}
    coords = set(str(attrs.get("coordinates", "")).split())
    for name, variable in variables.items():
        notes = dict(variable.attrs)
        notes.pop("_FillValue", None)
        coords |= set(str(notes.pop("coordinates", "")).split())
        if bounds := notes.get("bounds"):
            coords.add(str(bounds))
        data = variable.data
        if notes.get("units") == _TIME_UNITS:
            data = (_EPOCH + data.astype("timedelta64[us]")).astype("datetime64[ns]")
            for key in ("units", "calendar", "units_metadata"):
                notes.pop(key, None)
        elif notes.get("dtype") == "bool":
            data = data.astype(bool)
            for key in ("dtype", "flag_values", "flag_meanings"):
                notes.pop(key, None)
        arrays[name] = xr.Variable(variable.dims, data, notes)
    arrays.pop("crs", None)
    for array in arrays.values():
        array.attrs.pop("grid_mapping", None)
    own = {key: value for key, value in attrs.items() if key != "coordinates"}
    ds = xr.Dataset(arrays, attrs=own)
    return without_fill(ds.set_coords([name for name in coords if name in arrays]))


def _discovery(ds: xr.Dataset, variables: Mapping[str, Stored]) -> dict[str, object]:
    """Global attributes of CF and ACDD that follow from the contents."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    name = str(uuid.uuid4())
    attrs: dict[str, object] = {
        "Conventions": "CF-1.11, ACDD-1.3",
        "body": "Mars",
        "institution": ds.attrs.get("institution", "not stated by the user"),
        "source": "retrieved from solar occultation spectra by tgo_spectra",
        "references": "https://pypi.org/project/tgo-spectra/",
        "history": f"{now} written by tgo_spectra {__version__}",
        "date_created": now,
        "date_issued": now,
        "date_modified": now,
        "date_metadata_modified": now,
        "tracking_id": name,
        "id": name,
        "naming_authority": "tgo_spectra",
        "project": "ExoMars Trace Gas Orbiter",
        "platform": "ExoMars Trace Gas Orbiter",
        "comment": "values keep their sign; errors are standard errors",
        "product_version": PROCESSING_VERSION,
        "processor_version": f"tgo_spectra {__version__}",
        "standard_name_vocabulary": "CF Standard Name Table v93",
        "keywords": "Mars, atmosphere, trace gases, ExoMars, Trace Gas Orbiter",
        "geospatial_bounds_crs": "IAU_2015:49900",
        "longitude_convention": "east positive, -180 to 180",
    }
    attrs.update(
        {
            k: v
            for k in ("source", "references", "product_version")
            if (v := ds.attrs.get(k))
        }
    )
    names = {"latitude": "lat", "longitude": "lon", "altitude": "vertical"}
    for name, short in names.items():
        if name in variables and np.isfinite(variables[name].data).any():
            attrs[f"geospatial_{short}_min"] = float(np.nanmin(variables[name].data))
            attrs[f"geospatial_{short}_max"] = float(np.nanmax(variables[name].data))
            attrs[f"geospatial_{short}_units"] = variables[name].attrs.get("units", "")
            steps = np.diff(variables[name].data) if name in ds.dims else np.zeros(0)
            if steps.size and np.allclose(steps, steps[0]):
                attrs[f"geospatial_{short}_resolution"] = f"{abs(steps[0]):.6g}"
    if "altitude" in variables:
        attrs["geospatial_vertical_positive"] = "up"
        attrs["geospatial_bounds_vertical_crs"] = "areoid (MOLA equipotential surface)"
    if {"geospatial_lat_min", "geospatial_lon_min"} <= set(attrs):
        south, north = (attrs[f"geospatial_lat_{end}"] for end in ("min", "max"))
        west, east = (attrs[f"geospatial_lon_{end}"] for end in ("min", "max"))
        corners = ((south, west), (north, west), (north, east), (south, east))
        ring = ", ".join(f"{y:.6g} {x:.6g}" for y, x in (*corners, corners[0]))
        attrs["geospatial_bounds"] = f"POLYGON (({ring}))"
    if "time" in ds.variables and ds["time"].size and ds["time"].dtype.kind == "M":
        ends = (ds["time"].values.min(), ds["time"].values.max())
        for key, end in zip(("start", "end"), ends, strict=True):
            attrs[f"time_coverage_{key}"] = f"{np.datetime_as_string(end, 'ms')}Z"
        seconds = (ends[1] - ends[0]) / np.timedelta64(1, "s")
        attrs["time_coverage_duration"] = f"PT{seconds:.0f}S"
    return attrs
