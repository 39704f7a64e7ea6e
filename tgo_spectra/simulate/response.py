"""What SO and LNO make of a spectrum, for the truth: written anew, not the fit's.

The fit's responses and these have only coefficients in common. The line shape times
the AOTF is evaluated at every fine point of the table's cells, once for each pixel and
order, and meets the transmittance as Legendre moments of the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments import coefficients, lno, number
from tgo_spectra.instruments import so as instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from scipy.sparse import csr_array

    from tgo_spectra.simulate.scenario import NadirScenario, SoScenario
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.float64]

__all__ = ["lno_response", "moments", "so_response"]

REACH_SIGMA = 6.0
"""The Gaussian is 1.5e-8 there."""


def moments(band: BandTable) -> csr_array:
    """Matrix from nodes to Legendre moments, shape (cell * moment, node)."""
    from scipy.sparse import csr_array

    nodes, number_of = band.node_weight.shape
    row = (band.node_cell - band.node_cell[0])[:, None] * number_of
    place = (row + np.arange(number_of), np.repeat(np.arange(nodes), number_of))
    cells = int(band.node_cell[-1] - band.node_cell[0]) + 1
    entries = band.node_weight.ravel(), (place[0].ravel(), place[1])
    return csr_array(entries, shape=(cells * number_of, nodes))


def so_response(
    scenario: SoScenario, band: BandTable, wavenumber_cm1: Array, n_orders: int
) -> tuple[csr_array, Array]:
    """Matrix (pixel, cell * moment) and parts of the orders of pixels of NOMAD SO.

    For pixels at wavenumbers of their own, (pixel,), in the nominal order; a Gaussian
    with a ghost beside it, whose widths go with the centre of the AOTF.
    """
    orders = np.arange(scenario.order - n_orders, scenario.order + n_orders + 1)
    aotf = float(instrument.aotf_centre(scenario.frequency_khz, scenario.temperature_c))
    spacing = float(instrument.free_spectral_range(aotf, scenario.temperature_c))
    sigma = aotf / (number("so.resolving_power") * number("so.fwhm_per_sigma"))
    ghost = scenario.ghost_ratio
    apart = np.polynomial.polynomial.polyval(
        np.arange(wavenumber_cm1.size), coefficients("so.ghost_displacement")
    )
    centre = wavenumber_cm1[:, None] * (orders / scenario.order)
    matrix, parts, beyond = _response(
        band,
        centre,
        np.full(centre.shape, sigma * scenario.resolution_factor),
        np.sinc(centre / spacing - orders) ** 2,
        lambda nu: _lobed_aotf(scenario, nu - aotf, aotf),
        number("so.ghost_amplitude") if ghost is None else ghost,
        np.asarray(apart * (aotf / number("so.ghost_displacement_reference"))),
    )
    if beyond.any():
        message = "the table does not cover the neighbouring orders"
        raise InstrumentError(
            message, field="n_orders", value=n_orders, rule="operator.coverage"
        )
    return matrix, parts


def lno_response(
    scenario: NadirScenario, band: BandTable, wavenumber_cm1: Array
) -> tuple[csr_array, Array]:
    """Matrix (pixel, cell * moment) of NOMAD LNO, and the light from beyond the table.

    A Gaussian of constant resolving power; the second, (pixel,), is a part of one.
    """
    half, temperature = scenario.n_orders, scenario.temperature_c
    orders = np.arange(scenario.order - half, scenario.order + half + 1)
    aotf = float(
        lno.aotf_centre(float(lno.AOTF_FREQUENCY_KHZ[scenario.order]), temperature)
    )
    centre = wavenumber_cm1[:, None] * (orders / scenario.order)
    per_sigma = np.sqrt(8.0 * np.log(2.0)) * scenario.resolving_power
    peak = np.polynomial.polynomial.polyval(
        orders, coefficients("lno.blaze_centre_pixel")
    )
    away = centre - lno.pixel_wavenumber(orders, peak, temperature)
    matrix, _, beyond = _response(
        band,
        centre,
        centre * (scenario.resolution_factor / per_sigma),
        np.sinc(away / number("lno.free_spectral_range")) ** 2,
        lambda nu: _peaked_aotf(nu - aotf),
    )
    return matrix, beyond


def _response(
    band: BandTable,
    centre: Array,
    sigma: Array,
    blaze: Array,
    transmission: Callable[[Array], Array],
    ghost: float = 0.0,
    apart: Array | float = 0.0,
) -> tuple[csr_array, Array, Array]:
    """Matrix (pixel, cell * moment), parts of orders, and of light beyond the table.

    ``sum_k B_k int F L_k T dnu / sum_k B_k int F L_k dnu`` with line shape L of unit
    area, AOTF transmission F and blaze B; centre, sigma and blaze are (pixel, order).
    """
    from scipy.sparse import csr_array

    width, start, points, count, cells = _cells(band)
    midpoint = (np.arange(points) + 0.5) / points
    legendre = np.polynomial.legendre.legvander(2.0 * midpoint - 1.0, count - 1)
    expansion = np.linalg.pinv(legendre).T  # (point, moment)
    reach = REACH_SIGMA * sigma
    span = int(np.ceil((2.0 * reach.max() + np.max(apart)) / width)) + 1
    first = np.floor((centre - reach - start) / width).astype(np.int64)
    lowest = int(first.min())
    edges = start + width * np.arange(lowest, int(first.max()) + span)
    passed = transmission(edges[:, None] + width * midpoint)
    light, beyond = np.empty(centre.shape), np.zeros(len(centre))
    entries, columns = [], []
    for k in range(centre.shape[1]):
        cell = first[:, k, None] + np.arange(span)
        nu = edges[cell - lowest][:, :, None] + width * midpoint
        distance = (nu - centre[:, k, None, None]) / sigma[:, k, None, None]
        shape = np.exp(-0.5 * distance**2)
        if ghost:
            distance -= np.asarray(apart / sigma[:, k])[:, None, None]
            shape += ghost * np.exp(-0.5 * distance**2)
        shape *= passed[cell - lowest] * (blaze / sigma)[:, k, None, None]
        light[:, k] = shape.sum(axis=(1, 2))
        inside = (cell >= 0) & (cell < cells)
        beyond += np.where(inside, 0.0, shape.sum(axis=2)).sum(axis=1)
        shape *= inside[:, :, None]
        column = np.where(inside, cell, 0)[:, :, None] * count + np.arange(count)
        entries.append((shape @ expansion).reshape(len(cell), -1))
        columns.append(column.reshape(len(cell), -1))
    values, places = np.hstack(entries), np.hstack(columns)
    total = light.sum(axis=1)
    values /= total[:, None]
    row = np.repeat(np.arange(len(centre)), values.shape[1])
    size = (len(centre), cells * count)
    matrix = csr_array((values.ravel(), (row, places.ravel())), shape=size)
    return matrix, light / total[:, None], beyond / total


def _cells(band: BandTable) -> tuple[float, float, int, int, int]:
    """Width of cells, start of the first, fine points, moments, number of cells."""
    width = float(band.cell_width_cm1)
    first, last = int(band.node_cell[0]), int(band.node_cell[-1])
    start = float(band.cell_start_cm1[0]) + width * first
    points = round(width / band.step_cm1)
    return width, start, points, band.node_weight.shape[1], last - first + 1


def _lobed_aotf(scenario: SoScenario, distance_cm1: Array, centre_cm1: float) -> Array:
    """Transmission of the AOTF of SO at distances from its nominal centre."""
    width, lobes, asymmetry, pedestal = (
        float(value) for value in instrument.aotf_parameters(centre_cm1)
    )
    x = distance_cm1 - scenario.aotf_offset_cm1
    width *= scenario.aotf_width_factor
    lobes *= scenario.side_lobe_factor
    foot = number("so.aotf_pedestal_sigma")
    result = np.sinc(x / width) ** 2
    result[x > width] *= lobes
    result[x <= -width] *= lobes * asymmetry
    gaussian = np.exp(-0.5 * (x / foot) ** 2)
    return np.asarray(result + pedestal * scenario.pedestal_factor * gaussian)


def _peaked_aotf(distance_cm1: Array) -> Array:
    """Transmission of the AOTF of LNO at distances from its centre."""
    height, width = coefficients("lno.aotf_sinc")
    rest, scale = coefficients("lno.aotf_gaussian")
    peak = height * np.sinc(distance_cm1 / width) ** 2
    return np.asarray(peak + rest * np.exp(-((distance_cm1 / scale) ** 2)))
