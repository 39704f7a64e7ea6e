"""Profiles compared with those of others: which belong together, and how they differ.

Another's profile is first given our resolution: it is seen through our averaging kernel
and its a priori, so that what is left is no difference in smoothing (Rodgers and Connor
2003). Differences are of both signs and nothing is clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from tgo_spectra import quality
from tgo_spectra.errors import TgoError
from tgo_spectra.files.level2 import flags_or_convergence, profiles
from tgo_spectra.files.observations import is_simulated, place_of
from tgo_spectra.files.tables import table_text
from tgo_spectra.mars import MEAN_RADIUS_KM, mean_direction
from tgo_spectra.variables import attributes_of, gas_of, lookup, without_fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tgo_spectra.files.level2 import Level2Input

__all__ = ["compare", "comparison_table"]

Floats = npt.NDArray[np.float64]

_MEASURED = 0.5
"""Least row sum of an averaging kernel of a level that is compared."""


class _Profile(NamedTuple):
    """One profile: ascending levels, values, errors; kernel and a priori, or None."""

    name: str
    altitude: Floats
    value: Floats
    noise: Floats
    systematic: Floats
    kernel: Floats | None
    apriori: Floats | None
    log: bool
    place: dict[str, float]


def compare(
    level2: Level2Input,
    other: Level2Input,
    quantity: str,
    *,
    hours: float | None = 1.0,
    km: float | None = 300.0,
    solar_longitude: float | None = None,
    local_time_hours: float | None = None,
    altitude: Sequence[float] | None = None,
    kernels: bool = True,
) -> xr.Dataset:
    """Compare profiles with those of others, where the two saw the same air.

    Parameters
    ----------
    level2 : Dataset, path, folder, or iterable of these
        Our level 2. Results with a severe ``quality_flag``, or without one and not
        converged, are left out and counted.
    other : Dataset, path, folder, or iterable of these
        Profiles of others: of :func:`read_bira` or :func:`read_harp`, or level 2 of
        another setup.
    quantity : str
        What is compared: ``h2o_vmr``, ``o3_number_density``, ``temperature``.
    hours, km, solar_longitude, local_time_hours : float or None, optional
        What two profiles may be apart: in time, along the surface, in season (degree,
        of whatever year) and in local time. None: does not matter. Default one hour and
        300 km, the same occultation. Each of ours takes the nearest that meets all, in
        units of these; each of theirs is taken once.
    altitude : sequence of float, optional
        Edges of bins, km. Default: 5 km from 0 to 120 km.
    kernels : bool, optional
        Whether theirs is seen through our averaging kernel. Default yes, where level 2
        has one.

    Returns
    -------
    xarray.Dataset
        Over ``altitude``: ``<quantity>_pairs`` (how many pairs have a level in the
        bin), ``_mean_of_ours``, ``_mean_of_other``, ``_mean_difference`` (ours less
        theirs) with ``_mean_difference_error`` (from the scatter, two pairs or more)
        and ``_mean_systematic_error`` (ours, which does not fall),
        ``_median_difference``, ``_deviation`` (standard deviation of the differences)
        and ``_expected_deviation`` (by both errors), ``_difference_chi_square`` (their
        ratio squared), ``_correlation`` (over pairs). Over ``pair`` as well:
        ``<quantity>_difference``, ``hours_apart``, ``km_apart``, and names of both.
        Attributes hold the choices, and how many profiles of either side there were,
        were left out or are simulated.

    Raises
    ------
    TgoError
        Unknown quantity, no pair, a place that a rule needs is missing
        (``compare.*``).

    Notes
    -----
    Theirs is interpolated to our levels; outside its range our a priori stands in, and
    those levels are not compared, nor are levels whose response (row sum of the kernel)
    is below 0.5. Errors of theirs go through the kernel as independent ones. A pair
    counts once in a bin, with the mean of its levels there.

    References
    ----------
    Rodgers and Connor (2003), J. Geophys. Res. 108, 4116, doi:10.1029/2002JD002299.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> def profile(value):
    ...     ds = xr.Dataset(
    ...         {"h2o_vmr": ("altitude", np.full(3, value)),
    ...          "h2o_vmr_error": ("altitude", np.full(3, 4e-6)),
    ...          "latitude": 40.0, "longitude": 10.0,
    ...          "time": np.datetime64("2018-06-14T03:13", "ns")},
    ...         {"altitude": [10.0, 12.0, 14.0]})
    ...     return ds
    >>> found = compare(profile(50e-6), profile(47e-6), "h2o_vmr", altitude=[10, 15])
    >>> (1e6 * found["h2o_vmr_mean_difference"]).values.round(3)
    array([3.])
    """
    known = lookup(f"{quantity}_mean_difference")
    if known is None:
        message = "no quantity of a profile, such as h2o_vmr or temperature"
        raise TgoError(message, value=quantity, rule="compare.quantity")
    limits = {
        "hours": hours, "km": km, "solar_longitude": solar_longitude,
        "local_time_hours": local_time_hours,
    }  # fmt: skip
    for name, limit in limits.items():
        if limit is not None and not limit > 0.0:
            message = "what two may be apart is positive, or None"
            raise TgoError(message, field=name, value=limit, rule="compare.limit")
    edges = np.arange(0.0, 121.0, 5.0) if altitude is None else np.asarray(altitude, dtype=np.float64)  # noqa: E501  # fmt: skip
    if edges.ndim != 1 or edges.size < 2 or not (np.diff(edges) > 0).all():
        message = "edges of bins must ascend, two or more"
        raise TgoError(message, field="altitude", value=altitude, rule="compare.altitude")  # noqa: E501  # fmt: skip
    ours, of_ours = _read(level2, quantity)
    theirs, of_other = _read(other, quantity)
    pairs = _pairs(ours, theirs, limits)
    if not pairs:
        message = "no two profiles belong together"
        value = f"{len(ours)} of ours, {len(theirs)} of others"
        raise TgoError(message, value=value, rule="compare.no_pair")
    seen = [_difference(ours[i], theirs[j], kernels=kernels) for i, j, _ in pairs]
    in_bins = np.stack([_binned(ours[i].altitude, values, edges) for (i, _, _), values in zip(pairs, seen, strict=True)])  # noqa: E501  # fmt: skip
    attrs = {
        "quantity": quantity,
        "averaging_kernels_applied": str(kernels).lower(),
        "n_pairs": len(pairs),
        "n_profiles": len(ours),
        "n_profiles_of_other": len(theirs),
        "n_profiles_left_out": of_ours["left_out"],
        "n_profiles_of_other_left_out": of_other["left_out"],
        "n_simulated": of_ours["simulated"],
        "n_simulated_of_other": of_other["simulated"],
        **{f"maximum_{k}": "none" if v is None else v for k, v in limits.items()},
    }
    names = {
        "profile": [ours[i].name for i, _, _ in pairs],
        "other_profile": [theirs[j].name for _, j, _ in pairs],
    }
    apart = {key: [one.get(key, np.nan) for _, _, one in pairs] for key in ("hours", "km")}  # noqa: E501  # fmt: skip
    return _dataset(quantity, edges, in_bins, names, apart, attrs)


def comparison_table(found: xr.Dataset) -> str:
    """Give a comparison as a table of text, a row for each bin that has pairs.

    Parameters
    ----------
    found : Dataset
        Of :func:`tgo_spectra.compare`.

    Returns
    -------
    str
        Values separated by commas: middle of the bin (km), number of pairs, and every
        statistic in its own unit (mole fractions are plain numbers). ``#`` lines before
        say the quantity, the rules and the numbers of profiles.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> one = xr.Dataset(
    ...     {"temperature": ("altitude", [200.0]),
    ...      "temperature_error": ("altitude", [3.0])}, {"altitude": [12.0]})
    >>> both = compare(one, one, "temperature", hours=None, km=None)
    >>> comparison_table(both).splitlines()[-1][:12]
    '12.5,1,200,2'
    """
    quantity = found.attrs["quantity"]
    left = [n for n in found.attrs if n != "n_simulated"]
    by_bin = found.drop_dims("pair")
    return table_text(by_bin, left, f"{quantity}_pairs")


def _read(level2: Level2Input, quantity: str) -> tuple[list[_Profile], dict[str, int]]:
    """Profiles of a quantity; how many were left out as bad, how many are simulated."""
    found, number = list[_Profile](), {"left_out": 0, "simulated": 0}
    for place, ds in enumerate(profiles(level2), 1):
        if quantity not in ds.variables or "altitude" not in ds.dims:
            continue
        if quality.severe(quality.overall(flags_or_convergence(ds))):
            number["left_out"] += 1
            continue
        number["simulated"] += is_simulated(ds)
        found.append(_profile(ds, quantity, place))
    return found, number


def _profile(ds: xr.Dataset, quantity: str, number: int) -> _Profile:
    size = ds.sizes["altitude"]

    def along(name: str, otherwise: float = np.nan) -> Floats:
        if name not in ds.variables:
            return np.full(size, otherwise)
        return np.broadcast_to(ds[name].values.astype(np.float64), (size,))

    gas = gas_of(quantity)
    order = np.argsort(ds["altitude"].values)
    kernel_name = f"{gas[0] if gas else quantity}_averaging_kernel"
    kernel = apriori = None
    # the kernel of a gas is that of its mole fraction
    if kernel_name in ds.variables and (gas is None or gas[1] == "vmr"):
        kernel = ds[kernel_name].values.astype(np.float64)[np.ix_(order, order)]
        apriori = along(f"{quantity}_apriori")[order]
    total, noise = along(f"{quantity}_error"), along(f"{quantity}_noise_error")
    return _Profile(
        name=place_of(ds, str(ds.attrs.get("product_lid") or f"profile {number}")),
        altitude=ds["altitude"].values.astype(np.float64)[order],
        value=along(quantity)[order],
        noise=np.where(np.isfinite(noise), noise, total)[order],
        systematic=along(f"{quantity}_systematic_error", 0.0)[order],
        kernel=kernel,
        apriori=apriori,
        log=ds[quantity].attrs.get("state") == "log",
        place=_place(ds),
    )


def _place(ds: xr.Dataset) -> dict[str, float]:
    """When and where a profile was seen: means of its levels."""
    periods = {"longitude": 360.0, "local_true_solar_time": 24.0}
    periods["solar_longitude"] = 360.0
    found = {}
    for name in ("latitude", *periods):
        if name in ds.variables:
            values = np.atleast_1d(ds[name].values).astype(np.float64)
            values = values[np.isfinite(values)]
            if values.size:
                period = periods.get(name)
                found[name] = (
                    float(values.mean())
                    if period is None
                    else mean_direction(values, period)
                )
    if "time" in ds.variables and not ds["time"].ndim:
        epoch = np.datetime64("2000-01-01", "ns")
        found["time"] = float((ds["time"].values - epoch) / np.timedelta64(1, "h"))
    return found


def _pairs(
    ours: Sequence[_Profile],
    theirs: Sequence[_Profile],
    limits: dict[str, float | None],
) -> list[tuple[int, int, dict[str, float]]]:
    """Which belong together, nearest first taken; how far they are apart."""
    if not ours or not theirs:
        return []
    known: dict[str, Floats] = {}
    for rule in limits:
        needed = _NEEDED[rule]
        both = (*ours, *theirs)
        if all(name in one.place for one in both for name in needed):
            known[rule] = _apart(rule, *([
                np.array([[one.place[n] for n in needed] for one in side])
                for side in (ours, theirs)
            ]))  # fmt: skip
        elif limits[rule] is not None:
            lacking = next(o for o in both if not set(needed) <= set(o.place))
            message = f"a profile does not say its {' and '.join(needed)}"
            raise TgoError(
                message, path=lacking.name, field=rule, rule="compare.missing"
            )
    score = np.zeros((len(ours), len(theirs)))
    for rule, limit in limits.items():
        if limit is not None:
            score += np.where(known[rule] <= limit, (known[rule] / limit) ** 2, np.inf)
    found, taken = [], set[int]()
    i, j = np.nonzero(np.isfinite(score))
    mine = set[int]()
    for k in np.argsort(score[i, j], kind="stable"):
        one, two = int(i[k]), int(j[k])
        if one not in mine and two not in taken:
            mine.add(one)
            taken.add(two)
            found.append((one, two, {r: float(v[one, two]) for r, v in known.items()}))
    return sorted(found, key=lambda pair: pair[:2])


_NEEDED = {
    "hours": ("time",),
    "km": ("latitude", "longitude"),
    "solar_longitude": ("solar_longitude",),
    "local_time_hours": ("local_true_solar_time",),
}


def _apart(rule: str, ours: Floats, theirs: Floats) -> Floats:
    """How far profiles are apart, (ours, theirs)."""
    if rule == "km":
        (y, x), (v, u) = np.deg2rad(ours.T)[..., None], np.deg2rad(theirs.T)
        half = (
            np.sin((y - v) / 2) ** 2 + np.cos(y) * np.cos(v) * np.sin((x - u) / 2) ** 2
        )
        return np.asarray(2 * MEAN_RADIUS_KM * np.arcsin(np.sqrt(half.clip(0.0, 1.0))))
    apart = np.abs(ours[:, 0, None] - theirs[:, 0])
    period = {"solar_longitude": 360.0, "local_time_hours": 24.0}.get(rule)
    return apart if period is None else np.minimum(apart % period, -apart % period)


def _difference(one: _Profile, two: _Profile, *, kernels: bool) -> Floats:
    """Ours, theirs, variances of both by noise, our systematic error: (5, level)."""
    z = one.altitude
    there = np.isfinite(two.value)
    inside = np.zeros(z.size, dtype=bool)
    value, noise = np.full((2, z.size), np.nan)
    if there.any():
        levels = two.altitude[there]
        inside = (z >= levels[0] - 1e-9) & (z <= levels[-1] + 1e-9)
        value = np.interp(z, levels, two.value[there])
        noise = np.interp(z, levels, two.noise[there])
    use = inside & np.isfinite(one.value)
    if kernels and one.kernel is not None and one.apriori is not None:
        use &= one.kernel.sum(axis=1) >= _MEASURED
        value, noise = _through(one, value, noise, inside)
    parts = np.stack([one.value, value, one.noise**2, noise**2, one.systematic])
    return np.where(use, parts, np.nan)


def _through(
    one: _Profile, value: Floats, noise: Floats, inside: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """See another's profile through our kernel; outside of it stands our a priori."""
    kernel, apriori = one.kernel, one.apriori
    assert kernel is not None  # asked by the caller
    assert apriori is not None
    if one.log:
        inside = inside & (value > 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(inside, np.log(value / apriori), 0.0)
            relative = np.where(inside, noise / value, 0.0)
        seen = apriori * np.exp(kernel @ step)
        return seen, seen * np.sqrt(kernel**2 @ relative**2)
    step = np.where(inside, value - apriori, 0.0)
    spread = np.where(inside & np.isfinite(noise), noise, 0.0)
    return apriori + kernel @ step, np.sqrt(kernel**2 @ spread**2)


def _binned(z: Floats, values: Floats, edges: Floats) -> Floats:
    """Mean of the levels in each bin, (5, bin); NaN without."""
    found = np.full((values.shape[0], edges.size - 1), np.nan)
    at = np.searchsorted(edges, z, side="right") - 1
    for k in range(edges.size - 1):
        use = (at == k) & np.isfinite(values[:2]).all(axis=0)
        if use.any():
            found[:, k] = values[:, use].mean(axis=1)
    return found


def _dataset(
    quantity: str,
    edges: Floats,
    in_bins: Floats,
    names: dict[str, list[str]],
    apart: dict[str, list[float]],
    attrs: dict[str, Any],
) -> xr.Dataset:
    from scipy.special import ndtr, stdtrit

    mine, other, own, foreign, systematic = np.moveaxis(in_bins, 1, 0)
    difference = mine - other
    n = np.isfinite(difference).sum(axis=0)
    some, two = n > 0, n > 1

    def over(values: Floats) -> Floats:
        """Mean over pairs, NaN where there is none."""
        total = np.where(np.isfinite(difference), values, 0.0).sum(axis=0)
        return np.where(some, total / np.maximum(n, 1), np.nan)

    mean = over(difference)
    square = over((difference - mean) ** 2)
    expected = np.sqrt(over(own + foreign))
    deviation = np.where(two, np.sqrt(square * n / np.maximum(n - 1, 1)), np.nan)
    # as one standard error of the normal law covers
    student = stdtrit(np.maximum(n - 1.0, 1.0), ndtr(1.0))
    mine_apart, other_apart = mine - over(mine), other - over(other)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = over(mine_apart**2) * over(other_apart**2)
        correlation = np.where(two, over(mine_apart * other_apart) / np.sqrt(both), np.nan)  # noqa: E501  # fmt: skip
        chi_square = over(difference**2 / (own + foreign))
    median = np.full(n.size, np.nan)
    median[some] = np.nanmedian(difference[:, some], axis=0)
    statistics = {
        "pairs": n.astype(np.int32),
        "mean_of_ours": over(mine),
        "mean_of_other": over(other),
        "mean_difference": mean,
        "mean_difference_error": student * deviation / np.sqrt(np.maximum(n, 1)),
        "mean_systematic_error": over(systematic),
        "median_difference": median,
        "deviation": deviation,
        "expected_deviation": expected,
        "difference_chi_square": chi_square,
        "correlation": correlation,
    }
    data: dict[str, Any] = {
        f"{quantity}_{name}": ("altitude", values)
        for name, values in statistics.items()
    }
    data[f"{quantity}_difference"] = (("pair", "altitude"), difference)
    data |= {name: ("pair", np.array(texts)) for name, texts in names.items()}
    data |= {f"{name}_apart": ("pair", np.array(v)) for name, v in apart.items()}
    coords: dict[str, Any] = {
        "altitude": ("altitude", 0.5 * (edges[1:] + edges[:-1])),
        "altitude_bounds": (
            ("altitude", "bound"),
            np.stack([edges[:-1], edges[1:]], axis=1),
        ),
    }
    ds = xr.Dataset(data, coords, attrs)
    for name, variable in ds.variables.items():
        variable.attrs.update(attributes_of(str(name), variable.dtype))
    ds["altitude"].attrs["bounds"] = "altitude_bounds"
    return without_fill(ds)
