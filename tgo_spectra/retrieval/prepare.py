"""From a level-1 Dataset to arrays that a fit can trust: rows, pixels, wavenumbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.atmosphere.profile import read_atmosphere
from tgo_spectra.atmosphere.reference import reference_atmosphere, warn_of_reference
from tgo_spectra.errors import RetrievalError
from tgo_spectra.mars import MEAN_RADIUS_KM

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import RetrievalSetup, Window

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]

__all__ = [
    "Prepared",
    "given_atmosphere",
    "masked_text",
    "noisy_pixels",
    "planet_radius",
    "prepare",
    "scalar",
    "smooth_wavenumber",
]


@dataclass(frozen=True)
class Prepared:
    """Selected rows and pixels of one product.

    ``rows`` indexes the product's spectra; arrays on (row, pixel) hold the fitted
    pixels only. ``wavenumber_coefficients``: quadratic in pixel through the product's
    own X. ``bin``: index of each row in ``bin_numbers``, the bins that have rows;
    ``spectrum_bin``: that of all spectra, -1 where the bin has none. ``masked`` (bin,
    pixel): noisy pixels found or named.
    """

    n_spectra: int
    rows: IntArray
    pixels: IntArray
    transmittance: Array
    weight: Array
    bin: IntArray
    bin_numbers: IntArray
    spectrum_bin: IntArray
    altitude_km: Array
    boxcars_km: Array
    wavenumber_coefficients: Array
    masked: npt.NDArray[np.bool_]
    order: int
    aotf_frequency_khz: float
    temperature_c: float

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return len(self.bin_numbers)

    def wavenumber(self, pixel: Array) -> Array:
        """Wavenumber of (fractional) pixels in the product's own scale, cm-1."""
        return np.polynomial.polynomial.polyval(pixel, self.wavenumber_coefficients)

    def dispersion(self, pixel: Array) -> Array:
        """Wavenumber per pixel, cm-1."""
        derivative = np.polynomial.polynomial.polyder(self.wavenumber_coefficients)
        return np.polynomial.polynomial.polyval(pixel, derivative)


def smooth_wavenumber(wavenumber_cm1: Array) -> Array:
    """Fit a quadratic in pixel: the archive rounds X to 0.001 cm-1."""
    pixel = np.arange(wavenumber_cm1.size, dtype=float)
    good = np.isfinite(wavenumber_cm1)
    if good.sum() < 10:
        message = "the product's wavenumber column is empty"
        raise RetrievalError(message, field="wavenumber", rule="fit.no_wavenumber")
    return np.polynomial.polynomial.polyfit(pixel[good], wavenumber_cm1[good], 2)


def noisy_pixels(
    transmittance: Array,
    error: Array,
    bin_index: IntArray,
    altitude_km: Array,
    ratio: float,
    *,
    n_bins: int,
) -> npt.NDArray[np.bool_]:
    """Find pixels that scatter more than their error column says.

    Second difference in altitude per bin and pixel over its error, median over the
    row removed; a pixel whose robust width exceeds `ratio` times the median width is
    noisy. Real structure is common to the pixels of a row or smooth in altitude.

    Returns
    -------
    array of bool, shape (bin, pixel)
    """
    noisy = np.zeros((n_bins, transmittance.shape[1]), dtype=bool)
    for b in range(n_bins):
        chosen = np.flatnonzero(bin_index == b)
        if chosen.size < 12:
            continue
        chosen = chosen[np.argsort(altitude_km[chosen], kind="stable")]
        y, s = transmittance[chosen], error[chosen]
        second = y[:-2] - 2.0 * y[1:-1] + y[2:]
        second /= np.sqrt(s[:-2] ** 2 + 4.0 * s[1:-1] ** 2 + s[2:] ** 2)
        alive = np.isfinite(second).any(axis=0)
        width = np.full(y.shape[1], np.inf)
        z = second[:, alive]
        z = z[np.isfinite(z).any(axis=1)]
        z = np.ascontiguousarray((z - _medians(z)[:, None]).T)
        width[alive] = 1.4826 * _medians(np.abs(z - _medians(z)[:, None]))
        noisy[b] = width > ratio * np.median(width[alive])
    return noisy


def _medians(values: Array) -> Array:
    """Median of each row; missing values do not count."""
    if not np.isfinite(values).all():
        return np.asarray(np.nanmedian(values, axis=1))
    # two selections of numpy's median take four times as long as one
    half = values.shape[1] // 2
    parted = np.partition(values, half, axis=1)
    middle = parted[:, half]
    if values.shape[1] % 2 == 0:
        middle = 0.5 * (middle + parted[:, :half].max(axis=1))
    return np.asarray(middle)


def prepare(level1: xr.Dataset, setup: RetrievalSetup) -> Prepared:
    """Select rows and pixels, smooth X, mask noisy pixels.

    Raises
    ------
    RetrievalError
        The Dataset mixes orders, or no row is usable.
    """
    order = scalar(level1, "order")
    wavenumber = np.asarray(level1["wavenumber"].values, dtype=float)
    if wavenumber.ndim != 1:
        message = "rows differ in wavenumber: full-scans are not fitted jointly"
        raise RetrievalError(message, field="wavenumber", rule="level1.many_orders")
    window = setup.window
    y = np.asarray(level1["transmittance"].values, dtype=float)
    error = np.asarray(level1["transmittance_error"].values, dtype=float)
    altitude = np.asarray(level1["tangent_altitude"].values, dtype=float)
    last = min(window.last_pixel, y.shape[1] - 1)
    pixels = np.arange(window.first_pixel, last + 1)
    y, error = y[:, pixels], error[:, pixels]
    rows = _usable_rows(y, error, altitude, window, level1)
    of_spectra = np.asarray(level1["bin"].values)
    numbers, bins = np.unique(of_spectra[rows], return_inverse=True)
    known = np.isin(of_spectra, numbers)
    y, error, altitude = y[rows], error[rows], altitude[rows]
    masked = noisy_pixels(
        y, error, bins, altitude, window.noise_ratio, n_bins=numbers.size
    )
    masked |= np.isin(pixels, window.masked_pixels)[None, :]
    usable = np.isfinite(y) & np.isfinite(error) & (error > 0) & ~masked[bins]
    weight = np.where(usable, 1.0 / np.where(usable, error, 1.0), 0.0)
    _, boxcars = geometry.field_of_view_from_corners(
        level1["tangent_altitude_areoid"].values[rows]
    )
    return Prepared(
        n_spectra=level1.sizes["spectrum"],
        rows=rows,
        pixels=pixels,
        transmittance=np.where(usable, y, 0.0),
        weight=weight,
        bin=bins,
        bin_numbers=numbers,
        spectrum_bin=np.where(known, np.searchsorted(numbers, of_spectra), -1),
        altitude_km=altitude,
        boxcars_km=boxcars,
        wavenumber_coefficients=smooth_wavenumber(wavenumber),
        masked=masked,
        order=int(order),
        aotf_frequency_khz=scalar(level1, "aotf_frequency"),
        temperature_c=scalar(level1, "instrument_temperature"),
    )


def given_atmosphere(
    atmosphere: xr.Dataset | str | Path | None, level1: xr.Dataset
) -> xr.Dataset:
    """Read an atmosphere, or take the reference; say if its planet radius is given.

    Parameters
    ----------
    atmosphere : Dataset, str or path, optional
        As for `tgo_spectra.retrieve`.
    level1 : Dataset
        Whose season and latitude the reference has, which is said in a warning.

    Returns
    -------
    Dataset
        Attribute ``planet_radius_source`` is "default" where no radius was given.
    """
    if atmosphere is None:
        air = reference_atmosphere(level1=level1)
        warn_of_reference()
    else:
        air = read_atmosphere(atmosphere)
        if "planet_radius_km" in getattr(atmosphere, "attrs", air.attrs):
            return air
    air.attrs["planet_radius_source"] = "default"
    return air


def masked_text(masked: npt.NDArray[np.bool_], pixels: IntArray) -> str:
    """Name masked pixels (bin, pixel) as pairs 'bin:pixel'."""
    pairs = [f"{b}:{pixels[p]}" for b, p in np.argwhere(masked).tolist()]
    return " ".join(pairs) or "none"


def planet_radius(level1: xr.Dataset, atmosphere: xr.Dataset) -> tuple[float, str]:
    """Return the local planet radius in km, and where it came from."""
    given = atmosphere.attrs.get("planet_radius_km")
    if given is not None and atmosphere.attrs.get("planet_radius_source") != "default":
        return float(given), "atmosphere"
    if {"obs_altitude", "slant_path_distance"} <= set(level1.variables):
        radius = geometry.planet_radius_from_table(
            level1["obs_altitude"].mean("edge").values,
            level1["slant_path_distance"].isel(point=0).mean("edge").values,
            level1["tangent_altitude"].values,
        )
        if np.isfinite(radius):
            return float(radius), "table geometry"
    return MEAN_RADIUS_KM, "mean radius"


def scalar(level1: xr.Dataset, name: str) -> float:
    """Value of a variable that is constant within a product."""
    values = np.unique(np.asarray(level1[name].values, dtype=float))
    values = values[np.isfinite(values)]
    if values.size != 1:
        message = "one value per product is needed"
        raise RetrievalError(
            message, field=name, value=values.tolist(), rule="level1.not_constant"
        )
    return float(values[0])


def _usable_rows(
    y: Array, error: Array, altitude: Array, window: Window, level1: xr.Dataset
) -> IntArray:
    filled = np.isfinite(y) & np.isfinite(error)
    alive = filled.mean(axis=1) > 0.5
    brightness = np.zeros(y.shape[0])
    brightness[alive] = _medians(np.where(filled[alive], y[alive], np.nan))
    bottom = -np.inf if window.bottom_km is None else window.bottom_km
    good = alive & (brightness >= window.minimum_transmittance)
    good &= np.isfinite(altitude) & (altitude >= bottom) & (altitude <= window.top_km)
    # a corner without an altitude looks at the surface: part of the light is blocked
    corners = np.isfinite(level1["tangent_altitude_areoid"].values).all(axis=(1, 2))
    good &= corners
    rows = np.flatnonzero(good)
    if rows.size < 10:
        message = (
            f"{rows.size} usable spectra of {y.shape[0]}: at least 10 are needed "
            f"between {bottom} and {window.top_km} km with median transmittance >= "
            f"{window.minimum_transmittance} and no corner of the slit hidden by the "
            f"surface"
        )
        raise RetrievalError(
            message,
            path=level1.attrs.get("source_file"),
            field="transmittance",
            rule="fit.no_rows",
        )
    return rows
