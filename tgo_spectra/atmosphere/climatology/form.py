"""What a form of climatology is, what a file is, and how fields become a climatology.

A climatology is a Dataset over ``level`` and any of ``solar_longitude`` or ``time``,
``local_time``, ``latitude``, ``longitude``: ``pressure`` (Pa), ``temperature`` (K),
``<gas>_vmr`` (mol/mol), and ``altitude`` (km) where the model states it.

A form states the unit of each of its fields. A file that says another unit contradicts
its form, which is an error, unless the form's unit is only inferred: then the file is
believed. A file that says nothing is believed to follow the form, and that is recorded;
a field whose unit neither states stays marked as unknown and is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.fields import UNITS, scale_of, unit_of
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.mars import BOLTZMANN, MOLAR_MASS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MOLAR_MASSES", "Field", "Form", "Source", "axes", "gases", "season", "take"]


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


@dataclass(frozen=True)
class Source:
    """One file: what was found in it, and what the caller says of it.

    Attributes
    ----------
    path : str
        For messages and provenance.
    raw : Dataset
        Variables as found; empty for a text that is no table with a header.
    text : str or None
        Of a text file.
    units : mapping
        Units that the caller states, by field.
    """

    path: str
    raw: xr.Dataset
    text: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)


class Form(NamedTuple):
    """One row of the table of forms.

    Attributes
    ----------
    name : str
        What the caller may name it.
    title : str
        For people.
    source : str
        Where the shape is known from.
    recognise : callable
        Whether a file has this form.
    adapt : callable
        File to climatology.
    """

    name: str
    title: str
    source: str
    recognise: Callable[[Source], bool]
    adapt: Callable[[Source], xr.Dataset]


def axes(source: Source, names: Mapping[str, str]) -> xr.Dataset:
    """Give dimensions (file's name to ours) and their coordinates our names.

    Raises
    ------
    AtmosphereError
        A dimension is missing (``climatology.missing``).
    """
    missing = [name for name in names if name not in source.raw.dims]
    if missing:
        raise _missing(missing[0], source.raw.sizes, source.path)
    # coordinates of other grids (edges of layers, winds) label no field here, and would
    # keep slices shifted against each other from being combined
    others = [name for name in source.raw.dims if name not in names]
    raw = source.raw.drop_vars(others, errors="ignore")
    for old, new in names.items():
        if new == "level":
            # its coordinate keeps its name: it may be a height, a sigma or nothing
            if old in raw.coords:
                raw = raw.reset_index(old).reset_coords(old)
            raw = raw.rename_dims({old: new})
    change = {o: n for o, n in names.items() if n not in ("level", o)}
    raw = raw.rename(change)
    return raw.set_coords([n for n in names.values() if n in raw.variables])


def take(
    source: Source, raw: xr.Dataset, fields: Iterable[Field], *needed: str
) -> tuple[dict[str, xr.DataArray], dict[str, Field]]:
    """Convert the fields that are there: arrays and fields by target.

    Of several fields of one target the first is taken; one of unknown unit stays under
    its own name. `needed` are targets without which there is no climatology.

    Raises
    ------
    AtmosphereError
        A needed one is missing (``climatology.missing``), or a unit is wrong.
    """
    arrays: dict[str, xr.DataArray] = {}
    found: dict[str, Field] = {}
    every = tuple(fields)
    for one in every:
        if one.name not in raw.variables or one.target in arrays:
            continue
        array = _convert(raw, one, source.path, source.units)
        known = array.attrs.get("units") != "unknown"
        arrays[one.target if known else one.name] = array
        if known:
            found[one.target] = one
    for target in needed:
        if target not in arrays:
            names = " or ".join(f.name for f in every if f.target == target)
            what = f"{target} ({names})"
            raise _missing(what, raw.variables, source.path)
    stray = set(source.units) - {one.name for one in every}
    if stray:
        msg = "a unit is stated for a field that this form does not have"
        raise AtmosphereError(
            msg, path=source.path, field=min(stray), rule="climatology.units"
        )
    return arrays, found


def gases(
    arrays: dict[str, xr.DataArray], found: Mapping[str, Field]
) -> dict[str, xr.DataArray]:
    """Turn what a model gives of gases into mole fractions, mol/mol.

    With ``pressure`` (Pa) and ``temperature`` (K) on the same points.
    """
    result = dict(arrays)
    for name, one in found.items():
        if name.endswith("_vmr"):
            result[name] = _mole_fraction(
                arrays[name],
                one.kind,
                name.removesuffix("_vmr"),
                arrays["pressure"],
                arrays["temperature"],
            )
    return result


def season(
    source: Source, raw: xr.Dataset, longitude: str, year: str | None, sol: xr.DataArray
) -> dict[str, xr.DataArray]:
    """Coordinates of a time series: ``sol``, ``season`` and, if known, ``mars_year``.

    `longitude` and `year` name the solar longitude (degree, may run past 360) and the
    Mars year, `sol` (time,) counts sols at the prime meridian; the season is 360 times
    the year plus Ls, or the unwrapped Ls.

    Raises
    ------
    AtmosphereError
        No solar longitude (``climatology.missing``), or time does not ascend
        (``climatology.time``).
    """
    if longitude not in raw.variables:
        what = f"solar longitude ({longitude})"
        raise _missing(what, raw.variables, source.path)
    ls = np.asarray(raw[longitude].values, dtype=np.float64)
    unwrapped = np.unwrap(ls, period=360.0)
    out: dict[str, xr.DataArray] = {}
    if year is not None and year in raw.variables:
        years = np.asarray(raw[year].values, dtype=np.float64)
        out["mars_year"] = xr.DataArray(np.round(years).astype(np.int64), dims="time")
        # the first year and the steps: a year counter may turn a step early or late
        start = 360.0 * round(float(years[0])) + ls[0] % 360.0
        unwrapped = unwrapped - unwrapped[0] + start
    day = np.asarray(sol.values, dtype=np.float64)
    for name, values in ((longitude, unwrapped), ("time", day)):
        bad = ~np.isfinite(values)
        bad[1:] |= ~(np.diff(values) > 0)
        if bad.any():
            at = int(np.argmax(bad))
            msg = "the time series must ascend"
            raise AtmosphereError(
                msg,
                path=source.path,
                field=name,
                record=at,
                value=float(values[at]),
                rule="climatology.time",
            )
    out["sol"] = xr.DataArray(day, dims="time")
    out["season"] = xr.DataArray(unwrapped, dims="time")
    return out


def _convert(
    raw: xr.Dataset,
    field: Field,
    path: str | None,
    stated: Mapping[str, str] | None = None,
) -> xr.DataArray:
    """Take a field to our unit; without one, it keeps its numbers and the mark.

    `stated`: units by field name that the caller gives for fields without one, or with
    one that this package does not know. The attribute ``units_source`` says whose the
    unit is; ``units`` is "unknown" where nobody knows.

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


def _mole_fraction(
    array: xr.DataArray,
    kind: str,
    gas: str,
    pressure: xr.DataArray,
    temperature: xr.DataArray,
) -> xr.DataArray:
    """Mole fraction (mol/mol) from a mole or mass fraction or a number density (m-3).

    A density is divided by that of the air, p / (k T) of pressure (Pa) and temperature
    (K); a mass fraction multiplied by the molar masses' ratio of air (43.4 g/mol) and
    gas.
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


def _missing(name: str, there: Iterable[object], path: str) -> AtmosphereError:
    msg = f"no {name}"
    return AtmosphereError(
        msg,
        path=path,
        field=name,
        value=sorted(map(str, there)),
        rule="climatology.missing",
    )
