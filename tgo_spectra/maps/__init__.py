"""Level 3: level-2 profiles and columns summed into the cells of a map."""

from tgo_spectra.maps.dataset import dense
from tgo_spectra.maps.grid import Grid
from tgo_spectra.maps.maps import grid_level2
from tgo_spectra.maps.merging import merge_maps
from tgo_spectra.maps.smoothing import krige_map, smooth_map
from tgo_spectra.maps.stacking import stacked_limits, table_of

__all__ = [
    "Grid",
    "dense",
    "grid_level2",
    "krige_map",
    "merge_maps",
    "smooth_map",
    "stacked_limits",
    "table_of",
]
