"""Profiles of gases from an SO occultation, by whatever method, as level 2.

What every method returns, and what dresses it as a Dataset.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra.instruments.so import PIXELS
from tgo_spectra.retrieval import level2
from tgo_spectra.retrieval.conclusion import PULLED, conclude
from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.given import of_reference
from tgo_spectra.retrieval.measurement import masked_text, planet_radius, prepare
from tgo_spectra.retrieval.models.so import amounts, systematics
from tgo_spectra.retrieval.models.so.amounts import turned
from tgo_spectra.retrieval.models.so.evaluation import expansion_of
from tgo_spectra.retrieval.models.so.scene import (
    JACOBIAN_STEPS_KM,
    Scene,
    make_scene,
    without_pixels,
)
from tgo_spectra.retrieval.models.so.sources import known_blocks, wave_sigma
from tgo_spectra.retrieval.models.so.systematics import changes, denser
from tgo_spectra.retrieval.profile_variables import profile_dataset
from tgo_spectra.spectroscopy import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.joint import Result
    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.measurement import Prepared
    from tgo_spectra.retrieval.models.so.evaluation import Evaluator
    from tgo_spectra.retrieval.models.so.registration import FirstGuess
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]
    Steps = Sequence[tuple[float, float]]

__all__ = [
    "Solution",
    "assembled",
    "bins_of",
    "build_scene",
    "choices",
    "profiles",
    "solution_of",
    "view_of",
]


@dataclass(frozen=True)
class Solution:
    """Where a method ended.

    Attributes
    ----------
    end : Conclusion
        State, matrices and errors; in the elements of the fit.
    assumed : array, shape (state, state), optional
        Covariance of the truth for the smoothing error where R is not its inverse.
    smoothing_known : bool
        Whether the smoothing error can be given at all.
    choices : dict
        What the method chose, for the attributes of the result.
    """

    end: Conclusion
    coarse_shift_px: int
    truncation_residual: float
    evaluator: Evaluator
    assumed: Array | None = None
    smoothing_known: bool = True
    choices: Mapping[str, object] = field(default_factory=dict)

    @property
    def space(self) -> StateSpace:
        """Blocks."""
        return self.end.space

    @functools.cached_property
    def state(self) -> State:
        """Values of the blocks."""
        return self.end.state

    @functools.cached_property
    def _slope(self) -> Array:
        return self.end.space.slope(self.end.vector)

    @property
    def data_matrix(self) -> Array:
        """K^T Se^-1 K in mole fractions, (state, state)."""
        return np.asarray(self.end.data_matrix / self._slope[:, None] / self._slope)

    @property
    def covariance(self) -> Array:
        """(K^T Se^-1 K + R)^-1 in mole fractions, (state, state)."""
        return np.asarray(self.end.covariance * self._slope[:, None] * self._slope)


def solution_of(
    result: Result[Linearised],
    space: StateSpace,
    guess: FirstGuess,
    evaluator: Evaluator,
    constraint: Array,
    *,
    assumed: Array | None = None,
    smoothing_known: bool = True,
    choices: Mapping[str, object] | None = None,
) -> Solution:
    """Conclude an iteration and add what else is asked.

    Parameters
    ----------
    result : Result
    space : StateSpace
    guess : FirstGuess
        Where the fit started.
    evaluator : Evaluator
        The model as fitted.
    constraint : array, shape (state, state)
        R of the fit.
    assumed, smoothing_known, choices
        As in `Solution`.
    """
    scene = evaluator.scene
    end = conclude(
        evaluator.whitened(result.state),
        expansion_of(scene, space),
        result,
        scene.prepared.altitude_km,
        scene.limb.altitude_km,
        constraint=constraint,
        wave_sigma=wave_sigma(scene.setup),
        waves=scene.waves,
        known=known_blocks(scene.setup),
        beside=changes(evaluator, result.state),
        denser=denser(scene),
        screened=bool(elements_of(scene.setup)),
        line_sigma=scene.setup.systematics.spectroscopy,
        tested=scene.setup.gases,
        layer=scene.setup.detection.layer(scene.limb.altitude_km),
        at_edge=guess.at_edge,
        turned=turned(scene, space, result.state),
    )
    return Solution(
        end=end,
        coarse_shift_px=guess.shift_px,
        truncation_residual=evaluator.truncation(result.state),
        evaluator=evaluator,
        assumed=end.assumed() if assumed is not None else None,
        smoothing_known=smoothing_known,
        choices=dict(choices or {}),
    )


AGAIN = 4
"""Fits more at most, without static pixels that had pulled the one before: the worst
hide others."""

INSTRUMENT_MODEL = (
    "NOMAD SO, final 2021 coefficients (Villanueva et al. 2022), AOTF inside the line "
    "shape integral, sinc2 blaze, doublet line shape"
)


def build_scene(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    *,
    jacobian_rank: int | None = 4,
    steps_km: Steps | None = JACOBIAN_STEPS_KM,
    dtype: type[np.floating] = np.float32,
) -> tuple[Scene, dict[str, object]]:
    """Everything between a level-1 Dataset and the solver."""
    band, table_attrs = tables.band_of(setup.table)
    prepared = prepare(level1, setup)
    radius = planet_radius(level1, atmosphere)
    scene = make_scene(
        prepared,
        setup,
        band,
        atmosphere,
        radius[0],
        jacobian_rank=jacobian_rank,
        steps_km=steps_km,
        dtype=dtype,
    )
    masked = masked_text(prepared.masked, prepared.pixels)
    record = choices(level1, setup, scene.air, table_attrs, radius, masked)
    return scene, record


def choices(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    air: xr.Dataset,
    table: Mapping[Any, object],
    radius: tuple[float, str],
    masked_pixels: str,
    *,
    method: str | None = None,
    recorded: level2.Setup | None = None,
    lowest_km: float = -np.inf,
) -> dict[str, object]:
    """Every choice of a fit of SO spectra that affects a number, as attributes.

    `recorded`: the setup that the result names, if it is not this one; `lowest_km`: as
    `level2.provenance`.
    """
    return level2.provenance(
        level1,
        recorded or setup,
        air,
        method=method or setup.method,
        instrument_model=INSTRUMENT_MODEL,
        interferents_absent=setup.interferents_absent,
        baseline_degree=setup.baseline_degree,
        n_orders=setup.instrument.n_orders,
        masked_pixels=masked_pixels,
        radius=radius,
        table=table,
        lowest_km=lowest_km,
    ) | {
        "profiles_of_reference": of_reference(setup.gases, setup, air),
        "solver": setup.solver,
        "bins": setup.bins,
        "table": setup.table,
        "ghost_amplitude": setup.instrument.ghost_amplitude,
        "shift_prior_sigma_px": setup.registration.shift_sigma_px,
        "aerosol_exponent_prior": setup.aerosol.exponent,
        "aerosol_exponent_prior_sigma": setup.aerosol.exponent_sigma,
        "minimum_transmittance": setup.window.minimum_transmittance,
        "fitted_pixels": f"{setup.window.first_pixel}-{setup.window.last_pixel}",
    }


def profiles(
    level1: xr.Dataset,
    setup: RetrievalSetup,
    atmosphere: xr.Dataset,
    *,
    method: str,
    solve: Callable[[Scene], Solution],
) -> xr.Dataset:
    """Fit profiles of all gases with a method and return the level-2 Dataset.

    Parameters
    ----------
    level1, setup, atmosphere
        As in `tgo_spectra.retrieve`.
    method : str
        Recorded.
    solve : callable
        From a scene to a `Solution`.
    """
    if level1.chunks:
        level1 = level1.compute()
    if setup.method != method:
        setup = setup.replace(method=method)
    scene, record = build_scene(level1, setup, atmosphere)
    solution = solve(scene)
    every = solution.end.screening
    for _ in range(AGAIN):
        if not solution.end.pulled > PULLED:
            break
        solution = solve(without_pixels(scene, every.static))
        every = every.and_then(solution.end.screening)
        solution = replace(solution, end=replace(solution.end, screening=every))
    return assembled(level1, scene, solution, record)


def assembled(
    level1: xr.Dataset,
    scene: Scene,
    solution: Solution,
    record: dict[str, object],
) -> xr.Dataset:
    """Dress a solution with the names, limits and attributes of level 2.

    Parameters
    ----------
    level1 : Dataset
    scene : Scene
        Whose levels are the solution's.
    solution : Solution
    record : dict
        Attributes, from `choices`.
    """
    end = solution.end
    found = amounts.found_air(scene, end)
    return profile_dataset(
        level1,
        view_of(scene, end),
        end,
        scene.setup.detection,
        found.air_cm2,
        {**bins_of(scene.prepared), **found.variables},
        record
        | {
            "truncation_residual": solution.truncation_residual,
            "coarse_shift_px": solution.coarse_shift_px,
            "masked_pixels": masked_text(
                scene.prepared.masked | end.screening.static, scene.prepared.pixels
            ),
            "masked_spikes": int(end.screening.spikes.sum()),
            **solution.choices,
        },
        slopes=found.slopes,
        sizes=systematics.taken_sizes(scene),
        assumed=solution.assumed,
        smoothing_known=solution.smoothing_known,
    )


def bins_of(prepared: Prepared) -> dict[str, object]:
    """Return the numbers of the bins in the product, and the bin of each spectrum."""
    return {"bin": prepared.bin_numbers, "spectrum_bin": prepared.spectrum_bin}


def view_of(scene: Scene, end: Conclusion) -> level2.View:
    """Return where a fit of SO spectra looked, and what it left."""
    prepared = scene.prepared
    residual = level2.all_pixels(
        end.seen.left / prepared.weight, prepared.pixels, PIXELS
    )
    return level2.View(
        prepared.rows, prepared.altitude_km, scene.limb.altitude_km, residual
    )
