"""Compress the cross sections on the nodes, and measure what a table is off.

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
from tgo_spectra.spectroscopy.tables.interpolation import interpolate_coefficients
from tgo_spectra.spectroscopy.tables.scratch import in_pieces, run_tasks
from tgo_spectra.spectroscopy.tables.training import (
    SCALE,
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
    "Compressed",
    "CrossSection",
    "Measure",
    "choose_rank",
    "compress",
    "decompose",
    "line_shapes",
    "measure_direct",
    "on_nodes",
    "packed",
]

LEAST_RANK = 4
FIRST_STEP = 2.0**-15  # of the height of the leading vector
FINEST_STEP = 2.0**-23
COARSEST_STEP = 2.0**-10
ROUNDING_SHARE = 1.0 / 3.0  # of the tolerance of the vectors
PIXEL_PIECE = 500  # pixels of spectra made at a time, whatever the memory
PIXEL_STEP = 0.05  # cm-1, less than half the narrowest width
REACH = 0.65  # cm-1, of the line shape
NODE_PIECE = 4096  # nodes handled at a time, whatever the memory
SCALE_DIGITS = 32.0  # steps of the scale of a node in a factor of two, a weight only

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
    shapes : tuple of (slice, csr_array)
        Fine points and line shapes (pixel, point) of consecutive pieces of pixels.
    reduced : csr_array
        Line shapes of all pixels on the nodes, (pixel, node).
    """

    shapes: tuple[tuple[slice, csr_array], ...]
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

        points = cells * CELL_POINTS
        nu = np.asarray(low + (np.arange(points) + 0.5) * step, np.float64)
        pixels = _pixels(low, low + points * step)
        shapes, reduced = [], []
        for begin, end in in_pieces(pixels.size, PIXEL_PIECE):
            some = pixels[begin:end]
            edges = some[0] - REACH - 2.0 * step, some[-1] + REACH + 2.0 * step
            first = max(int((edges[0] - low) / step) // CELL_POINTS, 0)
            last = min(int((edges[1] - low) / step) // CELL_POINTS + 1, cells)
            here = slice(first * CELL_POINTS, last * CELL_POINTS)
            shape = line_shapes(nu[here], some)
            node = slice(*np.searchsorted(cell, [first, last]))
            part = on_nodes(
                shape, cell[node] - np.int32(first), weight[node], last - first
            )
            place = part.indices + node.start
            reduced.append(
                csr_array((part.data, place, part.indptr), (some.size, cell.size))
            )
            shapes.append((here, shape))
        return cls(tuple(shapes), csr_array(vstack(reduced)))

    def full(
        self, depth: Callable[[slice], NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Return spectra (pixel, path) from depths (path, point) of pieces."""
        parts = [shape @ np.exp(-depth(here)).T for here, shape in self.shapes]
        return np.asarray(np.concatenate(parts), np.float64)

    def at_nodes(self, depth: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return spectra (pixel, path) from depths (path, node)."""
        return np.asarray(self.reduced @ np.exp(-depth).T, np.float64)


def decompose(
    sigma: NDArray[np.float32], least_depth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Decompose cross sections (state, node) with relative weight where they are large.

    An error at a wavenumber that is opaque on most paths matters less by exactly its
    opacity, so the nodes are weighted by 1 / (sigma + sigma_0), the cross section that
    is opaque on the longest path. Inverse weights (node,), with few digits since they
    are stored; vectors (vector, node) orthonormal in the weighted sense; singular
    values (vector,).
    """
    scale = sigma.max(axis=0).astype(np.float64) + least_depth
    mantissa, exponent = np.frexp(scale / scale.max())
    scale = np.ldexp(np.rint(mantissa * SCALE_DIGITS) / SCALE_DIGITS, exponent)
    gram = np.zeros((sigma.shape[0],) * 2)
    pieces = in_pieces(sigma.shape[1], NODE_PIECE)
    for first, last in pieces:
        part = sigma[:, first:last] / scale[first:last]
        gram += part @ part.T
    values, left = np.linalg.eigh(gram)
    values, left = values[::-1][:60], left[:, ::-1][:, :60]
    singular = np.sqrt(np.maximum(values, 0.0))
    good = singular > 1e-7 * singular[0]
    project = left[:, good].T / singular[good, None]
    vectors = np.empty((project.shape[0], sigma.shape[1]))
    for first, last in pieces:
        vectors[:, first:last] = project @ (sigma[:, first:last] / scale[first:last])
    return scale, vectors, singular[good]


def refitted(
    sigma: NDArray[np.float32], vectors: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return coefficients (vector, state) that fit ``sigma / scale`` to vectors best.

    The vectors (vector, node) are nearly orthogonal, so that normal equations do.
    """
    size = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    gram = np.zeros((vectors.shape[0],) * 2)
    cross = np.zeros((vectors.shape[0], sigma.shape[0]))
    for first, last in in_pieces(sigma.shape[1], NODE_PIECE):
        some = vectors[:, first:last] / size
        gram += some @ some.T
        cross += some @ (sigma[:, first:last] / scale[first:last]).T
    return np.asarray(np.linalg.solve(gram, cross) / size, np.float64)


def packed(
    sigma: NDArray[np.float32],
    vectors: NDArray[np.float64],
    scale: NDArray[np.float64],
    finest: float,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Round vectors to whole steps and refit the coefficients to the rounded ones.

    Of cross sections (state, node) in 1e-20 cm2, orthonormal vectors (vector, node)
    over the scale (node,): vectors in steps, int32, the step of each (vector,), and
    coefficients (vector, state), so that
    ``sigma / scale = (whole * step).T @ coefficients``. Small vectors have coarse
    steps, so that the rounding of each weighs the same and few bits are left; `finest`
    is the step of the leading vector relative to its height.
    """
    top = np.abs(vectors).max(axis=1)
    reach = np.abs(refitted(sigma, vectors, scale)).max(axis=1) * top
    step = np.minimum(finest * reach.max() / reach, COARSEST_STEP)
    whole = np.rint(vectors / top[:, None] / step[:, None]).astype(np.int32)
    return whole, step, refitted(sigma, whole * step[:, None], scale)


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
        paths = next(iter(self.depth.values())).shape[1]
        self.total: NDArray[np.float64] = np.zeros((paths, point.size))
        for tau in self.tau.values():
            self.total += tau
        self.exact = self.shapes.at_nodes(self.total)

    def full_spectra(self) -> NDArray[np.float64]:
        """Return the spectra from the fine axis, (pixel, path)."""

        def depth(points: slice) -> NDArray[np.float64]:
            parts = [d.T @ self.band.sigma(g, points) for g, d in self.depth.items()]
            return np.asarray(np.sum(parts, axis=0, dtype=np.float64))

        return self.shapes.full(depth)

    def path_coefficients(
        self, gas: str, coefficients: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Carry coefficients (vector, state) to the paths, (path, vector)."""
        return self.depth[gas].T.astype(np.float64) @ coefficients.T

    def spectra(self, gas: str, tau: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the spectra from the nodes, depths (path, node) of a gas replaced."""
        return self.shapes.at_nodes(self.total - self.tau[gas] + tau)


def tolerance_of(measure: Measure, gas: str, tolerance: float) -> float:
    """Return the tolerance of transmittance for a gas, less where it absorbs little.

    Less for a gas that absorbs less than a tenth: its profile is to be as good as its
    noise allows.
    """
    signal = 1.0 - np.exp(-float(measure.tau[gas].max()))
    return tolerance * min(1.0, float(signal) / 0.1)


def choose_rank(
    measure: Measure, gas: str, sigma: NDArray[np.float32], tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale, and the fewest vectors whose spectra are within the tolerance.

    Of cross sections (state, node); the other gases stay exact.
    """
    columns = measure.depth[gas].sum(axis=0)
    scale, vectors, singular = decompose(sigma, 1.0 / float(columns.max()))
    paths = measure.path_coefficients(gas, refitted(sigma, vectors, scale))

    def error(rank: int) -> float:
        tau = (paths[:, :rank] @ vectors[:rank]) * scale
        return float(np.abs(measure.spectra(gas, tau) - measure.exact).max())

    low, high = LEAST_RANK - 1, max(singular.size, LEAST_RANK)
    while high - low > 1:  # errors fall with rank up to small ripples
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= tolerance else (middle, high)
    return scale, vectors[:high]


@dataclass(frozen=True)
class Compressed:
    """A gas as it is stored, and what it does to the paths that are measured.

    Attributes
    ----------
    values : ndarray of float32, (vector, node)
        Vectors, at most about one high.
    step : ndarray of float64, (vector,)
        Steps of the vectors.
    scale : ndarray of float32, (node,)
        Height of the vectors at each node.
    coefficients : ndarray of float64, (vector, state)
        cm2.
    before, after : ndarray of float64, (path, node)
        Optical depths with the vectors unrounded, and as stored.
    """

    values: NDArray[np.float32]
    step: NDArray[np.float64]
    scale: NDArray[np.float32]
    coefficients: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def compress(measure: Measure, gas: str, tolerance: float) -> Compressed:
    """Compress a gas: the fewest vectors, in the coarsest steps, that still do.

    Rounding may add a third of the tolerance: steps are halved until it does not add
    more, or single precision holds no finer ones.
    """
    sigma = measure.band.sigma(gas, measure.point)
    tolerance = tolerance_of(measure, gas, tolerance)
    scale, vectors = choose_rank(measure, gas, sigma, tolerance)
    paths = measure.path_coefficients(gas, refitted(sigma, vectors, scale))
    before = (paths @ vectors) * scale
    spectra, small = measure.spectra(gas, before), scale.astype(np.float32)
    finest = FIRST_STEP
    while True:
        whole, step, coefficients = packed(sigma, vectors, scale, finest)
        stored = (coefficients / SCALE).astype(np.float32).astype(np.float64)
        values = whole.astype(np.float32) * step.astype(np.float32)[:, None] * small
        after = measure.path_coefficients(gas, stored * SCALE) @ values
        change = float(np.abs(measure.spectra(gas, after) - spectra).max())
        if change <= ROUNDING_SHARE * tolerance or finest <= FINEST_STEP:
            return Compressed(values, step, small, stored, before, after)
        finest *= 0.5


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
    nu = np.asarray(begin + (np.arange(points) + 0.5) * step, np.float64)
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
