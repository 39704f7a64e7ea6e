"""Atmospheres: profiles, the reference, their check, and climatologies."""

from tgo_spectra.atmosphere.profile import on_altitudes, read_atmosphere
from tgo_spectra.atmosphere.reference import reference_atmosphere

__all__ = ["on_altitudes", "read_atmosphere", "reference_atmosphere"]
