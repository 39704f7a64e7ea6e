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
from tgo_spectra.retrieval.elements import Size
from tgo_spectra.retrieval.models.mir.fit import MirEvaluator
from tgo_spectra.retrieval.models.mir.scene import limbs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.mir.scene import MirScene
    from tgo_spectra.retrieval.models.mir.setup import MirSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["mir_changes", "sizes"]


def sizes(setup: MirSetup) -> list[Size]:
    """Return name, size (1 sigma) and unit of the sources that are on."""
    wish = setup.systematics
    if not wish.enabled:
        return []
    every = [
        ("temperature", wish.temperature_k, "K"),
        ("pressure", wish.pressure, "1"),
        ("pointing", wish.pointing_km, "km"),
        ("waves", wish.waves, "1"),
        ("line_width", wish.width, "1"),
        ("second_image", wish.second_amplitude, "1"),
        ("spectroscopy", wish.spectroscopy, "1"),
    ]
    return [Size(*item) for item in every if item[1] > 0.0]


def mir_changes(evaluator: MirEvaluator, state: State) -> dict[str, list[Array]]:
    """Return changes of the transmittance by what is not in the fit, by source.

    Each by one standard error, (row, pixel); those of ``spectroscopy`` one for each
    gas.
    """
    scene = evaluator.scene
    base = evaluator.spectra(state)
    found: dict[str, list[Array]] = {}
    for source, size, *_ in sizes(scene.setup):
        if source == "waves":
            continue
        if source == "spectroscopy":
            others = list(_stronger(scene, size))
        elif source == "temperature":
            others = [_warmed(scene, size)]
        elif source == "pressure":
            others = [_pressed(scene, size)]
        elif source == "pointing":
            others = [_pointed(scene, size)]
        else:
            others = [_imaged(scene, source, size)]
        found[source] = [MirEvaluator(one).spectra(state) - base for one in others]
    return found


def _warmed(scene: MirScene, size_k: float) -> MirScene:
    """Return the scene with another temperature at the same pressure."""
    air = scene.air
    temperature = air["temperature"] + size_k
    density = air["number_density"] * air["temperature"] / temperature
    warm = air.assign(temperature=temperature, number_density=density)
    return replace(scene, limbs=limbs_of(scene, warm))


def _pressed(scene: MirScene, size: float) -> MirScene:
    """Return the scene with another pressure at the same temperature."""
    air = scene.air
    factor = 1.0 - size  # downwards: the highest may be at the edge of the table
    pressed = air.assign(
        pressure=air["pressure"] * factor,
        number_density=air["number_density"] * factor,
    )
    return replace(scene, limbs=limbs_of(scene, pressed))


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
        values["second_amplitude"] += size
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
