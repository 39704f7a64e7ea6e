"""Maps of different observations, merged by adding their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import BETWEEN, KEY, merged_inputs
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.files.observations import place_of
from tgo_spectra.maps.dataset import axes_of, fields_in, map_dataset, sums_of
from tgo_spectra.maps.grid import joined_cells
from tgo_spectra.maps.maps import NUMBERS, OF_REASON, inherited_names, input_keys
from tgo_spectra.maps.sums import CellSums, joined
from tgo_spectra.variables import GATHERED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tgo_spectra.maps.dataset import Form
    from tgo_spectra.maps.maps import SummedMap

__all__ = ["merge_maps", "merge_sums"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

# choices that two maps must share to be merged
_CHOICES = (
    "weights",
    "sigma_level",
    "minimum_response",
    "vertical_correlation_km",
    "quality",
    "maximum_chi_square",
    "without_kernel",
    "proportional_errors",
)


def merge_maps(maps: Iterable[xr.Dataset | str | Path]) -> xr.Dataset:
    """Merge maps of different profiles by adding their sums.

    The maps have the same axes. Their cells are the same, to 1e-9 of the edges, or do
    not overlap: maps of single years or seasons give one of all. Longitudes from 0 to
    360 and from -180 to 180 are the same cells; those of the first map stay as they
    are.

    Parameters
    ----------
    maps : iterable of Dataset or path
        Maps of :func:`grid_level2` with the same choices, of different observations.

    Returns
    -------
    xarray.Dataset
        As :func:`grid_level2` would give from all profiles, to rounding; sparse if one
        of them is.

    Raises
    ------
    TgoError
        No map, different axes, cells that overlap in part, or different choices
        (``map.merge``); an observation is in two of the maps (``map.repeated``).

    Examples
    --------
    >>> from tgo_spectra import Grid, grid_level2, merge_maps
    >>> years = [
    ...     grid_level2([], Grid(mars_year=[year, year + 1]), gases=["co"])
    ...     for year in (34, 35)
    ... ]
    >>> merge_maps(years)["mars_year"].values
    array([34, 35], dtype=int32)
    """
    return _merged(_opened(maps)).dataset()


def _opened(maps: Iterable[xr.Dataset | str | Path]) -> Iterator[_Map]:
    for number, item in enumerate(maps, 1):
        ds = item if isinstance(item, xr.Dataset) else open_verified(item)
        if ds is not item and not fields_in(ds):  # parts of a map may hold nothing
            message = "no map: it holds no sums of a gas"
            raise TgoError(message, path=place_of(ds, str(item)), rule="map.merge")
        place = place_of(ds, f"map {number}")
        try:
            one = _Map.of(ds, place)
        except TgoError as error:
            error.path = error.path or place
            raise
        yield one


def merge_sums(parts: Iterable[SummedMap], form: Form) -> xr.Dataset:
    """Merge sums of different observations into one map, as `merge_maps` does."""
    maps = (
        _Map(
            one.fields, one.axes,
            xr.Dataset({KEY: input_keys(one.keys)}, attrs=one.attrs), f"part {number}",
            sparse=form == "sparse",
        )
        for number, one in enumerate(parts, 1)
    )  # fmt: skip
    return _merged(maps).dataset()


def _merged(maps: Iterable[_Map]) -> _Map:
    """Merge maps of about one size: each sum is added few times, few are held."""
    waiting: list[tuple[int, _Map]] = []
    for item in maps:
        one, size = item, 1
        while waiting and waiting[-1][0] == size:
            one, size = waiting.pop()[1].with_(one), 2 * size
        waiting.append((size, one))
    if not waiting:
        message = "no map to merge"
        raise TgoError(message, rule="map.merge")
    merged = waiting.pop()[1]
    while waiting:
        merged = waiting.pop()[1].with_(merged)
    return merged


class _Map:
    """A map while others are added to it."""

    def __init__(
        self,
        sums: dict[str, CellSums],
        axes: dict[str, Floats],
        about: xr.Dataset,
        place: str,
        *,
        sparse: bool,
    ) -> None:
        self.sums, self.axes, self.sparse = sums, axes, sparse
        self.about, self.place = about, place  # attributes and keys of inputs

    @classmethod
    def of(cls, ds: xr.Dataset, place: str) -> _Map:
        keys = {KEY: ds[KEY].variable} if KEY in ds.variables else {}
        about = xr.Dataset(keys, attrs=ds.attrs)
        return cls(sums_of(ds), axes_of(ds), about, place, sparse=GATHERED in ds.dims)

    def with_(self, other: _Map) -> _Map:
        if set(self.axes) != set(other.axes):
            message = "the maps have different axes"
            differ = " ".join(sorted(set(self.axes) ^ set(other.axes)))
            raise TgoError(message, field=differ, rule="map.merge")
        left, right = self.about.attrs, other.about.attrs
        for key in _CHOICES:
            if left.get(key) != right.get(key):
                message = "the maps were made with different choices"
                both = f"{left.get(key)} and {right.get(key)}"
                raise TgoError(message, field=key, value=both, rule="map.merge")
        places = (self.place, other.place)
        keys, inputs = merged_inputs(self.about, other.about, places)
        axes = {}
        own: dict[str, Places] = {}
        theirs: dict[str, Places] = {}
        for axis, cells in self.axes.items():
            axes[axis], own[axis], theirs[axis] = joined_cells(
                axis, cells, other.axes[axis]
            )
        parts: dict[str, list[CellSums]] = {}
        for one, places_of in ((self, own), (other, theirs)):
            for field, sums in one.sums.items():
                parts.setdefault(field, []).append(_moved(sums, places_of, axes))
        about = xr.Dataset(
            {KEY: input_keys(keys)}, attrs=_attributes(left, right) | inputs
        )
        return _Map(
            {field: joined(several) for field, several in parts.items()},
            axes, about, ", ".join(places), sparse=self.sparse or other.sparse,
        )  # fmt: skip

    def dataset(self) -> xr.Dataset:
        form: Form = "sparse" if self.sparse else "dense"
        made = map_dataset(self.sums, self.axes, self.about.attrs, form)
        return made.assign(self.about.data_vars)


def _moved(
    sums: CellSums, places: Mapping[str, Places], axes: Mapping[str, Floats]
) -> CellSums:
    """Give cells the numbers that they have in a larger grid."""
    if not axes:
        return sums
    index = np.unravel_index(sums.cell, tuple(map(len, places.values())))
    moved = [place[one] for place, one in zip(places.values(), index, strict=True)]
    whole = tuple(map(len, axes.values()))
    return CellSums(np.ravel_multi_index(moved, whole).astype(np.int64), sums.table)


def _attributes(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> dict[str, Any]:
    """Join attributes of two maps: numbers add up, texts stand beside each other."""
    attrs = dict(left)
    of_reasons = [k for k in (*left, *right) if k.startswith(OF_REASON)]
    for key in (*NUMBERS, *of_reasons):
        attrs[key] = int(left.get(key, 0)) + int(right.get(key, 0))
    for key in inherited_names({**left, **right}):
        texts = [str(one.get(key, "")).split(BETWEEN) for one in (left, right)]
        attrs[key] = BETWEEN.join(sorted({t for text in texts for t in text if t}))
    return attrs
