import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.selection.budget_pacer import BudgetPacer
from orchestrator.selection.selector import select_at_multiplier
from warehouse import InputError


def stream(n, m, seed):
    rng = np.random.default_rng(seed)
    hard = rng.random((n, 1))
    skill = np.linspace(0.3, 0.9, m)
    success = np.clip(skill - 0.5 * hard * rng.random((n, m)), 0, 1)
    cost = np.geomspace(1e-4, 1e-2, m) * rng.uniform(0.7, 1.3, (n, 1))
    return success, cost


def run(pacer, success, cost, paid, ceiling=None):
    earned = 0.0
    for i in range(len(success)):
        reservation = pacer.reserve(success[i], cost[i], ceiling_usd=None if ceiling is None else ceiling[i])
        if reservation is not None:
            j = reservation.expert
            pacer.settle(reservation, expected_usd=cost[i, j], paid_usd=paid[i, j])
            earned += success[i, j]
        assert pacer.spent_usd <= pacer.budget_usd * (1 + 1e-12)
    return earned


def best_fixed(success, cost, budget):
    rows = np.arange(len(success))
    best = 0.0
    for multiplier in np.append(np.geomspace(1, 1e5, 200), 0.0):
        choice = select_at_multiplier(success, cost, multiplier)
        if cost[rows, choice].sum() <= budget:
            best = max(best, success[rows, choice].sum())
    return best


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("order", ["random", "easy first", "hard first"])
def test_it_spends_the_budget_well_in_any_order(share, order):
    success, cost = stream(2000, 5, 0)
    before, before_cost = stream(500, 5, 1)
    if order != "random":
        by_gain = np.argsort(success[:, -1] - success[:, 0])
        success, cost = (a[by_gain if order == "hard first" else by_gain[::-1]] for a in (success, cost))
    budget = share * cost[:, -1].sum()
    pacer = BudgetPacer(budget, len(success), sample_success=before, sample_cost_usd=before_cost)
    earned = run(pacer, success, cost, cost)
    assert earned >= best_fixed(success, cost, budget) - 0.01 * len(success)
    assert pacer.spent_usd >= 0.97 * budget


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.002, 1.5), st.integers(1, 5))
def test_spend_never_exceeds_the_budget_whatever_prices_turn_out_to_be(seed, share, m):
    success, cost = stream(150, m, seed)
    rng = np.random.default_rng(seed)
    paid = cost * rng.uniform(0, 3, cost.shape)
    budget = share * cost.max(axis=1).sum()
    pacer = BudgetPacer(
        budget, int(rng.integers(1, 300)), sample_success=success[:20], sample_cost_usd=cost[:20]
    )
    run(pacer, success, cost, paid, ceiling=3 * cost)
    assert pacer.reserved_usd == pytest.approx(0, abs=1e-12)


def test_mispriced_experts_are_noticed():
    success, cost = stream(3000, 4, 2)
    paid = cost * np.array([1.0, 1.0, 1.0, 2.5])
    budget = 0.3 * paid[:, -1].sum()
    pacer = BudgetPacer(budget, len(success), sample_success=success[:200], sample_cost_usd=cost[:200])
    earned = run(pacer, success, cost, paid, ceiling=2.5 * cost)
    assert earned >= best_fixed(success, paid, budget) - 0.02 * len(success)


def test_a_budget_of_nothing_is_bad_input():
    with pytest.raises(InputError, match="cannot be held"):
        BudgetPacer(0.0, 10, sample_success=np.ones((1, 2)), sample_cost_usd=np.ones((1, 2)))
