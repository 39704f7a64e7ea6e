"""Hydrostatic balance: potential of altitudes, and heights of pressure levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import GAS_CONSTANT, GM_M3_S2, MOLAR_MASS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["EXTENSION_BELOW_KM", "SCALE", "heights_of_pressure", "potential"]

#: Extension allowed below the lowest given level, km.
EXTENSION_BELOW_KM = 5.0
#: J kg-1 K-1: gas constant of the air, by which T over ln p becomes a potential.
SCALE = GAS_CONSTANT / (1e-3 * MOLAR_MASS)


def potential(altitude_km: ArrayLike, radius_km: float) -> NDArray[np.float64]:
    """Gravitational potential (J kg-1, any shape) of altitudes over altitude zero."""
    z = np.asarray(altitude_km, dtype=np.float64)
    return np.asarray(GM_M3_S2 * z / (1e3 * radius_km * (radius_km + z)))


def heights_of_pressure(
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    anchor_altitude_km: float,
    anchor_pressure_pa: float,
    radius_km: float,
) -> NDArray[np.float64]:
    """Altitudes of pressure levels, integrated from one known altitude.

    The geopotential difference is (R/M) times the integral of T (K) over ln p (Pa), T
    linear in ln p between levels (level,); it becomes a height (km, (level,)) with
    g = GM / (R + z)^2. Below the lowest level, down to the anchor (km and Pa), the
    temperature is that of the level. One molar mass: good below the homopause.

    Raises
    ------
    AtmosphereError
        The anchor's pressure is below that of the top, or its altitude more than
        5 km below the lowest level (``climatology.anchor``).
    """
    log_p = np.log(np.asarray(pressure_pa, dtype=np.float64))
    t = np.asarray(temperature_k, dtype=np.float64)
    anchor = float(np.log(anchor_pressure_pa))
    if anchor < log_p[-1]:
        msg = f"the anchor lies above the top, {np.exp(log_p[-1]):.4g} Pa"
        raise _wrong(msg, anchor_pressure_pa)
    # areas under T(ln p), counted upwards from the lowest level
    steps = 0.5 * (t[1:] + t[:-1]) * -np.diff(log_p)
    upwards = np.concatenate([[0.0], np.cumsum(steps)])
    if anchor >= log_p[0]:
        at_anchor = -t[0] * (anchor - log_p[0])
    else:
        k = int(np.searchsorted(-log_p, -anchor)) - 1
        t_anchor = np.interp(-anchor, -log_p, t)
        at_anchor = upwards[k] + 0.5 * (t[k] + t_anchor) * (log_p[k] - anchor)
    rise = SCALE * (upwards - at_anchor)
    start = 1e3 * (radius_km + anchor_altitude_km)
    # GM/r0 - GM/r = rise, so r = r0 / (1 - rise r0 / GM)
    radius = start / (1.0 - rise * start / GM_M3_S2)
    height = 1e-3 * radius - radius_km
    if height[0] - anchor_altitude_km > EXTENSION_BELOW_KM:
        msg = f"the anchor lies more than {EXTENSION_BELOW_KM} km below the levels"
        raise _wrong(msg, anchor_pressure_pa)
    return np.asarray(height)


def _wrong(msg: str, value: float) -> AtmosphereError:
    return AtmosphereError(msg, field="anchor", value=value, rule="climatology.anchor")
