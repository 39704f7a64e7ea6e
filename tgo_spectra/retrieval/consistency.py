"""Agreement of the lines of a gas with each other.

What a fit takes for a gas may be one feature that is none of it: an unknown line, a
solar line, a fault. The gas's own derivative splits the pixels into manifolds; each is
given a profile of its own, and the score test (Rao 1948) asks whether the data want it.
Everything that the fit knows to be uncertain stands in the covariance of the score:
else any error of temperature would make strong and weak lines disagree. From the same
matrices comes what the result would be without each manifold, and the error by a
feature on one of them: not a threshold but a mean over what may be, weighed by the
data, since chance may well hide a feature that moves the result by several errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.spectra import Whitened

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "HATS_KM",
    "Agreement",
    "agreement",
    "halves",
    "hats",
    "manifolds",
    "of_rows",
    "shapes",
]

HATS_KM = (0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 50.0, 60.0, 72.0, 85.0)
"""Knots of the deviation profiles, linear in between, zero above the last but one."""

LAYERS = ((0, 2), (2, 4), (4, 7), (7, 10))
"""Hats that are tested together, beside all: below 16, 16-32, 32-60, above 60 km."""

LEAST_SHARE = 0.03
"""Of the information on a layer that a manifold must hold; the rest is one group."""

LEAST_REST = 1e-3
"""Of it that the rest must hold to be a group."""

WIDEST_PX = 12
"""Wider manifolds are cut: many pixels as one group hide a narrow feature."""

FEATURE_DEPTHS = (3e-4, 1e-3)
"""1-sigma depths of transmittance of a feature that is not the gas: lines of no list,
rests of solar lines. Judgement, about what spectra of the orders are known for (0.05 to
0.2 %); deeper ones show without a prior."""

FEATURE_ODDS = 0.5
"""Of there being one on any manifold, before the data are asked (judgement)."""

LEFT_OUT_SIGMAS = 3.0
"""Of its own error by which a detection must stay without any one manifold: one feature
makes none."""

ALONE_SHARE = 0.85
"""Of the information that one manifold holds: the others, which know the gas 2.6 times
less well, cannot contradict it."""

SMALLEST_SHARE = 1e-12
"""Of its square by a feature: smaller variances are rounding."""

SMALLEST_EIGENVALUE = 1e-3
"""Directions of the scaled covariance below say nothing but rounding."""


@dataclass(frozen=True)
class Agreement:
    """Whether the manifolds of a gas agree.

    Attributes
    ----------
    probability : array, shape (...)
        That chance alone makes them disagree as much, over all heights or in any layer.
    shift : array, shape (..., group, quantity)
        Change of some linear quantities of the state if a group is left out.
    variance : array, shape (..., group, quantity)
        Of that change by noise and known sources.
    feature : array, shape (..., group, quantity)
        What a feature on the group as deep as the spectrum changes.
    share : array, shape (..., group)
        Of the information.
    """

    probability: Array | float
    shift: Array
    variance: Array
    feature: Array
    share: Array

    @classmethod
    def none(cls, count: int) -> Agreement:
        """Of a gas of which one manifold alone is seen: nothing to compare."""
        nothing = np.zeros((0, count))
        return cls(np.ones(()), nothing, nothing, nothing, np.zeros(0))

    @property
    def alone(self) -> npt.NDArray[np.bool_]:
        """Whether one manifold tells nearly all, (...)."""
        least = self.share.shape[-1] < 2
        return np.asarray(least | (self.share.max(axis=-1, initial=0.0) > ALONE_SHARE))

    @property
    def error(self) -> Array:
        """Error of the quantities by a feature on one manifold, (..., quantity).

        The mean square over there being none, or one of some depth on any of the
        manifolds, each by its likelihood: that of the change without the manifold, and
        at least what the test allows to think of a disagreement (the bound of Sellke,
        Bayarri and Berger 2001, doi:10.1198/000313001300339950).
        """
        if not self.shift.size:
            return np.zeros(self.shift.shape[-1])
        deep = np.multiply.outer(np.square(FEATURE_DEPTHS), self.feature**2)
        known = np.maximum(self.variance, SMALLEST_SHARE * deep.max(axis=0))
        known = np.where(known > 0.0, known, 1.0)
        held = deep / (deep + known)
        # in logarithms: a feature may be as clear as one likes
        likelihood = 0.5 * (held * self.shift**2 / known + np.log1p(-held))
        square = (held * self.shift) ** 2 + held * known
        every = (0, -2)  # depths and groups
        most = likelihood.max(axis=every)
        weight = np.exp(likelihood - most[..., None, :])
        mean = (weight * square).sum(axis=every) / weight.sum(axis=every)
        evidence = np.maximum(
            most + np.log(weight.mean(axis=every)),
            -np.log(_sellke(self.probability))[..., None],
        )
        chance = 1.0 / (1.0 + np.exp(-evidence) / FEATURE_ODDS)
        return np.asarray(np.sqrt(chance * mean))

    def needed(self, error: Array, chosen: slice) -> Array:
        """Return from where on no single manifold makes a detection, (quantity,).

        ``error``, (quantity,): of the ``chosen`` quantities, with all manifolds.
        """
        without = np.sqrt(error**2 + self.variance[:, chosen])
        least = LEFT_OUT_SIGMAS * without - self.shift[:, chosen]
        return np.asarray(least.max(axis=0, initial=-np.inf))


def manifolds(information: Array) -> tuple[IntArray, Array]:
    """Split pixels into the manifolds of a gas, by what each pixel tells of it.

    Neighbouring pixels belong to the same peak (watershed); peaks with little
    information are one group, wide ones are cut.

    Parameters
    ----------
    information : array, shape (row, pixel)
        Of each pixel, not negative; each row is one of its own.

    Returns
    -------
    group : array of int, shape (row, pixel)
        From 0; the last are the rest. -1: no information.
    share : array, shape (row, group)
        Zero for groups that a row does not have.
    """
    count, pixels = information.shape
    total = information.sum(axis=1, keepdims=True)
    climbed = _watershed(information)
    # peaks lie side by side: stretches of all rows in one
    new = np.ones(information.shape, dtype=bool)
    new[:, 1:] = climbed[:, 1:] != climbed[:, :-1]
    starts = np.flatnonzero(new)
    label = np.cumsum(new).reshape(new.shape) - 1
    told = np.add.reduceat(information.ravel(), starts)[label]
    # the flanks that hold next to nothing do not make a peak wide, but are its own:
    # what lies on the peak lies on them too
    highest = np.maximum.reduceat(information.ravel(), starts)[label]
    pixel = np.broadcast_to(np.arange(pixels), information.shape)
    strong = information > 0.02 * highest
    first = np.minimum.reduceat(np.where(strong, pixel, pixels).ravel(), starts)[label]
    last = np.maximum.reduceat(np.where(strong, pixel, -1).ravel(), starts)[label]
    width = np.maximum(last + 1 - first, 1)
    cuts = -(-width // WIDEST_PX)
    part = ((pixel - first) * cuts // width).clip(0, cuts - 1)
    peak = (told >= LEAST_SHARE * total) & (total > 0.0)
    new[:, 1:] |= part[:, 1:] != part[:, :-1]
    group = np.where(peak, np.cumsum(new & peak, axis=1) - 1, -1)
    rest = ~peak & (information > 0.0)
    left = (information * rest).sum(axis=1, keepdims=True)
    found = group.max(axis=1, keepdims=True, initial=-1) + 1
    group = np.where(rest & (left > LEAST_REST * total), found, group)
    size = int(group.max(initial=-1)) + 1
    share = np.zeros((count, size))
    rows, columns = np.nonzero(group >= 0)
    np.add.at(share, (rows, group[rows, columns]), information[rows, columns])
    return group, share / np.where(total > 0.0, total, 1.0)


def _watershed(values: Array) -> IntArray:
    """Return the pixel of the peak to which each pixel climbs, (row, pixel)."""
    wide = np.pad(values, ((0, 0), (1, 1)))
    smooth = 0.25 * wide[:, :-2] + 0.5 * values + 0.25 * wide[:, 2:]
    walls = np.pad(smooth, ((0, 0), (1, 1)), constant_values=-np.inf)
    left, right = walls[:, :-2], walls[:, 2:]
    up = np.where(left > np.maximum(smooth, right), -1, np.where(right > smooth, 1, 0))
    at = np.arange(values.shape[1]) + up
    while True:
        next_ = np.take_along_axis(at, at, axis=1)
        if np.array_equal(next_, at):
            return at
        at = next_


def hats(altitude_km: Array) -> Array:
    """Deviation profiles on the levels, (level, hat)."""
    knots = np.array(HATS_KM)
    found = np.array([np.interp(altitude_km, knots, row) for row in np.eye(knots.size)])
    return found.T


def halves(groups: IntArray, information: Array) -> IntArray:
    """Cut each manifold in two at its peak: a feature beside the peak is seen too.

    Return the half of each pixel, (row, pixel): twice its group, and one more beyond
    the peak; negative where there is no group.
    """
    order = np.argsort(groups, axis=1, kind="stable")
    ordered = np.take_along_axis(groups, order, axis=1)
    told = np.cumsum(np.take_along_axis(information, order, axis=1), axis=1)
    here = ordered[:, :, None] == np.arange(groups.max(initial=-1) + 1)
    ends = np.where(here, told[:, :, None], 0.0).max(axis=1, initial=0.0)
    before = np.where(ordered < 0, told, 0.0).max(axis=1, initial=0.0)
    ends = np.maximum.accumulate(np.column_stack([before, ends]), axis=1)
    low = np.take_along_axis(ends, np.maximum(ordered, 0), axis=1)
    high = np.take_along_axis(ends, np.maximum(ordered, 0) + 1, axis=1)
    found = np.empty_like(groups)
    beyond = 2 * ordered + (told - low > 0.5 * (high - low))
    np.put_along_axis(found, order, beyond, axis=1)
    return np.where(groups < 0, -1, found)


def shapes(groups: IntArray, information: Array) -> Array:
    """Features of unit depth, shaped as the gas on each manifold, (row, group, pixel).

    All rows have the same number of manifolds.
    """
    number = np.arange(groups.max(initial=-1) + 1)
    found = np.sqrt(information)[:, None] * (groups[:, None] == number[:, None])
    return np.asarray(found / found.max(axis=2, keepdims=True))


def agreement(
    score: Array,
    covariance: Array,
    responses: Array,
    sigma: Array | float,
    shares: Array,
    feature: Array,
    n_hats: int = len(HATS_KM),
) -> Agreement:
    """Test the manifolds of one gas; of many spectra each by itself (leading axes).

    Parameters
    ----------
    score : array, shape (..., group * half * hat)
        C^T Se^-1 (y - F), C being the deviation profiles' derivatives; see `halves`.
    covariance : array, shape (..., group * half * hat, group * half * hat)
        Of the score by noise and by all that is known to be uncertain.
    responses : array, shape (..., quantity, group * half * hat)
        Change of some quantities by C^T Se^-1 (y - F).
    sigma : float or array, shape (...)
        A priori of a deviation.
    shares : array, shape (..., group)
    feature : array, shape (..., group, quantity)
        Change of the quantities by a feature of unit depth, see `shapes`.
    n_hats : int
        Deviation profiles of each part; of a single spectrum one, a factor.
    """
    v = 0.5 * (covariance + np.swapaxes(covariance, -1, -2))
    hat = np.arange(score.shape[-1]) % n_hats
    p = _p_value(score, v)
    if n_hats > 1:
        layers = [(hat >= start) & (hat < stop) for start, stop in LAYERS]
        parts = [_p_value(score[..., one], v[..., one, :][..., one]) for one in layers]
        p = np.minimum(p, len(LAYERS) * np.min(parts, axis=0))
    size = 2 * n_hats
    mine = np.arange(score.shape[-1]).reshape(-1, size)
    inner = v[..., mine[:, :, None], mine[:, None, :]]
    prior = (np.asarray(sigma) ** -2.0)[..., None, None]
    scale = 1.0 / np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1).clip(0.0) + prior)
    held = (inner + np.eye(size) * prior[..., None]) * scale[..., :, None]
    b = np.moveaxis(responses[..., mine], -3, -1) * scale[..., None]
    # (..., group, part, quantity)
    spread = np.linalg.solve(held * scale[..., None, :], b) * scale[..., None]
    shift = -np.einsum("...gpq,...gp->...gq", spread, score[..., mine])
    variance = ((inner @ spread) * spread).sum(axis=-2)
    return Agreement(np.minimum(1.0, 2.0 * p), shift, variance, feature, shares)


def of_rows(
    field: int,
    seen: Whitened,
    beside: Array,
    covariance: Array,
    inflation: Array,
    line_error: Array,
    sigma: float,
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Test the manifolds of a gas in spectra that are fitted each by itself.

    Parameters
    ----------
    field : int
        Of the gas: its element.
    seen : Whitened
        Whose fields are the derivatives by the elements.
    beside : array, shape (row, change, pixel)
        Whitened changes by what is not in the fit.
    covariance : array, shape (row, element, element)
    inflation : array, shape (row,)
    line_error : array, shape (row,)
        Of the element, by the lines of one manifold against another.
    sigma : float
        A priori of the element.

    Returns
    -------
    probability, error : array, shape (row,)
        See `Agreement`.
    alone : array of bool, shape (row,)
    """
    raw = seen.fields[:, field]
    raw = raw + (seen.taken[:, field, None] @ seen.basis)[:, 0]
    groups, shares = manifolds(raw**2)
    number = groups.max(axis=1, initial=-1) + 1
    probability, error, alone = np.ones(len(raw)), np.zeros(len(raw)), number < 2
    # those alike at once: a row's sums are the same whatever rows there are
    for count in np.unique(number[~alone]).tolist():
        rows = np.flatnonzero(number == count)
        found = _of_alike(
            field, seen.rows(rows), raw[rows], groups[rows], shares[rows, :count],
            beside[rows], covariance[rows], inflation[rows, None], line_error[rows],
            sigma,
        )  # fmt: skip
        probability[rows], error[rows] = found.probability, found.error[:, 0]
        alone[rows] = found.alone
    return probability, error, alone


def _of_alike(
    field: int,
    seen: Whitened,
    raw: Array,
    groups: IntArray,
    shares: Array,
    beside: Array,
    covariance: Array,
    inflation: Array,
    line_error: Array,
    sigma: float,
) -> Agreement:
    """Do as `of_rows` for rows with the same number of manifolds."""
    count = shares.shape[1]
    half = halves(groups, raw**2)[:, None] == np.arange(2 * count)[:, None]
    columns = seen.project(raw[:, None] * half)
    turned = np.swapaxes(columns, 1, 2)
    known = seen.fields @ turned
    taken = np.swapaxes(known, 1, 2) @ covariance
    v = columns @ turned - taken @ known
    lines = v.reshape(*v.shape[:2], count, 2).sum(axis=3) * line_error[:, None, None]
    left = columns @ np.swapaxes(beside, 1, 2)
    left -= taken @ (seen.fields @ np.swapaxes(beside, 1, 2))
    off = np.concatenate([lines, left], axis=2) / inflation[..., None]
    deep = seen.columns(shapes(groups, raw**2))
    return agreement(
        (columns @ seen.residual[..., None])[..., 0] / inflation,
        v + off @ np.swapaxes(off, 1, 2),
        (covariance[:, field, None] @ known) * inflation[..., None],
        sigma / inflation[:, 0],
        shares,
        deep @ (np.swapaxes(seen.fields, 1, 2) @ covariance[:, field, :, None]),
        n_hats=1,
    )


def _sellke(probability: Array | float) -> Array:
    """Likelihood without a disagreement against with one, at least: from a p-value."""
    p = np.clip(probability, np.finfo(float).tiny, np.exp(-1.0))
    return np.asarray(-np.exp(1.0) * p * np.log(p))


def _p_value(score: Array, v: Array) -> Array:
    """Probability of a larger s^T V^-1 s by chance, (...)."""
    from scipy.special import gammaincc

    scale = np.sqrt(np.diagonal(v, axis1=-2, axis2=-1).clip(0.0))
    good = scale > 1e-6 * scale.max(axis=-1, keepdims=True, initial=0.0)
    one = good / np.where(good, scale, 1.0)
    values, vectors = np.linalg.eigh(v * one[..., :, None] * one[..., None, :])
    most = values.max(axis=-1, keepdims=True, initial=0.0)
    keep = values > SMALLEST_EIGENVALUE * most
    along = ((score * one)[..., None, :] @ vectors)[..., 0, :]
    chi = (along**2 * keep / np.where(keep, values, 1.0)).sum(axis=-1)
    count = keep.sum(axis=-1)
    return np.where(count > 0, gammaincc(0.5 * count.clip(1), 0.5 * chi), 1.0)
