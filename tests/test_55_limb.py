"""Monochromatic limb transmittance: Jacobian, closed forms, the fit's own model."""

from __future__ import annotations

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.atmosphere import on_altitudes
from tgo_spectra.errors import AtmosphereError, TableError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.spectroscopy.tables import interpolate_coefficients, table_arrays


@pytest.fixture(scope="module")
def air():
    return tgo.reference_atmosphere(np.arange(0.0, 121.0, 2.0))


def test_jacobian__equals_central_differences_in_every_level(air):
    heights = [5.0, 21.0]
    table = {"co": "so_186_191"}
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
    mine = tgo.limb_transmittance(air, heights, None, {"co": "so_186_191"})
    band = table_arrays(tgo.open_table("so_186_191"), ["co"])
    points = forward.quadrature_altitudes(air.altitude.values, heights, 120.0)
    points = points[points <= 120.0]
    fine = on_altitudes(air, points)
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
        top="cut",
    )  # fmt: skip
    other = forward.node_transmittance(model, {"co": air.co_vmr.values})
    assert np.abs(mine.transmittance.values.T - other).max() < 1e-12


def test_sources__that_do_not_fit_are_refused(air):
    with pytest.raises(TableError, match="wavenumber=None"):
        tgo.limb_transmittance(air, [10.0], [4250.0], {"co": "so_186_191"})
    bare = air.drop_vars("co_vmr")
    with pytest.raises(AtmosphereError, match="no profile"):
        tgo.limb_transmittance(bare, [10.0], None, {"co": "so_186_191"})


def flat_lines():
    """One line so wide and weak that everything is smooth."""
    import xarray as xr

    values = {
        "wavenumber": 4250.0, "intensity": 1e-22, "einstein_a": 1.0,
        "gamma_air": 0.07, "gamma_self": 0.1, "lower_state_energy": 100.0,
        "n_air": 0.7, "delta_air": -0.002, "isotopologue": 1, "molecule": 5,
    }  # fmt: skip
    return xr.Dataset({k: ("line", np.array([v])) for k, v in values.items()})


def test_line_lists__jacobian_equals_central_differences(air):
    """The three-term sum over neighbouring levels, by line lists."""
    nu = 4249.9 + 0.001 * np.arange(200)
    gases = {"co": (flat_lines(), "air")}
    base = tgo.limb_transmittance(air, [4.0, 21.0, 60.0], nu, gases, jacobian=True)
    analytic = base["co_jacobian"].values
    scale = np.abs(analytic).max()
    assert scale > 0.0
    for level in (0, 2, 3, 11, 31, 60):
        side = []
        for sign in (1.0, -1.0):
            moved = air.copy(deep=True)
            moved["co_vmr"][level] += sign * 1e-6
            new = tgo.limb_transmittance(moved, [4.0, 21.0, 60.0], nu, gases)
            side.append(new["transmittance"].values)
        numeric = (side[0] - side[1]) / 2e-6
        assert np.abs(numeric - analytic[:, level]).max() < 1e-6 * scale


def test_top_and_refraction__are_recorded_and_act(air):
    table = {"co": "so_186_191"}
    heights = [5.0, 119.0]
    cut = tgo.limb_transmittance(air, heights, None, table)
    assert cut.attrs["top"] == "cut"
    assert cut.attrs["top_altitude_km"] == 120.0
    assert cut.attrs["refraction"] == "none"
    assert cut.attrs["quadrature_step_km"] == 0.25
    more = tgo.limb_transmittance(air, heights, None, table, top="exponential")
    difference = (cut - more).transmittance
    # a table's cross-sections may be a little below zero between lines
    assert float(difference.min()) >= -1e-9
    assert more.attrs["top"] == "exponential"
    # near the top most of the air is above it
    depths = [-np.log(x.transmittance[1].values.min()) for x in (cut, more)]
    assert 0.0 < depths[0] < 0.5 * depths[1]
    bent = tgo.limb_transmittance(air, heights, None, table, refraction=True)
    assert "Old et al. 1971" in bent.attrs["refraction"]
    thin = (cut.transmittance[0] > 0.01) & (cut.transmittance[0] < 0.99)
    ratio = np.log(bent.transmittance[0][thin]) / np.log(cut.transmittance[0][thin])
    assert 1.0001 < float(ratio.min()) < float(ratio.max()) < 1.005
    with pytest.raises(AtmosphereError, match="exponential"):
        tgo.limb_transmittance(air, heights, None, table, top="open")
    with pytest.raises(AtmosphereError, match="at least one gas"):
        tgo.limb_transmittance(air, heights, None, {})


def test_kernels__as_python_agree():
    from tgo_spectra.forward import kernels
    from tgo_spectra.numerics.kernels import multiply_in_blocks, sum_spectra

    rng = np.random.default_rng(0)
    weights, basis = rng.normal(size=(2, 9)), rng.normal(size=(6, 9))
    weights[0, 2:5] = 0.0
    first, inner = np.array([0, 2, 5, 8, 9]), np.array([0, 1, 1, 2, 3, 3, 4, 5, 5])
    factor = rng.normal(size=(2, 9))
    fields = [np.zeros((2, 4, 9)) for _ in range(2)]
    bands = (weights, first, inner, basis, factor)
    kernels.scaled_bands(*bands, fields[0])
    kernels.scaled_bands.py_func(*bands, fields[1])
    np.testing.assert_allclose(fields[1], fields[0], rtol=1e-13)
    left, long = rng.normal(size=(3, 6)), rng.normal(size=(6, 1100))
    expected = left @ long
    sums = [np.zeros((3, 1100)) for _ in range(2)]
    sum_spectra(left, long, sums[0])
    sum_spectra.py_func(left, long, sums[1])
    blocks = np.empty((3, 1100))
    multiply_in_blocks.py_func(left, long, 5000, blocks)
    for found in (*sums, blocks):
        np.testing.assert_allclose(found, expected, atol=1e-13)
