"""What a run would be: products by kind, their setups, and what it takes, measured."""

from __future__ import annotations

import collections
import contextlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.engines import mapped
from tgo_spectra.batch.journal import all_rows, latest
from tgo_spectra.batch.task import Task, process_product
from tgo_spectra.errors import TgoError
from tgo_spectra.readers import open_product
from tgo_spectra.retrieval.choice import chosen_for, default_setup, setup_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr

    from tgo_spectra.archive import Remote
    from tgo_spectra.batch.engines import Engine
    from tgo_spectra.batch.journal import ProductStatus
    from tgo_spectra.retrieval.setup import Setup

__all__ = ["Cost", "Planned", "measured_in", "plan_catalogue", "plan_remote", "report"]

_LOG = logging.getLogger(__name__)

_SECONDS_AN_HOUR = 3600.0
_MB, _GB = 1e6, 1e9
_KEYS = ("channel", "observation_type", "order")


@dataclass(frozen=True)
class Cost:
    """What products of one setup took: means, and how many there were.

    `seconds` is of the processor, whatever else the machine does meanwhile; by the
    clock where journals do not say it. `size` is in bytes of a file.
    """

    seconds: float
    size: float
    n_products: int


@dataclass(frozen=True)
class Planned:
    """Products of one kind: how many, and the setup that they would take.

    `setup` is None where none would; `reason` says why.
    """

    channel: str
    observation: str
    order: int | None
    products: int
    setup: str | None
    reason: str = ""
    cost: Cost | None = None


def plan_catalogue(
    catalogue: xr.Dataset,
    setups: tuple[Setup, ...] = (),
    known: dict[str, Cost] | None = None,
    *,
    engine: Engine,
    sample: int = 2,
) -> list[Planned]:
    """Plan a run on the products of a catalogue (`tgo_spectra.find`).

    Of each kind the middle product by number of spectra shows the setup. Costs are
    those of `known` by name of the setup, else `sample` products are retrieved by the
    engine, which is begun, into a folder that is removed.
    """
    kinds: dict[tuple[Any, ...], list[int]] = collections.defaultdict(list)
    spectra, paths_of = catalogue["spectra"].values, catalogue["path"].values
    columns = [catalogue[name].values for name in _KEYS]
    for number, key in enumerate(zip(*columns, strict=True)):
        kinds[key].append(number)
    rows = []
    for (channel, observation, order), numbers in sorted(kinds.items()):
        numbers.sort(key=lambda number: (spectra[number], paths_of[number]))
        middle = numbers[(len(numbers) - 1) // 2 :][:sample] or numbers[:1]
        paths = [Path(str(paths_of[number])) for number in middle]
        name, reason = _setup_of(paths[0], setups)
        cost = (known or {}).get(name or "")
        if name is not None and cost is None and sample > 0:
            cost, reason = _measured(engine, paths, setups)
        rows.append(
            Planned(
                str(channel), str(observation), None if order < 0 else int(order),
                len(numbers), name, reason, cost,
            )
        )  # fmt: skip
    return rows


def plan_remote(
    found: Iterable[Remote],
    setups: tuple[Setup, ...] = (),
    known: dict[str, Cost] | None = None,
) -> list[Planned]:
    """Plan a run on what an archive offers, by the names of the products alone.

    Costs are those of `known` only. NOMAD names say channel and order; SO and UVIS
    count as occultations, LNO as nadir.
    """
    kinds = collections.Counter(one.kind for one in found)
    rows = []
    for (channel, order), number in sorted(kinds.items(), key=str):
        observation = "nadir" if channel == "lno" else "occultation"
        about = (channel, observation, order, number)
        name, reason = None, ""
        if setups:
            fitting = [
                one.name
                for one in setups
                if one.channel == channel and (not one.orders or order in one.orders)
            ]
            name = fitting[0] if fitting else None
            reason = "" if fitting else "none of the setups given is for it"
        else:
            try:
                name = default_setup(channel, order, observation).name
            except TgoError:
                reason = "no shipped setup is for it"
        rows.append(Planned(*about, name, reason, (known or {}).get(name or "")))
    return rows


def measured_in(folder: Path) -> dict[str, Cost]:
    """Costs by name of the setup, from the journals of runs on an output folder.

    TgoError ``batch.no_journal`` where none has made a product.
    """
    found: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)
    made = (one for one in all_rows(folder) if one[1].state == "done")
    for row in latest(made).values():
        with contextlib.suppress(OSError):
            size = Path(row.output or "").stat().st_size
            found[row.setup or ""].append((_core_seconds(row), size))
    if not found:
        message = "no journal with products that were made, to take costs from"
        raise TgoError(message, path=folder, rule="batch.no_journal")
    return {name: _mean(pairs) for name, pairs in found.items()}


def _core_seconds(row: ProductStatus) -> float:
    """Seconds of the processor; by the clock where a former version wrote the row."""
    return row.seconds if row.cpu_seconds is None else row.cpu_seconds


def _mean(pairs: list[tuple[float, int]]) -> Cost:
    seconds, sizes = zip(*pairs, strict=True)
    return Cost(fmean(seconds), fmean(sizes), len(pairs))


def _setup_of(path: Path, setups: tuple[Setup, ...]) -> tuple[str | None, str]:
    """Name of the setup that a product would take, or None and the reason."""
    try:
        level1 = open_product(path)
        if setups:
            return setup_for(setups, level1).name, ""
        return chosen_for(level1, None)[0].name, ""
    except TgoError as error:
        return None, error.message.split(";")[0]


def _measured(
    engine: Engine, paths: list[Path], setups: tuple[Setup, ...]
) -> tuple[Cost | None, str]:
    """Retrieve some products of a kind: their cost, or why there is none.

    The first one is done once before: it loads tables and compiled code.
    """
    pairs: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="tgo-spectra-plan-") as name:
        for number, path in enumerate([paths[0], *paths]):
            folder = Path(name) / str(number)
            folder.mkdir()
            task = Task(process_product, folder, setups, None)
            (row,) = mapped(engine, task, [path])
            if row.state != "done" or row.output is None:
                return None, row.message or row.state
            if number == 0:
                _LOG.info("%s: %.1f s with all that is loaded", path, row.seconds)
            else:
                pairs.append((_core_seconds(row), Path(row.output).stat().st_size))
    return _mean(pairs), ""


def report(rows: list[Planned]) -> Iterator[str]:
    """Say a plan in lines: a table of the kinds, and the sums."""
    heads = ("channel", "observation", "order", "products", "setup", "s", "MB", "hours")
    table = [heads]
    for row in rows:
        numbers = ("-", "-", "-")
        if row.cost is not None:
            hours = row.products * row.cost.seconds / _SECONDS_AN_HOUR
            size = row.cost.size / _MB
            numbers = (f"{row.cost.seconds:.2f}", f"{size:.2f}", f"{hours:.3g}")
        order = "-" if row.order is None else str(row.order)
        about = (row.channel or "-", row.observation or "-", order, str(row.products))
        table.append((*about, row.setup or "none", *numbers))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    reasons = ["", *(row.reason for row in rows)]
    for cells, reason in zip(table, reasons, strict=True):
        line = "  ".join(c.ljust(size) for c, size in zip(cells, widths, strict=True))
        yield f"{line}  {reason}".rstrip()
    fitted = [row for row in rows if row.setup is not None]
    known = [(row.products, row.cost) for row in fitted if row.cost is not None]
    hours = sum(n * cost.seconds for n, cost in known) / _SECONDS_AN_HOUR
    size = sum(n * cost.size for n, cost in known) / _GB
    n_all, n_fitted = (sum(row.products for row in some) for some in (rows, fitted))
    yield f"{n_all} products, {n_fitted} with a setup, {n_all - n_fitted} without"
    n_known = sum(n for n, _ in known)
    of = "" if n_known == n_fitted else f" for {n_known} of them, others not measured"
    yield f"{hours:.3g} core hours, {size:.3g} GB of level 2{of}"
