"""Temperature, pressure and CO2 density of one occultation, in hydrostatic balance.

`retrieve_temperature` fits the CO2 lines of one product; `atmosphere_of` makes of its
result the atmosphere for the fit of other gases. Both are imported when first used, so
that reading a setup stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup

if TYPE_CHECKING:
    from tgo_spectra.retrieval.models.so.temperature.following import (
        atmosphere_of as atmosphere_of,
    )
    from tgo_spectra.retrieval.models.so.temperature.retrieval import (
        retrieve_temperature as retrieve_temperature,
    )

__all__ = ["TemperatureSetup", "atmosphere_of", "retrieve_temperature"]

_HOME = {"atmosphere_of": "following", "retrieve_temperature": "retrieval"}


def __getattr__(name: str) -> object:
    """Import a function of this package on first use."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
