"""What the figures share: colours, labels, readable units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TgoError
from tgo_spectra.variables import FORMULAE, GASES

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = [
    "BLUE",
    "FAINT",
    "GREY",
    "RED",
    "formula",
    "label",
    "need",
    "new_axes",
    "readable",
]

FAINT = frozenset({"ch4", "c2h4", "c2h6", "h2co", "ph3", "h2s", "ocs", "no2", "n2o"})
"""Gases that may be absent: signed colours, limits of interest."""

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "0.55"

_UNITS = {
    "cm-1": "cm$^{-1}$",
    "degrees_north": "degrees north",
    "degrees_east": "degrees east",
}


def new_axes(width: float = 7.2, height: float = 3.6) -> Axes:
    """Give the axes of a new figure."""
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def need(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Give a variable; TgoError (``plot.variable``) if it is missing."""
    if name not in ds:
        known = [gas for gas in GASES if f"{gas}_vmr" in ds or f"{gas}_sum_w" in ds]
        message = f"not in the Dataset; its gases are {', '.join(known) or 'none'}"
        raise TgoError(message, field=name, rule="plot.variable")
    return ds[name]


def label(array: xr.DataArray) -> str:
    """Long name without its explanation, and units."""
    text = str(array.attrs.get("long_name", array.name)).replace("_", " ")
    text = text.split("(")[0].strip()
    units = str(array.attrs.get("units", ""))
    return text if units in {"", "1"} else f"{text} ({_UNITS.get(units, units)})"


def formula(gas: str) -> str:
    """Give the chemical formula of a gas as text with subscripts."""
    text = FORMULAE.get(gas, gas.upper())
    return "".join(f"$_{c}$" if c.isdigit() else c for c in text)


def readable(values: npt.NDArray[Any]) -> tuple[float, str]:
    """Factor and unit that make the numbers readable."""
    finite = np.abs(values[np.isfinite(values)])
    typical = float(np.quantile(finite, 0.9)) if finite.size else 0.0
    for floor, factor, unit in (
        (2e-3, 1e2, "%"),
        (5e-7, 1e6, "ppmv"),
        (5e-10, 1e9, "ppbv"),
    ):
        if typical >= floor:
            return factor, unit
    return 1e12, "pptv"
