"""Absorption tables: what lies in them, and their arrays in memory.

A table covers one spectral band with several gases on common irregular nodes:

* ``node_wavenumber``, ``node_cell``, ``node_weight``: in every cell of 50 fine points
  the sum over its nodes of ``node_weight[:, j] * T`` is that over its fine points of
  ``P_j(u) T`` (Legendre polynomial, u from -1 to 1 over the cell);
* ``<gas>_vectors``, ``<gas>_coefficients``: the cross section of a node at a state is
  ``sum_r vectors[r, node] * coefficients[r, p, T]``, so that the optical depth of any
  path is one product of two small matrices, linear in the amounts.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TableError
from tgo_spectra.numerics.matrices import steady_product
from tgo_spectra.spectroscopy.tables.files import open_table, table_gases

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import ArrayLike, NDArray
    from scipy.interpolate import CubicSpline


__all__ = [
    "BandTable",
    "band_of",
    "check_covers",
    "check_range",
    "interpolate_coefficients",
    "spline_matrices",
    "table_arrays",
]


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


@functools.lru_cache(maxsize=4)
def band_of(
    table: str, gases: tuple[str, ...] | None = None
) -> tuple[BandTable, dict[str, object]]:
    """Open a table once per process: arrays of some or all gases, and attributes."""
    dataset = open_table(table)
    return table_arrays(dataset, gases), dict(dataset.attrs)


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
    >>> from tgo_spectra.spectroscopy.tables import open_table
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
    """Refuse a table, known by its name and range (cm-1), that does not cover another.

    Raises
    ------
    TableError
        The table ends inside the range; its value is the given one.
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
    >>> from tgo_spectra.spectroscopy.tables import open_table
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


@lru_cache(maxsize=8)
def _cardinal(grid: bytes) -> CubicSpline:
    """Return the splines that are one at one grid point and zero at the others."""
    # scipy.interpolate costs 0.1 s of import that light uses should not pay
    from scipy.interpolate import CubicSpline

    points = np.frombuffer(grid, np.float64)
    return CubicSpline(points, np.eye(points.size))


def _checked(
    values: NDArray[np.float64], grid: NDArray[np.float64], name: str, unit: str
) -> NDArray[np.float64]:
    low, high = grid[0], grid[-1]
    slack = 1e-9 * (high - low)  # rounding of exp and log at the edges
    bad = ~((values >= low - slack) & (values <= high + slack))
    if bad.any():
        first = float(values[bad][0])
        shown, least, most = (
            (np.exp(first), np.exp(low), np.exp(high))
            if name == "pressure"
            else (first, low, high)
        )
        message = (
            f"{name} {shown:.6g} {unit} is outside the table's {least:.6g} to "
            f"{most:.6g} {unit}: tables are not extrapolated"
        )
        raise TableError(
            message, field=name, value=float(shown), rule="table.state_outside"
        )
    return np.clip(values, low, high)


def spline_matrices(
    ln_pressure_grid: ArrayLike,
    temperature_grid: ArrayLike,
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    doppler_limit: bool = False,
    derivative: tuple[int, int] = (0, 0),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interpolation matrices of both axes.

    Parameters
    ----------
    ln_pressure_grid : array_like, (pressure,)
        Logarithms of the grid's pressures in Pa, ascending.
    temperature_grid : array_like, (temperature,)
        Temperatures of the grid in K, ascending.
    pressure_pa, temperature_k : array_like, (level,)
        States wanted, Pa and K.
    doppler_limit : bool
        Take pressures below the grid as its lowest one. At 1e-3 Pa a line is purely
        Doppler (Lorentz over Doppler width below 1e-6), so that this is exact.
    derivative : tuple of int
        Order of the derivative by ln p and by T.

    Returns
    -------
    by_pressure : ndarray of float64, (level, pressure)
        Weights of the grid's pressures.
    by_temperature : ndarray of float64, (level, temperature)
        Weights of the grid's temperatures.

    Raises
    ------
    TableError
        A state is outside the grid or not a number.

    Examples
    --------
    >>> a, b = spline_matrices(np.arange(5.0), np.arange(100.0, 151.0, 10.0),
    ...                        [np.exp(2.0)], [120.0])
    >>> a.round(6)
    array([[0., 0., 1., 0., 0.]])
    """
    ln_grid = np.ascontiguousarray(ln_pressure_grid, np.float64)
    t_grid = np.ascontiguousarray(temperature_grid, np.float64)
    pressure = np.atleast_1d(np.asarray(pressure_pa, np.float64))
    temperature = np.atleast_1d(np.asarray(temperature_k, np.float64))
    if not (pressure > 0).all():
        bad = float(pressure[~(pressure > 0)][0])
        message = f"pressure {bad:g} Pa is not positive"
        raise TableError(
            message, field="pressure", value=bad, rule="table.state_outside"
        )
    ln_pressure = np.log(pressure)
    if doppler_limit:
        ln_pressure = np.maximum(ln_pressure, ln_grid[0])
    ln_pressure = _checked(ln_pressure, ln_grid, "pressure", "Pa")
    temperature = _checked(temperature, t_grid, "temperature", "K")
    return (
        np.asarray(_cardinal(ln_grid.tobytes())(ln_pressure, derivative[0])),
        np.asarray(_cardinal(t_grid.tobytes())(temperature, derivative[1])),
    )


def interpolate_coefficients(
    coefficients: NDArray[np.float64],
    ln_pressure_grid: ArrayLike,
    temperature_grid: ArrayLike,
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    doppler_limit: bool = False,
    derivative: tuple[int, int] = (0, 0),
) -> NDArray[np.float64]:
    """Interpolate the coefficients of a table to the levels of an atmosphere.

    Parameters
    ----------
    coefficients : ndarray of float64, (vector, pressure, temperature)
        Values on the grid, cm2 (or any other unit, which the result has).
    ln_pressure_grid, temperature_grid : array_like
        The grid, ln Pa and K.
    pressure_pa, temperature_k : array_like, (level,)
        States wanted, Pa and K.
    doppler_limit : bool
        Take pressures below the grid as its lowest one, see `spline_matrices`.
    derivative : tuple of int
        Order of the derivative by ln p and by T.

    Returns
    -------
    ndarray of float64, (vector, level)
        Tensor product of not-a-knot cubic splines.

    Raises
    ------
    TableError
        A state is outside the grid.

    Examples
    --------
    >>> ln_p, t = np.arange(5.0), np.arange(100.0, 151.0, 10.0)
    >>> plane = (ln_p[:, None] + t[None, :])[None]
    >>> interpolate_coefficients(plane, ln_p, t, [np.e], [123.0])
    array([[124.]])
    """
    by_p, by_t = spline_matrices(
        ln_pressure_grid,
        temperature_grid,
        pressure_pa,
        temperature_k,
        doppler_limit=doppler_limit,
        derivative=derivative,
    )
    values = np.asarray(coefficients, np.float64)
    # one product of matrices is faster than two steps with a sum over levels
    both = (by_p.T[:, None, :] * by_t.T[None, :, :]).reshape(-1, by_p.shape[0])
    return np.asarray(
        steady_product(values.reshape(values.shape[0], -1), both), np.float64
    )
