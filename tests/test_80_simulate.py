"""The simulator: products that read back, physics against the fit's forward model."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import xarray as xr

from tgo_spectra.errors import InstrumentError, SetupError, TableError
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.readers import open_product
from tgo_spectra.retrieval.measurement import planet_radius
from tgo_spectra.retrieval.models.so.solution import build_scene
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate import simulate_level1, simulate_product

WATER = ([0.0, 20.0, 40.0, 60.0], [2e-4, 1e-4, 2e-5, 1e-6])
HEAVY = (WATER[0], [1.5e-3 * vmr for vmr in WATER[1]])
QUIET = {"noise": False, "wobble": 0.0, "calibration": 0.0, "bin_shift_px": (0.0,) * 4}
CLEAR = {"aerosol_depth": 0.0, "aerosol_layer": None}


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    path = simulate_product(folder, order=134, ch4=2e-9, seed=7)
    truth = xr.load_dataset(path.with_suffix(".truth.nc"), engine="netcdf4")
    return path, open_product(path).load(), truth


def test_product_reads_back(product):
    _, level1, truth = product
    assert dict(level1.sizes) == {"spectrum": 491, "edge": 2, "point": 5, "pixel": 320}
    assert level1.attrs["channel"] == "so"
    assert level1.attrs["observation_type"] == "ingress"
    assert "SYNTHETIC" in level1.attrs["title"]
    altitude = level1["tangent_altitude"].values
    assert (np.diff(altitude) > -0.011).all()
    # ingress: time runs backwards in the table
    assert level1["time"].values[0] > level1["time"].values[-1]
    np.testing.assert_allclose(altitude, truth["tangent_altitude"], atol=0.0101)
    np.testing.assert_array_equal(level1["bin"], truth["bin"])
    assert np.unique(level1["bin_start"]).tolist() == [120, 124, 128, 132]
    assert planet_radius(level1, xr.Dataset())[0] == pytest.approx(3389.5, abs=0.01)
    assert float(level1["solar_longitude"][0]) == pytest.approx(192.9, abs=0.1)


def test_wavenumber_is_the_archives_and_the_shift_only_in_the_truth(product):
    _, level1, truth = product
    np.testing.assert_allclose(
        level1["wavenumber"], truth["wavenumber_file"], atol=5.1e-4
    )
    step = np.gradient(truth["wavenumber_file"].values)
    moved = (truth["wavenumber_true"] - truth["wavenumber_file"]).values / step
    x = (np.arange(320) - 159.5) / 159.5
    expected = truth.attrs["shift_px"] + truth.attrs["stretch_px"] * x
    np.testing.assert_allclose(moved, expected, atol=1e-4)
    assert abs(truth.attrs["shift_px"]) <= 0.6
    text = " ".join(map(str, level1.attrs.values()))
    assert "shift" not in text


def test_noise_has_the_written_error(product):
    _, level1, truth = product
    clean = truth["transmittance_clean"] * truth["calibration_factor"]
    z = (level1["transmittance"] - clean) / level1["transmittance_error"]
    noisy = np.zeros(z.shape, dtype=bool)
    for pixel in (84, 269):
        noisy[level1["bin"].values == 2, pixel] = True
    good = z.values[~noisy]
    assert np.std(good) == pytest.approx(1.0, abs=5.0 / np.sqrt(2 * good.size))
    assert np.mean(good) == pytest.approx(0.0, abs=5.0 / np.sqrt(good.size))
    assert np.std(z.values[noisy]) > 20.0
    best = 1.0 / level1["transmittance_error"].values[-1].min()
    assert best == pytest.approx(2300.0, rel=0.01)


def test_corners_give_the_field_of_view(product):
    from tgo_spectra.geometry import field_of_view_from_corners

    _, level1, _ = product
    z = level1["tangent_altitude_areoid"].values
    assert np.isnan(z[0, 1:]).any()
    assert np.isfinite(z[:, 0]).all()
    boxes = field_of_view_from_corners(z[50:]).boxcars_km
    np.testing.assert_allclose(
        np.median(boxes, axis=0), [0.974, 0.343, 0.167], atol=6e-3
    )


def test_truth_records_profiles_and_options(product):
    path, _, truth = product
    assert truth.attrs["product"] == path.stem
    assert truth.attrs["option_seed"] == 7
    assert truth.attrs["option_vmr_ch4"] == "2e-09"
    np.testing.assert_array_equal(truth["ch4_vmr"], 2e-9)
    assert {"pressure", "temperature", "h2o_vmr"} <= set(truth.data_vars)


def test_equal_seeds_give_equal_bytes(tmp_path):
    options = {"altitude_range": (5.0, 15.0), "seed": 3}
    first = simulate_product(tmp_path / "a", **options)
    second = simulate_product(tmp_path / "b", **options)
    other = simulate_product(tmp_path / "c", **options | {"seed": 4})
    tables = [p.with_suffix(".tab").read_bytes() for p in (first, second, other)]
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_zip_reads_back(tmp_path):
    path = simulate_product(tmp_path, altitude_range=(5.0, 15.0), zip=True)
    assert path.suffix == ".zip"
    assert open_product(path).sizes["pixel"] == 320


def test_seconds_set_the_number_of_rows():
    result = simulate_level1(seconds=200, observation="egress", noise=False)
    assert result.level1.sizes["spectrum"] == pytest.approx(800, abs=8)
    times = result.level1["time"].values
    assert times[0] < times[-1]


@functools.lru_cache
def _both(order: int, *, aerosol: bool) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of the simulator and of the fit's forward model at the true state."""
    setup = load_setup(f"so_{order}")
    options = {} if aerosol else CLEAR
    simulated = simulate_level1(
        order=order,
        vmr={"ch4": 5e-9, "h2o": WATER, "hdo": HEAVY, "co2": 0.95},
        gases=setup.gases,
        n_orders=setup.instrument.n_orders,
        noisy_pixels=(),
        shift_px=0.4,
        stretch_px=0.06,
        altitude_range=(1.0, 110.0),
        **QUIET,
        **options,
    )
    from tgo_spectra.atmosphere import reference_atmosphere

    air = reference_atmosphere(np.arange(-5.0, 161.0, 0.25), level1=simulated.level1)
    scene, _ = build_scene(simulated.level1, setup, air)
    z = scene.limb.altitude_km
    constant = {"ch4": np.full(z.size, 5e-9), "co2": np.full(z.size, 0.95)}
    vmr = constant | {"h2o": np.interp(z, *WATER), "hdo": np.interp(z, *HEAVY)}
    fields = forward.pixel_values(scene.limb, scene.operator(0.4, 0.06), vmr)
    model = scene.rows @ fields.value.T
    rows, pixels = scene.prepared.rows, scene.prepared.pixels
    clean = simulated.truth["transmittance_clean"].values[rows][:, pixels]
    return clean, model


@pytest.mark.parametrize("order", [134, 136])
def test_forward_model_agrees(order):
    clean, model = _both(order, aerosol=False)
    assert model.min() < 0.97
    assert np.abs(clean - model).max() < 1e-4


def test_forward_model_agrees_up_to_the_aerosols_baseline():
    clean, model = _both(134, aerosol=True)
    x = np.linspace(-1.0, 1.0, clean.shape[1])
    worst = 0.0
    for measured, shape in zip(clean, model, strict=True):
        design = np.polynomial.legendre.legvander(x, 4) * shape[:, None]
        fitted = design @ np.linalg.lstsq(design, measured, rcond=None)[0]
        worst = max(worst, float(np.abs(fitted - measured).max()))
    # what stays is the exponent inside the sum over orders, which the fit has as an
    # own element of its state
    assert worst < 5e-4


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ordre": 134}, SetupError, "did you mean 'order'"),
        ({"observation": "grazing"}, SetupError, "'grazing'"),
        ({"altitude_range": (50.0, 20.0)}, SetupError, "altitude_range"),
        ({"seconds": 1}, SetupError, "seconds"),
        ({"seed": -1}, SetupError, "seed"),
        ({"vmr": {"ch4": ([1.0, 0.0], [0.0, 0.0])}}, SetupError, "ascending"),
        ({"vmr": {"ch4": float("nan")}}, SetupError, "finite"),
        ({"vmr": {"c2h6": 1e-9}}, TableError, "c2h6"),
        ({"order": 168, "table": "so_134_136"}, TableError, "covers"),
        ({"n_orders": 12}, InstrumentError, "cover"),
        ({"bin_shift_px": (0.0,)}, SetupError, "bin_shift_px"),
    ],
)
def test_wrong_options_are_refused(options, error, text):
    with pytest.raises(error, match=text):
        simulate_level1(**options)
