"""Optimal estimation of the profiles of one occultation (Rodgers 2000).

All bins are fitted jointly with one a priori; the shift is free per bin, the baseline
per spectrum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra import forward, operator
from tgo_spectra.retrieval import registration, solver
from tgo_spectra.retrieval.scene import detector_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.operator import Operator
    from tgo_spectra.retrieval.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = ["measurement_of", "prior_of", "solve"]

REBUILD_PX = 0.05
"""The operator is rebuilt when the mean shift has moved farther than this; within it
the second-order expansion in shift is good to 3e-6 in transmittance (order 134)."""

SHIFT_FLOOR = 1e-9
"""Variance (pixel^2) that keeps a fixed element fixed and the matrix invertible."""


def measurement_of(scene: Scene) -> solver.Measurement:
    """Return the scene's measurement in the solver's terms."""
    p = scene.prepared
    pixels = p.pixels.astype(float)
    return solver.Measurement(
        transmittance=p.transmittance,
        weight=p.weight,
        bin=p.bin,
        n_bins=p.n_bins,
        rows=scene.rows,
        jacobian_rows=scene.jacobian_rows,
        position=detector_position(pixels),
        dispersion_cm1=p.dispersion(pixels),
        baseline_degree=scene.setup.baseline_degree,
    )


def prior_of(scene: Scene) -> tuple[solver.State, Array]:
    """Return the a priori state and covariance of a scene."""
    setup, altitude = scene.setup, scene.limb.altitude_km
    layout = solver.Layout(setup.gases, altitude.size, scene.prepared.n_bins)
    covariance = np.zeros((layout.size, layout.size))
    for gas in setup.gases:
        sigma, length = prior_sigma(scene, gas)
        block = layout.gas(gas)
        covariance[block, block] = solver.exponential_covariance(
            altitude, sigma, length
        )
    register = setup.registration
    stretch = register.stretch_sigma_px**2 if register.stretch else SHIFT_FLOOR
    tail = [register.shift_sigma_px**2] * layout.n_bins
    tail += [stretch, max(setup.aerosol.exponent_sigma**2, SHIFT_FLOOR)]
    np.fill_diagonal(covariance[layout.shift.start :, layout.shift.start :], tail)
    state = solver.State(
        dict(scene.prior_vmr), np.zeros(layout.n_bins), 0.0, setup.aerosol.exponent
    )
    return state, covariance


def prior_sigma(scene: Scene, gas: str) -> tuple[Array, float]:
    """Return the a priori 1-sigma on the levels and the correlation length, km."""
    from tgo_spectra.retrieval.setup import Prior

    prior = scene.setup.prior.get(gas) or Prior()
    profile = scene.prior_vmr[gas]
    if prior.sigma is not None:
        return np.full(profile.size, prior.sigma), prior.correlation_km
    relative = 1.0 if prior.relative_sigma is None else prior.relative_sigma
    floor = max(1e-3 * float(profile.max()), 1e-15)
    return np.maximum(relative * profile, floor), prior.correlation_km


def row_paths(scene: Scene) -> dict[str, Array]:
    """Path weights as the rows see them: per gas (row, k, level)."""
    paths: dict[str, Array] = {}
    for gas, item in scene.limb.gases.items():
        k, heights, levels = item.path.shape
        flat = item.path.transpose(1, 0, 2).reshape(heights, k * levels)
        seen = scene.rows @ flat
        paths[gas] = seen.reshape(-1, k, levels).astype(scene.limb.dtype)
    return paths


class _Evaluator:
    """The forward model along an iteration: keeps the operator while it is good."""

    def __init__(self, scene: Scene, measurement: solver.Measurement) -> None:
        self.scene = scene
        self.measurement = measurement
        self.built = (np.inf, np.inf)
        self.operator: Operator | None = None
        used = measurement.weight > 0
        mean = (measurement.transmittance * used).sum(axis=1) / used.sum(axis=1)
        self.depth = _depth(mean)

    def __call__(self, state: solver.State, with_jacobian: bool) -> solver.Linearised:
        """Evaluate at a state."""
        wanted = (float(state.shift_px.mean()), state.stretch_px)
        moved = max(abs(wanted[0] - self.built[0]), abs(wanted[1] - self.built[1]))
        if self.operator is None or moved > REBUILD_PX:
            self.operator = self.scene.operator(*wanted)
            self.built = wanted
        model = forward.pixel_fields if with_jacobian else forward.pixel_values
        fields = model(self.scene.limb, self.operator, state.vmr)
        result = solver.linearise(
            fields, self.measurement, state, self.built, self.depth
        )
        self.depth = _depth(result.baseline[:, 0])
        return result

    def truncation(self, state: solver.State) -> float:
        """Largest change of pixel transmittance by the outermost pair of orders.

        Seen at a few of the lower heights. Light falls off outwards, so that the
        orders beyond would change less.
        """
        assert self.operator is not None
        count = self.scene.limb.height_km.size
        heights = np.unique(np.linspace(0, count // 3, 4).astype(int))
        limb = forward.at_heights(self.scene.limb, heights)
        field = forward.node_transmittance(limb, state.vmr)
        return operator.truncation_residual(self.operator, field)


def _depth(brightness: Array) -> Array:
    """Aerosol optical depth from the brightness level of a row."""
    return np.clip(-np.log(np.clip(brightness, 1e-3, None)), 0.0, None)


def solve(scene: Scene) -> solver.Solution:
    """Fit one occultation.

    Raises
    ------
    RetrievalError
        The fit diverges.
    """
    measurement = measurement_of(scene)
    prior, covariance = prior_of(scene)
    layout = solver.Layout(
        scene.setup.gases, scene.limb.altitude_km.size, measurement.n_bins
    )
    paths = row_paths(scene)
    start = registration.coarse_shift(scene)
    first = solver.State(
        prior.vmr, np.full(layout.n_bins, float(start)), 0.0, prior.exponent
    )
    evaluator = _Evaluator(scene, measurement)
    state, final, data, posterior, iterations, converged = solver.gauss_newton(
        evaluator,
        lambda linear: solver.normal_equations(linear, paths, layout, measurement.bin),
        layout,
        first,
        prior,
        prior_inverse(covariance),
        scene.setup.max_iterations,
    )
    return solver.Solution(
        state=state,
        final=final,
        data_matrix=data,
        covariance=posterior,
        iterations=iterations,
        converged=converged,
        coarse_shift_px=start,
        truncation_residual=evaluator.truncation(state),
    )


def prior_inverse(covariance: Array) -> Array:
    """Inverse of the a priori covariance, scaled to unit diagonal on the way."""
    scale = 1.0 / np.sqrt(np.diag(covariance))
    inverse = np.linalg.inv(covariance * scale[:, None] * scale[None, :])
    return np.asarray(0.5 * (inverse + inverse.T) * scale[:, None] * scale[None, :])


def full_jacobian(scene: Scene, state: solver.State) -> tuple[Array, Array]:
    """Model without baseline and its derivative to every profile element.

    The slow, explicit path: the product of field and path is averaged over the field
    of view, not the factors. With a scene whose limb keeps all directions in float64
    this is the exact derivative; the fit uses the fast one.

    Returns
    -------
    model : array, shape (row, pixel)
    jacobian : array, shape (row, pixel, gas x level)
    """
    operator = scene.operator(float(state.shift_px.mean()), state.stretch_px)
    fields = forward.pixel_fields(scene.limb, operator, state.vmr)
    blocks = []
    for gas in scene.setup.gases:
        path = scene.limb.gases[gas].path
        by_height = np.einsum("pkh,khl->hpl", fields.gas[gas], path, optimize=True)
        blocks.append(np.einsum("rh,hpl->rpl", scene.rows, by_height, optimize=True))
    return scene.rows @ fields.value.T, np.concatenate(blocks, axis=2)


def baseline_values(solution: solver.Solution, position: Array) -> Array:
    """Baseline of each row at detector positions, shape (row, position)."""
    degree = solution.final.baseline.shape[1] - 1
    return solution.final.baseline @ legendre.legvander(position, degree).T
