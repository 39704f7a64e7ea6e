"""What is done with one product: read, fit, write; every error becomes a row."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra.atmosphere.climatology.choices import ClimatologyChoices
from tgo_spectra.atmosphere.reference import WARNING
from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.batch.resume import resume_key, target_of
from tgo_spectra.errors import OutputError, ProductError, TgoError, TgoWarning
from tgo_spectra.files.level2 import reasons_of
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.readers.finding import split_place
from tgo_spectra.retrieval.choice import setup_for
from tgo_spectra.retrieval.registry import level1_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tgo_spectra.retrieval.setup import Setup

    Process = Callable[[Path, Path, tuple[Setup, ...], Any], dict[str, Any]]

__all__ = ["Task", "process_product"]

_LOG = logging.getLogger(__name__)

_SEEN_S = 5.0


@dataclass(frozen=True)
class Task:
    """What a worker gets, besides the path of the product."""

    process: Process
    out: Path
    setups: tuple[Setup, ...]
    atmosphere: Any
    token: Path | None = None
    """A file of the run in the output folder, which a worker must see."""

    def __call__(self, path: Path) -> ProductStatus:
        """Process one product; every error becomes a row."""
        start, used = time.perf_counter(), time.thread_time()
        try:
            self._look()
            found = self.process(path, self.out, self.setups, self.atmosphere)
            row = ProductStatus(**{"product": str(path), **found})
        except TgoError as error:
            row = _failed(path, error.rule or "error", str(error))
        except Exception as error:  # noqa: BLE001 - the one boundary: a run goes on
            text = f"{type(error).__name__}: {error}"
            row = _failed(path, "batch.unexpected", text)
        return dataclasses.replace(
            row,
            seconds=_short(time.perf_counter() - start),
            # of this thread: a worker has one, but one of Dask may have others beside
            cpu_seconds=_short(time.thread_time() - used),
        )

    def _look(self) -> None:
        """Refuse to work where the output folder is not that of the run."""
        until = time.monotonic() + _SEEN_S
        while self.token is not None and not self.token.is_file():
            if time.monotonic() > until:
                message = (
                    f"the worker on {socket.gethostname()} does not see this folder of "
                    "the run; it must be on a disk that all share"
                )
                raise OutputError(message, path=self.out, rule="batch.not_shared")
            time.sleep(0.1)  # network disks show a new file late


def _short(seconds: float) -> float:
    """Keep three digits, and no less than a millisecond: rows share equal times."""
    return float(f"{round(seconds, 3):.3g}")


def process_product(
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
    from tgo_spectra.atmosphere.files import read_atmosphere
    from tgo_spectra.files.netcdf import write_level2
    from tgo_spectra.numerics.accelerate import timed_compilation
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
    with warnings.catch_warnings(), timed_compilation() as compiled:
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
        "compile_seconds": round(sum(compiled, 0.0), 3),
    }


def foreseen(
    path: Path, out: Path, setups: tuple[Setup, ...], atmosphere: Any
) -> ProductStatus:
    """Say what a run would do with a product: ``to do``, ``skipped``, ``failed``."""
    from tgo_spectra.readers import open_product
    from tgo_spectra.retrieval.choice import chosen_for

    try:
        level1 = open_product(path)
        setup = setup_for(setups, level1) if setups else None
        taken, _ = chosen_for(level1, setup)
        key = resume_key(path, setup, atmosphere)
        done = _done(target_of(path, out), key)
    except (TgoError, OSError) as error:
        rule = getattr(error, "rule", None)
        return ProductStatus(str(path), "failed", rule=rule, message=str(error))
    state = "to do" if done is None else "skipped"
    return ProductStatus(str(path), state, setup=taken.name)


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


def _failed(path: Path, rule: str, message: str) -> ProductStatus:
    return ProductStatus(str(path), "failed", rule=rule, message=message)
