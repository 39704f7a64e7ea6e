"""Open all tables of a product, or check all of it: three modes, one list of findings.

``strict`` refuses whatever breaks the label. ``repair`` applies a short list of
repairs that cannot change a value (see `repairs`), and records each; ``warn`` does the
same aloud.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import ProductError, TgoWarning
from tgo_spectra.pds4.binary import ArrayObject, BinaryTable, file_bytes
from tgo_spectra.pds4.delimited import DelimitedTable
from tgo_spectra.pds4.fields import KNOWN_TYPES
from tgo_spectra.pds4.label import parse_label
from tgo_spectra.pds4.report import (
    Finding,
    Severity,
    missing_cells,
    refuse_disorder,
    repeated_records,
)
from tgo_spectra.pds4.source import Source
from tgo_spectra.pds4.structures import Objects, find_data, open_objects
from tgo_spectra.pds4.table import Table, repaired
from tgo_spectra.pds4.xml import LABEL_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tgo_spectra.pds4.label import Field, FileArea, Label
    from tgo_spectra.pds4.structures import Structure

__all__ = ["Finding", "Mode", "check_product", "findings_of", "open_tables"]

Mode = Literal["strict", "warn", "repair"]
"""How faults are met."""

_SIZES = {
    "label.filesize_mismatch",
    "table.records_mismatch",
    "table.record_length_mismatch",
}


def open_tables(
    path: str | Path | Source,
    *,
    mode: Mode = "strict",
    monotonic: Collection[str] = (),
    exact: bool = False,
) -> list[Table]:
    """Open every character table of a product, checked against its label.

    Parameters
    ----------
    path : path or Source
        The label; a `Source` may lie in a zip.
    mode : {"strict", "warn", "repair"}
        See the module. Repairs are listed in ``table.layout.repairs``. ``warn``
        leaves out a file that is missing or wrong, with a warning, if another file
        of the product can be opened.
    monotonic : collection of str
        Fields without groups whose values must rise or fall from record to record,
        each in every table that has it. Without it an exchange of two records cannot
        be noticed unless the label states an MD5.
    exact : bool
        Hold the product to what those of the archive's own instruments keep; see
        `tgo_spectra.pds4.label`.

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
        Oddities of the label, bytes that no object describes, or two; in mode
        ``warn`` also each repair.
    """
    source = Source.of(path)
    repair = _is_repair(mode)
    label = _label(source, repair=repair, exact=exact)
    tables: list[Table] = []
    errors: list[ProductError] = []
    texts: list[str] = []
    for area in label.areas:
        try:
            opened = _open(area, label, source, repair=repair, exact=exact)
            tables.extend(x for _, x in opened.structures if isinstance(x, Table))
            texts.extend(map(str, opened.faults))
        except ProductError as error:
            errors.append(error)
            if mode != "warn" or len(errors) == len(label.areas):
                raise errors[0] from None
    found: set[str] = set()
    for table in tables:
        found |= refuse_disorder(table, monotonic)
    _refuse_unknown(monotonic, found, source)
    if mode == "warn":
        texts.extend(f"left out: {error}" for error in errors)
        for table in tables:
            notes = table.layout.repairs
            texts.extend(f"{table.source}: repaired: {text}" for text in notes)
    for text in texts:
        warnings.warn(text, TgoWarning, stacklevel=2)
    return tables


def check_product(
    path: str | Path | Source,
    *,
    mode: Mode = "strict",
    monotonic: Collection[str] = (),
    exact: bool = False,
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
        Fields without groups whose values must rise or fall from record to record,
        each in every table that has it.
    exact : bool
        Hold the product to what those of the archive's own instruments keep; see
        `tgo_spectra.pds4.label`.

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
    check = _Check(_is_repair(mode), mode == "warn", exact, monotonic)
    check.product(Source.of(path))
    if mode == "warn":
        for item in check.findings:
            if item.severity != "info":
                warnings.warn(
                    f"{item.path}: {item.message} [{item.rule}]",
                    TgoWarning,
                    stacklevel=2,
                )
    return check.findings


def findings_of(source: Source, *, exact: bool = False) -> list[Finding]:
    """Say all that is wrong with a product; nothing is raised, repaired or warned of.

    In the order of the files; the first error is the primary one. `source` is the
    label, `exact` as for `check_product`.
    """
    check = _Check(False, True, exact, ())
    check.product(source)
    return check.findings


def _refuse_unknown(
    monotonic: Collection[str], found: Collection[str], source: Source
) -> None:
    unknown = sorted(set(monotonic) - set(found))
    if unknown:
        msg = "no table has a field of this name outside of groups"
        rule = "table.fields_mismatch"
        raise ProductError(msg, path=str(source), value=unknown[0], rule=rule)


def _is_repair(mode: str) -> bool:
    if mode not in {"strict", "warn", "repair"}:
        msg = "mode must be strict, warn or repair"
        raise ProductError(msg, field="mode", value=mode, rule="mode.unknown")
    return mode != "strict"


def _label(source: Source, *, repair: bool, exact: bool) -> Label:
    text = source.read(LABEL_BYTES_MAX)
    return parse_label(text, str(source), repair=repair, exact=exact)


def _open(
    area: FileArea, label: Label, source: Source, *, repair: bool, exact: bool
) -> Objects:
    data = find_data(area, label, source, repair=repair)
    if repair and area.tables:
        fixed = [repaired(layout, area, data) for layout in area.tables]
        area = replace(fixed[0][1], tables=tuple(layout for layout, _ in fixed))
    return open_objects(area, data, str(source), verify_md5=True, exact=exact)


def _is_special(item: Field | ArrayObject) -> bool:
    """Say whether the label calls some values no data."""
    return bool(item.fill_texts) or any(item.valid)


class _Check:
    """Findings about one product, collected or raised."""

    def __init__(
        self, repair: bool, collect: bool, exact: bool, monotonic: Collection[str]
    ) -> None:
        self.repair = repair
        self.collect = collect
        self.exact = exact
        self.monotonic = monotonic
        self.ordered: set[str] = set()
        self.findings: list[Finding] = []

    def error(self, error: ProductError) -> None:
        """Keep an error as a finding."""
        self.findings.append(Finding.of(error))

    def refuse(self, error: ProductError) -> None:
        """Raise an error, or go on."""
        if not self.collect:
            raise error
        self.error(error)

    def product(self, source: Source) -> None:
        """Check label, files and tables."""
        try:
            label = self.label(source)
        except ProductError as error:
            self.refuse(error)
            return
        for area in label.areas:
            try:
                self.area(area, label, source)
            except ProductError as error:
                self.refuse(error)
        if all(item.severity != "error" for item in self.findings):
            try:
                _refuse_unknown(self.monotonic, self.ordered, source)
            except ProductError as error:
                self.refuse(error)

    def label(self, source: Source) -> Label:
        """Return the parsed label; its oddities are findings."""
        with self.heard(str(source)):
            return _label(source, repair=self.repair, exact=self.exact)

    @contextlib.contextmanager
    def heard(self, path: str) -> Iterator[None]:
        """Make findings of the warnings about a file."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TgoWarning)
            yield
        for item in caught:
            text = str(item.message)
            rule = re.search(r"\[([\w.]+)\]$", text)
            name = rule[1] if rule else ""
            text = text.removeprefix(f"{path}: ").removesuffix(f" [{name}]")
            self.findings.append(Finding("warning", name, text, path))

    def area(self, area: FileArea, label: Label, source: Source) -> None:
        """Check one file; after an error of the whole file, find the place."""
        try:
            opened = self.open(area, label, source)
        except ProductError as error:
            if not self.collect:
                raise
            self.error(error)
            if error.rule in _SIZES:
                self.first_bad_record(area, label, source)
            if error.rule != "label.checksum_mismatch":
                return
            opened = self.open(replace(area, md5=None), label, source)
        for fault in opened.faults:
            self.findings.append(Finding.of(fault, "warning"))
        for _, item in opened.structures:
            with self.heard(str(item.source)):
                self.structure(item)

    def structure(self, item: Structure) -> None:
        """Check all cells of an object that may be wrong, or not be what they say."""
        if isinstance(item, Table):
            for note in item.layout.repairs:
                self.findings.append(
                    Finding("info", "table.repaired", note, str(item.source))
                )
            self.table(item)
        elif isinstance(item, DelimitedTable):
            item.check()
        elif isinstance(item, BinaryTable):
            for one in item.layout.fields:
                # bytes of others all are numbers
                if one.data_type in KNOWN_TYPES or _is_special(one):
                    item.read(" / ".join((*one.groups, one.name)))
        elif _is_special(item):
            item.read()

    def open(self, area: FileArea, label: Label, source: Source) -> Objects:
        """Open the objects of one file."""
        return _open(area, label, source, repair=self.repair, exact=self.exact)

    def first_bad_record(self, area: FileArea, label: Label, source: Source) -> None:
        """Say where the records of a file of the wrong size cease to fit."""
        data = find_data(area, label, source, repair=self.repair)
        for layout in area.tables:
            length, mark = layout.record_length, layout.delimiter
            count = min((data.size() - layout.offset) // length, layout.records)
            if count <= 0:
                continue
            part = file_bytes(data, data.size())[layout.offset :][: count * length]
            ends = part.reshape(count, length)[:, -len(mark) :]
            wrong = (ends != np.frombuffer(mark, dtype=np.uint8)).any(axis=1)
            if wrong.any():
                row = int(wrong.argmax())
                name = "CRLF" if len(mark) == 2 else "LF"
                self.findings.append(
                    Finding(
                        "error",
                        f"table.missing_{name}",
                        f"record does not end with {name}",
                        str(data),
                        layout.name,
                        row,
                        layout.offset + (row + 1) * length - len(mark),
                        ends[row].tobytes(),
                    )
                )

    def table(self, table: Table) -> None:
        """Check every cell, and that records differ."""
        readable: set[str] = set()
        for item in table.layout.fields:
            try:
                values = table.read([item])[:, 0]
            except ProductError as error:
                self.refuse(error)
                continue
            readable.add(item.name)
            # blank is a legal way to say "no value", but not that of the archive
            blank: Severity = "warning" if self.exact else "info"
            self.findings.extend(missing_cells(table, item, values, blank))
        for name in readable.intersection(self.monotonic):
            try:
                self.ordered |= refuse_disorder(table, {name})
            except ProductError as error:
                self.refuse(error)
        self.findings.extend(repeated_records(table))
