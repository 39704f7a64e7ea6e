"""One mole fraction for a whole layer, estimated with everything that the fit knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.retrieval.solve import solved_positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tgo_spectra.retrieval.state import StateSpace

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["Layer", "LayerEstimate", "of_layer"]

LOOSE = 1e3
"""A priori of the layer's mole fraction in units of the levels': none to speak of."""


@dataclass(frozen=True)
class Layer:
    """Estimate of one mole fraction for all levels of a layer.

    Attributes
    ----------
    value : float
    elements : array of int, shape (level,)
        Of the levels inside.
    weights : array, shape (element,)
        The estimate is ``weights @ K^T Se^-1 (y - F(x) + K (x - x_a))``, less what the
        a priori has.
    kernel : array, shape (element,)
        Its derivative to the true state; its sum over the layer's levels is one. What
        it has elsewhere is smoothing, and errors by known sources.
    undetermined : float
        Squared error by what no line says: next to nothing, or without bounds.
    """

    value: float
    elements: IntArray
    weights: Array
    kernel: Array
    undetermined: float


@dataclass(frozen=True)
class LayerEstimate:
    """One mole fraction for the layer of a gas, with the parts of its error."""

    value: float
    noise: float
    systematic: Mapping[str, float]
    smoothing: float
    weights: Array


def of_layer(
    data_matrix: Array,
    constraint: Array,
    space: StateSpace,
    information: Array,
    prior: Array,
    elements: IntArray,
) -> Layer:
    """Estimate a layer: its levels are one mole fraction, all else as in the fit.

    The generalised least-squares mean: levels apart, with the a priori's correlation
    length, and their weighted mean have nearly twice its noise.

    Parameters
    ----------
    data_matrix : array, shape (element, element)
        K^T Se^-1 K.
    constraint : array, shape (element, element)
        R.
    space : StateSpace
    information : array, shape (element,)
        K^T Se^-1 (y - F(x) + K (x - x_a)).
    prior : array, shape (element,)
        x_a.
    elements : array of int, shape (level,)
        Of the levels inside.
    """
    n = data_matrix.shape[0]
    outside = np.setdiff1d(np.arange(n), elements)
    # one mole fraction inside, then all that is outside
    halved = np.concatenate(
        [data_matrix[elements].sum(axis=0)[None], data_matrix[outside]]
    )
    matrix = np.concatenate(
        [halved[:, elements].sum(axis=1)[:, None], halved[:, outside]], axis=1
    )
    sizes = np.sqrt(np.diag(space.covariance)[elements])
    loose = (LOOSE * float(sizes.max())) ** -2.0
    matrix[0, 0] += loose
    matrix[1:, 1:] += _constraint_of(constraint, elements, outside)
    # the levels inside have the mean a priori of the layer, exact if it is constant
    mean = float(prior[elements].mean())
    start = prior.copy()
    start[elements] = mean
    seen = information + data_matrix @ (prior - start)
    right = np.zeros((1 + outside.size, 2))
    right[:, 0] = [seen[elements].sum(), *seen[outside]]
    right[0, 1] = 1.0
    found, first = solved_positive(matrix, right).T
    weights = np.empty(n)
    weights[elements], weights[outside] = first[0], first[1:]
    return Layer(
        value=mean + float(found[0]),
        elements=elements,
        weights=weights,
        kernel=data_matrix @ weights,
        undetermined=float(first[0] ** 2 * loose),
    )


def _constraint_of(constraint: Array, elements: IntArray, outside: IntArray) -> Array:
    """Constraint of the elements outside when those inside are left out.

    The inverse of the rest of the covariance: Schur complement of the constraint.
    """
    inner = constraint[np.ix_(elements, elements)]
    if not np.any(inner):
        return np.asarray(constraint[np.ix_(outside, outside)])
    across = constraint[np.ix_(outside, elements)]
    rest = constraint[np.ix_(outside, outside)]
    return np.asarray(rest - across @ np.linalg.solve(inner, across.T))
