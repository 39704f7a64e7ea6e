"""Cells of every kind of table, and elements of arrays, as PDS4 allows them.

Products of one field of our own making, read in the generic layer; where the archive's
own instruments are held to less, read as theirs too (``exact``).
"""

from __future__ import annotations

import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pds4_tools
import pytest
from pds4_tools.reader.data_types import data_type_convert_dates

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import open_structures
from tgo_spectra.pds4.check import check_product
from tgo_spectra.readers.objects import array_dataset, table_dataset

sys.path.append(str(Path(__file__).parent))

import corpus
from corpus import byte

MISMATCH = "label.special_constant_mismatch"
RANGE = "table.field_value_out_of_special_constant_min_max_range"
TYPE = "table.field_value_data_type_mismatch"
STREAM = "validation.invalid_character_stream"
BLANK = "table.blank_field_value"


def constants(*missing, **others):
    """Special constants: missing, error, invalid ..., in this order."""
    names = ("missing", "error", "invalid", "unknown", "not_applicable", "saturated")
    named = zip((f"{name}_constant" for name in names), missing, strict=False)
    body = "".join(f"<{k}>{v}</{k}>" for k, v in (*named, *others.items()))
    return f"<Special_Constants>{body}</Special_Constants>"


def scaled(factor, offset=0):
    factor = f"<scaling_factor>{factor}</scaling_factor>"
    return f"{factor}<value_offset>{offset}</value_offset>"


def table(kind, data_type, cells, extra=""):
    """Bytes and description of a table of one field called a; `cells` are bytes."""
    n, width = len(cells), max(map(len, cells))
    place = byte("field_location", 1)
    end = f"<record_delimiter>{corpus.CRLF}</record_delimiter>"
    size, mark = byte("field_length", width), b"\r\n"
    if kind == "Delimited":
        end += "<field_delimiter>Comma</field_delimiter>"
        size = place = ""
    else:
        cells = [cell.ljust(width) for cell in cells]
    if kind == "Binary":
        end, mark = "", b""
    length = byte("record_length", width + len(mark)) if size else ""
    text = (
        f"<Table_{kind}><name>T</name>{byte('offset', 0)}<records>{n}</records>{end}"
        f"<Record_{kind}><fields>1</fields><groups>0</groups>{length}<Field_{kind}>"
        f"<name>a</name>{place}<data_type>{data_type}</data_type>{size}{extra}"
        f"</Field_{kind}></Record_{kind}></Table_{kind}>"
    )
    return mark.join([*cells, b""]), text


def array(data_type, stored, special="", extra=""):
    """Bytes and description of an array of one axis."""
    text = (
        f"<Array><name>A</name>{byte('offset', 0)}<axes>1</axes>"
        "<axis_index_order>Last Index Fastest</axis_index_order><Element_Array>"
        f"<data_type>{data_type}</data_type>{extra}</Element_Array><Axis_Array>"
        f"<axis_name>x</axis_name><elements>{stored.size}</elements>"
        f"<sequence_number>1</sequence_number></Axis_Array>{special}</Array>"
    )
    return stored.tobytes(), text


def write(folder, content):
    data, objects = content
    (folder / "p.dat").write_bytes(data)
    path = folder / "p.xml"
    path.write_text(corpus.product_xml(corpus.file_xml("p.dat", data) + objects))
    return path


def read(folder, content, name="a", *, exact=False):
    """Values of the one field or array; lazily they are the same, of the same type."""
    (item,) = open_structures(write(folder, content), exact=exact).values()
    if not hasattr(item, "layout"):
        values = item.read()
        lazy = array_dataset(item)["a"]
    else:
        field = next(one for one in item.layout.fields if one.name == name)
        character = hasattr(item, "records")
        values = item.read([field])[:, 0] if character else item.read(name)
        lazy = table_dataset(item)["_".join((*field.groups, name))]
        assert item.layout.fields[0].name == "a"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        loaded = lazy.load().values
    assert lazy.dtype == values.dtype == loaded.dtype
    np.testing.assert_array_equal(loaded, values)
    return values


def refused(folder, content, rule, *, exact=False):
    with pytest.raises(ProductError) as caught:
        read(folder, content, exact=exact)
    assert caught.value.rule == rule
    return caught.value


def stored(kind, data_type, values, dtype):
    """The same numbers in an array or in a binary table, with their constants."""
    data = np.array(values, dtype=dtype)
    if kind == "array":
        return lambda special: array(data_type, data, special)
    return lambda special: table("Binary", data_type, cells_of(data), special)


def cells_of(data):
    """The bytes of each number, in the order in which they are stored."""
    return [data[k : k + 1].tobytes() for k in range(data.size)]


def oracle(folder, name="a"):
    """What pds4_tools reads of the same product."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pds4_tools.read(str(folder / "p.xml"), quiet=True)
    return np.asarray(found[0][name])


NAN = np.nan
LARGEST = float(np.finfo("f4").max)
USED = {
    "decimal of a float32": ("IEEE754MSBSingle", ">f4", [-1e32, 2], ["-1E32"]),
    "many digits of a float32": (
        "IEEE754LSBSingle",
        "<f4",
        [-3.40282265508890445e38, 2],
        ["-3.40282265508890445e+38"],
    ),
    "largest float64": (
        "IEEE754LSBDouble",
        "<f8",
        [-np.finfo("f8").max, 2],
        ["-1.7976931348623157E+308"],
    ),
    "minus infinity": ("IEEE754LSBDouble", "<f8", [-np.inf, np.inf], ["-inf"]),
    "INF": ("IEEE754MSBSingle", ">f4", [np.inf, 2], ["+INF"]),
    "NaN": ("IEEE754MSBSingle", ">f4", [NAN, 2], ["NaN"]),
    "bits of a float": ("IEEE754LSBSingle", "<f4", [-LARGEST, 2], ["16#FF7FFFFF#"]),
    "bits of a double": ("IEEE754MSBDouble", ">f8", [-2.0, 2], ["0xC000000000000000"]),
    "base 2 of a float": (
        "IEEE754MSBSingle",
        ">f4",
        [1.0, 2],
        ["2#00111111100000000000000000000000#"],
    ),
    "hexadecimal": ("UnsignedLSB2", "<u2", [65535, 2], ["16#FFFF#"]),
    "hexadecimal with zeros": ("UnsignedMSB2", ">u2", [65535, 2], ["0x0000FFFF"]),
    "bits of a signed": ("SignedMSB2", ">i2", [-32768, 2], ["16#8000"]),
    "octal": ("UnsignedByte", "u1", [255, 2], ["8#377#"]),
    "binary": ("SignedByte", "i1", [-1, 2], ["2#11111111#"]),
    "0b": ("UnsignedByte", "u1", [129, 2], ["0b10000001"]),
    "written as a real": ("SignedMSB4", ">i4", [-32768, 2], ["-32768.0"]),
    "with an exponent": ("UnsignedMSB2", ">u2", [60000, 2], ["6.0E4"]),
    "largest of 64 bits": ("UnsignedLSB8", "<u8", [2**64 - 1, 2], [str(2**64 - 1)]),
    "64 bits by exponent": (
        "UnsignedLSB8",
        "<u8",
        [2**64 - 1, 2],
        ["1.8446744073709551615E19"],
    ),
    "least of 64 bits": ("SignedMSB8", ">i8", [-(2**63), 2], [str(-(2**63))]),
    "several": ("SignedMSB2", ">i2", [-1, 2, -2, -3], ["-1", "16#FFFE#", "-3.0"]),
    "complex": ("ComplexLSB8", "<c8", [-999, 2 + 1j], ["-999"]),
    "complex pair": ("ComplexMSB16", ">c16", [-1 - 2j, 2], ["(-1, -2)"]),
    "complex sum": ("ComplexMSB16", ">c16", [-1 - 2j, 2], ["-1-2i"]),
}


@pytest.mark.parametrize("kind", ["array", "table"])
@pytest.mark.parametrize("case", USED)
def test_constants__of_binary_types_are_used(tmp_path, case, kind):
    data_type, dtype, values, texts = USED[case]
    content = stored(kind, data_type, values, dtype)(constants(*texts))
    got = read(tmp_path, content)
    wanted = np.array([NAN, *values[1:]], dtype=got.dtype)
    if case == "several":
        wanted[2:] = NAN
    np.testing.assert_array_equal(got, wanted)
    # an integer that may be missing is real, as the label alone decides
    native = np.dtype(dtype).newbyteorder("=")
    assert got.dtype == ("f8" if native.kind in "iu" else native)


OTHER_SIGN = {
    "minus one": ("UnsignedMSB4", ">u4", 2**32 - 1, "-1"),
    "minus one of a byte": ("UnsignedByte", "u1", 255, "-1"),
    "unsigned name": ("SignedLSB2", "<i2", -1, "65535"),
    "unsigned name of 64 bits": ("SignedMSB8", ">i8", -(2**63), str(2**63)),
}
OF_NO_USE = {
    "too low": ("UnsignedByte", "u1", 25, "-999"),
    "too high": ("SignedMSB2", ">i2", 34464, "100000"),
    "no whole number": ("SignedMSB2", ">i2", 0, "-0.5"),
    "too many digits": ("UnsignedByte", "u1", 255, "16#FFFF#"),
    "a word": ("SignedMSB4", ">i4", 0, "N/A"),
    "infinite integer": ("SignedMSB4", ">i4", 2**31 - 1, "Infinity"),
    "NaN of an integer": ("UnsignedMSB4", ">u4", 0, "NaN"),
    "a word of a real": ("IEEE754MSBSingle", ">f4", 0.0, "NULL"),
    "too large for a float32": ("IEEE754MSBSingle", ">f4", LARGEST, "3.4028236E38"),
    "too large for a float64": ("IEEE754LSBDouble", "<f8", 1.0, "1E400"),
    "too small for a float32": ("IEEE754MSBSingle", ">f4", 0.0, "1E-60"),
    "bits of another float": ("IEEE754LSBDouble", "<f8", 0.0, "16#FF7FFFFB#"),
    "bits that are few": ("IEEE754MSBSingle", ">f4", 0.0, "0xFF"),
    "no digits of its base": ("UnsignedMSB2", ">u2", 0, "8#99#"),
    "endless exponent": ("SignedMSB2", ">i2", 0, "1E-999999999"),
    "complex of a real": ("IEEE754MSBSingle", ">f4", 1.0, "1+1i"),
    "a word of a complex": ("ComplexMSB8", ">c8", 1.0, "none"),
    "too large for a complex": ("ComplexMSB8", ">c8", 1.0, "(1, 1E39)"),
}


@pytest.mark.parametrize("kind", ["array", "table"])
@pytest.mark.parametrize("case", OTHER_SIGN)
def test_constants__of_the_other_sign_are_bits_and_said_to_be(tmp_path, case, kind):
    data_type, dtype, value, text = OTHER_SIGN[case]
    content = stored(kind, data_type, [value, 7], dtype)(constants(text))
    with pytest.warns(TgoWarning, match=f"read as its .* bits.*{text!r}.*{MISMATCH}"):
        got = read(tmp_path, content)
    np.testing.assert_array_equal(got, [NAN, 7])


@pytest.mark.parametrize("kind", ["array", "table"])
@pytest.mark.parametrize("case", OF_NO_USE)
def test_constants__of_no_use_are_reported(tmp_path, case, kind):
    data_type, dtype, value, text = OF_NO_USE[case]
    with np.errstate(over="ignore"):
        data = np.array([value, 7]).astype(dtype)
    content = stored(kind, data_type, data, dtype)(constants(text))
    with pytest.warns(TgoWarning, match="of no use") as said:
        got = read(tmp_path, content)
    assert text in str(said[0].message)
    assert f"field {'A' if kind == 'array' else 'a'}," in str(said[0].message)
    np.testing.assert_array_equal(got, data)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("data_type", "dtype", "values", "text"),
    [
        ("IEEE754MSBSingle", ">f4", [-LARGEST, 7], "-3.40282E+38"),
        ("IEEE754LSBDouble", "<f8", [float(np.float32(-1e32)), 7], "-1E32"),
        ("IEEE754LSBDouble", "<f8", [float(np.float32(-999.9)), 7], "-999.9"),
        ("ComplexMSB8", ">c8", [-999 - 999j, 7], "-999"),
    ],
)
def test_constants__of_another_precision_are_reported(
    tmp_path, data_type, dtype, values, text
):
    content = array(data_type, np.array(values, dtype), constants(text))
    with pytest.warns(TgoWarning, match=rf"1 of 2 values are nearly .*{MISMATCH}"):
        got = read(tmp_path, content)
    np.testing.assert_array_equal(got, np.array(values, dtype))
    # neighbours of a declared float, each of which has a meaning of its own elsewhere
    ladder = np.arange(0xFF7FFFFB, 0xFF800000, dtype=">u4").view(">f4")
    content = array("IEEE754MSBSingle", ladder, constants("16#FF7FFFFB#"))
    with pytest.warns(TgoWarning, match=f"4 of 5 values are nearly.*{MISMATCH}"):
        assert np.isnan(read(tmp_path, content)).tolist() == [True, *[False] * 4]
    # data that are not so near are nothing to speak of
    values = np.array([-999.5, -998, 0, 1e38], ">f4")
    read(tmp_path, array("IEEE754MSBSingle", values, constants("-999")))


@pytest.mark.parametrize("kind", ["array", "table"])
def test_constants__are_compared_before_scaling(tmp_path, kind):
    extra = scaled(0.5, 10)
    data = np.array([-1, 3, 8, 20], ">i2")
    special = constants("-1", "20")
    content = array("SignedMSB2", data, special, extra)
    if kind == "table":
        content = table("Binary", "SignedMSB2", cells_of(data), extra + special)
    got = read(tmp_path, content)
    # 20 is also what 20 * 0.5 + 10 gives, and 8 is not -1
    np.testing.assert_array_equal(got, [NAN, 11.5, 14, NAN])


def test_constants__that_no_integer_needs_leave_it_exact(tmp_path):
    data = np.array([2**63 + 1, 5], ">u8")
    content = array("UnsignedMSB8", data, constants("unknown"))
    with pytest.warns(TgoWarning, match="of no use"):
        got = read(tmp_path, content)
    assert got.tolist() == [2**63 + 1, 5]
    error = refused(tmp_path, array("UnsignedMSB8", data, constants("5")), TYPE)
    assert error.value == 2**63 + 1


TEXT_KINDS = ("Character", "Binary", "Delimited")


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(
    ("data_type", "cells", "texts"),
    [
        ("ASCII_Real", [b"-999.0", b"1.5"], ["-9.99E2"]),
        ("ASCII_Real", [b"-1.0E+32", b"1.5"], ["-1e32"]),
        ("ASCII_Real", [b"Infinity", b"1.5"], ["Infinity"]),
        ("ASCII_Real", [b"-inf", b"1.5"], ["-Infinity"]),
        ("ASCII_Real", [b"nan", b"1.5"], ["NaN"]),
        ("ASCII_Real", [b"N/A", b"1.5"], ["-1", "N/A"]),
        ("ASCII_Integer", [b"-32768", b"15"], ["-32768.0"]),
        ("ASCII_Integer", [b"65535", b"15"], ["16#FFFF#"]),
        ("ASCII_Integer", [b"***", b"15"], ["***"]),
        (
            "ASCII_NonNegative_Integer",
            [b"18446744073709551615", b"7"],
            [str(2**64 - 1)],
        ),
        ("ASCII_NonNegative_Integer", [b"99999999999999999999", b"7"], ["9" * 20]),
        ("ASCII_NonNegative_Integer", [b"-1", b"7"], ["-1"]),
        ("ASCII_Numeric_Base16", [b"FFFF", b"0F00"], ["16#FFFF#"]),
        ("ASCII_Numeric_Base16", [b"ffff", b"000A"], ["FFFF", "10"]),
        ("ASCII_Numeric_Base8", [b"077", b"011"], ["77"]),
        ("ASCII_Numeric_Base16", [b"FFFF", b"0F00"], ["FFFF"]),
        ("ASCII_Boolean", [b"9", b"1"], ["9"]),
        ("ASCII_Boolean", [b"unknown", b"true"], ["-", "unknown"]),
    ],
)
def test_constants__of_text(tmp_path, kind, data_type, cells, texts):
    got = read(tmp_path, table(kind, data_type, cells, constants(*texts)))
    base = {"ASCII_Numeric_Base16": 16, "ASCII_Numeric_Base8": 8}.get(data_type, 10)
    number = {b"1.5": 1.5, b"true": 1.0}.get(cells[1]) or float(int(cells[1], base))
    np.testing.assert_array_equal(got, [NAN, number])


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_constants__of_text_that_are_times_or_words(tmp_path, kind):
    cells = [b"1900-01-01T00:00:00.000Z", b"2020-01-01"]
    extra = constants("1900-01-01T00:00Z")
    got = read(tmp_path, table(kind, "ASCII_Date_Time_YMD", cells, extra))
    assert np.isnat(got).tolist() == [True, False]
    got = read(
        tmp_path, table(kind, "ASCII_String", [b"none", b"some"], constants("none"))
    )
    assert got.tolist() == ["", "some"]


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_constants__of_real_text_in_another_way_are_said_to_be(tmp_path, kind):
    cells = [b"-3.40282265508890445e+38", b"1"]
    with pytest.warns(TgoWarning, match=f"read as .*16#FF7FFFFB#.*{MISMATCH}"):
        got = read(
            tmp_path, table(kind, "ASCII_Real", cells, constants("16#FF7FFFFB#"))
        )
    np.testing.assert_array_equal(got, [NAN, 1])
    cells = [b"-3.402823E+38", b"1"]
    extra = constants("-3.40282265508890445e+38")
    with pytest.warns(TgoWarning, match=rf"1 of 2 values are nearly.*{MISMATCH}"):
        got = read(tmp_path, table(kind, "ASCII_Real", cells, extra))
    np.testing.assert_array_equal(got, [-3.402823e38, 1])


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(
    ("data_type", "cells", "text"),
    [
        ("ASCII_Real", [b"-999.0", b"1"], "-999.0f"),
        ("ASCII_Real", [b"1000", b"1"], "1,000"),
        ("ASCII_Real", [b"1E999", b"1"], "1E999"),
        ("ASCII_Integer", [b"-999", b"1"], "-999L"),
        ("ASCII_NonNegative_Integer", [b"65535", b"1"], "FFFF0"),
    ],
)
def test_constants__of_text_that_are_no_numbers_are_said_to_be(
    tmp_path, kind, data_type, cells, text
):
    with pytest.warns(TgoWarning, match=f"letter by letter.*{text}.*{MISMATCH}"):
        got = read(tmp_path, table(kind, data_type, cells, constants(text)))
    wanted = [NAN if cell.decode() == text else float(cell) for cell in cells]
    np.testing.assert_array_equal(got, wanted)


def test_constants__of_other_bases_by_their_digits_or_said_to_be(tmp_path):
    cells = [b"FFFF", b"000A"]
    content = table("Character", "ASCII_Numeric_Base16", cells, constants("65535"))
    with pytest.warns(TgoWarning, match=f"decimal number.*65535.*{MISMATCH}"):
        got = read(tmp_path, content)
    np.testing.assert_array_equal(got, [NAN, 10])
    long = [b"ff" * 10, b"0a" * 10]
    extra = constants("FF" * 10)
    got = read(tmp_path, table("Character", "ASCII_Numeric_Base16", long, extra))
    assert got.tolist() == ["", "0a" * 10]


LIMITS = [
    ("array", "SignedMSB2", [-5, 0, 3, 9], {"valid_minimum": "0"}, ["below valid_min"]),
    ("array", "IEEE754LSBSingle", [0.1, 0.2], {"valid_minimum": "0.1"}, []),
    ("array", "UnsignedByte", [1, 9], {"valid_maximum": "16#08#"}, ["above valid_max"]),
    ("array", "UnsignedByte", [1, 9], {"valid_maximum": "99999"}, []),
    ("array", "SignedByte", [1, 9], {"valid_maximum": "8.5"}, ["above valid_max"]),
    ("array", "SignedByte", [1, 9], {"valid_minimum": "low"}, ["of no use as a limit"]),
    ("array", "ComplexMSB8", [1, 9], {"valid_minimum": "0"}, ["of no use as a limit"]),
    ("Binary", "SignedLSB4", [-5, 3], {"valid_minimum": "-Infinity"}, []),
    ("Binary", "SignedLSB4", [-5, 30], {"valid_minimum": "0"}, ["below valid_min"]),
    (
        "Binary",
        "IEEE754MSBDouble",
        [-5, 30],
        {"valid_minimum": "0", "valid_maximum": "2e1"},
        ["below valid_min", "above valid_max"],
    ),
    *(
        (kind, data_type, [-5, 30], {"valid_minimum": "0"}, ["below valid_min"])
        for kind in TEXT_KINDS
        for data_type in ("ASCII_Real", "ASCII_Integer")
    ),
    ("Character", "ASCII_Date_YMD", ["2020-01-01"], {"valid_minimum": "2021-01-01"},
     ["of no use as a limit"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data_type", "values", "given", "texts"), LIMITS)
def test_valid_range__is_no_missing_value_but_reported(
    tmp_path, kind, data_type, values, given, texts
):
    extra = constants("3", **given) if 3 in values else constants(**given)
    if data_type.startswith("ASCII"):
        content = table(kind, data_type, [str(v).encode() for v in values], extra)
    else:
        types = {"SignedMSB2": ">i2", "UnsignedByte": "u1", "SignedByte": "i1"}
        types |= {"SignedLSB4": "<i4", "IEEE754MSBDouble": ">f8", "ComplexMSB8": ">c8"}
        types |= {"IEEE754LSBSingle": "<f4"}
        content = stored(kind, data_type, values, types[data_type])(extra)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = read(tmp_path, content)
    messages = [str(item.message) for item in said]
    for text in texts:
        rule = MISMATCH if "no use" in text else RANGE
        assert any(text in m and rule in m for m in messages), messages
    assert bool(messages) == bool(texts), messages
    if got.dtype.kind != "M":
        missing = np.array([v == 3 for v in values])
        wanted = np.array(values).astype(got.dtype)
        np.testing.assert_array_equal(got[~missing], wanted[~missing])
        assert np.isnan(got[missing]).all()


def test_check__finds_what_constants_leave_open(tmp_path):
    data = np.array([-LARGEST, 7], ">f4")
    path = write(tmp_path, array("IEEE754MSBSingle", data, constants("-3.40282E+38")))
    (found,) = check_product(path)
    assert (found.severity, found.rule) == ("warning", MISMATCH)
    assert found.path == str(tmp_path / "p.dat")
    extra = constants("none", valid_maximum="5")
    cells = cells_of(np.array([4, 7], ">i4"))
    path = write(tmp_path, table("Binary", "SignedMSB4", cells, extra))
    label, values = check_product(path)
    assert (label.rule, label.path, label.value) == (MISMATCH, str(path), "none")
    assert (values.rule, values.path) == (RANGE, str(tmp_path / "p.dat"))
    path = write(tmp_path, table("Delimited", "ASCII_Integer", [b"4", b"7"], extra))
    assert [item.rule for item in check_product(path)] == [RANGE]


EMPTY = [
    ("ASCII_Integer", [b"1", b"", b"3"], [1, NAN, 3]),
    ("ASCII_Integer", [b'""', b"   ", b"-7"], [NAN, NAN, -7]),
    ("ASCII_NonNegative_Integer", [b"", b""], [NAN, NAN]),
    ("ASCII_Boolean", [b"true", b"", b"0"], [1, NAN, 0]),
    ("ASCII_Boolean", [b"  ", b"1"], [NAN, 1]),
    ("ASCII_Numeric_Base16", [b"FF", b"", b"00"], [255, NAN, 0]),
    ("ASCII_Numeric_Base2", [b"", b"101"], [NAN, 5]),
    ("ASCII_Real", [b"", b"1"], [NAN, 1]),
]


@pytest.mark.parametrize(("data_type", "cells", "wanted"), EMPTY)
def test_empty_cells__of_delimited_tables_are_missing(
    tmp_path, data_type, cells, wanted
):
    content = table("Delimited", data_type, cells)
    got = read(tmp_path, content)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, wanted)
    # the same type in rows that are all full, and the same as the peer's masked cells
    (item,) = open_structures(tmp_path / "p.xml").values()
    assert item.read("a", slice(1, 2)).dtype == np.float64
    if data_type != "ASCII_Real":
        refused(tmp_path, content, TYPE if "Bool" in data_type else BLANK, exact=True)
        fixed = table("Character", data_type, [cell or b" " for cell in cells])
        if b'""' not in cells:
            refused(tmp_path, fixed, TYPE if "Bool" in data_type else BLANK)


def test_empty_cells__leave_other_columns_as_they_are(tmp_path):
    field = (
        "<Field_Delimited><name>{}</name><data_type>{}</data_type>{}</Field_Delimited>"
    )
    inner = field.format("g", "ASCII_Integer", "")
    data, text = table("Delimited", "ASCII_Integer", [b"1,true,,3", b",,5,6"])
    more = field.format("b", "ASCII_Boolean", "") + (
        "<Group_Field_Delimited><repetitions>2</repetitions><fields>1</fields>"
        f"<groups>0</groups>{inner}</Group_Field_Delimited>"
    )
    text = text.replace("</Record", f"{more}</Record")
    text = text.replace(
        "<fields>1</fields><groups>0<", "<fields>2</fields><groups>1<", 1
    )
    (item,) = open_structures(write(tmp_path, (data, text))).values()
    np.testing.assert_array_equal(item.read("a"), [1, NAN])
    np.testing.assert_array_equal(item.read("b"), [1, NAN])
    np.testing.assert_array_equal(item.read("g"), [[NAN, 3], [5, 6]])
    full = (data.replace(b",,5,6", b"2,0,5,6").replace(b",,3", b",4,3"), text)
    (item,) = open_structures(write(tmp_path, full)).values()
    assert [item.read(name).dtype for name in "abg"] == ["i8", "?", "i8"]


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(
    ("data_type", "cells", "dtype"),
    [
        ("ASCII_NonNegative_Integer", [b"17396744073709550582", b"0"], "u8"),
        ("ASCII_NonNegative_Integer", [b"18446744073709551615", b"1"], "u8"),
        ("ASCII_NonNegative_Integer", [b"9223372036854775808"], "u8"),
        ("ASCII_NonNegative_Integer", [b"+0000000000000000012"], "u8"),
        ("ASCII_NonNegative_Integer", [b"999999999999999999"], "i8"),
        ("ASCII_Integer", [b"-9223372036854775808", b"9223372036854775807"], "i8"),
    ],
)
def test_integers__of_64_bits(tmp_path, kind, data_type, cells, dtype):
    got = read(tmp_path, table(kind, data_type, cells))
    assert got.dtype == dtype
    assert got.tolist() == [int(cell) for cell in cells]
    theirs = oracle(tmp_path)
    assert [int(value) for value in theirs] == got.tolist()


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(
    ("data_type", "cell", "extra"),
    [
        ("ASCII_NonNegative_Integer", b"18446744073709551616", ""),
        ("ASCII_NonNegative_Integer", b"-9223372036854775809", ""),
        ("ASCII_NonNegative_Integer", b"-1234567890123456789", ""),
        ("ASCII_Integer", b"9223372036854775808", ""),
        ("ASCII_Integer", b"-9223372036854775809", ""),
        ("ASCII_Integer", b"1" * 40, ""),
        # a float64, which a missing value needs, does not hold it
        ("ASCII_NonNegative_Integer", b"17396744073709550582", constants("0")),
        ("ASCII_NonNegative_Integer", b"17396744073709550582", scaled(2)),
    ],
)
def test_integers__beyond_are_named(tmp_path, kind, data_type, cell, extra):
    error = refused(tmp_path, table(kind, data_type, [b"5", cell], extra), TYPE)
    assert (error.value.strip(), error.record) == (cell.decode(), 1)
    if not cell.startswith(b"-1"):
        assert "64 bits" in str(error) or "float64" in str(error)


YMD, DOY = "ASCII_Date_Time_YMD", "ASCII_Date_Time_DOY"
TIMES = [
    ("ASCII_Date_Time_YMD_UTC", b"2014Z", "2014-01-01"),
    ("ASCII_Date_YMD", b"2014", "2014-01-01"),
    ("ASCII_Date_DOY", b"2014Z", "2014-01-01"),
    (YMD, b"2014-06", "2014-06-01"),
    ("ASCII_Date_YMD", b"2016-02-29Z", "2016-02-29"),
    (YMD, b"2014-06-05T07", "2014-06-05T07"),
    (YMD, b"2014-06-05T07Z", "2014-06-05T07"),
    (YMD, b"2014-06-05T07:08Z", "2014-06-05T07:08"),
    (DOY, b"2014-032T07", "2014-02-01T07"),
    (DOY, b"2016-366T23:59:59.999999Z", "2016-12-31T23:59:59.999999"),
    ("ASCII_Date_DOY", b"2014-365", "2014-12-31"),
    ("ASCII_Date_Time_YMD_UTC", b"2016-12-31T23:59:60Z", "2017-01-01"),
    (YMD, b"2015-06-30T23:59:60.25", "2015-07-01T00:00:00.25"),
    ("ASCII_Date_Time_DOY_UTC", b"2016-366T23:59:60.5Z", "2017-01-01T00:00:00.5"),
    (YMD, b"2018-12-31T24:00:00Z", "2019-01-01"),
    (YMD, b"2018-04-21T24", "2018-04-22"),
    (DOY, b"2018-365T24:00:00.000", "2019-01-01"),
    (YMD, b"2018-04-21T01:02:03.123456789Z", "2018-04-21T01:02:03.123456789"),
    (YMD, b"1678-01-01T00:00:00.000Z", "1678-01-01"),
    (YMD, b"2261-12-31T24:00:00.000Z", "2262-01-01"),
]
NO_TIMES = [
    (YMD, b"2017-02-29"),
    (YMD, b"2017-13"),
    (YMD, b"2017-00-01"),
    (YMD, b"2017T12"),
    (YMD, b"2017-06T12"),
    (YMD, b"2018-04-21T24:00:01"),
    (YMD, b"2018-04-21T25"),
    (YMD, b"2018-04-21T23:60"),
    (YMD, b"2018-04-21T12:30:60"),
    (YMD, b"2018-04-21T23:59:60Z"),
    (YMD, b"2018-12-31T23:59:61Z"),
    (YMD, b"2018-04-21 12:00"),
    (YMD, b"2018-04-21t12:00z"),
    (YMD, b"2018-04-21T12:00:00."),
    (YMD, b"2018-04-21T12:00:00+01:00"),
    (YMD, b"2018-111"),
    (YMD, b"18-04-21"),
    (DOY, b"2017-366"),
    (DOY, b"2017-000"),
    (DOY, b"2017-04-21"),
    (DOY, b"2018-04-21T01:02:03.123Z"),
    ("ASCII_Date_YMD", b"2018-04-21T12:00"),
    ("ASCII_Date_DOY", b"2018-111T12"),
]


@pytest.mark.parametrize("kind", ["Character", "Delimited"])
@pytest.mark.parametrize(("data_type", "cell", "wanted"), TIMES)
def test_times__as_short_as_the_year(tmp_path, kind, data_type, cell, wanted):
    got = read(tmp_path, table(kind, data_type, [cell, b"2020Z"]))
    assert got.dtype == "M8[ns]"
    assert got[0] == np.datetime64(wanted, "ns")
    assert got[1] == np.datetime64("2020-01-01", "ns")


@pytest.mark.parametrize(("data_type", "cell"), NO_TIMES)
def test_times__that_are_none(tmp_path, data_type, cell):
    refused(tmp_path, table("Delimited", data_type, [cell]), TYPE)


@pytest.mark.parametrize("cell", [b"-0044-03-15", b"1677Z", b"2262-01-01", b"9999"])
def test_times__that_nanoseconds_do_not_hold_are_named(tmp_path, cell):
    error = refused(tmp_path, table("Character", YMD, [cell]), TYPE)
    assert "1678 to 2261" in str(error)
    # such dates often mean that there is none, and then the label says so
    content = table("Character", YMD, [cell], constants(cell.decode()))
    assert np.isnat(read(tmp_path, content)).all()


def test_times__agree_with_a_peer(tmp_path):
    cells = [
        b"2014-06-05T07:08:09.5Z",
        b"2014-06-05T07:08:09.25Z",
        b"2014Z",
        b"2014-06Z",
    ]
    got = read(tmp_path, table("Delimited", YMD, cells))
    theirs = data_type_convert_dates(oracle(tmp_path).astype("U"), YMD)
    np.testing.assert_array_equal(got, np.asarray(theirs).astype("M8[ns]"))


@pytest.mark.parametrize("cell", [b"2018Z", b"2018-04", b"2018-04-21T12"])
def test_times__of_the_archive_name_a_day_and_a_minute(tmp_path, cell):
    refused(tmp_path, table("Character", YMD, [cell]), TYPE, exact=True)
    for good in (b"2018-04-21", b"2018-04-21T12:00Z", b"2016-12-31T23:59:60.000Z"):
        assert read(tmp_path, table("Character", YMD, [good]), exact=True)[0]


CONTROLS = [
    ("ASCII_String", b"ab\tcd"),
    ("ASCII_String", b"two\r\nlines"),
    ("ASCII_String", b"\ttab first"),
    ("ASCII_String", b"line feed\nin\n"),
    ("ASCII_String", b"carriage\rreturn"),
    ("ASCII_String", b"bell\x07 form\x0c escape\x1b end\x1a delete\x7f"),
    ("UTF8_String", "Å\tb\x85c".encode()),
    ("ASCII_AnyURI", b"a\tb"),
]


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(("data_type", "cell"), CONTROLS)
def test_control_characters__are_text(tmp_path, kind, data_type, cell):
    given = cell
    if kind == "Delimited" and b"\r\n" in cell:
        given = b'"' + cell + b'"'  # what ends a record is quoted
    content = table(kind, data_type, [b"plain", given])
    got = read(tmp_path, content)
    assert got.tolist() == ["plain", cell.decode()]
    refused(tmp_path, content, STREAM, exact=True)


@pytest.mark.parametrize("kind", ["Character", "Delimited"])
def test_control_characters__nul_is_damage(tmp_path, kind):
    for cell in (b"ab\0\0", b"a\0b", b"\0\0\0\0"):
        refused(tmp_path, table(kind, "ASCII_String", [cell]), STREAM)
        refused(tmp_path, table(kind, "ASCII_Integer", [cell]), TYPE)
    refused(tmp_path, table(kind, "ASCII_String", [b"\xb0C"]), STREAM)
    refused(tmp_path, table(kind, "UTF8_String", [b"\xb0C"]), STREAM)


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ([b'"a,b"'], ["a,b"]),
        ([b'"say ""so"""'], ['say "so"']),
        ([b'12" wide', b"x"], ['12" wide', "x"]),
        ([b'"a\nb"', b"c\rd"], ["a\nb", "c\rd"]),
        ([b'"a,\r\nb"', b'"\r\n"', b"c"], ["a,\r\nb", "\r\n", "c"]),
    ],
)
def test_quotes__of_delimited_tables(tmp_path, cells, wanted):
    got = read(tmp_path, table("Delimited", "ASCII_String", cells))
    assert got.tolist() == wanted


@pytest.mark.parametrize("cell", [b'"a', b'"a"b', b'a,"b', b'"a""', b'"a\r\nb'])
def test_quotes__that_are_not_closed(tmp_path, cell):
    with pytest.raises(ProductError):
        read(tmp_path, table("Delimited", "ASCII_String", [cell]))


def packed(fields, length, parent="UnsignedBitString", *, count=None, long=True):
    """Packed fields: (name, first bit, last bit, signed, more)."""
    tail = "_location" if long else ""
    body = "".join(
        f"<Field_Bit><name>{name}</name><start_bit{tail}>{first}</start_bit{tail}>"
        f"<stop_bit{tail}>{last}</stop_bit{tail}><data_type>"
        f"{'Signed' if signed else 'Unsigned'}BitString</data_type>{more}</Field_Bit>"
        for name, first, last, signed, more in fields
    )
    n = len(fields) if count is None else count
    inner = (
        f"<Packed_Data_Fields><bit_fields>{n}</bit_fields>{body}</Packed_Data_Fields>"
    )
    return lambda cells: table("Binary", parent, cells, inner)


def bits_of(cell, first, last, *, signed):
    """The same by the digits of a Python integer."""
    text = "".join(f"{byte_:08b}" for byte_ in cell)[first - 1 : last]
    return int(text, 2) - (2 ** len(text) if signed and text[0] == "1" else 0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("first", "last"),
    [(1, 1), (1, 8), (8, 8), (3, 14), (7, 10), (9, 40), (5, 68), (1, 64), (17, 72)],
)
def test_bit_fields__against_digits(tmp_path, first, last, signed):
    rng = np.random.default_rng(first)
    cells = [rng.bytes(9) for _ in range(20)] + [bytes(9), b"\xff" * 9]
    content = packed([("x", first, last, signed, "")], 9)(cells)
    got = read(tmp_path, content, "x")
    assert got.tolist() == [bits_of(c, first, last, signed=signed) for c in cells]
    assert got.dtype.kind == ("i" if signed else "u")
    (item,) = open_structures(tmp_path / "p.xml").values()
    assert item.read("a").tobytes() == b"".join(cells)  # the whole, as it was


@pytest.mark.parametrize("long", [False, True])
def test_bit_fields__with_constants_scale_and_limits(tmp_path, long):
    cells = [bytes([0xF7]), bytes([0x83]), bytes([0x19])]
    high = scaled(0.5, 1) + constants("15")
    low = constants("16#7#", valid_maximum="7")
    fields = [("high", 1, 4, False, high), ("low", 5, 8, True, low)]
    content = packed(fields, 1, long=long)(cells)
    np.testing.assert_array_equal(read(tmp_path, content, "high"), [NAN, 5, 1.5])
    np.testing.assert_array_equal(read(tmp_path, content, "low"), [NAN, 3, -7])
    content = packed([("low", 5, 8, False, constants("-1"))], 1)([b"\xff", b"\x02"])
    with pytest.warns(TgoWarning, match="read as its 4 bits, which are 15"):
        got = read(tmp_path, content, "low")
    np.testing.assert_array_equal(got, [NAN, 2])
    content = packed([("low", 5, 8, False, constants("99"))], 1)([b"\xff", b"\x02"])
    with pytest.warns(TgoWarning, match="of no use"):
        assert read(tmp_path, content, "low").tolist() == [15, 2]


def test_bit_fields__in_numbers_and_groups(tmp_path):
    fields = [("odd", 8, 8, False, ""), ("rest", 9, 16, False, "")]
    content = packed(fields, 2, "UnsignedLSB2")([b"\x01\x80", b"\x02\x10"])
    # bits are counted as the bytes are stored; the number is read by its own order
    assert read(tmp_path, content, "rest").tolist() == [0x80, 0x10]
    assert read(tmp_path, content).tolist() == [0x8001, 0x1002]
    inner = content[1].split("<groups>0</groups>")[1].split("</Record_")[0]
    inner = inner.removeprefix(byte("record_length", 2))
    group = (
        "<Group_Field_Binary><name>G</name><repetitions>2</repetitions><fields>1</fields>"
        f"<groups>0</groups>{byte('group_location', 1)}{byte('group_length', 4)}{inner}"
        "</Group_Field_Binary>"
    )
    objects = (
        f"<Table_Binary><name>T</name>{byte('offset', 0)}<records>1</records>"
        f"<Record_Binary><fields>0</fields><groups>1</groups>{byte('record_length', 4)}"
        f"{group}</Record_Binary></Table_Binary>"
    )
    (item,) = open_structures(write(tmp_path, (content[0], objects))).values()
    assert item.read("G / a / rest").tolist() == [[0x80, 0x10]]
    ds = table_dataset(item)
    assert ds["g_a_odd"].values.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("fields", "count", "rule"),
    [
        ([("x", 1, 9, False, "")], None, "label.table_definition_problem"),
        ([("x", 0, 3, False, "")], None, "label.table_definition_problem"),
        ([("x", 4, 3, False, "")], None, "label.table_definition_problem"),
        ([("x", 1, 3, False, "")], 2, "table.bit_field_mismatch"),
    ],
)
def test_bit_fields__that_do_not_fit(tmp_path, fields, count, rule):
    refused(tmp_path, packed(fields, 1, count=count)([b"\xff"]), rule)


def test_bit_fields__wider_than_integers_stay_in_their_field(tmp_path):
    content = packed([("x", 1, 65, False, "")], 9)([bytes(range(9))])
    with pytest.warns(TgoWarning, match="more than 64 bits"):
        (item,) = open_structures(write(tmp_path, content)).values()
    assert [one.name for one in item.layout.fields] == ["a"]
    assert item.read("a").tobytes() == bytes(range(9))
    content = table("Binary", "UnsignedBitString", [b"\0\1"], constants("0"))
    with pytest.warns(TgoWarning, match="bit strings are given as they are"):
        assert read(tmp_path, content).tobytes() == b"\0\1"


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize(
    ("base", "cells"),
    [
        (2, [b"101", b"0", b"11111111111111111111"]),
        (2, [b"1" * 64, b"1"]),
        (8, [b"777", b"10", b"0"]),
        (8, [b"7" * 21]),
        (16, [b"FF", b"0a", b"C0DE"]),
        (16, [b"FFFFFFFFFFFFFFFF", b"00"]),
    ],
)
def test_other_bases__are_numbers(tmp_path, kind, base, cells):
    got = read(tmp_path, table(kind, f"ASCII_Numeric_Base{base}", cells))
    assert got.dtype == np.uint64
    assert got.tolist() == [int(cell, base) for cell in cells]
    theirs = oracle(tmp_path)
    assert [int(value) for value in theirs] == got.tolist()


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_other_bases__scaled_too_long_or_wrong(tmp_path, kind):
    content = table(kind, "ASCII_Numeric_Base16", [b"10", b"20"], scaled(0.5))
    assert read(tmp_path, content).tolist() == [8, 16]
    mask = b"0123456789abcdef01"  # no integer of 64 bits: as it is written
    content = table(kind, "ASCII_Numeric_Base16", [mask])
    assert read(tmp_path, content).tolist() == [mask.decode()]
    for base, cell in ((2, b"12"), (8, b"78"), (16, b"0G"), (16, b"F"), (8, b"-1")):
        refused(tmp_path, table(kind, f"ASCII_Numeric_Base{base}", [cell]), TYPE)
    refused(tmp_path, table(kind, "ASCII_Numeric_Base16", [b"0g" * 12]), TYPE)


NUL = [
    ("ASCII_String", [b"abc\0\0\0", b"abcdef"], ["abc", "abcdef"]),
    ("ASCII_String", [b"abc \0\0", b"abcdef"], ["abc", "abcdef"]),
    ("ASCII_String", [b"\0\0\0\0\0\0", b"a\0    "], ["", "a"]),
    ("UTF8_String", ["Å\0\0".encode(), b"\0\0\0\0"], ["Å", ""]),
    ("ASCII_Integer", [b"12\0\0", b"-345"], [12, -345]),
    ("ASCII_Real", [b"1.5\0", b"\0\0\0\0"], [1.5, NAN]),
    ("ASCII_Boolean", [b"true\0", b"false"], [True, False]),
    ("ASCII_Date_YMD", [b"2020Z\0\0\0\0\0"], [np.datetime64("2020-01-01")]),
]


@pytest.mark.parametrize(("data_type", "cells", "wanted"), NUL)
def test_nul__ends_text_of_binary_tables(tmp_path, data_type, cells, wanted):
    content = table("Binary", data_type, cells)
    np.testing.assert_array_equal(read(tmp_path, content), np.array(wanted))
    with pytest.raises(ProductError) as caught:
        read(tmp_path, content, exact=True)
    assert caught.value.rule in {STREAM, TYPE}


def test_nul__with_text_behind_is_said(tmp_path):
    content = table("Binary", "ASCII_String", [b"ab\0cd", b"abcde"])
    with pytest.warns(TgoWarning, match=rf"1 cells have text after a NUL.*{STREAM}"):
        got = read(tmp_path, content)
    assert got.tolist() == ["ab", "abcde"]
    # other fields of the record keep their bytes
    data, text = table("Binary", "ASCII_String", [b"ab\0" + struct.pack(">H", 0)])
    text = text.replace(byte("field_length", 5), byte("field_length", 3))
    more = (
        f"<Field_Binary><name>b</name>{byte('field_location', 4)}"
        f"<data_type>UnsignedMSB2</data_type>{byte('field_length', 2)}</Field_Binary>"
    )
    text = text.replace("</Record_", f"{more}</Record_").replace(
        "fields>1<", "fields>2<"
    )
    (item,) = open_structures(write(tmp_path, (data, text))).values()
    assert (item.read("a").tolist(), item.read("b").tolist()) == (["ab"], [0])
    assert oracle(tmp_path, "b").tolist() == [0]
