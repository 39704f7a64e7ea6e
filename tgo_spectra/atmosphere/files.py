"""Profiles of an atmosphere that are given: netCDF, CSV text, Datasets."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.check import check_allowed, check_radius
from tgo_spectra.atmosphere.fields import profile_of
from tgo_spectra.atmosphere.profile import finish
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Collection

__all__ = [
    "is_netcdf",
    "netcdf_of",
    "profile_from_file",
    "profile_from_text",
    "read_atmosphere",
    "text_of",
]

Family = Literal["atmosphere", "climatology"]

_SUFFIXES = (".nc", ".nc4", ".h5", ".cdf")
#: First bytes of netCDF-3 and of HDF5, in which netCDF-4 is.
_MAGIC = (b"CDF", b"\x89HDF")
#: First bytes of text in UTF-16, either order of bytes.
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
#: A remark, and not one of the cells in which spreadsheets state their errors.
_REMARK = re.compile(r"[\"']?#(?!N/A|DIV/0!|REF!|VALUE!|NUM!|NAME\?|NULL!)")
#: First line by which spreadsheets tell each other what separates cells.
_SEPARATOR_LINE = re.compile(r'"?sep=([;,\t|])"?')
#: Name, or name with a unit in brackets of either kind.
_NAME = re.compile(r"([^\[\]()]+?)\s*(?:\[([^\[\]]*)\]|\(([^()]*)\))?")


def is_netcdf(path: pathlib.Path) -> bool:
    """Whether a file is named or starts like netCDF."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(4).startswith(_MAGIC)


def netcdf_of(path: pathlib.Path, family: Family) -> xr.Dataset:
    """Open a netCDF file of air, lazily; times stay the numbers that they are.

    Raises
    ------
    AtmosphereError
        If it is unreadable (``<family>.unreadable``).
    """
    try:
        # Ls, sols and hours are not calendar times
        return xr.open_dataset(
            path, engine="netcdf4", decode_times=False, decode_timedelta=False
        )
    except (OSError, ValueError) as error:
        msg = f"not a readable netCDF file: {error}"
        raise AtmosphereError(msg, path=path, rule=f"{family}.unreadable") from error


def text_of(path: pathlib.Path, family: Family) -> str:
    """Read a text file of air, with or without a byte-order mark.

    Raises
    ------
    AtmosphereError
        If it is no text in UTF-8 (``<family>.encoding``, ``<family>.unreadable``).
    """
    data = path.read_bytes()
    if data.startswith(_UTF16) or b"\0" in data[:1000]:
        msg = "not in UTF-8 (UTF-16, or no text): save it as CSV in UTF-8, or as netCDF"
        raise AtmosphereError(
            msg, path=path, offset=0, value=data[:4], rule=f"{family}.encoding"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"neither netCDF nor text in UTF-8: {error}"
        raise AtmosphereError(
            msg, path=path, offset=error.start, rule=f"{family}.unreadable"
        ) from error


def profile_from_file(path: pathlib.Path) -> xr.Dataset:
    """Read a netCDF file of a profile (by its suffix or its start), else CSV, as found.

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
    if is_netcdf(path):
        with netcdf_of(path, "atmosphere") as opened:
            return opened.load()
    return profile_from_text(text_of(path, "atmosphere"), str(path))


def profile_from_text(text: str, path: str | None) -> xr.Dataset:
    """Parse CSV text: each column over ``level``, ``# name = value`` as attributes.

    Cells are separated by commas, or by the semicolons or tabs of the header, and may
    stand in quotes.

    Raises
    ------
    AtmosphereError
        If the header is not understood, or a line does not have the header's number
        of numbers.
    """
    lines = [
        (number, line.strip())
        for number, line in enumerate(
            re.split("\r\n|\r|\n", text.removeprefix("\ufeff"))
        )
    ]
    table = [(n, line) for n, line in lines if line and not _REMARK.match(line)]
    separator = _separator(table[0][1]) if table else ","
    if table and _SEPARATOR_LINE.fullmatch(table[0][1]):
        table = table[1:]
    rows = [(n, _cells(line, separator, n, path)) for n, line in table]
    # spreadsheets fill rows with empty cells
    rows = [(n, cells) for n, cells in rows if any(cells)]
    if len(rows) < 2:
        msg = "needs a header line and data"
        raise AtmosphereError(msg, path=path, rule="atmosphere.csv_empty")
    header = _header(rows[0][1], path)
    ds = xr.Dataset()
    for number, line in lines:
        if _REMARK.match(line):
            key, equals, value = _remark(line, separator, number, path).partition("=")
            if equals:
                ds.attrs[key.strip()] = value.strip()
    values = np.array([_row(n, cells, len(header), path) for n, cells in rows[1:]])
    for column, (name, unit) in enumerate(header):
        ds[name] = ("level", values[:, column], {"units": unit} if unit else {})
    return ds


def _separator(header: str) -> str:
    """Return what separates the cells of a table with this first line."""
    if match := _SEPARATOR_LINE.fullmatch(header):
        return match[1]
    if ";" in header:
        return ";"
    return "\t" if "\t" in header and "," not in header else ","


def _cells(line: str, separator: str, number: int, path: str | None) -> list[str]:
    """Cells of a line, without quotes, blanks around them and empty ones at the end."""
    try:
        reader = csv.reader(
            [line], delimiter=separator, skipinitialspace=True, strict=True
        )
        cells = [cell.strip() for cell in next(reader)]
    except csv.Error as error:
        msg = f"cells in quotes are not closed or not separated: {error}"
        raise AtmosphereError(
            msg, path=path, record=number, value=line, rule="atmosphere.csv_row"
        ) from error
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _remark(line: str, separator: str, number: int, path: str | None) -> str:
    """Text of a remark; spreadsheets put it in quotes and empty cells behind it."""
    if line[0] in "\"'":
        line = separator.join(_cells(line, separator, number, path))
    return line.rstrip(f"{separator} ").strip("'").removeprefix("#")


def _header(cells: list[str], path: str | None) -> list[tuple[str, str]]:
    """Names and units of the columns; no unit is empty."""
    header: list[tuple[str, str]] = []
    for cell in cells:
        match = _NAME.fullmatch(cell.strip("'"))
        if len(cells) == 1 and len(cell.split()) > 2:
            msg = "one column only: separate names and numbers by commas"
        elif match is None or _number(cell) is not None:
            msg = "no name of a column; the first line holds names or name [units]"
        elif match[1] in [name for name, _ in header]:
            msg = "two columns have the same name"
        else:
            header.append((match[1], (match[2] or match[3] or "").strip()))
            continue
        raise AtmosphereError(msg, path=path, value=cell, rule="atmosphere.csv_header")
    return header


def _row(number: int, cells: list[str], width: int, path: str | None) -> list[float]:
    """Numbers of a row."""
    found = [_number(cell) for cell in cells]
    numbers = [one for one in found if one is not None]
    if len(numbers) == width == len(cells):
        return numbers
    msg = f"expected {width} numbers, separated as the names in the header"
    bad = [cell for cell, one in zip(cells, found, strict=True) if one is None]
    if any(re.fullmatch(r"[-+\d.]+,\d+(?:[eE][-+]?\d+)?", cell) for cell in bad):
        msg += "; a decimal comma is not read: write a point"
    raise AtmosphereError(
        msg, path=path, record=number, value=",".join(cells), rule="atmosphere.csv_row"
    )


def _number(cell: str) -> float | None:
    """Return the number in a cell, None if it is none."""
    try:
        # Python would read 1_0 as ten
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def read_atmosphere(
    source: xr.Dataset | str | pathlib.Path, *, allow: Collection[str] = ()
) -> xr.Dataset:
    r"""Read and check an atmosphere from a Dataset, a netCDF file or CSV text.

    Needed are an altitude axis (``altitude``, ``height`` or ``z``), ``temperature``,
    and ``pressure`` or ``number_density``. Mole fractions may be named ``<gas>_vmr``
    or ``vmr_<GAS>``. Units are converted as the attribute ``units`` says; without one
    the numbers are taken as km, K, Pa, cm-3 and 1, with a warning and the attribute
    ``assumed_units``. CSV: a header line with these names, optionally followed by the
    unit in brackets; cells are separated by commas, or by the semicolons or tabs of
    the header; lines ``# name = value`` become attributes. What temperature and
    pressure may be off, ``temperature_uncertainty`` (K) and ``pressure_uncertainty``
    (relative, common to all altitudes), both 1-sigma, is taken along where given.

    Parameters
    ----------
    source : Dataset, path or str
        A Dataset; the path of a netCDF (``.nc``) or CSV file; or the CSV text
        itself (any string with a line break).
    allow : collection of str
        Rules that are not applied, for air unlike that of Mars:
        ``atmosphere.altitude_range`` (-15 to 1,000 km),
        ``atmosphere.areoid_pressure`` (100 to 1,500 Pa at altitude zero),
        ``atmosphere.hydrostatic`` (within a factor of 1.5 over 10 km),
        ``atmosphere.temperature_range`` (70 to 330 K, above 80 km 40 to 600 K),
        ``atmosphere.trace_gas`` (water below 0.1, other traces below 0.01). Default:
        all are applied. Recorded in the attribute ``allow``, by which a file may ask
        for it too, and which holds wherever the result is given to.

    Returns
    -------
    Dataset
        Over ascending ``altitude`` in km: ``pressure`` (Pa), ``temperature`` (K),
        ``number_density`` (cm-3, from p / kT unless given) and ``<gas>_vmr`` (1).

    Raises
    ------
    AtmosphereError
        If a variable is missing, not finite, not positive or in an unknown unit,
        the altitude is not strictly monotonic, or the file is unreadable; if no
        atmosphere of Mars is like it, and then in which units it would be possible;
        or if it is a whole climatology (``atmosphere.climatology``).

    Examples
    --------
    >>> lines = ["altitude[km],pressure[hPa],temperature[K]", "0,6.1,215", "10,2.4,200"]
    >>> read_atmosphere("\n".join(lines)).pressure.values.tolist()
    [610.0, 240.0]
    """
    path: str | None = None
    if isinstance(source, xr.Dataset):
        raw = source
        if "climatology_form" in raw.attrs and "level" in raw.dims:
            msg = (
                "this is a whole climatology: give the profile that "
                "atmosphere_for_product(level1, climatology) or atmosphere_at returns"
            )
            raise AtmosphereError(
                msg,
                path=raw.attrs.get("source_file"),
                value=str(raw.attrs["climatology_form"]),
                rule="atmosphere.climatology",
            )
    elif isinstance(source, str) and ("\n" in source or "\r" in source):
        raw = profile_from_text(source, None)
    else:
        file = expanded(source)
        path = str(file)
        raw = profile_from_file(file)
    allowed = check_allowed({*str(raw.attrs.get("allow", "")).split(), *allow})
    fields, assumed = profile_of(raw, path, allowed)
    ds = xr.Dataset(
        {k: ("altitude", v) for k, v in fields.items() if k != "altitude"},
        {"altitude": fields["altitude"]},
    )
    if "planet_radius_km" in raw.attrs:
        ds.attrs["planet_radius_km"] = check_radius(raw.attrs["planet_radius_km"], path)
    origin = str(raw.attrs.get("source", raw.attrs.get("title", path or "")))
    # the source is what a result says of its air
    for name, now in (
        ("assumed_units", ", ".join(assumed)),
        ("allow", " ".join(allowed)),
    ):
        before = str(raw.attrs.get(name, ""))
        if now and now != before:
            what = "units assumed" if name == "assumed_units" else "allowed"
            origin = f"{origin}; {what}: {now}".removeprefix("; ")
        if now or before:
            ds.attrs[name] = now or before
    ds.attrs["source"] = origin
    return finish(ds)
