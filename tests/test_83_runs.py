"""Runs that crash, hang, are stopped or meet a broken disk: nothing is lost."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import named_products
import numba
import pytest
from named_products import LABEL, make_products, process, tries

from tgo_spectra import cli
from tgo_spectra.batch import claims, loop
from tgo_spectra.batch import products as batch
from tgo_spectra.batch.engines import Here
from tgo_spectra.batch.journal import ProductStatus, read_lines
from tgo_spectra.errors import OutputError, TgoError
from tgo_spectra.files import atomic
from tgo_spectra.files.atomic import write_whole
from tgo_spectra.numerics.accelerate import timed_compilation

PLACES = os.pathsep.join(
    str(Path(file).parent) for file in (__file__, named_products.__file__)
)

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def quarantine(out):
    return {
        Path(row.product).stem: row.rule
        for _, row in read_lines(out / "quarantine.jsonl")
    }


@posix
def test_run__crashes_are_charged_to_their_product_and_remembered(tmp_path, caplog):
    bad = {
        **{f"raises-{k}": "some.rule" for k in range(3)},
        "exits": "batch.worker_died",
        "hangs": "batch.timeout",
    }
    names = [*bad, *(f"p{k}" for k in range(13))]
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    limits = {"timeout_s": 2.0, "memory_gb": 1.0}

    def run(workers=2, **changed):
        rows = batch.run(
            folder, out, workers=workers, progress=False, process=process,
            **(limits | changed),
        )  # fmt: skip
        return {Path(row.product).stem: row for row in rows}

    rows = run()
    assert {name: rows[name].rule for name in bad} == bad
    assert {rows[f"p{k}"].state for k in range(13)} == {"done"}
    assert {p.name for p in (out / "l2").iterdir()} == {f"p{k}.nc" for k in range(13)}
    assert quarantine(out) == bad
    assert "(try 2, not tried again)" in rows["exits"].message
    crashed = ("exits", "hangs")
    assert {name: tries(out)[name] for name in names} == {
        name: 2 if name in crashed else 1 for name in names
    }
    assert json.loads((out / "run.json").read_text())["results"]["failed"] == 5
    assert caplog.text.count("it is tried again") == 2
    # none of them a third time, not even where nothing would outlive it
    again = run(workers=1)
    assert {name: rows[name].message for name in crashed} == {
        name: again[name].message for name in crashed
    }
    assert {tries(out)[name] for name in crashed} == {2}
    assert quarantine(out) == bad
    # under other conditions it may go well
    (folder / "exits.xml").write_text(LABEL.format("exits") + "<changed/>")
    run(workers=1)
    assert (tries(out)["exits"], tries(out)["hangs"]) == (4, 2)


def test_run__limits_are_those_of_the_kind_unless_given(tmp_path, monkeypatch, capsys):
    """The largest of the kinds of its setups; said by the setup and by the run."""
    from tgo_spectra.batch import workers as own
    from tgo_spectra.retrieval import registry

    folder = make_products(tmp_path / "in", ["a"])
    short = dataclasses.replace(registry.named("nadir"), timeout_s=60.0, memory_gb=0.5)
    long = dataclasses.replace(registry.named("profile"), timeout_s=90.0, memory_gb=0.4)
    monkeypatch.setattr(registry, "KINDS", [long, short])
    assert cli.main(["setups", "lno_189_190_co"]) == 0
    assert "60 s and 0.5 GB a product" in capsys.readouterr().out
    taken = []

    class Seen(Here):
        def __init__(self, *_, timeout_s, memory=None):
            super().__init__()
            taken.append(
                (timeout_s, None if memory is None else round(memory / own.GB, 3))
            )

    monkeypatch.setattr(batch, "Workers", Seen)
    monkeypatch.setattr("tgo_spectra.batch.schedulers.OnCluster", Seen)
    monkeypatch.setattr(batch, "memory_of_machine", lambda: 0.9 * own.GB)
    for more, seconds, memory in (
        ({"setup": "lno_189_190_co"}, 60.0, 0.5),
        ({"setup": "so_134"}, 90.0, 0.4),
        ({"setup": ["so_134", "lno_189_190_co"]}, 90.0, 0.5),
        ({}, 90.0, 0.5),
        ({"workers": 3}, 90.0, 0.3),  # no more than there is
        ({"timeout_s": 7.0, "memory_gb": 5.0}, 7.0, 5.0),
        ({"timeout_s": math.inf}, None, 0.5),
        ({"client": "one", "timeout_s": 8.0}, 8.0, None),
    ):
        out = tmp_path / f"out{len(taken)}"
        given = {"workers": 1, "progress": False, "process": process} | more
        batch.run(folder, out, **given)
        assert taken[-1] == (seconds, memory), more
        limits = json.loads((out / "run.json").read_text())["limits"]
        assert limits == {"timeout_s": seconds, "memory_gb": memory}
    batch.run(folder, tmp_path / "here", progress=False, process=process)
    limits = json.loads((tmp_path / "here/run.json").read_text())["limits"]
    assert limits == {"timeout_s": None, "memory_gb": None}


def test_record__grows_while_a_run_goes_on(tmp_path, monkeypatch):
    from tgo_spectra.batch import record

    monkeypatch.setattr(record, "_EVERY_S", 0.0)
    names = ["p0", "raises-1", "p2", "raises-3", "p4"]
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    seen = []

    def looks(path, *given):
        found = json.loads((out / "run.json").read_text())["results"]
        lines = (out / "journal.jsonl").is_file() and len(
            list(read_lines(out / "journal.jsonl"))
        )
        seen.append((found["done"], found["failed"], len(quarantine(out)), int(lines)))
        return process(path, *given)

    batch.run(folder, out, progress=False, process=looks)
    assert seen == [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (2, 0, 0, 2),
        (3, 0, 0, 3),
        (3, 1, 1, 4),
    ]
    # what failed before stays listed until it is done
    seen.clear()
    (folder / "raises-1.xml").rename(folder / "raises-9.xml")
    batch.run(folder, out, progress=False, process=looks)
    assert [row[2] for row in seen] == [1, 1, 1, 1, 1]
    assert set(quarantine(out)) == {"raises-3", "raises-9"}


STOPPED = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from tgo_spectra import cli
from tgo_spectra.batch import products as batch
from named_products import process
def begins(path, out, setups, air):
    if path.stem.startswith("hangs"):
        (out / f"{path.stem}.nc.tmp-begun").write_text("begun")
    return process(path, out, setups, air)
batch.process_product = begins
sys.exit(cli.main(["retrieve", *sys.argv[2:]]))
"""


@posix
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_run__stopped_by_a_signal(tmp_path, workers, number, code):
    names = [*(f"a{k}" for k in range(3)), "hangs-1", "hangs-2"]
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(STOPPED)
    with subprocess.Popen(
        [sys.executable, str(script), PLACES, str(folder), "--out", str(out),
         "--workers", str(workers)],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
        # whoever started the tests may not hear it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as driver:  # fmt: skip
        journal = out / "journal.jsonl"
        while not (
            (out / "l2" / "hangs-1.nc.tmp-begun").is_file()
            and journal.read_text().count("\n") == 3
        ):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        # a terminal sends Ctrl-C to all processes of its group
        send = os.killpg if number == "SIGINT" else os.kill
        send(driver.pid, getattr(signal, number))
        if number == "SIGTERM":  # a batch system and a shell say the same twice
            send(driver.pid, signal.SIGTERM)
        _, err = driver.communicate(timeout=60)
    assert driver.returncode == code
    lines = [one for one in err.splitlines() if one and not one.startswith("warning:")]
    assert lines == ["stopped, 3 of 5 done, run again to continue"]
    assert len(list(read_lines(out / "journal.jsonl"))) == 3
    assert json.loads((out / "run.json").read_text())["results"]["done"] == 3
    assert not quarantine(out)
    # the same command goes on, and nobody is blamed for the signal
    for name in ("hangs-1", "hangs-2"):
        (folder / f"{name}.xml").unlink()
    make_products(folder, ["b1"])
    rows = batch.run(folder, out, progress=False, process=process)
    assert [row.state for row in rows] == ["skipped"] * 3 + ["done"]


# faults of the disk


class Faulty:
    """The Nth call of what writing is made of fails; the later ones do not."""

    def __init__(self, monkeypatch, number, code):
        self.left, self.code = number, code
        own = types.SimpleNamespace(**vars(os))  # not what reading calls
        for module in (atomic, claims):
            monkeypatch.setattr(module, "os", own)
        for owner, name in (
            (Path, "touch"), (Path, "write_bytes"), (Path, "replace"), (Path, "open"),
            (Path, "mkdir"), (own, "fsync"), (own, "open"),
        ):  # fmt: skip
            self._wrap(monkeypatch, owner, name)

    def _wrap(self, monkeypatch, owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                raise OSError(self.code, os.strerror(self.code))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)


FAULTS = (
    (errno.ENOSPC, "io.no_space"),
    (errno.EIO, "io.device"),
    (errno.EDQUOT, "io.quota"),
    (errno.ESTALE, "io.stale"),
)


def whole(path, out, setups, air):
    write_whole(out / f"{path.stem}.nc", path.stem)
    return {"state": "done", "output": str(out / f"{path.stem}.nc")}


def test_run__the_nth_call_fails(tmp_path):
    """For each N until none fails: one error by name, no half file, and it goes on."""
    folder = make_products(tmp_path / "in", ["p0", "p1"])
    batch.run(folder, tmp_path / "out", progress=False, process=whole)  # reads its data
    number, failed = 0, 0
    while failed == number:
        number += 1
        out = tmp_path / f"out{number}"
        code, rule = FAULTS[number % len(FAULTS)]
        error = None
        with pytest.MonkeyPatch.context() as patch:
            Faulty(patch, number, code)
            try:
                batch.run_on(Here(), folder, out, progress=False, process=whole)
            except OutputError as caught:
                error = caught
        if error is not None:
            failed += 1
            assert (number, error.rule) == (number, rule)
            assert str(out) in str(error)
        for file in (out / "l2").glob("*.nc"):
            assert file.read_text() == file.stem
        assert not list(out.rglob("*.tmp-*"))
        rows = batch.run(folder, out, progress=False, process=whole)
        assert [row.state for row in rows] == ["done", "done"]
    assert number > 40


# several runs on one folder


def together(path, out, setups, air):
    """Begin when all runs have a product, so that none comes when the others end."""
    (out.parent / f"begun-{os.getpid()}").touch()
    while len(list(out.parent.glob("begun-*"))) < int(os.environ["N_RUNS"]):
        time.sleep(0.01)
    time.sleep(0.02)
    return process(path, out, setups, air)


SHARING = """
import os, sys
sys.path[:0] = sys.argv[1].split(os.pathsep)
from tgo_spectra.batch import products as batch
from test_83_runs import together
for k in range(int(sys.argv[4])):
    sys.stdin.readline()
    folder, out = f"{sys.argv[2]}/{k}", f"{sys.argv[3]}/{k}"
    rows = batch.run(folder, out, progress=False, process=together)
    print(*(row.state for row in rows), flush=True)
"""


def test_run__several_share_a_folder(tmp_path):
    """Each product once, in all rounds; each run knows of all at its end."""
    n_runs, n_rounds = 3, 4
    names = [*(f"p{k}" for k in range(20)), "raises-1"]
    for k in range(n_rounds):
        (tmp_path / "in").mkdir(exist_ok=True)
        make_products(tmp_path / "in" / str(k), names)
    given = [PLACES, str(tmp_path / "in"), str(tmp_path / "out")]
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SHARING, *given, str(n_rounds)],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "N_RUNS": str(n_runs)},
        )
        for _ in range(n_runs)
    ]  # fmt: skip
    for k in range(n_rounds):
        for one in runs:
            one.stdin.write("go\n")
            one.stdin.flush()
        states = [one.stdout.readline().split() for one in runs]
        out = tmp_path / "out" / str(k)
        assert tries(out) == dict.fromkeys(names, 1), k
        assert [len(row) for row in states] == [len(names)] * n_runs
        assert [row.count("failed") for row in states] == [1] * n_runs
        assert quarantine(out) == {"raises-1": "some.rule"}
        assert json.loads((out / "run.json").read_text())["results"]["failed"] == 1
        assert len(list(out.glob("journal*.jsonl"))) == n_runs
        assert not (out / "claims").exists()
    for one in runs:
        with one:
            pass
        assert one.returncode == 0


def test_claims__of_dead_runs_are_taken_over(tmp_path, monkeypatch):
    from tgo_spectra.batch.claims import Claims

    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    with Claims(tmp_path) as mine, Claims(tmp_path) as other:
        assert mine.take("a")
        assert not other.take("a")
        mine.release("a")
        mine.release("a")
        assert other.take("a")
        mine.release("a")  # not its own
        assert not mine.take("a")
        # a process of this host that is gone
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:
            pass
        tag = mine.run.partition("-")[0]
        other._file("b").write_text(f"{tag}-{gone.pid}-0")
        assert mine.take("b")
        # another host: by its signs of life alone, whatever its clock says
        sign = tmp_path / "claims" / "0123abcd-1-0.run"
        for text in ("0", "1", "2"):
            sign.write_text(text)
            mine._file("c").write_text(sign.stem)
            os.utime(sign, (0, 0))
            assert not mine.take("c")
            now[0] += 50.0
            assert not mine.take("c")
        now[0] += 20.0
        assert mine.take("c")
        assert not other.take("c")
        # left half-written
        mine._file("d").write_text("")
        assert not other.take("d")
        now[0] += 61.0
        assert other.take("d")
    assert not list((tmp_path / "claims").glob("*[!n]"))


def test_sweep__by_age_where_the_writer_cannot_be_asked(tmp_path):
    from tgo_spectra.files.atomic import host_tag, sweep_temporary

    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    day = time.time() - 90_000.0
    kept, swept = [], []
    for host, pid, when, left in (
        (host_tag(), os.getpid(), day, True),
        (host_tag(), gone.pid, None, False),
        ("0123abcd", gone.pid, None, True),  # a process of the same number elsewhere
        ("0123abcd", os.getpid(), day, False),
    ):
        file = tmp_path / f"a.nc.tmp-{host}-{pid}-{len(kept) + len(swept):012x}"
        file.write_text("half")
        if when is not None:
            os.utime(file, (when, when))
        (kept if left else swept).append(file.name)
    (tmp_path / "b.tmp-file").write_text("a user's")
    assert sweep_temporary(tmp_path) == 2
    assert {p.name for p in tmp_path.iterdir()} == {*kept, "b.tmp-file"}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_host_tag__tells_containers_of_one_host_apart():
    from tgo_spectra.files.atomic import host_tag

    script = "from tgo_spectra.files.atomic import host_tag; print(host_tag())"
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no other name space of processes here: {done.stderr.strip()}")
    assert done.stdout.strip() != host_tag()


# shards, lists, status


def test_run__shards_are_parts_and_status_sees_them_as_one(tmp_path, capsys):
    names = [*(f"p{k}" for k in range(20)), "raises-1", "raises-2"]
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    parts = [
        batch.run(folder, out, shard=(k, 3), progress=False, process=process)
        for k in (1, 2, 3)
    ]
    found = [Path(row.product).stem for part in parts for row in part]
    assert sorted(found) == sorted(names)
    assert tries(out) == dict.fromkeys(names, 1)
    assert min(map(len, parts)) > 0
    assert {p.name for p in out.glob("*.json*")} == {
        f"{name}-{k}-of-3.{end}"
        for k in (1, 2, 3)
        for name, end in (
            ("journal", "jsonl"),
            ("quarantine", "jsonl"),
            ("run", "json"),
        )
    }
    # the part of a product does not change with what else there is
    (folder / "p0.xml").unlink()
    make_products(folder, ["q"])
    again = [
        batch.run(folder, out, shard=(k, 3), progress=False, process=process)
        for k in (1, 2, 3)
    ]
    for before, after in zip(parts, again, strict=True):
        former = {row.product for row in before} - {str(folder / "p0.xml")}
        assert former == {r.product for r in after} - {str(folder / "q.xml")}
    assert cli.main(["status", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 done, 19 skipped, 2 failed")
    assert said[1] == "failed 2 some.rule"
    assert sum(line.startswith("slowest ") for line in said) == 3
    # what a run that was killed leaves
    make_products(folder, ["r1", "r2"])
    record = json.loads((out / "run-1-of-3.json").read_text())
    (out / "run-1-of-3.json").write_text(json.dumps(record | {"products": 90}))
    assert cli.main(["status", str(out)]) == 0
    assert " left, runs at work: 0" in capsys.readouterr().out
    assert cli.main(["status", str(folder)]) == 1
    assert "batch.no_journal" in capsys.readouterr().err
    for shard in ((0, 3), (4, 3)):
        with pytest.raises(TgoError) as caught:
            batch.run(folder, out, shard=shard, progress=False)
        assert caught.value.rule == "batch.shard"


def test_cli__lists_and_shards(tmp_path, monkeypatch, capsys):
    given = []

    def run(products, *args, **more):
        given.append((products, more.get("shard")))
        return []

    monkeypatch.setattr(batch, "run", run)
    listed = tmp_path / "list.txt"
    listed.write_text("b.xml\n\n  c d.xml  \n")
    start = ["retrieve", "--out", "o"]
    assert cli.main([*start, "a.xml", "--from", str(listed), "--shard", "3/8"]) == 0
    assert given == [(("a.xml", "b.xml", "c d.xml"), (3, 8))]
    listed.write_text("")
    for more in (["--from", str(listed)], [], ["a", "--shard", "0/8"],
                 ["a", "--shard", "9/8"], ["a", "--shard", "x"]):  # fmt: skip
        assert cli.main([*start, *more]) == 64
    done = subprocess.run(
        [sys.executable, "-m", "tgo_spectra.cli", "retrieve", "--from", "-", "--out",
         str(tmp_path / "o"), "--workers", "0"],
        input=f"{tmp_path / 'no.xml'}\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "0 done, 0 skipped, 1 failed" in done.stdout


def test_progress__a_line_a_minute(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    with loop.Progress(100, shown=True) as bar, loop.Progress(9, shown=False) as none:
        for k in range(30):
            now[0] += 10.0
            bar.advance(ProductStatus("a", "failed" if k == 3 else "done"))
            bar.say()
            none.say()
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 5
    assert err[0] == "6 of 100, 1 failed: 6.0 products a minute, 15.7 min left"


def test_progress__a_bar_in_a_notebook(monkeypatch, capsys):
    shown = []

    class Handle:
        update = shown.append

    def display(first, *, display_id):
        assert display_id
        shown.append(first)
        return Handle

    shell = types.SimpleNamespace(kernel=None)
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    page = types.SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    with loop.Progress(2, shown=True) as bar:
        bar.advance(ProductStatus("a", "done"))
        bar.advance(ProductStatus("b", "failed"))
        bar.say()
    assert 'value="0" max="2"' in shown[0]
    assert shown[-1].endswith("2 of 2 products, 1 failed")
    assert not capsys.readouterr().err


def test_progress__says_once_what_compiling_took(capsys):
    first = ProductStatus("a", "done", seconds=21.0, compile_seconds=18.2)
    with loop.Progress(3, shown=True) as bar, loop.Progress(1, shown=False) as none:
        for row in (first, first, ProductStatus("b", "done", seconds=2.0)):
            bar.advance(row)
        none.advance(first)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("18 of the 21 s of the first product compiled code")


def test_timed_compilation__is_of_what_is_compiled():
    kernel = numba.njit(lambda x: x + 1)
    for found in (1, 0):
        with timed_compilation() as spent:
            kernel(1)
        assert len(spent) == found
        assert all(seconds > 0.0 for seconds in spent)


@posix
def test_run__kills_lose_nothing(tmp_path, monkeypatch):
    import kills

    # five seconds of work, whose end does not come before that of the kills
    monkeypatch.setenv("KILLS_PAUSE_S", "0.4")
    monkeypatch.setattr(kills, "BETWEEN_S", 0.6)
    found = kills.campaign(tmp_path, 24, 4)
    assert kills.kept(found), found
    assert found["kills"] == dict.fromkeys(kills.TURN[:4], 1) | {"scheduler": 0}
