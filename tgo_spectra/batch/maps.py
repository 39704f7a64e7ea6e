"""A map of many files by several processes: sums of each part, and one map of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.engines import as_they_come
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import Found, files_in, warn_of_places
from tgo_spectra.maps.dataset import DENSE_CELLS
from tgo_spectra.maps.maps import SummedMap, grid_level2, summed_level2
from tgo_spectra.maps.merging import merge_sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.batch.engines import Engine
    from tgo_spectra.maps.grid import Grid

__all__ = ["map_files"]

_PART = 25
"""Files of a part: a third of a second of work, so that all end at about one time."""


@dataclass(frozen=True)
class _SumsOf:
    """Sums of some files, in any process."""

    grid: Grid
    choices: Mapping[str, Any]

    def __call__(self, files: tuple[Path, ...]) -> SummedMap:
        return summed_level2(Found(files), self.grid, **self.choices)


def map_files(
    folder: str | Path,
    grid: Grid,
    engine: Engine,
    choices: Mapping[str, Any],
    *,
    leave_out: str | Path | None = None,
) -> xr.Dataset:
    """Map the level-2 files in a folder as `tgo_spectra.grid_level2` does.

    `choices` are those of that function, by name; `engine` is begun already; of the
    folder all files are taken but `leave_out`. TgoError as there, and those of the
    engine.
    """
    # absolute: a worker elsewhere may have another working folder
    files = [file.absolute() for file in files_in(folder, leave_out=leave_out)]
    parts = [tuple(files[k : k + _PART]) for k in range(0, len(files), _PART)] or [()]
    stated = {**(grid_level2.__kwdefaults__ or {}), **choices}
    form: Any = stated["form"] or ("dense" if grid.n_cells <= DENSE_CELLS else "sparse")
    some = False

    def each() -> Iterator[SummedMap]:
        """Give sums as they come: some are merged while others are made."""
        nonlocal some
        task = _SumsOf(grid, {**stated, "allow_empty": True})
        for one in as_they_come(engine, task, parts):
            some = some or bool(one.fields)
            yield one

    try:
        found = merge_sums(each(), form)
    except TgoError as error:
        if error.rule == "map.repeated":  # parts have no names: one by one they do
            grid_level2(Found(files), grid, **choices)
        raise
    if not stated["allow_empty"] and not some:
        return grid_level2(Found(files), grid, **choices)  # it says why
    warn_of_places(found.attrs)
    return found
