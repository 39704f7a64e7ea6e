"""The grid of states of a table, and the cross sections at each of them.

The temperatures of a gas are independent tasks of Dask: threads by default, processes
on request. Each task computes its own rows and no sum runs over tasks, so that the
number of workers cannot change a bit of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tgo_spectra.spectroscopy.tables.training import SCALE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from tgo_spectra.spectroscopy.tables.error_estimate import CrossSection
    from tgo_spectra.spectroscopy.tables.training import Band

__all__ = ["default_pressures", "default_temperatures", "fill_states", "run_tasks"]

QUADRATIC_PA = 25.0

T = TypeVar("T")


def default_pressures() -> NDArray[np.float64]:
    """Return the pressures of the grid, Pa.

    Returns
    -------
    ndarray of float64, (34,)
        1e-3 to 1203 Pa, step 0.5 in ln p, 0.25 above 99 Pa, where lines become
        Lorentzian and the end of the spline is near.

    Examples
    --------
    >>> default_pressures()[[0, -1]]
    array([1.00e-03, 1.2026e+03])
    """
    coarse, fine = 0.5 * np.arange(24), 11.5 + 0.25 * np.arange(11)
    return np.asarray(1e-3 * np.exp(np.unique(np.concatenate([coarse, fine]))))


def default_temperatures() -> NDArray[np.float64]:
    """Return the temperatures of the grid, K.

    Returns
    -------
    ndarray of float64, (22,)
        100 to 300 K, step 10 K, and 105 K, where hot lines vary fastest.

    Examples
    --------
    >>> default_temperatures()[[0, 1, 2, -1]]
    array([100., 105., 110., 300.])
    """
    return np.insert(np.arange(100.0, 301.0, 10.0), 1, 105.0)


def run_tasks(
    function: Callable[..., T],
    arguments: Iterable[tuple[Any, ...]],
    workers: int,
    *,
    processes: bool = False,
) -> list[T]:
    """Call a function on many arguments as delayed tasks of Dask.

    Parameters
    ----------
    function : callable
        Called once per tuple of arguments.
    arguments : iterable of tuple
        Arguments, passed as they are.
    workers : int
        Threads or processes at a time.
    processes : bool
        Processes in place of threads.

    Returns
    -------
    list
        Results in the order of the arguments.

    Examples
    --------
    >>> run_tasks(max, [(1, 2), (4, 3)], 2)
    [2, 4]
    """
    from dask.base import compute
    from dask.delayed import delayed

    task = delayed(function, traverse=False)
    scheduler = "processes" if processes else "threads"
    if workers == 1 and not processes:
        scheduler = "synchronous"
    tasks = [task(*some) for some in arguments]
    made = compute(*tasks, scheduler=scheduler, num_workers=workers)  # type: ignore[no-untyped-call]
    return list(made)


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
    cross_section: CrossSection,
    nu: NDArray[np.float64],
    pressure: NDArray[np.float64],
    kelvin: float,
) -> NDArray[np.float32]:
    """Cross sections of all pressures at one temperature, (pressure, point)."""
    direct, filled, share = _shares(pressure)
    values = SCALE * cross_section(nu, pressure[direct], np.full(direct.size, kelvin))
    out = np.empty((pressure.size, nu.size), np.float32)
    out[direct] = values
    # row by row: one product for all rows would round by the shape of its blocks
    for state, weights in zip(filled, share, strict=True):
        out[state] = weights @ values[: share.shape[1]]
    return out


def fill_states(
    band: Band,
    gas: str,
    cross_section: CrossSection,
    points: int,
    workers: int,
    *,
    processes: bool = False,
) -> None:
    """Compute the cross sections (cm2) of a gas at every state of the band, in place.

    Up to `QUADRATIC_PA` a Voigt profile and the shift of its line are quadratic in
    pressure (the next term is the cube of Lorentz over Doppler width, 1e-6), so the
    states there follow from those at three pressures. `workers` temperatures at a time;
    for processes `cross_section` must pickle (Dask uses cloudpickle).
    """
    nu = np.asarray(band.low + (np.arange(points) + 0.5) * band.step, np.float64)
    pressure, temperature = band.pressure_pa, band.temperature_k
    sigma = np.empty((pressure.size, temperature.size, points), np.float32)
    # a round of tasks at a time: results of one round wait in memory, not of all
    rounds = max(2 * workers, 1)
    for first in range(0, temperature.size, rounds):
        some = temperature[first : first + rounds].tolist()
        tasks = [(cross_section, nu, pressure, kelvin) for kelvin in some]
        made = run_tasks(_at_temperature, tasks, workers, processes=processes)
        for place, values in enumerate(made):
            sigma[:, first + place] = values
    band.sigma[gas] = sigma.reshape(-1, points)
