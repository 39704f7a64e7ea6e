"""Random tables that are legal, and random damage to them, against a slow reader.

A table is drawn with its label: fields and groups of any nesting, named or not, with
gaps, widths, types, special constants and scales. The slow reader knows the regular
expressions of the PDS4 schema and Python's own conversions, and nothing else.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.pds4.check import check_product

sys.path.append(str(Path(__file__).parent))

import corpus

REAL = re.compile(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([Ee][+-]?[0-9]+)?")
INTEGER = re.compile(rb"[+-]?[0-9]+")
DAY = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?Z?"
)
TRUTH = {b"0": False, b"1": True, b"false": False, b"true": True}
NAMES = ("A", "B", "Wavenumber", "x y")
KINDS = (
    "ASCII_Real",
    "ASCII_Integer",
    "ASCII_NonNegative_Integer",
    "ASCII_Boolean",
    "ASCII_String",
    "UTF8_String",
    "ASCII_Date_Time_YMD_UTC",
)
NUMBERS = KINDS[:3]
CONSTANTS = ("-999", "-1e32", "0", "N/A", "null")
QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Refused(Exception):
    """The slow reader meets a byte that is not legal."""


@dataclass
class Leaf:
    """A field, relative to what holds it."""

    name: str
    kind: str
    length: int
    constants: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    start: int = 0


@dataclass
class Node:
    """A group, or the record itself (repeated once)."""

    name: str | None
    times: int
    items: list[Leaf | Node] = field(default_factory=list)
    step: int = 0
    start: int = 0


@st.composite
def leaves(draw):
    kind = draw(st.sampled_from(KINDS))
    leaf = Leaf(draw(st.sampled_from(NAMES)), kind, draw(st.integers(1, 24)))
    if kind in NUMBERS:
        leaf.constants = tuple(
            draw(st.lists(st.sampled_from(CONSTANTS), max_size=2, unique=True))
        )
        if draw(st.integers(0, 3)) == 0:
            leaf.scale = draw(st.sampled_from((0.5, -3.0, 1e-7)))
            leaf.offset = draw(st.sampled_from((0.0, 273.15)))
    return leaf


@st.composite
def nodes(draw, depth=0):
    """A group whose items follow one another with gaps of up to two bytes."""
    times = 1 if depth == 0 else draw(st.integers(1, 3))
    node = Node(draw(st.sampled_from((None, "G", "H"))), times)
    end = 0
    for _ in range(draw(st.integers(1, 4 - depth))):
        inner = depth < 3 and draw(st.integers(0, 2)) == 0
        item = draw(nodes(depth + 1) if inner else leaves())
        item.start = end + draw(st.integers(0, 2))
        size = item.step * item.times if isinstance(item, Node) else item.length
        end = item.start + size
        node.items.append(item)
    node.step = end + draw(st.integers(0, 2))
    return node


def cells(node, at=0, shape=(), groups=()):
    """Yield (leaf, repetitions of its groups, first bytes of its cells)."""
    for item in node.items:
        if isinstance(item, Node):
            starts = [
                start + item.start + k * item.step
                for start in (at if isinstance(at, list) else [at])
                for k in range(item.times)
            ]
            yield from cells(item, starts, (*shape, item.times))
        else:
            base = at if isinstance(at, list) else [at]
            yield item, shape, [start + item.start for start in base]


def byte(name, value):
    return f'<{name} unit="byte">{value}</{name}>'


def xml(node):
    """Description of a record or group."""
    text = ""
    n_fields = sum(isinstance(item, Leaf) for item in node.items)
    text += f"<fields>{n_fields}</fields><groups>{len(node.items) - n_fields}</groups>"
    for item in node.items:
        if isinstance(item, Node):
            name = f"<name>{item.name}</name>" if item.name else ""
            text += (
                f"<Group_Field_Character>{name}<repetitions>{item.times}</repetitions>"
                f"{byte('group_location', item.start + 1)}"
                f"{byte('group_length', item.step * item.times)}{xml(item)}"
                "</Group_Field_Character>"
            )
            continue
        constants = "".join(
            f"<{tag}>{value}</{tag}>"
            for tag, value in zip(
                ("missing_constant", "invalid_constant"), item.constants, strict=False
            )
        )
        if constants:
            constants = f"<Special_Constants>{constants}</Special_Constants>"
        text += (
            f"<Field_Character><name>{item.name}</name>"
            f"{byte('field_location', item.start + 1)}"
            f"<data_type>{item.kind}</data_type>{byte('field_length', item.length)}"
            f"<scaling_factor>{item.scale!r}</scaling_factor>"
            f"<value_offset>{item.offset!r}</value_offset>{constants}"
            "</Field_Character>"
        )
    return text


def label(node, rows, data, *, promises):
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    promised = f"{byte('file_size', len(data))}<md5_checksum>{digest}</md5_checksum>"
    return (
        '<?xml version="1.0"?><Product_Observational xmlns="urn:any">'
        f"<Identification_Area><logical_identifier>{corpus.LID}</logical_identifier>"
        "<version_id>1.0</version_id><title>t</title>"
        "<information_model_version>1.15.0.0</information_model_version>"
        "<product_class>Product_Observational</product_class></Identification_Area>"
        "<Observation_Area/><File_Area_Observational><File><file_name>p.tab</file_name>"
        f"{promised if promises else ''}</File><Table_Character>{byte('offset', 0)}"
        f"<records>{rows}</records>"
        "<record_delimiter>Carriage-Return Line-Feed</record_delimiter>"
        f"<Record_Character>{byte('record_length', node.step + 2)}{xml(node)}"
        "</Record_Character></Table_Character></File_Area_Observational>"
        "</Product_Observational>"
    )


def numbers(rng, leaf):
    """Text of a number that fits into its field."""
    if leaf.constants and rng.random() < 0.2:
        return rng.choice(leaf.constants).encode()
    if leaf.kind == "ASCII_Real":
        value = rng.choice(
            (rng.gauss(0, 1), rng.gauss(0, 1) * 10 ** rng.randint(-40, 40))
        )
        form = rng.choice(("{:.3f}", "{:.5e}", "{!r}", "{:+.0f}.", "{:.12E}", ""))
        return form.format(value).encode()
    value = rng.getrandbits(rng.choice((4, 20, 63)))
    if leaf.kind == "ASCII_Integer" and rng.random() < 0.5:
        value = -value
    return str(value).encode()


def cell(rng, leaf):
    """A legal cell."""
    if leaf.kind in NUMBERS:
        text = numbers(rng, leaf)
        if len(text) > leaf.length or leaf.kind == "ASCII_NonNegative_Integer":
            text = b"7" if len(text) > leaf.length else text
    elif leaf.kind == "ASCII_Boolean":
        text = rng.choice([t for t in TRUTH if len(t) <= leaf.length])
    elif leaf.kind == "ASCII_String":
        text = bytes(rng.randint(32, 126) for _ in range(rng.randint(0, leaf.length)))
    elif leaf.kind == "UTF8_String":
        text = "".join(
            rng.choice("aé Ж漢😀") for _ in range(rng.randint(0, leaf.length))
        )
        text = text.encode()
        text = text if len(text) <= leaf.length else b"u"
    else:
        text = b"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (
            rng.randint(1700, 2200),
            rng.randint(1, 12),
            rng.randint(1, 28),
            *(rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)),
            rng.randint(0, 999),
        )
        text = rng.choice((text, text[:16], text[:10], b""))
        text = text if len(text) <= leaf.length else b""
    side = rng.choice((bytes.ljust, bytes.rjust, bytes.center))
    return side(text, leaf.length)


@st.composite
def tables(draw):
    """(node, rows, bytes of the table)."""
    node = draw(nodes())
    rows = draw(st.integers(1, 4))
    rng = draw(st.randoms(use_true_random=False))
    data = bytearray(b" " * (rows * (node.step + 2)))
    for row in range(rows):
        base = row * (node.step + 2)
        for leaf, _, starts in cells(node):
            for start in starts:
                place = base + start
                data[place : place + leaf.length] = cell(rng, leaf)
        data[base + node.step : base + node.step + 2] = b"\r\n"
    return node, rows, bytes(data)


# The slow reader


def integer(text, leaf):
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise Refused
    constants = [float(c) for c in leaf.constants if c not in {"N/A", "null"}]
    if float(value) in constants and int(float(value)) == value:
        return math.nan
    if leaf.kind == "ASCII_NonNegative_Integer" and value < 0:
        raise Refused
    plain = not leaf.constants and leaf.scale == 1.0 and leaf.offset == 0.0
    if plain:
        return value
    if int(float(value)) != value:
        raise Refused  # would be rounded
    return float(value)


def number(text, leaf):
    if text.decode("latin-1") in leaf.constants:
        return math.nan
    if leaf.kind != "ASCII_Real":
        if not INTEGER.fullmatch(text):
            raise Refused
        value = integer(text, leaf)
        if isinstance(value, int):
            return value
    elif not text:
        return math.nan
    elif not REAL.fullmatch(text) or math.isinf(float(text)):
        raise Refused
    else:
        value = float(text)
        if value in {float(c) for c in leaf.constants if c not in {"N/A", "null"}}:
            return math.nan
    value = value * leaf.scale + leaf.offset
    if math.isinf(value):
        raise Refused
    return value


def convert(text, leaf):
    """The value of a cell by the grammar of its type, or `Refused`."""
    text = text.strip(b" ")
    if leaf.kind in NUMBERS:
        return number(text, leaf)
    if leaf.kind == "ASCII_Boolean":
        if text not in TRUTH:
            raise Refused
        return TRUTH[text]
    if leaf.kind.endswith("String"):
        try:
            found = text.decode("ascii" if leaf.kind[0] == "A" else "utf-8")
        except UnicodeDecodeError:
            raise Refused from None
        if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in found):
            raise Refused
        return found
    if not text:
        return np.datetime64("NaT", "ns")
    if not DAY.fullmatch(text) or not 1678 <= int(text[:4]) < 2262:
        raise Refused
    try:
        return np.datetime64(text.removesuffix(b"Z").decode()).astype("M8[ns]")
    except ValueError:
        raise Refused from None


def slow(node, rows, data):
    """Values of all fields, or `Refused`."""
    length = node.step + 2
    if len(data) != rows * length:
        raise Refused
    free = set(range(node.step))
    for leaf, _, starts in cells(node):
        for start in starts:
            free -= set(range(start, start + leaf.length))
    for row in range(rows):
        record = data[row * length : (row + 1) * length]
        if record[-2:] != b"\r\n" or any(record[k] != 32 for k in free):
            raise Refused
    result = []
    for leaf, shape, starts in cells(node):
        values = [
            convert(data[at : at + leaf.length], leaf)
            for row in range(rows)
            for at in (row * length + start for start in starts)
        ]
        result.append((shape, values))
    return result


def fast(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)  # two fields of one name
        ds = tgo.open_product(path)
        return [ds[name].values for name in ds.variables]


def assert_equal(found, wanted, rows):
    assert len(found) == len(wanted)
    for values, (shape, cells_) in zip(found, wanted, strict=True):
        assert values.shape == (rows, *shape)
        if values.dtype.kind == "f":
            # bit for bit, except that one NaN is as good as another
            same = values.ravel() == np.array(cells_)
            assert (same | (np.isnan(values.ravel()) & np.isnan(cells_))).all()
        elif values.dtype.kind == "M":
            assert values.ravel().astype(np.int64).tolist() == [
                int(v.astype("M8[ns]").astype(np.int64)) for v in cells_
            ]
        else:
            assert values.ravel().tolist() == cells_


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def overflow_is_silent():
    """The slow reader scales single numbers."""
    with np.errstate(over="ignore"):
        yield


@QUICK
@given(drawn=tables(), promises=st.booleans())
def test_legal_table__is_read_as_written(folder, drawn, promises):
    node, rows, data = drawn
    path = folder / "p.xml"
    path.write_text(label(node, rows, data, promises=promises))
    (folder / "p.tab").write_bytes(data)
    try:
        wanted = slow(node, rows, data)
    except Refused:
        # the writer knows no limits of float64: large integers beside constants
        with pytest.raises(TgoError):
            fast(path)
        return
    assert_equal(fast(path), wanted, rows)
    (row,) = verify(path)
    assert row.suspect or not row.rule


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "set", "cut", "insert")),
        st.integers(0, 2**16),
        st.sampled_from(b"0123456789 +-.eE_xN\r\n\0\t\x7f\x80\xc3\xa9:TZ"),
    ),
    min_size=1,
    max_size=3,
)


def edited(data, edits):
    for kind, place, value in edits:
        k = place % (len(data) or 1)
        rest = data[k:] if kind == "insert" else data[k + 1 :]
        data = data[:k] + (b"" if kind == "cut" else bytes([value])) + rest
    return data


@QUICK
@given(drawn=tables(), edits=EDITS)
def test_damaged_table__is_read_as_it_is_or_refused(folder, drawn, edits):
    node, rows, data = drawn
    other = edited(data, edits)
    path = folder / "p.xml"
    (folder / "p.tab").write_bytes(other)
    path.write_text(label(node, rows, data, promises=True))
    if other != data:
        with pytest.raises(TgoError) as caught:
            fast(path)
        assert caught.value.rule in {
            "label.filesize_mismatch",
            "label.checksum_mismatch",
        }
    path.write_text(label(node, rows, data, promises=False))
    (row,) = verify(path)
    try:
        wanted = slow(node, rows, other)
    except Refused:
        with pytest.raises(TgoError):
            fast(path)
        assert row.rule
        assert not row.suspect
        return
    assert row.suspect or not row.rule
    assert_equal(fast(path), wanted, rows)


@QUICK
@given(drawn=tables(), edits=EDITS)
def test_damaged_label__is_refused_or_legal(folder, drawn, edits):
    node, rows, data = drawn
    (folder / "p.tab").write_bytes(data)
    path = folder / "p.xml"
    text = label(node, rows, data, promises=False).encode()
    path.write_bytes(edited(text, edits))
    verify(path)  # an exception that is not ours goes through, as below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        for mode in ("strict", "repair", "warn"):
            rules = set()
            for read in (tgo.open_product, check_product):
                try:
                    read(path, mode=mode)
                except TgoError as error:
                    rules.add(error.rule)
            assert None not in rules
