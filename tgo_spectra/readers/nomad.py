"""NOMAD calibrated products as Datasets, driven by the label.

Fields are recognised by their names, not by position: other versions may add
fields, and those come through under the snake-case form of their own name.

References
----------
Layout of product version 3.0: ``l1p0a_to_psa`` of the producer's ``nomad_ops``.
Vandaele et al., Space Sci. Rev. 214, 80 (2018), doi:10.1007/s11214-018-0517-2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.core import indexing

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import open_table, resolve_data
from tgo_spectra.pds4.table import repaired
from tgo_spectra.readers.arrays import ColumnArray, MaskedArray, with_leaves
from tgo_spectra.readers.nomad_fields import plan_variables
from tgo_spectra.readers.quality import check, flag_notes
from tgo_spectra.variables import attributes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.pds4 import Label, Source, Table
    from tgo_spectra.pds4.check import Mode
    from tgo_spectra.readers.nomad_fields import Plan

__all__ = ["FILL", "PRODUCT_NAME", "read"]

FILL = -999.0
"""Missing value of all numeric fields; the label declares it for some only."""

PRODUCT_NAME = re.compile(
    r"nmd_cal_sc_(?P<channel>so|lno|uvis)"
    r"_(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})"
    r"(?:-(?P<part>[ahlg]|\d))?-(?P<kind>[a-z][pf]?)(?:-(?P<order>\d{1,3}|[sf]))?"
    r"(?:_(?P<version>\d+\.\d+))?",
    re.IGNORECASE,
)
"""Stem of a product name; times are those of the telecommand window."""

_OBSERVATION = {"i": "ingress", "e": "egress", "d": "dayside_nadir"}
_LETTERS = {"p": "passed", "f": "failed"}
_PART = {"a": "all", "h": "high", "l": "low", "g": "grazing"}

_AXES = ("wavenumber", "wavelength")
_MASKABLE = {"transmittance", "transmittance_error", "radiance", "radiance_error"}
# One value a file, except for full scans, whose order changes from row to row.
_SETTINGS = ("order", "aotf_frequency", "instrument_temperature")
# Coordinate, the variable it is taken from (point 0, mean of the edges), period.
_CENTRES = (
    ("tangent_altitude", "tangent_altitude_areoid", None),
    ("latitude", "point_latitude", None),
    ("longitude", "point_longitude", 360.0),
    ("local_true_solar_time", "point_local_true_solar_time", 24.0),
    ("solar_longitude", "l_sub_s", 360.0),
)
_TIME_ENCODING = {"units": "microseconds since 2016-01-01", "dtype": "int64"}


def read(
    label: Label,
    source: Source,
    *,
    apply_mask: bool = False,
    verify_md5: bool = True,
    mode: Mode = "strict",
) -> xr.Dataset:
    """Build the level-1 Dataset of a NOMAD product.

    Parameters
    ----------
    label : Label
        The parsed label.
    source : Source
        Where the label is; the table is beside it.
    apply_mask : bool
        Make masked pixels of a UVIS product NaN.
    verify_md5 : bool
        Compare the MD5 of the table with the label's.
    mode : {"strict", "warn", "repair"}
        Repair, aloud or silently, what cannot change a value; the attribute
        ``source_repairs`` lists it. The repeated group location of LNO nadir
        products, which the producer's code writes, is put right in all modes.

    Returns
    -------
    Dataset
        Coordinates in memory, everything else lazy.

    Raises
    ------
    ProductError
        If the table breaks its label, or is not a NOMAD spectra table;
        ``product.no_mask`` if a mask is to be applied and there is none.
    """
    area = next((a for a in label.areas if a.tables), None)
    if area is None:
        msg = "label describes no character table"
        raise ProductError(
            msg,
            path=label.path,
            rule="label.schema",
        )
    mend = mode != "strict"
    place, rule = resolve_data(source, area.file_name, label.version, repair=mend)
    layout = area.tables[0]
    if mend:
        layout, area = repaired(layout, area, place)
    # the MD5 is computed beside what follows; `_attributes` waits for it
    table = open_table(
        layout, area, place, verify_md5=verify_md5, wait=False, exact=True
    )
    plans = plan_variables(table.layout.fields)
    if not any(plan.name in _AXES for plan in plans):
        msg = "table has no group Wavenumber or Wavelength"
        raise ProductError(
            msg,
            path=label.path,
            field=table.layout.name,
            rule="table.fields_mismatch",
        )
    coordinates = _coordinates(table, plans)
    lazy = {p.name: _lazy(table, p) for p in plans if p.name not in coordinates}
    ds = xr.Dataset(lazy, xr.Coordinates(coordinates, indexes={}))
    ds.attrs = _attributes(label, table, rule) | {"product_pixels": ds.sizes["pixel"]}
    order = _name_parts(label, table).get("order") or ""
    known_order = int(order) if order.isdigit() else None
    check(ds, table, known_order, repairs=mode != "repair")
    notes = flag_notes(ds)
    if notes:
        ds.attrs["quality_notes"] = notes
    return _masked(ds, table, plans) if apply_mask else ds


# --- lazy variables and coordinates ----------------------------------------------


def _array(table: Table, plan: Plan) -> ColumnArray:
    return ColumnArray(table, plan.columns, plan.layout, plan.dtype, (FILL,))


def _lazy(table: Table, plan: Plan) -> xr.Variable:
    array = _array(table, plan)
    # rows may be cut anywhere at no cost, so no chunk is preferred along spectrum
    chunks = dict(zip(plan.dims[1:], array.shape[1:], strict=True))
    encoding = {"preferred_chunks": chunks}
    lazy = indexing.LazilyIndexedArray(array)
    return xr.Variable(plan.dims, lazy, plan.attrs, encoding)


def _masked(ds: xr.Dataset, table: Table, plans: Sequence[Plan]) -> xr.Dataset:
    """Make rejected pixels missing, still lazily."""
    by_name = {plan.name: plan for plan in plans}
    if "mask" not in by_name:
        msg = "product has no mask to apply"
        raise ProductError(
            msg,
            path=str(table.source),
            value=ds.attrs["channel"],
            rule="product.no_mask",
        )
    mask = _array(table, by_name["mask"])
    for name in _MASKABLE & ds.data_vars.keys():
        old = ds[name].variable
        array = MaskedArray(_array(table, by_name[str(name)]), mask)
        lazy = indexing.LazilyIndexedArray(array)
        attrs = old.attrs | {"mask_applied": 1}
        ds[name] = xr.Variable(old.dims, lazy, attrs, old.encoding)
    return ds.assign_attrs(mask_applied=1)


def _coordinates(table: Table, plans: Sequence[Plan]) -> dict[str, xr.Variable]:
    """Return what is read at once: small, and wanted by nearly everybody."""
    found: dict[str, xr.Variable] = {}
    by_name = {plan.name: plan for plan in plans}

    def values(name: str, *key: int | slice) -> np.ndarray[Any, Any]:
        return _array(table, by_name[name]).read(key)

    for axis in _AXES:
        if axis in by_name:
            plan = by_name[axis]
            found[axis] = (
                xr.Variable(plan.dims[1:], values(axis, 0), plan.attrs)
                if table.same_in_all_rows(plan.fields[0])
                else _lazy(table, plan)
            )
    for name in _SETTINGS:
        if name in by_name:
            plan, column = by_name[name], values(name)
            same = bool((column == column[0]).all())
            dims, data = ((), column[0]) if same else (plan.dims, column)
            found[name] = xr.Variable(dims, data, plan.attrs)
    if "time_bounds" in by_name:
        plan, bounds = by_name["time_bounds"], values("time_bounds")
        start, stop = bounds[:, 0], bounds[:, 1]
        # one encoding for both, as CF wants; exact for half milliseconds
        found["time_bounds"] = xr.Variable(
            plan.dims, bounds, plan.attrs, _TIME_ENCODING
        )
        middle = start + (stop - start) // 2
        attrs = {"bounds": "time_bounds"} | attributes_of("time", middle.dtype)
        found["time"] = xr.Variable("spectrum", middle, attrs, _TIME_ENCODING)
    for name, origin, period in _CENTRES:
        if origin in by_name:
            first_point = (0,) if len(by_name[origin].layout) == 2 else ()
            edges = values(origin, slice(None), *first_point)
            found[name] = _derived(name, _middle(edges, period, name))
    if "bin_start" in by_name:
        rows = values("bin_start")
        found["bin"] = _derived(
            "bin", np.unique(rows, return_inverse=True)[1].astype(np.int64)
        )
    return found


def _derived(name: str, values: np.ndarray[Any, Any]) -> xr.Variable:
    return xr.Variable("spectrum", values, attributes_of(name, values.dtype))


def _middle(
    edges: np.ndarray[Any, np.dtype[np.float64]], period: float | None, name: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the mean of start and end, the short way round where it is cyclic."""
    first, last = edges[:, 0], edges[:, 1]
    mean = 0.5 * (first + last)
    if period is None:
        return mean
    low = -0.5 * period if name == "longitude" else 0.0
    turned = (mean + 0.5 * period - low) % period + low
    return np.where(np.abs(last - first) > 0.5 * period, turned, mean)


# --- attributes and checks --------------------------------------------------------


def _name_parts(label: Label, table: Table) -> dict[str, str | None]:
    stem = label.lid.rpartition(":")[2]
    name = PRODUCT_NAME.fullmatch(stem) or PRODUCT_NAME.match(table.source.name)
    return name.groupdict() if name else {}


def _attributes(label: Label, table: Table, rule: str) -> dict[str, Any]:
    parts = _name_parts(label, table)
    table_channel = table.layout.name.rpartition("_")[2]
    channel = parts.get("channel") or label.leaves.get("ChannelName", table_channel)
    kind = parts.get("kind") or label.leaves.get("ObservationType", "")
    attrs: dict[str, Any] = {
        "title": label.title,
        "product_lid": label.lid,
        "product_version": label.version,
        "instrument": "NOMAD",
        "channel": channel.lower(),
        "observation_type": _OBSERVATION.get(kind[:1].lower(), kind.lower()),
        "altitude_part": _PART.get((parts.get("part") or "a").lower(), "all"),
    }
    if len(kind) == 2:
        attrs["calibration_letter"] = kind[1].lower()
        attrs["calibration_status"] = _LETTERS[kind[1].lower()]
    orbit = label.leaves.get("start_orbit_number", "")
    if orbit.isdigit():
        attrs["orbit"] = int(orbit)
    if label.start_time and label.stop_time:
        attrs["start_date_time"] = label.start_time
        attrs["stop_date_time"] = label.stop_time
    attrs["information_model_version"] = label.model_version
    attrs["source_file"] = table.source.name
    attrs["source_file_rule"] = rule
    if table.md5 is not None:
        attrs["source_md5"] = table.md5
    attrs["source_md5_verified"] = int(table.md5_verified)
    if table.layout.repairs:
        attrs["source_repairs"] = "; ".join(table.layout.repairs)
    return with_leaves(attrs, label.leaves)
