"""From level 2 to samples of a map: profiles by cell, columns by spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import flags_of
from tgo_spectra.maps.sums import Levels, cell_samples, single_samples
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import xarray as xr

    from tgo_spectra.maps.grid import Grid

__all__ = [
    "FIELDS",
    "VERTICAL",
    "Judged",
    "column_samples",
    "fields_of",
    "impossible_places",
    "judged",
    "profile_samples",
]

Floats = npt.NDArray[np.float64]
Samples = dict[str, npt.NDArray[Any]]

FIELDS = ("", "_column", "_column_normalised")
"""What may be mapped of a gas, as endings of its key: mole fraction, columns."""

VERTICAL = ("altitude", "pressure")
"""Axes that columns do not have."""


def fields_of(
    ds: xr.Dataset, gases: Sequence[str] | None, error: str
) -> dict[str, str]:
    """Return the quantities of level 2 that a map can hold, each with its gas.

    Without names of gases: of all, without columns that have no error of this kind.
    """
    found = {}
    for gas in gases or GASES:
        profile = ds.get(f"{gas}_vmr")
        # a mole fraction that was held fixed is no result
        if profile is not None and profile.attrs.get("state") != "fixed":
            found[gas] = gas
        has_error = error == "total" or f"{gas}_column_noise_error" in ds
        for ending in FIELDS[1:]:
            if f"{gas}{ending}" in ds and (has_error or gases):
                found[f"{gas}{ending}"] = gas
    return found


class Judged(NamedTuple):
    """What the quality of a result says of its use.

    `keep`: which of its spectra, shape (spectrum,), or whether the profile is to be
    mapped; `reasons`: how many profiles or spectra are left out for each (one may have
    several); `n_spectra`: how many spectra are; `known`: whether the result has a flag.
    """

    keep: npt.NDArray[np.bool_] | bool
    reasons: Mapping[str, int]
    n_spectra: int
    known: bool


def judged(ds: xr.Dataset, fields: Iterable[str], *, everything: bool) -> Judged:
    """Say which spectra of a result, or whether a profile, is to be mapped."""
    flags = flags_of(ds)
    known = flags is not None
    if flags is None:
        flags = _flags_without_variable(ds)
    columns = [name for name in fields if "_column" in name]
    if flags.ndim and not columns:  # a profile from spectra that were fitted alone
        flags = np.asarray(quality.overall(flags))
    bad = quality.severe(flags)
    if everything or not bad.any():
        return Judged(True, {}, 0, known)
    if not flags.ndim:
        return Judged(False, quality.counts(flags & quality.SEVERE), 0, known)
    there = np.any([np.isfinite(ds[name].values) for name in columns], axis=0)
    lost = flags[bad & there] & quality.SEVERE
    return Judged(~bad, quality.counts(lost), lost.size, known)


def _flags_without_variable(ds: xr.Dataset) -> npt.NDArray[np.int32]:
    """Return what stands for the flags of a result without: what did not converge."""
    if "status" in ds:
        return quality.pack_rows({"not_converged": ds["status"].values != 0})
    lost = "converged" in ds and not bool(ds["converged"])
    return np.asarray(quality.pack(["not_converged"] if lost else []))


def profile_samples(
    ds: xr.Dataset,
    gas: str,
    grid: Grid,
    *,
    error: str,
    minimum_kernel: float,
    sigma_level: float,
    correlation_km: float | str | None,
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Average the levels of a profile in each cell: one sample a cell.

    Levels count where the diagonal of the averaging kernel exceeds `minimum_kernel`.
    Returns samples for `add_samples`, shape (cell,), and which levels, shape (level,),
    would count if they had a possible place.
    """
    name = f"{gas}_vmr_error" if error == "total" else f"{gas}_vmr_noise_error"
    size = ds.sizes["altitude"]
    value, sigma = _along(ds, f"{gas}_vmr", size), _along(ds, name, size)
    keep = np.isfinite(value) & np.isfinite(sigma) & (sigma > 0)
    if f"{gas}_averaging_kernel" in ds:
        kernel = np.asarray(ds[f"{gas}_averaging_kernel"].values)
        keep &= np.diagonal(kernel) > minimum_kernel
    cell, lost = _cells(ds, grid, keep)
    keep &= cell >= 0
    noise = ds.get(f"{gas}_vmr_noise_covariance")
    covariance = None if noise is None else noise.values[np.ix_(keep, keep)]
    levels = Levels(
        cell[keep],
        _along(ds, "altitude", size)[keep],
        value[keep],
        sigma[keep],
        _flag(ds, f"{gas}_detected", size)[keep],
        _local_time(ds, size)[keep],
        covariance,
    )
    return cell_samples(levels, sigma_level, correlation_km), lost


def column_samples(
    ds: xr.Dataset,
    field: str,
    gas: str,
    grid: Grid,
    *,
    error: str,
    minimum_kernel: float,
    sigma_level: float,
    wanted: npt.NDArray[np.bool_] | bool,
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Take every spectrum of a nadir product as a sample at its own place and time.

    Spectra count where `wanted`, and where the degrees of freedom of the column exceed
    `minimum_kernel`: below, it follows its a priori. Returns samples for `add_samples`,
    shape (sample,), cells may repeat; and which spectra, shape (spectrum,), would count
    if they had a possible place.
    """
    size = ds.sizes["spectrum"]
    value, sigma = _along(ds, field, size), _along(ds, f"{field}_error", size)
    if error == "noise":
        total = _along(ds, f"{gas}_column_error", size)
        noise = _along(ds, f"{gas}_column_noise_error", size)
        # the normalised column is the column times a factor
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = noise * sigma / total
    keep = np.isfinite(value) & np.isfinite(sigma) & (sigma > 0)
    keep &= wanted
    freedom = f"{gas}_degrees_of_freedom_of_spectrum"
    if freedom in ds:
        keep &= _along(ds, freedom, size) > minimum_kernel
    cell, lost = _cells(ds, grid, keep)
    keep &= cell >= 0
    spectra = Levels(
        cell[keep],
        np.full(int(keep.sum()), np.nan),
        value[keep],
        sigma[keep],
        _flag(ds, f"{gas}_column_detected", size)[keep],
        _local_time(ds, size)[keep],
        None,
    )
    return single_samples(spectra, sigma_level), lost


def impossible_places(
    ds: xr.Dataset, grid: Grid, lost: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Return an impossible value by axis, of the levels or spectra that are `lost`."""
    places = _places(ds, grid, lost.size)
    wrong = {axis: bad & lost for axis, bad in grid.impossible(places).items()}
    return {a: float(places[a][bad][0]) for a, bad in wrong.items() if bad.any()}


def _along(ds: xr.Dataset, variable: str, size: int) -> Floats:
    """Values of a variable for each level or spectrum."""
    if variable not in ds.variables:
        message = "level 2 lacks a variable that the map needs"
        where = ds.attrs.get("product_lid")
        raise TgoError(message, path=where, field=variable, rule="map.variable")
    values = np.asarray(ds[variable].values, dtype=np.float64)
    return np.broadcast_to(values, (size,))


def _local_time(ds: xr.Dataset, size: int) -> Floats:
    name = "local_true_solar_time"
    return _along(ds, name, size) if name in ds.variables else np.full(size, np.nan)


def _flag(ds: xr.Dataset, name: str, size: int) -> npt.NDArray[np.bool_]:
    present = name in ds.variables
    return _along(ds, name, size) > 0 if present else np.zeros(size, dtype=bool)


def _places(ds: xr.Dataset, grid: Grid, size: int) -> dict[str, Floats]:
    """Values along the axes of a grid, for each level or spectrum."""
    return {
        axis: _along(
            ds, "local_true_solar_time" if axis == "local_time_class" else axis, size
        )
        for axis in grid.dims
    }


def _cells(
    ds: xr.Dataset, grid: Grid, keep: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Cell of each level or spectrum, -1 outside; which of those kept have no place."""
    places = _places(ds, grid, keep.size)
    lost = np.zeros(keep.size, dtype=bool)
    for bad in grid.impossible(places).values():
        lost |= bad & keep
    cell = grid.cell(places) if places else np.zeros(keep.size, dtype=np.int64)
    return cell, lost
