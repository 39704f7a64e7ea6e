"""Atmospheres: profiles, the reference, their check, and climatologies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.atmosphere.reference import reference_atmosphere

if TYPE_CHECKING:
    from tgo_spectra.atmosphere.files import read_atmosphere as read_atmosphere

__all__ = ["on_altitudes", "read_atmosphere", "reference_atmosphere"]


def __getattr__(name: str) -> object:
    """Import what reads profiles when one is given."""
    if name != "read_atmosphere":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.atmosphere.files import read_atmosphere

    return read_atmosphere
