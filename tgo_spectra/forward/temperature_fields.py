r"""Limb transmittance and its derivative by temperature and pressure, as pixels see it.

The optical depth is :math:`\tau = U\,W(T, p)`: temperature and pressure act on the
small matrices W alone (`tgo_spectra.forward.sight`), so that

.. math:: \frac{\partial (R\,e^{-\tau})}{\partial T_l} =
          -\sum_k R(e^{-\tau} \circ U_k)\, \frac{\partial W_k}{\partial T_l}

needs as many convolved fields as there are vectors U, whatever the number of levels.
Before that the vectors are turned to the few directions along which the coefficients
of the layers and their derivatives lie. In double precision this is the derivative of
the tests' exact Jacobian; in single precision it is what a fit needs: neighbouring
heights see much the same layers, so that each group of them has few directions of its
own, and between some of its heights the convolved fields are interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward.ray import ColumnMoments
from tgo_spectra.forward.sight import (
    air_on_points,
    by_log_density,
    coefficients_on_points,
    log_pressure_adjoint,
)
from tgo_spectra.forward.transmittance import spread_from
from tgo_spectra.instruments.response.fields import apply_parted, part, whole
from tgo_spectra.instruments.response.tabulated import apply_factors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.forward.sight import AirState, Sight
    from tgo_spectra.instruments.response.tabulated import Operator

    Array = npt.NDArray[np.floating]

__all__ = [
    "TemperatureFields",
    "TemperatureWeights",
    "stacked_vectors",
    "temperature_fields",
    "temperature_weights",
]

DIRECTION_TOLERANCE = 1e-11
"""Directions whose singular value is smaller, relative to the largest, are left out in
double precision: all but a few, since faint lines hang on small singular values."""

SINGLE_TOLERANCE = 1e-7
"""The same in single precision: 15 of 30 vectors stay near 3720 cm-1. Derivatives are
good to about 1e-5 of the largest, with more directions too."""

GROUP_HEIGHTS = 60
"""Neighbouring heights that share directions in single precision."""

GROUP_TOLERANCE = 1e-6
"""As `DIRECTION_TOLERANCE`, of the derivatives at the heights of a group."""


LOG_DARKEST = -60.0
"""Logarithm of a transmittance that is none: numbers too small to be normal take ten
times as long, and saturated lines have many."""


@dataclass(frozen=True)
class TemperatureFields:
    """Convolved fields on (pixel, height).

    Attributes
    ----------
    value, shift, curvature, slope : ndarray, shape (pixel, height)
        As in `tgo_spectra.forward.transmittance.PixelFields`; the curvature at the
        chosen heights only.
    elements : ndarray, shape (height, element, pixel)
        Derivatives by what `kinds` names; no elements without Jacobian.
    kinds : dict of slice
        Elements of ``temperature`` (K-1, of each level), of the fitted gases (mole
        fraction, of each level) and of ``log_pressure`` (of the pressure scale).
    """

    value: Array
    shift: Array
    curvature: Array
    slope: Array
    elements: Array
    kinds: Mapping[str, slice]

    def by(self, kind: str) -> Array:
        """Return the derivative by one kind, shape (pixel, level, height)."""
        return self.elements[:, self.kinds[kind]].transpose(2, 1, 0)

    @property
    def temperature(self) -> Array:
        """Derivative by the temperature of each level, (pixel, level, height)."""
        return self.by("temperature")

    @property
    def log_pressure(self) -> Array:
        """Derivative by the logarithm of the pressure scale, (pixel, height)."""
        return self.by("log_pressure")[:, 0]


@dataclass(frozen=True)
class Group:
    """Derivative of W at neighbouring heights.

    Attributes
    ----------
    heights : slice
        Which.
    turn : ndarray, shape (direction, k)
        Orthonormal, in the directions of all heights.
    paths : ndarray, shape (k, height, element)
        The derivative of W is directions @ turn @ paths.
    """

    heights: slice
    turn: Array
    paths: Array


@dataclass(frozen=True)
class TemperatureWeights:
    """W of all gases and its derivatives.

    Attributes
    ----------
    value : ndarray, shape (vector, height)
        W: the optical depth is vectors @ value.
    directions : ndarray, shape (vector, direction)
        Orthonormal; none without Jacobian.
    groups : tuple of Group
        One after another all heights; none without Jacobian.
    kinds : dict of slice
        Elements, as in `TemperatureFields`.
    """

    value: Array
    directions: Array
    groups: tuple[Group, ...]
    kinds: Mapping[str, slice]


def stacked_vectors(
    sight: Sight, gases: tuple[str, ...], dtype: type[np.floating] = np.float32
) -> Array:
    """Return the vectors of some gases as columns, shape (node, vector).

    Parameters
    ----------
    sight : Sight
        Whose table has them.
    gases : tuple of str
        In the order in which the state names them.
    dtype : type
        Of the result.

    Returns
    -------
    ndarray
    """
    parts = [sight.band.vectors[gas] for gas in gases]
    return np.ascontiguousarray(np.concatenate(parts).T, dtype)


def temperature_fields(
    sight: Sight,
    air: AirState,
    seen_by: Operator,
    vectors: Array,
    *,
    jacobian: bool = True,
    fitted: Sequence[str] = (),
    chosen: npt.NDArray[np.intp] | None = None,
) -> TemperatureFields:
    """Transmittance as pixels see it, and its derivatives.

    Parameters
    ----------
    sight : Sight
        Line of sight.
    air : AirState
        Gases, temperature offset and pressure scale.
    seen_by : Operator
        From `tgo_spectra.instruments.response.tabulated.build_operator`.
    vectors : ndarray, shape (node, vector)
        From `stacked_vectors`, for the gases of the state; its type is that of the
        spectral arrays.
    jacobian : bool
        False: the transmittance alone.
    fitted : sequence of str
        Gases by whose mole fractions to differentiate too.
    chosen : ndarray of int, shape (few,), optional
        Heights at which curvature, orders with little light and the fields that the
        derivatives are made of are; default all.

    Returns
    -------
    TemperatureFields

    Raises
    ------
    TableError
        A pressure or temperature is outside the table.
    RetrievalError
        The transmittance is not finite.
    """
    single = vectors.dtype == np.float32
    tolerance = SINGLE_TOLERANCE if single else DIRECTION_TOLERANCE
    count = sight.height_km.size
    chosen = np.arange(count) if chosen is None else chosen
    number = 1 if chosen.size == count else -(-count // GROUP_HEIGHTS)
    weights = temperature_weights(
        sight, air, jacobian=jacobian, fitted=fitted, tolerance=tolerance, groups=number
    )
    turned, amounts = vectors, weights.value
    if jacobian:
        turned = vectors @ weights.directions.astype(vectors.dtype)
        if single:  # the directions hold the values too
            vectors, amounts = turned, weights.directions.T @ amounts
    minus = -amounts.astype(vectors.dtype)

    def values(nodes: slice, heights: slice | npt.NDArray[np.intp]) -> Array:
        return _transmittance(vectors[nodes], minus[:, heights])

    if chosen.size == count:
        field = whole(seen_by, values(slice(None), slice(None)), chosen)
    else:
        spread = spread_from(sight.height_km[chosen], sight.height_km)
        field = part(seen_by, values, chosen, spread)
    if not (np.isfinite(field.values).all() and np.isfinite(field.sparse).all()):
        message = "the transmittance is not finite: the state has run away"
        raise RetrievalError(message, value=air.pressure_scale, rule="fit.diverged")
    (value, shift, slope), few = apply_parted(seen_by, field)
    size = max(kind.stop for kind in weights.kinds.values())
    elements = np.empty((count, size, len(value)), dtype=vectors.dtype)
    for group in weights.groups:
        some, spread = _around(group.heights, chosen, sight.height_km)
        factors = turned @ group.turn.astype(turned.dtype)
        seen = apply_factors(seen_by, factors, field.sparse[:, some])
        seen = seen.transpose(1, 0, 2) @ -spread.T.astype(seen.dtype)
        paths = np.ascontiguousarray(group.paths.transpose(1, 2, 0), seen.dtype)
        # (height, element, k) times (height, k, pixel)
        np.matmul(paths, seen.transpose(2, 0, 1), out=elements[group.heights])
    return TemperatureFields(value, shift, few[0], slope, elements, weights.kinds)


def _transmittance(vectors: Array, minus: Array) -> Array:
    """Exponential of ``vectors @ minus``, (node, height)."""
    t = vectors @ minus
    np.maximum(t, LOG_DARKEST, out=t)
    return np.exp(t, out=t)


def _around(
    heights: slice, chosen: npt.NDArray[np.intp], height_km: Array
) -> tuple[slice, Array]:
    """Return which of the chosen heights a group needs, and the spline from them.

    One more beyond each end, where there is; (height, few).
    """
    if chosen.size == height_km.size:
        return heights, np.eye(heights.stop - heights.start)
    low = max(int(np.searchsorted(chosen, heights.start, "right")) - 2, 0)
    some = slice(low, int(np.searchsorted(chosen, heights.stop - 1)) + 2)
    return some, spread_from(height_km[chosen[some]], height_km[heights])


def temperature_weights(
    sight: Sight,
    air: AirState,
    *,
    jacobian: bool = True,
    fitted: Sequence[str] = (),
    tolerance: float = DIRECTION_TOLERANCE,
    groups: int = 1,
) -> TemperatureWeights:
    """W of all gases and its derivatives along the directions that they have.

    The derivatives of `tgo_spectra.forward.sight.absorption_weights`, without its
    arrays of all vectors and levels.

    Parameters
    ----------
    sight : Sight
        Line of sight.
    air : AirState
        Gases, temperature offset and pressure scale.
    jacobian : bool
        False: the value alone.
    fitted : sequence of str
        Gases by whose mole fractions to differentiate too.
    tolerance : float
        Directions of smaller relative singular value are left out.
    groups : int
        Of neighbouring heights; one has all directions, of several each has few of its
        own, to `GROUP_TOLERANCE`.

    Returns
    -------
    TemperatureWeights

    Raises
    ------
    TableError
        A pressure or temperature is outside the table.
    """
    from scipy.linalg import block_diag  # slow to import, needed here only

    p, t, n = air_on_points(sight, air)
    found = {gas: coefficients_on_points(sight, gas, p, t, jacobian) for gas in air.vmr}
    column = sight.air(n)
    x = {gas: sight.hats @ vmr for gas, vmr in air.vmr.items()}
    value = np.concatenate([found[gas][0] * x[gas] for gas in x]) @ column.T
    names = ("temperature", *fitted) if jacobian else ()
    limits = sight.altitude_km.size * np.arange(len(names) + 1)
    kinds = dict(zip(names, map(slice, limits[:-1], limits[1:]), strict=True))
    if not jacobian:
        kinds = dict.fromkeys(("temperature", *fitted, "log_pressure"), slice(0, 0))
        return TemperatureWeights(value, np.empty((len(value), 0)), (), kinds)
    kinds["log_pressure"] = slice(limits[-1], limits[-1] + 1)
    each = [
        _directions(np.stack([c, by_pressure, by_temperature * t]), tolerance)
        for c, by_pressure, by_temperature in found.values()
    ]
    # coefficients of all gases and their derivatives by ln p and T; of one gas alone
    curves = [_stacked(each, found, x, kind) for kind in range(3)]
    alone = [_stacked(each, found, {g: float(g == one) for g in x}) for one in fitted]
    moments, made = sight.moments(n), []
    ends = np.linspace(0, sight.height_km.size, groups + 1).astype(int).tolist()
    for some in map(slice, ends[:-1], ends[1:]):
        turn: Array = np.eye(len(curves[0]))
        if groups > 1:
            seen = [(curves[0], [*curves[:2], curves[2] * t])]
            seen += [(own, [own]) for own in alone]
            turn = _spanned(column[some], seen)
        c, by_pressure, by_temperature = (turn.T @ curve for curve in curves)
        here = ColumnMoments(*(part[some] for part in moments))
        by_density = by_log_density(c, here, sight.points_km)
        by_state = column[some] * by_pressure[:, None, :] + by_density
        at = column[some] * by_temperature[:, None, :] - by_density / t
        if sight.balance == "hydrostatic":
            at += log_pressure_adjoint(sight, t, by_state)
        profiles = [at, *(column[some] * (turn.T @ own)[:, None, :] for own in alone)]
        blocks = [profile @ sight.hats for profile in profiles]
        paths = np.concatenate([*blocks, by_state.sum(axis=2)[:, :, None]], axis=2)
        if groups > 1:
            fewer = _turn(paths, kinds)
            turn, flat = turn @ fewer, paths.reshape(len(paths), -1)
            paths = (fewer.T @ flat).reshape(-1, *paths.shape[1:])
        made.append(Group(some, turn, paths))
    return TemperatureWeights(value, block_diag(*each), tuple(made), kinds)


def _stacked(
    each: Sequence[Array],
    found: Mapping[str, Sequence[Array]],
    x: Mapping[str, Array | float],
    kind: int = 0,
) -> Array:
    """Coefficients or their derivatives times amounts, (direction, point)."""
    parts = zip(each, found.values(), x.values(), strict=True)
    return np.concatenate([q.T @ kinds[kind] * amount for q, kinds, amount in parts])


def _spanned(column: Array, seen: Sequence[tuple[Array, Sequence[Array]]]) -> Array:
    """Orthonormal directions of what some heights see, shape (direction, few).

    Slant columns (height, point), and curves (direction, point) of which the first of
    each set says what counts. Each height counts alike.
    """
    gram = np.zeros((len(seen[0][0]),) * 2)
    for what, curves in seen:
        size = np.sqrt((what**2).sum(axis=0))
        share = column * size
        share /= np.sqrt((share**2).sum(axis=1, keepdims=True))
        weight = share.max(axis=0) / np.where(size > 0.0, size, 1.0)
        flat = np.concatenate([curve * weight for curve in curves], axis=1)
        gram += flat @ flat.T
    values, left = np.linalg.eigh(gram)
    return np.asarray(left[:, values > (0.1 * GROUP_TOLERANCE) ** 2 * values[-1]])


def _turn(paths: Array, kinds: Mapping[str, slice]) -> Array:
    """Orthonormal directions that hold the derivatives of a group, shape (k, few).

    Each height and each kind of element counts alike.
    """
    gram = np.zeros((len(paths),) * 2)
    for kind in kinds.values():
        part = paths[:, :, kind]
        size = np.sqrt((part**2).sum(axis=(0, 2)))
        flat = (part / np.where(size > 0.0, size, 1.0)[:, None]).reshape(len(paths), -1)
        gram += flat @ flat.T
    values, left = np.linalg.eigh(gram)
    return np.asarray(left[:, values > GROUP_TOLERANCE**2 * values[-1]])


def _directions(curves: Array, tolerance: float) -> Array:
    """Orthonormal directions that hold the curves, shape (vector, k).

    `curves` (kind, vector, point): coefficients of the layers, and their derivatives.
    Each point counts alike, so that a faint layer is not lost beside the dense ones.
    """
    size = np.sqrt((curves[0] ** 2).sum(axis=0))
    flat = np.concatenate(list(curves / size), axis=1)
    left, values, _ = np.linalg.svd(flat, full_matrices=False)
    return np.asarray(left[:, values > tolerance * values[0]])
