"""Hydrogen chloride, HDO with D/H, hydrocarbons: closed loops on generated bands."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import tgo_spectra as tgo
from tgo_spectra import cli
from tgo_spectra.errors import RetrievalError, TableError
from tgo_spectra.files.netcdf import open_verified, write_level2
from tgo_spectra.instruments import so as instrument
from tgo_spectra.retrieval import isotopes, preparation
from tgo_spectra.retrieval.models.so import optimal_estimation
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.spectroscopy import ledger
from tgo_spectra.spectroscopy.partition import isotopologue_abundance
from tgo_spectra.spectroscopy.tables import cache as caching
from tgo_spectra.variables import validate

sys.path.append(str(Path(__file__).parent))

import interferent_loop as il
import synthetic_bands as bands

from tgo_spectra.spectroscopy.tables import files

NAMES = ("so_129_130_hcl", "so_126_127_hcl", "so_119_124_hdo")
PPBV = (0.0, 0.1, 0.5, 2.0, 4.0)
COPIES = 400


# setups and the tables that the user builds


@pytest.mark.parametrize("name", NAMES)
def test_setup__needs_a_table_of_its_gases_and_orders(name):
    setup = tgo.load_setup(name)
    need = preparation.table_need(setup)
    assert set(setup.gases) <= set(need.gases)
    assert setup.instrument.n_orders == 10
    low, high = need.window
    for order in setup.orders:
        reach = setup.instrument.n_orders
        for celsius, pixel, side, end in ((20.0, -6.0, -1, low), (-25.0, 325.0, 1, high)):  # noqa: E501  # fmt: skip
            at = instrument.pixel_wavenumber(
                order, np.array([pixel]), celsius, "archive"
            )
            needed = float(at[0]) * (order + side * reach) / order + side
            assert side * (end - needed) >= 0.0, (order, needed)


@pytest.mark.parametrize("name", NAMES)
def test_missing_table__the_error_gives_the_command(tmp_path, monkeypatch, name):
    setup = tgo.load_setup(name)
    monkeypatch.setattr(files, "find_table", lambda _: None)
    with pytest.raises(TableError) as caught:
        simulate_level1(order=setup.orders[0], altitude_range=(10.0, 20.0))
    assert caught.value.rule == "table.not_built"
    assert f"tgo-spectra prepare {name} --fetch" in str(caught.value)


def test_command__builds_a_table_that_is_found_by_its_name(tmp_path, monkeypatch):
    """The command of the error, with window and learning cut down, generated lines."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ledger, "_ledger", dict)
    quick = partial(caching.TableSettings, atmospheres=8, verify_atmospheres=0)
    monkeypatch.setattr(caching, "TableSettings", quick)
    monkeypatch.setattr(preparation, "_window", lambda _: (2923.0, 2923.9))
    for gas, lines in (
        ("hcl", bands.hcl_fundamental()),
        ("hdo", bands.hdo_nu1()),
        ("h2o", bands.h2o_2nu2()),
    ):
        bands.hapi_list(lines, tmp_path / f"my_{gas}.data")
    command = ["prepare", "so_129_130_hcl", "--lines", str(tmp_path)]
    assert cli.main([*command, "--workers", "1"]) == 0
    table = tgo.spectroscopy.tables.open_table("so_126_130_hcl")
    assert table.attrs["hdo_broadening"] == "co2 or air x 1.7"
    # the generated list of HDO has columns of CO2
    assert table.attrs["hdo_widths"].startswith("co2: gamma_co2, n_co2")
    assert table.attrs["hcl_broadening"] == "co2"


# hydrogen chloride


@pytest.fixture(scope="module")
def chloride(tables):
    """Cases by mole fraction put in, ppbv, and their linearised fits."""
    setup = il.chloride_setup(tables)
    cases = {v: il.injected(setup, 130, {"hcl": v * 1e-9}) for v in PPBV}
    return {v: (case, il.linearised(case)) for v, case in cases.items()}


def test_hcl__what_is_put_in_comes_back(chloride):
    found, scatter = [], []
    for value, (case, linear) in chloride.items():
        d, vmr, _ = linear.gas("hcl")
        copies = il.copies_of(linear, "hcl", COPIES, 1)
        mean = 1e9 * il.layer_mean(case, "hcl", vmr, d.total_error)
        scatter.append(1e9 * il.layer_mean(case, "hcl", copies, d.total_error).std())
        found.append(mean)
        print(f"HCl {value} ppbv: mean of 5-30 km {mean:.4f} +- {scatter[-1]:.4f}")
        assert abs(mean - value) < 0.2 * scatter[-1] + 0.005 * value
    slope = float(np.polyfit(PPBV, found, 1)[0])
    print(f"slope {slope:.4f}")
    assert abs(slope - 1.0) <= 0.02


def test_hcl__errors_cover_and_linear_copies_are_as_full_retrievals(chloride):
    z, full = [], []
    for number, (case, linear) in enumerate(chloride.values()):
        z.append(il.linear_flags(linear, "hcl", COPIES, 10 + number).z)
        full.append(il.draws(case, "hcl", 10, 20 + number).z)
    z, full = np.concatenate(z), np.concatenate(full)
    one, two = (np.abs(z) < 1).mean(), (np.abs(z) < 2).mean()
    print(
        f"z {z.mean():+.3f}, within 1 sigma {one:.1%}, 2 sigma {two:.1%}; full "
        f"retrievals {full.mean():+.3f}, {(np.abs(full) < 1).mean():.1%}"
    )
    assert abs(z.mean()) < 0.1
    assert 0.639 <= one <= 0.727
    assert 0.934 <= two <= 0.974
    assert abs(full.mean()) < 0.25
    assert 0.60 <= (np.abs(full) < 1).mean() <= 0.76


def test_hcl__none_is_found_where_there_is_none(chloride):
    case, linear = chloride[0.0]
    flags = il.linear_flags(linear, "hcl", 2000, 30)
    print(f"no HCl: levels detected {flags.rate:.3%} of {flags.detected.size}")
    assert flags.rate <= 0.005
    assert il.draws(case, "hcl", 15, 31).rate <= 0.01
    strong = il.linear_flags(chloride[4.0][1], "hcl", 200, 32)
    assert strong.rate > 0.8


def test_hcl__result_repeats_broadening_and_absent_gases(chloride):
    case, _ = chloride[4.0]
    result = tgo.retrieve(case.level1, case.setup)
    validate(result, 2)
    assert bool(result.converged)
    assert result.attrs["hdo_broadening"] == "air x 1.7"
    assert "synthetic" in result.attrs["hcl_citation"]
    assert result.attrs["interferents_absent"].startswith("co2; ch4")
    assert result.hcl_detected.values[:20].mean() > 0.8


def test_chlorine__isotopes_are_found_by_chi_square(tables):
    """H37Cl scaled in the table: chi-square is a parabola, least at the true factor."""
    factors = np.array([0.8, 1.0, 1.1])
    true = il.injected(il.chlorine_setup(tables, 0.9), 130, {"hcl": 2e-9})
    scenes = [
        il.injected(il.chlorine_setup(tables, factor), 130, {"hcl": 2e-9}).scene
        for factor in factors
    ]

    def fitted(values):
        chi = [
            optimal_estimation.solve(
                il.loop.measured(scene, values)
            ).end.seen.chi_square
            for scene in scenes
        ]
        bend, slope, _ = np.polyfit(factors, chi, 2)
        return -0.5 * slope / bend, 1.0 / np.sqrt(bend)

    clean, sigma = fitted(true.clean)
    rng = np.random.default_rng(3)
    drawn = np.array([
        fitted(il.loop.noisy(true.scene, true.clean, rng).prepared.transmittance)[0]
        for _ in range(8)
    ])  # fmt: skip
    print(
        f"37Cl factor 0.9: {clean:.3f} without noise, {drawn.mean():.3f} with, "
        f"scatter {drawn.std():.3f}, one sigma {sigma:.3f}"
    )
    assert abs(clean - 0.9) < 0.01
    assert abs(drawn.mean() - 0.9) < 3.0 * sigma / np.sqrt(drawn.size)
    assert (np.abs(drawn - 0.9) < 3.5 * sigma).all()
    assert sigma < 0.05


# D/H: the arithmetic, on profiles made by hand


def handmade(gas, vmr, *, width=0.0, sigma=0.0, apriori=None, seconds=0):
    """Level 2 of one gas, 0-60 km, with a Gaussian kernel of a width in km."""
    z = np.arange(0.0, 61.0)
    kernel = np.eye(z.size)
    if width > 0.0:
        kernel = np.exp(-0.5 * ((z[:, None] - z) / width) ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)
    vmr = np.broadcast_to(np.asarray(vmr, float), z.shape)
    prior = vmr if apriori is None else np.broadcast_to(apriori, z.shape)
    relative = sigma * np.abs(prior)
    covariance = np.exp(-np.abs(z[:, None] - z) / 4.0) * relative[:, None] * relative
    off = kernel - np.eye(z.size)
    smoothing = np.sqrt(np.diag(off @ covariance @ off.T))
    both = ("altitude", "altitude_in")
    return xr.Dataset(
        {
            f"{gas}_vmr": ("altitude", prior + kernel @ (vmr - prior)),
            f"{gas}_vmr_apriori": ("altitude", prior, {"correlation_length_km": 4.0}),
            f"{gas}_averaging_kernel": (both, kernel),
            f"{gas}_vmr_noise_covariance": (both, np.diag((0.01 * prior) ** 2)),
            f"{gas}_vmr_smoothing_error": ("altitude", smoothing),
            "time": ((), np.datetime64("2020-01-01T00:00:00", "ns")
                     + np.timedelta64(seconds, "s")),
        },
        {"altitude": z},
    )  # fmt: skip


def of_ratio(ratio, water):
    """HDO at a D/H in VSMOW."""
    return ratio * 2.0 * isotopes.VSMOW * isotopes.water_share() * water


def test_ratio__terrestrial_water_is_one():
    """What HITRAN calls terrestrial is VSMOW to 3e-4."""
    share = sum(isotopologue_abundance(1, i) for i in (4, 5, 6))
    water = 50e-6
    found = isotopes.deuterium_ratio(
        handmade("hdo", share * water), handmade("h2o", water)
    )
    np.testing.assert_allclose(found.deuterium_ratio, 1.0, rtol=3e-4)


def test_ratio__five_comes_back_with_its_noise_error():
    water = 40e-6
    found = isotopes.deuterium_ratio(
        handmade("hdo", of_ratio(5.0, water)), handmade("h2o", water)
    )
    validate(found, 2)
    np.testing.assert_allclose(found.deuterium_ratio, 5.0)
    expected = 5.0 * np.hypot(0.01, 0.01)
    np.testing.assert_allclose(found.deuterium_ratio_noise_error, expected, rtol=1e-6)
    np.testing.assert_allclose(found.deuterium_ratio_error, expected, rtol=1e-6)
    assert (found.deuterium_ratio_flag == 0).all()
    assert found.attrs["vsmow_deuterium_per_hydrogen"] == 1.5576e-4


@pytest.mark.parametrize("coarse", ["hdo", "h2o"])
def test_ratio__different_kernels_make_no_ratio_of_their_own(coarse):
    """A layer of water at one D/H: unsmoothed division is wrong by much more."""
    z = np.arange(0.0, 61.0)
    prior = 40e-6 * np.exp(-z / 30.0)
    water = prior * (1.0 + 1.5 * np.exp(-0.5 * ((z - 25.0) / 3.0) ** 2))
    width = {"hdo": 0.5, "h2o": 0.5} | {coarse: 4.0}
    heavy = handmade("hdo", of_ratio(5.0, water), width=width["hdo"], sigma=1.0,
                     apriori=of_ratio(5.0, prior))  # fmt: skip
    light = handmade("h2o", water, width=width["h2o"], sigma=1.0, apriori=prior)
    found = isotopes.deuterium_ratio(heavy, light)
    assert found.attrs["smoothed_gas"] == {"hdo": "h2o", "h2o": "hdo"}[coarse]
    inner = slice(5, 56)
    plain = of_ratio(1.0, 1.0)
    naive = (heavy.hdo_vmr / light.h2o_vmr / plain).values[inner]
    off = np.abs(found.deuterium_ratio.values - 5.0)[inner]
    print(f"largest error {off.max():.3f} VSMOW, naive {np.abs(naive - 5.0).max():.2f}")
    assert np.abs(naive - 5.0).max() > 1.0
    assert off.max() < 0.1
    assert (off <= found.deuterium_ratio_resolution_error.values[inner] + 1e-9).all()


def test_ratio__flags_say_why():
    z = np.arange(0.0, 61.0)
    water = np.where(z < 30, 40e-6, 1e-7)
    light = handmade("h2o", water)
    light["h2o_vmr"][50] = -1e-8
    light["h2o_vmr_noise_covariance"][5, 5] = (20e-6) ** 2
    light["h2o_vmr_noise_covariance"][40, 40] = (5e-8) ** 2
    heavy = handmade("hdo", of_ratio(5.0, water))
    heavy["hdo_averaging_kernel"][45:, 45:] *= 0.1
    found = isotopes.deuterium_ratio(heavy, light)
    flag = found.deuterium_ratio_flag
    assert flag.attrs["flag_meanings"].split() == list(isotopes.FLAGS)
    assert flag.attrs["flag_masks"].tolist() == [1, 2, 4, 8]
    assert int(flag[5]) == 3
    assert int(flag[40]) == 2
    assert int(flag[20]) == 0
    assert (flag[45:] & 8 == 8).all()
    loose = isotopes.deuterium_ratio(
        heavy, light, maximum_h2o_error=30e-6, maximum_ratio_error=5.0
    )
    assert int(loose.deuterium_ratio_flag[5]) == 0
    assert loose.attrs["maximum_h2o_error"] == 30e-6
    assert loose.attrs["maximum_ratio_error"] == 5.0
    assert found.attrs["maximum_h2o_error"] == 15e-6


def test_ratio__levels_of_different_grids():
    light = handmade("h2o", 40e-6).isel(altitude=slice(10, 41, 2),
                                        altitude_in=slice(10, 41, 2))  # fmt: skip
    heavy = handmade("hdo", of_ratio(6.0, 40e-6))
    found = isotopes.deuterium_ratio(heavy, light)
    np.testing.assert_array_equal(found.altitude, np.arange(10.0, 41.0))
    np.testing.assert_allclose(found.deuterium_ratio, 6.0)


@pytest.mark.parametrize(
    ("change", "options", "rule"),
    [
        (lambda hdo, h2o: (hdo.drop_vars("hdo_averaging_kernel"), h2o), {}, "missing"),
        (lambda hdo, h2o: (hdo.drop_vars("time"), h2o), {}, "missing"),
        (lambda hdo, h2o: (hdo, hdo), {}, "missing"),
        (lambda hdo, h2o: (hdo.drop_vars("altitude"), h2o), {}, "missing"),
        (lambda hdo, h2o: (hdo, h2o.assign(time=h2o.time + np.timedelta64(2, "h"))), {},
         "time"),
        (lambda hdo, h2o: (hdo, h2o.assign_coords(altitude=h2o.altitude + 100)), {},
         "no_levels"),
        (lambda hdo, h2o: (hdo, h2o), {"maximum_h2o_error": 0.0}, "threshold"),
        (lambda hdo, h2o: (hdo, h2o), {"maximum_ratio_error": np.nan}, "threshold"),
    ],
)  # fmt: skip
def test_ratio__refuses_what_it_cannot_divide(change, options, rule):
    pair = change(handmade("hdo", 1e-8), handmade("h2o", 40e-6))
    with pytest.raises(RetrievalError) as caught:
        isotopes.deuterium_ratio(*pair, **options)
    assert caught.value.rule == f"isotopes.{rule}"


# D/H of two orders of one occultation


def seen_in_two_orders(tables, ratio):
    """Level 2 of order 121 (HDO) and 134 (water, 1.4 times the a priori).

    Noise-free spectra: what is found differs from the truth by the a priori alone,
    which has 5 VSMOW.
    """
    air = tgo.reference_atmosphere()
    z, water = air.altitude.values, 1.4 * air.h2o_vmr.values
    common = {"noise": False, "aerosol_depth": 0.3, "noisy_pixels": (), "seed": 5,
              "n_bins": 1, "n_orders": il.N_ORDERS}  # fmt: skip
    heavy = il.semiheavy_setup(tables)
    light = tgo.load_setup("so_134").replace(
        instrument={"n_orders": il.N_ORDERS}, systematics=il.loop.PLAIN
    )
    vmr = {"hdo": (z, of_ratio(ratio, water)), "h2o": (z, water)}
    made = [
        simulate_level1(order=121, table=heavy.table, **common,
                        vmr={gas: vmr[gas] for gas in heavy.gases}),
        simulate_level1(order=134, table=light.table, **common,
                        vmr={"h2o": vmr["h2o"]}),
    ]  # fmt: skip
    setups = (heavy, light)
    return [tgo.retrieve(m.level1, s) for m, s in zip(made, setups, strict=True)]


@pytest.fixture(scope="module")
def occultation_pair(tables):
    return seen_in_two_orders(tables, 5.0)


@pytest.mark.parametrize("true", [2.5, 5.0])
def test_deuterium__is_found_within_its_errors(request, tables, true):
    if true == 5.0:
        pair = request.getfixturevalue("occultation_pair")
    else:
        pair = seen_in_two_orders(tables, true)
    found = isotopes.deuterium_ratio(*pair)
    validate(found, 2)
    good = found.deuterium_ratio_flag.values == 0
    ratio = found.deuterium_ratio.values[good]
    error = found.deuterium_ratio_error.values[good]
    print(
        f"{true} VSMOW, {good.sum()} levels to {found.altitude.values[good].max():.0f} "
        f"km: {ratio.min():.2f} to {ratio.max():.2f}, errors {error.min():.2f} to "
        f"{error.max():.2f}; smoothed: {found.attrs['smoothed_gas']}"
    )
    assert good.sum() > 15
    assert (np.abs(ratio - true) < error).all()
    # weighted by the errors: the a priori of 5 VSMOW pulls where they are large
    mean = np.average(ratio, weights=error**-2.0)
    assert abs(mean - true) < 0.1
    assert found.attrs["hdo_setup"] == "so_119_124_hdo"
    assert found.attrs["h2o_setup"] == "so_134"


def test_deuterium__is_written_and_read(tmp_path, occultation_pair):
    found = isotopes.deuterium_ratio(*occultation_pair)
    write_level2(found, tmp_path / "ratio.nc")
    back = open_verified(tmp_path / "ratio.nc")
    for name in ("deuterium_ratio", "deuterium_ratio_error", "deuterium_ratio_flag"):
        np.testing.assert_array_equal(back[name], found[name])
    attributes = back.deuterium_ratio_flag.attrs
    assert attributes["flag_meanings"].split() == list(isotopes.FLAGS)
    assert back.attrs["maximum_h2o_error"] == 15e-6


def test_deuterium__command_finds_the_water_of_each_occultation(tmp_path, capsys):
    hdo, h2o = handmade("hdo", 1e-8), handmade("h2o", 40e-6)
    poorer = h2o.assign(h2o_averaging_kernel=0.5 * h2o.h2o_averaging_kernel)
    day = np.timedelta64(1, "D")
    for name, ds in {
        "a_hdo": hdo,
        "b_poorer": poorer,
        "c_water": h2o,
        "d_other_day": h2o.assign(time=h2o.time + 2 * day),
        "e_alone": hdo.assign(time=hdo.time + day),
    }.items():
        ds = ds.assign_attrs(product_lid=f"urn:{name}", product_version="1.0")
        write_level2(ds, tmp_path / "l2" / f"{name}.nc")
    call = ["deuterium", str(tmp_path / "l2"), "--out", str(tmp_path / "ratios")]
    assert cli.main(call) == 2
    said = capsys.readouterr()
    assert "water of c_water.nc" in said.out
    assert "e_alone.nc: no profile of water was seen at the same time" in said.err
    (made,) = (tmp_path / "ratios").iterdir()
    found = open_verified(made)
    expected = isotopes.deuterium_ratio(hdo, h2o)
    np.testing.assert_allclose(found.deuterium_ratio, expected.deuterium_ratio)
    assert "urn:a_hdo" in str(found.attrs["input_products"])
    assert "urn:c_water" in str(found.attrs["input_products"])
    assert isotopes.best_water([hdo, None], [poorer, h2o]) == [1, None]


def test_hdo__errors_cover(tables):
    """Water at 3 VSMOW: z of the HDO profile of order 121 by its noise error."""
    setup = il.semiheavy_setup(tables)
    air = tgo.reference_atmosphere()
    truth = (air.altitude.values, of_ratio(3.0, air.h2o_vmr.values))
    linear = il.linearised(il.injected(setup, 121, {"hdo": truth}))
    z = il.linear_flags(linear, "hdo", COPIES, 8).z
    inside = (np.abs(z) < 1).mean()
    print(f"HDO: mean z {z.mean():+.3f}, within 1 sigma {inside:.1%}")
    assert abs(z.mean()) < 0.1
    assert 0.639 <= inside <= 0.727


def test_deuterium__noise_error_covers_the_scatter(occultation_pair):
    """Copies of both profiles with their noise: they spread as the error says."""
    heavy, light = occultation_pair
    clean = isotopes.deuterium_ratio(heavy, light)
    rng = np.random.default_rng(4)
    roots = {}
    for gas, ds in (("hdo", heavy), ("h2o", light)):
        covariance = ds[f"{gas}_vmr_noise_covariance"].values.astype(float)
        values, vectors = np.linalg.eigh(covariance)
        roots[gas] = vectors * np.sqrt(values.clip(0.0))
    drawn = []
    for _ in range(150):
        pair = []
        for gas, ds in (("hdo", heavy), ("h2o", light)):
            root = roots[gas]
            noise = root @ rng.standard_normal(root.shape[1])
            pair.append(ds.assign({f"{gas}_vmr": ds[f"{gas}_vmr"] + noise}))
        drawn.append(isotopes.deuterium_ratio(*pair).deuterium_ratio.values)
    good = clean.deuterium_ratio_flag.values == 0
    error = clean.deuterium_ratio_noise_error.values[good]
    z = (np.array(drawn)[:, good] - clean.deuterium_ratio.values[good]) / error
    inside = (np.abs(z) < 1).mean()
    print(f"D/H: mean z {z.mean():+.3f}, within 1 sigma {inside:.1%}")
    assert abs(z.mean()) < 0.15
    assert 0.63 <= inside <= 0.74


# limits of hydrocarbons


@pytest.fixture(scope="module")
def hydrocarbons():
    setup = tgo.load_setup("so_134_hydrocarbons").replace(systematics=il.loop.PLAIN)
    amounts = {"none": {}, "put in": {"c2h4": 5e-9, "c2h6": 2e-9}}
    cases = {key: il.injected(setup, 134, vmr) for key, vmr in amounts.items()}
    return {key: il.linearised(case) for key, case in cases.items()}


@pytest.mark.parametrize(("gas", "value"), [("c2h4", 5e-9), ("c2h6", 2e-9)])
def test_hydrocarbons__null_and_injection(hydrocarbons, gas, value):
    empty, full = hydrocarbons["none"], hydrocarbons["put in"]
    flags = il.linear_flags(empty, gas, 1000, 3)
    assert flags.rate <= 0.005
    assert 0.639 <= (np.abs(flags.z) < 1).mean() <= 0.727
    d, vmr, _ = full.gas(gas)
    _, nothing, _ = empty.gas(gas)
    found = il.layer_mean(full.case, gas, vmr - nothing, d.total_error)
    copies = il.copies_of(full, gas, COPIES, 4)
    scatter = il.layer_mean(full.case, gas, copies, d.total_error).std()
    print(f"{gas} {1e9 * value} ppbv: {1e9 * found:.3f} +- {1e9 * scatter:.3f} ppbv, "
          f"empty: detected {flags.rate:.3%}")  # fmt: skip
    # the a priori of 0 +- 20 ppbv takes its share
    assert abs(found / value - 1.0) <= 0.02
    assert found > 3.0 * scatter


def test_hydrocarbons__limits_hold_what_is_not_there(hydrocarbons):
    """The 2-sigma limit of empty air exceeds zero's truth in 97.7 % of the copies."""
    empty = hydrocarbons["none"]
    for gas in ("c2h4", "c2h6"):
        d, _, _ = empty.gas(gas)
        copies = il.copies_of(empty, gas, 2000, 7)
        good = np.diag(d.averaging_kernel) > il.RESPONSE
        above = (copies + 2.0 * d.noise_error > 0.0)[:, good].mean()
        assert 0.965 < above < 0.985
