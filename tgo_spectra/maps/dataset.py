"""Maps as Datasets: from the sums of cells, and back.

A map over more cells than can be held, most of them empty, has one dimension, ``cell``:
the cells that hold a sample, by their numbers in the whole grid ("compression by
gathering" of CF). `dense` spreads such a map over its axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.maps.choices import BY_GAS, RATIOS
from tgo_spectra.maps.grid import coordinate
from tgo_spectra.maps.samples import FIELDS
from tgo_spectra.maps.statistics import follows_values, statistics
from tgo_spectra.maps.sums import EXTREMES, NAMES, SUMS, CellSums
from tgo_spectra.variables import (
    GASES,
    GATHERED,
    MAP_AXES,
    attributes_of,
    lookup,
    without_fill,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tgo_spectra.maps.statistics import Weights

__all__ = [
    "DENSE_CELLS",
    "Form",
    "axes_of",
    "dense",
    "fields_in",
    "map_dataset",
    "sums_of",
]

Floats = npt.NDArray[np.float64]
Form = Literal["dense", "sparse"]

_SCATTERED = (
    "h2o",
    "co",
    "o3",
    "hcl",
    "hdo",
    *RATIOS,
)  # nature makes more scatter than errors
DENSE_CELLS = 1_000_000
"""Most cells of a map that is dense unless it is asked for: 0.35 GB a gas."""

_FIRST = (
    "mean",
    "standard_error",
    "systematic_error",
    "upper_limit",
    "best_upper_limit",
    "count",
    "apriori_share",
)


def map_dataset(
    fields: Mapping[str, CellSums],
    axes: Mapping[str, Floats],
    attrs: Mapping[str, Any],
    form: Form | None,
) -> xr.Dataset:
    """Make a map from its sums; `axes` are edges of cells, shape (cell, 2) each."""
    shape = tuple(len(cells) for cells in axes.values())
    size = int(np.prod(shape, dtype=np.int64))
    if form is None:
        form = "dense" if size <= DENSE_CELLS else "sparse"
    coords: dict[str, Any] = {}
    for axis, cells in axes.items():
        coords[axis], coords[f"{axis}_bounds"] = coordinate(axis, cells)
    held: npt.NDArray[np.int64] | None = None
    if form == "sparse":
        numbers = [CellSums.empty().cell, *(sums.cell for sums in fields.values())]
        held = np.unique(np.concatenate(numbers))
        notes = {**attributes_of(GATHERED, held.dtype), "compress": " ".join(axes)}
        coords[GATHERED] = (GATHERED, held, notes)
        index = np.unravel_index(held, shape) if shape else ()
        for axis, at in zip(axes, index, strict=True):
            name, centres = f"{GATHERED}_{axis}", np.asarray(coords[axis][1])
            about = attributes_of(name, centres.dtype)
            coords[name] = (GATHERED, centres[at], about)
    arrays: dict[str, Any] = {}
    for field, sums in fields.items():
        results, weights = _results(field, sums, attrs)
        values = results | {name: sums.column(name) for name in NAMES}
        where = sums.cell if held is None else np.searchsorted(held, sums.cell)
        whole = held is not None and where.size == held.size
        for name in dict.fromkeys([*_FIRST, *results, *EXTREMES, *SUMS]):
            kind = np.int32 if name.endswith("count") else np.float64
            if whole:  # a result has an array of its own already
                full = np.array(values[name], dtype=kind, copy=name in NAMES or None)
            else:
                empty = 0.0 if name in SUMS else np.nan
                full = np.full(size if held is None else held.size, empty, dtype=kind)
                full[where] = values[name]
            notes = _notes(field, name, attrs, weights)
            if held is None:
                arrays[f"{field}_{name}"] = (tuple(axes), full.reshape(shape), notes)
            else:
                arrays[f"{field}_{name}"] = (GATHERED, full, notes)
    return without_fill(xr.Dataset(arrays, coords=coords, attrs=dict(attrs)))


def _results(
    field: str, sums: CellSums, attrs: Mapping[str, Any]
) -> tuple[dict[str, Floats], Weights]:
    k, chosen = float(attrs["sigma_level"]), str(attrs["weights"])
    gas = field.partition("_column")[0].removesuffix("_layer")
    if chosen != BY_GAS:
        weights: Weights = chosen  # type: ignore[assignment] # checked when chosen
        return statistics(sums, weights, k), weights
    weights = "random_effects" if gas in _SCATTERED else "inverse_variance"
    if follows_values(sums):
        weights = "uniform"
    return statistics(sums, weights, k), weights


def sums_of(level3: xr.Dataset) -> dict[str, CellSums]:
    """Return the sums of each quantity of a map: of the cells that hold a sample."""
    found = {}
    for field in fields_in(level3):
        count = level3[f"{field}_count"].values.ravel()
        there = np.flatnonzero(count)
        table = np.empty((there.size, len(NAMES)))
        for column, name in enumerate(NAMES):
            variable = level3.variables.get(f"{field}_{name}")
            if variable is None:
                message = (
                    "the map lacks a sum, as it was made by another version: make it "
                    "again from its level 2"
                )
                raise TgoError(message, field=f"{field}_{name}", rule="map.merge")
            table[:, column] = variable.values.ravel()[there]
        cells = level3[GATHERED].values[there] if GATHERED in level3.dims else there
        found[field] = CellSums(cells.astype(np.int64), table)
    return found


def axes_of(level3: xr.Dataset) -> dict[str, Floats]:
    """Return the edges of the cells of each axis, shape (cell, 2)."""
    found = {}
    for axis in MAP_AXES:
        name = f"{axis}_bounds"
        if axis in level3.variables and level3[axis].dims != (axis,):
            message = "the map is a part of one: take its parts after merging"
            raise TgoError(message, field=axis, rule="map.merge")
        if name in level3.variables:
            found[axis] = np.asarray(level3[name].values, dtype=np.float64)
    return found


def dense(level3: xr.Dataset) -> xr.Dataset:
    """Spread a map of the cells that hold something over all of its axes.

    Parameters
    ----------
    level3 : xarray.Dataset
        A map of :func:`tgo_spectra.grid_level2`, dense or not.

    Returns
    -------
    xarray.Dataset
        The same map over its axes; empty cells hold NaN, and zero in sums.

    Examples
    --------
    >>> from tgo_spectra import Grid, grid_level2
    >>> from tgo_spectra.maps import dense
    >>> grid = Grid(latitude=[-90, 0, 90])
    >>> level3 = grid_level2([], grid, gases=["ch4"], form="sparse")
    >>> level3.ch4_mean.dims, dense(level3).ch4_mean.dims
    (('cell',), ('latitude',))
    """
    if GATHERED not in level3.dims:
        return level3
    spread = map_dataset(sums_of(level3), axes_of(level3), level3.attrs, "dense")
    beside = {n: v for n, v in level3.data_vars.items() if v.dims != (GATHERED,)}
    return spread.assign(beside)


def fields_in(level3: xr.Dataset) -> list[str]:
    """Return gases, layers, columns and ratios that a map holds."""
    names = [f"{gas}{ending}" for gas in GASES for ending in FIELDS]
    names += RATIOS
    return [name for name in names if f"{name}_sum_w" in level3]


def _notes(
    field: str, name: str, attrs: Mapping[str, Any], weights: Weights
) -> dict[str, Any]:
    """Attributes of one variable of a map: the catalogue's and the choices made."""
    known = lookup(f"{field}_{name}")
    assert known is not None  # every sum and result of every field is in the catalogue
    notes: dict[str, Any] = {**known.attributes()}
    if name.endswith("limit") or name == "standard_error":
        notes["sigma_level"] = float(attrs["sigma_level"])
    if name == "mean":
        notes["weights"] = weights
        notes["ancillary_variables"] = " ".join(
            f"{field}_{part}" for part in _FIRST if part != "mean"
        )
    return notes
