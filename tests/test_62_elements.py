"""Known sources of error: in the fit, in the file, in the budget of errors."""

from __future__ import annotations

from dataclasses import replace

import closed_loop as loop
import numpy as np
import pytest
from conftest import NEAR

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.elements import ELEMENTS, Size
from tgo_spectra.retrieval.given import stated, with_stated
from tgo_spectra.retrieval.models.so import (
    amounts,
    evaluation,
    optimal_estimation,
    sources,
)
from tgo_spectra.retrieval.models.so import scene as scenes

SIGMA = {
    "ghost_amplitude": 0.05,
    "aotf_offset": 0.5,
    "aotf_width": 0.03,
    "aotf_side_lobe": 0.3,
    "aotf_pedestal": 0.3,
    "resolving_power": 0.03,
}
"""Sizes for the tests; `test_element__all_are_tried` asks for one of each."""

KEY = {"temperature_correction": "temperature_k", "pressure_correction": "pressure",
       "pointing_offset": "pointing_km",
       "broadening_correction": "broadening"}  # fmt: skip
"""Key of the setup's section by block, of what the scene can be moved to."""


@pytest.fixture(scope="module")
def thin(near_level1):
    return near_level1.isel(spectrum=slice(0, None, 12))


GRID = {"step_km": 2.0, "top_km": 90.0, "height_step_km": 1.5}
"""Coarse levels and heights: quick to fit."""


def so_134(**changes):
    """The shipped setup on the coarse grid, with the light of few orders."""
    setup = tgo.load_setup("so_134")
    return setup.replace(grid=GRID, instrument=NEAR, **changes)


def setup_with(name):
    key = ELEMENTS[name].source
    return so_134(systematics=loop.NONE | {key: SIGMA[name]})


def orders(rest, sizes):
    return np.diff(np.log(rest)) / np.diff(np.log(sizes))


def test_element__all_are_tried():
    assert set(SIGMA) == set(ELEMENTS)


@pytest.mark.parametrize("name", sorted(SIGMA))
def test_element__derivative_is_of_second_order(thin, name):
    """The Taylor remainder of the model falls with the square of the element."""
    scene = loop.scene_of(thin, setup_with(name), known=True, dtype=np.float64,
                          steps_km=None)  # fmt: skip
    state = loop.prior_state(scene)
    evaluator = evaluation.Evaluator(scene, evaluation.measurement_of(scene))
    slope = evaluator.extra(state, evaluator.fields(state, False))[:, 0]
    base = loop.spectra(scene, state)
    sizes = SIGMA[name] * 0.5 ** np.arange(4)
    rest = [
        np.linalg.norm(
            loop.spectra(scene, {**state, name: np.array([size])}) - base - size * slope
        )
        for size in sizes
    ]
    found = orders(rest, sizes)
    print(name, found.round(3))
    # the derivative is a central difference: its own error shows at the last size
    np.testing.assert_allclose(found[:2], 2.0, atol=0.15)


@pytest.mark.parametrize("name", sorted(SIGMA))
@pytest.mark.parametrize("sigmas", [-40.0, 40.0, np.nan])
def test_element__no_instrument_is_tried_that_cannot_be(thin, name, sigmas):
    """A resolving power below zero, say: the step goes too far, and is refused."""
    scene = loop.scene_of(thin, setup_with(name), known=True)
    evaluator = evaluation.Evaluator(scene, evaluation.measurement_of(scene))
    state = {**loop.prior_state(scene), name: np.array([sigmas * SIGMA[name]])}
    with pytest.raises(RetrievalError, match=f"{name} is over") as caught:
        evaluator.fields(state, False)
    assert caught.value.rule == "fit.diverged"


def norm(change):
    """Root of the sum of squares over rows and pixels, by element."""
    return np.linalg.norm(change, axis=(0, 2))


ELSEWHERE = {"temperature_correction": 12.0, "pressure_correction": -0.3,
             "pointing_offset": 1.5, "broadening_correction": 0.3}  # fmt: skip
"""Where a fit has found the air and the pointing, and goes on."""


@pytest.mark.parametrize("name", sorted(KEY))
@pytest.mark.parametrize("far", [False, True])
def test_source__derivative_is_of_the_first_order(thin, name, far):
    """Of the air and the pointing, also where they were found: by the scene there."""
    setup = so_134(systematics=loop.NONE | {KEY[name]: 1.0})
    given = loop.scene_of(thin, setup, known=True, dtype=np.float64, steps_km=None)
    state = loop.prior_state(given)
    at = np.array(state[name]) + (ELSEWHERE[name] if far else 0.0)
    state, anchor = {**state, name: at}, {name: at}
    scene = sources.anchored(given, anchor) if far else given
    measurement = evaluation.measurement_of(scene)
    evaluator = evaluation.Evaluator(scene, measurement, anchor)
    slope = evaluator.extra(state, evaluator.fields(state, False))
    # at all heights, where a difference in single precision would be noise above 50 km
    fit = loop.scene_of(thin, setup, known=True, steps_km=None)
    fit = sources.anchored(fit, anchor) if far else fit
    single = evaluation.Evaluator(fit, evaluation.measurement_of(fit), anchor)
    off = single.extra(state, single.fields(state, False)) - slope
    assert (norm(off) <= 0.05 * norm(slope)).all(), norm(off) / norm(slope)
    unmoved = {**state, name: np.zeros_like(at)}
    base = loop.spectra(scene, unmoved)
    step = {"temperature_correction": 2.0, "pressure_correction": -0.02,
            "pointing_offset": 0.1, "broadening_correction": -0.05}[name]  # fmt: skip
    for index in range(min(slope.shape[1], 3)):
        moved = at.copy()
        moved[index] += step
        other = sources.anchored(given, {name: moved})
        change = loop.spectra(other, unmoved) - base
        off = np.linalg.norm(change - step * slope[:, index])
        # of methane, of which there is none, the lines change nothing
        assert off < 0.05 * np.linalg.norm(change) + 1e-12, (name, index)


@pytest.mark.parametrize("name", sorted(KEY))
@pytest.mark.parametrize("far", [-12.0, 12.0])
def test_source__air_and_lines_stay_within_nature(thin, name, far):
    """A fit may find widths below zero: the model is made anew where there are some."""
    setup = so_134(systematics=loop.NONE | {KEY[name]: 1.0})
    scene = loop.scene_of(thin, setup, known=True)
    found = {name: np.full_like(loop.prior_state(scene)[name], far)}
    anchor = optimal_estimation.anchor_of(found)
    moved = sources.anchored(scene, anchor)
    assert np.isfinite(loop.spectra(moved, loop.prior_state(scene))).all()
    assert (found[name] == far).all()


@pytest.mark.parametrize("name", sorted(SIGMA))
def test_element__is_found_and_written(thin, name):
    """Spectra of an instrument that is off by one sigma: found, and methane with it."""
    setup = setup_with(name)
    scene = loop.scene_of(thin, setup, known=True)
    state = {**loop.prior_state(scene), name: np.array([SIGMA[name]])}
    solution = optimal_estimation.solve(
        loop.measured(scene, loop.spectra(scene, state))
    )
    off = float(solution.state[name][0]) - SIGMA[name]
    sigma = np.sqrt(np.diag(solution.covariance)[solution.space[name]])[0]
    assert abs(off) < 0.5 * sigma < 0.5 * SIGMA[name]
    result = tgo.retrieve(thin, setup)
    assert 0.0 < float(result[f"fitted_{name}_error"]) < SIGMA[name]
    assert result[f"fitted_{name}"].attrs["units"] == ELEMENTS[name].unit
    source = ELEMENTS[name].source
    error = result[f"ch4_vmr_systematic_{source}"]
    assert error.attrs["magnitude"] == SIGMA[name]
    assert float(np.abs(error).max()) > 0.0


@pytest.mark.parametrize("name", sorted(SIGMA))
def test_element__not_in_the_fit_is_in_the_budget(thin, name):
    """And what is fitted is hardly an error any more."""
    source = ELEMENTS[name].source
    wish = loop.NONE | {source: SIGMA[name]}
    setup = so_134()
    beside = tgo.retrieve(thin, setup.replace(systematics=wish | {"in_fit": False}))
    fitted = tgo.retrieve(thin, setup.replace(systematics=wish))
    low = {"altitude": slice(5.0, 30.0)}
    size = {
        how: float(np.abs(one[f"ch4_vmr_systematic_{source}"].sel(low)).max())
        for how, one in (("beside", beside), ("fitted", fitted))
    }
    assert 0.0 < size["fitted"] < size["beside"]


def test_sources__all_or_none(thin):
    """In the fit of a shipped setup stand all, of another method none."""
    setup = so_134()
    space = optimal_estimation.space_of(loop.scene_of(thin, setup, known=True))
    assert set(ELEMENTS) | set(sources.SOURCES) <= {b.name for b in space.blocks}
    assert not sources.known_blocks(setup.replace(method="onion"))
    assert not sources.known_blocks(setup.replace(systematics={"in_fit": False}))


def test_source__a_fringe_is_taken_out_before_air_and_widths_can_have_it(thin):
    """Waves leave first: what else may vary stays near what it is."""
    setup = so_134()
    scene = loop.scene_of(thin, setup, known=True)
    clean = loop.spectra(scene, loop.prior_state(scene))
    fringe = 1.0 + 5e-4 * np.sin(2.0 * np.pi * np.arange(clean.shape[1]) / 40.0)
    solution = optimal_estimation.solve(loop.measured(scene, clean * fringe))
    assert solution.end.converged
    for name in (sources.BROADENING, sources.PRESSURE):
        block = solution.space.block(name)
        assert (np.abs(solution.state[name]) < 0.5 * block.sigma).all(), name


def test_air__found_is_what_amounts_and_columns_go_with(thin):
    """Number density and columns are those of the pressure and temperature found."""
    setup = so_134()
    warmer = tgo.reference_atmosphere(level1=thin, temperature_offset_k=8.0)
    result = tgo.retrieve(thin, setup, warmer)
    given = np.interp(result.altitude, warmer.altitude, warmer.temperature)
    low = result.altitude.values < 60.0
    added = result.temperature.values - result.temperature_correction.values
    np.testing.assert_allclose(added[low], given[low], atol=0.05)
    assert np.abs(result.temperature_correction.values[low]).max() > 1.0
    ideal = result.pressure / (1.380649e-23 * result.temperature) * 1e-6
    np.testing.assert_allclose(result.number_density, ideal, rtol=2e-3)
    # the column is what lines tell of: better known than the sum of mole fractions
    column, error = result.h2o_slant_column, result.h2o_slant_column_error
    assert (np.isfinite(error) == np.isfinite(column)).all()
    below = result.tangent_altitude.values < 30.0
    assert float(np.nanmax((error / column).values[below])) < 0.2


AIR_OFF = {"temperature_correction": 9.0, "pressure_correction": -0.25}


def moved_air_of(thin):
    """Scene as given, its state, and what the state has in other air."""
    setup = so_134(systematics=loop.NONE | {"temperature_k": 10.0, "pressure": 0.1})
    scene = loop.scene_of(thin, setup, known=True, dtype=np.float64, steps_km=None)
    state = loop.prior_state(scene)
    off = {k: np.full_like(state[k], v) for k, v in AIR_OFF.items()}
    return scene, {**state, **off}


def test_amounts__are_mole_fractions_in_the_air_that_is_found(thin):
    """Spectra of amounts in moved air are those of mole fractions in that air."""
    scene, state = moved_air_of(thin)
    there = sources.anchored(scene, state)
    found = amounts.turned(there, optimal_estimation.space_of(scene), state)
    assert set(found.ratio) == {"h2o", "hdo", "ch4"}  # and CO2 is known
    unmoved = {**state, **{k: np.zeros_like(state[k]) for k in AIR_OFF}}
    by_amounts = loop.spectra(there, unmoved)
    alone = replace(there, given=there.air)
    alone = scenes.with_air(alone, there.air, jacobian_rank=None)
    fractions = found.space.unpack(found.vector)
    by_fractions = loop.spectra(alone, {**unmoved, **{g: fractions[g] for g in GASES}})
    np.testing.assert_allclose(by_amounts, by_fractions, atol=2e-6)
    # had they been taken for mole fractions, it would not be so
    assert np.abs(loop.spectra(alone, unmoved) - by_fractions).max() > 1e-3


GASES = ("h2o", "hdo", "co2", "ch4")


@pytest.mark.parametrize("log", [False, True])
def test_amounts__errors_of_the_air_are_in_those_of_mole_fractions(thin, log):
    """The matrix of errors is the derivative, by differences."""
    scene, state = moved_air_of(thin)
    if log:
        prior = {"h2o": {"relative_sigma": 1.0, "state": "log"}}
        scene = replace(scene, setup=scene.setup.replace(prior=prior))
    space = optimal_estimation.space_of(scene)
    found = amounts.turned(scene, space, state)
    for name, step in (("temperature_correction", 0.01), ("pressure_correction", 1e-4)):
        for index in (0, state[name].size - 1):
            moved = state[name].copy()
            moved[index] += step
            other = amounts.turned(scene, space, {**state, name: moved})
            change = (other.vector - found.vector) / step
            there = found.spread[:, space[name].start + index]
            size = np.abs(there).max()
            np.testing.assert_allclose(change, there, atol=5e-3 * size)
    # an error of an amount is one of its mole fraction, in proportion
    own = space["h2o"]
    scale = 1.0 if log else found.ratio["h2o"]
    np.testing.assert_allclose(np.diag(found.slope)[own], scale * np.ones(own.stop))


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_amounts__ignorance_of_a_gas_says_nothing_of_the_pressure(thin, factor):
    """Water of another factor everywhere is water, not pressure; exact spectra."""
    setup = so_134(systematics=loop.NONE | {"temperature_k": 10.0, "pressure": 0.2})
    scene = loop.scene_of(thin, setup, known=True)
    state = loop.prior_state(scene)
    wet = {**state, "h2o": factor * state["h2o"]}
    scene = loop.measured(scene, loop.spectra(scene, wet))
    end = optimal_estimation.solve(scene).end
    error = np.sqrt(np.diag(end.covariance))[end.space["pressure_correction"]]
    assert (np.abs(end.state["pressure_correction"]) < 0.3 * error).all()
    own = end.space["h2o"]
    kernel = end.covariance[own] @ end.data_matrix[:, own]
    seen = np.diag(kernel) > 0.3
    assert seen.sum() > 10
    ratio = (end.state["h2o"] / wet["h2o"])[seen]
    # the lowest level leans on its a priori
    assert (np.abs(ratio - 1.0) < 0.1).mean() > 0.9
    # which is as uncertain as the pressure
    relative = np.sqrt(np.diag(end.covariance)[own]) / end.state["h2o"]
    assert (relative[seen] > 0.9 * error.min()).all()


def test_amounts__a_gas_is_detected_whatever_the_air_that_it_is_over(thin):
    """Pressures off by a factor of two make no water vanish, but its mole fraction."""
    air = tgo.reference_atmosphere(level1=thin)
    air = air.drop_vars(["temperature_uncertainty", "pressure_uncertainty"])
    found = {}
    for sigma in (0.05, 0.7):
        setup = so_134(systematics={"pressure": sigma})
        found[sigma] = tgo.retrieve(thin, setup, air)
    known, unknown = (found[sigma].h2o_detected.sum() for sigma in found)
    assert int(known) >= 8
    assert int(unknown) >= 0.9 * int(known)
    good = found[0.7].h2o_detected.values == 1
    relative = (found[0.7].h2o_vmr_error / found[0.7].h2o_vmr).values[good]
    assert np.median(relative) > 0.1  # the pressure is known a little from widths
    limit = found[0.7].h2o_upper_limit - 2.0 * found[0.7].h2o_vmr_error
    np.testing.assert_allclose(limit[good], found[0.7].h2o_vmr[good])


def test_stated__is_taken_before_the_size_of_a_setup():
    air = tgo.reference_atmosphere(np.arange(0.0, 101.0, 20.0))
    own = stated(air, "pressure", 0.05)
    np.testing.assert_array_equal(own, air.pressure_uncertainty)
    assert (stated(air, "pressure", 0.0) == 0.0).all()
    plain = air.drop_vars("pressure_uncertainty")
    assert (stated(plain, "pressure", 0.05) == 0.05).all()
    sizes = {"pressure": Size(0.05, "1"), "pointing": Size(0.3, "km")}
    found = with_stated(sizes, air)
    # of the air below a scale height or two
    assert own[0] < found["pressure"].magnitude < own[1]
    assert found["pointing"] == sizes["pointing"]
    assert with_stated(sizes, plain) == sizes


def test_magnitude__is_that_of_who_states_it(thin):
    """Of the setup, or of the atmosphere where it says how far it is to be trusted."""
    setup = so_134()
    own = tgo.reference_atmosphere(level1=thin)
    plain = own.drop_vars(["temperature_uncertainty", "pressure_uncertainty"])
    for air, origin in ((plain, "setup"), (own, "temperature_uncertainty")):
        attrs = tgo.retrieve(thin, setup, air)["ch4_vmr_systematic_temperature"].attrs
        assert attrs["magnitude_origin"].startswith(origin)
        assert (attrs["magnitude"] == 5.0) == (origin == "setup")


def test_interferents__that_the_table_has_are_an_error(level1):
    """A gas left out: its lines are in the table, its amount in the atmosphere."""
    setup = tgo.load_setup("so_134_hydrocarbons")
    gases = tuple(gas for gas in setup.gases if gas != "c2h6")
    absent = (*setup.interferents_absent, "c2h6")
    prior = {gas: one for gas, one in setup.prior.items() if gas in gases}
    setup = setup.replace(
        gases=gases, interferents_absent=absent, prior=prior, grid=GRID
    )
    air = tgo.reference_atmosphere(level1=level1)
    few = level1.isel(spectrum=slice(0, None, 12))
    without = tgo.retrieve(few, setup, air)
    assert "ch4_vmr_systematic_interferents" not in without
    air["c2h6_vmr"] = ("altitude", np.full(air.altitude.size, 2e-9), {"units": "1"})
    result = tgo.retrieve(few, setup, air)
    assert float(np.abs(result["ch4_vmr_systematic_interferents"]).max()) > 0.0


def test_interferents__that_the_air_does_not_name_are_those_of_the_reference(thin):
    """HDO left out of order 134: an atmosphere without it makes no smaller error."""
    setup = so_134()
    gases = tuple(gas for gas in setup.gases if gas != "hdo")
    prior = {gas: one for gas, one in setup.prior.items() if gas in gases}
    absent = (*setup.interferents_absent, "hdo")
    setup = setup.replace(gases=gases, interferents_absent=absent, prior=prior)
    air = tgo.reference_atmosphere(level1=thin)
    name = "ch4_vmr_systematic_interferents"
    named = tgo.retrieve(thin, setup, air)[name]
    silent = tgo.retrieve(thin, setup, air.drop_vars("hdo_vmr"))[name]
    assert named.attrs["magnitude_origin"] == "setup"
    assert silent.attrs["magnitude_origin"].endswith("hdo in the reference atmosphere")
    largest = float(np.abs(named).max())
    assert largest > 1e-11
    np.testing.assert_allclose(silent, named, atol=0.02 * largest)
