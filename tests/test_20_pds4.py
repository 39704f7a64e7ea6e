"""Labels, files and cells: what is accepted, and what each fault is called."""

from __future__ import annotations

import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import Source, open_table, parse_label
from tgo_spectra.pds4.numbers import (
    BAD,
    BLANK,
    GOOD,
    SLOW,
    parse_integers,
    parse_reals,
)
from tgo_spectra.pds4.source import archive_members

sys.path.append(str(Path(__file__).parent))

from small_table import LENGTH, TABLE, column, label, opened


def test_types_come_from_the_label(tmp_path):
    table = opened(tmp_path)
    assert column(table, "Time")[1] == np.datetime64("2018-01-02T00:00:00", "ns")
    np.testing.assert_array_equal(column(table, "Count"), np.arange(4))
    assert column(table, "Count").dtype == np.int64
    np.testing.assert_array_equal(column(table, "Value"), np.arange(4) + 0.25)
    assert column(table, "Flag").tolist() == [False, True, False, True]
    assert column(table, "Name").tolist() == ["ab"] * 4


def test_nested_groups_keep_their_shape(tmp_path):
    table = opened(tmp_path)
    field = table.layout.field("B")
    assert field.groups == ("Pair", "Inner")
    values = table.read([field])[:, 0]
    assert values.shape == (4, 3, 2)
    np.testing.assert_array_equal(values[3], [[3, 3], [3, 4], [3, 5]])
    np.testing.assert_array_equal(column(table, "A")[2], [0, 1, 2])


def test_subset_of_rows_and_repetitions(tmp_path):
    table = opened(tmp_path)
    part = table.read(
        [table.layout.field("B")], np.array([3, 1]), repeats=(slice(1, None), 1)
    )
    np.testing.assert_array_equal(part[:, 0], [[4, 5], [2, 3]])


def test_only_wanted_columns_are_read(tmp_path):
    bad = TABLE.replace(b"    0.250", b"  no good", 1)
    table = opened(tmp_path, label(bad), bad)
    assert column(table, "Count").tolist() == [0, 1, 2, 3]
    with pytest.raises(ProductError, match="no good"):
        column(table, "Value")


def test_table_pickles_small_and_reads_again(tmp_path):
    table = opened(tmp_path)
    data = pickle.dumps(table)
    assert len(data) < 3000
    np.testing.assert_array_equal(
        column(pickle.loads(data), "Value"), column(table, "Value")
    )


def test_a_file_that_changes_is_noticed(tmp_path):
    table = opened(tmp_path)
    (tmp_path / "data.tab").write_bytes(TABLE.replace(b"0.250", b"0.251"))
    os.utime(tmp_path / "data.tab", ns=(1, 1))
    with pytest.raises(ProductError) as caught:
        column(table, "Value")
    assert caught.value.rule == "label.checksum_mismatch"


def test_special_constant_fill_and_blank_are_nan(tmp_path):
    data = TABLE.replace(b"    0.250", b"-1.00e+32").replace(b"    1.250", b" " * 9)
    data = data.replace(b"    2.250", b" -999.000")
    table = opened(tmp_path, label(data), data)
    values = column(table, "Value", fills=(-999.0,))
    assert np.isnan(values[:3]).all()
    assert values[3] == 3.25
    assert column(table, "Value")[2] == -999.0


def test_leaves_of_the_mission_area_are_all_kept():
    text = label(
        mission="<M><P><name>x</name></P><S><name>y</name><q>z</q></S>"
        "<S><name>w</name></S></M>"
    )
    leaves = parse_label(text.encode(), "l").leaves
    assert leaves == {"P_name": "x", "S_name": "y", "q": "z", "S_name_2": "w"}


def changed(old: bytes, new: bytes) -> bytes:
    assert old in TABLE
    return TABLE.replace(old, new, 1)


CELLS = {
    "NaN text": changed(b"    1.250", b"      NaN"),
    "underscore": changed(b"    1.250", b"    1_250"),
    "D exponent": changed(b"    1.250", b"  1.25D+0"),
    "comma": changed(b"    1.250", b"    1,250"),
    "overflow": changed(b"    1.250", b"   1E+999"),
    "stars": changed(b"    1.250", b"*********"),
    "minus alone": changed(b"    1.250", b"        -"),
    "NUL": changed(b"    1.250", b"   1.250\0"),
    "two numbers": changed(b"    1.250", b"  1.2 2.5"),
}


@pytest.mark.parametrize("name", CELLS)
def test_bad_cell_says_where(tmp_path, name):
    data = CELLS[name]
    table = opened(tmp_path, label(data), data)
    with pytest.raises(ProductError) as caught:
        column(table, "Value")
    error = caught.value
    assert error.rule == "table.field_value_data_type_mismatch"
    assert (error.record, error.field) == (1, "Value")
    assert error.offset == LENGTH + 25
    assert error.value == data[LENGTH + 25 : LENGTH + 35].decode()
    assert "data.tab" in str(error)


def test_other_bad_cells(tmp_path):
    for field, old, new, rule in (
        ("Count", b"   1 ", b" 1.5 ", "table.field_value_data_type_mismatch"),
        ("Count", b"   1 ", b"     ", "table.blank_field_value"),
        ("Flag", b" 1 ab", b" 2 ab", "table.field_value_data_type_mismatch"),
        ("Time", b"2018-01-02", b"2018-13-02", "table.field_value_data_type_mismatch"),
        ("Time", b"2018-01-02", b"2018/01/02", "table.field_value_data_type_mismatch"),
        ("Value", b"    1.250", b"   1.25\xb0 ", "validation.invalid_character_stream"),
    ):
        data = changed(old, new)
        table = opened(tmp_path, label(data), data)
        with pytest.raises(ProductError) as caught:
            column(table, field)
        assert caught.value.rule == rule
        assert caught.value.record == 1


FILES = [
    (TABLE[:-1], "label.filesize_mismatch", "table.records_mismatch"),
    (TABLE[:-LENGTH], "label.filesize_mismatch", "table.records_mismatch"),
    (TABLE + b"x", "label.filesize_mismatch", "table.records_mismatch"),
    (b"", "label.filesize_mismatch", "label.invalid_object_definition"),
    (changed(b"1.250", b"1.251"), "label.checksum_mismatch", None),
    (changed(b"\r\n", b"  "), "label.checksum_mismatch", "table.missing_CRLF"),
]


@pytest.mark.parametrize(("data", "with_md5", "without"), FILES)
def test_damaged_files(tmp_path, data, with_md5, without):
    with pytest.raises(ProductError) as caught:
        opened(tmp_path, label(), data)
    assert caught.value.rule == with_md5
    plain = label(md5=False, size=False)
    if without is None:
        opened(tmp_path, plain, data)
    else:
        with pytest.raises(ProductError) as caught:
            opened(tmp_path, plain, data)
        assert caught.value.rule == without


def test_every_truncation_is_refused(tmp_path):
    area = parse_label(label(md5=False, size=False).encode(), "l").areas[0]
    path = tmp_path / "data.tab"
    for n in range(len(TABLE)):
        path.write_bytes(TABLE[:n])
        with pytest.raises(ProductError):
            open_table(area.tables[0], area, Source(str(path)))


LABELS = [
    ("<records>4<", "<records>5<", "table.records_mismatch"),
    ("<records>4<", "<records>1000000000000<", "table.records_mismatch"),
    ("<records>4<", "<records>0<", "table.empty"),
    ("<records>4<", "<records>-1<", "label.schema"),
    ("<records>4<", "<records>four<", "label.schema"),
    ('unit="byte">99<', 'unit="byte">100<', "table.record_length_mismatch"),
    ('unit="byte">99<', 'unit="KB">99<', "label.schema"),
    ('unit="byte">99<', 'unit="byte">0<', "label.schema"),
    ('<offset unit="byte">0<', '<offset unit="byte">9999<', "label.invalid_object"),
    ('<offset unit="byte">0<', '<offset unit="byte">3<', "label.invalid_object"),
    ('unit="byte">21<', 'unit="byte">500<', "label.table_definition_problem"),
    ('unit="byte">21<', 'unit="byte">22<', "table.field_value_overlap"),
    ('unit="byte">36<', 'unit="byte">26<', "table.field_value_overlap"),
    ("ASCII_String", "ASCII_Banana", "label.unknown_data_type"),
    ("<fields>5<", "<fields>9<", "table.fields_mismatch"),
    ("<repetitions>3<", "<repetitions>1000000000<", "label.table_definition_problem"),
    (">data.tab<", ">../data.tab<", "file.name_has_invalid_characters"),
    (">data.tab<", ">/etc/passwd<", "file.name_has_invalid_characters"),
    (">data.tab<", ">http://a/b<", "file.name_has_invalid_characters"),
    (">data.tab<", "><", "file.name_has_invalid_characters"),
    (">data.tab<", ">other.csv<", "label.missing_file"),
    (">data.tab<", ">Data.TAB<", None),
    ("Carriage-Return Line-Feed", "Tab", "label.schema"),
    ("</Observation_Area>", "", "label.not_xml"),
    (
        "<product_class>Product_Observational",
        "<product_class>Product_Browse",
        "label.schema",
    ),
]


@pytest.mark.parametrize(("old", "new", "rule"), LABELS)
def test_bad_labels(tmp_path, old, new, rule):
    text = label()
    assert old in text
    if rule is None:  # the label's own stem finds the file
        opened(tmp_path, text.replace(old, new, 1))
        return
    with pytest.raises(ProductError) as caught:
        opened(tmp_path, text.replace(old, new, 1))
    assert caught.value.rule.startswith(rule)


def test_groups_nested_too_deeply():
    def nested(depth):
        inner = (
            '<Field_Character><name>A</name><field_location unit="byte">1'
            "</field_location><data_type>ASCII_Real</data_type>"
            '<field_length unit="byte">54</field_length></Field_Character>'
            if depth == 0
            else nested(depth - 1)
        )
        return (
            "<Group_Field_Character><name>G</name><repetitions>1</repetitions>"
            f'<group_location unit="byte">{1 if depth < 20 else 44}</group_location>'
            f'<group_length unit="byte">54</group_length>{inner}'
            "</Group_Field_Character>"
        )

    text = label(group=nested(20))
    with pytest.raises(ProductError, match="nested more than 16 deep") as met:
        parse_label(text.encode(), "x.xml")
    assert met.value.rule == "label.table_definition_problem"


def test_doctype_depth_and_no_xml():
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]>'
    for text, rule in (
        (label(head=bomb), "label.doctype_refused"),
        ("<a>" * 1000 + "</a>" * 1000, "label.too_deep"),
        ("", "label.not_xml"),
        ("<html><p></html>", "label.not_xml"),
        (label()[:700], "label.not_xml"),
    ):
        with pytest.raises(ProductError) as caught:
            parse_label(text.encode(), "l.xml")
        assert caught.value.rule == rule
        assert caught.value.path == "l.xml"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_doctype__in_another_encoding(encoding):
    """A search for the word in the bytes would not find it."""
    text = label().replace("UTF-8", "UTF-16")
    start = text.index("?>") + 2 if text.startswith("<?xml") else 0
    bomb = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    content = f"{text[:start]}{bomb}{text[start:]}".encode(encoding)
    with pytest.raises(ProductError) as caught:
        parse_label(content, "l.xml")
    assert caught.value.rule == "label.doctype_refused"


def test_unknown_model_and_duplicate_names_warn():
    with pytest.warns(TgoWarning, match=r"label\.model_version"):
        parse_label(label().replace("1.15.0.0", "9.9.9.9").encode(), "l")
    twice = label().replace("<name>Flag<", "<name>Count<")
    with pytest.warns(TgoWarning, match=r"label\.duplicate_name"):
        parsed = parse_label(twice.encode(), "l")
    names = [item.name for item in parsed.areas[0].tables[0].fields]
    assert names[:4] == ["Time", "Count[0]", "Value", "Count[1]"]


def test_stray_character_between_fields(tmp_path):
    text = label(md5=False).replace('unit="byte">20<', 'unit="byte">19<', 1)
    with pytest.raises(ProductError) as caught:
        opened(tmp_path, text)
    assert caught.value.rule == "table.characters_between_fields"
    assert caught.value.offset == 19


def test_links_and_folders_are_refused(tmp_path):
    (tmp_path / "real").write_bytes(TABLE)
    (tmp_path / "data.xml").write_text(label())
    (tmp_path / "data.tab").symlink_to(tmp_path / "real")
    for _ in range(2):
        with pytest.raises(ProductError) as caught:
            Source(str(tmp_path / "data.tab")).size()
        assert caught.value.rule == "file.not_regular"
        (tmp_path / "data.tab").unlink(missing_ok=True)
        (tmp_path / "data.tab").mkdir()
        (tmp_path / "data.tab").rmdir()
        (tmp_path / "data.tab").symlink_to("/dev/zero")


def test_zip_members_are_checked(tmp_path):
    def made(*names: str) -> str:
        path = tmp_path / "a.zip"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")
            for name in names:
                archive.writestr(name, b"0" * 4)
        return str(path)

    assert list(archive_members(made("a/b.xml", "c.tab"))) == ["a/b.xml", "c.tab"]
    for names, rule in (
        (("a", "a"), "zip.duplicate_member"),
        (("a", "A"), "zip.unsafe_member"),
        (("../a",), "zip.unsafe_member"),
        (("/a",), "zip.unsafe_member"),
    ):
        with pytest.raises(ProductError) as caught:
            archive_members(made(*names))
        assert caught.value.rule == rule
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(ProductError) as caught:
        archive_members(str(tmp_path / "b.zip"))
    assert caught.value.rule == "zip.damaged"
    bomb = tmp_path / "c.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"0" * 2**22)
    with pytest.raises(ProductError) as caught:
        archive_members(str(bomb))
    assert caught.value.rule == "zip.too_large"


def reals(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, texts)) + 1
    data = "".join(text.rjust(width - 1) + " " for text in texts).encode()
    records = np.frombuffer(data, np.uint8).reshape(1, -1)
    n = len(texts)
    values, states = np.empty((1, n)), np.empty((1, n), np.uint8)
    starts = np.arange(n, dtype=np.int64) * width
    lengths = np.full(n, width, np.int64)
    parse_reals(records, np.zeros(1, np.int64), starts, lengths, values, states)
    return values[0], states[0]


def test_powers_of_ten_are_exact():
    assert all(10.0**e == float(f"1e{e}") for e in range(23))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_equal_float(numbers):
    for form in ("%.17g", "%12.5e", "%8.3f", "%r"):
        texts = [form % value for value in numbers]
        values, states = reals(texts)
        expected = np.array([float(text) for text in texts])
        assert np.isin(states, (GOOD, SLOW)).all()
        good = states == GOOD
        assert values[good].tobytes() == expected[good].tobytes()
        if form in ("%12.5e", "%8.3f"):
            ordinary = (np.abs(expected) < 1e12) & (np.abs(expected) > 1e-15)
            assert good[ordinary].all()


GRAMMAR = r"(\+|-)?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee](\+|-)?[0-9]+)?"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0123456789+-.eE ", max_size=9), min_size=1, max_size=20))
def test_grammar_is_that_of_the_schema(texts):
    values, states = reals(texts)
    for text, value, state in zip(texts, values, states, strict=True):
        word = text.strip(" ")
        if not word:
            assert state == BLANK
        elif re.fullmatch(GRAMMAR, word):
            assert state in (GOOD, SLOW)
            assert state == SLOW or value == float(word)
        else:
            assert state == BAD


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**70), 2**70))
def test_integers_equal_int_within_64_bits(number):
    data = f" {number:+d} ".encode()
    records = np.frombuffer(data, np.uint8).reshape(1, -1)
    values, states = np.empty((1, 1), np.int64), np.empty((1, 1), np.uint8)
    one = np.zeros(1, np.int64)
    parse_integers(records, one, one, np.array([len(data)]), values, states)
    if -(2**63) <= number < 2**63:
        assert (states[0, 0], int(values[0, 0])) == (GOOD, number)
    else:
        assert states[0, 0] == BAD


def test_compiled_kernel_equals_its_python_original():
    rng = np.random.default_rng(3)
    alphabet = np.frombuffer(b"0123456789+-.eE ", np.uint8)
    records = rng.choice(alphabet, size=(50, 24))
    rows = np.arange(50)
    starts, lengths = np.array([0, 8, 14]), np.array([8, 6, 10])
    results = []
    for kernel in (parse_reals, parse_reals.py_func):
        values, states = np.empty((50, 3)), np.empty((50, 3), np.uint8)
        with np.errstate(over="ignore"):
            kernel(records, rows, starts, lengths, values, states)
        results.append((values.tobytes(), states.tobytes()))
    assert results[0] == results[1]
