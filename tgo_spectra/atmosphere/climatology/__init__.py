"""Climatologies: outputs of climate models as atmospheres of a retrieval."""

from tgo_spectra.atmosphere.climatology.opening import open_climatology
from tgo_spectra.atmosphere.climatology.place import (
    atmosphere_at,
    atmosphere_for_product,
)

__all__ = ["atmosphere_at", "atmosphere_for_product", "open_climatology"]
