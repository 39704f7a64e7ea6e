"""Options of commands that may work on a Dask cluster, and the connection to it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tgo_spectra.batch.jobs import SYSTEMS
from tgo_spectra.cli.terminal import EXISTING, PATH

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

__all__ = ["cluster_options", "connection"]

_OPTIONS = (
    click.option(
        "--scheduler",
        default=None,
        metavar="ADDRESS",
        help="A running Dask scheduler; it is trusted with all that you may do.",
    ),
    click.option(
        "--scheduler-file",
        default=None,
        type=PATH,
        help="File that a scheduler writes.",
    ),
    click.option("--tls-ca", default=None, type=EXISTING, help="Its authority, PEM."),
    click.option(
        "--tls-cert", default=None, type=EXISTING, help="Your certificate, PEM."
    ),
    click.option("--tls-key", default=None, type=EXISTING, help="Its key, PEM."),
    *(
        click.option(
            f"--{system}",
            default=None,
            type=EXISTING,
            metavar="FILE.toml",
            help=f"Workers as jobs of {kind[: -len('Cluster')]}, which FILE says.",
        )
        for system, kind in SYSTEMS.items()
    ),
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that `connection` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def connection(
    shared: str,
    *,
    scheduler: str | None,
    scheduler_file: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    **files_of_jobs: str | None,
) -> AbstractContextManager[Any]:
    """Connect to the scheduler that the options name; a context of None without one.

    `shared` is a folder that workers elsewhere see too.
    """
    from tgo_spectra.batch.jobs import jobs_of
    from tgo_spectra.batch.schedulers import connected

    files = {"ca": tls_ca, "cert": tls_cert, "key": tls_key}
    tls = {name: file for name, file in files.items() if file is not None}
    if scheduler is not None and scheduler_file is not None:
        message = "--scheduler and --scheduler-file name one scheduler: give one"
        raise click.UsageError(message)
    place = scheduler if scheduler is not None else scheduler_file
    given = {name: file for name, file in files_of_jobs.items() if file is not None}
    if len(given) + (place is not None) > 1:
        names = ", ".join(f"--{name}" for name in given)
        message = f"{names}: give one scheduler, or one system of jobs"
        raise click.UsageError(message)
    for system, file in given.items():
        if not tls:
            return jobs_of(system, file, Path(shared))
    if place is not None:
        return connected(place, tls, is_file=scheduler is None)
    if tls:
        message = "--tls-ca, --tls-cert and --tls-key need --scheduler"
        raise click.UsageError(message)
    return nullcontext()
