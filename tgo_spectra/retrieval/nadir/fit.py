r"""Columns from nadir spectra, one by one: arrays only.

The model of a reflectance factor y at pixel p is

.. math:: y(p) = P(p) \; I\left[\exp\left(-m \sum_g x_g \tau_g\right)\right](p + s)

with the baseline P (Legendre polynomial: surface, dust and blaze residue), the
instrument I, the air mass m down and up, vertical optical depths of reference profiles
of the gases, factors x on them and a shift s in pixels; exp(-t) goes on as 1 - t where
t < 0. P is eliminated in every step.
Nothing is shared between spectra: one gives the same bits in any company.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.spectroscopy.interpolation import interpolate_coefficients

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    from tgo_spectra.spectroscopy.tables import BandTable

    Array = npt.NDArray[np.floating]

__all__ = [
    "SEARCH_PX",
    "ColumnFit",
    "LayeredColumn",
    "NadirModel",
    "fit_spectrum",
    "optical_depths",
]

SEARCH_PX = 6
"""Pixels around the window on which spectra are calculated: the largest shift."""
_CONVERGED = 1e-4
"""Step of the state in units of its error, squared, at which the fit stops."""
_HALVINGS = 8
"""Most halvings of a step that makes the fit worse."""
_CLIP_AFTER = 6
"""Steps after which outliers are left out at the latest."""


@dataclass(frozen=True)
class LayeredColumn:
    """Layers of the atmosphere above one surface, from the ground up.

    Attributes
    ----------
    air_cm2 : array, shape (layer,)
        Vertical column of air.
    pressure_pa, temperature_k : array, shape (layer,)
        Means, weighted with the air.
    mole_fraction : array, shape (gas, layer)
        Of the reference profiles.
    """

    air_cm2: Array
    pressure_pa: Array
    temperature_k: Array
    mole_fraction: Array


@dataclass(frozen=True)
class NadirModel:
    """What all spectra share.

    Attributes
    ----------
    band : BandTable
        Nodes and cross sections.
    gases : tuple of str
        The gas wanted first.
    operator : csr_array, shape (3 * wide pixel, node)
        Value, first and second derivative by wavenumber, on the window and
        `SEARCH_PX` more pixels on both sides.
    pixels : array of int, shape (pixel,)
        Of the fit, ascending.
    first_wide_pixel : int
        Pixel of row 0 of the operator.
    dispersion_cm1 : array, shape (pixel,)
        Wavenumber of a pixel's shift.
    baseline : array, shape (pixel, coefficient)
        Polynomials.
    prior_sigma : array, shape (gas + 1,)
        Of the factors around one, and of the shift (pixels) around zero.
    """

    band: BandTable
    gases: tuple[str, ...]
    operator: csr_array
    pixels: npt.NDArray[np.int64]
    first_wide_pixel: int
    dispersion_cm1: Array
    baseline: Array
    prior_sigma: Array
    clip_sigma: float
    max_iterations: int


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


def optical_depths(
    model: NadirModel, layers: LayeredColumn
) -> tuple[Array, list[Array]]:
    """Vertical optical depths of the reference profiles.

    Parameters
    ----------
    model : NadirModel
    layers : LayeredColumn

    Returns
    -------
    depths : array, shape (gas, node)
    coefficients : list of array, shape (vector, layer)
        Of each gas, cm2.

    Raises
    ------
    TableError
        The table does not reach a pressure or temperature.
    """
    depths: list[Array] = []
    all_coefficients: list[Array] = []
    for index, gas in enumerate(model.gases):
        c = interpolate_coefficients(
            model.band.coefficients[gas],
            model.band.ln_pressure,
            model.band.temperature_k,
            layers.pressure_pa,
            layers.temperature_k,
            doppler_limit=True,
        )
        weights = c @ (layers.air_cm2 * layers.mole_fraction[index])
        single = weights.astype(np.float32) @ model.band.vectors[gas]
        depths.append(single.astype(np.float64))
        all_coefficients.append(c)
    return np.stack(depths), all_coefficients


def _spectrum(
    model: NadirModel, slant: Array, state: Array
) -> tuple[Array, Array, int, Array]:
    """Value (pixel,), derivatives by the state, whole shift, slope of nodes."""
    n = slant.shape[0]
    whole = int(np.clip(np.rint(state[n]), -SEARCH_PX, SEARCH_PX))
    depth = state[:n] @ slant
    # noise makes columns negative: straight on, as exp would grow beyond all bounds
    # in line centres, and with it the weight of a negative column
    slope = np.exp(-np.maximum(depth, 0.0))
    through = slope - np.minimum(depth, 0.0)
    wide = model.operator.shape[0] // 3
    fields = np.vstack([through, -slant * slope]).T
    moments = (model.operator @ fields).reshape(3, wide, n + 1)
    at = model.pixels - model.first_wide_pixel + whole
    offset = ((state[n] - whole) * model.dispersion_cm1)[:, None]
    value, first, second = moments[:, at]
    moved = value + offset * (first + 0.5 * offset * second)
    shift = (first + offset * second)[:, 0] * model.dispersion_cm1
    return moved[:, 0], np.vstack([moved[:, 1:].T, shift]), whole, slope


def fit_spectrum(
    model: NadirModel,
    measured: Array,
    air_mass: float,
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
    air_mass : float
        Down and up.
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
    depths, coefficients = optical_depths(model, layers)
    slant = air_mass * depths
    n = len(model.gases)
    used = np.isfinite(measured)
    prior_mean = np.append(np.ones(n), 0.0)
    prior = model.prior_sigma**-2.0
    state = prior_mean.copy()
    sigma = noise if noise is not None else _first_noise(model, measured, used)
    converged, clipped, count = False, False, 0
    linear = _linear(model, measured, used, slant, state)
    while count < model.max_iterations and not converged:
        count += 1
        step, gram = _step(linear, state, sigma, prior)
        cost = _cost(linear, state, sigma, prior)
        start = state
        # far from the solution lines are saturated and full steps go much too far
        for halving in range(_HALVINGS + 1):
            state = start + step * 0.5**halving
            state[n] = np.clip(state[n], -SEARCH_PX, SEARCH_PX)
            linear = _linear(model, measured, used, slant, state)
            if _cost(linear, state, sigma, prior) <= cost:
                break
        spread = _spread(linear.residual, n + 1 + model.baseline.shape[1])
        small = float(step @ (gram / sigma**2) @ step) < _CONVERGED
        if noise is None:
            sigma = spread
        if not clipped and (small or count >= _CLIP_AFTER):
            outside = np.abs(linear.residual) > model.clip_sigma * spread
            used[np.flatnonzero(used)[outside]] = False
            clipped = True
            linear = _linear(model, measured, used, slant, state)
            continue
        converged = clipped and small
    return _result(
        model, linear, state, used, sigma, prior, noise, slant, layers,
        coefficients, air_mass, converged, count,
    )  # fmt: skip


@dataclass(frozen=True)
class _Linear:
    """Linearisation: derivatives with the baseline projected out."""

    projected: Array
    residual: Array
    baseline: Array
    slope: Array
    whole: int


def _linear(
    model: NadirModel, measured: Array, used: Array, slant: Array, state: Array
) -> _Linear:
    spectrum, derivative, whole, slope = _spectrum(model, slant, state)
    polynomials = model.baseline[used]
    columns = polynomials * spectrum[used][:, None]
    q, r = np.linalg.qr(columns)
    y = measured[used]
    baseline = np.linalg.solve(r, q.T @ y)
    scaled = (derivative[:, used] * (polynomials @ baseline)).T
    scaled = scaled - q @ (q.T @ scaled)
    return _Linear(scaled, y - columns @ baseline, baseline, slope, whole)


def _spread(residual: Array, parameters: int) -> float:
    return float(np.sqrt(residual @ residual / max(residual.size - parameters, 1)))


def _first_noise(model: NadirModel, measured: Array, used: Array) -> float:
    """Noise from third differences of neighbouring pixels, before any fit."""
    differences = np.diff(measured[used], 3)
    # the squares of 1, 3, 3, 1 add up to 20; lines count too: too much, not too little
    return float(np.sqrt(np.mean(differences**2) / 20.0)) or 1e-12


def _cost(linear: _Linear, state: Array, sigma: float, prior: Array) -> float:
    offset = state - np.append(np.ones(state.size - 1), 0.0)
    chi_square = linear.residual @ linear.residual / sigma**2
    return float(chi_square + prior @ offset**2)


def _step(
    linear: _Linear, state: Array, sigma: float, prior: Array
) -> tuple[Array, Array]:
    gram = linear.projected.T @ linear.projected
    mean = np.append(np.ones(state.size - 1), 0.0)
    right = linear.projected.T @ linear.residual / sigma**2 - prior * (state - mean)
    step = np.linalg.solve(gram / sigma**2 + np.diag(prior), right)
    step[-1] = np.clip(step[-1], -1.0, 1.0)
    return step, gram


def _result(
    model: NadirModel,
    linear: _Linear,
    state: Array,
    used: Array,
    sigma: float,
    prior: Array,
    noise: float | None,
    slant: Array,
    layers: LayeredColumn,
    coefficients: list[Array],
    air_mass: float,
    converged: bool,
    count: int,
) -> ColumnFit:
    n = len(model.gases)
    information = linear.projected.T @ linear.projected / sigma**2
    covariance = np.linalg.inv(information + np.diag(prior))
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
            model,
            linear,
            used,
            gain[0],
            float(state[n]),
            layers,
            coefficients[0],
            air_mass,
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
    coefficients: Array,
    air_mass: float,
) -> Array:
    """Differentiate the column by partial columns, through the transposed model."""
    wide = model.operator.shape[0] // 3
    on_detector = np.zeros((3, wide))
    at = model.pixels[used] - model.first_wide_pixel + linear.whole
    through_gain = gain * (model.baseline[used] @ linear.baseline)
    offset = (shift_px - linear.whole) * model.dispersion_cm1[used]
    for power, factor in enumerate((1.0, offset, 0.5 * offset**2)):
        on_detector[power, at] = through_gain * factor
    back = model.operator.T @ on_detector.ravel()
    nodes = back * (-air_mass * linear.slope)
    by_vector = model.band.vectors[model.gases[0]] @ nodes.astype(np.float32)
    by_layer = by_vector.astype(np.float64) @ coefficients
    return np.asarray(by_layer * (layers.air_cm2 @ layers.mole_fraction[0]))
