"""Estimates on logged traffic: intervals that cover, no crown for the worse, clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_world import World, draw, true_difference

from orchestrator.off_policy.estimate import LoggedTraffic, compare_policies, estimate_value
from orchestrator.off_policy.intervals import interval_of_mean
from warehouse import InputError, TooFewError


def covered(world: World, method: str = "dr", simulations: int = 100) -> dict[str, float]:
    """Shares of simulations: intervals that hold the truth, and challengers that were told better."""
    success, cost = true_difference(world, draws=4)
    truth = {
        "success_difference": success,
        "cost_difference": cost,
        "value_difference": success - world.multiplier * cost,
    }
    held = dict.fromkeys([*truth, "better"], 0.0)
    for seed in range(simulations):
        drawn = draw(world, seed)
        found = compare_policies(
            drawn.logged, drawn.challenger, drawn.champion, method, multiplier=world.multiplier
        )
        for name, value in truth.items():
            interval = getattr(found, name).interval
            held[name] += (interval.low <= value <= interval.high) / simulations
        held["better"] += found.value_difference.is_above / simulations
    return held


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(requests=5000, rated_share=0.05, explore_share=0.3),
        World(cost_spread=2.0, forecast_error=0.3, multiplier=1.0),
        World(requests=6000, temperature=0.04),
        World(requests=1500, repeats=5, explore_share=0.2),
    ],
    ids=["plain", "rare feedback", "wrong forecasts, skewed costs", "tiny propensities", "conversations"],
)
def test_95_percent_intervals_hold_the_truth(world: World) -> None:
    held = covered(world, simulations=200 if world == World() else 100)
    assert min(held[name] for name in held if name != "better") >= 0.9, held


@pytest.mark.parametrize("method", ["snips", "ips"])
def test_the_other_methods_hold_it_too(method: str) -> None:
    held = covered(World(), method, simulations=100)
    assert min(held[name] for name in held if name != "better") >= 0.9, held


def test_a_worse_challenger_is_seldom_told_better() -> None:
    world = World(worse=0.3)
    success, cost = true_difference(world, draws=4)
    assert success - world.multiplier * cost < 0
    assert covered(world, simulations=200)["better"] <= 0.05


def test_a_much_better_version_is_told_so() -> None:
    drawn = draw(World(requests=20_000, worse=0.9, explore_share=0.2), 0)
    found = compare_policies(drawn.logged, drawn.champion, drawn.challenger, multiplier=10.0)
    assert found.value_difference.is_above
    assert not found.value_difference.is_below
    assert found.success[0].value == pytest.approx(
        (drawn.champion * drawn.success).sum(axis=1).mean(), abs=0.02
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(["dr", "snips", "ips"]))
def test_two_orders_of_a_comparison_are_each_other_s_negative(seed: int, method: str) -> None:
    drawn = draw(World(requests=800, explore_share=0.3), seed)
    one = compare_policies(drawn.logged, drawn.challenger, drawn.champion, method, multiplier=3.0)
    other = compare_policies(drawn.logged, drawn.champion, drawn.challenger, method, multiplier=3.0)
    for name in ("success_difference", "cost_difference", "value_difference"):
        first, second = getattr(one, name), getattr(other, name)
        assert first.value == pytest.approx(-second.value, abs=1e-12)
        assert first.interval.low == pytest.approx(-second.interval.high, abs=1e-9)
    same = compare_policies(drawn.logged, drawn.champion, drawn.champion, method)
    assert (same.value_difference.value, same.value_difference.interval.low) == (0, 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_served_policy_is_worth_what_was_earned(seed: int) -> None:
    drawn = draw(World(requests=500, explore_share=0.5), seed)
    logged = drawn.logged
    for of, earned in (("success", logged.reward), ("cost", logged.cost_usd)):
        found = estimate_value(logged, logged.propensity, "ips", of=of)
        assert found.value == pytest.approx(earned.mean(), rel=1e-9)


def test_published_estimators_agree_with_their_formulas() -> None:
    """Against the sums that the papers give, where nothing is clipped and every answer is rated."""
    logged, policy = (drawn := draw(World(requests=2000, explore_share=0.9), 3)).logged, drawn.challenger
    rows = np.arange(len(logged))
    weight = policy[rows, logged.chosen] / logged.propensity[rows, logged.chosen]
    assert estimate_value(logged, policy, "ips").value == pytest.approx((weight * logged.reward).mean())
    assert estimate_value(logged, policy, "snips").value == pytest.approx(
        (weight * logged.reward).sum() / weight.sum()
    )


def test_little_overlap_is_refused_with_the_share_that_would_do() -> None:
    drawn = draw(World(explore_share=0.0), 0)
    with pytest.raises(TooFewError, match=r"no request was routed at random.*--explore-share"):
        compare_policies(drawn.logged, drawn.challenger, drawn.champion)
    drawn = draw(World(explore_share=0.004, rated_share=0.3), 0)
    with pytest.raises(
        TooFewError, match=r"too little overlap.*about \d+% of requests would have to explore"
    ):
        compare_policies(drawn.logged, drawn.challenger, drawn.champion)
    drawn = draw(World(rated_share=0.0), 0)
    with pytest.raises(TooFewError, match="only 0 of 3,000 requests were rated"):
        compare_policies(drawn.logged, drawn.challenger, drawn.champion)


def test_what_nobody_tried_is_not_taken_for_known() -> None:
    """A version that asks somebody on 4% of the requests whom nothing is known of may be that much worse."""
    drawn = draw(World(requests=6000, explore_share=0.3), 1)
    logged, unknown = drawn.logged, np.arange(6000) < 240
    widened = replace(
        logged,
        experts=(*logged.experts, "new"),
        propensity=np.column_stack([logged.propensity, np.zeros(6000)]),
        success_hat=np.column_stack([logged.success_hat, np.full(6000, np.nan)]),
        cost_hat=np.column_stack([logged.cost_hat, np.full(6000, np.nan)]),
        allowed=np.column_stack([logged.allowed, np.ones(6000, bool)]),
    )
    champion = np.column_stack([drawn.champion, np.zeros(6000)])
    challenger = np.where(unknown[:, None], np.eye(5)[4], champion)
    with pytest.raises(TooFewError, match="hardly explored"):
        compare_policies(widened, challenger, champion)
    both = np.column_stack([drawn.challenger, np.zeros(6000)])
    wide = compare_policies(widened, np.where(unknown[:, None], np.eye(5)[4], both), champion)
    plain = compare_policies(widened, both, champion)
    extra = [
        one.success_difference.interval.high - one.success_difference.interval.low for one in (wide, plain)
    ]
    assert extra[0] > extra[1] + 0.03


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=60),
    shift=st.floats(-100, 100),
    scale=st.floats(0.1, 10),
)
def test_intervals_move_and_stretch_with_their_values(
    values: list[float], shift: float, scale: float
) -> None:
    x, unit = np.array(values), np.arange(len(values))
    plain, moved = interval_of_mean(x, unit), interval_of_mean(scale * x + shift, unit)
    tolerance = 1e-6 * (1 + np.abs(x).max()) * scale + 1e-6 * abs(shift)
    assert plain.low <= x.mean() + tolerance
    assert x.mean() <= plain.high + tolerance
    assert moved.low == pytest.approx(scale * plain.low + shift, abs=tolerance)
    assert moved.high == pytest.approx(scale * plain.high + shift, abs=tolerance)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("reward", 1.5, "reward lies outside"),
        ("propensity", -0.1, "propensity lies outside"),
        ("propensity", 0.5, "do not sum to 1"),
        ("cost_usd", np.nan, "a cost is not a number"),
    ],
)
def test_bad_logs_are_refused(field: str, value: float, said: str) -> None:
    good = draw(World(requests=10, explore_share=1.0), 0).logged
    arrays = {name: getattr(good, name).copy() for name in ("propensity", "reward", "cost_usd")}
    arrays[field].flat[0] = value
    with pytest.raises(InputError, match=said):
        LoggedTraffic.from_arrays(good.experts, good.chosen, **arrays)
