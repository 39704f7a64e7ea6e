"""What a run writes of itself while it goes on: journal, quarantine and ``run.json``.

The journal gets a line at once. The two others are views of it, written as a whole from
time to time and at every end, so that what stands there is never half of something.
"""

from __future__ import annotations

import collections
import json
import time
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.journal import (
    ProductStatus,
    journal_line,
    journals,
    read_lines,
    results,
)
from tgo_spectra.files.atomic import append_line, write_whole, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Record"]

_EVERY_S = 5.0  # between two writings of the views


class Record:
    """The files of one run in its output folder.

    `products` are those of the run, `facts` what ``run.json`` says besides the results.
    Failures of former runs stay in the quarantine until the product is done again.
    """

    def __init__(
        self, folder: Path, products: Iterable[str], facts: dict[str, Any]
    ) -> None:
        self.folder, self._facts = folder, facts
        self._journal = folder / "journal.jsonl"
        self.rows: dict[str, ProductStatus] = {}
        self.crashes: dict[str, list[ProductStatus]] = {}
        self._failed: dict[str, str] = {}
        self._read(set(products))
        self._written = 0.0
        self.write()

    def _read(self, products: set[str]) -> None:
        """Take what former runs say of these products."""
        last: dict[str, tuple[float, ProductStatus]] = {}
        crashes = collections.defaultdict(list)
        for when, row in self._former():
            if row.product not in products or row.state == "left_out":
                continue
            if row.resume_key and row.state in ("crashed", "failed"):
                crashes[row.product].append(row)
            if row.product not in last or last[row.product][0] <= when:
                last[row.product] = when, row
        self.crashes = dict(crashes)
        for product, (_, row) in last.items():
            if row.state == "failed":
                self._failed[product] = journal_line(row)

    def _former(self) -> Iterator[tuple[float, ProductStatus]]:
        for file in journals(self.folder):
            with writing(file):
                yield from read_lines(file)

    def note(self, row: ProductStatus) -> None:
        """Write down what became of a product."""
        append_line(self._journal, journal_line(row))
        if row.state == "crashed":
            self.crashes.setdefault(row.product, []).append(row)
        elif row.state != "left_out":
            self.rows[row.product] = row
            self._failed.pop(row.product, None)
        if row.state == "failed":
            self._failed[row.product] = journal_line(row)
        if time.monotonic() > self._written + _EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the views as they are now."""
        lines = "".join(f"{line}\n" for line in self._failed.values())
        write_whole(self.folder / "quarantine.jsonl", lines)
        facts = self._facts | {"results": results(self.rows.values())}
        write_whole(self.folder / "run.json", json.dumps(facts, indent=1) + "\n")
        self._written = time.monotonic()
