"""Ozone from UVIS: kernel, columns, profiles, flags, error bars on simulated data."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import msgspec
import numpy as np
import pytest
import xarray as xr
from reference.validate_uvis import (
    detected_levels,
    ozone_profile,
    validate_uvis,
    with_measurement,
)

import tgo_spectra as tgo
from tgo_spectra.atmosphere import read_atmosphere
from tgo_spectra.errors import LineListError, RetrievalError, SetupError
from tgo_spectra.retrieval.models.uvis import fit as uvis_fit
from tgo_spectra.retrieval.models.uvis import retrieve_uvis
from tgo_spectra.retrieval.models.uvis import solve as uvis_solve
from tgo_spectra.retrieval.models.uvis.scene import build_scene, continuum_basis
from tgo_spectra.retrieval.models.uvis.setup import OzonePrior, UvisSetup
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate.uvis import (
    simulate_uvis_level1,
    simulate_uvis_product,
    synthetic_ozone_cross_section,
)
from tgo_spectra.spectroscopy.rayleigh import rayleigh_cross_section_co2
from tgo_spectra.spectroscopy.ultraviolet import read_uv_cross_section
from tgo_spectra.variables import validate

SMALL = {"pixels": 256, "row_step_km": 2.0, "altitude_range": (4.0, 96.0)}
Z = np.arange(-5.0, 131.0)
OZONE = (Z, ozone_profile(Z))
MEASURED = "linelists/o3_uvvis_xsec_daumont-brion-malicet_195-830nm.csv.gz"
PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "how-to" / "uvis.rst"


def setup_of(**changes):
    return UvisSetup().replace(**{"grid": {"step_km": 2.0}, **changes})


def air_of(truth):
    names = ["pressure", "temperature", "co2_vmr"]
    return read_atmosphere(truth[names].isel(altitude=slice(None, None, 5)))


@pytest.fixture(scope="module")
def data():
    return synthetic_ozone_cross_section()


@pytest.fixture(scope="module")
def clean(data):
    """Scene without noise, and the truth."""
    options = SMALL | {"noise": False, "wobble": 0.0, "ozone": OZONE}
    level1, truth = simulate_uvis_level1(data, **options)
    return build_scene(level1, data, setup_of(), air_of(truth)), truth


@pytest.fixture(scope="module")
def solved(clean):
    return uvis_solve.solve(clean[0], setup_of())


@pytest.fixture(scope="module")
def noisy(data):
    level1, truth = simulate_uvis_level1(data, **SMALL, ozone=OZONE, seed=3)
    return level1, truth, retrieve_uvis(level1, data, setup_of(), air_of(truth))


def test_residual__is_among_all_spectra_and_pixels(noisy):
    from matplotlib.figure import Figure

    from tgo_spectra.plots import plot_fit

    level1, _, level2 = noisy
    assert level2.residual.shape == level1.transmittance.shape
    row = int(np.isfinite(level2.residual.values).any(axis=1).argmax())
    axes = tuple(Figure().subplots(2))
    top, _ = plot_fit(level1, level2, row, axes)
    fitted = top.get_lines()[1]
    assert np.isfinite(fitted.get_ydata()).any()
    np.testing.assert_array_equal(fitted.get_xdata(), level1.wavelength)


def model_of(rng, nuisances=2):
    terms, rows, nodes, levels, pixels, points = 3, 4, 2, 3, 11, 20
    return uvis_fit.Model(
        spectra=rng.uniform(0.1, 1.0, (terms, points)),
        paths=rng.uniform(0.0, 1.0, (terms, rows, nodes, levels)),
        block=np.array([0, 0, 1]),
        fixed=rng.uniform(0.0, 0.1, (rows, nodes, points)),
        node_weight=np.array([0.3, 0.7]),
        convolution=rng.uniform(0.0, 0.1, (pixels, points)),
        transmittance=rng.uniform(0.2, 0.9, (rows, pixels)),
        weight=rng.uniform(5.0, 20.0, (rows, pixels)),
        nuisance=rng.uniform(0.0, 0.1, (rows, pixels, nuisances)),
    )


def dense(model, slope):
    """Jacobian (row, pixel, state) and covariance of the noise (row, pixel, pixel)."""
    rows, pixels = model.transmittance.shape
    levels = model.paths.shape[3]
    jacobian = np.zeros((rows, pixels, 2 * levels))
    for t, block in enumerate(model.block):
        part = np.einsum("rqp,rql->rpl", slope[:, :, t], model.paths[t])
        jacobian[:, :, block * levels : (block + 1) * levels] += part
    noise = np.einsum("rpk,rmk->rpm", model.nuisance, model.nuisance)
    noise += np.stack([np.diag(1.0 / w**2) for w in model.weight])
    return jacobian, noise


def test_kernel__derivative_is_that_of_the_model():
    rng = np.random.default_rng(1)
    model = model_of(rng)
    for _ in range(5):
        state = rng.normal(size=(2, 3))
        _, slope = uvis_fit.evaluate(model, state)
        jacobian, _ = dense(model, slope)
        for k in range(6):
            step = np.zeros(6)
            step[k] = 1e-5
            step = step.reshape(2, 3)
            up, _ = uvis_fit.evaluate(model, state + step)
            down, _ = uvis_fit.evaluate(model, state - step)
            numeric = (up - down) / 2e-5
            scale = np.abs(numeric).max()
            assert np.abs(jacobian[:, :, k] - numeric).max() < 1e-7 * scale


def test_kernel__normal_equations_are_those_of_full_covariances():
    rng = np.random.default_rng(2)
    model = model_of(rng)
    value, slope = uvis_fit.evaluate(model, rng.normal(size=(2, 3)))
    off = model.transmittance - value
    matrix, vector = uvis_fit.data_terms(model, slope, off)
    jacobian, noise = dense(model, slope)
    inverse = np.linalg.inv(noise)
    np.testing.assert_allclose(
        matrix, np.einsum("rpa,rpm,rmb->ab", jacobian, inverse, jacobian), rtol=1e-10
    )
    wanted = np.einsum("rpa,rpm,rm->a", jacobian, inverse, off)
    np.testing.assert_allclose(vector, wanted, rtol=1e-9)
    np.testing.assert_allclose(
        uvis_fit.gradient_of(model, slope, off), wanted, rtol=1e-9
    )
    cost = uvis_fit._cost(model, off)
    assert cost == pytest.approx(np.einsum("rp,rpm,rm->", off, inverse, off))


def test_rayleigh__refractivity_and_colour():
    # refractivity of CO2 at 0 degC, 1 atm is 4.5e-4 in the yellow; the King factor 1.15
    nm = 589.3
    density, n = 2.6867e19, 1.0 + 4.5e-4
    ratio = (n**2 - 1.0) / (n**2 + 2.0)
    wanted = 24.0 * np.pi**3 * (1e7 / nm) ** 4 / density**2 * ratio**2 * 1.145
    assert rayleigh_cross_section_co2(nm) == pytest.approx(wanted, rel=0.02)
    blue, red = rayleigh_cross_section_co2([250.0, 500.0])
    assert 16.0 < blue / red < 22.0
    with pytest.raises(LineListError, match=r"100\.0"):
        rayleigh_cross_section_co2([100.0])


@pytest.mark.parametrize(("degree", "error"), [(2, 3e-4), (3, 3e-5)])
def test_continuum__represents_powers(degree, error):
    nm = np.linspace(220.0, 340.0, 200)
    basis = continuum_basis(nm, 220.0, 340.0, degree).T
    for exponent in (0.3, 0.5, 1.0, 1.5):
        truth = (270.0 / nm) ** exponent
        fit = basis @ np.linalg.lstsq(basis, truth, rcond=None)[0]
        assert np.abs(fit - truth).max() < error


def test_columns__unbiased_without_noise(clean, solved):
    scene, truth = clean
    slant = solved.slant
    column = truth["o3_slant_column"].values[scene.rows]
    assert slant.fit.converged.all()
    assert np.abs((slant.column - column) / slant.error).max() < 0.1
    high = column > 20.0 * slant.error
    assert high.sum() > 20
    assert np.abs(slant.column / column - 1.0)[high].max() < 5e-4


def test_profile__kernel_says_what_a_change_does(clean, solved):
    scene, _ = clean
    profile = solved.profile
    n = scene.level_km.size
    change = np.zeros_like(profile.state)
    change[0] = 3e-9 * np.random.default_rng(4).normal(size=n)
    space = uvis_solve.space_of(scene, setup_of())
    found = []
    for sign in (1.0, -1.0):
        other, _ = uvis_fit.evaluate(profile.model, profile.state + sign * change)
        y = scene.model.transmittance + other - profile.result.final.value
        model = dataclasses.replace(profile.model, transmittance=y)
        again = uvis_fit.fit_profile(model, space, profile.state, 3)
        found.append(again.state[0])
    moved = 0.5 * (found[0] - found[1])
    kernel = (profile.result.covariance @ profile.result.data_matrix)[:n, :n]
    expected = kernel @ change[0]
    # below the lowest line of sight the a priori bends the answer by some 0.2 %
    seen = scene.level_km >= SMALL["altitude_range"][0]
    assert np.abs(moved - expected)[seen].max() < 2e-4 * np.abs(expected).max()
    assert np.abs(moved - expected).max() < 4e-3 * np.abs(expected).max()


def test_profiles__methods_agree_where_ozone_is_dense(clean, noisy):
    _, truth, level2 = noisy
    z = level2["peeled_altitude"].values
    true = np.interp(z, truth["altitude"].values, truth["o3_number_density"].values)
    dense_there = true > 3e8
    assert dense_there.sum() >= 10
    peeled = level2["o3_number_density_peeled"].values
    joint = np.interp(z, level2["altitude"].values, level2["o3_number_density"].values)
    assert np.median(np.abs(joint / peeled - 1.0)[dense_there]) < 0.03
    for found in (joint, peeled):
        assert np.median(np.abs(found / true - 1.0)[dense_there]) < 0.03


def test_level2__names_units_flags_and_provenance(noisy):
    level1, truth, level2 = noisy
    validate(level2, 2)
    assert {v.attrs.get("units") for v in level2.data_vars.values()} >= {"1", "cm-2"}
    no_units = [
        name
        for name, v in level2.variables.items()
        if "units" not in v.attrs and v.dtype.kind not in "mM"
    ]
    assert no_units == []
    for name in ("setup_hash", "cross_section_medium", "prior_source", "atmosphere"):
        assert level2.attrs[name]
    assert "below 218 K" in level2.attrs["cross_section_held_constant"]
    assert 0.9 < float(level2["reduced_chi_square"]) < 1.1
    assert 15.0 < float(level2["o3_degrees_of_freedom"]) < 60.0
    column = level2["o3_slant_column"].values
    assert column.shape == (level1.sizes["spectrum"],)
    true = truth["o3_slant_column"].values
    error = level2["o3_slant_column_noise_error"].values
    flag = level2["o3_slant_column_detected"].values.astype(bool)
    fitted = np.isfinite(column)
    assert flag[fitted & (true > 8.0 * error)].all()
    levels = ("o3_limit_linear", "o3_limit_delta_chi_square", "o3_limit_flag")
    assert [level2[name].attrs["sigma_level"] for name in levels] == [1.0, 2.0, 3.5]
    # a cross section larger by 2 % means columns smaller by 2 %
    part = level2["o3_slant_column_systematic_cross_section"].values
    high = fitted & (true > 20.0 * error)
    np.testing.assert_allclose(part[high] / column[high], 0.02, rtol=0.1)


@pytest.mark.parametrize("source", ["cross_section", "wavelength", "straylight"])
def test_systematics__are_what_a_wrong_input_does(data, clean, solved, source):
    options = SMALL | {"noise": False, "wobble": 0.0, "ozone": OZONE}
    level1, truth = simulate_uvis_level1(data, **options)
    wrong = data
    if source == "cross_section":
        wrong = data.assign(cross_section=data["cross_section"] / 1.02)
    elif source == "wavelength":
        shifted = level1["wavelength"].values - 0.05
        level1 = level1.assign_coords(wavelength=("pixel", shifted))
    else:
        # a tenth: where it is nearly dark, the whole is more than linear
        stray = np.where(level1["wavelength"].values < 250.0, 2e-4, 0.0)
        level1["transmittance"] = level1["transmittance"] + stray
    scene = build_scene(level1, wrong, setup_of(), air_of(truth))
    found = uvis_solve.solve(scene, setup_of())
    moved = found.slant.column - solved.slant.column
    part = 0.1 if source == "straylight" else 1.0
    expected = part * solved.slant.systematic[source]
    # the lowest spectra are nearly dark: there the first order is not enough
    rows = (solved.slant.column > 20.0 * solved.slant.error) & (scene.tangent_km > 8.0)
    size = np.abs(expected[rows]).max()
    assert np.abs(moved - expected)[rows].max() < 0.06 * size
    change = found.profile.state[0] - solved.profile.state[0]
    wanted = part * solved.end.errors["o3"][source]
    levels = (scene.level_km > 12.0) & (scene.level_km < 55.0)
    assert np.abs(change - wanted)[levels].max() < 0.1 * np.abs(wanted[levels]).max()


def test_product__reads_back_and_masks(tmp_path, data):
    options = SMALL | {"ozone": OZONE, "seed": 5}
    path = simulate_uvis_product(tmp_path, data, **options)
    level1 = tgo.open_product(path)
    truth = xr.open_dataset(path.with_name(f"{path.stem}.truth.nc")).load()
    assert bool(level1["mask"].values[:, 0].all())
    setup = setup_of(method="slant")
    level2 = retrieve_uvis(level1, data, setup, air_of(truth))
    memory, _ = simulate_uvis_level1(data, **options)
    direct = retrieve_uvis(memory, data, setup, air_of(truth))
    difference = level2["o3_slant_column"] - direct["o3_slant_column"]
    assert float(np.abs(difference / direct["o3_slant_column_noise_error"]).max()) < 0.1
    assert "o3_vmr" not in level2
    assert level2.attrs["source_file"].startswith(path.stem)
    # a masked pixel is not used, whatever it holds
    spoilt = memory.copy(deep=True)
    chosen = np.argmin(np.abs(memory["wavelength"].values - 255.0))
    spoilt["transmittance"][:, chosen] = 9.9
    spoilt["mask"][:, chosen] = True
    masked = retrieve_uvis(spoilt, data, setup, air_of(truth))
    off = (masked["o3_slant_column"] - direct["o3_slant_column"]).values
    assert np.nanmax(np.abs(off / direct["o3_slant_column_noise_error"].values)) < 3.0
    assert masked.attrs["masked_values"] > direct.attrs["masked_values"]


@pytest.fixture(scope="module")
def figures():
    return validate_uvis(6, 20, setup=setup_of(), scenario=SMALL)


def test_closed_loop__unbiased(figures):
    # 6 fits of some 47 columns: the standard error of a mean z is 0.06
    assert abs(figures["slant_mean_z"]) < 0.2
    assert abs(figures["profile_mean_z"]) < 0.2
    assert abs(figures["onion_mean_z"]) < 0.2
    assert 0.97 < figures["reduced_chi_square"] < 1.03
    assert figures["converged"] == 1.0


def test_closed_loop__error_bars_cover(figures):
    # binomial standard error of 280 values: 0.028, more where levels are correlated
    for name in ("slant", "profile", "onion", "drawn"):
        assert 0.58 < figures[f"{name}_coverage"] < 0.78, name


def test_closed_loop__detections(figures):
    assert figures["false_positive_rate"] <= 0.01  # 2 of 280 are 0.7 %
    assert figures["profile_false_positive_rate"] <= 0.02
    assert figures["detection_rate"] > 0.99


def test_closed_loop__wrong_errors_are_noticed(clean, solved):
    scene, truth = clean
    rng = np.random.default_rng(6)
    sigma = 1.0 / np.where(scene.model.weight > 0.0, scene.model.weight, np.inf)
    y = scene.model.transmittance + 2.0 * sigma * rng.normal(size=sigma.shape)
    noisy_scene = with_measurement(scene, y)
    shape = solved.profile.state
    found = uvis_solve.fit_columns(noisy_scene, setup_of(), shape[0], shape[1])
    column = truth["o3_slant_column"].values[scene.rows]
    off = np.abs(found.column - column)
    assert (off < found.fit.error[:, 0]).mean() < 0.58
    assert np.median(found.fit.chi_square / found.fit.degrees) > 3.0
    # and what is stated is what the residuals say
    assert 0.58 < (off < found.error).mean() < 0.78


def test_flags__unmodelled_structure_is_no_detection(data):
    options = SMALL | {"noise": False, "wobble": 0.0, "ozone": 0.0}
    level1, truth = simulate_uvis_level1(data, **options)
    scene = build_scene(level1, data, setup_of(), air_of(truth))
    rng = np.random.default_rng(7)
    sigma = 1.0 / np.where(scene.model.weight > 0.0, scene.model.weight, np.inf)
    shape = np.ones(scene.level_km.size)
    single, both = [], []
    for _ in range(4):
        phase = rng.uniform(0.0, 2.0 * np.pi, (sigma.shape[0], 1))
        period = rng.uniform(15.0, 60.0, (sigma.shape[0], 1))
        wave = np.sin(2.0 * np.pi * scene.wavelength_nm / period + phase)
        y = scene.model.transmittance + sigma * (
            rng.normal(size=sigma.shape) + 3 * wave
        )
        found = uvis_solve.fit_columns(
            with_measurement(scene, y), setup_of(), shape, shape
        )
        single.append(found.column > 3.0 * found.fit.error[:, 0])
        both.append(found.limits.detected)
    assert np.mean(single) > 0.1
    assert np.mean(both) < 0.6 * np.mean(single)


def test_profile__no_detection_without_ozone(data):
    level1, truth = simulate_uvis_level1(data, **SMALL, ozone=0.0, seed=8)
    scene = build_scene(level1, data, setup_of(), air_of(truth))
    solution = uvis_solve.solve(scene, setup_of())
    assert detected_levels(solution, setup_of()).sum() <= 1
    assert solution.slant.limits.detected.sum() <= 1


def test_measured_cross_sections__columns_unbiased(shared):
    data = read_uv_cross_section(shared / MEASURED, medium="air")
    options = SMALL | {"noise": False, "wobble": 0.0, "ozone": OZONE}
    level1, truth = simulate_uvis_level1(data, **options)
    scene = build_scene(level1, data, setup_of(), air_of(truth))
    solution = uvis_solve.solve(scene, setup_of())
    column = truth["o3_slant_column"].values[scene.rows]
    offset = (solution.slant.column - column) / solution.slant.error
    assert np.abs(offset).max() < 0.1


def test_setup__file_rules(tmp_path):
    path = tmp_path / "o3.toml"
    path.write_text(
        'kind = "ozone"\ncross_section = "x.csv"\nmedium = "air"\n'
        "[prior]\nconstant = 1e-8\n"
    )
    setup = load_setup(path)
    assert setup.cross_section == str(tmp_path / "x.csv")
    assert setup.prior == OzonePrior(constant=1e-8)
    assert setup.hash() != UvisSetup().hash()
    for text, rule, word in (
        ("[window]\nlow = 1", "setup.invalid", "low"),
        ("name = ", "setup.not_toml", "TOML"),
        ('cross_section = "x.csv"', "setup.inconsistent", "air or of vacuum"),
        ("[window]\nlow_nm = 330.0", "setup.inconsistent", "40 nm"),
    ):
        path.write_text(f'kind = "ozone"\n{text}')
        with pytest.raises(SetupError, match=word) as caught:
            load_setup(path)
        assert caught.value.rule == rule
    with pytest.raises(SetupError, match="no such"):
        load_setup(tmp_path / "missing.toml")


def test_page__has_every_key():
    rows, section = {}, "setup"
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if head := re.match(r"\*\*\[(\w+)\]\*\*", line):
            section = head[1]
        elif row := re.match(r"``(\w+)``\s+(\S+)", line):
            rows[section, row[1]] = row[2]
    wanted = {}
    for item in msgspec.structs.fields(UvisSetup):
        part = item.type
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            fields = msgspec.structs.fields(part)
            wanted |= {(item.name, f.name): f.default for f in fields}
        else:
            wanted["setup", item.name] = item.default
    assert set(rows) == set(wanted)
    for key, default in wanted.items():
        if isinstance(default, int | float):
            assert float(rows[key]) == default, key


def test_refusals(data, noisy, level1):
    product, _, _ = noisy
    with pytest.raises(SetupError, match="none are shipped"):
        retrieve_uvis(product)
    with pytest.raises(RetrievalError, match="UVIS occultation"):
        retrieve_uvis(level1, data)
    with pytest.raises(RetrievalError, match="usable spectra"):
        retrieve_uvis(product.isel(spectrum=slice(0, 5)), data)
    narrow = data.sel(wavelength=slice(250.0, 300.0))
    with pytest.raises(LineListError, match="cover"):
        retrieve_uvis(product, narrow)
    with pytest.raises(RetrievalError, match="lacks"):
        retrieve_uvis(product.drop_vars("transmittance_error"), data)
    with pytest.raises(SetupError, match="unknown option"):
        simulate_uvis_level1(data, colour=3)
    with pytest.raises(SetupError, match="pixels"):
        simulate_uvis_level1(data, pixels=5)
