"""Choices of a fit of ACS MIR occultations, read by the rules of other setups.

What is not settled of the instrument (line shape, field of view) has no default: the
setup states it, and results repeat that it is *to be verified*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, field

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.interferents import check_setup
from tgo_spectra.retrieval.setup import Detection, Prior, ProfileGrid
from tgo_spectra.retrieval.setup_files import (
    Choices,
    Section,
    table_beside,
    to_struct,
)
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MirFrames",
    "MirInstrument",
    "MirRegistration",
    "MirSetup",
    "MirSystematics",
    "MirWindow",
    "parse_setup",
]

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]


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


class MirWindow(Section, frozen=True):
    """Pixels and rows of each order that enter the fit."""

    first_pixel: Annotated[int, Meta(ge=0)] = 20
    last_pixel: Annotated[int, Meta(ge=1)] = 619
    """Pixels without a wavenumber are left out anyway."""
    minimum_transmittance: float = 0.1
    """Rows whose median transmittance is lower are left out."""
    bottom_km: float | None = None
    top_km: float = 100.0
    """Rows between these tangent altitudes; default bottom: the lowest row."""
    noise_ratio: Positive = 2.5
    """A pixel of an order is masked when it scatters more than this times the
    median."""
    masked_pixels: tuple[int, ...] = ()
    """Pixels left out in every order."""


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


class MirRegistration(Section, frozen=True):
    """What is fitted of each order's wavenumbers and line shape; 1 sigma, 0: fixed."""

    shift_sigma_px: Positive = 1.5
    stretch: bool = True
    stretch_sigma_px: Positive = 0.3
    """Shift at the end of the detector relative to its middle, common to all
    orders."""
    search_px: Annotated[int, Meta(ge=0, le=12)] = 4
    """Whole-pixel search on either side, order by order, before the fit."""
    order_stretch_sigma_px: NonNegative = 0.0
    """The same for each order by itself, beside the common one."""
    bend_sigma_px: NonNegative = 0.0
    """Quadratic part of the shift of an order: shift at both ends, with minus half of
    it in the middle (Legendre)."""
    width_sigma: NonNegative = 0.0
    """Relative width of the line shape of an order."""
    second_shift_sigma_cm1: NonNegative = 0.0
    second_amplitude_sigma: NonNegative = 0.0


class MirSystematics(Section, frozen=True):
    """Sizes (1 sigma) of what the noise does not hold; zero leaves a source out."""

    enabled: bool = False
    temperature_k: NonNegative = 5.0
    """Temperature at fixed pressure, the same error at all altitudes."""
    pointing_km: NonNegative = 0.3
    """Tangent altitude of all rows."""
    width: NonNegative = 0.05
    """Relative width of the line shape of all orders; what is fitted of it is taken
    up by the fit."""
    second_amplitude: NonNegative = 0.1
    """Height of the second image."""
    spectroscopy: NonNegative = 0.05
    """Line intensities of a gas, relative, each gas by itself."""


class MirSetup(Choices, frozen=True):
    """Every choice of one ACS MIR retrieval.

    Attributes
    ----------
    name, position, orders, table, gases, interferents_absent, instrument, frames, \
baseline_degree, solver, max_iterations, window, grid, registration, detection, \
systematics, prior
        Keys of the file; those before ``baseline_degree`` have no default.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> load_setup("acs_mir_ch4_position_12").gases
    ('ch4', 'h2o', 'co2', 'o3')
    """

    name: str
    position: Annotated[int, Meta(ge=1, le=14)]
    """Position of the secondary grating, for the record."""
    orders: Annotated[tuple[int, ...], Meta(min_length=1)]
    """Diffraction orders fitted jointly; all must be in the product."""
    table: str
    """Path of a table file, relative to the setup file; none is shipped."""
    gases: Annotated[tuple[str, ...], Meta(min_length=1)]
    interferents_absent: tuple[str, ...]
    """Absorbers of the window that are left out; the result repeats it."""
    instrument: MirInstrument
    frames: MirFrames | None = None
    """Needed to run from files; spectra that are given do not need it."""
    baseline_degree: Annotated[int, Meta(ge=0, le=8)] = 4
    solver: Literal["gauss-newton", "levenberg-marquardt"] = "gauss-newton"
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 10
    window: MirWindow = field(default_factory=MirWindow)
    grid: ProfileGrid = field(default_factory=ProfileGrid)
    registration: MirRegistration = field(default_factory=MirRegistration)
    detection: Detection = field(default_factory=Detection)
    systematics: MirSystematics = field(default_factory=MirSystematics)
    prior: dict[str, Prior] = field(default_factory=dict)

    @property
    def channel(self) -> str:
        """Channel it is for."""
        return "mir"

    def replace(self, **changes: object) -> MirSetup:
        """Return a copy with some top-level keys changed, checked again.

        Examples
        --------
        >>> from tgo_spectra.retrieval.setups import load_setup
        >>> setup = load_setup("acs_mir_ch4_position_12")
        >>> setup.replace(table="mine.nc").table
        'mine.nc'
        """
        return _convert(self.values_with(changes), None)


def parse_setup(raw: dict[str, object], path: Path) -> MirSetup:
    """Check the values of a file; used for every file of this kind.

    Parameters
    ----------
    raw : dict
        Without the key ``kind``.
    path : Path
        For messages; a table file beside it is meant by its name alone.

    Returns
    -------
    MirSetup

    Raises
    ------
    SetupError
        As `tgo_spectra.load_setup`.
    """
    setup = _convert(raw, path)
    check_setup(setup, path)
    table = table_beside(setup.table, path)
    return setup if table == setup.table else setup.replace(table=table)


def _convert(raw: dict[str, object], path: Path | None) -> MirSetup:
    setup = to_struct(raw, MirSetup, path)
    window, gases = setup.window, set(setup.gases)
    unknown = [gas for gas in setup.gases if gas not in GASES]
    beside = sorted(set(setup.prior) - gases)
    logs = [gas for gas, prior in setup.prior.items() if prior.state == "log"]
    both = [g for g, prior in setup.prior.items() if prior.sigma is not None
            and prior.relative_sigma is not None]  # fmt: skip
    fewest = 4 * (setup.baseline_degree + 1)
    checks: tuple[tuple[bool, str, object, str], ...] = (
        (not unknown, "$.gases", unknown, "unknown gas"),
        (not gases & set(setup.interferents_absent), "$.interferents_absent",
         list(setup.interferents_absent), "a gas cannot be both fitted and absent"),
        (len(set(setup.orders)) == len(setup.orders), "$.orders",
         list(setup.orders), "an order is named twice"),
        (not beside, "$.prior", beside, "prior of a gas that is not fitted"),
        (not logs, "$.prior.state", logs, "MIR fits mole fractions, no logarithms"),
        (not both, "$.prior", both, "sigma and relative_sigma exclude each other"),
        (window.last_pixel - window.first_pixel >= fewest, "$.window.last_pixel",
         window.last_pixel, "too few pixels for the baseline"),
        (window.bottom_km is None or window.bottom_km < window.top_km,
         "$.window.bottom_km", window.bottom_km, "bottom_km is not below top_km"),
    )  # fmt: skip
    for good, where, value, text in checks:
        if not good:
            raise SetupError(
                text, path=path, field=where, value=value, rule="setup.inconsistent"
            )
    return setup
