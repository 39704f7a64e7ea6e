"""Joint fit of one occultation: arrays in, arrays out.

State: mole fraction profiles, a wavenumber shift per bin, a common stretch and the
aerosol exponent. The multiplicative baseline of each row is linear and eliminated
row by row (variable projection), so that the normal equations hold only what rows
share; layer Jacobians are never formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.errors import RetrievalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tgo_spectra.forward import PixelFields

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "Layout",
    "Linearised",
    "Measurement",
    "Solution",
    "State",
    "exponential_covariance",
    "gauss_newton",
    "linearise",
    "normal_equations",
]


SMALL_STEP = 0.05
"""Convergence: the step after this one would have d^2 (Rodgers 2000, eq. 5.29) below
this times the number of elements; this one is still applied. In three occultations
followed to the end, what remained was 6 to 13 times smaller than predicted."""


@dataclass(frozen=True)
class Measurement:
    """What was measured, and how rows and pixels relate to the model.

    ``transmittance``, ``weight`` (1/sigma, 0 where masked): (row, pixel);
    ``bin``: (row,); ``rows``: (row, height), heights to rows with the field of view,
    and ``jacobian_rows`` the same from the heights of the Jacobian's fields;
    ``position``: (pixel,) in [-1, 1]; ``dispersion_cm1``: (pixel,) per pixel.
    """

    transmittance: Array
    weight: Array
    bin: IntArray
    n_bins: int
    rows: Array
    jacobian_rows: Array
    position: Array
    dispersion_cm1: Array
    baseline_degree: int

    @property
    def polynomials(self) -> Array:
        """Legendre polynomials of the baseline, shape (coefficient, pixel)."""
        return legendre.legvander(self.position, self.baseline_degree).T


@dataclass(frozen=True)
class State:
    """One point of the state space; shifts in pixels relative to the product's X."""

    vmr: Mapping[str, Array]
    shift_px: Array
    stretch_px: float
    exponent: float


@dataclass(frozen=True)
class Layout:
    """Order of the state vector: gas by gas, then shifts, stretch, exponent."""

    gases: tuple[str, ...]
    n_levels: int
    n_bins: int

    @property
    def size(self) -> int:
        """Number of state elements."""
        return len(self.gases) * self.n_levels + self.n_bins + 2

    def gas(self, name: str) -> slice:
        """Elements of one gas."""
        start = self.gases.index(name) * self.n_levels
        return slice(start, start + self.n_levels)

    @property
    def shift(self) -> slice:
        """Elements of the shifts."""
        start = len(self.gases) * self.n_levels
        return slice(start, start + self.n_bins)

    def pack(self, state: State) -> Array:
        """State as a vector."""
        profiles = [state.vmr[gas] for gas in self.gases]
        tail = [state.shift_px, [state.stretch_px, state.exponent]]
        return np.concatenate([*profiles, *tail]).astype(float)

    def unpack(self, vector: Array) -> State:
        """Vector as a state."""
        vmr = {gas: vector[self.gas(gas)] for gas in self.gases}
        return State(vmr, vector[self.shift], float(vector[-2]), float(vector[-1]))


@dataclass(frozen=True)
class Linearised:
    """The model at one state, with the baselines eliminated.

    ``gram`` (row, field, field) and ``gradient`` (row, field) of the whitened
    derivatives (gas fields, then shift, stretch, exponent) after projection onto the
    baselines' complement; ``residual`` whitened.
    """

    model: Array
    residual: Array
    baseline: Array
    chi_square: float
    gram: Array
    gradient: Array


def _seen(fields: PixelFields, measurement: Measurement) -> Array:
    """Value, first and second derivative, slope per row: (row, 4, pixel)."""
    four = np.concatenate(
        [fields.value, fields.shift, fields.curvature, fields.slope]
    )  # (4 pixel, height)
    rows = measurement.rows.astype(four.dtype)
    return np.asarray((rows @ four.T).reshape(len(rows), 4, -1))


def row_spectra(
    fields: PixelFields,
    measurement: Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
) -> tuple[Array, list[Array]]:
    """Spectra per row without baseline, and derivatives to shift, stretch, exponent.

    ``built``: shift and stretch (pixel) at which the operator was made.
    ``depth``: aerosol optical depth per row, in the middle of the band.
    """
    m = measurement
    seen = _seen(fields, m).astype(np.float64)
    value, first, second, slope = seen.transpose(1, 0, 2)
    offset_px = (state.shift_px - built[0])[m.bin][:, None] + (
        state.stretch_px - built[1]
    ) * m.position
    offset = offset_px * m.dispersion_cm1
    aerosol = -depth[:, None] * slope
    spectrum = value + offset * (first + 0.5 * offset * second)
    spectrum += state.exponent * aerosol
    shift = (first + offset * second) * m.dispersion_cm1
    return spectrum, [shift, shift * m.position, aerosol]


def fit_baseline(
    measurement: Measurement, spectrum: Array
) -> tuple[Array, Array, Array, Array]:
    """Weighted least squares of the baseline of each row.

    Returns the whitened columns (row, pixel, coefficient), their Gram matrices, the
    coefficients (row, coefficient) and the whitened residual (row, pixel).
    """
    m = measurement
    columns = m.polynomials.T[None] * (spectrum * m.weight)[:, :, None]
    target = m.transmittance * m.weight
    gram = columns.transpose(0, 2, 1) @ columns
    right = columns.transpose(0, 2, 1) @ target[:, :, None]
    try:
        coefficients = np.linalg.solve(gram, right)[:, :, 0]
    except np.linalg.LinAlgError as error:
        message = "the baseline of a row is undetermined: too few usable pixels"
        raise RetrievalError(message, rule="fit.baseline") from error
    residual = target - (columns @ coefficients[:, :, None])[:, :, 0]
    return columns, gram, coefficients, residual


def linearise(
    fields: PixelFields,
    measurement: Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
) -> Linearised:
    """Evaluate the model and its reduced derivatives at a state.

    Parameters
    ----------
    fields : PixelFields
        Convolved fields on (pixel, height), with or without gases.
    measurement, state, built, depth
        See `row_spectra`.

    Returns
    -------
    Linearised

    Raises
    ------
    RetrievalError
        The baseline of a row is undetermined.

    Notes
    -----
    The wide products are made in the precision of the fields (single in a fit: the
    sums run over some 300 pixels), everything afterwards in double.
    """
    from tgo_spectra.retrieval.row_kernel import reduce_rows

    m = measurement
    n_rows, n_pixels = m.transmittance.shape
    four = _seen(fields, m)
    gas = np.empty((n_rows, n_pixels, 0), dtype=four.dtype)
    if fields.gas:
        wide = np.concatenate(list(fields.gas.values()), axis=1)
        gas = m.jacobian_rows.astype(wide.dtype) @ wide.reshape(-1, wide.shape[2]).T
        gas = gas.reshape(n_rows, n_pixels, -1)
    n_field, n_base = gas.shape[2] + 3, m.baseline_degree + 1
    model, residual = np.empty((2, n_rows, n_pixels))
    baseline = np.empty((n_rows, n_base))
    gram = np.empty((n_rows, n_field, n_field))
    gradient = np.empty((n_rows, n_field))
    undetermined = reduce_rows(
        m.transmittance,
        m.weight,
        four,
        gas,
        np.ascontiguousarray(m.polynomials),
        m.position,
        m.dispersion_cm1,
        (state.shift_px - built[0])[m.bin],
        state.stretch_px - built[1],
        state.exponent,
        depth,
        model,
        residual,
        baseline,
        gram,
        gradient,
    )
    if undetermined >= 0:
        message = "the baseline of a row is undetermined: too few usable pixels"
        raise RetrievalError(message, record=undetermined, rule="fit.baseline")
    chi_square = float(np.einsum("rp,rp->", residual, residual))
    return Linearised(model, residual, baseline, chi_square, gram, gradient)


def linearise_plainly(
    fields: PixelFields,
    measurement: Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
) -> Linearised:
    """Do the same as `linearise` with whole arrays: its reference in the tests."""
    m = measurement
    spectrum, small = row_spectra(fields, m, state, built, depth)
    columns, inner, coefficients, residual = fit_baseline(m, spectrum)
    base = coefficients @ m.polynomials
    scale = base * m.weight
    chi_square = float(np.einsum("rp,rp->", residual, residual))
    gram, gradient = _reduced(fields, m, small, scale, columns, inner, residual)
    return Linearised(
        base * spectrum, residual, coefficients, chi_square, gram, gradient
    )


def _reduced(
    fields: PixelFields,
    m: Measurement,
    small: list[Array],
    scale: Array,
    columns: Array,
    inner: Array,
    residual: Array,
) -> tuple[Array, Array]:
    """Gram matrix and gradient of the whitened derivatives without the baseline."""
    dtype = next((f.dtype for f in fields.gas.values()), scale.dtype)
    rows = m.jacobian_rows.astype(dtype)
    ranks = [f.shape[1] for f in fields.gas.values()]
    derivative = np.empty((*scale.shape, sum(ranks) + 3), dtype=dtype)
    start = 0
    for field, k in zip(fields.gas.values(), ranks, strict=True):
        seen = rows @ field.reshape(-1, field.shape[2]).T
        derivative[:, :, start : start + k] = seen.reshape(*scale.shape, k)
        start += k
    for index, term in enumerate(small):
        derivative[:, :, start + index] = term
    derivative *= scale[:, :, None].astype(dtype)
    transposed = derivative.transpose(0, 2, 1)
    gram = (transposed @ derivative).astype(np.float64)
    cross = (transposed @ columns.astype(dtype)).astype(np.float64)
    gram -= cross @ np.linalg.solve(inner, cross.transpose(0, 2, 1))
    gradient = (transposed @ residual[:, :, None].astype(dtype))[:, :, 0]
    return gram, gradient.astype(np.float64)


def normal_equations(
    linear: Linearised,
    paths: Mapping[str, Array],
    layout: Layout,
    bins: IntArray,
) -> tuple[Array, Array]:
    """Expand the per-row Gram matrices to the state: K^T Se^-1 K and its gradient.

    Parameters
    ----------
    linear : Linearised
    paths : dict of array, shape (row, k, level)
        Path weights per gas as the rows see them.
    layout : Layout
    bins : array of int, shape (row,)
    """
    n = layout.size
    matrix, gradient = np.zeros((n, n)), np.zeros(n)
    start, spans = 0, {}
    for gas in layout.gases:
        k = paths[gas].shape[1]
        spans[gas] = slice(start, start + k)
        start += k
    levels = layout.n_levels
    for i, gas in enumerate(layout.gases):
        mine, p = layout.gas(gas), paths[gas]
        flat = p.reshape(-1, levels)
        gradient[mine] = flat.T @ linear.gradient[:, spans[gas]].reshape(-1)
        for other in layout.gases[i:]:
            gram = linear.gram[:, spans[gas], spans[other]].astype(p.dtype)
            block = gram @ paths[other]
            product = flat.T @ block.reshape(-1, levels)
            matrix[mine, layout.gas(other)] = product
            matrix[layout.gas(other), mine] = product.T
        small = linear.gram[:, spans[gas], -3:].astype(p.dtype)  # (row, k, 3)
        seen = p.transpose(0, 2, 1) @ small  # (row, level, 3)
        for b in range(layout.n_bins):
            column = seen[bins == b, :, 0].sum(axis=0)
            matrix[mine, layout.shift.start + b] = column
        matrix[mine, -2:] = seen[:, :, 1:].sum(axis=0)
    for b in range(layout.n_bins):
        chosen, at = bins == b, layout.shift.start + b
        tail = linear.gram[chosen][:, -3:, -3:].sum(axis=0)
        matrix[at, at] = tail[0, 0]
        matrix[at, -2:] = tail[0, 1:]
        matrix[-2:, -2:] += tail[1:, 1:]
        gradient[at] = linear.gradient[chosen, -3].sum()
    gradient[-2:] = linear.gradient[:, -2:].sum(axis=0)
    upper = np.triu(matrix)
    return upper + np.triu(matrix, 1).T, gradient


def exponential_covariance(
    altitude_km: Array, sigma: Array, correlation_km: float
) -> Array:
    """Return the a priori covariance with exponential correlation between levels."""
    distance = np.abs(altitude_km[:, None] - altitude_km[None, :])
    return sigma[:, None] * sigma[None, :] * np.exp(-distance / correlation_km)


@dataclass(frozen=True)
class Solution:
    """Where the iteration ended.

    ``data_matrix`` is K^T Se^-1 K and ``covariance`` (K^T Se^-1 K + Sa^-1)^-1 at the
    last linearisation.
    """

    state: State
    final: Linearised
    data_matrix: Array
    covariance: Array
    iterations: int
    converged: bool
    coarse_shift_px: int
    truncation_residual: float


def gauss_newton(
    evaluate: Callable[[State, bool], Linearised],
    expand: Callable[[Linearised], tuple[Array, Array]],
    layout: Layout,
    first: State,
    prior: State,
    prior_inverse: Array,
    max_iterations: int = 8,
) -> tuple[State, Linearised, Array, Array, int, bool]:
    """Iterate to the maximum a posteriori state (Rodgers 2000, eq. 5.9), damped.

    A step that raises the cost or leaves the finite numbers is shortened; the
    iteration ends when the next step would be small against the posterior covariance.

    Returns
    -------
    state, final, data_matrix, covariance, iterations, converged
    """
    xa = layout.pack(prior)
    x = layout.pack(first)
    linear = evaluate(layout.unpack(x), True)
    cost = float(linear.chi_square + (x - xa) @ prior_inverse @ (x - xa))
    converged = False
    iteration = 0
    previous = 0.0
    while True:
        iteration += 1
        data_matrix, gradient = expand(linear)
        hessian = data_matrix + prior_inverse
        downhill = gradient - prior_inverse @ (x - xa)
        step = _solve(hessian, downhill)
        length = float(step @ downhill)
        # Gauss-Newton contracts at least as fast as the last two steps say
        ratio = length / previous if previous > length else 1.0
        small = length * ratio < SMALL_STEP * layout.size
        previous = length
        if small or iteration == max_iterations:
            x = x + step
            converged = small
            break
        x, linear, cost = _damped_step(
            evaluate, layout, x, step, xa, prior_inverse, cost
        )
    final = evaluate(layout.unpack(x), False)
    covariance = _inverse(hessian)
    if not np.isfinite(final.chi_square):
        converged = False
    return layout.unpack(x), final, data_matrix, covariance, iteration, converged


def _scaled(hessian: Array) -> tuple[Array, Array]:
    """Scale to unit diagonal; refuse what is not finite."""
    if not np.isfinite(hessian).all():
        message = "the normal equations are not finite: the state has run away"
        raise RetrievalError(message, rule="fit.diverged")
    scale = 1.0 / np.sqrt(np.diag(hessian))
    return hessian * scale[:, None] * scale[None, :], scale


def _solve(hessian: Array, right: Array) -> Array:
    scaled, scale = _scaled(hessian)
    return np.asarray(scale * np.linalg.solve(scaled, scale * right))


def _inverse(hessian: Array) -> Array:
    scaled, scale = _scaled(hessian)
    inverse = np.linalg.inv(scaled)
    return np.asarray(0.5 * (inverse + inverse.T) * scale[:, None] * scale[None, :])


def _damped_step(
    evaluate: Callable[[State, bool], Linearised],
    layout: Layout,
    x: Array,
    step: Array,
    xa: Array,
    prior_inverse: Array,
    cost: float,
) -> tuple[Array, Linearised, float]:
    """Take the full step, or the longest of a few shorter ones that helps."""
    fraction = 1.0
    for _ in range(6):
        trial = x + fraction * step
        try:
            linear = evaluate(layout.unpack(trial), True)
        except RetrievalError:
            fraction *= 0.3
            continue
        new = linear.chi_square + (trial - xa) @ prior_inverse @ (trial - xa)
        # the operator may have been rebuilt in between: allow a hair of increase
        if new <= cost * 1.001:
            return trial, linear, float(new)
        fraction *= 0.3
    message = f"no step lowers the cost {cost:.6g}: the model does not fit this product"
    raise RetrievalError(message, value=cost, rule="fit.diverged")
