r"""One line of sight as a function of temperature, pressure and mole fractions.

On the quadrature points the optical depth of a gas is :math:`U\,W` with
:math:`W = \sum_q A_q\, c(p_q, T_q)\, x_q`: slant columns A of air, coefficients c of
the cross-section vectors U, mole fraction x. This module gives W and its derivative to
every level, in double precision and without approximation: temperature and pressure
act through c (the table's spline) and through the density at the given pressure, and,
if wanted, through the hydrostatic pressure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from tgo_spectra.errors import AtmosphereError
from tgo_spectra.forward import ray
from tgo_spectra.forward.transmittance import hat_matrix
from tgo_spectra.mars import GAS_CONSTANT, GM_M3_S2, MOLAR_MASS
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tgo_spectra.forward.ray import Top
    from tgo_spectra.spectroscopy.tables.read import BandTable

    Array = NDArray[np.float64]

__all__ = [
    "AirState",
    "Balance",
    "Sight",
    "Weights",
    "absorption_weights",
    "air_on_points",
    "by_log_density",
    "coefficients_on_points",
    "hydrostatic_log_ratio",
    "log_pressure_adjoint",
    "log_pressure_slope",
    "make_sight",
]

Balance = Literal["fixed_pressure", "hydrostatic"]


@dataclass(frozen=True, kw_only=True)
class Sight(ray.LineOfSight):
    """A line of sight with an atmosphere on its points, and the table it absorbs with.

    Attributes
    ----------
    altitude_km : ndarray, shape (level,)
        Levels of the profiles; linear in between, constant beyond.
    pressure_pa, temperature_k, number_density_cm3 : ndarray, shape (point,)
        Where the state's offset is zero and its pressure scale one.
    band : BandTable
        Absorption table.
    hats : ndarray, shape (point, level)
        From levels to points.
    balance : {"fixed_pressure", "hydrostatic"}
        What a change of temperature does to the pressure: nothing, or hydrostatic
        equilibrium with the pressure of the point nearest to the anchor held.
    anchor : int
        That point.
    molar_mass_g_mol : float or ndarray, shape (point,)
        Of the air, for the hydrostatic balance.
    """

    altitude_km: Array
    pressure_pa: Array
    temperature_k: Array
    number_density_cm3: Array
    band: BandTable
    hats: Array
    balance: Balance
    anchor: int
    molar_mass_g_mol: float | Array = MOLAR_MASS


@dataclass(frozen=True)
class AirState:
    """Mole fractions, temperature and pressure of the air.

    Attributes
    ----------
    vmr : dict of ndarray, shape (level,)
        Mole fractions.
    temperature_offset_k : ndarray, shape (level,), optional
        Added to the temperature, linear between levels; None: nothing.
    pressure_scale : float
        One factor on all pressures.
    """

    vmr: Mapping[str, Array]
    temperature_offset_k: Array | None = None
    pressure_scale: float = 1.0


@dataclass(frozen=True)
class Weights:
    """W of each gas and its derivatives.

    Attributes
    ----------
    value : dict of ndarray, shape (vector, height)
        W: the optical depth is vectors.T @ value.
    vmr : dict of ndarray, shape (vector, height, level)
        Its derivative by the mole fractions.
    temperature : dict of ndarray, shape (vector, height, level)
        By the temperature offset, per K.
    pressure : dict of ndarray, shape (vector, height)
        By the pressure scale.
    """

    value: dict[str, Array] = field(default_factory=dict)
    vmr: dict[str, Array] = field(default_factory=dict)
    temperature: dict[str, Array] = field(default_factory=dict)
    pressure: dict[str, Array] = field(default_factory=dict)


def make_sight(
    band: BandTable,
    *,
    altitude_km: Array,
    height_km: Array,
    points_km: Array,
    pressure_pa: Array,
    temperature_k: Array,
    number_density_cm3: Array,
    planet_radius_km: float,
    balance: Balance = "fixed_pressure",
    anchor_km: float | None = None,
    top: Top = "exponential",
    molar_mass_g_mol: float | Array = MOLAR_MASS,
) -> Sight:
    """Put an atmosphere on the line of sight.

    Parameters
    ----------
    band : BandTable
        Absorption table with the gases of the states to come.
    altitude_km, height_km : ndarray, shapes (level,), (height,)
        Levels of the profiles and tangent heights, km above the areoid.
    points_km : ndarray, shape (point,)
        From `tgo_spectra.forward.transmittance.quadrature_altitudes`.
    pressure_pa, temperature_k, number_density_cm3 : ndarray, shape (point,)
        The atmosphere there.
    planet_radius_km : float
        Local radius of the areoid.
    balance : {"fixed_pressure", "hydrostatic"}
        What a change of temperature does to the pressure.
    anchor_km : float, optional
        Altitude whose pressure hydrostatic balance keeps; default the lowest point.
    top : {"exponential", "cut"}
        Above the last point.
    molar_mass_g_mol : float or ndarray, shape (point,)
        Of the air; default 43.4 at all heights.

    Returns
    -------
    Sight

    Raises
    ------
    AtmosphereError
        Unknown balance, or shapes that differ.
    """
    if balance not in ("fixed_pressure", "hydrostatic"):
        message = "balance is fixed_pressure or hydrostatic"
        raise AtmosphereError(
            message, field="balance", value=balance, rule="sight.balance"
        )
    shapes = {np.shape(v) for v in (pressure_pa, temperature_k, number_density_cm3)}
    if shapes != {points_km.shape}:
        message = f"pressure, temperature and density need the shape {points_km.shape}"
        raise AtmosphereError(
            message, field="points_km", value=sorted(shapes), rule="sight.shape"
        )
    anchor = 0
    if anchor_km is not None:
        anchor = int(np.abs(points_km - anchor_km).argmin())
    return Sight(
        altitude_km=altitude_km,
        height_km=height_km,
        points_km=points_km,
        pressure_pa=pressure_pa,
        temperature_k=temperature_k,
        number_density_cm3=number_density_cm3,
        radius_km=planet_radius_km,
        band=band,
        hats=hat_matrix(altitude_km, points_km),
        balance=balance,
        anchor=anchor,
        top=top,
        molar_mass_g_mol=molar_mass_g_mol,
    )


def hydrostatic_log_ratio(
    points_km: Array,
    temperature_k: Array,
    *,
    planet_radius_km: float,
    anchor: int,
    molar_mass_g_mol: float | Array = MOLAR_MASS,
) -> Array:
    """Logarithm of the hydrostatic pressure over that of one of the points.

    Gravity is GM / (R + z)^2; temperature and molar mass are linear between points.

    Parameters
    ----------
    points_km, temperature_k : ndarray, shape (point,)
        Altitudes, ascending, and temperatures.
    planet_radius_km : float
        Local radius of the areoid.
    anchor : int
        The point.
    molar_mass_g_mol : float or ndarray, shape (point,)
        Of the air.

    Returns
    -------
    ndarray, shape (point,)

    Examples
    --------
    >>> z, t = np.arange(3.0), np.full(3, 200.0)
    >>> found = hydrostatic_log_ratio(z, t, planet_radius_km=3389.5, anchor=1)
    >>> found.round(4)
    array([ 0.0973,  0.    , -0.0972])
    """
    pull = _pull(points_km, planet_radius_km, molar_mass_g_mol)
    middle = 0.5 * (temperature_k[1:] + temperature_k[:-1])
    between = _middle_pull(points_km, planet_radius_km, molar_mass_g_mol)
    return -_integrated(points_km, pull / temperature_k, between / middle, anchor)


def _pull(points_km: Array, radius_km: float, molar_mass_g_mol: float | Array) -> Array:
    """Molar mass times gravity over the gas constant, K per km."""
    gravity = GM_M3_S2 / (1e3 * (radius_km + points_km)) ** 2
    return np.asarray(1e-3 * molar_mass_g_mol * gravity / GAS_CONSTANT * 1e3)


def _middle_pull(
    points_km: Array, radius_km: float, molar_mass_g_mol: float | Array
) -> Array:
    """Return the same in the middle between neighbouring points."""
    mass = np.broadcast_to(molar_mass_g_mol, points_km.shape)
    middle = 0.5 * (points_km[1:] + points_km[:-1])
    return _pull(middle, radius_km, 0.5 * (mass[1:] + mass[:-1]))


def _integrated(points_km: Array, at: Array, between: Array, anchor: int) -> Array:
    """Integrate over altitude from the anchor, along the first axis (Simpson's rule).

    ``at``: integrand on the points; ``between``: in the middle of neighbours.
    """
    step = np.diff(points_km).reshape(-1, *(1,) * (at.ndim - 1))
    total = np.zeros_like(at)
    part = step / 6.0 * (at[1:] + 4.0 * between + at[:-1])
    np.cumsum(part, axis=0, out=total[1:])
    return np.asarray(total - total[anchor])


def _log_ratio(sight: Sight, temperature_k: Array) -> Array:
    return hydrostatic_log_ratio(
        sight.points_km,
        temperature_k,
        planet_radius_km=sight.radius_km,
        anchor=sight.anchor,
        molar_mass_g_mol=sight.molar_mass_g_mol,
    )


def air_on_points(sight: Sight, state: AirState) -> tuple[Array, Array, Array]:
    """Pressure (Pa), temperature (K) and number density (cm-3) on the points.

    Parameters
    ----------
    sight : Sight
        The line of sight.
    state : AirState
        Temperature offset and pressure scale; its gases play no part.

    Returns
    -------
    pressure, temperature, number_density : ndarray, shape (point,)
    """
    t0 = sight.temperature_k
    t = t0
    log_factor = np.full(t0.shape, np.log(state.pressure_scale))
    if state.temperature_offset_k is not None:
        t = t0 + sight.hats @ state.temperature_offset_k
        if sight.balance == "hydrostatic":
            log_factor += _log_ratio(sight, t) - _log_ratio(sight, t0)
    factor = np.exp(log_factor)
    density = sight.number_density_cm3 * factor * t0 / t
    return sight.pressure_pa * factor, t, density


def absorption_weights(
    sight: Sight, state: AirState, *, derivatives: bool = True
) -> Weights:
    """W of each gas of the state, and its derivatives.

    Parameters
    ----------
    sight : Sight
        The line of sight.
    state : AirState
        Gases, temperature and pressure.
    derivatives : bool
        False: the value alone.

    Returns
    -------
    Weights

    Raises
    ------
    TableError
        A pressure or temperature is outside the table.
    AtmosphereError
        As `tgo_spectra.forward.ray.layer_columns`.
    """
    p, t, n = air_on_points(sight, state)
    air, moments = sight.air(n), sight.moments(n)
    density_slope, log_pressure = _slopes(sight, t)
    result = Weights()
    for gas, vmr in state.vmr.items():
        x = sight.hats @ vmr
        c, by_pressure, by_temperature = coefficients_on_points(
            sight, gas, p, t, derivatives
        )
        result.value[gas] = (c * x) @ air.T
        if not derivatives:
            continue
        result.vmr[gas] = _through(c, air, sight.hats)
        by_density = by_log_density(c * x, moments, sight.points_km)
        by_state = air * (by_pressure * x)[:, None, :] + by_density
        result.pressure[gas] = by_state.sum(axis=2) / state.pressure_scale
        through = _through(by_temperature * x, air, sight.hats)
        through += by_density @ density_slope
        if log_pressure is not None:
            through += by_state @ log_pressure
        result.temperature[gas] = through
    return result


def _slopes(sight: Sight, t: Array) -> tuple[Array, Array | None]:
    """Differentiate by the levels' temperatures, each (point, level).

    Of the logarithms of the density at fixed pressure, and of the pressure.
    """
    density = -sight.hats / t[:, None]
    if sight.balance == "fixed_pressure":
        return density, None
    return density, log_pressure_slope(sight, t)


def log_pressure_slope(sight: Sight, temperature_k: Array) -> Array:
    """Differentiate the logarithm of the hydrostatic pressure by the temperatures.

    Parameters
    ----------
    sight : Sight
        The line of sight.
    temperature_k : ndarray, shape (point,)
        Where the derivative is taken.

    Returns
    -------
    ndarray, shape (point, level), K-1
    """
    points, mass = sight.points_km, sight.molar_mass_g_mol
    t, hats = temperature_k, sight.hats
    middle = 0.5 * (t[1:] + t[:-1])
    half = 0.5 * (hats[1:] + hats[:-1])
    at = (_pull(points, sight.radius_km, mass) / t**2)[:, None] * hats
    between = (_middle_pull(points, sight.radius_km, mass) / middle**2)[:, None] * half
    return _integrated(points, at, between, sight.anchor)


def log_pressure_adjoint(sight: Sight, temperature_k: Array, weight: Array) -> Array:
    """Weights on the points' temperatures equal to weights on their log pressures.

    ``weight @ log_pressure_slope(sight, t)`` is ``log_pressure_adjoint(sight, t,
    weight) @ sight.hats``, without a matrix of all points and levels.

    Parameters
    ----------
    sight : Sight
        The line of sight.
    temperature_k : ndarray, shape (point,)
        Where the derivative is taken.
    weight : ndarray, shape (..., point)
        On the logarithms of the pressures.

    Returns
    -------
    ndarray, shape (..., point), K-1
    """
    points, mass = sight.points_km, sight.molar_mass_g_mol
    at = _pull(points, sight.radius_km, mass) / temperature_k**2
    middle = 0.5 * (temperature_k[1:] + temperature_k[:-1])
    between = _middle_pull(points, sight.radius_km, mass) / middle**2
    # a step counts for all pressures above it, or against those below the anchor
    above = np.cumsum(weight[..., ::-1], axis=-1)[..., ::-1]
    step = above[..., 1:].copy()
    step[..., : sight.anchor] -= above[..., :1]
    step *= np.diff(points) / 6.0
    result = np.zeros_like(weight)
    result[..., :-1] = step * (at[:-1] + 2.0 * between)
    result[..., 1:] += step * (at[1:] + 2.0 * between)
    return result


def coefficients_on_points(
    sight: Sight, gas: str, p: Array, t: Array, derivatives: bool
) -> tuple[Array, Array, Array]:
    """Coefficients and their derivatives by ln p and T.

    Parameters
    ----------
    sight : Sight
        Whose table they are of.
    gas : str
        Gas of the table.
    p, t : ndarray, shape (point,)
        Pressure, Pa, and temperature, K.
    derivatives : bool
        False: in the place of the derivatives stands the value.

    Returns
    -------
    value, by_log_pressure, by_temperature : ndarray, shape (vector, point)

    Raises
    ------
    TableError
        A pressure or temperature is outside the table.
    """
    band = sight.band
    orders = [(0, 0), (1, 0), (0, 1)] if derivatives else [(0, 0)]
    found = [
        interpolate_coefficients(
            band.coefficients[gas],
            band.ln_pressure,
            band.temperature_k,
            p,
            t,
            doppler_limit=True,
            derivative=order,
        )
        for order in orders
    ]
    if derivatives:  # below the grid the pressure is taken as its lowest
        found[1][:, np.log(p) < band.ln_pressure[0]] = 0.0
    return found[0], found[-2] if derivatives else found[0], found[-1]


def by_log_density(
    integrand: Array, moments: ray.ColumnMoments, points_km: Array
) -> Array:
    """Differentiate columns of an integrand by the logarithms of the density.

    Parameters
    ----------
    integrand : ndarray, shape (vector, point)
        What multiplies the density.
    moments : ColumnMoments
        From `tgo_spectra.forward.ray.column_moments`.
    points_km : ndarray, shape (point,)
        The points.

    Returns
    -------
    ndarray, shape (vector, height, point)
    """
    q = integrand[:, None, :]
    result = moments.own * q
    result[:, :, :-1] += moments.cross * q[:, :, 1:]
    result[:, :, 1:] += moments.cross * q[:, :, :-1]
    if moments.top.any():
        # the scale height above follows the two highest points
        tail = moments.top * integrand[:, -1:] / (points_km[-1] - points_km[-2])
        result[:, :, -2] += tail
        result[:, :, -1] -= tail
    return np.asarray(result)


def _through(coefficients: Array, air: Array, hats: Array) -> Array:
    """Sum over the points: (vector, height, level)."""
    return np.asarray((air * coefficients[:, None, :]) @ hats)
