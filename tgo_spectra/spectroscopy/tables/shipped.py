"""The tables that come with the package: what they cover and how they were made.

Line lists themselves are not shipped: HITRAN states no licence for copies of its data.
A table holds cross sections on selected wavenumbers in compressed form, from which no
line parameters can be taken; its attributes name the edition and what to cite.

A list that holds a sample of the lines of its range is never used, and what a complete
list lacks (isotopologues, bands) or what gas of the window has no list at all is in
the table's attribute ``absent``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.spectroscopy.ledger import with_edition
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.merging import merge
from tgo_spectra.spectroscopy.tables.build import build_table
from tgo_spectra.spectroscopy.tables.files import table_gases, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr

__all__ = ["BANDS", "ShippedBand", "ShippedGas", "band_lines", "build_shipped"]

HITRAN2012 = (
    "HITRAN2012: Rothman et al. 2013, JQSRT 130, 4, doi:10.1016/j.jqsrt.2013.07.002; "
)
HITRAN_CITATION = (
    "HITRAN2020: Gordon et al. 2022, JQSRT 277, 107949, "
    "doi:10.1016/j.jqsrt.2021.107949; "
    "partition sums TIPS-2021: Gamache et al. 2021, JQSRT 271, 107713"
)
CO2_CITATION = "; CO2 broadening: Tan et al. 2022, ApJS 262, 40"


@dataclass(frozen=True)
class ShippedGas:
    """Where the lines of a gas come from.

    Attributes
    ----------
    lists : tuple of str
        File names of the lists, the oldest edition first; they are merged.
    broadening : str or tuple
        As in `tgo_spectra.spectroscopy.tables.build_table`.
    extra : tuple of str
        Files with further columns of the same lines, of a gas with one list.
    edition : str
        Edition of HITRAN and what the list lacks; default: what the lists say.
    citation : str
        What to cite.
    """

    lists: tuple[str, ...]
    broadening: str | tuple[str, float]
    extra: tuple[str, ...] = ()
    edition: str = ""
    citation: str = HITRAN_CITATION


@dataclass(frozen=True)
class ShippedBand:
    """A band.

    Attributes
    ----------
    window : tuple of float
        cm-1.
    orders : tuple of int
        First and last order covered at -25 to 20 degC, with 1.5 cm-1 for the line
        shape of the instrument and 6 pixels of shift.
    gases : dict of str to ShippedGas
        Gases.
    absent : tuple of str
        Absorbers of the window for which no complete list was at hand.
    step : float
        Fine step, cm-1, at most 0.8 of the Doppler half width of the heaviest gas
        near 110 K.
    largest_error : float
        Of transmittance, against line by line; a table that is off by more is refused.
    rank_tolerance : float
        As in `build_table`.
    """

    window: tuple[float, float]
    orders: tuple[int, int]
    gases: dict[str, ShippedGas]
    absent: tuple[str, ...] = ()
    step: float = 0.002
    largest_error: float = 1e-4
    rank_tolerance: float = 3e-5


_CO = "co_alliso_3-14478_hitran2020"
_WATER_2020 = "h2o_iso123_2000-3333_hitran2020online.par.gz"
_WATER_MAIN_2020 = "h2o_iso1_3333-4500_hitran2020online.par.gz"
_METHANE_2026 = "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz"
_WATER = ShippedGas(
    ("h2o_alliso_2200-4500_hitran2012.par.gz", _WATER_2020, _WATER_MAIN_2020),
    ("air", 1.7),
    citation=HITRAN2012 + HITRAN_CITATION,
)
_HDO = ShippedGas(
    ("h2o_iso456_HDO_complete_0-22708_hitran2012.par.gz",),
    ("air", 1.7),
    citation=HITRAN2012 + HITRAN_CITATION,
)
_CARBON_DIOXIDE = ShippedGas(
    (
        "co2_alliso_2200-4500_S1e-29_hitran2012.par.gz",
        "co2_iso1_4000-5000_hitran2020online.par.gz",
    ),
    "self",
    citation=HITRAN2012 + HITRAN_CITATION,
)
# the newer list has the nu3 band and two hot bands of 12CH4 only, with other widths
_METHANE = ShippedGas(
    ("ch4_alliso_2600-3300_S1e-27_hitran2012.par.gz", _METHANE_2026),
    ("air", 1.3),
    citation=HITRAN2012 + HITRAN_CITATION,
)
_CARBON_MONOXIDE = ShippedGas(
    (f"{_CO}.par.gz",),
    "co2",
    (f"{_CO}_H2-He-CO2-broadening.txt.gz", f"{_CO}_CO2-shifts.txt.gz"),
    "HITRAN2020",
    HITRAN_CITATION + CO2_CITATION,
)
_METHANE_ABSENT = ("co2 magnetic dipole band", "o3")

# Order m begins at 22.473 m (pixel 0) and ends at 22.653 m (pixel 319).
BANDS: dict[str, ShippedBand] = {
    # orders 133 to 136 with ten neighbours on either side
    "so_134_136": ShippedBand(
        (2760.0, 3311.0),
        (123, 146),
        {"h2o": _WATER, "ch4": _METHANE, "hdo": _HDO, "co2": _CARBON_DIOXIDE},
        absent=_METHANE_ABSENT,
        step=0.0014,
    ),
    # orders 119 to 124 with ten neighbours on either side
    "so_119_124_hdo": ShippedBand(
        (2445.0, 3040.0),
        (109, 134),
        {"hdo": _HDO, "h2o": _WATER, "co2": _CARBON_DIOXIDE},
        absent=("hcl",),
        step=0.0012,
    ),
    # strong lines of water, and CO2 at 2.7 um: orders 167 and 168 with eight neighbours
    # on either side, 169 with nine; LNO orders 167 to 169 are a part. Vectors are
    # chosen to 5e-5, for the size: all tables together are to take 40 MB at most.
    "so_164_170": ShippedBand(
        (3568.0, 4036.0),
        (159, 178),
        {"h2o": _WATER, "hdo": _HDO, "co2": _CARBON_DIOXIDE},
        absent=("hf", "o3", "n2o"),
        step=0.0016,
        rank_tolerance=5e-5,
    ),
    # carbon monoxide with what lies over it: orders 186 to 191 with nine neighbours on
    # either side, orders 189 and 190 with ten; lists of water end at 4500 cm-1
    "so_186_191": ShippedBand(
        (3953.0, 4556.0),
        (177, 200),
        {
            "co": _CARBON_MONOXIDE,
            "co2": _CARBON_DIOXIDE,
            "h2o": _WATER,
            "hdo": _HDO,
        },
        absent=("h2o above 4500 cm-1", "co2 isotopologues 2-9 above 4500 cm-1", "hf"),
        step=0.0019,
    ),
    # limits of hydrocarbons, beside all that so_134_136 has: orders 133 and 134 with
    # five neighbours; the list of ethane ends at 3071 cm-1. Vectors are chosen to 8e-5,
    # for the size.
    "so_134_hydrocarbons": ShippedBand(
        (2872.0, 3152.0),
        (128, 139),
        {
            "h2o": _WATER,
            "ch4": _METHANE,
            "hdo": _HDO,
            "co2": _CARBON_DIOXIDE,
            "c2h4": ShippedGas(
                ("c2h4_complete_701-3242_hitran2012.par.gz",),
                "air",
                citation=HITRAN2012 + HITRAN_CITATION,
            ),
            "c2h6": ShippedGas(
                ("c2h6_iso1_2802-3071_hitran2020online.par.gz",),
                "air",
                edition="HITRAN2020 (HITRANonline, 2025 or before); main isotopologue "
                "only, to 3071 cm-1",
            ),
        },
        absent=_METHANE_ABSENT,
        step=0.0014,
        rank_tolerance=8e-5,
    ),
}


def band_lines(
    band: str, lines_dir: str | Path
) -> dict[str, tuple[xr.Dataset, str | tuple[str, float]]]:
    """Read the line lists of a shipped band.

    Parameters
    ----------
    band : str
        Key of `BANDS`.
    lines_dir : path
        Folder with the lists.

    Returns
    -------
    dict of str to (Dataset, broadening)
        What `build_table` takes.

    Raises
    ------
    KeyError
        No such band.
    LineListError
        A list is missing or malformed.

    Examples
    --------
    >>> band_lines("so_186_191", "linelists")  # doctest: +SKIP
    """
    folder = Path(lines_dir)
    read = {}
    for gas, source in BANDS[band].gases.items():
        extra = [folder / name for name in source.extra] or None
        lists = [
            with_edition(
                read_line_list(
                    folder / name, extra=extra, edition=source.edition or None
                )
            )
            for name in source.lists
        ]
        lines, _ = merge(lists)
        lines.attrs["citation"] = source.citation
        read[gas] = (lines, source.broadening)
    return read


def build_shipped(
    lines_dir: str | Path,
    out_dir: str | Path,
    names: Sequence[str] | None = None,
    *,
    workers: int = 2,
    memory_gb: float = 2.0,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Build shipped tables anew from the line lists they name.

    The error against line-by-line calculation is measured over the whole band with six
    atmospheres and 20 tangent heights each; a table off by more than its band allows is
    refused.

    Parameters
    ----------
    lines_dir : path
        Folder with the lists named in `BANDS`.
    out_dir : path
        Folder for the tables; the package's own is ``spectroscopy/data``.
    names : sequence of str, optional
        Keys of `BANDS`; default all.
    workers, memory_gb, report
        As in `build_table`.

    Returns
    -------
    list of pathlib.Path
        Files written. Finished pieces of a table lie in a folder beside it until it is
        written: a build that was interrupted goes on with them.

    Raises
    ------
    KeyError
        No such band.
    LineListError
        A list is missing or malformed.

    Examples
    --------
    >>> build_shipped("linelists", "tgo_spectra/spectroscopy/data")  # doctest: +SKIP
    """
    written = []
    for name in BANDS if names is None else names:
        band = BANDS[name]
        lists = band_lines(name, lines_dir)
        begin = time.process_time()
        table = build_table(
            lists,
            band.window,
            band=name,
            step=band.step,
            verify_atmospheres=6,
            verify_heights=20,
            verify_width=float("inf"),
            largest_error=band.largest_error,
            rank_tolerance=band.rank_tolerance,
            workers=workers,
            memory_gb=memory_gb,
            scratch=Path(out_dir) / f"{name}.pieces",
            report=report,
        )
        table.attrs["build_cpu_seconds"] = round(time.process_time() - begin, 1)
        table.attrs["ranks"] = ", ".join(
            f"{gas} {table.sizes[f'vector_{gas}']}" for gas in table_gases(table)
        )
        table.attrs["orders"] = f"SO {band.orders[0]}-{band.orders[1]}"
        table.attrs["absent"] = "; ".join(band.absent)
        editions = [str(lines.attrs["edition"]) for lines, _ in lists.values()]
        parts = [part for text in editions for part in text.split("; ")]
        table.attrs["edition"] = "; ".join(dict.fromkeys(parts))
        citations = {gas.citation for gas in band.gases.values()}
        table.attrs["citation"] = max(citations, key=len)
        written.append(write_table(table, Path(out_dir) / f"{name}.nc"))
    return written
