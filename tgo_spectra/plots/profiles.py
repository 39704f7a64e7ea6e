"""Figures of one product: its spectra, their fit, and what was retrieved from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.plots.style import (
    BLUE,
    FAINT,
    GREY,
    RED,
    formula,
    label,
    mark,
    need,
    new_axes,
    new_pair,
    readable,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = [
    "plot_averaging_kernel",
    "plot_fit",
    "plot_profile",
    "plot_spectrum",
]

Floats = npt.NDArray[np.float64]


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
        The axes.

    Raises
    ------
    TgoError
        No spectral signal, or no such row (``plot.*``).
    """
    row = _row(level1, spectrum)
    ax = ax or new_axes("spectrum")
    name = _signal(level1)
    x, xlabel = _abscissa(row)
    y = row[name].values
    ax.plot(x, y, color=BLUE, lw=0.8)
    if f"{name}_error" in row:
        error = row[f"{name}_error"].values
        ax.fill_between(x, y - error, y + error, color=BLUE, alpha=0.25, lw=0)
    ax.set(xlabel=xlabel, ylabel=label(level1[name]), title=_title(row, spectrum))
    ax.margins(x=0.01)
    return ax


def plot_fit(
    level1: xr.Dataset,
    level2: xr.Dataset,
    spectrum: int = 0,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw one spectrum, its fit, and the residual below.

    Parameters
    ----------
    level1 : xarray.Dataset
        Level 1.
    level2 : xarray.Dataset
        Its retrieval, with ``residual`` (measured less fitted).
    spectrum : int, optional
        Row of the table. Default the first.
    axes : two matplotlib Axes, optional
        Where to draw spectrum and residual. Default a new figure.

    Returns
    -------
    two matplotlib.axes.Axes
        Spectrum with fit; residual.

    Raises
    ------
    TgoError
        ``residual`` is missing or has other rows or pixels (``plot.*``).
    """
    row = _row(level1, spectrum)
    name = _signal(level1)
    if "residual" not in level2:
        message = "level 2 holds no residual"
        raise TgoError(message, field="residual", rule="plot.variable")
    residual = np.asarray(level2["residual"].isel(spectrum=spectrum).values, float)
    y = row[name].values
    if residual.shape != y.shape:
        message = "the residual has other pixels than the spectrum"
        value = f"{residual.shape} and {y.shape}"
        raise TgoError(message, field="residual", value=value, rule="plot.shape")
    top, bottom = axes or new_pair("fit")
    x, xlabel = _abscissa(row)
    top.plot(x, y, color=GREY, lw=2.0, label="measured")
    top.plot(x, y - residual, color=RED, lw=0.8, label="fitted")
    top.set(ylabel=label(level1[name]), title=_title(row, spectrum))
    top.legend(frameon=False, ncols=2)
    if f"{name}_error" in row:
        error = row[f"{name}_error"].values
        bottom.fill_between(x, -error, error, color=GREY, alpha=0.35, lw=0)
    bottom.axhline(0.0, color="0.3", lw=0.6)
    bottom.plot(x, residual, color=BLUE, lw=0.7)
    chi2 = level2.get("reduced_chi_square")
    note = (
        f"reduced chi-square of the product {float(chi2):.2f}"
        if chi2 is not None
        else ""
    )
    bottom.set(xlabel=xlabel, ylabel="residual")
    bottom.set_title(note, fontsize="small", loc="right")
    mark(bottom, level2, spectrum)
    for ax in (top, bottom):
        ax.margins(x=0.01)
    return top, bottom


def plot_profile(
    level2: xr.Dataset,
    gas: str,
    truth: xr.DataArray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a profile with its errors, its a priori and, if known, the truth.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key.
    truth : xarray.DataArray, optional
        True mole fraction over ``altitude``.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    TgoError
        The gas is not in `level2` (``plot.variable``).
    """
    vmr = need(level2, f"{gas}_vmr")
    ax = ax or new_axes("profile")
    factor, unit = readable(vmr.values)
    z = level2["altitude"].values
    x = vmr.values * factor
    shades = (("error", 0.18, "total error"), ("noise_error", 0.35, "noise error"))
    for name, alpha, text in shades:
        if f"{gas}_vmr_{name}" in level2:
            error = level2[f"{gas}_vmr_{name}"].values * factor
            ax.fill_betweenx(
                z, x - error, x + error, color=BLUE, alpha=alpha, lw=0, label=text
            )
    if f"{gas}_vmr_apriori" in level2:
        prior = level2[f"{gas}_vmr_apriori"].values * factor
        ax.plot(prior, z, color=GREY, ls="--", lw=1.2, label="a priori")
    if truth is not None:
        ax.plot(
            truth.values * factor, truth["altitude"].values, "k-", lw=1, label="truth"
        )
    ax.plot(x, z, color=BLUE, lw=1.6, label="retrieved")
    if gas in FAINT:
        ax.axvline(0.0, color="0.3", lw=0.6)
    ax.set(
        xlabel=f"{formula(gas)} mole fraction ({unit})",
        ylabel=label(level2["altitude"]),
    )
    ax.margins(y=0)
    ax.legend(frameon=False, fontsize="small")
    mark(ax, level2)
    return ax


def plot_averaging_kernel(
    level2: xr.Dataset, gas: str, every: int = 5, ax: Axes | None = None
) -> Axes:
    """Draw rows of the averaging kernel and its measurement response.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key.
    every : int, optional
        Draw every so many levels. Default 5.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    TgoError
        The averaging kernel is not in `level2` (``plot.variable``).
    """
    kernel = need(level2, f"{gas}_averaging_kernel").values
    ax = ax or new_axes("profile")
    from matplotlib import colormaps

    z = level2["altitude"].values
    levels = range(0, z.size, every)
    for i in levels:
        colour = colormaps["viridis"](i / max(z.size - 1, 1))
        ax.plot(kernel[i], z, color=colour, lw=1.0)
    response = kernel.sum(axis=1)
    ax.plot(response, z, "k--", lw=1.2, label="sum over true altitudes")
    ax.set(
        xlabel=f"{formula(gas)} averaging kernel, every {every} levels",
        ylabel=label(level2["altitude"]),
    )
    ax.margins(y=0)
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    mark(ax, level2)
    return ax


def _row(level1: xr.Dataset, spectrum: int) -> xr.Dataset:
    size = level1.sizes.get("spectrum", 0)
    if not -size <= spectrum < size:
        message = f"the product has {size} spectra"
        raise TgoError(message, field="spectrum", value=spectrum, rule="plot.row")
    return level1.isel(spectrum=spectrum)


def _signal(level1: xr.Dataset) -> str:
    for name in ("transmittance", "radiance", "reflectance_factor"):
        if name in level1:
            return name
    message = "no transmittance, radiance or reflectance factor"
    raise TgoError(message, rule="plot.variable")


def _abscissa(row: xr.Dataset) -> tuple[Floats, str]:
    name = "wavenumber" if "wavenumber" in row.variables else "wavelength"
    return np.asarray(row[name].values, dtype=float), label(row[name])


def _title(row: xr.Dataset, spectrum: int) -> str:
    parts = [f"spectrum {spectrum}"]
    if "tangent_altitude" in row.variables:
        parts.append(f"tangent altitude {float(row['tangent_altitude']):.1f} km")
    if "order" in row.variables and row["order"].ndim == 0:
        parts.append(f"order {int(row['order'])}")
    return ", ".join(parts)
