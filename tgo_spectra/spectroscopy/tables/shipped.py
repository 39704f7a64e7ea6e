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
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import LineListError
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables.build import build_table
from tgo_spectra.spectroscopy.tables.files import table_gases, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

__all__ = ["BANDS", "ShippedBand", "ShippedGas", "band_lines", "build_shipped"]

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
    lines : str
        File name of the list.
    extra : tuple of str
        Files with further columns of the same lines.
    broadening : str or tuple
        As in `tgo_spectra.spectroscopy.tables.build_table`.
    edition : str
        Edition of HITRAN, as far as known, and what the list lacks.
    citation : str
        What to cite.
    unknown_energy : int
        Lines of the list whose lower state energy HITRAN does not know: left out,
        since their intensities in the cold are unknown too.
    """

    lines: str
    extra: tuple[str, ...]
    broadening: str | tuple[str, float]
    edition: str
    citation: str = HITRAN_CITATION
    unknown_energy: int = 0


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
    """

    window: tuple[float, float]
    orders: tuple[int, int]
    gases: dict[str, ShippedGas]
    absent: tuple[str, ...] = ()
    step: float = 0.002


_CO = "co_alliso_3-14478_hitran2020"
_WATER = ShippedGas(
    "h2o_iso123_2000-3333_hitran2020online.par.gz",
    (),
    ("air", 1.7),
    "HITRAN2020 (HITRANonline, June 2024)",
)
_WATER_MAIN = ShippedGas(
    "h2o_iso1_3333-4500_hitran2020online.par.gz",
    (),
    ("air", 1.7),
    "HITRAN2020 (HITRANonline, 2024); main isotopologue only",
)
_METHANE = ShippedGas(
    "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz",
    (),
    ("air", 1.3),
    "HITRANonline, March 2026, edition not stated: HITRAN2020 or later; "
    "12CH4 nu3 and two hot bands only",
)
_CARBON_MONOXIDE = ShippedGas(
    f"{_CO}.par.gz",
    (f"{_CO}_H2-He-CO2-broadening.txt.gz", f"{_CO}_CO2-shifts.txt.gz"),
    "co2",
    "HITRAN2020",
    HITRAN_CITATION + CO2_CITATION,
)
_METHANE_ABSENT = ("hdo", "co2 magnetic dipole band", "o3")

# Order m begins at 22.473 m (pixel 0) and ends at 22.653 m (pixel 319).
BANDS: dict[str, ShippedBand] = {
    "so_134_136": ShippedBand(
        (2872.0, 3220.0),
        (128, 142),
        {"h2o": _WATER, "ch4": _METHANE},
        absent=_METHANE_ABSENT,
    ),
    "so_189_190": ShippedBand(
        (4107.0, 4443.5),
        (183, 196),
        {"co": _CARBON_MONOXIDE},
        absent=("co2", "h2o"),
    ),
    # the strong water bands; LNO orders 167-170 are a part
    "so_164_170": ShippedBand(
        (3546.0, 3990.0),
        (158, 176),
        {"h2o": _WATER_MAIN},
        absent=("co2 2.7 um bands (3480-3760 cm-1)", "hdo", "h2o isotopologues 2, 3"),
    ),
    # carbon monoxide with what lies over it; LNO orders 189-191 are a part
    "so_186_191": ShippedBand(
        (4040.0, 4466.0),
        (180, 197),
        {
            "co": _CARBON_MONOXIDE,
            "co2": ShippedGas(
                "co2_iso1_4000-5000_hitran2020online.par.gz",
                (),
                "self",
                "HITRAN2020 (HITRANonline, 2024); main isotopologue only",
            ),
            "h2o": _WATER_MAIN,
        },
        absent=("co2 isotopologues 2-12", "h2o isotopologues 2, 3", "hdo"),
        step=0.0016,
    ),
    # the ends of the 3.3 um methane region, with side orders
    "so_129_138": ShippedBand(
        (2760.0, 3265.0),
        (123, 144),
        {"h2o": _WATER, "ch4": _METHANE},
        absent=_METHANE_ABSENT,
    ),
    # limits of hydrocarbons; the list of ethene begins at 2917 and ends at 3200 cm-1
    "so_134_hydrocarbons": ShippedBand(
        (2872.0, 3175.0),
        (128, 140),
        {
            "h2o": _WATER,
            "ch4": _METHANE,
            "c2h4": ShippedGas(
                "c2h4_iso1_2917-3200_hitran2020online.par.gz",
                (),
                "air",
                "HITRAN2020 (HITRANonline, 2025 or before); main isotopologue only; "
                "1370 lines of unknown lower state energy (5 % of the intensity at "
                "296 K) left out",
                unknown_energy=1370,
            ),
            "c2h6": ShippedGas(
                "c2h6_iso1_2802-3071_hitran2020online.par.gz",
                (),
                "air",
                "HITRAN2020 (HITRANonline, 2025 or before); main isotopologue only",
            ),
        },
        absent=(*_METHANE_ABSENT, "c2h4 lines above 3200 cm-1"),
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
    >>> band_lines("so_189_190", "linelists")  # doctest: +SKIP
    """
    folder = Path(lines_dir)
    read = {}
    for gas, source in BANDS[band].gases.items():
        with warnings.catch_warnings():
            if source.unknown_energy:
                warnings.filterwarnings("ignore", ".*unknown_lower_state_energy")
            lines = read_line_list(
                folder / source.lines,
                extra=[folder / name for name in source.extra] or None,
                edition=source.edition,
            )
        known = lines["lower_state_energy"].values != -1.0
        if np.count_nonzero(~known) != source.unknown_energy:
            message = f"{source.unknown_energy} lines of unknown energy were expected"
            raise LineListError(
                message,
                path=folder / source.lines,
                field="lower_state_energy",
                value=int(np.count_nonzero(~known)),
                rule="line_list.unknown_lower_state_energy",
            )
        lines = lines.isel(line=known)
        lines.attrs["citation"] = source.citation
        read[gas] = (lines, source.broadening)
    return read


def build_shipped(
    lines_dir: str | Path,
    out_dir: str | Path,
    names: Sequence[str] | None = None,
    *,
    workers: int = 2,
) -> list[Path]:
    """Build shipped tables anew from the line lists they name.

    The error against line-by-line calculation is measured over the whole band with 20
    atmospheres and 20 tangent heights each.

    Parameters
    ----------
    lines_dir : path
        Folder with the lists named in `BANDS`.
    out_dir : path
        Folder for the tables; the package's own is ``spectroscopy/data``.
    names : sequence of str, optional
        Keys of `BANDS`; default all.
    workers : int
        As in `build_table`.

    Returns
    -------
    list of pathlib.Path
        Files written.

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
            verify_atmospheres=20,
            verify_heights=20,
            verify_width=float("inf"),
            workers=workers,
        )
        table.attrs["build_cpu_seconds"] = round(time.process_time() - begin, 1)
        table.attrs["ranks"] = ", ".join(
            f"{gas} {table.sizes[f'vector_{gas}']}" for gas in table_gases(table)
        )
        table.attrs["orders"] = f"SO {band.orders[0]}-{band.orders[1]}"
        table.attrs["absent"] = "; ".join(band.absent)
        editions = {gas.edition for gas in band.gases.values()}
        table.attrs["edition"] = "; ".join(sorted(editions))
        citations = {gas.citation for gas in band.gases.values()}
        table.attrs["citation"] = max(citations, key=len)
        written.append(write_table(table, Path(out_dir) / f"{name}.nc"))
    return written
