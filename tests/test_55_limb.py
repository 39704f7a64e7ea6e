"""Monochromatic limb transmittance: Jacobian, closed forms, the fit's own model."""

from __future__ import annotations

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra import forward
from tgo_spectra.errors import AtmosphereError, TableError
from tgo_spectra.spectroscopy.tables import interpolate_coefficients, table_arrays


@pytest.fixture(scope="module")
def air():
    return tgo.reference_atmosphere(np.arange(0.0, 121.0, 2.0))


def test_jacobian__equals_central_differences_in_every_level(air):
    heights = [5.0, 21.0]
    table = {"co": "so_189_190"}
    base = tgo.limb_transmittance(air, heights, None, table, jacobian=True)
    analytic = base["co_jacobian"].values[:, :, ::40]
    scale = np.abs(analytic).max()
    for level in range(0, 40, 3):
        side = []
        for sign in (1.0, -1.0):
            moved = air.copy(deep=True)
            moved["co_vmr"][level] += sign * 1e-6
            new = tgo.limb_transmittance(moved, heights, None, table)
            side.append(new["transmittance"].values[:, ::40])
        numeric = (side[0] - side[1]) / 2e-6
        assert np.abs(numeric - analytic[:, level]).max() < 1e-6 * scale


def test_transmittance__agrees_with_the_fits_model_on_the_nodes(air):
    heights = np.array([3.0, 15.0, 40.0])
    mine = tgo.limb_transmittance(air, heights, None, {"co": "so_189_190"})
    band = table_arrays(tgo.open_table("so_189_190"), ["co"])
    points = forward.quadrature_altitudes(air.altitude.values, heights, 120.0)
    points = points[points <= 120.0]
    fine = tgo.reference_atmosphere(points)
    model = forward.limb(
        altitude_km=air.altitude.values,
        height_km=heights,
        points_km=points,
        number_density_cm3=fine.number_density.values,
        planet_radius_km=air.attrs["planet_radius_km"],
        vectors=band.vectors,
        coefficients={
            "co": interpolate_coefficients(
                band.coefficients["co"], band.ln_pressure, band.temperature_k,
                fine.pressure.values, fine.temperature.values, doppler_limit=True,
            )
        },
        jacobian_rank=None,
        dtype=np.float64,
    )  # fmt: skip
    other = forward.node_transmittance(model, {"co": air.co_vmr.values})
    # 2 km levels: cross-sections linear between them, in saturated cores
    assert np.abs(mine.transmittance.values.T - other).max() < 0.02
    assert np.abs(mine.transmittance.values.T - other).mean() < 2e-4


def test_sources__that_do_not_fit_are_refused(air):
    with pytest.raises(TableError, match="wavenumber=None"):
        tgo.limb_transmittance(air, [10.0], [4250.0], {"co": "so_189_190"})
    bare = air.drop_vars("co_vmr")
    with pytest.raises(AtmosphereError, match="no profile"):
        tgo.limb_transmittance(bare, [10.0], None, {"co": "so_189_190"})
