"""What asking is worth: the policy as it is served, and the same plans dealt to other queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.habits import Habits
from orchestrator.asking.learn import learn_habits
from orchestrator.asking.readings import Readings
from orchestrator.asking.replay import Replayed, answers_of_sets, replay
from orchestrator.predictors.base import Prediction
from orchestrator.selection.sweep import PolicyPoints, multiplier_grid
from warehouse import Outcomes

MULTIPLIERS = 40

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class AskingRow:
    """A policy over some questions: points, and answers one after the other [settings, n]."""

    points: PolicyPoints
    calls: Floats


@dataclass(frozen=True)
class Asking:
    """What was learned of asking on one split."""

    habits: Habits
    multipliers: Floats

    @classmethod
    def learn(cls, forecast: Prediction, outcomes: Outcomes, readings: Readings, *, seed: int) -> Asking:
        """Learn from questions that no forecast of theirs has learned from."""
        multipliers = multiplier_grid(forecast.success, forecast.cost_usd, MULTIPLIERS)
        habits = learn_habits(
            forecast, readings, outcomes.score, outcomes.cost_usd, multipliers, seed=seed
        )
        return cls(habits, multipliers)

    def replay(self, forecast: Prediction, outcomes: Outcomes, readings: Readings) -> list[Replayed]:
        """Run the policy at every multiplier."""
        return [
            replay(self.habits, forecast, outcomes.cost_usd, readings, multiplier)
            for multiplier in self.multipliers
        ]


def row_of(replayed: list[Replayed], score: NDArray[np.float32], decision_usd: float) -> AskingRow:
    """Return what the answers given back score, and all that was paid."""
    rows = np.arange(len(score))
    choice = np.stack([one.answered for one in replayed])
    paid = np.stack([one.paid_usd for one in replayed]) + decision_usd
    calls = np.stack([one.asked.sum(axis=1) for one in replayed]).astype(float)
    return AskingRow(PolicyPoints(score[rows, choice], paid, choice.astype(np.int16)), calls)


def matched_random(
    replayed: list[Replayed],
    habits: Habits,
    mean_success: Floats,
    outcomes: Outcomes,
    readings: Readings,
    *,
    decision_usd: float,
    seed: int,
) -> AskingRow:
    """Deal each query the experts that were asked for another one: equal spending, no look at the query.

    The answers are weighed by the mean success of the experts.
    """
    rng = np.random.default_rng(seed)
    dealt = []
    for one in replayed:
        asked = one.asked[rng.permutation(len(one.asked))]
        answered = answers_of_sets(habits, mean_success, readings, asked)
        paid = np.where(asked, outcomes.cost_usd, 0.0).sum(axis=1)
        dealt.append(Replayed(answered, asked, paid, np.zeros(len(asked)), ()))
    return row_of(dealt, outcomes.score, decision_usd)
