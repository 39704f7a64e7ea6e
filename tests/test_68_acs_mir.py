"""ACS MIR: methane among CO2 (magnetic dipole) and ozone, from frames to limits.

Truth comes from a line-by-line simulator of its own. Lines of methane and water are
real, those of the CO2 dipole band and of ozone generated.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import synthetic_bands
import xarray as xr
from shared_folder import LISTS

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.batch.resume import resume_key
from tgo_spectra.errors import (
    InstrumentError,
    ProductError,
    RetrievalError,
    SetupError,
    TableError,
)
from tgo_spectra.files.netcdf import open_verified
from tgo_spectra.forward import transmittance as forward
from tgo_spectra.instruments.response import tabulated as operators
from tgo_spectra.readers.acs_stripes import open_spectra
from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval.models.mir import fit, retrieve_mir, systematics
from tgo_spectra.retrieval.models.mir.profiles import build_mir_scene
from tgo_spectra.retrieval.models.mir.scene import SHAPE
from tgo_spectra.retrieval.models.mir.setup import MirSetup
from tgo_spectra.retrieval.setups import load_setup
from tgo_spectra.simulate import mir as simulator
from tgo_spectra.spectroscopy.tables import build_table, write_table
from tgo_spectra.variables import validate

CH4 = LISTS / "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz"
H2O = LISTS / "h2o_iso123_2000-3333_hitran2020online.par.gz"
# ozone as ACS saw it: up to 150 ppbv near 20 km
OZONE = (np.array([0.0, 10, 20, 30, 45]), np.array([0, 0.5e-7, 1.5e-7, 0.5e-7, 0]))
# methane's Q branch with CO2 and O3; and weaker methane among more of both
OPTIONS = {
    "orders": (179, 180, 181),
    "first_pixel_cm1": (3014.4, 3024.9, 3027.5),
    "pixels": 240,
    "mole_fraction": {"ch4": 1e-9, "o3": OZONE},
    "frames": 45,
    "altitude_range": (6.0, 50.0),
    "shift_px": (0.6, -0.4, 0.3),
    "snr": 1000.0,
}
SHIFT = np.array(OPTIONS["shift_px"][:2])
HALF_WIDTH = 2


@pytest.fixture(scope="session")
def mir_lines(shared):
    return {
        "ch4": (tgo.read_line_list(CH4), ("air", 1.3)),
        "h2o": (tgo.read_line_list(H2O), ("air", 1.7)),
        "co2": (synthetic_bands.co2_dipole(), "co2"),
        "o3": (synthetic_bands.o3_3nu3(), "co2"),
    }


@pytest.fixture(scope="session")
def mir_table(mir_lines, tmp_path_factory):
    """Table of both orders; coarse in pressure and temperature, to be quick."""
    table = build_table(
        mir_lines,
        (3012.8, 3033.2),
        step=0.001,
        pressure_pa=np.exp(np.linspace(np.log(1e-3), np.log(1210.0), 18)),
        temperature_k=np.arange(100.0, 301.0, 20.0),
        atmospheres=32,
        verify_atmospheres=0,
        workers=1,
    )
    path = tmp_path_factory.mktemp("mir_table") / "mir.nc"
    write_table(table, path)
    return path


@pytest.fixture(scope="session")
def absorption(mir_lines):
    return simulator.absorb(simulator.MirScenario(**OPTIONS), mir_lines)


@pytest.fixture(scope="session")
def setup(mir_table):
    """The shipped setup on the small table and detector."""
    return load_setup("acs_mir_ch4_position_12").replace(
        table=str(mir_table),
        orders=[179, 180],
        window={"first_pixel": 5, "last_pixel": 234},
        # as far apart as the frames: some tests compare single heights
        grid={"top_km": 80.0, "height_step_km": 1.0},
    )


def spectra(folder, absorption, factors=None, half_width=HALF_WIDTH, **options):
    """Level 1 and truth of a product that is written and read again."""
    path = simulator.simulate_mir_product(
        folder, {}, absorption=absorption, factors=factors, **(OPTIONS | options)
    )
    level1 = tgo.acs_spectra(tgo.open_product_tree(path), half_width).load()
    with xr.open_dataset(path.with_suffix(".truth.nc"), engine="netcdf4") as truth:
        return level1, truth.load()


def noisy(level1, seed):
    rng = np.random.default_rng(seed)
    error = level1["transmittance_error"]
    noise = error * rng.standard_normal(error.shape)
    return level1.assign(transmittance=level1["transmittance"] + noise)


@pytest.fixture(scope="session")
def clean(absorption, tmp_path_factory):
    """Spectra without noise and their truth, with 1 ppbv of methane and none."""
    folder = tmp_path_factory.mktemp("mir")
    return {
        amount: spectra(folder / f"{amount}", absorption, {"ch4": amount}, noise=False)
        for amount in (0.0, 1.0)
    }


@pytest.fixture(scope="session")
def copies(clean, setup):
    """Level 2 of noisy copies, by amount of methane in ppbv."""
    return {
        amount: [retrieve_mir(noisy(level1, 10 + k), setup) for k in range(10)]
        for amount, (level1, _) in clean.items()
    }


def z_of(level2, truth, gas):
    """Departure from what the averaging kernel makes of the truth, over the noise."""
    true = np.interp(level2["altitude"], truth["altitude"], truth[f"{gas}_vmr"])
    kernel = level2[f"{gas}_averaging_kernel"].values.astype(float)
    prior = level2[f"{gas}_vmr_apriori"].values
    off = level2[f"{gas}_vmr"].values - prior - kernel @ (true - prior)
    seen = np.diag(kernel) > 0.3
    return (off / level2[f"{gas}_vmr_noise_error"].values)[seen]


# --- the product ----------------------------------------------------------------------


def test_simulated_product__is_read(clean):
    level1, truth = clean[1.0]
    assert level1.sizes == {"spectrum": 45 * 3, "pixel": 240}
    assert level1.attrs["channel"] == "mir"
    assert level1.attrs["experimental"] == 1
    heights = level1["tangent_altitude"].values
    np.testing.assert_allclose(heights, np.repeat(truth["tangent_altitude"], 3))
    assert level1["order"].values[:3].tolist() == [179, 180, 181]
    assert float(level1["wavenumber"][0, 0]) == pytest.approx(3014.4, abs=0.1)


def test_simulate__same_seed_same_bytes(absorption, tmp_path):
    few = OPTIONS | {"frames": 3, "rows_per_stripe": 1}
    first, second = (
        simulator.simulate_mir_product(
            tmp_path / name, {}, absorption=absorption, **few
        ).with_suffix(".dat")
        for name in "ab"
    )
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"orders": (179, 179)},
        {"shift_px": (0.1,)},
        {"rows_per_stripe": 4},
        {"altitude_range": (50.0, 6.0)},
        {"resolution": 3e4},
    ],
)
def test_simulate__refuses_options(options, tmp_path):
    with pytest.raises(SetupError) as caught:
        simulator.simulate_mir_product(tmp_path, {}, **options)
    assert caught.value.rule == "simulate.option"


# --- from files -----------------------------------------------------------------------


def test_run__product_with_the_keys_of_its_setup(absorption, setup, tmp_path):
    path = simulator.simulate_mir_product(
        tmp_path / "in", {}, absorption=absorption, **OPTIONS
    )
    out = tmp_path / "out"
    # the geometry product lies beside: read with the spectra, not by itself
    rows = tgo.run(tmp_path / "in", out, setup, progress=False)
    assert [(row.product, row.state, row.rule) for row in rows] == [
        (str(path), "done", None)
    ]
    assert rows[0].spectra == 45 * 3
    level2 = open_verified(rows[0].output).load()
    tree = tgo.open_product_tree(path)
    direct = tgo.retrieve(tgo.acs_spectra(tree, HALF_WIDTH), setup)
    np.testing.assert_array_equal(level2["ch4_vmr"], direct["ch4_vmr"])
    expected = {
        "row_half_width": HALF_WIDTH,
        "geometry_join": "time",
        "geometry_table": "Geometry-1",
        "geometry_time_tolerance": "half the median step of the table",
        "frames_without_geometry": 0,
        "secondary_grating_position": 12,
        "experimental": 1,
    }
    assert {key: level2.attrs[key] for key in expected} == expected
    assert "acs_geo_mir" in level2.attrs["geometry_product"]
    again = tgo.run(path, out, setup, progress=False)
    assert again[0].state == "skipped"
    # the key knows half width and geometry
    geometry = next((tmp_path / "in").glob("acs_geo*.dat"))
    keys = [resume_key(path, setup, None)]
    keys.append(resume_key(path, setup.replace(frames={"half_width": 1}), None))
    geometry.write_bytes(geometry.read_bytes() + b" ")
    keys.append(resume_key(path, setup, None))
    assert len(set(keys)) == 3
    assert keys[0] == rows[0].resume_key


def test_scene__says_where_the_given_air_ended(clean, setup):
    low = tgo.reference_atmosphere(np.arange(0.0, 61.0))
    _, record = build_mir_scene(clean[1.0][0], setup, low)
    assert record["extended_above_km"] == 60.0
    _, record = build_mir_scene(clean[1.0][0], setup)
    # the reference atmosphere's own top, far above the profile
    assert record.get("extended_above_km", 999.0) > 100.0


def test_systematics__are_of_what_the_air_says_of_itself(clean, setup):
    air = tgo.reference_atmosphere(level1=clean[1.0][0])
    plain = air.drop_vars(["temperature_uncertainty", "pressure_uncertainty"])
    given = build_mir_scene(clean[1.0][0], setup, plain)[0]
    scene = build_mir_scene(clean[1.0][0], setup, air)[0]
    wish = setup.systematics
    said, set_ = systematics.denser(scene), systematics.denser(given)
    np.testing.assert_allclose(set_["pressure"][0], np.expm1(-wish.pressure))
    lower = np.expm1(-scene.levels["pressure_uncertainty"].values)
    np.testing.assert_allclose(said["pressure"][0], lower)
    warmer = given.levels["temperature"].values
    np.testing.assert_allclose(
        set_["temperature"][0], warmer / (warmer + wish.temperature_k) - 1.0
    )


def test_run__product_that_cannot_be_opened_or_fitted(absorption, setup, tmp_path):
    few = OPTIONS | {"frames": 3, "rows_per_stripe": 1}
    path = simulator.simulate_mir_product(tmp_path, {}, absorption=absorption, **few)
    for given, rule, words in (
        (setup, "product.half_width", "rows -2 to 2 leave"),
        (setup.replace(frames=None), "setup.no_open_keys", "section [frames]"),
        (setup.replace(frames={"half_width": 0}), "fit.no_rows", "3 usable spectra"),
        ("so_134", "setup.wrong_channel", "'mir' occultation"),
        (None, "setup.none_for_order", "no shipped setup for channel 'mir'"),
    ):
        (row,) = tgo.run(path, tmp_path / "out", given, progress=False)
        assert (row.state, row.rule) == ("failed", rule)
        assert words in row.message
    for bad in ({}, {"half_width": -1}, {"half_width": 2, "geometry": "none"}):
        with pytest.raises(SetupError):
            setup.replace(frames=bad)
    with pytest.raises(ProductError, match="unpack the zip") as caught:
        open_spectra(tmp_path / "a.zip", half_width=2)
    assert caught.value.rule == "product.geometry_not_joined"


# --- forward model --------------------------------------------------------------------


def exact(setup, level1):
    """Scene in double precision whose rows are at the heights, without field of view.

    Its Jacobian is that of the model; the fit's averages its factors.
    """
    instrument = {
        "resolving_power": 30000.0,
        "second_shift_cm1": -0.11,
        "second_amplitude": 0.5,
        "field_of_view_km": 0.0,
    }
    window = {"first_pixel": 5, "last_pixel": 234, "noise_ratio": 1e9}
    chosen = setup.replace(instrument=instrument, window=window)
    scene, _ = build_mir_scene(level1, chosen, jacobian_rank=None, dtype=np.float64)
    heights = np.arange(scene.limbs[0].height_km.size)
    limbs = tuple(replace(limb, jacobian_heights=heights) for limb in scene.limbs)
    return replace(scene, limbs=limbs, jacobian_rows=scene.rows)


@pytest.fixture(scope="session")
def pinned(absorption, setup, tmp_path_factory):
    """Exact scene, state of the truth, truth; frames see one height only."""
    level1, truth = spectra(
        tmp_path_factory.mktemp("pinned"),
        absorption,
        half_width=0,
        noise=False,
        curvature=0.0,
        tilt_px=0.0,
        row_step_km=0.0,
        slit_km=0.0,
    )
    register = dict.fromkeys(
        (
            "order_stretch_sigma_px",
            "bend_sigma_px",
            "width_sigma",
            "second_shift_sigma_cm1",
            "second_amplitude_sigma",
        ),
        0.1,
    )
    scene = exact(setup.replace(registration=register), level1)
    vmr = {
        gas: np.interp(scene.altitude_km, truth["altitude"], truth[f"{gas}_vmr"])
        for gas in setup.gases
    }
    state = {
        **fit.space_of(scene).prior,
        **vmr,
        linearisation.SHIFT: SHIFT,
        linearisation.STRETCH: np.array([0.05]),
    }
    return scene, state, truth


def test_operator__equals_direct_convolution(pinned, absorption):
    """Table, nodes and operator against a sum over the lines and over the line shape.

    Two Gaussians are written down anew here; the amounts are the truth's.
    """
    scene, state, _ = pinned
    for index in (0, 1):
        shape = dict.fromkeys(SHAPE, 0.0)
        built = scene.operator(index, *(SHIFT[index], 0.05), shape, np.float64)
        limb = scene.limbs[index]
        found = operators.apply(built, forward.node_transmittance(limb, state))
        nu = absorption.nu_cm1[index]
        one = scene.orders[index]
        place = one.wavenumber_cm1 + one.dispersion_cm1 * (
            SHIFT[index] + 0.05 * one.position
        )
        middle = 0.5 * (one.wavenumber_cm1.min() + one.wavenumber_cm1.max())
        for height in (8.0, 20.0, 35.0):
            at = int(np.argmin(np.abs(absorption.height_km - height)))
            depth = sum(d[at] for d in absorption.depth[index].values())
            expected = []
            for centre in place[::10]:
                sigma = middle / 30000.0 / 2.354820045 * (centre / middle) ** 2
                x = (nu - centre) / sigma
                line = np.exp(-0.5 * x**2)
                line += 0.5 * np.exp(-0.5 * ((nu - centre + 0.11) / sigma) ** 2)
                expected.append(line @ np.exp(-depth) / line.sum())
            here = int(np.argmin(np.abs(limb.height_km - height)))
            off = found[::10, here] - expected
            # lines are up to 0.3 deep here; 1 / 2000 is the noise of a mean spectrum
            assert np.abs(off).max() < 1.5e-4, (index, height)


def test_jacobian__is_the_slope_of_chi_square(pinned):
    """Half the slope of chi-square is minus the gradient, baselines eliminated."""
    scene, state, _ = pinned
    evaluator = fit.MirEvaluator(scene)
    space = fit.space_of(scene)
    # away from the truth, so that the gradient is not zero
    vmr = {gas: 1.05 * state[gas] for gas in scene.setup.gases}
    shape = zip(
        fit.fitted_shape(scene),
        np.reshape((0.02, 0.01, -0.02, 0.03, 0.01, -0.01, 0.002, 0.001, 0.02, -0.02),
                   (5, 2)),
        strict=True,
    )  # fmt: skip
    start = {**state, **vmr, linearisation.SHIFT: SHIFT + 0.02, **dict(shape)}
    x = space.pack(start)
    linear = evaluator(start, True)
    matrix, gradient = fit.expansion_of(scene, space)(linear)
    elements = {
        **{f"{gas} {k}": (space[gas].start + k, 1e-3 * vmr[gas].max())
           for gas, k in (("ch4", 3), ("ch4", 18), ("h2o", 3), ("co2", 10),
                          ("o3", 15))},
        "shift": (space[linearisation.SHIFT].start + 1, 1e-3),
        "stretch": (space[linearisation.STRETCH].start, 1e-3),
        **{f"{name}_{k}": (space[name].start + k, 1e-4)
           for name in fit.fitted_shape(scene) for k in (0, 1)},
    }  # fmt: skip
    for name, (at, step) in elements.items():
        cost = []
        for sign in (1.0, -1.0):
            moved = x.copy()
            moved[at] += sign * step
            # a new evaluator builds its operator where the state is
            cost.append(fit.MirEvaluator(scene)(space.unpack(moved), False).chi_square)
        slope = -0.5 * (cost[0] - cost[1]) / (2.0 * step)
        # the largest slope there could be
        scale = np.sqrt(matrix[at, at] * linear.chi_square)
        # widths that grow along the order do not move with the shift
        moves = ("shift", "stretch", "order_stretch", "bend")
        bound = 5e-5 if name.rstrip("_0123456789") in moves else 2e-6
        assert abs(gradient[at]) > 1e-4 * scale, name
        assert abs(slope - gradient[at]) < bound * scale, name


def test_line_shape__table_of_wide_cells_is_refused(setup, clean):
    wide = setup.replace(
        instrument={
            "resolving_power": 90000.0,
            "second_shift_cm1": 0.0,
            "second_amplitude": 0.0,
            "field_of_view_km": 1.0,
        }
    )
    with pytest.raises(InstrumentError) as caught:
        retrieve_mir(noisy(clean[1.0][0], 1), wide)
    assert caught.value.rule == "operator.expansion"


# --- the fit --------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_closed_loop__errors_are_what_they_say(copies, clean, amount):
    truth = clean[amount][1]
    for gas, width in (("ch4", 0.06), ("h2o", 0.06), ("o3", 0.1)):
        z = np.concatenate([z_of(one, truth, gas) for one in copies[amount]])
        # some 20 independent values in each of 10 copies
        assert abs(z.mean()) < 0.15, gas
        assert abs((np.abs(z) < 1.0).mean() - 0.683) < width, gas
        assert abs((np.abs(z) < 2.0).mean() - 0.954) < 0.03, gas
    chi = [float(one["reduced_chi_square"]) for one in copies[amount]]
    # 20 000 measurements in each
    assert np.mean(chi) == pytest.approx(1.0, abs=0.012)
    assert all(int(one["converged"]) for one in copies[amount])


def test_closed_loop__notices_errors_that_are_too_small(clean, setup):
    level1, truth = clean[1.0]
    level1 = noisy(level1, 10)
    halved = level1.assign(transmittance_error=0.5 * level1["transmittance_error"])
    level2 = retrieve_mir(halved, setup)
    assert float(level2["reduced_chi_square"]) == pytest.approx(4.0, abs=0.15)
    # said, and in the errors
    assert "noise_inconsistent" in quality.names(level2["quality_flag"].values)
    assert float(level2["error_inflation"]) == pytest.approx(2.0, abs=0.05)
    z = np.concatenate([z_of(level2, truth, gas) for gas in ("ch4", "h2o")])
    assert 0.55 < (np.abs(z) < 1.0).mean() < 0.8


def test_closed_loop__registers_orders_by_themselves(copies):
    found = np.array([one["wavenumber_shift"].values for one in copies[1.0]])
    error = np.array([one["wavenumber_shift_error"].values for one in copies[1.0]])
    z = (found - SHIFT) / error
    assert np.abs(z.mean(axis=0)).max() < 1.0
    assert np.abs(found - SHIFT).max() < 0.01
    assert copies[1.0][0].attrs["coarse_shift_px"] == [1, 0]
    assert copies[1.0][0]["bin_order"].values.tolist() == [179, 180]


def test_methane__one_ppbv_is_seen_and_none_is_not(copies):
    for level2 in copies[1.0]:
        assert int(level2["ch4_detected"].sum()) > 8
    false = sum(int(level2["ch4_detected"].sum()) for level2 in copies[0.0])
    levels = sum(level2.sizes["altitude"] for level2 in copies[0.0])
    assert false / levels < 0.005


def layer_mean(level2, low=10.0, high=30.0):
    """Best one mole fraction of a layer from a profile with its noise covariance."""
    z = level2["altitude"].values
    inside = (z >= low) & (z <= high)
    weight = np.linalg.inv(
        level2["ch4_vmr_noise_covariance"].values[np.ix_(inside, inside)].astype(float)
        * 1e18
    ).sum(axis=1)
    return float(weight @ level2["ch4_vmr"].values[inside] / weight.sum())


def test_limits__as_published_for_the_noise_stated(copies):
    """10 to 20 pptv at 1 sigma (Montmessin et al. 2021), here 10 to 30 km as one layer.

    SNR 1000 in each of five detector rows, i.e. 2200 in a mean spectrum, and 460
    pixels of two orders: a fourth of the orders' own.
    """
    limits = np.array([float(one["ch4_layer_vmr_noise_error"]) for one in copies[0.0]])
    assert (limits > 2e-12).all()
    assert (limits < 20e-12).all()
    # and that limit is the scatter of what copies give, by another way to the layer
    scatter = np.std([layer_mean(one) for one in copies[0.0]], ddof=1)
    assert 0.4 < scatter / limits.mean() < 2.0
    one = copies[0.0][0]
    assert one["ch4_layer_vmr"].attrs["layer_km"] == "5 30"
    linear, by_chi, flag = (
        one[f"ch4_limit_{name}"].values[:20]
        for name in ("linear", "delta_chi_square", "flag")
    )
    assert (linear < flag).all()
    assert (by_chi > 0.0).all()


@pytest.mark.parametrize(
    ("gases", "absent", "chi"),
    [
        (["ch4", "h2o", "o3"], ["hdo", "co2"], 1.3),
        (["ch4", "h2o"], ["hdo", "co2", "o3"], 1.3),
    ],
)
def test_interferents__left_out_make_methane_of_nothing(
    clean, setup, gases, absent, chi
):
    """There is no methane; without the CO2 dipole band the fit is poor, and says so.

    Waves of the baseline take part of the band.
    """
    bare = setup.replace(
        gases=gases,
        interferents_absent=absent,
        prior={"ch4": {"constant": 0.0, "sigma": 5e-9}}
        | ({"o3": {"constant": 0.0, "sigma": 2e-7}} if "o3" in gases else {}),
    )
    level2 = retrieve_mir(noisy(clean[0.0][0], 10), bare)
    assert quality.severe(level2["quality_flag"].values)
    assert not level2["ch4_detected"].any()
    assert float(level2["reduced_chi_square"]) > chi
    assert level2.attrs["interferents_absent"] == "; ".join(absent)


def test_ozone_left_out__shows_in_chi_square(clean, setup, copies):
    prior = {"ch4": {"constant": 0.0, "sigma": 5e-9}, "co2": {"relative_sigma": 0.2}}
    bare = setup.replace(
        gases=["ch4", "h2o", "co2"], interferents_absent=["hdo", "o3"], prior=prior
    )
    level2 = retrieve_mir(noisy(clean[0.0][0], 10), bare)
    full = float(copies[0.0][0]["reduced_chi_square"])
    # of the same noise; waves of the baseline take most of it
    assert float(level2["reduced_chi_square"]) > full + 0.01


def test_line_shape__is_fitted_where_the_setup_is_wrong(clean, setup):
    instrument = {
        "resolving_power": 28000.0,
        "second_shift_cm1": -0.105,
        "second_amplitude": 0.6,
        "field_of_view_km": 1.0,
    }
    level1, truth = clean[1.0]
    level1 = noisy(level1, 3)
    wrong = setup.replace(instrument=instrument)
    fixed = wrong.replace(registration={"shift_sigma_px": 1.5})
    free, stuck = retrieve_mir(level1, wrong), retrieve_mir(level1, fixed)
    assert float(free["reduced_chi_square"]) < 1.02
    assert float(stuck["reduced_chi_square"]) > 1.2
    assert "fitted_width" not in stuck
    # the relative width of 30 000 over 28 000, and the other two
    expected = {
        "width": 28.0 / 30.0 - 1.0,
        "second_shift": -0.005,
        "second_amplitude": -0.1,
    }
    for name, value in expected.items():
        z = (free[f"fitted_{name}"] - value) / free[f"fitted_{name}_error"]
        assert np.abs(z).max() < 4.0, name
    assert abs(z_of(free, truth, "ch4").mean()) < 0.6


def test_bend__of_the_wavenumbers_is_fitted(absorption, setup, tmp_path):
    level1, _ = spectra(tmp_path, absorption, {"ch4": 1.0}, seed=4, bend_px=0.5)
    straight = retrieve_mir(level1, setup)
    bend = {"shift_sigma_px": 1.5, "bend_sigma_px": 0.3, "order_stretch_sigma_px": 0.1}
    bent = retrieve_mir(level1, setup.replace(registration=bend))
    assert float(straight["reduced_chi_square"]) > 1.05
    assert float(bent["reduced_chi_square"]) == pytest.approx(1.0, abs=0.03)
    z = (bent["fitted_bend"] - 0.5) / bent["fitted_bend_error"]
    assert np.abs(z).max() < 3.5
    # the common stretch and the orders' own add up
    total = bent["wavenumber_stretch"] + bent["fitted_order_stretch"]
    np.testing.assert_allclose(total, 0.05, atol=0.02)


def test_places__go_along_with_the_profile(clean, setup):
    level1 = noisy(clean[1.0][0], 5)
    height = level1["tangent_altitude"].values
    named = level1.assign_coords(
        latitude=("spectrum", 60.0 + 0.1 * height),
        longitude=("spectrum", (179.0 + 0.1 * height + 180.0) % 360.0 - 180.0),
    )
    level2 = retrieve_mir(named, setup.replace(orders=[179]))
    at = level2["altitude"].values <= 50.0
    np.testing.assert_allclose(
        level2["latitude"][at], 60.0 + 0.1 * level2["altitude"][at]
    )
    assert float(level2["longitude"].max()) < 180.0
    assert float(level2["longitude"].min()) >= -180.0
    assert {np.sign(value) for value in level2["longitude"].values} == {1.0, -1.0}
    assert "local_true_solar_time" not in level2


def test_orders__jointly_say_more_than_alone(clean, setup, copies):
    alone = retrieve_mir(noisy(clean[1.0][0], 10), setup.replace(orders=[179]))
    both = copies[1.0][0]
    name = "ch4_vmr_noise_error"
    resolved = np.diag(alone["ch4_averaging_kernel"]) > 0.5
    assert (both[name] <= alone[name] * 1.001)[resolved].all()
    name = "o3_layer_vmr_noise_error"
    assert float(both[name]) < float(alone[name])
    assert np.isnan(alone["residual"].values[1::3]).all()
    assert np.isfinite(alone["residual"].values[0::3, 5:235]).all()


def test_spectra__in_any_order_and_either_direction(clean, setup):
    level1 = noisy(clean[1.0][0], 5)
    first = retrieve_mir(level1, setup)
    mixed = np.random.default_rng(0).permutation(level1.sizes["spectrum"])
    turned = level1.isel(spectrum=mixed, pixel=slice(None, None, -1))
    window = {"first_pixel": 5, "last_pixel": 234}
    second = retrieve_mir(turned, setup.replace(window=window))
    np.testing.assert_allclose(
        second["ch4_vmr"], first["ch4_vmr"], rtol=0, atol=2e-3 * 1e-9
    )
    np.testing.assert_allclose(
        second["wavenumber_shift"], -first["wavenumber_shift"], atol=1e-3
    )
    residual = first["residual"].isel(spectrum=mixed).values[:, ::-1]
    np.testing.assert_allclose(second["residual"], residual, atol=2e-5)


def test_level2__names_units_and_choices(copies, clean, tmp_path):
    level2 = copies[1.0][0]
    validate(level2, level=2)
    assert {f"{gas}_vmr" for gas in ("ch4", "h2o", "co2", "o3")} <= set(level2)
    parts = ("noise", "smoothing", "systematic")
    total = sum(level2[f"ch4_vmr_{part}_error"] ** 2 for part in parts)
    np.testing.assert_allclose(np.sqrt(total), level2["ch4_vmr_error"], rtol=1e-6)
    assert level2["ch4_vmr_error"].values[60] == pytest.approx(5e-9, rel=0.2)
    assert "to be verified" in level2.attrs["instrument_uncertain"]
    assert level2.attrs["orders"] == "179 180"
    assert level2.attrs["experimental"] == 1
    assert level2.attrs["row_half_width"] == HALF_WIDTH
    level2.to_netcdf(tmp_path / "level2.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "level2.nc", engine="netcdf4") as again:
        np.testing.assert_array_equal(again["ch4_vmr"], level2["ch4_vmr"])
    # the general function finds its way by the setup
    assert int(level2["mars_year"]) == 34
    np.testing.assert_allclose(
        float(level2["solar_longitude"]), 349.0, atol=0.5
    )  # 1 March 2019


def test_retrieve__goes_by_the_kind_of_setup(clean, setup, copies):
    level2 = tgo.retrieve(noisy(clean[0.0][0], 10), setup)
    np.testing.assert_array_equal(level2["ch4_vmr"], copies[0.0][0]["ch4_vmr"])


def test_systematics__foresee_what_a_refit_finds(clean, setup):
    """Pointing, and a line shape that is held fixed, against fits with them moved."""
    level1 = clean[1.0][0]
    window = {"first_pixel": 5, "last_pixel": 234, "noise_ratio": 1e9}
    wish = {
        "enabled": True,
        "temperature_k": 5.0,
        "pointing_km": 0.2,
        "width": 0.01,
        "second_amplitude": 0.02,
        "spectroscopy": 0.05,
    }
    fixed = setup.replace(
        systematics=wish, registration={"shift_sigma_px": 1.5}, window=window
    )
    first = retrieve_mir(level1, fixed)
    # what is stated lower was seen higher
    stated = level1["tangent_altitude"] - 0.2
    lower = retrieve_mir(level1.assign_coords(tangent_altitude=stated), fixed)
    lower = lower.interp(altitude=first["altitude"])
    instrument = {
        "resolving_power": 30000.0,
        "second_shift_cm1": -0.11,
        "second_amplitude": 0.48,
        "field_of_view_km": 1.0,
    }
    smaller = retrieve_mir(level1, fixed.replace(instrument=instrument))
    seen = slice(12, 35)
    for gas in ("h2o", "ch4"):
        for source, other in (("pointing", lower), ("second_image", smaller)):
            foreseen = first[f"{gas}_vmr_systematic_{source}"].values[seen]
            found = (other[f"{gas}_vmr"] - first[f"{gas}_vmr"]).values[seen]
            off = np.linalg.norm(found - foreseen) / np.linalg.norm(foreseen)
            # the steps are not small: 7 to 10 % is what they bend
            assert off < 0.15, (gas, source)
    # stronger lines of a gas make more of it, in proportion
    share = first["ch4_vmr_systematic_spectroscopy"] / first["ch4_vmr"]
    np.testing.assert_allclose(share[:12], 0.05, rtol=0.03)
    squares = sum(
        first[f"ch4_vmr_systematic_{name}"] ** 2
        for name in ("temperature", "pressure", "pointing", "line_width",
                     "second_image", "image_distance", "zero_level", "waves",
                     "spectroscopy", "lines")
    )  # fmt: skip
    np.testing.assert_allclose(first["ch4_vmr_systematic_error"] ** 2, squares)
    assert first["ch4_vmr_systematic_pointing"].attrs["magnitude"] == 0.2


# --- errors ---------------------------------------------------------------------------


def test_level1__what_is_missing_is_named(clean, setup):
    level1 = clean[1.0][0]
    with pytest.raises(RetrievalError) as caught:
        retrieve_mir(level1, setup.replace(orders=[179, 185]))
    assert (caught.value.rule, caught.value.value) == ("level1.wrong_order", 185)
    assert "179" in str(caught.value)
    with pytest.raises(RetrievalError) as caught:
        retrieve_mir(level1.drop_vars("tangent_altitude"), setup)
    assert caught.value.field == "tangent_altitude"
    with pytest.raises(RetrievalError) as caught:
        retrieve_mir(level1.assign_attrs(channel="nir"), setup)
    assert caught.value.rule == "level1.wrong_channel"
    with pytest.raises(RetrievalError) as caught:
        retrieve_mir(level1.isel(spectrum=slice(0, 20)), setup)
    assert caught.value.rule == "fit.no_rows"
    crooked = level1["wavenumber"].copy()
    crooked[3] = crooked[3] + 0.01
    with pytest.raises(RetrievalError) as caught:
        retrieve_mir(level1.assign_coords(wavenumber=crooked), setup)
    assert caught.value.rule == "level1.wavenumber"


def test_pixels__without_wavenumber_or_value_are_left_out(clean, setup):
    level1 = noisy(clean[1.0][0], 6)
    axis, signal = level1["wavenumber"].copy(), level1["transmittance"].copy()
    axis[:, :30] = np.nan
    signal[:, 100] = np.nan
    holed = level1.assign(transmittance=signal).assign_coords(wavenumber=axis)
    level2 = retrieve_mir(holed, setup)
    assert np.isnan(level2["residual"].values[:, :30]).all()
    assert np.isnan(level2["residual"].values[:, 100]).all()
    assert float(level2["reduced_chi_square"]) == pytest.approx(1.0, abs=0.04)


def test_table__must_cover_orders_and_gases(clean, setup):
    level1 = clean[1.0][0]
    axis = level1["wavenumber"] + 20.0
    with pytest.raises(TableError) as caught:
        retrieve_mir(level1.assign_coords(wavenumber=axis), setup)
    assert caught.value.rule == "table.coverage"
    with pytest.raises(TableError) as caught:
        retrieve_mir(level1, setup.replace(gases=["ch4", "h2o", "co2", "o3", "hdo"],
                                           interferents_absent=[]))  # fmt: skip
    assert (caught.value.rule, caught.value.value) == ("table.no_gas", "hdo")


TEXT = """
kind = "mir"
name = "mine"
position = 12
orders = [179]
table = "mine.nc"
gases = ["ch4", "h2o", "co2", "o3"]
interferents_absent = ["hdo"]
[instrument]
resolving_power = 30000.0
second_shift_cm1 = -0.1
second_amplitude = 0.5
field_of_view_km = 1.0
"""


@pytest.mark.parametrize(
    ("old", "new", "rule", "field"),
    [
        ("resolving_power = 30000.0\n", "", "setup.invalid", "$.instrument"),
        ("second_amplitude = 0.5\n", "", "setup.invalid", "$.instrument"),
        ("field_of_view_km = 1.0\n", "", "setup.invalid", "$.instrument"),
        ("position = 12", "position = 0", "setup.invalid", "$.position"),
        ('"o3"]', '"o4"]', "setup.inconsistent", "$.gases"),
        ("[179]", "[179, 179]", "setup.inconsistent", "$.orders"),
        ('["hdo"]', '["hdo", "o3"]', "setup.inconsistent", "$.interferents_absent"),
        ('["hdo"]', "[]", "setup.interferent", "interferents_absent"),
        ('kind = "mir"', 'kind = "nader"', "setup.kind", "$.kind"),
    ],
)
def test_setup__refuses(tmp_path, old, new, rule, field):
    assert old in TEXT
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(SetupError) as caught:
        load_setup(path)
    assert (caught.value.rule, caught.value.field) == (rule, field)


def test_setup__log_state_and_lonely_prior_are_refused(setup):
    for prior in ({"o3": {"state": "log", "relative_sigma": 1.0}}, {"co": {}}):
        with pytest.raises(SetupError) as caught:
            setup.replace(prior=prior)
        assert caught.value.rule == "setup.inconsistent"


def test_setup__finds_the_table_beside_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT, encoding="utf-8")
    assert load_setup(path).table == "mine.nc"
    (tmp_path / "mine.nc").touch()
    found = tgo.load_setup(path)
    assert isinstance(found, MirSetup)
    assert found.table == str(tmp_path / "mine.nc")
    assert found.hash() != found.replace(baseline_degree=3).hash()


def test_shipped_setup__needs_a_table_of_yours(clean):
    level1 = clean[1.0][0]
    setup = load_setup("acs_mir_ch4_position_12").replace(orders=[179])
    with pytest.raises(TableError, match="acs_mir_position_12"):
        retrieve_mir(level1, setup)
