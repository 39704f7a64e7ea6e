"""Bytes of fixed-width records: where cells are, how records end, what is between.

PDS4 says nothing of the bytes between fields; the archive's own products have blanks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.errors import ProductError
from tgo_spectra.pds4 import known

if TYPE_CHECKING:
    from tgo_spectra.pds4.label import Field, TableCharacter
    from tgo_spectra.pds4.table import Table

__all__ = ["between_fields", "blocks", "cell_starts", "check_ends", "stray_character"]

_SEPARATORS = b" ,;:|/'\"`\t()[]{}<>="  # not + - . which belong to numbers


def cell_starts(item: Field) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the first byte of every cell of a field, shape of its repetitions."""
    starts = np.array(item.start, dtype=np.int64)
    for count, step in zip(item.shape, item.strides, strict=True):
        starts = starts[..., None] + np.arange(count, dtype=np.int64) * step
    return starts


def blocks(item: Field) -> tuple[list[int], int]:
    """Return the first bytes of the unbroken blocks of a field, and their length."""
    if item.shape and item.strides[-1] == item.length:
        outer = replace(item, shape=item.shape[:-1], strides=item.strides[:-1])
        return cell_starts(outer).ravel().tolist(), item.length * item.shape[-1]
    return cell_starts(item).ravel().tolist(), item.length


def _gaps(layout: TableCharacter) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say which bytes of a record belong to no field and not to the delimiter."""
    free = np.ones(layout.record_length, dtype=np.bool_)
    free[layout.record_length - len(layout.delimiter) :] = False
    for item in layout.fields:
        starts, length = blocks(item)
        for start in starts:
            free[start : start + length] = False
    return free


def _record_fault(
    table: Table,
    records: np.ndarray[Any, np.dtype[np.uint8]],
    place: tuple[int, int, int],
    message: str,
    rule: str,
) -> ProductError:
    """Return the error of some bytes; `place` is (record, first byte, length)."""
    row, column, size = place
    layout = table.layout
    return ProductError(
        message,
        path=str(table.source),
        record=row,
        offset=layout.offset + row * layout.record_length + column,
        value=records[row, column : column + size].tobytes(),
        rule=rule,
    )


def check_ends(table: Table, records: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Refuse records that do not end with the delimiter of the label."""
    layout = table.layout
    mark = np.frombuffer(layout.delimiter, dtype=np.uint8)
    body = layout.record_length - mark.size
    wrong = (records[:, body:] != mark).any(axis=1)
    if wrong.any():
        name = "CRLF" if mark.size == 2 else "LF"
        raise _record_fault(
            table,
            records,
            (int(wrong.argmax()), body, mark.size),
            f"record does not end with {name}",
            f"table.missing_{name}",
        )


def stray_character(
    table: Table, records: np.ndarray[Any, np.dtype[np.uint8]], allowed: bytes = b" "
) -> ProductError | None:
    """Return the error of the first byte between fields that is none of `allowed`."""
    layout = table.layout
    # a repair may change the length of the records without changing the fields
    kind = f"gaps of {layout.record_length} bytes, {len(layout.delimiter)} at the end"
    free = known.kept(kind, layout.fields, lambda: _gaps(layout))
    if not free.any():
        return None
    found = records[:, free]
    stray = ~_is_one_of(found, allowed)
    if not stray.any():
        return None
    row, k = np.argwhere(stray)[0]
    place = int(row), int(np.flatnonzero(free)[k]), 1
    msg = "character between fields is no blank"
    rule = "table.characters_between_fields"
    return _record_fault(table, records, place, msg, rule)


def _is_one_of(
    found: np.ndarray[Any, np.dtype[np.uint8]], allowed: bytes
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Say which bytes are among some; the usual case of one costs one comparison."""
    if len(allowed) == 1:
        only: np.ndarray[Any, np.dtype[np.bool_]] = found == ord(allowed)
        return only
    return np.isin(found, np.frombuffer(allowed, dtype=np.uint8))


def between_fields(table: Table) -> ProductError | None:
    """Return what is worth a warning of the characters between fields, or None.

    Separators, quotes and brackets are nothing: PDS4 allows anything there. What could
    be part of a number or a word may mean that the label's positions are wrong.
    """
    return stray_character(table, table.records(), _SEPARATORS)
