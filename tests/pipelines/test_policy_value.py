"""Sets of experts valued by what asking reaches with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.asking.readings import Readings
from orchestrator.selection.selector import select_at_multiplier
from pipelines.learning.policy_value import Answered, best_by_policy, judge_choice, reach, value_sets
from universe.model.expectation import Expected
from universe.model.limits import Limits
from warehouse import Outcomes, TooFewError

OPTIONS = 4
EXPERTS = ("one", "two", "three", "parrot", "dear")
SUCCESS = np.array([0.7, 0.7, 0.7, 0.7, 0.72])
COST_USD = np.array([0.1, 0.1, 0.1, 0.1, 0.3])


def answered(n: int = 400, *, comparable: bool = True, seed: int = 0) -> Answered:
    """Experts who err on their own, but for the parrot, who says what the first says."""
    rng = np.random.default_rng(seed)
    right = rng.random((n, 5)) < SUCCESS
    key = rng.integers(0, OPTIONS, (n, 1))
    classes = np.where(right, key, (key + rng.integers(1, OPTIONS, (n, 5))) % OPTIONS)
    right[:, 3], classes[:, 3] = right[:, 0], classes[:, 0]
    prompts = tuple(f"question number {i}" for i in range(n))
    cost_usd = np.tile(COST_USD, (n, 1)) * rng.uniform(0.8, 1.2, (n, 5))
    blank = np.full((n, 5), np.nan, np.float32)
    outcomes = Outcomes(
        question_ids=np.array([f"q{i}" for i in range(n)]), texts=prompts, prompts=prompts,
        sources=np.full(n, "made"), domains=np.full(n, "all"), subjects=np.full(n, "all"),
        chance=np.full(n, 1 / OPTIONS, np.float32), experts=EXPERTS, score=right.astype(np.float32),
        cost_usd=cost_usd, prompt_tokens=blank, completion_tokens=blank, latency_s=blank,
    )  # fmt: skip
    readings = Readings(classes.astype(np.int16), np.full(n, OPTIONS))
    if not comparable:
        readings = Readings.incomparable(np.ones((n, 5), bool))
    expected = Expected(np.tile(SUCCESS, (n, 1)), np.tile(COST_USD, (n, 1)))
    return Answered(outcomes, expected, readings)


def test_experts_that_check_each_other_are_worth_more_than_the_program_sees() -> None:
    alone, parrot, several = value_sets(
        answered(), [("one",), ("one", "two", "parrot"), ("one", "two", "three")], max_cost_usd=None
    )
    assert alone.gain == 0
    assert alone.score == pytest.approx(0.7, abs=0.05)
    assert several.gain_interval[0] > 0.02  # all of them are expected to be right equally often
    assert several.score > parrot.score
    assert best_by_policy([alone, parrot, several]) is several
    assert several.asks > alone.asks == 1
    assert several.questions == 400


def test_a_budget_is_spent_and_not_exceeded() -> None:
    known = answered(200)
    scores = []
    for budget_usd in (0.12, 0.28, 5.0):
        cheap, able = value_sets(known, [("one", "dear"), ("one", "two", "three")], max_cost_usd=budget_usd)
        for one in (cheap, able):
            assert one.cost_usd <= budget_usd * (1 + 1e-9)
            assert one.interval[0] < one.score < one.interval[1]
        scores.append(able.score)
    assert scores[0] < scores[1]  # three agree at .28 where one answers at .12
    assert able.cost_usd < 0.5  # who has asked everybody stops


def test_a_set_that_cannot_keep_the_budget_is_never_chosen() -> None:
    dear, cheap = value_sets(answered(300), [("dear",), ("one",)], max_cost_usd=0.2)
    assert np.isnan(dear.score)
    assert best_by_policy([dear, cheap]) is cheap
    assert best_by_policy([dear]) is dear


@pytest.mark.parametrize("weight", [0.0, 0.05, 1.0])
def test_where_answers_cannot_be_compared_it_is_the_router(weight: float) -> None:
    known = answered(comparable=False)
    rng = np.random.default_rng(1)
    known = replace(known, expected=replace(known.expected, score=rng.random((400, 5)).astype(np.float32)))
    rows = np.arange(400)
    experts = ("one", "dear", "two")
    reached = reach(
        known.take(rows[:200]), known.take(rows[200:]), experts, max_cost_usd=None, price_weight=weight
    )
    asked = known.only(experts).take(rows[200:])
    choice = select_at_multiplier(asked.forecast.success, asked.forecast.cost_usd, weight)
    at = np.arange(200), choice
    np.testing.assert_allclose(
        reached.worth, asked.outcomes.score[at] - weight * asked.outcomes.cost_usd[at], rtol=1e-12
    )
    assert (reached.asks == 1).all()


def test_only_questions_that_all_have_answered_count() -> None:
    known = answered(300)
    score = known.outcomes.score.copy()
    score[:200, 1] = np.nan
    some = replace(known, outcomes=replace(known.outcomes, score=score))
    values = value_sets(some, [("one",), ("one", "two")], max_cost_usd=None)
    assert {one.questions for one in values} == {100}
    score[:260, 1] = np.nan
    with pytest.raises(TooFewError, match="only 40 questions were answered by all of one, two"):
        value_sets(some, [("one",), ("one", "two")], max_cost_usd=None)


def test_the_choice_is_judged_on_other_questions(tmp_path: Path) -> None:
    known = answered(400)
    program, chosen = judge_choice(
        known.outcomes, known.readings, Limits(max_experts=2), {"price_weight": 0.0}, count=4,
        embedder="wordllama", cache_dir=tmp_path,
    )  # fmt: skip
    assert 100 < program.questions == chosen.questions < 220
    assert len(chosen.experts) <= 2
    assert program.gain == 0
    assert chosen.gain == pytest.approx(chosen.score - program.score)
