"""Measure what a table is off.

Errors are those of transmittance spectra at the finest resolution of the instrument,
over random atmospheres that the table has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.spectroscopy.tables.cells import CELL_POINTS, legendre_values
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients
from tgo_spectra.spectroscopy.tables.scratch import in_pieces, run_tasks
from tgo_spectra.spectroscopy.tables.training import (
    Band,
    RandomPaths,
    draw,
    random_paths,
    temperature_bounds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from scipy.sparse import csr_array

    from tgo_spectra.spectroscopy.tables.scratch import Progress

__all__ = [
    "CrossSection",
    "Measure",
    "Part",
    "line_shapes",
    "measure_direct",
    "on_nodes",
]

PIXEL_PIECE = 500  # pixels of spectra made at a time, whatever the memory
PIXEL_STEP = 0.05  # cm-1, less than half the narrowest width
REACH = 0.65  # cm-1, of the line shape
PATH_PIECE = 32  # paths whose spectra are made at a time, whatever the memory

Part = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Coefficients (path, vector) and vectors (vector, node) of optical depths."""

CrossSection = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float64],
]
"""Wavenumber cm-1, pressure Pa, temperature K to (state, wavenumber) in cm2."""


def _pixels(low: float, high: float) -> NDArray[np.float64]:
    """Centres of pixels on an axis between two edges, cm-1."""
    margin = min(0.8, 0.25 * (high - low))
    first, last = low + margin, high - margin
    count = int((last - first) / PIXEL_STEP) + 1
    return first + PIXEL_STEP * np.arange(count, dtype=np.float64)


def line_shapes(
    nu: NDArray[np.float64],
    pixels: NDArray[np.float64],
    *,
    amplitude: float = 0.272437,
) -> csr_array:
    """Line shape (pixel, point) of an instrument on a uniform axis, cm-1.

    The finest there is, the doublet of the SO channel, before orders are added: every
    other spectrum of the instrument is a mean of such ones. Rows sum to one;
    `amplitude` is the height of the second Gaussian over that of the first.
    """
    from scipy.sparse import csr_array

    width = pixels.mean() / (16939.8009 * 2.355)  # SO resolution, Villanueva 2022
    gap = 0.2 * pixels.mean() / 3700.0
    reach = round(REACH / (nu[1] - nu[0]))
    centre = np.searchsorted(nu, pixels)
    index = np.clip(centre[:, None] + np.arange(-reach, reach), 0, nu.size - 1)
    offset = nu[index] - pixels[:, None]
    shape = np.exp(-0.5 * (offset / width) ** 2)
    shape += amplitude * np.exp(-0.5 * ((offset - gap) / width) ** 2)
    shape /= shape.sum(axis=1, keepdims=True)
    start = np.arange(0, shape.size + 1, index.shape[1])
    return csr_array((shape.ravel(), index.ravel(), start), (pixels.size, nu.size))


def on_nodes(
    shapes: csr_array, cell: NDArray[np.int32], weight: NDArray[np.float64], cells: int
) -> csr_array:
    """Carry line shapes (pixel, point) to the nodes (pixel, node) by their polynomials.

    `cell` (node,) and `weight` (node, moment) are those of the nodes.
    """
    from scipy.sparse import block_diag, csr_array

    legendre = legendre_values(CELL_POINTS, weight.shape[1])
    # projection on the polynomials with their discrete Gram matrix
    dual = legendre @ np.linalg.inv(legendre.T @ legendre)
    expand = csr_array(block_diag([csr_array(dual)] * cells))
    moments = weight.shape[1]
    columns = (cell.astype(np.int64)[:, None] * moments + np.arange(moments)).ravel()
    start = np.arange(0, weight.size + 1, moments)
    nodes = csr_array((weight.ravel(), columns, start), (cell.size, cells * moments))
    return csr_array(shapes @ expand @ nodes.T)


@dataclass(frozen=True)
class Spectra:
    """Spectra at the instrument's finest, from the fine axis and from the nodes.

    Attributes
    ----------
    low, step : float
        Lower edge and step of the fine axis, cm-1.
    pieces : tuple of (slice, ndarray)
        Fine points, and the pixels whose line shapes lie in them.
    reduced : csr_array
        Line shapes of all pixels on the nodes, (pixel, node).
    """

    low: float
    step: float
    pieces: tuple[tuple[slice, NDArray[np.float64]], ...]
    reduced: csr_array

    @classmethod
    def of_nodes(
        cls,
        low: float,
        step: float,
        cells: int,
        cell: NDArray[np.int32],
        weight: NDArray[np.float64],
    ) -> Spectra:
        """Line shapes on an axis of whole cells with its nodes' cells and weights."""
        from scipy.sparse import csr_array, vstack

        pixels = _pixels(low, low + cells * CELL_POINTS * step)
        pieces, reduced = [], []
        for begin, end in in_pieces(pixels.size, PIXEL_PIECE):
            some = pixels[begin:end]
            edges = some[0] - REACH - 2.0 * step, some[-1] + REACH + 2.0 * step
            first = max(int((edges[0] - low) / step) // CELL_POINTS, 0)
            last = min(int((edges[1] - low) / step) // CELL_POINTS + 1, cells)
            here = slice(first * CELL_POINTS, last * CELL_POINTS)
            shape = line_shapes(_axis(low, step, here), some)
            node = slice(*np.searchsorted(cell, [first, last]))
            part = on_nodes(
                shape, cell[node] - np.int32(first), weight[node], last - first
            )
            place = part.indices + node.start
            reduced.append(
                csr_array((part.data, place, part.indptr), (some.size, cell.size))
            )
            pieces.append((here, some))
        return cls(low, step, tuple(pieces), csr_array(vstack(reduced)))

    def full(
        self, depth: Callable[[slice], NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Return spectra (pixel, path) from depths (path, point) of pieces."""
        parts = []
        for here, pixels in self.pieces:
            shape = line_shapes(_axis(self.low, self.step, here), pixels)
            parts.append(shape @ np.exp(-depth(here)).T)
        return np.asarray(np.concatenate(parts), np.float64)

    def at_nodes(self, depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return spectra (pixel, path) from depths (path, node)."""
        return np.asarray(self.reduced @ np.exp(-depth).T, np.float64)


def _axis(low: float, step: float, points: slice) -> NDArray[np.float64]:
    """Return fine points of a slice, cm-1."""
    places = np.arange(points.start, points.stop) + 0.5
    return np.asarray(low + places * step, np.float64)


class Measure:
    """Spectra of unseen atmospheres, full and reduced, at the instrument's finest.

    Parameters
    ----------
    band : Band
        Cross sections.
    point : ndarray of int64, (node,)
        Fine points of the nodes.
    cell, weight : ndarray
        Nodes.
    seed, atmospheres, heights : int
        Unseen set.
    """

    def __init__(
        self,
        band: Band,
        point: NDArray[np.int64],
        cell: NDArray[np.int32],
        weight: NDArray[np.float64],
        *,
        seed: int,
        atmospheres: int,
        heights: int,
    ) -> None:
        self.band, self.point = band, point
        self.depth = draw(band, seed, atmospheres, heights)
        cells = band.points // CELL_POINTS
        self.shapes = Spectra.of_nodes(band.low, band.step, cells, cell, weight)
        self.tau = {gas: d.T @ band.sigma(gas, point) for gas, d in self.depth.items()}
        self.paths = next(iter(self.depth.values())).shape[1]
        self.total: NDArray[np.float64] = np.zeros((self.paths, point.size))
        for tau in self.tau.values():
            self.total += tau
        self.exact = self._by_paths(lambda some: self.total[some])

    def _by_paths(
        self, depth: Callable[[slice], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Spectra (pixel, path) of depths on the nodes, few paths at a time."""
        pieces = [slice(*piece) for piece in in_pieces(self.paths, PATH_PIECE)]
        return np.hstack([self.shapes.at_nodes(depth(some)) for some in pieces])

    def full_spectra(self) -> NDArray[np.float64]:
        """Return the spectra from the fine axis, (pixel, path)."""

        def depth(points: slice) -> NDArray[np.float64]:
            total: NDArray[np.float64] = np.zeros(
                (self.paths, points.stop - points.start)
            )
            for gas, weights in self.depth.items():
                total += weights.T @ self.band.sigma(gas, points)
            return total

        return self.shapes.full(depth)

    def path_coefficients(
        self, gas: str, coefficients: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Carry coefficients (vector, state) to the paths, (path, vector)."""
        return self.depth[gas].T.astype(np.float64) @ coefficients.T

    def spectra(
        self, *parts: Part, exact_but: str | None = None
    ) -> NDArray[np.float64]:
        """Return the spectra from the nodes, (pixel, path), of depths in parts.

        Each part is coefficients (path, vector) and vectors (vector, node). The other
        gases are exact where the one that is not is named.
        """

        def depth(some: slice) -> NDArray[np.float64]:
            if exact_but is None:
                total = np.zeros_like(self.total[some])
            else:
                total = self.total[some] - self.tau[exact_but][some]
            for coefficients, vectors in parts:
                total += coefficients[some] @ vectors
            return total

        return self._by_paths(depth)


@dataclass(frozen=True)
class _Piece:
    """A piece of a table, and the paths that are calculated on it line by line."""

    table: xr.Dataset
    functions: Mapping[str, CrossSection]
    shapes: Spectra
    node: slice
    wavenumber: NDArray[np.float64]

    def errors(self, paths: RandomPaths) -> tuple[float, float, int]:
        """Largest error of one atmosphere, sum of squares, number of values."""
        heights = next(iter(paths.column.values())).shape[0]
        exact = np.zeros((heights, self.wavenumber.size))
        fast = np.zeros((heights, self.node.stop - self.node.start))
        state = paths.pressure_pa, paths.temperature_k
        grid = np.log(self.table["pressure"].values), self.table["temperature"].values
        for gas, function in self.functions.items():
            column = paths.column[gas]
            for some in np.array_split(np.arange(column.shape[1]), 4):
                sigma = function(self.wavenumber, state[0][some], state[1][some])
                exact += column[:, some] @ sigma
            levels = interpolate_coefficients(
                self.table[f"{gas}_coefficients"].values,
                *grid,
                *state,
                doppler_limit=True,
            )
            vectors = self.table[f"{gas}_vectors"].values[:, self.node]
            fast += (column @ levels.T) @ vectors
        direct = self.shapes.full(lambda points: exact[:, points])
        error = self.shapes.at_nodes(fast) - direct
        return float(np.abs(error).max()), float((error**2).sum()), error.size


def measure_direct(
    table: xr.Dataset,
    cross_sections: Mapping[str, CrossSection],
    *,
    low: float,
    width: float,
    atmospheres: int,
    heights: int = 8,
    seed: int = 7,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[float, float]:
    """Worst and rms error of transmittance of a table on a piece of its band, cm-1.

    Against line by line at each shell's own state on the full fine axis, at the
    resolution of the instrument, in random atmospheres that the table has not seen: the
    error of nodes, moments, vectors, rounding and interpolation together. `workers`
    atmospheres at a time.
    """
    cell_width = float(table.attrs["cell_width"])
    start = table["cell_start"].values
    first = int(np.clip(np.searchsorted(start, low), 0, start.size - 1))
    last = min(first + max(1, round(width / cell_width)), start.size)
    node = slice(*np.searchsorted(table["node_cell"].values, [first, last]).tolist())
    step = float(table.attrs["fine_step"])
    begin, points = float(start[first]), (last - first) * CELL_POINTS
    shapes = Spectra.of_nodes(
        begin,
        step,
        last - first,
        table["node_cell"].values[node] - np.int32(first),
        table["node_weight"].values[node],
    )
    nu = _axis(begin, step, slice(0, points))
    piece = _Piece(table, cross_sections, shapes, node, nu)
    generator = np.random.default_rng(seed)
    bounds = temperature_bounds(table["temperature"].values)
    top = float(table["pressure"].values[-1])
    tasks = [
        (
            random_paths(
                generator,
                list(cross_sections),
                heights,
                temperature_k=bounds,
                highest_pa=top,
            ),
        )
        for _ in range(atmospheres)
    ]
    made = run_tasks(
        piece.errors, tasks, workers, progress=progress, stage="line by line"
    )
    worst, squares, count = zip(*made, strict=True)
    return max(worst), float(np.sqrt(sum(squares) / sum(count)))
