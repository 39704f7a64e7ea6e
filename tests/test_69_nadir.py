"""Columns from simulated LNO nadir spectra, whose truth is known."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from reference.validate_nadir import validate_nadir

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.errors import AtmosphereError, InstrumentError, RetrievalError
from tgo_spectra.instruments import lno
from tgo_spectra.instruments.nadir import slant_factor
from tgo_spectra.instruments.response.channels import lno_operator, table_cells
from tgo_spectra.instruments.response.tabulated import apply
from tgo_spectra.retrieval import solve
from tgo_spectra.retrieval.models.lno import fit as nadir_fit
from tgo_spectra.retrieval.models.lno import model as nadir_models
from tgo_spectra.retrieval.models.lno import nodes as nadir_nodes
from tgo_spectra.retrieval.models.lno import retrieve_nadir
from tgo_spectra.retrieval.models.lno.scene import STATUS, AirProfile, layers_above
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate.nadir import simulate_nadir_level1, simulate_nadir_product
from tgo_spectra.spectroscopy.tables.thinning import random_depths

SETUP = load_setup("lno_189_190_co")
PLAIN = SETUP.replace(systematics={"enabled": False})
"""Without noise spectra would tell of their errors what the model is not good for."""


def _air(truth):
    names = ["pressure", "temperature", "number_density"]
    return truth[names + [f"{gas}_vmr" for gas in SETUP.gases]]


@pytest.fixture(scope="module")
def noisy():
    level1, truth = simulate_nadir_level1(order=190, n_spectra=6, seed=4)
    return level1, truth, retrieve_nadir(level1, SETUP, _air(truth))


def _model(level1, shift_px):
    return nadir_models.nadir_model(
        level1.wavenumber.values,
        order=190,
        aotf_frequency_khz=float(level1.aotf_frequency),
        temperature_c=-5.0,
        setup=SETUP,
        shift_px=shift_px,
    )


@pytest.fixture(scope="module")
def kernel():
    """Product without noise, model made near its shift, layers and optical depths."""
    level1, truth = simulate_nadir_level1(order=190, n_spectra=1, noise=False)
    model = _model(level1, 0.2)
    layers, _ = layers_above(AirProfile.of(_air(truth), SETUP), 0.0, 1.2, 1.0)
    (weights,) = nadir_models.state_weights(model, [layers])
    (depths,) = nadir_models.optical_depths(model, [(layers, weights)])
    return level1, model, layers, depths


def test_retrieve_nadir__closed_loop_without_noise():
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=3, noise=False, incidence_deg=(20.0, 75.0)
    )
    level2 = retrieve_nadir(level1, PLAIN, _air(truth))
    assert (level2.status == 0).all()
    np.testing.assert_allclose(level2.co_column, truth.co_column, rtol=2e-4)
    np.testing.assert_allclose(level2.spectrum_shift, 0.4, atol=1e-3)
    np.testing.assert_allclose(level2.surface_pressure, truth.surface_pressure, 1e-3)


@pytest.mark.parametrize("setup", ["lno_189_190_co", "lno_167_169_h2o"])
def test_validate_nadir__error_bars_hold(setup):
    figures = validate_nadir(200, setup=setup)
    assert abs(figures["noiseless_bias"]) < 5e-4
    assert abs(figures["mean_z"]) < 0.1
    assert 0.639 <= figures["coverage"] <= 0.727
    assert 0.934 <= figures["within_two_sigma"] <= 0.974
    # at zero, where lines are weakest, as wide as more of the gas may be: 1.05 to 1.15
    # times what the noise does
    assert 0.639 <= figures["null_coverage"] <= 0.78
    assert figures["false_positive_rate"] <= 0.005
    assert figures["converged"] == figures["null_converged"] == 1.0


@pytest.mark.parametrize(
    ("option", "worst"),
    [({"resolution_factor": 1.2}, 0.05), ({"temperature_offset_k": 7.0}, 0.05)],
)
def test_retrieve_nadir__what_else_is_wrong_is_covered(option, worst):
    """A line shape wider by a fifth, warmer air: told by the spectrum, or said."""
    level1, truth = simulate_nadir_level1(order=190, n_spectra=6, seed=8, **option)
    found = {
        name: retrieve_nadir(level1, setup) for name, setup in
        (("whole", SETUP), ("plain", PLAIN))
    }  # fmt: skip
    off = {k: (v.co_column - truth.co_column) / truth.co_column
           for k, v in found.items()}  # fmt: skip
    whole = found["whole"]
    z = (whole.co_column - truth.co_column) / whole.co_column_error
    print({k: v.values.round(3) for k, v in off.items()}, z.values.round(2))
    assert np.abs(z).max() < 3.0
    assert abs(float(off["whole"].mean())) < abs(float(off["plain"].mean())) + worst
    squares = sum(
        whole[f"co_column_systematic_{name}"] ** 2
        for name in ("temperature", "pressure", "spectroscopy", "resolution",
                     "aotf_centre", "aotf_width", "dust", "zero_level", "surface")
    )  # fmt: skip
    np.testing.assert_allclose(squares, whole.co_column_systematic_error**2)
    assert (whole.quality_flag == 0).all()


def test_retrieve_nadir__gases_beside_may_be_of_the_reference(noisy):
    """Of a gas that the atmosphere does not name; of that of the setup it must."""
    level1, truth, _ = noisy
    few, air = level1.isel(spectrum=slice(2)), _air(truth)
    found = retrieve_nadir(few, PLAIN, air.drop_vars("hdo_vmr"))
    assert found.attrs["profiles_of_reference"] == "hdo"
    whole = retrieve_nadir(few, PLAIN, air)
    assert whole.attrs["profiles_of_reference"] == "none"
    np.testing.assert_allclose(found.co_column, whole.co_column, rtol=0.02)
    with pytest.raises(AtmosphereError, match="co_vmr"):
        retrieve_nadir(few, PLAIN, air.drop_vars("co_vmr"))


def test_retrieve_nadir__errors_hold_what_the_air_says_of_itself(noisy):
    level1 = noisy[0]
    air = tgo.reference_atmosphere(level1=level1)
    plain = air.drop_vars(["temperature_uncertainty", "pressure_uncertainty"])
    one = level1.isel(spectrum=slice(0, 1))
    own, given = (retrieve_nadir(one, SETUP, a) for a in (air, plain))
    for source in ("temperature", "pressure"):
        name = f"co_column_systematic_{source}"
        sizes = [found[name].attrs["magnitude"] for found in (own, given)]
        assert sizes[0] > 1.2 * sizes[1]
        ratio = np.abs(own[name] / given[name])
        np.testing.assert_allclose(ratio, sizes[0] / sizes[1], rtol=0.15)
    assert float(own.co_column_mole_fraction_error[0]) > float(
        given.co_column_mole_fraction_error[0]
    )


def test_retrieve_nadir__noise_within_errors(noisy):
    _, truth, level2 = noisy
    z = (level2.co_column - truth.co_column) / level2.co_column_error
    assert np.abs(z).max() < 4.0
    assert np.abs(z).max() > 0.1
    assert level2.co_column_detected.all()


def _state(depths, shift_px, first=1.0):
    """Factors on the gases, the first other than one, and the shift."""
    return np.array([first, *np.ones(len(depths) - 1), shift_px])


def test_spectrum__no_absorption_gives_one(kernel):
    _, model, _, depths = kernel
    assert model.beyond_table == ()
    value, _, _ = nadir_fit.spectrum(model, 0.0 * depths, _state(depths, 0.5))
    np.testing.assert_allclose(value, 1.0, atol=1e-6)


def test_spectrum__shift_by_derivatives_is_that_of_a_model_made_there(kernel):
    level1, model, _, depths = kernel
    state = _state(depths, 0.4)
    moved, _, _ = nadir_fit.spectrum(model, depths, state)
    there, _, _ = nadir_fit.spectrum(_model(level1, 0.4), depths, state)
    unmoved, _, _ = nadir_fit.spectrum(model, depths, _state(depths, 0.2))
    assert np.abs(moved - there).max() < 1e-2 * np.abs(unmoved - there).max()


def test_spectrum__derivatives_agree_with_differences(kernel):
    _, model, _, depths = kernel
    state = _state(depths, 0.3, 0.9)
    state[1:3] = 1.05, 1.1
    _, derivative, _ = nadir_fit.spectrum(model, depths, state)
    for k in range(state.size):
        step = np.zeros(state.size)
        step[k] = 1e-4
        above = nadir_fit.spectrum(model, depths, state + step)[0]
        below = nadir_fit.spectrum(model, depths, state - step)[0]
        numeric = (above - below) / 2e-4
        scale = np.abs(derivative[k]).max()
        np.testing.assert_allclose(derivative[k], numeric, atol=1e-6 * scale)


def test_column_kernel__as_perturb_and_retrieve(kernel):
    _, model, layers, depths = kernel
    state = _state(depths, 0.3)

    def fit(mole_fraction):
        air = dataclasses.replace(layers, mole_fraction=mole_fraction)
        (weights,) = nadir_models.state_weights(model, [air])
        (depths,) = nadir_models.optical_depths(model, [(air, weights)])
        y = 0.25 * nadir_fit.spectrum(model, depths, state)[0]
        return nadir_fit.fit_spectrum(model, y, layers, noise=1e-4)

    base = fit(layers.mole_fraction)
    column = layers.columns_cm2[0]
    for layer in (0, 12, 25):
        changed = layers.mole_fraction.copy()
        changed[0, layer] *= 1.02
        added = 0.02 * layers.mole_fraction[0, layer] * layers.air_cm2[layer]
        found = (fit(changed).state[0] - base.state[0]) * column / added
        assert found == pytest.approx(base.column_kernel[layer], rel=0.05, abs=0.02)


def test_fit_spectrum__stops_where_more_steps_change_nothing(kernel, monkeypatch):
    _, model, layers, depths = kernel
    y = 0.25 * nadir_fit.spectrum(model, depths, _state(depths, 0.3, 1.5))[0]
    y = y + 2.5e-3 * np.random.default_rng(5).standard_normal(y.size)
    found = nadir_fit.fit_spectrum(model, y, layers)
    monkeypatch.setattr(solve, "LIMIT", 1e-10)
    longer = nadir_fit.fit_spectrum(model, y, layers)
    assert longer.iterations > found.iterations
    assert (np.abs(longer.state - found.state) < 5e-3 * found.error).all()


def test_layers_above__slant_is_that_of_a_sphere():
    _, truth = simulate_nadir_level1(
        order=190, n_spectra=1, noise=False, incidence_deg=(75.0, 75.0),
        emission_deg=(0.0, 0.0), topography_km=(0.0, 0.0),
    )  # fmt: skip
    secant = 1.0 / np.cos(np.radians(75.0))
    layers, _ = layers_above(AirProfile.of(_air(truth), SETUP), 0.0, secant, 1.0)
    assert layers.air_mass == pytest.approx(float(truth.air_mass[0]), rel=2e-4)
    # 1 / cos alone is 4 % too much there (docs/explanation/instruments.rst)
    assert secant / (layers.air_mass - 1.0) == pytest.approx(1.04, abs=0.006)


def test_slant_factor__integrates_to_the_chord():
    radius, top, angle = 3390.0, 100.0, np.radians(70.0)
    heights = (np.arange(20000) + 0.5) * top / 20000
    path = slant_factor(1.0 / np.cos(angle), heights, radius).mean() * top
    # law of cosines for the ray from the surface to the top
    exact = -radius * np.cos(angle) + np.sqrt(
        (radius + top) ** 2 - (radius * np.sin(angle)) ** 2
    )
    assert path == pytest.approx(exact, rel=1e-8)
    with pytest.raises(InstrumentError, match="secant"):
        slant_factor(0.9, heights, radius)


@pytest.mark.parametrize("shift_px", [-3.3, 1.6])
def test_retrieve_nadir__finds_a_shift_of_several_pixels(shift_px):
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=4, noise=False, shift_px=shift_px
    )
    level2 = retrieve_nadir(level1, PLAIN, _air(truth))
    assert level2.attrs["product_shift_from"] == "mean spectrum"
    assert level2.attrs["product_shift_px"] == pytest.approx(shift_px, abs=0.01)
    np.testing.assert_allclose(level2.co_column, truth.co_column, rtol=5e-4)


@pytest.mark.parametrize("shift_px", [9, -20, 40])
def test_retrieve_nadir__lines_that_are_elsewhere_are_no_absence(noisy, shift_px):
    """Where they are not looked for the column is next to nothing, and so its error."""
    level1, truth, _ = noisy
    name = SETUP.signal
    moved = np.roll(level1[name].values, shift_px, axis=1)
    other = level1.assign({name: (level1[name].dims, moved)})
    level2 = retrieve_nadir(other, SETUP, _air(truth))
    found = quality.names(level2.quality_flag.values)
    assert "parameter_at_limit" in found
    assert quality.severe(level2.quality_flag.values).all()


def test_retrieve_nadir__small_columns_by_noise_have_no_small_errors():
    """Weak lines say most of a column: by their slope the errors were 50 times off."""
    level1, truth = simulate_nadir_level1(order=190, n_spectra=60, snr=10.0, seed=5)
    level2 = retrieve_nadir(level1, SETUP, _air(truth))
    z = (level2.co_column - truth.co_column) / level2.co_column_error
    assert float(np.abs(z).max()) < 5.0
    assert float((np.abs(z) < 2.0).mean()) > 0.9
    small = float(level2.co_column_error.min() / level2.co_column_error.median())
    assert small > 0.1
    # means of such columns are off all the same, and maps have to know
    found = quality.names(level2.quality_flag.values)
    assert "error_depends_on_value" in found
    mean = retrieve_nadir(level1, SETUP.replace(average=15), _air(truth))
    assert not quality.severe(mean.quality_flag.values).any()
    weight = mean.co_column_error**-2.0
    average = float((mean.co_column * weight).sum() / weight.sum())
    assert average == pytest.approx(float(truth.co_column.mean()), rel=0.2)


def test_retrieve_nadir__without_lines_the_wavenumbers_stay():
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=6, mole_fraction={"co": 0.0}, seed=2
    )
    air = _air(truth)
    air["co_vmr"] = air.co_vmr.copy(data=air.co_vmr.values + 8e-4)
    level2 = retrieve_nadir(level1, SETUP, air)
    assert level2.attrs["product_shift_from"] == "a priori"
    assert level2.attrs["product_shift_px"] == 0.0
    assert not level2.co_column_detected.any()
    assert (level2.co_column_upper_limit > 0.0).all()


def test_retrieve_nadir__chunks_are_lazy_and_give_the_same_bits(noisy):
    level1, truth, level2 = noisy
    lazy = retrieve_nadir(level1.chunk(spectrum=2), SETUP, _air(truth))
    assert lazy.co_column.chunks is not None
    xr.testing.assert_identical(lazy.compute(), level2)


def test_retrieve_nadir__average_lowers_the_error(noisy):
    level1, truth, level2 = noisy
    mean = retrieve_nadir(level1, SETUP.replace(average=3), _air(truth))
    assert mean.n_averaged.values.tolist() == [3.0, 3.0]
    name = "co_column_noise_error"
    ratio = float(mean[name].mean() / level2[name].mean())
    assert ratio == pytest.approx(3.0**-0.5, rel=0.2)


def test_retrieve_nadir__says_why_a_spectrum_is_left_out(noisy):
    level1, truth, level2 = noisy
    bad = level1.copy(deep=True)
    bad.y_valid_flag[0] = False
    bad.incidence_angle[1] = np.nan
    bad.incidence_angle[2] = 80.0
    bad.reflectance_factor[3, 50:] = np.nan
    bad.reflectance_factor[4] = 1e-3
    found = retrieve_nadir(bad, SETUP, _air(truth))
    assert [STATUS[k] for k in found.status.values] == [
        "flagged_invalid",
        "no_geometry",
        "angle_too_large",
        "too_few_pixels",
        "too_dark",
        "used",
    ]
    assert np.isnan(found.co_column[:5]).all()
    # the shift of the product is that of the good ones, here of one
    change = abs(float(found.co_column[5] - level2.co_column[5]))
    assert change < 0.05 * float(level2.co_column_error[5])


def test_retrieve_nadir__normalised_column_forgets_topography():
    level1, truth = simulate_nadir_level1(
        order=190, n_spectra=4, noise=False, topography_km=(0.0, 3.0)
    )
    level2 = retrieve_nadir(level1, PLAIN, _air(truth))

    def spread(v):
        return float((v.max() - v.min()) / v.mean())

    assert spread(level2.co_column) > 0.2
    assert spread(level2.co_column_normalised) < 0.01


def test_simulate_nadir__drawn_factors_are_in_the_columns():
    _, plain = simulate_nadir_level1(order=190, n_spectra=3, noise=False)
    _, drawn = simulate_nadir_level1(
        order=190, n_spectra=3, noise=False, factor_sigma={"co": 0.1}
    )
    ratio = drawn.co_column / plain.co_column
    assert float(ratio.std()) > 0.01
    np.testing.assert_array_equal(drawn.h2o_column, plain.h2o_column)


def test_retrieve_nadir__wrong_order_is_refused(noisy):
    level1, truth, _ = noisy
    with pytest.raises(RetrievalError, match="190"):
        retrieve_nadir(level1, load_setup("lno_167_169_h2o"), _air(truth))


def test_product__write_read_retrieve(tmp_path):
    label = simulate_nadir_product(tmp_path, n_spectra=2, noise=False)
    truth = xr.open_dataset(label.with_name(f"{label.stem}.truth.nc"))
    level2 = retrieve_nadir(tgo.open_product(label), PLAIN, _air(truth))
    np.testing.assert_allclose(level2.co_column, truth.co_column, rtol=5e-3)
    path = tgo.write_level2(level2, tmp_path / "co.nc")
    again = xr.open_dataset(tmp_path / "co.nc")
    np.testing.assert_array_equal(again.co_column, level2.co_column)
    assert path is None or tmp_path in path.parents


def test_nadir_band__few_nodes_stand_for_all_in_unseen_air():
    """Atmospheres wider than any of Mars, others than those of the choice."""
    whole = nadir_nodes.band_of(SETUP.table, SETUP.gases)[0]
    frequency = float(lno.AOTF_FREQUENCY_KHZ[190])
    few = nadir_nodes.nadir_band(SETUP, 190, frequency, -4.0)
    assert few.nodes_cm1.size < 0.25 * whole.nodes_cm1.size
    depths = random_depths(whole, 10, seed=99)
    pixels = np.arange(20, 300, 20)

    def seen(band):
        tau = sum(depths[gas] @ band.vectors[gas] for gas in SETUP.gases)
        gas = depths["co"] @ band.vectors["co"]
        cells, nodes = nadir_models.extended_cells(table_cells(band), 3000.0, 5000.0)
        fields = np.zeros((cells.node_cell.size, 2 * len(tau)))
        fields[nodes] = np.hstack([-np.expm1(-tau.T), (gas * np.exp(-tau)).T])
        operator = lno_operator(
            cells,
            pixels=pixels,
            pixel_wavenumber_cm1=lno.pixel_wavenumber(190, pixels, -4.0),
            order=190,
            aotf_frequency_khz=frequency,
            temperature_c=-4.0,
            resolving_power=SETUP.instrument.resolving_power,
            n_orders=SETUP.instrument.n_orders,
            dtype=np.float64,
        )
        return apply(operator, fields)

    exact = seen(whole)
    error = seen(few) - exact
    assert exact.max() > 0.2
    assert error.std() < 1.5e-5
    assert np.abs(error).max() < 1.5e-4
