"""Compress the cross sections of a gas on the nodes: few vectors, in coarse steps.

Rank and steps are set by the error of transmittance spectra that they cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.spectroscopy.tables.scratch import in_pieces
from tgo_spectra.spectroscopy.tables.training import SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tgo_spectra.spectroscopy.tables.error_estimate import Measure, Part

__all__ = ["Compressed", "choose_rank", "compress", "decompose", "packed", "refitted"]

LEAST_RANK = 4
FIRST_STEP = 2.0**-15  # of the height of the leading vector
FINEST_STEP = 2.0**-23
COARSEST_STEP = 2.0**-10
ROUNDING_SHARE = 1.0 / 3.0  # of the tolerance of the vectors
NODE_PIECE = 4096  # nodes handled at a time, whatever the memory
SCALE_DIGITS = 32.0  # steps of the scale of a node in a factor of two, a weight only


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
        part = paths[:, :rank], vectors[:rank] * scale
        change = measure.spectra(part, exact_but=gas) - measure.exact
        return float(np.abs(change).max())

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
    before, after : Part
        Depths of the paths with the vectors unrounded, and as stored.
    """

    values: NDArray[np.float32]
    step: NDArray[np.float64]
    scale: NDArray[np.float32]
    coefficients: NDArray[np.float64]
    before: Part
    after: Part


def compress(measure: Measure, gas: str, tolerance: float) -> Compressed:
    """Compress a gas: the fewest vectors, in the coarsest steps, that still do.

    Rounding may add a third of the tolerance: steps are halved until it does not add
    more, or single precision holds no finer ones.
    """
    sigma = measure.band.sigma(gas, measure.point)
    tolerance = tolerance_of(measure, gas, tolerance)
    scale, vectors = choose_rank(measure, gas, sigma, tolerance)
    paths = measure.path_coefficients(gas, refitted(sigma, vectors, scale))
    before = paths, vectors * scale
    spectra = measure.spectra(before, exact_but=gas)
    small, finest = scale.astype(np.float32), FIRST_STEP
    while True:
        whole, step, coefficients = packed(sigma, vectors, scale, finest)
        stored = (coefficients / SCALE).astype(np.float32).astype(np.float64)
        values = whole.astype(np.float32) * step.astype(np.float32)[:, None] * small
        after = measure.path_coefficients(gas, stored * SCALE), values
        change = measure.spectra(after, exact_but=gas) - spectra
        small_enough = float(np.abs(change).max()) <= ROUNDING_SHARE * tolerance
        if small_enough or finest <= FINEST_STEP:
            return Compressed(values, step, small, stored, before, after)
        finest *= 0.5
