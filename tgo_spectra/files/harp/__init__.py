"""Level 2 under the names of the HARP data format, out and in."""

from tgo_spectra.files.harp.reading import read_harp
from tgo_spectra.files.harp.writing import to_harp, write_harp

__all__ = ["read_harp", "to_harp", "write_harp"]
