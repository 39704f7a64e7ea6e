"""Many products: one task a product, resumable."""

from tgo_spectra.batch.journal import ProductStatus
from tgo_spectra.batch.products import run

__all__ = ["ProductStatus", "run"]
