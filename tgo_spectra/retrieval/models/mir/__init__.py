"""Profiles and limits from ACS MIR occultations: setup, scene, fit and level 2.

`retrieve_mir` is imported when first used, so that reading a setup stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgo_spectra.retrieval.models.mir.profiles import retrieve_mir as retrieve_mir

__all__ = ["retrieve_mir"]


def __getattr__(name: str) -> object:
    """Import the function of this package on first use."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.retrieval.models.mir import profiles

    return getattr(profiles, name)
