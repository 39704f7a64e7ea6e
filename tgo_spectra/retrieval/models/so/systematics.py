"""Errors that neither noise nor the fit hold: what a wrong parameter does to spectra.

For each source the forward model is run once more with the parameter moved by its
standard error. The change of the spectra goes through the gain matrix of the fit,
G [F(b + db) - F(b)], see `tgo_spectra.retrieval.conclusion`: baseline and shift are
refitted on the way, as in the fit. What is common to all levels is one profile with its
signs, not a diagonal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere.reference import reference_atmosphere
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval.elements import (
    ELEMENTS,
    OTHERS,
    Size,
    fitted_sources,
    settings,
    sizes_of,
)
from tgo_spectra.retrieval.given import with_stated
from tgo_spectra.retrieval.linear import SHIFT
from tgo_spectra.retrieval.models.so import scene as scenes
from tgo_spectra.retrieval.models.so import sources
from tgo_spectra.retrieval.models.so.evaluation import Evaluator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]
    AirOf = Callable[[Scene, xr.Dataset], Scene]

__all__ = ["changes", "denser", "sizes", "taken_sizes"]

EXPLAINED = 0.98
"""Part of the variance of a correlated temperature error that is followed."""


BESIDE = {
    "shift": ("shift_px", "pixel"),
    "spectroscopy": ("spectroscopy", "1"),
    "interferents": ("interferents", "1"),
}
"""Key and unit of the sources that never stand in the fit."""


def sizes(setup: RetrievalSetup) -> dict[str, Size]:
    """Return the sources by name, in the fit or not."""
    wish, fitted = setup.systematics, fitted_sources(setup)
    every = sizes_of(wish, OTHERS | settings() | BESIDE)
    return {k: v for k, v in every.items() if wish.enabled or k in fitted}


def taken_sizes(scene: Scene) -> dict[str, Size]:
    """Return `sizes` with the atmosphere's own uncertainty where it states one.

    The origin says of which absent gases the reference atmosphere gave the amount.
    """
    found = with_stated(sizes(scene.setup), scene.levels)
    missing = [g for g in _absent_amounts(scene, 1.0) if f"{g}_vmr" not in scene.levels]
    if missing and "interferents" in found:
        amount, unit, origin = found["interferents"]
        origin = f"{origin}, of {', '.join(missing)} in the reference atmosphere"
        found["interferents"] = Size(amount, unit, origin)
    return found


def changes(
    evaluator: Evaluator, state: State, air_of: AirOf | None = None
) -> dict[str, list[Array]]:
    """Return changes of the transmittance by what is not in the fit, by source.

    Each by one standard error, (row, pixel); several of one source are independent of
    each other: modes of the air's errors along altitude, far orders, gases.

    Parameters
    ----------
    evaluator : Evaluator
    state : State
    air_of : callable, optional
        (scene, air on its quadrature points) to the scene with that air; default:
        `tgo_spectra.retrieval.models.so.scene.with_air`.
    """
    scene = evaluator.scene
    base: Array | None = None
    found: dict[str, list[Array]] = {}
    for source, (size, *_) in sizes(scene.setup).items():
        if source in fitted_sources(scene.setup) or source == "waves":
            continue
        if source in ("drift", "outer_orders", "zero_level"):
            found[source] = _by_block(evaluator, state, source, size)
            continue
        if source == "spectroscopy":
            found[source] = [*_stronger(evaluator, state, size)]
            continue
        shifted: State = state
        others: Iterable[Scene] = [scene]
        if source in ("temperature", "pressure"):
            of_air = air_of or scenes.with_air
            others = (of_air(scene, air) for air in _airs(scene, source))
        elif source == "broadening":
            others = _broader(scene, size, air_of or scenes.with_air)
        elif source == "interferents":
            others = _absent(scene)
            shifted = {**state, **_absent_amounts(scene, size)}
        elif source == "pointing":
            others = [sources.pointed(scene, size)]
        elif source == "shift":
            shifted = {**state, SHIFT: state[SHIFT] + size}
        else:
            others = [_instrument(scene, source, size)]
        if base is None:
            base = _spectra(evaluator, scene, state)
        found[source] = [_spectra(evaluator, one, shifted) - base for one in others]
        if not found[source]:
            del found[source]
    return found


def _spectra(like: Evaluator, scene: Scene, state: State) -> Array:
    """Spectra of a changed scene, everything else as in the fit, (row, pixel)."""
    evaluator = Evaluator(scene, replace(like.measurement, rows=scene.rows))
    evaluator.depth = like.depth
    evaluator.anchor, evaluator.derivatives = like.anchor, like.derivatives
    if scene.offsets == like.scene.offsets:
        evaluator.operator, evaluator.built = like.operator, like.built
        evaluator.settings = like.settings
    return evaluator.spectra(state)


def _instrument(scene: Scene, source: str, size: float) -> Scene:
    """Return the scene seen by another instrument."""
    name = next(name for name, row in ELEMENTS.items() if row.source == source)
    return replace(scene, offsets={name: size})


def denser(scene: Scene) -> dict[str, list[Array]]:
    """Return the relative change of the air on the levels by `changes`, by source."""
    at = scenes.nearest(scene.points_km, scene.limb.altitude_km)
    given = scene.air["number_density"].values
    return {
        source: [
            (other["number_density"].values / given - 1.0)[at]
            for other in _airs(scene, source)
        ]
        for source in ("temperature", "pressure")
        if source in sizes(scene.setup) and source not in fitted_sources(scene.setup)
    }


def _airs(scene: Scene, kind: str) -> Iterator[xr.Dataset]:
    """Give the air with each mode of its errors along altitude."""
    knots, covariance = sources.air_prior(scene, kind)
    hats = forward.hat_matrix(knots, scene.points_km)
    values, vectors = np.linalg.eigh(covariance)
    part = np.cumsum(values[::-1]) / values.sum()
    count = int(np.searchsorted(part, EXPLAINED)) + 1
    none = np.zeros(scene.points_km.size)
    for value, vector in zip(values[::-1][:count], vectors.T[::-1], strict=False):
        upwards = 1.0 if vector.sum() >= 0.0 else -1.0
        change = hats @ (np.sqrt(value) * upwards * vector)
        pair = (change, none) if kind == "temperature" else (none, change)
        yield sources.moved_air(scene, *pair)


def _by_block(
    evaluator: Evaluator, state: State, source: str, size: float
) -> list[Array]:
    """Return changes by what acts through a derivative, one for each element."""
    name = next(n for n, s in sources.SOURCES.items() if s == source)
    fields = evaluator.fields(state, False)
    assert evaluator.operator is not None
    columns = sources.derivative(
        evaluator.scene, name, state, evaluator.operator, fields, evaluator.depth
    )
    return [size * column for column in columns.transpose(1, 0, 2)]


def _broader(scene: Scene, size: float, air_of: AirOf) -> Iterator[Scene]:
    """Give the scene with the lines of each gas wider, their strength the same."""
    for gas in scene.limb.gases:
        yield air_of(replace(scene, wider={gas: size}), scene.air)


def _absent_amounts(scene: Scene, size: float) -> dict[str, Array]:
    """Amounts of the gases that are not fitted and of which table and air tell.

    Where the air does not, the reference atmosphere does: a gas that an atmosphere
    does not name is not for that absent on Mars.
    """
    air = beside = scene.levels
    absent = [
        g for g in scene.setup.interferents_absent if g in scene.band.coefficients
    ]
    if any(f"{gas}_vmr" not in air for gas in absent):
        beside = reference_atmosphere(air["altitude"].values)
    found: dict[str, Array] = {}
    for gas in absent:
        name = f"{gas}_vmr"
        told = air if name in air else beside
        if name in told:
            found[gas] = size * told[name].values
    return found


def _absent(scene: Scene) -> Iterator[Scene]:
    """Give the scene with each gas that is not fitted."""
    for gas in _absent_amounts(scene, 1.0):
        yield scenes.with_air(scene, scene.air, gases=(*scene.limb.gases, gas))


def _stronger(evaluator: Evaluator, state: State, size: float) -> Iterator[Array]:
    """Give the change by stronger lines of each gas, linear: as by more of the gas."""
    scene = evaluator.scene
    fields, limb = evaluator.fields(state, True), scene.limb.sparse
    for gas, path in limb.gases.items():
        if not np.isfinite(path.coefficients).all():
            message = "coefficients of the table are not finite"
            raise RetrievalError(message, field=gas, rule="table.not_finite")
        field = fields.gas[gas]
        amount = (size * (path.path @ state[gas])).astype(field.dtype)
        heights = np.einsum("pkh,kh->hp", field, amount)
        yield scene.jacobian_rows.astype(field.dtype) @ heights
