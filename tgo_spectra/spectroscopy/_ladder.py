"""Compiled sum of many lines on a uniform grid: the ladder of coarser grids.

Level 0 is the wanted grid, each further level is four times coarser. The wing
``A / (r^2 + B)`` is written as a sum of differences of functions that are the wing
beyond a reach and a Taylor polynomial in ``r^2`` within; the reach grows with the
level, so six-point interpolation serves each of them equally well. Near the line, where
that form is not yet good enough, two more terms of the asymptotic series are added.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tgo_spectra.numerics.accelerate import compiled
from tgo_spectra.spectroscopy._voigt import _add_core, _bounds, _scale

Floats = NDArray[np.float64]

# The wing is A / (x^2 + y^2 - 1.5); what it lacks, to the profile's asymptotic series,
# is (C6 - 2 y^2) / x^6 + (C8 - 15 y^2) / x^8, added to the first part of the ladder.
_C6, _C8 = 1.5, 9.75
_Y_SERIES = 1.0
# Each grid of the ladder is _FACTOR coarser than the one before.
_FACTOR = 4
_PAD = 3
_MAX_LEVELS = 16
# Pooling, that is adding all lines together with one common B, needs the B of this part
# of the lines near the common one, and not more nodes a line than this.
_POOL_LINES = 0.75
_POOL_NODES = 4.0


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


@compiled(fastmath=True, part=True)
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


@compiled(fastmath=True, part=True)
def _add_soft(
    out: Floats, at: Floats, position: float, reach: float, a: float, b: float,
    c6: float, c8: float,
) -> None:  # fmt: skip
    """Add the softened ``a / (r^2 + b) + c6 / r^6 + c8 / r^8``, inside its reach."""
    inverse, q, top = _soft_terms(reach, a, b)
    c6 *= inverse**3
    c8 *= inverse**4
    # Taylor series in t = 1 - s of 1 / (1 - q t), s^-3 and s^-4
    k0 = top + c6 + c8
    k1 = top * q + 3.0 * c6 + 4.0 * c8
    k2 = top * q**2 + 6.0 * c6 + 10.0 * c8
    k3 = top * q**3 + 10.0 * c6 + 20.0 * c8
    k4 = top * q**4 + 15.0 * c6 + 35.0 * c8
    k5 = top * q**5 + 21.0 * c6 + 56.0 * c8
    for i in range(out.size):
        r = at[i] - position
        t = 1.0 - r * r * inverse
        p = k4 + t * k5
        p = k3 + t * p
        p = k2 + t * p
        p = k1 + t * p
        out[i] += k0 + t * p


@compiled(fastmath=True, part=True)
def _add_wing(
    out: Floats, at: Floats, position: float, a: float, b: float, c6: float, c8: float
) -> None:
    """Add ``a / (r^2 + b) + c6 / r^6 + c8 / r^8``."""
    if c6 == 0.0:
        for i in range(out.size):
            r = at[i] - position
            out[i] += np.divide(a, r * r + b)
        return
    for i in range(out.size):
        r = at[i] - position
        s = r * r
        v = np.divide(1.0, s)
        out[i] += np.divide(a, s + b) + v * v * v * (c6 + v * c8)


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
    position: float, doppler: float, lorentz: float, intensity: float, last: int,
    steps: int, x_wing: float, x_series: float,
) -> bool:  # fmt: skip
    """Add one line to the ladder of grids, up to the part that level ``last`` holds.

    Level 0 is the fine grid, each part is smooth over ``steps`` of its grid. Returns
    False if all parts were added, as ``last`` is too low for a line so wide.
    """
    unit, y, height = _scale(doppler, lorentz)
    height *= intensity
    fine = flat[: begin[1]]
    points = at[: begin[1]]
    a = intensity * lorentz / math.pi
    b = (y * y - 1.5) / (unit * unit)
    c6 = 0.0
    c8 = 0.0
    core = x_wing * max(1.0, math.sqrt(y)) / unit
    if y < _Y_SERIES:
        core = x_series / unit
        c6 = a * (_C6 - 2.0 * y * y) / unit**4
        c8 = a * (_C8 - 15.0 * y * y) / unit**6
    # lowest level whose softened wing begins outside the core
    level = 1
    step = step0 * _FACTOR
    while level < levels and steps * step < core:
        level += 1
        step *= _FACTOR
    if level >= levels:
        _add_core(fine, points, step0, position, unit, y, height)
        return False
    reach = steps * step
    if level == last + 1 and reach * unit >= x_wing * max(1.0, math.sqrt(y)):
        # the levels from here on know nothing of the series
        c6 = 0.0
        c8 = 0.0
    elif level > last:
        last = levels - 1
    low, high = _bounds(points[0], step0, fine.size, position - reach, position + reach)
    if high > low:
        fine = fine[low:high]
        points = points[low:high]
        _add_core(fine, points, step0, position, unit, y, height)
        _add_soft(fine, points, position, reach, -a, b, -c6, -c8)
    while level <= last:
        grid = flat[begin[level] : begin[level + 1]]
        points = at[begin[level] : begin[level + 1]]
        low, high = _bounds(
            points[0], step, grid.size, position - reach, position + reach
        )
        wide = reach * _FACTOR
        left = 0
        right = grid.size
        if level < levels - 1:
            left, right = _bounds(
                points[0], step, grid.size, position - wide, position + wide
            )
        if high <= low:
            low = high = right if position > points[0] else left
        _add_wing(grid[left:low], points[left:low], position, a, b, c6, c8)
        _add_soft(grid[low:high], points[low:high], position, reach, a, b, c6, c8)
        _add_wing(grid[high:right], points[high:right], position, a, b, c6, c8)
        if level < levels - 1:
            # less the part that is smooth over ``wide``, which the next level holds
            grid, points = grid[left:right], points[left:right]
            _add_soft(grid, points, position, wide, -a, b, 0.0, 0.0)
        c6 = 0.0
        c8 = 0.0
        level += 1
        step *= _FACTOR
        reach = wide
    return last < levels - 1


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
def _add_level(
    grid: Floats, charge: Floats, shift: int, step: float, b: float, top: bool,
    steps: int,
) -> None:  # fmt: skip
    """Convolve charges on the nodes of a level; charge[k + shift] sits at node k."""
    n = grid.size
    reach = steps * step
    if top:
        for k in range(charge.size):
            if charge[k] != 0.0:
                for i in range(n):
                    grid[i] += charge[k] * _tap((k - shift - i) * step, reach, b, True)
        return
    same = charge[shift : shift + n]
    grid += _tap(0.0, reach, b, False) * same
    for t in range(1, steps * _FACTOR):
        weight = _tap(t * step, reach, b, False)
        right = charge[shift + t : shift + t + n]
        left = charge[shift - t : shift - t + n]
        for i in range(n):
            grid[i] += weight * (left[i] + right[i])


@compiled()
def _add_pooled(
    flat: Floats, at: Floats, begin: NDArray[np.int64], levels: int, pooled: int,
    step: float, position: Floats, a: Floats, b: float, steps: int,
) -> None:  # fmt: skip
    """Add the wings ``a / (r^2 + b)`` of all lines to the levels from ``pooled`` on.

    Lines become charges on the nodes by the transpose of the interpolation, and
    these are handed up the ladder in the same way.
    """
    edge = steps * _FACTOR
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
        _add_level(grid, charge, shift, step, b, top, steps)
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
def _first_pooled(
    begin: NDArray[np.int64], levels: int, step0: float, steps: int, b: Floats,
    common: float, spread: float,
) -> int:  # fmt: skip
    """Lowest level at which most lines may take the common B, ``levels`` if none."""
    pooled = 2
    while pooled + 1 < levels:
        limit = steps * step0 * _FACTOR**pooled
        near = 0
        for i in range(b.size):
            near += abs(b[i] - common) < spread * limit * limit
        nodes = begin[pooled + 1] - begin[pooled]
        if near >= _POOL_LINES * b.size and nodes <= _POOL_NODES * b.size:
            return pooled
        pooled += 1
    return levels


@compiled()
def _sum_uniform(
    start: float, step: float, position: Floats, doppler: Floats, lorentz: Floats,
    intensity: Floats, steps: int, x_wing: float, x_series: float, spread: float,
    out: Floats,
) -> None:  # fmt: skip
    """Sum of area-normal Voigt profiles times intensity on a uniform grid.

    ``steps``, ``x_wing``, ``x_series`` and ``spread`` set the accuracy.
    """
    begin = np.zeros(_MAX_LEVELS + 1, np.int64)
    begin[1] = out.size
    levels = 1
    size = out.size
    while levels < _MAX_LEVELS and size > 4 * steps:
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
    a = np.empty(position.size)
    b = np.empty(position.size)
    total = 0.0
    moment = 0.0
    for i in range(position.size):
        unit, y, _ = _scale(doppler[i], lorentz[i])
        a[i] = intensity[i] * lorentz[i] / math.pi
        b[i] = (y * y - 1.5) / (unit * unit)
        total += a[i]
        moment += a[i] * b[i]
    common = moment / total if total > 0.0 else 0.0
    pooled = _first_pooled(begin, levels, step, steps, b, common, spread)
    limit = steps * step * _FACTOR**pooled
    for i in range(position.size):
        last = levels - 1
        if pooled < levels and abs(b[i] - common) < spread * limit * limit:
            last = pooled - 1
        if not _add_line(
            flat, at, begin, step, levels, position[i], doppler[i], lorentz[i],
            intensity[i], last, steps, x_wing, x_series,
        ):  # fmt: skip
            a[i] = 0.0
    if pooled < levels and total > 0.0:
        _add_pooled(
            flat, at, begin, levels, pooled, step * _FACTOR**pooled, position, a,
            common, steps,
        )  # fmt: skip
    for level in range(levels - 1, 0, -1):
        coarse = flat[begin[level] : begin[level + 1]]
        _prolong(coarse, flat[begin[level - 1] : begin[level]])
    out[:] = flat[: out.size]
