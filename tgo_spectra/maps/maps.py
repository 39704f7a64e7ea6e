"""Maps: level-2 profiles and columns summed into cells, and what follows from them.

A map stores sums (number, weights, weighted values and squares), so that maps of two
workers, years or instruments merge by addition, in any order. Mean, standard errors
and limits are derived at the end, and derived again after a merge.

Values keep their sign: a gas below detection scatters about zero, and dropping or
clipping the negative half biases the mean by more than the signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import (
    BETWEEN,
    KEY,
    Inputs,
    Part,
    profiles,
    warn_of_places,
)
from tgo_spectra.files.observations import is_simulated
from tgo_spectra.maps.choices import Choice, check_choices
from tgo_spectra.maps.dataset import map_dataset
from tgo_spectra.maps.samples import (
    CHI_SQUARE,
    FIELDS,
    VERTICAL,
    column_samples,
    fields_of,
    has_kernel,
    impossible_places,
    judged,
    layer_of,
    layer_samples,
    needed,
    profile_samples,
)
from tgo_spectra.maps.sums import CellSums, joined, summed
from tgo_spectra.quality import REASONS
from tgo_spectra.variables import GASES, attributes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tgo_spectra.files.level2 import Level2Input
    from tgo_spectra.maps.choices import WithoutKernel
    from tgo_spectra.maps.grid import Grid
    from tgo_spectra.maps.samples import Judged
    from tgo_spectra.maps.sums import Samples

__all__ = [
    "NUMBERS",
    "OF_REASON",
    "SummedMap",
    "grid_level2",
    "inherited_names",
    "input_keys",
    "left_out",
    "summed_level2",
]

Weights = Literal["by_gas", "random_effects", "inverse_variance", "uniform"]

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
    "mars_years",
)
NUMBERS = (
    "n_profiles",
    "n_spectra",
    "n_profiles_left_out",
    "n_spectra_left_out",
    "n_products_of_unknown_quality",
    "n_profiles_without_kernel",
    "n_simulated",
)
"""Attributes that add up."""
OF_REASON = "n_left_out_"
"""Start of attributes that add up; the name of the reason follows."""
_INHERITED_OF_GAS = (
    "broadening",
    "edition",
    "citation",
    "lines",
    "lines_sha256",
    "layer_km",
)
_INHERITED_OF_RATIO = ("setup", "setup_hash", "table_sha256", "interferents_absent")
_ALL_INHERITED = (
    *_INHERITED,
    *(f"{gas}_{key}" for gas in GASES for key in _INHERITED_OF_GAS),
    *(f"{gas}_{key}" for gas in ("hdo", "h2o") for key in _INHERITED_OF_RATIO),
)


def grid_level2(
    level2: Level2Input,
    grid: Grid,
    *,
    gases: Sequence[str] | None = None,
    weights: Weights = "by_gas",
    sigma_level: float = 2.0,
    minimum_response: float = 0.5,
    vertical_correlation_km: float | Literal["covariance"] | None = None,
    quality: Literal["good", "all"] = "good",
    maximum_chi_square: float | None = 10.0,
    without_kernel: WithoutKernel = "refuse",
    proportional_errors: bool | None = None,
    form: Literal["dense", "sparse"] | None = None,
    allow_empty: bool = False,
) -> xr.Dataset:
    """Sum level 2 into the cells of a grid and derive means, errors and limits.

    One sample is one profile in one cell: the levels of a profile that fall into
    the same cell are averaged first (inverse variance), so that dense sampling does
    not count as independent information. Of nadir columns, ``<gas>_column`` and
    ``<gas>_column_normalised``, one sample is one spectrum at its own latitude,
    longitude, solar longitude and local time; they have no altitude, and a grid with
    a vertical axis leaves them out. So it does with ``<gas>_layer``, the one mole
    fraction of level 2 for a whole layer: one sample a profile, where its middle is.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        Level 2. Files are verified and opened one at a time; of a folder, every
        level-2 ``.nc`` file in it and below.
    grid : Grid
        The cells.
    gases : sequence of str, optional
        Gases to map, and ``deuterium_ratio``. Default: every gas that has a profile or
        a column, and the ratio where it was divided.
    weights : {"by_gas", "random_effects", "inverse_variance", "uniform"}, optional
        Weight of a sample. Inverse variance is best when noise makes the scatter;
        uniform when nature does; random effects go from the one to the other by the
        spread that the samples of each cell have beyond their noise. Default by gas:
        random effects for H2O, CO, O3, HCl, HDO and D/H, inverse variance for the rest;
        but uniform where the errors follow the values, which would draw the mean to
        one side. The attribute ``weights`` of each mean says which.
    sigma_level : float, optional
        Multiple k of the standard error in limits. Default 2. ``standard_error``
        times k covers as k standard deviations of the normal law do.
    minimum_response : float, optional
        Levels count where their response to the truth, the row sum of the averaging
        kernel, is at least this, columns where their degrees of freedom are. Default
        0.5: more measured than a priori.
    vertical_correlation_km : float or "covariance", optional
        Length of the exponential correlation of the noise between levels of one
        profile, km, when they are averaged in a cell; 0 for independent noise;
        "covariance" for ``<gas>_vmr_noise_covariance``. Default: fully correlated, the
        cautious choice (averaging inside a profile then does not reduce the error).
    quality : {"good", "all"}, optional
        "good", the default: leave out profiles and spectra whose ``quality_flag`` has a
        severe reason (`tgo_spectra.quality.REASONS`). Of level 2 without that variable
        the quality is not known: what did not converge is left out, the rest is taken
        and counted. "all": take every result.
    maximum_chi_square : float or None, optional
        Leave out profiles, and spectra of columns, with a higher reduced chi-square,
        flagged or not (not with ``quality="all"``). Default 10: nothing above is a fit.
        None: no limit.
    without_kernel : {"refuse", "leave_out", "prior_free"}, optional
        What to do with level 2 without averaging kernels, such as profiles of someone
        else: nothing tells where it only repeats its a priori. "refuse", the default,
        is an error; "leave_out" counts them; "prior_free" says that they hold none.
    proportional_errors : bool, optional
        Whether errors are a part of the value: then weights are made of the relative
        errors. Default: where level 2 was fitted as a logarithm.
    form : {"dense", "sparse"}, optional
        "sparse": one dimension ``cell``, of the cells that hold something; see
        :func:`tgo_spectra.maps.dense`. Default: dense up to a million cells.
    allow_empty : bool, optional
        Give a map of nothing, with its counts, where nothing is left to map. Default:
        that is an error.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of the grid, for each gas: ``<gas>_mean`` (sign kept),
        ``<gas>_standard_error`` (of all that is known: the one that covers),
        ``<gas>_systematic_error`` and ``<gas>_smoothing_error`` (its parts that do not
        fall with the number), ``<gas>_upper_limit``, ``<gas>_best_upper_limit`` (lowest
        limit of a single profile), ``<gas>_count``, ``<gas>_apriori_share``;
        ``<gas>_standard_error_formal`` (from the noise), ``_standard_error_scatter``
        (from the scatter, two samples or more), ``_reduced_chi_square``,
        ``_effective_number``, ``_mean_latitude``, ``_mean_longitude``,
        ``_mean_solar_longitude``, ``_mean_local_time``, ``_local_time_min`` and
        ``_max``; ``<gas>_detected_count`` and the sums that they come from. Cells
        without samples hold NaN. Of columns the same, named ``<gas>_column_...`` and
        ``<gas>_column_normalised_...`` (cm-2; their weights are pure numbers, the
        variance taken in cm-4).

    Raises
    ------
    TgoError
        Nothing to map, columns alone on a grid with a vertical axis, an unknown gas or
        choice, a variable the grid needs is missing, no averaging kernel, or one
        observation is given twice for the same quantity (``map.*``).
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

    Noise alone makes the weights. The systematic error, all of the total error of level
    2 that is neither noise nor smoothing, is taken as common to all profiles, and so is
    the smoothing error, or what the a priori held back by the values themselves if that
    is more. The limit is the highest of the mean, the mean without its a priori and
    zero, plus k errors, of which the random part is never below that of the noise: so
    it is not below what the cell could have seen. A mean of limits would not fall with
    the number of profiles. Of a single profile in a cell the scatter of nature is not
    known: its standard error is that of the profile.

    References
    ----------
    Montmessin et al. (2021), A&A 650, A140, for the lowest limit of single profiles.
    DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177, eq. 8,
    doi:10.1016/0197-2456(86)90046-2, for the spread of nature.
    Hartung and Knapp (2001), Statistics in Medicine 20, 1771, doi:10.1002/sim.791, for
    the error from the scatter of few samples.

    Examples
    --------
    >>> import xarray as xr
    >>> from tgo_spectra import Grid, grid_level2
    >>> profile = xr.Dataset(
    ...     {"ch4_vmr": ("altitude", [1e-11, -3e-11]),
    ...      "ch4_vmr_error": ("altitude", [2e-11, 2e-11]),
    ...      "latitude": ("altitude", [61.0, 62.0])},
    ...     {"altitude": [10.0, 11.0]})
    >>> grid = Grid(latitude=[-90, 0, 90])
    >>> maps = grid_level2(profile, grid, without_kernel="prior_free")
    >>> maps["ch4_mean"].values
    array([   nan, -1.e-11])
    >>> maps["ch4_standard_error"].values.round(15)
    array([  nan, 2.e-11])
    """
    found = summed_level2(
        level2, grid, gases=gases, weights=weights, sigma_level=sigma_level,
        minimum_response=minimum_response,
        vertical_correlation_km=vertical_correlation_km, quality=quality,
        maximum_chi_square=maximum_chi_square, without_kernel=without_kernel,
        proportional_errors=proportional_errors, form=form, allow_empty=allow_empty,
    )  # fmt: skip
    warn_of_places(found.attrs)
    made = map_dataset(found.fields, found.axes, found.attrs, form)
    return made.assign({KEY: input_keys(found.keys)})


class SummedMap(NamedTuple):
    """Sums of a map by quantity, edges of its axes, what it says, and its inputs."""

    fields: dict[str, CellSums]
    axes: dict[str, npt.NDArray[np.float64]]
    attrs: dict[str, Any]
    keys: npt.NDArray[np.int64]


def summed_level2(
    level2: Level2Input,
    grid: Grid,
    *,
    gases: Sequence[str] | None,
    weights: Weights,
    sigma_level: float,
    minimum_response: float,
    vertical_correlation_km: float | Literal["covariance"] | None,
    quality: Literal["good", "all"],
    maximum_chi_square: float | None,
    without_kernel: WithoutKernel,
    proportional_errors: bool | None,
    form: str | None,
    allow_empty: bool,
) -> SummedMap:
    """Sum level 2 as `grid_level2` does, without what follows from the sums."""
    choice = Choice(
        sigma_level,
        minimum_response,
        vertical_correlation_km,
        without_kernel,
        proportional_errors,
    )
    check_choices(choice, weights, quality, gases, form)
    found = _Summing(grid, choice)
    flat = not set(VERTICAL) & set(grid.dims)
    part = Part(needed(gases, grid, choice), frozenset(_ALL_INHERITED))
    for ds in profiles(level2, part=part):
        fields = fields_of(ds, gases, layers=flat)
        found.add(
            ds, fields, judged(
                ds, fields, everything=quality == "all",
                maximum_chi_square=maximum_chi_square,
            ),
        )  # fmt: skip
    sums = found.sums()
    if not allow_empty:
        _check_found(sums, found, gases)
    for gas in gases or ():
        if not any(f"{gas}{ending}" in sums for ending in FIELDS):
            sums[gas] = CellSums.empty()
    attrs = {
        "weights": weights,
        "sigma_level": float(sigma_level),
        "minimum_response": float(minimum_response),
        "vertical_correlation_km": _text(vertical_correlation_km, "full"),
        "quality": quality,
        "maximum_chi_square": _text(maximum_chi_square, "none"),
        "without_kernel": without_kernel,
        "proportional_errors": _text(proportional_errors, "by level 2"),
        **found.number,
        **{k: BETWEEN.join(sorted(values)) for k, values in found.inherited.items()},
        **found.inputs.attributes(),
    }
    return SummedMap(sums, grid.cells, attrs, found.inputs.keys())


class _Summing:
    """Sums of a map while level 2 comes in, and what is to be said of it."""

    def __init__(self, grid: Grid, choice: Choice) -> None:
        self._grid, self._choice = grid, choice
        self._flat = not set(VERTICAL) & set(grid.dims)
        self._waiting: dict[str, list[Samples]] = {}
        self._n_waiting: dict[str, int] = {}
        self._sums: dict[str, list[CellSums]] = {}
        self.without_height: set[str] = set()
        self.inherited: dict[str, set[str]] = {}
        self.inputs = Inputs()
        self.number = dict.fromkeys(NUMBERS, 0)

    def add(self, ds: xr.Dataset, fields: Mapping[str, str], found: Judged) -> None:
        """Add level 2 of a product."""
        self.inputs.add(ds, fields)
        self.number["n_products_of_unknown_quality"] += not found.known
        for reason, n in found.reasons.items():
            name = f"{OF_REASON}{reason}"
            self.number[name] = self.number.get(name, 0) + n
        if found.keep is False:
            self.number["n_profiles_left_out"] += 1
            return
        self.number["n_profiles"] += 1
        self.number["n_spectra_left_out"] += found.n_spectra
        self.number["n_simulated"] += is_simulated(ds)
        for key in inherited_names(ds.attrs):
            self.inherited.setdefault(key, set()).add(str(ds.attrs[key]))
        if "mars_year" in ds.variables:
            years = {str(year) for year in np.unique(ds["mars_year"].values)}
            self.inherited.setdefault("mars_years", set()).update(years)
        bare = {
            field for field, gas in fields.items() if not has_kernel(ds, field, gas)
        }
        self.number["n_profiles_without_kernel"] += bool(bare)
        for field, gas in fields.items():
            if field in bare and not self._taken(ds, field):
                continue
            if field != gas and not self._flat:
                self.without_height.add(field)
                continue
            self._add_field(ds, field, gas, found)

    def _taken(self, ds: xr.Dataset, field: str) -> bool:
        """Whether a quantity without averaging kernel is to be mapped."""
        if self._choice.without_kernel == "refuse":
            message = (
                "level 2 has no averaging kernel, so that nothing tells what is a "
                "priori: say without_kernel='prior_free' or 'leave_out'"
            )
            where = ds.encoding.get("source") or ds.attrs.get("product_lid")
            raise TgoError(message, path=where, field=field, rule="map.kernel")
        return self._choice.without_kernel == "prior_free"

    def _add_field(self, ds: xr.Dataset, field: str, gas: str, found: Judged) -> None:
        if field == gas:
            samples, lost = profile_samples(ds, gas, self._grid, self._choice)
        elif field == f"{gas}_layer":
            samples, lost = layer_samples(ds, gas, self._grid, self._choice)
            layer_km = ds.variables[f"{field}_vmr"].attrs["layer_km"]
            self.inherited.setdefault(f"{field}_km", set()).add(str(layer_km))
        else:
            samples, lost = column_samples(
                ds, field, gas, self._grid, self._choice, found.keep
            )
            if field == f"{gas}_column":
                self.number["n_spectra"] += samples.cell.size
        if lost.any():
            there = layer_of(ds, gas) if field == f"{gas}_layer" else ds
            reasons = impossible_places(there, self._grid, lost)
            self.inputs.leave_out(ds, reasons, int(lost.sum()))
        self._waiting.setdefault(field, []).append(samples)
        n = self._n_waiting.get(field, 0) + samples.cell.size
        self._n_waiting[field] = n
        # as many as half the cells so far: adding sums then costs little of the whole
        rows = sum(part.cell.size for part in self._sums.get(field, ()))
        if n > max(_TOGETHER, rows // 2):
            self._sum(field)

    def _sum(self, field: str) -> None:
        """Sum what waits, so that memory holds the cells and not all samples."""
        sums = self._sums.setdefault(field, [])
        sums.append(summed(self._waiting.pop(field, [])))
        self._n_waiting[field] = 0
        if len(sums) > 1:
            self._sums[field] = [joined(sums)]

    def sums(self) -> dict[str, CellSums]:
        """Return the sums of each quantity."""
        for field in list(self._waiting):
            self._sum(field)
        return {field: sums[0] for field, sums in self._sums.items()}


_TOGETHER = 500_000
"""Least samples that are summed at once: 70 MB."""


def _check_found(
    sums: Mapping[str, CellSums], found: _Summing, gases: Sequence[str] | None
) -> None:
    if sums:
        return
    if found.without_height:
        message = "columns have no altitude: leave the vertical axis out of the grid"
        raise TgoError(
            message, value=sorted(found.without_height), rule="map.columns",
        )  # fmt: skip
    if not gases:
        message = "no profile to map, and no gases named"
        value = (
            f"{found.number['n_profiles_left_out']} left out for their quality, "
            f"{found.number['n_profiles_without_kernel']} without averaging kernel"
        )
        raise TgoError(message, value=value, rule="map.empty")


def _text(choice: Any, otherwise: str) -> Any:
    """Return a choice as an attribute can hold it."""
    if choice is None:
        return otherwise
    return str(choice).lower() if isinstance(choice, bool) else choice


def input_keys(values: npt.NDArray[np.int64]) -> xr.Variable:
    """Give the variable of a map that knows its inputs, shape (input,)."""
    return xr.Variable("input", values, attributes_of(KEY, values.dtype))


def inherited_names(attrs: Mapping[Any, Any]) -> list[str]:
    """Names of attributes that a map repeats."""
    return [key for key in _ALL_INHERITED if key in attrs]


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
        f"{attrs[key]} {name}"
        for name in (*(reason.name for reason in REASONS), CHI_SQUARE)
        if attrs.get(key := f"{OF_REASON}{name}")
    ]
    unknown = attrs.get("n_products_of_unknown_quality")
    rest = f", {unknown} of unknown quality" if unknown else ""
    return f"{text} ({', '.join(why)}){rest}" if why else f"{text}{rest}"
