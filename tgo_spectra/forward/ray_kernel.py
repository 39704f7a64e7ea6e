"""Compiled loops of the path integrals along limb rays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "integrate_layers",
    "integrate_moments",
    "integrate_top",
    "radius_at",
]


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
