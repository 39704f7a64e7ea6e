"""Finding products: catalogue of a folder, search and download of the archive.

`index_archive` makes a catalogue of what is on disk and `find` asks it; `fetch`
downloads from the Planetary Science Archive; `verify` reads everything. Only `fetch`
and `search` use the network.

References
----------
Besse et al. 2018, Planet. Space Sci. 150, 131, doi:10.1016/j.pss.2017.07.013.
"""

from __future__ import annotations

from tgo_spectra.archive.fetching import Fetched, Remote, fetch, search
from tgo_spectra.archive.index import (
    default_catalogue,
    find,
    index_archive,
    read_catalogue,
)
from tgo_spectra.archive.settings import ArchiveSettings, load_settings
from tgo_spectra.archive.verifying import Verified, verify

__all__ = [
    "ArchiveSettings",
    "Fetched",
    "Remote",
    "Verified",
    "default_catalogue",
    "fetch",
    "find",
    "index_archive",
    "load_settings",
    "read_catalogue",
    "search",
    "verify",
]
