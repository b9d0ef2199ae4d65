"""What is learned of asking, measured, saved with a router, and kept when its pool changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator import Orchestrator, evaluate_router, train_router
from orchestrator.asking.policy import Ask
from orchestrator.asking.readings import INCOMPARABLE, UNREADABLE, Reading, Readings
from orchestrator.evaluation.asking_rows import AGREEMENT, LEEROO, MATCHED, PAIRS, SINGLES, VOTE
from orchestrator.evaluation.report_tables import render_report
from orchestrator.pool_changes import retire_expert
from tests.orchestrator.synthetic import make_outcomes
from warehouse import Outcomes

OPTIONS = 4


def make_readings(outcomes: Outcomes, *, unreadable: float = 0.1, seed: int = 0) -> tuple[Outcomes, Readings]:
    """Letters that go with the scores; some answers cannot be read, and count as wrong."""
    rng = np.random.default_rng(seed)
    key = rng.integers(0, OPTIONS, (len(outcomes), 1))
    wrong = (key + rng.integers(1, OPTIONS, outcomes.score.shape)) % OPTIONS
    classes = np.where(outcomes.score >= 0.5, key, wrong)
    lost = rng.random(classes.shape) < unreadable
    score = np.where(lost, 0, outcomes.score).astype(np.float32)
    codes = np.where(lost, UNREADABLE, classes).astype(np.int16)
    return replace(outcomes, score=score), Readings(codes, np.full(len(outcomes), OPTIONS))


@pytest.fixture(scope="module")
def pool() -> tuple[Outcomes, Readings]:
    return make_readings(make_outcomes(600))


@pytest.fixture(scope="module")
def trained(pool: tuple[Outcomes, Readings]) -> Orchestrator:
    return train_router(pool[0], embedder="wordllama", predictor="subject", readings=pool[1]).orchestrator


def test_what_is_served_is_measured_beside_what_it_must_beat(pool: tuple[Outcomes, Readings]) -> None:
    outcomes, readings = pool
    outcomes = replace(outcomes, latency_s=np.full(outcomes.score.shape, 0.2, np.float32))
    report = evaluate_router(
        outcomes, predictors=("subject",), embedder="wordllama", seeds=1, replicates=10, readings=readings,
        budgets=(1.0, 2.0),
    )  # fmt: skip
    measured = {row.name: row.measures for row in report.rows}
    assert {LEEROO, PAIRS, MATCHED, SINGLES, VOTE, AGREEMENT} <= set(measured)
    area = {name: figures["aiq_log_twice"].value for name, figures in measured.items() if name in (
        LEEROO, MATCHED, SINGLES, VOTE, AGREEMENT, "subject",
    )}  # fmt: skip
    assert area[LEEROO] == max(area.values())
    for figure in ("accuracy@2", "calls@2"):
        assert np.isfinite(measured[LEEROO][figure].value)
    assert 1 <= measured[LEEROO]["calls"].value <= 5
    # two at once: sooner, for hardly more
    assert measured[PAIRS]["calls"].value < measured[LEEROO]["calls"].value - 0.2
    assert measured[PAIRS]["cost_usd"].value == pytest.approx(measured[LEEROO]["cost_usd"].value, rel=0.3)
    for name in (LEEROO, PAIRS):  # every answer took a fifth of a second
        assert measured[name]["latency_s"].value == pytest.approx(0.2 * measured[name]["calls"].value)
    # dealt to other queries the same plans cost the same, but for what the prices of single answers differ by
    assert measured[MATCHED]["cost_usd"].value == pytest.approx(measured[LEEROO]["cost_usd"].value, rel=0.05)
    from rich.console import Console

    console = Console(record=True, width=200)
    console.print(render_report(report))
    assert f"{LEEROO} " in console.export_text()


def test_without_letters_it_is_the_router_to_the_bit(pool: tuple[Outcomes, Readings]) -> None:
    outcomes = make_outcomes(300)
    readings = Readings.incomparable(np.isfinite(outcomes.score))
    assert (readings.classes == INCOMPARABLE).all()
    router = train_router(outcomes, embedder="wordllama", predictor="subject", readings=readings).orchestrator
    texts = outcomes.texts[:20]
    prediction, policy = router.predict(texts), router.asking_policy()
    for i, decision in enumerate(router.decide(texts)):
        state = policy.plan(prediction.success[i], prediction.cost_usd[i], router.multiplier)
        assert policy.next_action(state) == Ask(decision.expert)
        state = policy.observe(state, decision.expert, Reading(None, False), 1e-4)
        assert policy.next_action(state) == Ask(decision.fallbacks[0])


def test_what_was_learned_goes_with_the_router(trained: Orchestrator, tmp_path: Path) -> None:
    assert trained.habits is not None
    assert trained.habits.comparable.all()
    assert trained.habits.unreadable == pytest.approx(np.full(4, 0.1), abs=0.04)
    trained.save(tmp_path)
    loaded = Orchestrator.load(tmp_path)
    assert loaded.habits is not None
    for ours, theirs in zip(
        trained.habits.state().arrays.values(), loaded.habits.state().arrays.values(), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_a_pool_that_changes_keeps_the_habits_of_those_that_stay(trained: Orchestrator) -> None:
    fewer = retire_expert(trained, "chemist")
    assert fewer.habits is not None
    assert trained.habits is not None
    assert fewer.habits.experts == fewer.experts == ("algebraist", "historian", "generalist")
    assert np.array_equal(fewer.habits.unreadable, trained.habits.unreadable[[0, 2, 3]])
    more = trained.habits.of_pool((*trained.experts, "new"))
    assert more.comparable.all()
    assert more.model.slopes[-1] == pytest.approx(trained.habits.model.slopes.mean())
