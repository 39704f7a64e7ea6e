"""The joint solver against explicit matrices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.polynomial import legendre
from reference.plain_fit import fit_baseline, linearise_plainly

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward.transmittance import PixelFields
from tgo_spectra.retrieval import diagnostics, joint, limits, linear, solve
from tgo_spectra.retrieval.state import (
    Block,
    StateSpace,
    exponential_covariance,
    independent,
)

ROWS, PIXELS, HEIGHTS, LEVELS, BINS, K = 13, 40, 7, 5, 2, 3
GASES = ("h2o", "ch4")


@pytest.fixture
def problem():
    """Random fields, weights and a state near which everything is smooth."""
    rng = np.random.default_rng(5)
    value = 0.8 + 0.1 * rng.random((PIXELS, HEIGHTS))
    fields = PixelFields(
        value=value,
        shift=rng.normal(0, 0.1, value.shape),
        curvature=rng.normal(0, 0.1, value.shape),
        slope=rng.normal(0, 0.01, value.shape),
        gas={g: rng.normal(0, 1, (PIXELS, K, HEIGHTS)) for g in GASES},
    )
    rows = rng.random((ROWS, HEIGHTS))
    rows /= rows.sum(axis=1, keepdims=True)
    weight = 1.0 / rng.uniform(5e-4, 1e-3, (ROWS, PIXELS))
    weight[:, 7] = 0.0
    measurement = linear.Measurement(
        transmittance=0.5 + 0.3 * rng.random((ROWS, PIXELS)),
        weight=weight,
        bin=np.arange(ROWS) % BINS,
        n_bins=BINS,
        rows=rows,
        jacobian_rows=rows,
        position=np.linspace(-0.9, 0.9, PIXELS),
        dispersion_cm1=np.full(PIXELS, 0.075),
        baseline_degree=3,
    )
    paths = {g: rng.random((ROWS, K, LEVELS)) for g in GASES}
    state = {
        **{g: np.ones(LEVELS) for g in GASES},
        linear.SHIFT: np.array([0.1, -0.1]),
        linear.STRETCH: np.array([0.05]),
        linear.EXPONENT: np.array([0.5]),
    }
    depth = rng.random(ROWS)
    return fields, measurement, paths, state, depth


def space_of(gases=GASES, levels=LEVELS, bins=BINS):
    return StateSpace(
        (
            *(Block(g, np.zeros(levels), np.eye(levels), "level") for g in gases),
            independent(linear.SHIFT, 1.0, size=bins, per="bin"),
            independent(linear.STRETCH, 1.0),
            independent(linear.EXPONENT, 1.0),
        )
    )


def dense_jacobian(fields, m, paths, state, depth, found):
    """Whitened Jacobian of everything, baselines included, row by row."""
    space = space_of()
    n_base = m.baseline_degree + 1
    spectrum, small = linear.row_spectra(fields, m, state, (0.0, 0.0), depth)
    base = found.baseline @ m.polynomials
    k = np.zeros((ROWS, PIXELS, space.size + ROWS * n_base))
    for gas in GASES:
        field = np.einsum("rh,pkh->rkp", m.rows, fields.gas[gas])
        k[:, :, space[gas]] = np.einsum("rkp,rkl->rpl", field, paths[gas])
        k[:, :, space[gas]] *= base[:, :, None]
    for r in range(ROWS):
        k[r, :, space[linear.SHIFT].start + m.bin[r]] = base[r] * small[0][r]
        k[r, :, space.size - 2] = base[r] * small[1][r]
        k[r, :, space.size - 1] = base[r] * small[2][r]
        start = space.size + r * n_base
        columns = legendre.legvander(m.position, m.baseline_degree)
        k[r, :, start : start + n_base] = columns * spectrum[r][:, None]
    return (k * m.weight[:, :, None]).reshape(ROWS * PIXELS, -1)


def test_normal_equations__equal_the_schur_complement_of_the_dense_ones(problem):
    fields, m, paths, state, depth = problem
    found = linear.linearise(fields, m, state, (0.0, 0.0), depth)
    expand = linear.Expansion(space_of(), paths, m.bin)
    matrix, gradient = expand(found)
    k = dense_jacobian(fields, m, paths, state, depth, found)
    n = space_of().size
    full = k.T @ k
    schur = full[:n, :n] - full[:n, n:] @ np.linalg.solve(full[n:, n:], full[n:, :n])
    np.testing.assert_allclose(matrix, schur, rtol=1e-9, atol=1e-9 * schur.max())
    expected = k[:, :n].T @ found.residual.ravel()
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(expand.gradient(found), gradient, rtol=1e-9, atol=1e-6)


def test_linearise__compiled_rows_equal_whole_arrays(problem):
    fields, m, _, state, depth = problem
    fast = linear.linearise(fields, m, state, (0.02, 0.01), depth)
    plain = linearise_plainly(fields, m, state, (0.02, 0.01), depth)
    for name in ("model", "residual", "baseline", "gram", "gradient", "chi_square"):
        a, b = getattr(fast, name), getattr(plain, name)
        np.testing.assert_allclose(
            a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max(), err_msg=name
        )


def test_linearise__row_without_pixels_is_refused(problem):
    fields, m, _, state, depth = problem
    m.weight[5] = 0.0
    with pytest.raises(RetrievalError, match="undetermined") as caught:
        linear.linearise(fields, m, state, (0.0, 0.0), depth)
    assert caught.value.record == 5


def test_fit_baseline__is_the_least_squares_solution(problem):
    fields, m, _, state, depth = problem
    spectrum, _ = linear.row_spectra(fields, m, state, (0.0, 0.0), depth)
    _, _, coefficients, residual = fit_baseline(m, spectrum)
    columns = m.polynomials.T * (spectrum[3] * m.weight[3])[:, None]
    expected, *_ = np.linalg.lstsq(
        columns, m.transmittance[3] * m.weight[3], rcond=None
    )
    np.testing.assert_allclose(coefficients[3], expected, rtol=1e-10)
    assert np.abs(columns.T @ residual[3]).max() < 1e-6 * np.abs(columns).max()


def test_expansion__elements_of_bins_and_levels_without_paths(problem):
    """The same equations with each level a field, and a further element per bin."""
    fields, m, paths, state, depth = problem
    rng = np.random.default_rng(8)
    heights = rng.normal(size=(HEIGHTS, 1, PIXELS))
    extra = linear.seen_by_rows(m.rows, heights)
    found = linear.linearise(fields, m, state, (0.0, 0.0), depth, extra)
    blocks = (*space_of().blocks, independent("width", 0.1, size=BINS, per="bin"))
    space = StateSpace(blocks)
    matrix, gradient = linear.Expansion(space, paths, m.bin, ("width",))(found)
    n, first = K * len(GASES), K * len(GASES)
    for b in range(BINS):
        mine = m.bin == b
        at = space["width"].start + b
        assert matrix[at, at] == pytest.approx(found.gram[mine, n, n].sum())
        other = space["width"].start + 1 - b
        assert matrix[at, other] == 0.0
        assert gradient[at] == pytest.approx(found.gradient[mine, n].sum())
        seen = np.einsum("rkl,rk->l", paths["ch4"][mine], found.gram[mine, K:n, n])
        np.testing.assert_allclose(matrix[space["ch4"], at], seen, rtol=1e-9)
    # without paths: every field of the gases an element by itself
    direct = StateSpace(
        (Block("both", np.zeros(first), np.eye(first), "level"), *blocks[len(GASES) :])
    )
    matrix, gradient = linear.Expansion(direct, {}, m.bin, ("both", "width"))(found)
    both = direct["both"]
    np.testing.assert_allclose(
        matrix[both, both], found.gram[:, :first, :first].sum(axis=0)
    )
    np.testing.assert_allclose(gradient[both], found.gradient[:, :first].sum(axis=0))


def test_state__packs_and_unpacks(problem):
    state, space = problem[3], space_of()
    vector = np.arange(space.size, dtype=float)
    np.testing.assert_array_equal(space.pack(space.unpack(vector)), vector)
    assert space.pack(state).size == space.size
    assert space.names("level") == GASES
    assert space.profiles == slice(0, 2 * LEVELS)


def test_state__logarithms():
    covariance = np.diag([0.25, 0.04])
    space = StateSpace(
        (Block("h2o", np.array([1e-4, 1e-5]), covariance, "level", True),)
    )
    x = space.pack(space.prior)
    np.testing.assert_allclose(x, np.log([1e-4, 1e-5]))
    np.testing.assert_allclose(space.slope(x), [1e-4, 1e-5])
    np.testing.assert_allclose(space.constraint, np.diag([4.0, 25.0]))
    with pytest.raises(RetrievalError) as caught:
        space.pack({"h2o": np.array([1e-4, -1e-9])})
    assert caught.value.rule == "fit.log_of_zero"
    assert caught.value.value == -1e-9


class Linear:
    """A linear model with unit noise."""

    def __init__(self, seed=3):
        rng = np.random.default_rng(seed)
        self.space = space_of(("h2o",), 3, 1)
        n = self.space.size
        self.k, self.y = rng.normal(size=(30, n)), rng.normal(size=30)
        self.constraint = np.diag(rng.uniform(0.5, 2.0, n))

    def __call__(self, state, _):
        residual = self.y - self.k @ self.space.pack(state)
        return linear.Linearised(
            self.y, residual, np.zeros((1, 1)), float(residual @ residual),
            np.zeros(0), self.k.T @ residual,
        )  # fmt: skip

    def expand(self, found):
        return self.k.T @ self.k, found.gradient


@pytest.mark.parametrize("method", solve.DAMPING)
def test_fit__solves_a_linear_problem_in_the_m_form(method):
    """K^T K form agrees with the K Sa K^T + Se form (Rodgers 2000, eq. 4.5-4.6)."""
    model = Linear()
    first = model.space.unpack(np.full(model.space.size, 5.0))
    result = joint.fit(
        model, model.expand, model.space, first, max_iterations=30, solver=method,
        constraint=model.constraint,
    )  # fmt: skip
    k, sa = model.k, np.linalg.inv(model.constraint)
    gain = sa @ k.T @ np.linalg.inv(k @ sa @ k.T + np.eye(len(model.y)))
    found = model.space.pack(result.state)
    np.testing.assert_allclose(found, gain @ model.y, atol=1e-10)
    np.testing.assert_allclose(result.covariance, sa - gain @ k @ sa, atol=1e-10)
    np.testing.assert_allclose(result.data_matrix, k.T @ k)
    assert result.converged
    assert result.iterations <= (2 if method == "gauss-newton" else 30)


@pytest.mark.parametrize("method", solve.DAMPING)
def test_fit__refuses_to_diverge(method):
    model = Linear()
    calls = []

    def rising(state, _):
        calls.append(1)
        found = model(state, True)
        return dataclasses.replace(found, chi_square=1.0 if len(calls) == 1 else 1e9)

    first = model.space.unpack(np.full(model.space.size, 5.0))
    with pytest.raises(RetrievalError, match="no step lowers chi-square") as caught:
        joint.fit(
            rising, model.expand, model.space, first, max_iterations=30, solver=method
        )
    assert caught.value.rule == "fit.diverged"


def test_fit__a_state_that_the_model_refuses_is_stepped_back_from():
    """Newton's step from far out leaves the range of the model: it is damped."""
    space = StateSpace((Block("x", np.array([0.5]), np.array([[1.0]]), "product"),))

    def model(state, _):
        x = float(state["x"][0])
        if not -3.0 < x < 3.0:
            raise RetrievalError("off the table", value=x, rule="table.range")
        return linear.Linearised(
            np.zeros(1), np.zeros(1), np.array([[x]]),
            (100.0 * (np.arctan(4.0 * x) - 1.0)) ** 2, np.zeros(0), np.zeros(1),
        )  # fmt: skip

    def expand(found):
        x = float(found.baseline[0, 0])
        slope = 400.0 / (1.0 + 16.0 * x**2)
        residual = -100.0 * (np.arctan(4.0 * x) - 1.0)
        return np.array([[slope**2]]), np.array([slope * residual])

    result = joint.fit(model, expand, space, {"x": np.array([2.5])}, max_iterations=40)
    assert result.converged
    assert result.state["x"][0] == pytest.approx(0.25 * np.tan(1.0), rel=1e-3)
    with pytest.raises(RetrievalError) as caught:
        joint.fit(model, expand, space, {"x": np.array([4.0])}, max_iterations=40)
    assert caught.value.rule == "table.range"


def exponentials(y, t):
    """Independent fits of a exp(-b t), one a row."""

    def evaluate(items, x):
        a, b = x[:, :1], x[:, 1:]
        light = np.exp(np.clip(-b * t, None, 50.0))
        k = np.stack([light, -a * t * light], axis=2)
        residual = y[items] - a * light
        return solve.Evaluation(
            (residual**2).sum(axis=1),
            k.swapaxes(1, 2) @ k,
            np.einsum("rpk,rp->rk", k, residual),
            {"residual": residual},
        )

    return evaluate


def test_descend__rows_do_not_know_each_other():
    """A batch gives each row what it gets alone; errors are those of its end."""
    t = np.linspace(0.0, 3.0, 40)
    rng = np.random.default_rng(6)
    truth = np.column_stack([rng.uniform(50, 200, 7), rng.uniform(0.3, 3.0, 7)])
    y = truth[:, :1] * np.exp(-truth[:, 1:] * t) + rng.normal(size=(7, 40))
    first, prior = np.tile([100.0, 1.0], (7, 1)), np.diag([1e-6, 1e-4])
    options = {"max_iterations": 40}
    together = solve.descend(exponentials(y, t), first, first[0], prior, **options)
    assert together.converged.all()
    assert np.unique(together.iterations).size > 1
    for row in range(7):
        one = slice(row, row + 1)
        alone = solve.descend(
            exponentials(y[one], t), first[one], first[0], prior, **options
        )
        np.testing.assert_array_equal(alone.vector[0], together.vector[row])
        np.testing.assert_array_equal(alone.covariance[0], together.covariance[row])
    found = exponentials(y, t)(np.arange(7), together.point)
    np.testing.assert_array_equal(found.matrix, together.final.matrix)
    z = (together.vector - truth) / np.sqrt(np.einsum("rii->ri", together.covariance))
    assert np.abs(z).max() < 4.0


def test_descend__what_the_rule_leaves_is_small():
    """Iterated on, no element moves by more than a twentieth of its error."""
    t = np.linspace(0.0, 3.0, 40)
    rng = np.random.default_rng(9)
    y = 100.0 * np.exp(-t) + rng.normal(size=(50, 40))
    first, prior = np.tile([40.0, 3.0], (50, 1)), np.diag([1e-6, 1e-4])
    found = solve.descend(exponentials(y, t), first, first[0], prior, max_iterations=40)
    more = solve.descend(
        exponentials(y, t), found.vector, first[0], prior, max_iterations=40
    )
    sigma = np.sqrt(np.einsum("rii->ri", found.covariance))
    assert np.abs((more.vector - found.vector) / sigma).max() < 0.05


def test_descend__a_matrix_without_a_root_is_no_end():
    """Two elements that say the same, to rounding: the step goes up, not nowhere."""
    matrix, pull = np.array([[[1.0, 2.0], [2.0, 1.0]]]), np.array([[1.0, -1.0]])

    def uphill(items, states):
        return solve.Evaluation(np.full(items.size, 10.0), matrix, pull)

    found = solve.descend(
        uphill, np.zeros((1, 2)), np.zeros(2), 1e-9 * np.eye(2), max_iterations=3
    )
    assert not found.converged.any()


def test_invert__names_what_is_undetermined():
    with pytest.raises(RetrievalError) as caught:
        solve.invert(np.diag([1.0, 0.0]))
    assert (caught.value.rule, caught.value.record) == ("fit.undetermined", 1)
    with pytest.raises(RetrievalError) as caught:
        solve.invert(np.array([[1.0, np.nan], [np.nan, 1.0]]))
    assert caught.value.rule == "fit.diverged"
    with pytest.raises(RetrievalError) as caught:
        solve.invert(np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert caught.value.rule == "fit.undetermined"


def test_gas_diagnostics__noise_and_smoothing_add_up_to_the_total():
    rng = np.random.default_rng(1)
    k = rng.normal(size=(40, 8))
    data = k.T @ k
    covariance = np.linalg.inv(data + np.diag(rng.uniform(1, 50, 8)))
    d = diagnostics.gas_diagnostics(data, covariance, slice(2, 6))
    np.testing.assert_allclose(
        d.noise_error**2 + d.smoothing_error**2, d.total_error**2, rtol=1e-12
    )
    gain = covariance @ k.T
    np.testing.assert_allclose(d.averaging_kernel, (gain @ k)[2:6, 2:6], atol=1e-12)
    np.testing.assert_allclose(d.noise_covariance, (gain @ gain.T)[2:6, 2:6])
    assert 0 < d.degrees_of_freedom < 4


def test_delta_chi_square__is_the_wald_statistic_for_one_level():
    covariance = np.diag([4.0, 9.0, 1.0])
    delta = limits.delta_chi_square(
        np.array([2.0, 3.0, 5.0]), covariance, np.array([0.0, 1.0, 2.0]), 0.0
    )
    np.testing.assert_allclose(delta, [1.0, 1.0, 25.0])


def test_upper_limit__counts_from_zero_for_negative_values():
    limit = limits.upper_limit(np.array([-3.0, 2.0]), np.array([1.0, 1.0]), 2.0)
    np.testing.assert_array_equal(limit, [2.0, 4.0])


def test_exponential_covariance__has_sigma_on_the_diagonal():
    z = np.arange(5.0)
    sigma = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    s = exponential_covariance(z, sigma, 4.0)
    np.testing.assert_allclose(np.sqrt(np.diag(s)), sigma)
    np.testing.assert_allclose(s[0, 1], 2.0 * np.exp(-0.25))
