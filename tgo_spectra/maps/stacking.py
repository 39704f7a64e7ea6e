"""Limits of many occultations together: what falls with their number, and what not.

The product of papers on methane. Each occultation gives one mole fraction for a layer;
their mean is known better than each, but not as the root of their number says: lines,
line shape and other sources are wrong by the same for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import Inputs, Part, profiles, warn_of_places
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.files.tables import table_text
from tgo_spectra.maps.choices import Choice, check_choices
from tgo_spectra.maps.grid import coordinate
from tgo_spectra.maps.samples import (
    VERTICAL,
    impossible_places,
    judged,
    layer_of,
    layer_samples,
    needed_of_layer,
)
from tgo_spectra.maps.statistics import statistics
from tgo_spectra.maps.sums import Values, single_samples, summed
from tgo_spectra.variables import GASES, attributes_of, error_sources, without_fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.files.level2 import Level2Input
    from tgo_spectra.maps.grid import Grid

__all__ = ["stacked_limits", "table_of"]

Floats = npt.NDArray[np.float64]

_PARTS = ("smoothing", "other")
"""What is shared beside the sources that level 2 names."""


class _One(NamedTuple):
    """One occultation: cell, value, its noise and total error, sources, detection."""

    cell: int
    value: float
    noise: float
    error: float
    sources: dict[str, float]
    detected: bool


def stacked_limits(
    level2: Level2Input,
    gas: str,
    grid: Grid,
    *,
    shared: Sequence[str] | Literal["all"] = "all",
    sigma_level: float = 2.0,
    quality: Literal["good", "all"] = "good",
    maximum_chi_square: float | None = 10.0,
) -> xr.Dataset:
    """Combine the layer estimates of many occultations, by season and latitude.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        Level 2 with ``<gas>_layer_vmr``, its errors and, of each source of systematic
        errors, ``<gas>_layer_vmr_systematic_<source>``.
    gas : str
        Key of the gas, such as ``ch4``.
    grid : Grid
        Cells, without a vertical axis: season and latitude, say.
    shared : sequence of str or "all", optional
        Sources of systematic error that all occultations share, such as
        ``["lines", "spectroscopy", "resolution"]``; the others, which then count as
        different in each occultation, fall with the number. Default "all": none does,
        the cautious choice. What level 2 gives to smoothing or to no source is shared.
    sigma_level : float, optional
        Multiple k of the standard error in limits. Default 2.
    quality, maximum_chi_square : optional
        Results that are left out, as in :func:`tgo_spectra.grid_level2`.

    Returns
    -------
    xarray.Dataset
        Over the axes of the grid: ``<gas>_stacked_mean`` (weights by noise, sign kept),
        ``_random_error`` (falls with the number), ``_common_error`` (does not) and
        ``_common_<source>`` (its parts, signed), ``_error`` (both), ``_upper_limit``,
        ``_limit_floor`` (what no number of occultations gets below),
        ``_best_upper_limit`` (of a single one), ``_count``, ``_detected_count``,
        ``_reduced_chi_square``. Cells without occultations hold NaN. Attributes count
        what was left out, has no possible place, is of unknown quality or simulated.

    Raises
    ------
    TgoError
        Unknown gas or choice, a grid with a vertical axis, no layer estimate in any
        input, different layers, a source that no input has, or one observation given
        twice (``map.*``).

    Notes
    -----
    A shared source of one standard error moves occultation i by r_i, and the mean by
    the weighted mean of r_i: responses of different sign cancel, others do not fall.
    The random error is that of a map (Hartung and Knapp 2001): from the scatter of the
    occultations with a quantile of Student's t, and not below 0.9 (1 - 1/n) of what
    their errors say; the limit has at least what these say.

    References
    ----------
    Montmessin et al. (2021), A&A 650, A140, for limits by season and latitude.

    Examples
    --------
    >>> import xarray as xr
    >>> from tgo_spectra import Grid
    >>> def occultation(value):
    ...     ds = xr.Dataset(
    ...         {"ch4_layer_vmr": ((), value, {"layer_km": "5 30"}),
    ...          "ch4_layer_vmr_noise_error": 10e-12, "ch4_layer_vmr_error": 12.5e-12,
    ...          "ch4_layer_vmr_systematic_spectroscopy": 7.5e-12,
    ...          "latitude": ("altitude", [40.0])}, {"altitude": [17.5]})
    ...     return ds
    >>> many = [occultation(x * 1e-12) for x in (-12, 4, 9, -3, 10, -8, 2, -4, 1)]
    >>> found = stacked_limits(many, "ch4", Grid(latitude=[30, 60]))
    >>> (1e12 * found["ch4_stacked_common_error"]).values.round(2)
    array([7.5])
    >>> (1e12 * found["ch4_stacked_upper_limit"]).values.round(2)
    array([16.41])
    """
    choice = Choice(sigma_level, 0.0, None, "refuse", None)
    check_choices(choice, "inverse_variance", quality, None, None)
    _check(gas, grid)
    inputs, taken, layers = Inputs(), list[_One](), set[str]()
    left_out = unknown = simulated = 0
    field = f"{gas}_layer"
    sources = [f"{_start(gas)}{source}" for source in error_sources()]
    part = Part(needed_of_layer(gas) | dict.fromkeys(sources, ()))
    for ds in profiles(level2, part=part):
        if f"{field}_vmr" not in ds.variables:
            continue
        inputs.add(ds, [field])
        verdict = judged(
            ds, [field], everything=quality == "all",
            maximum_chi_square=maximum_chi_square,
        )  # fmt: skip
        unknown += not verdict.known
        if verdict.keep is False:
            left_out += 1
            continue
        layers.add(str(ds.variables[f"{field}_vmr"].attrs["layer_km"]))
        one = _occultation(ds, gas, grid, choice, inputs)
        if one is not None:
            taken.append(one)
            simulated += is_simulated(ds)
    if len(layers) != 1:
        message = f"the inputs need one layer of {gas}, the same for all"
        raise TgoError(
            message, field=f"{gas}_layer_vmr", value=sorted(layers), rule="map.layer"
        )
    common = _sources(taken, shared)
    attrs = {
        "sigma_level": float(sigma_level),
        "layer_km": layers.pop(),
        "shared_sources": " ".join(common),
        "quality": quality,
        "maximum_chi_square": (
            "none" if maximum_chi_square is None else maximum_chi_square
        ),
        "n_profiles": len(taken),
        "n_profiles_left_out": left_out,
        "n_products_of_unknown_quality": unknown,
        "n_simulated": simulated,
        **inputs.attributes(),
    }
    warn_of_places(attrs)
    return _dataset(gas, grid, _stacked(taken, common, sigma_level), attrs)


def table_of(stacked: xr.Dataset) -> str:
    """Give stacked limits as a table of text, a row for each cell with occultations.

    Parameters
    ----------
    stacked : Dataset
        Of :func:`stacked_limits`.

    Returns
    -------
    str
        Values separated by commas: middle of the cell along each axis, then every
        variable; mole fractions are plain numbers (mol mol-1). ``#`` lines before say
        the layer, the sigma level, what is shared, and how many were simulated if any.
    """
    keys = ["layer_km", "sigma_level", "shared_sources", "n_profiles"]
    count = next(n for n in stacked.data_vars if str(n).endswith("_stacked_count"))
    return table_text(stacked, keys, str(count))


def _check(gas: str, grid: Grid) -> None:
    if gas not in GASES:
        message = f"unknown gas; the gases are {', '.join(GASES)}"
        raise TgoError(message, value=gas, rule="map.gas")
    if set(VERTICAL) & set(grid.dims):
        message = "a layer has no altitude: leave the vertical axis out of the grid"
        raise TgoError(message, value=grid.dims, rule="map.columns")


def _start(gas: str) -> str:
    return f"{gas}_layer_vmr_systematic_"


def _occultation(
    ds: xr.Dataset, gas: str, grid: Grid, choice: Choice, inputs: Inputs
) -> _One | None:
    """Read one occultation; None where it is outside the grid or has no value."""
    there, name, start = layer_of(ds, gas), f"{gas}_layer_vmr", _start(gas)
    samples, lost = layer_samples(ds, gas, grid, choice)
    if lost.any():
        inputs.leave_out(ds, impossible_places(there, grid, lost), 1)

    def number(variable: str) -> float:
        found = there.variables.get(variable)
        return np.nan if found is None else float(found.values)

    value, noise, error = (
        number(f"{name}{end}") for end in ("", "_noise_error", "_error")
    )
    if not samples.cell.size or not (noise > 0.0 and error > 0.0):
        return None
    sources = {
        str(key).removeprefix(start): float(found.values)
        for key, found in there.variables.items()
        if str(key).startswith(start) and not str(key).endswith("_error")
    }
    smoothing = number(f"{name}_smoothing_error")
    sources["smoothing"] = smoothing if np.isfinite(smoothing) else 0.0
    rest = error**2 - noise**2 - sum(part**2 for part in sources.values())
    # of a difference of squares less than a millionth is rounding
    sources["other"] = float(np.sqrt(rest)) if rest > 1e-6 * error**2 else 0.0
    detected = number(f"{gas}_layer_detected") > 0
    return _One(int(samples.cell[0]), value, noise, error, sources, detected)


def _sources(taken: Sequence[_One], shared: Sequence[str] | str) -> list[str]:
    """Names of the sources that are shared, sorted."""
    known = {name for one in taken for name in one.sources}
    if shared == "all":
        return sorted(known)
    for name in shared:
        if name not in known:
            message = f"no input has this source; there are {', '.join(sorted(known))}"
            raise TgoError(message, field="shared", value=name, rule="map.shared")
    return sorted({*shared, *_PARTS} & known)


def _stacked(
    taken: Sequence[_One], common: Sequence[str], sigma_level: float
) -> dict[str, tuple[npt.NDArray[np.int64], Floats]]:
    """Give cells and results by name."""
    alone = [
        sum(r**2 for name, r in one.sources.items() if name not in common)
        for one in taken
    ]
    noise = np.sqrt(np.array([one.noise for one in taken]) ** 2 + np.array(alone))

    def results(systematic: Floats) -> tuple[npt.NDArray[np.int64], dict[str, Floats]]:
        nothing = np.zeros(len(taken))
        values = Values(
            np.array([one.cell for one in taken], dtype=np.int64), nothing,
            np.array([one.value for one in taken]), noise, noise, nothing, systematic,
            nothing + 1.0, nothing, np.array([one.detected for one in taken], bool),
            nothing, nothing, nothing, nothing,
        )  # fmt: skip
        sums = summed([single_samples(values, sigma_level)])
        counts = {n: sums.column(n) for n in ("count", "detected_count")}
        return sums.cell, statistics(sums, "inverse_variance", sigma_level) | counts

    cell, found = results(np.zeros(len(taken)))
    shifts = {
        name: results(np.array([one.sources.get(name, 0.0) for one in taken]))[1]
        for name in common
    }
    parts = {f"common_{k}": v["systematic_error"] for k, v in shifts.items()}
    common_error = np.sqrt(sum((r**2 for r in parts.values()), np.zeros(cell.size)))
    random = found["standard_error"]
    in_limit = np.hypot(np.fmax(random, found["standard_error_formal"]), common_error)
    best = np.full(cell.size, np.inf)
    single = [max(one.value, 0.0) + sigma_level * one.error for one in taken]
    at = np.searchsorted(cell, [one.cell for one in taken])
    np.minimum.at(best, at, single)
    named = {
        "count": found["count"],
        "mean": found["mean"],
        "random_error": random,
        "common_error": common_error,
        "error": np.hypot(random, common_error),
        "upper_limit": np.maximum(found["mean"], 0.0) + sigma_level * in_limit,
        "limit_floor": sigma_level * common_error,
        "best_upper_limit": best,
        "detected_count": found["detected_count"],
        "reduced_chi_square": found["reduced_chi_square"],
        **parts,
    }
    return {name: (cell, values) for name, values in named.items()}


def _dataset(
    gas: str,
    grid: Grid,
    results: dict[str, tuple[npt.NDArray[np.int64], Floats]],
    attrs: dict[str, Any],
) -> xr.Dataset:
    coords: dict[str, Any] = {}
    for axis, cells in grid.cells.items():
        coords[axis], coords[f"{axis}_bounds"] = coordinate(axis, cells)
    arrays = {}
    for name, (cell, values) in results.items():
        counted = name.endswith("count")
        full = np.full(grid.n_cells, 0.0 if counted else np.nan)
        full[cell] = values
        whole = full.astype(np.int32) if counted else full
        notes = attributes_of(f"{gas}_stacked_{name}", whole.dtype)
        if name.endswith(("limit", "floor")):
            notes["sigma_level"] = attrs["sigma_level"]
        arrays[f"{gas}_stacked_{name}"] = (grid.dims, whole.reshape(grid.shape), notes)
    return without_fill(xr.Dataset(arrays, coords, attrs))
