"""Temperature and density from CO2 lines: exact derivatives, closed loop, errors.

The lines are generated (`synthetic_bands.co2_combination`). Truths are simulated on
levels 0.125 km apart in double precision with a field of view by quadrature; the fit
has levels 1 km apart. Table, truth and fit add two neighbouring orders on either side:
a table for ten takes ten times as long to build.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import synthetic_bands
import xarray as xr
from reference import exact_jacobian as jacobian
from reference.plain_fit import fit_baseline

import tgo_spectra as tgo
from tgo_spectra.errors import AtmosphereError, RetrievalError, SetupError, TableError
from tgo_spectra.forward import sight as sights
from tgo_spectra.forward import temperature_fields
from tgo_spectra.instruments import so
from tgo_spectra.instruments.response import tabulated
from tgo_spectra.retrieval import linear as linearisation
from tgo_spectra.retrieval import preparation, solve
from tgo_spectra.retrieval.models.so.temperature import (
    atmosphere_of,
    evaluation,
    fit,
    retrieval,
    retrieve_temperature,
)
from tgo_spectra.retrieval.models.so.temperature.retrieval import (
    build_temperature_scene,
)
from tgo_spectra.retrieval.models.so.temperature.scene import molar_mass
from tgo_spectra.retrieval.models.so.temperature.setup import TemperatureSetup
from tgo_spectra.simulate import simulate_level1
from tgo_spectra.spectroscopy.tables import files
from tgo_spectra.spectroscopy.tables.build import build_table
from tgo_spectra.spectroscopy.tables.files import write_table
from tgo_spectra.variables import validate

RADIUS_KM = 3389.5
ORDERS = 2
RESPONSE = 0.3


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """Table of generated lines for order 165 with two neighbours.

    CO2, and as interferent "hdo": lines of the OD stretch, moved by 1000 cm-1.
    """
    other = synthetic_bands.hdo_nu1()
    other = other.assign(wavenumber=other.wavenumber + 1000.0)
    path = tmp_path_factory.mktemp("co2") / "co2_165.nc"
    made = build_table(
        {
            "co2": (synthetic_bands.co2_combination(), "co2"),
            "hdo": (other, ("air", 1.7)),
        },
        (3660.0, 3785.0),
        pressure_pa=1e-3 * np.exp(np.arange(15.0)),
        temperature_k=np.arange(100.0, 301.0, 40.0),
        tolerance=2e-3,
        rank_tolerance=3e-4,
        atmospheres=8,
        verify_atmospheres=0,
        workers=1,
    )
    return write_table(made, path)


def setup_of(table, **changes):
    raw = {
        "name": "co2_165_test",
        "channel": "so",
        "orders": [165],
        "table": str(table),
        "pressure": {"reference_km": 80.0},
        "window": {
            "first_pixel": 80,
            "last_pixel": 239,
            "bottom_km": 48.0,
            "top_km": 112.0,
        },
        "instrument": {"n_orders": ORDERS},
    }
    known = {"h2o", "hdo"} - set(changes.get("interferents", ()))
    absent = {"interferents_absent": sorted(known)}
    return TemperatureSetup.parse(raw | absent | changes, table)


# of the simulated products, whose fits take the reference atmosphere there
PLACE = {"solar_longitude": 192.93, "latitude": -24.3}


def air_of(kind, *, surface_pa=None, co2=0.955, mass=None):
    """Return a hydrostatic truth on fine levels; ``mass``: molar, not that of CO2."""
    z = np.arange(-5.0, 160.01, 0.125)
    base = tgo.reference_atmosphere(z, **PLACE)
    if surface_pa is None:
        surface_pa = float(base.pressure.sel(altitude=0.0))
    t = base.temperature.values
    if kind == "wave":
        t = t + 3.0 + 6.0 * np.sin(2.0 * np.pi * z / 24.0)
    elif kind == "isothermal":
        t = np.full(z.size, 150.0)
    elif kind == "lapse":
        t = np.interp(z, [-5.0, 60.0, 100.0, 160.0], [230.0, 152.0, 128.0, 160.0])
    ratio = sights.hydrostatic_log_ratio(
        z,
        t,
        planet_radius_km=RADIUS_KM,
        anchor=int(np.abs(z).argmin()),
        molar_mass_g_mol=molar_mass(co2) if mass is None else mass,
    )
    return base.drop_vars("number_density").assign(
        pressure=base.pressure.copy(data=surface_pa * np.exp(ratio)),
        temperature=base.temperature.copy(data=t),
        co2_vmr=base.co2_vmr.copy(data=np.full(z.size, co2)),
    )


@lru_cache(maxsize=8)
def measured(table, kind, noise=False, n_bins=1, hdo=None, **options):
    """Return level 1 and the truth's atmosphere; the spectra have hidden shifts."""
    air = air_of(kind, **options)
    made = simulate_level1(
        order=165,
        table=str(table),
        n_orders=ORDERS,
        atmosphere=air,
        gases=("co2",) if hdo is None else ("co2", "hdo"),
        vmr={} if hdo is None else {"hdo": hdo},
        altitude_range=(44.0, 114.0),
        n_bins=n_bins,
        noisy_pixels=(),
        noise=noise,
        seed=5,
    )
    return made.level1, air


@pytest.fixture(scope="session")
def clean(table):
    """Scene, fit and truth of noise-free spectra of the wavy atmosphere."""
    level1, air = measured(table, "wave")
    scene, _ = build_temperature_scene(level1, setup_of(table))
    return scene, fit.solve_temperature(scene), air


def truth_at(air, altitude_km):
    t = np.interp(altitude_km, air.altitude, air.temperature)
    p = np.exp(np.interp(altitude_km, air.altitude, np.log(air.pressure)))
    return t, p


def z_of(scene, solution, air, temperature_k=None):
    """Departure from the truth as the kernel sees it, over the noise error."""
    found = retrieval.profiles_of(scene, solution)
    d = found.diagnostics
    true, _ = truth_at(air, scene.altitude_km)
    apriori = scene.sight.temperature_k[scene.level_points]
    expected = apriori + d.averaging_kernel @ (true - apriori)
    t = found.temperature_k if temperature_k is None else temperature_k
    good = np.diag(d.averaging_kernel) > RESPONSE
    return ((t - expected) / d.noise_error)[..., good]


# ---- hydrostatic balance


def test_hydrostatic__equals_the_closed_form_of_an_isothermal_atmosphere():
    z = np.arange(0.0, 100.1, 0.25)
    found = sights.hydrostatic_log_ratio(
        z, np.full(z.size, 160.0), planet_radius_km=RADIUS_KM, anchor=120
    )
    r = 1e3 * (RADIUS_KM + z)
    gm = tgo.mars.GM_M3_S2
    scale = 1e-3 * 43.4 * gm / (8.31446261815324 * 160.0)
    np.testing.assert_allclose(found, scale * (1 / r - 1 / r[120]), atol=1e-11)


def test_hydrostatic__error_falls_with_the_fourth_power_of_the_step():
    def ratio(step):
        z = np.arange(0.0, 80.0 + 0.5 * step, step)
        t = 160.0 - 0.3 * z + 8.0 * np.sin(z / 5.0)
        return sights.hydrostatic_log_ratio(z, t, planet_radius_km=RADIUS_KM, anchor=0)[
            -1
        ]

    # temperature is linear between points: the second order is that of the profile
    exact = ratio(1.0 / 64.0)
    errors = [abs(ratio(step) - exact) for step in (2.0, 1.0, 0.5)]
    order = np.diff(np.log(errors)) / np.diff(np.log([2.0, 1.0, 0.5]))
    np.testing.assert_allclose(order, 2.0, atol=0.2)


def test_log_pressure_adjoint__is_the_transpose_of_the_slope(clean):
    line = clean[0].sight
    rng = np.random.default_rng(1)
    t = line.temperature_k + rng.uniform(-5.0, 5.0, line.points_km.size)
    weight = rng.normal(size=(3, line.points_km.size))
    plain = weight @ sights.log_pressure_slope(line, t)
    found = sights.log_pressure_adjoint(line, t, weight) @ line.hats
    np.testing.assert_allclose(found, plain, atol=1e-12 * np.abs(plain).max())


def test_molar_mass__changes_the_scale_height(clean):
    line = clean[0].sight
    heavy = replace(line, molar_mass_g_mol=np.asarray(line.molar_mass_g_mol) * 1.01)
    state = sights.AirState({}, np.full(line.altitude_km.size, 5.0))
    p = [np.log(sights.air_on_points(item, state)[0]) for item in (line, heavy)]
    zero = [np.log(item.pressure_pa) for item in (line, heavy)]
    change = (p[1] - zero[1]) / np.where(p[0] == zero[0], 1.0, p[0] - zero[0])
    np.testing.assert_allclose(change[p[0] != zero[0]], 1.01, atol=1e-9)


# ---- derivatives


@pytest.fixture(scope="module")
def exact(table):
    """Scene in double precision with an operator, at a state off the a priori."""
    level1, _ = measured(table, "wave", n_bins=2)
    scene, _ = build_temperature_scene(level1, setup_of(table), dtype=np.float64)
    operator = scene.gas.operator(0.2, 0.05)
    offset = np.random.default_rng(2).uniform(-8.0, 8.0, scene.altitude_km.size)
    return scene, operator, offset


def air_at(scene, offset, log_pressure, **vmr):
    profiles = {**scene.vmr, **vmr}
    return sights.AirState(profiles, offset, float(np.exp(log_pressure)))


def fields_at(exact, offset, log_pressure, vmr=None, **options):
    scene, operator, _ = exact
    air = air_at(scene, offset, log_pressure, **(vmr or {}))
    return temperature_fields.temperature_fields(
        scene.sight, air, operator, scene.vectors, **options
    )


def test_fields__derivatives_equal_central_differences(exact):
    """Within 1e-6 of the maximum over altitude, fourth-order differences."""
    offset = exact[2]
    found = fields_at(exact, offset, 0.1)

    def value(step, direction, log_pressure=0.1):
        moved = offset + step * direction
        return fields_at(exact, moved, log_pressure, jacobian=False).value

    scale = np.abs(found.temperature).max()
    n = offset.size
    for level in (0, 1, n // 4, n // 2, 3 * n // 4, n - 2, n - 1):
        e = np.eye(n)[level]
        numeric = 8.0 * (value(0.05, e) - value(-0.05, e))
        numeric -= value(0.1, e) - value(-0.1, e)
        error = np.abs(numeric / 0.6 - found.temperature[:, level]).max() / scale
        assert error < 1e-6, level
    zero = np.zeros(n)
    numeric = 8.0 * (value(0, zero, 0.101) - value(0, zero, 0.099))
    numeric -= value(0, zero, 0.102) - value(0, zero, 0.098)
    error = np.abs(numeric / 0.012 - found.log_pressure).max()
    assert error < 1e-6 * np.abs(found.log_pressure).max()


def test_fields__equal_the_exact_jacobian_of_the_rows(exact):
    scene, operator, offset = exact
    air = air_at(scene, offset, 0.1)
    found = fields_at(exact, offset, 0.1)
    pixels = operator.pixels.size
    view = jacobian.View(
        operator, scene.gas.rows, np.ones(pixels), np.ones(pixels), np.ones((1, pixels))
    )
    names = ["temperature", "pressure_scale"]
    y, parts = jacobian.spectra_and_jacobian(
        scene.sight, air, jacobian.Light(), view, names
    )
    rows = scene.gas.rows
    np.testing.assert_allclose(rows @ found.value.T, y, atol=1e-12)
    by_t = np.einsum("rh,plh->rpl", rows, found.temperature)
    error = np.abs(by_t - parts["temperature"]).max()
    print(f"temperature: {error / np.abs(by_t).max():.1e} of the maximum")
    assert error < 1e-6 * np.abs(by_t).max()
    by_p = rows @ found.log_pressure.T / air.pressure_scale
    error = np.abs(by_p - parts["pressure_scale"]).max()
    assert error < 1e-6 * np.abs(by_p).max()


def test_fields__single_precision_is_good_enough(table, exact):
    level1, _ = measured(table, "wave", n_bins=2)
    scene, _ = build_temperature_scene(level1, setup_of(table))
    single = fields_at((scene, scene.gas.operator(0.2, 0.05), None), exact[2], 0.1)
    double = fields_at(exact, exact[2], 0.1)
    for name in ("value", "temperature", "log_pressure"):
        one, two = getattr(single, name), getattr(double, name)
        assert one.dtype == np.float32
        error = np.abs(one - two).max() / np.abs(two).max()
        print(f"{name}: {error:.1e} of the largest")
        # processors add in different order: below 2e-5 on one, 2.8e-5 on another
        assert error < 1e-4, name


def dense(scene, evaluator, state):
    """Whitened derivatives of all measurements, baselines projected out."""
    m, space = evaluator.measurement, fit.space_of_temperature(scene)
    fields = evaluator.fields(state, True)
    pixel = evaluation.as_pixel_fields(fields)
    spectrum, small = linearisation.row_spectra(
        pixel, m, state, evaluator.built, evaluator.depth
    )
    columns, inner, coefficients, residual = fit_baseline(m, spectrum)
    k = np.zeros((*spectrum.shape, space.size))
    k[:, :, space[fit.TEMPERATURE]] = np.einsum(
        "rh,plh->rpl", m.rows, fields.temperature
    )
    for row, b in enumerate(m.bin):
        k[row, :, space[linearisation.SHIFT].start + b] = small[0][row]
    for name, column in (
        (linearisation.STRETCH, small[1]),
        (linearisation.EXPONENT, small[2]),
        (fit.LOG_PRESSURE, m.rows @ fields.log_pressure.T),
    ):
        k[:, :, space[name]] = column[:, :, None]
    k *= (coefficients @ m.polynomials * m.weight)[:, :, None]
    k -= columns @ np.linalg.solve(inner, columns.transpose(0, 2, 1) @ k)
    return k.reshape(-1, space.size), residual.ravel()


def test_normal_equations__are_those_of_the_dense_jacobian(exact):
    scene, _, offset = exact
    space = fit.space_of_temperature(scene)
    evaluator = fit.TemperatureEvaluator(scene, fit.measurement_of(scene.gas))
    state = {
        **space.prior,
        fit.TEMPERATURE: offset,
        linearisation.SHIFT: np.array([0.2, 0.22]),
        fit.LOG_PRESSURE: np.array([0.1]),
    }
    linear = evaluator.linearise(state, True)
    matrix, gradient = fit.expansion_of_temperature(scene, space)(linear)
    k, residual = dense(scene, evaluator, state)
    scale = np.sqrt(np.diag(k.T @ k))
    np.testing.assert_allclose(
        matrix / scale / scale[:, None], k.T @ k / scale / scale[:, None], atol=1e-9
    )
    expected = k.T @ residual
    np.testing.assert_allclose(
        gradient / scale, expected / scale, atol=1e-8 * np.abs(expected / scale).max()
    )


# ---- closed loop


def test_clean_spectra__give_the_truth_back(clean):
    """A wave of 6 K and 24 km, 3 K warmer than the a priori, pressure 11 % higher."""
    scene, solution, air = clean
    assert solution.result.converged
    z = z_of(scene, solution, air)
    print(f"mean z {z.mean():.3f}, largest {np.abs(z).max():.3f}")
    assert abs(z.mean()) < 0.1
    assert np.abs(z).max() < 0.5
    found = retrieval.profiles_of(scene, solution)
    good = np.diag(found.diagnostics.averaging_kernel) > RESPONSE
    _, pressure = truth_at(air, scene.altitude_km)
    assert np.abs(found.pressure_pa / pressure - 1.0)[good].max() < 0.005
    # the sizes that such spectra are expected to give below 100 km
    below = good & (scene.altitude_km < 100.0)
    assert found.diagnostics.total_error[below].max() < 5.0


@pytest.mark.parametrize("kind", ["isothermal", "lapse"])
def test_other_truths__are_found_from_the_same_prior(table, kind):
    level1, air = measured(table, kind, surface_pa=700.0)
    scene, _ = build_temperature_scene(level1, setup_of(table))
    solution = fit.solve_temperature(scene)
    assert solution.result.converged
    z = z_of(scene, solution, air)
    print(f"{kind}: mean z {z.mean():.3f}, largest {np.abs(z).max():.3f}")
    assert abs(z.mean()) < 0.1
    assert np.abs(z).max() < 0.6


HDO = 3e-5
"""Mole fraction at which the moved lines are as strong as those of water would be."""


def test_fields__derivatives_by_a_second_gas(table):
    level1, _ = measured(table, "wave", hdo=HDO)
    setup = setup_of(
        table,
        interferents=["hdo"],
        fitted=["hdo"],
        prior={"hdo": {"constant": 0.5 * HDO}},
    )
    scene, _ = build_temperature_scene(level1, setup, dtype=np.float64)
    exact = scene, scene.gas.operator(0.1), None
    n = scene.altitude_km.size
    offset = np.random.default_rng(7).uniform(-5.0, 5.0, n)
    found = fields_at(exact, offset, 0.1, fitted=("hdo",))

    def value(step, t, x):
        vmr = {"hdo": scene.vmr["hdo"] + step * x}
        return fields_at(exact, offset + step * t, 0.1, vmr, jacobian=False).value

    zero, e = np.zeros(n), np.eye(n)[n // 2]
    for t, x, analytic, step in (
        (zero, e, found.by("hdo"), 0.02 * HDO),
        (e, zero, found.temperature, 0.05),
    ):
        numeric = 8.0 * (value(step, t, x) - value(-step, t, x))
        numeric -= value(2.0 * step, t, x) - value(-2.0 * step, t, x)
        error = np.abs(numeric / (12.0 * step) - analytic[:, n // 2]).max()
        assert error < 1e-6 * np.abs(analytic).max()


def test_interferent__fitted_it_does_no_harm_and_held_wrong_it_does(table):
    """The a priori has half of the second gas; held, it spoils the temperature."""
    level1, air = measured(table, "wave", hdo=HDO)
    worst, chi = {}, {}
    for fitted in ((), ("hdo",)):
        setup = setup_of(
            table,
            interferents=["hdo"],
            fitted=list(fitted),
            prior={"hdo": {"constant": 0.5 * HDO}},
        )
        scene, record = build_temperature_scene(level1, setup)
        solution = fit.solve_temperature(scene)
        worst[fitted] = np.abs(z_of(scene, solution, air)).max()
        chi[fitted] = solution.result.final.chi_square
    print(f"largest z {worst}, chi-square {chi}")
    assert worst[("hdo",)] < 0.6
    assert worst[()] > 3.0 * worst[("hdo",)]
    result = retrieval.assembled(level1, scene, solution, record)
    validate(result, level=2)
    seen = np.diag(result.hdo_averaging_kernel.values) > RESPONSE
    assert seen.any()
    z = (result.hdo_vmr - HDO).values / result.hdo_vmr_error.values
    assert np.abs(z[seen]).max() < 1.5


def test_solvers__end_at_the_same_state(table, clean):
    solution = clean[1]
    setup = setup_of(table, solver="levenberg-marquardt", max_iterations=25)
    level1, _ = measured(table, "wave")
    other, _ = build_temperature_scene(level1, setup)
    found = fit.solve_temperature(other)
    assert found.result.converged
    difference = (
        found.result.state[fit.TEMPERATURE] - solution.result.state[fit.TEMPERATURE]
    )
    sigma = np.sqrt(np.diag(solution.result.covariance))[: difference.size]
    assert np.abs(difference / sigma).max() < 0.05


def noise_of(scene, rng):
    weight = scene.prepared.weight
    sigma = np.where(weight > 0, 1.0 / np.where(weight > 0, weight, 1.0), 0.0)
    return sigma * rng.standard_normal(sigma.shape)


def with_noise(scene, noise):
    prepared = replace(
        scene.prepared, transmittance=scene.prepared.transmittance + noise
    )
    return replace(scene, gas=replace(scene.gas, prepared=prepared))


def test_error_bars__cover_what_noise_does(clean):
    """1000 linearised draws; three of them fitted in full, as the check of that."""
    scene, solution, air = clean
    rng = np.random.default_rng(3)
    result, levels = solution.result, solution.space[fit.TEMPERATURE]
    k, _ = dense(scene, solution.evaluator, result.state)
    gain = (result.covariance @ k.T)[levels].astype(np.float32)
    t0 = retrieval.profiles_of(scene, solution).temperature_k
    sigma = np.sqrt(np.diag(result.covariance))[levels]
    weight = scene.prepared.weight
    for _ in range(3):
        noise = noise_of(scene, rng)
        again = fit.solve_temperature(with_noise(scene, noise))
        t = retrieval.profiles_of(scene, again).temperature_k
        linear = t0 + gain @ (noise * weight).ravel()
        off = np.sqrt(np.mean(((t - linear) / sigma) ** 2))
        print(f"full less linearised: {off:.3f} sigma")
        assert off < 0.15  # adds 1 % to the width of z
        used = (weight > 0).sum() - again.result.final.baseline.size
        assert 0.9 < again.result.final.chi_square / used < 1.1
    drawn = np.where(weight > 0, rng.standard_normal((1000, *weight.shape)), 0.0)
    many = t0 + drawn.reshape(1000, -1).astype(np.float32) @ gain.T
    z = z_of(scene, solution, air, many)
    inside = np.abs(z)
    print(f"mean z {z.mean():.3f}, 1 sigma {(inside < 1).mean():.3f}, "
          f"2 sigma {(inside < 2).mean():.3f}")  # fmt: skip
    assert abs(z.mean()) < 0.1
    assert 0.65 < (inside < 1.0).mean() < 0.71
    assert 0.93 < (inside < 2.0).mean() < 0.97
    # the test of the test: with half the noise the bars are far too wide
    assert (np.abs(0.5 * (z - z.mean(axis=0))) < 1.0).mean() > 0.9


def test_averaging_kernel__is_what_a_change_of_the_truth_does(table, monkeypatch):
    """Perturb and retrieve, in the fit's own model in double precision."""
    monkeypatch.setattr(solve, "LIMIT", 1e-10)  # iterate to the end
    level1, _ = measured(table, "wave")
    setup = setup_of(table, grid={"step_km": 2.0, "height_step_km": 2.0})
    scene, _ = build_temperature_scene(level1, setup, dtype=np.float64)
    evaluator = fit.TemperatureEvaluator(scene, fit.measurement_of(scene.gas))
    state = fit.space_of_temperature(scene).prior
    change = 0.05 * np.exp(-0.5 * ((scene.altitude_km - 85.0) / 4.0) ** 2)
    ends = []
    for temperature in (np.zeros(change.size), change):
        y = evaluator.spectra({**state, fit.TEMPERATURE: temperature})
        used = np.where(scene.prepared.weight > 0, y, 0.0)
        ends.append(
            fit.solve_temperature(
                with_noise(scene, used - scene.prepared.transmittance)
            ).result
        )
    kernel = (ends[0].covariance @ ends[0].data_matrix)[: change.size, : change.size]
    found = ends[1].state[fit.TEMPERATURE] - ends[0].state[fit.TEMPERATURE]
    error = np.abs(found - kernel @ change).max() / change.max()
    print(f"averaging kernel: {error:.1e} of the change")
    assert error < 1e-3


# ---- level 2


@pytest.fixture(scope="module")
def level2(table):
    level1, _ = measured(table, "wave", noise=True, n_bins=2)
    return retrieve_temperature(level1, setup_of(table))


def test_level2__has_the_names_of_the_contract(level2, tmp_path):
    validate(level2, level=2)
    for name in ("temperature", "pressure", "number_density", "co2_number_density"):
        parts = ("_noise_error", "_smoothing_error", "_systematic_error")
        for kind in ("_error", *parts):
            item = level2[name + kind]
            assert item.dims == ("altitude",)
            assert item.attrs["units"] == level2[name].attrs["units"]
        total = sum(level2[name + part] ** 2 for part in parts)
        np.testing.assert_allclose(total, level2[f"{name}_error"] ** 2, rtol=1e-5)
        for source in ("composition", "pointing"):
            item = level2[f"{name}_systematic_{source}"]
            assert np.isfinite(item).all()
            assert np.abs(item).max() > 0.0
    assert level2.sizes["bin"] == 2
    assert bool(level2.converged)
    assert 0.9 < float(level2.reduced_chi_square) < 1.1
    for key in ("setup_hash", "co2_vmr_source", "molar_mass", "table_sha256",
                "reference_altitude_km", "temperature_prior_sigma_k"):  # fmt: skip
        assert key in level2.attrs
    path = tgo.write_level2(level2, tmp_path / "t.nc")
    with xr.open_dataset(path) as again:
        np.testing.assert_array_equal(again.temperature, level2.temperature)


def test_level2__is_hydrostatic_to_1e_6(level2):
    """Between neighbouring levels, by quadrature of the temperatures it states."""
    z, t = level2.altitude.values, level2.temperature.values
    fine = np.linspace(z[0], z[-1], (z.size - 1) * 400 + 1)
    gravity = tgo.mars.GM_M3_S2 / (1e3 * (level2.attrs["planet_radius_km"] + fine)) ** 2
    x = np.interp(fine, z, level2.co2_vmr.values)
    pull = molar_mass(x) * gravity / 8.31446261815324 / np.interp(fine, z, t)
    steps = 0.5 * (pull[1:] + pull[:-1]) * np.diff(fine)
    expected = -steps.reshape(z.size - 1, -1).sum(axis=1)
    found = np.diff(np.log(level2.pressure.values))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    total = np.log(level2.pressure.values[-1] / level2.pressure.values[0])
    assert abs(total - expected.sum()) < 1e-6
    density = 1e-6 * level2.pressure / (1.380649e-23 * level2.temperature)
    np.testing.assert_allclose(level2.number_density, density, rtol=1e-9)


def test_level2__states_resolution_and_what_is_sensed(level2):
    low, high = level2.attrs["sensed_bottom_km"], level2.attrs["sensed_top_km"]
    assert low < 52.0
    assert 108.0 < high < 120.0
    inside = level2.sel(altitude=slice(55.0, 105.0))
    assert (inside.temperature_vertical_resolution < 4.0).all()
    assert (inside.temperature_response > 0.9).all()
    assert float(level2.temperature_degrees_of_freedom) > 20.0
    top = level2.isel(altitude=-1)
    assert float(top.temperature_error) > 0.7 * 10.0
    assert float(top.temperature_response) < 0.8
    middle = inside.temperature_vertical_resolution.median()
    assert float(top.temperature_vertical_resolution) > 2.0 * float(middle)


def test_pressure_error__grows_away_from_the_reference(level2):
    inside = level2.sel(altitude=slice(50.0, 110.0))
    random = np.hypot(inside.pressure_noise_error, inside.pressure_smoothing_error)
    relative = random / inside.pressure
    assert float(relative.max()) < 0.02
    assert float(relative.isel(altitude=-1)) > float(relative.sel(altitude=60.0))


def test_composition_error__is_what_a_retrieval_with_the_wrong_fraction_does(table):
    """1 % too little CO2 assumed: fit again with the right fraction, and compare."""
    right, _ = measured(table, "wave", co2=0.93)
    ends = {}
    for name, co2 in (("assumed", 0.93 / 1.01), ("true", 0.93)):
        scene, _ = build_temperature_scene(
            right, setup_of(table, composition={"co2": co2})
        )
        ends[name] = scene, fit.solve_temperature(scene)
    scene, solution = ends["assumed"]
    said = retrieval.systematic_errors(scene, solution)["composition"]
    found = retrieval.profiles_of(scene, solution)
    true = retrieval.profiles_of(*ends["true"])
    sensed = np.diag(true.diagnostics.averaging_kernel) > 0.5
    change = found.temperature_k - true.temperature_k
    print(f"temperature {change[sensed].min():.3f} to {change[sensed].max():.3f} K")
    # two fits in single precision differ by crumbs from level to level
    off = (said["temperature"] - change)[sensed] / true.diagnostics.noise_error[sensed]
    print(f"off by {off.std():.3f} of the noise error, at most {np.abs(off).max():.3f}")
    assert np.sqrt(np.mean(off**2)) < 0.02
    assert np.abs(off).max() < 0.1
    ratio = found.density_cm3 / true.density_cm3 - 1.0
    print(f"density {ratio[sensed].min():.4f} to {ratio[sensed].max():.4f}")
    np.testing.assert_allclose(said["number_density"][sensed], ratio[sensed], atol=1e-3)
    assert 0.005 < ratio[sensed].mean() < 0.015
    np.testing.assert_allclose(
        said["co2_number_density"],
        (1.0 + said["number_density"]) / 1.01 - 1.0,
        rtol=1e-12,
    )


@pytest.mark.parametrize(("mass", "co2"), [(43.34, 0.955), (43.51, 0.962)])
def test_pressure_error__covers_other_air(table, mass, co2):
    """Molar masses in use differ by 0.4 %; noise alone is far from that at 110 km."""
    level1, air = measured(table, "wave", mass=mass, co2=co2)
    wish = {
        "pointing_km": 0.0, "composition": {"co2": 0.955},
        "systematics": dict.fromkeys(
            ("spectroscopy", "aotf_centre", "aotf_width", "aotf_side_lobe",
             "aotf_pedestal", "ghost", "resolution", "drift_px", "outer_orders",
             "zero_level"), 0.0),
    }  # fmt: skip
    found = retrieve_temperature(level1, setup_of(table, **wish))
    sources = {n for n in found.variables if "pressure_systematic_" in str(n)}
    assert sources == {
        "pressure_systematic_error",
        *(f"pressure_systematic_{name}" for name in
          ("composition", "homopause", "molar_mass", "waves")),
    }  # fmt: skip
    sensed = (found.temperature_response > 0.9).values
    _, true = truth_at(air, found.altitude.values)
    off = (np.abs(found.pressure / true - 1.0)).values[sensed]
    noise = (found.pressure_noise_error / found.pressure).values[sensed]
    total = (found.pressure_error / found.pressure).values[sensed]
    print(f"off {off.max():.2%}, noise {noise.max():.2%}, total {total.max():.2%}")
    assert (off < 2.0 * total).all()
    assert (off > 3.0 * noise).any()
    assert total[found.altitude.values[sensed] < 100.0].max() < 0.03


def test_pointing_error__is_what_higher_tangent_points_do(clean):
    """0.1 km: fitted again with such spectra, and about the scale height's worth."""
    scene, solution, _ = clean
    scene = replace(scene, setup=scene.setup.replace(pointing_km=0.1))
    moved = replace(scene.sight, height_km=scene.sight.height_km + 0.1)
    other = fit.TemperatureEvaluator(
        replace(scene, sight=moved), solution.evaluator.measurement
    )
    base = solution.result.final.baseline @ solution.evaluator.measurement.polynomials
    scenes, ends = [], []
    for evaluator in (solution.evaluator, other):
        y = base * evaluator.spectra(solution.result.state)
        used = np.where(scene.prepared.weight > 0, y, 0.0)
        scenes.append(with_noise(scene, used - scene.prepared.transmittance))
        ends.append(fit.solve_temperature(scenes[-1]))
    said = retrieval.systematic_errors(scenes[0], ends[0])["pointing"]
    one, two = (retrieval.profiles_of(*pair) for pair in zip(scenes, ends, strict=True))
    sensed = np.diag(one.diagnostics.averaging_kernel) > 0.5
    change = (two.temperature_k - one.temperature_k)[sensed]
    off = said["temperature"][sensed] - change
    print(f"temperature {change.min():.2f} to {change.max():.2f} K, foreseen within "
          f"{np.abs(off).max():.3f}, rms {np.sqrt(np.mean(off**2)):.3f}")  # fmt: skip
    # a tenth, for changes of 0.05 to 0.2 km alike: what the derivatives leave out
    assert np.sqrt(np.mean(off**2)) < 0.12 * np.sqrt(np.mean(change**2))
    ratio = (two.density_cm3 / one.density_cm3 - 1.0)[sensed]
    print(f"density {ratio.min():.4f} to {ratio.max():.4f}")
    np.testing.assert_allclose(said["number_density"][sensed], ratio, atol=1e-3)
    assert -0.02 < ratio.min() < ratio.max() < -0.01


# ---- the fits that follow


def test_atmosphere_of__goes_over_to_the_a_priori(level2):
    prior = tgo.reference_atmosphere(**PLACE)
    air = atmosphere_of(level2, prior)
    z = level2.altitude.values
    inside = air.sel(altitude=z)
    np.testing.assert_array_equal(inside.temperature, level2.temperature)
    np.testing.assert_array_equal(inside.pressure, level2.pressure)
    outside = air.sel(altitude=air.altitude[~air.altitude.isin(z)])
    given = prior.sel(altitude=outside.altitude)
    np.testing.assert_allclose(outside.temperature, given.temperature)
    np.testing.assert_allclose(air.h2o_vmr, prior.h2o_vmr.interp(altitude=air.altitude))
    ratio = (outside.pressure / given.pressure).values
    below = outside.altitude.values < z[0]
    assert np.ptp(ratio[below]) < 1e-9
    assert np.ptp(ratio[~below]) < 1e-9
    assert "sensed_top_km" in air.attrs
    density = air.pressure / (1.380649e-23 * air.temperature) * 1e-6
    np.testing.assert_allclose(air.number_density, density, rtol=1e-9)


def test_temperature_first__lowers_the_error_of_water(level2):
    """Order 168 of the same air: water with the a priori's air and with that found."""
    truth = air_of("wave")
    made = simulate_level1(
        order=168,
        atmosphere=truth,
        altitude_range=(45.0, 100.0),
        n_bins=1,
        noise=False,
        noisy_pixels=(),
        seed=6,
    )
    prior = tgo.reference_atmosphere(**PLACE)
    worst = {}
    for name, air in (("prior", prior), ("found", atmosphere_of(level2, prior))):
        gas = tgo.retrieve(made.level1, "so_167_168", atmosphere=air)
        z = gas.altitude.values
        true = np.interp(z, truth.altitude, truth.h2o_vmr)
        kernel = gas.h2o_averaging_kernel.values
        seen = gas.h2o_vmr_apriori.values + kernel @ (true - gas.h2o_vmr_apriori.values)
        use = (np.diag(kernel) > 0.3) & (z > 52.0) & (z < 85.0)
        worst[name] = np.sqrt(np.mean((gas.h2o_vmr.values / seen - 1.0)[use] ** 2))
    print(f"rms error of water {worst['prior']:.3f}, after {worst['found']:.3f}")
    assert worst["found"] < 0.3 * worst["prior"]


def test_atmosphere_of__refuses_other_results(level2):
    with pytest.raises(AtmosphereError) as error:
        atmosphere_of(
            level2.drop_vars("temperature_apriori"), tgo.reference_atmosphere(**PLACE)
        )
    assert error.value.rule == "atmosphere.not_retrieved"
    assert error.value.field == "temperature_apriori"
    failed = level2.assign(converged=((), np.int8(0)))
    with pytest.raises(AtmosphereError) as error:
        atmosphere_of(failed, tgo.reference_atmosphere(**PLACE))
    assert error.value.rule == "atmosphere.not_converged"


# ---- what is refused


def test_table_without_co2__is_refused(table):
    level1, _ = measured(table, "wave")
    setup = setup_of(table, interferents=["h2o"])
    with pytest.raises(TableError) as error:
        retrieve_temperature(level1, setup)
    assert (error.value.rule, error.value.value) == ("table.no_gas", "h2o")


def test_reference_altitude_that_no_row_sees__is_refused(table):
    level1, _ = measured(table, "wave")
    dark = level1.assign(
        transmittance=level1.transmittance.where(level1.tangent_altitude > 85.0, 0.01)
    )
    with pytest.raises(RetrievalError) as error:
        retrieve_temperature(dark, setup_of(table))
    assert error.value.rule == "fit.reference"
    assert error.value.value == 80.0


def test_spectra_of_nothing__do_not_pass_for_a_temperature(table):
    """Noise around one, no line anywhere: no such atmosphere."""
    level1, _ = measured(table, "wave")
    rng = np.random.default_rng(4)
    flat = 1.0 + level1.transmittance_error * rng.standard_normal(
        level1.transmittance.shape
    )
    setup = setup_of(table, grid={"step_km": 2.0, "height_step_km": 2.0})
    with pytest.raises(RetrievalError) as error:
        retrieve_temperature(level1.assign(transmittance=flat), setup)
    assert error.value.rule == "fit.diverged"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pressure": {"reference_km": 130.0}}, "$.pressure.reference_km"),
        ({"interferents": ["co2"]}, "$.interferents"),
        ({"interferents": ["xyz"]}, "$.interferents"),
        ({"interferents": ["h2o"], "interferents_absent": ["h2o"]},
         "$.interferents_absent"),
        ({"interferents_absent": ["hdo"]}, "interferents_absent"),
        ({"fitted": ["h2o"]}, "$.fitted"),
        ({"prior": {"h2o": {"constant": 0.0}}}, "$.prior.h2o"),
        ({"prior": {"co2": {"constant": 0.9}}}, "$.prior.co2"),
        ({"interferents": ["h2o"], "prior": {"h2o": {"state": "log"}}}, "$.prior"),
        ({"grid": {"top_km": 100.0}}, "$.window.top_km"),
        ({"registration": {"ghost_sigma": 0.1}}, "$.registration"),
        ({"window": {"first_pixel": 100, "last_pixel": 110}}, "$.window.last_pixel"),
        ({"temperature": {"sigma_k": -1.0}}, "$.temperature.sigma_k"),
        ({"composition": {"co2": 1.5}}, "$.composition.co2"),
    ],
)  # fmt: skip
def test_setup__refuses_what_contradicts(tmp_path, change, field):
    with pytest.raises(SetupError) as error:
        setup_of(tmp_path / "none.nc", **change)
    assert error.value.field == field


def test_setup__hash_changes_with_every_choice(tmp_path):
    setup = setup_of(tmp_path / "none.nc")
    other = setup.replace(temperature={"sigma_k": 8.0})
    assert setup.hash() != other.hash()
    assert setup.replace().hash() == setup.hash()
    assert setup.gases == ("co2",)
    more = setup.replace(interferents=["h2o"], interferents_absent=["hdo"])
    assert more.as_profile_setup().gases == ("co2", "h2o")


@pytest.mark.parametrize("name", ["so_co2_temperature", "so_co2_temperature_low"])
def test_shipped_setups__name_a_table_to_be_built(name, table, monkeypatch):
    """Its orders, gases and reach are those of the setup; the error says how."""
    setup = tgo.load_setup(name)
    wanted = preparation.table_need(setup)
    assert set(setup.gases) == set(wanted.gases)
    n = setup.instrument.n_orders
    for order in setup.orders:
        for celsius, pixel, side in ((20.0, -6.0, -1), (-25.0, 325.0, 1)):
            at = so.pixel_wavenumber(order, np.array([pixel]), celsius, "archive")
            needed = float(at[0]) * (order + side * n) / order + side
            assert side * (wanted.window[(side + 1) // 2] - needed) >= 0.0
    level1, _ = measured(table, "wave")
    other = level1.assign_coords(order=setup.orders[-1])
    monkeypatch.setattr(files, "find_table", lambda _: None)
    with pytest.raises(TableError, match=f"tgo-spectra prepare {name}") as error:
        tgo.retrieve(other, name)
    assert error.value.rule == "table.not_built"


def test_retrieve__finds_the_kind_in_the_setup(level2, table):
    level1, _ = measured(table, "wave", noise=True, n_bins=2)
    found = tgo.retrieve(level1, setup_of(table))
    assert found.attrs["retrieval_kind"] == "temperature"
    np.testing.assert_array_equal(found.temperature, level2.temperature)


def test_operator_kinds__are_those_the_fields_need(exact):
    assert set(tabulated.KINDS[:3]) <= set(exact[1].kinds)
