"""Figures: a Dataset in, Axes out; labels and units come from the attributes.

Nothing is fitted, filled or smoothed here. Holes of a map stay white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.maps import profiles
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = [
    "plot_averaging_kernel",
    "plot_fit",
    "plot_limits",
    "plot_map",
    "plot_profile",
    "plot_spectrum",
]

Floats = npt.NDArray[np.float64]

# gases that may be absent: signed colours, limits of interest
_FAINT = frozenset({"ch4", "c2h4", "c2h6", "h2co", "ph3", "h2s", "ocs", "no2", "n2o"})

_MINIMUM_COUNT = 3  # profiles; cells with fewer are left white

_FORMULAE = {"hcl": "HCl", "hf": "HF"}  # others are plain capitals

_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "0.55"


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
    ax = ax or _new()
    name = _signal(level1)
    x, xlabel = _abscissa(row)
    y = row[name].values
    ax.plot(x, y, color=_BLUE, lw=0.8)
    if f"{name}_error" in row:
        error = row[f"{name}_error"].values
        ax.fill_between(x, y - error, y + error, color=_BLUE, alpha=0.25, lw=0)
    ax.set(xlabel=xlabel, ylabel=_label(level1[name]), title=_title(row, spectrum))
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
    top, bottom = axes or _new_pair()
    x, xlabel = _abscissa(row)
    top.plot(x, y, color=_GREY, lw=2.0, label="measured")
    top.plot(x, y - residual, color=_RED, lw=0.8, label="fitted")
    top.set(ylabel=_label(level1[name]), title=_title(row, spectrum))
    top.legend(frameon=False, ncols=2)
    if f"{name}_error" in row:
        error = row[f"{name}_error"].values
        bottom.fill_between(x, -error, error, color=_GREY, alpha=0.35, lw=0)
    bottom.axhline(0.0, color="0.3", lw=0.6)
    bottom.plot(x, residual, color=_BLUE, lw=0.7)
    chi2 = level2.get("reduced_chi_square")
    note = (
        f"reduced chi-square of the product {float(chi2):.2f}"
        if chi2 is not None
        else ""
    )
    bottom.set(xlabel=xlabel, ylabel="residual")
    bottom.set_title(note, fontsize="small", loc="right")
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
    vmr = _need(level2, f"{gas}_vmr")
    ax = ax or _new(4.6, 5.2)
    factor, unit = _scale(vmr.values)
    z = level2["altitude"].values
    x = vmr.values * factor
    shades = (("error", 0.18, "total error"), ("noise_error", 0.35, "noise error"))
    for name, alpha, text in shades:
        if f"{gas}_vmr_{name}" in level2:
            error = level2[f"{gas}_vmr_{name}"].values * factor
            ax.fill_betweenx(
                z, x - error, x + error, color=_BLUE, alpha=alpha, lw=0, label=text
            )
    if f"{gas}_vmr_apriori" in level2:
        prior = level2[f"{gas}_vmr_apriori"].values * factor
        ax.plot(prior, z, color=_GREY, ls="--", lw=1.2, label="a priori")
    if truth is not None:
        ax.plot(
            truth.values * factor, truth["altitude"].values, "k-", lw=1, label="truth"
        )
    ax.plot(x, z, color=_BLUE, lw=1.6, label="retrieved")
    if gas in _FAINT:
        ax.axvline(0.0, color="0.3", lw=0.6)
    ax.set(
        xlabel=f"{_formula(gas)} mole fraction ({unit})",
        ylabel=_label(level2["altitude"]),
    )
    ax.margins(y=0)
    ax.legend(frameon=False, fontsize="small")
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
    kernel = _need(level2, f"{gas}_averaging_kernel").values
    ax = ax or _new(4.6, 5.2)
    from matplotlib import colormaps

    z = level2["altitude"].values
    levels = range(0, z.size, every)
    for i in levels:
        colour = colormaps["viridis"](i / max(z.size - 1, 1))
        ax.plot(kernel[i], z, color=colour, lw=1.0)
    response = kernel.sum(axis=1)
    ax.plot(response, z, "k--", lw=1.2, label="sum over true altitudes")
    ax.set(
        xlabel=f"{_formula(gas)} averaging kernel, every {every} levels",
        ylabel=_label(level2["altitude"]),
    )
    ax.margins(y=0)
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    return ax


def plot_map(
    level3: xr.Dataset,
    gas: str,
    quantity: Literal[
        "mean",
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
        Gas key.
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
    data = _need(level3, f"{gas}_{quantity}").squeeze()
    if data.ndim != 2:
        message = "select all axes but two before drawing"
        raise TgoError(
            message, field=str(data.name), value=data.dims, rule="plot.shape"
        )
    enough = level3[f"{gas}_count"].squeeze() >= max(minimum_count, 1)
    data = data.where(enough)
    vertical, horizontal = _orientation(data.dims)
    data = data.transpose(vertical, horizontal)
    factor, unit = (1.0, "profiles") if quantity == "count" else _scale(data.values)
    values = np.ma.masked_invalid(data.values * factor)
    ax = ax or _new(7.2, 4.2)
    edges = [_edges(level3, axis) for axis in (horizontal, vertical)]
    mesh = ax.pcolormesh(*edges, values, **_colours(gas, quantity, values))
    text = {
        "mean": "mean mole fraction",
        "standard_error_formal": "standard error (from the errors)",
        "standard_error_scatter": "standard error (from the scatter)",
        "upper_limit": f"{_sigma(level3)} upper limit of the mean",
        "best_upper_limit": f"best {_sigma(level3)} limit of one profile",
        "count": "number",
    }[quantity]
    figure = ax.get_figure()
    if figure is not None:
        figure.colorbar(mesh, ax=ax, label=f"{_formula(gas)} {text} ({unit})", pad=0.02)
    ax.set(xlabel=_label(level3[horizontal]), ylabel=_label(level3[vertical]))
    _degree_ticks(ax.xaxis, horizontal)
    _degree_ticks(ax.yaxis, vertical)
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
        each profile, coloured by its altitude.
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
    ax = ax or _new(6.4, 4.2)
    if isinstance(source, xr.Dataset) and f"{gas}_sum_w" in source:
        level, unit = _map_limits(source, gas, ax)
    else:
        level, unit = _profile_limits(source, gas, ax)
    ax.set_yscale("log")
    ax.set(
        xlabel="planetocentric latitude (degrees north)",
        ylabel=f"{_formula(gas)} {level} upper limit ({unit})",
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
    mean = _need(level3, f"{gas}_upper_limit")
    factor, unit = _scale(mean.values)
    styles = (
        ("best_upper_limit", "o", _BLUE, "best single profile"),
        ("upper_limit", "s", _RED, "mean of the cell"),
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
        rows.append((latitude[best], limit.values[best], ds["altitude"].values[best]))
        k = limit.attrs.get("sigma_level", ds.attrs.get("sigma_level"))
        level = f"{float(k):g}-sigma" if k is not None else level
    if not rows:
        message = "no profile has an upper limit of this gas"
        raise TgoError(message, value=gas, rule="plot.variable")
    latitudes, limits, altitudes = np.array(rows, dtype=float).T
    factor, unit = _scale(limits)
    points = ax.scatter(
        latitudes, limits * factor, c=altitudes, s=22, cmap="viridis", lw=0
    )
    figure = ax.get_figure()
    if figure is not None:
        label = "altitude of the lowest limit (km)"
        figure.colorbar(points, ax=ax, label=label, pad=0.02)
    return level, unit


def _new(width: float = 7.2, height: float = 3.6) -> Axes:
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def _new_pair() -> tuple[Axes, Axes]:
    import matplotlib.pyplot as plt

    _, (top, bottom) = plt.subplots(
        2,
        1,
        sharex=True,
        figsize=(7.2, 4.8),
        height_ratios=(3, 1),
        layout="constrained",
    )
    return top, bottom


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


def _need(ds: xr.Dataset, name: str) -> xr.DataArray:
    if name not in ds:
        known = [gas for gas in GASES if f"{gas}_vmr" in ds or f"{gas}_sum_w" in ds]
        message = f"not in the Dataset; its gases are {', '.join(known) or 'none'}"
        raise TgoError(message, field=name, rule="plot.variable")
    return ds[name]


def _abscissa(row: xr.Dataset) -> tuple[Floats, str]:
    name = "wavenumber" if "wavenumber" in row.variables else "wavelength"
    return np.asarray(row[name].values, dtype=float), _label(row[name])


_UNITS = {
    "cm-1": "cm$^{-1}$",
    "degrees_north": "degrees north",
    "degrees_east": "degrees east",
}


def _label(array: xr.DataArray) -> str:
    """Long name without its explanation, and units."""
    text = str(array.attrs.get("long_name", array.name)).replace("_", " ")
    text = text.split("(")[0].strip()
    units = str(array.attrs.get("units", ""))
    return text if units in {"", "1"} else f"{text} ({_UNITS.get(units, units)})"


def _title(row: xr.Dataset, spectrum: int) -> str:
    parts = [f"spectrum {spectrum}"]
    if "tangent_altitude" in row.variables:
        parts.append(f"tangent altitude {float(row['tangent_altitude']):.1f} km")
    if "order" in row.variables and row["order"].ndim == 0:
        parts.append(f"order {int(row['order'])}")
    return ", ".join(parts)


def _formula(gas: str) -> str:
    text = _FORMULAE.get(gas, gas.upper())
    return "".join(f"$_{c}$" if c.isdigit() else c for c in text)


def _scale(values: npt.NDArray[Any]) -> tuple[float, str]:
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
    if quantity == "mean" and gas in _FAINT:
        size = float(np.abs(values).max()) if values.count() else 1.0
        return {"cmap": "RdBu_r", "vmin": -size, "vmax": size}
    return {"cmap": "viridis" if quantity == "mean" else "cividis"}


def _degree_ticks(axis: Any, name: str) -> None:
    from matplotlib.ticker import MultipleLocator

    steps = {"latitude": 30, "longitude": 60, "solar_longitude": 30, "mars_year": 1}
    if name in steps:
        axis.set_major_locator(MultipleLocator(steps[name]))
