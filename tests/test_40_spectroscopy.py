"""Voigt profiles, cross sections and partition sums against independent sums."""

import contextlib
import gzip
import io
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import wofz

from tgo_spectra.errors import LineListError, MissingBroadeningError, TgoWarning
from tgo_spectra.spectroscopy import farwing, gas_info, gas_names, lineparameters
from tgo_spectra.spectroscopy import lineshape as shape
from tgo_spectra.spectroscopy.absorption import (
    absorption_cross_section,
    cross_section_grid,
    doppler_hwhm,
    line_arrays,
    line_parameters,
)
from tgo_spectra.spectroscopy.linelist import (
    isotopologue_abundance,
    isotopologue_mass,
    partition_sum,
    read_line_list,
)

CH4 = "ch4_iso1_nu3bands_2731-3274_hitranonline2026-03.par.gz"
ROOT_LN2 = np.sqrt(np.log(2.0))
STATES = [(0.1, 130.0), (5.0, 150.0), (50.0, 180.0), (300.0, 200.0), (700.0, 250.0)]


def record(nu, s=1e-20, iso="1", molecule=6, gamma=0.05, energy=100.0, delta=-0.006):
    """Return one record as HITRAN writes it."""

    def short(value, width):
        text = f"{value:.{width - 1}f}".replace("0.", ".", 1)
        return text[:width].rjust(width)

    text = f"{molecule:2d}{iso}{nu:12.6f}{s:10.3E}{1.0:10.3E}"
    text += short(gamma, 5) + f"{gamma * 1.3:5.3f}" + f"{energy:10.4f}{0.7:4.2f}"
    text += f"{delta:8.6f}".replace("-0.", "-.").rjust(8)[:8]
    text += " " * 60 + "455555" + " 1 2 3 4 5 6" + " " + f"{9.0:7.1f}{11.0:7.1f}"
    assert len(text) == 160, len(text)
    return text


@pytest.fixture
def synthetic(tmp_path):
    rng = np.random.default_rng(40)
    lines = [
        record(nu, s, energy=e, gamma=g, delta=d)
        for nu, s, e, g, d in zip(
            np.sort(rng.uniform(3000.0, 3060.0, 200)),
            10 ** rng.uniform(-25, -19, 200),
            rng.uniform(0, 1500, 200),
            rng.uniform(0.03, 0.08, 200),
            rng.uniform(-0.009, -0.001, 200),
            strict=True,
        )
    ]
    path = tmp_path / "synthetic.par"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def methane(shared):
    return read_line_list(shared / "linelists" / CH4)


def wofz_sum(grid, state):
    """Sum every line at every point with scipy's Faddeeva function."""
    total = np.zeros(grid.size)
    for position, doppler, lorentz, intensity in zip(*state, strict=True):
        unit = ROOT_LN2 / doppler
        w = wofz((grid - position) * unit + 1j * lorentz * unit).real
        total += intensity * unit / np.sqrt(np.pi) * w
    return total


# ---- the Voigt function


@pytest.mark.parametrize(
    ("low", "high"), [(-12, -6), (-6, -2), (-2, -1), (-1, 0), (0, 1), (1, 3)]
)
def test_voigt_function_against_wofz(low, high):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, 20000) ** 2 * rng.choice([1.0, 8.0, 100.0], 20000)
    x[:6] = [0.0, 5.5, 6.999999, 7.0, 7.000001, 0.924]
    y = 10 ** rng.uniform(low, high, 20000)
    wanted = wofz(x + 1j * y).real
    found = shape.voigt_function(x, y)
    # far from the centre exp(-x^2) < 5e-22 may be missing beside no wing at all
    error = np.abs(found - wanted) / (wanted + 1e-18)
    assert error.max() < 1e-6
    np.testing.assert_array_equal(shape.voigt_function(-x, y), found)


def test_voigt_function_continuous_at_switches():
    for y in (1e-9, 1e-3, 0.3, 0.4999999, 0.5, 3.0):
        for x in (5.5, 7.0):
            near = shape.voigt_function(np.array([x - 1e-9, x + 1e-9]), y)
            assert near[0] == pytest.approx(near[1], rel=1e-6)
    for x in (0.0, 1.0, 4.0, 6.9):
        for y in (0.005, 0.05, 0.1, 0.5, 7.0):
            near = shape.voigt_function(np.array([x]), np.array([y - 1e-9, y + 1e-9]))
            assert near[0] == pytest.approx(near[1], rel=1e-6)


def voigt_profile(distance, doppler, lorentz):
    """Voigt profile of unit area from half-widths at half maximum."""
    scale = np.sqrt(np.log(2.0)) / doppler
    value = shape.voigt_function(distance * scale, lorentz * scale)
    return value * scale / np.sqrt(np.pi)


def test_voigt_limits():
    x = np.linspace(-4, 4, 801)
    np.testing.assert_allclose(shape.voigt_function(x, 0.0), np.exp(-(x**2)), rtol=1e-9)
    # Lorentz limit
    distance = np.linspace(-5.0, 5.0, 1001)
    lorentz = 0.3 / np.pi / (distance**2 + 0.3**2)
    profile = voigt_profile(distance, 1e-4, 0.3)
    np.testing.assert_allclose(profile, lorentz, rtol=1e-6)


@pytest.mark.parametrize("lorentz", [0.0, 1e-6, 1e-4, 1e-3, 0.02])
def test_voigt_area_is_one(lorentz):
    step = 5e-4
    half = 100.0
    grid = np.arange(-half, half + step / 2, step)
    area = voigt_profile(grid, 0.004, lorentz).sum() * step
    outside = 2.0 * lorentz / (np.pi * half)
    assert area + outside == pytest.approx(1.0, abs=2e-6)


# ---- sums on grids


@pytest.mark.parametrize("lorentz", [0.0, 1e-8, 3e-6, 3e-4, 3e-3, 0.05, 0.4])
@pytest.mark.parametrize("step", [0.002, 0.0005, 0.01])
def test_ladder_against_wofz_at_every_point(lorentz, step):
    rng = np.random.default_rng(2)
    n = 60
    position = rng.uniform(2995.0, 3015.0, n)
    doppler = rng.uniform(0.003, 0.005, n)
    width = lorentz * rng.uniform(0.5, 1.5, n)
    intensity = 10 ** rng.uniform(-3, 0, n)
    grid = 3000.0 + step * np.arange(round(10.0 / step))
    found = shape.sum_lines(
        3000.0, step, grid.size, position, doppler, width, intensity
    )
    wanted = wofz_sum(grid, (position, doppler, width, intensity))
    # exp(-x^2) is followed down to 5e-22; lower it matters without any wing only
    floor = 1e-16 * wanted.max()
    error = np.abs(found - wanted) / (wanted + floor)
    assert error.max() < 5e-5
    again = shape.sum_lines(
        3000.0, step, grid.size, position, doppler, width, intensity
    )
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("size", [1, 2, 3, 40, 49, 50, 53, 197, 1001])
def test_ladder_of_any_size(size):
    one = np.ones(3)
    position = np.array([2990.0, 3000.01, 3020.0])
    grid = 3000.0 + 0.002 * np.arange(size)
    state = (position, 0.004 * one, 1e-4 * one, one)
    found = shape.sum_lines(3000.0, 0.002, size, *state)
    np.testing.assert_allclose(found, wofz_sum(grid, state), rtol=5e-5)
    np.testing.assert_allclose(
        shape.sum_lines_at(grid, *state), wofz_sum(grid, state), rtol=1e-6
    )


def test_single_wing_over_a_wide_window_has_no_steps():
    one = np.ones(1)
    grid = 2900.0 + 0.002 * np.arange(150_000)
    state = (2950.0003 * one, 0.0038 * one, 2e-4 * one, one)
    found = shape.sum_lines(2900.0, 0.002, grid.size, *state)
    np.testing.assert_allclose(found, wofz_sum(grid, state), rtol=5e-5)


@pytest.mark.parametrize("accuracy", [1e-5, 5e-5, 1e-3])
@pytest.mark.parametrize("lorentz", [0.0, 1e-6, 3e-4, 3e-3, 0.05])
@pytest.mark.parametrize("step", [0.0005, 0.001, 0.004])
def test_sum_keeps_to_its_accuracy(accuracy, lorentz, step):
    rng = np.random.default_rng(7)
    n = 60
    state = (
        rng.uniform(2995.0, 3011.0, n),
        rng.uniform(0.003, 0.005, n),
        lorentz * rng.uniform(0.5, 1.5, n),
        10 ** rng.uniform(-3, 0, n),
    )
    grid = 3000.0 + step * np.arange(round(6.0 / step))
    found = shape.sum_lines(3000.0, step, grid.size, *state, accuracy)
    wanted = wofz_sum(grid, state)
    error = np.abs(found - wanted) / (wanted + 1e-16 * wanted.max())
    assert error.max() < accuracy


@pytest.mark.parametrize("accuracy", [0.0, 1e-6, 0.01, np.nan])
def test_accuracy_out_of_range(accuracy):
    one = np.ones(1)
    with pytest.raises(ValueError, match="accuracy must be"):
        shape.sum_lines(1.0, 0.1, 5, one, one, one, one, accuracy)


def many_lines(n=400, lorentz=2e-5):
    """Lines of very different strength, crowded in places."""
    rng = np.random.default_rng(8)
    middle = rng.uniform(2998.0, 3012.0, 20)
    return (
        np.sort(rng.choice(middle, n) + rng.normal(0.0, 0.1, n)),
        rng.uniform(0.003, 0.005, n),
        lorentz * rng.uniform(0.5, 1.5, n),
        10 ** rng.uniform(-12, 0, n),
    )


@pytest.mark.parametrize("lorentz", [1e-7, 2e-5, 1e-3, 0.05])
@pytest.mark.parametrize("negligible", [1e-8, 1e-6, 1e-4])
def test_lines_left_out_stay_below_the_bound(negligible, lorentz):
    state = many_lines(lorentz=lorentz)
    keep = shape.select_lines(*state, negligible, 3000.0, 3010.0)
    assert 0 < keep.sum() < keep.size
    grid = 2997.0 + 0.0005 * np.arange(32_000)
    out = wofz_sum(grid, tuple(a[~keep] for a in state))
    inside = (state[0] >= 3000.0) & (state[0] <= 3010.0)
    unit = ROOT_LN2 / state[1]
    height = state[3] * unit / np.sqrt(np.pi) * wofz(1j * state[2] * unit).real
    bound = negligible * height[inside].max()
    assert out.max() <= bound
    # the bound is not idle: the next line left out would break it, but for crowding
    assert out.max() > 0.02 * bound


def test_no_line_is_left_out_unasked():
    state = many_lines()
    assert shape.select_lines(*state, 0.0, 3000.0, 3010.0).all()
    # without a line in the window there is no height to compare with
    assert shape.select_lines(*state, 1e-3, 4000.0, 4010.0).all()


# ---- cross sections


def test_negligible_lines_in_cross_sections(synthetic):
    lines = read_line_list(synthetic)
    grid = 3020.0 + 0.002 * np.arange(5000)
    full = cross_section_grid(lines, grid, [1.0, 300.0], 180.0, "air")
    part = cross_section_grid(lines, grid, [1.0, 300.0], 180.0, "air", negligible=1e-4)
    off = np.abs(part - full).max(axis=1) / full.max(axis=1)
    # heights at line centres, sampled on a grid of half a Doppler width
    assert (off > 0.0).all()
    assert (off < 1.2e-4).all()


def test_same_bits_for_any_number_of_threads(synthetic):
    lines = line_arrays(read_line_list(synthetic), 3000.0, 3060.0, "air")
    grid = 3000.0 + 0.002 * np.arange(30_000)
    p, t = np.geomspace(0.01, 600.0, 7), np.linspace(130.0, 230.0, 7)
    options = {"negligible": 1e-9}
    one = cross_section_grid(lines, grid, p, t, **options)
    for threads in (2, 3):
        parts = np.array_split(np.arange(7), threads)
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(
                lambda i: cross_section_grid(lines, grid, p[i], t[i], **options), parts
            )
            np.testing.assert_array_equal(np.concatenate(list(found)), one)


def test_the_lock_is_released_while_lines_are_summed():
    """Another thread goes on counting during one long sum."""
    state = many_lines(4000)
    shape.sum_lines(3000.0, 1e-4, 100, *state)
    ticks, going = 0, True

    def tick():
        nonlocal ticks
        while going:
            ticks += 1
            time.sleep(1e-3)

    other = threading.Thread(target=tick)
    interval = sys.getswitchinterval()
    other.start()
    try:
        # were the lock held, the other thread could not run before the sum ends,
        # however long it took
        sys.setswitchinterval(1000.0)
        for size in 200_000 * 2 ** np.arange(8):
            before = ticks
            shape.sum_lines(3000.0, 2e-5, size, *state)
            during = ticks - before
            if during > 5:
                break
    finally:
        going = False
        sys.setswitchinterval(interval)
        other.join()
    assert during > 5


def test_mixture_of_broadeners(synthetic):
    lines = read_line_list(synthetic)
    n = lines.sizes["line"]
    lines = lines.assign(
        gamma_co2=("line", np.full(n, 0.1)),
        n_co2=("line", np.full(n, 0.6)),
        delta_co2=("line", np.full(n, -0.004)),
    )
    mixture = {"co2": 0.7, "air": 0.2, "self": 0.1}
    chosen = line_arrays(lines, 3000.0, 3060.0, mixture)
    assert chosen.broadening.startswith("0.7 co2: gamma_co2")
    position, _, lorentz, _ = line_parameters(chosen, 101325.0, 200.0)
    warm = 296.0 / 200.0
    air, own = lines["gamma_air"].values, lines["gamma_self"].values
    n_air, shift = lines["n_air"].values, lines["delta_air"].values
    wanted = 0.07 * warm**0.6 + (0.2 * air + 0.1 * own) * warm**n_air
    np.testing.assert_allclose(lorentz, wanted, rtol=1e-12)
    moved = position - lines["wavenumber"].values
    np.testing.assert_allclose(moved, 0.7 * -0.004 + 0.3 * shift, atol=1e-11)
    grid = 3020.0 + 0.002 * np.arange(500)
    single = cross_section_grid(lines, grid, 300.0, 180.0, {"air": 1.0})
    np.testing.assert_array_equal(
        single, cross_section_grid(lines, grid, 300.0, 180.0, "air")
    )
    result = absorption_cross_section(lines, grid, 300.0, 180.0, mixture)
    assert "0.2 air: gamma_air" in result.attrs["broadening"]


def test_widths_by_co2_line_by_line_where_the_list_has_them(synthetic):
    lines = read_line_list(synthetic)
    n = lines.sizes["line"]
    without = line_arrays(lines, 3000.0, 3060.0, ("co2 or air", 1.7))
    air = line_arrays(lines, 3000.0, 3060.0, ("air", 1.7))
    assert without.broadening == air.broadening
    np.testing.assert_array_equal(without.gamma, air.gamma)
    has = np.arange(n) % 3 == 0
    some = lines.assign(
        gamma_co2=("line", np.where(has, 0.1, np.nan)),
        n_co2=("line", np.where(has, 0.6, np.nan)),
        delta_co2=("line", np.where(np.arange(n) % 6 == 0, -0.004, np.nan)),
    )
    mixed = line_arrays(some, 3000.0, 3060.0, ("co2 or air", 1.7))
    np.testing.assert_array_equal(mixed.gamma[0], np.where(has, 0.1, air.gamma[0]))
    np.testing.assert_array_equal(mixed.exponent[0], np.where(has, 0.6, lines["n_air"]))
    shift = np.where(np.arange(n) % 6 == 0, -0.004, lines["delta_air"])
    np.testing.assert_array_equal(mixed.shift, shift)
    assert f"({has.sum()} lines)" in mixed.broadening
    assert f"({n - has.sum()} lines)" in mixed.broadening
    every = some.assign(gamma_co2=("line", np.full(n, 0.1)), n_co2=lines["n_air"])
    whole = line_arrays(every, 3000.0, 3060.0, ("co2 or air", 1.7))
    assert whole.broadening.startswith("co2: gamma_co2, n_co2")
    with pytest.raises(LineListError, match="co2 or air"):
        line_arrays(lines, 3000.0, 3060.0, ("co2 or air", -1.0))


def test_lines_of_unknown_energy_are_in_no_cross_section(synthetic):
    lines = read_line_list(synthetic)
    energy = lines["lower_state_energy"].values.copy()
    energy[::4] = -1.0
    gone = lines.assign(lower_state_energy=("line", energy))
    grid = np.arange(3020.0, 3021.0, 0.002)
    found = absorption_cross_section(gone, grid, 300.0, 180.0, "air")
    wanted = absorption_cross_section(
        lines.isel(line=np.flatnonzero(energy != -1.0)), grid, 300.0, 180.0, "air"
    )
    np.testing.assert_array_equal(found, wanted)
    inside = (lines["wavenumber"] > 2995.0) & (lines["wavenumber"] < 3046.0)
    assert found.attrs["unknown_lower_state_energy"] == (energy[inside] == -1.0).sum()
    none = lines.assign(lower_state_energy=("line", np.full(energy.size, -1.0)))
    with pytest.raises(LineListError, match=r"but \d+ of unknown lower state energy"):
        line_arrays(none, 3000.0, 3060.0, "air")


def carbon_dioxide(folder):
    rows = [
        record(nu, 1e-21, molecule=2) for nu in (2290.0, 2300.0, 2306.5, 2316.0, 2330.0)
    ]
    path = folder / "co2.par"
    path.write_text("\n".join(rows) + "\n")
    return read_line_list(path)


def test_far_wing_of_carbon_dioxide(tmp_path):
    lines = carbon_dioxide(tmp_path)
    grid = 2300.0 + 0.002 * np.arange(7000)
    pressure, kind = 20000.0, {"broadening": "self", "far_wing": "tonkov1996"}
    found = cross_section_grid(lines, grid, pressure, 250.0, **kind)[0]
    chosen = line_arrays(lines, grid[0], grid[-1], "self")
    state = line_parameters(chosen, pressure, 250.0)
    wanted = np.zeros(grid.size)
    for row in zip(*state, strict=True):
        one = tuple(np.array([x]) for x in row)
        wanted += wofz_sum(grid, one) * farwing.chi_tonkov(grid - row[0])
    np.testing.assert_allclose(found, wanted, rtol=4e-4)
    plain = cross_section_grid(lines, grid, pressure, 250.0, "self")[0]
    assert (found <= plain).all()
    assert (found / plain).min() < 0.95
    uneven = np.array([2300.0, 2301.7, 2311.3])
    one = cross_section_grid(lines, uneven, pressure, 250.0, **kind)[0]
    np.testing.assert_allclose(one, np.interp(uneven, grid, found), rtol=2e-3)


def test_chi_factor_is_nearly_continuous():
    for edge, step in ((3.0, 4e-4), (150.0, 3e-3), (300.0, 0.03)):
        near = farwing.chi_tonkov(np.array([edge - 1e-9, edge + 1e-9]))
        assert near[1] == pytest.approx(near[0], rel=step)
    chi = farwing.chi_tonkov(np.linspace(0.0, 500.0, 5001))
    assert (np.diff(chi[31:]) < 0.0).all()


@pytest.mark.parametrize(("pressure", "temperature"), STATES)
def test_methane_against_wofz_sum(methane, pressure, temperature):
    grid = 3015.0 + 0.002 * np.arange(2000)
    found = cross_section_grid(methane, grid, pressure, temperature, "air")[0]
    chosen = line_arrays(methane, grid[0], grid[-1], "air")
    wanted = wofz_sum(grid, line_parameters(chosen, pressure, temperature))
    error = np.abs(found / wanted - 1.0)
    assert error[wanted > 1e-3 * wanted.max()].max() < 1e-5
    assert error.max() < 1e-4


@pytest.mark.parametrize(("pressure", "temperature"), STATES)
def test_synthetic_against_plain_formulas(synthetic, pressure, temperature):
    """Formulas written out again, in plain numpy."""
    lines = read_line_list(synthetic)
    grid = 3020.0 + 0.002 * np.arange(5000)
    found = cross_section_grid(lines, grid, pressure, temperature, ("air", 1.3))[0]
    c2, t0, atm = 1.4387769, 296.0, pressure / 101325.0
    nu, s0, e = (
        lines[k].values for k in ("wavenumber", "intensity", "lower_state_energy")
    )
    q = partition_sum(6, 1, [t0, temperature])
    s = s0 * q[0] / q[1] * np.exp(-c2 * e * (1 / temperature - 1 / t0))
    s *= (1 - np.exp(-c2 * nu / temperature)) / (1 - np.exp(-c2 * nu / t0))
    gamma = 1.3 * atm * lines["gamma_air"].values * (t0 / temperature) ** lines["n_air"]
    state = (
        nu + atm * lines["delta_air"].values,
        3.581163e-7 * nu * np.sqrt(temperature / 16.0313),
        gamma.values,
        s,
    )
    wanted = wofz_sum(grid, state)
    strong = wanted > 1e-3 * wanted.max()
    assert np.abs(found / wanted - 1.0)[strong].max() < 1e-4


# hc/k in cm K as HAPI has it, 1.8e-5 above that of CODATA 2018
HAPI_RADIATION_CM_K = 1.4388028496642257


def hapi_sum(hapi, grid, state):
    """Sum every line at every point with HAPI's own rational approximation."""
    total = np.zeros(grid.size)
    for position, doppler, lorentz, intensity in zip(*state, strict=True):
        unit = ROOT_LN2 / doppler
        y = np.full(grid.size, lorentz * unit)
        w, _ = hapi.hum1_wei((grid - position) * unit, y)
        total += intensity * unit / np.sqrt(np.pi) * w
    return total


def hapi_module():
    with contextlib.redirect_stdout(io.StringIO()):
        import hapi
    return hapi


def compare_with_hapi(folder, records, pressure, temperature, monkeypatch):
    """Ours against SciPy's Voigt function; HAPI against what HAPI says of itself.

    HAPI's profile is off by up to 6e-3 between lines, its intensities by 1.3e-4 at
    130 K. With its profile and its constant our widths, shifts, intensities and
    partition sums must be its own.
    """
    hapi = hapi_module()
    path = folder / "m.par"
    path.write_text("\n".join(records) + "\n")
    lines = read_line_list(path)
    path.rename(folder / "m.data")
    header = hapi.HITRAN_DEFAULT_HEADER | {
        "table_name": "m",
        "number_of_rows": lines.sizes["line"],
    }
    (folder / "m.header").write_text(json.dumps(header))
    grid = 3016.0 + 0.002 * np.arange(2000)
    with contextlib.redirect_stdout(io.StringIO()):
        hapi.db_begin(str(folder))
        _, theirs = hapi.absorptionCoefficient_Voigt(
            SourceTables="m",
            Environment={"p": pressure / 101325.0, "T": temperature},
            WavenumberGrid=grid,
            WavenumberWing=50.0,
            WavenumberWingHW=0.0,
            HITRAN_units=True,
            Diluent={"air": 1.0},
            # the newest sums; for methane they agree with TIPS-2021 to 1e-6
        )
    ours = cross_section_grid(lines, grid, pressure, temperature, "air")[0]
    chosen = line_arrays(lines, grid[0], grid[-1], "air")
    exact = wofz_sum(grid, line_parameters(chosen, pressure, temperature))
    error = np.abs(ours / exact - 1.0)
    assert error[exact > 1e-3 * exact.max()].max() < 1e-5
    assert error.max() < 5e-5
    monkeypatch.setattr(lineparameters, "SECOND_RADIATION_CM_K", HAPI_RADIATION_CM_K)
    chosen = line_arrays(lines, grid[0], grid[-1], "air", wing=50.0)
    state = line_parameters(chosen, pressure, temperature)
    np.testing.assert_allclose(theirs, hapi_sum(hapi, grid, state), rtol=2e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("pressure", "temperature"), STATES)
def test_against_hapi(tmp_path, synthetic, monkeypatch, pressure, temperature):
    records = synthetic.read_text().splitlines()
    compare_with_hapi(tmp_path, records, pressure, temperature, monkeypatch)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("pressure", "temperature"), STATES)
def test_methane_against_hapi(tmp_path, shared, monkeypatch, pressure, temperature):
    text = gzip.decompress((shared / "linelists" / CH4).read_bytes()).decode()
    near = [row for row in text.splitlines() if 3012.0 < float(row[3:15]) < 3024.0]
    compare_with_hapi(tmp_path, near, pressure, temperature, monkeypatch)


def test_labelled_result(synthetic):
    import xarray as xr

    lines = read_line_list(synthetic, edition="synthetic 1")
    grid = 3020.0 + 0.002 * np.arange(500)
    result = absorption_cross_section(lines, grid, [10.0, 20.0], 180.0, "air")
    assert result.dims == ("state", "wavenumber")
    assert result.attrs["units"] == "cm2"
    assert result.attrs["broadening"] == "air: gamma_air, n_air, delta_air"
    assert result.attrs["edition"] == "synthetic 1"
    assert result.attrs["source_sha256"] == lines.attrs["source_sha256"]
    np.testing.assert_array_equal(
        result.values, cross_section_grid(lines, grid, [10.0, 20.0], 180.0, "air")
    )
    p = xr.DataArray([10.0, 20.0], dims="altitude", coords={"altitude": [0.0, 1.0]})
    t = xr.DataArray([180.0, 170.0], dims="altitude", coords={"altitude": [0.0, 1.0]})
    result = absorption_cross_section(lines, grid, p, t, ("air", 1.3))
    assert result.dims == ("altitude", "wavenumber")
    assert "1.3" in result.attrs["broadening"]
    np.testing.assert_array_equal(result["temperature"], t)
    one = absorption_cross_section(lines, grid, 10.0, 180.0, "self")
    assert one.dims == ("wavenumber",)
    assert one.attrs["broadening"] == "self: gamma_self, n_air, delta_air"


def test_uneven_points_equal_the_grid(synthetic):
    lines = read_line_list(synthetic)
    grid = 3020.0 + 0.002 * np.arange(1000)
    keep = np.sort(np.random.default_rng(3).choice(1000, 100, replace=False))
    full = cross_section_grid(lines, grid, 100.0, 180.0, "air")[0]
    part = cross_section_grid(lines, grid[keep], 100.0, 180.0, "air", wing=26.0)[0]
    np.testing.assert_allclose(part, full[keep], rtol=5e-5)


def test_coarse_step_warns(synthetic):
    lines = read_line_list(synthetic)
    with pytest.warns(TgoWarning, match=r"0\.8 Doppler"):
        absorption_cross_section(lines, np.arange(3020, 3021, 0.005), 1.0, 150.0, "air")


def test_missing_co2_broadening_raises(synthetic):
    lines = read_line_list(synthetic)
    grid = 3020.0 + 0.002 * np.arange(10)
    with pytest.raises(MissingBroadeningError, match="gamma_co2"):
        absorption_cross_section(lines, grid, 1.0, 150.0)
    gaps = np.full(lines.sizes["line"], 0.07)
    gaps[100] = np.nan
    lines = lines.assign(gamma_co2=("line", gaps), n_co2=("line", gaps))
    with pytest.raises(MissingBroadeningError, match="NaN in 1 lines"):
        absorption_cross_section(lines, grid, 1.0, 150.0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"broadening": "CO2"}, "broadening must be"),
        ({"broadening": ("self", 2.0)}, "broadening must be"),
        ({"broadening": ("air", -1.0)}, "broadening must be"),
        ({"broadening": {"air": 0.5, "self": 0.4}}, "sum 1, not 0.9"),
        ({"broadening": {"air": 1.5, "self": -0.5}}, "must be positive"),
        ({"broadening": {"air": 0.5, "n2": 0.5}}, "broadening must be"),
        ({"broadening": {}}, "sum 1, not 0"),
        ({"accuracy": 1e-7}, "1e-05 to 0.001"),
        ({"accuracy": np.nan}, "1e-05 to 0.001"),
        ({"negligible": -1e-9}, "at least 0"),
        ({"negligible": 1.0}, "at least 0"),
        ({"far_wing": "tonkov"}, "must be one of"),
        ({"far_wing": "tonkov1996"}, "is for CO2"),
        ({"pressure": -1.0}, "pressure"),
        ({"pressure": np.nan}, "pressure"),
        ({"temperature": 39.0}, "40 to 400"),
        ({"temperature": 401.0}, "40 to 400"),
        ({"temperature": np.nan}, "40 to 400"),
        ({"wavenumber": [100.0, 100.002]}, "no line"),
        ({"wavenumber": []}, "wavenumber"),
        ({"wavenumber": [-1.0, 3000.0]}, "positive"),
        ({"isotopologues": [2]}, "no line of isotopologues"),
        ({"isotopologue_factor": {1: -2.0}}, "factors"),
        ({"wing": -1.0}, "negative"),
        ({"gas": "h2o"}, "molecule"),
        ({"gas": "ch5"}, "unknown gas"),
    ],
)
def test_bad_requests(synthetic, change, match):
    lines = read_line_list(synthetic)
    request = {
        "wavenumber": [3020.0, 3020.002],
        "pressure": 1.0,
        "temperature": 150.0,
        "broadening": "air",
    }
    with pytest.raises(LineListError, match=match):
        absorption_cross_section(lines, **(request | change))


def test_isotopologue_factor(tmp_path):
    path = tmp_path / "w.par"
    rows = [record(3010.0, iso="1", molecule=1), record(3010.5, iso="4", molecule=1)]
    path.write_text("\n".join(rows) + "\n")
    lines = read_line_list(path)
    grid = 3010.4 + 0.001 * np.arange(200)
    kind = {"broadening": "air"}
    hdo = cross_section_grid(lines, grid, 1.0, 150.0, **kind, isotopologues=[4])
    six = cross_section_grid(
        lines, grid, 1.0, 150.0, **kind, isotopologues=[4], isotopologue_factor={4: 6.0}
    )
    np.testing.assert_allclose(six, 6.0 * hdo)
    own = cross_section_grid(lines, grid, 1.0, 150.0, **kind, gas="hdo")
    total = sum(isotopologue_abundance(1, i) for i in (4, 5, 6))
    np.testing.assert_allclose(own, hdo / total)
    water = cross_section_grid(lines, grid, 1.0, 150.0, **kind, gas="h2o")
    both = cross_section_grid(lines, grid, 1.0, 150.0, **kind)
    np.testing.assert_allclose(water + hdo, both, rtol=1e-9)


# ---- partition sums, gases


@pytest.mark.filterwarnings("ignore")
def test_partition_sums_against_hapi():
    hapi = hapi_module()
    kelvin = np.array([40.0, 47.3, 71.0, 117.0, 150.0, 200.0, 296.0, 333.3, 400.0])
    for gas in gas_names():
        info = gas_info(gas)
        for iso in info.isotopologues or (1,):
            wanted = [
                hapi.partitionSum(info.molecule, iso, t, version=2021) for t in kelvin
            ]
            found = partition_sum(info.molecule, iso, kelvin)
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
            data = hapi.ISO[(info.molecule, iso)]
            assert isotopologue_mass(info.molecule, iso) == pytest.approx(data[3])
            assert isotopologue_abundance(info.molecule, iso) == pytest.approx(data[2])


def test_partition_sum_limits():
    assert partition_sum(6, 1, 40.0) > 0
    assert partition_sum(6, 1, [40.0, 400.0]).shape == (2,)
    for kelvin in (39.99, 400.01, np.nan, np.inf, [100.0, 500.0]):
        with pytest.raises(LineListError, match="40 to 400"):
            partition_sum(6, 1, kelvin)
    with pytest.raises(LineListError, match="isotopologue"):
        partition_sum(6, 9, 200.0)


def test_doppler_values():
    assert doppler_hwhm(3000.0, 200.0, 16.0313) == pytest.approx(3.79e-3, rel=2e-3)
    assert doppler_hwhm(3000.0, 150.0, 43.98983) == pytest.approx(1.98e-3, rel=3e-3)


def test_gas_table():
    for gas in gas_names():
        info = gas_info(gas)
        first = info.isotopologues[0] if info.isotopologues else 1
        assert info.mass == isotopologue_mass(info.molecule, first)
        assert info.default_broadening in {"co2", "self"}


def test_kernels_refuse_arrays_that_do_not_fit():
    one = np.ones(1)
    for bad in (
        (one, one, one, np.ones(2)),
        (one, 0.0 * one, one, one),
        (one, one, -one, one),
        (one, one, one, np.nan * one),
    ):
        with pytest.raises(ValueError):
            shape.sum_lines(0.0, 1.0, 5, *bad)
        with pytest.raises(ValueError):
            shape.sum_lines_at(one, *bad)
    with pytest.raises(ValueError):
        shape.sum_lines(0.0, 1.0, 0, one, one, one, one)
    with pytest.raises(ValueError):
        shape.sum_lines(0.0, 0.0, 5, one, one, one, one)
