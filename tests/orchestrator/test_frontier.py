"""The frontier against brute force: at every multiplier it says what choosing by net value comes to."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import select_at_multiplier
from orchestrator.selection.frontier import find_frontier
from orchestrator.selection.value import net_value


@st.composite
def tables(draw, most_queries=12):
    """Success and cost of few levels, so that ties, free experts and equal slopes are common."""
    n, m = draw(st.integers(1, most_queries)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([2, 5, 1000]))
    success = rng.integers(0, levels + 1, (n, m)) / levels
    cost = rng.integers(0, levels + 1, (n, m)) * 10.0 ** draw(st.integers(-9, 2))
    return success.astype(draw(st.sampled_from([np.float32, np.float64]))), cost


def every_slope(success, cost):
    """The rates at which any expert buys success over any other: no choice changes elsewhere."""
    rates = {0.0}
    for s, c in zip(np.asarray(success, float), cost, strict=True):
        for i, j in itertools.permutations(range(len(s)), 2):
            if s[i] > s[j] and c[i] > c[j]:
                rates.add((s[i] - s[j]) / (c[i] - c[j]))
    return np.array(sorted(rates))


@settings(max_examples=150, deadline=None)
@given(tables())
def test_between_any_two_rates_it_is_what_choosing_comes_to(table):
    success, cost = table
    frontier = find_frontier(success, cost)
    rates = every_slope(success, cost)
    rows = np.arange(len(success))
    between = np.append((rates[:-1] + rates[1:]) / 2, rates[-1] * 2 + 1)
    apart = np.append(rates[1:] > rates[:-1] * (1 + 1e-6), True)
    for multiplier in between[apart]:
        choice = select_at_multiplier(success, cost, multiplier)
        at = int(np.searchsorted(frontier.multipliers, multiplier, side="right")) - 1
        assert frontier.cost_usd[at] == pytest.approx(cost[rows, choice].mean(), rel=1e-9, abs=1e-300)
        assert frontier.success[at] == pytest.approx(
            success[rows, choice].mean(dtype=np.float64), rel=1e-6, abs=1e-9
        )
        assert np.array_equal(cost[rows, frontier.choose(np.array([multiplier]))[0]], cost[rows, choice])


@settings(max_examples=150, deadline=None)
@given(tables())
def test_it_has_no_setting_too_many_and_says_who_ties(table):
    success, cost = table
    frontier = find_frontier(success, cost)
    assert frontier.multipliers[0] == 0
    assert (np.diff(frontier.multipliers) > 0).all()
    assert (np.diff(frontier.cost_usd) < 0).all()
    assert (np.diff(frontier.success) < 0).all()
    assert not len(frontier.tied(0))
    chosen = frontier.choose(frontier.inside(np.arange(len(frontier.multipliers))))
    wide = success.astype(float)
    for setting in range(1, len(frontier.multipliers)):
        changed = np.flatnonzero(chosen[setting] != chosen[setting - 1])
        tied = np.unique(frontier.tied(setting))
        assert np.array_equal(changed, tied)
        value = net_value(wide[tied], cost[tied], frontier.multipliers[setting])
        both = [value[np.arange(len(tied)), chosen[at, tied]] for at in (setting - 1, setting)]
        assert both[0] == pytest.approx(both[1], abs=1e-8)


@settings(max_examples=100, deadline=None)
@given(tables(most_queries=4), st.floats(0, 1.2))
def test_of_all_plans_within_a_spend_none_is_above_the_frontier(table, share):
    success, cost = table
    frontier = find_frontier(success, cost)
    low, high = cost.min(axis=1).mean(), cost.max(axis=1).mean()
    budget = low + share * (high - low)
    at = frontier.setting_at_spend(budget)
    assert frontier.cost_usd[at] <= budget * (1 + 1e-9)
    plans = np.array(list(itertools.product(range(cost.shape[1]), repeat=len(cost))))
    rows = np.arange(len(cost))
    spent, earned = cost[rows, plans].mean(axis=1), success[rows, plans].mean(axis=1, dtype=np.float64)
    best = earned[spent <= budget * (1 + 1e-9)].max()
    # the tied queries of the setting before, in part: the linear relaxation bounds every plan
    before = max(at - 1, 0)
    width = frontier.cost_usd[before] - frontier.cost_usd[at]
    part = 0.0 if width <= 0 else min((budget - frontier.cost_usd[at]) / width, 1.0)
    bound = frontier.success[at] + part * (frontier.success[before] - frontier.success[at])
    assert best <= bound + 1e-6
    multiplier = frontier.multiplier_at_spend(budget)
    if multiplier > 0:
        assert multiplier >= frontier.multipliers[at]


def test_a_spend_below_the_cheapest_asks_for_the_cheapest():
    rng = np.random.default_rng(0)
    success, cost = rng.random((50, 4)), rng.random((50, 4)) + 0.5
    multiplier = find_frontier(success, cost).multiplier_at_spend(0.1)
    assert np.isfinite(multiplier)
    assert np.array_equal(select_at_multiplier(success, cost, multiplier), cost.argmin(axis=1))


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e9])
def test_prices_that_are_nothing_or_huge_are_taken(scale):
    success = np.array([[0.1, 0.9], [0.5, 0.5]])
    cost = np.array([[0.0, scale], [0.0, 0.0]])
    frontier = find_frontier(success, cost)
    assert frontier.cost_usd.tolist() == [scale / 2, 0.0]
    assert np.isfinite(frontier.multipliers).all()
    assert frontier.settings().tolist() == [0.0, np.inf]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_thinned_settings_are_even_in_log_cost_and_keep_both_ends(seed, count):
    rng = np.random.default_rng(seed)
    success = np.sort(rng.random((200, 5)), axis=1)
    cost = np.geomspace(1e-5, 1e-2, 5) * rng.uniform(0.5, 2, (200, 1))
    frontier = find_frontier(success, cost)
    kept = frontier.thin(count)
    assert (kept[0], kept[-1]) == (0, len(frontier.multipliers) - 1)
    assert len(kept) <= count
    log_cost = np.log(frontier.cost_usd)
    step = (log_cost[0] - log_cost[-1]) / (count - 1)
    largest_jump = -np.diff(log_cost).min()
    assert -np.diff(log_cost[kept]).min() <= step + largest_jump + 1e-9
    assert np.array_equal(frontier.thin(10**6), np.arange(len(frontier.multipliers)))


@settings(max_examples=50, deadline=None)
@given(tables(), st.integers(0, 1000))
def test_means_of_any_table_under_any_weights(table, seed):
    success, cost = table
    rng = np.random.default_rng(seed)
    frontier = find_frontier(success, cost)
    values = rng.random(success.shape)
    weights = rng.integers(0, 4, (3, len(success))) + 0.5
    chosen = frontier.choose(frontier.inside(np.arange(len(frontier.multipliers))))
    cells = values[np.arange(len(success)), chosen]  # [k, n]
    expected = (weights / weights.sum(axis=1, keepdims=True)) @ cells.T
    assert frontier.mean_of(values, weights) == pytest.approx(expected)
    assert frontier.mean_of(values) == pytest.approx(cells.mean(axis=1))
