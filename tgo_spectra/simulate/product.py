"""Write synthetic NOMAD SO products in the byte layout of the archive.

The table has the layout of product version 3.0: records of 12,163 bytes with 105
fields and three groups of 320 values, each number right-aligned and followed by one
blank, -999 for missing, CR LF. The label says in its title and in an invented
Mission_Area class that the product is synthetic.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import OutputError
from tgo_spectra.simulate.label import label_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

__all__ = ["SO_COLUMNS", "SO_RECORD_LENGTH", "Column", "so_stem", "write_so_product"]

SO_PIXELS = 320
SO_RECORD_LENGTH = 12_163
"""Bytes of a record with its CR LF."""
FILL = -999.0
VERSION = "3.0"
"""Product version whose layout is written."""

# Corner points of the slit, in half widths (x) and half heights (y); 0 is the centre.
POINTS_X = (0.0, 1.0, -1.0, -1.0, 1.0)
POINTS_Y = (0.0, 1.0, 1.0, -1.0, -1.0)


@dataclass(frozen=True)
class Column:
    """One scalar field of the table.

    Attributes
    ----------
    name : str
        Field name in the label.
    variable : str
        Level-1 variable that holds it.
    index : tuple of int
        Place within that variable, after the row.
    data_type, unit : str
        For the label.
    length : int
        Bytes, with the trailing blank.
    form : str
        printf conversion of the first ``length - 1`` bytes.
    may_miss : bool
        NaN is allowed, and written as -999.
    """

    name: str
    variable: str
    index: tuple[int, ...]
    data_type: str
    length: int
    form: str
    unit: str = ""
    may_miss: bool = False


_REAL, _INTEGER = "ASCII_Real", "ASCII_Integer"
_TIME, _BOOLEAN = "ASCII_Date_Time_YMD_UTC", "ASCII_Boolean"


def _columns() -> tuple[Column, ...]:
    result = [
        Column("ObservationDatetimeStart", "time_bounds", (0,), _TIME, 28, "%-27s"),
        Column("ObservationDatetimeEnd", "time_bounds", (1,), _TIME, 28, "%-27s"),
        Column("AOTFFrequency", "aotf_frequency", (), _REAL, 11, "%10.2f", "kilohertz"),
        Column("BinTop", "bin_top", (), _INTEGER, 4, "%3i"),
        Column("BinHeight", "bin_height", (), _INTEGER, 4, "%3i"),
        Column("BinStart", "bin_start", (), _INTEGER, 4, "%3i"),
        Column("BinEnd", "bin_end", (), _INTEGER, 4, "%3i"),
        Column("DiffractionOrder", "order", (), _INTEGER, 4, "%3i"),
        Column(
            "InstrumentTemperature",
            "instrument_temperature",
            (),
            _REAL,
            13,
            "%12.5e",
            "celsius",
        ),
        Column(
            "DetectorTemperature",
            "detector_temperature",
            (),
            _REAL,
            13,
            "%12.5e",
            "kelvin",
        ),
        Column("YValidFlag", "y_valid_flag", (), _BOOLEAN, 2, "%1i"),
    ]
    per_edge = (
        ("ObsAlt", "obs_altitude", "%8.2f", "kilometres"),
        ("SubObsLon", "sub_obs_longitude", "%8.3f", "degrees"),
        ("SubObsLat", "sub_obs_latitude", "%8.3f", "degrees"),
        ("LSubS", "l_sub_s", "%8.4f", "degrees"),
        ("SubSolLon", "sub_sol_longitude", "%8.3f", "degrees"),
        ("SubSolLat", "sub_sol_latitude", "%8.3f", "degrees"),
        ("PointingDeviation", "pointing_deviation", "%8.3f", "arcminutes"),
    )
    for name, variable, form, unit in per_edge:
        for edge, word in enumerate(("Start", "End")):
            result.append(
                Column(f"{word}{name}", variable, (edge,), _REAL, 9, form, unit)
            )
    per_point = (
        ("Lon", "point_longitude", "%8.3f", "degrees"),
        ("Lat", "point_latitude", "%8.3f", "degrees"),
        ("LST", "point_local_true_solar_time", "%8.3f", "hours"),
        ("TangentAltEllipsoid", "tangent_altitude_ellipsoid", "%8.2f", "kilometres"),
        ("TangentAltAreoid", "tangent_altitude_areoid", "%8.2f", "kilometres"),
        ("TangentAltSurface", "tangent_altitude_surface", "%8.2f", "kilometres"),
        ("SlantPathDistance", "slant_path_distance", "%8.2f", "kilometres"),
    )
    for k in range(len(POINTS_X)):
        for axis in "XY":
            variable = f"point_{axis.lower()}"
            result.append(
                Column(f"Point{axis}{k}", variable, (k,), _REAL, 9, "%8.3f", "", True)
            )
        for name, variable, form, unit in per_point:
            for edge, word in enumerate(("Start", "End")):
                label = f"{name}{word}{k}"
                result.append(
                    Column(label, variable, (k, edge), _REAL, 9, form, unit, True)
                )
    return tuple(result)


SO_COLUMNS: tuple[Column, ...] = _columns()
"""The 105 scalar fields in their order."""

_GROUPS = (
    ("wavenumber", 9, "%8.3f"),
    ("transmittance", 13, "%12.5e"),
    ("transmittance_error", 13, "%12.5e"),
)


def so_stem(rows: xr.Dataset, start: np.datetime64, stop: np.datetime64) -> str:
    """Return the product name without suffix.

    Parameters
    ----------
    rows : Dataset
        Its attributes ``observation_type`` (ingress, egress) and ``altitude_part``
        (all, high, low; default all) and its ``order`` make the end of the name.
    start, stop : datetime64
        Telecommand window.

    Returns
    -------
    str
        Such as ``nmd_cal_sc_so_20180614T030920-20180614T031605-a-i-134``.

    Raises
    ------
    OutputError
        If an attribute has another value.
    """
    kind = {"ingress": "i", "egress": "e"}.get(rows.attrs.get("observation_type", ""))
    part = {"all": "a", "high": "h", "low": "l"}.get(
        rows.attrs.get("altitude_part", "all")
    )
    for name, letter in (("observation_type", kind), ("altitude_part", part)):
        if letter is None:
            message = f"attribute {name} is not one of those of an SO product"
            raise OutputError(message, field=name, value=rows.attrs.get(name))
    window = f"{_stamp(start)}-{_stamp(stop)}"
    orders = np.unique(rows["order"].values)
    if orders.size > 1:
        return f"nmd_cal_sc_so_{window}-a-{kind}"  # full scan
    return f"nmd_cal_sc_so_{window}-{part}-{kind}-{int(orders[0])}"


def _stamp(time: np.datetime64) -> str:
    text = np.datetime_as_string(time, unit="s")
    return text.replace("-", "").replace(":", "")


def write_so_product(
    out_dir: str | Path,
    rows: xr.Dataset,
    *,
    command_window: tuple[np.datetime64, np.datetime64] | None = None,
    archive: bool = False,
    md5: bool = True,
    parameters: Mapping[str, object] | None = None,
) -> Path:
    """Write a synthetic NOMAD SO occultation product.

    Reading it back gives the same variables, rounded to the printed digits, with
    the rows sorted by ascending tangent altitude (areoid, centre of the field of
    view, mean of start and end; missing first).

    Parameters
    ----------
    out_dir : path
        Existing folder.
    rows : Dataset
        Level-1 names: ``time_bounds`` (spectrum, edge; UTC), ``transmittance`` and
        ``transmittance_error`` (spectrum, pixel), ``wavenumber`` (pixel, or
        spectrum and pixel; cm-1), ``order``, ``aotf_frequency`` (kHz) and
        ``instrument_temperature`` (degC) (scalar or spectrum), ``bin_start``,
        ``bin_end`` (spectrum), ``detector_temperature`` (K); over (spectrum, edge)
        ``obs_altitude`` (km from the centre of Mars), ``sub_obs_longitude``,
        ``sub_obs_latitude``, ``l_sub_s``, ``sub_sol_longitude``,
        ``sub_sol_latitude`` (degree); over (spectrum, point, edge)
        ``point_longitude``, ``point_latitude`` (degree),
        ``point_local_true_solar_time`` (hour), ``tangent_altitude_ellipsoid``,
        ``tangent_altitude_areoid``, ``tangent_altitude_surface``,
        ``slant_path_distance`` (km). Optional: ``pointing_deviation`` (arcminute,
        0), ``point_x``, ``point_y``, ``y_valid_flag`` (true), ``bin_top``,
        ``bin_height`` (from the bins). 320 pixels, 5 points. Attributes
        ``observation_type``, ``altitude_part``, ``orbit``.
    command_window : pair of datetime64, optional
        Times in the name; default the whole seconds around the spectra.
    archive : bool
        Write a delivery zip, whose members have the version in their names.
    md5 : bool
        Give the MD5 of the table in the label.
    parameters : mapping, optional
        Further elements of the Mission_Area class, name to text.

    Returns
    -------
    Path
        Label, or zip.

    Raises
    ------
    OutputError
        If a variable is missing, has a wrong shape, a missing value where none can
        be written, or a value too wide for its field.
    """
    rows = _with_defaults(rows)
    arrays = _arrays(rows)
    table = _table_bytes(arrays)
    bounds = arrays["time_bounds"]
    first, last = bounds.min(), bounds.max()
    if command_window is None:
        whole = np.datetime64(last, "s") + np.timedelta64(1, "s")
        command_window = (np.datetime64(first, "s"), whole)
    stem = so_stem(rows, *command_window)
    text = label_text(
        stem=stem,
        columns=SO_COLUMNS,
        arrays=arrays,
        window=(_stamp(command_window[0]), _stamp(command_window[1])),
        times=(_utc(first), _utc(last)),
        attributes=rows.attrs,
        parameters=dict(parameters or {}),
        table=table,
        md5=hashlib.md5(table, usedforsecurity=False).hexdigest() if md5 else None,
    ).encode()
    folder = Path(out_dir)
    if archive:
        return _write_zip(folder, stem, text, table)
    _replace(folder / f"{stem}.tab", table)
    return _replace(folder / f"{stem}.xml", text)


def _replace(path: Path, data: bytes) -> Path:
    """Write to a temporary name first: a half-written product is never seen."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _write_zip(folder: Path, stem: str, label: bytes, table: bytes) -> Path:
    # delivery name: one stamp, YYYYMMDD-hhmmss00
    head, _, tail = stem.partition("T")
    date, clock = head[-8:], tail[:6]
    rest = stem.split("-", 2)[2]
    path = folder / f"{head[:-8]}{date}-{clock}00-{rest}_{VERSION}.zip"
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for suffix, data in (("xml", label), ("tab", table)):
                # fixed date: the same product gives the same bytes
                info = zipfile.ZipInfo(f"{stem}_{VERSION}.{suffix}")
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _with_defaults(rows: xr.Dataset) -> xr.Dataset:
    n = rows.sizes.get("spectrum", 0)
    if n == 0:
        msg = "dataset has no dimension 'spectrum', or no rows"
        raise OutputError(msg)
    known = set(rows.variables)
    extra: dict[str, Any] = {}
    if "pointing_deviation" not in known:
        extra["pointing_deviation"] = (("spectrum", "edge"), np.zeros((n, 2)))
    for name, points in (("point_x", POINTS_X), ("point_y", POINTS_Y)):
        if name not in known:
            extra[name] = (("spectrum", "point"), np.tile(points, (n, 1)))
    if "y_valid_flag" not in known:
        extra["y_valid_flag"] = ("spectrum", np.ones(n, dtype=bool))
    if {"bin_start", "bin_end"} <= known:
        top, bottom = int(rows["bin_start"].min()), int(rows["bin_end"].max())
        if "bin_top" not in known:
            extra["bin_top"] = ("spectrum", np.full(n, top))
        if "bin_height" not in known:
            extra["bin_height"] = ("spectrum", np.full(n, bottom - top))
    return rows.assign(extra)


def _arrays(rows: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    """Return all arrays with the row as first axis, sorted by altitude."""
    n = rows.sizes["spectrum"]
    shapes: dict[str, tuple[int, ...]] = {name: (n, SO_PIXELS) for name, *_ in _GROUPS}
    for column in SO_COLUMNS:
        sizes: dict[int, tuple[int, ...]] = {0: (), 1: (2,), 2: (len(POINTS_X), 2)}
        tail = sizes[len(column.index)]
        if column.variable in ("point_x", "point_y"):
            tail = (len(POINTS_X),)
        shapes[column.variable] = (n, *tail)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape in shapes.items():
        if name not in rows.variables:
            message = "dataset lacks a variable of an SO product"
            raise OutputError(message, field=name)
        value = rows[name].values
        if "spectrum" not in rows[name].dims:
            value = np.broadcast_to(value, (n, *value.shape))
        if value.shape != shape:
            message = f"variable has shape {value.shape}, must have {shape}"
            raise OutputError(message, field=name, value=value.shape)
        arrays[name] = value
    centre = arrays["tangent_altitude_areoid"][:, 0, :].mean(axis=1)
    # missing altitudes sort as the -999 they are written as
    order = np.argsort(np.where(np.isnan(centre), FILL, centre), kind="stable")
    return {name: value[order] for name, value in arrays.items()}


def _utc(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, unit='ms')}Z"


def _column_values(column: Column, values: np.ndarray[Any, Any]) -> list[Any]:
    index: tuple[Any, ...] = (slice(None), *column.index)
    picked = values[index]
    if column.data_type == _TIME:
        return [_utc(time) for time in picked]
    if column.data_type in (_INTEGER, _BOOLEAN):
        return [int(value) for value in picked]
    missing = np.isnan(picked)
    if missing.any() and not column.may_miss:
        message = "missing value in a field that cannot hold one"
        raise OutputError(message, field=column.name, record=int(missing.argmax()))
    return list(np.where(missing, FILL, picked))


def _table_bytes(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Print the table; every record is checked for its length."""
    columns = [_column_values(c, arrays[c.variable]) for c in SO_COLUMNS]
    form = "".join(f"{column.form} " for column in SO_COLUMNS)
    groups = []
    for name, _, text in _GROUPS:
        form += f"{text} " * SO_PIXELS
        groups.append(np.where(np.isnan(arrays[name]), FILL, arrays[name]))
    form += "\r\n"
    lines = []
    for row in range(len(columns[0])):
        values = [column[row] for column in columns]
        for group in groups:
            values.extend(group[row].tolist())
        line = form % tuple(values)
        if len(line) != SO_RECORD_LENGTH:
            raise _too_wide(row, values)
        lines.append(line)
    return "".join(lines).encode("ascii")


def _too_wide(row: int, values: list[Any]) -> OutputError:
    """Find the value that does not fit its field."""
    fields = [(c.name, c.form, c.length) for c in SO_COLUMNS]
    for name, length, form in _GROUPS:
        fields += [(name, form, length)] * SO_PIXELS
    for (name, form, length), value in zip(fields, values, strict=True):
        if len(form % value) != length - 1:
            message = f"value does not fit in {length - 1} characters"
            return OutputError(message, field=name, record=row, value=value)
    return OutputError("record has a wrong length", record=row)
