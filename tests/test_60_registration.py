"""The search for a shift of whole pixels."""

from __future__ import annotations

import numpy as np
import pytest

from tgo_spectra.retrieval.spectra import best_shift, compare_shifts

REACH, PIXELS = 4, 120
LONG = np.arange(-REACH, PIXELS + REACH)
POLYNOMIALS = np.polynomial.legendre.legvander(np.linspace(-1, 1, PIXELS), 2).T


def depth(places, width=1.7):
    return sum(np.exp(-0.5 * ((LONG - place) / width) ** 2) for place in places)


VALUE = np.exp(-0.3 * depth((20, 47, 90)))
FIELD = -depth((33, 71)) * VALUE


def compared(shift, amount, noise=1e-3, **options):
    """One spectrum with a slope and an amount of a second gas, and its mirror image."""
    seen = slice(REACH + shift, REACH + shift + PIXELS)
    rng = np.random.default_rng(5)
    y = (VALUE + amount * FIELD)[seen] * (2.0 + POLYNOMIALS[1])
    y = np.array([y, -y]) + noise * rng.standard_normal((2, PIXELS))
    weight = np.full(y.shape, 1.0 / noise)
    weight[:, 50:55], y[:, 50:55] = 0.0, 99.0
    return compare_shifts(
        y, weight, np.tile(VALUE, (2, 1)), np.tile(FIELD, (2, 1, 1)), POLYNOMIALS,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize("shift", [-4, -1, 0, 3])
@pytest.mark.parametrize("every", [1, 3])
def test_search__finds_shift_and_amount(shift, every):
    chi, step = compared(shift, 0.02, every=every)
    assert chi.shape == (2, 2 * REACH + 1)
    assert best_shift(chi).tolist() == [shift, shift]
    assert step[:, shift + REACH, 0] == pytest.approx(0.02, abs=0.01)
    used = np.sum(np.r_[np.ones(50), np.zeros(5), np.ones(65)][::every]) - 4
    assert (abs(chi[:, shift + REACH] - used) < 4 * np.sqrt(2 * used)).all()


def test_search__a_gain_too_small_is_none():
    chi, _ = compared(2, 0.0)
    gain = chi[:, REACH] - chi[:, REACH + 2]
    assert best_shift(chi, gain + 1.0).tolist() == [0, 0]
    assert best_shift(chi, gain - 1.0).tolist() == [2, 2]


def test_search__what_is_known_is_not_free():
    _, step = compared(0, 0.02, precision=np.array([1e12]))
    assert np.abs(step).max() < 1e-3


def test_search__without_fields_or_light():
    y = np.tile(VALUE[REACH + 1 : REACH + 1 + PIXELS], (2, 1))
    weight = np.array([np.full(PIXELS, 1e3), np.zeros(PIXELS)])
    chi, step = compare_shifts(
        y, weight, np.tile(VALUE, (2, 1)), np.empty((2, 0, LONG.size)), POLYNOMIALS
    )
    assert step.shape == (2, 2 * REACH + 1, 0)
    assert best_shift(chi).tolist() == [1, 0]
