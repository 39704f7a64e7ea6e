"""Profiles of an atmosphere as found in files: netCDF and CSV text."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    import pathlib

__all__ = ["profile_from_file", "profile_from_text"]


def profile_from_file(path: pathlib.Path) -> xr.Dataset:
    """Open a netCDF or CSV file of a profile.

    Parameters
    ----------
    path : Path
        ``.nc``, ``.nc4`` or ``.h5`` for netCDF, else CSV.

    Returns
    -------
    Dataset
        In memory, as found.

    Raises
    ------
    AtmosphereError
        If the file is absent or unreadable.
    """
    if not path.is_file():
        msg = "no such file"
        raise AtmosphereError(
            msg, path=path, value=str(path), rule="atmosphere.no_file"
        )
    if path.suffix.lower() in (".nc", ".nc4", ".h5"):
        try:
            with xr.open_dataset(path, engine="netcdf4") as opened:
                return opened.load()
        except (OSError, ValueError) as error:
            msg = f"not a readable netCDF file: {error}"
            raise AtmosphereError(
                msg,
                path=path,
                rule="atmosphere.unreadable",
            ) from error
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        msg = f"neither netCDF nor text: {error}"
        raise AtmosphereError(
            msg,
            path=path,
            rule="atmosphere.unreadable",
        ) from error
    return profile_from_text(text, str(path))


def profile_from_text(text: str, path: str | None) -> xr.Dataset:
    """Parse CSV text with a header line and ``# name = value`` lines.

    Parameters
    ----------
    text : str
        The text.
    path : str or None
        Where it came from, for messages.

    Returns
    -------
    Dataset
        One variable over ``level`` for each column.

    Raises
    ------
    AtmosphereError
        If a line does not have the header's number of numbers.
    """
    attrs: dict[str, str] = {}
    rows: list[tuple[int, list[str]]] = []
    for number, raw_line in enumerate(io.StringIO(text)):
        line = raw_line.strip()
        if line.startswith("#"):
            key, found, value = line[1:].partition("=")
            if found:
                attrs[key.strip()] = value.strip()
        elif line:
            rows.append((number, [cell.strip() for cell in line.split(",")]))
    if len(rows) < 2:
        msg = "needs a header line and data"
        raise AtmosphereError(msg, path=path, rule="atmosphere.csv_empty")
    header = [re.fullmatch(r"([^\[\]]+?)\s*(?:\[(.*)\])?", cell) for cell in rows[0][1]]
    table = np.empty((len(rows) - 1, len(header)))
    for index, (number, cells) in enumerate(rows[1:]):
        try:
            table[index] = [float(cell) for cell in cells]
        except ValueError as error:
            msg = f"expected {len(header)} numbers separated by commas"
            raise AtmosphereError(
                msg,
                path=path,
                record=number,
                value=",".join(cells),
                rule="atmosphere.csv_row",
            ) from error
    ds = xr.Dataset(attrs=attrs)
    for column, match in enumerate(header):
        if match is None:
            msg = "column name not understood; use name or name [units]"
            raise AtmosphereError(
                msg,
                path=path,
                value=rows[0][1][column],
                rule="atmosphere.csv_header",
            )
        ds[match[1]] = ("level", table[:, column])
        if match[2]:
            ds[match[1]].attrs["units"] = match[2].strip()
    return ds
