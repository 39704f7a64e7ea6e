"""Operators of LNO and of ACS MIR on the nodes of an absorption table.

That of LNO is filled as that of SO is, with other parts; that of MIR is made by
`tgo_spectra.instruments.response.line_by_line.line_shape_operator`. Resolving powers
and filters that are not settled come from the caller;
`tgo_spectra.instruments.uncertain` gives the attribute that records them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import lno
from tgo_spectra.instruments.acs_mir import DoubleImage, ImageShape
from tgo_spectra.instruments.line_shape import resolving_power_sigma
from tgo_spectra.instruments.response.layout import fill, lay_out
from tgo_spectra.instruments.response.line_by_line import (
    Cells,
    check_width,
    line_shape_operator,
)
from tgo_spectra.instruments.response.tabulated import (
    BLOCK_PIXELS,
    KINDS,
    WINDOW_SIGMA,
    from_layout,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tgo_spectra.instruments.response.tabulated import Operator
    from tgo_spectra.spectroscopy.tables.read import BandTable

__all__ = ["acs_mir_operator", "lno_operator", "table_cells"]


def table_cells(table: BandTable) -> Cells:
    """Return the nodes of an absorption table as the operators want them.

    Parameters
    ----------
    table : tgo_spectra.spectroscopy.tables.read.BandTable
        From `tgo_spectra.spectroscopy.tables.read.table_arrays`.

    Returns
    -------
    tgo_spectra.instruments.response.line_by_line.Cells
    """
    return Cells(
        node_cell=table.node_cell.astype(np.int64),
        node_weight=table.node_weight,
        start_cm1=float(table.cell_start_cm1[0]),
        width_cm1=table.cell_width_cm1,
        points=round(table.cell_width_cm1 / table.step_cm1),
    )


def lno_operator(
    cells: Cells,
    *,
    pixels: ArrayLike,
    pixel_wavenumber_cm1: ArrayLike,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    resolving_power: float,
    n_orders: int,
    aotf_offset: float = 0.0,
    aotf_width_factor: float = 1.0,
    dtype: type[np.float32 | np.float64] = np.float32,
) -> Operator:
    """Build the operator of NOMAD LNO for one order.

    Parameters
    ----------
    cells : Cells
        Nodes of the table.
    pixels : array_like of int, shape (pixel,)
        Ascending pixels from 0.
    pixel_wavenumber_cm1 : array_like, shape (pixel,)
        Their wavenumbers in the nominal order, cm-1.
    order : int
        Nominal order.
    aotf_frequency_khz, temperature_c : float
        Drive frequency, kHz; instrument temperature, degree Celsius.
    resolving_power : float
        nu / FWHM of the Gaussian line shape (*to be verified*).
    n_orders : int
        Neighbouring orders on each side.
    aotf_offset : float
        Shift of the AOTF centre, cm-1, by default 0.
    aotf_width_factor : float
        Factor on its width, by default 1.
    dtype : numpy.float32 or numpy.float64
        Storage of the entries.

    Returns
    -------
    tgo_spectra.instruments.response.tabulated.Operator
        Kinds: value, shift and curvature.

    Raises
    ------
    InstrumentError
        If inputs do not fit together, the table does not cover the orders, or its
        cells are too wide for the line shape.
    """
    nominal = np.asarray(pixel_wavenumber_cm1, dtype=np.float64)
    orders = np.arange(order - n_orders, order + n_orders + 1)
    nu = nominal[..., None] * (orders / order)
    sigma = resolving_power_sigma(nu, resolving_power)
    check_width(cells, float(sigma.min()))
    centre = float(lno.aotf_centre(aotf_frequency_khz, temperature_c)) + aotf_offset
    kinds = KINDS[:3]
    layout = lay_out(
        cells.node_cell,
        cells.node_weight,
        cells.start_cm1,
        cells.width_cm1,
        pixels=pixels,
        pixel_wavenumber_cm1=nominal,
        order=order,
        n_orders=n_orders,
        aotf_centre_cm1=centre,
        sigma=sigma,
        delta=np.zeros_like(sigma),
        cell_points=cells.points,
        kinds=len(kinds),
        block_pixels=BLOCK_PIXELS,
        window_sigma=WINDOW_SIGMA,
    )
    area = lno.blaze(nu, orders, temperature_c) / sigma
    through = lno.aotf_transmission(layout.sample, centre, aotf_width_factor)
    middle = float(nominal.mean())
    data, sums = fill(layout, area, middle, through, 0.0, len(kinds), dtype)
    fraction = sums[:, :, 0] / sums[:, :, 0].sum(axis=1, keepdims=True)
    return from_layout(layout, data, fraction, middle, kinds)


def acs_mir_operator(
    cells: Cells,
    *,
    pixels: ArrayLike,
    pixel_wavenumber_cm1: ArrayLike,
    image: DoubleImage,
    dtype: type[np.float32 | np.float64] = np.float32,
) -> Operator:
    """Build the operator of ACS MIR for one order; no orders are added.

    Parameters
    ----------
    cells : Cells
        Nodes of the table. Cells of 0.05 cm-1 (a table of step 0.001) serve a FWHM of
        0.1 cm-1; wider ones are refused.
    pixels : array_like of int, shape (pixel,)
        Ascending pixels from 0, those without a wavenumber left out.
    pixel_wavenumber_cm1 : array_like, shape (pixel,)
        Their wavenumbers, cm-1.
    image : DoubleImage
        The seven parameters of the line shape.
    dtype : numpy.float32 or numpy.float64
        Storage of the entries.

    Returns
    -------
    tgo_spectra.instruments.response.tabulated.Operator
        Kinds: those of `tgo_spectra.instruments.response.tabulated.KINDS` and the seven
        parameters.

    Raises
    ------
    InstrumentError
        As `line_shape_operator`.
    """
    nu = np.asarray(pixel_wavenumber_cm1, dtype=np.float64)
    return line_shape_operator(
        cells, nu, ImageShape(image, nu), pixels=pixels, dtype=dtype
    )
