"""Maps: level-2 profiles and columns summed into cells, and what follows from them.

A map stores sums (number, weights, weighted values and squares), so that maps of two
workers, years or instruments merge by addition, in any order. Mean, standard errors
and limits are derived at the end, and derived again after a merge.

Values keep their sign: a gas below detection scatters about zero, and dropping or
clipping the negative half biases the mean by more than the signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import BETWEEN, KEY, Inputs, merged_inputs, profiles
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.files.observations import place_of
from tgo_spectra.maps.grid import Grid, coordinate
from tgo_spectra.maps.samples import (
    FIELDS,
    VERTICAL,
    column_samples,
    fields_of,
    impossible_places,
    judged,
    profile_samples,
)
from tgo_spectra.maps.sums import (
    HIGHEST,
    LOWEST,
    SUMS,
    Weights,
    add_samples,
    new_sums,
    statistics,
)
from tgo_spectra.quality import REASONS
from tgo_spectra.variables import GASES, attributes_of, lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tgo_spectra.files.level2 import Level2Input

__all__ = ["Grid", "grid_level2", "left_out", "merge_maps"]

Floats = npt.NDArray[np.float64]

# choices that two maps must share to be merged
_CHOICES = (
    "weights",
    "error_used",
    "sigma_level",
    "minimum_averaging_kernel",
    "vertical_correlation_km",
    "quality",
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
_NUMBERS = (
    "n_profiles",
    "n_spectra",
    "n_profiles_left_out",
    "n_spectra_left_out",
    "n_products_of_unknown_quality",
)
_OF_REASON = "n_left_out_"  # and the name of the reason
_INHERITED_OF_GAS = ("broadening", "edition", "citation", "lines", "lines_sha256")


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
    quality: Literal["good", "all"] = "good",
) -> xr.Dataset:
    """Sum level 2 into the cells of a grid and derive means and limits.

    One sample is one profile in one cell: the levels of a profile that fall into
    the same cell are averaged first (inverse variance), so that dense sampling does
    not count as independent information. Of nadir columns, ``<gas>_column`` and
    ``<gas>_column_normalised``, one sample is one spectrum at its own latitude,
    longitude, solar longitude and local time; they have no altitude, and a grid with
    a vertical axis leaves them out.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        Level 2. Files are verified and opened one at a time; of a folder, every
        level-2 ``.nc`` file in it and below.
    grid : Grid
        The cells.
    gases : sequence of str, optional
        Gases to map. Default: every gas that has a profile or a column.
    weights : {"inverse_variance", "uniform"}, optional
        Weight of a sample. Inverse variance is best when the errors make the
        scatter; uniform when nature does. Default inverse variance.
    error : {"total", "noise"}, optional
        ``<gas>_vmr_error`` or ``<gas>_vmr_noise_error``, and the same of columns.
        Default the total error, so that a profile which follows its prior is not taken
        for a precise one.
    sigma_level : float, optional
        Multiple k of the standard error in limits. Default 2.
    minimum_averaging_kernel : float, optional
        Levels count where the averaging-kernel diagonal is larger, columns where
        their degrees of freedom are. Default 0.1.
    vertical_correlation_km : float or "covariance", optional
        Length of the exponential correlation of errors between levels of one
        profile, km, when they are averaged in a cell; 0 for independent errors;
        "covariance" for ``<gas>_vmr_noise_covariance`` (with ``error="noise"``).
        Default: fully correlated, the cautious choice (averaging inside a profile
        then does not reduce the error).
    quality : {"good", "all"}, optional
        "good", the default: leave out profiles and spectra whose ``quality_flag`` has a
        severe reason (`tgo_spectra.quality.REASONS`). Of level 2 without that variable
        the quality is not known: what did not converge is left out, the rest is taken
        and counted. "all": take every result.

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
        ``<gas>_local_time_min`` and ``_max``. Cells without samples hold NaN. Of
        columns the same, named ``<gas>_column_...`` and ``<gas>_column_normalised_...``
        (cm-2; their weights are pure numbers, the variance taken in cm-4).

    Raises
    ------
    TgoError
        Nothing to map, columns alone on a grid with a vertical axis, an unknown gas or
        choice, a variable the grid needs is missing, or one observation is given
        twice for the same quantity (``map.*``).
    OutputError
        A file fails its verification.

    Warns
    -----
    TgoWarning
        A place on an axis of the grid is missing or impossible (NaN, a fill value,
        latitude 95): the level or spectrum is left out, counted and named.

    Notes
    -----
    An observation is known by the LID and version of its product and the hash of its
    setup. Attributes say what went in: ``input_products`` (LID, version, MD5 of the
    product and tracking id of the level-2 file, up to 1000 of them),
    ``products_without_place`` (left out in part or whole, with the impossible value),
    ``products_in_several_forms`` (one product by several versions or setups: counted
    as several). ``input_key`` is a number for each observation of each quantity, by
    which :func:`merge_maps` finds what two maps share.

    What `quality` leaves out is counted in ``n_profiles_left_out`` and
    ``n_spectra_left_out``, and by reason in ``n_left_out_poor_fit`` and so on (one may
    have several); ``n_products_of_unknown_quality`` are taken on trust.

    Every profile holds a fixed a priori; where the averaging kernel is small the
    mean tends to it. The formal error contains no spread of nature, the one from
    the scatter does. Limits are made from the signed mean: a mean of limits would
    not fall with the number of profiles. Spectra of one nadir product share the
    atmosphere that was given: the formal error of their mean takes them for
    independent and is too small by what they share.

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
    _check_choices(weights, error, quality, gases, sigma_level, vertical_correlation_km)
    size = int(np.prod(grid.shape, dtype=np.int64))
    sums: dict[str, dict[str, Floats]] = {}
    inherited: dict[str, set[str]] = {}
    inputs = Inputs()
    number = dict.fromkeys(_NUMBERS, 0)
    flat = not set(VERTICAL) & set(grid.dims)
    without_height: set[str] = set()
    choice: dict[str, Any] = {
        "error": error,
        "minimum_kernel": minimum_averaging_kernel,
        "sigma_level": sigma_level,
    }
    for ds in profiles(level2):
        fields = fields_of(ds, gases, error)
        inputs.add(ds, fields)
        found = judged(ds, fields, everything=quality == "all")
        number["n_products_of_unknown_quality"] += not found.known
        for reason, n in found.reasons.items():
            name = f"{_OF_REASON}{reason}"
            number[name] = number.get(name, 0) + n
        if found.keep is False:
            number["n_profiles_left_out"] += 1
            continue
        number["n_profiles"] += 1
        number["n_spectra_left_out"] += found.n_spectra
        for key in _inherited(ds.attrs):
            inherited.setdefault(key, set()).add(str(ds.attrs[key]))
        for field, gas in fields.items():
            if field == gas:
                samples, lost = profile_samples(
                    ds, gas, grid, correlation_km=vertical_correlation_km, **choice
                )
            elif flat:
                samples, lost = column_samples(
                    ds, field, gas, grid, wanted=found.keep, **choice
                )
                if field == f"{gas}_column":
                    number["n_spectra"] += samples["cell"].size
            else:
                without_height.add(field)
                continue
            if lost.any():
                reasons = impossible_places(ds, grid, lost)
                inputs.leave_out(ds, reasons, int(lost.sum()))
            into = sums.setdefault(field, new_sums(size))
            add_samples(into, samples, weights)
    if not sums and without_height:
        message = "columns have no altitude: leave the vertical axis out of the grid"
        raise TgoError(
            message, field=" ".join(grid.dims), value=sorted(without_height),
            rule="map.columns",
        )  # fmt: skip
    for gas in gases or ():
        if not any(f"{gas}{ending}" in sums for ending in FIELDS):
            sums[gas] = new_sums(size)
    if not sums:
        message = "no profile to map, and no gases named"
        value = f"{number['n_profiles_left_out']} left out for their quality"
        raise TgoError(message, value=value, rule="map.empty")
    attrs = {
        "weights": weights,
        "error_used": error,
        "sigma_level": float(sigma_level),
        "minimum_averaging_kernel": float(minimum_averaging_kernel),
        "vertical_correlation_km": (
            "full" if vertical_correlation_km is None else vertical_correlation_km
        ),
        "quality": quality,
        **number,
        **{key: BETWEEN.join(sorted(values)) for key, values in inherited.items()},
        **inputs.attributes(),
    }
    return _derived(_as_dataset(sums, grid, attrs).assign({KEY: _keys(inputs.keys())}))


def merge_maps(maps: Iterable[xr.Dataset | str | Path]) -> xr.Dataset:
    """Merge maps of different profiles on one grid by adding their sums.

    Parameters
    ----------
    maps : iterable of Dataset or path
        Maps of :func:`grid_level2` with the same grid and choices, of different
        observations.

    Returns
    -------
    xarray.Dataset
        As :func:`grid_level2` would give from all profiles, to rounding.

    Raises
    ------
    TgoError
        No map, different grids, or different choices (``map.merge``); an observation
        is in two of the maps (``map.repeated``).

    Examples
    --------
    >>> from tgo_spectra.maps.grid import Grid
    >>> from tgo_spectra.maps.maps import grid_level2, merge_maps
    >>> empty = grid_level2([], Grid(latitude=[-90, 90]), gases=["co"])
    >>> merge_maps([empty, empty])["co_count"].values
    array([0], dtype=int32)
    """
    merged: xr.Dataset | None = None
    before = ""
    for number, item in enumerate(maps, 1):
        ds = item if isinstance(item, xr.Dataset) else open_verified(item)
        place = place_of(ds, f"map {number}")
        if merged is None:
            merged, before = ds.copy(deep=True), place
        else:
            merged = _merged(merged, ds, (before, place))
            before = f"{before}, {place}"
    if merged is None:
        message = "no map to merge"
        raise TgoError(message, rule="map.merge")
    return _derived(merged)


def left_out(level3: xr.Dataset) -> str:
    """Say what a map left out for its quality; empty where there is nothing to say.

    Examples
    --------
    >>> import xarray as xr
    >>> left_out(xr.Dataset(attrs={"n_profiles_left_out": 2, "n_left_out_poor_fit": 2}))
    ', 2 profiles left out (2 poor_fit)'
    """
    attrs = level3.attrs
    text = "".join(
        f", {attrs[key]} {what} left out"
        for what in ("profiles", "spectra")
        if attrs.get(key := f"n_{what}_left_out")
    )
    why = [
        f"{attrs[key]} {reason.name}"
        for reason in REASONS
        if attrs.get(key := f"{_OF_REASON}{reason.name}")
    ]
    unknown = attrs.get("n_products_of_unknown_quality")
    rest = f", {unknown} of unknown quality" if unknown else ""
    return f"{text} ({', '.join(why)}){rest}" if why else f"{text}{rest}"


def _keys(values: npt.NDArray[np.int64]) -> xr.Variable:
    return xr.Variable("input", values, attributes_of(KEY, values.dtype))


def _merged(left: xr.Dataset, right: xr.Dataset, places: tuple[str, str]) -> xr.Dataset:
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
    keys, inputs = merged_inputs(left, right, places)
    arrays: dict[str, xr.DataArray | xr.Variable] = {KEY: _keys(keys)}
    for field in dict.fromkeys([*_fields(left), *_fields(right)]):
        for quantity in (*SUMS, *LOWEST, *HIGHEST):
            name = f"{field}_{quantity}"
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
    attrs = {**left.attrs, **inputs}
    of_reasons = [k for k in (*left.attrs, *right.attrs) if k.startswith(_OF_REASON)]
    for key in (*_NUMBERS, *of_reasons):
        attrs[key] = int(left.attrs.get(key, 0)) + int(right.attrs.get(key, 0))
    for key in _inherited({**left.attrs, **right.attrs}):
        both_values = {
            value
            for ds in (left, right)
            for value in str(ds.attrs.get(key, "")).split(BETWEEN)
            if value
        }
        attrs[key] = BETWEEN.join(sorted(both_values))
    return xr.Dataset(arrays, coords=left.coords, attrs=attrs)


def _inherited(attrs: Mapping[Any, Any]) -> list[str]:
    """Names of attributes that a map repeats."""
    of_gases = [f"{gas}_{key}" for gas in GASES for key in _INHERITED_OF_GAS]
    return [key for key in (*_INHERITED, *of_gases) if key in attrs]


def _as_dataset(
    sums: dict[str, dict[str, Floats]], grid: Grid, attrs: dict[str, Any]
) -> xr.Dataset:
    arrays: dict[str, Any] = {}
    for field, quantities in sums.items():
        for name, flat in quantities.items():
            whole = name.endswith("count")
            values = flat.reshape(grid.shape)
            arrays[f"{field}_{name}"] = (
                grid.dims,
                values.astype(np.int32) if whole else values,
                _notes(field, name, attrs),
            )
    coords: dict[str, Any] = {}
    for axis, edges in grid.axes.items():
        coords[axis], coords[f"{axis}_bounds"] = coordinate(axis, edges)
    return xr.Dataset(arrays, coords=coords, attrs=attrs)


def _derived(ds: xr.Dataset) -> xr.Dataset:
    """Add (or renew) what follows from the sums."""
    k = float(ds.attrs["sigma_level"])
    arrays: dict[str, Any] = {}
    for field in _fields(ds):
        sums = {name: ds[f"{field}_{name}"].values for name in SUMS}
        results = statistics(sums, str(ds.attrs["weights"]), k)
        dims = ds[f"{field}_count"].dims
        for name, values in results.items():
            arrays[f"{field}_{name}"] = (dims, values, _notes(field, name, ds.attrs))
    return ds.assign(arrays)


def _fields(ds: xr.Dataset) -> list[str]:
    """Return gases and columns that a map holds."""
    names = [f"{gas}{ending}" for gas in GASES for ending in FIELDS]
    return [name for name in names if f"{name}_sum_w" in ds]


def _notes(field: str, name: str, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of one variable of a map: the catalogue's and the choices made."""
    k = f"{attrs['sigma_level']:g}"
    inverse = attrs["weights"] == "inverse_variance"
    known = lookup(f"{field}_{name}")
    assert known is not None  # every sum and result of every field is in the catalogue
    notes: dict[str, Any] = {**known.attributes()}
    if name.endswith("limit"):
        notes["sigma_level"] = float(attrs["sigma_level"])
    if name == "mean":
        notes["ancillary_variables"] = (
            f"{field}_count {field}_standard_error_formal "
            f"{field}_standard_error_scatter"
        )
    if name == "upper_limit":
        notes["comment"] = f"mean + {k} times the larger of the two standard errors"
    if name.startswith("sum_"):
        weight = "1/variance" if field in GASES else "1/variance, in cm-4"
        notes["comment"] = f"weight = {weight if inverse else 1}"
    return notes


def _check_choices(
    weights: str,
    error: str,
    quality: str,
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
    if quality not in {"good", "all"}:
        message = "quality is 'good' or 'all'"
        raise TgoError(message, value=quality, rule="map.quality")
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
