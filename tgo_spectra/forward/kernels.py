"""Compiled loops along lines of sight: path integrals, sums over points, spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "exponentiate",
    "integrate_layers",
    "integrate_moments",
    "integrate_top",
    "radius_at",
    "scaled_bands",
    "through_hats",
    "transmit",
]

BLOCK = 1024
"""Wavenumbers at once: their sums stay in the nearest cache."""

_LOG2_E = np.float32(1.4426950408889634)
#: ln 2 in two parts; products of the first with small integers are exact.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(0.6931471805599453 - 0.693359375)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_ONE, _HALF = np.float32(1.0), np.float32(0.5)
#: Taylor series of exp(r) - 1, |r| < 0.35, from r^2 on: the next term is 5e-9.
_C2, _C3, _C4 = np.float32(1 / 2), np.float32(1 / 6), np.float32(1 / 24)
_C5, _C6, _C7 = np.float32(1 / 120), np.float32(1 / 720), np.float32(1 / 5040)
_CHUNK = 4096


@compiled()
def radius_at(
    bent: float, radius: float, density: float, decay: float, refractivity: float
) -> float:
    """Radius r with r (1 + N(r)) equal to `bent`; N falls off exponentially.

    Newton steps from ``bent / (1 + N)``: N is below 1e-5 on Mars, three are plenty.
    """
    r = bent / (1.0 + refractivity * density)
    for _ in range(3):
        n = refractivity * density * np.exp(-decay * (r - radius))
        r -= (r * (1.0 + n) - bent) / (1.0 + n * (1.0 - decay * r))
    return r


@compiled()
def integrate_layers(
    impact: Floats,
    radius: Floats,
    density: Floats,
    decay: Floats,
    bent: Floats,
    refractivity: float,
    nodes: Floats,
    weights: Floats,
    out: Floats,
) -> None:
    """Add the columns under the hat of each grid point, one-sided.

    Parameters
    ----------
    impact : ndarray, shape (ray,)
        Impact parameters, km.
    radius, density : ndarray, shape (point,)
        Grid, km, and number density there.
    decay : ndarray, shape (point - 1,)
        Logarithmic decrease of the density in each layer, km-1.
    bent : ndarray, shape (point,)
        Index of refraction times radius, km.
    refractivity : float
        Refractivity per number density.
    nodes, weights : ndarray, shape (quadrature,)
        Gauss-Legendre on -1..1.
    out : ndarray, shape (ray, point)
        Added to: number density times km.
    """
    for ray in range(impact.size):
        b = impact[ray]
        for j in range(radius.size - 1):
            if bent[j + 1] <= b:
                continue
            # A bent ray may pass a little below the lowest point: the first layer
            # reaches down to it.
            low = b if j == 0 else max(bent[j], b)
            start = np.sqrt((low - b) * (low + b))
            stop = np.sqrt((bent[j + 1] - b) * (bent[j + 1] + b))
            middle, half = 0.5 * (stop + start), 0.5 * (stop - start)
            thickness = radius[j + 1] - radius[j]
            below, above = 0.0, 0.0
            for q in range(nodes.size):
                s = middle + half * nodes[q]
                x = np.sqrt(b * b + s * s)
                r = x
                if refractivity != 0.0:
                    r = radius_at(x, radius[j], density[j], decay[j], refractivity)
                n = density[j] * np.exp(-decay[j] * (r - radius[j]))
                w = weights[q] * half * n
                if refractivity != 0.0:
                    w /= 1.0 + refractivity * n * (1.0 - decay[j] * r)
                fraction = (r - radius[j]) / thickness
                below += w * (1.0 - fraction)
                above += w * fraction
            out[ray, j] += below
            out[ray, j + 1] += above


@compiled()
def integrate_moments(
    impact: Floats,
    radius: Floats,
    density: Floats,
    decay: Floats,
    nodes: Floats,
    weights: Floats,
    own: Floats,
    cross: Floats,
) -> None:
    """Add the one-sided columns under products of two hats; straight rays.

    Parameters
    ----------
    impact, radius, density, decay, nodes, weights
        As in `integrate_layers`.
    own : ndarray, shape (ray, point)
        Added to: under the square of each hat.
    cross : ndarray, shape (ray, point - 1)
        Added to: under the product of a hat and the next.
    """
    for ray in range(impact.size):
        b = impact[ray]
        for j in range(radius.size - 1):
            if radius[j + 1] <= b:
                continue
            low = max(radius[j], b)
            start = np.sqrt((low - b) * (low + b))
            stop = np.sqrt((radius[j + 1] - b) * (radius[j + 1] + b))
            middle, half = 0.5 * (stop + start), 0.5 * (stop - start)
            for q in range(nodes.size):
                s = middle + half * nodes[q]
                r = np.sqrt(b * b + s * s)
                w = weights[q] * half * density[j] * np.exp(-decay[j] * (r - radius[j]))
                above = (r - radius[j]) / (radius[j + 1] - radius[j])
                below = 1.0 - above
                own[ray, j] += w * below * below
                own[ray, j + 1] += w * above * above
                cross[ray, j] += w * below * above


@compiled()
def integrate_top(
    impact: Floats,
    radius: float,
    density: float,
    decay: float,
    refractivity: float,
    panels: int,
    folds: float,
    nodes: Floats,
    weights: Floats,
    out: Floats,
) -> None:
    """Add the one-sided column of an exponential atmosphere above a radius.

    Parameters
    ----------
    impact : ndarray, shape (ray,)
        Impact parameters, km; also above `radius`.
    radius, density, decay : float
        Where the exponential starts, its density there, its decrease in km-1.
    refractivity : float
        Refractivity per number density.
    panels, folds : int, float
        Number of panels, equal in path, and the extent in scale heights.
    nodes, weights : ndarray, shape (quadrature,)
        Gauss-Legendre on -1..1.
    out : ndarray, shape (ray, 2)
        Added to: the column, number density times km, and minus its derivative by
        `decay`.
    """
    for ray in range(impact.size):
        b = impact[ray]
        bottom = max(b, radius * (1.0 + refractivity * density))
        top = bottom + folds / decay
        start = np.sqrt((bottom - b) * (bottom + b))
        half = 0.5 * (np.sqrt((top - b) * (top + b)) - start) / panels
        for panel in range(panels):
            middle = start + (2 * panel + 1) * half
            for q in range(nodes.size):
                s = middle + half * nodes[q]
                r = np.sqrt(b * b + s * s)
                if refractivity != 0.0:
                    r = radius_at(r, radius, density, decay, refractivity)
                n = density * np.exp(-decay * (r - radius))
                slope = 1.0 + refractivity * n * (1.0 - decay * r)
                part = weights[q] * half * n / slope
                out[ray, 0] += part
                out[ray, 1] += part * (r - radius)


@compiled()
def through_hats(
    coefficients: Floats,
    air: Floats,
    lower: Integers,
    below: Floats,
    above: Floats,
    out: Floats,
) -> None:
    """Sum coefficients times columns of air under the hat of each level.

    Parameters
    ----------
    coefficients : ndarray, shape (rank, point)
    air : ndarray, shape (height, point)
        Slant column of air at each point; zero below the tangent height.
    lower : ndarray of int, shape (point,)
        The lower of the two levels that see a point.
    below, above : ndarray, shape (point,)
        How much of the point that level and the one above it see.
    out : ndarray, shape (rank, height, level)
        Added to.
    """
    for height in range(air.shape[0]):
        for point in range(air.shape[1]):
            column = air[height, point]
            if column == 0.0:
                continue
            level = lower[point]
            low, high = column * below[point], column * above[point]
            for rank in range(coefficients.shape[0]):
                out[rank, height, level] += coefficients[rank, point] * low
                out[rank, height, level + 1] += coefficients[rank, point] * high


@compiled()
def exponentiate(values: NDArray[np.float32]) -> None:
    """Replace single precision numbers by their exponentials: good to 1e-7.

    Twice as fast as numpy's on processors without wide vectors, since the whole loop
    stays in vector registers. Below -87 the result is that of -87 (1.6e-38).

    Parameters
    ----------
    values : ndarray of float32, shape (number,)
    """
    power = np.empty(_CHUNK, dtype=np.int32)
    scale = power.view(np.float32)
    for start in range(0, values.size, _CHUNK):
        part = values[start : start + _CHUNK]
        for i in range(part.size):
            x = min(max(part[i], _LOWEST), _HIGHEST)
            whole = np.int32(np.floor(x * _LOG2_E + _HALF))
            turns = np.float32(whole)
            r = (x - turns * _LN2_HIGH) - turns * _LN2_LOW
            series = _C2 + r * (_C3 + r * (_C4 + r * (_C5 + r * (_C6 + r * _C7))))
            part[i] = _ONE + r * (_ONE + r * series)
            power[i] = (whole + np.int32(127)) << np.int32(23)  # 2^whole as its bits
        for i in range(part.size):
            part[i] *= scale[i]


@compiled()
def transmit(
    vectors: NDArray[np.float32],
    minus: NDArray[np.float32],
    limit: int,
    out: NDArray[np.float32],
) -> float:
    """Fill the transmittance a few nodes at a time, while they are in the cache.

    Parameters
    ----------
    vectors : ndarray, shape (node, vector)
        C-contiguous, as `minus`.
    minus : ndarray, shape (vector, height)
        Minus the weights of the vectors in the optical depth.
    limit : int
        Multiplications in one call of the linear algebra library, see
        `tgo_spectra.numerics.matrices`.
    out : ndarray, shape (node, height)
        Written.

    Returns
    -------
    float
        Largest logarithm of a transmittance; not-a-number if any is.
    """
    rows = max(1, limit // max(1, minus.size))
    largest = np.float32(-np.inf)
    for start in range(0, vectors.shape[0], rows):
        part = out[start : start + rows]
        np.dot(vectors[start : start + rows], minus, part)
        flat = part.reshape(-1)
        total = np.float32(0.0)
        for i in range(flat.size):
            largest = max(largest, flat[i])
            total += flat[i]
        if np.isnan(total):
            return np.nan
        exponentiate(flat)
    return float(largest)


@compiled()
def scaled_bands(
    weights: Floats,
    first: Integers,
    inner: Integers,
    basis: Floats,
    factor: Floats,
    out: Floats,
) -> None:
    """Fill products of a banded matrix and spectra, times a factor.

    A level's hat meets those of few inner levels only: some terms instead of a product
    with all levels. Levels without weight are left as they are (zeros that nothing
    has touched take no memory).

    Parameters
    ----------
    weights : ndarray, shape (height, pair)
        Weights of pairs of a level and an inner level, level by level.
    first : ndarray, shape (level + 1,)
        First pair of each level, and the number of pairs.
    inner : ndarray, shape (pair,)
        Inner level of each pair.
    basis : ndarray, shape (inner, wavenumber)
        Spectra of the inner levels.
    factor : ndarray, shape (height, wavenumber)
        What everything is multiplied with.
    out : ndarray, shape (height, level, wavenumber)
        Zeros; written where there is weight.
    """
    nodes = basis.shape[1]
    for h in range(weights.shape[0]):
        for m in range(first.size - 1):
            last = first[m + 1] - 1
            if not weights[h, first[m] : last + 1].any():
                continue
            for start in range(0, nodes, BLOCK):
                stop = min(start + BLOCK, nodes)
                # three at a time, as there are where no level lies between
                for j in range(first[m], last + 1, 3):
                    i, k = min(j + 1, last), min(j + 2, last)
                    one = weights[h, j]
                    two = weights[h, i] if i == j + 1 else 0.0
                    three = weights[h, k] if k == j + 2 else 0.0
                    low, own, high = inner[j], inner[i], inner[k]
                    for v in range(start, stop):
                        total = one * basis[low, v] + two * basis[own, v]
                        out[h, m, v] += factor[h, v] * (total + three * basis[high, v])
