"""Figures: a Dataset in, Axes out; labels and units come from the attributes.

Nothing is fitted, filled or smoothed here.
"""

from tgo_spectra.plots.maps import plot_limits, plot_map
from tgo_spectra.plots.profiles import (
    plot_averaging_kernel,
    plot_fit,
    plot_profile,
    plot_spectrum,
)

__all__ = [
    "plot_averaging_kernel",
    "plot_fit",
    "plot_limits",
    "plot_map",
    "plot_profile",
    "plot_spectrum",
]
