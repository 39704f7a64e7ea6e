"""One small product and setup for each kind and method of retrieval, quick to fit.

Everything is made here: no line list and no cross section of others is needed. A new
kind or method has to be added to `CASES`; the contract tests say so.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import synthetic_bands

import tgo_spectra as tgo
from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate import mir as mir_simulator
from tgo_spectra.simulate.nadir import simulate_nadir_product
from tgo_spectra.simulate.uvis import (
    simulate_uvis_product,
    synthetic_ozone_cross_section,
)
from tgo_spectra.spectroscopy.tables import build_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr


class Case(NamedTuple):
    """What `tgo_spectra.retrieve` needs."""

    level1: xr.Dataset
    setup: Any
    data: Path
    """The data file of the product, whose MD5 the result must state."""


def quick_table(folder: Path, lines: dict[str, Any], band: tuple[float, float], **more):
    """Return the path of a coarse table of generated lines."""
    choices = {
        "pressure_pa": 1e-3 * np.exp(np.arange(15.0)),
        "temperature_k": np.arange(100.0, 301.0, 40.0),
        "tolerance": 2e-3,
        "rank_tolerance": 3e-4,
        "atmospheres": 8,
        "verify_atmospheres": 0,
        "workers": 1,
    }
    return write_table(build_table(lines, band, **choices | more), folder / "table.nc")


NEIGHBOURS = 2
"""Orders on either side whose light an occultation has: a fifth of what there are."""


@cache
def occultation(folder: Path) -> Path:
    """Make a product of SO order 134 with few neighbours, once in a folder."""
    return tgo.simulate_product(
        folder, order=134, n_orders=NEIGHBOURS, ch4=2e-9, seed=4
    )


def profile(folder: Path, method: str) -> Case:
    """Methane and water of SO order 134, every twelfth row."""
    path = occultation(folder)
    level1 = tgo.open_product(path).load().isel(spectrum=slice(0, None, 12))
    # the budget of systematic errors is one of least squares
    budget = {"enabled": method != "tikhonov"}
    setup = tgo.load_setup("so_134").replace(
        method=method,
        systematics=budget,
        instrument={"n_orders": NEIGHBOURS},
        grid={"step_km": 2.0, "top_km": 80.0, "height_step_km": 1.5},
    )
    return Case(level1, setup, path.with_suffix(".tab"))


def write_cross_section(path: Path) -> xr.Dataset:
    """Write generated cross sections of ozone as the table that a user brings."""
    data = synthetic_ozone_cross_section()
    table = data.cross_section.to_pandas()
    table.columns = [f"sigma_{kelvin:.0f}K" for kelvin in table.columns]
    table.to_csv(path)
    return data


@cache
def ozone_occultation(folder: Path) -> Path:
    """Make a product of UVIS and cross sections of its ozone, once in a folder."""
    data = write_cross_section(folder / "ozone.csv")
    return simulate_uvis_product(
        folder / "product", data, ozone=2e-7, pixels=128, row_step_km=3.0
    )


def ozone(folder: Path, method: str) -> Case:
    """Ozone of UVIS with generated cross sections, one row in 3 km."""
    path = ozone_occultation(folder)
    (folder / "mine.toml").write_text(
        'kind = "ozone"\nname = "mine"\ncross_section = "ozone.csv"\n'
        'medium = "vacuum"\n[grid]\nstep_km = 3.0\n',
        encoding="utf-8",
    )
    setup = tgo.load_setup(folder / "mine.toml").replace(method=method)
    return Case(tgo.open_product(path).load(), setup, path.with_suffix(".tab"))


def nadir(folder: Path, _: str) -> Case:
    """Carbon monoxide of four LNO spectra."""
    path = simulate_nadir_product(folder, n_spectra=4, seed=1)
    level1 = tgo.open_product(path).load()
    return Case(level1, tgo.load_setup("lno_189_190_co"), path.with_suffix(".tab"))


MIR_LINES = {
    "co2": (synthetic_bands.co2_dipole(), "co2"),
    "o3": (synthetic_bands.o3_3nu3(), "co2"),
}

MIR_OPTIONS: dict[str, Any] = {
    "orders": (180,), "first_pixel_cm1": (3027.5,), "pixels": 120,
    "mole_fraction": {"o3": 1e-7}, "frames": 16, "altitude_range": (8.0, 40.0),
    "shift_px": (0.4,), "snr": 1000.0, "rows_per_stripe": 5,
}  # fmt: skip


def mir(folder: Path, _: str) -> Case:
    """Ozone and carbon dioxide of one ACS MIR order."""
    table = quick_table(folder, MIR_LINES, (3026.0, 3034.0), step=0.001)
    path = mir_simulator.simulate_mir_product(
        folder / "product", MIR_LINES, **MIR_OPTIONS
    )
    setup = load_setup("acs_mir_ch4_position_12").replace(
        table=str(table),
        orders=[180],
        gases=["o3", "co2"],
        interferents_absent=["hdo", "ch4", "h2o"],
        prior={"o3": {"constant": 0.0, "sigma": 2e-7}, "co2": {"relative_sigma": 0.2}},
        systematics={"enabled": True},
        window={"first_pixel": 5, "last_pixel": 114},
        grid={"top_km": 60.0, "height_step_km": 2.0},
    )
    level1 = tgo.acs_spectra(tgo.open_product_tree(path), 2).load()
    return Case(level1, setup, path.with_suffix(".dat"))


def temperature(folder: Path, _: str) -> Case:
    """Temperature from generated CO2 lines of SO order 165."""
    lines = {"co2": (synthetic_bands.co2_combination(), "co2")}
    table = quick_table(folder, lines, (3675.0, 3770.0))
    raw = {
        "name": "quick",
        "channel": "so",
        "orders": [165],
        "table": str(table),
        "pressure": {"reference_km": 80.0},
        "window": {"first_pixel": 120, "last_pixel": 199, "bottom_km": 60.0,
                   "top_km": 100.0},
        "instrument": {"n_orders": 1},
        "interferents_absent": ["h2o", "hdo"],
        "grid": {"step_km": 4.0, "top_km": 112.0},
    }  # fmt: skip
    path = tgo.simulate_product(
        folder / "product", order=165, table=str(table), n_orders=1, gases=("co2",),
        vmr={}, altitude_range=(56.0, 104.0), n_bins=1, noisy_pixels=(), seed=5,
    )  # fmt: skip
    level1 = tgo.open_product(path).load()
    return Case(level1, TemperatureSetup.parse(raw, table), path.with_suffix(".tab"))


MAKERS: dict[str, Callable[[Path, str], Case]] = {
    "profile": profile,
    "ozone": ozone,
    "nadir": nadir,
    "mir": mir,
    "temperature": temperature,
}
"""By kind of retrieval."""

CASES = (
    *(f"profile {m}" for m in ("oe", "tikhonov", "onion", "slant")),
    *(f"ozone {m}" for m in ("oe", "slant")),
    "nadir",
    "mir",
    "temperature",
)
"""Kind and, where there is a choice, method."""


def case(name: str, folder: Path) -> Case:
    """Make the product and the setup of one of `CASES` in a folder."""
    kind, _, method = name.partition(" ")
    return MAKERS[kind](folder, method)
