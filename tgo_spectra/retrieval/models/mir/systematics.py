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
from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval.models.mir.fit import MirEvaluator, expansion_of
from tgo_spectra.retrieval.models.mir.scene import limbs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.mir.fit import MirSolution
    from tgo_spectra.retrieval.models.mir.scene import MirScene
    from tgo_spectra.retrieval.models.mir.setup import MirSetup

    Array = npt.NDArray[np.floating]

__all__ = ["mir_errors", "sizes"]


def sizes(setup: MirSetup) -> list[tuple[str, float, str]]:
    """Return name, size (1 sigma) and unit of the sources that are on."""
    wish = setup.systematics
    if not wish.enabled:
        return []
    every = [
        ("temperature", wish.temperature_k, "K"),
        ("pointing", wish.pointing_km, "km"),
        ("line_width", wish.width, "1"),
        ("second_image", wish.second_amplitude, "1"),
        ("spectroscopy", wish.spectroscopy, "1"),
    ]
    return [item for item in every if item[1] > 0.0]


def mir_errors(scene: MirScene, solution: MirSolution) -> dict[str, dict[str, Array]]:
    """Return the error of every gas by every source, each (level,).

    Those of ``spectroscopy`` are sums in squares over the gases; all others are the
    response to +1 sigma, with its sign.

    Parameters
    ----------
    scene : MirScene
    solution : MirSolution
        At which the model is linear.
    """
    respond = _Response(scene, solution)
    result: dict[str, dict[str, Array]] = {gas: {} for gas in scene.setup.gases}
    for source, size, _ in sizes(scene.setup):
        if source == "spectroscopy":
            every = [respond(changed) ** 2 for changed in _stronger(scene, size)]
            found = np.sqrt(np.sum(every, axis=0))
        elif source == "temperature":
            found = respond(_warmed(scene, size))
        elif source == "pointing":
            found = respond(_pointed(scene, size))
        else:
            found = respond(_imaged(scene, source, size))
        for gas in scene.setup.gases:
            result[gas][source] = found[solution.space[gas]]
    return result


class _Response:
    """Gain matrix times the change of the spectra by a change of the scene."""

    def __init__(self, scene: MirScene, solution: MirSolution) -> None:
        self.solution = solution
        self.evaluator = MirEvaluator(scene)
        state = solution.result.state
        self.expand = [
            expansion_of(scene, solution.space, index)
            for index in range(len(scene.orders))
        ]
        self.fields = [model.fields(state, True) for model in self.evaluator.models]
        ends = np.cumsum([one.rows.size for one in scene.orders])[:-1]
        self.baseline = np.split(solution.result.final.baseline, ends)

    def __call__(self, changed: MirScene) -> Array:
        """Return the change of the state."""
        state = self.solution.result.state
        gradient = np.zeros(self.solution.space.size)
        others = MirEvaluator(changed).models
        for index, (model, other) in enumerate(
            zip(self.evaluator.models, others, strict=True)
        ):
            m, depth = model.measurement, np.zeros(model.measurement.bin.size)
            fields, _ = other.fields(state, False)
            spectrum, _ = linearisation.row_spectra(
                fields, other.measurement, state, other.built, depth
            )
            base = self.baseline[index] @ m.polynomials
            as_measured = replace(m, transmittance=base * spectrum)
            mine, extra = self.fields[index]
            linear = linearisation.linearise(
                mine, as_measured, state, model.built, depth, extra
            )
            gradient += self.expand[index].gradient(linear)
        return np.asarray(self.solution.result.covariance @ gradient)


def _warmed(scene: MirScene, size_k: float) -> MirScene:
    """Return the scene with another temperature at the same pressure."""
    air = scene.air
    temperature = air["temperature"] + size_k
    density = air["number_density"] * air["temperature"] / temperature
    warm = air.assign(temperature=temperature, number_density=density)
    return replace(scene, limbs=limbs_of(scene, warm))


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
