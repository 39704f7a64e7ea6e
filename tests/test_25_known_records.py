"""Record descriptions met before: used again only where nothing can differ."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tgo_spectra as tgo
from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import label_cache, parse_label

sys.path.append(str(Path(__file__).parent))

from small_table import FIELDS, TABLE, label, opened


def fields_of(text: str):
    return parse_label(text.encode(), "x.xml").areas[0].tables[0].fields


def test_same_description_gives_the_same_objects():
    first = fields_of(label())
    again = fields_of(label(mission="<a>other</a>", md5=False))
    assert again is first


def test_what_is_outside_the_description_is_read_anew():
    fields_of(label())
    text = label().replace("<records>4</records>", "<records>7</records>")
    parsed = parse_label(text.encode(), "y.xml")
    assert parsed.areas[0].tables[0].records == 7
    assert parsed.path == "y.xml"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<name>Count</name>", "<name>Number</name>"),
        ('unit="byte">5</field_length>', 'unit="byte">4</field_length>'),
        ('<?xml version="1.0"?>', '<?xml version="1.0" encoding="ISO-8859-1"?>'),
        ('xmlns="urn:any">', 'xmlns="urn:any" xmlns:q="urn:q">'),
    ],
)
def test_a_changed_description_or_head_is_not_taken_for_a_known_one(old, new):
    first = fields_of(label())
    text = label().replace(old, new)
    assert text != label()
    assert fields_of(text) is not first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Record_Character>", "<!-- <Record_Character>"),
        ("<title>t</title>", "<title><![CDATA[t]]></title>"),
        ("<Identification_Area>", "<!-- x --><Identification_Area>"),
        ("<Record_Character>", "<p:Record_Character>"),
        ("</Observation_Area>", "</Observation_Area><!-- Record_Character -->"),
    ],
)
def test_labels_that_are_left_alone(old, new):
    assert label_cache.cut(label().replace(old, new).encode(), repair=False) is None


def test_delimiter_of_another_length_is_looked_at_again():
    fields_of(label())
    text = label().replace("Carriage-Return Line-Feed", "Line-Feed")
    table = parse_label(text.encode(), "x.xml").areas[0].tables[0]
    assert table.delimiter == b"\n"


def test_errors_are_those_of_the_whole_label():
    fields_of(label())
    text = label().replace("</File>", "</Fill>")
    with pytest.raises(ProductError) as met:
        parse_label(text.encode(), "x.xml")
    known_first = str(met.value)
    label_cache._records.clear()
    with pytest.raises(ProductError) as met:
        parse_label(text.encode(), "x.xml")
    assert str(met.value) == known_first


def test_duplicate_names_warn_every_time():
    fields = "".join(
        f"<Field_Character><name>same</name>"
        f'<field_location unit="byte">{start}</field_location>'
        f"<data_type>{kind}</data_type>"
        f'<field_length unit="byte">{n}</field_length>{special}</Field_Character>'
        for _, kind, start, n, special in FIELDS
    )
    for _ in range(2):
        with pytest.warns(UserWarning, match="duplicate_name"):
            fields_of(label(fields=fields))


def test_a_label_cannot_forge_the_stub():
    fields_of(label())
    start, stop = label().split("<Record_Character>")
    stop = stop.split("</Record_Character>")[1]
    for stub in ("<Record_Character/>", '<Record_Character known="1"/>'):
        with pytest.raises(ProductError):
            fields_of(start + stub + stop)


def test_values_are_equal_from_a_known_description(tmp_path):
    label_cache._records.clear()
    first = opened(tmp_path)
    second = opened(tmp_path)
    assert second.layout.fields is first.layout.fields
    for item in first.layout.fields:
        a, b = first.read([item]), second.read([item])
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "data.tab").write_bytes(TABLE)
        yield Path(name)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(label()) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_as_without_memory(folder, place, byte):
    """With the good label in memory and with nothing in memory: one outcome."""
    path = folder / "x.xml"
    text = bytearray(label().encode())
    text[place] = byte
    path.write_bytes(bytes(text))

    def outcome():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                ds = tgo.open_product(path)
                found = ds.attrs, [ds[name].values.tobytes() for name in ds.variables]
            except ProductError as error:
                found = error.rule, str(error)
        return found, [str(item.message) for item in caught]

    label_cache._records.clear()
    fresh = outcome()
    label_cache._records.clear()
    parse_label(label().encode(), "x.xml", exact=True)
    assert outcome() == fresh


def test_memory_is_bounded():
    for i in range(3 * label_cache._KEPT):
        fields_of(label().replace("<name>Count</name>", f"<name>Count{i}</name>"))
    assert len(label_cache._records) == label_cache._KEPT
    for i in range(10 * label_cache._KEPT):
        label_cache.kept("test", (i, str(i)), lambda: 1)
    assert len(label_cache._derived) <= 4 * label_cache._KEPT
