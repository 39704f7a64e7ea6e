"""From level 2 to samples of a map: profiles by cell, columns by spectrum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import flags_or_convergence
from tgo_spectra.maps.choices import RATIOS
from tgo_spectra.maps.grid import possible
from tgo_spectra.maps.sums import Values, cell_samples, single_samples
from tgo_spectra.variables import GASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tgo_spectra.maps.choices import Choice
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.sums import Samples

__all__ = [
    "CHI_SQUARE",
    "FIELDS",
    "VERTICAL",
    "Judged",
    "column_samples",
    "fields_of",
    "has_kernel",
    "impossible_places",
    "judged",
    "layer_of",
    "layer_samples",
    "needed",
    "needed_of_layer",
    "profile_samples",
]

Floats = npt.NDArray[np.float64]

FIELDS = ("", "_layer", "_column", "_column_normalised")
"""What may be mapped of a gas, as endings of its key: mole fractions, columns."""

VERTICAL = ("altitude", "pressure")
"""Axes that columns and layers do not have."""

_AS_GOOD_AS_ONE = 0.02
"""Most that a response may differ from one where nothing says what is missing."""
_ROUNDING = 1e-6
"""Part of a variance below which a difference of two is none."""


def fields_of(
    ds: xr.Dataset, gases: Sequence[str] | None, *, layers: bool
) -> dict[str, str]:
    """Return the quantities of level 2 that a map can hold, each with its gas.

    With the estimates of whole layers or without, which stand beside profiles. Where
    there is a ratio of gases, their mole fractions are what it was divided from.
    """
    found = {
        ratio: ratio
        for ratio in RATIOS
        if ratio in ds.variables and ratio in (gases or RATIOS)
    }
    if not set(RATIOS).isdisjoint(map(str, ds.variables)):
        return found
    for gas in gases or GASES:
        profile = ds.variables.get(f"{gas}_vmr")
        # a mole fraction that was held fixed is no result
        if profile is not None and profile.attrs.get("state") != "fixed":
            found[gas] = gas
        if layers and f"{gas}_layer_vmr" in ds.variables:
            found[f"{gas}_layer"] = gas
        for ending in FIELDS[2:]:
            if f"{gas}{ending}" in ds.variables:
                found[f"{gas}{ending}"] = gas
    return found


def needed(
    gases: Sequence[str] | None, grid: Grid, choice: Choice
) -> dict[str, tuple[str, ...]]:
    """Return all variables of level 2 that a map needs, each with attributes of it."""
    flat = not set(VERTICAL) & set(grid.dims)
    names = (*_PLACES, *_OF_QUALITY, *VERTICAL, *_DIMENSIONS)
    found: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    of_profile = list(_OF_PROFILE)
    if choice.correlation_km == "covariance":
        of_profile.append("_vmr_noise_covariance")
    for ratio in RATIOS:
        found |= {f"{ratio}{name}": () for name in ("", *_PARTS, "_flag", "_apriori")}
    for gas in gases or GASES:
        found |= {f"{gas}{name}": () for name in of_profile}
        found[f"{gas}_vmr"] = ("state",)
        # columns have no altitude: on a grid with one, they are known to be left out
        found |= {f"{gas}{name}": () for name in _OF_COLUMN}
        if flat:
            found |= needed_of_layer(gas)
    return found


def needed_of_layer(gas: str) -> dict[str, tuple[str, ...]]:
    """Return what `needed` does for the estimate of a whole layer alone."""
    of_layer = (f"{gas}{name}" for name in _OF_LAYER)
    names = (*_PLACES, *_OF_QUALITY, *VERTICAL, *_DIMENSIONS, *of_layer)
    return dict.fromkeys(names, ()) | {f"{gas}_layer_vmr": ("layer_km",)}


_DIMENSIONS = ("altitude_in", "spectrum")
_OF_QUALITY = (
    "quality_flag",
    "status",
    "converged",
    "reduced_chi_square",
    "spectrum_reduced_chi_square",
)
_PARTS = ("_error", "_noise_error", "_smoothing_error")
_OF_PROFILE = (
    "_vmr_apriori",
    "_averaging_kernel",
    "_detected",
    *(f"_vmr{part}" for part in _PARTS),
)
_OF_COLUMN = (
    *FIELDS[2:],
    *(f"_column{part}" for part in _PARTS),
    "_column_normalised_error",
    "_column_apriori",
    "_column_detected",
    "_degrees_of_freedom_of_spectrum",
)
_OF_LAYER = ("_layer_detected", *(f"_layer_vmr{part}" for part in _PARTS))


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


CHI_SQUARE = "chi_square"
"""Reason to leave a profile or spectrum out: its reduced chi-square is too high."""


def judged(
    ds: xr.Dataset,
    fields: Iterable[str],
    *,
    everything: bool,
    maximum_chi_square: float | None,
) -> Judged:
    """Say which spectra of a result, or whether a profile, is to be mapped."""
    if not set(RATIOS).isdisjoint(fields):  # judged level by level
        return Judged(True, {}, 0, known=True)
    columns = [name for name in fields if "_column" in name]
    found = _judged(ds, columns, everything=everything)
    if everything or maximum_chi_square is None:
        return found
    # not a number says nothing; what else is not below the highest is no fit
    ratio = ds.variables.get("reduced_chi_square")
    if ratio is not None and not ratio.ndim and float(ratio) > maximum_chi_square:
        return Judged(False, {**found.reasons, CHI_SQUARE: 1}, 0, found.known)
    ratios = ds.variables.get("spectrum_reduced_chi_square")
    if ratios is None or not columns or found.keep is False:
        return found
    high = ratios.values > maximum_chi_square
    lost = int((high & found.keep & _there_is(ds, columns)).sum())
    reasons = {**found.reasons, CHI_SQUARE: lost} if lost else found.reasons
    return Judged(found.keep & ~high, reasons, found.n_spectra + lost, found.known)


def _there_is(ds: xr.Dataset, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Tell of which spectra there is any column."""
    return np.asarray(
        np.any([np.isfinite(ds.variables[name].values) for name in columns], axis=0)
    )


def _judged(ds: xr.Dataset, columns: Sequence[str], *, everything: bool) -> Judged:
    """Judge by the flags alone."""
    flags, known = flags_or_convergence(ds), "quality_flag" in ds.variables
    if flags.ndim and not columns:  # a profile from spectra that were fitted alone
        flags = np.asarray(quality.overall(flags))
    bad = quality.severe(flags)
    if everything or not bad.any():
        return Judged(True, {}, 0, known)
    if not flags.ndim:
        return Judged(False, quality.counts(flags & quality.SEVERE), 0, known)
    lost = flags[bad & _there_is(ds, columns)] & quality.SEVERE
    return Judged(~bad, quality.counts(lost), lost.size, known)


def has_kernel(ds: xr.Dataset, field: str, gas: str) -> bool:
    """Whether level 2 says how much of a quantity is measured, how much a priori."""
    # one number without an a priori; levels whose flag says that they follow theirs
    if field == f"{gas}_layer" or field in RATIOS:
        return True
    name = "averaging_kernel" if field == gas else "degrees_of_freedom_of_spectrum"
    return f"{gas}_{name}" in ds.variables


def profile_samples(
    ds: xr.Dataset, gas: str, grid: Grid, choice: Choice
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Average the levels of a profile in each cell: one sample a cell.

    Levels count where their response to the truth, the row sum of the averaging kernel,
    is large enough. Returns samples, and which levels, shape (level,), would count if
    they had a possible place.
    """
    size = ds.sizes["altitude"]
    name = gas if gas in RATIOS else f"{gas}_vmr"
    value = _along(ds, name, size)
    noise, smoothing, systematic = _errors(ds, name, size)
    log = ds.variables[name].attrs.get("state") == "log"
    response = np.ones(size)
    keep: npt.NDArray[np.bool_] | bool = True
    if gas in RATIOS:
        # what is not noise is left of two resolutions and of smoothing
        smoothing, systematic = systematic, np.zeros(size)
        keep = ~_flag(ds, f"{name}_flag", size)
    elif has_kernel(ds, gas, gas):
        response = _response(
            ds.variables[f"{gas}_averaging_kernel"].values, value, log=log
        )
    prior = ds.variables.get(f"{name}_apriori")
    xa = np.full(size, np.nan) if prior is None else _along(ds, f"{name}_apriori", size)
    relative = np.ones(size)
    if choice.proportional_errors:
        relative = _relative(ds, name, value, np.ones(size))
    elif log and choice.proportional_errors is None:
        relative = _relative(ds, name, value, xa)
    numbers = (value, noise, smoothing, systematic, response, xa)
    levels, keep, lost = _counting(
        ds, grid, numbers, choice, relative, f"{gas}_detected", keep=keep
    )
    covariance = ds.variables.get(f"{name}_noise_covariance")
    levels = replace(
        levels,
        altitude=_along(ds, "altitude", size)[keep],
        covariance=(
            None if covariance is None else covariance.values[np.ix_(keep, keep)]
        ),
    )
    return cell_samples(levels, choice.sigma_level, choice.correlation_km), lost


def column_samples(
    ds: xr.Dataset,
    field: str,
    gas: str,
    grid: Grid,
    choice: Choice,
    wanted: npt.NDArray[np.bool_] | bool,
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Take every spectrum of a nadir product as a sample at its own place and time.

    Spectra count where `wanted`, and where the degrees of freedom of the column are
    enough: below, it follows its a priori. Returns samples, cells may repeat; and which
    spectra, shape (spectrum,), would count if they had a possible place.
    """
    size = ds.sizes["spectrum"]
    value, total = _along(ds, field, size), _along(ds, f"{field}_error", size)
    column = f"{gas}_column"
    # the normalised column is the column times a factor
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = total / _along(ds, f"{column}_error", size)
    noise, smoothing, systematic = (factor * part for part in _errors(ds, column, size))
    response, xa = np.ones(size), np.full(size, np.nan)
    if has_kernel(ds, field, gas):
        response = _along(ds, f"{gas}_degrees_of_freedom_of_spectrum", size)
    if f"{column}_apriori" in ds.variables:
        xa = factor * _along(ds, f"{column}_apriori", size)
    values = (value, noise, smoothing, systematic, response, xa)
    return _single(ds, grid, choice, field, values, f"{column}_detected", wanted)


def layer_of(ds: xr.Dataset, gas: str) -> xr.Dataset:
    """Give the estimate of a whole layer with the places of the layer's middle."""
    layer_km = str(ds.variables[f"{gas}_layer_vmr"].attrs["layer_km"])
    bottom, top = map(float, layer_km.split())
    middle = int(
        np.argmin(np.abs(ds.variables["altitude"].values - 0.5 * (bottom + top)))
    )
    there = {
        key: variable.isel(altitude=[middle]) if variable.dims else variable
        for key, variable in ds.variables.items()
        if key in _PLACES or str(key).startswith(f"{gas}_layer_")
    }
    return xr.Dataset(there, attrs=ds.attrs)


def layer_samples(
    ds: xr.Dataset, gas: str, grid: Grid, choice: Choice
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Take the mole fraction of a whole layer as a sample, where its middle is.

    It has no a priori of its own. Returns one sample, and whether it has no possible
    place, shape (1,).
    """
    name, one = f"{gas}_layer_vmr", layer_of(ds, gas)
    value, unknown = _along(one, name, 1), np.full(1, np.nan)
    values = (value, *_errors(one, name, 1), np.ones(1), unknown)
    return _single(one, grid, choice, name, values, f"{gas}_layer_detected", keep=True)


def _single(
    ds: xr.Dataset,
    grid: Grid,
    choice: Choice,
    name: str,
    values: tuple[Floats, ...],
    detected: str,
    keep: npt.NDArray[np.bool_] | bool,
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    """Make a sample of each value: of values, errors, response and a priori by row."""
    relative = np.ones(values[0].size)
    if choice.proportional_errors:
        relative = _relative(ds, name, values[0], relative)
    rows, _, lost = _counting(ds, grid, values, choice, relative, detected, keep=keep)
    return single_samples(rows, choice.sigma_level), lost


_PLACES = (
    "latitude",
    "longitude",
    "solar_longitude",
    "local_true_solar_time",
    "mars_year",
)


def _where(ds: xr.Dataset, keep: npt.NDArray[np.bool_]) -> dict[str, Floats]:
    """Places and local times of the levels or spectra that count; NaN where unknown."""
    return {
        name.replace("true_solar_", ""): possible(
            name, _there(ds, name, keep.size)[keep]
        )
        for name in _PLACES[:4]
    }


def _errors(ds: xr.Dataset, name: str, size: int) -> tuple[Floats, Floats, Floats]:
    """Errors by noise, by smoothing (NaN: not given), and all the rest of the total.

    Where level 2 has only a total, such as a profile of someone else, that is taken for
    noise.
    """
    total = _along(ds, f"{name}_error", size)
    if f"{name}_noise_error" not in ds.variables:
        return total, np.full(size, np.nan), np.zeros(size)
    noise = _along(ds, f"{name}_noise_error", size)
    smoothing = np.full(size, np.nan)
    if f"{name}_smoothing_error" in ds.variables:
        smoothing = _along(ds, f"{name}_smoothing_error", size)
    rest = total**2 - noise**2 - np.nan_to_num(smoothing) ** 2
    rest = np.where(rest > _ROUNDING * total**2, rest, 0.0)
    return noise, smoothing, np.sqrt(rest)


def _response(kernel: npt.NDArray[Any], value: Floats, *, log: bool) -> Floats:
    """Change of each level by a change of the whole profile, shape (level,).

    Of a profile fitted as a logarithm both changes are relative.
    """
    kernel = np.asarray(kernel, dtype=np.float64)
    if not log or kernel.shape[1] != value.size:
        return np.asarray(kernel.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(kernel @ value / value)


def _relative(ds: xr.Dataset, name: str, value: Floats, xa: Floats) -> Floats:
    """Factor that turns errors in proportion to a value into those at its a priori.

    Weights from errors that follow the value draw a mean down, since low values count
    more. At the a priori, the same for all, they do not.
    """
    bad = np.isfinite(value) & ~(value > 0.0)
    if bad.any():
        message = "errors in proportion to the value need values above zero"
        raise TgoError(
            message, path=ds.attrs.get("product_lid"), field=name,
            value=float(value[bad][0]), rule="map.proportional",
        )  # fmt: skip
    with np.errstate(invalid="ignore"):
        return np.asarray(xa / value)


def _counting(
    ds: xr.Dataset,
    grid: Grid,
    numbers: tuple[Floats, ...],
    choice: Choice,
    relative: Floats,
    detected: str,
    *,
    keep: npt.NDArray[np.bool_] | bool,
) -> tuple[Values, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Give the values that count, which these are, and which have no possible place.

    `numbers`: value, errors by noise, smoothing and all else, response, a priori;
    `relative` from `_relative`.
    """
    value, noise, smoothing, systematic, response, xa = numbers
    # what the a priori holds back, by the value itself: (truth - value) if the truth
    # differs from the a priori by the same amount wherever the kernel looks
    with np.errstate(divide="ignore", invalid="ignore"):
        missing = (1.0 / response - 1.0) * (value - xa)
    known = np.isfinite(xa) | np.isfinite(smoothing)
    known |= np.abs(response - 1.0) <= _AS_GOOD_AS_ONE
    keep = keep & np.isfinite(value) & np.isfinite(noise) & (noise > 0) & known
    keep &= (relative > 0.0) & (response >= choice.minimum_response)
    cell, lost = _cells(ds, grid, keep)
    keep = keep & (cell >= 0)
    counted = Values(
        cell[keep],
        np.full(int(keep.sum()), np.nan),
        value[keep],
        noise[keep],
        (noise * relative / np.minimum(response, 1.0))[keep],
        np.nan_to_num(smoothing[keep]),
        systematic[keep],
        response[keep],
        np.nan_to_num(missing[keep]),
        _flag(ds, detected, value.size)[keep],
        **_where(ds, keep),
    )
    return counted, keep, lost


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
    values = np.asarray(ds.variables[variable].values, dtype=np.float64)
    return np.broadcast_to(values, (size,))


def _there(ds: xr.Dataset, variable: str, size: int) -> Floats:
    """Values of a variable for each level or spectrum; NaN without it."""
    if variable not in ds.variables:
        return np.full(size, np.nan)
    return _along(ds, variable, size)


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
