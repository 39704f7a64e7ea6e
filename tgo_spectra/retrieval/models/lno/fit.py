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
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tgo_spectra.numerics.matrices import steady_product
from tgo_spectra.retrieval.models.lno.model import optical_depths, state_weights
from tgo_spectra.retrieval.noise import of_rows
from tgo_spectra.retrieval.solve import Evaluation, descend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.lno.model import LayeredColumn, NadirModel
    from tgo_spectra.retrieval.noise import Noise
    from tgo_spectra.retrieval.solve import Descent

    Array = npt.NDArray[np.floating]

__all__ = ["SEARCH_PX", "ColumnFit", "fit_spectrum", "spectrum"]

SEARCH_PX = 6.0
"""Largest shift, pixels."""
_LARGEST_STEP_PX = 1.0
"""Of the shift: beyond it lines are no longer where the derivative sees them."""
_PASSES = 3
"""Fits of a spectrum at most: each leaves out what the last showed to be outliers, with
the noise that it left."""
_FARTHER = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
"""Times the three sigma of the slope up to which a column is looked for that makes a
change of three sigma."""
_SETTLED = 0.02
"""Relative change of the noise below which there is no further pass."""


class Changes(Protocol):
    """What makes the changes of a spectrum without its baseline, by source."""

    @property
    def airs(self) -> Mapping[str, LayeredColumn]:
        """Layers that are otherwise, by source."""

    def __call__(self, depths: Sequence[Array], state: Array) -> dict[str, Array]:
        """Of optical depths of the air and of those that are otherwise, and a state."""


@dataclass(frozen=True)
class ColumnFit:
    """Result of one spectrum.

    Attributes
    ----------
    state : array, shape (gas + 1,)
        Factors and the shift (pixels).
    noise_error, smoothing_error : array, shape (gas + 1,)
        1 sigma by noise, and by what the a priori leaves open.
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
    measured : Noise
        As the residuals have it, in units of `noise`.
    off_sigmas : array, shape (parameter,)
        Interferents, shift and sources of error from their a priori, in units of its 1
        sigma.
    changes : dict of array, shape (gas + 1,)
        Error of the state by each source, with its sign.
    bent : float
        How much more of the first gas makes three sigma of noise than the slope says.
    """

    state: Array
    noise_error: Array
    smoothing_error: Array
    degrees_of_freedom: Array
    column_kernel: Array
    noise: float
    reduced_chi_square: float
    residual: Array
    baseline: Array
    converged: bool
    iterations: int
    measured: Noise
    off_sigmas: Array
    changes: Mapping[str, Array]
    bent: float

    @property
    def error(self) -> Array:
        """1 sigma by noise, a priori and sources, (gas + 1,)."""
        known = sum(
            (change**2 for change in self.changes.values()),
            np.zeros_like(self.noise_error),
        )
        return np.sqrt(self.noise_error**2 + self.smoothing_error**2 + known)


def spectrum(
    model: NadirModel, depths: Array, state: Array
) -> tuple[Array, Array, Array]:
    """Calculate a spectrum without its baseline.

    Parameters
    ----------
    model : NadirModel
    depths : array, shape (gas, node)
        From `tgo_spectra.retrieval.models.lno.model.optical_depths`.
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
    n = depths.shape[0]
    fields = np.empty((n + 1, depths.shape[1]))
    fields[0], slope = _transmittance(depths, state)
    np.multiply(depths, slope, out=fields[1:])
    np.negative(fields[1:], out=fields[1:])
    found = _on_pixels(model, fields, float(state[n]))
    return found[0], found[1:], slope


def transmittances(depths: Sequence[Array], state: Array) -> Array:
    """Transmittances on the nodes for some optical depths, (case, node)."""
    return np.array([_transmittance(one, state)[0] for one in depths])


def light(model: NadirModel, transmittance: Array, shift_px: float) -> Array:
    """Calculate spectra of transmittances on the nodes, (case, pixel)."""
    found = _on_pixels(model, np.asarray(transmittance, float), float(shift_px))[:-1]
    # what comes from beyond the table is added to the first alone
    found[1:] += _unabsorbed(model, float(shift_px))[0]
    return np.asarray(found)


def _transmittance(
    depths: Array, state: Array
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Transmittance on the nodes, and minus its derivative by optical depth."""
    depth = state[0] * depths[0]
    for index in range(1, len(depths)):
        depth += state[index] * depths[index]
    # noise makes columns negative: straight on, as exp would grow beyond all bounds
    # in line centres, and with it the weight of a negative column
    slope = np.maximum(depth, 0.0)
    np.negative(slope, out=slope)
    np.exp(slope, out=slope)
    return np.subtract(slope, np.minimum(depth, 0.0, out=depth), dtype=float), slope


def _on_pixels(
    model: NadirModel, fields: npt.NDArray[np.float64], shift_px: float
) -> npt.NDArray[np.float64]:
    """Fields as the pixels see them, and the derivative of the first by the shift."""
    from tgo_spectra.retrieval.models.lno.kernel import apply_runs

    runs = model.runs
    offset = np.asarray((shift_px - model.made_at_px) * model.dispersion_cm1, float)
    found = np.zeros((len(fields) + 1, offset.size))
    apply_runs(
        runs.first_run,
        runs.first_node,
        runs.first_entry,
        runs.entries,
        offset,
        fields,
        found,
    )
    beyond, slope = _unabsorbed(model, shift_px)
    found[0] += beyond
    found[-1] += slope
    found[-1] *= model.dispersion_cm1
    return found


def _unabsorbed(model: NadirModel, shift_px: float) -> tuple[Array, Array]:
    """Light from beyond the table, (pixel,), and its derivative by wavenumber."""
    zeroth, first, second = model.runs.unabsorbed
    offset = (shift_px - model.made_at_px) * model.dispersion_cm1
    return zeroth + offset * (first + 0.5 * offset * second), first + offset * second


def fit_spectrum(
    model: NadirModel,
    measured: Array,
    layers: LayeredColumn,
    *,
    noise: float | None = None,
    changes: Changes | None = None,
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
    changes : Changes, optional
        What else may be wrong, by 1 sigma: it is fitted too, with that as a priori.

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
    airs = [layers, *(changes.airs.values() if changes is not None else ())]
    weights = state_weights(model, airs)
    depths, *there = optical_depths(model, list(zip(airs, weights, strict=True)))
    parameters = len(model.gases) + 1 + model.baseline.shape[1]
    sigma = noise
    if sigma is None:
        sigma = _first_noise(measured[np.isfinite(measured)])
    seen = _Spectrum(model, measured, depths, sigma)
    state, count = model.start, 0
    for number in range(_PASSES):
        found = descend(
            seen,
            state[None],
            model.prior,
            np.diag(model.prior_sigma**-2.0),
            max_iterations=model.max_iterations,
            most=seen.most,
        )
        state, count = found.point[0], count + int(found.iterations[0])
        linear = seen.at(state)
        spread = _spread(linear.residual, parameters)
        outside = np.abs(linear.residual) > model.clip_sigma * spread
        if number == _PASSES - 1:
            break
        if outside.any():
            seen.leave_out(outside)
            linear = seen.at(state)
        if noise is None:
            before = seen.sigma
            seen.sigma = _spread(linear.residual, parameters)
            if not outside.any() and abs(seen.sigma / before - 1.0) < _SETTLED:
                break
        elif not outside.any():
            break
    known = {} if changes is None else changes([depths, *there], state)
    return _result(model, seen, found, noise, layers, weights[0], count, known)


class _Spectrum:
    """One spectrum as the descent sees it: a batch of one."""

    def __init__(
        self, model: NadirModel, measured: Array, depths: Array, sigma: float
    ) -> None:
        self.model, self.measured, self.depths = model, measured, depths
        self.sigma, self.used = sigma, np.isfinite(measured)
        self.most = np.append(np.full(len(model.gases), np.inf), _LARGEST_STEP_PX)
        self._state = np.full(len(model.gases) + 1, np.nan)
        self._linear: _Linear | None = None

    def leave_out(self, outside: npt.NDArray[np.bool_]) -> None:
        """Leave out some of the pixels used."""
        self.used[np.flatnonzero(self.used)[outside]] = False
        self._linear = None

    def at(self, state: Array) -> _Linear:
        """Return the linearisation; the model is not run again at the last state."""
        if not np.array_equal(state, self._state):
            self._seen = spectrum(self.model, self.depths, state)
            self._state, self._linear = state.copy(), None
        if self._linear is None:
            self._linear = _linear(self.model, self.measured, self.used, self._seen)
        return self._linear

    def __call__(self, _: npt.NDArray[np.intp], states: Array) -> Evaluation:
        """Evaluate; beyond the search range there is no such shift."""
        state = states[0]
        if abs(state[-1]) > SEARCH_PX:
            size = state.size
            return Evaluation(
                np.array([np.inf]), np.zeros((1, size, size)), np.zeros((1, size))
            )
        linear = self.at(state)
        precision = self.sigma**-2.0
        return Evaluation(
            np.array([precision * (linear.residual @ linear.residual)]),
            precision * (linear.projected.T @ linear.projected)[None],
            precision * (linear.projected.T @ linear.residual)[None],
        )


@dataclass(frozen=True)
class _Linear:
    """Linearisation: derivatives with the baseline projected out."""

    projected: Array
    residual: Array
    baseline: Array
    slope: Array
    basis: Array
    """Orthonormal, spans the baselines, (pixel, coefficient)."""


def _linear(
    model: NadirModel, measured: Array, used: Array, seen: tuple[Array, Array, Array]
) -> _Linear:
    value, derivative, slope = seen
    polynomials = model.baseline[used]
    columns = polynomials * value[used][:, None]
    q, r = np.linalg.qr(columns)
    y = measured[used]
    baseline = np.linalg.solve(r, q.T @ y)
    scaled = (derivative[:, used] * (polynomials @ baseline)).T
    scaled = scaled - q @ (q.T @ scaled)
    return _Linear(scaled, y - columns @ baseline, baseline, slope, q)


def _spread(residual: Array, parameters: int) -> float:
    return float(np.sqrt(residual @ residual / max(residual.size - parameters, 1)))


def _first_noise(measured: Array) -> float:
    """Noise from third differences of neighbouring pixels, before any fit."""
    differences = np.diff(measured, 3)
    # the squares of 1, 3, 3, 1 add up to 20; lines count too: too much, not too little
    return float(np.sqrt(np.mean(differences**2) / 20.0)) or 1e-12


def _result(
    model: NadirModel,
    seen: _Spectrum,
    found: Descent,
    noise: float | None,
    layers: LayeredColumn,
    weights: tuple[Array, Array],
    count: int,
    changes: Mapping[str, Array],
) -> ColumnFit:
    n, point = len(model.gases), found.point[0]
    linear, used, sigma = seen.at(point), seen.used, seen.sigma
    # what may be wrong beside: columns with an a priori, each in units of its sigma
    more = np.array([change[used] for change in changes.values()]).reshape(
        -1, linear.residual.size
    )
    more = (more * (model.baseline[used] @ linear.baseline)).T
    more -= linear.basis @ (linear.basis.T @ more)
    columns = np.concatenate([linear.projected, more], axis=1)
    precision = np.concatenate([model.prior_sigma**-2.0, np.ones(more.shape[1])])
    information = columns.T @ columns / sigma**2
    covariance = np.linalg.inv(information + np.diag(precision))
    gain = covariance @ columns.T / sigma**2
    kernel = covariance @ information
    size = point.size
    pull = np.zeros(precision.size)
    pull[:size] = precision[:size] * (point - model.prior)
    step = gain @ linear.residual - covariance @ pull
    state = point + step[:size]
    left = linear.residual - columns @ step
    free = left.size - n - 1 - linear.baseline.size
    if noise is None:
        # differences of white residuals have twice their variance
        rough = np.mean(np.diff(left) ** 2) / 2.0
        ratio = float(np.mean(left**2) / rough)
    else:
        ratio = float(left @ left / noise**2 / free)
    residual = np.full(model.pixels.size, np.nan)
    residual[used] = left
    white = np.where(used, residual, 0.0)[None] / sigma
    basis = np.zeros((1, linear.basis.shape[1], used.size))
    basis[0][:, used] = linear.basis.T
    (measured,) = of_rows(white, used[None], basis, np.trace(kernel)[None])
    variance = np.diag(covariance)[:size]
    noisy = np.diag(kernel @ covariance)[:size]
    bent = _bent(model, seen, linear, columns, precision, state)
    both = np.ones(size)
    both[0] = np.sqrt(0.5 * (1.0 + bent**2))  # less, and more of the gas
    known = kernel[:size, size:]
    return ColumnFit(
        state=state,
        noise_error=np.sqrt(noisy) * both,
        smoothing_error=np.sqrt((variance - noisy - (known**2).sum(axis=1)).clip(0.0)),
        degrees_of_freedom=np.diag(kernel)[:n],
        column_kernel=_column_kernel(
            model, linear, used, gain[0], float(state[n]), layers, weights
        ),
        noise=sigma,
        reduced_chi_square=ratio,
        residual=residual,
        baseline=linear.baseline,
        converged=bool(found.converged[0]),
        iterations=count,
        measured=measured,
        off_sigmas=np.append(
            ((state - model.prior) / model.prior_sigma)[1:], step[size:]
        ),
        changes=dict(zip(changes, known.T, strict=True)),
        bent=bent,
    )


def _bent(
    model: NadirModel,
    seen: _Spectrum,
    linear: _Linear,
    columns: Array,
    precision: Array,
    state: Array,
) -> float:
    """Return by how much more of the first gas makes three sigma than the slope says.

    Lines that fill up say less and less of a column. Where noise has made it small its
    slope is that of lines which are not full, and the error by it many times too small:
    such columns would be far off, and outweigh all others in a mean.
    """
    sigma, used = seen.sigma, seen.used
    scale = model.baseline[used] @ linear.baseline
    others = columns[:, 1:] / sigma
    held = np.linalg.inv(others.T @ others + np.diag(precision[1:]))

    def size(change: Array) -> float:
        """Return a change of the spectrum in units of what is not known of it."""
        change = change / sigma
        pull = others.T @ change
        left = float(change @ change - pull @ held @ pull)
        return float(np.sqrt(np.maximum(left, 1e-300)))

    three = 3.0 / size(columns[:, 0])

    def reached(times: float) -> float:
        more = state[:-1].copy()
        more[0] += times * three
        made = [_transmittance(seen.depths, one)[0] for one in (state[:-1], more)]
        start, end = light(model, np.array(made), float(state[-1]))
        change = (end - start)[used] * scale
        return size(change - linear.basis @ (linear.basis.T @ change))

    before, last = 0.0, 0.0
    for times in _FARTHER:
        now = reached(times)
        if now >= 3.0:
            between = (3.0 - before) / (now - before)
            return float(max(1.0, last + between * (times - last)))
        before, last = max(now, before), times
    return _FARTHER[-1]


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
    from tgo_spectra.retrieval.models.lno.kernel import apply_runs_transposed

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
    coefficients = model.band.coefficients[gas]
    by_state = by_vector.astype(np.float64) @ coefficients.reshape(by_vector.size, -1)
    by_state = by_state.reshape(coefficients.shape[1:])
    by_pressure, by_temperature = weights
    by_layer = ((by_pressure @ by_state) * by_temperature).sum(axis=1)
    return np.asarray(by_layer * layers.slant * layers.columns_cm2[0])
