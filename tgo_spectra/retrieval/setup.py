"""Retrieval setups: every choice that affects a number, in one TOML file.

A setup is read into frozen structs; an unknown key, a wrong type or a value out of
range is refused with its path in the file. The hash of the canonical form goes into
every result.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.interferents import check_setup
from tgo_spectra.retrieval.setup_files import (
    Choices,
    Section,
    table_beside,
    to_struct,
)
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Prior",
    "RetrievalSetup",
    "Window",
    "parse_setup",
]

Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Method = Literal["oe", "slant", "onion", "tikhonov"]


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
    """A pixel of a bin is masked when it scatters more than this times the median."""
    masked_pixels: tuple[int, ...] = ()
    """Pixels left out in every bin."""


class ProfileGrid(Section, frozen=True):
    """Levels of the profiles and tangent heights of the forward model."""

    step_km: Annotated[float, Meta(gt=0, le=5)] = 1.0
    height_step_km: Annotated[float, Meta(gt=0, le=5)] = 0.75
    """At 1 km the rows between the heights make water scatter 6 % more than its error
    says (the kink of saturation); at 0.75 km 1 %, as at 0.5 km (validation campaign,
    order 134)."""
    top_km: Annotated[float, Meta(gt=0, le=200)] = 120.0


class Instrument(Section, frozen=True):
    """Settings of the instrument operator."""

    n_orders: Annotated[int, Meta(ge=0, le=12)] = 6
    """Neighbouring orders on either side of the nominal one."""
    ghost_amplitude: NonNegative = 0.272437
    aotf_width_factor: Positive = 1.0
    aotf_side_lobe_factor: NonNegative = 1.0


class Registration(Section, frozen=True):
    """Wavenumber shift of each bin, and the common stretch."""

    shift_sigma_px: Positive = 1.5
    stretch: bool = True
    stretch_sigma_px: Positive = 0.3
    """Shift at the end of the detector relative to its middle."""
    search_px: Annotated[int, Meta(ge=0, le=12)] = 6
    """Whole-pixel search on either side before the fit."""
    ghost_sigma: NonNegative = 0.0
    """Prior of the ghost amplitude's departure from `instrument.ghost_amplitude`;
    zero keeps it fixed."""
    aotf_sigma_cm1: NonNegative = 0.0
    """Prior of the AOTF centre's departure from its calibration; zero: fixed."""
    resolution_sigma: NonNegative = 0.0
    """Prior of the relative departure of the resolving power; zero: fixed."""


class Aerosol(Section, frozen=True):
    """Spectral exponent of the aerosol's optical depth, inside the order sum."""

    exponent: float = 0.5
    exponent_sigma: NonNegative = 1.0
    """Zero keeps the exponent fixed. Dust of 1-2 um effective radius lies within
    about -0.5 to 1.5 between 2.3 and 3.3 um (inferred, Mie theory)."""


class Detection(Section, frozen=True):
    """Sigma levels of detection flags and limits."""

    detection_sigma: Positive = 3.0
    limit_sigma: Positive = 2.0
    minimum_response: Annotated[float, Meta(ge=0, le=1)] = 0.2
    """Sum of a row of the averaging kernel below which nothing is detected."""
    layer_bottom_km: float = 10.0
    layer_top_km: float = 30.0
    """Layer of the limit of one mole fraction for all its levels."""


class Tikhonov(Section, frozen=True):
    """Strength of the roughness constraint of ``method = "tikhonov"``."""

    choice: Literal["expected-error", "l-curve", "discrepancy"] = "expected-error"
    alpha: Positive | None = None
    """Strength, a pure number; default: by `choice`."""
    assumed_covariance: Literal["prior", "none"] = "prior"
    """Covariance of the truth for the smoothing error: that of the a priori, or none,
    and no smoothing error."""


class Onion(Section, frozen=True):
    """Settings of ``method = "onion"``."""

    layer_km: Annotated[float, Meta(gt=0, le=10)] = 2.0
    """Thickness of the layers."""
    passes: Annotated[int, Meta(ge=1, le=5)] = 2
    """Times the slant columns are fitted: from the second on with the profile's shape
    of the pass before, since strong lines do not grow in proportion to the column."""


class Systematics(Section, frozen=True):
    """Sizes (1 sigma) of what the noise does not hold; zero leaves a source out."""

    enabled: bool = False
    temperature_k: NonNegative = 5.0
    """Temperature at fixed pressure."""
    temperature_correlation_km: Positive | None = None
    """Correlation along altitude; default: the same error at all altitudes."""
    pointing_km: NonNegative = 0.3
    """Tangent altitude of all rows."""
    aotf_width: NonNegative = 0.02
    aotf_side_lobe: NonNegative = 0.1
    """Relative."""
    ghost: NonNegative = 0.022
    """Amplitude of the line shape's ghost."""
    resolution: NonNegative = 0.0
    """Resolving power, relative; zero: no published uncertainty is at hand."""
    shift_px: NonNegative = 0.0
    """Shift of all bins; zero since the shift is fitted."""
    spectroscopy: NonNegative = 0.05
    """Line intensities of a gas, relative, each gas by itself."""


class RetrievalSetup(Choices, frozen=True):
    """Every choice of one retrieval.

    Examples
    --------
    >>> from tgo_spectra.retrieval.setups import load_setup
    >>> setup = load_setup("so_134")
    >>> setup.gases
    ('h2o', 'ch4')
    >>> setup.baseline_degree
    4
    """

    name: str
    channel: Literal["so"]
    orders: tuple[int, ...]
    table: str
    """Shipped table's name, or path of a table file (relative to the setup file)."""
    gases: Annotated[tuple[str, ...], Meta(min_length=1)]
    interferents_absent: tuple[str, ...] = ()
    """Absorbers of the window that are known and not modelled; the output says so."""
    method: Method = "oe"
    baseline_degree: Annotated[int, Meta(ge=0, le=8)] = 4
    solver: Literal["gauss-newton", "levenberg-marquardt"] = "gauss-newton"
    bins: Literal["joint", "separate"] = "joint"
    """Fit all bins at once, or each by itself and combine them with one a priori."""
    max_iterations: Annotated[int, Meta(ge=1, le=50)] = 8
    window: Window = field(default_factory=Window)
    grid: ProfileGrid = field(default_factory=ProfileGrid)
    instrument: Instrument = field(default_factory=Instrument)
    registration: Registration = field(default_factory=Registration)
    aerosol: Aerosol = field(default_factory=Aerosol)
    detection: Detection = field(default_factory=Detection)
    tikhonov: Tikhonov = field(default_factory=Tikhonov)
    onion: Onion = field(default_factory=Onion)
    systematics: Systematics = field(default_factory=Systematics)
    prior: dict[str, Prior] = field(default_factory=dict)

    def replace(self, **changes: object) -> RetrievalSetup:
        """Return a copy with some top-level keys changed, checked again.

        Examples
        --------
        >>> from tgo_spectra.retrieval.setups import load_setup
        >>> load_setup("so_134").replace(baseline_degree=5).baseline_degree
        5
        """
        return _convert(self.values_with(changes), None)


def parse_setup(raw: dict[str, object], path: Path) -> RetrievalSetup:
    """Check the values of a file; used for every file of this kind.

    Parameters
    ----------
    raw : dict
        Without the key ``kind``.
    path : Path
        A table file beside it is meant by its name alone.

    Returns
    -------
    RetrievalSetup

    Raises
    ------
    SetupError
        As `tgo_spectra.load_setup`.
    """
    setup = _convert(raw, path)
    check_setup(setup, path)
    table = table_beside(setup.table, path)
    return setup if table == setup.table else setup.replace(table=table)


def _convert(raw: dict[str, object], path: Path | None) -> RetrievalSetup:
    setup = to_struct(raw, RetrievalSetup, path, _nearest)
    _check(setup, path)
    return setup


def _known_keys(kind: type[Struct]) -> Iterator[str]:
    for item in msgspec.structs.fields(kind):
        yield item.name
        if isinstance(item.type, type) and issubclass(item.type, Struct):
            yield from _known_keys(item.type)
    yield from (f.name for f in msgspec.structs.fields(Prior))


def _nearest(message: str) -> str:
    """Suggest the nearest valid key for an unknown one."""
    found = re.search(r"unknown field `(.+?)`", message)
    if not found:
        return ""
    known = {"kind", *_known_keys(RetrievalSetup)}
    near = difflib.get_close_matches(found.group(1), known, 1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _check(setup: RetrievalSetup, path: Path | None) -> None:
    """Refuse values that contradict each other."""
    problems: list[tuple[str, object, str]] = []
    for gas in setup.gases:
        if gas not in GASES:
            near = difflib.get_close_matches(gas, GASES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(("$.gases", gas, f"unknown gas{hint}"))
    for gas, prior in setup.prior.items():
        if gas not in setup.gases:
            problems.append(
                (f"$.prior.{gas}", gas, "prior of a gas that is not fitted")
            )
        if prior.sigma is not None and prior.relative_sigma is not None:
            text = "sigma and relative_sigma exclude each other"
            problems.append((f"$.prior.{gas}", prior.sigma, text))
        if prior.state == "log" and prior.sigma is not None:
            text = "sigma of a logarithm is relative: use relative_sigma"
            problems.append((f"$.prior.{gas}.state", prior.sigma, text))
        if prior.state == "log" and prior.constant == 0.0:
            text = "a gas whose a priori is zero has no logarithm"
            problems.append((f"$.prior.{gas}.state", prior.constant, text))
    wish = setup.tikhonov
    blind = wish.assumed_covariance == "none" and wish.alpha is None
    if blind and wish.choice == "expected-error":
        text = "the expected error needs an assumed covariance; choose another rule"
        problems.append(("$.tikhonov.choice", wish.choice, text))
    if setup.detection.layer_bottom_km >= setup.detection.layer_top_km:
        text = "layer_bottom_km is not below layer_top_km"
        where = "$.detection.layer_top_km"
        problems.append((where, setup.detection.layer_top_km, text))
    window = setup.window
    if window.last_pixel - window.first_pixel < 4 * (setup.baseline_degree + 1):
        text = "too few pixels between first_pixel and last_pixel for the baseline"
        problems.append(("$.window.last_pixel", window.last_pixel, text))
    if window.bottom_km is not None and window.bottom_km >= window.top_km:
        text = "bottom_km is not below top_km"
        problems.append(("$.window.bottom_km", window.bottom_km, text))
    if problems:
        where, value, text = problems[0]
        raise SetupError(
            text, path=path, field=where, value=value, rule="setup.inconsistent"
        )
