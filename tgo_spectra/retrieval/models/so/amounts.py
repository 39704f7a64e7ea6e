"""What the state of a fit holds of a gas, and the mole fraction that is in it.

A fit that finds the air too has amounts of the gases that are not known as mole
fractions, see `tgo_spectra.retrieval.models.so.scene.free_gases`. It ends with mole
fractions in the air that it found, which are the more uncertain for what that air is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward import ray
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval.given import given_air, moved
from tgo_spectra.retrieval.models.so import scene as scenes
from tgo_spectra.retrieval.models.so.sources import (
    AIR,
    POINTING,
    STEP_KM,
    TEMPERATURE,
    corrections,
    knots_km,
    pointed,
)
from tgo_spectra.retrieval.state import StateSpace, Turned

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["FoundAir", "found_air", "turned"]


def turned(scene: Scene, space: StateSpace, state: State) -> Turned | None:
    """Return the mole fractions of a fit of amounts, or none where it has them.

    Parameters
    ----------
    scene : Scene
    space : StateSpace
        Of the fit.
    state : State
        Where it ended.
    """
    free = scenes.free_gases(scene.setup)
    if not free:
        return None
    altitude, given = scene.limb.altitude_km, given_air(scene.as_given)
    found = moved(scene.band, given, *corrections(scene, state))
    at = scenes.nearest(scene.points_km, altitude)
    denser = (found["number_density"] / given["number_density"])[at]
    # d(ln n)/d(correction), n ~ p / T
    by = {
        name: forward.hat_matrix(knots_km(scene, step), altitude)
        * (-1.0 / found["temperature"][at][:, None] if name == TEMPERATURE else 1.0)
        for name, step in AIR.items()
        if name in space
    }
    ended = {gas: state[gas] / denser for gas in free}
    spread = np.eye(space.size)
    blocks = []
    for block in space.blocks:
        if block.name not in free:
            blocks.append(block)
            continue
        own = space[block.name]
        size = 1.0 if block.log else ended[block.name][:, None]
        for name, slope in by.items():
            spread[own, space[name]] = -size * slope
        scale = 1.0 if block.log else np.outer(denser, denser)
        blocks.append(
            replace(
                block,
                prior=block.prior / denser,
                covariance=block.covariance / scale,
            )
        )
    there = StateSpace(tuple(blocks))
    vector = there.pack({**state, **ended})
    return Turned(there, vector, spread, dict.fromkeys(free, denser))


@dataclass(frozen=True)
class FoundAir:
    """The air that a fit has found on its line of sight: what its amounts go with.

    Attributes
    ----------
    variables : dict of array, shape (level,)
        Pressure, temperature and number density, and their corrections with errors.
    air_cm2 : array, shape (row, level)
        Slant column of air that the rows see.
    slopes : dict of array, shape (row, level, element)
        Its derivative to the elements of a block, by name.
    """

    variables: Mapping[str, Array]
    air_cm2: Array
    slopes: Mapping[str, Array]


def found_air(scene: Scene, end: Conclusion) -> FoundAir:
    """Return the air and the pointing that a fit has found.

    Parameters
    ----------
    scene : Scene
        As the fit was given it.
    end : Conclusion
    """
    state, limb, rows = end.state, scene.limb, scene.rows
    variables = given_air(scene.levels)
    relative: dict[str, Array] = {}
    if any(name in state for name in AIR):
        air = moved(scene.band, given_air(scene.air), *corrections(scene, state))
        limb = replace(limb, air_cm2=_air_cm2(limb, scene, air["number_density"]))
        at = scenes.nearest(scene.points_km, limb.altitude_km)
        variables = {name: values[at] for name, values in air.items()}
    for name, step in AIR.items():
        if name not in state:
            continue
        own = end.space[name]
        hats = forward.hat_matrix(knots_km(scene, step), limb.altitude_km)
        variables[name] = hats @ end.vector[own]
        spread = (hats @ end.covariance[own, own] * hats).sum(axis=1)
        variables[f"{name}_error"] = np.sqrt(spread)
        # n ~ p / T
        warm = -1.0 / variables["temperature"][:, None]
        relative[name] = hats * (warm if name == TEMPERATURE else 1.0)
    slopes = {}
    if POINTING in state:
        offset = float(state[POINTING][0])
        up, here, down = (
            pointed(scene, offset + step).rows @ limb.air_column_cm2
            for step in (STEP_KM, 0.0, -STEP_KM)
        )
        slopes[POINTING] = ((up - down) / (2.0 * STEP_KM))[:, :, None]
    else:
        here = rows @ limb.air_column_cm2
    slopes |= {name: here[:, :, None] * part for name, part in relative.items()}
    return FoundAir(variables, here, slopes)


def _air_cm2(limb: forward.Limb, scene: Scene, density: Array) -> Array:
    """Slant columns of air under the hats of the points, (height, point)."""
    sight = ray.LineOfSight(
        height_km=np.asarray(limb.height_km, dtype=np.float64),
        points_km=np.asarray(scene.points_km, dtype=np.float64),
        radius_km=scene.planet_radius_km,
    )
    return np.asarray(sight.air(density))
