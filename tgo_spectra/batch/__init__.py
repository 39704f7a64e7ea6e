"""Many products: one task a product, resumable."""

from tgo_spectra.batch.products import ProductStatus, run

__all__ = ["ProductStatus", "run"]
