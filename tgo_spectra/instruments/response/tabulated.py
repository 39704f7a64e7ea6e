"""The instrument as one operator from spectral nodes to pixels.

Line shape, AOTF, blaze, addition of orders and normalisation are linear in the
transmittance T, which is known on the irregular nodes of an absorption table. In
each cell of that table the kernel (line shape times AOTF) is expanded in Legendre
polynomials, for which the table knows the weights of the cell's nodes. Plain arrays
only; the operator is stored as small dense blocks, (pixels, nodes) for each block
of neighbouring pixels and each order, so that applying it is matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.response.layout import arrange, fill
from tgo_spectra.instruments.so import (
    SoInstrument,
    aotf_transmission,
    blaze,
    covered_orders,
    free_spectral_range,
)
from tgo_spectra.numerics.matrices import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from tgo_spectra.instruments.response.layout import Layout

__all__ = [
    "KINDS",
    "Operator",
    "apply",
    "apply_factors",
    "apply_many",
    "blocks_of",
    "build_operator",
    "change",
    "covered_orders",
    "from_layout",
    "kind_index",
    "on_nodes",
]

Kind = Literal["value", "shift", "curvature", "slope"]

#: Kinds of rows, in the order in which they are stored.
KINDS: tuple[Kind, ...] = ("value", "shift", "curvature", "slope")

#: Pixels in a block: more means larger products but more zeros in them.
BLOCK_PIXELS = 8
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
    kinds : tuple of str
        Kinds of rows, in the order in which they are stored.
    lever : ndarray, shape (pixel, order), optional
        Relative distance from ``centre_cm1`` of the light of each order.
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
    kinds: tuple[str, ...] = KINDS
    lever: NDArray[np.float64] | None = None

    def blocks(
        self, kinds: slice, orders: tuple[int, ...] | None = None
    ) -> Iterator[tuple[slice, slice, int, NDArray[np.floating]]]:
        """Yield pixel range, node range, order index and (kind * pixel, node) block.

        Of all orders, or those at some places.
        """
        number = len(self.kinds)
        for b in range(len(self.block_start) - 1):
            p0, p1 = int(self.block_start[b]), int(self.block_start[b + 1])
            for k in range(self.orders.size) if orders is None else orders:
                n0, n1 = int(self.node_low[b, k]), int(self.node_high[b, k])
                start, size = int(self.offset[b, k]), (p1 - p0) * (n1 - n0)
                part = self.data[start : start + number * size]
                block = part.reshape(number, p1 - p0, n1 - n0)[kinds]
                yield slice(p0, p1), slice(n0, n1), k, block.reshape(-1, n1 - n0)


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
    kinds: tuple[Kind, ...] = KINDS,
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
    kinds : tuple of str
        The first, the first two or three, or all of `KINDS`.

    Returns
    -------
    Operator

    Raises
    ------
    InstrumentError
        If the inputs do not fit together or the table does not cover the orders.
    """
    if kinds not in (KINDS[:1], KINDS[:2], KINDS[:3], KINDS):
        msg = f"an operator has the first or all of {', '.join(KINDS)}"
        raise InstrumentError(msg, field="kinds", value=kinds, rule="operator.kind")
    settings = settings or SoInstrument()
    layout = arrange(
        node_cell,
        node_weight,
        cell_start_cm1,
        cell_width_cm1,
        pixel_wavenumber_cm1=pixel_wavenumber_cm1,
        order=order,
        aotf_frequency_khz=aotf_frequency_khz,
        temperature_c=temperature_c,
        pixels=pixels,
        cell_points=cell_points,
        n_orders=settings.n_orders if n_orders is None else n_orders,
        settings=settings,
        kinds=len(kinds),
        block_pixels=BLOCK_PIXELS,
        window_sigma=WINDOW_SIGMA,
    )
    aotf = layout.aotf_centre_cm1
    fsr = float(free_spectral_range(aotf, temperature_c))
    area = blaze(layout.centre, layout.orders, fsr) / (
        layout.sigma * (1.0 + settings.ils_amplitude)
    )
    nu_c = float(layout.wavenumber.mean())
    through = aotf_transmission(layout.sample, aotf, settings)
    data, sums = fill(
        layout, area, nu_c, through, settings.ils_amplitude, len(kinds), dtype
    )
    fraction = sums[:, :, 0] / sums[:, :, 0].sum(axis=1, keepdims=True)
    # the ghost displaces the light of a pixel; the AOTF's slope within the line shape
    # does so by 1e-3 of that
    ghost = settings.ils_amplitude / (1.0 + settings.ils_amplitude)
    lever = (layout.centre + ghost * layout.delta) / nu_c - 1.0
    return replace(from_layout(layout, data, fraction, nu_c, kinds), lever=lever)


def from_layout(
    layout: Layout,
    data: NDArray[np.floating],
    order_fraction: NDArray[np.float64],
    centre_cm1: float,
    kinds: tuple[str, ...],
) -> Operator:
    """Put filled blocks under their layout.

    Parameters
    ----------
    layout : Layout
        Of the blocks, with as many kinds as named.
    data : ndarray
        Entries, normalised.
    order_fraction : ndarray, shape (pixel, order)
        Part of a pixel's light from each order.
    centre_cm1 : float
        Wavenumber to which the slope refers.
    kinds : tuple of str
        Names of the kinds of rows.

    Returns
    -------
    Operator
    """
    return Operator(
        pixels=layout.pixels,
        orders=layout.orders,
        block_start=layout.limits,
        node_low=layout.node_low,
        node_high=layout.node_high,
        offset=layout.offset,
        data=data,
        order_fraction=order_fraction,
        n_nodes=layout.weight.shape[0],
        centre_cm1=centre_cm1,
        kinds=kinds,
    )


def change(plus: Operator, minus: Operator, step: float) -> Operator:
    """Return the difference of two operators over the step between them.

    Parameters
    ----------
    plus, minus : Operator
        From `build_operator`, with value rows alone, of the same pixels, orders and
        nodes. Their line shapes may reach over different nodes.
    step : float

    Returns
    -------
    Operator
        Value rows; what it says of the light of orders is that of the first.
    """
    low = np.minimum(plus.node_low, minus.node_low)
    high = np.maximum(plus.node_high, minus.node_high)
    sizes = np.diff(plus.block_start)[:, None] * (high - low)
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    made = replace(
        plus,
        node_low=low,
        node_high=high,
        offset=ends - sizes,
        data=np.zeros(int(ends[-1, -1]), dtype=plus.data.dtype),
    )
    for one, factor in ((plus, 1.0 / step), (minus, -1.0 / step)):
        if np.array_equal(one.node_low, low) and np.array_equal(one.node_high, high):
            made.data[:] += made.data.dtype.type(factor) * one.data
            continue
        both = zip(made.blocks(slice(None)), one.blocks(slice(None)), strict=True)
        for (_, nodes, _, target), (_, mine, _, block) in both:
            span = slice(mine.start - nodes.start, mine.stop - nodes.start)
            target[:, span] += target.dtype.type(factor) * block
    return made


def apply(
    operator: Operator, field: NDArray[np.floating], kind: str = "value"
) -> NDArray[np.floating]:
    """Apply one kind of rows to a field on the nodes.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.
    kind : str
        Rows to apply, one of the operator's kinds.

    Returns
    -------
    ndarray, shape (pixel, column)

    Raises
    ------
    InstrumentError
        If the field has another number of nodes, or the operator no such kind.
    """
    index = kind_index(operator, kind)
    result: NDArray[np.floating] = _apply(operator, field, slice(index, index + 1))[0]
    return result


def kind_index(operator: Operator, kind: str) -> int:
    """Position of a kind of rows; refuse what the operator does not have."""
    if kind not in operator.kinds:
        msg = f"the operator has the kinds {', '.join(operator.kinds)}"
        raise InstrumentError(msg, field="kind", value=kind, rule="operator.kind")
    return operator.kinds.index(kind)


def apply_many(operator: Operator, field: NDArray[np.floating]) -> NDArray[np.floating]:
    """Apply all kinds of rows at once.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.

    Returns
    -------
    ndarray, shape (kind, pixel, column)
        In the order of the operator's kinds, by default :data:`KINDS`.

    Raises
    ------
    InstrumentError
        If the field has another number of nodes.
    """
    return _apply(operator, field, slice(None))


def _apply(
    operator: Operator, field: NDArray[np.floating], kinds: slice
) -> NDArray[np.floating]:
    from tgo_spectra.instruments.response.kernel import apply_blocks

    values = on_nodes(operator, field)
    first, last, _ = kinds.indices(len(operator.kinds))
    shape = (last - first, operator.pixels.size, values.shape[1])
    result = np.zeros(shape, dtype=values.dtype)
    if values.shape[1]:
        apply_blocks(*blocks_of(operator), operator.data, first, LIMIT, values, result)
    return result


def blocks_of(
    operator: Operator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Layout of the blocks as the kernels take it."""
    return (
        operator.block_start,
        operator.node_low,
        operator.node_high,
        operator.offset,
    )


def on_nodes(operator: Operator, field: NDArray[np.floating]) -> NDArray[np.floating]:
    """Field as the operator takes it: its type, contiguous, with all nodes."""
    values = np.ascontiguousarray(field, dtype=operator.data.dtype)
    if values.ndim != 2 or values.shape[0] != operator.n_nodes:
        msg = f"field must be (node, column) with {operator.n_nodes} nodes"
        raise InstrumentError(
            msg, field="field", value=values.shape, rule="operator.field_shape"
        )
    return values


def apply_factors(
    operator: Operator, factors: NDArray[np.floating], field: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Apply the value rows to every product of a factor and a field on the nodes.

    The same as `apply` on ``factors[:, :, None] * field[:, None, :]``, which is not
    formed.

    Parameters
    ----------
    operator : Operator
        From :func:`build_operator`.
    factors : ndarray, shape (node, factor)
        Fastest when Fortran-contiguous and of the operator's type.
    field : ndarray, shape (node, column)
        C-contiguous and of the operator's type, else it is copied.

    Returns
    -------
    ndarray, shape (pixel, factor, column)

    Raises
    ------
    InstrumentError
        If factors or field have another number of nodes.
    """
    from tgo_spectra.instruments.response.kernel import apply_products

    values = on_nodes(operator, field)
    rows = np.ascontiguousarray(factors.T, dtype=operator.data.dtype)
    if rows.ndim != 2 or rows.shape[1] != operator.n_nodes:
        msg = f"factors must be (node, factor) with {operator.n_nodes} nodes"
        raise InstrumentError(
            msg, field="factors", value=factors.shape, rule="operator.field_shape"
        )
    shape = (operator.pixels.size, rows.shape[0], values.shape[1])
    result = np.zeros(shape, dtype=values.dtype)
    if result.size:
        apply_products(*blocks_of(operator), operator.data, rows, LIMIT, values, result)
    return result
