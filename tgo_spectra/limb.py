"""Monochromatic limb transmittance without an instrument.

For comparison with other radiative transfer codes: cross-sections line by line (or
from a table, on its nodes) at the levels of an atmosphere, straight rays through
spherical shells. Nothing of size (wavenumber x level x height) is kept unless the
Jacobian, which has that size, is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import xarray as xr

from tgo_spectra import geometry
from tgo_spectra.atmosphere import on_altitudes, read_atmosphere
from tgo_spectra.errors import AtmosphereError, TableError
from tgo_spectra.forward import hat_matrix, quadrature_altitudes
from tgo_spectra.mars import MEAN_RADIUS_KM
from tgo_spectra.spectroscopy.absorption import cross_section_grid
from tgo_spectra.spectroscopy.tables import (
    interpolate_coefficients,
    open_table,
    table_arrays,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from tgo_spectra.spectroscopy.absorption import Broadening

    Array = npt.NDArray[np.floating]
    Source = tuple[xr.Dataset, Broadening] | xr.Dataset | str

__all__ = ["limb_transmittance"]


def limb_transmittance(
    atmosphere: xr.Dataset | str | Path,
    tangent_altitude: npt.ArrayLike,
    wavenumber: npt.ArrayLike | None,
    gases: Mapping[str, Source],
    jacobian: bool = False,
    *,
    planet_radius_km: float | None = None,
) -> xr.Dataset:
    """Compute monochromatic transmittance along straight limb paths.

    Cross-sections are evaluated at the atmosphere's levels and are linear in altitude
    in between, as mole fractions are; density is exponential (0.25 km quadrature).

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

    Returns
    -------
    Dataset
        ``transmittance`` (tangent_altitude, wavenumber), 1; with `jacobian`
        ``<gas>_jacobian`` (tangent_altitude, altitude, wavenumber), per mole fraction.

    Raises
    ------
    AtmosphereError
        The atmosphere lacks a gas.
    TableError
        Tables and line lists are mixed, or a table is asked for other wavenumbers.

    Examples
    --------
    >>> import tgo_spectra as tgo
    >>> air = tgo.reference_atmosphere(range(0, 101, 2))
    >>> limb = limb_transmittance(air, [10.0, 30.0], None, {"co": "so_189_190"})
    >>> limb.transmittance.dims, bool(limb.transmittance.max() < 1.0001)
    (('tangent_altitude', 'wavenumber'), True)
    """
    air = read_atmosphere(atmosphere)
    for gas in gases:
        if f"{gas}_vmr" not in air:
            message = "the atmosphere has no profile of this gas"
            raise AtmosphereError(message, field=f"{gas}_vmr", rule="limb.no_gas")
    nu, sigma = _cross_sections(air, wavenumber, gases)
    radius = planet_radius_km or air.attrs.get("planet_radius_km", MEAN_RADIUS_KM)
    heights = np.atleast_1d(np.asarray(tangent_altitude, dtype=float))
    levels = air["altitude"].values
    points = quadrature_altitudes(levels, heights, float(levels[-1]))
    points = points[points <= levels[-1] + 1e-9]
    density = on_altitudes(air, points)["number_density"].values
    chord = geometry.path_weights(radius + heights, radius + points)
    hats = hat_matrix(levels, points)
    # (height, level of the cross-section, level of the mole fraction), tridiagonal
    overlap = np.einsum("tm,ml,mk->tlk", chord * density, hats, hats, optimize=True)
    depth = np.zeros((heights.size, nu.size))
    for gas, cross in sigma.items():
        depth += (overlap @ air[f"{gas}_vmr"].values) @ cross
    transmittance = np.exp(-depth)
    data: dict[str, object] = {
        "transmittance": (("tangent_altitude", "wavenumber"), transmittance)
    }
    if jacobian:
        for gas, cross in sigma.items():
            field = overlap.transpose(0, 2, 1) @ cross
            field *= -transmittance[:, None, :]
            data[f"{gas}_jacobian"] = (
                ("tangent_altitude", "altitude", "wavenumber"),
                field,
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
        "refraction": "none",
        "broadening": "; ".join(f"{g}: {_origin(s)}" for g, s in gases.items()),
    }
    return result


def _origin(source: Source) -> str:
    """Say where cross-sections come from."""
    if isinstance(source, tuple):
        return str(source[1])
    return source if isinstance(source, str) else str(source.attrs.get("band", "table"))


def _cross_sections(
    air: xr.Dataset, wavenumber: npt.ArrayLike | None, gases: Mapping[str, Source]
) -> tuple[Array, dict[str, Array]]:
    """Wavenumbers and per gas (level, wavenumber), cm2."""
    from_lines = [isinstance(source, tuple) for source in gases.values()]
    p, t = air["pressure"].values, air["temperature"].values
    sigma: dict[str, Array] = {}
    if all(from_lines) and wavenumber is not None:
        nu = np.asarray(wavenumber, dtype=float)
        for gas, source in gases.items():
            lines, broadening = cast("tuple[xr.Dataset, Broadening]", source)
            sigma[gas] = cross_section_grid(lines, nu, p, t, broadening, gas=gas)
        return nu, sigma
    if any(from_lines) or wavenumber is not None:
        message = "give line lists with wavenumbers, or tables with wavenumber=None"
        raise TableError(message, field="wavenumber", rule="limb.mixed_sources")
    nodes = None
    for gas, source in gases.items():
        table = open_table(source) if isinstance(source, str) else source
        band = table_arrays(cast("xr.Dataset", table), [gas])
        if nodes is not None and not np.array_equal(nodes, band.nodes_cm1):
            message = "the gases' tables have different nodes"
            raise TableError(message, field=gas, rule="limb.mixed_sources")
        nodes = band.nodes_cm1
        c = interpolate_coefficients(
            band.coefficients[gas],
            band.ln_pressure,
            band.temperature_k,
            p,
            t,
            doppler_limit=True,
        )
        sigma[gas] = c.T @ band.vectors[gas]
    return np.asarray(nodes), sigma
