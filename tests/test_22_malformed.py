"""Every malformed product of the corpus: refused, warned of or read, as listed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4.check import check_product, open_tables
from tgo_spectra.readers import find_label

sys.path.append(str(Path(__file__).parent))

import corpus

SECONDS_MAX = 1.0  # of computing; an alarm ends a case that waits
MEMORY_MAX = 64 * 2**20  # bytes above the imported package
NOBODY = 65534
SUPPORTED = frozenset[str]()  # kinds of object beside character tables
LISTED = [c for c in corpus.CASES if c.needs in {None, *SUPPORTED}]
# faults of the reader that are known and open: these must fail until it is mended
OPEN = {
    "T UTF-8 in text": "bytes above 127 pass in ASCII_String",
    "T NUL in text": "control characters pass in text",
    "T bell in text": "control characters pass in text",
    "T N/A declared for Number": "a constant that is no number is not applied",
    "T N/A declared for Altitude": "a constant that is no number is not applied",
}
WAITING = [c for c in corpus.CASES if c not in LISTED]

_opened: list[str] | None = None


def _hear(event: str, args: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(args[0], str | bytes):
        _opened.append(os.fsdecode(args[0]))


sys.addaudithook(_hear)


def outcome(path, mode="strict"):
    """All findings of a product; an error raised is the last."""
    source = find_label(path) if path.suffix == ".zip" else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        return check_product(source, mode=mode)


def values(path):
    """All cells of a product, by position."""
    source = find_label(path) if path.suffix == ".zip" else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TgoWarning)
        tables = open_tables(source)
    return [t.read([f]).tobytes() for t in tables for f in t.layout.fields]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    (folder / "p.xml").write_text(corpus.LABEL)
    (folder / "p.tab").write_bytes(corpus.TABLE)
    outcome(folder / "p.xml")  # compiled code is loaded here, not in a case
    return values(folder / "p.xml")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that `NOBODY` may enter, and an alarm against waiting for ever."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
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
    """Read a case and compare; returns nothing."""
    if case.severity != "error":
        findings = outcome(path)
        if case.rule is None:
            assert [f for f in findings if f.severity != "info"] == []
            assert (values(path) == good) == (case.severity == "same")
        else:
            found = [f for f in findings if f.rule == case.rule]
            assert [f.severity for f in found] == [case.severity]
            compare(case, folder, found[0])
        return
    with pytest.raises(ProductError) as caught:
        outcome(path)
    compare(case, folder, caught.value)
    assert caught.value.message
    if case.diagnostic:
        later = [f.rule for f in outcome(path, "warn")]
        assert later[0] == case.rule
        assert case.diagnostic in later[1:]


def _marked(case):
    marks = [pytest.mark.xfail(reason=OPEN[case.name])] if case.name in OPEN else []
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [_marked(c) for c in LISTED])
def test_case__is_met_as_listed(case, folder, good):
    global _opened
    path = case.build(folder)
    user = os.geteuid()
    if "user" in case.tags and user == 0:
        os.seteuid(NOBODY)
    start = time.process_time()
    _opened = []
    try:
        judge(case, folder, path, good)
    finally:
        took, opened, _opened = time.process_time() - start, _opened, None
        os.seteuid(user)
    assert took < SECONDS_MAX
    inside = str(folder) + os.sep
    strange = [n for n in opened if not n.startswith(inside) and not _own(n)]
    assert strange == []


def _own(name: str) -> bool:
    """Say whether Python reads its own files (source lines of a traceback)."""
    return name.endswith((".py", ".pyc")) or "site-packages" in name


@pytest.mark.parametrize("case", WAITING, ids=lambda c: c.name)
def test_unsupported_object__is_not_taken_for_a_table(case, folder):
    """Arrays are not checked by `check_product`: no values come of them here."""
    path = case.build(folder)
    try:
        outcome(path)
    except ProductError:
        return
    assert open_tables(path) == []


def test_corpus__is_complete():
    wanted = {f"D{k:02d}" for k in range(1, 28)} | {f"L{k:02d}" for k in range(1, 39)}
    assert corpus.numbered() == wanted | {f"A{k:02d}" for k in range(1, 7)}
    assert len({c.name for c in corpus.CASES}) == len(corpus.CASES)
    assert len(LISTED) - len(OPEN) >= 150


SCRIPT = """
import resource, sys, warnings
from pathlib import Path
sys.path.append({tests!r})
import corpus
from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.check import check_product
from tgo_spectra.readers import find_label
warnings.simplefilter("ignore")
folder = Path({folder!r})
def run(path):
    try:
        check_product(find_label(path) if path.suffix == ".zip" else path)
    except ProductError as error:
        return error.rule
first = folder / "good"
first.mkdir()
(first / "p.xml").write_text(corpus.LABEL)
(first / "p.tab").write_bytes(corpus.TABLE)
assert run(first / "p.xml") is None
built = []
for k, case in enumerate(c for c in corpus.CASES if c.absurd and c.needs is None):
    place = folder / str(k)
    place.mkdir()
    built.append((case, case.build(place)))
with open("/proc/self/statm") as stream:
    now = int(stream.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + {room}, now + {room}))
for case, path in built:
    rule = run(path)
    assert case.severity != "error" or rule == case.rule, (case.name, rule)
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
