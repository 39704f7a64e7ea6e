"""Cubic splines in (ln p, T), the product of two small matrices.

A spline through given values is linear in the values, so that one matrix per axis,
made once per set of points, serves any number of quantities.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import TableError
from tgo_spectra.numerics.matrices import steady_product

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.interpolate import CubicSpline

__all__ = ["interpolate_coefficients", "spline_matrices"]


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
