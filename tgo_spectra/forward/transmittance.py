"""Limb transmittance on the nodes of a band, its Jacobian, and both as pixels see them.

Optical depth is a product of two small matrices (``tau = U W``): the cross-section
vectors U live on the nodes of the absorption table, the sum over the line of sight
folds into W. The Jacobian passes through the same bottleneck: along one atmosphere
the coefficients of a gas span few directions, so the derivative to every level is a
few fields on (pixel, tangent height) times path weights (after Dudhia, Morris and
Wells 2002, J. Quant. Spectrosc. Radiat. Transfer 74, 745).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import ray
from tgo_spectra.instruments.response import fields as seen
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.numerics.matrices import LIMIT, steady_columns, steady_product

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.forward.ray import Top

    Array = npt.NDArray[np.floating]

__all__ = [
    "GasPath",
    "Limb",
    "PixelFields",
    "factor_fields",
    "limb",
    "pixel_fields",
    "pixel_values",
    "span",
    "sparse_heights",
    "stacked",
    "turned",
]

SUBSTEP_KM = 0.25
"""Quadrature step along altitude. Halving it changes the reference atmosphere's
monochromatic transmittance by up to 5e-5 (2e-6 on average) and means over 0.1 cm-1 by
up to 3e-5, in the bands of orders 134-136 and 189-190."""

SPAN_TOLERANCE = 3e-7
"""Singular values of a gas's coefficients along an atmosphere, weighted by the root of
the density, that are left out, relative to the largest: a table has vectors for every
atmosphere, one needs a third of them. Transmittance on the nodes changes by 1e-6 at
most and 1e-8 root mean square (order 136, four gases)."""

LOG_TRANSMITTANCE_LIMIT = 30.0
"""Negative mole fractions give transmittance above 1; beyond exp(30) is no fit."""


@dataclass(frozen=True)
class GasPath:
    """What one gas needs: its spectral vectors and where the atmosphere puts them.

    ``coefficients`` (rank, point, cm2) of a table, ``turn`` (rank, few) what
    they span along this atmosphere and ``vectors`` (node, few) the table's in it:
    cross-section = vectors @ turn.T @ coefficients. ``directions`` (node, k) and
    ``path`` (k, height, level): optical depth = directions @ (path @ vmr), compressed
    to k directions, for the Jacobian.
    """

    vectors: Array
    coefficients: Array
    turn: Array
    directions: Array
    path: Array


@dataclass(frozen=True)
class Limb:
    """One atmosphere seen along tangent heights: everything but the mole fractions.

    Attributes
    ----------
    altitude_km : array, shape (level,)
        Levels of the mole fraction profiles, linear in between.
    height_km : array, shape (height,)
        Tangent heights.
    gases : dict of GasPath
    air_cm2 : array, shape (height, point)
        Slant column of air under the hat function of each quadrature point.
    hats : array, shape (point, level)
        Linear interpolation from levels to points.
    vectors : array, shape (node, vector)
        Those of all gases, which `GasPath.vectors` are parts of.
    table : array, shape (node, rank of all gases)
        Those of the table.
    jacobian_heights : array of int
        Heights at which the fields of the Jacobian are made.
    """

    altitude_km: Array
    height_km: Array
    gases: Mapping[str, GasPath]
    air_cm2: Array
    hats: Array
    vectors: Array
    table: Array
    jacobian_heights: npt.NDArray[np.intp]
    dtype: type[np.floating]

    @functools.cached_property
    def factors(self) -> Array:
        """Directions of all gases, one after another, shape (direction, node)."""
        parts = [path.directions.T for path in self.gases.values()]
        return np.ascontiguousarray(np.concatenate(parts))

    @functools.cached_property
    def sparse(self) -> Limb:
        """The same at the heights of the Jacobian alone."""
        return at_heights(self, self.jacobian_heights)

    @functools.cached_property
    def spread(self) -> Array:
        """Cubic interpolation from the heights of the Jacobian, (height, few)."""
        return spread_from(self.height_km[self.jacobian_heights], self.height_km)

    @functools.cached_property
    def air_column_cm2(self) -> Array:
        """Slant column of air under the hat of each level, (height, level)."""
        return steady_product(self.air_cm2, self.hats)


def sparse_heights(
    heights_km: Array, steps_km: Sequence[tuple[float, float]]
) -> npt.NDArray[np.intp]:
    """Choose heights at least some steps apart, ends included."""
    chosen = [0]
    for index, height in enumerate(heights_km[1:], 1):
        above = height - heights_km[0]
        step = next(s for top, s in steps_km if above <= top)
        if height - heights_km[chosen[-1]] >= step - 1e-9:
            chosen.append(index)
    last = heights_km.size - 1
    if chosen[-1] != last:
        chosen.append(last)
    if len(chosen) < 4:  # a cubic spline needs four
        chosen = list(range(heights_km.size))
    return np.array(chosen, dtype=np.intp)


def spread_from(knots_km: Array, height_km: Array) -> Array:
    """Return the cubic spline through values at some heights, (height, knot)."""
    from scipy.interpolate import make_interp_spline  # slow to import

    degree = min(3, knots_km.size - 1)
    spline = make_interp_spline(knots_km, np.eye(knots_km.size), k=degree)
    return np.asarray(spline(height_km))


def _refined(altitude_km: Array, bottom_km: float, top_km: float) -> Array:
    """Levels and the points of a regular fine grid, without near-duplicates."""
    fine = np.arange(np.floor(bottom_km), top_km + SUBSTEP_KM, SUBSTEP_KM)
    merged = np.unique(np.concatenate([fine, altitude_km]))
    keep = np.concatenate([[True], np.diff(merged) > 1e-6])
    return np.asarray(merged[keep])


def quadrature_altitudes(
    altitude_km: Array, height_km: Array, top_km: float = 160.0
) -> Array:
    """Return the altitudes on which the atmosphere is needed, in km."""
    bottom = min(float(altitude_km.min()), float(height_km.min()))
    return _refined(altitude_km, bottom, top_km)


def hat_matrix(altitude_km: Array, points_km: Array) -> npt.NDArray[np.float64]:
    """Linear interpolation from levels to points; constant beyond both ends."""
    position = np.clip(
        np.searchsorted(altitude_km, points_km, side="right") - 1,
        0,
        altitude_km.size - 2,
    )
    low, high = altitude_km[position], altitude_km[position + 1]
    fraction = np.clip((points_km - low) / (high - low), 0.0, 1.0)
    matrix = np.zeros((points_km.size, altitude_km.size))
    rows = np.arange(points_km.size)
    matrix[rows, position] = 1.0 - fraction
    matrix[rows, position + 1] += fraction
    return matrix


def limb(
    *,
    altitude_km: Array,
    height_km: Array,
    points_km: Array,
    number_density_cm3: Array,
    planet_radius_km: float,
    vectors: Mapping[str, Array],
    coefficients: Mapping[str, Array],
    jacobian_rank: int | None = 4,
    jacobian_heights: npt.NDArray[np.intp] | None = None,
    dtype: type[np.floating] = np.float32,
    top: Top = "exponential",
    refractivity_cm3: float = 0.0,
) -> Limb:
    """Fold an atmosphere and the path geometry into small matrices.

    Parameters
    ----------
    altitude_km : array, shape (level,)
        Levels of the profiles, above the areoid.
    height_km : array, shape (height,)
        Tangent heights above the areoid.
    points_km : array, shape (point,)
        From `quadrature_altitudes`.
    number_density_cm3 : array, shape (point,)
        Of all molecules.
    planet_radius_km : float
        Local radius of the areoid.
    vectors : dict of array, shape (rank, node)
        Spectral vectors per gas, from the absorption table.
    coefficients : dict of array, shape (rank, point)
        Their coefficients at the points' pressure and temperature, cm2.
    jacobian_rank : int or None
        Directions kept per gas for the Jacobian; None keeps all (exact).
    jacobian_heights : array of int, optional
        Heights at which the fields of the Jacobian are made, from `sparse_heights`;
        all by default.
    dtype : type
        Of the spectral arrays; float32 is good to 1e-6 in transmittance.
    top : {"exponential", "cut"}
        Above the last point: the density goes on falling as between the last two, with
        what the last point has of everything else; or nothing.
    refractivity_cm3 : float
        From `tgo_spectra.forward.ray.refractivity_per_density`: the heights are those
        of the impact parameters, the rays pass lower. 0: straight rays.

    Returns
    -------
    Limb

    Raises
    ------
    AtmosphereError
        As `tgo_spectra.forward.ray.layer_columns`.
    """
    sight = ray.LineOfSight(
        height_km=np.asarray(height_km, dtype=np.float64),
        points_km=np.asarray(points_km, dtype=np.float64),
        radius_km=planet_radius_km,
        top=top,
        refractivity_cm3=refractivity_cm3,
    )
    air = sight.air(number_density_cm3)
    hats = hat_matrix(altitude_km, points_km)
    table = stacked(tuple(vectors.values()), dtype)
    exact = jacobian_rank is None or dtype != np.float32
    turns = {
        gas: np.eye(len(own))
        if exact
        else span([coefficients[gas]], number_density_cm3)
        for gas, own in vectors.items()
    }
    spanned = table if exact else turned(table, list(turns.values()))
    gases, start = {}, 0
    for gas, turn in turns.items():
        u = spanned[:, start : start + turn.shape[1]]
        gases[gas] = _gas_path(u, turn, coefficients[gas], air, hats, jacobian_rank)
        start += turn.shape[1]
    if jacobian_heights is None:
        jacobian_heights = np.arange(height_km.size)
    return Limb(
        altitude_km,
        height_km,
        gases,
        air,
        hats,
        spanned,
        table,
        jacobian_heights,
        dtype,
    )


_STACKS: list[tuple[tuple[Array, ...], Array]] = []
"""Vectors of the last tables, as given and side by side: a worker uses few tables."""


def stacked(vectors: tuple[Array, ...], dtype: type[np.floating]) -> Array:
    """Return the vectors of all gases, (node, vector); made once for the same."""
    for given, made in _STACKS:
        same = len(given) == len(vectors) and made.dtype == dtype
        if same and all(a is b for a, b in zip(given, vectors, strict=True)):
            return made
    made = np.ascontiguousarray(np.concatenate(vectors).T, dtype)
    made.flags.writeable = False
    _STACKS.append((vectors, made))
    del _STACKS[:-2]
    return made


def span(coefficients: Sequence[Array], number_density_cm3: Array) -> Array:
    """Return the directions that coefficients span along an atmosphere, (rank, few)."""
    weighted = np.concatenate(coefficients, axis=1)
    weighted *= np.tile(np.sqrt(number_density_cm3), len(coefficients))
    directions, size, _ = np.linalg.svd(weighted, full_matrices=False)
    return np.asarray(directions[:, size > SPAN_TOLERANCE * size[0]])


def turned(table: Array, turns: Sequence[Array]) -> Array:
    """Return the vectors of the table in directions of each gas, (node, direction)."""
    number = sum(turn.shape[1] for turn in turns)
    out = np.empty((len(table), number), dtype=table.dtype)
    rank, at = 0, 0
    for turn in turns:
        mine = table[:, rank : rank + len(turn)]
        columns = out[:, at : at + turn.shape[1]]
        steady_columns(mine, turn.astype(table.dtype), columns)
        rank, at = rank + len(turn), at + turn.shape[1]
    return out


def _gas_path(
    u: Array,
    turn: Array,
    coefficients: Array,
    air: Array,
    hats: Array,
    rank: int | None,
) -> GasPath:
    if rank is None or rank >= coefficients.shape[0]:
        path = _through(steady_product(turn.T, coefficients), air, hats)
        return GasPath(u, coefficients, turn, u, path)
    # leading left singular vectors; the small matrix is faster and good enough for them
    _, turned = np.linalg.eigh(steady_product(coefficients, coefficients.T))
    q = turned[:, : -rank - 1 : -1]
    path = _through(steady_product(q.T, coefficients), air, hats)
    directions = np.empty((len(u), rank), dtype=u.dtype)
    steady_columns(u, steady_product(turn.T, q).astype(u.dtype), directions)
    return GasPath(u, coefficients, turn, directions, path)


def _through(coefficients: Array, air: Array, hats: Array) -> Array:
    """Sum over the points: (rank, height, level)."""
    from tgo_spectra.forward.kernels import through_hats

    shape = (coefficients.shape[0], air.shape[0], hats.shape[1])
    out = np.zeros(shape)
    # two levels see a point, one at a level or beyond the ends
    lower = np.minimum((hats != 0.0).argmax(axis=1), hats.shape[1] - 2)
    at = np.arange(hats.shape[0])
    through_hats(
        np.ascontiguousarray(coefficients, dtype=float),
        np.ascontiguousarray(air, dtype=float),
        lower,
        hats[at, lower],
        hats[at, lower + 1],
        out,
    )
    return out


def _amounts(model: Limb, gas: str, vmr: Array) -> Array:
    """Weights of a gas's vectors in the optical depth, (vector, height)."""
    path = model.gases[gas]
    coefficients = steady_product(path.turn.T, path.coefficients * (model.hats @ vmr))
    return steady_product(coefficients, model.air_cm2.T)


def node_transmittance(model: Limb, vmr: Mapping[str, Array]) -> Array:
    """Monochromatic transmittance, shape (node, height)."""
    return _transmittance(model.vectors, _weights(model, vmr))


def _weights(model: Limb, vmr: Mapping[str, Array]) -> Array:
    """Minus the weights of all vectors in the optical depth, (vector, height)."""
    weights = [_amounts(model, gas, vmr[gas]) for gas in model.gases]
    return np.asarray(-np.concatenate(weights), dtype=model.dtype)


def _transmittance(vectors: Array, minus: Array) -> Array:
    """Exponential of ``vectors @ minus``, (node, height)."""
    if vectors.dtype == np.float32:
        from tgo_spectra.forward.kernels import transmit

        depth = np.empty((len(vectors), minus.shape[1]), dtype=vectors.dtype)
        most = np.float32(LOG_TRANSMITTANCE_LIMIT)
        away = transmit(vectors, np.ascontiguousarray(minus), LIMIT, most, depth) > 0
    else:
        depth = steady_product(vectors, minus)
        away = bool(depth.max() >= LOG_TRANSMITTANCE_LIMIT)
        np.exp(depth, out=depth)
    if away or not np.isfinite(minus).all():
        message = "transmittance beyond all bounds: the state has run away"
        brightest = float((vectors @ minus).max())
        raise RetrievalError(message, value=brightest, rule="fit.diverged")
    return depth


@dataclass(frozen=True)
class PixelFields:
    """Convolved fields on (pixel, height).

    ``value``, ``shift``, ``curvature``: transmittance and its derivatives to the
    wavenumber of the nominal order (cm-1, cm-2); ``slope``: weighted by the relative
    distance from the band centre; ``gas``: per gas (pixel, k, height), the derivative
    of transmittance to the path along each direction. ``gas`` is at the heights of the
    Jacobian, and so is ``curvature``: it changes a spectrum by 3e-4 at most, and what
    lies between the heights is 1e-3 of it.
    """

    value: Array
    shift: Array
    curvature: Array
    slope: Array
    gas: Mapping[str, Array]


def pixel_values(
    model: Limb, seen_by: operator.Operator, vmr: Mapping[str, Array]
) -> PixelFields:
    """Transmittance as the pixels see it, without the Jacobian."""
    return _fields(model, seen_by, vmr, None)


def pixel_fields(
    model: Limb, seen_by: operator.Operator, vmr: Mapping[str, Array]
) -> PixelFields:
    """Transmittance and the fields of its Jacobian as the pixels see them.

    The derivative to the mole fraction of a gas at level l and tangent height t is
    ``sum_k gas[pixel, k, t] * path[k, t, l]``.
    """
    return _fields(model, seen_by, vmr, model.factors)


def _fields(
    model: Limb,
    seen_by: operator.Operator,
    vmr: Mapping[str, Array],
    factors: Array | None,
) -> PixelFields:
    if "slope" in seen_by.kinds or model.jacobian_heights.size == model.height_km.size:
        t = node_transmittance(model, vmr)
        dense, few = seen.apply_model(seen_by, t, model.jacobian_heights, factors)
        if "slope" in seen_by.kinds:  # the rows themselves, where they were made
            dense[2] = operator.apply(seen_by, t, "slope")
    else:
        weights = _weights(model, vmr)

        def values(nodes: slice, heights: slice | npt.NDArray[np.intp]) -> Array:
            return _transmittance(model.vectors[nodes], weights[:, heights])

        parted = seen.part(seen_by, values, model.jacobian_heights, model.spread)
        dense, few = seen.apply_parted(seen_by, parted, factors)
    value, shift, slope = dense
    gas: dict[str, Array] = {}
    start = 1
    for name, path in model.gases.items() if factors is not None else ():
        stop = start + path.directions.shape[1]
        gas[name] = np.negative(few[start:stop]).transpose(1, 0, 2)
        start = stop
    return PixelFields(value, shift, few[0], slope, gas)


def factor_fields(
    model: Limb,
    seen_by: operator.Operator,
    vmr: Mapping[str, Array],
    references: Mapping[str, Array],
) -> tuple[Array, Array, Array]:
    """Transmittance, and its derivatives to the shift and to a factor on each profile.

    For a few heights: the products of transmittance and optical depth are formed on
    the nodes.

    Parameters
    ----------
    model : Limb
    seen_by : Operator
    vmr : dict of array, shape (level,)
        Profiles at which the derivatives are taken.
    references : dict of array, shape (level,)
        Profiles that the factors multiply.

    Returns
    -------
    value, shift : array, shape (pixel, height)
    factors : array, shape (gas, pixel, height)
    """
    t = node_transmittance(model, vmr)
    number = t.shape[1]
    columns = np.empty((len(t), number * (1 + len(model.gases))), dtype=t.dtype)
    columns[:, :number] = t
    for index, (gas, path) in enumerate(model.gases.items(), 1):
        amounts = _amounts(model, gas, references[gas])
        depth = steady_product(path.vectors, amounts.astype(t.dtype))
        np.multiply(t, depth, out=columns[:, index * number : (index + 1) * number])
    fields = operator.apply(seen_by, columns)
    factors = -fields[:, number:].reshape(len(fields), -1, number).transpose(1, 0, 2)
    return fields[:, :number], operator.apply(seen_by, t, "shift"), factors


def at_heights(model: Limb, heights: npt.NDArray[np.intp]) -> Limb:
    """Return the model at a selection of its tangent heights."""
    gases = {
        gas: replace(path, path=path.path[:, heights])
        for gas, path in model.gases.items()
    }
    return replace(
        model,
        height_km=model.height_km[heights],
        gases=gases,
        air_cm2=model.air_cm2[heights],
        jacobian_heights=np.arange(len(heights)),
    )
