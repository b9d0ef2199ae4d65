from dataclasses import replace

import numpy as np
import pytest
from synthetic import make_outcomes

from orchestrator import evaluate_router
from orchestrator.selection.cascade import (
    Cascade,
    Signal,
    add_cascades,
    agreements,
    answered_by,
    brevities,
    choose_cascades,
)


@pytest.fixture(scope="module")
def pool():
    """Two cheap experts that are right together on easy questions, and a dear one; with their answers."""
    base = make_outcomes(1500, seed=1)
    rng = np.random.default_rng(1)
    n = len(base)
    hard = rng.random(n) < 0.4
    right = rng.random((n, 2)) < np.where(hard, 0.3, 0.97)[:, None]
    answers = np.where(right, "A", np.array(["B", "C", "D"])[rng.integers(0, 3, (n, 2))]).astype(object)
    answers = np.column_stack([answers, np.full(n, None)])
    score = np.column_stack([right, rng.random(n) < 0.9]).astype(np.float32)
    three = base.only(base.experts[:3])
    return replace(three, score=score, cost_usd=np.tile([1e-4, 1e-4, 1e-2], (n, 1))), answers


def test_agreement_compares_answers_that_are_there():
    answers = np.array([["A", "A", None], ["A", "B", "A"], [np.nan, "B", ""]], object)
    signals = agreements(answers)
    assert [signal.asked for signal in signals] == [(0, 1), (0, 2), (1, 2)]
    expected = [[1, 0, np.nan], [np.nan, 1, np.nan], [np.nan, 0, np.nan]]
    assert np.array_equal([signal.confidence for signal in signals], expected, equal_nan=True)


def test_the_cascade_that_pays_is_found_and_what_it_costs_is_all_it_asked(pool):
    outcomes, answers = pool
    signals = agreements(answers)
    cascades = choose_cascades(outcomes, signals, np.arange(900))
    assert [(set(c.asked), c.last) for c in cascades] == [({0, 1}, 2)]
    wider = add_cascades(outcomes, signals, cascades)
    same = answers[:, 0] == answers[:, 1]
    assert wider.score[:, 3] == pytest.approx(np.where(same, outcomes.score[:, 0], outcomes.score[:, 2]))
    assert wider.cost_usd[:, 3] == pytest.approx(np.where(same, 2e-4, 2e-4 + 1e-2))
    assert wider.experts[3].endswith(f"else {outcomes.experts[2]}")
    stood = answered_by(np.full((1, len(same)), 3), 3, signals, cascades)[0]
    assert np.array_equal(stood, np.where(same, cascades[0].asked[0], 2))


def test_a_graded_confidence_sets_a_bar(pool):
    outcomes, _ = pool
    rng = np.random.default_rng(0)
    sure = np.where(
        outcomes.score[:, 0] > 0, rng.uniform(0.3, 1, len(outcomes)), rng.uniform(0, 0.7, len(outcomes))
    )
    signals = [Signal((0,), sure)]
    cascades = choose_cascades(outcomes, signals, np.arange(len(outcomes)))
    assert cascades
    assert 2 in {cascade.last for cascade in cascades}
    assert all(0.1 < cascade.bar < 0.9 for cascade in cascades)


def test_a_long_answer_escalates_and_its_tokens_are_paid(pool):
    outcomes, _ = pool
    rng = np.random.default_rng(0)
    tokens = np.where(outcomes.score > 0, 50, 400) + rng.integers(0, 40, outcomes.score.shape)
    tokens = tokens.astype(np.float32)
    tokens[:, 1] = 1  # a letter
    tokens[5, 0] = np.nan
    signals = brevities(tokens)
    assert [signal.asked for signal in signals] == [(0,), (2,), (0, 2)]
    cascade = Cascade((0,), 2, 1 / (1 + 200), "brevity")
    wider = add_cascades(outcomes, signals, [cascade])
    assert wider.score[5, 3] == outcomes.score[5, 2]  # of unknown length
    long = tokens[:, 0] > 1 / cascade.bar - 1
    assert 0 < long.mean() < 1
    assert wider.score[long, 3] == pytest.approx(outcomes.score[long, 2])
    assert wider.cost_usd[long, 3] == pytest.approx(1e-4 + 1e-2)


def test_of_two_answers_the_brief_one_is_taken_and_both_are_paid(pool):
    outcomes, _ = pool
    rng = np.random.default_rng(0)
    n = len(outcomes)
    score = (rng.random((n, 2)) < 0.6).astype(np.float32)  # alike, and right on different questions
    tokens = (np.where(score > 0, 100, 300) * rng.uniform(0.8, 1.2, (n, 2))).astype(np.float32)
    two = replace(
        outcomes.only(outcomes.experts[:2]), score=score, cost_usd=np.tile([1e-4, 2e-4], (n, 1)),
        completion_tokens=tokens,
    )  # fmt: skip
    signals = brevities(tokens)
    best = [c for c in choose_cascades(two, signals, np.arange(900)) if len(c.asked) == 2]
    wider = add_cascades(two, signals, best)
    assert wider.score[900:, 2:].mean(axis=0).max() > score[900:].mean() + 0.15
    assert wider.cost_usd[:, 2:] == pytest.approx(np.full((n, len(best)), 3e-4))
    stood = answered_by(np.full((1, n), 2), 2, signals, best)[0]
    assert (score[np.arange(n), stood] == wider.score[:, 2]).all()


def test_what_nobody_knows_escalates(pool):
    outcomes, _ = pool
    unknown = [Signal((0, 1), np.full(len(outcomes), np.nan))]
    assert choose_cascades(outcomes, unknown, np.arange(len(outcomes))) == ()
    wider = add_cascades(outcomes, unknown, [Cascade((0, 1), 2, 0.5)])
    assert np.array_equal(wider.score[:, 3], outcomes.score[:, 2])


def test_the_report_has_a_row_for_it_and_it_beats_routing_where_experts_are_alike(pool):
    outcomes, answers = pool
    report = evaluate_router(
        outcomes, predictors=("knn",), embedder="wordllama", seeds=1, replicates=50,
        signals=agreements(answers),
    )  # fmt: skip
    assert report.difference("knn + cascade", "knn", "aiq_log").low > 0
    assert sum(report.row("knn + cascade").share.values()) == pytest.approx(1)
