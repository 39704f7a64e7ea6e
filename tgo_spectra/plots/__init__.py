"""Figures: a Dataset in, Axes out."""

from tgo_spectra.plots.profiles import (
    plot_averaging_kernel,
    plot_fit,
    plot_limits,
    plot_map,
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
