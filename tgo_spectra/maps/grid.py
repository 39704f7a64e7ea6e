"""The cells of a map: edges, which cell a sample falls into, coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tgo_spectra.errors import TgoError
from tgo_spectra.variables import MAP_AXES, lookup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Grid", "coordinate", "joined_cells", "possible"]

Floats = npt.NDArray[np.float64]

# axes that wrap: degrees, hours of a day
_PERIODS = {"solar_longitude": 360.0, "longitude": 360.0, "local_time_class": 24.0}
# what a place can be, both ends included, in the units of the axes; anything else is a
# fill value, a wrong unit or a fault
_POSSIBLE = {
    "mars_year": (-183.0, 200.0),  # from the telescope on (Piqueux et al. 2015)
    "solar_longitude": (-180.0, 360.0),
    "local_time_class": (0.0, 24.0),
    "local_true_solar_time": (0.0, 24.0),
    "altitude": (-20.0, 1000.0),  # the lowest ground is at -8 km
    "pressure": (0.0, 5000.0),  # 1300 Pa on that ground
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 360.0),
}
_AXIS_LETTERS = {"altitude": "Z", "pressure": "Z", "latitude": "Y", "longitude": "X"}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Cells of a map, given by their edges; a missing axis is summed over.

    Cells are half open: the lower edge belongs to the cell, the upper one to the
    next; latitude 90 belongs to the last cell. Longitude and solar longitude wrap:
    values are brought into the 360 degrees that begin at the first edge.

    Parameters
    ----------
    latitude : sequence of float, optional
        Edges, degree, planetocentric, -90 to 90.
    solar_longitude : sequence of float, optional
        Edges, degree, not more than 360 in all.
    altitude : sequence of float, optional
        Edges, km above the areoid.
    longitude : sequence of float, optional
        Edges, degree east, not more than 360 in all.
    mars_year : sequence of int, optional
        Edges: ``[35, 36, 37]`` makes the two cells MY 35 and MY 36.
    pressure : sequence of float, optional
        Edges, Pa, ascending or descending; instead of `altitude`.
    local_time_class : bool, optional
        Keep morning (before 12 h local true solar time) and evening apart.

    Raises
    ------
    TgoError
        Edges not finite, not ascending, out of range, or both vertical axes
        (``map.grid``).

    Examples
    --------
    >>> grid = Grid(latitude=[-90, -30, 30, 90], solar_longitude=range(0, 361, 90))
    >>> grid.dims, grid.shape
    (('solar_longitude', 'latitude'), (4, 3))
    """

    latitude: Sequence[float] | Floats | None = None
    solar_longitude: Sequence[float] | Floats | None = None
    altitude: Sequence[float] | Floats | None = None
    longitude: Sequence[float] | Floats | None = None
    mars_year: Sequence[float] | Floats | None = None
    pressure: Sequence[float] | Floats | None = None
    local_time_class: bool = False

    def __post_init__(self) -> None:
        for axis in MAP_AXES:
            edges = getattr(self, axis)
            if axis == "local_time_class" or edges is None:
                continue
            object.__setattr__(self, axis, _checked_edges(axis, edges))
        if self.altitude is not None and self.pressure is not None:
            message = "a grid has altitude or pressure, not both"
            raise TgoError(message, field="pressure", rule="map.grid")

    @classmethod
    def over(
        cls,
        *axes: str,
        equal_area: bool = False,
        seasons: bool = False,
        longitude_to_360: bool = False,
        mars_years: tuple[int, int] = (34, 40),
    ) -> Grid:
        """Make a grid of usual steps over the axes that are named.

        Parameters
        ----------
        *axes : str
            Such as ``"solar_longitude", "latitude"``: 5 degrees of solar longitude,
            latitude and longitude; 2.5 km of altitude up to 100 km; pressure from 0.01
            to 1000 Pa, four cells a decade; Mars Years; ``local_time_class``.
        equal_area : bool, optional
            Latitudes of equal area, 36 of them, instead of equal steps. Default no.
        seasons : bool, optional
            Four seasons of 90 degrees of solar longitude instead of 5 degrees.
        longitude_to_360 : bool, optional
            Longitudes from 0 to 360 instead of -180 to 180. Default no.
        mars_years : tuple of int, optional
            First Mars Year and the one after the last. Default 34 and 40.

        Returns
        -------
        Grid
            The grid.

        Raises
        ------
        TgoError
            Unknown axis (``map.grid``).

        Examples
        --------
        >>> Grid.over("solar_longitude", "latitude").shape
        (72, 36)
        >>> Grid.over("altitude", "latitude", "solar_longitude", seasons=True).shape
        (4, 40, 36)
        """
        west = 0.0 if longitude_to_360 else -180.0
        latitude = np.linspace(-90.0, 90.0, 37)
        if equal_area:
            latitude = np.rad2deg(np.arcsin(np.linspace(-1.0, 1.0, 37)))
        edges: dict[str, Any] = {
            "mars_year": range(mars_years[0], mars_years[1] + 1),
            "solar_longitude": range(0, 361, 90 if seasons else 5),
            "local_time_class": True,
            "altitude": np.linspace(0.0, 100.0, 41),
            "pressure": np.logspace(-2.0, 3.0, 21),
            "latitude": latitude,
            "longitude": np.linspace(west, west + 360.0, 73),
        }
        for axis in axes:
            if axis not in edges:
                message = f"unknown axis; the axes are {', '.join(MAP_AXES)}"
                raise TgoError(message, value=axis, rule="map.grid")
        return cls(**{axis: edges[axis] for axis in axes})

    @classmethod
    def from_spec(cls, spec: str) -> Grid:
        """Make a grid from text such as ``latitude=-90:90:5,altitude=0:100:2.5``.

        Parameters
        ----------
        spec : str
            ``axis=first:last:step`` joined by commas; ``local_time_class`` alone
            keeps morning and evening apart.

        Returns
        -------
        Grid
            The grid.

        Raises
        ------
        TgoError
            Unknown axis or wrong syntax (``map.grid``).

        Examples
        --------
        >>> Grid.from_spec("latitude=-90:90:30,solar_longitude=0:360:10").shape
        (36, 6)
        """
        edges: dict[str, Any] = {}
        for part in spec.split(","):
            axis, _, text = (piece.strip() for piece in part.partition("="))
            if axis == "local_time_class" and not text:
                edges[axis] = True
                continue
            if axis not in MAP_AXES:
                message = f"unknown axis; the axes are {', '.join(MAP_AXES)}"
                raise TgoError(message, value=axis, rule="map.grid")
            try:
                first, last, step = (float(number) for number in text.split(":"))
                cells = round((last - first) / step)
                whole = cells >= 1 and np.isclose(first + cells * step, last)
            except (ValueError, ZeroDivisionError, OverflowError):
                whole = False
            if not whole:
                message = "an axis is first:last:step, with a whole number of steps"
                raise TgoError(message, field=axis, value=text, rule="map.grid")
            edges[axis] = np.linspace(first, last, cells + 1)
        return cls(**edges)

    @property
    def axes(self) -> dict[str, Floats]:
        """Edges of the axes that this grid has, in the order of its dimensions."""
        found = {}
        for axis in MAP_AXES:
            if axis == "local_time_class":
                if self.local_time_class:
                    found[axis] = np.array([0.0, 12.0, 24.0])
            elif getattr(self, axis) is not None:
                found[axis] = np.asarray(getattr(self, axis), dtype=np.float64)
        return found

    @property
    def cells(self) -> dict[str, Floats]:
        """Lower and upper edge of each cell of each axis, shape (cell, 2)."""
        return {
            axis: np.stack([edges[:-1], edges[1:]], axis=1)
            for axis, edges in self.axes.items()
        }

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return tuple(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along each dimension."""
        return tuple(edges.size - 1 for edges in self.axes.values())

    @property
    def n_cells(self) -> int:
        """Number of cells in all."""
        return math.prod(self.shape)

    def impossible(
        self, values: Mapping[str, Floats]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Tell which samples have no possible place: NaN, fill values, latitude 95.

        Parameters
        ----------
        values : mapping of str to array, shape (sample,)
            As for `cell`.

        Returns
        -------
        dict of str to array of bool, shape (sample,)
            By axis.

        Examples
        --------
        >>> import numpy as np
        >>> Grid(latitude=[0, 10]).impossible({"latitude": np.array([50.0, 95.0])})
        {'latitude': array([False,  True])}
        """
        return {axis: ~_is_possible(axis, values[axis]) for axis in self.axes}

    def cell(self, values: Mapping[str, Floats]) -> npt.NDArray[np.int64]:
        """Flat cell number of each sample, -1 outside the grid or where impossible.

        Parameters
        ----------
        values : mapping of str to array, shape (sample,)
            One array for each dimension of the grid, in the units of the edges.

        Returns
        -------
        array of int, shape (sample,)
            Index into the flattened grid.

        Examples
        --------
        >>> import numpy as np
        >>> Grid(longitude=[-180, 0, 180]).cell({"longitude": np.array([190.0, 10.0])})
        array([0, 1])
        """
        flat: npt.NDArray[np.int64] | None = None
        outside: npt.NDArray[np.bool_] | None = None
        for axis, edges in self.axes.items():
            index = _cell_on_axis(axis, edges, np.asarray(values[axis], np.float64))
            bad = index < 0
            outside = bad if outside is None else outside | bad
            flat = index if flat is None else flat * (edges.size - 1) + index
        if flat is None or outside is None:
            size = len(next(iter(values.values()))) if values else 0
            return np.zeros(size, dtype=np.int64)
        return np.where(outside, -1, flat)


def coordinate(axis: str, pairs: Floats) -> tuple[Any, Any]:
    """Give coordinate and bounds of an axis by its cells' edges, shape (cell, 2)."""
    known = lookup(axis)
    assert known is not None  # every axis of a map is in the catalogue
    attrs: dict[str, Any] = {**known.attributes(), "bounds": f"{axis}_bounds"}
    if axis in _AXIS_LETTERS:
        attrs["axis"] = _AXIS_LETTERS[axis]
    if axis in {"altitude", "pressure"}:
        attrs["positive"] = "up" if axis == "altitude" else "down"
    centres: npt.NDArray[Any] = pairs.mean(axis=1)
    bounds: npt.NDArray[Any] = pairs
    if axis == "mars_year" and np.all(np.diff(pairs, axis=1) == 1):
        centres = pairs[:, 0].astype(np.int32)
        bounds = pairs.astype(np.int32)
    elif axis == "local_time_class":
        centres = np.arange(2, dtype=np.int32)
        attrs["flag_values"] = centres
        attrs["flag_meanings"] = "morning evening"
    return (axis, centres, attrs), ((axis, "bound"), bounds)


def joined_cells(
    axis: str, left: Floats, right: Floats
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Join the cells of an axis of two maps, ascending; cells shape (cell, 2).

    Cells are the same if their edges agree to 1e-9 of the larger of one and the span of
    the axis, on axes that wrap after whole turns too. Returns the cells of both, and
    which of them those of `left` and of `right` are. TgoError ``map.merge``: two cells
    overlap in part.

    >>> years = np.array([[34.0, 35.0]]), np.array([[33.0, 34.0]])
    >>> joined_cells("mars_year", *years)
    (array([[33., 34.],
           [34., 35.]]), array([1]), array([0]))
    """
    near = 1e-9 * max(1.0, float(np.ptp(left)), float(np.ptp(right)))
    period = _PERIODS.get(axis)
    if period is not None:
        turns = np.floor((right[:, :1] - left[0, 0] + near) / period)
        right = right - turns * period
    # the last cell of the left that begins before one of the right, and the next
    at = np.searchsorted(left[:, 0], right[:, 0] + near, side="right") - 1
    same = (at >= 0) & (np.abs(left[at] - right).max(axis=1) <= near)
    end = left[-1, 1] + 1.0 if period is None else left[0, 0] + period
    starts = np.append(left[:, 0], max(end, right.max() if period is None else end))
    apart = (at < 0) | (right[:, 0] >= left[at, 1] - near)
    apart &= right[:, 1] <= starts[at + 1] + near
    if not (same | apart).all():
        wrong = int(np.argmin(same | apart))
        message = "a cell overlaps others in part"
        value = right[wrong].tolist()
        raise TgoError(message, field=axis, value=value, rule="map.merge")
    cells = np.concatenate([left, right[~same]])
    order = np.argsort(cells[:, 0], kind="stable")
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    found = np.empty(len(right), dtype=np.int64)
    found[same] = place[at[same]]
    found[~same] = place[len(left) :]
    return cells[order], place[: len(left)], found


def _checked_edges(axis: str, edges: Sequence[float] | Floats) -> tuple[float, ...]:
    try:
        array = np.asarray(list(edges), dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = "edges must be numbers"
        raise TgoError(message, field=axis, value=edges, rule="map.grid") from error
    if axis == "pressure" and array.ndim == 1 and array.size and array[0] > array[-1]:
        array = array[::-1]
    low, high = {"latitude": (-90.0, 90.0), "pressure": (0.0, np.inf)}.get(
        axis, (-np.inf, np.inf)
    )
    message = ""
    if array.ndim != 1 or array.size < 2:
        message = "an axis needs two edges or more"
    elif not np.isfinite(array).all() or not (np.diff(array) > 0).all():
        message = "edges must be finite and ascending"
    elif array[0] < low or array[-1] > high:
        message = f"edges must lie within {low:g} to {high:g}"
    elif axis in _PERIODS and array[-1] - array[0] > 360.0:
        message = "edges may span 360 degrees at most"
    elif axis == "mars_year" and (array != np.round(array)).any():
        message = "edges must be whole Mars Years"
    if message:
        value = array.tolist()
        raise TgoError(message, field=axis, value=value, rule="map.grid")
    return tuple(float(edge) for edge in array)


def possible(axis: str, values: Floats) -> Floats:
    """Return places with NaN for those that cannot be, shape (sample,)."""
    return np.where(_is_possible(axis, values), values, np.nan)


def _is_possible(axis: str, values: Floats) -> npt.NDArray[np.bool_]:
    low, high = _POSSIBLE[axis]
    numbers = np.asarray(values, dtype=np.float64)
    return (numbers >= low) & (numbers <= high)


def _cell_on_axis(axis: str, edges: Floats, values: Floats) -> npt.NDArray[np.int64]:
    values = possible(axis, values)
    period = _PERIODS.get(axis)
    if period is not None:
        # a tiny negative value would be brought to first + 360 itself
        values = edges[0] + np.mod(values - edges[0], period)
        values = np.where(values >= edges[0] + period, edges[0], values)
    index = np.searchsorted(edges, values, side="right").astype(np.int64) - 1
    if axis == "latitude":
        index = np.where(values == edges[-1], edges.size - 2, index)
    # what is not a number comes after all edges
    inside = (index >= 0) & (index < edges.size - 1)
    return np.where(inside, index, -1)
