r"""Limb transmittance and its derivative by temperature and pressure, as pixels see it.

The optical depth is :math:`\tau = U\,W(T, p)`: temperature and pressure act on the
small matrices W alone (`tgo_spectra.forward.sight`), so that

.. math:: \frac{\partial (R\,e^{-\tau})}{\partial T_l} =
          -\sum_k R(e^{-\tau} \circ U_k)\, \frac{\partial W_k}{\partial T_l}

needs as many convolved fields as there are vectors U, whatever the number of levels.
Before that the vectors are turned to the few directions along which the coefficients
of the layers and their derivatives lie. In double precision this is the derivative of
the tests' exact Jacobian; in single precision it is what a fit needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward.sight import (
    air_on_points,
    by_log_density,
    coefficients_on_points,
    log_pressure_adjoint,
)
from tgo_spectra.instruments.response.fields import apply_model

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


@dataclass(frozen=True)
class TemperatureFields:
    """Convolved fields on (pixel, height).

    Attributes
    ----------
    value, shift, curvature, slope : ndarray, shape (pixel, height)
        As in `tgo_spectra.forward.transmittance.PixelFields`.
    temperature : ndarray, shape (pixel, level, height)
        Derivative by the temperature of each level, K-1; no levels without Jacobian.
    log_pressure : ndarray, shape (pixel, height)
        Derivative by the logarithm of the pressure scale.
    gas : dict of ndarray, shape (pixel, level, height)
        Derivatives by the mole fractions of the gases that are fitted too.
    """

    value: Array
    shift: Array
    curvature: Array
    slope: Array
    temperature: Array
    log_pressure: Array
    gas: Mapping[str, Array]


@dataclass(frozen=True)
class TemperatureWeights:
    """W of all gases and its derivatives.

    Attributes
    ----------
    value : ndarray, shape (vector, height)
        W: the optical depth is vectors @ value.
    directions : ndarray, shape (vector, k)
        Orthonormal; none without Jacobian.
    paths : ndarray, shape (k, height, element)
        The derivative of W is directions @ paths: by the temperatures, by the
        logarithm of the pressure scale, and by the mole fractions of each fitted gas.
    """

    value: Array
    directions: Array
    paths: Array


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
    weights = temperature_weights(
        sight, air, jacobian=jacobian, fitted=fitted, tolerance=tolerance
    )
    t = vectors @ -weights.value.astype(vectors.dtype)
    np.exp(t, out=t)
    if not np.isfinite(t).all():
        message = "the transmittance is not finite: the state has run away"
        raise RetrievalError(message, value=air.pressure_scale, rule="fit.diverged")
    every = np.arange(t.shape[1])
    factors = None
    if jacobian:
        factors = (vectors @ weights.directions.astype(t.dtype)).T
    (value, shift, slope), few, _ = apply_model(seen_by, t, every, factors)
    field = -few[1:].transpose(2, 1, 0)  # (height, pixel, k)
    by_height = field @ weights.paths.transpose(1, 0, 2).astype(t.dtype)
    found = by_height.transpose(1, 2, 0)  # (pixel, element, height)
    n = sight.altitude_km.size if jacobian else 0
    starts = [n + 1 + k * n for k in range(len(fitted))]
    return TemperatureFields(
        value,
        shift,
        few[0],
        slope,
        found[:, :n],
        found[:, n] if jacobian else found[:, 0:0].reshape(-1, every.size),
        {g: found[:, at : at + n] for g, at in zip(fitted, starts, strict=True)},
    )


def temperature_weights(
    sight: Sight,
    air: AirState,
    *,
    jacobian: bool = True,
    fitted: Sequence[str] = (),
    tolerance: float = DIRECTION_TOLERANCE,
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
    if not jacobian:
        none = np.empty((0, sight.height_km.size, 0))
        return TemperatureWeights(value, np.empty((value.shape[0], 0)), none)
    moments = sight.moments(n)
    directions, paths = [], []
    for gas, (c, by_pressure, by_temperature) in found.items():
        q = _directions(np.stack([c, by_pressure, by_temperature * t]), tolerance)
        by_density = by_log_density(q.T @ c * x[gas], moments, sight.points_km)
        by_state = column * (q.T @ by_pressure * x[gas])[:, None, :] + by_density
        at = column * (q.T @ by_temperature * x[gas])[:, None, :] - by_density / t
        if sight.balance == "hydrostatic":
            at += log_pressure_adjoint(sight, t, by_state)
        blocks = [at @ sight.hats, by_state.sum(axis=2)[:, :, None]]
        for name in fitted:
            own = (column * (q.T @ c)[:, None, :]) @ sight.hats
            blocks.append(own if name == gas else np.zeros_like(own))
        directions.append(q)
        paths.append(np.concatenate(blocks, axis=2))
    return TemperatureWeights(value, block_diag(*directions), np.concatenate(paths))


def _directions(curves: Array, tolerance: float) -> Array:
    """Orthonormal directions that hold the curves, shape (vector, k).

    `curves` (kind, vector, point): coefficients of the layers, and their derivatives.
    Each point counts alike, so that a faint layer is not lost beside the dense ones.
    """
    size = np.sqrt((curves[0] ** 2).sum(axis=0))
    flat = np.concatenate(list(curves / size), axis=1)
    left, values, _ = np.linalg.svd(flat, full_matrices=False)
    return np.asarray(left[:, values > tolerance * values[0]])
