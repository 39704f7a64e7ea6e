"""What a result says of its own trust: noise, masks, patterns, agreement of lines."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import NEAR

import tgo_spectra as tgo
from tgo_spectra import quality
from tgo_spectra.retrieval import consistency, noise, verdict
from tgo_spectra.retrieval.end import End
from tgo_spectra.retrieval.limits import of_layer
from tgo_spectra.retrieval.linear import Expansion
from tgo_spectra.retrieval.noise import screen
from tgo_spectra.retrieval.spectra import Whitened
from tgo_spectra.retrieval.state import (
    Block,
    StateSpace,
    exponential_covariance,
    independent,
)

ROWS, PIXELS, BINS = 240, 200, 4
BIN = np.arange(ROWS) % BINS
HEIGHT = np.linspace(0.0, 90.0, ROWS)
USED = np.ones((ROWS, PIXELS), dtype=bool)


def correlated(rng, rho, axis):
    """Unit noise with the autocorrelation of first order along an axis."""
    values = np.moveaxis(rng.standard_normal((ROWS, PIXELS)), axis, 0)
    for one, other in itertools.pairwise(values):
        other[:] = rho * one + np.sqrt(1.0 - rho**2) * other
    return np.moveaxis(values, 0, axis)


def seen_with(residual, degree=4):
    """Spectra with baselines of some degree, which are taken out of the residual."""
    position = np.linspace(-1.0, 1.0, PIXELS)
    basis = np.linalg.qr(np.vander(position, degree + 1))[0].T
    residual = residual - (residual @ basis.T) @ basis
    every = np.broadcast_to(basis, (ROWS, *basis.shape))
    none = np.zeros((ROWS, 0, PIXELS))
    return Whitened(
        none, np.zeros((ROWS, 0, degree + 1)), residual, np.ones_like(residual), every,
        np.ones_like(residual), np.zeros((ROWS, degree + 1)),
    )  # fmt: skip


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5])
def test_noise__correlation_along_pixels_is_found(rho):
    residual = correlated(np.random.default_rng(1), rho, 1)
    found = noise.measured_noise(seen_with(residual), BIN, 0.0)
    expected = rho ** np.arange(1, noise.PIXEL_LAGS + 1)
    # the baseline takes more of correlated noise than of white, for which is corrected
    np.testing.assert_allclose(found.along_pixels, expected, atol=0.01 + 0.1 * rho)
    if rho == 0.0:
        assert np.abs(found.along_pixels).max() < 4.0 * found.pixel_scatter
        assert found.inflation < 1.03
    else:
        assert found.inflation > 1.15


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.33])
def test_noise__size_scales_errors_and_never_shrinks_them(scale):
    """The error column times ``scale``: residuals are larger by its inverse."""
    residual = correlated(np.random.default_rng(2), 0.0, 1) / scale
    found = noise.measured_noise(seen_with(residual), BIN, 0.0)
    assert found.scale == pytest.approx(max(1.0 / scale, 1.0), rel=0.01)


def test_noise__along_the_rows_of_a_bin():
    """Successive rows are those of one bin, not those that follow in the table."""
    rng = np.random.default_rng(3)
    residual = np.empty((ROWS, PIXELS))
    for number in range(BINS):
        mine = number == BIN
        residual[mine] = correlated(rng, 0.6, 0)[: mine.sum()]
    found, _ = noise.along_rows(residual, USED, BIN)
    assert found[0] == pytest.approx(0.6, abs=0.03)
    assert found[1] == pytest.approx(0.36, abs=0.03)


def test_noise__of_rows_is_that_of_each_by_itself():
    """Whatever others there are; a row of twice the noise and a correlated one show."""
    rng = np.random.default_rng(11)
    residual = rng.standard_normal((40, PIXELS))
    residual[3] *= 2.0
    residual[5] = correlated(rng, 0.6, 1)[0]
    seen = seen_with(residual)
    used = USED[:40].copy()
    used[7] = False
    found = noise.of_rows(seen.residual, used, seen.basis[:40])
    (alone,) = noise.of_rows(seen.residual[3:4], used[3:4], seen.basis[3:4])
    assert alone.variance == found[3].variance
    assert found[3].inflation == pytest.approx(2.0, rel=0.2)
    assert found[5].inflation > 1.4
    assert np.isnan(found[7].variance)
    others = [one for k, one in enumerate(found) if k not in (3, 5, 7)]
    assert np.mean([one.variance for one in others]) == pytest.approx(1.0, abs=0.05)
    assert np.mean([one.inflation for one in others]) < 1.05
    rows = np.arange(40)
    ended = np.ones(40, dtype=bool)
    ended[2] = False
    off = np.zeros((40, 2))
    off[4, 1] = -6.0
    flags = verdict.of_rows(rows, 42, found, ended, off)
    assert quality.names(flags[3]) == ("noise_inconsistent",)
    assert "correlated_residuals" in quality.names(flags[5])
    assert "poor_fit" in quality.names(flags[7])
    assert quality.names(flags[2]) == ("not_converged",)
    assert quality.names(flags[4]) == ("parameter_at_limit",)
    assert quality.names(flags[40]) == quality.names(flags[41]) == ("few_spectra",)
    assert np.mean(np.delete(flags[:40], [2, 3, 4, 5, 7]) == 0) > 0.9


def test_filter__is_the_product_with_a_band_matrix():
    rng = np.random.default_rng(4)
    fields, rho = rng.normal(size=(3, 2, 30)), np.array([0.4, 0.0, -0.1])
    band = np.eye(30)
    for lag, value in enumerate(rho, 1):
        band += value * (np.eye(30, k=lag) + np.eye(30, k=-lag))
    np.testing.assert_allclose(noise.pixel_filtered(fields, rho), fields @ band)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_pattern__knows_no_size_and_sees_what_chi_square_does_not(factor):
    rng = np.random.default_rng(5)
    white = factor * rng.standard_normal((ROWS, PIXELS))
    assert noise.stacked(white, USED, HEIGHT) == pytest.approx(1.0, abs=0.2)
    shared = 0.25 * factor * np.sin(np.arange(PIXELS) / 3.0)
    more = noise.stacked(white + shared, USED, HEIGHT)
    assert more > 2.0
    assert np.mean((white + shared) ** 2) < 1.05 * np.mean(white**2)


def test_screening__a_pixel_of_one_bin_is_masked_and_one_of_all_is_light():
    rng = np.random.default_rng(6)
    residual = rng.standard_normal((ROWS, PIXELS))
    residual[BIN == 2, 50] += 1.5
    residual[:, 120] -= 1.5
    residual[17, 33] = 12.0
    found = screen(residual, USED, BIN, BINS)
    assert np.argwhere(found.static).tolist() == [[2, 50]]
    assert np.flatnonzero(found.light).tolist() == [120]
    assert np.argwhere(found.spikes).tolist() == [[17, 33]]


def test_screening__faults_beside_each_other_are_faults():
    """Two pixels in a row, one in each of two bins, and one that has pulled the fit."""
    residual = np.random.default_rng(9).standard_normal((ROWS, PIXELS))
    residual[BIN == 2, 50:52] += 1.5
    residual[BIN == 0, 80] += 2.0
    residual[BIN == 1, 81] -= 2.0
    residual[BIN == 3, 100] += 3.0
    residual[BIN != 3, 99:102] -= 0.45
    found = screen(residual, USED, BIN, BINS)
    wrong = [[0, 80], [1, 81], [2, 50], [2, 51], [3, 100]]
    assert np.argwhere(found.static).tolist() == wrong
    assert not found.light[[50, 51, 80, 81, 100]].any()
    later = screen(np.where(found.masked(BIN), 0.0, residual), USED, BIN, BINS)
    both = found.and_then(later)
    assert both.static.sum() >= found.static.sum()
    assert (both.share >= found.share).all()


def test_screening__nothing_is_masked_without_noise():
    """What is left of an exact fit is rounding, and no spike."""
    residual = 1e-6 * np.random.default_rng(7).standard_cauchy((ROWS, PIXELS))
    found = screen(residual, USED, BIN, BINS)
    assert not found.masked(BIN).any()


def test_screening__a_broken_row_leaves_as_a_whole():
    residual = np.random.default_rng(8).standard_normal((ROWS, PIXELS))
    residual[40, ::2] += 50.0
    found = screen(residual, USED, BIN, BINS)
    assert found.spikes[40].all()
    assert found.spikes.sum() == PIXELS


@pytest.mark.parametrize("fraction", [0.05, 0.25])
def test_screening__spikes_count_in_what_is_left_out(fraction):
    """As static pixels do: where much is left out the rest is not believed."""
    rng = np.random.default_rng(12)
    residual = rng.standard_normal((ROWS, PIXELS))
    hit = np.zeros_like(USED)
    hit[:, 1::2] = rng.random((ROWS, PIXELS // 2)) < 2.0 * fraction
    hit &= np.isin(BIN, [1])[:, None]  # of one bin
    residual[hit] += 30.0
    found = screen(residual, USED, BIN, BINS)
    assert found.share[1] == pytest.approx(fraction, rel=0.6)
    assert (found.share[[0, 2, 3]] < 0.01).all()
    assert (found.share[1] > verdict.MASKED) == (fraction > verdict.MASKED)


def end_of(fields, wave_sigma=0.0):
    """End of a fit of three elements that all rows share."""
    none = np.zeros_like(fields[:, 0])
    seen = Whitened.plain(fields, none, np.ones_like(none))
    space = StateSpace((independent("amount", 1.0, size=fields.shape[1]),))
    expand = Expansion(space, {}, BIN, ("amount",), common=())
    return End(seen, expand, HEIGHT, np.arange(5.0), None, wave_sigma)


def test_along_rows__is_the_covariance_of_correlated_rows():
    """Against the product with the whole matrix of the rows' correlation."""
    rng = np.random.default_rng(13)
    end = end_of(rng.normal(size=(ROWS, 3, PIXELS)))
    gain = rng.normal(size=(2, 3))
    rho = np.array([0.5, 0.0, 0.2])
    measured = noise.Noise(1.3, np.zeros(5), rho, 1e-9, 1e-9)
    whole = np.zeros((ROWS, ROWS))
    for number in range(BINS):
        mine = np.flatnonzero(number == BIN)
        for lag, value in enumerate(rho, 1):
            whole[mine[lag:], mine[:-lag]] = whole[mine[:-lag], mine[lag:]] = value
    seen = np.einsum("qe,rep->rqp", gain, end.seen.fields)
    expected = 1.3 * np.einsum("rqp,rs,stp->qt", seen, whole, seen)
    np.testing.assert_allclose(end.along_rows(gain, BIN, measured), expected)
    nothing = noise.Noise(1.0, np.zeros(5), 0.0 * rho, 1e-9, 1e-9)
    assert not end.along_rows(gain, BIN, nothing).any()


def test_pattern__in_units_of_what_waves_leave():
    """White noise less the waves fitted to it: one again, on the average of draws."""
    found = {"raw": [], "told": []}
    for seed in range(24):
        rng = np.random.default_rng(seed)
        end = end_of(np.zeros((ROWS, 1, PIXELS)), wave_sigma=10.0)
        residual = rng.standard_normal((ROWS, PIXELS))
        columns = end.modes[:, :, None, None] * end.waves
        flat = columns.transpose(1, 3, 0, 2).reshape(residual.size, -1)
        left = residual.ravel()
        left = left - flat @ np.linalg.solve(flat.T @ flat, flat.T @ left)
        left = left.reshape(residual.shape)
        found["raw"].append(noise.stacked(left, USED, HEIGHT))
        found["told"].append(
            noise.stacked(left, USED, HEIGHT, expected=end.left_by_waves())
        )
    assert np.mean(found["told"]) == pytest.approx(1.0, abs=0.05)
    assert np.mean(found["raw"]) < 0.94


@pytest.mark.parametrize("rough", [False, True])
def test_layer__smoothing_is_of_what_it_sees_elsewhere(rough):
    """With an a priori it is what the posterior has beyond noise; else it is there."""
    rng = np.random.default_rng(14)
    altitude = np.arange(30.0)
    covariance = exponential_covariance(altitude, np.full(30, 2.0), 4.0)
    space = StateSpace((Block("ch4", np.zeros(30), covariance, "level"),))
    root = rng.normal(size=(40, 30))
    matrix = root.T @ root * 0.05
    constraint = space.constraint
    if rough:
        step = np.diff(np.eye(30), axis=0)
        constraint = 3.0 * step.T @ step
    inside = np.arange(5, 15)
    made = of_layer(matrix, constraint, space, np.zeros(30), np.zeros(30), inside)
    off = made.kernel.copy()
    assert off[inside].sum() == pytest.approx(1.0, abs=1e-3)
    off[inside] = 0.0
    smoothing = off @ covariance @ off
    assert smoothing > 0.0
    if not rough:
        # the a priori of the levels outside holds theirs alone
        outside = np.setdiff1d(np.arange(30), inside)
        basis = np.zeros((30, 21))
        basis[inside, 0], basis[outside, 1 + np.arange(20)] = 1.0, 1.0
        held = np.zeros((21, 21))
        held[1:, 1:] = np.linalg.inv(covariance[np.ix_(outside, outside)])
        whole = np.linalg.inv(basis.T @ matrix @ basis + held)[0, 0]
        white = made.weights @ matrix @ made.weights
        assert white + smoothing == pytest.approx(whole, rel=1e-4)


def test_masked__row_by_row_as_if_the_pixels_were_never_there():
    """Masking afterwards equals fitting the baselines without those pixels."""
    rng = np.random.default_rng(9)
    masked = rng.random((ROWS, PIXELS)) < 0.05
    values = rng.standard_normal((ROWS, PIXELS))
    after = seen_with(values).without(masked)
    position = np.linspace(-1.0, 1.0, PIXELS)
    for row in (0, 11):
        keep = ~masked[row]
        q = np.linalg.qr(np.vander(position[keep], 5))[0]
        left = values[row, keep] - q @ (q.T @ values[row, keep])
        np.testing.assert_allclose(after.residual[row, keep], left, atol=1e-5)
        assert not after.residual[row, ~keep].any()


def test_manifolds__peaks_of_their_own_and_a_rest():
    pixel = np.arange(PIXELS)
    information = np.exp(-0.5 * ((pixel - 40) / 1.5) ** 2)
    information += 0.3 * np.exp(-0.5 * ((pixel - 140) / 1.5) ** 2)
    information += 0.001 * np.exp(-0.5 * ((pixel - 90) / 1.5) ** 2)
    (group,), (share,) = consistency.manifolds(information[None])
    assert group[40] != group[140]
    assert share[group[40]] == pytest.approx(0.77, abs=0.02)
    assert share[group[140]] == pytest.approx(0.23, abs=0.02)


def test_manifolds__wide_ones_are_cut():
    wide = np.exp(-0.5 * ((np.arange(PIXELS) - 90) / 20.0) ** 2)
    (group,), (share,) = consistency.manifolds(wide[None])
    assert share.size >= 60 // consistency.WIDEST_PX
    # flanks that hold next to nothing belong to the outermost parts
    strong = np.where(wide > 0.02, group, -1)
    assert np.bincount(strong[strong >= 0]).max() <= consistency.WIDEST_PX
    assert (group[wide > 0.0] >= 0).all()


def test_agreement__false_alarms_are_as_rare_as_it_says():
    rng = np.random.default_rng(10)
    n = 2 * len(consistency.HATS_KM)  # of each of three groups
    root = rng.normal(size=(3 * n, 3 * n))
    v = root @ root.T / (3 * n) + np.eye(3 * n)
    factor = np.linalg.cholesky(v)
    responses = rng.normal(size=(2, 3 * n))
    known = v, responses, 1.0, np.ones(3), np.ones((3, 2))
    found = [
        consistency.agreement(factor @ rng.standard_normal(3 * n), *known)
        for _ in range(600)
    ]
    p = np.array([one.probability for one in found])
    assert np.mean(p < 0.05) < 0.08
    assert np.mean(p < 0.01) < 0.02
    # and what one group alone has is seen, and is an error of what depends on it
    off = np.zeros(3 * n)
    off[: n // 2] = 8.0 * np.sqrt(np.diag(v)[: n // 2])
    seen = consistency.agreement(off, *known)
    assert seen.probability < 1e-4
    assert (seen.error > 0.0).all()


def _error(probability, shift, feature=1e4, variance=1.0):
    """Error of one quantity with three manifolds, of which the first changes it."""
    return consistency.Agreement(
        probability,
        np.array([[shift], [0.0], [0.0]]),
        np.array([[variance], [0.04], [0.04]]),
        np.array([[feature], [0.2 * feature], [0.2 * feature]]),
        np.array([0.8, 0.1, 0.1]),
    ).error[0]


def test_agreement__error_is_what_a_feature_may_do():
    """Little where all agree, the whole change where they do not, and no step between.

    A feature of 1e-3 changes the quantity by ten standard errors of the change that is
    seen when its manifold is left out.
    """
    agreed = _error(0.5, 0.0)
    assert 0.1 < agreed < 0.5
    steps = np.array([_error(0.5, x) for x in np.linspace(0.0, 6.0, 61)])
    assert (np.diff(steps) > 0.0).all()
    assert np.diff(steps).max() < 0.35
    assert steps[-1] == pytest.approx(6.0, rel=0.05)
    # what the test says counts too, and never makes less of it
    by_test = np.array([_error(p, 1.0) for p in (0.5, 0.1, 1e-2, 1e-4, 1e-12)])
    assert (np.diff(by_test) > 0.0).all()
    # of a quantity that no feature moves, or that one manifold tells: what may be
    assert _error(1e-12, 5.0, feature=0.0) == 0.0
    blind = _error(1.0, 0.0, variance=1e8)
    assert 1.0 < blind < 10.0
    assert np.isfinite(_error(0.0, 1e6, variance=1e-30))


def test_verdict__of_noise():
    assert verdict.of_noise(1.0, 0.0, 1.0) == set()
    assert verdict.of_noise(4.0, 0.0) == {"noise_inconsistent"}
    assert verdict.of_noise(1.0, 0.4) == {"correlated_residuals"}
    assert verdict.of_noise(1.0, 0.0, 2.0) == {"pattern_in_residual"}
    assert "poor_fit" in verdict.of_noise(1.0, 0.0, 5.0)
    assert "poor_fit" in verdict.of_noise(100.0, 0.0)


# through a whole retrieval


@pytest.fixture(scope="module")
def quiet():
    """An occultation of order 136 without methane, without noise, in few orders."""
    from tgo_spectra.simulate import simulate_level1

    return simulate_level1(order=136, noise=False, snr=2200.0, seed=3, **NEAR)


@pytest.fixture(scope="module")
def setup():
    return tgo.load_setup("so_136").replace(instrument=NEAR)


def disturbed(quiet, seed, factor=None, noise_of=None):
    level1 = quiet.level1
    y, error = level1.transmittance.values, level1.transmittance_error.values
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(y.shape) if noise_of is None else noise_of(rng, y.shape)
    if factor is not None:
        y = y * factor
    return level1.assign(
        transmittance=level1.transmittance.copy(data=y + error * drawn)
    )


def every_third(level1):
    """Spectra of all bins, a third of them."""
    return level1.isel(spectrum=slice(0, None, 3))


def flags(result):
    return set(quality.names(result.quality_flag.values))


def test_retrieval__of_white_noise_is_trusted(quiet, setup):
    result = tgo.retrieve(every_third(disturbed(quiet, 1)), setup)
    assert flags(result) == {"reference_atmosphere", "interferents_missing"}
    assert abs(float(result.ch4_layer_vmr)) < 3.0 * float(result.ch4_layer_vmr_error)
    assert float(result.ch4_layer_vmr_error) < 2.1e-11
    assert not result.ch4_detected.any()


@pytest.mark.parametrize("depth", [1e-3, 3e-3])
def test_retrieval__an_alien_line_is_no_methane(quiet, setup, depth):
    """On the strongest manifold, at all heights: flagged, and never detected."""
    nu = quiet.level1.wavenumber.values
    at = np.argmin(np.abs(nu - 3067.2))
    line = 1.0 - depth * np.exp(-0.5 * ((np.arange(nu.size) - at) / 1.2) ** 2)
    level1 = disturbed(quiet, 2, factor=line)
    # a third of the spectra tell of what is as strong
    result = tgo.retrieve(level1 if depth < 3e-3 else every_third(level1), setup)
    assert "lines_disagree" in flags(result)
    assert not result.ch4_detected.any()
    assert not int(result.ch4_layer_detected)


def test_retrieval__correlated_noise_widens_the_errors(quiet, setup):
    def running(rng, shape):
        values = rng.standard_normal(shape)
        for p in range(1, shape[1]):
            values[:, p] = 0.5 * values[:, p - 1] + np.sqrt(0.75) * values[:, p]
        return values

    white = tgo.retrieve(every_third(disturbed(quiet, 3)), setup)
    noise = disturbed(quiet, 3, noise_of=running)
    result = tgo.retrieve(every_third(noise), setup)
    assert "correlated_residuals" in flags(result)
    assert not quality.severe(result.quality_flag.values)
    ratio = result.ch4_layer_vmr_noise_error / white.ch4_layer_vmr_noise_error
    assert 1.3 < float(ratio) < 1.7


@pytest.mark.parametrize("shift", [-8.0, 7.8])
def test_retrieval__a_far_shift_that_fits_is_no_reason_against_it(setup, shift):
    """The search goes on from its edge; how far the scale is off says nothing."""
    from tgo_spectra.simulate import simulate_level1

    made = simulate_level1(order=136, snr=2200.0, seed=3, shift_px=shift,
                           bin_shift_px=(0.0,) * 4, **NEAR)  # fmt: skip
    result = tgo.retrieve(made.level1.isel(spectrum=slice(0, None, 4)), setup)
    assert not quality.severe(result.quality_flag.values), flags(result)
    np.testing.assert_allclose(result.wavenumber_shift, shift, atol=0.1)


@pytest.mark.parametrize("name", ["layer", "level"])
def test_agreement__one_manifold_makes_no_detection(name):
    """What is left without any one of them must stand by itself."""
    column = {"level": 0, "layer": 1}[name]
    shift, variance = np.zeros((3, 2)), np.full((3, 2), 4.0)
    feature = np.zeros((3, 2))
    found = consistency.Agreement(0.5, shift, variance, feature, np.full(3, 1 / 3))
    chosen = slice(column, column + 1)
    error = np.array([2.0])
    assert found.needed(error, chosen) == pytest.approx(3.0 * np.sqrt(8.0))
    # without the second manifold most of it is gone
    shift[1, column] = -40.0
    assert found.needed(error, chosen) == pytest.approx(40.0 + 3.0 * np.sqrt(8.0))
    # of which one alone is seen nothing more can be asked
    assert consistency.Agreement.none(2).needed(error, chosen) == -np.inf
