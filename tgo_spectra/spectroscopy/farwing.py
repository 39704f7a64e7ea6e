"""Far wings of CO2 lines below the Lorentz shape; arrays only.

Beyond a few cm-1 from a line of CO2 the absorption falls below the Lorentz wing; the
factor chi multiplies it. One published form is here: Tonkov et al. 1996, Applied Optics
35, 4863, for pure CO2 at room temperature near 2.3 micrometres. Its coefficients are as
two independent public codes state them; they were not compared with the paper itself
(to be verified), nor do they depend on temperature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["chi_tonkov", "wing_deficit"]

Floats = NDArray[np.float64]

# cm-1, factor, cm: from this distance on, chi = factor exp(-rate distance)
_TONKOV = ((3.0, 1.084, 0.027), (150.0, 0.208, 0.016), (300.0, 0.025, 0.009))
# cm-1: the deficit is summed on nodes this far apart
_STEP = 0.02


def chi_tonkov(distance_cm1: Floats) -> Floats:
    """Factor on the Lorentz wing of a CO2 line.

    Parameters
    ----------
    distance_cm1 : ndarray
        From the line centre, cm-1, of either sign.

    Returns
    -------
    ndarray
        Between 0 and 1; 1 within 3 cm-1.

    References
    ----------
    Tonkov et al. 1996, Applied Optics 35, 4863, doi:10.1364/AO.35.004863.

    Examples
    --------
    >>> chi_tonkov(np.array([1.0, -10.0, 100.0]))
    array([1.   , 0.8275, 0.0729])
    """
    r = np.abs(np.asarray(distance_cm1, dtype=np.float64))
    chi = np.ones_like(r)
    for start, factor, rate in _TONKOV:
        beyond = r >= start
        chi[beyond] = factor * np.exp(-rate * r[beyond])
    return chi


def wing_deficit(
    wavenumber_cm1: Floats,
    position_cm1: Floats,
    lorentz_hwhm_cm1: Floats,
    intensity: Floats,
) -> Floats:
    """Sum what Lorentz wings have too much, ``(1 - chi)`` times each of them.

    Parameters
    ----------
    wavenumber_cm1 : ndarray
        Points, cm-1, in any order.
    position_cm1, lorentz_hwhm_cm1, intensity : ndarray
        Per line: cm-1, cm-1, cm-1/(molecule cm-2).

    Returns
    -------
    ndarray
        At the points, cm2 per molecule, to subtract from a sum of Voigt profiles.

    Notes
    -----
    Lines are shared between the two nearest of nodes 0.02 cm-1 apart, and the sum is
    interpolated linearly: an error of up to 3e-4 of a line's own wing at 3 cm-1, where
    chi has a small step, and far less elsewhere.

    Examples
    --------
    >>> one = np.ones(1)
    >>> at = np.array([2301.0, 2310.0])
    >>> wing_deficit(at, 2300.0 * one, 1e-3 * one, one)
    array([0.00000e+00, 5.49074e-07])
    """
    origin = min(wavenumber_cm1.min(), position_cm1.min()) - _STEP
    end = max(wavenumber_cm1.max(), position_cm1.max()) + 2.0 * _STEP
    nodes = int(np.ceil((end - origin) / _STEP)) + 1
    place = (position_cm1 - origin) / _STEP
    left = np.floor(place).astype(np.int64)
    share = place - left
    # area of the wing, A / r^2
    charge = intensity * lorentz_hwhm_cm1 / np.pi
    charges = np.bincount(left, charge * (1.0 - share), nodes)
    charges += np.bincount(left + 1, charge * share, nodes)
    total = float(charge.sum())
    # one Lorentz width for all: at 3 cm-1 it matters at laboratory pressures only
    square = float(charge @ lorentz_hwhm_cm1**2) / total if total > 0.0 else 0.0
    distance = _STEP * np.arange(nodes, dtype=np.float64)
    kernel = (1.0 - chi_tonkov(distance)) / (distance**2 + square + 1e-300)
    size = 1 << int(2 * nodes - 1).bit_length()
    # symmetric, wrapped round: the kernel of a circular convolution
    ring = np.zeros(size)
    ring[:nodes] = kernel
    ring[size - nodes + 1 :] = kernel[:0:-1]
    spectrum = np.fft.rfft(ring) * np.fft.rfft(charges, size)
    deficit = np.fft.irfft(spectrum, size)[:nodes]
    # noise of the transform must not make a deficit where there is none
    deficit[deficit < 1e-13 * deficit.max(initial=0.0)] = 0.0
    return np.interp(wavenumber_cm1, origin + distance, deficit)
