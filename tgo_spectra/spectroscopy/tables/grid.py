"""The grid of states of a table, and the cross sections at each of them.

The temperatures of a gas are independent tasks of Dask: threads by default, processes
on request. Each task computes its own rows and no sum runs over tasks, so that the
number of workers cannot change a bit of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.spectroscopy.tables.scratch import keep, piece_name, run_tasks
from tgo_spectra.spectroscopy.tables.training import SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tgo_spectra.spectroscopy.tables.error_estimate import CrossSection
    from tgo_spectra.spectroscopy.tables.scratch import Progress
    from tgo_spectra.spectroscopy.tables.training import Band

__all__ = ["default_pressures", "default_temperatures", "fill_states", "states_bytes"]

QUADRATIC_PA = 25.0


def default_pressures() -> NDArray[np.float64]:
    """Return the pressures of the grid, Pa.

    Returns
    -------
    ndarray of float64, (36,)
        1e-3 to 2003 Pa, step 0.5 in ln p, 0.25 above 99 Pa, where lines become
        Lorentzian and the end of the spline is near. On low ground the air of Mars
        weighs 1200 Pa and more.

    Examples
    --------
    >>> default_pressures()[[0, -1]].round(3)
    array([1.000e-03, 2.003e+03])
    """
    coarse, fine = 0.5 * np.arange(23), np.linspace(11.5, 14.51, 13)
    return np.asarray(1e-3 * np.exp(np.concatenate([coarse, fine])))


def default_temperatures() -> NDArray[np.float64]:
    """Return the temperatures of the grid, K.

    Returns
    -------
    ndarray of float64, (21,)
        90 to 320 K in equal steps of ln T, 7 %: line intensities go with 1/T. One
        more at 93 K, where hot lines vary fastest and the spline ends.

    Examples
    --------
    >>> default_temperatures()[[0, 1, 2, -1]].round(1)
    array([ 90. ,  93. ,  96.2, 320. ])
    """
    return np.insert(np.geomspace(90.0, 320.0, 20), 1, 93.0)


def _shares(
    pressure: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """States computed, states filled, and their Lagrange weights on the first three."""
    low = int(np.count_nonzero(pressure < QUADRATIC_PA))
    base = np.array([0, low - 2, low - 1]) if low > 3 else np.arange(low)
    direct = np.concatenate([base, np.arange(low, pressure.size)])
    filled = np.setdiff1d(np.arange(low), base)
    share = np.ones((filled.size, base.size))
    for column, a in enumerate(base):
        for b in base:
            if b != a:
                share[:, column] *= pressure[filled] - pressure[b]
                share[:, column] /= pressure[a] - pressure[b]
    return direct, filled, share


def _at_temperature(
    path: Path,
    cross_section: CrossSection,
    nu: NDArray[np.float64],
    pressure: NDArray[np.float64],
    kelvin: float,
) -> bool:
    """Keep cross sections of all pressures at one temperature, (pressure, point)."""

    def make() -> NDArray[np.float32]:
        direct, filled, share = _shares(pressure)
        values = cross_section(nu, pressure[direct], np.full(direct.size, kelvin))
        values *= SCALE
        out = np.empty((pressure.size, nu.size), np.float32)
        out[direct] = values
        # row by row: one product for all rows would round by the shape of its blocks
        for state, weights in zip(filled, share, strict=True):
            out[state] = weights @ values[: share.shape[1]]
        return out

    return keep(path, make)


def states_bytes(band: Band) -> float:
    """Return the memory that the states of a gas at one temperature take."""
    direct = _shares(band.pressure_pa)[0].size
    # results as float64 and float32, and the ladder of grids of one sum
    return band.points * (8.0 * direct + 4.0 * band.pressure_pa.size + 60.0)


def fill_states(
    band: Band,
    gas: str,
    cross_section: CrossSection,
    workers: int,
    *,
    inputs: Sequence[object] = (),
    processes: bool = False,
    progress: Progress | None = None,
) -> None:
    """Compute the cross sections (cm2) of a gas at every state of the band, as pieces.

    Up to `QUADRATIC_PA` a Voigt profile and the shift of its line are quadratic in
    pressure (the next term is the cube of Lorentz over Doppler width, 1e-6), so the
    states there follow from those at three pressures. `workers` temperatures at a time,
    each over the whole window: the sum of lines is not cut. `inputs` are what the
    function depends on; for processes it must pickle (Dask uses cloudpickle).
    """
    nu = band.wavenumber
    axis = [band.low, band.step, band.points]
    files = [
        band.folder
        / piece_name(f"sigma-{gas}", *inputs, axis, band.pressure_pa, kelvin)
        for kelvin in band.temperature_k.tolist()
    ]
    tasks = [
        (file, cross_section, nu, band.pressure_pa, kelvin)
        for file, kelvin in zip(files, band.temperature_k.tolist(), strict=True)
    ]
    run_tasks(
        _at_temperature,
        tasks,
        workers,
        processes=processes,
        progress=progress,
        stage=f"cross sections of {gas}",
    )
    band.files[gas] = files
