"""Figures of many results: their limits, and where and when they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import Part, flags_of, profiles
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.maps.dataset import dense
from tgo_spectra.maps.maps import left_out
from tgo_spectra.plots.cells import sigma_of
from tgo_spectra.plots.style import (
    BLUE,
    GREY,
    RED,
    formula,
    head,
    middle,
    need,
    new_axes,
    new_figure,
    readable,
    why_empty,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Against", "part_of_many", "plot_limits", "plot_sampling"]

Against = Literal["latitude", "solar_longitude", "altitude"]

_AXES: dict[str, tuple[str, tuple[float, float] | None, int]] = {
    "latitude": ("planetocentric latitude (degrees north)", (-90, 90), 30),
    "solar_longitude": ("solar longitude (degree)", (0, 360), 30),
    "altitude": ("altitude above the areoid (km)", None, 0),
}
DETECTED = 3.0
"""A mean of a map that is so many of its errors is drawn as a detection."""


_PLACES = ("longitude", "latitude", "solar_longitude", "mars_year")


def part_of_many(gases: Iterable[str]) -> Part:
    """Give what these figures need of level 2, which is read once for all of them."""
    ends = ("_upper_limit", "_detected", "_vmr", "_vmr_error")
    names = [f"{gas}{end}" for gas in gases for end in ends]
    names += [*_PLACES, "altitude", "quality_flag"]
    return Part(dict.fromkeys(names, ("sigma_level",)), frozenset({"sigma_level"}))


class _Limit(NamedTuple):
    """The lowest limit of a profile, where it is, and what is known of the profile."""

    latitude: float
    solar_longitude: float
    altitude: float
    limit: float
    value: float
    error: float
    detected: bool
    bad: bool


def plot_limits(
    source: xr.Dataset | Iterable[xr.Dataset | str | Path] | str | Path,
    gas: str = "ch4",
    ax: Axes | None = None,
    *,
    against: Against = "latitude",
) -> Axes:
    """Draw upper limits against a place: of profiles, or of the cells of a map.

    Parameters
    ----------
    source : Dataset, iterable of Datasets or paths, or folder
        A map with the axis `against`, or level 2 of several products: then the lowest
        limit of each profile, coloured by its altitude (against altitude, by its
        latitude); a cross where its quality flag says that it is not to be used. Where
        a gas is detected, a star with its error stands for the limit: in a profile, by
        ``<gas>_detected`` at that level; in a map, where the mean is three errors.
    gas : str, optional
        Gas key. Default ``ch4``.
    ax : matplotlib Axes, optional
        Where to draw. Default a new figure.
    against : {"latitude", "solar_longitude", "altitude"}, optional
        What the limits stand over. Default latitude.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, the limits on a logarithmic scale; they say why where there is none.

    Raises
    ------
    TgoError
        A map without that axis or that gas (``plot.variable``), another place
        (``plot.against``).
    """
    if against not in _AXES:
        message = f"limits stand against {', '.join(_AXES)}"
        raise TgoError(message, value=against, rule="plot.against")
    ax = ax or new_axes("limits")
    text, ends, step = _AXES[against]
    if isinstance(source, xr.Dataset) and f"{gas}_sum_w" in source:
        level, unit = _map_limits(dense(source), gas, against, ax)
    else:
        level, unit = _profile_limits(source, gas, against, ax)
    if not any(one.get_gid() == "why" for one in ax.texts):
        _log(ax)
    ax.set(xlabel=text, ylabel=f"{formula(gas)} {level} upper limit ({unit})")
    if ends is not None:
        ax.set_xlim(*ends)
        ax.set_xticks(range(int(ends[0]), int(ends[1]) + 1, step))
    ax.grid(color="0.88", lw=0.5, which="both")
    ax.set_axisbelow(True)
    return ax


def _log(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(plain)
    ax.autoscale_view()
    low, high = ax.get_ylim()
    wide = high / low > 300.0
    ax.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    ax.yaxis.set_minor_formatter(NullFormatter() if wide else plain)


def _map_limits(
    level3: xr.Dataset, gas: str, against: str, ax: Axes
) -> tuple[str, str]:
    if against not in level3.dims:
        message = f"a map needs {against} for this plot"
        raise TgoError(message, field=against, rule="plot.variable")
    limit = need(level3, f"{gas}_upper_limit")
    factor, unit = readable(limit.values)
    mean, error = level3[f"{gas}_mean"], level3[f"{gas}_standard_error"]
    seen = (mean > DETECTED * error).values
    at = level3[against].broadcast_like(limit).values
    styles = (
        ("best_upper_limit", "o", BLUE, "best single profile"),
        ("upper_limit", "s", RED, "mean of the cell"),
    )
    for name, marker, colour, text in styles:
        values = level3[f"{gas}_{name}"].values * factor
        keep = np.isfinite(values) & (values > 0)
        if name == "upper_limit":
            keep &= ~seen
        ax.plot(
            at[keep], values[keep], marker, ms=4, color=colour, alpha=0.7, label=text
        )
    if seen.any():
        _star(ax, at[seen], mean.values[seen] * factor, error.values[seen] * factor)
    n = int(np.isfinite(limit.values).sum())
    words = [f"{n} cells of {level3.attrs.get('n_profiles', 0)} results"]
    head(ax, words, [left_out(level3).removeprefix(", ")], level3)
    if n:
        ax.legend(framealpha=0.85, fontsize="small")
    else:
        why_empty(ax, f"no cell of the map has a limit of {formula(gas)}")
    return sigma_of(level3), unit


def _star(
    ax: Axes,
    at: npt.NDArray[Any],
    values: npt.NDArray[Any],
    errors: npt.NDArray[Any],
) -> None:
    ax.errorbar(
        at, values, yerr=errors, fmt="*", ms=10, color="#d98e04", mec="k", mew=0.4,
        lw=0.8, label="detected: value and error",
    )  # fmt: skip


def _profile_limits(source: Any, gas: str, against: str, ax: Axes) -> tuple[str, str]:
    rows, level, n, some = [], "", 0, 0
    for ds in profiles(source):
        n += 1
        some += is_simulated(ds)
        row = _lowest(ds, gas)
        if row is None:
            continue
        rows.append(row)
        k = ds[f"{gas}_upper_limit"].attrs.get(
            "sigma_level", ds.attrs.get("sigma_level")
        )
        level = f"{float(k):g}-sigma" if k is not None else level
    about = xr.Dataset(attrs={"n_simulated": some, "n_profiles": n})
    head(ax, [f"lowest limits of {len(rows)} of {n} results"], [], about)
    if not rows:
        why_empty(ax, f"none of {n} results has an upper limit of {formula(gas)}")
        return level, "ppbv"
    table = np.array(rows, dtype=float)
    column = dict(zip(_Limit._fields, table.T, strict=True))
    factor, unit = readable(column["limit"])
    at, limit = column[against], column["limit"] * factor
    seen, bad = column["detected"] > 0, column["bad"] > 0
    other = "latitude" if against == "altitude" else "altitude"
    kept = ~bad & ~seen
    points = ax.scatter(
        at[kept], limit[kept], c=column[other][kept], s=24, lw=0, cmap="viridis",
        label="upper limit",
    )  # fmt: skip
    if bad.any():
        text = "not to be used, by quality_flag"
        ax.plot(at[bad], limit[bad], "x", color=RED, label=text)
    if (seen & ~bad).any():
        chosen = seen & ~bad
        values = column["value"][chosen] * factor, column["error"][chosen] * factor
        _star(ax, at[chosen], *values)
    if bad.any() or seen.any():
        ax.legend(framealpha=0.85, fontsize="small")
    figure = ax.get_figure()
    if figure is not None and kept.any():
        text = {"altitude": "altitude of the lowest limit (km)"}.get(
            other, "latitude (degrees north)"
        )
        figure.colorbar(points, ax=ax, label=text, pad=0.02)
    return level, unit


def _lowest(ds: xr.Dataset, gas: str) -> _Limit | None:
    """Return the lowest limit of a profile, or where the gas is seen best."""
    limit = ds.get(f"{gas}_upper_limit")
    if limit is None or not np.isfinite(limit.values).any():
        return None
    shape = limit.shape
    best = int(np.nanargmin(limit.values))
    value, error = (
        np.asarray(ds[name].values, float) if name in ds else np.full(shape, np.nan)
        for name in (f"{gas}_vmr", f"{gas}_vmr_error")
    )
    detected = np.zeros(shape, dtype=bool)
    if f"{gas}_detected" in ds:
        detected = ds[f"{gas}_detected"].values == 1
    if detected.any():
        ratio = np.where(detected, value / error, -np.inf)
        best = int(np.nanargmax(ratio))
    season = float(np.ravel(ds["solar_longitude"].values)[0]) if (
        "solar_longitude" in ds.variables
    ) else np.nan  # fmt: skip
    latitude = np.broadcast_to(ds["latitude"].values, shape)
    return _Limit(
        float(latitude[best]), season, float(ds["altitude"].values[best]),
        float(limit.values[best]), float(value[best]), float(error[best]),
        bool(detected.any()), _is_bad(ds),
    )  # fmt: skip


def plot_sampling(
    source: xr.Dataset | Iterable[xr.Dataset | str | Path] | str | Path,
    figure: Figure | None = None,
) -> tuple[Axes, Axes]:
    """Draw where and when results are: longitude-latitude, and season-latitude.

    Parameters
    ----------
    source : Dataset, iterable of Datasets or paths, or folder
        Level 2 of several products, or a catalogue (`tgo_spectra.index_archive`,
        `tgo_spectra.find`). A cross marks what is not to be used.
    figure : matplotlib Figure, optional
        Where to draw. Default a new one.

    Returns
    -------
    two matplotlib.axes.Axes
        Places, coloured by season; seasons, coloured by Mars Year where it is known.
        They say why where there is nothing to draw.
    """
    figure = figure or new_figure("pair")
    left, right = figure.subplots(1, 2)
    table, n, some = _sampled(source)
    about = xr.Dataset(attrs={"n_simulated": some, "n_profiles": n})
    place, season, year, bad = table[:2], table[2], table[3], table[4] > 0
    panels = (
        (left, place[0], place[1], season, "longitude (degrees east)", "twilight"),
        (right, season, place[1], year, "solar longitude (degree)", "viridis"),
    )
    names = ("solar longitude (degree)", "Mars Year")
    for (ax, x, y, colour, text, colours), name in zip(panels, names, strict=True):
        there = np.isfinite(x) & np.isfinite(y)
        plain = there & ~np.isfinite(colour) & ~bad
        ax.plot(x[plain], y[plain], "o", ms=4, color=GREY)
        good = there & np.isfinite(colour) & ~bad
        ends = (0, 360) if colours == "twilight" else _years(colour[good])
        points = ax.scatter(
            x[good], y[good], c=colour[good], s=22, lw=0.3, ec="k", cmap=colours,
            vmin=ends[0], vmax=ends[1],
        )  # fmt: skip
        ax.plot(x[there & bad], y[there & bad], "x", color=RED, label="not to be used")
        if good.any():
            bar = figure.colorbar(points, ax=ax, label=name, pad=0.02)
            if name == "Mars Year":
                bar.set_ticks(np.unique(colour[good]).tolist())
        if (there & bad).any():
            ax.legend(frameon=False, fontsize="small")
        ax.set(xlabel=text, ylabel="latitude (degrees north)", ylim=(-90, 90))
        ax.set_yticks(range(-90, 91, 30))
        ax.grid(color="0.88", lw=0.5)
        ax.set_axisbelow(True)
        if not there.any():
            why_empty(ax, f"none of {n} results has a place and a season")
    left.set_xlim(-180, 180)
    left.set_xticks(range(-180, 181, 60))
    right.set_xlim(0, 360)
    right.set_xticks(range(0, 361, 60))
    head(left, [f"{n} results", f"{int(bad.sum())} not to be used"], [], about)
    head(right, [], [], about)
    return left, right


def _years(values: npt.NDArray[Any]) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    return float(values.min()) - 0.5, float(values.max()) + 0.5


def _sampled(source: Any) -> tuple[npt.NDArray[Any], int, int]:
    """Return longitude, latitude, season, year, badness; how many, how many unreal."""
    if isinstance(source, xr.Dataset) and "product" in source.dims:
        latitude = 0.5 * (source["latitude_min"] + source["latitude_max"])
        n = source.sizes["product"]
        wrong = (source["rule"] != "").values if "rule" in source else np.zeros(n)
        rows = [
            (source["longitude"].values + 180.0) % 360.0 - 180.0, latitude.values,
            source["solar_longitude"].values, np.full(n, np.nan), wrong,
        ]  # fmt: skip
        return np.array(rows, dtype=float), n, 0
    found, some, n = [], 0, 0
    for ds in profiles(source):
        n += 1
        some += is_simulated(ds)
        place = (middle(ds, name) for name in _PLACES)
        found.append([*(np.nan if p is None else p for p in place), _is_bad(ds)])
    table = np.array(found, dtype=float).reshape(-1, 5).T
    return table, n, some


def _is_bad(ds: xr.Dataset) -> bool:
    """Whether a result as a whole is not to be used; not known: no."""
    flags = flags_of(ds)
    return flags is not None and bool(quality.severe(quality.overall(flags)))
