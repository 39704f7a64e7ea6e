"""Figures: a Dataset in, Axes out; labels and units come from the attributes.

Nothing is fitted, filled or smoothed here. A figure without anything to draw says why.
"""

from tgo_spectra.plots.comparison import plot_comparison
from tgo_spectra.plots.limits import plot_limits, plot_sampling
from tgo_spectra.plots.maps import plot_globe, plot_map, plot_maps, plot_panels
from tgo_spectra.plots.product import plot_product, plot_spectrum
from tgo_spectra.plots.profiles import (
    plot_averaging_kernel,
    plot_fit,
    plot_profile,
)
from tgo_spectra.plots.results import (
    plot_columns,
    plot_errors,
    plot_residuals,
    plot_result,
)

__all__ = [
    "plot_averaging_kernel",
    "plot_columns",
    "plot_comparison",
    "plot_errors",
    "plot_fit",
    "plot_globe",
    "plot_limits",
    "plot_map",
    "plot_maps",
    "plot_panels",
    "plot_product",
    "plot_profile",
    "plot_residuals",
    "plot_result",
    "plot_sampling",
    "plot_spectrum",
]
