"""Choices of a nadir column fit."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from tgo_spectra.retrieval.section import Checks, NonNegative, Positive, Section
from tgo_spectra.retrieval.setup import TableSetup

__all__ = ["NadirSetup"]

Pixel = Annotated[int, Meta(ge=0, le=319)]


class NadirWindow(Section, frozen=True):
    """Pixels and spectra that enter the fit."""

    first_pixel: Pixel = 20
    last_pixel: Pixel = 299
    masked_pixels: tuple[Pixel, ...] = ()
    clip_sigma: Positive = 6.0
    """Pixels farther off than this near the solution are left out."""
    minimum_pixels: Annotated[int, Meta(ge=50, le=320)] = 150
    minimum_reflectance: float = 0.01
    """Spectra whose median is lower are left out."""
    maximum_angle_deg: Annotated[float, Meta(ge=10, le=80)] = 75.0
    """Largest incidence and emission; the rays are straight, above a sphere."""

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        used = set(range(self.first_pixel, self.last_pixel + 1))
        used -= set(self.masked_pixels)
        good, text = (
            len(used) >= self.minimum_pixels,
            "the window has fewer pixels than the least number",
        )
        return ((good, "minimum_pixels", self.minimum_pixels, text),)


class NadirInstrument(Section, frozen=True):
    """LNO as the fit takes it."""

    resolving_power: Annotated[float, Meta(ge=3000, le=20000)] = 10000.0
    """Not settled: 5600 to 14000 in the sources (to be verified)."""
    n_orders: Annotated[int, Meta(ge=0, le=12)] = 10
    """Neighbouring orders on each side whose light is added. Six leave columns 0.5 to
    0.8 % low: what the side lobes of the AOTF let in from farther out (simulated line
    by line, see the validation page)."""
    aotf_offset_cm1: float = 0.0
    aotf_width_factor: Positive = 1.0


class NadirSystematics(Section, frozen=True):
    """Sizes (1 sigma) of what the noise does not hold; zero leaves a source out."""

    enabled: bool = True
    """Calculate the errors by what is not in the fit."""
    temperature_k: NonNegative = 5.0
    """Temperature at all heights."""
    pressure: NonNegative = 0.05
    """Pressure, relative; also of the surface in mole fractions and normalised columns.
    """
    spectroscopy: NonNegative = 0.05
    """Line intensities, relative."""
    resolution: NonNegative = 0.2
    """Resolving power, relative: sources have 5600 to 14000 (to be verified)."""
    aotf_centre: NonNegative = 1.0
    """Centre of the AOTF, cm-1 (to be verified)."""
    aotf_width: NonNegative = 0.05
    """Width of the AOTF, relative (inferred)."""
    dust: NonNegative = 0.05
    """Part of the light that dust scatters back from amid the gas (inferred: an optical
    depth of some tenths over a bright surface)."""
    zero_level: NonNegative = 0.04
    """Light added to all spectra, of that of the surface (inferred)."""
    surface: NonNegative = 1e-3
    """Reflectance of the surface that the baseline leaves: coefficient of the next
    degree, relative (inferred)."""


class NadirSetup(TableSetup, frozen=True, kw_only=True):
    """Every choice of one nadir retrieval.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> load_setup("lno_189_190_co").replace(average=10).average
    10
    """

    kind: ClassVar[str] = "nadir"

    gas: str
    interferents: dict[str, Positive]
    """Gases fitted beside it, and 1 sigma of their factors on the atmosphere's
    profile."""
    signal: Literal["reflectance_factor", "reflectance_factor_corrected"] = (
        "reflectance_factor"
    )
    average: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Consecutive spectra averaged before the fit."""
    baseline_degree: Annotated[int, Meta(ge=0, le=10)] = 4
    relative_sigma: Positive = 100.0
    """1 sigma of the factor on the gas: by default nearly none."""
    shift_sigma_px: Positive = 1.5
    """1 sigma of the shift of a product's wavenumbers."""
    shift_scatter_px: Positive = 0.2
    """1 sigma of a spectrum's shift around its product's (inferred: the scale moves by
    0.85 pixels for 1 degree of the instrument)."""
    noise: Positive | None = None
    """1 sigma of a pixel of one spectrum, reflectance factor; default: from the
    residuals of each fit, as LNO nadir products have no error."""
    reference_pressure_pa: Positive = 610.0
    """Surface pressure to which the normalised column refers."""
    detection_sigma: Positive = 3.0
    limit_sigma: Positive = 2.0
    max_iterations: Annotated[int, Meta(ge=2, le=50)] = 20
    window: NadirWindow = field(default_factory=NadirWindow)
    instrument: NadirInstrument = field(default_factory=NadirInstrument)
    systematics: NadirSystematics = field(default_factory=NadirSystematics)

    @property
    def channel(self) -> str:
        """Channel it is for."""
        return "lno"

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases fitted, the one wanted first."""
        return (self.gas, *self.interferents)

    def key_of(self, gas: str) -> str:
        """Return the key that names a gas of the fit."""
        return "gas" if gas == self.gas else "interferents"

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        good = self.gas not in self.interferents
        text = "the gas wanted cannot be an interferent"
        return (*super().checks(), (good, "interferents", self.gas, text))
