"""Compiled loops of the fits.

Row by row model, baseline and the reduced Gram matrix in one pass, without wide
intermediate arrays: a row's work fits in the cache. The expansion of the Gram
matrices to the levels of the profiles. What the fit of single rows does on the spectral
quadrature points. Products with the matrix that takes heights to rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.forward.kernels import exponentiate
from tgo_spectra.numerics.accelerate import compiled

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.int64]

__all__ = [
    "Bands",
    "expand_rows",
    "reduce_rows",
    "see_nodes",
]

BRIGHTEST = np.float32(30.0)
"""Largest logarithm of a transmittance."""

NODES = 512
"""Spectral quadrature points that are treated together."""

BLOCK_ROWS = 64
BLOCK_FIELDS = 48


@compiled()
def _cholesky_solve(matrix: Array, right: Array) -> bool:
    """Solve in place for all columns of `right`; False if not positive definite."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                matrix[i, i] = np.sqrt(total)
            else:
                matrix[i, j] = total / matrix[j, j]
    for c in range(right.shape[1]):
        for i in range(n):
            for k in range(i):
                right[i, c] -= matrix[i, k] * right[k, c]
            right[i, c] /= matrix[i, i]
        for i in range(n - 1, -1, -1):
            for k in range(i + 1, n):
                right[i, c] -= matrix[k, i] * right[k, c]
            right[i, c] /= matrix[i, i]
    return True


@compiled()
def _gram(wide: Array) -> Array:
    """Products of rows with each other; of many rows each pair of blocks once."""
    size = wide.shape[0]
    sums = np.empty((size, size), dtype=wide.dtype)
    if size <= 2 * BLOCK_FIELDS:
        np.dot(wide, wide.T, sums)
        return sums
    for start in range(0, size, BLOCK_FIELDS):
        stop = min(start + BLOCK_FIELDS, size)
        product = np.dot(wide[start:stop], wide[:stop].T)
        for f in range(stop - start):
            for g in range(stop):
                sums[start + f, g] = product[f, g]
        for g in range(start):
            for f in range(stop - start):
                sums[g, start + f] = product[f, g]
    return sums


@compiled()
def reduce_rows(
    transmittance: Array,
    weight: Array,
    four: Array,
    gas: Array,
    polynomials: Array,
    position: Array,
    dispersion: Array,
    moved: Array,
    depth: Array,
    model: Array,
    residual: Array,
    baseline: Array,
    gram: Array,
    gradient: Array,
) -> int:
    """Fill the last five arguments; return the first undetermined row, or -1.

    A row that is undetermined has no number as its residual, and says nothing. Fields
    that a row does not see, levels below its line of sight, take no part in its sums.

    Parameters
    ----------
    transmittance, weight : array, shape (row, pixel)
    four : array, shape (row, 4, pixel)
        Value, first and second derivative to wavenumber, slope, as the rows see them.
    gas : array, shape (row, field, pixel)
        Fields of the gases as the rows see them; its type is that of the wide sums.
    polynomials : array, shape (coefficient, pixel)
    position, dispersion : array, shape (pixel,)
    moved : array, shape (row, 3)
        Shift and stretch relative to the operator's, pixel; exponent of the aerosol.
    depth : array, shape (row,)
    model, residual : array, shape (row, pixel)
    baseline : array, shape (row, coefficient)
    gram : array, shape (row, field + 3, field + 3)
    gradient : array, shape (row, field + 3)
    """
    n_rows, n_pixels = transmittance.shape
    n_gas, n_base = gas.shape[1], polynomials.shape[0]
    n_field = n_gas + 3
    spectrum, scale = np.empty(n_pixels), np.empty(n_pixels)
    columns = np.empty((n_base + 1, n_pixels))
    wide = np.empty((n_field + n_base + 1, n_pixels), dtype=gas.dtype)
    inner = np.empty((n_base, n_base))
    right, solution = np.empty((n_base, n_field)), np.empty((n_base, 1))
    seen, line = np.empty(n_field, dtype=np.int64), np.empty(n_field)
    failed = -1
    for row in range(n_rows):
        n_used = 0
        for f in range(n_gas):
            for p in range(n_pixels):
                if gas[row, f, p] != 0.0:
                    seen[n_used] = f
                    n_used += 1
                    break
        n_seen = n_used + 3
        for f in range(3):
            seen[n_used + f] = n_gas + f
        for p in range(n_pixels):
            px = moved[row, 0] + moved[row, 1] * position[p]
            offset = px * dispersion[p]
            first, second = four[row, 1, p], four[row, 2, p]
            aerosol = -depth[row] * four[row, 3, p]
            value = four[row, 0, p] + offset * (first + 0.5 * offset * second)
            value += moved[row, 2] * aerosol
            spectrum[p] = value
            slope = (first + offset * second) * dispersion[p]
            wide[n_used, p] = slope
            wide[n_used + 1, p] = slope * position[p]
            wide[n_used + 2, p] = aerosol
            w = weight[row, p]
            for c in range(n_base):
                columns[c, p] = polynomials[c, p] * value * w
            columns[n_base, p] = transmittance[row, p] * w
        products = np.dot(columns, columns.T)
        for c in range(n_base):
            solution[c, 0] = products[c, n_base]
            for d in range(n_base):
                inner[c, d] = products[c, d]
        if not _cholesky_solve(inner, solution):
            if failed < 0:
                failed = row
            residual[row, :] = np.nan
            baseline[row, :] = np.nan
            gradient[row, :] = 0.0
            for f in range(n_field):
                for g in range(n_field):
                    gram[row, f, g] = 1.0 if f == g else 0.0
            continue
        scale[:] = 0.0
        for c in range(n_base):
            baseline[row, c] = solution[c, 0]
            for p in range(n_pixels):
                scale[p] += solution[c, 0] * polynomials[c, p]
        for p in range(n_pixels):
            model[row, p] = scale[p] * spectrum[p]
            scale[p] *= weight[row, p]
            left = columns[n_base, p] - scale[p] * spectrum[p]
            residual[row, p] = left
            wide[n_seen + n_base, p] = left
        for f in range(n_used):
            for p in range(n_pixels):
                wide[f, p] = gas[row, seen[f], p] * scale[p]
        for f in range(n_used, n_seen):
            for p in range(n_pixels):
                wide[f, p] *= scale[p]
        for c in range(n_base):
            for p in range(n_pixels):
                wide[n_seen + c, p] = columns[c, p]
        sums = _gram(wide[: n_seen + n_base + 1])
        for c in range(n_base):
            for d in range(n_base):
                inner[c, d] = products[c, d]
            for f in range(n_seen):
                right[c, f] = sums[n_seen + c, f]
        _cholesky_solve(inner, right)
        if n_seen < n_field:
            gradient[row, :] = 0.0
            for f in range(n_field):
                for g in range(n_field):
                    gram[row, f, g] = 0.0
        for f in range(n_seen):
            gradient[row, seen[f]] = sums[f, n_seen + n_base]
            for g in range(n_seen):
                line[g] = sums[f, g]
            for c in range(n_base):
                along = np.float64(sums[f, n_seen + c])
                for g in range(n_seen):
                    line[g] -= along * right[c, g]
            target = gram[row, seen[f]]
            for g in range(n_seen):
                target[seen[g]] = line[g]
    return failed


@compiled(fastmath=True)
def see_nodes(
    vectors: Array,
    weights: Array,
    ends: IntArray,
    factors: Array,
    field: Array,
    limit: int,
    mean: Array,
    change: Array,
) -> None:
    """Average transmittance and its derivatives to the factors over the field of view.

    Some nodes at a time, so that what is between stays in the cache, and all that is
    summed runs along contiguous numbers.

    Parameters
    ----------
    vectors : array, shape (any,)
        (node, vector) of one gas after the other.
    weights : array, shape (point, vector, row)
        Of all gases: optical depth for a factor of one.
    ends : array of int, shape (gas + 1,)
        First vector of each gas, and the number of all.
    factors : array, shape (gas, row)
    field : array, shape (point,)
        Weights of the average.
    limit : int
        Multiplications in one call of the linear algebra library, see
        `tgo_spectra.numerics.matrices`.
    mean : array, shape (node, row)
        Filled, as is the next. The optical depth is at least minus `BRIGHTEST`:
        negative factors make light.
    change : array, shape (gas, node, row)
        Of the first gases only, if it has fewer.
    """
    nodes, rows = mean.shape
    n_gas, points = factors.shape[0], field.size
    some = min(NODES, nodes)
    depth = np.empty((points, n_gas, some, rows), dtype=mean.dtype)
    light = np.empty((points, some * rows), dtype=mean.dtype)
    repeated = np.empty((n_gas, some * rows), dtype=mean.dtype)
    for g in range(n_gas):
        for i in range(some):
            for r in range(rows):
                repeated[g, i * rows + r] = factors[g, r]
    for start in range(0, nodes, some):
        count = min(some, nodes - start)
        size = count * rows
        for point in range(points):
            t = light[point, :size]
            for i in range(size):
                t[i] = np.float32(0.0)
            for g in range(n_gas):
                rank = ends[g + 1] - ends[g]
                first = ends[g] * nodes + start * rank
                mine = vectors[first : first + count * rank].reshape(count, rank)
                step = max(1, limit // (rank * rows))
                for low in range(0, count, step):
                    high = min(low + step, count)
                    part = weights[point, ends[g] : ends[g + 1]]
                    np.dot(mine[low:high], part, depth[point, g, low:high])
                d, x = depth[point, g].reshape(-1), repeated[g]
                for i in range(size):
                    t[i] -= x[i] * d[i]
            for i in range(size):
                t[i] = min(t[i], BRIGHTEST)
            exponentiate(t)
            for i in range(size):
                t[i] *= field[point]
        flat = mean[start : start + count].reshape(-1)
        for i in range(size):
            flat[i] = light[0, i]
        for point in range(1, points):
            t = light[point]
            for i in range(size):
                flat[i] += t[i]
        for g in range(change.shape[0]):
            target = change[g, start : start + count].reshape(-1)
            for i in range(size):
                target[i] = np.float32(0.0)
            for point in range(points):
                t, d = light[point], depth[point, g].reshape(-1)
                for i in range(size):
                    target[i] -= t[i] * d[i]


@compiled()
def _weigh(gram: Array, path: Array, out: Array) -> None:
    """Add products of a small matrix and a few long rows, ``gram @ path``."""
    terms = path.shape[0]
    for row in range(gram.shape[0]):
        target = out[row]
        term = 0
        while term + 4 <= terms:
            w0, w1 = gram[row, term], gram[row, term + 1]
            w2, w3 = gram[row, term + 2], gram[row, term + 3]
            p0, p1, p2, p3 = path[term], path[term + 1], path[term + 2], path[term + 3]
            for c in range(target.size):
                target[c] += (w0 * p0[c] + w1 * p1[c]) + (w2 * p2[c] + w3 * p3[c])
            term += 4
        while term < terms:
            w0, p0 = gram[row, term], path[term]
            for c in range(target.size):
                target[c] += w0 * p0[c]
            term += 1


@compiled()
def expand_rows(
    path: Array,
    gram: Array,
    tail: Array,
    spans: IntArray,
    starts: IntArray,
    tail_start: int,
    matrix: Array,
    gradient: Array,
) -> None:
    """Add what some rows say of the profiles' levels.

    Parameters
    ----------
    path : array, shape (row, field, level)
        Path weights of all gases' fields.
    gram : array, shape (row, field, field)
        Of the gases' fields, of the type of `path`.
    tail : array, shape (row, field, element)
        Products of the fields with the elements after the profiles and, last, with the
        residual; of the type of `path`.
    spans : array of int, shape (gas + 1,)
        Limits of the gases in the fields.
    starts : array of int, shape (gas,)
        State element of each gas's first level here.
    tail_start : int
        State element of the first of `tail`.
    matrix, gradient : array, shapes (state, state), (state,)
        Added to; of the matrix, the blocks above the diagonal.
    """
    rows, _, levels = path.shape
    elements = tail.shape[2] - 1
    for j in range(starts.size):
        f0, f1 = spans[j], spans[j + 1]
        theirs = starts[j]
        for i in range(j + 1):
            e0, e1 = spans[i], spans[i + 1]
            k = e1 - e0
            left = np.empty((rows * k, levels), dtype=path.dtype)
            right = np.zeros((rows * k, levels), dtype=path.dtype)
            for r in range(rows):
                for e in range(k):
                    for a in range(levels):
                        left[r * k + e, a] = path[r, e0 + e, a]
                _weigh(
                    gram[r, e0:e1, f0:f1], path[r, f0:f1], right[r * k : (r + 1) * k]
                )
            product = np.dot(left.T, right)
            mine = starts[i]
            for a in range(levels):
                for b in range(levels):
                    matrix[mine + a, theirs + b] += product[a, b]
            if i == j:
                small = np.empty((rows * k, elements + 1), dtype=path.dtype)
                for r in range(rows):
                    for e in range(k):
                        for b in range(elements + 1):
                            small[r * k + e, b] = tail[r, f0 + e, b]
                seen = np.dot(left.T, small)
                for a in range(levels):
                    for b in range(elements):
                        matrix[theirs + a, tail_start + b] += seen[a, b]
                    gradient[theirs + a] += seen[a, elements]


class Bands:
    """A matrix from heights to rows in blocks, without columns that do not count.

    A cubic spline through all heights gives every row a weight on every height, but
    the weight falls fourfold from one to the next. Neighbouring rows look at
    neighbouring heights, so that a block of rows needs a third of them.

    Parameters
    ----------
    matrix : array, shape (row, column)
        Weights of rows that sum to about one.
    dtype : type
        Of the products; weights far below its precision are left out.
    """

    def __init__(self, matrix: Array, dtype: npt.DTypeLike) -> None:
        self.shape = matrix.shape
        negligible = 0.1 * float(np.finfo(dtype).eps)
        self.blocks: list[tuple[slice, slice, Array]] = []
        for start in range(0, len(matrix), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            block = matrix[rows]
            used = np.flatnonzero((np.abs(block) > negligible).any(axis=0))
            if used.size:
                columns = slice(int(used[0]), int(used[-1]) + 1)
                self.blocks.append((rows, columns, block[:, columns].astype(dtype)))

    def times(self, field: Array, out: Array) -> None:
        """Write the product with a field (column, element) into ``out`` (row, element).

        Rows without weights become zero.
        """
        if sum(len(block) for _, _, block in self.blocks) < len(out):
            out[:] = 0.0
        for rows, columns, block in self.blocks:
            out[rows] = block @ field[columns]
