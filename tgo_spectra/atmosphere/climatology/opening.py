"""Open a file of a climate model: recognise its form, give it our names, check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.climatology import table
from tgo_spectra.atmosphere.climatology.form import Form, Source
from tgo_spectra.atmosphere.climatology.gem import PROFILES, votable
from tgo_spectra.atmosphere.climatology.grids import GRIDS
from tgo_spectra.atmosphere.fields import UNITS, unit_of
from tgo_spectra.atmosphere.files import (
    is_netcdf,
    netcdf_of,
    profile_from_text,
    text_of,
)
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORMS", "open_climatology"]

FORMS: dict[str, Form] = {one.name: one for one in (*GRIDS, *PROFILES, table.FORM)}
"""Forms by name; a new one is a row of a table and, where needed, a piece of code."""

_LONG_NAMES = {
    "pressure": ("Pa", "atmospheric pressure"),
    "temperature": ("K", "atmospheric temperature"),
    "altitude": ("km", "altitude above the climatology's reference"),
    "surface_pressure": ("Pa", "pressure at the surface"),
    "surface_altitude": ("km", "altitude of the surface above the areoid"),
    "given_number_density": ("m-3", "number density as given, not used"),
    "latitude": ("degree", "latitude"),
    "longitude": ("degree", "east longitude"),
    "local_time": ("hour", "local true solar time"),
    "solar_longitude": ("degree", "solar longitude"),
}


def open_climatology(
    path: str | Path | Sequence[str | Path],
    form: str | None = None,
    *,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    r"""Open an output of a climate model under the names and units of this package.

    Forms: ``mcd`` (extracts ``gcm_so_*`` of the Mars Climate Database), ``pcm``
    (Mars Planetary Climate Model), ``openmars``, ``emars``, ``gem_text`` and
    ``gem_web`` (GEM-Mars), ``table`` (your own, CSV or netCDF). netCDF is read when
    a place is asked for, not before.

    Parameters
    ----------
    path : str, path, or sequence of these
        File; several files of one form are joined along their season or time.
    form : str, optional
        Name of the form. Default: recognised by dimensions and variables; a file
        that fits none or several is an error.
    units : mapping, optional
        Units of fields, by their name in the file, for which neither the file nor
        the form states one. Such fields otherwise stay marked as unknown, and are
        not used.

    Returns
    -------
    Dataset
        Over ``level`` and the places there are: ``pressure`` (Pa), ``temperature``
        (K), ``<gas>_vmr`` (mol/mol), and where known ``altitude`` (km),
        ``surface_pressure``, ``surface_altitude``. The attribute
        ``altitude_reference`` is ``areoid``, ``surface``, ``hydrostatic`` (no
        altitudes: they follow from the pressures) or ``unknown``. Every variable
        says where its unit is from.

    Raises
    ------
    AtmosphereError
        No such file, no known form or several, a field missing, a unit that
        contradicts the form, numbers that are not physical; naming file, field,
        place and value (``climatology.*``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> rows = ["ls[deg],altitude[km],pressure[Pa],temperature[K]"]
    >>> for ls in (0, 180):
    ...     rows += [f"{ls},0,600,{200 + ls / 9}", f"{ls},80,0.4,{150 + ls / 9}"]
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "seasons.csv"
    >>> _ = file.write_text("# altitude_reference = areoid\n" + "\n".join(rows))
    >>> climatology = open_climatology(file)
    >>> climatology.temperature.sel(solar_longitude=180).values.tolist()
    [220.0, 170.0]
    """
    given = [path] if isinstance(path, str | Path) else list(path)
    parts = [expanded(one) for one in given]
    if not parts:
        msg = "no file"
        raise AtmosphereError(msg, field="path", rule="climatology.no_file")
    opened: list[tuple[xr.Dataset, Form]] = []
    for part in parts:
        source = _source(part, units or {})
        chosen = _form_of(source, form)
        one = chosen.adapt(source)
        one.attrs.update(
            climatology_form=chosen.name,
            climatology_shape_source=chosen.source,
            source_file=part.name,
            source_bytes=part.stat().st_size,
        )
        if "allow" in source.raw.attrs:
            one.attrs["allow"] = source.raw.attrs["allow"]
        one.set_close(source.raw.close)
        _check(one, source.path)
        opened.append((one, chosen))
    joined = opened[0][0] if len(opened) == 1 else _joined([ds for ds, _ in opened])
    joined.attrs["climatology_title"] = opened[0][1].title
    for name in joined.variables:
        known = _LONG_NAMES.get(str(name))
        if known:
            joined[name].attrs["units"], joined[name].attrs["long_name"] = known
    return joined


def _form_of(source: Source, name: str | None) -> Form:
    """Return the form that the caller names, or that the file shows."""
    if name is not None:
        if name not in FORMS:
            msg = f"unknown form; there are {', '.join(FORMS)}"
            raise AtmosphereError(
                msg,
                path=source.path,
                field="form",
                value=name,
                rule="climatology.form",
            )
        return FORMS[name]
    fitting = [one for one in FORMS.values() if one.recognise(source)]
    if len(fitting) == 1:
        return fitting[0]
    sizes = ", ".join(f"{k} {n}" for k, n in source.raw.sizes.items()) or "none"
    names = ", ".join(sorted(map(str, source.raw.variables))) or "none"
    found = f"dimensions: {sizes}; variables: {names}"
    if fitting:
        which = ", ".join(one.name for one in fitting)
        msg = f"the file fits several forms, {which}: name one with form="
    else:
        msg = f"the file fits none of {', '.join(FORMS)}; found"
    raise AtmosphereError(
        msg, path=source.path, field="form", value=found, rule="climatology.form"
    )


def _source(path: Path, units: Mapping[str, str]) -> Source:
    if not path.is_file():
        msg = "no such file"
        raise AtmosphereError(msg, path=path, rule="climatology.no_file")
    if is_netcdf(path):
        raw = netcdf_of(path, "climatology")
        # steps of the first axis are read one by one
        first = {d: 1 for d in ("time", "Time", "solar_longitude") if d in raw.dims}
        return Source(str(path), raw.chunk(first) if first else raw, None, units)
    text = text_of(path, "climatology")
    head = text.lstrip()
    if head.startswith("<"):
        raw = votable(text, str(path))
    elif head.startswith("%"):
        raw = xr.Dataset()
    else:
        raw = profile_from_text(text, str(path))
    return Source(str(path), raw, text, units)


def _check(ds: xr.Dataset, path: str) -> None:
    """Refuse coordinates that no place has; fields are checked where they are read."""
    for name, low, high in (("latitude", -90.0, 90.0), ("longitude", -360.0, 360.0)):
        if name in ds.coords:
            unit = unit_of(ds[name])
            if unit is not None and unit not in UNITS["angle"]:
                msg = "must be in degrees, north and east positive"
                raise AtmosphereError(
                    msg, path=path, field=name, value=unit, rule="climatology.units"
                )
            values = np.asarray(ds[name].values, dtype=float)
            bad = ~((values >= low) & (values <= high))
            if bad.any():
                at = int(np.argmax(bad))
                msg = f"{name} must be within {low:g}..{high:g}"
                raise AtmosphereError(
                    msg,
                    path=path,
                    field=name,
                    record=at,
                    value=float(values.flat[at]),
                    rule="climatology.place",
                )


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Join files along season or time, in that order."""
    first = parts[0]
    along = "time" if "time" in first.dims else "solar_longitude"
    key = "season" if along == "time" else along
    for other in parts:
        for name in ("climatology_form", "altitude_reference", "local_time_class"):
            if other.attrs.get(name) != first.attrs.get(name):
                msg = "files of different kinds do not join"
                raise AtmosphereError(
                    msg,
                    path=str(other.attrs["source_file"]),
                    field=name,
                    value=(first.attrs.get(name), other.attrs.get(name)),
                    rule="climatology.join",
                )
        if along not in other.dims:
            msg = "files without a season do not join"
            raise AtmosphereError(
                msg, path=str(other.attrs["source_file"]), rule="climatology.join"
            )
    ordered = sorted(parts, key=lambda ds: float(ds[key].min()))
    try:
        joined = xr.concat(
            ordered, along, data_vars="minimal", coords="minimal", compat="equals",
            join="exact", combine_attrs="drop_conflicts",
        )  # fmt: skip
    except ValueError as error:
        msg = f"files with different grids do not join: {error}"
        raise AtmosphereError(
            msg, path=str(first.attrs["source_file"]), rule="climatology.join"
        ) from error
    for name in (key, "sol") if along == "time" else (key,):
        steps = np.diff(joined[name].values)
        if (steps <= 0).any():
            at = int(np.argmax(steps <= 0)) + 1
            msg = "files overlap, or do not count on from each other"
            raise AtmosphereError(
                msg,
                path=str(first.attrs["source_file"]),
                field=name,
                value=float(joined[name].values[at]),
                rule="climatology.join",
            )
    joined.attrs["source_file"] = ", ".join(
        str(ds.attrs["source_file"]) for ds in ordered
    )
    years = sorted(
        {int(ds.attrs["mars_year"]) for ds in parts if "mars_year" in ds.attrs}
    )
    if len(years) > 1:
        joined.attrs["mars_years"] = ", ".join(map(str, years))
    joined.attrs["source_bytes"] = sum(int(ds.attrs["source_bytes"]) for ds in parts)
    return joined
