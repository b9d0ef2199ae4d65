"""The value of asking: the policy as served, its plans assigned to other queries, blind policies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import asking_multipliers, learn_habits
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import Replayed, answers_of_sets, replay
from orchestrator.evaluation.blind_rows import agreement_cascades, blind_votes, fitted_singles
from orchestrator.evaluation.seed_result import SeedResult
from orchestrator.predictors.base import Prediction
from orchestrator.selection.sweep import PolicyPoints, points_of
from warehouse import Outcomes

LEEROO, MATCHED = "leeroo", "matched random"  # as it is served; its plans dealt to other queries
PAIRS = f"{LEEROO}, two at once"  # as it is served where `max_latency_s` is too short for one after the other
SINGLES, VOTE, AGREEMENT = "zero-router, fitted", "query-blind vote", "agreement cascade"
SETTINGS, OF_ROUTER = 120, 1000  # multipliers of its curve, where it asks several and where it routes
PAIRS_EVERY = 3  # of them one is run with two at once
TRIED = 600  # validation questions that it is run over, to know what a setting costs

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Forecasts:
    """A router's forecasts, made before it had learned from the questions."""

    seen: Rows  # [s] rows of the outcomes that are learned from
    of_seen: Prediction  # cross-fitted
    of_test: Prediction
    decision_usd: float


def add_asking_rows(
    result: SeedResult,
    forecasts: Forecasts,
    outcomes: Outcomes,
    readings: Readings,
    validation: Rows,
    *,
    seed: int,
) -> list[str]:
    """Add to a split's result what asks several, and what it is to be measured against; return the names.

    Args:
        result: of the split; its rows are the test questions.
        forecasts: of the router that the policy is built on.
        outcomes: of all questions.
        readings: of all answers.
        validation: rows among those learned from, on which settings are taken for a budget.
        seed: of what is drawn.
    """
    seen, test = forecasts.seen, result.rows
    learned = outcomes.take(seen)
    habits = learn_habits(forecasts.of_seen, readings.take(seen), learned.score, learned.cost_usd, seed=seed)
    multipliers = asking_multipliers(forecasts.of_seen, SETTINGS if habits.comparable.any() else OF_ROUTER)
    place = np.flatnonzero(np.isin(seen, validation))
    place = place[np.linspace(0, len(place) - 1, min(TRIED, len(place))).astype(int)]
    for rows, forecast, points in (
        (test, forecasts.of_test, result.test),
        (seen[place], forecasts.of_seen.take(place), result.validation),
    ):
        some, own = outcomes.take(rows), readings.take(rows)
        replayed = replay(habits, forecast, some.cost_usd, own, multipliers, latency_s=some.latency_s)
        _add(result, points, LEEROO, replayed, some, forecasts.decision_usd)
        if habits.comparable.any():
            pairs = replay(
                habits, forecast, some.cost_usd, own, multipliers[::PAIRS_EVERY],
                side_by_side=True, latency_s=some.latency_s,
            )  # fmt: skip
            _add(result, points, PAIRS, pairs, some, forecasts.decision_usd)
        dealt = _deal(replayed, habits, np.nanmean(learned.score, axis=0).astype(float), some, own, seed)
        _add(result, points, MATCHED, dealt, some, forecasts.decision_usd)
    names = [name for name in (LEEROO, PAIRS, MATCHED) if name in result.test]
    blind = {SINGLES: fitted_singles(outcomes, seen)}
    if habits.comparable.any():
        blind |= {
            VOTE: blind_votes(outcomes, readings, seen),
            AGREEMENT: agreement_cascades(outcomes, readings, seen),
        }
    for name, row in blind.items():
        result.test[name], result.validation[name] = row.points(test), row.points(validation)
        result.calls[name] = row.calls(test)
    return [*names, *blind]


def add_matched_random(
    result: SeedResult, name: str, outcomes: Outcomes, validation: Rows, decision_usd: float, *, seed: int
) -> None:
    """Add a router's choices dealt to other queries, where it asks one expert each: the worth of its mix.

    Args:
        result: of the split; has the router's points under ``name``.
        name: of the router.
        outcomes: of all questions.
        validation: rows that its points on validation are of.
        decision_usd: what a decision costs.
        seed: of the deal: one for all settings, for of many the hull would take the luckiest.
    """
    for rows, points in ((result.rows, result.test), (validation, result.validation)):
        order = np.random.default_rng(seed).permutation(len(rows))
        dealt = points_of(points[name].choice[:, order], outcomes.score[rows], outcomes.cost_usd[rows])
        points[MATCHED] = replace(dealt, cost_usd=dealt.cost_usd + decision_usd)


def _add(
    result: SeedResult,
    points: dict[str, PolicyPoints],
    name: str,
    replayed: list[Replayed],
    outcomes: Outcomes,
    decision_usd: float,
) -> None:
    """Note what the answers given back score, and all that was paid for them."""
    rows = np.arange(len(outcomes))
    choice = np.stack([one.answered for one in replayed])
    paid = np.stack([one.paid_usd for one in replayed]) + decision_usd
    points[name] = PolicyPoints(outcomes.score[rows, choice], paid, choice.astype(np.int16))
    if points is result.test:
        result.calls[name] = np.stack([one.waits for one in replayed]).astype(float)
        result.latency_s[name] = np.stack([one.latency_s for one in replayed])


def _deal(
    replayed: list[Replayed],
    habits: Habits,
    mean_success: Floats,
    outcomes: Outcomes,
    readings: Readings,
    seed: int,
) -> list[Replayed]:
    """Give each query the experts that were asked for another one: equal spending, no look at the query.

    The answers are weighed by the mean success of the experts.
    """
    # one deal for all settings: of many the hull would take the luckiest
    order = np.random.default_rng(seed).permutation(len(outcomes))
    dealt = []
    for one in replayed:
        asked = one.asked[order]
        answered = answers_of_sets(habits, mean_success, readings, asked)
        paid = np.where(asked, outcomes.cost_usd, 0.0).sum(axis=1)
        waits, unknown = asked.sum(axis=1), np.full(len(asked), np.nan)
        dealt.append(
            replace(one, answered=answered, asked=asked, paid_usd=paid, waits=waits, latency_s=unknown)
        )
    return dealt
