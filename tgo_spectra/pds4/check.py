"""Open all tables of a product, or check all of it: three modes, one list of findings.

``strict`` refuses whatever breaks the label. ``repair`` applies a short list of
repairs that cannot change a value, and records each; ``warn`` does the same aloud.

The repairs:

* a group that lies exactly on its predecessor follows it, if the record then closes;
* a data file whose name differs from the label in upper and lower case only is taken;
* records that end in LF although CR LF is declared are read as such, if their number
  and length then fit the file exactly;
* blanks, NULs, line ends and Ctrl-Z after the last record are ignored.

Nothing is repaired in a file that differs from the MD5 of its label.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4.label import INTEGER_TYPES, REAL_TYPES, parse_label
from tgo_spectra.pds4.source import Source, resolve_data
from tgo_spectra.pds4.table import Table, open_table
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from tgo_spectra.pds4.label import Field, FileArea, Label, TableCharacter

__all__ = ["Finding", "Mode", "check_product", "open_tables"]

Mode = Literal["strict", "warn", "repair"]
"""How faults are met."""

_PADDING = b" \0\r\n\x1a"  # Ctrl-Z ends text files of old systems
_NUMBERS = REAL_TYPES | INTEGER_TYPES


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

    severity: Literal["error", "warning", "info"]
    rule: str
    message: str
    path: str
    field: str | None = None
    record: int | None = None
    offset: int | None = None
    value: object = None


def open_tables(path: str | Path | Source, *, mode: Mode = "strict") -> list[Table]:
    """Open every character table of a product, checked against its label.

    Parameters
    ----------
    path : path or Source
        The label; a `Source` may lie in a zip.
    mode : {"strict", "warn", "repair"}
        See the module. Repairs are listed in ``table.layout.repairs``.

    Returns
    -------
    list of Table
        In the order of the label.

    Raises
    ------
    ProductError
        With the rule broken.

    Warns
    -----
    TgoWarning
        Oddities of the label; in mode ``warn`` also each repair.
    """
    source = _source(path)
    repair = _is_repair(mode)
    label = _label(source, repair=repair)
    tables = [
        table for area in label.areas for table in _open(area, label, source, repair)
    ]
    if mode == "warn":
        for table in tables:
            for text in table.layout.repairs:
                warnings.warn(
                    f"{table.source}: repaired: {text}", TgoWarning, stacklevel=2
                )
    return tables


def check_product(
    path: str | Path | Source,
    *,
    mode: Mode = "strict",
    monotonic: Collection[str] = (),
) -> list[Finding]:
    """Read a whole product, every cell of every table, and say what is wrong.

    Parameters
    ----------
    path : path or Source
        The label; a `Source` may lie in a zip.
    mode : {"strict", "warn", "repair"}
        ``strict`` and ``repair`` raise the first error; ``warn`` goes on, and issues
        each error as a warning.
    monotonic : collection of str
        Fields without groups whose values must rise or fall from record to record.

    Returns
    -------
    list of Finding
        Warnings and information; in mode ``warn`` also errors. The first error of a
        file is the primary one, later ones help to find the place.

    Raises
    ------
    ProductError
        The first error, with the rule broken.

    Examples
    --------
    >>> check_product("no_such_label.xml")
    Traceback (most recent call last):
    ...
    tgo_spectra.errors.ProductError: no_such_label.xml: no such file ...
    """
    check = _Check(mode, monotonic)
    try:
        check.product(_source(path))
    except ProductError as error:
        if mode != "warn":
            raise
        check.error(error)
    if mode == "warn":
        for item in check.findings:
            if item.severity != "info":
                warnings.warn(
                    f"{item.path}: {item.message} [{item.rule}]",
                    TgoWarning,
                    stacklevel=2,
                )
    return check.findings


def _source(path: str | Path | Source) -> Source:
    return path if isinstance(path, Source) else Source(str(path))


def _is_repair(mode: str) -> bool:
    if mode not in {"strict", "warn", "repair"}:
        msg = "mode must be strict, warn or repair"
        raise ProductError(msg, field="mode", value=mode, rule="mode.unknown")
    return mode != "strict"


def _label(source: Source, *, repair: bool) -> Label:
    return parse_label(source.read(LABEL_BYTES_MAX), str(source), repair=repair)


def _open(area: FileArea, label: Label, source: Source, repair: bool) -> list[Table]:
    data, _ = resolve_data(source, area.file_name, label.version, repair=repair)
    tables = []
    for layout in area.tables:
        good, real = (layout, area)
        if repair:
            good, real = _repaired(layout, area, data)
        tables.append(open_table(good, real, data))
    return tables


def _repaired(
    layout: TableCharacter, area: FileArea, source: Source
) -> tuple[TableCharacter, FileArea]:
    """Return what label and file agree on, if that cannot change a value."""
    if source.name != area.file_name and source.name.lower() == area.file_name.lower():
        note = f"file_name {area.file_name!r} read from {source.name!r}"
        layout = replace(layout, repairs=(*layout.repairs, note))
    size = source.size()
    wanted = layout.offset + layout.records * layout.record_length
    if len(area.tables) > 1 or area.others or size in {wanted, 0}:
        return layout, area
    short = wanted - layout.records == size and layout.delimiter == b"\r\n"
    if not short and size < wanted:
        return layout, area
    data = source.read()
    if area.md5 not in {None, hashlib.md5(data, usedforsecurity=False).hexdigest()}:
        return layout, area
    if short:
        length = layout.record_length - 1
        ends = data[layout.offset + length - 1 :: length]
        if ends == b"\n" * layout.records and b"\r" not in data[layout.offset :]:
            note = f"record_length {length + 1} read as {length}: records end in LF"
            layout = replace(
                layout,
                record_length=length,
                delimiter=b"\n",
                repairs=(*layout.repairs, note),
            )
            area = replace(area, file_size=None)
    elif not data[wanted:].strip(_PADDING):
        note = f"{size - wanted} bytes of padding after the last record ignored"
        layout = replace(layout, repairs=(*layout.repairs, note))
        area = replace(area, file_size=None, others=(("Padding", ""),))
    return layout, area


class _Check:
    """Findings about one product, collected or raised."""

    def __init__(self, mode: Mode, monotonic: Collection[str]) -> None:
        self.repair = _is_repair(mode)
        self.collect = mode == "warn"
        self.monotonic = monotonic
        self.findings: list[Finding] = []

    def error(self, error: ProductError) -> None:
        """Keep an error as a finding."""
        self.findings.append(
            Finding(
                "error",
                error.rule or "",
                error.message,
                error.path or "",
                error.field,
                error.record,
                error.offset,
                error.value,
            )
        )

    def refuse(self, error: ProductError) -> None:
        """Raise an error, or go on."""
        if not self.collect:
            raise error
        self.error(error)

    def product(self, source: Source) -> None:
        """Check label, files and tables."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TgoWarning)
            label = _label(source, repair=self.repair)
        for item in caught:
            text = str(item.message)
            rule = re.search(r"\[([\w.]+)\]$", text)
            name = rule[1] if rule else ""
            text = text.removeprefix(f"{source}: ").removesuffix(f" [{name}]")
            self.findings.append(Finding("warning", name, text, str(source)))
        for area in label.areas:
            try:
                self.area(area, label, source)
            except ProductError as error:
                self.refuse(error)

    def area(self, area: FileArea, label: Label, source: Source) -> None:
        """Check one file; after an error of the whole file, find the place."""
        try:
            tables = _open(area, label, source, self.repair)
        except ProductError as error:
            if error.rule == "label.checksum_mismatch" and self.collect:
                self.error(error)
                plain = replace(area, md5=None)
                tables = _open(plain, label, source, self.repair)
            else:
                raise
        if not tables:
            self.whole_file(area, label, source)
        for table in tables:
            for note in table.layout.repairs:
                self.findings.append(
                    Finding("info", "table.repaired", note, str(table.source))
                )
            self.table(table)

    def whole_file(self, area: FileArea, label: Label, source: Source) -> None:
        """Check size and MD5 of a file without character tables."""
        data, _ = resolve_data(
            source, area.file_name, label.version, repair=self.repair
        )
        size = data.size()
        if area.file_size not in {None, size}:
            msg = f"file has {size} bytes, the label says {area.file_size}"
            raise ProductError(
                msg, path=str(data), value=size, rule="label.filesize_mismatch"
            )
        digest = hashlib.md5(data.read(), usedforsecurity=False).hexdigest()
        if area.md5 not in {None, digest}:
            msg = f"MD5 of the file differs from the label's {area.md5}"
            raise ProductError(
                msg, path=str(data), value=digest, rule="label.checksum_mismatch"
            )

    def table(self, table: Table) -> None:
        """Check every cell, and that records differ."""
        known = {item.name for item in table.layout.fields if not item.groups}
        for name in set(self.monotonic) - known:
            table.layout.field(name)  # raises, unless it is in a group
        for item in table.layout.fields:
            try:
                values = table.read([item])[:, 0]
                if item.name in self.monotonic and not item.groups:
                    self.order(table, item, values)
            except ProductError as error:
                self.refuse(error)
                continue
            if item.data_type in _NUMBERS and values.dtype.kind == "f":
                self.missing(table, item, values)
        self.duplicates(table)

    def missing(self, table: Table, item: Field, values: np.ndarray[Any, Any]) -> None:
        """Count cells that are blank, and those with a special constant."""
        layout, records = table.layout, table.records()
        places = np.argwhere(np.isnan(values))
        steps = np.array((layout.record_length, *item.strides), dtype=np.int64)
        starts = places @ steps + layout.offset + item.start
        blank: list[int] = []
        special: list[int] = []
        for k, start in enumerate(starts - layout.offset):
            row, column = divmod(int(start), layout.record_length)
            cell = records[row, column : column + item.length]
            (special if (cell != ord(" ")).any() else blank).append(k)
        for rule, found in (
            ("table.blank_field_value", blank),
            ("table.field_value_is_special_constant", special),
        ):
            if found:
                self.findings.append(
                    Finding(
                        "info",
                        rule,
                        f"{len(found)} cells without a value",
                        str(table.source),
                        item.name,
                        int(places[found[0]][0]),
                        int(starts[found[0]]),
                        len(found),
                    )
                )

    def order(self, table: Table, item: Field, values: np.ndarray[Any, Any]) -> None:
        """Refuse values that neither rise nor fall all the way."""
        rises = values[1:] > values[:-1]
        falls = values[1:] < values[:-1]
        if rises.all() or falls.all():
            return
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

    def duplicates(self, table: Table) -> None:
        """Warn of records with the same bytes: copied, or written twice."""
        seen: dict[bytes, int] = {}
        layout = table.layout
        for row, record in enumerate(table.records()):
            digest = hashlib.sha256(record.tobytes()).digest()
            first = seen.setdefault(digest, row)
            if first != row:
                self.findings.append(
                    Finding(
                        "warning",
                        "table.duplicate_record",
                        f"record equals record {first}",
                        str(table.source),
                        None,
                        row,
                        layout.offset + row * layout.record_length,
                    )
                )
