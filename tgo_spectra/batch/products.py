"""Many products: one task a product, one verified file a product, resumable.

The state of a run is its files. A worker reads a product, fits it, writes one
level-2 file under its final name only when complete, and returns a small row. A
product whose file exists, verifies and carries the same resume key (hash of input,
setup, absorption table, atmosphere and processing version) is skipped, so a run that
was stopped is continued by running it again. A product that fails is reported and
does not stop the others.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra._version import __version__
from tgo_spectra.archive.gathering import Gathered, LeftOut, gather
from tgo_spectra.atmosphere.climatology.choices import (
    ClimatologyChoices,
    choose_climatology,
)
from tgo_spectra.atmosphere.reference import warn_of_reference
from tgo_spectra.batch.claims import Claims
from tgo_spectra.batch.engines import Here
from tgo_spectra.batch.journal import ProductStatus, Rows, summary
from tgo_spectra.batch.loop import Loop, Progress
from tgo_spectra.batch.record import Record
from tgo_spectra.batch.resume import choices, instrument_hash, resume_key
from tgo_spectra.batch.task import Task, foreseen, process_product
from tgo_spectra.batch.workers import GB, Workers, memory_of_machine
from tgo_spectra.errors import AtmosphereError, TgoError, printable
from tgo_spectra.files.atomic import output_folder
from tgo_spectra.files.netcdf import PROCESSING_VERSION, sweep_temporary
from tgo_spectra.paths import expanded
from tgo_spectra.readers.finding import split_place
from tgo_spectra.retrieval.choice import load_setups
from tgo_spectra.retrieval.registry import limits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr
    from distributed import Client

    from tgo_spectra.batch.engines import Engine
    from tgo_spectra.batch.task import Process
    from tgo_spectra.retrieval.setup import Setup

__all__ = ["ProductStatus", "foresee", "run", "run_on"]

_LOG = logging.getLogger(__name__)


def run(
    products: str | Path | Iterable[str | Path],
    out: str | Path,
    setup: Setup | str | Path | Iterable[Setup | str | Path] | None = None,
    workers: int = 0,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    climatology: str | Path | Sequence[str | Path] | ClimatologyChoices | None = None,
    climatology_choices: Mapping[str, object] | None = None,
    client: Client | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool = True,
    process: Process | None = None,
    timeout_s: float | None = None,
    memory_gb: float | None = None,
) -> list[ProductStatus]:
    """Retrieve many products into a folder; skip what is done; report what fails.

    Parameters
    ----------
    products : path, folder, glob pattern, or iterable of paths
        Labels, zips, or ``zip::label`` for one product of a zip. Of a folder and of
        a zip, all products in it: labels (``.xml``, ``.lblx``) of other classes, such
        as collections, are left out and counted in ``run.json``. Of several versions of
        a product the highest is taken, of several copies an intact one; ``run.json``,
        the journal and the log name the others. ``~`` is the home folder.
    out : path
        Output folder: ``l2/<identifier>.nc``, ``journal.jsonl``, ``quarantine.jsonl``
        and ``run.json``, which at the end holds the number of products by state and by
        what their ``quality_flag`` says.
    setup : setup, str or path, or iterable of these, optional
        Setups of any kind, or the names or files of such. Each product takes the one
        for its channel, observation and order; a product for which there is none is
        reported as failed (``setup.wrong_channel`` and the like). Only by default, when
        no setup is given, all take the shipped ones.
    workers : int, optional
        Worker processes, which no other process can reach. A product that ends its
        process (a crash, `timeout_s`, `memory_gb`) is tried again at the end, given up
        when it happens again, and remembered: the others go on. With 0 (the default)
        all runs in this process, where nothing limits or outlives a product.
    atmosphere : Dataset or path, optional
        One profile for all products. Default: the reference atmosphere at each
        product's season and latitude, which a warning says once.
    climatology : path, sequence of paths, or ClimatologyChoices, optional
        Files of a climatology, from which each product takes the profile at its
        tangent points; in place of `atmosphere`. A product outside is reported as
        failed.
    climatology_choices : mapping, optional
        How it is opened and used, such as ``{"form": "mcd", "mars_year": 35}``: the
        arguments of `tgo_spectra.open_climatology` and of
        `tgo_spectra.atmosphere_for_product`.
    client : distributed.Client, optional
        Client of a running cluster to use in place of own workers.
    shard : (int, int), optional
        ``(i, n)``: the i-th of n parts of the products, i from 1, always the same; for
        job arrays. Its files are ``journal-i-of-n.jsonl`` and the like.
    progress : bool, optional
        Show a progress bar when the error stream is a terminal, else a line a minute.
        Default true.
    process : callable, optional
        Replaces the task: ``process(path, out, setups, atmosphere) -> dict`` with the
        fields of :class:`ProductStatus`.
    timeout_s : float, optional
        Longest time of a product in a process of its own, s; ``math.inf`` for any.
        Default: that of the setup's kind (``tgo-spectra setups NAME`` says it), the
        longest where there are several. ``run.json`` holds the limits of a run.
    memory_gb : float, optional
        Most memory of a worker, GB (1e9 bytes). Default: likewise that of the kind, but
        no more than that of the machine, or of its control group, divided by
        `workers`. Workers of a `client` have their own limit.

    Returns
    -------
    list of ProductStatus
        One row a product, in the order of `products`. Where it is shown, in a terminal
        or a notebook, it is a table: product, state, quality, reasons.

    Raises
    ------
    TgoError
        No product found (``batch.no_products``); a setup, atmosphere or climatology
        that cannot be read; setups of which two are for the same products
        (``setup.overlap``); an atmosphere beside a climatology (``batch.two_airs``);
        workers that do not start (``batch.no_workers``).
    OutputError
        The output folder cannot be written, or its disk is full (``io.no_space``):
        what is written stays, and the same call continues the run.
    KeyboardInterrupt
        By Ctrl-C or SIGTERM: what is being worked on is dropped, and the same call
        continues the run.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "bad.xml").write_text("<not a product/>")
    >>> rows = run(folder, folder / "out", progress=False)
    >>> [row.state for row in rows]
    ['failed']
    """
    setups = load_setups(setup)
    usual_s, usual_gb = limits_of(setups)
    seconds = usual_s if timeout_s is None else timeout_s
    memory = usual_gb if memory_gb is None else memory_gb
    limits = f"{seconds} s, {memory} GB"
    longest = None if math.isinf(seconds) else seconds
    kept: dict[str, float | None] = {"timeout_s": longest, "memory_gb": None}
    engine: Engine
    if client is not None:
        from tgo_spectra.batch.schedulers import OnCluster

        engine = OnCluster(client, timeout_s=longest)
    elif workers > 0:
        if memory_gb is None:
            memory = min(memory, memory_of_machine() / GB / workers)
        engine = Workers(workers, timeout_s=longest, memory=memory * GB)
        kept["memory_gb"] = memory
    else:
        engine = Here()
        kept["timeout_s"] = None
    return run_on(
        engine,
        products,
        out,
        setups or None,
        atmosphere,
        climatology=climatology,
        climatology_choices=climatology_choices,
        limits=limits,
        facts={"limits": kept},
        shard=shard,
        progress=progress,
        process=process,
    )


def foresee(
    products: str | Path | Iterable[str | Path],
    out: str | Path,
    setup: Setup | str | Path | Iterable[Setup | str | Path] | None = None,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    climatology: str | Path | Sequence[str | Path] | ClimatologyChoices | None = None,
    climatology_choices: Mapping[str, object] | None = None,
    shard: tuple[int, int] | None = None,
) -> list[ProductStatus]:
    """Say what `run` would do with each product; nothing is fitted or written."""
    gathered = _find_products(products)
    loaded = load_setups(setup)
    air = _air(atmosphere, climatology, climatology_choices)
    level2 = expanded(out).absolute() / "l2"
    names = [name for name in gathered.names if shard is None or _in(name, *shard)]
    return [foreseen(Path(name), level2, loaded, air) for name in names]


def run_on(
    engine: Engine,
    products: str | Path | Iterable[str | Path],
    out: str | Path,
    setup: Setup | str | Path | Iterable[Setup | str | Path] | None = None,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    climatology: str | Path | Sequence[str | Path] | ClimatologyChoices | None = None,
    climatology_choices: Mapping[str, object] | None = None,
    limits: str = "",
    facts: Mapping[str, Any] | None = None,
    shard: tuple[int, int] | None = None,
    progress: bool = True,
    process: Process | None = None,
) -> list[ProductStatus]:
    """Retrieve many products with any engine, see `run`; rows in their order.

    `limits` count among the conditions under which a product that ended its process is
    not tried again; `facts` are more of what ``run.json`` says.
    """
    mark = "" if shard is None else _mark(*shard)
    gathered = _find_products(products)
    names = gathered.names
    if shard is not None:
        names = [name for name in names if _in(name, *shard)]
    loaded = load_setups(setup)
    air = _air(atmosphere, climatology, climatology_choices)
    folder = expanded(out).absolute()
    level2 = output_folder(folder / "l2")
    sweep_temporary(level2)

    def conditions(path: Path) -> str:
        return _conditions(path, loaded, air, limits)

    with Claims(folder) as claims:
        task = Task(process or process_product, level2, loaded, air, claims.sign)
        engine.use(task)
        journal = folder / f"journal{mark}.jsonl"
        if not claims.take(journal.name):
            journal = folder / f"journal-{claims.run}.jsonl"
        claims.announce(journal)
        own = {"products": len(names), "shard": mark.strip("-") or None}
        said = _facts(loaded, air, gathered) | own | dict(facts or {})
        record = Record(folder, names, said, journal.name, mark)
        for left in gathered.left_out:
            record.note(_left_out(left))
        try:
            bar = Progress(len(names), shown=progress)
            Loop(engine, record, claims, bar, conditions).work(names)
        finally:
            sweep_temporary(level2)  # of workers that were ended
    ordered = Rows(record.rows())
    _LOG.info("%s", summary(ordered))
    taken = {row.setup for row in ordered}
    for one in loaded:
        if one.name not in taken:
            _LOG.warning("no product was fitted with the setup %s", one.name)
    return ordered


def _mark(number: int, parts: int) -> str:
    """Give what stands in the names of the files of a shard."""
    if not 1 <= number <= parts:
        message = "a shard is I/N, I from 1 to N"
        raise TgoError(message, value=f"{number}/{parts}", rule="batch.shard")
    return f"-{number}-of-{parts}"


def _in(product: str, number: int, parts: int) -> bool:
    """Tell whether a product is of a shard: by its name, whatever else there is."""
    place, member = split_place(product)
    name = Path(member or place).name
    digest = hashlib.sha256(name.lower().encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % parts == number - 1


def _left_out(left: LeftOut) -> ProductStatus:
    message = f"{left.message}; taken is {left.taken}"
    return ProductStatus(str(left.path), "left_out", rule=left.rule, message=message)


def _conditions(path: Path, setups: tuple[Setup, ...], air: Any, limits: str) -> str:
    """Hash what decides whether a product ends its process, without opening it."""
    digest = hashlib.sha256(limits.encode())
    for setup in setups or (None,):
        try:
            digest.update(resume_key(path, setup, air).encode())
        except (OSError, TgoError) as error:
            digest.update(str(error).encode())
    return digest.hexdigest()


def _air(
    atmosphere: xr.Dataset | str | Path | None,
    climatology: str | Path | Sequence[str | Path] | ClimatologyChoices | None,
    choices_given: Mapping[str, object] | None,
) -> xr.Dataset | str | Path | ClimatologyChoices | None:
    """Return what the products' atmosphere is from, once it is known to be readable."""
    if climatology is None:
        if choices_given:
            message = "choices for a climatology, and no climatology"
            raise AtmosphereError(
                message, value=dict(choices_given), rule="climatology.no_file"
            )
        if atmosphere is not None:
            from tgo_spectra.atmosphere.files import read_atmosphere

            read_atmosphere(atmosphere)
            if isinstance(atmosphere, str | Path):
                return expanded(atmosphere).absolute()
        else:
            warn_of_reference()
        return atmosphere
    if atmosphere is not None:
        message = "give an atmosphere or a climatology, not both"
        raise AtmosphereError(message, field="atmosphere", rule="batch.two_airs")
    if not isinstance(climatology, ClimatologyChoices):
        climatology = choose_climatology(climatology, choices_given)
    climatology.check()
    return climatology


def _find_products(products: str | Path | Iterable[str | Path]) -> Gathered:
    """Products, each once, in a stable order."""
    places: list[Path] = []
    for item in [products] if isinstance(products, str | Path) else products:
        path = expanded(item).absolute()
        if path.exists() or split_place(path)[1] or not glob.has_magic(str(path)):
            places.append(path)
        else:
            places += [Path(name) for name in sorted(glob.glob(str(path)))]  # noqa: PTH207
    found = gather(places)
    if not found.names:
        message = (
            f"no product found ({found.others} other labels and zips); give labels, "
            "zips, folders or patterns"
        )
        raise TgoError(message, value=str(products), rule="batch.no_products")
    if found.left_out:
        shown = [f"{left.path} ({left.message})" for left in found.left_out[:3]]
        more = f" and {found.older - 3} more" if found.older > 3 else ""
        text = printable(f"{', '.join(shown)}{more}")
        _LOG.warning("%d left out, see run.json: %s", found.older, text)
    _LOG.info("%d products; %d others left out", len(found.names), found.others)
    return found


def _facts(setups: tuple[Setup, ...], air: Any, found: Gathered) -> dict[str, Any]:
    """Return what ``run.json`` says of the choices of a run and of what was found."""
    taken = isinstance(air, ClimatologyChoices)
    return {
        "tgo_spectra": __version__,
        "processing_version": PROCESSING_VERSION,
        "setups": [choices(setup) for setup in setups] or [choices(None)],
        "instruments": instrument_hash(),
        "climatology": air.paths if taken else None,
        "climatology_choices": air.text() if taken else None,
        "products": len(found.names),
        "other_labels_left_out": found.others,
        "older_versions_left_out": found.older,
        "left_out": [
            {
                "path": str(left.path),
                "taken": str(left.taken),
                "rule": left.rule,
                "message": left.message,
            }
            for left in found.left_out
        ],
    }
