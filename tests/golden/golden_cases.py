"""The golden results: what the library makes of the stored inputs.

Only what users call is called: `open_product`, `retrieve`, `write_level2`,
`grid_level2`, `run` and the like. Maps and exports are made from the pinned level 2,
not from the present one: a fit that changed does not show there again.
"""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import golden_inputs
import golden_pins
import xarray as xr
from golden_pins import Pin

import tgo_spectra as tgo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# the setup's hash knows the path of the user's table
USERS_TABLE = {"setup_hash"}


class Workshop:
    """Stored inputs, laid out in a folder, and what is made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        golden_inputs.unpack(self.folder)

    def product(self, name: str) -> Path:
        """Label of a stored product."""
        return label_in(self.folder / name)

    def level1(self, name: str) -> xr.Dataset:
        """Spectra of a stored product."""
        return spectra_of(self.product(name))

    def new(self, name: str) -> Path:
        """Path of a file that is to be made."""
        return self.folder / name

    def fitted(
        self, name: str, level1: xr.Dataset, setup: Any, method: str | None = None
    ) -> Path:
        """Retrieve and write level 2."""
        level2 = tgo.retrieve(level1, setup, method=method)
        return tgo.write_level2(level2, self.new(f"{name}.nc"))


def label_in(folder: Path) -> Path:
    """Label of the product with spectra in a folder."""
    return next(p for p in folder.glob("*.xml") if "_geo_" not in p.name)


def spectra_of(label: Path) -> xr.Dataset:
    """Spectra of a product, as its kind is opened."""
    if label.name.startswith("acs"):
        return tgo.acs_spectra(tgo.open_product_tree(label), 1)
    return tgo.open_product(label)


# ---- level 2


def _profile(workshop: Workshop, method: str) -> Pin:
    level1 = workshop.level1("so_134")
    setup = tgo.load_setup("so_134").replace(grid={"top_km": 80.0, "step_km": 4.0})
    return golden_pins.pin_of_netcdf(
        workshop.fitted(f"so_{method}", level1, setup, method)
    )


def _temperature(workshop: Workshop) -> Pin:
    table = workshop.folder / "so_165" / "co2_165.nc"
    setup = tgo.load_setup("so_co2_temperature").replace(
        table=str(table),
        orders=[165],
        interferents=[],
        fitted=[],
        interferents_absent=["h2o", "hdo"],
        pressure={"reference_km": 80.0},
        window={
            "first_pixel": 80, "last_pixel": 239, "bottom_km": 72.0, "top_km": 103.0,
        },
        grid={"step_km": 2.0},
        instrument={"n_orders": 0},
    )  # fmt: skip
    level1 = workshop.level1("so_165")
    path = workshop.fitted("temperature", level1, setup)
    return golden_pins.pin_of_netcdf(path, without=USERS_TABLE)


def _ozone(workshop: Workshop, method: str) -> Pin:
    file = workshop.folder / "uvis" / "ozone.toml"
    file.write_text(
        'kind = "ozone"\nname = "golden"\ncross_section = "ozone.csv"\n'
        'medium = "vacuum"\n[grid]\nstep_km = 4.0\n',
        encoding="utf-8",
    )
    level1 = workshop.level1("uvis")
    path = workshop.fitted(f"ozone_{method}", level1, file, method)
    return golden_pins.pin_of_netcdf(path, without=USERS_TABLE)


def _nadir(workshop: Workshop) -> Pin:
    level1 = workshop.level1("lno")
    return golden_pins.pin_of_netcdf(workshop.fitted("nadir", level1, None))


def _mir(workshop: Workshop) -> Pin:
    setup = tgo.load_setup("acs_mir_ch4_position_12").replace(
        table=str(workshop.folder / "mir" / "mir.nc"),
        orders=[179, 180],
        gases=["ch4", "co2"],
        interferents_absent=["hdo", "h2o", "o3"],
        prior={
            "ch4": {"constant": 0.0, "sigma": 5e-9},
            "co2": {"relative_sigma": 0.2, "correlation_km": 20.0},
        },
        window={"first_pixel": 5, "last_pixel": 94},
        grid={"top_km": 60.0, "step_km": 3.0, "height_step_km": 3.0},
        registration={"width_sigma": 0.02, "second_shift_sigma_cm1": 0.005},
        frames={"half_width": 1},
    )
    path = workshop.fitted("mir", workshop.level1("mir"), setup)
    return golden_pins.pin_of_netcdf(path, without=USERS_TABLE)


# ---- from the pinned level 2


def pinned_level2(name: str) -> xr.Dataset:
    """Level 2 as it was pinned, in the form that the library opens it in."""
    pin = golden_pins.load(name)
    stored = {
        key: xr.Variable(v.dims, v.values, v.attrs) for key, v in pin.variables.items()
    }
    ds = xr.Dataset(stored, attrs=pin.attrs).drop_vars("crs", errors="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what decoding does to fill values
        return xr.decode_cf(ds, mask_and_scale=False)


def _map(workshop: Workshop, name: str, grid: tgo.Grid, *parts: str) -> Pin:
    level2 = [pinned_level2(part) for part in parts]
    path = tgo.write_map(tgo.grid_level2(level2, grid), workshop.new(f"{name}.nc"))
    return golden_pins.pin_of_netcdf(path)


def _flat_map(workshop: Workshop) -> Pin:
    grid = tgo.Grid(
        mars_year=[34, 35], solar_longitude=[0.0, 180.0, 360.0],
        latitude=[-90.0, 0.0, 90.0],
    )  # fmt: skip
    return _map(workshop, "map", grid, "so_oe", "ozone_oe", "nadir")


def _vertical_map(workshop: Workshop) -> Pin:
    grid = tgo.Grid(altitude=[0.0, 10.0, 20.0, 40.0, 80.0], local_time_class=True)
    return _map(workshop, "map_vertical", grid, "so_oe", "ozone_oe")


def _merged_map(workshop: Workshop) -> Pin:
    grid = tgo.Grid(altitude=[0.0, 20.0, 40.0, 80.0])
    parts = [tgo.grid_level2(pinned_level2(p), grid) for p in ("so_oe", "mir")]
    path = tgo.write_map(tgo.merge_maps(parts), workshop.new("map_merged.nc"))
    return golden_pins.pin_of_netcdf(path)


def _bira(workshop: Workshop) -> Pin:
    path = tgo.write_bira(pinned_level2("so_oe"), workshop.new("ch4.txt"), "ch4")
    return golden_pins.pin_of_text(path)


def _harp(workshop: Workshop, name: str) -> Pin:
    path = tgo.write_harp(pinned_level2(name), workshop.new(f"harp_{name}.nc"))
    return golden_pins.pin_of_netcdf(path)


# ---- a run


def _journal(workshop: Workshop) -> Pin:
    """Two good products, a damaged one, and one again that is done already."""
    folder = workshop.new("run")
    for name in ("so_134", "lno"):
        shutil.copytree(workshop.folder / name, folder / "in" / name)
    bad = folder / "in" / "bad"
    shutil.copytree(workshop.folder / "so_165", bad)
    (table,) = bad.glob("*.tab")
    table.write_bytes(table.read_bytes()[:-100])
    first = tgo.run(folder / "in", folder / "out", progress=False)
    done = [row.product for row in first if row.state == "done"]
    tgo.run(done[:1], folder / "out", progress=False)
    lines = (folder / "out" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record.pop("check")
        record.pop("time")
        for key in ("seconds", "cpu_seconds", "compile_seconds"):
            record["row"].pop(key)
        # the same words after it, wherever the test runs
        record["row"] |= {
            key: str(record["row"][key] or "").replace(str(folder), "FOLDER")
            for key in ("product", "output", "message")
        }
    files = sorted(
        p.relative_to(folder / "out").as_posix() for p in _files(folder / "out")
    )
    return golden_pins.pin_of_records([*records, {"files": files}], folder)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


METHODS = ("oe", "tikhonov", "onion", "slant")

CASES: dict[str, Callable[[Workshop], Pin]] = {
    **{f"so_{m}": functools.partial(_profile, method=m) for m in METHODS},
    "temperature": _temperature,
    "ozone_oe": functools.partial(_ozone, method="oe"),
    "ozone_slant": functools.partial(_ozone, method="slant"),
    "nadir": _nadir,
    "mir": _mir,
    "map": _flat_map,
    "map_vertical": _vertical_map,
    "map_merged": _merged_map,
    "bira": _bira,
    "harp_profile": functools.partial(_harp, name="so_oe"),
    "harp_columns": functools.partial(_harp, name="nadir"),
    "journal": _journal,
}
"""What is pinned: level 2 first, since maps and exports are made from it."""
