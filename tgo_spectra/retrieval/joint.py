"""The joint fit of an occultation: one model, one state, one constraint."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.solve import DAMPING, Evaluation, descend, invert, solved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Information", "Result", "Seen", "combine", "fit", "in_elements", "inform"]

EDGE = 4
"""Evaluations among the last of which one is refused: the fit ended at the edge."""


class Seen(Protocol):
    """A model at one state, whatever else it holds."""

    @property
    def chi_square(self) -> float:
        """Of the spectra, with nuisances at their best."""


S = TypeVar("S", bound=Seen)


@dataclass(frozen=True)
class Result(Generic[S]):
    """Where the joint fit of an occultation ended.

    ``model`` was fitted, ``final`` is it at ``state``. ``vector``: where it was last
    linearised, within what the rule of convergence leaves of the state;
    ``data_matrix`` K^T Se^-1 K, ``covariance`` (K^T Se^-1 K + R)^-1 and ``gradient``
    K^T Se^-1 (y - F) there, in the elements of the vector.
    """

    state: State
    model: Callable[[State, bool], S]
    data_matrix: Array
    covariance: Array
    gradient: Array
    vector: Array
    iterations: int
    converged: bool

    @functools.cached_property
    def final(self) -> S:
        """The model at the state, without Jacobian."""
        return self.model(self.state, False)


def fit(
    model: Callable[[State, bool], S],
    expand: Callable[[S], tuple[Array, Array]],
    space: StateSpace,
    first: State,
    *,
    max_iterations: int,
    solver: str = "gauss-newton",
    constraint: Array | None = None,
    limit: float | None = None,
) -> Result[S]:
    """Fit one occultation jointly.

    Parameters
    ----------
    model : callable
        (state, with Jacobian) to what is `Seen` there.
    expand : callable
        What is seen to K^T Se^-1 K and K^T Se^-1 (y - F), derivatives to the
        quantities; those to logarithms are made here.
    space : StateSpace
    first : State
    max_iterations : int
    solver : str
        Key of `DAMPING`.
    constraint : array, shape (element, element), optional
        R; default: the inverse a priori covariance of the space.
    limit : float, optional
        As for `descend`.

    Raises
    ------
    RetrievalError
        ``fit.diverged``: no step lowers the cost; and what the model says of the first
        state.
    """
    evaluate = _Joint(model, expand, space)
    found = descend(
        evaluate,
        space.pack(first)[None],
        space.pack(space.prior),
        space.constraint if constraint is None else constraint,
        max_iterations=max_iterations,
        damping=DAMPING[solver],
        scale=space.constraint,
        limit=limit,
    )
    iterations, converged = int(found.iterations[0]), bool(found.converged[0])
    cost = float(found.final.chi_square[0])
    if not converged and (iterations < max_iterations or evaluate.at_the_edge):
        raise RetrievalError(
            f"no step lowers chi-square from {cost:.6g}, or all lead to where there is "
            f"no such atmosphere: the model does not fit this product",
            value=cost,
            rule="fit.diverged",
        )
    # the last step was small enough to take the derivatives with it, not the residuals
    return Result(
        state=space.unpack(found.vector[0]),
        model=model,
        data_matrix=found.final.matrix[0],
        covariance=found.covariance[0],
        gradient=found.final.gradient[0],
        vector=found.point[0],
        iterations=iterations,
        converged=converged,
    )


class _Joint(Generic[S]):
    """A batch of one: the joint fit of an occultation."""

    def __init__(
        self,
        model: Callable[[State, bool], S],
        expand: Callable[[S], tuple[Array, Array]],
        space: StateSpace,
    ) -> None:
        self.model, self.expand, self.space = model, expand, space
        self.refused: list[bool] = []

    @property
    def at_the_edge(self) -> bool:
        """Whether the last steps led to states that the model refuses."""
        return any(self.refused[-EDGE:])

    def __call__(self, items: IntArray, vectors: Array) -> Evaluation:
        """Evaluate; a state that the model refuses is infinitely unlikely."""
        size = self.space.size
        beside = np.empty(1, dtype=object)
        try:
            linear = self.model(self.space.unpack(vectors[0]), True)
        except RetrievalError:
            if not self.refused:
                raise
            self.refused.append(True)
            nothing = np.zeros((1, size, size))
            return Evaluation(
                np.array([np.inf]), nothing, nothing[:, 0], {"linear": beside}
            )
        self.refused.append(False)
        beside[0] = linear
        matrix, gradient = in_elements(self.expand(linear), self.space, vectors[0])
        return Evaluation(
            np.array([linear.chi_square]),
            np.asarray(matrix)[None].copy(),
            np.asarray(gradient)[None].copy(),
            {"linear": beside},
        )


def in_elements(
    equations: tuple[Array, Array], space: StateSpace, vector: Array
) -> tuple[Array, Array]:
    """Take normal equations in the quantities to the elements of the state."""
    matrix, gradient = equations
    if not any(block.log for block in space.blocks):
        return matrix, gradient
    slope = space.slope(vector)
    return matrix * slope[:, None] * slope, gradient * slope


@dataclass(frozen=True)
class Information:
    """What some measurements say of the state, without any prior.

    ``matrix`` K^T Se^-1 K; ``vector`` K^T Se^-1 (y - F(x) + K (x - x_a)).
    """

    matrix: Array
    vector: Array

    @classmethod
    def of(cls, result: Result[S], space: StateSpace) -> Information:
        """Take what the data of a fit say, without the constraint it was made with."""
        off = result.vector - space.pack(space.prior)
        return cls(result.data_matrix, result.gradient + result.data_matrix @ off)


def inform(
    model: Callable[[State, bool], S],
    expand: Callable[[S], tuple[Array, Array]],
    space: StateSpace,
    state: State,
) -> Information:
    """Return what some measurements say, linearised at a state; see `fit`."""
    x = space.pack(state)
    matrix, gradient = in_elements(expand(model(state, True)), space, x)
    return Information(matrix, gradient + matrix @ (x - space.pack(space.prior)))


def combine(
    parts: Sequence[Information], prior_vector: Array, constraint: Array
) -> tuple[Array, Array, Array]:
    """Add what several measurements say and apply one constraint.

    Never the average of results that each hold the prior: it would count once for
    each.

    Parameters
    ----------
    parts : sequence of Information
        With the same ``x_a``.
    prior_vector : array, shape (element,)
        x_a.
    constraint : array, shape (element, element)
        R.

    Returns
    -------
    state : array, shape (element,)
    data_matrix : array, shape (element, element)
        Sum of the parts'.
    covariance : array, shape (element, element)
        (data_matrix + R)^-1.
    """
    matrix = np.sum([part.matrix for part in parts], axis=0)
    vector = np.sum([part.vector for part in parts], axis=0)
    covariance = invert(matrix + constraint)
    return prior_vector + solved(matrix + constraint, vector), matrix, covariance
