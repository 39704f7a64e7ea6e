"""How far results of the kinds beside joint fits of SO are to be trusted: reduced.

Truths of small products with something wrong that the fit does not know; noise is drawn
a few times. What is compared is the truth itself and the total error, over all levels
or rows that have a result.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import geometry, quality
from tgo_spectra.errors import TgoError
from tgo_spectra.retrieval.models.so import slant
from tgo_spectra.retrieval.models.uvis import retrieve_uvis
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.simulate.mir import MirScenario, absorb, simulate_mir_product
from tgo_spectra.simulate.nadir import simulate_nadir_level1
from tgo_spectra.simulate.uvis import (
    simulate_uvis_level1,
    synthetic_ozone_cross_section,
)

sys.path.append(str(Path(__file__).resolve().parents[1]))

import small_results

WORLDS: dict[str, dict[str, Any]] = {
    "nothing wrong": {},
    "error column half of the noise": {"error_factor": 0.5},
    "noise correlated along pixels, 0.4": {"noise_pixel_correlation": 0.4},
    "1 % of spikes of 10 sigma": {"spike_fraction": 0.01},
    "line shape 5 % wider": {"resolution_factor": 1.05},
    "temperature 7 K higher": {"temperature_offset_k": 7.0},
    "pressure 7 % higher": {"pressure_factor": 1.07},
    "zero level 1 %": {"zero_level": 0.01},
    "alien line of 1 %": {"alien_line_depth": 0.01},
}
"""What is wrong by name, as options that all simulators share."""


@dataclass(frozen=True)
class Seen:
    """A result beside its truth, pooled over levels or rows."""

    off: np.ndarray
    error: np.ndarray
    true: np.ndarray
    severe: np.ndarray
    """Of each value, by the flag of its row or of the whole."""


def pooled(level2, name, true):
    """Compare one quantity of a result with its truth, as far as both are known."""
    value, error = level2[name].values, level2[f"{name}_error"].values
    severe = np.broadcast_to(quality.severe(level2["quality_flag"].values), value.shape)
    good = np.isfinite(value) & np.isfinite(error) & np.isfinite(true)
    return Seen((value - true)[good], error[good], true[good], severe[good])


def at_levels(level2, truth, name):
    """Return a profile of the truth on the levels of a result."""
    return np.interp(level2["altitude"], truth["altitude"], truth[name])


def slant_columns(world, seed):
    """Slant columns of water and methane, SO order 134."""
    line = {"alien_line_cm1": 3017.8} if "alien_line_depth" in world else {}
    made = simulate_level1(
        order=134, vmr={"ch4": 2e-9}, n_bins=1, vertical_speed_km_s=3.0, seed=seed,
        noisy_pixels=(), **world, **line,
    )  # fmt: skip
    level2 = tgo.retrieve(made.level1, "so_134", method="slant")
    centre, width = slant.fields_of_view(made.level1["tangent_altitude_areoid"].values)
    z, radius = made.truth["altitude"].values, level2.attrs["planet_radius_km"]
    columns = {}
    for gas in ("h2o", "ch4"):
        density = (made.truth["number_density"] * made.truth[f"{gas}_vmr"]).values
        rays = [centre + 0.5 * width * node for node in slant.FIELD_NODES]
        columns[gas] = np.mean(
            [geometry.path_weights(radius + np.nan_to_num(ray), radius + z) @ density
             for ray in rays], axis=0,
        )  # fmt: skip
    return {
        f"{gas} slant column": pooled(level2, f"{gas}_slant_column", column)
        for gas, column in columns.items()
    }


def ozone(world, seed):
    """Ozone of UVIS: columns of single spectra, and the profile."""
    data = synthetic_ozone_cross_section()
    line = {"alien_line_cm1": 1e7 / 290.0} if "alien_line_depth" in world else {}
    level1, truth = simulate_uvis_level1(
        data, ozone=2e-7, pixels=256, row_step_km=2.0, seed=seed, **world, **line
    )
    level2 = retrieve_uvis(level1, data)
    rows = level2.assign(quality_flag=level2["spectrum_quality_flag"])
    return {
        "o3 slant column": pooled(
            rows, "o3_slant_column", truth["o3_slant_column"].values
        ),
        "o3 profile": pooled(level2, "o3_vmr", at_levels(level2, truth, "o3_vmr")),
    }


def nadir(world, seed):
    """Columns of carbon monoxide of LNO, order 190."""
    line = {"alien_line_cm1": 4285.0} if "alien_line_depth" in world else {}
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=12, seed=seed, **world, **line
    )
    level2 = tgo.retrieve(level1, "lno_189_190_co")
    return {"co column": pooled(level2, "co_column", truth["co_column"].values)}


@lru_cache(maxsize=1)
def made(kind):
    """Return the small product of a kind that needs a table of its own."""
    folder = Path(tempfile.mkdtemp())
    return small_results.MAKERS[kind](folder, "")


@lru_cache(maxsize=2)
def absorbed(options):
    """Absorption of the air of a MIR product, which takes most of its time."""
    return absorb(MirScenario(**MIR, **dict(options)), small_results.MIR_LINES)


MIR: dict[str, Any] = small_results.MIR_OPTIONS


def mir(world, seed):
    """Ozone of one ACS MIR order."""
    setup = made("mir").setup
    line = {"alien_line_cm1": 3029.0} if "alien_line_depth" in world else {}
    air = ("temperature_offset_k", "pressure_factor")
    depth = absorbed(tuple((k, v) for k, v in world.items() if k in air))
    with tempfile.TemporaryDirectory() as folder:
        path = simulate_mir_product(
            folder, {}, absorption=depth, seed=seed, **MIR, **world, **line
        )
        level1 = tgo.acs_spectra(tgo.open_product_tree(path), 2).load()
        with xr.open_dataset(path.with_suffix(".truth.nc"), engine="netcdf4") as file:
            truth = file.load()
    level2 = tgo.retrieve(level1, setup)
    return {"o3 profile": pooled(level2, "o3_vmr", at_levels(level2, truth, "o3_vmr"))}


def temperature(world, seed):
    """Temperature and pressure from CO2 lines of SO order 165."""
    setup = made("temperature").setup
    line = {"alien_line_cm1": 3712.0} if "alien_line_depth" in world else {}
    product = simulate_level1(
        order=165, table=setup.table, n_orders=1, gases=("co2",), vmr={},
        altitude_range=(56.0, 104.0), n_bins=1, noisy_pixels=(), seed=seed,
        **world, **line,
    )  # fmt: skip
    level2 = tgo.retrieve(product.level1, setup)
    sensed = level2["temperature_response"] > 0.5
    found = {}
    for name in ("temperature", "pressure"):
        true = np.where(sensed, at_levels(level2, product.truth, name), np.nan)
        found[name] = pooled(level2, name, true)
    return found


KINDS = {"slant": slant_columns, "uvis": ozone, "nadir": nadir, "mir": mir,
         "temperature": temperature}  # fmt: skip


def draws_of(job):
    """Fit some draws of one kind in one world; what was found by quantity."""
    kind, world, seeds = job
    found = {}
    for seed in seeds:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                one = KINDS[kind](WORLDS[world], seed)
            except TgoError:
                continue  # refused: nothing left the library
        for name, seen in one.items():
            found.setdefault(name, []).append(seen)
    return found


def trust(pool, draws, line_of):
    """Results of other kinds with something wrong that the fit does not know."""
    count = max(draws // 100, 2)
    jobs = [(kind, world, range(count)) for kind in KINDS for world in WORLDS]
    lines = []
    for (kind, world, _), found in zip(jobs, pool.map(draws_of, jobs), strict=True):
        for name, many in found.items():
            lines.append(_line(line_of, f"{kind}, {name}, {world}", many, count))
    return lines


def _line(line_of, what, many, count):
    off, error, true, severe = (
        np.concatenate([getattr(one, key) for one in many])
        for key in ("off", "error", "true", "severe")
    )
    z, size = off / error, np.abs(true) > 0.0
    relative = np.median(error[size] / np.abs(true[size])) if size.any() else np.nan
    fine = np.abs(z[~severe])
    both = float(np.mean(fine < 2.0)) if fine.size else 1.0
    value = (
        f"{z.mean():+.2f}; {relative:.1%}; {np.mean(np.abs(z) < 1.0):.0%}, "
        f"{both:.0%}; {severe.mean():.0%}"
    )
    text = (
        f"{what}: mean z; total error; within 1, and within 2 where not severe; severe"
    )
    passed = both >= 0.9
    if what.endswith("nothing wrong"):
        passed = passed and severe.mean() < 0.05
    return line_of(text, ">= 90 % in 2", value, passed, f"{count}; 0-{count - 1}")
