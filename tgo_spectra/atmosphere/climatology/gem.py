"""GEM-Mars profiles: as text, and of the model's web service.

Known from code of the NOMAD team that reads them. Text: one file an observation, ``%``
comments, top down, eight columns: altitude, temperature, pressure in hPa, number
density, one unknown, CO, CO2, H2O; the units of density and gases are not written down
anywhere we know, and stay unknown unless the caller says. The service: a VOTable whose
FIELD elements carry the names, saved as such or as CSV with units in square brackets;
units that the file does not state are inferred from that code and checked, as the
density must be p / (k T). Whether altitude counts from the areoid or the surface is
unknown in both.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.form import Field, Form, Source, gases, take
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROFILES", "votable"]

_READING_CODE = "public reading code of the NOMAD team"
_COLUMNS = ("Z", "T", "p", "n", "unknown", "CO", "CO2", "H2O")
_OF_TEXT = (
    Field("Z", "altitude", "altitude", "km", "inferred"),
    Field("T", "temperature", "temperature", "K"),
    Field("p", "pressure", "pressure", "hPa"),
    Field("n", "given_number_density", "number_density", None, "unknown"),
    Field("CO", "co_vmr", "mole_fraction", None, "unknown"),
    Field("CO2", "co2_vmr", "mole_fraction", None, "unknown"),
    Field("H2O", "h2o_vmr", "mole_fraction", None, "unknown"),
)
_OF_SERVICE = (
    Field("z", "altitude", "altitude", "km", "inferred"),
    Field("p", "pressure", "pressure", "Pa", "inferred"),
    Field("t", "temperature", "temperature", "K", "inferred"),
    Field("nd", "given_number_density", "number_density", "m-3", "inferred"),
    Field("co2", "co2_vmr", "mole_fraction", "ppm", "inferred"),
    Field("co", "co_vmr", "mole_fraction", "ppm", "inferred"),
    Field("h2o", "h2o_vmr", "mole_fraction", "ppm", "inferred"),
    Field("o3", "o3_vmr", "mole_fraction", "ppm", "inferred"),
)
#: The given density may differ from p / (k T) by this fraction.
_DENSITY_TOLERANCE = 0.05


def votable(text: str, path: str) -> xr.Dataset:
    """Read the one table of a VOTable: a variable over ``level`` for each FIELD."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        msg = f"neither VOTable nor another known text: {error}"
        raise AtmosphereError(msg, path=path, rule="climatology.unreadable") from error
    every = [
        (element.tag.rpartition("}")[2].upper(), element) for element in root.iter()
    ]
    fields = [element for tag, element in every if tag == "FIELD"]
    names = [str(f.get("ID") or f.get("name")).lower() for f in fields]
    rows: list[list[float]] = []
    for tag, element in every:
        if tag != "TR":
            continue
        cells = [str(cell.text).strip() for cell in element]
        try:
            row = [float(cell) for cell in cells]
        except ValueError:
            row = []
        if len(row) != len(names):
            msg = f"expected {len(names)} numbers"
            raise AtmosphereError(
                msg,
                path=path,
                record=len(rows),
                value=" ".join(cells),
                rule="climatology.row",
            )
        rows.append(row)
    table: NDArray[np.float64] = np.array(rows).reshape(len(rows), len(names))
    ds = xr.Dataset({name: ("level", table[:, k]) for k, name in enumerate(names)})
    for name, element in zip(names, fields, strict=True):
        if unit := element.get("unit"):
            ds[name].attrs["units"] = unit
    return ds


def _is_text(source: Source) -> bool:
    if source.text is None:
        return False
    lines = [line.strip() for line in source.text.splitlines() if line.strip()]
    data = [line for line in lines if not line.startswith("%")]
    return len(data) < len(lines) and bool(data) and len(data[0].split()) == 8


def _of_text(source: Source) -> xr.Dataset:
    """Columns of numbers over ``level``, and the comments."""
    table, comments = _numbers(source)
    raw = xr.Dataset({name: ("level", table[:, k]) for k, name in enumerate(_COLUMNS)})
    arrays, found = take(source, raw, _OF_TEXT)
    result = xr.Dataset(gases(arrays, found))
    result.attrs = {"altitude_reference": "unknown", "header": "; ".join(comments)}
    return result


def _numbers(source: Source) -> tuple[NDArray[np.float64], list[str]]:
    comments: list[str] = []
    rows: list[list[float]] = []
    for number, raw_line in enumerate((source.text or "").splitlines()):
        line = raw_line.strip()
        if line.startswith("%"):
            comments.append(line.lstrip("% "))
            continue
        if not line:
            continue
        try:
            row = [float(cell) for cell in line.split()]
        except ValueError:
            row = []
        if len(row) != len(_COLUMNS):
            msg = f"expected {len(_COLUMNS)} numbers: {' '.join(_COLUMNS)}"
            raise AtmosphereError(
                msg,
                path=source.path,
                record=number,
                value=line,
                rule="climatology.row",
            )
        rows.append(row)
    if not rows:
        msg = "no rows of numbers"
        raise AtmosphereError(msg, path=source.path, rule="climatology.row")
    return np.array(rows), comments


def _is_of_service(source: Source) -> bool:
    return {"z", "p", "t", "nd"} <= set(source.raw.variables)


def _of_service(source: Source) -> xr.Dataset:
    """Columns of the service over ``level``, once the density is that of the air."""
    raw = source.raw
    arrays, found = take(
        source, raw, _OF_SERVICE, "altitude", "pressure", "temperature"
    )
    arrays = gases(arrays, found)
    given = arrays.get("given_number_density")
    if given is not None:
        ratio = (given * BOLTZMANN * arrays["temperature"] / arrays["pressure"]).values
        worst = int(np.argmax(np.abs(ratio - 1.0)))
        if not abs(ratio[worst] - 1.0) <= _DENSITY_TOLERANCE:
            msg = "nd k T / p is not 1: p or nd has other units; state them with units="
            raise AtmosphereError(
                msg,
                path=source.path,
                field="nd",
                record=worst,
                value=float(ratio[worst]),
                rule="climatology.units",
            )
    result = xr.Dataset(arrays)
    result.attrs = {"altitude_reference": "unknown"}
    return result


PROFILES = (
    Form(
        "gem_text",
        "GEM-Mars profile, text with % comments",
        _READING_CODE,
        _is_text,
        _of_text,
    ),
    Form(
        "gem_web",
        "GEM-Mars profile of the web service",
        _READING_CODE,
        _is_of_service,
        _of_service,
    ),
)
