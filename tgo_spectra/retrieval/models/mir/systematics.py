"""Errors of ACS MIR profiles that noise does not hold.

For each source the forward model is run with the parameter moved by its standard error,
and the change of the spectra is taken through the gain matrix of the fit; shifts, line
shapes and baselines are refitted on the way, as in the fit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.retrieval.elements import Size, sizes_of
from tgo_spectra.retrieval.given import airs_off
from tgo_spectra.retrieval.models.mir.fit import MirEvaluator, known_blocks
from tgo_spectra.retrieval.models.mir.scene import SHAPE_SOURCES, limbs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.mir.scene import MirScene
    from tgo_spectra.retrieval.models.mir.setup import MirSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["denser", "mir_changes", "sizes"]

DARKEST = 1e-2
"""Brightness of a row, of that of the Sun, below which a zero level grows no more."""


SOURCES = {
    "temperature": ("temperature_k", "K"),
    "pressure": ("pressure", "1"),
    "pointing": ("pointing_km", "km"),
    "waves": ("waves", "1"),
    "zero_level": ("zero_level", "1"),
    "spectroscopy": ("spectroscopy", "1"),
    **{source: (key, unit) for source, key, unit in SHAPE_SOURCES.values()},
}
"""Key of the setup's section ``systematics`` and unit, by name of the error."""


def sizes(setup: MirSetup) -> dict[str, Size]:
    """Return size (1 sigma) and unit of the sources by name, in the fit or not."""
    found = sizes_of(setup.systematics, SOURCES)
    if not setup.systematics.enabled:
        found = {name: item for name, item in found.items() if name == "waves"}
    for element, sigma in setup.registration.shape_sigma.items():
        if sigma > 0.0 and element in SHAPE_SOURCES:
            source, _, unit = SHAPE_SOURCES[element]
            found[source] = Size(sigma, unit)
    return found


def mir_changes(evaluator: MirEvaluator, state: State) -> dict[str, list[Array]]:
    """Return changes of the transmittance by what is not in the fit, by source.

    Each by one standard error, (row, pixel); those of ``spectroscopy`` one for each
    gas.
    """
    scene = evaluator.scene
    base = evaluator.spectra(state)
    inside = {"waves", *known_blocks(scene).values()}
    found: dict[str, list[Array]] = {}
    airs = airs_off(scene.air, scene.band, sizes(scene.setup))
    for source, (size, *_) in sizes(scene.setup).items():
        if source in inside:
            continue
        if source == "zero_level":
            sun = 1.0 / evaluator(state, False).baseline[:, :1].clip(DARKEST)
            found[source] = [size * (sun - base)]
            continue
        if source == "spectroscopy":
            others = list(_stronger(scene, size))
        elif source in airs:
            others = [replace(scene, limbs=limbs_of(scene, airs[source]))]
        elif source == "pointing":
            others = [_pointed(scene, size)]
        else:
            others = [_imaged(scene, source, size)]
        found[source] = [MirEvaluator(one).spectra(state) - base for one in others]
    return found


def denser(scene: MirScene) -> dict[str, list[Array]]:
    """Return the relative change of the air on the levels by changes, by source."""
    given, levels = sizes(scene.setup), scene.levels
    density = levels["number_density"].values
    return {
        source: [other["number_density"].values / density - 1.0]
        for source, other in airs_off(levels, scene.band, given).items()
    }


def _pointed(scene: MirScene, size_km: float) -> MirScene:
    """Return the scene with all rows seen higher."""
    heights = scene.limbs[0].height_km
    width = scene.setup.instrument.field_of_view_km
    rows = []
    for one in scene.orders:
        centre = np.clip(one.altitude_km + size_km, heights[0], heights[-1])
        boxes = np.full((centre.size, 1), width)
        rows.append(geometry.fov_operator(heights, centre, boxes))
    return replace(scene, rows=tuple(rows))


def _imaged(scene: MirScene, source: str, size: float) -> MirScene:
    """Return the scene seen with another line shape."""
    given = scene.setup.instrument
    values = {name: getattr(given, name) for name in given.__struct_fields__}
    if source == "line_width":
        values["resolving_power"] /= 1.0 + size
    else:
        key = next(key for name, key, _ in SHAPE_SOURCES.values() if name == source)
        values[key] += size
    return replace(scene, setup=scene.setup.replace(instrument=values))


def _stronger(scene: MirScene, size: float) -> Iterator[MirScene]:
    """Give the scene with the lines of one gas after another stronger."""
    for gas in scene.setup.gases:
        limbs = []
        for limb in scene.limbs:
            path = limb.gases[gas]
            more = replace(path, coefficients=path.coefficients * (1.0 + size))
            limbs.append(replace(limb, gases=dict(limb.gases) | {gas: more}))
        yield replace(scene, limbs=tuple(limbs))
