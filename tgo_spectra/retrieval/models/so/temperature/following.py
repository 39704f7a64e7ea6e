"""The atmosphere for the fits that follow one of temperature and density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.files import read_atmosphere
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.errors import AtmosphereError

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

__all__ = ["atmosphere_of"]

NEEDED = ("temperature", "pressure", "temperature_apriori", "converged")


def atmosphere_of(level2: xr.Dataset, apriori: xr.Dataset | str | Path) -> xr.Dataset:
    """Make the atmosphere for the next fit of a retrieved temperature and pressure.

    On the levels of the retrieval temperature and pressure are the retrieved ones,
    which go over to the a priori where the spectra say nothing. Above and below, the
    temperature is the a priori's and the pressure too, times the ratio of the two at
    the nearest level, so that both stay in balance. Mole
    fractions are the a priori's everywhere.

    Parameters
    ----------
    level2 : Dataset
        From `tgo_spectra.retrieval.models.so.temperature.retrieve_temperature`.
    apriori : Dataset, str or path
        The atmosphere that was given to it, or a wider one.

    Returns
    -------
    Dataset
        As `tgo_spectra.read_atmosphere` returns it; attributes ``sensed_bottom_km``
        and ``sensed_top_km`` of the retrieval.

    Raises
    ------
    AtmosphereError
        `level2` is no result of a temperature retrieval, its fit did not converge, or
        the a priori cannot be read.

    Examples
    --------
    >>> air = atmosphere_of(level2, "mcd.nc")  # doctest: +SKIP
    >>> gases = tgo.retrieve(other_level1, "so_134", atmosphere=air)  # doctest: +SKIP
    """
    for name in NEEDED:
        if name not in level2:
            message = "not the result of a temperature retrieval: a variable is missing"
            raise AtmosphereError(message, field=name, rule="atmosphere.not_retrieved")
    if not bool(level2["converged"]):
        message = "the temperature retrieval did not converge"
        raise AtmosphereError(
            message, field="converged", value=0, rule="atmosphere.not_converged"
        )
    given = read_atmosphere(apriori)
    levels = level2["altitude"].values.astype(float)
    other = given["altitude"].values
    beyond = other[(other < levels[0] - 1e-6) | (other > levels[-1] + 1e-6)]
    altitude = np.union1d(levels, beyond)
    result = on_altitudes(given, altitude)
    inside = np.isin(altitude, levels)
    temperature = result["temperature"].values.copy()
    temperature[inside] = level2["temperature"].values
    ratio = level2["pressure"].values / result["pressure"].values[inside]
    pressure = result["pressure"].values * np.interp(altitude, levels, ratio)
    pressure[inside] = level2["pressure"].values
    merged = result.drop_vars("number_density").assign(
        temperature=result["temperature"].copy(data=temperature),
        pressure=result["pressure"].copy(data=pressure),
    )
    for key in ("sensed_bottom_km", "sensed_top_km"):
        merged.attrs[key] = level2.attrs[key]
    where = f"{level2.attrs['sensed_bottom_km']:g} to {level2.attrs['sensed_top_km']:g}"
    merged.attrs["source"] = (
        f"retrieved temperature and pressure ({level2.attrs.get('setup', '')}, sensed "
        f"{where} km), otherwise {given.attrs.get('source', 'given by the user')}"
    )
    checked = read_atmosphere(merged)
    for key in ("sensed_bottom_km", "sensed_top_km"):
        checked.attrs[key] = merged.attrs[key]
    return checked
