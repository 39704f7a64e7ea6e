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
from tgo_spectra.spectroscopy.tables.read import spline_matrices
from tgo_spectra.spectroscopy.tables.scratch import in_pieces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "SCALE",
    "VMR_RANGES",
    "Band",
    "RandomPaths",
    "draw",
    "random_columns",
    "random_paths",
    "reduced_states",
    "temperature_bounds",
    "training_rows",
]

SCALE = 1e20  # cross sections of 1e-20 cm2 would underflow in products of float32
STATE_PIECE = 4096  # points of the axis handled at a time, whatever the memory
LEAST_POINTS = 4000  # of which the variety of states is judged, where there are so many
# Neighbouring paths have like derivatives; 5 takes all tangent heights in turn.
EVERY = 5

GRAVITY = 3.71  # m/s2 at the mean radius
MEAN_MASS = 43.34 * 1.66053907e-27  # kg, CO2 95 %, N2 2.8 %, Ar 2 % (Trainer 2019)
SURFACE_PA = (300.0, 1990.0)  # Hellas in northern winter has 1200 and more
HIGHEST_GROUND_PA = 30.0  # Olympus Mons has 50 and more
TEMPERATURE_MARGIN_K = 5.0  # inside the grid of temperatures
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


def _column_of_air(
    generator: np.random.Generator, temperature_k: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw temperatures: heights (km), temperatures (K), scale heights below them."""
    z = 0.5 * (SHELLS_KM[1:] + SHELLS_KM[:-1])
    temperature = _profile(generator, z, *temperature_k)
    gravity = GRAVITY * (MEAN_RADIUS_KM / (MEAN_RADIUS_KM + z)) ** 2
    scale_km = BOLTZMANN * temperature / (MEAN_MASS * gravity) * 1e-3
    step = np.diff(SHELLS_KM)
    return z, temperature, np.cumsum(step / scale_km) - 0.5 * step / scale_km


def _mole_fraction(
    generator: np.random.Generator, gas: str, z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw a profile of a gas."""
    low, high = VMR_RANGES.get(gas, VMR_RANGES["other"])
    if generator.random() < 0.3:  # saturated lines are the hardest: not left rare
        low = max(low, 0.2 * high)
    return np.exp(_profile(generator, z, np.log(low), np.log(high)))


def random_columns(
    generator: np.random.Generator,
    gases: Sequence[str],
    slants: int = 2,
    *,
    temperature_k: tuple[float, float] = (95.0, 315.0),
    highest_pa: float = SURFACE_PA[1],
) -> RandomPaths:
    """Draw an atmosphere and paths down to its surface and up again.

    Parameters
    ----------
    generator : numpy.random.Generator
        Source of randomness.
    gases : sequence of str
        Gas keys.
    slants : int
        Paths, each 2 to 8 times as long as the column is high.
    temperature_k : tuple of float
        Bounds of the temperatures, K.
    highest_pa : float
        Largest pressure, Pa.

    Returns
    -------
    RandomPaths
        States and columns.

    Examples
    --------
    >>> paths = random_columns(np.random.default_rng(1), ["h2o"], 3)
    >>> paths.column["h2o"].shape
    (3, 52)
    """
    z, temperature, depth = _column_of_air(generator, temperature_k)
    surface = min(SURFACE_PA[1], highest_pa)
    lowest, most = np.log(min(HIGHEST_GROUND_PA, 0.5 * surface)), np.log(surface)
    pressure = np.exp(generator.uniform(lowest, most) - depth)
    density = pressure / (BOLTZMANN * temperature) * 1e-6  # cm-3
    # squared: most paths are nearly upright
    slant = 2.0 + 6.0 * generator.uniform(0.0, 1.0, slants) ** 2
    air = slant[:, None] * 1e5 * np.diff(SHELLS_KM) * density  # 1e5 cm in a km
    column = {gas: air * _mole_fraction(generator, gas, z) for gas in gases}
    return RandomPaths(pressure, temperature, column)


def random_paths(
    generator: np.random.Generator,
    gases: Sequence[str],
    paths: int = 8,
    *,
    temperature_k: tuple[float, float] = (95.0, 315.0),
    highest_pa: float = SURFACE_PA[1],
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
    temperature_k : tuple of float
        Bounds of the temperatures, K.
    highest_pa : float
        Largest pressure, Pa.

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
    z, temperature, depth = _column_of_air(generator, temperature_k)
    surface = min(SURFACE_PA[1], highest_pa)
    lowest = min(SURFACE_PA[0], 0.5 * surface)
    pressure = generator.uniform(lowest, surface) * np.exp(-depth)
    density = pressure / (BOLTZMANN * temperature) * 1e-6  # cm-3
    # squared: most of them low, where the columns are
    part = (np.arange(paths) + generator.uniform(0.0, 1.0, paths)) / paths
    tangent = 100.0 * part**2
    reach = (MEAN_RADIUS_KM + SHELLS_KM[None, :]) ** 2 - (
        MEAN_RADIUS_KM + tangent[:, None]
    ) ** 2
    half = np.sqrt(np.maximum(reach, 0.0)) * 1e5  # cm
    air = 2.0 * np.diff(half, axis=1) * density
    column = {gas: air * _mole_fraction(generator, gas, z) for gas in gases}
    return RandomPaths(pressure, temperature, column)


@dataclass
class Band:
    """Cross sections of the gases of a band on its fine axis, on disk.

    Attributes
    ----------
    low, step : float
        Lower edge and step of the fine axis, cm-1. Points are midpoints.
    points : int
        Fine points, whole cells.
    pressure_pa, temperature_k : ndarray of float64
        Axes of the grid of states.
    folder : Path
        Where the pieces lie.
    files : dict of str to list of Path
        One file for each gas and temperature, float32 (pressure, point), in units of
        1e-20 cm2.
    """

    low: float
    step: float
    points: int
    pressure_pa: NDArray[np.float64]
    temperature_k: NDArray[np.float64]
    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def wavenumber(self) -> NDArray[np.float64]:
        """Fine axis, cm-1."""
        points = np.arange(self.points) + 0.5
        return np.asarray(self.low + points * self.step, np.float64)

    @property
    def states(self) -> int:
        """Number of states."""
        return self.pressure_pa.size * self.temperature_k.size

    def sigma(
        self, gas: str, points: slice | NDArray[np.int64] = slice(None)
    ) -> NDArray[np.float32]:
        """Read cross sections (state, point) of some points, pressure slowest."""
        out: list[NDArray[np.float32]] = []
        for k, file in enumerate(self.files[gas]):
            part = np.load(file, mmap_mode="r")[:, points]
            if not out:
                shape = (part.shape[0], len(self.files[gas]), part.shape[1])
                out.append(np.empty(shape, np.float32))
            out[0][:, k] = part
        return out[0].reshape(self.states, -1)

    def random_paths(self, generator: np.random.Generator, heights: int) -> RandomPaths:
        """Draw paths through air whose states lie within the grid."""
        return random_paths(
            generator,
            list(self.files),
            heights,
            temperature_k=temperature_bounds(self.temperature_k),
            highest_pa=float(self.pressure_pa[-1]),
        )

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


def temperature_bounds(grid_k: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of random temperatures in a grid of them, K."""
    low, high = float(grid_k[0]), float(grid_k[-1])
    return low + TEMPERATURE_MARGIN_K, high - TEMPERATURE_MARGIN_K


def draw(
    band: Band, seed: int, count: int, heights: int, widen: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """Draw paths; by gas (state, path), with ``sigma.T @ depth`` their optical depth.

    `count` random atmospheres of `heights` tangent heights each. `widen` is the largest
    factor on the columns of a path: a choice is made on a wider set than that on which
    it is measured, so that the latter has no edges.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[NDArray[np.float64]]] = {gas: [] for gas in band.files}
    for _ in range(count):
        paths = band.random_paths(generator, heights)
        weights = band.state_weights(paths)
        for gas, column in paths.column.items():
            more = widen ** generator.uniform(0.0, 1.0, (column.shape[0], 1))
            parts[gas].append((more * column @ weights / SCALE).T)
    return {gas: np.hstack(p).astype(np.float32) for gas, p in parts.items()}


def reduced_states(band: Band, gas: str, rank: int = 40) -> NDArray[np.float32]:
    """Orthonormal projection (rank, state) that keeps the variety of a gas to 1e-4.

    The training spectra need not be exact, only typical: 40 combinations of states
    in place of all make them in a tenth of the time.
    """
    stride = min(max(band.points // LEAST_POINTS, 1), 9)
    some = band.sigma(gas, slice(None, None, stride))
    top, floor = some.max(axis=0), 1e-9 * float(some.max())
    gram = np.zeros((band.states, band.states))
    for first, last in in_pieces(some.shape[1], STATE_PIECE):
        part = some[:, first:last] / (top[first:last].astype(np.float64) + floor)
        gram += part @ part.T
    left = np.linalg.eigh(gram)[1][:, ::-1][:, :rank]
    return np.ascontiguousarray(left.T, np.float32)


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
    paths, points = next((d.shape[1], sigma[g].shape[1]) for g, d in depth.items())
    some = -(-paths // EVERY)
    layers = {gas: w.shape[1] for gas, w in (layer or {}).items()}
    rows = np.zeros((paths + some * len(depth) + sum(layers.values()), points))
    # summed in place: the depths of all gases side by side would be the largest array
    total, begin = rows[:paths], paths
    for gas, weights in depth.items():
        tau = weights.T @ sigma[gas]
        total += tau
        rows[begin : begin + some] = tau[::EVERY]
        begin += some
    few = np.exp(-total[: max(layers.values(), default=0)])
    transmittance = np.exp(-total[::EVERY])
    for k in range(len(depth)):
        rows[paths + k * some : paths + (k + 1) * some] *= transmittance
    np.expm1(-total, out=total)
    np.negative(total, out=total)
    for gas, weights in (layer or {}).items():
        change = few[: weights.shape[1]] * (weights.T @ sigma[gas])
        top = np.max(np.abs(change), axis=1, keepdims=True, initial=1e-30)
        rows[begin : begin + weights.shape[1]] = change * np.minimum(1.0, 0.3 / top)
        begin += weights.shape[1]
    return rows
