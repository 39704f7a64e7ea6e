"""GEM-Mars profile of its web service: columns z, p, t, nd, co2, co, h2o, o2, o3.

Known from code of the NOMAD team that reads the service: a VOTable whose FIELD
elements carry the names. Saved as such, or as CSV with these names in the header and
units in square brackets. Units that the file does not state are inferred from that
code (km, Pa, K, m-3, ppm) and checked: the density must be p / (k T). Whether z counts
from the areoid or the surface is unknown.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.form import Form, Source, gases, take
from tgo_spectra.atmosphere.climatology.quantities import Field
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORM", "votable"]

FIELDS = (
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
DENSITY_TOLERANCE = 0.05


def votable(text: str, path: str) -> xr.Dataset:
    """Read the one table of a VOTable.

    Parameters
    ----------
    text : str
        XML; elements with or without a namespace.
    path : str
        For messages.

    Returns
    -------
    Dataset
        One variable over ``level`` for each FIELD, lower case, with its unit.

    Raises
    ------
    AtmosphereError
        Not XML, or rows that do not fit the fields (``climatology.row``).
    """
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


def _recognise(source: Source) -> bool:
    return {"z", "p", "t", "nd"} <= set(source.raw.variables)


def _adapt(source: Source) -> xr.Dataset:
    raw = source.raw
    arrays, found = take(source, raw, FIELDS, "altitude", "pressure", "temperature")
    arrays = gases(arrays, found)
    given = arrays.get("given_number_density")
    if given is not None:
        ratio = (given * BOLTZMANN * arrays["temperature"] / arrays["pressure"]).values
        worst = int(np.argmax(np.abs(ratio - 1.0)))
        if not abs(ratio[worst] - 1.0) <= DENSITY_TOLERANCE:
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


FORM = Form(
    "gem_web",
    "GEM-Mars profile of the web service",
    "public reading code of the NOMAD team",
    _recognise,
    _adapt,
)
