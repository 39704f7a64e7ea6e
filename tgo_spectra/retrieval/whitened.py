"""Spectra of a fit pixel by pixel, in units of their errors and without baselines."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.linear import row_spectra, seen_gases

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.forward.transmittance import PixelFields
    from tgo_spectra.retrieval.linear import Measurement
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["Whitened", "whiten"]

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
