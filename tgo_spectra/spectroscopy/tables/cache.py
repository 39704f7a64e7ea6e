"""Tables that are built once: a cache keyed by what goes into them.

The key is a hash of the line lists as read, the window, all settings and the version
of the package. The number of workers is not in it, since it changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra._version import __version__
from tgo_spectra.errors import TableError
from tgo_spectra.files.atomic import output_folder
from tgo_spectra.paths import cache_folder, is_foreign
from tgo_spectra.spectroscopy.tables.build import (
    MEMORY_GB,
    build_table,
    hash_of_lines,
)
from tgo_spectra.spectroscopy.tables.files import open_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

    from tgo_spectra.spectroscopy.lineparameters import Broadening

__all__ = ["TableSettings", "cached_table", "table_key"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableSettings:
    """Settings of a table that change its numbers; see `build_table`.

    Attributes
    ----------
    step : float
        Fine step, cm-1.
    tolerance, rank_tolerance : float
        Errors allowed to the nodes and to the vectors.
    atmospheres, verify_atmospheres : int
        Random atmospheres of the choice and of the measurement.
    seed : int
        Seed.
    """

    step: float = 0.002
    tolerance: float = 1.5e-4
    rank_tolerance: float = 3e-5
    atmospheres: int = 64
    verify_atmospheres: int = 2
    seed: int = 1


def table_key(
    lines: Mapping[str, tuple[xr.Dataset, Broadening]],
    window: tuple[float, float],
    band: str = "",
    settings: TableSettings | None = None,
) -> str:
    """Return the hash of everything that a table depends on.

    Parameters
    ----------
    lines : mapping of str to (Dataset, broadening)
        As in `build_table`; the order of the gases counts.
    window : tuple of float
        cm-1.
    band : str
        Name of the band.
    settings : TableSettings, optional
        Default ``TableSettings()``.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> a, b = table_key({}, (1.0, 2.0)), table_key({}, (1.0, 3.0))
    >>> (len(a), a == b)
    (64, False)
    """
    inputs = {
        "version": __version__,
        "window": [float(edge) for edge in window],
        "band": band,
        "settings": asdict(settings or TableSettings()),
        "gases": [
            # JSON makes a list of a tuple
            [gas, hash_of_lines(data), choice]
            for gas, (data, choice) in lines.items()
        ],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def cached_table(
    lines: Mapping[str, tuple[xr.Dataset, Broadening]],
    window: tuple[float, float],
    *,
    band: str = "",
    settings: TableSettings | None = None,
    cache_dir: str | Path | None = None,
    refresh: bool = False,
    workers: int = 2,
    processes: bool = False,
    memory_gb: float = MEMORY_GB,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Return the file of a table, built if it is not in the cache.

    Parameters
    ----------
    lines, window, band
        As in `build_table`.
    settings : TableSettings, optional
        Default ``TableSettings()``.
    cache_dir : path, optional
        Folder of the cache; default ``cache_folder("tables")``.
    refresh : bool
        Build even if it is there.
    workers : int
        Tasks of Dask at a time.
    processes : bool
        Processes in place of threads for the cross sections.
    memory_gb : float
        Memory the build may take, GB; it changes nothing of the table.
    report : callable, optional
        Takes lines of progress, see `build_table`.

    Returns
    -------
    pathlib.Path
        A file for `open_table`, named after the band and the key. What a build that
        was interrupted had finished lies beside it until it is finished.

    Raises
    ------
    TableError, LineListError
        As `build_table`.

    Examples
    --------
    >>> cached_table({"ch4": (lines, ("air", 1.3))}, (3010, 3020))  # doctest: +SKIP
    """
    chosen = settings or TableSettings()
    key = table_key(lines, window, band, chosen)
    folder = cache_folder("tables") if cache_dir is None else Path(cache_dir)
    path = folder / f"{band or 'table'}-{key[:16]}.nc"
    if cache_dir is None and path.is_file() and is_foreign(path):
        _LOG.warning("a table of another user in the cache is built anew: %s", path)
    elif path.is_file() and not refresh:
        try:
            if open_table(path).attrs.get("build_key") == key:
                return path
        except TableError as error:
            _LOG.warning("a damaged table in the cache is built anew: %s", error)
    table = build_table(
        lines,
        window,
        band=band,
        step=chosen.step,
        tolerance=chosen.tolerance,
        rank_tolerance=chosen.rank_tolerance,
        atmospheres=chosen.atmospheres,
        verify_atmospheres=chosen.verify_atmospheres,
        seed=chosen.seed,
        workers=workers,
        processes=processes,
        memory_gb=memory_gb,
        scratch=path.with_suffix(".pieces"),
        report=report,
    )
    table.attrs["build_key"] = key
    output_folder(folder)
    return write_table(table, path)
