"""Level 3: level-2 profiles and columns summed into the cells of a map."""

from tgo_spectra.maps.maps import Grid, grid_level2, merge_maps

__all__ = ["Grid", "grid_level2", "merge_maps"]
