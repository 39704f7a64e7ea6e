"""What is expected of gases, shifts and aerosol before a fit, with its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.linear import EXPONENT, SHIFT, STRETCH
from tgo_spectra.retrieval.setup import Prior
from tgo_spectra.retrieval.state import Block, independent
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy.partition import isotopologue_abundance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import Aerosol, Shifts

    Array = npt.NDArray[np.floating]

__all__ = [
    "HasCommon",
    "HasPriors",
    "ProfileScene",
    "common_blocks",
    "of_reference",
    "prior_profile",
    "prior_sigma",
]


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
