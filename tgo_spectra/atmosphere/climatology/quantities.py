"""What a field of a model file is: its unit, who says so, and the factor to ours.

A form of climatology states the unit of each of its fields. A file that says another
unit contradicts its form, which is an error, unless the form's unit is only inferred:
then the file is believed. A file that says nothing is believed to follow the form, and
that is recorded; a field whose unit neither states stays marked as unknown and is not
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tgo_spectra.atmosphere.units import UNITS, scale_of, unit_of
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN, MOLAR_MASS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

__all__ = ["MOLAR_MASSES", "Field", "convert", "mole_fraction"]

#: g mol-1, from the standard atomic weights of IUPAC (2021); HDO holds one D.
MOLAR_MASSES: dict[str, float] = {
    "co2": 44.009,
    "co": 28.010,
    "h2o": 18.015,
    "hdo": 19.021,
    "o3": 47.997,
    "ch4": 16.043,
    "hcl": 36.458,
    "h2o2": 34.014,
    "ho2": 33.006,
}


class Field(NamedTuple):
    """A field of a form: where it is, what it becomes, what its unit is.

    Attributes
    ----------
    name : str
        In the file.
    target : str
        In the catalogue of this package.
    kind : str
        Key of the table of units.
    unit : str or None
        The unit that the form states; None: unknown.
    mark : str
        How well that is known: certain, inferred, or to be verified.
    """

    name: str
    target: str
    kind: str
    unit: str | None
    mark: str = "certain"


def convert(
    raw: xr.Dataset,
    field: Field,
    path: str | None,
    stated: Mapping[str, str] | None = None,
) -> xr.DataArray:
    """Take a field to our unit; without one, it keeps its numbers and the mark.

    Parameters
    ----------
    raw : Dataset
        The file.
    field : Field
        Which, and what its form says.
    path : str or None
        For messages.
    stated : mapping, optional
        Units by field name that the caller states for fields without one, or with
        one that this package does not know.

    Returns
    -------
    DataArray
        With the attributes ``units_source`` and, where the unit is unknown,
        ``units = "unknown"``.

    Raises
    ------
    AtmosphereError
        The file's unit contradicts the form or the caller (``climatology.units``),
        or is unknown to this package.
    """
    array = raw[field.name]
    found = unit_of(array)
    given = (stated or {}).get(field.name)
    known = UNITS[field.kind]

    def scale(unit: str | None) -> tuple[float, float]:
        return scale_of(field.kind, str(unit))

    said = "caller"
    if given is not None and found is not None and found not in known:
        said = f"caller; the file says {found!r}"
        found = None
    for text in (found, given, field.unit):
        if text is not None and text not in known:
            msg = f"not a unit of {field.kind}; use one of {', '.join(known)}"
            raise _wrong(msg, field, text, path)
    certain = field.unit if field.mark == "certain" else None
    for other, who in ((certain, "its form"), (given, "the caller")):
        if None not in (found, other) and scale(found) != scale(other):
            msg = f"the file says {found!r}, {who} says {other!r}"
            raise _wrong(msg, field, found, path)
    if None not in (certain, given) and scale(certain) != scale(given):
        msg = f"the caller says {given!r}, its form says {certain!r}"
        raise _wrong(msg, field, given, path)
    if found is not None:
        unit, source = found, "file"
    elif given is not None:
        unit, source = given, said
    elif field.unit is not None:
        unit, source = field.unit, f"form ({field.mark})"
    else:
        kept = array.copy(deep=False)
        kept.attrs = {"units": "unknown", "source_field": field.name}
        return kept
    factor, offset = scale(unit)
    plain = (factor, offset) == (1.0, 0.0)
    result = array.copy(deep=False) if plain else array * factor + offset
    result.attrs = {
        "source_field": field.name,
        "source_units": unit,
        "units_source": source,
    }
    return result


def mole_fraction(
    array: xr.DataArray,
    kind: str,
    gas: str,
    pressure: xr.DataArray,
    temperature: xr.DataArray,
) -> xr.DataArray:
    """Mole fraction of a gas from what a model gives of it.

    A number density is divided by that of the air, p / (k T); a mass fraction is
    multiplied by the ratio of the molar masses of air (43.4 g/mol) and gas.

    Parameters
    ----------
    array : DataArray
        Mole fraction, mass fraction (kg/kg) or number density (m-3).
    kind : {"mole_fraction", "mass_fraction", "number_density"}
        Which of these.
    gas : str
        Key of the gas.
    pressure, temperature : DataArray
        Pa and K, on the same points.

    Returns
    -------
    DataArray
        mol/mol.
    """
    if kind == "number_density":
        # 1e-6/k = 7.24297e16 K Pa-1 cm-3: the 7.2429e16 in use for MCD extracts is
        # this constant for p in Pa and densities in cm-3
        result = array * (BOLTZMANN * temperature / pressure)
    elif kind == "mass_fraction":
        result = array * (MOLAR_MASS / MOLAR_MASSES[gas])
    else:
        result = array.copy(deep=False)
    result.attrs = {**array.attrs, "units": "1", "derived_from": kind}
    return result


def _wrong(msg: str, field: Field, value: object, path: str | None) -> AtmosphereError:
    return AtmosphereError(
        msg, path=path, field=field.name, value=value, rule="climatology.units"
    )
