"""The policy over recorded answers: whom it would have asked, what it would have paid and given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.decide import STOP, begin_plans, final_answers, next_actions
from orchestrator.asking.habits import Habits
from orchestrator.asking.plans import Limits, Plans
from orchestrator.asking.readings import NOT_ASKED, Readings
from orchestrator.predictors.base import Prediction

CHUNK = 128  # queries at once, so that the tables of a step stay in the cache

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """What the plans of ``n`` queries came to."""

    answered: NDArray[np.intp]  # [n] column of the expert whose answer was given back
    asked: NDArray[np.bool_]  # [n, m]
    paid_usd: Floats  # [n]
    probability: Floats  # [n] that the answer is right, by the model
    first: NDArray[np.intp]  # [n] column of the expert that was asked first
    foreseen: Floats  # [n] what asking on after its answer was expected to net
    steps: tuple[Step, ...]  # asks after the first answer at hand


@dataclass(frozen=True)
class Step:
    """Further asks of some plans: what was expected of them and whose answer stood before and after."""

    rows: NDArray[np.intp]
    compared: NDArray[np.intp]  # answers at hand that were compared
    gain: Floats  # in success, as the model expected it of this answer
    before: NDArray[np.intp]  # column of the expert whose answer stood
    after: NDArray[np.intp]


def replay(
    habits: Habits,
    forecast: Prediction,
    cost_usd: Floats,
    readings: Readings,
    multipliers: Sequence[float] | Floats,
    *,
    limits: Limits | None = None,
    follow: bool = False,
) -> list[Replayed]:
    """Run the policy over recorded answers, at each of some multipliers.

    Args:
        habits: of the experts.
        forecast: of the router, for the ``n`` queries.
        cost_usd: [n, m] what the answers did cost.
        readings: of the answers; who was not asked then cannot be asked now.
        multipliers: success that a dollar has to buy.
        limits: on asks and dollars.
        follow: keep what each further ask was expected to gain, and changed.
    """
    parts: list[list[Replayed]] = [[] for _ in multipliers]
    for start in range(0, len(cost_usd), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(cost_usd)))
        plans = begin_plans(
            habits,
            forecast.success[rows],
            forecast.cost_usd[rows],
            0.0,
            options=readings.options[rows],
            allowed=readings.classes[rows] != NOT_ASKED,
            limits=limits,
        )
        for part, multiplier in zip(parts, multipliers, strict=True):
            priced = plans.at(float(multiplier))  # what is believed of the answers is the same at every price
            part.append(_run(habits, priced, cost_usd[rows], readings.classes[rows], rows, follow=follow))
    return [_joined(part) for part in parts]


def _joined(parts: list[Replayed]) -> Replayed:
    return Replayed(
        answered=np.concatenate([part.answered for part in parts]),
        asked=np.concatenate([part.asked for part in parts]),
        paid_usd=np.concatenate([part.paid_usd for part in parts]),
        probability=np.concatenate([part.probability for part in parts]),
        first=np.concatenate([part.first for part in parts]),
        foreseen=np.concatenate([part.foreseen for part in parts]),
        steps=tuple(step for part in parts for step in part.steps),
    )


def _run(
    habits: Habits,
    plans: Plans,
    cost_usd: Floats,
    classes: NDArray[np.int16],
    names: NDArray[np.intp],
    *,
    follow: bool,
) -> Replayed:
    """Ask until all plans of a chunk have stopped; ``names`` are its rows among all."""
    given, paid = plans.given.copy(), np.zeros(len(plans))
    numbers = np.zeros(len(plans), np.intp)  # of classes given so far
    renamed = np.full((len(plans), int(max(classes.max(initial=0), 0)) + 1), -1)  # recorded class -> plan's
    rows = np.arange(len(plans))
    steps: list[Step] = []
    first, foreseen = np.full(len(plans), STOP), np.zeros(len(plans))
    while len(rows):
        now = plans.take(rows)
        actions = next_actions(habits, now)
        if (first == STOP).all():
            first, foreseen = actions.ask, actions.gain
        going = actions.ask != STOP
        rows, expert = rows[going], actions.ask[going]
        recorded = classes[rows, expert].astype(np.intp)
        comparable = recorded >= 0
        fresh = comparable & (renamed[rows, np.maximum(recorded, 0)] < 0)
        renamed[rows[fresh], recorded[fresh]] = numbers[rows[fresh]]
        numbers[rows[fresh]] += 1
        own = np.where(comparable, renamed[rows, np.maximum(recorded, 0)], recorded)
        before = now.take(np.flatnonzero(going))
        after = before.observe(expert, own, cost_usd[rows, expert])
        given[rows], paid[rows] = after.given, after.paid_usd
        if follow and len(rows):
            at_hand = (before.given >= 0).sum(axis=1)
            further = np.flatnonzero(at_hand > 0)
            steps.append(
                Step(
                    names[rows[further]],
                    at_hand[further],
                    actions.gain[going][further],
                    final_answers(before.take(further))[0],
                    final_answers(after.take(further))[0],
                )
            )
        plans = plans.updated(given, paid)
    answered, probability = final_answers(plans)
    asked = plans.given != NOT_ASKED
    return Replayed(answered, asked, plans.paid_usd, probability, first, foreseen, tuple(steps))


def answers_of_sets(
    habits: Habits, mean_success: Floats, readings: Readings, asked: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return whose answer stands [n] where these experts [n, m] were asked, without a look at the query."""
    success = np.broadcast_to(mean_success, asked.shape)
    answered = []
    for start in range(0, len(asked), CHUNK):
        part = slice(start, start + CHUNK)
        plans = begin_plans(
            habits, success[part], np.zeros(asked[part].shape), 0.0, options=readings.options[part]
        )
        given = np.where(asked[part], readings.classes[part], NOT_ASKED).astype(np.int16)
        answered.append(final_answers(plans.updated(given, plans.paid_usd))[0])
    return np.concatenate(answered)
