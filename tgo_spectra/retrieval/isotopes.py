"""Deuterium to hydrogen ratio of water vapour from profiles of HDO and H2O.

What the mole fractions count (see `tgo_spectra.spectroscopy.gas_info`): ``hdo_vmr``
counts molecules of the isotopologues HD16O, HD18O and HD17O, since intensities of the
line list are divided by their terrestrial abundance; ``h2o_vmr`` is water of
terrestrial composition whose H2-16O, H2-18O and H2-17O give the lines seen, 99.969 %
of it. With oxygen isotopes alike in both,

    D/H = hdo_vmr / (2 * 0.999689 * h2o_vmr),

deuterium being as rare in the water as it is that HDO's own hydrogen does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.spectroscopy import gas_info
from tgo_spectra.spectroscopy.partition import isotopologue_abundance
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = [
    "FLAGS",
    "VSMOW",
    "Profile",
    "best_water",
    "deuterium_ratio",
    "smoothed",
    "water_share",
]

VSMOW = 1.5576e-4
"""Deuterium atoms per hydrogen atom of Vienna Standard Mean Ocean Water (Hagemann,
Nief and Roth 1970, Tellus 22, 712: 155.76 +- 0.05 parts per million)."""

MOST_SECONDS = 600.0
"""Between the middles of two orders of one occultation; orbits take two hours."""

FLAGS = ("water_error", "ratio_error", "water_not_positive", "low_response")
"""Reasons for which a level is not to be used; bits 1, 2, 4, 8 of the flag."""


@dataclass(frozen=True)
class Profile:
    """One gas on the common levels.

    Attributes
    ----------
    vmr, apriori : ndarray, (level,)
        Mole fractions.
    kernel : ndarray, (level, level)
        Averaging kernel.
    noise, smoothing : ndarray, (level, level)
        Error covariances.
    """

    vmr: Array
    apriori: Array
    kernel: Array
    noise: Array
    smoothing: Array


def water_share() -> float:
    """Share of the isotopologues that ``h2o_vmr`` is measured by, in that amount.

    Examples
    --------
    >>> water_share()
    0.999689
    """
    info = gas_info("h2o")
    return sum(isotopologue_abundance(info.molecule, i) for i in info.isotopologues)


def smoothed(profile: Profile, kernel: Array) -> Profile:
    """Give a profile the resolution of another (Rodgers and Connor 2003).

    The smoothing covariance of the result is what the profile's own smoothing leaves
    of a difference between the two resolutions.

    Parameters
    ----------
    profile : Profile
        The better resolved one.
    kernel : ndarray, (level, level)
        Averaging kernel of the other.

    Returns
    -------
    Profile

    References
    ----------
    Rodgers and Connor 2003, J. Geophys. Res. 108, 4116, doi:10.1029/2002JD002299.
    """
    return Profile(
        vmr=profile.apriori + kernel @ (profile.vmr - profile.apriori),
        apriori=profile.apriori,
        kernel=kernel @ profile.kernel,
        noise=kernel @ profile.noise @ kernel.T,
        smoothing=kernel @ profile.smoothing @ kernel.T,
    )


def deuterium_ratio(
    hdo: xr.Dataset,
    h2o: xr.Dataset,
    *,
    maximum_h2o_error: float = 15e-6,
    maximum_ratio_error: float = 1.0,
    minimum_response: float = 0.5,
) -> xr.Dataset:
    """Divide a profile of HDO by one of H2O of the same occultation.

    The better resolved of the two (the one with more degrees of freedom for signal) is
    first smoothed by the averaging kernel of the other, towards its own a priori. The
    a priori profiles should have one ratio at all levels: where the data say little,
    the result tends to that ratio.

    Parameters
    ----------
    hdo : Dataset
        Level 2 with ``hdo_vmr``, from orders 119, 121 or 124, say.
    h2o : Dataset
        Level 2 with ``h2o_vmr``, from any order seen in the same occultation, such as
        134 or 169. It may be `hdo` itself.
    maximum_h2o_error : float
        Levels whose water has a larger error are flagged; default 15 ppmv.
    maximum_ratio_error : float
        Levels where the ratio has a larger error are flagged, VSMOW; default 1.
    minimum_response : float
        Row sum of the HDO's averaging kernel below which a level is flagged.

    Returns
    -------
    Dataset
        Over ``altitude``, the levels of `hdo` within the range of `h2o`:
        ``deuterium_ratio`` (in units of VSMOW); its errors by noise
        (``deuterium_ratio_noise_error``), by what is left of the difference in
        resolution (``deuterium_ratio_resolution_error``) and in total with the
        smoothing error of the less resolved gas (``deuterium_ratio_error``);
        ``deuterium_ratio_flag``, 0 where none of the reasons against a level holds;
        the two profiles as they were divided. Errors that both share, of the
        temperature or of tangent altitudes, cancel in part and are not in these.

    Raises
    ------
    RetrievalError
        A profile, its kernel or its covariance is missing, the two were not seen at
        the same time, have no levels in common, or a threshold is not positive.

    References
    ----------
    Villanueva et al. 2022, The Deuterium Isotopic Ratio of Water Released From the
    Martian Caps as Measured With TGO/NOMAD, Geophys. Res. Lett. 49 (the thresholds;
    doi:10.1029/2022GL098161 to be verified).

    Examples
    --------
    >>> deuterium_ratio(level2_121, level2_134)  # doctest: +SKIP
    """
    wishes = {
        "maximum_h2o_error": maximum_h2o_error,
        "maximum_ratio_error": maximum_ratio_error,
        "minimum_response": minimum_response,
    }
    for name, value in wishes.items():
        if not value > 0.0:
            message = f"{name} must be positive"
            raise RetrievalError(
                message, field=name, value=value, rule="isotopes.threshold"
            )
    apart = _seconds_apart(hdo, h2o)
    z = _common_levels(hdo, h2o)
    heavy, light = _on_levels(hdo, "hdo", z), _on_levels(h2o, "h2o", z)
    response = heavy.kernel.sum(axis=1)
    water_error = np.sqrt(np.diag(light.noise + light.smoothing))
    gas = "h2o" if np.trace(light.kernel) >= np.trace(heavy.kernel) else "hdo"
    if gas == "h2o":
        light = smoothed(light, heavy.kernel)
    else:
        heavy = smoothed(heavy, light.kernel)
    ratio, noise, left, total = _divided(heavy, light, gas)
    reasons = (
        ~(water_error < maximum_h2o_error),
        ~(total < maximum_ratio_error),
        ~(light.vmr > 0.0),
        ~(response >= minimum_response),
    )
    flag = sum(bad.astype(np.int8) << bit for bit, bad in enumerate(reasons))
    data = {
        "deuterium_ratio": ratio,
        "deuterium_ratio_noise_error": noise,
        "deuterium_ratio_resolution_error": left,
        "deuterium_ratio_error": total,
        "deuterium_ratio_flag": (
            np.asarray(flag, dtype=np.int8),
            {
                "flag_masks": np.array([1, 2, 4, 8], dtype=np.int8),
                "flag_meanings": " ".join(FLAGS),
            },
        ),
        "hdo_vmr": heavy.vmr,
        "hdo_vmr_noise_error": np.sqrt(np.diag(heavy.noise)),
        "h2o_vmr": light.vmr,
        "h2o_vmr_noise_error": np.sqrt(np.diag(light.noise)),
    }
    record = _record(hdo, h2o) | {
        "vsmow_deuterium_per_hydrogen": VSMOW,
        "h2o_share_of_isotopologues": water_share(),
        "smoothed_gas": gas,
        "seconds_apart": apart,
        **wishes,
    }
    result = dataset({**data, "altitude": z, **_places(hdo, z)}, record)
    result[f"{gas}_vmr"].attrs["comment"] = "at the resolution of the other gas"
    return result


def best_water(
    hdo: Sequence[xr.Dataset | None], h2o: Sequence[xr.Dataset | None]
) -> list[int | None]:
    """Find for each profile of HDO the best one of water of the same occultation.

    Parameters
    ----------
    hdo, h2o : sequence of Dataset or None
        Level 2 with ``time`` and the averaging kernel of the gas; None where a file
        has no such profile.

    Returns
    -------
    list of int or None
        For each HDO the place of the water with most degrees of freedom that was seen
        within ten minutes; None where there is none.

    Examples
    --------
    >>> best_water([None], [None])
    [None]
    """
    waters = [(k, ds) for k, ds in enumerate(h2o) if ds is not None]
    found: list[int | None] = []
    for ds in hdo:
        near = [
            (float(np.trace(water["h2o_averaging_kernel"].values)), k)
            for k, water in waters
            if ds is not None and _apart(ds, water) <= MOST_SECONDS
        ]
        found.append(max(near)[1] if near else None)
    return found


def _apart(first: xr.Dataset, second: xr.Dataset) -> float:
    """Seconds between two results."""
    seconds = (first["time"].values - second["time"].values) / np.timedelta64(1, "s")
    return float(abs(seconds))


def _divided(heavy: Profile, light: Profile, gas: str) -> tuple[Array, ...]:
    """Ratio and its errors: by noise, by the resolution left over, in total."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 / (2.0 * water_share() * VSMOW * light.vmr)
        ratio = scale * heavy.vmr
        slopes = {"hdo": np.abs(scale), "h2o": np.abs(ratio / light.vmr)}
    both = {"hdo": heavy, "h2o": light}
    noise = np.hypot(
        *(slopes[g] * np.sqrt(np.diag(p.noise).clip(0.0)) for g, p in both.items())
    )
    smoothing = {
        g: slopes[g] * np.sqrt(np.diag(p.smoothing).clip(0.0)) for g, p in both.items()
    }
    other = {"hdo": "h2o", "h2o": "hdo"}[gas]
    total = np.sqrt(noise**2 + smoothing[gas] ** 2 + smoothing[other] ** 2)
    return ratio, noise, smoothing[gas], total


def _seconds_apart(hdo: xr.Dataset, h2o: xr.Dataset) -> float:
    """Time between the two, refused when they cannot be of one occultation."""
    for gas, ds in (("hdo", hdo), ("h2o", h2o)):
        if "time" not in ds.variables:
            message = f"the {gas} Dataset has no time"
            raise RetrievalError(message, field="time", rule="isotopes.missing")
    apart = _apart(hdo, h2o)
    if not apart <= MOST_SECONDS:
        message = (
            f"the profiles were seen {apart:g} s apart, more than {MOST_SECONDS:g} s: "
            "not one occultation"
        )
        raise RetrievalError(message, field="time", value=apart, rule="isotopes.time")
    return apart


def _common_levels(hdo: xr.Dataset, h2o: xr.Dataset) -> Array:
    """Levels of the HDO within the range of the water."""
    for ds in (hdo, h2o):
        if "altitude" not in ds.variables or ds["altitude"].ndim != 1:
            message = "a Dataset has no profile levels"
            raise RetrievalError(message, field="altitude", rule="isotopes.missing")
    z, other = hdo["altitude"].values, h2o["altitude"].values
    z = z[(z >= other.min() - 1e-6) & (z <= other.max() + 1e-6)]
    if z.size < 2:
        message = "the profiles have fewer than two levels in common"
        value = (float(other.min()), float(other.max()))
        raise RetrievalError(
            message, field="altitude", value=value, rule="isotopes.no_levels"
        )
    return np.asarray(z, dtype=np.float64)


def _interpolation(levels_km: Array, knots_km: Array) -> Array:
    """Linear interpolation from knots to levels, constant beyond, (level, knot)."""
    return np.stack(
        [np.interp(levels_km, knots_km, one) for one in np.eye(knots_km.size)], axis=1
    )


def _on_levels(ds: xr.Dataset, gas: str, levels_km: Array) -> Profile:
    """Profile, kernel and covariances of a gas, brought to levels."""
    needed = ("vmr", "vmr_apriori", "averaging_kernel", "vmr_noise_covariance")
    for name in needed:
        if f"{gas}_{name}" not in ds.variables:
            message = (
                "not in the Dataset: profiles with kernel and covariance are needed"
            )
            raise RetrievalError(
                message, field=f"{gas}_{name}", rule="isotopes.missing"
            )
    knots = ds["altitude"].values.astype(np.float64)
    forth = _interpolation(levels_km, knots)
    back = _interpolation(knots, levels_km)
    value, apriori, kernel, noise = (
        ds[f"{gas}_{name}"].values.astype(np.float64) for name in needed
    )
    return Profile(
        vmr=forth @ value,
        apriori=forth @ apriori,
        kernel=forth @ kernel @ back,
        noise=forth @ noise @ forth.T,
        smoothing=forth @ _smoothing(ds, gas, knots) @ forth.T,
    )


def _smoothing(ds: xr.Dataset, gas: str, knots_km: Array) -> Array:
    """Covariance of the smoothing error.

    Level 2 holds its diagonal; levels are correlated over the length of the a priori
    (inferred: the product of kernel and prior covariance falls off about so).
    """
    name = f"{gas}_vmr_smoothing_error"
    if name not in ds.variables:  # no covariance of the truth was assumed
        return np.zeros((knots_km.size, knots_km.size))
    sigma = ds[name].values.astype(np.float64)
    length = float(ds[f"{gas}_vmr_apriori"].attrs.get("correlation_length_km", 4.0))
    apart = np.abs(knots_km[:, None] - knots_km)
    return np.asarray(sigma[:, None] * np.exp(-apart / length) * sigma)


def _places(hdo: xr.Dataset, levels_km: Array) -> dict[str, xr.Variable]:
    """Where and when, and pressure and temperature, as the HDO's Dataset has them."""
    names = ("latitude", "longitude", "local_true_solar_time", "pressure",
             "temperature", "time", "solar_longitude", "mars_year")  # fmt: skip
    chosen = np.isin(hdo["altitude"].values, levels_km)
    items = {name: hdo[name].variable for name in names if name in hdo.variables}
    return {
        name: item.isel(altitude=chosen) if "altitude" in item.dims else item
        for name, item in items.items()
    }


def _record(hdo: xr.Dataset, h2o: xr.Dataset) -> dict[str, object]:
    """Attributes that say where both profiles come from."""
    kept = ("setup", "setup_hash", "product_lid", "source_file", "table_sha256",
            "interferents_absent", "atmosphere", "software")  # fmt: skip
    return {
        f"{gas}_{key}": ds.attrs[key]
        for gas, ds in (("hdo", hdo), ("h2o", h2o))
        for key in kept
        if key in ds.attrs
    }
