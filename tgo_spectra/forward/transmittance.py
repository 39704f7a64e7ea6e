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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import ray
from tgo_spectra.instruments.response import tabulated as operator
from tgo_spectra.instruments.response.tabulated import apply_model
from tgo_spectra.numerics.matrices import steady_product

if TYPE_CHECKING:
    from collections.abc import Mapping

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
]

SUBSTEP_KM = 0.25
"""Quadrature step along altitude. Halving it changes the reference atmosphere's
monochromatic transmittance by up to 5e-5 (2e-6 on average) and means over 0.1 cm-1 by
up to 3e-5, in the bands of orders 134-136 and 189-190."""

LOG_TRANSMITTANCE_LIMIT = 30.0
"""Negative mole fractions give transmittance above 1; beyond exp(30) is no fit."""


@dataclass(frozen=True)
class GasPath:
    """What one gas needs: its spectral vectors and where the atmosphere puts them.

    ``vectors`` (node, rank) and ``coefficients`` (rank, point, cm2): cross-section =
    vectors @ coefficients. ``directions`` (node, k) and ``path`` (k, height, level):
    optical depth = directions @ (path @ vmr), compressed to k directions, for the
    Jacobian.
    """

    vectors: Array
    coefficients: Array
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
    jacobian_heights : array of int
        Heights at which the fields of the Jacobian are made.
    """

    altitude_km: Array
    height_km: Array
    gases: Mapping[str, GasPath]
    air_cm2: Array
    hats: Array
    vectors: Array
    jacobian_heights: npt.NDArray[np.intp]
    dtype: type[np.floating]

    @functools.cached_property
    def factors(self) -> Array:
        """Directions of all gases, one after another, shape (direction, node)."""
        parts = [path.directions.T for path in self.gases.values()]
        return np.ascontiguousarray(np.concatenate(parts))

    @functools.cached_property
    def air_column_cm2(self) -> Array:
        """Slant column of air under the hat of each level, (height, level)."""
        return steady_product(self.air_cm2, self.hats)


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
    jacobian_every: int = 1,
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
    jacobian_every : int
        Make the fields of the Jacobian at every n-th height only.
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
    stacked = _stacked(tuple(vectors.values()), dtype)
    gases, start = {}, 0
    for gas, vector in vectors.items():
        u = stacked[:, start : start + vector.shape[0]]
        gases[gas] = _gas_path(u, vector, coefficients[gas], air, hats, jacobian_rank)
        start += vector.shape[0]
    last = height_km.size - 1
    chosen = np.unique(np.append(np.arange(0, last, jacobian_every), last))
    return Limb(altitude_km, height_km, gases, air, hats, stacked, chosen, dtype)


_STACKS: list[tuple[tuple[Array, ...], Array]] = []
"""Vectors of the last tables, as given and side by side: a worker uses few tables."""


def _stacked(vectors: tuple[Array, ...], dtype: type[np.floating]) -> Array:
    """Vectors of all gases, shape (node, vector); made once for the same arrays."""
    for given, made in _STACKS:
        same = len(given) == len(vectors) and made.dtype == dtype
        if same and all(a is b for a, b in zip(given, vectors, strict=True)):
            return made
    made = np.ascontiguousarray(np.concatenate(vectors).T, dtype)
    made.flags.writeable = False
    _STACKS.append((vectors, made))
    del _STACKS[:-2]
    return made


def _gas_path(
    u: Array,
    vectors: Array,
    coefficients: Array,
    air: Array,
    hats: Array,
    rank: int | None,
) -> GasPath:
    if rank is None or rank >= coefficients.shape[0]:
        return GasPath(u, coefficients, u, _through(coefficients, air, hats))
    # leading left singular vectors; the small matrix is faster and good enough for them
    _, turned = np.linalg.eigh(steady_product(coefficients, coefficients.T))
    q = turned[:, : -rank - 1 : -1]
    path = _through(steady_product(q.T, coefficients), air, hats)
    directions = steady_product(q.T.astype(u.dtype), vectors.astype(u.dtype))
    return GasPath(u, coefficients, directions.T, path)


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
    coefficients = model.gases[gas].coefficients
    return steady_product(coefficients * (model.hats @ vmr), model.air_cm2.T)


def node_transmittance(model: Limb, vmr: Mapping[str, Array]) -> Array:
    """Monochromatic transmittance, shape (node, height)."""
    weights = [_amounts(model, gas, vmr[gas]) for gas in model.gases]
    # minus the optical depth
    minus = np.negative(np.concatenate(weights)).astype(model.dtype)
    depth = steady_product(model.vectors, minus)
    brightest = float(depth.max())
    if not brightest < LOG_TRANSMITTANCE_LIMIT:  # NaN included
        message = "transmittance beyond all bounds: the state has run away"
        raise RetrievalError(message, value=brightest, rule="fit.diverged")
    if depth.dtype != np.float32:
        return np.asarray(np.exp(depth, out=depth))
    from tgo_spectra.forward.kernels import exponentiate

    depth = np.ascontiguousarray(depth)
    exponentiate(depth.reshape(-1))
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
    t = node_transmittance(model, vmr)
    dense, few, _ = apply_model(seen_by, t, model.jacobian_heights, factors)
    if "slope" in seen_by.kinds:  # the rows themselves, where they were made
        dense[2] = operator.apply(seen_by, t, "slope")
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
    seen = operator.apply(seen_by, columns)
    factors = -seen[:, number:].reshape(len(seen), -1, number).transpose(1, 0, 2)
    return seen[:, :number], operator.apply(seen_by, t, "shift"), factors


def at_heights(model: Limb, heights: npt.NDArray[np.intp]) -> Limb:
    """Return the model at a selection of its tangent heights."""
    gases = {
        gas: GasPath(
            path.vectors,
            path.coefficients,
            path.directions,
            path.path[:, heights],
        )
        for gas, path in model.gases.items()
    }
    return Limb(
        model.altitude_km,
        model.height_km[heights],
        gases,
        model.air_cm2[heights],
        model.hats,
        model.vectors,
        np.arange(len(heights)),
        model.dtype,
    )
