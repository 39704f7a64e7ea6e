"""One profile from several orders of the same occultation, with one a priori.

Weak lines sound water low down, strong ones high up. Regularised profiles must not be
averaged, since the a priori would count once for each: what the measurements say is
taken out of each result and added, and the a priori is applied once. With S the
posterior covariance of the gas, A its averaging kernel and Sa that of the a priori,
``S = (I - A) Sa``; the measurements' part of the normal equations is
``H = S^-1 - Sa^-1`` and ``g = S^-1 (x - xa)``; the merged result solves
``(sum H + Sa^-1) (x - xa) = sum g`` (Rodgers 2000, section 4.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra.errors import RetrievalError
from tgo_spectra.files.level2 import Inputs
from tgo_spectra.files.observations import input_products, is_simulated, observations_of
from tgo_spectra.retrieval.diagnostics import gas_diagnostics
from tgo_spectra.retrieval.isotopes import MOST_SECONDS
from tgo_spectra.retrieval.profile_variables import profile_variables
from tgo_spectra.retrieval.state import exponential_covariance, profile
from tgo_spectra.variables import dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import xarray as xr

    Array = npt.NDArray[np.floating]

__all__ = ["merge_orders"]

AGREEMENT = 0.02
"""Relative departure of the stored random error from that of the a priori found."""


def merge_orders(level2: Sequence[xr.Dataset], gas: str) -> xr.Dataset:
    """Merge the profiles of a gas from several orders of one occultation.

    Parameters
    ----------
    level2 : sequence of Dataset
        Level 2 by optimal estimation (linear state) with the same a priori, on levels
        of the same step; their ranges may differ.
    gas : str

    Returns
    -------
    Dataset
        ``<gas>_vmr``, ``_apriori``, ``_noise_error``, ``_smoothing_error``, ``_error``,
        ``<gas>_averaging_kernel``, ``<gas>_vmr_noise_covariance`` and
        ``<gas>_degrees_of_freedom`` on all levels of the parts; time and place of the
        first. Attributes ``input_products`` and ``merged_products``.

    Raises
    ------
    RetrievalError
        Fewer than two parts, one observation twice (``merge.repeated``), other
        occultations (``merge.time``), levels that do not fit (``merge.levels``),
        different a priori (``merge.apriori``), or a result whose a priori covariance
        cannot be told from its attributes (``merge.prior``).

    Notes
    -----
    The parts are taken as linear about their own solutions, and errors that orders
    share (temperature, pointing) as no part of the noise.

    Examples
    --------
    >>> merge_orders([low, high], "h2o")  # doctest: +SKIP
    """
    if len(level2) < 2:
        message = "merging needs two profiles or more"
        raise RetrievalError(message, value=len(level2), rule="merge.number")
    _check_times(level2)
    inputs = Inputs(RetrievalError, "merge.repeated")
    for ds in level2:
        inputs.add(ds, [gas])
    altitude = _levels(level2)
    parts = [_part(ds, gas) for ds in level2]
    apriori = np.full(altitude.size, np.nan)
    sigma = np.full(altitude.size, np.nan)
    places = []
    for ds, (_, _, xa, own, _) in zip(level2, parts, strict=True):
        at = np.searchsorted(altitude, ds.altitude.values - 1e-6)
        known = np.isfinite(apriori[at])
        for name, old, new in (("a priori", apriori, xa), ("its sigma", sigma, own)):
            if not np.allclose(old[at][known], new[known], rtol=1e-5, atol=1e-15):
                level = altitude[at][known][np.abs(old[at] - new)[known].argmax()]
                message = f"{name} differs between the parts"
                raise RetrievalError(
                    message, field=gas, value=f"{level} km", rule="merge.apriori"
                )
            old[at] = new
        places.append(at)
    length = parts[0][4]
    # in units of sigma, for the sake of the numbers
    correlation = exponential_covariance(altitude, np.ones(altitude.size), length)
    total = np.zeros((altitude.size, altitude.size))
    right = np.zeros(altitude.size)
    for at, (x, kernel, xa, own, _) in zip(places, parts, strict=True):
        inside = np.ix_(at, at)
        scaled = kernel / own[:, None] * own[None, :]
        inverse = np.linalg.inv(correlation[inside])
        # S^-1 = Sa^-1 (I - A)^-1
        posterior = inverse @ np.linalg.inv(np.eye(at.size) - scaled)
        posterior = 0.5 * (posterior + posterior.T)
        total[inside] += posterior - inverse
        right[at] += posterior @ ((x - xa) / own)
    covariance = np.linalg.inv(total + np.linalg.inv(correlation))
    d = gas_diagnostics(total, covariance, slice(None), correlation).scaled(sigma)
    block = profile(gas, altitude, apriori, sigma, length)
    vmr = apriori + sigma * (covariance @ right)
    data: dict[str, object] = {
        **profile_variables(gas, f"{gas}_vmr", vmr, block, d),
        **{
            name: level2[0][name]
            for name in ("time", "solar_longitude", "mars_year")
            if name in level2[0]
        },
    }
    data |= {"altitude": altitude, "altitude_in": altitude}
    names = [
        str(ds.attrs.get("product_lid", ds.attrs.get("source_file", "")))
        for ds in level2
    ]
    products = input_products(one for ds in level2 for one in observations_of(ds))
    record: dict[str, object] = {
        "input_products": ", ".join(products),
        "merged_products": "; ".join(names),
        "merged_setups": "; ".join(str(ds.attrs.get("setup", "")) for ds in level2),
        "setup_hash": " ".join(str(ds.attrs.get("setup_hash", "")) for ds in level2),
    }
    if any(map(is_simulated, level2)):
        record["simulated"] = 1
    return dataset(data, record)


def _check_times(level2: Sequence[xr.Dataset]) -> None:
    if not all("time" in ds for ds in level2):
        return
    first = level2[0]["time"].values
    for ds in level2[1:]:
        apart = abs((ds["time"].values - first) / np.timedelta64(1, "s"))
        if apart > MOST_SECONDS:
            message = f"profiles lie {apart:.0f} s apart: not of one occultation"
            raise RetrievalError(
                message, field="time", value=str(ds["time"].values), rule="merge.time"
            )


def _levels(level2: Sequence[xr.Dataset]) -> Array:
    """All levels of the parts, ascending, if they are one grid."""
    altitude = np.unique(np.concatenate([ds.altitude.values for ds in level2]).round(6))
    steps = np.diff(altitude)
    if steps.size and not np.allclose(steps, steps[0], rtol=0.0, atol=1e-5):
        at = float(altitude[:-1][np.abs(steps - np.median(steps)).argmax()])
        message = "the parts' levels are not one grid"
        raise RetrievalError(message, field="altitude", value=at, rule="merge.levels")
    return np.asarray(altitude)


def _part(ds: xr.Dataset, gas: str) -> tuple[Array, Array, Array, Array, float]:
    """Profile, kernel, a priori, its sigma and correlation length of one result."""
    needed = [f"{gas}_vmr", f"{gas}_vmr_apriori", f"{gas}_averaging_kernel",
              f"{gas}_vmr_noise_error", f"{gas}_vmr_smoothing_error"]  # fmt: skip
    missing = [name for name in needed if name not in ds]
    where = ds.attrs.get("source_file")
    if missing:
        message = "a profile with kernel and smoothing error is needed"
        raise RetrievalError(
            message, path=where, field=missing[0], rule="merge.variable"
        )
    apriori = ds[f"{gas}_vmr_apriori"]
    xa = apriori.values.astype(float)
    kernel = ds[f"{gas}_averaging_kernel"].values.astype(float)
    try:
        length = float(apriori.attrs["correlation_length_km"])
        largest = float(apriori.attrs["sigma_maximum"])
    except KeyError as error:
        message = "the attribute is missing"
        raise RetrievalError(
            message, path=where, field=f"{gas}_vmr_apriori:{error.args[0]}",
            rule="merge.prior",
        ) from error  # fmt: skip
    # either one sigma for all levels or a part of the a priori, with a floor
    choices = [np.full(xa.size, largest)]
    if xa.max() > 0.0:
        choices.append(np.maximum(xa * largest / xa.max(), max(1e-3 * xa.max(), 1e-15)))
    # what the a priori determines: systematic errors are no part of it
    stored = np.hypot(
        ds[f"{gas}_vmr_noise_error"].values, ds[f"{gas}_vmr_smoothing_error"].values
    )
    for sigma in choices:
        prior = exponential_covariance(ds.altitude.values, sigma, length)
        variance = np.diag((np.eye(xa.size) - kernel) @ prior)
        if np.allclose(np.sqrt(variance.clip(0.0)), stored, rtol=AGREEMENT):
            return ds[f"{gas}_vmr"].values.astype(float), kernel, xa, sigma, length
    message = (
        "noise and smoothing error are not those of optimal estimation with an a "
        f"priori of sigma {largest:g} (absolute or relative) and the stated correlation"
        "; fits that share uncertain air and pointing cannot be merged: make them with "
        "[systematics] in_fit = false"
    )
    raise RetrievalError(
        message, path=where, field=f"{gas}_vmr_smoothing_error", rule="merge.prior"
    )
