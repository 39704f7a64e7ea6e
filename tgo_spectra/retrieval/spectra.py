"""Spectra of the rows of a fit: shifted, at one state after another, whitened.

The search for a shift of whole pixels is the one of all fits: a model on a detector
that is longer than the spectra at both ends is compared with them at every whole-pixel
shift that this leaves room for.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tgo_spectra.retrieval.linear import linearise, row_spectra, seen_gases

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.forward.transmittance import PixelFields
    from tgo_spectra.retrieval.linear import Linearised, Measurement
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "SEARCH_GAIN",
    "RowModel",
    "Seen",
    "Whitened",
    "best_shift",
    "compare_shifts",
    "depth_of",
    "whiten",
]

SEARCH_GAIN = 25.0
"""Another whole-pixel shift must lower chi-square by this much (5 sigma)."""

ALIKE = 1e-10
"""Relative to the diagonal: fields that look alike make the equations nearly singular,
and any solution will do."""


def compare_shifts(
    measured: Array,
    weight: Array,
    value: Array,
    fields: Array,
    polynomials: Array,
    *,
    precision: Array | float = 0.0,
    every: int = 1,
) -> tuple[Array, Array]:
    """Fit single spectra at all whole-pixel shifts of a longer model.

    The model is a baseline times value, and linear in the fields around it.

    Parameters
    ----------
    measured, weight : array, shape (row, pixel)
        Weight: 1/sigma, 0 where a pixel is left out.
    value : array, shape (row, pixel + 2 reach)
        Model without its baseline.
    fields : array, shape (row, field, pixel + 2 reach)
        Its derivatives by what is free; there may be none.
    polynomials : array, shape (coefficient, pixel)
        Of the baseline.
    precision : array, shape (field,), or float
        Inverse a priori variances of what is free.
    every : int
        Take every n-th pixel.

    Returns
    -------
    chi_square : array, shape (row, 2 reach + 1)
        First of the shift -reach: of the model wavenumber less that of the spectra.
    step : array, shape (row, 2 reach + 1, field)
        What is free, off where the derivatives are taken.
    """
    from tgo_spectra.retrieval.kernels import reduce_rows

    fixed = np.ascontiguousarray
    count, pixels = measured.shape
    number = fields.shape[1]
    some = slice(None, None, every)
    y, w = fixed(measured[:, some]), fixed(weight[:, some])
    base = fixed(polynomials[:, some])
    four = np.zeros((count, 4, y.shape[1]))
    still, zero, none = np.zeros(y.shape[1]), np.zeros((count, 3)), np.zeros(count)
    model, residual = np.empty((2, *y.shape))
    baseline = np.empty((count, len(base)))
    gram = np.empty((count, number + 3, number + 3))
    gradient = np.empty((count, number + 3))
    shifts = value.shape[1] - pixels + 1
    chi, step = np.empty((count, shifts)), np.zeros((count, shifts, number))
    for at in range(shifts):
        seen = slice(at, at + pixels, every)
        four[:, 0] = value[:, seen]
        reduce_rows(
            y, w, four, fixed(fields[:, :, seen], dtype=float), base, still, still,
            zero, none, model, residual, baseline, gram, gradient,
        )  # fmt: skip
        chi[:, at] = (residual**2).sum(axis=1)
        pull = gradient[:, :number]
        held = gram[:, :number, :number] + np.diag(np.broadcast_to(precision, number))
        diagonal = np.einsum("rff->rf", held)
        scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
        held = held * scale[:, :, None] * scale[:, None, :] + ALIKE * np.eye(number)
        found = scale * np.linalg.solve(held, (scale * pull)[:, :, None])[:, :, 0]
        step[:, at], chi[:, at] = found, chi[:, at] - (pull * found).sum(axis=1)
    # where there is no baseline the model explains nothing
    return np.where(np.isfinite(chi), chi, ((y * w) ** 2).sum(axis=1)[:, None]), step


def best_shift(chi_square: Array, gain: Array | float = SEARCH_GAIN) -> IntArray:
    """Shift of the least chi-square, or zero unless it gains more than `gain`.

    Chi-squares (..., 2 reach + 1), gain (...) -> whole pixels (...).
    """
    reach = chi_square.shape[-1] // 2
    enough = chi_square[..., reach] - chi_square.min(axis=-1) > gain
    return np.asarray(np.where(enough, chi_square.argmin(axis=-1) - reach, 0))


RIDGE = 1e-6
"""Keeps the baselines of a row determined whose pixels are masked."""


@dataclass(frozen=True)
class Whitened:
    """The spectra of a fit at its end, in units of their errors, without baselines.

    Attributes
    ----------
    fields : array, shape (row, field, pixel)
        Derivatives in the order of a row's Gram matrix.
    taken : array, shape (row, field, coefficient)
        What was taken out of them, along ``basis``.
    residual, model : array, shape (row, pixel)
        Of the model with its baselines.
    basis : array, shape (row, coefficient, pixel)
        Orthonormal, spans the baselines of the row.
    scale : array, shape (row, pixel)
        Takes a change of transmittance to units of the errors; zero where masked.
    baseline : array, shape (row, coefficient)
        Found.
    """

    fields: Array
    taken: Array
    residual: Array
    model: Array
    basis: Array
    scale: Array
    baseline: Array

    @classmethod
    def plain(cls, fields: Array, residual: Array, model: Array) -> Whitened:
        """Of spectra without baselines: whitened fields, residual and model."""
        count, pixels = residual.shape
        return cls(
            fields,
            np.zeros((count, fields.shape[1], 0)),
            residual,
            model,
            np.zeros((count, 0, pixels)),
            np.asarray(model != 0.0, dtype=float),
            np.zeros((count, 0)),
        )

    @classmethod
    def residuals(
        cls, residual: Array, used: npt.NDArray[np.bool_], basis: Array
    ) -> Whitened:
        """Of residuals alone, which is what noise and patterns are told from.

        ``residual``, ``used``: (row, pixel); ``basis``: (row, coefficient, pixel),
        orthonormal, what of the rows was fitted; zero where a pixel is not used.
        """
        none = np.zeros((len(residual), 0, residual.shape[1]))
        parts = np.zeros((len(residual), 0, basis.shape[1]))
        scale = np.asarray(used, dtype=float)
        coefficients = np.full(basis.shape[:2], np.nan)
        return cls(none, parts, residual, scale, basis, scale, coefficients)

    @functools.cached_property
    def gram(self) -> Array:
        """Products of the fields with each other, (row, field, field)."""
        return np.asarray(self.fields @ self.fields.transpose(0, 2, 1))

    @functools.cached_property
    def gradient(self) -> Array:
        """Products of the fields with the residual, (row, field)."""
        return np.asarray((self.fields @ self.residual[:, :, None])[:, :, 0])

    @property
    def chi_square(self) -> float:
        """Sum of the squares of the residuals."""
        return float((self.residual**2).sum())

    def rows(self, some: npt.NDArray[np.intp]) -> Whitened:
        """Return some rows of it."""
        return Whitened(
            self.fields[some], self.taken[some], self.residual[some], self.model[some],
            self.basis[some], self.scale[some], self.baseline[some],
        )  # fmt: skip

    def project(self, columns: Array) -> Array:
        """Take the baselines out of some whitened columns, (row, column, pixel)."""
        along = columns @ self.basis.transpose(0, 2, 1)
        return np.asarray(columns - along @ self.basis)

    def columns(self, change: Array) -> Array:
        """Return changes of transmittance, (row, column, pixel), in the same way."""
        return self.project(change * self.scale[:, None, :])

    def without(self, masked: npt.NDArray[np.bool_]) -> Whitened:
        """Return the same with more pixels masked, (row, pixel): baselines anew."""
        if not masked.any():
            return self
        keep = ~masked
        whole = (self.fields + self.taken @ self.basis) * keep[:, None, :]
        measured = (self.residual + self.model) * keep
        # the baselines: polynomials times what the model has
        kept = self.basis * keep[:, None, :]
        gram = kept @ self.basis.transpose(0, 2, 1)
        # of a row that is masked as a whole nothing is left
        lower = np.linalg.cholesky(gram + RIDGE * np.eye(gram.shape[1]))
        basis = np.linalg.solve(lower, self.basis * keep[:, None, :])
        taken = whole @ basis.transpose(0, 2, 1)
        off = measured - self.model * keep
        residual = off - np.einsum(
            "rcp,rc->rp", basis, np.einsum("rcp,rp->rc", basis, off)
        )
        return Whitened(
            whole - taken @ basis,
            taken,
            residual,
            self.model * keep,
            basis,
            self.scale * keep,
            self.baseline,
        )

    @property
    def left(self) -> Array:
        """Residual, not-a-number where masked, (row, pixel)."""
        return np.where(self.used, self.residual, np.nan)

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Pixels that count, (row, pixel)."""
        return np.asarray(self.scale > 0.0)


def whiten(
    fields: PixelFields,
    measurement: Measurement,
    state: State,
    built: tuple[float, float],
    depth: Array,
    extra: Array | None = None,
    beside: Array | None = None,
) -> Whitened:
    """Return what `linearise` sums over, pixel by pixel.

    Parameters
    ----------
    fields, measurement, state, built, depth, extra, beside
        As for `linearise`.
    """
    m = measurement
    spectrum, small = row_spectra(fields, m, state, built, depth)
    if beside is not None:
        spectrum = spectrum + beside
    gas = seen_gases(fields, m, fields.value.dtype)
    parts = [gas, *(one[:, None, :] for one in small)]
    if extra is not None:
        parts.insert(1, extra)
    columns = m.polynomials * (spectrum * m.weight)[:, None, :]
    lower = np.linalg.cholesky(columns @ columns.transpose(0, 2, 1))
    basis = np.linalg.solve(lower, columns)
    measured = m.transmittance * m.weight
    along = np.einsum("rcp,rp->rc", basis, measured)
    residual = measured - np.einsum("rcp,rc->rp", basis, along)
    turned = lower.transpose(0, 2, 1)
    baseline = np.linalg.solve(turned, along[:, :, None])[:, :, 0]
    scale = (baseline @ m.polynomials) * m.weight
    single = basis.astype(gas.dtype)
    wide = np.concatenate(
        [part.astype(gas.dtype, copy=False) for part in parts], axis=1
    )
    wide *= scale[:, None, :].astype(gas.dtype)
    taken = wide @ single.transpose(0, 2, 1)
    wide -= taken @ single
    model = scale * spectrum
    return Whitened(wide, taken, residual, model, single, scale, baseline)


def depth_of(brightness: Array) -> Array:
    """Aerosol optical depth from the brightness level of a row."""
    return np.clip(-np.log(np.clip(brightness, 1e-3, None)), 0.0, None)


class Seen(NamedTuple):
    """What the rows see at a state.

    ``fields``: convolved, on heights; ``extra``: derivatives of the rows' transmittance
    by further elements, (row, element, pixel); ``beside``: what is added to it, (row,
    pixel).
    """

    fields: PixelFields
    extra: Array | None = None
    beside: Array | None = None


class RowModel:
    """Spectra of rows at one state after another; a kind says what the rows see.

    Attributes
    ----------
    measurement : Measurement
    built : tuple of float
        Shift and stretch, pixel, at which the instrument response was made.
    depth : array, shape (row,)
        Aerosol optical depth, from the brightness that was last fitted.
    """

    measurement: Measurement
    built: tuple[float, float]
    depth: Array

    def start(self) -> None:
        """Begin without an instrument response and with the measured brightness."""
        self.built = (np.inf, np.inf)
        used = self.measurement.weight > 0
        mean = (self.measurement.transmittance * used).sum(axis=1) / used.sum(axis=1)
        self.depth = depth_of(mean)

    def seen(self, state: State, with_jacobian: bool) -> Seen:
        """Return what the rows see at a state, with or without derivatives."""
        raise NotImplementedError

    def __call__(self, state: State, with_jacobian: bool) -> Linearised:
        """Evaluate at a state, and take the brightness from it."""
        result = self.linearise(state, with_jacobian)
        self.depth = depth_of(result.baseline[:, 0])
        return result

    def linearise(
        self, state: State, with_jacobian: bool, measured: Array | None = None
    ) -> Linearised:
        """Evaluate at a state; with other spectra than those measured if given."""
        fields, extra, beside = self.seen(state, with_jacobian)
        measurement = self.measurement
        if measured is not None:
            measurement = replace(measurement, transmittance=measured)
        return linearise(
            fields, measurement, state, self.built, self.depth, extra, beside
        )

    def whitened(self, state: State) -> Whitened:
        """Return the derivatives pixel by pixel at a state; see `whiten`."""
        fields, extra, beside = self.seen(state, True)
        return whiten(
            fields, self.measurement, state, self.built, self.depth, extra, beside
        )

    def spectra(self, state: State) -> Array:
        """Return the spectra of the rows without baseline, (row, pixel)."""
        fields, _, beside = self.seen(state, False)
        spectra, _ = row_spectra(
            fields, self.measurement, state, self.built, self.depth
        )
        return spectra if beside is None else spectra + beside
