"""Joint fit of one occultation: arrays in, arrays out.

State: mole fraction profiles, a wavenumber shift per bin, a common stretch and the
aerosol exponent. The multiplicative baseline of each row is linear and eliminated
row by row (variable projection), so that the normal equations hold only what rows
share; layer Jacobians are never formed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.bands import Bands

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.forward.transmittance import PixelFields

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "Layout",
    "Linearised",
    "Measurement",
    "State",
    "expand_gradient",
    "linearise",
    "normal_equations",
]

SMALL = 3
"""Elements that rows share directly: shift (of the row's bin), stretch, exponent."""

BLOCK_ROWS = 64
"""Rows expanded at once: of similar height, so that the levels below all are cut."""


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

    def of_rows(self, chosen: npt.NDArray[np.bool_]) -> Measurement:
        """Return the measurement of some rows only; the bins keep their numbers."""
        return replace(
            self,
            transmittance=self.transmittance[chosen],
            weight=self.weight[chosen],
            bin=self.bin[chosen],
            rows=self.rows[chosen],
            jacobian_rows=self.jacobian_rows[chosen],
        )

    def bands(self, dtype: npt.DTypeLike) -> Bands:
        """Return ``rows`` in blocks, for products of some type."""
        made = self._bands.get(str(dtype))
        if made is None:
            made = self._bands[str(dtype)] = Bands(self.rows, dtype)
        return made

    @functools.cached_property
    def _bands(self) -> dict[str, Bands]:
        return {}

    @functools.cached_property
    def polynomials(self) -> Array:
        """Legendre polynomials of the baseline, shape (coefficient, pixel)."""
        return legendre.legvander(self.position, self.baseline_degree).T


@dataclass(frozen=True)
class State:
    """One point of the state space; shifts in pixels relative to the product's X.

    ``extra``: what the layout names beside, such as the amplitude of the ghost.
    """

    vmr: Mapping[str, Array]
    shift_px: Array
    stretch_px: float
    exponent: float
    extra: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Order of the state vector: gas by gas, then shifts, stretch, exponent, extras.

    Gases in ``log`` stand as the natural logarithm of their mole fraction.
    """

    gases: tuple[str, ...]
    n_levels: int
    n_bins: int
    log: frozenset[str] = frozenset()
    extras: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of state elements."""
        return len(self.gases) * self.n_levels + self.n_bins + 2 + len(self.extras)

    def gas(self, name: str) -> slice:
        """Elements of one gas."""
        start = self.gases.index(name) * self.n_levels
        return slice(start, start + self.n_levels)

    @property
    def shift(self) -> slice:
        """Elements of the shifts."""
        start = len(self.gases) * self.n_levels
        return slice(start, start + self.n_bins)

    @property
    def common(self) -> slice:
        """Elements that all rows share: stretch, exponent, extras."""
        return slice(self.shift.stop, self.size)

    def pack(self, state: State) -> Array:
        """State as a vector.

        Raises
        ------
        RetrievalError
            A gas that stands as a logarithm is not positive.
        """
        profiles = []
        for gas in self.gases:
            profile = np.asarray(state.vmr[gas], dtype=float)
            if gas in self.log:
                if not (profile > 0.0).all():
                    message = "a mole fraction must be positive to have a logarithm"
                    raise RetrievalError(
                        message,
                        field=gas,
                        value=float(profile.min()),
                        rule="fit.log_of_zero",
                    )
                profile = np.log(profile)
            profiles.append(profile)
        tail = [state.stretch_px, state.exponent, *state.extra]
        return np.concatenate([*profiles, state.shift_px, tail]).astype(float)

    def unpack(self, vector: Array) -> State:
        """Vector as a state."""
        vmr = {}
        for gas in self.gases:
            part = vector[self.gas(gas)]
            # beyond e^50 it is no mole fraction: the forward model refuses it
            vmr[gas] = np.exp(np.minimum(part, 50.0)) if gas in self.log else part
        stretch, exponent, *extra = (float(v) for v in vector[self.common])
        return State(vmr, vector[self.shift], stretch, exponent, tuple(extra))

    def derivative(self, vector: Array) -> Array:
        """Return d(model's argument)/d(element): the mole fraction of a logarithm."""
        slope = np.ones(self.size)
        for gas in self.log:
            slope[self.gas(gas)] = np.exp(np.minimum(vector[self.gas(gas)], 50.0))
        return slope


@dataclass(frozen=True)
class Linearised:
    """The model at one state, with the baselines eliminated.

    ``gram`` (row, field, field) and ``gradient`` (row, field) of the whitened
    derivatives (gas fields, then shift, stretch, exponent, extras) after projection
    onto the baselines' complement; ``residual`` whitened.
    """

    model: Array
    residual: Array
    baseline: Array
    chi_square: float
    gram: Array
    gradient: Array


def _seen(fields: PixelFields, measurement: Measurement) -> Array:
    """Value, first and second derivative, slope per row: (row, 4, pixel)."""
    bands = measurement.bands(fields.value.dtype)
    shape = (bands.shape[0], 4, len(fields.value))
    four = np.empty(shape, dtype=fields.value.dtype)
    each = (fields.value, fields.shift, fields.curvature, fields.slope)
    for index, field in enumerate(each):
        if field.shape[1] == bands.shape[1]:
            bands.times(field.T, four[:, index])
        else:
            four[:, index] = measurement.jacobian_rows.astype(field.dtype) @ field.T
    return four


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
    extra: Array | None = None,
) -> Linearised:
    """Evaluate the model and its reduced derivatives at a state.

    Parameters
    ----------
    fields : PixelFields
        Convolved fields on (pixel, height), with or without gases.
    measurement, state, built, depth
        See `row_spectra`.
    extra : array, shape (height, extra, pixel), optional
        Derivative of transmittance to further elements that rows share.

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
    gas = _seen_gases(fields, m, four.dtype)
    n_gas, n_base = gas.shape[1], m.baseline_degree + 1
    if extra is not None:
        seen = m.rows @ extra.reshape(len(extra), -1)
        seen = seen.reshape(n_rows, -1, n_pixels).astype(gas.dtype)
        gas = np.concatenate([gas, seen], axis=1)
    n_field = gas.shape[1] + SMALL
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
    if extra is not None:  # they come after the elements that are always there
        count = np.arange(n_field)
        order = np.concatenate(
            [count[:n_gas], count[-SMALL:], count[n_gas : n_field - SMALL]]
        )
        gram = gram[:, order][:, :, order]
        gradient = gradient[:, order]
    return Linearised(model, residual, baseline, chi_square, gram, gradient)


def _seen_gases(
    fields: PixelFields, measurement: Measurement, dtype: npt.DTypeLike
) -> Array:
    """Fields of the gases per row: (row, field, pixel)."""
    m = measurement
    n_pixels = m.transmittance.shape[1]
    if not fields.gas:
        return np.empty((len(m.rows), 0, n_pixels), dtype=dtype)
    parts = [f.transpose(1, 0, 2) for f in fields.gas.values()]
    wide = np.concatenate(parts)  # (field, pixel, height)
    seen = m.jacobian_rows.astype(wide.dtype) @ wide.reshape(-1, wide.shape[2]).T
    return np.asarray(seen.reshape(len(m.rows), -1, n_pixels))


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
        Path weights per gas as the rows see them; zero below the line of sight.
    layout : Layout
    bins : array of int, shape (row,)
    """
    from tgo_spectra.retrieval.expand_kernel import expand_rows

    n = layout.size
    matrix, gradient = np.zeros((n, n)), np.zeros(n)
    lowest = _lowest_level(paths, layout)
    order = np.argsort(lowest, kind="stable")
    ends = np.cumsum([0, *(paths[gas].shape[1] for gas in layout.gases)])
    levels = np.arange(len(layout.gases)) * layout.n_levels
    for start in range(0, order.size, BLOCK_ROWS):
        rows = order[start : start + BLOCK_ROWS]
        bottom = int(lowest[rows[0]])
        if bottom == layout.n_levels:  # nothing seen by these rows and those above
            break
        path = np.concatenate(
            [paths[gas][rows, :, bottom:] for gas in layout.gases], axis=1
        )
        gram = linear.gram[rows, : ends[-1]].astype(path.dtype)
        expand_rows(
            path,
            np.ascontiguousarray(gram[:, :, : ends[-1]]),
            _tail(linear, layout, bins, rows, gram),
            ends,
            levels + bottom,
            layout.shift.start,
            matrix,
            gradient,
        )
    first = sum(paths[gas].shape[1] for gas in layout.gases)
    for b in range(layout.n_bins):
        chosen, at = bins == b, layout.shift.start + b
        tail = linear.gram[chosen][:, first:, first:].sum(axis=0)
        matrix[at, at] = tail[0, 0]
        matrix[at, layout.common] = tail[0, 1:]
        matrix[layout.common, layout.common] += tail[1:, 1:]
        gradient[at] = linear.gradient[chosen, first].sum()
    gradient[layout.common] = linear.gradient[:, first + 1 :].sum(axis=0)
    upper = np.triu(matrix)
    return upper + np.triu(matrix, 1).T, gradient


def _spans(paths: Mapping[str, Array], layout: Layout) -> dict[str, slice]:
    """Fields of each gas in the Gram matrices."""
    start, spans = 0, {}
    for gas in layout.gases:
        k = paths[gas].shape[1]
        spans[gas] = slice(start, start + k)
        start += k
    return spans


def _lowest_level(paths: Mapping[str, Array], layout: Layout) -> IntArray:
    """Lowest level each row sees; the number of levels where it sees none."""
    seen = np.zeros((len(paths[layout.gases[0]]), layout.n_levels), dtype=bool)
    for gas in layout.gases:
        seen |= (paths[gas] != 0.0).any(axis=1)
    return np.where(seen.any(axis=1), seen.argmax(axis=1), layout.n_levels)


def _tail(
    linear: Linearised, layout: Layout, bins: IntArray, rows: IntArray, gram: Array
) -> Array:
    """Products of the gases' fields with what comes after the profiles, and gradient.

    Shape (row, field, element + 1); the shift is that of the row's bin.
    """
    fields = gram.shape[1]
    n = layout.n_bins
    size = layout.size - layout.shift.start
    tail = np.zeros((rows.size, fields, size + 1), dtype=gram.dtype)
    tail[np.arange(rows.size), :, bins[rows]] = gram[:, :, fields]
    tail[:, :, n:-1] = gram[:, :, fields + 1 :]
    tail[:, :, -1] = linear.gradient[rows, :fields]
    return tail


def expand_gradient(
    linear: Linearised,
    paths: Mapping[str, Array],
    layout: Layout,
    bins: IntArray,
) -> Array:
    """Return the gradient of `normal_equations` alone."""
    gradient = np.zeros(layout.size)
    for gas, span in _spans(paths, layout).items():
        flat = paths[gas].reshape(-1, layout.n_levels)
        gradient[layout.gas(gas)] = flat.T @ linear.gradient[:, span].reshape(-1)
    first = sum(paths[gas].shape[1] for gas in layout.gases)
    shift = np.bincount(bins, linear.gradient[:, first], layout.n_bins)
    gradient[layout.shift] = shift
    gradient[layout.common] = linear.gradient[:, first + 1 :].sum(axis=0)
    return gradient
