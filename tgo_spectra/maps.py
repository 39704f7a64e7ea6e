"""Maps: level-2 profiles summed into cells, and what follows from the sums.

A map stores sums (number, weights, weighted values and squares), so that maps of two
workers, years or instruments merge by addition, in any order. Mean, standard errors
and limits are derived at the end, and derived again after a merge.

Values keep their sign: a gas below detection scatters about zero, and dropping or
clipping the negative half biases the mean by more than the signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.accumulate import (
    HIGHEST,
    LOWEST,
    SUMS,
    Levels,
    Weights,
    add_samples,
    cell_samples,
    new_sums,
    statistics,
)
from tgo_spectra.errors import TgoError
from tgo_spectra.grid import Grid, coordinate
from tgo_spectra.netcdf import open_verified
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Grid", "grid_level2", "merge_maps", "profiles"]

Floats = npt.NDArray[np.float64]
Level2Input = xr.Dataset | str | Path | Iterable[xr.Dataset | str | Path]

# choices that two maps must share to be merged
_CHOICES = (
    "weights",
    "error_used",
    "sigma_level",
    "minimum_averaging_kernel",
    "vertical_correlation_km",
    "converged_only",
)
# attributes of level 2 that a map repeats (each different value once), as level 2
# names them; those of each gas follow the gas's key
_INHERITED = (
    "setup",
    "setup_hash",
    "method",
    "table",
    "table_sha256",
    "interferents_included",
    "interferents_absent",
    "baseline_degree",
    "n_orders",
    "instrument",
    "channel",
    "instrument_model",
    "atmosphere",
    "software",
    "processor_version",
)
_INHERITED_OF_GAS = ("broadening", "edition", "citation", "lines", "lines_sha256")
_BETWEEN = " | "


def grid_level2(
    level2: Level2Input,
    grid: Grid,
    *,
    gases: Sequence[str] | None = None,
    weights: Weights = "inverse_variance",
    error: Literal["total", "noise"] = "total",
    sigma_level: float = 2.0,
    minimum_averaging_kernel: float = 0.1,
    vertical_correlation_km: float | Literal["covariance"] | None = None,
    converged_only: bool = True,
) -> xr.Dataset:
    """Sum level-2 profiles into the cells of a grid and derive means and limits.

    One sample is one profile in one cell: the levels of a profile that fall into
    the same cell are averaged first (inverse variance), so that dense sampling does
    not count as independent information.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        Level 2. Files are verified and opened one at a time; of a folder, every
        level-2 ``.nc`` file in it and below.
    grid : Grid
        The cells.
    gases : sequence of str, optional
        Gases to map. Default: every gas that has a profile.
    weights : {"inverse_variance", "uniform"}, optional
        Weight of a sample. Inverse variance is best when the errors make the
        scatter; uniform when nature does. Default inverse variance.
    error : {"total", "noise"}, optional
        ``<gas>_vmr_error`` or ``<gas>_vmr_noise_error``. Default the total error,
        so that a profile which follows its prior is not taken for a precise one.
    sigma_level : float, optional
        Multiple k of the standard error in limits. Default 2.
    minimum_averaging_kernel : float, optional
        Levels count where the averaging-kernel diagonal is larger. Default 0.1.
    vertical_correlation_km : float or "covariance", optional
        Length of the exponential correlation of errors between levels of one
        profile, km, when they are averaged in a cell; 0 for independent errors;
        "covariance" for ``<gas>_vmr_noise_covariance`` (with ``error="noise"``).
        Default: fully correlated, the cautious choice (averaging inside a profile
        then does not reduce the error).
    converged_only : bool, optional
        Leave out profiles whose fit did not converge. Default true.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of the grid, for each gas: the sums ``<gas>_count``,
        ``_sum_w``, ``_sum_wx``, ``_sum_wx2``, ``_sum_w2``, ``_sum_w2_variance``;
        ``<gas>_mean`` (sign kept), ``<gas>_standard_error_formal`` (from the errors),
        ``<gas>_standard_error_scatter`` (from the scatter, two samples or more),
        ``<gas>_upper_limit`` (mean + k times the larger of the two),
        ``<gas>_best_upper_limit`` (lowest limit of a single profile: max(value, 0)
        + k times error), ``<gas>_detected_count`` (profiles with a detection),
        ``<gas>_local_time_min`` and ``_max``. Cells without samples hold NaN.

    Raises
    ------
    TgoError
        Nothing to map, an unknown gas or choice, or a variable the grid needs is
        missing (``map.*``).
    OutputError
        A file fails its verification.

    Notes
    -----
    Every profile holds a fixed a priori; where the averaging kernel is small the
    mean tends to it. The formal error contains no spread of nature, the one from
    the scatter does. Limits are made from the signed mean: a mean of limits would
    not fall with the number of profiles.

    References
    ----------
    Montmessin et al. (2021), A&A 650, A140, for the lowest limit of single profiles.
    DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177, eq. 8,
    doi:10.1016/0197-2456(86)90046-2, for the error from the scatter.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> profile = xr.Dataset(
    ...     {"ch4_vmr": ("altitude", [1e-11, -3e-11]),
    ...      "ch4_vmr_error": ("altitude", [2e-11, 2e-11]),
    ...      "latitude": ("altitude", [61.0, 62.0])},
    ...     {"altitude": [10.0, 11.0]})
    >>> maps = grid_level2(profile, Grid(latitude=[-90, 0, 90]))
    >>> maps["ch4_mean"].values
    array([   nan, -1.e-11])
    >>> maps["ch4_standard_error_formal"].values
    array([  nan, 2.e-11])
    """
    _check_choices(weights, error, gases, sigma_level, vertical_correlation_km)
    size = int(np.prod(grid.shape, dtype=np.int64))
    sums: dict[str, dict[str, Floats]] = {gas: new_sums(size) for gas in gases or ()}
    inherited: dict[str, set[str]] = {}
    used = left_out = 0
    for ds in profiles(level2):
        if converged_only and "converged" in ds and not bool(ds["converged"]):
            left_out += 1
            continue
        used += 1
        for key in _inherited(ds.attrs):
            inherited.setdefault(key, set()).add(str(ds.attrs[key]))
        for gas in gases or [g for g in GASES if f"{g}_vmr" in ds]:
            if f"{gas}_vmr" not in ds:
                continue
            into = sums.setdefault(gas, new_sums(size))
            levels = _levels(ds, gas, grid, error, minimum_averaging_kernel)
            samples = cell_samples(levels, sigma_level, vertical_correlation_km)
            add_samples(into, samples, weights)
    if not sums:
        message = "no profile to map, and no gases named"
        raise TgoError(message, value=f"{left_out} not converged", rule="map.empty")
    attrs = {
        "weights": weights,
        "error_used": error,
        "sigma_level": float(sigma_level),
        "minimum_averaging_kernel": float(minimum_averaging_kernel),
        "vertical_correlation_km": (
            "full" if vertical_correlation_km is None else vertical_correlation_km
        ),
        "converged_only": str(converged_only).lower(),
        "n_profiles": used,
        "n_profiles_not_converged": left_out,
        **{key: _BETWEEN.join(sorted(values)) for key, values in inherited.items()},
    }
    return _derived(_as_dataset(sums, grid, attrs))


def merge_maps(maps: Iterable[xr.Dataset | str | Path]) -> xr.Dataset:
    """Merge maps of different profiles on one grid by adding their sums.

    Parameters
    ----------
    maps : iterable of Dataset or path
        Maps of :func:`grid_level2` with the same grid and choices. No profile may
        be in two of them; this is not checked.

    Returns
    -------
    xarray.Dataset
        As :func:`grid_level2` would give from all profiles, to rounding.

    Raises
    ------
    TgoError
        No map, different grids, or different choices (``map.merge``).

    Examples
    --------
    >>> from tgo_spectra.maps import Grid, grid_level2, merge_maps
    >>> empty = grid_level2([], Grid(latitude=[-90, 90]), gases=["co"])
    >>> merge_maps([empty, empty])["co_count"].values
    array([0], dtype=int32)
    """
    merged: xr.Dataset | None = None
    for item in maps:
        ds = item if isinstance(item, xr.Dataset) else open_verified(item)
        merged = ds.copy(deep=True) if merged is None else _merged(merged, ds)
    if merged is None:
        message = "no map to merge"
        raise TgoError(message, rule="map.merge")
    return _derived(merged)


def _merged(left: xr.Dataset, right: xr.Dataset) -> xr.Dataset:
    names = set(left.coords) | set(right.coords)
    for name in sorted(map(str, names)):
        if name not in right.coords or name not in left.coords:
            message = "the maps have different axes"
            raise TgoError(message, field=name, rule="map.merge")
        if not np.array_equal(left[name].values, right[name].values):
            message = "the maps have different cells"
            raise TgoError(message, field=name, rule="map.merge")
    for key in _CHOICES:
        if left.attrs.get(key) != right.attrs.get(key):
            both = f"{left.attrs.get(key)} and {right.attrs.get(key)}"
            message = "the maps were made with different choices"
            raise TgoError(message, field=key, value=both, rule="map.merge")
    arrays: dict[str, xr.DataArray] = {}
    for gas in dict.fromkeys([*_gases_of(left), *_gases_of(right)]):
        for quantity in (*SUMS, *LOWEST, *HIGHEST):
            name = f"{gas}_{quantity}"
            parts = [ds[name] for ds in (left, right) if name in ds]
            first = parts[0]
            if len(parts) == 1:
                arrays[name] = first
                continue
            pair = (first.values, parts[1].values)
            if quantity in SUMS:
                values = np.add(*pair)
            else:
                values = (np.fmin if quantity in LOWEST else np.fmax)(*pair)
            arrays[name] = first.copy(data=values)
    attrs = dict(left.attrs)
    for key in ("n_profiles", "n_profiles_not_converged"):
        attrs[key] = int(left.attrs.get(key, 0)) + int(right.attrs.get(key, 0))
    for key in _inherited({**left.attrs, **right.attrs}):
        both_values = {
            value
            for ds in (left, right)
            for value in str(ds.attrs.get(key, "")).split(_BETWEEN)
            if value
        }
        attrs[key] = _BETWEEN.join(sorted(both_values))
    return xr.Dataset(arrays, coords=left.coords, attrs=attrs)


def _inherited(attrs: Mapping[Any, Any]) -> list[str]:
    """Names of attributes that a map repeats."""
    of_gases = [f"{gas}_{key}" for gas in GASES for key in _INHERITED_OF_GAS]
    return [key for key in (*_INHERITED, *of_gases) if key in attrs]


def profiles(level2: Level2Input) -> Iterator[xr.Dataset]:
    """Give level-2 Datasets one at a time; files are opened when their turn comes.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        As in :func:`grid_level2`.

    Yields
    ------
    xarray.Dataset
        Level 2 of one product.

    Raises
    ------
    TgoError
        No such file or folder (``map.no_input``).
    """
    if isinstance(level2, xr.Dataset):
        yield level2
    elif isinstance(level2, str | Path):
        path = Path(level2)
        if not path.exists():
            message = "no such file or folder"
            raise TgoError(message, path=path, rule="map.no_input")
        if path.is_dir():
            for file in sorted(path.rglob("*.nc")):
                ds = open_verified(file)
                # a map may lie in the folder of its own input
                if ds.attrs.get("processing_level", "L2") == "L2":
                    yield ds
        else:
            yield open_verified(path)
    else:
        for item in level2:
            yield from profiles(item)


def _levels(
    ds: xr.Dataset, gas: str, grid: Grid, error: str, minimum_kernel: float
) -> Levels:
    name = f"{gas}_vmr_error" if error == "total" else f"{gas}_vmr_noise_error"
    size = ds.sizes["altitude"]

    def along(variable: str) -> Floats:
        if variable not in ds:
            message = "level 2 lacks a variable that the map needs"
            where = ds.attrs.get("product_lid")
            raise TgoError(message, path=where, field=variable, rule="map.variable")
        values = np.asarray(ds[variable].values, dtype=np.float64)
        return np.broadcast_to(values, (size,))

    def local_time() -> Floats:
        present = "local_true_solar_time" in ds
        return along("local_true_solar_time") if present else np.full(size, np.nan)

    places = {
        axis: local_time() if axis == "local_time_class" else along(axis)
        for axis in grid.dims
    }
    value, sigma = along(f"{gas}_vmr"), along(name)
    cell = grid.cell(places) if places else np.zeros(size, dtype=np.int64)
    keep = (cell >= 0) & np.isfinite(value) & np.isfinite(sigma) & (sigma > 0)
    if f"{gas}_averaging_kernel" in ds:
        kernel = np.asarray(ds[f"{gas}_averaging_kernel"].values)
        keep &= np.diagonal(kernel) > minimum_kernel
    noise = ds.get(f"{gas}_vmr_noise_covariance")
    covariance = None if noise is None else noise.values[np.ix_(keep, keep)]
    flag = f"{gas}_detected"
    detected = along(flag) > 0 if flag in ds else np.zeros(size, dtype=bool)
    return Levels(
        cell[keep],
        along("altitude")[keep],
        value[keep],
        sigma[keep],
        detected[keep],
        local_time()[keep],
        covariance,
    )


def _as_dataset(
    sums: dict[str, dict[str, Floats]], grid: Grid, attrs: dict[str, Any]
) -> xr.Dataset:
    arrays: dict[str, Any] = {}
    for gas, quantities in sums.items():
        for name, flat in quantities.items():
            whole = name.endswith("count")
            values = flat.reshape(grid.shape)
            arrays[f"{gas}_{name}"] = (
                grid.dims,
                values.astype(np.int32) if whole else values,
                _notes(gas, name, attrs),
            )
    coords: dict[str, Any] = {}
    for axis, edges in grid.axes.items():
        coords[axis], coords[f"{axis}_bounds"] = coordinate(axis, edges)
    return xr.Dataset(arrays, coords=coords, attrs=attrs)


def _derived(ds: xr.Dataset) -> xr.Dataset:
    """Add (or renew) what follows from the sums."""
    k = float(ds.attrs["sigma_level"])
    arrays: dict[str, Any] = {}
    for gas in _gases_of(ds):
        sums = {name: ds[f"{gas}_{name}"].values for name in SUMS}
        results = statistics(sums, str(ds.attrs["weights"]), k)
        dims = ds[f"{gas}_count"].dims
        for name, values in results.items():
            arrays[f"{gas}_{name}"] = (dims, values, _notes(gas, name, ds.attrs))
    return ds.assign(arrays)


def _gases_of(ds: xr.Dataset) -> list[str]:
    return [gas for gas in GASES if f"{gas}_sum_w" in ds]


def _notes(gas: str, name: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Units and meaning of one variable of a map."""
    k = f"{attrs['sigma_level']:g}"
    inverse = attrs["weights"] == "inverse_variance"
    label = gas.upper()
    units, text = {
        "count": ("1", "number of profiles"),
        "sum_w": ("1", "sum of weights"),
        "sum_wx": ("1", "sum of weight times mole fraction"),
        "sum_wx2": ("1", "sum of weight times squared mole fraction"),
        "sum_w2": ("1", "sum of squared weights"),
        "sum_w2_variance": ("1", "sum of squared weight times error variance"),
        "detected_count": ("1", "number of profiles with a detection"),
        "best_upper_limit": ("1", f"lowest {k}-sigma limit of a single profile"),
        "local_time_min": ("hour", "earliest local true solar time"),
        "local_time_max": ("hour", "latest local true solar time"),
        "mean": ("1", "weighted mean mole fraction"),
        "standard_error_formal": ("1", "standard error of the mean, from the errors"),
        "standard_error_scatter": ("1", "standard error of the mean, from the scatter"),
        "upper_limit": ("1", f"{k}-sigma upper limit of the mean mole fraction"),
    }[name]
    notes: dict[str, Any] = {"units": units, "long_name": f"{label} {text}"}
    if name.endswith("limit"):
        notes["sigma_level"] = float(attrs["sigma_level"])
    if name == "mean":
        notes["comment"] = "signed: negative values are kept"
        notes["ancillary_variables"] = (
            f"{gas}_count {gas}_standard_error_formal {gas}_standard_error_scatter"
        )
    if name == "upper_limit":
        notes["comment"] = f"mean + {k} times the larger of the two standard errors"
    if name.startswith("sum_"):
        notes["comment"] = "weight = 1/variance" if inverse else "weight = 1"
    return notes


def _check_choices(
    weights: str,
    error: str,
    gases: Sequence[str] | None,
    sigma_level: float,
    correlation_km: float | str | None,
) -> None:
    if weights not in {"inverse_variance", "uniform"}:
        message = "weights are 'inverse_variance' or 'uniform'"
        raise TgoError(message, value=weights, rule="map.weights")
    if error not in {"total", "noise"}:
        message = "error is 'total' or 'noise'"
        raise TgoError(message, value=error, rule="map.error")
    if not sigma_level > 0:
        message = "the sigma level must be positive"
        raise TgoError(message, value=sigma_level, rule="map.sigma_level")
    if isinstance(correlation_km, str):
        if correlation_km != "covariance" or error != "noise":
            message = "the correlation is km or 'covariance', which wants error='noise'"
            raise TgoError(message, value=correlation_km, rule="map.correlation")
    elif correlation_km is not None and not correlation_km >= 0:
        message = "the correlation length must not be negative"
        raise TgoError(message, value=correlation_km, rule="map.correlation")
    for gas in gases or ():
        if gas not in GASES:
            message = f"unknown gas; the gases are {', '.join(GASES)}"
            raise TgoError(message, value=gas, rule="map.gas")
