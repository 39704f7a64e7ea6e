"""Compiled Voigt profiles of one line: at any point, and at runs of grid points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import dawsn

from tgo_spectra.numerics.accelerate import compiled

Floats = NDArray[np.float64]

_SQRT_LN2 = math.sqrt(math.log(2.0))
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_ONE_OVER_SQRT_PI = 1.0 / math.sqrt(math.pi)
# Units of x: where exp(-x^2) = 5e-22 no longer matters beside a wing.
_X_CORE = 7.0
_Y_SERIES = 0.5
# Units of x: beyond this the continued fraction gives the part odd in y, to 3e-6.
_X_ODD = 5.5
_Y_ODD = 0.1
_Y_COSINE = 0.05
# cos(2xy) with c = -(2xy)^2 / 2: 1 + c + c^2/6 + c^3/90 + c^4/2520, nested
_C4, _C6, _C8 = 1.0 / 6.0, 1.0 / 15.0, 1.0 / 28.0
# Samples between fresh starts of the recurrence for exp(-z^2).
_RESTART = 256


def _dawson_table() -> Floats:
    """Taylor coefficients of Dawson's integral about the middle of each 1/16."""
    centre = (np.arange(int(_X_CORE * 16) + 2) + 0.5) / 16.0
    terms = [dawsn(centre), 1.0 - 2.0 * centre * dawsn(centre)]
    for n in range(1, 7):
        terms.append(-2.0 * centre * terms[n] - 2.0 * n * terms[n - 1])
    table = [term / math.factorial(n) for n, term in enumerate(terms)]
    return np.ascontiguousarray(np.stack(table, axis=1))


def _weideman(terms: int) -> tuple[Floats, float]:
    """Coefficients, highest power first, and length of Weideman's series."""
    length = math.sqrt(terms / math.sqrt(2.0))
    m = 2 * terms
    theta = np.arange(-m + 1, m) * math.pi / m
    t = length * np.tan(theta / 2.0)
    values = np.concatenate([[0.0], np.exp(-(t**2)) * (length**2 + t**2)])
    a = np.real(np.fft.fft(np.fft.fftshift(values))) / (2 * m)
    return np.ascontiguousarray(a[1 : terms + 1][::-1]), length


_DAWSON = _dawson_table()
_WEIDEMAN, _WEIDEMAN_LENGTH = _weideman(32)
# Dawson's integral over x, for 0 <= x <= 5.75, as P(x^2) / Q(x^2), lowest power
# first; own weighted least-squares fit to scipy.special.dawsn, relative error 5e-9.
_P = (
    0.9999999985422,
    0.007251005344521,
    0.03799114073517,
    0.002956725528266,
    0.0004550565997535,
    3.764260648381e-05,
    2.236748346883e-06,
    1.836793504756e-07,
)
_Q = (
    1.0,
    0.6739175520798,
    0.2206040123719,
    0.04650096608534,
    0.007050764691929,
    0.0008049312454625,
    7.444661849556e-05,
    4.268048395046e-06,
    3.674881358616e-07,
)


@compiled()
def _odd_part(x: float, y: float) -> float:
    """``-2/sqrt(pi) Im D(x + iy)`` for ``|x| < 7`` and ``y < 0.5``."""
    x = abs(x)
    cell = int(x * 16.0)
    d = x - (cell + 0.5) / 16.0
    c = _DAWSON[cell]
    d0 = c[7]
    d0 = d0 * d + c[6]
    d0 = d0 * d + c[5]
    d0 = d0 * d + c[4]
    d0 = d0 * d + c[3]
    d0 = d0 * d + c[2]
    d0 = d0 * d + c[1]
    d0 = d0 * d + c[0]
    d1 = 1.0 - 2.0 * x * d0
    d2 = -2.0 * (x * d1 + d0)
    d3 = -2.0 * (x * d2 + 2.0 * d1)
    yy = y * y
    total: float = d1 - yy * d3 / 6.0
    if y > 0.005:
        d4 = -2.0 * (x * d3 + 3.0 * d2)
        d5 = -2.0 * (x * d4 + 4.0 * d3)
        d6 = -2.0 * (x * d5 + 5.0 * d4)
        d7 = -2.0 * (x * d6 + 6.0 * d5)
        total += yy * yy * (d5 / 120.0 - yy * d7 / 5040.0)
        if y > 0.1:
            d8 = -2.0 * (x * d7 + 7.0 * d6)
            d9 = -2.0 * (x * d8 + 8.0 * d7)
            d10 = -2.0 * (x * d9 + 9.0 * d8)
            d11 = -2.0 * (x * d10 + 10.0 * d9)
            d12 = -2.0 * (x * d11 + 11.0 * d10)
            d13 = -2.0 * (x * d12 + 12.0 * d11)
            y8 = yy * yy * yy * yy
            total += y8 * (
                d9 / 362880.0 - yy * (d11 / 39916800.0 - yy * d13 / 6227020800.0)
            )
    return -_TWO_OVER_SQRT_PI * y * total


@compiled()
def _rational(x: float, y: float) -> float:
    """Weideman's series, real part, for ``y >= 0.5``."""
    # Z = (L + iz) / (L - iz) with z = x + iy
    z = complex(x, y)
    below = _WEIDEMAN_LENGTH - 1j * z
    ratio = (_WEIDEMAN_LENGTH + 1j * z) / below
    p = complex(0.0, 0.0)
    for k in range(_WEIDEMAN.size):
        p = p * ratio + _WEIDEMAN[k]
    w = 2.0 * p / (below * below) + _ONE_OVER_SQRT_PI / below
    return float(w.real)


@compiled(fastmath=True, part=True)
def _outer(x: float, y: float) -> float:
    """Fifth convergent of the continued fraction, real part."""
    a = x * x - y * y
    b = 2.0 * x * y
    # numerator z^4 - 4.5 z^2 + 2, denominator z (z^4 - 5 z^2 + 3.75)
    c = a * a - b * b
    e = 2.0 * a * b
    nr = c - 4.5 * a + 2.0
    ni = e - 4.5 * b
    qr = c - 5.0 * a + 3.75
    qi = e - 5.0 * b
    dr = x * qr - y * qi
    di = x * qi + y * qr
    # np.divide: no test for zero, which would keep the loops from vector units
    value: float = np.divide(_ONE_OVER_SQRT_PI * (nr * di - ni * dr), dr * dr + di * di)
    return value


@compiled()
def _voigt(x: float, y: float) -> float:
    """Real part of the Faddeeva function at one point."""
    if abs(x) >= _X_CORE or y >= _X_CORE:
        return _outer(x, y)
    if y >= _Y_SERIES:
        return _rational(x, y)
    even = math.exp(y * y - x * x) * math.cos(2.0 * x * y)
    return even + _odd_part(x, y)


@compiled()
def _voigt_array(x: Floats, y: Floats, out: Floats) -> None:
    for i in range(x.size):
        out[i] = _voigt(x[i], y[i])


@compiled()
def _scale(doppler: float, lorentz: float) -> tuple[float, float, float]:
    """Units of x per cm-1, y, and the height factor of the area-normal profile."""
    unit = _SQRT_LN2 / doppler
    return unit, lorentz * unit, unit * _ONE_OVER_SQRT_PI


@compiled()
def _bounds(start: float, step: float, size: int, left: float, right: float) -> tuple[int, int]:  # noqa: E501  # fmt: skip
    """Half-open index range of the grid points with left < point < right."""
    low = (left - start) / step
    high = (right - start) / step
    if high < 0.0 or low > size - 1:
        return 0, 0
    first = max(0, math.floor(low) + 1) if low >= 0.0 else 0
    last = min(size, math.ceil(high)) if high < size else size
    return first, max(first, last)


@compiled(fastmath=True, part=True)
def _add_outer(
    out: Floats, at: Floats, position: float, unit: float, y: float, height: float
) -> None:
    """Add the profile far from the core."""
    for i in range(out.size):
        out[i] += height * _outer((at[i] - position) * unit, y)


@compiled()
def _add_rational(
    out: Floats, at: Floats, position: float, unit: float, y: float, height: float
) -> None:
    """Add the profile of a line that is not narrow."""
    for i in range(out.size):
        out[i] += height * _voigt((at[i] - position) * unit, y)


@compiled()
def _add_series(
    out: Floats, at: Floats, position: float, unit: float, y: float, height: float
) -> None:
    """Add the part of the profile that is odd in y, 0.1 < y < 0.5."""
    for i in range(out.size):
        x = min(abs(at[i] - position) * unit, _X_CORE)
        out[i] += height * _odd_part(x, y)


@compiled(fastmath=True, part=True)
def _add_odd(
    out: Floats, at: Floats, position: float, unit: float, y: float, height: float
) -> None:
    """Add the part of the profile that is odd in y, y <= 0.1, by vector units."""
    yy = y * y
    factor = -_TWO_OVER_SQRT_PI * y * height
    third = yy / 6.0
    fifth = yy * yy / 120.0
    seventh = yy * yy * yy / 5040.0
    for i in range(out.size):
        x = (at[i] - position) * unit
        s = x * x
        p = _P[6] + s * _P[7]
        p = _P[5] + s * p
        p = _P[4] + s * p
        p = _P[3] + s * p
        p = _P[2] + s * p
        p = _P[1] + s * p
        p = _P[0] + s * p
        q = _Q[7] + s * _Q[8]
        q = _Q[6] + s * q
        q = _Q[5] + s * q
        q = _Q[4] + s * q
        q = _Q[3] + s * q
        q = _Q[2] + s * q
        q = _Q[1] + s * q
        q = _Q[0] + s * q
        d0 = x * np.divide(p, q)
        d1 = 1.0 - 2.0 * x * d0
        d2 = -2.0 * (x * d1 + d0)
        d3 = -2.0 * (x * d2 + 2.0 * d1)
        d4 = -2.0 * (x * d3 + 3.0 * d2)
        d5 = -2.0 * (x * d4 + 4.0 * d3)
        d6 = -2.0 * (x * d5 + 5.0 * d4)
        d7 = -2.0 * (x * d6 + 6.0 * d5)
        out[i] += factor * (d1 - third * d3 + fifth * d5 - seventh * d7)


@compiled()
def _add_even(
    out: Floats, at: Floats, position: float, unit: float, y: float, height: float
) -> None:
    """Add ``exp(y^2 - x^2) cos(2xy)`` on a uniform grid.

    exp(-(z + d)^2) = exp(-z^2) g with g = exp(-2zd - d^2), and g -> g exp(-2d^2).
    """
    if out.size < 2:
        for i in range(out.size):
            x = (at[i] - position) * unit
            out[i] += height * math.exp(y * y - x * x) * math.cos(2.0 * x * y)
        return
    d = (at[out.size - 1] - at[0]) * unit / (out.size - 1)
    shrink = math.exp(-2.0 * d * d)
    for begin in range(0, out.size, _RESTART):
        end = min(begin + _RESTART, out.size)
        x = (at[begin] - position) * unit
        size = height * math.exp(y * y - x * x)
        step = math.exp(-2.0 * x * d - d * d)
        if y < _Y_COSINE:
            twice = -2.0 * y * y
            for i in range(begin, end):
                x = (at[i] - position) * unit
                # cos(2xy) to (2xy)^8; 2xy <= 0.7
                c = twice * x * x
                out[i] += size * (
                    1.0 + c * (1.0 + c * _C4 * (1.0 + c * _C6 * (1.0 + c * _C8)))
                )
                size *= step
                step *= shrink
        else:
            er = size * math.cos(2.0 * x * y)
            ei = -size * math.sin(2.0 * x * y)
            gr = step * math.cos(2.0 * y * d)
            gi = -step * math.sin(2.0 * y * d)
            for i in range(begin, end):
                out[i] += er
                er, ei = er * gr - ei * gi, er * gi + ei * gr
                gr *= shrink
                gi *= shrink


@compiled()
def _add_core(
    out: Floats, at: Floats, step: float, position: float, unit: float, y: float,
    height: float,
) -> None:  # fmt: skip
    """Add the full profile at all points."""
    if y >= _Y_SERIES:
        wide = _X_CORE / unit
        low, high = _bounds(at[0], step, at.size, position - wide, position + wide)
        _add_rational(out[low:high], at[low:high], position, unit, y, height)
    else:
        wide = _X_CORE / unit
        low, high = _bounds(at[0], step, at.size, position - wide, position + wide)
        _add_even(out[low:high], at[low:high], position, unit, y, height)
        wide = _X_ODD / unit
        low, high = _bounds(at[0], step, at.size, position - wide, position + wide)
        if y <= _Y_ODD:
            _add_odd(out[low:high], at[low:high], position, unit, y, height)
        else:
            _add_series(out[low:high], at[low:high], position, unit, y, height)
    _add_outer(out[:low], at[:low], position, unit, y, height)
    _add_outer(out[high:], at[high:], position, unit, y, height)


@compiled()
def _sum_points(
    points: Floats, position: Floats, doppler: Floats, lorentz: Floats,
    intensity: Floats, out: Floats,
) -> None:  # fmt: skip
    """Sum of area-normal Voigt profiles times intensity at any points."""
    out[:] = 0.0
    for i in range(position.size):
        unit, y, height = _scale(doppler[i], lorentz[i])
        height *= intensity[i]
        for j in range(points.size):
            out[j] += height * _voigt((points[j] - position[i]) * unit, y)
