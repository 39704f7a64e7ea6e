"""A map of many files by several processes: a map of each part, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tgo_spectra.batch.engines import mapped
from tgo_spectra.files.level2 import Found, files_in
from tgo_spectra.maps.dataset import DENSE_CELLS, dense, fields_in
from tgo_spectra.maps.maps import grid_level2
from tgo_spectra.maps.merging import merge_maps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from tgo_spectra.batch.engines import Engine
    from tgo_spectra.maps.grid import Grid

__all__ = ["map_files"]

_PART = 50
"""Files of a part: some seconds of work, and few maps to be sent."""


@dataclass(frozen=True)
class _MapOf:
    """Map of some files, in any process."""

    grid: Grid
    choices: Mapping[str, Any]

    def __call__(self, files: tuple[Path, ...]) -> xr.Dataset:
        return grid_level2(
            Found(files), self.grid, **self.choices, form="sparse",
            allow_empty=True,
        )  # fmt: skip


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
    form = choices.get("form")
    how = {name: value for name, value in choices.items() if name != "form"}
    whole = merge_maps(mapped(engine, _MapOf(grid, how), parts))
    if not fields_in(whole):  # it says why
        return grid_level2(Found(files), grid, **how, form=form)
    small = grid.n_cells <= DENSE_CELLS
    return dense(whole) if form == "dense" or (form is None and small) else whole
