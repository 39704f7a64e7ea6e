"""Nadir observations: the way of light down to the surface and up again.

Sunlight goes down at the solar incidence angle, is reflected by the surface and goes up
at the emission angle, both against the local vertical. Light scattered in the
atmosphere is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["slant_factor"]


def slant_factor(
    secant: ArrayLike, height_km: ArrayLike, radius_km: float
) -> NDArray[np.float64]:
    """Path over height of a straight ray above a sphere, at some height.

    ``1 / sqrt(1 - (R / (R + h))^2 sin^2 z)``, at the surface the secant itself.

    Parameters
    ----------
    secant : array_like
        1 / cos z, with the ray's angle z against the vertical at the surface.
    height_km : array_like
        Above the surface, km; broadcast.
    radius_km : float
        Of the surface, km.

    Returns
    -------
    ndarray
        1.

    Raises
    ------
    InstrumentError
        If a secant is smaller than one.

    Examples
    --------
    >>> slant_factor(4.0, [0.0, 10.0, 50.0], 3390.0).round(3).tolist()
    [4.0, 3.835, 3.342]
    """
    inverse = np.asarray(secant, dtype=np.float64)
    if (inverse < 1.0).any():
        msg = "a secant is one or more"
        raise InstrumentError(
            msg, field="secant", value=float(np.nanmin(inverse)), rule="nadir.secant"
        )
    height = np.asarray(height_km, dtype=np.float64)
    ratio = (radius_km / (radius_km + height)) ** 2
    return np.asarray(1.0 / np.sqrt(1.0 - ratio * (1.0 - inverse**-2.0)))
