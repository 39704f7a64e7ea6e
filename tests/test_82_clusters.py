"""A real scheduler in processes of its own: encryption, workers that join and die."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import named_products as named
import pytest
from named_products import make_products

from tgo_spectra.batch import products as batch
from tgo_spectra.batch import task as batch_task
from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.batch.schedulers import connected
from tgo_spectra.batch.task import Task
from tgo_spectra.batch.workers import Workers
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the command openssl"
)


def process(path, out, setups, air):
    """What the name of the product says, and where its worker is."""
    return named.process(path, out, setups, air) | {"message": str(Path.cwd())}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    files = {"ca": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return {name: str(folder / file) for name, file in files.items()}


@pytest.fixture(scope="module")
def start(certificates, tmp_path_factory):
    """Start the scheduler or a worker of it; both are killed in the end."""
    folder = tmp_path_factory.mktemp("cluster")
    tls = [f"--tls-{n}{'-file' * (n == 'ca')}={f}" for n, f in certificates.items()]
    started = []
    once = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}

    def begin(what, *more):
        common = ["--scheduler-file", str(folder / "scheduler.json"), *tls, *more]
        one = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *common],
            env={**os.environ, **once, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        started.append(one)
        return one

    begin.file = folder / "scheduler.json"
    yield begin
    for one in started:
        with contextlib.suppress(OSError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@needs_openssl
def test_cluster__life_of_one(
    start, certificates, tmp_path, caplog, capfd, monkeypatch
):
    scheduler = start(
        "scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0",
        "--no-dashboard",
    )  # fmt: skip
    names = ["exits", "hangs", *(f"p{k}" for k in range(12))]
    folder, out = make_products(tmp_path / "in", names), tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    with connected(str(start.file), certificates, is_file=True) as client:
        assert client.scheduler.address.startswith("tls://")
        # without the certificates nobody gets in
        address = json.loads(start.file.read_text())["address"]
        plain = address.replace("tls://", "tcp://")
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            for place, rule in ((address, "batch.scheduler"), (plain, "batch.sch")):
                with pytest.raises(TgoError) as caught, connected(place):
                    pass
                assert caught.value.rule.startswith(rule)
        # it is said that there are no workers; those that come are taken
        late = []

        def come(text, *args):
            if "no workers" in str(text):
                more = ("--nthreads", "1", "--no-dashboard")
                late.extend(start("worker", *more) for _ in range(2))

        monkeypatch.setattr("tgo_spectra.batch.schedulers._LOG.warning", come)
        rows = batch.run(
            "in", "out", client=client, process=process, progress=False, timeout_s=2.0
        )
        assert len(late) == 2
        by = {Path(row.product).stem: row for row in rows}
        for name in ("exits", "hangs"):
            assert by[name].rule == "batch.worker_died"
        done = [by[f"p{k}"] for k in range(12)]
        assert {row.state for row in done} == {"done"}
        # names of files begin where they were given, also elsewhere
        assert {row.message for row in done} == {str(tmp_path)}
        assert all(Path(row.product).is_absolute() for row in rows)
    # the scheduler dies: one line, an exit code, and what is done stands written
    make_products(folder, [f"slow-{k}" for k in range(40)])
    (folder / "exits.xml").unlink()
    (folder / "hangs.xml").unlink()
    monkeypatch.setattr(batch, "process_product", process)
    monkeypatch.setattr(
        "tgo_spectra.batch.loop.Progress.advance",
        lambda *_: os.killpg(scheduler.pid, signal.SIGKILL),
    )
    caplog.clear()
    capfd.readouterr()
    given = ["retrieve", "in", "--out", "out", "--scheduler-file", str(start.file)]
    assert main([*given, *(f"--tls-{n}={f}" for n, f in certificates.items())]) == 1
    said = capfd.readouterr().err.splitlines()
    (line,) = [one for one in said if one and not one.startswith("warning: ")]
    assert line.startswith("error: the connection to the Dask scheduler is lost")
    assert not [one for one in caplog.records if one.levelno > logging.WARNING]
    found = json.loads((out / "run.json").read_text())["results"]
    assert found["done"] + found["skipped"] >= 1
    assert not (out / "claims").exists()


@pytest.mark.parametrize("command", ["retrieve", "map"])
def test_scheduler__options(tmp_path, capsys, certificates, command):
    import distributed.config  # noqa: F401 - its defaults, before one is set

    make_products(tmp_path / "in", ["a"])
    given = [command, str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    address = ["--scheduler", "tls://127.0.0.1:1"]
    cert, key = certificates["cert"], certificates["key"]
    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        for more, code, words in (
            (["--tls-ca", cert], 64, "need --scheduler"),
            ([*address, "--scheduler-file", "x.json"], 64, "give one"),
            ([*address, "--tls-ca", cert], 1, "no cert"),
            ([*address, "--tls-ca", key, "--tls-cert", cert, "--tls-key", key], 1,
             "cannot be used"),
            (["--scheduler-file", str(tmp_path / "no.json")], 1, "within 0.2 s"),
            (["--scheduler", "tcp://127.0.0.1:1", "--tls-ca", cert, "--tls-cert", cert,
              "--tls-key", key], 1, "begins with tls://"),
        ):  # fmt: skip
            assert main([*given, *more]) == code, more
            err = capsys.readouterr().err
            assert words in err
            assert sum(line.startswith("error: ") for line in err.splitlines()) == 1


def test_task__a_worker_that_does_not_see_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_task, "_SEEN_S", 0.1)
    path = make_products(tmp_path, ["a"]) / "a.xml"
    row = Task(process, tmp_path, (), None, tmp_path / "token")(path)
    assert (row.state, row.rule) == ("failed", "batch.not_shared")
    assert "must be on a disk that all share" in row.message
    (tmp_path / "token").write_text("")
    assert Task(process, tmp_path, (), None, tmp_path / "token")(path).state == "done"
    # a product that is there, but not for the worker
    monkeypatch.setattr(
        batch,
        "process_product",
        lambda *_: {"state": "failed", "rule": "product.missing"},
    )
    with pytest.raises(TgoError, match="must see one disk") as caught:
        batch.run(path, tmp_path / "out", progress=False)
    assert caught.value.rule == "batch.not_shared"
    assert isinstance(row, ProductStatus)


INTRUDER = """
for name in fd/0 fd/1 mem environ; do
    head -c 1 /proc/$1/$name 2>/dev/null && echo read $name
    (echo x >>/proc/$1/$name) 2>/dev/null && echo written $name
done
kill -0 $1 2>/dev/null && echo signalled
id -u
"""


@pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root, setpriv"
)
def test_workers__another_user_is_kept_out():
    with Workers(1) as engine:
        engine.use(time.sleep)
        engine.submit(30.0)
        assert engine.finished(1.0) is None
        (worker,) = engine._workers
        uid = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        found = [
            subprocess.run(
                [*who, "sh", "-c", INTRUDER, "sh", str(worker.process.pid)],
                capture_output=True, text=True, check=True, timeout=20,
            ).stdout.split("\n")[:-1]
            for who in (uid, [])
        ]  # fmt: skip
    assert found[0] == ["65534"]
    assert len(found[1]) > 1  # the owner
