"""Recipes of malformed products, each with what the reader must say about it.

Base: a character table of 10 records of 57 bytes with 4 fields (570 bytes), and an
array of 4 x 5 doubles (160 bytes). Each case changes one thing. Nothing is stored:
a case writes its files into a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import struct
import warnings
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORD = 57
N = 10
# name, type, first byte (1-based), bytes
FIELDS = (
    ("Number", "ASCII_Integer", 1, 6),
    ("Altitude", "ASCII_Real", 8, 14),
    ("Value", "ASCII_Real", 23, 14),
    ("Name", "ASCII_String", 38, 16),
)
STARTS = {name: start - 1 for name, _, start, _ in FIELDS}


def row(i: int) -> bytes:
    """One record of the base table."""
    text = (
        f"{i:6d} {10.0 + 2.5 * i:14.6f} {0.52 + 0.01 * i:14.5e} {'row ' + str(i):16s}"
    )
    return text.encode() + b"  \r\n"


TABLE = b"".join(row(i) for i in range(N))
ARRAY = struct.pack(">20d", *range(20))
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE = ' xmlns="http://pds.nasa.gov/pds4/pds/v1"'
CRLF = "Carriage-Return Line-Feed"


def fields_xml() -> str:
    return "\n".join(
        f"<Field_Character><name>{name}</name>"
        f'<field_location unit="byte">{start}</field_location>'
        f"<data_type>{kind}</data_type>"
        f'<field_length unit="byte">{length}</field_length></Field_Character>'
        for name, kind, start, length in FIELDS
    )


def file_xml(name: str, data: bytes, *, size: bool = True, md5: bool = True) -> str:
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return (
        f"<File><file_name>{name}</file_name>"
        + (f'<file_size unit="byte">{len(data)}</file_size>' if size else "")
        + (f"<md5_checksum>{digest}</md5_checksum>" if md5 else "")
        + "</File>"
    )


def table_xml() -> str:
    return (
        '<Table_Character><name>T</name><offset unit="byte">0</offset>'
        f"<records>{N}</records><record_delimiter>{CRLF}</record_delimiter>\n"
        "<Record_Character><fields>4</fields><groups>0</groups>"
        f'<record_length unit="byte">{RECORD}</record_length>\n{fields_xml()}'
        "</Record_Character></Table_Character>"
    )


def array_xml() -> str:
    axes = "".join(
        f"<Axis_Array><axis_name>{name}</axis_name><elements>{n}</elements>"
        f"<sequence_number>{k}</sequence_number></Axis_Array>"
        for k, (name, n) in enumerate((("Line", 4), ("Sample", 5)), 1)
    )
    return (
        '<Array_2D><name>A</name><offset unit="byte">0</offset><axes>2</axes>'
        "<axis_index_order>Last Index Fastest</axis_index_order>"
        "<Element_Array><data_type>IEEE754MSBDouble</data_type></Element_Array>"
        f"{axes}</Array_2D>"
    )


# of a kind of product that has a reader, whatever its tables hold
LID = "urn:esa:psa:em16_tgo_acs:data_raw:acs_raw_sc_nir_20180421t01-20180421t02"
LID = LID.replace("t01", "t010000").replace("t02", "t020000")


def product_xml(area: str) -> str:
    return (
        f"{HEAD}<Product_Observational{SPACE}>\n<Identification_Area>"
        f"<logical_identifier>{LID}</logical_identifier>"
        "<version_id>1.0</version_id><title>t</title>"
        "<information_model_version>1.15.0.0</information_model_version>"
        "<product_class>Product_Observational</product_class></Identification_Area>\n"
        "<Observation_Area><Mission_Area><M/></Mission_Area></Observation_Area>\n"
        f"<File_Area_Observational>{area}</File_Area_Observational>\n"
        "</Product_Observational>\n"
    )


def label(*, size: bool = True, md5: bool = True, promised: bytes = TABLE) -> str:
    """Label of the base table."""
    return product_xml(file_xml("p.tab", promised, size=size, md5=md5) + table_xml())


LABEL = label()


@dataclass(frozen=True)
class Case:
    """One product and the expected outcome.

    `severity` is "error", "warning", "info", "same" (read as the base is), "differs"
    (read as something else) or "legal" (no table of the base, and no fault); fields
    that are None are not looked at. `diagnostic` is a later finding of verification,
    `verified` the rules of its rows, where they are not the one of opening: in a zip
    it looks at every label.
    """

    name: str
    build: Callable[[Path], Path]
    rule: str | None
    severity: str = "error"
    file: str | None = None
    field: str | None = None
    record: int | None = None
    offset: int | None = None
    value: Any = None
    diagnostic: str | None = None
    verified: tuple[str, ...] | None = None
    absurd: bool = False
    tags: frozenset[str] = frozenset()


CASES: list[Case] = []


def case(
    name: str,
    rule: str | None,
    *edits: tuple[str, str],
    table: bytes | Callable[[Path], None] | None = TABLE,
    base: str = LABEL,
    raw: bytes | Callable[[Path], None] | None = None,
    data: str = "p.tab",
    **expected: Any,
) -> None:
    """Add a case: label edits, or a raw label; table bytes, or who writes them."""

    def build(folder: Path) -> Path:
        path = folder / "p.xml"
        if callable(raw):
            raw(path)
        elif raw is not None:
            path.write_bytes(raw)
        else:
            text = base
            for old, new in edits:
                assert old in text, old
                text = text.replace(old, new, 1)
            path.write_bytes(text.encode())
        if callable(table):
            table(folder / data)
        elif table is not None:
            (folder / data).write_bytes(table)
        return path

    of_label = rule is not None and rule.startswith("label.")
    of_label &= rule not in {
        "label.filesize_mismatch",
        "label.checksum_mismatch",
        "label.invalid_object_definition",
    }
    expected.setdefault("file", "p.xml" if of_label else data)
    CASES.append(Case(name, build, rule, **expected))


def put(record: int, name: str, text: bytes, table: bytes = TABLE) -> bytes:
    """Base table with another cell."""
    _, _, start, length = next(item for item in FIELDS if item[0] == name)
    place = record * RECORD + start - 1
    return table[:place] + text.rjust(length)[:length] + table[place + length :]


def place(record: int, name: str) -> dict[str, Any]:
    """Where a fault in a cell must be reported."""
    return {"field": name, "record": record, "offset": record * RECORD + STARTS[name]}


BARE = label(size=False, md5=False)
SIZED = label(md5=False)
TYPE = "table.field_value_data_type_mismatch"
SIZE = "label.filesize_mismatch"
MD5 = "label.checksum_mismatch"
SCHEMA = "label.schema"
DEFINITION = "label.table_definition_problem"
NAME = "file.name_has_invalid_characters"
REGULAR = "file.not_regular"
MISSING = "label.missing_file"


def damaged_files() -> None:
    """D01-D27, and each again with or without the promises of the label."""
    html = b"<html><body>404</body></html>"
    for name, data, bare in (
        ("D01 cut mid-record", TABLE[:305], "table.records_mismatch"),
        ("D02 cut at record boundary", TABLE[: 7 * RECORD], "table.records_mismatch"),
        ("D03 last byte", TABLE[:-1], "table.records_mismatch"),
        ("D04 0 bytes", b"", "label.invalid_object_definition"),
        ("D06 trailing junk", TABLE + b"junk", "table.records_mismatch"),
        # 560 bytes are 10 whole records, but of another length than the label's: what
        # is wrong is that length, as in L15 (which differs in nothing but the side)
        ("D09 LF only", TABLE.replace(b"\r", b""), "table.record_length_mismatch"),
        (
            "D10 byte inserted in record 5",
            TABLE[: 5 * RECORD + 20] + b"7" + TABLE[5 * RECORD + 20 :],
            "table.records_mismatch",
        ),
        ("D16 HTML page", html, "table.records_mismatch"),
    ):
        # where the records cease to fit is said too, but of what has a whole record
        later = "table.missing_CRLF" if name[:3] in {"D09", "D10"} else None
        case(name, SIZE, table=data, value=len(data), diagnostic=later)
        case(f"{name}, bare", bare, table=data, base=BARE)
    case("D05 missing", MISSING, table=None, value="p.tab")
    letter = put(3, "Value", b"5.50a00e-01")
    case("D07 digit to letter", MD5, table=letter, diagnostic=TYPE)
    case(
        "D07 digit to letter, bare", TYPE, table=letter, base=BARE, **place(3, "Value")
    )
    case("D08 digit to digit", MD5, table=put(3, "Value", b"5.60000e-01"))
    case(
        "D08 digit to digit, bare (not detectable)",
        None,
        table=put(3, "Value", b"5.60000e-01"),
        base=BARE,
        severity="differs",
    )
    cells = (
        ("D11 NaN", "Value", b"NaN", TYPE),
        ("D13 D exponent", "Value", b"1.5D+03", TYPE),
        ("D14 comma", "Value", b"0,53", TYPE),
        ("D17 byte 0xB0", "Value", b"0.5\xb0", "validation.invalid_character_stream"),
        ("D18 1E+999", "Value", b"1E+999", TYPE),
        ("D19 4.5 in integer", "Number", b"4.5", TYPE),
        ("D21 asterisks", "Value", b"*" * 14, TYPE),
        ("D22 5_3", "Value", b"5_3", TYPE),
    )
    for name, column, text, rule in cells:
        data = put(4, column, text)
        width = 6 if column == "Number" else 14
        shown = text.rjust(width).decode("ascii", "backslashreplace")
        case(name, rule, table=data, base=BARE, **place(4, column), value=shown)
        case(f"{name}, MD5 known", MD5, table=data, diagnostic=rule)
    case(
        "D12 blank",
        "table.blank_field_value",
        table=put(4, "Value", b""),
        base=BARE,
        severity="warning",
        value=1,
        **place(4, "Value"),
    )
    case(
        "D12 blank in integer",
        "table.blank_field_value",
        table=put(4, "Number", b""),
        base=BARE,
        **place(4, "Number"),
    )
    zeros = TABLE[:200] + b"\0" * 64 + TABLE[264:]
    case("D15 zero block", MD5, table=zeros, diagnostic="table.missing_CRLF")
    case("D15 zero block, bare", "table.missing_CRLF", table=zeros, base=BARE, record=3)
    case(
        "D20 ASCII_Integer on reals",
        TYPE,
        ("<data_type>ASCII_Real", "<data_type>ASCII_Integer"),
        **place(0, "Altitude"),
    )
    twice = TABLE[: 5 * RECORD] + row(4) + TABLE[6 * RECORD :]
    case("D23 duplicate record", MD5, table=twice, diagnostic="table.duplicate_record")
    case(
        "D23 duplicate record, bare",
        "table.duplicate_record",
        table=twice,
        base=BARE,
        severity="warning",
        record=5,
        offset=5 * RECORD,
    )

    def secret(path: Path) -> None:
        path.write_bytes(TABLE)
        path.chmod(0)

    case("D24 mode 000", "io.permission", table=secret, tags=frozenset({"user"}))
    case("D25 FIFO", REGULAR, table=os.mkfifo)
    case("D26 link to /dev/zero", REGULAR, table=lambda p: p.symlink_to("/dev/zero"))
    case("D27 directory", REGULAR, table=lambda p: p.mkdir())


def bad_labels() -> None:
    """L01-L38."""
    raw = LABEL.encode()
    xml = "label.not_xml"
    case("L01 cut", xml, raw=raw[:900])
    case("L02 empty", xml, raw=b"")
    case("L03 HTML", xml, raw=b"<!doctype html><html><body><p>404</body></html>"[15:])
    case("L32 UTF-16 declared", xml, ("UTF-8", "UTF-16"))
    lol = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    start = "<Product_Observational"
    for name, dtd in (
        ("L04 billion laughs", f'<!DOCTYPE x [<!ENTITY l0 "lol">{lol}]>'),
        ("L05 quadratic entity", f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'),
        (
            "L06 external entity",
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        ),
    ):
        use = "&l9;" if "L04" in name else "&a;" * (5000 if "L05" in name else 1)
        case(
            name,
            "label.doctype_refused",
            (start, dtd + start),
            ("<title>t", f"<title>{use}"),
            absurd=True,
        )

    def outside(path: Path) -> None:
        path.write_bytes(TABLE)
        (path.parent.parent / "outside.tab").write_bytes(TABLE)

    for name, text in (
        ("L07 ../", "../outside.tab"),
        ("L08 absolute", "/etc/passwd"),
        ("L34 URL", "http://example.org/p.tab"),
        ("L35 empty name", ""),
    ):
        expected = {"value": text, "file": "p.xml"}
        case(name, NAME, (">p.tab<", f">{text}<"), table=outside, **expected)

    def link(path: Path) -> None:
        outside = path.parent.parent / "outside.tab"
        outside.write_bytes(TABLE)
        path.symlink_to(outside)

    case("L09 symlink", REGULAR, table=link)
    rows = f"<records>{N}<"
    mismatch = "table.records_mismatch"
    for name, count in (("L10 1e12", 10**12), ("L11 1e8", 10**8), ("L12 5", 5)):
        case(
            f"{name} records",
            mismatch,
            (rows, f"<records>{count}<"),
            value=count,
            absurd=True,
        )
    length = f'<record_length unit="byte">{RECORD}<'
    zero = '<offset unit="byte">0<'
    schema = {"field": "records", "file": "p.xml"}
    case("L13 records -1", SCHEMA, (rows, "<records>-1<"), value="-1", **schema)
    case("L14 records 0", "table.empty", (rows, "<records>0<"), value=0, file="p.xml")
    # without its unit of 10 records the file would not tell record_length from records
    for name, n in (("L15", RECORD + 1), ("L16", RECORD - 1)):
        edit = (length, f'<record_length unit="byte">{n}<')
        case(f"{name} record_length {n}", "table.record_length_mismatch", edit, value=n)
    edit = (length, '<record_length unit="byte">0<')
    case("L17 record_length 0", SCHEMA, edit, field="record_length", value="0")
    edit = (f"{length}/record_length>", "")
    case("L18 no record_length", SCHEMA, edit, field="record_length")
    at = '<field_location unit="byte">23<'
    edit = (at, at.replace("23", "500"))
    case("L19 location 500", DEFINITION, edit, field="Value", value=499)
    size = 'unit="byte">14<'
    overlap = "table.field_value_overlap"
    edit = (size, size.replace("14", "20"))
    case("L20 length 20 of 14", overlap, edit, field="Value", file="p.xml")
    edit = (at, at.replace("23", "25"))
    case("L21 location +2", overlap, edit, field="Name", file="p.xml")
    edit = ("ASCII_String", "ASCII_Banana")
    kind = "label.unknown_data_type"
    case("L22 ASCII_Banana", kind, edit, field="Name", value="ASCII_Banana")
    edit = ("<fields>4", "<fields>9")
    case("L23 fields 9", "table.fields_mismatch", edit, value=9, file="p.xml")
    warn = {"severity": "warning", "file": "p.xml"}
    case("L24 same names", "label.duplicate_name", ("Value<", "Altitude<"), **warn)
    invalid = "label.invalid_object_definition"
    edit = (zero, zero.replace("0", "100000"))
    case("L25 offset 100000", invalid, edit, value=100_000)
    edit = (zero, zero.replace("0", "-57"))
    case("L26 offset -57", SCHEMA, edit, value="-57", field="offset")
    edit = (zero, zero.replace("0", "3"))
    case("L27 offset 3", invalid, edit, value=3)
    case("L28 no namespace", SCHEMA, (SPACE, ""), **warn)
    case("L29 model 9.9.9.9", "label.model_version", ("1.15.0.0", "9.9.9.9"), **warn)
    edit = ("</Record_Character>", group(repetitions=10**9) + "</Record_Character>")
    more = ("<groups>0", "<groups>1")
    case("L30 group repetitions 1e9", DEFINITION, edit, more, value=54, absurd=True)
    deep = b"<a>" * 200_000 + b"</a>" * 200_000
    case("L31 depth 200k", "label.too_deep", raw=deep, absurd=True)
    constant = "<Special_Constants><missing_constant>-999</missing_constant>"
    edit = ("14</field_length>", f"14</field_length>{constant}</Special_Constants>")
    table = put(6, "Altitude", b"-999.0")
    case(
        "L33 missing_constant",
        "table.field_value_is_special_constant",
        edit,
        table=table,
        base=BARE,
        severity="info",
        value=1,
        **place(6, "Altitude"),
    )
    both = table_xml()
    again = "label.duplicate_identifier"
    case("L36 two tables of one name", again, (both, both + both), value="T")
    edit = (length, length.replace("byte", "KB"))
    case("L37 unit KB", SCHEMA, edit, value="KB", field="record_length")
    case("L38 ten", SCHEMA, (rows, "<records>ten<"), value="ten", field="records")


def group(
    *, repetitions: int = 2, location: int = 54, length: int = 54, name: str = "G"
) -> str:
    return (
        f"<Group_Field_Character><name>{name}</name>"
        f"<repetitions>{repetitions}</repetitions><fields>1</fields><groups>0</groups>"
        f'<group_location unit="byte">{location}</group_location>'
        f'<group_length unit="byte">{length}</group_length>'
        '<Field_Character><name>X</name><field_location unit="byte">1</field_location>'
        "<data_type>ASCII_Real</data_type>"
        '<field_length unit="byte">1</field_length></Field_Character>'
        "</Group_Field_Character>"
    )


def bad_arrays() -> None:
    """A01-A06, and the good one."""
    wrong = "array.size_mismatch"
    text = product_xml(file_xml("p.dat", ARRAY) + array_xml())
    bare = product_xml(file_xml("p.dat", ARRAY, size=False, md5=False) + array_xml())
    huge = {"data": "p.dat", "absurd": True}
    case("A01 -13 bytes", SIZE, table=ARRAY[:-13], base=text, data="p.dat", value=147)
    case("A01 -13 bytes, bare", wrong, table=ARRAY[:-13], base=bare, **huge)
    for name, n in (("A02 1e6 x 1e6", 10**6), ("A03 2^33 x 2^33", 2**33)):
        edits = [(f"<elements>{k}<", f"<elements>{n}<") for k in (4, 5)]
        case(name, wrong, *edits, table=ARRAY, base=bare, **huge)
    case("A04 doubled", SIZE, table=ARRAY * 2, base=text, data="p.dat", value=320)
    case("A04 doubled, bare", wrong, table=ARRAY * 2, base=bare, **huge)
    edit = ("IEEE754MSBDouble", "IEEE754Banana")
    case("A05 type", "label.unknown_data_type", edit, table=ARRAY, base=bare, **huge)
    edit = ("<elements>4<", "<elements>-4<")
    case("A06 axis -4", SCHEMA, edit, table=ARRAY, base=bare, **huge)
    case("A good", None, table=ARRAY, base=text, data="p.dat", severity="legal")
    flipped = ARRAY[:99] + b"\1" + ARRAY[100:]
    case("A flipped bit", MD5, table=flipped, base=text, data="p.dat")

    def secret(path: Path) -> None:
        path.write_bytes(ARRAY)
        path.chmod(0)

    user = {"tags": frozenset({"user"})}
    case("A mode 000", "io.permission", table=secret, base=text, **user, data="p.dat")
    edit = ("<axes>2<", "<axes>17<")
    case("A 17 axes", SCHEMA, edit, base=bare, table=ARRAY, data="p.dat", file="p.xml")
    edit = ("<elements>4<", "<elements>3<")
    case("A one line less", wrong, edit, base=bare, table=ARRAY, data="p.dat")
    label = {"file": "p.xml"}
    edit = ("sequence_number>2<", "sequence_number>1<")
    case("A axis twice", SCHEMA, edit, base=bare, table=ARRAY, data="p.dat", **label)
    edit = ("Last Index", "First Index")
    case("A other order", SCHEMA, edit, base=bare, table=ARRAY, data="p.dat", **label)


def byte(name: str, value: int) -> str:
    return f'<{name} unit="byte">{value}</{name}>'


def stream(kind: str, offset: int, length: int | None, name: str = "H") -> str:
    size = "" if length is None else byte("object_length", length)
    return f"<{kind}><name>{name}</name>{byte('offset', offset)}{size}</{kind}>"


def bad_objects() -> None:
    """Headers, binary and delimited tables, and bytes that none describes."""

    def product(objects: str) -> str:
        return product_xml(f"<File><file_name>p.dat</file_name></File>{objects}")

    def add(
        name: str, rule: str | None, objects: str, data: bytes, **more: Any
    ) -> None:
        case(f"O {name}", rule, base=product(objects), table=data, data="p.dat", **more)

    array = array_xml()
    later = array.replace(byte("offset", 0), byte("offset", 40))
    invalid = "label.invalid_object_definition"
    both = b"h" * 40 + ARRAY
    same = {"severity": "legal"}
    add("header and array", None, stream("Header", 0, 40) + later, both, **same)
    add(
        "text to the end",
        None,
        array + stream("Stream_Text", 160, None),
        ARRAY + both,
        **same,
    )
    gap = {"severity": "warning", "value": 8, "offset": 32}
    rule = "file.bytes_not_described"
    add("gap after header", rule, stream("Header", 0, 32) + later, both, **gap)
    gap = {"severity": "warning", "value": 40, "offset": 0}
    add(
        "nothing at the start",
        rule,
        later + stream("Header", 200, 1),
        both + b"1",
        **gap,
    )
    gap = {"severity": "warning", "value": 3, "offset": 200}
    add("more at the end", rule, stream("Header", 0, 40) + later, both + b"abc", **gap)
    gap = {"severity": "warning", "value": 8, "offset": 40, "field": "A"}
    add("header in array", invalid, stream("Header", 0, 48) + later, both, **gap)
    for name, start, length in (
        ("behind the file", 200, 1),
        ("longer than the file", 0, 201),
        ("of 1e17 bytes", 40, 10**17),
    ):
        wrong = stream("Header", start, length) + later
        add(f"header {name}", invalid, wrong, both, field="H", absurd=True)
        wrong = wrong.replace("Header", "Encoded_Header")
        add(f"encoded header {name}", invalid, wrong, both, field="H")
    label = {"file": "p.xml"}
    for name, length in (("without length", None), ("of no bytes", 0)):
        add(
            f"header {name}", SCHEMA, stream("Header", 0, length) + later, both, **label
        )

    def binary(kind: str = "SignedMSB4", length: int = 4, more: str = "") -> str:
        return (
            f"<Table_Binary><name>B</name>{byte('offset', 0)}<records>4</records>"
            f"<Record_Binary>{byte('record_length', 10)}<Field_Binary><name>F</name>"
            f"{byte('field_location', 1)}<data_type>{kind}</data_type>"
            f"{byte('field_length', length)}{more}</Field_Binary></Record_Binary>"
            "</Table_Binary>"
        )

    data = b"\0\0\0\7ab 1.5" * 4
    add("binary table", None, binary(), data, **same)
    add("binary table cut", "table.records_mismatch", binary(), data[:-1], value=4)
    many = binary().replace("<records>4", f"<records>{10**17}")
    add(
        "binary table of 1e17 records",
        "table.records_mismatch",
        many,
        data,
        absurd=True,
    )
    add("binary field of 3 bytes", DEFINITION, binary(length=3), data, **label)
    add("binary type", "label.unknown_data_type", binary("SignedMSB3"), data, **label)
    add(
        "field leaves binary record",
        DEFINITION,
        binary("ASCII_Real", 11),
        data,
        **label,
    )
    add(
        "NUL in text of a binary table",
        "validation.invalid_character_stream",
        binary("ASCII_String"),
        data,
        record=0,
        offset=0,
    )
    add("number in a binary table", TYPE, binary("ASCII_Integer", 6), data, record=0)

    def delimited(*kinds: str, records: int = 3, more: str = "") -> str:
        fields = "".join(
            f"<Field_Delimited><name>F{k}</name><data_type>{kind}</data_type>"
            f"{more}</Field_Delimited>"
            for k, kind in enumerate(kinds)
        )
        return (
            f"<Table_Delimited><name>C</name>{byte('offset', 0)}"
            f"<records>{records}</records><record_delimiter>{CRLF}</record_delimiter>"
            "<field_delimiter>Comma</field_delimiter><Record_Delimited>"
            f"{fields}</Record_Delimited></Table_Delimited>"
        )

    two = delimited("ASCII_Real", "ASCII_Integer")
    lines = b"1.5,1\r\n2.5,2\r\n,3\r\n"
    add("delimited table", None, two, lines, **same)
    rule = "table.fields_mismatch"
    add("cell too many", rule, two, lines.replace(b"2.5", b"2,5"), record=1, value=3)
    add("cell too few", rule, two, lines.replace(b",2", b""), record=1, value=1)
    add("open quote", rule, two, lines.replace(b"2.5", b'"2.5'), record=1)
    add("record too few", "table.records_mismatch", two, lines[:14], value=2)
    add("no end of the last record", "table.missing_CRLF", two, lines[:-2], record=2)
    bad = lines.replace(b"2.5", b"2_5")
    add("delimited cell", TYPE, two, bad, record=1, field="F0", value="2_5")
    add(
        "blank delimited integer",
        "table.blank_field_value",
        two,
        lines.replace(b",3", b","),
        record=2,
        field="F1",
    )
    add(
        "delimited Latin-1",
        "validation.invalid_character_stream",
        two,
        lines.replace(b"2.5", b"\xe9"),
        record=1,
    )
    many = delimited("ASCII_Real", records=10**17)
    add("1e17 delimited records", "table.records_mismatch", many, lines, absurd=True)
    repeated = two.replace(
        "</Record_Delimited>",
        f"<Group_Field_Delimited><repetitions>{10**17}</repetitions><Field_Delimited>"
        "<name>X</name><data_type>ASCII_Real</data_type></Field_Delimited>"
        "</Group_Field_Delimited></Record_Delimited>",
    )
    add("1e17 delimited cells", "table.records_mismatch", repeated, lines, absurd=True)
    uneven = b'"' + b"x" * 100_000 + b'"\r\n' + b"\r\n" * 4_999
    long = delimited("ASCII_String", records=5_000)
    add("one long cell", TYPE, long, uneven, value=100_000, absurd=True)
    most = delimited("ASCII_Real", more=byte("maximum_field_length", 2))
    add("longer than its maximum", TYPE, most, b"1\r\n2\r\n3.5\r\n", value=3)


def bad_paths() -> None:
    """Names and files that lead elsewhere or are no files."""
    names = ("..", ".", "a/../p.tab", "..\\p.tab", "%2e%2e/p.tab", "C:p.tab", "~root")
    names += ("$HOME", "p.tab/", "p\n.tab", "x" * 300, "p.tab?", "é.tab", "file:p.tab")
    for k, text in enumerate(names, 1):
        case(
            f"P{k:02d} name {text[:12]!r}", NAME, (">p.tab<", f">{text}<"), file="p.xml"
        )
    case("P15 long name", MISSING, (">p.tab<", f">{'x' * 253}<"), table=None)
    edits = (("<version_id>1.0<", "<version_id>/../../x<"), (">p.tab<", ">q.dat<"))
    case("P16 upward version", MISSING, *edits)
    case(
        "P17 case", "label.file_ref_case_mismatch", (">p.tab<", ">Q.tab<"), data="q.tab"
    )
    case("P18 dangling link", REGULAR, table=lambda p: p.symlink_to(p.parent / "none"))
    case("P19 link to itself", REGULAR, table=lambda p: p.symlink_to(p))

    def listen(path: Path) -> None:
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # socket names are short, so the folder is named by its descriptor
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)

    case("P20 socket", REGULAR, table=listen)
    of_label = {"file": "p.xml"}
    case("P21 label FIFO", REGULAR, raw=os.mkfifo, **of_label)
    case("P22 label directory", REGULAR, raw=lambda p: p.mkdir(), **of_label)
    zero = {"raw": lambda p: p.symlink_to("/dev/zero"), "absurd": True}
    case("P23 label /dev/zero", REGULAR, **zero, **of_label)
    case("P24 label missing", MISSING, raw=lambda _: None)

    def huge(path: Path) -> None:
        with path.open("wb") as stream:
            stream.truncate(2**33)  # takes no room on disk

    case("P25 label of 8 GiB", SCHEMA, raw=huge, value=2**33, absurd=True)
    case("P26 table of 8 GiB", SIZE, table=huge, value=2**33, absurd=True)
    case(
        "P27 of 8 GiB, bare",
        "table.records_mismatch",
        table=huge,
        base=BARE,
        absurd=True,
    )


def worse_labels() -> None:
    """Labels that lie in other ways."""
    raw = LABEL.encode()
    xml = "label.not_xml"
    first = "<Field_Character>"
    for name, text in (
        ("two roots", raw + b"<a/>"),
        ("junk after the root", raw + b"junk"),
        ("NUL byte", raw.replace(b"<title>t", b"<title>\0")),
        ("Latin-1 byte", raw.replace(b"<title>t", b"<title>\xe9")),
        ("unknown encoding", raw.replace(b"UTF-8", b"UTF-5")),
        ("unknown entity", raw.replace(b"<title>t", b"<title>&t;")),
        ("attribute twice", raw.replace(b'unit="byte"', b'unit="byte" unit="byte"')),
        ("open comment", raw + b"<!-- "),
        ("open CDATA", raw.replace(b"<title>t", b"<title><![CDATA[t")),
        ("only blanks", b" " * 100),
        ("the table", TABLE),
        ("random bytes", hashlib.shake_128(b"1").digest(2000)),
    ):
        case(f"M {name}", xml, raw=text)
    many = b"<a>" + b"<b/>" * 4_000_000 + b"</a>"
    case("M 4e6 elements", SCHEMA, raw=many, absurd=True)
    case("M depth 5e6", "label.too_deep", raw=b"<a>" * 5_000_000, absurd=True)
    # legal: nothing limits the leaves of a mission area; to tell so many equal names
    # apart must take neither time nor memory
    leaves = ("<M/>", "<M>" + "<x>1</x>" * 40_000 + "</M>")
    case("M 40,000 equal leaves", None, leaves, severity="same", absurd=True)
    rows = f"<records>{N}</records>"
    for name, edit, more in (
        ("records twice", (rows, rows * 2), {"field": "records"}),
        ("file_name twice", ("<File>", "<File><file_name>q.tab</file_name>"), {}),
        (
            "two records",
            ("</Record_Character>", "</Record_Character><Record_Character/>"),
            {},
        ),
        (
            "another XML",
            ("<Identification_Area>", "<a/><b>"),
            {"raw": b"<x/>"},
        ),
        ("other root", ("", ""), {"raw": raw.replace(b"Product_Obs", b"Product_Anc")}),
        ("other class", (">Product_Observational", ">Product_Browse"), {}),
        (
            "no file area",
            ("", ""),
            {"raw": raw.replace(b"File_Area_O", b"File_Area_B")},
        ),
        ("no File", ("", ""), {"raw": raw.replace(b"File>", b"Fool>")}),
        ("no record", ("", ""), {"raw": raw.replace(b"Record_Char", b"Record_Bin")}),
        ("MD5 of 31 digits", ("</md5", "0</md5"), {"field": "md5_checksum"}),
        ("file_size 1e3", (f">{len(TABLE)}<", ">1e3<"), {"value": "1e3"}),
        ("file_size -1", (f">{len(TABLE)}<", ">-1<"), {"value": "-1"}),
        ("file_size without unit", ('file_size unit="byte"', "file_size"), {}),
        ("delimiter Tab", (CRLF, "Tab"), {"value": "Tab"}),
        ("records of 30 digits", (rows, f"<records>{10**29}</records>"), {}),
        ("records 1_0", (rows, "<records>1_0</records>"), {"value": "1_0"}),
        ("records +10", (rows, "<records>+10</records>"), {"value": "+10"}),
        ("records in other digits", (rows, "<records>\u0661\u0660</records>"), {}),
        ("records with a child", (rows, "<records><a/></records>"), {}),
        ("location 0", ('location unit="byte">1<', 'location unit="byte">0<'), {}),
        ("length 0", ('length unit="byte">6<', 'length unit="byte">0<'), {}),
        ("field without name", ("<name>Value</name>", ""), {"field": "name"}),
        ("no data_type", ("<data_type>ASCII_Real</data_type>", ""), {}),
    ):
        if "raw" in more:
            case(f"M {name}", SCHEMA, **more)
        else:
            case(f"M {name}", SCHEMA, edit, **more)
    for text in ("nan", "inf", "1_0", "1e999", "0x10", "1,5"):
        factor = f"<scaling_factor>{text}</scaling_factor></Field_Character>"
        edit = ("</Field_Character>", factor)
        case(
            f"M scaling_factor {text}", SCHEMA, edit, value=text, field="scaling_factor"
        )
    edit = ('unit="byte">57<', f'unit="byte">{2**59}<')
    case("M record_length 2^59", "table.record_length_mismatch", edit, absurd=True)
    edit = ('length unit="byte">6<', f'length unit="byte">{10**12}<')
    case("M field_length 1e12", DEFINITION, edit, field="Number", absurd=True)
    edit = (first, f"<a>{first}")
    end = ("</Field_Character>", "</Field_Character></a>")
    case("M hidden field", "table.fields_mismatch", edit, end, file="p.xml")
    close = "</Record_Character>"
    one = ("<groups>0", "<groups>1")
    for name, rule, keys in (
        ("group_length no multiple", DEFINITION, {"length": 3}),
        ("no repetitions", SCHEMA, {"repetitions": 0}),
        ("group leaves the record", DEFINITION, {"location": 55, "length": 2}),
        (
            "group on a field",
            "table.field_value_overlap",
            {"location": 50, "length": 2},
        ),
    ):
        edit = (close, group(**keys) + close)
        case(f"M {name}", rule, edit, one, file="p.xml")
    edit = (close, group(length=2) + close)
    case("M group not promised", "table.fields_mismatch", edit, file="p.xml")
    model = ("1.15.0.0", "1.10.0.0")
    case("M model 1.10", "label.model_version", model, severity="warning", file="p.xml")


def bad_tables() -> None:
    """Bytes of the table that are no numbers, texts or times."""
    cells = ("+INF", "0x1p3", "1 2", "1e", ".", "+", "--1", "1.2.3", "1e+", "1e5.0")
    cells += ("nan(1)", "1.0f", "1'000", "True", "1.0\t", "1\0", "-1e309", "e5", "N/A")
    for text in cells:
        data = put(7, "Altitude", text.encode())
        expected = {**place(7, "Altitude"), "base": BARE, "table": data}
        case(f"T real {text!r}", TYPE, value=text.rjust(14), **expected)
    for text in ("1e3", "--1", "0x10", "1_0", "-", "1 1"):
        expected = {**place(2, "Number"), "base": BARE}
        case(
            f"T integer {text!r}",
            TYPE,
            table=put(2, "Number", text.encode()),
            **expected,
        )
    number = ("<data_type>ASCII_String", "<data_type>ASCII_Integer")
    real = ("ASCII_String", "ASCII_Boolean")
    case("T boolean", TYPE, real, base=BARE, **place(0, "Name"))
    edit = ('length unit="byte">16', 'length unit="byte">18')
    case("T text for integer", TYPE, number, edit, base=BARE, **place(0, "Name"))
    day = ("ASCII_String", "ASCII_Date_Time_YMD_UTC")
    year = ("ASCII_String", "ASCII_Date_Time_DOY_UTC")
    for kind, text in (
        (day, "2018-02-30T00:00Z"),
        (day, "2018-01-01T24:01"),
        (day, "2018/01/01"),
        (day, "2018-01-01 00:00"),
        (day, "9999999-01-01"),
        (day, "now"),
        (day, "2400-01-01"),
        (year, "2018-400"),
        (year, "2018-000"),
        (year, "2018-366"),
        (year, "2018-01-01"),
        (day, "2018-001"),
    ):
        data = TABLE
        for i in range(N):
            good = f"2018-01-{i + 1:02d}" if kind is day else f"2018-{i + 1:03d}"
            data = put(i, "Name", good.encode().ljust(16), data)
        data = put(8, "Name", text.encode().ljust(16)[:16], data)
        expected = {**place(8, "Name"), "base": BARE, "table": data}
        case(f"T time {text!r}", TYPE, kind, **expected)
    stray = TABLE[: 3 * RECORD + 54] + b"x" + TABLE[3 * RECORD + 55 :]
    between = "table.characters_between_fields"
    where = {"record": 3, "offset": 3 * RECORD + 54, "base": BARE}
    case("T letter between fields", between, table=stray, value=b"x", **where)
    for text in (b"\t", b"\0"):
        data = stray.replace(b"x", text)
        case(f"T {text!r} between fields", between, table=data, value=text, **where)
    for name, end in (("LF CR", b"\n\r"), ("CR", b" \r"), ("blanks", b"  ")):
        data = TABLE[: 9 * RECORD - 2] + end + TABLE[9 * RECORD :]
        expected = {"table": data, "base": BARE, "record": 8, "value": end}
        case(f"T {name} for CR LF", "table.missing_CRLF", **expected)
    data = put(5, "Name", b"caf\xe9")
    rule = "validation.invalid_character_stream"
    case("T Latin-1 text", rule, table=data, base=BARE, **place(5, "Name"))
    for name, text in (("UTF-8", "café".encode()), ("NUL", b"a\0"), ("bell", b"a\7")):
        data = put(5, "Name", text)
        case(f"T {name} in text", rule, table=data, base=BARE, **place(5, "Name"))
    utf8 = ("ASCII_String", "UTF8_String")
    for name, text in (("C1", "a\x85"), ("NUL", "a\0")):
        data = put(5, "Name", text.encode())
        expected = {"table": data, "base": BARE, **place(5, "Name")}
        case(f"T {name} in UTF-8 text", rule, utf8, **expected)
    data = put(5, "Name", b"caf\xc3")
    case("T cut UTF-8", rule, utf8, table=data, base=BARE, **place(5, "Name"))
    data = put(5, "Name", "café".encode())
    case("T good UTF-8", None, utf8, table=data, base=BARE, severity="differs")
    data = put(5, "Number", b"-5")
    edit = ("ASCII_Integer", "ASCII_NonNegative_Integer")
    case("T negative", TYPE, edit, table=data, base=BARE, **place(5, "Number"))
    kind = ("ASCII_String", "ASCII_Numeric_Base16")
    for text in (b"12F", b"0x12", b"fg"):
        data = TABLE
        for i in range(N):
            data = put(i, "Name", b"00ffAB", data)
        data = put(4, "Name", text, data)
        expected = {"table": data, "base": BARE, **place(4, "Name")}
        case(f"T base 16 {text!r}", TYPE, kind, **expected)
    close = "14</field_length>"
    for text in ("1e308", "-1e308"):
        edit = (close, f"{close}<scaling_factor>{text}</scaling_factor>")
        expected = {"base": BARE, **place(0, "Altitude")}
        case(f"T overflow by {text}", TYPE, edit, **expected)
    small, fill = "6</field_length>", "<missing_constant>-1</missing_constant>"
    edits = (
        (small, f"16</field_length><Special_Constants>{fill}</Special_Constants>"),
        ('location unit="byte">1<', 'location unit="byte">38<'),
        ("<fields>4", "<fields>3"),
        (fields_xml().splitlines()[-1], ""),
    )
    data = TABLE
    for i in range(N):
        data = put(i, "Name", b"9007199254740992", data)
        data = data[: i * RECORD] + b" " * 6 + data[i * RECORD + 6 :]
    case(
        "T 2^53 beside a constant",
        None,
        *edits,
        table=data,
        base=BARE,
        severity="differs",
    )
    data = put(3, "Name", b"9007199254740993", data)
    where = {"field": "Number", "record": 3, "offset": 3 * RECORD + STARTS["Name"]}
    case("T 2^53 + 1 beside a constant", TYPE, *edits, table=data, base=BARE, **where)
    for text in ("1_0", "10", "1e1"):  # the first is a word, not ten
        fill = f"<missing_constant>{text}</missing_constant></Special_Constants>"
        edit = (close, f"{close}<Special_Constants>{fill}")
        rule, kind = "table.field_value_is_special_constant", "info"
        expected = {"value": 1, **place(0, "Altitude")}
        if text == "1_0":
            rule, kind = "label.special_constant_mismatch", "warning"
            expected = {"value": text, "field": "Altitude", "file": "p.xml"}
        case(f"T constant {text}", rule, edit, base=BARE, severity=kind, **expected)
    constant = "<Special_Constants><missing_constant>N/A</missing_constant>"
    for name, size in (("Number", 6), ("Altitude", 14)):
        edit = (
            f"{size}</field_length>",
            f"{size}</field_length>{constant}</Special_Constants>",
        )
        case(
            f"T N/A declared for {name}",
            "table.field_value_is_special_constant",
            edit,
            table=put(6, name, b"N/A"),
            base=BARE,
            severity="info",
            value=1,
            **place(6, name),
        )
    feed = (CRLF, "Line-Feed")
    case("T CR where LF is declared", between, feed, base=BARE, record=0)
    utf16 = TABLE.decode().encode("utf-16-le")
    case("T UTF-16 table", SIZE, table=utf16)
    case("T UTF-16 table, bare", "table.records_mismatch", table=utf16, base=BARE)


def member(name: str, *, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def zipped(
    *extra: tuple[zipfile.ZipInfo | str, bytes], text: str = LABEL
) -> Callable[[Path], Path]:
    """Zip of the good product and further members."""

    def build(folder: Path) -> Path:
        path = folder / "p.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")  # two members of one name
            archive.writestr(member("p.xml"), text)
            archive.writestr(member("p.tab"), TABLE)
            for info, data in extra:
                archive.writestr(info, data)
        return path

    return build


def patched(
    change: Callable[[bytes], bytes], *, text: str = LABEL
) -> Callable[[Path], Path]:
    """Good zip with other bytes."""

    def build(folder: Path) -> Path:
        path = zipped(text=text)(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return build


def in_index(name: str, place: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change bytes of a member's entry in the index at the end of a zip."""

    def change(data: bytes) -> bytes:
        at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
        return data[: at + place] + value + data[at + place + len(value) :]

    return change


def flipped(data: bytes) -> bytes:
    # 100 bytes after its name are in the middle of the deflated table
    at = data.index(b"p.tab") + 100
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def bad_zips() -> None:
    """Delivery archives."""

    def add(
        name: str, rule: str | None, build: Callable[[Path], Path], **more: Any
    ) -> None:
        more.setdefault("file", "p.zip")
        CASES.append(Case(f"Z {name}", build, rule, **more))

    unsafe = "zip.unsafe_member"
    add("good", None, zipped(), severity="same")
    for name in ("../evil.tab", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:evil"):
        add(name, unsafe, zipped((member(name), b"x")), value=name)
    nul = patched(lambda d: d.replace(b"p.tab", b"p\0tab"))
    add("NUL in a name", unsafe, nul)
    add("long name", unsafe, zipped((member("x" * 300), b"x")))
    for name, kind in (
        ("link", stat.S_IFLNK),
        ("device", stat.S_IFCHR),
        ("FIFO", stat.S_IFIFO),
    ):
        add(
            name,
            unsafe,
            zipped((member("l", mode=kind | 0o777), b"/etc/passwd")),
            value="l",
        )
    add(
        "duplicate",
        "zip.duplicate_member",
        zipped((member("p.tab"), b"x")),
        value="p.tab",
    )
    add("case clash", unsafe, zipped((member("P.TAB"), b"x")), value="P.TAB")
    bomb = zipped((member("zeros"), bytes(2**24)))
    add("bomb", "zip.too_large", bomb, value="zeros", absurd=True)
    many = zipped(*((zipfile.ZipInfo(f"m{k}"), b"") for k in range(20_001)))
    add("20,003 members", "zip.too_large", many, value=20_003, tags=frozenset({"slow"}))
    huge = patched(in_index("p.tab", 24, struct.pack("<L", 2**32 - 2)))
    add("4 GiB promised", "zip.too_large", huge, absurd=True)
    overlap = patched(in_index("p.tab", 42, struct.pack("<L", 0)))
    add("overlap", "zip.overlapping_members", overlap)
    add("encrypted", unsafe, patched(in_index("p.tab", 8, b"\1")))
    add("unknown method", unsafe, patched(in_index("p.tab", 10, b"\x63")))
    damaged = "zip.damaged"
    add("flipped byte", damaged, patched(flipped))
    add("wrong CRC", damaged, patched(in_index("p.tab", 16, b"\0\0\0\0")))
    # the index is believed when the size is compared, before anything is unpacked;
    # that it lies is found at once when it is read
    add("larger size", SIZE, patched(in_index("p.tab", 24, struct.pack("<L", 9000))))
    larger = in_index("p.tab", 24, struct.pack("<L", 627))
    eleven = BARE.replace(f"<records>{N}<", "<records>11<")
    lied = patched(lambda d: larger(d), text=eleven)
    add("larger size that the label takes up", damaged, lied)
    add("cut", damaged, patched(lambda d: d[: len(d) // 2]))
    add("empty", damaged, patched(lambda _: b""))
    add("no zip", damaged, patched(lambda _: TABLE))
    add(
        "other local name", damaged, patched(lambda d: d.replace(b"p.tab", b"q.tab", 1))
    )
    none = patched(lambda d: d.replace(b"p.xml", b"p.xm_"))
    add("no label", "zip.no_product", none)
    two = zipped((member("q.xml"), LABEL.encode()))
    add("two labels", MISSING, two, value=2, verified=("", ""))

    def linked(folder: Path) -> Path:
        real = zipped()(folder)
        real.rename(folder / "real.zip")
        real.symlink_to(folder / "real.zip")
        return real

    add("link to a zip", REGULAR, linked)


damaged_files()
bad_labels()
bad_arrays()
bad_objects()
bad_paths()
worse_labels()
bad_tables()
bad_zips()
LISTED = ("D", "L", "A")


def numbered() -> set[str]:
    """Names of the listed cases D01-D27, L01-L38, A01-A06 that there are."""
    return {c.name[:3] for c in CASES if c.name[0] in LISTED and c.name[1:3].isdigit()}


def remove(folder: Path) -> None:
    """Delete a case's folder, whatever its modes."""
    shutil.rmtree(folder, ignore_errors=True)
