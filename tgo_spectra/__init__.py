"""ExoMars Trace Gas Orbiter spectra: read, fit trace gases, map.

The names below are the public interface; each is imported when first used, so
that ``import tgo_spectra`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tgo_spectra._version import __version__ as __version__

_HOME = {
    "Grid": "maps",
    "RetrievalSetup": "retrieval.setup",
    "TgoError": "errors",
    "absorption_cross_section": "spectroscopy.absorption",
    "acs_spectra": "readers",
    "atmosphere_at": "atmosphere.climatology",
    "atmosphere_for_product": "atmosphere.climatology",
    "build_table": "spectroscopy.tables",
    "compare": "comparison",
    "collect": "files.collecting",
    "find": "archive",
    "grid_level2": "maps",
    "index_archive": "archive",
    "limb_transmittance": "forward.limb",
    "load_setup": "retrieval.setups",
    "mars_year": "mars",
    "merge_maps": "maps",
    "open_climatology": "atmosphere.climatology",
    "open_level2": "files.collecting",
    "open_product": "readers",
    "open_product_tree": "readers",
    "open_products": "readers",
    "open_table": "spectroscopy.tables",
    "partition_sum": "spectroscopy.linelist",
    "read_atmosphere": "atmosphere",
    "read_bira": "files.bira",
    "read_harp": "files.harp",
    "read_line_list": "spectroscopy.linelist",
    "reference_atmosphere": "atmosphere",
    "retrieve": "retrieval",
    "run": "batch.products",
    "simulate_product": "simulate",
    "solar_longitude": "mars",
    "spectrum_at": "readers.spectra",
    "stacked_limits": "maps",
    "to_harp": "files.harp",
    "write_bira": "files.bira",
    "write_harp": "files.harp",
    "write_level2": "files.netcdf",
    "write_map": "files.netcdf",
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from tgo_spectra.archive import find as find
    from tgo_spectra.archive import index_archive as index_archive
    from tgo_spectra.atmosphere.climatology import atmosphere_at as atmosphere_at
    from tgo_spectra.atmosphere.climatology import (
        atmosphere_for_product as atmosphere_for_product,
    )
    from tgo_spectra.atmosphere.climatology import open_climatology as open_climatology
    from tgo_spectra.atmosphere.files import read_atmosphere as read_atmosphere
    from tgo_spectra.atmosphere.reference import (
        reference_atmosphere as reference_atmosphere,
    )
    from tgo_spectra.batch.products import run as run
    from tgo_spectra.comparison import compare as compare
    from tgo_spectra.errors import TgoError as TgoError
    from tgo_spectra.files.bira import read_bira as read_bira
    from tgo_spectra.files.bira import write_bira as write_bira
    from tgo_spectra.files.collecting import collect as collect
    from tgo_spectra.files.collecting import open_level2 as open_level2
    from tgo_spectra.files.harp import read_harp as read_harp
    from tgo_spectra.files.harp import to_harp as to_harp
    from tgo_spectra.files.harp import write_harp as write_harp
    from tgo_spectra.files.netcdf import write_level2 as write_level2
    from tgo_spectra.files.netcdf import write_map as write_map
    from tgo_spectra.forward.limb import limb_transmittance as limb_transmittance
    from tgo_spectra.maps.grid import Grid as Grid
    from tgo_spectra.maps.maps import grid_level2 as grid_level2
    from tgo_spectra.maps.merging import merge_maps as merge_maps
    from tgo_spectra.maps.stacking import stacked_limits as stacked_limits
    from tgo_spectra.mars import mars_year as mars_year
    from tgo_spectra.mars import solar_longitude as solar_longitude
    from tgo_spectra.readers import acs_spectra as acs_spectra
    from tgo_spectra.readers import open_product as open_product
    from tgo_spectra.readers import open_product_tree as open_product_tree
    from tgo_spectra.readers import open_products as open_products
    from tgo_spectra.readers.spectra import spectrum_at as spectrum_at
    from tgo_spectra.retrieval import retrieve as retrieve
    from tgo_spectra.retrieval.setup import RetrievalSetup as RetrievalSetup
    from tgo_spectra.retrieval.setups import load_setup as load_setup
    from tgo_spectra.simulate import simulate_product as simulate_product
    from tgo_spectra.spectroscopy.absorption import (
        absorption_cross_section as absorption_cross_section,
    )
    from tgo_spectra.spectroscopy.linelist import partition_sum as partition_sum
    from tgo_spectra.spectroscopy.linelist import read_line_list as read_line_list
    from tgo_spectra.spectroscopy.tables.build import build_table as build_table
    from tgo_spectra.spectroscopy.tables.files import open_table as open_table


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use."""
    if name not in _HOME:
        message = f"module 'tgo_spectra' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"tgo_spectra.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*__all__, "__version__"]
