"""GEM-Mars profile as text: one file an observation, ``%`` comments, top down.

Eight columns, known from code of the NOMAD team that reads such files: altitude,
temperature, pressure in hPa, number density, one unknown, CO, CO2, H2O. The units of
the density and the gases, and whether altitude counts from the areoid or the surface,
are not written down anywhere we know: they stay unknown unless the caller says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.form import Form, Source, gases, take
from tgo_spectra.atmosphere.climatology.quantities import Field
from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FORM"]

COLUMNS = ("Z", "T", "p", "n", "unknown", "CO", "CO2", "H2O")
FIELDS = (
    Field("Z", "altitude", "altitude", "km", "inferred"),
    Field("T", "temperature", "temperature", "K"),
    Field("p", "pressure", "pressure", "hPa"),
    Field("n", "given_number_density", "number_density", None, "unknown"),
    Field("CO", "co_vmr", "mole_fraction", None, "unknown"),
    Field("CO2", "co2_vmr", "mole_fraction", None, "unknown"),
    Field("H2O", "h2o_vmr", "mole_fraction", None, "unknown"),
)


def _recognise(source: Source) -> bool:
    if source.text is None:
        return False
    lines = [line.strip() for line in source.text.splitlines() if line.strip()]
    data = [line for line in lines if not line.startswith("%")]
    return len(data) < len(lines) and bool(data) and len(data[0].split()) == 8


def _adapt(source: Source) -> xr.Dataset:
    table, comments = _numbers(source)
    raw = xr.Dataset({name: ("level", table[:, k]) for k, name in enumerate(COLUMNS)})
    arrays, found = take(source, raw, FIELDS)
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
        if len(row) != len(COLUMNS):
            msg = f"expected {len(COLUMNS)} numbers: {' '.join(COLUMNS)}"
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


FORM = Form(
    "gem_text",
    "GEM-Mars profile, text with % comments",
    "public reading code of the NOMAD team",
    _recognise,
    _adapt,
)
