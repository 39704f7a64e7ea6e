"""Download of lines through the hitran-api package (extra ``lines``)."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from tgo_spectra.errors import LineListError
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy.partition import isotopologues_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fetch"]


def fetch(gas: str, low: float, high: float, folder: Path) -> Path:
    """Download the lines of a gas; see `linelist.fetch_lines`.

    Parameters
    ----------
    gas : str
        Name such as ``ch4``.
    low, high : float
        Range, cm-1.
    folder : Path
        Where to write.

    Returns
    -------
    Path
        The ``.data`` file.

    Raises
    ------
    LineListError
        If the package is absent, or nothing could be downloaded.
    """
    info = gas_info(gas)
    if not low < high:
        msg = "the range must have low < high"
        raise LineListError(msg, field="range", value=(low, high))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            import hapi
    except ImportError as error:
        msg = (
            "downloading lines needs the hitran-api package:"
            " pip install 'tgo-spectra[lines]'"
        )
        raise LineListError(
            msg,
            rule="fetch.package",
        ) from error
    numbers = info.isotopologues or isotopologues_of(info.molecule)
    ids = [
        hapi.ISO[(info.molecule, iso)][hapi.ISO_INDEX["id"]]
        for iso in numbers
        if (info.molecule, iso) in hapi.ISO
    ]
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{gas}_{low:g}-{high:g}"
    target = folder / f"{name}.data"
    groups = ["160-char"] if gas == "co2" else ["160-char", "Voigt_CO2"]
    try:
        with contextlib.redirect_stdout(said):
            hapi.db_begin(str(folder))
            hapi.fetch_by_ids(name, ids, low, high, ParameterGroups=groups)
    # the package raises bare Exception for anything from HTTP errors to no network
    except Exception as error:
        msg = (
            f"cannot download from HITRANonline: {error}."
            " Is the network reachable? Are there lines in this range?"
        )
        raise LineListError(
            msg,
            field="gas",
            value=gas,
            rule="fetch.network",
        ) from error
    if not target.is_file() or target.stat().st_size == 0:
        msg = "HITRANonline returned no lines for this range"
        raise LineListError(
            msg,
            path=target,
            value=(low, high),
            rule="fetch.empty",
        )
    return target
