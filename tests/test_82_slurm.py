"""A real Slurm of one node: the job scripts of the examples give the same results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tgo_spectra as tgo
from tgo_spectra.batch import products as batch
from tgo_spectra.cli import main
from tgo_spectra.files.netcdf import open_verified

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "cluster"
NODE = Path(__file__).parent / "cluster" / "slurm.sh"
COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch")
MISSING = [one for one in COMMANDS if shutil.which(one) is None]
ENV = os.environ | {
    "OMP_NUM_THREADS": "1",
    # the command of this environment, also where that is not active
    "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
}
N_PRODUCTS, DAMAGED = 5, 3
LONG_S = 240.0  # only ends what hangs

needs_slurm = pytest.mark.skipif(
    bool(MISSING) or os.geteuid() != 0,
    reason=f"needs root and Slurm (tests/cluster/slurm.sh install), no {MISSING}",
)


def needs(command):
    return pytest.mark.skipif(
        shutil.which(command, path=ENV["PATH"]) is None,
        reason=f"needs the command {command}",
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Products of one bin, quick to fit; one of them is damaged."""
    folder = tmp_path_factory.mktemp("archive of a cluster")
    paths = [
        tgo.simulate_product(
            folder, order=134, seed=k, start=f"2019-01-{k + 1:02d}T03:00:00", n_bins=1
        )
        for k in range(N_PRODUCTS)
    ]
    table = paths[DAMAGED].with_suffix(".tab")
    table.write_bytes(table.read_bytes()[:-100])
    return folder


def hashes(out):
    return {
        file.name: open_verified(file).attrs["content_sha256"]
        for file in sorted((out / "l2").glob("*.nc"))
    }


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory):
    """What a run in one process on this machine gives."""
    out = tmp_path_factory.mktemp("plain")
    rows = batch.run(archive, out, workers=1, progress=False)
    assert sum(row.state == "failed" for row in rows) == 1
    found = hashes(out)
    assert len(found) == N_PRODUCTS - 1
    return found


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of commands for a Slurm that lives as long as these tests."""
    # its sockets have names of at most a hundred characters
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([NODE, "start", folder], check=True, timeout=60)
    yield ENV | {"SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run([NODE, "stop", folder], check=True, timeout=60)


def ask(env, *command, cwd=None):
    done = subprocess.run(
        [str(part) for part in command], env=env, cwd=cwd, check=False,
        capture_output=True, text=True, timeout=LONG_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def states(env, job):
    """State of each task of a job; Slurm remembers those that have ended."""
    lines = ask(env, "squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%i %T")
    return dict(line.split() for line in lines.splitlines())


def until(condition, what, seconds=LONG_S):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


def ended(env, job):
    live = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}
    return until(
        lambda: not live & set((found := states(env, job)).values()) and found,
        f"job {job} does not end: {states(env, job)}",
    )


@needs_slurm
def test_array_of_jobs__stopped_and_continued(archive, expected, slurm, tmp_path):
    out = tmp_path / "results"

    def submit():
        return ask(
            slurm, "sbatch", "--parsable", "--array=1-2", "--cpus-per-task=1",
            "--mem=2G", "--time=5", EXAMPLES / "array.sbatch", archive, out,
            cwd=tmp_path,
        )  # fmt: skip

    first = submit()
    # one is taken away
    until(
        lambda: states(slurm, first).get(f"{first}_2") == "RUNNING", "it does not begin"
    )
    ask(slurm, "scancel", f"{first}_2")
    until((out / "journal-1-of-2.jsonl").exists, "nothing is made")
    # as before the end of its time: the job lets go what it has, and is to go on later
    ask(slurm, "scancel", "--batch", "--signal=USR1", f"{first}_1")
    log = tmp_path / f"slurm-{first}_1.out"
    until(
        lambda: states(slurm, first)[f"{first}_1"] == "PENDING",
        f"the job was not put back: {log.read_text()}",
    )
    assert "stopped, " in log.read_text()
    ask(slurm, "scontrol", "update", f"jobid={first}_1", "starttime=now")
    # one product is damaged: its part has failed, for Slurm
    assert ended(slurm, first) == {f"{first}_1": "FAILED", f"{first}_2": "CANCELLED"}
    assert hashes(out).items() <= expected.items()
    second = submit()
    assert sorted(ended(slurm, second).values()) == ["COMPLETED", "FAILED"]
    assert hashes(out) == expected
    assert len(list(out.glob("quarantine-*-of-2.jsonl"))) == 2
    assert not list(out.glob("l2/*.tmp-*"))
    assert main(["status", str(out)]) == 0


JOBS = """
cores = 1
memory = "2GB"
walltime = "00:05:00"
jobs = 2
interface = "lo"
"""


@needs_slurm
def test_jobs_as_workers__cancelled_and_out_of_time(archive, expected, slurm, tmp_path):
    """One job holds a product until it is out of its time; the other is taken away."""
    out = tmp_path / "results"
    (tmp_path / "jobs.toml").write_text(JOBS)
    with subprocess.Popen(
        ["tgo-spectra", "retrieve", archive, "--out", out, "--slurm", "jobs.toml"],
        env=slurm, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as driver:  # fmt: skip

        def running():
            lines = ask(slurm, "squeue", "-h", "-t", "running", "-o", "%i")
            return lines.split()

        until(lambda: len(running()) == 2, "no two jobs")
        one, other = running()
        until(lambda: (out / "journal.jsonl").exists(), "nothing is made")
        # what it has it keeps till its time is over, or a fast run would end before
        ask(slurm, "scancel", "--full", "--signal=STOP", one)
        # that is now, which Slurm sees within half a minute
        soon = time.strftime("%FT%T", time.localtime(time.time() + 2.0))
        ask(slurm, "scontrol", "update", f"jobid={one}", f"endtime={soon}")
        ask(slurm, "scancel", other)
        _, said = driver.communicate(timeout=LONG_S)
    assert driver.returncode == 2, said
    assert states(slurm, one) == {one: "TIMEOUT"}
    assert states(slurm, other) == {other: "CANCELLED"}
    assert hashes(out) == expected
    assert not list((out / "jobs").glob(".cert*"))


@needs("parallel")
def test_parallel(archive, expected, tmp_path):
    out = tmp_path / "results of parallel"
    done = subprocess.run(
        [EXAMPLES / "parallel.sh", archive, out], env=ENV, check=False, timeout=LONG_S
    )
    assert done.returncode == 1  # the part of the damaged product
    assert hashes(out) == expected


@needs("snakemake")
def test_snakemake(archive, expected, tmp_path):
    out = tmp_path / "results of snakemake"
    ask(
        ENV, "snakemake", "--cores", "2", "--snakefile", EXAMPLES / "Snakefile",
        "--config", f"archive={archive}", f"results={out}", "parts=3", cwd=tmp_path,
    )  # fmt: skip
    assert hashes(out) == expected
    assert len(list(out.glob("part-*.done"))) == 3
