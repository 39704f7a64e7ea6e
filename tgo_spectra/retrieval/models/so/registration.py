"""Wavenumber registration against the lines of the fitted gases, and a first guess.

Whole pixels first, from a few spectra; then shift, stretch and amounts together from
spectra at more heights, linearised, so that the fit starts near its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra.forward import transmittance as forward
from tgo_spectra.retrieval.linear import SHIFT, STRETCH
from tgo_spectra.retrieval.models.so.scene import detector_position
from tgo_spectra.retrieval.spectra import best_shift, compare_shifts

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.models.so.scene import Scene
    from tgo_spectra.retrieval.state import State

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = ["FirstGuess", "first_guess"]

SEARCH_HEIGHTS = 3
"""Of the heights below, those of the whole-pixel search."""

HEIGHTS_KM = (4.0, 10.0, 18.0, 1.0, 26.0, 36.0, 48.0, 62.0)
"""Heights above the lowest row at which spectra are looked at."""

ROWS_PER_HEIGHT = 4

LOOKS = 3
"""Whole-pixel searches at most: one that ends at its edge is made again from there."""

FACTOR_RANGE = (0.2, 5.0)
"""Factors on the reference profiles outside are not believed: one linear step."""

TRACE = 1e-9
"""Mole fraction that is the unit for a gas whose a priori is zero."""

FAINT_SIGMAS = 5.0
"""Such a gas starts from what the first look finds only if it is this significant."""

FACTOR_SIGMA = 0.3
"""Factors less certain than this leave the reference as it is."""


@dataclass(frozen=True)
class _Search:
    """Model on a detector longer by the search range, at some heights.

    ``centre``: whole-pixel shift of its middle; ``value``, ``slope`` (per pixel of
    shift): (pixel, height); ``factors``: derivative to a factor on the reference of
    each gas, (gas, pixel, height). A gas whose a priori is zero has the reference
    `TRACE`; ``sigma``: what a factor may be; ``polynomials``: of the baseline, on the
    fitted pixels.
    """

    centre: int
    heights: IntArray
    value: Array
    slope: Array
    factors: Array
    faint: tuple[bool, ...]
    sigma: Array
    position: Array
    polynomials: Array


class FirstGuess(NamedTuple):
    """Where a fit should start.

    Attributes
    ----------
    shift_px : int
        Whole-pixel shift, true wavenumber minus the product's.
    state : State
    at_edge : bool
        Whether the last search ended at its edge: the spectra may lie beyond.
    """

    shift_px: int
    state: State
    at_edge: bool


def first_guess(scene: Scene, prior: State) -> FirstGuess:
    """Register the product and scale the reference profiles.

    Parameters
    ----------
    scene : Scene
    prior : State
        Whose mole fractions are scaled.

    Returns
    -------
    FirstGuess
    """
    reach, centre = scene.setup.registration.search_px, 0
    for _ in range(LOOKS):
        search = _look(scene, centre)
        whole = _whole_pixels(scene, search)
        at_edge = abs(whole) == reach > 0
        if not at_edge:
            break
        centre += whole
    centre = search.centre
    n_bins = scene.prepared.n_bins
    sums = np.zeros((n_bins, 2))
    stretch = np.zeros(2)
    gases = scene.setup.gases
    factors = np.zeros((len(gases), search.heights.size, 2))
    for index in range(search.heights.size):
        rows = _nearest_rows(scene, search, index)
        solution, sigma = _fit(scene, search, rows, index, whole)
        weight = sigma**-2.0
        weighted = weight * solution
        for b, w, v in zip(scene.prepared.bin[rows], weight, weighted, strict=True):
            sums[b] += w[0], v[0]
        stretch += weight[:, 1].sum(), weighted[:, 1].sum()
        factors[:, index, 0] += weight[:, 2:].sum(axis=0)
        factors[:, index, 1] += weighted[:, 2:].sum(axis=0)
    register = scene.setup.registration
    anyone = sums.sum(axis=0)
    # bins of which no spectrum was looked at take the mean of the others
    shift = np.where(sums[:, 0] > 0, sums[:, 1] / np.maximum(sums[:, 0], 1e-30),
                     anyone[1] / max(anyone[0], 1e-30))  # fmt: skip
    moved = np.clip(shift, -1.0, 1.0)
    along = stretch[1] / max(stretch[0], 1e-30) if register.stretch else 0.0
    state = dict(prior)
    for g, gas in enumerate(gases):
        factor = _profile_factor(scene, search, factors[g], search.faint[g])
        state[gas] = factor * (TRACE if search.faint[g] else state[gas])
    state[SHIFT] = centre + whole + moved
    state[STRETCH] = np.clip([along], -1.0, 1.0)
    return FirstGuess(centre + whole, state, at_edge)


def _look(scene: Scene, centre: int) -> _Search:
    """Evaluate the model at the heights of the search, shifts counted from a centre."""
    reach = scene.setup.registration.search_px
    pixels = np.arange(
        scene.prepared.pixels[0] - reach, scene.prepared.pixels[-1] + reach + 1
    )
    operator = scene.operator(float(centre), pixels=pixels)
    heights = _search_heights(scene)
    vmr = {gas: np.asarray(scene.prior_vmr[gas]) for gas in scene.setup.gases}
    limb = forward.at_heights(scene.limb, heights)
    gases = scene.setup.gases
    faint = tuple(not vmr[gas].any() for gas in gases)
    references, sigma = dict(vmr), []
    for gas, none in zip(gases, faint, strict=True):
        if none:
            references[gas] = vmr[gas] + TRACE
        prior = scene.setup.prior.get(gas)
        absolute = prior.sigma if none and prior is not None else None
        sigma.append(1.0 if absolute is None else absolute / TRACE)
    value, shift, factors = forward.factor_fields(limb, operator, vmr, references)
    dispersion = scene.prepared.dispersion(pixels.astype(float))
    position = detector_position(scene.prepared.pixels)
    return _Search(
        centre=centre,
        heights=heights,
        value=value.astype(float),
        slope=shift * dispersion[:, None],
        factors=factors.astype(float),
        faint=faint,
        sigma=np.array(sigma),
        position=position,
        polynomials=legendre.legvander(position, scene.setup.baseline_degree).T,
    )


def _search_heights(scene: Scene) -> IntArray:
    """Different heights among those wanted, in their order."""
    altitude = scene.prepared.altitude_km
    wanted = float(altitude.min()) + np.array(HEIGHTS_KM)
    wanted = np.minimum(wanted, float(altitude.max()))
    distance = np.abs(scene.limb.height_km[None, :] - wanted[:, None])
    return np.array(list(dict.fromkeys(distance.argmin(axis=1).tolist())))


def _nearest_rows(scene: Scene, search: _Search, index: int) -> IntArray:
    height = scene.limb.height_km[search.heights[index]]
    distance = np.abs(scene.prepared.altitude_km - height)
    return np.argsort(distance, kind="stable")[:ROWS_PER_HEIGHT]


def _whole_pixels(scene: Scene, search: _Search) -> int:
    """Whole-pixel shift that fits best, true wavenumber minus the product's.

    Amounts of gas are free: one factor per gas and spectrum, linearised.
    """
    prepared = scene.prepared
    chi = np.zeros(len(search.value) - prepared.pixels.size + 1)
    for index in range(min(SEARCH_HEIGHTS, search.heights.size)):
        rows = _nearest_rows(scene, search, index)
        value = np.broadcast_to(search.value[:, index], (rows.size, len(search.value)))
        fields = np.broadcast_to(
            search.factors[:, :, index], (rows.size, *search.factors.shape[:2])
        )
        found, _ = compare_shifts(
            prepared.transmittance[rows],
            prepared.weight[rows],
            value,
            fields,
            search.polynomials,
        )
        chi += found.sum(axis=0)
    return int(best_shift(chi))


def _window(scene: Scene, whole: int) -> slice:
    """Pixels of the fit on the longer detector, seen at a whole-pixel shift."""
    start = scene.setup.registration.search_px + whole
    return slice(start, start + scene.prepared.pixels.size)


def _fit(
    scene: Scene, search: _Search, rows: IntArray, index: int, whole: int
) -> tuple[Array, Array]:
    """Shift, stretch and factors (less one) of some spectra, with 1-sigma.

    Both (row, element).
    """
    prepared, seen = scene.prepared, _window(scene, whole)
    register = scene.setup.registration
    weight = prepared.weight[rows]
    target = (prepared.transmittance[rows] * weight)[:, :, None]
    polynomials = search.polynomials.T
    columns = (polynomials * search.value[seen, index, None]) * weight[:, :, None]
    q, r = np.linalg.qr(columns)
    along = q.transpose(0, 2, 1) @ target
    base = (polynomials @ np.linalg.solve(r, along)[:, :, 0].T).T * weight
    slope = search.slope[seen, index]
    fields = [slope, slope * search.position, *search.factors[:, seen, index]]
    design = np.array(fields).T * base[:, :, None]
    design -= q @ (q.transpose(0, 2, 1) @ design)
    prior = np.array([1.0, register.stretch_sigma_px**-2])
    prior = np.concatenate([prior, search.sigma**-2])
    if not register.stretch:
        prior[1] = 1e9
    turned = design.transpose(0, 2, 1)
    inverse = np.linalg.inv(turned @ design + np.diag(prior))
    solution = inverse @ (turned @ (target - q @ along))
    return solution[:, :, 0], np.sqrt(np.diagonal(inverse, axis1=1, axis2=2))


def _profile_factor(scene: Scene, search: _Search, sums: Array, faint: bool) -> Array:
    """Factor on a reference profile at all levels, from those at the heights.

    A gas whose a priori is zero starts from zero unless it stands out.
    """
    known = sums[:, 0] > 0
    sigma = 1.0 / np.sqrt(np.maximum(sums[:, 0], 1e-30))
    value = sums[:, 1] / np.maximum(sums[:, 0], 1e-30)
    heights = scene.limb.height_km[search.heights]
    altitude = scene.limb.altitude_km
    if faint:
        value = np.where(np.abs(value) > FAINT_SIGMAS * sigma, value, 0.0)
        good = np.flatnonzero(known)
    else:
        value = np.clip(1.0 + value, *FACTOR_RANGE)
        good = np.flatnonzero(known & (sigma < FACTOR_SIGMA))
    good = good[np.argsort(heights[good])]
    if not good.size:
        return np.full(altitude.size, 0.0 if faint else 1.0)
    return np.asarray(np.interp(altitude, heights[good], value[good]))
