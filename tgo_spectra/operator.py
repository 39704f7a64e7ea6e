"""The instrument as one operator from spectral nodes to pixels.

Line shape, AOTF, blaze, addition of orders and normalisation are linear in the
transmittance T, which is known on the irregular nodes of an absorption table. In
each cell of that table the kernel (line shape times AOTF) is expanded in Legendre
polynomials, for which the table knows the weights of the cell's nodes. Plain arrays
only; the operator is stored as small dense blocks, (pixels, nodes) for each block
of neighbouring pixels and each order, so that applying it is matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instrument import (
    SoInstrument,
    aotf_centre,
    aotf_transmission,
    blaze,
    covered_orders,
    free_spectral_range,
    ils_parameters,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import csr_array

__all__ = [
    "KINDS",
    "Operator",
    "apply",
    "apply_many",
    "as_csr",
    "build_operator",
    "covered_orders",
    "truncation_residual",
]

Kind = Literal["value", "shift", "curvature", "slope"]

#: Kinds of rows, in the order in which they are stored.
KINDS: tuple[Kind, ...] = ("value", "shift", "curvature", "slope")

#: Pixels in a block: more means larger products but more zeros in them.
BLOCK_PIXELS = 16
#: Chebyshev points at which the kernel is evaluated in a cell.
CELL_SAMPLES = 8
#: Half window in units of sigma; the Gaussian is 3e-7 there.
WINDOW_SIGMA = 5.5


@dataclass(frozen=True, slots=True)
class Operator:
    """Block-dense operator from nodes to pixels.

    Attributes
    ----------
    pixels : ndarray of int, shape (pixel,)
        Pixels, ascending.
    orders : ndarray of int, shape (order,)
        Diffraction orders added.
    block_start : ndarray of int, shape (block + 1,)
        Limits of the blocks in ``pixels``.
    node_low, node_high : ndarray of int, shape (block, order)
        Range of nodes of each block.
    offset : ndarray of int, shape (block, order)
        Start of each block in ``data``; its shape is (kind, pixel, node).
    data : ndarray of float32 or float64
        Entries of all blocks.
    order_fraction : ndarray, shape (pixel, order)
        Part of a pixel's light that comes from each order for T = 1.
    n_nodes : int
        Number of nodes of the table.
    centre_cm1 : float
        Wavenumber to which the slope refers.
    """

    pixels: NDArray[np.int64]
    orders: NDArray[np.int64]
    block_start: NDArray[np.int64]
    node_low: NDArray[np.int64]
    node_high: NDArray[np.int64]
    offset: NDArray[np.int64]
    data: NDArray[np.floating]
    order_fraction: NDArray[np.float64]
    n_nodes: int
    centre_cm1: float

    def blocks(
        self, kinds: slice
    ) -> Iterator[tuple[slice, slice, int, NDArray[np.floating]]]:
        """Yield pixel range, node range, order index and (kind * pixel, node) block."""
        for b in range(len(self.block_start) - 1):
            p0, p1 = int(self.block_start[b]), int(self.block_start[b + 1])
            for k in range(self.orders.size):
                n0, n1 = int(self.node_low[b, k]), int(self.node_high[b, k])
                start, size = int(self.offset[b, k]), (p1 - p0) * (n1 - n0)
                part = self.data[start : start + len(KINDS) * size]
                block = part.reshape(len(KINDS), p1 - p0, n1 - n0)[kinds]
                yield slice(p0, p1), slice(n0, n1), k, block.reshape(-1, n1 - n0)


@lru_cache(maxsize=8)
def _cell_matrix(
    cell_points: int, moments: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _windows(
    wavenumber: NDArray[np.float64],
    orders: NDArray[np.int64],
    order: int,
    reference: NDArray[np.float64],
    pixels: NDArray[np.int64],
    settings: SoInstrument,
) -> tuple[NDArray[np.float64], ...]:
    """Line centres, sigma, delta and window limits, each (pixel, order)."""
    centre = wavenumber[:, None] * (orders / order)
    sigma, delta, _ = ils_parameters(pixels[:, None], reference, settings)
    margin = WINDOW_SIGMA * sigma
    low = centre + np.minimum(delta, 0.0) - margin
    high = centre + np.maximum(delta, 0.0) + margin
    return centre, sigma, delta, low, high


def build_operator(
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
    cell_points: int = 50,
    n_orders: int | None = None,
    settings: SoInstrument | None = None,
    dtype: type[np.float32 | np.float64] = np.float32,
) -> Operator:
    r"""Build the operator of NOMAD SO for one order and wavenumber scale.

    For pixel p, with c_k = nu_m(p) k / m its wavenumber in order k:

    .. math:: T(p) = \sum_k B_k(p) \int F \, L(\nu - c_k)\, T \, d\nu \; / \;
              \sum_k B_k(p) \int F \, L(\nu - c_k) \, d\nu

    AOTF transmission F inside the integral, line shape L of unit area, blaze B at
    the pixel. Row kinds: ``value``; ``shift`` and ``curvature``, the first and second
    derivative by a common shift (cm-1) of the nominal order's pixel wavenumbers, order
    k moving by k / m, of the normalised operator with line-shape widths, AOTF and
    blaze held; ``slope``, the value weighted by (nu - nu_c) / nu_c, nu_c being the
    mean nominal wavenumber of the pixels.

    Parameters
    ----------
    node_cell : array_like of int, shape (node,)
        Cell of each node, ascending.
    node_weight : array_like, shape (node, moment)
        The sum over the nodes of a cell of weight times T is the sum over the
        cell's fine midpoints of the Legendre polynomial times T.
    cell_start_cm1, cell_width_cm1 : float
        Start of cell 0 and width of all cells, cm-1.
    pixel_wavenumber_cm1 : array_like, shape (pixel,)
        Wavenumbers of the pixels in the nominal order, cm-1.
    order : int
        Nominal order m.
    aotf_frequency_khz, temperature_c : float
        AOTF drive frequency, kHz; instrument temperature, degree Celsius.
    pixels : array_like of int, shape (pixel,)
        Ascending pixel numbers from 0, for the line shape.
    cell_points : int
        Fine midpoints in a cell.
    n_orders : int, optional
        Neighbouring orders on each side; default that of the settings.
    settings : SoInstrument, optional
        Instrument model.
    dtype : numpy.float32 or numpy.float64
        Storage of the entries; they are computed in double precision.

    Returns
    -------
    Operator

    Raises
    ------
    InstrumentError
        If the inputs do not fit together or the table does not cover the orders.
    """
    settings = settings or SoInstrument()
    number = settings.n_orders if n_orders is None else n_orders
    nu = np.ascontiguousarray(pixel_wavenumber_cm1, dtype=np.float64)
    pix = np.ascontiguousarray(pixels, dtype=np.int64)
    cells = np.asarray(node_cell, dtype=np.int64)
    weight = np.ascontiguousarray(node_weight, dtype=np.float64)
    _check(nu, pix, cells, weight, number)
    orders = np.arange(order - number, order + number + 1)
    centre0 = float(aotf_centre(aotf_frequency_khz, temperature_c))
    centre0 += settings.aotf_offset
    scale = orders / order
    reference = {
        "aotf": np.full((nu.size, orders.size), centre0),
        "order": np.broadcast_to(centre0 * scale, (nu.size, orders.size)),
        "pixel": nu[:, None] * scale,
    }[settings.ils_reference]
    centre, sigma, delta, low, high = _windows(
        nu, orders, order, reference, pix, settings
    )
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
            msg,
            field="n_orders",
            value=number,
            rule="operator.coverage",
        )
    starts = np.searchsorted(cells, np.arange(n_cells + 1))
    limits = np.append(np.arange(0, nu.size, BLOCK_PIXELS), nu.size)
    node_low = starts[np.minimum.reduceat(first, limits[:-1], axis=0)]
    node_high = starts[np.maximum.reduceat(last, limits[:-1], axis=0)]
    sizes = np.diff(limits)[:, None] * (node_high - node_low) * len(KINDS)
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    offset = ends - sizes
    x, matrix = _cell_matrix(cell_points, weight.shape[1])
    lowest, highest = int(first.min()), int(last.max())
    middle = cell_start_cm1 + (np.arange(lowest, highest) + 0.5) * cell_width_cm1
    sample = middle[:, None] + 0.5 * cell_width_cm1 * x
    fsr = float(free_spectral_range(centre0, temperature_c))
    area = blaze(centre, orders, fsr) / (sigma * (1.0 + settings.ils_amplitude))
    nu_c = float(nu.mean())
    data = np.zeros(int(ends[-1, -1]))
    sums = np.zeros((nu.size, orders.size, len(KINDS)))
    from tgo_spectra.operator_kernel import fill_blocks, normalise_blocks

    fill_blocks(
        centre,
        sigma,
        delta,
        area,
        scale,
        first,
        last,
        settings.ils_amplitude,
        nu_c,
        lowest,
        sample,
        aotf_transmission(sample, centre0, settings),
        matrix,
        starts,
        weight,
        limits,
        node_low,
        node_high,
        offset,
        data,
        sums,
    )
    total = sums.sum(axis=1)
    out = np.empty(data.size, dtype=dtype)
    normalise_blocks(total, limits, node_low, node_high, offset, data, out)
    fraction = sums[:, :, 0] / total[:, :1]
    return Operator(
        *(pix, orders, limits, node_low, node_high, offset, out, fraction),
        *(weight.shape[0], nu_c),
    )


def _check(
    nu: NDArray[np.float64],
    pixels: NDArray[np.int64],
    cells: NDArray[np.int64],
    weight: NDArray[np.float64],
    number: int,
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


def apply(
    operator: Operator, field: NDArray[np.floating], kind: Kind = "value"
) -> NDArray[np.floating]:
    """Apply one kind of rows to a field on the nodes.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.
    kind : {"value", "shift", "curvature", "slope"}
        Rows to apply.

    Returns
    -------
    ndarray, shape (pixel, column)

    Raises
    ------
    InstrumentError
        If the field has another number of nodes.
    """
    index = KINDS.index(kind)
    result: NDArray[np.floating] = _apply(operator, field, slice(index, index + 1))[0]
    return result


def apply_many(operator: Operator, field: NDArray[np.floating]) -> NDArray[np.floating]:
    """Apply all four kinds of rows at once.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.

    Returns
    -------
    ndarray, shape (4, pixel, column)
        In the order of :data:`KINDS`.

    Raises
    ------
    InstrumentError
        If the field has another number of nodes.
    """
    return _apply(operator, field, slice(None))


def _apply(
    operator: Operator, field: NDArray[np.floating], kinds: slice
) -> NDArray[np.floating]:
    from scipy.linalg.blas import dgemm, sgemm

    dtype = operator.data.dtype
    values = np.ascontiguousarray(field, dtype=dtype)
    if values.ndim != 2 or values.shape[0] != operator.n_nodes:
        msg = f"field must be (node, column) with {operator.n_nodes} nodes"
        raise InstrumentError(
            msg,
            field="field",
            value=values.shape,
            rule="operator.field_shape",
        )
    gemm = sgemm if dtype == np.float32 else dgemm
    number = len(range(*kinds.indices(len(KINDS))))
    result = np.empty((number, operator.pixels.size, values.shape[1]), dtype=dtype)
    if values.shape[1] == 0:
        return result
    for pixel, node, k, block in operator.blocks(kinds):
        if k == 0:
            total = np.zeros((block.shape[0], values.shape[1]), dtype=dtype)
        # Transposed: BLAS counts columns first, so these views need no copy, and
        # it adds the order to the sum in place.
        gemm(1.0, values[node].T, block.T, beta=1.0, c=total.T, overwrite_c=True)
        if k == operator.orders.size - 1:
            result[:, pixel] = total.reshape(number, -1, values.shape[1])
    return result


def as_csr(operator: Operator, kind: Kind = "value") -> csr_array:
    """One kind of rows as a sparse matrix.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    kind : {"value", "shift", "curvature", "slope"}
        Rows to take.

    Returns
    -------
    scipy.sparse.csr_array, shape (pixel, node)
    """
    from scipy.sparse import coo_array

    index = KINDS.index(kind)
    values, rows, columns = [], [], []
    for pixel, node, _, block in operator.blocks(slice(index, index + 1)):
        i, j = np.nonzero(block)
        values.append(block[i, j])
        rows.append(i + pixel.start)
        columns.append(j + node.start)
    shape = (operator.pixels.size, operator.n_nodes)
    matrix = coo_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=shape,
    )
    return cast("csr_array", matrix.tocsr())


def truncation_residual(operator: Operator, field: NDArray[np.floating]) -> float:
    """Largest change of transmittance when the outermost pair of orders is left out.

    A bound in practice on what the orders beyond would add: from n to n + 1 orders
    the change shrinks by 0.5 to 0.8 in strong and weak bands.

    Parameters
    ----------
    operator : Operator
        With at least one neighbouring order.
    field : ndarray, shape (node, column)
        Transmittance on the nodes.

    Returns
    -------
    float
        Largest ``|T_n - T_(n-1)|``; not-a-number without neighbours.
    """
    if operator.orders.size < 3:
        return float("nan")
    values = np.asarray(field, dtype=np.float64)
    full = np.zeros((operator.pixels.size, values.shape[1]))
    outer = np.zeros_like(full)
    edges = (0, operator.orders.size - 1)
    for pixel, node, k, block in operator.blocks(slice(0, 1)):
        part = block.astype(np.float64) @ values[node]
        full[pixel] += part
        if k in edges:
            outer[pixel] += part
    rest = 1.0 - operator.order_fraction[:, edges].sum(axis=1, keepdims=True)
    return float(np.abs(full - (full - outer) / rest).max())
