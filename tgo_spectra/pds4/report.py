"""What is worth saying about a character table that was opened: one kind of record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4.fields import INTEGER_TYPES, REAL_TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tgo_spectra.pds4.label import Field
    from tgo_spectra.pds4.table import Table

__all__ = ["Finding", "missing_cells", "refuse_disorder", "repeated_records"]

_NUMBERS = REAL_TYPES | INTEGER_TYPES
Severity: TypeAlias = Literal["error", "warning", "info"]
"""Errors refuse the product; information is normal (blank cells, repairs)."""


@dataclass(frozen=True)
class Finding:
    """One thing worth saying about a product.

    Attributes
    ----------
    severity : {"error", "warning", "info"}
        Errors refuse the product; information is normal (blank cells, repairs).
    rule : str
        Stable dotted rule id.
    message : str
        What was found.
    path : str
        The file.
    field : str or None
        Field, or element of the label.
    record, offset : int or None
        0-based record and byte in the file.
    value : object
        The offending value as found.
    """

    severity: Severity
    rule: str
    message: str
    path: str
    field: str | None = None
    record: int | None = None
    offset: int | None = None
    value: object = None

    @classmethod
    def of(cls, error: ProductError, severity: Severity = "error") -> Finding:
        """Return an error as a finding."""
        return cls(
            severity,
            error.rule or "",
            error.message,
            error.path or "",
            error.field,
            error.record,
            error.offset,
            error.value,
        )

    def error(self) -> ProductError:
        """Return a finding as an error, for its text."""
        return ProductError(
            self.message,
            path=self.path,
            field=self.field,
            record=self.record,
            offset=self.offset,
            value=self.value,
            rule=self.rule,
        )


def missing_cells(
    table: Table, item: Field, values: np.ndarray[Any, Any], blank_is: Severity = "info"
) -> Iterator[Finding]:
    """Count the cells of a number field that are blank or hold a special constant.

    A finding has the place of the first such cell, and their number as value; special
    constants are information, blank cells what `blank_is` says. `values`, (record,
    *repetitions): what was read of the field.
    """
    if item.data_type not in _NUMBERS or values.dtype.kind != "f":
        return
    layout, records = table.layout, table.records()
    places = np.argwhere(np.isnan(values))
    steps = np.array((layout.record_length, *item.strides), dtype=np.int64)
    starts = places @ steps + item.start
    blank: list[int] = []
    special: list[int] = []
    for k, start in enumerate(starts):
        row, column = divmod(int(start), layout.record_length)
        cell = records[row, column : column + item.length]
        (special if (cell != ord(" ")).any() else blank).append(k)
    rows: tuple[tuple[Severity, str, list[int]], ...] = (
        (blank_is, "table.blank_field_value", blank),
        ("info", "table.field_value_is_special_constant", special),
    )
    for severity, rule, found in rows:
        if found:
            yield Finding(
                severity,
                rule,
                f"{len(found)} cells without a value",
                str(table.source),
                item.name,
                int(places[found[0]][0]),
                int(starts[found[0]]) + layout.offset,
                len(found),
            )


def refuse_disorder(table: Table, names: Collection[str]) -> set[str]:
    """Refuse fields without groups whose values neither rise nor fall all the way.

    Names that the table does not have are left alone, the others returned. ProductError
    (``table.records_not_monotonic``) with the first record out of order.
    """
    found = [f for f in table.layout.fields if f.name in names and not f.groups]
    for item in found:
        values = table.read([item])[:, 0]
        rises = values[1:] > values[:-1]
        falls = values[1:] < values[:-1]
        if rises.all() or falls.all():
            continue
        wrong = ~rises if rises.sum() >= falls.sum() else ~falls
        row = int(wrong.argmax()) + 1
        msg = "field must rise or fall from record to record"
        layout = table.layout
        raise ProductError(
            msg,
            path=str(table.source),
            field=item.name,
            record=row,
            offset=layout.offset + row * layout.record_length + item.start,
            value=str(values[row]),
            rule="table.records_not_monotonic",
        )
    return {item.name for item in found}


def repeated_records(table: Table) -> Iterator[Finding]:
    """Warn of records with the same bytes: copied, or written twice.

    Yields
    ------
    Finding
        ``table.duplicate_record``, for each but the first of them.
    """
    seen: dict[bytes, int] = {}
    layout = table.layout
    for row, record in enumerate(table.records()):
        digest = hashlib.sha256(record.tobytes()).digest()
        first = seen.setdefault(digest, row)
        if first != row:
            yield Finding(
                "warning",
                "table.duplicate_record",
                f"record equals record {first}",
                str(table.source),
                None,
                row,
                layout.offset + row * layout.record_length,
            )
