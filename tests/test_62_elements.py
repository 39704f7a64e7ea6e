"""Known sources of error: in the fit, in the file, in the budget of errors."""

from __future__ import annotations

import closed_loop as loop
import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.errors import RetrievalError
from tgo_spectra.retrieval.elements import ELEMENTS
from tgo_spectra.retrieval.models.so import evaluation, optimal_estimation, sources

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
def thin(level1):
    return level1.isel(spectrum=slice(0, None, 12))


GRID = {"step_km": 2.0, "top_km": 90.0, "height_step_km": 1.5}
"""Coarse levels and heights: quick to fit."""


def so_134(**changes):
    """The shipped setup on the coarse grid."""
    return tgo.load_setup("so_134").replace(grid=GRID, **changes)


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
                          jacobian_every=1)  # fmt: skip
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


@pytest.mark.parametrize("name", sorted(KEY))
def test_source__derivative_is_of_the_first_order(thin, name):
    """Of the air and the pointing: by the scene that is moved there."""
    setup = so_134(systematics=loop.NONE | {KEY[name]: 1.0})
    scene = loop.scene_of(thin, setup, known=True, dtype=np.float64, jacobian_every=1)
    state = loop.prior_state(scene)
    evaluator = evaluation.Evaluator(scene, evaluation.measurement_of(scene))
    slope = evaluator.extra(state, evaluator.fields(state, False))
    # at all heights, where a difference in single precision would be noise above 50 km
    fit = loop.scene_of(thin, setup, known=True, jacobian_every=1)
    single = evaluation.Evaluator(fit, evaluation.measurement_of(fit))
    off = single.extra(state, single.fields(state, False)) - slope
    assert (norm(off) <= 0.05 * norm(slope)).all(), norm(off) / norm(slope)
    base = loop.spectra(scene, state)
    step = {"temperature_correction": 2.0, "pressure_correction": -0.02,
            "pointing_offset": 0.1, "broadening_correction": -0.05}[name]  # fmt: skip
    for index in range(min(slope.shape[1], 3)):
        moved = np.array(state[name])
        moved[index] = step
        other = sources.anchored(scene, {name: moved})
        change = loop.spectra(other, {**state, name: state[name]}) - base
        off = np.linalg.norm(change - step * slope[:, index])
        # of methane, of which there is none, the lines change nothing
        assert off < 0.05 * np.linalg.norm(change) + 1e-12, (name, index)


@pytest.mark.parametrize("name", sorted(KEY))
@pytest.mark.parametrize("far", [-12.0, 12.0])
def test_source__air_and_lines_stay_within_nature(thin, name, far):
    """A fit may find widths below zero: the model is made anew where there are some."""
    setup = tgo.load_setup("so_134").replace(systematics=loop.NONE | {KEY[name]: 1.0})
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
    setup = tgo.load_setup("so_134")
    space = optimal_estimation.space_of(loop.scene_of(thin, setup, known=True))
    assert set(ELEMENTS) | set(sources.SOURCES) <= {b.name for b in space.blocks}
    assert not sources.known_blocks(setup.replace(method="onion"))
    assert not sources.known_blocks(setup.replace(systematics={"in_fit": False}))


def test_source__a_fringe_is_taken_out_before_air_and_widths_can_have_it(thin):
    """Waves leave first: what else may vary stays near what it is."""
    setup = tgo.load_setup("so_134")
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
    setup = tgo.load_setup("so_134")
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
