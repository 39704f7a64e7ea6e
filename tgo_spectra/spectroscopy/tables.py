"""Absorption tables: what lies in them, on disk and in memory.

A table covers one spectral band with several gases on common irregular nodes:

* ``node_wavenumber``, ``node_cell``, ``node_weight``: in every cell of 50 fine points
  the sum over its nodes of ``node_weight[:, j] * T`` is that over its fine points of
  ``P_j(u) T`` (Legendre polynomial, u from -1 to 1 over the cell);
* ``<gas>_vectors``, ``<gas>_coefficients``: the cross section of a node at a state is
  ``sum_r vectors[r, node] * coefficients[r, p, T]``, so that the optical depth of any
  path is one product of two small matrices, linear in the amounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.atomic import atomic_file
from tgo_spectra.content import Stored, clean_attributes, content_hash
from tgo_spectra.errors import TableError
from tgo_spectra.spectroscopy.building import build_table
from tgo_spectra.spectroscopy.interpolation import interpolate_coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

__all__ = [
    "BandTable",
    "build_table",
    "check_covers",
    "interpolate_coefficients",
    "list_tables",
    "open_table",
    "table_arrays",
    "table_gases",
    "verify_table",
    "write_table",
]

_FORMAT = "tgo_spectra absorption table 1"
_COMMON = {
    "node_wavenumber": ("node",),
    "node_cell": ("node",),
    "node_weight": ("node", "moment"),
    "cell_start": ("cell",),
    "pressure": ("pressure",),
    "temperature": ("temperature",),
}


@dataclass(frozen=True)
class BandTable:
    """The arrays of a table, as the forward model wants them.

    Attributes
    ----------
    nodes_cm1 : ndarray of float64, (node,)
        Wavenumbers, ascending.
    node_cell : ndarray of int32, (node,)
        Cell of each node.
    node_weight : ndarray of float64, (node, moment)
        Weights for the discrete Legendre moments of the cell.
    cell_start_cm1 : ndarray of float64, (cell,)
        Lower edges of the cells.
    cell_width_cm1, step_cm1 : float
        Width of a cell and of a fine step in it.
    vectors : dict of str to ndarray of float32, (vector, node)
        At most about one high.
    ln_pressure : ndarray of float64, (pressure,)
        Grid of the coefficients, ln Pa.
    temperature_k : ndarray of float64, (temperature,)
        Grid of the coefficients, K.
    coefficients : dict of str to ndarray of float64, (vector, pressure, temperature)
        cm2 per molecule.
    """

    nodes_cm1: NDArray[np.float64]
    node_cell: NDArray[np.int32]
    node_weight: NDArray[np.float64]
    cell_start_cm1: NDArray[np.float64]
    cell_width_cm1: float
    step_cm1: float
    vectors: dict[str, NDArray[np.float32]]
    ln_pressure: NDArray[np.float64]
    temperature_k: NDArray[np.float64]
    coefficients: dict[str, NDArray[np.float64]]


def list_tables() -> tuple[str, ...]:
    """Return the names of the tables that come with the package.

    Returns
    -------
    tuple of str
        Names that `open_table` takes.

    Examples
    --------
    >>> list_tables()
    ('so_134_136', 'so_189_190')
    """
    folder = files("tgo_spectra.spectroscopy") / "data"
    names = [entry.name for entry in folder.iterdir()]
    return tuple(sorted(name[:-3] for name in names if name.endswith(".nc")))


def _locate(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, str) and name_or_path in list_tables():
        return Path(str(files("tgo_spectra.spectroscopy") / "data")) / (
            f"{name_or_path}.nc"
        )
    path = Path(name_or_path)
    if not path.is_file():
        message = (
            f"no table {str(name_or_path)!r}: neither a file nor one of "
            f"{', '.join(list_tables())}"
        )
        raise TableError(message, value=str(name_or_path), rule="table.unknown")
    return path


def _read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Read everything as stored; netCDF4 directly, xarray's opener takes 10x longer."""
    import netCDF4

    variables: dict[str, Stored] = {}
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            attrs = {key: file.getncattr(key) for key in file.ncattrs()}
            for name, variable in file.variables.items():
                own = {key: variable.getncattr(key) for key in variable.ncattrs()}
                data = np.asarray(variable[:])
                variables[name] = Stored(variable.dimensions, data, own)
    except (OSError, RuntimeError) as error:  # netCDF4: no or a damaged HDF5 file
        message = f"not a readable netCDF-4 file: {error}"
        raise TableError(message, path=path, rule="table.unreadable") from error
    return variables, attrs


def _checked_read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    variables, attrs = _read(path)
    if attrs.get("format") != _FORMAT:
        message = f"not an absorption table: its format must be {_FORMAT!r}"
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
    return str(_checked_read(_locate(path))[1]["content_sha256"])


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
    >>> table = open_table("so_189_190")
    >>> table.attrs["gases"]
    'co'
    """
    import xarray as xr

    path = _locate(name_or_path)
    variables, attrs = _checked_read(path)
    data: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]] = {}
    for name, stored in variables.items():
        values = stored.data
        if name.endswith("_vectors") and values.dtype.kind == "i":
            gas = name.removesuffix("_vectors")
            step = variables[f"{gas}_vector_step"].data.astype(np.float32)
            values = (
                values.astype(np.float32)
                * step[:, None]
                * variables[f"{gas}_node_scale"].data
            )
        elif name.endswith("_coefficients"):
            values = values.astype(np.float64)
        data[name] = (stored.dims, values, stored.attrs)
    dataset = xr.Dataset(data, attrs=attrs)
    _check_layout(dataset, path)
    return dataset


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
    ('h2o', 'ch4')
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
    """Return what a file holds: vectors in whole steps where the table has steps."""
    out: dict[str, Stored] = {}
    for key, variable in table.variables.items():
        name, dims = str(key), tuple(str(d) for d in variable.dims)
        values = np.asarray(variable.values)
        gas = name.removesuffix("_vectors")
        if gas != name and f"{gas}_vector_step" in table:
            step = table[f"{gas}_vector_step"].values
            scale = table[f"{gas}_node_scale"].values.astype(np.float64)
            values = np.rint(values / step[:, None] / scale).astype(np.int32)
        elif name.endswith("_coefficients"):
            values = values.astype(np.float32)
        out[name] = Stored(dims, values, clean_attributes(variable.attrs))
    return out


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
    >>> write_table(open_table("so_189_190"), path).name
    't.nc'
    """
    import netCDF4

    _check_layout(table)
    variables = _stored(table)
    attrs = clean_attributes({**table.attrs, "format": _FORMAT})
    attrs["content_sha256"] = content_hash(variables, attrs)
    final = Path(path)
    with (
        atomic_file(final) as temporary,
        netCDF4.Dataset(temporary, "w", format="NETCDF4") as file,
    ):
        file.set_auto_maskandscale(False)
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
                complevel=6,
                shuffle=True,
            )
            variable.setncatts(stored.attrs)
            variable[...] = stored.data
    return final


def check_covers(
    table: xr.Dataset, low_cm1: float, high_cm1: float, what: str = "the spectrum"
) -> None:
    """Refuse a table that does not cover a range.

    Parameters
    ----------
    table : xarray.Dataset
        A table.
    low_cm1, high_cm1 : float
        Range needed with the reach of the line shape of the instrument, cm-1.
    what : str
        What needs it, such as ``"order 134 with 6 neighbours on either side"``.

    Raises
    ------
    TableError
        The table ends inside the range.

    Examples
    --------
    >>> check_covers(open_table("so_134_136"), 2880.0, 3210.0)
    """
    start = table["cell_start"].values
    covered = float(start[0]), float(start[-1]) + float(table.attrs["cell_width"])
    needed = low_cm1, high_cm1
    check_range(covered, needed, str(table.attrs.get("band", "")), what, needed)


def check_range(
    covered_cm1: tuple[float, float],
    needed_cm1: tuple[float, float],
    table: str,
    what: str,
    value: object,
) -> None:
    """Refuse a table, known by its name and range, that does not cover another range.

    Parameters
    ----------
    covered_cm1, needed_cm1 : tuple of float
        Lower and upper end, cm-1.
    table, what : str
        Name of the table, and what needs it.
    value : object
        What the error names as the offending value.

    Raises
    ------
    TableError
        The table ends inside the range.
    """
    low, high = covered_cm1
    if not (low - 1e-9 <= needed_cm1[0] <= needed_cm1[1] <= high + 1e-9):
        message = (
            f"{what} needs {needed_cm1[0]:.3f} to {needed_cm1[1]:.3f} cm-1, table "
            f"{table!r} covers {low:.3f} to {high:.3f} cm-1: use another table or "
            "build one"
        )
        raise TableError(message, value=value, rule="table.coverage")


def table_arrays(
    table: xr.Dataset,
    gases: Sequence[str] | None = None,
    *,
    window: tuple[float, float] | None = None,
) -> BandTable:
    """Return the arrays of a table for the forward model.

    Parameters
    ----------
    table : xarray.Dataset
        A table.
    gases : sequence of str, optional
        Gases wanted; default all.
    window : tuple of float, optional
        Range needed, cm-1: only the cells that meet it are returned.

    Returns
    -------
    BandTable
        C-contiguous arrays.

    Raises
    ------
    TableError
        A gas is not in the table, or the window is not covered.

    Examples
    --------
    >>> band = table_arrays(open_table("so_134_136"), ["ch4"])
    >>> band.vectors["ch4"].shape[1] == band.nodes_cm1.size
    True
    """
    present = table_gases(table)
    wanted = present if gases is None else tuple(gases)
    for gas in wanted:
        if gas not in present:
            message = f"{gas} is not in the table, which has {', '.join(present)}"
            raise TableError(message, field="gases", value=gas, rule="table.gas")
    start = table["cell_start"].values.astype(np.float64)
    width = float(table.attrs["cell_width"])
    cell = table["node_cell"].values
    cells, nodes = slice(0, start.size), slice(0, cell.size)
    if window is not None:
        check_covers(table, *window)
        first = max(int(np.searchsorted(start, window[0], "right")) - 1, 0)
        last = int(np.searchsorted(start, window[1], "left"))
        cells = slice(first, last)
        nodes = slice(*np.searchsorted(cell, [first, last]))
    return BandTable(
        nodes_cm1=_copy(table["node_wavenumber"].values[nodes], np.float64),
        node_cell=_copy(cell[nodes] - cells.start, np.int32),
        node_weight=_copy(table["node_weight"].values[nodes], np.float64),
        cell_start_cm1=_copy(start[cells], np.float64),
        cell_width_cm1=width,
        step_cm1=float(table.attrs["fine_step"]),
        vectors={
            g: _copy(table[f"{g}_vectors"].values[:, nodes], np.float32) for g in wanted
        },
        ln_pressure=np.log(table["pressure"].values.astype(np.float64)),
        temperature_k=_copy(table["temperature"].values, np.float64),
        coefficients={
            g: _copy(table[f"{g}_coefficients"].values, np.float64) for g in wanted
        },
    )


def _copy(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=kind)
