"""Figures of many products: maps, and limits. Holes of a map stay white."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import profiles, reasons_of
from tgo_spectra.maps.dataset import dense
from tgo_spectra.maps.maps import left_out
from tgo_spectra.plots.style import (
    BLUE,
    FAINT,
    GREY,
    RED,
    formula,
    label,
    need,
    new_axes,
    readable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["plot_limits", "plot_map"]

Floats = npt.NDArray[np.float64]

_MINIMUM_COUNT = 3  # profiles; cells with fewer are left white


def plot_map(
    level3: xr.Dataset,
    gas: str,
    quantity: Literal[
        "mean",
        "standard_error",
        "systematic_error",
        "apriori_share",
        "standard_error_formal",
        "standard_error_scatter",
        "upper_limit",
        "best_upper_limit",
        "count",
    ] = "mean",
    *,
    minimum_count: int = _MINIMUM_COUNT,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map over the two axes it has: latitude-Ls, altitude-latitude and so on.

    Cells with fewer than `minimum_count` profiles stay white. The mean of a gas that
    may be absent has diverging colours centred on zero.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map; other axes than two must be selected (``isel``) or have one cell.
    gas : str
        Gas key, or a column such as ``co_column_normalised``.
    quantity : str, optional
        What to draw. Default the mean.
    minimum_count : int, optional
        Fewest profiles of a cell that is shown. Default 3.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    TgoError
        The quantity is missing, or the map has not two axes (``plot.*``).
    """
    level3 = dense(level3)
    data = need(level3, f"{gas}_{quantity}").squeeze()
    if data.ndim != 2:
        message = "select all axes but two before drawing"
        raise TgoError(
            message, field=str(data.name), value=data.dims, rule="plot.shape"
        )
    enough = level3[f"{gas}_count"].squeeze() >= max(minimum_count, 1)
    data = data.where(enough)
    vertical, horizontal = _orientation(data.dims)
    data = data.transpose(vertical, horizontal)
    species, column, _ = gas.removesuffix("_layer").partition("_column")
    if quantity == "count":
        factor, unit = 1.0, "spectra" if column else "profiles"
    elif quantity == "apriori_share":
        factor, unit = 1.0, "1"
    elif column:
        factor, unit = 1.0, "cm$^{-2}$"
    else:
        factor, unit = readable(data.values)
    values = np.ma.masked_invalid(data.values * factor)
    ax = ax or new_axes("map")
    edges = [_edges(level3, axis) for axis in (horizontal, vertical)]
    mesh = ax.pcolormesh(*edges, values, **_colours(gas, quantity, values))
    text = {
        "mean": "mean column" if column else "mean mole fraction",
        "standard_error": "standard error",
        "systematic_error": "systematic error",
        "apriori_share": "part of the mean that is a priori",
        "standard_error_formal": "standard error (from noise)",
        "standard_error_scatter": "standard error (from the scatter)",
        "upper_limit": f"{_sigma(level3)} upper limit of the mean",
        "best_upper_limit": f"best {_sigma(level3)} limit of one "
        f"{'spectrum' if column else 'profile'}",
        "count": "number",
    }[quantity]
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(
            mesh, ax=ax, label=f"{formula(species)} {text} ({unit})", pad=0.02
        )
    ax.set(xlabel=label(level3[horizontal]), ylabel=label(level3[vertical]))
    _degree_ticks(ax.xaxis, horizontal)
    _degree_ticks(ax.yaxis, vertical)
    text = left_out(level3).removeprefix(", ")
    ax.set_title(text, loc="left", fontsize="x-small", color=GREY)
    ax.grid(color="0.85", lw=0.5)
    ax.set_axisbelow(True)
    return ax


def plot_limits(
    source: xr.Dataset | Iterable[xr.Dataset | str | Path] | str | Path,
    gas: str = "ch4",
    ax: Axes | None = None,
) -> Axes:
    """Draw upper limits against latitude: of profiles, or of the cells of a map.

    Parameters
    ----------
    source : Dataset, iterable of Datasets or paths, or folder
        A map with latitude, or level 2 of several products: then the lowest limit of
        each profile, coloured by its altitude; a cross where its quality flag says
        that it is not to be used.
    gas : str, optional
        Gas key. Default ``ch4``.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, the limits on a logarithmic scale.

    Raises
    ------
    TgoError
        No limit of this gas is found (``plot.variable``).
    """
    from matplotlib.ticker import FuncFormatter

    ax = ax or new_axes("limits")
    if isinstance(source, xr.Dataset) and f"{gas}_sum_w" in source:
        level, unit = _map_limits(dense(source), gas, ax)
    else:
        level, unit = _profile_limits(source, gas, ax)
    ax.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_formatter(plain)
    ax.yaxis.set_minor_formatter(plain)
    ax.set(
        xlabel="planetocentric latitude (degrees north)",
        ylabel=f"{formula(gas)} {level} upper limit ({unit})",
        xlim=(-90, 90),
    )
    ax.set_xticks(range(-90, 91, 30))
    ax.grid(color="0.88", lw=0.5, which="both")
    ax.set_axisbelow(True)
    return ax


def _map_limits(level3: xr.Dataset, gas: str, ax: Axes) -> tuple[str, str]:
    if "latitude" not in level3.dims:
        message = "a map needs latitude for this plot"
        raise TgoError(message, field="latitude", rule="plot.variable")
    mean = need(level3, f"{gas}_upper_limit")
    factor, unit = readable(mean.values)
    styles = (
        ("best_upper_limit", "o", BLUE, "best single profile"),
        ("upper_limit", "s", RED, "mean of the cell"),
    )
    for name, marker, colour, text in styles:
        data = level3[f"{gas}_{name}"]
        latitude = data["latitude"].broadcast_like(data).values
        values = data.values * factor
        keep = np.isfinite(values) & (values > 0)
        ax.plot(
            latitude[keep],
            values[keep],
            marker,
            ms=4,
            color=colour,
            alpha=0.7,
            label=text,
        )
    ax.legend(frameon=False, fontsize="small")
    return _sigma(level3), unit


def _profile_limits(source: Any, gas: str, ax: Axes) -> tuple[str, str]:
    rows, level = [], ""
    for ds in profiles(source):
        limit = ds.get(f"{gas}_upper_limit")
        if limit is None or not np.isfinite(limit.values).any():
            continue
        best = int(np.nanargmin(limit.values))
        latitude = np.broadcast_to(ds["latitude"].values, limit.shape)
        bad = quality.severe(quality.pack(reasons_of(ds) or ()))
        at = (latitude[best], limit.values[best], ds["altitude"].values[best])
        rows.append((*at, bad))
        k = limit.attrs.get("sigma_level", ds.attrs.get("sigma_level"))
        level = f"{float(k):g}-sigma" if k is not None else level
    if not rows:
        message = "no profile has an upper limit of this gas"
        raise TgoError(message, value=gas, rule="plot.variable")
    latitudes, limits, altitudes, severe = np.array(rows, dtype=float).T
    factor, unit = readable(limits)
    bad = severe > 0
    points = ax.scatter(
        latitudes[~bad], limits[~bad] * factor, c=altitudes[~bad], s=22, lw=0,
        cmap="viridis",
    )  # fmt: skip
    if bad.any():
        text = "not to be used, by quality_flag"
        ax.plot(latitudes[bad], limits[bad] * factor, "x", color=RED, label=text)
        ax.legend(frameon=False, fontsize="small")
    figure = ax.get_figure()
    if figure is not None:
        label = "altitude of the lowest limit (km)"
        figure.colorbar(points, ax=ax, label=label, pad=0.02)
    return level, unit


def _sigma(level3: xr.Dataset) -> str:
    return f"{float(level3.attrs.get('sigma_level', 2.0)):g}-sigma"


def _orientation(dims: tuple[Any, ...]) -> tuple[str, str]:
    """Which axis is upright: height first, then latitude."""
    names = [str(name) for name in dims]
    for upright in ("altitude", "pressure", "latitude"):
        if upright in names:
            names.remove(upright)
            return upright, names[0]
    return names[0], names[1]


def _edges(level3: xr.Dataset, axis: str) -> Floats:
    bounds = np.asarray(level3[f"{axis}_bounds"].values, dtype=float)
    return np.append(bounds[:, 0], bounds[-1, 1])


def _colours(gas: str, quantity: str, values: Any) -> dict[str, Any]:
    if quantity == "mean" and gas in FAINT:
        size = float(np.abs(values).max()) if values.count() else 1.0
        return {"cmap": "RdBu_r", "vmin": -size, "vmax": size}
    return {"cmap": "viridis" if quantity == "mean" else "cividis"}


def _degree_ticks(axis: Any, name: str) -> None:
    from matplotlib.ticker import MultipleLocator

    steps = {"latitude": 30, "longitude": 60, "solar_longitude": 30, "mars_year": 1}
    if name in steps:
        axis.set_major_locator(MultipleLocator(steps[name]))
