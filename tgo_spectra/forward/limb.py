"""Monochromatic limb transmittance without an instrument.

For comparison with other radiative transfer codes: cross-sections line by line at the
levels of an atmosphere, or from a table on its nodes; rays through spherical shells.
Nothing of size (wavenumber x level x height) is kept unless the Jacobian, which has
that size, is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast, get_args

import numpy as np
import xarray as xr

from tgo_spectra.atmosphere.files import read_atmosphere
from tgo_spectra.atmosphere.profile import on_altitudes
from tgo_spectra.errors import AtmosphereError, TableError
from tgo_spectra.forward import ray
from tgo_spectra.forward.ray import Top
from tgo_spectra.forward.transmittance import (
    SUBSTEP_KM,
    hat_matrix,
    quadrature_altitudes,
)
from tgo_spectra.mars import MEAN_RADIUS_KM
from tgo_spectra.numerics.matrices import steady_product
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.tables.files import open_table
from tgo_spectra.spectroscopy.tables.read import interpolate_coefficients, table_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.spectroscopy.absorption import Broadening

    Array = npt.NDArray[np.float64]
    Source = tuple[xr.Dataset, Broadening] | xr.Dataset | str

__all__ = ["limb_transmittance"]

#: A cross-section in a line's wing follows the pressure, which is no straight line: by
#: one every 10 km the optical depth is 4.6 % too large, every km 0.07 %.
CROSS_SECTION_STEP_KM = 1.0


class _Absorber(NamedTuple):
    """Cross-section on the points = basis.T @ coefficients.

    ``basis`` (term, wavenumber): cross-sections of the inner levels, or the vectors of
    a table; ``coefficients`` (term, point), None where the terms are the inner levels.
    """

    basis: Array
    coefficients: Array | None


class _Path(NamedTuple):
    """Columns of air under the hats of the quadrature points; what leads to these.

    ``air`` (height, point); ``hats`` (point, level) of the mole fractions, ``inner``
    (point, inner level) of the cross-sections, ``place`` (level,) where the levels are
    among the inner ones.
    """

    air: Array
    hats: Array
    inner: Array
    place: npt.NDArray[np.int64]


def limb_transmittance(
    atmosphere: xr.Dataset | str | Path,
    tangent_altitude: npt.ArrayLike,
    wavenumber: npt.ArrayLike | None,
    gases: Mapping[str, Source],
    jacobian: bool = False,
    *,
    planet_radius_km: float | None = None,
    top: Top = "cut",
    refraction: bool = False,
) -> xr.Dataset:
    """Compute monochromatic transmittance along limb paths.

    Temperature and mole fractions are linear in altitude between the atmosphere's
    levels, density is exponential. Cross-sections from line lists are evaluated at the
    levels, and between levels that are farther apart at least every km, and are linear
    in between; those from tables are evaluated every 0.25 km.

    Parameters
    ----------
    atmosphere : Dataset or path
        ``pressure``, ``temperature`` and ``<gas>_vmr`` over ``altitude``.
    tangent_altitude : array, shape (tangent_altitude,), km
        Above the areoid.
    wavenumber : array, shape (wavenumber,), cm-1, or None
        None: the nodes of the table, when the gases come from a table.
    gases : dict
        Per gas either (line list, broadening) or an absorption table: a Dataset, or
        the name of a shipped one or a path, as text.
    jacobian : bool
        Also the derivative to every gas at every level.
    planet_radius_km : float, optional
        Default: the atmosphere's attribute, else 3389.5 km.
    top : {"cut", "exponential"}
        Above the highest level: nothing, or the air goes on with the scale height of
        the highest 0.25 km and constant mole fractions and cross-sections.
    refraction : bool
        Bend the rays by the air's refractivity, taken as that of CO2; the tangent
        altitudes are then those of the impact parameters, and rays pass up to 0.012 km
        lower. The Jacobian holds the path.

    Returns
    -------
    Dataset
        ``transmittance`` (tangent_altitude, wavenumber), 1; with `jacobian`
        ``<gas>_jacobian`` (tangent_altitude, altitude, wavenumber), per mole fraction.
        The attributes name radius, top, refraction, quadrature and broadening.

    Raises
    ------
    AtmosphereError
        The atmosphere lacks a gas, or a tangent altitude is below its lowest level.
    TableError
        Tables and line lists are mixed, or a table is asked for other wavenumbers.

    Examples
    --------
    >>> import tgo_spectra as tgo
    >>> air = tgo.reference_atmosphere(range(0, 101, 2))
    >>> limb = limb_transmittance(air, [10.0, 30.0], None, {"co": "so_186_191"})
    >>> limb.transmittance.dims, bool(limb.transmittance.max() < 1.0001)
    (('tangent_altitude', 'wavenumber'), True)
    """
    if not gases:
        message = "at least one gas is needed"
        raise AtmosphereError(message, field="gases", value={}, rule="limb.no_gas")
    if top not in get_args(Top):
        message = f"top is one of {', '.join(get_args(Top))}"
        raise AtmosphereError(message, field="top", value=top, rule="limb.top")
    given = read_atmosphere(atmosphere)
    for gas in gases:
        if f"{gas}_vmr" not in given:
            message = "the atmosphere has no profile of this gas"
            raise AtmosphereError(message, field=f"{gas}_vmr", rule="limb.no_gas")
    levels = given["altitude"].values
    from_lines = all(isinstance(source, tuple) for source in gases.values())
    inner = _inner_levels(levels) if from_lines else levels
    radius = planet_radius_km or given.attrs.get("planet_radius_km", MEAN_RADIUS_KM)
    heights = np.atleast_1d(np.asarray(tangent_altitude, dtype=float))
    points = quadrature_altitudes(inner, heights, float(levels[-1]))
    points = points[(points >= levels[0] - 1e-9) & (points <= levels[-1] + 1e-9)]
    dense = on_altitudes(given, points)
    nu, absorbers = _absorbers(on_altitudes(given, inner), dense, wavenumber, gases)
    rho = ray.refractivity_per_density(float(nu.mean())) if refraction else 0.0
    path = _path(radius, heights, (levels, inner), dense, top, rho)
    vmr = {gas: given[f"{gas}_vmr"].values for gas in gases}
    transmittance = _transmittance(absorbers, path, vmr)
    data: dict[str, object] = {
        "transmittance": (("tangent_altitude", "wavenumber"), transmittance)
    }
    if jacobian:
        factor = -transmittance
        for gas, absorber in absorbers.items():
            data[f"{gas}_jacobian"] = (
                ("tangent_altitude", "altitude", "wavenumber"),
                _jacobian(absorber, path, factor),
            )
    coords = {
        "tangent_altitude": ("tangent_altitude", heights, {"units": "km"}),
        "wavenumber": ("wavenumber", nu, {"units": "cm-1"}),
        "altitude": ("altitude", levels, {"units": "km"}),
    }
    result = xr.Dataset(data, coords)
    result["transmittance"].attrs = {"units": "1", "long_name": "transmittance"}
    result.attrs = {
        "planet_radius_km": float(radius),
        "gases": " ".join(gases),
        "top": top,
        "top_altitude_km": float(levels[-1]),
        "quadrature_step_km": SUBSTEP_KM,
        "cross_section_step_km": (
            float(np.diff(inner).max()) if from_lines else SUBSTEP_KM
        ),
        "refraction": _refraction(rho, float(nu.mean())),
        "broadening": "; ".join(f"{g}: {_origin(s)}" for g, s in gases.items()),
    }
    return result


def _inner_levels(levels: Array) -> Array:
    """Levels, and equal parts of steps above `CROSS_SECTION_STEP_KM`; km."""
    parts = np.ceil(np.diff(levels) / CROSS_SECTION_STEP_KM - 1e-9).astype(int)
    position = np.repeat(np.arange(parts.size), parts)
    within = np.arange(position.size) - np.repeat(np.cumsum(parts) - parts, parts)
    inner = levels[position] + np.diff(levels)[position] * within / parts[position]
    return np.append(inner, levels[-1])


def _refraction(refractivity_cm3: float, wavenumber_cm1: float) -> str:
    """Say how rays are bent."""
    if not refractivity_cm3:
        return "none"
    return (
        f"n - 1 = {refractivity_cm3:.4e} cm3 x number density (CO2 at "
        f"{wavenumber_cm1:.1f} cm-1, Old et al. 1971, extrapolated)"
    )


def _path(
    radius_km: float,
    heights: Array,
    levels: tuple[Array, Array],
    dense: xr.Dataset,
    top: Top,
    refractivity_cm3: float,
) -> _Path:
    points = dense["altitude"].values
    sight = ray.LineOfSight(
        height_km=heights,
        points_km=points,
        radius_km=radius_km,
        top=top,
        refractivity_cm3=refractivity_cm3,
    )
    hats, inner = (hat_matrix(z, points) for z in levels)
    air = sight.air(dense["number_density"].values)
    return _Path(air, hats, inner, np.searchsorted(levels[1], levels[0]))


def _transmittance(
    absorbers: Mapping[str, _Absorber], path: _Path, vmr: Mapping[str, Array]
) -> Array:
    """Transmittance, shape (height, wavenumber)."""
    from tgo_spectra.numerics.kernels import sum_spectra

    nodes = next(iter(absorbers.values())).basis.shape[1]
    minus = np.zeros((path.air.shape[0], nodes))
    for gas, (basis, coefficients) in absorbers.items():
        per_term = path.inner.T if coefficients is None else coefficients
        absorbing = per_term * (path.hats @ vmr[gas])
        sum_spectra(-steady_product(path.air, absorbing.T), basis, minus)
    return np.asarray(np.exp(minus, out=minus))


def _jacobian(absorber: _Absorber, path: _Path, factor: Array) -> Array:
    """Differentiate the transmittance: (height, level, wavenumber)."""
    basis, coefficients = absorber
    air, hats = path.air, path.hats
    heights, levels = air.shape[0], hats.shape[1]
    field = np.zeros((heights, levels, basis.shape[1]))
    if coefficients is None:
        from tgo_spectra.forward.kernels import scaled_bands

        scaled_bands(*_bands(path), basis, factor, field)
        return field
    from tgo_spectra.numerics.kernels import sum_spectra

    for height in range(heights):
        through = steady_product(hats.T * air[height], coefficients.T)
        sum_spectra(through, basis, field[height])
        field[height] *= factor[height]
    return field


def _bands(
    path: _Path,
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Columns under products of a level's hat and the inner hats that it meets.

    Columns (height, pair), first pair of each level (level + 1,), inner level (pair,).
    """
    place = path.place
    low = np.append(place[0], place[:-1])
    count = np.append(place[1:], place[-1]) - low + 1
    first = np.append(0, np.cumsum(count))
    level = np.repeat(np.arange(place.size), count)
    inner = np.arange(level.size) - first[level] + low[level]
    weights = steady_product(path.air, path.hats[:, level] * path.inner[:, inner])
    return np.asarray(weights, dtype=np.float64), first, np.asarray(inner)


def _origin(source: Source) -> str:
    """Say where cross-sections come from."""
    if isinstance(source, tuple):
        return str(source[1])
    return source if isinstance(source, str) else str(source.attrs.get("band", "table"))


def _absorbers(
    air: xr.Dataset,
    dense: xr.Dataset,
    wavenumber: npt.ArrayLike | None,
    gases: Mapping[str, Source],
) -> tuple[Array, dict[str, _Absorber]]:
    """Wavenumbers and what absorbs at them."""
    from_lines = [isinstance(source, tuple) for source in gases.values()]
    if all(from_lines) and wavenumber is not None:
        nu = np.asarray(wavenumber, dtype=float)
        p, t = air["pressure"].values, air["temperature"].values
        found: dict[str, _Absorber] = {}
        for gas, source in gases.items():
            lines, broadening = cast("tuple[xr.Dataset, Broadening]", source)
            cross = cross_section_grid(lines, nu, p, t, broadening, gas=gas)
            found[gas] = _Absorber(cross, None)
        return nu, found
    if any(from_lines) or wavenumber is not None:
        message = "give line lists with wavenumbers, or tables with wavenumber=None"
        raise TableError(message, field="wavenumber", rule="limb.mixed_sources")
    return _from_tables(dense, gases)


def _from_tables(
    dense: xr.Dataset, gases: Mapping[str, Source]
) -> tuple[Array, dict[str, _Absorber]]:
    """Nodes and the vectors of the tables, coefficients on the points."""
    found: dict[str, _Absorber] = {}
    nodes: Array | None = None
    for gas, source in gases.items():
        table = open_table(source) if isinstance(source, str) else source
        band = table_arrays(cast("xr.Dataset", table), [gas])
        if nodes is not None and not np.array_equal(nodes, band.nodes_cm1):
            message = "the gases' tables have different nodes"
            raise TableError(message, field=gas, rule="limb.mixed_sources")
        nodes = band.nodes_cm1
        coefficients = interpolate_coefficients(
            band.coefficients[gas],
            band.ln_pressure,
            band.temperature_k,
            dense["pressure"].values,
            dense["temperature"].values,
            doppler_limit=True,
        )
        found[gas] = _Absorber(band.vectors[gas].astype(float), coefficients)
    return np.asarray(nodes), found
