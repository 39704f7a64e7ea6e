"""How far single spectra are to be trusted: noise, sources of error, lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tgo_spectra.instruments.response.tabulated import apply
from tgo_spectra.retrieval import consistency, noise
from tgo_spectra.retrieval.models.so.slant_fields import batches, on_nodes
from tgo_spectra.retrieval.spectra import Whitened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.retrieval.models.so.slant_fields import Few, Seen, Vectors
    from tgo_spectra.retrieval.noise import Noise

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["LINES", "Ended", "Ends", "Instrument"]

DARKEST = 1e-2
"""Brightness of a row, of that of the Sun, below which a zero level grows no more."""

LINES = "lines"
"""Error of what the lines of a gas do not agree on."""


class Instrument(Protocol):
    """Makes what leads from optical depths to pixels near a shift."""

    pixels: IntArray

    vectors: Vectors

    def seen(self, pixels: IntArray, shift_px: float) -> Seen:
        """Return it."""

    def operator(self, pixels: IntArray, shift_px: float, kinds: int = 3) -> Operator:
        """Return what leads from the nodes to the pixels, so many kinds of it."""

    def few(self, pixels: IntArray, shifts: Sequence[float]) -> dict[float, Few]:
        """Return nearly the same at some shifts, on few nodes."""


@dataclass(frozen=True)
class Ends:
    """What is known of rows in the end, see `Fitted`."""

    noise: list[Noise]
    changes: dict[str, Array]
    agreement: Array
    alone: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ended:
    """Rows where their fits ended.

    ``near``: shift (pixel) of their operators;
    ``point`` (row, element), ``covariance``, ``freedom``, ``baseline``, ``residual``
    and ``weight`` (row, pixel): there; ``depth``: aerosol optical depth (row,);
    ``position`` (pixel,) and ``polynomials`` (coefficient, pixel) of the baselines;
    ``factor_sigma``: a priori of the factors.
    """

    pixels: IntArray
    position: Array
    polynomials: Array
    weight: Array
    depth: Array
    near: Array
    point: Array
    covariance: Array
    freedom: Array
    baseline: Array
    residual: Array
    n_gas: int
    factor_sigma: float

    def changes(
        self,
        rows: IntArray,
        made: Mapping[float, Seen],
        instrument: Instrument,
        weights: Array,
        field: Array,
        others: Mapping[str, tuple[Instrument, Array]],
    ) -> dict[str, Array]:
        """Change some spectra by what is not fitted: (row, pixel), by source.

        Parameters as those of `tgo_spectra.retrieval.models.so.slant_rows.fit`;
        ``made``: operators by their shift, at which the changes are seen; to where a
        row is they move by their own slope from pixel to pixel. They are seen through
        the mean optical depth of the field of view: by 1e-3 of themselves the same.
        """
        shape = rows.size, self.pixels.size
        found: dict[str, Array] = {name: np.empty(shape) for name in others}
        shifts = np.unique(self.near[rows]).tolist()
        through = {
            name: {
                at: made[at].operator
                if other is instrument
                else other.operator(self.pixels, at, kinds=1)
                for at in shifts
            }
            for name, (other, _) in others.items()
        }
        airs = {id(one): one for one in (weights, *(one for _, one in others.values()))}
        for batch in batches(self.near[rows]) if others else []:
            some, count = rows[batch], batch.size
            shift, factors = float(self.near[some[0]]), self.point[some, : self.n_gas]
            means = {
                key: on_nodes(
                    instrument.vectors,
                    (field @ one[some])[:, None],
                    np.ones(1),
                    factors,
                    derivatives=False,
                )[0]
                for key, one in airs.items()
            }
            moved = self._moved(some)
            mine = apply(made[shift].operator, means[id(weights)])
            for name, (_, one) in others.items():
                seen = apply(through[name][shift], means[id(one)])
                off = (seen - mine)[:, :count].T
                found[name][batch] = off + moved * np.gradient(off, axis=1)
        return found

    def conclude(
        self,
        ended: IntArray,
        four: Array,
        gas: Array,
        made: Mapping[float, Seen],
        changes: Mapping[str, Array],
        zero_level: float,
        line_sigma: float,
    ) -> Ends:
        """Measure the noise, the errors by what is not fitted, and whether lines agree.

        Parameters as those of `tgo_spectra.retrieval.models.so.slant_rows.fit`; of the
        rows that ``ended`` somewhere ``four`` and ``gas``, see `fields`, and the
        `changes`; ``made``: operators by their shift.
        """
        count = len(self.near)
        names = [*changes, *(["zero_level"] if zero_level > 0.0 else []), LINES]
        none = [noise.Noise.unknown()] * count
        found = Ends(
            none,
            {name: np.full((count, self.n_gas), np.nan) for name in names},
            np.full(count, np.nan),
            np.zeros(count, dtype=bool),
        )
        n = self.n_gas
        dispersion = np.array(
            [made[at].dispersion_cm1 for at in self.near[ended].tolist()]
        ).reshape(ended.size, self.pixels.size)
        light, few = self._light(ended, dispersion, four)
        whole = self._whole(ended, light, np.stack([*gas.transpose(1, 0, 2), *few], 1))
        changed = list(changes.values())
        if zero_level > 0.0:
            bright = self.baseline[ended, :1].clip(DARKEST)
            changed.append(zero_level * (1.0 / bright - light))
        shape = (len(changed), *light.shape)
        moved = whole.columns(np.reshape(changed, shape).transpose(1, 0, 2))
        covariance = self.covariance[ended]
        steps = covariance @ (whole.fields @ moved.transpose(0, 2, 1))
        for index, name in enumerate(names[:-1]):
            found.changes[name][ended] = steps[:, :n, index]
        measured = noise.of_rows(
            whole.residual, whole.used, whole.basis, self.freedom[ended]
        )
        inflation = np.array([one.inflation for one in measured])
        for row, one in zip(ended.tolist(), measured, strict=True):
            found.noise[row] = one
        found.agreement[ended] = 1.0
        for number in range(n):
            probability, error, alone = consistency.of_rows(
                number, whole, moved, covariance, inflation,
                line_sigma * self.point[ended, number], self.factor_sigma,
            )  # fmt: skip
            found.agreement[ended] = np.minimum(found.agreement[ended], probability)
            found.changes[LINES][ended, number] = error
            found.alone[ended] |= alone
        return found

    def _whole(self, rows: IntArray, light: Array, fields: Array) -> Whitened:
        """Spectra of some rows pixel by pixel, in units of their errors."""
        weight = self.weight[rows]
        columns = self.polynomials * (light * weight)[:, None, :]
        basis = np.swapaxes(np.linalg.qr(np.swapaxes(columns, 1, 2))[0], 1, 2)
        scale = weight * (self.baseline[rows] @ self.polynomials)
        k = fields * scale[:, None, :]
        taken = k @ np.swapaxes(basis, 1, 2)
        residual = np.where(weight > 0, self.residual[rows], 0.0)
        return Whitened(
            k - taken @ basis, taken, residual, scale * light, basis, scale,
            self.baseline[rows],
        )  # fmt: skip

    def _light(
        self, rows: IntArray, dispersion: Array, four: Array
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        """Spectra without baseline, and derivatives by shift, stretch and exponent."""
        value, first, second, slope = four.transpose(1, 0, 2)
        moved = self._moved(rows) * dispersion
        aerosol = -self.depth[rows, None] * slope
        light = value + moved * (first + 0.5 * moved * second)
        shift = (first + moved * second) * dispersion
        light += self.point[rows, self.n_gas + 2, None] * aerosol
        return light, (shift, shift * self.position, aerosol)

    def _moved(self, rows: IntArray) -> Array:
        """Pixels by which some rows are off their operator, (row, pixel)."""
        n, state = self.n_gas, self.point[rows]
        moved = (state[:, n] - self.near[rows])[:, None]
        return np.asarray(moved + state[:, n + 1, None] * self.position)
