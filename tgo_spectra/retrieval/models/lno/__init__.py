"""Columns of a gas from LNO nadir spectra: setup, fit and level 2.

`retrieve_nadir` is imported when first used, so that reading a setup stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tgo_spectra.retrieval.models.lno.columns import (
        retrieve_nadir as retrieve_nadir,
    )

__all__ = ["retrieve_nadir"]


def __getattr__(name: str) -> object:
    """Import the function of this package on first use."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.retrieval.models.lno import columns

    return getattr(columns, name)
