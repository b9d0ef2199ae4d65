"""Which expert to ask next, and which answer to return: for many plans at once or for a single one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.asking.beliefs import Beliefs, Evidence
from orchestrator.asking.first_ask import FirstCandidates, gains_after_first
from orchestrator.asking.habits import DEPTHS, Habits
from orchestrator.asking.lookahead import Candidates, Gains, gains_of_asking
from orchestrator.asking.plans import Limits, Plans
from orchestrator.asking.readings import INCOMPARABLE, NOT_ASKED, UNREADABLE
from orchestrator.selection.value import COST_ALONE, net_value
from warehouse import InputError

CANDIDATES = 8  # experts that are weighed against each other, those of greatest net value
STOP = -1

Floats = NDArray[np.float64]
Columns = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class NextActions:
    """The next actions of ``n`` plans."""

    ask: Columns  # [n] column of the expert to ask; STOP: give back an answer
    gain: Floats  # [n] success expected of this answer alone; of a first one, what asking on after it nets


def begin_plans(
    habits: Habits,
    success: NDArray[np.floating],
    cost_usd: Floats,
    multiplier: float,
    *,
    options: NDArray[np.integer],
    allowed: Mask | None = None,
    limits: Limits | None = None,
) -> Plans:
    """Begin the plans of ``n`` queries over ``m`` experts.

    Args:
        habits: of the experts.
        success: [n, m] forecasts of the router.
        cost_usd: [n, m] forecasts.
        multiplier: success that a dollar has to buy.
        options: [n] how many answers a question offers; 0: any.
        allowed: [n, m] the experts that may be asked; all by default.
        limits: on asks and dollars.

    Raises:
        InputError: the multiplier is below 0, or no ask is allowed.
    """
    limits = limits or Limits()
    if not multiplier >= 0:
        raise InputError(f"the multiplier must be 0 or more, not {multiplier}")
    if limits.max_asks < 1:
        raise InputError(f"at most {limits.max_asks} asks leave no answer", fix="allow 1 or more")
    forecast: Floats = np.asarray(success, np.float64)
    worst = cost_usd if limits.worst_usd is None else np.broadcast_to(limits.worst_usd, forecast.shape)
    return Plans(
        success=forecast,
        cost_usd=cost_usd,
        multiplier=multiplier,
        allowed=np.ones(forecast.shape, bool) if allowed is None else allowed,
        max_asks=limits.max_asks,
        ceiling_usd=limits.ceiling_usd,
        worst_usd=np.asarray(worst, float),
        beliefs=habits.model.beliefs(np.minimum(forecast / (1 - habits.unreadable), 1.0), options),
        given=np.full(forecast.shape, NOT_ASKED, np.int16),
        paid_usd=np.zeros(len(success)),
        told=np.ones(forecast.shape),
    )


def next_actions(habits: Habits, plans: Plans) -> NextActions:
    """Return the next action of each plan: the ask of greatest net value, or to stop if no ask gains.

    As long as a plan has no usable answer it asks another expert at any price, within its limits. After an
    answer that cannot be compared it stops, since no other answer could show whether that one is right;
    unless its length makes it so doubtful that another expert is better by more than its price.
    """
    ask, gain = np.full(len(plans), STOP, np.intp), np.zeros(len(plans))
    possible = plans.open.any(axis=1)
    incomparable = (plans.given == INCOMPARABLE).any(axis=1)
    classes = plans.given.max(axis=1).astype(np.intp) + 1
    empty = ~incomparable & (classes <= 0)
    for rows in _groups(possible & empty, plans.asks):
        ask[rows], gain[rows] = _first_ask(habits, plans.take(rows))
    for rows in _groups(possible & ~empty & ~incomparable, classes, plans.asks):
        ask[rows], gain[rows] = _further_ask(habits, plans.take(rows), int(classes[rows[0]]))
    for rows in _groups(possible & incomparable & (classes <= 0) & (plans.told != 1).any(axis=1), plans.asks):
        ask[rows], gain[rows] = _ask_instead(habits, plans.take(rows))
    return NextActions(ask, gain)


def final_answers(habits: Habits, plans: Plans) -> tuple[Columns, Floats]:
    """Return the expert whose answer each plan returns [n], -1 if none was asked, and its probability.

    Of the answer that is most likely right, the version of its most reliable expert is returned. An unusable
    answer is returned only if there is no other. The probability is what the beliefs say, corrected by what
    came of such beliefs; the choice is the same either way.
    """
    worth = np.where(plans.given == UNREADABLE, -1.0, -2.0)
    classes = np.maximum(plans.given.max(axis=1).astype(np.intp) + 1, 0)
    for rows in _groups(np.ones(len(plans), bool), classes):
        own, beliefs, count = plans.given[rows], plans.beliefs.take(rows), int(classes[rows[0]])
        odds = plans.told[rows]
        evidence = Evidence.of(beliefs, own, count, odds)
        alone = own == INCOMPARABLE
        for e in np.flatnonzero(alone.any(axis=0)):
            success = _success_alone(beliefs, own, count, odds, e)
            worth[rows, e] = np.where(alone[:, e], success, worth[rows, e])
        told = np.take_along_axis(evidence.posterior(), np.where(own >= 0, own, 0), axis=1)
        worth[rows] = np.where(own >= 0, told, worth[rows])
    best = np.lexsort((-plans.success, -worth), axis=1)[:, 0]
    rows = np.arange(len(plans))
    value, is_compared = worth[rows, best], plans.given[rows, best] >= 0
    compared = np.where(is_compared, (plans.given >= 0).sum(axis=1), 0)
    probability = habits.sureness.correct(np.maximum(value, 0.0), compared)
    return np.where(value < -1, -1, best), probability


def _success_alone(
    beliefs: Beliefs, given: NDArray[np.int16], count: int, told: Floats, expert: int
) -> Floats:
    """Return how likely the expert's answer is right [n], which cannot be compared, by all that was told."""
    by_others = told.copy()
    by_others[:, expert] = 1.0
    forecast = Evidence.of(beliefs, given, count, by_others).success_of(beliefs)[:, expert]
    right = forecast * told[:, expert]
    success: Floats = right / (right + 1 - forecast)
    return success


def _ask_instead(habits: Habits, plans: Plans) -> tuple[Columns, Floats]:
    """Whom to ask where the answers at hand cannot be compared, and by how much it is better than those.

    The new answer is taken to be returned, whatever its length: what that will tell is not foreseen.
    """
    standing = final_answers(habits, plans)[1]
    evidence = Evidence.of(plans.beliefs, plans.given, 0, plans.told)
    readable = evidence.success_of(plans.beliefs) * (1 - habits.unreadable)
    gain = habits.lengths.trust * (readable - standing[:, None])
    net = np.where(plans.open, net_value(gain, plans.cost_usd, plans.multiplier), -np.inf)
    rows, best = np.arange(len(plans)), net.argmax(axis=1)
    pays = net[rows, best] > 0
    return np.where(pays, best, STOP), np.where(pays, readable[rows, best] - standing, 0.0)


def _first_ask(habits: Habits, plans: Plans) -> tuple[Columns, Floats]:
    """Whom to ask where no answer is at hand, and what asking on after it is worth by the model.

    All plans have asked equally often.
    """
    value = net_value(plans.success, plans.cost_usd, plans.multiplier)
    open_ = plans.open
    columns = _best(value, plans.cost_usd, open_)
    left = plans.max_asks - int(plans.asks[0])
    gain = np.zeros(value.shape)
    if left > 1 and habits.comparable.any():
        np.put_along_axis(gain, columns, _gain_after_first(habits, plans, columns, left - 1), axis=1)
    chosen = _best(value + habits.foresight * gain, plans.cost_usd, open_)[:, 0]
    return chosen, gain[np.arange(len(plans)), chosen]


def _gain_after_first(habits: Habits, plans: Plans, columns: Columns, left: int) -> Floats:
    """What asking on is worth after the answer of each of ``columns`` [n, k]: all first asks in one table."""

    def of(values: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(values, columns, axis=1)

    open_, worst = of(plans.open), of(plans.worst_usd)
    two = plans.paid_usd[:, None, None] + worst[:, :, None] + worst[:, None, :]
    second = open_[:, None, :] & (two <= plans.ceiling_usd) & ~np.eye(columns.shape[1], dtype=bool)
    third = open_[:, None, None, :]
    if np.isfinite(plans.ceiling_usd):
        third = third & (two[:, :, :, None] + worst[:, None, None, :] <= plans.ceiling_usd)
    unreadable = habits.unreadable[columns]
    gain = gains_after_first(
        FirstCandidates(
            beliefs=plans.beliefs.columns(columns),
            price=of(plans.cost_usd) * min(plans.multiplier, COST_ALONE),
            unreadable=unreadable,
            comparable=habits.comparable[columns],
            second=second,
            third=third,
        ),
        np.broadcast_to(habits.trust[:2, None], (2, len(plans))),
        steps=min(left, 2),
    )
    return (1 - unreadable) * gain


def _further_ask(habits: Habits, plans: Plans, classes: int) -> tuple[Columns, Floats]:
    """Whom to ask where answers of ``classes`` kinds are at hand, and what this answer gains by the model."""
    value = net_value(plans.success, plans.cost_usd, plans.multiplier)
    columns = _best(value, plans.cost_usd, plans.open)
    left = plans.max_asks - int(plans.asks[0])
    gains = _gains(habits, plans, columns, classes, min(left, 2))
    rows, best = np.arange(len(plans)), gains.net.argmax(axis=1)
    pays = gains.net[rows, best] > 0
    return np.where(pays, columns[rows, best], STOP), np.where(pays, gains.success[rows, best], 0.0)


def _gains(habits: Habits, plans: Plans, columns: Columns, classes: int, steps: int) -> Gains:
    """What asking each of ``columns`` [n, k] is worth."""

    def of(values: Floats) -> Floats:
        return np.take_along_axis(values, columns, axis=1)

    first = np.take_along_axis(plans.open, columns, axis=1)
    worst = of(plans.worst_usd)
    both = plans.paid_usd[:, None, None] + worst[:, :, None] + worst[:, None, :] <= plans.ceiling_usd
    other = ~np.eye(columns.shape[1], dtype=bool)
    depth = (plans.given >= 0).sum(axis=1)  # answers that were compared
    trust = np.stack([habits.trust[np.minimum(depth + i, DEPTHS) - 1] for i in range(2)])
    return gains_of_asking(
        Evidence.of(plans.beliefs, plans.given, classes),
        Candidates(
            beliefs=plans.beliefs.columns(columns),
            price=of(plans.cost_usd) * min(plans.multiplier, COST_ALONE),
            unreadable=habits.unreadable[columns],
            comparable=habits.comparable[columns],
            first=first,
            second=first[:, None, :] & first[:, :, None] & both & other,
        ),
        trust,
        steps=steps,
    )


def _best(value: Floats, cost_usd: Floats, open_: Mask) -> Columns:
    """The candidates [n, k] by falling value, ties to the cheaper; who may not be asked comes last."""
    order: Columns = np.lexsort((cost_usd, -np.where(open_, value, -np.inf)), axis=1)[:, :CANDIDATES]
    return order


def _groups(mask: Mask, *keys: NDArray[np.integer]) -> Iterator[Columns]:
    """Rows in the mask, together where all keys are equal."""
    rows = np.flatnonzero(mask)
    if not len(rows):
        return
    label = np.zeros(len(rows), np.intp)
    for key in keys:
        label = label * 1000 + key[rows]
    for value in np.unique(label):
        yield rows[label == value]
