"""Hostile zips: refused by a rule wherever a zip can be given; nothing written."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import warnings
import zipfile

import pytest

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import archive_members

STEM = "nmd_cal_sc_so_20180401t010203-20180401t011203-a-i-134"

MEMORY_MAX = 12 * 2**20  # bytes; a bomb holds 16 MiB


def packed(*members, method=zipfile.ZIP_DEFLATED):
    """Zip of (name or ZipInfo, bytes), whatever they are."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        with zipfile.ZipFile(stream, "w", method) as file:
            for name, data in members:
                file.writestr(name, data, compress_type=method)
    return stream.getvalue()


def patched(data, offset, form, value, *, where=b"PK\x01\x02"):
    """Zip with one number of the first index entry, or of its end, changed."""
    data = bytearray(data)
    struct.pack_into(form, data, data.index(where) + offset, value)
    return bytes(data)


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info, target.encode()


def overlapping(product):
    """Two entries of the index for the bytes of one member."""
    data = packed(*product, ("a.bin", b"x" * 100))
    end = data.index(b"PK\x05\x06")
    start = data.rindex(b"PK\x01\x02")
    entry = data[start:end].replace(b"a.bin", b"b.bin")
    tail = bytearray(data[end:])
    count, size = struct.unpack_from("<HL", tail, 10)
    struct.pack_into("<HHL", tail, 8, count + 1, count + 1, size + len(entry))
    return data[:end] + entry + bytes(tail)


def many(n):
    """Zip of n empty members, made fast."""
    names = [f"{k:05}".encode() for k in range(n)]
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, 0, 0, 5, 0)
    body = b"".join(local + name for name in names)
    index = b"".join(
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 5, 0, 0, 0, 0,
            0, k * 35,
        ) + name
        for k, name in enumerate(names)
    )  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, n, n, len(index), len(body), 0)
    return body + index + end


def flipped(product):
    """A bit of the compressed table changed."""
    data = bytearray(packed(*product))
    data[len(data) // 2] ^= 1
    return bytes(data)


def bomb(product):
    return packed(*product, ("zeros.bin", bytes(2**24)))


BAD = {
    "upward": (lambda p: packed(*p, ("../up.xml", b"x")), "zip.unsafe_member"),
    "upward_inside": (
        lambda p: packed(*p, ("a/../../up.xml", b"x")),
        "zip.unsafe_member",
    ),
    "absolute": (lambda p: packed(*p, ("/abs.xml", b"x")), "zip.unsafe_member"),
    "drive": (lambda p: packed(*p, ("C:/abs.xml", b"x")), "zip.unsafe_member"),
    "backslash": (lambda p: packed(*p, ("a\\b.xml", b"x")), "zip.unsafe_member"),
    "link": (
        lambda p: packed(*p, link("passwd.tab", "/etc/passwd")),
        "zip.unsafe_member",
    ),
    "duplicate": (lambda p: packed(*p, p[0]), "zip.duplicate_member"),
    "case": (lambda p: packed(*p, (p[0][0].upper(), b"x")), "zip.unsafe_member"),
    "nul": (
        lambda p: packed(*p, ("abcdefgh.xml", b"x")).replace(
            b"abcdefgh.xml", b"a.xml\0gh.tab"
        ),
        "zip.unsafe_member",
    ),
    "long_name": (lambda p: packed(*p, ("n" * 300, b"x")), "zip.unsafe_member"),
    "encrypted": (lambda p: patched(packed(*p), 8, "<H", 1), "zip.unsafe_member"),
    "method": (lambda p: patched(packed(*p), 10, "<H", 99), "zip.unsafe_member"),
    "too_many": (lambda p: many(20_001), "zip.too_large"),
    "too_many_hidden": (
        lambda p: patched(many(20_001), 10, "<H", 3, where=b"PK\x05\x06"),
        "zip.too_large",
    ),
    "ratio": (bomb, "zip.too_large"),
    "declared": (
        lambda p: patched(packed(*p), 24, "<L", 2**32 - 2),
        "zip.too_large",
    ),
    "overlap": (overlapping, "zip.overlapping_members"),
    "bit": (flipped, "zip.damaged"),
    "crc": (
        lambda p: patched(packed(*p), 16, "<L", 0x12345678),
        "zip.damaged",
    ),
    "cut": (lambda p: packed(*p)[:-40], "zip.damaged"),
    "empty": (lambda p: b"", "zip.damaged"),
    "page": (lambda p: b"<html>", "zip.damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_hostile_zip__refused_everywhere(kind, tmp_path, small_product):
    label, data, stem = small_product(STEM)
    make, rule = BAD[kind]
    folder = tmp_path / "in" / "data"
    folder.mkdir(parents=True)
    path = folder / "x.zip"
    path.write_bytes(make([(f"{stem}.xml", label), (f"{stem}.tab", data)]))
    tracemalloc.start()
    try:
        with pytest.raises(ProductError) as caught:
            tgo.open_product(path).load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.rule == rule, str(caught.value)
    assert peak < MEMORY_MAX
    assert str(path) in str(caught.value)
    ds = tgo.index_archive(folder, tmp_path / "c.jsonl")
    assert ds["rule"].values.tolist() == [rule]
    assert [row.rule for row in verify(folder)] == [rule]
    rows = tgo.run(folder, tmp_path / "out", progress=False)
    assert [(row.state, row.rule) for row in rows] == [("failed", rule)]
    written = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    runs = {"journal.jsonl", "quarantine.jsonl", "run.json"}
    assert written == {"x.zip", "c.jsonl"} | runs


def test_zip__limits_are_not_too_narrow(tmp_path, small_product):
    label, data, stem = small_product(STEM)
    path = tmp_path / "x.zip"
    path.write_bytes(many(20_000))
    assert len(archive_members(str(path))) == 20_000
    product = [(f"a/{stem}_3.0.xml", label), (f"a/{stem}_3.0.tab", data)]
    for extra in ([], [("a/", b"")], [("b/notes.txt", b"n" * 2**20)]):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            path.write_bytes(packed(*product, *extra, method=method))
            assert tgo.open_product(path).load().sizes["spectrum"] == 2
            assert re.fullmatch(r"\d{4}", str(tgo.open_product(path).attrs["orbit"]))
