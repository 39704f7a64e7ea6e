"""Label of a synthetic NOMAD product (PDS4 information model 1.15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tgo_spectra.simulate.layout import Layout

__all__ = ["label_text"]

_BUNDLE = "urn:esa:psa:em16_tgo_nmd"

_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1"
    xmlns:geom="http://pds.nasa.gov/pds4/geom/v1"
    xmlns:psa="http://psa.esa.int/psa/v1"
    xmlns:em16_tgo_nmd="http://psa.esa.int/psa/em16/tgo/nmd/v1"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <Identification_Area>
        <logical_identifier>{lid}</logical_identifier>
        <version_id>{version}</version_id>
        <title>NOMAD Experiment (SYNTHETIC)</title>
        <information_model_version>1.15.0.0</information_model_version>
        <product_class>Product_Observational</product_class>
        <Modification_History>
            <Modification_Detail>
                <modification_date>{stop_date}</modification_date>
                <version_id>{version}</version_id>
                <description>SYNTHETIC, by tgo_spectra; no measurement</description>
            </Modification_Detail>
        </Modification_History>
    </Identification_Area>
    <Observation_Area>
        <Time_Coordinates>
            <start_date_time>{start}</start_date_time>
            <stop_date_time>{stop}</stop_date_time>
        </Time_Coordinates>
        <Primary_Result_Summary>
            <purpose>Science</purpose>
            <processing_level>Calibrated</processing_level>
            <description>{description} (synthetic)</description>
        </Primary_Result_Summary>
        <Investigation_Area>
            <name>ExoMars 2016</name>
            <type>Mission</type>
            <Internal_Reference>
                <lid_reference>urn:esa:psa:context:investigation:mission.em16</lid_reference>
                <reference_type>data_to_investigation</reference_type>
            </Internal_Reference>
        </Investigation_Area>
        <Observing_System>
            <name>NOMAD</name>
            <Observing_System_Component>
                <name>Trace Gas Orbiter</name>
                <type>Spacecraft</type>
                <Internal_Reference>
                    <lid_reference>urn:esa:psa:context:instrument_host:spacecraft.tgo</lid_reference>
                    <reference_type>is_instrument_host</reference_type>
                </Internal_Reference>
            </Observing_System_Component>
            <Observing_System_Component>
                <name>NOMAD</name>
                <type>Instrument</type>
                <Internal_Reference>
                    <lid_reference>urn:esa:psa:context:instrument:tgo.nmd</lid_reference>
                    <reference_type>is_instrument</reference_type>
                </Internal_Reference>
            </Observing_System_Component>
        </Observing_System>
        <Target_Identification>
            <name>Mars</name>
            <type>Planet</type>
            <Internal_Reference>
                <lid_reference>urn:nasa:pds:context:target:planet.mars</lid_reference>
                <reference_type>data_to_target</reference_type>
            </Internal_Reference>
        </Target_Identification>
        <Mission_Area>
            <psa:Mission_Information>
                <psa:Mission_Phase>
                    <psa:name>Science Phase</psa:name>
                    <psa:id>psp</psa:id>
                </psa:Mission_Phase>
                <psa:start_orbit_number>{orbit}</psa:start_orbit_number>
                <psa:stop_orbit_number>{orbit}</psa:stop_orbit_number>
            </psa:Mission_Information>
            <psa:Sub-Instrument>
                <psa:identifier>{channel}</psa:identifier>
                <psa:name>{channel_name}</psa:name>
                <psa:type>Spectrometer</psa:type>
            </psa:Sub-Instrument>
            <em16_tgo_nmd:Synthetic_Parameters>
{parameters}
            </em16_tgo_nmd:Synthetic_Parameters>
        </Mission_Area>
        <Discipline_Area>
            <geom:Geometry>
                <geom:Synthetic_Geometry_Summary>
{geometry}
                </geom:Synthetic_Geometry_Summary>
            </geom:Geometry>
        </Discipline_Area>
    </Observation_Area>
    <Reference_List>
        <Internal_Reference>
            <lid_reference>{bundle}:data_partially_processed:{source}</lid_reference>
            <reference_type>data_to_partially_processed_product</reference_type>
        </Internal_Reference>
    </Reference_List>
    <File_Area_Observational>
        <File>
            <file_name>{stem}.tab</file_name>
            <local_identifier>{stem}.tab</local_identifier>
            <creation_date_time>{stop}</creation_date_time>
            <file_size unit="byte">{file_size}</file_size>
            <records>{records}</records>{md5}
        </File>
        <Table_Character>
            <name>CAL_NOMAD_{name}</name>
            <offset unit="byte">0</offset>
            <records>{records}</records>
            <record_delimiter>Carriage-Return Line-Feed</record_delimiter>
            <Record_Character>
                <fields>{fields}</fields>
                <groups>{groups}</groups>
                <record_length unit="byte">{record_length}</record_length>
"""

_TAIL = """\
            </Record_Character>
        </Table_Character>
    </File_Area_Observational>
</Product_Observational>
"""

_DESCRIPTION = "NOMAD {} Calibrated Science Product"
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
    md5: str | None,
) -> str:
    """Return the label of a synthetic product as XML text.

    Parameters
    ----------
    stem : str
        Product name without suffix.
    layout : Layout
        Fields and groups, in their order.
    arrays : mapping
        Level-1 arrays in the order of the table.
    window, times : pair of str
        Telecommand window as in the name; first start and last end (UTC).
    attributes : mapping
        ``orbit`` and ``observation_type`` are used.
    parameters : mapping
        Further Mission_Area elements; replace those of the same name.
    version : str
        Product version.
    repeat_location : bool
        Give the third group the location of the second.
    table : bytes
        The table, for its size.
    md5 : str or None
        Checksum to state.

    Returns
    -------
    str
    """
    records = len(arrays["time_bounds"])
    source = stem.lower().replace("nmd_cal_", "nmd_par_", 1)
    values = _parameters(layout, arrays, window, attributes, parameters)
    head = _HEAD.format(
        version=version,
        channel=layout.channel,
        channel_name=_CHANNEL_NAMES[layout.channel],
        name=layout.channel.upper(),
        description=_DESCRIPTION.format(layout.channel.upper()),
        lid=f"{_BUNDLE}:data_calibrated:{stem.lower()}",
        bundle=_BUNDLE,
        source=source,
        stem=stem,
        start=times[0],
        stop=times[1],
        stop_date=times[1][:10],
        orbit=int(attributes.get("orbit", 0)),
        parameters=_elements("em16_tgo_nmd", values, 16),
        geometry=_elements("geom", _geometry(arrays), 20),
        file_size=len(table),
        records=records,
        md5=f"\n            <md5_checksum>{md5}</md5_checksum>" if md5 else "",
        fields=len(layout.columns),
        groups=len(layout.groups),
        record_length=len(table) // records,
    )
    pixels = arrays[layout.groups[0].variable].shape[1]
    return head + _fields(layout) + _groups(layout, pixels, repeat_location) + _TAIL


def _elements(prefix: str, values: Mapping[str, object], indent: int) -> str:
    blank = " " * indent
    return "\n".join(
        f"{blank}<{prefix}:{name}>{escape(str(value))}</{prefix}:{name}>"
        for name, value in values.items()
    )


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
        "ProductDescription": _DESCRIPTION.format(name),
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


def _fields(layout: Layout) -> str:
    parts = []
    location = 1
    for number, column in enumerate(layout.columns, 1):
        # only the point geometry declares its missing value, as in the archive
        special = (
            """
                    <Special_Constants>
                        <error_constant>-999.0</error_constant>
                    </Special_Constants>"""
            if column.may_miss
            else ""
        )
        unit = (
            f"\n                    <unit>{column.unit}</unit>" if column.unit else ""
        )
        parts.append(
            f"""\
                <Field_Character>
                    <name>{column.name}</name>
                    <field_number>{number}</field_number>
                    <field_location unit="byte">{location}</field_location>
                    <data_type>{column.data_type}</data_type>
                    <field_length unit="byte">{column.length}</field_length>{unit}
                    <description>{column.name}</description>{special}
                </Field_Character>
"""
        )
        location += column.length
    return "".join(parts)


def _groups(layout: Layout, pixels: int, repeat_location: bool) -> str:
    parts = []
    location = layout.scalar_length + 1
    for number, group in enumerate(layout.groups):
        space = "\n                        "
        unit = f"{space}<unit>{group.unit}</unit>" if group.unit else ""
        stated = location
        if repeat_location and number == 2:
            stated -= pixels * layout.groups[1].length
        parts.append(
            f"""\
                <Group_Field_Character>
                    <name>{group.name}</name>
                    <group_number>1</group_number>
                    <repetitions>{pixels}</repetitions>
                    <fields>1</fields>
                    <groups>0</groups>
                    <group_location unit="byte">{stated}</group_location>
                    <group_length unit="byte">{pixels * group.length}</group_length>
                    <Field_Character>
                        <name>{group.inner}</name>
                        <field_location unit="byte">1</field_location>
                        <data_type>{group.data_type}</data_type>
                        <field_length unit="byte">{group.length}</field_length>{unit}
                        <description>{group.inner}</description>
                    </Field_Character>
                </Group_Field_Character>
"""
        )
        location += pixels * group.length
    return "".join(parts)
