"""Compiled sum of many lines on a uniform grid: the ladder of coarser grids.

Level 0 is the wanted grid, each further level is four times coarser. The wing
``A / (r^2 + B)`` is written as a sum of differences of functions that are the wing
beyond a reach and a Taylor polynomial in ``r^2`` within; the reach grows with the
level, so six-point interpolation serves each of them equally well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.accelerate import compiled
from tgo_spectra.spectroscopy._voigt import _add_core, _bounds, _scale

Floats = NDArray[np.float64]

# Units of x: beyond this A / (x^2 + y^2 - 1.5) is the profile to 1e-5 or better.
_X_WING = 21.0
# Each grid of the ladder is _FACTOR coarser than the one before, and holds parts
# that are smooth over _REACH of its steps: six-point interpolation to 1e-5.
_FACTOR = 4
_REACH = 13
_PAD = 3
_MAX_LEVELS = 16
# From this level on all lines are added together, with one common B; lines whose
# own B exceeds this part of the squared reach are added one by one.
_POOLED = 3
_POOL_SPREAD = 3e-5
# cm-1: pooling starts at the first level that is smooth over so much
_POOL_REACH = 1.3


def _lagrange() -> Floats:
    """Six-point weights at 0, 1/4, 2/4, 3/4 between the two middle nodes."""
    nodes = np.arange(-2.0, 4.0)
    weights = np.ones((_FACTOR, 6))
    for phase in range(_FACTOR):
        for i in range(6):
            for j in range(6):
                if i != j:
                    gap = (phase / _FACTOR - nodes[j]) / (nodes[i] - nodes[j])
                    weights[phase, i] *= gap
    return weights


_LAGRANGE = _lagrange()


@compiled(fastmath=True)
def _soft(r: float, inverse: float, q: float, top: float) -> float:
    """Taylor polynomial of ``top / (1 + q (s - 1))``, s = r^2 inverse, about s = 1."""
    t = q - q * (r * r * inverse)
    p = 1.0 + t
    p = 1.0 + t * p
    p = 1.0 + t * p
    p = 1.0 + t * p
    p = 1.0 + t * p
    return top * p


@compiled()
def _soft_terms(reach: float, a: float, b: float) -> tuple[float, float, float]:
    """Numbers that `_soft` needs for one reach."""
    inverse = 1.0 / (reach * reach)
    q = 1.0 / (1.0 + b * inverse)
    return inverse, q, a * inverse * q


@compiled(fastmath=True)
def _add_soft(
    out: Floats, at: Floats, position: float, reach: float, a: float, b: float
) -> None:
    """Add the softened wing, inside its reach."""
    inverse, q, top = _soft_terms(reach, a, b)
    for i in range(out.size):
        out[i] += _soft(at[i] - position, inverse, q, top)


@compiled(fastmath=True)
def _add_wing(out: Floats, at: Floats, position: float, a: float, b: float) -> None:
    """Add ``a / (r^2 + b)``."""
    for i in range(out.size):
        r = at[i] - position
        out[i] += np.divide(a, r * r + b)


@compiled(fastmath=True)
def _add_wing_part(
    out: Floats, at: Floats, position: float, wide: float, a: float, b: float
) -> None:
    """Add the wing less its part that is smooth over ``wide``."""
    inverse, q, top = _soft_terms(wide, a, b)
    for i in range(out.size):
        r = at[i] - position
        out[i] += np.divide(a, r * r + b) - _soft(r, inverse, q, top)


@compiled(fastmath=True)
def _add_soft_part(
    out: Floats, at: Floats, position: float, reach: float, wide: float, a: float,
    b: float,
) -> None:  # fmt: skip
    """Add the softened wing less its part that is smooth over ``wide``."""
    inverse, q, top = _soft_terms(reach, a, b)
    inverse2, q2, top2 = _soft_terms(wide, a, b)
    for i in range(out.size):
        r = at[i] - position
        out[i] += _soft(r, inverse, q, top) - _soft(r, inverse2, q2, top2)


@compiled()
def _prolong(coarse: Floats, fine: Floats) -> None:
    """Add the six-point interpolation of the coarse grid to the fine one."""
    n = fine.size
    for j in range((n + _FACTOR - 1) // _FACTOR):
        base = j + _PAD - 2
        c0 = coarse[base]
        c1 = coarse[base + 1]
        c2 = coarse[base + 2]
        c3 = coarse[base + 3]
        c4 = coarse[base + 4]
        c5 = coarse[base + 5]
        fine[_FACTOR * j] += c2
        for phase in range(1, min(_FACTOR, n - _FACTOR * j)):
            w = _LAGRANGE[phase]
            fine[_FACTOR * j + phase] += (
                w[0] * c0 + w[1] * c1 + w[2] * c2 + w[3] * c3 + w[4] * c4 + w[5] * c5
            )


@compiled()
def _add_line(
    flat: Floats, at: Floats, begin: NDArray[np.int64], step0: float, levels: int,
    position: float, doppler: float, lorentz: float, intensity: float, pooled: int,
) -> bool:  # fmt: skip
    """Add one line to the ladder of grids; level 0 is the fine grid.

    Returns True when levels ``pooled`` and above are left to `_add_pooled`.
    """
    unit, y, height = _scale(doppler, lorentz)
    height *= intensity
    fine = flat[: begin[1]]
    points = at[: begin[1]]
    core = _X_WING * max(1.0, math.sqrt(y)) / unit
    # lowest level whose softened wing begins outside the core
    level = 1
    step = step0 * _FACTOR
    while level < levels and _REACH * step < core:
        level += 1
        step *= _FACTOR
    if level >= levels:
        _add_core(fine, points, step0, position, unit, y, height)
        return False
    a = intensity * lorentz / math.pi
    b = (y * y - 1.5) / (unit * unit)
    reach = _REACH * step
    low, high = _bounds(points[0], step0, fine.size, position - reach, position + reach)
    if high > low:
        fine = fine[low:high]
        points = points[low:high]
        _add_core(fine, points, step0, position, unit, y, height)
        _add_soft(fine, points, position, reach, -a, b)
    limit = _REACH * step0 * _FACTOR**pooled
    pool = level <= pooled < levels and abs(b) < _POOL_SPREAD * limit * limit
    if pool:
        levels = pooled
    while level < levels:
        grid = flat[begin[level] : begin[level + 1]]
        points = at[begin[level] : begin[level + 1]]
        low, high = _bounds(
            points[0], step, grid.size, position - reach, position + reach
        )
        wide = reach * _FACTOR
        if level == levels - 1 and not pool:
            _add_wing(grid[:low], points[:low], position, a, b)
            _add_soft(grid[low:high], points[low:high], position, reach, a, b)
            _add_wing(grid[high:], points[high:], position, a, b)
        else:
            left, right = _bounds(
                points[0], step, grid.size, position - wide, position + wide
            )
            if high <= low:
                low = high = right if position > points[0] else left
            _add_wing_part(grid[left:low], points[left:low], position, wide, a, b)
            _add_soft_part(
                grid[low:high], points[low:high], position, reach, wide, a, b
            )
            _add_wing_part(grid[high:right], points[high:right], position, wide, a, b)
        level += 1
        step *= _FACTOR
        reach = wide
    return pool


@compiled()
def _tap(r: float, reach: float, b: float, top: bool) -> float:
    """Part of ``1 / (r^2 + b)`` that one level of the ladder holds."""
    r = abs(r)
    if r < reach:
        inverse, q, peak = _soft_terms(reach, 1.0, b)
        value = _soft(r, inverse, q, peak)
    else:
        value = 1.0 / (r * r + b)
    if not top and r < reach * _FACTOR:
        inverse, q, peak = _soft_terms(reach * _FACTOR, 1.0, b)
        value -= _soft(r, inverse, q, peak)
    elif not top:
        value = 0.0
    return value


@compiled()
def _add_level(grid: Floats, charge: Floats, shift: int, step: float, b: float, top: bool) -> None:  # noqa: E501  # fmt: skip
    """Convolve charges on the nodes of a level; charge[k + shift] sits at node k."""
    n = grid.size
    reach = _REACH * step
    if top:
        for k in range(charge.size):
            if charge[k] != 0.0:
                for i in range(n):
                    grid[i] += charge[k] * _tap((k - shift - i) * step, reach, b, True)
        return
    same = charge[shift : shift + n]
    grid += _tap(0.0, reach, b, False) * same
    for t in range(1, _REACH * _FACTOR):
        weight = _tap(t * step, reach, b, False)
        right = charge[shift + t : shift + t + n]
        left = charge[shift - t : shift - t + n]
        for i in range(n):
            grid[i] += weight * (left[i] + right[i])


@compiled()
def _add_pooled(
    flat: Floats, at: Floats, begin: NDArray[np.int64], levels: int, pooled: int,
    step: float, position: Floats, a: Floats, b: float,
) -> None:  # fmt: skip
    """Add the wings ``a / (r^2 + b)`` of all lines to the levels from ``pooled`` on.

    Lines become charges on the nodes by the transpose of the interpolation, and
    these are handed up the ladder in the same way.
    """
    edge = _REACH * _FACTOR
    origin = at[begin[pooled]]
    low = math.floor((np.min(position) - origin) / step) - 3
    high = math.floor((np.max(position) - origin) / step) + 4
    shift = max(-low, edge)
    size = begin[pooled + 1] - begin[pooled]
    charge = np.zeros(shift + max(high, size + edge) + 1)
    weight = np.empty(6)
    for i in range(position.size):
        if a[i] != 0.0:
            u = (position[i] - origin) / step
            k = math.floor(u)
            _six(u - k, weight)
            for j in range(6):
                charge[k - 2 + j + shift] += a[i] * weight[j]
    for level in range(pooled, levels):
        grid = flat[begin[level] : begin[level + 1]]
        top = level == levels - 1
        _add_level(grid, charge, shift, step, b, top)
        if top:
            return
        low = (low // _FACTOR) + _PAD - 3
        high = (high // _FACTOR) + _PAD + 4
        size = begin[level + 2] - begin[level + 1]
        shift_up = max(-low, edge) + 1
        above = np.zeros(shift_up + max(high, size + edge) + 1)
        for place in range(charge.size):
            if charge[place] != 0.0:
                k = place - shift
                j = k // _FACTOR
                w = _LAGRANGE[k - j * _FACTOR]
                for m in range(6):
                    above[j + _PAD - 2 + m + shift_up] += charge[place] * w[m]
        charge = above
        shift = shift_up
        step *= _FACTOR


@compiled()
def _six(u: float, weight: Floats) -> None:
    """Six-point Lagrange weights at u in [0, 1) between the two middle nodes."""
    a, b, c, d, e, f = u + 2.0, u + 1.0, u, u - 1.0, u - 2.0, u - 3.0
    weight[0] = -b * c * d * e * f / 120.0
    weight[1] = a * c * d * e * f / 24.0
    weight[2] = -a * b * d * e * f / 12.0
    weight[3] = a * b * c * e * f / 12.0
    weight[4] = -a * b * c * d * f / 24.0
    weight[5] = a * b * c * d * e / 120.0


@compiled()
def _sum_uniform(
    start: float, step: float, position: Floats, doppler: Floats, lorentz: Floats,
    intensity: Floats, out: Floats,
) -> None:  # fmt: skip
    """Sum of area-normal Voigt profiles times intensity on a uniform grid."""
    begin = np.zeros(_MAX_LEVELS + 1, np.int64)
    begin[1] = out.size
    levels = 1
    size = out.size
    while levels < _MAX_LEVELS and size > 4 * _REACH:
        size = (size + _FACTOR - 1) // _FACTOR + 2 * _PAD + 1
        begin[levels + 1] = begin[levels] + size
        levels += 1
    at = np.empty(begin[levels], np.float64)
    flat = np.zeros(begin[levels], np.float64)
    h = step
    origin = start
    for level in range(levels):
        for i in range(begin[level + 1] - begin[level]):
            at[begin[level] + i] = origin + i * h
        h *= _FACTOR
        origin -= _PAD * h
    pooled = _POOLED
    while pooled < levels and _REACH * step * _FACTOR**pooled < _POOL_REACH:
        pooled += 1
    if pooled + 1 >= levels:
        pooled = levels
    a = np.zeros(position.size)
    total = 0.0
    moment = 0.0
    for i in range(position.size):
        if _add_line(
            flat, at, begin, step, levels, position[i], doppler[i], lorentz[i],
            intensity[i], pooled,
        ):  # fmt: skip
            unit, y, _ = _scale(doppler[i], lorentz[i])
            a[i] = intensity[i] * lorentz[i] / math.pi
            total += a[i]
            moment += a[i] * (y * y - 1.5) / (unit * unit)
    if total > 0.0:
        _add_pooled(
            flat, at, begin, levels, pooled, step * _FACTOR**pooled, position, a,
            moment / total,
        )  # fmt: skip
    for level in range(levels - 1, 0, -1):
        coarse = flat[begin[level] : begin[level + 1]]
        _prolong(coarse, flat[begin[level - 1] : begin[level]])
    out[:] = flat[: out.size]
