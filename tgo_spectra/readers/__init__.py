"""Readers of archive products: from a label, a table or a delivery zip to xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tgo_spectra.readers.open import open_product, open_product_tree

if TYPE_CHECKING:
    from tgo_spectra.readers.acs_stripes import acs_spectra as acs_spectra
    from tgo_spectra.readers.many import open_products as open_products

__all__ = ["acs_spectra", "open_product", "open_product_tree", "open_products"]


def __getattr__(name: str) -> object:
    """Import what one product does not need when it is used."""
    if name == "acs_spectra":
        from tgo_spectra.readers.acs_stripes import acs_spectra

        return acs_spectra
    if name == "open_products":
        from tgo_spectra.readers.many import open_products

        return open_products
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
