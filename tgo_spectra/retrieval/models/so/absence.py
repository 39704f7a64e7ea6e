"""The model of a result's spectra with and without a gas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval import linear
from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.models.so.evaluation import Evaluator, measurement_of
from tgo_spectra.retrieval.models.so.solution import build_scene

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.integer]

__all__ = ["ratio_without"]


def ratio_without(
    level1: xr.Dataset, level2: xr.Dataset, gas: str, setup: RetrievalSetup
) -> tuple[IntArray, IntArray, Array]:
    """Return rows, pixels, and the model without a gas over that with it, on both."""
    scene, _ = build_scene(level1, setup, _air_of(level2), jacobian_rank=1)
    state = _state_of(scene, level2)
    model = Evaluator(scene, measurement_of(scene))
    # the depth to which the aerosol's exponent belongs
    model.depth = -np.log(
        np.clip(level2["baseline"].values[scene.prepared.rows, 0], 1e-3, 1.0)
    )
    absent = {**state, gas: np.zeros_like(state[gas])}
    ratio = model.spectra(absent) / model.spectra(state)
    return scene.prepared.rows, scene.prepared.pixels, np.asarray(ratio)


def _air_of(level2: xr.Dataset) -> xr.Dataset:
    """Return the temperature and pressure of a fit, with what it found of them."""
    return level2.reset_coords()[["temperature", "pressure"]]


def _state_of(scene: Scene, level2: xr.Dataset) -> State:
    """Return the state of a result: gases on the levels, shifts, the instrument."""
    levels = scene.limb.altitude_km
    found = level2["altitude"].values
    state = {
        one: np.interp(levels, found, level2[f"{one}_vmr"].values)
        for one in scene.setup.gases
    }
    state |= {
        name: np.atleast_1d(level2[name].values).astype(float)
        for name in (linear.SHIFT, linear.STRETCH, linear.EXPONENT)
    }
    return state | {
        name: np.atleast_1d(level2[f"fitted_{name}"].values).astype(float)
        for name in elements_of(scene.setup)
    }
