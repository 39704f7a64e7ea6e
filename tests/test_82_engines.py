"""Engines: the same contract for this process, own processes and a Dask cluster."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import psutil
import pytest
from job_commands import lay_out

from tgo_spectra.batch import workers
from tgo_spectra.batch.engines import Death, Here, mapped
from tgo_spectra.batch.workers import GB, Workers, memory_of_machine
from tgo_spectra.errors import TgoError, TgoWarning

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def engine_of(tmp_path_factory):
    """Make an engine of each kind; the workers of a cluster are threads of this one."""
    from distributed import Client

    from tgo_spectra.batch.jobs import jobs_of
    from tgo_spectra.batch.schedulers import OnCluster

    folder = tmp_path_factory.mktemp("jobs")
    with (
        Client(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as client,
        pytest.MonkeyPatch.context() as patch,
        jobs_of("slurm", lay_out(folder, patch), folder) as jobs,
    ):
        kinds = {
            "here": Here,
            "workers": lambda: Workers(2, timeout_s=60.0, memory=4 * GB),
            "cluster": lambda: OnCluster(client, timeout_s=60.0),
            "jobs": lambda: OnCluster(jobs, timeout_s=60.0),
        }
        yield lambda name: kinds[name]()


def double(item):
    return 2 * item, os.getpid()


def outcomes(engine, items):
    """What a run does: everything that is submitted comes back, in any order."""
    found, waiting, running, most = {}, list(items), 0, 0
    while waiting or running:
        while waiting and engine.room > 0:
            engine.submit(waiting.pop(0))
            running += 1
        most = max(most, running)
        one = engine.finished(0.5)
        if one is not None:
            running -= 1
            assert one[0] not in found
            found[one[0]] = one[1]
    return found, most


@pytest.mark.parametrize("kind", ["here", "workers", "cluster", "jobs"])
def test_engine__contract(engine_of, kind):
    with engine_of(kind) as engine:
        assert engine.room > 0
        assert engine.finished(0.0) is None
        engine.use(double)
        found, most = outcomes(engine, range(30))
        assert {item: value for item, (value, _) in found.items()} == {
            item: 2 * item for item in range(30)
        }
        assert most <= {"here": 1, "workers": 2}.get(kind, 8)
        pids = {pid for _, pid in found.values()}
        assert (os.getpid() in pids) is (kind not in ("workers", "jobs"))
        # another task for the same engine, and what does not come to an end is dropped
        assert mapped(engine, str, [3, 1, 2]) == ["3", "1", "2"]
        engine.use(time.sleep)
        engine.submit(0.3)
    assert engine.room > 0


class Slow:
    """A future whose answer is lost a few times with its worker."""

    def __init__(self, number, times_lost):
        self.key, self.times_lost, self.waits = f"key {number}", times_lost, []
        self.released = False

    def add_done_callback(self, call):
        call(self)

    def exception(self, timeout):
        self.waits.append(timeout)

    def result(self, timeout):
        self.waits.append(timeout)
        if len(self.waits) <= 2 * self.times_lost:
            raise TimeoutError
        return f"answer of {self.key}"

    def release(self):
        self.released = True


def client_of(nthreads, submit=None):
    """What the engine asks of a client."""
    return types.SimpleNamespace(
        status="running", nthreads=lambda callback_timeout: nthreads(), submit=submit
    )


def test_cluster__a_scheduler_that_does_not_answer(monkeypatch, caplog):
    """The number of workers stays; a lost connection is not waited for."""
    from tgo_spectra.batch import schedulers

    now, answers = [0.0], [{"a": 4, "b": 4}]
    monkeypatch.setattr(schedulers.time, "monotonic", lambda: now[0])

    def nthreads():
        if not answers:
            raise TimeoutError
        return answers.pop()

    client = client_of(nthreads)
    engine = schedulers.OnCluster(client)
    for _ in range(20):
        assert engine.room == 24
        now[0] += 1.0
    assert caplog.text.count("the scheduler does not answer") == 1
    answers.append({"a": 8, "b": 4})
    assert engine.room == 36
    client.status = "connecting"
    for call in (lambda: engine.room, lambda: engine.submit(1)):
        now[0] += 1.0
        with pytest.raises(TgoError, match="is lost") as caught:
            call()
        assert caught.value.rule == "batch.scheduler_lost"


def test_cluster__an_answer_that_is_lost_is_waited_for_again():
    """The item stays taken, the run looks up meanwhile, and each wait is longer."""
    from tgo_spectra.batch.schedulers import OnCluster

    made = [Slow(0, 2), Slow(1, 0)]
    todo = iter(made)
    client = client_of(lambda: {"w": 1}, lambda *_, **__: next(todo))
    engine = OnCluster(client)
    room = engine.room
    engine.use(double)
    engine.submit("a")
    assert engine.finished(0.1) is None
    assert engine.finished(0.1) is None
    assert engine.room == room - 1
    assert not made[0].released
    assert engine.finished(0.1) == ("a", "answer of key 0")
    assert made[0].waits == [2.0, 2.0, 4.0, 4.0, 8.0, 8.0]
    assert made[0].released
    assert engine.room == room
    # a wait that was long is not inherited
    engine.submit("b")
    assert engine.finished(0.1) == ("b", "answer of key 1")
    assert made[1].waits == [2.0, 2.0]
    # without the connection nobody waits
    made[1].times_lost, todo = 9, iter([made[1]])
    engine.submit("c")
    client.status = "closed"
    with pytest.raises(TgoError, match="is lost") as caught:
        engine.finished(0.1)
    assert caught.value.rule == "batch.scheduler_lost"


def ends(how):
    """Leave this process in one of several ways."""
    if how == "exit":
        os._exit(3)
    elif how == "leave":
        sys.exit(4)
    elif how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "hang":
        while True:
            pass
    elif how == "memory":
        kept = []
        while True:
            kept.append(b"x" * 50_000_000)
            time.sleep(0.02)
    return how


@posix
def test_workers__what_ends_a_process_is_the_outcome_of_its_item():
    items = ["exit", "leave", "segfault", "killed", "hang", "memory", *range(20)]
    with Workers(2, timeout_s=3.0, memory=0.6 * GB) as engine:
        engine.use(ends)
        found, _ = outcomes(engine, items)
    assert [found[k] for k in range(20)] == list(range(20))
    deaths = {item: found[item] for item in items[:6]}
    assert {type(one) for one in deaths.values()} == {Death}
    assert {item: (one.rule, one.tries) for item, one in deaths.items()} == {
        "exit": ("batch.worker_died", 2),
        "leave": ("batch.worker_died", 2),
        "segfault": ("batch.worker_died", 2),
        "killed": ("batch.worker_died", 4),
        "hang": ("batch.timeout", 2),
        "memory": ("batch.memory", 2),
    }
    for item, words in (
        ("exit", "exit code 3"),
        ("leave", "exit code 4"),
        ("segfault", "SIGSEGV"),
        ("killed", "SIGKILL, as by a system that is out of memory"),
        ("hang", "took more than 3 s"),
        ("memory", "took more than 0.6 GB"),
    ):
        assert words in deaths[item].message
    with Workers(1) as engine, pytest.raises(TgoError) as caught:
        mapped(engine, ends, ["exit"])
    assert (caught.value.rule, caught.value.value) == ("batch.worker_died", "exit")


def speaks(item):
    if item == "raise":
        message = "a fault"
        raise TgoError(message, rule="some.rule")
    if item == "local":
        return lambda: None
    print("not an answer")
    warnings.warn("heard of", TgoWarning, stacklevel=1)
    logging.getLogger("tgo_spectra.x").warning("item %s", item)
    return item


def test_workers__what_they_say_is_said_here(caplog, capfd, monkeypatch):
    with Workers(1) as engine:
        with pytest.warns(TgoWarning, match="heard of"):
            assert mapped(engine, speaks, [1]) == [1]
        with pytest.raises(TgoError) as caught:
            mapped(engine, speaks, ["raise"])
        assert caught.value.rule == "some.rule"
        with pytest.raises(RuntimeError, match="cannot be sent"):
            mapped(engine, speaks, ["local"])
    assert ("tgo_spectra.x", logging.WARNING, "item 1") in caplog.record_tuples
    assert "not an answer" in capfd.readouterr().err
    with pytest.raises(TgoError) as caught:
        Workers(1).use(threading.Lock().acquire)
    assert caught.value.rule == "batch.task"
    # what the worker cannot import
    module = types.ModuleType("only_here")
    exec("def task(item): ...", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    with Workers(1) as engine, pytest.raises(TgoError, match="only_here") as caught:
        mapped(engine, module.task, [1])
    assert caught.value.rule == "batch.task"


def test_workers__that_do_not_start(monkeypatch):
    for executable in ("/bin/false", "/no/such/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with Workers(2) as engine, pytest.raises(TgoError, match="do not start") as e:
            mapped(engine, str, [1, 2])
        assert e.value.rule == "batch.no_workers"


def test_workers__one_thread_each_and_no_socket():
    assert memory_of_machine() > 0.1 * GB
    before = listening(psutil.Process())
    with Workers(1) as engine:
        (row,) = mapped(engine, looks, [0])
        assert listening(psutil.Process()) == before
    assert row["threads"] == ["1"] * 4
    # nothing that another user of the machine could connect to
    assert row["listening"] == 0
    assert not {"distributed", "xarray", "numpy"} & set(row["modules"])


def looks(_item):
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return {
        "threads": [os.environ[f"{name}_NUM_THREADS"] for name in names],
        "listening": listening(psutil.Process()),
        "modules": sorted(sys.modules),
    }


def listening(process):
    return sum(one.status == psutil.CONN_LISTEN for one in process.net_connections())


def test_memory_of_machine__is_that_of_the_job(tmp_path, monkeypatch):
    """The control group of this process and all that it is in, in both versions."""
    monkeypatch.setattr(workers, "_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr(workers, "_GROUPS", tmp_path / "groups")
    most = memory_of_machine()
    assert most == psutil.virtual_memory().total
    step = tmp_path / "groups" / "system.slice" / "job_7" / "step_0"
    step.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/system.slice/job_7/step_0\n")
    (step / "memory.max").write_text("max\n")
    assert memory_of_machine() == most
    (step.parent / "memory.max").write_text("1000000\n")
    assert memory_of_machine() == 1e6
    (step / "memory.max").write_text("500000\n")
    assert memory_of_machine() == 5e5
    job = tmp_path / "groups" / "memory" / "job_8"
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text("300000\n")
    (tmp_path / "cgroup").write_text("4:cpu,cpuacct:/x\n9:memory:/job_8\n")
    assert memory_of_machine() == 3e5
    (tmp_path / "cgroup").write_text("9:memory:/outside/of/this\n")
    assert memory_of_machine() == most


ORPHAN = """
import os, sys, time
from pathlib import Path
from tgo_spectra.batch.workers import Workers
def hangs(item):
    Path(item).write_text(str(os.getpid()))
    while True:
        pass
with Workers(2) as engine:
    engine.use(hangs)
    for item in sys.argv[1:]:
        engine.submit(item)
    while True:
        engine.finished(1.0)
"""


@posix
def test_workers__end_with_the_process_that_started_them(tmp_path):
    notes = [tmp_path / "a", tmp_path / "b"]
    with subprocess.Popen([sys.executable, "-c", ORPHAN, *map(str, notes)]) as driver:
        while not all(note.is_file() and note.read_text() for note in notes):
            assert driver.poll() is None
            time.sleep(0.05)
        pids = [int(note.read_text()) for note in notes]
        driver.send_signal(signal.SIGKILL)
    for _ in range(200):
        if not any(is_alive(pid) for pid in pids):
            break
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
