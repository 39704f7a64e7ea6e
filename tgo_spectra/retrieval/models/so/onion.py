"""Onion peeling: profiles shell by shell from the top down, without a priori.

The atmosphere is cut in shells. The mole fraction in the middle of one follows from the
spectra whose line of sight ends in it, given the others; shifts, stretch and aerosol
exponent follow from all spectra. These are as many equations as unknowns. They are
solved together for the spectra themselves, iterated like any fit: strong lines need not
grow in proportion to a column, and noise is propagated exactly. The averaging kernel is
the identity: nothing smooths the profile, and noise grows where shells are thin.

Between the middles the profile follows the reference and, from the second pass on, is
exponential through what was found before. Values at the edges of shells instead would
let noise grow from shell to shell: the level above the tangent point would weigh more
than the one below it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.numerics.matrices import steady_product
from tgo_spectra.retrieval.conclusion import conclude_plainly
from tgo_spectra.retrieval.diagnostics import joined
from tgo_spectra.retrieval.given import prior_profile, prior_sigma
from tgo_spectra.retrieval.linear import Expansion
from tgo_spectra.retrieval.models.so import (
    optimal_estimation,
    registration,
    scene,
    systematics,
)
from tgo_spectra.retrieval.models.so.evaluation import (
    Evaluator,
    measurement_of,
    row_paths,
)
from tgo_spectra.retrieval.models.so.solution import Solution, assembled, build_scene
from tgo_spectra.retrieval.solve import DAMPING, Evaluation, descend

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.linear import Linearised
    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.setup import RetrievalSetup
    from tgo_spectra.retrieval.spectra import Whitened
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "Equations",
    "Shells",
    "own_gradient",
    "peeled",
    "profiles",
    "shells",
    "systematic_errors",
]

FREE_SIGMAS = 10.0
"""A shell is held at its a priori with this many a priori sigmas: felt only where the
spectra say nothing of it, and where noise would drive strong lines of other orders out
of all bounds. The averaging kernel tells."""

JACOBIAN_RANK = 4
"""Directions of each gas in the Jacobian, as in a fit."""

ALLOWED_RISE = 0.02
"""Chi-square need not fall in each step of what is no least-squares fit."""


@dataclass(frozen=True)
class Shells:
    """A scene whose levels are the middles of shells, and which spectra they have.

    Attributes
    ----------
    scene : Scene
        Its mole fractions are those in the middles.
    layer : array of int, shape (row,)
        Shell in which each row's line of sight ends.
    hats : array, shape (point, shell)
        Linear interpolation from the middles to the quadrature points.
    shape : dict of array, shape (point,)
        Mole fraction relative to that of the linear interpolation.
    """

    scene: Scene
    layer: IntArray
    hats: Array
    shape: Mapping[str, Array]

    @functools.cached_property
    def paths(self) -> dict[str, Array]:
        """Path weights per gas as the rows see them, (row, k, shell)."""
        return row_paths(self.scene)

    def air_of(self, like: Scene, air: xr.Dataset) -> Scene:
        """Return the scene with another atmosphere on the quadrature points."""
        plain = scene.with_air(like, air, jacobian_rank=1)
        limb = _in_shells(plain.limb, like.limb.altitude_km, self.hats, self.shape)
        return replace(plain, limb=limb)

    def columns(self, gas: str) -> Array:
        """Slant column of each row for a mole fraction of one per shell, cm-2."""
        limb = self.scene.limb
        seen = steady_product(limb.air_cm2 * self.shape[gas], self.hats)
        return np.asarray(self.scene.rows @ seen)


@dataclass(frozen=True)
class Equations:
    """What determines the state, at its end.

    The ``data``'s part of the matrix; ``held``: what holds each element beside them,
    (state,); ``covariance``: of what the noise puts in the right-hand side. (state,
    state).
    """

    data: Array
    held: Array
    covariance: Array

    @property
    def matrix(self) -> Array:
        """Matrix of the equations."""
        return np.asarray(self.data + np.diag(self.held))

    def information(self) -> tuple[Array, Array]:
        """Return what stands for K^T Se^-1 K, and for its constrained inverse.

        With M the data's part of the matrix A and B the covariance they are M^T B^-1 M
        and A^-1 B M^-T: their product is the averaging kernel A^-1 M, and from there
        the noise is A^-1 B A^-T, as for a least-squares fit.
        """
        scale = 1.0 / np.sqrt(np.diag(self.covariance))
        square = scale[:, None] * scale
        m, b = self.data * square, self.covariance * square
        a = self.matrix * square
        left = np.linalg.solve(a, b)
        inverse = np.linalg.solve(m, left.T).T
        data = m.T @ np.linalg.solve(b, m)
        return data / square, np.asarray(inverse * square)

    def noise_sigma(self) -> Array:
        """Return the standard error of the solution by noise, (state,)."""
        gain = np.linalg.inv(self.matrix)
        return np.asarray(np.sqrt(((gain @ self.covariance) * gain).sum(axis=1)))


def profiles(
    level1: xr.Dataset, setup: RetrievalSetup, atmosphere: xr.Dataset
) -> xr.Dataset:
    """Peel all gases of a product; parameters and errors as in `retrieve`."""
    if level1.chunks:
        level1 = level1.compute()
    if setup.method != "onion":
        setup = setup.replace(method="onion")
    whole, record = build_scene(level1, setup, atmosphere)
    parts, solution, _ = peeled(whole, atmosphere)
    result = assembled(level1, parts.scene, solution, record)
    rows = parts.scene.prepared.rows
    for gas in setup.gases:
        path = parts.columns(gas)
        block = solution.space[gas]
        variance = (path @ solution.covariance[block, block] * path).sum(axis=1)
        found = result[f"{gas}_slant_column"]
        found.values[rows] = path @ solution.state[gas]
        result[f"{gas}_slant_column_error"].values[rows] = np.sqrt(variance)
        # of the a priori that the setup states; a shell is held at many of these
        sigma, _ = prior_sigma(parts.scene, gas)
        result[f"{gas}_vmr_apriori"].attrs["sigma_maximum"] = float(sigma.max())
    return result


def systematic_errors(
    seen: Whitened,
    parts: Shells,
    evaluator: Evaluator,
    space: StateSpace,
    state: State,
    gain: Array,
) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, Array]]]:
    """Return the error of every gas by every source, each (shell,), and of its amount.

    ``gain``: inverse of the equations' matrix; see
    `tgo_spectra.retrieval.models.so.systematics.changes`.
    """
    found: dict[str, dict[str, Array]] = {gas: {} for gas in space.names("level")}
    amounts: dict[str, dict[str, Array]] = {gas: {} for gas in found}
    denser = systematics.denser(evaluator.scene)
    every = systematics.changes(evaluator, state, parts.air_of)
    for source, ones in every.items():
        responses = []
        for change in ones:
            whitened = seen.columns(change[:, None, :])[:, 0]
            products = np.einsum("rfp,rp->rf", seen.fields, whitened)
            responses.append(gain @ own_gradient(products, parts, space))
        together = np.stack(responses, axis=1)
        for gas in found:
            own = together[space[gas]]
            found[gas][source] = joined(own)
            if source in denser:
                scaled = state[gas][:, None] * np.stack(denser[source], axis=1)
                amounts[gas][source] = joined(own - scaled)
    return found, amounts


def peeled(whole: Scene, atmosphere: xr.Dataset) -> tuple[Shells, Solution, Array]:
    """Peel one occultation.

    Parameters
    ----------
    whole : Scene
        With the levels of the setup's grid.
    atmosphere : Dataset

    Returns
    -------
    parts : Shells
    solution : Solution
        See `Equations.information`.
    gain : array, shape (state, state)
        Inverse of the equations' matrix.

    Raises
    ------
    RetrievalError
        The state runs away.
    """
    setup = whole.setup
    shaped = [gas for gas in setup.gases if np.any(whole.prior_vmr[gas])]
    shapes = {gas: prior_profile(gas, setup, whole.air) for gas in shaped}
    iterations = 0
    state: State | None = None
    for number in range(setup.onion.passes if shaped else 1):
        parts = shells(whole, atmosphere, shapes)
        space = _space_of(parts)
        if state is None:
            guess = registration.first_guess(parts.scene, space.prior)
            state = guess.state
        peeling = _Peeling(parts, space)
        held = np.diag(space.covariance) ** -1.0
        found = descend(
            peeling,
            space.pack(state)[None],
            space.pack(space.prior),
            np.diag(held),
            max_iterations=setup.max_iterations,
            damping=DAMPING[setup.solver],
            rise=ALLOWED_RISE,
        )
        state = space.unpack(found.vector[0])
        iterations += int(found.iterations[0])
        assert found.final.spread is not None
        equations = Equations(found.final.matrix[0], held, found.final.spread[0])
        if number + 1 < setup.onion.passes:
            sigma = equations.noise_sigma()
            for gas in shaped:
                shapes[gas] = _shape_of(
                    whole.points_km,
                    parts.scene.limb.altitude_km,
                    state[gas],
                    sigma[space[gas]],
                )
    assert state is not None  # there is at least one pass
    data, covariance = equations.information()
    gain = np.linalg.inv(equations.matrix)
    evaluator = peeling.evaluator
    end = conclude_plainly(
        evaluator.whitened(state),
        space,
        space.pack(state),
        data,
        covariance,
        np.diag(held),
        evaluator.measurement.bin,
        whole.prepared.altitude_km,
        iterations,
        functools.partial(
            systematic_errors,
            parts=parts,
            evaluator=evaluator,
            space=space,
            state=state,
            gain=gain,
        ),
        converged=bool(found.converged[0]),
        at_edge=guess.at_edge,
    )
    solution = Solution(
        end=end,
        coarse_shift_px=guess.shift_px,
        truncation_residual=evaluator.truncation(state),
        evaluator=evaluator,
        smoothing_known=False,
        choices={
            "onion_layer_km": setup.onion.layer_km,
            "onion_passes": setup.onion.passes,
        },
    )
    return parts, solution, gain


def shells(whole: Scene, atmosphere: xr.Dataset, shapes: Mapping[str, Array]) -> Shells:
    """Cut a scene's atmosphere in shells, none without a spectrum.

    Parameters
    ----------
    whole : Scene
    atmosphere : Dataset
        On any altitudes.
    shapes : dict of array, shape (point,)
        Profiles that the mole fraction follows between the middles; default: constant.
    """
    setup, points = whole.setup, whole.points_km
    step = setup.onion.layer_km
    altitude = whole.prepared.altitude_km
    edges = np.unique(np.floor(altitude / step)) * step
    layer = np.searchsorted(edges, altitude, side="right") - 1
    middle = edges + 0.5 * np.append(np.diff(edges), step)
    hats = forward.hat_matrix(middle, points)
    shape = {}
    for gas in setup.gases:
        profile = np.asarray(shapes.get(gas, np.ones(points.size)))
        profile = np.maximum(profile, 1e-6 * profile.max())
        shape[gas] = profile / (hats @ np.interp(middle, points, profile))
    levels = atmospheres.on_altitudes(atmosphere, middle)
    prior = {gas: prior_profile(gas, setup, levels) for gas in setup.gases}
    limb = _in_shells(whole.limb, middle, hats, shape)
    cut = replace(whole, limb=limb, levels=levels, prior_vmr=prior)
    return Shells(cut, layer, hats, shape)


def _in_shells(
    limb: forward.Limb, middle_km: Array, hats: Array, shape: Mapping[str, Array]
) -> forward.Limb:
    """Return a limb whose mole fractions are given per shell."""
    gases = {}
    for gas, path in limb.gases.items():
        coefficients = path.coefficients * shape[gas]
        _, vectors = np.linalg.eigh(steady_product(coefficients, coefficients.T))
        q = vectors[:, : -JACOBIAN_RANK - 1 : -1]
        along = steady_product(q.T, coefficients)
        stacked = (limb.air_cm2[None] * along[:, None, :]).reshape(-1, len(hats))
        seen = steady_product(stacked, hats)
        turned = steady_product(path.turn.T, q).astype(path.vectors.dtype)
        gases[gas] = replace(
            path,
            coefficients=coefficients,
            directions=steady_product(path.vectors, turned),
            path=seen.reshape(along.shape[0], -1, middle_km.size),
        )
    return replace(
        limb,
        altitude_km=middle_km,
        gases=gases,
        hats=hats,
    )


def _shape_of(points_km: Array, middle_km: Array, vmr: Array, sigma: Array) -> Array:
    """Exponential between what was found; flat where noise prevails."""
    floor = np.maximum(sigma, 1e-3 * max(float(vmr.max()), 1e-15))
    return np.exp(np.interp(points_km, middle_km, np.log(np.maximum(vmr, floor))))


def _space_of(parts: Shells) -> StateSpace:
    """Return the mole fractions of the shells, each by itself, and what rows share."""
    cut = parts.scene
    space = optimal_estimation.space_of(cut)
    gases = []
    for gas in cut.setup.gases:
        sigma, _ = prior_sigma(cut, gas)
        loose = np.diag((FREE_SIGMAS * sigma) ** 2)
        gases.append(replace(space.block(gas), covariance=loose, log=False))
    others = (block for block in space.blocks if block.per != "level")
    return replace(space, blocks=(*gases, *others))


class _Peeling:
    """The equations of the shells of one scene, at one state after another."""

    def __init__(self, parts: Shells, space: StateSpace) -> None:
        self.parts, self.space = parts, space
        self.evaluator = Evaluator(parts.scene, measurement_of(parts.scene))
        self.own = [
            (_own(space, number), *_expansion_of(parts, space, number))
            for number in range(parts.scene.limb.altitude_km.size)
        ]

    def __call__(self, items: IntArray, vectors: Array) -> Evaluation:
        """Evaluate; where the model leaves its range a state is refused."""
        size = self.space.size
        beside = np.empty(1, dtype=object)
        matrix, covariance = np.zeros((2, 1, size, size))
        right = np.zeros((1, size))
        try:
            linear = self.evaluator(self.space.unpack(vectors[0]), True)
        except RetrievalError:
            chi = np.array([np.inf])
            return Evaluation(chi, matrix, right, {"linear": beside}, covariance)
        beside[0] = linear
        tail = slice(self.space.profiles.stop, size)
        m, v, s = matrix[0], right[0], covariance[0]
        for own, rows, expand in self.own:
            whole, gradient = expand(_of_rows(linear, rows))
            m[own], v[own] = whole[own], gradient[own]
            m[tail] += whole[tail]
            v[tail] += gradient[tail]
            s[np.ix_(own, own)] = whole[np.ix_(own, own)]
            s[own, tail] = whole[own, tail]
            s[tail, own] = whole[tail, own]
            s[tail, tail] += whole[tail, tail]
        chi = np.array([linear.chi_square])
        return Evaluation(chi, matrix, right, {"linear": beside}, covariance)


def own_gradient(products: Array, parts: Shells, space: StateSpace) -> Array:
    """Right-hand side of the equations by products with the fields, (row, field)."""
    result = np.zeros(space.size)
    tail = slice(space.profiles.stop, space.size)
    for number in range(parts.scene.limb.altitude_km.size):
        rows, expand = _expansion_of(parts, space, number)
        gradient = expand.left(products[rows, :, None])[:, 0]
        own = _own(space, number)
        result[own] = gradient[own]
        result[tail] += gradient[tail]
    return result


def _expansion_of(
    parts: Shells, space: StateSpace, number: int
) -> tuple[IntArray, Expansion]:
    """Return the rows that end in a shell, and how their fields become elements."""
    cut = parts.scene
    rows = np.flatnonzero(parts.layer == number)
    paths = {gas: path[rows] for gas, path in parts.paths.items()}
    return rows, Expansion(space, paths, cut.prepared.bin[rows])


def _own(space: StateSpace, number: int) -> IntArray:
    """Elements of one shell."""
    return np.array([space[gas].start + number for gas in space.names("level")])


def _of_rows(linear: Linearised, rows: IntArray) -> Linearised:
    return replace(linear, gram=linear.gram[rows], gradient=linear.gradient[rows])
