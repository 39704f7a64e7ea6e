"""Interferents of the methane window: fitted, left out, forgotten; generated bands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.errors import SetupError
from tgo_spectra.retrieval.interferents import check_setup, depth_of, gas_windows
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.spectroscopy.linelist import read_line_list

sys.path.append(str(Path(__file__).parent))

import interferent_loop as il
import synthetic_bands as bands

ORDER = 134
COPIES = 1500

BANDS = {
    "co2": (bands.co2_dipole, 2940.0, 3050.0),
    "o3": (bands.o3_3nu3, 2930.0, 3140.0),
    "hcl": (bands.hcl_fundamental, 2500.0, 3150.0),
    "hdo": (bands.hdo_nu1, 2350.0, 3100.0),
}


# the generated bands


@pytest.mark.parametrize("gas", BANDS)
def test_band__says_that_it_is_synthetic(gas):
    make, low, high = BANDS[gas]
    lines = make()
    assert ((lines.wavenumber > low) & (lines.wavenumber < high)).all()
    for item in (lines, *lines.data_vars.values()):
        assert item.attrs["origin"] == "synthetic"
    assert "synthetic" in lines.attrs["citation"]
    assert "synthetic" in lines.attrs["source_file"]


@pytest.mark.parametrize("gas", BANDS)
def test_band__is_a_list_that_the_strict_reader_takes(tmp_path, gas):
    lines = BANDS[gas][0]()
    path = tmp_path / "lines.par"
    path.write_text(bands.par_text(lines))
    read = read_line_list(path, strict=True)
    np.testing.assert_allclose(read.wavenumber, lines.wavenumber, atol=1e-6)
    np.testing.assert_allclose(read.intensity, lines.intensity, rtol=1e-3)
    np.testing.assert_allclose(read.lower_state_energy, lines.lower_state_energy,
                               atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("j", [0, 1, 4, 9])
@pytest.mark.parametrize("axis", ["a", "b"])
def test_rotor__strengths_of_a_level_add_up(j, axis):
    _, states = bands._rotor((23.41, 9.10, 6.41), j)
    total = 0.0
    for upper in range(max(j - 1, 0), j + 2):
        _, above = bands._rotor((23.05, 8.93, 6.31), upper)
        moment = states.T @ bands._direction(j, upper, axis) @ above
        total = total + (moment**2).sum(axis=1)
    np.testing.assert_allclose(total, 2 * j + 1, rtol=1e-12)


def test_hcl__known_lines_and_isotopes():
    """R(0) and R(1) of H35Cl (as recalled), and the shift of H37Cl by about 2 cm-1."""
    lines = bands.hcl_fundamental()
    light = lines.isel(line=(lines.isotopologue == 1).values).wavenumber.values
    heavy = lines.isel(line=(lines.isotopologue == 2).values).wavenumber.values
    for position in (2925.897, 2944.914):
        assert np.abs(light - position).min() < 0.02
    near = (light > 2850) & (light < 2960)
    np.testing.assert_allclose(light[near] - heavy[near], 2.1, atol=0.15)


def test_dipole_band__is_as_deep_as_was_seen():
    """1.6 % at 10 km in ACS MIR (Trokhimovskiy et al. 2020), beside the Q branch."""
    from tgo_spectra.spectroscopy.absorption import cross_section_grid, line_arrays

    nu = np.arange(3006.0, 3050.0, 1e-3)
    lines = line_arrays(bands.co2_dipole(), nu[0], nu[-1], "co2", gas="co2")
    sigma = cross_section_grid(lines, nu, np.array([250.0]), np.array([195.0]))[0]
    shape = np.exp(-4 * np.log(2) * (np.arange(-0.5, 0.5005, 1e-3) / 0.11) ** 2)
    seen = 1.0 - np.convolve(np.exp(-4.2e24 * sigma), shape / shape.sum(), "valid")
    assert 0.014 < seen.max() < 0.018


# fitted, and left out


@pytest.fixture(scope="module")
def cases(shared, tables):
    return il.interferent_cases(tables, ORDER)


@pytest.fixture(scope="module")
def linear(cases):
    return {name: il.linearised(case) for name, case in cases.items()}


def test_linearised_copies__scatter_as_full_retrievals(cases, linear):
    for name, case in cases.items():
        d, mean, _ = linear[name].gas("ch4")
        copies = il.copies_of(linear[name], "ch4", 4000, 1)
        np.testing.assert_allclose(copies.std(axis=0), d.noise_error, rtol=0.05)
        full = il.draws(case, "ch4", 8, 2)
        expected = il.linear_flags(linear[name], "ch4", 400, 3)
        # eight draws of some fifty levels, correlated over 4 km: about a hundred values
        assert abs(full.z.mean() - expected.z.mean()) < 0.35
        assert abs(full.z.std() - expected.z.std()) < 0.15
        if name == "fitted":  # without noise the truth comes back
            assert (abs(mean) < 0.1 * d.total_error).all()


def test_interferents__fitted_give_no_methane_left_out_do(cases, linear):
    low, mean, rate = {}, {}, {}
    for name, one in linear.items():
        d, _, _ = one.gas("ch4")
        altitude = cases[name].scene.limb.altitude_km
        good = np.diag(d.averaging_kernel) > il.RESPONSE
        flags = il.linear_flags(one, "ch4", COPIES, 5)
        rate[name] = flags.rate
        table = flags.detected.reshape(COPIES, -1)
        low[name] = table[:, altitude[good] <= 10.0].mean()
        layer = (altitude >= 1.0) & (altitude <= 30.0)
        weight = 1.0 / d.total_error[layer] ** 2
        copies = il.copies_of(one, "ch4", COPIES, 6)[:, layer] @ weight / weight.sum()
        mean[name] = 1e12 * copies.mean(), 1e12 * copies.std()
        print(
            f"{name}: levels detected {rate[name]:.3%}, below 10 km {low[name]:.3%}; "
            f"mean of 1-30 km {mean[name][0]:+.1f} +- {mean[name][1]:.1f} pptv"
        )
    assert rate["fitted"] <= 0.005
    assert low["fitted"] <= 0.005
    assert low["left out"] > 4.0 * max(low["fitted"], 1e-3)
    assert low["left out"] > 0.008
    assert rate["left out"] > 4.0 * rate["fitted"]
    assert abs(mean["fitted"][0]) < 0.2 * mean["fitted"][1]
    assert mean["left out"][0] > 5.0 * mean["left out"][1]


def test_interferents__left_out_are_repeated_and_raise_chi_square(cases):
    found = {}
    for name, case in cases.items():
        thin = case.level1.isel(spectrum=slice(0, None, 2))
        found[name] = tgo.retrieve(thin, case.setup)
    out = found["left out"].attrs
    assert out["interferents_absent"] == "hdo; co2; co2 magnetic dipole band; o3"
    assert out["interferents_included"] == "h2o ch4"
    assert found["fitted"].attrs["interferents_included"] == "h2o ch4 co2 o3"
    assert found["fitted"].attrs["interferents_absent"] == "hdo"
    chi = {name: float(one.reduced_chi_square) for name, one in found.items()}
    print(f"reduced chi-square {chi}")
    assert chi["fitted"] < 1.05
    assert chi["left out"] > 1.3


# forgotten

SIZED = {(134, "hdo"), (136, "hdo"), (136, "co2"), (190, "h2o")}


@pytest.mark.parametrize(
    ("order", "gas", "names", "forgotten"),
    [
        (134, "ch4", ["h2o", "co2", "co2 magnetic dipole band", "o3"], "hdo"),
        (136, "ch4", ["h2o", "hdo", "co2 magnetic dipole band", "o3"], "co2"),
        (134, "ch4", ["h2o", "hdo", "co2", "o3"], "co2 magnetic dipole band"),
        (134, "ch4", ["h2o", "hdo", "co2", "co2 magnetic dipole band"], "o3"),
        (136, "h2o", ["co2", "co2 magnetic dipole band", "o3"], "hdo"),
        (190, "co", ["co2", "hdo"], "h2o"),
        (129, "hcl", ["h2o", "co2"], "hdo"),
        (121, "hdo", ["h2o", "hcl"], "co2"),
    ],
)
def test_interferents__neither_fitted_nor_named_is_refused(
    tmp_path, order, gas, names, forgotten
):
    path = tmp_path / "mine.toml"

    def write(absent):
        path.write_text(
            f'name = "mine"\nchannel = "so"\norders = [{order}]\ntable = "so_134_136"\n'
            f'gases = ["{gas}"]\ninterferents_absent = {json.dumps(absent)}\n'
        )

    write(names)
    with pytest.raises(SetupError, match=f"{forgotten}' absorbs") as caught:
        tgo.load_setup(path)
    assert ("% at 5 km" in str(caught.value)) == ((order, forgotten) in SIZED)
    assert caught.value.rule == "setup.interferent"
    assert caught.value.value == names
    write([*names, forgotten.upper()])
    assert tgo.load_setup(path).gases == (gas,)


def test_interferents__forgotten_in_a_setup_made_by_hand_are_refused(level1):
    made = tgo.load_setup("so_134").replace(interferents_absent=[])
    with pytest.raises(SetupError, match="'o3'") as caught:
        tgo.retrieve(level1.isel(spectrum=slice(0, None, 20)), made)
    assert caught.value.rule == "setup.interferent"


def test_interferents__carbon_dioxide_stands_for_its_dipole_band():
    check_setup(tgo.load_setup("so_134").replace(interferents_absent=["o3"]))


def test_interferents__what_the_list_lacks_is_said_all_the_same(level1):
    """The list of CO2 is older than its dipole band: the table says so."""
    setup = tgo.load_setup("so_134").replace(interferents_absent=["o3"])
    few = level1.isel(spectrum=slice(0, None, 8))
    out = tgo.retrieve(few, setup)
    assert out.attrs["interferents_absent"] == "o3; co2 magnetic dipole band"
    assert int(out.quality_flag) & quality.pack(["interferents_missing"])


@pytest.mark.parametrize("gas", ["co2", "hdo"])
@pytest.mark.parametrize("order", [134, 136])
def test_depths__are_those_of_the_table(order, gas):
    made = simulate_level1(
        order=order, gases=(gas,), n_orders=10, n_bins=1, aerosol_depth=0.0,
        noisy_pixels=(), seed=1, seconds=9, altitude_range=(5.0, 45.0),
    )  # fmt: skip
    light = made.truth["transmittance_clean"].values
    row = light[np.argmin(made.truth["tangent_altitude"].values)][20:]
    x = np.linspace(-1.0, 1.0, row.size)
    smooth = np.polynomial.Polynomial.fit(x, row, 4)(x)
    known = depth_of(gas, "so", order)
    assert 100.0 * np.ptp(row - smooth) == pytest.approx(known.percent[0], rel=0.15)
    assert list(known.percent) == sorted(known.percent, reverse=True)


def test_windows__know_of_hydrogen_chloride_and_semi_heavy_water():
    known = {
        (window.gas, order): set(window.interferents)
        for window in gas_windows()
        if window.channel == "so"
        for order in window.orders
    }
    assert {"h2o", "hdo"} <= known["hcl", 129]
    assert {"h2o", "co2"} <= known["hdo", 121]
