"""Elements of the instrument: in the fit, in the file, in the budget of errors."""

from __future__ import annotations

import closed_loop as loop
import numpy as np
import pytest

import tgo_spectra as tgo
from tgo_spectra.retrieval.elements import ELEMENTS
from tgo_spectra.retrieval.models.so import evaluation, optimal_estimation, systematics

FITTED = sorted(name for name, row in ELEMENTS.items() if row.prior)
SIGMA = {name: 5.0 * ELEMENTS[name].step for name in FITTED}
"""The ghost by 0.05, the centre of the AOTF by 0.5 cm-1, resolving power by 2.5 %."""


@pytest.fixture(scope="module")
def thin(level1):
    return level1.isel(spectrum=slice(0, None, 12))


def setup_with(name):
    key = ELEMENTS[name].prior
    return tgo.load_setup("so_134").replace(registration={key: SIGMA[name]})


@pytest.mark.parametrize("name", FITTED)
def test_element__derivative_is_of_second_order(thin, name):
    """The Taylor remainder of the model falls with the square of the element."""
    scene = loop.scene_of(thin, setup_with(name), dtype=np.float64)
    state = loop.prior_state(scene)
    evaluator = evaluation.Evaluator(scene, evaluation.measurement_of(scene))
    evaluator.fields(state, False)
    slope = scene.rows @ evaluator.extra_fields(state)[:, 0]
    base = loop.spectra(scene, state)
    sizes = SIGMA[name] * 0.5 ** np.arange(4)
    rest = [
        np.linalg.norm(
            loop.spectra(scene, {**state, name: np.array([size])}) - base - size * slope
        )
        for size in sizes
    ]
    order = np.diff(np.log(rest)) / np.diff(np.log(sizes))
    print(name, order.round(3))
    # the derivative is a central difference: its own error shows at the last size
    np.testing.assert_allclose(order[:2], 2.0, atol=0.1)


@pytest.mark.parametrize("name", FITTED)
def test_element__is_found_and_written(thin, name):
    """Spectra of an instrument that is off by one sigma: found, and methane with it."""
    setup = setup_with(name)
    scene = loop.scene_of(thin, setup)
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


@pytest.mark.parametrize(
    "source", sorted(row.source for row in ELEMENTS.values() if row.source)
)
def test_element__is_in_the_budget(thin, source):
    sizes = {"enabled": True, source: 0.02}
    others = ("temperature_k", "pointing_km", "spectroscopy")
    setup = tgo.load_setup("so_134").replace(
        systematics=dict.fromkeys(others, 0.0) | sizes
    )
    assert (source, 0.02, "1") in systematics.sizes(setup)
    result = tgo.retrieve(thin, setup)
    error = result[f"ch4_vmr_systematic_{source}"]
    assert error.attrs["magnitude"] == 0.02
    assert float(np.abs(error).max()) > 0.0
    free = setup.replace(registration={"resolution_sigma": 1.0})
    if source == "resolution":  # what is fitted is no error any more
        low = {"altitude": slice(5.0, 30.0)}  # above, single precision shows
        left = np.abs(tgo.retrieve(thin, free)[error.name].sel(low)).max()
        assert float(left) < 0.1 * float(np.abs(error.sel(low)).max())
