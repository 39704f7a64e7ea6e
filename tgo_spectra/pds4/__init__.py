"""Planetary Data System version 4 (PDS4) labels and character tables.

Generic: nothing here knows an instrument. `parse_label` turns a label into frozen
records, `resolve_data` finds the file it names, `open_table` checks that file and
returns a `Table` whose columns are parsed when asked for.

References
----------
PDS4 information model 1.15 (schema ``PDS4_PDS_1F00.xsd``); rule ids follow
``ProblemType`` of the NASA-PDS validate tool where it has the concept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.pds4.label import Field, FileArea, Label, TableCharacter, parse_label
from tgo_spectra.pds4.source import Source, archive_members, resolve_data
from tgo_spectra.pds4.table import Columns, Table, open_table

if TYPE_CHECKING:
    from tgo_spectra.pds4.structures import Structure as Structure
    from tgo_spectra.pds4.structures import open_structures as open_structures

__all__ = [
    "Columns",
    "Field",
    "FileArea",
    "Label",
    "Source",
    "Structure",
    "Table",
    "TableCharacter",
    "archive_members",
    "open_structures",
    "open_table",
    "parse_label",
    "resolve_data",
]


def __getattr__(name: str) -> object:
    """Import what reads objects that are no character tables when one is opened."""
    if name not in {"Structure", "open_structures"}:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.pds4 import structures

    return getattr(structures, name)
