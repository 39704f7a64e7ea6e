"""Figures: right data on right axes, labels with units, input unchanged."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from tgo_spectra.errors import TgoError
from tgo_spectra.maps import Grid, grid_level2
from tgo_spectra.plots import (
    plot_averaging_kernel,
    plot_fit,
    plot_limits,
    plot_map,
    plot_panels,
    plot_product,
    plot_profile,
    plot_residuals,
    plot_spectrum,
)
from tgo_spectra.plots.cells import best_slice
from tgo_spectra.plots.quicklook import pictures
from tgo_spectra.variables import annotate


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def level1():
    x = np.linspace(3011.0, 3035.0, 50)
    signal = np.tile(0.7 - 0.2 * np.exp(-((x - 3020.0) ** 2)), (4, 1))
    return annotate(
        xr.Dataset(
            {
                "transmittance": (("spectrum", "pixel"), signal),
                "transmittance_error": (
                    ("spectrum", "pixel"),
                    np.full((4, 50), 1e-3),
                ),
            },
            {
                "wavenumber": ("pixel", x),
                "tangent_altitude": ("spectrum", [60.0, 40.0, 20.0, 10.0]),
                "order": 134,
                "bin": ("spectrum", [0, 1, 0, 1]),
            },
        )
    )


def level2(seed=0, latitude=40.0):
    rng = np.random.default_rng(seed)
    z = np.arange(0.5, 50.0)
    ds = xr.Dataset(
        {
            "ch4_vmr": ("altitude", rng.normal(0, 2e-11, z.size)),
            "ch4_vmr_apriori": ("altitude", np.zeros(z.size)),
            "ch4_vmr_error": ("altitude", np.full(z.size, 2e-11)),
            "ch4_vmr_noise_error": ("altitude", np.full(z.size, 1e-11)),
            "ch4_upper_limit": (
                "altitude",
                rng.uniform(4e-11, 9e-11, z.size),
                {"sigma_level": 2.0},
            ),
            "ch4_averaging_kernel": (("altitude", "altitude_in"), 0.5 * np.eye(z.size)),
            "latitude": ("altitude", np.full(z.size, latitude)),
            "solar_longitude": ((), 100.0),
            "residual": (("spectrum", "pixel"), rng.normal(0, 1e-3, (4, 50))),
            "reduced_chi_square": ((), 1.0),
        },
        {"altitude": z, "altitude_in": z},
    )
    return annotate(ds)


def test_spectrum__data_and_units(level1):
    ax = plot_spectrum(level1, spectrum=2)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), level1["wavenumber"])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), level1["transmittance"][2])
    assert "cm$^{-1}$" in ax.get_xlabel()
    assert "transmittance" in ax.get_ylabel()
    assert "20.0 km" in ax.get_title(loc="left")


def test_fit__measured_less_residual(level1):
    ds = level2()
    top, bottom = plot_fit(level1, ds, spectrum=1)
    fitted = level1["transmittance"][1] - ds["residual"][1].values
    np.testing.assert_allclose(top.lines[1].get_ydata(), fitted)
    np.testing.assert_array_equal(bottom.lines[1].get_ydata(), ds["residual"][1])


def test_fit__without_a_gas_beside_it(level1):
    ds = level2()
    depth = np.zeros((4, 50))
    depth[:, 20:30] = np.array([0.0, 1e-3, 4e-3, 2e-3])[:, None]
    fitted = level1["transmittance"] - ds["residual"].values
    absent = (fitted + depth).assign_attrs(gas="ch4")
    found = pictures(ds, level1=level1, without=lambda gas: absent)
    assert list(found) == ["fit", "ch4", "residuals", "ch4_fit"]
    top = found["ch4_fit"]()
    bottom = top.figure.axes[1]
    # the third spectrum tells most
    lines = {line.get_label(): line.get_ydata() for line in top.lines}
    np.testing.assert_allclose(lines["fitted, without CH$_4$"], absent[2])
    left = {line.get_label(): line.get_ydata() for line in bottom.lines}
    np.testing.assert_allclose(left["without CH$_4$"], ds["residual"][2] - depth[2])


def test_profile__in_readable_units_with_truth():
    ds = level2()
    truth = xr.zeros_like(ds["ch4_vmr"])
    ax = plot_profile(ds, "ch4", truth=truth)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["retrieved"].get_xdata(), ds["ch4_vmr"] * 1e12)
    assert {"a priori", "truth", "retrieved"} <= set(lines)
    assert ax.get_xlabel() == "CH$_4$ mole fraction (pptv)"
    assert "km" in ax.get_ylabel()


def test_averaging_kernel__rows_and_response():
    ax = plot_averaging_kernel(level2(), "ch4", every=10)
    response = next(line for line in ax.lines if "response" in line.get_label())
    np.testing.assert_allclose(response.get_xdata(), 0.5)
    rows = [line for line in ax.lines if np.max(line.get_xdata()) == 0.5]
    assert len(rows) == 5 + 1
    assert ax.figure.axes[-1].get_ylabel() == "level of the row (km)"


def test_map__signed_colours_and_holes():
    grid = Grid(latitude=[-90, 0, 90], altitude=[0, 20, 40, 100])
    maps = grid_level2([level2(i) for i in range(4)], grid)
    ax = plot_map(maps, "ch4")
    mesh = ax.collections[0]
    low, high = mesh.get_clim()
    assert low == -high
    values = np.ma.filled(mesh.get_array(), np.nan)
    expected = maps["ch4_mean"].transpose("altitude", "latitude").values * 1e12
    np.testing.assert_allclose(values, expected)
    assert np.isnan(values[:, 0]).all()
    assert "latitude" in ax.get_xlabel()
    assert "altitude" in ax.get_ylabel()
    few = plot_map(maps, "ch4", "upper_limit", minimum_count=5)
    hatched = next(one for one in few.collections if one.get_gid() == "few")
    assert len(hatched.get_paths()) == 3
    assert "hatched: fewer than 5 (3 cells)" in few.get_title(loc="left")


def test_map__latitude_solar_longitude():
    grid = Grid(latitude=[-90, 0, 90], solar_longitude=range(0, 361, 90))
    ax = plot_map(grid_level2(level2(), grid), "ch4", "count", minimum_count=1)
    assert "solar longitude" in ax.get_xlabel()
    assert ax.collections[0].get_array().sum() == 1


def test_limits__lowest_of_each_profile_and_of_a_map():
    many = [level2(i, latitude) for i, latitude in enumerate([-60.0, 0.0, 45.0])]
    ax = plot_limits(many)
    points = ax.collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], [-60, 0, 45])
    lowest = [float(ds["ch4_upper_limit"].min()) * 1e12 for ds in many]
    np.testing.assert_allclose(points[:, 1], lowest)
    assert "2-sigma" in ax.get_ylabel()
    assert ax.get_yscale() == "log"
    maps = grid_level2(many, Grid(latitude=range(-90, 91, 30)))
    assert len(plot_limits(maps).lines) == 2


def test_plots__draw_without_warnings(level1, tmp_path):
    plot_fit(level1, level2())[0].figure.savefig(tmp_path / "a.png", dpi=40)
    plot_limits([level2()]).figure.savefig(tmp_path / "b.png", dpi=40)
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_plots__what_is_missing_is_named(level1):
    ds = level2()
    three = grid_level2(ds, Grid(latitude=[-90, 90]))
    for draw, rule in [
        (lambda: plot_profile(ds, "h2o"), "plot.variable"),
        (lambda: plot_averaging_kernel(ds, "h2o"), "plot.variable"),
        (lambda: plot_spectrum(level1, 9), "plot.row"),
        (lambda: plot_fit(level1, ds.drop_vars("residual")), "plot.variable"),
        (lambda: plot_fit(level1, ds.isel(pixel=slice(3))), "plot.shape"),
        (lambda: plot_map(three, "ch4"), "plot.shape"),
        (lambda: plot_limits([], "ch4", against="time"), "plot.against"),
        (lambda: plot_limits(three, "ch4", against="altitude"), "plot.variable"),
        (lambda: plot_map(three, "ch4", "median"), "plot.quantity"),
        (lambda: plot_panels(three, "ch4", "mars_year"), "plot.variable"),
        (lambda: plot_product(level1, bin_number=7), "plot.bin"),
        (lambda: plot_residuals(ds.drop_vars("residual")), "plot.variable"),
        (lambda: best_slice(three, "ch4", {"latitude": 100.0}), "plot.place"),
        (lambda: pictures(ds, gases=["xe"]), "plot.variable"),
        (lambda: pictures(ds, at={"altitude": 3.0}), "plot.place"),
    ]:
        with pytest.raises(TgoError) as caught:
            draw()
        assert caught.value.rule == rule
