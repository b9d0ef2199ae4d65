import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Prediction, select_at_multiplier, select_batch
from orchestrator.selection.selector import select_again
from warehouse import InfeasibleError


def made_up(n, m, seed):
    rng = np.random.default_rng(seed)
    return Prediction(
        tuple(f"e{j}" for j in range(m)),
        rng.random((n, m)).astype(np.float32),
        rng.lognormal(-8, 1, (n, m)),
    )


def test_multiplier_zero_takes_the_most_successful_and_infinity_the_cheapest():
    p = made_up(50, 4, 0)
    assert (select_at_multiplier(p.success, p.cost_usd, 0.0) == p.success.argmax(axis=1)).all()
    assert (select_at_multiplier(p.success, p.cost_usd, np.inf) == p.cost_usd.argmin(axis=1)).all()


def test_ties_go_to_the_cheaper():
    assert select_at_multiplier(np.array([[0.5, 0.5]]), np.array([[2.0, 1.0]]), 0.0).tolist() == [1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.floats(0, 1.2))
def test_batch_never_overspends_and_its_bound_holds(seed, n, m, share):
    p = made_up(n, m, seed)
    low, high = p.cost_usd.min(axis=1).sum(), p.cost_usd.max(axis=1).sum()
    budget = low + share * (high - low) + 1e-15
    selection = select_batch(p, budget)
    rows = np.arange(n)
    assert p.cost_usd[rows, selection.choice].sum() <= budget * (1 + 1e-12)
    best = max(
        sum(float(p.success[i, j]) for i, j in enumerate(choice))
        for choice in itertools.product(range(m), repeat=n)
        if sum(p.cost_usd[i, j] for i, j in enumerate(choice)) <= budget
    )
    assert selection.bound >= best - 1e-5
    assert selection.success <= best + 1e-5
    assert selection.gap >= 0


def test_gap_is_tiny_on_a_large_batch():
    p = made_up(20_000, 8, 1)
    budget = 0.3 * p.cost_usd.max(axis=1).sum()
    selection = select_batch(p, budget)
    assert selection.gap < 1e-5
    assert selection.cost_usd <= budget


def test_a_budget_below_the_cheapest_choice_is_bad_input():
    p = made_up(10, 3, 2)
    with pytest.raises(InfeasibleError, match="does not cover"):
        select_batch(p, 0.5 * p.cost_usd.min(axis=1).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.integers(1, 10))
def test_solved_again_after_every_part_a_batch_keeps_its_dollars_though_forecasts_are_off(seed, share, parts):
    p = made_up(300, 4, seed)
    rng = np.random.default_rng(seed)
    really = p.cost_usd * rng.uniform(0.5, 1.6, 4) * rng.uniform(0.8, 1.2, p.cost_usd.shape)
    low, high = really.min(axis=1).sum(), really.max(axis=1).sum()
    budget = max(low + share * (high - low), 1.6 * p.cost_usd.min(axis=1).sum())
    answered_by, paid = np.full(300, -1), np.zeros(300)
    for part in np.array_split(rng.permutation(300), parts):
        selection = select_again(p, budget, answered_by=answered_by, paid_usd=paid)
        done = answered_by >= 0
        assert np.array_equal(selection.choice[done], answered_by[done])
        assert paid.sum() <= selection.cost_usd <= budget * (1 + 1e-12)
        answered_by[part] = selection.choice[part]
        paid[part] = really[part, selection.choice[part]]
    # what the last part's forecasts were off by is all that nothing could make up for
    assert paid.sum() <= budget + 0.9 * paid[part].sum()
    assert select_again(
        p, budget + paid.sum(), answered_by=answered_by, paid_usd=paid
    ).cost_usd == pytest.approx(paid.sum())


def test_a_batch_that_has_spent_its_budget_says_so():
    p = made_up(10, 3, 2)
    with pytest.raises(InfeasibleError, match="answers so far cost"):
        select_again(p, 1.0, answered_by=np.array([0] + [-1] * 9), paid_usd=np.full(10, 2.0))
