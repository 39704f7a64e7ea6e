"""Atmospheres: profiles, their check, and climatologies."""

from tgo_spectra.atmosphere.profile import (
    on_altitudes,
    read_atmosphere,
    reference_atmosphere,
)

__all__ = ["on_altitudes", "read_atmosphere", "reference_atmosphere"]
