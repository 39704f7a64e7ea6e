"""Compress the cross sections on the nodes, and measure what a table is off.

Errors are those of transmittance spectra at the finest resolution of the instrument,
over random atmospheres that the table has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.spectroscopy.tables.interpolation import interpolate_coefficients
from tgo_spectra.spectroscopy.tables.training import (
    CELL_POINTS,
    Band,
    draw,
    random_paths,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from scipy.sparse import csr_array

__all__ = [
    "CrossSection",
    "Measure",
    "choose_rank",
    "decompose",
    "line_shapes",
    "measure_direct",
    "on_nodes",
    "packed",
]

LEAST_RANK = 4
FINEST_STEP = 2.0**-18  # of the height of the leading vector
COARSEST_STEP = 2.0**-10

CrossSection = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float64],
]
"""Wavenumber cm-1, pressure Pa, temperature K to (state, wavenumber) in cm2."""


def _midpoints(low: float, step: float, points: int) -> NDArray[np.float64]:
    return np.asarray(low + (np.arange(points) + 0.5) * step, np.float64)


def _pixels(nu: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres of pixels, less than half the narrowest width apart."""
    margin = min(0.8, 0.25 * float(nu[-1] - nu[0]))
    first, last = float(nu[0]) + margin, float(nu[-1]) - margin
    return first + 0.05 * np.arange(int((last - first) / 0.05) + 1, dtype=np.float64)


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
    reach = round(0.65 / (nu[1] - nu[0]))
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

    from tgo_spectra.spectroscopy.tables.quadrature import legendre_values

    legendre = legendre_values(CELL_POINTS, weight.shape[1])
    # projection on the polynomials with their discrete Gram matrix
    dual = legendre @ np.linalg.inv(legendre.T @ legendre)
    expand = csr_array(block_diag([csr_array(dual)] * cells))
    moments = weight.shape[1]
    columns = (cell.astype(np.int64)[:, None] * moments + np.arange(moments)).ravel()
    start = np.arange(0, weight.size + 1, moments)
    nodes = csr_array((weight.ravel(), columns, start), (cell.size, cells * moments))
    return csr_array(shapes @ expand @ nodes.T)


def decompose(
    sigma: NDArray[np.float32], least_depth: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Decompose cross sections (state, node) with relative weight where they are large.

    An error at a wavenumber that is opaque on most paths matters less by exactly its
    opacity, so the nodes are weighted by 1 / (sigma + sigma_0), the cross section that
    is opaque on the longest path. Inverse weights (node,), vectors (vector, node)
    orthonormal in the weighted sense, singular values (vector,).
    """
    scale = sigma.max(axis=0).astype(np.float64) + least_depth
    weighted = sigma / scale
    values, left = np.linalg.eigh(weighted @ weighted.T)
    values, left = values[::-1][:60], left[:, ::-1][:, :60]
    singular = np.sqrt(np.maximum(values, 0.0))
    good = singular > 1e-7 * singular[0]
    vectors = (left[:, good].T @ weighted) / singular[good, None]
    return scale, vectors, singular[good]


def packed(
    sigma: NDArray[np.float32], vectors: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Round vectors to whole steps and refit the coefficients to the rounded ones.

    Of cross sections (state, node) in 1e-20 cm2, orthonormal vectors (vector, node)
    over the scale (node,): vectors in steps, int32, the step of each (vector,), and
    coefficients (vector, state), so that
    ``sigma / scale = (whole * step).T @ coefficients``. Small vectors have coarse
    steps, so that the rounding of each weighs the same and few bits are left.
    """
    weighted = sigma / scale
    top = np.abs(vectors).max(axis=1)
    reach = np.abs(weighted @ vectors.T).max(axis=0) * top
    step = np.minimum(FINEST_STEP * reach.max() / reach, COARSEST_STEP)
    whole = np.rint(vectors / top[:, None] / step[:, None]).astype(np.int32)
    rounded = whole * step[:, None]
    coefficients = np.linalg.lstsq(rounded.T, weighted.T, rcond=None)[0]
    return whole, step, coefficients


class Measure:
    """Spectra of unseen atmospheres, full and reduced, at the instrument's finest.

    Parameters
    ----------
    band : Band
        Cross sections.
    cell, weight : ndarray
        Nodes.
    point : ndarray of int64, (node,)
        Fine points of the nodes.
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
        self.band = band
        self.depth = draw(band, seed, atmospheres, heights)
        nu = band.wavenumber
        pixels = _pixels(nu)
        self.pixels = pixels
        self.full = line_shapes(nu, pixels)
        self.reduced = on_nodes(self.full, cell, weight, band.points // CELL_POINTS)
        self.nodes = {gas: s[:, point] for gas, s in band.sigma.items()}
        self.tau = {gas: d.T @ self.nodes[gas] for gas, d in self.depth.items()}

    def full_spectra(self) -> NDArray[np.float64]:
        """Return the spectra from the fine axis, (pixel, path)."""
        total = np.zeros((self.band.points, next(iter(self.depth.values())).shape[1]))
        for gas, depth in self.depth.items():
            total += self.band.sigma[gas].T @ depth
        return np.asarray(self.full @ np.exp(-total))

    def spectra(self, **other: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the spectra from the nodes, cross sections of some gases replaced."""
        total = np.zeros(self.tau[next(iter(self.tau))].shape)
        for gas, tau in self.tau.items():
            total += self.depth[gas].T @ other[gas] if gas in other else tau
        return np.asarray(self.reduced @ np.exp(-total).T)


def choose_rank(
    measure: Measure, gas: str, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Scale, vectors and the smallest rank whose spectra are within the tolerance.

    The other gases stay exact. The tolerance of transmittance is less for a gas that
    absorbs less than a tenth: its profile is to be as good as its noise allows.
    """
    sigma = measure.nodes[gas]
    columns = measure.depth[gas].sum(axis=0)
    signal = 1.0 - np.exp(-(measure.depth[gas].T @ sigma).max())
    tolerance = tolerance * min(1.0, float(signal) / 0.1)
    scale, vectors, singular = decompose(sigma, 1.0 / float(columns.max()))
    exact = measure.spectra()
    coefficients = vectors @ (sigma / scale).T

    def error(rank: int) -> float:
        rebuilt = (coefficients[:rank].T @ vectors[:rank]) * scale
        change = measure.spectra(**{gas: rebuilt.astype(np.float32)}) - exact
        return float(np.abs(change).max())

    low, high = LEAST_RANK - 1, max(singular.size, LEAST_RANK)
    while high - low > 1:  # errors fall with rank up to small ripples
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= tolerance else (middle, high)
    return scale, vectors, high


def measure_direct(
    table: xr.Dataset,
    cross_sections: Mapping[str, CrossSection],
    *,
    low: float,
    width: float,
    atmospheres: int,
    heights: int = 8,
    seed: int = 7,
) -> tuple[float, float]:
    """Worst and rms error of transmittance of a table on a piece of its band, cm-1.

    Against line by line at each shell's own state on the full fine axis, at the
    resolution of the instrument, in random atmospheres that the table has not seen: the
    error of nodes, moments, vectors, rounding and interpolation together.
    """
    cell_width = float(table.attrs["cell_width"])
    start = table["cell_start"].values
    first = int(np.clip(np.searchsorted(start, low), 0, start.size - 1))
    last = min(first + max(1, round(width / cell_width)), start.size)
    node = slice(*np.searchsorted(table["node_cell"].values, [first, last]))
    step = float(table.attrs["fine_step"])
    pressure, temperature = table["pressure"].values, table["temperature"].values
    points = (last - first) * CELL_POINTS
    nu = _midpoints(float(start[first]), step, points)
    full = line_shapes(nu, _pixels(nu))
    cells = table["node_cell"].values[node] - np.int32(first)
    reduced = on_nodes(full, cells, table["node_weight"].values[node], last - first)
    generator = np.random.default_rng(seed)
    errors = []
    for _ in range(atmospheres):
        paths = random_paths(generator, list(cross_sections), heights)
        exact: NDArray[np.float64] = np.zeros((heights, points))
        fast: NDArray[np.float64] = np.zeros((heights, cells.size))
        for gas, function in cross_sections.items():
            column = paths.column[gas]
            exact += column @ function(nu, paths.pressure_pa, paths.temperature_k)
            levels = interpolate_coefficients(
                table[f"{gas}_coefficients"].values,
                np.log(pressure),
                temperature,
                paths.pressure_pa,
                paths.temperature_k,
                doppler_limit=True,
            )
            fast += (column @ levels.T) @ table[f"{gas}_vectors"].values[:, node]
        errors.append(reduced @ np.exp(-fast).T - full @ np.exp(-exact).T)
    every = np.concatenate(errors, axis=1)
    return float(np.abs(every).max()), float(np.sqrt(np.mean(every**2)))
