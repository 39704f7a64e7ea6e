"""Optimal estimation of the profiles of one occultation (Rodgers 2000).

All bins are fitted jointly with one a priori, or each by itself and their information
combined with one a priori; the shift is free per bin, the baseline per spectrum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.joint import Information, Result, combine, fit, inform
from tgo_spectra.retrieval.linear import EXPONENT, SHIFT, STRETCH, Expansion
from tgo_spectra.retrieval.models.so import registration
from tgo_spectra.retrieval.models.so.evaluation import (
    Evaluator,
    expansion_of,
    measurement_of,
    row_paths,
)
from tgo_spectra.retrieval.models.so.solution import Solution, solution_of
from tgo_spectra.retrieval.regularisation import exponential_covariance
from tgo_spectra.retrieval.state import Block, StateSpace, independent

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.models.so.profile_scene import HasCommon, ProfileScene
    from tgo_spectra.retrieval.models.so.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = [
    "common_blocks",
    "gas_block",
    "prior_sigma",
    "solve",
    "solve_jointly",
    "space_of",
]


def space_of(scene: Scene) -> StateSpace:
    """Return the state of a fit of gas profiles with its a priori.

    Raises
    ------
    SetupError
        A gas is to be fitted as a logarithm and its a priori is not positive.
    """
    setup = scene.setup
    return StateSpace(
        (
            *(gas_block(scene, gas) for gas in setup.gases),
            *common_blocks(setup, scene.prepared.n_bins),
            *(
                independent(name, sigma, variable=f"fitted_{name}")
                for name, sigma in elements_of(setup).items()
            ),
        )
    )


def gas_block(scene: Scene, gas: str) -> Block:
    """Return the profile of a gas with its a priori."""
    sigma, length = prior_sigma(scene, gas)
    wish = scene.setup.prior.get(gas)
    log = wish is not None and wish.state == "log"
    altitude = scene.limb.altitude_km
    if log:
        sigma = np.full(altitude.size, scene.setup.prior[gas].relative_sigma or 1.0)
    covariance = exponential_covariance(altitude, sigma, length)
    prior = np.asarray(scene.prior_vmr[gas], dtype=float)
    return Block(gas, prior, covariance, "level", log, correlation_km=length)


def common_blocks(setup: HasCommon, n_bins: int) -> tuple[Block, ...]:
    """Return shift for each bin, stretch and aerosol exponent with their a priori."""
    register, aerosol = setup.registration, setup.aerosol
    stretch = register.stretch_sigma_px if register.stretch else 0.0
    return (
        independent(SHIFT, register.shift_sigma_px, size=n_bins, per="bin"),
        independent(STRETCH, stretch),
        independent(EXPONENT, aerosol.exponent_sigma, prior=aerosol.exponent),
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
        See `space_of`.
    """
    if scene.setup.bins == "separate":
        return _solve_separately(scene)
    return solve_jointly(scene)


def solve_jointly(scene: Scene) -> Solution:
    """Fit all bins at once."""
    space = space_of(scene)
    start, first = registration.first_guess(scene, space.prior)
    evaluator = Evaluator(scene, measurement_of(scene))
    result = fit(
        evaluator,
        expansion_of(scene, space),
        space,
        first,
        max_iterations=scene.setup.max_iterations,
        solver=scene.setup.solver,
    )
    return solution_of(result, space, start, evaluator)


def _solve_separately(scene: Scene) -> Solution:
    """Fit each bin by itself and combine what they say with one a priori.

    The bins end at different states; they are linearised once more at the combined
    one and combined again, which is then what the joint fit would give.
    """
    setup, space = scene.setup, space_of(scene)
    measurement = measurement_of(scene)
    start, first = registration.first_guess(scene, space.prior)
    xa, paths = space.pack(space.prior), row_paths(scene)
    bins = []
    for number in np.unique(measurement.bin):
        chosen = measurement.bin == number
        expand = Expansion(
            space,
            {gas: path[chosen] for gas, path in paths.items()},
            measurement.bin[chosen],
            tuple(elements_of(setup)),
        )
        bins.append((Evaluator(scene, measurement.of_rows(chosen)), expand))
    results = [
        fit(
            model,
            expand,
            space,
            first,
            max_iterations=setup.max_iterations,
            solver=setup.solver,
        )
        for model, expand in bins
    ]
    parts = [Information.of(result, space) for result in results]
    for _ in range(2):
        x, matrix, posterior = combine(parts, xa, space.constraint)
        state = space.unpack(x)
        parts = [inform(model, expand, space, state) for model, expand in bins]
    evaluator = Evaluator(scene, measurement)
    whole = Result(
        state=state,
        final=evaluator(state, False),
        data_matrix=matrix,
        covariance=posterior,
        gradient=np.sum([p.vector for p in parts], axis=0) - matrix @ (x - xa),
        vector=x,
        iterations=1 + max(result.iterations for result in results),
        converged=all(result.converged for result in results),
    )
    return solution_of(whole, space, start, evaluator)
