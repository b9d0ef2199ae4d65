"""The length of an answer as evidence: learned where it helps, weighed where answers cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import learn_habits
from orchestrator.asking.lengths import AnswerLengths, learn_lengths
from orchestrator.asking.policy import Ask, AskingPolicy, Stop
from orchestrator.asking.readings import INCOMPARABLE, UNREADABLE, Reading, Readings
from orchestrator.asking.replay import answers_of_sets, replay
from orchestrator.predictors.base import Prediction

EXPERTS = ("careful", "hasty", "cheap")
COST_USD = np.array([3e-3, 2e-3, 1e-3])


def draw_answers(seed: int, n: int = 2_000, *, longer_where: str = "wrong") -> tuple[Any, ...]:
    """Forecasts, lengths and scores of long texts; wrong ones, hard questions' or nobody's are longer."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=(n, 1))
    success = 1 / (1 + np.exp(-(np.array([0.8, 0.7, 0.4]) + 0.4 * rng.normal(size=(n, 3)))))
    right = rng.random((n, 3)) < 1 / (1 + np.exp(-(np.log(success / (1 - success)) + ease)))
    longer = {"wrong": ~right, "hard": ease < 0, "nobody": np.zeros((n, 3), bool)}[longer_where]
    tokens = np.exp(rng.normal(5.0 + 1.2 * longer, 0.5, (n, 3))).round().astype(np.float32)
    prediction = Prediction(EXPERTS, success.astype(np.float32), np.tile(COST_USD, (n, 1)))
    return prediction, tokens, right.astype(np.float32)


def learn(seed: int, **how: Any) -> tuple[Habits, Readings, Prediction, Any]:
    prediction, tokens, score = draw_answers(seed, **how)
    readings = Readings.incomparable(np.isfinite(score), tokens)
    return learn_habits(prediction, readings, score, prediction.cost_usd), readings, prediction, score


def test_a_doubtful_answer_gives_way_to_the_next_experts() -> None:
    habits, *_ = learn(0)
    assert habits.lengths.tell
    prediction, tokens, score = draw_answers(1)
    readings = Readings.incomparable(np.isfinite(score), tokens)
    rows = np.arange(len(score))
    came = {}
    for name, own in (("lengths", readings), ("none", replace(readings, tokens=None))):
        (done,) = replay(habits, prediction, prediction.cost_usd, own, [0.0])
        came[name] = score[rows, done.answered]
        asked = done.asked.sum(axis=1)
        if name == "none":  # not known, lengths say nothing: this is the router
            assert (asked == 1).all()
            assert np.array_equal(done.answered, prediction.success.argmax(axis=1))
            assert done.probability == pytest.approx(prediction.success.max(axis=1), abs=1e-6)
        else:
            assert 1.1 < asked.mean() < 2
            assert abs(done.probability.mean() - came[name].mean()) < 0.04  # and it knows how good it is
    gain = came["lengths"] - came["none"]
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5 > 0
    (dear,) = replay(habits, prediction, prediction.cost_usd, readings, [1e4])
    assert (dear.asked.sum(axis=1) == 1).all()  # nothing is worth that price


@pytest.mark.parametrize("longer_where", ["hard", "nobody"])
def test_lengths_that_tell_nothing_of_whom_to_ask_say_nothing(longer_where: str) -> None:
    for seed in range(3):
        habits, *_ = learn(seed, longer_where=longer_where)
        assert not habits.lengths.tell


@pytest.mark.parametrize("share", [0.03, 0.1])
@pytest.mark.parametrize("compared", [False, True])
def test_what_unreadable_answers_and_agreement_gain_is_not_put_down_to_lengths(
    share: float, compared: bool
) -> None:
    """Lengths tell of the question alone; what gives way or is compared gains by itself."""
    for seed in range(2):
        prediction, tokens, score = draw_answers(seed, longer_where="hard")
        rng = np.random.default_rng(seed)
        classes = np.full(score.shape, INCOMPARABLE, np.int16)
        if compared:  # every second question has answers to compare
            wrong = rng.integers(1, 4, score.shape)
            classes[::2] = np.where(score > 0.5, 0, wrong)[::2]
        lost = rng.random(score.shape) < share
        classes[lost], score[lost] = UNREADABLE, 0.0
        readings = Readings(classes, np.zeros(len(score), np.intp), tokens)
        habits = learn_habits(prediction, readings, score, prediction.cost_usd)
        assert habits.comparable.any() == compared
        assert not habits.lengths.tell


def test_a_table_plans_for_texts_as_the_endpoint_does_in_a_pool_that_has_both() -> None:
    rng = np.random.default_rng(3)
    prediction, tokens, score = draw_answers(3, n=300)
    classes = np.full(score.shape, INCOMPARABLE, np.int16)
    classes[::2] = np.where(score > 0.5, 0, rng.integers(1, 4, score.shape))[::2]
    readings = Readings(classes, np.zeros(300, np.intp), tokens)
    habits = learn_habits(prediction, readings, score, prediction.cost_usd)
    assert habits.comparable.all()
    (done,) = replay(habits, prediction, prediction.cost_usd, readings, [5.0])
    of_texts, of_letters = AskingPolicy(habits.without_comparison()), AskingPolicy(habits)
    for row in range(60):
        policy = of_letters if row % 2 == 0 else of_texts
        state = policy.plan(prediction.success[row], prediction.cost_usd[row], 5.0)
        while isinstance(action := policy.next_action(state), Ask):
            j = EXPERTS.index(action.expert)
            own = int(classes[row, j])
            reading = Reading(str(own) if own >= 0 else None, tokens=int(tokens[row, j]))
            state = policy.observe(state, action.expert, reading, float(COST_USD[j]))
        assert EXPERTS[done.answered[row]] == action.expert
        assert done.paid_usd[row] == pytest.approx(state.paid_usd)


def test_absurd_counts_and_lopsided_answers_do_not_carry_lengths_away() -> None:
    prediction, tokens, score = draw_answers(0)
    rng = np.random.default_rng(0)
    spoilt = np.where(rng.random(tokens.shape) < 0.05, 3e38, tokens).astype(np.float32)
    lengths = learn_lengths(prediction.success, spoilt, score)
    usual = learn_lengths(prediction.success, tokens, score)
    assert lengths.tell
    for e in range(3):
        assert lengths.odds_of(e, 1_000) == pytest.approx(usual.odds_of(e, 1_000), rel=0.5)
    only_right = np.where((score[:, 2] > 0.5) & (np.arange(len(score)) < 300), tokens[:, 2], np.nan)
    lengths = learn_lengths(
        prediction.success, np.column_stack([tokens[:, :2], only_right]).astype(np.float32), score
    )
    for long in (1, 100, 10_000):
        assert 0.04 < lengths.odds_of(2, long) < 21


@given(success=st.lists(st.floats(0, 1), min_size=2, max_size=4), slope=st.floats(0.2, 5.0))
def test_the_surest_forecasts_stay_probabilities(success: list[float], slope: float) -> None:
    m = len(success)
    model = AnswerModel(np.full(m, slope), np.full(m, 0.5), 0.05)
    names = tuple(f"e{j}" for j in range(m))
    policy = AskingPolicy(
        Habits(names, np.ones(m, bool), np.zeros(m), model, np.ones(3), AnswerLengths.silent(m))
    )
    state = policy.plan(np.array(success), np.full(m, 1e-3), 0.0)
    for j, name in enumerate(names):
        state = policy.observe(state, name, Reading(str(j % 2)), 1e-3)
        stop = policy.answer_now(state)
        assert stop.expert is not None
        assert 0 <= stop.success <= 1


@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from([-1, 0, 1, 2**31, 10**18]), st.floats(allow_nan=True)),
        min_size=3, max_size=3,
    )
)  # fmt: skip
def test_whatever_an_upstream_tells_the_evidence_is_bounded(told: list[Any]) -> None:
    lengths = AnswerLengths(np.full(3, 4.0), np.ones(3), np.array([[0.3, -1.5, 0.2]] * 3))
    tokens = np.array([[np.nan if one is None else float(one) for one in told]])
    odds = lengths.odds(tokens, (1, 3))
    assert ((odds > 1e-4) & (odds < 1e4)).all()
    for column, one in enumerate(tokens[0]):
        assert lengths.odds_of(column, None if np.isnan(one) else one) == pytest.approx(odds[0, column])
        if not one > 0 or np.isinf(one):
            assert odds[0, column] == 1


@given(seed=st.integers(0, 2**32 - 1), price=st.sampled_from([0.0, 10.0, 200.0]), most=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_plan_ends_and_returns_the_likeliest_of_its_answers(seed: int, price: float, most: int) -> None:
    from orchestrator.asking.plans import Limits

    rng = np.random.default_rng(seed)
    weights = rng.uniform(-2, 1, (3, 3))
    habits = replace(
        Habits.unknown(EXPERTS), lengths=AnswerLengths(rng.uniform(3, 6, 3), rng.uniform(0.3, 2, 3), weights)
    )
    policy = AskingPolicy(habits)
    state = policy.plan(rng.random(3), COST_USD, price, limits=Limits(max_asks=most))
    asked: list[str] = []
    while isinstance(action := policy.next_action(state), Ask):
        assert action.expert not in asked
        before = policy.answer_now(state).success if asked else 0.0
        asked.append(action.expert)
        state = policy.observe(state, action.expert, Reading(None, tokens=int(rng.integers(1, 3_000))), 1e-4)
        assert 0 <= before <= 1
    assert isinstance(action, Stop)
    assert action.expert in asked
    assert 1 <= len(asked) <= most
    assert 0 <= action.success <= 1


def test_evidence_from_others_agrees_with_plain_bayes() -> None:
    """Two answers with lengths: the sum over ease, written out."""
    from orchestrator.asking.beliefs import EASE, WEIGHT
    from orchestrator.asking.decide import begin_plans, final_answers

    model = AnswerModel(np.full(3, 1.0), np.full(3, 0.5), 0.0)
    weights = np.tile([0.1, -1.0, 0.0], (3, 1))
    habits = replace(
        Habits.unknown(EXPERTS), model=model, lengths=AnswerLengths(np.full(3, 5.0), np.ones(3), weights)
    )
    success = np.array([[0.7, 0.6, 0.5]])
    plans = begin_plans(habits, success, np.tile(COST_USD, (1, 1)), 0.0, options=np.array([0]))
    odds = [habits.lengths.odds_of(e, tokens) for e, tokens in ((0, 900), (1, 90))]
    for e in (0, 1):
        plans = plans.observe(np.array([e]), np.array([-2]), np.array([1e-3]), np.array([odds[e]]))
    right = model.beliefs(success, np.array([0])).right[0]  # [3, nodes]
    assert right @ WEIGHT == pytest.approx(success[0], abs=1e-4)
    assert len(EASE) == right.shape[1]
    mixed = [1 + right[e] * (odds[e] - 1) for e in (0, 1)]
    whole = (WEIGHT * mixed[0] * mixed[1]).sum()
    by_hand = [(WEIGHT * right[e] * odds[e] * mixed[1 - e]).sum() / whole for e in (0, 1)]
    best, probability = final_answers(habits, plans)
    assert int(best[0]) == int(np.argmax(by_hand))
    assert probability[0] == pytest.approx(max(by_hand), abs=1e-9)


def test_dealt_to_other_questions_plans_hear_lengths_too() -> None:
    """Or what lengths tell of answers, whoever was chosen, would count as the router's choice."""
    habits, readings, prediction, score = learn(0)
    asked = np.ones(score.shape, bool)
    mean = prediction.success.mean(axis=0).astype(float)
    heard = answers_of_sets(habits, mean, readings, asked)
    unheard = answers_of_sets(habits, mean, replace(readings, tokens=None), asked)
    assert (unheard == mean.argmax()).all()
    rows = np.arange(len(score))
    assert score[rows, heard].mean() > score[rows, unheard].mean() + 0.05


def test_a_pool_that_changes_knows_nothing_of_a_new_experts_lengths() -> None:
    habits, *_ = learn(0)
    more = habits.of_pool(("new", "hasty", "careful"))
    assert more.lengths.odds_of(0, 10_000) == 1
    assert more.lengths.odds_of(2, 1_000) == habits.lengths.odds_of(0, 1_000) < 1


def test_habits_from_before_there_were_lengths_still_load() -> None:
    habits, *_ = learn(0)
    state = habits.state()
    arrays = {name: array for name, array in state.arrays.items() if not name.startswith("length_")}
    assert not Habits.from_state(replace(state, arrays=arrays)).lengths.tell
    assert np.array_equal(Habits.from_state(state).lengths.weights, habits.lengths.weights)


def test_little_and_lopsided_data_teach_nothing() -> None:
    prediction, tokens, score = draw_answers(0, n=60)
    assert not learn_lengths(prediction.success, tokens, score).tell
    prediction, tokens, score = draw_answers(0)
    assert not learn_lengths(prediction.success, np.full_like(tokens, 7), score).tell
    assert not learn_lengths(prediction.success, np.full_like(tokens, np.nan), score).tell
    none = np.full_like(score, np.nan)
    assert not learn_lengths(prediction.success, tokens, none).tell
    partly = np.where(np.arange(len(score))[:, None] % 3 == np.arange(3), np.nan, score).astype(np.float32)
    readings = Readings.incomparable(np.isfinite(partly), tokens)  # nobody answered by all: no plan to try
    assert not learn_habits(prediction, readings, partly, prediction.cost_usd).lengths.tell
