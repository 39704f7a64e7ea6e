"""Linearised spectra of one occultation, row by row: arrays in, arrays out.

The multiplicative baseline of each row is linear and eliminated row by row (variable
projection), so that the normal equations hold only what rows share. Of each row a small
Gram matrix is kept, of the fields it sees; path weights take the fields of a gas to the
levels of its profile, so that layer Jacobians are never formed.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.kernels import Bands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.forward.transmittance import PixelFields
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "COMMON",
    "REBUILD_PX",
    "Expansion",
    "Linearised",
    "Measurement",
    "linearise",
    "place_of",
    "row_spectra",
    "seen_by_rows",
    "seen_gases",
]

SHIFT, STRETCH, EXPONENT = "wavenumber_shift", "wavenumber_stretch", "aerosol_exponent"
DRIFT = "wavenumber_drift"
"""Shift (pixel) at the top of an occultation less that of its middle."""

COMMON = (SHIFT, STRETCH, EXPONENT)
"""Blocks whose fields `linearise` makes itself, last in a row's Gram matrix: shift of
the row's bin (pixel), stretch of the detector (pixel), exponent of the aerosol (1)."""

REBUILD_PX = 0.05
"""The operator is rebuilt when the mean shift has moved farther than this; within it
the second-order expansion in shift is good to 3e-6 in transmittance (order 134)."""

BLOCK_ROWS = 64
"""Rows expanded at once: of similar height, so that the levels below all are cut."""


@dataclass(frozen=True)
class Measurement:
    """What was measured, and how rows and pixels relate to the model.

    ``transmittance``, ``weight`` (1/sigma, 0 where masked): (row, pixel);
    ``bin``: (row,); ``rows``: (row, height), heights to rows with the field of view,
    and ``jacobian_rows`` the same from the heights of the Jacobian's fields;
    ``position``: (pixel,) in [-1, 1]; ``dispersion_cm1``: (pixel,) per pixel;
    ``place``: (row,) in the occultation, from -1 to 1, for a drift of the shift.
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
    place: Array | None = None

    def shift_px(self, state: State, built: tuple[float, float]) -> Array:
        """Shift of each row from where the operator was made, pixel."""
        shift = (state[SHIFT] - built[0])[self.bin]
        if DRIFT in state and self.place is not None:
            shift = shift + state[DRIFT][0] * self.place
        return np.asarray(shift)

    def of_rows(self, chosen: npt.NDArray[np.bool_]) -> Measurement:
        """Return the measurement of some rows only; the bins keep their numbers."""
        return replace(
            self,
            transmittance=self.transmittance[chosen],
            weight=self.weight[chosen],
            bin=self.bin[chosen],
            rows=self.rows[chosen],
            jacobian_rows=self.jacobian_rows[chosen],
            place=None if self.place is None else self.place[chosen],
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
class Linearised:
    """The model at one state, with the baselines eliminated.

    ``gram`` (row, field, field) and ``gradient`` (row, field) of the whitened
    derivatives (fields of the gases, extra elements, then `COMMON`) after projection
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
    offset_px = m.shift_px(state, built)[:, None] + (
        (state[STRETCH] - built[1]) * m.position
    )
    offset = offset_px * m.dispersion_cm1
    aerosol = -depth[:, None] * slope
    spectrum = value + offset * (first + 0.5 * offset * second)
    spectrum += state[EXPONENT] * aerosol
    shift = (first + offset * second) * m.dispersion_cm1
    return spectrum, [shift, shift * m.position, aerosol]


def linearise(
    fields: PixelFields,
    measurement: Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
    extra: Array | None = None,
    beside: Array | None = None,
) -> Linearised:
    """Evaluate the model and its reduced derivatives at a state.

    Parameters
    ----------
    fields : PixelFields
        Convolved fields on (pixel, height), with or without gases.
    measurement, state, built, depth
        See `row_spectra`.
    extra : array, shape (row, extra, pixel), optional
        Derivative of the rows' transmittance to further elements that rows share.
    beside : array, shape (row, pixel), optional
        Added to the transmittance of the rows.

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
    from tgo_spectra.retrieval.kernels import reduce_rows

    m = measurement
    n_rows, n_pixels = m.transmittance.shape
    four = _seen(fields, m)
    if beside is not None:
        four[:, 0] += beside
    gas = seen_gases(fields, m, four.dtype)
    n_base = m.baseline_degree + 1
    if extra is not None:
        extra = extra.astype(gas.dtype, copy=False)
        gas = np.concatenate([gas, extra], axis=1) if gas.shape[1] else extra
    n_field = gas.shape[1] + len(COMMON)
    model, residual = np.empty((2, n_rows, n_pixels))
    baseline = np.empty((n_rows, n_base))
    gram = np.empty((n_rows, n_field, n_field))
    gradient = np.empty((n_rows, n_field))
    moved = np.empty((n_rows, 3))
    moved[:, 0] = m.shift_px(state, built)
    moved[:, 1] = float(state[STRETCH][0]) - built[1]
    moved[:, 2] = float(state[EXPONENT][0])
    undetermined = reduce_rows(
        m.transmittance,
        m.weight,
        four,
        gas,
        np.ascontiguousarray(m.polynomials),
        m.position,
        m.dispersion_cm1,
        moved,
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


def seen_by_rows(weights: Array, fields: Array) -> Array:
    """Fields on heights, (height, field, pixel), as the rows see them.

    ``weights``: (row, height). Returns (row, field, pixel).
    """
    flat = fields.reshape(len(fields), -1)
    seen = weights.astype(fields.dtype, copy=False) @ flat
    return np.asarray(seen.reshape(len(weights), *fields.shape[1:]))


def seen_gases(
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


class Sums(Protocol):
    """Sums over the pixels of rows, which stand in for all of their spectra."""

    @property
    def gram(self) -> Array:
        """Products of the fields with each other, (row, field, field)."""

    @property
    def gradient(self) -> Array:
        """Products of the fields with the residual, (row, field)."""


class Expansion:
    """How the fields of the rows' Gram matrices become elements of the state.

    Parameters
    ----------
    space : StateSpace
    paths : dict of array, shape (row, k, level)
        Path weights, as the rows see them, of the profiles whose k fields come first
        in a Gram matrix; zero below the line of sight.
    bins : array of int, shape (row,)
        Bin of each row.
    extra : sequence of str
        Blocks whose elements are fields themselves, before `COMMON`; of a block with an
        element for each bin a row has the field of its own bin.
    common : sequence of str
        The same, last.
    """

    def __init__(
        self,
        space: StateSpace,
        paths: Mapping[str, Array],
        bins: IntArray,
        extra: Sequence[str] = (),
        common: Sequence[str] = COMMON,
    ) -> None:
        self.space, self.paths = space, paths
        self.ends = np.cumsum([0, *(path.shape[1] for path in paths.values())])
        at = []
        for name in (*extra, *common):
            start = space[name].start
            if space.block(name).per == "bin":
                at.append((start + bins)[:, None])
            else:
                many = np.arange(start, space[name].stop)
                at.append(np.broadcast_to(many, (bins.size, many.size)))
        self.at = np.concatenate(at, axis=1)
        self.bins = bins
        lowest = self._lowest_level()
        order = np.argsort(lowest, kind="stable")
        order = order[lowest[order] < self._n_levels]
        self.blocks = []
        for start in range(0, order.size, BLOCK_ROWS):
            rows = order[start : start + BLOCK_ROWS]
            bottom = int(lowest[rows[0]])
            parts = [path[rows, :, bottom:] for path in paths.values()]
            self.blocks.append((rows, bottom, np.concatenate(parts, axis=1)))

    def of(self, space: StateSpace) -> Expansion:
        """Return the same for other elements of the same blocks."""
        other = copy.copy(self)
        other.space = space
        return other

    @property
    def _n_levels(self) -> int:
        return next((path.shape[2] for path in self.paths.values()), 0)

    def _lowest_level(self) -> IntArray:
        """Lowest level each row sees; the number of levels where it sees none."""
        n_levels = self._n_levels
        seen = np.zeros((self.bins.size, n_levels), dtype=bool)
        for path in self.paths.values():
            seen |= (path != 0.0).any(axis=1)
        if not n_levels:
            return np.zeros(self.bins.size, dtype=np.intp)
        return np.where(seen.any(axis=1), seen.argmax(axis=1), n_levels)

    def __call__(self, linear: Sums) -> tuple[Array, Array]:
        """Return K^T Se^-1 K, (element, element), and K^T Se^-1 (y - F), (element,)."""
        from tgo_spectra.retrieval.kernels import expand_rows

        n, first = self.space.size, int(self.ends[-1])
        tail_start = self.space.profiles.stop if self.paths else 0
        matrix, gradient = np.zeros((n, n)), np.zeros(n)
        starts = np.array([self.space[name].start for name in self.paths])
        for rows, bottom, path in self.blocks:
            gram = linear.gram[rows, :first].astype(path.dtype)
            tail = np.zeros((rows.size, first, n - tail_start + 1), dtype=path.dtype)
            at = self.at[rows] - tail_start
            tail[np.arange(rows.size)[:, None], :, at] = gram[:, :, first:].swapaxes(
                1, 2
            )
            tail[:, :, -1] = linear.gradient[rows, :first]
            expand_rows(
                path,
                np.ascontiguousarray(gram[:, :, :first]),
                tail,
                self.ends,
                starts + bottom,
                tail_start,
                matrix,
                gradient,
            )
        upper = np.triu(matrix)
        matrix = upper + np.triu(matrix, 1).T
        for b in np.unique(self.bins):
            mine = np.flatnonzero(self.bins == b)
            at = self.at[mine[0]]
            matrix[np.ix_(at, at)] += linear.gram[mine, first:, first:].sum(axis=0)
            gradient[at] += linear.gradient[mine, first:].sum(axis=0)
        return matrix, gradient

    def gradient(self, linear: Sums) -> Array:
        """Return the gradient alone, (element,)."""
        return self.left(linear.gradient[:, :, None])[:, 0]

    def left(self, products: Array) -> Array:
        """Sum products of the rows' fields with something over the rows.

        Parameters
        ----------
        products : array, shape (row, field, column)

        Returns
        -------
        array, shape (element, column)
        """
        found = np.zeros((self.space.size, products.shape[2]))
        first = int(self.ends[-1])
        spans = zip(self.paths.items(), self.ends[:-1], self.ends[1:], strict=True)
        for (name, path), start, stop in spans:
            flat = path.reshape(-1, path.shape[2])
            part = products[:, start:stop].reshape(-1, products.shape[2])
            found[self.space[name]] = flat.T @ part.astype(flat.dtype, copy=False)
        for number in np.unique(self.bins):
            mine = np.flatnonzero(self.bins == number)
            found[self.at[mine[0]]] += products[mine, first:].sum(axis=0)
        return found

    def right(self, vectors: Array) -> Array:
        """Return what changes of the state are in the rows' fields.

        Parameters
        ----------
        vectors : array, shape (element, column)

        Returns
        -------
        array, shape (row, field, column)
            Products with the fields, summed over them, are the changes of the spectra.
        """
        first, count = int(self.ends[-1]), vectors.shape[1]
        found = np.empty((self.bins.size, first + self.at.shape[1], count))
        spans = zip(self.paths.items(), self.ends[:-1], self.ends[1:], strict=True)
        for (name, path), start, stop in spans:
            flat = path.reshape(-1, path.shape[2]) @ vectors[self.space[name]]
            found[:, start:stop] = flat.reshape(len(path), -1, count)
        found[:, first:] = vectors[self.at]
        return found


def place_of(state: State) -> tuple[float, float]:
    """Return the mean shift and the stretch (pixel) at which an operator is made."""
    return float(state[SHIFT].mean()), float(state[STRETCH][0])
