"""Operators of LNO and of ACS MIR on the nodes of an absorption table.

Each puts the parts of its channel into
`tgo_spectra.instruments.response.line_by_line.line_shape_operator`. Resolving powers
and filters that are not settled come from the caller;
`tgo_spectra.instruments.uncertain` gives the attribute that records them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import lno
from tgo_spectra.instruments.acs_mir import DoubleImage, ImageShape
from tgo_spectra.instruments.line_shape import DoubletShape, resolving_power_sigma
from tgo_spectra.instruments.response.line_by_line import Cells, line_shape_operator

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
    aotf_derivatives: bool = True,
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
    aotf_derivatives : bool
        Have the kinds ``aotf_offset`` and ``aotf_width_factor``, a quarter of the work.
    dtype : numpy.float32 or numpy.float64
        Storage of the entries.

    Returns
    -------
    tgo_spectra.instruments.response.tabulated.Operator
        Kinds: those of `tgo_spectra.instruments.response.tabulated.KINDS`, ``width``
        (logarithm of the line width, minus that of the resolving power),
        ``aotf_offset``, ``aotf_width_factor``.

    Raises
    ------
    InstrumentError
        As `line_shape_operator`.
    """
    orders = np.arange(order - n_orders, order + n_orders + 1)
    nominal = np.asarray(pixel_wavenumber_cm1, dtype=np.float64)
    nu = nominal[:, None] * (orders / order)
    centre = float(lno.aotf_centre(aotf_frequency_khz, temperature_c)) + aotf_offset

    def derivative(name: str, wavenumber: np.ndarray) -> np.ndarray:
        return lno.aotf_derivatives(wavenumber, centre, aotf_width_factor)[name]

    return line_shape_operator(
        cells,
        nu,
        DoubletShape(resolving_power_sigma(nu, resolving_power)),
        pixels=pixels,
        orders=orders,
        nominal=n_orders,
        weight=lno.blaze(nu, orders, temperature_c),
        transfer=lambda v: lno.aotf_transmission(v, centre, aotf_width_factor),
        transfer_derivatives={
            "aotf_offset": lambda v: derivative("aotf_offset", v),
            "aotf_width_factor": lambda v: derivative("aotf_width_factor", v),
        }
        if aotf_derivatives
        else None,
        dtype=dtype,
    )


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
