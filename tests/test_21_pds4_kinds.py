"""Binary and delimited tables and arrays of any instrument, against pds4_tools."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile

import numpy as np
import pds4_tools
import pytest

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import open_structures
from tgo_spectra.pds4.binary import BINARY_TYPES, BinaryTable, decode

ROWS = 7


def byte(name: str, value: int) -> str:
    return f'<{name} unit="byte">{value}</{name}>'


def field(kind, name, data_type, start=None, length=None, extra=""):
    place = "" if start is None else byte("field_location", start)
    size = "" if length is None else byte("field_length", length)
    return (
        f"<Field_{kind}><name>{name}</name>{place}<data_type>{data_type}</data_type>"
        f"{size}{extra}</Field_{kind}>"
    )


def group(kind, inner, repetitions, fields, groups=0, start=None, length=None, name=""):
    title = f"<name>{name}</name>" if name else ""
    place = "" if start is None else byte("group_location", start)
    size = "" if length is None else byte("group_length", length)
    return (
        f"<Group_Field_{kind}>{title}<repetitions>{repetitions}</repetitions>"
        f"<fields>{fields}</fields><groups>{groups}</groups>{place}{size}{inner}"
        f"</Group_Field_{kind}>"
    )


def special(text):
    return (
        "<Special_Constants><missing_constant>"
        f"{text}</missing_constant></Special_Constants>"
    )


def array(kind, name, offset, shape, data_type, extra="", constants=""):
    axes = "".join(
        f"<Axis_Array><axis_name>axis {k}</axis_name><elements>{n}</elements>"
        f"<sequence_number>{k + 1}</sequence_number></Axis_Array>"
        for k, n in enumerate(shape)
    )
    return (
        f"<{kind}><name>{name}</name>{byte('offset', offset)}<axes>{len(shape)}</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order>"
        f"<Element_Array><data_type>{data_type}</data_type>{extra}</Element_Array>"
        f"{axes}{constants}</{kind}>"
    )


def file_area(name, data, objects):
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return (
        f"<File_Area_Observational><File><file_name>{name}</file_name>"
        f"{byte('file_size', len(data))}<md5_checksum>{digest}</md5_checksum></File>"
        f"{objects}</File_Area_Observational>"
    )


def write(folder, *areas):
    """Write files and their label; `areas` are (name, bytes, objects)."""
    text = (
        '<?xml version="1.0"?><Product_Observational '
        'xmlns="http://pds.nasa.gov/pds4/pds/v1">'
        "<Identification_Area><logical_identifier>urn:a:b:c:d:e</logical_identifier>"
        "<version_id>1.0</version_id><title>t</title>"
        "<information_model_version>1.15.0.0</information_model_version>"
        "<product_class>Product_Observational</product_class></Identification_Area>"
        "<Observation_Area/>"
        + "".join(file_area(*area) for area in areas)
        + "</Product_Observational>"
    )
    for name, data, _ in areas:
        (folder / name).write_bytes(data)
    path = folder / "product.xml"
    path.write_text(text)
    return path


def oracle(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pds4_tools.read(str(path), quiet=True)


def random_of(dtype, shape, rng):
    """Any value of a type: random bytes, but no NaN."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        kind = dtype.newbyteorder("=").type
        return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, shape)
    return values * (1 + 2j) if dtype.kind == "c" else values


def binary_area(rng, rows=ROWS, name="EVERY", before=64):
    """All data types, scaled fields, groups in the middle, nested and unnamed."""
    pieces, fields, n, at = [], "", 0, 1

    def add(data_type, values, extra=""):
        nonlocal at, n, fields
        stored = np.ascontiguousarray(values, dtype=BINARY_TYPES[data_type])
        pieces.append(stored.view(np.uint8).reshape(rows, -1))
        size = stored.dtype.itemsize
        fields += field("Binary", f"f{n}", data_type, at, size, extra)
        at += size
        n += 1

    kinds = list(BINARY_TYPES)
    for data_type in kinds[:10]:
        add(data_type, random_of(BINARY_TYPES[data_type], rows, rng))
    # interleaved: two fields, three times, in the middle of the record
    inner = field("Binary", "a", "IEEE754MSBSingle", 1, 4) + field(
        "Binary", "b", "SignedLSB2", 5, 2
    )
    fields += group("Binary", inner, 3, 2, 0, at, 18, "Pair")
    both = np.zeros((rows, 3), dtype=[("a", ">f4"), ("b", "<i2")])
    both["a"] = rng.normal(size=(rows, 3))
    both["b"] = rng.integers(-9, 9, (rows, 3))
    pieces.append(both.view(np.uint8).reshape(rows, -1))
    at += 18
    # unnamed, with another group inside
    inner = field("Binary", "c", "UnsignedMSB2", 1, 2) + group(
        "Binary", field("Binary", "d", "IEEE754LSBDouble", 1, 8), 2, 1, 0, 3, 16, "In"
    )
    fields += group("Binary", inner, 2, 1, 1, at, 36)
    deep = np.zeros((rows, 2), dtype=[("c", ">u2"), ("d", "<f8", 2)])
    deep["c"] = rng.integers(0, 9, (rows, 2))
    deep["d"] = rng.normal(size=(rows, 2, 2))
    pieces.append(deep.view(np.uint8).reshape(rows, -1))
    at += 36
    for data_type in kinds[10:]:
        add(data_type, random_of(BINARY_TYPES[data_type], rows, rng))
    scale = "<scaling_factor>0.5</scaling_factor><value_offset>-3</value_offset>"
    add("SignedMSB2", rng.integers(-99, 99, rows), scale)
    add("IEEE754LSBSingle", rng.normal(size=rows).astype("f4"), scale)
    text = "".join(f"{k:5d}  {k / 8:8.3f} " for k in range(rows)).encode()
    pieces.append(np.frombuffer(text, np.uint8).reshape(rows, -1))
    fields += field("Binary", "whole", "ASCII_Integer", at, 6)
    fields += field("Binary", "real", "ASCII_Real", at + 6, 10)
    body = np.concatenate(pieces, axis=1)
    objects = (
        f"<Table_Binary><name>{name}</name>{byte('offset', before)}"
        f"<records>{rows}</records><Record_Binary><fields>{n + 2}</fields>"
        f"<groups>2</groups>{byte('record_length', body.shape[1])}{fields}"
        "</Record_Binary></Table_Binary>"
    )
    return objects, body.tobytes()


def header(length):
    return (
        f"<Header><name>top</name>{byte('offset', 0)}{byte('object_length', length)}"
        "<parsing_standard_id>7-Bit ASCII Text</parsing_standard_id></Header>"
    )


def same(ours, theirs):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype.isnative
    if theirs.dtype.kind in "SU":
        theirs = np.char.strip(theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_binary_tables_of_all_types(tmp_path):
    rng = np.random.default_rng(1)
    objects, body = binary_area(rng)
    path = write(tmp_path, ("data.bin", b"-" * 64 + body, header(64) + objects))
    table = open_structures(path)["EVERY"]
    reference = oracle(path)["EVERY"]
    assert len(table.layout.fields) == len(reference.fields) >= len(BINARY_TYPES) + 8
    for k, item in enumerate(table.layout.fields):
        name = " / ".join((*item.groups, item.name))
        same(table.read(name), reference.fields[k])
        same(table.read(name, slice(1, 6, 2)), reference.fields[k][1:6:2])
    assert table.read("f2").dtype == np.dtype("i2")
    assert table.read("d").shape == (ROWS, 2, 2)


@pytest.mark.parametrize(
    ("kind", "shape", "data_type"),
    [
        ("Array", (3,), "UnsignedByte"),
        ("Array", (2, 3, 4, 5), "SignedMSB4"),
        ("Array_2D", (4, 5), "IEEE754LSBSingle"),
        ("Array_2D_Image", (6, 5), "UnsignedMSB2"),
        ("Array_2D_Spectrum", (6, 5), "SignedLSB8"),
        ("Array_3D", (2, 3, 4), "ComplexMSB16"),
        ("Array_3D_Spectrum", (4, 3, 2), "IEEE754MSBDouble"),
        ("Array_3D_Movie", (4, 3, 2), "SignedByte"),
    ],
)
def test_arrays(tmp_path, kind, shape, data_type):
    rng = np.random.default_rng(2)
    dtype = BINARY_TYPES[data_type]
    first = random_of(dtype, shape, rng).astype(dtype)
    second = rng.integers(0, 99, shape).astype(dtype)
    size = first.nbytes
    scale = "<scaling_factor>2.5</scaling_factor><value_offset>-1</value_offset>"
    objects = array(kind, "PLAIN", 0, shape, data_type) + array(
        kind, "SCALED", size, shape, data_type, scale
    )
    data = first.tobytes() + second.tobytes()
    path = write(tmp_path, ("data.img", data, objects))
    found = open_structures(path)
    assert found["PLAIN"].axes == tuple(f"axis {k}" for k in range(len(shape)))
    for name, reference in zip(found, oracle(path), strict=True):
        same(found[name].read(), reference.data)
        same(
            found[name].read((slice(1, None), ..., -1)[-len(shape) :]),
            np.asarray(reference.data)[(slice(1, None), ..., -1)[-len(shape) :]],
        )
        assert found[name].read().dtype == found[name].dtype


def delimited_area(rows=ROWS, separator=",", name="WORDS"):
    lines = "".join(
        separator.join(
            (
                f"2018-01-0{k + 1}T00:00:0{k}.5Z",
                str(k - 3),
                *(f"{k + j / 4:.2f}" for j in range(4)),
                # a quoted separator, but no tab: text has no control characters
                f'"say {separator.strip()} {k}"' if k % 2 else f"plain {k}",
                f"{k}e-3",
            )
        )
        + "\r\n"
        for k in range(rows)
    ).encode()
    inner = field("Delimited", "x", "ASCII_Real") + field(
        "Delimited", "y", "ASCII_Real"
    )
    fields = (
        field("Delimited", "when", "ASCII_Date_Time_YMD_UTC")
        + field("Delimited", "count", "ASCII_Integer")
        + group("Delimited", inner, 2, 2, name="Point")
        + field("Delimited", "text", "ASCII_String")
        + field("Delimited", "tail", "ASCII_Real")
    )
    word = {",": "Comma", ";": "Semicolon", "\t": "Horizontal Tab", "|": "Vertical Bar"}
    objects = (
        f"<Table_Delimited><name>{name}</name>{byte('offset', 0)}"
        "<parsing_standard_id>PDS DSV 1</parsing_standard_id>"
        f"<records>{rows}</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        f"<field_delimiter>{word[separator]}</field_delimiter>"
        "<Record_Delimited><fields>4</fields><groups>1</groups>"
        f"{fields}</Record_Delimited></Table_Delimited>"
    )
    return objects, lines


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_delimited_tables(tmp_path, separator):
    objects, lines = delimited_area(separator=separator)
    path = write(tmp_path, ("data.csv", lines, objects))
    table = open_structures(path)["WORDS"]
    reference = oracle(path)["WORDS"]
    for name, theirs in zip(
        ("count", "x", "y", "text", "tail"), (1, 2, 3, 4, 5), strict=True
    ):
        same(table.read(name), reference.fields[theirs])
    same(table.read("x", slice(2, 4)), reference.fields[2][2:4])
    assert table.read("when")[1] == np.datetime64("2018-01-02T00:00:01.5", "ns")


def test_several_files_in_one_label(tmp_path):
    rng = np.random.default_rng(3)
    objects, body = binary_area(rng)
    image = rng.normal(size=(5, 4)).astype(">f4")
    pair = objects + array("Array_2D_Image", "I", 64 + len(body), (5, 4),
                           "IEEE754MSBSingle")  # fmt: skip
    words, lines = delimited_area()
    text = b"".join(b"%5d %6.2f\r\n" % (k, k / 4) for k in range(4))
    fields = field("Character", "n", "ASCII_Integer", 1, 6) + field(
        "Character", "v", "ASCII_Real", 7, 6
    )
    fixed = (
        f"<Table_Character><name>FIXED</name>{byte('offset', 0)}<records>4</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        "<Record_Character><fields>2</fields><groups>0</groups>"
        f"{byte('record_length', 14)}{fields}</Record_Character></Table_Character>"
    )
    path = write(
        tmp_path,
        ("a.bin", b"-" * 64 + body + image.tobytes(), header(64) + pair),
        ("b.csv", lines, words),
        ("c.tab", text, fixed),
        ("d.csv", lines, words),
    )
    found = open_structures(path)
    assert list(found) == ["EVERY", "I", "WORDS[0]", "FIXED", "WORDS[1]"]
    reference = oracle(path)
    same(found["I"].read(), reference["I"].data)
    same(found["EVERY"].read("f3"), reference["EVERY"]["f3"])
    fixed_table = found["FIXED"]
    values = fixed_table.read([fixed_table.layout.field("v")])[:, 0]
    same(values, reference["FIXED"]["v"])
    again = pickle.loads(pickle.dumps(found["EVERY"]))
    same(again.read("f3"), reference["EVERY"]["f3"])
    # the same from a zip is not offered by path, but its bytes read alike
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.bin", "a.bin")
    source = type(found["I"].source)(str(tmp_path / "all.zip"), "a.bin")
    member = BinaryTable(found["EVERY"].layout, source, found["EVERY"].size)
    same(member.read("Pair / a"), found["EVERY"].read("a"))


def test_special_constants():
    stored = np.array([1, -32768, 5], dtype=">i2")
    np.testing.assert_array_equal(
        decode(stored, ("-32768",), 2.0, 1.0), [3, np.nan, 11]
    )
    assert decode(stored, (), 1.0, 0.0).dtype == np.dtype("i2")
    # compared as stored: the float32 next to -1e32 is meant
    stored32 = np.array([-1e32, 2.0], dtype="<f4")
    result = decode(stored32, ("-1e32",), 1.0, 0.0)
    assert result.dtype == np.dtype("f4")
    np.testing.assert_array_equal(result, [np.nan, 2.0])
    bits = np.frombuffer(bytes.fromhex("FF7FFFFB40000000"), ">f4")
    for text in ("16#FF7FFFFB#", "0xFF7FFFFB"):
        np.testing.assert_array_equal(decode(bits, (text,), 1.0, 0.0), [np.nan, 2.0])
    big = np.array([2**63, 3], dtype=">u8")
    np.testing.assert_array_equal(decode(big, (str(2**63),), 1.0, 0.0), [np.nan, 3])
    # a constant outside the type is never met
    np.testing.assert_array_equal(
        decode(np.array([7], "u1"), ("-999", "N/A"), 1.0, 0.0), [7]
    )


def test_constants_from_labels(tmp_path):
    data = np.array([[1, -99], [3, 4]], dtype=">i4")
    objects = array("Array_2D", "A", 0, (2, 2), "SignedMSB4", "", special("-99"))
    path = write(tmp_path, ("data.img", data.tobytes(), objects))
    np.testing.assert_array_equal(
        open_structures(path)["A"].read(), [[1, np.nan], [3, 4]]
    )
    words, lines = delimited_area()
    words = words.replace(
        "<name>tail</name><data_type>ASCII_Real</data_type>",
        "<name>tail</name><data_type>ASCII_Real</data_type>"
        "<scaling_factor>1000</scaling_factor><value_offset>2</value_offset>"
        + special("3e-3"),
    )
    path = write(tmp_path, ("data.csv", lines, words))
    got = open_structures(path)["WORDS"].read("tail")
    np.testing.assert_allclose(got, [2, 3, 4, np.nan, 6, 7, 8], rtol=1e-12)


def opened_and_read(path, name, column):
    return open_structures(path)[name].read(column)


def refused(path, name="", column=None):
    with pytest.raises(ProductError) as caught:
        opened_and_read(path, name, column)
    return caught.value


@pytest.mark.parametrize(
    ("shape", "cut", "rule"),
    [
        ((4, 5), 13, "array.size_mismatch"),
        ((10**6, 10**6), 0, "array.size_mismatch"),
        ((2**33, 2**33), 0, "array.size_mismatch"),
        ((4, 6), 0, "array.size_mismatch"),
        ((4, -5), 0, "label.schema"),
        ((4, 0), 0, "label.schema"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(tmp_path, shape, cut, rule):
    data = bytes(160)[: 160 - cut]
    objects = array("Array_2D", "A", 0, shape, "IEEE754MSBDouble")
    assert refused(write(tmp_path, ("d.img", data, objects)), "A").rule == rule


def changed(objects, old, new):
    assert old in objects
    return objects.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<records>7<", "<records>8<", "table.records_mismatch"),
        ("<records>7<", "<records>1000000000000<", "table.records_mismatch"),
        ("<records>7<", "<records>0<", "table.empty"),
        ('byte">64<', 'byte">64000<', "label.invalid_object_definition"),
        (">SignedMSB2<", ">SignedMSB4<", "label.table_definition_problem"),
        (">SignedMSB2<", ">SignedMSB3<", "label.unknown_data_type"),
        ("<groups>2<", "<groups>3<", "table.fields_mismatch"),
        ("<repetitions>3<", "<repetitions>4<", "label.table_definition_problem"),
    ],
)
def test_binary_labels_that_do_not_fit(tmp_path, old, new, rule):
    objects, body = binary_area(np.random.default_rng(4))
    data = b"-" * 64 + body
    path = write(tmp_path, ("d.bin", data, header(64) + changed(objects, old, new)))
    assert refused(path, "EVERY", "f0").rule == rule


@pytest.mark.parametrize(
    ("objects", "lines", "rule"),
    [
        (("<records>7<", "<records>999999999<"), None, "table.records_mismatch"),
        ((">Comma<", ">Point<"), None, "label.schema"),
        (None, (b"-3,", b"-3,,"), "table.fields_mismatch"),
        (None, (b"\r\n", b"\n"), "table.missing_CRLF"),
        (None, (b"-3,", b"3.5,"), "table.field_value_data_type_mismatch"),
        (None, (b"-3,", b"\xb0,"), "validation.invalid_character_stream"),
        (None, (b'"say', b'say"'), None),
    ],
)
def test_delimited_tables_that_do_not_fit(tmp_path, objects, lines, rule):
    text, body = delimited_area()
    text = text if objects is None else changed(text, *objects)
    body = body if lines is None else body.replace(*lines)
    error = refused(write(tmp_path, ("d.csv", body, text)), "WORDS", "count")
    assert rule is None or error.rule == rule
    assert error.offset is None


def test_damage_and_ambiguity_are_named(tmp_path):
    objects, body = binary_area(np.random.default_rng(5))
    path = write(tmp_path, ("d.bin", b"-" * 64 + body, header(64) + objects))
    table = open_structures(path)["EVERY"]
    assert refused(path, "EVERY", "nothing").rule == "table.fields_mismatch"
    with (tmp_path / "d.bin").open("r+b") as file:
        file.seek(70)
        file.write(b"\x00\xff")
    assert refused(path).rule == "label.checksum_mismatch"
    assert "EVERY" in open_structures(path, verify_md5=False)
    with (tmp_path / "d.bin").open("ab") as file:
        file.write(b"x")
    assert refused(path).rule == "label.filesize_mismatch"
    with pytest.raises(ProductError, match="changed while in use"):
        table.read("f0")
