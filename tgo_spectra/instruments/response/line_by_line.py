"""Operator from the nodes of an absorption table to pixels, for any line shape.

The sum of `tgo_spectra.instruments.response.tabulated` with its parts given from
outside: the line shapes, the weight of each order at each pixel, and a transfer
function inside the integral (an AOTF). It serves LNO and ACS as well as any instrument
whose pixels are wider than the cells of the table; how well the table's moments carry a
line shape is measured while the operator is built, and refused beyond a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import InstrumentError
from tgo_spectra.instruments.line_shape import REACH_SIGMA
from tgo_spectra.instruments.response.tabulated import BLOCK_PIXELS, KINDS, Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from tgo_spectra.instruments.line_shape import PixelShape

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Transfer = Callable[[Floats], Floats]

__all__ = ["Cells", "check_width", "line_shape_operator"]

# Chebyshev points of a cell beyond the number of moments: at twice the degree the
# residual of the expansion is seen, not only its first term.
_EXTRA_SAMPLES = 7
TOLERANCE = 3e-4
"""Part of the area of a line shape that moments need not carry, 1."""


@dataclass(frozen=True)
class Cells:
    """The nodes of an absorption table, cell by cell.

    Attributes
    ----------
    node_cell : ndarray of int, shape (node,)
        Cell of each node, ascending.
    node_weight : ndarray, shape (node, moment)
        The sum over the nodes of a cell of weight times T is the sum over the cell's
        fine midpoints of the Legendre polynomial times T.
    start_cm1, width_cm1 : float
        Start of cell 0 and width of all cells, cm-1.
    points : int
        Fine midpoints in a cell.
    """

    node_cell: Integers
    node_weight: Floats
    start_cm1: float
    width_cm1: float
    points: int

    def __post_init__(self) -> None:
        cell = np.asarray(self.node_cell, dtype=np.int64)
        weight = np.ascontiguousarray(self.node_weight, dtype=np.float64)
        if weight.ndim != 2 or cell.shape != weight.shape[:1] or cell.size == 0:
            msg = "node_weight must be (node, moment) with a cell for each node"
            raise InstrumentError(
                msg,
                field="node_weight",
                value=(cell.shape, weight.shape),
                rule="operator.inputs",
            )
        if (np.diff(cell) < 0).any() or cell[0] < 0:
            msg = "node_cell must ascend from zero or more"
            raise InstrumentError(
                msg, field="node_cell", value=int(cell[0]), rule="operator.inputs"
            )
        object.__setattr__(self, "node_cell", cell)
        object.__setattr__(self, "node_weight", weight)

    @property
    def range_cm1(self) -> tuple[float, float]:
        """Wavenumbers covered."""
        low, high = int(self.node_cell[0]), int(self.node_cell[-1]) + 1
        return (
            self.start_cm1 + low * self.width_cm1,
            self.start_cm1 + high * self.width_cm1,
        )


@lru_cache(maxsize=8)
def _expansion(points: int, moments: int) -> tuple[Floats, Floats, Floats]:
    """Return samples in -1..1, matrix to Legendre coefficients, and back to samples.

    The coefficients are those of least squares over the midpoints of a cell, since the
    table's moments are sums over them.
    """
    samples = moments + _EXTRA_SAMPLES
    x = np.cos(np.pi * (np.arange(samples) + 0.5) / samples)
    u = (2.0 * np.arange(points) + 1.0) / points - 1.0
    chebyshev = np.polynomial.chebyshev.chebvander
    legendre = np.polynomial.legendre.legvander
    at_points = np.linalg.solve(
        chebyshev(x, samples - 1).T, chebyshev(u, samples - 1).T
    ).T
    matrix = np.linalg.lstsq(legendre(u, moments - 1), at_points, rcond=None)[0]
    return x, np.asarray(matrix), np.asarray(legendre(x, moments - 1))


@dataclass(frozen=True)
class _Plan:
    """Blocks of pixels, their windows in cells and their places in the data."""

    first: Integers
    last: Integers
    limits: Integers
    starts: Integers
    node_low: Integers
    node_high: Integers
    offset: Integers
    size: int


def _plan(cells: Cells, centre: Floats, low: Floats, high: Floats, kinds: int) -> _Plan:
    bottom, top = centre + low, centre + high
    first = np.floor((bottom - cells.start_cm1) / cells.width_cm1).astype(np.int64)
    last = np.floor((top - cells.start_cm1) / cells.width_cm1).astype(np.int64) + 1
    n_cells = int(cells.node_cell[-1]) + 1
    if first.min() < int(cells.node_cell[0]) or last.max() > n_cells:
        start, stop = cells.range_cm1
        msg = (
            f"table {start:.1f}..{stop:.1f} cm-1 does not cover the pixels in all "
            f"orders ({bottom.min():.1f}..{top.max():.1f} cm-1)"
        )
        raise InstrumentError(
            msg,
            field="centre_cm1",
            value=(float(bottom.min()), float(top.max())),
            rule="operator.coverage",
        )
    limits = np.append(np.arange(0, centre.shape[0], BLOCK_PIXELS), centre.shape[0])
    block_first = np.minimum.reduceat(first, limits[:-1], axis=0)
    block_last = np.maximum.reduceat(last, limits[:-1], axis=0)
    starts = np.searchsorted(cells.node_cell, np.arange(n_cells + 1))
    node_low, node_high = starts[block_first], starts[block_last]
    sizes = np.diff(limits)[:, None] * (node_high - node_low) * kinds
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    return _Plan(
        block_first,
        block_last,
        limits,
        starts,
        node_low,
        node_high,
        ends - sizes,
        int(ends[-1, -1]),
    )


def line_shape_operator(
    cells: Cells,
    centre_cm1: ArrayLike,
    shape: PixelShape,
    *,
    pixels: ArrayLike,
    orders: ArrayLike = (0,),
    nominal: int = 0,
    weight: ArrayLike = 1.0,
    transfer: Transfer | None = None,
    tolerance: float = TOLERANCE,
    dtype: type[np.float32 | np.float64] = np.float32,
) -> Operator:
    r"""Build the operator of an instrument from its line shapes.

    With c_k the wavenumber of a pixel in order k, W_k its weight there, F the transfer
    function and L the line shape:

    .. math:: T(p) = \sum_k W_k(p) \int F \, L(\nu - c_k)\, T \, d\nu \; / \;
              \sum_k W_k(p) \int F \, L(\nu - c_k) \, d\nu

    Kinds of rows: those of `tgo_spectra.instruments.response.tabulated.KINDS` (order k
    shifts by c_k over the nominal c), then one for each parameter of the shape, all of
    the normalised operator.

    Parameters
    ----------
    cells : Cells
        Nodes of the table.
    centre_cm1 : array_like, shape (pixel,) or (pixel, order)
        Wavenumbers of the pixels in the orders.
    shape : PixelShape
        Line shapes, such as `tgo_spectra.instruments.line_shape.DoubletShape`.
    pixels : array_like of int, shape (pixel,)
        Ascending pixel numbers, for the record.
    orders : array_like of int, shape (order,)
        Orders that are added; by default one.
    nominal : int
        Index in ``orders`` of the order whose wavenumbers the shift refers to.
    weight : array_like
        Blaze times solar spectrum of pixels in orders, broadcast to (pixel, order).
    transfer : callable, optional
        Takes and returns arrays: transmission at wavenumbers in cm-1, by default 1.
    tolerance : float
        Largest bound on the error of T, for any pixel, that is accepted: the part of
        the line shape that the moments of the cells do not carry, as the area of its
        absolute value over that of the line. SO has 2.5e-4 with its tables. Errors
        found are 20 to 100 times smaller.
    dtype : numpy.float32 or numpy.float64
        Storage of the entries; they are computed in double precision.

    Returns
    -------
    tgo_spectra.instruments.response.tabulated.Operator
        For `tgo_spectra.instruments.response.tabulated.apply` and its like.

    Raises
    ------
    InstrumentError
        If inputs do not fit together, the table does not cover the pixels, or its
        cells are too wide for the line shape.
    """
    centre, pix, number, light = _checked(centre_cm1, pixels, orders, nominal, weight)
    kinds = (*KINDS, *shape.parameters)
    plan = _plan(cells, centre, *shape.reach(*centre.shape), len(kinds))
    x, matrix, back = _expansion(cells.points, cells.node_weight.shape[1])
    nu_c = float(centre[:, nominal].mean())
    data = np.zeros(plan.size)
    sums = np.zeros((len(kinds), *centre.shape))
    residual = np.zeros(centre.shape)
    for b, k in np.ndindex(plan.first.shape):
        rows = slice(int(plan.limits[b]), int(plan.limits[b + 1]))
        window = np.arange(int(plan.first[b, k]), int(plan.last[b, k]))
        nu = cells.start_cm1 + (window[:, None] + 0.5 * (x + 1.0)) * cells.width_cm1
        c = centre[rows, k : k + 1]
        lines = shape.sample(nu.ravel() - c, rows, k)
        step = c / centre[rows, nominal : nominal + 1]
        flat = nu.ravel()
        through = np.ones(flat.size) if transfer is None else transfer(flat)
        kernel = np.stack(
            [
                lines[0] * through,
                lines[1] * through * step,
                lines[2] * through * step**2,
                lines[0] * through * (flat - nu_c) / nu_c,
                *(line * through for line in lines[3:]),
            ]
        )
        kernel *= light[rows, k : k + 1]
        kernel = kernel.reshape(len(kinds), c.size, window.size, x.size)
        coefficient = kernel @ matrix.T
        rest = np.abs(kernel[0] - coefficient[0] @ back.T).mean(axis=-1).sum(axis=-1)
        residual[rows, k] = rest * cells.points
        nodes = slice(int(plan.node_low[b, k]), int(plan.node_high[b, k]))
        local = cells.node_cell[nodes] - window[0]
        entry = np.einsum(
            "kpnj,nj->kpn", coefficient[:, :, local], cells.node_weight[nodes]
        )
        sums[:, rows, k] = entry.sum(axis=-1)
        start = int(plan.offset[b, k])
        data[start : start + entry.size] = entry.ravel()
    total = sums.sum(axis=2)
    worst = residual.sum(axis=1) / total[0]
    if not worst.max() <= tolerance:
        raise _too_wide(cells, f"pixel {pix[worst.argmax()]}", float(worst.max()))
    return Operator(
        pixels=pix,
        orders=number,
        block_start=plan.limits,
        node_low=plan.node_low,
        node_high=plan.node_high,
        offset=plan.offset,
        data=_normalised(data, total, plan, len(kinds)).astype(dtype),
        order_fraction=(sums[0] / total[0][:, None]),
        n_nodes=cells.node_weight.shape[0],
        centre_cm1=nu_c,
        kinds=kinds,
    )


def check_width(cells: Cells, sigma_cm1: float) -> None:
    """Refuse cells that are too wide for Gaussians, of the least of their widths.

    Raises
    ------
    InstrumentError
        ``operator.expansion``: their moments do not carry the line shape.
    """
    x, matrix, back = _expansion(cells.points, cells.node_weight.shape[1])
    reach = int(np.ceil(REACH_SIGMA * sigma_cm1 / cells.width_cm1)) + 1
    # wherever in a cell it stands
    inside = np.linspace(0.0, 1.0, 5)[:, None, None]
    place = np.arange(-reach, reach + 1)[:, None] + 0.5 * (x + 1.0) - inside
    line = np.exp(-0.5 * (place * cells.width_cm1 / sigma_cm1) ** 2)
    rest = np.abs(line - line @ matrix.T @ back.T).sum(axis=(1, 2))
    worst = float((rest / line.sum(axis=(1, 2))).max())
    if not worst <= TOLERANCE:
        raise _too_wide(cells, f"{sigma_cm1:.4g} cm-1", worst)


def _too_wide(cells: Cells, what: str, value: float) -> InstrumentError:
    return InstrumentError(
        f"cells of {cells.width_cm1:g} cm-1 with {cells.node_weight.shape[1]} moments "
        f"are too wide for the line shape of {what}",
        field="cells",
        value=value,
        rule="operator.expansion",
    )


def _normalised(data: Floats, total: Floats, plan: _Plan, kinds: int) -> Floats:
    """Divide by the row sums, with the quotient rule for the derivatives."""
    for b, k in np.ndindex(plan.first.shape):
        count = int(plan.limits[b + 1] - plan.limits[b])
        nodes = int(plan.node_high[b, k] - plan.node_low[b, k])
        start = int(plan.offset[b, k])
        part = data[start : start + kinds * count * nodes]
        block = part.reshape(kinds, count, nodes)
        sums = total[:, plan.limits[b] : plan.limits[b + 1], None]
        block /= sums[0]
        rate = sums / sums[0]
        value, shift = block[0], block[1].copy()
        slope = block[KINDS.index("slope")].copy()
        block[1:] -= value * rate[1:]
        # second derivative of a quotient; the slope is a weighted value, no derivative
        block[2] -= 2.0 * (shift - value * rate[1]) * rate[1]
        block[KINDS.index("slope")] = slope
    return data


def _checked(
    centre_cm1: ArrayLike,
    pixels: ArrayLike,
    orders: ArrayLike,
    nominal: int,
    weight: ArrayLike,
) -> tuple[Floats, Integers, Integers, Floats]:
    centre = np.asarray(centre_cm1, dtype=np.float64)
    if centre.ndim == 1:
        centre = centre[:, None]
    pix = np.asarray(pixels, dtype=np.int64)
    number = np.atleast_1d(np.asarray(orders, dtype=np.int64))
    shape = (pix.size, number.size)
    faults = (
        (
            centre.shape != shape or centre.size == 0,
            "centre_cm1",
            centre.shape,
            f"must be {shape}",
        ),
        (not np.isfinite(centre).all(), "centre_cm1", None, "must be finite"),
        (bool((np.diff(pix) <= 0).any()), "pixels", pix.shape, "must ascend"),
        (not 0 <= nominal < number.size, "nominal", nominal, "must index the orders"),
    )
    for fault, field, value, what in faults:
        if fault:
            msg = f"{field} {what}"
            raise InstrumentError(msg, field=field, value=value, rule="operator.inputs")
    light = np.broadcast_to(np.asarray(weight, dtype=np.float64), shape)
    if not (light >= 0.0).all():
        msg = "weights must not be negative"
        raise InstrumentError(
            msg, field="weight", value=float(light.min()), rule="operator.inputs"
        )
    return centre, pix, number, light
