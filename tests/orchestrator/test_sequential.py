"""A canary that is looked at all the time: its error is kept, and what it shows is acted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logged_world import draw_canary

from orchestrator.off_policy.sequential import (
    CanaryDecision,
    CanaryLog,
    CanaryRule,
    bounds_of_bounded,
    bounds_of_unbounded,
    judge_canary,
    replay_canary,
)

RULE = CanaryRule(multiplier=20.0, most_units=10**9)


def first_verdict(log: CanaryLog, rule: CanaryRule = RULE) -> CanaryDecision:
    return next(
        (said for said in replay_canary(log, rule) if said != CanaryDecision.GO_ON), CanaryDecision.GO_ON
    )


@pytest.mark.parametrize(
    "world",
    [
        {},
        {"share": 0.02},
        {"rated": 0.05, "units": 4000},
        {"spread": 2.0},
    ],
    ids=["plain", "small share", "rare feedback", "skewed costs"],
)
@pytest.mark.parametrize("multiplier", [20.0, 400.0])
def test_equal_versions_are_seldom_told_apart_however_often_one_looks(
    world: dict[str, float], multiplier: float
) -> None:
    rule = CanaryRule(multiplier, most_units=10**9)
    said = [first_verdict(draw_canary(seed, **world), rule) for seed in range(250)]  # 1,000 a multiplier
    assert said.count(CanaryDecision.PROMOTE) / len(said) <= 0.05
    assert said.count(CanaryDecision.STOP) / len(said) <= 0.05


def test_a_worse_challenger_is_stopped_and_a_better_one_promoted() -> None:
    worse = [first_verdict(draw_canary(seed, better=-0.15, share=0.3, units=5000)) for seed in range(20)]
    better = [first_verdict(draw_canary(seed, better=0.15, share=0.3, units=5000)) for seed in range(20)]
    assert worse.count(CanaryDecision.STOP) >= 19
    assert CanaryDecision.PROMOTE not in worse
    assert better.count(CanaryDecision.PROMOTE) >= 19
    assert CanaryDecision.STOP not in better


def test_a_cheaper_challenger_is_promoted_where_cost_counts() -> None:
    log = draw_canary(1, dearer=0.3, share=0.5, units=8000)
    assert first_verdict(log, CanaryRule(200.0)) == CanaryDecision.PROMOTE
    assert first_verdict(log, CanaryRule(0.0, most_units=10**9)) == CanaryDecision.GO_ON


def test_an_undecided_canary_ends() -> None:
    judged = judge_canary(draw_canary(0, units=1000), CanaryRule(20.0, most_units=1000))
    assert (judged.verdict, judged.why) == (CanaryDecision.STOP, "undecided after 1,000 units")


def test_nothing_is_said_of_nothing() -> None:
    for units in (0, 1, 20):
        log = draw_canary(0, units=units)
        judged = judge_canary(log, RULE)
        assert judged.verdict == CanaryDecision.GO_ON
        assert judged.value.low < 0 < judged.value.high
        assert set(replay_canary(log, RULE)) <= {CanaryDecision.GO_ON}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), units=st.integers(60, 400), rated=st.floats(0.05, 1))
def test_a_look_says_what_the_replay_says_of_its_last_unit(seed: int, units: int, rated: float) -> None:
    log = draw_canary(seed, units=units, share=0.5, better=0.3, rated=rated)
    rule = CanaryRule(20.0, least_units=5)
    assert judge_canary(log, rule).verdict == replay_canary(log, rule)[-1]


def test_bounds_hold_at_all_times_at_once() -> None:
    rng = np.random.default_rng(0)
    coins = np.where(rng.random((1000, 1500)) < 0.1, 1.0, -1.0)
    low, high = bounds_of_bounded(coins, 0.05)
    assert np.mean(((low > -0.8) | (high < -0.8)).any(axis=1)) <= 0.05
    skewed = np.exp(rng.normal(-0.5, 1, (1000, 1500)))
    low, high = bounds_of_unbounded(skewed, 0.05)
    assert np.mean(((low > 1) | (high < 1))[:, 300:].any(axis=1)) <= 0.05
    assert (high - low)[:, -1].mean() < 0.35


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_a_small_side_that_has_seen_no_dear_answer_yet_does_not_look_cheap(spread: float) -> None:
    rule = CanaryRule(1e6, most_units=10**9)  # cost alone counts
    said = [first_verdict(draw_canary(seed, share=0.05, spread=spread), rule) for seed in range(250)]
    assert said.count(CanaryDecision.PROMOTE) / len(said) <= 0.05
