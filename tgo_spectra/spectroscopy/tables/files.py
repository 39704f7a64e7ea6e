"""Files of absorption tables: list, open, verify and write them.

netCDF-4, vectors, weights and places of nodes as whole numbers of few bits, with a hash
of the contents that opening checks. Tables of earlier versions are read as they were:
format 2 holds vectors in place of their differences, format 1 weights and wavenumbers
as floats too.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.errors import OutputError, TableError
from tgo_spectra.files.atomic import atomic_file
from tgo_spectra.files.storage import (
    Stored,
    clean_attributes,
    content_hash,
    new_netcdf,
    read_stored,
)
from tgo_spectra.paths import cache_folder, expanded, is_foreign, owner_of
from tgo_spectra.spectroscopy.tables.cells import (
    CELL_POINTS,
    differences,
    restored_weights,
    signed,
    summed,
    unsigned,
    whole_weights,
)

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "find_table",
    "list_tables",
    "open_table",
    "prepared_path",
    "table_gases",
    "table_path",
    "verify_table",
    "write_table",
]

_FLOATS = "tgo_spectra absorption table 1"
_DIFFERENCES = "tgo_spectra absorption table 3"
_FORMATS = (_FLOATS, "tgo_spectra absorption table 2", _DIFFERENCES)
_Data = dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]
_CELL_START = {"units": "cm-1", "long_name": "lower edge of the cell"}
_COMMON = {
    "node_wavenumber": ("node",),
    "node_cell": ("node",),
    "node_weight": ("node", "moment"),
    "cell_start": ("cell",),
    "pressure": ("pressure",),
    "temperature": ("temperature",),
}


def list_tables() -> tuple[str, ...]:
    """Return the names of the tables that come with the package.

    Returns
    -------
    tuple of str
        Names that `open_table` takes.

    Examples
    --------
    >>> "so_134_136" in list_tables()
    True
    """
    folder = files("tgo_spectra.spectroscopy") / "data"
    names = [entry.name for entry in folder.iterdir()]
    return tuple(sorted(name[:-3] for name in names if name.endswith(".nc")))


def prepared_path(name: str) -> Path:
    """Return where a table that ``tgo-spectra prepare`` makes is kept.

    Parameters
    ----------
    name : str
        Name of the table in setups.

    Returns
    -------
    pathlib.Path
        In the user's cache; it need not exist.

    Examples
    --------
    >>> prepared_path("so_126_130_hcl").name
    'so_126_130_hcl.nc'
    """
    return cache_folder("tables") / f"{name}.nc"


def find_table(name_or_path: str | Path) -> Path | None:
    """Return the file of a table, None if there is none.

    A table that was prepared comes before one of the package with the same name: who
    made it wants its lines. The result says which it was by the table's hash.

    Parameters
    ----------
    name_or_path : str or path
        As `table_path` takes it.

    Returns
    -------
    pathlib.Path or None

    Raises
    ------
    TableError
        It was prepared by another user (``table.foreign``).

    Examples
    --------
    >>> find_table("no_such_table") is None
    True
    """
    path = expanded(name_or_path)
    places = [path]
    prepared = None
    if isinstance(name_or_path, str) and name_or_path.isidentifier():
        shipped = Path(str(files("tgo_spectra.spectroscopy") / "data"))
        prepared = prepared_path(name_or_path)
        places = [prepared, shipped / f"{name_or_path}.nc", path]
    found = next((place for place in places if place.is_file()), None)
    if found is not None and found == prepared and is_foreign(found):
        message = (
            f"this table in the cache of prepared ones is the file of another user, "
            f"{owner_of(found)}, and not taken unasked, since its numbers may be "
            "wrong. Run as that user; or set the environment variable XDG_CACHE_HOME "
            "to a folder of your own; or, if you trust it, name the file: "
            "--set table=FILE, or the key table of your setup"
        )
        raise TableError(message, path=found, rule="table.foreign")
    return found


def table_path(name_or_path: str | Path) -> Path:
    """Return the file of a table that was prepared or is shipped, or the path given.

    Parameters
    ----------
    name_or_path : str or path
        Name of a table that ``tgo-spectra prepare`` made, name of a shipped one, see
        `list_tables`, or a file.

    Returns
    -------
    pathlib.Path
        A file that exists.

    Raises
    ------
    TableError
        ``table.unknown``: none of these.

    Examples
    --------
    >>> table_path("so_134_136").name
    'so_134_136.nc'
    """
    path = find_table(name_or_path)
    if path is None:
        message = (
            f"no table {str(name_or_path)!r}: neither a file nor one of "
            f"{', '.join(list_tables())}; the table of a setup that is not among them "
            "is made with 'tgo-spectra prepare SETUP'"
        )
        raise TableError(message, value=str(name_or_path), rule="table.unknown")
    return path


def _read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Read everything as stored; netCDF4 directly, xarray's opener takes 10x longer."""
    try:
        return read_stored(path)
    except OutputError as error:
        raise TableError(error.message, path=path, rule="table.unreadable") from error


def _checked_read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    variables, attrs = _read(path)
    if attrs.get("format") not in _FORMATS:
        message = f"not an absorption table: its format must be {_FORMATS[-1]!r}"
        raise TableError(
            message, path=path, value=attrs.get("format"), rule="table.format"
        )
    found, stated = content_hash(variables, attrs), attrs.get("content_sha256")
    if found != stated:
        message = f"contents have SHA-256 {found}, the file states {stated}"
        raise TableError(message, path=path, rule="table.hash_mismatch")
    return variables, attrs


def verify_table(path: str | Path) -> str:
    """Check a table file.

    Parameters
    ----------
    path : path or str
        File or name of a shipped table.

    Returns
    -------
    str
        Its content hash.

    Raises
    ------
    TableError
        The file is unreadable, no table, or its contents do not match their hash.

    Examples
    --------
    >>> len(verify_table("so_134_136"))
    64
    """
    return str(_checked_read(table_path(path))[1]["content_sha256"])


def open_table(name_or_path: str | Path) -> xr.Dataset:
    """Open a table; its hash is checked and everything is loaded.

    Parameters
    ----------
    name_or_path : str or path
        Name of a shipped table, see `list_tables`, or a file of `write_table`.

    Returns
    -------
    xarray.Dataset
        The layout of `build_table`, numbers as floats.

    Raises
    ------
    TableError
        No such table, or `verify_table` would refuse it.

    Examples
    --------
    >>> table = open_table("so_186_191")
    >>> table.attrs["gases"]
    'co co2 h2o hdo'
    """
    import xarray as xr

    path = table_path(name_or_path)
    variables, attrs = _checked_read(path)
    dataset = xr.Dataset(_unpacked(variables, attrs), attrs=attrs)
    _check_layout(dataset, path)
    return dataset


def _unpacked(variables: dict[str, Stored], attrs: dict[str, Any]) -> _Data:
    """Return the variables of a table from those of its file."""
    data: _Data = {}
    for name, stored in variables.items():
        values = stored.data
        if name == "node_place":
            data |= _unpacked_nodes(variables, attrs)
            continue
        if name in ("node_count", "node_weight") and "node_place" in variables:
            continue
        if name.endswith("_vectors") and values.dtype.kind in "iu":
            gas = name.removesuffix("_vectors")
            whole = signed(values) if values.dtype.kind == "u" else values
            whole = summed(whole) if attrs["format"] == _DIFFERENCES else whole
            step = variables[f"{gas}_vector_step"].data
            values = _from_steps(whole, step, variables[f"{gas}_node_scale"].data)
        elif name.endswith("_coefficients"):
            values = values.astype(np.float64)
        data[name] = (stored.dims, values, stored.attrs)
    return data


def _unpacked_nodes(variables: dict[str, Stored], attrs: dict[str, Any]) -> _Data:
    """Return wavenumber, cell and weight of the nodes, and the edges of the cells."""
    count, place = variables["node_count"].data, variables["node_place"].data
    cells = np.arange(count.size)
    cell = np.repeat(cells.astype(np.int32), count)
    step = float(attrs["fine_step"])
    low = int(attrs["first_cell"]) * float(attrs["cell_width"])
    point = CELL_POINTS * cell.astype(np.int64) + place
    weight = restored_weights(
        signed(variables["node_weight"].data), cell, cells.size, attrs["weight_step"]
    )
    made = {
        "node_wavenumber": (low + (point + 0.5) * step, variables["node_place"].attrs),
        "node_cell": (cell, variables["node_count"].attrs),
        "node_weight": (weight, variables["node_weight"].attrs),
        "cell_start": (low + CELL_POINTS * step * cells, _CELL_START),
    }
    return {name: (_COMMON[name], *both) for name, both in made.items()}


def table_gases(table: xr.Dataset) -> tuple[str, ...]:
    """Return the gases of a table.

    Parameters
    ----------
    table : xarray.Dataset
        A table.

    Returns
    -------
    tuple of str
        Gas keys.

    Examples
    --------
    >>> table_gases(open_table("so_134_136"))
    ('h2o', 'ch4', 'hdo', 'co2')
    """
    return tuple(str(table.attrs.get("gases", "")).split())


def _check_layout(table: xr.Dataset, path: str | Path | None = None) -> None:
    wanted: dict[str, tuple[str, ...]] = dict(_COMMON)
    for gas in table_gases(table):
        wanted[f"{gas}_vectors"] = (f"vector_{gas}", "node")
        wanted[f"{gas}_coefficients"] = (f"vector_{gas}", "pressure", "temperature")
    for name, dims in wanted.items():
        if name not in table.variables or table[name].dims != dims:
            found = table[name].dims if name in table.variables else None
            message = f"a table needs {name} with dimensions {dims}"
            raise TableError(
                message, path=path, field=name, value=found, rule="table.layout"
            )
        if not np.isfinite(table[name].values).all():
            message = "a table holds finite numbers only"
            raise TableError(message, path=path, field=name, rule="table.not_finite")
    nodes = table["node_wavenumber"].values
    if not (nodes.size and (np.diff(nodes) > 0).all()):
        message = "the wavenumbers of the nodes must ascend"
        raise TableError(
            message, path=path, field="node_wavenumber", rule="table.layout"
        )


def _stored(table: xr.Dataset) -> dict[str, Stored]:
    """Return what a file holds: whole numbers where the table has steps."""
    out: dict[str, Stored] = {}
    small = "weight_step" in table.attrs
    for key, variable in table.variables.items():
        name, dims = str(key), tuple(str(d) for d in variable.dims)
        values = np.asarray(variable.values)
        gas = name.removesuffix("_vectors")
        if gas != name and f"{gas}_vector_step" in table:
            step = table[f"{gas}_vector_step"].values
            values = _in_steps(values, step, table[f"{gas}_node_scale"].values)
            values = unsigned(differences(values) if small else values)
        elif name.endswith("_coefficients"):
            values = values.astype(np.float32)
        elif name == "node_weight" and small:
            values = unsigned(whole_weights(values, table.attrs["weight_step"]))
        elif name == "node_wavenumber" and small:
            name, values = "node_place", _places(table)
        elif name == "node_cell" and small:
            name, dims = "node_count", ("cell",)
            values = np.bincount(values, minlength=table.sizes["cell"])
            values = values.astype(np.uint8)
        out[name] = Stored(dims, values, clean_attributes(variable.attrs))
    if small:
        del out["cell_start"]
    return out


def _from_steps(
    whole: NDArray[np.int32], step: NDArray[np.float64], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return vectors (vector, node) from whole steps, in single precision."""
    values = whole.astype(np.float32) * step.astype(np.float32)[:, None]
    values *= scale
    return values


def _in_steps(
    values: NDArray[np.float32], step: NDArray[np.float64], scale: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Return the steps of vectors: those that give them back to the bit.

    The finest steps are as fine as single precision, and the quotient may be one off.
    """
    quotient = values / step.astype(np.float32)[:, None].astype(np.float64) / scale
    whole = np.rint(quotient).astype(np.int32)
    for side in (-1, 1):
        wrong = np.nonzero(_from_steps(whole, step, scale) != values)
        if not wrong[0].size:
            break
        beside = whole.copy()
        beside[wrong] += side
        better = _from_steps(beside, step, scale) == values
        whole[better] = beside[better]
    return whole


def _places(table: xr.Dataset) -> NDArray[np.uint8]:
    """Return the fine points of the nodes (node,), counted within their cells."""
    cell = table["node_cell"].values
    above = table["node_wavenumber"].values - table["cell_start"].values[cell]
    place = np.rint(above / float(table.attrs["fine_step"]) - 0.5)
    return np.asarray(place, np.uint8)


def write_table(table: xr.Dataset, path: str | Path) -> Path:
    """Write a table: netCDF-4, compressed, with the hash of its contents.

    Parameters
    ----------
    table : xarray.Dataset
        From `build_table` or `open_table`.
    path : path
        File to write; replaced as a whole if it exists.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    TableError
        The Dataset is no table.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "t.nc"
    >>> write_table(open_table("so_186_191"), path).name
    't.nc'
    """
    _check_layout(table)
    variables = _stored(table)
    form = _DIFFERENCES if "node_place" in variables else _FLOATS
    attrs = clean_attributes({**table.attrs, "format": form})
    attrs["content_sha256"] = content_hash(variables, attrs)
    final = expanded(path)
    with atomic_file(final) as temporary, new_netcdf(temporary) as file:
        file.setncatts(attrs)
        for stored in variables.values():
            for name, size in zip(stored.dims, stored.data.shape, strict=True):
                if name not in file.dimensions:
                    file.createDimension(name, size)
        for name, stored in variables.items():
            variable = file.createVariable(
                name,
                stored.data.dtype,
                stored.dims,
                zlib=bool(stored.dims),
                complevel=9,
                shuffle=True,
            )
            variable.setncatts(stored.attrs)
            variable[...] = stored.data
    return final
