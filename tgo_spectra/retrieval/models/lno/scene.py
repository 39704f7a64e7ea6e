"""What nadir spectra look at: layers of air, and the rows that are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from tgo_spectra import mars
from tgo_spectra.atmosphere import profile as atmospheres
from tgo_spectra.atmosphere.profile import EXTENSION_BELOW_KM
from tgo_spectra.errors import AtmosphereError
from tgo_spectra.instruments import nadir as views
from tgo_spectra.retrieval.models.lno.model import LayeredColumn

if TYPE_CHECKING:
    import numpy.typing as npt

    from tgo_spectra.retrieval.models.lno.setup import NadirSetup

    Array = npt.NDArray[np.floating]

__all__ = [
    "CIRCLES",
    "LAYER_EDGES_KM",
    "QUANTITIES",
    "STATUS",
    "AirProfile",
    "grouped",
    "layers_above",
    "mean",
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

QUANTITIES = ("down", "up", "surface_km", "status")
"""Of the geometry of a row: secants of incidence and emission, means over the field
of view and the integration; surface altitude, km; number in `STATUS`."""

CIRCLES = {
    "longitude": 360.0,
    "solar_longitude": 360.0,
    "local_true_solar_time": 24.0,
}


@dataclass(frozen=True)
class AirProfile:
    """Atmosphere of all spectra, plain arrays over altitude."""

    altitude_km: Array
    ln_pressure: Array
    temperature_k: Array
    ln_density: Array
    mole_fraction: Array
    air: xr.Dataset
    """The same with labels, and where it was extended."""

    @classmethod
    def of(cls, air: xr.Dataset, setup: NadirSetup) -> AirProfile:
        """Take an atmosphere to levels 0.1 km apart."""
        low = float(air["altitude"][0]) - EXTENSION_BELOW_KM
        fine = np.arange(np.ceil(10.0 * low) / 10.0, 125.0, 0.1)
        air = atmospheres.on_altitudes(air, fine)
        return cls(
            altitude_km=fine,
            ln_pressure=np.log(air["pressure"].values),
            temperature_k=air["temperature"].values,
            ln_density=np.log(air["number_density"].values),
            mole_fraction=np.stack([air[f"{g}_vmr"].values for g in setup.gases]),
            air=air,
        )


def layers_above(
    air: AirProfile, surface_km: float, down: float, up: float
) -> tuple[LayeredColumn, float]:
    """Average an atmosphere over layers above a surface.

    Parameters
    ----------
    air : AirProfile
    surface_km : float
        Altitude of the surface.
    down, up : float
        Secants of incidence and emission at the surface.

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
    altitude_km = air.altitude_km
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

    n, p = np.exp(at(air.ln_density)), np.exp(at(air.ln_pressure))
    t, x = at(air.temperature_k), np.array([at(row) for row in air.mole_fraction])
    # density is exponential within a layer, and pressure falls as the air above
    scale = np.log(n[:-1] / n[1:])
    # 1e5 cm in a km
    amount = 1e5 * np.diff(edges) * (n[:-1] - n[1:]) / scale
    # mean position of the air in the layer, 0 at its lower edge
    place = 1.0 / scale - 1.0 / np.expm1(scale)
    top = np.exp(-scale)

    def mean(values: Array) -> Array:
        return values[..., :-1] + place * np.diff(values)

    ratio = np.log(p[:-1] / p[1:])
    pressure = p[:-1] * scale / (scale + ratio)
    pressure *= (1.0 - top * np.exp(-ratio)) / (1.0 - top)
    height = mean(LAYER_EDGES_KM)
    radius = mars.MEAN_RADIUS_KM + surface_km
    slant = views.slant_factor(down, height, radius)
    slant += views.slant_factor(up, height, radius)
    return LayeredColumn(amount, pressure, mean(t), mean(x), slant), float(p[0])


def screened(level1: xr.Dataset, setup: NadirSetup) -> xr.Dataset:
    """Signal and geometry (`QUANTITIES`) of single spectra."""
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
        dask_gufunc_kwargs={"output_sizes": {"quantity": len(QUANTITIES)}},
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
    secants = 1.0 / np.cos(np.radians(np.where(good, angles, np.nan)))
    down, up = secants.mean(axis=(-1, -2))
    height = np.where(good, surface, np.nan).mean(axis=(-1, -2))
    return np.stack([down, up, height, status], axis=-1)


def grouped(rows: xr.Dataset, n: int) -> xr.Dataset:
    """Means of the good ones among n consecutive spectra."""
    last = len(QUANTITIES) - 1
    status = rows["geometry"].isel(quantity=last)
    good = status == 0
    if n == 1:
        return rows.assign(n_averaged=good.astype(np.float64))
    parts = {
        "signal": rows["signal"].where(good),
        "sight": rows["geometry"].isel(quantity=slice(0, last)),
    }
    means = xr.Dataset(parts).coarsen(spectrum=n, boundary="pad").mean()
    count = good.astype(np.float64).coarsen(spectrum=n, boundary="pad").sum()
    reason = status.coarsen(spectrum=n, boundary="pad").max()
    left_out = reason.where(count <= 0, 0.0).expand_dims(quantity=1, axis=-1)
    geometry = xr.concat([means["sight"], left_out], dim="quantity")
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
    turn = mars.mean_direction(values, period)
    # longitudes count from -180, hours and seasons from zero
    west = (values < 0).any() and turn > 0.5 * period
    return turn - period if west else turn
