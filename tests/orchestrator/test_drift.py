"""Drift of traffic: error rates without drift, found with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.traffic.drift import (
    compare_costs,
    compare_means,
    find_shift,
    measure_novelty,
    reject_by_holm,
    separation,
)
from orchestrator.traffic.judge_calibration import calibrate_judge


def test_requests_like_the_training_set_are_not_novel_and_others_are() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 32))
    trained, same = (centres[rng.integers(0, 4, n)] + 0.5 * rng.normal(size=(n, 32)) for n in (800, 500))
    drifted = centres[rng.integers(4, 6, 500)] + 0.5 * rng.normal(size=(500, 32))
    alike, unlike = measure_novelty(same, trained), measure_novelty(drifted, trained)
    assert alike is not None
    assert unlike is not None
    assert alike.low <= alike.expected + 0.02
    assert alike.share < 0.12
    assert abs(alike.separation - 0.5) < 0.1
    assert unlike.share > 0.9
    assert unlike.separation > 0.95
    assert measure_novelty(same[:5], trained) is None


def test_a_shift_is_found_where_it_is_and_rarely_where_there_is_none() -> None:
    false = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        quiet = rng.gamma(0.5, size=120)  # a long tail, as bills have
        shift = find_shift(quiet, permutations=399, seed=seed)
        false += shift is not None and shift.p_value <= 0.05
    assert false <= 8  # 5% of 60 is 3; 8 or fewer has probability 0.99
    rng = np.random.default_rng(7)
    series = np.r_[rng.normal(0, 1, 150), rng.normal(1.5, 1, 100)]
    series[::7] = np.nan
    found = find_shift(series)
    assert found is not None
    assert found.p_value < 0.001
    assert abs(found.at - 150) < 15
    assert found.after > found.before


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_a_shift_has_both_sides_and_a_probability(seed: int, n: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2, n).astype(float)
    found = find_shift(values, permutations=99, seed=seed)
    if n < 30 or not values.size or np.ptp(values) == 0:
        assert found is None
    else:
        assert found is not None
        assert 15 <= found.at <= n - 15
        assert 0 < found.p_value <= 1


def test_long_series_are_looked_at_in_bins() -> None:
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(0, 1, 30_000), rng.normal(0.2, 1, 20_000)]
    found = find_shift(values, permutations=199)
    assert found is not None
    assert found.p_value <= 0.01
    assert abs(found.at - 30_000) < 3_000


def test_intervals_of_means_cover_what_they_should() -> None:
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        forecast = np.full(40, 0.9)
        found = compare_means(forecast, (rng.random(40) < 0.8).astype(float))
        assert found is not None
        covered += found.low <= -0.1 <= found.high
    assert covered >= 0.92 * 300
    certain = compare_means(np.full(3, 1.0), np.ones(3))
    assert certain is not None
    assert certain.low < 0 < certain.high
    assert compare_means(np.array([0.5]), np.array([1.0])) is None


def test_costs_are_compared_in_sum() -> None:
    rng = np.random.default_rng(0)
    told = rng.gamma(2, size=400)
    found = compare_costs(told, 2 * told * rng.gamma(20, 1 / 20, size=400))
    assert found is not None
    assert found.low < 2 < found.high
    assert found.high - found.low < 0.5
    assert compare_costs(np.zeros(50), np.ones(50)) is None


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.2))
@settings(max_examples=50, deadline=None)
def test_holm_rejects_between_bonferroni_and_each_alone(p_values: list[float], alpha: float) -> None:
    rejected = reject_by_holm(p_values, alpha)
    found = np.array(p_values)
    assert (rejected >= (found <= alpha / max(len(found), 1))).all()
    assert (rejected <= (found <= alpha)).all()


def test_separation_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40).astype(float), rng.integers(0, 5, 30).astype(float)
    pairs = ((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean()
    assert separation(a, b) == pytest.approx(pairs)


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_calibrated_score_stays_a_score_in_order(seed: int, n: int, reversed_: bool) -> None:
    rng = np.random.default_rng(seed)
    judged = rng.random(n)
    told = (1 - judged if reversed_ else judged) > rng.random(n)
    found = calibrate_judge(judged, told.astype(float))
    line = found.apply(np.linspace(0, 1, 11))
    assert (line >= 0).all()
    assert (line <= 1).all()
    assert (np.diff(line) >= -1e-6).all()
    if not n:
        assert np.allclose(line, np.linspace(0, 1, 11), atol=1e-6)
        assert math.isnan(found.agreement)


def test_a_judge_is_calibrated_by_those_who_know() -> None:
    rng = np.random.default_rng(1)
    judged = (rng.random(4_000) < 0.5).astype(float)
    told = (rng.random(4_000) < np.where(judged > 0.5, 0.8, 0.3)).astype(float)
    found = calibrate_judge(judged, np.where(rng.random(4_000) < 0.9, told, np.nan))
    assert found.offset == pytest.approx(0.3, abs=0.03)
    assert found.slope == pytest.approx(0.5, abs=0.05)
    assert found.agreement_low < 0.75 < found.agreement_high
    nothing = calibrate_judge(judged, np.full(4_000, np.nan))
    assert (nothing.offset, nothing.slope) == (0.0, 1.0)
