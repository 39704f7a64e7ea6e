"""What PDS4 allows and the archive does not: read in the generic layer, refused there.

Each kind is tried with products of our own making, in the generic layer and as products
that a reader holds to what their producers keep (``exact``).
"""

from __future__ import annotations

import itertools
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tgo_spectra.archive import verify
from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import Source, open_structures, parse_label
from tgo_spectra.pds4.check import check_product, open_tables
from tgo_spectra.pds4.fields import distinct
from tgo_spectra.pds4.label import PRODUCT_CLASSES

sys.path.append(str(Path(__file__).parent))

import corpus
from corpus import byte, stream

BETWEEN = "table.characters_between_fields"
BYTES = "file.bytes_not_described"
TWICE = "label.duplicate_identifier"


def named(name):
    return "" if name is None else f"<name>{name}</name>"


def character(offset, rows, fields, length, name=None, end=corpus.CRLF):
    """A fixed-width table; `fields` are (name, type, first byte from 1, bytes)."""
    described = "".join(
        f"<Field_Character><name>{title}</name>{byte('field_location', start)}"
        f"<data_type>{kind}</data_type>{byte('field_length', size)}</Field_Character>"
        for title, kind, start, size in fields
    )
    return (
        f"<Table_Character>{named(name)}{byte('offset', offset)}"
        f"<records>{rows}</records><record_delimiter>{end}</record_delimiter>"
        f"<Record_Character>{byte('record_length', length)}{described}"
        "</Record_Character></Table_Character>"
    )


def one(offset, name=None):
    """A table of one record with one number of four bytes."""
    return character(offset, 1, [("a", "ASCII_Real", 1, 4)], 6, name)


def binary(offset, rows, name=None):
    return (
        f"<Table_Binary>{named(name)}{byte('offset', offset)}<records>{rows}</records>"
        f"<Record_Binary>{byte('record_length', 2)}<Field_Binary><name>b</name>"
        f"{byte('field_location', 1)}<data_type>SignedMSB2</data_type>"
        f"{byte('field_length', 2)}</Field_Binary></Record_Binary></Table_Binary>"
    )


def array(offset, n, name=None):
    return (
        f"<Array>{named(name)}{byte('offset', offset)}<axes>1</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order><Element_Array>"
        "<data_type>UnsignedByte</data_type></Element_Array><Axis_Array>"
        f"<axis_name>x</axis_name><elements>{n}</elements>"
        "<sequence_number>1</sequence_number></Axis_Array></Array>"
    )


def delimited(offset, rows, kinds, name=None, *, length=None, end=corpus.CRLF, **more):
    """A delimited table with a field of each of `kinds`."""
    size = "" if length is None else byte("object_length", length)
    fields = "".join(
        f"<Field_Delimited><name>{title}</name><data_type>{kind}</data_type>"
        "</Field_Delimited>"
        for title, kind in zip("abc", kinds, strict=False)
    )
    tag = more.get("tag", "Table_Delimited")
    return (
        f"<{tag}>{named(name)}{byte('offset', offset)}{size}<records>{rows}</records>"
        f"<record_delimiter>{end}</record_delimiter>"
        f"<field_delimiter>{more.get('separator', 'Comma')}</field_delimiter>"
        f"<Record_Delimited>{fields}</Record_Delimited></{tag}>"
    )


def write(folder, data, objects, text=None):
    """Write a product of one file, with size and MD5; returns its label."""
    (folder / "p.dat").write_bytes(data)
    path = folder / "p.xml"
    label = corpus.product_xml(corpus.file_xml("p.dat", data) + objects)
    path.write_text(label if text is None else text(label))
    return path


def values(item):
    """All values of a table or array, field by field."""
    if not hasattr(item, "layout"):
        return item.read().tolist()
    fields = item.layout.fields
    if hasattr(item, "records"):
        return [item.read([one])[:, 0].tolist() for one in fields]
    return [item.read(one.name).tolist() for one in fields]


def rule_of(function, *given, **keywords):
    with pytest.raises(ProductError) as caught:
        function(*given, **keywords)
    return caught.value.rule


def warned(path):
    """What is opened and warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TgoWarning)
        found = open_structures(path)
    return found, [str(item.message) for item in caught]


# Names

PAIR = b"1.00\r\n\0\7\0\x08"
NAMES = {
    "two tables of one name": (
        b"1.00\r\n2.00\r\n",
        one(0, "T") + one(6, "T"),
        {"T[0]": [[1.0]], "T[1]": [[2.0]]},
    ),
    "a table and an array of one name": (
        b"1.00\r\n\1\2\3",
        one(0, "X") + array(6, 3, "X"),
        {"X[0]": [[1.0]], "X[1]": [1, 2, 3]},
    ),
    "unnamed: character and binary": (
        PAIR,
        one(0) + binary(6, 2),
        {"TABLE[0]": [[1.0]], "TABLE[1]": [[7, 8]]},
    ),
    "unnamed and called TABLE": (
        b"1.00\r\n2.00\r\n3.00\r\n",
        one(0) + one(6, "TABLE") + one(12, "TABLE[1]"),
        {"TABLE[0]": [[1.0]], "TABLE[2]": [[2.0]], "TABLE[1]": [[3.0]]},
    ),
    "two arrays, the second first": (
        b"\1\2\3\4\5",
        array(3, 2) + array(0, 3),
        {"ARRAY[0]": [4, 5], "ARRAY[1]": [1, 2, 3]},
    ),
    "delimited tables": (
        b"1,2\r\n3,4\r\n",
        delimited(0, 1, ["ASCII_Integer"] * 2, "D", length=5)
        + delimited(5, 1, ["ASCII_Integer"] * 2, "D"),
        {"D[0]": [[1], [2]], "D[1]": [[3], [4]]},
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names__are_no_identifiers(tmp_path, kind):
    data, objects, wanted = NAMES[kind]
    path = write(tmp_path, data, objects)
    found = open_structures(path)  # no warning: that is legal
    assert {name: values(item) for name, item in found.items()} == wanted
    assert rule_of(open_structures, path, exact=True) == TWICE
    assert verify(path)[0].rule == TWICE  # its identifier is one of a known instrument


def test_names__one_object_without_a_name_is_as_before(tmp_path):
    path = write(tmp_path, b"1.00\r\n", one(0))
    for exact in (False, True):
        assert list(open_structures(path, exact=exact)) == ["TABLE"]
    assert verify(path)[0].rule == ""


def test_distinct__never_gives_a_name_twice():
    some = ["a", "a[0]", "a[1]", "a[0][0]"]
    for names in itertools.product(some, repeat=4):
        keys = [((), name) for name in names]
        found = distinct(keys)
        assert len(set(found)) == len(names)
        for name, new in zip(names, found, strict=True):
            assert new == name if names.count(name) == 1 else new.startswith(name)


def test_fields_of_equal_names__keep_all(tmp_path):
    fields = [("a", "ASCII_Real", 1, 2), ("a", "ASCII_Real", 3, 2)]
    fields.append(("a[0]", "ASCII_Real", 5, 2))
    path = write(tmp_path, b" 1 2 3\r\n", character(0, 1, fields, 8, "T"))
    with pytest.warns(TgoWarning, match="duplicate_name"):
        table = open_structures(path)["T"]
    assert [f.name for f in table.layout.fields] == ["a[1]", "a[2]", "a[0]"]
    assert values(table) == [[1.0], [2.0], [3.0]]


# Characters between fields

TWO = [("a", "ASCII_Real", 1, 4), ("b", "ASCII_Real", 6, 4)]
WORD = [("n", "ASCII_Integer", 1, 2), ("s", "ASCII_String", 4, 3)]
SILENT = {
    "semicolons": (TWO, b"1.00;2.00\r\n3.00;4.00\r\n", 11),
    "tabs": (TWO, b"1.00\t2.00\r\n3.00\t4.00\r\n", 11),
    "bars, and one behind the last": (TWO, b"1.00|2.00|\r\n3.00|4.00|\r\n", 12),
    "quotes": (WORD, b' 1"abc"\r\n 2"de "\r\n', 9),
    "different ones": (TWO, b"1.00,2.00\r\n3.00 4.00\r\n", 11),
}
LOUD = {
    "a sign that the label cuts off": (TWO, b"1.00-2.00\r\n3.00 4.00\r\n", 11),
    "a digit": (TWO, b"1.0012.00\r\n3.00 4.00\r\n", 11),
    "a unit": (TWO, b"1.00m2.00\r\n3.00m4.00\r\n", 11),
    "NUL": (TWO, b"1.00\x002.00\r\n3.00\x004.00\r\n", 11),
    "not ASCII": (TWO, b"1.00\xb02.00\r\n3.00\xb04.00\r\n", 11),
}


@pytest.mark.parametrize("kind", SILENT | LOUD)
def test_between_fields__anything_may_stand(tmp_path, kind):
    fields, data, length = (SILENT | LOUD)[kind]
    path = write(tmp_path, data, character(0, 2, fields, length, "T"))
    found, texts = warned(path)
    cells = [
        [data[row * length + start - 1 :][:size] for row in range(2)]
        for _, _, start, size in fields
    ]
    for column, wanted in zip(values(found["T"]), cells, strict=True):
        for value, cell in zip(column, wanted, strict=True):
            assert value == (
                cell.decode().strip() if isinstance(value, str) else float(cell)
            )
    assert [BETWEEN in text for text in texts] == [True] * (kind in LOUD)
    rules = [f.rule for f in check_product(path) if f.severity != "info"]
    assert rules == [BETWEEN] * (kind in LOUD)
    for function in (open_structures, open_tables, check_product):
        assert rule_of(function, path, exact=True) == BETWEEN
    assert (verify(path)[0].rule, verify(path)[0].suspect) == (BETWEEN, False)


# Bytes that no object describes

NUMBERS = delimited(0, 2, ["ASCII_Integer"], "D")
BEHIND = {
    "character table": (b"1.00\r\n", one(0, "T"), b"2.00\r\n"),
    "one byte": (b"1.00\r\n", one(0, "T"), b"\x1a"),
    "binary table": (b"\0\7\0\x08", binary(0, 2, "B"), bytes(2876)),
    "array": (b"\1\2\3", array(0, 3, "A"), b"junk"),
    "delimited table": (b"1\r\n2\r\n", NUMBERS, b"3\r\n"),
    "delimited table with its length": (
        b"1\r\n2\r\n",
        delimited(0, 2, ["ASCII_Integer"], "D", length=6),
        b"no record",
    ),
    "two tables": (b"1.00\r\n2.00\r\n", one(0, "T") + one(6, "U"), b"?"),
    "header and table": (b"head1.00\r\n", stream("Header", 0, 4) + one(4), b"?"),
    "header alone": (b"head", stream("Header", 0, 4), b"more"),
}


@pytest.mark.parametrize("kind", BEHIND)
def test_bytes_behind_the_last_object__one_rule(tmp_path, kind):
    data, objects, more = BEHIND[kind]
    alone = write(tmp_path, data, objects)
    wanted = [values(item) for item in open_structures(alone).values()]
    path = write(tmp_path, data + more, objects)
    found, texts = warned(path)
    assert [values(item) for item in found.values()] == wanted
    (text,) = texts
    assert f"value {len(more)}, rule {BYTES}" in text
    assert [f.rule for f in check_product(path)] == [BYTES]
    row = verify(path)[0]
    if len(found) == 2 or kind == "header and table":  # as the archive's readers do
        assert (row.rule, row.suspect) == (BYTES, True)
        return
    assert rule_of(check_product, path, exact=True) == row.rule
    assert not row.suspect
    assert row.rule.startswith(("table.record", "array.size", "label.invalid"))


@pytest.mark.parametrize("kind", BEHIND)
def test_bytes_behind_the_last_object__never_against_the_size_of_the_label(
    tmp_path, kind
):
    data, objects, more = BEHIND[kind]
    path = write(tmp_path, data, objects)
    (tmp_path / "p.dat").write_bytes(data + more)
    assert rule_of(open_structures, path) == "label.filesize_mismatch"


def test_streams_without_length__end_where_the_next_object_starts(tmp_path):
    objects = (
        stream("Encoded_Header", 0, None) + one(4) + stream("Stream_Text", 10, None)
    )
    path = write(tmp_path, b"head1.00\r\ntail", objects)
    assert values(open_structures(path)["TABLE"]) == [[1.0]]


# Classes of products


def of_class(name, area=None, context="Context_Area"):
    def change(label):
        label = label.replace("Product_Observational", name)
        label = label.replace("Observation_Area", context)
        return label.replace("File_Area_Observational", area) if area else label

    return change


CLASSES = {
    "Product_Ancillary": "File_Area_Ancillary",
    "Product_Browse": "File_Area_Browse",
    "Product_Metadata_Supplemental": "File_Area_Metadata",
    "Product_Update": "File_Area_Update",
}


@pytest.mark.parametrize("name", CLASSES)
def test_classes__tables_are_read(tmp_path, name):
    objects = one(0, "T") + stream("Header", 6, 2)
    path = write(tmp_path, b"1.00\r\n..", objects, of_class(name, CLASSES[name]))
    assert values(open_structures(path)["T"]) == [[1.0]]
    assert check_product(path) == []
    assert parse_label(path.read_bytes(), "p.xml").product_class == name
    (row,) = verify(path)
    assert (row.path, row.rule) == (str(path), "")
    assert verify(tmp_path) == []  # of a folder the observations are verified
    assert rule_of(open_structures, path, exact=True) == "label.schema"


def test_collection__inventory(tmp_path):
    data = b"P,urn:a:b:c:d::1.0\r\nS,urn:a:b:c:e\r\n"
    kinds = ["ASCII_String", "ASCII_LIDVID_LID"]
    objects = delimited(0, 2, kinds, tag="Inventory")
    change = of_class("Product_Collection", "File_Area_Inventory")
    (table,) = open_structures(write(tmp_path, data, objects, change)).values()
    assert values(table) == [["P", "S"], ["urn:a:b:c:d::1.0", "urn:a:b:c:e"]]


def test_manifests__in_a_package(tmp_path):
    fields = [("lid", "ASCII_String", 1, 5), ("file", "ASCII_String", 6, 5)]
    text = character(0, 1, fields, 12).replace("Table_Character", "Transfer_Manifest")

    def change(label):
        label = of_class("Product_SIP", "File_Area_Transfer_Manifest")(label)
        tag = "Information_Package_Component"
        label = label.replace("<File_Area", f"<{tag}><File_Area", 1)
        end = "</File_Area_Transfer_Manifest>"
        return label.replace(end, f"{end}</{tag}>")

    (table,) = open_structures(
        write(tmp_path, b"u:a  b.tab\r\n", text, change)
    ).values()
    assert values(table) == [["u:a"], ["b.tab"]]


@pytest.mark.parametrize(
    ("name", "area", "tag"),
    [
        ("Product_Browse", "File_Area_Browse", "Encoded_Image"),
        ("Product_SPICE_Kernel", "File_Area_SPICE_Kernel", "SPICE_Kernel"),
        ("Product_XML_Schema", "File_Area_XML_Schema", "XML_Schema"),
        ("Product_Bundle", "File_Area_Text", "Stream_Text"),
        ("Product_Thumbnail", "File_Area_Encoded_Image", "Encoded_Image"),
    ],
)
def test_classes__files_without_values_are_checked(tmp_path, name, area, tag):
    change = of_class(name, area)
    path = write(tmp_path, b"any bytes", stream(tag, 0, None), change)
    assert open_structures(path) == {}
    assert verify(path)[0].rule == ""
    (tmp_path / "p.dat").write_bytes(b"any Bytes")
    assert rule_of(open_structures, path) == "label.checksum_mismatch"
    assert verify(path)[0].rule == "label.checksum_mismatch"


def test_document__files_are_checked(tmp_path):
    def change(label):
        label = of_class("Product_Document", "Document")(label)
        label = label.replace("<File>", "<Document_Edition><Document_File>")
        return label.replace("</File>", "</Document_File></Document_Edition>")

    path = write(tmp_path, b"%PDF", "", change)
    assert open_structures(path) == {}
    (tmp_path / "p.dat").write_bytes(b"%pdf")
    assert rule_of(check_product, path) == "label.checksum_mismatch"


def test_context__has_no_file(tmp_path):
    text = corpus.product_xml("").replace("Product_Observational", "Product_Context")
    start, end = (text.index(f"<{mark}File_Area") for mark in ("", "/"))
    path = tmp_path / "p.xml"
    path.write_text(text[:start] + text[text.index(">", end) + 1 :])
    assert open_structures(path) == {}
    assert check_product(path) == []


def test_classes__that_are_none_are_refused(tmp_path):
    assert len(PRODUCT_CLASSES) == 27
    path = write(tmp_path, b"1.00\r\n", one(0), of_class("Product_Ancilary"))
    assert rule_of(open_structures, path) == "label.schema"
    text = path.read_text().replace("Product_Ancilary", "Product_Ancillary", 1)
    path.write_text(text.replace("</Product_Ancilary>", "</Product_Ancillary>"))
    assert rule_of(open_structures, path) == "label.schema"  # product_class differs


def test_leaves__of_other_classes(tmp_path):
    path = write(tmp_path, b"1.00\r\n", one(0), of_class("Product_Ancillary"))
    text = path.read_text().replace("<M/>", "<M><x>1</x><x>2</x></M>")
    found = parse_label(text.encode(), "p.xml").leaves
    assert found == {"M_x": "1", "M_x_2": "2"}


# Delimited tables one behind the other

LF = "Line-Feed"
INTEGER = ["ASCII_Integer"]
CHAINS = {
    "three": (
        b"1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n",
        [(0, 1, INTEGER, {}), (3, 2, INTEGER, {}), (9, 3, INTEGER, {})],
        [[[1]], [[2, 3]], [[4, 5, 6]]],
    ),
    "LF, other separators, the last with its length": (
        b"1;2\n3;4\n5|x\n",
        [
            (0, 2, INTEGER * 2, {"end": LF, "separator": "Semicolon"}),
            (
                8,
                1,
                ["ASCII_Integer", "ASCII_String"],
                {"end": LF, "separator": "Vertical Bar", "length": 4},
            ),
        ],
        [[[1, 3], [2, 4]], [[5], ["x"]]],
    ),
    "a gap between them": (
        b"1\r\n2\r\n\r\n  \r\n7\r\n",
        [(0, 2, INTEGER, {}), (12, 1, INTEGER, {})],
        [[[1, 2]], [[7]]],
    ),
    "the second described first": (
        b"1\r\n2\r\n3\r\n",
        [(6, 1, INTEGER, {}), (0, 2, INTEGER, {})],
        [[[3]], [[1, 2]]],
    ),
}


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("packed", [False, True], ids=["file", "zip"])
def test_delimited_tables__end_with_their_records(tmp_path, kind, packed):
    data, tables, wanted = CHAINS[kind]
    objects = "".join(
        delimited(start, rows, kinds, f"T{k}", **more)
        for k, (start, rows, kinds, more) in enumerate(tables)
    )
    path = write(tmp_path, data, objects)
    if packed:
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            for name in ("p.xml", "p.dat"):
                archive.write(tmp_path / name, name)
        path = Source(str(tmp_path / "p.zip"), "p.xml")
    found, texts = warned(path)
    assert [values(item) for item in found.values()] == wanted
    assert [BYTES in text for text in texts] == [True] * ("gap" in kind)


def test_delimited_table__many_records_before_the_next(tmp_path):
    rows = 2_000_000  # of more bytes than are looked at together
    data = b"1\r\n" * rows + b"2\r\n"
    objects = delimited(0, rows, INTEGER, "T") + delimited(3 * rows, 1, INTEGER, "U")
    found = open_structures(write(tmp_path, data, objects))
    assert found["T"].layout.length == 3 * rows
    assert found["U"].read("a").tolist() == [2]


@pytest.mark.parametrize(
    ("rows", "more", "rule"),
    [
        ((4, 1), {}, "table.records_mismatch"),
        ((2, 1), {"length": 5}, "table.missing_CRLF"),
        ((2, 1), {"length": 9}, "table.records_mismatch"),
    ],
)
def test_delimited_tables__whose_records_do_not_fit(tmp_path, rows, more, rule):
    objects = delimited(0, rows[0], INTEGER, "T", **more)
    objects += delimited(6, rows[1], INTEGER, "U")
    path = write(tmp_path, b"1\r\n2\r\n3\r\n", objects)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        assert rule_of(check_product, path) == rule


def test_delimited_table__too_few_records_are_refused(tmp_path):
    path = write(tmp_path, b"11\r\n22\r\n", delimited(0, 3, INTEGER, "T"))
    table = open_structures(path)["T"]
    assert rule_of(table.read, "a") == "table.records_mismatch"


def test_array__described_in_part_keeps_its_values(tmp_path):
    data = struct.pack(">4h", 1, 2, 3, 4)
    found, texts = warned(write(tmp_path, data, binary(2, 2, "B")))
    assert values(found["B"]) == [[2, 3]]
    assert sum(BYTES in text for text in texts) == 2
    np.testing.assert_array_equal(found["B"].read("b", slice(1, 2)), [3])
