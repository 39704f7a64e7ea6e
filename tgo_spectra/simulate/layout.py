"""Byte layouts of the NOMAD tables of product version 3.0, one for each kind.

Each number is right-aligned and followed by one blank; -999 is missing; records end
in CR LF. UVIS spectra have as many pixels as the data; the infrared channels have 320.

References
----------
``l1p0a_to_psa`` of the producer's ``nomad_ops`` (version 3.0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["LAYOUTS", "Column", "Group", "Layout"]

REAL, INTEGER = "ASCII_Real", "ASCII_Integer"
TIME, BOOLEAN = "ASCII_Date_Time_YMD_UTC", "ASCII_Boolean"

INFRARED_PIXELS = 320
"""Pixels of a spectrum of SO and LNO."""


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


@dataclass(frozen=True)
class Group:
    """One value for every pixel.

    Attributes
    ----------
    name, inner : str
        Names of the group and of the field in it.
    variable : str
        Level-1 variable.
    data_type, unit, form : str
        As in `Column`.
    length : int
        Bytes of one value, with the trailing blank.
    """

    name: str
    inner: str
    variable: str
    data_type: str
    length: int
    form: str
    unit: str = ""


@dataclass(frozen=True)
class Layout:
    """Table of one kind of product.

    Attributes
    ----------
    channel : {"so", "lno", "uvis"}
        Spectrometer.
    occultation : bool
        Occultation, or nadir.
    columns : tuple of Column
        Scalar fields in their order.
    groups : tuple of Group
        Groups in their order.
    points_x, points_y : tuple of float
        The points of the field of view, as written in the table; 0 is the centre.
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
