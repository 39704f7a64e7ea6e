"""Absorption tables: made, kept in files, read into arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.spectroscopy.tables.files import (
    list_tables,
    open_table,
    table_gases,
    verify_table,
    write_table,
)
from tgo_spectra.spectroscopy.tables.read import (
    BandTable,
    band_of,
    check_covers,
    check_range,
    interpolate_coefficients,
    table_arrays,
)

if TYPE_CHECKING:
    from tgo_spectra.spectroscopy.tables.build import build_table as build_table

__all__ = [
    "BandTable",
    "band_of",
    "build_table",
    "check_covers",
    "check_range",
    "interpolate_coefficients",
    "list_tables",
    "open_table",
    "table_arrays",
    "table_gases",
    "verify_table",
    "write_table",
]


def __getattr__(name: str) -> object:
    """Import what makes tables when it is used: a fit only reads them."""
    if name != "build_table":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from tgo_spectra.spectroscopy.tables.build import build_table

    return build_table
