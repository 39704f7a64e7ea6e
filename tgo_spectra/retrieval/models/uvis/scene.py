"""From a UVIS occultation to the arrays of the ozone fit: rows, rays, spectra."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tgo_spectra import geometry
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.errors import AtmosphereError, RetrievalError
from tgo_spectra.instruments import number as parameter
from tgo_spectra.instruments import uvis
from tgo_spectra.instruments.line_shape import FWHM_PER_SIGMA
from tgo_spectra.retrieval.given import stated
from tgo_spectra.retrieval.measurement import planet_radius
from tgo_spectra.retrieval.models.uvis.fit import Model
from tgo_spectra.spectroscopy.rayleigh import rayleigh_cross_section_co2
from tgo_spectra.spectroscopy.ultraviolet import ozone_cross_section

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

    from tgo_spectra.retrieval.models.uvis.setup import UvisSetup

    Array = npt.NDArray[np.floating]

__all__ = ["REFERENCE_NM", "UvisScene", "build_scene", "continuum_basis", "slant_model"]

REFERENCE_NM = 270.0
"""Wavelength to which the aerosol's extinction refers."""

_NODES = 3
"""Rays of a field of view."""
_FINE_KM = 0.25
_LONG_END_NM = 15.0
_ARCMIN = np.pi / 180.0 / 60.0  # rad
_SMOOTHING_LEVELS = 1.0
"""1 sigma of the smoothing of shapes within a field of view, in levels."""
_REACH_SIGMA = 6.0
"""Of the grid beyond the pixels; the line shape needs five."""


@dataclass(frozen=True)
class UvisScene:
    """Everything between a product and the solver.

    Attributes
    ----------
    model : Model
        For profiles; block 0 is the ozone's mole fraction, the others are Legendre
        coefficients of the aerosol's extinction in km-1.
    rows, pixels : array of int
        Fitted ones, of the product's.
    tangent_km : array, shape (row,)
    wavelength_nm : array, shape (pixel,)
    grid_nm : array, shape (wavelength,)
    level_km : array, shape (level,)
    pressure_pa, temperature_k, air_cm3, prior_vmr : array, shape (level,)
        Of the atmosphere; the last as `prior_source` says.
    air_error : array, shape (level,)
        Relative, of the air's density: the atmosphere's own or that of the setup.
    prior_source : str
        "setup", "atmosphere" or "zero".
    shift : array, shape (pixel, wavelength)
        Derivative of the convolution by the pixels' wavelength, 1/nm.
    wider : array, shape (pixel, wavelength)
        Change of the convolution by the wider line shape of the setup's systematics.
    next_shape : array, shape (wavelength,)
        Polynomial that the continuum leaves out, one degree above its own.
    ozone_slope : array, shape (wavelength,)
        Derivative of the cross section by temperature, cm2/K.
    ray_km : array, shape (row, node)
    radius_km : float
    radius_source : str
    clamped : str
        Whether cross sections were held constant, and beyond which temperature.
    air : Dataset
        Atmosphere on the points of the rays.
    """

    model: Model
    rows: npt.NDArray[np.intp]
    pixels: npt.NDArray[np.intp]
    tangent_km: Array
    wavelength_nm: Array
    grid_nm: Array
    level_km: Array
    pressure_pa: Array
    temperature_k: Array
    air_cm3: Array
    prior_vmr: Array
    air_error: Array
    prior_source: str
    shift: Array
    wider: Array
    next_shape: Array
    ozone_slope: Array
    ray_km: Array
    radius_km: float
    radius_source: str
    clamped: str
    air: xr.Dataset


def continuum_basis(
    wavelength_nm: Array, low_nm: float, high_nm: float, degree: int
) -> Array:
    """Legendre polynomials of the inverse wavelength, those above 0 zero at 270 nm.

    Parameters
    ----------
    wavelength_nm : array, shape (wavelength,)
    low_nm, high_nm : float
        Where the scaled inverse wavelength is 1 and -1.
    degree : int

    Returns
    -------
    array, shape (degree + 1, wavelength)

    Examples
    --------
    >>> basis = continuum_basis(np.array([220.0, 270.0, 340.0]), 220.0, 340.0, 1)
    >>> basis.round(2).tolist()
    [[1.0, 1.0, 1.0], [1.05, 0.0, -0.95]]
    """
    inverse = 1.0 / np.concatenate([wavelength_nm, [REFERENCE_NM]])
    u = (2.0 * inverse - 1.0 / low_nm - 1.0 / high_nm) / (1.0 / low_nm - 1.0 / high_nm)
    basis = np.polynomial.legendre.legvander(u, degree).T
    basis[1:] -= basis[1:, -1:]
    return np.asarray(basis[:, :-1])


def build_scene(
    level1: xr.Dataset,
    cross_section: xr.Dataset,
    setup: UvisSetup,
    atmosphere: xr.Dataset,
) -> UvisScene:
    """Select rows and pixels, trace rays, prepare spectra.

    Parameters
    ----------
    level1 : Dataset
        A UVIS occultation.
    cross_section : Dataset
        As `read_uv_cross_section` gives it.
    setup : UvisSetup
    atmosphere : Dataset
        As `read_atmosphere` gives it.

    Returns
    -------
    UvisScene

    Raises
    ------
    RetrievalError
        A variable is missing, wavelengths differ between rows, or too few rows or
        pixels are left.
    AtmosphereError
        The atmosphere has no carbon dioxide.
    LineListError
        The cross sections do not cover the window.
    """
    for name in ("transmittance", "transmittance_error", "wavelength"):
        if name not in level1.variables:
            message = "level-1 Dataset lacks a variable that the fit needs"
            raise RetrievalError(message, field=name, rule="level1.missing_variable")
    wavelength, pixels = _pixels(level1, setup)
    y = np.asarray(level1["transmittance"].values, float)[:, pixels]
    sigma = np.asarray(level1["transmittance_error"].values, float)[:, pixels]
    good = np.isfinite(y) & np.isfinite(sigma) & (sigma > 0.0)
    if "mask" in level1.variables:
        good &= ~np.asarray(level1["mask"].values, bool)[:, pixels]
    tangent = np.asarray(level1["tangent_altitude"].values, float)
    rows = _rows(y, good, tangent, wavelength, setup, level1)
    y, sigma, good, tangent = y[rows], sigma[rows], good[rows], tangent[rows]
    radius, radius_source = planet_radius(level1, atmosphere)
    rays, node_weight = _rays(level1, rows, tangent, setup)
    levels = _levels(rays, tangent, setup)
    width, binning = setup.instrument.fwhm_nm, _binning(level1, wavelength)
    reach = _REACH_SIGMA * width / FWHM_PER_SIGMA + 0.5 * binning
    step = setup.instrument.grid_step_nm
    grid = np.arange(wavelength.min() - reach, wavelength.max() + reach + step, step)
    wide = width * (1.0 + setup.systematics.line_width)
    seen, wider = (
        uvis.convolution(grid, wavelength, fwhm_nm=fwhm, bin_nm=binning)
        for fwhm in (width, wide)
    )
    kelvin = cross_section["temperature"].values
    table = ozone_cross_section(cross_section, grid, kelvin)["cross_section"].values
    fine = np.arange(levels[0], levels[-1] + 0.5 * _FINE_KM, _FINE_KM)
    air = on_altitudes(atmosphere, fine)
    chord = geometry.path_weights(radius + rays.ravel(), radius + fine)
    hats = _hats(fine, levels)
    number = air["number_density"].values
    shares = _hats(np.clip(air["temperature"].values, kelvin[0], kelvin[-1]), kelvin)
    used = np.flatnonzero(shares.any(axis=0))
    shape = (*rays.shape, levels.size)
    ozone = [
        (chord @ ((number * shares[:, k])[:, None] * hats)).reshape(shape) for k in used
    ]
    low, high, degree = (
        setup.window.low_nm,
        setup.window.high_nm,
        setup.continuum.degree,
    )
    *shapes, next_shape = continuum_basis(grid, low, high, degree + 1)
    continuum = np.array(shapes)
    length = (chord @ hats / geometry.CM_PER_KM).reshape(shape)
    co2 = chord @ (number * _co2(air))
    fixed = co2.reshape(rays.shape)[:, :, None] * rayleigh_cross_section_co2(grid)
    model = Model(
        spectra=np.concatenate([table[:, used].T, continuum]),
        paths=np.stack([*ozone, *[length] * (degree + 1)]),
        block=np.array([0] * used.size + list(range(1, degree + 2)), dtype=np.intp),
        fixed=fixed,
        node_weight=node_weight,
        convolution=seen.value.toarray(),
        transmittance=np.where(good, y, 0.0),
        weight=np.where(good, 1.0 / np.where(good, sigma, 1.0), 0.0),
        nuisance=np.zeros((*y.shape, 0)),
    )
    at_levels = on_altitudes(atmosphere, levels)
    prior, prior_source = _prior(at_levels, setup)
    warmth = kelvin - kelvin.mean()
    words = []
    if float(air["temperature"].min()) < kelvin[0]:
        words.append(f"below {kelvin[0]:g} K")
    if float(air["temperature"].max()) > kelvin[-1]:
        words.append(f"above {kelvin[-1]:g} K")
    return UvisScene(
        model=model,
        rows=rows,
        pixels=pixels,
        tangent_km=tangent,
        wavelength_nm=wavelength,
        grid_nm=grid,
        level_km=levels,
        pressure_pa=at_levels["pressure"].values,
        temperature_k=at_levels["temperature"].values,
        air_cm3=at_levels["number_density"].values,
        prior_vmr=prior,
        air_error=_air_error(at_levels, setup.systematics.air_density),
        prior_source=prior_source,
        shift=seen.shift.toarray(),
        wider=(wider.value - seen.value).toarray(),
        next_shape=next_shape,
        ozone_slope=table @ warmth / max(float(warmth @ warmth), 1e-9),
        ray_km=rays,
        radius_km=radius,
        radius_source=radius_source,
        clamped=" and ".join(words) or "none",
        air=air,
    )


def slant_model(scene: UvisScene, vmr: Array, extinction: Array) -> Model:
    """Return the model of single spectra: one ozone column and one continuum each.

    Parameters
    ----------
    scene : UvisScene
    vmr : array, shape (level,)
        Its shape tells how the column varies within the field of view, and with which
        temperatures it is weighted; its size does not matter.
    extinction : array, shape (level,)
        The same for the aerosol.

    Returns
    -------
    Model
        Ozone columns in cm-2, averaged over the field of view.
    """
    model = scene.model
    ozone = model.block == 0
    vmr, extinction = _smoothed(scene, vmr), _smoothed(scene, extinction)
    floor = 1e-3 * max(float(vmr.max()), 1e-30)
    along = model.paths[ozone] @ np.maximum(vmr, floor)
    mean = np.einsum("brq,q->r", along, model.node_weight)
    share = along / mean[None, :, None]
    floor = 1e-3 * max(float(extinction.max()), 1e-30)
    dim = model.paths[-1] @ np.maximum(extinction, floor)
    dim = dim / (dim @ model.node_weight)[:, None]
    continuum = np.repeat(dim[None], int((~ozone).sum()), axis=0)
    return replace(
        model,
        paths=np.concatenate([share, continuum])[..., None],
        nuisance=np.zeros((*model.transmittance.shape, 0)),
    )


def _smoothed(scene: UvisScene, profile: Array) -> Array:
    """Average over two levels or so: the noise of a profile is no shape."""
    z = scene.level_km
    width = _SMOOTHING_LEVELS * (z[1] - z[0])
    kernel = np.exp(-0.5 * ((z[:, None] - z) / width) ** 2)
    return np.asarray(kernel @ profile / kernel.sum(axis=1))


def _co2(air: xr.Dataset) -> Array:
    if "co2_vmr" not in air:
        message = "the atmosphere lacks carbon dioxide, which scatters"
        raise AtmosphereError(message, field="co2_vmr", rule="atmosphere.missing")
    return np.asarray(air["co2_vmr"].values, dtype=float)


def _prior(air: xr.Dataset, setup: UvisSetup) -> tuple[Array, str]:
    """Return the a priori mole fraction, and where it is from."""
    if setup.prior.constant is not None:
        return np.full(air.sizes["altitude"], setup.prior.constant), "setup"
    if "o3_vmr" in air:
        return np.asarray(air["o3_vmr"].values, dtype=float), "atmosphere"
    return np.zeros(air.sizes["altitude"]), "zero"


def _air_error(levels: xr.Dataset, size: float) -> Array:
    """Relative error of the density at the levels; none where its size is zero."""
    if not {"pressure_uncertainty", "temperature_uncertainty"} <= set(levels):
        return np.full(levels.sizes["altitude"], size)
    warmth = stated(levels, "temperature", size) / levels["temperature"].values
    return np.asarray(np.hypot(stated(levels, "pressure", size), warmth))


def _pixels(level1: xr.Dataset, setup: UvisSetup) -> tuple[Array, npt.NDArray[np.intp]]:
    wavelength = np.asarray(level1["wavelength"].values, dtype=float)
    if wavelength.ndim == 2:
        spread = float(np.nanmax(np.ptp(wavelength, axis=0)))
        if not spread < 0.01:
            message = "rows differ in wavelength by more than 0.01 nm"
            raise RetrievalError(
                message, field="wavelength", value=spread, rule="level1.many_scales"
            )
        wavelength = wavelength.mean(axis=0)
    window = setup.window
    inside = (wavelength >= window.low_nm) & (wavelength <= window.high_nm)
    pixels = np.flatnonzero(inside)
    need = 3 * (setup.continuum.degree + 2)
    if pixels.size < need:
        message = f"the window holds {pixels.size} pixels, {need} are needed"
        raise RetrievalError(
            message, field="wavelength", value=pixels.size, rule="fit.no_pixels"
        )
    return wavelength[pixels], pixels


def _binning(level1: xr.Dataset, wavelength: Array) -> float:
    """Width of binned pixels, nm; a spectrum of full resolution has none."""
    full = parameter("uvis.pixels")
    if level1.sizes["pixel"] >= full:
        return 0.0
    return float(np.median(np.diff(wavelength)))


def _rows(
    y: Array,
    good: npt.NDArray[np.bool_],
    tangent: Array,
    wavelength: Array,
    setup: UvisSetup,
    level1: xr.Dataset,
) -> npt.NDArray[np.intp]:
    window = setup.window
    long = wavelength > wavelength.max() - _LONG_END_NM
    enough = (good.mean(axis=1) > 0.5) & good[:, long].any(axis=1)
    bright = np.full(tangent.size, -np.inf)
    masked = np.where(good, y, np.nan)[:, long]
    bright[enough] = np.nanmedian(masked[enough], axis=1)
    chosen = enough & (bright >= window.minimum_transmittance)
    chosen &= (tangent >= window.bottom_km) & (tangent <= window.top_km)
    rows = np.flatnonzero(chosen)
    if rows.size < 10:
        message = (
            f"{rows.size} usable spectra of {y.shape[0]}: 10 are needed between "
            f"{window.bottom_km} and {window.top_km} km with a transmittance of "
            f"{window.minimum_transmittance} at the long end of the window"
        )
        raise RetrievalError(
            message,
            path=level1.attrs.get("source_file"),
            field="transmittance",
            value=int(rows.size),
            rule="fit.no_rows",
        )
    return rows


def _rays(
    level1: xr.Dataset, rows: npt.NDArray[np.intp], tangent: Array, setup: UvisSetup
) -> tuple[Array, Array]:
    """Tangent altitudes of a disc's rays, with Gauss-Chebyshev weights.

    The motion during the exposure widens the disc to the same variance.
    """
    distance = level1["slant_path_distance"].isel(point=0).mean("edge").values[rows]
    edges = level1["tangent_altitude_areoid"].isel(point=0).values[rows]
    radius = 0.5 * setup.instrument.field_of_view_arcmin * _ARCMIN * distance
    motion = np.abs(edges[:, 1] - edges[:, 0])
    radius = np.sqrt(radius**2 + motion**2 / 3.0)
    bad = ~np.isfinite(radius)
    if bad.any():
        message = "a row has a tangent altitude but no slant path"
        raise RetrievalError(
            message,
            field="slant_path_distance",
            record=int(rows[np.argmax(bad)]),
            rule="level1.missing_value",
        )
    angle = np.pi * np.arange(1, _NODES + 1) / (_NODES + 1)
    weight = np.sin(angle) ** 2
    return tangent[:, None] + radius[:, None] * np.cos(angle), weight / weight.sum()


def _levels(rays: Array, tangent: Array, setup: UvisSetup) -> Array:
    """Levels from the top down, not closer than the spectra."""
    spacing = float(np.median(np.diff(np.sort(tangent))))
    step, top = max(setup.grid.step_km, spacing), setup.grid.top_km
    count = int(np.ceil((top - float(rays.min())) / step))
    return np.asarray(top - step * np.arange(count, -1, -1.0))


def _hats(points: Array, nodes: Array) -> Array:
    """Interpolation from nodes to points, linear: shape (point, node)."""
    return np.stack([np.interp(points, nodes, unit) for unit in np.eye(nodes.size)], 1)
