"""What functions shared by channels ask of a setup and of a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from tgo_spectra.retrieval.setup import Aerosol, Prior, Shifts

__all__ = ["HasCommon", "HasPriors", "ProfileScene"]


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
