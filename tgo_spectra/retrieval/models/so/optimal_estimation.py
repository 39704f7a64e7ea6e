"""Optimal estimation of the profiles of one occultation (Rodgers 2000).

All bins are fitted jointly with one a priori, or each by itself and their information
combined with one a priori; the shift is free per bin, the baseline per spectrum.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval.elements import elements_of
from tgo_spectra.retrieval.end import first_waves
from tgo_spectra.retrieval.given import common_blocks, prior_sigma
from tgo_spectra.retrieval.joint import Information, Result, combine, fit, inform
from tgo_spectra.retrieval.models.so import registration, sources
from tgo_spectra.retrieval.models.so.evaluation import (
    Evaluator,
    expansion_of,
    measurement_of,
)
from tgo_spectra.retrieval.models.so.scene import of_rows
from tgo_spectra.retrieval.models.so.solution import Solution, solution_of
from tgo_spectra.retrieval.state import Block, StateSpace, independent, profile

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]

__all__ = ["anchor_of", "gas_block", "settled", "solve", "solve_jointly", "space_of"]


FAR_AIR = {
    sources.TEMPERATURE: 5.0,
    sources.PRESSURE: 0.15,
    sources.POINTING: 1.0,
    sources.BROADENING: 0.2,
}
"""The same of the air, K and 1, of the pointing, km, and of the widths of lines, 1,
where the spectra tell of it:
with a temperature 7 K off, and a step from there, methane of a layer moved by 50 pptv
for what the step leaves out."""

WITHIN = {sources.PRESSURE: (-1.5, 1.5), sources.BROADENING: (-0.8, 4.0)}
"""Logarithm of a factor of pressure, and relative change of the widths of lines, within
which derivatives are taken anew: ten and more of their a priori, and a width is
positive."""

WORSE = 1.1
"""Times the chi-square before, beyond which the step without waves is not taken."""

FIRST_STEPS = 3
"""Linearisations of gases and shifts alone before derivatives are taken."""

NEAR = 1.0
"""Their rule of convergence, see `LIMIT` of `tgo_spectra.retrieval.solve`: the step
that is left is taken."""

HALVED = 3
"""How often a step to where derivatives are taken anew is halved at most."""

ANCHORS, STEPS = 6, 3
"""How often derivatives are taken anew at most, and linearisations before they are: to
follow them for longer leads away from where they hold."""


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
            *sources.blocks_of(scene),
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
    return profile(gas, altitude, scene.prior_vmr[gas], sigma, length, log=log)


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
    guess = registration.first_guess(scene, space.prior)

    def once(evaluator: Evaluator, at: State, steps: int) -> Result[Linearised]:
        return fit(
            evaluator,
            expansion_of(evaluator.scene, space),
            space,
            at,
            max_iterations=steps,
            solver=scene.setup.solver,
        )

    result, evaluator = settled(scene, space, guess.state, once)
    return solution_of(result, space, guess, evaluator, space.constraint)


def settled(
    scene: Scene,
    space: StateSpace,
    first: State,
    fit_once: Callable[[Evaluator, State, int], Result[Linearised]],
) -> tuple[Result[Linearised], Evaluator]:
    """Fit, and again where elements ended far from where their derivatives were taken.

    Parameters
    ----------
    scene : Scene
    space : StateSpace
    first : State
    fit_once : callable
        (model, where to start, linearisations) to where it ended.
    """
    most = scene.setup.max_iterations
    evaluator = Evaluator(scene, measurement_of(scene))
    first = _gases_first(evaluator, first)
    known = first
    if sources.wave_sigma(scene.setup) > 0.0:
        evaluator, first = _without_waves(evaluator, space, first)
        scene = evaluator.scene
    result = fit_once(evaluator, first, min(STEPS, most))
    iterations, lowest = result.iterations, np.nan
    begun: State = space.prior
    for number in range(ANCHORS):
        # derivatives from elsewhere may be why it did not settle
        if result.converged and not _is_far(space, begun, result, evaluator):
            break
        if not number:  # of the air as given
            lowest = _cost(evaluator, space, known)
        begun, evaluator, lowest = _moved_on(
            evaluator, scene, space, known, result.state, lowest
        )
        known = begun
        steps = most if number + 1 == ANCHORS else min(STEPS, most)
        result = fit_once(evaluator, begun, steps)
        iterations += result.iterations
    return replace(result, iterations=iterations), evaluator


def _moved_on(
    evaluator: Evaluator,
    scene: Scene,
    space: StateSpace,
    known: State,
    found: State,
    lowest: float,
) -> tuple[State, Evaluator, float]:
    """Return where to go on, the model with derivatives to be taken there, its cost.

    Where a fit ended, or on the way there, if what its derivatives had promised is not
    so: the cost with the air itself moved is to fall.
    """
    start, step = space.pack(known), space.pack(found) - space.pack(known)
    for halved in range(HALVED + 1):
        state = space.unpack(start + step / 2.0**halved)
        anchor = anchor_of(state)
        there = _like(evaluator, sources.anchored(scene, anchor), anchor)
        try:
            there.fields(state, True)  # with which the fit begins
            cost = _cost(there, space, state)
        except RetrievalError:
            cost = np.inf
        if cost < lowest:
            break
    return state, there, cost


def _cost(evaluator: Evaluator, space: StateSpace, state: State) -> float:
    """Return chi-square and what the a priori adds."""
    off = space.pack(state) - space.pack(space.prior)
    return evaluator(state, False).chi_square + float(off @ space.constraint @ off)


def _without_waves(
    evaluator: Evaluator, space: StateSpace, first: State
) -> tuple[Evaluator, State]:
    """Free the spectra of waves in the baseline; go on from where that leads.

    Derivatives are those at the state from which it starts. Few spectra say so little
    that this one step may lead anywhere: then it is not taken.
    """
    scene = evaluator.scene
    prepared = scene.prepared
    seen = evaluator.whitened(first)
    ended, waves, factor = first_waves(
        seen,
        expansion_of(scene, space),
        first,
        prepared.altitude_km,
        scene.limb.altitude_km,
        space.constraint,
        sources.wave_sigma(scene.setup),
    )
    free = replace(prepared, transmittance=prepared.transmittance / factor)
    scene = replace(scene, prepared=free, waves=waves)
    other = _like(evaluator, scene)
    other.derivatives = evaluator.derivatives
    try:
        other.fields(ended, True)  # from here the fit goes on
        left = other(ended, False).chi_square
    except RetrievalError:
        return evaluator, first
    if not left < WORSE * float((seen.residual**2).sum()):
        return evaluator, first
    return other, ended


def anchor_of(state: State) -> State:
    """Return where derivatives to the air are taken anew: what was found, in limits.

    What lies beyond stays in the state, and is flagged as far from its a priori.
    """
    found = {name: state[name] for name in sources.ANCHORED if name in state}
    for name in WITHIN.keys() & found:
        found[name] = np.clip(found[name], *WITHIN[name])
    return found


def _like(evaluator: Evaluator, scene: Scene, anchor: State | None = None) -> Evaluator:
    """Return a model that goes on from another."""
    other = Evaluator(scene, measurement_of(scene), anchor or {})
    other.follow(evaluator)
    return other


def _gases_first(evaluator: Evaluator, first: State) -> State:
    """Return a state near the end of the fit, where derivatives are to be taken.

    That of a fit of gases and shifts alone, after a few steps: the derivative to a
    temperature is in proportion to how much of a gas there is. The model takes over
    the aerosol that is found.
    """
    scene = evaluator.scene
    if not sources.known_blocks(scene.setup):
        return first
    plain = scene.setup.replace(systematics={"in_fit": False})
    alone = replace(scene, setup=plain)
    space = space_of(alone)
    model = Evaluator(alone, measurement_of(alone))
    try:
        found = fit(
            model,
            expansion_of(alone, space),
            space,
            {name: first[name] for name in space.prior},
            max_iterations=FIRST_STEPS,
            solver=plain.solver,
            limit=NEAR,
        )
        state = {**first, **found.state}
        # an instrument that is another may lead to where there are no derivatives
        forward.node_transmittance(scene.limb.sparse, state)
    except RetrievalError:
        return first
    evaluator.follow(model)
    return state


def _is_far(
    space: StateSpace, begun: State, ended: Result[Linearised], model: Evaluator
) -> bool:
    """Tell whether an element has moved far from where its derivative was taken."""
    taken, reached = (
        [float(state[name][0]) for name in model.elements]
        for state in (begun, ended.state)
    )
    if model.is_far(model.sides[0] if model.sides else taken, reached):
        return True
    left = np.sqrt(np.diag(ended.covariance))
    for block in space.blocks:
        if block.name in FAR_AIR:
            off = np.abs(ended.state[block.name] - begun[block.name])
            told = left[space[block.name]] < 0.5 * block.sigma
            if (told & (off > FAR_AIR[block.name])).any():
                return True
    return False


def _solve_separately(scene: Scene) -> Solution:
    """Fit each bin by itself and combine what they say with one a priori."""
    space = space_of(scene)
    guess = registration.first_guess(scene, space.prior)
    result, evaluator = settled(
        scene,
        space,
        guess.state,
        lambda model, at, steps: _combined(model, space, at, steps),
    )
    return solution_of(result, space, guess, evaluator, space.constraint)


def _combined(
    whole: Evaluator, space: StateSpace, guess: State, steps: int
) -> Result[Linearised]:
    """Fit each bin by itself and combine.

    The bins end at different states; they are linearised once more at the combined
    one and combined again, which is then what the joint fit would give.
    """
    scene, setup, xa = whole.scene, whole.scene.setup, space.pack(space.prior)
    bins = []
    for number in np.unique(scene.prepared.bin):
        one = of_rows(scene, scene.prepared.bin == number)
        model = Evaluator(one, measurement_of(one), whole.anchor)
        bins.append((model, expansion_of(one, space)))
    results = [
        fit(
            model,
            expand,
            space,
            guess,
            max_iterations=steps,
            solver=setup.solver,
        )
        for model, expand in bins
    ]
    parts = [Information.of(result, space) for result in results]
    for _ in range(2):
        x, matrix, posterior = combine(parts, xa, space.constraint)
        state = space.unpack(x)
        parts = [inform(model, expand, space, state) for model, expand in bins]
    return Result(
        state=state,
        model=whole,
        data_matrix=matrix,
        covariance=posterior,
        gradient=np.sum([p.vector for p in parts], axis=0) - matrix @ (x - xa),
        vector=x,
        iterations=1 + max(result.iterations for result in results),
        converged=all(result.converged for result in results),
    )
