"""Write simulated ACS MIR frames as a calibrated product with its geometry.

The layout is *inferred*, as that of the reader: no calibrated label was at hand.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.simulate.mir import MirSimulation

    Values = npt.NDArray[Any]

__all__ = ["mir_files"]

BUNDLE = "urn:esa:psa:em16_tgo_acs"
START = np.datetime64("2019-03-01T18:44:30", "ms")
FRAME_SECONDS = 2.0
ORBIT = 5666
_TYPES = {"<f4": "IEEE754LSBSingle", "<f8": "IEEE754LSBDouble"}
_KINDS = {2: "Array_2D", 3: "Array_3D"}
_TIME = "ASCII_Date_Time_YMD_UTC"
_TIME_BYTES = 24

_LABEL = """\
<?xml version="1.0" encoding="UTF-8"?>
<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1"
    xmlns:psa="http://psa.esa.int/psa/v1">
    <Identification_Area>
        <logical_identifier>{lid}</logical_identifier>
        <version_id>1.0</version_id>
        <title>ACS MIR (SYNTHETIC)</title>
        <information_model_version>1.15.0.0</information_model_version>
        <product_class>Product_Observational</product_class>
    </Identification_Area>
    <Observation_Area>
        <Time_Coordinates>
            <start_date_time>{start}</start_date_time>
            <stop_date_time>{stop}</stop_date_time>
        </Time_Coordinates>
        <Primary_Result_Summary>
            <purpose>Science</purpose>
            <processing_level>Calibrated</processing_level>
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
            <Observing_System_Component>
                <name>ACS</name>
                <type>Instrument</type>
            </Observing_System_Component>
        </Observing_System>
        <Target_Identification>
            <name>Mars</name>
            <type>Planet</type>
        </Target_Identification>
        <Mission_Area>
            <psa:Mission_Information>
                <psa:mission_phase_identifier>psp</psa:mission_phase_identifier>
                <psa:start_orbit_number>{orbit}</psa:start_orbit_number>
            </psa:Mission_Information>
            <psa:Sub-Instrument>
                <psa:identifier>MIR</psa:identifier>
            </psa:Sub-Instrument>
        </Mission_Area>
    </Observation_Area>
{references}    <File_Area_Observational>
        <File>
            <file_name>{name}</file_name>
            <file_size unit="byte">{size}</file_size>
            <md5_checksum>{md5}</md5_checksum>
        </File>
{objects}    </File_Area_Observational>
</Product_Observational>
"""

_REFERENCE = """\
    <Reference_List>
        <Internal_Reference>
            <lid_reference>{lid}</lid_reference>
            <reference_type>data_to_geometry</reference_type>
        </Internal_Reference>
    </Reference_List>
"""


def mir_files(folder: Path, made: MirSimulation) -> dict[Path, bytes]:
    """Give the files of a calibrated MIR product and of the geometry that it names.

    Parameters
    ----------
    folder : Path
        Where all go.
    made : MirSimulation

    Returns
    -------
    dict of Path to bytes
        The label of the calibrated product is the last one.
    """
    n = made.data.shape[0]
    times = START + (np.arange(n) * FRAME_SECONDS * 1000.0).astype("m8[ms]")
    span = f"{_compact(times[0])}-{_compact(times[-1])}-{ORBIT}-1-1"
    spectra, place = f"acs_cal_sc_mir_{span}", f"acs_geo_mir_{span}"
    window = str(times[0]) + "Z", str(times[-1]) + "Z"
    altitude = made.altitude_km.astype("<f8")
    where = f"{BUNDLE}:geometry:{place.lower()}"
    table = _table("Geometry-1", 0, times, {"TangentAltitude": (altitude, "km")})
    geometry = _files(folder, place, where, [table], window, "")
    objects, start = [_table("Header", 0, times, {})], 0
    start = len(objects[0][0])
    arrays = {
        "Wavelength": (made.wavelength.astype("<f8"), "cm**-1"),
        "Orders": (made.orders.astype("<f8"), ""),
        "Data": (np.asarray(made.data, dtype="<f4"), ""),
    }
    for name, (values, unit) in arrays.items():
        objects.append(_array(name, start, values, unit))
        start += len(objects[-1][0])
    lid = f"{BUNDLE}:data_calibrated:{spectra.lower()}"
    reference = _REFERENCE.format(lid=where)
    return geometry | _files(folder, spectra, lid, objects, window, reference)


def _compact(time: np.datetime64) -> str:
    text = str(time.astype("M8[s]"))
    return text.replace("-", "").replace(":", "")


def _files(
    folder: Path,
    stem: str,
    lid: str,
    objects: list[tuple[bytes, str]],
    window: tuple[str, str],
    references: str,
) -> dict[Path, bytes]:
    """Give the data file and its label."""
    data = b"".join(part for part, _ in objects)
    label = _LABEL.format(
        lid=lid,
        start=window[0],
        stop=window[1],
        orbit=ORBIT,
        references=references,
        name=f"{stem}.dat",
        size=len(data),
        md5=hashlib.md5(data, usedforsecurity=False).hexdigest(),
        objects="".join(text for _, text in objects),
    )
    return {folder / f"{stem}.dat": data, folder / f"{stem}.xml": label.encode()}


def _byte(name: str, value: int) -> str:
    return f'<{name} unit="byte">{value}</{name}>'


def _array(name: str, offset: int, values: Values, unit: str) -> tuple[bytes, str]:
    """Bytes of an array and the element that describes it."""
    axes = [f"{name} axis {k}" for k in range(1, values.ndim + 1)]
    if name == "Data":
        axes = ["Frame", "Row", "Quantity", "Pixel"]
    kind = _KINDS.get(values.ndim, "Array")
    text = "".join(
        f"<Axis_Array><axis_name>{axis}</axis_name><elements>{size}</elements>"
        f"<sequence_number>{k}</sequence_number></Axis_Array>"
        for k, (axis, size) in enumerate(zip(axes, values.shape, strict=True), 1)
    )
    unit = f"<unit>{unit}</unit>" if unit else ""
    element = (
        f"<{kind}><name>{name}</name>{_byte('offset', offset)}"
        f"<axes>{values.ndim}</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order>"
        f"<Element_Array><data_type>{_TYPES[values.dtype.str]}</data_type>{unit}"
        f"</Element_Array>{text}</{kind}>\n"
    )
    return np.ascontiguousarray(values).tobytes(), element


def _table(
    name: str,
    offset: int,
    times: npt.NDArray[np.datetime64],
    columns: dict[str, tuple[Values, str]],
) -> tuple[bytes, str]:
    """Bytes of a binary table, times first, and the element that describes it."""
    cells = np.char.add(times.astype("M8[ms]").astype(str), "Z").astype("S24")
    parts = [cells.view(np.uint8).reshape(times.size, -1)]
    fields, at = _field("UTC", _TIME, 1, _TIME_BYTES, ""), 1 + _TIME_BYTES
    for title, (values, unit) in columns.items():
        width = values.dtype.itemsize
        fields += _field(title, _TYPES[values.dtype.str], at, width, unit)
        parts.append(values.view(np.uint8).reshape(times.size, -1))
        at += width
    element = (
        f"<Table_Binary><name>{name}</name>{_byte('offset', offset)}"
        f"<records>{times.size}</records><Record_Binary>"
        f"<fields>{1 + len(columns)}</fields><groups>0</groups>"
        f"{_byte('record_length', at - 1)}{fields}</Record_Binary></Table_Binary>\n"
    )
    return np.concatenate(parts, axis=1).tobytes(), element


def _field(name: str, data_type: str, start: int, width: int, unit: str) -> str:
    unit = f"<unit>{unit}</unit>" if unit else ""
    return (
        f"<Field_Binary><name>{name}</name>{_byte('field_location', start)}"
        f"<data_type>{data_type}</data_type>{_byte('field_length', width)}{unit}"
        "</Field_Binary>"
    )
