"""Level 2 in the forms that others exchange: BIRA columns, HARP names."""

from tgo_spectra.exchange.bira import read_bira, write_bira
from tgo_spectra.exchange.harp import to_harp, write_harp

__all__ = ["read_bira", "to_harp", "write_bira", "write_harp"]
