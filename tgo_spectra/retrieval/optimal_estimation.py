"""Optimal estimation of the profiles of one occultation (Rodgers 2000).

All bins are fitted jointly with one a priori, or each by itself and their information
combined with one a priori; the shift is free per bin, the baseline per spectrum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval import iteration, registration, solver
from tgo_spectra.retrieval.evaluation import (
    Evaluator,
    full_jacobian,
    layout_of,
    measurement_of,
    row_paths,
)
from tgo_spectra.retrieval.regularisation import (
    exponential_covariance,
    prior_inverse,
)
from tgo_spectra.retrieval.solution import Solution, solution_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.profile_scene import ProfileScene
    from tgo_spectra.retrieval.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = [
    "baseline_values",
    "full_jacobian",
    "measurement_of",
    "prior_of",
    "prior_sigma",
    "row_paths",
    "solve",
]

SHIFT_FLOOR = 1e-9
"""Variance (pixel^2) that keeps a fixed element fixed and the matrix invertible."""


def prior_of(scene: Scene) -> tuple[solver.State, Array]:
    """Return the a priori state and the covariance of the state's elements.

    Raises
    ------
    SetupError
        A gas is to be fitted as a logarithm and its a priori is not positive.
    """
    setup, altitude = scene.setup, scene.limb.altitude_km
    layout = layout_of(scene)
    covariance = np.zeros((layout.size, layout.size))
    for gas in setup.gases:
        sigma, length = prior_sigma(scene, gas)
        if gas in layout.log:
            profile = scene.prior_vmr[gas]
            if not (profile > 0.0).all():
                message = "a gas whose a priori is not positive has no logarithm"
                raise SetupError(
                    message,
                    field=f"prior.{gas}.state",
                    value=float(profile.min()),
                    rule="setup.log_of_zero",
                )
            sigma = np.full(altitude.size, setup.prior[gas].relative_sigma or 1.0)
        block = layout.gas(gas)
        covariance[block, block] = exponential_covariance(altitude, sigma, length)
    tail = tail_variances(scene, layout)
    np.fill_diagonal(covariance[layout.shift.start :, layout.shift.start :], tail)
    return prior_state(scene, layout), covariance


def tail_variances(scene: Scene, layout: solver.Layout) -> Array:
    """Return the a priori variances of shifts, stretch, exponent and extras."""
    register, aerosol = scene.setup.registration, scene.setup.aerosol
    stretch = register.stretch_sigma_px**2 if register.stretch else SHIFT_FLOOR
    tail = [register.shift_sigma_px**2] * layout.n_bins
    tail += [stretch, max(aerosol.exponent_sigma**2, SHIFT_FLOOR)]
    sigmas = {
        "ghost_amplitude": register.ghost_sigma,
        "aotf_offset": register.aotf_sigma_cm1,
    }
    tail += [sigmas[name] ** 2 for name in layout.extras]
    return np.array(tail)


def prior_state(scene: Scene, layout: solver.Layout) -> solver.State:
    """Return the a priori state: profiles, no shift, the setup's exponent."""
    return solver.State(
        dict(scene.prior_vmr),
        np.zeros(layout.n_bins),
        0.0,
        scene.setup.aerosol.exponent,
        (0.0,) * len(layout.extras),
    )


def prior_sigma(scene: ProfileScene, gas: str) -> tuple[Array, float]:
    """Return the a priori 1-sigma on the levels and the correlation length, km."""
    from tgo_spectra.retrieval.setup import Prior

    prior = scene.setup.prior.get(gas) or Prior()
    profile = scene.prior_vmr[gas]
    if prior.sigma is not None:
        return np.full(profile.size, prior.sigma), prior.correlation_km
    relative = 1.0 if prior.relative_sigma is None else prior.relative_sigma
    floor = max(1e-3 * float(profile.max()), 1e-15)
    return np.maximum(relative * profile, floor), prior.correlation_km


def solve(scene: Scene) -> Solution:
    """Fit one occultation.

    Raises
    ------
    RetrievalError
        The fit diverges.
    SetupError
        See `prior_of`.
    """
    prior, covariance = prior_of(scene)
    constraint = prior_inverse(covariance, layout_of(scene))
    if scene.setup.bins == "separate":
        return _solve_separately(scene, prior, constraint)
    return solve_jointly(scene, prior, constraint)


def solve_jointly(scene: Scene, prior: solver.State, constraint: Array) -> Solution:
    """Fit all bins at once under a constraint."""
    measurement, layout = measurement_of(scene), layout_of(scene)
    paths = row_paths(scene)
    start, first = registration.first_guess(scene, prior)
    evaluator = Evaluator(scene, measurement, layout)
    result = iteration.ITERATIONS[scene.setup.solver](
        evaluator,
        lambda linear: solver.normal_equations(linear, paths, layout, measurement.bin),
        layout,
        first,
        prior,
        constraint,
        scene.setup.max_iterations,
    )
    return solution_of(result, layout, start, evaluator)


def _solve_separately(scene: Scene, prior: solver.State, constraint: Array) -> Solution:
    """Fit each bin by itself and combine what they say with one a priori.

    The bins end at different states; they are linearised once more at the combined
    one and combined again, which is then what the joint fit would give.
    """
    measurement, layout = measurement_of(scene), layout_of(scene)
    start, first = registration.first_guess(scene, prior)
    xa = layout.pack(prior)
    bins = [_Bin(scene, layout, int(b)) for b in np.unique(measurement.bin)]
    results = [
        iteration.ITERATIONS[scene.setup.solver](
            one.evaluator, one.expand, layout, first, prior, constraint,
            scene.setup.max_iterations,
        )
        for one in bins
    ]  # fmt: skip
    parts = [iteration.information(result, xa) for result in results]
    x, matrix, posterior = iteration.combine(parts, xa, constraint)
    state = layout.unpack(x)
    parts = [
        iteration.inform(one.evaluator, one.expand, layout, state, prior)
        for one in bins
    ]
    x, matrix, posterior = iteration.combine(parts, xa, constraint)
    evaluator = Evaluator(scene, measurement, layout)
    whole = iteration.Result(
        state=layout.unpack(x),
        final=evaluator(layout.unpack(x), False),
        data_matrix=matrix,
        covariance=posterior,
        gradient=np.zeros(layout.size),
        vector=x,
        step=np.zeros(layout.size),
        iterations=1 + max(result.iterations for result in results),
        converged=all(result.converged for result in results),
    )
    return solution_of(whole, layout, start, evaluator)


class _Bin:
    """One bin's rows: their evaluator and the expansion to the whole state."""

    def __init__(self, scene: Scene, layout: solver.Layout, number: int) -> None:
        measurement = measurement_of(scene)
        chosen = measurement.bin == number
        self.measurement = measurement.of_rows(chosen)
        self.layout = layout
        self.paths = {gas: path[chosen] for gas, path in row_paths(scene).items()}
        self.evaluator = Evaluator(scene, self.measurement, layout)

    def expand(self, linear: solver.Linearised) -> tuple[Array, Array]:
        """Return the bin's normal equations."""
        return solver.normal_equations(
            linear, self.paths, self.layout, self.measurement.bin
        )


def baseline_values(solution: Solution, position: Array) -> Array:
    """Baseline of each row at detector positions, shape (row, position)."""
    degree = solution.final.baseline.shape[1] - 1
    return solution.final.baseline @ legendre.legvander(position, degree).T
