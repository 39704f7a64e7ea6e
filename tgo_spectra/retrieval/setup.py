"""Choices of retrievals: the sections that kinds share.

A setup holds every choice that affects a number, in one TOML file, which is read into
frozen structs (`tgo_spectra.retrieval.section`): every section and every setup states
its own `Section.checks`. The hash of the canonical form goes into every
result. What only one kind of retrieval has stands in `setup.py` of its model.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import msgspec
from msgspec import Meta, field

from tgo_spectra.instruments import number
from tgo_spectra.paths import expanded
from tgo_spectra.retrieval.interferents import check_setup
from tgo_spectra.retrieval.section import (
    Checks,
    NonNegative,
    Positive,
    Section,
    convert,
)
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]

__all__ = [
    "Aerosol",
    "Detection",
    "Instrument",
    "Prior",
    "ProfileGrid",
    "ProfileSetup",
    "RetrievalSetup",
    "Setup",
    "Shifts",
    "SigmaLevels",
    "SoSetup",
    "SoUncertainties",
    "TableSetup",
    "Uncertainties",
    "Window",
    "table_beside",
]

Solver = Literal["gauss-newton", "levenberg-marquardt"]
Method = Literal["oe", "slant", "onion", "tikhonov"]


def table_beside(table: str, path: Path) -> str:
    """Return the path of a table file that lies beside the setup file or at home.

    Parameters
    ----------
    table : str
        Name of a shipped table, or path of a ``.nc`` file.
    path : Path
        The setup file.

    Returns
    -------
    str
        As given where it is neither.

    Examples
    --------
    >>> table_beside("so_186_191", Path("so_190.toml"))
    'so_186_191'
    """
    if table.startswith("~"):
        return str(expanded(table))
    beside = path.parent / table
    inside = Path(table).suffix == ".nc" and beside.exists()
    return str(beside) if inside else table


class Prior(Section, frozen=True):
    """A priori of one gas profile (mole fraction)."""

    sigma: Positive | None = None
    """Absolute 1-sigma, mol/mol; for gases that may be absent."""
    relative_sigma: Positive | None = None
    """1-sigma as a fraction of the a priori; default 1 when `sigma` is not given."""
    constant: NonNegative | None = None
    """A priori mole fraction at all levels; default: the atmosphere's profile."""
    correlation_km: Positive = 4.0
    """Length of the exponential correlation between levels."""
    state: Literal["linear", "log"] = "linear"
    """Fit the mole fraction or its logarithm, whose 1-sigma is `relative_sigma`. The
    logarithm is always positive and therefore biased where there is little signal."""

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        log = self.state == "log"
        return (
            (self.sigma is None or self.relative_sigma is None, "", self.sigma,
             "sigma and relative_sigma exclude each other"),
            (not log or self.sigma is None, "state", self.sigma,
             "sigma of a logarithm is relative: use relative_sigma"),
            (not log or self.constant != 0.0, "state", self.constant,
             "a gas whose a priori is zero has no logarithm"),
        )  # fmt: skip


class Window(Section, frozen=True):
    """Pixels and rows that enter the fit."""

    first_pixel: Annotated[int, Meta(ge=0, le=319)] = 20
    last_pixel: Annotated[int, Meta(ge=0, le=319)] = 310
    minimum_transmittance: float = 0.1
    """Rows whose median transmittance is lower are left out."""
    bottom_km: float | None = None
    top_km: float = 120.0
    """Rows between these tangent altitudes; default bottom: the lowest row."""
    noise_ratio: Positive = 2.5
    """A pixel of a bin (SO) or of an order (MIR) is masked when it scatters more than
    this times the median."""
    masked_pixels: tuple[int, ...] = ()
    """Pixels left out in every bin or order."""

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        good = self.bottom_km is None or self.bottom_km < self.top_km
        return ((good, "bottom_km", self.bottom_km, "bottom_km is not below top_km"),)


class ProfileGrid(Section, frozen=True):
    """Levels of the profiles and tangent heights of the forward model."""

    step_km: Annotated[float, Meta(gt=0, le=5)] = 1.0
    height_step_km: Annotated[float, Meta(gt=0, le=5)] = 0.75
    """At 1 km the rows between the heights make water scatter 6 % more than its error
    says (the kink of saturation); at 0.75 km 1 %, as at 0.5 km (validation campaign,
    order 134)."""
    top_km: Annotated[float, Meta(gt=0, le=200)] = 120.0


class Instrument(Section, frozen=True):
    """Settings of the response of SO."""

    n_orders: Annotated[int, Meta(ge=0, le=12)] = 6
    """Neighbouring orders on either side of the nominal one."""
    ghost_amplitude: NonNegative = 0.272437
    aotf_width_factor: Positive = 1.0
    aotf_side_lobe_factor: NonNegative = 1.0


class Shifts(Section, frozen=True):
    """Wavenumber shift of each bin (SO) or order (MIR), and the common stretch."""

    shift_sigma_px: Positive = 1.5
    stretch: bool = True
    stretch_sigma_px: Positive = 0.3
    """Shift at the end of the detector relative to its middle, common to all."""
    search_px: Annotated[int, Meta(ge=0, le=16)] = 12
    """Whole-pixel search on either side before the fit."""


class Aerosol(Section, frozen=True):
    """Spectral exponent of the aerosol's optical depth, inside the order sum."""

    exponent: float = 0.5
    exponent_sigma: NonNegative = 1.0
    """Zero keeps the exponent fixed. Dust of 1-2 um effective radius lies within
    about -0.5 to 1.5 between 2.3 and 3.3 um (inferred, Mie theory)."""


class SigmaLevels(Section, frozen=True):
    """Sigma levels of detection flags and limits."""

    detection_sigma: Positive = 3.5
    """Of a level. By noise alone the best of 80 levels exceeds 3 in 3 % of products,
    3.5 in 0.4 %."""
    limit_sigma: Positive = 2.0
    minimum_response: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Sum of a row of the averaging kernel below which nothing is detected."""


class Detection(SigmaLevels, frozen=True):
    """Sigma levels, and the layer for whose levels one mole fraction is estimated."""

    layer_bottom_km: float = 5.0
    layer_top_km: float = 30.0
    layer_detection_sigma: Positive = 3.0
    """Of the layer."""

    def layer(self, altitude_km: Array) -> npt.NDArray[np.bool_]:
        """Tell which levels are in the layer."""
        above = altitude_km >= self.layer_bottom_km
        return above & (altitude_km <= self.layer_top_km)

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        good = self.layer_bottom_km < self.layer_top_km
        text = "layer_bottom_km is not below layer_top_km"
        return ((good, "layer_top_km", self.layer_top_km, text),)


class Uncertainties(Section, frozen=True):
    """Sizes (1 sigma) of what the noise does not hold; zero leaves a source out."""

    enabled: bool = True
    """Calculate the errors by what is not in the fit."""
    spectroscopy: NonNegative = 0.05
    """Line intensities, relative, of each gas by itself."""
    waves: NonNegative = 2e-4
    """Amplitude of waves in the baseline, each period; in the fit (inferred)."""


class Setup(Section, frozen=True, kw_only=True):
    """Every choice of one retrieval: what the setups of all kinds have in common."""

    kind: ClassVar[str]
    """Name of its row in `tgo_spectra.retrieval.registry.KINDS`."""

    name: str
    """Recorded in results."""

    @property
    def channel(self) -> str:
        """Channel it is for, in small letters."""
        raise NotImplementedError(type(self))

    @property
    def orders(self) -> tuple[int, ...]:
        """Diffraction orders it is for; empty where a channel has none."""
        return ()

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases fitted."""
        raise NotImplementedError(type(self))

    @classmethod
    def parse(cls, raw: dict[str, object], path: Path) -> Self:
        """Check the values of a file.

        Parameters
        ----------
        raw : dict
            Without the key ``kind``.
        path : Path
            The setup file: for messages, and to its folder file names are relative.

        Returns
        -------
        Setup

        Raises
        ------
        SetupError
            As `tgo_spectra.load_setup`.
        """
        return convert(raw, cls, path).of_file(path)

    def of_file(self, path: Path) -> Self:
        """Return it with the files that it names as they are seen from its own."""
        return self

    def replace(self, **changes: object) -> Self:
        """Return a copy with some top-level keys changed, checked again.

        Examples
        --------
        >>> from tgo_spectra.retrieval.setups import load_setup
        >>> load_setup("so_134").replace(baseline_degree=5).baseline_degree
        5
        """
        raw: dict[str, object] = msgspec.to_builtins(self)
        return convert(raw | msgspec.to_builtins(changes), type(self), None)

    def hash(self) -> str:
        """SHA-256 of the canonical form: equal exactly when all choices are."""
        plain = msgspec.to_builtins(self)
        canonical = msgspec.json.encode(plain, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()


class TableSetup(Setup, frozen=True, kw_only=True):
    """Choices of kinds that fit lines of an absorption table, order by order."""

    orders: Annotated[tuple[int, ...], Meta(min_length=1)]
    table: str
    """Shipped table's name, or path of a table file (relative to the setup file)."""
    interferents_absent: tuple[str, ...]
    """Absorbers of the window that are known and not modelled; the output says so."""
    baseline_degree: Annotated[int, Meta(ge=0, le=8)] = 4

    def key_of(self, gas: str) -> str:
        """Return the key that names a gas of the fit."""
        return "gases"

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        unknown = next((gas for gas in self.gases if gas not in GASES), "")
        near = difflib.get_close_matches(unknown, GASES, 1) if unknown else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return (
            (not unknown, self.key_of(unknown), unknown, f"unknown gas{hint}"),
            (not set(self.gases) & set(self.interferents_absent),
             "interferents_absent", list(self.interferents_absent),
             "a gas cannot be both modelled and absent"),
            (len(set(self.orders)) == len(self.orders), "orders", list(self.orders),
             "an order is named twice"),
        )  # fmt: skip

    def of_file(self, path: Path) -> Self:
        """Return it with its table's place, once all interferents are accounted for."""
        check_setup(self, path)
        table = table_beside(self.table, path)
        return self if table == self.table else self.replace(table=table)


class ProfileSetup(TableSetup, frozen=True, kw_only=True):
    """Choices of kinds that fit profiles to the rows of an occultation, jointly."""

    logarithms: ClassVar[bool] = False
    """Whether mole fractions may be fitted by their logarithms."""

    solver: Solver = "gauss-newton"
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 8
    window: Window = field(default_factory=Window)
    grid: ProfileGrid = field(default_factory=ProfileGrid)
    prior: dict[str, Prior] = field(default_factory=dict)

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        window = self.window
        beside = next((gas for gas in self.prior if gas not in self.gases), None)
        logs = [gas for gas, prior in self.prior.items() if prior.state == "log"]
        return (
            *super().checks(),
            (beside is None, f"prior.{beside}", beside,
             "prior of a gas that is not fitted"),
            (self.logarithms or not logs, "prior", logs,
             "this kind fits mole fractions, not their logarithms"),
            (window.last_pixel - window.first_pixel >= 4 * (self.baseline_degree + 1),
             "window.last_pixel", window.last_pixel,
             "too few pixels between first_pixel and last_pixel for the baseline"),
        )  # fmt: skip


class SoSetup(ProfileSetup, frozen=True, kw_only=True):
    """Choices of all fits of SO occultations."""

    channel: Literal["so"]
    interferents_absent: tuple[str, ...] = ()
    instrument: Instrument = field(default_factory=Instrument)
    registration: Shifts = field(default_factory=Shifts)
    aerosol: Aerosol = field(default_factory=Aerosol)


class Tikhonov(Section, frozen=True):
    """Strength of the roughness constraint of ``method = "tikhonov"``."""

    choice: Literal["expected-error", "l-curve", "discrepancy"] = "expected-error"
    alpha: Positive | None = None
    """Strength, a pure number; default: by `choice`."""
    assumed_covariance: Literal["prior", "none"] = "prior"
    """Covariance of the truth for the smoothing error; none: no smoothing error."""

    def checks(self) -> Checks:
        """Return what must hold between its values."""
        blind = self.assumed_covariance == "none" and self.alpha is None
        text = "the expected error needs an assumed covariance; choose another rule"
        good = not (blind and self.choice == "expected-error")
        return ((good, "choice", self.choice, text),)


class Onion(Section, frozen=True):
    """Settings of ``method = "onion"``."""

    layer_km: Annotated[float, Meta(gt=0, le=10)] = 2.0
    """Thickness of the layers."""
    passes: Annotated[int, Meta(ge=1, le=5)] = 2
    """Times the slant columns are fitted: from the second on with the profile's shape
    of the pass before, since strong lines do not grow in proportion to the column."""


class SoUncertainties(Uncertainties, frozen=True):
    """What is not known of SO and of its light."""

    aotf_centre: NonNegative = number("so.aotf_centre_uncertainty")
    """Centre of the AOTF, cm-1."""
    aotf_width: NonNegative = number("so.aotf_width_uncertainty")
    aotf_side_lobe: NonNegative = number("so.aotf_side_lobes_uncertainty")
    aotf_pedestal: NonNegative = number("so.aotf_pedestal_uncertainty")
    """Relative."""
    ghost: NonNegative = number("so.ghost_amplitude_uncertainty")
    """Amplitude of the line shape's ghost."""
    resolution: NonNegative = number("so.resolving_power_uncertainty")
    """Resolving power, relative."""
    drift_px: NonNegative = number("so.drift_uncertainty")
    """Shift of the wavenumber scale over 60 km of tangent altitude."""
    outer_orders: NonNegative = 1.0
    """Light of the outermost orders, relative: what lies beyond is about as much."""
    zero_level: NonNegative = 0.01
    """Light added to all spectra, of that of the Sun (inferred)."""


class SoSystematics(SoUncertainties, frozen=True):
    """What else may be wrong in a fit of gases to SO."""

    temperature_k: NonNegative = 5.0
    """Temperature at fixed pressure; an atmosphere's own ``temperature_uncertainty``
    goes before it, and its ``pressure_uncertainty`` before the next."""
    pressure: NonNegative = 0.05
    pointing_km: NonNegative = 0.3
    """Tangent altitude of all rows."""
    in_fit: bool = True
    """Fit these sources with their sizes as a priori, all or none: one alone takes the
    errors of the others for its own. Methods but "oe" and "tikhonov" fit none."""
    temperature_correlation_km: Positive = 10.0
    """Correlation of the temperature's error along altitude."""
    broadening: NonNegative = 0.15
    """Pressure widths, relative, each gas by itself: the factor from air to CO2 is good
    to 10 % (inferred), editions of a list differ by 12 % (CH4, order 136)."""
    interferents: NonNegative = 1.0
    """Amounts of absent interferents that the table has, those of the atmosphere."""
    shift_px: NonNegative = 0.0
    """Shift of all bins; zero since the shift is fitted."""


class RetrievalSetup(SoSetup, frozen=True, kw_only=True):
    """Every choice of one retrieval of gas profiles from SO.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> setup = load_setup("so_134")
    >>> setup.gases
    ('h2o', 'ch4', 'hdo', 'co2')
    >>> setup.baseline_degree
    4
    """

    kind: ClassVar[str] = "profile"
    logarithms: ClassVar[bool] = True

    orders: tuple[int, ...]
    gases: Annotated[tuple[str, ...], Meta(min_length=1)]
    method: Method = "oe"
    bins: Literal["joint", "separate"] = "joint"
    """Fit all bins at once, or each by itself and combine them with one a priori."""
    detection: Detection = field(default_factory=Detection)
    tikhonov: Tikhonov = field(default_factory=Tikhonov)
    onion: Onion = field(default_factory=Onion)
    systematics: SoSystematics = field(default_factory=SoSystematics)
