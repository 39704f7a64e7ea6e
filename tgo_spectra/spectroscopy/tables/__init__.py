"""Absorption tables: made, kept in files, read into arrays."""

from tgo_spectra.spectroscopy.tables.build import build_table
from tgo_spectra.spectroscopy.tables.files import (
    list_tables,
    open_table,
    table_gases,
    verify_table,
    write_table,
)
from tgo_spectra.spectroscopy.tables.interpolation import interpolate_coefficients
from tgo_spectra.spectroscopy.tables.read import (
    BandTable,
    check_covers,
    check_range,
    table_arrays,
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
