"""Many products: one task a product, one verified file a product, resumable.

The state of a run is its files. A worker reads a product, fits it, writes one
level-2 file under its final name only when complete, and returns a small row. A
product whose file exists, verifies and carries the same resume key (hash of input,
setup, absorption table, atmosphere and processing version) is skipped, so a run that
was stopped is continued by running it again. A product that fails is reported and
does not stop the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tgo_spectra._version import __version__
from tgo_spectra.archive.gathering import Gathered, gather
from tgo_spectra.atmosphere.climatology.choices import (
    ClimatologyChoices,
    choose_climatology,
)
from tgo_spectra.atmosphere.reference import WARNING, warn_of_reference
from tgo_spectra.batch.journal import ProductStatus, journal_line, summary
from tgo_spectra.batch.journal import results as counted
from tgo_spectra.batch.resume import choices, instrument_hash, resume_key, target_of
from tgo_spectra.batch.workers import leave_if_imported, own_workers, results
from tgo_spectra.errors import (
    AtmosphereError,
    OutputError,
    ProductError,
    TgoError,
    TgoWarning,
    printable,
)
from tgo_spectra.files.atomic import append_line, output_folder, write_whole
from tgo_spectra.files.level2 import reasons_of
from tgo_spectra.files.netcdf import PROCESSING_VERSION, open_verified, sweep_temporary
from tgo_spectra.paths import expanded
from tgo_spectra.readers.finding import split_place
from tgo_spectra.retrieval.kinds import level1_for
from tgo_spectra.retrieval.mixed import load_setups, setup_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import xarray as xr
    from distributed import Client

    from tgo_spectra.retrieval.kinds import Setup

    Process = Callable[[Path, Path, tuple[Setup, ...], Any], dict[str, Any]]

__all__ = ["ProductStatus", "run"]

_LOG = logging.getLogger(__name__)

# Faults of the output folder, which every other product would meet too.
_STOPPING = frozenset(
    {"io.no_space", "io.permission", "io.no_folder", "io.not_a_folder"}
)


def run(
    products: str | Path | Iterable[str | Path],
    out: str | Path,
    setup: Setup | str | Path | Iterable[Setup | str | Path] | None = None,
    workers: int = 1,
    atmosphere: xr.Dataset | str | Path | None = None,
    *,
    climatology: str | Path | Sequence[str | Path] | ClimatologyChoices | None = None,
    climatology_choices: Mapping[str, object] | None = None,
    client: Client | None = None,
    progress: bool = True,
    process: Process | None = None,
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
        Worker processes; with 1 (the default) or 0 all runs in this process.
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
    progress : bool, optional
        Show a progress bar when the error stream is a terminal. Default true.
    process : callable, optional
        Replaces the task: ``process(path, out, setups, atmosphere) -> dict`` with the
        fields of :class:`ProductStatus`.

    Returns
    -------
    list of ProductStatus
        One row a product, in the order of `products`.

    Raises
    ------
    TgoError
        No product found (``batch.no_products``); a setup, atmosphere or climatology
        that cannot be read; setups of which two are for the same products
        (``setup.overlap``); an atmosphere beside a climatology (``batch.two_airs``);
        workers in a script without a main guard (``batch.no_main_guard``).
    OutputError
        The output folder cannot be written, or its disk is full (``io.no_space``):
        what is written stays, and the same call continues the run.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "bad.xml").write_text("<not a product/>")
    >>> rows = run(folder, folder / "out", progress=False)
    >>> [row.state for row in rows]
    ['failed']
    """
    if workers > 1 and client is None:
        leave_if_imported()
    gathered = _find_products(products)
    paths = gathered.paths
    loaded = load_setups(setup)
    air = _air(atmosphere, climatology, climatology_choices)
    folder = expanded(out)
    level2 = output_folder(folder / "l2")
    sweep_temporary(level2)
    record = _record(loaded, air, gathered)
    write_whole(folder / "run.json", _json(record))
    journal = folder / "journal.jsonl"
    for left in gathered.left_out:
        message = f"{left.message}; taken is {left.taken}"
        row = ProductStatus(str(left.path), "left_out", rule=left.rule, message=message)
        append_line(journal, journal_line(row))
    task = _Task(process or _process_product, level2, loaded, air)
    rows: dict[Path, ProductStatus] = {}
    with _Progress(len(paths), shown=progress) as bar:
        for path, row in _outcomes(paths, task, workers, client):
            rows[path] = row
            append_line(journal, journal_line(row))
            bar.advance(row)
            if row.rule in _STOPPING:
                fault = (row.message or "").removesuffix(f" [rule {row.rule}]")
                message = f"stopped, the same call goes on later: {fault}"
                raise OutputError(message, path=folder, rule=row.rule)
    ordered = [rows[path] for path in paths]
    failed = [f"{journal_line(row)}\n" for row in ordered if row.state == "failed"]
    write_whole(folder / "quarantine.jsonl", "".join(failed))
    record["results"] = counted(ordered)
    write_whole(folder / "run.json", _json(record))
    _LOG.info("%s", summary(ordered))
    taken = {row.setup for row in ordered}
    for one in loaded:
        if one.name not in taken:
            _LOG.warning("no product was fitted with the setup %s", one.name)
    return ordered


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
            from tgo_spectra.atmosphere.profile import read_atmosphere

            read_atmosphere(atmosphere)
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


@dataclass(frozen=True)
class _Task:
    """What a worker gets, besides the path of the product."""

    process: Process
    out: Path
    setups: tuple[Setup, ...]
    atmosphere: Any

    def __call__(self, path: Path) -> ProductStatus:
        """Process one product; every error becomes a row."""
        start = time.perf_counter()
        try:
            found = self.process(path, self.out, self.setups, self.atmosphere)
            row = ProductStatus(**{"product": str(path), **found})
        except TgoError as error:
            row = _failed(path, error.rule or "error", str(error))
        except Exception as error:  # noqa: BLE001 - the one boundary: a run goes on
            text = f"{type(error).__name__}: {error}"
            row = _failed(path, "batch.unexpected", text)
        return dataclasses.replace(row, seconds=round(time.perf_counter() - start, 3))


def _process_product(
    path: Path, out: Path, setups: tuple[Setup, ...], atmosphere: Any
) -> dict[str, Any]:
    """Read, fit and write one product, unless that is done already."""
    if not Path(split_place(path)[0]).is_file():
        message = "no such product"
        raise ProductError(message, path=path, rule="product.missing")
    # found at each call, so that it can be replaced
    from tgo_spectra.readers import open_product

    # which setup is taken, and so the key, is known when the product is opened
    level1 = open_product(path) if setups else None
    setup = None if level1 is None else setup_for(setups, level1)
    key = resume_key(path, setup, atmosphere)
    target = target_of(path, out)
    done = _done(target, key)
    if done is not None:
        return {"state": "skipped", "output": str(target), "resume_key": key, **done}
    # after the check: a run that finds all done loads none of the machinery
    from tgo_spectra.atmosphere.profile import read_atmosphere
    from tgo_spectra.files.netcdf import write_level2
    from tgo_spectra.retrieval import retrieve

    own = None if setup is None else level1_for(setup, path)
    if own is not None:
        level1 = own
    elif level1 is None:
        level1 = open_product(path)
    if isinstance(atmosphere, ClimatologyChoices):
        atmosphere = atmosphere.profile_for(level1)
    elif atmosphere is not None:
        atmosphere = read_atmosphere(atmosphere)
    with warnings.catch_warnings():
        # the run has said it
        warnings.filterwarnings("ignore", message=WARNING, category=TgoWarning)
        level2 = retrieve(level1, setup=setup, atmosphere=atmosphere)
    spectra = int(level1.sizes.get("spectrum", 0))
    write_level2(level2, target, resume_key=key, attributes={"n_spectra": spectra})
    digest = str(_stated(target)["content_sha256"])
    return {
        "state": "done",
        "output": str(target),
        "resume_key": key,
        "spectra": spectra,
        "setup": str(level2.attrs.get("setup", "")) or None,
        "content_sha256": digest,
        "quality": reasons_of(level2),
    }


def _done(target: Path, key: str) -> dict[str, Any] | None:
    """Facts of a finished output with this key, or None."""
    if not target.is_file():
        return None
    try:
        level2 = open_verified(target)
    except OutputError as error:
        _LOG.warning("made again: %s", error)
        return None
    attrs = level2.attrs
    if attrs.get("resume_key") != key:
        return None
    return {
        "quality": reasons_of(level2),
        "spectra": int(attrs.get("n_spectra", 0)),
        "setup": str(attrs.get("setup", "")) or None,
        "content_sha256": str(attrs["content_sha256"]),
    }


def _stated(target: Path) -> dict[str, Any]:
    import netCDF4

    with netCDF4.Dataset(target, "r") as file:
        return {"content_sha256": file.getncattr("content_sha256")}


def _find_products(products: str | Path | Iterable[str | Path]) -> Gathered:
    """Products, each once, in a stable order."""
    places: list[Path] = []
    for item in [products] if isinstance(products, str | Path) else products:
        path = expanded(item)
        if path.exists() or split_place(path)[1] or not glob.has_magic(str(path)):
            places.append(path)
        else:
            places += [Path(name) for name in sorted(glob.glob(str(path)))]  # noqa: PTH207
    found = gather(places)
    if not found.paths:
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
    _LOG.info("%d products; %d others left out", len(found.paths), found.others)
    return found


def _outcomes(
    paths: list[Path], task: _Task, workers: int, client: Client | None
) -> Iterator[tuple[Path, ProductStatus]]:
    """Rows as they come, from this process or from workers."""
    if client is None and workers <= 1:
        for path in paths:
            yield path, task(path)
        return
    own = own_workers(min(workers, len(paths))) if client is None else None
    with own or contextlib.nullcontext(client) as cluster:
        assert cluster is not None
        for path, row in results(paths, task, cluster):
            if isinstance(row, BaseException):
                yield path, _failed(path, "batch.worker_died", str(row))
            else:
                yield path, row


def _failed(path: Path, rule: str, message: str) -> ProductStatus:
    return ProductStatus(str(path), "failed", rule=rule, message=message)


def _record(setups: tuple[Setup, ...], air: Any, found: Gathered) -> dict[str, Any]:
    """Return what ``run.json`` says of the choices of a run and of what was found."""
    taken = isinstance(air, ClimatologyChoices)
    return {
        "tgo_spectra": __version__,
        "processing_version": PROCESSING_VERSION,
        "setups": [choices(setup) for setup in setups] or [choices(None)],
        "instruments": instrument_hash(),
        "climatology": air.paths if taken else None,
        "climatology_choices": air.text() if taken else None,
        "products": len(found.paths),
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


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=1) + "\n"


class _Progress:
    """A bar on a terminal, otherwise one log line a product."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._bar: Any = None
        self._failed = 0
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._line = self._bar.add_task("products", total=total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, row: ProductStatus) -> None:
        """Count one product."""
        _LOG.info("%s %s %s", row.state, row.product, row.message or "")
        self._failed += row.state == "failed"
        if self._bar is not None:
            text = f"products, {self._failed} failed" if self._failed else "products"
            self._bar.update(self._line, advance=1, description=text)
