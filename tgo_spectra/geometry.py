"""Limb geometry on plain arrays: path weights, field of view, planet radius.

Straight rays through spherical shells. Radii and heights in km, path weights in
cm, so that a weight times a number density in cm-3 is a column in cm-2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.errors import AtmosphereError, InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FieldOfView",
    "field_of_view_from_corners",
    "fov_operator",
    "path_weights",
    "planet_radius_from_table",
]

CM_PER_KM = 1e5

#: Gauss-Legendre points for the widest boxcar and for each narrower one. A cubic
#: between two knots is exact with 2; more points keep the kinks of the third
#: derivative at knots inside a boxcar below 1e-5 of the field's variation.
WIDE_POINTS = 8
NARROW_POINTS = 3


def path_weights(
    tangent_radius_km: ArrayLike, grid_radius_km: ArrayLike
) -> NDArray[np.float64]:
    r"""Integrate the hat functions of a radius grid along limb chords.

    A quantity given on ``grid_radius_km`` and linear in radius in between has the
    two-sided integral ``weights @ quantity`` along the straight chord that touches
    the tangent radius ``a``. Closed form, with :math:`s = \sqrt{r^2 - a^2}`:
    :math:`\int r\,ds = (r s + a^2 \ln(r + s)) / 2`, evaluated by differences. A
    tangent point inside a grid interval is handled exactly.

    Parameters
    ----------
    tangent_radius_km : array_like, shape (tangent,)
        Distance of the tangent point from the planet's centre, km.
    grid_radius_km : array_like, shape (grid,)
        Radii of the grid levels, km, strictly ascending.

    Returns
    -------
    ndarray, shape (tangent, grid)
        Weights in cm; zero for a tangent radius at or above the grid's top.

    Raises
    ------
    AtmosphereError
        If the grid does not ascend, or a tangent radius is not finite or lies below
        the lowest level, where nothing is known of the atmosphere.

    Examples
    --------
    >>> weights = path_weights([3400.0], [3390.0, 3400.0, 3410.0])
    >>> float(weights.sum() / 1e5)  # 2 sqrt(3410^2 - 3400^2)
    521.920...
    """
    a = np.atleast_1d(np.asarray(tangent_radius_km, dtype=np.float64))
    r = np.asarray(grid_radius_km, dtype=np.float64)
    if r.ndim != 1 or r.size < 2 or not np.all(np.diff(r) > 0):
        msg = "radius grid needs two or more strictly ascending levels"
        raise AtmosphereError(
            msg,
            field="grid_radius_km",
            rule="geometry.grid_ascending",
        )
    bad = ~(a >= r[0])
    if bad.any():
        msg = f"tangent radius must be finite and not below the lowest level {r[0]} km"
        raise AtmosphereError(
            msg,
            field="tangent_radius_km",
            record=int(np.argmax(bad)),
            value=float(a[bad][0]),
            rule="geometry.tangent_below_grid",
        )
    a = a[:, None]
    upper = r[None, 1:]
    # Intervals wholly below the tangent point collapse to zero length here.
    high = np.maximum(upper, a)
    low = np.maximum(r[None, :-1], a)
    s_high = np.sqrt((high - a) * (high + a))
    s_low = np.sqrt((low - a) * (low + a))
    span = high - low
    total = s_high + s_low
    length = np.divide(
        span * (high + low), total, out=np.zeros_like(total), where=total > 0
    )
    # first = integral of (r - low) ds
    log_ratio = np.log1p((span + length) / (low + s_low))
    first = 0.5 * (s_high * span - low * length + a**2 * log_ratio)
    thickness = np.diff(r)[None, :]
    rising = (first + (low - r[None, :-1]) * length) / thickness
    rising = np.where(length > 0, rising, 0.0)
    weights = np.zeros((a.shape[0], r.size))
    weights[:, 1:] += rising
    weights[:, :-1] += length - rising
    return np.asarray(2.0 * CM_PER_KM * weights)


def planet_radius_from_table(
    observer_distance_km: ArrayLike,
    slant_path_km: ArrayLike,
    tangent_altitude_km: ArrayLike,
) -> float:
    """Radius of the reference surface below the tangent points, from table columns.

    ``R = sqrt(d^2 - l^2) - z`` with the observer's distance from the planet's centre
    d, the slant path to the tangent point l and the tangent altitude z; the median
    over all entries where the three are valid.

    Parameters
    ----------
    observer_distance_km, slant_path_km, tangent_altitude_km : array_like
        Columns of one shape, km; not-a-number or -999 marks a missing value.

    Returns
    -------
    float
        Radius in km.

    Raises
    ------
    InstrumentError
        If no entry is usable.

    Examples
    --------
    >>> planet_radius_from_table([3800.0], [1650.0], [30.0])
    3393.0...
    """
    d, path, z = (
        np.asarray(x, dtype=np.float64).ravel()
        for x in (observer_distance_km, slant_path_km, tangent_altitude_km)
    )
    good = np.isfinite(d) & np.isfinite(path) & np.isfinite(z)
    good &= (z > -900.0) & (path > 0.0) & (d > path)
    if not good.any():
        msg = "no row has observer distance, slant path and tangent altitude"
        raise InstrumentError(
            msg,
            field="slant_path_distance",
            rule="geometry.no_radius",
        )
    d, path, z = d[good], path[good], z[good]
    return float(np.median(np.sqrt((d - path) * (d + path)) - z))


class FieldOfView(NamedTuple):
    """Centre of each row and widths of the boxcars that its field of view is made of.

    Attributes
    ----------
    centre_km : ndarray, shape (row,)
        Tangent altitude at the middle of the exposure, km.
    boxcars_km : ndarray, shape (row, 3)
        Full widths in km: the two sides of the slit's image and the motion during
        the exposure.
    """

    centre_km: NDArray[np.float64]
    boxcars_km: NDArray[np.float64]


def field_of_view_from_corners(tangent_altitude_km: ArrayLike) -> FieldOfView:
    """Field of view of each row from the corner points of the table.

    Points 1 to 4 are the corners (1, 1), (-1, 1), (-1, -1), (1, -1) of the bin's
    rectangle on the sky: the mean differences of opposite sides are the widths of
    two boxcars, their convolution being the altitude distribution of a rectangle
    in any attitude. The centre's motion from start to end is the third.

    Parameters
    ----------
    tangent_altitude_km : array_like, shape (row, 5, 2)
        Tangent altitudes over point and edge (start, end); corners hidden by the
        surface are not-a-number or -999. Rows without a complete side take the
        median width of the others.

    Returns
    -------
    FieldOfView
        Centres (not-a-number where point 0 is missing) and boxcar widths.

    Raises
    ------
    InstrumentError
        If the shape is wrong or no row has a complete side.

    Examples
    --------
    >>> row = [[10.0, 9.8], [9.7, 9.5], [10.7, 10.5], [10.3, 10.1], [9.3, 9.1]]
    >>> field_of_view_from_corners([row]).boxcars_km.round(3).tolist()
    [[1.0, 0.4, 0.2]]
    """
    z = np.array(tangent_altitude_km, dtype=np.float64)
    if z.ndim != 3 or z.shape[1:] != (5, 2):
        msg = "corner altitudes need the shape (row, 5, 2)"
        raise InstrumentError(
            msg,
            field="tangent_altitude_km",
            value=z.shape,
            rule="geometry.corners_shape",
        )
    z[z < -900.0] = np.nan
    sides = (
        np.stack([z[:, 1] - z[:, 2], z[:, 4] - z[:, 3]], axis=1).reshape(len(z), -1),
        np.stack([z[:, 2] - z[:, 3], z[:, 1] - z[:, 4]], axis=1).reshape(len(z), -1),
        z[:, 0, 1:] - z[:, 0, :1],
    )
    boxes = np.empty((len(z), 3))
    for column, side in enumerate(sides):
        count = np.isfinite(side).sum(axis=1)
        if not count.any():
            msg = "no row has the points that give the field of view"
            raise InstrumentError(
                msg,
                field="tangent_altitude_km",
                rule="geometry.no_corners",
            )
        width = np.abs(np.nansum(side, axis=1)) / np.maximum(count, 1)
        boxes[:, column] = np.where(count > 0, width, np.median(width[count > 0]))
    return FieldOfView(z[:, 0].mean(axis=1), boxes)


def fov_operator(
    heights_km: ArrayLike, centre_km: ArrayLike, boxcars_km: ArrayLike
) -> NDArray[np.float64]:
    """Interpolate and average a field given on heights to the rows' fields of view.

    The field is continued between ``heights_km`` by the not-a-knot cubic spline; a
    row of the operator averages this spline over the convolution of the row's
    boxcars centred at ``centre_km``, by Gauss-Legendre quadrature in every boxcar.
    Parts of a field of view beyond the first or last height see the value there.

    Parameters
    ----------
    heights_km : array_like, shape (height,)
        Strictly ascending, four or more, km.
    centre_km : array_like, shape (row,)
        Centre of each row, within the heights, km.
    boxcars_km : array_like, shape (row, box) or (box,)
        Full widths in km, zero or more boxcars; a width of zero is no averaging.

    Returns
    -------
    ndarray, shape (row, height)
        Rows sum to one.

    Raises
    ------
    InstrumentError
        If the heights do not ascend, or a centre is not finite or outside them.

    Examples
    --------
    >>> import numpy as np
    >>> heights = np.arange(0.0, 11.0)
    >>> operator = fov_operator(heights, [5.0], [[1.0, 0.5]])
    >>> float((operator @ heights**2)[0])  # 25 + 1 / 12 + 0.25 / 12
    25.104...
    """
    from scipy.interpolate import make_interp_spline

    from tgo_spectra.numerics.kernels import sum_splines

    z = np.asarray(heights_km, dtype=np.float64)
    centre = np.atleast_1d(np.asarray(centre_km, dtype=np.float64))
    if z.ndim != 1 or z.size < 4 or not np.all(np.diff(z) > 0):
        msg = "field of view needs four or more strictly ascending heights"
        raise InstrumentError(
            msg,
            field="heights_km",
            rule="geometry.heights_ascending",
        )
    bad = ~((centre >= z[0]) & (centre <= z[-1]))
    if bad.any():
        msg = f"row centre must lie within the heights {z[0]}..{z[-1]} km"
        raise InstrumentError(
            msg,
            field="centre_km",
            record=int(np.argmax(bad)),
            value=float(centre[bad][0]),
            rule="geometry.centre_outside",
        )
    boxes = np.asarray(boxcars_km, dtype=np.float64)
    boxes = np.broadcast_to(boxes, (centre.size, boxes.shape[-1]))
    points, weights = _quadrature(centre, np.sort(boxes, axis=1)[:, ::-1])
    # Cardinal splines: B-spline values at the points times the inverse collocation.
    cardinal = make_interp_spline(z, np.eye(z.size), k=3)
    summed = np.zeros((centre.size, z.size))
    sum_splines(np.asarray(cardinal.t), np.clip(points, z[0], z[-1]), weights, summed)
    return np.asarray(summed @ cardinal.c)


def _quadrature(
    centre: NDArray[np.float64], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (row, point) and common weights (point,) of the convolved boxcars."""
    points = centre[:, None]
    weights = np.ones(1)
    for column in range(boxes.shape[1]):
        if not boxes[:, column].any():
            continue
        number = WIDE_POINTS if column == 0 else NARROW_POINTS
        x, w = np.polynomial.legendre.leggauss(number)
        offset = 0.5 * boxes[:, column, None] * x
        points = (points[:, :, None] + offset[:, None, :]).reshape(centre.size, -1)
        weights = (weights[:, None] * (0.5 * w)).ravel()
    return points, weights
