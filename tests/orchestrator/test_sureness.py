"""The probability told with an answer comes true, and correcting it changes no choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.calibrate import calibrate
from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import asking_multipliers
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import replay
from orchestrator.asking.sureness import CURVES, Sureness, learn_sureness
from orchestrator.predictors.base import Prediction

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_a_correction_rises_and_leaves_single_answers_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sureness = Sureness(rng.uniform(0.05, 3, CURVES), rng.normal(size=CURVES))
    probability = np.sort(rng.random(50))
    assert np.array_equal(sureness.correct(probability, np.ones(50, int)), probability)
    assert np.array_equal(sureness.correct(probability, np.zeros(50, int)), probability)
    for compared in (2, 3, 4, 9):
        corrected = sureness.correct(probability, np.full(50, compared))
        assert ((corrected > 0) & (corrected < 1)).all()
        assert (np.diff(corrected) >= 0).all()
    unchanged = Sureness.as_believed().correct(probability, np.full(50, 3))
    assert np.array_equal(unchanged, probability)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0.2, 1.5), st.floats(-1.5, 1.0))
def test_what_was_too_sure_comes_true_afterwards(seed: int, slope: float, offset: float) -> None:
    """Answers that are right by another curve than was believed, for each number of answers compared."""
    rng = np.random.default_rng(seed)
    n = 12_000
    believed, compared = rng.uniform(0.05, 0.98, n), rng.integers(1, 6, n)
    odds = offset + slope * np.log(believed / (1 - believed))
    true = np.where(compared >= 2, 1 / (1 + np.exp(-odds)), believed)
    learned = learn_sureness(believed, compared, (rng.random(n) < true).astype(float), weight=1.0)
    told = learned.correct(believed, compared)
    assert np.abs(told - true).mean() < 0.03
    assert np.array_equal(told[compared < 2], believed[compared < 2])


def test_nothing_to_learn_from_changes_nothing() -> None:
    nothing = np.zeros(0)
    learned = learn_sureness(nothing, nothing.astype(int), nothing, weight=1.0)
    assert learned.slope == pytest.approx(1.0)
    assert learned.offset == pytest.approx(0.0)


def experts_of_one_mind(n: int, seed: int) -> tuple[Prediction, Readings, np.ndarray, np.ndarray]:
    """Outcomes of four experts that often repeat what the first says, right or not."""
    rng = np.random.default_rng(seed)
    names = ("a", "b", "c", "d")
    success = np.clip(rng.normal(0.6, 0.1, (n, 1)) + rng.normal(0, 0.03, (n, 4)), 0.1, 0.95)
    right = rng.random((n, 4)) < success
    classes = np.where(right, 0, rng.integers(1, 4, (n, 4)))
    copies = rng.random(n) < 0.5
    classes[copies] = classes[copies, :1]
    score = (classes == 0).astype(np.float32)
    cost = np.full((n, 4), 1e-3) * (1 + 0.2 * np.arange(4))
    forecast = Prediction(names, success.astype(np.float32), cost)
    return forecast, Readings(classes.astype(np.int16), np.full(n, 4)), score, cost


def test_a_pool_of_one_mind_is_told_what_comes_true_and_chooses_as_before() -> None:
    """Beliefs that take the answers to be independent are much too sure of two that agree."""
    forecast, readings, score, cost = experts_of_one_mind(6_000, 0)
    seen, new = np.arange(3_000), np.arange(3_000, 6_000)
    prices = asking_multipliers(forecast.take(seen), 12)
    independent = replace(
        Habits.unknown(forecast.experts),
        comparable=np.ones(4, bool),
        model=AnswerModel(np.full(4, 0.2), np.full(4, 0.02), 0.0),
    )
    habits = calibrate(independent, forecast.take(seen), cost[seen], readings.take(seen), score[seen], prices)
    believed = replace(habits, sureness=Sureness.as_believed())
    told, before = (
        replay(own, forecast.take(new), cost[new], readings.take(new), prices) for own in (habits, believed)
    )
    off: list[tuple[float, float]] = []  # of each answer after several, by both
    for one, other in zip(told, before, strict=True):
        assert np.array_equal(one.answered, other.answered)
        assert np.array_equal(one.asked, other.asked)
        assert np.array_equal(one.paid_usd, other.paid_usd)
        several = one.asked.sum(axis=1) >= 2
        came = score[new, one.answered][several]
        off += zip(one.probability[several] - came, other.probability[several] - came, strict=True)
    assert len(off) > 2_000
    corrected, believed_alone = np.abs(np.mean(off, axis=0))
    assert believed_alone > 0.07
    assert corrected < 0.03


def test_saved_habits_keep_it_and_older_ones_have_none() -> None:
    habits = Habits.unknown(("a", "b"))
    habits = replace(habits, sureness=Sureness(np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.0, -0.1])))
    again = Habits.from_state(habits.state())
    assert np.array_equal(again.sureness.slope, habits.sureness.slope)
    assert np.array_equal(again.sureness.offset, habits.sureness.offset)
    older = habits.state()
    arrays = {name: value for name, value in older.arrays.items() if not name.startswith("sure_")}
    assert np.array_equal(Habits.from_state(replace(older, arrays=arrays)).sureness.slope, np.ones(CURVES))
    assert again.of_pool(("a", "b", "new")).sureness == again.sureness
