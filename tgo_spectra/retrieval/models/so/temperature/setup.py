"""Choices of a fit of temperature and density."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta, field

from tgo_spectra.retrieval.section import (
    Checks,
    Fraction,
    NonNegative,
    Positive,
    Section,
)
from tgo_spectra.retrieval.setup import (
    Prior,
    RetrievalSetup,
    SoSetup,
    SoSystematics,
    SoUncertainties,
)

__all__ = [
    "Composition",
    "PressurePrior",
    "TemperaturePrior",
    "TemperatureSetup",
    "TemperatureSystematics",
]


class TemperaturePrior(Section, frozen=True):
    """A priori of the temperature: the atmosphere's, plus or minus."""

    sigma_k: Positive = 10.0
    """1 sigma at each level (inferred: what a climatology misses)."""
    correlation_km: Positive = 5.0
    """Length of the exponential correlation between levels (inferred)."""


class PressurePrior(Section, frozen=True):
    """A priori of the one pressure that hydrostatic balance leaves open."""

    reference_km: float
    """Altitude of that pressure: amid the heights where the lines are neither faint
    nor saturated."""
    relative_sigma: Positive = 0.5
    """1 sigma of its logarithm: by default nearly none (inferred)."""


class Composition(Section, frozen=True):
    """Mole fraction of CO2, which is not fitted, and the molar mass of the air."""

    co2: Fraction | None = None
    """At all heights; default: the atmosphere's ``co2_vmr``."""
    relative_error: NonNegative = 0.01
    """1 sigma, common to all heights: its effect is a systematic error, not part of
    the others; zero leaves it out (inferred: seasonal changes below the homopause)."""
    homopause_error: NonNegative = 0.05
    """1 sigma at 120 km, growing from zero at 90 km: where gases part by their weights
    differs by 30 km between places and seasons (inferred)."""
    molar_mass_g_mol: Annotated[float, Meta(ge=20, le=50)] | None = None
    """Of the air at all heights; default: from the mole fraction of CO2."""
    molar_mass_error_g_mol: NonNegative = 0.2
    """1 sigma at a given mole fraction of CO2, for what else is in the air (43.34 and
    43.5 are both in use) and for gravity, which is that of a sphere at rest: flattening
    and rotation make 0.2 to 0.6 % (inferred)."""


class TemperatureSystematics(SoUncertainties, frozen=True):
    """What else may be wrong: of lines, and of the instrument."""

    spectroscopy: NonNegative = 0.02
    """Intensities of all lines of CO2, relative (inferred)."""


class TemperatureSetup(SoSetup, frozen=True, kw_only=True):
    """Every choice of one retrieval of temperature and density.

    The section ``prior`` is that of the interferents.

    Examples
    --------
    >>> setup = TemperatureSetup(
    ...     name="t", channel="so", orders=(165,), table="co2.nc",
    ...     pressure=PressurePrior(reference_km=80.0))
    >>> setup.temperature.sigma_k, setup.gases
    (10.0, ('co2',))
    """

    kind: ClassVar[str] = "temperature"

    pressure: PressurePrior
    interferents: tuple[str, ...] = ()
    """Gases of the table beside CO2, with the mole fractions of the atmosphere or of
    `prior`."""
    fitted: tuple[str, ...] = ()
    """Those of them whose profiles are fitted beside the temperature."""
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 15
    minimum_information: Fraction = 0.5
    """Share of the a priori variance that the spectra must take away for a level to
    count as sensed."""
    pointing_km: NonNegative = 0.3
    """1 sigma of the tangent altitude of all rows: its effect is a systematic error;
    zero leaves it out (inferred)."""
    temperature: TemperaturePrior = field(default_factory=TemperaturePrior)
    composition: Composition = field(default_factory=Composition)
    systematics: TemperatureSystematics = field(default_factory=TemperatureSystematics)

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases modelled, CO2 first."""
        return ("co2", *self.interferents)

    def key_of(self, gas: str) -> str:
        """Return the key that names a gas of the fit."""
        return "interferents"

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        window, at_km = self.window, self.pressure.reference_km
        bottom = float("-inf") if window.bottom_km is None else window.bottom_km
        return (
            ("co2" not in self.interferents, "interferents", "co2",
             "CO2 is the gas of the fit, not an interferent"),
            *super().checks(),
            ("co2" not in self.prior, "prior.co2", "co2",
             "the mole fraction of CO2 is set in the section composition"),
            (set(self.fitted) <= set(self.interferents), "fitted", list(self.fitted),
             "a gas that is fitted must be among the interferents"),
            (bottom < at_km < window.top_km, "pressure.reference_km", at_km,
             "reference_km must lie between bottom_km and top_km of the window"),
            (window.top_km <= self.grid.top_km, "window.top_km", window.top_km,
             "top_km of the window is above that of the grid"),
        )  # fmt: skip

    def as_profile_setup(self) -> RetrievalSetup:
        """Return the setup of a gas fit of the same window, for what both do alike."""
        names = (item.name for item in msgspec.structs.fields(SoSetup))
        both: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.composition.co2 is not None:
            both["prior"] = {**self.prior, "co2": Prior(constant=self.composition.co2)}
        wish = SoSystematics(enabled=False, in_fit=False)
        return RetrievalSetup(**both, gases=self.gases, systematics=wish)
