"""The tables that come with the package: what they cover and how they were made.

Line lists themselves are not shipped: HITRAN states no licence for copies of its data.
A table holds cross sections on selected wavenumbers in compressed form, from which no
line parameters can be taken; its attributes name the edition and what to cite.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables import build_table, write_table

if TYPE_CHECKING:
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
        Edition of HITRAN, as far as known.
    citation : str
        What to cite.
    """

    lines: str
    extra: tuple[str, ...]
    broadening: str | tuple[str, float]
    edition: str
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
    """

    window: tuple[float, float]
    orders: tuple[int, int]
    gases: dict[str, ShippedGas]


_CO = "co_alliso_3-14478_hitran2020"

# Order m begins at 22.473 m (pixel 0) and ends at 22.653 m (pixel 319).
BANDS: dict[str, ShippedBand] = {
    "so_134_136": ShippedBand(
        (2872.0, 3220.0),
        (128, 142),
        {
            "h2o": ShippedGas(
                "h2o_iso123_2000-3333_hitran2020online.par.gz",
                (),
                ("air", 1.7),
                "HITRAN2020 (HITRANonline, June 2024)",
            ),
            "ch4": ShippedGas(
                "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz",
                (),
                ("air", 1.3),
                "HITRANonline, March 2026, edition not stated: HITRAN2020 or later; "
                "12CH4 nu3 and two hot bands only",
            ),
        },
    ),
    "so_189_190": ShippedBand(
        (4107.0, 4443.5),
        (183, 196),
        {
            "co": ShippedGas(
                f"{_CO}.par.gz",
                (f"{_CO}_H2-He-CO2-broadening.txt.gz", f"{_CO}_CO2-shifts.txt.gz"),
                "co2",
                "HITRAN2020",
                HITRAN_CITATION + CO2_CITATION,
            ),
        },
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
        lines = read_line_list(
            folder / source.lines,
            extra=[folder / name for name in source.extra] or None,
            edition=source.edition,
        )
        lines.attrs["citation"] = source.citation
        read[gas] = (lines, source.broadening)
    return read


def build_shipped(lines_dir: str | Path, out_dir: str | Path) -> list[Path]:
    """Build the shipped tables anew from the line lists they name.

    Parameters
    ----------
    lines_dir : path
        Folder with the lists named in `BANDS`.
    out_dir : path
        Folder for the tables; the package's own is ``spectroscopy/data``.

    Returns
    -------
    list of pathlib.Path
        Files written.

    Raises
    ------
    LineListError
        A list is missing or malformed.

    Examples
    --------
    >>> build_shipped("linelists", "tgo_spectra/spectroscopy/data")  # doctest: +SKIP
    """
    written = []
    for name, band in BANDS.items():
        table = build_table(
            band_lines(name, lines_dir),
            band.window,
            band=name,
            verify_atmospheres=20,
            verify_width=40.0,
        )
        table.attrs["orders"] = f"SO {band.orders[0]}-{band.orders[1]}"
        editions = {gas.edition for gas in band.gases.values()}
        table.attrs["edition"] = "; ".join(sorted(editions))
        citations = {gas.citation for gas in band.gases.values()}
        table.attrs["citation"] = max(citations, key=len)
        written.append(write_table(table, Path(out_dir) / f"{name}.nc"))
    return written
