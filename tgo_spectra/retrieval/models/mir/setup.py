"""Choices of a fit of ACS MIR occultations.

What is not settled of the instrument (line shape, field of view) has no default: the
setup states it, and results repeat that it is *to be verified*.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from tgo_spectra.retrieval.section import NonNegative, Positive, Section
from tgo_spectra.retrieval.setup import (
    Detection,
    ProfileSetup,
    Shifts,
    Uncertainties,
    Window,
)

__all__ = [
    "MirFrames",
    "MirInstrument",
    "MirRegistration",
    "MirSetup",
    "MirSystematics",
    "MirWindow",
]


class MirFrames(Section, frozen=True):
    """How a run makes spectra of a product's frames: `tgo_spectra.acs_spectra`."""

    half_width: Annotated[int, Meta(ge=0, le=20)]
    """Detector rows averaged to each side of a stripe's middle one. No default: which
    rows are usable is not stated by the product (*to be verified*)."""
    geometry: Literal["time", "record"] = "time"
    """How frames find their record in the geometry table (*inferred*)."""
    geometry_table: str = "Geometry-1"
    time_tolerance_s: Positive | None = None
    """Seconds between frame and record; default: half the median step of the table."""


class MirWindow(Window, frozen=True):
    """Pixels and rows of each order that enter the fit."""

    first_pixel: Annotated[int, Meta(ge=0)] = 20
    last_pixel: Annotated[int, Meta(ge=1)] = 619
    """Pixels without a wavenumber are left out anyway."""
    top_km: float = 100.0


class MirInstrument(Section, frozen=True):
    """Line shape and field of view; none has a default (*to be verified*)."""

    resolving_power: Annotated[float, Meta(ge=5000, le=100000)]
    """nu / FWHM of each of the two Gaussians in the middle of an order."""
    second_shift_cm1: Annotated[float, Meta(ge=-1, le=1)]
    """Distance of the second image from the main one."""
    second_amplitude: NonNegative
    """Height of the second image over that of the main one."""
    field_of_view_km: NonNegative
    """Full width, in tangent altitude, of what a spectrum averages: slit, motion and
    the detector rows put together."""


class MirRegistration(Shifts, frozen=True):
    """What is fitted of each order's wavenumbers and line shape; 1 sigma, 0: fixed."""

    search_px: Annotated[int, Meta(ge=0, le=12)] = 4
    order_stretch_sigma_px: NonNegative = 0.0
    """The stretch of each order by itself, beside the common one."""
    bend_sigma_px: NonNegative = 0.0
    """Quadratic part of the shift of an order: shift at both ends, with minus half of
    it in the middle (Legendre)."""
    width_sigma: NonNegative = 0.0
    """Relative width of the line shape of an order."""
    second_shift_sigma_cm1: NonNegative = 0.0
    second_amplitude_sigma: NonNegative = 0.0

    @property
    def shape_sigma(self) -> dict[str, float]:
        """The same by element of `tgo_spectra.retrieval.models.mir.scene.SHAPE`."""
        return {
            "order_stretch": self.order_stretch_sigma_px,
            "bend": self.bend_sigma_px,
            "width": self.width_sigma,
            "second_shift": self.second_shift_sigma_cm1,
            "second_amplitude": self.second_amplitude_sigma,
        }


class MirSystematics(Uncertainties, frozen=True):
    """What else may be wrong in a fit of ACS MIR."""

    temperature_k: NonNegative = 5.0
    """Temperature at fixed pressure."""
    pressure: NonNegative = 0.05
    """Relative."""
    pointing_km: NonNegative = 0.3
    """Tangent altitude of all rows."""
    width: NonNegative = 0.05
    """Relative width of the line shape of all orders, where it is not fitted; so with
    the next two."""
    second_amplitude: NonNegative = 0.1
    """Height of the second image."""
    second_shift_cm1: NonNegative = 0.01
    """Its distance (inferred: a tenth)."""
    zero_level: NonNegative = 0.01
    """Light added to all spectra, of that of the Sun, as from other orders (inferred).
    """


class MirSetup(ProfileSetup, frozen=True, kw_only=True):
    """Every choice of one ACS MIR retrieval.

    All orders are fitted jointly, so that a product must have them all; no table is
    shipped.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> setup = load_setup("acs_mir_ch4_position_12")
    >>> setup.gases
    ('ch4', 'h2o', 'co2', 'o3')
    >>> setup.replace(table="mine.nc").table
    'mine.nc'
    """

    kind: ClassVar[str] = "mir"

    position: Annotated[int, Meta(ge=1, le=14)]
    """Position of the secondary grating, for the record."""
    gases: Annotated[tuple[str, ...], Meta(min_length=1)]
    instrument: MirInstrument
    frames: MirFrames | None = None
    """Needed to run from files; spectra that are given do not need it."""
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 10
    window: MirWindow = field(default_factory=MirWindow)
    registration: MirRegistration = field(default_factory=MirRegistration)
    detection: Detection = field(default_factory=Detection)
    systematics: MirSystematics = field(default_factory=MirSystematics)

    @property
    def channel(self) -> str:
        """Channel it is for."""
        return "mir"
