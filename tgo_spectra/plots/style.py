"""What the figures share: how they open and are saved, colours, labels, titles."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.atomic import atomic_file
from tgo_spectra.files.level2 import flags_of
from tgo_spectra.files.observations import is_simulated
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
    "MISSING",
    "ORANGE",
    "RED",
    "arrows",
    "flag_words",
    "formula",
    "gases_in",
    "head",
    "label",
    "mark",
    "middle",
    "moment_of",
    "name_of",
    "need",
    "new_axes",
    "new_figure",
    "new_pair",
    "over_all",
    "readable",
    "save_figure",
    "scale",
    "shades",
    "stamp",
    "why_empty",
]

FAINT = frozenset({"ch4", "c2h4", "c2h6", "h2co", "ph3", "h2s", "ocs", "no2", "n2o"})
"""Gases that may be absent: signed colours, limits of interest."""

BLUE, RED, GREY, ORANGE = "#1f5fa8", "#c0392b", "0.55", "#d98200"
MISSING = "0.87"
"""Where nothing is measured: no colour of a scale, so that zero is not taken for it."""

DECADES = 2.0
"""Positive values that span more are drawn on a logarithmic scale."""
OUTSIDE = 10.0
"""A value further from the quartiles, in units of their distance, sets no scale."""

# inches
_SIZES = {
    "spectrum": (7.2, 3.6),
    "product": (8.0, 8.0),
    "pair": (9.6, 4.6),
    "result": (12.0, 5.4),
    "maps": (12.0, 8.0),
    "globe": (6.4, 5.6),
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
    """Say over the axes what a result is, and what its flag, or a row's, holds."""
    parts, bad = flag_words(level2, spectrum)
    head(ax, [name_of(level2), moment_of(level2)], parts, level2, bad=bad)


def flag_words(level2: xr.Dataset, spectrum: int | None) -> tuple[list[str], bool]:
    """Give what a flag holds, as lines, and whether the result is not to be used."""
    flags = flags_of(level2)
    if flags is None:
        return [], False
    flag = flags[spectrum] if flags.ndim and spectrum is not None else flags
    flag = quality.overall(flag)
    bad = quality.names(flag & quality.SEVERE)
    fair = quality.names(flag & ~quality.SEVERE)
    parts = [f"not to be used: {', '.join(bad)}"] if bad else []
    return [*parts, ", ".join(fair)] if fair else parts, bool(bad)


def head(
    ax: Axes,
    first: list[str],
    more: list[str],
    ds: xr.Dataset | None = None,
    *,
    bad: bool = False,
) -> None:
    """Write lines over axes: `first` in one, each of `more` in its own."""
    if ds is not None:
        first = [*first, stamp(ax, ds)]
    text = _wrapped(first, more, _width(ax))
    ax.set_title(text, loc="left", fontsize="small", color=RED if bad else "0.25")


def over_all(figure: Figure, first: list[str], more: list[str]) -> None:
    """Write lines as `head` does, over all axes of a figure together."""
    text = _wrapped(first, more, _inches(figure) * 0.85)
    figure.suptitle(text, fontsize="small", color="0.25")


def _wrapped(first: list[str], more: list[str], inches: float) -> str:
    """Break lines that would run out of the figure."""
    width = max(int(inches * 14.5), 30)
    return "\n".join(
        part
        for line in (", ".join(filter(None, first)), *more)
        for part in textwrap.wrap(
            line, width, break_on_hyphens=False, break_long_words=False
        )
    )


def _inches(figure: Any) -> float:
    return float(figure.bbox.width / figure.dpi)


def _width(ax: Axes) -> float:
    """Width of axes in inches, as far as it is known before they are laid out."""
    figure = ax.get_figure()
    spec = ax.get_subplotspec()
    if figure is None:
        return 5.0
    columns = 1.0
    if spec is not None:
        n = spec.get_gridspec().ncols
        columns = n / max(spec.colspan.stop - spec.colspan.start, 1)
    return _inches(figure) / columns * 0.85


def stamp(ax: Axes, ds: xr.Dataset) -> str:
    """Write "simulated" across axes that show what nobody measured; give the words."""
    from matplotlib.patheffects import withStroke

    if not is_simulated(ds):
        return ""
    text = "simulated"
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", rotation=25,
        fontsize=26, color="0.3", alpha=0.25, zorder=5, gid="simulated",
        path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.25)],
    )  # fmt: skip
    some, of = ds.attrs.get("n_simulated", 1), ds.attrs.get("n_profiles", 1)
    return f"{some} of {of} simulated" if some < of else text


def why_empty(ax: Axes, text: str) -> None:
    """Say in the middle of axes why they hold nothing."""
    # one of several panels has less room
    width = min(44, max(int(_width(ax) * 11), 16))
    ax.text(
        0.5, 0.5, textwrap.fill(text, width), transform=ax.transAxes, ha="center",
        va="center", color="0.25", fontsize="medium", zorder=6, gid="why",
        bbox={"facecolor": "white", "edgecolor": "0.7", "boxstyle": "round,pad=0.6"},
    )  # fmt: skip


def name_of(ds: xr.Dataset) -> str:
    """Return the name of a product, the last part of its identifier."""
    return str(ds.attrs.get("product_lid", "")).rpartition(":")[2]


def moment_of(ds: xr.Dataset) -> str:
    """Return season, Mars Year and latitude of a product, as far as they are known."""
    parts = []
    for name, form in (("solar_longitude", "Ls {:.1f}°"), ("mars_year", "MY {:.0f}")):
        value = middle(ds, name)
        if value is not None:
            parts.append(form.format(value))
    latitude = middle(ds, "latitude")
    if latitude is not None:
        parts.append(f"{abs(latitude):.0f}°{'N' if latitude >= 0 else 'S'}")
    return ", ".join(parts)


def middle(ds: xr.Dataset, name: str) -> float | None:
    """Return the middle one of the values of a variable; None if there is none."""
    if name not in ds.variables:
        return None
    values = np.asarray(ds[name].values, dtype=float).ravel()
    values = values[np.isfinite(values)]
    return float(values[values.size // 2]) if values.size else None


def shades(values: npt.NDArray[Any], *, signed: bool) -> tuple[dict[str, Any], str]:
    """Give colour map and scale for values: signed ones have zero in the middle.

    Positive values over decades have a logarithmic scale; a lone value far from all
    others does not set a linear one, and the colour bar says so by an arrow
    at the end that is given beside them.
    """
    from matplotlib.colors import LogNorm, Normalize

    found = np.ma.masked_invalid(values).compressed()
    if signed:
        _, high = _inner(np.abs(found)) if found.size else (0.0, 1.0)
        high = high or 1.0
        low = -high
        norm, colours = Normalize(low, high), "RdBu_r"
    elif found.size and found.min() > 0 and _decades(found) > DECADES:
        low, high = float(found.min()), float(found.max())
        norm, colours = LogNorm(low, high), "viridis"
    else:
        low, high = _inner(found) if found.size else (0.0, 1.0)
        norm, colours = Normalize(low, high), "viridis"
    if low == high:  # one value in all cells: a scale that is not of its rounding
        half = 0.5 if low == round(low) else 0.05 * abs(low)
        low, high = low - half, high + half
        norm = Normalize(low, high)
    return {"norm": norm, "cmap": colours}, arrows(found, low, high)


def arrows(values: npt.NDArray[Any], low: float, high: float) -> str:
    """Give the ends of a colour bar beyond which values lie, in matplotlib's word."""
    below, above = bool((values < low).any()), bool((values > high).any())
    ends = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    return ends[below, above]


def scale(ax: Axes, axis: str, values: npt.NDArray[Any]) -> None:
    """Scale an axis (x or y) for values: logarithmic over decades, signed or not."""
    found = values[np.isfinite(values)]
    setter = ax.set_xscale if axis == "x" else ax.set_yscale
    if not found.size:
        return
    if found.min() > 0 and _decades(found) > DECADES:
        setter("log")
        return
    size = np.abs(found[found != 0])
    _, inner = _inner(np.abs(found))
    if size.size and size.max() > 100.0 * inner > 0:
        setter("symlog", linthresh=inner)


def _inner(found: npt.NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest value that are not far outside the quartiles."""
    low, high = np.quantile(found, [0.25, 0.75])
    # where most values are the same, their own size tells what is far from them
    room = OUTSIDE * ((high - low) or abs(float(high)))
    if room == 0:
        return float(found.min()), float(found.max())
    inside = found[(found >= low - room) & (found <= high + room)]
    return float(inside.min()), float(inside.max())


def _decades(positive: npt.NDArray[Any]) -> float:
    return float(np.log10(positive.max()) - np.log10(positive.min()))


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


def gases_in(ds: xr.Dataset, ending: str = "_vmr") -> list[str]:
    """Return the gases of which a Dataset holds a variable, by the end of its name."""
    return [gas for gas in GASES if f"{gas}{ending}" in ds.variables]


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
