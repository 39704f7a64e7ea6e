"""Every malformed product of the corpus: refused, warned of or read, as listed.

By the two doors that users take: opened and read, and verified.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4 import Source, open_structures
from tgo_spectra.pds4.check import check_product, open_tables

sys.path.append(str(Path(__file__).parent))

import corpus

MEMORY_MAX = 64 * 2**20  # bytes above the imported package
NOBODY = 65534
_opened: list[str] | None = None


def _hear(event: str, args: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(args[0], str | bytes):
        _opened.append(os.fsdecode(args[0]))


sys.addaudithook(_hear)


def opened(path):
    """All values of a product, by variable; raises what the reader raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        ds = tgo.open_product(path)
        return [ds[name].values.tobytes() for name in ds.variables]


def verified(path):
    """The one row of a product."""
    (row,) = verify(path)
    return row


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    (folder / "p.xml").write_text(corpus.LABEL)
    (folder / "p.tab").write_bytes(corpus.TABLE)
    assert not verified(folder / "p.xml").findings  # loads compiled code, once
    return opened(folder / "p.xml")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that `NOBODY` may enter; an alarm ends what waits or never ends."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(300)  # no measure of speed
    place = Path(tempfile.mkdtemp(prefix="corpus"))
    place.chmod(0o755)
    inner = place / "product"
    inner.mkdir()
    yield inner
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    corpus.remove(place)


def compare(case, folder, found):
    """Check one finding or error against the expectation."""
    assert found.rule == case.rule, found
    if case.file is not None:
        assert Path(found.path.split("::")[0]) == folder / case.file
    for name in ("field", "record", "offset", "value"):
        wanted = getattr(case, name)
        if wanted is not None:
            assert getattr(found, name) == wanted, name


def judge(case, folder, path, good):
    """Open and verify a case, and compare; returns nothing."""
    if case.severity != "error":
        values, row = opened(path), verified(path)
        if case.rule is None:
            assert (row.rule, row.message) == ("", "")
            assert [f for f in row.findings if f.severity != "info"] == []
            same = {"same": True, "differs": False}.get(case.severity)
            assert same is None or (values == good) == same
        else:
            found = [f for f in row.findings if f.rule == case.rule]
            assert [f.severity for f in found] == [case.severity]
            compare(case, folder, found[0])
            # what is odd in the data is reported, what is odd in the label is not
            odd = case.severity == "warning" and found[0].path != str(path)
            assert (row.rule, row.suspect) == (
                (case.rule, True) if odd else ("", False)
            )
        return
    with pytest.raises(ProductError) as caught:
        opened(path)
    compare(case, folder, caught.value)
    assert caught.value.message
    if path.is_dir():
        return  # what is in a folder is verified
    if case.verified is not None:
        assert tuple(row.rule for row in verify(path)) == case.verified
        return
    row = verified(path)
    assert (row.rule, row.suspect) == (case.rule, False)
    errors = [f for f in row.findings if f.severity == "error"]
    if errors:  # the zip itself has none
        compare(case, folder, errors[0])
    if case.diagnostic:
        assert case.diagnostic in [f.rule for f in row.findings[1:]]


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda c: c.name)
def test_case__is_met_as_listed(case, folder, good):
    global _opened
    path = case.build(folder)
    user = os.geteuid()
    if "user" in case.tags and user == 0:
        os.seteuid(NOBODY)
    _opened = []
    try:
        judge(case, folder, path, good)
    finally:
        opened, _opened = _opened, None
        os.seteuid(user)
    inside = str(folder) + os.sep
    strange = [n for n in opened if not n.startswith(inside) and not _own(n)]
    assert strange == []


def _own(name: str) -> bool:
    """Say whether Python reads its own files (source lines of a traceback)."""
    return name.endswith((".py", ".pyc")) or "site-packages" in name


# What `repair` mends: (label edits, data of that name, note)
NAMED = corpus.LABEL.replace(">p.tab<", ">Q.TAB<")
LF = corpus.TABLE.replace(b"\r", b"")
REPAIRS = {
    "case": (NAMED, corpus.TABLE, "file_name 'Q.TAB' read from 'q.tab'"),
    "LF": (corpus.BARE, LF, "record_length 57 read as 56: records end in LF"),
    "LF, MD5 known": (corpus.label(promised=LF), LF, "record_length 57 read as 56"),
    "blanks": (corpus.BARE, corpus.TABLE + b" " * 70, "70 bytes of padding"),
    "NULs": (corpus.BARE, corpus.TABLE + bytes(512), "512 bytes of padding"),
    "Ctrl-Z": (corpus.BARE, corpus.TABLE + b"\r\n\x1a", "3 bytes of padding"),
}


@pytest.mark.parametrize("name", REPAIRS)
def test_repair__changes_no_value_and_is_recorded(folder, good, name):
    text, data, note = REPAIRS[name]
    path = folder / "p.xml"
    path.write_text(text)
    (folder / ("q.tab" if name == "case" else "p.tab")).write_bytes(data)
    for function in (open_tables, check_product):
        with pytest.raises(ProductError):
            function(path, exact=True)
    (table,) = open_tables(path, mode="repair")  # a warning would be an error here
    assert [t[: len(note)] for t in table.layout.repairs] == [note]
    assert [table.read([f]).tobytes() for f in table.layout.fields] == good
    (found,) = check_product(path, mode="repair")
    assert (found.severity, found.rule) == ("info", "table.repaired")
    assert found.message.startswith(note)
    with pytest.warns(TgoWarning, match=f"repaired: {note}"):
        open_tables(path, mode="warn")


@pytest.mark.parametrize(
    "data",
    [LF, corpus.TABLE + b" ", corpus.TABLE + b" x", corpus.TABLE + bytes(2**16 + 1)],
    ids=["LF", "blank", "letter", "too much"],
)
def test_repair__is_not_made_against_the_md5_or_of_anything_else(folder, data):
    path = folder / "p.xml"
    (folder / "p.tab").write_bytes(data)
    harmless = len(data) < len(corpus.TABLE) + 2
    for text in (corpus.LABEL, *([] if harmless else [corpus.BARE])):
        path.write_text(text)
        for mode in ("repair", "warn"):
            with pytest.raises(ProductError):
                open_tables(path, mode=mode, exact=True)
        assert not verified(path).suspect


def test_repair__of_a_group_on_its_predecessor(folder):
    body = corpus.BARE.index("<Field_Character><name>Name")
    end = corpus.BARE.index("</Record_Character>")
    groups = "".join(
        corpus.group(location=38, length=9, repetitions=3, name=n).replace(
            'field_length unit="byte">1<', 'field_length unit="byte">3<'
        )
        for n in "GH"
    )
    text = corpus.BARE[:body] + groups + corpus.BARE[end:]
    text = text.replace("<fields>4", "<fields>3").replace("<groups>0", "<groups>2", 1)
    # no gaps between the fields, so that the record closes
    for old, new in ((">8<", ">7<"), (">23<", ">21<"), (">38<", ">35<")):
        text = text.replace(f'location unit="byte"{old}', f'location unit="byte"{new}')
    text = text.replace(f">{corpus.RECORD}<", ">54<")
    rows = [f"{i:6d}{i:14d}{i:14d}{i:3d}" + "  1  2  3  4  5\r\n" for i in range(10)]
    path = folder / "p.xml"
    path.write_text(text)
    (folder / "p.tab").write_text("".join(rows), newline="")
    with pytest.raises(ProductError) as caught:
        open_tables(path)
    assert caught.value.rule == "table.field_value_overlap"
    (table,) = open_tables(path, mode="repair")
    assert "'H' moved from byte 34 to 43" in table.layout.repairs[0]
    last = table.layout.fields[-1]
    assert table.read([last])[4].ravel().tolist() == [3, 4, 5]


def test_modes__must_be_known(folder):
    for function in (open_tables, check_product):
        with pytest.raises(ProductError) as caught:
            function(folder / "p.xml", mode="lax")
        assert caught.value.rule == "mode.unknown"


def test_warn__goes_on_and_says_all(folder):
    data = corpus.put(2, "Number", b"x", corpus.put(7, "Value", b"1_0"))
    (folder / "p.xml").write_text(corpus.BARE.replace("1.15.0.0", "9.9.9.9"))
    (folder / "p.tab").write_bytes(data)
    with pytest.warns(TgoWarning) as caught:
        found = check_product(folder / "p.xml", mode="warn")
    places = [(f.rule, f.field, f.record) for f in found]
    assert places == [
        ("label.model_version", None, None),
        (corpus.TYPE, "Number", 2),
        (corpus.TYPE, "Value", 7),
    ]
    texts = [str(item.message) for item in caught]
    assert all(any(f.message in text for text in texts) for f in found)


def test_one_file_of_two_missing(folder):
    area = "</File_Area_Observational>"
    start = corpus.LABEL.index("<File_Area_Observational>")
    end = corpus.LABEL.index(area) + len(area)
    other = corpus.LABEL[start:end].replace(">p.tab<", ">q.tab<")
    path = folder / "p.xml"
    path.write_text(corpus.LABEL[:end] + other + corpus.LABEL[end:])
    (folder / "p.tab").write_bytes(corpus.TABLE)
    for function in (open_tables, check_product, open_structures):
        with pytest.raises(ProductError) as caught:
            function(path)
        assert caught.value.rule == "label.missing_file"
    with pytest.raises(ProductError):
        open_tables(path, mode="repair")  # nothing can mend it
    for function in (open_tables, open_structures):
        with pytest.warns(TgoWarning, match=r"left out.*q\.tab"):
            assert len(function(path, mode="warn")) == 1
    found = [f for f in verified(path).findings if f.severity == "error"]
    assert [f.rule for f in found] == ["label.missing_file"]
    (folder / "p.tab").unlink()
    for function in (open_tables, open_structures):
        with pytest.raises(ProductError):
            function(path, mode="warn")


def test_structures__in_a_zip_and_with_bytes_not_described(folder):
    path = corpus.zipped()(folder)
    (table,) = open_structures(Source(str(path), "p.xml")).values()
    assert table.read([table.layout.field("Number")])[:, 0].tolist() == list(range(10))
    case = next(c for c in corpus.CASES if c.name == "O gap after header")
    with pytest.warns(TgoWarning, match=r"file\.bytes_not_described"):
        assert list(open_structures(case.build(folder))) == ["A"]


def test_corpus__is_complete():
    wanted = {f"D{k:02d}" for k in range(1, 28)} | {f"L{k:02d}" for k in range(1, 39)}
    assert corpus.numbered() == wanted | {f"A{k:02d}" for k in range(1, 7)}
    assert len({c.name for c in corpus.CASES}) == len(corpus.CASES)
    assert len(corpus.CASES) >= 220


SCRIPT = """
import resource, sys, warnings
from pathlib import Path
sys.path.append({tests!r})
import corpus
import tgo_spectra as tgo
from tgo_spectra.archive import verify
from tgo_spectra.errors import ProductError
warnings.simplefilter("ignore")
folder = Path({folder!r})
def run(path):
    try:
        tgo.open_product(path).load()
    except ProductError as error:
        return error.rule
first = folder / "good"
first.mkdir()
(first / "p.xml").write_text(corpus.LABEL)
(first / "p.tab").write_bytes(corpus.TABLE)
assert run(first / "p.xml") is None
assert not verify(first / "p.xml")[0].rule
built = []
for k, case in enumerate(c for c in corpus.CASES if c.absurd):
    place = folder / str(k)
    place.mkdir()
    built.append((case, case.build(place)))
with open("/proc/self/statm") as stream:
    now = int(stream.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + {room}, now + {room}))
for case, path in built:
    rule = run(path)
    assert case.severity != "error" or rule == case.rule, (case.name, rule)
    (row,) = verify(path)  # goes on after an error, and must not take more
    assert case.severity != "error" or row.rule == case.rule, (case.name, row.rule)
print(len(built))
"""


def test_absurd_promises__need_little_memory(folder):
    script = SCRIPT.format(
        tests=str(Path(__file__).parent), folder=str(folder), room=MEMORY_MAX
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 15
