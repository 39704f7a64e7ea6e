"""What an output folder says of the runs on it, also while they go on."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING

from tgo_spectra.batch.journal import all_rows, latest, summary
from tgo_spectra.errors import TgoError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tgo_spectra.batch.journal import ProductStatus

__all__ = ["remaining", "status_lines"]

_SLOWEST = 3
_RECENT_S = 600.0  # of which the rate is taken


def status_lines(folder: Path) -> Iterator[str]:
    """Say in lines how far all runs and shards on a folder are together.

    TgoError ``batch.no_journal`` where none has been.
    """
    times: list[float] = []
    rows = list(latest(_timed(folder, times)).values())
    if not rows:
        message = "no journal of a run in it: give the output folder of a run"
        raise TgoError(message, path=folder, rule="batch.no_journal")
    done = [row for row in rows if row.state in ("done", "skipped")]
    failed = [row for row in rows if row.state == "failed"]
    again = sum(row.state == "crashed" for row in rows)
    n_products = _planned(folder)
    yield summary(rows)
    for rule, number in collections.Counter(row.rule for row in failed).most_common():
        yield f"failed {number} {rule}"
    if again:
        yield f"to be tried again {again}"
    n_left = n_products - len(done) - len(failed)
    if n_left > 0:
        n_runs = len(list((folder / "claims").glob("*.run")))
        yield f"{n_left} of {n_products} left, runs at work: {n_runs}"
        recent = [when for when in times if when > max(times) - _RECENT_S]
        if n_runs and len(recent) > 1:
            yield remaining(len(recent) - 1, max(recent) - min(recent), n_left)
    for row in sorted(rows, key=lambda one: -one.seconds)[:_SLOWEST]:
        yield f"slowest {row.seconds:.1f} s {printable(row.product)}"


def remaining(n_done: int, seconds: float, n_left: int) -> str:
    """Rate of what is done, and time for what is left.

    >>> remaining(120, 60.0, 7200)
    '120.0 products a minute, 1.0 h left'
    """
    rate = n_done / max(seconds, 1.0)
    left_s = n_left / rate
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if left_s >= size or unit == "s":
            break
    return f"{60.0 * rate:.1f} products a minute, {left_s / size:.1f} {unit} left"


def _timed(folder: Path, times: list[float]) -> Iterator[tuple[float, ProductStatus]]:
    """Rows of all journals; on the way the times at which one was done, s."""
    for when, row in all_rows(folder):
        if row.state in ("done", "failed"):
            times.append(when)
        yield when, row


def _planned(folder: Path) -> int:
    """Products of the last run, or of the last runs of all shards."""
    found = {}
    for file in folder.glob("run*.json"):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            found[str(facts.get("shard"))] = int(facts["products"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    whole = found.pop("None", 0)
    return max(whole, sum(found.values()))
