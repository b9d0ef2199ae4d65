"""Exploring: propensities are a distribution over who is allowed, and draws follow it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.selection.exploration import explore, propensities_of
from warehouse import InputError

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 7))
SHARES = st.floats(0, 1)
TEMPERATURES = st.floats(1e-6, 1e6)


@st.composite
def situations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    value = draw(arrays(np.float64, shape, elements=st.floats(-1e15, 1e15)))
    allowed = draw(arrays(np.bool_, shape))
    allowed[np.arange(shape[0]), draw(arrays(np.intp, shape[0], elements=st.integers(0, shape[1] - 1)))] = (
        True
    )
    return value, allowed


@given(situation=situations(), share=SHARES, temperature=TEMPERATURES, seed=st.integers(0, 2**32))
def test_propensities_are_a_distribution_over_who_is_allowed(situation, share, temperature, seed):
    value, allowed = situation
    drawn, propensities = explore(value, allowed, share, temperature, np.random.default_rng(seed))
    assert propensities.shape == value.shape
    np.testing.assert_allclose(propensities.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (propensities >= 0).all()
    assert (propensities[~allowed] == 0).all()
    rows = np.arange(len(value))
    assert (propensities[rows, drawn] > 0).all()  # whoever is drawn could be
    greedy = np.where(allowed, value, -np.inf).argmax(axis=1)
    assert (propensities[rows, greedy] >= 1 - share - 1e-12).all()
    assert (propensities.max(axis=1) <= propensities[rows, greedy] + 1e-12).all()  # nobody before the best


@given(situation=situations(), temperature=TEMPERATURES, seed=st.integers(0, 2**32))
def test_without_a_share_it_is_greedy(situation, temperature, seed):
    value, allowed = situation
    drawn, propensities = explore(value, allowed, 0.0, temperature, np.random.default_rng(seed))
    assert (drawn == np.where(allowed, value, -np.inf).argmax(axis=1)).all()
    assert (propensities[np.arange(len(value)), drawn] == 1).all()


@settings(max_examples=20, deadline=None)
@given(
    value=arrays(np.float64, 5, elements=st.floats(0, 1)),
    allowed=arrays(np.bool_, 5).filter(np.any),
    share=st.floats(0.05, 1),
    temperature=st.floats(0.05, 2),
)
def test_draws_are_as_frequent_as_they_are_said_to_be(value, allowed, share, temperature):
    count = 20_000
    drawn, propensities = explore(
        np.tile(value, (count, 1)), np.tile(allowed, (count, 1)), share, temperature, np.random.default_rng(7)
    )
    expected = propensities[0] * count
    seen = np.bincount(drawn, minlength=5)
    frequent = expected >= 5  # what the test by chi square is good for
    assert seen[~frequent].sum() <= 50
    if frequent.sum() > 1:
        from scipy.stats import chisquare

        total = seen[frequent].sum()
        assert chisquare(seen[frequent], expected[frequent] / expected[frequent].sum() * total).pvalue > 1e-6


def test_a_softmax_of_known_values():
    propensities = propensities_of(np.array([[0.5, 0.4, 9.0]]), np.array([[True, True, False]]), 0.5, 0.1)
    second = 0.5 / (np.e + 1)
    np.testing.assert_allclose(propensities, [[1 - second, second, 0]])


@pytest.mark.parametrize(
    ("share", "temperature", "told"),
    [(1.5, 0.1, "1.5"), (-0.1, 0.1, "share"), (float("nan"), 0.1, "share"), (0.1, 0.0, "temperature")],
)
def test_settings_that_mean_nothing_are_refused(share, temperature, told):
    with pytest.raises(InputError, match=told):
        propensities_of(np.zeros((1, 2)), np.ones((1, 2), bool), share, temperature)


def test_a_row_that_allows_nobody_is_named():
    with pytest.raises(InputError, match="query 2"):
        propensities_of(np.zeros((2, 2)), np.array([[True, True], [False, False]]), 0.1, 0.1)
