"""Ozone and aerosol of a UVIS occultation: setup, fit and level 2.

The functions are imported when first used, so that reading a setup stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgo_spectra.retrieval.models.uvis.ozone import retrieve_uvis as retrieve_uvis

__all__ = ["retrieve_uvis"]


def __getattr__(name: str) -> object:
    """Import a function of this package on first use."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.retrieval.models.uvis import ozone

    return getattr(ozone, name)
