"""Write synthetic NOMAD products in the byte layout of the archive.

The tables have the layout of product version 3.0, see `tgo_spectra.simulate.layout`.
The label says in its title and in an invented Mission_Area class that the product is
synthetic.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.atomic import output_folder
from tgo_spectra.errors import OutputError
from tgo_spectra.paths import expanded
from tgo_spectra.simulate.label import label_text
from tgo_spectra.simulate.layout import (
    BOOLEAN,
    INFRARED_PIXELS,
    INTEGER,
    LAYOUTS,
    TIME,
    Column,
    Layout,
)
from tgo_spectra.simulate.writing import write_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

__all__ = [
    "SO_COLUMNS",
    "SO_RECORD_LENGTH",
    "product_files",
    "product_stem",
    "write_product",
    "write_simulated",
]

FILL = -999.0

SO_COLUMNS = LAYOUTS["so", True].columns
"""The 105 scalar fields of an SO table in their order."""
SO_RECORD_LENGTH = LAYOUTS["so", True].record_length(INFRARED_PIXELS)
"""Bytes of an SO record with its CR LF."""
POINTS_X, POINTS_Y = LAYOUTS["so", True].points_x, LAYOUTS["so", True].points_y

_KINDS = {"ingress": "i", "egress": "e", "dayside_nadir": "d"}
_PARTS = {"all": "a", "high": "h", "low": "l"}
_VERSIONS = ("1.0", "2.0", "3.0", "3.1", "4.0")


def product_stem(rows: xr.Dataset, start: np.datetime64, stop: np.datetime64) -> str:
    """Return the product name without suffix.

    Parameters
    ----------
    rows : Dataset
        Its attributes ``channel`` (so, lno, uvis; default so), ``observation_type``
        (ingress, egress, dayside_nadir), ``altitude_part`` (SO: all, high, low;
        default all) and ``calibration_letter`` (LNO, optional: p passed, f failed)
        and its ``order`` make the name.
    start, stop : datetime64
        Telecommand window.

    Returns
    -------
    str
        Such as ``nmd_cal_sc_so_20180614T030920-20180614T031605-a-i-134``. Full scans
        have no order at the end, UVIS neither.

    Raises
    ------
    OutputError
        If an attribute has another value.
    """
    layout = _layout(rows)
    kind = _KINDS[rows.attrs["observation_type"]]
    part = _PARTS.get(rows.attrs.get("altitude_part", "all"))
    letter = rows.attrs.get("calibration_letter", "") if layout.channel == "lno" else ""
    if part is None or (part != "a" and layout.channel != "so"):
        name = "altitude_part"
        message = "attribute altitude_part is not one of those of the channel"
        raise OutputError(message, field=name, value=rows.attrs[name])
    if letter not in ("", "p", "f"):
        message = "attribute calibration_letter must be p or f"
        raise OutputError(message, field="calibration_letter", value=letter)
    name = f"nmd_cal_sc_{layout.channel}_{_stamp(start)}-{_stamp(stop)}"
    orders: list[int] = []
    if layout.channel != "uvis":
        orders = np.unique(rows["order"].values).tolist()
    if layout.channel == "so":
        name += f"-{part if len(orders) == 1 else 'a'}"
    name += f"-{kind}{letter}"
    return f"{name}-{orders[0]}" if len(orders) == 1 else name


def _layout(rows: xr.Dataset) -> Layout:
    channel = rows.attrs.get("channel", "so")
    kind = rows.attrs.get("observation_type")
    if channel not in ("so", "lno", "uvis"):
        message = "attribute channel is not one of so, lno, uvis"
        raise OutputError(message, field="channel", value=channel)
    layout = LAYOUTS.get((channel, kind in ("ingress", "egress")))
    if kind not in _KINDS or layout is None:
        message = f"attribute observation_type is not one of those of {channel}"
        raise OutputError(message, field="observation_type", value=kind)
    return layout


def _stamp(time: np.datetime64) -> str:
    text = str(np.datetime_as_string(time, unit="s"))
    return text.replace("-", "").replace(":", "")


def write_product(
    out_dir: str | Path,
    rows: xr.Dataset,
    *,
    command_window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    md5: bool = True,
    version: str = "3.0",
    repeat_location: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> Path:
    """Write a synthetic NOMAD product of any kind.

    Reading it back gives the same variables, rounded to the printed digits.
    Occultations have their rows sorted by ascending tangent altitude (areoid, centre
    of the field of view, mean of start and end; missing first); nadir rows keep
    their order.

    Parameters
    ----------
    out_dir : path
        Existing folder.
    rows : Dataset
        Level-1 names. All kinds: ``time_bounds`` (spectrum, edge; UTC),
        ``detector_temperature`` (K); over (spectrum, edge) ``obs_altitude`` (km from
        the centre of Mars), ``sub_obs_longitude``, ``sub_obs_latitude``,
        ``l_sub_s``, ``sub_sol_longitude``, ``sub_sol_latitude`` (degree); over
        (spectrum, point, edge) ``point_longitude``, ``point_latitude`` (degree),
        ``point_local_true_solar_time`` (hour). 5 points, UVIS 9.

        SO and LNO, 320 pixels: ``wavenumber`` (pixel, or spectrum and pixel; cm-1),
        ``order``, ``aotf_frequency`` (kHz), ``instrument_temperature`` (degC)
        (scalar or spectrum), ``bin_start``, ``bin_end`` (spectrum). UVIS, any number
        of pixels: ``wavelength`` (nm), ``mask``.

        Occultation: ``transmittance``, ``transmittance_error`` (spectrum, pixel),
        ``tangent_altitude_ellipsoid``, ``tangent_altitude_areoid``,
        ``tangent_altitude_surface``, ``slant_path_distance`` (spectrum, point,
        edge; km). Nadir: ``reflectance_factor`` and ``reflectance_factor_corrected``
        (LNO), or ``radiance`` and ``radiance_error`` (UVIS; W m-2 sr-1 nm-1);
        ``incidence_angle``, ``emission_angle``, ``phase_angle`` (degree),
        ``surface_altitude_areoid``, ``surface_radius`` (km).

        Optional: ``pointing_deviation`` (arcminute, 0), ``point_x``, ``point_y``,
        ``y_valid_flag`` (true), ``mask`` (false), ``bin_top``, ``bin_height`` (from
        the bins). Attributes as for `product_stem`, and ``orbit``.
    command_window : pair of datetime64, optional
        Times in the name; default the whole seconds around the spectra.
    archive : bool
        Write a delivery zip, whose members have the version in their names.
    md5 : bool
        Give the MD5 of the table in the label.
    version : str
        Product version to state, 1.0 to 4.0; the layout is that of 3.0.
    repeat_location : bool
        LNO nadir: give the second reflectance the ``group_location`` of the first,
        as the producer's code of version 3.0 does.
    parameters : mapping, optional
        Further elements of the Mission_Area class, name to text, such as flags.

    Returns
    -------
    Path
        Label, or zip. Files of these names are replaced.

    Raises
    ------
    OutputError
        If a variable is missing, has a wrong shape, a missing value where none can
        be written, or a value too wide for its field.
    """
    options: dict[str, Any] = {
        "command_window": command_window,
        "archive": archive,
        "md5": md5,
        "version": version,
        "repeat_location": repeat_location,
        "parameters": parameters,
    }
    return write_files(product_files(out_dir, rows, **options), overwrite=True)


def write_simulated(
    out_dir: str | Path,
    rows: xr.Dataset,
    truth: xr.Dataset,
    *,
    window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a simulated product, and the truth beside it, ``<name>.truth.nc``.

    Parameters
    ----------
    out_dir : path
        Folder, made if missing.
    rows : Dataset
        As for `write_product`.
    truth : Dataset
    window : pair of datetime64, optional
        As ``command_window`` of `write_product`.
    archive : bool
        Write a delivery zip.
    overwrite : bool
        Replace a product of this name; by default that is refused.

    Returns
    -------
    Path
        Label, or zip.

    Raises
    ------
    OutputError
        ``io.exists``; as `write_product`.
    """
    folder = output_folder(out_dir)
    window = window or _whole_seconds(rows["time_bounds"].values)
    stem = product_stem(rows, *window)
    files = product_files(folder, rows, command_window=window, archive=archive)
    known = {folder / f"{stem}.truth.nc": truth.assign_attrs(product=stem)}
    return write_files({**known, **files}, overwrite=overwrite)


def _whole_seconds(bounds: Any) -> tuple[np.datetime64, np.datetime64]:
    last = np.datetime64(bounds.max(), "s") + np.timedelta64(1, "s")
    return np.datetime64(bounds.min(), "s"), last


def product_files(
    out_dir: str | Path,
    rows: xr.Dataset,
    *,
    command_window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    md5: bool = True,
    version: str = "3.0",
    repeat_location: bool = False,
    parameters: Mapping[str, object] | None = None,
) -> dict[Path, bytes]:
    """Give the files of a product and what is in them, see `write_product`.

    Returns
    -------
    dict of Path to bytes
        Table and label, or the zip.
    """
    layout = _layout(rows)
    if version not in _VERSIONS:
        message = f"version is not one of {', '.join(_VERSIONS)}"
        raise OutputError(message, field="version", value=version)
    if repeat_location and (layout.channel, layout.occultation) != ("lno", False):
        message = "only LNO nadir labels repeat a group_location"
        raise OutputError(message, field="repeat_location", value=repeat_location)
    rows = _with_defaults(rows, layout)
    arrays = _arrays(rows, layout)
    table = _table_bytes(arrays, layout)
    bounds = arrays["time_bounds"]
    first, last = bounds.min(), bounds.max()
    command_window = command_window or _whole_seconds(bounds)
    stem = product_stem(rows, *command_window)
    text = label_text(
        stem=stem,
        layout=layout,
        arrays=arrays,
        window=(_stamp(command_window[0]), _stamp(command_window[1])),
        times=(_utc(first), _utc(last)),
        attributes=rows.attrs,
        parameters=dict(parameters or {}),
        version=version,
        repeat_location=repeat_location,
        table=table,
        md5=hashlib.md5(table, usedforsecurity=False).hexdigest() if md5 else None,
    ).encode()
    folder = expanded(out_dir)
    if archive:
        return _packed(folder, stem, version, text, table)
    return {folder / f"{stem}.tab": table, folder / f"{stem}.xml": text}


def _packed(
    folder: Path, stem: str, version: str, label: bytes, table: bytes
) -> dict[Path, bytes]:
    """Give a delivery zip, whose name has one stamp, YYYYMMDD-hhmmss00."""
    head, _, tail = stem.partition("T")
    date, clock = head[-8:], tail[:6]
    rest = stem.split("-", 2)[2]
    path = folder / f"{head[:-8]}{date}-{clock}00-{rest}_{version}.zip"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for suffix, data in (("xml", label), ("tab", table)):
            # fixed date: the same product gives the same bytes
            info = zipfile.ZipInfo(f"{stem}_{version}.{suffix}")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return {path: stream.getvalue()}


def _with_defaults(rows: xr.Dataset, layout: Layout) -> xr.Dataset:
    n = rows.sizes.get("spectrum", 0)
    if n == 0:
        msg = "dataset has no dimension 'spectrum', or no rows"
        raise OutputError(msg)
    known = set(rows.variables)
    extra: dict[str, Any] = {
        "pointing_deviation": (("spectrum", "edge"), np.zeros((n, 2))),
        "point_x": (("spectrum", "point"), np.tile(layout.points_x, (n, 1))),
        "point_y": (("spectrum", "point"), np.tile(layout.points_y, (n, 1))),
        "y_valid_flag": ("spectrum", np.ones(n, dtype=bool)),
    }
    if layout.channel == "uvis" and "pixel" in rows.sizes:
        mask = np.zeros((n, rows.sizes["pixel"]), dtype=bool)
        extra["mask"] = (("spectrum", "pixel"), mask)
    if {"bin_start", "bin_end"} <= known:
        top, bottom = int(rows["bin_start"].min()), int(rows["bin_end"].max())
        extra["bin_top"] = ("spectrum", np.full(n, top))
        extra["bin_height"] = ("spectrum", np.full(n, bottom - top))
    wanted = {column.variable for column in layout.columns} | {"mask"}
    return rows.assign(
        {k: v for k, v in extra.items() if k not in known and k in wanted}
    )


def _arrays(rows: xr.Dataset, layout: Layout) -> dict[str, np.ndarray[Any, Any]]:
    """Return all arrays with the row as first axis; occultations sorted."""
    n = rows.sizes["spectrum"]
    points = len(layout.points_x)
    pixels = INFRARED_PIXELS
    if layout.channel == "uvis":
        pixels = rows.sizes.get("pixel", 0)
    shapes: dict[str, tuple[int, ...]] = {
        group.variable: (n, pixels) for group in layout.groups
    }
    for column in layout.columns:
        sizes: dict[int, tuple[int, ...]] = {0: (), 1: (2,), 2: (points, 2)}
        tail = sizes[len(column.index)]
        if column.variable in ("point_x", "point_y"):
            tail = (points,)
        shapes[column.variable] = (n, *tail)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape in shapes.items():
        if name not in rows.variables:
            message = "dataset lacks a variable of such a product"
            raise OutputError(message, field=name)
        value = rows[name].values
        if "spectrum" not in rows[name].dims:
            value = np.broadcast_to(value, (n, *value.shape))
        if value.shape != shape:
            message = f"variable has shape {value.shape}, must have {shape}"
            raise OutputError(message, field=name, value=value.shape)
        arrays[name] = value
    if not layout.occultation:
        return arrays
    centre = arrays["tangent_altitude_areoid"][:, 0, :].mean(axis=1)
    # missing altitudes sort as the -999 they are written as
    order = np.argsort(np.where(np.isnan(centre), FILL, centre), kind="stable")
    return {name: value[order] for name, value in arrays.items()}


def _utc(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, unit='ms')}Z"


def _column_values(column: Column, values: np.ndarray[Any, Any]) -> list[Any]:
    index: tuple[Any, ...] = (slice(None), *column.index)
    picked = values[index]
    if column.data_type == TIME:
        return [_utc(time) for time in picked]
    if column.data_type in (INTEGER, BOOLEAN):
        return [int(value) for value in picked]
    missing = np.isnan(picked)
    if missing.any() and not column.may_miss:
        message = "missing value in a field that cannot hold one"
        raise OutputError(message, field=column.name, record=int(missing.argmax()))
    return list(np.where(missing, FILL, picked))


def _table_bytes(arrays: dict[str, np.ndarray[Any, Any]], layout: Layout) -> bytes:
    """Print the table; every record is checked for its length."""
    columns = [_column_values(c, arrays[c.variable]) for c in layout.columns]
    form = "".join(f"{column.form} " for column in layout.columns)
    pixels = arrays[layout.groups[0].variable].shape[1]
    groups = []
    for group in layout.groups:
        form += f"{group.form} " * pixels
        values = arrays[group.variable]
        if group.data_type != BOOLEAN:
            values = np.where(np.isnan(values), FILL, values)
        groups.append(values)
    form += "\r\n"
    length = layout.record_length(pixels)
    lines = []
    for row in range(len(columns[0])):
        cells = [column[row] for column in columns]
        for values in groups:
            cells.extend(values[row].tolist())
        line = form % tuple(cells)
        if len(line) != length:
            raise _too_wide(row, cells, layout, pixels)
        lines.append(line)
    return "".join(lines).encode("ascii")


def _too_wide(row: int, values: list[Any], layout: Layout, pixels: int) -> OutputError:
    """Find the value that does not fit its field."""
    fields = [(c.name, c.form, c.length) for c in layout.columns]
    for group in layout.groups:
        fields += [(group.variable, group.form, group.length)] * pixels
    for (name, form, length), value in zip(fields, values, strict=True):
        if len(form % value) != length - 1:
            message = f"value does not fit in {length - 1} characters"
            return OutputError(message, field=name, record=row, value=value)
    return OutputError("record has a wrong length", record=row)
