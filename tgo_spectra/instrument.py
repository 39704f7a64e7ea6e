"""The SO model under its first name; it is in ``tgo_spectra.instruments.so``."""

from __future__ import annotations

from tgo_spectra.instruments.so import (
    AOTF_FREQUENCY_KHZ,
    PIXELS,
    SoInstrument,
    aotf_centre,
    aotf_parameters,
    aotf_transmission,
    blaze,
    covered_orders,
    free_spectral_range,
    ils_parameters,
    line_shape,
    nearest_order,
    pixel_wavenumber,
)

__all__ = [
    "AOTF_FREQUENCY_KHZ",
    "PIXELS",
    "SoInstrument",
    "aotf_centre",
    "aotf_parameters",
    "aotf_transmission",
    "blaze",
    "covered_orders",
    "free_spectral_range",
    "ils_parameters",
    "line_shape",
    "nearest_order",
    "pixel_wavenumber",
]
