"""Workers as jobs of a batch system: replaced when lost, nobody else let in."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

import pytest
from job_commands import JOB, lay_out

from tgo_spectra.batch import jobs
from tgo_spectra.batch.jobs import jobs_of
from tgo_spectra.batch.schedulers import OnCluster, connected
from tgo_spectra.cli import main
from tgo_spectra.errors import TgoError


def where(item):
    time.sleep(0.2)
    return item, os.getppid()


def test_jobs__one_that_is_lost_is_replaced(tmp_path, monkeypatch):
    file = lay_out(tmp_path, monkeypatch)
    monkeypatch.setattr(jobs, "_LOST_S", 0.5)
    monkeypatch.setattr(jobs, "_IDLE_S", 1.0)
    monkeypatch.setattr(jobs, "_LOOK_MS", 200.0)
    with jobs_of("slurm", file, tmp_path / "out") as client:
        address = client.scheduler.address
        assert address.startswith("tls://")
        with pytest.raises(TgoError), connected(address):
            pass
        keys = list((tmp_path / "out" / "jobs").rglob("*"))
        private = [one for one in keys if "certificates" in str(one)]
        assert len(private) == 4  # the folder, authority, certificate and key
        assert not any(stat.S_IMODE(one.stat().st_mode) & 0o077 for one in private)
        with OnCluster(client) as engine:
            engine.use(where)
            todo, found, killed = list(range(40)), {}, 0
            while len(found) < 40:
                while todo and engine.room > 0:
                    engine.submit(todo.pop())
                one = engine.finished(0.5)
                if one is not None:
                    assert one[0] == one[1][0]
                    found[one[0]] = one[1][1]
                if len(found) == 4 and not killed:
                    killed = found[one[0]]  # the nanny, which starts workers again
                    os.killpg(os.getpgid(killed), signal.SIGKILL)
            assert len(set(found.values())) == 2  # a job and the one after it
        # without work there is no job
        until = time.monotonic() + 30.0
        while client.scheduler_info()["workers"]:
            assert time.monotonic() < until
            time.sleep(0.2)
    assert not any("certificates" in str(one) for one in (tmp_path / "out").rglob("*"))


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        (JOB.replace("cores", "core"), "core", "did you mean cores?"),
        (JOB.replace("cores = 2\n", ""), "cores", "at least 1"),
        (JOB.replace("jobs = 1", "jobs = true"), "jobs", "at least 1"),
        (JOB + "security = true\n", "security", "no choice for a job of slurm"),
        (JOB.replace('"4GB"', '"much"'), "memory", 'such as "64GB"'),
        (JOB.replace('"4GB"', '"4GB'), None, "not valid TOML"),
        (JOB.replace('"lo"', '"nowhere"'), "interface", "not among lo"),
    ],
)
def test_jobs__what_is_wrong_in_the_file(tmp_path, monkeypatch, text, field, words):
    file = lay_out(tmp_path, monkeypatch, text)
    begun = jobs_of("slurm", file, tmp_path)
    with pytest.raises(TgoError, match=words.replace("?", r"\?")) as caught, begun:
        pass
    assert (caught.value.rule, caught.value.field) == ("batch.jobs", field)
    assert caught.value.path == str(file)


@pytest.mark.parametrize("system", jobs.SYSTEMS)
def test_jobs__of_each_system_can_be_described(tmp_path, system):
    """Workers of one thread that leave before the end of their time."""
    import dask_jobqueue

    file = tmp_path / "job.toml"
    wall = "" if system == "htcondor" else 'walltime = "10:00"'
    more = {
        "htcondor": 'disk = "1GB"', "oar": 'memory_per_core_property_name = "m"'
    }.get(system, "")  # fmt: skip
    file.write_text(f'cores = 4\nmemory = "8GB"\njobs = 3\n{wall}\n{more}\n')
    kind = getattr(dask_jobqueue, jobs.SYSTEMS[system])
    found = jobs._choices(kind, system, file)
    script = kind.job_cls("tls://h:1", name="a", **found.options).job_script()
    assert "--nthreads 1" in script
    assert "--nworkers 4" in script
    assert "NUMBA_NUM_THREADS=1" in script
    wanted = {"lsf": "34200s", "htcondor": None}.get(system, "480s")
    assert ("--lifetime" in script) is (wanted is not None)
    assert wanted is None or f"--lifetime {wanted} --lifetime-stagger" in script


@pytest.mark.parametrize("minutes", [10, 40, 240, 1440])
def test_jobs__the_last_worker_leaves_before_the_end(tmp_path, minutes):
    """At the end of the spread there is still half of what is spared."""
    import dask_jobqueue

    file = tmp_path / "job.toml"
    wall = f"{minutes // 60:02}:{minutes % 60:02}:00"
    file.write_text(f'cores = 4\nmemory = "8GB"\njobs = 3\nwalltime = "{wall}"\n')
    found = jobs._choices(dask_jobqueue.SLURMCluster, "slurm", file)
    given = found.options["worker_extra_args"]
    life, spread = (
        float(given[given.index(name) + 1].rstrip("s"))
        for name in ("--lifetime", "--lifetime-stagger")
    )
    spare = max(120.0, 3.0 * minutes)
    assert spread > 0.0
    assert life + spread <= 60.0 * minutes - 0.5 * spare


def test_cli__one_system(tmp_path, capsys):
    file = tmp_path / "job.toml"
    file.write_text(JOB)
    given = ["retrieve", "x", "--out", str(tmp_path), "--slurm", str(file)]
    assert main([*given, "--pbs", str(file)]) == 64
    assert "give one scheduler, or one system" in capsys.readouterr().err
    assert main([*given, "--scheduler", "tls://h:1"]) == 64
    # certificates are made by itself
    assert main([*given, "--tls-ca", str(file)]) == 64
    assert Path(file).is_file()
