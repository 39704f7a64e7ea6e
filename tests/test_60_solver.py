"""The joint solver against explicit matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import legendre

from tgo_spectra.errors import RetrievalError
from tgo_spectra.forward.transmittance import PixelFields
from tgo_spectra.retrieval import diagnostics, iteration, limits, regularisation, solver

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
    measurement = solver.Measurement(
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
    state = solver.State(
        vmr={g: np.ones(LEVELS) for g in GASES},
        shift_px=np.array([0.1, -0.1]),
        stretch_px=0.05,
        exponent=0.5,
    )
    depth = rng.random(ROWS)
    return fields, measurement, paths, state, depth


def dense_jacobian(fields, m, paths, state, depth, linear):
    """Whitened Jacobian of everything, baselines included, row by row."""
    layout = solver.Layout(GASES, LEVELS, BINS)
    n_base = m.baseline_degree + 1
    spectrum, small = solver.row_spectra(fields, m, state, (0.0, 0.0), depth)
    base = linear.baseline @ m.polynomials
    k = np.zeros((ROWS, PIXELS, layout.size + ROWS * n_base))
    for gas in GASES:
        field = np.einsum("rh,pkh->rkp", m.rows, fields.gas[gas])
        k[:, :, layout.gas(gas)] = np.einsum("rkp,rkl->rpl", field, paths[gas])
        k[:, :, layout.gas(gas)] *= base[:, :, None]
    for r in range(ROWS):
        k[r, :, layout.shift.start + m.bin[r]] = base[r] * small[0][r]
        k[r, :, layout.size - 2] = base[r] * small[1][r]
        k[r, :, layout.size - 1] = base[r] * small[2][r]
        start = layout.size + r * n_base
        columns = legendre.legvander(m.position, m.baseline_degree)
        k[r, :, start : start + n_base] = columns * spectrum[r][:, None]
    return (k * m.weight[:, :, None]).reshape(ROWS * PIXELS, -1), layout


def test_normal_equations__equal_the_schur_complement_of_the_dense_ones(problem):
    fields, m, paths, state, depth = problem
    linear = solver.linearise(fields, m, state, (0.0, 0.0), depth)
    layout = solver.Layout(GASES, LEVELS, BINS)
    matrix, gradient = solver.normal_equations(linear, paths, layout, m.bin)
    k, _ = dense_jacobian(fields, m, paths, state, depth, linear)
    n = layout.size
    full = k.T @ k
    schur = full[:n, :n] - full[:n, n:] @ np.linalg.solve(full[n:, n:], full[n:, :n])
    np.testing.assert_allclose(matrix, schur, rtol=1e-9, atol=1e-9 * schur.max())
    expected = k[:, :n].T @ linear.residual.ravel()
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-6)


def test_linearise__compiled_rows_equal_whole_arrays(problem):
    fields, m, _, state, depth = problem
    fast = solver.linearise(fields, m, state, (0.02, 0.01), depth)
    plain = solver.linearise_plainly(fields, m, state, (0.02, 0.01), depth)
    for name in ("model", "residual", "baseline", "gram", "gradient", "chi_square"):
        a, b = getattr(fast, name), getattr(plain, name)
        np.testing.assert_allclose(
            a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max(), err_msg=name
        )


def test_linearise__row_without_pixels_is_refused(problem):
    fields, m, _, state, depth = problem
    m.weight[5] = 0.0
    with pytest.raises(RetrievalError, match="undetermined") as caught:
        solver.linearise(fields, m, state, (0.0, 0.0), depth)
    assert caught.value.record == 5


def test_fit_baseline__is_the_least_squares_solution(problem):
    fields, m, _, state, depth = problem
    spectrum, _ = solver.row_spectra(fields, m, state, (0.0, 0.0), depth)
    _, _, coefficients, residual = solver.fit_baseline(m, spectrum)
    columns = m.polynomials.T * (spectrum[3] * m.weight[3])[:, None]
    expected, *_ = np.linalg.lstsq(
        columns, m.transmittance[3] * m.weight[3], rcond=None
    )
    np.testing.assert_allclose(coefficients[3], expected, rtol=1e-10)
    assert np.abs(columns.T @ residual[3]).max() < 1e-6 * np.abs(columns).max()


def test_layout__packs_and_unpacks(problem):
    state = problem[3]
    layout = solver.Layout(GASES, LEVELS, BINS)
    vector = np.arange(layout.size, dtype=float)
    back = layout.pack(layout.unpack(vector))
    np.testing.assert_array_equal(back, vector)
    assert layout.pack(state).size == layout.size


def linear_problem(rng, n=6, m=30):
    k = rng.normal(size=(m, n))
    prior_inverse = np.diag(rng.uniform(0.5, 2.0, n))
    return k, rng.normal(size=m), prior_inverse


ITERATE = iteration.ITERATIONS


@pytest.mark.parametrize("method", ITERATE)
def test_iterations__solve_a_linear_problem_in_the_m_form(method):
    """K^T K form agrees with the K Sa K^T + Se form (Rodgers 2000, eq. 4.5-4.6)."""
    rng = np.random.default_rng(3)
    layout = solver.Layout(("h2o",), 3, 1)
    k, y, prior_inverse = linear_problem(rng)
    xa = rng.normal(size=layout.size)

    def evaluate(state, _):
        residual = y - k @ layout.pack(state)
        return solver.Linearised(
            y, residual, np.zeros((1, 1)), float(residual @ residual),
            np.zeros(0), k.T @ residual,
        )  # fmt: skip

    prior = layout.unpack(xa)
    result = ITERATE[method](
        evaluate, lambda lin: (k.T @ k, lin.gradient), layout, prior, prior,
        prior_inverse, 30,
    )  # fmt: skip
    sa = np.linalg.inv(prior_inverse)
    gain = sa @ k.T @ np.linalg.inv(k @ sa @ k.T + np.eye(len(y)))
    expected = xa + gain @ (y - k @ xa)
    np.testing.assert_allclose(layout.pack(result.state), expected, atol=1e-10)
    np.testing.assert_allclose(result.covariance, sa - gain @ k @ sa, atol=1e-10)
    np.testing.assert_allclose(result.data_matrix, k.T @ k)
    assert result.converged
    assert result.iterations <= (2 if method == "gauss-newton" else 30)


@pytest.mark.parametrize("method", ITERATE)
def test_iterations__refuse_to_diverge(method):
    layout = solver.Layout(("h2o",), 3, 1)
    calls = []

    def evaluate(state, _):
        calls.append(1)
        cost = 1.0 if len(calls) == 1 else 1e9
        return solver.Linearised(
            np.zeros(1), np.zeros(1), np.zeros((1, 1)), cost, np.zeros(0), np.zeros(0)
        )

    state = layout.unpack(np.zeros(layout.size))
    n = layout.size
    with pytest.raises(RetrievalError, match="no step lowers the cost"):
        ITERATE[method](
            evaluate, lambda _: (np.eye(n), np.full(n, 50.0)), layout, state, state,
            np.eye(n),
        )  # fmt: skip


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
    s = regularisation.exponential_covariance(z, sigma, 4.0)
    np.testing.assert_allclose(np.sqrt(np.diag(s)), sigma)
    np.testing.assert_allclose(s[0, 1], 2.0 * np.exp(-0.25))
