"""Writers of synthetic ACS products: raw as a real label is built, others inferred."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = "urn:esa:psa:em16_tgo_acs"
INTEGER, TEXT, REAL = "ASCII_Integer", "ASCII_String", "ASCII_Real"
TIME = "ASCII_Date_Time_YMD_UTC"

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1"
 xmlns:psa="http://psa.esa.int/psa/v1"
 xmlns:em16_tgo_acs="http://psa.esa.int/psa/em16/tgo/acs/v1">
<Identification_Area>
<logical_identifier>{lid}</logical_identifier>
<version_id>{version}</version_id>
<title>Synthetic ACS product</title>
<information_model_version>{model}</information_model_version>
<product_class>Product_Observational</product_class>
</Identification_Area>
<Observation_Area>
<Time_Coordinates>
<start_date_time>2018-10-27T22:13:52.000Z</start_date_time>
<stop_date_time>2018-10-27T22:33:53.000Z</stop_date_time>
</Time_Coordinates>
<Primary_Result_Summary>
<purpose>Science</purpose>
<processing_level>{level}</processing_level>
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
<psa:identifier>{sub}</psa:identifier>
</psa:Sub-Instrument>{mission}
</Mission_Area>
</Observation_Area>
{references}{areas}</Product_Observational>
"""


@dataclass
class Product:
    """A product that was written."""

    label: Path
    values: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def _byte(name: str, value: int) -> str:
    return f'<{name} unit="byte">{value}</{name}>'


def write_label(path: Path, lid: str, areas: list[str], **words: str) -> Path:
    """Write a label of file areas."""
    given = {
        "version": "1.0",
        "model": "1.15.0.0",
        "level": "Calibrated",
        "orbit": "5666",
        "mission": "",
        "references": "",
        "sub": "NIR",
    }
    path.write_text(HEAD.format(lid=lid, areas="".join(areas), **(given | words)))
    return path


def file_area(path: Path, data: bytes, objects: str, records: int | None = None) -> str:
    """Write a data file and return the element that describes it."""
    path.write_bytes(data)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    count = f"<records>{records}</records>" if records else ""
    return (
        f"<File_Area_Observational><File><file_name>{path.name}</file_name>"
        f"{_byte('file_size', len(data))}{count}<md5_checksum>{digest}</md5_checksum>"
        f"</File>{objects}</File_Area_Observational>\n"
    )


# --- raw ------------------------------------------------------------------------------

# table: name, records, record_length, fields
RAW_TABLES = {
    "EB": ("Frame1", 40, 222, 24),
    "EA": ("System", 16, 231, 19),
    "EC": ("Row", 200, 2719, 15),
    "ED": ("Frame2", 40, 144, 12),
    "AA": ("Command", 1, 585, 61),
}
RAW_STEM = "acs_raw_sc_nir_20181027T221352-20181027T223353-4140-1-1"
ROW_BYTES = 1280
GROUP_START = 135  # 0-based first byte of the pixels in a row record
OBT_DIGITS = 20


def raw_columns(rng: np.random.Generator, n_fields: int, room: int, records: int):
    """Return (name, type, width, values) of fields that fill `room` bytes.

    Blanks between the fields are part of the room.
    """
    columns = [
        (
            "OBT",
            INTEGER,
            OBT_DIGITS,
            # above 2**53: float64 would round it
            2**53 + 1 + 2 * np.arange(records, dtype=np.int64),
        ),
        ("FRAME", INTEGER, 5, np.arange(records) // 5),
    ]
    n_rest = n_fields - len(columns)
    left = room - (n_fields - 1) - sum(column[2] for column in columns)
    widths = [left // n_rest + (k < left % n_rest) for k in range(n_rest)]
    for k, width in enumerate(widths):
        if k == 0:
            values = rng.integers(0, 10, records)
            columns.append(("LINE_DARK", INTEGER, width, values))
        elif k % 3 == 2 and width > 6:
            values = rng.normal(0, 9, records).round(2)
            columns.append((f"LOCAL_VALUE_{k}", REAL, width, values))
        else:
            values = rng.integers(0, 10 ** min(width - 1, 9), records)
            columns.append((f"COUNTER_{k}", INTEGER, width, values))
    return columns


def _cell(data_type: str, width: int, value: object) -> str:
    text = f"{value:.2f}" if data_type == REAL else str(value)
    if width == OBT_DIGITS:
        text = text.zfill(width)
    assert len(text) <= width
    return text.rjust(width)


def _raw_field(name: str, data_type: str, start: int, width: int, number: int) -> str:
    return (
        f"<Field_Character><name>{name}</name><field_number>{number}</field_number>"
        f"{_byte('field_location', start + 1)}<data_type>{data_type}</data_type>"
        f"{_byte('field_length', width)}<description>Synthetic {name}</description>"
        "</Field_Character>"
    )


def _raw_table(rng, key: str, pixels: np.ndarray):
    """Return (bytes, element, values) of one raw table."""
    name, records, length, n_fields = RAW_TABLES[key]
    if key == "EC":
        before = raw_columns(rng, 13, GROUP_START - 1, records)
        end = GROUP_START + 2 * ROW_BYTES
        room = length - 2 - end - 1
        widths = (room // 2, room - 1 - room // 2)
        after = [
            (f"TAIL_{k}", INTEGER, width, rng.integers(0, 9999, records))
            for k, width in enumerate(widths)
        ]
    else:
        before, after = raw_columns(rng, n_fields, length - 2, records), []
    element, at, parts = "", 0, []
    number = 1
    for column, data_type, width, values in before:
        element += _raw_field(column, data_type, at, width, number)
        parts.append([_cell(data_type, width, value) for value in values.tolist()])
        at += width + 1
        number += 1
    if key == "EC":
        assert at == GROUP_START
        element += (
            f"<Group_Field_Character><repetitions>{ROW_BYTES}</repetitions>"
            "<fields>1</fields><groups>0</groups>"
            f"{_byte('group_location', GROUP_START + 1)}"
            f"{_byte('group_length', 2 * ROW_BYTES)}"
            "<Field_Character><name>ROW_DATA</name>"
            f"{_byte('field_location', 1)}<data_type>ASCII_Numeric_Base16</data_type>"
            f"{_byte('field_length', 2)}</Field_Character></Group_Field_Character>"
        )
        parts.append([row.tobytes().hex().upper() for row in pixels])
        at += 2 * ROW_BYTES + 1
    for column, data_type, width, values in after:
        element += _raw_field(column, data_type, at, width, number)
        parts.append([_cell(data_type, width, value) for value in values.tolist()])
        at += width + 1
        number += 1
    text = "".join(" ".join(cells) + "\r\n" for cells in zip(*parts, strict=True))
    data = text.encode()
    assert len(data) == records * length
    table = (
        f"<Table_Character><name>{name}</name>{_byte('offset', 0)}"
        f"<records>{records}</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        f"<Record_Character><fields>{number - 1}</fields>"
        f"<groups>{int(key == 'EC')}</groups>{_byte('record_length', length)}{element}"
        "</Record_Character></Table_Character>"
    )
    values = {column[0].lower(): column[3] for column in (*before, *after)}
    if key == "EC":
        values["row_data"] = pixels
    return data, table, values


def write_raw(
    folder: Path, *, seed: int = 1, model: str = "1.21.0.0", sub: str = "NIR"
) -> Product:
    """Write a raw label with its five tables, in the order of the archive."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (RAW_TABLES["EC"][1], ROW_BYTES), dtype=np.uint8)
    product = Product(folder / f"{RAW_STEM}__4_0.xml")
    areas = []
    for key, (name, records, *_) in RAW_TABLES.items():
        data, table, values = _raw_table(rng, key, pixels)
        product.values[name] = values
        path = folder / f"{RAW_STEM}-{key}__4_0.tab"
        areas.append(file_area(path, data, table, records))
    lid = f"{BUNDLE}:data_raw:{RAW_STEM.lower()}"
    write_label(
        product.label,
        lid,
        areas,
        version="4.0",
        model=model,
        level="Raw",
        sub=sub,
        orbit="4140",
    )
    return product


# --- calibrated (inferred) ------------------------------------------------------------

TYPES = {
    "<f4": "IEEE754LSBSingle",
    "<f8": "IEEE754LSBDouble",
    ">f8": "IEEE754MSBDouble",
}
KINDS = {1: "Array_1D", 2: "Array_2D", 3: "Array_3D"}


def array_element(
    name: str, offset: int, values: np.ndarray, axes: list[str], unit: str = ""
) -> str:
    """Describe an array that stands at a byte of a file."""
    kind = KINDS.get(values.ndim, "Array")
    text = "".join(
        f"<Axis_Array><axis_name>{axis}</axis_name><elements>{n}</elements>"
        f"<sequence_number>{k}</sequence_number></Axis_Array>"
        for k, (axis, n) in enumerate(zip(axes, values.shape, strict=True), 1)
    )
    units = f"<unit>{unit}</unit>" if unit else ""
    return (
        f"<{kind}><name>{name}</name>{_byte('offset', offset)}"
        f"<axes>{values.ndim}</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order>"
        f"<Element_Array><data_type>{TYPES[values.dtype.str]}</data_type>{units}"
        f"</Element_Array>{text}</{kind}>"
    )


def table_binary(name: str, offset: int, columns, group=None):
    """Return (bytes, element); columns are (name, type, array), group likewise."""
    parts, element, at = [], "", 1
    records = len(columns[0][2])

    def one(title, data_type, width, start, unit):
        unit = f"<unit>{unit}</unit>" if unit else ""
        return (
            f"<Field_Binary><name>{title}</name>{_byte('field_location', start)}"
            f"<data_type>{data_type}</data_type>{_byte('field_length', width)}{unit}"
            "</Field_Binary>"
        )

    for title, data_type, values, *unit in columns:
        width = values.dtype.itemsize
        element += one(title, data_type, width, at, "".join(unit))
        parts.append(np.ascontiguousarray(values).view(np.uint8).reshape(records, -1))
        at += width
    if group is not None:
        title, inner, data_type, values = group
        width, times = values.dtype.itemsize, values.shape[1]
        element += (
            f"<Group_Field_Binary><name>{title}</name><repetitions>{times}"
            f"</repetitions><fields>1</fields><groups>0</groups>"
            f"{_byte('group_location', at)}{_byte('group_length', width * times)}"
            f"{one(inner, data_type, width, 1, '')}</Group_Field_Binary>"
        )
        parts.append(np.ascontiguousarray(values).view(np.uint8).reshape(records, -1))
        at += width * times
    data = np.concatenate(parts, axis=1).tobytes()
    text = (
        f"<Table_Binary><name>{name}</name>{_byte('offset', offset)}"
        f"<records>{records}</records><Record_Binary><fields>{len(columns)}</fields>"
        f"<groups>{int(group is not None)}</groups>{_byte('record_length', at - 1)}"
        f"{element}</Record_Binary></Table_Binary>"
    )
    return data, text


def times_as_text(times: np.ndarray) -> np.ndarray:
    """Return times as cells of 24 bytes."""
    return np.char.add(times.astype("M8[ms]").astype(str), "Z").astype("S24")


STEMS = {
    "nir": "acs_cal_sc_nir_20190301T201042-20190301T201643-5666-1-2",
    "mir": "acs_cal_sc_mir_20190301T184430-20190301T185948-5666-1-1",
    "tir": "acs_cal_sc_tir_20190301T190652-20190301T210431-5666-1-occ-009640",
}
GEOMETRY_STEM = "acs_geo_{}_20190301t184430-20190301t185948-5666-1-1"
START = np.datetime64("2019-03-01T18:44:30", "ms")
DATA_AXES = {
    "nir": ["Frame", "Quantity", "Row", "Pixel"],
    "mir": ["Frame", "Row", "Quantity", "Pixel"],
}


def calibrated_values(
    channel: str,
    *,
    frames: int = 12,
    rows: int = 20,
    pixels: int = 64,
    orders: tuple[int, ...] = (49, 54, 60),
    seed: int = 2,
) -> dict[str, np.ndarray]:
    """Return made-up contents of the objects of a calibrated product."""
    rng = np.random.default_rng(seed)
    nir = channel == "nir"
    shape = (frames, 2, rows, pixels) if nir else (frames, rows, 2, pixels)
    data = rng.uniform(0.1, 1.0, shape).astype("<f4")
    slope = 0.5 * np.arange(pixels)
    if nir:
        wavelength = 7000.0 + 100.0 * np.arange(len(orders))[:, None] + slope
        pairs = np.array(
            [(orders[k % len(orders)], 7000.0 + k) for k in range(frames)], "<f8"
        )
        reference = rng.uniform(size=(len(orders), 2, rows, pixels))
    else:
        wavelength = (3000.0 - 0.01 * np.arange(rows)[:, None] - slope)[None]
        wavelength[0, 0, :3] = 0.0
        centers = np.linspace(4, rows - 5, len(orders)).round()
        pairs = np.array([list(zip(orders, centers, strict=True))], "<f8")
        reference = rng.uniform(size=(1, rows, pixels))
    return {
        "Reference": reference.astype("<f4"),
        "Wavelength": wavelength.astype("<f8"),
        "Orders": pairs,
        "Data": data,
    }


def write_calibrated(
    folder: Path,
    channel: str = "mir",
    *,
    values: dict[str, np.ndarray] | None = None,
    axes: list[str] | None = None,
    unit: str = "",
    orders_as_table: bool = False,
    step: float = 2.0,
    header_times: bool = True,
    geometry_lid: str = "",
    **sizes,
) -> Product:
    """Write calibrated NIR or MIR frames in the inferred layout, in one file."""
    values = calibrated_values(channel, **sizes) if values is None else values
    n = values["Data"].shape[0]
    times = START + (np.arange(n) * step * 1000).astype("m8[ms]")
    columns = [("Number", "SignedLSB4", np.arange(n, dtype="<i4"))]
    if header_times:
        columns.append(("Time", TIME, times_as_text(times)))
    group = np.arange(3 * n, dtype="<u2").reshape(n, 3)
    data, objects = table_binary(
        "Header", 0, columns, ("Housekeeping", "Value", "UnsignedLSB2", group)
    )
    for name, array in values.items():
        if name == "Orders" and orders_as_table:
            pairs = array.reshape(-1, 2)
            double = "IEEE754LSBDouble"
            part, text = table_binary(
                name,
                len(data),
                [("Order", double, pairs[:, 0]), ("Value", double, pairs[:, 1])],
            )
            data, objects = data + part, objects + text
            continue
        names = [f"{name} axis {k}" for k in range(array.ndim)]
        if name == "Data":
            names = DATA_AXES[channel] if axes is None else axes
        objects += array_element(
            name, len(data), array, names, unit if name == "Wavelength" else ""
        )
        data += array.tobytes()
    stem = STEMS[channel]
    reference = (
        "<Reference_List><Internal_Reference>"
        f"<lid_reference>{geometry_lid}</lid_reference>"
        "<reference_type>data_to_geometry</reference_type>"
        "</Internal_Reference></Reference_List>\n"
        if geometry_lid
        else ""
    )
    area = file_area(folder / f"{stem}.dat", data, objects)
    label = write_label(
        folder / f"{stem}.xml",
        f"{BUNDLE}:data_calibrated:{stem.lower()}",
        [area],
        references=reference,
        sub=channel.upper(),
    )
    return Product(label, {"/": values, "Header": {"time": times, "value": group}})


def geometry_lid(channel: str = "mir") -> str:
    """Return the identifier of the geometry product of a channel."""
    return f"{BUNDLE}:geometry:{GEOMETRY_STEM.format(channel)}"


def write_geometry(
    folder: Path,
    channel: str = "mir",
    *,
    records: int = 30,
    step: float = 1.0,
    with_times: bool = True,
    last: str = "Height",
    unit: str = "km",
) -> Product:
    """Write a geometry product; the last column is the tangent height."""
    times = START + (np.arange(records) * step * 1000).astype("m8[ms]")
    height = (150.0 - 2.5 * np.arange(records)).astype("<f8")
    other = np.linspace(-40.0, -39.0, records).astype("<f8")
    data, objects = b"", ""
    tables = (
        ("Geometry-1",)
        if channel == "nir"
        else tuple(f"Geometry-{k}" for k in (1, 2, 3))
    )
    for k, name in enumerate(tables):
        columns = [("UTC", TIME, times_as_text(times))] if with_times else []
        columns += [
            ("Latitude", "IEEE754LSBDouble", other, "deg"),
            (last, "IEEE754LSBDouble", height + k, unit),
        ]
        part, text = table_binary(name, len(data), columns)
        data, objects = data + part, objects + text
    stem = GEOMETRY_STEM.format(channel)
    area = file_area(folder / f"{stem}.dat", data, objects)
    label = write_label(
        folder / f"{stem}.xml", geometry_lid(channel), [area], sub=channel.upper()
    )
    return Product(label, {"Geometry-1": {"time": times, "height": height}})


TIRVIM_OBJECTS = ("SpectrumRe", "SpectrumIm", "ResPhase", "PhaseError", "Transmittance")


def write_tirvim(
    folder: Path, *, counter: int = 9640, pixels: int = 50, axis: bool = True
) -> Product:
    """Write one TIRVIM occultation spectrum: arrays of one axis."""
    rng = np.random.default_rng(counter)
    values = {name: rng.normal(size=pixels).astype(">f8") for name in TIRVIM_OBJECTS}
    if axis:
        values["Wavenumber"] = (800.0 + 0.2 * np.arange(pixels)).astype(">f8")
    data, objects = b"", ""
    for name, array in values.items():
        unit = "cm**-1" if name == "Wavenumber" else ""
        objects += array_element(name, len(data), array, ["Sample"], unit)
        data += array.tobytes()
    stem = STEMS["tir"].replace("009640", f"{counter:06}")
    area = file_area(folder / f"{stem}.dat", data, objects)
    label = write_label(
        folder / f"{stem}.xml",
        f"{BUNDLE}:data_calibrated:{stem.lower()}",
        [area],
        mission=(
            "\n<em16_tgo_acs:tir_target_altitude>12.5</em16_tgo_acs:tir_target_altitude>"
        ),
        sub="TIRVIM",
    )
    return Product(label, {"/": values})
