"""The air that a retrieval is given: what tables have there, how far it may be off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import TableError
from tgo_spectra.retrieval.elements import Size
from tgo_spectra.spectroscopy.tables.interpolation import interpolate_coefficients

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]

__all__ = [
    "GIVEN",
    "air_within",
    "airs_off",
    "coefficients_on",
    "given_air",
    "moved",
    "stated",
    "with_stated",
]

GIVEN = ("pressure", "temperature", "number_density")
"""What an atmosphere gives on the levels."""


def given_air(levels: xr.Dataset) -> dict[str, Array]:
    """Return pressure, temperature and number density on the levels."""
    return {name: levels[name].values for name in GIVEN}


def coefficients_on(
    band: BandTable,
    gases: tuple[str, ...],
    air: xr.Dataset | Mapping[str, Array],
    wider: Mapping[str, float] | None = None,
    derivative: tuple[int, int] = (0, 0),
) -> dict[str, Array]:
    """Coefficients of the gases' vectors at the pressures and temperatures of `air`.

    Lorentz widths go with the pressure: lines that are ``wider`` (relative, by gas) are
    those of the table at a higher one. Or derivatives of an order, see
    `tgo_spectra.spectroscopy.tables.interpolation.interpolate_coefficients`.
    """
    for gas in gases:
        if gas not in band.coefficients:
            message = f"the table has no {gas}; it has {', '.join(band.coefficients)}"
            raise TableError(message, field="gases", value=gas, rule="table.no_gas")
    found: dict[str, Array] = {}
    widths = {gas: (wider or {}).get(gas, 0.0) for gas in gases}
    for width in dict.fromkeys(widths.values()):
        some = [gas for gas in gases if widths[gas] == width]
        pressure = np.asarray(air["pressure"], dtype=float)
        if width:
            highest = np.exp(band.ln_pressure[-1])
            pressure = np.minimum(pressure * (1.0 + width), highest)
        together = interpolate_coefficients(
            np.concatenate([band.coefficients[gas] for gas in some]),
            band.ln_pressure,
            band.temperature_k,
            pressure,
            np.asarray(air["temperature"], dtype=float),
            doppler_limit=True,
            derivative=derivative,
        )
        if derivative[0]:
            together[:, np.log(pressure) < band.ln_pressure[0]] = 0.0
        ends = np.cumsum([len(band.coefficients[gas]) for gas in some])
        found |= zip(some, np.split(together, ends[:-1]), strict=True)
    return {gas: found[gas] for gas in gases}


def moved(
    band: BandTable, given: Mapping[str, Array], warmer_k: Array, log_p: Array
) -> dict[str, Array]:
    """Return pressure, temperature and number density, moved, within a table."""
    low, high = band.temperature_k[[0, -1]]
    temperature = np.clip(given["temperature"] + warmer_k, low, high)
    highest = np.exp(band.ln_pressure[-1])
    pressure = np.minimum(given["pressure"] * np.exp(log_p), highest)
    factor = pressure / given["pressure"] * given["temperature"] / temperature
    density = given["number_density"] * factor
    return dict(zip(GIVEN, (pressure, temperature, density), strict=True))


def air_within(
    air: xr.Dataset, band: BandTable, warmer_k: Array, log_p: Array
) -> xr.Dataset:
    """Return the air at other temperatures and pressures, within a table."""
    found = moved(band, given_air(air), warmer_k, log_p)
    return air.assign({k: ("altitude", v) for k, v in found.items()})


def stated(air: xr.Dataset, source: str, size: float) -> Array:
    """Return 1 sigma of ``temperature`` (K) or ``pressure`` (relative) on altitudes.

    That which the air states of itself, else ``size``; zero where that is zero.
    """
    own = air.get(f"{source}_uncertainty")
    if own is None or size == 0.0:
        return np.full(air.sizes["altitude"], float(size))
    return np.asarray(own.values, dtype=float)


def with_stated(found: Mapping[str, Size], air: xr.Dataset) -> dict[str, Size]:
    """Return sizes of sources, those of the air as it states them where gas is."""
    result = dict(found)
    for source in found.keys() & {"temperature", "pressure"}:
        if f"{source}_uncertainty" in air:
            sigma = stated(air, source, found[source].magnitude)
            mean = np.average(sigma, weights=air["number_density"].values)
            origin = f"{source}_uncertainty of the atmosphere, mean over its molecules"
            result[source] = Size(float(mean), found[source].unit, origin)
    return result


def airs_off(
    air: xr.Dataset, band: BandTable, sizes: Mapping[str, Size]
) -> dict[str, xr.Dataset]:
    """Return the air warmer, and at a lower pressure, by 1 sigma at all altitudes.

    By source; by what the air states of itself, else by the ``sizes``.
    """
    found = {}
    for source in ("temperature", "pressure"):
        if source in sizes:
            sigma = stated(air, source, sizes[source].magnitude)
            none = np.zeros(sigma.size)
            # the highest pressure may be at the edge of the table
            change = (sigma, none) if source == "temperature" else (none, -sigma)
            found[source] = air_within(air, band, *change)
    return found
