"""Closed loops with generated interferents: fitted, and left out.

Truths are those of the simulator. Tables are small (few states, few neighbouring
orders, loose tolerances): truth and fit share them, so that only what the fit leaves
out differs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import closed_loop as loop
import numpy as np
import synthetic_bands as bands
from shared_folder import LISTS

import tgo_spectra as tgo
from tgo_spectra.retrieval import limits
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.given import prior_sigma
from tgo_spectra.retrieval.models.so import optimal_estimation
from tgo_spectra.retrieval.models.so.solution import build_scene
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.spectroscopy.linelist import read_line_list
from tgo_spectra.spectroscopy.tables import build_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

METHANE = "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz"
WATER = "h2o_iso123_2000-3333_hitran2020online.par.gz"
PRESSURE_PA = np.exp(np.linspace(np.log(1e-3), np.log(1203.0), 16))
TEMPERATURE_K = np.linspace(100.0, 300.0, 9)
N_ORDERS = 2
RESPONSE = 0.3
"""Diagonal of the averaging kernel from which a level counts."""


@dataclass(frozen=True)
class Case:
    """A scene, its clean rows and the true profiles on the levels."""

    level1: object
    setup: object
    scene: object
    clean: np.ndarray
    truth: dict[str, np.ndarray]


def order_window(order: int, n_orders: int = N_ORDERS) -> tuple[float, float]:
    """Range in cm-1 that an order of SO and its neighbours need of a table."""
    return 22.473 * (order - n_orders) - 5.0, 22.653 * (order + n_orders) + 5.0


def small_table(
    folder: Path, lines: dict, window: tuple[float, float], name: str
) -> str:
    """Path of a small table of these lines, built where the folder has none."""
    path = folder / f"{name}.nc"
    if not path.is_file():
        table = build_table(
            lines, window, band=name, pressure_pa=PRESSURE_PA,
            temperature_k=TEMPERATURE_K, workers=1, tolerance=4e-4,
            rank_tolerance=1e-4, atmospheres=24, verify_atmospheres=0,
        )  # fmt: skip
        write_table(table, path)
    return str(path)


def methane_table(folder: Path, order: int) -> str:
    """Small table of water, methane, CO2 (dipole band) and ozone around an order."""
    lines = {
        "h2o": (read_line_list(LISTS / WATER), ("air", 1.7)),
        "ch4": (read_line_list(LISTS / METHANE), ("air", 1.3)),
        "co2": (bands.co2_dipole(), "co2"),
        "o3": (bands.o3_3nu3(), "co2"),
    }
    return small_table(folder, lines, order_window(order), f"interferents_{order}")


def methane_setup(folder: Path, order: int, *, fitted: bool):
    """Return the methane setup with CO2 and ozone fitted, or left out and named."""
    raw = {
        "table": methane_table(folder, order),
        "instrument": {"n_orders": N_ORDERS},
        "interferents_absent": ["hdo"],
        "gases": ["h2o", "ch4", "co2", "o3"],
        "prior": {
            "h2o": {"relative_sigma": 1.0},
            "ch4": {"constant": 0.0, "sigma": 5e-9},
            "co2": {"relative_sigma": 0.05},
            "o3": {"constant": 0.0, "sigma": 2e-7},
        },
    }
    if not fitted:
        raw["gases"] = ["h2o", "ch4"]
        raw["prior"] = {gas: raw["prior"][gas] for gas in raw["gases"]}
        raw["interferents_absent"] += ["co2", "co2 magnetic dipole band", "o3"]
    return tgo.load_setup("so_134").replace(
        name=f"interferents_{order}",
        orders=[order],
        systematics=loop.PLAIN,
        detection={"detection_sigma": 3.0},
        **raw,
    )


def ozone(peak: float = 1e-7) -> tuple[np.ndarray, np.ndarray]:
    """Profile with a layer at 20 km; 100 to 200 ppbv were seen there (Olsen 2020)."""
    z = np.arange(-10.0, 161.0, 2.0)
    return z, peak * np.exp(-0.5 * ((z - 20.0) / 10.0) ** 2)


def simulated(
    setup, order: int, vmr: dict, *, gases=None, options: dict | None = None
) -> Case:
    """Simulate an occultation with a setup's table and build the scene of its fit."""
    made = simulate_level1(
        order=order, table=setup.table, n_orders=setup.instrument.n_orders,
        vmr=vmr, gases=gases, noisy_pixels=(), seed=7,
        **({"n_bins": 1} | (options or {})),
    )  # fmt: skip
    return case_of(made, setup)


def case_of(made, setup) -> Case:
    """Scene of a simulated occultation under a setup."""
    scene, _ = build_scene(
        made.level1, setup, tgo.reference_atmosphere(level1=made.level1)
    )
    p = scene.prepared
    clean = made.truth["transmittance_clean"] * made.truth["calibration_factor"]
    rows = clean.values[p.rows][:, p.pixels]
    altitude = scene.limb.altitude_km
    z = made.truth["altitude"].values
    truth = {
        gas: np.interp(altitude, z, made.truth[f"{gas}_vmr"].values)
        for gas in setup.gases
    }
    return Case(made.level1, setup, scene, rows, truth)


def interferent_cases(
    folder: Path,
    order: int,
    *,
    dust: float = 0.3,
    n_bins: int = 4,
    ozone_peak: float = 1e-7,
) -> dict[str, Case]:
    """Methane-free air with both interferents: the same spectra, fitted both ways."""
    full, short = (methane_setup(folder, order, fitted=f) for f in (True, False))
    made = simulate_level1(
        order=order, table=full.table, n_orders=N_ORDERS, noisy_pixels=(), seed=7,
        n_bins=n_bins, aerosol_depth=dust,
        vmr={"ch4": 0.0, "o3": ozone(ozone_peak)},
    )  # fmt: skip
    return {"fitted": case_of(made, full), "left out": case_of(made, short)}


@dataclass(frozen=True)
class Flags:
    """Levels that count, those flagged, and z, each (copy, level)."""

    detected: np.ndarray
    above: np.ndarray
    z: np.ndarray

    @property
    def rate(self) -> float:
        """Share of levels flagged as a detection."""
        return float(self.detected.mean())

    @property
    def above_rate(self) -> float:
        """Share of levels whose value exceeds 3 sigma of its total error."""
        return float(self.above.mean())


def flags_of(case: Case, gas: str, vmr: np.ndarray, d) -> tuple[np.ndarray, ...]:
    """Return flags, excess over 3 sigma and z of one profile, at levels that count."""
    scene, altitude = case.scene, case.scene.limb.altitude_km
    good = np.diag(d.averaging_kernel) > RESPONSE
    _, length = prior_sigma(scene, gas)
    wish = scene.setup.detection
    found = limits.of_profile(
        vmr, d, altitude, 0.5 * length, wish.detection_sigma, wish.limit_sigma,
        wish.minimum_response,
    )  # fmt: skip
    prior = scene.prior_vmr[gas]
    expected = prior + d.averaging_kernel @ (case.truth[gas] - prior)
    z = (vmr - expected) / d.noise_error
    return found.detected[good], (vmr > 3.0 * d.total_error)[good], z[good]


def draws(case: Case, gas: str, copies: int, seed: int) -> Flags:
    """Flags of full retrievals of noisy copies."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(copies):
        scene = loop.noisy(case.scene, case.clean, rng)
        solution = optimal_estimation.solve(scene)
        d = gas_diagnostics(
            solution.data_matrix, solution.covariance, solution.space[gas]
        )
        rows.append(flags_of(case, gas, solution.state[gas], d))
    return Flags(*(np.concatenate(part) for part in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Linear:
    """A retrieval around its noise-free end: the state there, and the gain."""

    case: Case
    solution: object
    scatter: np.ndarray
    """Factor of the noise covariance of the state, (state, state)."""

    def gas(self, gas: str):
        """Return diagnostics, noise-free profile and the noise factor of a gas."""
        block = self.solution.space[gas]
        d = gas_diagnostics(self.solution.data_matrix, self.solution.covariance, block)
        return d, self.solution.state[gas], self.scatter[block]


def linearised(case: Case) -> Linear:
    """Fit the noise-free spectra; noise then moves the state by the gain times noise.

    With C the posterior covariance and K'K the data matrix, gain times white noise has
    the covariance C K'K C: drawn by its factor, without the Jacobian itself.
    """
    solution = optimal_estimation.solve(loop.measured(case.scene, case.clean))
    scale = np.sqrt(np.diag(solution.covariance))
    data = solution.data_matrix * scale[:, None] * scale
    values, vectors = np.linalg.eigh(data)
    root = vectors * np.sqrt(values.clip(0.0))
    scatter = (solution.covariance / scale) @ root
    return Linear(case, solution, scatter)


def copies_of(linear: Linear, gas: str, copies: int, seed: int) -> np.ndarray:
    """Profiles of a gas with noise drawn, (copy, level)."""
    _, vmr, factor = linear.gas(gas)
    rng = np.random.default_rng(seed)
    return vmr + rng.standard_normal((copies, factor.shape[1])) @ factor.T


def linear_flags(linear: Linear, gas: str, copies: int, seed: int) -> Flags:
    """As `draws`, with linearised copies."""
    d, _, _ = linear.gas(gas)
    rows = [
        flags_of(linear.case, gas, vmr, d)
        for vmr in copies_of(linear, gas, copies, seed)
    ]
    return Flags(*(np.concatenate(part) for part in zip(*rows, strict=True)))


def at_strength(case: Case, gas: str, profile: np.ndarray) -> Case:
    """The same scene with other spectra: its own model with another profile."""
    state = loop.prior_state(case.scene)
    vmr = {gas: profile}
    clean = loop.spectra(case.scene, {**state, **vmr})
    truth = dict(case.truth) | vmr
    return replace(case, clean=clean, truth=truth)


def chloride_setup(folder: Path, name: str = "so_129_130_hcl"):
    """A shipped HCl setup on a small table of generated HCl, HDO and water."""
    shipped = tgo.load_setup(name)
    lines = {
        "hcl": (bands.hcl_fundamental(), "co2"),
        "hdo": (bands.hdo_nu1(), ("air", 1.7)),
        "h2o": (bands.h2o_2nu2(), ("air", 1.7)),
    }
    low, _ = order_window(min(shipped.orders))
    _, high = order_window(max(shipped.orders))
    return _own(shipped, small_table(folder, lines, (low, high), name), tuple(lines))


def chlorine_setup(folder: Path, factor: float):
    """HCl alone in order 130, lines of H37Cl scaled: one table for each factor."""
    lines = bands.hcl_fundamental().copy()
    scale = np.where(lines["isotopologue"].values == 2, factor, 1.0)
    lines["intensity"] = lines["intensity"] * scale
    window = order_window(130, 1)
    name = f"hcl37_{factor:g}"
    table = small_table(folder, {"hcl": (lines, "co2")}, window, name)
    setup = _own(tgo.load_setup("so_129_130_hcl"), table, ("hcl",))
    return setup.replace(instrument={"n_orders": 1})


def semiheavy_setup(folder: Path, order: int = 121):
    """The shipped HDO setup on a small table of generated HDO and water."""
    lines = {
        "hdo": (bands.hdo_nu1(), ("air", 1.7)),
        "h2o": (bands.h2o_2nu2(), ("air", 1.7)),
    }
    table = small_table(folder, lines, order_window(order), f"hdo_{order}")
    return _own(tgo.load_setup("so_119_124_hdo"), table, tuple(lines))


def _own(shipped, table: str, gases: tuple[str, ...]):
    """Give a setup another table: gases that are not in it are named as absent."""
    kept = tuple(gas for gas in shipped.gases if gas in gases)
    absent = (*shipped.interferents_absent, *(set(shipped.gases) - set(kept)))
    return shipped.replace(
        table=table,
        gases=kept,
        interferents_absent=absent,
        instrument={"n_orders": N_ORDERS},
        prior={gas: shipped.prior[gas] for gas in kept},
        systematics=loop.PLAIN,
    )


def injected(setup, order: int, vmr: dict, **options) -> Case:
    """Occultation of an order in clear air with gases put in."""
    return simulated(setup, order, vmr, options={"aerosol_depth": 0.3} | options)


def layer_mean(case: Case, gas: str, vmr: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Mean of 5-30 km weighted by the errors, of one profile or of many."""
    altitude = case.scene.limb.altitude_km
    part = (altitude >= 5.0) & (altitude <= 30.0)
    weight = 1.0 / error[part] ** 2
    return vmr[..., part] @ weight / weight.sum()
