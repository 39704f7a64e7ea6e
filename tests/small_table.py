"""A small character table with its label, for the tests of the generic reader."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from tgo_spectra.pds4 import Source, open_table, parse_label, resolve_data

sys.path.append(str(Path(__file__).parent))

import corpus

FIELDS = (
    ("Time", "ASCII_Date_Time_YMD_UTC", 1, 20, ""),
    ("Count", "ASCII_Integer", 21, 5, ""),
    (
        "Value",
        "ASCII_Real",
        26,
        10,
        "<Special_Constants><error_constant>-1E32</error_constant></Special_Constants>",
    ),
    ("Flag", "ASCII_Boolean", 36, 2, ""),
    ("Name", "ASCII_String", 38, 6, ""),
)
GROUP = (
    "<Group_Field_Character><name>Pair</name><repetitions>3</repetitions>"
    "<fields>1</fields><groups>1</groups>"
    '<group_location unit="byte">44</group_location>'
    '<group_length unit="byte">54</group_length>'
    '<Field_Character><name>A</name><field_location unit="byte">1</field_location>'
    "<data_type>ASCII_Real</data_type>"
    '<field_length unit="byte">6</field_length></Field_Character>'
    "<Group_Field_Character><name>Inner</name><repetitions>2</repetitions>"
    "<fields>1</fields><groups>0</groups>"
    '<group_location unit="byte">7</group_location>'
    '<group_length unit="byte">12</group_length>'
    '<Field_Character><name>B</name><field_location unit="byte">1</field_location>'
    "<data_type>ASCII_Real</data_type>"
    '<field_length unit="byte">6</field_length></Field_Character>'
    "</Group_Field_Character></Group_Field_Character>"
)
LENGTH = 99


def record(i: int) -> bytes:
    text = f"2018-01-0{i + 1}T00:00:00Z{i:4d} {i + 0.25:9.3f} {i % 2} {'ab':5s} "
    for k in range(3):
        text += f"{k:5.2f} {i:5.1f} {i + k:5.1f} "
    data = text.encode() + b"\r\n"
    assert len(data) == LENGTH
    return data


TABLE = b"".join(record(i) for i in range(4))


def label(
    table: bytes = TABLE,
    *,
    fields: str | None = None,
    group: str = GROUP,
    md5: bool = True,
    size: bool = True,
    head: str = "",
    mission: str = "",
) -> str:
    if fields is None:
        fields = "".join(
            f"<Field_Character><name>{name}</name>"
            f'<field_location unit="byte">{start}</field_location>'
            f"<data_type>{kind}</data_type>"
            f'<field_length unit="byte">{n}</field_length>{special}</Field_Character>'
            for name, kind, start, n, special in FIELDS
        )
    digest = hashlib.md5(table, usedforsecurity=False).hexdigest()
    return (
        f'<?xml version="1.0"?>{head}'
        '<p:Product_Observational xmlns:p="urn:any" xmlns="urn:any">'
        f"<Identification_Area><logical_identifier>{corpus.LID}</logical_identifier>"
        "<version_id>1.0</version_id><title>t</title>"
        "<information_model_version>1.15.0.0</information_model_version>"
        "<product_class>Product_Observational</product_class></Identification_Area>"
        f"<Observation_Area><Mission_Area>{mission}</Mission_Area></Observation_Area>"
        "<File_Area_Observational><File><file_name>data.tab</file_name>"
        + (f'<file_size unit="byte">{len(table)}</file_size>' if size else "")
        + (f"<md5_checksum>{digest}</md5_checksum>" if md5 else "")
        + '</File><Table_Character><name>T</name><offset unit="byte">0</offset>'
        "<records>4</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        "<Record_Character><fields>5</fields><groups>1</groups>"
        f'<record_length unit="byte">{LENGTH}</record_length>{fields}{group}'
        "</Record_Character></Table_Character></File_Area_Observational>"
        "</p:Product_Observational>"
    )


def opened(folder, text: str | None = None, table: bytes = TABLE):
    text = label(table) if text is None else text
    (folder / "data.xml").write_text(text)
    (folder / "data.tab").write_bytes(table)
    source = Source(str(folder / "data.xml"))
    parsed = parse_label(source.read(), str(source))
    area = parsed.areas[0]
    data, _ = resolve_data(source, area.file_name, parsed.version)
    return open_table(area.tables[0], area, data, exact=True)


def column(table, name, **keywords):
    return table.read([table.layout.field(name)], **keywords)[:, 0]
