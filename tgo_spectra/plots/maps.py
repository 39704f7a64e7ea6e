"""Figures of maps. Grey is what was not measured, hatched what few profiles tell."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.maps.dataset import dense
from tgo_spectra.plots.cells import (
    Cells,
    Quantity,
    axes_of,
    cell_words,
    edges,
    notes,
    one_unit,
    shades_of,
    why,
)
from tgo_spectra.plots.style import (
    MISSING,
    head,
    need,
    new_axes,
    new_figure,
    over_all,
    why_empty,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_globe", "plot_map", "plot_maps", "plot_panels"]

Floats = npt.NDArray[np.float64]

_MINIMUM_COUNT = 3  # profiles; cells with fewer are hatched
_PANELS = 12  # most panels of a figure


def plot_map(
    level3: xr.Dataset,
    gas: str,
    quantity: Quantity = "mean",
    *,
    minimum_count: int = _MINIMUM_COUNT,
    ax: Axes | None = None,
) -> Axes:
    """Draw a map over the two axes it has: latitude-Ls, altitude-latitude and so on.

    Cells in which nothing was measured are grey, those with fewer than `minimum_count`
    profiles hatched; they do not set the colours where there are others. The mean of a
    gas that may be absent has diverging colours centred on zero; positive values over
    decades have a logarithmic scale.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map; other axes than two must be selected (``isel``) or have one cell.
    gas : str
        Gas key, or a column such as ``co_column_normalised``.
    quantity : str, optional
        What to draw. Default the mean.
    minimum_count : int, optional
        Fewest profiles of a cell that is not hatched. Default 3.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; they say why where no cell has a value.

    Raises
    ------
    TgoError
        The quantity is missing, or the map has not two axes (``plot.*``).
    """
    drawn = Cells(level3, gas, quantity, minimum_count)
    ax = ax or new_axes("map")
    colours, extend = shades_of([drawn])
    drawn.draw(ax, colours)
    drawn.add_bar(ax, extend)
    head(ax, drawn.words(), notes([drawn]), drawn.level3)
    return ax


def plot_maps(
    level3: xr.Dataset,
    gas: str,
    *,
    minimum_count: int = _MINIMUM_COUNT,
    figure: Figure | None = None,
) -> tuple[Axes, ...]:
    """Draw a mean with its error, its limit and its number, four maps together.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map with two axes, as for :func:`plot_map`.
    gas : str
        Gas key, or a column.
    minimum_count : int, optional
        As for :func:`plot_map`.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    four matplotlib.axes.Axes
        Mean, standard error, upper limit, number.

    Raises
    ------
    TgoError
        As :func:`plot_map`.
    """
    figure = figure or new_figure("maps")
    every = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    shown: tuple[Quantity, ...] = ("mean", "standard_error", "upper_limit", "count")
    for ax, quantity in zip(every, shown, strict=True):
        plot_map(level3, gas, quantity, minimum_count=minimum_count, ax=ax)
    for ax in every[1:]:
        ax.set_title("", loc="left")
    return tuple(every)


def plot_panels(
    level3: xr.Dataset,
    gas: str,
    across: str,
    quantity: Quantity = "mean",
    *,
    minimum_count: int = _MINIMUM_COUNT,
    figure: Figure | None = None,
) -> tuple[Axes, ...]:
    """Draw a map of three axes as panels with one scale: morning and evening, seasons.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map with three axes.
    gas : str
        Gas key, or a column.
    across : str
        Axis of which each cell has a panel: ``local_time_class``, ``solar_longitude``,
        ``mars_year`` and so on. Of more than twelve cells those with most profiles,
        and the title says so.
    quantity : str, optional
        What to draw. Default the mean.
    minimum_count : int, optional
        As for :func:`plot_map`.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    tuple of matplotlib.axes.Axes
        One for each panel, in the order of the axis.

    Raises
    ------
    TgoError
        The map has no such axis (``plot.variable``), or as :func:`plot_map`.
    """
    level3 = dense(level3)
    if across not in level3.dims:
        message = f"the axes of the map are {', '.join(axes_of(level3))}"
        raise TgoError(message, field=across, rule="plot.variable")
    cells = np.arange(level3.sizes[across])
    if cells.size > _PANELS:
        count = need(level3, f"{gas}_count")
        filled = count.sum([dim for dim in count.dims if dim != across]).values
        cells = np.sort(np.argsort(-filled, kind="stable")[:_PANELS])
    drawn = [
        Cells(level3.isel({across: int(k)}), gas, quantity, minimum_count)
        for k in cells
    ]
    figure = figure or new_figure("maps")
    columns = int(np.ceil(np.sqrt(len(drawn))))
    rows = -(-len(drawn) // columns)
    every = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    one_unit(drawn)
    colours, extend = shades_of(drawn)
    for ax, one in zip(every.ravel(), drawn, strict=False):
        one.draw(ax, colours)
        head(ax, [cell_words(one.level3, across)], [], one.level3)
    for ax in every.ravel()[len(drawn) :]:
        ax.set_axis_off()
    for ax in every[:-1].ravel():
        ax.set_xlabel("")
    for ax in every[:, 1:].ravel():
        ax.set_ylabel("")
    drawn[0].add_bar(every, extend, every[0, 0])
    words = drawn[0].words(across)
    if cells.size < level3.sizes[across]:
        what = across.replace("_", " ")
        words.append(f"fullest {cells.size} of {level3.sizes[across]} cells of {what}")
    over_all(figure, words, notes(drawn))
    return tuple(every.ravel()[: len(drawn)])


def _finer(edge: Floats) -> Floats:
    """Add edges between edges, not more than five degrees apart."""
    parts = [
        np.linspace(low, high, int(np.ceil((high - low) / 5.0)), endpoint=False)
        for low, high in pairwise(edge)
    ]
    return np.concatenate([*parts, edge[-1:]])


def plot_globe(
    level3: xr.Dataset,
    gas: str,
    quantity: Quantity = "mean",
    *,
    centre: tuple[float, float] = (0.0, 0.0),
    minimum_count: int = _MINIMUM_COUNT,
    figure: Figure | None = None,
) -> Axes:
    """Draw a longitude-latitude map on the globe of Mars, seen from far.

    Needs cartopy (``pip install "tgo-spectra[globe]"``); :func:`plot_map` draws the
    same map on plain axes without it.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map over latitude and longitude.
    gas : str
        Gas key, or a column.
    quantity : str, optional
        What to draw. Default the mean.
    centre : (float, float), optional
        Longitude (degree east) and latitude in the middle. Default 0, 0.
    minimum_count : int, optional
        As for :func:`plot_map`.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, of cartopy.

    Raises
    ------
    TgoError
        Cartopy is not installed (``plot.cartopy``), the map has other axes
        (``plot.shape``), or as :func:`plot_map`.
    """
    try:
        import cartopy.crs as ccrs
    except ImportError as error:
        message = 'a globe needs cartopy: pip install "tgo-spectra[globe]"'
        raise TgoError(message, rule="plot.cartopy") from error
    drawn = Cells(level3, gas, quantity, minimum_count)
    if (drawn.vertical, drawn.horizontal) != ("latitude", "longitude"):
        message = "a globe needs a map over latitude and longitude"
        value = (drawn.vertical, drawn.horizontal)
        raise TgoError(message, value=value, rule="plot.shape")
    # the sphere of IAU 2015 on both sides: with any other, cartopy transforms datums
    mars = ccrs.Globe(semimajor_axis=3396190.0, semiminor_axis=3396190.0, ellipse=None)
    figure = figure or new_figure("globe")
    view = ccrs.Orthographic(*centre, globe=mars)
    ax: Any = figure.add_subplot(projection=view)
    colours, extend = shades_of([drawn])
    ax.set_facecolor(MISSING)
    x, y = (edges(drawn.level3, a) for a in ("longitude", "latitude"))
    flat = ccrs.PlateCarree(globe=mars)
    # in small pieces, since cartopy leaves out what lies behind the limb in part
    fine_x, fine_y = (_finer(edge) for edge in (x, y))
    at = (
        np.searchsorted(e, f[:-1], "right") - 1 for e, f in ((y, fine_y), (x, fine_x))
    )
    pieces = drawn.values[np.ix_(*at)]
    mesh = ax.pcolormesh(fine_x, fine_y, pieces, transform=flat, **colours)
    for j, k in drawn.weak():
        middle = (0.5 * (x[k] + x[k + 1]), 0.5 * (y[j] + y[j + 1]))
        ax.plot(*middle, "x", color="0.3", ms=4, transform=flat)
    mesh.set_gid("cells")
    ax.set_global()
    ax.gridlines(color="0.6", lw=0.4)
    drawn.add_bar(ax, extend)
    if not drawn.values.count():
        why_empty(ax, why(drawn.level3, gas, quantity))
    lon, lat = centre
    words = [*drawn.words(), f"seen from {lon:g}° east, {lat:g}° north"]
    head(ax, words, notes([drawn], "crosses"), drawn.level3)
    return ax  # type: ignore[no-any-return]
