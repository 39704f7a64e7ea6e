"""Rayleigh scattering of carbon dioxide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import LineListError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["rayleigh_cross_section_co2"]

# Dispersion of CO2 at 15 degC and 1013.25 hPa: n - 1 = 1142.7 sum a / (b^2 - nu^2),
# nu in cm-1. Sneep and Ubachs 2005, J. Quant. Spectrosc. Radiat. Transf. 92, 293. The
# last numerator is printed with a wrong power of ten in some places; in the
# ultraviolet the term is below 1e-9 of the sum either way.
_FACTOR = 1142.7
_STRENGTH = (5799.25, 120.05, 5.3334, 4.3244, 0.1218145e-4)  # cm-2
_POLE = (128908.9, 89223.8, 75037.5, 67837.7, 2418.136)  # cm-1
# Molecules at 15 degC and 1013.25 hPa, cm-3.
_DENSITY = 2.546899e19
# King factor 1.1364 + 2.53e-11 nu^2, same source.
_KING = (1.1364, 2.53e-11)  # 1, cm2

_LOW_NM, _HIGH_NM = 180.0, 2000.0


def rayleigh_cross_section_co2(wavelength_nm: ArrayLike) -> NDArray[np.float64]:
    r"""Scattering cross section of a molecule of carbon dioxide.

    :math:`\sigma = 24 \pi^3 \nu^4 N^{-2} \left((n^2-1)/(n^2+2)\right)^2 F(\nu)`

    Parameters
    ----------
    wavelength_nm : array_like
        nm, vacuum, 180 to 2000.

    Returns
    -------
    ndarray
        cm2 per molecule.

    Raises
    ------
    LineListError
        A wavelength is outside the range.

    References
    ----------
    Sneep and Ubachs 2005, J. Quant. Spectrosc. Radiat. Transf. 92, 293. He et al. 2021,
    Atmos. Chem. Phys. 21, 14927, found the same dispersion within (0.4 +- 1.2) % from
    307 to 725 nm; below 300 nm it is extrapolated here (*inferred*).

    Examples
    --------
    >>> rayleigh_cross_section_co2([250.0, 532.2])
    array([3.33...e-25, 1.33...e-26])
    """
    nm = np.asarray(wavelength_nm, dtype=np.float64)
    outside = ~((nm >= _LOW_NM) & (nm <= _HIGH_NM))
    if outside.any():
        msg = f"the formula is used from {_LOW_NM:g} to {_HIGH_NM:g} nm"
        raise LineListError(
            msg,
            field="wavelength",
            value=float(nm[outside].flat[0]),
            rule="cross_section.coverage",
        )
    nu2 = (1e7 / nm) ** 2
    index = 1.0 + _FACTOR * sum(
        a / (b**2 - nu2) for a, b in zip(_STRENGTH, _POLE, strict=True)
    )
    ratio = (index**2 - 1.0) / (index**2 + 2.0)
    king = _KING[0] + _KING[1] * nu2
    return np.asarray(24.0 * np.pi**3 * (nu2 * ratio / _DENSITY) ** 2 * king)
