"""A report of a run: one page that needs nothing but itself, one more a product."""

from tgo_spectra.report.writing import write_report

__all__ = ["write_report"]
