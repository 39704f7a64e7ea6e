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
    from collections.abc import Sequence

    import numpy.typing as npt

    from tgo_spectra.retrieval.whitened import Whitened

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "HATS_KM",
    "Agreement",
    "Part",
    "agreement",
    "halves",
    "hats",
    "manifolds",
    "of_row",
    "shapes",
]

HATS_KM = (0.0, 8.0, 16.0, 24.0, 32.0, 40.0, 50.0, 60.0, 72.0, 85.0)
"""Knots of the deviation profiles, linear in between, zero above the last but one."""

LAYERS = ((0, 2), (2, 4), (4, 7), (7, 10))
"""Hats that are tested together, beside all: below 16, 16-32, 32-60, above 60 km."""

LEAST_SHARE = 0.03
"""Of the information on a layer that a manifold must hold; the rest is one group."""

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
    probability : float
        That chance alone makes them disagree as much, over all heights or in any layer.
    shift : array, shape (group, quantity)
        Change of some linear quantities of the state if a group is left out.
    variance : array, shape (group, quantity)
        Of that change by noise and known sources.
    feature : array, shape (group, quantity)
        What a feature on the group as deep as the spectrum changes.
    share : array, shape (group,)
        Of the information.
    """

    probability: float
    shift: Array
    variance: Array
    feature: Array
    share: Array

    @classmethod
    def none(cls, count: int) -> Agreement:
        """Of a gas of which one manifold alone is seen: nothing to compare."""
        nothing = np.zeros((0, count))
        return cls(1.0, nothing, nothing, nothing, np.zeros(0))

    @property
    def alone(self) -> bool:
        """Whether one manifold tells nearly all."""
        return bool(self.share.max(initial=0.0) > ALONE_SHARE or self.share.size < 2)

    @property
    def error(self) -> Array:
        """Error of the quantities by a feature on one manifold, (quantity,).

        The mean square over there being none, or one of some depth on any of the
        manifolds, each by its likelihood: that of the change without the manifold, and
        at least what the test allows to think of a disagreement (the bound of Sellke,
        Bayarri and Berger 2001, doi:10.1198/000313001300339950).
        """
        if not self.shift.size:
            return np.zeros(self.shift.shape[1])
        deep = np.multiply.outer(np.square(FEATURE_DEPTHS), self.feature**2)
        known = np.maximum(self.variance, SMALLEST_SHARE * deep.max(axis=0))
        known = np.where(known > 0.0, known, 1.0)
        held = deep / (deep + known)
        # in logarithms: a feature may be as clear as one likes
        likelihood = 0.5 * (held * self.shift**2 / known + np.log1p(-held))
        square = (held * self.shift) ** 2 + held * known
        most = likelihood.max(axis=(0, 1))
        weight = np.exp(likelihood - most)
        mean = (weight * square).sum(axis=(0, 1)) / weight.sum(axis=(0, 1))
        evidence = np.maximum(
            most + np.log(weight.mean(axis=(0, 1))), -np.log(_sellke(self.probability))
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
    information : array, shape (pixel,)
        Of each pixel, not negative.

    Returns
    -------
    group : array of int, shape (pixel,)
        From 0; the last are the rest. -1: no information.
    share : array, shape (group,)
    """
    total = float(information.sum())
    group = np.full(information.size, -1, dtype=np.intp)
    if not total > 0.0:
        return group, np.empty(0)
    label = _watershed(information)
    shares, found = [], 0
    rest = information > 0.0
    peaks = np.bincount(label, information) >= LEAST_SHARE * total
    for number in np.flatnonzero(peaks):
        pixels = np.flatnonzero(label == number)
        # the flanks that hold next to nothing do not make a peak wide, but are its own:
        # what lies on the peak lies on them too
        strong = pixels[information[pixels] > 0.02 * information[pixels].max()]
        width = strong[-1] + 1 - strong[0]
        cuts = np.linspace(
            strong[0], strong[-1] + 1, max(1, -(-width // WIDEST_PX)) + 1
        )
        for part in np.split(pixels, np.searchsorted(pixels, cuts[1:-1])):
            group[part] = found
            rest[part] = False
            shares.append(float(information[part].sum()) / total)
            found += 1
    left = float(information[rest].sum()) / total
    if left > 1e-3:
        group[rest] = found
        shares.append(left)
    return group, np.array(shares)


def _watershed(values: Array) -> IntArray:
    """Return the number of the peak to which each element climbs."""
    smooth = np.convolve(values, [0.25, 0.5, 0.25], mode="same")
    left = np.r_[-np.inf, smooth[:-1]]
    right = np.r_[smooth[1:], -np.inf]
    up = np.where(left > np.maximum(smooth, right), -1, np.where(right > smooth, 1, 0))
    at = np.arange(values.size)
    while True:
        next_ = at + up[at]
        if np.array_equal(next_, at):
            break
        at = next_
    _, label = np.unique(at, return_inverse=True)
    return np.asarray(label, dtype=np.intp)


def hats(altitude_km: Array) -> Array:
    """Deviation profiles on the levels, (level, hat)."""
    knots = np.array(HATS_KM)
    found = np.array([np.interp(altitude_km, knots, row) for row in np.eye(knots.size)])
    return found.T


@dataclass(frozen=True)
class Part:
    """Some pixels of a manifold: one of its two halves."""

    group: int
    pixels: IntArray


def halves(groups: IntArray, information: Array) -> list[Part]:
    """Cut each manifold in two at its peak: a feature beside the peak is seen too."""
    parts = []
    for number in range(groups.max(initial=-1) + 1):
        pixels = np.flatnonzero(groups == number)
        half = np.cumsum(information[pixels]) <= 0.5 * information[pixels].sum()
        parts += [Part(number, p) for p in (pixels[half], pixels[~half]) if p.size]
    return parts


def shapes(groups: IntArray, information: Array) -> Array:
    """Features of unit depth, shaped as the gas on each manifold, (group, pixel)."""
    root = np.sqrt(information)
    found = np.array([root * (groups == n) for n in range(groups.max(initial=-1) + 1)])
    return np.asarray(found / found.max(axis=1, keepdims=True))


def agreement(
    score: Array,
    covariance: Array,
    responses: Array,
    sigma: float,
    parts: Sequence[Part],
    shares: Array,
    feature: Array,
    n_hats: int = len(HATS_KM),
) -> Agreement:
    """Test the manifolds of one gas.

    Parameters
    ----------
    score : array, shape (part * hat,)
        C^T Se^-1 (y - F), C being the deviation profiles' derivatives.
    covariance : array, shape (part * hat, part * hat)
        Of the score by noise and by all that is known to be uncertain.
    responses : array, shape (quantity, part * hat)
        Change of some quantities by C^T Se^-1 (y - F).
    sigma : float
        A priori of a deviation.
    parts : sequence of Part
        Of the manifolds.
    shares : array, shape (group,)
    feature : array, shape (group, quantity)
        Change of the quantities by a feature of unit depth, see `shapes`.
    n_hats : int
        Deviation profiles of each part; of a single spectrum one, a factor.
    """
    v = 0.5 * (covariance + covariance.T)
    hat = np.arange(score.size) % n_hats
    p = _p_value(score, v, np.arange(score.size))
    if n_hats > 1:
        layers = [
            _p_value(score, v, np.flatnonzero((hat >= start) & (hat < stop)))
            for start, stop in LAYERS
        ]
        p = min(p, len(LAYERS) * min(layers))
    probability = float(min(1.0, 2.0 * p))
    # all groups at once, those of one half with an empty other
    owner = np.repeat([part.group for part in parts], n_hats)
    order = np.argsort(owner, kind="stable")
    rank = np.arange(owner.size) - np.searchsorted(owner[order], owner[order])
    size = int(rank.max()) + 1
    mine = np.full((shares.size, size), -1)
    mine[owner[order], rank] = order
    here = mine >= 0
    inner = v[mine[:, :, None], mine[:, None, :]] * here[:, :, None] * here[:, None, :]
    least = inner.diagonal(axis1=1, axis2=2).clip(0.0) + sigma**-2.0
    scale = here / np.sqrt(least)
    held = (inner + np.eye(size) / sigma**2) * scale[:, :, None] * scale[:, None, :]
    held += np.eye(size) * ~here[:, :, None]
    b = responses[:, mine].transpose(1, 2, 0) * scale[:, :, None]
    spread = np.linalg.solve(held, b) * scale[:, :, None]  # (group, part, quantity)
    shift = -np.einsum("gpq,gp->gq", spread, score[mine])
    variance = ((inner @ spread) * spread).sum(axis=1)
    return Agreement(probability, shift, variance, feature, shares)


def of_row(
    field: int,
    seen: Whitened,
    beside: Array,
    covariance: Array,
    inflation: float,
    line_error: float,
    sigma: float,
) -> Agreement:
    """Test the manifolds of a gas in a spectrum that is fitted by itself.

    Parameters
    ----------
    field : int
        Of the gas: its element.
    seen : Whitened
        Of one row, whose fields are the derivatives by the elements.
    beside : array, shape (change, pixel)
        Whitened changes by what is not in the fit.
    covariance : array, shape (element, element)
    inflation : float
    line_error : float
        Of the element, by the lines of one manifold against another.
    sigma : float
        A priori of the element.
    """
    mine, basis = seen.fields[0, field], seen.basis[0]
    raw = mine + seen.taken[0, field] @ basis
    groups, shares = manifolds(raw**2)
    if shares.size < 2:
        return Agreement.none(1)
    parts = halves(groups, raw**2)
    columns = np.zeros((len(parts), raw.size))
    for index, part in enumerate(parts):
        columns[index, part.pixels] = raw[part.pixels]
    columns -= (columns @ basis.T) @ basis
    fields = seen.fields[0]
    known = fields @ columns.T
    v = columns @ columns.T - known.T @ covariance @ known
    owner = np.array([part.group for part in parts])
    lefts = [v @ (line_error * (owner == number)) for number in range(shares.size)]
    left = columns @ beside.T - known.T @ covariance @ (fields @ beside.T)
    for one in (*lefts, *left.T):
        v = v + one[:, None] * one / inflation**2
    deep = seen.columns(shapes(groups, raw**2)[None])[0]
    return agreement(
        columns @ seen.residual[0] / inflation,
        v,
        (covariance[field] @ known)[None] * inflation,
        sigma / inflation,
        parts,
        shares,
        (deep @ (fields.T @ covariance[field]))[:, None],
        n_hats=1,
    )


def _sellke(probability: float) -> float:
    """Likelihood without a disagreement against with one, at least: from a p-value."""
    p = max(probability, np.finfo(float).tiny)
    return float(-np.e * p * np.log(p)) if p < np.exp(-1.0) else 1.0


def _p_value(score: Array, v: Array, chosen: IntArray) -> float:
    """Probability of a larger s^T V^-1 s by chance."""
    from scipy.special import gammaincc

    s = score[chosen]
    part = v[np.ix_(chosen, chosen)]
    scale = np.sqrt(np.diag(part).clip(0.0))
    good = scale > 1e-6 * scale.max(initial=0.0)
    if not good.any():
        return 1.0
    s, scale = s[good] / scale[good], scale[good]
    part = part[np.ix_(good, good)] / scale[:, None] / scale
    values, vectors = np.linalg.eigh(part)
    keep = values > SMALLEST_EIGENVALUE * values.max()
    if not keep.any():
        return 1.0
    along = vectors[:, keep].T @ s
    chi = float((along**2 / values[keep]).sum())
    return float(gammaincc(0.5 * int(keep.sum()), 0.5 * chi))
