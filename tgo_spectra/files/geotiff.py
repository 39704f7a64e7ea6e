"""Maps over longitude and latitude as GeoTIFF, in the coordinates of Mars.

Written by GDAL through rasterio (the extra ``exchange``). The system is IAU_2015:49900;
GeoTIFF has no place for that code, so that the file holds the body's name, its radius
and its prime meridian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import OutputError
from tgo_spectra.files.atomic import atomic_file
from tgo_spectra.files.netcdf import MARS_WKT
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    Floats = npt.NDArray[np.float64]

__all__ = ["write_geotiff"]

_PLANE = ("latitude", "longitude")
_LEAST_DEGREES = 1e-6
"""Steps of an axis that differ by more are not equal."""


def write_geotiff(level3: xr.Dataset, path: str | Path, names: Sequence[str]) -> Path:
    """Write variables of a map over longitude and latitude, a band each.

    Parameters
    ----------
    level3 : Dataset
        A map of :func:`tgo_spectra.grid_level2` over longitude and latitude alone, in
        equal steps; of one with more axes, one cell of each other
        (``level3.isel(solar_longitude=3)``).
    path : path
        File to write; replaced as a whole if it exists.
    names : sequence of str
        Variables, such as ``["ch4_mean", "ch4_standard_error", "ch4_count"]``.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    OutputError
        No such variable, other axes, steps that are not equal (``geotiff.*``), or
        rasterio is not installed (``geotiff.rasterio``).

    Notes
    -----
    Single precision, north up, empty cells NaN. Longitudes stay as the map counts them.
    Names are the descriptions of the bands; units and long names their metadata. Where
    profiles were simulated, tags of the file say how many of how many.

    Examples
    --------
    >>> from tgo_spectra import Grid, grid_level2
    >>> grid = Grid.over("longitude", "latitude")
    >>> level3 = grid_level2([], grid, gases=["ch4"])
    >>> write_geotiff(level3, "ch4.tif", ["ch4_mean"])  # doctest: +SKIP
    """
    try:
        import rasterio
    except ImportError as error:
        message = "needs rasterio: pip install tgo-spectra[exchange]"
        raise OutputError(message, path=path, rule="geotiff.rasterio") from error
    bands = [_band(level3, name, path) for name in names]
    if not bands:
        message = "no variable to write"
        raise OutputError(message, path=path, field="names", rule="geotiff.missing")
    south, y = _first_and_step(level3, "latitude", path)
    west, x = _first_and_step(level3, "longitude", path)
    rows, columns = bands[0].shape
    north = south + y * rows
    options = {
        "driver": "GTiff", "width": columns, "height": rows, "count": len(bands),
        "dtype": "float32", "nodata": np.nan, "compress": "deflate",
        "crs": rasterio.crs.CRS.from_wkt(MARS_WKT),
        "transform": rasterio.Affine(x, 0.0, west, 0.0, -y, north),
    }  # fmt: skip
    with atomic_file(path) as place, rasterio.open(place, "w", **options) as file:
        file.update_tags(body="Mars", crs="IAU_2015:49900")
        if is_simulated(level3):
            of = ("n_simulated", "n_profiles")
            file.update_tags(**{k: level3.attrs[k] for k in of if k in level3.attrs})
        for number, (name, band) in enumerate(zip(names, bands, strict=True), 1):
            file.write(band[::-1].astype(np.float32), number)
            file.set_band_description(number, name)
            notes = level3[name].attrs
            known = ("units", "long_name", "standard_name")
            file.update_tags(number, **{k: notes[k] for k in known if k in notes})
    return expanded(path)


def _band(level3: xr.Dataset, name: str, path: str | Path) -> Floats:
    """Values of a variable, (latitude, longitude)."""
    if name not in level3:
        message = "the map has no such variable"
        raise OutputError(message, path=path, field=name, rule="geotiff.missing")
    found = level3[name].squeeze()
    if set(found.dims) != set(_PLANE):
        message = "a plane has the axes longitude and latitude: take a cell of others"
        raise OutputError(
            message, path=path, field=name, value=found.dims, rule="geotiff.axes"
        )
    return np.asarray(found.transpose(*_PLANE).values, dtype=np.float64)


def _first_and_step(
    level3: xr.Dataset, axis: str, path: str | Path
) -> tuple[float, float]:
    """First edge of an axis and the size of its cells, degree."""
    bounds = np.asarray(level3[f"{axis}_bounds"].values, dtype=np.float64)
    edges = np.append(bounds[:, 0], bounds[-1, 1])
    step = (edges[-1] - edges[0]) / (edges.size - 1)
    even = edges[0] + step * np.arange(edges.size)
    if np.abs(edges - even).max() > _LEAST_DEGREES:
        message = "GeoTIFF has cells of equal size in degrees only"
        raise OutputError(
            message, path=path, field=axis, value=np.diff(edges)[:3].tolist(),
            rule="geotiff.steps",
        )  # fmt: skip
    return float(edges[0]), float(step)
