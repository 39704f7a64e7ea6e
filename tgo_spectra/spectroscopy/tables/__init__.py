"""Absorption tables: made, kept in files, read into arrays."""

from tgo_spectra.spectroscopy.tables.read import (
    BandTable,
    build_table,
    check_covers,
    check_range,
    interpolate_coefficients,
    list_tables,
    open_table,
    table_arrays,
    table_gases,
    verify_table,
    write_table,
)

__all__ = [
    "BandTable",
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
