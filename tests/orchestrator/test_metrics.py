import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.evaluation import metrics
from orchestrator.evaluation.measures import setting_at_budget
from orchestrator.selection.hull import convex_hull, hull_value
from orchestrator.selection.sweep import PolicyPoints

SINGLE_COST, SINGLE_QUALITY = [1.0, 3.0], [0.5, 0.7]
points = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12)


def test_hull_drops_what_mixing_beats():
    cost, quality = convex_hull([1, 2, 3, 4], [0.5, 0.52, 0.7, 0.6])
    assert cost.tolist() == [1, 3]
    assert quality.tolist() == [0.5, 0.7]


@settings(max_examples=60, deadline=None)
@given(points)
def test_hull_is_rising_concave_and_above_every_point(pairs):
    cost, quality = np.array(pairs).T
    x, y = convex_hull(cost, quality)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    slopes = np.diff(y) / np.diff(x)
    assert (np.diff(slopes) <= 1e-9 * np.abs(slopes[:-1]) + 1e-12).all()
    assert (hull_value(cost, x, y) >= quality - 1e-9).all()


def test_aiq_of_hand_made_curves():
    # two singles: the zero-router is the straight line between them
    assert metrics.aiq(SINGLE_COST, SINGLE_QUALITY, SINGLE_COST, SINGLE_QUALITY) == pytest.approx(0.6)
    # a router at 0.7 from the cheapest price on
    assert metrics.aiq([1.0], [0.7], SINGLE_COST, SINGLE_QUALITY) == pytest.approx(0.7)
    # a router that begins at cost 2: the zero-router below (0.5 to 0.6), its own 0.7 above
    assert metrics.aiq([2.0], [0.7], SINGLE_COST, SINGLE_QUALITY) == pytest.approx((0.55 + 0.7) / 2)


def test_aiq_over_log_cost_matches_numeric_integration():
    grid = np.exp(np.linspace(0, np.log(3), 200_001))
    numeric = np.trapezoid(np.interp(grid, SINGLE_COST, SINGLE_QUALITY), np.log(grid)) / np.log(3)
    exact = metrics.aiq(SINGLE_COST, SINGLE_QUALITY, SINGLE_COST, SINGLE_QUALITY, log_cost=True)
    assert exact == pytest.approx(numeric, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(points, st.booleans())
def test_a_better_policy_has_no_lower_aiq(pairs, log_cost):
    cost, quality = np.array(pairs).T
    cost = np.clip(cost, 1.0, None)
    one = metrics.aiq(cost, quality, SINGLE_COST, SINGLE_QUALITY, log_cost=log_cost)
    more = metrics.aiq(
        np.append(cost, 1.0), np.append(quality, 1.0), SINGLE_COST, SINGLE_QUALITY, log_cost=log_cost
    )
    assert pytest.approx(more) == 1.0 or more >= one - 1e-12


def test_random_mixing_has_apgr_one_half():
    share = np.linspace(0, 1, 11)
    recovered = metrics.gap_recovered(share, 0.4 + 0.2 * share, weak=0.4, strong=0.6)
    assert recovered.apgr == pytest.approx(0.5)
    assert recovered.cpt == pytest.approx({20: 0.2, 50: 0.5, 80: 0.8})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.3, 0.7)), max_size=10))
def test_apgr_and_cpt_are_shares(pairs):
    share, quality = np.array(pairs).T if pairs else (np.array([]), np.array([]))
    recovered = metrics.gap_recovered(share, quality, weak=0.4, strong=0.6)
    assert recovered.apgr >= 0
    assert all(0 <= value <= 1 for value in recovered.cpt.values())
    assert recovered.cpt[20] <= recovered.cpt[50] <= recovered.cpt[80]


def test_gap_needs_a_better_strong_expert():
    with pytest.raises(ValueError, match="better"):
        metrics.gap_recovered([0.5], [0.5], weak=0.6, strong=0.6)


def test_arena_style_score_of_the_published_example():
    assert metrics.arena_style_score(0.7814, 0.27) == pytest.approx(76.28, abs=0.01)
    assert metrics.arena_style_score(0.8, 500) == 0.0


def test_cost_to_match_and_its_kin():
    cost, quality = [1.0, 2.0, 4.0], [0.5, 0.7, 0.8]
    assert metrics.qnc(cost, quality, best_quality=0.7, best_cost=4.0) == 0.5
    assert metrics.qnc(cost, quality, best_quality=0.9, best_cost=4.0) is None
    assert metrics.perf_gain(quality, 0.64) == pytest.approx(0.25)
    # staircase: 0 to .25 nothing, .25 to .5 at .5, .5 to 1 at .7
    assert metrics.nauc(cost, quality, max_cost=4.0) == pytest.approx(0.25 * 0.5 + 0.5 * 0.7)


def test_optimality_counts_cheapest_correct():
    score = np.array([[1, 1], [0, 1], [1, 1], [0, 0]], float)
    cost = np.tile([1.0, 4.0], (4, 1))
    result = metrics.optimality(np.array([0, 1, 1, 0]), score, cost, weight=np.ones((1, 4)))
    assert result.selection == pytest.approx(2 / 3)
    assert result.cost == pytest.approx((1 + 1 + 0.25) / 3)
    assert result.accuracy == pytest.approx(1.0)


def test_calibration_of_perfect_and_constant_predictions():
    outcome = np.array([0, 0, 1, 1], float)
    assert metrics.expected_calibration_error(outcome, outcome) == 0
    assert metrics.brier_score([0.5] * 4, outcome) == 0.25
    assert metrics.auroc(outcome, outcome) == 1.0
    assert metrics.auroc([0.5] * 4, outcome) == 0.5
    assert metrics.auroc([0.1, 0.2, 0.9], [0, 1, np.nan]) == 1.0


def test_bootstrap_weights_keep_the_number_of_questions():
    weights = metrics.question_weights(50, 20, seed=1)
    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_a_free_expert_leaves_the_log_integral_finite() -> None:
    cost, quality = [0.0, 1.0, 10.0], [0.4, 0.6, 0.8]
    value = metrics.aiq(cost, quality, cost, quality, log_cost=True)
    # from the cheapest price that is one, as if the free expert were not there
    assert value == pytest.approx(metrics.aiq(cost[1:], quality[1:], cost[1:], quality[1:], log_cost=True))
    assert metrics.aiq([0, 2], [0.4, 0.6], [0, 2], [0.4, 0.6], log_cost=True) == 0.6


@given(
    cost=st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=12),
    budget=st.floats(0, 1),
    accuracy=st.integers(0, 2**32 - 1),
)
def test_the_setting_at_a_budget_is_the_dearest_within_it_whatever_it_scored(cost, budget, accuracy):
    cost_usd = np.array(cost)
    score = np.random.default_rng(accuracy).random(cost_usd.shape).astype(np.float32)
    swept = PolicyPoints(score, cost_usd, np.zeros(cost_usd.shape, np.int16))
    chosen = setting_at_budget(swept, budget)
    mean = cost_usd.mean(axis=1)
    within = mean <= budget * (1 + 1e-9)
    if not within.any():
        assert mean[chosen] == mean.min()
    else:
        assert within[chosen]
        assert mean[chosen] == mean[within].max()
    flipped = PolicyPoints(1 - score, cost_usd, swept.choice)
    assert setting_at_budget(flipped, budget) == chosen
