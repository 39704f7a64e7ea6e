"""Errors that noise does not hold: what a wrong parameter does to the profiles.

For each source the forward model is run once more with the parameter moved by its
standard error, and the change of the spectra is taken through the gain matrix of the
fit: G [F(b + db) - F(b)]. Baseline and shift are refitted on the way, as in the fit.
What is common to all levels is one profile with its signs, not a diagonal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval.elements import sources_of
from tgo_spectra.retrieval.linear import SHIFT
from tgo_spectra.retrieval.models.so import scene as scenes
from tgo_spectra.retrieval.models.so.evaluation import Evaluator, expansion_of
from tgo_spectra.retrieval.regularisation import exponential_covariance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.models.so.solution import Solution
    from tgo_spectra.retrieval.setup import RetrievalSetup

    Array = npt.NDArray[np.floating]
    LimbOf = Callable[[Scene, xr.Dataset], forward.Limb]

__all__ = ["errors", "limb_of", "sizes"]

EXPLAINED = 0.98
"""Part of the variance of a correlated temperature error that is followed."""


def sizes(setup: RetrievalSetup) -> list[tuple[str, float, str]]:
    """Return name, size (1 sigma) and unit of the sources that are on."""
    wish = setup.systematics
    if not wish.enabled:
        return []
    every = [
        ("temperature", wish.temperature_k, "K"),
        ("pointing", wish.pointing_km, "km"),
        *((source, *size[1:]) for source, size in sources_of(setup).items()),
        ("shift", wish.shift_px, "pixel"),
        ("spectroscopy", wish.spectroscopy, "1"),
    ]
    return [item for item in every if item[1] > 0.0]


def errors(
    scene: Scene,
    solution: Solution,
    *,
    limb_of: LimbOf | None = None,
    gain: Callable[[Linearised], Array] | None = None,
) -> dict[str, dict[str, Array]]:
    """Return the error of every gas by every source, each (level,).

    Profiles of ``temperature`` with a correlation length, and of ``spectroscopy``, are
    sums in squares without sign; all others are the response to +1 sigma.

    Parameters
    ----------
    scene : Scene
    solution : Solution
        At which the model is linear.
    limb_of : callable, optional
        (scene, atmosphere on its quadrature points) to its limb; default: `limb_of`.
    gain : callable, optional
        From a `Linearised` whose gradients are those of the change of the spectra to
        the change of the state; default: that of a least-squares fit.
    """
    respond = _Response(scene, solution, gain)
    limb_of = limb_of or _LIMB_OF
    setup = scene.setup
    result: dict[str, dict[str, Array]] = {gas: {} for gas in setup.gases}
    for source, size, _ in sizes(setup):
        if source == "temperature":
            found = _temperature(scene, respond, size, limb_of)
        elif source == "spectroscopy":
            found = _spectroscopy(scene, respond, size)
        elif source == "shift":
            found = respond(scene, shift_px=size)
        elif source == "pointing":
            found = respond(_pointed(scene, size))
        else:
            found = respond(_instrument(scene, source, size))
        for gas in setup.gases:
            result[gas][source] = found[solution.space[gas]]
    return result


class _Response:
    """Gain matrix times the change of the spectra by a change of the scene."""

    def __init__(
        self,
        scene: Scene,
        solution: Solution,
        gain: Callable[[Linearised], Array] | None,
    ) -> None:
        self.solution = solution
        self.gain = gain or self._least_squares
        self.expand = expansion_of(scene, solution.space)
        self.evaluator = solution.evaluator
        self.measurement = self.evaluator.measurement
        self.base = solution.final.baseline @ self.measurement.polynomials
        self.fields = self.evaluator.fields(solution.state, True)
        self.depth = self.evaluator.depth

    def __call__(self, changed: Scene, shift_px: float = 0.0) -> Array:
        """Return the change of the state; mole fractions for profiles."""
        state, m = self.solution.state, self.measurement
        moved = {**state, SHIFT: state[SHIFT] + shift_px}
        other = replace(m, rows=changed.rows)
        evaluator = Evaluator(changed, other)
        fields = evaluator.fields(moved, False)
        spectrum, _ = linearisation.row_spectra(
            fields, other, moved, evaluator.built, self.depth
        )
        as_measured = replace(m, transmittance=self.base * spectrum)
        linear = linearisation.linearise(
            self.fields, as_measured, state, self.evaluator.built, self.depth,
            self.evaluator.extra_fields(state),
        )  # fmt: skip
        return self.gain(linear)

    def _least_squares(self, linear: Linearised) -> Array:
        return np.asarray(self.solution.covariance @ self.expand.gradient(linear))


def _instrument(scene: Scene, source: str, size: float) -> Scene:
    """Return the scene seen by another instrument."""
    name = sources_of(scene.setup)[source][0]
    return replace(scene, offsets={name: size})


def _pointed(scene: Scene, size_km: float) -> Scene:
    """Return the scene with all rows seen higher."""
    p = scene.prepared
    heights = scene.limb.height_km
    centre = np.clip(p.altitude_km + size_km, heights[0], heights[-1])
    rows = geometry.fov_operator(heights, centre, p.boxcars_km)
    return replace(scene, rows=rows)


def limb_of(scene: Scene, air: xr.Dataset) -> forward.Limb:
    """Return the limb of a scene with another atmosphere.

    Parameters
    ----------
    scene : Scene
    air : Dataset
        On the scene's quadrature points.
    """
    limb = scene.limb
    coefficients = scenes.coefficients_on(scene.band, scene.setup.gases, air)
    return forward.limb(
        altitude_km=limb.altitude_km,
        height_km=limb.height_km,
        points_km=scene.points_km,
        number_density_cm3=air["number_density"].values,
        planet_radius_km=scene.planet_radius_km,
        vectors={gas: scene.band.vectors[gas] for gas in scene.setup.gases},
        coefficients=coefficients,
        jacobian_rank=1,
        dtype=limb.dtype,
    )


_LIMB_OF = limb_of


def _warmed(scene: Scene, change_k: Array, limb_of: LimbOf = limb_of) -> Scene:
    """Return the scene with another temperature at the same pressure."""
    air = scene.air
    change = np.interp(scene.points_km, scene.limb.altitude_km, change_k)
    temperature = air["temperature"] + change
    density = air["number_density"] * air["temperature"] / temperature
    warm = air.assign(temperature=temperature, number_density=density)
    return scene.with_limb(limb_of(scene, warm))


def _temperature(
    scene: Scene, respond: _Response, size_k: float, limb_of: LimbOf
) -> Array:
    """Response to one offset, or to a field of errors of some correlation length."""
    altitude = scene.limb.altitude_km
    length = scene.setup.systematics.temperature_correlation_km
    if length is None:
        return respond(_warmed(scene, np.full(altitude.size, size_k), limb_of))
    covariance = exponential_covariance(
        altitude, np.full(altitude.size, size_k), length
    )
    values, vectors = np.linalg.eigh(covariance)
    part = np.cumsum(values[::-1]) / values.sum()
    count = int(np.searchsorted(part, EXPLAINED)) + 1
    squares = np.zeros(respond.solution.space.size)
    for value, vector in zip(values[::-1][:count], vectors.T[::-1], strict=False):
        squares += respond(_warmed(scene, np.sqrt(value) * vector, limb_of)) ** 2
    return np.sqrt(squares)


def _spectroscopy(scene: Scene, respond: _Response, size: float) -> Array:
    """Response to the intensities of each gas, summed in squares."""
    squares = np.zeros(respond.solution.space.size)
    for changed in _stronger(scene, size):
        squares += respond(changed) ** 2
    return np.sqrt(squares)


def _stronger(scene: Scene, size: float) -> Iterator[Scene]:
    for gas, path in scene.limb.gases.items():
        if not np.isfinite(path.coefficients).all():
            message = "coefficients of the table are not finite"
            raise RetrievalError(message, field=gas, rule="table.not_finite")
        stronger = replace(path, coefficients=path.coefficients * (1.0 + size))
        gases = dict(scene.limb.gases) | {gas: stronger}
        yield scene.with_limb(replace(scene.limb, gases=gases))
