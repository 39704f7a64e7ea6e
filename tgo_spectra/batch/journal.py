"""What a run says of itself: a row a product, the journal, the summary."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import html
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgo_spectra import quality
from tgo_spectra.errors import TgoError, printable
from tgo_spectra.files.atomic import writing
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "ProductStatus",
    "Rows",
    "all_rows",
    "journal_line",
    "latest",
    "parse_line",
    "read_journal",
    "read_lines",
    "results",
    "summary",
]

STATES = ("done", "skipped", "failed")
_SHOWN = 20  # products in a table
_NAMED = 3  # products named in the summary for each severe reason


@dataclass(frozen=True, slots=True)
class ProductStatus:
    """What became of one product.

    Parameters
    ----------
    product : str
        Path of the product.
    state : {"done", "skipped", "failed", "left_out", "crashed"}
        Fitted now; found done and verified; reported, without a file. In the journal
        only: not taken, since another file holds the product too; its process ended,
        and it is tried again.
    output : str or None
        The level-2 file.
    seconds : float
        Time of the task.
    cpu_seconds : float or None
        Of it, time of the processor; None where a former version did not say it.
    compile_seconds : float
        Of it, time in which code was compiled: in the first product of a process,
        unless it is kept from a former run.
    spectra : int
        Number of spectra in the product.
    setup : str or None
        Name of the setup that was taken.
    resume_key : str or None
        Hash of everything the result depends on; of a product whose process ended, of
        the limits of time and memory too.
    content_sha256 : str or None
        Content hash of the output.
    rule : str or None
        Rule id of the failure.
    message : str or None
        Message of the failure.
    quality : tuple of str, or None
        Reasons of `tgo_spectra.quality.REASONS` that hold for the result: ``()`` for
        none; None where it is not known, as there is no result or it has no flag.
    """

    product: str
    state: str
    output: str | None = None
    seconds: float = 0.0
    spectra: int = 0
    setup: str | None = None
    resume_key: str | None = None
    content_sha256: str | None = None
    rule: str | None = None
    message: str | None = None
    quality: tuple[str, ...] | None = None
    cpu_seconds: float | None = None
    compile_seconds: float = 0.0

    @property
    def good(self) -> bool | None:
        """Whether the result has no severe reason; None where it is not known."""
        if self.quality is None:
            return None
        return not quality.severe(quality.pack(self.quality))


class Rows(list[ProductStatus]):
    """What became of all products of a run: a list that shows itself as a table.

    Examples
    --------
    >>> Rows([ProductStatus("in/a.xml", "done", quality=("poor_fit",))])
    1 done, 0 skipped, 0 failed: 0 good, 1 poor_fit (a)
    product state  quality  reasons
      a.xml  done not good poor_fit
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Give all in a line, and a table of at most 20 products."""
        if not self:
            return summary(self)
        table = self._table().to_string(index=False, max_rows=_SHOWN, max_colwidth=60)
        return f"{summary(self)}\n{table}"

    def _repr_html_(self) -> str:
        """Give the same for notebooks, with texts as they are and no markup in them."""
        table = self._table().to_html(index=False, max_rows=_SHOWN) if self else ""
        return f"<p>{html.escape(summary(self))}</p>{table}"

    def _table(self) -> Any:
        import xarray as xr

        verdict = {True: "good", False: "not good", None: "unknown"}
        columns = {
            "product": [Path(row.product.rpartition("::")[2]).name for row in self],
            "state": [row.state for row in self],
            "quality": [
                "" if row.state == "failed" else verdict[row.good] for row in self
            ],
            "reasons": [row.message or ", ".join(row.quality or ()) for row in self],
        }
        texts = {
            name: ("row", [printable(text) for text in column])
            for name, column in columns.items()
        }
        return xr.Dataset(texts).to_dataframe()


_FIELDS = frozenset(field.name for field in dataclasses.fields(ProductStatus))


def journal_line(row: ProductStatus) -> str:
    """One row with the time (s since 1970) and a checksum, to tell torn lines apart."""
    text = json.dumps(dataclasses.asdict(row), sort_keys=True)
    line = {"check": _check(text), "row": json.loads(text), "time": round(time.time())}
    return json.dumps(line, sort_keys=True)


def read_lines(path: Path) -> Iterator[tuple[float, ProductStatus]]:
    """Time (s since 1970; 0 if not stated) and row of each line that is whole."""
    with path.open("rb") as stream:
        for line in stream:
            found = parse_line(line)
            if found is not None:
                yield found


def parse_line(line: bytes) -> tuple[float, ProductStatus] | None:
    """Time (s since 1970; 0 if not stated) and row of a line; None if it is torn."""
    try:
        found = json.loads(line.decode("utf-8", "replace"))
        text = json.dumps(found["row"], sort_keys=True)
        if found["check"] != _check(text):
            return None
        row = {k: v for k, v in found["row"].items() if k in _FIELDS}
        if row.get("quality") is not None:
            row["quality"] = tuple(row["quality"])
        return float(found.get("time", 0.0)), ProductStatus(**row)
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def all_rows(folder: Path) -> Iterator[tuple[float, ProductStatus]]:
    """Rows in the journals of all that have worked on an output folder, with times."""
    for file in sorted(folder.glob("journal*.jsonl")):
        with writing(file):
            yield from read_lines(file)


def latest(
    rows: Iterable[tuple[float, ProductStatus]],
) -> dict[str, ProductStatus]:
    """Last row of each product; what was left out is none."""
    last: dict[str, tuple[float, ProductStatus]] = {}
    for when, row in rows:
        if row.state == "left_out":
            continue
        if row.product not in last or last[row.product][0] <= when:
            last[row.product] = when, row
    return {product: row for product, (_, row) in last.items()}


def read_journal(path: str | Path) -> list[ProductStatus]:
    """Return the last row of each product in a journal; torn lines are left out."""
    file = expanded(path)
    rows = {row.product: row for _, row in read_lines(file)}
    if not rows:
        message = "no row of a run in it: give the journal.jsonl of a run"
        raise TgoError(message, path=file, rule="batch.no_journal")
    return list(rows.values())


def results(rows: Iterable[ProductStatus]) -> dict[str, Any]:
    """Numbers of products by state, and by what is to be known of their results."""
    # one pass and no copy: a run asks again and again, and there may be many
    states: collections.Counter[str] = collections.Counter()
    verdicts: collections.Counter[bool | None] = collections.Counter()
    reasons: collections.Counter[str] = collections.Counter()
    for row in rows:
        states[row.state] += 1
        if row.state in ("done", "skipped"):
            verdicts[row.good] += 1
            reasons.update(row.quality or ())
    return {
        **{state: states[state] for state in STATES},
        "good": verdicts[True],
        "not_good": verdicts[False],
        "of_unknown_quality": verdicts[None],
        "reasons": {
            r.name: reasons[r.name] for r in quality.REASONS if reasons[r.name]
        },
    }


def summary(rows: Sequence[ProductStatus]) -> str:
    """Say in one line what became of all, and which results are not to be used.

    Examples
    --------
    >>> bad = ProductStatus("b.xml", "done", quality=("poor_fit",))
    >>> fair = ProductStatus("c.xml", "done", quality=("reference_atmosphere",))
    >>> summary([ProductStatus("a.xml", "skipped", quality=()), bad, fair])
    '2 done, 1 skipped, 0 failed: 2 good (1 reference_atmosphere), 1 poor_fit (b)'
    """
    found = results(rows)
    text = ", ".join(f"{found[state]} {state}" for state in STATES)
    parts = []
    if found["good"] or found["not_good"]:
        fair = _minor(row for row in rows if row.good)
        parts.append(f"{found['good']} good{fair}")
    for reason in quality.REASONS:
        names = [row.product for row in rows if reason.name in (row.quality or ())]
        if reason.severe and names:
            parts.append(f"{len(names)} {reason.name} ({_names(names)})")
    if found["of_unknown_quality"]:
        parts.append(f"{found['of_unknown_quality']} of unknown quality")
    return f"{text}: {', '.join(parts)}" if parts else text


def _minor(rows: Iterable[ProductStatus]) -> str:
    """Reasons that results have which may be used."""
    found = results(rows)["reasons"]
    return (
        f" ({', '.join(f'{n} {name}' for name, n in found.items())})" if found else ""
    )


def _names(products: list[str]) -> str:
    shown = [printable(Path(p.rpartition("::")[2]).stem) for p in products[:_NAMED]]
    more = len(products) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
