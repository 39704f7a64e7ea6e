"""Choices of an ozone fit in the ultraviolet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from msgspec import Meta, field

from tgo_spectra.paths import expanded
from tgo_spectra.retrieval.section import Checks, NonNegative, Positive, Section
from tgo_spectra.retrieval.setup import Setup, SigmaLevels

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OzonePrior", "UvisSetup"]


class UvisWindow(Section, frozen=True):
    """Pixels and rows that enter the fit."""

    low_nm: Annotated[float, Meta(ge=200, le=400)] = 220.0
    """Straylight matters below 220 to 250 nm (to be verified)."""
    high_nm: Annotated[float, Meta(ge=250, le=650)] = 340.0
    minimum_transmittance: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    """Rows whose median transmittance in the last 15 nm is lower are left out."""
    bottom_km: float = 0.0
    top_km: float = 95.0
    """Rows between these tangent altitudes."""


class UvisInstrument(Section, frozen=True):
    """Line shape and field of view."""

    fwhm_nm: Positive = 1.5
    """Of the line shape, a Gaussian (inferred)."""
    field_of_view_arcmin: NonNegative = 2.0
    """Diameter of the field of view during occultations (to be verified); the points
    of the table are the rim of a wider one."""
    grid_step_nm: Annotated[float, Meta(gt=0, le=0.5)] = 0.2
    """Of the wavelengths on which transmittances are calculated."""


class UvisGrid(Section, frozen=True):
    """Levels of the profiles."""

    step_km: Annotated[float, Meta(gt=0, le=5)] = 1.0
    """At least; levels are not closer than the spectra."""
    top_km: Annotated[float, Meta(gt=20, le=150)] = 100.0
    onion_step_km: Annotated[float, Meta(gt=0, le=10)] = 2.0
    """Of the levels of the profile without a priori: finer ones amplify noise, coarser
    ones do not follow the profile."""


class Continuum(Section, frozen=True):
    """Aerosol extinction, and brightness changes of single spectra.

    The extinction is a polynomial in 1 / wavelength; its coefficients have no mean a
    priori and a standard deviation that falls exponentially with altitude.
    """

    degree: Annotated[int, Meta(ge=1, le=5)] = 3
    """Quadratic represents a power between 0 and 2 to 3e-4 of the optical depth from
    220 to 340 nm, cubic to 3e-5."""
    extinction_sigma_km1: Positive = 0.05
    """1 sigma at altitude zero, km-1."""
    scale_height_km: Positive = 15.0
    correlation_km: Positive = 5.0
    slope_ratios: Annotated[tuple[Positive, ...], Meta(min_length=1)] = (0.5, 0.1, 0.03)
    """1 sigma of the coefficients above the first, relative to it; the last one serves
    all higher degrees."""
    brightness_sigma: NonNegative = 0.002
    """1 sigma of a change common to all pixels of a spectrum, and of its tilt: the
    archived error is the random part only."""


class OzonePrior(Section, frozen=True):
    """A priori of the ozone profile (mole fraction), linear: it may be negative."""

    sigma: Positive = 1e-6
    """1 sigma, mol/mol."""
    constant: NonNegative | None = None
    """Mean; default the atmosphere's ``o3_vmr`` or, where it has none, zero: the result
    says which."""
    correlation_km: Positive = 4.0


class UvisSystematics(Section, frozen=True):
    """Sizes (1 sigma) of what the noise does not hold; zero leaves a source out."""

    cross_section: NonNegative = 0.02
    """Of ozone, relative: the absolute scale of measured ones is stated as 2 to 3 %
    (Gorshelev et al. 2014, doi:10.5194/amt-7-609-2014; to be verified)."""
    temperature_k: NonNegative = 20.0
    """Of the ozone: its cross section is held constant below the coldest measured one,
    so that this stands for the extrapolation too (inferred)."""
    wavelength_nm: NonNegative = 0.05
    """Of the wavelength scale; air against vacuum is 0.06 to 0.1 nm."""
    line_width: NonNegative = 0.1
    """Of the line shape, relative (inferred)."""
    air_density: NonNegative = 0.05
    """Of the air, relative, which scatters and over which mole fractions are; the
    atmosphere's own uncertainty where it states one."""
    aerosol_form: NonNegative = 1e-3
    """Aerosol that is no polynomial of the continuum's degree: the next coefficient,
    relative to the optical depth (inferred: a power of the wavelength needs 3e-5)."""
    straylight: NonNegative = 0.002
    """Transmittance added to pixels below `straylight_limit_nm` (to be verified)."""
    straylight_limit_nm: Positive = 250.0


class UvisSetup(Setup, frozen=True, kw_only=True):
    """Every choice of one ozone retrieval; all have defaults.

    Examples
    --------
    >>> setup = UvisSetup(prior=OzonePrior(constant=0.0))
    >>> setup.window.low_nm, setup.replace(continuum={"degree": 2}).continuum.degree
    (220.0, 2)
    """

    kind: ClassVar[str] = "ozone"

    name: str = "uvis_o3"
    cross_section: str | None = None
    """Path of the ozone cross sections, relative to the setup file."""
    medium: Literal["air", "vacuum"] | None = None
    """What the wavelengths of that file are: most files do not say."""
    method: Literal["oe", "slant"] = "oe"
    """Profiles and slant columns, or slant columns alone."""
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 25
    """Where the lowest spectra are almost dark, profiles take ten or more."""
    window: UvisWindow = field(default_factory=UvisWindow)
    instrument: UvisInstrument = field(default_factory=UvisInstrument)
    grid: UvisGrid = field(default_factory=UvisGrid)
    continuum: Continuum = field(default_factory=Continuum)
    prior: OzonePrior = field(default_factory=OzonePrior)
    detection: SigmaLevels = field(default_factory=SigmaLevels)
    systematics: UvisSystematics = field(default_factory=UvisSystematics)

    @property
    def channel(self) -> str:
        """Channel it is for."""
        return "uvis"

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases fitted."""
        return ("o3",)

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        window, top_km = self.window, self.grid.top_km
        reach = "top_km must be 10 km above bottom_km and not above the grid"
        return (
            (window.high_nm - window.low_nm >= 40.0, "window.high_nm", window.high_nm,
             "the window must be 40 nm wide or more"),
            (window.bottom_km + 10.0 <= window.top_km <= top_km, "window.top_km",
             window.top_km, reach),
            (self.cross_section is None or self.medium is not None, "medium", None,
             "say whether the wavelengths of the file are those of air or of vacuum"),
        )  # fmt: skip

    def of_file(self, path: Path) -> Self:
        """Return it with its cross sections' file as seen from its own."""
        if self.cross_section is None:
            return self
        file = path.parent / expanded(self.cross_section)
        return self.replace(cross_section=str(file))
