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


def run(pacer, success, cost, paid, ceiling=None, at_once=1):
    earned, under_way = 0.0, []
    for i in range(len(success)):
        reservation = pacer.reserve(success[i], cost[i], ceiling_usd=None if ceiling is None else ceiling[i])
        if reservation is not None:
            under_way.append((i, reservation))
            earned += success[i, reservation.expert]
        while len(under_way) >= at_once or (under_way and i == len(success) - 1):
            k, settled = under_way.pop(0)
            pacer.settle(settled, expected_usd=cost[k, settled.expert], paid_usd=paid[k, settled.expert])
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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.002, 1.5), st.integers(1, 5), st.booleans())
def test_without_ceilings_no_stream_of_answers_as_learned_from_is_over(seed, share, m, at_once):
    success, cost = stream(150, m, seed)
    rng = np.random.default_rng(seed)
    overrun = rng.uniform(1, 6, m)
    paid = cost * (1 + (2 * overrun - 1) * rng.beta(0.3, 2, cost.shape))  # up to twice the overrun known
    pacer = BudgetPacer(
        share * cost.max(axis=1).sum(),
        150,
        sample_success=success[:20],
        sample_cost_usd=cost[:20],
        overrun=overrun,
    )
    run(pacer, success, cost, paid, at_once=8 if at_once else 1)
    assert pacer.reserved_usd == pytest.approx(0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.sampled_from([None, 0.5]))
def test_a_stream_that_nothing_prepared_for_is_over_by_an_answer_beyond_its_ceiling_at_most(
    seed, share, ceiling
):
    """Costs of another domain, heavy tails, and a jump to tenfold midway; half of the ceilings known."""
    success, cost = stream(300, 4, seed)
    rng = np.random.default_rng(seed)
    paid = cost * rng.uniform(0.2, 5, 4) * (1 + rng.pareto(1.5, cost.shape))
    paid[150:] *= 10
    known = np.where(rng.random(cost.shape) < 0.5, paid, np.nan) if ceiling else None
    budget = share * paid.max(axis=1).sum()
    pacer = BudgetPacer(
        budget, 300, sample_success=success[:20], sample_cost_usd=cost[:20], overrun=np.ones(4)
    )
    beyond = 0.0
    for i in range(300):
        reservation = pacer.reserve(success[i], cost[i], ceiling_usd=None if known is None else known[i])
        if reservation is None:
            continue
        j = reservation.expert
        assert reservation.is_derived == (known is None or np.isnan(known[i, j]))
        pacer.settle(reservation, expected_usd=cost[i, j], paid_usd=paid[i, j])
        if reservation.is_derived:
            beyond = max(beyond, paid[i, j] - reservation.reserved_usd)
        assert pacer.spent_usd <= budget + beyond + 1e-12
        if pacer.spent_usd > budget:
            break
    assert pacer.reserve(success[0], cost[0]) is None or pacer.left_usd >= 0


def test_a_jump_in_cost_is_met_by_the_ceilings_after_it():
    """Answers cost tenfold from the middle on: the first of them shows it, and no stream is over."""
    for seed in range(20):
        success, cost = stream(400, 4, seed)
        paid = cost * np.where(np.arange(400)[:, None] < 200, 1, 10)
        budget = 0.3 * paid.max(axis=1).sum()
        pacer = BudgetPacer(
            budget, 400, sample_success=success[:50], sample_cost_usd=cost[:50], overrun=np.ones(4)
        )
        run(pacer, success, cost, paid)
        assert pacer.spent_usd >= 0.9 * budget


def test_a_budget_of_dear_ceilings_reaches_to_the_last_query():
    """Ceilings of many times the forecast do not leave the end of the stream without an answer."""
    success, cost = stream(500, 4, 3)
    budget = 1.3 * cost.min(axis=1).sum()
    pacer = BudgetPacer(
        budget, 500, sample_success=success[:100], sample_cost_usd=cost[:100], overrun=np.full(4, 5.0)
    )
    unanswered = 0
    for i in range(500):
        reservation = pacer.reserve(success[i], cost[i])
        if reservation is None:
            unanswered += 1
            continue
        pacer.settle(
            reservation, expected_usd=cost[i, reservation.expert], paid_usd=cost[i, reservation.expert]
        )
    assert unanswered == 0
    assert 0.9 * budget <= pacer.spent_usd <= budget


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
