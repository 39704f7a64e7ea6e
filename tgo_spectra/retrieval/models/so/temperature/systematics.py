"""Errors of temperature and pressure that noise does not hold.

For each source the forward model is run with what may be wrong moved by its standard
error, at the end of the fit. The change of the spectra goes through the gain matrix,
see `tgo_spectra.retrieval.conclusion`: baseline, shift and pressure are refitted on the
way, as in the fit. Where the air itself is another, so is the truth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward.sight import hydrostatic_log_ratio
from tgo_spectra.retrieval.elements import OTHERS, Size, element_of, settings, sizes_of
from tgo_spectra.retrieval.given import prior_sigma
from tgo_spectra.retrieval.models.so import sources
from tgo_spectra.retrieval.models.so.temperature.evaluation import (
    TemperatureEvaluator,
    as_pixel_fields,
)
from tgo_spectra.retrieval.models.so.temperature.scene import molar_mass

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from tgo_spectra.retrieval.models.so.temperature.scene import TemperatureScene
    from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.float64]
    Real = npt.NDArray[np.floating]

__all__ = ["other_air", "sizes", "temperature_changes", "with_composition"]

HOMOPAUSE_KM = (90.0, 120.0)
"""Between these altitudes the error of the mole fraction by the parting of gases grows
from zero to its size."""


LIGHT = ("drift", "outer_orders", "zero_level", "waves")
"""Sources that are neither air nor a setting of the instrument."""

AIR = {
    "composition": ("relative_error", "1"),
    "homopause": ("homopause_error", "1"),
    "molar_mass": ("molar_mass_error_g_mol", "g mol-1"),
}
"""Key of the setup's section ``composition`` and unit, by name of the error."""


def sizes(setup: TemperatureSetup) -> dict[str, Size]:
    """Return size (1 sigma) and unit of the sources that are on, by name."""
    wish = setup.systematics
    found = sizes_of(setup.composition, AIR)
    found |= sizes_of(setup, {"pointing": ("pointing_km", "km")})
    lines = {"spectroscopy": ("spectroscopy", "1")}
    light = {name: OTHERS[name] for name in LIGHT}
    found |= sizes_of(wish, lines | settings() | light)
    if set(setup.interferents) - set(setup.fitted):
        found["interferents"] = Size(1.0, "1")
    return {k: v for k, v in found.items() if wish.enabled or k == "waves"}


def temperature_changes(
    evaluator: TemperatureEvaluator, state: State
) -> dict[str, list[Real]]:
    """Return changes of the transmittance by what is not in the fit, by source.

    Each by one standard error, (row, pixel); several of one source are independent of
    each other: pairs of far orders, gases that are not fitted.
    """
    scene = evaluator.scene
    wanted = {k: v for k, v in sizes(scene.setup).items() if k != "waves"}
    if not wanted:
        return {}
    base = evaluator.spectra(state)
    air = other_air(scene)
    found: dict[str, list[Real]] = {}
    for source, (size, *_) in wanted.items():
        if source in air:
            others = [air[source]]
        elif source == "spectroscopy":
            stronger = scene.vmr["co2"] * (1.0 + size)
            others = [replace(scene, vmr={**scene.vmr, "co2": stronger})]
        elif source == "interferents":
            others = list(_more_of_others(scene))
        elif source in settings():
            moved = {element_of(source): size}
            others = [replace(scene, gas=replace(scene.gas, offsets=moved))]
        elif changes := _of_light(evaluator, state, source, size):
            found[source] = changes
            continue
        else:
            continue
        found[source] = [_spectra(evaluator, one, state) - base for one in others]
    return found


def other_air(scene: TemperatureScene) -> dict[str, TemperatureScene]:
    """Return the scenes whose air or line of sight is another, by source."""
    setup, air = scene.setup, scene.setup.composition
    found = {}
    for source, (size, *_) in sizes(setup).items():
        if source == "composition":
            found[source] = with_composition(scene, air.relative_error)
        elif source == "homopause":
            aloft = np.interp(scene.altitude_km, HOMOPAUSE_KM, (0.0, size))
            found[source] = with_composition(scene, -aloft)
        elif source == "molar_mass":
            found[source] = _heavier(scene, scene.sight.molar_mass_g_mol + size)
        elif source == "pointing":
            higher = replace(scene.sight, height_km=scene.sight.height_km + size)
            found[source] = replace(scene, sight=higher)
    return found


def with_composition(
    scene: TemperatureScene, relative: float | Array
) -> TemperatureScene:
    """Return the scene with more CO2, and the molar mass and pressures of such air.

    ``relative``: change of the mole fraction, at all heights or (level,). The pressure
    at the reference altitude is the same.
    """
    vmr = {**scene.vmr, "co2": scene.vmr["co2"] * (1.0 + relative)}
    changed = replace(scene, vmr=vmr)
    if scene.setup.composition.molar_mass_g_mol is not None:
        return changed
    hats = scene.sight.hats
    more = molar_mass(hats @ vmr["co2"]) - molar_mass(hats @ scene.vmr["co2"])
    return _heavier(changed, scene.sight.molar_mass_g_mol + more)


def _heavier(
    scene: TemperatureScene, molar_mass_g_mol: float | Array
) -> TemperatureScene:
    """Return the scene with air of another molar mass, in balance, (point,)."""
    sight = scene.sight
    changed = [
        hydrostatic_log_ratio(
            sight.points_km,
            sight.temperature_k,
            planet_radius_km=sight.radius_km,
            anchor=sight.anchor,
            molar_mass_g_mol=item,
        )
        for item in (molar_mass_g_mol, sight.molar_mass_g_mol)
    ]
    factor = np.exp(changed[0] - changed[1])
    heavier = replace(
        sight,
        molar_mass_g_mol=molar_mass_g_mol,
        pressure_pa=sight.pressure_pa * factor,
        number_density_cm3=sight.number_density_cm3 * factor,
    )
    return replace(scene, sight=heavier)


def _more_of_others(scene: TemperatureScene) -> Iterator[TemperatureScene]:
    """Give the scene with more of each gas that is held at its a priori."""
    for gas in scene.setup.interferents:
        if gas not in scene.setup.fitted:
            sigma, _ = prior_sigma(scene.gas, gas)
            yield replace(scene, vmr={**scene.vmr, gas: scene.vmr[gas] + sigma})


def _spectra(
    like: TemperatureEvaluator, scene: TemperatureScene, state: State
) -> Array:
    """Spectra of a changed scene, everything else as in the fit, (row, pixel)."""
    other = TemperatureEvaluator(scene, like.measurement)
    other.depth = like.depth
    if scene.gas is like.scene.gas:
        other.built, other.operator = like.built, like.operator
    return np.asarray(other.spectra(state))


def _of_light(
    evaluator: TemperatureEvaluator, state: State, source: str, size: float
) -> list[Real]:
    """Return changes by a drift, a zero level, or the light of far orders."""
    gas = evaluator.scene.gas
    fields = as_pixel_fields(evaluator.fields(state, False))
    assert evaluator.operator is not None
    if source == "outer_orders":
        columns = sources.by_outer_orders(
            gas,
            evaluator.operator,
            evaluator.on_nodes(state, gas.limb.jacobian_heights),
        )
    else:
        name = next(n for n, s in sources.SOURCES.items() if s == source)
        columns = sources.derivative(
            gas, name, state, evaluator.operator, fields, evaluator.depth
        )
    return [size * column for column in columns.transpose(1, 0, 2)]
