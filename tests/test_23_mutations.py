"""Every small damage to a table of 570 bytes, and to its label: no silent difference.

The table is that of the corpus: 10 records of 57 bytes with 4 fields. Its 6,315
mutations are truncation at every byte, a flip of every bit, deletion of each byte,
insertion of a ``7`` before each byte, and exchange of two records. Each goes through
`open_product`, and some of them through `verify` as well.
"""

from __future__ import annotations

import collections
import itertools
import random
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.errors import TgoError, TgoWarning
from tgo_spectra.pds4.check import open_tables
from tgo_spectra.pds4.label import parse_label

sys.path.append(str(Path(__file__).parent))

import corpus

TABLE = corpus.TABLE
SIZE = len(TABLE)
TEXT = range(corpus.STARTS["Name"], corpus.STARTS["Name"] + 16)  # columns of text
N_FLIPS = 6000  # of random bits of each label
EVERY = 13  # of so many mutations one is verified too


def truncations():
    return [TABLE[:k] for k in range(SIZE)]


def flips():
    return [
        TABLE[:k] + bytes([TABLE[k] ^ 1 << bit]) + TABLE[k + 1 :]
        for k in range(SIZE)
        for bit in range(8)
    ]


def deletions():
    return [TABLE[:k] + TABLE[k + 1 :] for k in range(SIZE)]


def insertions():
    return [TABLE[:k] + b"7" + TABLE[k:] for k in range(SIZE)]


def swaps():
    rows = [TABLE[k : k + corpus.RECORD] for k in range(0, SIZE, corpus.RECORD)]
    result = []
    for a, b in itertools.combinations(range(len(rows)), 2):
        other = rows.copy()
        other[a], other[b] = rows[b], rows[a]
        result.append(b"".join(other))
    return result


CAMPAIGNS = {
    "truncate": (truncations, 570),
    "flip": (flips, 4560),
    "delete": (deletions, 570),
    "insert": (insertions, 570),
    "swap": (swaps, 45),
}


def as_compared(values):
    """Numbers as their bits, so that NaN equals NaN; text without its width."""
    return values.tolist() if values.dtype.kind == "U" else values.tobytes()


class Reader:
    """One product whose files are written over and read again."""

    def __init__(self, folder, label):
        self.label = folder / "p.xml"
        self.path = folder / "p.tab"
        self.sizes = {}
        self.seen = 0
        for path, data in ((self.label, label.encode()), (self.path, TABLE)):
            path.touch()
            self.write(data, path)

    def values(self, monotonic=()):
        """All cells, field by field; raises what the reader raises."""
        if monotonic:
            open_tables(self.label, monotonic=monotonic, exact=True)
        ds = tgo.open_product(self.label)
        return tuple(as_compared(ds[name].values) for name in ds.variables)

    def write(self, data, path=None):
        """Overwrite a file in place: ten times faster than to make it anew."""
        path = path or self.path
        with path.open("r+b", buffering=0) as stream:
            stream.write(data)
            if len(data) != self.sizes.get(path):
                stream.truncate(len(data))
        self.sizes[path] = len(data)

    def outcome(self, data, good, monotonic=()):
        """The rule broken, "same" or "differs"; any other exception goes through."""
        self.write(data)
        try:
            found = "same" if self.values(monotonic) == good else "differs"
        except TgoError as error:
            found = error.rule if error.path == str(self.path) else "elsewhere"
        if not monotonic:
            self.verify(found)
        return found

    def verify(self, found):
        """Verification refuses what opening and reading does, by the same rule."""
        self.seen += 1
        if self.seen % EVERY == 0:
            (row,) = verify(self.label)
            refused = "" if row.suspect else row.rule
            assert refused == ("" if found in {"same", "differs"} else found)

    def count(self, campaign, monotonic=()):
        self.write(TABLE)
        good = self.values(monotonic)
        make, n = CAMPAIGNS[campaign]
        mutations = make()
        assert len(mutations) == n
        return collections.Counter(
            self.outcome(data, good, monotonic) for data in mutations
        )


def test_campaigns__are_all():
    assert sum(n for _, n in CAMPAIGNS.values()) == 6315


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_table__with_size_and_md5__every_mutation_is_refused(tmp_path, campaign):
    rule = "label.filesize_mismatch"
    if campaign in {"flip", "swap"}:
        rule = "label.checksum_mismatch"
    found = Reader(tmp_path, corpus.LABEL).count(campaign)
    assert found == {rule: CAMPAIGNS[campaign][1]}


@pytest.mark.parametrize("campaign", ["truncate", "delete", "insert"])
@pytest.mark.parametrize("label", [corpus.SIZED, corpus.BARE], ids=["size", "bare"])
def test_table__without_md5__every_other_length_is_refused(tmp_path, campaign, label):
    found = Reader(tmp_path, label).count(campaign)
    assert not {"same", "differs"} & set(found)


def legal(k, new):
    """Say why a flipped byte may leave a legal record; None if it may not.

    In a number a digit may become another one, in text any printable character.
    """
    old = TABLE[k]
    if k % corpus.RECORD in TEXT:
        return "text" if 32 <= new < 127 else None
    return "digit" if {old, new} <= set(b"0123456789") else None


def test_table__without_md5__only_digits_and_letters_pass(tmp_path):
    reader = Reader(tmp_path, corpus.BARE)
    good = reader.values()
    found = collections.Counter()
    for k, data in enumerate(flips()):
        place = k // 8
        outcome = reader.outcome(data, good)
        why = legal(place, data[place])
        assert outcome != "differs" or why is not None, (place, data[place])
        found[why, outcome] += 1
    # counted once, so that a reader that grows more tolerant is noticed
    differs = {why: n for (why, outcome), n in found.items() if outcome == "differs"}
    assert differs == {"digit": 632, "text": 970}
    assert sum(found.values()) == 4560


def test_table__without_md5__swaps_need_a_monotonic_field(tmp_path):
    reader = Reader(tmp_path, corpus.BARE)
    assert reader.count("swap") == {"differs": 45}
    for name in ("Number", "Altitude"):
        assert reader.count("swap", (name,)) == {"table.records_not_monotonic": 45}


def test_open_tables__refuses_disorder_if_asked(tmp_path):
    path = tmp_path / "p.xml"
    path.write_text(corpus.BARE)
    data = tmp_path / "p.tab"
    data.write_bytes(TABLE)
    assert len(open_tables(path, monotonic=("Number",))) == 1
    for name in ("Nothing", "Name "):
        with pytest.raises(TgoError) as caught:
            open_tables(path, monotonic=(name,))
        assert caught.value.rule == "table.fields_mismatch"
    for other in swaps():
        data.write_bytes(other)
        assert len(open_tables(path)) == 1
        with pytest.raises(TgoError) as caught:
            open_tables(path, monotonic=("Altitude",))
        assert caught.value.rule == "table.records_not_monotonic"


# Labels

RICH = corpus.SIZED.replace("<fields>4", "<fields>3").replace("<groups>0", "<groups>1")
_start = RICH.index("<Field_Character><name>Altitude")
_end = RICH.index("<Field_Character><name>Name")
RICH = (
    RICH[:_start] + "<Field_Character><name>Altitude</name>"
    '<field_location unit="byte">8</field_location><data_type>ASCII_Real</data_type>'
    '<field_length unit="byte">14</field_length><unit>km</unit>'
    "<description>above the areoid</description>"
    "<scaling_factor>2</scaling_factor><value_offset>1</value_offset>"
    "</Field_Character>"
    "<Group_Field_Character><repetitions>2</repetitions><fields>1</fields>"
    '<groups>0</groups><group_location unit="byte">23</group_location>'
    '<group_length unit="byte">14</group_length>'
    '<Field_Character><name>Half</name><field_location unit="byte">1</field_location>'
    '<data_type>ASCII_String</data_type><field_length unit="byte">7</field_length>'
    "<Special_Constants><missing_constant>8.20000</missing_constant>"
    "<valid_minimum>0</valid_minimum></Special_Constants>"
    "</Field_Character></Group_Field_Character>\n" + RICH[_end:]
)
LABELS = {"full": corpus.LABEL, "bare": corpus.BARE, "rich": RICH}


def described(label):
    """What of a label decides its values: files, places, types, scales, constants."""
    blank = {"name": "", "label_name": "", "groups": (), "unit": "", "description": ""}
    return [
        (area.file_name, area.others)
        if k is None
        else (*places(area.tables[k]), [replace(f, **blank) for f in fields_of(area)])
        for area in label.areas
        for k in (None, *range(len(area.tables)))
    ]


def places(layout):
    return (
        *(layout.offset, layout.records, layout.record_length),
        *(layout.delimiter, layout.repairs),
    )


class Labels:
    """Reads one good table by mutated labels."""

    def __init__(self, folder, text):
        self.reader = Reader(folder, text)
        self.good = self.reader.values()
        self.base = described(parse_label(text.encode(), "p.xml", exact=True))

    def outcome(self, text):
        """The kind of outcome; an exception that is not ours goes through.

        "same": every value is that of the base. "legal": values differ, and the label
        describes its record in other words that are legal: a scale, an offset, a
        constant, the ends of a cell. Each such value is checked against `expected`.
        """
        self.reader.write(text, self.reader.label)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TgoWarning)
            try:
                values = self.reader.values()
            except TgoError as error:
                if error.rule != "product.unknown_instrument":  # not of verification
                    self.reader.verify(error.rule)
                return "error"
            self.reader.verify("same")
            if values == self.good:
                return "same"
            label = parse_label(text, "p.xml", exact=True)
        assert described(label) != self.base
        (area,) = label.areas
        assert values == tuple(expected(area.tables[0], f) for f in fields_of(area))
        return "legal"


def fields_of(area):
    return area.tables[0].fields


def expected(layout, item):
    """Values of a field by nothing but Python's own conversions."""
    cells = []
    repeats = list(itertools.product(*map(range, item.shape)))
    for row in range(layout.records):
        for at in repeats:
            start = layout.offset + row * layout.record_length + item.start
            start += sum(k * step for k, step in zip(at, item.strides, strict=True))
            cells.append(TABLE[start : start + item.length].decode().strip())
    if item.data_type == "ASCII_String":
        cells = ["" if cell in item.fill_texts else cell for cell in cells]
        return np.array(cells).reshape(-1, *item.shape).tolist()
    constants = set()
    for text in item.fill_texts:
        constants.add(float(text) if text[0] in "+-.0123456789" else text)
    numbers = [float(cell) if cell else np.nan for cell in cells]
    numbers = [np.nan if number in constants else number for number in numbers]
    if item.data_type == "ASCII_Integer" and not item.fill_texts and item.scale == 1:
        return np.array(numbers, dtype=np.int64).tobytes()
    scaled = [number * item.scale + item.offset for number in numbers]
    return np.array(scaled).tobytes()


@pytest.mark.parametrize("name", LABELS)
def test_label__every_truncation_is_refused(tmp_path, name):
    text = LABELS[name].encode()
    labels = Labels(tmp_path, LABELS[name])
    end = len(text.rstrip())
    for k in range(end):
        assert labels.outcome(text[:k]) == "error", k
    for k in range(end, len(text) + 1):
        assert labels.outcome(text[:k]) == "same", k


@pytest.mark.parametrize("name", LABELS)
def test_label__random_bit_flips(tmp_path, name):
    text = LABELS[name].encode()
    labels = Labels(tmp_path, LABELS[name])
    rng = random.Random(20260101)
    found = collections.Counter()
    for _ in range(N_FLIPS):
        place = rng.randrange(len(text))
        new = bytes([text[place] ^ 1 << rng.randrange(8)])
        found[labels.outcome(text[:place] + new + text[place + 1 :])] += 1
    assert sum(found.values()) == N_FLIPS
    assert found["error"] > 0.6 * N_FLIPS
    if name != "rich":  # nothing there can be changed legally and change a value
        assert "legal" not in found
