from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.interpolate import make_interp_spline

from tgo_spectra.errors import AtmosphereError, InstrumentError
from tgo_spectra.geometry import (
    field_of_view_from_corners,
    fov_operator,
    path_weights,
    planet_radius_from_table,
)
from tgo_spectra.readers import open_product


def hat(radius, grid, index):
    values = np.zeros(grid.size)
    values[index] = 1.0
    return np.interp(radius, grid, values)


def test_path_weights_equal_adaptive_quadrature():
    rng = np.random.default_rng(3)
    grid = 3389.5 + np.sort(np.concatenate([[0.0, 60.0], rng.uniform(0, 60, 12)]))
    for tangent in [grid[0], grid[3], 3400.03, 3420.7, grid[-1] - 1e-3]:
        weights = path_weights([tangent], grid)[0] / 1e5
        edges = np.concatenate([[tangent], grid[grid > tangent]])
        s = np.sqrt(edges**2 - tangent**2)
        for index in range(grid.size):
            expected = sum(
                quad(
                    lambda x, i=index, a=tangent: hat(np.hypot(a, x), grid, i),
                    lo,
                    hi,
                    epsabs=1e-12,
                    epsrel=1e-12,
                )[0]
                for lo, hi in itertools.pairwise(s)
            )
            assert weights[index] == pytest.approx(2 * expected, rel=1e-9, abs=1e-9)


def test_path_weights_sum_to_chord_and_vanish_above():
    grid = np.linspace(3390.0, 3500.0, 111)
    tangent = np.array([3390.0, 3395.5, 3499.9, 3500.0, 3600.0])
    total = path_weights(tangent, grid).sum(axis=1)
    chord = 2e5 * np.sqrt(np.maximum(grid[-1] ** 2 - tangent**2, 0))
    np.testing.assert_allclose(total, chord, rtol=1e-12)
    assert total[3] == 0.0
    assert total[4] == 0.0


def test_path_weights_refuse_what_is_below_the_grid():
    with pytest.raises(AtmosphereError, match="3380"):
        path_weights([3395.0, 3380.0], [3390.0, 3400.0])
    with pytest.raises(AtmosphereError, match="finite"):
        path_weights([np.nan], [3390.0, 3400.0])
    with pytest.raises(AtmosphereError, match="ascending"):
        path_weights([3395.0], [3400.0, 3390.0])


def test_fov_without_width_is_the_not_a_knot_spline():
    rng = np.random.default_rng(5)
    heights = np.sort(rng.uniform(0, 60, 40))
    field = np.cos(heights / 4)
    centre = rng.uniform(heights[0], heights[-1], 30)
    operator = fov_operator(heights, centre, np.zeros(2))
    np.testing.assert_allclose(
        operator @ field, make_interp_spline(heights, field)(centre), atol=1e-12
    )
    np.testing.assert_allclose(operator.sum(axis=1), 1.0, rtol=1e-12)


def test_fov_average_equals_the_exact_convolution():
    heights = np.arange(0.0, 61.0)
    field = np.exp(-np.exp(-(heights - 20) / 6))
    spline = make_interp_spline(heights, field)
    centre = np.linspace(3, 57, 41)
    boxes = np.array([0.343, 0.974, 0.165])
    # three boxcars: third central difference of the third antiderivative
    third = spline.antiderivative(3)
    expected = np.zeros(centre.size)
    for s0 in (-1, 1):
        for s1 in (-1, 1):
            for s2 in (-1, 1):
                offset = 0.5 * np.dot((s0, s1, s2), boxes)
                expected += s0 * s1 * s2 * third(centre + offset)
    expected /= boxes.prod()
    operator = fov_operator(heights, centre, np.tile(boxes, (41, 1)))
    np.testing.assert_allclose(operator @ field, expected, atol=2e-7)


@pytest.mark.parametrize(("step", "limit"), [(1.0, 3e-5), (0.75, 1e-5), (0.5, 1e-5)])
def test_fov_of_pixel_spectra_is_accurate_for_the_steps_in_use(step, limit):
    """Order 134 on heights a step apart, taken to rows, against heights 0.1 km apart.

    1e-5 in transmittance for 0.75 km; 3e-5 for 1 km at the kink of the water profile.
    """
    import tgo_spectra as tgo
    from tgo_spectra.forward import transmittance as forward
    from tgo_spectra.instruments import so as instrument
    from tgo_spectra.instruments.response import tabulated as operator
    from tgo_spectra.spectroscopy.tables import interpolate_coefficients, table_arrays

    band = table_arrays(tgo.open_table("so_134_136"), ["h2o"])
    levels = np.arange(0.0, 101.0)
    pixels = np.arange(20, 300, 8)
    seen_by = operator.build_operator(
        band.node_cell,
        band.node_weight,
        float(band.cell_start_cm1[0]),
        band.cell_width_cm1,
        pixel_wavenumber_cm1=instrument.pixel_wavenumber(134, pixels, -5.0),
        order=134,
        aotf_frequency_khz=17859.0,
        temperature_c=-5.0,
        pixels=pixels,
        n_orders=4,
        dtype=np.float64,
    )

    def spectra(heights):
        points = forward.quadrature_altitudes(levels, heights)
        air = tgo.reference_atmosphere(points)
        coefficients = interpolate_coefficients(
            band.coefficients["h2o"], band.ln_pressure, band.temperature_k,
            air.pressure.values, air.temperature.values, doppler_limit=True,
        )  # fmt: skip
        limb = forward.limb(
            altitude_km=levels,
            height_km=heights,
            points_km=points,
            number_density_cm3=air.number_density.values,
            planet_radius_km=3389.5,
            vectors=band.vectors,
            coefficients={"h2o": coefficients},
            dtype=np.float64,
        )
        vmr = tgo.reference_atmosphere(levels).h2o_vmr.values
        return operator.apply(seen_by, forward.node_transmittance(limb, {"h2o": vmr})).T

    centre, boxes = np.arange(3.0, 55.0, 0.37), [1.1, 0.45, 0.3]
    fine, coarse = np.arange(0.0, 60.01, 0.1), np.arange(0.0, 60.01, step)
    exact = fov_operator(fine, centre, boxes) @ spectra(fine)
    found = fov_operator(coarse, centre, boxes) @ spectra(coarse)
    error = np.abs(found - exact)
    print(f"{step} km: {error.max():.1e}, {np.sqrt((error**2).mean()):.1e} on average")
    assert error.max() < limit
    assert np.sqrt((error**2).mean()) < 1e-6


def test_fov_refuses_rows_outside():
    with pytest.raises(InstrumentError, match=r"-1\.0"):
        fov_operator(np.arange(10.0), [3.0, -1.0], [1.0])
    with pytest.raises(InstrumentError, match="ascending"):
        fov_operator([0.0, 2.0, 1.0, 3.0], [1.0], [1.0])


def corners(height, rate, width, tilt, length):
    """Corner altitudes of a slit ``width`` x ``length`` km, tilted, moving."""
    x = np.array([0, 1, -1, -1, 1]) * 0.5 * width
    y = np.array([0, 1, 1, -1, -1]) * 0.5 * length
    offset = x * np.sin(tilt) + y * np.cos(tilt)
    return height[:, None, None] + offset[None, :, None] + rate * np.array([-0.5, 0.5])


def test_field_of_view_from_corners_finds_widths_and_fills_gaps():
    height = np.linspace(0, 50, 20)
    z = corners(height, -0.3, 1.0, 0.4, 2.0)
    z[0, 3] = -999.0
    z[1, 1:] = np.nan
    fov = field_of_view_from_corners(z)
    np.testing.assert_allclose(fov.centre_km, height, atol=1e-12)
    expected = [np.sin(0.4), 2 * np.cos(0.4), 0.3]
    np.testing.assert_allclose(fov.boxcars_km, np.tile(expected, (20, 1)), rtol=1e-12)
    with pytest.raises(InstrumentError, match="no row"):
        field_of_view_from_corners(np.full((3, 5, 2), -999.0))
    with pytest.raises(InstrumentError, match="shape"):
        field_of_view_from_corners(np.zeros((3, 4, 2)))


def test_planet_radius_ignores_missing_rows():
    distance = np.array([3800.0, 3801.0, 3802.0, np.nan])
    altitude = np.array([10.0, 20.0, -999.0, 30.0])
    path = np.sqrt(distance**2 - (3388.2 + altitude) ** 2)
    assert planet_radius_from_table(distance, path, altitude) == pytest.approx(3388.2)
    with pytest.raises(InstrumentError, match="no row"):
        planet_radius_from_table([3800.0], [np.nan], [1.0])


@pytest.mark.parametrize("tag", ["134", "136", "190"])
def test_samples_field_of_view_and_radius(tag, shared):
    samples = shared / "samples"
    truth = xr.load_dataset(next(samples.glob(f"*{tag}.truth.nc")), engine="netcdf4")
    product = open_product(next(samples.glob(f"*{tag}_3.0.zip")))
    fov = field_of_view_from_corners(product["tangent_altitude_areoid"].values)
    expected = np.sort(truth.attrs["fov_boxcars_km"])
    widths = np.sort(fov.boxcars_km[:, :2], axis=1)
    np.testing.assert_allclose(widths, np.tile(expected, (len(widths), 1)), atol=0.02)
    centre = fov.centre_km
    np.testing.assert_allclose(centre, truth.tangent_altitude.values, atol=0.01)
    radius = planet_radius_from_table(
        product["obs_altitude"].values,
        product["slant_path_distance"].values[:, 0],
        product["tangent_altitude_areoid"].values[:, 0],
    )
    assert radius == pytest.approx(truth.attrs["planet_radius_km"], abs=0.01)
