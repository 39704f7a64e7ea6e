"""What a form of climatology is, what a file is, and how fields become a climatology.

A climatology is a Dataset over ``level`` and any of ``solar_longitude`` or ``time``,
``local_time``, ``latitude``, ``longitude``: ``pressure`` (Pa), ``temperature`` (K),
``<gas>_vmr`` (mol/mol), and ``altitude`` (km) where the model states it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology.quantities import Field, convert, mole_fraction
from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Form", "Source", "axes", "gases", "season", "take"]


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
    """Give dimensions and their coordinates our names.

    Parameters
    ----------
    source : Source
        The file.
    names : mapping
        Name in the file to ours.

    Returns
    -------
    Dataset
        As found otherwise.

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
    """Convert the fields that are there.

    Parameters
    ----------
    source : Source
        Path and stated units.
    raw : Dataset
        With our axes.
    fields : iterable of Field
        In order of preference: the first field of a target is taken.
    needed : str
        Targets without which there is no climatology.

    Returns
    -------
    dict, dict
        Arrays and fields by target; fields of unknown unit are under their own name.

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
        array = convert(raw, one, source.path, source.units)
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
    """Turn what a model gives of gases into mole fractions.

    Parameters
    ----------
    arrays, found : dict
        As from :func:`take`; with ``pressure`` and ``temperature``.

    Returns
    -------
    dict
        The same arrays, every ``<gas>_vmr`` in mol/mol.
    """
    result = dict(arrays)
    for name, one in found.items():
        if name.endswith("_vmr"):
            result[name] = mole_fraction(
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
    """Coordinates of a time series: sol, solar longitude, Mars year.

    Parameters
    ----------
    source : Source
        For messages.
    raw : Dataset
        With the dimension ``time``.
    longitude : str
        Name of the solar longitude, degree; it may run past 360.
    year : str or None
        Name of the Mars year, where there is one.
    sol : DataArray
        Sols and fraction at the prime meridian.

    Returns
    -------
    dict
        ``sol`` and ``season`` (360 times the year plus Ls, or unwrapped Ls), and
        ``mars_year`` where known.

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


def _missing(name: str, there: Iterable[object], path: str) -> AtmosphereError:
    msg = f"no {name}"
    return AtmosphereError(
        msg,
        path=path,
        field=name,
        value=sorted(map(str, there)),
        rule="climatology.missing",
    )
