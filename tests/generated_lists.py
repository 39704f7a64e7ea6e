"""Line lists of lines at random places, complete by a ledger of their own.

For the pages on tables: their commands are run on these, and with tables that are
coarse, to be quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import synthetic_bands
import test_45_prepare as records

from tgo_spectra.spectroscopy import ledger
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables import shipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REACH = (2300.0, 4150.0)  # cm-1
ISOTOPOLOGUES = {
    "h2o": ((1, 1, 1e-22), (1, 4, 1e-25)),
    "co2": ((2, 1, 1e-22),),
    "o3": ((3, 1, 1e-20),),
    "ch4": ((6, 1, 1e-21),),
}
"""Molecule, isotopologue and intensity of the lines in a list."""

WIDE = 200.0
"""Windows of this many cm-1 get a coarse step, too."""
COARSE: dict[str, Any] = {
    "pressure_pa": 1e-3 * np.exp(np.arange(15.0)),
    "temperature_k": np.arange(100.0, 301.0, 50.0),
    "tolerance": 1e-2,
    "rank_tolerance": 1e-3,
    "atmospheres": 8,
    "verify_atmospheres": 0,
    "largest_error": None,
}


def write_lists(folder: Path) -> None:
    """Write a list of each gas, and the ledger in ``data`` beside the folder."""
    folder.mkdir()
    known = []
    for name, isotopologues in ISOTOPOLOGUES.items():
        parts = [
            records.rows(
                number, 900, isotopologue=isotopologue, scale=scale, molecule=molecule,
                reach=REACH,
            )
            for number, (molecule, isotopologue, scale) in enumerate(isotopologues)
        ]  # fmt: skip
        path = records.write(folder / f"{name}.par", *parts)
        known.append((read_line_list(path), "HITRAN2020", True, *REACH))
    synthetic_bands.hapi_list(synthetic_bands.hcl_fundamental(), folder / "hcl.data")
    (folder.parent / "data").mkdir()
    ledger.write_ledger(known, folder.parent / "data" / "ledger.csv")


def write_shipped(lists: Path, folder: Path, band: str) -> None:
    """Write lists under the names that a shipped table is made from."""
    folder.mkdir()
    for gas, source in shipped.BANDS[band].gases.items():
        for name in source.lists:
            text = (lists / f"{'h2o' if gas == 'hdo' else gas}.par").read_text()
            rows = text.splitlines()
            if gas in {"h2o", "hdo"}:
                rows = [row for row in rows if (row[2] == "4") == (gas == "hdo")]
            records.write(folder / name, rows, packed=name.endswith(".gz"))


def coarse(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return `build_table` with few states and few nodes."""

    def built(lines: Any, window: tuple[float, float], **choices: Any) -> Any:
        step = {"step": 0.02} if window[1] - window[0] > WIDE else {}
        return build(lines, window, **choices | COARSE | step)

    return built
