"""Heights of pressure levels in hydrostatic balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.profile import EXTENSION_BELOW_KM
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import GAS_CONSTANT, GM_M3_S2, MOLAR_MASS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["heights_of_pressure"]


def heights_of_pressure(
    pressure_pa: ArrayLike,
    temperature_k: ArrayLike,
    *,
    anchor_altitude_km: float,
    anchor_pressure_pa: float,
    radius_km: float,
) -> NDArray[np.float64]:
    """Altitudes of pressure levels, integrated from one known altitude.

    The geopotential difference is (R/M) times the integral of T over ln p, with T
    linear in ln p between levels; it becomes a height with g = GM / (R + z)^2. Below
    the lowest level, down to the anchor, the temperature is that of the level.

    Parameters
    ----------
    pressure_pa : array_like, shape (level,)
        Pa, strictly falling.
    temperature_k : array_like, shape (level,)
        K.
    anchor_altitude_km, anchor_pressure_pa : float
        A pair that belongs together, km above the areoid and Pa: the surface, or a
        level of known height.
    radius_km : float
        Distance of altitude zero from the centre, km.

    Returns
    -------
    ndarray, shape (level,)
        km above the areoid.

    Raises
    ------
    AtmosphereError
        The anchor's pressure is below that of the top, or its altitude more than
        5 km below the lowest level (``climatology.anchor``).

    Notes
    -----
    One molar mass, 43.4 g/mol, at all heights: good below the homopause.
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
    rise = GAS_CONSTANT / (1e-3 * MOLAR_MASS) * (upwards - at_anchor)
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
