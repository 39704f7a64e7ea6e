"""Absorption cross sections in the ultraviolet, from files of the user.

Two kinds of files are read: a table of wavelengths and cross sections at some
temperatures, and HITRAN's cross-section format (``.xsc``), one temperature a block.
Whether wavelengths are those of air or of vacuum changes the Huggins bands of ozone
(0.06-0.1 nm), and most files do not say: the caller must.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.errors import LineListError
from tgo_spectra.paths import expanded
from tgo_spectra.spectroscopy._unpack import plain_name, unpacked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

__all__ = ["ozone_cross_section", "read_uv_cross_section", "vacuum_wavelength"]

_TEMPERATURE = re.compile(r"(?:\A|[^\d.])(\d+(?:\.\d+)?)\s*(?:K(?![a-z])|\Z)")
_TITLE_LENGTH = 100
_NUMBERS_A_LINE, _NUMBER_WIDTH = 10, 10


def vacuum_wavelength(air_nm: ArrayLike) -> NDArray[np.float64]:
    """Convert wavelengths in standard air to those in vacuum.

    Parameters
    ----------
    air_nm : array_like
        nm, 200 or more.

    Returns
    -------
    ndarray of float64
        nm.

    References
    ----------
    Edlén 1966, Metrologia 2, 71: index of standard air (15 degC, 101325 Pa), here at
    the wavenumber in air, which errs by less than 1e-8.

    Examples
    --------
    >>> round(float(vacuum_wavelength(300.0)), 3)
    300.087
    """
    air = np.asarray(air_nm, np.float64)
    squared = (1e3 / air) ** 2  # um-2
    refractivity = 8342.13 + 2406030.0 / (130.0 - squared) + 15997.0 / (38.9 - squared)
    return np.asarray(air * (1.0 + 1e-8 * refractivity))


def _text(path: Path) -> tuple[str, str]:
    try:
        raw = path.read_bytes()
        return unpacked(raw, path).decode("utf-8"), hashlib.sha256(raw).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the cross sections: {error}"
        raise LineListError(msg, path=path, rule="file.read") from error


def _fail(path: Path, row: int, field: str, value: object, why: str) -> LineListError:
    return LineListError(
        f"line {row + 1}: {why}",
        path=path,
        field=field,
        record=row,
        value=value,
        rule="cross_section.value",
    )


def _number(text: str, path: Path, row: int, field: str) -> float:
    """Convert a cell, NaN where it is blank."""
    text = text.strip()
    if not text:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if "_" in text or not np.isfinite(value):
        raise _fail(path, row, field, text, "not a number")
    return value


def _temperatures(names: Sequence[str], path: Path, row: int) -> NDArray[np.float64]:
    found = []
    for name in names:
        match = _TEMPERATURE.search(name.strip())
        if match is None:
            raise _fail(path, row, "temperature", name, "a column names no temperature")
        found.append(float(match[1]))
    if len(set(found)) != len(found):
        raise _fail(path, row, "temperature", found, "a temperature comes twice")
    return np.asarray(found)


def _columns(
    text: str, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Read wavelength and one column for each temperature, named in the first row."""
    rows = [
        (place, cells)
        for place, cells in enumerate(csv.reader(io.StringIO(text)))
        if any(cell.strip() for cell in cells) and not cells[0].startswith("#")
    ]
    if len(rows) < 3:
        msg = "a table of cross sections needs a heading and at least two rows"
        raise LineListError(msg, path=path, value=len(rows), rule="cross_section.rows")
    place, heading = rows[0]
    kelvin = _temperatures(heading[1:], path, place)
    if not kelvin.size:
        raise _fail(path, place, "temperature", heading, "no column of cross sections")
    values = np.empty((len(rows) - 1, len(heading)))
    for index, (place, cells) in enumerate(rows[1:]):
        if len(cells) != len(heading):
            why = f"{len(cells)} values instead of {len(heading)}"
            raise _fail(path, place, "row", ",".join(cells)[:60], why)
        for column, cell in enumerate(cells):
            values[index, column] = _number(cell, path, place, heading[column])
    for index, (place, _) in enumerate(rows[1:]):
        low = values[index - 1, 0] if index else 0.0
        if not values[index, 0] > low:
            value = float(values[index, 0])
            raise _fail(path, place, heading[0], value, "wavelengths must ascend")
    return values[:, 0], kelvin, values[:, 1:]


def _block(
    lines: list[str], first: int, path: Path
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], int]:
    """Read one block of a HITRAN file: wavenumbers, temperature, values, next line.

    Columns of the title: 1-20 molecule, 21-30 and 31-40 ends of the range (cm-1),
    41-47 points, 48-54 temperature (K), 55-60 pressure (Torr), 61-70 largest value.
    """
    title = lines[first]
    if len(title.rstrip()) > _TITLE_LENGTH or len(title) < 70:
        raise _fail(path, first, "title", title[:40], "not the title of an .xsc block")
    low = _number(title[20:30], path, first, "lowest wavenumber")
    high = _number(title[30:40], path, first, "highest wavenumber")
    count = _number(title[40:47], path, first, "points")
    kelvin = _number(title[47:54], path, first, "temperature")
    if not (0 < low < high and kelvin > 0 and count == int(count) and count > 1):
        raise _fail(path, first, "title", title[20:54], "ends, points or temperature")
    rows = -(-int(count) // _NUMBERS_A_LINE)
    numbers = []
    for row in range(first + 1, first + 1 + rows):
        line = lines[row] if row < len(lines) else ""
        for start in range(0, len(line.rstrip()), _NUMBER_WIDTH):
            cell = line[start : start + _NUMBER_WIDTH]
            numbers.append(_number(cell, path, row, "cross section"))
    # the last line may be filled up with zeros
    if not count <= len(numbers) <= rows * _NUMBERS_A_LINE:
        why = f"{len(numbers)} values, the title states {int(count)}"
        raise _fail(path, first, "points", len(numbers), why)
    number = np.linspace(low, high, int(count))
    return number, kelvin, np.asarray(numbers[: int(count)]), first + 1 + rows


def _hitran(
    text: str, path: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Read all blocks on the axis of the finest one, ascending in wavelength."""
    lines = text.splitlines()
    blocks: list[tuple[NDArray[np.float64], float, NDArray[np.float64]]] = []
    place = 0
    while place < len(lines):
        if not lines[place].strip():
            place += 1
            continue
        number, temperature, values, place = _block(lines, place, path)
        blocks.append((number, temperature, values))
    if not blocks:
        msg = "the file is empty"
        raise LineListError(msg, path=path, value=0, rule="cross_section.rows")
    kelvin = np.asarray([block[1] for block in blocks], float)
    if np.unique(kelvin).size != kelvin.size:
        msg = "a temperature comes twice: name the file of one range"
        raise LineListError(
            msg, path=path, value=kelvin.tolist(), rule="cross_section.value"
        )
    axis = max((block[0] for block in blocks), key=lambda nu: nu.size)
    columns = [
        np.interp(axis, nu, values, left=np.nan, right=np.nan)
        for nu, _, values in blocks
    ]
    return 1e7 / axis[::-1], kelvin, np.stack(columns, axis=1)[::-1]


@lru_cache(maxsize=4)
def _parsed(
    text: str, path: Path, is_hitran: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return what a text says, made once for all products that ask for it."""
    return (_hitran if is_hitran else _columns)(text, path)


def read_uv_cross_section(path: str | Path, *, medium: str) -> xr.Dataset:
    """Read cross sections of the ultraviolet.

    Parameters
    ----------
    path : path
        ``.csv``: wavelength in nm, then one column of cm2 per molecule for each
        temperature, which its name tells (``218``, ``sigma_218K``); blank where a
        temperature was not measured; ``#`` comments. Or HITRAN's ``.xsc``, whose
        wavenumbers are those of vacuum. Plain, or packed as a line list may be.
    medium : str
        ``"air"`` or ``"vacuum"``: what the wavelengths of the file are.

    Returns
    -------
    xarray.Dataset
        ``cross_section`` (wavelength, temperature), cm2 per molecule, NaN where not
        measured; coordinates ``wavelength`` (nm, vacuum) and ``temperature`` (K),
        both ascending. The attributes name file, hash and medium.

    Raises
    ------
    LineListError
        Malformed file, with line and value, or no medium.

    References
    ----------
    Title of ``.xsc`` files: hitran.org, documentation of absorption cross sections.

    Examples
    --------
    >>> read_uv_cross_section("o3.csv", medium="air")  # doctest: +SKIP
    """
    if medium not in {"air", "vacuum"}:
        msg = "say whether the wavelengths are those of 'air' or of 'vacuum'"
        raise LineListError(
            msg, path=path, field="medium", value=medium, rule="cross_section.medium"
        )
    file = expanded(path)
    text, digest = _text(file)
    is_hitran = plain_name(file.name).endswith(".xsc")
    if is_hitran and medium != "vacuum":
        msg = "HITRAN cross sections stand against vacuum wavenumbers"
        raise LineListError(
            msg, path=path, field="medium", value=medium, rule="cross_section.medium"
        )
    wavelength, kelvin, values = _parsed(text, file, is_hitran)
    wavelength = vacuum_wavelength(wavelength) if medium == "air" else wavelength.copy()
    order = np.argsort(kelvin)
    return xr.Dataset(
        {
            "cross_section": (
                ("wavelength", "temperature"),
                values[:, order],
                {"units": "cm2", "long_name": "absorption cross section"},
            )
        },
        coords={
            "wavelength": (
                "wavelength",
                wavelength,
                {"units": "nm", "long_name": "vacuum wavelength"},
            ),
            "temperature": ("temperature", kelvin[order], {"units": "K"}),
        },
        attrs={
            "source_file": file.name,
            "source_sha256": digest,
            "wavelength_medium_of_file": medium,
        },
    )


def ozone_cross_section(
    data: xr.Dataset, wavelength_nm: ArrayLike, temperature_k: ArrayLike
) -> xr.Dataset:
    """Interpolate ozone cross sections to wavelengths and temperatures.

    Linear in wavelength at each temperature of the file, then linear in temperature
    between those measured at that wavelength. Below the coldest and above the warmest
    of them the value is held constant, and the attributes say so: Mars is colder than
    any laboratory (218 or 193 K).

    Parameters
    ----------
    data : xarray.Dataset
        From `read_uv_cross_section`.
    wavelength_nm : array_like, (wavelength,)
        nm, vacuum.
    temperature_k : array_like, (temperature,)
        K.

    Returns
    -------
    xarray.Dataset
        ``cross_section`` (wavelength, temperature), cm2 per molecule. Attributes:
        ``temperature_clamped`` ("none", "below 218 K", "above 295 K" or both) and
        ``temperature_clamped_values`` (how many), beside those of `data`.

    Raises
    ------
    LineListError
        A wavelength outside the file, or measured at no temperature; a temperature
        that is not positive.

    Examples
    --------
    >>> values = (("wavelength", "temperature"), [[1.0, 2.0], [3.0, 4.0]])
    >>> grid = xr.Dataset(
    ...     {"cross_section": values},
    ...     {"wavelength": [250.0, 260.0], "temperature": [220.0, 240.0]})
    >>> found = ozone_cross_section(grid, [255.0], [180.0, 230.0])
    >>> found["cross_section"].values
    array([[2. , 2.5]])
    >>> found.attrs["temperature_clamped"]
    'below 220 K'
    """
    nm = np.atleast_1d(np.asarray(wavelength_nm, np.float64))
    kelvin = np.atleast_1d(np.asarray(temperature_k, np.float64))
    axis = data["wavelength"].values
    grid = data["temperature"].values
    if not (np.isfinite(kelvin) & (kelvin > 0.0)).all():
        value = float(kelvin[~(kelvin > 0.0) | ~np.isfinite(kelvin)][0])
        msg = "temperatures must be positive"
        raise LineListError(
            msg, field="temperature", value=value, rule="temperature.range"
        )
    outside = ~((nm >= axis[0]) & (nm <= axis[-1]))
    if outside.any():
        msg = f"the cross sections cover {axis[0]:g} to {axis[-1]:g} nm"
        raise LineListError(
            msg,
            path=data.attrs.get("source_file"),
            field="wavelength",
            value=float(nm[outside][0]),
            rule="cross_section.coverage",
        )
    curves = np.stack(
        [
            # a NaN on either side of the point makes the point NaN
            np.interp(nm, axis, data["cross_section"].values[:, column])
            for column in range(grid.size)
        ],
        axis=1,
    )
    unknown = ~np.isfinite(curves).any(axis=1)
    if unknown.any():
        msg = "no temperature was measured at this wavelength"
        raise LineListError(
            msg,
            path=data.attrs.get("source_file"),
            field="wavelength",
            value=float(nm[unknown][0]),
            rule="cross_section.coverage",
        )
    known = np.isfinite(curves)
    out = np.stack(
        [
            np.interp(kelvin, grid[here], curve[here])
            for curve, here in zip(curves, known, strict=True)
        ]
    )
    coldest = grid[np.argmax(known, axis=1)]
    warmest = grid[grid.size - 1 - np.argmax(known[:, ::-1], axis=1)]
    below = kelvin[None, :] < coldest[:, None]
    above = kelvin[None, :] > warmest[:, None]
    words = []
    if below.any():
        words.append("below " + _span(coldest[below.any(axis=1)]))
    if above.any():
        words.append("above " + _span(warmest[above.any(axis=1)]))
    return xr.Dataset(
        {
            "cross_section": (
                ("wavelength", "temperature"),
                out,
                {"units": "cm2", "long_name": "absorption cross section of ozone"},
            )
        },
        coords={
            "wavelength": ("wavelength", nm, {"units": "nm"}),
            "temperature": ("temperature", kelvin, {"units": "K"}),
        },
        attrs={
            **data.attrs,
            "temperature_clamped": " and ".join(words) or "none",
            "temperature_clamped_values": int((below | above).sum()),
        },
    )


def _span(kelvin: NDArray[np.float64]) -> str:
    low, high = float(kelvin.min()), float(kelvin.max())
    return f"{low:g} K" if low == high else f"{low:g}-{high:g} K"
