"""What the golden files are made from: small simulated products and small tables.

They are stored too, so that a change of the simulator or of the table builder is not
taken for a change of the fit. ``remake.py --inputs NAME`` makes one again, which
moves every number that follows from it.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import synthetic_bands

import tgo_spectra as tgo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import xarray as xr

DATA = Path(__file__).parent / "inputs"

SNR = 500.0
"""Of SO and MIR: low, so that rounding in single precision is little of every error."""

# for tables of a few kilobytes: neither accurate nor verified
COARSE: dict[str, Any] = {
    "temperature_k": np.arange(100.0, 301.0, 40.0),
    "tolerance": 5e-3,
    "rank_tolerance": 1e-3,
    "atmospheres": 8,
    "verify_atmospheres": 0,
    "workers": 1,
}

# methane-like: the band of a linear molecule with methane's rotational constant, for
# the lines of the Q branch only
METHANE = synthetic_bands.Linear(
    molecule=6, isotopologue=1, origin=3018.0, lower=(5.241, 1.1e-4),
    upper=(5.20, 1.1e-4), strength=1e-17, kind="perpendicular", even_only=False,
    spin_weight=1.0, widths=synthetic_bands.Widths(0.06, 0.08, 0.08), highest_j=12,
)  # fmt: skip


def make(names: Iterable[str], folder: Path) -> dict[str, list[Path]]:
    """Make inputs in a folder; the files of each."""
    made: dict[str, list[Path]] = {}
    for name in names:
        place = folder / name
        place.mkdir(parents=True)
        if name in TABLES:
            TABLES[name](place)
        PRODUCTS[name](place)
        made[name] = sorted(p for p in place.iterdir() if "truth" not in p.name)
    return made


def store(made: dict[str, list[Path]]) -> None:
    """Keep what was made, one zip each, without times."""
    DATA.mkdir(exist_ok=True)
    for name, files in made.items():
        with zipfile.ZipFile(DATA / f"{name}.zip", "w") as file:
            for path in files:
                about = zipfile.ZipInfo(path.name)
                about.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(about, path.read_bytes(), compresslevel=9)


def unpack(folder: Path) -> None:
    """Lay out all stored inputs in a folder, each in one of its own."""
    for archive in sorted(DATA.glob("*.zip")):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder / archive.stem)


# ---- products


def _occultation(folder: Path) -> None:
    tgo.simulate_product(
        folder, snr=SNR, order=134, ch4=3e-9, seed=11, altitude_range=(4.0, 64.0),
        seconds=12, n_bins=2,
    )  # fmt: skip


def _ultraviolet(folder: Path) -> None:
    from tgo_spectra.simulate import uvis

    data = uvis.synthetic_ozone_cross_section()
    table = data.cross_section.to_pandas().iloc[::5]
    table.columns = [f"sigma_{kelvin:.0f}K" for kelvin in table.columns]
    table.to_csv(folder / "ozone.csv", float_format="%.7g")
    uvis.simulate_uvis_product(
        folder, data, ozone=2e-7, pixels=128, row_step_km=4.0,
        altitude_range=(4.0, 80.0), seed=5,
    )  # fmt: skip


def _nadir(folder: Path) -> None:
    from tgo_spectra.simulate import nadir

    nadir.simulate_nadir_product(folder, n_spectra=3, seed=1)


def _carbon_dioxide_table(folder: Path) -> None:
    from tgo_spectra.spectroscopy import tables

    table = tables.build_table(
        {"co2": (synthetic_bands.co2_combination(), "co2")},
        (3706.0, 3748.0),
        pressure_pa=1e-3 * np.exp(np.arange(0.0, 15.0, 2.0)),
        **COARSE,
    )
    tables.write_table(table, folder / "co2_165.nc")


def _carbon_dioxide(folder: Path) -> None:
    # not lower: where the lines are saturated, some numbers hang on rounding errors
    tgo.simulate_product(
        folder, snr=SNR, order=165, table=str(folder / "co2_165.nc"), n_orders=0,
        gases=("co2",), seconds=20, altitude_range=(72.0, 104.0), n_bins=1,
        noisy_pixels=(), seed=5,
    )  # fmt: skip


def _infrared_lines() -> dict[str, tuple[xr.Dataset, object]]:
    return {
        "ch4": (synthetic_bands.linear_band(METHANE), ("air", 1.3)),
        "co2": (synthetic_bands.co2_dipole(), "co2"),
    }


def _infrared_table(folder: Path) -> None:
    from tgo_spectra.spectroscopy import tables

    table = tables.build_table(
        _infrared_lines(),
        (3012.8, 3021.0),
        step=0.001,
        pressure_pa=np.exp(np.linspace(np.log(1e-3), np.log(1210.0), 8)),
        **COARSE,
    )
    tables.write_table(table, folder / "mir.nc")


def _infrared(folder: Path) -> None:
    from tgo_spectra.simulate import mir

    mir.simulate_mir_product(
        folder, _infrared_lines(), orders=(179, 180, 181),
        first_pixel_cm1=(3014.4, 3016.4, 3017.0), pixels=100,
        mole_fraction={"ch4": 2e-9}, frames=14, altitude_range=(6.0, 45.0),
        shift_px=(0.6, -0.4, 0.3), snr=SNR, rows_per_stripe=3, seed=3,
    )  # fmt: skip


PRODUCTS: dict[str, Callable[[Path], None]] = {
    "so_134": _occultation,
    "so_165": _carbon_dioxide,
    "uvis": _ultraviolet,
    "lno": _nadir,
    "mir": _infrared,
}
"""Folder of an input, and what makes its product there."""

TABLES: dict[str, Callable[[Path], None]] = {
    "so_165": _carbon_dioxide_table,
    "mir": _infrared_table,
}
"""What makes the table that lies beside it; the others take shipped ones."""
