"""Fewer nodes of a table, for spectra that ask less of it than any may.

A table serves paths along the limb in single lines, at any order and line shape. Where
little light comes from, and for columns down to the surface, a part of its nodes does
with other weights: they are chosen among the table's own, so that all else of it stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.spectroscopy.tables.quadrature import MOMENT_SLACK, thin_cells
from tgo_spectra.spectroscopy.tables.read import spline_matrices
from tgo_spectra.spectroscopy.tables.scratch import in_pieces, one_thread
from tgo_spectra.spectroscopy.tables.training import (
    EVERY,
    random_columns,
    temperature_bounds,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tgo_spectra.spectroscopy.tables.read import BandTable

__all__ = ["random_depths", "thinned_columns"]

SLANTS = 2  # paths through an atmosphere
CELL_PIECE = 500  # cells treated at a time: 50 MB
UNITY = 400.0  # weight of a transmittance of one, as of the tables


def random_depths(
    band: BandTable, atmospheres: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return what takes the vectors of the gases to depths of random columns.

    By gas (path, vector), see `tgo_spectra.spectroscopy.tables.training`.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, list[NDArray[np.float64]]] = {gas: [] for gas in band.vectors}
    for _ in range(atmospheres):
        paths = random_columns(
            generator,
            list(band.vectors),
            SLANTS,
            temperature_k=temperature_bounds(band.temperature_k),
            highest_pa=float(np.exp(band.ln_pressure[-1])),
        )
        by_p, by_t = spline_matrices(
            band.ln_pressure,
            band.temperature_k,
            paths.pressure_pa,
            paths.temperature_k,
            doppler_limit=True,
        )
        for gas, column in paths.column.items():
            state = np.einsum("sl,lp,lt->spt", column, by_p, by_t, optimize=True)
            found[gas].append(
                np.tensordot(state, band.coefficients[gas], ([1, 2],) * 2)
            )
    return {gas: np.vstack(some).astype(np.float32) for gas, some in found.items()}


def thinned_columns(
    band: BandTable,
    tolerance: NDArray[np.float64],
    *,
    atmospheres: int = 100,
    seed: int = 1,
) -> BandTable:
    """Thin the nodes of a table for paths from above to the surface and back.

    Parameters
    ----------
    band : BandTable
        Of the gases that absorb.
    tolerance : ndarray, (cell,)
        Error of the mean transmittance, and of its derivatives by the amounts, that
        each cell may have over what the table has.
    atmospheres : int
        Random ones of the training, with two paths each.
    seed : int
        Of those.

    Returns
    -------
    BandTable
        At least one node in every cell.

    Examples
    --------
    >>> from tgo_spectra.spectroscopy.tables import open_table
    >>> from tgo_spectra.spectroscopy.tables.read import table_arrays
    >>> band = table_arrays(open_table("so_186_191"), ["co"])
    >>> few = thinned_columns(band, np.full(band.cell_start_cm1.size, 1e-3))
    >>> few.nodes_cm1.size < 0.5 * band.nodes_cm1.size
    True
    """
    from tgo_spectra.numerics.kernels import sum_spectra

    # the same choice for any number of threads
    with one_thread():
        depths = random_depths(band, atmospheres, seed)
        paths = atmospheres * SLANTS
        starts = np.searchsorted(band.node_cell, np.arange(tolerance.size + 1))
        kept = np.zeros(band.nodes_cm1.size, dtype=bool)
        weight = np.zeros_like(band.node_weight)
        for first, last in in_pieces(tolerance.size, CELL_PIECE):
            nodes = slice(int(starts[first]), int(starts[last]))
            count = nodes.stop - nodes.start
            single = np.zeros((len(depths), paths, count), dtype=np.float32)
            for gas, tau in zip(depths, single, strict=True):
                vectors = np.ascontiguousarray(band.vectors[gas][:, nodes])
                sum_spectra(depths[gas], vectors, tau)
            total = single.sum(axis=0, dtype=np.float64)
            changes = single[:, ::EVERY] * np.exp(-total[::EVERY])
            thin_cells(
                np.concatenate([-np.expm1(-total), changes.reshape(-1, count)]),
                band.node_weight[nodes],
                starts[first : last + 1] - nodes.start,
                np.asarray(MOMENT_SLACK[: weight.shape[1]]),
                tolerance[first:last],
                UNITY,
                kept[nodes],
                weight[nodes],
            )
    return replace(
        band,
        nodes_cm1=band.nodes_cm1[kept],
        node_cell=band.node_cell[kept],
        node_weight=weight[kept],
        vectors={
            gas: np.ascontiguousarray(values[:, kept])
            for gas, values in band.vectors.items()
        },
    )
