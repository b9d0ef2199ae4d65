"""The policy over recorded answers: which experts it would have asked, its payments and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.decide import STOP, begin_plans, final_answers, next_actions
from orchestrator.asking.habits import Habits
from orchestrator.asking.plans import Limits, Plans
from orchestrator.asking.readings import INCOMPARABLE, NOT_ASKED, Readings
from orchestrator.predictors.base import Prediction

CHUNK = 128  # queries at once, so that the tables of a step stay in the cache

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """The results of the plans of ``n`` queries."""

    answered: NDArray[np.intp]  # [n] column of the expert whose answer was given back
    asked: NDArray[np.bool_]  # [n, m]
    paid_usd: Floats  # [n]
    probability: Floats  # [n] that the answer is right, by the model
    first: NDArray[np.intp]  # [n] column of the expert that was asked first
    foreseen: Floats  # [n] what asking on after its answer was expected to net
    waits: NDArray[np.intp]  # [n] answers waited for, one after the other
    latency_s: Floats  # [n] of these; NaN where it was not recorded
    steps: tuple[Step, ...]  # asks after the first answer at hand


@dataclass(frozen=True)
class Step:
    """Further asks of some plans: what was expected of them and whose answer stood before and after."""

    rows: NDArray[np.intp]
    compared: NDArray[np.intp]  # answers at hand that were compared; 0: one was that cannot be
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
    side_by_side: bool = False,
    latency_s: NDArray[np.floating] | None = None,
) -> list[Replayed]:
    """Run the policy over recorded answers, at each of some multipliers.

    Args:
        habits: of the experts.
        forecast: of the router, for the ``n`` queries.
        cost_usd: [n, m] actual costs of the answers.
        readings: of the answers; an expert without a recorded answer cannot be asked.
        multipliers: success that a dollar has to buy.
        limits: on asks and dollars.
        follow: keep the expected gain of each further ask, and what it changed.
        side_by_side: ask the first two at once, as if time were short: the second expert does not depend on
            the content of a readable first answer.
        latency_s: [n, m] how long the answers took.
    """
    took_s = np.full(cost_usd.shape, np.nan) if latency_s is None else latency_s.astype(float)
    # an expert whose answers are never compared may have keys all the same
    kept = habits.comparable | (readings.classes < 0)
    classes = np.where(kept, readings.classes, INCOMPARABLE).astype(np.int16)
    told = _told(habits, readings, classes)
    parts: list[list[Replayed]] = [[] for _ in multipliers]
    chunks = list(_chunks(habits, classes))
    for own, rows in chunks:
        plans = begin_plans(
            own,
            forecast.success[rows],
            forecast.cost_usd[rows],
            0.0,
            options=readings.options[rows],
            allowed=classes[rows] != NOT_ASKED,
            limits=limits,
        )
        for part, multiplier in zip(parts, multipliers, strict=True):
            priced = plans.at(float(multiplier))  # what is believed of the answers is the same at every price
            recorded = _Recorded(rows, cost_usd[rows], classes[rows], took_s[rows], told[rows])
            part.append(_run(own, priced, recorded, follow=follow, side_by_side=side_by_side))
    place = np.argsort(np.concatenate([rows for _, rows in chunks]))
    return [_joined(part, place) for part in parts]


def _told(habits: Habits, readings: Readings, classes: NDArray[np.int16]) -> Floats:
    """Return by how much the length of each answer [n, m] that is not compared multiplies its odds."""
    odds = habits.lengths.odds(readings.tokens, classes.shape)
    return np.where(classes == INCOMPARABLE, odds, 1.0)


def _chunks(habits: Habits, classes: NDArray[np.int16]) -> Iterator[tuple[Habits, NDArray[np.intp]]]:
    """Yield the rows of each chunk, with the habits that hold for them.

    A question to which nobody's answer can be compared is of a form that is known beforehand: its plan looks
    forward to no comparison.
    """
    alone = (classes < 0).all(axis=1) & (classes == INCOMPARABLE).any(axis=1)
    for own, its in ((habits, ~alone), (habits.without_comparison(), alone)):
        rows = np.flatnonzero(its)
        for start in range(0, len(rows), CHUNK):
            yield own, rows[start : start + CHUNK]


def _joined(parts: list[Replayed], place: NDArray[np.intp]) -> Replayed:
    """Join the parts, and bring their rows into order."""
    return Replayed(
        answered=np.concatenate([part.answered for part in parts])[place],
        asked=np.concatenate([part.asked for part in parts])[place],
        paid_usd=np.concatenate([part.paid_usd for part in parts])[place],
        probability=np.concatenate([part.probability for part in parts])[place],
        first=np.concatenate([part.first for part in parts])[place],
        foreseen=np.concatenate([part.foreseen for part in parts])[place],
        waits=np.concatenate([part.waits for part in parts])[place],
        latency_s=np.concatenate([part.latency_s for part in parts])[place],
        steps=tuple(step for part in parts for step in part.steps),
    )


@dataclass(frozen=True)
class _Recorded:
    """Recorded answers to some queries."""

    names: NDArray[np.intp]  # [n] rows of the queries among all
    cost_usd: Floats  # [n, m]
    classes: NDArray[np.int16]  # [n, m]
    took_s: Floats  # [n, m]
    told: Floats  # [n, m] by how much an incomparable answer's length multiplies the odds that it is right


def _run(habits: Habits, plans: Plans, recorded: _Recorded, *, follow: bool, side_by_side: bool) -> Replayed:
    """Ask until all plans of a chunk have stopped."""
    rows = np.arange(len(plans))
    waits, latency_s = np.zeros(len(plans), np.intp), np.zeros(len(plans))
    given = _Given(plans, recorded)
    steps: list[Step] = []
    first, foreseen = np.full(len(plans), STOP), np.zeros(len(plans))
    while len(rows):
        now = given.plans.take(rows)
        actions = next_actions(habits, now)
        if (first == STOP).all():
            first, foreseen = actions.ask, actions.gain
        going = np.flatnonzero(actions.ask != STOP)
        rows, expert, before = rows[going], actions.ask[going], now.take(going)
        given.note(rows, expert)
        took_s = recorded.took_s[rows, expert]
        if side_by_side and len(rows):
            second = _second(habits, before, expert)
            both = np.flatnonzero(second != STOP)
            given.note(rows[both], second[both])
            took_s[both] = np.maximum(took_s[both], recorded.took_s[rows[both], second[both]])
        waits[rows] += 1
        latency_s[rows] += took_s
        if follow and len(rows):
            compared = (before.given >= 0).sum(axis=1)
            further = np.flatnonzero((compared > 0) | (before.given == INCOMPARABLE).any(axis=1))
            steps.append(
                Step(
                    recorded.names[rows[further]],
                    compared[further],
                    actions.gain[going][further],
                    final_answers(habits, before.take(further))[0],
                    final_answers(habits, given.plans.take(rows[further]))[0],
                )
            )
    answered, probability = final_answers(habits, given.plans)
    asked = given.plans.given != NOT_ASKED
    paid = given.plans.paid_usd
    return Replayed(answered, asked, paid, probability, first, foreseen, waits, latency_s, tuple(steps))


def _second(habits: Habits, plans: Plans, first: NDArray[np.intp]) -> NDArray[np.intp]:
    """Whom plans ask after these experts [n]; STOP where nobody, or where an answer is at hand already."""
    expected = plans.cost_usd[np.arange(len(plans)), first]
    own = np.where(habits.comparable[first], 0, INCOMPARABLE)
    told = np.ones(len(plans))
    asked = next_actions(habits, plans.observe(first, own, expected, told)).ask
    without: NDArray[np.intp] = np.where((plans.given < 0).all(axis=1), asked, STOP)
    return without


class _Given:
    """Plans of a chunk as answers come; classes are numbered as each plan meets them."""

    def __init__(self, plans: Plans, recorded: _Recorded) -> None:
        self.plans = plans
        self._recorded = recorded
        self._numbers = np.zeros(len(plans), np.intp)  # of classes given so far
        most = int(max(recorded.classes.max(initial=0), 0)) + 1
        self._renamed = np.full((len(plans), most), -1)  # recorded class -> plan's

    def note(self, rows: NDArray[np.intp], expert: NDArray[np.intp]) -> None:
        """Note the answers of an expert to each of some queries."""
        given, paid, told = self.plans.given.copy(), self.plans.paid_usd.copy(), self.plans.told.copy()
        own = self._recorded.classes[rows, expert].astype(np.intp)
        comparable, place = own >= 0, np.maximum(own, 0)
        fresh = comparable & (self._renamed[rows, place] < 0)
        self._renamed[rows[fresh], own[fresh]] = self._numbers[rows[fresh]]
        self._numbers[rows[fresh]] += 1
        given[rows, expert] = np.where(comparable, self._renamed[rows, place], own)
        paid[rows] += self._recorded.cost_usd[rows, expert]
        told[rows, expert] = self._recorded.told[rows, expert]
        self.plans = self.plans.updated(given, paid, told)


def answers_of_sets(
    habits: Habits, mean_success: Floats, readings: Readings, asked: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return whose answer stands [n] where these experts [n, m] were asked, without a look at the query."""
    success = np.broadcast_to(mean_success, asked.shape)
    told = np.where(asked, _told(habits, readings, readings.classes), 1.0)
    answered = []
    for start in range(0, len(asked), CHUNK):
        part = slice(start, start + CHUNK)
        plans = begin_plans(
            habits, success[part], np.zeros(asked[part].shape), 0.0, options=readings.options[part]
        )
        given = np.where(asked[part], readings.classes[part], NOT_ASKED).astype(np.int16)
        answered.append(final_answers(habits, plans.updated(given, plans.paid_usd, told[part]))[0])
    return np.concatenate(answered)
