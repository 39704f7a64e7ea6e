"""A climatology for many products: its files, and every choice made once for all."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from tgo_spectra.errors import AtmosphereError
from tgo_spectra.paths import expanded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

__all__ = ["ClimatologyChoices", "choose_climatology"]

Floats = tuple[float, ...]


class ClimatologyChoices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of a climatology, how they are opened, and how a profile is taken.

    Attributes
    ----------
    paths : tuple of str
        Files, absolute.
    form : str or None
        As in :func:`tgo_spectra.open_climatology`; so is `units`.
    units : dict
    mars_year, method, altitude_reference, surface_altitude_km, anchor : optional
        As in :func:`tgo_spectra.atmosphere_for_product`; so are `planet_radius_km`,
        `altitude_km`, `above_top`, `below_bottom`.
    """

    paths: tuple[str, ...]
    form: str | None = None
    units: dict[str, str] = {}
    mars_year: int | None = None
    method: Literal["linear", "nearest"] = "linear"
    altitude_reference: Literal["areoid", "surface", "hydrostatic"] | None = None
    surface_altitude_km: float | None = None
    anchor: tuple[float, float] | None = None
    planet_radius_km: float | None = None
    altitude_km: Floats | None = None
    above_top: Literal["isothermal"] | None = None
    below_bottom: Literal["isothermal"] | None = None

    def text(self) -> str:
        """Return all choices but the files as one line of JSON.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "air.csv"
        >>> _ = file.write_text("altitude[km],pressure[Pa],temperature[K]")
        >>> choose_climatology(file, {"altitude_reference": "areoid"}).text()
        '{"altitude_reference": "areoid", "method": "linear"}'
        """
        found = msgspec.to_builtins(self)
        del found["paths"]
        kept = {key: value for key, value in found.items() if value not in (None, {})}
        return json.dumps(kept, sort_keys=True)

    def open(self) -> xr.Dataset:
        """Open the files, once a process unless they change."""
        stamps = tuple(Path(path).stat().st_mtime_ns for path in self.paths)
        units = tuple(sorted(self.units.items()))
        return _opened(self.paths, self.form, units, stamps)

    def check(self) -> None:
        """Open the files, and see whether a choice is missing for every product.

        Raises
        ------
        AtmosphereError
            As `tgo_spectra.open_climatology`; or nobody says what altitudes count from
            (``climatology.altitude_reference``).
        """
        known = self.open().attrs.get("altitude_reference", "unknown")
        if known == "unknown" and self.altitude_reference is None:
            msg = (
                "what the altitudes count from is not known: give altitude_reference="
                "areoid, surface or hydrostatic"
            )
            raise AtmosphereError(
                msg,
                path=self.paths[0],
                field="altitude_reference",
                value=known,
                rule="climatology.altitude_reference",
            )

    def profile_for(self, level1: xr.Dataset) -> xr.Dataset:
        """Take the profile of a product, as `tgo_spectra.atmosphere_for_product`.

        Parameters
        ----------
        level1 : Dataset

        Returns
        -------
        Dataset
            Its attribute ``climatology_choices`` repeats the choices.

        Raises
        ------
        AtmosphereError
            As `tgo_spectra.atmosphere_for_product`.
        """
        import dask

        from tgo_spectra.climatology.place import atmosphere_for_product

        # a worker must not send the reading of a few steps to the other workers
        with dask.config.set(scheduler="synchronous"):
            air = atmosphere_for_product(
                level1,
                self.open(),
                mars_year=self.mars_year,
                method=self.method,
                altitude_reference=self.altitude_reference,
                surface_altitude_km=self.surface_altitude_km,
                anchor=self.anchor,
                planet_radius_km=self.planet_radius_km,
                altitude_km=self.altitude_km,
                above_top=self.above_top,
                below_bottom=self.below_bottom,
            )
        return air.assign_attrs(climatology_choices=self.text())


@functools.lru_cache(maxsize=2)
def _opened(
    paths: tuple[str, ...],
    form: str | None,
    units: tuple[tuple[str, str], ...],
    _modified_ns: tuple[int, ...],
) -> xr.Dataset:
    from tgo_spectra.climatology.opening import open_climatology

    return open_climatology(paths, form, units=dict(units))


def choose_climatology(
    paths: str | Path | Sequence[str | Path],
    choices: Mapping[str, object] | None = None,
) -> ClimatologyChoices:
    """Check the choices for a climatology; no file is read.

    Parameters
    ----------
    paths : path or sequence of paths
        Files of one climatology.
    choices : mapping, optional
        By the names of the attributes of `ClimatologyChoices`; `altitude_km` may also
        be a text ``first:last:step``.

    Returns
    -------
    ClimatologyChoices

    Raises
    ------
    AtmosphereError
        No such file (``climatology.no_file``), or a choice that is unknown or of the
        wrong type (``climatology.choice``).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "air.csv"
    >>> _ = file.write_text("altitude[km],pressure[Pa],temperature[K]")
    >>> choose_climatology(file, {"altitude_km": "0:120:60"}).altitude_km
    (0.0, 60.0, 120.0)
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    parts = [expanded(one) for one in given]
    for part in parts:
        if not part.is_file():
            msg = "no such file"
            raise AtmosphereError(msg, path=part, rule="climatology.no_file")
    if not parts:
        msg = "no file"
        raise AtmosphereError(msg, field="climatology", rule="climatology.no_file")
    raw: dict[str, object] = dict(choices or {})
    known = [name for name in ClimatologyChoices.__struct_fields__ if name != "paths"]
    for name in raw:
        if name not in known:
            msg = f"no such choice; there are {', '.join(known)}"
            raise AtmosphereError(
                msg, field=name, value=raw[name], rule="climatology.choice"
            )
    levels = raw.get("altitude_km")
    if isinstance(levels, str | dt.time):  # TOML takes 10:40:10 for a time
        raw["altitude_km"] = _levels(str(levels))
    elif isinstance(levels, np.ndarray):
        raw["altitude_km"] = levels.tolist()
    raw["paths"] = [str(part.absolute()) for part in parts]
    try:
        return msgspec.convert(raw, ClimatologyChoices)
    except msgspec.ValidationError as error:
        place = re.search(r"at `\$\.(\w+)", str(error))
        field = place.group(1) if place else None
        raise AtmosphereError(
            str(error),
            field=field,
            value=raw.get(field or ""),
            rule="climatology.choice",
        ) from error


def _levels(text: str) -> list[float]:
    """Levels of ``first:last:step``, both ends in."""
    try:
        first, last, step = (float(part) for part in text.split(":"))
        count = round((last - first) / step)
    except (ValueError, ZeroDivisionError):
        first = last = step = count = 0
    if count < 1 or abs(first + count * step - last) > 1e-6 * abs(step):
        msg = "levels are first:last:step in km, with whole steps"
        raise AtmosphereError(
            msg, field="altitude_km", value=text, rule="climatology.choice"
        )
    return [float(level) for level in np.linspace(first, last, count + 1)]
