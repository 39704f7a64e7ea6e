"""The instrument operator in double precision with the derivatives of its parameters.

The exact, slow companion of
`tgo_spectra.instruments.response.tabulated.build_operator`: everything that a parameter
moves is followed (the blaze with the wavenumber scale; width, ghost and blaze with the
AOTF centre). The kernel is differentiated analytically; the calibration curves that
enter it (AOTF, blaze, free spectral range, line-shape widths) through central
differences of their public functions, good to 1e-9 of the derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference import exact_kernel
from tgo_spectra.instruments.response.layout import arrange, reference_wavenumber
from tgo_spectra.instruments.response.tabulated import (
    BLOCK_PIXELS,
    Operator,
    from_layout,
)
from tgo_spectra.instruments.so import (
    SoInstrument,
    aotf_transmission,
    blaze,
    free_spectral_range,
    ils_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tgo_spectra.instruments.response.layout import Layout

    Floats = NDArray[np.float64]

__all__ = ["EXACT_KINDS", "build_exact_operator"]

#: Kinds of rows: the value, and its derivative by the pixel's wavenumber (per cm-1), by
#: the amplitude of the ghost and by the centre of the AOTF (per cm-1).
EXACT_KINDS = ("value", "wavenumber", "ghost_amplitude", "aotf_offset")

#: Half window in units of sigma; the Gaussian is 2e-11 there. A narrower one makes the
#: spectra jump by as much as cells enter and leave it when the shift changes.
WINDOW_SIGMA = 7.0

#: Steps of the differences of calibration curves, cm-1. The curves vary over 20 cm-1
#: and more, so that the second-order error is below 1e-9 of the derivative; the AOTF
#: has steps in its second derivative, near which the error is first order in the step.
_STEP_CM1 = 1e-3
_AOTF_STEP_CM1 = 1e-4


def build_exact_operator(
    *cells: Any,
    temperature_c: float,
    cell_points: int = 50,
    n_orders: int | None = None,
    settings: SoInstrument | None = None,
    **seen: Any,
) -> Operator:
    """Build the operator of NOMAD SO with the kinds of rows of `EXACT_KINDS`.

    Parameters
    ----------
    cells, temperature_c, cell_points, n_orders, settings, seen
        As in `tgo_spectra.instruments.response.tabulated.build_operator`.

    Returns
    -------
    Operator
        float64; ``value`` is that of `build_operator` within 1e-7, its window of the
        line shape being wider.
    """
    settings = settings or SoInstrument()
    layout = arrange(
        *cells,
        temperature_c=temperature_c,
        cell_points=cell_points,
        n_orders=settings.n_orders if n_orders is None else n_orders,
        settings=settings,
        kinds=len(EXACT_KINDS),
        block_pixels=BLOCK_PIXELS,
        window_sigma=WINDOW_SIGMA,
        **seen,
    )
    centre = layout.aotf_centre_cm1
    fsr = float(free_spectral_range(centre, temperature_c))
    height = 1.0 / (layout.sigma * (1.0 + settings.ils_amplitude))
    area = blaze(layout.centre, layout.orders, fsr) * height
    moved, wider, away, area_slope = _slopes(
        layout, settings, temperature_c, fsr, height, area
    )
    aotf_slope = np.zeros((3, *layout.sample.shape))
    aotf_slope[2] = _difference(
        lambda c: aotf_transmission(layout.sample, c, settings), centre, _AOTF_STEP_CM1
    )
    data = np.zeros(layout.size)
    sums = np.zeros((*layout.centre.shape, len(EXACT_KINDS)))
    where = (layout.limits, layout.node_low, layout.node_high, layout.offset)
    exact_kernel.fill_directions(
        layout.centre,
        layout.sigma,
        layout.delta,
        area,
        settings.ils_amplitude,
        aotf_transmission(layout.sample, centre, settings),
        moved,
        wider,
        away,
        area_slope,
        np.array([0.0, 1.0, 0.0]),
        aotf_slope,
        layout.first,
        layout.last,
        layout.lowest,
        layout.sample,
        layout.matrix,
        layout.starts,
        layout.weight,
        *where,
        data,
        sums,
    )
    total = sums.sum(axis=1)
    exact_kernel.normalise_directions(total, *where, data)
    fraction = sums[:, :, 0] / total[:, :1]
    nu_c = float(layout.wavenumber.mean())
    return from_layout(layout, data, fraction, nu_c, EXACT_KINDS)


def _slopes(
    layout: Layout,
    settings: SoInstrument,
    temperature_c: float,
    fsr: float,
    height: Floats,
    area: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Slopes of centre, sigma, delta and area, each (direction, pixel, order)."""
    shape = (3, *layout.centre.shape)
    moved, wider, away, area_slope = (np.zeros(shape) for _ in range(4))
    moved[0] = layout.scale
    nu, scale, aotf = layout.wavenumber, layout.scale, layout.aotf_centre_cm1
    # the reference of the widths is linear in both wavenumbers: unit steps are exact
    base = reference_wavenumber(settings, aotf, nu, scale)
    references = (
        reference_wavenumber(settings, aotf, nu + 1.0, scale) - base,
        np.zeros(layout.centre.shape),
        reference_wavenumber(settings, aotf + 1.0, nu, scale) - base,
    )
    sides = [
        ils_parameters(layout.pixels[:, None], base + step, settings)
        for step in (_STEP_CM1, -_STEP_CM1)
    ]
    sigma_slope = (sides[0][0] - sides[1][0]) / (2.0 * _STEP_CM1)
    delta_slope = (sides[0][1] - sides[1][1]) / (2.0 * _STEP_CM1)
    for direction, reference in enumerate(references):
        wider[direction] = sigma_slope * reference
        away[direction] = delta_slope * reference
        area_slope[direction] = -area * wider[direction] / layout.sigma
    area_slope[0] += height * _difference(
        lambda step: blaze(layout.centre + step * scale, layout.orders, fsr),
        0.0,
        _STEP_CM1,
    )
    area_slope[1] -= area / (1.0 + settings.ils_amplitude)
    area_slope[2] += height * _difference(
        lambda centre: blaze(
            layout.centre,
            layout.orders,
            float(free_spectral_range(centre, temperature_c)),
        ),
        aotf,
        1e2 * _STEP_CM1,  # the free spectral range hardly moves
    )
    return moved, wider, away, area_slope


def _difference(curve: Callable[[float], Floats], at: float, step: float) -> Floats:
    return np.asarray((curve(at + step) - curve(at - step)) / (2.0 * step))
