"""A budget over a stream of plans: never exceeded, freed where less was asked, and used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.asking.beliefs import AnswerModel
from orchestrator.asking.habits import Habits
from orchestrator.asking.lengths import AnswerLengths
from orchestrator.asking.pacing import PacedPlan, PlanPacer
from orchestrator.asking.policy import Ask, AskingPolicy
from orchestrator.asking.readings import UNREADABLE, Reading, Readings
from orchestrator.asking.replay import replay
from orchestrator.predictors.base import Prediction
from warehouse import InputError


def draw_world(seed: int, n: int, m: int) -> tuple[Habits, Prediction, np.ndarray]:
    """Experts of four options, forecasts, and what they say (-1: nothing readable)."""
    rng = np.random.default_rng(seed)
    model = AnswerModel(rng.uniform(0.5, 3, m), rng.uniform(0.1, 0.7, m), 0.02)
    habits = Habits(
        tuple(f"e{j}" for j in range(m)),
        np.ones(m, bool),
        np.full(m, 0.1),
        model,
        np.ones(3),
        AnswerLengths.silent(m),
    )
    success = rng.uniform(0.3, 0.85, (n, m)).astype(np.float32)
    cost_usd = np.geomspace(1e-4, 1e-2, m) * rng.uniform(0.7, 1.3, (n, 1))
    said = np.where(rng.random((n, m)) < success, 0, rng.integers(1, 4, (n, m)))
    said[rng.random((n, m)) < 0.1] = -1
    return habits, Prediction(habits.experts, success, cost_usd), said


def ask_once(pacer: PlanPacer, plan: PacedPlan, said: np.ndarray, paid: np.ndarray) -> PacedPlan | None:
    """One step of a plan; None where it has ended."""
    action = pacer.next_action(plan)
    if not isinstance(action, Ask):
        pacer.end(plan)
        return None
    j = int(action.expert[1:])
    if said[j] == -1 and j % 2:  # some that say nothing did not answer at all
        return pacer.exclude(plan, action.expert, paid[j] / 2)
    return pacer.observe(plan, action.expert, Reading(str(said[j]), said[j] >= 0), paid[j])


def run(pacer: PlanPacer, forecast: Prediction, said: np.ndarray, paid: np.ndarray, ceiling: np.ndarray,
        at_once: int, beyond_usd: float = 0.0) -> list[tuple[float, float]]:  # fmt: skip
    """Run a stream; return what was reserved for each plan at first, and what it paid."""
    under_way: list[tuple[int, float, PacedPlan]] = []
    ended: list[tuple[float, float]] = []

    def step(place: int) -> None:
        i, first, plan = under_way.pop(place)
        after = ask_once(pacer, plan, said[i], paid[i])
        if after is None:
            ended.append((first, plan.state.paid_usd))
        else:
            under_way.append((i, first, after))
        assert pacer.spent_usd <= pacer.budget_usd + beyond_usd + 1e-12
        assert pacer.spent_usd + pacer.reserved_usd <= pacer.budget_usd + beyond_usd + 1e-12

    for i in range(len(paid)):
        plan = pacer.begin(forecast.success[i], forecast.cost_usd[i], ceiling_usd=ceiling[i], options=4)
        if plan is not None:
            under_way.append((i, plan.reserved_usd, plan))
        while len(under_way) >= at_once:
            step(0)
    while under_way:
        step(-1)
    return ended


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 3), st.integers(1, 5), st.sampled_from([1, 6]))
def test_no_stream_of_plans_is_over_its_budget(seed: int, share: float, m: int, at_once: int) -> None:
    habits, forecast, said = draw_world(seed, 40, m)
    rng = np.random.default_rng(seed)
    paid = forecast.cost_usd * rng.uniform(0, 3, forecast.cost_usd.shape)
    budget = share * float(forecast.cost_usd.max(axis=1).sum())
    pacer = PlanPacer(AskingPolicy(habits), budget, int(rng.integers(1, 80)), sample=forecast)
    ended = run(pacer, forecast, said, paid, 3 * forecast.cost_usd, at_once)
    assert pacer.reserved_usd == pytest.approx(0, abs=1e-12)  # what was not needed is free
    assert all(spent <= first + 1e-12 for first, spent in ended)
    assert pacer.spent_usd == pytest.approx(sum(spent for _, spent in ended))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1))
def test_answers_beyond_their_ceilings_put_it_over_by_no_more_than_that(seed: int, share: float) -> None:
    habits, forecast, said = draw_world(seed, 40, 4)
    rng = np.random.default_rng(seed)
    paid = forecast.cost_usd * (1 + rng.pareto(1.5, forecast.cost_usd.shape))
    ceiling = 1.5 * forecast.cost_usd
    beyond = float(np.maximum(paid - ceiling, 0).max(axis=1).sum()) * 4
    budget = share * float(paid.max(axis=1).sum())
    pacer = PlanPacer(AskingPolicy(habits), budget, 40, sample=forecast)
    run(pacer, forecast, said, paid, ceiling, 1, beyond_usd=beyond)
    assert pacer.reserved_usd == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_budget_that_binds_is_used(share: float) -> None:
    """Budgets are shares of what plans spend without pressure: the highest needs further asks to be used."""
    habits, forecast, said = draw_world(1, 500, 4)
    classes = np.where(said < 0, UNREADABLE, said).astype(np.int16)
    readings = Readings(classes, np.full(500, 4))
    known, stream = np.arange(200), np.arange(200, 500)
    take = lambda rows: Prediction(forecast.experts, forecast.success[rows], forecast.cost_usd[rows])  # noqa: E731
    free = replay(habits, take(stream), forecast.cost_usd[stream], readings.take(stream), [0.0])[0]
    budget = share * float(free.paid_usd.sum())
    pacer = PlanPacer(AskingPolicy(habits), budget, 300, sample=take(known))
    run(pacer, take(stream), said[stream], forecast.cost_usd[stream], forecast.cost_usd[stream], 1)
    assert 0.93 * budget <= pacer.spent_usd <= budget + 1e-12


def test_a_budget_that_cannot_be_held_is_refused_before_any_ask() -> None:
    habits, forecast, _ = draw_world(0, 5, 2)
    for budget, horizon in ((0.0, 5), (-1.0, 5), (float("nan"), 5), (1.0, 0)):
        with pytest.raises(InputError, match="cannot be held"):
            PlanPacer(AskingPolicy(habits), budget, horizon, sample=forecast)
    pacer = PlanPacer(AskingPolicy(habits), 1e-9, 5, sample=forecast)
    nobody = pacer.begin(forecast.success[0], forecast.cost_usd[0], ceiling_usd=forecast.cost_usd[0])
    assert nobody is None
    assert pacer.reserved_usd == 0


def test_without_earlier_queries_there_is_no_first_price() -> None:
    habits = Habits.unknown(("a", "b"))
    nothing = Prediction(("a", "b"), np.empty((0, 2), np.float32), np.empty((0, 2)))
    with pytest.raises(InputError, match="no forecasts to set the first price by"):
        PlanPacer(AskingPolicy(habits), 1.0, 10, sample=nothing)
