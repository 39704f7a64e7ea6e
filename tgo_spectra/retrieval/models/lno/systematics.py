"""What else may be wrong in a fit of nadir columns.

For each source the model is run once more at the end of a fit with what may be wrong
moved by its standard error. The change of the spectrum is a column of a last step of
the fit, with its own size as a priori: what the spectrum tells of it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.retrieval.elements import Size, sizes_of
from tgo_spectra.retrieval.models.lno.fit import light, transmittances
from tgo_spectra.retrieval.models.lno.model import detector_position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.lno.model import LayeredColumn, NadirModel
    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = ["ColumnChanges", "column_changes", "other_models", "sizes"]

SOURCES = {
    "temperature": ("temperature_k", "K"),
    "pressure": ("pressure", "1"),
    "spectroscopy": ("spectroscopy", "1"),
    "resolution": ("resolution", "1"),
    "aotf_centre": ("aotf_centre", "cm-1"),
    "aotf_width": ("aotf_width", "1"),
    "dust": ("dust", "1"),
    "zero_level": ("zero_level", "1"),
    "surface": ("surface", "1"),
}
"""Key of the setup's section ``systematics`` and unit, by name of the error."""

DUST_DEPTH = 0.5
"""Part of the gases above the height from which dust scatters light back: dust and
gases are mixed (inferred)."""


def sizes(setup: NadirSetup) -> dict[str, Size]:
    """Return size (1 sigma) and unit of the sources that are on, by name."""
    wish = setup.systematics
    return sizes_of(wish, SOURCES) if wish.enabled else {}


def other_models(
    setup: NadirSetup, make: Callable[[NadirSetup], NadirModel]
) -> dict[str, NadirModel]:
    """Return the models of an instrument that is another by 1 sigma, by source.

    ``make``: the model of a setup, at the shift of the product.
    """
    given = setup.instrument
    found = {}
    for source, (size, *_) in sizes(setup).items():
        changed = {
            "resolution": {"resolving_power": given.resolving_power * (1.0 - size)},
            "aotf_centre": {"aotf_offset_cm1": given.aotf_offset_cm1 + size},
            "aotf_width": {"aotf_width_factor": given.aotf_width_factor * (1.0 + size)},
        }.get(source)
        if changed is not None:
            values = {k: getattr(given, k) for k in given.__struct_fields__} | changed
            found[source] = make(setup.replace(instrument=values))
    return found


@dataclass(frozen=True)
class ColumnChanges:
    """What makes the changes of a spectrum without its baseline, by source.

    ``taken``: sizes of the sources; ``others``: from `other_models`; ``airs``: layers
    that are otherwise, by source.
    """

    model: NadirModel
    taken: Mapping[str, Size]
    others: Mapping[str, NadirModel]
    airs: Mapping[str, LayeredColumn]

    def __call__(self, depths: Sequence[Array], state: Array) -> dict[str, Array]:
        """Of optical depths of the air and of those that are otherwise, and a state."""
        here, *there = depths
        ways = dict(zip(self.airs, there, strict=True))
        if "dust" in self.taken:
            ways["dust"] = DUST_DEPTH * here
        through = transmittances([here, *ways.values()], state)
        base, *lights = light(self.model, through, state[-1])
        seen = dict(zip(ways, lights, strict=True))
        found: dict[str, Array] = {}
        for source, (size, *_) in self.taken.items():
            if source in self.others:
                (other,) = light(self.others[source], through[:1], state[-1])
                found[source] = other - base
            elif source in self.airs:
                found[source] = seen[source] - base
            elif source == "dust":
                found[source] = size * (seen[source] - base)
            elif source == "zero_level":
                found[source] = size * (1.0 - base)
            elif source == "surface":
                shape = np.zeros(self.model.baseline.shape[1] + 1)
                shape[-1] = size
                found[source] = base * legendre.legval(
                    detector_position(self.model.pixels), shape
                )
        return found


def column_changes(
    model: NadirModel,
    layers: LayeredColumn,
    taken: Mapping[str, Size],
    others: Mapping[str, NadirModel],
) -> ColumnChanges:
    """Return what makes the changes of a spectrum of some layers."""
    airs = {
        source: _moved(model, layers, source, taken[source].magnitude)
        for source in ("temperature", "pressure")
        if source in taken
    }
    return ColumnChanges(model, taken, others, airs)


def _moved(
    model: NadirModel, layers: LayeredColumn, source: str, size: float
) -> LayeredColumn:
    """Return warmer layers, or at a lower pressure, with as much air; in the table."""
    if source == "temperature":
        low, high = model.band.temperature_k[[0, -1]]
        warmer = np.clip(layers.temperature_k + size, low, high)
        return replace(layers, temperature_k=warmer)
    return replace(layers, pressure_pa=layers.pressure_pa * (1.0 - size))
