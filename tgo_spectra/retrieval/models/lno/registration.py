"""Shift of a nadir product's wavenumbers, and the model made there.

All spectra of a product have one wavenumber scale, so that their mean tells its shift
also where a single spectrum is too noisy. A shift found in noise alone would be the one
that suits it best: columns of a gas that is not there would scatter more than their
errors say. Where the mean shows no line either, the product's own wavenumbers are
taken.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import AtmosphereError, TableError
from tgo_spectra.retrieval.models.lno.fit import SEARCH_PX, fit_spectrum, spectrum
from tgo_spectra.retrieval.models.lno.model import (
    nadir_model,
    optical_depths,
    state_weights,
)
from tgo_spectra.retrieval.models.lno.scene import QUANTITIES, layers_above
from tgo_spectra.retrieval.spectra import SEARCH_GAIN, compare_shifts

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.models.lno.model import LayeredColumn, NadirModel
    from tgo_spectra.retrieval.models.lno.scene import AirProfile
    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = ["is_elsewhere", "product_model", "search_shift"]

_SAMPLE = 100
"""Spectra read for the mean, spread over the product: ten times less noise."""
_SEARCH_ORDERS = 3
"""Neighbours taken by the search: with fewer lines are too deep, but in place."""
_NEAR_PX = 0.15
"""Distance from where the model was made at which it is made again: third derivatives
left out are then below 2e-4 of a line (line shapes have a sigma of 1.7 pixels)."""
_GRID_PX = 0.1
"""Models are made at multiples of this, so that products can share them."""

_FAR_PX = 54
"""Pixels beyond the search where lines are looked for that are not where they should
be. A shift that far is no drift of the instrument: nothing is fitted there, it is said.
"""

_UNKNOWN_PX = 0.5
"""Error of the mean's shift, pixels, from which on it is not taken: lines of a sigma of
1.7 pixels are then below 3.4 sigma in the mean and lost in a single spectrum."""


def product_model(
    wavenumber_cm1: Array,
    rows: xr.Dataset,
    *,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    setup: NadirSetup,
    air: AirProfile,
) -> NadirModel:
    """Make the model of a product at its shift.

    Reads up to 100 spectra, the same ones for any chunks.

    Parameters
    ----------
    wavenumber_cm1 : array, shape (320,)
        Of the product.
    rows : Dataset
        From `tgo_spectra.retrieval.models.lno.scene.grouped`.
    order : int
    aotf_frequency_khz, temperature_c : float
        kHz; degree Celsius.
    setup : NadirSetup
    air : AirProfile

    Returns
    -------
    NadirModel
        Its a priori of the shift is that of the product, with ``shift_scatter_px``
        and the error of the mean; where the mean shows none, zero with
        ``shift_scatter_px``; without a good spectrum that of the setup. It knows
        whether the lines of the mean are elsewhere.

    Raises
    ------
    TableError, InstrumentError
        The table has not all gases, or does not cover the order.
    """
    make = partial(
        nadir_model,
        wavenumber_cm1,
        order=order,
        aotf_frequency_khz=aotf_frequency_khz,
        temperature_c=temperature_c,
        setup=setup,
    )
    sample = _mean(rows, setup, air)
    if sample is None:
        return make()
    signal, layers, noise = sample
    rough = make(
        n_orders=min(_SEARCH_ORDERS, setup.instrument.n_orders),
        margin_px=int(SEARCH_PX),
    )
    try:
        shift = _on_grid(search_shift(rough, signal, layers))
        elsewhere = is_elsewhere(rough, signal, layers)
        model = make(shift_px=shift)
        fit = fit_spectrum(model, signal[model.pixels], layers)
        if abs(fit.state[-1] - shift) > _NEAR_PX:
            shift = _on_grid(float(fit.state[-1]))
            model = make(shift_px=shift)
            fit = fit_spectrum(model, signal[model.pixels], layers)
    except (AtmosphereError, TableError):
        # the mean place is outside the table; single spectra may not be
        return make()
    scatter, error = setup.shift_scatter_px, float(fit.error[-1])
    registered = error <= _UNKNOWN_PX
    if not registered:
        if abs(shift) > _NEAR_PX:
            model = make()
        start, shift, error = np.append(fit.state[:-1], 0.0), 0.0, 0.0
    else:
        start, shift = fit.state, float(fit.state[-1])
    if noise is not None:  # of single spectra, at what their mean has
        fit = fit_spectrum(model, signal[model.pixels], layers, noise=noise)
    return model.expecting(
        start,
        shift,
        float(np.hypot(scatter, error)),
        registered=registered,
        elsewhere=elsewhere,
        bent=fit.bent,
    )


def _on_grid(shift_px: float) -> float:
    return round(shift_px / _GRID_PX) * _GRID_PX


def _mean(
    rows: xr.Dataset, setup: NadirSetup, air: AirProfile
) -> tuple[Array, LayeredColumn, float | None] | None:
    """Mean of good spectra, (320,), the layers at their mean place, and their noise.

    The noise of single spectra by how their differences from the mean jump from pixel
    to pixel; none of a single one.
    """
    number = rows.sizes["spectrum"]
    chosen = np.unique(np.linspace(0, number - 1, min(number, _SAMPLE)).astype(int))
    few = rows.isel(spectrum=chosen)[["signal", "geometry"]].compute()
    geometry = few["geometry"].values
    good = geometry[:, QUANTITIES.index("status")] == 0
    if not good.any():
        return None
    signal = np.asarray(few["signal"].values, dtype=float)[good]
    window = slice(setup.window.first_pixel, setup.window.last_pixel + 1)
    signal = signal / np.nanmedian(signal[:, window], axis=1, keepdims=True)
    known = np.isfinite(signal)
    count = known.sum(axis=0)
    total = np.where(known, signal, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    noise = None
    if len(signal) > 1:
        jumps = np.diff(signal - mean, axis=1)[:, window]
        own = np.sqrt(np.nanmean(jumps**2, axis=1) / 2.0 / (1.0 - 1.0 / len(signal)))
        noise = float(np.median(own))
    down, up, height, _ = geometry[good].mean(axis=0)
    try:
        layers, _ = layers_above(air, float(height), float(down), float(up))
    except AtmosphereError:
        return None
    return mean, layers, noise


def search_shift(model: NadirModel, signal: Array, layers: LayeredColumn) -> float:
    """Find the shift to a part of a pixel, wherever it is.

    At whole pixels the baseline, all factors and the rest of the shift are fitted in
    one linear step; shifts at which the gas wanted would be negative do not count.

    Parameters
    ----------
    model : NadirModel
        Without gaps, with `SEARCH_PX` pixels more than the window on both sides.
    signal : array, shape (320,)
    layers : LayeredColumn

    Returns
    -------
    float
        Pixels; zero if there is nothing to see.

    Raises
    ------
    TableError
        The table does not reach a pressure or temperature.
    """
    shifts, cost, absurd = _compared(model, signal, layers)
    cost = np.where(absurd, np.inf, cost)
    return float(shifts[cost.argmin()]) if not absurd.all() else 0.0


def is_elsewhere(model: NadirModel, signal: Array, layers: LayeredColumn) -> bool:
    """Tell whether a shift that is not searched suits the spectrum far better.

    Lines are then not where the fit looks for them: it would say that there are none.
    Parameters as `search_shift`, whose window is seen without `_FAR_PX` pixels at
    either end.
    """
    shifts, cost, absurd = _compared(model, signal, layers, inner_px=_FAR_PX)
    near = np.abs(shifts) <= SEARCH_PX
    far = np.where(near | absurd, np.inf, cost).min()
    return bool(cost[near].min() - far > SEARCH_GAIN)


def _compared(
    model: NadirModel, signal: Array, layers: LayeredColumn, inner_px: int = 0
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return shifts, what they cost in units of chi-square, and which are absurd."""
    (weights,) = state_weights(model, [layers])
    (depths,) = optical_depths(model, [(layers, weights)])
    n = len(model.gases)
    value, derivative, _ = spectrum(model, depths, model.start)
    margin = int(SEARCH_PX) + inner_px
    inner = slice(margin, model.pixels.size - margin)
    measured = signal[model.pixels[inner]]
    used = np.isfinite(measured)
    chi, step = compare_shifts(
        np.where(used, measured, 0.0)[None],
        used[None].astype(float),
        value[None],
        derivative[None],
        model.baseline[inner].T,
    )
    shifts, wanted, part = np.arange(-margin, margin + 1), step[0, :, 0], step[0, :, n]
    # beyond a pixel the linear step is no use, and the next one is nearer
    allowed = (1.0 + wanted > 0.0) & (np.abs(part) <= 1.0) & (chi[0] > 0.0)
    cost = used.sum() * np.log(np.maximum(chi[0], 1e-300))
    cost += (shifts / model.prior_sigma[-1]) ** 2
    return shifts + part, cost, ~allowed
