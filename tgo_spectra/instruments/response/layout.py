"""Where the entries of the instrument operator lie, and what they are made of.

Shared by the operator of the fit and by that of the exact derivatives: windows of the
line shape in cells, blocks of pixels, and per (pixel, order) the parameters of the
kernel. From these the blocks of the fit are filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.so import (
    SoInstrument,
    aotf_centre,
    covered_orders,
    ils_parameters,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["Layout", "arrange", "fill", "lay_out", "reference_wavenumber"]

#: Chebyshev points at which the kernel is evaluated in a cell.
CELL_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks of an operator and the parameters of its kernel.

    Attributes
    ----------
    pixels, orders : ndarray of int
        Pixels, ascending; diffraction orders added.
    scale : ndarray, shape (order,)
        Order over nominal order.
    wavenumber : ndarray, shape (pixel,)
        Of the nominal order, cm-1.
    aotf_centre_cm1 : float
        With the offset of the settings.
    centre, sigma, delta : ndarray, shape (pixel, order)
        Wavenumber of the pixel in each order, width and ghost's displacement, cm-1.
    first, last : ndarray of int, shape (pixel, order)
        Window in cells.
    lowest : int
        Cell of the first row of samples.
    middle : ndarray, shape (cell,)
        Middles of the cells of the samples, cm-1, ``cell_width_cm1`` apart.
    points : ndarray, shape (sample,)
        Samples in a cell, from -1 to 1.
    sample : ndarray, shape (cell, sample)
        Wavenumbers at which the kernel is evaluated, cm-1.
    matrix : ndarray, shape (moment, sample)
        From samples to Legendre coefficients.
    starts : ndarray of int, shape (cell + 1,)
        First node of each cell.
    weight : ndarray, shape (node, moment)
    limits : ndarray of int, shape (block + 1,)
        Limits of the blocks in ``pixels``.
    node_low, node_high, offset : ndarray of int, shape (block, order)
        Nodes of each block and the start of its entries.
    size : int
        Number of entries.
    """

    pixels: Integers
    orders: Integers
    scale: Floats
    wavenumber: Floats
    aotf_centre_cm1: float
    centre: Floats
    sigma: Floats
    delta: Floats
    first: Integers
    last: Integers
    lowest: int
    middle: Floats
    cell_width_cm1: float
    points: Floats
    sample: Floats
    matrix: Floats
    starts: Integers
    weight: Floats
    limits: Integers
    node_low: Integers
    node_high: Integers
    offset: Integers
    size: int


@lru_cache(maxsize=8)
def _cell_matrix(cell_points: int, moments: int) -> tuple[Floats, Floats]:
    """Chebyshev points in -1..1 and the matrix from values there to coefficients.

    The coefficients are those of the discrete least-squares fit by Legendre
    polynomials over the midpoints of a cell: the table's moments are discrete sums.
    """
    index = np.arange(CELL_SAMPLES)
    x = np.cos(np.pi * (index + 0.5) / CELL_SAMPLES)
    u = (2 * np.arange(cell_points) + 1) / cell_points - 1
    vander = np.polynomial.chebyshev.chebvander
    interpolate = vander(u, CELL_SAMPLES - 1) @ np.linalg.inv(
        vander(x, CELL_SAMPLES - 1)
    )
    legendre = np.polynomial.legendre.legvander(u, moments - 1)
    matrix = np.linalg.lstsq(legendre, interpolate, rcond=None)[0]
    return x, np.ascontiguousarray(matrix, dtype=np.float64)


def reference_wavenumber(
    settings: SoInstrument, centre_cm1: float, wavenumber: Floats, scale: Floats
) -> Floats:
    """Wavenumber with which line-shape widths scale, shape (pixel, order).

    Parameters
    ----------
    settings : SoInstrument
        Its ``ils_reference`` chooses.
    centre_cm1 : float
        AOTF centre, cm-1.
    wavenumber : ndarray, shape (pixel,)
        Nominal order, cm-1.
    scale : ndarray, shape (order,)
        Order over nominal order.

    Returns
    -------
    ndarray
        cm-1.
    """
    shape = (wavenumber.size, scale.size)
    if settings.ils_reference == "aotf":
        return np.full(shape, centre_cm1)
    if settings.ils_reference == "order":
        return np.array(np.broadcast_to(centre_cm1 * scale, shape))
    return wavenumber[:, None] * scale


def arrange(
    node_cell: ArrayLike,
    node_weight: ArrayLike,
    cell_start_cm1: float,
    cell_width_cm1: float,
    *,
    pixel_wavenumber_cm1: ArrayLike,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    pixels: ArrayLike,
    cell_points: int,
    n_orders: int,
    settings: SoInstrument,
    kinds: int,
    block_pixels: int,
    window_sigma: float,
) -> Layout:
    """Lay out the blocks of an operator with `registry` kinds of rows.

    Parameters
    ----------
    node_cell, node_weight, cell_start_cm1, cell_width_cm1
        See `tgo_spectra.instruments.response.tabulated.build_operator`.
    pixel_wavenumber_cm1, order, aotf_frequency_khz, temperature_c, pixels
        The same.
    cell_points, n_orders, settings
        The same.
    kinds, block_pixels : int
        Kinds of rows and pixels in a block.
    window_sigma : float
        Half window of the line shape in units of its sigma.

    Returns
    -------
    Layout

    Raises
    ------
    InstrumentError
        If the inputs do not fit together or the table does not cover the orders.
    """
    nu = np.ascontiguousarray(pixel_wavenumber_cm1, dtype=np.float64)
    pix = np.ascontiguousarray(pixels, dtype=np.int64)
    scale = np.arange(order - n_orders, order + n_orders + 1) / order
    aotf = float(aotf_centre(aotf_frequency_khz, temperature_c)) + settings.aotf_offset
    reference = reference_wavenumber(settings, aotf, nu, scale)
    sigma, delta, _ = ils_parameters(pix[:, None], reference, settings)
    return lay_out(
        node_cell,
        node_weight,
        cell_start_cm1,
        cell_width_cm1,
        pixels=pix,
        pixel_wavenumber_cm1=nu,
        order=order,
        n_orders=n_orders,
        aotf_centre_cm1=aotf,
        sigma=sigma,
        delta=delta,
        cell_points=cell_points,
        kinds=kinds,
        block_pixels=block_pixels,
        window_sigma=window_sigma,
    )


def lay_out(
    node_cell: ArrayLike,
    node_weight: ArrayLike,
    cell_start_cm1: float,
    cell_width_cm1: float,
    *,
    pixels: ArrayLike,
    pixel_wavenumber_cm1: ArrayLike,
    order: int,
    n_orders: int,
    aotf_centre_cm1: float,
    sigma: Floats,
    delta: Floats,
    cell_points: int,
    kinds: int,
    block_pixels: int,
    window_sigma: float,
) -> Layout:
    """Lay out the blocks of line shapes of any channel whose orders are added.

    Parameters
    ----------
    node_cell, node_weight, cell_start_cm1, cell_width_cm1, cell_points
        As for `arrange`.
    pixels, pixel_wavenumber_cm1, order, n_orders
        The same.
    aotf_centre_cm1 : float
        cm-1.
    sigma, delta : array, shape (pixel, order)
        Widths of the line shapes and displacements of their ghosts, cm-1.
    kinds, block_pixels, window_sigma
        As for `arrange`.

    Returns
    -------
    Layout

    Raises
    ------
    InstrumentError
        As `arrange`.
    """
    nu = np.ascontiguousarray(pixel_wavenumber_cm1, dtype=np.float64)
    pix = np.ascontiguousarray(pixels, dtype=np.int64)
    cells = np.asarray(node_cell, dtype=np.int64)
    weight = np.ascontiguousarray(node_weight, dtype=np.float64)
    _check(nu, pix, cells, weight, n_orders)
    orders = np.arange(order - n_orders, order + n_orders + 1)
    scale = orders / order
    centre = nu[:, None] * scale
    low = centre + np.minimum(delta, 0.0) - window_sigma * sigma
    high = centre + np.maximum(delta, 0.0) + window_sigma * sigma
    first = np.floor((low - cell_start_cm1) / cell_width_cm1).astype(np.int64)
    last = np.floor((high - cell_start_cm1) / cell_width_cm1).astype(np.int64) + 1
    n_cells = int(cells[-1]) + 1
    if first.min() < int(cells[0]) or last.max() > n_cells:
        start = cell_start_cm1 + int(cells[0]) * cell_width_cm1
        stop = cell_start_cm1 + n_cells * cell_width_cm1
        covered = covered_orders(nu, order, start, stop)
        msg = (
            f"table {start:.1f}..{stop:.1f} cm-1 does not cover the neighbouring "
            f"orders ({low.min():.1f}..{high.max():.1f} cm-1); it covers {covered}"
        )
        raise InstrumentError(
            msg, field="n_orders", value=n_orders, rule="operator.coverage"
        )
    starts = np.searchsorted(cells, np.arange(n_cells + 1))
    limits = np.append(np.arange(0, nu.size, block_pixels), nu.size)
    node_low = starts[np.minimum.reduceat(first, limits[:-1], axis=0)]
    node_high = starts[np.maximum.reduceat(last, limits[:-1], axis=0)]
    sizes = np.diff(limits)[:, None] * (node_high - node_low) * kinds
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    x, matrix = _cell_matrix(cell_points, weight.shape[1])
    lowest, highest = int(first.min()), int(last.max())
    middle: Floats = np.arange(lowest, highest, dtype=np.float64) + 0.5
    middle = cell_start_cm1 + middle * cell_width_cm1
    return Layout(
        pixels=pix,
        orders=orders,
        scale=scale,
        wavenumber=nu,
        aotf_centre_cm1=aotf_centre_cm1,
        centre=centre,
        sigma=sigma,
        delta=delta,
        first=first,
        last=last,
        lowest=lowest,
        middle=middle,
        cell_width_cm1=float(cell_width_cm1),
        points=x,
        sample=middle[:, None] + 0.5 * cell_width_cm1 * x,
        matrix=matrix,
        starts=starts,
        weight=weight,
        limits=limits,
        node_low=node_low,
        node_high=node_high,
        offset=ends - sizes,
        size=int(ends[-1, -1]),
    )


def _check(
    nu: Floats, pixels: Integers, cells: Integers, weight: Floats, number: int
) -> None:
    faults = (
        (number < 0, "n_orders", number, "must not be negative"),
        (nu.ndim != 1 or nu.size == 0, "pixel_wavenumber_cm1", nu.shape, "is empty"),
        (nu.shape != pixels.shape, "pixels", pixels.shape, "must match wavenumbers"),
        (not np.isfinite(nu).all(), "pixel_wavenumber_cm1", None, "must be finite"),
        (bool((np.diff(pixels) <= 0).any()), "pixels", None, "must ascend"),
        (
            weight.ndim != 2 or cells.shape != weight.shape[:1] or cells.size == 0,
            "node_weight",
            weight.shape,
            "must be (node, moment)",
        ),
        (bool((np.diff(cells) < 0).any()), "node_cell", None, "must ascend"),
    )
    for fault, field, value, what in faults:
        if fault:
            msg = f"{field} {what}"
            raise InstrumentError(msg, field=field, value=value, rule="operator.inputs")


def fill(
    layout: Layout,
    area: Floats,
    nu_c: float,
    through: Floats,
    ghost: float,
    kinds: int,
    dtype: type[np.floating],
) -> tuple[NDArray[np.floating], Floats]:
    """Fill the blocks of a layout and normalise them.

    One block at a time: in double precision it stays in the cache.

    ``area``, (pixel, order): blaze over the sigma of the line shape; ``nu_c``:
    wavenumber to which the slope refers, cm-1; ``through``: AOTF transmission at the
    samples of the layout; ``ghost``: amplitude of the ghosts; ``kinds`` of rows, one to
    four. Returns the entries, normalised, of type ``dtype``, and the sums over the
    nodes before that, (pixel, order, kind).
    """
    from tgo_spectra.instruments.response.kernel import fill_blocks, normalise_blocks

    mix = np.ascontiguousarray(layout.weight @ layout.matrix)
    out = np.empty(layout.size, dtype=dtype)
    sums = np.zeros((*layout.centre.shape, kinds))
    stops = np.append(layout.offset[1:, 0], layout.size)
    scratch = np.empty(int((stops - layout.offset[:, 0]).max()))
    for b, stop in enumerate(stops):
        start = int(layout.offset[b, 0])
        data = scratch[: stop - start]
        data[:] = 0.0
        pixels = slice(layout.limits[b], layout.limits[b + 1])
        where = (
            layout.limits[b : b + 2],
            layout.node_low[b : b + 1],
            layout.node_high[b : b + 1],
            layout.offset[b : b + 1] - start,
        )
        fill_blocks(
            layout.centre,
            layout.sigma,
            layout.delta,
            area,
            layout.scale,
            layout.first,
            layout.last,
            ghost,
            nu_c,
            layout.lowest,
            layout.middle,
            layout.cell_width_cm1,
            layout.points,
            through,
            layout.starts,
            mix,
            *where,
            data,
            sums,
        )
        total = np.zeros((layout.pixels.size, kinds))
        total[pixels] = sums[pixels].sum(axis=1)
        light = total[pixels, 0]
        if not (light > 0.0).all():
            raise InstrumentError(
                "no light reaches a pixel: line shape or AOTF are none",
                record=int(layout.limits[b] + np.argmin(light)),
                value=float(light.min()),
                rule="instrument.no_light",
            )
        normalise_blocks(total, *where, data, out[start:stop])
    return out, sums
