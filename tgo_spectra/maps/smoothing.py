"""Maps made smooth, and holes filled: never part of a map, always named as what it is.

Both take the cells of a map with their errors, and give variables of other names. What
falls with the number of profiles is propagated; what all cells share (systematic error,
a priori) stays as large as it is.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.maps.dataset import axes_of, dense, fields_in
from tgo_spectra.variables import attributes_of, without_fill

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["krige_map", "smooth_map"]

Floats = npt.NDArray[np.float64]

MOST_CELLS = 3000
"""Most cells with values that are kriged: memory and time go with square and cube."""
_RATIOS = tuple(10.0 ** np.linspace(-1.0, 1.0, 9))
"""Lengths of the second axis over those of the first that are tried."""
_AT_ONCE = 4_000_000
"""Pairs of cells that are weighted at once: 32 MB."""
_FAR = 4.0
"""Lengths beyond which a cell has no weight."""


def smooth_map(
    level3: xr.Dataset,
    field: str,
    *,
    degrees: float | None = None,
    solar_longitude: float | None = None,
    altitude_km: float | None = None,
    scale_heights: float | None = None,
    fill: bool = False,
) -> xr.Dataset:
    """Smooth a map with a Gaussian in distance, season and height.

    Parameters
    ----------
    level3 : Dataset
        A map of :func:`tgo_spectra.grid_level2`.
    field : str
        What is smoothed: ``ch4``, ``ch4_layer``, ``h2o_column_normalised``.
    degrees, solar_longitude, altitude_km, scale_heights : float, optional
        Standard deviations of the Gaussian: along great circles (degree, for latitude
        and longitude together), in season (degree), in height (km), in pressure (its
        logarithm). None: not smoothed along that axis. Mars Years and classes of local
        time are never mixed.
    fill : bool, optional
        Give cells without a sample a value as well, where there are neighbours within
        four lengths. Default no: holes stay.

    Returns
    -------
    xarray.Dataset
        Over the axes of the map: ``<field>_smoothed_mean``,
        ``<field>_smoothed_standard_error`` and ``<field>_smoothed_number``, the number
        of cells of equal weight that went in. The lengths are attributes.

    Raises
    ------
    TgoError
        No such field, no length, or one for an axis that the map has not
        (``map.smooth``).

    Notes
    -----
    A cell counts with one over the square of its random error, times the Gaussian of
    its distance. Random errors of cells are independent; the systematic error and that
    of smoothing are taken as common to all cells, and their weighted mean is added.
    Gradients are smoothed out: the error does not say by how much.

    Examples
    --------
    >>> from tgo_spectra import Grid, grid_level2
    >>> grid = Grid.over("latitude", "solar_longitude")
    >>> level3 = grid_level2([], grid, gases=["ch4"])
    >>> smooth_map(level3, "ch4", degrees=5.0)["ch4_smoothed_mean"].dims
    ('solar_longitude', 'latitude')
    """
    lengths = {
        "degrees": degrees, "solar_longitude": solar_longitude,
        "altitude_km": altitude_km, "scale_heights": scale_heights,
    }  # fmt: skip
    whole, axes = _whole(level3, field)
    _check_lengths(lengths, axes)
    mean, random, common = _parts(whole, field)
    there = np.flatnonzero(np.isfinite(mean) & (random > 0.0))
    places = _places(axes)
    wanted = np.arange(mean.size) if fill else there
    results = np.full((3, mean.size), np.nan)
    rows = max(1, _AT_ONCE // max(there.size, 1))
    for begin in range(0, wanted.size if there.size else 0, rows):
        some = wanted[begin : begin + rows]
        weight = _gaussian(places, some, there, lengths) / random[there] ** 2
        total = weight.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight /= total[:, None]
            results[0, some] = weight @ mean[there]
            variance = weight**2 @ random[there] ** 2
            results[1, some] = np.sqrt(variance + (weight @ common[there]) ** 2)
            results[2, some] = 1.0 / (weight**2).sum(axis=1)
    notes = {key: "none" if v is None else v for key, v in lengths.items()}
    return _dataset(
        whole, field, axes,
        dict(zip(("mean", "standard_error", "number"), results, strict=True)),
        "smoothed", {"smoothing": "gaussian", "filled": str(fill).lower(), **notes},
    )  # fmt: skip


def krige_map(level3: xr.Dataset, field: str) -> xr.Dataset:
    """Fill a map of two axes by a Gaussian process (kriging).

    Parameters
    ----------
    level3 : Dataset
        A map over two axes; one cell of each other is taken before
        (``level3.isel(altitude=3)`` has lost its bounds and is no map: make it with
        that grid).
    field : str
        What is filled: ``ch4``, ``ch4_layer``, ``h2o_column_normalised``.

    Returns
    -------
    xarray.Dataset
        ``<field>_kriged_mean`` and ``<field>_kriged_standard_error`` in **every** cell;
        far from data the mean goes to that of the map and the error to the spread of
        the field. The lengths that were found, and the likelihood, are attributes.

    Raises
    ------
    TgoError
        No such field, not two axes, fewer than three cells with values or more than
        3000 (``map.krige``), or scikit-learn is not installed (``map.sklearn``).

    Notes
    -----
    Squared exponential covariance with a length for each axis (one for latitude and
    longitude, on the sphere), on the circle where an axis wraps; lengths and spread of
    the highest likelihood; each cell with its own random error. The weighted mean of
    the common errors is added. A stationary field is assumed, which an atmosphere is
    not: look at ``<field>_count`` before you believe a cell that is filled.

    References
    ----------
    Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapter 2.

    Examples
    --------
    >>> from tgo_spectra.maps import krige_map
    >>> krige_map(level3, "h2o_column")  # doctest: +SKIP
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel
    except ImportError as error:
        message = "needs scikit-learn: pip install tgo-spectra[kriging]"
        raise TgoError(message, rule="map.sklearn") from error
    whole, axes = _whole(level3, field)
    if len(axes) != 2:
        message = "two axes are kriged"
        raise TgoError(message, field=field, value=list(axes), rule="map.krige")
    mean, random, common = _parts(whole, field)
    there = np.flatnonzero(np.isfinite(mean) & (random > 0.0))
    if not 3 <= there.size <= MOST_CELLS:
        message = f"cells with values must be from 3 to {MOST_CELLS}"
        raise TgoError(message, field=field, value=int(there.size), rule="map.krige")
    weight = random[there] ** -2.0
    weight /= weight.sum()
    middle = float(weight @ mean[there])
    scale = float(np.std(mean[there])) or float(random[there].mean())
    first, *others = _coordinates(axes)
    best = None
    for ratio in _RATIOS if others else (1.0,):
        points = np.concatenate([first, *(one / ratio for one in others)], axis=1)
        process = GaussianProcessRegressor(
            kernel=ConstantKernel(1.0, (1e-3, 1e3)) * RBF(1.0, (1e-2, 1e2)),
            alpha=(random[there] / scale) ** 2,
        )
        with warnings.catch_warnings():
            # lengths at a bound say that the map has no structure; they are given
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(points[there], (mean[there] - middle) / scale)
        likelihood = process.log_marginal_likelihood_value_
        if best is None or likelihood > best[0]:
            best = likelihood, process, points, ratio
    assert best is not None  # there is always a ratio
    likelihood, process, points, ratio = best
    found, spread = process.predict(points, return_std=True)
    # the mean of the map is itself known by its cells only
    of_all = weight @ common[there]
    length = float(process.kernel_.k2.length_scale)
    attrs = {
        "smoothing": "gaussian process",
        "kriging_lengths": _told(axes, length, ratio),
        "kriging_spread": float(np.sqrt(process.kernel_.k1.constant_value) * scale),
        "kriging_log_likelihood": float(likelihood),
    }
    results = {
        "mean": middle + scale * found,
        "standard_error": np.hypot(scale * spread, of_all),
    }
    return _dataset(whole, field, axes, results, "kriged", attrs)


def _whole(level3: xr.Dataset, field: str) -> tuple[xr.Dataset, dict[str, Floats]]:
    """Map over all of its axes, and the middles of the cells of each."""
    if field not in fields_in(level3):
        message = f"no such field; the map has {', '.join(fields_in(level3)) or 'none'}"
        raise TgoError(message, field=field, rule="map.smooth")
    whole = dense(level3)
    return whole, {axis: cells.mean(axis=1) for axis, cells in axes_of(whole).items()}


def _check_lengths(
    lengths: Mapping[str, float | None], axes: Mapping[str, Floats]
) -> None:
    if all(length is None for length in lengths.values()):
        message = f"say a length, one of {', '.join(lengths)}"
        raise TgoError(message, rule="map.smooth")
    for name, length in lengths.items():
        if length is None:
            continue
        if not length > 0.0:
            message = "a length is positive"
            raise TgoError(message, field=name, value=length, rule="map.smooth")
        if not set(_AXES[name]) & set(axes):
            message = f"the map has no axis of this length: {', '.join(_AXES[name])}"
            raise TgoError(message, field=name, value=list(axes), rule="map.smooth")


_AXES = {
    "degrees": ("latitude", "longitude"),
    "solar_longitude": ("solar_longitude",),
    "altitude_km": ("altitude",),
    "scale_heights": ("pressure",),
}


def _parts(whole: xr.Dataset, field: str) -> tuple[Floats, Floats, Floats]:
    """Mean, random error and common error of each cell, flat."""
    mean, error, systematic, smoothing = (
        whole[f"{field}_{name}"].values.ravel()
        for name in ("mean", "standard_error", "systematic_error", "smoothing_error")
    )
    common = np.hypot(systematic, smoothing)
    with np.errstate(invalid="ignore"):
        return mean, np.sqrt(np.maximum(error**2 - common**2, 0.0)), common


def _places(axes: Mapping[str, Floats]) -> dict[str, Floats]:
    """Middle of each cell along each axis, flat."""
    grids = np.meshgrid(*axes.values(), indexing="ij")
    return {axis: one.ravel() for axis, one in zip(axes, grids, strict=True)}


def _gaussian(
    places: Mapping[str, Floats],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    lengths: Mapping[str, float | None],
) -> Floats:
    """Weights by distance, (row, column)."""
    square = np.zeros((rows.size, columns.size))
    for name, of_name in _AXES.items():
        known = {axis: places[axis] for axis in of_name if axis in places}
        length = lengths[name]
        if known and length is not None:
            square += (_apart(known, rows, columns) / length) ** 2
        for axis in known if length is None else ():
            _only_same(square, places[axis], rows, columns)
    for axis in ("mars_year", "local_time_class"):
        if axis in places:
            _only_same(square, places[axis], rows, columns)
    return np.where(square <= _FAR**2, np.exp(-0.5 * square), 0.0)


def _only_same(
    square: Floats,
    place: Floats,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> None:
    square[place[rows, None] != place[columns]] = np.inf


def _apart(
    known: Mapping[str, Floats],
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
) -> Floats:
    """Distance in degrees, km or scale heights, (row, column)."""
    if set(known) == {"latitude", "longitude"}:
        x = _on_sphere(known["latitude"], known["longitude"])
        chord = np.linalg.norm(x[rows, None] - x[columns], axis=-1)
        return np.asarray(np.rad2deg(2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0))))
    [(axis, place)] = known.items()
    if axis == "pressure":
        place = np.log(place)
    apart = np.abs(place[rows, None] - place[columns])
    if axis in {"solar_longitude", "longitude"}:
        apart = np.minimum(apart % 360.0, -apart % 360.0)
    return np.asarray(apart)


def _on_sphere(latitude: Floats, longitude: Floats) -> Floats:
    """Give unit vectors, (cell, 3)."""
    y, x = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)


def _coordinates(axes: Mapping[str, Floats]) -> list[Floats]:
    """Coordinates in which cells that are near are near, (cell, coordinate) by axis."""
    places = _places(axes)
    if set(axes) == {"latitude", "longitude"}:
        return [_on_sphere(places["latitude"], places["longitude"])]
    found = []
    for axis, place in places.items():
        if axis in _CIRCLES:
            angle = np.deg2rad(place)
            found.append(np.stack([np.cos(angle), np.sin(angle)], axis=-1))
        else:
            found.append(np.atleast_2d(_linear(axis, place) / _unit(axis, place)).T)
    return found


_CIRCLES = ("solar_longitude", "longitude")


def _linear(axis: str, place: Floats) -> Floats:
    return np.log(place) if axis == "pressure" else place


def _unit(axis: str, place: Floats) -> float:
    """Half of the range of an axis, as long as the radius of a circle."""
    return float(np.ptp(_linear(axis, place))) / 2.0 or 1.0


def _told(axes: Mapping[str, Floats], length: float, ratio: float) -> str:
    """Lengths in the units of the axes."""
    if set(axes) == {"latitude", "longitude"}:
        return f"degrees {np.rad2deg(length):.3g}"
    parts = []
    for number, (axis, place) in enumerate(axes.items()):
        own = length * (ratio if number else 1.0)
        size = np.rad2deg(own) if axis in _CIRCLES else own * _unit(axis, place)
        parts.append(f"{axis} {size:.3g}")
    return ", ".join(parts)


def _dataset(
    whole: xr.Dataset,
    field: str,
    axes: Mapping[str, Floats],
    results: Mapping[str, Floats],
    how: str,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    shape = tuple(map(len, axes.values()))
    coords = {n: whole[n].variable for axis in axes for n in (axis, f"{axis}_bounds")}
    arrays = {}
    for name, values in results.items():
        full = f"{field}_{how}_{name}"
        notes = attributes_of(full, values.dtype)
        arrays[full] = (tuple(axes), values.reshape(shape), notes)
    return without_fill(xr.Dataset(arrays, coords, {**whole.attrs, **attrs}))
