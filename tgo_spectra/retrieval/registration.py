"""Whole-pixel wavenumber registration against the lines of the fitted gases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from tgo_spectra import forward
from tgo_spectra.retrieval.scene import detector_position

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.scene import Scene

    Array = npt.NDArray[np.floating]

__all__ = ["coarse_shift"]

SEARCH_ORDERS = 2
"""Neighbouring orders in the search: enough to tell whole pixels apart."""

SEARCH_HEIGHTS = 3


def coarse_shift(scene: Scene) -> int:
    """Find the whole-pixel shift of the product's X that fits best.

    The model is evaluated once, on a detector longer by the search range; a candidate
    compares the data at pixel p with the model at p + shift. Amounts of gas are free
    (one factor per gas, linearised), the baseline is a polynomial. Zero is returned
    unless another shift lowers chi-square by more than 25 (5 sigma).

    Returns
    -------
    int
        Shift in pixels, true wavenumber minus the product's.
    """
    search = scene.setup.registration.search_px
    if search == 0:
        return 0
    pixels = np.arange(
        scene.prepared.pixels[0] - search, scene.prepared.pixels[-1] + search + 1
    )
    operator = scene.operator(0.0, n_orders=SEARCH_ORDERS, pixels=pixels)
    heights = _search_heights(scene)
    vmr = _nonzero_prior(scene)
    limb = forward.at_heights(scene.limb, heights)
    fields = forward.pixel_fields(limb, operator, vmr)
    scale = [
        np.einsum("pkh,kh->ph", fields.gas[gas], limb.gases[gas].path @ vmr[gas])
        for gas in scene.setup.gases
    ]
    model = np.stack([fields.value, *scale])  # (column, pixel, height)
    shifts = np.arange(-search, search + 1)
    chi = np.zeros(shifts.size)
    for index, height in enumerate(scene.limb.height_km[heights]):
        chosen = _nearest_rows(scene, float(height))
        for at, shift in enumerate(shifts):
            start = search + shift
            stop = start + scene.prepared.pixels.size
            chi[at] += _chi_square(scene, chosen, model[:, start:stop, index])
    best = int(np.argmin(chi))
    if chi[search] - chi[best] <= 25.0:
        return 0
    return int(shifts[best])


def _search_heights(scene: Scene) -> npt.NDArray[np.intp]:
    """Heights in the lower part of the profile, where lines are deep."""
    altitude = scene.prepared.altitude_km
    bottom = float(altitude.min())
    wanted = bottom + np.array([4.0, 10.0, 18.0])[:SEARCH_HEIGHTS]
    wanted = np.minimum(wanted, float(altitude.max()))
    distance = np.abs(scene.limb.height_km[None, :] - wanted[:, None])
    return np.unique(distance.argmin(axis=1))


def _nearest_rows(scene: Scene, height_km: float) -> npt.NDArray[np.intp]:
    distance = np.abs(scene.prepared.altitude_km - height_km)
    return np.argsort(distance, kind="stable")[:4]


def _nonzero_prior(scene: Scene) -> dict[str, Array]:
    """Return the a priori profiles; a gas whose a priori is zero stays zero."""
    return {gas: np.asarray(scene.prior_vmr[gas]) for gas in scene.setup.gases}


def _chi_square(scene: Scene, rows: npt.NDArray[np.intp], model: Array) -> float:
    """Chi-square of a linear fit: baseline x (model + factors x derivatives)."""
    prepared = scene.prepared
    position = detector_position(prepared.pixels)
    polynomials = legendre.legvander(position, scene.setup.baseline_degree).T
    columns = [polynomials * model[0], *(m[None] for m in model[1:] if np.any(m))]
    design = np.concatenate(columns)
    total = 0.0
    for row in rows:
        weight = prepared.weight[row]
        a = (design * weight).T
        target = prepared.transmittance[row] * weight
        solution, *_ = np.linalg.lstsq(a, target, rcond=1e-12)
        total += float(np.sum((target - a @ solution) ** 2))
    return total
