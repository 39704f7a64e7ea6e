"""What a run writes of itself while it goes on, and what its folder then says.

The journal gets a line at once. The two others are views of it, written as a whole from
time to time and at every end, so that what stands there is never half of something.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.journal import (
    ProductStatus,
    all_rows,
    journal_line,
    latest,
    parse_line,
    results,
    summary,
)
from tgo_spectra.errors import TgoError, printable
from tgo_spectra.files.atomic import append_line, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


__all__ = ["Record", "remaining", "status_lines"]

_EVERY_S = 5.0  # between two writings of the views


class Record:
    """The files of one run in its output folder.

    `products` are those of the run, `facts` what ``run.json`` says besides the results,
    `mark` stands in the names of the files of one of several shards.
    Failures of former runs stay in the quarantine until the product is done again.
    """

    def __init__(
        self,
        folder: Path,
        products: Iterable[str],
        facts: dict[str, Any],
        journal: str = "journal.jsonl",
        mark: str = "",
    ) -> None:
        self.folder, self._facts = folder, facts
        self._journal = folder / journal
        self._mark = mark
        # the name of each product until there is its row, which has the same name
        self._products: dict[str, str | ProductStatus] = {one: one for one in products}
        self._same: dict[Any, Any] = {}
        self._read_to: dict[str, int] = {}
        self.crashes: dict[str, list[ProductStatus]] = {}
        self._failed: dict[str, str] = {}
        self._read()
        self._written = 0.0
        self.write()

    def row_of(self, product: str) -> ProductStatus | None:
        """Row of a product; None until there is one."""
        found = self._products.get(product)
        return found if isinstance(found, ProductStatus) else None

    def rows(self) -> Iterator[ProductStatus]:
        """Rows that there are, in the order of the products."""
        for found in self._products.values():
            if isinstance(found, ProductStatus):
                yield found

    def _read(self) -> None:
        """Take what former runs say of these products."""
        for product, row in latest(self._former()).items():
            if row.state == "failed":
                self._failed[product] = journal_line(row)

    def _former(self) -> Iterator[tuple[float, ProductStatus]]:
        """Rows of former runs on these products; crashes are kept on the way."""
        for when, row in all_rows(self.folder):
            if row.product in self._products:
                if row.resume_key and row.state in ("crashed", "failed"):
                    self.crashes.setdefault(row.product, []).append(row)
                yield when, row

    def note(self, row: ProductStatus) -> None:
        """Write down what became of a product."""
        append_line(self._journal, journal_line(row))
        self._take(row)
        if time.monotonic() > self._written + _EVERY_S:
            self.write()

    def hear(self, others: Iterable[tuple[str, int]]) -> None:
        """Take what other runs have written meanwhile: journal, and from where on."""
        for name, start in others:
            if name != self._journal.name:
                self._read_to.setdefault(name, start)
        for name, start in self._read_to.items():
            file = self.folder / name
            if not file.is_file() or file.stat().st_size <= start:
                continue
            with file.open("rb") as stream:
                stream.seek(start)
                for line in stream:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                    self._read_to[name] += len(line)
                    found = parse_line(line)
                    if found is not None and found[1].product in self._products:
                        self._take(found[1])

    def _take(self, row: ProductStatus) -> None:
        # of many rows what is equal is held once
        known = self._products.get(row.product, row.product)
        row = dataclasses.replace(
            row,
            product=known.product if isinstance(known, ProductStatus) else known,
            **{
                name: self._same.setdefault((name, value), value)
                for name in (
                    "state",
                    "setup",
                    "rule",
                    "quality",
                    "spectra",
                    "seconds",
                    "cpu_seconds",
                    "compile_seconds",
                )
                for value in [getattr(row, name)]
            },
        )
        if row.state == "crashed":
            self.crashes.setdefault(row.product, []).append(row)
        elif row.state != "left_out":
            self._products[row.product] = row
            self._failed.pop(row.product, None)
        if row.state == "failed":
            self._failed[row.product] = journal_line(row)

    def write(self) -> None:
        """Write the views as they are now."""
        lines = "".join(f"{line}\n" for line in self._failed.values())
        write_whole(self.folder / f"quarantine{self._mark}.jsonl", lines)
        facts = self._facts | {"results": results(self.rows())}
        write_whole(
            self.folder / f"run{self._mark}.json", json.dumps(facts, indent=1) + "\n"
        )
        self._written = time.monotonic()


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
