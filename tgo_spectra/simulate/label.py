"""Labels of synthetic products (PDS4 information model 1.15), one maker for all.

A label is a tree of elements: a name with attributes, and a text or more elements.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tgo_spectra.simulate.layout import Layout

    Element = tuple[str, object]
    """Name with attributes, and a list of elements or a text."""

__all__ = ["label_text", "nomad_label", "reference"]

_SPACES = (
    'xmlns="http://pds.nasa.gov/pds4/pds/v1"',
    'xmlns:geom="http://pds.nasa.gov/pds4/geom/v1"',
    'xmlns:psa="http://psa.esa.int/psa/v1"',
    'xmlns:em16_tgo_nmd="http://psa.esa.int/psa/em16/tgo/nmd/v1"',
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
)
_CONTEXT = "urn:esa:psa:context"
_BUNDLE = "urn:esa:psa:em16_tgo_nmd"
_CHANNEL_NAMES = {
    "so": "Solar Occultation",
    "lno": "Limb, Nadir and Occultation",
    "uvis": "Ultraviolet and Visible Spectrometer",
}

_FLAGS = (
    "HSKDisturbed",
    "HSKOutOfBounds",
    "DiscardedPackets",
    "DetectorSaturated",
    "PointingError",
    "BadPixelsHInterpolated",
    "BadPixelsVInterpolated",
    "BadPixelsMasked",
    "LNOStraylight",
    "HighInstrumentTemperature",
    "UVISOccBoresight",
    "LNOOccBoresight",
    "MIROccBoresight",
    "TIRVIMOccBoresight",
    "CalibrationFailed",
)


def label_text(
    *,
    instrument: str,
    title: str,
    description: str,
    lid: str,
    version: str,
    times: tuple[str, str],
    mission: list[Element],
    discipline: Sequence[Element] = (),
    references: Sequence[Element] = (),
    file_name: str,
    data: bytes,
    records: int | None = None,
    md5: bool = True,
    objects: list[Element],
) -> str:
    """Return the label of a synthetic product of one data file as XML text.

    ``mission``, ``discipline`` and ``references`` are the elements of the areas of
    these names, ``objects`` what describes the data; ``records`` is given if all bytes
    of the file are records.
    """
    start, stop = times
    change = [
        ("modification_date", stop[:10]),
        ("version_id", version),
        ("description", "SYNTHETIC, by tgo_spectra; no measurement"),
    ]
    short = {"NOMAD": "nmd", "ACS": "acs"}[instrument]
    system = [
        ("name", instrument),
        _component(
            "Trace Gas Orbiter",
            "Spacecraft",
            f"{_CONTEXT}:instrument_host:spacecraft.tgo",
            "is_instrument_host",
        ),
        _component(
            instrument,
            "Instrument",
            f"{_CONTEXT}:instrument:tgo.{short}",
            "is_instrument",
        ),
    ]
    observation = [
        ("Time_Coordinates", [("start_date_time", start), ("stop_date_time", stop)]),
        (
            "Primary_Result_Summary",
            [
                ("purpose", "Science"),
                ("processing_level", "Calibrated"),
                ("description", f"{description} (synthetic)"),
            ],
        ),
        (
            "Investigation_Area",
            [
                ("name", "ExoMars 2016"),
                ("type", "Mission"),
                reference(
                    f"{_CONTEXT}:investigation:mission.em16", "data_to_investigation"
                ),
            ],
        ),
        ("Observing_System", system),
        (
            "Target_Identification",
            [
                ("name", "Mars"),
                ("type", "Planet"),
                reference("urn:nasa:pds:context:target:planet.mars", "data_to_target"),
            ],
        ),
        ("Mission_Area", mission),
    ]
    if discipline:
        observation.append(("Discipline_Area", list(discipline)))
    file = [
        ("file_name", file_name),
        ("local_identifier", file_name),
        ("creation_date_time", stop),
        ('file_size unit="byte"', len(data)),
    ]
    if records is not None:
        file.append(("records", records))
    if md5:
        checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()
        file.append(("md5_checksum", checksum))
    identification = [
        ("logical_identifier", lid),
        ("version_id", version),
        ("title", title),
        ("information_model_version", "1.15.0.0"),
        ("product_class", "Product_Observational"),
        ("Modification_History", [("Modification_Detail", change)]),
    ]
    areas = [
        ("Identification_Area", identification),
        ("Observation_Area", observation),
        *([("Reference_List", list(references))] if references else []),
        ("File_Area_Observational", [("File", file), *objects]),
    ]
    root = "Product_Observational " + "\n    ".join(_SPACES)
    lines = _lines(root, areas, "")
    return "\n".join(('<?xml version="1.0" encoding="UTF-8"?>', *lines, ""))


def _lines(name: str, content: object, indent: str) -> Iterator[str]:
    end = f"</{name.partition(' ')[0]}>"
    if isinstance(content, list):
        yield f"{indent}<{name}>"
        for tag, inner in content:
            yield from _lines(tag, inner, f"{indent}    ")
        yield f"{indent}{end}"
    else:
        yield f"{indent}<{name}>{escape(str(content))}{end}"


def reference(lid: str, kind: str) -> Element:
    """Refer to another product or context."""
    return "Internal_Reference", [("lid_reference", lid), ("reference_type", kind)]


def _component(name: str, kind: str, lid: str, relation: str) -> Element:
    content = [("name", name), ("type", kind), reference(lid, relation)]
    return "Observing_System_Component", content


def nomad_label(
    *,
    stem: str,
    layout: Layout,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    window: tuple[str, str],
    times: tuple[str, str],
    attributes: Mapping[Any, Any],
    parameters: Mapping[str, object],
    version: str,
    repeat_location: bool,
    table: bytes,
    md5: bool,
) -> str:
    """Return the label of a synthetic NOMAD product, see `product_files`.

    ``arrays`` are in the order of the table, ``window`` is that of the telecommand as
    in the name, ``times`` first start and last end (UTC).
    """
    records = len(arrays["time_bounds"])
    channel = layout.channel
    orbit = int(attributes.get("orbit", 0))
    values = _parameters(layout, arrays, window, attributes, parameters)
    mission = [
        (
            "psa:Mission_Information",
            [
                (
                    "psa:Mission_Phase",
                    [("psa:name", "Science Phase"), ("psa:id", "psp")],
                ),
                ("psa:start_orbit_number", orbit),
                ("psa:stop_orbit_number", orbit),
            ],
        ),
        (
            "psa:Sub-Instrument",
            [
                ("psa:identifier", channel),
                ("psa:name", _CHANNEL_NAMES[channel]),
                ("psa:type", "Spectrometer"),
            ],
        ),
        ("em16_tgo_nmd:Synthetic_Parameters", _with_prefix("em16_tgo_nmd", values)),
    ]
    summary = _with_prefix("geom", _geometry(arrays))
    geometry = [("geom:Synthetic_Geometry_Summary", summary)]
    source = stem.lower().replace("nmd_cal_", "nmd_par_", 1)
    pixels = arrays[layout.groups[0].variable].shape[1]
    record = [
        ("fields", len(layout.columns)),
        ("groups", len(layout.groups)),
        ('record_length unit="byte"', len(table) // records),
        *_fields(layout),
        *_groups(layout, pixels, repeat_location),
    ]
    objects = [
        ("name", f"CAL_NOMAD_{channel.upper()}"),
        ('offset unit="byte"', 0),
        ("records", records),
        ("record_delimiter", "Carriage-Return Line-Feed"),
        ("Record_Character", record),
    ]
    return label_text(
        instrument="NOMAD",
        title="NOMAD Experiment (SYNTHETIC)",
        description=_description(channel),
        lid=f"{_BUNDLE}:data_calibrated:{stem.lower()}",
        version=version,
        times=times,
        mission=mission,
        discipline=[("geom:Geometry", geometry)],
        references=[
            reference(
                f"{_BUNDLE}:data_partially_processed:{source}",
                "data_to_partially_processed_product",
            )
        ],
        file_name=f"{stem}.tab",
        data=table,
        records=records,
        md5=md5,
        objects=[("Table_Character", objects)],
    )


def _description(channel: str) -> str:
    return f"NOMAD {channel.upper()} Calibrated Science Product"


def _with_prefix(prefix: str, values: Mapping[str, object]) -> list[Element]:
    return [(f"{prefix}:{name}", value) for name, value in values.items()]


def _parameters(
    layout: Layout,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    window: tuple[str, str],
    attributes: Mapping[Any, Any],
    parameters: Mapping[str, object],
) -> dict[str, object]:
    kind = str(attributes.get("observation_type", ""))[:1].upper()
    name = layout.channel.upper()
    values: dict[str, object] = {
        "SyntheticNotice": "SYNTHETIC DATA, NOT A MEASUREMENT",
        "ProductDescription": _description(layout.channel),
        "ClockStartCount": window[0],
        "ClockStopCount": window[1],
        "PipelineVersion": "synthetic",
        "ChannelName": name,
        "Desc": "SYNTHETIC",
        "NSpec": len(arrays["time_bounds"]),
        "ObservationType": kind,
        "DetectorTemperature": f"{arrays['detector_temperature'][0]:.5f}",
        "XCalibRef": "CalibrationTime=synthetic; CalibrationTemperature=synthetic",
        "YCalibRef": "synthetic",
    }
    if "order" in arrays:
        # those of the first row, also for a full scan
        temperature = arrays["instrument_temperature"][0]
        values["AOTFFrequency"] = f"{arrays['aotf_frequency'][0]:.2f}"
        values["DiffractionOrder"] = int(arrays["order"][0])
        values["InstrumentTemperature"] = f"{temperature:.5f}"
        if (arrays["order"] != arrays["order"][0]).any():
            values["Desc"] = "SYNTHETIC FULLSCAN"
    values.update(dict.fromkeys(_FLAGS, 0))
    values.update(parameters)
    return values


def _geometry(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, str]:
    """First and last row (of an occultation: lowest and highest), and extremes."""
    found = {}
    extremes = {
        "lon": "point_longitude",
        "lat": "point_latitude",
        "sub_obs_lon": "sub_obs_longitude",
        "sub_obs_lat": "sub_obs_latitude",
        "incidence": "incidence_angle",
        "emission": "emission_angle",
        "phase": "phase_angle",
    }
    ends = {
        "lst": "point_local_true_solar_time",
        "alt": "tangent_altitude_ellipsoid",
        "slant_path_dist": "slant_path_distance",
        "lsubs": "l_sub_s",
        "sub_sol_lon": "sub_sol_longitude",
        "sub_sol_lat": "sub_sol_latitude",
    }
    for name, variable in (extremes | ends).items():
        if variable not in arrays:
            continue
        edges = arrays[variable]
        edges = edges[:, 0] if edges.ndim == 3 else edges
        values = np.where(np.isnan(edges), -999.0, edges)
        found[f"first_{name}"] = f"{values[0, 0]:.3f}"
        found[f"last_{name}"] = f"{values[-1, 1]:.3f}"
        if name in extremes and not np.isnan(edges).all():
            found[f"min_{name}"] = f"{np.nanmin(edges):.3f}"
            found[f"max_{name}"] = f"{np.nanmax(edges):.3f}"
    return found


def _fields(layout: Layout) -> Iterator[Element]:
    location = 1
    for number, column in enumerate(layout.columns, 1):
        content: list[Element] = [
            ("name", column.name),
            ("field_number", number),
            ('field_location unit="byte"', location),
            ("data_type", column.data_type),
            ('field_length unit="byte"', column.length),
            *([("unit", column.unit)] if column.unit else []),
            ("description", column.name),
        ]
        # only the point geometry declares its missing value, as in the archive
        if column.may_miss:
            content.append(("Special_Constants", [("error_constant", "-999.0")]))
        yield "Field_Character", content
        location += column.length


def _groups(layout: Layout, pixels: int, repeat_location: bool) -> Iterator[Element]:
    location = layout.scalar_length + 1
    for number, group in enumerate(layout.groups):
        repeated = repeat_location and number == 2
        stated = location - pixels * layout.groups[1].length * repeated
        inner = [
            ("name", group.inner),
            ('field_location unit="byte"', 1),
            ("data_type", group.data_type),
            ('field_length unit="byte"', group.length),
            *([("unit", group.unit)] if group.unit else []),
            ("description", group.inner),
        ]
        content = [
            ("name", group.name),
            ("group_number", 1),
            ("repetitions", pixels),
            ("fields", 1),
            ("groups", 0),
            ('group_location unit="byte"', stated),
            ('group_length unit="byte"', pixels * group.length),
            ("Field_Character", inner),
        ]
        yield "Group_Field_Character", content
        location += pixels * group.length
