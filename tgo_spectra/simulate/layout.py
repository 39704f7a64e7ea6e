"""NOMAD tables of product version 3.0: byte layouts, one for each kind, and printing.

Each number is right-aligned and followed by one blank; -999 is missing; records end
in CR LF. UVIS spectra have as many pixels as the data; the infrared channels have 320.

References
----------
``l1p0a_to_psa`` of the producer's ``nomad_ops`` (version 3.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import OutputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "LAYOUTS",
    "Column",
    "Group",
    "Layout",
    "table_arrays",
    "table_bytes",
    "utc",
    "with_defaults",
]

FILL = -999.0

REAL, INTEGER = "ASCII_Real", "ASCII_Integer"
TIME, BOOLEAN = "ASCII_Date_Time_YMD_UTC", "ASCII_Boolean"

INFRARED_PIXELS = 320
"""Pixels of a spectrum of SO and LNO."""


@dataclass(frozen=True)
class Column:
    """One scalar field of the table.

    ``index`` is the place within the level-1 ``variable`` after the row; ``form``
    prints the first ``length - 1`` bytes; NaN, where it ``may_miss``, becomes -999.
    """

    name: str
    variable: str
    index: tuple[int, ...]
    data_type: str
    length: int
    form: str
    unit: str = ""
    may_miss: bool = False


@dataclass(frozen=True)
class Group:
    """One value for every pixel: a group with a field, ``inner``, as `Column` has."""

    name: str
    inner: str
    variable: str
    data_type: str
    length: int
    form: str
    unit: str = ""


@dataclass(frozen=True)
class Layout:
    """Table of one kind of product: scalar fields and groups in their order.

    ``points_x``, ``points_y`` are the points of the field of view; 0 is the centre.
    """

    channel: str
    occultation: bool
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    points_x: tuple[float, ...]
    points_y: tuple[float, ...]

    @property
    def scalar_length(self) -> int:
        """Bytes of the scalar fields."""
        return sum(column.length for column in self.columns)

    def record_length(self, pixels: int) -> int:
        """Return the bytes of a record with its CR LF.

        Examples
        --------
        >>> LAYOUTS["so", True].record_length(320)
        12163
        """
        return self.scalar_length + pixels * sum(g.length for g in self.groups) + 2


# Corners of the slit, in half widths (x) and half heights (y).
_CORNERS = ((0.0, 1.0, -1.0, -1.0, 1.0), (0.0, 1.0, 1.0, -1.0, -1.0))
# Rim of the round field of view, clockwise from the top; the table prints 3 decimals.
_D = round(math.sqrt(0.5), 3)
_OCTAGON = (
    (0.0, 0.0, _D, 1.0, _D, 0.0, -_D, -1.0, -_D),
    (0.0, 1.0, _D, 0.0, -_D, -1.0, -_D, 0.0, _D),
)

_PER_EDGE = (
    ("ObsAlt", "obs_altitude", "%8.2f", "kilometres"),
    ("SubObsLon", "sub_obs_longitude", "%8.3f", "degrees"),
    ("SubObsLat", "sub_obs_latitude", "%8.3f", "degrees"),
    ("LSubS", "l_sub_s", "%8.4f", "degrees"),
    ("SubSolLon", "sub_sol_longitude", "%8.3f", "degrees"),
    ("SubSolLat", "sub_sol_latitude", "%8.3f", "degrees"),
)
_POINTING = ("PointingDeviation", "pointing_deviation", "%8.3f", "arcminutes")
_PER_POINT = (
    ("Lon", "point_longitude", "%8.3f", "degrees"),
    ("Lat", "point_latitude", "%8.3f", "degrees"),
    ("LST", "point_local_true_solar_time", "%8.3f", "hours"),
)
_TANGENT = (
    ("TangentAltEllipsoid", "tangent_altitude_ellipsoid", "%8.2f", "kilometres"),
    ("TangentAltAreoid", "tangent_altitude_areoid", "%8.2f", "kilometres"),
    ("TangentAltSurface", "tangent_altitude_surface", "%8.2f", "kilometres"),
    ("SlantPathDistance", "slant_path_distance", "%8.2f", "kilometres"),
)
_SURFACE = (
    ("IncidenceAngle", "incidence_angle", "%8.3f", "degrees"),
    ("EmissionAngle", "emission_angle", "%8.3f", "degrees"),
    ("PhaseAngle", "phase_angle", "%8.3f", "degrees"),
    ("SurfaceAltAreoid", "surface_altitude_areoid", "%8.3f", "kilometres"),
    ("SurfaceRadius", "surface_radius", "%8.2f", "kilometres"),
)
_EDGES = ("Start", "End")


def _settings(channel: str) -> list[Column]:
    form = "%12.5e"
    result = [
        Column("ObservationDatetimeStart", "time_bounds", (0,), TIME, 28, "%-27s"),
        Column("ObservationDatetimeEnd", "time_bounds", (1,), TIME, 28, "%-27s"),
    ]
    if channel != "uvis":
        result += [
            Column(
                "AOTFFrequency", "aotf_frequency", (), REAL, 11, "%10.2f", "kilohertz"
            ),
            Column("BinTop", "bin_top", (), INTEGER, 4, "%3i"),
            Column("BinHeight", "bin_height", (), INTEGER, 4, "%3i"),
            Column("BinStart", "bin_start", (), INTEGER, 4, "%3i"),
            Column("BinEnd", "bin_end", (), INTEGER, 4, "%3i"),
            Column("DiffractionOrder", "order", (), INTEGER, 4, "%3i"),
        ]
        name, variable = "InstrumentTemperature", "instrument_temperature"
        result.append(Column(name, variable, (), REAL, 13, form, "celsius"))
    name, variable = "DetectorTemperature", "detector_temperature"
    result.append(Column(name, variable, (), REAL, 13, form, "kelvin"))
    result.append(Column("YValidFlag", "y_valid_flag", (), BOOLEAN, 2, "%1i"))
    return result


def _columns(channel: str, occultation: bool, points: int) -> tuple[Column, ...]:
    result = _settings(channel)
    for name, variable, form, unit in (*_PER_EDGE, *(_POINTING,) * occultation):
        result += [
            Column(f"{word}{name}", variable, (edge,), REAL, 9, form, unit)
            for edge, word in enumerate(_EDGES)
        ]
    per_point = (*_PER_POINT, *(_TANGENT if occultation else _SURFACE))
    for k in range(points):
        for axis in "XY":
            variable = f"point_{axis.lower()}"
            result.append(
                Column(f"Point{axis}{k}", variable, (k,), REAL, 9, "%8.3f", "", True)
            )
        for name, variable, form, unit in per_point:
            result += [
                Column(
                    f"{name}{word}{k}", variable, (k, edge), REAL, 9, form, unit, True
                )
                for edge, word in enumerate(_EDGES)
            ]
    return tuple(result)


def _groups(channel: str, occultation: bool) -> tuple[Group, ...]:
    axis, unit = "Wavenumber", "wavenumbers"
    if channel == "uvis":
        axis, unit = "Wavelength", "nanometres"
    inner = f"Pixel {axis.lower()}"
    result = [Group(axis, inner, axis.lower(), REAL, 9, "%8.3f", unit)]
    if occultation:
        values = {
            "Transmittance": "transmittance",
            "Transmittance error": "transmittance_error",
        }
    elif channel == "uvis":
        values = {"Radiance": "radiance", "Radiance error": "radiance_error"}
    else:
        values = {
            "Reflectance factor": "reflectance_factor",
            "Reflectance factor (baseline removed)": "reflectance_factor_corrected",
        }
    for name, variable in values.items():
        inner = f"Pixel {name[0].lower()}{name[1:]}"
        result.append(Group(name, inner, variable, REAL, 13, "%12.5e"))
    if channel == "uvis":
        result.append(Group("Mask", "Pixel mask", "mask", BOOLEAN, 2, "%1i"))
    return tuple(result)


def _layout(channel: str, occultation: bool) -> Layout:
    points_x, points_y = _OCTAGON if channel == "uvis" else _CORNERS
    return Layout(
        channel=channel,
        occultation=occultation,
        columns=_columns(channel, occultation, len(points_x)),
        groups=_groups(channel, occultation),
        points_x=points_x,
        points_y=points_y,
    )


LAYOUTS: dict[tuple[str, bool], Layout] = {
    (channel, occultation): _layout(channel, occultation)
    for channel, occultation in (
        ("so", True),
        ("lno", True),
        ("lno", False),
        ("uvis", True),
        ("uvis", False),
    )
}
"""Layout of each channel, in occultation (True) and nadir (False)."""


def utc(time: np.datetime64) -> str:
    """Time as tables and labels have it."""
    return f"{np.datetime_as_string(time, unit='ms')}Z"


def with_defaults(rows: xr.Dataset, layout: Layout) -> xr.Dataset:
    """Add what a product has and a level-1 Dataset may lack."""
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


def table_arrays(rows: xr.Dataset, layout: Layout) -> dict[str, np.ndarray[Any, Any]]:
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


def _column_values(column: Column, values: np.ndarray[Any, Any]) -> list[Any]:
    index: tuple[Any, ...] = (slice(None), *column.index)
    picked = values[index]
    if column.data_type == TIME:
        return [utc(time) for time in picked]
    if column.data_type in (INTEGER, BOOLEAN):
        return [int(value) for value in picked]
    missing = np.isnan(picked)
    if missing.any() and not column.may_miss:
        message = "missing value in a field that cannot hold one"
        raise OutputError(message, field=column.name, record=int(missing.argmax()))
    return list(np.where(missing, FILL, picked))


def table_bytes(arrays: dict[str, np.ndarray[Any, Any]], layout: Layout) -> bytes:
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
