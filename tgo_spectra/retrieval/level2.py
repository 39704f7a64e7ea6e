"""Level 2 of every kind of retrieval: one writer, one provenance, one rule of time.

A kind gives values by name; dimensions, units and texts are those of the catalogue
(`tgo_spectra.variables`). What every result says of itself is said here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tgo_spectra import mars, quality
from tgo_spectra._version import __version__
from tgo_spectra.files.observations import input_products, is_simulated, observations_of
from tgo_spectra.mars import MEAN_RADIUS_KM
from tgo_spectra.retrieval import verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.conclusion import Conclusion
    from tgo_spectra.retrieval.state import State, StateSpace

    Array = npt.NDArray[np.floating]
    Rows = npt.NDArray[np.intp]

__all__ = [
    "View",
    "all_pixels",
    "all_rows",
    "moment",
    "of_fit",
    "of_state",
    "places",
    "provenance",
]

COPIED = (
    "product_lid",
    "product_version",
    "instrument",
    "channel",
    "observation_type",
    "source_file",
    "source_md5",
)
"""Attributes of level 1 that level 2 repeats."""

OF_LINES = ("broadening", "edition", "citation", "lines", "lines_sha256")
"""What a table says of the lines of each gas."""

PERIODS = {"longitude": 360.0, "local_true_solar_time": 24.0}
"""Places on circles, and how far it is around them."""


class Setup(Protocol):
    """What the provenance asks of the setups of all kinds."""

    @property
    def name(self) -> str:
        """Name, recorded in results."""

    @property
    def gases(self) -> tuple[str, ...]:
        """All gases fitted."""

    def hash(self) -> str:
        """SHA-256 of all choices."""


def _lacking(table: Mapping[Any, object] | None, gases: Iterable[str]) -> list[str]:
    """Return what the lists of a table lack of the gases that are fitted."""
    absent = str((table or {}).get("absent", "")).split("; ")
    return [name for name in absent if name.partition(" ")[0] in set(gases)]


def provenance(
    level1: xr.Dataset,
    setup: Setup,
    atmosphere: xr.Dataset,
    *,
    method: str,
    instrument_model: str,
    interferents_absent: tuple[str, ...],
    baseline_degree: int,
    n_orders: int,
    masked_pixels: str,
    radius: tuple[float, str] | None = None,
    table: Mapping[Any, object] | None = None,
    lowest_km: float = -np.inf,
) -> dict[str, object]:
    """Return what every result says of itself; a kind adds its own choices.

    Parameters
    ----------
    level1 : Dataset
    setup : Setup
        Of any kind.
    atmosphere : Dataset
        On all points that the fit uses: what
        `tgo_spectra.atmosphere.profile.on_altitudes` noted of its extension is
        repeated.
    method, instrument_model, masked_pixels : str
        In words.
    interferents_absent : tuple of str
        Named by the setup; what the table lacks of the gases fitted is added, such as
        the magnetic dipole band of CO2 where its list is older than the band.
    baseline_degree : int
    n_orders : int
        Neighbouring orders on each side whose light is added.
    radius : tuple of float and str, optional
        Planet radius in km and its source; default: the mean radius.
    table : mapping, optional
        Attributes of the absorption table.
    lowest_km : float
        Lowest altitude that any spectrum looks at: what `atmosphere` has below it is
        not used.

    Returns
    -------
    dict
    """
    radius_km, radius_source = radius or (MEAN_RADIUS_KM, "mean radius")
    absent = dict.fromkeys([*interferents_absent, *_lacking(table, setup.gases)])
    record: dict[str, object] = {
        "method": method,
        "setup": setup.name,
        "setup_hash": setup.hash(),
        "interferents_included": " ".join(setup.gases),
        "interferents_absent": "; ".join(absent) or "none named",
        "baseline_degree": baseline_degree,
        "n_orders": n_orders,
        "masked_pixels": masked_pixels,
        "instrument_model": instrument_model,
        "atmosphere": str(atmosphere.attrs.get("source", "given by the user")),
        "planet_radius_km": radius_km,
        "planet_radius_source": radius_source,
        "software": f"tgo_spectra {__version__}",
    }
    if (top := atmosphere.attrs.get("extended_above_km")) is not None:
        record["extended_above_km"] = top
    bottom = atmosphere.attrs.get("extended_below_km")
    if bottom is not None and lowest_km < bottom:
        record["extended_below_km"] = bottom
    if table is not None:
        record["table_sha256"] = table.get("content_sha256", "")
        names = [f"{gas}_{key}" for gas in setup.gases for key in OF_LINES]
        record |= {name: table[name] for name in names if name in table}
    record |= {key: level1.attrs[key] for key in COPIED if key in level1.attrs}
    if is_simulated(level1):
        record["simulated"] = 1
    if "product_lid" in level1.attrs:
        products = input_products(observations_of(level1))
        record["input_products"] = ", ".join(products)
    return record


@dataclass(frozen=True)
class View:
    """Where a joint fit looked, and what it left.

    Attributes
    ----------
    rows : array of int, shape (row,)
        Spectra of the product that were fitted.
    height_km : array, shape (row,)
        Their tangent altitudes.
    altitude_km : array, shape (level,)
    residual : array, shape (row, pixel of the product)
        Measured minus fitted; not-a-number where a pixel is left out.
    """

    rows: Rows
    height_km: Array
    altitude_km: Array
    residual: Array


def of_fit(level1: xr.Dataset, view: View, end: Conclusion) -> dict[str, object]:
    """Return what every joint fit says beside its profiles.

    What was found of the blocks that are no profiles, baselines and residuals, how well
    and how it fits, what the residuals say of the noise, and where and when the product
    looked.
    """
    freedom = float(np.einsum("ij,ji->", end.covariance, end.data_matrix))
    n_free = np.isfinite(view.residual).sum() - end.seen.baseline.size - freedom
    seen = (view.rows, view.height_km)
    return {
        "altitude": view.altitude_km,
        "altitude_in": view.altitude_km,
        "tangent_altitude": level1["tangent_altitude"].values,
        **of_state(end.space, end.state, end.covariance),
        "baseline": all_rows(level1, view.rows, end.seen.baseline),
        "residual": all_rows(level1, view.rows, view.residual).astype(np.float32),
        "reduced_chi_square": end.seen.chi_square / n_free,
        "degrees_of_freedom": freedom,
        "error_inflation": end.noise.inflation,
        "residual_autocorrelation": float(end.noise.along_pixels[0]),
        "residual_pattern": end.pattern,
        "quality_flag": quality.pack(verdict.of_fit(end)),
        "converged": np.int8(end.converged),
        "iterations": np.int32(end.iterations),
        **places(level1, *seen, view.altitude_km),
        **moment(level1, *seen),
    }


def all_pixels(values: Array, pixels: Rows, n_pixels: int) -> Array:
    """Values of the fitted pixels (row, pixel) among the product's, NaN elsewhere."""
    full = np.full((len(values), n_pixels), np.nan)
    full[:, pixels] = values
    return full


def all_rows(level1: xr.Dataset, rows: Rows, values: Array) -> Array:
    """Values of the fitted rows in the product's order, NaN elsewhere."""
    full = np.full((level1.sizes["spectrum"], *values.shape[1:]), np.nan)
    full[rows] = values
    return full


def of_state(space: StateSpace, state: State, covariance: Array) -> dict[str, object]:
    """Return what the fit found beside profiles, each block with its standard error."""
    found: dict[str, object] = {}
    for block in space.blocks:
        if block.per == "level" or block.variable == "-":
            continue
        own = space[block.name]
        values = np.asarray(state[block.name]) + 0.0
        sigma = np.sqrt(np.diag(covariance)[own])
        name = block.variable or block.name
        found[name] = values if block.per == "bin" else values[0]
        found[f"{name}_error"] = sigma if block.per == "bin" else sigma[0]
    return found


def moment(level1: xr.Dataset, rows: Rows, height_km: Array) -> dict[str, object]:
    """Return time, solar longitude and Mars Year of a fit: those of its middle row.

    The middle row is that with the middle tangent altitude, the upper one of two.

    Parameters
    ----------
    level1 : Dataset
    rows : array of int, shape (row,)
        Spectra of the fit.
    height_km : array, shape (row,)
        Their tangent altitudes; for spectra that have none, any order in which they
        were taken.

    Returns
    -------
    dict
        Scalars; empty where level 1 has no time.
    """
    if "time" not in level1.variables:
        return {}
    middle = rows[np.argsort(height_km, kind="stable")[rows.size // 2]]
    time = level1["time"].values[middle]
    season = float("nan")
    if "solar_longitude" in level1.variables:
        season = float(level1["solar_longitude"].values[middle])
    if not np.isfinite(season):
        season = float(mars.solar_longitude(time))
    year = np.int32(mars.mars_year(time))
    return {"time": time, "solar_longitude": season, "mars_year": year}


def places(
    level1: xr.Dataset, rows: Rows, height_km: Array, altitude_km: Array
) -> dict[str, object]:
    """Return where each level is: the tangent point moves as it rises.

    Parameters
    ----------
    level1 : Dataset
    rows : array of int, shape (row,)
        Spectra of the fit.
    height_km : array, shape (row,)
        Their tangent altitudes.
    altitude_km : array, shape (level,)

    Returns
    -------
    dict of array, shape (level,)
        ``latitude``, ``longitude``, ``local_true_solar_time``, as far as level 1 has
        them.
    """
    found: dict[str, object] = {}
    for name in ("latitude", "longitude", "local_true_solar_time"):
        if name not in level1.variables:
            continue
        values = np.asarray(level1[name].values, dtype=float)[rows]
        good = np.isfinite(values)
        if not good.any():
            continue
        order = np.argsort(height_km[good], kind="stable")
        v, period = values[good][order], PERIODS.get(name)
        if period is not None:
            v = np.unwrap(v, period=period)
        v = np.interp(altitude_km, height_km[good][order], v)
        if name == "longitude":
            v = (v + 180.0) % 360.0 - 180.0
        found[name] = v % period if name == "local_true_solar_time" else v
    return found
