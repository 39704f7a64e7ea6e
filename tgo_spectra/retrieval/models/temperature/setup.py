"""Choices of a fit of temperature and density, read by the rules of other setups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, field

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.interferents import check_setup
from tgo_spectra.retrieval.setup import (
    Aerosol,
    Instrument,
    Prior,
    ProfileGrid,
    Registration,
    RetrievalSetup,
    Window,
)
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
    "Composition",
    "PressurePrior",
    "TemperaturePrior",
    "TemperatureSetup",
    "parse_setup",
]

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]


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
    molar_mass_g_mol: Annotated[float, Meta(ge=20, le=50)] | None = None
    """Of the air at all heights; default: from the mole fraction of CO2."""


class TemperatureSetup(Choices, frozen=True):
    """Every choice of one retrieval of temperature and density.

    Attributes
    ----------
    name, channel, orders, table, pressure, interferents, fitted, interferents_absent, \
baseline_degree, solver, max_iterations, minimum_information, pointing_km, window, \
grid, instrument, registration, aerosol, temperature, composition, prior
        Keys of the file; the first five have no default.

    Examples
    --------
    >>> setup = TemperatureSetup(
    ...     name="t", channel="so", orders=(165,), table="co2.nc",
    ...     pressure=PressurePrior(reference_km=80.0))
    >>> setup.temperature.sigma_k, setup.gases
    (10.0, ('co2',))
    """

    name: str
    channel: Literal["so"]
    orders: Annotated[tuple[int, ...], Meta(min_length=1)]
    table: str
    """Shipped table's name, or path of a table file (relative to the setup file)."""
    pressure: PressurePrior
    interferents: tuple[str, ...] = ()
    """Gases of the table beside CO2, with the mole fractions of the atmosphere or of
    `prior`."""
    fitted: tuple[str, ...] = ()
    """Those of them whose profiles are fitted beside the temperature."""
    interferents_absent: tuple[str, ...] = ()
    """Absorbers of the window that are known and not modelled; the output says so."""
    baseline_degree: Annotated[int, Meta(ge=0, le=8)] = 4
    solver: Literal["gauss-newton", "levenberg-marquardt"] = "gauss-newton"
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 15
    minimum_information: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Share of the a priori variance that the spectra must take away for a level to
    count as sensed."""
    pointing_km: NonNegative = 0.3
    """1 sigma of the tangent altitude of all rows: its effect is a systematic error;
    zero leaves it out (inferred)."""
    window: Window = field(default_factory=Window)
    grid: ProfileGrid = field(default_factory=ProfileGrid)
    instrument: Instrument = field(default_factory=Instrument)
    registration: Registration = field(default_factory=Registration)
    aerosol: Aerosol = field(default_factory=Aerosol)
    temperature: TemperaturePrior = field(default_factory=TemperaturePrior)
    composition: Composition = field(default_factory=Composition)
    prior: dict[str, Prior] = field(default_factory=dict)
    """A priori of the interferents, linear in the mole fraction."""

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases modelled, CO2 first."""
        return ("co2", *self.interferents)

    def replace(self, **changes: object) -> TemperatureSetup:
        """Return a copy with some top-level keys changed, checked again.

        Examples
        --------
        >>> setup = TemperatureSetup(
        ...     name="t", channel="so", orders=(165,), table="co2.nc",
        ...     pressure=PressurePrior(reference_km=80.0))
        >>> setup.replace(baseline_degree=5).baseline_degree
        5
        """
        return _convert(self.values_with(changes), None)

    def as_profile_setup(self) -> RetrievalSetup:
        """Return the setup of a gas fit of the same window, for what both do alike."""
        prior = dict(self.prior)
        if self.composition.co2 is not None:
            prior["co2"] = Prior(constant=self.composition.co2)
        return RetrievalSetup(
            name=self.name,
            channel=self.channel,
            orders=self.orders,
            table=self.table,
            gases=self.gases,
            interferents_absent=self.interferents_absent,
            baseline_degree=self.baseline_degree,
            solver=self.solver,
            max_iterations=self.max_iterations,
            window=self.window,
            grid=self.grid,
            instrument=self.instrument,
            registration=self.registration,
            aerosol=self.aerosol,
            prior=prior,
        )


def parse_setup(raw: dict[str, object], path: Path) -> TemperatureSetup:
    """Check the values of a file; used for every file of this kind.

    Parameters
    ----------
    raw : dict
        Without the key ``kind``.
    path : Path
        A table file beside it is meant by its name alone.

    Returns
    -------
    TemperatureSetup

    Raises
    ------
    SetupError
        Unknown key, wrong type or value, or values that contradict each other, with
        their place in the file; a known interferent neither modelled nor named as
        absent.
    """
    setup = _convert(raw, path)
    check_setup(setup, path)
    table = table_beside(setup.table, path)
    return setup if table == setup.table else setup.replace(table=table)


def _convert(raw: dict[str, object], path: Path | None) -> TemperatureSetup:
    setup = to_struct(raw, TemperatureSetup, path)
    window, grid = setup.window, setup.grid
    unknown = [gas for gas in setup.interferents if gas not in GASES]
    bottom = float("-inf") if window.bottom_km is None else window.bottom_km
    checks: tuple[tuple[bool, str, object, str], ...] = (
        (not unknown, "$.interferents", unknown, "unknown gas"),
        ("co2" not in setup.interferents, "$.interferents", "co2",
         "CO2 is the gas of the fit, not an interferent"),
        (not set(setup.gases) & set(setup.interferents_absent),
         "$.interferents_absent", list(setup.interferents_absent),
         "a gas cannot be both modelled and absent"),
        (set(setup.fitted) <= set(setup.interferents), "$.fitted", list(setup.fitted),
         "a gas that is fitted must be among the interferents"),
        (set(setup.prior) <= set(setup.interferents), "$.prior", list(setup.prior),
         "prior of a gas that is no interferent"),
        (all(item.state == "linear" for item in setup.prior.values()), "$.prior",
         list(setup.prior), "mole fractions are fitted linearly beside a temperature"),
        (bottom < setup.pressure.reference_km < window.top_km,
         "$.pressure.reference_km", setup.pressure.reference_km,
         "reference_km must lie between bottom_km and top_km of the window"),
        (window.top_km <= grid.top_km, "$.window.top_km", window.top_km,
         "top_km of the window is above that of the grid"),
        (window.last_pixel - window.first_pixel >= 4 * (setup.baseline_degree + 1),
         "$.window.last_pixel", window.last_pixel,
         "too few pixels between first_pixel and last_pixel for the baseline"),
        (not elements_of(setup), "$.registration", elements_of(setup),
         "the instrument is not fitted beside the temperature: sigma must be 0"),
    )  # fmt: skip
    for good, where, value, text in checks:
        if not good:
            raise SetupError(
                text, path=path, field=where, value=value, rule="setup.inconsistent"
            )
    return setup
