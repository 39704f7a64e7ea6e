"""Choose few wavenumbers that stand for all, cell by cell.

An instrument two orders of magnitude coarser than a line sees only smooth moments of
the transmittance. The axis is cut into cells of 50 fine points; in each cell the nodes
and weights are sought that reproduce the first Legendre moments of the transmittance
over many random atmospheres. The choice knows nothing of the instrument, so any
order, shift and temperature uses the same nodes.

The targets are *sums over the fine points of the cell*, not integrals: the two differ
by the square of the number of points, which would show in every spectrum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.numerics.accelerate import compiled, prange
from tgo_spectra.spectroscopy.tables.cells import legendre_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOMENT_SLACK", "choose_nodes", "thin_cells"]

# Moment j enters a pixel through the j-th derivative of the line shape of the
# instrument over a cell of half width h: about (h / sigma)^j / j! times the 0-th,
# h = 0.05, sigma = 0.075 cm-1. Errors of the higher moments count that much less;
# the slack stays below the inverse of it, since derivatives are wanted as well.
MOMENT_SLACK = (1.0, 1.5, 3.0, 8.0, 20.0)
_FAILING = 200  # rows added to a choice at a time
_ROUNDS = 20  # of such additions; two or three are enough


@compiled()
def _weights(
    gram: NDArray[np.float64],
    cross: NDArray[np.float64],
    sums: NDArray[np.float64],
    chosen: NDArray[np.int64],
    count: int,
) -> NDArray[np.float64]:
    """Least squares on the chosen points, exact for a transmittance of one."""
    moments = cross.shape[1]
    system = np.zeros((count + 1, count + 1))
    right = np.zeros((count + 1, moments))
    for a in range(count):
        for b in range(count):
            system[a, b] = gram[chosen[a], chosen[b]]
        # the ridge keeps weights of near-twin points from growing against each other
        system[a, a] += 1e-7
        system[a, count] = 1.0
        system[count, a] = 1.0
        for j in range(moments):
            right[a, j] = cross[chosen[a], j]
    for j in range(moments):
        right[count, j] = sums[j]
    return np.linalg.solve(system, right)[:count].astype(np.float64)


@compiled()
def _row_errors(
    rows: NDArray[np.float64], error: NDArray[np.float64], slack: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest error of a moment of each row, per point and slack."""
    points = error.shape[0]
    residual = np.dot(rows, error)
    worst = np.zeros(residual.shape[0])
    for r in range(residual.shape[0]):
        for j in range(residual.shape[1]):
            value = abs(residual[r, j]) / (points * slack[j])
            worst[r] = max(worst[r], value)
    return worst


@compiled()
def _choose_cell(
    rows: NDArray[np.float64],
    legendre: NDArray[np.float64],
    slack: NDArray[np.float64],
    tolerance: float,
    unity: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Orthogonal least squares in one cell, all moments at once."""
    points, moments = legendre.shape
    absorbed = np.dot(rows.T, rows)
    cross = np.dot(absorbed, legendre)
    sums = np.zeros(moments)
    for i in range(points):
        for j in range(moments):
            sums[j] += legendre[i, j]
    left = absorbed + unity  # a row of T = 1, weight sqrt(unity)
    goal = np.dot(left, legendre)
    for j in range(moments):
        goal[:, j] /= slack[j]
    floor = 1e-13 * (unity + np.max(np.diag(absorbed)))
    chosen = np.empty(points, np.int64)
    weights = np.zeros((1, moments))
    for count in range(1, points + 1):
        best, score = -1, -1.0
        for i in range(points):
            if left[i, i] > floor:
                value = np.sum(goal[i] ** 2) / left[i, i]
                if value > score:
                    best, score = i, value
        if best < 0:  # nothing independent is left: the fit is at rounding
            break
        chosen[count - 1] = best
        column = left[:, best] / np.sqrt(left[best, best])
        share = goal[best] / np.sqrt(left[best, best])
        for i in range(points):
            for k in range(points):
                left[i, k] -= column[i] * column[k]
            for j in range(moments):
                goal[i, j] -= column[i] * share[j]
        left[best, best] = 0.0
        weights = _weights(absorbed, cross, sums, chosen, count)
        error = legendre.copy()
        for a in range(count):
            error[chosen[a]] -= weights[a]
        if _row_errors(rows, error, slack).max() <= tolerance:
            break
    kept = weights.shape[0]
    order = np.argsort(chosen[:kept])
    return chosen[:kept][order], weights[order]


@compiled(parallel=False)
def _choose_all(
    rows: NDArray[np.float64],
    check: NDArray[np.float64],
    legendre: NDArray[np.float64],
    slack: NDArray[np.float64],
    tolerance: float,
    unity: float,
    count: NDArray[np.int64],
    chosen: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> None:
    """Fill the choices of every cell: rows and further ones are (cell, row, point)."""
    for cell in prange(rows.shape[0]):
        known = np.ascontiguousarray(rows[cell])
        unseen = np.ascontiguousarray(check[cell])
        picked, values = _choose_cell(known, legendre, slack, tolerance, unity)
        for _ in range(_ROUNDS):
            error = legendre.copy()
            for a in range(picked.size):
                error[picked[a]] -= values[a]
            off = _row_errors(unseen, error, slack)
            if off.max() <= tolerance:
                break
            # only the rows that fail: the others are served by what serves them now
            worst = np.argsort(-off)[: min(_FAILING, np.sum(off > tolerance))]
            known = np.concatenate((known, unseen[worst]))
            picked, values = _choose_cell(known, legendre, slack, tolerance, unity)
            if picked.size == legendre.shape[0]:
                break
        count[cell] = picked.size
        chosen[cell, : picked.size] = picked
        weights[cell, : picked.size] = values


def choose_nodes(
    rows: NDArray[np.float64],
    check: NDArray[np.float64] | None = None,
    *,
    moments: int = 5,
    tolerance: float = 1e-4,
    unity: float = 400.0,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Choose nodes and weights for consecutive cells.

    Parameters
    ----------
    rows : ndarray of float64, (cell, row, point)
        Training: absorption (one minus transmittance) and its derivatives. A
        transmittance of one is always reproduced exactly, so it needs no row.
    check : ndarray of float64, (cell, row, point), optional
        Further rows of the same kind. Many cells pass them unseen; others are chosen
        anew with the rows that fail, until none does.
    moments : int
        Legendre moments reproduced.
    tolerance : float
        Largest error of the mean moment over all rows, in transmittance (times
        `MOMENT_SLACK`).
    unity : float
        Weight of a transmittance of one in the search (square of a factor).

    Returns
    -------
    point : ndarray of int64, (node,)
        Fine point counted from the first of the first cell, ascending.
    cell : ndarray of int32, (node,)
        Cell of each node.
    weight : ndarray of float64, (node, moment)
        Sum over nodes of weight times T = sum over fine points of P_j T.

    Examples
    --------
    >>> point, cell, weight = choose_nodes(np.zeros((1, 1, 50)))
    >>> point.size, float(weight[0, 0])
    (1, 50.0)
    """
    cells, _, points = rows.shape
    count = np.zeros(cells, np.int64)
    chosen = np.zeros((cells, points), np.int64)
    weights = np.zeros((cells, points, moments))
    slack = np.asarray(MOMENT_SLACK[:moments], np.float64)
    _choose_all(
        rows,
        rows[:, :1] if check is None else check,
        legendre_values(points, moments),
        slack,
        tolerance,
        unity,
        count,
        chosen,
        weights,
    )
    taken = np.arange(points)[None, :] < count[:, None]
    cell = np.repeat(np.arange(cells, dtype=np.int32), count)
    point = chosen[taken] + points * cell.astype(np.int64)
    return point, cell, weights[taken]


@compiled()
def thin_cells(
    rows: NDArray[np.float64],
    weight: NDArray[np.float64],
    starts: NDArray[np.int64],
    slack: NDArray[np.float64],
    tolerance: NDArray[np.float64],
    unity: float,
    kept: NDArray[np.bool_],
    out: NDArray[np.float64],
) -> None:
    """Choose among the nodes of cells those that stand for all of them.

    Parameters
    ----------
    rows : ndarray of float64, (row, node)
        Training, as for `choose_nodes`.
    weight : ndarray of float64, (node, moment)
        Of all nodes.
    starts : ndarray of int, (cell + 1,)
        Limits of the cells in the nodes; every cell has some.
    slack : ndarray of float64, (moment,)
        As `MOMENT_SLACK`.
    tolerance : ndarray of float64, (cell,)
        Largest error of the mean moment, in transmittance (times the slack).
    unity : float
        Weight of a transmittance of one in the search.
    kept : ndarray of bool, (node,)
        Written: what is chosen.
    out : ndarray of float64, (node, moment)
        Written: weights of what is chosen.
    """
    for cell in range(starts.size - 1):
        first, stop = starts[cell], starts[cell + 1]
        goal = np.ascontiguousarray(weight[first:stop])
        # the sum of the first weights is the number of fine points of the cell
        mean = goal[:, 0].sum() / (stop - first)
        picked, values = _choose_cell(
            np.ascontiguousarray(rows[:, first:stop]),
            goal,
            slack,
            tolerance[cell] * mean,
            unity,
        )
        kept[first:stop] = False
        for a in range(picked.size):
            kept[first + picked[a]] = True
            out[first + picked[a]] = values[a]
