"""Entries of the instrument operator: from its layout to normalised blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments.so import aotf_transmission

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tgo_spectra.instruments.response.layout import Layout
    from tgo_spectra.instruments.so import SoInstrument

__all__ = ["fill"]


def fill(
    layout: Layout,
    area: NDArray[np.float64],
    nu_c: float,
    settings: SoInstrument,
    kinds: int,
    dtype: type[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """Fill the blocks of a layout and normalise them.

    One block at a time: in double precision it stays in the cache.

    Parameters
    ----------
    layout : Layout
    area : ndarray, shape (pixel, order)
        Blaze over the sigma of the line shape.
    nu_c : float
        Wavenumber to which the slope refers, cm-1.
    settings : SoInstrument
        Instrument model.
    kinds : int
        Kinds of rows, two to four.
    dtype : type
        Of the entries.

    Returns
    -------
    data : ndarray
        Entries of the normalised operator.
    sums : ndarray, shape (pixel, order, kind)
        Sums over the nodes before normalisation.
    """
    from tgo_spectra.instruments.response.kernel import fill_blocks, normalise_blocks

    aotf = aotf_transmission(layout.sample, layout.aotf_centre_cm1, settings)
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
            settings.ils_amplitude,
            nu_c,
            layout.lowest,
            layout.middle,
            layout.cell_width_cm1,
            layout.points,
            aotf,
            layout.starts,
            mix,
            *where,
            data,
            sums,
        )
        total = np.zeros((layout.pixels.size, kinds))
        total[pixels] = sums[pixels].sum(axis=1)
        normalise_blocks(total, *where, data, out[start:stop])
    return out, sums
