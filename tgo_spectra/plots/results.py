"""Figures of one result: parts of its error, what is left, columns, all at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import flags_of
from tgo_spectra.plots.profiles import plot_averaging_kernel, plot_profile, profile_of
from tgo_spectra.plots.style import (
    BLUE,
    GREY,
    RED,
    formula,
    head,
    label,
    mark,
    moment_of,
    name_of,
    need,
    new_axes,
    new_figure,
    readable,
    scale,
    why_empty,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_columns", "plot_errors", "plot_residuals", "plot_result"]

Floats = npt.NDArray[np.float64]

_SHOWN = 6  # sources of systematic error with a line of their own, the largest
_BANDS = 4  # of height, in a figure of residuals


def plot_errors(level2: xr.Dataset, gas: str, ax: Axes | None = None) -> Axes:
    """Draw the parts of the error of a profile, and the size of the profile itself.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key, or ``temperature``.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, errors on a logarithmic scale: of systematic sources the six largest
        by the middle of their sizes, and all of them together.

    Raises
    ------
    TgoError
        The profile is not in `level2` (``plot.variable``).
    """
    base, what = profile_of(gas)
    value = np.abs(need(level2, base).values)
    ax = ax or new_axes("profile")
    factor, unit = (1.0, "K") if gas == base else readable(value)
    z = level2["altitude"].values
    few = "." if z.size < 3 else None
    if base != gas:
        ax.plot(value * factor, z, color="0.8", lw=4, label="size of the value")
    found = []
    parts: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("error", {"color": "k", "lw": 1.8}, "total"),
        ("noise_error", {"color": BLUE, "lw": 1.3}, "noise"),
        ("smoothing_error", {"color": GREY, "lw": 1.3}, "smoothing (a priori)"),
        ("systematic_error", {"color": RED, "lw": 1.3}, "systematic, all sources"),
    )
    for name, style, text in parts:
        if f"{base}_{name}" in level2:
            error = np.abs(level2[f"{base}_{name}"].values) * factor
            ax.plot(error, z, label=text, marker=few, **style)
            found.append(error)
    for k, (source, error) in enumerate(_sources(level2, base)):
        ax.plot(
            np.where(error > 0, error * factor, np.nan), z, lw=0.9, ls="--",
            color=f"C{k + 1}",
            label=source.replace("_", " "),
        )  # fmt: skip
    ax.set(xlabel=f"error of {what} ({unit})", ylabel=label(level2["altitude"]))
    ax.margins(y=0 if z.size > 1 else 0.1)
    mark(ax, level2)
    every = np.concatenate(found) if found else np.array([])
    every = every[np.isfinite(every) & (every > 0)]
    if not every.size:
        why_empty(ax, f"no level has an error of {what}")
        return ax
    if every.max() > every.min():
        ax.set_xscale("log")
        ax.set_xlim(every.min() / 30.0, every.max() * 3.0)
    ax.legend(framealpha=0.85, fontsize="xx-small", loc="upper right")
    return ax


def _sources(level2: xr.Dataset, base: str) -> list[tuple[str, Floats]]:
    """Largest sources of systematic error by the middle of their sizes."""
    start = f"{base}_systematic_"
    found = [
        (str(name).removeprefix(start), np.abs(np.asarray(variable.values, float)))
        for name, variable in level2.data_vars.items()
        if str(name).startswith(start) and name != f"{start}error"
        if variable.dims == level2[base].dims
    ]
    found = [(name, size) for name, size in found if (size > 0).any()]
    found.sort(key=lambda one: -float(np.nanmedian(one[1])))
    return found[:_SHOWN]


def plot_residuals(
    level2: xr.Dataset, level1: xr.Dataset | None = None, ax: Axes | None = None
) -> Axes:
    """Draw what a fit left, as the mean over the spectra of each band of height.

    Noise falls as the root of the number of spectra, so that what is common to all of
    them comes out. The grey band is the scatter of the spectra over that root.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2 with ``residual``.
    level1 : xarray.Dataset, optional
        Its level 1, for the wavenumbers; by default over the number of the pixel.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; the means of the bands stand one above the other.

    Raises
    ------
    TgoError
        Level 2 holds no residual (``plot.variable``).
    """
    if "residual" not in level2:
        message = "level 2 holds no residual"
        raise TgoError(message, field="residual", rule="plot.variable")
    ax = ax or new_axes("spectrum")
    residual = np.asarray(level2["residual"].values, dtype=float)
    x, xlabel = _pixels(level2, level1, residual.shape[1])
    ax.set(xlabel=xlabel, ylabel="mean residual, bands apart")
    pattern = level2.get("residual_pattern")
    words = []
    if pattern is not None and not pattern.ndim:
        words.append(f"pattern {float(pattern):.2f} (1: noise)")
    head(ax, [name_of(level2), moment_of(level2)], words, level2)
    fitted = np.flatnonzero(np.isfinite(residual).any(axis=1))
    if not fitted.size:
        why_empty(ax, "no spectrum of the product was fitted")
        return ax
    inner = residual[np.isfinite(residual)]
    step = 6.0 * float(np.std(inner)) / max(np.sqrt(fitted.size / _BANDS), 1.0) or 1.0
    for k, (rows, text) in enumerate(_height_bands(level2, fitted)):
        part = residual[rows]
        n = np.isfinite(part).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.nansum(part, axis=0) / n
            scatter = np.sqrt(np.nansum((part - mean) ** 2, axis=0) / n / n)
        mean[n == 0] = np.nan
        ax.axhline(k * step, color="0.7", lw=0.5)
        ax.fill_between(
            x, k * step - scatter, k * step + scatter, color=GREY, alpha=0.35, lw=0
        )
        ax.plot(x, k * step + mean, color=BLUE, lw=0.8)
        ax.annotate(
            text, (1.005, k * step), xycoords=("axes fraction", "data"),
            fontsize="x-small", va="center", annotation_clip=False,
        )  # fmt: skip
    ax.margins(x=0.01)
    return ax


def _pixels(
    level2: xr.Dataset, level1: xr.Dataset | None, size: int
) -> tuple[Floats, str]:
    for ds in (level1, level2):
        for name in ("wavenumber", "wavelength"):
            if ds is None or name not in ds.variables:
                continue
            values = np.asarray(ds[name].values, dtype=float)
            if values.shape == (size,):
                return values, label(ds[name])
    return np.arange(size, dtype=float), "pixel"


def _height_bands(
    level2: xr.Dataset, fitted: npt.NDArray[np.intp]
) -> list[tuple[npt.NDArray[np.intp], str]]:
    """Rows of each band of tangent altitude, the lowest first, and its words."""
    if "tangent_altitude" not in level2.variables:
        return [(fitted, f"all\nn={fitted.size}")]
    height = np.asarray(level2["tangent_altitude"].values, dtype=float)[fitted]
    order = fitted[np.argsort(height, kind="stable")]
    height = np.sort(height, kind="stable")
    bands = []
    for part in np.array_split(np.arange(order.size), min(_BANDS, order.size)):
        low, high = height[part[0]], height[part[-1]]
        bands.append((order[part], f"{low:.0f}–{high:.0f} km\nn={part.size}"))
    return bands


def plot_columns(level2: xr.Dataset, gas: str, ax: Axes | None = None) -> Axes:
    """Draw columns of single spectra with their errors.

    Columns of nadir spectra stand over latitude, slant columns over tangent altitude.
    A cross marks spectra whose quality flag says that they are not to be used.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; they say why where no spectrum has a column.

    Raises
    ------
    TgoError
        Level 2 has no column of the gas (``plot.variable``).
    """
    slant = f"{gas}_column" not in level2
    column = need(level2, f"{gas}_slant_column" if slant else f"{gas}_column")
    ax = ax or new_axes("limits")
    value = np.asarray(column.values, dtype=float)
    name = str(column.name)
    error = np.zeros(value.shape)
    if f"{name}_error" in level2:
        error = np.asarray(level2[f"{name}_error"].values, dtype=float)
    place = level2["tangent_altitude" if slant else "latitude"]
    at = np.asarray(place.values, dtype=float)
    flags = flags_of(level2)
    bad = np.zeros(value.shape, dtype=bool)
    if flags is not None:
        bad = bad | (np.asarray(quality.severe(flags)) > 0)
    styles: tuple[dict[str, Any], ...] = (
        {"fmt": "o", "ms": 3, "color": BLUE, "lw": 0.7},
        {"fmt": "x", "ms": 5, "color": RED, "lw": 0.7, "label": "not to be used"},
    )
    for rows, style in zip((~bad, bad), styles, strict=True):
        if not rows.any() or not np.isfinite(value[rows]).any():
            continue
        if slant:
            ax.errorbar(value[rows], at[rows], xerr=error[rows], **style)
        else:
            ax.errorbar(at[rows], value[rows], yerr=error[rows], **style)
    text = f"{formula(gas)} {'slant ' if slant else ''}column (cm$^{{-2}}$)"
    scale(ax, "x" if slant else "y", value)
    ax.set(**{"xlabel" if slant else "ylabel": text})
    ax.set(**{"ylabel" if slant else "xlabel": label(place)})
    mark(ax, level2)
    if not np.isfinite(value).any():
        why_empty(ax, f"none of {value.size} spectra has a column of {formula(gas)}")
    elif bad.any():
        ax.legend(frameon=False, fontsize="small")
    return ax


def plot_result(
    level2: xr.Dataset, gas: str, figure: Figure | None = None
) -> tuple[Axes, ...]:
    """Draw what was retrieved of a gas: profile, parts of its error, kernels.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key, or ``temperature``.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    tuple of matplotlib.axes.Axes
        Profile, errors and averaging kernels side by side; of level 2 without a
        profile of the gas, its columns.

    Raises
    ------
    TgoError
        The gas is not in `level2` (``plot.variable``).
    """
    base, _ = profile_of(gas)
    if base not in level2 and (
        f"{gas}_column" in level2 or f"{gas}_slant_column" in level2
    ):
        figure = figure or new_figure("limits")
        return (plot_columns(level2, gas, figure.subplots()),)
    need(level2, base)
    figure = figure or new_figure("result")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    plot_profile(level2, gas, ax=left)
    plot_errors(level2, gas, ax=middle)
    for ax in (middle, right):
        ax.set_ylabel("")
    if f"{gas}_averaging_kernel" in level2:
        plot_averaging_kernel(level2, gas, ax=right)
        right.set_ylabel("")
    else:
        why_empty(right, "the file holds no averaging kernel")
    for ax in (middle, right):
        ax.set_title("", loc="left")
    return left, middle, right
