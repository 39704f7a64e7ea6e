"""Figures of one result: the fit of a spectrum, a profile, its averaging kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import TgoError
from tgo_spectra.plots.product import abscissa, row_of, signal_of, title
from tgo_spectra.plots.style import (
    BLUE,
    FAINT,
    GREY,
    ORANGE,
    RED,
    flag_words,
    formula,
    head,
    label,
    mark,
    moment_of,
    name_of,
    need,
    new_axes,
    new_pair,
    readable,
    scale,
    why_empty,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = [
    "plot_averaging_kernel",
    "plot_fit",
    "plot_profile",
    "profile_of",
]


def plot_fit(
    level1: xr.Dataset,
    level2: xr.Dataset,
    spectrum: int = 0,
    axes: tuple[Axes, Axes] | None = None,
    *,
    without: xr.DataArray | None = None,
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
    without : xarray.DataArray, dims (spectrum, pixel), optional
        The fitted spectra without a gas, from `tgo_spectra.retrieval.spectra_without`:
        drawn beside the fit, and what they would leave beside the residual.

    Returns
    -------
    two matplotlib.axes.Axes
        Spectrum with fit; residual.

    Raises
    ------
    TgoError
        ``residual`` is missing or has other rows or pixels (``plot.*``).
    """
    row = row_of(level1, spectrum)
    name = signal_of(level1)
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
    x, xlabel = abscissa(row)
    top.plot(x, y, color=GREY, lw=2.0, label="measured")
    top.plot(x, y - residual, color=RED, lw=0.8, label="fitted")
    bottom.axhline(0.0, color="0.3", lw=0.6)
    bottom.plot(x, residual, color=BLUE, lw=0.7, label="residual", zorder=3)
    if without is not None:
        absent = np.asarray(without.isel(spectrum=spectrum).values, dtype=float)
        words = f"without {formula(str(without.attrs.get('gas', 'the gas')))}"
        top.plot(x, absent, color=ORANGE, lw=0.8, ls="--", label=f"fitted, {words}")
        bottom.plot(x, y - absent, color=ORANGE, lw=0.8, label=words)
        bottom.legend(frameon=False, ncols=2, fontsize="x-small", loc="lower right")
    top.set(ylabel=label(level1[name]))
    first = [name_of(level1), moment_of(row)]
    head(top, first, [title(row, spectrum)], level1)
    top.legend(frameon=False, ncols=3)
    if not np.isfinite(residual).any():
        why_empty(top, f"spectrum {spectrum} was not fitted: it has no residual")
    if f"{name}_error" in row:
        error = row[f"{name}_error"].values
        bottom.fill_between(x, -error, error, color=GREY, alpha=0.35, lw=0)
    chi2 = level2.get("reduced_chi_square")
    bottom.set(xlabel=xlabel, ylabel="residual")
    if chi2 is not None:
        text = f"reduced chi-square of the product {float(chi2):.2f}"
        bottom.text(
            0.01, 0.04, text, transform=bottom.transAxes, ha="left", va="bottom",
            fontsize="x-small",
        )  # fmt: skip
    parts, bad = flag_words(level2, spectrum)
    head(bottom, [], parts, bad=bad)
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
        Gas key, or ``temperature``.
    truth : xarray.DataArray, optional
        True mole fraction over ``altitude``.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, logarithmic where the profile spans decades; they say why where no
        level has a value.

    Raises
    ------
    TgoError
        The gas is not in `level2` (``plot.variable``).
    """
    base, what = profile_of(gas)
    vmr = need(level2, base)
    ax = ax or new_axes("profile")
    factor, unit = (1.0, "K") if gas == base else readable(vmr.values)
    z = level2["altitude"].values
    x = vmr.values * factor
    few = "." if np.isfinite(x).sum() < 3 else None
    for name, alpha, text in _BANDS:
        if f"{base}_{name}" in level2:
            error = level2[f"{base}_{name}"].values * factor
            ax.fill_betweenx(
                z, x - error, x + error, color=BLUE, alpha=alpha, lw=0, label=text
            )
    if f"{base}_apriori" in level2:
        prior = level2[f"{base}_apriori"].values * factor
        ax.plot(prior, z, color=GREY, ls="--", lw=1.2, label="a priori", marker=few)
    if truth is not None:
        ax.plot(
            truth.values * factor, truth["altitude"].values, "k-", lw=1, label="truth"
        )
    ax.plot(x, z, color=BLUE, lw=1.6, label="retrieved", marker=few)
    scale(ax, "x", x)
    if gas in FAINT and ax.get_xscale() == "linear":
        ax.axvline(0.0, color="0.3", lw=0.6)
    ax.set(
        xlabel=f"{what} ({unit})",
        ylabel=label(level2["altitude"]),
    )
    ax.margins(y=0 if z.size > 1 else 0.1)
    ax.legend(frameon=False, fontsize="small")
    mark(ax, level2)
    _say_if_empty(ax, x, f"no level has a {what}")
    return ax


_BANDS = (("error", 0.18, "total error"), ("noise_error", 0.35, "noise error"))


def profile_of(gas: str) -> tuple[str, str]:
    """Give the variable of a profile, and what it is in words."""
    if gas == "temperature":
        return gas, gas
    return f"{gas}_vmr", f"{formula(gas)} mole fraction"


def _say_if_empty(ax: Axes, values: npt.NDArray[Any], text: str) -> None:
    if not values.size:
        text = f"{text}: there is no level"
    elif not np.isfinite(values).any():
        text = f"{text}: all {values.size} are missing"
    elif (values[np.isfinite(values)] < 0).all():
        text = "all values are negative: less than nothing, within the noise"
        ax.text(
            0.5, 0.02, text, transform=ax.transAxes, ha="center", color="0.25",
            fontsize="x-small",
        )  # fmt: skip
        return
    else:
        return
    why_empty(ax, text)


def plot_averaging_kernel(
    level2: xr.Dataset, gas: str, every: int = 5, ax: Axes | None = None
) -> Axes:
    """Draw rows of the averaging kernel and its measurement response.

    Parameters
    ----------
    level2 : xarray.Dataset
        Level 2.
    gas : str
        Gas key, or ``temperature``.
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
    name = gas if gas == "temperature" else formula(gas)
    ax = ax or new_axes("profile")
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    z = np.asarray(level2["altitude"].values, dtype=float)
    ax.set(
        xlabel=f"averaging kernel of {name}, every {every} levels",
        ylabel=label(level2["altitude"]),
    )
    mark(ax, level2)
    if not np.isfinite(kernel).any():
        why_empty(ax, f"no level has an averaging kernel of {name}")
        return ax
    colours = ScalarMappable(Normalize(z.min(), max(z.max(), z.min() + 1.0)), "viridis")
    for i in range(0, z.size, every):
        ax.plot(kernel[i], z, color=colours.to_rgba(z[i]), lw=1.0)
    response = kernel.sum(axis=1)
    ax.plot(response, z, "k--", lw=1.2, label="response: sum over true altitudes")
    figure = ax.get_figure()
    if figure is not None:
        text = "level of the row (km)"
        figure.colorbar(colours, ax=ax, label=text, pad=0.02, aspect=35)
    ax.axvline(0.0, color="0.3", lw=0.5)
    ax.margins(y=0 if z.size > 1 else 0.1)
    ax.legend(frameon=False, fontsize="x-small", loc="upper right")
    return ax
