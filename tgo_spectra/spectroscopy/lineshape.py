r"""Voigt profiles of many lines on a wavenumber grid; arrays only.

The Voigt function is the real part of the Faddeeva function ``w(x + iy)``:

* ``|x| < 7``, ``y < 0.5``: ``exp(y^2 - x^2) cos(2xy) - 2/sqrt(pi) Im D(x + iy)``
  with Dawson's integral ``D`` expanded in powers of ``y``. Both parts keep their
  relative accuracy however small ``y`` is, which is the case on Mars;
* ``|x| < 7``, ``y >= 0.5``: the rational series of Weideman (1994, SIAM J. Numer.
  Anal. 31, 1497), 32 terms;
* elsewhere: the fifth convergent of the Laplace continued fraction.

On a uniform grid a wing ``A / (r^2 + B)`` is split into a ladder of parts, each
smooth on its own scale and sampled on its own grid, four times coarser than the
one before; six-point interpolation brings the sums back to the fine grid. Every
part ends smoothly, no line is cut anywhere inside the window.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.spectroscopy._ladder import _sum_uniform
from tgo_spectra.spectroscopy._voigt import (
    _ONE_OVER_SQRT_PI,
    _SQRT_LN2,
    _sum_points,
    _voigt_array,
)

__all__ = [
    "select_lines",
    "sum_lines",
    "sum_lines_at",
    "voigt_function",
]

Floats = NDArray[np.float64]

# Relative errors that `sum_lines` can keep to, and its default. The profile itself is
# good to 3e-6.
FINEST, ACCURACY, COARSEST = 1e-5, 5e-5, 1e-3
# At the default accuracy: steps of its grid over which a part of the ladder is smooth;
# units of x from where a wing is A / (r^2 + B) without and with two terms more; part of
# the squared reach by which the B of pooled lines may differ.
_STEPS, _X_WING, _X_SERIES, _SPREAD = 15, 21.0, 8.0, 2e-5
_X_SERIES_LEAST = 7.0
# Doppler half-widths: lines farther apart meet in their wings only
_NEAR = 25.0


def voigt_function(x: Floats, y: Floats | float) -> Floats:
    """Real part of the Faddeeva function ``w(x + iy)``.

    Parameters
    ----------
    x : ndarray
        Distance from the line centre, in units of the Doppler 1/e half-width.
    y : ndarray or float
        Lorentz half-width in the same unit, not negative; broadcast with `x`.

    Returns
    -------
    ndarray
        Of the broadcast shape, dimensionless; relative error below 1e-5, and
        mostly below 1e-8.

    Examples
    --------
    >>> voigt_function(np.array([0.0, 3.0]), 1e-9)
    array([1.00000e+00, 1.23410e-04])
    """
    wide, high = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    out = np.empty(wide.size)
    _voigt_array(
        np.ascontiguousarray(wide).ravel(), np.ascontiguousarray(high).ravel(), out
    )
    return out.reshape(wide.shape)


def _line_arrays(
    position: Floats, doppler: Floats, lorentz: Floats, intensity: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Contiguous arrays of one length; the compiled code trusts them."""
    arrays = [
        np.ascontiguousarray(array, dtype=np.float64)
        for array in (position, doppler, lorentz, intensity)
    ]
    if any(array.shape != (arrays[0].size,) for array in arrays):
        message = f"arrays of lines differ in shape: {[a.shape for a in arrays]}"
        raise ValueError(message)
    if not (np.all(np.isfinite(arrays)) and np.all(arrays[1] > 0.0)):
        message = "lines must be finite, with Doppler widths above zero"
        raise ValueError(message)
    if np.any(arrays[2] < 0.0):
        message = f"negative Lorentz width {arrays[2].min():g} cm-1"
        raise ValueError(message)
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _ladder_terms(accuracy: float) -> tuple[int, float, float, float]:
    """Numbers of `_sum_uniform` that keep the sum to an accuracy."""
    if not FINEST <= accuracy <= COARSEST:
        message = f"accuracy must be {FINEST:g} to {COARSEST:g}, not {accuracy:g}"
        raise ValueError(message)
    ratio = ACCURACY / accuracy
    # six-point interpolation; next terms of two asymptotic series in 1/x^2
    steps = math.ceil(_STEPS * ratio ** (1.0 / 6.0))
    series = max(_X_SERIES * ratio**0.125, _X_SERIES_LEAST)
    return steps, _X_WING * ratio**0.25, series, _SPREAD / ratio


def select_lines(
    position_cm1: Floats,
    doppler_hwhm_cm1: Floats,
    lorentz_hwhm_cm1: Floats,
    intensity: Floats,
    negligible: float,
    low_cm1: float,
    high_cm1: float,
) -> NDArray[np.bool_]:
    """Choose the lines that matter, so that the others add next to nothing anywhere.

    Parameters
    ----------
    position_cm1, doppler_hwhm_cm1, lorentz_hwhm_cm1, intensity : ndarray
        As in `sum_lines`.
    negligible : float
        All lines left out together add, at every wavenumber, at most this part of the
        height of the highest line whose centre is in the window.
    low_cm1, high_cm1 : float
        Window, cm-1.

    Returns
    -------
    ndarray of bool
        Per line, True to keep it.

    Notes
    -----
    The lowest lines go first. Their sum is bounded by the heights of those within the
    cell of 25 Doppler half-widths of the widest line and the two cells beside it, plus,
    for all of them, the profile at the width of a cell.

    Examples
    --------
    >>> one = np.ones(3)
    >>> at, strength = np.array([3000.0, 3001.0, 3002.0]), np.array([1.0, 1e-9, 1e-3])
    >>> select_lines(at, 4e-3 * one, 1e-5 * one, strength, 1e-8, 2999.0, 3003.0)
    array([ True, False,  True])
    """
    unit = _SQRT_LN2 / doppler_hwhm_cm1
    y = lorentz_hwhm_cm1 * unit
    scale = intensity * unit * _ONE_OVER_SQRT_PI
    height = scale * voigt_function(np.zeros(y.size), y)
    inside = (position_cm1 >= low_cm1) & (position_cm1 <= high_cm1)
    keep = np.ones(height.size, dtype=bool)
    if not (negligible > 0.0 and inside.any()):
        return keep
    allowed = negligible * float(height[inside].max())
    cell = _NEAR * float(doppler_hwhm_cm1.max())
    far = scale * voigt_function(cell * unit, y)
    place = ((position_cm1 - position_cm1.min()) / cell).astype(np.int64)
    order = np.argsort(height, kind="stable")
    few, many = 0, height.size
    while few < many:
        count = (few + many + 1) // 2
        out = order[:count]
        near = np.bincount(place[out], height[out], int(place.max()) + 3)
        near[1:-1] += near[:-2] + near[2:]
        if near.max() + far[out].sum() <= allowed:
            few = count
        else:
            many = count - 1
    keep[order[:few]] = False
    return keep


def sum_lines(
    start_cm1: float,
    step_cm1: float,
    size: int,
    position_cm1: Floats,
    doppler_hwhm_cm1: Floats,
    lorentz_hwhm_cm1: Floats,
    intensity: Floats,
    accuracy: float = ACCURACY,
) -> Floats:
    """Sum Voigt profiles on a uniform grid.

    Parameters
    ----------
    start_cm1, step_cm1 : float
        First point and step of the grid, cm-1.
    size : int
        Number of points.
    position_cm1, doppler_hwhm_cm1, lorentz_hwhm_cm1 : ndarray
        Per line, cm-1. Lines may lie outside the grid.
    intensity : ndarray
        Per line, cm-1 / (molecule cm-2).
    accuracy : float, optional
        Largest relative error of the sum, 1e-5 to 1e-3; 5e-5 by default. Coarser is
        faster.

    Returns
    -------
    ndarray
        Shape (size,), cm2 per molecule. The sum runs in the order of the lines on
        one thread, so it is the same every time; the GIL is released.

    Raises
    ------
    ValueError
        If the arrays differ in shape or hold widths that are no widths, or the accuracy
        is out of its range.

    Examples
    --------
    >>> one = np.ones(1)
    >>> s = sum_lines(2999.0, 0.001, 2001, 3000.0 * one, 0.004 * one, 1e-4 * one, one)
    >>> float(s.sum() * 0.001)
    0.99994
    """
    if size < 1 or not step_cm1 > 0.0:
        message = f"a grid needs points and a step, not {size} at {step_cm1} cm-1"
        raise ValueError(message)
    out = np.empty(size)
    lines = _line_arrays(position_cm1, doppler_hwhm_cm1, lorentz_hwhm_cm1, intensity)
    terms = _ladder_terms(accuracy)
    _sum_uniform(float(start_cm1), float(step_cm1), *lines, *terms, out)
    return out


def sum_lines_at(
    wavenumber_cm1: Floats,
    position_cm1: Floats,
    doppler_hwhm_cm1: Floats,
    lorentz_hwhm_cm1: Floats,
    intensity: Floats,
) -> Floats:
    """Sum Voigt profiles at any points, every line at every point (slow).

    Parameters
    ----------
    wavenumber_cm1 : ndarray
        The points, cm-1, in any order.
    position_cm1, doppler_hwhm_cm1, lorentz_hwhm_cm1, intensity : ndarray
        As in `sum_lines`.

    Returns
    -------
    ndarray
        Shape of `wavenumber_cm1`, cm2 per molecule.

    Raises
    ------
    ValueError
        If the arrays differ in shape or hold widths that are no widths.

    Examples
    --------
    >>> one = np.ones(1)
    >>> float(sum_lines_at(one, one, 0.004 * one, 0.0 * one, one)[0])
    117.4297
    """
    points = np.ascontiguousarray(wavenumber_cm1, dtype=np.float64)
    out = np.empty(points.size)
    lines = _line_arrays(position_cm1, doppler_hwhm_cm1, lorentz_hwhm_cm1, intensity)
    _sum_points(points.ravel(), *lines, out)
    return out.reshape(points.shape)
