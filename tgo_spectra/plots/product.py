"""Figures of level 1: one spectrum, and a whole product at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.plots.style import (
    BLUE,
    MISSING,
    RED,
    arrows,
    head,
    label,
    moment_of,
    name_of,
    new_axes,
    new_figure,
    why_empty,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "abscissa",
    "plot_product",
    "plot_spectrum",
    "row_of",
    "row_to_show",
    "signal_of",
    "title",
]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

SIGNALS = ("transmittance", "radiance", "reflectance_factor", "counts")
"""What a spectrum may be of, the first that there is."""


def plot_spectrum(
    level1: xr.Dataset, spectrum: int = 0, ax: Axes | None = None
) -> Axes:
    """Draw one measured spectrum with its error band.

    Parameters
    ----------
    level1 : xarray.Dataset
        Level 1.
    spectrum : int, optional
        Row of the table. Default the first.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; they say why where no pixel has a value.

    Raises
    ------
    TgoError
        No spectral signal, or no such row (``plot.*``).
    """
    name = signal_of(level1)
    if not level1.sizes.get("spectrum", 0):
        ax = ax or new_axes("spectrum")
        head(ax, [name_of(level1)], [], level1)
        why_empty(ax, "the product holds no spectrum")
        return ax
    row = row_of(level1, spectrum)
    ax = ax or new_axes("spectrum")
    x, xlabel = abscissa(row)
    y = np.asarray(row[name].values, dtype=float)
    ax.plot(x, y, color=BLUE, lw=0.8, marker="." if np.isfinite(y).sum() < 3 else None)
    if f"{name}_error" in row:
        error = np.asarray(row[f"{name}_error"].values, dtype=float)
        ax.fill_between(x, y - error, y + error, color=BLUE, alpha=0.25, lw=0)
    if not np.isfinite(y).any():
        why_empty(ax, f"no pixel of spectrum {spectrum} has a value")
    ax.set(xlabel=xlabel, ylabel=label(level1[name]))
    head(ax, [name_of(level1), moment_of(row)], [title(row, spectrum)], level1)
    ax.margins(x=0.01)
    return ax


def plot_product(
    level1: xr.Dataset, *, bin_number: int | None = None, figure: Figure | None = None
) -> tuple[Axes, Axes, Axes]:
    """Draw a product at a glance: all spectra, what is flagged, and one spectrum.

    Above, the signal over wavenumber and tangent altitude (over the number of the
    spectrum where there is none), of one bin of the detector; beside it, the spectra
    that the producer or the reader flags; below, the spectrum nearest to half of the
    light of the Sun, or the middle one.

    Parameters
    ----------
    level1 : xarray.Dataset
        Level 1.
    bin_number : int, optional
        Bin of the detector. Default the first.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    three matplotlib.axes.Axes
        Signal, flags, spectrum; they say why where there is nothing to draw.

    Raises
    ------
    TgoError
        No spectral signal, or no such bin (``plot.*``).
    """
    figure = figure or new_figure("product")
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(3, 2))
    image = figure.add_subplot(grid[0, 0])
    flags = figure.add_subplot(grid[0, 1], sharey=image)
    below = figure.add_subplot(grid[1, :])
    name = signal_of(level1)
    rows, words = _rows(level1, bin_number)
    head(image, [name_of(level1), moment_of(level1)], [words], level1)
    if not rows.size:
        for ax in (image, flags, below):
            why_empty(ax, "no spectrum of the product has a place and a value")
        return image, flags, below
    height, ylabel = _heights(level1, rows)
    _draw_image(image, level1, name, rows, height)
    image.set_ylabel(ylabel)
    _draw_flags(flags, level1, rows, height)
    plot_spectrum(level1, row_to_show(level1, rows), below)
    return image, flags, below


def _rows(level1: xr.Dataset, bin_number: int | None) -> tuple[Places, str]:
    """Rows of one bin and order with a height, upwards, and words on the choice."""
    keep = np.ones(level1.sizes.get("spectrum", 0), dtype=bool)
    words = [f"{keep.size} spectra"]
    if "bin" in level1.variables and level1["bin"].dims == ("spectrum",) and keep.size:
        bins = level1["bin"].values
        known = sorted({int(b) for b in bins})
        chosen = known[0] if bin_number is None else bin_number
        if chosen not in known:
            message = f"the bins of the product are {', '.join(map(str, known))}"
            raise TgoError(message, field="bin", value=bin_number, rule="plot.bin")
        keep &= bins == chosen
        if len(known) > 1:
            words.append(f"bin {chosen} of {known[0]} to {known[-1]}")
    if "order" in level1.variables and level1["order"].ndim == 1 and keep.any():
        orders = level1["order"].values
        first = int(orders[keep][0])
        keep &= orders == first
        words.append(f"order {first} of {len(set(orders.tolist()))}")
    elif "order" in level1.variables and not level1["order"].ndim:
        words.append(f"order {int(level1['order'])}")
    rows = np.flatnonzero(keep)
    if "tangent_altitude" in level1.variables:
        height = np.asarray(level1["tangent_altitude"].values, dtype=float)[rows]
        placed = np.isfinite(height)
        if placed.any():
            rows = rows[placed][np.argsort(height[placed], kind="stable")]
            if not placed.all():
                words.append(f"{np.count_nonzero(~placed)} without an altitude")
    return rows, ", ".join(words)


def _heights(level1: xr.Dataset, rows: Places) -> tuple[Floats, str]:
    name = "tangent_altitude"
    if name in level1.variables:
        height = np.asarray(level1[name].values, dtype=float)[rows]
        if np.isfinite(height).all():
            return height, label(level1[name])
    return rows.astype(float), "number of the spectrum"


def _draw_image(
    ax: Axes, level1: xr.Dataset, name: str, rows: Places, height: Floats
) -> None:
    signal = level1[name].isel(spectrum=rows)
    values = np.ma.masked_invalid(np.asarray(signal.values, dtype=float))
    x, xlabel = abscissa(level1.isel(spectrum=int(rows[0])))
    ax.set_facecolor(MISSING)
    ax.set_xlabel(xlabel)
    if not values.count():
        why_empty(ax, "no pixel of these spectra has a value")
        return
    inner = np.quantile(values.compressed(), [0.02, 0.98])
    low, high = (0.0, max(1.0, inner[1])) if name == "transmittance" else inner
    mesh = ax.pcolormesh(
        _edges(x), _edges(height), values, cmap="viridis", vmin=low, vmax=high
    )
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(
            mesh, ax=ax, location="left", label=label(level1[name]), shrink=0.9,
            extend=arrows(values.compressed(), low, high),
        )  # fmt: skip


def _edges(centres: Floats) -> Floats:
    """Edges half way between centres; equal ones keep a little room."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    between = 0.5 * (centres[1:] + centres[:-1])
    first, last = 2 * centres[0] - between[0], 2 * centres[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def _draw_flags(ax: Axes, level1: xr.Dataset, rows: Places, height: Floats) -> None:
    """Draw a column of dots for each flag that is set in any of the rows."""
    found: dict[str, Places] = {}
    for name, variable in level1.variables.items():
        text = str(name)
        if variable.dims != ("spectrum",) or "flag" not in text:
            continue
        values = np.asarray(variable.values)[rows]
        if "valid" in text:
            words, is_set = text.replace("valid_flag", "not valid"), values == 0
        elif variable.dtype.kind in "biu":
            words, is_set = text.removesuffix("_flag"), values != 0
        else:
            continue
        if is_set.any():
            found[words.replace("_", " ")] = np.flatnonzero(is_set)
    ax.set_title("flagged", loc="left", fontsize="small", color="0.25")
    ax.tick_params(labelleft=False)
    for k, (_, places) in enumerate(found.items()):
        ax.plot(np.full(places.size, k), height[places], "_", color=RED, ms=9)
    ax.set_xlim(-0.7, max(len(found), 1) - 0.3)
    ax.set_xticks(range(len(found)), list(found), rotation=60, ha="right", fontsize=7)
    if not found:
        ax.text(
            0.5, 0.5, "no spectrum\nis flagged", transform=ax.transAxes, ha="center",
            va="center", color="0.25", fontsize="small",
        )  # fmt: skip


def row_to_show(level1: xr.Dataset, rows: Places) -> int:
    """Return the row of an occultation with half of the light; else the middle one."""
    name = signal_of(level1)
    middle = int(rows[rows.size // 2])
    if name != "transmittance":
        return middle
    values = np.asarray(level1[name].isel(spectrum=rows).values, dtype=float)
    good = np.isfinite(values).any(axis=1)
    if not good.any():
        return middle
    level = np.full(rows.size, np.inf)
    level[good] = np.abs(np.nanmedian(values[good], axis=1) - 0.5)
    return int(rows[int(level.argmin())])


def row_of(level1: xr.Dataset, spectrum: int) -> xr.Dataset:
    """Give one spectrum; TgoError (``plot.row``) if there is none of that number."""
    size = level1.sizes.get("spectrum", 0)
    if not -size <= spectrum < size:
        message = f"the product has {size} spectra"
        raise TgoError(message, field="spectrum", value=spectrum, rule="plot.row")
    return level1.isel(spectrum=spectrum)


def signal_of(level1: xr.Dataset) -> str:
    """Give the name of the signal; TgoError (``plot.variable``) without one."""
    for name in SIGNALS:
        if name in level1:
            return name
    message = "no transmittance, radiance or reflectance factor"
    raise TgoError(message, rule="plot.variable")


def abscissa(row: xr.Dataset) -> tuple[Floats, str]:
    """Give wavenumber or wavelength of a spectrum, and its label."""
    name = "wavenumber" if "wavenumber" in row.variables else "wavelength"
    return np.asarray(row[name].values, dtype=float), label(row[name])


def title(row: xr.Dataset, spectrum: int) -> str:
    """Say which spectrum it is."""
    parts = [f"spectrum {spectrum}"]
    if "tangent_altitude" in row.variables:
        parts.append(f"tangent altitude {float(row['tangent_altitude']):.1f} km")
    if "order" in row.variables and row["order"].ndim == 0:
        parts.append(f"order {int(row['order'])}")
    return ", ".join(parts)
