"""NOMAD SO: derivatives of the instrument model by what a fit may vary.

Keys are the fields of `tgo_spectra.instruments.so.SoInstrument`; ``shift`` is the
wavenumber of the pixel, cm-1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import coefficients, number
from tgo_spectra.instruments.aotf import lobed_aotf_derivatives
from tgo_spectra.instruments.line_shape import doublet_derivatives
from tgo_spectra.instruments.polynomial import power_series, power_series_slope
from tgo_spectra.instruments.so import (
    SHIFTED_MODELS,
    SoInstrument,
    aotf_parameters,
    ils_parameters,
    pixel_wavenumber,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tgo_spectra.instruments.so import WavenumberModel

__all__ = [
    "aotf_derivatives",
    "line_shape_derivatives",
    "pixel_wavenumber_derivatives",
]


def pixel_wavenumber_derivatives(
    order: ArrayLike,
    pixel: ArrayLike,
    temperature_c: ArrayLike,
    model: WavenumberModel = "gv",
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `tgo_spectra.instruments.so.pixel_wavenumber`.

    Parameters
    ----------
    order, pixel, temperature_c, model
        As there.

    Returns
    -------
    dict of str to ndarray
        ``pixel`` (cm-1 for a pixel of shift), ``temperature_c`` (cm-1 per degree).

    Raises
    ------
    InstrumentError
        If the model is unknown.

    Examples
    --------
    >>> found = pixel_wavenumber_derivatives(134, 160, 0.0)
    >>> round(float(found["pixel"]), 4)
    0.0752
    """
    nu = pixel_wavenumber(order, pixel, temperature_c, model)
    if model == "gv":
        warm = coefficients("so.dispersion_temperature")
        factor = 1.0 + power_series(warm, temperature_c)
        slope = power_series_slope(coefficients("so.dispersion"), pixel)
        rate = power_series_slope(warm, temperature_c)
        return {
            "pixel": np.asarray(np.asarray(order) * slope * factor),
            "temperature_c": np.asarray(nu * rate / factor),
        }
    dispersion, offset = (coefficients(name) for name in SHIFTED_MODELS[model])
    q = np.asarray(pixel, dtype=np.float64) + power_series(offset, temperature_c)
    step = np.asarray(order) * power_series_slope(dispersion, q)
    drift = step * power_series_slope(offset, temperature_c)
    return {"pixel": np.asarray(step), "temperature_c": np.asarray(drift)}


def aotf_derivatives(
    wavenumber_cm1: ArrayLike,
    centre_cm1: float,
    settings: SoInstrument | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of the SO AOTF transmission.

    Parameters
    ----------
    wavenumber_cm1 : array_like
        cm-1.
    centre_cm1 : float
        AOTF centre, offset included, cm-1.
    settings : SoInstrument, optional
        Factors on width, lobes and pedestal.

    Returns
    -------
    dict of str to ndarray
        ``aotf_offset`` (1/cm-1; width, lobes, asymmetry and pedestal follow the
        centre), ``aotf_width_factor``, ``aotf_lobe_factor``,
        ``aotf_pedestal_factor``.

    Examples
    --------
    >>> found = aotf_derivatives(3021.476, 3021.476)
    >>> float(found["aotf_width_factor"]), round(float(found["aotf_offset"]), 6)
    (0.0, -6.2e-05)
    """
    settings = settings or SoInstrument()
    w, s, a, g = (float(value) for value in aotf_parameters(centre_cm1))
    factors = {
        "width": settings.aotf_width_factor,
        "side_lobes": settings.aotf_lobe_factor,
        "asymmetry": 1.0,
        "pedestal": settings.aotf_pedestal_factor,
    }
    x = np.asarray(wavenumber_cm1, dtype=np.float64) - centre_cm1
    part = lobed_aotf_derivatives(
        x,
        w * factors["width"],
        s * factors["side_lobes"],
        a,
        g * factors["pedestal"],
        number("so.aotf_pedestal_sigma"),
    )
    offset = -part.offset
    for name, factor in factors.items():
        rate = power_series_slope(coefficients(f"so.aotf_{name}"), centre_cm1)
        offset = offset + getattr(part, name) * factor * rate
    return {
        "aotf_offset": np.asarray(offset),
        "aotf_width_factor": part.width * w,
        "aotf_lobe_factor": part.side_lobes * s,
        "aotf_pedestal_factor": part.pedestal * g,
    }


def line_shape_derivatives(
    offset_cm1: ArrayLike,
    pixel: ArrayLike,
    reference_cm1: ArrayLike,
    settings: SoInstrument | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the derivatives of `tgo_spectra.instruments.so.line_shape`.

    Parameters
    ----------
    offset_cm1, pixel, reference_cm1, settings
        As there.

    Returns
    -------
    dict of str to ndarray
        ``shift`` (per cm-1 of the pixel's wavenumber, the widths held),
        ``ils_amplitude``, ``ils_resolving_power``, ``ils_delta_factor``.

    Examples
    --------
    >>> sorted(line_shape_derivatives(0.1, 160, 3030.0))
    ['ils_amplitude', 'ils_delta_factor', 'ils_resolving_power', 'shift']
    """
    settings = settings or SoInstrument()
    sigma, delta, amplitude = ils_parameters(pixel, reference_cm1, settings)
    part = doublet_derivatives(offset_cm1, sigma, delta, amplitude)
    # the displacement without the factor, so that a factor of zero has a slope too
    plain = SoInstrument(ils_resolving_power=settings.ils_resolving_power)
    displacement = ils_parameters(pixel, reference_cm1, plain)[1]
    return {
        "shift": part.centre,
        "ils_amplitude": part.amplitude,
        "ils_resolving_power": -part.sigma * sigma / settings.ils_resolving_power,
        "ils_delta_factor": part.delta * displacement,
    }
