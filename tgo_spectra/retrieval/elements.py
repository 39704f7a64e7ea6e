"""What of the instrument may be fitted, or be wrong beside a fit: one row each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tgo_spectra.instruments.so import SoInstrument
    from tgo_spectra.retrieval.setup import SoSystematics

__all__ = [
    "ELEMENTS",
    "OTHERS",
    "Element",
    "Size",
    "element_of",
    "elements_of",
    "fitted_sources",
    "moved",
    "settings",
    "sizes_of",
]


@dataclass(frozen=True)
class Element:
    """A departure of the instrument from its setting.

    Attributes
    ----------
    setting : str
        Field of `tgo_spectra.instruments.so.SoInstrument`.
    source : str
        Key of the setup's section ``systematics`` with the 1 sigma by which the setting
        may be wrong, zero: it is not; name of the error by it.
    step : float
        Of its derivative, by central differences of the instrument response: the error
        is of second order, below 1e-3 of the derivative.
    relative : bool
        Whether the setting is multiplied by one plus the element, not added to.
    unit : str
    """

    setting: str
    source: str
    step: float
    relative: bool = False
    unit: str = "1"


ELEMENTS = {
    "ghost_amplitude": Element("ils_amplitude", "ghost", 0.01),
    "aotf_offset": Element("aotf_offset", "aotf_centre", 0.1, unit="cm-1"),
    "aotf_width": Element("aotf_width_factor", "aotf_width", 0.01, relative=True),
    "aotf_side_lobe": Element(
        "aotf_lobe_factor", "aotf_side_lobe", 0.03, relative=True
    ),
    "aotf_pedestal": Element(
        "aotf_pedestal_factor", "aotf_pedestal", 0.1, relative=True
    ),
    "resolving_power": Element(
        "ils_resolving_power", "resolution", 0.005, relative=True
    ),
}
"""Elements by name. A further one needs a row, the key of its sigma in the setup, and
its names in the catalogue of variables."""


class Size(NamedTuple):
    """How large a source of error is taken to be.

    Attributes
    ----------
    magnitude : float
        1 sigma.
    unit : str
    origin : str
        Who says so.
    """

    magnitude: float
    unit: str
    origin: str = "setup"


class HasSystematics(Protocol):
    """A setup with the sizes of what may be wrong."""

    @property
    def systematics(self) -> SoSystematics:
        """Sizes, and whether they are in the fit."""


JOINT = ("oe", "tikhonov")
"""Methods with one state for all spectra, which may hold elements."""

OTHERS = {
    "temperature": ("temperature_k", "K"),
    "pressure": ("pressure", "1"),
    "pointing": ("pointing_km", "km"),
    "drift": ("drift_px", "pixel"),
    "outer_orders": ("outer_orders", "1"),
    "zero_level": ("zero_level", "1"),
    "broadening": ("broadening", "1"),
    "waves": ("waves", "1"),
}
"""Key of the setup's section ``systematics`` and unit by the name of the error, of what
is no setting of the instrument and may stand in the fit."""


def fitted_sources(setup: HasSystematics) -> frozenset[str]:
    """Return the sources of error that stand in the fit of a setup as elements.

    All that are not known, or none: one alone takes the errors of the others.
    """
    wish = setup.systematics
    if not wish.in_fit or getattr(setup, "method", "oe") not in JOINT:
        return frozenset()
    keys = {name: key for name, (key, _) in OTHERS.items()}
    keys |= {row.source: row.source for row in ELEMENTS.values()}
    return frozenset(name for name, key in keys.items() if getattr(wish, key) > 0.0)


def elements_of(setup: HasSystematics) -> dict[str, float]:
    """Return the elements that a setup lets vary, with their a priori 1 sigma."""
    fitted = fitted_sources(setup)
    return {
        name: float(getattr(setup.systematics, row.source))
        for name, row in ELEMENTS.items()
        if row.source in fitted
    }


def settings() -> dict[str, tuple[str, str]]:
    """Return key and unit of the errors by the instrument, by source."""
    return {row.source: (row.source, row.unit) for row in ELEMENTS.values()}


def element_of(source: str) -> str:
    """Return the element that is named by the error that it makes."""
    return next(name for name, row in ELEMENTS.items() if row.source == source)


def sizes_of(wish: object, rows: Mapping[str, tuple[str, str]]) -> dict[str, Size]:
    """Return the sources of error that are not of size zero.

    ``wish``: section of a setup; ``rows``: its key and the unit, by name of the source.
    """
    sizes = {
        name: Size(float(getattr(wish, key)), unit)
        for name, (key, unit) in rows.items()
    }
    return {name: item for name, item in sizes.items() if item.magnitude > 0.0}


def moved(instrument: SoInstrument, offsets: dict[str, float]) -> SoInstrument:
    """Return an instrument with some elements moved."""
    changed = {}
    for name, value in offsets.items():
        row = ELEMENTS[name]
        given = float(getattr(instrument, row.setting))
        changed[row.setting] = given * (1.0 + value) if row.relative else given + value
    return replace(instrument, **changed)  # type: ignore[arg-type]
