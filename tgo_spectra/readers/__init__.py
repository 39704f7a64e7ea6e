"""Readers of archive products: from a label, a table or a delivery zip to xarray."""

from __future__ import annotations

from tgo_spectra.readers.acs_stripes import acs_spectra
from tgo_spectra.readers.many import open_products
from tgo_spectra.readers.open import open_product, open_product_tree

__all__ = ["acs_spectra", "open_product", "open_product_tree", "open_products"]
