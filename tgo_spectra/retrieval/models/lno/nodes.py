"""Nodes of a table that nadir spectra of an order need: few where it brings no light.

A table is made for lines along the limb and serves any order. Of the orders that LNO
adds to the one wanted most bring less than a hundredth of the light: their nodes may
stand for more. One choice serves all products of an order whose instrument is nearly
the same; how little it changes of spectra is tested on random atmospheres.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.instruments import lno
from tgo_spectra.spectroscopy.tables.read import band_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.models.lno.setup import NadirSetup
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = npt.NDArray[np.float64]

__all__ = ["light_of_cells", "nadir_band"]

TOLERANCE = 5e-5
"""Error of the mean transmittance of a cell that all light comes from. Spectra of wild
random atmospheres are then off by 1.7e-5 (root mean square), tables themselves by up to
1.5e-4."""
LEAST_LIGHT = 1e-4
"""What is darker counts as this light."""
LARGEST = 0.3
"""Error of the mean transmittance of any cell."""
MARGIN_PX = 16
"""Pixels beyond the detector: wavenumbers move with the temperature and by calibration.
"""
STEP_CM1, STEP_C = 1.0, 5.0
"""Instruments that are nearer share their nodes."""
ROOM_CM1 = 2.0
"""Beside the error of its centre an AOTF may be off by this."""


def light_of_cells(
    cell_cm1: Array,
    order: int,
    number: int,
    aotf_cm1: Array,
    width: float,
    celsius: float,
) -> Array:
    """Return the largest part of any pixel's light that comes from an order at cells.

    Parameters
    ----------
    cell_cm1 : array, shape (cell,)
        Middles of the cells.
    order, number : int
        The one wanted, and neighbours on either side.
    aotf_cm1 : array, shape (centre,)
        Centres that the AOTF may have.
    width : float
        Factor on its width.
    celsius : float
        Temperature, degree Celsius.
    """
    orders = np.arange(order - number, order + number + 1)
    pixels = np.arange(-MARGIN_PX, 320 + MARGIN_PX)
    nu = lno.pixel_wavenumber(orders[:, None], pixels, celsius)
    through = lno.aotf_transmission(nu, aotf_cm1[:, None, None], width)
    light = through * lno.blaze(nu, orders[:, None], celsius)
    part = (light / light.sum(axis=1, keepdims=True)).max(axis=0)
    found = [
        np.interp(cell_cm1, *one, left=0.0, right=0.0)
        for one in zip(nu, part, strict=True)
    ]
    return np.asarray(np.max(found, axis=0))


def nadir_band(
    setup: NadirSetup, order: int, aotf_frequency_khz: float, temperature_c: float
) -> BandTable:
    """Return the table of a setup with the nodes that an order needs.

    Parameters
    ----------
    setup : NadirSetup
    order : int
    aotf_frequency_khz, temperature_c : float
        kHz; degree Celsius.

    Raises
    ------
    TableError
        The table has not all gases.
    """
    instrument, unsure = setup.instrument, setup.systematics
    centre = float(lno.aotf_centre(aotf_frequency_khz, temperature_c))
    room = ROOM_CM1 + unsure.aotf_centre
    return _thinned(
        setup.table,
        setup.gases,
        order,
        instrument.n_orders,
        round((centre + instrument.aotf_offset_cm1) / STEP_CM1) * STEP_CM1,
        room,
        instrument.aotf_width_factor * (1.0 + unsure.aotf_width),
        round(temperature_c / STEP_C) * STEP_C,
    )


@lru_cache(maxsize=6)
def _thinned(
    table: str,
    gases: tuple[str, ...],
    order: int,
    number: int,
    aotf_cm1: float,
    room_cm1: float,
    width: float,
    celsius: float,
) -> BandTable:
    """Thin a table, once for all products of nearly the same instrument."""
    from tgo_spectra.spectroscopy.tables.thinning import thinned_columns

    band, _ = band_of(table, gases)
    light = light_of_cells(
        band.cell_start_cm1 + 0.5 * band.cell_width_cm1,
        order,
        number,
        aotf_cm1 + np.linspace(-room_cm1, room_cm1, 9),
        width,
        celsius,
    )
    return thinned_columns(
        band, np.minimum(TOLERANCE / np.maximum(light, LEAST_LIGHT), LARGEST)
    )
