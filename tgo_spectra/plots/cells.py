"""A quantity of a map as it is drawn: cells of two axes, their words and their unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.maps.dataset import dense
from tgo_spectra.maps.maps import left_out
from tgo_spectra.plots.style import (
    FAINT,
    MISSING,
    formula,
    label,
    need,
    readable,
    shades,
    why_empty,
)
from tgo_spectra.variables import MAP_AXES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from matplotlib.axes import Axes

__all__ = [
    "Cells",
    "Quantity",
    "axes_of",
    "best_slice",
    "cell_words",
    "edges",
    "notes",
    "one_unit",
    "shades_of",
    "sigma_of",
    "why",
]

Floats = npt.NDArray[np.float64]

Quantity = Literal[
    "mean",
    "standard_error",
    "systematic_error",
    "apriori_share",
    "standard_error_formal",
    "standard_error_scatter",
    "upper_limit",
    "best_upper_limit",
    "count",
]

_UNITS = {"altitude": " km", "pressure": " Pa", "mars_year": ""}
_WORDS = {
    "solar_longitude": "Ls",
    "mars_year": "MY",
    "altitude": "altitude",
    "pressure": "pressure",
    "latitude": "latitude",
    "longitude": "longitude",
}


class Cells:
    """A quantity of a map over two axes, in the units that it is drawn in."""

    def __init__(
        self, level3: xr.Dataset, gas: str, quantity: Quantity, minimum_count: int
    ) -> None:
        if quantity not in get_args(Quantity):
            message = f"the quantities are {', '.join(get_args(Quantity))}"
            raise TgoError(message, value=quantity, rule="plot.quantity")
        self.level3 = level3 = dense(level3)
        self.gas, self.quantity, self.minimum = gas, quantity, max(minimum_count, 1)
        data = need(level3, f"{gas}_{quantity}").squeeze()
        if data.ndim != 2:
            message = "select all axes but two before drawing"
            raise TgoError(
                message, field=str(data.name), value=data.dims, rule="plot.shape"
            )
        self.vertical, self.horizontal = _orientation(data.dims)
        order = (self.vertical, self.horizontal)
        self.count = level3[f"{gas}_count"].squeeze().transpose(*order).values
        data = data.where(level3[f"{gas}_count"].squeeze() > 0)
        self.values = np.ma.masked_invalid(data.transpose(*order).values.astype(float))
        factor, self.unit = self._unit()
        self.values = self.values * factor
        self.few = (self.count > 0) & (self.count < self.minimum)
        self.signed = quantity == "mean" and gas.partition("_")[0] in FAINT

    def _unit(self) -> tuple[float, str]:
        _, column, _ = self.gas.partition("_column")
        if self.quantity == "count":
            return 1.0, "spectra" if column else "profiles"
        if self.quantity == "apriori_share":
            return 1.0, "1"
        if column:
            return 1.0, "cm$^{-2}$"
        # mean, errors and limits of one map in one unit, that of the mean
        return readable(self.values.filled(np.nan))

    def draw(self, ax: Axes, colours: Mapping[str, Any]) -> None:
        """Draw cells, hatches and axes."""
        from matplotlib.collections import PolyCollection

        x, y = (edges(self.level3, a) for a in (self.horizontal, self.vertical))
        ax.set_facecolor(MISSING)
        mesh = ax.pcolormesh(x, y, self.values, **colours)
        mesh.set_gid("cells")
        corners = [
            [(x[k], y[j]), (x[k + 1], y[j]), (x[k + 1], y[j + 1]), (x[k], y[j + 1])]
            for j, k in self.weak()
        ]
        if corners:
            ax.add_collection(
                PolyCollection(
                    corners, hatch="////", fc="none", ec="0.3", lw=0, gid="few"
                ),
                autolim=False,
            )
        ax.set(
            xlabel=label(self.level3[self.horizontal]),
            ylabel=label(self.level3[self.vertical]),
        )
        for axis, name in ((ax.xaxis, self.horizontal), (ax.yaxis, self.vertical)):
            _ticks(axis, name)
        if self.vertical == "pressure":
            ax.set_yscale("log")
            ax.set_ylim(float(y.max()), float(max(y.min(), 1e-6)))
        if not self.values.count():
            why_empty(ax, why(self.level3, self.gas, self.quantity))
        ax.grid(color="1.0", lw=0.4, alpha=0.6)

    def weak(self) -> list[tuple[int, int]]:
        """Return the cells that hold something of few profiles, upright axis first."""
        shown = self.few & ~np.ma.getmaskarray(self.values)
        return [(int(j), int(k)) for j, k in np.argwhere(shown)]

    def add_bar(self, ax: Any, extend: str, of: Any = None) -> None:
        """Draw the scale beside the axes, or beside several."""
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import MaxNLocator

        first = of if of is not None else ax
        figure = first.get_figure()
        mesh = next(one for one in first.collections if one.get_gid() == "cells")
        if figure is not None:
            bar = figure.colorbar(
                mesh, ax=ax, label=self.label(), pad=0.02, extend=extend
            )
            if self.quantity == "count" and not isinstance(mesh.norm, LogNorm):
                bar.locator = MaxNLocator(integer=True)
                bar.update_ticks()

    def label(self) -> str:
        """Name of the quantity with its unit."""
        species, column, _ = self.gas.removesuffix("_layer").partition("_column")
        sigma = sigma_of(self.level3)
        text = {
            "mean": "mean column" if column else "mean mole fraction",
            "standard_error": "standard error",
            "systematic_error": "systematic error",
            "apriori_share": "part of the mean that is a priori",
            "standard_error_formal": "standard error (from noise)",
            "standard_error_scatter": "standard error (from the scatter)",
            "upper_limit": f"{sigma} upper limit of the mean",
            "best_upper_limit": f"best {sigma} limit of one "
            f"{'spectrum' if column else 'profile'}",
            "count": "number",
        }[self.quantity]
        return f"{formula(species)} {text} ({self.unit})"

    def words(self, across: str = "") -> list[str]:
        """Say which part of which profiles is shown, and their weights.

        Not of the axis `across`, of which each cell has a panel that says it.
        """
        attrs = self.level3.attrs
        parts: list[str] = []
        shown = {self.horizontal, self.vertical, across}
        known = [axis for axis in MAP_AXES if f"{axis}_bounds" in self.level3.variables]
        parts += [cell_words(self.level3, axis) for axis in known if axis not in shown]
        years = str(attrs.get("mars_years", "")).replace(" | ", ", ")
        if years and "mars_year" not in {*shown, *known}:
            parts.append(f"MY {years}")
        if (n := attrs.get("n_profiles")) is not None:
            parts.append(f"{n} results")
        if self.quantity != "count":
            weights = str(self.level3[f"{self.gas}_mean"].attrs.get("weights", ""))
            parts.append(f"weights {weights.replace('_', ' ')}" if weights else "")
        return [part for part in parts if part]


def cell_words(level3: xr.Dataset, axis: str) -> str:
    """Say which cell of an axis was selected; nothing where there are several."""
    bounds = np.asarray(level3[f"{axis}_bounds"].values, dtype=float)
    if bounds.ndim > 1 and bounds.shape[0] != 1:
        return ""
    low, high = bounds.ravel()[:2]
    if axis == "local_time_class":
        return "morning" if low < 12.0 else "evening"
    if axis == "mars_year" and high - low == 1:
        return f"MY {low:g}"
    text = f"{low:g}–{high:g}".replace("-", "−")
    return f"{_WORDS[axis]} {text}{_UNITS.get(axis, '°')}"


def notes(drawn: Sequence[Cells], few: str = "hatched") -> list[str]:
    """Say what is left out, what is hatched (or marked else), and what is grey."""
    said = [left_out(drawn[0].level3).removeprefix(", ")]
    n_few = sum(len(one.weak()) for one in drawn)
    if n_few:
        said.append(f"{few}: fewer than {drawn[0].minimum} ({n_few} cells)")
    if any(np.ma.getmaskarray(one.values).any() for one in drawn):
        said.append("grey: nothing measured")
    found = np.concatenate([one.values.compressed() for one in drawn])
    if found.size and found.max() < 0:
        said.append("all values are negative: less than nothing, within the noise")
    return ["; ".join(note for note in said if note)]


def shades_of(drawn: Sequence[Cells]) -> tuple[dict[str, Any], str]:
    """Give colours and scale; cells of few profiles set it only among themselves."""
    found = np.concatenate([one.values[~one.few].compressed() for one in drawn])
    if not found.size:
        found = np.concatenate([one.values.compressed() for one in drawn])
    return shades(found, signed=drawn[0].signed)


def why(level3: xr.Dataset, gas: str, quantity: str) -> str:
    """Say why no cell has a value."""
    attrs = level3.attrs
    n = attrs.get("n_profiles", 0)
    if int(level3[f"{gas}_count"].sum()) and quantity != "count":
        return f"no cell has a {quantity.replace('_', ' ')}: all are missing"
    out = left_out(level3).removeprefix(", ")
    tail = f"; {out}" if out else ""
    if not n:
        return f"no result went into this map{tail}"
    return f"none of {n} results has {formula(gas)} in these cells{tail}"


def one_unit(drawn: list[Cells]) -> None:
    """Bring panels to the unit of the one with the largest values."""
    factor = {"%": 1e2, "ppmv": 1e6, "ppbv": 1e9, "pptv": 1e12}
    if drawn[0].unit not in factor:
        return
    filled = [one for one in drawn if one.values.count()]
    best = min((one.unit for one in filled), key=factor.__getitem__, default="ppbv")
    for one in drawn:
        ratio = factor[best] / factor[one.unit]
        one.values, one.unit = one.values * ratio, best


def best_slice(
    level3: xr.Dataset, gas: str, at: Mapping[str, float] | None = None
) -> xr.Dataset:
    """Select a map of two axes: the cells that hold `at`, else those filled best.

    Of the axes with several cells, altitude or pressure is selected first, then local
    time, Mars Year, longitude and solar longitude.

    TgoError (``plot.place``): a value is in no cell, or its axis in no map.
    """
    level3 = dense(level3)
    for axis, value in (at or {}).items():
        if axis not in level3.dims:
            message = f"the axes of the map are {', '.join(axes_of(level3))}"
            raise TgoError(message, field=axis, value=value, rule="plot.place")
        bounds = np.asarray(level3[f"{axis}_bounds"].values, dtype=float)
        low, high = np.sort(bounds, axis=1).T
        inside = np.flatnonzero((low <= value) & (value <= high))
        if not inside.size:
            message = f"no cell of {axis} holds it"
            raise TgoError(message, field=axis, value=value, rule="plot.place")
        level3 = level3.isel({axis: int(inside[-1])})
    order = ("altitude", "pressure", "local_time_class", "mars_year", "longitude")
    for axis in (*order, "solar_longitude", "latitude"):
        several = [a for a in axes_of(level3) if level3.sizes[a] > 1]
        if len(several) <= 2:
            break
        if axis in several:
            count = need(level3, f"{gas}_count")
            others = [dim for dim in count.dims if dim != axis]
            best = int((count > 0).sum(others).values.argmax())
            level3 = level3.isel({axis: best})
    return level3


def axes_of(level3: xr.Dataset) -> list[str]:
    """Return the axes of a map, in their order."""
    return [axis for axis in MAP_AXES if axis in level3.dims]


def sigma_of(level3: xr.Dataset) -> str:
    """Say of how many errors the limits of a map are."""
    return f"{float(level3.attrs.get('sigma_level', 2.0)):g}-sigma"


def _orientation(dims: tuple[Any, ...]) -> tuple[str, str]:
    """Which axis is upright: height first, then latitude."""
    names = [str(name) for name in dims]
    for upright in ("altitude", "pressure", "latitude"):
        if upright in names:
            names.remove(upright)
            return upright, names[0]
    return names[0], names[1]


def edges(level3: xr.Dataset, axis: str) -> Floats:
    """Give the edges of the cells of an axis, shape (cell + 1,)."""
    bounds = np.asarray(level3[f"{axis}_bounds"].values, dtype=float)
    return np.append(bounds[:, 0], bounds[-1, 1])


def _ticks(axis: Any, name: str) -> None:
    from matplotlib.ticker import MultipleLocator

    steps = {"latitude": 30, "longitude": 60, "solar_longitude": 30, "mars_year": 1}
    if name in steps:
        axis.set_major_locator(MultipleLocator(steps[name]))
    elif name == "local_time_class":
        axis.set_ticks([0, 1], ["morning", "evening"])
