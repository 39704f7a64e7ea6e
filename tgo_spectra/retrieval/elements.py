"""What of the instrument may be fitted, or be wrong beside a fit: one row each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tgo_spectra.instruments.so import SoInstrument
    from tgo_spectra.retrieval.setup import Registration, RetrievalSetup

__all__ = ["ELEMENTS", "Element", "elements_of", "moved", "sources_of"]


@dataclass(frozen=True)
class Element:
    """A departure of the instrument from its setting.

    Attributes
    ----------
    setting : str
        Field of `tgo_spectra.instruments.so.SoInstrument`.
    step : float
        Of its derivative, by central differences of the instrument response: the error
        is of second order, below 1e-3 of the derivative.
    relative : bool
        Whether the setting is multiplied by one plus the element, not added to.
    prior : str
        Key of the setup's section ``registration`` with its 1 sigma; zero, or no such
        key: not fitted.
    source : str
        Key of the setup's section ``systematics`` with the 1 sigma by which it may be
        wrong, and name of that error; none: no such error.
    unit : str
    """

    setting: str
    step: float
    relative: bool = False
    prior: str = ""
    source: str = ""
    unit: str = "1"


ELEMENTS = {
    "ghost_amplitude": Element(
        "ils_amplitude", 0.01, prior="ghost_sigma", source="ghost"
    ),
    "aotf_offset": Element("aotf_offset", 0.1, prior="aotf_sigma_cm1", unit="cm-1"),
    "aotf_width": Element(
        "aotf_width_factor", 0.01, relative=True, source="aotf_width"
    ),
    "aotf_side_lobe": Element(
        "aotf_lobe_factor", 0.01, relative=True, source="aotf_side_lobe"
    ),
    "resolving_power": Element(
        "ils_resolving_power",
        0.005,
        relative=True,
        prior="resolution_sigma",
        source="resolution",
    ),
}
"""Elements by name. A further one needs a row, the keys of its sigmas in the setup, and
its names in the catalogue of variables."""


class HasRegistration(Protocol):
    """A setup with choices of what all rows share."""

    @property
    def registration(self) -> Registration:
        """With the sigmas of elements."""


def elements_of(setup: HasRegistration) -> dict[str, float]:
    """Return the elements that a setup lets vary, with their a priori 1 sigma."""
    sigmas = {
        name: float(getattr(setup.registration, row.prior))
        for name, row in ELEMENTS.items()
        if row.prior
    }
    return {name: sigma for name, sigma in sigmas.items() if sigma > 0.0}


def sources_of(setup: RetrievalSetup) -> dict[str, tuple[str, float, str]]:
    """Return element, 1 sigma and unit of the errors by the instrument, by source."""
    return {
        row.source: (name, float(getattr(setup.systematics, row.source)), row.unit)
        for name, row in ELEMENTS.items()
        if row.source
    }


def moved(instrument: SoInstrument, offsets: dict[str, float]) -> SoInstrument:
    """Return an instrument with some elements moved."""
    changed = {}
    for name, value in offsets.items():
        row = ELEMENTS[name]
        given = float(getattr(instrument, row.setting))
        changed[row.setting] = given * (1.0 + value) if row.relative else given + value
    return replace(instrument, **changed)  # type: ignore[arg-type]
