"""Random atmospheres on which tables are chosen and, with other seeds, measured.

Nothing here is a model of Mars: profiles are drawn far wider than any planet offers,
because a choice made on a narrow set fails on the first unusual profile while every
closure test on usual ones passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.mars import BOLTZMANN, MEAN_RADIUS_KM
from tgo_spectra.spectroscopy.tables.interpolation import spline_matrices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "CELL_POINTS",
    "SCALE",
    "VMR_RANGES",
    "Band",
    "RandomPaths",
    "draw",
    "random_paths",
    "reduced_states",
    "training_rows",
]

SCALE = 1e20  # cross sections of 1e-20 cm2 would underflow in products of float32
CELL_POINTS = 50

GRAVITY = 3.71  # m/s2 at the mean radius
MEAN_MASS = 43.34 * 1.66053907e-27  # kg, CO2 95 %, N2 2.8 %, Ar 2 % (Trainer 2019)
TEMPERATURES_K = (105.0, 295.0)  # within the grid of `states.default_temperatures`
SHELLS_KM = np.linspace(0.0, 104.0, 53)  # km, edges

# Volume mixing ratios drawn log-uniformly. A gas not named here uses "other".
VMR_RANGES: Mapping[str, tuple[float, float]] = {
    "h2o": (1e-7, 1e-3),
    "hdo": (1e-9, 1e-5),
    "ch4": (1e-11, 1e-7),
    "co": (1e-5, 5e-3),
    "co2": (0.9, 1.0),
    "c2h4": (1e-12, 1e-7),
    "c2h6": (1e-12, 1e-7),
    "ch4_13": (1e-13, 1e-9),
    "co2_636": (5e-3, 2e-2),
    "co2_628": (2e-3, 8e-3),
    "co2_627": (3e-4, 2e-3),
    "other": (1e-11, 1e-5),
}


@dataclass(frozen=True)
class RandomPaths:
    """Slant paths through one random atmosphere.

    Attributes
    ----------
    pressure_pa, temperature_k : ndarray of float64, (shell,)
        State of each shell.
    column : dict of str to ndarray of float64, (path, shell)
        Molecules of each gas along the path in each shell, cm-2.
    """

    pressure_pa: NDArray[np.float64]
    temperature_k: NDArray[np.float64]
    column: dict[str, NDArray[np.float64]]


def _profile(
    generator: np.random.Generator,
    z: NDArray[np.float64],
    low: float,
    high: float,
) -> NDArray[np.float64]:
    """Draw a profile between two bounds from four knots."""
    knots = generator.uniform(low, high, 4)
    return np.interp(z, (0.0, 25.0, 55.0, 100.0), knots)


def random_paths(
    generator: np.random.Generator, gases: Sequence[str], paths: int = 8
) -> RandomPaths:
    """Draw an atmosphere and slant paths with tangent points from 0 to 100 km.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.
    gases : sequence of str
        Gas keys.
    paths : int
        Tangent heights from 0 to 100 km, denser below; any number covers all heights.

    Returns
    -------
    RandomPaths
        States and columns.

    Examples
    --------
    >>> paths = random_paths(np.random.default_rng(1), ["h2o"], 3)
    >>> paths.column["h2o"].shape
    (3, 52)
    """
    z = 0.5 * (SHELLS_KM[1:] + SHELLS_KM[:-1])
    temperature = _profile(generator, z, *TEMPERATURES_K)
    gravity = GRAVITY * (MEAN_RADIUS_KM / (MEAN_RADIUS_KM + z)) ** 2
    scale_km = BOLTZMANN * temperature / (MEAN_MASS * gravity) * 1e-3
    step = np.diff(SHELLS_KM)
    depth = np.cumsum(step / scale_km) - 0.5 * step / scale_km
    pressure = generator.uniform(300.0, 1200.0) * np.exp(-depth)
    density = pressure / (BOLTZMANN * temperature) * 1e-6  # cm-3
    # squared: most of them low, where the columns are
    part = (np.arange(paths) + generator.uniform(0.0, 1.0, paths)) / paths
    tangent = 100.0 * part**2
    reach = (MEAN_RADIUS_KM + SHELLS_KM[None, :]) ** 2 - (
        MEAN_RADIUS_KM + tangent[:, None]
    ) ** 2
    half = np.sqrt(np.maximum(reach, 0.0)) * 1e5  # cm
    air = 2.0 * np.diff(half, axis=1) * density
    column = {}
    for gas in gases:
        low, high = VMR_RANGES.get(gas, VMR_RANGES["other"])
        if generator.random() < 0.3:  # saturated lines are the hardest: not left rare
            low = max(low, 0.2 * high)
        vmr = np.exp(_profile(generator, z, np.log(low), np.log(high)))
        column[gas] = air * vmr
    return RandomPaths(pressure, temperature, column)


@dataclass
class Band:
    """Cross sections of the gases of a band on its fine axis.

    Attributes
    ----------
    low, step : float
        Lower edge and step of the fine axis, cm-1. Points are midpoints.
    pressure_pa, temperature_k : ndarray of float64
        Axes of the grid of states.
    sigma : dict of str to ndarray of float32, (state, point)
        Cross sections in units of 1e-20 cm2, pressure varying slowest.
    """

    low: float
    step: float
    pressure_pa: NDArray[np.float64]
    temperature_k: NDArray[np.float64]
    sigma: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Number of fine points."""
        return int(next(iter(self.sigma.values())).shape[1])

    @property
    def wavenumber(self) -> NDArray[np.float64]:
        """Fine axis, cm-1."""
        points = np.arange(self.points) + 0.5
        return np.asarray(self.low + points * self.step, np.float64)

    def state_weights(self, paths: RandomPaths) -> NDArray[np.float64]:
        """Return the spline weights of each shell's state, (shell, state)."""
        by_p, by_t = spline_matrices(
            np.log(self.pressure_pa),
            self.temperature_k,
            paths.pressure_pa,
            paths.temperature_k,
            doppler_limit=True,
        )
        return (by_p[:, :, None] * by_t[:, None, :]).reshape(by_p.shape[0], -1)


def draw(
    band: Band, seed: int, count: int, heights: int, widen: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """Draw paths; by gas (state, path), with ``sigma.T @ depth`` their optical depth.

    `count` random atmospheres of `heights` tangent heights each. `widen` is the largest
    factor on the columns of a path: a choice is made on a wider set than that on which
    it is measured, so that the latter has no edges.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[NDArray[np.float64]]] = {gas: [] for gas in band.sigma}
    for _ in range(count):
        paths = random_paths(generator, list(band.sigma), heights)
        weights = band.state_weights(paths)
        for gas, column in paths.column.items():
            more = widen ** generator.uniform(0.0, 1.0, (column.shape[0], 1))
            parts[gas].append((more * column @ weights / SCALE).T)
    return {gas: np.hstack(p).astype(np.float32) for gas, p in parts.items()}


def reduced_states(band: Band, rank: int = 40) -> dict[str, NDArray[np.float32]]:
    """Orthonormal projections (rank, state), by gas, that keep the variety to 1e-4.

    The training spectra need not be exact, only typical: 40 combinations of states
    in place of 493 make them in a tenth of the time.
    """
    out = {}
    for gas, sigma in band.sigma.items():
        some = sigma[:, ::9].astype(np.float64)
        some /= some.max(axis=0) + 1e-9 * some.max()
        left = np.linalg.eigh(some @ some.T)[1][:, ::-1][:, :rank]
        out[gas] = np.ascontiguousarray(left.T, np.float32)
    return out


def training_rows(
    sigma: Mapping[str, NDArray[np.float32]],
    depth: Mapping[str, NDArray[np.float32]],
    layer: Mapping[str, NDArray[np.float32]] | None = None,
) -> NDArray[np.float64]:
    """Absorption and its derivatives (row, point) on a piece of the axis.

    Rows: 1 - T; T tau for each gas and every fifth path; T tau_layer for each gas, at
    most 0.3 high. Of cross sections (state, point) by gas, or combinations of them, and
    paths (state, path), perhaps others for the derivatives: a change of the amount
    anywhere along the path moves T by T times its optical depth.
    """
    tau = {gas: depth[gas].T @ sigma[gas] for gas in depth}
    total = np.sum(list(tau.values()), axis=0, dtype=np.float64)
    transmittance = np.exp(-total)
    rows = [-np.expm1(-total)]
    # neighbouring paths have like derivatives; 5 takes all tangent heights in turn
    rows += [transmittance[::5] * value[::5] for value in tau.values()]
    for gas, weights in (layer or {}).items():
        change = transmittance[: weights.shape[1]] * (weights.T @ sigma[gas])
        top = np.max(np.abs(change), axis=1, keepdims=True, initial=1e-30)
        rows.append(change * np.minimum(1.0, 0.3 / top))
    return np.vstack(rows)
