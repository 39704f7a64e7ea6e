"""From calibrated ACS detector frames to spectra: one row for each frame and stripe.

Experimental [I], as the products themselves: the stripe rows, the meaning of the two
halves of ``Data`` and the columns of the geometry tables are inferred.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from tgo_spectra.errors import ProductError, TgoError
from tgo_spectra.readers.acs import find_geometry
from tgo_spectra.readers.finding import find_label
from tgo_spectra.readers.open import open_product_tree, read_label
from tgo_spectra.variables import annotate

__all__ = ["acs_spectra", "geometry_files", "nearest_records", "open_spectra"]

_KM_PER_UNIT = {"km": 1.0, "kilometer": 1.0, "m": 1e-3, "meter": 1e-3}


def acs_spectra(
    product: xr.DataTree | xr.Dataset,
    half_width: int,
    *,
    center_row: int | None = None,
    geometry: Literal["time", "record", "none"] = "time",
    geometry_table: str = "Geometry-1",
    time_tolerance: float | None = None,
) -> xr.Dataset:
    """Average detector rows of calibrated ACS frames to spectra.

    Rows ``c - half_width`` to ``c + half_width`` are averaged with equal weights; ``c``
    is the stripe row of the product (MIR) or `center_row` (NIR). The error is that of
    the mean of independent rows; streaks and other errors that rows share are not in
    it. The spectral axis is that of row ``c``. A pixel missing in one row is missing
    in the mean.

    Parameters
    ----------
    product : DataTree or Dataset
        Calibrated NIR or MIR product, from `open_product_tree` or, without geometry,
        from `open_product`.
    half_width : int
        Rows to each side of the middle one, 0 or more. Which rows of a stripe are
        usable is not stated by the product, so there is no default.
    center_row : int, optional
        NIR: the middle row, from 0. Not for MIR, whose product names the rows.
    geometry : {"time", "record", "none"}
        How frames find their tangent altitude. ``"time"``: the nearest record of the
        geometry table in time. ``"record"``: frame k belongs to record k, which is
        your claim; the numbers must be equal. ``"none"``: leave altitudes out.
    geometry_table : str
        Node with the geometry [I].
    time_tolerance : float, optional
        Seconds that frame and record may differ; default half the median step of the
        geometry table. Frames without a record get NaN, and are counted in the
        attribute ``frames_without_geometry``.

    Returns
    -------
    Dataset
        Level 1: ``transmittance``, ``transmittance_error`` (spectrum, pixel),
        ``wavenumber`` (spectrum, pixel; cm-1), ``order``, ``frame``,
        ``center_row`` (spectrum) and, with geometry, ``tangent_altitude``
        (spectrum; km; last column of the table unless one is named so [I]).
        MIR: the stripes of a frame follow one another. In memory. Attribute
        ``wavenumber_spread``: largest difference, in cm-1, between an averaged row and
        the middle one, where each row has its own axis.

    Raises
    ------
    ProductError
        ``product.not_calibrated_frames``, ``product.half_width``,
        ``product.center_row``, ``product.order_slots``,
        ``product.geometry_not_joined`` naming both numbers.

    Examples
    --------
    >>> acs_spectra(xr.Dataset(), half_width=2)
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: no calibrated ACS frames: ...
    """
    ds, attrs = _frames(product)
    mir = "stripe_row" in ds.coords
    half_width = _checked_half_width(half_width, ds.sizes["row"])
    n_frames = ds.sizes["frame"]
    centers = _centers(ds, center_row, mir=mir)
    for row in centers:
        if row - half_width < 0 or row + half_width >= ds.sizes["row"]:
            msg = (
                f"rows {row - half_width} to {row + half_width} leave the "
                f"{ds.sizes['row']} rows of the detector window"
            )
            raise ProductError(msg, value=half_width, rule="product.half_width")
    axis = _axis_rows(ds, centers, mir=mir)
    signal, error = _averaged(ds, centers, half_width)
    name = "wavenumber" if "wavenumber" in ds.coords else "wavelength"
    repeat = len(centers)
    coords: dict[str, Any] = {
        name: (("spectrum", "pixel"), axis),
        "order": ("spectrum", _orders(ds, n_frames, mir=mir)),
        "frame": ("spectrum", np.repeat(np.arange(n_frames), repeat)),
        "center_row": ("spectrum", np.tile(centers, n_frames)),
    }
    attrs = attrs | {
        "row_half_width": half_width,
        "geometry_join": geometry,
        "product_pixels": ds.sizes["pixel"],
    }
    if mir:
        rows = ds[name].transpose("row", "pixel").values
        attrs[f"{name}_spread"] = _spread(rows, centers, half_width)
    if geometry != "none":
        times, altitude, missing = _geometry(
            product, n_frames, geometry, geometry_table, time_tolerance
        )
        coords["tangent_altitude"] = ("spectrum", np.repeat(altitude, repeat))
        attrs["frames_without_geometry"] = missing
        attrs["geometry_table"] = geometry_table
        if times is not None:
            coords["time"] = ("spectrum", np.repeat(times, repeat))
    result = xr.Dataset(
        {
            "transmittance": (("spectrum", "pixel"), signal),
            "transmittance_error": (("spectrum", "pixel"), error),
        },
        coords,
        attrs,
    )
    result = annotate(result)
    result["transmittance_error"].attrs["comment"] = (
        "of the mean of independent rows; nothing that rows share is in it"
    )
    return result


def open_spectra(
    path: str | Path,
    *,
    half_width: int,
    geometry: Literal["time", "record"] = "time",
    geometry_table: str = "Geometry-1",
    time_tolerance_s: float | None = None,
) -> xr.Dataset:
    """Open a calibrated MIR product with its geometry, and make spectra of its frames.

    Parameters
    ----------
    path : path
        Label; that of the geometry product is looked for as `open_product_tree` does.
    half_width, geometry, geometry_table, time_tolerance_s
        As in `acs_spectra`, the last in seconds.

    Returns
    -------
    Dataset
        Level 1, in memory.

    Raises
    ------
    ProductError
        As `open_product_tree` and `acs_spectra`; ``product.geometry_not_joined`` also
        for a zip, beside which no geometry is looked for.

    Examples
    --------
    >>> open_spectra("acs_cal_sc_mir.xml", half_width=2)  # doctest: +SKIP
    """
    if ".zip" in Path(path).name.lower():
        msg = "unpack the zip: the geometry product is looked for beside the label"
        raise ProductError(msg, path=path, rule="product.geometry_not_joined")
    result = acs_spectra(
        open_product_tree(path),
        half_width,
        geometry=geometry,
        geometry_table=geometry_table,
        time_tolerance=time_tolerance_s,
    )
    limit = "half the median step of the table"
    if time_tolerance_s is not None:
        limit = f"{time_tolerance_s:g} s"
    result.attrs["geometry_time_tolerance"] = limit if geometry == "time" else "none"
    return result


def geometry_files(path: str | Path) -> tuple[Path, ...]:
    """Return the label of the geometry product that belongs to one: one or none.

    Examples
    --------
    >>> geometry_files("acs_cal_sc_mir.xml")
    ()
    """
    try:
        source = find_label(path)
        found = find_geometry(read_label(source), source)
    except TgoError:
        return ()  # opening the product says what is wrong
    return () if found is None else (found,)


def _frames(product: xr.DataTree | xr.Dataset) -> tuple[xr.Dataset, dict[Any, Any]]:
    """Return frames in memory and the attributes of the product."""
    attrs = dict(product.attrs)
    if isinstance(product, xr.DataTree):
        if "Data" not in product.children:
            msg = "no calibrated ACS frames: the tree has no node Data"
            value = sorted(product.children)
            raise ProductError(msg, value=value, rule="product.not_calibrated_frames")
        ds = product["Data"].to_dataset()
        attrs |= ds.attrs
    else:
        ds = product
    if set(ds.get("transmittance", xr.DataArray()).dims) != {"frame", "row", "pixel"}:
        msg = "no calibrated ACS frames: transmittance (frame, row, pixel) is missing"
        value = sorted(map(str, ds.variables))
        raise ProductError(msg, value=value, rule="product.not_calibrated_frames")
    if not {"wavenumber", "wavelength"} & set(ds.coords):
        msg = "frames have no spectral axis"
        raise ProductError(msg, rule="product.not_calibrated_frames")
    if not {"order", "stripe_order"} & set(ds.coords):
        msg = "frames have no orders"
        raise ProductError(msg, rule="product.not_calibrated_frames")
    return ds, attrs


def _checked_half_width(half_width: int, rows: int) -> int:
    whole = isinstance(half_width, int | np.integer)
    if not whole or isinstance(half_width, bool) or not 0 <= half_width < rows:
        msg = f"half_width must be a whole number of rows, 0 to {rows - 1}"
        raise ProductError(msg, value=half_width, rule="product.half_width")
    return int(half_width)


def _centers(ds: xr.Dataset, center_row: int | None, *, mir: bool) -> list[int]:
    if mir:
        if center_row is not None:
            msg = "the product names the rows of its stripes: leave center_row out"
            raise ProductError(msg, value=center_row, rule="product.center_row")
        return [int(row) for row in ds["stripe_row"].values]
    if center_row is None:
        msg = "NIR products do not name a middle row: give center_row"
        raise ProductError(msg, rule="product.center_row")
    return [int(center_row)]


def _averaged(
    ds: xr.Dataset, centers: list[int], half_width: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return mean and its error, shape (frame * center, pixel)."""
    n = 2 * half_width + 1
    signals, errors = [], []
    for row in centers:
        part = ds[["transmittance", "transmittance_error"]].isel(
            row=slice(row - half_width, row + half_width + 1)
        )
        part = part.transpose("frame", "row", "pixel", ...)
        values = part["transmittance"].values.astype(np.float64)
        each = part["transmittance_error"].values.astype(np.float64)
        signals.append(values.mean(axis=1))
        errors.append(np.sqrt((each**2).sum(axis=1)) / n)
    shape = (-1, ds.sizes["pixel"])
    return (
        np.stack(signals, axis=1).reshape(shape),
        np.stack(errors, axis=1).reshape(shape),
    )


def _axis_rows(
    ds: xr.Dataset, centers: list[int], *, mir: bool
) -> np.ndarray[Any, Any]:
    """Return the spectral axis of every spectrum."""
    name = "wavenumber" if "wavenumber" in ds.coords else "wavelength"
    values = ds[name].transpose(..., "pixel").values
    if mir:
        return np.tile(values[centers], (ds.sizes["frame"], 1))
    return np.asarray(values[order_slots(ds["order"].values, len(values))])


def order_slots(
    orders: np.ndarray[Any, Any], slots: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return which spectral axis belongs to each frame of an NIR product [I].

    Orders are measured in turn, so slot k is taken to be the order of frame k.

    Parameters
    ----------
    orders : ndarray, shape (frame,)
        Order of each frame.
    slots : int
        Number of spectral axes.

    Returns
    -------
    ndarray of int64, shape (frame,)

    Raises
    ------
    ProductError
        ``product.order_slots`` if the first `slots` frames are not of `slots`
        different orders, or later frames are of others.

    Examples
    --------
    >>> order_slots(np.array([49, 54, 49, 54, 49]), 2).tolist()
    [0, 1, 0, 1, 0]
    """
    known = orders.tolist()
    first = known[:slots]
    if len(set(first)) != slots or not set(known) <= set(first):
        msg = (
            f"{slots} spectral axes do not go with orders {sorted(set(known))} in "
            f"turn: the first {slots} frames are of orders {first}"
        )
        raise ProductError(msg, value=slots, rule="product.order_slots")
    return np.array([first.index(order) for order in known], dtype=np.int64)


def _orders(ds: xr.Dataset, frames: int, *, mir: bool) -> np.ndarray[Any, Any]:
    return np.tile(ds["stripe_order"].values, frames) if mir else ds["order"].values


def _spread(axis: np.ndarray[Any, Any], centers: list[int], half_width: int) -> float:
    """Return the largest difference between averaged rows and the middle one."""
    worst = 0.0
    for row in centers:
        window = axis[row - half_width : row + half_width + 1] - axis[row]
        known = np.abs(window[np.isfinite(window)])
        worst = max(worst, float(known.max(initial=0.0)))
    return worst


# --- geometry --------------------------------------------------------------------


def nearest_records(
    frames: np.ndarray[Any, np.dtype[np.datetime64]],
    records: np.ndarray[Any, np.dtype[np.datetime64]],
    tolerance: float | None,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the record nearest in time to each frame; -1 if none is near enough.

    Parameters
    ----------
    frames, records : ndarray of datetime64
        Times; at least two records.
    tolerance : float or None
        Seconds; None: half the median step of the records.

    Returns
    -------
    ndarray of int64, shape (frame,)

    Examples
    --------
    >>> start = np.datetime64("2019-03-01T20:10:00", "ns")
    >>> records = start + np.arange(4) * np.timedelta64(2, "s")
    >>> frames = start + np.array([100, 1900, 9000]) * np.timedelta64(1, "ms")
    >>> nearest_records(frames, records, None).tolist()
    [0, 1, -1]
    """
    order = np.argsort(records, kind="stable")
    zero = records[order[0]]
    known = (records[order] - zero).astype("m8[ns]").astype(np.int64)
    wanted = (frames - zero).astype("m8[ns]").astype(np.int64)
    limit = (
        0.5 * float(np.median(np.diff(known))) if tolerance is None else tolerance * 1e9
    )
    right = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1)
    left = right - 1
    nearer = np.where(
        np.abs(wanted - known[left]) <= np.abs(known[right] - wanted), left, right
    )
    near = np.abs(wanted - known[nearer]) <= limit
    return np.where(near, order[nearer], -1).astype(np.int64)


def _geometry(
    product: xr.DataTree | xr.Dataset,
    frames: int,
    how: str,
    node: str,
    tolerance: float | None,
) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any], int]:
    """Return times (or None), tangent altitudes, and frames without a record."""
    if how not in {"time", "record"}:
        msg = "geometry must be time, record or none"
        raise ProductError(msg, value=how, rule="product.geometry_not_joined")
    children = product.children if isinstance(product, xr.DataTree) else {}
    if node not in children:
        msg = (
            f"{frames} frames, but no geometry table {node!r}: open the tree with "
            'geometry=, or ask for geometry="none"'
        )
        raise ProductError(
            msg, value=sorted(children), rule="product.geometry_not_joined"
        )
    table = children[node].to_dataset()
    altitude = _tangent_altitude(table, node)
    records = len(altitude)
    if how == "record":
        if records != frames:
            msg = f"{frames} frames and {records} geometry records do not pair up"
            raise ProductError(msg, value=records, rule="product.geometry_not_joined")
        return None, altitude, 0
    header = children["Header"].to_dataset() if "Header" in children else None
    frame_times = _times(header)
    record_times = _times(table)
    problem = None
    if frame_times is None:
        problem = "the Header has not one column of times"
    elif len(frame_times) != frames:
        problem = f"the Header has {len(frame_times)} times"
    elif record_times is None or records < 2:
        problem = "the geometry table has not one column of several times"
    if problem is not None or frame_times is None or record_times is None:
        msg = (
            f"{frames} frames and {records} geometry records cannot be joined by time: "
            f"{problem}"
        )
        raise ProductError(msg, value=records, rule="product.geometry_not_joined")
    found = nearest_records(frame_times, record_times, tolerance)
    if (found < 0).all():
        msg = (
            f"none of {frames} frames is near in time to one of {records} geometry "
            "records"
        )
        value = f"{frame_times.min()} to {frame_times.max()}"
        raise ProductError(msg, value=value, rule="product.geometry_not_joined")
    values = np.where(found < 0, np.nan, altitude[found])
    return frame_times, values, int((found < 0).sum())


def _times(table: xr.Dataset | None) -> np.ndarray[Any, Any] | None:
    """Return the only column of times; None if there is not one."""
    if table is None:
        return None
    found = [v for v in table.variables.values() if v.dtype.kind == "M" and v.ndim == 1]
    values = found[0].values if len(found) == 1 else None
    return None if values is None or np.isnat(values).any() else values


def _tangent_altitude(table: xr.Dataset, node: str) -> np.ndarray[Any, Any]:
    """Return the column called tangent altitude or height, else the last one [I]."""
    names = [str(name) for name in table.data_vars]
    called = [
        name
        for name in names
        if "tangent" in name and ("alt" in name or "height" in name)
    ]
    name = called[0] if len(called) == 1 else names[-1]
    variable = table[name].variable
    unit = str(variable.attrs.get("label_unit", "km"))  # km where none is given [I]
    factor = _KM_PER_UNIT.get(unit.lower())
    if variable.dtype.kind not in "fiu" or variable.ndim != 1 or factor is None:
        msg = f"column {name!r} of {node} is no tangent altitude in km or m"
        raise ProductError(msg, value=unit, rule="product.geometry_not_joined")
    return np.asarray(variable.values, np.float64) * factor
