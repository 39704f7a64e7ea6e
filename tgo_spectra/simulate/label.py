"""Label of a synthetic NOMAD SO product (PDS4 information model 1.15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tgo_spectra.simulate.product import Column

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
        <version_id>3.0</version_id>
        <title>NOMAD Experiment (SYNTHETIC)</title>
        <information_model_version>1.15.0.0</information_model_version>
        <product_class>Product_Observational</product_class>
        <Modification_History>
            <Modification_Detail>
                <modification_date>{stop_date}</modification_date>
                <version_id>3.0</version_id>
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
            <description>NOMAD SO Calibrated Science Product (synthetic)</description>
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
                <psa:identifier>so</psa:identifier>
                <psa:name>Solar Occultation</psa:name>
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
            <name>CAL_NOMAD_SO</name>
            <offset unit="byte">0</offset>
            <records>{records}</records>
            <record_delimiter>Carriage-Return Line-Feed</record_delimiter>
            <Record_Character>
                <fields>{fields}</fields>
                <groups>3</groups>
                <record_length unit="byte">{record_length}</record_length>
"""

_TAIL = """\
            </Record_Character>
        </Table_Character>
    </File_Area_Observational>
</Product_Observational>
"""

_GROUPS = (
    ("Wavenumber", "Pixel wavenumber", 9, "wavenumbers"),
    ("Transmittance", "Pixel transmittance", 13, ""),
    ("Transmittance error", "Pixel transmittance error", 13, ""),
)

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
    columns: Sequence[Column],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    window: tuple[str, str],
    times: tuple[str, str],
    attributes: Mapping[Any, Any],
    parameters: Mapping[str, object],
    table: bytes,
    md5: str | None,
) -> str:
    """Return the label of a synthetic SO product as XML text.

    Parameters
    ----------
    stem : str
        Product name without suffix.
    columns : sequence of Column
        Scalar fields, in their order.
    arrays : mapping
        Level-1 arrays in the order of the table.
    window, times : pair of str
        Telecommand window as in the name; first start and last end (UTC).
    attributes : mapping
        ``orbit`` and ``observation_type`` are used.
    parameters : mapping
        Further Mission_Area elements; replace those of the same name.
    table : bytes
        The table, for its size.
    md5 : str or None
        Checksum to state.

    Returns
    -------
    str
    """
    records = len(arrays["order"])
    source = stem.lower().replace("nmd_cal_", "nmd_par_", 1)
    head = _HEAD.format(
        lid=f"{_BUNDLE}:data_calibrated:{stem.lower()}",
        bundle=_BUNDLE,
        source=source,
        stem=stem,
        start=times[0],
        stop=times[1],
        stop_date=times[1][:10],
        orbit=int(attributes.get("orbit", 0)),
        parameters=_elements(
            "em16_tgo_nmd", _parameters(arrays, window, attributes, parameters), 16
        ),
        geometry=_elements("geom", _geometry(arrays), 20),
        file_size=len(table),
        records=records,
        md5=f"\n            <md5_checksum>{md5}</md5_checksum>" if md5 else "",
        fields=len(columns),
        record_length=len(table) // records,
    )
    return head + _fields(columns) + _TAIL


def _elements(prefix: str, values: Mapping[str, object], indent: int) -> str:
    blank = " " * indent
    return "\n".join(
        f"{blank}<{prefix}:{name}>{escape(str(value))}</{prefix}:{name}>"
        for name, value in values.items()
    )


def _parameters(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    window: tuple[str, str],
    attributes: Mapping[Any, Any],
    parameters: Mapping[str, object],
) -> dict[str, object]:
    kind = str(attributes.get("observation_type", ""))[:1].upper()
    values: dict[str, object] = {
        "SyntheticNotice": "SYNTHETIC DATA, NOT A MEASUREMENT",
        "ProductDescription": "NOMAD SO Calibrated Science Product",
        "ClockStartCount": window[0],
        "ClockStopCount": window[1],
        "PipelineVersion": "synthetic",
        "ChannelName": "SO",
        "Desc": "SYNTHETIC",
        "NSpec": len(arrays["order"]),
        "ObservationType": kind,
        "AOTFFrequency": f"{arrays['aotf_frequency'][0]:.2f}",
        "DiffractionOrder": int(arrays["order"][0]),
        "InstrumentTemperature": f"{arrays['instrument_temperature'][0]:.5f}",
        "DetectorTemperature": f"{arrays['detector_temperature'][0]:.5f}",
        "XCalibRef": "CalibrationTime=synthetic; CalibrationTemperature=synthetic",
        "YCalibRef": "synthetic",
    }
    values.update(dict.fromkeys(_FLAGS, 0))
    values.update(parameters)
    return values


def _geometry(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, str]:
    """First and last row (lowest and highest altitude), and extremes."""
    found = {}
    series = {
        "lon": arrays["point_longitude"][:, 0],
        "lat": arrays["point_latitude"][:, 0],
        "sub_obs_lon": arrays["sub_obs_longitude"],
        "sub_obs_lat": arrays["sub_obs_latitude"],
    }
    ends = {
        "lst": arrays["point_local_true_solar_time"][:, 0],
        "alt": arrays["tangent_altitude_ellipsoid"][:, 0],
        "slant_path_dist": arrays["slant_path_distance"][:, 0],
        "lsubs": arrays["l_sub_s"],
        "sub_sol_lon": arrays["sub_sol_longitude"],
        "sub_sol_lat": arrays["sub_sol_latitude"],
    }
    for name, edges in (series | ends).items():
        values = np.where(np.isnan(edges), -999.0, edges)
        found[f"first_{name}"] = f"{values[0, 0]:.3f}"
        found[f"last_{name}"] = f"{values[-1, 1]:.3f}"
        if name in series and not np.isnan(edges).all():
            found[f"min_{name}"] = f"{np.nanmin(edges):.3f}"
            found[f"max_{name}"] = f"{np.nanmax(edges):.3f}"
    return found


def _fields(columns: Sequence[Column]) -> str:
    parts = []
    location = 1
    for number, column in enumerate(columns, 1):
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
    for name, inner, length, text in _GROUPS:
        unit = f"\n                        <unit>{text}</unit>" if text else ""
        parts.append(
            f"""\
                <Group_Field_Character>
                    <name>{name}</name>
                    <group_number>1</group_number>
                    <repetitions>320</repetitions>
                    <fields>1</fields>
                    <groups>0</groups>
                    <group_location unit="byte">{location}</group_location>
                    <group_length unit="byte">{320 * length}</group_length>
                    <Field_Character>
                        <name>{inner}</name>
                        <field_location unit="byte">1</field_location>
                        <data_type>ASCII_Real</data_type>
                        <field_length unit="byte">{length}</field_length>{unit}
                        <description>{inner}</description>
                    </Field_Character>
                </Group_Field_Character>
"""
        )
        location += 320 * length
    return "".join(parts)
