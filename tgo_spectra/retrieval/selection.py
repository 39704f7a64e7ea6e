"""What a user may take out of level 1, and what the fits cannot honour.

Spectra may be left out, and stand in any order. Pixels are known by their number along
the detector, corners of the field of view by their place: leaving some out would move
the others unseen, so that is refused, as are spectra that stand there twice or are of
several products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import instruments
from tgo_spectra.errors import RetrievalError

if TYPE_CHECKING:
    import xarray as xr

    from tgo_spectra.retrieval.needs import Needs

__all__ = ["selected"]

_AXES = ("wavenumber", "wavelength")
_ORDER = ("spectrum", "point", "edge", "pixel")
_EDGES = 2  # start and end of an exposure
_ROUNDED_KM = 1e-3
_MARGIN = np.timedelta64(60, "s")
"""By how much spectra may lie outside the times of their label: an occultation by SO
lasts minutes, and the next is an hour away."""


def selected(level1: xr.Dataset, needs: Needs) -> xr.Dataset:
    """Return the spectra of one product as the fits need them, or refuse them.

    Parameters
    ----------
    level1 : Dataset
    needs : mapping of str to tuple of str
        What the kind of retrieval needs, such as `tgo_spectra.retrieval.needs.OF_SO`.

    Returns
    -------
    Dataset
        Dimensions in the order of the reader; of joined products with spectra of one
        only, what tells this one apart is an attribute again.

    Raises
    ------
    RetrievalError
        ``level1.missing_variable``, ``level1.missing_dimension``,
        ``level1.no_spectra``, ``level1.many_products``, ``level1.pixels``,
        ``level1.pixel_order``, ``level1.edges``, ``level1.points``,
        ``level1.repeated_spectra``.
    """
    level1 = _one_product(level1)
    _check_dimensions(level1, needs)
    _check_pixels(level1)
    _check_corners(level1, needs)
    _check_rows(level1)
    order = [dim for dim in _ORDER if dim in level1.dims]
    turned = any(
        [dim for dim in order if dim in variable.dims]
        != [dim for dim in variable.dims if dim in order]
        for variable in level1.variables.values()
    )
    return level1.transpose(*order, ...) if turned else level1


def _refusal(
    level1: xr.Dataset, text: str, field: str, value: object, rule: str
) -> RetrievalError:
    path = level1.attrs.get("source_file")
    return RetrievalError(
        text, path=path, field=field, value=value, rule=f"level1.{rule}"
    )


def _one_product(level1: xr.Dataset) -> xr.Dataset:
    """Give back its own attributes to what was joined by `open_products`."""
    if "product_index" not in level1.coords or "product" not in level1.dims:
        return level1
    found = np.unique(level1["product_index"].values).tolist()
    if len(found) != 1:
        text = (
            "the spectra are of several products; fit one at a time: "
            "level1.isel(spectrum=level1.product_index == 0)"
        )
        raise _refusal(level1, text, "product_index", found, "many_products")
    own = level1.isel(product=found[0])
    names = [n for n, c in level1.coords.items() if c.dims == ("product",)]
    attrs = {str(name): own[name].item() for name in names}
    return own.drop_vars([*names, "product_index"]).assign_attrs(attrs)


def _check_dimensions(level1: xr.Dataset, needs: Needs) -> None:
    for name, dims in needs.items():
        if name not in level1.variables:
            text = "level-1 Dataset lacks a variable that the fit needs"
            raise _refusal(level1, text, name, None, "missing_variable")
        for dim in dims:
            if dim not in level1[name].dims:
                text = f"the dimension {dim} is missing: lists and slices keep it"
                found = level1[name].dims
                raise _refusal(level1, text, name, found, "missing_dimension")
    if not level1.sizes["spectrum"]:
        text = "no spectrum is left"
        raise _refusal(level1, text, "spectrum", 0, "no_spectra")


def _check_pixels(level1: xr.Dataset) -> None:
    """Refuse pixels that are not those of the detector, each once."""
    channel, found = str(level1.attrs.get("channel", "")).lower(), level1.sizes["pixel"]
    wanted = level1.attrs.get("product_pixels")
    if wanted is None and channel in {"so", "lno"}:
        wanted = instruments.parameter(f"{channel}.pixels").value
    if wanted is not None and found != int(wanted):
        text = (
            f"{found} pixels in place of the {int(wanted)} of the product; pixels go "
            "by their number: leave them out by the window of the setup, or let them "
            "be NaN"
        )
        raise _refusal(level1, text, "pixel", found, "pixels")
    for name in _AXES:
        if name not in level1.variables:
            continue
        axis = np.atleast_2d(level1[name].transpose(..., "pixel").values)
        steps = np.diff(axis.astype(float), axis=1)
        known = np.isfinite(steps)
        up, down = (steps > 0) | ~known, (steps < 0) | ~known
        # frames of ACS may have either direction
        good = up.all(axis=1) | (down.all(axis=1) & (channel == "mir"))
        if not good.all():
            text = "the pixels do not stand in the order of the detector, each once"
            row = int(np.argmin(good))
            place = int(np.argmin(up[row]))
            value = axis[row, place : place + 2].tolist()
            raise _refusal(level1, text, name, value, "pixel_order")


def _check_corners(level1: xr.Dataset, needs: Needs) -> None:
    """Refuse a field of view of which some corners or one end were left out."""
    dims = {dim for needed in needs.values() for dim in needed}
    if "edge" in dims and level1.sizes["edge"] != _EDGES:
        text = "start and end of each exposure are needed"
        raise _refusal(level1, text, "edge", level1.sizes["edge"], "edges")
    if not {"tangent_altitude", "tangent_altitude_areoid"} <= needs.keys():
        return
    # the reader takes the one from the other
    centre = level1["tangent_altitude_areoid"].isel(point=0).mean("edge", skipna=False)
    apart = centre.values - level1["tangent_altitude"].values
    if (np.abs(apart[np.isfinite(apart)]) > _ROUNDED_KM).any():
        text = (
            "tangent_altitude is not that of point 0 of tangent_altitude_areoid: "
            "points or edges were left out or moved, or one was changed alone"
        )
        raise _refusal(level1, text, "tangent_altitude_areoid", None, "points")


def _check_rows(level1: xr.Dataset) -> None:
    """Refuse spectra that stand there twice, and those of another product."""
    if "time" not in level1.variables or level1["time"].dims != ("spectrum",):
        return
    time = level1["time"].values
    known = ~np.isnat(time)
    keys = [time[known].astype("datetime64[ns]").astype(np.int64)]
    for name in ("bin", "order", "tangent_altitude", "latitude", "longitude"):
        if name in level1.coords and level1[name].dims == ("spectrum",):
            values = level1[name].values[known].astype(float)
            keys.append(np.unique(values, return_inverse=True)[1].astype(np.int64))
    _, first, number = np.unique(
        np.stack(keys, axis=1), axis=0, return_index=True, return_counts=True
    )
    if (number > 1).any():
        value = str(time[known][first[np.argmax(number > 1)]])
        text = (
            f"{int((number - 1).sum())} spectra stand there more than once; each would "
            "count as a measurement of its own"
        )
        raise _refusal(level1, text, "time", value, "repeated_spectra")
    ends = [level1.attrs.get(f"{end}_date_time") for end in ("start", "stop")]
    if not known.any() or not all(isinstance(end, str) for end in ends):
        return
    start, stop = (np.datetime64(str(end).rstrip("Z"), "ns") for end in ends)
    outside = (time[known] < start - _MARGIN) | (time[known] > stop + _MARGIN)
    if outside.any():
        text = (
            "spectra lie outside the times of the product's label: they are of several "
            "products, of which only one can be fitted at a time"
        )
        value = str(time[known][np.argmax(outside)])
        raise _refusal(level1, text, "time", value, "many_products")
