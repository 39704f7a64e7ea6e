"""What a fit is given: the air on its line of sight, and a priori values, with errors.

Of the air: what tables have there, and how far it may be off. A priori: mole fractions
of gases, shifts of the wavenumber scale, the aerosol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.errors import RetrievalError, TableError
from tgo_spectra.retrieval.elements import Size
from tgo_spectra.retrieval.linear import EXPONENT, SHIFT, STRETCH
from tgo_spectra.retrieval.setup import Prior
from tgo_spectra.retrieval.state import Block, independent
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy.partition import isotopologue_abundance
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import Aerosol, Shifts
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.floating]

__all__ = [
    "GIVEN",
    "HasCommon",
    "HasPriors",
    "ProfileScene",
    "air_within",
    "airs_off",
    "coefficients_on",
    "common_blocks",
    "given_air",
    "moved",
    "of_reference",
    "prior_profile",
    "prior_sigma",
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
    `tgo_spectra.spectroscopy.tables.read.interpolate_coefficients`.
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


class HasPriors(Protocol):
    """A setup with a priori choices of its gases."""

    @property
    def prior(self) -> Mapping[str, Prior]:
        """Choices by gas; a gas without one has the defaults."""


class ProfileScene(Protocol):
    """A scene whose state holds profiles of gases."""

    @property
    def setup(self) -> HasPriors:
        """Choices of the fit."""

    @property
    def prior_vmr(self) -> Mapping[str, npt.NDArray[np.floating]]:
        """A priori mole fractions on the levels."""


class HasCommon(Protocol):
    """A setup with choices of what all rows share."""

    @property
    def registration(self) -> Shifts:
        """Shift and stretch of the wavenumber scale."""

    @property
    def aerosol(self) -> Aerosol:
        """Exponent of the aerosol."""


def of_reference(gases: Iterable[str], setup: HasPriors, levels: xr.Dataset) -> str:
    """Name the gases whose a priori is that of the reference atmosphere, or none.

    Those of which neither the setup nor the atmosphere says something.
    """
    found = []
    for gas in gases:
        prior = setup.prior.get(gas)
        constant = prior is not None and prior.constant is not None
        names = (f"{gas}_vmr", f"{gas_info(gas).parent}_vmr")
        if not constant and not any(name in levels for name in names):
            found.append(gas)
    return " ".join(found) or "none"


def prior_profile(gas: str, setup: HasPriors, levels: xr.Dataset) -> Array:
    """Return the a priori mole fraction of a gas on the levels."""
    prior = setup.prior.get(gas)
    if prior is not None and prior.constant is not None:
        return np.full(levels.sizes["altitude"], prior.constant)
    share, name = 1.0, f"{gas}_vmr"
    info = gas_info(gas)
    if info.parent and name not in levels:
        # what HITRAN takes for the Earth, of the gas that it is an isotopologue of
        share = isotopologue_abundance(info.molecule, info.isotopologues[0])
        name = f"{info.parent}_vmr"
    if name in levels:
        return share * np.asarray(levels[name].values, dtype=float)
    reference = reference_atmosphere(levels["altitude"].values)
    if name not in reference:
        message = (
            "no a priori: give `constant` in the setup or a profile in the atmosphere"
        )
        raise RetrievalError(message, field=name, rule="fit.no_prior")
    return share * np.asarray(reference[name].values, dtype=float)


def prior_sigma(scene: ProfileScene, gas: str) -> tuple[Array, float]:
    """Return the a priori 1-sigma on the levels and the correlation length, km."""
    prior = scene.setup.prior.get(gas) or Prior()
    profile = scene.prior_vmr[gas]
    if prior.sigma is not None:
        return np.full(profile.size, prior.sigma), prior.correlation_km
    relative = 1.0 if prior.relative_sigma is None else prior.relative_sigma
    floor = max(1e-3 * float(profile.max()), 1e-15)
    return np.maximum(relative * profile, floor), prior.correlation_km


def common_blocks(setup: HasCommon, n_bins: int) -> tuple[Block, ...]:
    """Return shift for each bin, stretch and aerosol exponent with their a priori."""
    register, aerosol = setup.registration, setup.aerosol
    stretch = register.stretch_sigma_px if register.stretch else 0.0
    return (
        independent(
            SHIFT, register.shift_sigma_px, size=n_bins, per="bin", searched=True
        ),
        independent(STRETCH, stretch, searched=True),
        independent(EXPONENT, aerosol.exponent_sigma, prior=aerosol.exponent),
    )
