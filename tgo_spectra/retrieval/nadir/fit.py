r"""Columns from nadir spectra, one by one: arrays only.

The model of a reflectance factor y at pixel p is

.. math:: y(p) = P(p) \; I\left[\exp\left(-\sum_g x_g \tau_g\right)\right](p + s)

with the baseline P (Legendre polynomial: surface, dust and blaze residue), the
instrument I, optical depths of reference profiles of the gases along the path down and
up, factors x on them and a shift s in pixels; exp(-t) goes on as 1 - t where t < 0. P
is eliminated in every step.
Nothing is shared between spectra but the model, which has the shift of the product as
its a priori: one gives the same bits in any chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.matrices import steady_product
from tgo_spectra.retrieval.nadir.model import optical_depths, state_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.nadir.model import LayeredColumn, NadirModel

    Array = npt.NDArray[np.floating]

__all__ = ["SEARCH_PX", "ColumnFit", "fit_spectrum", "spectrum"]

SEARCH_PX = 6.0
"""Largest shift, pixels."""
_CONVERGED = 0.02
"""Step of the state in units of its error, squared, at which the fit stops: the next
step would be some hundred times smaller."""
_HALVINGS = 8
"""Most halvings of a step that makes the fit worse."""
_CLIP_AFTER = 6
"""Steps after which outliers are left out at the latest."""


@dataclass(frozen=True)
class ColumnFit:
    """Result of one spectrum.

    Attributes
    ----------
    state, error : array, shape (gas + 1,)
        Factors and the shift (pixels); 1 sigma, of noise and a priori.
    noise_error : array, shape (gas + 1,)
        Of noise alone.
    degrees_of_freedom : array, shape (gas,)
        Diagonal of the averaging kernel.
    column_kernel : array, shape (layer,)
        Change of the column of the first gas by one molecule of it in a layer.
    noise : float
        1 sigma of a pixel that the errors take.
    reduced_chi_square : float
        Against the given noise; else the residuals' variance over that which their
        differences from pixel to pixel have: one if they are white.
    residual : array, shape (pixel,)
        Not-a-number where a pixel was left out.
    baseline : array, shape (coefficient,)
    converged : bool
    iterations : int
    """

    state: Array
    error: Array
    noise_error: Array
    degrees_of_freedom: Array
    column_kernel: Array
    noise: float
    reduced_chi_square: float
    residual: Array
    baseline: Array
    converged: bool
    iterations: int


def spectrum(
    model: NadirModel, depths: Array, state: Array
) -> tuple[Array, Array, Array]:
    """Calculate a spectrum without its baseline.

    Parameters
    ----------
    model : NadirModel
    depths : array, shape (gas, node)
        From `tgo_spectra.retrieval.nadir.model.optical_depths`.
    state : array, shape (gas + 1,)
        Factors, shift (pixels).

    Returns
    -------
    value : array, shape (pixel,)
    derivatives : array, shape (gas + 1, pixel)
        By the state.
    slope : array, shape (node,)
        Minus the derivative of transmittance by optical depth.
    """
    from tgo_spectra.retrieval.nadir.kernel import apply_runs

    n = depths.shape[0]
    depth = state[0] * depths[0]
    for index in range(1, n):
        depth += state[index] * depths[index]
    fields = np.empty((n + 1, depth.size))
    # noise makes columns negative: straight on, as exp would grow beyond all bounds
    # in line centres, and with it the weight of a negative column
    slope = np.exp(-np.maximum(depth, 0.0))
    np.subtract(slope, np.minimum(depth, 0.0), out=fields[0])
    np.multiply(depths, -slope, out=fields[1:])
    runs = model.runs
    offset = (state[n] - model.made_at_px) * model.dispersion_cm1
    found = np.zeros((n + 2, offset.size))
    apply_runs(
        runs.first_run,
        runs.first_node,
        runs.first_entry,
        runs.entries,
        offset,
        fields,
        found,
    )
    zeroth, first, second = runs.unabsorbed
    found[0] += zeroth + offset * (first + 0.5 * offset * second)
    found[n + 1] += first + offset * second
    found[n + 1] *= model.dispersion_cm1
    return found[0], found[1:], slope


def fit_spectrum(
    model: NadirModel,
    measured: Array,
    layers: LayeredColumn,
    *,
    noise: float | None = None,
) -> ColumnFit:
    """Fit one spectrum by optimal estimation (Gauss-Newton).

    Parameters
    ----------
    model : NadirModel
    measured : array, shape (pixel,)
        Reflectance factors of the model's pixels; not-a-number is left out.
    layers : LayeredColumn
    noise : float, optional
        1 sigma of a pixel; default from the residuals.

    Returns
    -------
    ColumnFit

    Raises
    ------
    TableError
        The table does not reach a pressure or temperature.

    References
    ----------
    Rodgers, C. D., 2000, Inverse Methods for Atmospheric Sounding, World Scientific,
    chapters 2 and 5.
    """
    weights = state_weights(model, layers)
    depths = optical_depths(model, layers, weights)
    n = len(model.gases)
    used = np.isfinite(measured)
    parameters = n + 1 + model.baseline.shape[1]
    precision = model.prior_sigma**-2.0
    state = model.start.copy()
    sigma = noise if noise is not None else _first_noise(measured[used])
    converged, clipped, count = False, False, 0
    linear = _linear(model, measured, used, depths, state)
    while count < model.max_iterations and not converged:
        count += 1
        step, gram = _step(model, linear, state, sigma, precision)
        cost = _cost(model, linear, state, sigma, precision)
        start = state
        # far from the solution lines are saturated and full steps go much too far
        for halving in range(_HALVINGS + 1):
            state = start + step * 0.5**halving
            state[n] = np.clip(state[n], -SEARCH_PX, SEARCH_PX)
            linear = _linear(model, measured, used, depths, state)
            if _cost(model, linear, state, sigma, precision) <= cost:
                break
        spread = _spread(linear.residual, parameters)
        small = float(step @ (gram / sigma**2) @ step) < _CONVERGED
        if noise is None:
            sigma = spread
        if not clipped and (small or count >= _CLIP_AFTER):
            clipped = True
            outside = np.abs(linear.residual) > model.clip_sigma * spread
            if outside.any():
                used[np.flatnonzero(used)[outside]] = False
                linear = _linear(model, measured, used, depths, state)
                continue
        converged = clipped and small
    return _result(
        model, linear, state, used, sigma, noise, layers, weights, converged, count
    )


@dataclass(frozen=True)
class _Linear:
    """Linearisation: derivatives with the baseline projected out."""

    projected: Array
    residual: Array
    baseline: Array
    slope: Array


def _linear(
    model: NadirModel, measured: Array, used: Array, depths: Array, state: Array
) -> _Linear:
    value, derivative, slope = spectrum(model, depths, state)
    polynomials = model.baseline[used]
    columns = polynomials * value[used][:, None]
    q, r = np.linalg.qr(columns)
    y = measured[used]
    baseline = np.linalg.solve(r, q.T @ y)
    scaled = (derivative[:, used] * (polynomials @ baseline)).T
    scaled = scaled - q @ (q.T @ scaled)
    return _Linear(scaled, y - columns @ baseline, baseline, slope)


def _spread(residual: Array, parameters: int) -> float:
    return float(np.sqrt(residual @ residual / max(residual.size - parameters, 1)))


def _first_noise(measured: Array) -> float:
    """Noise from third differences of neighbouring pixels, before any fit."""
    differences = np.diff(measured, 3)
    # the squares of 1, 3, 3, 1 add up to 20; lines count too: too much, not too little
    return float(np.sqrt(np.mean(differences**2) / 20.0)) or 1e-12


def _cost(
    model: NadirModel, linear: _Linear, state: Array, sigma: float, precision: Array
) -> float:
    chi_square = linear.residual @ linear.residual / sigma**2
    return float(chi_square + precision @ (state - model.prior) ** 2)


def _step(
    model: NadirModel, linear: _Linear, state: Array, sigma: float, precision: Array
) -> tuple[Array, Array]:
    gram = linear.projected.T @ linear.projected
    pull = precision * (state - model.prior)
    right = linear.projected.T @ linear.residual / sigma**2 - pull
    step = np.linalg.solve(gram / sigma**2 + np.diag(precision), right)
    step[-1] = np.clip(step[-1], -1.0, 1.0)
    return step, gram


def _result(
    model: NadirModel,
    linear: _Linear,
    state: Array,
    used: Array,
    sigma: float,
    noise: float | None,
    layers: LayeredColumn,
    weights: tuple[Array, Array],
    converged: bool,
    count: int,
) -> ColumnFit:
    n = len(model.gases)
    information = linear.projected.T @ linear.projected / sigma**2
    covariance = np.linalg.inv(information + np.diag(model.prior_sigma**-2.0))
    gain = covariance @ linear.projected.T / sigma**2
    kernel = covariance @ information
    free = linear.residual.size - n - 1 - linear.baseline.size
    if noise is None:
        # differences of white residuals have twice their variance
        white = np.mean(np.diff(linear.residual) ** 2) / 2.0
        ratio = float(np.mean(linear.residual**2) / white)
    else:
        ratio = float(linear.residual @ linear.residual / noise**2 / free)
    residual = np.full(model.pixels.size, np.nan)
    residual[used] = linear.residual
    return ColumnFit(
        state=state,
        error=np.sqrt(np.diag(covariance)),
        noise_error=np.sqrt(np.diag(kernel @ covariance)),
        degrees_of_freedom=np.diag(kernel)[:n],
        column_kernel=_column_kernel(
            model, linear, used, gain[0], float(state[n]), layers, weights
        ),
        noise=sigma,
        reduced_chi_square=ratio,
        residual=residual,
        baseline=linear.baseline,
        converged=converged,
        iterations=count,
    )


def _column_kernel(
    model: NadirModel,
    linear: _Linear,
    used: Array,
    gain: Array,
    shift_px: float,
    layers: LayeredColumn,
    weights: tuple[Array, Array],
) -> Array:
    """Differentiate the column by partial columns, through the transposed model."""
    from tgo_spectra.retrieval.nadir.kernel import apply_runs_transposed

    runs = model.runs
    on_pixels = np.zeros(model.pixels.size)
    on_pixels[used] = gain * (model.baseline[used] @ linear.baseline)
    on_nodes = np.zeros(linear.slope.size)
    apply_runs_transposed(
        runs.first_run,
        runs.first_node,
        runs.first_entry,
        runs.entries,
        (shift_px - model.made_at_px) * model.dispersion_cm1,
        on_pixels,
        on_nodes,
    )
    gas = model.gases[0]
    by_depth = (on_nodes * -linear.slope).astype(np.float32)
    by_vector = steady_product(model.band.vectors[gas], by_depth[:, None])[:, 0]
    by_state = np.tensordot(
        by_vector.astype(np.float64), model.band.coefficients[gas], axes=1
    )
    by_pressure, by_temperature = weights
    by_layer = ((by_pressure @ by_state) * by_temperature).sum(axis=1)
    return np.asarray(by_layer * layers.slant * layers.columns_cm2[0])
