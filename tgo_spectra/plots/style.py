"""What the figures share: how they open and are saved, colours, labels, units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.atomic import atomic_file
from tgo_spectra.files.level2 import flags_of
from tgo_spectra.paths import expanded
from tgo_spectra.variables import FORMULAE, GASES

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FAINT",
    "GREY",
    "RED",
    "formula",
    "label",
    "mark",
    "need",
    "new_axes",
    "new_figure",
    "new_pair",
    "readable",
    "save_figure",
]

FAINT = frozenset({"ch4", "c2h4", "c2h6", "h2co", "ph3", "h2s", "ocs", "no2", "n2o"})
"""Gases that may be absent: signed colours, limits of interest."""

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "0.55"

# inches
_SIZES = {
    "spectrum": (7.2, 3.6),
    "fit": (7.2, 4.8),
    "profile": (4.6, 5.2),
    "map": (7.2, 4.2),
    "limits": (6.4, 4.2),
}
_DPI = 120

_UNITS = {
    "cm-1": "cm$^{-1}$",
    "degrees_north": "degrees north",
    "degrees_east": "degrees east",
}


def new_figure(kind: str, *, shown: bool = True) -> Figure:
    """Open a figure of the size of its kind; not shown: one that no window holds."""
    if shown:
        import matplotlib.pyplot as plt

        return plt.figure(figsize=_SIZES[kind], layout="constrained")
    from matplotlib.figure import Figure

    return Figure(figsize=_SIZES[kind], layout="constrained")


def new_axes(kind: str, *, shown: bool = True) -> Axes:
    """Give the axes of a new figure."""
    axes: Axes = new_figure(kind, shown=shown).subplots()
    return axes


def new_pair(kind: str, *, shown: bool = True) -> tuple[Axes, Axes]:
    """Give a large and a small pair of axes, one above the other, of a new figure."""
    figure = new_figure(kind, shown=shown)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    return top, bottom


def mark(ax: Axes, level2: xr.Dataset, spectrum: int | None = None) -> None:
    """Say over the axes what the quality flag of a result, or of one row, holds."""
    flags = flags_of(level2)
    if flags is None:
        return
    flag = flags[spectrum] if flags.ndim and spectrum is not None else flags
    flag = quality.overall(flag)
    bad = quality.names(flag & quality.SEVERE)
    fair = quality.names(flag & ~quality.SEVERE)
    parts = [f"not to be used: {', '.join(bad)}"] if bad else []
    text = "; ".join([*parts, ", ".join(fair)] if fair else parts)
    ax.set_title(text, loc="left", fontsize="x-small", color=RED if bad else GREY)


def save_figure(ax: Axes, path: str | Path) -> Path:
    """Write the figure that axes stand in as PNG, whole or not at all (OutputError)."""
    figure: Any = ax.get_figure()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")
    return expanded(path)


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
