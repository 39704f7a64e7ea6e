"""Workers as jobs of a batch system (Slurm, PBS ...), by dask-jobqueue.

How many jobs there are follows the work here, not by Dask's own rule: that one does not
replace a job of several processes that is gone (cancelled, out of time), and may end a
job of which one process is idle while the others work.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import inspect
import math
import re
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.workers import ONE_THREAD
from tgo_spectra.errors import SetupError, TgoError
from tgo_spectra.files.atomic import output_folder
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client
    from distributed.security import Security

__all__ = ["SYSTEMS", "jobs_of"]

SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "moab": "MoabCluster",
    "htcondor": "HTCondorCluster",
}
"""Classes of dask-jobqueue."""
_OWN = {"jobs", "minimum_jobs", "lifetime"}
# said here, or of no use
_FIXED = frozenset(
    {
        *("self", "scheduler", "name", "protocol", "security", "config_name"),
        *("extra", "env_extra", "header_skip", "job_extra", "project"),
        *("nanny", "base_class_kwargs", "kwargs"),
    }
)
_NO_PAGES = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
_LOOK_MS = 1000.0
_LOST_S = 15.0  # without any of its workers, until a job is replaced
_IDLE_S = 60.0  # until a job without work is ended
_SPARE_S, _SPARE = 120.0, 0.05  # of a wall time, before which a worker leaves by itself
# of its life, by which it leaves earlier or later: half of what it spares, so that the
# last one does not meet the end of its job
_STAGGER = 0.5 * _SPARE


@contextlib.contextmanager
def jobs_of(system: str, file: str | Path, folder: str | Path) -> Iterator[Client]:
    """Start a scheduler here whose workers are jobs of a batch system.

    `file` (TOML) says what a job is, in the names of dask-jobqueue, and ``jobs``, the
    most at a time, ``minimum_jobs`` and ``lifetime`` (s). Nobody without the
    certificates, made anew and kept in `folder` while it lives, can connect; logs are
    in its folder ``jobs``. TgoError: ``batch.no_jobqueue``, ``batch.jobs``.
    """
    try:
        import dask
        import dask_jobqueue
        from distributed import Client
        from distributed.security import Security

        made = Security.temporary()  # type: ignore[no-untyped-call]
    except ImportError as error:
        message = "jobs need dask-jobqueue: pip install 'tgo-spectra[cluster]'"
        raise TgoError(message, rule="batch.no_jobqueue") from error
    logs = output_folder(Path(folder).absolute() / "jobs")
    kind = getattr(dask_jobqueue, SYSTEMS[system])
    choices = _choices(kind, system, file)
    choices.options.setdefault("log_directory", str(logs))
    quiet: dict[str, object] = {"distributed.scheduler.http.routes": []}
    with contextlib.ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix=".certificates-", dir=logs)
        security = _in_files(made, Path(stack.enter_context(place)))
        stack.enter_context(dask.config.set(quiet))
        try:
            cluster = kind(
                **choices.options,
                security=security,
                scheduler_options=_NO_PAGES | choices.scheduler_options,
            )
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            message = f"no job can be made of this: {error}"
            raise TgoError(message, path=file, rule="batch.jobs") from error
        stack.enter_context(cluster)
        watch = _Watch(cluster, choices)
        cluster.loop.add_callback(watch.start)
        stack.callback(cluster.loop.add_callback, watch.stop)
        yield stack.enter_context(Client(cluster))  # type: ignore[no-untyped-call]


def _in_files(made: Security, folder: Path) -> Security:
    """Give the same certificates in files, where workers find them."""
    from distributed.security import Security

    given: dict[str, str] = {}
    for name in ("ca_file", "client_cert", "client_key"):
        file = folder / f"{name}.pem"
        file.touch(mode=0o600)
        file.write_text(getattr(made, f"tls_{name}"))
        for role in ("client", "scheduler", "worker"):
            given[f"tls_{name.replace('client', role)}"] = str(file)
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True, **given
    )


@dataclass(frozen=True)
class _Choices:
    """What a job is, how many there may be, and what is said to the scheduler."""

    options: dict[str, Any]
    scheduler_options: dict[str, Any]
    jobs: int
    minimum: int


def _choices(kind: Any, system: str, file: str | Path) -> _Choices:
    """Read a file of choices, and add what was not chosen."""
    from dask.utils import parse_bytes

    path = expanded(file)
    raw: dict[str, Any] = dict(_read(path))
    names = set(inspect.signature(kind.job_cls.__init__).parameters)
    for base in kind.job_cls.__mro__[1:]:
        names |= set(inspect.signature(base.__init__).parameters)
    names = (names - _FIXED) | _OWN | {"scheduler_options"}
    for key in raw:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            message = f"no choice for a job of {system}{hint}"
            raise TgoError(message, path=path, field=key, rule="batch.jobs")
    for key, least in (("cores", 1), ("jobs", 1), ("minimum_jobs", 0)):
        value = raw.get(key, least if key == "minimum_jobs" else None)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            message = f"needed is a whole number, at least {least}"
            raise TgoError(
                message, path=path, field=key, value=value, rule="batch.jobs"
            )
    for key, default in (("minimum_jobs", 0), ("scheduler_options", {})):
        raw.setdefault(key, default)
    try:
        parse_bytes(raw.get("memory", ""))
    except (TypeError, ValueError):
        message = 'needed is that of a job, such as "64GB"'
        raise TgoError(
            message, path=path, field="memory", value=raw.get("memory"),
            rule="batch.jobs",
        ) from None  # fmt: skip
    more, most = raw.pop("scheduler_options"), raw.pop("jobs")
    network = more.get("interface", "" if "host" in more else raw.get("interface"))
    if network and network not in _networks():
        message = f"no network of this machine, not among {', '.join(_networks())}"
        raise TgoError(
            message, path=path, field="interface", value=network, rule="batch.jobs"
        )
    raw.setdefault("processes", raw["cores"])  # of one thread each
    prologue = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    raw["job_script_prologue"] = [*prologue, *raw.get("job_script_prologue", [])]
    arguments = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    lifetime = raw.pop("lifetime", None) or _lifetime(system, raw.get("walltime"))
    if lifetime:
        arguments += ["--lifetime", f"{lifetime:g}s"]
        arguments += ["--lifetime-stagger", f"{_STAGGER * lifetime:g}s"]
    raw["worker_extra_args"] = [*arguments, *raw.get("worker_extra_args", [])]
    return _Choices(raw, more, most, min(raw.pop("minimum_jobs"), most))


def _networks() -> list[str]:
    """Names of the network interfaces of this machine."""
    import psutil

    return sorted(psutil.net_if_addrs(), key=lambda name: (name != "lo", name))


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml":
        message = "what a job is stands in a file of TOML, *.toml"
        raise TgoError(message, path=path, rule="batch.jobs")
    from tgo_spectra.retrieval.setups import read_setup_file

    try:
        return read_setup_file(path)[0]
    except SetupError as error:
        message = error.message
        raise TgoError(message, path=path, rule="batch.jobs") from error


def _lifetime(system: str, walltime: Any) -> float | None:
    """Seconds after which a worker leaves by itself, well before its job is ended.

    None where no wall time is said, or one in a form that is not known.

    >>> _lifetime("slurm", "1-00:00:00"), _lifetime("lsf", "2:00")
    (82080.0, 6840.0)
    >>> _lifetime("slurm", "30"), _lifetime("slurm", "30:00")
    (1680.0, 1680.0)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(walltime))
    if not found:
        return None
    days, *parts = (None if part is None else float(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    # without days, Slurm's shorter forms are minutes and seconds, those of LSF hours
    if days is None and len(given) < 3 and system != "lsf":
        given.insert(0, 0.0)
    hours, minutes, seconds = [*given, 0.0, 0.0][:3]
    whole = 86_400.0 * (days or 0.0) + 3600.0 * hours + 60.0 * minutes + seconds
    return max(whole - max(_SPARE_S, _SPARE * whole), 0.5 * whole)


class _Watch:
    """Keeps as many jobs as there is work for; in the loop of the cluster."""

    def __init__(self, cluster: Any, choices: _Choices) -> None:
        self._cluster, self._choices = cluster, choices
        self._seen: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._ended: deque[Any] = deque(maxlen=64)  # else they may vanish half-way
        self._calls: Any = None

    def start(self) -> None:
        from tornado.ioloop import PeriodicCallback

        self._calls = PeriodicCallback(self.look, _LOOK_MS)
        self._calls.start()

    def stop(self) -> None:
        if self._calls is not None:
            self._calls.stop()

    def look(self) -> None:
        """Replace lost jobs, end idle ones, ask for those that are missing."""
        now, spec = time.monotonic(), self._cluster.worker_spec
        workers: dict[str, list[Any]] = {}
        for one in self._cluster.scheduler.workers.values():
            workers.setdefault(str(one.name), []).append(one)
        processes = self._choices.options["processes"]
        n_tasks = sum(
            one.state not in ("memory", "erred", "forgotten", "released")
            for one in self._cluster.scheduler.tasks.values()
        )
        wanted = min(math.ceil(n_tasks / processes), self._choices.jobs)
        wanted = max(wanted, self._choices.minimum)
        for name in list(self._cluster.workers):
            names = [f"{name}{suffix}" for suffix in spec[name].get("group", [""])]
            here = [one for each in names for one in workers.get(each, ())]
            if here:
                self._seen[name] = now
                if any(one.processing for one in here):
                    self._busy[name] = now
                self._busy.setdefault(name, now)
            lost = not here and self._seen.get(name, now) + _LOST_S < now
            idle = bool(here) and self._busy[name] + _IDLE_S < now
            if lost or (idle and len(spec) > wanted):
                # the next job may have its name
                del spec[name], self._seen[name], self._busy[name]
                ended = asyncio.ensure_future(self._cluster.workers.pop(name).close())
                self._ended.append(ended)
        self._cluster.scale(jobs=max(len(spec), wanted))
