"""The demonstration: a small simulated archive, retrieved, mapped and compared.

Everything it reports is computed in the run; nothing is downloaded. The methane field
is an invention: a plume of a few ppbv in a part of the year and of the latitudes, zero
elsewhere, to be found again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tgo_spectra import mars
from tgo_spectra.batch import products as batch
from tgo_spectra.batch.engines import Here, mapped
from tgo_spectra.batch.workers import Workers
from tgo_spectra.files.atomic import output_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["DemoResult", "methane", "run_demo"]

_LOG = logging.getLogger(__name__)

PPBV = 1e-9
BAND_KM = (5.0, 30.0)
"""Altitudes of the means that are compared and mapped."""
FIT_KM = 12.0
"""Tangent altitude of the fit that is drawn."""
PLUME_PPBV, PLUME_LS, PLUME_LATITUDE = 4.0, 150.0, 20.0
PLUME_WIDTH_LS, PLUME_WIDTH_LATITUDE = 35.0, 25.0
PLUME_TOP_KM = 60.0
LATITUDES = (-60.0, -20.0, 20.0, 60.0)
LONGITUDE_STEP = 137.0  # degree, spreads the occultations
YEAR_START = "2019-03-24"
"""First day of Mars year 35."""
DETECTION_SIGMA, LIMIT_SIGMA = 3.0, 2.0


@dataclass(frozen=True)
class DemoRow:
    """One occultation: what was put in and what came out (mole fractions in ppbv)."""

    product: str
    order: int
    solar_longitude: float
    latitude: float
    put_in: float
    true: float
    retrieved: float
    error: float
    z: float
    limit: float
    detected: bool
    chi_square: float


@dataclass(frozen=True)
class DemoResult:
    """What a demonstration made; its text is the report."""

    rows: tuple[DemoRow, ...]
    failed: tuple[str, ...]
    files: Mapping[str, Path]
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        """Return the report as text."""
        low, high = BAND_KM
        head = "order     Ls    lat  put in    seen   found   error      z   limit"
        lines = [
            f"CH4, mean over {low:g}-{high:g} km weighted by inverse variance, ppbv",
            f"{head}   chi2  detected",
        ]
        lines += [
            f"{r.order:5d} {r.solar_longitude:6.1f} {r.latitude:6.1f}"
            f" {r.put_in:7.3f} {r.true:7.3f} {r.retrieved:7.3f} {r.error:7.3f}"
            f" {r.z:6.2f} {r.limit:7.3f}"
            f" {r.chi_square:6.3f}  {'yes' if r.detected else 'no'}"
            for r in self.rows
        ]
        z = np.array([r.z for r in self.rows])
        if z.size > 1:
            lines.append(
                f"z: mean {z.mean():.2f}, standard deviation {z.std(ddof=1):.2f} "
                f"over {z.size} occultations"
            )
        lines += [
            "put in: the true mean; seen: the same through the averaging kernels;",
            "error: noise only; z: (found - seen) / error;",
            f"limit: max(found, 0) + {LIMIT_SIGMA:g} errors;",
            f"detected: found more than {DETECTION_SIGMA:g} errors",
        ]
        lines += [f"failed: {text}" for text in self.failed]
        spent = ", ".join(f"{k} {v:.1f} s" for k, v in self.seconds.items())
        lines.append(f"time: {spent}")
        lines += [f"{name}: {path}" for name, path in self.files.items()]
        return "\n".join(lines)


def methane(solar_longitude: float, latitude: float) -> float:
    """Mole fraction below 60 km at a solar longitude and latitude (degree), else 0.

    >>> methane(150.0, 20.0), methane(330.0, -60.0)
    (4e-09, 0.0)
    """
    turn = (solar_longitude - PLUME_LS + 180.0) % 360.0 - 180.0
    x = turn / PLUME_WIDTH_LS
    y = (latitude - PLUME_LATITUDE) / PLUME_WIDTH_LATITUDE
    value = PLUME_PPBV * float(np.exp(-0.5 * (x * x + y * y)))
    return value * PPBV if value >= 0.05 else 0.0


def run_demo(
    out: str | Path, workers: int = 2, *, n: int = 24, seed: int = 1
) -> DemoResult:
    """Simulate, retrieve and map `n` occultations, alternately in orders 134 and 136.

    `out` gets ``products``, ``retrieved/l2``, ``map.nc`` and figures; 0 or 1 workers:
    this process. TgoError: the folder cannot be written, or nothing could be retrieved.
    """
    from tgo_spectra.files.netcdf import write_map
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.maps import grid_level2

    folder = output_folder(out)
    products = output_folder(folder / "products")
    plan = _plan(n, seed)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, now
        _LOG.info("%s: %.1f s", name, seconds[name])

    with Workers(min(workers, n)) if workers > 1 else Here() as engine:
        paths = mapped(engine, _Simulate(plan, products), range(n))
        lap("simulate")
        states = batch.run_on(
            engine, paths, folder / "retrieved", progress=False, limits="demo"
        )
        lap("retrieve")
    level2 = folder / "retrieved" / "l2"
    grid = Grid(
        solar_longitude=np.arange(0.0, 361.0, 60.0).tolist(),
        latitude=np.arange(-80.0, 81.0, 40.0).tolist(),
        altitude=list(BAND_KM),
    )
    level3 = grid_level2(level2, grid, gases=["ch4"])
    files = {
        "level 1 and truth": products,
        "level 2": level2,
        "level 3": write_map(level3, folder / "map.nc"),
    }
    lap("map")
    done = [
        (Path(s.product), Path(s.output))
        for s in states
        if s.state != "failed" and s.output is not None
    ]
    rows = tuple(_compare(*pair) for pair in done)
    failed = tuple(f"{s.product}: {s.message}" for s in states if s.state == "failed")
    files |= _figures(folder, level3, done, rows)
    lap("figures")
    seconds["total"] = sum(seconds.values())
    return DemoResult(rows, failed, files, seconds)


def _plan(n: int, seed: int) -> list[dict[str, Any]]:
    """Options of the simulator for each occultation."""
    days = np.datetime64(YEAR_START, "m") + np.arange(0, 687 * 1440, 60)
    longitude = np.unwrap(np.asarray(mars.solar_longitude(days)), period=360.0)
    longitude -= 360.0 * np.floor(longitude[0] / 360.0)
    plan = []
    for k in range(n):
        # From cell to cell of a 6 x 4 grid, the plume's among the first ones.
        row, column = divmod(k + 8, len(LATITUDES))
        target = 60.0 * (row % 6) + 30.0 + 10.0 * np.sin(2.0 * k)
        latitude = LATITUDES[(column + 2) % 4] + 8.0 * float(np.cos(3.0 * k))
        wrapped = target if target >= longitude[0] else target + 360.0
        when = days[min(int(np.searchsorted(longitude, wrapped)), days.size - 1)]
        amount = methane(float(mars.solar_longitude(when)), latitude)
        altitudes = [0.0, PLUME_TOP_KM, PLUME_TOP_KM + 10.0]
        plan.append(
            {
                "order": 134 if k % 2 == 0 else 136,
                "ch4": (altitudes, [amount, amount, 0.0]),
                "start": str(np.datetime64(when, "s")),
                "latitude": latitude,
                "longitude": (LONGITUDE_STEP * k) % 360.0 - 180.0,
                "observation": "ingress" if k % 3 else "egress",
                "temperature_c": -6.0 + 8.0 * float(np.sin(1.3 * k)),
                "orbit": 6000 + 50 * k,
                "aerosol_depth": 1.0 + 0.3 * float(np.sin(k)),
                "seed": seed + k,
            }
        )
    return plan


@dataclass(frozen=True)
class _Simulate:
    """Simulate one product of a plan; it replaces that of a former demonstration."""

    plan: Sequence[Mapping[str, Any]]
    folder: Path

    def __call__(self, number: int) -> Path:
        from tgo_spectra.simulate import simulate_product

        return simulate_product(self.folder, overwrite=True, **self.plan[number])


def _truth_of(product: Path) -> xr.Dataset:
    import xarray as xr

    return xr.load_dataset(product.with_suffix(".truth.nc"), engine="netcdf4")


def _compare(product: Path, output: Path) -> DemoRow:
    """Mean over the altitude band against the truth seen through the kernels."""
    from tgo_spectra.files.netcdf import open_verified

    fit, truth = open_verified(output), _truth_of(product)
    altitude = fit["altitude"].values
    true = np.interp(altitude, truth["altitude"].values, truth["ch4_vmr"].values)
    prior = fit["ch4_vmr_apriori"].values
    seen = prior + fit["ch4_averaging_kernel"].values @ (true - prior)
    inside = (altitude >= BAND_KM[0]) & (altitude <= BAND_KM[1])
    weight = np.where(inside, fit["ch4_vmr_error"].values ** -2.0, 0.0)
    weight /= weight.sum()
    covariance = fit["ch4_vmr_noise_covariance"].values
    error = float(np.sqrt(weight @ covariance @ weight)) / PPBV
    found = float(weight @ fit["ch4_vmr"].values) / PPBV
    expected = float(weight @ seen) / PPBV
    return DemoRow(
        product=product.stem,
        order=int(truth.attrs["option_order"]),
        solar_longitude=float(fit["solar_longitude"]),
        latitude=float(truth.attrs["option_latitude"]),
        put_in=float(weight @ true) / PPBV,
        true=expected,
        retrieved=found,
        error=error,
        z=(found - expected) / error,
        limit=max(found, 0.0) + LIMIT_SIGMA * error,
        detected=found > DETECTION_SIGMA * error,
        chi_square=float(fit["reduced_chi_square"]),
    )


def _figures(
    folder: Path,
    level3: xr.Dataset,
    done: Sequence[tuple[Path, Path]],
    rows: Sequence[DemoRow],
) -> dict[str, Path]:
    """Draw the map, one fit, one profile and the limits."""
    from tgo_spectra import plots
    from tgo_spectra.files.netcdf import open_verified
    from tgo_spectra.plots.style import new_axes, new_pair, save_figure
    from tgo_spectra.readers import open_product

    if not rows:
        return {}
    files: dict[str, Path] = {}

    def axes(kind: str) -> Axes:
        return new_axes(kind, shown=False)

    def save(name: str, drawn: Axes) -> None:
        path = folder / f"{name}.png"
        files[f"figure, {name}"] = save_figure(drawn, path)

    product, output = done[int(np.argmax([row.true for row in rows]))]
    level1, fit = open_product(product), open_verified(output)
    truth = _truth_of(product)["ch4_vmr"]
    save("map", plots.plot_map(level3, "ch4", minimum_count=1, ax=axes("map")))
    row = int(np.abs(level1["tangent_altitude"].values - FIT_KM).argmin())
    pair = new_pair("fit", shown=False)
    save("fit", plots.plot_fit(level1, fit, row, axes=pair)[0])
    profile = plots.plot_profile(fit, "ch4", truth, ax=axes("profile"))
    profile.set_ylim(0.0, 80.0)
    save("profile", profile)
    level2 = [path for _, path in done]
    save("limits", plots.plot_limits(level2, "ch4", ax=axes("limits")))
    return files
