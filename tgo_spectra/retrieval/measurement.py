"""From a level-1 Dataset to arrays that a fit can trust: spectra, pixels, air.

A user may leave spectra out, and they may stand in any order. Pixels are known by their
number along the detector, corners of the field of view by their place: leaving some out
would move the others unseen, so that is refused, as are spectra that stand there twice
or are of several products. Of what is left the fit takes the rows and pixels of its
window, without those that scatter too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry, instruments
from tgo_spectra.atmosphere.reference import reference_atmosphere, warn_of_reference
from tgo_spectra.errors import RetrievalError
from tgo_spectra.mars import MEAN_RADIUS_KM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.setup import SoSetup, Window

    Array = npt.NDArray[np.floating]
    IntArray = npt.NDArray[np.intp]
    Needs = Mapping[str, tuple[str, ...]]

__all__ = [
    "Prepared",
    "given_atmosphere",
    "masked_text",
    "noisy_pixels",
    "planet_radius",
    "prepare",
    "scalar",
    "selected",
    "smooth_wavenumber",
]

_AXES = ("wavenumber", "wavelength")
_ORDER = ("spectrum", "point", "edge", "pixel")
_EDGES = 2  # start and end of an exposure
_ROUNDED_KM = 1e-3
_MARGIN = np.timedelta64(60, "s")
"""By how much spectra may lie outside the times of their label: an occultation by SO
lasts minutes, and the next is an hour away."""


def selected(level1: xr.Dataset, needs: Needs) -> xr.Dataset:
    """Return the spectra of one product as the fits need them, or refuse them.

    Parameters
    ----------
    level1 : Dataset
    needs : mapping of str to tuple of str
        Variables and their dimensions, as the row of the kind of retrieval says.

    Returns
    -------
    Dataset
        Dimensions in the order of the reader; of joined products with spectra of one
        only, what tells this one apart is an attribute again.

    Raises
    ------
    RetrievalError
        ``level1.missing_variable``, ``level1.missing_dimension``,
        ``level1.no_spectra``, ``level1.many_products``, ``level1.pixels``,
        ``level1.pixel_order``, ``level1.edges``, ``level1.points``,
        ``level1.repeated_spectra``.
    """
    level1 = _one_product(level1)
    _check_dimensions(level1, needs)
    _check_pixels(level1)
    _check_corners(level1, needs)
    _check_rows(level1)
    order = [dim for dim in _ORDER if dim in level1.dims]
    turned = any(
        [dim for dim in order if dim in variable.dims]
        != [dim for dim in variable.dims if dim in order]
        for variable in level1.variables.values()
    )
    return level1.transpose(*order, ...) if turned else level1


def _refusal(
    level1: xr.Dataset, text: str, field: str, value: object, rule: str
) -> RetrievalError:
    path = level1.attrs.get("source_file")
    return RetrievalError(
        text, path=path, field=field, value=value, rule=f"level1.{rule}"
    )


def _one_product(level1: xr.Dataset) -> xr.Dataset:
    """Give back its own attributes to what was joined by `open_products`."""
    if "product_index" not in level1.coords or "product" not in level1.dims:
        return level1
    found = np.unique(level1["product_index"].values).tolist()
    if len(found) != 1:
        text = (
            "the spectra are of several products; fit one at a time: "
            "level1.isel(spectrum=level1.product_index == 0)"
        )
        raise _refusal(level1, text, "product_index", found, "many_products")
    own = level1.isel(product=found[0])
    names = [n for n, c in level1.coords.items() if c.dims == ("product",)]
    attrs = {str(name): own[name].item() for name in names}
    return own.drop_vars([*names, "product_index"]).assign_attrs(attrs)


def _check_dimensions(level1: xr.Dataset, needs: Needs) -> None:
    for name, dims in needs.items():
        if name not in level1.variables:
            text = "level-1 Dataset lacks a variable that the fit needs"
            raise _refusal(level1, text, name, None, "missing_variable")
        for dim in dims:
            if dim not in level1[name].dims:
                text = f"the dimension {dim} is missing: lists and slices keep it"
                found = level1[name].dims
                raise _refusal(level1, text, name, found, "missing_dimension")
    if not level1.sizes["spectrum"]:
        text = "no spectrum is left"
        raise _refusal(level1, text, "spectrum", 0, "no_spectra")


def _check_pixels(level1: xr.Dataset) -> None:
    """Refuse pixels that are not those of the detector, each once."""
    channel, found = str(level1.attrs.get("channel", "")).lower(), level1.sizes["pixel"]
    wanted = level1.attrs.get("product_pixels")
    if wanted is None and channel in {"so", "lno"}:
        wanted = instruments.parameter(f"{channel}.pixels").value
    if wanted is not None and found != int(wanted):
        text = (
            f"{found} pixels in place of the {int(wanted)} of the product; pixels go "
            "by their number: leave them out by the window of the setup, or let them "
            "be NaN"
        )
        raise _refusal(level1, text, "pixel", found, "pixels")
    for name in _AXES:
        if name not in level1.variables:
            continue
        axis = np.atleast_2d(level1[name].transpose(..., "pixel").values)
        steps = np.diff(axis.astype(float), axis=1)
        known = np.isfinite(steps)
        up, down = (steps > 0) | ~known, (steps < 0) | ~known
        # frames of ACS may have either direction
        good = up.all(axis=1) | (down.all(axis=1) & (channel == "mir"))
        if not good.all():
            text = "the pixels do not stand in the order of the detector, each once"
            row = int(np.argmin(good))
            place = int(np.argmin(up[row]))
            value = axis[row, place : place + 2].tolist()
            raise _refusal(level1, text, name, value, "pixel_order")


def _check_corners(level1: xr.Dataset, needs: Needs) -> None:
    """Refuse a field of view of which some corners or one end were left out."""
    dims = {dim for needed in needs.values() for dim in needed}
    if "edge" in dims and level1.sizes["edge"] != _EDGES:
        text = "start and end of each exposure are needed"
        raise _refusal(level1, text, "edge", level1.sizes["edge"], "edges")
    if not {"tangent_altitude", "tangent_altitude_areoid"} <= needs.keys():
        return
    # the reader takes the one from the other
    centre = level1["tangent_altitude_areoid"].isel(point=0).mean("edge", skipna=False)
    apart = centre.values - level1["tangent_altitude"].values
    if (np.abs(apart[np.isfinite(apart)]) > _ROUNDED_KM).any():
        text = (
            "tangent_altitude is not that of point 0 of tangent_altitude_areoid: "
            "points or edges were left out or moved, or one was changed alone"
        )
        raise _refusal(level1, text, "tangent_altitude_areoid", None, "points")


def _check_rows(level1: xr.Dataset) -> None:
    """Refuse spectra that stand there twice, and those of another product."""
    if "time" not in level1.variables or level1["time"].dims != ("spectrum",):
        return
    time = level1["time"].values
    known = ~np.isnat(time)
    keys = [time[known].astype("datetime64[ns]").astype(np.int64)]
    for name in ("bin", "order", "tangent_altitude", "latitude", "longitude"):
        if name in level1.coords and level1[name].dims == ("spectrum",):
            values = level1[name].values[known].astype(float)
            keys.append(np.unique(values, return_inverse=True)[1].astype(np.int64))
    _, first, number = np.unique(
        np.stack(keys, axis=1), axis=0, return_index=True, return_counts=True
    )
    if (number > 1).any():
        value = str(time[known][first[np.argmax(number > 1)]])
        text = (
            f"{int((number - 1).sum())} spectra stand there more than once; each would "
            "count as a measurement of its own"
        )
        raise _refusal(level1, text, "time", value, "repeated_spectra")
    ends = [level1.attrs.get(f"{end}_date_time") for end in ("start", "stop")]
    if not known.any() or not all(isinstance(end, str) for end in ends):
        return
    start, stop = (np.datetime64(str(end).rstrip("Z"), "ns") for end in ends)
    outside = (time[known] < start - _MARGIN) | (time[known] > stop + _MARGIN)
    if outside.any():
        text = (
            "spectra lie outside the times of the product's label: they are of several "
            "products, of which only one can be fitted at a time"
        )
        value = str(time[known][np.argmax(outside)])
        raise _refusal(level1, text, "time", value, "many_products")


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


def prepare(level1: xr.Dataset, setup: SoSetup) -> Prepared:
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
        from tgo_spectra.atmosphere.files import read_atmosphere  # where one is given

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
