"""What a nadir fit needs: layers of air, spectral model, and the rows that are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.polynomial import legendre, polynomial

from tgo_spectra import atmosphere as atmospheres
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.instruments import nadir as views
from tgo_spectra.operators import tabulated as operators
from tgo_spectra.operators.channels import lno_operator, table_cells
from tgo_spectra.retrieval.nadir.fit import (
    SEARCH_PX,
    LayeredColumn,
    NadirModel,
)
from tgo_spectra.retrieval.prepare import smooth_wavenumber

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.nadir.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = [
    "CIRCLES",
    "LAYER_EDGES_KM",
    "STATUS",
    "AirProfile",
    "grouped",
    "layers_above",
    "mean",
    "nadir_model",
    "screened",
]

LAYER_EDGES_KM = np.concatenate(
    [
        np.arange(0.0, 10.0, 0.5),
        np.arange(10.0, 30.0, 1.0),
        np.arange(30.0, 60.0, 3.0),
        np.arange(60.0, 101.0, 8.0),
    ]
)
"""Heights above the surface between which the atmosphere is averaged, km."""

STATUS = (
    "used",
    "flagged_invalid",
    "no_geometry",
    "angle_too_large",
    "too_few_pixels",
    "too_dark",
    "outside_table_or_atmosphere",
    "not_converged",
)
"""Why a spectrum has no result, by number; not converged ones have one."""

CIRCLES = {
    "longitude": 360.0,
    "solar_longitude": 360.0,
    "local_true_solar_time": 24.0,
}


def nadir_model(
    wavenumber_cm1: Array,
    *,
    order: int,
    aotf_frequency_khz: float,
    temperature_c: float,
    setup: NadirSetup,
) -> NadirModel:
    """Make what all spectra of a product share.

    Parameters
    ----------
    wavenumber_cm1 : array, shape (320,)
        Of the product.
    order : int
    aotf_frequency_khz, temperature_c : float
        kHz; degree Celsius.
    setup : NadirSetup

    Returns
    -------
    NadirModel

    Raises
    ------
    TableError, InstrumentError
        The table has not all gases, or does not cover the order.
    """
    from scipy.sparse import vstack

    from tgo_spectra.spectroscopy.tables import open_table, table_arrays

    band = table_arrays(open_table(setup.table), list(setup.gases))
    window, instrument = setup.window, setup.instrument
    pixels = np.setdiff1d(
        np.arange(window.first_pixel, window.last_pixel + 1), window.masked_pixels
    )
    # detector rows beyond the ends exist in the model only
    wide = np.arange(window.first_pixel - SEARCH_PX, window.last_pixel + SEARCH_PX + 1)
    smooth = smooth_wavenumber(wavenumber_cm1)
    built = lno_operator(
        table_cells(band),
        pixels=wide - wide[0],
        pixel_wavenumber_cm1=polynomial.polyval(wide, smooth),
        order=order,
        aotf_frequency_khz=aotf_frequency_khz,
        temperature_c=temperature_c,
        resolving_power=instrument.resolving_power,
        n_orders=instrument.n_orders,
        aotf_offset=instrument.aotf_offset_cm1,
        aotf_width_factor=instrument.aotf_width_factor,
        dtype=np.float64,
    )
    kinds = [operators.as_csr(built, k) for k in ("value", "shift", "curvature")]
    position = (pixels - 159.5) / 160.0
    sigma = [setup.relative_sigma, *setup.interferents.values(), setup.shift_sigma_px]
    return NadirModel(
        band=band,
        gases=setup.gases,
        operator=vstack(kinds).tocsr(),
        pixels=pixels,
        first_wide_pixel=int(wide[0]),
        dispersion_cm1=polynomial.polyval(pixels, polynomial.polyder(smooth)),
        baseline=legendre.legvander(position, setup.baseline_degree),
        prior_sigma=np.array(sigma),
        clip_sigma=window.clip_sigma,
        max_iterations=setup.max_iterations,
    )


@dataclass(frozen=True)
class AirProfile:
    """Atmosphere of all spectra, plain arrays over altitude."""

    altitude_km: Array
    ln_pressure: Array
    temperature_k: Array
    ln_density: Array
    mole_fraction: Array

    @classmethod
    def of(cls, air: xr.Dataset, setup: NadirSetup) -> AirProfile:
        """Take an atmosphere to levels 0.1 km apart."""
        low = float(air["altitude"][0]) - atmospheres.EXTENSION_BELOW_KM
        fine = np.arange(np.ceil(10.0 * low) / 10.0, 125.0, 0.1)
        air = atmospheres.on_altitudes(air, fine)
        return cls(
            altitude_km=fine,
            ln_pressure=np.log(air["pressure"].values),
            temperature_k=air["temperature"].values,
            ln_density=np.log(air["number_density"].values),
            mole_fraction=np.stack([air[f"{g}_vmr"].values for g in setup.gases]),
        )


def layers_above(
    surface_km: float,
    altitude_km: Array,
    ln_pressure: Array,
    temperature_k: Array,
    ln_density: Array,
    mole_fraction: Array,
) -> tuple[LayeredColumn, float]:
    """Average an atmosphere over layers above a surface.

    Parameters
    ----------
    surface_km : float
        Altitude of the surface.
    altitude_km : array, shape (level,)
    ln_pressure, temperature_k, ln_density : array, shape (level,)
        Logarithm of Pa; K; logarithm of cm-3.
    mole_fraction : array, shape (gas, level)

    Returns
    -------
    layers : LayeredColumn
        Of `LAYER_EDGES_KM`.
    surface_pressure_pa : float

    Raises
    ------
    AtmosphereError
        The surface is outside the levels.
    """
    if not altitude_km[0] <= surface_km <= altitude_km[-1] - LAYER_EDGES_KM[-1]:
        message = "the atmosphere does not reach from the surface 100 km up"
        raise AtmosphereError(
            message,
            field="surface_altitude",
            value=surface_km,
            rule="atmosphere.below_bottom",
        )
    edges = surface_km + LAYER_EDGES_KM

    def at(values: Array) -> Array:
        return np.asarray(np.interp(edges, altitude_km, values))

    n, p = np.exp(at(ln_density)), np.exp(at(ln_pressure))
    t, x = at(temperature_k), np.array([at(row) for row in mole_fraction])
    # density is exponential within a layer, and pressure falls as the air above
    scale = np.log(n[:-1] / n[1:])
    air = 1e5 * np.diff(edges) * (n[:-1] - n[1:]) / scale
    # mean position of the air in the layer, 0 at its lower edge
    place = 1.0 / scale - 1.0 / np.expm1(scale)
    top = np.exp(-scale)

    def mean(values: Array) -> Array:
        return values[..., :-1] + place * np.diff(values)

    ratio = np.log(p[:-1] / p[1:])
    pressure = p[:-1] * scale / (scale + ratio)
    pressure *= (1.0 - top * np.exp(-ratio)) / (1.0 - top)
    return LayeredColumn(air, pressure, mean(t), mean(x)), float(p[0])


def screened(level1: xr.Dataset, setup: NadirSetup) -> xr.Dataset:
    """Signal, air mass, surface altitude and status of single spectra."""
    signal = level1[setup.signal].reset_coords(drop=True)
    valid = xr.ones_like(level1["incidence_angle"].isel(point=0, edge=0), dtype=bool)
    if "y_valid_flag" in level1:
        valid = level1["y_valid_flag"].astype(bool)
    geometry = xr.apply_ufunc(
        _screen,
        signal,
        level1["incidence_angle"],
        level1["emission_angle"],
        level1["surface_altitude_areoid"],
        valid,
        input_core_dims=[["pixel"], *[["point", "edge"]] * 3, []],
        output_core_dims=[["quantity"]],
        kwargs={"setup": setup},
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"quantity": 3}},
        keep_attrs=False,
    )
    found = xr.Dataset({"signal": signal, "geometry": geometry})
    return found.drop_vars(list(found.coords))


def _screen(
    signal: Array,
    incidence: Array,
    emission: Array,
    surface: Array,
    valid: Array,
    *,
    setup: NadirSetup,
) -> Array:
    window = setup.window
    pixels = np.setdiff1d(
        np.arange(window.first_pixel, window.last_pixel + 1), window.masked_pixels
    )
    y = np.asarray(signal, dtype=float)[..., pixels]
    count = np.isfinite(y).sum(axis=-1)
    enough = count >= window.minimum_pixels
    median = np.zeros(enough.shape)
    median[enough] = np.nanmedian(y[enough], axis=-1)
    angles = np.stack([incidence, emission]).astype(float)
    known = np.isfinite(angles).all(axis=(0, -1, -2))
    known &= np.isfinite(surface).all(axis=(-1, -2))
    flat = np.nan_to_num(angles, nan=0.0)
    steep = (flat > window.maximum_angle_deg).any(axis=(0, -1, -2))
    tests = (
        ("flagged_invalid", ~np.asarray(valid, dtype=bool)),
        ("no_geometry", ~known),
        ("angle_too_large", steep),
        ("too_few_pixels", ~enough),
        ("too_dark", median < window.minimum_reflectance),
    )
    status = np.zeros(enough.shape)
    for name, failed in reversed(tests):
        status[failed] = STATUS.index(name)
    good = (status == 0)[..., None, None]
    mass = views.two_way_air_mass(
        np.where(good, angles[0], np.nan),
        np.where(good, angles[1], np.nan),
        window.maximum_angle_deg,
    ).mean(axis=(-1, -2))
    height = np.where(good, surface, np.nan).mean(axis=(-1, -2))
    return np.stack([mass, height, status], axis=-1)


def grouped(rows: xr.Dataset, n: int) -> xr.Dataset:
    """Means of the good ones among n consecutive spectra."""
    status = rows["geometry"].isel(quantity=2)
    good = status == 0
    if n == 1:
        return rows.assign(n_averaged=good.astype(np.float64))
    parts = {
        "signal": rows["signal"].where(good),
        "mass": rows["geometry"].isel(quantity=slice(0, 2)),
    }
    means = xr.Dataset(parts).coarsen(spectrum=n, boundary="pad").mean()
    count = good.astype(np.float64).coarsen(spectrum=n, boundary="pad").sum()
    reason = status.coarsen(spectrum=n, boundary="pad").max()
    last = reason.where(count <= 0, 0.0).expand_dims(quantity=1, axis=-1)
    geometry = xr.concat([means["mass"], last], dim="quantity")
    if geometry.chunks is not None:
        geometry = geometry.chunk({"quantity": -1})
    geometry = geometry.transpose("spectrum", "quantity")
    return xr.Dataset(
        {"signal": means["signal"], "geometry": geometry, "n_averaged": count}
    )


def mean(values: npt.NDArray[Any], period: float | None) -> Any:
    """Return the mean of times, or of numbers on a circle of some period."""
    if values.dtype.kind == "M":
        return values[0] + (values - values[0]).sum() // values.size
    if period is None:
        return values.mean()
    turn = np.exp(2j * np.pi * values / period).mean()
    angle = np.angle(turn) / (2.0 * np.pi) * period
    # longitudes count from -180, hours and seasons from zero
    return angle if (values < 0).any() else np.mod(angle, period)
